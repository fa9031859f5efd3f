//! PostgreSQL's text and binary forms of every SQL type.
//!
//! Out: a [`ColumnWriter`] is built once per column of a batch and appends the text or the
//! binary form of any row to a buffer, without allocating per value. In: [`parse_text`] and
//! [`parse_binary`] turn a literal or a parameter into a `ScalarValue` of the type's carrier;
//! the functions underneath (`parse_timestamptz_micros`, `parse_numeric`, `canonical_jsonb`, …)
//! take bytes and are meant for decoders, too. Output is byte for byte what PostgreSQL 15
//! prints with DateStyle ISO, IntervalStyle postgres, bytea_output hex and
//! extra_float_digits 1; errors carry PostgreSQL's messages and SQLSTATEs. Nothing here reads
//! a clock or knows about connections.

mod array;
pub use array::split as array_elements;
mod binary;
mod calendar;
mod column;
mod date_parse;
mod date_tokens;
mod interval;
mod json;
mod json_string;
mod number;
mod scalar;
mod zone;

#[cfg(test)]
mod tests;

pub use binary::parse_binary;
pub use calendar::{civil_from_days, days_from_civil, write_date, write_time, write_timestamp};
pub use column::ColumnWriter;
pub use date_parse::{parse_date_days, parse_time_micros, parse_timestamp_micros, parse_timestamptz_micros};
pub use interval::{IntervalField, parse_interval, parse_interval_fields, write_interval};
pub use json::{canonical_jsonb, check_json};
pub use json_string::quote_json;
pub use number::{
    NumericStyle, infinity_overflow, parse_float4, parse_float8, parse_integer, parse_numeric, special_float,
    special_numeric, write_float4, write_float8, write_integer, write_numeric,
};
pub use scalar::{parse_bool, parse_bytea, parse_text, parse_uuid, write_bytea, write_uuid};
pub use zone::Zone;

/// Microseconds rounded to so many digits of a second, halves away from zero; infinity stays.
pub fn round_micros(at: i64, digits: i64) -> i64 {
    let unit = 10i64.pow((6 - digits.clamp(0, 6)) as u32);
    if at == i64::MAX || at == i64::MIN {
        return at;
    }
    at.saturating_add(at.signum() * (unit / 2)) / unit * unit
}

/// A timestamp rounded so: halves away from 2000-01-01, from where PostgreSQL counts.
pub fn round_timestamp(at: i64, digits: i64) -> i64 {
    match at.checked_sub(POSTGRES_EPOCH_MICROS) {
        Some(since) if !matches!(at, i64::MIN | i64::MAX) => {
            round_micros(since, digits).saturating_add(POSTGRES_EPOCH_MICROS)
        }
        _ => at,
    }
}

/// Order of day and month in dates such as `01/02/2021` (the second half of DateStyle).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DateOrder {
    #[default]
    Mdy,
    Dmy,
    Ymd,
}

/// What a session's settings change about reading and printing values.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TextOptions {
    /// `TimeZone`: timestamptz is printed in it, and read in it when there is no offset.
    pub zone: Zone,
    pub date_order: DateOrder,
    /// Microseconds after 1970 UTC that `now`, `today` and the like stand for; without it
    /// these words are refused.
    pub now_micros: Option<i64>,
}

/// `infinity` of timestamps.
pub const TIMESTAMP_INFINITY: i64 = i64::MAX;
/// `-infinity` of timestamps.
pub const TIMESTAMP_MINUS_INFINITY: i64 = i64::MIN;
/// `infinity` of dates.
pub const DATE_INFINITY: i32 = i32::MAX;
/// `-infinity` of dates.
pub const DATE_MINUS_INFINITY: i32 = i32::MIN;

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;
/// 2000-01-01, from which PostgreSQL's binary dates and timestamps count.
const POSTGRES_EPOCH_DAYS: i32 = 10_957;
const POSTGRES_EPOCH_MICROS: i64 = POSTGRES_EPOCH_DAYS as i64 * MICROS_PER_DAY;

/// 22P02 (or another class of syntax error): `invalid input syntax for type …`.
fn invalid_syntax(sqlstate: &'static str, type_name: &str, text: &[u8]) -> crate::error::HwError {
    let text = String::from_utf8_lossy(text);
    crate::error::HwError::new(sqlstate, format!("invalid input syntax for type {type_name}: \"{text}\""))
}

/// PostgreSQL's white space in values (C `isspace`).
fn trim(mut text: &[u8]) -> &[u8] {
    let space = |b: &u8| matches!(b, b' ' | b'\t'..=b'\r');
    while let Some((first, rest)) = text.split_first() {
        if !space(first) {
            break;
        }
        text = rest;
    }
    while let Some((last, rest)) = text.split_last() {
        if !space(last) {
            break;
        }
        text = rest;
    }
    text
}
