//! INSERT, UPDATE and DELETE.
//!
//! Each becomes a query: INSERT projects its source onto the table's columns; UPDATE and
//! DELETE select from the table's present rows, which are at hand as a relation. The rows
//! found are turned into changes, checked, and added to the transaction. Values are assigned
//! as PostgreSQL assigns them: literals are read as the column's type, other expressions need
//! an assignment cast.

mod assign;
mod insert;

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use sqlparser::ast::{
    Assignment, AssignmentTarget, Delete, Expr, FromTable, Insert, Query, SelectItem, SetExpr, TableFactor,
    TableObject, TableWithJoins, Update, UpdateTableFromKind,
};

pub(super) use assign::{assignable, fit, read_type, typed_literal};
pub(super) use insert::Insertable;

use super::evaluate::{ROWS_SCHEMA, RowsAtHand, query_of};
use super::query::Text;
use super::results::{command, relabel};
use super::{Session, bind};
use crate::catalog::{Definition, Details, Kind, quote_identifier};
use crate::engine::TableHandle;
use crate::engine::definitions::compile;
use crate::error::{HwError, Result, sqlstate};
use crate::serving::pg::api::Outcome;
use crate::sql::ast::ObjectName;
use crate::sql::parser::{fold_identifier, relation_name};
use crate::types::{ChangeBatch, PgType};

/// Number of a row among the rows at hand.
pub(super) const ROW_NUMBER: &str = "$row";

/// The relation that a statement changes, as it names it.
pub(super) struct Target {
    pub name: ObjectName,
    /// The alias, or the relation's own name.
    pub shown: String,
}

impl Target {
    pub fn of_insert(insert: &Insert) -> Result<Target> {
        let TableObject::TableName(name) = &insert.table else {
            return Err(HwError::unsupported(
                "INSERT INTO this target",
                "Insert into a table or a feed source.",
            ));
        };
        let name = table_name(name)?;
        let alias = insert.table_alias.as_ref().map(|a| fold_identifier(&a.alias));
        Ok(Target { shown: alias.unwrap_or_else(|| name.name.clone()), name })
    }

    pub fn of_update(update: &Update) -> Result<Target> {
        Target::of_table(&update.table, "UPDATE")
    }

    pub fn of_delete(delete: &Delete) -> Result<Target> {
        let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
        match from.as_slice() {
            [one] if delete.tables.is_empty() => Target::of_table(one, "DELETE"),
            _ => Err(HwError::unsupported("DELETE from several tables", "Delete from one table at a time.")),
        }
    }

    fn of_table(table: &TableWithJoins, what: &str) -> Result<Target> {
        match &table.relation {
            TableFactor::Table { name, alias, .. } if table.joins.is_empty() => {
                let name = table_name(name)?;
                let alias = alias.as_ref().map(|a| fold_identifier(&a.name));
                Ok(Target { shown: alias.unwrap_or_else(|| name.name.clone()), name })
            }
            _ => Err(HwError::unsupported(format!("{what} of a join"), "Name one table.")),
        }
    }
}

fn table_name(name: &sqlparser::ast::ObjectName) -> Result<ObjectName> {
    relation_name(name)
        .ok_or_else(|| HwError::new(sqlstate::SYNTAX_ERROR, format!("improper qualified name: {name}")))
}

