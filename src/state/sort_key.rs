//! Sort keys as bytes that compare like the values: PostgreSQL's order in `memcmp`.
//!
//! In: rows and an ORDER BY. Out: one key a row. Text is compared by its bytes (collation
//! "C"); −0 equals 0 and NaN is the greatest float; intervals compare by their length with
//! months of 30 days; NULL stands where NULLS FIRST or LAST says. The encoding is Arrow's row
//! format, which is stable between runs. Keys of fixed width live in words, others in boxes.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, RecordBatch};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Float32Type, Float64Type, IntervalMonthDayNanoType, IntervalUnit, Schema};
use arrow::row::{RowConverter, SortField};

use crate::error::Result;
use crate::types::order::SortKey;

/// A sort key as it is held in state.
pub trait Key: Ord + Clone + Send + 'static {
    /// From bytes that compare like the values.
    fn of(bytes: &[u8]) -> Self;
    /// Not greater than any key.
    fn least() -> Self;
    /// Bytes held outside of the value itself.
    fn heap_bytes(&self) -> usize;
}

impl<const N: usize> Key for [u64; N] {
    #[inline]
    fn of(bytes: &[u8]) -> Self {
        let mut words = [0; N];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks(8)) {
            let mut padded = [0; 8];
            padded[..chunk.len()].copy_from_slice(chunk);
            *word = u64::from_be_bytes(padded);
        }
        words
    }

    fn least() -> Self {
        [0; N]
    }

    fn heap_bytes(&self) -> usize {
        0
    }
}

impl<const N: usize> Key for [u32; N] {
    #[inline]
    fn of(bytes: &[u8]) -> Self {
        let mut words = [0; N];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks(4)) {
            let mut padded = [0; 4];
            padded[..chunk.len()].copy_from_slice(chunk);
            *word = u32::from_be_bytes(padded);
        }
        words
    }

    fn least() -> Self {
        [0; N]
    }

    fn heap_bytes(&self) -> usize {
        0
    }
}

impl Key for Box<[u8]> {
    fn of(bytes: &[u8]) -> Self {
        bytes.into()
    }

    fn least() -> Self {
        Box::default()
    }

    fn heap_bytes(&self) -> usize {
        self.len()
    }
}

/// Encodes the sort keys of rows of one schema.
pub struct KeyEncoder {
    columns: Vec<usize>,
    /// None without ORDER BY: all keys are equal.
    converter: Option<RowConverter>,
    width: Option<usize>,
}

impl KeyEncoder {
    pub fn new(schema: &Schema, keys: &[SortKey]) -> Result<KeyEncoder> {
        let types: Vec<DataType> = keys.iter().map(|k| carrier(schema.field(k.column).data_type())).collect();
        let fields: Vec<SortField> = (keys.iter().zip(&types))
            .map(|(k, t)| {
                let options = SortOptions { descending: k.descending, nulls_first: k.nulls_first };
                SortField::new_with_options(t.clone(), options)
            })
            .collect();
        let width = types.iter().map(|t| Some(1 + fixed_width(t)?)).sum();
        let converter = if fields.is_empty() { None } else { Some(RowConverter::new(fields)?) };
        Ok(KeyEncoder { columns: keys.iter().map(|k| k.column).collect(), converter, width })
    }

    /// Bytes of every key, if they are all of one width.
    pub fn width(&self) -> Option<usize> {
        self.width
    }

    /// The key of each row.
    pub fn encode<K: Key>(&self, rows: &RecordBatch) -> Result<Vec<K>> {
        let Some(converter) = &self.converter else { return Ok(vec![K::least(); rows.num_rows()]) };
        let columns: Vec<ArrayRef> = self.columns.iter().map(|c| comparable(rows.column(*c))).collect();
        let encoded = converter.convert_columns(&columns)?;
        Ok(encoded.iter().map(|row| K::of(row.data())).collect())
    }
}

/// The type that is encoded for values of type `t`.
fn carrier(t: &DataType) -> DataType {
    match t {
        DataType::Interval(IntervalUnit::MonthDayNano) => DataType::Decimal128(38, 0),
        other => other.clone(),
    }
}

fn fixed_width(t: &DataType) -> Option<usize> {
    match t {
        DataType::Boolean => Some(1),
        other => other.primitive_width(),
    }
}

/// The column with equal values made identical.
fn comparable(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float32 => {
            let values = column.as_primitive::<Float32Type>();
            let plain = |v: f32| if v.is_nan() { f32::NAN } else { v + 0.0 };
            Arc::new(values.unary::<_, Float32Type>(plain))
        }
        DataType::Float64 => {
            let values = column.as_primitive::<Float64Type>();
            let plain = |v: f64| if v.is_nan() { f64::NAN } else { v + 0.0 };
            Arc::new(values.unary::<_, Float64Type>(plain))
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let values = column.as_primitive::<IntervalMonthDayNanoType>();
            let lengths: Decimal128Array = (0..values.len())
                .map(|row| {
                    values.is_valid(row).then(|| {
                        let v = values.value(row);
                        let days = i128::from(v.months) * 30 + i128::from(v.days);
                        days * 86_400_000_000_000 + i128::from(v.nanoseconds)
                    })
                })
                .collect();
            Arc::new(lengths.with_data_type(DataType::Decimal128(38, 0)))
        }
        _ => Arc::clone(column),
    }
}

#[cfg(test)]
mod tests;
