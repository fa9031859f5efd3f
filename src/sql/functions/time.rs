//! Date and time functions: fields, truncation, construction, zones, `to_char`.
//!
//! Timestamps with zone are read in the session's zone. `extract` gives numeric,
//! `date_part` double. Pattern functions know the common template words of PostgreSQL.

use arrow::datatypes::{DataType, IntervalMonthDayNano};

use super::datum::{Cx, Datum, Function, Kind, Ret};
use super::decimal::Numeric;
use super::template::{parse_template, render};
use super::temporal::{difference, timestamp_out_of_range};
use super::zone::{
    Civil, MICROS_PER_DAY, MICROS_PER_SECOND, Zone, days_in_month, days_of_civil, iso_week, iso_weekday,
};
use crate::error::{HwError, Result, sqlstate};
use crate::types::text::round_micros;

fn bad_unit(unit: &str, typname: &str) -> HwError {
    HwError::new(
        sqlstate::INVALID_PARAMETER_VALUE,
        format!("unit \"{}\" not recognized for type {typname}", unit.to_lowercase()),
    )
}

/// Wall-clock microseconds of a date or timestamp.
fn local(cx: &Cx, value: &Datum) -> i64 {
    match value {
        Datum::Tstz(t) => cx.zone.to_local(*t),
        Datum::Date(d) => i64::from(*d) * MICROS_PER_DAY,
        other => other.as_i64(),
    }
}

fn whole(v: i64) -> Numeric {
    Numeric::new(i128::from(v), 0)
}

fn micros(v: i64) -> Numeric {
    Numeric::new(i128::from(v), 6)
}

/// Whether a field of an infinite time grows with it; the others are NULL.
fn grows(unit: &str) -> bool {
    let unit = unit.to_ascii_lowercase();
    let growing = ["year", "decade", "century", "centuries", "millenni", "julian", "isoyear", "epoch"];
    growing.iter().any(|u| unit.starts_with(u))
}

/// The sign of an infinite date or timestamp.
fn infinity(value: &Datum) -> Option<f64> {
    let (low, high) = match value {
        Datum::Date(d) => (*d == i32::MIN, *d == i32::MAX),
        Datum::Ts(t) | Datum::Tstz(t) => (*t == i64::MIN, *t == i64::MAX),
        _ => return None,
    };
    if high { Some(f64::INFINITY) } else { low.then_some(f64::NEG_INFINITY) }
}

fn field(cx: &Cx, unit: &str, value: &Datum) -> Result<Numeric> {
    match value {
        Datum::Interval(i) => interval_field(unit, *i),
        Datum::Time(t) => time_field(unit, *t).ok_or_else(|| bad_unit(unit, "time without time zone")),
        other => timestamp_field(cx, unit, other),
    }
}

fn time_field(unit: &str, time: i64) -> Option<Numeric> {
    let seconds = time % (60 * MICROS_PER_SECOND);
    Some(match unit.to_ascii_lowercase().trim_end_matches('s') {
        "hour" | "h" => whole(time / (3600 * MICROS_PER_SECOND)),
        "minute" | "min" | "m" => whole(time / (60 * MICROS_PER_SECOND) % 60),
        "second" | "sec" | "" => micros(seconds),
        "millisecond" | "msec" | "m_" => Numeric::new(i128::from(seconds), 3),
        "microsecond" | "usec" | "u" => whole(seconds),
        "epoch" => micros(time),
        _ => return None,
    })
}

