//! What bounds the state of a view's operators, and what its option `state_ttl` does to them.
//!
//! Rows of tables are kept anyway, so an operator over nothing but tables, or over views of such,
//! holds no more than they do: its state is bounded by them. Over streams an operator has a bound
//! of its own (window, interval, watermark, clock) or grows without end. With `state_ttl` the
//! latter get one: an aggregate over rows that only append forgets groups itself; below any other
//! an *expire* node takes the rows back that nobody has touched for so long, so that what is
//! above it needs to know nothing of it. Invariant: the view holds its query over the rows that
//! have not expired.

use std::sync::Arc;

use super::lower::Lowering;
use super::*;

/// How many rows a relation can have at a time; of several bounds the loosest counts, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// What constants make, or a number that the query says.
    Fixed,
    /// No more than tables make of them.
    Tables,
    /// What the clock has not passed.
    Clock,
    /// What is retained of windows.
    Retention,
    /// What has been touched within the time given.
    Ttl(i64),
    Endless,
}

/// What bounds an operator over rows that are retained for a time.
const RETAINED: &str = "dropped when the rows that it reads are no longer retained";

/// The extent of each node; children come before parents.
fn extents(nodes: &[StreamNode], inputs: &[PlanInput]) -> Vec<Extent> {
    let mut extents: Vec<Extent> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let below = node.children.iter().map(|c| extents[*c]).max().unwrap_or(Extent::Fixed);
        extents.push(match &node.op {
            StreamOp::Input { input } => inputs[*input].extent,
            // Rows leave these by themselves.
            StreamOp::Retain { .. } => below.min(Extent::Retention),
            StreamOp::TemporalFilter(bounds) if bounds.iter().any(|(_, b)| b.until) => {
                below.min(Extent::Clock)
            }
            StreamOp::TopN(_) if matches!(node.facts.state, StateBound::Rows(_)) => Extent::Fixed,
            StreamOp::Aggregate(a) if a.group.is_empty() && a.window.is_none() => Extent::Fixed,
            StreamOp::Aggregate(AggregateNode { ttl_us: Some(ttl), .. }) => below.min(Extent::Ttl(*ttl)),
            StreamOp::Expire(expire) => below.min(Extent::Ttl(expire.ttl_us)),
            _ => below,
        });
    }
    extents
}

/// Takes the complaint from operators whose inputs are bounded themselves.
pub(super) fn settle(plan: &mut StreamPlan) {
    let extents = extents(&plan.nodes, &plan.inputs);
    for node in &mut plan.nodes {
        if !matches!(node.facts.state, StateBound::Unbounded(_)) {
            continue;
        }
        // A join that keeps only one of its sides is bounded by that one.
        let kept = match &node.op {
            StreamOp::Join(j) if j.temporal.is_some() => &node.children[1..],
            _ => &node.children[..],
        };
        let bound = match kept.iter().map(|c| extents[*c]).max() {
            Some(Extent::Fixed) => StateBound::Fixed,
            Some(Extent::Tables) => StateBound::Tables,
            Some(Extent::Clock) => StateBound::Clock,
            Some(Extent::Retention) => StateBound::Watermark(RETAINED.into()),
            Some(Extent::Ttl(ttl)) => StateBound::Ttl(ttl),
            Some(Extent::Endless) | None => continue,
        };
        if let StreamOp::Recursive(query) = &mut node.op {
            query.bound_step(&bound);
        }
        node.facts.state = bound;
    }
}

/// An operator whose state grows for ever.
#[derive(Clone, Debug)]
pub struct Unbounded {
    pub operator: &'static str,
    pub reason: String,
    pub advice: &'static str,
}

impl StreamPlan {
    /// The operators whose state grows for ever, inputs first.
    pub fn without_bound(&self) -> Vec<Unbounded> {
        let found = self.nodes.iter().filter_map(|n| match &n.facts.state {
            StateBound::Unbounded(reason) => Some((n, reason)),
            _ => None,
        });
        found
            .map(|(node, reason)| Unbounded {
                operator: operator_name(&node.op),
                reason: reason.clone(),
                advice: self.advice(node),
            })
            .collect()
    }

