//! Text to values by PostgreSQL's input rules: numbers, booleans, bytes, uuid, interval.
//!
//! In: the text of a JSON string or number. Out: the carrier's value, or the error that
//! PostgreSQL's cast from text raises (22P02 bad text, 22003 out of range). Exact: numeric
//! never passes through a float. Dates and times are in `datetime.rs`.

use arrow::datatypes::IntervalMonthDayNano;

use crate::error::{HwError, sqlstate};
use crate::types::text::{special_float, special_numeric};

type Value<T> = Result<T, HwError>;

/// 22P02: `text` is not a value of the type.
#[cold]
pub fn bad_syntax(type_name: &str, text: &str) -> HwError {
    let shown: String = text.chars().take(200).collect();
    HwError::new(
        sqlstate::INVALID_TEXT_REPRESENTATION,
        format!("invalid input syntax for type {type_name}: \"{shown}\""),
    )
}

#[cold]
fn out_of_range(type_name: &str, text: &str) -> HwError {
    let shown: String = text.chars().take(200).collect();
    HwError::new(
        sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
        format!("value \"{shown}\" is out of range for type {type_name}"),
    )
}

/// PostgreSQL's `isspace`.
pub fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c'))
}

/// An integer of any width; the caller checks the range of narrower types.
pub fn parse_integer(text: &str, type_name: &str) -> Value<i64> {
    let trimmed = trim(text);
    let (negative, digits) = match trimmed.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        all => (false, all),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(bad_syntax(type_name, text));
    }
    let mut value: i64 = 0;
    for d in digits {
        let d = (d - b'0') as i64;
        let next =
            value.checked_mul(10).and_then(|v| if negative { v.checked_sub(d) } else { v.checked_add(d) });
        value = next.ok_or_else(|| out_of_range(type_name, trimmed))?;
    }
    Ok(value)
}

/// Narrows an integer; `type_name` is for the message.
#[inline(always)]
pub fn narrow<T: TryFrom<i64>>(value: i64, type_name: &str) -> Value<T> {
    T::try_from(value).map_err(|_| out_of_range(type_name, &value.to_string()))
}

/// True if some digit of the mantissa is not 0: such a number must not become 0.
fn has_nonzero_digit(text: &str) -> bool {
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    mantissa.bytes().any(|b| matches!(b, b'1'..=b'9'))
}

macro_rules! parse_float {
    ($name:ident, $float:ty, $type_name:literal) => {
        /// `NaN`, `Infinity` and `-Infinity` in any case; overflow and underflow are 22003.
        pub fn $name(text: &str) -> Value<$float> {
            let trimmed = trim(text);
            let value: $float = trimmed.parse().map_err(|_| bad_syntax($type_name, text))?;
            let has_digits = trimmed.bytes().any(|b| b.is_ascii_digit());
            if has_digits && (value.is_infinite() || (value == 0.0 && has_nonzero_digit(trimmed))) {
                return Err(HwError::new(
                    sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
                    format!("\"{trimmed}\" is out of range for type {}", $type_name),
                ));
            }
            Ok(value)
        }
    };
}
parse_float!(parse_float8, f64, "double precision");
parse_float!(parse_float4, f32, "real");

/// `text` without its exponent, and the exponent.
fn split_exponent(text: &str) -> Option<(&str, i64)> {
    match text.find(['e', 'E']) {
        None => Some((text, 0)),
        Some(at) => {
            let digits = &text[at + 1..];
            let unsigned = digits.strip_prefix(['+', '-']).unwrap_or(digits);
            if unsigned.is_empty() || !unsigned.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            // An absurd exponent saturates: the value is 0 or out of range either way.
            let size = unsigned.parse::<i64>().unwrap_or(1_000_000).min(1_000_000);
            Some((&text[..at], if digits.starts_with('-') { -size } else { size }))
        }
    }
}

/// `text` times 10^`scale`, rounded half away from zero. `None` in the inner option: the
/// number has more digits than an i128 can hold.
fn scaled(text: &str, scale: i64) -> Option<Option<i128>> {
    let (mantissa, exponent) = split_exponent(text)?;
    let (negative, unsigned) = match mantissa.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        all => (false, all),
    };
    let point = unsigned.iter().position(|b| *b == b'.').unwrap_or(unsigned.len());
    let fraction = unsigned.get(point + 1..).unwrap_or_default();
    let count = point + fraction.len();
    let digits = unsigned[..point].iter().chain(fraction);
    if count == 0 || !digits.clone().all(u8::is_ascii_digit) {
        return None;
    }
    // How many of the digits are kept; beyond them zeros are appended.
    let kept = point as i64 + exponent + scale;
    let mut value: i128 = 0;
    let mut next_digit = 0;
    for (i, d) in digits.enumerate() {
        if (i as i64) < kept {
            match value.checked_mul(10).and_then(|v| v.checked_add((d - b'0') as i128)) {
                Some(v) => value = v,
                None => return Some(None),
            }
        } else {
            if i as i64 == kept {
                next_digit = d - b'0';
            }
            break;
        }
    }
    if value != 0 {
        for _ in count as i64..kept {
            match value.checked_mul(10) {
                Some(v) => value = v,
                None => return Some(None),
            }
        }
    }
    value += (next_digit >= 5) as i128;
    Some(Some(if negative { -value } else { value }))
}