/// Rows of several batches as one, under the table's schema.
pub(super) fn gather(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<RecordBatch> {
    let batches = batches.iter().map(|b| relabel(b, schema)).collect::<Result<Vec<_>>>()?;
    Ok(arrow::compute::concat_batches(schema, &batches)?)
}

fn select_mut(query: &mut Query) -> Result<&mut sqlparser::ast::Select> {
    match query.body.as_mut() {
        SetExpr::Select(select) => Ok(select),
        _ => Err(HwError::internal("a query of one's own is not a SELECT")),
    }
}

/// `SELECT row number, columns FROM rows at hand`, to be completed.
pub(super) fn rows_query(columns: &[Field], relation: &str, shown: &str, numbered: bool) -> Result<Query> {
    let shown = quote_identifier(shown);
    let quoted = |name: &str| format!("{shown}.\"{}\"", name.replace('"', "\"\""));
    let mut list: Vec<String> = numbered.then(|| quoted(ROW_NUMBER)).into_iter().collect();
    list.extend(columns.iter().map(|c| quoted(c.name())));
    query_of(&format!("SELECT {} FROM {relation} AS {shown}", list.join(", ")))
}

/// A relation of rows at hand, as FROM names it.
pub(super) fn at_hand(name: &str) -> String {
    format!("\"{ROWS_SCHEMA}\".\"{name}\"")
}

/// The rows with their numbers in front.
pub(super) fn numbered(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let mut fields = vec![Field::new(ROW_NUMBER, DataType::Int64, false)];
    fields.extend(schema.fields().iter().map(|f| f.as_ref().clone()));
    let schema = Arc::new(Schema::new(fields));
    let mut next = 0i64;
    let number = |batch: &RecordBatch| {
        let numbers = Int64Array::from_iter_values(next..next + batch.num_rows() as i64);
        next += batch.num_rows() as i64;
        let mut columns: Vec<arrow::array::ArrayRef> = vec![Arc::new(numbers)];
        columns.extend(batch.columns().iter().cloned());
        Ok(RecordBatch::try_new(Arc::clone(&schema), columns)?)
    };
    let batches = batches.iter().map(number).collect::<Result<_>>()?;
    Ok((schema, batches))
}

/// The column and the expression of each assignment.
pub(super) fn assignments<'a>(
    definition: &Definition,
    list: &'a [Assignment],
) -> Result<Vec<(usize, &'a Expr)>> {
    let mut out: Vec<(usize, &Expr)> = Vec::new();
    for assignment in list {
        let AssignmentTarget::ColumnName(name) = &assignment.target else {
            return Err(HwError::unsupported("SET (a, b) = …", "Write one assignment for each column."));
        };
        let name = name.0.last().and_then(|part| part.as_ident()).map(fold_identifier).unwrap_or_default();
        let column = column_index(definition, &name)?;
        if is_generated(definition, &name) {
            return Err(generated_column(&name, "updated"));
        }
        if out.iter().any(|(c, _)| *c == column) {
            let text = format!("multiple assignments to same column \"{name}\"");
            return Err(HwError::new(sqlstate::SYNTAX_ERROR, text));
        }
        out.push((column, &assignment.value));
    }
    Ok(out)
}

pub(super) fn column_index(definition: &Definition, name: &str) -> Result<usize> {
    definition.columns.iter().position(|c| c.name() == name).ok_or_else(|| {
        let text = format!("column \"{name}\" of relation \"{}\" does not exist", definition.name);
        let error = HwError::new(sqlstate::UNDEFINED_COLUMN, text);
        let names = definition.columns.iter().map(|c| c.name().as_str());
        match crate::catalog::suggest::did_you_mean(name, names) {
            Some(meant) => error.with_hint(format!("Perhaps you meant \"{meant}\".")),
            None => error,
        }
    })
}

pub(super) fn generated_of(definition: &Definition) -> Option<&std::collections::BTreeMap<String, String>> {
    match &definition.details {
        Details::Table(table) => Some(&table.generated),
        Details::Source(source) => Some(&source.generated),
        _ => None,
    }
}

pub(super) fn is_generated(definition: &Definition, column: &str) -> bool {
    generated_of(definition).is_some_and(|g| g.contains_key(column))
}

pub(super) fn generated_column(name: &str, what: &str) -> HwError {
    let text = match what {
        "updated" => format!("column \"{name}\" can only be updated to DEFAULT"),
        _ => format!("cannot insert a non-DEFAULT value into column \"{name}\""),
    };
    HwError::new("428C9", text).with_detail(format!("Column \"{name}\" is a generated column."))
}

/// Whether an expression is the word DEFAULT.
pub(super) fn is_default(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(name) if name.quote_style.is_none() && name.value.eq_ignore_ascii_case("default"))
}

/// The DEFAULT of a column as an expression of its type.
pub(super) fn default_of(definition: &Definition, column: usize) -> Result<Expr> {
    let field = &definition.columns[column];
    let text = match &definition.details {
        Details::Table(table) => table.defaults.get(field.name()).cloned(),
        _ => None,
    };
    let name = assign::read_type(&PgType::of(field)).sql_name();
    crate::sql::parser::parse_expression(&format!("(({})::{name})", text.as_deref().unwrap_or("NULL")))
}

