//! A source at run time: its columns, generated columns and watermark.
//!
//! Connectors deliver raw columns; [`SourceSpec::complete`] turns a decoded chunk into rows
//! of the full relation schema (columns nobody needs are null arrays), evaluates generated
//! columns and the watermark expression. [`SourceProgress`] keeps, per split, the offset and
//! watermark of the last cut, and combines them: the minimum over splits that are not idle.
//! Invariant: a source's watermark never falls.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, new_null_array};
use arrow::compute::kernels::aggregate;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use datafusion::physical_expr::PhysicalExpr;

use super::journal::{SourceCut, SplitCut};
use crate::connectors::{SourceConnector, SplitRange};
use crate::error::{HwError, Result};

/// A source as the engine runs it; made from its definition.
pub struct SourceSpec {
    pub id: u64,
    pub name: String,
    /// All columns, in declared order, nullable.
    pub schema: SchemaRef,
    /// Columns that the connector delivers (the others are generated).
    pub delivered: Vec<usize>,
    /// Generated columns in order of evaluation, over the relation schema.
    pub generated: Vec<(usize, Arc<dyn PhysicalExpr>)>,
    /// Columns that generated columns and the watermark read.
    pub always_needed: Vec<usize>,
    pub watermark: Option<WatermarkRule>,
    pub not_null: Vec<usize>,
    /// `None` for a feed: rows come through the local log.
    pub connector: Option<Arc<dyn SourceConnector>>,
    /// Where reading starts, fixed when the source was created.
    pub start: Vec<SplitRange>,
    /// There may be rows from before anybody read: a new view reads up to the present end
    /// before it is attached.
    pub has_backlog: bool,
    /// A split silent for so long (µs), and caught up, does not hold the watermark back.
    pub idle_timeout_us: Option<i64>,
    /// Rows further in the future than this (µs) do not move the watermark.
    pub future_skew_us: Option<i64>,
    /// Rows per second at most, if limited.
    pub rate_limit: Option<u64>,
}

/// `WATERMARK FOR column AS …`.
#[derive(Clone)]
pub struct WatermarkRule {
    pub column: usize,
    /// The watermark that a row proves, over the relation schema; `None` for
    /// `SOURCE_WATERMARK()`, which only `ADVANCE WATERMARK` or the end of input moves.
    pub expr: Option<Arc<dyn PhysicalExpr>>,
}

/// What a batch says about event time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchTime {
    /// Largest watermark proven by the rows, microseconds.
    pub watermark: Option<i64>,
    /// Rows too far in the future to count.
    pub skewed_rows: u64,
}

impl SourceSpec {
    pub fn is_feed(&self) -> bool {
        self.connector.is_none()
    }

    /// The delivered columns that must be decoded when the plans use `used`.
    pub fn needed(&self, used: &[usize]) -> Vec<usize> {
        let mut needed: Vec<usize> = used.iter().chain(&self.always_needed).copied().collect();
        needed.extend(&self.not_null);
        needed.retain(|c| self.delivered.contains(c));
        needed.sort_unstable();
        needed.dedup();
        needed
    }

    /// Rows of the columns `needed` → rows of the whole relation, generated columns filled in.
    pub fn complete(&self, rows: &RecordBatch, needed: &[usize]) -> Result<RecordBatch> {
        let n = rows.num_rows();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        for (i, field) in self.schema.fields().iter().enumerate() {
            match needed.iter().position(|c| *c == i) {
                Some(at) => columns.push(Arc::clone(rows.column(at))),
                None => columns.push(new_null_array(field.data_type(), n)),
            }
        }
        let mut batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        for (column, expr) in &self.generated {
            let value = expr
                .evaluate(&batch)
                .and_then(|v| v.into_array(n))
                .map_err(|e| crate::sql::errors::to_hw_error(e, None))?;
            let mut columns = batch.columns().to_vec();
            columns[*column] = value;
            batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        }
        Ok(batch)
    }

