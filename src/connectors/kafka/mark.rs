//! Watermarks inside records: a header, or a record that is nothing but a watermark.
//!
//! A watermark is text: whole milliseconds after 1970-01-01 UTC, or a timestamp with its zone
//! as in RFC 3339. In a control record, a JSON object of one field, it is a number or a string.
//! Out: microseconds. What cannot be read is 22007, and the record a dead letter.

use serde_json::{Map, Value};

use crate::error::{HwError, Result, sqlstate};
use crate::formats::json::parse_timestamp;

/// The watermark in the header `name`.
pub fn header_watermark(name: &str, value: &[u8]) -> Result<i64> {
    let text = std::str::from_utf8(value).ok();
    text.and_then(read).ok_or_else(|| unreadable(&format!("header \"{name}\""), value))
}

/// The watermark of a record whose value is a JSON object with the field `field` alone.
pub fn control_watermark(field: &str, value: &[u8]) -> Result<Option<i64>> {
    if !may_be_control(field, value) {
        return Ok(None);
    }
    let Ok(object) = serde_json::from_slice::<Map<String, Value>>(value) else { return Ok(None) };
    let Some(said) = object.get(field).filter(|_| object.len() == 1) else { return Ok(None) };
    let read = match said {
        Value::Number(number) => read(&number.to_string()),
        Value::String(text) => read(text),
        _ => None,
    };
    read.map(Some).ok_or_else(|| unreadable(&format!("control record \"{field}\""), value))
}

/// Spares rows the price of being parsed twice.
fn may_be_control(field: &str, value: &[u8]) -> bool {
    let rest = value.trim_ascii_start().strip_prefix(b"{").map(<[u8]>::trim_ascii_start);
    let rest = rest.and_then(|r| r.strip_prefix(b"\""));
    rest.is_some_and(|r| r.starts_with(field.as_bytes()) || r.starts_with(b"\\"))
}

fn read(text: &str) -> Option<i64> {
    let text = text.trim();
    match text.parse::<i64>() {
        Ok(millis) => millis.checked_mul(1_000),
        Err(_) => parse_timestamp(text, true).ok(),
    }
}

fn unreadable(place: &str, value: &[u8]) -> HwError {
    let shown: String = String::from_utf8_lossy(value).chars().take(60).collect();
    HwError::new(sqlstate::INVALID_DATETIME_FORMAT, format!("{place} is no watermark: \"{shown}\""))
        .with_hint("Write milliseconds after 1970-01-01 UTC, or a timestamp such as 2020-01-01T00:00:00Z.")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000_000;

    #[test]
    fn headers_are_milliseconds_or_rfc_3339() {
        for (text, micros) in [
            ("86400000", DAY),
            (" 86400000 ", DAY),
            ("-1", -1_000),
            ("1970-01-02T00:00:00Z", DAY),
            ("1970-01-02T01:00:00+01:00", DAY),
            ("1970-01-02T00:00:00.000001Z", DAY + 1),
        ] {
            assert_eq!(header_watermark("wm", text.as_bytes()).unwrap(), micros, "{text}");
        }
        for text in ["", "soon", "1.5", "99999999999999999999", "\u{ff}"] {
            assert_eq!(header_watermark("wm", text.as_bytes()).unwrap_err().sqlstate(), "22007", "{text}");
        }
        assert!(header_watermark("wm", b"\xff\xfe").is_err());
    }

    #[test]
    fn a_control_record_has_one_field() {
        let read =
            |value: &str| control_watermark("wm", value.as_bytes()).map_err(|e| e.sqlstate().to_string());
        assert_eq!(read("{\"wm\": 86400000}"), Ok(Some(DAY)));
        assert_eq!(read(" { \"wm\" : \"1970-01-02T00:00:00Z\" } "), Ok(Some(DAY)));
        assert_eq!(read("{\"\\u0077m\": 86400000}"), Ok(Some(DAY)));
        for row in ["{\"wm\": 1, \"id\": 2}", "{\"id\": 2}", "{\"wms\": 2}", "{\"wm\": 1", "[1]", "", "null"]
        {
            assert_eq!(read(row), Ok(None), "{row}");
        }
        for bad in ["{\"wm\": true}", "{\"wm\": null}", "{\"wm\": 1.5}", "{\"wm\": \"soon\"}"] {
            assert_eq!(read(bad), Err("22007".into()), "{bad}");
        }
    }
}
