//! Date and time functions: fields, truncation, construction, zones, `to_char`.
//!
//! Timestamps with zone are read in the session's zone. `extract` gives numeric,
//! `date_part` double. Pattern functions know the common template words of PostgreSQL.

use arrow::datatypes::{DataType, IntervalMonthDayNano};

use super::datum::{Cx, Datum, Function, Kind, Ret};
use super::decimal::Numeric;
use super::fields::{Field, field, local, trunc, trunc_in, trunc_interval};
use super::template::render;
use super::template_parse::parse;
use super::temporal::{difference, timestamp_out_of_range};
use super::zone::{Civil, MICROS_PER_DAY, MICROS_PER_SECOND, Zone, days_in_month, days_of_civil};
use crate::error::{HwError, Result, sqlstate};
use crate::types::text::{round_micros, round_timestamp};

/// `age(a, b)`: years, months, days and time between two wall-clock times.
fn age(a: i64, b: i64) -> Result<Datum<'static>> {
    if [a, b].iter().any(|t| matches!(*t, i64::MIN | i64::MAX)) {
        return Err(timestamp_out_of_range());
    }
    let (late, early, sign) = if a >= b { (a, b, 1) } else { (b, a, -1) };
    let (l, e) = (Civil::of_micros(late), Civil::of_micros(early));
    let mut months = (l.year - e.year) * 12 + i64::from(l.month) - i64::from(e.month);
    let mut days = i64::from(l.day) - i64::from(e.day);
    let mut time = l.time - e.time;
    if time < 0 {
        time += MICROS_PER_DAY;
        days -= 1;
    }
    if days < 0 {
        days += i64::from(days_in_month(e.year, e.month));
        months -= 1;
    }
    let fits = i32::try_from(months * sign).map_err(|_| timestamp_out_of_range())?;
    Ok(Datum::Interval(IntervalMonthDayNano::new(fits, (days * sign) as i32, time * sign * 1000)))
}

fn date_of(y: i64, m: i64, d: i64) -> Result<i64> {
    let overflow = || {
        let message = format!("date field value out of range: {y}-{m:02}-{d:02}");
        HwError::new(sqlstate::DATETIME_FIELD_OVERFLOW, message)
    };
    // Negative years are before Christ.
    let y = match y {
        0 => return Err(overflow()),
        y if y < 0 => y + 1,
        y => y,
    };
    let month = u32::try_from(m).ok().filter(|m| (1..=12).contains(m)).ok_or_else(overflow)?;
    let day =
        u32::try_from(d).ok().filter(|d| *d >= 1 && *d <= days_in_month(y, month)).ok_or_else(overflow)?;
    Ok(days_of_civil(y, month, day))
}

fn timestamp_of(a: &[Datum]) -> Result<i64> {
    let days = date_of(a[0].as_i64(), a[1].as_i64(), a[2].as_i64())?;
    let (h, m, s) = (a[3].as_i64(), a[4].as_i64(), a[5].as_f64());
    if !(0..24).contains(&h) || !(0..60).contains(&m) || !(0.0..60.0).contains(&s) {
        let message = format!("time field value out of range: {h}:{m:02}:{s:02}");
        return Err(HwError::new(sqlstate::DATETIME_FIELD_OVERFLOW, message));
    }
    let time = (h * 3600 + m * 60) * MICROS_PER_SECOND + (s * 1e6).round() as i64;
    Ok(days * MICROS_PER_DAY + time)
}

/// `to_timestamp` of seconds after 1970.
fn timestamp_of_epoch(seconds: f64) -> Result<i64> {
    let refused = |message: String| Err(HwError::new(sqlstate::DATETIME_FIELD_OVERFLOW, message));
    if seconds.is_nan() {
        return refused("timestamp cannot be NaN".into());
    }
    if seconds.is_infinite() {
        return Ok(if seconds > 0.0 { i64::MAX } else { i64::MIN });
    }
    let micros = (seconds * 1e6).round_ties_even();
    // The first moment is that of 4714-11-24 BC.
    if !(-210_866_803_200e6..9.223_371_8e18).contains(&micros) {
        return refused(format!("timestamp out of range: \"{seconds}\""));
    }
    Ok(micros as i64)
}

