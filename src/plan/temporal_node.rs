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

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, IntervalMonthDayNano, Schema, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DFSchemaRef, Result, ScalarValue, plan_err};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::expr::Between;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::utils::{conjunction, disjunction, split_conjunction};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, Extension, Filter, LogicalPlan, Operator, UserDefinedLogicalNodeCore,
    when,
};
use datafusion::physical_expr::create_physical_expr;

/// Functions that give the processing time of the epoch.
const CLOCK: [&str; 5] =
    ["now", "current_timestamp", "transaction_timestamp", "statement_timestamp", "clock_timestamp"];
/// The same without a zone.
const LOCAL: &str = "localtimestamp";
/// Its day.
const DAY: &str = "current_date";
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
    let schema = Arc::clone(filter.input.schema());
    for conjunct in split_conjunction(&filter.predicate).into_iter().flat_map(comparisons) {
        let clock = if reads_clock(&conjunct) {
            bound(&conjunct).or_else(|| unless(&conjunct, &schema))
        } else {
            None
        };
        match clock {
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

/// BETWEEN as two comparisons, NOT as the opposite one.
fn comparisons(e: &Expr) -> Vec<Expr> {
    match e {
        Expr::Not(inner) => match inner.as_ref() {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) if op.negate().is_some() => {
                let op = op.negate().unwrap_or(*op);
                vec![Expr::BinaryExpr(BinaryExpr { left: left.clone(), op, right: right.clone() })]
            }
            _ => vec![e.clone()],
        },
        Expr::Between(Between { expr, negated: false, low, high }) => vec![
            expr.as_ref().clone().gt_eq(low.as_ref().clone()),
            expr.as_ref().clone().lt_eq(high.as_ref().clone()),
        ],
        other => vec![other.clone()],
    }
}

pub fn reads_clock(e: &Expr) -> bool {
    let is_day = |e: &Expr| matches!(e, Expr::ScalarFunction(f) if f.name() == DAY);
    e.exists(|e| Ok(is_now(e) || is_local(e) || is_day(e))).unwrap_or(false)
}

pub fn is_now(e: &Expr) -> bool {
    matches!(e, Expr::ScalarFunction(f) if CLOCK.contains(&f.name()))
}

pub fn is_local(e: &Expr) -> bool {
    matches!(e, Expr::ScalarFunction(f) if f.name() == LOCAL)
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

/// `p OR now() < time`, such as `valid_to IS NULL OR valid_to > now()`: where `p` holds the row has no
/// end, or no beginning.
fn unless(e: &Expr, schema: &DFSchema) -> Option<(Expr, Vec<TemporalBound>)> {
    let parts = disjuncts(e);
    let (clock, rest): (Vec<&Expr>, Vec<&Expr>) = parts.into_iter().partition(|part| reads_clock(part));
    let ([comparison], Some(holds)) = (clock.as_slice(), disjunction(rest.into_iter().cloned())) else {
        return None;
    };
    let [comparison] = comparisons(comparison).try_into().ok()?;
    let (time, bounds) = bound(&comparison)?;
    let [TemporalBound { until, .. }] = bounds.as_slice() else { return None };
    let DataType::Timestamp(TimeUnit::Microsecond, zone) = time.get_type(schema).ok()? else { return None };
    let always = if *until { i64::MAX } else { i64::MIN };
    let always = Expr::Literal(ScalarValue::TimestampMicrosecond(Some(always), zone), None);
    Some((when(holds, always).otherwise(time).ok()?, bounds))
}

fn disjuncts(e: &Expr) -> Vec<&Expr> {
    match e {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            [disjuncts(left), disjuncts(right)].concat()
        }
        other => vec![other],
    }
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
    let interval = constant_interval(e)?;
    let days = i64::from(interval.months) * 30 + i64::from(interval.days);
    days.checked_mul(MICROS_PER_DAY)?.checked_add(interval.nanoseconds / 1000)
}

/// The value of an expression of constants, such as `'2 hours'::interval`.
pub fn constant_interval(e: &Expr) -> Option<IntervalMonthDayNano> {
    let value = match e {
        Expr::Literal(value, _) => value.clone(),
        e if e.any_column_refs() || e.contains_outer() || e.is_volatile() || reads_clock(e) => return None,
        e => {
            let compiled = create_physical_expr(
                e,
                &DFSchema::empty(),
                &ExecutionProps::new(),
                &PhysicalPlanningContext::default(),
            )
            .ok()?;
            let options = RecordBatchOptions::new().with_row_count(Some(1));
            let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).ok()?;
            let value = compiled.evaluate(&row).ok()?.into_array(1).ok()?;
            ScalarValue::try_from_array(&value, 0).ok()?
        }
    };
    match value {
        ScalarValue::IntervalMonthDayNano(interval) => interval,
        _ => None,
    }
}

/// `now()` and constant intervals of fixed length: the offset in microseconds.
fn clock_side(e: &Expr) -> Option<i64> {
    if is_now(e) {
        return Some(0);
    }
    let fixed = |e: &Expr| match constant_interval(e) {
        Some(interval) if interval.months == 0 => length_us(e),
        _ => None,
    };
    match arithmetic(e)? {
        ("+", now, i) | ("+", i, now) if reads_clock(now) => clock_side(now)?.checked_add(fixed(i)?),
        ("-", now, i) if reads_clock(now) => clock_side(now)?.checked_sub(fixed(i)?),
        _ => None,
    }
}

/// A call of an arithmetic operator: its symbol and operands.
pub fn arithmetic(e: &Expr) -> Option<(&'static str, &Expr, &Expr)> {
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
