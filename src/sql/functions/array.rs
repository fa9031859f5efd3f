//! Array functions where DataFusion's differ from PostgreSQL's or are missing.
//!
//! Arrays have one dimension; positions count from 1. Elements are compared as PostgreSQL's
//! `IS NOT DISTINCT FROM`: NULL equals NULL.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::datatypes::{DataType, Field};

use super::column::{Column, Output};
use super::datum::{Datum, Function, Kind, Ret};
use super::temporal::interval_order;
use crate::error::{HwError, Result, sqlstate};

/// Order of two values of one type, or of numbers; NULL is last and equals NULL.
pub fn compare(a: &Datum, b: &Datum) -> Ordering {
    use Datum::*;
    match (a, b) {
        (Null, Null) => Ordering::Equal,
        (Null, _) => Ordering::Greater,
        (_, Null) => Ordering::Less,
        (Int(a), Int(b)) => a.cmp(b),
        (Float(_), _) | (_, Float(_)) => {
            let (a, b) = (a.as_f64(), b.as_f64());
            a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
        }
        (Num(_), _) | (_, Num(_)) => a.as_num().cmp(&b.as_num()),
        (Bool(a), Bool(b)) => a.cmp(b),
        (Text(a), Text(b)) | (Json(a), Json(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Bytes(a), Bytes(b)) => a.cmp(b),
        (Interval(a), Interval(b)) => interval_order(*a).cmp(&interval_order(*b)),
        (List(a), List(b)) => {
            let (a, b) = (elements(a), elements(b));
            let pairs = a.iter().zip(&b).map(|(a, b)| compare(a, b));
            pairs.fold(Ordering::Equal, Ordering::then).then(a.len().cmp(&b.len()))
        }
        _ => a.as_i64().cmp(&b.as_i64()),
    }
}

fn elements(items: &ArrayRef) -> Vec<Datum<'_>> {
    let column = Column::of(items.as_ref());
    (0..items.len()).map(|i| column.get(i)).collect()
}

fn list<'v>(value: &'v Datum) -> Option<&'v ArrayRef> {
    match value {
        Datum::List(items) => Some(items),
        _ => None,
    }
}

fn length(value: &Datum) -> usize {
    list(value).map_or(0, |items| items.len())
}

fn same(a: &Datum, b: &Datum) -> bool {
    compare(a, b) == Ordering::Equal
}

/// Positions, from 0, of the elements equal to `wanted`.
fn positions(array: &Datum, wanted: &Datum) -> Vec<usize> {
    let Some(items) = list(array) else { return Vec::new() };
    let column = Column::of(items.as_ref());
    (0..items.len()).filter(|i| same(&column.get(*i), wanted)).collect()
}

/// An array of `item` made of values.
fn collect<'a>(item: &DataType, values: impl Iterator<Item = Datum<'a>>) -> Result<Datum<'static>> {
    let mut output = Output::new(item, 0)?;
    for value in values {
        output.push(value)?;
    }
    Ok(Datum::List(output.finish()?))
}

fn keep(items: &ArrayRef, picked: impl Iterator<Item = usize>) -> Result<Datum<'static>> {
    let picks: UInt32Array = picked.map(|i| i as u32).collect();
    Ok(Datum::List(arrow::compute::take(items, &picks, None)?))
}

fn list_of(item: &DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item.clone(), true)))
}

/// Length of dimension `n`, NULL if there is none.
fn dimension(array: &Datum, n: i64) -> Datum<'static> {
    let Some(items) = list(array).filter(|items| !items.is_empty()) else { return Datum::Null };
    match (n, items.data_type()) {
        (1, _) => Datum::Int(items.len() as i64),
        (n, DataType::List(_)) if n > 1 => dimension(&Column::of(items.as_ref()).get(0), n - 1),
        _ => Datum::Null,
    }
}

