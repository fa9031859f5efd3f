//! Transaction blocks, in all of PostgreSQL's spellings.

use sqlparser::tokenizer::Token;

use super::{Parsed, StatementReader};
use crate::sql::ast::{Isolation, StatementKind, TransactionModes};

impl StatementReader<'_> {
    pub(super) fn transaction(&mut self) -> Parsed<StatementKind> {
        if self.word("BEGIN") {
            let _ = self.one_of(&["WORK", "TRANSACTION"]);
            return Ok(StatementKind::Begin(self.transaction_modes()?));
        }
        if self.word("START") {
            self.expect_word("TRANSACTION")?;
            return Ok(StatementKind::Begin(self.transaction_modes()?));
        }
        if self.word("SAVEPOINT") {
            return Ok(StatementKind::Savepoint { name: self.name()? });
        }
        if self.word("RELEASE") {
            let _ = self.word("SAVEPOINT");
            return Ok(StatementKind::Release { name: self.name()? });
        }
        let Some(verb) = self.one_of(&["COMMIT", "END", "ROLLBACK", "ABORT"]) else {
            return self.unexpected("a transaction statement");
        };
        let commit = verb == "COMMIT" || verb == "END";
        if (verb == "COMMIT" || verb == "ROLLBACK") && self.word("PREPARED") {
            self.expect_string()?;
            return Ok(StatementKind::Unsupported { name: format!("{verb} PREPARED") });
        }
        let _ = self.one_of(&["WORK", "TRANSACTION"]);
        if verb == "ROLLBACK" && self.word("TO") {
            let _ = self.word("SAVEPOINT");
            return Ok(StatementKind::RollbackTo { name: self.name()? });
        }
        let chain = self.chain()?;
        Ok(if commit { StatementKind::Commit { chain } } else { StatementKind::Rollback { chain } })
    }

    fn chain(&mut self) -> Parsed<bool> {
        if !self.word("AND") {
            return Ok(false);
        }
        let chain = !self.word("NO");
        self.expect_word("CHAIN")?;
        Ok(chain)
    }

    /// Any number of modes, separated by commas or nothing; a later one overrides.
    pub(super) fn transaction_modes(&mut self) -> Parsed<TransactionModes> {
        let mut modes = TransactionModes::default();
        let mut needed = false;
        loop {
            if self.words(&["ISOLATION", "LEVEL"]) {
                modes.isolation = Some(self.isolation_level()?);
            } else if self.words(&["READ", "ONLY"]) {
                modes.read_only = Some(true);
            } else if self.words(&["READ", "WRITE"]) {
                modes.read_only = Some(false);
            } else if self.words(&["NOT", "DEFERRABLE"]) {
                modes.deferrable = Some(false);
            } else if self.word("DEFERRABLE") {
                modes.deferrable = Some(true);
            } else if needed {
                return self.unexpected("a transaction mode");
            } else {
                return Ok(modes);
            }
            needed = self.token(&Token::Comma);
        }
    }

    fn isolation_level(&mut self) -> Parsed<Isolation> {
        if self.words(&["READ", "UNCOMMITTED"]) {
            Ok(Isolation::ReadUncommitted)
        } else if self.words(&["READ", "COMMITTED"]) {
            Ok(Isolation::ReadCommitted)
        } else if self.words(&["REPEATABLE", "READ"]) {
            Ok(Isolation::RepeatableRead)
        } else if self.word("SERIALIZABLE") {
            Ok(Isolation::Serializable)
        } else {
            self.unexpected("an isolation level")
        }
    }
}
