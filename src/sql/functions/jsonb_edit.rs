//! jsonb functions that change a document or take it apart, and the order of documents.
//!
//! `jsonb_set`, `jsonb_insert`, the operators `-` and `#-`, `jsonb_object`; the lists behind
//! `jsonb_array_elements`, `jsonb_each` and `jsonb_object_keys` (the parser turns those into
//! UNNEST of them); `jsonb_order`, whose bytes compare as PostgreSQL compares jsonb.

use std::sync::Arc;

use arrow::array::{ArrayRef, LargeStringArray, StringArray};
use arrow::datatypes::{DataType, Field};
use serde_json::Value;

use super::datum::{Datum, Function, Kind, Ret};
use super::decimal::Numeric;
use super::jsonb::{as_text, json, parse, steps_of, to_text};
use crate::error::{HwError, Result, sqlstate};

fn invalid(message: impl Into<String>) -> HwError {
    HwError::new(sqlstate::INVALID_PARAMETER_VALUE, message)
}

/// Members in PostgreSQL's order: by length of the key, then by its bytes.
pub(super) fn members(map: &serde_json::Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut members: Vec<_> = map.iter().collect();
    members.sort_by(|a, b| (a.0.len(), a.0).cmp(&(b.0.len(), b.0)));
    members
}

/// What is done at the end of a path.
enum Edit<'v> {
    /// Replaces, or adds if `create`.
    Set {
        value: &'v Value,
        create: bool,
    },
    /// Inserts into an array before or after, into an object if new.
    Insert {
        value: &'v Value,
        after: bool,
    },
    Delete,
}

/// Position that step `text` means in an array of `len`; it may lie outside.
fn index(text: &str, len: usize, at: usize) -> Result<i64> {
    let given: i64 = text.trim().parse().map_err(|_| {
        let message = format!("path element at position {at} is not an integer: \"{text}\"");
        HwError::new(sqlstate::INVALID_TEXT_REPRESENTATION, message)
    })?;
    Ok(if given < 0 { len as i64 + given } else { given })
}

fn edit(target: &mut Value, path: &[Option<String>], depth: usize, how: &Edit) -> Result<()> {
    let Some(Some(step)) = path.get(depth) else { return Ok(()) };
    let is_last = depth + 1 == path.len();
    match target {
        Value::Object(map) if is_last => edit_member(map, step, how),
        Value::Object(map) => map.get_mut(step).map_or(Ok(()), |inner| edit(inner, path, depth + 1, how)),
        Value::Array(items) => {
            let at = index(step, items.len(), depth + 1)?;
            match usize::try_from(at).ok().filter(|at| *at < items.len()) {
                Some(at) if is_last => {
                    edit_item(items, at, how);
                    Ok(())
                }
                Some(at) => edit(&mut items[at], path, depth + 1, how),
                None if is_last => {
                    add_item(items, at < 0, how);
                    Ok(())
                }
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

fn edit_member(map: &mut serde_json::Map<String, Value>, key: &str, how: &Edit) -> Result<()> {
    match how {
        Edit::Set { value, create } => {
            if *create || map.contains_key(key) {
                map.insert(key.to_string(), (*value).clone());
            }
        }
        Edit::Insert { .. } if map.contains_key(key) => {
            return Err(invalid("cannot replace existing key")
                .with_hint("Try using the function jsonb_set to replace key value."));
        }
        Edit::Insert { value, .. } => drop(map.insert(key.to_string(), (*value).clone())),
        Edit::Delete => drop(map.remove(key)),
    }
    Ok(())
}

fn edit_item(items: &mut Vec<Value>, at: usize, how: &Edit) {
    match how {
        Edit::Set { value, .. } => items[at] = (*value).clone(),
        Edit::Insert { value, after } => items.insert(at + usize::from(*after), (*value).clone()),
        Edit::Delete => drop(items.remove(at)),
    }
}

/// Adds at one end of an array what was addressed beyond it.
fn add_item(items: &mut Vec<Value>, front: bool, how: &Edit) {
    let value = match how {
        Edit::Set { value, create: true } | Edit::Insert { value, .. } => (*value).clone(),
        _ => return,
    };
    let at = if front { 0 } else { items.len() };
    items.insert(at, value);
}

fn edited(document: &Datum, path: &Datum, name: &str, how: &Edit) -> Result<Datum<'static>> {
    let mut target = parse(document.as_str())?;
    if !target.is_object() && !target.is_array() {
        return Err(invalid(format!("cannot {name} in scalar")));
    }
    edit(&mut target, &steps_of(path), 0, how)?;
    Ok(json(&target))
}

fn without(document: &Datum, key: &Datum) -> Result<Datum<'static>> {
    let mut target = parse(document.as_str())?;
    match (&mut target, key) {
        (Value::Array(items), Datum::Int(at)) => {
            let at = if *at < 0 { items.len() as i64 + at } else { *at };
            if let Some(at) = usize::try_from(at).ok().filter(|at| *at < items.len()) {
                items.remove(at);
            }
        }
        (Value::Object(_), Datum::Int(_)) => {
            return Err(invalid("cannot delete from object using integer index"));
        }
        (Value::Object(map), Datum::Text(key)) => drop(map.remove(key.as_ref())),
        (Value::Array(items), Datum::Text(key)) => items.retain(|v| v.as_str() != Some(key.as_ref())),
        (Value::Object(map), keys @ Datum::List(_)) => {
            steps_of(keys).iter().flatten().for_each(|key| drop(map.remove(key)));
        }
        (Value::Array(items), keys @ Datum::List(_)) => {
            let keys = steps_of(keys);
            items.retain(|v| !keys.iter().flatten().any(|k| v.as_str() == Some(k.as_str())));
        }
        _ => return Err(invalid("cannot delete from scalar")),
    }
    Ok(json(&target))
}

fn json_list(_: &[DataType]) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::LargeUtf8, true)))
}

