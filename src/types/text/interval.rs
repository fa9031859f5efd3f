//! Intervals: IntervalStyle `postgres` out; PostgreSQL's, SQL's and ISO 8601 forms in.
//!
//! An interval is months, days and a time, kept apart. Fractions go down as in PostgreSQL: of
//! a year to months, of a month to days (30), of a week or a day to the time.

use arrow::datatypes::IntervalMonthDayNano;

use super::calendar::{push_fraction, push_two};
use super::{MICROS_PER_DAY, MICROS_PER_SECOND, invalid_syntax, trim, write_integer};
use crate::error::{HwError, Result, sqlstate};

const MICROS_PER_HOUR: f64 = 3600e6;

/// Prints as `1 year 2 mons -3 days +04:05:06.789`.
pub fn write_interval(interval: IntervalMonthDayNano, out: &mut Vec<u8>) {
    let mut state = (out.len(), false);
    let mut part = |out: &mut Vec<u8>, value: i32, unit: &str| {
        if value == 0 {
            return;
        }
        if out.len() > state.0 {
            out.push(b' ');
        }
        if state.1 && value > 0 {
            out.push(b'+');
        }
        write_integer(i128::from(value), out);
        out.push(b' ');
        out.extend_from_slice(unit.as_bytes());
        if value != 1 {
            out.push(b's');
        }
        state.1 = value < 0;
    };
    part(out, interval.months / 12, "year");
    part(out, interval.months % 12, "mon");
    part(out, interval.days, "day");
    let (start, before_negative) = state;
    let micros = interval.nanoseconds / 1000;
    if micros == 0 && out.len() > start {
        return;
    }
    if out.len() > start {
        out.push(b' ');
    }
    if micros < 0 {
        out.push(b'-');
    } else if before_negative {
        out.push(b'+');
    }
    let magnitude = micros.unsigned_abs();
    let seconds = magnitude / MICROS_PER_SECOND as u64;
    if seconds / 3600 < 100 {
        push_two(out, (seconds / 3600) as u32);
    } else {
        write_integer(i128::from(seconds / 3600), out);
    }
    out.push(b':');
    push_two(out, (seconds / 60 % 60) as u32);
    out.push(b':');
    push_two(out, (seconds % 60) as u32);
    push_fraction(out, (magnitude % MICROS_PER_SECOND as u64) as u32);
}

/// Why a literal is not an interval.
enum Problem {
    Syntax,
    Range,
}

/// Sums of an interval being read; wide, so that only the end checks the range.
#[derive(Default)]
struct Parts {
    months: f64,
    days: f64,
    micros: f64,
    /// The unit of a last number without one; seconds otherwise.
    bare: Option<Unit>,
    /// `1:30` is minutes and seconds.
    minutes_first: bool,
}

impl Parts {
    /// Adds `value` units; the fraction goes down to smaller fields.
    fn add(&mut self, value: f64, unit: Unit) {
        match unit {
            Unit::Months(months) => {
                let total = value * months;
                if months > 1.0 {
                    self.months += total.round_ties_even();
                } else {
                    self.months += total.trunc();
                    self.add_days(total.fract() * 30.0);
                }
            }
            Unit::Days(days) => self.add_days(value * days),
            Unit::Micros(micros) => self.micros += (value * micros).round_ties_even(),
        }
    }

    fn add_days(&mut self, days: f64) {
        // Within rounding of whole days, as PostgreSQL's TSROUND does.
        let rounded = (days * 1e6).round() / 1e6;
        self.days += rounded.trunc();
        self.micros += (rounded.fract() * MICROS_PER_DAY as f64).round_ties_even();
    }

    fn finish(self, negate: bool) -> Result<IntervalMonthDayNano, Problem> {
        let sign = if negate { -1.0 } else { 1.0 };
        let in_i32 = |v: f64| (v.abs() <= f64::from(i32::MAX)).then_some((v * sign) as i32);
        let months = in_i32(self.months).ok_or(Problem::Range)?;
        let days = in_i32(self.days).ok_or(Problem::Range)?;
        let micros = self.micros * sign;
        if micros.abs() >= (i64::MAX / 1000) as f64 {
            return Err(Problem::Range);
        }
        Ok(IntervalMonthDayNano::new(months, days, micros as i64 * 1000))
    }
}

