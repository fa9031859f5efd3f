//! Subqueries in ON of outer joins, in ORDER BY and in DISTINCT ON.

use std::cell::Cell;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result as DfResult};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    Distinct, DistinctOn, Expr, Filter, Join, JoinType, LogicalPlan, LogicalPlanBuilder, Projection, Sort,
    SortExpr,
};

use super::push::outer_columns;
use super::{Apply, Mode, has_target, is_target, only};
use crate::error::{HwError, sqlstate};

/// A LEFT, RIGHT or FULL join whose condition has subqueries. One that reads the columns of one side is
/// joined to that side; with one that reads both, the padded side is read for each row of the other.
pub(super) fn outer_join(join: Join, mode: Mode, names: &Cell<usize>) -> DfResult<LogicalPlan> {
    let columns = join.schema.columns();
    let mut left = Apply::new(join.left.as_ref().clone(), mode, names);
    let mut right = Apply::new(join.right.as_ref().clone(), mode, names);
    let mut on: Vec<Expr> = join.on.into_iter().map(|(l, r)| l.eq(r)).collect();
    let mut both = Vec::new();
    for conjunct in join.filter.iter().flat_map(split_conjunction) {
        match side_by_side(conjunct, &mut left, &mut right)? {
            Some(replaced) => on.push(replaced),
            None => both.push(conjunct.clone()),
        }
    }
    let Some(both) = conjunction(both) else {
        let builder = LogicalPlanBuilder::from(left.input);
        return only(builder.join_on(right.input, join.join_type, on)?.build()?, columns);
    };
    let (mut kept, padded) = match join.join_type {
        JoinType::Left => (left, right),
        JoinType::Right => (right, left),
        _ => {
            let what = "a subquery in ON of a FULL JOIN that reads columns of both sides";
            let hint =
                "Write a LEFT JOIN, and UNION ALL with the rows of the other side that have no partner.";
            return Err(HwError::unsupported(what, hint).into());
        }
    };
    let both = from_outside(both, &kept)?;
    let padded = LogicalPlan::Filter(Filter::try_new(both, Arc::new(padded.input))?);
    let pushed = kept.push(&padded)?;
    let pushed = kept.pusher(&pushed.keys)?.materialize(pushed)?;
    kept.join(pushed, on, JoinType::Left)?;
    only(kept.input, columns)
}

/// A condition without subqueries, if each of them reads one side only.
fn side_by_side<'a>(conjunct: &Expr, left: &mut Apply<'a>, right: &mut Apply<'a>) -> DfResult<Option<Expr>> {
    let mut found = true;
    let replaced = conjunct.clone().transform_up(|e| {
        if !is_target(&e, left.mode) {
            return Ok(Transformed::no(e));
        }
        let read = columns_of(&e)?;
        let side = match () {
            () if read.iter().all(|c| right.input.schema().has_column(c)) => &mut *right,
            () if read.iter().all(|c| left.input.schema().has_column(c)) => &mut *left,
            () => {
                found = false;
                return Ok(Transformed::no(e));
            }
        };
        Ok(Transformed::yes(side.replace(e)?))
    })?;
    Ok(found.then_some(replaced.data))
}

/// What an expression and the subqueries in it read of the query around them.
fn columns_of(expr: &Expr) -> DfResult<Vec<Column>> {
    let mut read: Vec<Column> = expr.column_refs().into_iter().cloned().collect();
    read.extend(outer_of(expr)?);
    Ok(read)
}

fn outer_of(expr: &Expr) -> DfResult<Vec<Column>> {
    let mut read = Vec::new();
    expr.apply(|e| {
        let subquery = match e {
            Expr::ScalarSubquery(s) => s,
            Expr::Exists(e) => &e.subquery,
            Expr::InSubquery(i) => &i.subquery,
            Expr::SetComparison(c) => &c.subquery,
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        read.extend(outer_columns(&subquery.subquery)?.into_iter().map(|(_, c)| c));
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(read)
}

/// The columns of `kept` as those of a query outside.
fn from_outside(expr: Expr, kept: &Apply) -> DfResult<Expr> {
    let schema = kept.outer.schema();
    let outside = expr.transform(|e| match e {
        Expr::Column(c) => Ok(match schema.qualified_field_from_column(&c) {
            Ok((_, field)) => Transformed::yes(Expr::OuterReferenceColumn(Arc::clone(field), c)),
            Err(_) => Transformed::no(Expr::Column(c)),
        }),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(outside.data)
}

/// ORDER BY of expressions with subqueries that read columns which are not in the select list.
pub(super) fn widened(sort: Sort) -> DfResult<Sort> {
    let mut missing: Vec<Column> = Vec::new();
    for key in &sort.expr {
        let read = outer_of(&key.expr)?.into_iter();
        missing.extend(read.filter(|c| !sort.input.schema().has_column(c)));
    }
    if missing.is_empty() {
        return Ok(sort);
    }
    missing.dedup();
    match sort.input.as_ref() {
        LogicalPlan::Projection(p) if missing.iter().all(|c| p.input.schema().has_column(c)) => {
            let exprs = p.expr.iter().cloned().chain(missing.into_iter().map(Expr::Column));
            let wide = Projection::try_new(exprs.collect(), Arc::clone(&p.input))?;
            Ok(Sort { input: Arc::new(LogicalPlan::Projection(wide)), ..sort })
        }
        LogicalPlan::Distinct(_) => Err(HwError::new(
            sqlstate::INVALID_COLUMN_REFERENCE,
            "for SELECT DISTINCT, ORDER BY expressions must appear in select list",
        )
        .into()),
        _ => Ok(sort),
    }
}

/// DISTINCT ON of expressions with subqueries.
pub(super) fn distinct_on(
    on: DistinctOn,
    mode: Mode,
    names: &Cell<usize>,
) -> DfResult<Transformed<LogicalPlan>> {
    let order = on.sort_expr.iter().flatten().map(|s| &s.expr);
    let mut exprs = on.on_expr.iter().chain(&on.select_expr).chain(order);
    if !exprs.any(|e| has_target(e, mode)) {
        return Ok(Transformed::no(LogicalPlan::Distinct(Distinct::On(on))));
    }
    let mut apply = Apply::new(on.input.as_ref().clone(), mode, names);
    // What is the same before is the same after.
    let mut known: Vec<(Expr, Expr)> = Vec::new();
    let mut replace = |e: Expr| match known.iter().find(|(before, _)| *before == e) {
        Some((_, after)) => Ok(after.clone()),
        None => {
            let after = apply.replace(e.clone())?;
            known.push((e, after.clone()));
            DfResult::Ok(after)
        }
    };
    let firsts = on.on_expr.into_iter().map(&mut replace).collect::<DfResult<Vec<_>>>()?;
    let select = on.select_expr.into_iter().map(|e| {
        let (qualifier, name) = e.qualified_name();
        Ok(replace(e)?.alias_qualified(qualifier, name))
    });
    let select = select.collect::<DfResult<Vec<_>>>()?;
    let order = match on.sort_expr {
        Some(keys) => {
            let keys = keys.into_iter().map(|k| Ok(SortExpr { expr: replace(k.expr)?, ..k }));
            Some(keys.collect::<DfResult<Vec<_>>>()?)
        }
        None => None,
    };
    let on = DistinctOn::try_new(firsts, select, order, Arc::new(apply.input))?;
    Ok(Transformed::yes(LogicalPlan::Distinct(Distinct::On(on))))
}
