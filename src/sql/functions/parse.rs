//! PostgreSQL's input syntax of dates, times, timestamps and intervals, for casts from text.
//!
//! What a text means is `types::text`'s; here its results become those of the functions.
//! Words for the current time (`now`, `today`) are refused: where they are written as literals,
//! `sql/rules/clock_words` has put calls of the clock in their place.

use arrow::datatypes::IntervalMonthDayNano;

use super::zone::Zone;
use crate::error::{HwError, Result};
use crate::types::text::{self, TextOptions};

/// Whether a text stands for the current time, or a day counted from it.
pub fn is_clock_word(text: &str) -> bool {
    let word = text.trim();
    ["now", "today", "tomorrow", "yesterday"].iter().any(|w| word.eq_ignore_ascii_case(w))
}

fn with_hint(error: HwError, text: &str) -> HwError {
    match is_clock_word(text) {
        true => error.with_hint("Write now() or current_date."),
        false => error,
    }
}

/// Wall-clock microseconds; an offset in the text is ignored.
pub fn parse_timestamp(text: &str) -> Result<i64> {
    text::parse_timestamp_micros(text.as_bytes(), &TextOptions::default()).map_err(|e| with_hint(e, text))
}

/// Microseconds of UTC; without an offset in the text, of a time in `zone`.
pub fn parse_timestamptz(text: &str, zone: &Zone) -> Result<i64> {
    text::parse_timestamptz_micros(
        text.as_bytes(),
        &TextOptions { zone: (*zone).into(), ..TextOptions::default() },
    )
    .map_err(|e| with_hint(e, text))
}

pub fn parse_date(text: &str) -> Result<i32> {
    text::parse_date_days(text.as_bytes(), &TextOptions::default()).map_err(|e| with_hint(e, text))
}

pub fn parse_time(text: &str) -> Result<i64> {
    text::parse_time_micros(text.as_bytes())
}

/// Any of PostgreSQL's forms of an interval.
pub fn parse_interval(text: &str) -> Result<IntervalMonthDayNano> {
    text::parse_interval(text.as_bytes())
}
