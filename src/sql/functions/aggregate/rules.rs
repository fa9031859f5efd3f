//! What each ordered aggregate makes of its rows: argument types, result type, value.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Float64Array, StringArray, UInt32Array};
use arrow::compute::{SortOptions, take};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use arrow::row::{RowConverter, SortField};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;

use crate::error::{HwError, Result, sqlstate};
use crate::sql::functions::datum::{Kind, undefined_function};
use crate::sql::functions::json::STRUCTURED;
use crate::types::order_key::{ASCENDING, order_key, order_type};
use crate::types::text::quote_json;

/// An aggregate over ordered rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    ArrayAgg,
    StringAgg,
    JsonAgg,
    JsonObjectAgg,
    RawJsonAgg,
    RawJsonObjectAgg,
    Mode,
    PercentileCont,
    PercentileDisc,
    Median,
    FirstValue,
    LastValue,
    AnyValue,
    MinBy,
    MaxBy,
}

/// A value made of a group's rows.
pub enum Finished {
    Scalar(ScalarValue),
    /// Row of an argument.
    Element(usize, usize),
    /// The elements of an array.
    List(ArrayRef),
}

impl Rule {
    pub fn name(self) -> &'static str {
        match self {
            Rule::ArrayAgg => "array_agg",
            Rule::StringAgg => "string_agg",
            Rule::JsonAgg => "jsonb_agg",
            Rule::JsonObjectAgg => "jsonb_object_agg",
            Rule::RawJsonAgg => "json_agg",
            Rule::RawJsonObjectAgg => "json_object_agg",
            Rule::Mode => "mode",
            Rule::PercentileCont => "percentile_cont",
            Rule::PercentileDisc => "percentile_disc",
            Rule::Median => "median",
            Rule::FirstValue => "first_value",
            Rule::LastValue => "last_value",
            Rule::AnyValue => "any_value",
            Rule::MinBy => "min_by",
            Rule::MaxBy => "max_by",
        }
    }

    /// Whether it is written with WITHIN GROUP.
    pub fn within_group(self) -> bool {
        matches!(self, Rule::Mode | Rule::PercentileCont | Rule::PercentileDisc)
    }

    pub fn coerce(self, types: &[DataType]) -> Result<Vec<DataType>> {
        let undefined = || undefined_function(self.name(), types);
        let own = |t: &DataType| match t {
            DataType::Null | DataType::Utf8View => DataType::Utf8,
            other => other.clone(),
        };
        let numeric = |t: &DataType| match Kind::of(t) {
            Kind::Int2 | Kind::Int4 | Kind::Int8 | Kind::Float4 | Kind::Float8 | Kind::Num => {
                Ok(DataType::Float64)
            }
            _ if *t == DataType::Null => Ok(DataType::Float64),
            _ => Err(undefined()),
        };
        Ok(match (self, types) {
            (Rule::ArrayAgg | Rule::FirstValue | Rule::LastValue | Rule::AnyValue | Rule::Mode, [t]) => {
                vec![own(t)]
            }
            (Rule::MinBy | Rule::MaxBy, [t, k]) => vec![own(t), own(k)],
            (Rule::StringAgg, [DataType::Binary, DataType::Binary | DataType::Null]) => {
                vec![DataType::Binary, DataType::Binary]
            }
            (Rule::StringAgg, [t, d])
                if [t, d]
                    .iter()
                    .all(|t| matches!(t, DataType::Utf8 | DataType::Utf8View | DataType::Null)) =>
            {
                vec![DataType::Utf8, DataType::Utf8]
            }
            (Rule::JsonAgg, [DataType::LargeUtf8 | DataType::Null]) => vec![DataType::LargeUtf8],
            (Rule::JsonObjectAgg, [_, DataType::LargeUtf8 | DataType::Null]) => {
                vec![DataType::Utf8, DataType::LargeUtf8]
            }
            (Rule::RawJsonAgg, [DataType::LargeBinary | DataType::Null]) => vec![DataType::LargeBinary],
            (Rule::RawJsonObjectAgg, [_, DataType::LargeBinary | DataType::Null]) => {
                vec![DataType::Utf8, DataType::LargeBinary]
            }
            (Rule::Median, [t]) => vec![numeric(t)?],
            (Rule::PercentileCont, [t, f]) => vec![numeric(t)?, fraction(f).ok_or_else(undefined)?],
            (Rule::PercentileDisc, [t, f]) => vec![own(t), fraction(f).ok_or_else(undefined)?],
            _ => return Err(undefined()),
        })
    }

    /// The result, given the (coerced) arguments.
    pub fn output(self, arguments: &[FieldRef]) -> Field {
        let like = |f: &FieldRef| {
            Field::new(self.name(), f.data_type().clone(), true).with_metadata(f.metadata().clone())
        };
        let list_of = |f: &FieldRef| {
            let item = Field::new_list_field(f.data_type().clone(), true).with_metadata(f.metadata().clone());
            Field::new(self.name(), DataType::List(Arc::new(item)), true)
        };
        let Some(first) = arguments.first() else { return Field::new(self.name(), DataType::Null, true) };
        let many = arguments.get(1).is_some_and(|f| matches!(f.data_type(), DataType::List(_)));
        match self {
            Rule::ArrayAgg => list_of(first),
            Rule::PercentileCont | Rule::PercentileDisc if many => list_of(first),
            Rule::JsonAgg | Rule::JsonObjectAgg => Field::new(self.name(), DataType::LargeUtf8, true),
            Rule::RawJsonAgg | Rule::RawJsonObjectAgg => Field::new(self.name(), DataType::LargeBinary, true),
            _ => like(first),
        }
    }

    /// The argument whose NULLs leave a row out.
    pub fn required(self, ignore_nulls: bool) -> Option<usize> {
        match self {
            Rule::StringAgg | Rule::Mode | Rule::PercentileCont | Rule::PercentileDisc => Some(0),
            Rule::Median | Rule::AnyValue => Some(0),
            Rule::MinBy | Rule::MaxBy => Some(1),
            Rule::FirstValue | Rule::LastValue if ignore_nulls => Some(0),
            _ => None,
        }
    }

    /// The order keys that the function brings itself.
    pub fn key(self, arguments: &[ArrayRef]) -> Vec<(ArrayRef, SortOptions)> {
        match self {
            Rule::MinBy => vec![(order_key(&arguments[1]), ASCENDING)],
            Rule::MaxBy => {
                vec![(order_key(&arguments[1]), SortOptions { descending: true, nulls_first: false })]
            }
            _ => Vec::new(),
        }
    }

    /// The value of at least one row.
    pub fn finish(self, rows: &[ArrayRef]) -> DfResult<Finished> {
        let values = &rows[0];
        let last = values.len() - 1;
        Ok(match self {
            Rule::ArrayAgg => Finished::List(Arc::clone(values)),
            Rule::StringAgg => Finished::Scalar(join(values, &rows[1])),
            Rule::JsonAgg => Finished::Scalar(json_array(values)),
            Rule::JsonObjectAgg => Finished::Scalar(json_object(values, &rows[1])?),
            Rule::RawJsonAgg => Finished::Scalar(raw_array(values)),
            Rule::RawJsonObjectAgg => Finished::Scalar(raw_object(values, &rows[1])?),
            Rule::Mode => Finished::Element(0, most_frequent(values)?),
            Rule::Median => Finished::Scalar(ScalarValue::Float64(between(values, Some(0.5))?)),
            Rule::PercentileCont => continuous(values, &rows[1])?,
            Rule::PercentileDisc => discrete(values, &rows[1])?,
            Rule::LastValue => Finished::Element(0, last),
            Rule::FirstValue | Rule::AnyValue | Rule::MinBy | Rule::MaxBy => Finished::Element(0, 0),
        })
    }
}

