//! Time zones and the calendar: microseconds ⇄ civil date and time.
//!
//! A [`Zone`] is an IANA zone or a fixed offset, as `SET TIME ZONE` and `AT TIME ZONE`
//! accept them. Days and microseconds use the proleptic Gregorian calendar over the whole
//! range of the carriers, so nothing here goes through a type with a smaller range.

use chrono::TimeZone;
use datafusion::common::config::ConfigOptions;

use crate::error::{HwError, Result, sqlstate};
use crate::types::text;

pub const MICROS_PER_SECOND: i64 = 1_000_000;
pub const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// A time zone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Zone {
    Named(chrono_tz::Tz),
    /// Seconds east of Greenwich.
    Fixed(i32),
}

impl From<text::Zone> for Zone {
    fn from(zone: text::Zone) -> Zone {
        match zone {
            text::Zone::Utc => Zone::UTC,
            text::Zone::Fixed(seconds) => Zone::Fixed(seconds),
            text::Zone::Named(tz) => Zone::Named(tz),
        }
    }
}

impl From<Zone> for text::Zone {
    fn from(zone: Zone) -> text::Zone {
        match zone {
            Zone::Fixed(0) => text::Zone::Utc,
            Zone::Fixed(seconds) => text::Zone::Fixed(seconds),
            Zone::Named(tz) => text::Zone::Named(tz),
        }
    }
}

fn unknown(name: &str) -> HwError {
    HwError::new(sqlstate::INVALID_PARAMETER_VALUE, format!("time zone \"{name}\" not recognized"))
}

impl Zone {
    pub const UTC: Zone = Zone::Fixed(0);

    /// The session's `TimeZone`.
    pub fn of_config(config: &ConfigOptions) -> Result<Zone> {
        let Some(name) = config.execution.time_zone.as_deref() else { return Ok(Zone::UTC) };
        Zone::of_setting(name)
    }

    /// A zone as `SET TimeZone` takes it: names of zones come before abbreviations.
    pub fn of_setting(name: &str) -> Result<Zone> {
        text::Zone::from_name(name).map(Zone::from).ok_or_else(|| unknown(name))
    }

    /// A zone as `AT TIME ZONE` takes it: an abbreviation, which has no summer time (`cet`), a name
    /// (`Europe/Berlin`), or a POSIX offset, which counts west of Greenwich (`+03`, `<+05>-05`).
    pub fn parse(name: &str) -> Result<Zone> {
        let found = text::Zone::from_abbreviation(name.trim()).or_else(|| text::Zone::from_name(name));
        found.map(Zone::from).ok_or_else(|| unknown(name))
    }

    /// Seconds east of Greenwich at a UTC instant.
    pub fn offset_at(&self, utc_micros: i64) -> i32 {
        text::Zone::from(*self).offset_at_utc(utc_micros)
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
        text::Zone::from(*self).local_to_utc(local_micros)
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