    /// What to write so that the state of an operator is bounded.
    fn advice(&self, node: &StreamNode) -> &'static str {
        let StreamOp::Join(join) = &node.op else { return advice(&node.op) };
        let below = || node.children.iter().map(|c| &self.nodes[*c].facts);
        let timed = |f: &Facts| f.columns.iter().any(|c| c.clock().is_some());
        if join.temporal.is_none() && !below().all(|f| f.append_only) {
            return "Filter by time (ts > now() - INTERVAL '1 day'), or create the view WITH (state_ttl = '1 day').";
        }
        if join.temporal.is_none() && !below().all(timed) {
            return "Declare WATERMARK FOR the time columns of both sides and bound the distance of the rows (a.ts BETWEEN b.ts - INTERVAL '1 hour' AND b.ts), or create the view WITH (state_ttl = '1 day').";
        }
        advice(&node.op)
    }

    /// How many rows the view can hold.
    pub fn extent(&self) -> Extent {
        extents(&self.nodes, &self.inputs)[self.root]
    }

    /// Whether `state_ttl` bounds anything in it.
    pub fn expires(&self) -> bool {
        self.nodes.iter().any(|n| match &n.op {
            StreamOp::Expire(_) => true,
            StreamOp::Aggregate(a) => a.ttl_us.is_some(),
            _ => false,
        })
    }
}

/// The noun for an operator in messages and in `headwater.state`.
pub(super) fn operator_name(op: &StreamOp) -> &'static str {
    match op {
        StreamOp::Input { .. } => "read",
        StreamOp::Map { .. } => "map",
        StreamOp::WindowAssign(_) => "window assignment",
        StreamOp::SessionAssign(_) => "session assignment",
        StreamOp::WindowColumns { .. } => "window columns",
        StreamOp::Retain { .. } => "retention",
        StreamOp::Expire(_) => "expiry",
        StreamOp::Aggregate(a) if a.calls.is_empty() => "distinct",
        StreamOp::Aggregate(_) => "aggregation",
        StreamOp::LocalAggregate(_) => "local aggregation",
        StreamOp::ChangelogTrigger(_) => "changelog trigger",
        StreamOp::Join(j) => match (&j.temporal, j.kind) {
            (Some(Temporal::Lookup), _) => "look-up join",
            (Some(Temporal::AsOf { .. }), _) => "temporal join",
            (Some(Temporal::Constant) | None, JoinKind::Inner) => "join",
            (Some(Temporal::Constant) | None, JoinKind::Left | JoinKind::Full) => "outer join",
            (Some(Temporal::Constant) | None, JoinKind::Semi) => "semi join",
            (Some(Temporal::Constant) | None, JoinKind::Anti { .. }) => "anti join",
            (Some(Temporal::Constant) | None, JoinKind::Mark) => "mark join",
        },
        StreamOp::Union => "union",
        StreamOp::TopN(_) => "top-n",
        StreamOp::Over(_) => "window function",
        StreamOp::SetOp(_) => "set operation",
        StreamOp::Constant(_) => "constant",
        StreamOp::Unnest(_) => "unnest",
        StreamOp::TemporalFilter(_) => "temporal filter",
        StreamOp::Recursive(_) => "recursive query",
        StreamOp::Working { .. } => "rows of a recursive query",
    }
}

/// What mostly helps.
fn advice(op: &StreamOp) -> &'static str {
    match op {
        StreamOp::Join(j) if matches!(j.temporal, Some(Temporal::AsOf { .. })) => {
            "Create the view WITH (state_ttl = '1 day'): a version is forgotten when it has been there for so long."
        }
        StreamOp::Join(j) if j.temporal.is_some() => {
            "Look up a table, or create the view WITH (state_ttl = '1 day')."
        }
        StreamOp::Join(_) => {
            "Bound the distance of the rows (a.ts BETWEEN b.ts - INTERVAL '1 hour' AND b.ts), join equal windows, or create the view WITH (state_ttl = '1 day')."
        }
        StreamOp::Aggregate(_) | StreamOp::LocalAggregate(_) => {
            "Group by window_start, window_end of a window over a column with WATERMARK, filter by time (ts > now() - INTERVAL '1 day'), or create the view WITH (state_ttl = '1 day')."
        }
        StreamOp::TopN(_) | StreamOp::Over(_) => {
            "Partition by window_start or window_end of a window over a column with WATERMARK, filter by time (ts > now() - INTERVAL '1 day'), or create the view WITH (state_ttl = '1 day')."
        }
        StreamOp::SessionAssign(_) => "Declare WATERMARK FOR the time column in CREATE SOURCE.",
        _ => "Filter by time (ts > now() - INTERVAL '1 day'), or create the view WITH (state_ttl = '1 day').",
    }
}

