//! PostgreSQL's order of values as an order of Arrow's row format.
//!
//! The row format compares columns byte by byte. Two types need another carrier for that:
//! floats, where −0 equals 0 and every NaN is the same and largest, and intervals, which
//! compare by length (a month is 30 days). All others are ordered as they are; text by bytes.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Decimal128Array};
use arrow::compute::SortOptions;
use arrow::datatypes::{
    DataType, Float32Type, Float64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
};

const NANOS_PER_DAY: i128 = 86_400_000_000_000;

/// Ascending, NULLs last: PostgreSQL's default, and the order of values that nothing orders.
pub const ASCENDING: SortOptions = SortOptions { descending: false, nulls_first: false };

/// The type of [`order_key`] of a column of `data_type`.
pub fn order_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Interval(IntervalUnit::MonthDayNano) => DataType::Decimal128(38, 0),
        other => other.clone(),
    }
}

/// Whether a value can be read back from its key.
pub fn keeps_value(data_type: &DataType) -> bool {
    !matches!(data_type, DataType::Interval(_) | DataType::Float32 | DataType::Float64)
}

/// A column whose row format compares as PostgreSQL compares the values; idempotent.
pub fn order_key(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float64 => Arc::new(
            array
                .as_primitive::<Float64Type>()
                .unary::<_, Float64Type>(|v| if v.is_nan() { f64::NAN.abs() } else { v + 0.0 }),
        ),
        DataType::Float32 => Arc::new(
            array
                .as_primitive::<Float32Type>()
                .unary::<_, Float32Type>(|v| if v.is_nan() { f32::NAN.abs() } else { v + 0.0 }),
        ),
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let lengths: Decimal128Array =
                array.as_primitive::<IntervalMonthDayNanoType>().unary(|v: IntervalMonthDayNano| {
                    (v.months as i128 * 30 + v.days as i128) * NANOS_PER_DAY + v.nanoseconds as i128
                });
            Arc::new(lengths.with_data_type(DataType::Decimal128(38, 0)))
        }
        _ => Arc::clone(array),
    }
}
