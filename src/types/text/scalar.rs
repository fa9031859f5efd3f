//! Reads the text form of any type into a `ScalarValue` of its carrier.
//!
//! Also the small types: boolean, uuid, bytea.

use datafusion::common::ScalarValue;

use super::{
    TextOptions, array, canonical_jsonb, check_json, invalid_syntax, parse_date_days, parse_float4,
    parse_float8, parse_integer, parse_interval, parse_numeric, parse_time_micros, parse_timestamp_micros,
    parse_timestamptz_micros, trim,
};
use crate::error::{HwError, Result, sqlstate};
use crate::types::PgType;
use crate::types::pg_type::{NUMERIC_PRECISION, NUMERIC_SCALE, UTC};

/// Longest `name` in bytes.
const NAME_BYTES_MAX: usize = 63;

/// The value that `text` stands for as a literal of type `ty`.
pub fn parse_text(text: &str, ty: &PgType, options: &TextOptions) -> Result<ScalarValue> {
    let bytes = text.as_bytes();
    Ok(match ty {
        PgType::Bool => ScalarValue::Boolean(Some(parse_bool(bytes)?)),
        PgType::Int2 => {
            ScalarValue::Int16(Some(
                parse_integer(bytes, i16::MIN.into(), i16::MAX.into(), "smallint")? as i16
            ))
        }
        PgType::Int4 => {
            ScalarValue::Int32(
                Some(parse_integer(bytes, i32::MIN.into(), i32::MAX.into(), "integer")? as i32),
            )
        }
        PgType::Int8 => ScalarValue::Int64(Some(parse_integer(bytes, i64::MIN, i64::MAX, "bigint")?)),
        PgType::Oid => ScalarValue::Int64(Some(parse_oid(bytes)?)),
        PgType::Regclass => ScalarValue::Int64(Some(parse_oid(bytes).map_err(|_| {
            HwError::new(sqlstate::UNDEFINED_TABLE, format!("relation \"{text}\" does not exist"))
        })?)),
        PgType::Float4 => ScalarValue::Float32(Some(parse_float4(bytes)?)),
        PgType::Float8 => ScalarValue::Float64(Some(parse_float8(bytes)?)),
        PgType::Numeric(modifier) => {
            let (precision, scale) = modifier.unwrap_or((NUMERIC_PRECISION, NUMERIC_SCALE));
            ScalarValue::Decimal128(Some(parse_numeric(bytes, precision, scale)?), precision, scale)
        }
        PgType::Text
        | PgType::Varchar(_)
        | PgType::Bpchar(_)
        | PgType::Name
        | PgType::Char
        | PgType::Unknown => ScalarValue::Utf8(Some(character_value(text, ty)?)),
        PgType::Bytea => ScalarValue::Binary(Some(parse_bytea(bytes)?)),
        PgType::Date => ScalarValue::Date32(Some(parse_date_days(bytes, options)?)),
        PgType::Time => ScalarValue::Time64Microsecond(Some(parse_time_micros(bytes)?)),
        PgType::Timestamp => {
            ScalarValue::TimestampMicrosecond(Some(parse_timestamp_micros(bytes, options)?), None)
        }
        PgType::Timestamptz => ScalarValue::TimestampMicrosecond(
            Some(parse_timestamptz_micros(bytes, options)?),
            Some(UTC.into()),
        ),
        PgType::Interval => ScalarValue::IntervalMonthDayNano(Some(parse_interval(bytes)?)),
        PgType::Uuid => ScalarValue::FixedSizeBinary(16, Some(parse_uuid(bytes)?.to_vec())),
        PgType::Json => {
            check_json(text)?;
            ScalarValue::LargeBinary(Some(bytes.to_vec()))
        }
        PgType::Jsonb => ScalarValue::LargeUtf8(Some(canonical_jsonb(text)?)),
        PgType::Void => ScalarValue::Null,
        PgType::Array(element) => parse_array(text, element, options)?,
        PgType::Record => {
            return Err(HwError::new(
                sqlstate::FEATURE_NOT_SUPPORTED,
                "input of anonymous composite types is not implemented",
            ));
        }
    })
}

