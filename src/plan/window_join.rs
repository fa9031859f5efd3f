//! Joins of equal windows, and what is known of event times in a join's output.
//!
//! Rows of a window are over when the watermark has passed its end. Where both sides only append
//! and come straight from windows, that makes an interval join on the bound: its output only
//! grows. Otherwise the rows of a window are forgotten when no row of it can change, which
//! aggregates guarantee themselves, and the join for rows that come straight from a window.

use super::expr;
use super::join::joined_fact;
use super::lower::Lowering;
use super::*;

/// A column that tells the window of a row.
struct Bound {
    time: WindowTime,
    /// From the time in it to when the window is over.
    over_after_us: i64,
    /// Part of that which is lateness.
    lateness_us: i64,
    /// Whether rows may come later.
    judged: bool,
}

impl Lowering<'_> {
    /// The first pair of keys that tells the window on both sides.
    pub(super) fn join_window(&self, nodes: [NodeId; 2], keys: [&[usize]; 2]) -> Option<JoinWindow> {
        keys[0].iter().zip(keys[1]).enumerate().find_map(|(key, (l, r))| {
            let (left, right) = (self.window_bound(nodes[0], *l)?, self.window_bound(nodes[1], *r)?);
            let to_end = |b: &Bound| b.over_after_us - b.lateness_us;
            let time = match (&left.time, &right.time) {
                (WindowTime::Event { clock }, WindowTime::Event { clock: other }) => {
                    WindowTime::Event { clock: clock.and(other) }
                }
                (WindowTime::Processing, WindowTime::Processing) => WindowTime::Processing,
                _ => return None,
            };
            if to_end(&left) != to_end(&right) {
                return None;
            }
            let over_after_us = left.over_after_us.max(right.over_after_us);
            Some(JoinWindow { key, time, over_after_us, judged: [left.judged, right.judged] })
        })
    }

    /// What a column tells of the window of a row, and when that is over.
    fn window_bound(&self, node: NodeId, column: usize) -> Option<Bound> {
        if let Some(Final { time, to_end_us, lateness_us }) = self.final_at(node, column) {
            let over_after_us = to_end_us.saturating_add(lateness_us);
            return Some(Bound { time, over_after_us, lateness_us, judged: false });
        }
        if !self.comes_from_window(node, column) {
            return None;
        }
        let (time, to_end_us) = match &self.nodes[node].facts.columns[column] {
            ColumnFact::WindowEnd { time } => (time, 0),
            ColumnFact::WindowStart { time, size_us: Some(size_us) } => (time, *size_us),
            _ => return None,
        };
        let judged = match time {
            WindowTime::Event { .. } => true,
            // A row is in the window of the moment.
            WindowTime::Processing if self.nodes[node].facts.append_only => false,
            _ => return None,
        };
        Some(Bound { time: time.clone(), over_after_us: to_end_us, lateness_us: 0, judged })
    }

    /// Whether the rows of a node come straight from the window that gave them this column, or
    /// are those of a relation that only appends.
    fn comes_from_window(&self, node: NodeId, column: usize) -> bool {
        let n = &self.nodes[node];
        match &n.op {
            StreamOp::Map { exprs, .. } => {
                expr::as_column(&exprs[column]).is_some_and(|c| self.comes_from_window(n.children[0], c))
            }
            StreamOp::WindowAssign(_) => true,
            StreamOp::Input { .. } => n.facts.append_only,
            // Rows of the window join are those of its inputs, on time.
            StreamOp::Join(join) => {
                join.interval.as_ref().is_some_and(|i| i.by_window && i.late_us.is_some())
            }
            _ => false,
        }
    }

    /// A join on a bound of windows of two streams that only append.
    pub(super) fn stream_window(&self, join: &JoinNode, left: NodeId, right: NodeId) -> Option<JoinInterval> {
        let window = join.window.as_ref()?;
        let append_only = |n: NodeId| self.nodes[n].facts.append_only && self.is_timely(n);
        let WindowTime::Event { clock } = &window.time else { return None };
        if window.judged != [true; 2] || !append_only(left) || !append_only(right) {
            return None;
        }
        let times = [join.left_keys[window.key], join.right_keys[window.key]];
        // The end itself counts as passed.
        let limit = 1i64.saturating_sub(window.over_after_us);
        Some(JoinInterval {
            times,
            limits_us: [limit; 2],
            clocks: [clock.clone(), clock.clone()],
            late_us: Some([limit; 2]),
            by_window: true,
        })
    }

    /// What is known of a column of one side in the output of a join.
    pub(super) fn joined_column(
        &self,
        join: &JoinNode,
        nodes: [NodeId; 2],
        side: usize,
        column: usize,
    ) -> ColumnFact {
        let fact = &self.nodes[nodes[side]].facts.columns[column];
        let fact = joined_fact(fact, &self.nodes[nodes[1 - side]].facts);
        if fact.clock().is_none() {
            return fact;
        }
        let behind = match (&join.window, &join.interval) {
            (_, Some(interval)) if !interval.by_window => {
                let held = interval.limits_us[side].saturating_neg().max(0);
                self.behind_time(nodes[side], column, interval.times[side]).map(|us| us.max(held))
            }
            (Some(window), _) if window.judged[side] => {
                let key = [&join.left_keys, &join.right_keys][side][window.key];
                self.behind_window(nodes[side], column, key)
            }
            _ => Some(0),
        };
        behind.map_or(ColumnFact::Plain, |us| fact.following(|clock| clock.behind(us)))
    }

    /// By how much `column` may be less than the time in `time`; `None` if that is not known.
    pub(super) fn behind_time(&self, node: NodeId, column: usize, time: usize) -> Option<i64> {
        if column == time {
            return Some(0);
        }
        let n = &self.nodes[node];
        match &n.op {
            StreamOp::Map { exprs, .. } => {
                let below = |c: usize| expr::as_column(&exprs[c]);
                self.behind_time(n.children[0], below(column)?, below(time)?)
            }
            StreamOp::WindowAssign(w) => {
                let width = self.nodes[n.children[0]].schema.fields().len();
                // A window starts before its rows; its columns stand for its end.
                (column >= width && time == w.time_column).then_some(0)
            }
            _ => None,
        }
    }

    /// By how much `column` may be behind the window that `bound` tells.
    fn behind_window(&self, node: NodeId, column: usize, bound: usize) -> Option<i64> {
        let n = &self.nodes[node];
        let is_bound = |c: usize| {
            matches!(n.facts.columns[c], ColumnFact::WindowStart { .. } | ColumnFact::WindowEnd { .. })
        };
        match &n.op {
            StreamOp::Map { exprs, .. } => {
                let below = |c: usize| expr::as_column(&exprs[c]);
                self.behind_window(n.children[0], below(column)?, below(bound)?)
            }
            StreamOp::WindowAssign(w) => {
                let width = self.nodes[n.children[0]].schema.fields().len();
                match bound >= width {
                    true if column >= width => Some(0),
                    true if column == w.time_column => w.windows.fixed_size_us(),
                    _ => None,
                }
            }
            _ => (is_bound(column) && is_bound(bound)).then_some(0),
        }
    }

    /// When the rows of a window that `column` tells are final, if they ever are.
    pub(super) fn final_at(&self, node: NodeId, column: usize) -> Option<Final> {
        final_at(&self.nodes, &self.inputs, node, column)
    }
}

