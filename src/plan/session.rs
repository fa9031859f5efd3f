//! GROUP BY over sessions: the aggregate that keeps the sessions itself.
//!
//! If the rows only grow, the groups are exactly the keys and bounds of the sessions, and the
//! calls can be merged, then bounds and accumulators are all that sessions need. With a trigger
//! the aggregate keeps the sessions in any case, and their rows, too, if these may go again: only
//! so can a pane stay until what its session has become fires. Otherwise the rows are kept by
//! the session assignment and aggregated like any others.

use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema};

use super::aggregate::{Results, plus_micros};
use super::expr::{self, PExpr};
use super::lower::{Lowering, refuse};
use super::*;
use crate::error::Result;
use crate::types::window::WINDOW_TIME_BEFORE_END_US;

impl Lowering<'_> {
    /// Moves a session assignment directly below `map` into the aggregate. `None` if the shape
    /// does not fit.
    pub(super) fn fuse_session(
        &mut self,
        map: NodeId,
        keys: &[usize],
        group: &[usize],
        results: &Results,
        output: &Schema,
    ) -> Result<Option<NodeId>> {
        let calls = &results.calls;
        let StreamOp::Map { filter: None, exprs } = self.nodes[map].op.clone() else { return Ok(None) };
        let assign_id = self.nodes[map].children[0];
        let StreamOp::SessionAssign(session) = self.nodes[assign_id].op.clone() else { return Ok(None) };
        let below = self.nodes[assign_id].children[0];
        let width = self.nodes[below].schema.fields().len();
        let bound = |k: usize| expr::as_column(&exprs[k]).and_then(|c| c.checked_sub(width));
        let (bounds, keep): (Vec<usize>, Vec<usize>) =
            keys.iter().copied().partition(|k| bound(*k).is_some());
        let mut key_columns: Vec<usize> = keep.iter().filter_map(|k| expr::as_column(&exprs[*k])).collect();
        key_columns.sort_unstable();
        let others: Vec<usize> = (0..exprs.len()).filter(|k| !bounds.contains(k)).collect();
        let reads_window = |k: &usize| expr::columns_of(&exprs[*k]).iter().any(|c| *c >= width);
        let fits = (self.nodes[below].facts.append_only || self.has_trigger())
            && !bounds.is_empty()
            && keep.len() == session.keys.len()
            && key_columns == session.keys
            && !others.iter().any(reads_window)
            && !calls.iter().any(|c| c.columns().any(|k| bound(k).is_some()))
            && calls.iter().all(is_mergeable);
        if !fits {
            return Ok(None);
        }
        let schema = Arc::clone(&self.nodes[map].schema);
        let mut inner: Vec<PExpr> = others.iter().map(|k| Arc::clone(&exprs[*k])).collect();
        let mut fields: Vec<FieldRef> = others.iter().map(|k| Arc::clone(&schema.fields()[*k])).collect();
        let time_column = inner.len();
        if session.time != WindowTime::Processing {
            inner.push(expr::column(session.time_column));
            fields.push(Arc::clone(&self.nodes[below].schema.fields()[session.time_column]));
        }
        let window_fields: Vec<FieldRef> = self.nodes[assign_id].schema.fields()[width..width + 2].to_vec();
        let map = self.map(below, None, inner, Arc::new(Schema::new(fields)))?;
        let place = |k: usize| others.iter().position(|o| *o == k);
        let columns: Vec<usize> = keep.iter().filter_map(|k| place(*k)).collect();
        let session = SessionAssign { time_column, keys: columns.clone(), ..session };
        let moved = results.moved(&place);
        let node = self.session_node(map, columns, session, window_fields, moved);
        let positions = group_columns(group, &keep, bound);
        self.arrange_windowed(node, &positions, keep.len(), &results.places, output).map(Some)
    }

    fn session_node(
        &mut self,
        map: NodeId,
        group: Vec<usize>,
        session: SessionAssign,
        window_fields: Vec<FieldRef>,
        results: Results,
    ) -> NodeId {
        let below = &self.nodes[map];
        let mut fields: Vec<FieldRef> =
            group.iter().map(|k| Arc::clone(&below.schema.fields()[*k])).collect();
        let mut columns: Vec<ColumnFact> = group.iter().map(|k| below.facts.columns[*k].clone()).collect();
        fields.extend(window_fields);
        columns.push(ColumnFact::WindowStart { time: session.time.clone(), size_us: None });
        columns.push(ColumnFact::WindowEnd { time: session.time.clone() });
        fields.extend(results.fields.iter().cloned());
        columns.extend(results.fields.iter().map(|_| ColumnFact::Plain));
        let Results { calls, late, row, .. } = results;
        let keys = group.len() + 2;
        let window = Some(AggregateWindow::Session(session));
        let facts = self.aggregate_facts(keys, calls.len(), columns, window.as_ref());
        let emit = self.options.emit.clone();
        let node = AggregateNode { group, calls, window, emit, late, ttl_us: None };
        let node = self.add(StreamOp::Aggregate(node), vec![map], Arc::new(Schema::new(fields)), facts);
        self.note_late(node, &row);
        node
    }

    /// Puts the columns of an aggregate that makes window bounds into the order of the logical
    /// one; `keys` come before the bounds.
    pub(super) fn arrange_windowed(
        &mut self,
        node: NodeId,
        positions: &[GroupColumn],
        keys: usize,
        places: &[usize],
        output: &Schema,
    ) -> Result<NodeId> {
        let schema = Arc::clone(&self.nodes[node].schema);
        let end = keys + 1;
        let mut exprs = Vec::new();
        for position in positions {
            exprs.push(match position {
                GroupColumn::At(column) => expr::column(*column),
                GroupColumn::WindowTime => plus_micros(end, -WINDOW_TIME_BEFORE_END_US, &schema)?,
            });
        }
        exprs.extend(places.iter().map(|p| expr::column(keys + 2 + p)));
        let fact = match &self.nodes[node].facts.columns[end] {
            ColumnFact::WindowEnd { time: WindowTime::Event { clock } } => {
                ColumnFact::EventTime { clock: clock.clone() }
            }
            _ => ColumnFact::Plain,
        };
        let arranged = self.map(node, None, exprs, Arc::new(output.clone()))?;
        for (i, position) in positions.iter().enumerate() {
            if *position == GroupColumn::WindowTime {
                self.nodes[arranged].facts.columns[i] = fact.clone();
            }
        }
        Ok(arranged)
    }

    /// Triggers over sessions that are assigned below cannot delay what a merge takes back.
    pub(super) fn check_session_panes(&self, window: Option<&AggregateWindow>) -> Result<()> {
        match window {
            Some(AggregateWindow::Keyed { judged: true, .. }) if self.has_trigger() => Err(refuse(
                "a trigger on sessions that are not grouped by exactly their keys",
                "Group by exactly the PARTITION BY columns, window_start and window_end, or use EMIT CHANGES or EMIT FINAL.",
            )),
            _ => Ok(()),
        }
    }

    /// Whether panes may be held back.
    fn has_trigger(&self) -> bool {
        !matches!(self.options.emit.policy, EmitPolicy::Changes | EmitPolicy::Final)
    }
}

/// Where a group column of the query is in the operator's output.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum GroupColumn {
    At(usize),
    /// Made from the window's end.
    WindowTime,
}

/// The places of `group` when the operator puts out `keep`, then the window's start and end.
/// `bound` tells which window column a column is.
pub(super) fn group_columns(
    group: &[usize],
    keep: &[usize],
    bound: impl Fn(usize) -> Option<usize>,
) -> Vec<GroupColumn> {
    let place = |g: &usize| match bound(*g) {
        Some(0) => GroupColumn::At(keep.len()),
        Some(1) => GroupColumn::At(keep.len() + 1),
        Some(_) => GroupColumn::WindowTime,
        None => GroupColumn::At(keep.iter().position(|k| k == g).unwrap_or(0)),
    };
    group.iter().map(place).collect()
}

/// Whether the states of two groups can be added up.
fn is_mergeable(call: &AggregateCall) -> bool {
    let with_values = !matches!(call.function, AggregateFunction::Percentile(_));
    !call.distinct || (with_values && call.arguments.len() <= 1)
}
