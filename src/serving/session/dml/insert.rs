//! INSERT: the source's rows as rows of the table or feed.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Field, Schema};
use sqlparser::ast::{Expr, Insert, OnInsert, Query, SelectItem, SetExpr};

use super::{
    Target, assign, at_hand, column_index, default_of, generated_column, infer_value, is_default,
    is_generated, not_a_table,
};
use crate::catalog::{Definition, Details, Kind};
use crate::engine::not_null;
use crate::engine::table::OnConflict;
use crate::engine::{SourceSpec, TableHandle};
use crate::error::{HwError, Result, sqlstate};
use crate::serving::pg::api::Outcome;
use crate::serving::session::Session;
use crate::serving::session::evaluate::{RowsAtHand, query_of};
use crate::serving::session::query::Text;
use crate::serving::session::results::batch;
use crate::sql::parser::fold_identifier;
use crate::types::{ChangeBatch, PgType};

impl Session {
    pub(in crate::serving::session) async fn insert(
        &mut self,
        insert: &Insert,
        text: Text<'_>,
    ) -> Result<Outcome> {
        self.refuse_in_read_only("INSERT")?;
        let target = Target::of_insert(insert)?;
        let definition = self.resolve(&target.name)?;
        match self.insertable(&definition, target.name.position)? {
            Insertable::Table(table) => {
                self.insert_into_table(insert, &target, &definition, &table, text).await
            }
            Insertable::Feed(feed) => self.insert_into_feed(insert, &target, &definition, &feed, text).await,
        }
    }

    /// Where rows of a relation go; 42809 if it takes none. `position`: of its name.
    pub(in crate::serving::session) fn insertable(
        &self,
        definition: &Definition,
        position: usize,
    ) -> Result<Insertable> {
        let engine = &self.database.engine;
        let taken = match definition.kind {
            Kind::Table => engine.table(definition.id).map(Insertable::Table),
            Kind::Source => engine.source(definition.id).filter(|s| s.is_feed()).map(Insertable::Feed),
            _ => None,
        };
        taken.ok_or_else(|| not_a_table(definition, definition.kind, "insert into", position))
    }

    /// Inserts rows of all columns, of which generated ones are null; returns how many.
    pub(in crate::serving::session) async fn insert_rows(
        &mut self,
        definition: &Arc<Definition>,
        to: &Insertable,
        rows: RecordBatch,
    ) -> Result<usize> {
        let (id, inserted) = match to {
            Insertable::Table(table) => {
                let rows = self.complete_rows(definition, table, rows)?;
                self.lock_table(table).await?;
                (table.id, self.resolve_insert(table, rows, OnConflict::Error)?.rows)
            }
            Insertable::Feed(feed) => (feed.id, feed_rows(feed, &rows)?),
        };
        let count = inserted.num_rows();
        if count > 0 {
            self.transaction.parts.push((id, ChangeBatch::inserts(inserted)));
        }
        Ok(count)
    }

    /// With the generated columns of a table.
    fn complete_rows(
        &self,
        definition: &Definition,
        table: &TableHandle,
        rows: RecordBatch,
    ) -> Result<RecordBatch> {
        let rows = batch(&table.schema, rows.columns().to_vec(), rows.num_rows())?;
        self.complete_table_row(definition, &table.schema, rows)
    }

    async fn insert_into_table(
        &mut self,
        insert: &Insert,
        target: &Target,
        definition: &Arc<Definition>,
        table: &TableHandle,
        text: Text<'_>,
    ) -> Result<Outcome> {
        let rows = self.source_rows(insert, definition, text).await?;
        let rows = self.complete_rows(definition, table, rows)?;
        self.lock_table(table).await?;
        let inserted = match &insert.on {
            None => self.resolve_insert(table, rows, OnConflict::Error)?.rows,
            Some(OnInsert::OnConflict(on)) => {
                return self.upsert(insert, on, target, definition, table, rows, text).await;
            }
            Some(_) => {
                let hint = "Use ON CONFLICT … DO UPDATE.";
                return Err(HwError::unsupported("ON DUPLICATE KEY UPDATE", hint));
            }
        };
        if inserted.num_rows() > 0 {
            self.transaction.parts.push((table.id, ChangeBatch::inserts(inserted.clone())));
        }
        self.finish_dml(target, definition, insert.returning.as_deref(), inserted, "INSERT 0", text).await
    }

