//! Reading a source ad hoc: what it still holds, as a bounded query.
//!
//! A source that views read is bounded by the offsets of the pinned epoch, so a statement, or a
//! transaction, sees no more of it than of the views; an idle one by its present end. A feed is read
//! back from the local log. Rows are read with a private reader; nothing is consumed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::bounded_read::{BoundedRead, bounded_ranges};
use super::database::Database;
use super::source::SourceSpec;
use crate::connectors::SplitRange;
use crate::error::{HwError, Result, sqlstate};
use crate::views::Pin;

/// Rows that one ad-hoc read of a source may hold.
const ROWS_MAX: usize = 20_000_000;
const SILENCE_MAX: Duration = Duration::from_secs(30);

pub struct SourceScan {
    database: Arc<Database>,
    spec: Arc<SourceSpec>,
    pin: Arc<Pin>,
}

impl SourceScan {
    pub fn new(database: Arc<Database>, spec: Arc<SourceSpec>, pin: Arc<Pin>) -> SourceScan {
        SourceScan { database, spec, pin }
    }

    fn read(&self, used: &[usize]) -> Result<Vec<RecordBatch>> {
        let engine = &self.database.engine;
        if self.spec.is_feed() {
            let mut log = engine.shared.log.read_back(&[self.spec.id], self.pin.ends().log)?;
            return Ok(log.remove(&self.spec.id).unwrap_or_default().into_iter().map(|b| b.rows).collect());
        }
        let ranges = self.ranges()?;
        let needed = self.spec.needed(used);
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        let now = engine.shared.clock.now().0;
        let chunk_rows_max = engine.shared.limits.chunk_rows_max;
        let mut read = BoundedRead::open(&self.spec, &needed, ranges, chunk_rows_max, SILENCE_MAX)?;
        let mut batches = Vec::new();
        let mut rows = 0;
        while !read.is_done() {
            for ready in read.poll(now)? {
                rows += ready.rows.num_rows();
                batches.push(ready.rows);
            }
            if rows > ROWS_MAX {
                return Err(HwError::new(
                    sqlstate::CONFIGURATION_LIMIT_EXCEEDED,
                    format!("source \"{}\" holds more than {ROWS_MAX} rows", self.spec.name),
                )
                .with_hint("Create a materialized view over the source and query the view."));
            }
        }
        Ok(batches)
    }

    fn ranges(&self) -> Result<Vec<SplitRange>> {
        let taken = self.pin.ends().offsets.get(&self.spec.id);
        let ends: Vec<(u32, i64)> = match (taken, &self.spec.connector) {
            (Some(offsets), _) => offsets.clone(),
            (None, Some(connector)) => {
                connector.end_offsets()?.into_iter().filter_map(|r| Some((r.split, r.end_offset?))).collect()
            }
            (None, None) => Vec::new(),
        };
        Ok(bounded_ranges(&self.spec.start, ends))
    }
}

impl fmt::Debug for SourceScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceScan({})", self.spec.name)
    }
}

#[async_trait]
impl TableProvider for SourceScan {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.spec.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let used: Vec<usize> = match projection {
            Some(columns) => columns.clone(),
            None => (0..self.spec.schema.fields().len()).collect(),
        };
        let scan = SourceScan::new(Arc::clone(&self.database), Arc::clone(&self.spec), Arc::clone(&self.pin));
        let batches = tokio::task::spawn_blocking(move || scan.read(&used))
            .await
            .map_err(|e| HwError::internal(e.to_string()))??;
        let exec =
            MemorySourceConfig::try_new_exec(&[batches], Arc::clone(&self.spec.schema), projection.cloned())?;
        Ok(exec)
    }
}
