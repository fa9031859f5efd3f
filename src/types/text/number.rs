//! Integers, floats and numerics as PostgreSQL prints and reads them.
//!
//! Floats are printed with the fewest digits that read back the same (extra_float_digits 1):
//! plain notation while the decimal exponent is in -4..15 (-4..6 for real), else `d.ddde+XX`.
//! A numeric is an `i128` and a scale; reading rounds half away from zero to the scale.

use super::{invalid_syntax, trim};
use crate::error::{HwError, Result, sqlstate};
use crate::types::pg_type::{NUMERIC_PRECISION, NUMERIC_SCALE, PgType};
use crate::types::special;

/// How the fractional digits of a numeric column are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumericStyle {
    /// Exactly the scale: `numeric(p,s)`.
    Scale,
    /// Without trailing zeros: plain `numeric`.
    Trimmed,
    /// As PostgreSQL's division: about 16 significant digits, in steps of four.
    Average,
}

/// Decimal digits of a magnitude, most significant first, in the tail of a buffer.
struct Digits {
    buffer: [u8; 40],
    start: usize,
}

impl Digits {
    fn of(mut value: u128) -> Digits {
        let mut digits = Digits { buffer: [b'0'; 40], start: 40 };
        // Nineteen digits at a time, because 128-bit division is slow.
        const CHUNK: u128 = 10_000_000_000_000_000_000;
        while value > u128::from(u64::MAX) {
            let mut low = (value % CHUNK) as u64;
            value /= CHUNK;
            for _ in 0..19 {
                digits.push_front((low % 10) as u8);
                low /= 10;
            }
        }
        let mut rest = value as u64;
        while rest > 0 {
            digits.push_front((rest % 10) as u8);
            rest /= 10;
        }
        digits
    }

    fn push_front(&mut self, digit: u8) {
        self.start -= 1;
        self.buffer[self.start] = b'0' + digit;
    }

    fn as_slice(&self) -> &[u8] {
        &self.buffer[self.start..]
    }
}

/// An integer of any width.
pub fn write_integer(value: i128, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    if value == 0 {
        return out.push(b'0');
    }
    out.extend_from_slice(Digits::of(value.unsigned_abs()).as_slice());
}

/// `value` · 10^-`scale`.
pub fn write_numeric(value: i128, scale: i8, style: NumericStyle, out: &mut Vec<u8>) {
    if special::is_special(value) {
        return out.extend_from_slice(special::text(value).as_bytes());
    }
    if scale < 0 {
        write_integer(value, out);
        if value != 0 {
            out.resize(out.len() + usize::from(scale.unsigned_abs()), b'0');
        }
        return;
    }
    let scale = scale as usize;
    let digits = Digits::of(value.unsigned_abs());
    let digits = digits.as_slice();
    match style {
        NumericStyle::Scale => push_decimal(value < 0, digits, scale, scale, out),
        NumericStyle::Trimmed => {
            let zeros = digits.iter().rev().take_while(|d| **d == b'0').count();
            let shown = if digits.is_empty() { 0 } else { scale.saturating_sub(zeros) };
            push_decimal(value < 0, digits, scale, shown, out)
        }
        NumericStyle::Average => {
            let integer_digits = if value == 0 { 0 } else { digits.len() as i32 - scale as i32 };
            let shown = average_scale(integer_digits);
            if shown >= scale {
                return push_decimal(value < 0, digits, scale, shown, out);
            }
            let rounded = round_shift(value, (scale - shown) as u32);
            push_decimal(rounded < 0, Digits::of(rounded.unsigned_abs()).as_slice(), shown, shown, out)
        }
    }
}

/// Fractional digits of a quotient whose integer part has `integer_digits` digits (negative:
/// zeros after the point), after `select_div_scale` of PostgreSQL's numeric.c.
fn average_scale(integer_digits: i32) -> usize {
    let weight = (integer_digits - 1).div_euclid(4);
    (16 - weight * 4).max(0) as usize
}

