//! Arrow columns as [`Datum`]s and back: the two ends of row-wise evaluation.
//!
//! [`Column`] looks at an array's type once and then hands out borrowed values;
//! [`Output`] builds an array of the declared result type, rounding numerics to its scale
//! and refusing integers that do not fit (22003).

use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::*;
use datafusion::error::{DataFusionError, Result as DfResult};

use super::datum::{Datum, type_name};
use super::decimal::Numeric;
use crate::error::{HwError, Result, sqlstate};

/// A typed view of one array.
pub enum Column<'a> {
    Null,
    Bool(&'a BooleanArray),
    Int8(&'a Int8Array),
    Int16(&'a Int16Array),
    Int32(&'a Int32Array),
    Int64(&'a Int64Array),
    UInt8(&'a UInt8Array),
    UInt32(&'a UInt32Array),
    UInt64(&'a UInt64Array),
    Float32(&'a Float32Array),
    Float64(&'a Float64Array),
    Decimal(&'a Decimal128Array, i8),
    Text(&'a StringArray),
    TextView(&'a StringViewArray),
    Json(&'a LargeStringArray),
    RawJson(&'a LargeBinaryArray),
    Bytes(&'a BinaryArray),
    Fixed(&'a FixedSizeBinaryArray),
    Date(&'a Date32Array),
    Time(&'a Time64MicrosecondArray),
    Ts(&'a TimestampMicrosecondArray),
    Tstz(&'a TimestampMicrosecondArray),
    Interval(&'a IntervalMonthDayNanoArray),
    List(&'a ListArray),
    /// A carrier that no overload takes; its values read as NULL.
    Other,
}

impl<'a> Column<'a> {
    pub fn of(array: &'a dyn Array) -> Column<'a> {
        match array.data_type() {
            DataType::Null => Column::Null,
            DataType::Boolean => Column::Bool(array.as_boolean()),
            DataType::Int8 => Column::Int8(array.as_primitive()),
            DataType::Int16 => Column::Int16(array.as_primitive()),
            DataType::Int32 => Column::Int32(array.as_primitive()),
            DataType::Int64 => Column::Int64(array.as_primitive()),
            DataType::UInt8 => Column::UInt8(array.as_primitive()),
            DataType::UInt32 => Column::UInt32(array.as_primitive()),
            DataType::UInt64 => Column::UInt64(array.as_primitive()),
            DataType::Float32 => Column::Float32(array.as_primitive()),
            DataType::Float64 => Column::Float64(array.as_primitive()),
            DataType::Decimal128(_, s) => Column::Decimal(array.as_primitive(), *s),
            DataType::Utf8 => Column::Text(array.as_string()),
            DataType::Utf8View => Column::TextView(array.as_string_view()),
            DataType::LargeUtf8 => Column::Json(array.as_string()),
            DataType::LargeBinary => Column::RawJson(array.as_binary()),
            DataType::Binary => Column::Bytes(array.as_binary()),
            DataType::FixedSizeBinary(_) => Column::Fixed(array.as_fixed_size_binary()),
            DataType::Date32 => Column::Date(array.as_primitive()),
            DataType::Time64(TimeUnit::Microsecond) => Column::Time(array.as_primitive()),
            DataType::Timestamp(TimeUnit::Microsecond, None) => Column::Ts(array.as_primitive()),
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => Column::Tstz(array.as_primitive()),
            DataType::Interval(IntervalUnit::MonthDayNano) => Column::Interval(array.as_primitive()),
            DataType::List(_) => Column::List(array.as_list()),
            _ => Column::Other,
        }
    }

    pub fn get(&self, i: usize) -> Datum<'a> {
        macro_rules! at {
            ($array:expr, $value:expr) => {
                if $array.is_null(i) { Datum::Null } else { $value($array.value(i)) }
            };
        }
        match self {
            Column::Null | Column::Other => Datum::Null,
            Column::Bool(a) => at!(a, Datum::Bool),
            Column::Int8(a) => at!(a, |v| Datum::Int(i64::from(v))),
            Column::Int16(a) => at!(a, |v| Datum::Int(i64::from(v))),
            Column::Int32(a) => at!(a, |v| Datum::Int(i64::from(v))),
            Column::Int64(a) => at!(a, Datum::Int),
            Column::UInt8(a) => at!(a, |v| Datum::Int(i64::from(v))),
            Column::UInt32(a) => at!(a, |v| Datum::Int(i64::from(v))),
            Column::UInt64(a) => at!(a, |v| Datum::Num(Numeric::new(i128::from(v), 0))),
            Column::Float32(a) => at!(a, |v| Datum::Float(f64::from(v))),
            Column::Float64(a) => at!(a, Datum::Float),
            Column::Decimal(a, s) => at!(a, |v| Datum::Num(Numeric::new(v, *s))),
            Column::Text(a) => at!(a, Datum::text),
            Column::TextView(a) => at!(a, Datum::text),
            Column::Json(a) => at!(a, |v: &'a str| Datum::Json(v.into())),
            Column::RawJson(a) => at!(a, |v: &'a [u8]| Datum::RawJson(String::from_utf8_lossy(v))),
            Column::Bytes(a) => at!(a, |v: &'a [u8]| Datum::Bytes(v.into())),
            Column::Fixed(a) => at!(a, |v: &'a [u8]| Datum::Bytes(v.into())),
            Column::Date(a) => at!(a, Datum::Date),
            Column::Time(a) => at!(a, Datum::Time),
            Column::Ts(a) => at!(a, Datum::Ts),
            Column::Tstz(a) => at!(a, Datum::Tstz),
            Column::Interval(a) => at!(a, Datum::Interval),
            Column::List(a) => at!(a, Datum::List),
        }
    }
}

/// Builds the result column of a row-wise function.
pub enum Output {
    Bool(BooleanBuilder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Decimal(Decimal128Builder, u8, i8),
    Text(StringBuilder),
    Json(LargeStringBuilder),
    RawJson(LargeBinaryBuilder),
    Bytes(BinaryBuilder),
    Fixed(FixedSizeBinaryBuilder),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Ts(TimestampMicrosecondBuilder, DataType),
    Interval(IntervalMonthDayNanoBuilder),
    List(FieldRef, Vec<Option<ArrayRef>>),
}

impl Output {
    pub fn new(data_type: &DataType, rows: usize) -> DfResult<Output> {
        Ok(match data_type {
            DataType::Boolean => Output::Bool(BooleanBuilder::with_capacity(rows)),
            DataType::Int16 => Output::Int16(Int16Builder::with_capacity(rows)),
            DataType::Int32 => Output::Int32(Int32Builder::with_capacity(rows)),
            DataType::Int64 => Output::Int64(Int64Builder::with_capacity(rows)),
            DataType::Float32 => Output::Float32(Float32Builder::with_capacity(rows)),
            DataType::Float64 => Output::Float64(Float64Builder::with_capacity(rows)),
            DataType::Decimal128(p, s) => {
                let builder = Decimal128Builder::with_capacity(rows).with_data_type(data_type.clone());
                Output::Decimal(builder, *p, *s)
            }
            DataType::Utf8 => Output::Text(StringBuilder::new()),
            DataType::LargeUtf8 => Output::Json(LargeStringBuilder::new()),
            DataType::LargeBinary => Output::RawJson(LargeBinaryBuilder::new()),
            DataType::Binary => Output::Bytes(BinaryBuilder::new()),
            DataType::FixedSizeBinary(n) => Output::Fixed(FixedSizeBinaryBuilder::new(*n)),
            DataType::Date32 => Output::Date(Date32Builder::with_capacity(rows)),
            DataType::Time64(TimeUnit::Microsecond) => {
                Output::Time(Time64MicrosecondBuilder::with_capacity(rows))
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => Output::Ts(
                TimestampMicrosecondBuilder::with_capacity(rows).with_data_type(data_type.clone()),
                data_type.clone(),
            ),
            DataType::Interval(IntervalUnit::MonthDayNano) => {
                Output::Interval(IntervalMonthDayNanoBuilder::with_capacity(rows))
            }
            DataType::List(field) => Output::List(Arc::clone(field), Vec::with_capacity(rows)),
            other => {
                let message = format!("functions returning {} are not supported", type_name(other));
                return Err(HwError::new(sqlstate::FEATURE_NOT_SUPPORTED, message).into());
            }
        })
    }

    pub fn push(&mut self, value: Datum<'_>) -> DfResult<()> {
        let null = value.is_null();
        match self {
            Output::Bool(b) => b.append_option((!null).then(|| value.as_bool())),
            Output::Int16(b) => b.append_option(narrow::<i16>(&value, "smallint")?),
            Output::Int32(b) => b.append_option(narrow::<i32>(&value, "integer")?),
            Output::Int64(b) => b.append_option((!null).then(|| value.as_i64())),
            Output::Float32(b) => b.append_option((!null).then(|| value.as_f64() as f32)),
            Output::Float64(b) => b.append_option((!null).then(|| value.as_f64())),
            Output::Decimal(b, p, s) => {
                b.append_option(if null { None } else { Some(value.as_num().fit(*p, *s)?) });
            }
            Output::Text(b) => b.append_option((!null).then(|| value.as_str())),
            Output::Json(b) => b.append_option((!null).then(|| value.as_str())),
            Output::RawJson(b) => b.append_option((!null).then(|| value.as_str().as_bytes())),
            Output::Bytes(b) => b.append_option((!null).then(|| value.as_bytes())),
            Output::Fixed(b) => match null {
                true => b.append_null(),
                false => b.append_value(value.as_bytes())?,
            },
            Output::Date(b) => b.append_option((!null).then(|| value.as_i64() as i32)),
            Output::Time(b) => b.append_option((!null).then(|| value.as_i64())),
            Output::Ts(b, _) => b.append_option((!null).then(|| value.as_i64())),
            Output::Interval(b) => b.append_option((!null).then(|| value.as_interval())),
            Output::List(_, rows) => rows.push(match value {
                Datum::List(array) => Some(array),
                _ => None,
            }),
        }
        Ok(())
    }

    pub fn finish(self) -> DfResult<ArrayRef> {
        Ok(match self {
            Output::Bool(mut b) => Arc::new(b.finish()),
            Output::Int16(mut b) => Arc::new(b.finish()),
            Output::Int32(mut b) => Arc::new(b.finish()),
            Output::Int64(mut b) => Arc::new(b.finish()),
            Output::Float32(mut b) => Arc::new(b.finish()),
            Output::Float64(mut b) => Arc::new(b.finish()),
            Output::Decimal(mut b, _, _) => Arc::new(b.finish()),
            Output::Text(mut b) => Arc::new(b.finish()),
            Output::Json(mut b) => Arc::new(b.finish()),
            Output::RawJson(mut b) => Arc::new(b.finish()),
            Output::Bytes(mut b) => Arc::new(b.finish()),
            Output::Fixed(mut b) => Arc::new(b.finish()),
            Output::Date(mut b) => Arc::new(b.finish()),
            Output::Time(mut b) => Arc::new(b.finish()),
            Output::Ts(mut b, _) => Arc::new(b.finish()),
            Output::Interval(mut b) => Arc::new(b.finish()),
            Output::List(field, rows) => return finish_list(field, &rows),
        })
    }
}

fn narrow<T: TryFrom<i64>>(value: &Datum, typname: &str) -> Result<Option<T>> {
    if value.is_null() {
        return Ok(None);
    }
    T::try_from(value.as_i64()).map(Some).map_err(|_| out_of_range(typname))
}

/// 22003 for an integer type.
pub fn out_of_range(typname: &str) -> HwError {
    HwError::new(sqlstate::NUMERIC_VALUE_OUT_OF_RANGE, format!("{typname} out of range"))
}

fn finish_list(field: FieldRef, rows: &[Option<ArrayRef>]) -> DfResult<ArrayRef> {
    let lengths = rows.iter().map(|r| r.as_ref().map_or(0, |a| a.len()));
    let offsets = OffsetBuffer::from_lengths(lengths);
    let nulls = NullBuffer::from_iter(rows.iter().map(Option::is_some));
    let parts: Vec<&dyn Array> = rows.iter().flatten().map(|a| a.as_ref()).collect();
    let values = match parts.is_empty() {
        true => new_empty_array(field.data_type()),
        false => arrow::compute::concat(&parts)?,
    };
    let list = ListArray::try_new(field, offsets, values, Some(nulls));
    Ok(Arc::new(list.map_err(DataFusionError::from)?))
}