    /// The watermark that the rows of a completed batch prove. `now` guards against rows of
    /// the far future, if the source has such a guard.
    pub fn batch_time(&self, rows: &RecordBatch, now: i64) -> Result<BatchTime> {
        let Some(WatermarkRule { column, expr: Some(expr) }) = &self.watermark else {
            return Ok(BatchTime::default());
        };
        let n = rows.num_rows();
        let proven = expr
            .evaluate(rows)
            .and_then(|v| v.into_array(n))
            .map_err(|e| crate::sql::errors::to_hw_error(e, None))?;
        let proven = proven
            .as_primitive_opt::<TimestampMicrosecondType>()
            .ok_or_else(|| HwError::internal(format!("the watermark of {} is not a timestamp", self.name)))?;
        let limit = self.future_skew_us.map(|s| now.saturating_add(s));
        let times = rows.column(*column).as_primitive_opt::<TimestampMicrosecondType>();
        let beyond = match (limit, times.and_then(aggregate::max)) {
            (Some(limit), Some(newest)) => newest > limit,
            _ => false,
        };
        if !beyond {
            return Ok(BatchTime { watermark: aggregate::max(proven), skewed_rows: 0 });
        }
        let mut result = BatchTime::default();
        for i in 0..n {
            let honest = times.is_some_and(|t| t.is_valid(i) && Some(t.value(i)) <= limit);
            if honest && proven.is_valid(i) {
                result.watermark = result.watermark.max(Some(proven.value(i)));
            } else if times.is_some_and(|t| t.is_valid(i)) {
                result.skewed_rows += 1;
            }
        }
        Ok(result)
    }
}

/// How far a source has been taken into cuts.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceProgress {
    pub splits: BTreeMap<u32, SplitProgress>,
    /// W of the last cut, microseconds; `i64::MIN` while there is none.
    pub watermark: i64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SplitProgress {
    pub offset: i64,
    pub watermark: i64,
    pub idle: bool,
    /// Clock time (µs) at which the last row was taken, or reading began.
    pub last_row_at: i64,
}

impl SourceProgress {
    pub fn new(start: &[SplitRange], now: i64) -> SourceProgress {
        let split = |r: &SplitRange| {
            let progress =
                SplitProgress { offset: r.start_offset, watermark: i64::MIN, idle: false, last_row_at: now };
            (r.split, progress)
        };
        SourceProgress { splits: start.iter().map(split).collect(), watermark: i64::MIN }
    }

    /// A split that appeared after the source was created is read from its beginning.
    pub fn split_mut(&mut self, split: u32, now: i64) -> &mut SplitProgress {
        self.splits.entry(split).or_insert(SplitProgress {
            offset: 0,
            watermark: i64::MIN,
            idle: false,
            last_row_at: now,
        })
    }

    /// Combines the splits' watermarks; returns whether the source's watermark rose.
    pub fn combine(&mut self) -> bool {
        let active = self.splits.values().filter(|s| !s.idle).map(|s| s.watermark).min();
        match active {
            Some(w) if w > self.watermark => {
                self.watermark = w;
                true
            }
            _ => false,
        }
    }

    /// Sets everything to what a journalled cut says.
    pub fn set(&mut self, cut: &SourceCut, now: i64) {
        for s in &cut.splits {
            *self.split_mut(s.split, now) = SplitProgress {
                offset: s.end_offset,
                watermark: s.watermark,
                idle: s.idle,
                last_row_at: now,
            };
        }
        self.watermark = self.watermark.max(cut.watermark);
    }

    pub fn to_cut(&self, source: u64) -> SourceCut {
        let split = |(split, p): (&u32, &SplitProgress)| SplitCut {
            split: *split,
            end_offset: p.offset,
            watermark: p.watermark,
            idle: p.idle,
        };
        SourceCut { source, watermark: self.watermark, splits: self.splits.iter().map(split).collect() }
    }

    /// The ranges from here on, without end.
    pub fn ranges(&self) -> Vec<SplitRange> {
        (self.splits.iter())
            .map(|(split, p)| SplitRange { split: *split, start_offset: p.offset, end_offset: None })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_watermark_is_the_minimum_of_its_active_splits_and_never_falls() {
        let ranges = [0, 1].map(|split| SplitRange { split, start_offset: 0, end_offset: None });
        let mut p = SourceProgress::new(&ranges, 0);
        p.split_mut(0, 0).watermark = 100;
        assert!(!p.combine(), "split 1 has proven nothing");
        p.split_mut(1, 0).watermark = 50;
        assert!(p.combine());
        assert_eq!(p.watermark, 50);
        p.split_mut(1, 0).idle = true;
        assert!(p.combine());
        assert_eq!(p.watermark, 100);
        p.split_mut(1, 0).idle = false;
        p.split_mut(2, 0);
        assert!(!p.combine());
        assert_eq!(p.watermark, 100, "a new or woken split holds, but does not turn it back");
        p.splits.values_mut().for_each(|s| s.idle = true);
        assert!(!p.combine(), "all idle: the watermark holds");
    }
}
