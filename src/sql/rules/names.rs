//! Output column names as PostgreSQL gives them (`FigureColname` of parse_target.c).
//!
//! A column keeps its name, a call its function's name, a cast its operand's name or else
//! the type's, and anything else is `?column?`. Wildcards take the plan's names. Names may
//! repeat, which DataFusion's schemas do not allow, so they travel beside the plan.

use datafusion::logical_expr::LogicalPlan;
use sqlparser::ast::*;

use crate::error::{HwError, Result};
use crate::sql::parser::fold_identifier;
use crate::sql::types::pg_type;

/// The names of the columns of `plan`, planned from `query` (before or after
/// [`super::ast::prepare`]; prefer before, which has the names as written).
pub fn postgres_output_names(query: &Query, plan: &LogicalPlan) -> Result<Vec<String>> {
    let planned: Vec<String> = plan.schema().fields().iter().map(|f| shown(f.name())).collect();
    let Some(select) = leftmost(&query.body) else {
        return Ok(planned);
    };
    let names: Vec<Option<String>> = select.projection.iter().map(item_name).collect();
    let wildcards = names.iter().filter(|n| n.is_none()).count();
    if wildcards == 0 {
        if names.len() != planned.len() {
            return Err(HwError::internal("select list and plan differ in length"));
        }
        return Ok(names.into_iter().flatten().collect());
    }
    let first = names.iter().position(Option::is_none).unwrap_or(0);
    let tail = names.iter().rev().position(Option::is_none).unwrap_or(0);
    let mut out = planned;
    let width = out.len();
    for (at, name) in names[..first].iter().enumerate() {
        out[at] = name.clone().unwrap_or_default();
    }
    for (back, name) in names.iter().rev().take(tail).enumerate() {
        if let Some(slot) = width.checked_sub(back + 1).and_then(|at| out.get_mut(at)) {
            *slot = name.clone().unwrap_or_default();
        }
    }
    Ok(out)
}

/// Without the suffix that `prepare` adds to repeated names.
fn shown(name: &str) -> String {
    match name.rsplit_once(':') {
        Some((base, n)) if !base.is_empty() && n.parse::<usize>().is_ok() => base.to_string(),
        _ => name.to_string(),
    }
}

fn leftmost(body: &SetExpr) -> Option<&Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::Query(query) => leftmost(&query.body),
        SetExpr::SetOperation { left, .. } => leftmost(left),
        _ => None,
    }
}

/// The name of one select item; `None` for wildcards.
pub fn item_name(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::UnnamedExpr(expr) => Some(figure(expr).unwrap_or("?column?".into())),
        SelectItem::ExprWithAlias { alias, .. } => Some(match alias.quote_style {
            Some(_) => shown(&alias.value),
            None => alias.value.to_lowercase(),
        }),
        _ => None,
    }
}

fn figure(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(id) => Some(fold_identifier(id)),
        Expr::CompoundIdentifier(ids) => ids.last().map(fold_identifier),
        Expr::Function(f) => f.name.0.last().and_then(|p| p.as_ident()).map(fold_identifier),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => figure(inner),
        Expr::Cast { expr, data_type, .. } => figure(expr).or_else(|| type_column(data_type)),
        Expr::TypedString(TypedString { data_type, .. }) => type_column(data_type),
        Expr::Interval(_) => Some("interval".into()),
        Expr::Case { else_result, .. } => {
            else_result.as_ref().and_then(|e| column_only(e)).or(Some("case".into()))
        }
        Expr::Extract { .. } => Some("extract".into()),
        Expr::Position { .. } => Some("position".into()),
        Expr::Substring { .. } => Some("substring".into()),
        Expr::Overlay { .. } => Some("overlay".into()),
        Expr::Trim { trim_where, .. } => Some(
            match trim_where {
                Some(TrimWhereField::Leading) => "ltrim",
                Some(TrimWhereField::Trailing) => "rtrim",
                _ => "btrim",
            }
            .into(),
        ),
        Expr::Ceil { .. } => Some("ceil".into()),
        Expr::Floor { .. } => Some("floor".into()),
        Expr::AtTimeZone { .. } => Some("timezone".into()),
        Expr::Exists { .. } => Some("exists".into()),
        Expr::Array(_) => Some("array".into()),
        Expr::Tuple(_) => Some("row".into()),
        Expr::CompoundFieldAccess { root, .. } => figure(root),
        Expr::Subquery(query) => leftmost(&query.body).and_then(|s| s.projection.first()).and_then(item_name),
        _ => None,
    }
}

/// CASE takes the name of an ELSE that has one by itself.
fn column_only(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Function(_) => figure(expr),
        _ => None,
    }
}

/// `typname`, not the SQL spelling: `int4`, `timestamptz`.
fn type_column(data_type: &DataType) -> Option<String> {
    use crate::types::PgType as T;
    let name = match pg_type(data_type).ok()? {
        T::Bool => "bool",
        T::Int2 => "int2",
        T::Int4 => "int4",
        T::Int8 => "int8",
        T::Float4 => "float4",
        T::Float8 => "float8",
        T::Numeric(_) => "numeric",
        T::Text => "text",
        T::Varchar(_) => "varchar",
        T::Bpchar(_) => "bpchar",
        T::Bytea => "bytea",
        T::Date => "date",
        T::Time => "time",
        T::Timestamp => "timestamp",
        T::Timestamptz => "timestamptz",
        T::Interval => "interval",
        T::Uuid => "uuid",
        T::Json => "json",
        T::Jsonb => "jsonb",
        T::Name => "name",
        T::Char => "char",
        T::Oid => "oid",
        T::Regclass => "regclass",
        T::Array(inner) => return Some(inner.sql_name().replace("character varying", "varchar")),
        _ => return None,
    };
    Some(name.into())
}
