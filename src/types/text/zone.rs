//! Time zones of sessions and of literals: names of the tz database or fixed offsets.
//!
//! Gaps and overlaps resolve as in PostgreSQL: a local time that does not exist is read with
//! the offset before the change, one that exists twice with the offset after it. The tz
//! tables end in 2037; later years use the rules of the year between 2010 and 2037 that has
//! the same calendar.

use std::str::FromStr;

use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::{TZ_VARIANTS, Tz};

use super::MICROS_PER_SECOND;
use super::calendar::{civil_from_days, days_from_civil};

const SECONDS_PER_DAY: i64 = 86_400;
/// The last year that the tz tables describe completely.
const TABLES_END_YEAR: i64 = 2037;
/// Largest offset, as in PostgreSQL (`MAX_TZDISP_HOUR` 15).
pub(super) const OFFSET_SECONDS_MAX: i32 = 16 * 3600;

/// Abbreviations that PostgreSQL's default set reads as fixed offsets (seconds east).
const ABBREVIATIONS: [(&str, i32); 38] = [
    ("utc", 0),
    ("gmt", 0),
    ("z", 0),
    ("zulu", 0),
    ("ut", 0),
    ("uct", 0),
    ("wet", 0),
    ("west", 3600),
    ("bst", 3600),
    ("cet", 3600),
    ("met", 3600),
    ("cest", 7200),
    ("mest", 7200),
    ("eet", 7200),
    ("eest", 10800),
    ("msk", 10800),
    ("est", -18000),
    ("edt", -14400),
    ("cst", -21600),
    ("cdt", -18000),
    ("mst", -25200),
    ("mdt", -21600),
    ("pst", -28800),
    ("pdt", -25200),
    ("akst", -32400),
    ("akdt", -28800),
    ("hst", -36000),
    ("ast", -14400),
    ("adt", -10800),
    ("nst", -12600),
    ("jst", 32400),
    ("kst", 32400),
    ("sast", 7200),
    ("ist", 7200),
    ("aest", 36000),
    ("aedt", 39600),
    ("acst", 34200),
    ("awst", 28800),
];

/// A time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Zone {
    #[default]
    Utc,
    /// Seconds east of Greenwich.
    Fixed(i32),
    Named(Tz),
}

impl Zone {
    /// A zone as `SET TimeZone` takes it: a tz name in any case, an abbreviation, or a POSIX
    /// offset such as `UTC+3` or `-02:30`, which counts **west** of Greenwich.
    pub fn from_name(name: &str) -> Option<Zone> {
        let name = name.trim();
        let any_case = || TZ_VARIANTS.iter().find(|tz| tz.name().eq_ignore_ascii_case(name)).copied();
        if let Some(tz) = Tz::from_str(name).ok().or_else(any_case) {
            return Some(if matches!(tz, Tz::UTC | Tz::Etc__UTC) { Zone::Utc } else { Zone::Named(tz) });
        }
        if let Some(zone) = Zone::from_abbreviation(name) {
            return Some(zone);
        }
        let digits = match name.strip_prefix('<') {
            Some(quoted) => quoted.find('>')? + 2,
            None => name.find(|c: char| !c.is_ascii_alphabetic())?,
        };
        let west = parse_offset(&name.as_bytes()[digits..])
            .or_else(|| parse_offset(format!("+{}", &name[digits..]).as_bytes()))?;
        Some(Zone::Fixed(-west))
    }

    /// A fixed zone for an abbreviation such as `PST`.
    pub fn from_abbreviation(name: &str) -> Option<Zone> {
        let found = ABBREVIATIONS.iter().find(|(abbreviation, _)| abbreviation.eq_ignore_ascii_case(name))?;
        Some(if found.1 == 0 { Zone::Utc } else { Zone::Fixed(found.1) })
    }