fn dimensions(array: &Datum) -> Vec<i64> {
    (1..)
        .map_while(|n| matches!(dimension(array, n), Datum::Int(_)).then(|| dimension(array, n).as_i64()))
        .collect()
}

/// Array functions by name.
pub fn functions() -> Vec<Function> {
    [sizes(), searches(), changes()].into_iter().flatten().collect()
}

fn sizes() -> Vec<Function> {
    use Kind::*;
    vec![
        Function::new("array_length").on(&[AnyArray, Int4], Int4, |_, a| Ok(dimension(&a[0], a[1].as_i64()))),
        Function::new("array_upper").on(&[AnyArray, Int4], Int4, |_, a| Ok(dimension(&a[0], a[1].as_i64()))),
        Function::new("array_lower").on(&[AnyArray, Int4], Int4, |_, a| {
            Ok(if dimension(&a[0], a[1].as_i64()).is_null() { Datum::Null } else { Datum::Int(1) })
        }),
        Function::new("cardinality").on(&[AnyArray], Int4, |_, a| {
            let sizes = dimensions(&a[0]);
            Ok(Datum::Int(if sizes.is_empty() { 0 } else { sizes.iter().product() }))
        }),
        Function::new("array_ndims").on(&[AnyArray], Int4, |_, a| {
            let sizes = dimensions(&a[0]);
            Ok(if sizes.is_empty() { Datum::Null } else { Datum::Int(sizes.len() as i64) })
        }),
        Function::new("array_dims").on(&[AnyArray], Text, |_, a| {
            let sizes = dimensions(&a[0]);
            let text: String = sizes.iter().map(|n| format!("[1:{n}]")).collect();
            Ok(if text.is_empty() { Datum::Null } else { Datum::Text(text.into()) })
        }),
    ]
}

fn searches() -> Vec<Function> {
    use Kind::*;
    vec![
        Function::new("array_position")
            .called_on_null()
            .on(&[AnyArray, Any], Int4, |_, a| Ok(position(&a[0], &a[1], 1)))
            .on(&[AnyArray, Any, Int4], Int4, |_, a| Ok(position(&a[0], &a[1], a[2].as_i64()))),
        Function::new("array_positions").called_on_null().ret(
            &[AnyArray, Any],
            Ret::Of(|_| list_of(&DataType::Int32)),
            |_, a| {
                if a[0].is_null() {
                    return Ok(Datum::Null);
                }
                let found = positions(&a[0], &a[1]).into_iter().map(|at| Datum::Int(at as i64 + 1));
                collect(&DataType::Int32, found)
            },
        ),
        Function::new("array_compare")
            .called_on_null()
            .on(&[Text, Any, Any], Bool, |_, a| Ok(quantified(a[0].as_str(), &a[1], &a[2]))),
        Function::new("array_ordered").on(&[Text, AnyArray, AnyArray], Bool, |_, a| {
            Ok(Datum::Bool(holds(a[0].as_str(), compare(&a[1], &a[2]))))
        }),
        Function::new("array_covers").on(&[AnyArray, AnyArray], Bool, |_, a| {
            let (Some(left), Some(right)) = (list(&a[0]), list(&a[1])) else { return Ok(Datum::Null) };
            let left = elements(left);
            let held = |r: &Datum| !r.is_null() && left.iter().any(|l| same(l, r));
            Ok(Datum::Bool(elements(right).iter().all(held)))
        }),
        Function::new("array_overlap").on(&[AnyArray, AnyArray], Bool, |_, a| {
            let (Some(left), Some(right)) = (list(&a[0]), list(&a[1])) else { return Ok(Datum::Null) };
            let right = elements(right);
            let shared = |l: &Datum| !l.is_null() && right.iter().any(|r| same(l, r));
            Ok(Datum::Bool(elements(left).iter().any(shared)))
        }),
    ]
}