/// A unit by the field that it falls into.
#[derive(Clone, Copy)]
enum Unit {
    Months(f64),
    Days(f64),
    Micros(f64),
}

fn unit(word: &[u8]) -> Option<Unit> {
    let word = word.to_ascii_lowercase();
    Some(match word.as_slice() {
        b"microsecond" | b"microseconds" | b"us" | b"usec" | b"usecs" | b"usecond" | b"useconds" => {
            Unit::Micros(1.0)
        }
        b"millisecond" | b"milliseconds" | b"ms" | b"msec" | b"msecs" | b"msecond" | b"mseconds" => {
            Unit::Micros(1e3)
        }
        b"s" | b"sec" | b"secs" | b"second" | b"seconds" => Unit::Micros(1e6),
        b"m" | b"min" | b"mins" | b"minute" | b"minutes" => Unit::Micros(60e6),
        b"h" | b"hr" | b"hrs" | b"hour" | b"hours" => Unit::Micros(MICROS_PER_HOUR),
        b"d" | b"day" | b"days" => Unit::Days(1.0),
        b"w" | b"week" | b"weeks" => Unit::Days(7.0),
        b"mon" | b"mons" | b"month" | b"months" => Unit::Months(1.0),
        b"y" | b"yr" | b"yrs" | b"year" | b"years" => Unit::Months(12.0),
        b"dec" | b"decs" | b"decade" | b"decades" => Unit::Months(120.0),
        b"c" | b"cent" | b"century" | b"centuries" => Unit::Months(1200.0),
        b"mil" | b"mils" | b"millennium" | b"millennia" => Unit::Months(12_000.0),
        _ => return None,
    })
}

/// Reads `1 year 2 days 03:04:05`, `1-2 3 4:05:06`, `P1Y2M3DT4H5M6S`, `@ 1 day ago`, `90` (seconds).
pub fn parse_interval(text: &[u8]) -> Result<IntervalMonthDayNano> {
    read_interval(text, Parts::default())
}

fn read_interval(text: &[u8], parts: Parts) -> Result<IntervalMonthDayNano> {
    let body = trim(text);
    let parsed = match body.split_first() {
        Some((b'P' | b'p', iso)) => parse_iso(iso),
        _ => parse_words(body, parts),
    };
    parsed.map_err(|problem| match problem {
        Problem::Syntax => invalid_syntax(sqlstate::INVALID_DATETIME_FORMAT, "interval", text),
        Problem::Range => {
            let text = String::from_utf8_lossy(text);
            HwError::new(
                sqlstate::INTERVAL_FIELD_OVERFLOW,
                format!("interval field value out of range: \"{text}\""),
            )
        }
    })
}

/// A field of `INTERVAL '…' field` and `INTERVAL '…' field TO field`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IntervalField {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
}

/// Reads an interval whose fields are named: the last is the unit of a number without one, and
/// smaller fields are cut off.
pub fn parse_interval_fields(
    text: &str,
    first: IntervalField,
    last: IntervalField,
) -> Result<IntervalMonthDayNano> {
    use IntervalField as F;
    let unit = match last {
        F::Year => Unit::Months(12.0),
        F::Month => Unit::Months(1.0),
        F::Day => Unit::Days(1.0),
        F::Hour => Unit::Micros(MICROS_PER_HOUR),
        F::Minute => Unit::Micros(60e6),
        F::Second => Unit::Micros(1e6),
    };
    let minutes_first = (first, last) == (F::Minute, F::Second);
    let parts = Parts { bare: Some(unit), minutes_first, ..Parts::default() };
    let i = read_interval(text.as_bytes(), parts)?;
    let whole = |seconds: i64| {
        let nanos = seconds * 1_000_000_000;
        IntervalMonthDayNano::new(i.months, i.days, i.nanoseconds / nanos * nanos)
    };
    Ok(match last {
        F::Year => IntervalMonthDayNano::new(i.months / 12 * 12, 0, 0),
        F::Month => IntervalMonthDayNano::new(i.months, 0, 0),
        F::Day => IntervalMonthDayNano::new(i.months, i.days, 0),
        F::Hour => whole(3600),
        F::Minute => whole(60),
        F::Second => i,
    })
}

