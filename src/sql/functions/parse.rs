//! PostgreSQL's input syntax of dates, times, timestamps and intervals.
//!
//! Used by casts from text. Timestamps outside the carrier's range raise 22008, malformed
//! text 22007. `infinity` and `-infinity` are the largest and smallest carrier values.

use arrow::datatypes::IntervalMonthDayNano;

use super::zone::{
    Civil, MICROS_PER_DAY, MICROS_PER_SECOND, Zone, days_in_month, days_of_civil, parse_offset,
};
use crate::error::{HwError, Result, sqlstate};

/// What a date/time text says.
struct Parsed {
    days: Option<i64>,
    time: Option<i64>,
    zone: Option<Zone>,
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

fn malformed(typname: &str, text: &str) -> HwError {
    HwError::new(
        sqlstate::INVALID_DATETIME_FORMAT,
        format!("invalid input syntax for type {typname}: \"{text}\""),
    )
}

fn field_overflow(text: &str) -> HwError {
    HwError::new(sqlstate::DATETIME_FIELD_OVERFLOW, format!("date/time field value out of range: \"{text}\""))
}

/// A timestamp as wall-clock microseconds, and the zone if the text names one.
pub fn parse_timestamp(text: &str, typname: &str) -> Result<(i64, Option<Zone>)> {
    match text.trim().to_ascii_lowercase().as_str() {
        "infinity" => return Ok((i64::MAX, Some(Zone::UTC))),
        "-infinity" => return Ok((i64::MIN, Some(Zone::UTC))),
        "epoch" => return Ok((0, Some(Zone::UTC))),
        _ => {}
    }
    let parsed = parse_datetime(text, typname)?;
    let days = parsed.days.ok_or_else(|| malformed(typname, text))?;
    let micros = days
        .checked_mul(MICROS_PER_DAY)
        .and_then(|d| d.checked_add(parsed.time.unwrap_or(0)))
        .ok_or_else(|| field_overflow(text))?;
    Ok((micros, parsed.zone))
}

pub fn parse_date(text: &str) -> Result<i32> {
    match text.trim().to_ascii_lowercase().as_str() {
        "infinity" => return Ok(i32::MAX),
        "-infinity" => return Ok(i32::MIN),
        "epoch" => return Ok(0),
        _ => {}
    }
    let days = parse_datetime(text, "date")?.days.ok_or_else(|| malformed("date", text))?;
    i32::try_from(days).map_err(|_| field_overflow(text))
}

pub fn parse_time(text: &str) -> Result<i64> {
    parse_datetime(text, "time")?.time.ok_or_else(|| malformed("time", text))
}

fn parse_datetime(text: &str, typname: &str) -> Result<Parsed> {
    let mut parsed = Parsed { days: None, time: None, zone: None };
    let mut bc = false;
    let mut loose: Vec<String> = vec![];
    for word in text.split_whitespace() {
        let split = match word.find(['T', 't']) {
            Some(at) if at >= 6 && word.as_bytes()[0].is_ascii_digit() => {
                Some((&word[..at], &word[at + 1..]))
            }
            _ => None,
        };
        let words = split.map_or(vec![word], |(date, time)| vec![date, time]);
        for w in words {
            if w.contains(':') && !w.starts_with(['+', '-']) {
                let at = w[1..].find(['+', '-', 'Z', 'z']).map_or(w.len(), |p| p + 1);
                parsed.time = Some(clock(&w[..at]).ok_or_else(|| malformed(typname, text))??);
                if at < w.len() {
                    parsed.zone = Some(Zone::parse(&w[at..])?);
                }
            } else if let Some(days) = numeric_date(w) {
                parsed.days = Some(days.ok_or_else(|| field_overflow(text))?);
            } else if w.eq_ignore_ascii_case("bc") {
                bc = true;
            } else if w.eq_ignore_ascii_case("ad") {
            } else if let (true, Some(offset)) = (parsed.time.is_some(), parse_offset(w)) {
                parsed.zone = Some(Zone::Fixed(offset));
            } else if let (Some(pm), Some(time)) = (meridiem(w), parsed.time) {
                let hour12 = time % (12 * 3600 * MICROS_PER_SECOND);
                parsed.time = Some(hour12 + if pm { MICROS_PER_DAY / 2 } else { 0 });
            } else if parsed.days.is_some() && w.chars().all(|c| c.is_alphabetic() || c == '/' || c == '_') {
                parsed.zone = Some(Zone::parse(w).map_err(|_| malformed(typname, text))?);
            } else {
                loose.push(w.trim_end_matches(',').to_ascii_lowercase());
            }
        }
    }
    if !loose.is_empty() {
        let days = named_date(&loose).ok_or_else(|| malformed(typname, text))?;
        parsed.days = Some(days.ok_or_else(|| field_overflow(text))?);
    }
    if bc && let Some(days) = parsed.days {
        let c = Civil::of_micros(days.saturating_mul(MICROS_PER_DAY));
        parsed.days = Some(days_of_civil(1 - c.year, c.month, c.day));
    }
    if parsed.days.is_none() && parsed.time.is_none() {
        return Err(malformed(typname, text));
    }
    Ok(parsed)
}

fn meridiem(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "am" => Some(false),
        "pm" => Some(true),
        _ => None,
    }
}

