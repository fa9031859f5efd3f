//! INTERSECT and EXCEPT in ad-hoc queries: the physical node of [`SetOpNode`].
//!
//! The right side is counted first, row by row as fingerprints; then the left side streams
//! through and each of its rows is kept or not by what is left of its count. The order of
//! the left side is kept. The counts are accounted to the query's memory.

use std::fmt;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{UserDefinedLogicalNode, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::{Distribution, EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties,
};
use futures::{StreamExt, TryStreamExt};
use hashbrown::HashMap;

use crate::plan::{SetKind, SetOpNode};
use crate::types::hash::{PrintHasher, fingerprints};

/// Makes [`SetOpExec`] of [`SetOpNode`]; `None` for other nodes.
pub(super) fn plan(
    node: &dyn UserDefinedLogicalNode,
    inputs: &[Arc<dyn ExecutionPlan>],
) -> Option<Arc<dyn ExecutionPlan>> {
    let node = node.as_any().downcast_ref::<SetOpNode>()?;
    let [left, right] = inputs else { return None };
    let schema = Arc::new(UserDefinedLogicalNodeCore::schema(node).as_arrow().clone());
    Some(Arc::new(SetOpExec::new(node.kind, Arc::clone(left), Arc::clone(right), schema)))
}

#[derive(Debug)]
pub struct SetOpExec {
    kind: SetKind,
    left: Arc<dyn ExecutionPlan>,
    right: Arc<dyn ExecutionPlan>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl SetOpExec {
    fn new(
        kind: SetKind,
        left: Arc<dyn ExecutionPlan>,
        right: Arc<dyn ExecutionPlan>,
        schema: SchemaRef,
    ) -> SetOpExec {
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(1),
            left.pipeline_behavior(),
            left.boundedness(),
        ));
        SetOpExec { kind, left, right, schema, properties }
    }
}

/// How many copies the right side has left of each row.
struct Counts {
    kind: SetKind,
    left: HashMap<u128, i64, PrintHasher>,
    memory: MemoryReservation,
}

impl Counts {
    fn account(&mut self) -> Result<()> {
        self.memory.try_resize(self.left.capacity() * (size_of::<(u128, i64)>() + 1))
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        for print in fingerprints(batch.columns(), batch.num_rows()) {
            *self.left.entry(print).or_default() += 1;
        }
        self.account()
    }

    /// The rows of `batch` that stay.
    fn keep(&mut self, batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
        let prints = fingerprints(batch.columns(), batch.num_rows());
        let mask: BooleanArray = prints.into_iter().map(|print| Some(self.keep_row(print))).collect();
        self.account()?;
        let kept = filter_record_batch(batch, &mask)?;
        Ok(RecordBatch::try_new_with_options(
            Arc::clone(schema),
            kept.columns().to_vec(),
            &arrow::array::RecordBatchOptions::new().with_row_count(Some(kept.num_rows())),
        )?)
    }

    fn keep_row(&mut self, print: u128) -> bool {
        let count = self.left.get_mut(&print);
        match self.kind {
            SetKind::IntersectAll => count.filter(|c| **c > 0).map(|c| *c -= 1).is_some(),
            SetKind::Intersect => count.is_some_and(|c| std::mem::take(c) > 0),
            SetKind::ExceptAll => count.filter(|c| **c > 0).map(|c| *c -= 1).is_none(),
            // The first copy of a row that the right side has not; then it is as if it had.
            SetKind::Except => count.is_none() && self.left.insert(print, 1).is_none(),
        }
    }
}

impl DisplayAs for SetOpExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "SetOpExec: {}", self.kind)
    }
}

impl ExecutionPlan for SetOpExec {
    fn name(&self) -> &str {
        "SetOpExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.left, &self.right]
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        vec![Distribution::SinglePartition, Distribution::SinglePartition]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (right, left) = (children.swap_remove(1), children.swap_remove(0));
        Ok(Arc::new(SetOpExec::new(self.kind, left, right, Arc::clone(&self.schema))))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let mut right = self.right.execute(0, Arc::clone(&context))?;
        let left = self.left.execute(partition, Arc::clone(&context))?;
        let memory = MemoryConsumer::new("SetOpExec").register(context.memory_pool());
        let mut counts = Counts { kind: self.kind, left: HashMap::default(), memory };
        let schema = Arc::clone(&self.schema);
        let counted = async move {
            while let Some(batch) = right.next().await {
                counts.add(&batch?)?;
            }
            Ok::<_, DataFusionError>(left.map(move |batch| counts.keep(&batch?, &schema)))
        };
        let rows = futures::stream::once(counted).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), rows)))
    }
}