    /// The name that `SHOW TimeZone` prints.
    pub fn name(&self) -> String {
        match self {
            Zone::Utc => "UTC".to_string(),
            Zone::Named(tz) => tz.name().to_string(),
            Zone::Fixed(east) => {
                let (sign, posix) = if *east < 0 { ('-', '+') } else { ('+', '-') };
                let (h, m) = (east.abs() / 3600, east.abs() / 60 % 60);
                let minutes = if m == 0 { String::new() } else { format!(":{m:02}") };
                format!("<{sign}{h:02}{minutes}>{posix}{h:02}{minutes}")
            }
        }
    }

    /// Seconds east of Greenwich at a UTC time in microseconds after 1970.
    pub fn offset_at_utc(&self, utc_micros: i64) -> i32 {
        match self {
            Zone::Utc => 0,
            Zone::Fixed(east) => *east,
            Zone::Named(tz) => named_offset(tz, utc_micros.div_euclid(MICROS_PER_SECOND)),
        }
    }

    /// UTC microseconds of a local time; saturates at the ends of the range.
    pub fn local_to_utc(&self, local_micros: i64) -> i64 {
        let shifted = |offset: i32| local_micros.saturating_sub(i64::from(offset) * MICROS_PER_SECOND);
        let Zone::Named(_) = self else {
            return shifted(self.offset_at_utc(local_micros));
        };
        let day = SECONDS_PER_DAY * MICROS_PER_SECOND;
        let before = self.offset_at_utc(local_micros.saturating_sub(day));
        let after = self.offset_at_utc(local_micros.saturating_add(day));
        let after_is_valid = self.offset_at_utc(shifted(after)) == after;
        if before == after || after_is_valid { shifted(after) } else { shifted(before) }
    }
}

fn named_offset(tz: &Tz, utc_seconds: i64) -> i32 {
    let days = utc_seconds.div_euclid(SECONDS_PER_DAY);
    let (year, month, day) = civil_from_days(days);
    let seconds = if year > TABLES_END_YEAR {
        let day = if month == 2 && day == 29 { 29 } else { day };
        days_from_civil(same_calendar_year(year), month, day) * SECONDS_PER_DAY
            + utc_seconds.rem_euclid(SECONDS_PER_DAY)
    } else {
        utc_seconds
    };
    let utc = DateTime::from_timestamp(seconds, 0).unwrap_or(DateTime::UNIX_EPOCH).naive_utc();
    tz.offset_from_utc_datetime(&utc).fix().local_minus_utc()
}

/// The year in 2010..=2037 with the same weekdays and length; one exists for every year.
fn same_calendar_year(year: i64) -> i64 {
    let leap = |y: i64| days_from_civil(y + 1, 1, 1) - days_from_civil(y, 1, 1);
    let weekday = |y: i64| days_from_civil(y, 1, 1).rem_euclid(7);
    (2010..=TABLES_END_YEAR)
        .find(|y| leap(*y) == leap(year) && weekday(*y) == weekday(year))
        .unwrap_or(TABLES_END_YEAR)
}

/// `±hh`, `±hhmm`, `±hh:mm`, `±hh:mm:ss` as seconds; `None` if it is none of these or too far.
pub(super) fn parse_offset(text: &[u8]) -> Option<i32> {
    let (sign, rest) = match text.split_first()? {
        (b'+', rest) => (1, rest),
        (b'-', rest) => (-1, rest),
        _ => return None,
    };
    let mut parts = [0i32; 3];
    let mut given = 0;
    for part in rest.split(|b| *b == b':') {
        if given == 3 || part.is_empty() || part.len() > 6 || !part.iter().all(u8::is_ascii_digit) {
            return None;
        }
        parts[given] = part.iter().fold(0, |n, b| n * 10 + i32::from(b - b'0'));
        given += 1;
    }
    if given == 1 && rest.len() > 2 {
        parts = match rest.len() {
            3 | 4 => [parts[0] / 100, parts[0] % 100, 0],
            5 | 6 => [parts[0] / 10_000, parts[0] / 100 % 100, parts[0] % 100],
            _ => return None,
        };
    }
    let [hours, minutes, seconds] = parts;
    let total = hours * 3600 + minutes * 60 + seconds;
    (minutes < 60 && seconds < 60 && total < OFFSET_SECONDS_MAX).then_some(sign * total)
}
