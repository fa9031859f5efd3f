//! EXPLAIN of statements, and of the running materialized views and sinks.

use sqlparser::tokenizer::Token;

use super::{Parsed, StatementReader};
use crate::error::{HwError, sqlstate};
use crate::sql::ast::{
    Explain, ExplainTarget, ObjectKind, OptionLiteral, OptionValue, Options, StatementKind,
};

impl StatementReader<'_> {
    pub(super) fn explain(&mut self) -> Parsed<StatementKind> {
        self.expect_word("EXPLAIN")?;
        let mut options = Options::new();
        if self.peek().token == Token::LParen && self.parenthesis_holds_options() {
            options = self.option_list()?;
        }
        let analyze = self.word("ANALYZE") | take_flag(&mut options, "analyze");
        let verbose = self.word("VERBOSE") | take_flag(&mut options, "verbose");
        check_options(&options)?;
        let what = self.explain_target()?;
        Ok(StatementKind::Explain(Explain { analyze, verbose, options, what }))
    }

    /// `EXPLAIN (SELECT 1)` is a query in parentheses.
    fn parenthesis_holds_options(&self) -> bool {
        let next = &self.parser.peek_nth_token_ref(1).token;
        match next {
            Token::Word(w) => {
                !["SELECT", "WITH", "VALUES", "TABLE"].iter().any(|k| w.value.eq_ignore_ascii_case(k))
            }
            _ => false,
        }
    }

    fn explain_target(&mut self) -> Parsed<ExplainTarget> {
        if self.at_words(&["MATERIALIZED", "VIEW"]) || self.at_word("SINK") {
            let kind = self.object_kind();
            let name = self.object_name()?;
            return Ok(if kind == Some(ObjectKind::Sink) {
                ExplainTarget::Sink(name)
            } else {
                ExplainTarget::MaterializedView(name)
            });
        }
        if self.word("WATERMARK") {
            let _ = self.object_kind();
            return Ok(ExplainTarget::Watermark(self.object_name()?));
        }
        if self.word("STATE") {
            let _ = self.object_kind();
            let all = self.at_end() || self.peek().token == Token::SemiColon;
            return Ok(ExplainTarget::State(if all { None } else { Some(self.object_name()?) }));
        }
        if self.at_word("EXPLAIN") {
            return self.unexpected("a statement");
        }
        Ok(ExplainTarget::Statement(Box::new(self.statement()?)))
    }
}

/// Options that change nothing here, because the plan has no costs, are let pass.
///
/// Errors: 0A000 for a format other than text; 42601 for what is no option.
fn check_options(options: &Options) -> Parsed<()> {
    for (key, value) in options {
        match key.as_str() {
            "costs" | "buffers" | "timing" | "summary" | "settings" | "wal" => {}
            "format" if value.value.as_text().eq_ignore_ascii_case("text") => {}
            "format" => {
                let format = value.value.as_text().to_uppercase();
                let hint = "Plans are text; headwater.state has the state of operators as a table.";
                let e = HwError::unsupported(format!("EXPLAIN (FORMAT {format})"), hint);
                return Err(e.at(value.position).into());
            }
            _ => {
                let e =
                    HwError::new(sqlstate::SYNTAX_ERROR, format!("unrecognized EXPLAIN option \"{key}\""));
                return Err(e.at(value.position).into());
            }
        }
    }
    Ok(())
}

/// Takes a Boolean option out of the list: a bare flag is true.
fn take_flag(options: &mut Options, key: &str) -> bool {
    match options.remove(key) {
        None => false,
        Some(OptionValue { value: OptionLiteral::Bool(b), .. }) => b,
        Some(OptionValue { value: OptionLiteral::Number(n), .. }) => n != "0",
        Some(OptionValue { value: OptionLiteral::String(s), .. }) => {
            !["false", "off", "0"].contains(&s.to_lowercase().as_str())
        }
        Some(_) => true,
    }
}
