//! Lowering of inner joins.
//!
//! `a JOIN b ON a.x = b.y AND residual`: key expressions that are not plain columns become
//! appended columns of a map below the join; the residual sees left ++ right; the output
//! drops the appended columns again. Without an equality all rows meet at one worker. A join
//! of windowed aggregates on the window's end forgets the rows of windows that are over.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::common::{DFSchema, NullEquality};
use datafusion::logical_expr::{Expr, Join, JoinType};

use super::expr;
use super::lower::{Lowering, refuse};
use super::*;
use crate::error::{HwError, Result};

pub(super) fn refuse_join(join_type: JoinType) -> HwError {
    let (what, hint) = match join_type {
        JoinType::Left | JoinType::Right | JoinType::Full => {
            ("an outer join", "Use an inner join, or UNION ALL with the unmatched rows.")
        }
        JoinType::LeftSemi | JoinType::RightSemi | JoinType::LeftMark | JoinType::RightMark => (
            "IN or EXISTS with a sub-query",
            "Write it as an inner join with SELECT DISTINCT on the right side.",
        ),
        _ => (
            "NOT IN or NOT EXISTS with a sub-query",
            "Keep the counter-set as a view and subtract it in the SELECT that reads it.",
        ),
    };
    refuse(what, hint)
}

impl Lowering<'_> {
    pub fn join(&mut self, join: &Join) -> Result<NodeId> {
        if join.join_type != JoinType::Inner {
            return Err(refuse_join(join.join_type));
        }
        if join.null_equality == NullEquality::NullEqualsNull {
            return Err(refuse("INTERSECT", "Use an inner join on the columns."));
        }
        let left = self.plan(&join.left)?;
        let right = self.plan(&join.right)?;
        let (on_left, on_right): (Vec<_>, Vec<_>) = join.on.iter().cloned().unzip();
        let (left, left_keys, left_width) = self.with_keys(left, &on_left, join.left.schema())?;
        let (right, right_keys, right_width) = self.with_keys(right, &on_right, join.right.schema())?;
        let left_total = self.nodes[left].schema.fields().len();

        let residual = match &join.filter {
            None => None,
            Some(condition) => {
                let both = join
                    .left
                    .schema()
                    .join(join.right.schema())
                    .map_err(|e| HwError::internal(e.to_string()))?;
                let compiled = self.compile(condition, &both)?;
                let shift =
                    |c: usize| expr::column(if c < left_width { c } else { c - left_width + left_total });
                Some(expr::substitute(&compiled, &shift)?)
            }
        };
        let output: Vec<usize> = (0..left_width).chain(left_total..left_total + right_width).collect();
        let window = self.join_window((left, &left_keys), (right, &right_keys));
        let mut facts = self.join_facts(left, right, left_width, right_width);
        if window.is_some() {
            facts.state = StateBound::Window;
        }
        let schema = Arc::new(join.schema.as_arrow().clone());
        let node = JoinNode { left_keys, right_keys, residual, output, window };
        Ok(self.add(StreamOp::Join(node), vec![left, right], schema, facts))
    }

    /// Makes sure that each key expression is a column of the node; returns the node, the
    /// key columns and the number of original columns.
    fn with_keys(
        &mut self,
        node: NodeId,
        keys: &[Expr],
        schema: &DFSchema,
    ) -> Result<(NodeId, Vec<usize>, usize)> {
        let width = self.nodes[node].schema.fields().len();
        let compiled = keys.iter().map(|k| self.compile(k, schema)).collect::<Result<Vec<_>>>()?;
        if let Some(columns) = compiled.iter().map(expr::as_column).collect::<Option<Vec<_>>>() {
            return Ok((node, columns, width));
        }
        let below = Arc::clone(&self.nodes[node].schema);
        let mut fields: Vec<Arc<Field>> = below.fields().iter().cloned().collect();
        let mut exprs: Vec<_> = (0..width).map(expr::column).collect();
        let mut columns = Vec::new();
        for key in compiled {
            if let Some(c) = expr::as_column(&key) {
                columns.push(c);
                continue;
            }
            let data_type = key.data_type(&below).map_err(|e| HwError::internal(e.to_string()))?;
            columns.push(exprs.len());
            fields.push(Arc::new(Field::new(format!("key{}", exprs.len()), data_type, true)));
            exprs.push(key);
        }
        let node = self.map(node, None, exprs, Arc::new(Schema::new(fields)))?;
        Ok((node, columns, width))
    }

    /// The first pair of keys that holds window ends on both sides.
    fn join_window(
        &self,
        left: (NodeId, &[usize]),
        right: (NodeId, &[usize]),
    ) -> Option<(usize, WindowTime)> {
        left.1.iter().zip(right.1).enumerate().find_map(|(pair, (l, r))| {
            match (self.final_at(left.0, *l)?, self.final_at(right.0, *r)?) {
                (WindowTime::Event { mut inputs }, WindowTime::Event { inputs: more }) => {
                    inputs.extend(more);
                    inputs.sort_unstable();
                    inputs.dedup();
                    Some((pair, WindowTime::Event { inputs }))
                }
                (WindowTime::Processing, WindowTime::Processing) => Some((pair, WindowTime::Processing)),
                _ => None,
            }
        })
    }

    /// The clock of a column that holds window ends, if no row changes after its own end.
    /// Only aggregates guarantee that: they refuse late rows.
    fn final_at(&self, node: NodeId, column: usize) -> Option<WindowTime> {
        let n = &self.nodes[node];
        match &n.op {
            StreamOp::Map { exprs, .. } => self.final_at(n.children[0], expr::as_column(&exprs[column])?),
            StreamOp::Aggregate(a) => match a.window.as_ref()? {
                AggregateWindow::Keyed { end, time } if *end == column => Some(time.clone()),
                AggregateWindow::Fused(assign) if column == a.group.len() + 1 => Some(assign.time.clone()),
                _ => None,
            },
            _ => None,
        }
    }

    fn join_facts(&self, left: NodeId, right: NodeId, left_width: usize, right_width: usize) -> Facts {
        let (l, r) = (&self.nodes[left].facts, &self.nodes[right].facts);
        let unique_key = match (&l.unique_key, &r.unique_key) {
            (Some(a), Some(b)) if a.iter().all(|c| *c < left_width) && b.iter().all(|c| *c < right_width) => {
                Some(a.iter().copied().chain(b.iter().map(|c| c + left_width)).collect())
            }
            _ => None,
        };
        // A joined row's time columns are complete only when both sides are.
        let both = |fact: &ColumnFact, other: &Facts| match fact {
            ColumnFact::EventTime { inputs } => {
                let mut all = inputs.clone();
                for c in &other.columns {
                    if let ColumnFact::EventTime { inputs } = c {
                        all.extend(inputs);
                    }
                }
                all.sort_unstable();
                all.dedup();
                ColumnFact::EventTime { inputs: all }
            }
            fact => fact.clone(),
        };
        let columns = (l.columns[..left_width].iter().map(|c| both(c, r)))
            .chain(r.columns[..right_width].iter().map(|c| both(c, l)))
            .collect();
        Facts {
            append_only: l.append_only && r.append_only,
            unique_key,
            columns,
            state: StateBound::Unbounded("a join keeps the rows of both sides".into()),
        }
    }
}
