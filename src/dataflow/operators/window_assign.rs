//! TUMBLE, HOP and CUMULATE: the operator that adds windows to rows.
//!
//! It repeats a row once per window and appends `window_start`, `window_end` and `window_time` (end − 1 ms) in
//! the type of the time column. Rows whose time is NULL belong to no window and are recorded
//! as such. In processing time the rows of an epoch all get the windows of its `now`, so
//! they wait for the end of the epoch.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, PrimitiveArray, TimestampMicrosecondArray, UInt32Array,
};
use arrow::datatypes::{DataType, SchemaRef, TimestampMicrosecondType};

use super::expressions::batch_of;
use super::late::{LateReason, LateRows, Refusal};
use crate::dataflow::operator::{EpochContext, Operator, StateSize};
use crate::error::{HwError, Result};
pub use crate::types::window::{Windows, window_time};
use crate::types::{ChangeBatch, EventTime};

/// An array of `values` in the timestamp type of `like`.
pub fn timestamps(values: Vec<i64>, like: &DataType) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(values).with_data_type(like.clone()))
}

/// What a [`WindowAssignOperator`] does.
pub struct WindowAssignSpec {
    pub name: String,
    pub windows: Windows,
    /// A timestamp column of the input; `None` for processing time.
    pub time_column: Option<usize>,
    /// The input's columns, then `window_start`, `window_end`, `window_time`, whose common
    /// type decides timestamp or timestamptz.
    pub output_schema: SchemaRef,
    /// Takes rows without event time.
    pub late: Arc<LateRows>,
}

/// Adds windows to rows.
pub struct WindowAssignOperator {
    spec: WindowAssignSpec,
    bound_type: DataType,
    /// Rows of this epoch that wait for `now`.
    waiting: Vec<ChangeBatch>,
}

impl WindowAssignOperator {
    pub fn new(spec: WindowAssignSpec) -> Result<WindowAssignOperator> {
        let bound_type = bound_type(&spec.output_schema)?;
        Ok(WindowAssignOperator { spec, bound_type, waiting: Vec::new() })
    }

    fn with_bounds(&self, batch: &ChangeBatch, spans: Vec<(i64, i64)>) -> Result<ChangeBatch> {
        let columns = window_columns(&spans, &self.bound_type);
        let columns = batch.rows.columns().iter().cloned().chain(columns).collect();
        Ok(batch.with_rows(batch_of(&self.spec.output_schema, columns, batch.len())?))
    }

    fn assign(&self, batch: ChangeBatch, column: usize) -> Result<ChangeBatch> {
        let batch = drop_timeless(batch, column, &self.spec.late)?;
        let times = timestamp_values(&batch, column)?;
        let windows = &self.spec.windows;
        if windows.is_tumble() {
            let mut assigned = LastSlice::new(windows);
            let spans = times.values().iter().map(|t| assigned.span_of(*t));
            return self.with_bounds(&batch, spans.collect());
        }
        let copies = (windows.size_us() / windows.slide_us() + 1) as usize;
        let mut rows = Vec::with_capacity(batch.len() * copies);
        let mut spans = Vec::with_capacity(batch.len() * copies);
        for (row, time) in times.values().iter().enumerate() {
            for span in windows.windows(*time) {
                rows.push(row as u32);
                spans.push(span);
            }
        }
        self.with_bounds(&batch.take(&UInt32Array::from(rows))?, spans)
    }
}

/// `window_start`, `window_end` and `window_time` of windows.
pub fn window_columns(spans: &[(i64, i64)], bound_type: &DataType) -> [ArrayRef; 3] {
    let column = |value: fn(&(i64, i64)) -> i64| timestamps(spans.iter().map(value).collect(), bound_type);
    [column(|s| s.0), column(|s| s.1), column(|s| window_time(s.1))]
}

/// The starts of windows that end at `ends`.
pub fn starts_of(windows: &Windows, ends: &[i64]) -> Vec<i64> {
    let mut last = None;
    let start = |end: &i64| match last {
        Some((known, start)) if known == *end => start,
        _ => {
            let start = windows.start_of(*end);
            last = Some((*end, start));
            start
        }
    };
    ends.iter().map(start).collect()
}

