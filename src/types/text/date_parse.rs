//! Reads dates, times and timestamps: a straight path for ISO 8601 as machines write it, and
//! PostgreSQL's whole grammar (`date_tokens`) for the rest.
//!
//! Results are in the carriers' units: days and microseconds after 1970, with the extreme
//! values of the integer for the infinities.

use super::calendar::{days_from_civil, days_in_month};
use super::date_tokens::{self, Fields, Problem, Special};
use super::{
    DATE_INFINITY, DATE_MINUS_INFINITY, MICROS_PER_DAY, MICROS_PER_SECOND, TIMESTAMP_INFINITY,
    TIMESTAMP_MINUS_INFINITY, TextOptions, invalid_syntax,
};
use crate::error::{HwError, Result, sqlstate};

/// PostgreSQL's first day, 4714-11-24 BC, in days after 1970.
const DAY_MIN: i64 = -2_440_588;
/// The day after PostgreSQL's last date, 5874897-12-31, in days after 1970.
const DATE_END: i64 = 2_145_042_906;

/// A timestamp found on the straight path: local microseconds and offset in seconds.
struct IsoTimestamp {
    local_micros: i64,
    offset: Option<i32>,
}

/// `timestamptz`: without an offset the time is in the session's zone.
pub fn parse_timestamptz_micros(text: &[u8], options: &TextOptions) -> Result<i64> {
    if let Some(iso) = parse_iso(text) {
        return Ok(match iso.offset {
            Some(offset) => iso.local_micros - i64::from(offset) * MICROS_PER_SECOND,
            None => options.zone.local_to_utc(iso.local_micros),
        });
    }
    let read = || {
        let fields = date_tokens::read(text, options)?;
        match fields.special {
            Some(special) => special_timestamp(special, options, true),
            None => {
                let local = local_micros(&fields)?;
                let zone = fields.zone.unwrap_or(options.zone);
                Ok(zone.local_to_utc(local))
            }
        }
    };
    read().map_err(|problem| report(problem, "timestamp with time zone", "timestamp", text))
}

/// `timestamp`: an offset in the text is ignored, as in PostgreSQL.
pub fn parse_timestamp_micros(text: &[u8], options: &TextOptions) -> Result<i64> {
    if let Some(iso) = parse_iso(text) {
        return Ok(iso.local_micros);
    }
    let read = || {
        let fields = date_tokens::read(text, options)?;
        match fields.special {
            Some(special) => special_timestamp(special, options, false),
            None => local_micros(&fields),
        }
    };
    read().map_err(|problem| report(problem, "timestamp", "timestamp", text))
}

/// `date`: a time in the text is ignored.
pub fn parse_date_days(text: &[u8], options: &TextOptions) -> Result<i32> {
    if let (10, Some(days)) = (text.len(), parse_iso_date(text)) {
        return Ok(days as i32);
    }
    let read = || {
        let fields = date_tokens::read(text, options)?;
        let days = match fields.special {
            Some(Special::Infinity) => return Ok(DATE_INFINITY),
            Some(Special::MinusInfinity) => return Ok(DATE_MINUS_INFINITY),
            Some(special) => special_timestamp(special, options, false)?.div_euclid(MICROS_PER_DAY),
            None => fields.day.ok_or(Problem::Syntax)?,
        };
        if (DAY_MIN..DATE_END).contains(&days) { Ok(days as i32) } else { Err(Problem::Range) }
    };
    read().map_err(|problem| report(problem, "date", "date", text))
}

/// `time`: microseconds after midnight, 24:00:00 included; a zone in the text is ignored.
pub fn parse_time_micros(text: &[u8]) -> Result<i64> {
    if let Some(micros) = parse_iso_time(text) {
        return Ok(micros);
    }
    let options = TextOptions::default();
    date_tokens::read_time(text, &options).map_err(|problem| report(problem, "time", "time", text))
}

fn local_micros(fields: &Fields) -> Result<i64, Problem> {
    let day = fields.day.ok_or(Problem::Syntax)?;
    if day < DAY_MIN {
        return Err(Problem::Range);
    }
    let time = fields.time.unwrap_or(0);
    day.checked_mul(MICROS_PER_DAY)
        .and_then(|micros| micros.checked_add(time))
        .filter(|micros| *micros < TIMESTAMP_INFINITY - MICROS_PER_DAY)
        .ok_or(Problem::Range)
}

