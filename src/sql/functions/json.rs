//! json: a document kept as it was written.
//!
//! The carrier is the text itself; what reads it is in [`super::json_text`]. Functions that make a
//! document write it with PostgreSQL's spaces, which differ from those of jsonb: `to_json` none,
//! `json_build_object` one before and after the colon. Parts of documents are embedded as they are.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, LargeBinaryArray, StringArray};
use arrow::datatypes::{DataType, Field};

use super::column::Column;
use super::datum::{Cx, Datum, Function, Kind, Ret};
use super::json_text::{Sort, as_text, at_path, element, member, parts, unquoted, without_nulls};
use super::jsonb::{iso_zone, print, steps_of};
use crate::error::{HwError, Result, sqlstate};
use crate::types::text::quote_json;

/// Stands before an element of `json_agg` that gets a line of its own; no document begins so.
pub const STRUCTURED: char = '\u{1}';

fn invalid(message: impl Into<String>) -> HwError {
    HwError::new(sqlstate::INVALID_PARAMETER_VALUE, message)
}

fn json(text: impl Into<String>) -> Datum<'static> {
    Datum::RawJson(text.into().into())
}

fn found<'a>(part: Option<&str>) -> Datum<'a> {
    part.map_or(Datum::Null, |p| Datum::RawJson(p.to_string().into()))
}

fn found_text<'a>(part: Option<&str>) -> Result<Datum<'a>> {
    let Some(part) = part else { return Ok(Datum::Null) };
    Ok(as_text(part)?.map_or(Datum::Null, |text| Datum::Text(text.into_owned().into())))
}

fn field<'t>(document: &'t Datum, key: &Datum) -> Result<Option<&'t str>> {
    match key {
        Datum::Int(at) => Ok(element(document.as_str(), *at)),
        key => member(document.as_str(), key.as_str()),
    }
}

/// `to_json` of one value.
fn write(value: &Datum, cx: &Cx, arg: usize, out: &mut String) {
    match value {
        Datum::Null => out.push_str("null"),
        Datum::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Datum::RawJson(text) | Datum::Json(text) => out.push_str(text),
        Datum::Int(_) | Datum::Num(_) | Datum::Float(_) => {
            let text = print(value, cx, arg);
            match text.ends_with(|c: char| c.is_ascii_digit()) {
                true => out.push_str(&text),
                false => quote_json(&text, out),
            }
        }
        Datum::List(items) => {
            out.push('[');
            let column = Column::of(items.as_ref());
            for at in 0..items.len() {
                if at > 0 {
                    out.push(',');
                }
                write(&column.get(at), cx, arg, out);
            }
            out.push(']');
        }
        Datum::Ts(_) => quote_json(&print(value, cx, arg).replacen(' ', "T", 1), out),
        Datum::Tstz(_) => quote_json(&iso_zone(print(value, cx, arg).replacen(' ', "T", 1)), out),
        other => quote_json(&print(other, cx, arg), out),
    }
}

fn key(value: &Datum, cx: &Cx, arg: usize, out: &mut String) -> Result<()> {
    if value.is_null() {
        return Err(invalid(format!("argument {}: key must not be null", arg + 1)));
    }
    quote_json(&print(value, cx, arg), out);
    Ok(())
}

/// Names and values as an object, with what stands between them.
fn object<'a>(cx: &Cx, args: &[Datum<'a>], comma: &str, colon: &str) -> Result<Datum<'a>> {
    if !args.len().is_multiple_of(2) {
        return Err(invalid("argument list must have even number of elements")
            .with_hint("The arguments of json_build_object() must consist of alternating keys and values."));
    }
    let mut out = String::from("{");
    for (i, pair) in args.chunks(2).enumerate() {
        if i > 0 {
            out.push_str(comma);
        }
        key(&pair[0], cx, 2 * i, &mut out)?;
        out.push_str(colon);
        write(&pair[1], cx, 2 * i + 1, &mut out);
    }
    out.push('}');
    Ok(json(out))
}

fn of_texts(pairs: impl Iterator<Item = (Option<String>, Option<String>)>) -> Result<Datum<'static>> {
    let mut out = String::from("{");
    for (i, (key, value)) in pairs.enumerate() {
        let null = || HwError::new(sqlstate::NULL_VALUE_NOT_ALLOWED, "null value not allowed for object key");
        if i > 0 {
            out.push_str(", ");
        }
        quote_json(&key.ok_or_else(null)?, &mut out);
        out.push_str(" : ");
        match value {
            Some(value) => quote_json(&value, &mut out),
            None => out.push_str("null"),
        }
    }
    out.push('}');
    Ok(json(out))
}

