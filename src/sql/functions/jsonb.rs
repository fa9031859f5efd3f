//! jsonb: canonical text, operators and functions.
//!
//! The carrier is text in the form PostgreSQL prints: object keys unique and ordered by
//! length, then bytes; one space after `:` and `,`. Equal values have equal text, so
//! equality, hashing and grouping need nothing else.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use serde_json::Value;

use super::column::Column;
use super::datum::{Cx, Datum, Function, Kind, Ret};
use super::decimal::Numeric;
use super::format::format_datum;
use super::jsonb_edit::equal;
use crate::error::{HwError, Result, sqlstate};

/// Parses and canonicalises; 22P02 if malformed, 22P05 for `\u0000`.
pub fn canonical_json(text: &str) -> Result<String> {
    let value: Value = serde_json::from_str(text).map_err(|e| {
        HwError::new(sqlstate::INVALID_TEXT_REPRESENTATION, "invalid input syntax for type json")
            .with_detail(format!("{e}."))
    })?;
    let canonical = to_text(&value);
    if canonical.contains("\\u0000") {
        return Err(HwError::new(sqlstate::UNTRANSLATABLE_CHARACTER, "unsupported Unicode escape sequence")
            .with_detail("\\u0000 cannot be converted to text."));
    }
    Ok(canonical)
}

/// Canonical text of a value.
pub fn to_text(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by(|a, b| (a.0.len(), a.0).cmp(&(b.0.len(), b.0)));
            out.push('{');
            for (i, (key, value)) in entries.into_iter().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push_str(": ");
                write(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (i, value) in items.iter().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                write(value, out);
            }
            out.push(']');
        }
        Value::Number(n) => {
            let mut text = n.to_string();
            if text.starts_with('-') && !text.contains(|c: char| matches!(c, '1'..='9')) {
                // numeric has no negative zero
                text.remove(0);
            }
            match text.contains(['e', 'E']).then(|| Numeric::parse(&text)).flatten() {
                Some(n) => out.push_str(&n.to_string()),
                None => out.push_str(&text),
            }
        }
        other => out.push_str(&other.to_string()),
    }
}

pub(super) fn parse(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|e| HwError::internal(format!("stored jsonb is malformed: {e}")))
}

pub(super) fn json(value: &Value) -> Datum<'static> {
    Datum::Json(to_text(value).into())
}

/// `->>`'s reading of a value: strings bare, null as NULL.
pub(super) fn as_text(value: &Value) -> Datum<'static> {
    match value {
        Value::Null => Datum::Null,
        Value::String(s) => Datum::Text(s.clone().into()),
        other => Datum::Text(to_text(other).into()),
    }
}

/// A member by name, or an element by position (from the end if negative).
fn member<'v>(value: &'v Value, key: &Datum) -> Option<&'v Value> {
    match (value, key) {
        (Value::Object(map), Datum::Text(name)) => map.get(name.as_ref()),
        (Value::Array(items), Datum::Int(n)) => {
            let at = if *n < 0 { items.len() as i64 + n } else { *n };
            usize::try_from(at).ok().and_then(|at| items.get(at))
        }
        // A scalar counts as an array of itself.
        (scalar, Datum::Int(0 | -1)) if !scalar.is_object() => Some(scalar),
        _ => None,
    }
}

fn path<'v>(value: &'v Value, steps: &[Option<String>]) -> Option<&'v Value> {
    steps.iter().try_fold(value, |value, step| {
        let step = step.as_ref()?;
        match value {
            Value::Array(_) => member(value, &Datum::Int(step.parse().ok()?)),
            _ => member(value, &Datum::text(step.as_str())),
        }
    })
}

fn steps(array: &ArrayRef) -> Vec<Option<String>> {
    let column = Column::of(array.as_ref());
    (0..array.len())
        .map(|i| match column.get(i) {
            Datum::Text(s) => Some(s.into_owned()),
            _ => None,
        })
        .collect()
}

