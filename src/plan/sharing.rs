//! Which plans other views may read the rows of, in place of an equal part of their own.
//!
//! What such a plan shows must follow from what its inputs hold, and from nothing else: not from
//! watermarks or the clock, and not from what they held when a row came. Then it is the same for
//! a view that begins today as for one that ran from the start.

use super::{AggregateNode, StateBound, StreamOp, StreamPlan};
use crate::types::trigger::EmitPolicy;

impl StreamPlan {
    /// Whether its rows follow from what its inputs hold, and need state.
    pub fn can_be_shared(&self) -> bool {
        self.hidden == 0
            && self.late.is_none()
            && self.nodes.iter().all(|n| follows_from_inputs(&n.op))
            && self.nodes.iter().any(|n| n.facts.state != StateBound::None)
    }
}

fn follows_from_inputs(op: &StreamOp) -> bool {
    match op {
        StreamOp::Input { .. }
        | StreamOp::Map { .. }
        | StreamOp::Union
        | StreamOp::SetOp(_)
        | StreamOp::Constant(_)
        | StreamOp::Unnest(_) => true,
        StreamOp::Aggregate(a) | StreamOp::LocalAggregate(a) => keeps_all_groups(a),
        StreamOp::Join(j) => {
            let any_time = matches!(j.temporal, None | Some(super::Temporal::Constant));
            j.window.is_none() && j.interval.is_none() && any_time
        }
        StreamOp::TopN(t) => t.window.is_none() && !t.on_close,
        StreamOp::Over(o) => o.window.is_none() && o.time.is_none() && !o.on_close,
        StreamOp::WindowAssign(_)
        | StreamOp::SessionAssign(_)
        | StreamOp::WindowColumns { .. }
        | StreamOp::Retain { .. }
        | StreamOp::Expire(_)
        | StreamOp::ChangelogTrigger(_)
        | StreamOp::TemporalFilter(_)
        | StreamOp::Recursive(_)
        | StreamOp::Working { .. } => false,
    }
}

fn keeps_all_groups(node: &AggregateNode) -> bool {
    node.window.is_none() && node.ttl_us.is_none() && matches!(node.emit.policy, EmitPolicy::Changes)
}
