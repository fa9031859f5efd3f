//! Conditions on `now()` above a join, on the sides whose columns they read.
//!
//! `FROM o JOIN s ON o.k = s.k WHERE o.ts > now() - INTERVAL '1 hour'`: below the join the condition
//! bounds what the join keeps. It may go below where it says the same there: to any side of an
//! inner join, also to the other side's column that is equal to the one it reads, to the kept side
//! of an outer, semi or anti join. A condition on the padded side of an outer join keeps no padded
//! row, so the join is an inner one. Only times that are columns, perhaps moved by constants, go
//! below: others could fail for rows that meet no partner. Joins that time bounds already are
//! left as they are, because their inputs must not take rows back.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Expr, ExprSchemable, Extension, Join, JoinType, LogicalPlan};

use super::lower::Lowering;
use super::*;
use crate::error::Result;

/// A condition: its time, and the bound.
type Condition = (Expr, TemporalBound);

impl Lowering<'_> {
    /// Whether rows reach `node` from a join that keeps both of its sides, through maps only.
    pub(super) fn joins_plainly(&self, node: NodeId) -> bool {
        let n = &self.nodes[node];
        match &n.op {
            StreamOp::Map { .. } => self.joins_plainly(n.children[0]),
            StreamOp::Join(j) => j.window.is_none() && j.interval.is_none() && j.temporal.is_none(),
            _ => false,
        }
    }
}

/// The plan of a temporal filter with what can be below its join there; `None` if nothing can.
pub(super) fn pushed_below(node: &TemporalNode) -> Result<Option<LogicalPlan>> {
    let conditions: Vec<Condition> = node.times.iter().cloned().zip(node.bounds.iter().cloned()).collect();
    let Some((plan, taken)) = push(&node.input, &conditions)? else { return Ok(None) };
    let left: Vec<Condition> =
        conditions.into_iter().zip(&taken).filter(|(_, taken)| !**taken).map(|(c, _)| c).collect();
    Ok(Some(filtered(plan, left)))
}

fn filtered(input: LogicalPlan, conditions: Vec<Condition>) -> LogicalPlan {
    if conditions.is_empty() {
        return input;
    }
    let (times, bounds) = conditions.into_iter().unzip();
    LogicalPlan::Extension(Extension {
        node: Arc::new(TemporalNode { input: Arc::new(input), times, bounds }),
    })
}

/// `plan` with conditions inside, and which of them are.
fn push(plan: &LogicalPlan, conditions: &[Condition]) -> Result<Option<(LogicalPlan, Vec<bool>)>> {
    match plan {
        LogicalPlan::Filter(f) => through(plan, &f.input, conditions, &|e| Some(e)),
        LogicalPlan::SubqueryAlias(a) => {
            let (outer, inner) = (a.schema.columns(), a.input.schema().columns());
            through(plan, &a.input, conditions, &|e| {
                replaced(e, &|c| Some(Expr::Column(inner[outer.iter().position(|o| o == c)?].clone())))
            })
        }
        LogicalPlan::Projection(p) => {
            let columns = p.schema.columns();
            through(plan, &p.input, conditions, &|e| {
                replaced(e, &|c| Some(p.expr[columns.iter().position(|o| o == c)?].clone().unalias()))
            })
        }
        LogicalPlan::Join(join) => join_with(join, conditions),
        _ => Ok(None),
    }
}

/// Pushes below a node of one input, in whose terms `inside` writes a time.
fn through(
    plan: &LogicalPlan,
    input: &LogicalPlan,
    conditions: &[Condition],
    inside: &dyn Fn(Expr) -> Option<Expr>,
) -> Result<Option<(LogicalPlan, Vec<bool>)>> {
    let moved: Vec<Option<Condition>> =
        conditions.iter().map(|(time, bound)| Some((inside(time.clone())?, bound.clone()))).collect();
    let known: Vec<Condition> = moved.iter().flatten().cloned().collect();
    let Some((below, taken)) = push(input, &known)? else { return Ok(None) };
    let mut taken = taken.into_iter();
    let taken = moved.iter().map(|m| m.is_some() && taken.next() == Some(true)).collect();
    let plan = plan.with_new_exprs(plan.expressions(), vec![below])?;
    Ok(Some((plan, taken)))
}

