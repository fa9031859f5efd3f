//! Arithmetic of dates, times and intervals.
//!
//! Months are added first, then days, then time, in the session's zone for timestamptz, as
//! PostgreSQL does. Differences of timestamps are whole days and time.

use arrow::datatypes::IntervalMonthDayNano;

use super::arith::ArithOp;
use super::datum::Datum;
use super::decimal::division_by_zero;
use super::zone::{Civil, MICROS_PER_DAY, Zone};
use crate::error::{HwError, Result, sqlstate};

/// 22008.
pub fn timestamp_out_of_range() -> HwError {
    HwError::new(sqlstate::DATETIME_FIELD_OVERFLOW, "timestamp out of range")
}

fn interval_out_of_range() -> HwError {
    HwError::new(sqlstate::DATETIME_FIELD_OVERFLOW, "interval out of range")
}

/// `l op r` for operands that [`super::arith`] has typed; neither is NULL.
pub fn temporal_op(op: ArithOp, l: &Datum, r: &Datum, zone: &Zone) -> Result<Datum<'static>> {
    use Datum::{Date, Float, Int, Interval, Time, Ts, Tstz};
    let signed = |i: &IntervalMonthDayNano| if op == ArithOp::Sub { negate(*i) } else { Ok(*i) };
    Ok(match (l, r) {
        (Date(a), Date(b)) => match [a, b].iter().any(|d| matches!(**d, i32::MIN | i32::MAX)) {
            true => return Err(out_of_range("cannot subtract infinite dates")),
            false => Int(i64::from(*a) - i64::from(*b)),
        },
        (Date(d), Int(n)) => date_plus(*d, if op == ArithOp::Sub { n.saturating_neg() } else { *n })?,
        (Int(n), Date(d)) => date_plus(*d, *n)?,
        (Ts(t), Interval(i)) => Ts(add_interval(*t, signed(i)?, &Zone::UTC)?),
        (Interval(i), Ts(t)) => Ts(add_interval(*t, *i, &Zone::UTC)?),
        (Tstz(t), Interval(i)) => Tstz(add_interval(*t, signed(i)?, zone)?),
        (Interval(i), Tstz(t)) => Tstz(add_interval(*t, *i, zone)?),
        (Time(t), Interval(i)) => Time((t + signed(i)?.nanoseconds / 1000).rem_euclid(MICROS_PER_DAY)),
        (Interval(i), Time(t)) => Time((t + i.nanoseconds / 1000).rem_euclid(MICROS_PER_DAY)),
        (Time(a), Time(b)) => Interval(IntervalMonthDayNano::new(0, 0, (a - b) * 1000)),
        (Ts(t), Time(u)) | (Time(u), Ts(t)) => {
            let u = if op == ArithOp::Sub { -*u } else { *u };
            let u = if matches!(*t, i64::MIN | i64::MAX) { 0 } else { u };
            Ts(t.checked_add(u).ok_or_else(timestamp_out_of_range)?)
        }
        (Ts(a), Ts(b)) | (Tstz(a), Tstz(b)) => Interval(difference(*a, *b)?),
        (Interval(a), Interval(b)) => Interval(plus(*a, if op == ArithOp::Sub { negate(*b)? } else { *b })?),
        (Interval(i), Float(f)) if op == ArithOp::Div => {
            if *f == 0.0 {
                return Err(division_by_zero());
            }
            Interval(scale(*i, 1.0 / *f, Some(*f))?)
        }
        (Interval(i), Float(f)) | (Float(f), Interval(i)) => Interval(scale(*i, *f, None)?),
        _ => return Err(HwError::internal("unexpected operands of a date/time operator")),
    })
}

fn out_of_range(message: &str) -> HwError {
    HwError::new(sqlstate::DATETIME_FIELD_OVERFLOW, message)
}

/// PostgreSQL's first date, 4714-11-24 BC, and the one after its last.
const DATE_RANGE: std::ops::Range<i64> = -2_440_588..2_145_042_906;

fn date_plus(d: i32, n: i64) -> Result<Datum<'static>> {
    if matches!(d, i32::MIN | i32::MAX) {
        return Ok(Datum::Date(d));
    }
    let day = i64::from(d).checked_add(n).filter(|day| DATE_RANGE.contains(day));
    day.map(|day| Datum::Date(day as i32)).ok_or_else(|| out_of_range("date out of range"))
}

