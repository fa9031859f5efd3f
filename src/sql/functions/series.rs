//! `generate_series` as an array; in FROM and in a select list it is unnested.
//!
//! Whole numbers, numerics, and timestamps with an interval as step (a day of timestamptz is
//! a day of the session's zone). A step of zero is 22023; more than [`ELEMENTS_MAX`] elements
//! are 54000.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int32Array, Int64Array, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field};

use super::column::Output;
use super::datum::{Cx, Datum, Function, Kind, Ret};
use super::decimal::Numeric;
use super::temporal::{add_interval, interval_order};
use super::zone::Zone;
use crate::error::{HwError, Result, sqlstate};
use crate::sql::rules::subqueries::UNLESS_ROWS;

/// One call makes at most so many elements.
const ELEMENTS_MAX: usize = 10_000_000;

pub fn functions() -> Vec<Function> {
    use Kind::{Int4, Int8, Interval, Num, Ts, Tstz};
    let list: fn(&[DataType]) -> DataType = |types| {
        let element = element_of(types);
        DataType::List(Arc::new(Field::new_list_field(element, true)))
    };
    let ret = Ret::Of(list);
    let flags = Ret::Of(|_| DataType::List(Arc::new(Field::new_list_field(DataType::Boolean, true))));
    vec![
        Function::new("generate_series")
            .ret(&[Int4, Int4], ret, whole_numbers)
            .ret(&[Int4, Int4, Int4], ret, whole_numbers)
            .ret(&[Int8, Int8], ret, whole_numbers)
            .ret(&[Int8, Int8, Int8], ret, whole_numbers)
            .ret(&[Num, Num], ret, numerics)
            .ret(&[Num, Num, Num], ret, numerics)
            .ret(&[Tstz, Tstz, Interval], ret, timestamps)
            .ret(&[Ts, Ts, Interval], ret, timestamps),
        Function::new("same_value").called_on_null().ret(&[Kind::Any], Ret::Like(0), |_, a| Ok(a[0].clone())),
        Function::new(UNLESS_ROWS).called_on_null().variadic(&[Kind::AnyArray], flags, unless_rows),
        // The value of a scalar subquery, of which `rows` were found.
        Function::new("single_row").called_on_null().ret(&[Int8, Kind::Any], Ret::Like(1), single_row),
        // What a subquery gives for LIMIT and OFFSET.
        Function::new("limit_rows").on(&[Int8], Int8, |_, a| count_of(a, "LIMIT")),
        Function::new("offset_rows").on(&[Int8], Int8, |_, a| count_of(a, "OFFSET")),
    ]
}

/// The type of the elements; of numerics the one with the most decimals of all arguments.
fn element_of(types: &[DataType]) -> DataType {
    let scale = |t: &DataType| if let DataType::Decimal128(_, s) = t { Some(*s) } else { None };
    match types.iter().filter_map(scale).max() {
        Some(scale) => DataType::Decimal128(38, scale),
        None => types.first().cloned().unwrap_or(DataType::Int64),
    }
}

fn single_row<'a>(_: &Cx, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    match &args[0] {
        Datum::Int(rows) if *rows > 1 => Err(HwError::new(
            sqlstate::CARDINALITY_VIOLATION,
            "more than one row returned by a subquery used as an expression",
        )),
        _ => Ok(args[1].clone()),
    }
}

/// One element if no argument has any.
fn unless_rows<'a>(_: &Cx, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    let empty = |a: &Datum<'_>| match a {
        Datum::List(array) => array.is_empty(),
        _ => true,
    };
    let rows = if args.iter().all(empty) { vec![true] } else { vec![] };
    Ok(Datum::List(Arc::new(BooleanArray::from(rows))))
}

fn count_of<'a>(args: &[Datum<'a>], word: &str) -> Result<Datum<'a>> {
    let code = match word {
        "LIMIT" => sqlstate::INVALID_ROW_COUNT_IN_LIMIT,
        _ => sqlstate::INVALID_ROW_COUNT_IN_OFFSET,
    };
    match &args[0] {
        Datum::Int(n) if *n < 0 => Err(HwError::new(code, format!("{word} must not be negative"))),
        count => Ok(count.clone()),
    }
}

