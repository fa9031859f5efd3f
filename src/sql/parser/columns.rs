//! The parenthesised list of columns, constraints and the watermark of sources and tables.
//!
//! Flows in: `( id BIGINT PRIMARY KEY, …, WATERMARK FOR ts AS … )`. Flows out: [`Columns`]
//! with one primary key from either spelling. Column names are unique (42701).

use sqlparser::ast as sql;
use sqlparser::tokenizer::Token;

use super::{Failure, Parsed, StatementReader, sqlstate};
use crate::error::HwError;
use crate::sql::ast::{ColumnSpec, Columns, Expr, WatermarkSpec, WatermarkStrategy};
use crate::sql::rules::collations;

impl StatementReader<'_> {
    /// The list, or no columns if there is no parenthesis.
    pub(super) fn column_list(&mut self, relation: &str) -> Parsed<Columns> {
        let mut columns = Columns::default();
        if !self.token(&Token::LParen) || self.token(&Token::RParen) {
            return Ok(columns);
        }
        loop {
            self.column_element(&mut columns, relation)?;
            if self.token(&Token::RParen) {
                break;
            }
            if !self.token(&Token::Comma) {
                return self.unexpected("',' or ')'");
            }
        }
        let inline: Vec<String> =
            columns.columns.iter().filter(|c| c.primary_key).map(|c| c.name.clone()).collect();
        match (inline.len(), columns.primary_key.is_empty()) {
            (0, _) => Ok(columns),
            (1, true) => Ok(Columns { primary_key: inline, ..columns }),
            _ => Err(many_primary_keys(relation).into()),
        }
    }

    fn column_element(&mut self, columns: &mut Columns, relation: &str) -> Parsed<()> {
        if self.at_words(&["WATERMARK", "FOR"]) {
            return self.watermark(columns);
        }
        let is_constraint =
            ["CONSTRAINT", "UNIQUE", "CHECK", "FOREIGN", "EXCLUDE"].iter().any(|w| self.at_word(w))
                || self.at_words(&["PRIMARY", "KEY"]);
        if !is_constraint {
            let column = self.column()?;
            if columns.columns.iter().any(|c| c.name == column.name) {
                let message = format!("column \"{}\" specified more than once", column.name);
                return Err(HwError::new(sqlstate::DUPLICATE_COLUMN, message).at(column.position).into());
            }
            columns.columns.push(column);
            return Ok(());
        }
        let position = self.position();
        match self.parser.parse_optional_table_constraint()? {
            Some(sql::TableConstraint::PrimaryKey(key)) => {
                if !columns.primary_key.is_empty() {
                    return Err(Failure::Report(many_primary_keys(relation).at(position)));
                }
                columns.primary_key = key.columns.iter().map(|c| key_column(&c.column.expr)).collect();
                self.skip_not_enforced();
                Ok(())
            }
            Some(other) => {
                columns.constraints.push(other);
                Ok(())
            }
            None => self.unexpected("column name or constraint"),
        }
    }

    /// Flink and RisingWave users write `PRIMARY KEY (…) NOT ENFORCED`.
    fn skip_not_enforced(&mut self) {
        self.words(&["NOT", "ENFORCED"]);
    }

    fn watermark(&mut self, columns: &mut Columns) -> Parsed<()> {
        let start = self.position();
        self.expect_words(&["WATERMARK", "FOR"])?;
        let position = self.position();
        let column = self.name()?;
        self.expect_word("AS")?;
        let expression_at = self.position();
        let text = self.expression_text()?;
        let named = |f: &sql::Function, name: &str| f.name.to_string().eq_ignore_ascii_case(name);
        let strategy = match text.expr.as_ref() {
            Expr::Function(f) if named(f, "source_watermark") => WatermarkStrategy::SourceWatermark,
            Expr::Function(f) if named(f, "percentile") => {
                WatermarkStrategy::Percentile(percentile(&f.args).map_err(|e| e.at(expression_at))?)
            }
            _ => WatermarkStrategy::Expr(text),
        };
        if columns.watermark.is_some() {
            return self.refuse("multiple watermarks for one source are not allowed", start);
        }
        columns.watermark = Some(WatermarkSpec { column, position, strategy });
        Ok(())
    }

    fn column(&mut self) -> Parsed<ColumnSpec> {
        let position = self.position();
        let name = self.name()?;
        let data_type = self.parser.parse_data_type()?;
        let mut column = ColumnSpec {
            name,
            position,
            data_type,
            not_null: false,
            primary_key: false,
            unique: false,
            default: None,
            generated: None,
        };
        self.dialect.set_in_column_definition(true);
        let result = self.column_constraints(&mut column);
        self.dialect.set_in_column_definition(false);
        result.map(|()| column)
    }

    fn column_constraints(&mut self, column: &mut ColumnSpec) -> Parsed<()> {
        loop {
            if self.word("CONSTRAINT") {
                self.name()?;
            }
            if self.words(&["NOT", "NULL"]) {
                column.not_null = true;
            } else if self.word("NULL") || self.words(&["NOT", "ENFORCED"]) {
            } else if self.words(&["PRIMARY", "KEY"]) {
                column.primary_key = true;
                column.not_null = true;
            } else if self.word("UNIQUE") {
                column.unique = true;
            } else if self.word("DEFAULT") {
                column.default = Some(self.expression()?);
            } else if self.words(&["GENERATED", "ALWAYS", "AS"]) || self.word("AS") {
                column.generated = Some(self.expression_text()?);
                let _ = self.one_of(&["STORED", "VIRTUAL"]);
            } else if self.word("COLLATE") {
                let collation = self.object_name()?;
                collations::check(collation.schema.as_deref(), &collation.name)
                    .map_err(|e| e.at(collation.position))?;
            } else if self.at_word("CHECK") || self.at_word("REFERENCES") || self.at_word("GENERATED") {
                let what = match &self.peek().token {
                    Token::Word(w) => w.value.to_uppercase(),
                    _ => String::new(),
                };
                return Err(HwError::unsupported(
                    format!("{what} in a column definition"),
                    "Leave the constraint out; filter in a view instead.",
                )
                .at(self.position())
                .into());
            } else {
                return Ok(());
            }
        }
    }
}

/// The number in `PERCENTILE (0.99)`.
fn percentile(arguments: &sql::FunctionArguments) -> Result<f64, HwError> {
    let shown = arguments.to_string();
    let shown = shown.trim_start_matches('(').trim_end_matches(')');
    match shown.trim().parse::<f64>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        Ok(value) => Err(HwError::new(
            sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
            format!("percentile value {value} is not between 0 and 1"),
        )
        .with_hint("PERCENTILE (0.99) lets one row in a hundred be late.")),
        Err(_) => Err(HwError::new(
            sqlstate::SYNTAX_ERROR,
            "PERCENTILE of a watermark takes one number between 0 and 1",
        )
        .with_hint("Write WATERMARK FOR column AS PERCENTILE (0.99).")),
    }
}

fn many_primary_keys(relation: &str) -> HwError {
    HwError::new(
        sqlstate::INVALID_TABLE_DEFINITION,
        format!("multiple primary keys for table \"{relation}\" are not allowed"),
    )
}

fn key_column(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(ident) => super::fold_identifier(ident),
        other => other.to_string(),
    }
}
