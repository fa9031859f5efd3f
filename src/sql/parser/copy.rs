//! `COPY relation [(columns)] FROM STDIN | (query) TO STDOUT [[WITH] options]`.
//!
//! Options are read in the form in parentheses and in the older one of bare words, which psql's
//! `\copy` passes on as it was typed.

use sqlparser::tokenizer::Token;

use super::{Parsed, StatementReader, sqlstate};
use crate::error::HwError;
use crate::formats::copy::{CopyForm, CopyFormat};
use crate::sql::ast::{CopyStatement, CopySubject, StatementKind};

/// Options as written; what is left out is as the format has it.
#[derive(Default)]
struct Given {
    format: Option<CopyFormat>,
    delimiter: Option<u8>,
    null: Option<String>,
    header: bool,
    quote: Option<u8>,
    escape: Option<u8>,
}

impl StatementReader<'_> {
    pub(super) fn copy(&mut self) -> Parsed<StatementKind> {
        self.expect_word("COPY")?;
        if self.word("BINARY") {
            return binary();
        }
        let subject = if self.token(&Token::LParen) {
            let query = self.query()?;
            self.expect_token(&Token::RParen)?;
            CopySubject::Query(query)
        } else {
            let name = self.object_name()?;
            let listed = self.peek().token == Token::LParen;
            CopySubject::Relation { name, columns: if listed { self.name_list()? } else { Vec::new() } }
        };
        let Some(direction) = self.one_of(&["FROM", "TO"]) else { return self.unexpected("FROM or TO") };
        let from = direction == "FROM";
        if from && matches!(subject, CopySubject::Query(_)) {
            return self.unexpected("TO");
        }
        let end = if from { "STDIN" } else { "STDOUT" };
        if !self.word(end) {
            let what = format!("COPY {direction} a file or program of the server");
            let hint = format!("Write {direction} {end}; psql's \\copy reads and writes files of its own.");
            return Err(HwError::unsupported(what, hint).at(self.position()).into());
        }
        let form = self.copy_options()?;
        if self.at_word("WHERE") {
            let hint = "Copy into a table, and INSERT … SELECT from it with a WHERE.";
            return Err(HwError::unsupported("COPY FROM … WHERE", hint).at(self.position()).into());
        }
        Ok(StatementKind::Copy(CopyStatement { subject, from, form }))
    }

    fn copy_options(&mut self) -> Parsed<CopyForm> {
        let mut given = Given::default();
        self.word("WITH");
        if self.token(&Token::LParen) {
            loop {
                self.copy_option(&mut given)?;
                if !self.token(&Token::Comma) {
                    break;
                }
            }
            self.expect_token(&Token::RParen)?;
        } else {
            while matches!(self.peek().token, Token::Word(_)) && !self.at_word("WHERE") {
                self.copy_option(&mut given)?;
            }
        }
        let position = self.position();
        let csv_only = given.quote.is_some() || given.escape.is_some();
        let mut form = CopyForm::of(given.format.unwrap_or(CopyFormat::Text));
        if csv_only && form.format != CopyFormat::Csv {
            return self.refuse("COPY quote and escape available only in CSV mode", position);
        }
        form.header = given.header;
        form.delimiter = given.delimiter.unwrap_or(form.delimiter);
        form.quote = given.quote.unwrap_or(form.quote);
        form.escape = given.escape.or(given.quote).unwrap_or(form.escape);
        form.null = given.null.unwrap_or(form.null);
        let marks = [form.delimiter, b'\n', b'\r'];
        if form.null.bytes().any(|b| marks.contains(&b)) {
            return self
                .refuse("COPY delimiter and line ends must not appear in the NULL specification", position);
        }
        if form.format == CopyFormat::Csv && form.delimiter == form.quote {
            return self.refuse("COPY delimiter and quote must be different", position);
        }
        Ok(form)
    }

    /// One option, in either form.
    fn copy_option(&mut self, given: &mut Given) -> Parsed<()> {
        const NAMES: [&str; 9] =
            ["FORMAT", "CSV", "TEXT", "BINARY", "HEADER", "DELIMITER", "NULL", "QUOTE", "ESCAPE"];
        let position = self.position();
        if self.word("ENCODING") {
            let name = self.expect_string()?;
            return match name.to_ascii_uppercase().replace('-', "").as_str() {
                "UTF8" => Ok(()),
                _ => self.refuse(format!("encoding \"{name}\" is not supported; write UTF8"), position),
            };
        }
        let Some(option) = self.one_of(&NAMES) else {
            let text = format!("option \"{}\" not recognized", self.peek().token);
            let error = HwError::new(sqlstate::SYNTAX_ERROR, text).at(position);
            return Err(error
                .with_hint("Valid options are FORMAT, HEADER, DELIMITER, NULL, QUOTE, ESCAPE and ENCODING.")
                .into());
        };
        match option {
            "FORMAT" => match self.name_or_string()?.to_ascii_lowercase().as_str() {
                "text" => given.format = Some(CopyFormat::Text),
                "csv" => given.format = Some(CopyFormat::Csv),
                "binary" => return binary(),
                other => return self.refuse(format!("COPY format \"{other}\" not recognized"), position),
            },
            "CSV" => given.format = Some(CopyFormat::Csv),
            "TEXT" => given.format = Some(CopyFormat::Text),
            "BINARY" => return binary(),
            "HEADER" => given.header = self.copy_flag()?,
            "NULL" => {
                self.word("AS");
                given.null = Some(self.expect_string()?);
            }
            "DELIMITER" => given.delimiter = Some(self.copy_byte("delimiter")?),
            "QUOTE" => given.quote = Some(self.copy_byte("quote")?),
            _ => given.escape = Some(self.copy_byte("escape")?),
        }
        Ok(())
    }

    fn name_or_string(&mut self) -> Parsed<String> {
        match self.string()? {
            Some(text) => Ok(text),
            None => self.name(),
        }
    }

    /// What follows HEADER; nothing means true.
    fn copy_flag(&mut self) -> Parsed<bool> {
        let position = self.position();
        if let Some(word) = self.one_of(&["TRUE", "ON", "FALSE", "OFF"]) {
            return Ok(matches!(word, "TRUE" | "ON"));
        }
        if self.at_word("MATCH") {
            let hint = "Write HEADER; the order of the columns is that of the column list.";
            return Err(HwError::unsupported("HEADER MATCH", hint).at(position).into());
        }
        match self.integer()? {
            Some(number) => Ok(number != 0),
            None => Ok(true),
        }
    }

    fn copy_byte(&mut self, what: &str) -> Parsed<u8> {
        self.word("AS");
        let position = self.position();
        match self.expect_string()?.as_bytes() {
            [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | b'\\' | b'.') => Ok(*byte),
            _ => self.refuse(format!("COPY {what} must be a single one-byte character"), position),
        }
    }
}

fn binary<T>() -> Parsed<T> {
    Err(HwError::unsupported("COPY in binary format", "Write (FORMAT csv), or leave the format out.").into())
}
