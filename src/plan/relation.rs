//! A relation as the streaming planner sees it: schema and facts, nothing to scan.
//!
//! `engine` hands these to DataFusion's planner in place of tables; [`super::lower`] finds
//! them again at the leaves. Scanning one is an error: ad-hoc queries use snapshots.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Constraints;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::Extent;
use crate::error::HwError;

/// What kind of relation it is, as far as changes are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelationKind {
    Source,
    Table,
    View,
}

/// A source, table or materialized view as a leaf of a plan.
#[derive(Clone, Debug)]
pub struct StreamRelation {
    pub id: u64,
    pub name: String,
    pub kind: RelationKind,
    pub schema: SchemaRef,
    pub append_only: bool,
    pub unique_key: Option<Vec<usize>>,
    /// The declared key of a table, on which its columns depend in GROUP BY.
    pub primary_key: Constraints,
    /// Columns with a watermark: the source's own, or a view's event-time columns.
    pub event_time_columns: Vec<usize>,
    /// Columns made by `proctime()`.
    pub proctime_columns: Vec<usize>,
    /// `(start, end)` columns and the size in µs, if all have one, when a view's rows are
    /// windows by event time.
    pub window_columns: Option<(Option<usize>, Option<usize>, Option<i64>)>,
    /// Whether no row of a window changes after the relation's watermark has reached its end.
    pub final_windows: bool,
    /// How many rows it can have.
    pub extent: Extent,
}

#[async_trait]
impl TableProvider for StreamRelation {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn constraints(&self) -> Option<&Constraints> {
        Some(&self.primary_key)
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        _projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Err(HwError::internal(format!("relation {:?} was scanned while planning a view", self.name)).into())
    }
}