/// Splits off a signed decimal number.
fn take_number(text: &[u8]) -> Result<(f64, &[u8]), Problem> {
    let signed = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    let length = signed.iter().take_while(|b| b.is_ascii_digit() || **b == b'.').count();
    let end = text.len() - signed.len() + length;
    let number = std::str::from_utf8(&text[..end]).ok().and_then(|t| t.parse::<f64>().ok());
    number.map(|n| (n, &text[end..])).ok_or(Problem::Syntax)
}

fn skip_space(text: &[u8]) -> &[u8] {
    let space = text.iter().take_while(|b| b.is_ascii_whitespace() || **b == b',').count();
    &text[space..]
}

/// After the `P`.
fn parse_iso(mut rest: &[u8]) -> Result<IntervalMonthDayNano, Problem> {
    let mut parts = Parts::default();
    let date_length = rest.iter().take_while(|b| b.is_ascii_digit() || **b == b'-').count();
    let ends = matches!(rest.get(date_length), None | Some(b'T' | b't'));
    if ends && rest[..date_length].contains(&b'-') {
        return parse_iso_alternative(rest, date_length);
    }
    let mut in_time = false;
    if rest.is_empty() {
        return Err(Problem::Syntax);
    }
    while let Some(first) = rest.first() {
        if matches!(first, b'T' | b't') && !in_time && rest.len() > 1 {
            in_time = true;
            rest = &rest[1..];
            continue;
        }
        let (number, after) = take_number(rest)?;
        let (letter, after) = after.split_first().ok_or(Problem::Syntax)?;
        let unit = match (letter.to_ascii_uppercase(), in_time) {
            (b'Y', false) => Unit::Months(12.0),
            (b'M', false) => Unit::Months(1.0),
            (b'W', false) => Unit::Days(7.0),
            (b'D', false) => Unit::Days(1.0),
            (b'H', true) => Unit::Micros(MICROS_PER_HOUR),
            (b'M', true) => Unit::Micros(60e6),
            (b'S', true) => Unit::Micros(1e6),
            _ => return Err(Problem::Syntax),
        };
        parts.add(number, unit);
        rest = after;
    }
    parts.finish(false)
}

/// `0001-02-03T04:05:06`, ISO 8601's alternative form.
fn parse_iso_alternative(text: &[u8], date_length: usize) -> Result<IntervalMonthDayNano, Problem> {
    let mut parts = Parts::default();
    let fields: Vec<&[u8]> = text[..date_length].split(|b| *b == b'-').collect();
    let units = [Unit::Months(12.0), Unit::Months(1.0), Unit::Days(1.0)];
    if fields.len() != units.len() {
        return Err(Problem::Syntax);
    }
    for (field, unit) in fields.into_iter().zip(units) {
        let (number, rest) = take_number(field)?;
        if !rest.is_empty() {
            return Err(Problem::Syntax);
        }
        parts.add(number, unit);
    }
    let rest = match text[date_length..].split_first() {
        Some((_, clock)) => parse_clock(clock, &mut parts)?,
        None => &[],
    };
    if rest.is_empty() { parts.finish(false) } else { Err(Problem::Syntax) }
}