fn jsons<'v>(values: impl Iterator<Item = &'v Value>) -> Datum<'static> {
    let array: ArrayRef = Arc::new(LargeStringArray::from_iter_values(values.map(to_text)));
    Datum::List(array)
}

fn texts<'v>(values: impl Iterator<Item = &'v Value>) -> Datum<'static> {
    let text = |value: &Value| match as_text(value) {
        Datum::Text(text) => Some(text.into_owned()),
        _ => None,
    };
    let array: ArrayRef = Arc::new(values.map(text).collect::<StringArray>());
    Datum::List(array)
}

fn items(document: &Datum) -> Result<Vec<Value>> {
    match parse(document.as_str())? {
        Value::Array(items) => Ok(items),
        Value::Object(_) => Err(invalid("cannot extract elements from an object")),
        _ => Err(invalid("cannot extract elements from a scalar")),
    }
}

fn object(document: &Datum, function: &str) -> Result<serde_json::Map<String, Value>> {
    match (parse(document.as_str())?, function) {
        (Value::Object(map), _) => Ok(map),
        (Value::Array(_), "jsonb_object_keys") => Err(invalid("cannot call jsonb_object_keys on an array")),
        (_, "jsonb_object_keys") => Err(invalid("cannot call jsonb_object_keys on a scalar")),
        (_, name) => Err(invalid(format!("cannot call {name} on a non-object"))),
    }
}

fn object_of(pairs: Vec<(Option<String>, Option<String>)>) -> Result<Datum<'static>> {
    let mut map = serde_json::Map::new();
    for (key, value) in pairs {
        let null = || HwError::new(sqlstate::NULL_VALUE_NOT_ALLOWED, "null value not allowed for object key");
        map.insert(key.ok_or_else(null)?, value.map_or(Value::Null, Value::String));
    }
    Ok(json(&Value::Object(map)))
}

/// Bytes that compare as PostgreSQL compares the documents.
fn order(value: &Value, out: &mut Vec<u8>) {
    let text = |s: &str, out: &mut Vec<u8>| {
        // A zero byte ends a text; jsonb has none inside.
        out.extend_from_slice(s.as_bytes());
        out.push(0);
    };
    match value {
        Value::Null => out.push(1),
        Value::String(s) => {
            out.push(2);
            text(s, out);
        }
        Value::Number(n) => {
            out.push(3);
            number_order(&n.to_string(), out);
        }
        Value::Bool(b) => out.extend_from_slice(&[4, u8::from(*b)]),
        // An empty array at the top sorts below all else in PostgreSQL; so here at any depth.
        Value::Array(list) if list.is_empty() => out.push(0),
        Value::Array(list) => {
            out.push(5);
            out.extend_from_slice(&(list.len() as u32).to_be_bytes());
            list.iter().for_each(|v| order(v, out));
        }
        Value::Object(map) => {
            out.push(6);
            out.extend_from_slice(&(map.len() as u32).to_be_bytes());
            for (key, value) in members(map) {
                text(key, out);
                order(value, out);
            }
        }
    }
}

/// A decimal number as sign, exponent and digits, inverted where it is negative.
fn number_order(text: &str, out: &mut Vec<u8>) {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let negative = mantissa.starts_with('-');
    let mantissa = mantissa.trim_start_matches(['-', '+']);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: String = [whole, fraction].concat();
    let leading = digits.len() - digits.trim_start_matches('0').len();
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return out.push(1);
    }
    let exponent = exponent.parse::<i64>().unwrap_or(0) + whole.len() as i64 - leading as i64;
    let mut key = (exponent + (1 << 40)).to_be_bytes().to_vec();
    key.extend_from_slice(significant.as_bytes());
    key.push(0);
    out.push(if negative { 0 } else { 2 });
    out.extend(key.into_iter().map(|b| if negative { !b } else { b }));
}