/// The unscaled value of `numeric(precision, scale)`.
pub fn parse_numeric(text: &str, precision: u8, scale: i8) -> Value<i128> {
    let trimmed = trim(text);
    let overflow = || {
        HwError::new(sqlstate::NUMERIC_VALUE_OUT_OF_RANGE, "numeric field overflow").with_detail(format!(
            "A field with precision {precision}, scale {scale} must round to an absolute value less than 10^{}.",
            precision as i32 - scale as i32
        ))
    };
    match scaled(trimmed, scale as i64) {
        Some(Some(value)) if precision > 38 || value.unsigned_abs() < 10u128.pow(precision as u32) => {
            Ok(value)
        }
        Some(_) => Err(overflow()),
        None => match special_float(trimmed.as_bytes()) {
            Some(value) => special_numeric(value, precision, scale),
            None => Err(bad_syntax("numeric", text)),
        },
    }
}

/// Milliseconds as written in a number, in microseconds.
pub fn parse_epoch_millis(text: &str) -> Option<i64> {
    scaled(text, 3).flatten().and_then(|v| i64::try_from(v).ok())
}

/// Unique prefixes of true, false, yes, no; on, off; 1, 0.
pub fn parse_bool(text: &str) -> Value<bool> {
    let lower = trim(text).to_ascii_lowercase();
    let prefix_of = |word: &str, shortest: usize| lower.len() >= shortest && word.starts_with(&lower);
    if prefix_of("true", 1) || prefix_of("yes", 1) || lower == "on" || lower == "1" {
        Ok(true)
    } else if prefix_of("false", 1) || prefix_of("no", 1) || prefix_of("off", 2) || lower == "0" {
        Ok(false)
    } else {
        Err(bad_syntax("boolean", text))
    }
}

fn hex_digit(b: u8) -> Option<u8> {
    (b as char).to_digit(16).map(|d| d as u8)
}

/// 32 hexadecimal digits, a hyphen allowed after each group of four, braces allowed.
pub fn parse_uuid(text: &str) -> Value<[u8; 16]> {
    let parse = || {
        let inner = match text.strip_prefix('{') {
            Some(rest) => rest.strip_suffix('}')?,
            None => text,
        };
        let mut out = [0u8; 16];
        let mut digits = 0usize;
        let mut after_hyphen = true;
        for b in inner.bytes() {
            if b == b'-' {
                if after_hyphen || !digits.is_multiple_of(4) || digits == 32 {
                    return None;
                }
                after_hyphen = true;
                continue;
            }
            after_hyphen = false;
            let slot = out.get_mut(digits / 2)?;
            *slot = *slot << 4 | hex_digit(b)?;
            digits += 1;
        }
        (digits == 32 && !after_hyphen).then_some(out)
    };
    parse().ok_or_else(|| bad_syntax("uuid", text))
}

/// `\x` and hexadecimal digits, or the escape form (`\\`, `\ooo`, other bytes as they are).
pub fn parse_bytea(text: &str, out: &mut Vec<u8>) -> Value<()> {
    if let Some(hex) = text.strip_prefix("\\x") {
        return parse_hex(hex, out);
    }
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&b) = bytes.get(at) {
        if b != b'\\' {
            out.push(b);
            at += 1;
            continue;
        }
        match bytes.get(at + 1..) {
            Some([b'\\', ..]) => {
                out.push(b'\\');
                at += 2;
            }
            Some([a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                at += 4;
            }
            _ => return Err(bad_syntax("bytea", text)),
        }
    }
    Ok(())
}

fn parse_hex(hex: &str, out: &mut Vec<u8>) -> Value<()> {
    let invalid = |detail: &str| {
        HwError::new(sqlstate::INVALID_PARAMETER_VALUE, format!("invalid hexadecimal {detail}"))
    };
    let mut bytes = hex.bytes();
    while let Some(b) = bytes.next() {
        if b.is_ascii_whitespace() {
            continue;
        }
        let high = hex_digit(b).ok_or_else(|| invalid(&format!("digit: \"{}\"", b as char)))?;
        let low = bytes.next().ok_or_else(|| invalid("data: odd number of digits"))?;
        let low = hex_digit(low).ok_or_else(|| invalid(&format!("digit: \"{}\"", low as char)))?;
        out.push(high << 4 | low);
    }
    Ok(())
}

/// Months, days and microseconds under construction; sums are checked at the end.
#[derive(Default)]
struct IntervalSum {
    months: i128,
    days: i128,
    micros: i128,
}

