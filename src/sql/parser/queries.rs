//! Queries and DML, which are sqlparser's own; here they get their text and one shape for
//! window table functions.

use sqlparser::ast as sql;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::{Parsed, StatementReader, windows};
use crate::error::HwError;
use crate::sql::ast::{Query, QueryText, StatementKind};

impl StatementReader<'_> {
    pub(super) fn query(&mut self) -> Parsed<Box<Query>> {
        let mut query = self.parser.parse_query()?;
        windows::normalize(&mut query);
        Ok(query)
    }

    pub(super) fn query_text(&mut self) -> Parsed<QueryText> {
        let start = self.next_span_start();
        let query = self.query()?;
        Ok(QueryText { query, text: self.text_since(start) })
    }

    pub(super) fn query_statement(&mut self) -> Parsed<StatementKind> {
        let query = self.query()?;
        if super::dialect::at_emit(&self.parser) {
            return Err(HwError::unsupported(
                "EMIT in an ad-hoc query",
                "Write the clause in CREATE MATERIALIZED VIEW; a SELECT gives what the stream converges to.",
            )
            .at(self.position())
            .into());
        }
        Ok(StatementKind::Query(query))
    }

    pub(super) fn dml_statement(&mut self) -> Parsed<StatementKind> {
        let mut statement = self.parser.parse_statement()?;
        windows::normalize(&mut statement);
        Ok(match statement {
            sql::Statement::Insert(insert) => StatementKind::Insert(Box::new(insert)),
            sql::Statement::Update(update) => StatementKind::Update(Box::new(update)),
            sql::Statement::Delete(delete) => StatementKind::Delete(Box::new(delete)),
            other => StatementKind::Unsupported { name: first_words(&other.to_string()) },
        })
    }

    /// What to say if a query ends its recursive query with SEARCH or CYCLE, where parsing stopped.
    pub(super) fn recursion_clause(&self) -> Option<HwError> {
        let word = |token: &TokenWithSpan| match &token.token {
            Token::Word(w) if w.quote_style.is_none() => w.value.to_ascii_uppercase(),
            _ => String::new(),
        };
        let tokens = [
            self.parser.get_current_token(),
            self.parser.peek_token_ref(),
            self.parser.peek_nth_token_ref(1),
        ];
        let (clause, hint, at) = tokens.windows(2).find_map(|pair| {
            let at = pair[0].span.start;
            match (word(pair[0]).as_str(), word(pair[1]).as_str()) {
                ("SEARCH", "DEPTH" | "BREADTH") => {
                    Some(("SEARCH", "Keep the way to a row in a column of it, and order by that.", at))
                }
                ("CYCLE", next) if !next.is_empty() => {
                    Some(("CYCLE", "UNION ends at a cycle; or keep the way to a row in a column of it.", at))
                }
                _ => None,
            }
        })?;
        let what = format!("the {clause} clause of a recursive query");
        Some(HwError::unsupported(what, hint).at(self.source.position(at)))
    }

    /// The details of GRANT and REVOKE mean nothing yet.
    pub(super) fn privileges(&mut self) -> Parsed<StatementKind> {
        let grant = self.at_word("GRANT");
        self.parser.advance_token();
        if self.at_end() || self.peek().token == sqlparser::tokenizer::Token::SemiColon {
            return self.unexpected("privileges or a role");
        }
        self.skip_statement();
        Ok(if grant { StatementKind::Grant } else { StatementKind::Revoke })
    }
}

fn first_words(text: &str) -> String {
    text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}