/// Whether two numbers are equal whatever their scale.
pub fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            match (Numeric::parse(&a.to_string()), Numeric::parse(&b.to_string())) {
                (Some(a), Some(b)) => a == b,
                _ => a == b,
            }
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|other| equal(v, other)))
        }
        _ => a == b,
    }
}

pub fn functions() -> Vec<Function> {
    [edits(), lists()].into_iter().flatten().collect()
}

/// Overloads of a function of document, path, value and an optional flag; a path may also be
/// a literal of unknown type.
fn overloads(function: Function, eval: super::datum::Eval) -> Function {
    use Kind::*;
    function
        .on(&[Jsonb, TextArray, Jsonb], Jsonb, eval)
        .on(&[Jsonb, TextArray, Jsonb, Bool], Jsonb, eval)
        .on(&[Jsonb, Text, Jsonb], Jsonb, eval)
        .on(&[Jsonb, Text, Jsonb, Bool], Jsonb, eval)
}

fn edits() -> Vec<Function> {
    use Kind::*;
    vec![
        overloads(Function::new("jsonb_set"), |_, a| {
            let value = parse(a[2].as_str())?;
            let create = a.get(3).is_none_or(Datum::as_bool);
            edited(&a[0], &a[1], "set path", &Edit::Set { value: &value, create })
        }),
        overloads(Function::new("jsonb_insert"), |_, a| {
            let value = parse(a[2].as_str())?;
            let after = a.get(3).is_some_and(Datum::as_bool);
            edited(&a[0], &a[1], "set path", &Edit::Insert { value: &value, after })
        }),
        Function::new("jsonb_delete_path")
            .on(&[Jsonb, TextArray], Jsonb, |_, a| edited(&a[0], &a[1], "delete path", &Edit::Delete))
            .on(&[Jsonb, Text], Jsonb, |_, a| edited(&a[0], &a[1], "delete path", &Edit::Delete)),
        Function::new("jsonb_delete")
            .on(&[Jsonb, Text], Jsonb, |_, a| without(&a[0], &a[1]))
            .on(&[Jsonb, Int8], Jsonb, |_, a| without(&a[0], &a[1]))
            .on(&[Jsonb, TextArray], Jsonb, |_, a| without(&a[0], &a[1])),
        Function::new("jsonb_order").on(&[Jsonb], Bytea, |_, a| {
            let mut key = Vec::new();
            order(&parse(a[0].as_str())?, &mut key);
            Ok(Datum::Bytes(key.into()))
        }),
        Function::new("jsonb_object")
            .on(&[TextArray], Jsonb, |_, a| {
                let given = steps_of(&a[0]);
                if !given.len().is_multiple_of(2) {
                    let message = "array must have even number of elements";
                    return Err(HwError::new(sqlstate::ARRAY_SUBSCRIPT_ERROR, message));
                }
                object_of(given.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
            })
            .on(&[TextArray, TextArray], Jsonb, |_, a| {
                let (keys, values) = (steps_of(&a[0]), steps_of(&a[1]));
                if keys.len() != values.len() {
                    return Err(HwError::new(sqlstate::ARRAY_SUBSCRIPT_ERROR, "mismatched array dimensions"));
                }
                object_of(keys.into_iter().zip(values).collect())
            }),
    ]
}

fn lists() -> Vec<Function> {
    use Kind::*;
    vec![
        Function::new("jsonb_element_list")
            .ret(&[Jsonb], Ret::Of(json_list), |_, a| Ok(jsons(items(&a[0])?.iter()))),
        Function::new("jsonb_element_texts")
            .ret(&[Jsonb], Ret::Is(TextArray), |_, a| Ok(texts(items(&a[0])?.iter()))),
        Function::new("jsonb_key_list").ret(&[Jsonb], Ret::Is(TextArray), |_, a| {
            let map = object(&a[0], "jsonb_object_keys")?;
            let keys: ArrayRef = Arc::new(StringArray::from_iter_values(members(&map).iter().map(|m| m.0)));
            Ok(Datum::List(keys))
        }),
        Function::new("jsonb_value_list").ret(&[Jsonb], Ret::Of(json_list), |_, a| {
            let map = object(&a[0], "jsonb_each")?;
            Ok(jsons(members(&map).into_iter().map(|m| m.1)))
        }),
        Function::new("jsonb_value_texts").ret(&[Jsonb], Ret::Is(TextArray), |_, a| {
            let map = object(&a[0], "jsonb_each_text")?;
            Ok(texts(members(&map).into_iter().map(|m| m.1)))
        }),
    ]
}
