//! PostgreSQL's output syntax of every type, for casts to text and functions that print.

use std::fmt::Write;

use arrow::datatypes::{Field, IntervalMonthDayNano};

use super::column::Column;
use super::datum::Datum;
use super::decimal::Numeric;
use super::zone::{Civil, MICROS_PER_SECOND, Zone, civil_of_days};
use crate::types::PgType;
use crate::types::pg_type::TYPE_KEY;

/// The text form of a value of `field`.
pub fn format_datum(value: &Datum, field: &Field, zone: &Zone) -> String {
    use arrow::datatypes::DataType;
    match value {
        Datum::Null => String::new(),
        Datum::Bool(b) => if *b { "true" } else { "false" }.into(),
        Datum::Int(v) => v.to_string(),
        Datum::Float(v) if field.data_type() == &DataType::Float32 => format_float4(*v as f32),
        Datum::Float(v) => format_float8(*v),
        Datum::Num(n) => format_numeric(*n, field),
        Datum::Text(s) => match PgType::of(field) {
            PgType::Bpchar(Some(width)) => format!("{s:<width$}", width = width as usize),
            _ => s.to_string(),
        },
        Datum::Json(s) | Datum::RawJson(s) => s.to_string(),
        Datum::Bytes(b) if matches!(field.data_type(), DataType::FixedSizeBinary(16)) => format_uuid(b),
        Datum::Bytes(b) => format!("\\x{}", hex(b)),
        Datum::Date(d) => format_date(i64::from(*d)),
        Datum::Time(t) => format_time(*t),
        Datum::Ts(t) => format_timestamp(*t),
        Datum::Tstz(t) => format_timestamptz(*t, zone),
        Datum::Interval(i) => format_interval(*i),
        Datum::List(array) => format_array(array, field, zone),
    }
}

/// Declared numerics show their scale; plain ones what is significant; quotients the digits
/// that PostgreSQL computes for a quotient of that size.
pub fn format_numeric(n: Numeric, field: &Field) -> String {
    match field.metadata().get(TYPE_KEY).map(String::as_str) {
        Some("numeric_avg") => n.quotient_text(),
        _ if PgType::of(field) == PgType::Numeric(None) => n.trimmed().to_string(),
        _ => n.to_string(),
    }
}

pub fn format_float8(v: f64) -> String {
    float_text(v, format!("{v:e}"), 15)
}

pub fn format_float4(v: f32) -> String {
    float_text(f64::from(v), format!("{v:e}"), 6)
}

/// Shortest digits, scientific outside `10^-4 .. 10^limit`.
fn float_text(v: f64, shortest: String, limit: i32) -> String {
    if v.is_nan() {
        return "NaN".into();
    }
    if v.is_infinite() {
        return if v > 0.0 { "Infinity" } else { "-Infinity" }.into();
    }
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if exponent < -4 || exponent >= limit {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let digits = mantissa.replace('.', "");
    let point = exponent + 1;
    if point <= 0 {
        return format!("{sign}0.{}{digits}", "0".repeat((-point) as usize)).replace("0.0e", "0");
    }
    let point = point as usize;
    if digits.len() <= point {
        return format!("{sign}{digits}{}", "0".repeat(point - digits.len()));
    }
    format!("{sign}{}.{}", &digits[..point], &digits[point..])
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut s, b| {
        let _ = write!(s, "{b:02x}");
        s
    })
}

pub fn format_uuid(b: &[u8]) -> String {
    let h = hex(b);
    if h.len() != 32 {
        return h;
    }
    format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
}

fn ymd(year: i64, month: u32, day: u32) -> (String, bool) {
    let bc = year <= 0;
    let shown = if bc { 1 - year } else { year };
    (format!("{shown:04}-{month:02}-{day:02}"), bc)
}

pub fn format_date(days: i64) -> String {
    if days == i64::from(i32::MAX) || days == i64::from(i32::MIN) {
        return if days > 0 { "infinity" } else { "-infinity" }.into();
    }
    let (y, m, d) = civil_of_days(days);
    let (text, bc) = ymd(y, m, d);
    if bc { text + " BC" } else { text }
}

