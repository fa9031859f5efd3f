//! What a unique key makes needless: DISTINCT of rows that hold one, and outer joins that add
//! neither columns nor rows.

use super::expr::{self, PExpr};
use super::lower::Lowering;
use super::*;

impl Lowering<'_> {
    /// Whether the rows of a node are different in these columns: they hold a key of its rows.
    pub(super) fn are_distinct(&self, node: NodeId, columns: &[usize]) -> bool {
        let facts = &self.nodes[node].facts;
        facts.unique_key.as_ref().is_some_and(|key| key.iter().all(|c| columns.contains(c)))
    }

    /// Whether these columns hold constants, so that there is one group.
    pub(super) fn are_literals(&self, map: NodeId, columns: &[usize]) -> bool {
        match &self.nodes[map].op {
            StreamOp::Map { exprs, .. } => columns.iter().all(|c| expr::is_literal(&exprs[*c])),
            _ => columns.is_empty(),
        }
    }

    /// Whether an aggregate without calls gives its input as it is.
    pub(super) fn is_distinct_already(
        &self,
        map: NodeId,
        keys: &[usize],
        results: &super::aggregate::Results,
        window: Option<&AggregateWindow>,
    ) -> bool {
        let emit = &self.options.emit;
        let at_once = emit.policy == EmitPolicy::Changes && !emit.needs_panes() && !emit.with_pane_columns;
        results.calls.is_empty()
            && results.fields.is_empty()
            && results.late.is_empty()
            && window.is_none()
            && at_once
            && (self.options.state_ttl_us.is_none() || self.is_bounded(map))
            && self.are_distinct(map, keys)
    }
}

/// Replaces left joins by their left side where at most one right row matches and nothing of it is
/// read.
pub(super) fn drop_joins(plan: &mut StreamPlan) {
    for id in 0..plan.nodes.len() {
        let StreamOp::Join(join) = &plan.nodes[id].op else { continue };
        let right = &plan.nodes[plan.nodes[id].children[1]].facts;
        let width = plan.nodes[plan.nodes[id].children[0]].schema.fields().len();
        let one =
            right.unique_key.as_ref().is_some_and(|key| key.iter().all(|c| join.right_keys.contains(c)));
        let plain = join.window.is_none()
            && join.interval.is_none()
            && matches!(join.temporal, None | Some(Temporal::Constant));
        if join.kind != JoinKind::Left || !one || !plain || join.output.iter().any(|c| *c >= width) {
            continue;
        }
        let exprs: Vec<PExpr> = join.output.iter().map(|c| expr::column(*c)).collect();
        let node = &mut plan.nodes[id];
        node.op = StreamOp::Map { filter: None, exprs };
        node.children.truncate(1);
        node.facts.state = StateBound::None;
    }
}
