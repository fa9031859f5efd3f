//! Joins keep and give only what is read of them.
//!
//! A join's output columns that no reader looks at are left out, so they are not stored
//! either; a plain choice of columns above a join becomes the join's own output. Runs over
//! the finished plan; nodes that lose their reader are left for pruning.

use super::expr::{self, PExpr};
use super::*;
use crate::error::Result;

pub(super) fn narrow_joins(plan: &mut StreamPlan) -> Result<()> {
    for id in 0..plan.nodes.len() {
        if !matches!(plan.nodes[id].op, StreamOp::Join(_)) || id == plan.root {
            continue;
        }
        let readers: Vec<NodeId> =
            (0..plan.nodes.len()).filter(|n| plan.nodes[*n].children.contains(&id)).collect();
        let all_maps = readers.iter().all(|r| matches!(plan.nodes[*r].op, StreamOp::Map { .. }));
        if !all_maps || readers.is_empty() {
            continue;
        }
        if let Some(columns) = plain_choice(plan, id, &readers) {
            take_over(plan, id, readers[0], &columns);
        } else {
            drop_unread(plan, id, &readers)?;
        }
    }
    Ok(())
}

/// The columns of the join that its only reader, a map without filter, chooses.
fn plain_choice(plan: &StreamPlan, id: NodeId, readers: &[NodeId]) -> Option<Vec<usize>> {
    let [reader] = readers else { return None };
    let StreamOp::Map { filter: None, exprs } = &plan.nodes[*reader].op else { return None };
    let StreamOp::Join(join) = &plan.nodes[id].op else { return None };
    let columns = exprs.iter().map(expr::as_column).collect::<Option<Vec<_>>>()?;
    // Rows without columns are left to maps.
    (!columns.is_empty() && join.kind != JoinKind::Mark).then_some(columns)
}

/// Makes the join give what the map above it gives; the map becomes the join.
fn take_over(plan: &mut StreamPlan, id: NodeId, reader: NodeId, columns: &[usize]) {
    let mut node = plan.nodes[id].clone();
    if let StreamOp::Join(join) = &mut node.op {
        join.output = columns.iter().map(|c| join.output[*c]).collect();
    }
    let state = node.facts.state.clone();
    let map = &mut plan.nodes[reader];
    map.op = node.op;
    map.children = node.children;
    map.facts.state = state;
}

/// Leaves out the columns that no map above the join reads.
fn drop_unread(plan: &mut StreamPlan, id: NodeId, readers: &[NodeId]) -> Result<()> {
    let mut read: Vec<usize> = Vec::new();
    for reader in readers {
        if let StreamOp::Map { filter, exprs } = &plan.nodes[*reader].op {
            read.extend(filter.iter().chain(exprs).flat_map(expr::columns_of));
        }
    }
    let node = &mut plan.nodes[id];
    let StreamOp::Join(join) = &mut node.op else { return Ok(()) };
    let width = join.output.len();
    // The answer of a mark join comes behind the output.
    read.extend((join.kind == JoinKind::Mark).then_some(width));
    if read.is_empty() && !node.schema.fields().is_empty() {
        read.push(0);
    }
    read.sort_unstable();
    read.dedup();
    if read.len() == node.schema.fields().len() {
        return Ok(());
    }
    join.output = read.iter().filter(|c| **c < width).map(|c| join.output[*c]).collect();
    node.schema = Arc::new(node.schema.project(&read)?);
    node.facts.columns = read.iter().map(|c| node.facts.columns[*c].clone()).collect();
    let place = |c: &usize| read.binary_search(c).ok();
    node.facts.unique_key =
        node.facts.unique_key.take().and_then(|key| key.iter().map(place).collect::<Option<Vec<_>>>());
    let moved = |c: usize| -> PExpr { expr::column(read.binary_search(&c).unwrap_or(c)) };
    for reader in readers {
        if let StreamOp::Map { filter, exprs } = &mut plan.nodes[*reader].op {
            *filter = filter.as_ref().map(|f| expr::substitute(f, &moved)).transpose()?;
            *exprs = exprs.iter().map(|e| expr::substitute(e, &moved)).collect::<Result<Vec<_>>>()?;
        }
    }
    Ok(())
}
