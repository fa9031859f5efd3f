//! Conditions on the clock's day, hour or month: `ts >= date_trunc('day', now())`,
//! `ts::date = current_date`, `d >= current_date - 7`.
//!
//! With `f` the beginning of the unit that a time is in, `t >= f(now())` holds until the beginning of
//! the unit after that of `t`, and `t < f(now())` from then on. So a bound of a row is a function of
//! the row alone, in the zone of the view.

use arrow::datatypes::{DataType, IntervalMonthDayNano, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{BinaryExpr, Expr, Filter, LogicalPlan, Operator};

use crate::plan::temporal_node::{arithmetic, constant_interval, is_local, is_now, reads_clock};
use crate::sql::functions::arith::{Arith, ArithOp};
use crate::sql::functions::{self, cast::PgCast};
use crate::types::PgType;

/// Rewrites the conditions of every filter.
pub fn rewrite(plan: LogicalPlan) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Filter(filter) if reads_clock(&filter.predicate) => {
            let conditions = split_conjunction(&filter.predicate).into_iter();
            let conditions = conditions.flat_map(|c| plain(c).unwrap_or_else(|| vec![c.clone()]));
            let Some(predicate) = conjunction(conditions) else {
                return Ok(Transformed::no(LogicalPlan::Filter(filter)));
            };
            Ok(Transformed::yes(LogicalPlan::Filter(Filter::try_new(predicate, filter.input)?)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(rewritten.data)
}

/// A condition on the clock's unit or on the local time as conditions on `now()`.
fn plain(condition: &Expr) -> Option<Vec<Expr>> {
    let now = datafusion::functions::expr_fn::now;
    if let Some(Floor { from, until }) = floor(condition) {
        let from = from.map(|time| now().gt_eq(time));
        return Some(from.into_iter().chain(until.map(|time| now().lt(time))).collect());
    }
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else { return None };
    let local = |e: &Expr| e.exists(|e| Ok(is_local(e))).unwrap_or(false);
    let zoned_now = |e: &Expr| {
        let with_now = e
            .clone()
            .transform_up(|e| Ok(if is_local(&e) { Transformed::yes(now()) } else { Transformed::no(e) }));
        with_now.ok().map(|done| done.data)
    };
    let (left, right) = match (local(left), local(right)) {
        (true, false) if !reads_clock(right) => (zoned_now(left)?, zoned(right.as_ref().clone())),
        (false, true) if !reads_clock(left) => (zoned(left.as_ref().clone()), zoned_now(right)?),
        _ => return None,
    };
    Some(vec![Expr::BinaryExpr(BinaryExpr::new(Box::new(left), *op, Box::new(right)))])
}

/// Where a row's place in the result changes.
struct Floor {
    /// Begins with these times …
    from: Option<Expr>,
    /// … and ends with these.
    until: Option<Expr>,
}

/// The beginning of the clock's unit, less or plus a constant.
struct Clocked {
    unit: String,
    shift: Shift,
}

enum Shift {
    None,
    /// Added to the clock's.
    Interval(IntervalMonthDayNano),
    Days(i64),
}

/// A comparison of a row's time with the beginning of the clock's unit.
fn floor(e: &Expr) -> Option<Floor> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = e else { return None };
    let (time, clocked, op) = match (clocked(left), clocked(right)) {
        (Some(c), None) if !reads_clock(right) => (right, c, op.swap()?),
        (None, Some(c)) if !reads_clock(left) => (left, c, *op),
        _ => return None,
    };
    bounds(time, &clocked, op).ok()?
}

fn bounds(time: &Expr, clocked: &Clocked, op: Operator) -> Result<Option<Floor>> {
    let Some(own) = own_unit(time, clocked)? else { return Ok(None) };
    let next = after(own.clone(), &clocked.unit)?;
    let is_date = clocked.unit == DATE;
    Ok(match op {
        Operator::GtEq => Some(Floor { from: None, until: Some(next) }),
        Operator::Lt => Some(Floor { from: Some(next), until: None }),
        // Of dates nothing lies between the beginnings of two units.
        Operator::Gt if is_date => Some(Floor { from: None, until: Some(own) }),
        Operator::LtEq if is_date => Some(Floor { from: Some(own), until: None }),
        Operator::Eq if is_date || truncates(time, &clocked.unit) => {
            Some(Floor { from: Some(own), until: Some(next) })
        }
        _ => None,
    })
}

/// A unit of its own: days of dates.
const DATE: &str = "date";

fn clocked(e: &Expr) -> Option<Clocked> {
    if let Some(unit) = unit_of_clock(e) {
        return Some(Clocked { unit, shift: Shift::None });
    }
    let (symbol, a, b) = arithmetic(e)?;
    let (clock, constant) = if symbol == "+" && reads_clock(b) { (b, a) } else { (a, b) };
    let unit = unit_of_clock(clock)?;
    let sign = if symbol == "-" { -1 } else { 1 };
    if let Expr::Literal(value, _) = uncast(constant) {
        let days = match value {
            ScalarValue::Int32(Some(n)) => Some(i64::from(*n)),
            ScalarValue::Int64(Some(n)) => Some(*n),
            _ => None,
        };
        if let Some(days) = days.filter(|_| unit == DATE) {
            return Some(Clocked { unit, shift: Shift::Days(sign * days) });
        }
    }
    let interval = constant_interval(constant)?;
    let signed = match sign {
        1 => interval,
        _ => IntervalMonthDayNano::new(
            interval.months.checked_neg()?,
            interval.days.checked_neg()?,
            interval.nanoseconds.checked_neg()?,
        ),
    };
    // A date with an interval is a timestamp.
    let unit = if unit == DATE { "day".to_string() } else { unit };
    Some(Clocked { unit, shift: Shift::Interval(signed) })
}

/// `date_trunc(unit, now())`, `current_date`, `now()::date`.
fn unit_of_clock(e: &Expr) -> Option<String> {
    let inner = uncast_zone(e);
    let unit = unit_of(inner)?;
    // A day that is compared with a timestamp is its beginning.
    Some(if unit == DATE && !std::ptr::eq(inner, e) { "day".into() } else { unit })
}

fn unit_of(e: &Expr) -> Option<String> {
    match e {
        Expr::ScalarFunction(f) if f.name() == "current_date" => Some(DATE.into()),
        Expr::ScalarFunction(f) if f.name() == "date_trunc" && f.args.len() == 2 => {
            let Expr::Literal(ScalarValue::Utf8(Some(unit)), _) = &f.args[0] else { return None };
            let unit = unit.to_ascii_lowercase();
            (is_clock(&f.args[1]) && UNITS.contains(&unit.as_str())).then_some(unit)
        }
        Expr::ScalarFunction(f) => {
            let cast = f.func.inner().downcast_ref::<PgCast>()?;
            (cast.target() == &DataType::Date32 && is_clock(&f.args[0])).then(|| DATE.into())
        }
        Expr::Cast(cast) if cast.field.data_type() == &DataType::Date32 && is_clock(&cast.expr) => {
            Some(DATE.into())
        }
        _ => None,
    }
}

fn is_clock(e: &Expr) -> bool {
    let e = uncast_zone(e);
    is_now(e) || is_local(e)
}

/// Units that begin at a time of the zone's calendar.
const UNITS: [&str; 8] = ["second", "minute", "hour", "day", "week", "month", "quarter", "year"];

/// Without a cast between timestamps with and without zone, which both mean the same moment.
fn uncast_zone(e: &Expr) -> &Expr {
    let timestamp = |t: &DataType| matches!(t, DataType::Timestamp(TimeUnit::Microsecond, _));
    match e {
        Expr::Cast(cast) if timestamp(cast.field.data_type()) => uncast_zone(&cast.expr),
        Expr::ScalarFunction(f)
            if f.func.inner().downcast_ref::<PgCast>().is_some_and(|c| timestamp(c.target())) =>
        {
            uncast_zone(&f.args[0])
        }
        other => other,
    }
}

fn uncast(e: &Expr) -> &Expr {
    match e {
        Expr::Cast(cast) => uncast(&cast.expr),
        other => other,
    }
}

/// The beginning of the unit that the row's time is in, moved as the clock's is not.
fn own_unit(time: &Expr, clocked: &Clocked) -> Result<Option<Expr>> {
    let day = IntervalMonthDayNano::new(0, 1, 0);
    let zoned = zoned(time.clone());
    if clocked.unit == DATE {
        let days = match clocked.shift {
            Shift::None => 0,
            Shift::Days(n) => n,
            Shift::Interval(_) => return Ok(None),
        };
        let Ok(days) = i32::try_from(days) else { return Ok(None) };
        let moved = IntervalMonthDayNano::new(0, day.days * days, 0);
        return Ok(Some(moved_back(zoned, moved)));
    }
    match clocked.shift {
        Shift::None => Ok(Some(trunc(&clocked.unit, zoned)?)),
        Shift::Interval(i) if i.months == 0 => Ok(Some(trunc(&clocked.unit, moved_back(zoned, i))?)),
        // Months are added to the first of a month only.
        Shift::Interval(i) if i.days == 0 && i.nanoseconds == 0 => {
            let whole = match clocked.unit.as_str() {
                "month" => 1,
                "quarter" => 3,
                "year" => 12,
                _ => return Ok(None),
            };
            Ok((i.months % whole == 0).then_some(moved_back(trunc(&clocked.unit, zoned)?, i)))
        }
        _ => Ok(None),
    }
}

/// Dates and timestamps without a zone as moments of the view's zone.
fn zoned(time: Expr) -> Expr {
    PgCast::call(time, &std::sync::Arc::new(PgType::Timestamptz.field("", true)))
}

fn moved_back(time: Expr, by: IntervalMonthDayNano) -> Expr {
    if by == IntervalMonthDayNano::new(0, 0, 0) {
        return time;
    }
    Arith::call(ArithOp::Sub, time, Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(by)), None))
}

