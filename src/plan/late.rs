//! Late relations in the plan: which columns make up a row that a window refuses.
//!
//! `LATE DATA TO` keeps the row as the window function reads it, also the columns that the
//! view does not use, so that it can be inserted again. They go along to the aggregate, which
//! is what refuses rows.

use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema};
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{Extension, LogicalPlan};

use super::expr;
use super::lower::Lowering;
use super::*;
use crate::error::{HwError, Result};

/// The same plan, in which window functions keep every column of what they read.
pub fn keep_window_columns(plan: LogicalPlan) -> Result<LogicalPlan> {
    let kept = plan.transform_down_with_subqueries(|node| {
        let LogicalPlan::Extension(e) = &node else { return Ok(Transformed::no(node)) };
        let Some(window) = e.node.as_any().downcast_ref::<WindowNode>() else {
            return Ok(Transformed::no(node));
        };
        let node = Arc::new(window.keeping_columns());
        Ok(Transformed::yes(LogicalPlan::Extension(Extension { node })))
    });
    kept.map(|t| t.data).map_err(|e| HwError::internal(e.to_string()))
}

impl Lowering<'_> {
    /// The input of the outermost aggregate with all columns of a late row, and which they
    /// are. Without a late relation, the input as it is.
    pub(super) fn late_row(&mut self, child: NodeId) -> Result<(NodeId, Vec<(usize, FieldRef)>)> {
        let windows = self.nodes.iter().any(|n| is_window(&n.op));
        // Without any window the rules of the clause refuse it.
        if !self.options.late_rows || !windows {
            return Ok((child, Vec::new()));
        }
        let (filter, mut exprs, window) = match &self.nodes[child].op {
            op if is_window(op) => (None, Vec::new(), child),
            StreamOp::Map { filter, exprs } => (filter.clone(), exprs.clone(), self.nodes[child].children[0]),
            _ => return Err(refused()),
        };
        if !is_window(&self.nodes[window].op) {
            return Err(refused());
        }
        let row = Arc::clone(&self.nodes[self.nodes[window].children[0]].schema);
        let name = |c: usize| Arc::clone(&row.fields()[c]);
        if window == child {
            return Ok((child, (0..row.fields().len()).map(|c| (c, name(c))).collect()));
        }
        let mut fields: Vec<FieldRef> = self.nodes[child].schema.fields().iter().cloned().collect();
        let mut late = Vec::new();
        for c in 0..row.fields().len() {
            let column = expr::column(c);
            let place = exprs.iter().position(|e| e.eq(&column)).unwrap_or_else(|| {
                exprs.push(column);
                fields.push(name(c));
                exprs.len() - 1
            });
            late.push((place, name(c)));
        }
        let child = self.map(window, filter, exprs, Arc::new(Schema::new(fields)))?;
        Ok((child, late))
    }

    /// Remembers what a late row is once the aggregate is there.
    pub(super) fn note_late(&mut self, aggregate: NodeId, row: &[FieldRef]) {
        let node = &self.nodes[aggregate];
        let StreamOp::Aggregate(a) = &node.op else { return };
        let end = match &a.window {
            Some(AggregateWindow::Keyed { end, .. }) => *end,
            Some(AggregateWindow::Fused(_) | AggregateWindow::Session(_)) => a.group.len() + 1,
            None => return,
        };
        if !a.late.is_empty() {
            self.late = Some(LatePlan {
                row: Arc::new(Schema::new(row.to_vec())),
                columns: a.late.clone(),
                bound: node.schema.field(end).data_type().clone(),
            });
        }
    }
}

fn is_window(op: &StreamOp) -> bool {
    matches!(op, StreamOp::WindowAssign(_) | StreamOp::SessionAssign(_) | StreamOp::WindowColumns { .. })
}

fn refused() -> HwError {
    HwError::unsupported(
        "LATE DATA TO for windows over a join or another aggregation",
        "Group directly over TUMBLE, HOP, CUMULATE or SESSION; headwater.late_rows has the rows in any case.",
    )
}