/// `now` and the like; local time for a type without zone.
fn special_timestamp(special: Special, options: &TextOptions, with_zone: bool) -> Result<i64, Problem> {
    let days = match special {
        Special::Infinity => return Ok(TIMESTAMP_INFINITY),
        Special::MinusInfinity => return Ok(TIMESTAMP_MINUS_INFINITY),
        Special::Epoch => return Ok(0),
        Special::Now => None,
        Special::Day(days) => Some(days),
    };
    let now = options.now_micros.ok_or(Problem::Syntax)?;
    let local = now + i64::from(options.zone.offset_at_utc(now)) * MICROS_PER_SECOND;
    let local = days.map_or(local, |days| (local.div_euclid(MICROS_PER_DAY) + days) * MICROS_PER_DAY);
    Ok(match (with_zone, days) {
        (true, None) => now,
        (true, Some(_)) => options.zone.local_to_utc(local),
        (false, _) => local,
    })
}

fn report(problem: Problem, type_name: &str, short_name: &str, text: &[u8]) -> HwError {
    let shown = String::from_utf8_lossy(text);
    match problem {
        Problem::Syntax => invalid_syntax(sqlstate::INVALID_DATETIME_FORMAT, type_name, text),
        Problem::Field | Problem::MonthDay => {
            let error = HwError::new(
                sqlstate::DATETIME_FIELD_OVERFLOW,
                format!("date/time field value out of range: \"{shown}\""),
            );
            if matches!(problem, Problem::Field) {
                return error;
            }
            error.with_hint("Perhaps you need a different \"datestyle\" setting.")
        }
        Problem::Displacement => HwError::new(
            sqlstate::INVALID_TIME_ZONE_DISPLACEMENT,
            format!("time zone displacement out of range: \"{shown}\""),
        ),
        Problem::UnknownZone(zone) => {
            HwError::new(sqlstate::INVALID_PARAMETER_VALUE, format!("time zone \"{zone}\" not recognized"))
        }
        Problem::Range => {
            HwError::new(sqlstate::DATETIME_FIELD_OVERFLOW, format!("{short_name} out of range: \"{shown}\""))
        }
    }
}

/// Two digits, or a value that no field allows.
fn two(text: &[u8], at: usize) -> u32 {
    let (tens, ones) = (text[at].wrapping_sub(b'0'), text[at + 1].wrapping_sub(b'0'));
    if tens > 9 || ones > 9 { 1000 } else { u32::from(tens) * 10 + u32::from(ones) }
}

/// Days of a leading `YYYY-MM-DD`.
fn parse_iso_date(text: &[u8]) -> Option<i64> {
    if text.len() < 10 || text[4] != b'-' || text[7] != b'-' {
        return None;
    }
    let (century, year, month, day) = (two(text, 0), two(text, 2), two(text, 5), two(text, 8));
    if century > 99 || year > 99 || month > 12 || month == 0 || day == 0 {
        return None;
    }
    let year = i64::from(century * 100 + year);
    (year > 0 && day <= days_in_month(year, month)).then(|| days_from_civil(year, month, day))
}

/// All of `HH:MM:SS[.ffffff]`.
fn parse_iso_time(text: &[u8]) -> Option<i64> {
    if text.len() < 8 || text[2] != b':' || text[5] != b':' {
        return None;
    }
    let (hour, minute, second) = (two(text, 0), two(text, 3), two(text, 6));
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut micros = i64::from(hour * 3600 + minute * 60 + second) * MICROS_PER_SECOND;
    match text[8..].split_first() {
        None => Some(micros),
        Some((b'.', fraction)) if (1..=6).contains(&fraction.len()) => {
            let mut unit = MICROS_PER_SECOND;
            for digit in fraction {
                if !digit.is_ascii_digit() {
                    return None;
                }
                unit /= 10;
                micros += i64::from(digit - b'0') * unit;
            }
            Some(micros)
        }
        Some(_) => None,
    }
}

/// All of `YYYY-MM-DD[ T]HH:MM:SS[.ffffff][Z|±hh[:mm]]`.
fn parse_iso(text: &[u8]) -> Option<IsoTimestamp> {
    let days = parse_iso_date(text)?;
    if text.len() < 19 || !matches!(text[10], b' ' | b'T' | b't') {
        return None;
    }
    let rest = &text[11..];
    let end =
        rest.iter().position(|b| !b.is_ascii_digit() && !matches!(b, b':' | b'.')).unwrap_or(rest.len());
    let local_micros = days * MICROS_PER_DAY + parse_iso_time(&rest[..end])?;
    let offset = match &rest[end..] {
        [] => None,
        [b'Z' | b'z'] => Some(0),
        zone => Some(super::zone::parse_offset(zone)?),
    };
    Some(IsoTimestamp { local_micros, offset })
}