pub(super) fn steps_of(value: &Datum) -> Vec<Option<String>> {
    match value {
        Datum::List(array) => steps(array),
        Datum::Text(s) => {
            let inner = s.trim().trim_start_matches('{').trim_end_matches('}');
            let parts = inner.split(',').map(|p| p.trim().trim_matches('"').to_string());
            parts.filter(|p| !p.is_empty()).map(Some).collect()
        }
        _ => vec![],
    }
}

/// `@>`.
fn contains(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            b.iter().all(|(k, v)| a.get(k).is_some_and(|have| contains(have, v)))
        }
        (Value::Array(a), Value::Array(b)) => b.iter().all(|v| a.iter().any(|have| contains(have, v))),
        (Value::Array(a), scalar) if !scalar.is_object() => a.iter().any(|have| equal(have, scalar)),
        _ => equal(a, b),
    }
}

fn has_key(value: &Value, key: &str) -> bool {
    match value {
        Value::Object(map) => map.contains_key(key),
        Value::Array(items) => items.iter().any(|v| v.as_str() == Some(key)),
        Value::String(s) => s == key,
        _ => false,
    }
}

/// `to_jsonb` of one value.
fn value_of(value: &Datum, cx: &Cx, arg: usize) -> Result<Value> {
    Ok(match value {
        Datum::Null => Value::Null,
        Datum::Bool(b) => Value::Bool(*b),
        Datum::Int(v) => Value::from(*v),
        Datum::Json(s) => parse(s)?,
        Datum::RawJson(s) => parse(&canonical_json(s)?)?,
        Datum::Num(_) | Datum::Float(_) => {
            let text = cx.args.get(arg).map_or(String::new(), |f| format_datum(value, f, &cx.zone));
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        }
        Datum::List(array) => {
            let column = Column::of(array.as_ref());
            let items = (0..array.len()).map(|i| value_of(&column.get(i), cx, arg));
            Value::Array(items.collect::<Result<_>>()?)
        }
        Datum::Ts(_) => Value::String(print(value, cx, arg).replacen(' ', "T", 1)),
        Datum::Tstz(_) => Value::String(iso_zone(print(value, cx, arg).replacen(' ', "T", 1))),
        other => Value::String(print(other, cx, arg)),
    })
}

/// A timestamp with minutes in its offset.
pub(super) fn iso_zone(mut text: String) -> String {
    let offset = text.rfind(['+', '-']).filter(|at| text.contains('T') && text.len() - at == 3);
    if offset.is_some() {
        text.push_str(":00");
    }
    text
}

pub(super) fn print(value: &Datum, cx: &Cx, arg: usize) -> String {
    let fallback = arrow::datatypes::Field::new("v", arrow::datatypes::DataType::Utf8, true);
    format_datum(value, cx.args.get(arg).map_or(&fallback, |f| f.as_ref()), &cx.zone)
}

fn build_object<'a>(cx: &Cx, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    if !args.len().is_multiple_of(2) {
        let message = "argument list must have even number of elements";
        return Err(HwError::new(sqlstate::INVALID_PARAMETER_VALUE, message));
    }
    let mut map = serde_json::Map::new();
    for (i, pair) in args.chunks(2).enumerate() {
        if pair[0].is_null() {
            let message = format!("argument {}: key must not be null", 2 * i + 1);
            return Err(HwError::new(sqlstate::INVALID_PARAMETER_VALUE, message));
        }
        map.insert(print(&pair[0], cx, 2 * i), value_of(&pair[1], cx, 2 * i + 1)?);
    }
    Ok(json(&Value::Object(map)))
}

pub(super) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A jsonb scalar as text for a cast to another type; 22023 if it is not of that sort.
pub fn scalar_text(text: &str, want: &str, to: &str) -> Result<Option<String>> {
    let value = parse(text)?;
    match &value {
        Value::Null => Ok(None),
        Value::Number(_) if want == "number" => Ok(Some(to_text(&value))),
        Value::Bool(b) if want == "boolean" => Ok(Some(b.to_string())),
        other => {
            let sort = if type_of(other) == "number" { "numeric" } else { type_of(other) };
            Err(HwError::new(
                sqlstate::INVALID_PARAMETER_VALUE,
                format!("cannot cast jsonb {sort} to type {to}"),
            ))
        }
    }
}

