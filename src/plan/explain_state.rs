//! What each operator of a plan keeps: for EXPLAIN STATE and `headwater.state`.
//!
//! Only operators that keep something are told: by which keys, how, and what bounds it.

use super::bounds::operator_name;
use super::explain::{column_name, strategy};
use super::*;

/// An operator that keeps state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateFacts {
    pub node: NodeId,
    pub operator: &'static str,
    /// Names of the columns by which it is kept.
    pub keys: String,
    pub strategy: String,
    /// One word or two: `window + allowed lateness`, `interval`, `table`, `ttl`, `unbounded`, …
    pub bound: &'static str,
    /// The bound in more words.
    pub detail: String,
}

impl StreamPlan {
    /// The operators that keep state, the root first.
    pub fn state_facts(&self) -> Vec<StateFacts> {
        let keeps = |n: &StreamNode| match &n.op {
            StreamOp::Aggregate(_) | StreamOp::LocalAggregate(_) => true,
            _ => n.facts.state != StateBound::None,
        };
        let kept = (0..self.nodes.len()).rev().filter(|id| keeps(&self.nodes[*id]));
        kept.map(|id| facts(self, id)).collect()
    }
}

fn facts(plan: &StreamPlan, id: NodeId) -> StateFacts {
    let node = &plan.nodes[id];
    let (bound, detail) = bound(&node.facts.state);
    StateFacts {
        node: id,
        operator: operator_name(&node.op),
        keys: keys(plan, node),
        strategy: kept(plan, node),
        bound,
        detail,
    }
}

fn bound(state: &StateBound) -> (&'static str, String) {
    match state {
        StateBound::None => ("one row", "a few words, whatever it reads".into()),
        StateBound::Window => {
            ("window + allowed lateness", "dropped when the window takes no more rows".into())
        }
        StateBound::Interval => ("interval", "dropped when both watermarks have passed".into()),
        StateBound::Pending => ("pending", "the changes since the last firing".into()),
        StateBound::Rows(n) => ("rows", format!("at most {n} rows")),
        StateBound::Watermark(how) => ("watermark", how.clone()),
        StateBound::Clock => ("clock", "dropped when the clock has passed it".into()),
        StateBound::Tables => ("table", "by the tables that it reads".into()),
        StateBound::Fixed => ("fixed", "as many rows whatever comes".into()),
        StateBound::Ttl(us) => ("ttl", format!("dropped after {}s untouched", *us as f64 / 1e6)),
        StateBound::Unbounded(why) => ("unbounded", why.clone()),
    }
}

fn keys(plan: &StreamPlan, node: &StreamNode) -> String {
    let child = |side: usize| &plan.nodes[node.children[side]];
    let list = |side: usize, columns: &[usize]| {
        columns.iter().map(|c| column_name(child(side), *c)).collect::<Vec<_>>().join(", ")
    };
    match &node.op {
        StreamOp::Aggregate(a) | StreamOp::LocalAggregate(a) => {
            let window = match &a.window {
                Some(AggregateWindow::Fused(_) | AggregateWindow::Session(_)) => "window_start, window_end",
                _ => "",
            };
            let keys = list(0, &a.group);
            if keys.is_empty() || window.is_empty() { keys + window } else { format!("{keys}, {window}") }
        }
        StreamOp::Join(j) => {
            let pairs = j.left_keys.iter().zip(&j.right_keys);
            let pair = |(l, r): (&usize, &usize)| {
                let (l, r) = (column_name(child(0), *l), column_name(child(1), *r));
                if l == r { l } else { format!("{l} = {r}") }
            };
            pairs.map(pair).collect::<Vec<_>>().join(", ")
        }
        StreamOp::TopN(t) => list(0, &t.partition),
        StreamOp::Over(o) => list(0, &o.partition),
        StreamOp::Expire(e) => list(0, &e.keys),
        StreamOp::SessionAssign(s) => list(0, &s.keys),
        StreamOp::Retain { end, .. } => list(0, &[*end]),
        StreamOp::SetOp(_) => list(0, &(0..node.schema.fields().len()).collect::<Vec<_>>()),
        StreamOp::Recursive(query) => list(0, &query.key),
        StreamOp::TemporalFilter(bounds) => list(0, &bounds.iter().map(|b| b.0).collect::<Vec<_>>()),
        _ => String::new(),
    }
}

/// What is kept, in a few words.
fn kept(plan: &StreamPlan, node: &StreamNode) -> String {
    match &node.op {
        StreamOp::Aggregate(a) | StreamOp::LocalAggregate(a) => {
            let append_only = plan.nodes[node.children[0]].facts.append_only;
            let mut all: Vec<&str> = a.calls.iter().map(|c| strategy(c, append_only)).collect();
            if matches!(a.window, Some(AggregateWindow::Session(_))) && !append_only {
                all.push("rows of open sessions");
            }
            all.sort_unstable();
            all.dedup();
            if all.is_empty() { "groups".into() } else { all.join(", ") }
        }
        StreamOp::Join(j) => join(j).into(),
        StreamOp::TopN(t) => match t.keep {
            KeptRows::First => "first rows".into(),
            KeptRows::All => "all rows, in order".into(),
        },
        StreamOp::Over(o) => o.reach.to_string(),
        StreamOp::SetOp(_) => "counts of each row".into(),
        StreamOp::Recursive(query) => match query.mode {
            RecursionMode::Bag => "rows in the joins of its step",
            RecursionMode::Growing => "fingerprints of rows, and rows in the joins of its step",
            RecursionMode::Rounds { .. } => "derivations by round, and rows in the joins of its step",
        }
        .into(),
        StreamOp::SessionAssign(_) => "rows of open sessions".into(),
        StreamOp::ChangelogTrigger(_) => "changes not shown".into(),
        _ => "rows".into(),
    }
}

fn join(j: &JoinNode) -> &'static str {
    match (&j.temporal, j.kind) {
        (Some(Temporal::Lookup | Temporal::Constant), _) => "rows of the right side",
        (Some(Temporal::AsOf { .. }), _) => "versions of the right side, rows that wait for them",
        (None, JoinKind::Inner | JoinKind::Left | JoinKind::Full) => "rows of both sides",
        (None, _) if j.residual.is_some() => "rows of both sides",
        (None, _) => "rows of the left side, keys of the right",
    }
}
