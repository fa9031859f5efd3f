//! Relations that never change: VALUES, elements of constant arrays, series of constants, and what
//! is made of them alone.
//!
//! All their rows are there in the first epoch, before the rows of any other relation are joined
//! with them, so a join with one keeps nothing of its other side: a row is joined when it comes,
//! and taken back in the same way.

use super::lower::Lowering;
use super::*;

impl Lowering<'_> {
    /// Whether a node's rows are constants and nothing but constants.
    pub(super) fn is_constant(&self, node: NodeId) -> bool {
        let mut constant: Vec<bool> = Vec::with_capacity(node + 1);
        for n in &self.nodes[..=node] {
            let below = n.children.iter().all(|c| constant[*c]);
            constant.push(match &n.op {
                StreamOp::Constant(_) => true,
                StreamOp::Map { .. } | StreamOp::Union | StreamOp::Unnest(_) | StreamOp::SetOp(_) => below,
                StreamOp::Aggregate(a) => {
                    let at_once = a.emit.policy == EmitPolicy::Changes && !a.emit.needs_panes();
                    below && at_once && a.window.is_none() && a.ttl_us.is_none()
                }
                StreamOp::TopN(t) => below && t.window.is_none() && !t.on_close,
                StreamOp::Over(o) => below && o.window.is_none() && o.time.is_none() && !o.on_close,
                StreamOp::Join(j) => {
                    let plain = matches!(j.temporal, None | Some(Temporal::Constant));
                    below && plain && j.window.is_none() && j.interval.is_none()
                }
                _ => false,
            });
        }
        constant[node]
    }

    /// Whether the inputs of an inner join should change places, so that the constant one is on
    /// the right.
    pub(super) fn constant_on_left(&self, kind: JoinKind, [left, right]: [NodeId; 2]) -> bool {
        kind == JoinKind::Inner && self.is_constant(left) && !self.is_constant(right)
    }

    /// The strategy of a join whose right side is constant. A full join shows constants by whether
    /// they match, so it is a join like others.
    pub(super) fn constant_join(&self, kind: JoinKind, right: NodeId) -> Option<Temporal> {
        // The step of a recursive query goes round within an epoch.
        let fits = kind != JoinKind::Full && self.open.is_empty();
        (fits && self.is_constant(right)).then_some(Temporal::Constant)
    }
}