/// `digits` with the point `scale` digits from the right, showing `shown` fractional digits.
fn push_decimal(negative: bool, digits: &[u8], scale: usize, shown: usize, out: &mut Vec<u8>) {
    if negative {
        out.push(b'-');
    }
    let integer = digits.len().saturating_sub(scale);
    if integer == 0 {
        out.push(b'0');
    } else {
        out.extend_from_slice(&digits[..integer]);
    }
    if shown == 0 {
        return;
    }
    out.push(b'.');
    let end = out.len() + shown;
    out.resize(out.len() + scale.saturating_sub(digits.len()).min(shown), b'0');
    let fraction = &digits[integer..];
    out.extend_from_slice(&fraction[..fraction.len().min(end - out.len())]);
    out.resize(end, b'0');
}

/// Divides by 10^`places`, rounding half away from zero.
fn round_shift(value: i128, places: u32) -> i128 {
    let Some(divisor) = 10i128.checked_pow(places) else { return 0 };
    let (quotient, remainder) = (value / divisor, value % divisor);
    if remainder.unsigned_abs() >= divisor.unsigned_abs() - remainder.unsigned_abs() {
        quotient + value.signum()
    } else {
        quotient
    }
}

/// `double precision`.
pub fn write_float8(value: f64, out: &mut Vec<u8>) {
    if value.is_finite() {
        push_shortest(ryu::Buffer::new().format_finite(value), 15, out);
    } else {
        push_special(value, out);
    }
}

/// `real`.
pub fn write_float4(value: f32, out: &mut Vec<u8>) {
    if value.is_finite() {
        push_shortest(ryu::Buffer::new().format_finite(value), 6, out);
    } else {
        push_special(f64::from(value), out);
    }
}

fn push_special(value: f64, out: &mut Vec<u8>) {
    out.extend_from_slice(match value {
        v if v.is_nan() => b"NaN".as_slice(),
        v if v < 0.0 => b"-Infinity",
        _ => b"Infinity",
    });
}

/// Lays out the digits that ryu found (`1.5e-7`, `100.0`, `1e20`) as PostgreSQL does.
fn push_shortest(shortest: &str, plain_below: i32, out: &mut Vec<u8>) {
    let (negative, text) = match shortest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, shortest),
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = [0u8; 32];
    let mut length = 0;
    for digit in integer.bytes().chain(fraction.bytes()) {
        if length > 0 || digit != b'0' {
            digits[length] = digit;
            length += 1;
        }
    }
    let leading = integer.len() + fraction.len() - length;
    let exponent = exponent + integer.len() as i32 - 1 - leading as i32;
    while length > 0 && digits[length - 1] == b'0' {
        length -= 1;
    }
    if negative {
        out.push(b'-');
    }
    let digits = &digits[..length];
    if digits.is_empty() {
        out.push(b'0');
    } else if exponent < -4 || exponent >= plain_below {
        push_exponent_form(digits, exponent, out);
    } else if exponent < 0 {
        push_decimal(
            false,
            digits,
            length + (-exponent) as usize - 1,
            length + (-exponent) as usize - 1,
            out,
        );
    } else {
        let integer = exponent as usize + 1;
        out.extend_from_slice(&digits[..length.min(integer)]);
        out.resize(out.len() + integer.saturating_sub(length), b'0');
        if length > integer {
            out.push(b'.');
            out.extend_from_slice(&digits[integer..]);
        }
    }
}

fn push_exponent_form(digits: &[u8], exponent: i32, out: &mut Vec<u8>) {
    out.push(digits[0]);
    if digits.len() > 1 {
        out.push(b'.');
        out.extend_from_slice(&digits[1..]);
    }
    out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
    if exponent.abs() < 10 {
        out.push(b'0');
    }
    write_integer(i128::from(exponent.abs()), out);
}

