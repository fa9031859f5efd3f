//! Triggers of views whose rows do not come from one grouping.
//!
//! The trigger of an emit clause belongs to the outermost aggregate. Where there is none —
//! projections, joins, set operations, top-n — it stands on the changes of the whole view,
//! which is one endless window then. What it gives is late by its nature, so nothing above
//! may go by the watermark: event-time columns become plain ones.

use super::lower::Lowering;
use super::*;

impl Lowering<'_> {
    /// Puts the trigger of the emit clause on the root, unless an aggregate has it.
    pub(super) fn changelog_trigger(&mut self, root: NodeId) -> NodeId {
        let emit = self.options.emit.clone();
        let fires = matches!(emit.policy, EmitPolicy::Phases { .. } | EmitPolicy::When(_));
        if !fires || self.is_triggered(root, &emit) {
            return root;
        }
        let node = &self.nodes[root];
        let plain = |fact: &ColumnFact| match fact {
            ColumnFact::ProcTime => ColumnFact::ProcTime,
            _ => ColumnFact::Plain,
        };
        let facts = Facts {
            columns: node.facts.columns.iter().map(plain).collect(),
            state: StateBound::Pending,
            ..node.facts.clone()
        };
        let schema = Arc::clone(&node.schema);
        let policy = match emit.policy {
            // The window has no end, so it has neither on-time nor late panes.
            EmitPolicy::Phases { early, .. } => EmitPolicy::Phases { early, on_time: None, late: None },
            policy => policy,
        };
        let emit = EmitSpec { policy, with_pane_columns: false, ..emit };
        self.add(StreamOp::ChangelogTrigger(emit), vec![root], schema, facts)
    }

    /// Whether the rows of `node` are those of an aggregate with this clause.
    fn is_triggered(&self, node: NodeId, emit: &EmitSpec) -> bool {
        match &self.nodes[node].op {
            StreamOp::Map { .. } => self.is_triggered(self.nodes[node].children[0], emit),
            StreamOp::Aggregate(a) => a.emit == *emit,
            _ => false,
        }
    }
}