/// The type of one percentile, or of several in an array.
fn fraction(t: &DataType) -> Option<DataType> {
    match t {
        DataType::List(_) => Some(DataType::List(Arc::new(Field::new_list_field(DataType::Float64, true)))),
        t if matches!(Kind::of(t), Kind::Int2 | Kind::Int4 | Kind::Int8) => Some(DataType::Float64),
        t if matches!(Kind::of(t), Kind::Float4 | Kind::Float8 | Kind::Num) => Some(DataType::Float64),
        DataType::Null | DataType::Utf8 => Some(DataType::Float64),
        _ => None,
    }
}

/// Texts, or bytes, divided by each row's own delimiter but the first's.
fn join(values: &ArrayRef, delimiters: &ArrayRef) -> ScalarValue {
    if let Some(values) = values.as_string_opt::<i32>() {
        let delimiters: &StringArray = delimiters.as_string();
        let mut out = String::new();
        for row in 0..values.len() {
            if row > 0 && delimiters.is_valid(row) {
                out.push_str(delimiters.value(row));
            }
            out.push_str(values.value(row));
        }
        return ScalarValue::Utf8(Some(out));
    }
    let (values, delimiters): (&BinaryArray, &BinaryArray) = (values.as_binary(), delimiters.as_binary());
    let mut out = Vec::new();
    for row in 0..values.len() {
        if row > 0 && delimiters.is_valid(row) {
            out.extend_from_slice(delimiters.value(row));
        }
        out.extend_from_slice(values.value(row));
    }
    ScalarValue::Binary(Some(out))
}