    pub(in crate::serving::session) fn resolve_insert(
        &mut self,
        table: &TableHandle,
        rows: RecordBatch,
        on_conflict: OnConflict,
    ) -> Result<crate::engine::table::Inserted> {
        let own = self.transaction.own(table.id);
        let writer = self.transaction.locks.get_mut(&table.id);
        let writer = writer.ok_or_else(|| HwError::internal("a table is changed without its lock"))?;
        table.resolve_insert(writer, &self.database.engine, &own, rows, on_conflict)
    }

    async fn insert_into_feed(
        &mut self,
        insert: &Insert,
        target: &Target,
        definition: &Arc<Definition>,
        feed: &SourceSpec,
        text: Text<'_>,
    ) -> Result<Outcome> {
        if insert.on.is_some() {
            let hint = "A feed is a list of events; equal rows are kept as often as they come.";
            return Err(HwError::unsupported("ON CONFLICT on a source", hint));
        }
        let rows = self.source_rows(insert, definition, text).await?;
        let rows = feed_rows(feed, &rows)?;
        if rows.num_rows() > 0 {
            self.transaction.parts.push((feed.id, ChangeBatch::inserts(rows.clone())));
        }
        self.finish_dml(target, definition, insert.returning.as_deref(), rows, "INSERT 0", text).await
    }

    /// The rows that INSERT's source gives, as rows of all columns; generated ones are null.
    async fn source_rows(
        &mut self,
        insert: &Insert,
        definition: &Definition,
        text: Text<'_>,
    ) -> Result<RecordBatch> {
        let (query, targets) = source_query(insert, definition)?;
        let ready = self.plan(&query, text.submitted).await?;
        let (found, batches) = self.collect(&ready, text.submitted).await?;
        let width = found.fields().len();
        let targets = match targets {
            Some(targets) if insert.columns.is_empty() && width < targets.len() => targets[..width].to_vec(),
            Some(targets) => targets,
            None => Vec::new(),
        };
        if width > targets.len() && insert.source.is_some() {
            let text = "INSERT has more expressions than target columns";
            return Err(HwError::new(sqlstate::SYNTAX_ERROR, text));
        }
        if width < targets.len() {
            let text = "INSERT has more target columns than expressions";
            return Err(HwError::new(sqlstate::SYNTAX_ERROR, text));
        }
        let rows = arrow::compute::concat_batches(&found, &batches)?;
        self.rows_of_columns(definition, &targets, &rows).await
    }

    /// Rows of all columns from values for some, of which `targets` are the columns; the others
    /// get their DEFAULT, generated ones null.
    pub(in crate::serving::session) async fn rows_of_columns(
        &mut self,
        definition: &Definition,
        targets: &[usize],
        rows: &RecordBatch,
    ) -> Result<RecordBatch> {
        let found = rows.schema();
        let n = rows.num_rows();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(definition.columns.len());
        for (i, field) in definition.columns.iter().enumerate() {
            let array = match targets.iter().position(|t| *t == i) {
                Some(at) if is_generated(definition, field.name()) => {
                    // Only DEFAULT may stand here, which is checked for VALUES.
                    if rows.column(at).null_count() < n {
                        return Err(generated_column(field.name(), "inserted"));
                    }
                    new_null_array(field.data_type(), n)
                }
                Some(at) => self.assign_array(rows.column(at), found.field(at), field).await?,
                None => self.default_array(definition, i, n).await?,
            };
            columns.push(array);
        }
        let nullable: Vec<Field> = definition.columns.iter().map(|f| f.clone().with_nullable(true)).collect();
        batch(&Arc::new(Schema::new(nullable)), columns, n)
    }

    /// A column's DEFAULT for so many rows.
    async fn default_array(&mut self, definition: &Definition, column: usize, n: usize) -> Result<ArrayRef> {
        let field = &definition.columns[column];
        let has_default =
            matches!(&definition.details, Details::Table(t) if t.defaults.contains_key(field.name()));
        if !has_default || n == 0 {
            return Ok(new_null_array(field.data_type(), n));
        }
        // Evaluated for each row: defaults such as random() differ.
        let default = match (default_of(definition, column)?, PgType::of(field)) {
            (default, ty @ PgType::Numeric(_)) => format!("CAST(({default}) AS {})", ty.sql_name()),
            (default, _) => default.to_string(),
        };
        let query = query_of(&format!("SELECT {default} AS v FROM {}", at_hand("n")))?;
        let numbers = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let values: ArrayRef = Arc::new(Int64Array::from_iter_values(0..n as i64));
        let rows = RecordBatch::try_new(Arc::clone(&numbers), vec![values])?;
        let rows = RowsAtHand::default().with("n", numbers, vec![rows])?;
        let text: Arc<str> = Arc::from("");
        let ready = self.plan_with(&query, &text, rows).await?;
        let (found, batches) = self.collect(&ready, &text).await?;
        let all = arrow::compute::concat_batches(&found, &batches)?;
        let found = match all.column(0).data_type() == field.data_type() {
            true => Arc::clone(all.column(0)),
            false => arrow::compute::cast(all.column(0), field.data_type())?,
        };
        assign::fit(field, found)
    }

