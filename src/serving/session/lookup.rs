//! Point look-ups: one row of a table or view by its unique key, without a query plan.
//!
//! `SELECT columns FROM relation WHERE key = value AND …` with a value for exactly the key's
//! columns is recognised from its syntax tree; a prepared one is then run by reading the
//! store. Whenever anything is unusual the general path takes over, with the same result.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use sqlparser::ast::{
    BinaryOperator, Expr, GroupByExpr, Ident, Query, Select, SelectItem, SetExpr, TableFactor, Value,
};

use super::results::{counted, rows};
use super::{Session, bind};
use crate::catalog::{Definition, Kind, QualifiedName};
use crate::error::Result;
use crate::serving::pg::api::{Description, Outcome};
use crate::sql::ast::ObjectName;
use crate::sql::parser::{fold_identifier, relation_name};
use crate::types::PgType;
use crate::types::text::parse_text;

/// A recognised look-up.
pub(super) struct Lookup {
    name: QualifiedName,
    search_path: Vec<String>,
    definition: Arc<Definition>,
    /// In the order of the key's columns.
    values: Vec<KeyValue>,
    projection: Vec<usize>,
    /// What the client sees.
    schema: SchemaRef,
    parameters: Vec<PgType>,
}

#[derive(Clone, Debug, PartialEq)]
enum KeyValue {
    /// Index of the parameter.
    Parameter(usize, DataType),
    Constant(ScalarValue),
}

/// The parts of a query that has the shape of a look-up.
#[derive(Debug, PartialEq)]
struct Shape<'a> {
    relation: ObjectName,
    /// (column, value).
    conditions: Vec<(String, &'a Expr)>,
    /// (column, output name), or every column.
    columns: Option<Vec<(String, String)>>,
}

fn shape(query: &Query) -> Option<Shape<'_>> {
    let plain = query.with.is_none()
        && query.order_by.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none()
        && query.locks.is_empty();
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    if !plain || !is_plain(select) {
        return None;
    }
    let [from] = select.from.as_slice() else { return None };
    let TableFactor::Table { name, alias, args: None, version: None, sample: None, with_hints, .. } =
        &from.relation
    else {
        return None;
    };
    if !from.joins.is_empty() || !with_hints.is_empty() {
        return None;
    }
    let relation = relation_name(name)?;
    let shown = match alias {
        Some(alias) if alias.columns.is_empty() => fold_identifier(&alias.name),
        Some(_) => return None,
        None => relation.name.clone(),
    };
    let mut conditions = Vec::new();
    conjuncts(select.selection.as_ref()?, &shown, &mut conditions)?;
    let columns = match select.projection.as_slice() {
        [SelectItem::Wildcard(options)] if options.to_string().is_empty() => None,
        items => Some(items.iter().map(|item| output(item, &shown)).collect::<Option<Vec<_>>>()?),
    };
    Some(Shape { relation, conditions, columns })
}

fn is_plain(select: &Select) -> bool {
    let ungrouped =
        matches!(&select.group_by, GroupByExpr::Expressions(e, m) if e.is_empty() && m.is_empty());
    ungrouped
        && select.distinct.is_none()
        && select.top.is_none()
        && select.into.is_none()
        && select.having.is_none()
        && select.qualify.is_none()
        && select.named_window.is_empty()
        && select.lateral_views.is_empty()
        && select.optimizer_hints.is_empty()
}

fn output(item: &SelectItem, relation: &str) -> Option<(String, String)> {
    match item {
        SelectItem::UnnamedExpr(expr) => column(expr, relation).map(|c| (c.clone(), c)),
        SelectItem::ExprWithAlias { expr, alias } => Some((column(expr, relation)?, fold_identifier(alias))),
        _ => None,
    }
}

fn column(expr: &Expr, relation: &str) -> Option<String> {
    match expr {
        Expr::Identifier(name) => Some(fold_identifier(name)),
        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [of, name] if fold_identifier(of) == relation => Some(fold_identifier(name)),
            _ => None,
        },
        _ => None,
    }
}

fn conjuncts<'a>(expr: &'a Expr, relation: &str, out: &mut Vec<(String, &'a Expr)>) -> Option<()> {
    match expr {
        Expr::Nested(inner) => conjuncts(inner, relation, out),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            conjuncts(left, relation, out)?;
            conjuncts(right, relation, out)
        }
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => {
            let (name, value) = match (column(left, relation), column(right, relation)) {
                (Some(name), None) => (name, right),
                (None, Some(name)) => (name, left),
                _ => return None,
            };
            out.push((name, value.as_ref()));
            Some(())
        }
        _ => None,
    }
}