/// The expression with its columns replaced; `None` if one has no replacement.
fn replaced(e: Expr, with: &dyn Fn(&datafusion::common::Column) -> Option<Expr>) -> Option<Expr> {
    let mut all = true;
    let done = e.transform_up(|e| {
        let Expr::Column(c) = &e else { return Ok(Transformed::no(e)) };
        match with(c) {
            Some(found) => Ok(Transformed::yes(found)),
            None => {
                all = false;
                Ok(Transformed::no(e))
            }
        }
    });
    done.ok().filter(|_| all).map(|t| t.data)
}

fn join_with(join: &Join, conditions: &[Condition]) -> Result<Option<(LogicalPlan, Vec<bool>)>> {
    let sides = [join.left.as_ref(), join.right.as_ref()];
    let shown = match join.join_type {
        JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => [true, false],
        JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => [false, true],
        _ => [true, true],
    };
    let has = |time: &Expr, side: usize| {
        let schema = sides[side].schema();
        let columns = time.column_refs();
        !columns.is_empty() && columns.iter().all(|c| schema.has_column(c)) && is_moved_time(time, schema)
    };
    let reads = |time: &Expr, side: usize| shown[side] && has(time, side);
    let mut join_type = join.join_type;
    let padded = |side: usize, join_type: JoinType| match join_type {
        JoinType::Left => side == 1,
        JoinType::Right => side == 0,
        JoinType::Full => true,
        _ => false,
    };
    // A row that is padded has no time, and does not pass.
    for side in [0, 1] {
        if padded(side, join_type) && conditions.iter().any(|(time, _)| reads(time, side)) {
            join_type = match join_type {
                JoinType::Full if side == 0 => JoinType::Left,
                JoinType::Full => JoinType::Right,
                _ => JoinType::Inner,
            };
        }
    }
    let (mut own, mut taken): ([Vec<Condition>; 2], _) = (Default::default(), vec![false; conditions.len()]);
    for (at, (time, bound)) in conditions.iter().enumerate() {
        for side in [0, 1] {
            if reads(time, side) && !padded(side, join_type) {
                own[side].push((time.clone(), bound.clone()));
                taken[at] = true;
                let equal = match join_type {
                    JoinType::Inner | JoinType::LeftSemi | JoinType::RightSemi => partner(join, side, time),
                    _ => None,
                };
                if let Some(time) = equal.filter(|e| has(e, 1 - side)) {
                    own[1 - side].push((time, bound.clone()));
                }
            }
        }
    }
    if !taken.contains(&true) {
        return Ok(None);
    }
    let [left, right] = own;
    let left = Arc::new(filtered(sides[0].clone(), left));
    let right = Arc::new(filtered(sides[1].clone(), right));
    let joined = Join::try_new(
        left,
        right,
        join.on.clone(),
        join.filter.clone(),
        join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?;
    Ok(Some((LogicalPlan::Join(joined), taken)))
}

/// What the join's keys say is equal to a time of side `side`.
fn partner(join: &Join, side: usize, time: &Expr) -> Option<Expr> {
    if join.null_aware {
        return None;
    }
    let own = |c: &datafusion::common::Column| {
        let column = Expr::Column(c.clone());
        let pair = join.on.iter().find(|(l, r)| if side == 0 { *l == column } else { *r == column });
        pair.map(|(l, r)| if side == 0 { r.clone() } else { l.clone() })
    };
    replaced(time.clone(), &own)
}

/// Whether a time is a column of timestamps or dates, perhaps moved or cast: it fails for no row,
/// and is NULL where the column is.
fn is_moved_time(e: &Expr, schema: &datafusion::common::DFSchema) -> bool {
    let is_time = |e: &Expr| matches!(e.get_type(schema), Ok(DataType::Timestamp(..) | DataType::Date32));
    match e {
        Expr::Column(_) => is_time(e),
        Expr::Alias(a) => is_moved_time(&a.expr, schema),
        Expr::Cast(c) => is_time(e) && is_moved_time(&c.expr, schema),
        Expr::ScalarFunction(f) if ["pg_cast", "pg_add", "pg_sub"].contains(&f.name()) => {
            let (columns, others): (Vec<&Expr>, Vec<&Expr>) =
                f.args.iter().partition(|a| a.any_column_refs());
            is_time(e)
                && others.iter().all(|o| matches!(o, Expr::Literal(..)))
                && matches!(columns.as_slice(), [column] if is_moved_time(column, schema))
        }
        _ => false,
    }
}