impl StreamPlan {
    /// Whether no row of a window changes after the watermark has reached its end.
    pub fn has_final_windows(&self) -> bool {
        let root = self.root_node();
        let is_bound =
            |c: &ColumnFact| matches!(c, ColumnFact::WindowStart { .. } | ColumnFact::WindowEnd { .. });
        let mut bounds =
            (0..root.facts.columns.len()).filter(|c| is_bound(&root.facts.columns[*c])).peekable();
        let on_time =
            |c| final_at(&self.nodes, &self.inputs, self.root, c).is_some_and(|f| f.lateness_us == 0);
        bounds.peek().is_some() && bounds.all(on_time)
    }
}

/// When the rows of a window are final.
pub(super) struct Final {
    pub time: WindowTime,
    /// From the time in the column to the end of the window …
    pub to_end_us: i64,
    /// … and from there to when no row changes.
    pub lateness_us: i64,
}

/// When the rows of a window that `column` tells are final. Aggregates guarantee that they are,
/// as they refuse rows that are too late; and so do views that consist of one.
fn final_at(nodes: &[StreamNode], inputs: &[PlanInput], node: NodeId, column: usize) -> Option<Final> {
    let n = &nodes[node];
    let lateness_us = match &n.op {
        StreamOp::Map { exprs, .. } => {
            return final_at(nodes, inputs, n.children[0], expr::as_column(&exprs[column])?);
        }
        // What they say of a window follows from its rows, which they refuse late where nobody did.
        StreamOp::TopN(TopNNode { partition, window, .. })
        | StreamOp::Over(OverNode { partition, window, .. }) => {
            let below = n.children[0];
            let assigned = |c| assigned_by(nodes, below, c);
            let same = |c: usize| c == column || assigned(c).is_some() && assigned(c) == assigned(column);
            partition.iter().any(|c| same(*c)).then_some(())?;
            let found = final_at(nodes, inputs, below, column);
            if found.is_some() {
                return found;
            }
            let window = window.as_ref().filter(|w| w.refuse_late && same(w.column))?;
            window.to_end_us - to_end(&nodes[below].facts.columns[window.column])?.1
        }
        StreamOp::Input { input } if inputs[*input].final_windows => 0,
        StreamOp::Aggregate(a) => {
            let is_bound = match a.window.as_ref()? {
                AggregateWindow::Keyed { end, start, judged, .. } => {
                    !judged && (*end == column || *start == Some(column))
                }
                AggregateWindow::Fused(_) | AggregateWindow::Session(_) => {
                    (a.group.len()..a.group.len() + 2).contains(&column)
                }
            };
            let follows = matches!(a.emit.policy, EmitPolicy::Changes | EmitPolicy::Final);
            is_bound.then_some(())?;
            if follows { a.emit.lateness_us } else { return None }
        }
        _ => return None,
    };
    let (time, to_end_us) = to_end(&n.facts.columns[column])?;
    Some(Final { time, to_end_us, lateness_us })
}

/// The time of a window's bound, and from it to the end of the window.
fn to_end(fact: &ColumnFact) -> Option<(WindowTime, i64)> {
    match fact {
        ColumnFact::WindowEnd { time } => Some((time.clone(), 0)),
        ColumnFact::WindowStart { time, size_us: Some(size_us) } => Some((time.clone(), *size_us)),
        _ => None,
    }
}

/// The node that gave rows their window, if a column is a bound of it.
fn assigned_by(nodes: &[StreamNode], node: NodeId, column: usize) -> Option<NodeId> {
    let n = &nodes[node];
    match &n.op {
        StreamOp::Map { exprs, .. } => assigned_by(nodes, n.children[0], expr::as_column(&exprs[column])?),
        StreamOp::WindowAssign(_) if column >= nodes[n.children[0]].schema.fields().len() => Some(node),
        StreamOp::TopN(_) | StreamOp::Over(_) if column < nodes[n.children[0]].schema.fields().len() => {
            assigned_by(nodes, n.children[0], column)
        }
        _ => None,
    }
}