fn json_list(_: &[DataType]) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::LargeBinary, true)))
}

fn jsons<'t>(values: impl Iterator<Item = &'t str>) -> Datum<'static> {
    let array: ArrayRef = Arc::new(LargeBinaryArray::from_iter_values(values.map(str::as_bytes)));
    Datum::List(array)
}

fn texts<'t>(values: impl Iterator<Item = &'t str>) -> Result<Datum<'static>> {
    let texts: Vec<Option<String>> =
        values.map(|v| Ok(as_text(v)?.map(|t| t.into_owned()))).collect::<Result<_>>()?;
    let array: ArrayRef = Arc::new(StringArray::from(texts));
    Ok(Datum::List(array))
}

fn elements<'t>(document: &'t Datum, function: &str) -> Result<Vec<&'t str>> {
    match Sort::of(document.as_str()) {
        Sort::Array => Ok(parts(document.as_str()).into_iter().map(|p| p.value).collect()),
        Sort::Object => Err(invalid(format!("cannot call {function} on a non-array"))),
        _ => Err(invalid(format!("cannot call {function} on a scalar"))),
    }
}

fn members<'t>(document: &'t Datum) -> Result<Vec<super::json_text::Part<'t>>> {
    match Sort::of(document.as_str()) {
        Sort::Object => Ok(parts(document.as_str())),
        Sort::Array => Err(invalid("cannot deconstruct an array as an object")),
        _ => Err(invalid("cannot deconstruct a scalar")),
    }
}

fn names(parts: &[super::json_text::Part]) -> Result<Datum<'static>> {
    let names: Vec<String> =
        parts.iter().map(|p| Ok(unquoted(p.key.unwrap_or_default())?.into_owned())).collect::<Result<_>>()?;
    let array: ArrayRef = Arc::new(StringArray::from(names));
    Ok(Datum::List(array))
}

/// Every json function; operators are planned as calls of the first ones.
pub fn functions() -> Vec<Function> {
    [accessors(), lists(), builders()].into_iter().flatten().collect()
}

fn accessors() -> Vec<Function> {
    use Kind::*;
    vec![
        Function::new("json_object_field")
            .on(&[RawJson, Text], RawJson, |_, a| Ok(found(field(&a[0], &a[1])?)))
            .on(&[RawJson, Int8], RawJson, |_, a| Ok(found(field(&a[0], &a[1])?))),
        Function::new("json_object_field_text")
            .on(&[RawJson, Text], Text, |_, a| found_text(field(&a[0], &a[1])?))
            .on(&[RawJson, Int8], Text, |_, a| found_text(field(&a[0], &a[1])?)),
        Function::new("json_path_get")
            .on(&[RawJson, TextArray], RawJson, |_, a| Ok(found(at_path(a[0].as_str(), &steps_of(&a[1]))?)))
            .on(&[RawJson, Text], RawJson, |_, a| Ok(found(at_path(a[0].as_str(), &steps_of(&a[1]))?))),
        Function::new("json_path_get_text")
            .on(&[RawJson, TextArray], Text, |_, a| found_text(at_path(a[0].as_str(), &steps_of(&a[1]))?))
            .on(&[RawJson, Text], Text, |_, a| found_text(at_path(a[0].as_str(), &steps_of(&a[1]))?)),
        Function::new("json_extract_path").variadic(&[RawJson, Text], Ret::Is(RawJson), |_, a| {
            let steps: Vec<_> = a[1..].iter().map(|s| Some(s.as_str().to_string())).collect();
            Ok(found(at_path(a[0].as_str(), &steps)?))
        }),
        Function::new("json_extract_path_text").variadic(&[RawJson, Text], Ret::Is(Text), |_, a| {
            let steps: Vec<_> = a[1..].iter().map(|s| Some(s.as_str().to_string())).collect();
            found_text(at_path(a[0].as_str(), &steps)?)
        }),
        Function::new("json_typeof")
            .on(&[RawJson], Text, |_, a| Ok(Datum::text(Sort::of(a[0].as_str()).name()))),
        Function::new("json_array_length").on(&[RawJson], Int4, |_, a| match Sort::of(a[0].as_str()) {
            Sort::Array => Ok(Datum::Int(parts(a[0].as_str()).len() as i64)),
            Sort::Object => Err(invalid("cannot get array length of a non-array")),
            _ => Err(invalid("cannot get array length of a scalar")),
        }),
        Function::new("json_strip_nulls").on(&[RawJson], RawJson, |_, a| {
            let mut out = String::new();
            without_nulls(a[0].as_str(), &mut out);
            Ok(json(out))
        }),
    ]
}

