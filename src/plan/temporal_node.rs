//! Conditions on `now()` in the WHERE of a view, as a logical node of their own.
//!
//! `ts > now() - INTERVAL '1 hour'` says for each row from when until when it belongs to the
//! result. [`mark_temporal`] takes such conjuncts out of filters, before any rule could
//! replace `now()` by a constant; the streaming plan keeps rows until their time has come or
//! passed. Other uses of the clock stay where they are and are refused by name.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchemaRef, Result, ScalarValue, plan_err};
use datafusion::logical_expr::expr::Between;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    BinaryExpr, Expr, Extension, Filter, LogicalPlan, Operator, UserDefinedLogicalNodeCore,
};

/// Functions that give the processing time of the epoch.
const CLOCK: [&str; 5] =
    ["now", "current_timestamp", "transaction_timestamp", "statement_timestamp", "clock_timestamp"];
const MICROS_PER_DAY: i64 = 86_400_000_000;

/// A row is in the result only from `time + shift_us` on, or (`until`) only before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd)]
pub struct TemporalBound {
    pub shift_us: i64,
    pub until: bool,
}

/// Rows of the input while the clock is within their bounds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TemporalNode {
    pub input: Arc<LogicalPlan>,
    /// The time of each bound.
    pub times: Vec<Expr>,
    pub bounds: Vec<TemporalBound>,
}

impl PartialOrd for TemporalNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.bounds.partial_cmp(&other.bounds)
    }
}

impl UserDefinedLogicalNodeCore for TemporalNode {
    fn name(&self) -> &str {
        "TemporalFilter"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        self.times.clone()
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        HashSet::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "TemporalFilter: {:?}", self.times)
    }

    fn with_exprs_and_inputs(&self, times: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match inputs.pop() {
            Some(input) if times.len() == self.bounds.len() => {
                Ok(TemporalNode { input: Arc::new(input), times, bounds: self.bounds.clone() })
            }
            _ => plan_err!("a temporal filter needs one input and its times"),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let mut needed = output_columns.to_vec();
        for column in self.times.iter().flat_map(|e| e.column_refs()) {
            needed.extend(self.input.schema().maybe_index_of_column(column));
        }
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}

/// Moves the conditions on `now()` of all filters into nodes of their own.
pub fn mark_temporal(plan: LogicalPlan) -> Result<LogicalPlan> {
    let marked = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Filter(filter) if reads_clock(&filter.predicate) => mark_filter(filter),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(marked.data)
}

fn mark_filter(filter: Filter) -> Result<Transformed<LogicalPlan>> {
    let (mut times, mut bounds, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    for conjunct in split_conjunction(&filter.predicate).into_iter().flat_map(comparisons) {
        match bound(&conjunct).filter(|_| reads_clock(&conjunct)) {
            Some((time, found)) => {
                for bound in found {
                    times.push(time.clone());
                    bounds.push(bound);
                }
            }
            None => rest.push(conjunct),
        }
    }
    if times.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    }
    // The clock's conditions come last: what fails the others is never kept.
    let input = match conjunction(rest) {
        Some(rest) => Arc::new(LogicalPlan::Filter(Filter::try_new(rest, filter.input)?)),
        None => filter.input,
    };
    let node = Arc::new(TemporalNode { input, times, bounds });
    Ok(Transformed::yes(LogicalPlan::Extension(Extension { node })))
}

/// BETWEEN as two comparisons.
fn comparisons(e: &Expr) -> Vec<Expr> {
    match e {
        Expr::Between(Between { expr, negated: false, low, high }) => vec![
            expr.as_ref().clone().gt_eq(low.as_ref().clone()),
            expr.as_ref().clone().lt_eq(high.as_ref().clone()),
        ],
        other => vec![other.clone()],
    }
}

fn reads_clock(e: &Expr) -> bool {
    e.exists(|e| Ok(is_now(e))).unwrap_or(false)
}

fn is_now(e: &Expr) -> bool {
    matches!(e, Expr::ScalarFunction(f) if CLOCK.contains(&f.name()))
}

/// The time expression of a comparison with the clock, and the bounds it sets.
fn bound(e: &Expr) -> Option<(Expr, Vec<TemporalBound>)> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = e else { return None };
    let (time, shift, op) = match (clock_side(left), clock_side(right)) {
        (Some(offset), None) if !reads_clock(right) => (right.as_ref().clone(), offset.checked_neg()?, *op),
        (None, Some(offset)) if !reads_clock(left) => {
            (left.as_ref().clone(), offset.checked_neg()?, op.swap()?)
        }
        _ => age(left, *op, right).or_else(|| age(right, op.swap()?, left))?,
    };
    // now op time + shift
    let from = |us: i64| TemporalBound { shift_us: shift.saturating_add(us), until: false };
    let until = |us: i64| TemporalBound { shift_us: shift.saturating_add(us), until: true };
    let bounds = match op {
        Operator::Lt => vec![until(0)],
        Operator::LtEq => vec![until(1)],
        Operator::Gt => vec![from(1)],
        Operator::GtEq => vec![from(0)],
        Operator::Eq => vec![from(0), until(1)],
        _ => return None,
    };
    Some((time, bounds))
}

/// `now() - time op interval`, or the same with the difference the other way round: the
/// time, its shift, and the operator of `now() op time + shift`.
fn age(difference: &Expr, op: Operator, length: &Expr) -> Option<(Expr, i64, Operator)> {
    let length = length_us(in_order(length))?;
    let (symbol, a, b) = arithmetic(in_order(difference))?;
    match symbol {
        "-" if is_now(a) && !reads_clock(b) => Some((b.clone(), length, op)),
        "-" if is_now(b) && !reads_clock(a) => Some((a.clone(), length.checked_neg()?, op.swap()?)),
        _ => None,
    }
}

/// Intervals are compared through a function that orders them.
fn in_order(e: &Expr) -> &Expr {
    match e {
        Expr::ScalarFunction(f) if f.name() == "interval_order" && f.args.len() == 1 => &f.args[0],
        other => other,
    }
}

/// An interval as intervals are compared: a month is 30 days.
fn length_us(e: &Expr) -> Option<i64> {
    match e {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(i)), _) => {
            let days = i64::from(i.months) * 30 + i64::from(i.days);
            days.checked_mul(MICROS_PER_DAY)?.checked_add(i.nanoseconds / 1000)
        }
        _ => None,
    }
}

/// `now()` or `now()` and a constant interval of fixed length: the offset in microseconds.
fn clock_side(e: &Expr) -> Option<i64> {
    if is_now(e) {
        return Some(0);
    }
    let fixed = |e: &Expr| match e {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(i)), _) if i.months == 0 => length_us(e),
        _ => None,
    };
    match arithmetic(e)? {
        ("+", now, i) | ("+", i, now) if is_now(now) => fixed(i),
        ("-", now, i) if is_now(now) => fixed(i)?.checked_neg(),
        _ => None,
    }
}

/// A call of an arithmetic operator: its symbol and operands.
fn arithmetic(e: &Expr) -> Option<(&'static str, &Expr, &Expr)> {
    match e {
        Expr::ScalarFunction(f) if f.args.len() == 2 => {
            let symbol = match f.name() {
                "pg_add" => "+",
                "pg_sub" => "-",
                _ => return None,
            };
            Some((symbol, &f.args[0], &f.args[1]))
        }
        _ => None,
    }
}
