//! DROP, ALTER … RENAME, COMMENT ON and REFRESH.

use sqlparser::tokenizer::Token;

use super::{Parsed, StatementReader};
use crate::sql::ast::{CommentTarget, ObjectKind, ObjectName, StatementKind};

impl StatementReader<'_> {
    pub(super) fn drop_objects(&mut self) -> Parsed<StatementKind> {
        self.expect_word("DROP")?;
        let Some(kind) = self.object_kind() else { return self.other_object("DROP") };
        if kind == ObjectKind::Index {
            let _ = self.word("CONCURRENTLY");
        }
        let if_exists = self.if_exists();
        let names = self.comma_separated(|r| {
            let name = r.object_name()?;
            if kind == ObjectKind::Function {
                r.skip_parenthesized()?;
            }
            Ok(name)
        })?;
        let cascade = self.word("CASCADE");
        if !cascade {
            let _ = self.word("RESTRICT");
        }
        Ok(StatementKind::Drop { kind, if_exists, names, cascade })
    }

    /// A kind of object that Headwater does not have, refused by name; not a word at all is a
    /// syntax error.
    fn other_object(&mut self, verb: &str) -> Parsed<StatementKind> {
        const KINDS: [&str; 18] = [
            "AGGREGATE",
            "CAST",
            "COLLATION",
            "DATABASE",
            "DEFAULT",
            "DOMAIN",
            "EXTENSION",
            "GROUP",
            "OPERATOR",
            "OWNED",
            "PROCEDURE",
            "PUBLICATION",
            "ROLE",
            "SEQUENCE",
            "SYSTEM",
            "TRIGGER",
            "TYPE",
            "USER",
        ];
        match KINDS.into_iter().find(|k| self.at_word(k)) {
            Some(kind) => {
                self.skip_statement();
                Ok(StatementKind::Unsupported { name: format!("{verb} {kind}") })
            }
            None => self.unexpected("an object type"),
        }
    }

    fn skip_parenthesized(&mut self) -> Parsed<()> {
        if self.token(&Token::LParen) {
            while !self.token(&Token::RParen) {
                if self.at_end() {
                    return self.unexpected("')'");
                }
                self.parser.advance_token();
            }
        }
        Ok(())
    }

    pub(super) fn alter(&mut self) -> Parsed<StatementKind> {
        self.expect_word("ALTER")?;
        let Some(kind) = self.object_kind() else { return self.other_object("ALTER") };
        let if_exists = self.if_exists();
        let _ = self.word("ONLY");
        let name = self.object_name()?;
        if self.words(&["RENAME", "TO"]) {
            let to = self.name()?;
            return Ok(StatementKind::AlterRename { kind, if_exists, name, to });
        }
        let Token::Word(word) = &self.peek().token else { return self.unexpected("RENAME TO") };
        let what = format!("ALTER {} … {}", kind.noun().to_uppercase(), word.value.to_uppercase());
        self.skip_statement();
        Ok(StatementKind::Unsupported { name: what })
    }

    pub(super) fn comment(&mut self) -> Parsed<StatementKind> {
        self.expect_words(&["COMMENT", "ON"])?;
        let target = if self.word("COLUMN") {
            CommentTarget::Column
        } else if self.word("DATABASE") {
            CommentTarget::Database
        } else {
            match self.object_kind() {
                Some(kind) => CommentTarget::Object(kind),
                None => return self.other_object("COMMENT ON"),
            }
        };
        let name =
            if target == CommentTarget::Column { self.column_reference()? } else { self.object_name()? };
        if target == CommentTarget::Object(ObjectKind::Function) {
            self.skip_parenthesized()?;
        }
        self.expect_word("IS")?;
        let comment = if self.word("NULL") { None } else { Some(self.expect_string()?) };
        Ok(StatementKind::Comment { target, name, comment })
    }

    /// `[[database.]schema.]relation.column`: the relation goes to `schema`, and what stands
    /// before it, joined by a point, to `database`.
    fn column_reference(&mut self) -> Parsed<ObjectName> {
        let position = self.position();
        let mut parts = vec![self.name()?];
        while self.token(&Token::Period) {
            parts.push(self.name()?);
        }
        let column = parts.pop().unwrap_or_default();
        let Some(relation) = parts.pop() else {
            return self.refuse("column name must be qualified", position);
        };
        let database = parts.pop();
        Ok(ObjectName { database, schema: Some(relation), name: column, position })
    }

    pub(super) fn refresh(&mut self) -> Parsed<StatementKind> {
        self.expect_words(&["REFRESH", "MATERIALIZED", "VIEW"])?;
        let _ = self.word("CONCURRENTLY");
        let name = self.object_name()?;
        if self.word("WITH") {
            let _ = self.word("NO");
            self.expect_word("DATA")?;
        }
        Ok(StatementKind::RefreshMaterializedView { name })
    }
}
