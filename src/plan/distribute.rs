//! Plans for several workers: where a key has few values, rows are reduced or replicated
//! instead of being exchanged by it.
//!
//! A window at a time is one key of an exchange by window, so an aggregate or a join "by
//! window" would be done by one worker. [`split_aggregates`] puts in front of such an aggregate
//! a local one on each worker, whose few rows are what is exchanged; [`replicated_side`]
//! finds joins one side of which has a row a window, which is sent to every worker while the
//! other side stays where it is. So is a constant side. Invariant: the output is the same set of changes.

use arrow::datatypes::{DataType, Field, Schema};

use super::*;
use crate::types::pg_type::NUMERIC_PRECISION;

/// A call as each worker makes it over its rows, and the function that makes the value over
/// all rows from the workers' values; `None` if there is none. Workers add whole numbers up in
/// `numeric`, so that a worker's sum is in range whenever the whole sum is.
fn halves(call: &AggregateCall) -> Option<(AggregateCall, AggregateFunction)> {
    use AggregateFunction as F;
    if call.distinct {
        return None;
    }
    let last = match &call.function {
        F::Min | F::Max | F::BoolAnd | F::BoolOr | F::BitAnd | F::BitOr | F::BitXor => call.function.clone(),
        F::CountStar | F::Count => F::AddCounts,
        F::SumInt => {
            let sum = DataType::Decimal128(NUMERIC_PRECISION, 0);
            let output = Arc::new(Field::new(call.output.name(), sum, true));
            return Some((AggregateCall { function: F::SumBig, output, ..call.clone() }, F::SumDecimal));
        }
        F::SumBig | F::SumDecimal => F::SumDecimal,
        _ => return None,
    };
    Some((call.clone(), last))
}

/// Whether a column holds a bound of windows that close, of which few are open at a time.
fn is_window_bound(fact: &ColumnFact) -> bool {
    match fact {
        ColumnFact::WindowStart { time, .. } | ColumnFact::WindowEnd { time } => {
            *time != WindowTime::Unbounded
        }
        _ => false,
    }
}

/// Splits aggregates over few groups in two: on each worker, then over the workers.
pub(super) fn split_aggregates(plan: &mut StreamPlan) {
    let mut renumbered = Vec::with_capacity(plan.nodes.len());
    let mut nodes: Vec<StreamNode> = Vec::with_capacity(plan.nodes.len());
    for mut node in std::mem::take(&mut plan.nodes) {
        node.children.iter_mut().for_each(|c| *c = renumbered[*c]);
        if let Some((local, last)) = split(&node, &nodes) {
            nodes.push(local);
            node.op = last;
            node.children = vec![nodes.len() - 1];
        }
        renumbered.push(nodes.len());
        nodes.push(node);
    }
    plan.root = renumbered[plan.root];
    plan.nodes = nodes;
}

/// The local node, and what the node itself does then.
fn split(node: &StreamNode, below: &[StreamNode]) -> Option<(StreamNode, StreamOp)> {
    let StreamOp::Aggregate(aggregate) = &node.op else { return None };
    // The groups and the window of the upper node; its input begins with the groups, or with the
    // bounds of the windows that the lower one makes.
    let (group, window) = match &aggregate.window {
        None if aggregate.group.is_empty() => (vec![], None),
        Some(AggregateWindow::Keyed { .. }) => {
            let child = &below[node.children[0]].facts.columns;
            let few_groups = aggregate.group.iter().all(|g| is_window_bound(&child[*g]));
            few_groups.then(|| ((0..aggregate.group.len()).collect(), aggregate.window.clone()))?
        }
        Some(AggregateWindow::Fused(w)) if aggregate.group.is_empty() && w.time != WindowTime::Unbounded => {
            let time = w.time.clone();
            (vec![0, 1], Some(AggregateWindow::Keyed { end: 1, start: Some(0), time, judged: false }))
        }
        _ => return None,
    };
    let takes_changes = aggregate.emit.policy == EmitPolicy::Changes
        && !aggregate.emit.needs_panes()
        && aggregate.late.is_empty();
    if !takes_changes || aggregate.calls.is_empty() {
        return None;
    }
    let halves = aggregate.calls.iter().map(halves).collect::<Option<Vec<_>>>()?;
    let width = group.len();
    let mut fields: Vec<FieldRef> = node.schema.fields().iter().cloned().collect();
    let (mut calls, mut last_calls) = (Vec::new(), Vec::new());
    for (i, (local, function)) in halves.into_iter().enumerate() {
        let last = AggregateCall {
            function,
            arguments: vec![width + i],
            filter: None,
            ..aggregate.calls[i].clone()
        };
        last_calls.push(last);
        fields[width + i] = Arc::clone(&local.output);
        calls.push(local);
    }
    let last = AggregateNode { group, window, calls: last_calls, ..aggregate.clone() };
    let facts = Facts { append_only: false, unique_key: None, ..node.facts.clone() };
    let op = StreamOp::LocalAggregate(AggregateNode { calls, ..aggregate.clone() });
    let schema = Arc::new(Schema::new(fields));
    let local = StreamNode { op, children: node.children.clone(), schema, facts };
    Some((local, StreamOp::Aggregate(last)))
}

/// The side of a join that has one row a window and is sent to every worker.
pub fn replicated_side(plan: &StreamPlan, node: &StreamNode) -> Option<usize> {
    let StreamOp::Join(join) = &node.op else { return None };
    if join.temporal.is_some() {
        return (join.temporal == Some(Temporal::Constant)).then_some(1);
    }
    let few_rows = |side: usize, keys: &[usize]| {
        let facts = &plan.nodes[node.children[side]].facts;
        let unique = facts.unique_key.as_ref().is_some_and(|u| u.iter().all(|c| keys.contains(c)));
        unique && keys.iter().all(|k| is_window_bound(&facts.columns[*k]))
    };
    // A row that is shown by whether it matches must be held once.
    let may = match join.kind {
        JoinKind::Inner => [true, true],
        JoinKind::Left | JoinKind::Semi | JoinKind::Mark | JoinKind::Anti { null_aware: false } => {
            [false, true]
        }
        JoinKind::Full | JoinKind::Anti { null_aware: true } => [false, false],
    };
    // A late row is refused once.
    let judged = match (&join.interval, &join.window) {
        (Some(interval), _) => [interval.late_us.is_some(); 2],
        (None, window) => window.as_ref().map_or([false; 2], |w| w.judged),
    };
    let may = [may[0] && !judged[0], may[1] && !judged[1]];
    let sides = [may[0] && few_rows(0, &join.left_keys), may[1] && few_rows(1, &join.right_keys)];
    match sides {
        [false, true] => Some(1),
        [true, false] => Some(0),
        _ => None,
    }
}