fn trunc(unit: &str, time: Expr) -> Result<Expr> {
    let unit = Expr::Literal(ScalarValue::Utf8(Some(unit.to_string())), None);
    Ok(functions::scalar("date_trunc")?.call(vec![unit, time]))
}

/// The beginning of the unit after.
fn after(beginning: Expr, unit: &str) -> Result<Expr> {
    const SECOND: i64 = 1_000_000_000;
    let one = match unit {
        "second" => IntervalMonthDayNano::new(0, 0, SECOND),
        "minute" => IntervalMonthDayNano::new(0, 0, 60 * SECOND),
        "hour" => IntervalMonthDayNano::new(0, 0, 3600 * SECOND),
        "week" => IntervalMonthDayNano::new(0, 7, 0),
        "month" => IntervalMonthDayNano::new(1, 0, 0),
        "quarter" => IntervalMonthDayNano::new(3, 0, 0),
        "year" => IntervalMonthDayNano::new(12, 0, 0),
        _ => IntervalMonthDayNano::new(0, 1, 0),
    };
    Ok(Arith::call(
        ArithOp::Add,
        beginning,
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(one)), None),
    ))
}

/// Whether a time is the beginning of its unit by the way it is computed.
fn truncates(time: &Expr, unit: &str) -> bool {
    match uncast_zone(time) {
        Expr::ScalarFunction(f) if f.name() == "date_trunc" && f.args.len() == 2 => {
            matches!(&f.args[0], Expr::Literal(ScalarValue::Utf8(Some(own)), _) if own.eq_ignore_ascii_case(unit))
        }
        _ => false,
    }
}
