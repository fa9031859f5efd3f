//! The submitted text: token locations to bytes and characters, and syntax errors.
//!
//! sqlparser says where a token is by line and column (both from 1, columns in characters).
//! PostgreSQL says it by a character position in the whole text, and names the token as it
//! was written. Locations of line 0 mean the end of the text.

use std::ops::Range;

use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Location, Span, Token, TokenizerError};

use crate::error::{HwError, sqlstate};
use crate::sql::suggest::did_you_mean;

/// Where a line begins.
struct Line {
    byte: usize,
    /// Characters before the line.
    chars: usize,
    is_ascii: bool,
}

pub(super) struct Source<'a> {
    text: &'a str,
    lines: Vec<Line>,
    chars: usize,
}

/// Keywords inside statements, for suggestions.
const CLAUSE_WORDS: [&str; 46] = [
    "FROM",
    "WHERE",
    "GROUP",
    "HAVING",
    "ORDER",
    "LIMIT",
    "OFFSET",
    "UNION",
    "JOIN",
    "INNER",
    "LEFT",
    "USING",
    "VALUES",
    "INTO",
    "RETURNING",
    "CONFLICT",
    "MATERIALIZED",
    "VIEW",
    "TABLE",
    "SOURCE",
    "SINK",
    "CONNECTION",
    "SECRET",
    "INDEX",
    "FUNCTION",
    "SCHEMA",
    "WATERMARK",
    "WATERMARKS",
    "INCLUDE",
    "FORMAT",
    "ENCODE",
    "EMIT",
    "CHANGES",
    "EARLY",
    "INTERVAL",
    "LATENESS",
    "ACCUMULATING",
    "DISCARDING",
    "RETRACTING",
    "CASCADE",
    "EXISTS",
    "PRIMARY",
    "CURSOR",
    "CLOCK",
    "DISTINCT",
    "BETWEEN",
];

impl<'a> Source<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let mut lines = Vec::new();
        let (mut byte, mut chars) = (0, 0);
        for line in text.split_inclusive('\n') {
            lines.push(Line { byte, chars, is_ascii: line.is_ascii() });
            byte += line.len();
            chars += line.chars().count();
        }
        lines.push(Line { byte, chars, is_ascii: true });
        Source { text, lines, chars }
    }

    pub(super) fn slice(&self, range: Range<usize>) -> &'a str {
        self.text.get(range).unwrap_or("")
    }

    /// Byte offset of a location.
    pub(super) fn byte(&self, at: Location) -> usize {
        let Some(line) = self.line(at) else { return self.text.len() };
        let column = (at.column as usize).saturating_sub(1);
        if line.is_ascii {
            return (line.byte + column).min(self.text.len());
        }
        let rest = &self.text[line.byte..];
        rest.char_indices().nth(column).map_or(self.text.len(), |(i, _)| line.byte + i)
    }

    /// 1-based character position of a location.
    pub(super) fn position(&self, at: Location) -> usize {
        match self.line(at) {
            Some(line) => (line.chars + at.column as usize).min(self.chars + 1),
            None => self.chars + 1,
        }
    }

    fn line(&self, at: Location) -> Option<&Line> {
        self.lines.get((at.line as usize).checked_sub(1)?)
    }

    fn token_text(&self, span: Span) -> &'a str {
        self.slice(self.byte(span.start)..self.byte(span.end))
    }

    /// The report for text that is not even tokens, such as an open quote.
    pub(super) fn token_error(&self, e: &TokenizerError) -> HwError {
        let message = e.message.to_lowercase();
        let what = if message.contains("dollar") {
            "unterminated dollar-quoted string"
        } else if message.contains("comment") {
            "unterminated /* comment"
        } else if message.contains("close delimiter") || message.contains("identifier") {
            "unterminated quoted identifier"
        } else if message.contains("unterminated") {
            "unterminated quoted string"
        } else {
            "syntax error"
        };
        let rest: String = self.slice(self.byte(e.location)..self.text.len()).chars().take(40).collect();
        let message = if rest.is_empty() {
            format!("{what} at end of input")
        } else {
            format!("{what} at or near \"{rest}\"")
        };
        HwError::new(sqlstate::SYNTAX_ERROR, message).at(self.position(e.location))
    }

    /// The report for a message of sqlparser, which ends in the location if it knows one.
    pub(super) fn syntax_error(&self, parser: &Parser<'_>, message: &str) -> HwError {
        let (said, location) = split_location(message);
        let index = match location {
            Some(location) => token_index(parser, location),
            None if said.ends_with("found: EOF") => None,
            None => token_index(parser, parser.get_current_token().span.start),
        };
        let Some(index) = index else {
            return self.with_expectation(
                HwError::new(sqlstate::SYNTAX_ERROR, "syntax error at end of input").at(self.chars + 1),
                said,
            );
        };
        let token = parser.token_at(index);
        let near = self.token_text(token.span);
        let error = HwError::new(sqlstate::SYNTAX_ERROR, format!("syntax error at or near \"{near}\""))
            .at(self.position(token.span.start));
        match suggestion(parser, index) {
            Some(hint) => error.with_hint(hint),
            None => self.with_expectation(error, said),
        }
    }

    fn with_expectation(&self, error: HwError, said: &str) -> HwError {
        let Some(expected) = said.strip_prefix("Expected: ") else { return error };
        let expected = expected.split(", found: ").next().unwrap_or(expected);
        error.with_detail(format!("Expected {}.", expected.trim_end_matches('.')))
    }
}

/// Splits ` at Line: 3, Column: 7` off a message.
fn split_location(message: &str) -> (&str, Option<Location>) {
    let parsed = message.rfind(" at Line: ").and_then(|i| {
        let (line, column) = message[i + " at Line: ".len()..].split_once(", Column: ")?;
        Some((&message[..i], Location { line: line.parse().ok()?, column: column.trim().parse().ok()? }))
    });
    match parsed {
        Some((said, location)) => (said, Some(location)),
        None => (message, None),
    }
}

fn token_index(parser: &Parser<'_>, at: Location) -> Option<usize> {
    let mut index = 0;
    loop {
        let token = parser.token_at(index);
        if token.token == Token::EOF {
            return None;
        }
        if token.span.start >= at && !matches!(token.token, Token::Whitespace(_)) {
            return Some(index);
        }
        index += 1;
    }
}

/// A misspelt keyword is either the offending word or the one before it, which was taken
/// for an alias.
fn suggestion(parser: &Parser<'_>, index: usize) -> Option<String> {
    let earlier = (0..index).rev().filter(|i| !matches!(parser.token_at(*i).token, Token::Whitespace(_)));
    let earlier: Vec<usize> = earlier.take(1).collect();
    let leads = earlier.first().is_none_or(|i| parser.token_at(*i).token == Token::SemiColon);
    for i in std::iter::once(index).chain(earlier) {
        let Token::Word(word) = &parser.token_at(i).token else { continue };
        let known: Vec<&str> = if leads { super::LEADING_WORDS.to_vec() } else { CLAUSE_WORDS.to_vec() };
        let upper = word.value.to_ascii_uppercase();
        if word.quote_style.is_some() || CLAUSE_WORDS.contains(&upper.as_str()) || upper.len() < 3 {
            continue;
        }
        if let Some(meant) = did_you_mean(&word.value, known.into_iter()) {
            return Some(format!("Perhaps \"{}\" should be \"{meant}\".", word.value));
        }
    }
    None
}
