//! Clauses of a query in the form that DataFusion reads.
//!
//! `DISTINCT ON` lists its expressions as ORDER BY begins; LIMIT and OFFSET are whole numbers, with
//! PostgreSQL's rounding and 2201W or 2201X below zero; an alias of joins names a subquery; a value is
//! compared with the rows of a subquery rather than with an array of them; a number that has a name is
//! no place in the select list; grouping sets are listed where DataFusion does not make them of ROLLUP,
//! CUBE and `()`. TABLESAMPLE is refused.

use std::ops::ControlFlow;

use sqlparser::ast::*;

use super::ast::call;
use super::rows::{as_query, select_nothing};
use super::using::merges;
use super::visit::{each_query, each_select};
use crate::error::{HwError, Result, sqlstate};
use crate::sql::parser::fold_identifier;

/// As in PostgreSQL; each element doubles the sets.
const CUBE_MAX: usize = 12;

/// Rewrites every query of a tree.
pub fn rewrite<V: VisitMut>(tree: &mut V) -> Result<()> {
    if tree.visit(&mut Sets).is_break() {
        let hint = "Ad hoc, keep about a tenth of the rows with WHERE random() < 0.1.";
        return Err(HwError::unsupported("TABLESAMPLE", hint));
    }
    each_query(tree, |query| {
        order_distinct(query);
        limits(query)
    })?;
    each_select(tree, |select| {
        hide_numbers(select);
        list_grouping_sets(&mut select.group_by)?;
        let relations = select.from.iter_mut();
        let mut factors = relations.flat_map(|f| {
            std::iter::once(&mut f.relation).chain(f.joins.iter_mut().map(|j| &mut j.relation))
        });
        factors.try_for_each(name_joins)
    })
}

/// `a = ANY (ARRAY(SELECT …))` as `a = ANY (SELECT …)`, `a IN (VALUES (1), (2))` as a list. Breaks at a
/// TABLESAMPLE, which DataFusion would not look at.
struct Sets;

impl VisitorMut for Sets {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table { sample: Some(_), .. } | TableFactor::Derived { sample: Some(_), .. } => {
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        }
    }

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

/// `GROUP BY x` of an item `5 AS x` groups by the item; DataFusion would take the number for the
/// place of another. A column `x` comes before the item, so that the name stays.
fn hide_numbers(select: &mut Select) {
    let GroupByExpr::Expressions(keys, _) = &select.group_by else { return };
    let names: Vec<String> = keys.iter().filter_map(name_of).collect();
    for item in &mut select.projection {
        if let SelectItem::ExprWithAlias { expr, alias } = item
            && names.contains(&fold_identifier(alias))
            && matches!(expr, Expr::Value(ValueWithSpan { value: Value::Number(..), .. }))
        {
            *expr = call("same_value", vec![expr.clone()]);
        }
    }
}

/// `ROLLUP ((a, b), c)`, `GROUPING SETS ((a), CUBE (b, c))` and `GROUP BY ()` as GROUPING SETS of
/// plain sets.
fn list_grouping_sets(group_by: &mut GroupByExpr) -> Result<()> {
    let GroupByExpr::Expressions(keys, _) = group_by else { return Ok(()) };
    for key in keys.iter_mut() {
        let sets = match key {
            Expr::Rollup(parts) if parts.iter().any(|p| p.len() != 1) => rolled_up(parts),
            Expr::Cube(parts) if parts.iter().any(|p| p.len() != 1) => cube(parts)?,
            Expr::GroupingSets(sets) => {
                let mut plain = Vec::with_capacity(sets.len());
                for set in sets.iter() {
                    match nested_sets(set)? {
                        Some(nested) => plain.extend(nested),
                        None => plain.push(set.clone()),
                    }
                }
                plain
            }
            Expr::Tuple(none) if none.is_empty() => vec![vec![]],
            _ => continue,
        };
        *key = Expr::GroupingSets(sets);
    }
    Ok(())
}

/// The sets of a ROLLUP or CUBE within GROUPING SETS, which the parser takes for a function.
fn nested_sets(set: &[Expr]) -> Result<Option<Vec<Vec<Expr>>>> {
    let [Expr::Function(Function { name, args: FunctionArguments::List(list), .. })] = set else {
        return Ok(None);
    };
    let part = |arg: &FunctionArg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Tuple(part))) => Some(part.clone()),
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Nested(one))) => Some(vec![one.as_ref().clone()]),
        FunctionArg::Unnamed(FunctionArgExpr::Expr(one)) => Some(vec![one.clone()]),
        _ => None,
    };
    let Some(parts) = list.args.iter().map(part).collect::<Option<Vec<_>>>() else { return Ok(None) };
    match name.to_string().to_ascii_lowercase().as_str() {
        "rollup" => Ok(Some(rolled_up(&parts))),
        "cube" => Ok(Some(cube(&parts)?)),
        _ => Ok(None),
    }
}

/// The first n parts, for each n from all to none.
fn rolled_up(parts: &[Vec<Expr>]) -> Vec<Vec<Expr>> {
    (0..=parts.len()).rev().map(|n| parts[..n].concat()).collect()
}

/// Every choice of parts, all of them first.
fn cube(parts: &[Vec<Expr>]) -> Result<Vec<Vec<Expr>>> {
    if parts.len() > CUBE_MAX {
        let message = format!("CUBE is limited to {CUBE_MAX} elements");
        return Err(HwError::new(sqlstate::TOO_MANY_COLUMNS, message));
    }
    let chosen = |choice: usize| {
        let taken = parts.iter().enumerate().filter(move |(at, _)| choice >> (parts.len() - 1 - at) & 1 == 1);
        taken.flat_map(|(_, part)| part.iter().cloned()).collect()
    };
    Ok((0..1usize << parts.len()).rev().map(chosen).collect())
}

fn name_of(key: &Expr) -> Option<String> {
    if let Expr::Identifier(name) = key { Some(fold_identifier(name)) } else { None }
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
    let Some(number) = text.parse::<f64>().ok().filter(|n| n.is_finite()) else {
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