fn strip_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, strip_nulls(v))).collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(strip_nulls).collect()),
        other => other,
    }
}

fn concat(a: Value, b: Value) -> Value {
    let list = |v: Value| match v {
        Value::Array(items) => items,
        other => vec![other],
    };
    match (a, b) {
        (Value::Object(mut a), Value::Object(b)) => {
            a.extend(b);
            Value::Object(a)
        }
        (a, b) => Value::Array(list(a).into_iter().chain(list(b)).collect()),
    }
}

/// `jsonb_pretty`: four spaces a level, one member or element a line.
fn pretty(value: &Value, level: usize, out: &mut String) {
    let (open, close, items): (char, char, Vec<(Option<&String>, &Value)>) = match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().map(|(k, v)| (Some(k), v)).collect();
            entries.sort_by_key(|(k, _)| (k.map(|k| k.len()), *k));
            ('{', '}', entries)
        }
        Value::Array(items) => ('[', ']', items.iter().map(|v| (None, v)).collect()),
        scalar => return write(scalar, out),
    };
    let line = |level: usize, out: &mut String| {
        out.push('\n');
        out.push_str(&"    ".repeat(level));
    };
    out.push(open);
    for (at, (key, item)) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        line(level + 1, out);
        if let Some(key) = key {
            out.push_str(&Value::String(key.clone()).to_string());
            out.push_str(": ");
        }
        pretty(item, level + 1, out);
    }
    line(level, out);
    out.push(close);
}

