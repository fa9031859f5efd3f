//! What belongs to one session: parameters, prepared statements, notifications, DISCARD.

use sqlparser::tokenizer::Token;

use super::{Parsed, StatementReader};
use crate::sql::ast::{DiscardTarget, SetScope, SettingItem, SettingValue, StatementKind};

impl StatementReader<'_> {
    pub(super) fn set(&mut self) -> Parsed<StatementKind> {
        self.expect_word("SET")?;
        if self.words(&["SESSION", "CHARACTERISTICS", "AS", "TRANSACTION"]) {
            return Ok(StatementKind::SetTransaction { session: true, modes: self.transaction_modes()? });
        }
        if self.word("TRANSACTION") {
            if self.word("SNAPSHOT") {
                self.expect_string()?;
                return Ok(StatementKind::Unsupported { name: "SET TRANSACTION SNAPSHOT".to_string() });
            }
            return Ok(StatementKind::SetTransaction { session: false, modes: self.transaction_modes()? });
        }
        if self.at_word("CONSTRAINTS") {
            self.skip_statement();
            return Ok(StatementKind::Unsupported { name: "SET CONSTRAINTS".to_string() });
        }
        let authorization = self.at_words(&["SESSION", "AUTHORIZATION"]);
        let scope = if self.word("LOCAL") { SetScope::Local } else { SetScope::Session };
        let assigned =
            matches!(self.parser.peek_nth_token_ref(1).token, Token::Eq) || self.at_words(&["SESSION", "TO"]);
        if !authorization && !assigned {
            let _ = self.word("SESSION");
        }
        let (name, value) = self.setting()?;
        Ok(StatementKind::Set { scope, name, value })
    }

    fn setting(&mut self) -> Parsed<(String, SettingValue)> {
        if self.words(&["TIME", "ZONE"]) {
            return Ok(("timezone".to_string(), self.time_zone()?));
        }
        if self.word("NAMES") {
            let value = if self.at_end() || self.peek().token == Token::SemiColon {
                SettingValue::Default
            } else {
                self.setting_value()?
            };
            return Ok(("client_encoding".to_string(), value));
        }
        for (word, name) in [("ROLE", "role"), ("SCHEMA", "search_path")] {
            let assigned =
                matches!(self.parser.peek_nth_token_ref(1).token, Token::Eq) || self.at_words(&[word, "TO"]);
            if !assigned && self.word(word) {
                return Ok((name.to_string(), self.setting_value()?));
            }
        }
        if self.words(&["SESSION", "AUTHORIZATION"]) {
            return Ok(("session_authorization".to_string(), self.setting_value()?));
        }
        let name = self.parameter_name()?;
        if !self.token(&Token::Eq) && !self.word("TO") {
            return self.unexpected("TO or =");
        }
        Ok((name, self.setting_value()?))
    }

    fn time_zone(&mut self) -> Parsed<SettingValue> {
        if self.word("LOCAL") || self.word("DEFAULT") {
            return Ok(SettingValue::Default);
        }
        if self.word("INTERVAL") {
            let text = self.expect_string()?;
            let _ = self.words(&["HOUR", "TO", "MINUTE"]);
            return Ok(SettingValue::Values(vec![SettingItem { text, is_identifier: false }]));
        }
        self.setting_value()
    }

    fn setting_value(&mut self) -> Parsed<SettingValue> {
        if self.word("DEFAULT") {
            return Ok(SettingValue::Default);
        }
        Ok(SettingValue::Values(self.comma_separated(Self::setting_item)?))
    }

    fn setting_item(&mut self) -> Parsed<SettingItem> {
        if let Some(text) = self.string()? {
            return Ok(SettingItem { text, is_identifier: false });
        }
        if let Some(text) = self.number()? {
            return Ok(SettingItem { text, is_identifier: false });
        }
        match self.peek().token {
            Token::Word(_) => Ok(SettingItem { text: self.name()?, is_identifier: true }),
            _ => self.unexpected("a value"),
        }
    }

    pub(super) fn reset(&mut self) -> Parsed<StatementKind> {
        self.expect_word("RESET")?;
        let name = if self.word("ALL") { None } else { Some(self.parameter_name()?) };
        Ok(StatementKind::Reset { name })
    }

    pub(super) fn prepare(&mut self) -> Parsed<StatementKind> {
        self.expect_word("PREPARE")?;
        if self.word("TRANSACTION") {
            self.expect_string()?;
            return Ok(StatementKind::Unsupported { name: "PREPARE TRANSACTION".to_string() });
        }
        let name = self.name()?;
        let mut types = Vec::new();
        if self.token(&Token::LParen) {
            types = self.comma_separated(|r| Ok(r.parser.parse_data_type()?))?;
            self.expect_token(&Token::RParen)?;
        }
        self.expect_word("AS")?;
        if !["SELECT", "WITH", "VALUES", "INSERT", "UPDATE", "DELETE", "TABLE", "SUBSCRIBE"]
            .iter()
            .any(|w| self.at_word(w))
            && self.peek().token != Token::LParen
        {
            return self.unexpected("SELECT, INSERT, UPDATE, DELETE or VALUES");
        }
        let statement = Box::new(self.statement()?);
        Ok(StatementKind::Prepare { name, types, statement })
    }

    pub(super) fn execute(&mut self) -> Parsed<StatementKind> {
        self.expect_word("EXECUTE")?;
        let name = self.name()?;
        let mut arguments = Vec::new();
        if self.token(&Token::LParen) {
            arguments = self.comma_separated(Self::expression)?;
            self.expect_token(&Token::RParen)?;
        }
        Ok(StatementKind::Execute { name, arguments })
    }

    pub(super) fn deallocate(&mut self) -> Parsed<StatementKind> {
        self.expect_word("DEALLOCATE")?;
        let _ = self.word("PREPARE");
        let name = if self.word("ALL") { None } else { Some(self.name()?) };
        Ok(StatementKind::Deallocate { name })
    }

    pub(super) fn discard(&mut self) -> Parsed<StatementKind> {
        self.expect_word("DISCARD")?;
        let target = match self.one_of(&["ALL", "PLANS", "SEQUENCES", "TEMPORARY", "TEMP"]) {
            Some("ALL") => DiscardTarget::All,
            Some("PLANS") => DiscardTarget::Plans,
            Some("SEQUENCES") => DiscardTarget::Sequences,
            Some(_) => DiscardTarget::Temp,
            None => return self.unexpected("ALL, PLANS, SEQUENCES or TEMP"),
        };
        Ok(StatementKind::Discard(target))
    }

    pub(super) fn notification(&mut self) -> Parsed<StatementKind> {
        if self.word("LISTEN") {
            return Ok(StatementKind::Listen { channel: self.name()? });
        }
        if self.word("UNLISTEN") {
            let channel = if self.token(&Token::Mul) { None } else { Some(self.name()?) };
            return Ok(StatementKind::Unlisten { channel });
        }
        self.expect_word("NOTIFY")?;
        let channel = self.name()?;
        let payload = if self.token(&Token::Comma) { Some(self.expect_string()?) } else { None };
        Ok(StatementKind::Notify { channel, payload })
    }
}
