//! Fields of dates, times and intervals, and their truncation: `extract`, `date_part`, `date_trunc`.
//!
//! Years before Christ count as PostgreSQL's do: 1 BC is the year -1, its century -1. A field that
//! a type has not is 0A000, an unknown word 22023. Infinite times have infinite years and no hours;
//! truncated they stay what they are.

use arrow::datatypes::IntervalMonthDayNano;

use super::datum::{Cx, Datum};
use super::decimal::Numeric;
use super::zone::{Civil, MICROS_PER_DAY, MICROS_PER_SECOND, Zone, days_of_civil, iso_week, iso_weekday};
use crate::error::{HwError, Result, sqlstate};

/// Letters of a unit that count (`TOKMAXLEN` of PostgreSQL).
const UNIT_LETTERS: usize = 10;

#[derive(Clone, Copy, PartialEq)]
enum Unit {
    Microseconds,
    Milliseconds,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
    Decade,
    Century,
    Millennium,
    Julian,
    IsoYear,
    Dow,
    IsoDow,
    Doy,
    Epoch,
    Timezone,
    TimezoneHour,
    TimezoneMinute,
}

impl Unit {
    fn of(word: &str) -> Option<Unit> {
        let lower = word.to_ascii_lowercase();
        Some(match lower.get(..UNIT_LETTERS).unwrap_or(&lower) {
            "us" | "usec" | "usecond" | "useconds" | "usecs" | "microsecon" => Unit::Microseconds,
            "ms" | "msec" | "msecond" | "mseconds" | "msecs" | "millisecon" => Unit::Milliseconds,
            "s" | "sec" | "secs" | "second" | "seconds" => Unit::Second,
            "m" | "min" | "mins" | "minute" | "minutes" => Unit::Minute,
            "h" | "hr" | "hrs" | "hour" | "hours" => Unit::Hour,
            "d" | "day" | "days" => Unit::Day,
            "w" | "week" | "weeks" => Unit::Week,
            "mon" | "mons" | "month" | "months" => Unit::Month,
            "qtr" | "quarter" => Unit::Quarter,
            "y" | "yr" | "yrs" | "year" | "years" => Unit::Year,
            "dec" | "decs" | "decade" | "decades" => Unit::Decade,
            "c" | "cent" | "century" | "centuries" => Unit::Century,
            "mil" | "mils" | "millennia" | "millennium" => Unit::Millennium,
            "j" | "jd" | "julian" => Unit::Julian,
            "isoyear" => Unit::IsoYear,
            "dow" => Unit::Dow,
            "isodow" => Unit::IsoDow,
            "doy" => Unit::Doy,
            "epoch" => Unit::Epoch,
            "timezone" => Unit::Timezone,
            "timezone_h" => Unit::TimezoneHour,
            "timezone_m" => Unit::TimezoneMinute,
            _ => return None,
        })
    }

    /// Whether the field grows with the time; of an infinite time it is infinite.
    fn grows(self) -> bool {
        use Unit::{Century, Decade, Epoch, IsoYear, Julian, Millennium, Year};
        matches!(self, Year | Decade | Century | Millennium | Julian | IsoYear | Epoch)
    }
}

fn type_name(value: &Datum) -> &'static str {
    match value {
        Datum::Interval(_) => "interval",
        Datum::Time(_) => "time without time zone",
        Datum::Date(_) => "date",
        Datum::Tstz(_) => "timestamp with time zone",
        _ => "timestamp without time zone",
    }
}

fn unknown(unit: &str, typname: &str) -> HwError {
    let message = format!("unit \"{}\" not recognized for type {typname}", unit.to_lowercase());
    HwError::new(sqlstate::INVALID_PARAMETER_VALUE, message)
}

fn unsupported(unit: &str, typname: &str) -> HwError {
    let message = format!("unit \"{}\" not supported for type {typname}", unit.to_lowercase());
    HwError::new(sqlstate::FEATURE_NOT_SUPPORTED, message)
}

