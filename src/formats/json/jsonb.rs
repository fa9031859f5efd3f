//! Canonical text of `jsonb`, as PostgreSQL prints it.
//!
//! In: a checked JSON value. Out: its text with object keys sorted by length and then by
//! bytes, the last of equal keys kept, `", "` and `": "` as separators, numbers as
//! `numeric` prints them (no exponent, trailing zeros kept), strings with the fewest
//! escapes. Equal jsonb values of equal scale have equal text. Method: `jsonb_put_escaped_value`,
//! `uniqueifyJsonbObject` and `numeric_out` of PostgreSQL 15.

use super::scan::{DEPTH_MAX, Number, RawText, Scanner, Token, unescape};
use crate::error::{HwError, sqlstate};

/// Digits that PostgreSQL's numeric holds before and after the decimal point.
const NUMERIC_INTEGER_DIGITS_MAX: i64 = 131_072;
const NUMERIC_FRACTION_DIGITS_MAX: i64 = 16_383;

/// Appends the canonical text of `token`. Recursion is bounded by the scanner's depth limit.
pub fn write(token: Token<'_>, out: &mut Vec<u8>) -> Result<(), HwError> {
    match token {
        Token::Null => out.extend_from_slice(b"null"),
        Token::Bool(true) => out.extend_from_slice(b"true"),
        Token::Bool(false) => out.extend_from_slice(b"false"),
        Token::Number(n) => write_number(n, out)?,
        Token::Text(t) => write_text(t, out)?,
        Token::Array(span) => write_array(span, out)?,
        Token::Object(span) => write_object(span, out)?,
    }
    Ok(())
}

/// Appends `token` as it was written, for columns of type json.
pub fn copy(token: Token<'_>, out: &mut Vec<u8>) {
    match token {
        Token::Null => out.extend_from_slice(b"null"),
        Token::Bool(true) => out.extend_from_slice(b"true"),
        Token::Bool(false) => out.extend_from_slice(b"false"),
        Token::Number(n) => out.extend_from_slice(n.text),
        Token::Array(span) | Token::Object(span) => out.extend_from_slice(span),
        Token::Text(t) => {
            out.push(b'"');
            out.extend_from_slice(t.bytes);
            out.push(b'"');
        }
    }
}

fn write_array(span: &[u8], out: &mut Vec<u8>) -> Result<(), HwError> {
    let mut scanner = Scanner::new(span, DEPTH_MAX);
    scanner.expect(b'[', "'['")?;
    out.push(b'[');
    if !scanner.take(b']') {
        loop {
            write(scanner.value(0)?, out)?;
            if !scanner.take(b',') {
                break;
            }
            out.extend_from_slice(b", ");
        }
    }
    out.push(b']');
    Ok(())
}

fn write_object(span: &[u8], out: &mut Vec<u8>) -> Result<(), HwError> {
    let mut scanner = Scanner::new(span, DEPTH_MAX);
    scanner.expect(b'{', "'{'")?;
    let mut fields: Vec<(Vec<u8>, Token<'_>)> = Vec::new();
    if !scanner.take(b'}') {
        loop {
            scanner.expect(b'"', "a field name")?;
            let mut name = Vec::new();
            unescape(scanner.text()?.bytes, &mut name)?;
            scanner.expect(b':', "':'")?;
            fields.push((name, scanner.value(0)?));
            if !scanner.take(b',') {
                break;
            }
        }
    }
    // A stable sort keeps equal keys in order, so the last of them is the one to keep.
    fields.sort_by(|(a, _), (b, _)| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
    out.push(b'{');
    let mut first = true;
    for (i, (name, value)) in fields.iter().enumerate() {
        if fields.get(i + 1).is_some_and(|(next, _)| next == name) {
            // A value that is replaced must still be one that jsonb can hold.
            let mut dropped = Vec::new();
            write(*value, &mut dropped)?;
            continue;
        }
        if !first {
            out.extend_from_slice(b", ");
        }
        first = false;
        escape(name, out);
        out.extend_from_slice(b": ");
        write(*value, out)?;
    }
    out.push(b'}');
    Ok(())
}

fn write_text(text: RawText<'_>, out: &mut Vec<u8>) -> Result<(), HwError> {
    if text.escaped {
        let mut plain = Vec::with_capacity(text.bytes.len());
        unescape(text.bytes, &mut plain)?;
        escape(&plain, out);
    } else {
        out.push(b'"');
        out.extend_from_slice(text.bytes);
        out.push(b'"');
    }
    Ok(())
}

/// Appends `text` as a quoted JSON string.
pub fn escape(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &b in text {
        match b {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            8 => out.extend_from_slice(b"\\b"),
            12 => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => out.extend_from_slice(format!("\\u{b:04x}").as_bytes()),
            _ => out.push(b),
        }
    }
    out.push(b'"');
}

fn write_number(number: Number<'_>, out: &mut Vec<u8>) -> Result<(), HwError> {
    let overflow = || HwError::new(sqlstate::NUMERIC_VALUE_OUT_OF_RANGE, "value overflows numeric format");
    let text = number.text;
    let (negative, unsigned) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, text),
    };
    let (mantissa, exponent) = match unsigned.iter().position(|b| matches!(b, b'e' | b'E')) {
        Some(e) => {
            let digits = std::str::from_utf8(&unsigned[e + 1..]).unwrap_or_default();
            (&unsigned[..e], digits.parse::<i64>().map_err(|_| overflow())?)
        }
        None => (unsigned, 0),
    };
    let point = mantissa.iter().position(|b| *b == b'.').unwrap_or(mantissa.len());
    let fraction = mantissa.get(point + 1..).unwrap_or_default();
    let digits: Vec<u8> = mantissa[..point].iter().chain(fraction).copied().collect();
    let scale = (fraction.len() as i64).checked_sub(exponent).ok_or_else(overflow)?.max(0);
    // Position of the decimal point among `digits`, counted from their start.
    let place = (point as i64).checked_add(exponent).ok_or_else(overflow)?;
    let leading_zeros = digits.iter().take_while(|d| **d == b'0').count();
    let is_zero = leading_zeros == digits.len();
    if scale > NUMERIC_FRACTION_DIGITS_MAX
        || (!is_zero && place - leading_zeros as i64 > NUMERIC_INTEGER_DIGITS_MAX)
    {
        return Err(overflow());
    }
    if negative && !is_zero {
        out.push(b'-');
    }
    let digit_at = |i: i64| usize::try_from(i).ok().and_then(|i| digits.get(i)).copied().unwrap_or(b'0');
    if is_zero || place <= leading_zeros as i64 {
        out.push(b'0');
    } else {
        out.extend((leading_zeros as i64..place).map(digit_at));
    }
    if scale > 0 {
        out.push(b'.');
        out.extend((place..place + scale).map(digit_at));
    }
    Ok(())
}
