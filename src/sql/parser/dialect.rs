//! The dialect: PostgreSQL's, with our clauses told apart from aliases.
//!
//! `EMIT`, `ALLOWED LATENESS`, `DISCARDING`, `ACCUMULATING` and `LATE DATA` after a query
//! are clauses, not aliases; they are words of no reserved list, so each is recognised by
//! what follows it. Inside the arguments of a window function, `TABLE t` names a relation
//! and `t PARTITION BY k` is an operator, kept as a call of [`PARTITION_BY`].

use std::any::TypeId;
use std::cell::Cell;

use sqlparser::ast as sql;
use sqlparser::ast::Expr;
use sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::sql::rules::ast::call;

/// Name of the internal function that stands for `input PARTITION BY key`.
pub(super) const PARTITION_BY: &str = "__partition_by";
/// Tighter than any operator except the casts and the period.
const PARTITION_BY_PRECEDENCE: u8 = 135;

/// Words that begin an emit clause, with the words of which one must follow (or none).
const CLAUSES: [(&str, &[&str]); 5] = [
    ("EMIT", &["CHANGES", "FINAL", "EARLY", "LATE", "WHEN", "ON"]),
    ("ALLOWED", &["LATENESS"]),
    ("LATE", &["DATA"]),
    ("DISCARDING", &[]),
    ("ACCUMULATING", &[]),
];

/// One per parse: it remembers where the parser is.
#[derive(Debug, Default)]
pub struct HeadwaterDialect {
    base: PostgreSqlDialect,
    /// The text has `SYSTEM_TIME` in it. Otherwise `at` and `changes` are usual aliases.
    versioned: Cell<bool>,
    /// Inside a column definition, `DEFAULT 0 NOT NULL` is not `0 IS NOT NULL`.
    in_column_definition: Cell<bool>,
    /// Expressions that may still be begun: sqlparser tries alternatives, and a malformed
    /// text could make it try them all.
    steps_left: Cell<usize>,
}

/// Expressions begun per token, at most.
const STEPS_PER_TOKEN: usize = 50;
const STEPS_MIN: usize = 10_000;

impl HeadwaterDialect {
    pub fn new() -> Self {
        Self::default()
    }

    /// Prepares for a text. `WITH (` never belongs to a table here, as it would for SQL
    /// Server's hints, so there the word is made no keyword for sqlparser.
    pub(super) fn set_tokens(&self, tokens: &mut [TokenWithSpan]) {
        self.versioned.set(tokens.iter().any(|t| is_word(&t.token, "SYSTEM_TIME")));
        self.steps_left.set(tokens.len() * STEPS_PER_TOKEN + STEPS_MIN);
        let mut with: Option<usize> = None;
        for i in 0..tokens.len() {
            match (&tokens[i].token, with) {
                (Token::Whitespace(_), _) => {}
                (Token::LParen, Some(at)) => {
                    if let Token::Word(word) = &mut tokens[at].token {
                        word.keyword = Keyword::NoKeyword;
                    }
                    with = None;
                }
                (token, _) => with = is_word(token, "WITH").then_some(i),
            }
        }
        mark_as_of_joins(tokens);
    }

    pub(super) fn set_in_column_definition(&self, inside: bool) {
        self.in_column_definition.set(inside);
    }
}

/// An unquoted word, without regard to case.
pub(super) fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

pub(super) fn is_space(token: &TokenWithSpan) -> bool {
    matches!(token.token, Token::Whitespace(_))
}

/// Where the tokens are that are no space.
pub(super) fn words(tokens: &[TokenWithSpan]) -> Vec<usize> {
    (0..tokens.len()).filter(|i| !is_space(&tokens[*i])).collect()
}

/// `ASOF [LEFT] JOIN`: the word becomes one that sqlparser keeps as a mark of the join.
fn mark_as_of_joins(tokens: &mut [TokenWithSpan]) {
    let words = words(tokens);
    for (n, i) in words.iter().enumerate() {
        if !is_word(&tokens[*i].token, "ASOF") {
            continue;
        }
        let mut following = words[n + 1..].iter().map(|j| &tokens[*j].token);
        let mut next = following.next();
        for word in ["INNER", "LEFT", "OUTER"] {
            next = if next.is_some_and(|t| is_word(t, word)) { following.next() } else { next };
        }
        if next.is_some_and(|t| is_word(t, "JOIN"))
            && let Token::Word(word) = &mut tokens[*i].token
        {
            word.keyword = Keyword::GLOBAL;
            word.value = "GLOBAL".into();
        }
    }
}