/// How many of the ascending bounds are at most `value`.
pub fn bucket(value: &Datum, bounds: &Datum) -> i64 {
    let bounds = list(bounds).map(elements).unwrap_or_default();
    bounds.iter().take_while(|b| compare(b, value) != Ordering::Greater).count() as i64
}

/// Whether the comparison `op` is true of values in this order.
pub fn holds(op: &str, order: Ordering) -> bool {
    match op {
        "=" => order.is_eq(),
        "<>" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    }
}

/// `value op ANY (array)` and `value op ALL (array)`; `how` is the operator and the word.
fn quantified<'a>(how: &str, value: &Datum, array: &Datum) -> Datum<'a> {
    let (op, word) = how.split_once(' ').unwrap_or((how, "any"));
    let Some(items) = list(array) else { return Datum::Null };
    let all = word == "all";
    let mut unknown = false;
    for item in elements(items) {
        if value.is_null() || item.is_null() {
            unknown = true;
            continue;
        }
        if holds(op, compare(value, &item)) != all {
            return Datum::Bool(!all);
        }
    }
    if unknown { Datum::Null } else { Datum::Bool(all) }
}

fn position(array: &Datum, wanted: &Datum, from: i64) -> Datum<'static> {
    let found = positions(array, wanted).into_iter().map(|at| at as i64 + 1).find(|at| *at >= from);
    found.map_or(Datum::Null, Datum::Int)
}

fn changes() -> Vec<Function> {
    use Kind::*;
    vec![
        // An aggregate of no rows as an array.
        Function::new("array_or_empty").called_on_null().ret(&[AnyArray], Ret::Like(0), |cx, a| {
            match (&a[0], cx.args.first().map(|f| f.data_type())) {
                (Datum::Null, Some(DataType::List(item))) => collect(item.data_type(), std::iter::empty()),
                (value, _) => Ok(value.clone()),
            }
        }),
        Function::new("array_remove").called_on_null().ret(&[AnyArray, Any], Ret::Like(0), |_, a| {
            let Some(items) = list(&a[0]) else { return Ok(Datum::Null) };
            let gone = positions(&a[0], &a[1]);
            keep(items, (0..items.len()).filter(|i| !gone.contains(i)))
        }),
        Function::new("array_replace").called_on_null().ret(&[AnyArray, Any, Any], Ret::Like(0), |_, a| {
            let Some(items) = list(&a[0]) else { return Ok(Datum::Null) };
            let values = elements(items).into_iter().map(|v| if same(&v, &a[1]) { a[2].clone() } else { v });
            collect(items.data_type(), values)
        }),
        Function::new("trim_array").ret(&[AnyArray, Int4], Ret::Like(0), |_, a| {
            let (Some(items), gone) = (list(&a[0]), a[1].as_i64()) else { return Ok(Datum::Null) };
            if gone < 0 || gone as usize > items.len() {
                let message = format!("number of elements to trim must be between 0 and {}", items.len());
                return Err(HwError::new(sqlstate::ARRAY_SUBSCRIPT_ERROR, message));
            }
            Ok(Datum::List(items.slice(0, length(&a[0]) - gone as usize)))
        }),
        Function::new("array_fill").called_on_null().ret(
            &[Any, AnyArray],
            Ret::Of(|types| list_of(types.first().unwrap_or(&DataType::Utf8))),
            |cx, a| {
                let sizes = list(&a[1]).map(elements).unwrap_or_default();
                let [size] = sizes.as_slice() else {
                    return Err(HwError::unsupported(
                        "an array of several dimensions",
                        "Use an array of one dimension or jsonb.",
                    ));
                };
                let item = cx.args.first().map_or(DataType::Utf8, |f| f.data_type().clone());
                let times = usize::try_from(size.as_i64()).unwrap_or(0).min(FILL_MAX);
                collect(&item, std::iter::repeat_n(a[0].clone(), times))
            },
        ),
    ]
}

/// Most elements that `array_fill` makes.
const FILL_MAX: usize = 1 << 20;