fn parse_array(text: &str, element: &PgType, options: &TextOptions) -> Result<ScalarValue> {
    let values = array::split(text)?
        .into_iter()
        .map(|item| match item {
            Some(item) => parse_text(&item, element, options),
            None => null_of(element),
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(list_of(&values, element))
}

/// NULL in the carrier of a type.
pub(super) fn null_of(ty: &PgType) -> Result<ScalarValue> {
    ScalarValue::try_new_null(&ty.carrier()).map_err(|e| HwError::internal(e.to_string()))
}

/// The value of a character type, checked and cut as the type says.
pub(super) fn character_value(text: &str, ty: &PgType) -> Result<String> {
    if text.as_bytes().contains(&0) {
        return Err(HwError::new(
            sqlstate::CHARACTER_NOT_IN_REPERTOIRE,
            "invalid byte sequence for encoding \"UTF8\": 0x00",
        ));
    }
    match ty {
        PgType::Varchar(Some(limit)) => match text.char_indices().nth(*limit as usize) {
            None => Ok(text.to_string()),
            Some((end, _)) if text[end..].bytes().all(|b| b == b' ') => Ok(text[..end].to_string()),
            Some(_) => Err(HwError::new(
                sqlstate::STRING_DATA_RIGHT_TRUNCATION,
                format!("value too long for type character varying({limit})"),
            )),
        },
        PgType::Bpchar(limit) => {
            let body = text.trim_end_matches(' ');
            match limit.filter(|n| body.chars().nth(*n as usize).is_some()) {
                None => Ok(body.to_string()),
                Some(limit) => Err(HwError::new(
                    sqlstate::STRING_DATA_RIGHT_TRUNCATION,
                    format!("value too long for type character({limit})"),
                )),
            }
        }
        PgType::Name => Ok(text[..text.floor_char_boundary(NAME_BYTES_MAX)].to_string()),
        PgType::Char => Ok(text.chars().take(1).collect()),
        _ => Ok(text.to_string()),
    }
}

fn parse_oid(text: &[u8]) -> Result<i64> {
    let value = parse_integer(text, i32::MIN.into(), u32::MAX.into(), "oid")?;
    Ok(if value < 0 { value + (1 << 32) } else { value })
}

/// `t`, `true`, `yes`, `on`, `1` and their unique prefixes, and the opposites.
pub fn parse_bool(text: &[u8]) -> Result<bool> {
    let word = trim(text).to_ascii_lowercase();
    let is = |full: &[u8], shortest: usize| word.len() >= shortest && full.starts_with(&word);
    match word.as_slice() {
        b"1" => Ok(true),
        b"0" => Ok(false),
        _ if is(b"true", 1) || is(b"yes", 1) || word == b"on" => Ok(true),
        _ if is(b"false", 1) || is(b"no", 1) || is(b"off", 2) => Ok(false),
        _ => Err(invalid_syntax(sqlstate::INVALID_TEXT_REPRESENTATION, "boolean", text)),
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|d| d as u8)
}

/// 32 hexadecimal digits, braces allowed around and hyphens after every fourth.
pub fn parse_uuid(text: &[u8]) -> Result<[u8; 16]> {
    let syntax = || invalid_syntax(sqlstate::INVALID_TEXT_REPRESENTATION, "uuid", text);
    let body = match text.strip_prefix(b"{") {
        Some(rest) => rest.strip_suffix(b"}").ok_or_else(syntax)?,
        None => text,
    };
    let mut uuid = [0u8; 16];
    let mut digits = 0;
    let mut hyphen_allowed = false;
    for byte in body {
        if *byte == b'-' && hyphen_allowed {
            hyphen_allowed = false;
            continue;
        }
        let digit = hex_digit(*byte).filter(|_| digits < 32).ok_or_else(syntax)?;
        uuid[digits / 2] = uuid[digits / 2] << 4 | digit;
        digits += 1;
        hyphen_allowed = digits % 4 == 0 && digits < 32;
    }
    if digits == 32 { Ok(uuid) } else { Err(syntax()) }
}

/// Appends `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`.
pub fn write_uuid(uuid: &[u8], out: &mut Vec<u8>) {
    for (index, byte) in uuid.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        push_hex(*byte, out);
    }
}

fn push_hex(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
}

/// Appends `\x…`.
pub fn write_bytea(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"\\x");
    out.reserve(bytes.len() * 2);
    for byte in bytes {
        push_hex(*byte, out);
    }
}

/// The hex form `\x0aff` or the escape form `a\\b\000`.
pub fn parse_bytea(text: &[u8]) -> Result<Vec<u8>> {
    match text.strip_prefix(b"\\x") {
        Some(hex) => parse_hex(hex),
        None => parse_escapes(text),
    }
}

fn parse_hex(hex: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(hex.len() / 2);
    let mut high = None;
    for byte in hex {
        if byte.is_ascii_whitespace() && high.is_none() {
            continue;
        }
        let digit = hex_digit(*byte).ok_or_else(|| {
            HwError::new(
                sqlstate::INVALID_PARAMETER_VALUE,
                format!("invalid hexadecimal digit: \"{}\"", String::from_utf8_lossy(&[*byte])),
            )
        })?;
        match high.take() {
            None => high = Some(digit),
            Some(high) => bytes.push(high << 4 | digit),
        }
    }
    match high {
        None => Ok(bytes),
        Some(_) => Err(HwError::new(
            sqlstate::INVALID_PARAMETER_VALUE,
            "invalid hexadecimal data: odd number of digits",
        )),
    }
}

fn parse_escapes(text: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        if *first != b'\\' {
            bytes.push(*first);
            rest = after;
            continue;
        }
        match after {
            [b'\\', after @ ..] => {
                bytes.push(b'\\');
                rest = after;
            }
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            _ => {
                return Err(HwError::new(
                    sqlstate::INVALID_TEXT_REPRESENTATION,
                    "invalid input syntax for type bytea",
                ));
            }
        }
    }
    Ok(bytes)
}

/// Wraps a list value; used by the binary reader, too.
pub(super) fn list_of(values: &[ScalarValue], element: &PgType) -> ScalarValue {
    ScalarValue::List(ScalarValue::new_list(values, &element.carrier(), true))
}