/// Whether an emit clause begins with `first` followed by the parser's next tokens.
pub(super) fn begins_emit(first: &Token, parser: &Parser<'_>) -> bool {
    begins_emit_at(first, parser, 0)
}

fn begins_emit_at(first: &Token, parser: &Parser<'_>, next: usize) -> bool {
    CLAUSES.iter().any(|(word, follow)| {
        if !is_word(first, word) {
            return false;
        }
        let second = &parser.peek_nth_token_ref(next).token;
        if *word == "EMIT" && is_word(second, "ON") {
            let third = &parser.peek_nth_token_ref(next + 1).token;
            return ["UPDATE", "WINDOW", "TIME"].iter().any(|w| is_word(third, w));
        }
        follow.is_empty() || follow.iter().any(|w| is_word(second, w))
    })
}

/// Whether the parser's next tokens begin an emit clause.
pub(super) fn at_emit(parser: &Parser<'_>) -> bool {
    begins_emit_at(&parser.peek_token_ref().token, parser, 1)
}

fn partition_by_follows(parser: &Parser<'_>) -> bool {
    is_word(&parser.peek_token_ref().token, "PARTITION") && is_word(&parser.peek_nth_token_ref(1).token, "BY")
}

/// `IS [NOT] DISTINCT FROM`, whose right side sqlparser would let reach over AND; true with NOT.
fn distinct_from_follows(parser: &Parser<'_>) -> Option<bool> {
    let next = |n: usize, word: &str| is_word(&parser.peek_nth_token_ref(n).token, word);
    let negated = next(1, "NOT");
    let at = 1 + negated as usize;
    (next(0, "IS") && next(at, "DISTINCT") && next(at + 1, "FROM")).then_some(negated)
}

/// `[NOT] BETWEEN SYMMETRIC`, which sqlparser does not know; true with NOT.
fn symmetric_follows(parser: &Parser<'_>) -> Option<bool> {
    let next = |n: usize, word: &str| is_word(&parser.peek_nth_token_ref(n).token, word);
    let negated = next(0, "NOT");
    let at = negated as usize;
    (next(at, "BETWEEN") && next(at + 1, "SYMMETRIC")).then_some(negated)
}

/// Between the bounds in either order.
fn between_symmetric(expr: &Expr, low: Expr, high: Expr, negated: bool) -> Expr {
    let between = |low: &Expr, high: &Expr| Expr::Between {
        expr: Box::new(expr.clone()),
        negated: false,
        low: Box::new(low.clone()),
        high: Box::new(high.clone()),
    };
    let (left, right) = (Box::new(between(&low, &high)), Box::new(between(&high, &low)));
    let either = Expr::Nested(Box::new(Expr::BinaryOp { left, op: sql::BinaryOperator::Or, right }));
    if negated { Expr::UnaryOp { op: sql::UnaryOperator::Not, expr: Box::new(either) } } else { either }
}

impl Dialect for HeadwaterDialect {
    fn dialect(&self) -> TypeId {
        TypeId::of::<PostgreSqlDialect>()
    }

    fn is_select_item_alias(&self, explicit: bool, kw: &Keyword, parser: &mut Parser) -> bool {
        let current = &parser.get_current_token().token;
        // `x ISNULL` is an operator.
        if !explicit && is_word(current, "ISNULL") {
            return false;
        }
        explicit
            || *kw == Keyword::VIEW
            || (!begins_emit(current, parser)
                && !is_word(current, "WITH")
                && self.base.is_column_alias(kw, parser))
    }

