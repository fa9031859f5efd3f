//! INSERT … ON CONFLICT.

use std::sync::Arc;

use arrow::array::RecordBatch;
use sqlparser::ast::{
    ConflictTarget, DoUpdate, Ident, Insert, OnConflict as OnConflictClause, OnConflictAction, SelectItem,
    SetExpr,
};

use super::Session;
use super::dml::{ROW_NUMBER, Target, assignments, at_hand, columns_of, numbered, replacement, rows_query};
use super::evaluate::RowsAtHand;
use super::lookup::folded;
use super::query::Text;
use crate::catalog::{Definition, quote_identifier};
use crate::engine::TableHandle;
use crate::engine::table::OnConflict;
use crate::error::{HwError, Result, sqlstate};
use crate::serving::pg::api::Outcome;
use crate::types::ChangeBatch;

impl Session {
    #[allow(clippy::too_many_arguments)]
    pub(super) async fn upsert(
        &mut self,
        insert: &Insert,
        on: &OnConflictClause,
        target: &Target,
        definition: &Definition,
        table: &TableHandle,
        rows: RecordBatch,
        text: Text<'_>,
    ) -> Result<Outcome> {
        check_target(on, definition)?;
        let returning = insert.returning.as_deref();
        let update = match &on.action {
            OnConflictAction::DoNothing => {
                let rows = self.resolve_insert(table, rows, OnConflict::DoNothing)?.rows;
                self.push_inserts(table, &rows);
                return self.finish_dml(target, definition, returning, rows, "INSERT 0", text).await;
            }
            OnConflictAction::DoUpdate(update) => update,
        };
        let inserted = self.resolve_insert(table, rows, OnConflict::Collect)?;
        let mut done = inserted.rows;
        self.push_inserts(table, &done);
        if let Some((proposed, present)) = inserted.conflicts {
            let (old, new) =
                self.resolve_conflicts(update, target, definition, table, proposed, present, text).await?;
            table.check_not_null(&new)?;
            if new.num_rows() > 0 {
                let changes = replacement(&table.schema, &old, &new)?;
                self.check_new_keys(table, &changes)?;
                self.transaction.parts.push((table.id, changes));
                done = arrow::compute::concat_batches(&table.schema, [&done, &new])?;
            }
        }
        self.finish_dml(target, definition, returning, done, "INSERT 0", text).await
    }

    fn push_inserts(&mut self, table: &TableHandle, rows: &RecordBatch) {
        if rows.num_rows() > 0 {
            self.transaction.parts.push((table.id, ChangeBatch::inserts(rows.clone())));
        }
    }

    fn check_new_keys(&mut self, table: &TableHandle, changes: &ChangeBatch) -> Result<()> {
        let own = self.transaction.own(table.id);
        let writer = self.transaction.locks.get_mut(&table.id);
        let writer = writer.ok_or_else(|| HwError::internal("a table is changed without its lock"))?;
        let current = table.current(writer, &self.database.engine, &own)?;
        table.check_keys(&current, changes)
    }

    /// DO UPDATE over pairs of proposed and present rows: the rows before and after.
    #[allow(clippy::too_many_arguments)]
    async fn resolve_conflicts(
        &mut self,
        update: &DoUpdate,
        target: &Target,
        definition: &Definition,
        table: &TableHandle,
        proposed: RecordBatch,
        present: RecordBatch,
        text: Text<'_>,
    ) -> Result<(RecordBatch, RecordBatch)> {
        let mut query = rows_query(&definition.columns, &at_hand("t"), &target.shown, true)?;
        let SetExpr::Select(select) = query.body.as_mut() else {
            return Err(HwError::internal("a query of one's own is not a SELECT"));
        };
        let join = super::evaluate::query_of(&format!(
            "SELECT 1 FROM {} AS {shown} JOIN {} AS excluded ON {shown}.\"{ROW_NUMBER}\" = excluded.\"{ROW_NUMBER}\"",
            at_hand("t"),
            at_hand("excluded"),
            shown = quote_identifier(&target.shown),
        ))?;
        if let SetExpr::Select(join) = *join.body {
            select.from = join.from;
        }
        let mut assigned = Vec::new();
        for (column, value) in assignments(definition, &update.assignments)? {
            let alias = Ident::with_quote('"', format!("$set{column}"));
            let expr = self.assigned(definition, column, value)?;
            select.projection.push(SelectItem::ExprWithAlias { expr, alias });
            assigned.push(column);
        }
        select.selection.clone_from(&update.selection);
        let (schema, present) = numbered(&table.schema, &[present])?;
        let (_, proposed) = numbered(&table.schema, &[proposed])?;
        let rows = RowsAtHand::default()
            .with("t", Arc::clone(&schema), present)?
            .with("excluded", schema, proposed)?;
        let ready = self.plan_with(&query, text.submitted, rows).await?;
        let (found_schema, found) = self.collect(&ready, text.submitted).await?;
        let found = arrow::compute::concat_batches(&found_schema, &found)?;
        let old = columns_of(&found, &table.schema, 1)?;
        let mut columns = old.columns().to_vec();
        let first = 1 + table.schema.fields().len();
        for (i, column) in assigned.iter().enumerate() {
            let field = table.schema.field(*column);
            columns[*column] =
                self.assign_array(found.column(first + i), found_schema.field(first + i), field).await?;
        }
        let new = RecordBatch::try_new(Arc::clone(&table.schema), columns)?;
        Ok((old, self.complete_table_row(definition, &table.schema, new)?))
    }
}

/// 42P10 unless the conflict target is the primary key.
fn check_target(on: &OnConflictClause, definition: &Definition) -> Result<()> {
    let mut key: Vec<&str> =
        definition.primary_key.iter().map(|c| definition.columns[*c].name().as_str()).collect();
    let matches = match &on.conflict_target {
        None => match on.action {
            OnConflictAction::DoNothing => true,
            OnConflictAction::DoUpdate(_) => {
                let text = "ON CONFLICT DO UPDATE requires inference specification or constraint name";
                return Err(HwError::new(sqlstate::SYNTAX_ERROR, text)
                    .with_hint("For example, ON CONFLICT (column_name)."));
            }
        },
        Some(ConflictTarget::Columns(columns)) => {
            let mut named = folded(columns);
            named.sort_unstable();
            key.sort_unstable();
            !key.is_empty() && named == key
        }
        Some(ConflictTarget::OnConstraint(name)) => {
            let wanted =
                name.0.last().and_then(|part| part.as_ident()).map(crate::sql::parser::fold_identifier);
            !key.is_empty() && wanted.as_deref() == Some(&format!("{}_pkey", definition.name))
        }
    };
    if matches {
        return Ok(());
    }
    let text = "there is no unique or exclusion constraint matching the ON CONFLICT specification";
    Err(HwError::new(sqlstate::INVALID_COLUMN_REFERENCE, text)
        .with_hint("The conflict target is the table's primary key."))
}
