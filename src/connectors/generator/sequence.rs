//! The `sequence` generator: integer columns hold the row's number, timestamp columns
//! advance with it. An `integer` column starts again from 0 after 2147483647.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int32Array, Int64Array, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, SchemaRef};

use super::model::EventClock;
use super::options::{GeneratorOptions, TimeOptions};
use crate::error::{HwError, Result};

pub struct Sequence {
    clock: EventClock,
}

impl Sequence {
    pub fn new(options: &GeneratorOptions, time: &TimeOptions) -> Sequence {
        Sequence { clock: EventClock::new(time, options.rate, 1, 1) }
    }

    /// Event time (µs) of a row; it never falls from row to row.
    pub fn time_of(&self, row: i64) -> i64 {
        self.clock.at(row as u64)
    }

    pub fn generate(&self, rows: Range<i64>, schema: &SchemaRef) -> Result<RecordBatch> {
        let count = (rows.end - rows.start).max(0) as usize;
        let column = |data_type: &DataType| -> Result<ArrayRef> {
            let rows = rows.clone();
            match data_type {
                DataType::Int32 => {
                    let wrapped = rows.map(|row| (row & i64::from(i32::MAX)) as i32);
                    Ok(Arc::new(Int32Array::from_iter_values(wrapped)))
                }
                DataType::Int64 => Ok(Arc::new(Int64Array::from_iter_values(rows))),
                DataType::Timestamp(_, zone) => {
                    let times = rows.map(|row| self.clock.at(row as u64));
                    let times = TimestampMicrosecondArray::from_iter_values(times);
                    Ok(Arc::new(times.with_timezone_opt(zone.clone())))
                }
                other => Err(HwError::internal(format!("a sequence has no column of type {other}"))),
            }
        };
        let columns = schema.fields().iter().map(|field| column(field.data_type())).collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
    }
}
