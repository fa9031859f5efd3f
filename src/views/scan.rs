//! A view at one epoch as a DataFusion table.
//!
//! Planning a scan takes the snapshot, so the plan holds Arrow batches, one partition per
//! shard, and no lock. Equality filters that give every key column a value become a look-up
//! of one row; DataFusion still applies them to what the scan returns.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{Constraints, ScalarValue, Statistics};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{Expr, Operator, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use futures::future::BoxFuture;

use super::{Pin, ViewStore};
use crate::error::Result;

/// A view or table at the epoch of a pin.
pub struct ViewScan {
    store: Arc<ViewStore>,
    pin: Arc<Pin>,
    schema: SchemaRef,
    key: Constraints,
}

impl std::fmt::Debug for ViewScan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ViewScan({} at epoch {})", self.store.name(), self.pin.epoch().0)
    }
}

impl ViewScan {
    /// `pin` is shared by the scans of a statement or transaction.
    pub fn new(store: Arc<ViewStore>, pin: Arc<Pin>) -> ViewScan {
        let schema = store.schema();
        ViewScan { store, pin, schema, key: Constraints::default() }
    }

    /// With a declared key, on which the other columns depend in GROUP BY.
    pub fn with_key(self, key: Constraints) -> ViewScan {
        ViewScan { key, ..self }
    }

    /// With the hidden columns after the others.
    pub fn with_hidden(store: Arc<ViewStore>, pin: Arc<Pin>) -> ViewScan {
        let schema = store.stored_schema();
        ViewScan { store, pin, schema, key: Constraints::default() }
    }

    /// The key that the filters ask for: a value for each key column, or `None`.
    fn key_values<'a>(&self, filters: impl Iterator<Item = &'a Expr> + Clone) -> Option<Vec<ScalarValue>> {
        let schema = &self.schema;
        let value = |column: &usize| {
            let field = schema.field(*column);
            let mut values = filters.clone().filter_map(|filter| column_equals(filter, field.name()));
            values.find(|value| !value.is_null() && value.data_type() == *field.data_type()).cloned()
        };
        self.store.key().filter(|key| !key.is_empty())?.iter().map(value).collect()
    }

    /// Batches by partition.
    fn read(&self, columns: Option<&[usize]>, filters: &[Expr]) -> Result<Vec<Vec<RecordBatch>>> {
        let epoch = self.pin.epoch();
        let hidden = self.schema.fields().len() > self.store.schema().fields().len();
        let key = if hidden { None } else { self.key_values(filters.iter()) };
        let Some(key) = key else {
            let all: Vec<usize> = (0..self.schema.fields().len()).collect();
            return self.store.snapshot_by_shard(epoch, Some(columns.unwrap_or(&all)));
        };
        let key = key.iter().map(|value| value.to_array()).collect::<DataFusionResult<Vec<_>>>();
        let key = key.map_err(|e| crate::error::HwError::internal(e.to_string()))?;
        let row = self.store.lookup(epoch, &key)?;
        let project = |row: RecordBatch| match columns {
            Some(columns) => row.project(columns),
            None => Ok(row),
        };
        Ok(vec![row.map(project).transpose()?.into_iter().collect()])
    }

    fn plan(
        &self,
        columns: Option<&[usize]>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let batches = self.read(columns, filters)?;
        let schema = match columns {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => Arc::clone(&self.schema),
        };
        let source = MemorySourceConfig::try_new(&batches, schema, None)?.with_limit(limit);
        Ok(datafusion::datasource::source::DataSourceExec::from_data_source(source))
    }
}

/// The literal in `column = literal` or `literal = column`.
fn column_equals<'a>(filter: &'a Expr, column: &str) -> Option<&'a ScalarValue> {
    let Expr::BinaryExpr(binary) = filter else { return None };
    if binary.op != Operator::Eq {
        return None;
    }
    match (binary.left.as_ref(), binary.right.as_ref()) {
        (Expr::Column(c), Expr::Literal(value, _)) | (Expr::Literal(value, _), Expr::Column(c)) => {
            (c.name == column).then_some(value)
        }
        _ => None,
    }
}

impl TableProvider for ViewScan {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn constraints(&self) -> Option<&Constraints> {
        Some(&self.key)
    }

    // Written out, because the compiler needs seconds to prove that a future that holds
    // expressions is `Send`.
    fn scan<'life0, 'life1, 'life2, 'life3, 'a>(
        &'life0 self,
        _state: &'life1 dyn Session,
        projection: Option<&'life2 Vec<usize>>,
        filters: &'life3 [Expr],
        limit: Option<usize>,
    ) -> BoxFuture<'a, DataFusionResult<Arc<dyn ExecutionPlan>>>
    where
        'life0: 'a,
        'life1: 'a,
        'life2: 'a,
        'life3: 'a,
        Self: 'a,
    {
        Box::pin(std::future::ready(self.plan(projection.map(Vec::as_slice), filters, limit)))
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        // Of use only together; if a scan got only some of them it would read everything.
        let support = match self.key_values(filters.iter().copied()) {
            Some(_) => TableProviderFilterPushDown::Inexact,
            None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(vec![support; filters.len()])
    }

    fn statistics(&self) -> Option<Statistics> {
        let rows = self.store.len_at(self.pin.epoch());
        Some(Statistics::new_unknown(&self.schema).with_num_rows(Precision::Exact(rows)))
    }
}
