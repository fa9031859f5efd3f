use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use arrow::util::display::array_value_to_string;
use proptest::prelude::*;

use super::*;
use crate::types::pg_type::PgType;

fn decoder(fields: Vec<Field>) -> JsonDecoder {
    JsonDecoder::new(Arc::new(Schema::new(fields)), JsonLimits::default()).unwrap()
}

/// What column `v` of type `ty` holds after `{"v": value}`, or the SQLSTATE.
fn value(ty: &PgType, value: &str) -> Result<String, &'static str> {
    let mut d = decoder(vec![ty.field("v", true)]);
    let record = format!("{{\"v\": {value}}}");
    d.push(record.as_bytes()).map_err(|e| e.sqlstate())?;
    let batch = d.finish().unwrap();
    let column = batch.column(0);
    if column.is_null(0) {
        return Ok("NULL".into());
    }
    Ok(match ty {
        PgType::Bytea => format!("{:?}", column.as_binary::<i32>().value(0)),
        PgType::Timestamp | PgType::Timestamptz => {
            column.as_primitive::<TimestampMicrosecondType>().value(0).to_string()
        }
        PgType::Date => column.as_primitive::<Date32Type>().value(0).to_string(),
        PgType::Time => column.as_primitive::<Time64MicrosecondType>().value(0).to_string(),
        PgType::Interval => {
            let i = column.as_primitive::<IntervalMonthDayNanoType>().value(0);
            format!("{} {} {}", i.months, i.days, i.nanoseconds / 1_000)
        }
        PgType::Json => String::from_utf8(column.as_binary::<i64>().value(0).to_vec()).unwrap(),
        PgType::Float8 => column.as_primitive::<Float64Type>().value(0).to_string(),
        _ => array_value_to_string(column, 0).unwrap(),
    })
}