fn timestamp_field(cx: &Cx, unit: &str, value: &Datum) -> Result<Numeric> {
    let at = local(cx, value);
    let c = Civil::of_micros(at);
    let days = c.days();
    let zone_seconds = || match value {
        Datum::Tstz(t) => i64::from(cx.zone.offset_at(*t)),
        _ => 0,
    };
    let lower = unit.to_ascii_lowercase();
    Ok(match lower.as_str() {
        "epoch" => micros(if let Datum::Tstz(t) = value { *t } else { at }),
        "year" | "years" | "y" => whole(if c.year > 0 { c.year } else { c.year - 1 }),
        "month" | "months" | "mon" => whole(c.month.into()),
        "day" | "days" | "d" => whole(c.day.into()),
        "dow" => whole(iso_weekday(days) % 7),
        "isodow" => whole(iso_weekday(days)),
        "doy" => whole(days - days_of_civil(c.year, 1, 1) + 1),
        "week" | "weeks" | "w" => whole(iso_week(days).1),
        "isoyear" => whole(iso_week(days).0),
        "quarter" | "qtr" => whole((i64::from(c.month) - 1) / 3 + 1),
        "decade" | "decades" => whole(c.year.div_euclid(10)),
        "century" | "centuries" => whole((c.year + 99).div_euclid(100)),
        "millennium" | "millennia" => whole((c.year + 999).div_euclid(1000)),
        "julian" => match value {
            Datum::Date(_) => whole(days + 2_440_588),
            _ => {
                let (whole, part) = (i128::from(days + 2_440_588), i128::from(c.time));
                let scale = 10i128.pow(20);
                Numeric::new(whole * scale + (part * scale + 43_200_000_000) / 86_400_000_000, 20)
            }
        },
        "timezone" => whole(zone_seconds()),
        "timezone_hour" => whole(zone_seconds() / 3600),
        "timezone_minute" => whole(zone_seconds() / 60 % 60),
        other => {
            let typname = if matches!(value, Datum::Tstz(_)) {
                "timestamp with time zone"
            } else {
                "timestamp without time zone"
            };
            return time_field(other, c.time).ok_or_else(|| bad_unit(unit, typname));
        }
    })
}

fn interval_field(unit: &str, i: IntervalMonthDayNano) -> Result<Numeric> {
    let months = i64::from(i.months);
    let time = i.nanoseconds / 1000;
    Ok(match unit.to_ascii_lowercase().as_str() {
        "epoch" => {
            // A year is 365.25 days, a month 30.
            let days = i128::from(months / 12) * 36525 * 864 + i128::from(months % 12) * 30 * 86_400;
            let seconds = days + i128::from(i.days) * 86_400;
            Numeric::new(seconds * 1_000_000 + i128::from(time), 6)
        }
        "year" | "years" => whole(months / 12),
        "month" | "months" => whole(months % 12),
        "day" | "days" => whole(i.days.into()),
        "quarter" => whole(months % 12 / 3 + 1),
        "hour" | "hours" => whole(time / (3600 * MICROS_PER_SECOND)),
        other => time_field(other, time).ok_or_else(|| bad_unit(unit, "interval"))?,
    })
}

/// `date_trunc` of wall-clock microseconds.
fn trunc(unit: &str, at: i64) -> Option<i64> {
    let c = Civil::of_micros(at);
    let day = |y: i64, m: u32, d: u32| days_of_civil(y, m, d) * MICROS_PER_DAY;
    let step = |size: i64| at - at.rem_euclid(size);
    Some(match unit.to_ascii_lowercase().as_str() {
        "microsecond" | "microseconds" => at,
        "millisecond" | "milliseconds" => step(1000),
        "second" | "seconds" => step(MICROS_PER_SECOND),
        "minute" | "minutes" => step(60 * MICROS_PER_SECOND),
        "hour" | "hours" => step(3600 * MICROS_PER_SECOND),
        "day" | "days" => step(MICROS_PER_DAY),
        "week" | "weeks" => (c.days() - iso_weekday(c.days()) + 1) * MICROS_PER_DAY,
        "month" | "months" => day(c.year, c.month, 1),
        "quarter" => day(c.year, (c.month - 1) / 3 * 3 + 1, 1),
        "year" | "years" => day(c.year, 1, 1),
        "decade" | "decades" => day(c.year.div_euclid(10) * 10, 1, 1),
        "century" | "centuries" => day((c.year - 1).div_euclid(100) * 100 + 1, 1, 1),
        "millennium" | "millennia" => day((c.year - 1).div_euclid(1000) * 1000 + 1, 1, 1),
        _ => return None,
    })
}

