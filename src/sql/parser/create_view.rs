//! CREATE of views, materialized views and sinks.
//!
//! The text of the query is kept as written; the emit clause is not part of it.

use super::{Parsed, StatementReader};
use crate::sql::ast::{CreateMaterializedView, CreateSink, CreateView, SinkInput, StatementKind};

impl StatementReader<'_> {
    pub(super) fn create_view(&mut self, or_replace: bool, temporary: bool) -> Parsed<StatementKind> {
        let _ = self.word("RECURSIVE");
        self.expect_word("VIEW")?;
        let if_not_exists = self.if_not_exists();
        let name = self.object_name()?;
        let columns = self.optional_name_list()?;
        let _ = self.with_options()?;
        self.expect_word("AS")?;
        let query = self.query_text()?;
        if self.word("WITH") {
            let _ = self.one_of(&["LOCAL", "CASCADED"]);
            self.expect_words(&["CHECK", "OPTION"])?;
        }
        let view = CreateView { or_replace, if_not_exists, temporary, name, columns, query };
        Ok(StatementKind::CreateView(Box::new(view)))
    }

    pub(super) fn create_materialized_view(&mut self, or_replace: bool) -> Parsed<StatementKind> {
        self.expect_words(&["MATERIALIZED", "VIEW"])?;
        let if_not_exists = self.if_not_exists();
        let name = self.object_name()?;
        let columns = self.optional_name_list()?;
        if self.word("USING") {
            self.name()?;
        }
        let with = self.with_options()?.unwrap_or_default();
        if self.word("TABLESPACE") {
            self.name()?;
        }
        self.expect_word("AS")?;
        let query = self.query_text()?;
        let emit = self.emit_clause()?;
        if self.words(&["WITH", "NO", "DATA"]) {
            return Err(crate::error::HwError::unsupported(
                "CREATE MATERIALIZED VIEW … WITH NO DATA",
                "Leave WITH NO DATA out; a view is filled and kept up to date from its creation.",
            )
            .into());
        }
        let _ = self.words(&["WITH", "DATA"]);
        let view = CreateMaterializedView { or_replace, if_not_exists, name, columns, with, query, emit };
        Ok(StatementKind::CreateMaterializedView(Box::new(view)))
    }

    pub(super) fn create_sink(&mut self) -> Parsed<StatementKind> {
        self.expect_word("SINK")?;
        let if_not_exists = self.if_not_exists();
        let name = self.object_name()?;
        let input = if self.word("FROM") {
            SinkInput::Object(self.object_name()?)
        } else if self.word("AS") {
            let query = self.query_text()?;
            SinkInput::Query(query, self.emit_clause()?.map(Box::new))
        } else {
            return self.unexpected("FROM or AS");
        };
        let with = self.with_options()?.unwrap_or_default();
        let format = self.format_spec()?;
        Ok(StatementKind::CreateSink(Box::new(CreateSink { if_not_exists, name, input, with, format })))
    }

    fn optional_name_list(&mut self) -> Parsed<Vec<String>> {
        if self.peek().token == sqlparser::tokenizer::Token::LParen {
            self.name_list()
        } else {
            Ok(Vec::new())
        }
    }
}