fn keys(value: &Value) -> ArrayRef {
    let names = value.as_object().map(|m| m.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    Arc::new(StringArray::from(names))
}

/// Every jsonb function; operators are planned as calls of the `jsonb_…` names.
pub fn functions() -> Vec<Function> {
    [accessors(), predicates(), builders()].into_iter().flatten().collect()
}

fn accessors() -> Vec<Function> {
    use Kind::*;
    vec![
        Function::new("jsonb_object_field")
            .on(&[Jsonb, Text], Jsonb, |_, a| {
                Ok(member(&parse(a[0].as_str())?, &a[1]).map_or(Datum::Null, json))
            })
            .on(&[Jsonb, Int4], Jsonb, |_, a| {
                Ok(member(&parse(a[0].as_str())?, &a[1]).map_or(Datum::Null, json))
            })
            .on(&[Jsonb, Int8], Jsonb, |_, a| {
                Ok(member(&parse(a[0].as_str())?, &a[1]).map_or(Datum::Null, json))
            }),
        Function::new("jsonb_object_field_text")
            .on(&[Jsonb, Text], Text, |_, a| {
                Ok(member(&parse(a[0].as_str())?, &a[1]).map_or(Datum::Null, as_text))
            })
            .on(&[Jsonb, Int4], Text, |_, a| {
                Ok(member(&parse(a[0].as_str())?, &a[1]).map_or(Datum::Null, as_text))
            })
            .on(&[Jsonb, Int8], Text, |_, a| {
                Ok(member(&parse(a[0].as_str())?, &a[1]).map_or(Datum::Null, as_text))
            }),
        Function::new("jsonb_path_get")
            .on(&[Jsonb, TextArray], Jsonb, |_, a| {
                Ok(path(&parse(a[0].as_str())?, &steps_of(&a[1])).map_or(Datum::Null, json))
            })
            .on(&[Jsonb, Text], Jsonb, |_, a| {
                Ok(path(&parse(a[0].as_str())?, &steps_of(&a[1])).map_or(Datum::Null, json))
            }),
        Function::new("jsonb_path_get_text")
            .on(&[Jsonb, TextArray], Text, |_, a| {
                Ok(path(&parse(a[0].as_str())?, &steps_of(&a[1])).map_or(Datum::Null, as_text))
            })
            .on(&[Jsonb, Text], Text, |_, a| {
                Ok(path(&parse(a[0].as_str())?, &steps_of(&a[1])).map_or(Datum::Null, as_text))
            }),
        Function::new("jsonb_extract_path").variadic(&[Jsonb, Text], Ret::Is(Jsonb), |_, a| {
            let steps: Vec<_> = a[1..].iter().map(|s| Some(s.as_str().to_string())).collect();
            Ok(path(&parse(a[0].as_str())?, &steps).map_or(Datum::Null, json))
        }),
        Function::new("jsonb_extract_path_text").variadic(&[Jsonb, Text], Ret::Is(Text), |_, a| {
            let steps: Vec<_> = a[1..].iter().map(|s| Some(s.as_str().to_string())).collect();
            Ok(path(&parse(a[0].as_str())?, &steps).map_or(Datum::Null, as_text))
        }),
    ]
}

fn predicates() -> Vec<Function> {
    use Kind::*;
    vec![
        Function::new("jsonb_contains").on(&[Jsonb, Jsonb], Bool, |_, a| {
            Ok(Datum::Bool(contains(&parse(a[0].as_str())?, &parse(a[1].as_str())?)))
        }),
        Function::new("jsonb_exists")
            .on(&[Jsonb, Text], Bool, |_, a| Ok(Datum::Bool(has_key(&parse(a[0].as_str())?, a[1].as_str())))),
        Function::new("jsonb_exists_any").on(&[Jsonb, TextArray], Bool, |_, a| {
            let value = parse(a[0].as_str())?;
            Ok(Datum::Bool(steps_of(&a[1]).iter().flatten().any(|k| has_key(&value, k))))
        }),
        Function::new("jsonb_exists_all").on(&[Jsonb, TextArray], Bool, |_, a| {
            let value = parse(a[0].as_str())?;
            Ok(Datum::Bool(steps_of(&a[1]).iter().flatten().all(|k| has_key(&value, k))))
        }),
        Function::new("jsonb_concat").on(&[Jsonb, Jsonb], Jsonb, |_, a| {
            Ok(json(&concat(parse(a[0].as_str())?, parse(a[1].as_str())?)))
        }),
    ]
}

fn builders() -> Vec<Function> {
    use Kind::*;
    vec![
        Function::new("jsonb_build_object").called_on_null().variadic(&[Any], Ret::Is(Jsonb), build_object),
        Function::new("jsonb_build_array").called_on_null().variadic(&[Any], Ret::Is(Jsonb), |cx, a| {
            let items = a.iter().enumerate().map(|(i, v)| value_of(v, cx, i));
            Ok(json(&Value::Array(items.collect::<Result<_>>()?)))
        }),
        Function::new("to_jsonb").on(&[Any], Jsonb, |cx, a| Ok(json(&value_of(&a[0], cx, 0)?))),
        Function::new("jsonb_typeof")
            .on(&[Jsonb], Text, |_, a| Ok(Datum::text(type_of(&parse(a[0].as_str())?)))),
        Function::new("jsonb_array_length").on(&[Jsonb], Int4, |_, a| match parse(a[0].as_str())? {
            Value::Array(items) => Ok(Datum::Int(items.len() as i64)),
            other => {
                let sort = if other.is_object() { "a non-array" } else { "a scalar" };
                let message = format!("cannot get array length of {sort}");
                Err(HwError::new(sqlstate::INVALID_PARAMETER_VALUE, message))
            }
        }),
        Function::new("jsonb_strip_nulls")
            .on(&[Jsonb], Jsonb, |_, a| Ok(json(&strip_nulls(parse(a[0].as_str())?)))),
        Function::new("jsonb_pretty").on(&[Jsonb], Text, |_, a| {
            let mut out = String::new();
            pretty(&parse(a[0].as_str())?, 0, &mut out);
            Ok(Datum::Text(out.into()))
        }),
        Function::new("jsonb_keys")
            .ret(&[Jsonb], Ret::Is(TextArray), |_, a| Ok(Datum::List(keys(&parse(a[0].as_str())?)))),
    ]
}