fn check(ty: PgType, cases: &[(&str, Result<&str, &'static str>)]) {
    for (text, expect) in cases {
        assert_eq!(value(&ty, text), expect.map(str::to_string), "{text} as {ty:?}");
    }
}

#[test]
fn integers_follow_casts_from_text() {
    check(
        PgType::Int4,
        &[
            ("2147483647", Ok("2147483647")),
            ("-2147483648", Ok("-2147483648")),
            ("2147483648", Err("22003")),
            ("\" 42 \"", Ok("42")),
            ("\"+7\"", Ok("7")),
            ("1.5", Err("22P02")),
            ("1e3", Err("22P02")),
            ("\"abc\"", Err("22P02")),
            ("\"\"", Err("22P02")),
            ("true", Err("22P02")),
            ("{}", Err("22P02")),
            ("1e400", Err("22P02")),
            ("null", Ok("NULL")),
        ],
    );
    check(PgType::Int2, &[("-32768", Ok("-32768")), ("32768", Err("22003"))]);
    check(
        PgType::Int8,
        &[
            ("9223372036854775807", Ok("9223372036854775807")),
            ("-9223372036854775808", Ok("-9223372036854775808")),
            ("9223372036854775808", Err("22003")),
            ("-0", Ok("0")),
            ("\"\\u0031\\u0032\"", Ok("12")),
        ],
    );
}

#[test]
fn numerics_are_exact() {
    check(
        PgType::Numeric(Some((6, 2))),
        &[
            ("1.005", Ok("1.01")),
            ("-1.005", Ok("-1.01")),
            ("1.0049999999999999999", Ok("1.00")),
            ("9999.994", Ok("9999.99")),
            ("9999.995", Err("22003")),
            ("1.5e2", Ok("150.00")),
            ("\"12.3\"", Ok("12.30")),
            ("1e-3", Ok("0.00")),
            ("0.006", Ok("0.01")),
            ("1e999999999999", Err("22003")),
            ("0e999999999999", Ok("0.00")),
            ("\"-Infinity\"", Err("22003")),
            ("\"1,5\"", Err("22P02")),
            ("\".\"", Err("22P02")),
        ],
    );
    check(
        PgType::Numeric(None),
        &[
            ("12345678901234567890.0123456789", Ok("12345678901234567890.0123456789")),
            ("0.1", Ok("0.1000000000")),
            ("1e28", Err("22003")),
        ],
    );
}

#[test]
fn floats_and_booleans() {
    check(
        PgType::Float8,
        &[
            ("1e3", Ok("1000")),
            ("-0.0", Ok("-0")),
            ("\"NaN\"", Ok("NaN")),
            ("\"-Infinity\"", Ok("-inf")),
            ("1e400", Err("22003")),
            ("1e-400", Err("22003")),
            ("0e-400", Ok("0")),
            ("\"x\"", Err("22P02")),
        ],
    );
    assert!(value(&PgType::Float8, "1e-320").is_ok());
    check(
        PgType::Bool,
        &[
            ("true", Ok("true")),
            ("\"f\"", Ok("false")),
            ("\"on\"", Ok("true")),
            ("\"o\"", Err("22P02")),
            ("1", Ok("true")),
            ("2", Err("22P02")),
        ],
    );
}

#[test]
fn text_and_varchar() {
    check(
        PgType::Text,
        &[
            ("\"a\\n\\\"\\u00e4\\ud83d\\ude00\"", Ok("a\n\"ä😀")),
            ("12.50", Ok("12.50")),
            ("false", Ok("false")),
            ("{\"a\": [1, 2]}", Ok("{\"a\": [1, 2]}")),
            ("\"\\u0000\"", Err("22P05")),
            ("\"\\ud800\"", Err("22P05")),
            ("\"\\ud800\\u0041\"", Err("22P05")),
            ("\"\\udc00\"", Err("22P05")),
        ],
    );
    check(
        PgType::Varchar(Some(3)),
        &[("\"äöü\"", Ok("äöü")), ("\"abcd\"", Err("22001")), ("\"abc  \"", Ok("abc"))],
    );
}

#[test]
fn jsonb_is_canonical() {
    check(
        PgType::Jsonb,
        &[
            ("{\"bb\":1,\"a\":2,\"c\":{\"x\":null}}", Ok("{\"a\": 2, \"c\": {\"x\": null}, \"bb\": 1}")),
            ("{\"a\":1,\"a\":[1,\"x\"]}", Ok("{\"a\": [1, \"x\"]}")),
            ("[1.50,1e3,1.5e-3,-0.0,1.50e1,0e5,12e-1]", Ok("[1.50, 1000, 0.0015, 0.0, 15.0, 0, 1.2]")),
            ("\"\\u0041\\/\\u0001\\b\"", Ok("\"A/\\u0001\\b\"")),
            ("[]", Ok("[]")),
            ("{}", Ok("{}")),
            ("\"\\u0000\"", Err("22P05")),
            ("1e200000", Err("22003")),
            ("true", Ok("true")),
        ],
    );
}

#[test]
fn json_is_kept_as_written() {
    check(
        PgType::Json,
        &[
            ("{\"bb\":1, \"a\" :2,\"a\":[ 1]}", Ok("{\"bb\":1, \"a\" :2,\"a\":[ 1]}")),
            ("\"\\u0041\\u0000\"", Ok("\"\\u0041\\u0000\"")),
            ("1e200000", Ok("1e200000")),
            ("true", Ok("true")),
            ("null", Ok("NULL")),
        ],
    );
}

#[test]
fn dates_and_times() {
    check(
        PgType::Timestamptz,
        &[
            ("\"1970-01-01T00:00:01Z\"", Ok("1000000")),
            ("\"1970-01-01 01:00:00+01\"", Ok("0")),
            ("\"1970-01-01T00:00:00.1234567-00:30\"", Ok("1800123457")),
            ("\"1970-01-01 00:00:00 UTC\"", Ok("0")),
            ("\"1970-01-02\"", Ok("86400000000")),
            ("1500", Ok("1500000")),
            ("1.5", Ok("1500")),
            ("\"0001-01-01 00:00:00 BC\"", Ok("-62167219200000000")),
            ("\"9999-12-31T23:59:59.999999Z\"", Ok("253402300799999999")),
            ("\"294246-12-31 00:00:00\"", Ok("9223371158400000000")),
            ("\"294277-01-01 00:00:00\"", Err("22008")),
            ("9223372036854775807", Err("22008")),
            ("\"2026-02-29\"", Err("22008")),
            ("\"2026-13-01\"", Err("22008")),
            ("\"2026-01-01T25:00\"", Err("22008")),
            ("\"today-ish\"", Err("22007")),
            ("\"1970-01-01T24:00:00Z\"", Ok("86400000000")),
            ("true", Err("22007")),
        ],
    );
    check(PgType::Timestamp, &[("\"1970-01-01 00:00:01+05\"", Ok("1000000"))]);
    check(
        PgType::Date,
        &[
            ("\"1970-01-02\"", Ok("1")),
            ("\"19700103\"", Ok("2")),
            ("\"1970-01-02T10:00:00\"", Ok("1")),
            ("\"4714-11-24 BC\"", Ok("-2440588")),
            ("\"4714-11-23 BC\"", Err("22008")),
            ("\"1969-12-31\"", Ok("-1")),
        ],
    );
    check(PgType::Time, &[("\"10:20:30.5\"", Ok("37230500000")), ("\"24:00:01\"", Err("22008"))]);
    check(
        PgType::Interval,
        &[
            ("\"1 year 2 mons 3 days 04:05:06.5\"", Ok("14 3 14706500000")),
            ("\"P1Y2M3DT4H5M6.5S\"", Ok("14 3 14706500000")),
            ("\"1.5 days ago\"", Ok("0 -1 -43200000000")),
            ("\"-01:00:00\"", Ok("0 0 -3600000000")),
            ("\"2h\"", Ok("0 0 7200000000")),
            ("\"soon\"", Err("22007")),
        ],
    );
}

#[test]
fn uuid_and_bytea() {
    let uuid = "\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\"";
    assert_eq!(value(&PgType::Uuid, uuid), Ok("a0eebc999c0b4ef8bb6d6bb9bd380a11".into()));
    check(PgType::Uuid, &[("\"a0eebc99\"", Err("22P02")), ("7", Err("22P02"))]);
    check(
        PgType::Bytea,
        &[
            ("\"\\\\x00fF\"", Ok("[0, 255]")),
            ("\"a\\\\001\"", Ok("[97, 1]")),
            ("\"\\\\x0\"", Err("22023")),
            ("\"\\\\9\"", Err("22P02")),
        ],
    );
}

#[test]
fn arrays_and_structs() {
    let ints = PgType::Array(Box::new(PgType::Int4));
    check(
        ints,
        &[
            ("[1,null,\"3\"]", Ok("[1, , 3]")),
            ("[]", Ok("[]")),
            ("5", Err("22P02")),
            ("[1,\"x\"]", Err("22P02")),
        ],
    );
    let person = Fields::from(vec![PgType::Int8.field("id", false), PgType::Text.field("name", true)]);
    let mut d = decoder(vec![Field::new("person", DataType::Struct(person), true)]);
    d.push(br#"{"person":{"name":"Ann","id":7,"x":[{}]}}"#).unwrap();
    d.push(br#"{"person":null}"#).unwrap();
    assert_eq!(d.push(br#"{"person":{"name":"Bob"}}"#).unwrap_err().sqlstate(), "23502");
    assert_eq!(d.push(br#"{"person":[1]}"#).unwrap_err().sqlstate(), "22P02");
    let batch = d.finish().unwrap();
    assert_eq!(batch.num_rows(), 2);
    let person = batch.column(0).as_struct();
    assert_eq!(person.column(0).as_primitive::<Int64Type>().value(0), 7);
    assert!(person.is_null(1));
}

#[test]
fn fields_are_found_by_name() {
    let mut d = decoder(vec![PgType::Int8.field("a", true), PgType::Int8.field("b", true)]);
    let records: [&[u8]; 8] = [
        br#"{"a":1,"b":2}"#,
        br#"{"b":4,"a":3}"#,
        br#" { "A" : 5 , "x":{"y":[1,"]"]}, "B":6 } "#,
        br#"{"a":7,"A":8,"b":9}"#,
        br#"{"A":10,"a":11}"#,
        br#"{"a":12,"a":13}"#,
        br#"{"a":"bad","a":14}"#,
        br#"{"\u0061":15}"#,
    ];
    for record in records {
        d.push(record).unwrap();
    }
    let batch = d.finish().unwrap();
    let column = |i: usize| batch.column(i).as_primitive::<Int64Type>().iter().collect::<Vec<_>>();
    let a: [i64; 8] = [1, 3, 5, 7, 11, 13, 14, 15];
    assert_eq!(column(0), a.map(Some));
    assert_eq!(column(1), [Some(2), Some(4), Some(6), Some(9), None, None, None, None]);
}

#[test]
fn malformed_records_are_refused_in_skipped_parts_too() {
    let deep = |n: usize| format!("{{\"x\":{}1{}}}", "[".repeat(n), "]".repeat(n));
    let bad: Vec<(Vec<u8>, &str)> = [
        ("", "22P02"),
        ("null", "22P02"),
        ("[1]", "22P02"),
        ("{", "22P02"),
        ("{\"x\":1", "22P02"),
        ("{\"x\":1}}", "22P02"),
        ("{\"x\":1} {\"x\":2}", "22P02"),
        ("\u{feff}{\"x\":1}", "22P02"),
        ("{\"x\":NaN}", "22P02"),
        ("{\"x\":01}", "22P02"),
        ("{\"x\":1.}", "22P02"),
        ("{\"x\":-}", "22P02"),
        ("{\"x\":[1,]}", "22P02"),
        ("{\"x\":[1}", "22P02"),
        ("{\"x\":{\"a\":1,}}", "22P02"),
        ("{\"x\":{\"a\"}}", "22P02"),
        ("{\"x\":\"a\nb\"}", "22P02"),
        ("{\"x\":\"\\q\"}", "22P02"),
        ("{\"x\":\"\\u12g4\"}", "22P02"),
        ("{\"x\":\"\\u12\"}", "22P02"),
        ("{\"x\":truth}", "22P02"),
        ("{\"x\":1,}", "22P02"),
        ("{x:1}", "22P02"),
        ("{'x':1}", "22P02"),
    ]
    .iter()
    .map(|(text, code)| (text.as_bytes().to_vec(), *code))
    .chain([
        (b"{\"x\":\"\xff\"}".to_vec(), "22021"),
        (deep(128).into_bytes(), "54000"),
        (deep(100_000).into_bytes(), "54000"),
    ])
    .collect();
    let mut d = decoder(vec![PgType::Int8.field("a", true)]);
    for (record, code) in bad {
        let shown = String::from_utf8_lossy(&record[..record.len().min(40)]).into_owned();
        assert_eq!(d.push(&record).map_err(|e| e.sqlstate()), Err(code), "{shown}");
        assert_eq!(d.len(), 0);
    }
    d.push(deep(127).as_bytes()).unwrap();
    d.push(b"{\"x\":{\"a\":[{},[],{\"b\":[1,{}]}],\"c\":\"\\u0000\"},\"a\":1}").unwrap();
    assert_eq!(d.finish().unwrap().num_rows(), 2);
    assert_eq!(d.push(&vec![b' '; (16 << 20) + 1]).unwrap_err().sqlstate(), "54000");
    assert!(d.push(deep(128).as_bytes()).unwrap_err().message().contains("depth > 128"));
}

#[test]
fn a_bad_record_leaves_no_trace() {
    let list = PgType::Array(Box::new(PgType::Text));
    let mut d = decoder(vec![
        list.field("l", true),
        PgType::Text.field("t", true),
        PgType::Jsonb.field("j", true),
        PgType::Int4.field("i", false),
    ]);
    d.push(br#"{"l":["a","b"],"t":"x","j":{"k":1},"i":1}"#).unwrap();
    assert_eq!(d.push(br#"{"l":["c"],"t":"y","j":{"k":2}}"#).unwrap_err().sqlstate(), "23502");
    assert_eq!(d.push(br#"{"l":["c","\ud800"],"t":"y","i":2}"#).unwrap_err().sqlstate(), "22P05");
    assert_eq!(d.push(br#"{"l":["c"],"t":"y","j":["a\u0000"],"i":2}"#).unwrap_err().sqlstate(), "22P05");
    assert_eq!(d.push(br#"{"l":["c"],"t":"y","i":2"#).unwrap_err().sqlstate(), "22P02");
    d.push(br#"{"i":3,"t":"z","l":[]}"#).unwrap();
    let batch = d.finish().unwrap();
    assert_eq!(batch.num_rows(), 2);
    assert_eq!(batch.column(0).as_list::<i32>().values().len(), 2);
    let texts: Vec<_> = batch.column(1).as_string::<i32>().iter().collect();
    assert_eq!(texts, [Some("x"), Some("z")]);
    assert_eq!(d.finish().unwrap().num_rows(), 0);
}

#[test]
fn no_wanted_columns_still_counts_rows() {
    let mut d = decoder(vec![]);
    d.push(b"{}").unwrap();
    assert!(d.push(b"{").is_err());
    d.push(br#"{"a":[1,2]}"#).unwrap();
    assert_eq!(d.finish().unwrap().num_rows(), 2);
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value as J;
    let leaf = prop_oneof![
        Just(J::Null),
        any::<bool>().prop_map(J::from),
        any::<i64>().prop_map(J::from),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(J::from),
        "[^\u{0}]{0,40}".prop_map(J::from),
        "[a-z\"\\\\\u{1}-\u{1f}]{0,20}".prop_map(J::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(J::from),
            prop::collection::vec(("[a-zA-Z\\\\\"é]{0,4}", inner), 0..5)
                .prop_map(|fields| J::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn equals_serde_json(a in any_json(), b in any_json(), pretty in any::<bool>()) {
        let record = serde_json::json!({"skipped": &b, "j": &a, "t": &a, "other": &b});
        let text = if pretty { serde_json::to_string_pretty(&record) } else { serde_json::to_string(&record) };
        let mut d = decoder(vec![PgType::Jsonb.field("j", true), PgType::Text.field("t", true)]);
        d.push(text.unwrap().as_bytes()).unwrap();
        let batch = d.finish().unwrap();
        let jsonb = batch.column(0).as_string::<i64>().value(0);
        let read: serde_json::Value = serde_json::from_str(if a.is_null() { "null" } else { jsonb }).unwrap();
        prop_assert!(same(&read, &a), "{} as {}", a, jsonb);
        let text = batch.column(1).as_string::<i32>();
        match &a {
            serde_json::Value::Null => prop_assert!(text.is_null(0)),
            serde_json::Value::String(s) => prop_assert_eq!(text.value(0), s),
            other => prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(text.value(0)).unwrap(), other),
        }
    }

    #[test]
    fn accepts_what_serde_json_accepts(record in json_like()) {
        let mut d = decoder(vec![PgType::Int8.field("zzz", true)]);
        let ours = d.push(&record).is_ok();
        // Fields are kept apart, so that a duplicate is no difference.
        let theirs = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&record);
        let escape = String::from_utf8_lossy(&record).contains("\\u");
        if !escape {
            prop_assert_eq!(ours, theirs.is_ok(), "{:?}", String::from_utf8_lossy(&record));
        }
    }

    #[test]
    fn never_panics_and_columns_stay_equal(records in prop::collection::vec(json_like(), 1..6)) {
        let list = PgType::Array(Box::new(PgType::Int4));
        let inner = Fields::from(vec![PgType::Float8.field("a", true), PgType::Text.field("b", false)]);
        let mut d = decoder(vec![
            PgType::Int4.field("a", true),
            PgType::Text.field("b", true),
            list.field("c", true),
            Field::new("d", DataType::Struct(inner), true),
            PgType::Timestamptz.field("e", true),
            PgType::Numeric(Some((10, 3))).field("f", true),
            PgType::Jsonb.field("g", true),
        ]);
        let good = records.iter().filter(|r| d.push(r).is_ok()).count();
        let batch = d.finish().unwrap();
        prop_assert_eq!(batch.num_rows(), good);
    }

    #[test]
    fn the_same_records_are_good_whatever_is_wanted(records in prop::collection::vec(json_like(), 1..6), wanted: u8) {
        let all = [
            PgType::Int4.field("a", true),
            PgType::Text.field("b", true),
            PgType::Array(Box::new(PgType::Int4)).field("c", true),
            PgType::Varchar(Some(3)).field("d", true),
            PgType::Timestamptz.field("e", true),
            PgType::Numeric(Some((10, 3))).field("f", true),
            PgType::Jsonb.field("g", true),
        ];
        let (kept, checked): (Vec<_>, Vec<_>) =
            all.iter().enumerate().partition(|(i, _)| wanted >> i & 1 == 1);
        let fields = |part: Vec<(usize, &Field)>| part.into_iter().map(|(_, f)| f.clone()).collect::<Fields>();
        let kept = Arc::new(Schema::new(fields(kept)));
        let mut part = JsonDecoder::checking(kept.clone(), &fields(checked), JsonLimits::default()).unwrap();
        let mut whole = decoder(all.to_vec());
        for record in &records {
            prop_assert_eq!(part.push(record).map_err(|e| e.message().to_string()),
                whole.push(record).map_err(|e| e.message().to_string()));
        }
        let whole = whole.finish().unwrap();
        let columns: Vec<usize> = kept.fields().iter().map(|f| whole.schema().index_of(f.name()).unwrap()).collect();
        prop_assert_eq!(part.finish().unwrap(), whole.project(&columns).unwrap());
    }

    #[test]
    fn values_never_panic(text in "[-+0-9.:eETZPMYWDHSC \\\\x{}a-z]{0,24}") {
        for ty in [PgType::Int8, PgType::Float4, PgType::Float8, PgType::Numeric(None), PgType::Bool, PgType::Date,
            PgType::Time, PgType::Timestamp, PgType::Timestamptz, PgType::Interval, PgType::Uuid, PgType::Bytea] {
            let mut column = ValueColumn::new(&Arc::new(ty.field("v", true))).unwrap();
            let ok = column.push(Some(text.as_bytes())).is_ok();
            prop_assert_eq!(column.finish().unwrap().len(), ok as usize);
        }
    }
}

/// Equal, numbers by value.
fn same(a: &serde_json::Value, b: &serde_json::Value) -> bool {
    use serde_json::Value as J;
    match (a, b) {
        (J::Number(x), J::Number(y)) => x.as_f64() == y.as_f64(),
        (J::Array(x), J::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y)),
        (J::Object(x), J::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(k, v)| y.get(k).is_some_and(|w| same(v, w)))
        }
        _ => a == b,
    }
}

/// Valid records with up to two bytes changed, and plain noise.
fn json_like() -> impl Strategy<Value = Vec<u8>> {
    let fields = prop::collection::vec(("[a-g]", any_json()), 0..6);
    let text = fields.prop_map(|fields| {
        serde_json::to_vec(&serde_json::Value::Object(fields.into_iter().collect())).unwrap()
    });
    let text = text.boxed();
    let mutated = (text.clone(), prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3))
        .prop_map(|(mut bytes, changes)| {
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes
        });
    let noise =
        prop::collection::vec(prop::sample::select(b"{}[]\",:0123456789.eE-+truefalsn\\u ".to_vec()), 0..40);
    prop_oneof![4 => mutated, 1 => text, 2 => noise, 1 => prop::collection::vec(any::<u8>(), 0..60)]
}
