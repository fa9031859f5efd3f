//! Pane columns in the plan: who makes them, who names them, and how they reach the view.
//!
//! The trigger of an emit clause belongs to the outermost aggregate of a view. With
//! `with_pane_columns` that aggregate puts the pane columns after its own. A SELECT list that
//! names one refers to it by a marker function ([`marker`]); and all of them are carried up
//! to the root ([`carry`]), where they are the last, hidden columns of the view: not part of
//! `SELECT *`, but there for those who name them, and what tells one pane from the next.

use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef, Schema};

use super::expr;
use super::*;
use crate::error::Result;
use crate::types::PgType;
use crate::types::trigger::PANE_COLUMNS;

/// Where `pane_index` stands among the pane columns.
const PANE_INDEX: usize = 1;

/// Type of a pane column by its number.
pub fn pane_type(column: usize) -> PgType {
    match column {
        0 => PgType::Text,
        1 | 2 => PgType::Int8,
        3 | 4 => PgType::Bool,
        _ => PgType::Timestamptz,
    }
}

/// Name of the aggregate function that stands for a pane column while a query is planned. No
/// user can write it without meaning to.
pub fn marker(column: &str) -> String {
    format!("${column}")
}

/// The pane column that a function stands for.
pub fn marked(function: &str) -> Option<usize> {
    let name = function.strip_prefix('$')?;
    PANE_COLUMNS.iter().position(|c| *c == name)
}

/// The pane columns as an aggregate puts them after its own.
pub(super) fn pane_fields() -> Vec<FieldRef> {
    PANE_COLUMNS.iter().enumerate().map(|(i, name)| Arc::new(pane_type(i).field(name, true))).collect()
}

/// The unique key of an aggregate's rows: of DISCARDING, each pane is a row of its own.
pub(super) fn pane_key(emit: &EmitSpec, keys: usize, calls: usize) -> Option<Vec<usize>> {
    match (emit.keeps_every_pane(), emit.with_pane_columns) {
        (false, _) => Some((0..keys).collect()),
        (true, true) => Some((0..keys).chain([keys + calls + PANE_INDEX]).collect()),
        (true, false) => None,
    }
}

/// The aggregate whose rows, filtered and projected, are the view's.
pub(super) fn owner(nodes: &[StreamNode], root: NodeId) -> Option<NodeId> {
    let mut at = root;
    loop {
        match &nodes[at].op {
            StreamOp::Map { .. } => at = nodes[at].children[0],
            StreamOp::Aggregate(_) => return Some(at),
            _ => return None,
        }
    }
}

/// Carries the pane columns from the node that makes them up through the maps to the root, as
/// its last columns. Returns how many there are.
pub(super) fn carry(nodes: &mut [StreamNode], root: NodeId) -> Result<usize> {
    let Some(owner) = owner(nodes, root) else { return Ok(0) };
    let StreamOp::Aggregate(aggregate) = &nodes[owner].op else { return Ok(0) };
    if !aggregate.emit.with_pane_columns {
        return Ok(0);
    }
    let mut path = vec![root];
    while let Some(last) = path.last().filter(|n| **n != owner) {
        path.push(nodes[*last].children[0]);
    }
    path.reverse();
    let count = PANE_COLUMNS.len();
    for step in path.windows(2) {
        let below = nodes[step[0]].schema.fields().len() - count;
        let child = nodes[step[0]].facts.clone();
        let node = &mut nodes[step[1]];
        let StreamOp::Map { exprs, .. } = &mut node.op else { continue };
        exprs.extend((below..below + count).map(expr::column));
        let mut fields: Vec<FieldRef> = node.schema.fields().iter().cloned().collect();
        fields.extend(pane_fields().iter().map(|f| hidden_name(f, &node.schema)));
        node.schema = Arc::new(Schema::new(fields));
        node.facts.columns.extend(vec![ColumnFact::Plain; count]);
        node.facts.unique_key = key_through(child.unique_key.as_deref(), exprs);
    }
    Ok(count)
}

impl StreamPlan {
    /// Whether the view has its trigger on its changes as a whole.
    pub fn triggers_changes(&self) -> bool {
        self.nodes.iter().any(|n| matches!(n.op, StreamOp::ChangelogTrigger(_)))
    }

    /// Whether an epoch takes back at most one row of a key of the view and gives at most one,
    /// and these differ: panes do, by their own columns, when nothing above them adds changes.
    pub fn has_net_changes(&self) -> bool {
        self.hidden > 0 && matches!(self.root_node().op, StreamOp::Map { .. } | StreamOp::Aggregate(_))
    }
}

/// The name of a hidden column; one that the view shows itself keeps its name.
fn hidden_name(field: &FieldRef, visible: &Schema) -> FieldRef {
    match visible.column_with_name(field.name()) {
        None => Arc::clone(field),
        Some(_) => Arc::new(Field::clone(field).with_name(marker(field.name()))),
    }
}

fn key_through(key: Option<&[usize]>, exprs: &[expr::PExpr]) -> Option<Vec<usize>> {
    let place = |k: &usize| exprs.iter().position(|e| expr::as_column(e) == Some(*k));
    key?.iter().map(place).collect()
}