/// `HH:MM:SS[.ffffff]` of microseconds of the day.
pub fn format_time(micros: i64) -> String {
    let seconds = micros / MICROS_PER_SECOND;
    let mut text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = micros % MICROS_PER_SECOND;
    if fraction != 0 {
        let digits = format!("{fraction:06}");
        let _ = write!(text, ".{}", digits.trim_end_matches('0'));
    }
    text
}

fn infinite(micros: i64) -> Option<&'static str> {
    match micros {
        i64::MAX => Some("infinity"),
        i64::MIN => Some("-infinity"),
        _ => None,
    }
}

pub fn format_timestamp(micros: i64) -> String {
    if let Some(text) = infinite(micros) {
        return text.into();
    }
    let c = Civil::of_micros(micros);
    let (date, bc) = ymd(c.year, c.month, c.day);
    format!("{date} {}{}", format_time(c.time), if bc { " BC" } else { "" })
}

pub fn format_timestamptz(micros: i64, zone: &Zone) -> String {
    if let Some(text) = infinite(micros) {
        return text.into();
    }
    let offset = zone.offset_at(micros);
    let c = Civil::of_micros(zone.to_local(micros));
    let (date, bc) = ymd(c.year, c.month, c.day);
    let era = if bc { " BC" } else { "" };
    format!("{date} {}{}{era}", format_time(c.time), format_offset(offset))
}

pub fn format_offset(seconds: i32) -> String {
    let sign = if seconds < 0 { '-' } else { '+' };
    let s = seconds.abs();
    let mut text = format!("{sign}{:02}", s / 3600);
    if s % 3600 != 0 {
        let _ = write!(text, ":{:02}", s / 60 % 60);
    }
    if s % 60 != 0 {
        let _ = write!(text, ":{:02}", s % 60);
    }
    text
}

/// The `postgres` interval style.
pub fn format_interval(i: IntervalMonthDayNano) -> String {
    let mut parts: Vec<String> = vec![];
    let mut negative = false;
    let mut unit = |parts: &mut Vec<String>, n: i64, name: &str| {
        if n != 0 {
            let plus = if negative && n > 0 { "+" } else { "" };
            negative = n < 0;
            parts.push(format!("{plus}{n} {name}{}", if n == 1 { "" } else { "s" }));
        }
    };
    let months = i64::from(i.months);
    unit(&mut parts, months / 12, "year");
    unit(&mut parts, months % 12, "mon");
    unit(&mut parts, i64::from(i.days), "day");
    let micros = i.nanoseconds / 1000;
    if micros != 0 || parts.is_empty() {
        let sign = match (micros < 0, negative) {
            (true, _) => "-",
            (false, true) => "+",
            _ => "",
        };
        parts.push(format!("{sign}{}", format_time(micros.abs())));
    }
    parts.join(" ")
}

fn format_array(array: &arrow::array::ArrayRef, field: &Field, zone: &Zone) -> String {
    use arrow::datatypes::DataType;
    let item = match field.data_type() {
        DataType::List(item) => item.as_ref().clone(),
        _ => Field::new("item", array.data_type().clone(), true),
    };
    let column = Column::of(array.as_ref());
    let items: Vec<String> = (0..array.len())
        .map(|i| match column.get(i) {
            Datum::Null => "NULL".into(),
            Datum::Bool(b) => if b { "t" } else { "f" }.into(),
            nested @ Datum::List(_) => format_datum(&nested, &item, zone),
            value => quote_element(&format_datum(&value, &item, zone)),
        })
        .collect();
    format!("{{{}}}", items.join(","))
}

fn quote_element(text: &str) -> String {
    let special = |c: char| c.is_whitespace() || matches!(c, '{' | '}' | ',' | '"' | '\\');
    if !text.is_empty() && !text.eq_ignore_ascii_case("null") && !text.contains(special) {
        return text.to_string();
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
