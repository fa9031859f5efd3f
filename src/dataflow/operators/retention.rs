//! `WITH (retention = …)`: rows leave some time after the end of their window.
//!
//! Changes pass at once and are kept by window end. When the watermark, or the clock, has
//! passed an end by the retention, what is left of its rows is emitted with the opposite
//! weight. Later changes of such a window are ignored: its rows have gone already. Rows
//! without an end stay. Invariant: kept are exactly the rows that were let out and can expire.

use std::collections::BTreeMap;

use arrow::array::{Array, UInt32Array};
use arrow::datatypes::SchemaRef;

use super::aggregate::WindowTime;
use super::window_assign::timestamp_values;
use crate::dataflow::operator::{EpochContext, Operator, StateSize};
use crate::error::Result;
use crate::types::change_batch::consolidate;
use crate::types::{ChangeBatch, EventTime, ProcTime};

/// A bucket is consolidated when it has this many rows more than after the last time.
const GROWTH_ROWS: usize = 1024;

/// Rows of one window end.
#[derive(Default)]
struct Bucket {
    batches: Vec<ChangeBatch>,
    rows: usize,
    /// Consolidated again when there are more rows than this.
    rows_max: usize,
}

pub struct RetentionOperator {
    schema: SchemaRef,
    end_column: usize,
    time: WindowTime,
    retention_us: i64,
    buckets: BTreeMap<i64, Bucket>,
    /// W(E−1), or the last `now`.
    watermark: i64,
}

impl RetentionOperator {
    pub fn new(
        schema: SchemaRef,
        end_column: usize,
        time: WindowTime,
        retention_us: i64,
    ) -> RetentionOperator {
        let watermark = EventTime::MIN.0;
        RetentionOperator { schema, end_column, time, retention_us, buckets: BTreeMap::new(), watermark }
    }

    fn is_over(&self, end: i64) -> bool {
        end.saturating_add(self.retention_us) <= self.watermark
    }

    fn keep(&mut self, end: i64, batch: ChangeBatch) -> Result<()> {
        let bucket = self.buckets.entry(end).or_default();
        bucket.rows += batch.len();
        bucket.batches.push(batch);
        if bucket.rows > bucket.rows_max.max(GROWTH_ROWS) {
            let rows = consolidate(&self.schema, &bucket.batches)?;
            (bucket.rows, bucket.rows_max) = (rows.len(), rows.len() * 3 / 2 + GROWTH_ROWS);
            bucket.batches = if rows.is_empty() { Vec::new() } else { vec![rows] };
        }
        Ok(())
    }
}

impl Operator for RetentionOperator {
    fn name(&self) -> &str {
        "retention"
    }

    fn push(&mut self, _input: usize, batch: ChangeBatch, out: &mut Vec<ChangeBatch>) -> Result<()> {
        let ends = timestamp_values(&batch, self.end_column)?;
        let (mut by_end, mut passes): (BTreeMap<i64, Vec<u32>>, Vec<u32>) = Default::default();
        for row in 0..batch.len() {
            let end = ends.is_valid(row).then(|| ends.value(row));
            match end {
                Some(end) if self.is_over(end) => continue,
                Some(end) => by_end.entry(end).or_default().push(row as u32),
                None => {}
            }
            passes.push(row as u32);
        }
        let rows = |picked: Vec<u32>| match picked.len() == batch.len() {
            true => Ok(batch.clone()),
            false => batch.take(&UInt32Array::from(picked)),
        };
        for (end, picked) in by_end {
            self.keep(end, rows(picked)?)?;
        }
        let passed = rows(passes)?;
        if !passed.is_empty() {
            out.push(passed);
        }
        Ok(())
    }

    fn finish_epoch(&mut self, cx: &EpochContext, out: &mut Vec<ChangeBatch>) -> Result<()> {
        let reached = match &self.time {
            WindowTime::Event { clock } => cx.watermark(clock).0,
            WindowTime::Processing => cx.now.0,
        };
        self.watermark = self.watermark.max(reached);
        while let Some(first) = self.buckets.first_entry() {
            if first.key().saturating_add(self.retention_us) > self.watermark {
                break;
            }
            let rows = consolidate(&self.schema, &first.remove().batches)?;
            if !rows.is_empty() {
                let weights = rows.weights_vec().into_iter().map(|w| -w).collect();
                out.push(ChangeBatch::new(rows.rows, weights));
            }
        }
        Ok(())
    }

    fn next_timer(&self) -> Option<ProcTime> {
        let first = self.buckets.first_key_value().filter(|_| matches!(self.time, WindowTime::Processing));
        first.map(|(end, _)| ProcTime(end.saturating_add(self.retention_us)))
    }

    fn state_size(&self) -> StateSize {
        let batches = || self.buckets.values().flat_map(|b| &b.batches);
        let weights = |b: &ChangeBatch| b.weights.as_slice().map_or(0, size_of_val);
        StateSize {
            entries: self.buckets.values().map(|b| b.rows).sum(),
            bytes: batches().map(|b| b.rows.get_array_memory_size() + weights(b)).sum(),
        }
    }
}

#[cfg(test)]
mod tests;