/// Key columns of these types compare like their bytes, so a fingerprint finds them.
fn is_exact(ty: &PgType) -> bool {
    use PgType as P;
    matches!(
        ty,
        P::Bool
            | P::Int2
            | P::Int4
            | P::Int8
            | P::Text
            | P::Varchar(_)
            | P::Uuid
            | P::Date
            | P::Timestamp
            | P::Timestamptz
    )
}

/// The type in which a value for such a column is given.
fn value_type(ty: PgType) -> PgType {
    if matches!(ty, PgType::Varchar(_)) { PgType::Text } else { ty }
}

impl Lookup {
    pub fn description(&self) -> Description {
        Description { parameters: self.parameters.clone(), rows: Some(Arc::clone(&self.schema)) }
    }
}

impl Session {
    /// Recognises a look-up; `declared` are the parameter types that the client gave.
    pub(super) fn recognise_lookup(
        &self,
        query: &Query,
        declared: &[Option<PgType>],
    ) -> Result<Option<Lookup>> {
        let Some(shape) = shape(query) else { return Ok(None) };
        let name = QualifiedName::new(shape.relation.schema.as_deref(), &shape.relation.name);
        let search_path = self.search_path();
        let catalog = self.database.catalog();
        let Some(definition) = catalog.lookup(&name, &search_path).cloned() else { return Ok(None) };
        if !matches!(definition.kind, Kind::Table | Kind::MaterializedView) {
            return Ok(None);
        }
        let stores = self.database.engine.shared.stores.read();
        let Some(key) = stores.get(&definition.id).and_then(|s| s.key().map(<[usize]>::to_vec)) else {
            return Ok(None);
        };
        drop(stores);
        Ok(self.build(shape, name, search_path, definition, &key, declared))
    }

    fn build(
        &self,
        shape: Shape<'_>,
        name: QualifiedName,
        search_path: Vec<String>,
        definition: Arc<Definition>,
        key: &[usize],
        declared: &[Option<PgType>],
    ) -> Option<Lookup> {
        if key.is_empty() || shape.conditions.len() != key.len() {
            return None;
        }
        let mut parameters: Vec<Option<PgType>> = Vec::new();
        let mut values = Vec::with_capacity(key.len());
        for index in key {
            let field = &definition.columns[*index];
            let ty = value_type(Some(PgType::of(field)).filter(is_exact)?);
            let (_, value) = shape.conditions.iter().find(|(c, _)| c == field.name())?;
            values.push(self.key_value(value, ty, field.data_type(), declared, &mut parameters)?);
        }
        let position = |c: &str| definition.columns.iter().position(|f| f.name() == c);
        let columns: Vec<(usize, String)> = match shape.columns {
            None => definition.columns.iter().enumerate().map(|(i, f)| (i, f.name().clone())).collect(),
            Some(columns) => {
                columns.into_iter().map(|(c, n)| Some((position(&c)?, n))).collect::<Option<_>>()?
            }
        };
        let field = |(i, name): &(usize, String)| -> Field {
            definition.columns[*i].clone().with_name(name).with_nullable(true)
        };
        Some(Lookup {
            schema: Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>())),
            projection: columns.into_iter().map(|(i, _)| i).collect(),
            parameters: parameters.into_iter().collect::<Option<_>>()?,
            name,
            search_path,
            definition,
            values,
        })
    }

    fn key_value(
        &self,
        value: &Expr,
        ty: PgType,
        carrier: &DataType,
        declared: &[Option<PgType>],
        parameters: &mut Vec<Option<PgType>>,
    ) -> Option<KeyValue> {
        if let Some(n) = bind::placeholder(value) {
            let index = n.checked_sub(1)?;
            let given = declared.get(index).cloned().flatten();
            let ty = match given {
                Some(given) if given != ty && !(is_integer(&given) && is_integer(&ty)) => {
                    let text = matches!(given, PgType::Varchar(_) | PgType::Text) && ty == PgType::Text;
                    text.then_some(given)?
                }
                Some(given) => given,
                None => ty,
            };
            if parameters.len() <= index {
                parameters.resize(index + 1, None);
            }
            if parameters[index].as_ref().is_some_and(|other| *other != ty) {
                return None;
            }
            parameters[index] = Some(ty);
            return Some(KeyValue::Parameter(index, carrier.clone()));
        }
        let Expr::Value(literal) = value else { return None };
        let text = match &literal.value {
            Value::SingleQuotedString(text) => text,
            Value::Number(text, _) if is_integer(&ty) => text,
            _ => return None,
        };
        // What cannot be read is reported by the planner, with its position.
        parse_text(text, &ty, &self.text_options_now()).ok().map(KeyValue::Constant)
    }

    /// Runs a look-up; `None` if it has to be planned after all.
    pub(super) async fn run_lookup(
        &mut self,
        lookup: &Lookup,
        parameters: &[ScalarValue],
    ) -> Result<Option<Outcome>> {
        let catalog = self.database.catalog();
        let found = catalog.lookup(&lookup.name, &lookup.search_path);
        let same = found.is_some_and(|d| Arc::ptr_eq(d, &lookup.definition));
        let written = self.transaction.has_written(lookup.definition.id);
        if !same || written || self.transaction.is_failed() || self.search_path() != lookup.search_path {
            return Ok(None);
        }
        let Some(key) = key_arrays(&lookup.values, parameters) else { return Ok(None) };
        let pin = self.pin().await?;
        let store = self.database.engine.readable_store(lookup.definition.id, &lookup.definition.name)?;
        let row = match key {
            Some(key) => store.lookup(pin.epoch(), &key)?,
            None => None,
        };
        let batches = match row {
            Some(row) => {
                let columns: Vec<ArrayRef> =
                    lookup.projection.iter().map(|c| Arc::clone(row.column(*c))).collect();
                vec![RecordBatch::try_new(Arc::clone(&lookup.schema), columns)?]
            }
            None => Vec::new(),
        };
        Ok(Some(rows(Arc::clone(&lookup.schema), batches, counted("SELECT"))))
    }
}