impl Session {
    /// The table to change; 42809 for what is no table.
    pub(super) fn table_target(
        &self,
        target: &Target,
        what: &str,
    ) -> Result<(Arc<Definition>, Arc<TableHandle>)> {
        let definition = self.resolve(&target.name)?;
        let table = self.database.engine.table(definition.id);
        match (definition.kind, table) {
            (Kind::Table, Some(table)) => Ok((definition, table)),
            (Kind::Table, None) => Err(HwError::internal("a table is not running")),
            (kind, _) => Err(not_a_table(&definition, kind, what, target.name.position)),
        }
    }

    /// Completes an assigned value: literals are read as the column's type.
    pub(super) fn assigned(&self, definition: &Definition, column: usize, value: &Expr) -> Result<Expr> {
        if is_default(value) {
            return default_of(definition, column);
        }
        Ok(typed_literal(value, &PgType::of(&definition.columns[column])).unwrap_or_else(|| value.clone()))
    }

    /// UPDATE as a query: number and columns of each row, then the assigned values.
    fn update_query(&self, update: &Update, relation: &str, at_hand: bool) -> Result<(Query, Vec<usize>)> {
        let target = Target::of_update(update)?;
        let definition = self.resolve(&target.name)?;
        let mut query = rows_query(&definition.columns, relation, &target.shown, at_hand)?;
        let select = select_mut(&mut query)?;
        let mut columns = Vec::new();
        for (column, value) in assignments(&definition, &update.assignments)? {
            let alias = sqlparser::ast::Ident::with_quote('"', format!("$set{column}"));
            let expr = self.assigned(&definition, column, value)?;
            select.projection.push(SelectItem::ExprWithAlias { expr, alias });
            columns.push(column);
        }
        if let Some(UpdateTableFromKind::BeforeSet(from) | UpdateTableFromKind::AfterSet(from)) = &update.from
        {
            select.from.extend(from.iter().cloned());
        }
        select.selection.clone_from(&update.selection);
        Ok((query, columns))
    }

    fn delete_query(&self, delete: &Delete, relation: &str, at_hand: bool) -> Result<Query> {
        let target = Target::of_delete(delete)?;
        let definition = self.resolve(&target.name)?;
        let mut query = rows_query(&definition.columns, relation, &target.shown, at_hand)?;
        let select = select_mut(&mut query)?;
        select.from.extend(delete.using.iter().flatten().cloned());
        select.selection.clone_from(&delete.selection);
        Ok(query)
    }

    /// For finding the types of parameters.
    pub(super) fn update_as_query(&self, update: &Update) -> Result<Option<Query>> {
        let target = Target::of_update(update)?;
        self.update_query(update, &quoted_name(&target.name), false).map(|(query, _)| Some(query))
    }

    pub(super) fn delete_as_query(&self, delete: &Delete) -> Result<Option<Query>> {
        let target = Target::of_delete(delete)?;
        self.delete_query(delete, &quoted_name(&target.name), false).map(Some)
    }

    pub(super) fn infer_update(&self, update: &Update, types: &mut [Option<PgType>]) -> Result<()> {
        let definition = self.resolve(&Target::of_update(update)?.name)?;
        for (column, value) in assignments(&definition, &update.assignments)? {
            infer_value(value, &definition.columns[column], types);
        }
        Ok(())
    }

    /// The rows of a table that a query over them selects, each once, with the query's
    /// further columns.
    async fn select_rows(
        &mut self,
        query: &Query,
        schema: &SchemaRef,
        current: &[RecordBatch],
        text: Text<'_>,
    ) -> Result<RecordBatch> {
        let (with_number, batches) = numbered(schema, current)?;
        let rows = RowsAtHand::default().with("t", with_number, batches)?;
        let ready = self.plan_with(query, text.submitted, rows).await?;
        let (found_schema, found) = self.collect(&ready, text.submitted).await?;
        let found = arrow::compute::concat_batches(&found_schema, &found)?;
        first_of_each(found)
    }

    /// The present rows of a locked table.
    fn current_rows(&mut self, table: &TableHandle) -> Result<Vec<RecordBatch>> {
        let own = self.transaction.own(table.id);
        let writer = self.transaction.locks.get_mut(&table.id);
        let writer = writer.ok_or_else(|| HwError::internal("a table is changed without its lock"))?;
        table.current(writer, &self.database.engine, &own)
    }

