//! Time zones and the calendar: microseconds ⇄ civil date and time.
//!
//! A [`Zone`] is an IANA zone or a fixed offset, as `SET TIME ZONE` and `AT TIME ZONE`
//! accept them. Days and microseconds use the proleptic Gregorian calendar over the whole
//! range of the carriers, so nothing here goes through a type with a smaller range.

use chrono::{Offset, TimeZone};
use datafusion::common::config::ConfigOptions;

use crate::error::{HwError, Result, sqlstate};

pub const MICROS_PER_SECOND: i64 = 1_000_000;
pub const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// A time zone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Zone {
    Named(chrono_tz::Tz),
    /// Seconds east of Greenwich.
    Fixed(i32),
}

impl Zone {
    pub const UTC: Zone = Zone::Fixed(0);

    /// The session's `TimeZone`.
    pub fn of_config(config: &ConfigOptions) -> Result<Zone> {
        config.execution.time_zone.as_deref().map_or(Ok(Zone::UTC), Zone::parse)
    }

    /// A name (`Europe/Berlin`, `utc`), or an offset: ISO in timestamps, and POSIX (west
    /// positive) in zone names, where PostgreSQL also reads a bare `+2` as ISO.
    pub fn parse(name: &str) -> Result<Zone> {
        let name = name.trim();
        if name.eq_ignore_ascii_case("utc")
            || name.eq_ignore_ascii_case("z")
            || name.eq_ignore_ascii_case("gmt")
        {
            return Ok(Zone::UTC);
        }
        if let Some(offset) = parse_offset(name) {
            return Ok(Zone::Fixed(offset));
        }
        if let Ok(tz) = name.parse::<chrono_tz::Tz>() {
            return Ok(Zone::Named(tz));
        }
        chrono_tz::TZ_VARIANTS
            .iter()
            .find(|tz| tz.name().eq_ignore_ascii_case(name))
            .map(|tz| Zone::Named(*tz))
            .ok_or_else(|| {
                HwError::new(
                    sqlstate::INVALID_PARAMETER_VALUE,
                    format!("time zone \"{name}\" not recognized"),
                )
            })
    }

    /// Seconds east of Greenwich at a UTC instant.
    pub fn offset_at(&self, utc_micros: i64) -> i32 {
        match self {
            Zone::Fixed(seconds) => *seconds,
            Zone::Named(tz) => chrono::DateTime::from_timestamp_micros(utc_micros)
                .map_or(0, |t| tz.offset_from_utc_datetime(&t.naive_utc()).fix().local_minus_utc()),
        }
    }

    /// Wall-clock microseconds of a UTC instant.
    pub fn to_local(&self, utc_micros: i64) -> i64 {
        if matches!(utc_micros, i64::MIN | i64::MAX) {
            return utc_micros;
        }
        utc_micros.saturating_add(i64::from(self.offset_at(utc_micros)) * MICROS_PER_SECOND)
    }

    /// UTC instant of a wall-clock time. A time skipped or repeated by a clock change is
    /// read with the standard-time offset, as PostgreSQL does.
    pub fn to_utc(&self, local_micros: i64) -> i64 {
        if matches!(local_micros, i64::MIN | i64::MAX) {
            return local_micros;
        }
        let Zone::Named(tz) = self else {
            return local_micros.saturating_sub(i64::from(self.offset_at(0)) * MICROS_PER_SECOND);
        };
        let Some(local) = chrono::DateTime::from_timestamp_micros(local_micros) else {
            return local_micros;
        };
        let offset = match tz.offset_from_local_datetime(&local.naive_utc()) {
            chrono::LocalResult::Single(o) => o.fix().local_minus_utc(),
            chrono::LocalResult::Ambiguous(a, b) => a.fix().local_minus_utc().min(b.fix().local_minus_utc()),
            chrono::LocalResult::None => self.offset_at(local_micros - MICROS_PER_DAY),
        };
        local_micros - i64::from(offset) * MICROS_PER_SECOND
    }

    /// The abbreviation in force (`CET`), or the offset.
    pub fn abbreviation(&self, utc_micros: i64) -> String {
        match self {
            Zone::Fixed(0) => "UTC".into(),
            Zone::Fixed(s) => format!("{}{:02}", if *s < 0 { '-' } else { '+' }, s.abs() / 3600),
            Zone::Named(tz) => chrono::DateTime::from_timestamp_micros(utc_micros)
                .map_or(String::new(), |t| tz.offset_from_utc_datetime(&t.naive_utc()).to_string()),
        }
    }
}

/// `+HH`, `-HH:MM`, `+HHMM`, `+HH:MM:SS` as seconds east.
pub fn parse_offset(text: &str) -> Option<i32> {
    let (sign, body) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => return None,
    };
    let digits: String = body.chars().filter(|c| *c != ':').collect();
    if digits.is_empty() || digits.len() > 6 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let part = |range: std::ops::Range<usize>| digits.get(range).and_then(|s| s.parse::<i32>().ok());
    let (h, m, s) = match digits.len() {
        1 | 2 => (digits.parse().ok()?, 0, 0),
        3 => (part(0..1)?, part(1..3)?, 0),
        4 => (part(0..2)?, part(2..4)?, 0),
        6 => (part(0..2)?, part(2..4)?, part(4..6)?),
        _ => return None,
    };
    (h <= 15 && m < 60 && s < 60).then_some(sign * (h * 3600 + m * 60 + s))
}

/// A civil date and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    pub year: i64,
    pub month: u32,
    pub day: u32,
    /// Microseconds of the day.
    pub time: i64,
}

impl Civil {
    pub fn of_micros(micros: i64) -> Civil {
        let (year, month, day) = civil_of_days(micros.div_euclid(MICROS_PER_DAY));
        Civil { year, month, day, time: micros.rem_euclid(MICROS_PER_DAY) }
    }
    pub fn days(&self) -> i64 {
        days_of_civil(self.year, self.month, self.day)
    }
    pub fn micros(&self) -> i64 {
        self.days().saturating_mul(MICROS_PER_DAY).saturating_add(self.time)
    }
    /// Moves by months, clamping the day to the month's length.
    pub fn add_months(mut self, months: i64) -> Civil {
        let index = self.year * 12 + i64::from(self.month) - 1 + months;
        self.year = index.div_euclid(12);
        self.month = index.rem_euclid(12) as u32 + 1;
        self.day = self.day.min(days_in_month(self.year, self.month));
        self
    }
}

pub fn days_in_month(year: i64, month: u32) -> u32 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days after 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms").
pub fn days_of_civil(year: i64, month: u32, day: u32) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let doy = (153 * (i64::from(month) + if month > 2 { -3 } else { 9 }) + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

/// Inverse of [`days_of_civil`].
pub fn civil_of_days(days: i64) -> (i64, u32, u32) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = (doy - (153 * mp + 2) / 5 + 1) as u32;
    let month = (if mp < 10 { mp + 3 } else { mp - 9 }) as u32;
    (yoe + era * 400 + i64::from(month <= 2), month, day)
}

/// ISO day of the week: Monday 1 … Sunday 7.
pub fn iso_weekday(days: i64) -> i64 {
    (days + 3).rem_euclid(7) + 1
}

/// ISO year and week.
pub fn iso_week(days: i64) -> (i64, i64) {
    let thursday = days - iso_weekday(days) + 4;
    let (year, _, _) = civil_of_days(thursday);
    (year, (thursday - days_of_civil(year, 1, 1)) / 7 + 1)
}