fn negate(i: IntervalMonthDayNano) -> Result<IntervalMonthDayNano> {
    match (i.months.checked_neg(), i.days.checked_neg(), i.nanoseconds.checked_neg()) {
        (Some(m), Some(d), Some(n)) => Ok(IntervalMonthDayNano::new(m, d, n)),
        _ => Err(interval_out_of_range()),
    }
}

fn plus(a: IntervalMonthDayNano, b: IntervalMonthDayNano) -> Result<IntervalMonthDayNano> {
    let sums = (
        a.months.checked_add(b.months),
        a.days.checked_add(b.days),
        a.nanoseconds.checked_add(b.nanoseconds),
    );
    match sums {
        (Some(m), Some(d), Some(n)) => Ok(IntervalMonthDayNano::new(m, d, n)),
        _ => Err(interval_out_of_range()),
    }
}

/// Whole days and the rest, both with the sign of the difference.
pub fn difference(a: i64, b: i64) -> Result<IntervalMonthDayNano> {
    if [a, b].iter().any(|t| matches!(*t, i64::MIN | i64::MAX)) {
        return Err(out_of_range("cannot subtract infinite timestamps"));
    }
    let micros = a.checked_sub(b).ok_or_else(interval_out_of_range)?;
    let days = i32::try_from(micros / MICROS_PER_DAY).map_err(|_| interval_out_of_range())?;
    Ok(IntervalMonthDayNano::new(0, days, micros % MICROS_PER_DAY * 1000))
}

/// `interval_mul` / `interval_div`: fractions of months become days, of days time.
fn scale(i: IntervalMonthDayNano, factor: f64, divisor: Option<f64>) -> Result<IntervalMonthDayNano> {
    let times = |v: f64| divisor.map_or(v * factor, |d| v / d);
    let months = times(f64::from(i.months));
    let days = times(f64::from(i.days));
    let fits = |v: f64| v >= f64::from(i32::MIN) && v <= f64::from(i32::MAX);
    if !fits(months) || !fits(days) {
        return Err(interval_out_of_range());
    }
    // Rounded at a microsecond of a day, so that 0.1 + 0.2 effects do not show.
    let round = |v: f64| (v * 1e6).round_ties_even() / 1e6;
    let month_days = round(months.fract() * 30.0);
    let mut seconds = round((days.fract() + month_days.fract()) * 86_400.0);
    let mut whole_days = days.trunc() as i32;
    if seconds.abs() >= 86_400.0 {
        let more = (seconds / 86_400.0) as i32;
        whole_days = whole_days.checked_add(more).ok_or_else(interval_out_of_range)?;
        seconds -= f64::from(more) * 86_400.0;
    }
    let whole_days = whole_days.checked_add(month_days as i32).ok_or_else(interval_out_of_range)?;
    let micros = (times((i.nanoseconds / 1000) as f64) + seconds * 1e6).round_ties_even();
    if micros.is_nan() || micros.abs() > (i64::MAX / 1000) as f64 {
        return Err(interval_out_of_range());
    }
    Ok(IntervalMonthDayNano::new(months.trunc() as i32, whole_days, micros as i64 * 1000))
}

/// From PostgreSQL's first moment, 4714-11-24 BC, to what a timestamp of the carrier can say.
const TIMESTAMP_RANGE: std::ops::Range<i64> = DATE_RANGE.start * MICROS_PER_DAY..i64::MAX;

/// A UTC instant moved by an interval in `zone`.
pub fn add_interval(t: i64, i: IntervalMonthDayNano, zone: &Zone) -> Result<i64> {
    if t == i64::MAX || t == i64::MIN {
        return Ok(t);
    }
    let mut at = t;
    if i.months != 0 || i.days != 0 {
        let mut civil = Civil::of_micros(zone.to_local(at));
        if i.months != 0 {
            civil = civil.add_months(i64::from(i.months));
        }
        let days = i64::from(i.days).checked_mul(MICROS_PER_DAY);
        let local = days.and_then(|d| civil.micros().checked_add(d)).ok_or_else(timestamp_out_of_range)?;
        at = zone.to_utc(local);
    }
    let moved = at.checked_add(i.nanoseconds / 1000).filter(|at| TIMESTAMP_RANGE.contains(at));
    moved.ok_or_else(timestamp_out_of_range)
}

/// Microseconds by which PostgreSQL compares intervals: months of 30 days, days of 24 hours.
pub fn interval_order(i: IntervalMonthDayNano) -> i128 {
    let days = i128::from(i.months) * 30 + i128::from(i.days);
    days * i128::from(MICROS_PER_DAY) + i128::from(i.nanoseconds / 1000)
}
