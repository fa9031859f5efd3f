//! `(s1, e1) OVERLAPS (s2, e2)`: half-open, the ends in either order; equal points overlap.
//!
//! An end may be an interval counted from the start. An end that is NULL leaves the answer open
//! where it could decide it (`overlaps_timestamp` of timestamp.c).

use super::datum::{Cx, Datum, Function, Kind};
use super::temporal::add_interval;
use super::zone::{MICROS_PER_DAY, Zone};
use crate::error::Result;

/// Start and end in order; the end is open if one of them is NULL. `None` if both are.
fn ordered(cx: &Cx, start: &Datum, end: &Datum) -> Result<Option<(i64, Option<i64>)>> {
    let at = |d: &Datum| (!d.is_null()).then(|| d.as_i64());
    let end = match (start, end) {
        (Datum::Null, Datum::Interval(_)) => None,
        (Datum::Time(t), Datum::Interval(i)) => Some((t + i.nanoseconds / 1000).rem_euclid(MICROS_PER_DAY)),
        (Datum::Tstz(t), Datum::Interval(i)) => Some(add_interval(*t, *i, &cx.zone)?),
        (start, Datum::Interval(i)) => Some(add_interval(start.as_i64(), *i, &Zone::UTC)?),
        (_, end) => at(end),
    };
    Ok(match (at(start), end) {
        (None, None) => None,
        (Some(only), None) | (None, Some(only)) => Some((only, None)),
        (Some(a), Some(b)) => Some((a.min(b), Some(a.max(b)))),
    })
}

fn overlaps<'a>(cx: &Cx, a: &[Datum<'a>]) -> Result<Datum<'a>> {
    let (first, second) = (ordered(cx, &a[0], &a[1])?, ordered(cx, &a[2], &a[3])?);
    let (Some((s1, e1)), Some((s2, e2))) = (first, second) else { return Ok(Datum::Null) };
    if s1 == s2 {
        return Ok(if e1.is_some() && e2.is_some() { Datum::Bool(true) } else { Datum::Null });
    }
    // The end of the one that starts earlier decides; if it does not reach, the other's end must
    // be known for an answer.
    let (reach, later, other) = if s1 > s2 { (e2, s1, e1) } else { (e1, s2, e2) };
    Ok(match (reach, other) {
        (None, _) => Datum::Null,
        (Some(reach), _) if later < reach => Datum::Bool(true),
        (_, None) => Datum::Null,
        _ => Datum::Bool(false),
    })
}

pub fn function() -> Function {
    use Kind::{Bool, Interval, Time, Ts, Tstz};
    let mut function = Function::new("overlaps").called_on_null();
    for t in [Tstz, Ts, Time] {
        for ends in [[t, t], [Interval, t], [t, Interval], [Interval, Interval]] {
            function = function.on(&[t, ends[0], t, ends[1]], Bool, overlaps);
        }
    }
    function
}