/// A time moved by the offset that an interval stands for.
fn shifted(a: &[Datum], sign: i64) -> Result<i64> {
    let i = a[0].as_interval();
    if i.months != 0 || i.days != 0 {
        let message = "interval time zone must not include months or days";
        return Err(HwError::new(sqlstate::INVALID_PARAMETER_VALUE, message));
    }
    let at = a[1].as_i64();
    if at == i64::MAX || at == i64::MIN {
        return Ok(at);
    }
    at.checked_add(i.nanoseconds / 1000 * sign).ok_or_else(timestamp_out_of_range)
}

fn make_time(a: &[Datum]) -> Result<i64> {
    let (h, m, s) = (a[0].as_i64(), a[1].as_i64(), a[2].as_f64());
    let day = h == 24 && m == 0 && s == 0.0;
    if !day && (!(0..24).contains(&h) || !(0..60).contains(&m) || !(0.0..=60.0).contains(&s)) {
        let message = format!("time field value out of range: {h}:{m:02}:{s:02}");
        return Err(HwError::new(sqlstate::DATETIME_FIELD_OVERFLOW, message));
    }
    Ok((h * 3600 + m * 60) * MICROS_PER_SECOND + (s * 1e6).round() as i64)
}

fn make_interval<'a>(_: &Cx, a: &[Datum<'a>]) -> Result<Datum<'a>> {
    let n = |i: usize| a.get(i).map_or(0.0, Datum::as_f64);
    let months = n(0) * 12.0 + n(1);
    let days = n(2) * 7.0 + n(3);
    let micros = (n(4) * 3600.0 + n(5) * 60.0 + n(6)) * 1e6;
    if months.abs() > 2e9 || days.abs() > 2e9 || micros.abs() > 9.2e15 {
        return Err(HwError::new(sqlstate::DATETIME_FIELD_OVERFLOW, "interval out of range"));
    }
    let nanos = micros.round() as i64 * 1000;
    Ok(Datum::Interval(IntervalMonthDayNano::new(months as i32, days as i32, nanos)))
}

/// `date_bin(stride, source, origin)`.
fn bin(stride: IntervalMonthDayNano, at: i64, origin: i64) -> Result<i64> {
    if stride.months != 0 {
        let message = "timestamps cannot be binned into intervals containing months or years";
        return Err(HwError::new(sqlstate::FEATURE_NOT_SUPPORTED, message));
    }
    let size = i64::from(stride.days) * MICROS_PER_DAY + stride.nanoseconds / 1000;
    if size <= 0 {
        return Err(HwError::new(sqlstate::DATETIME_FIELD_OVERFLOW, "stride must be greater than zero"));
    }
    let past = at.checked_sub(origin).ok_or_else(timestamp_out_of_range)?;
    Ok(origin + past.div_euclid(size) * size)
}

fn justify(i: IntervalMonthDayNano, hours: bool, days: bool) -> Datum<'static> {
    let (mut m, mut d, mut t) = (i64::from(i.months), i64::from(i.days), i.nanoseconds / 1000);
    if hours {
        d += t / MICROS_PER_DAY;
        t %= MICROS_PER_DAY;
    }
    if days {
        m += d / 30;
        d %= 30;
    }
    // Of days alone, the time takes no part.
    let t_sign = if hours { t } else { 0 };
    if days && m > 0 && (d < 0 || d == 0 && t_sign < 0) {
        (m, d) = (m - 1, d + 30);
    } else if days && m < 0 && (d > 0 || d == 0 && t_sign > 0) {
        (m, d) = (m + 1, d - 30);
    }
    if hours && d > 0 && t < 0 {
        (d, t) = (d - 1, t + MICROS_PER_DAY);
    } else if hours && d < 0 && t > 0 {
        (d, t) = (d + 1, t - MICROS_PER_DAY);
    }
    Datum::Interval(IntervalMonthDayNano::new(m as i32, d as i32, t * 1000))
}

fn extract_type(types: &[DataType]) -> DataType {
    let _ = types;
    DataType::Decimal128(38, 6)
}

