//! The `random` generator: seeded values for each declared column, by its type, never null.
//!
//! Integers, numerics and floats are uniform over their range (floats over 0 to 1, numerics
//! over at most 15 digits); texts have 3 to 20 letters or the declared length; dates and
//! timestamps lie in the 30 days after the base time. A column's values depend on its name,
//! not on which other columns are read.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float32Array,
    Float64Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, LargeBinaryArray,
    LargeStringArray, RecordBatch, RecordBatchOptions, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, IntervalMonthDayNano, IntervalUnit, SchemaRef, TimeUnit};

use super::mixer::{Draw, Mixer};
use super::text::{TextColumn, push_letters};
use crate::error::{HwError, Result, sqlstate};
use crate::types::PgType;

const MICROS_PER_DAY: i64 = 86_400_000_000;
const SPREAD_DAYS: u64 = 30;
const NUMERIC_DIGITS_MAX: u8 = 15;

/// Refuses columns without a type to draw from.
pub fn check_columns(declared: Option<SchemaRef>) -> Result<SchemaRef> {
    let Some(schema) = declared.filter(|schema| !schema.fields().is_empty()) else {
        return Err(HwError::new(
            sqlstate::INVALID_TABLE_DEFINITION,
            "generator \"random\" needs a list of columns",
        )
        .with_hint("Write CREATE SOURCE name (column type, …) WITH (…)."));
    };
    match schema.fields().iter().find(|field| !is_supported(field.data_type())) {
        None => Ok(schema),
        Some(field) => Err(HwError::unsupported(
            format!("a random column of type {}", PgType::of(field).sql_name()),
            format!("Declare column \"{}\" with a scalar type.", field.name()),
        )),
    }
}

fn is_supported(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Boolean
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Float32
            | DataType::Float64
            | DataType::Decimal128(_, _)
            | DataType::Utf8
            | DataType::LargeUtf8
            | DataType::LargeBinary
            | DataType::Binary
            | DataType::FixedSizeBinary(16)
            | DataType::Date32
            | DataType::Time64(TimeUnit::Microsecond)
            | DataType::Timestamp(TimeUnit::Microsecond, _)
            | DataType::Interval(IntervalUnit::MonthDayNano)
    )
}

pub struct Random {
    mixer: Mixer,
    base_time: i64,
}

impl Random {
    pub fn new(seed: u64, base_time: i64) -> Random {
        Random { mixer: Mixer::new(seed), base_time }
    }

    /// No time lies before it (µs).
    pub fn base_time(&self) -> i64 {
        self.base_time
    }

    pub fn generate(&self, rows: Range<i64>, schema: &SchemaRef) -> Result<RecordBatch> {
        let count = (rows.end - rows.start).max(0) as usize;
        let columns =
            schema.fields().iter().map(|field| self.column(rows.clone(), field)).collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
    }

    fn column(&self, rows: Range<i64>, field: &Field) -> Result<ArrayRef> {
        let purpose = u64::from(crc32fast::hash(field.name().as_bytes()));
        let mixer = self.mixer;
        let base = self.base_time;
        let draws = rows.clone().map(move |row| mixer.draw(row as u64, purpose));
        Ok(match field.data_type() {
            DataType::Boolean => Arc::new(draws.map(|d| Some(d.0 >> 63 == 1)).collect::<BooleanArray>()),
            DataType::Int16 => Arc::new(Int16Array::from_iter_values(draws.map(|d| (d.0 >> 48) as i16))),
            DataType::Int32 => Arc::new(Int32Array::from_iter_values(draws.map(|d| (d.0 >> 32) as i32))),
            DataType::Int64 => Arc::new(Int64Array::from_iter_values(draws.map(|d| d.0 as i64))),
            DataType::Float32 => Arc::new(Float32Array::from_iter_values(draws.map(|d| d.unit() as f32))),
            DataType::Float64 => Arc::new(Float64Array::from_iter_values(draws.map(Draw::unit))),
            DataType::Decimal128(precision, scale) => {
                let span = 10u64.pow(u32::from((*precision).min(NUMERIC_DIGITS_MAX)));
                let values = Decimal128Array::from_iter_values(draws.map(|d| i128::from(d.below(span))));
                Arc::new(values.with_precision_and_scale(*precision, *scale)?)
            }
            DataType::Utf8 => self.texts(draws, field)?,
            DataType::LargeBinary => {
                let values = draws.map(|d| format!("{{\"value\":{}}}", d.below(1_000_000)));
                Arc::new(LargeBinaryArray::from_iter_values(values))
            }
            DataType::LargeUtf8 => {
                let values = draws.map(|d| format!("{{\"value\": {}}}", d.below(1_000_000)));
                Arc::new(LargeStringArray::from_iter_values(values))
            }
            DataType::Binary => Arc::new(BinaryArray::from_iter_values(draws.map(|d| d.0.to_le_bytes()))),
            DataType::FixedSizeBinary(_) => {
                let bytes: Vec<u8> = draws.flat_map(random_uuid).collect();
                Arc::new(FixedSizeBinaryArray::try_new(16, Buffer::from_vec(bytes), None)?)
            }
            DataType::Date32 => {
                let first = base.div_euclid(MICROS_PER_DAY) as i32;
                Arc::new(Date32Array::from_iter_values(draws.map(|d| first + d.below(SPREAD_DAYS) as i32)))
            }
            DataType::Time64(_) => {
                let times = draws.map(|d| d.below(MICROS_PER_DAY as u64) as i64);
                Arc::new(Time64MicrosecondArray::from_iter_values(times))
            }
            DataType::Timestamp(_, zone) => {
                let span = SPREAD_DAYS * MICROS_PER_DAY as u64;
                let times = draws.map(|d| base.saturating_add_unsigned(d.below(span)));
                Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone_opt(zone.clone()))
            }
            DataType::Interval(_) => {
                let values = draws.map(|d| {
                    let nanos = d.further(1).below(MICROS_PER_DAY as u64) as i64 * 1000;
                    IntervalMonthDayNano::new(0, d.below(SPREAD_DAYS) as i32, nanos)
                });
                Arc::new(IntervalMonthDayNanoArray::from_iter_values(values))
            }
            other => return Err(HwError::internal(format!("no random values of type {other}"))),
        })
    }

    fn texts(&self, draws: impl Iterator<Item = Draw>, field: &Field) -> Result<ArrayRef> {
        let longest = match PgType::of(field) {
            PgType::Varchar(Some(length)) | PgType::Bpchar(Some(length)) => u64::from(length.min(20)),
            _ => 20,
        };
        let shortest = longest.min(3);
        let mut text = TextColumn::with_capacity(draws.size_hint().0, draws.size_hint().0 * longest as usize);
        for draw in draws {
            let length = shortest + draw.below(longest - shortest + 1);
            text.push(|out| push_letters(out, draw, length as usize));
        }
        text.finish(None)
    }
}

/// A version 4 UUID.
fn random_uuid(draw: Draw) -> [u8; 16] {
    let bits = u128::from(draw.0) << 64 | u128::from(draw.further(1).0);
    let version = bits & !(0xf << 76) | 0x4 << 76;
    (version & !(0x3 << 62) | 0x2 << 62).to_be_bytes()
}