    /// `$n` alone in VALUES has the column's type.
    pub(in crate::serving::session) fn infer_insert(
        &self,
        insert: &Insert,
        types: &mut [Option<PgType>],
    ) -> Result<()> {
        let definition = self.resolve(&Target::of_insert(insert)?.name)?;
        let targets = target_columns(insert, &definition)?;
        let Some(source) = &insert.source else { return Ok(()) };
        match source.body.as_ref() {
            SetExpr::Values(values) => {
                for row in &values.rows {
                    for (value, column) in row.content.iter().zip(&targets) {
                        infer_value(value, &definition.columns[*column], types);
                    }
                }
            }
            SetExpr::Select(select) => {
                for (item, column) in select.projection.iter().zip(&targets) {
                    if let SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. } =
                        item
                    {
                        infer_value(value, &definition.columns[*column], types);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// What takes rows.
pub(in crate::serving::session) enum Insertable {
    Table(Arc<TableHandle>),
    Feed(Arc<SourceSpec>),
}

/// Rows of all columns as a feed delivers them.
fn feed_rows(feed: &SourceSpec, rows: &RecordBatch) -> Result<RecordBatch> {
    let rows = feed.complete(&rows.project(&feed.delivered)?, &feed.delivered)?;
    not_null::check(&feed.name, &feed.schema, &feed.not_null, &rows)?;
    Ok(rows)
}

/// The columns that INSERT's source gives, in order.
fn target_columns(insert: &Insert, definition: &Definition) -> Result<Vec<usize>> {
    if insert.columns.is_empty() {
        return Ok((0..definition.columns.len()).collect());
    }
    let mut targets = Vec::with_capacity(insert.columns.len());
    for name in &insert.columns {
        let name = name.0.last().and_then(|part| part.as_ident()).map(fold_identifier).unwrap_or_default();
        let column = column_index(definition, &name)?;
        if targets.contains(&column) {
            let text = format!("column \"{name}\" specified more than once");
            return Err(HwError::new(sqlstate::DUPLICATE_COLUMN, text));
        }
        targets.push(column);
    }
    Ok(targets)
}

/// INSERT's source with literals and DEFAULTs of the columns' types.
fn source_query(insert: &Insert, definition: &Definition) -> Result<(Query, Option<Vec<usize>>)> {
    let Some(source) = &insert.source else { return Ok((query_of("SELECT 1 AS \"$row\"")?, None)) };
    let targets = target_columns(insert, definition)?;
    let mut query = (**source).clone();
    let complete = |value: &mut Expr, column: usize| -> Result<()> {
        let field = &definition.columns[column];
        if is_default(value) {
            *value = default_of(definition, column)?;
        } else if is_generated(definition, field.name()) {
            return Err(generated_column(field.name(), "inserted"));
        } else if let Some(typed) = assign::typed_literal(value, &PgType::of(field)) {
            *value = typed;
        }
        Ok(())
    };
    match query.body.as_mut() {
        SetExpr::Values(values) => {
            if values.rows.windows(2).any(|pair| pair[0].content.len() != pair[1].content.len()) {
                let text = "VALUES lists must all be the same length";
                return Err(HwError::new(sqlstate::SYNTAX_ERROR, text));
            }
            for row in &mut values.rows {
                for (value, column) in row.content.iter_mut().zip(&targets) {
                    complete(value, *column)?;
                }
            }
        }
        SetExpr::Select(select) => {
            for (item, column) in select.projection.iter_mut().zip(&targets) {
                match item {
                    SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. } => {
                        if let Some(typed) =
                            assign::typed_literal(value, &PgType::of(&definition.columns[*column]))
                        {
                            *value = typed;
                        }
                    }
                    // After a wildcard the columns cannot be counted here.
                    _ => break,
                }
            }
        }
        _ => {}
    }
    Ok((query, Some(targets)))
}