fn fields() -> Vec<Function> {
    use Kind::*;
    fn extract<'a>(cx: &Cx, a: &[Datum<'a>]) -> Result<Datum<'a>> {
        Ok(match field(cx, a[0].as_str(), &a[1], true)? {
            Field::Infinite(sign) => Datum::Num(Numeric::infinity(sign < 0.0)),
            Field::None => Datum::Null,
            Field::Number(n) => Datum::Num(n),
        })
    }
    fn part<'a>(cx: &Cx, a: &[Datum<'a>]) -> Result<Datum<'a>> {
        Ok(match field(cx, a[0].as_str(), &a[1], false)? {
            Field::Infinite(sign) => Datum::Float(sign),
            Field::None => Datum::Null,
            Field::Number(n) => Datum::Float(n.to_f64()),
        })
    }
    let mut extract_fn = Function::new("extract");
    let mut part_fn = Function::new("date_part").alias("datepart");
    for kind in [Tstz, Ts, Date, Time, Interval] {
        extract_fn = extract_fn.ret(&[Text, kind], Ret::Of(extract_type), extract);
        part_fn = part_fn.on(&[Text, kind], Float8, part);
    }
    vec![
        extract_fn,
        part_fn,
        // The cast to timestamp(n).
        Function::new("timestamp_scale")
            .on(&[Tstz, Int4], Tstz, |_, a| Ok(Datum::Tstz(round_timestamp(a[0].as_i64(), a[1].as_i64()))))
            .on(&[Ts, Int4], Ts, |_, a| Ok(Datum::Ts(round_timestamp(a[0].as_i64(), a[1].as_i64()))))
            .on(&[Time, Int4], Time, |_, a| Ok(Datum::Time(round_micros(a[0].as_i64(), a[1].as_i64()))))
            .on(&[Interval, Int4], Interval, |_, a| {
                let i = a[0].as_interval();
                let nanos = round_micros(i.nanoseconds / 1000, a[1].as_i64()) * 1000;
                Ok(Datum::Interval(IntervalMonthDayNano::new(i.months, i.days, nanos)))
            }),
        Function::new("date_trunc")
            .alias("datetrunc")
            .on(&[Text, Tstz], Tstz, |cx, a| trunc_in(a[0].as_str(), a[1].as_i64(), &cx.zone))
            .on(&[Text, Ts], Ts, |_, a| {
                Ok(Datum::Ts(trunc(a[0].as_str(), a[1].as_i64(), "timestamp without time zone")?))
            })
            .on(&[Text, Interval], Interval, |_, a| trunc_interval(a[0].as_str(), a[1].as_interval()))
            .on(&[Text, Tstz, Text], Tstz, |_, a| {
                trunc_in(a[0].as_str(), a[1].as_i64(), &super::zone::Zone::parse(a[2].as_str())?)
            }),
        Function::new("isfinite")
            .on(&[Date], Bool, |_, a| {
                let days = a[0].as_i64();
                Ok(Datum::Bool(days != i64::from(i32::MAX) && days != i64::from(i32::MIN)))
            })
            .on(&[Ts], Bool, |_, a| Ok(Datum::Bool(![i64::MAX, i64::MIN].contains(&a[0].as_i64()))))
            .on(&[Tstz], Bool, |_, a| Ok(Datum::Bool(![i64::MAX, i64::MIN].contains(&a[0].as_i64()))))
            .on(&[Interval], Bool, |_, _| Ok(Datum::Bool(true))),
        Function::new("date_bin")
            .on(&[Interval, Tstz, Tstz], Tstz, |_, a| {
                Ok(Datum::Tstz(bin(a[0].as_interval(), a[1].as_i64(), a[2].as_i64())?))
            })
            .on(&[Interval, Ts, Ts], Ts, |_, a| {
                Ok(Datum::Ts(bin(a[0].as_interval(), a[1].as_i64(), a[2].as_i64())?))
            }),
    ]
}

fn zones() -> Vec<Function> {
    use Kind::*;
    vec![
        Function::new("timezone")
            .on(&[Interval, Tstz], Ts, |_, a| Ok(Datum::Ts(shifted(a, 1)?)))
            .on(&[Interval, Ts], Tstz, |_, a| Ok(Datum::Tstz(shifted(a, -1)?)))
            .on(&[Text, Tstz], Ts, |_, a| Ok(Datum::Ts(Zone::parse(a[0].as_str())?.to_local(a[1].as_i64()))))
            .on(&[Text, Ts], Tstz, |_, a| Ok(Datum::Tstz(Zone::parse(a[0].as_str())?.to_utc(a[1].as_i64())))),
        Function::new("age").on(&[Tstz, Tstz], Interval, |cx, a| age(local(cx, &a[0]), local(cx, &a[1]))).on(
            &[Ts, Ts],
            Interval,
            |_, a| age(a[0].as_i64(), a[1].as_i64()),
        ),
        super::overlaps::function(),
        Function::new("timestamp_difference")
            .on(&[Ts, Ts], Interval, |_, a| Ok(Datum::Interval(difference(a[0].as_i64(), a[1].as_i64())?))),
    ]
}