fn lists() -> Vec<Function> {
    use Kind::*;
    vec![
        Function::new("json_element_list").ret(&[RawJson], Ret::Of(json_list), |_, a| {
            Ok(jsons(elements(&a[0], "json_array_elements")?.into_iter()))
        }),
        Function::new("json_element_texts").ret(&[RawJson], Ret::Is(TextArray), |_, a| {
            texts(elements(&a[0], "json_array_elements_text")?.into_iter())
        }),
        Function::new("json_keys").ret(&[RawJson], Ret::Is(TextArray), |_, a| {
            match Sort::of(a[0].as_str()) {
                Sort::Object => names(&parts(a[0].as_str())),
                Sort::Array => Err(invalid("cannot call json_object_keys on an array")),
                _ => Err(invalid("cannot call json_object_keys on a scalar")),
            }
        }),
        Function::new("json_key_list").ret(&[RawJson], Ret::Is(TextArray), |_, a| names(&members(&a[0])?)),
        Function::new("json_value_list")
            .ret(&[RawJson], Ret::Of(json_list), |_, a| Ok(jsons(members(&a[0])?.iter().map(|p| p.value)))),
        Function::new("json_value_texts")
            .ret(&[RawJson], Ret::Is(TextArray), |_, a| texts(members(&a[0])?.iter().map(|p| p.value))),
    ]
}

fn to_json(value: &Datum, cx: &Cx) -> String {
    let mut out = String::new();
    write(value, cx, 0, &mut out);
    out
}

fn builders() -> Vec<Function> {
    use Kind::*;
    vec![
        Function::new("to_json").on(&[Any], RawJson, |cx, a| Ok(json(to_json(&a[0], cx)))),
        Function::new("array_to_json").on(&[AnyArray], RawJson, |cx, a| Ok(json(to_json(&a[0], cx)))),
        Function::new("json_build_object")
            .called_on_null()
            .variadic(&[Any], Ret::Is(RawJson), |cx, a| object(cx, a, ", ", " : ")),
        // A row: what `row_to_json` makes of names and columns.
        Function::new("json_row")
            .called_on_null()
            .variadic(&[Any], Ret::Is(RawJson), |cx, a| object(cx, a, ",", ":")),
        Function::new("json_build_array").called_on_null().variadic(&[Any], Ret::Is(RawJson), |cx, a| {
            let mut out = String::from("[");
            for (i, value) in a.iter().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                write(value, cx, i, &mut out);
            }
            out.push(']');
            Ok(json(out))
        }),
        // An element of `json_agg`; arrays and rows get lines of their own.
        Function::new("json_element").on(&[Any], RawJson, |cx, a| {
            let text = to_json(&a[0], cx);
            Ok(json(if matches!(a[0], Datum::List(_)) { format!("{STRUCTURED}{text}") } else { text }))
        }),
        Function::new("json_row_element")
            .on(&[RawJson], RawJson, |_, a| Ok(json(format!("{STRUCTURED}{}", a[0].as_str())))),
        Function::new("json_object")
            .on(&[TextArray], RawJson, |_, a| {
                let given = steps_of(&a[0]);
                if !given.len().is_multiple_of(2) {
                    let message = "array must have even number of elements";
                    return Err(HwError::new(sqlstate::ARRAY_SUBSCRIPT_ERROR, message));
                }
                of_texts(given.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())))
            })
            .on(&[TextArray, TextArray], RawJson, |_, a| {
                let (keys, values) = (steps_of(&a[0]), steps_of(&a[1]));
                if keys.len() != values.len() {
                    return Err(HwError::new(sqlstate::ARRAY_SUBSCRIPT_ERROR, "mismatched array dimensions"));
                }
                of_texts(keys.into_iter().zip(values))
            }),
    ]
}
