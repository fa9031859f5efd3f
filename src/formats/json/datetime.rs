//! Text to dates and times, ISO 8601 as PostgreSQL reads and writes it.
//!
//! In: `2026-11-21`, `2026-11-21T10:20:30.123456+01:00`, `2026-11-21 10:20:30 UTC`,
//! `10:20:30.5`, years of four to six digits, a trailing ` BC`, `infinity`, `epoch`. Out:
//! days, microseconds of the day, or microseconds after 1970-01-01. Fractions beyond
//! microseconds are rounded. A zone moves a timestamptz and is ignored by a timestamp, as in
//! PostgreSQL; a timestamptz without a zone is UTC. The calendar is proleptic Gregorian
//! (Hinnant, "chrono-compatible low-level date algorithms"). 22007: not such a text; 22008:
//! a field or the whole is out of range.

use super::values::trim;
use crate::error::{HwError, sqlstate};

const DAY_MICROS: i64 = 86_400_000_000;
/// 4714-11-24 BC and 5874897-12-31, PostgreSQL's first and last date.
const DATE_MIN: i64 = -2_440_588;
const DATE_MAX: i64 = 2_145_042_905;
/// PostgreSQL's first timestamp, and the end (exclusive) of what the carrier holds, in
/// January 294247; the largest value stands for infinity.
const TIMESTAMP_MIN: i64 = DATE_MIN * DAY_MICROS;
const TIMESTAMP_END: i64 = i64::MAX;

/// Why a text is no date or time.
enum Bad {
    Syntax,
    Field,
}

type Parse<T> = Result<T, Bad>;

struct Cursor<'a> {
    bytes: &'a [u8],
    pos: usize,
}

impl<'a> Cursor<'a> {
    fn new(text: &'a str) -> Self {
        Cursor { bytes: text.as_bytes(), pos: 0 }
    }

    #[inline(always)]
    fn peek(&self) -> u8 {
        self.bytes.get(self.pos).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn take(&mut self, byte: u8) -> bool {
        let same = self.peek() == byte;
        self.pos += same as usize;
        same
    }

    /// An unsigned number of `min..=max` digits.
    #[inline(always)]
    fn digits(&mut self, min: usize, max: usize) -> Parse<i64> {
        let start = self.pos;
        let mut value = 0i64;
        while self.pos - start < max && self.peek().is_ascii_digit() {
            value = value * 10 + (self.peek() - b'0') as i64;
            self.pos += 1;
        }
        if self.pos - start < min { Err(Bad::Syntax) } else { Ok(value) }
    }

    fn skip_spaces(&mut self) {
        while self.take(b' ') {}
    }

    fn at_end(&self) -> bool {
        self.pos == self.bytes.len()
    }
}

/// Days from 1970-01-01 of a proleptic Gregorian date.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = year - (month <= 2) as i64;
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Year, month, day as written, the year not yet made negative by ` BC`.
#[inline(always)]
fn civil(c: &mut Cursor<'_>) -> Parse<(i64, i64, i64)> {
    let start = c.pos;
    let year = c.digits(4, 8)?;
    if c.pos - start == 8 {
        return Ok((year / 10_000, year / 100 % 100, year % 100));
    }
    if !c.take(b'-') {
        return Err(Bad::Syntax);
    }
    let month = c.digits(1, 2)?;
    if !c.take(b'-') {
        return Err(Bad::Syntax);
    }
    Ok((year, month, c.digits(1, 2)?))
}

fn checked_days((year, month, day): (i64, i64, i64), before_christ: bool) -> Parse<i64> {
    if year == 0 {
        return Err(Bad::Field);
    }
    let year = if before_christ { 1 - year } else { year };
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return Err(Bad::Field);
    }
    Ok(days_from_civil(year, month, day))
}

/// Microseconds of the day; `24:00:00` and second 60 are allowed.
#[inline(always)]
fn clock(c: &mut Cursor<'_>) -> Parse<i64> {
    let hour = c.digits(1, 2)?;
    if !c.take(b':') {
        return Err(Bad::Syntax);
    }
    let minute = c.digits(2, 2)?;
    let mut second = 0;
    let mut micros = 0;
    if c.take(b':') {
        second = c.digits(2, 2)?;
        if c.take(b'.') {
            micros = fraction(c)?;
        }
    }
    let total = (hour * 3_600 + minute * 60 + second) * 1_000_000 + micros;
    if hour > 24 || minute > 59 || second > 60 || total > DAY_MICROS {
        return Err(Bad::Field);
    }
    Ok(total)
}

#[inline(always)]
fn fraction(c: &mut Cursor<'_>) -> Parse<i64> {
    let start = c.pos;
    let mut micros = c.digits(1, 6)?;
    for _ in c.pos - start..6 {
        micros *= 10;
    }
    let round_up = matches!(c.peek(), b'5'..=b'9');
    while c.peek().is_ascii_digit() {
        c.pos += 1;
    }
    Ok(micros + round_up as i64)
}

