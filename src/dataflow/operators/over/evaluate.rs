//! Evaluating the calls over rows of one partition, in order.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::window::WindowExpr;

use super::OverSpec;
use super::rows::Span;
use crate::dataflow::operators::expressions::{batch_of, columns_used, evaluation_error, renumber_columns};
use crate::error::Result;
use crate::plan::OverNode;
use crate::state::RowStore;

/// DataFusion's evaluators, over the columns that they read.
pub struct Evaluator {
    calls: Vec<Arc<dyn WindowExpr>>,
    used: Vec<usize>,
    schema: SchemaRef,
}

impl Evaluator {
    pub fn new(spec: &OverSpec) -> Result<Evaluator> {
        let node = &spec.node;
        let mut used = columns_used(node.calls.iter().flat_map(|c| &c.args));
        used.extend(node.order.iter().map(|k| k.column));
        used.extend(node.calls.iter().filter_map(|c| c.filter));
        used.sort_unstable();
        used.dedup();
        let schema = Arc::new(spec.input_schema.project(&used)?);
        let place = |column: usize| used.partition_point(|u| *u < column);
        let mut kept = OverNode { partition: Vec::new(), ..node.clone() };
        kept.order.iter_mut().for_each(|k| k.column = place(k.column));
        for call in &mut kept.calls {
            call.filter = call.filter.map(place);
            call.args = call.args.iter().map(|a| renumber_columns(a, &used)).collect::<Result<_>>()?;
        }
        Ok(Evaluator { calls: kept.window_exprs(&schema)?, used, schema })
    }

    /// The values of the touched rows of a span, a column a call.
    pub fn evaluate<K>(&self, span: &Span<K>, store: &RowStore) -> Result<Vec<ArrayRef>> {
        let columns = store.gather_columns(&span.context, &self.used)?;
        let rows = batch_of(&self.schema, columns, span.context.len())?;
        let value = |call: &Arc<dyn WindowExpr>| {
            let all = call.evaluate(&rows).map_err(evaluation_error)?;
            Ok(all.slice(span.start, span.lines.len()))
        };
        self.calls.iter().map(value).collect()
    }
}

/// Columns of several evaluations, one after the other.
pub fn concat_columns(outputs: &[Vec<ArrayRef>]) -> Result<Vec<ArrayRef>> {
    let Some(first) = outputs.first() else { return Ok(Vec::new()) };
    (0..first.len())
        .map(|call| {
            let parts: Vec<&dyn Array> = outputs.iter().map(|columns| columns[call].as_ref()).collect();
            Ok(arrow::compute::concat(&parts)?)
        })
        .collect()
}