/// The type of the window columns at the end of a schema.
pub fn bound_type(schema: &SchemaRef) -> Result<DataType> {
    match schema.fields().last().map(|f| f.data_type()) {
        Some(t @ DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, _)) => Ok(t.clone()),
        _ => Err(HwError::internal("window bounds must be timestamps in microseconds")),
    }
}

/// Start of the slice of a time; consecutive times of one slice need no division.
pub struct LastSlice {
    windows: Windows,
    start: i64,
    end: i64,
}

impl LastSlice {
    pub fn new(windows: &Windows) -> LastSlice {
        LastSlice { windows: *windows, start: 0, end: i64::MIN }
    }

    #[inline]
    pub fn start_of(&mut self, time: i64) -> i64 {
        self.span_of(time).0
    }

    /// The slice of `time`, as start and end.
    #[inline]
    pub fn span_of(&mut self, time: i64) -> (i64, i64) {
        if time < self.start || time >= self.end {
            (self.start, self.end) = self.windows.slice(time);
        }
        (self.start, self.end)
    }
}

/// The values of a timestamp column.
pub fn timestamp_values(
    batch: &ChangeBatch,
    column: usize,
) -> Result<&PrimitiveArray<TimestampMicrosecondType>> {
    let array = batch.rows.column(column);
    array
        .as_primitive_opt()
        .ok_or_else(|| HwError::internal("the time column is not a timestamp in microseconds"))
}

/// `batch` without the rows whose time is NULL, which are recorded in `late`.
pub fn drop_null_times(batch: ChangeBatch, column: usize, late: &LateRows) -> Result<ChangeBatch> {
    let times = batch.rows.column(column);
    let Some(nulls) = times.logical_nulls().filter(|n| n.null_count() > 0) else { return Ok(batch) };
    let refusals: Vec<Refusal> = (0..batch.len())
        .filter(|row| nulls.is_null(*row))
        .map(|row| Refusal { row: row as u32, window_start: None, window_end: None })
        .collect();
    let weight = |row: usize| batch.weights.get(row);
    late.record(&batch.rows, &refusals, weight, LateReason::NullTime, EventTime::MIN)?;
    batch.filter(&BooleanArray::new(nulls.into_inner(), None))
}

/// `batch` without the rows whose time is NULL or infinite: no window of a size holds them. They
/// are recorded in `late`.
pub fn drop_timeless(batch: ChangeBatch, column: usize, late: &LateRows) -> Result<ChangeBatch> {
    let batch = drop_null_times(batch, column, late)?;
    let times = timestamp_values(&batch, column)?.values();
    let infinite = |t: &i64| *t == i64::MAX || *t == i64::MIN;
    if !times.iter().any(infinite) {
        return Ok(batch);
    }
    let kept: BooleanArray = times.iter().map(|t| Some(!infinite(t))).collect();
    let refused = (0..batch.len()).filter(|row| !kept.value(*row));
    let refusals: Vec<Refusal> =
        refused.map(|row| Refusal { row: row as u32, window_start: None, window_end: None }).collect();
    let weight = |row: usize| batch.weights.get(row);
    late.record(&batch.rows, &refusals, weight, LateReason::InfiniteTime, EventTime::MIN)?;
    batch.filter(&kept)
}

impl Operator for WindowAssignOperator {
    fn name(&self) -> &str {
        &self.spec.name
    }

    fn push(&mut self, _input: usize, batch: ChangeBatch, out: &mut Vec<ChangeBatch>) -> Result<()> {
        match self.spec.time_column {
            Some(column) => {
                let assigned = self.assign(batch, column)?;
                if !assigned.is_empty() {
                    out.push(assigned);
                }
            }
            None => self.waiting.push(batch),
        }
        Ok(())
    }

    fn finish_epoch(&mut self, cx: &EpochContext, out: &mut Vec<ChangeBatch>) -> Result<()> {
        for batch in std::mem::take(&mut self.waiting) {
            for span in self.spec.windows.windows(cx.now.0) {
                out.push(self.with_bounds(&batch, vec![span; batch.len()])?);
            }
        }
        Ok(())
    }

    fn state_size(&self) -> StateSize {
        StateSize {
            entries: self.waiting.iter().map(ChangeBatch::len).sum(),
            bytes: self.waiting.iter().map(|b| b.rows.get_array_memory_size()).sum(),
        }
    }
}

#[cfg(test)]
mod tests;
