//! Clauses of a query in the form that DataFusion reads.
//!
//! `DISTINCT ON` lists its expressions as ORDER BY begins; LIMIT and OFFSET are whole numbers, with
//! PostgreSQL's rounding and 2201W or 2201X below zero; an alias of joins names a subquery; a value is
//! compared with the rows of a subquery rather than with an array of them; a literal that has a name
//! is grouped by its position.

use std::ops::ControlFlow;

use sqlparser::ast::*;

use super::rows::{as_query, select_nothing};
use super::using::merges;
use super::visit::{each_query, each_select};
use crate::error::{HwError, Result, sqlstate};
use crate::sql::parser::fold_identifier;

/// Rewrites every query of a tree.
pub fn rewrite<V: VisitMut>(tree: &mut V) -> Result<()> {
    let _ = tree.visit(&mut Sets);
    each_query(tree, |query| {
        order_distinct(query);
        limits(query)
    })?;
    each_select(tree, |select| {
        group_by_position(select);
        let relations = select.from.iter_mut();
        let mut factors = relations.flat_map(|f| {
            std::iter::once(&mut f.relation).chain(f.joins.iter_mut().map(|j| &mut j.relation))
        });
        factors.try_for_each(name_joins)
    })
}

/// `a = ANY (ARRAY(SELECT …))` as `a = ANY (SELECT …)`, `a IN (VALUES (1), (2))` as a list.
struct Sets;

impl VisitorMut for Sets {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } = expr
            && let Expr::Function(f) = right.as_ref()
            && let FunctionArguments::Subquery(query) = &f.args
            && f.name.to_string().eq_ignore_ascii_case("array")
        {
            **right = Expr::Subquery(query.clone());
        }
        if let Expr::InSubquery { expr: value, subquery, negated } = expr
            && let Some(list) = listed_values(subquery)
        {
            *expr = Expr::InList { expr: value.clone(), list, negated: *negated };
        }
        ControlFlow::Continue(())
    }
}

/// PostgreSQL takes the expressions of `DISTINCT ON (a, b) … ORDER BY b, a` in any order.
fn order_distinct(query: &mut Query) {
    let (SetExpr::Select(select), Some(order)) = (query.body.as_mut(), &query.order_by) else { return };
    let (Some(Distinct::On(on)), OrderByKind::Expressions(keys)) = (&mut select.distinct, &order.kind) else {
        return;
    };
    let place = |e: &Expr| keys.iter().take(on.len()).position(|key| key.expr == *e);
    let mut places: Vec<(Option<usize>, Expr)> = on.iter().map(|e| (place(e), e.clone())).collect();
    if places.iter().all(|(place, _)| place.is_some()) {
        places.sort_by_key(|(place, _)| *place);
        *on = places.into_iter().map(|(_, e)| e).collect();
    }
}

/// `GROUP BY x` of an item `5 AS x` groups by the item, not by the fifth.
fn group_by_position(select: &mut Select) {
    let GroupByExpr::Expressions(keys, _) = &mut select.group_by else { return };
    for key in keys {
        let Expr::Identifier(name) = &*key else { continue };
        let named = |item: &SelectItem| {
            matches!(item, SelectItem::ExprWithAlias { expr: Expr::Value(_), alias }
                if fold_identifier(alias) == fold_identifier(name))
        };
        if let Some(at) = select.projection.iter().position(named) {
            *key = Expr::Value(Value::Number((at + 1).to_string(), false).into());
        }
    }
}

/// The rows of `x IN (VALUES (1), (2))`.
fn listed_values(query: &mut Query) -> Option<Vec<Expr>> {
    let SetExpr::Values(values) = query.body.as_mut() else { return None };
    let plain = query.limit_clause.is_none() && query.fetch.is_none();
    if !plain || values.rows.iter().any(|row| row.content.len() != 1) {
        return None;
    }
    Some(values.rows.drain(..).flat_map(|row| row.content).collect())
}

fn limits(query: &mut Query) -> Result<()> {
    let Some(LimitClause::LimitOffset { limit, offset, .. }) = &mut query.limit_clause else { return Ok(()) };
    if let Some(limit) = limit {
        whole(limit, sqlstate::INVALID_ROW_COUNT_IN_LIMIT, "LIMIT")?;
    }
    if let Some(offset) = offset {
        whole(&mut offset.value, sqlstate::INVALID_ROW_COUNT_IN_OFFSET, "OFFSET")?;
    }
    Ok(())
}

/// A constant count as a whole number.
fn whole(count: &mut Expr, code: &'static str, word: &str) -> Result<()> {
    let (negative, value) = match count {
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => (true, expr.as_mut()),
        other => (false, other),
    };
    let Expr::Value(ValueWithSpan { value, .. }) = value else { return Ok(()) };
    let text = match value {
        Value::Number(text, _) | Value::SingleQuotedString(text) => text.trim().to_string(),
        _ => return Ok(()),
    };
    let Ok(number) = text.parse::<f64>() else {
        let message = format!("invalid input syntax for type bigint: \"{text}\"");
        return Err(HwError::new(sqlstate::INVALID_TEXT_REPRESENTATION, message));
    };
    if (negative || number < 0.0) && number != 0.0 {
        return Err(HwError::new(code, format!("{word} must not be negative")));
    }
    if text.parse::<u64>().is_err() {
        *value = Value::Number(format!("{:.0}", number.round()), false);
    } else if !matches!(value, Value::Number(..)) {
        *value = Value::Number(text, false);
    }
    Ok(())
}

/// `(a JOIN b USING (k)) AS x` as `(SELECT * FROM a JOIN b USING (k)) AS x`.
fn name_joins(factor: &mut TableFactor) -> Result<()> {
    let TableFactor::NestedJoin { table_with_joins, alias: alias @ Some(_) } = factor else { return Ok(()) };
    if !table_with_joins.joins.iter().any(merges) {
        return Ok(());
    }
    let mut select = select_nothing()?;
    select.projection = vec![SelectItem::Wildcard(WildcardAdditionalOptions::default())];
    select.from = vec![table_with_joins.as_ref().clone()];
    let subquery = Box::new(as_query(SetExpr::Select(Box::new(select))));
    *factor = TableFactor::Derived { lateral: false, subquery, alias: alias.take(), sample: None };
    Ok(())
}