/// An integer literal within `min..=max` of the named type.
pub fn parse_integer(text: &[u8], min: i64, max: i64, type_name: &str) -> Result<i64> {
    let trimmed = trim(text);
    let (negative, digits) = match trimmed.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, trimmed),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(invalid_syntax(sqlstate::INVALID_TEXT_REPRESENTATION, type_name, text));
    }
    let mut value: i128 = 0;
    for digit in digits {
        value = (value * 10 + i128::from(digit - b'0')).min(i128::from(u64::MAX));
    }
    let value = if negative { -value } else { value };
    i64::try_from(value).ok().filter(|v| (min..=max).contains(v)).ok_or_else(|| {
        let text = String::from_utf8_lossy(text);
        HwError::new(
            sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
            format!("value \"{text}\" is out of range for type {type_name}"),
        )
    })
}

/// `NaN` and the infinities, in any case.
pub fn special_float(text: &[u8]) -> Option<f64> {
    let (negative, word) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        (b'+', rest) => (false, rest),
        _ => (false, text),
    };
    let infinite = word.eq_ignore_ascii_case(b"infinity") || word.eq_ignore_ascii_case(b"inf");
    match infinite {
        true if negative => Some(f64::NEG_INFINITY),
        true => Some(f64::INFINITY),
        false => text.eq_ignore_ascii_case(b"nan").then_some(f64::NAN),
    }
}

/// Digits, point and exponent only; anything else a float parser might take is refused.
fn is_decimal(text: &[u8]) -> bool {
    let unsigned = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.iter().position(|b| matches!(b, b'e' | b'E')) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let points = mantissa.iter().filter(|b| **b == b'.').count();
    let digits = mantissa.iter().filter(|b| b.is_ascii_digit()).count();
    let exponent_ok = exponent.is_none_or(|e| {
        let e = e.strip_prefix(b"-").or_else(|| e.strip_prefix(b"+")).unwrap_or(e);
        !e.is_empty() && e.iter().all(u8::is_ascii_digit)
    });
    digits > 0 && points <= 1 && digits + points == mantissa.len() && exponent_ok
}

/// A decimal that is not written as zero.
fn has_nonzero_digit(text: &[u8]) -> bool {
    text.iter().take_while(|b| !matches!(b, b'e' | b'E')).any(|b| (b'1'..=b'9').contains(b))
}

fn float_range_error(text: &[u8], type_name: &str) -> HwError {
    let text = String::from_utf8_lossy(text);
    HwError::new(
        sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
        format!("\"{text}\" is out of range for type {type_name}"),
    )
}

/// `double precision`; overflow and underflow are errors.
pub fn parse_float8(text: &[u8]) -> Result<f64> {
    let trimmed = trim(text);
    if let Some(special) = special_float(trimmed) {
        return Ok(special);
    }
    let type_name = "double precision";
    let syntax = || invalid_syntax(sqlstate::INVALID_TEXT_REPRESENTATION, type_name, text);
    if !is_decimal(trimmed) {
        return Err(syntax());
    }
    let value: f64 = std::str::from_utf8(trimmed).ok().and_then(|t| t.parse().ok()).ok_or_else(syntax)?;
    if value.is_infinite() || (value == 0.0 && has_nonzero_digit(trimmed)) {
        return Err(float_range_error(trimmed, type_name));
    }
    Ok(value)
}

/// `real`; overflow and underflow are errors.
pub fn parse_float4(text: &[u8]) -> Result<f32> {
    let trimmed = trim(text);
    if let Some(special) = special_float(trimmed) {
        return Ok(special as f32);
    }
    let syntax = || invalid_syntax(sqlstate::INVALID_TEXT_REPRESENTATION, "real", text);
    if !is_decimal(trimmed) {
        return Err(syntax());
    }
    let value: f32 = std::str::from_utf8(trimmed).ok().and_then(|t| t.parse().ok()).ok_or_else(syntax)?;
    if value.is_infinite() || (value == 0.0 && has_nonzero_digit(trimmed)) {
        return Err(float_range_error(trimmed, "real"));
    }
    Ok(value)
}

