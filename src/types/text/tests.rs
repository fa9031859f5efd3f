//! Values against PostgreSQL 15: `cases.jsonl` holds type, literal, and what the server gave
//! for it with TimeZone Europe/Berlin: `ok:` and its text plus its binary form in hex, or
//! SQLSTATE and message.

use std::sync::Arc;

use arrow::array::{ArrayRef, DurationMicrosecondArray, RecordBatch, StringViewArray, StructArray};
use arrow::array::{Int32Array, StringArray, TimestampNanosecondArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::ScalarValue;

use super::*;
use crate::error::Result;
use crate::types::PgType;
use crate::types::pg_type::TYPE_KEY;
use crate::types::special;

fn type_of(name: &str) -> PgType {
    if let Some(element) = name.strip_suffix("[]") {
        return PgType::Array(Box::new(type_of(element)));
    }
    match name {
        "boolean" => PgType::Bool,
        "smallint" => PgType::Int2,
        "int" | "integer" => PgType::Int4,
        "bigint" => PgType::Int8,
        "real" => PgType::Float4,
        "double precision" => PgType::Float8,
        "numeric(12,2)" => PgType::Numeric(Some((12, 2))),
        "numeric(5,5)" => PgType::Numeric(Some((5, 5))),
        "numeric" => PgType::Numeric(None),
        "date" => PgType::Date,
        "time" => PgType::Time,
        "timestamp" => PgType::Timestamp,
        "timestamptz" => PgType::Timestamptz,
        "interval" => PgType::Interval,
        "bytea" => PgType::Bytea,
        "uuid" => PgType::Uuid,
        "jsonb" => PgType::Jsonb,
        "oid" => PgType::Oid,
        "text" => PgType::Text,
        "varchar(3)" => PgType::Varchar(Some(3)),
        other => panic!("no type {other}"),
    }
}

fn berlin() -> TextOptions {
    TextOptions { zone: Zone::from_name("europe/berlin").unwrap(), ..TextOptions::default() }
}

fn write(array: &ArrayRef, field: &Field, row: usize) -> (String, Vec<u8>) {
    let writer = ColumnWriter::new(array, field, &berlin()).unwrap();
    let (mut text, mut binary) = (Vec::new(), Vec::new());
    writer.write_text(row, &mut text);
    writer.write_binary(row, &mut binary);
    (String::from_utf8(text).unwrap(), binary)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn shown(value: Result<ScalarValue>, ty: &PgType) -> (String, Vec<u8>) {
    match value {
        Err(e) => (format!("{}:{}", e.sqlstate(), e.message()), Vec::new()),
        Ok(value) => {
            let (text, binary) = write(&value.to_array().unwrap(), &ty.field("c", true), 0);
            (format!("ok:{text}"), binary)
        }
    }
}

#[test]
fn values_are_read_and_printed_as_postgresql_does() {
    let mut wrong = Vec::new();
    for line in include_str!("cases.jsonl").lines() {
        let case: Vec<String> = serde_json::from_str(line).unwrap();
        let ty = type_of(&case[0]);
        let parsed = parse_text(&case[1], &ty, &berlin());
        let (text, binary) = shown(parsed.clone(), &ty);
        if text != case[2] {
            wrong.push(format!("{} {:?}: {text}, not {}", case[0], case[1], case[2]));
        }
        let (Some(expected), Ok(value)) = (case.get(3), parsed) else { continue };
        if &hex(&binary) != expected {
            wrong.push(format!("{} {:?} in binary: {}, not {expected}", case[0], case[1], hex(&binary)));
        }
        match parse_binary(&binary, &ty, &berlin()) {
            Ok(back) if back == value => {}
            other => wrong.push(format!("{} {:?} back: {other:?}, not {value:?}", case[0], case[1])),
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

fn numeric(value: i128, scale: i8, style: NumericStyle) -> String {
    let mut out = Vec::new();
    write_numeric(value, scale, style, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn averages_have_the_digits_of_a_division() {
    let check = |value, scale, expected: &str| {
        assert_eq!(numeric(value, scale, NumericStyle::Average), expected);
    };
    check(15, 1, "1.5000000000000000");
    check(0, 10, "0.00000000000000000000");
    check(123_456_789, 4, "12345.678900000000");
    check(5, 1, "0.50000000000000000000");
    check(-33_333_333_333_333_333_333, 19, "-3.3333333333333333");
    check(66_666_666_666_666_666_667, 19, "6.6666666666666667");
    assert_eq!(numeric(7, -2, NumericStyle::Scale), "700");
    let widest = 10i128.pow(38) - 1;
    assert_eq!(numeric(widest, 10, NumericStyle::Trimmed), "9999999999999999999999999999.9999999999");
    assert_eq!(numeric(special::NAN, 10, NumericStyle::Average), "NaN");
    assert_eq!(numeric(special::MINUS_INFINITY, 20, NumericStyle::Trimmed), "-Infinity");
}

#[test]
fn stray_arrow_types_are_printed() {
    let text = |array: ArrayRef| {
        let field = Field::new("c", array.data_type().clone(), true);
        write(&array, &field, 0).0
    };
    assert_eq!(text(Arc::new(StringViewArray::from(vec!["a"]))), "a");
    assert_eq!(text(Arc::new(UInt64Array::from(vec![u64::MAX]))), "18446744073709551615");
    assert_eq!(text(Arc::new(DurationMicrosecondArray::from(vec![90_000_000]))), "00:01:30");
    assert_eq!(text(Arc::new(TimestampNanosecondArray::from(vec![1_500]))), "1970-01-01 00:00:00.000001");
    let dictionary = arrow::compute::cast(
        &StringArray::from(vec!["x"]),
        &DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
    );
    assert_eq!(text(dictionary.unwrap()), "x");
    let null = ColumnWriter::new(
        &arrow::array::new_null_array(&DataType::Null, 1),
        &Field::new("c", DataType::Null, true),
        &berlin(),
    );
    assert!(null.unwrap().is_null(0));
}

#[test]
fn rows_are_quoted() {
    let fields = ["a", "b", "c", "d", "e", "f"].map(|name| Field::new(name, DataType::Utf8, true));
    let texts = [Some("abc"), Some("a b"), Some(""), None, Some("x\"y"), Some("c\\d")];
    let columns = texts.map(|t| Arc::new(StringArray::from(vec![t])) as ArrayRef);
    let mut fields = fields.to_vec();
    let mut columns = columns.to_vec();
    fields.push(Field::new("g", DataType::Int32, true));
    columns.push(Arc::new(Int32Array::from(vec![1])));
    let row: ArrayRef = Arc::new(StructArray::new(Fields::from(fields), columns, None));
    let field = Field::new("r", row.data_type().clone(), true);
    assert_eq!(write(&row, &field, 0).0, r#"(abc,"a b","",,"x""y","c\\d",1)"#);
}

#[test]
fn json_errors_have_details() {
    let detail = |text: &str| canonical_jsonb(text).unwrap_err().detail().map(str::to_string).unwrap();
    assert_eq!(detail("abc"), "Token \"abc\" is invalid.");
    assert_eq!(detail("{\"a\":}"), "Expected JSON value, but found \"}\".");
    assert_eq!(detail("{\"a\":1"), "The input string ended unexpectedly.");
    assert_eq!(detail("[1,]"), "Expected JSON value, but found \"]\".");
    assert_eq!(detail("01"), "Token \"01\" is invalid.");
    assert_eq!(detail(""), "The input string ended unexpectedly.");
    assert_eq!(detail("\"\\u0000\""), "\\u0000 cannot be converted to text.");
    assert!(canonical_jsonb(&"[".repeat(100_000)).is_err());
}

#[test]
fn words_for_now_need_a_clock() {
    assert!(parse_timestamptz_micros(b"now", &TextOptions::default()).is_err());
    let options = TextOptions { now_micros: Some(86_400_000_000 + 5), ..berlin() };
    assert_eq!(parse_timestamptz_micros(b"now", &options).unwrap(), 86_400_000_005);
    assert_eq!(parse_date_days(b"tomorrow", &options).unwrap(), 2);
    assert_eq!(parse_timestamptz_micros(b"today", &options).unwrap(), 82_800_000_000);
}

#[test]
fn zones_are_found_and_named() {
    assert_eq!(Zone::from_name("utc"), Some(Zone::Utc));
    assert_eq!(Zone::from_name("UTC+3"), Some(Zone::Fixed(-10_800)));
    assert_eq!(Zone::from_name("-02:30"), Some(Zone::Fixed(9_000)));
    assert_eq!(Zone::from_name("nowhere/else"), None);
    assert_eq!(berlin().zone.name(), "Europe/Berlin");
}

#[test]
fn plain_numeric_columns_trim_zeros() {
    let field = PgType::Numeric(None).field("n", true);
    assert_eq!(field.metadata().get(TYPE_KEY).map(String::as_str), Some("numeric"));
    let value = parse_text("12.50", &PgType::Numeric(None), &berlin()).unwrap();
    let batch = RecordBatch::try_from_iter([("n", value.to_array().unwrap())]).unwrap();
    assert_eq!(write(batch.column(0), &field, 0).0, "12.5");
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(0u8..128, 0..40)) {
        let text = String::from_utf8(bytes).unwrap();
        for line in ["boolean", "integer", "real", "double precision", "numeric", "numeric(12,2)", "date", "time",
            "timestamp", "timestamptz", "interval", "bytea", "uuid", "jsonb", "int[]", "text[]", "interval[]"] {
            let ty = type_of(line);
            let _ = parse_binary(text.as_bytes(), &ty, &berlin());
            if let Ok(value) = parse_text(&text, &ty, &berlin()) {
                write(&value.to_array().unwrap(), &ty.field("c", true), 0);
            }
        }
    }

    #[test]
    fn date_like_text_never_panics(text in "[0-9]{1,7}[-/. ]?[0-9a-zJ]{0,4}[-/. :T]?[0-9]{0,9}[-+:. ]?[0-9:BCPM]{0,6}") {
        for ty in ["date", "time", "timestamp", "timestamptz", "interval"] {
            let ty = type_of(ty);
            if let Ok(value) = parse_text(&text, &ty, &berlin()) {
                write(&value.to_array().unwrap(), &ty.field("c", true), 0);
            }
        }
    }

    #[test]
    fn timestamps_come_back(micros in -200_000_000_000_000_000i64..9_000_000_000_000_000_000) {
        let mut text = Vec::new();
        write_timestamp(micros, Some(&Zone::Utc), &mut text);
        proptest::prop_assert_eq!(parse_timestamptz_micros(&text, &berlin()).unwrap(), micros);
        text.clear();
        write_timestamp(micros, None, &mut text);
        proptest::prop_assert_eq!(parse_timestamp_micros(&text, &berlin()).unwrap(), micros);
    }

    #[test]
    fn numerics_come_back(value in -10i128.pow(38) + 1..10i128.pow(38)) {
        let text = numeric(value, 10, NumericStyle::Trimmed);
        proptest::prop_assert_eq!(parse_numeric(text.as_bytes(), 38, 10).unwrap(), value);
    }

    #[test]
    fn floats_come_back(bits in 0u64..=u64::MAX) {
        let value = f64::from_bits(bits);
        let mut text = Vec::new();
        write_float8(value, &mut text);
        let back = parse_float8(&text).unwrap();
        proptest::prop_assert!(back == value || back.is_nan() && value.is_nan());
    }
}