/// `HH:MM[:SS[.ffffff]]`; the inner error is 22008.
fn clock(text: &str) -> Option<Result<i64>> {
    let mut parts = text.split(':');
    let hour: i64 = parts.next()?.parse().ok()?;
    let minute: i64 = parts.next()?.parse().ok()?;
    let second = parts.next().unwrap_or("0");
    if parts.next().is_some() {
        return None;
    }
    let micros = fraction_micros(second)?;
    let whole_day = hour == 24 && minute == 0 && micros == 0;
    if !(0..24).contains(&hour) && !whole_day || minute > 59 || micros > 60 * MICROS_PER_SECOND {
        return Some(Err(field_overflow(text)));
    }
    Some(Ok((hour * 60 + minute) * 60 * MICROS_PER_SECOND + micros))
}

/// Seconds with a fraction as microseconds, rounded.
fn fraction_micros(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let digits: String = fraction.chars().chain("0000000".chars()).take(7).collect();
    let tenths: i64 = digits.parse().ok()?;
    seconds.checked_mul(MICROS_PER_SECOND)?.checked_add((tenths + 5) / 10)
}

/// `Y-M-D`, `M/D/Y` or `YYYYMMDD`; the inner `None` is a day that does not exist.
fn numeric_date(text: &str) -> Option<Option<i64>> {
    if text.len() == 8 && text.bytes().all(|b| b.is_ascii_digit()) {
        return Some(day(text[..4].parse().ok()?, text[4..6].parse().ok()?, text[6..].parse().ok()?));
    }
    let iso: Vec<&str> = text.split('-').collect();
    if let [y, m, d] = iso[..]
        && y.len() >= 3
    {
        let month = m.parse().ok().or_else(|| month_number(m))?;
        return Some(day(y.parse().ok()?, month, d.parse().ok()?));
    }
    let us: Vec<&str> = text.split('/').collect();
    if let [m, d, y] = us[..] {
        return Some(day(y.parse().ok()?, m.parse().ok()?, d.parse().ok()?));
    }
    None
}

fn day(year: i64, month: u32, day: u32) -> Option<i64> {
    let exists = (1..=12).contains(&month) && day >= 1 && day <= days_in_month(year, month);
    (exists && year.abs() < 5_900_000).then(|| days_of_civil(year, month, day))
}

fn month_number(word: &str) -> Option<u32> {
    let short = word.get(..3)?.to_ascii_lowercase();
    MONTHS.iter().position(|m| *m == short).map(|i| i as u32 + 1)
}

/// `Jan 8 1999`, `8 January 1999`.
fn named_date(words: &[String]) -> Option<Option<i64>> {
    let month = words.iter().find_map(|w| month_number(w).filter(|_| w.len() >= 3))?;
    let numbers: Vec<i64> = words.iter().filter_map(|w| w.parse().ok()).collect();
    let [a, b] = numbers[..] else { return None };
    let (d, y) = if a > 31 { (b, a) } else { (a, b) };
    Some(day(y, month, u32::try_from(d).ok()?))
}

/// Any of PostgreSQL's forms of an interval.
pub fn parse_interval(text: &str) -> Result<IntervalMonthDayNano> {
    crate::types::text::parse_interval(text.as_bytes())
}
