//! `WITH ( key = value, … )`, `FORMAT … ENCODE …` and `INCLUDE …`.
//!
//! A key is words joined by `.` or `-` (`scan.watermark.idle-timeout`), or a string; it is
//! kept in lower case. A value may be missing (`WITH (SNAPSHOT)`). A key given twice is 42601.

use std::collections::BTreeMap;

use sqlparser::tokenizer::Token;

use super::{Parsed, StatementReader, sqlstate};
use crate::error::HwError;
use crate::sql::ast::{
    Encode, Format, FormatSpec, Include, IncludeKind, OptionLiteral, OptionValue, Options,
};
use crate::sql::suggest::did_you_mean;

impl StatementReader<'_> {
    /// `WITH ( … )` if it comes next.
    pub(super) fn with_options(&mut self) -> Parsed<Option<Options>> {
        if self.word("WITH") { Ok(Some(self.option_list()?)) } else { Ok(None) }
    }

    /// `( key [= value], … )`, possibly empty.
    pub(super) fn option_list(&mut self) -> Parsed<Options> {
        self.expect_token(&Token::LParen)?;
        let mut options = BTreeMap::new();
        while !self.token(&Token::RParen) {
            let position = self.position();
            let key = self.option_key()?;
            let value = if self.token(&Token::Eq) { self.option_value()? } else { self.bare_option_value()? };
            if options.insert(key.clone(), OptionValue { value, position }).is_some() {
                let error = HwError::new(sqlstate::SYNTAX_ERROR, "conflicting or redundant options")
                    .with_detail(format!("Option \"{key}\" is given more than once."))
                    .at(position);
                return Err(error.into());
            }
            if !self.token(&Token::Comma) && self.peek().token != Token::RParen {
                return self.unexpected("',' or ')'");
            }
        }
        Ok(options)
    }

    fn option_key(&mut self) -> Parsed<String> {
        if let Some(key) = self.string()? {
            return Ok(key.to_lowercase());
        }
        let mut key = String::new();
        loop {
            match &self.peek().token {
                Token::Word(w) => key.push_str(&w.value),
                Token::Number(n, _) if !key.is_empty() => key.push_str(n),
                Token::Period if !key.is_empty() => key.push('.'),
                Token::Minus if !key.is_empty() => key.push('-'),
                _ if key.is_empty() || key.ends_with(['.', '-']) => return self.unexpected("option name"),
                _ => return Ok(key.to_lowercase()),
            }
            let joint = !matches!(self.peek().token, Token::Word(_));
            self.parser.advance_token();
            if !joint && !matches!(self.peek().token, Token::Period | Token::Minus | Token::Number(..)) {
                return Ok(key.to_lowercase());
            }
        }
    }

    /// PostgreSQL's EXPLAIN writes `(FORMAT JSON)`, without an equals sign.
    fn bare_option_value(&mut self) -> Parsed<OptionLiteral> {
        match self.peek().token {
            Token::Comma | Token::RParen => Ok(OptionLiteral::Flag),
            _ => self.option_value(),
        }
    }

    fn option_value(&mut self) -> Parsed<OptionLiteral> {
        if let Some(text) = self.string()? {
            return Ok(OptionLiteral::String(text));
        }
        if let Some(number) = self.number()? {
            return Ok(OptionLiteral::Number(number));
        }
        if self.one_of(&["TRUE", "ON"]).is_some() {
            return Ok(OptionLiteral::Bool(true));
        }
        if self.one_of(&["FALSE", "OFF"]).is_some() {
            return Ok(OptionLiteral::Bool(false));
        }
        if self.at_word("INTERVAL") && string_token(&self.parser.peek_nth_token_ref(1).token) {
            self.parser.advance_token();
            return Ok(OptionLiteral::Interval(self.expect_string()?));
        }
        if self.at_word("SECRET") && matches!(self.parser.peek_nth_token_ref(1).token, Token::Word(_)) {
            self.parser.advance_token();
            return Ok(OptionLiteral::Secret(self.object_name()?));
        }
        match self.peek().token {
            Token::Word(_) => Ok(OptionLiteral::Name(self.object_name()?)),
            _ => self.unexpected("option value"),
        }
    }

    /// `FORMAT f ENCODE e [( … )]` if it comes next.
    pub(super) fn format_spec(&mut self) -> Parsed<Option<FormatSpec>> {
        let position = self.position();
        if !self.word("FORMAT") {
            return Ok(None);
        }
        let format = self.choice(
            &[("PLAIN", Format::Plain), ("UPSERT", Format::Upsert), ("DEBEZIUM", Format::Debezium)],
            "format",
        )?;
        self.expect_word("ENCODE")?;
        let encode = self.choice(
            &[
                ("JSON", Encode::Json),
                ("CSV", Encode::Csv),
                ("AVRO", Encode::Avro),
                ("PROTOBUF", Encode::Protobuf),
                ("BYTES", Encode::Bytes),
            ],
            "encoding",
        )?;
        let options = if self.peek().token == Token::LParen { self.option_list()? } else { Options::new() };
        Ok(Some(FormatSpec { format, encode, options, position }))
    }

    /// One of a few words, each with its meaning; another word is refused by name.
    fn choice<T: Copy>(&mut self, choices: &[(&str, T)], what: &str) -> Parsed<T> {
        let position = self.position();
        let word = self.name()?;
        if let Some((_, value)) = choices.iter().find(|(w, _)| w.eq_ignore_ascii_case(&word)) {
            return Ok(*value);
        }
        let names = choices.iter().map(|(w, _)| *w);
        let valid: Vec<&str> = names.clone().collect();
        let hint = match did_you_mean(&word, names) {
            Some(meant) => format!("Perhaps \"{word}\" should be \"{meant}\"."),
            None => format!("Valid are {}.", valid.join(", ")),
        };
        let error = HwError::new(sqlstate::SYNTAX_ERROR, format!("unknown {what} \"{word}\""));
        Err(error.with_hint(hint).at(position).into())
    }

    /// Any number of `INCLUDE kind [AS alias]`.
    pub(super) fn includes(&mut self, includes: &mut Vec<Include>) -> Parsed<()> {
        while self.word("INCLUDE") {
            let position = self.position();
            let kind = self.choice(
                &[
                    ("KEY", IncludeKind::Key),
                    ("PARTITION", IncludeKind::Partition),
                    ("OFFSET", IncludeKind::Offset),
                    ("TIMESTAMP", IncludeKind::Timestamp),
                    ("HEADERS", IncludeKind::Headers),
                    ("HEADER", IncludeKind::Headers),
                ],
                "INCLUDE column",
            )?;
            let alias = if self.word("AS") { Some(self.name()?) } else { None };
            includes.push(Include { kind, alias, position });
        }
        Ok(())
    }
}

fn string_token(token: &Token) -> bool {
    matches!(
        token,
        Token::SingleQuotedString(_) | Token::EscapedStringLiteral(_) | Token::DollarQuotedString(_)
    )
}