fn parse_words(text: &[u8], mut parts: Parts) -> Result<IntervalMonthDayNano, Problem> {
    let mut rest = skip_space(text.strip_prefix(b"@").unwrap_or(text));
    let mut fields = 0;
    let mut ago = false;
    while !rest.is_empty() {
        if ago {
            return Err(Problem::Syntax);
        }
        if rest.len() >= 3 && rest[..3].eq_ignore_ascii_case(b"ago") && fields > 0 {
            ago = true;
            rest = skip_space(&rest[3..]);
            continue;
        }
        rest = skip_space(parse_field(rest, &mut parts)?);
        fields += 1;
    }
    if fields == 0 {
        return Err(Problem::Syntax);
    }
    parts.finish(ago)
}

/// One field: `[-]h:mm[:ss[.f]]`, `[-]years-months`, `number unit`, or a bare number, which is
/// days in front of a time and seconds at the end.
fn parse_field<'a>(text: &'a [u8], parts: &mut Parts) -> Result<&'a [u8], Problem> {
    let (number, after) = take_number(text)?;
    match after.first() {
        Some(b':') => parse_clock(text, parts),
        Some(b'-') => {
            let digits = after[1..].iter().take_while(|b| b.is_ascii_digit()).count();
            let months = std::str::from_utf8(&after[1..=digits]).ok().and_then(|m| m.parse::<f64>().ok());
            let months = months.filter(|m| *m < 12.0).ok_or(Problem::Syntax)?;
            // `2020-01-01` is a date.
            if after.get(1 + digits).is_some_and(|b| !b.is_ascii_whitespace() && *b != b',') {
                return Err(Problem::Syntax);
            }
            let sign = if text[0] == b'-' { -1.0 } else { 1.0 };
            parts.add(number * 12.0 + sign * months, Unit::Months(1.0));
            Ok(&after[1 + digits..])
        }
        _ => {
            let after = skip_space(after);
            let length = after.iter().take_while(|b| b.is_ascii_alphabetic()).count();
            if length == 0 {
                let last = parts.bare.unwrap_or(Unit::Micros(1e6));
                let bare = if after.is_empty() { last } else { Unit::Days(1.0) };
                let unsigned = after.strip_prefix(b"-").or_else(|| after.strip_prefix(b"+")).unwrap_or(after);
                let clock = unsigned.iter().position(|b| !b.is_ascii_digit()).map(|at| unsigned[at]);
                if !after.is_empty() && clock != Some(b':') {
                    return Err(Problem::Syntax);
                }
                parts.add(number, bare);
                return Ok(after);
            }
            if after[..length].eq_ignore_ascii_case(b"ago") {
                parts.add(number, Unit::Micros(1e6));
                return Ok(after);
            }
            parts.add(number, unit(&after[..length]).ok_or(Problem::Syntax)?);
            Ok(&after[length..])
        }
    }
}

fn parse_clock<'a>(text: &'a [u8], parts: &mut Parts) -> Result<&'a [u8], Problem> {
    let (sign, unsigned) = match text.split_first() {
        Some((b'-', rest)) => (-1.0, rest),
        Some((b'+', rest)) => (1.0, rest),
        _ => (1.0, text),
    };
    let length = unsigned.iter().take_while(|b| b.is_ascii_digit() || matches!(b, b':' | b'.')).count();
    let clock = std::str::from_utf8(&unsigned[..length]).map_err(|_| Problem::Syntax)?;
    let mut fields = [0.0f64; 3];
    let mut given = 0;
    for field in clock.split(':') {
        if given == 3
            || field.is_empty()
            || (given < 2 && field.contains('.') && clock.matches(':').count() > 1)
        {
            return Err(Problem::Syntax);
        }
        fields[given] = field.parse().map_err(|_| Problem::Syntax)?;
        given += 1;
    }
    let [mut hours, mut minutes, mut seconds] = fields;
    if given == 2 && (clock.contains('.') || parts.minutes_first) {
        (hours, minutes, seconds) = (0.0, hours, minutes);
    }
    if minutes >= 60.0 || seconds >= 61.0 {
        return Err(Problem::Range);
    }
    let whole = hours * MICROS_PER_HOUR + minutes * 60e6;
    parts.micros += sign * (whole + (seconds * 1e6).round_ties_even());
    Ok(&unsigned[length..])
}