/// Canonical texts as one jsonb array.
fn json_array(values: &ArrayRef) -> ScalarValue {
    let values = values.as_string::<i64>();
    let items: Vec<&str> = values.iter().map(|v| v.unwrap_or("null")).collect();
    ScalarValue::LargeUtf8(Some(format!("[{}]", items.join(", "))))
}

/// A jsonb object; of equal keys the last stays.
fn json_object(keys: &ArrayRef, values: &ArrayRef) -> Result<ScalarValue> {
    let (keys, values) = (keys.as_string::<i32>(), values.as_string::<i64>());
    let mut members: Vec<(&str, &str)> = Vec::with_capacity(keys.len());
    for row in 0..keys.len() {
        if keys.is_null(row) {
            return Err(HwError::new(sqlstate::INVALID_PARAMETER_VALUE, "field name must not be null"));
        }
        members.push((keys.value(row), if values.is_null(row) { "null" } else { values.value(row) }));
    }
    members.sort_by(|a, b| (a.0.len(), a.0).cmp(&(b.0.len(), b.0)));
    let mut out = String::from("{");
    for (at, (key, value)) in members.iter().enumerate() {
        if members.get(at + 1).is_some_and(|next| next.0 == *key) {
            continue;
        }
        if out.len() > 1 {
            out.push_str(", ");
        }
        out.push_str(&serde_json::Value::from(*key).to_string());
        out.push_str(": ");
        out.push_str(value);
    }
    out.push('}');
    Ok(ScalarValue::LargeUtf8(Some(out)))
}

/// Documents as one json array; arrays and rows begin a line.
fn raw_array(values: &ArrayRef) -> ScalarValue {
    let mut out = b"[".to_vec();
    for (row, value) in values.as_binary::<i64>().iter().enumerate() {
        let value = value.unwrap_or(b"null");
        let structured = value.strip_prefix(&[STRUCTURED as u8]);
        if row > 0 {
            out.extend_from_slice(if structured.is_some() { b", \n " } else { b", " });
        }
        out.extend_from_slice(structured.unwrap_or(value));
    }
    out.push(b']');
    ScalarValue::LargeBinary(Some(out))
}