    pub(super) async fn update(&mut self, update: &Update, text: Text<'_>) -> Result<Outcome> {
        self.refuse_in_read_only("UPDATE")?;
        refuse_all_returned(update.from.is_some(), update.returning.as_deref(), "UPDATE with FROM")?;
        let target = Target::of_update(update)?;
        let (definition, table) = self.table_target(&target, "update")?;
        self.lock_table(&table).await?;
        let current = self.current_rows(&table)?;
        let (query, assigned) = self.update_query(update, &at_hand("t"), true)?;
        let found = self.select_rows(&query, &table.schema, &current, text).await?;
        let old = columns_of(&found, &table.schema, 1)?;
        let mut columns = old.columns().to_vec();
        let first = 1 + table.schema.fields().len();
        for (i, column) in assigned.iter().enumerate() {
            let field = table.schema.field(*column);
            columns[*column] =
                self.assign_array(found.column(first + i), found.schema().field(first + i), field).await?;
        }
        let new = RecordBatch::try_new(Arc::clone(&table.schema), columns)?;
        let new = self.complete_table_row(&definition, &table.schema, new)?;
        table.check_not_null(&new)?;
        let count = new.num_rows();
        if count > 0 {
            let changes = replacement(&table.schema, &old, &new)?;
            table.check_keys(&current, &changes)?;
            self.transaction.parts.push((table.id, changes));
        }
        self.finish_dml(&target, &definition, update.returning.as_deref(), new, "UPDATE", text).await
    }

    pub(super) async fn delete(&mut self, delete: &Delete, text: Text<'_>) -> Result<Outcome> {
        self.refuse_in_read_only("DELETE")?;
        refuse_all_returned(delete.using.is_some(), delete.returning.as_deref(), "DELETE with USING")?;
        let target = Target::of_delete(delete)?;
        let (definition, table) = self.table_target(&target, "delete from")?;
        self.lock_table(&table).await?;
        let current = self.current_rows(&table)?;
        let query = self.delete_query(delete, &at_hand("t"), true)?;
        let found = self.select_rows(&query, &table.schema, &current, text).await?;
        let old = columns_of(&found, &table.schema, 1)?;
        if old.num_rows() > 0 {
            self.transaction.parts.push((table.id, ChangeBatch::deletes(old.clone())));
        }
        self.finish_dml(&target, &definition, delete.returning.as_deref(), old, "DELETE", text).await
    }

    /// A computed column as values of a table's column.
    pub(super) async fn assign_array(
        &mut self,
        array: &arrow::array::ArrayRef,
        from: &Field,
        to: &Field,
    ) -> Result<arrow::array::ArrayRef> {
        assignable(from, to)?;
        let out = if array.data_type() == to.data_type() {
            Arc::clone(array)
        } else {
            self.cast_array(array, from, to).await?
        };
        fit(to, out)
    }

    /// Casts as SQL does, which for some types is not what Arrow does.
    async fn cast_array(
        &mut self,
        array: &arrow::array::ArrayRef,
        from: &Field,
        to: &Field,
    ) -> Result<arrow::array::ArrayRef> {
        let schema = Arc::new(Schema::new(vec![from.clone().with_name("v").with_nullable(true)]));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::clone(array)])?;
        let rows = RowsAtHand::default().with("v", schema, vec![batch])?;
        let query = query_of(&format!(
            "SELECT v::{} AS v FROM {}",
            assign::read_type(&PgType::of(to)).sql_name(),
            at_hand("v")
        ))?;
        let text: Arc<str> = Arc::from("");
        let ready = self.plan_with(&query, &text, rows).await?;
        let (found, batches) = self.collect(&ready, &text).await?;
        let all = arrow::compute::concat_batches(&found, &batches)?;
        Ok(Arc::clone(all.column(0)))
    }

    /// 42xxx if an expression of a generated column cannot be compiled.
    pub(super) fn check_generated(
        &self,
        details: &crate::catalog::TableDetails,
        columns: &[Field],
    ) -> Result<()> {
        let schema = Arc::new(Schema::new(columns.to_vec()));
        let state = self.plain_state()?;
        for (name, text) in &details.generated {
            let target = schema.field_with_name(name)?.data_type();
            compile(text, &schema, Some(target), &state, &mut Vec::new())?;
        }
        Ok(())
    }

    fn plain_state(&self) -> Result<datafusion::execution::SessionState> {
        Ok(crate::sql::context::session_state(&self.database.system_context(&[]).options)?)
    }

    /// Fills in the generated columns of a table's rows.
    pub(super) fn complete_table_row(
        &self,
        definition: &Definition,
        schema: &SchemaRef,
        rows: RecordBatch,
    ) -> Result<RecordBatch> {
        let Some(generated) = generated_of(definition).filter(|g| !g.is_empty()) else { return Ok(rows) };
        let state = self.plain_state()?;
        let mut columns = rows.columns().to_vec();
        for (name, text) in generated {
            let index = schema.index_of(name)?;
            let target = schema.field(index).data_type();
            let expr = compile(text, schema, Some(target), &state, &mut Vec::new())?;
            columns[index] = expr.evaluate(&rows)?.into_array(rows.num_rows())?;
        }
        Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
    }

    /// The outcome of a DML statement: RETURNING or a tag.
    pub(super) async fn finish_dml(
        &mut self,
        target: &Target,
        definition: &Definition,
        returning: Option<&[SelectItem]>,
        rows: RecordBatch,
        tag: &str,
        text: Text<'_>,
    ) -> Result<Outcome> {
        match returning {
            None => Ok(command(format!("{tag} {}", rows.num_rows()))),
            Some(items) => self.returning(target, definition, items, rows, tag, text).await,
        }
    }
}