/// Whether some call keeps more than a few words a group.
fn keeps_input(calls: &[AggregateCall], append_only: bool) -> bool {
    calls.iter().any(|c| super::explain::strategy(c, append_only).starts_with("materialized"))
}

impl Lowering<'_> {
    /// With `state_ttl`, the node that takes back rows of `child` that expire; `child` itself if
    /// its rows are bounded or the option is not given. Rows are touched together that are equal
    /// in `keys`, or in all columns if there are no keys; `partition` are the columns by which
    /// the operator above is partitioned.
    pub(super) fn expiring(&mut self, child: NodeId, keys: &[usize], partition: &[usize]) -> NodeId {
        let Some(ttl_us) = self.options.state_ttl_us else { return child };
        // What a recursive query derives goes with what it is derived from.
        if self.is_bounded(child) || self.reads_working(child) {
            return child;
        }
        let below = &self.nodes[child];
        let width = below.schema.fields().len();
        let all = || (0..width).collect::<Vec<_>>();
        let node = ExpireNode {
            keys: if keys.is_empty() { all() } else { keys.to_vec() },
            partition: if partition.is_empty() { all() } else { partition.to_vec() },
            ttl_us,
        };
        let facts = Facts {
            append_only: false,
            unique_key: below.facts.unique_key.clone(),
            columns: below.facts.columns.iter().map(|c| super::top_n::settled(c, true)).collect(),
            state: StateBound::Ttl(ttl_us),
        };
        let schema = Arc::clone(&below.schema);
        self.add(StreamOp::Expire(node), vec![child], schema, facts)
    }

    /// With `state_ttl`: the input of an aggregate, and after how long it drops groups itself.
    pub(super) fn aggregate_ttl(
        &mut self,
        map: NodeId,
        keys: &[usize],
        calls: &[AggregateCall],
        window: Option<&AggregateWindow>,
    ) -> (NodeId, Option<i64>) {
        if window.is_some_and(|w| *w.time() != WindowTime::Unbounded) || self.is_bounded(map) {
            return (map, None);
        }
        let append_only = self.nodes[map].facts.append_only;
        match keys {
            [] if !keeps_input(calls, append_only) => (map, None),
            [] => (self.expiring(map, &[], &[]), None),
            _ if append_only && !self.options.emit.needs_panes() => (map, self.options.state_ttl_us),
            keys => (self.expiring(map, keys, keys), None),
        }
    }

    /// The bound of an aggregate's state where it is not simply that of its window.
    pub(super) fn bound_groups(
        &self,
        map: NodeId,
        calls: &[AggregateCall],
        ttl_us: Option<i64>,
        facts: &mut Facts,
    ) {
        if let Some(ttl_us) = ttl_us {
            facts.append_only = false;
            facts.state = StateBound::Ttl(ttl_us);
        } else if facts.state == StateBound::None && keeps_input(calls, self.nodes[map].facts.append_only) {
            facts.state =
                StateBound::Unbounded("it keeps the values that its functions have to see again".into());
        }
    }

    /// Whether `state_ttl` has to bound an operator with this state.
    pub(super) fn wants_ttl(&self, state: &StateBound) -> bool {
        self.options.state_ttl_us.is_some() && matches!(state, StateBound::Unbounded(_))
    }

    pub(super) fn is_bounded(&self, node: NodeId) -> bool {
        self.extent(node) != Extent::Endless
    }

    pub(super) fn extent(&self, node: NodeId) -> Extent {
        extents(&self.nodes[..=node], &self.inputs)[node]
    }
}