fn is_integer(ty: &PgType) -> bool {
    matches!(ty, PgType::Int2 | PgType::Int4 | PgType::Int8)
}

/// The key as arrays of one value; `Some(None)` if some value is NULL, so that no row matches.
fn key_arrays(values: &[KeyValue], parameters: &[ScalarValue]) -> Option<Option<Vec<ArrayRef>>> {
    let mut arrays = Vec::with_capacity(values.len());
    for value in values {
        let value = match value {
            KeyValue::Constant(value) => value.clone(),
            KeyValue::Parameter(index, carrier) => match parameters.get(*index)? {
                value if value.data_type() == *carrier => value.clone(),
                // Arrow's kernel does not know NaN and the infinities of numeric.
                ScalarValue::Decimal128(..) => return None,
                value => value.cast_to(carrier).ok()?,
            },
        };
        if value.is_null() {
            return Some(None);
        }
        arrays.push(value.to_array().ok()?);
    }
    Some(Some(arrays))
}

/// Folded names of plain identifiers.
pub(super) fn folded(names: &[Ident]) -> Vec<String> {
    names.iter().map(fold_identifier).collect()
}

#[cfg(test)]
mod tests {
    use super::super::evaluate::query_of;
    use super::*;

    fn recognised(sql: &str) -> Option<(Vec<String>, Option<usize>)> {
        let query = query_of(sql).unwrap();
        let shape = shape(&query)?;
        let conditions = shape.conditions.iter().map(|(c, _)| c.clone()).collect();
        Some((conditions, shape.columns.map(|c| c.len())))
    }

    #[test]
    fn look_ups_are_told_from_queries() {
        let keys = |k: &[&str]| k.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        assert_eq!(recognised("SELECT * FROM mv WHERE k = $1"), Some((keys(&["k"]), None)));
        assert_eq!(
            recognised("SELECT v, m.w AS x FROM s.mv m WHERE ($1 = m.a) AND b = 'y'"),
            Some((keys(&["a", "b"]), Some(2)))
        );
        for other in [
            "SELECT * FROM mv",
            "SELECT * FROM mv WHERE k > 1",
            "SELECT * FROM mv WHERE k = 1 OR k = 2",
            "SELECT v + 1 FROM mv WHERE k = 1",
            "SELECT count(*) FROM mv WHERE k = 1",
            "SELECT DISTINCT v FROM mv WHERE k = 1",
            "SELECT * FROM mv WHERE k = 1 LIMIT 1",
            "SELECT * FROM mv, t WHERE k = 1",
            "SELECT * FROM mv WHERE k = l",
            "SELECT mv.* FROM mv WHERE k = 1",
        ] {
            assert_eq!(recognised(other), None, "{other}");
        }
    }
}