    fn is_table_factor_alias(&self, explicit: bool, kw: &Keyword, parser: &mut Parser) -> bool {
        if explicit {
            return true;
        }
        let current = &parser.get_current_token().token;
        if begins_emit(current, parser) || is_word(current, "WITH") {
            return false;
        }
        matches!(*kw, Keyword::VIEW | Keyword::TOP) || self.base.is_table_alias(kw, parser)
    }

    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        match self.steps_left.get().checked_sub(1) {
            Some(left) => self.steps_left.set(left),
            None => return Some(Err(ParserError::RecursionLimitExceeded)),
        }
        let next = &parser.peek_token_ref().token;
        if !is_word(next, "TABLE")
            || !matches!(parser.peek_nth_token_ref(1).token, Token::Word(_) | Token::LParen)
        {
            return None;
        }
        parser.advance_token();
        Some(parser.parse_prefix())
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        if partition_by_follows(parser) {
            return Some(Ok(PARTITION_BY_PRECEDENCE));
        }
        if is_word(&parser.peek_token_ref().token, "ISNULL") {
            return Some(Ok(self.prec_value(Precedence::Is)));
        }
        if self.in_column_definition.get()
            && is_word(&parser.peek_token_ref().token, "NOT")
            && is_word(&parser.peek_nth_token_ref(1).token, "NULL")
        {
            return Some(Ok(self.prec_unknown()));
        }
        self.base.get_next_precedence(parser)
    }

    fn parse_infix(
        &self,
        parser: &mut Parser,
        expr: &Expr,
        precedence: u8,
    ) -> Option<Result<Expr, ParserError>> {
        if is_word(&parser.peek_token_ref().token, "ISNULL") {
            parser.advance_token();
            return Some(Ok(Expr::IsNull(Box::new(expr.clone()))));
        }
        if let Some(negated) = distinct_from_follows(parser) {
            (0..3 + negated as usize).for_each(|_| parser.advance_token());
            let other = parser.parse_subexpr(precedence);
            let made = if negated { Expr::IsNotDistinctFrom } else { Expr::IsDistinctFrom };
            return Some(other.map(|other| made(Box::new(expr.clone()), Box::new(other))));
        }
        if let Some(negated) = symmetric_follows(parser) {
            (0..2 + negated as usize).for_each(|_| parser.advance_token());
            let bound = self.prec_value(Precedence::Between);
            let bounds = (|| {
                let low = parser.parse_subexpr(bound)?;
                parser.expect_keyword_is(Keyword::AND)?;
                Ok((low, parser.parse_subexpr(bound)?))
            })();
            return Some(bounds.map(|(low, high)| between_symmetric(expr, low, high, negated)));
        }
        if !partition_by_follows(parser) {
            return None;
        }
        parser.advance_token();
        parser.advance_token();
        Some(parser.parse_expr().map(|key| partitioned(expr.clone(), key)))
    }

    fn supports_table_versioning(&self) -> bool {
        self.versioned.get()
    }

    /// `f(f(f(…)))` would otherwise be parsed twice at each level.
    fn supports_named_fn_args_with_expr_name(&self) -> bool {
        false
    }

    fn supports_named_fn_args_with_assignment_operator(&self) -> bool {
        true
    }

    fn prec_value(&self, prec: Precedence) -> u8 {
        self.base.prec_value(prec)
    }
    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        self.base.identifier_quote_style(identifier)
    }
    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        self.base.is_delimited_identifier_start(ch)
    }
    fn is_identifier_start(&self, ch: char) -> bool {
        self.base.is_identifier_start(ch)
    }
    fn is_identifier_part(&self, ch: char) -> bool {
        self.base.is_identifier_part(ch)
    }
    fn is_reserved_for_identifier(&self, kw: Keyword) -> bool {
        self.base.is_reserved_for_identifier(kw)
    }
    fn is_custom_operator_part(&self, ch: char) -> bool {
        self.base.is_custom_operator_part(ch)
    }
    fn supports_unicode_string_literal(&self) -> bool {
        true
    }
    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }
    fn supports_group_by_expr(&self) -> bool {
        true
    }
    fn allow_extract_custom(&self) -> bool {
        true
    }
    fn allow_extract_single_quotes(&self) -> bool {
        true
    }
    fn supports_create_index_with_clause(&self) -> bool {
        true
    }
    fn supports_factorial_operator(&self) -> bool {
        true
    }
    fn supports_bitwise_shift_operators(&self) -> bool {
        true
    }
    fn supports_named_fn_args_with_colon_operator(&self) -> bool {
        true
    }
    fn supports_empty_projections(&self) -> bool {
        true
    }
    fn supports_nested_comments(&self) -> bool {
        true
    }
    fn supports_string_escape_constant(&self) -> bool {
        true
    }
    fn supports_string_literal_concatenation_with_newline(&self) -> bool {
        true
    }
    fn supports_numeric_literal_underscores(&self) -> bool {
        true
    }
    fn supports_array_typedef_with_brackets(&self) -> bool {
        true
    }
    fn supports_geometric_types(&self) -> bool {
        true
    }
    fn supports_notnull_operator(&self) -> bool {
        true
    }
    fn supports_interval_options(&self) -> bool {
        true
    }
    fn supports_insert_table_alias(&self) -> bool {
        true
    }
    fn supports_comma_separated_trim(&self) -> bool {
        true
    }
    fn supports_xml_expressions(&self) -> bool {
        true
    }
    fn supports_comment_optimizer_hint(&self) -> bool {
        true
    }
}

/// `input PARTITION BY key` as an expression; several keys come as a tuple.
fn partitioned(input: Expr, key: Expr) -> Expr {
    let keys = match key {
        Expr::Tuple(keys) => keys,
        Expr::Nested(key) => vec![*key],
        key => vec![key],
    };
    call(PARTITION_BY, std::iter::once(input).chain(keys).collect())
}
