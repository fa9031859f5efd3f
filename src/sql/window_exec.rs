//! Windows in ad-hoc queries: the physical node of [`WindowNode`].
//!
//! Rows in, the same rows with `window_start`, `window_end`, `window_time` out, repeated once
//! per window for HOP, batch by batch. Rows without time belong to no window and are left
//! out, as in views. `proctime()` is the statement's own time.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use datafusion::catalog::Session;
use datafusion::error::Result;
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use futures::StreamExt;

use super::send::{SendFuture, assert_send};
use crate::plan::WindowNode;
use crate::types::window::{Windows, window_time};

/// DataFusion's planner, with windows.
#[derive(Debug, Default)]
pub struct WindowQueryPlanner;

impl QueryPlanner for WindowQueryPlanner {
    fn create_physical_plan<'life0, 'life1, 'life2, 'a>(
        &'life0 self,
        logical_plan: &'life1 LogicalPlan,
        session: &'life2 dyn Session,
    ) -> SendFuture<'a, Result<Arc<dyn ExecutionPlan>>>
    where
        'life0: 'a,
        'life1: 'a,
        'life2: 'a,
        Self: 'a,
    {
        // SAFETY: it holds a plan, a planner and a `Send` future.
        unsafe {
            assert_send(async move {
                let planner = DefaultPhysicalPlanner::with_extension_planners(vec![
                    Arc::new(WindowExecPlanner),
                    Arc::new(super::set_op_exec::SetOpExecPlanner),
                ]);
                planner.create_physical_plan(logical_plan, session).await
            })
        }
    }
}

/// Makes [`WindowExec`] of [`WindowNode`].
#[derive(Debug, Default)]
pub struct WindowExecPlanner;

impl ExtensionPlanner for WindowExecPlanner {
    fn plan_extension<'life0, 'life1, 'life2, 'life3, 'life4, 'life5, 'life6, 'life7, 'a>(
        &'life0 self,
        _planner: &'life1 dyn PhysicalPlanner,
        node: &'life2 dyn UserDefinedLogicalNode,
        _logical_inputs: &'life3 [&'life4 LogicalPlan],
        physical_inputs: &'life5 [Arc<dyn ExecutionPlan>],
        session: &'life6 dyn Session,
        _planning_ctx: &'life7 datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext,
    ) -> SendFuture<'a, Result<Option<Arc<dyn ExecutionPlan>>>>
    where
        'life0: 'a,
        'life1: 'a,
        'life2: 'a,
        'life3: 'a,
        'life4: 'a,
        'life5: 'a,
        'life6: 'a,
        'life7: 'a,
        Self: 'a,
    {
        Box::pin(std::future::ready(Self::plan(node, physical_inputs, session)))
    }
}

impl WindowExecPlanner {
    fn plan(
        node: &dyn UserDefinedLogicalNode,
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(window) = node.as_any().downcast_ref::<WindowNode>() else { return Ok(None) };
        let time = session.create_physical_expr(window.time.clone(), window.input.schema())?;
        let windows = Windows::new(window.slide_us, window.size_us, window.offset_us)?;
        let input = Arc::clone(&physical_inputs[0]);
        let mut fields: Vec<_> = input.schema().fields().iter().cloned().collect();
        let output = datafusion::logical_expr::UserDefinedLogicalNodeCore::schema(window).as_arrow().clone();
        fields.extend(output.fields().iter().rev().take(3).rev().cloned());
        let schema = Arc::new(arrow::datatypes::Schema::new(fields));
        Ok(Some(Arc::new(WindowExec::new(input, time, windows, schema))))
    }
}

#[derive(Debug, Clone)]
pub struct WindowExec {
    input: Arc<dyn ExecutionPlan>,
    time: Arc<dyn PhysicalExpr>,
    windows: Windows,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl WindowExec {
    fn new(
        input: Arc<dyn ExecutionPlan>,
        time: Arc<dyn PhysicalExpr>,
        windows: Windows,
        schema: SchemaRef,
    ) -> Self {
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            datafusion::physical_plan::Partitioning::UnknownPartitioning(
                input.output_partitioning().partition_count(),
            ),
            input.pipeline_behavior(),
            input.boundedness(),
        ));
        WindowExec { input, time, windows, schema, properties }
    }

    fn assign(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let times = self.time.evaluate(batch)?.into_array(batch.num_rows())?;
        let bound_type = times.data_type().clone();
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let (mut rows, mut ends) = (Vec::new(), Vec::new());
        for row in 0..times.len() {
            if times.is_valid(row) {
                for end in self.windows.ends(times.value(row)) {
                    rows.push(row as u32);
                    ends.push(end);
                }
            }
        }
        let taken = take_record_batch(batch, &UInt32Array::from(rows))?;
        let column = |values: Vec<i64>| -> arrow::array::ArrayRef {
            Arc::new(TimestampMicrosecondArray::from(values).with_data_type(bound_type.clone()))
        };
        let mut columns = taken.columns().to_vec();
        columns.push(column(ends.iter().map(|e| e.saturating_sub(self.windows.size_us())).collect()));
        columns.push(column(ends.clone()));
        columns.push(column(ends.into_iter().map(window_time).collect()));
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

impl DisplayAs for WindowExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "WindowExec: time={}, windows={:?}", self.time, self.windows)
    }
}

impl ExecutionPlan for WindowExec {
    fn name(&self) -> &str {
        "WindowExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<datafusion::common::tree_node::TreeNodeRecursion>,
    ) -> Result<datafusion::common::tree_node::TreeNodeRecursion> {
        f(&self.time)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = children.swap_remove(0);
        Ok(Arc::new(WindowExec::new(input, Arc::clone(&self.time), self.windows, Arc::clone(&self.schema))))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let this = self.clone();
        let assigned = input.map(move |batch| batch.and_then(|b| this.assign(&b)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), assigned)))
    }
}
