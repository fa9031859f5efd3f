//! `WINDOWS(t, start, end)`: windows whose bounds are columns of the row.
//!
//! Appends the two columns as `window_start` and `window_end`, and `window_time` (end − 1 ms).
//! Rows without a bound, or whose window is empty (`end <= start`), belong to no window: they
//! are recorded as such. Keeps nothing.

use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::datatypes::{DataType, SchemaRef};

use super::expressions::batch_of;
use super::late::{LateReason, LateRows, Refusal};
use super::window_assign::{bound_type, drop_null_times, timestamp_values, window_columns};
use crate::dataflow::operator::{EpochContext, Operator};
use crate::error::Result;
use crate::types::{ChangeBatch, EventTime};

pub struct WindowBoundsSpec {
    /// Timestamp columns of the input.
    pub start: usize,
    pub end: usize,
    /// The input's columns, then `window_start`, `window_end`, `window_time`.
    pub output_schema: SchemaRef,
    /// Takes rows without a window.
    pub late: Arc<LateRows>,
}

/// Takes windows from columns.
pub struct WindowBoundsOperator {
    spec: WindowBoundsSpec,
    bound_type: DataType,
}

impl WindowBoundsOperator {
    pub fn new(spec: WindowBoundsSpec) -> Result<WindowBoundsOperator> {
        let bound_type = bound_type(&spec.output_schema)?;
        Ok(WindowBoundsOperator { spec, bound_type })
    }

    fn spans(&self, batch: &ChangeBatch) -> Result<Vec<(i64, i64)>> {
        let starts = timestamp_values(batch, self.spec.start)?.values();
        let ends = timestamp_values(batch, self.spec.end)?.values();
        Ok(starts.iter().copied().zip(ends.iter().copied()).collect())
    }
}

impl Operator for WindowBoundsOperator {
    fn name(&self) -> &str {
        "windows"
    }

    fn push(&mut self, _input: usize, batch: ChangeBatch, out: &mut Vec<ChangeBatch>) -> Result<()> {
        let batch = drop_null_times(batch, self.spec.start, &self.spec.late)?;
        let mut batch = drop_null_times(batch, self.spec.end, &self.spec.late)?;
        let mut spans = self.spans(&batch)?;
        if spans.iter().any(|(start, end)| end <= start) {
            let refusals: Vec<Refusal> = (spans.iter().enumerate())
                .filter(|(_, (start, end))| end <= start)
                .map(|(row, (start, end))| Refusal {
                    row: row as u32,
                    window_start: Some(*start),
                    window_end: Some(*end),
                })
                .collect();
            let weight = |row: usize| batch.weights.get(row);
            let reason = LateReason::EmptyWindow;
            self.spec.late.record(&batch.rows, &refusals, weight, reason, EventTime::MIN)?;
            batch = batch
                .filter(&spans.iter().map(|(start, end)| Some(start < end)).collect::<BooleanArray>())?;
            spans.retain(|(start, end)| start < end);
        }
        if batch.is_empty() {
            return Ok(());
        }
        let columns = window_columns(&spans, &self.bound_type);
        let columns = batch.rows.columns().iter().cloned().chain(columns).collect();
        out.push(batch.with_rows(batch_of(&self.spec.output_schema, columns, spans.len())?));
        Ok(())
    }

    fn finish_epoch(&mut self, _cx: &EpochContext, _out: &mut Vec<ChangeBatch>) -> Result<()> {
        Ok(())
    }
}
