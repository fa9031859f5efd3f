//! A source at run time: its columns, generated columns and watermark.
//!
//! Connectors deliver raw columns; [`SourceSpec::complete`] turns a decoded chunk into rows
//! of the full relation schema (columns nobody needs are null arrays), evaluates generated
//! columns, and [`SourceSpec::chunk_time`] says what the rows prove about event time.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, new_null_array};
use arrow::compute::kernels::aggregate;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use datafusion::physical_expr::PhysicalExpr;

use super::chunk_time::ChunkTime;
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
    pub alignment: Option<Alignment>,
}

/// `WATERMARK FOR column AS …`.
#[derive(Clone)]
pub struct WatermarkRule {
    pub column: usize,
    pub strategy: WatermarkStrategy,
}

#[derive(Clone)]
pub enum WatermarkStrategy {
    /// The watermark that a row proves, over the relation schema.
    Expr(Arc<dyn PhysicalExpr>),
    /// `SOURCE_WATERMARK()`: only the source, `ADVANCE WATERMARK` or the end of input move it.
    Source,
    /// `PERCENTILE (q)`: the newest event time minus a quantile of the recent delays.
    Percentile(f64),
}

/// Sources of a group wait for the slowest of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alignment {
    pub group: String,
    /// How far (µs) a split may be ahead of the slowest of the group.
    pub max_drift_us: i64,
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

    /// The quantile of PERCENTILE.
    pub fn quantile(&self) -> Option<f64> {
        match &self.watermark {
            Some(WatermarkRule { strategy: WatermarkStrategy::Percentile(quantile), .. }) => Some(*quantile),
            _ => None,
        }
    }

    /// What the rows of a completed batch say about event time. `offset_of`: a row's offset;
    /// `now`: guards against rows of the far future, if the source has such a guard.
    pub fn chunk_time(
        &self,
        rows: &RecordBatch,
        offset_of: impl Fn(usize) -> i64,
        now: i64,
    ) -> Result<ChunkTime> {
        let Some(WatermarkRule { column, strategy }) = &self.watermark else {
            return Ok(ChunkTime::default());
        };
        let proven = match strategy {
            WatermarkStrategy::Source => return Ok(ChunkTime::default()),
            WatermarkStrategy::Percentile(_) => Arc::clone(rows.column(*column)),
            WatermarkStrategy::Expr(expr) => expr
                .evaluate(rows)
                .and_then(|v| v.into_array(rows.num_rows()))
                .map_err(|e| crate::sql::errors::to_hw_error(e, None))?,
        };
        let timestamps = |array: &ArrayRef| array.as_primitive_opt::<TimestampMicrosecondType>().cloned();
        let not_timestamps =
            || HwError::internal(format!("the watermark of {} is not a timestamp", self.name));
        let proven = timestamps(&proven).ok_or_else(not_timestamps)?;
        let times = timestamps(rows.column(*column)).ok_or_else(not_timestamps)?;
        // A row at infinity proves nothing, whatever the guard.
        let limit = self.future_skew_us.map_or(i64::MAX - 1, |s| now.saturating_add(s).min(i64::MAX - 1));
        if aggregate::max(&times).is_none_or(|newest| newest <= limit) {
            return Ok(ChunkTime { proven: Some(proven), ..ChunkTime::default() });
        }
        let ahead = |i: usize| times.is_valid(i) && times.value(i) > limit;
        let skewed: Vec<(i64, i64)> =
            (0..rows.num_rows()).filter(|i| ahead(*i)).map(|i| (offset_of(i), times.value(i))).collect();
        let honest = (0..rows.num_rows()).map(|i| (proven.is_valid(i) && !ahead(i)).then(|| proven.value(i)));
        Ok(ChunkTime { proven: Some(honest.collect()), skewed, ..ChunkTime::default() })
    }
}

#[cfg(test)]
mod tests;
