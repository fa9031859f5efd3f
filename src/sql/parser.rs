//! The parser: submitted text to [`Statement`]s.
//!
//! sqlparser tokenizes, and parses queries, DML, expressions and types under our dialect;
//! all other statements are read here from its token stream. One file per family of
//! statements. Invariants: every statement's text is a slice of the submitted text; an
//! error of any part is SQLSTATE 42601 with a character position in the submitted text (or
//! 54001 when the text is nested too deeply); no text overflows the stack: the tree that
//! is built is at most [`EXPRESSION_DEPTH_MAX`] deep.

mod alter;
mod calls;
mod columns;
mod copy;
mod create;
mod create_view;
mod cursor;
mod depth;
mod dialect;
mod emit;
mod explain;
mod frames;
mod intervals;
mod options;
mod queries;
mod session;
mod show;
mod signs;
mod source;
mod table_queries;
mod time;
mod transaction;
mod windows;
mod words;

#[cfg(test)]
mod tests;

use sqlparser::ast as sql;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, Tokenizer};

use crate::error::{HwError, Result, sqlstate};
use crate::sql::ast::{Expr, ExprText, ObjectName, Statement, StatementKind};

pub use calls::VARIADIC;
pub use depth::EXPRESSION_DEPTH_MAX;
pub use dialect::HeadwaterDialect;
pub use windows::{WindowCall, WindowKind, relation_name, window_call};
pub use words::fold_identifier;

use source::Source;

/// How deep sqlparser may recurse: each nested parenthesis or subquery takes a few levels.
const RECURSION_MAX: usize = 120;

/// Parses a submitted text into its statements; empty statements are skipped.
///
/// Errors: 42601 with position; 54001 if the text is nested too deeply.
pub fn parse_sql(text: &str) -> Result<Vec<Statement>> {
    let source = Source::new(text);
    let dialect = HeadwaterDialect::new();
    let mut tokens =
        Tokenizer::new(&dialect, text).tokenize_with_location().map_err(|e| source.token_error(&e))?;
    depth::check(&tokens).map_err(|at| too_complex().at(source.position(at)))?;
    if let Some((at, message)) = calls::mistake(&tokens, text) {
        let position = source.position(tokens[at].span.start);
        return Err(HwError::new(sqlstate::SYNTAX_ERROR, message).at(position));
    }
    signs::divide(&mut tokens);
    table_queries::expand(&mut tokens);
    frames::take(&mut tokens);
    intervals::keep_digits(&mut tokens);
    calls::rewrite(&mut tokens);
    dialect.set_tokens(&mut tokens);
    let parser = Parser::new(&dialect).with_recursion_limit(RECURSION_MAX).with_tokens_with_locations(tokens);
    let mut reader = StatementReader { parser, dialect: &dialect, source: &source, trigger_depth: 0 };
    reader.statements().map_err(|failure| reader.report(failure))
}

/// Parses one expression that stands alone, such as a watermark strategy kept in the catalog.
///
/// Errors: as [`parse_sql`].
pub fn parse_expression(text: &str) -> Result<Expr> {
    let mut statements = parse_sql(&format!("SELECT {text}"))?;
    if let (1, Some(Statement { kind: StatementKind::Query(query), .. })) =
        (statements.len(), statements.pop())
        && let sql::SetExpr::Select(select) = *query.body
        && let [sql::SelectItem::UnnamedExpr(expr)] = select.projection.as_slice()
        && select.from.is_empty()
    {
        return Ok(expr.clone());
    }
    Err(HwError::new(sqlstate::SYNTAX_ERROR, "not an expression")
        .with_detail(format!("The text is \"{text}\".")))
}

fn too_complex() -> HwError {
    HwError::new(sqlstate::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded")
        .with_detail("The statement is nested too deeply.")
        .with_hint("Split the statement, or write long lists with IN (…) or VALUES.")
}

/// Why a statement could not be read.
enum Failure {
    Parser(ParserError),
    Report(HwError),
}

impl From<ParserError> for Failure {
    fn from(e: ParserError) -> Self {
        Failure::Parser(e)
    }
}

impl From<HwError> for Failure {
    fn from(e: HwError) -> Self {
        Failure::Report(e)
    }
}

type Parsed<T> = std::result::Result<T, Failure>;

/// Reads statements from the tokens of one submitted text.
struct StatementReader<'a> {
    parser: Parser<'a>,
    dialect: &'a HeadwaterDialect,
    source: &'a Source<'a>,
    /// Open parentheses of the trigger being read.
    trigger_depth: usize,
}

