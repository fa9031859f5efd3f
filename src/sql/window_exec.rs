//! Windows in ad-hoc queries: the physical node of [`WindowNode`].
//!
//! Rows in, the same rows with `window_start`, `window_end`, `window_time` out, repeated once
//! per window for HOP and CUMULATE, batch by batch; SESSION collects all rows first. Rows
//! without a window are left out, as in views. `proctime()` is the statement's own time.

mod session;

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, AsArray, PrimitiveArray, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use datafusion::catalog::Session;
use datafusion::common::internal_err;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::UserDefinedLogicalNode;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use futures::StreamExt;

use crate::plan::{WindowNode, Windowing};
use crate::types::window::window_time;

/// Makes [`WindowExec`] of [`WindowNode`]; `None` for other nodes.
pub(super) fn plan(
    node: &dyn UserDefinedLogicalNode,
    physical_inputs: &[Arc<dyn ExecutionPlan>],
    session: &dyn Session,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(window) = node.as_any().downcast_ref::<WindowNode>() else { return Ok(None) };
    let physical =
        |e: &datafusion::logical_expr::Expr| session.create_physical_expr(e.clone(), window.input.schema());
    let time = physical(&window.time)?;
    let keys = window.keys.iter().map(physical).collect::<Result<Vec<_>>>()?;
    let input = Arc::clone(&physical_inputs[0]);
    let mut fields: Vec<_> = input.schema().fields().iter().cloned().collect();
    let output = datafusion::logical_expr::UserDefinedLogicalNodeCore::schema(window).as_arrow().clone();
    fields.extend(output.fields().iter().rev().take(3).rev().cloned());
    let schema = Arc::new(arrow::datatypes::Schema::new(fields));
    Ok(Some(Arc::new(WindowExec::new(input, window.windowing, time, keys, schema))))
}

#[derive(Debug, Clone)]
pub struct WindowExec {
    input: Arc<dyn ExecutionPlan>,
    windowing: Windowing,
    time: Arc<dyn PhysicalExpr>,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl WindowExec {
    fn new(
        input: Arc<dyn ExecutionPlan>,
        windowing: Windowing,
        time: Arc<dyn PhysicalExpr>,
        keys: Vec<Arc<dyn PhysicalExpr>>,
        schema: SchemaRef,
    ) -> Self {
        let partitions = match windowing {
            Windowing::Session { .. } => 1,
            _ => input.output_partitioning().partition_count(),
        };
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            datafusion::physical_plan::Partitioning::UnknownPartitioning(partitions),
            input.pipeline_behavior(),
            input.boundedness(),
        ));
        WindowExec { input, windowing, time, keys, schema, properties }
    }

    /// The rows of a batch in each of their windows.
    fn assign(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let times = self.times(&self.time, batch)?;
        let (mut rows, mut spans) = (Vec::new(), Vec::new());
        let mut add = |row: usize, span: (i64, i64)| {
            rows.push(row as u32);
            spans.push(span);
        };
        let present = (0..times.len()).filter(|row| times.is_valid(*row));
        match (&self.windowing, self.keys.first()) {
            (Windowing::Fixed(windows), _) => {
                let finite = |row: &usize| !is_infinite(times.value(*row));
                let timed = present.filter(finite);
                timed.for_each(|row| windows.windows(times.value(row)).for_each(|span| add(row, span)));
            }
            (Windowing::Columns, Some(end)) => {
                let ends = self.times(end, batch)?;
                let full = |row: &usize| ends.is_valid(*row) && times.value(*row) < ends.value(*row);
                present.filter(full).for_each(|row| add(row, (times.value(row), ends.value(row))));
            }
            (windowing, _) => return internal_err!("{} are not assigned row by row", windowing.name()),
        }
        self.with_windows(batch, &UInt32Array::from(rows), &spans)
    }

    fn times(
        &self,
        time: &Arc<dyn PhysicalExpr>,
        batch: &RecordBatch,
    ) -> Result<PrimitiveArray<TimestampMicrosecondType>> {
        let times = time.evaluate(batch)?.into_array(batch.num_rows())?;
        Ok(times.as_primitive::<TimestampMicrosecondType>().clone())
    }

    /// `rows` of `batch` with the bounds `spans`.
    fn with_windows(
        &self,
        batch: &RecordBatch,
        rows: &UInt32Array,
        spans: &[(i64, i64)],
    ) -> Result<RecordBatch> {
        let taken = take_record_batch(batch, rows)?;
        let bound_type = self.schema.field(self.schema.fields().len() - 1).data_type();
        let column = |value: fn(&(i64, i64)) -> i64| -> arrow::array::ArrayRef {
            let values: Vec<i64> = spans.iter().map(value).collect();
            Arc::new(TimestampMicrosecondArray::from(values).with_data_type(bound_type.clone()))
        };
        let mut columns = taken.columns().to_vec();
        columns.extend([column(|s| s.0), column(|s| s.1), column(|s| window_time(s.1))]);
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

/// Whether a time is one of PostgreSQL's infinities, which no window of a size holds.
fn is_infinite(time: i64) -> bool {
    time == i64::MAX || time == i64::MIN
}

impl DisplayAs for WindowExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "WindowExec: time={}, windows={:?}", self.time, self.windowing)
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
        use datafusion::common::tree_node::TreeNodeRecursion as Recursion;
        for expr in std::iter::once(&self.time).chain(&self.keys) {
            if f(expr)? == Recursion::Stop {
                return Ok(Recursion::Stop);
            }
        }
        Ok(Recursion::Continue)
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        vec![match self.windowing {
            Windowing::Session { .. } => Distribution::SinglePartition,
            _ => Distribution::UnspecifiedDistribution,
        }]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = children.swap_remove(0);
        let (time, keys) = (Arc::clone(&self.time), self.keys.clone());
        Ok(Arc::new(WindowExec::new(input, self.windowing, time, keys, Arc::clone(&self.schema))))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, Arc::clone(&context))?;
        let this = self.clone();
        if let Windowing::Session { gap_us } = self.windowing {
            let batches = session::sessions(this, input, gap_us, &context);
            return Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches)));
        }
        let assigned = input.map(move |batch| batch.and_then(|b| this.assign(&b)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), assigned)))
    }
}
