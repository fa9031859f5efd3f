//! Lateral joins with what is made of the row alone: `FROM t, unnest(t.a) u`.
//!
//! Where the right side reads no relation, every left row gives its own rows, so no join is
//! needed: [`Pusher`] builds the right side over the left rows themselves, with all their columns
//! carried, in place of over the different values that it reads. The plan keeps nothing, as
//! `SELECT unnest(a) FROM t` keeps nothing. Joins with other relations inside are made with the
//! left rows in the same way. For LEFT JOIN one array more is unnested, which has an element where
//! all others are empty: its row is the left row without a partner.

use std::cell::Cell;
use std::sync::Arc;

use datafusion::common::{Column, Result as DfResult};
use datafusion::logical_expr::{Expr, Filter, Join, JoinType, LogicalPlan, LogicalPlanBuilder, Unnest};

use super::push::{Key, Pusher, is_correlated};
use super::{Mode, rewrite_named};
use crate::sql::functions;

/// The array that has an element where all others are empty.
pub const UNLESS_ROWS: &str = "unless_rows";

/// The join without a join, if the right side is made of the left row, and perhaps joined with others.
pub(super) fn flat(join: &Join, names: &Cell<usize>) -> DfResult<Option<LogicalPlan>> {
    let pads = join.join_type == JoinType::Left;
    // Most lateral joins read relations: they are not worth a rewrite.
    if !of_rows(&join.right)? {
        return Ok(None);
    }
    let right = rewrite_named(join.right.as_ref().clone(), Mode::Everything, names)?;
    let condition = join.on.iter().map(|(l, r)| l.clone().eq(r.clone())).chain(join.filter.clone());
    let condition: Vec<Expr> = condition.filter(|e| !is_true(e)).collect();
    let fits = match join.join_type {
        JoinType::Inner => of_rows(&right)?,
        JoinType::Left => condition.is_empty() && pads_simply(&right),
        _ => false,
    };
    if !fits {
        return Ok(None);
    }
    let fresh = || {
        names.set(names.get() + 1);
        format!("__row{}", names.get())
    };
    let left = join.left.schema();
    let keys: Vec<Key> = (left.columns().into_iter().zip(left.fields()))
        .map(|(column, field)| Key { field: Arc::clone(field), column, name: fresh() })
        .collect();
    let carried = keys.iter().map(|k| Expr::Column(k.column.clone()).alias(&k.name));
    let rows = LogicalPlanBuilder::from(join.left.as_ref().clone()).project(carried)?.build()?;
    let pusher = Pusher { keys, domain: Some(rows), rows: true, pads, names };
    let pushed = pusher.push(&right)?;
    let own = pusher.keys.iter().map(|k| {
        let c = &k.column;
        k.carried().alias_qualified(c.relation.clone(), &c.name)
    });
    let made = pushed.columns.iter().zip(join.right.schema().columns()).map(|(from, to)| {
        let value = unless_padded(Expr::Column(from.clone()), pushed.marker.as_ref().filter(|_| pads))?;
        Ok(value.alias_qualified(to.relation, &to.name))
    });
    let exprs = own.map(Ok).chain(made).collect::<DfResult<Vec<_>>>()?;
    let mut plan = LogicalPlanBuilder::from(pushed.plan).project(exprs)?.build()?;
    for condition in condition {
        plan = LogicalPlan::Filter(Filter::try_new(condition, Arc::new(plan))?);
    }
    Ok(Some(plan))
}

fn is_true(e: &Expr) -> bool {
    matches!(e, Expr::Literal(datafusion::common::ScalarValue::Boolean(Some(true)), _))
}

/// `value`, but NULL in the row of a left row without a partner.
pub(super) fn unless_padded(value: Expr, marker: Option<&Column>) -> DfResult<Expr> {
    match marker {
        None => Ok(value),
        Some(marker) => datafusion::logical_expr::when(Expr::Column(marker.clone()).is_null(), value).end(),
    }
}

/// The unnest over `below`, with a row also where the arrays have none, and the marker: beside the
/// arrays one that is their row there.
pub(super) fn padded(unnest: &Unnest, below: LogicalPlan, name: String) -> DfResult<(LogicalPlan, Column)> {
    let mut arrays = unnest.exec_columns.clone();
    let marker = functions::scalar(UNLESS_ROWS)?.call(arrays.iter().cloned().map(Expr::Column).collect());
    let mut exprs: Vec<Expr> = below.schema().columns().into_iter().map(Expr::Column).collect();
    exprs.push(marker.alias(&name));
    let marker = Column::new_unqualified(name);
    arrays.push(marker.clone());
    let rows = LogicalPlanBuilder::from(below).project(exprs)?;
    Ok((rows.unnest_columns_with_options(arrays, unnest.options.clone())?.build()?, marker))
}

/// Whether a plan makes rows of the outer row by itself, perhaps joined with other relations.
fn of_rows(plan: &LogicalPlan) -> DfResult<bool> {
    Ok(match plan {
        LogicalPlan::EmptyRelation(_) => true,
        LogicalPlan::Values(_) => !is_correlated(plan)?,
        LogicalPlan::Subquery(s) => of_rows(&s.subquery)?,
        LogicalPlan::SubqueryAlias(a) => of_rows(&a.input)?,
        LogicalPlan::Projection(p) => of_rows(&p.input)?,
        LogicalPlan::Filter(f) => of_rows(&f.input)?,
        LogicalPlan::Unnest(u) => of_rows(&u.input)?,
        LogicalPlan::Sort(s) if s.fetch.is_none() => of_rows(&s.input)?,
        LogicalPlan::Union(u) => {
            let mut all = true;
            for input in &u.inputs {
                all &= of_rows(input)?;
            }
            all
        }
        LogicalPlan::Join(j) => {
            let kept = matches!(
                j.join_type,
                JoinType::Inner | JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti
            );
            let (left, right) = (is_correlated(&j.left)?, is_correlated(&j.right)?);
            (kept && !right && of_rows(&j.left)?)
                || (j.join_type == JoinType::Inner && !left && of_rows(&j.right)?)
        }
        _ => false,
    })
}

/// Whether a plan is one unnest of what is one row, so that only its arrays decide how many rows
/// there are.
fn pads_simply(plan: &LogicalPlan) -> bool {
    fn walk(plan: &LogicalPlan, unnested: bool) -> bool {
        match plan {
            LogicalPlan::EmptyRelation(e) => e.produce_one_row,
            LogicalPlan::Subquery(s) => walk(&s.subquery, unnested),
            LogicalPlan::SubqueryAlias(a) => walk(&a.input, unnested),
            LogicalPlan::Projection(p) => walk(&p.input, unnested),
            LogicalPlan::Sort(s) if s.fetch.is_none() => walk(&s.input, unnested),
            LogicalPlan::Unnest(u) => !unnested && u.struct_type_columns.is_empty() && walk(&u.input, true),
            _ => false,
        }
    }
    walk(plan, false)
}

/// Whether a plan is made of the single row without columns, so that it can be made over any row.
pub(super) fn over_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::SubqueryAlias(a) => over_one_row(&a.input),
        LogicalPlan::Projection(p) => over_one_row(&p.input),
        LogicalPlan::Filter(f) => over_one_row(&f.input),
        LogicalPlan::Unnest(u) => over_one_row(&u.input),
        LogicalPlan::EmptyRelation(e) => e.produce_one_row,
        _ => false,
    }
}