impl IntervalSum {
    /// Adds `millionths` (10^-6) of a unit, carrying fractions down as PostgreSQL does.
    fn add(&mut self, unit: &str, millionths: i128) -> Option<()> {
        const M: i128 = 1_000_000;
        let unit = if unit.len() > 3 { unit.strip_suffix('s').unwrap_or(unit) } else { unit };
        match unit {
            "microsecond" | "us" | "usec" | "usecond" => self.micros += millionths / M,
            "millisecond" | "ms" | "msec" | "msecond" => self.micros += millionths / 1_000,
            "second" | "sec" | "s" => self.micros += millionths,
            "minute" | "min" | "m" => self.micros += millionths * 60,
            "hour" | "hr" | "h" => self.micros += millionths * 3_600,
            "day" | "d" => self.add_days(millionths),
            "week" | "w" => self.add_days(millionths * 7),
            "month" | "mon" => {
                self.months += millionths / M;
                self.add_days(millionths % M * 30);
            }
            "year" | "yr" | "y" => self.months += millionths * 12 / M,
            "decade" | "dec" => self.months += millionths * 120 / M,
            "century" | "centurie" | "cent" | "c" => self.months += millionths * 1_200 / M,
            "millennium" | "millennia" | "mil" => self.months += millionths * 12_000 / M,
            _ => return None,
        }
        Some(())
    }

    fn add_days(&mut self, millionths: i128) {
        self.days += millionths / 1_000_000;
        self.micros += millionths % 1_000_000 * 86_400;
    }

    fn negate(&mut self) {
        (self.months, self.days, self.micros) = (-self.months, -self.days, -self.micros);
    }

    fn finish(self) -> Option<IntervalMonthDayNano> {
        let nanos = self.micros.checked_mul(1_000)?;
        Some(IntervalMonthDayNano::new(
            i32::try_from(self.months).ok()?,
            i32::try_from(self.days).ok()?,
            i64::try_from(nanos).ok()?,
        ))
    }
}

/// Verbose (`1 day 02:03:04.5`, `2 hours ago`) and ISO 8601 (`P1Y2M3DT4H5M6S`) forms.
pub fn parse_interval(text: &str) -> Value<IntervalMonthDayNano> {
    let lower = trim(text).to_ascii_lowercase();
    let sum = match lower.strip_prefix('p') {
        Some(iso) => iso_interval(iso),
        None => verbose_interval(&lower),
    };
    let sum = sum.ok_or_else(|| bad_interval(text))?;
    sum.finish().ok_or_else(|| {
        HwError::new(
            sqlstate::DATETIME_FIELD_OVERFLOW,
            format!("interval field value out of range: \"{}\"", trim(text)),
        )
    })
}

/// 22007, the code of malformed dates, times and intervals.
#[cold]
fn bad_interval(text: &str) -> HwError {
    HwError::new(sqlstate::INVALID_DATETIME_FORMAT, bad_syntax("interval", text).message())
}

fn iso_interval(text: &str) -> Option<IntervalSum> {
    let mut sum = IntervalSum::default();
    let mut rest = text;
    let mut in_time = false;
    let mut any = false;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('t') {
            in_time = true;
            rest = after;
            continue;
        }
        let end = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let amount = scaled(&rest[..end], 6)??;
        let unit = match (&rest[end..end + 1], in_time) {
            ("y", false) => "year",
            ("m", false) => "month",
            ("w", false) => "week",
            ("d", false) => "day",
            ("h", true) => "hour",
            ("m", true) => "minute",
            ("s", true) => "second",
            _ => return None,
        };
        sum.add(unit, amount)?;
        any = true;
        rest = &rest[end + 1..];
    }
    any.then_some(sum)
}

fn verbose_interval(text: &str) -> Option<IntervalSum> {
    let mut sum = IntervalSum::default();
    let text = text.strip_prefix('@').unwrap_or(text);
    let (text, ago) = match text.trim_end().strip_suffix("ago") {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let mut words = text.split_ascii_whitespace();
    let mut any = false;
    while let Some(word) = words.next() {
        any = true;
        if word.contains(':') {
            sum.micros += clock_micros(word)?;
            continue;
        }
        let end = word.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(word.len());
        let amount = scaled(&word[..end], 6)??;
        let unit = if end < word.len() { &word[end..] } else { words.next().unwrap_or("second") };
        sum.add(unit, amount)?;
    }
    if ago {
        sum.negate();
    }
    any.then_some(sum)
}

/// `[-]h:m[:s[.f]]`
fn clock_micros(word: &str) -> Option<i128> {
    let (negative, unsigned) = match word.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    let mut parts = unsigned.split(':');
    let hours: i64 = parts.next()?.parse().ok()?;
    let minutes: i64 = parts.next()?.parse().ok().filter(|m| (0..60).contains(m))?;
    let seconds = match parts.next() {
        Some(s) => scaled(s, 6)??,
        None => 0,
    };
    if parts.next().is_some() || hours < 0 || !(0..=60_000_000).contains(&seconds) {
        return None;
    }
    let micros = hours as i128 * 3_600_000_000 + minutes as i128 * 60_000_000 + seconds;
    Some(if negative { -micros } else { micros })
}