/// Wall-clock microseconds of a date or timestamp.
pub fn local(cx: &Cx, value: &Datum) -> i64 {
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

/// A field of a value.
pub enum Field {
    Number(Numeric),
    /// With its sign.
    Infinite(f64),
    /// An infinite time has no such field.
    None,
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

/// The field `unit` of a value; `extract` looks at dates as such, `date_part` as timestamps.
pub fn field(cx: &Cx, unit: &str, value: &Datum, extract: bool) -> Result<Field> {
    let typname = type_name(value);
    let found = Unit::of(unit).ok_or_else(|| unknown(unit, typname))?;
    if let (Datum::Date(_), true) = (value, extract)
        && matches!(
            found,
            Unit::Microseconds
                | Unit::Milliseconds
                | Unit::Second
                | Unit::Minute
                | Unit::Hour
                | Unit::Timezone
                | Unit::TimezoneHour
                | Unit::TimezoneMinute
        )
    {
        return Err(unsupported(unit, typname));
    }
    if let Some(sign) = infinity(value) {
        return Ok(if found.grows() { Field::Infinite(sign) } else { Field::None });
    }
    let number = match value {
        Datum::Interval(i) => interval_field(found, *i),
        Datum::Time(t) => match found {
            Unit::Epoch => Some(micros(*t)),
            found => time_field(found, *t),
        },
        other => timestamp_field(cx, found, other),
    };
    number.map(Field::Number).ok_or_else(|| unsupported(unit, typname))
}

fn time_field(unit: Unit, time: i64) -> Option<Numeric> {
    let seconds = time % (60 * MICROS_PER_SECOND);
    Some(match unit {
        Unit::Hour => whole(time / (3600 * MICROS_PER_SECOND)),
        Unit::Minute => whole(time / (60 * MICROS_PER_SECOND) % 60),
        Unit::Second => micros(seconds),
        Unit::Milliseconds => Numeric::new(i128::from(seconds), 3),
        Unit::Microseconds => whole(seconds),
        _ => return None,
    })
}

/// The century, millennium, … of an astronomical year: there is none of the number zero.
fn span_of_year(year: i64, years: i64) -> i64 {
    if year > 0 { (year + years - 1) / years } else { -((years - 1 - (year - 1)) / years) }
}

fn decade(year: i64) -> i64 {
    if year >= 0 { year / 10 } else { -((8 - (year - 1)) / 10) }
}

/// Years before Christ as negative numbers from -1.
fn shown_year(year: i64) -> i64 {
    if year > 0 { year } else { year - 1 }
}

fn timestamp_field(cx: &Cx, unit: Unit, value: &Datum) -> Option<Numeric> {
    let at = local(cx, value);
    let c = Civil::of_micros(at);
    let days = c.days();
    let zone = match value {
        Datum::Tstz(t) => Some(i64::from(cx.zone.offset_at(*t))),
        _ => None,
    };
    Some(match unit {
        Unit::Epoch => micros(if let Datum::Tstz(t) = value { *t } else { at }),
        Unit::Year => whole(shown_year(c.year)),
        Unit::Month => whole(c.month.into()),
        Unit::Day => whole(c.day.into()),
        Unit::Dow => whole(iso_weekday(days) % 7),
        Unit::IsoDow => whole(iso_weekday(days)),
        Unit::Doy => whole(days - days_of_civil(c.year, 1, 1) + 1),
        Unit::Week => whole(iso_week(days).1),
        Unit::IsoYear => whole(shown_year(iso_week(days).0)),
        Unit::Quarter => whole((i64::from(c.month) - 1) / 3 + 1),
        Unit::Decade => whole(decade(c.year)),
        Unit::Century => whole(span_of_year(c.year, 100)),
        Unit::Millennium => whole(span_of_year(c.year, 1000)),
        Unit::Julian => match value {
            Datum::Date(_) => whole(days + 2_440_588),
            _ => {
                let (whole, part) = (i128::from(days + 2_440_588), i128::from(c.time));
                let scale = 10i128.pow(20);
                Numeric::new(whole * scale + (part * scale + 43_200_000_000) / 86_400_000_000, 20)
            }
        },
        Unit::Timezone => whole(zone?),
        Unit::TimezoneHour => whole(zone? / 3600),
        Unit::TimezoneMinute => whole(zone? / 60 % 60),
        other => return time_field(other, c.time),
    })
}

fn interval_field(unit: Unit, i: IntervalMonthDayNano) -> Option<Numeric> {
    let months = i64::from(i.months);
    let time = i.nanoseconds / 1000;
    Some(match unit {
        Unit::Epoch => {
            // A year is 365.25 days, a month 30.
            let days = i128::from(months / 12) * 36525 * 864 + i128::from(months % 12) * 30 * 86_400;
            let seconds = days + i128::from(i.days) * 86_400;
            Numeric::new(seconds * 1_000_000 + i128::from(time), 6)
        }
        Unit::Year => whole(months / 12),
        Unit::Decade => whole(months / 120),
        Unit::Century => whole(months / 1200),
        Unit::Millennium => whole(months / 12_000),
        Unit::Month => whole(months % 12),
        Unit::Quarter => whole(months % 12 / 3 + 1),
        Unit::Day => whole(i.days.into()),
        other => return time_field(other, time),
    })
}

/// `date_trunc` of wall-clock microseconds.
pub fn trunc(unit: &str, at: i64, typname: &str) -> Result<i64> {
    let found = Unit::of(unit).ok_or_else(|| unknown(unit, typname))?;
    let c = Civil::of_micros(at);
    let day = |y: i64, m: u32, d: u32| days_of_civil(y, m, d) * MICROS_PER_DAY;
    let step = |size: i64| at - at.rem_euclid(size);
    let infinite = matches!(at, i64::MIN | i64::MAX);
    // The first year of a century or millennium.
    let first = |years: i64| match span_of_year(c.year, years) * years {
        last if c.year > 0 => last - years + 1,
        last => last + 1,
    };
    let truncated = match found {
        Unit::Microseconds => at,
        Unit::Milliseconds => step(1000),
        Unit::Second => step(MICROS_PER_SECOND),
        Unit::Minute => step(60 * MICROS_PER_SECOND),
        Unit::Hour => step(3600 * MICROS_PER_SECOND),
        Unit::Day => step(MICROS_PER_DAY),
        Unit::Week => (c.days() - iso_weekday(c.days()) + 1) * MICROS_PER_DAY,
        Unit::Month => day(c.year, c.month, 1),
        Unit::Quarter => day(c.year, (c.month - 1) / 3 * 3 + 1, 1),
        Unit::Year => day(c.year, 1, 1),
        Unit::Decade => day(decade(c.year) * 10, 1, 1),
        Unit::Century => day(first(100), 1, 1),
        Unit::Millennium => day(first(1000), 1, 1),
        _ => return Err(unsupported(unit, typname)),
    };
    Ok(if infinite { at } else { truncated })
}

/// `date_trunc` of an interval: its smaller fields are zero.
pub fn trunc_interval(unit: &str, i: IntervalMonthDayNano) -> Result<Datum<'static>> {
    let years = |n: i32| IntervalMonthDayNano::new(i.months / (12 * n) * 12 * n, 0, 0);
    let time = |micros: i64| {
        let nanos = micros * 1000;
        IntervalMonthDayNano::new(i.months, i.days, i.nanoseconds / nanos * nanos)
    };
    Ok(Datum::Interval(match Unit::of(unit).ok_or_else(|| unknown(unit, "interval"))? {
        Unit::Microseconds => time(1),
        Unit::Milliseconds => time(1000),
        Unit::Second => time(MICROS_PER_SECOND),
        Unit::Minute => time(60 * MICROS_PER_SECOND),
        Unit::Hour => time(3600 * MICROS_PER_SECOND),
        Unit::Day => IntervalMonthDayNano::new(i.months, i.days, 0),
        Unit::Month => IntervalMonthDayNano::new(i.months, 0, 0),
        Unit::Quarter => IntervalMonthDayNano::new(i.months / 3 * 3, 0, 0),
        Unit::Year => years(1),
        Unit::Decade => years(10),
        Unit::Century => years(100),
        Unit::Millennium => years(1000),
        _ => return Err(unsupported(unit, "interval")),
    }))
}

/// `date_trunc` of a time in a zone; up to hours the offset stays what it is at `t`.
pub fn trunc_in(unit: &str, t: i64, zone: &Zone) -> Result<Datum<'static>> {
    use Unit::{Hour, Microseconds, Milliseconds, Minute, Second};
    if let Some(Microseconds | Milliseconds | Second | Minute | Hour) = Unit::of(unit) {
        let local = zone.to_local(t);
        let truncated = trunc(unit, local, "timestamp with time zone")?;
        return Ok(Datum::Tstz(t - (local - truncated)));
    }
    Ok(Datum::Tstz(zone.to_utc(trunc(unit, zone.to_local(t), "timestamp with time zone")?)))
}