impl StatementReader<'_> {
    fn statements(&mut self) -> Parsed<Vec<Statement>> {
        let mut statements = Vec::new();
        loop {
            while self.parser.consume_token(&Token::SemiColon) {}
            if self.at_end() {
                return Ok(statements);
            }
            statements.push(self.statement()?);
            if !self.at_end() && self.parser.peek_token_ref().token != Token::SemiColon {
                return self.unexpected("end of statement");
            }
        }
    }

    fn at_end(&self) -> bool {
        self.parser.peek_token_ref().token == Token::EOF
    }

    fn statement(&mut self) -> Parsed<Statement> {
        let start = self.next_span_start();
        let position = self.position();
        let kind = self.statement_kind()?;
        let end = self.last_span_end();
        Ok(Statement { kind, text: self.source.slice(start..end).to_string(), span: start..end, position })
    }

    fn statement_kind(&mut self) -> Parsed<StatementKind> {
        let Token::Word(word) = &self.parser.peek_token_ref().token else {
            if self.parser.peek_token_ref().token == Token::LParen {
                return self.query_statement();
            }
            return self.unexpected("an SQL statement");
        };
        if word.quote_style.is_some() {
            return self.unexpected("an SQL statement");
        }
        match word.value.to_ascii_uppercase().as_str() {
            "SELECT" | "WITH" | "VALUES" | "TABLE" => self.query_statement(),
            "INSERT" | "UPDATE" | "DELETE" => self.dml_statement(),
            "EXPLAIN" => self.explain(),
            "CREATE" => self.create(),
            "DROP" => self.drop_objects(),
            "ALTER" => self.alter(),
            "COMMENT" => self.comment(),
            "REFRESH" => self.refresh(),
            "SHOW" => self.show(),
            "SET" => self.set(),
            "RESET" => self.reset(),
            "BEGIN" | "START" | "COMMIT" | "END" | "ROLLBACK" | "ABORT" | "SAVEPOINT" | "RELEASE" => {
                self.transaction()
            }
            "DECLARE" => self.declare_cursor(),
            "FETCH" | "MOVE" => self.fetch(),
            "CLOSE" => self.close_cursor(),
            "SUBSCRIBE" => Ok(StatementKind::Subscribe(Box::new(self.subscribe()?))),
            "PREPARE" => self.prepare(),
            "EXECUTE" => self.execute(),
            "DEALLOCATE" => self.deallocate(),
            "DISCARD" => self.discard(),
            "LISTEN" | "UNLISTEN" | "NOTIFY" => self.notification(),
            "COPY" => self.copy(),
            "ADVANCE" => self.advance(),
            "STEP" => self.step(),
            "GRANT" | "REVOKE" => self.privileges(),
            verb if UNSUPPORTED_VERBS.contains(&verb) => {
                let name = verb.to_string();
                self.skip_statement();
                Ok(StatementKind::Unsupported { name })
            }
            _ => self.unexpected("an SQL statement"),
        }
    }

    /// Turns a failure into the report that the client gets.
    fn report(&self, failure: Failure) -> HwError {
        match failure {
            Failure::Report(e) => e,
            Failure::Parser(ParserError::RecursionLimitExceeded) => {
                too_complex().at(self.source.position(self.parser.get_current_token().span.start))
            }
            Failure::Parser(ParserError::ParserError(m) | ParserError::TokenizerError(m)) => {
                self.recursion_clause().unwrap_or_else(|| self.source.syntax_error(&self.parser, &m))
            }
        }
    }
}

/// Statements of PostgreSQL that are recognised only to be refused by name.
const UNSUPPORTED_VERBS: [&str; 16] = [
    "ANALYZE",
    "CALL",
    "CHECKPOINT",
    "CLUSTER",
    "DO",
    "IMPORT",
    "LOAD",
    "LOCK",
    "MERGE",
    "REASSIGN",
    "REINDEX",
    "SECURITY",
    "TRUNCATE",
    "VACUUM",
    "DENY",
    "KILL",
];

/// Words a statement can begin with, for suggestions.
const LEADING_WORDS: [&str; 36] = [
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "CREATE",
    "DROP",
    "ALTER",
    "EXPLAIN",
    "SHOW",
    "SET",
    "RESET",
    "BEGIN",
    "START",
    "COMMIT",
    "END",
    "ROLLBACK",
    "ABORT",
    "SAVEPOINT",
    "RELEASE",
    "DECLARE",
    "FETCH",
    "CLOSE",
    "SUBSCRIBE",
    "PREPARE",
    "EXECUTE",
    "DEALLOCATE",
    "DISCARD",
    "LISTEN",
    "UNLISTEN",
    "NOTIFY",
    "COPY",
    "ADVANCE",
    "STEP",
    "GRANT",
    "REVOKE",
    "COMMENT",
];