/// Seconds east of UTC, if a zone follows.
#[inline(always)]
fn zone(c: &mut Cursor<'_>) -> Parse<Option<i64>> {
    c.skip_spaces();
    let sign = match c.peek() {
        b'+' => 1,
        b'-' => -1,
        b'z' | b'Z' => {
            c.pos += 1;
            return Ok(Some(0));
        }
        _ => {
            let rest = c.bytes.get(c.pos..c.pos + 3).unwrap_or_default();
            let named = rest.eq_ignore_ascii_case(b"utc") || rest.eq_ignore_ascii_case(b"gmt");
            c.pos += if named { 3 } else { 0 };
            return Ok(named.then_some(0));
        }
    };
    c.pos += 1;
    let start = c.pos;
    let mut hour = c.digits(1, 4)?;
    let mut minute = 0;
    let mut second = 0;
    if c.pos - start > 2 {
        (hour, minute) = (hour / 100, hour % 100);
    } else if c.take(b':') {
        minute = c.digits(2, 2)?;
        if c.take(b':') {
            second = c.digits(2, 2)?;
        }
    }
    if hour > 15 || minute > 59 || second > 59 {
        return Err(Bad::Field);
    }
    Ok(Some(sign * (hour * 3_600 + minute * 60 + second)))
}

fn before_christ(c: &mut Cursor<'_>) -> bool {
    c.skip_spaces();
    let rest = c.bytes.get(c.pos..).unwrap_or_default();
    let found = rest.eq_ignore_ascii_case(b"bc");
    c.pos += if found || rest.eq_ignore_ascii_case(b"ad") { 2 } else { 0 };
    found
}

fn end(c: &Cursor<'_>) -> Parse<()> {
    if c.at_end() { Ok(()) } else { Err(Bad::Syntax) }
}

/// Microseconds after 1970-01-01 00:00, and the zone's offset in microseconds if written.
fn timestamp(text: &str) -> Parse<(i64, Option<i64>)> {
    let mut c = Cursor::new(text);
    let date = civil(&mut c)?;
    let mut time = 0;
    let mut offset = None;
    let separated = c.take(b'T') || c.take(b't');
    c.skip_spaces();
    if separated || c.peek().is_ascii_digit() {
        time = clock(&mut c)?;
        offset = zone(&mut c)?;
    } else if !c.at_end() {
        offset = zone(&mut c)?;
    }
    let bc = before_christ(&mut c);
    end(&c)?;
    let days = checked_days(date, bc)?;
    let micros = days.checked_mul(DAY_MICROS).and_then(|d| d.checked_add(time)).ok_or(Bad::Field)?;
    Ok((micros, offset.map(|s| s * 1_000_000)))
}

fn special_timestamp(text: &str) -> Option<i64> {
    match text.to_ascii_lowercase().as_str() {
        "infinity" | "+infinity" => Some(i64::MAX),
        "-infinity" => Some(i64::MIN),
        "epoch" => Some(0),
        _ => None,
    }
}

#[cold]
fn report(bad: Bad, type_name: &str, text: &str) -> HwError {
    let shown: String = text.chars().take(200).collect();
    match bad {
        Bad::Syntax => HwError::new(
            sqlstate::INVALID_DATETIME_FORMAT,
            format!("invalid input syntax for type {type_name}: \"{shown}\""),
        ),
        Bad::Field => HwError::new(
            sqlstate::DATETIME_FIELD_OVERFLOW,
            format!("date/time field value out of range: \"{shown}\""),
        ),
    }
}

/// True if PostgreSQL's timestamp can hold `micros`.
pub fn timestamp_in_range(micros: i64) -> bool {
    (TIMESTAMP_MIN..TIMESTAMP_END).contains(&micros)
}

/// Microseconds after 1970-01-01; `with_zone` tells timestamptz from timestamp.
pub fn parse_timestamp(text: &str, with_zone: bool) -> Result<i64, HwError> {
    let trimmed = trim(text);
    let type_name = if with_zone { "timestamp with time zone" } else { "timestamp" };
    let parsed = match timestamp(trimmed) {
        Ok((local, offset)) => {
            let east = if with_zone { offset.unwrap_or(0) } else { 0 };
            local.checked_sub(east).filter(|t| timestamp_in_range(*t)).ok_or(Bad::Field)
        }
        Err(bad) => special_timestamp(trimmed).ok_or(bad),
    };
    parsed.map_err(|bad| report(bad, type_name, text))
}

/// Days after 1970-01-01. The time of day of a full timestamp is dropped, as in PostgreSQL.
pub fn parse_date(text: &str) -> Result<i32, HwError> {
    let trimmed = trim(text);
    let date_only = || {
        let mut c = Cursor::new(trimmed);
        let date = civil(&mut c)?;
        let bc = before_christ(&mut c);
        end(&c)?;
        checked_days(date, bc)
    };
    let days = match date_only() {
        Ok(days) => Ok(days),
        Err(Bad::Field) => Err(Bad::Field),
        Err(Bad::Syntax) => match timestamp(trimmed) {
            Ok((micros, _)) => Ok(micros.div_euclid(DAY_MICROS)),
            Err(bad) => match special_timestamp(trimmed) {
                Some(i64::MAX) => return Ok(i32::MAX),
                Some(i64::MIN) => return Ok(i32::MIN),
                Some(_) => Ok(0),
                None => Err(bad),
            },
        },
    };
    let in_range =
        days.and_then(|d| if (DATE_MIN..=DATE_MAX).contains(&d) { Ok(d as i32) } else { Err(Bad::Field) });
    in_range.map_err(|bad| report(bad, "date", text))
}

/// Microseconds of the day. A zone is ignored, as PostgreSQL's `time` does.
pub fn parse_time(text: &str) -> Result<i64, HwError> {
    let parse = || {
        let mut c = Cursor::new(trim(text));
        let micros = clock(&mut c)?;
        zone(&mut c)?;
        end(&c)?;
        Ok(micros)
    };
    parse().map_err(|bad| report(bad, "time", text))
}