pub(super) fn infer_value(value: &Expr, column: &Field, types: &mut [Option<PgType>]) {
    if let Some(slot) = bind::placeholder(value).and_then(|n| types.get_mut(n.checked_sub(1)?)) {
        slot.get_or_insert_with(|| PgType::of(column));
    }
}

pub(super) fn quoted_name(name: &ObjectName) -> String {
    let schema = name.schema.as_ref().map(|s| format!("{}.", quote_identifier(s))).unwrap_or_default();
    format!("{schema}{}", quote_identifier(&name.name))
}

/// `−1` for the old and `+1` for the new form of rows.
pub(super) fn replacement(schema: &SchemaRef, old: &RecordBatch, new: &RecordBatch) -> Result<ChangeBatch> {
    let rows = arrow::compute::concat_batches(schema, [old, new])?;
    let mut weights = vec![-1; old.num_rows()];
    weights.resize(rows.num_rows(), 1);
    Ok(ChangeBatch::new(rows, weights))
}

/// As many columns as the schema has, from `first` on.
pub(super) fn columns_of(batch: &RecordBatch, schema: &SchemaRef, first: usize) -> Result<RecordBatch> {
    let wanted: Vec<usize> = (first..first + schema.fields().len()).collect();
    relabel(&batch.project(&wanted)?, schema)
}

/// A row joined to several others counts once.
fn first_of_each(found: RecordBatch) -> Result<RecordBatch> {
    use arrow::array::AsArray;
    let numbers = found.column(0).as_primitive::<arrow::datatypes::Int64Type>();
    let mut seen = std::collections::HashSet::new();
    let keep: arrow::array::BooleanArray = numbers.values().iter().map(|n| Some(seen.insert(*n))).collect();
    Ok(arrow::compute::filter_record_batch(&found, &keep)?)
}

pub(super) fn not_a_table(definition: &Definition, kind: Kind, what: &str, position: usize) -> HwError {
    let text = format!("cannot {what} {} \"{}\"", kind.noun(), definition.name);
    let hint = match kind {
        Kind::Source => "Rows of a source come from its connector; only feed sources take INSERT.",
        Kind::View | Kind::MaterializedView => "Change the tables and sources that the view reads.",
        _ => "Only tables can be changed.",
    };
    HwError::new(sqlstate::WRONG_OBJECT_TYPE, text).with_hint(hint).at(position)
}

/// `RETURNING *` has the columns of every relation in PostgreSQL; here rows of the target are returned.
fn refuse_all_returned(joined: bool, returning: Option<&[SelectItem]>, what: &str) -> Result<()> {
    let all = returning.is_some_and(|items| items.iter().any(|i| matches!(i, SelectItem::Wildcard(_))));
    match joined && all {
        true => {
            let hint = "Write the target's name before the star: RETURNING t.*.";
            Err(HwError::unsupported(format!("RETURNING * of {what}"), hint))
        }
        false => Ok(()),
    }
}
