//! CREATE TABLE and CREATE TABLE AS.

use arrow::datatypes::{DataType, Field};
use sqlparser::ast::TableConstraint;

use super::Session;
use super::ddl_source::{check_columns, fields, generated};
use super::evaluate::query_of;
use super::query::Text;
use super::results::command;
use crate::catalog::{Details, Kind, TableDetails};
use crate::error::{HwError, Result, sqlstate};
use crate::serving::pg::api::Outcome;
use crate::sql::ast::{Columns, CreateTable, QueryText};
use crate::types::{ChangeBatch, PgType};

impl Session {
    pub(super) async fn create_table(&mut self, create: &CreateTable, text: Text<'_>) -> Result<Outcome> {
        if create.temporary {
            let hint = "Create a plain table and drop it when it is no longer needed.";
            return Err(HwError::unsupported("CREATE TEMPORARY TABLE", hint));
        }
        if !create.with.is_empty() || create.format.is_some() || !create.includes.is_empty() {
            return Err(HwError::unsupported(
                "CREATE TABLE … WITH (connector = …)",
                "Use CREATE SOURCE, and a materialized view over it to keep the rows.",
            ));
        }
        if self.exists(Kind::Table, &create.name, create.if_not_exists)? {
            return Ok(command(if create.query.is_some() { "CREATE TABLE AS" } else { "CREATE TABLE" }));
        }
        if let Some(watermark) = &create.columns.watermark {
            let hint = "Watermarks belong to sources.";
            return Err(HwError::unsupported("WATERMARK in a table", hint).at(watermark.position));
        }
        match &create.query {
            Some(query) => self.create_table_as(create, query, text).await,
            None => self.create_plain_table(create).await,
        }
    }

    async fn create_plain_table(&mut self, create: &CreateTable) -> Result<Outcome> {
        check_constraints(&create.columns)?;
        let declared = &create.columns.columns;
        let mut columns = fields(declared)?;
        check_columns(&columns)?;
        if columns.is_empty() {
            let text = format!("table \"{}\" has no columns", create.name.name);
            return Err(HwError::new(sqlstate::INVALID_TABLE_DEFINITION, text));
        }
        let key = primary_key(&create.columns, &mut columns)?;
        let mut details = TableDetails { generated: generated(declared), ..TableDetails::default() };
        for column in declared {
            let Some(default) = &column.default else { continue };
            let ty = PgType::of(&columns[columns.iter().position(|c| *c.name() == column.name).unwrap_or(0)]);
            // Planned for its errors only.
            let query = query_of(&format!("SELECT ({default})::{}", ty.sql_name()))?;
            let ready = self.plan(&query, "").await.map_err(|e| e.at(column.position))?;
            ready.optimize()?;
            details.defaults.insert(column.name.clone(), default.to_string());
        }
        self.check_generated(&details, &columns)?;
        let mut new = self.definition(&create.name, Details::Table(details))?;
        new.columns = columns;
        new.primary_key = key;
        self.create(new).await?;
        Ok(command("CREATE TABLE"))
    }

    async fn create_table_as(
        &mut self,
        create: &CreateTable,
        query: &QueryText,
        text: Text<'_>,
    ) -> Result<Outcome> {
        let ready = self.plan(&query.query, text.submitted).await?;
        let (schema, batches) = self.collect(&ready, text.submitted).await?;
        let names: Vec<String> = create.columns.columns.iter().map(|c| c.name.clone()).collect();
        if names.len() > schema.fields().len() {
            let message = "too many column names were specified";
            return Err(HwError::new(sqlstate::SYNTAX_ERROR, message));
        }
        let column = |(i, field): (usize, &std::sync::Arc<Field>)| {
            let name = names.get(i).unwrap_or(field.name());
            match field.data_type() {
                DataType::Null => PgType::Text.field(name, true),
                _ => PgType::of(field).field(name, true),
            }
        };
        let columns: Vec<Field> = schema.fields().iter().enumerate().map(column).collect();
        check_columns(&columns)?;
        let mut new = self.definition(&create.name, Details::Table(TableDetails::default()))?;
        new.columns = columns;
        let definition = self.create(new).await?;
        let table = self.database.engine.table(definition.id);
        let table = table.ok_or_else(|| HwError::internal("the new table is not there"))?;
        let rows = super::dml::gather(&table.schema, &batches)?;
        let count = rows.num_rows();
        if count > 0 {
            self.lock_table(&table).await?;
            self.transaction.parts.push((table.id, ChangeBatch::inserts(rows)));
        }
        Ok(command(format!("SELECT {count}")))
    }
}

fn primary_key(declared: &Columns, columns: &mut [Field]) -> Result<Vec<usize>> {
    let mut key = Vec::new();
    for name in &declared.primary_key {
        let Some(at) = columns.iter().position(|c| c.name() == name) else {
            let text = format!("column \"{name}\" named in key does not exist");
            return Err(HwError::new(sqlstate::UNDEFINED_COLUMN, text));
        };
        if key.contains(&at) {
            let text = format!("column \"{name}\" appears twice in primary key constraint");
            return Err(HwError::new(sqlstate::DUPLICATE_COLUMN, text));
        }
        if PgType::of(&columns[at]) == PgType::Json {
            let text = "data type json has no default operator class for access method \"btree\"";
            return Err(HwError::new(sqlstate::UNDEFINED_OBJECT, text)
                .with_hint("Declare the column as jsonb, which can be compared."));
        }
        columns[at] = columns[at].clone().with_nullable(false);
        key.push(at);
    }
    Ok(key)
}

fn check_constraints(columns: &Columns) -> Result<()> {
    let refused = |what: &str, hint: &str| Err(HwError::unsupported(what, hint));
    if let Some(column) = columns.columns.iter().find(|c| c.unique) {
        let hint = "Make it the PRIMARY KEY, which is the one unique constraint of a table.";
        return Err(HwError::unsupported("UNIQUE", hint).at(column.position));
    }
    match columns.constraints.first() {
        None => Ok(()),
        Some(TableConstraint::Unique(_)) => {
            refused("UNIQUE", "Make it the PRIMARY KEY, which is the one unique constraint of a table.")
        }
        Some(TableConstraint::ForeignKey(_)) => refused(
            "FOREIGN KEY",
            "Leave it out; a materialized view with NOT EXISTS finds rows without a partner.",
        ),
        Some(TableConstraint::Check(_)) => refused(
            "CHECK",
            "Leave it out; a materialized view with the opposite condition finds rows that break it.",
        ),
        Some(_) => refused("this table constraint", "Only PRIMARY KEY and NOT NULL are available."),
    }
}