/// `date_trunc` of an interval: its smaller fields are zero.
fn trunc_interval(unit: &str, i: IntervalMonthDayNano) -> Result<Datum<'static>> {
    let years = |n: i32| IntervalMonthDayNano::new(i.months / (12 * n) * 12 * n, 0, 0);
    let time = |micros: i64| {
        let nanos = micros * 1000;
        IntervalMonthDayNano::new(i.months, i.days, i.nanoseconds / nanos * nanos)
    };
    Ok(Datum::Interval(match unit.to_ascii_lowercase().trim_end_matches('s') {
        "microsecond" => time(1),
        "millisecond" => time(1000),
        "second" => time(MICROS_PER_SECOND),
        "minute" => time(60 * MICROS_PER_SECOND),
        "hour" => time(3600 * MICROS_PER_SECOND),
        "day" => IntervalMonthDayNano::new(i.months, i.days, 0),
        "month" => IntervalMonthDayNano::new(i.months, 0, 0),
        "quarter" => IntervalMonthDayNano::new(i.months / 3 * 3, 0, 0),
        "year" => years(1),
        "decade" => years(10),
        "century" | "centurie" => years(100),
        "millennium" | "millennia" => years(1000),
        _ => return Err(bad_unit(unit, "interval")),
    }))
}

fn trunc_in(unit: &str, t: i64, zone: &Zone) -> Result<Datum<'static>> {
    let at = trunc(unit, zone.to_local(t)).ok_or_else(|| bad_unit(unit, "timestamp with time zone"))?;
    Ok(Datum::Tstz(zone.to_utc(at)))
}

/// `age(a, b)`: years, months, days and time between two wall-clock times.
fn age(a: i64, b: i64) -> Result<Datum<'static>> {
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
    if days && m > 0 && (d < 0 || d == 0 && t < 0) {
        (m, d) = (m - 1, d + 30);
    } else if days && m < 0 && (d > 0 || d == 0 && t > 0) {
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
        match infinity(&a[1]) {
            Some(sign) if grows(a[0].as_str()) => Ok(Datum::Num(Numeric::infinity(sign < 0.0))),
            Some(_) => Ok(Datum::Null),
            None => Ok(Datum::Num(field(cx, a[0].as_str(), &a[1])?)),
        }
    }
    fn part<'a>(cx: &Cx, a: &[Datum<'a>]) -> Result<Datum<'a>> {
        match infinity(&a[1]) {
            Some(sign) if grows(a[0].as_str()) => Ok(Datum::Float(sign)),
            Some(_) => Ok(Datum::Null),
            None => Ok(Datum::Float(field(cx, a[0].as_str(), &a[1])?.to_f64())),
        }
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
            .on(&[Tstz, Int4], Tstz, |_, a| Ok(Datum::Tstz(round_micros(a[0].as_i64(), a[1].as_i64()))))
            .on(&[Ts, Int4], Ts, |_, a| Ok(Datum::Ts(round_micros(a[0].as_i64(), a[1].as_i64()))))
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
                let unit = a[0].as_str();
                trunc(unit, a[1].as_i64())
                    .map(Datum::Ts)
                    .ok_or_else(|| bad_unit(unit, "timestamp without time zone"))
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
            .on(&[Float8], Tstz, |_, a| {
                let micros = (a[0].as_f64() * 1e6).round();
                if micros.abs() > 9.2e18 {
                    return Err(timestamp_out_of_range());
                }
                Ok(Datum::Tstz(micros as i64))
            })
            .on(&[Text, Text], Tstz, |cx, a| {
                Ok(Datum::Tstz(cx.zone.to_utc(parse_template(a[0].as_str(), a[1].as_str())?)))
            }),
        Function::new("to_date").on(&[Text, Text], Date, |_, a| {
            let at = parse_template(a[0].as_str(), a[1].as_str())?;
            Ok(Datum::Date(at.div_euclid(MICROS_PER_DAY) as i32))
        }),
        super::number_format::add_to_char(Function::new("to_char"))
            .on(&[Tstz, Text], Text, |cx, a| {
                let t = a[0].as_i64();
                Ok(Datum::text(render(
                    cx.zone.to_local(t),
                    &cx.zone.abbreviation(t),
                    cx.zone.offset_at(t),
                    a[1].as_str(),
                )))
            })
            .on(&[Ts, Text], Text, |_, a| Ok(Datum::text(render(a[0].as_i64(), "", 0, a[1].as_str()))))
            .kernel(super::template::to_char)
            .on(&[Date, Text], Text, |_, a| {
                Ok(Datum::text(render(a[0].as_i64() * MICROS_PER_DAY, "", 0, a[1].as_str())))
            }),
    ]
}

/// Every function of this file.
pub fn functions() -> Vec<Function> {
    [fields(), zones(), makers()].into_iter().flatten().collect()
}