fn step_is_zero() -> HwError {
    HwError::new(sqlstate::INVALID_PARAMETER_VALUE, "step size cannot equal zero")
}

fn too_many() -> HwError {
    HwError::new(
        sqlstate::PROGRAM_LIMIT_EXCEEDED,
        format!("generate_series makes more than {ELEMENTS_MAX} elements"),
    )
    .with_hint("Generate a shorter series, or use a source with connector = 'generator'.")
}

/// 54000 before anything is made, for a series of about so many elements.
fn check_length(gap: f64, step: f64) -> Result<()> {
    if gap / step > ELEMENTS_MAX as f64 { Err(too_many()) } else { Ok(()) }
}

/// From `first` while `more`, by `next`; `None` from `next` ends the series.
fn collect<T: Copy>(
    first: T,
    more: impl Fn(T) -> bool,
    next: impl Fn(T) -> Result<Option<T>>,
) -> Result<Vec<T>> {
    let mut all = Vec::new();
    let mut at = Some(first);
    while let Some(value) = at.filter(|v| more(*v)) {
        if all.len() == ELEMENTS_MAX {
            return Err(too_many());
        }
        all.push(value);
        at = next(value)?;
    }
    Ok(all)
}

fn whole_numbers<'a>(cx: &Cx, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    let (first, last) = (args[0].as_i64(), args[1].as_i64());
    let step = args.get(2).map_or(1, Datum::as_i64);
    if step == 0 {
        return Err(step_is_zero());
    }
    check_length(last as f64 - first as f64, step as f64)?;
    let more = |v: i64| if step > 0 { v <= last } else { v >= last };
    let all = collect(first, more, |v| Ok(v.checked_add(step)))?;
    let narrow = cx.args.first().is_some_and(|f| f.data_type() == &DataType::Int32);
    let array: ArrayRef = match narrow {
        true => Arc::new(Int32Array::from_iter_values(all.into_iter().map(|v| v as i32))),
        false => Arc::new(Int64Array::from(all)),
    };
    Ok(Datum::List(array))
}

fn numerics<'a>(cx: &Cx, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    let (first, last) = (args[0].as_num(), args[1].as_num());
    let step = args.get(2).map_or(Numeric::new(1, 0), Datum::as_num);
    for (number, what) in [(first, "start value"), (last, "stop value"), (step, "step size")] {
        if number.is_special() {
            let kind = if number.is_nan() { "NaN" } else { "infinity" };
            return Err(HwError::new(sqlstate::INVALID_PARAMETER_VALUE, format!("{what} cannot be {kind}")));
        }
    }
    let positive = step.to_f64() > 0.0;
    if step.v == 0 {
        return Err(step_is_zero());
    }
    check_length(last.to_f64() - first.to_f64(), step.to_f64())?;
    let within = |v: Numeric| -> bool {
        let gap = if positive { last.checked_add(v.negated()) } else { v.checked_add(last.negated()) };
        gap.is_ok_and(|g| g.to_f64() >= 0.0)
    };
    let all = collect(first, within, |v| v.checked_add(step).map(Some))?;
    let types: Vec<DataType> = cx.args.iter().map(|f| f.data_type().clone()).collect();
    let element = element_of(&types);
    let mut out = Output::new(&element, all.len())?;
    for value in all {
        out.push(Datum::Num(value))?;
    }
    Ok(Datum::List(out.finish()?))
}

fn timestamps<'a>(cx: &Cx, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    let (first, last, step) = (args[0].as_i64(), args[1].as_i64(), args[2].as_interval());
    let zoned = matches!(args[0], Datum::Tstz(_));
    let zone = if zoned { &cx.zone } else { &Zone::UTC };
    let length = interval_order(step);
    if length == 0 {
        return Err(step_is_zero());
    }
    check_length(last as f64 - first as f64, length as f64)?;
    let more = |t: i64| if length > 0 { t <= last } else { t >= last };
    let all = collect(first, more, |t| add_interval(t, step, zone).map(Some))?;
    let array = TimestampMicrosecondArray::from(all);
    let array = if zoned { array.with_timezone(crate::types::pg_type::UTC) } else { array };
    Ok(Datum::List(Arc::new(array)))
}
