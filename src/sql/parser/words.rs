//! Small things that all statements read: words, names, numbers, strings, positions.
//!
//! Words are compared without regard to case and never match a quoted identifier. A method
//! that returns `false` or `None` has consumed nothing.

use sqlparser::ast as sql;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::dialect::is_word;
use super::{Expr, ExprText, Failure, HwError, ObjectName, Parsed, StatementReader, sqlstate};

/// PostgreSQL's limit for names, in bytes.
const NAME_BYTES_MAX: usize = 63;

/// A name as PostgreSQL folds it: unquoted to lower case, cut to 63 bytes.
pub fn fold_identifier(ident: &sql::Ident) -> String {
    let folded = if ident.quote_style.is_some() { ident.value.clone() } else { fold_word(&ident.value) };
    truncated(folded)
}

fn fold_word(word: &str) -> String {
    word.to_ascii_lowercase()
}

fn truncated(mut name: String) -> String {
    if name.len() > NAME_BYTES_MAX {
        let end = (0..=NAME_BYTES_MAX).rev().find(|i| name.is_char_boundary(*i)).unwrap_or(0);
        name.truncate(end);
    }
    name
}

impl StatementReader<'_> {
    pub(super) fn at_word(&self, word: &str) -> bool {
        is_word(&self.parser.peek_token_ref().token, word)
    }

    /// Whether these words come next, in this order.
    pub(super) fn at_words(&self, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(i, w)| is_word(&self.parser.peek_nth_token_ref(i).token, w))
    }

    /// Consumes `word` if it comes next.
    pub(super) fn word(&mut self, word: &str) -> bool {
        let here = self.at_word(word);
        if here {
            self.parser.advance_token();
        }
        here
    }

    /// Consumes all of `words` if they come next.
    pub(super) fn words(&mut self, words: &[&str]) -> bool {
        let here = self.at_words(words);
        if here {
            words.iter().for_each(|_| self.parser.advance_token());
        }
        here
    }

    /// Consumes whichever of `words` comes next, and says which.
    pub(super) fn one_of<'w>(&mut self, words: &[&'w str]) -> Option<&'w str> {
        let found = words.iter().copied().find(|w| self.at_word(w));
        if found.is_some() {
            self.parser.advance_token();
        }
        found
    }

    pub(super) fn expect_word(&mut self, word: &str) -> Parsed<()> {
        if self.word(word) { Ok(()) } else { self.unexpected(word) }
    }

    pub(super) fn expect_words(&mut self, words: &[&str]) -> Parsed<()> {
        words.iter().try_for_each(|w| self.expect_word(w))
    }

    pub(super) fn token(&mut self, token: &Token) -> bool {
        self.parser.consume_token(token)
    }

    pub(super) fn expect_token(&mut self, token: &Token) -> Parsed<()> {
        self.parser.expect_token(token)?;
        Ok(())
    }

    /// The syntax error at the next token.
    pub(super) fn unexpected<T>(&self, expected: &str) -> Parsed<T> {
        Ok(self.parser.expected_ref(expected, self.parser.peek_token_ref())?)
    }

    /// An error with a SQLSTATE of its own, at `position`.
    pub(super) fn refuse<T>(&self, message: impl Into<String>, position: usize) -> Parsed<T> {
        Err(Failure::Report(HwError::new(sqlstate::SYNTAX_ERROR, message).at(position)))
    }

    /// Character position of the next token.
    pub(super) fn position(&self) -> usize {
        self.source.position(self.parser.peek_token_ref().span.start)
    }

    pub(super) fn next_span_start(&self) -> usize {
        self.source.byte(self.parser.peek_token_ref().span.start)
    }

    /// Byte one past the last token consumed.
    pub(super) fn last_span_end(&self) -> usize {
        (0..self.parser.index())
            .rev()
            .map(|i| self.parser.token_at(i))
            .find(|t| !matches!(t.token, Token::Whitespace(_) | Token::EOF))
            .map_or(0, |t| self.source.byte(t.span.end))
    }

    /// The text from byte `start` to the last token consumed.
    pub(super) fn text_since(&self, start: usize) -> String {
        self.source.slice(start..self.last_span_end()).to_string()
    }

    pub(super) fn if_exists(&mut self) -> bool {
        self.words(&["IF", "EXISTS"])
    }

    pub(super) fn if_not_exists(&mut self) -> bool {
        self.words(&["IF", "NOT", "EXISTS"])
    }

    /// One identifier, folded.
    pub(super) fn name(&mut self) -> Parsed<String> {
        match &self.parser.peek_token_ref().token {
            Token::Word(w) => {
                let (value, quoted) = (w.value.clone(), w.quote_style.is_some());
                if quoted && value.is_empty() {
                    return self.refuse("zero-length delimited identifier", self.position());
                }
                self.parser.advance_token();
                Ok(truncated(if quoted { value } else { fold_word(&value) }))
            }
            _ => self.unexpected("identifier"),
        }
    }

    /// `[[database.]schema.]name`.
    pub(super) fn object_name(&mut self) -> Parsed<ObjectName> {
        let position = self.position();
        let mut parts = vec![self.name()?];
        while self.token(&Token::Period) {
            parts.push(self.name()?);
        }
        let name = parts.pop().unwrap_or_default();
        let (schema, database) = (parts.pop(), parts.pop());
        if !parts.is_empty() {
            return self.refuse("improper qualified name (too many dotted names)", position);
        }
        Ok(ObjectName { database, schema, name, position })
    }

    /// `( a, b, … )`.
    pub(super) fn name_list(&mut self) -> Parsed<Vec<String>> {
        self.expect_token(&Token::LParen)?;
        let names = self.comma_separated(Self::name)?;
        self.expect_token(&Token::RParen)?;
        Ok(names)
    }

    pub(super) fn comma_separated<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Parsed<T>,
    ) -> Parsed<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.token(&Token::Comma) {
            items.push(item(self)?);
        }
        Ok(items)
    }

    pub(super) fn expression(&mut self) -> Parsed<Expr> {
        let mut expr = self.parser.parse_expr()?;
        super::windows::normalize(&mut expr);
        Ok(expr)
    }

    pub(super) fn expression_text(&mut self) -> Parsed<ExprText> {
        let start = self.next_span_start();
        let expr = Box::new(self.expression()?);
        Ok(ExprText { expr, text: self.text_since(start) })
    }

    /// The string that comes next, in any quotes of PostgreSQL.
    pub(super) fn string(&mut self) -> Parsed<Option<String>> {
        let value = match &self.parser.peek_token_ref().token {
            Token::SingleQuotedString(s)
            | Token::EscapedStringLiteral(s)
            | Token::UnicodeStringLiteral(s)
            | Token::NationalStringLiteral(s) => s.clone(),
            Token::DollarQuotedString(s) => s.value.clone(),
            _ => return Ok(None),
        };
        self.parser.advance_token();
        Ok(Some(value))
    }

    pub(super) fn expect_string(&mut self) -> Parsed<String> {
        match self.string()? {
            Some(s) => Ok(s),
            None => self.unexpected("a string"),
        }
    }

    /// A number as written, with its sign.
    pub(super) fn number(&mut self) -> Parsed<Option<String>> {
        let (sign, nth) = match self.parser.peek_token_ref().token {
            Token::Minus => ("-", 1),
            Token::Plus => ("", 1),
            _ => ("", 0),
        };
        let Token::Number(digits, _) = &self.parser.peek_nth_token_ref(nth).token else { return Ok(None) };
        let value = format!("{sign}{digits}");
        (0..=nth).for_each(|_| self.parser.advance_token());
        Ok(Some(value))
    }

    /// An integer that fits `i64`.
    pub(super) fn integer(&mut self) -> Parsed<Option<i64>> {
        let position = self.position();
        match self.number()? {
            None => Ok(None),
            Some(text) => match text.parse() {
                Ok(value) => Ok(Some(value)),
                Err(_) => self.refuse(format!("invalid integer \"{text}\""), position),
            },
        }
    }

    /// Consumes everything up to the end of the statement.
    pub(super) fn skip_statement(&mut self) {
        while !matches!(self.parser.peek_token_ref().token, Token::SemiColon | Token::EOF) {
            self.parser.advance_token();
        }
    }

    pub(super) fn peek(&self) -> &TokenWithSpan {
        self.parser.peek_token_ref()
    }
}