fn makers() -> Vec<Function> {
    use Kind::*;
    let parts = [Int4, Int4, Int4, Int4, Int4, Float8];
    let mut make_interval_fn = Function::new("make_interval");
    let kinds = [Int4, Int4, Int4, Int4, Int4, Int4, Float8];
    for n in 0..=kinds.len() {
        make_interval_fn = make_interval_fn.on(&kinds[..n], Interval, make_interval);
    }
    vec![
        Function::new("make_date").on(&[Int4, Int4, Int4], Date, |_, a| {
            Ok(Datum::Date(date_of(a[0].as_i64(), a[1].as_i64(), a[2].as_i64())? as i32))
        }),
        Function::new("make_time").on(&[Int4, Int4, Float8], Time, |_, a| Ok(Datum::Time(make_time(a)?))),
        Function::new("make_timestamp").on(&parts, Ts, |_, a| Ok(Datum::Ts(timestamp_of(a)?))),
        Function::new("make_timestamptz")
            .on(&parts, Tstz, |cx, a| Ok(Datum::Tstz(cx.zone.to_utc(timestamp_of(a)?))))
            .on(&[Int4, Int4, Int4, Int4, Int4, Float8, Text], Tstz, |_, a| {
                Ok(Datum::Tstz(Zone::parse(a[6].as_str())?.to_utc(timestamp_of(a)?)))
            }),
        make_interval_fn,
        Function::new("justify_hours")
            .on(&[Interval], Interval, |_, a| Ok(justify(a[0].as_interval(), true, false))),
        Function::new("justify_days")
            .on(&[Interval], Interval, |_, a| Ok(justify(a[0].as_interval(), false, true))),
        Function::new("justify_interval")
            .on(&[Interval], Interval, |_, a| Ok(justify(a[0].as_interval(), true, true))),
        Function::new("to_timestamp")
            .on(&[Float8], Tstz, |_, a| Ok(Datum::Tstz(timestamp_of_epoch(a[0].as_f64())?)))
            .on(&[Text, Text], Tstz, |cx, a| {
                let parsed = parse(a[0].as_str(), a[1].as_str())?;
                Ok(Datum::Tstz(match parsed.offset {
                    Some(east) => parsed.local - east * MICROS_PER_SECOND,
                    None => cx.zone.to_utc(parsed.local),
                }))
            }),
        Function::new("to_date").on(&[Text, Text], Date, |_, a| {
            let at = parse(a[0].as_str(), a[1].as_str())?.local;
            Ok(Datum::Date(at.div_euclid(MICROS_PER_DAY) as i32))
        }),
        super::number_format::add_to_char(Function::new("to_char"))
            .on(&[Tstz, Text], Text, |cx, a| {
                let t = a[0].as_i64();
                let text = render(
                    cx.zone.to_local(t),
                    &cx.zone.abbreviation(t),
                    cx.zone.offset_at(t),
                    a[1].as_str(),
                );
                Ok(text.map_or(Datum::Null, Datum::text))
            })
            .on(&[Ts, Text], Text, |_, a| {
                Ok(render(a[0].as_i64(), "", 0, a[1].as_str()).map_or(Datum::Null, Datum::text))
            })
            .kernel(super::template::to_char)
            .on(&[Date, Text], Text, |_, a| {
                let Datum::Date(day) = a[0] else { return Ok(Datum::Null) };
                if matches!(day, i32::MIN | i32::MAX) {
                    return Ok(Datum::Null);
                }
                let midnight = i64::from(day) * MICROS_PER_DAY;
                Ok(render(midnight, "", 0, a[1].as_str()).map_or(Datum::Null, Datum::text))
            }),
    ]
}

/// Every function of this file.
pub fn functions() -> Vec<Function> {
    [fields(), zones(), makers()].into_iter().flatten().collect()
}