/// A json object with all keys as they come.
fn raw_object(keys: &ArrayRef, values: &ArrayRef) -> Result<ScalarValue> {
    let (keys, values) = (keys.as_string::<i32>(), values.as_binary::<i64>());
    let mut out = String::from("{ ");
    for row in 0..keys.len() {
        if keys.is_null(row) {
            return Err(HwError::new(sqlstate::INVALID_PARAMETER_VALUE, "field name must not be null"));
        }
        if row > 0 {
            out.push_str(", ");
        }
        quote_json(keys.value(row), &mut out);
        out.push_str(" : ");
        let value = if values.is_null(row) { b"null" } else { values.value(row) };
        out.push_str(&String::from_utf8_lossy(value));
    }
    out.push_str(" }");
    Ok(ScalarValue::LargeBinary(Some(out.into_bytes())))
}

/// First row of the longest run of equal values.
fn most_frequent(values: &ArrayRef) -> Result<usize> {
    let fields = vec![SortField::new(order_type(values.data_type()))];
    let keys = RowConverter::new(fields)?.convert_columns(&[order_key(values)])?;
    let (mut best, mut best_run, mut start) = (0, 0, 0);
    for row in 1..=values.len() {
        if row == values.len() || keys.row(row) != keys.row(start) {
            if row - start > best_run {
                (best, best_run) = (start, row - start);
            }
            start = row;
        }
    }
    Ok(best)
}

/// 22003 for a fraction outside of `0..=1`.
pub fn check_fraction(fraction: f64) -> Result<f64> {
    if (0.0..=1.0).contains(&fraction) {
        return Ok(fraction);
    }
    let message = format!("percentile value {fraction} is not between 0 and 1");
    Err(HwError::new(sqlstate::NUMERIC_VALUE_OUT_OF_RANGE, message))
}

/// The value at `fraction` of the way through sorted doubles, interpolated.
fn between(values: &ArrayRef, fraction: Option<f64>) -> Result<Option<f64>> {
    let Some(fraction) = fraction else { return Ok(None) };
    let values = values.as_primitive::<Float64Type>().values();
    let at = check_fraction(fraction)? * (values.len() - 1) as f64;
    let (low, high) = (values[at.floor() as usize], values[at.ceil() as usize]);
    let part = at - at.floor();
    Ok(Some(if part == 0.0 { low } else { low + part * (high - low) }))
}

fn fractions(argument: &ArrayRef) -> Vec<Option<f64>> {
    match argument.as_list_opt::<i32>() {
        Some(list) => list.value(0).as_primitive::<Float64Type>().iter().collect(),
        None => argument.as_primitive::<Float64Type>().iter().take(1).collect(),
    }
}

fn continuous(values: &ArrayRef, argument: &ArrayRef) -> Result<Finished> {
    let found = fractions(argument).into_iter().map(|f| between(values, f)).collect::<Result<Vec<_>>>()?;
    if matches!(argument.data_type(), DataType::List(_)) {
        return Ok(Finished::List(Arc::new(Float64Array::from(found))));
    }
    Ok(Finished::Scalar(ScalarValue::Float64(found.first().copied().flatten())))
}

fn discrete(values: &ArrayRef, argument: &ArrayRef) -> DfResult<Finished> {
    let row = |fraction: Option<f64>| match fraction {
        None => Ok(None),
        Some(f) => Ok(Some(((check_fraction(f)? * values.len() as f64).ceil() as u32).saturating_sub(1))),
    };
    let rows = fractions(argument).into_iter().map(row).collect::<Result<Vec<_>>>()?;
    if matches!(argument.data_type(), DataType::List(_)) {
        return Ok(Finished::List(take(values, &UInt32Array::from(rows), None)?));
    }
    Ok(match rows.first().copied().flatten() {
        Some(row) => Finished::Element(0, row as usize),
        None => Finished::Scalar(ScalarValue::try_from(values.data_type())?),
    })
}