/// A numeric literal, exponent allowed, as an integer of `scale` decimals below 10^`precision`.
pub fn parse_numeric(text: &[u8], precision: u8, scale: i8) -> Result<i128> {
    let trimmed = trim(text);
    if !is_decimal(trimmed) {
        if let Some(value) = special_float(trimmed) {
            return special_numeric(value, precision, scale);
        }
        return Err(invalid_syntax(sqlstate::INVALID_TEXT_REPRESENTATION, "numeric", text));
    }
    let overflow = || numeric_overflow(precision, scale);
    let (mantissa, exponent) = match trimmed.iter().position(|b| matches!(b, b'e' | b'E')) {
        Some(at) => (&trimmed[..at], parse_exponent(&trimmed[at + 1..])),
        None => (trimmed, 0),
    };
    let fraction = mantissa.iter().position(|b| *b == b'.').map_or(0, |at| mantissa.len() - at - 1);
    // Digits right of the kept ones: all beyond the first only matter by the rounding digit.
    let mut drop = fraction as i64 - i64::from(scale) - exponent;
    let total = mantissa.iter().filter(|b| b.is_ascii_digit()).count() as i64;
    let keep = total - drop;
    let mut value: i128 = 0;
    let mut round_up = false;
    for (index, digit) in mantissa.iter().filter(|b| b.is_ascii_digit()).enumerate() {
        let digit = i128::from(digit - b'0');
        match (index as i64).cmp(&keep) {
            std::cmp::Ordering::Less => {
                value = value.checked_mul(10).and_then(|v| v.checked_add(digit)).ok_or_else(overflow)?;
            }
            std::cmp::Ordering::Equal => round_up = digit >= 5,
            std::cmp::Ordering::Greater => break,
        }
    }
    while drop < 0 && value != 0 {
        value = value.checked_mul(10).ok_or_else(overflow)?;
        drop += 1;
    }
    value += i128::from(round_up);
    let bound = 10i128.checked_pow(u32::from(precision)).unwrap_or(i128::MAX);
    if value >= bound {
        return Err(overflow());
    }
    Ok(if trimmed[0] == b'-' { -value } else { value })
}

/// NaN or an infinity as numeric(precision, scale), which holds no infinity unless it is as wide
/// as a plain numeric.
pub fn special_numeric(value: f64, precision: u8, scale: i8) -> Result<i128> {
    if value.is_infinite() && precision < NUMERIC_PRECISION {
        return Err(infinity_overflow(precision, scale));
    }
    Ok(special::of_f64(value))
}

/// 22003 for an infinity in a column of few digits.
pub fn infinity_overflow(precision: u8, scale: i8) -> HwError {
    HwError::new(sqlstate::NUMERIC_VALUE_OUT_OF_RANGE, "numeric field overflow").with_detail(format!(
        "A field with precision {precision}, scale {scale} cannot hold an infinite value."
    ))
}

/// Saturates far outside of what any numeric holds.
fn parse_exponent(text: &[u8]) -> i64 {
    let magnitude = text
        .iter()
        .filter(|b| b.is_ascii_digit())
        .fold(0i64, |n, b| (n * 10 + i64::from(b - b'0')).min(1_000_000));
    if text.first() == Some(&b'-') { -magnitude } else { magnitude }
}

/// 22003 `numeric field overflow`.
pub(super) fn numeric_overflow(precision: u8, scale: i8) -> HwError {
    let bound = i32::from(precision) - i32::from(scale);
    let subject = if (precision, scale) == (NUMERIC_PRECISION, NUMERIC_SCALE) {
        format!("A field of type {}", PgType::Numeric(None).sql_name())
    } else {
        format!("A field with precision {precision}, scale {scale}")
    };
    let limit = if bound == 0 { "1".to_string() } else { format!("10^{bound}") };
    HwError::new(sqlstate::NUMERIC_VALUE_OUT_OF_RANGE, "numeric field overflow")
        .with_detail(format!("{subject} must round to an absolute value less than {limit}."))
}
