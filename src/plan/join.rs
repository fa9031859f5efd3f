//! Lowering of joins.
//!
//! `a JOIN b ON a.x = b.y AND residual`: key expressions that are not plain columns become
//! appended columns of a map below the join; the residual sees left ++ right; the output
//! drops the appended columns again. Right joins are left joins of swapped inputs. Without an
//! equality all rows meet at one worker. A join of windowed aggregates on the window's end
//! forgets the rows of windows that are over.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::common::{DFSchema, NullEquality};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{BinaryExpr, Expr, Join, JoinType, Operator};

use super::expr::{self, PExpr};
use super::lower::Lowering;
use super::*;
use crate::error::{HwError, Result};

impl Lowering<'_> {
    pub fn join(&mut self, join: &Join) -> Result<NodeId> {
        if let Some(node) = self.temporal_join(join)? {
            return Ok(node);
        }
        let (on, filter, null_aware) = join_conditions(join);
        let (kind, swap) = join_kind(join.join_type, null_aware);
        let mut plans = [&join.left, &join.right];
        let mut sides = [self.plan(plans[swap as usize])?, self.plan(plans[1 - swap as usize])?];
        let exchange = self.constant_on_left(kind, sides);
        sides.swap(0, exchange as usize);
        let swap = swap != exchange;
        let mut keys: [Vec<Expr>; 2] = [Vec::new(), Vec::new()];
        for (left, right) in on.iter().cloned() {
            keys[swap as usize].push(left);
            keys[1 - swap as usize].push(right);
        }
        if swap {
            plans.swap(0, 1);
        }
        let [left, right] = sides;
        let (left, left_keys, left_width) = self.with_keys(left, &keys[0], plans[0].schema())?;
        let (right, right_keys, right_width) = self.with_keys(right, &keys[1], plans[1].schema())?;
        let left_total = self.nodes[left].schema.fields().len();
        // Columns in the order in which the query has them, as positions of left ++ right.
        let left_columns = 0..left_width;
        let right_columns = left_total..left_total + right_width;
        let written: Vec<usize> = match swap {
            false => left_columns.clone().chain(right_columns).collect(),
            true => right_columns.chain(left_columns.clone()).collect(),
        };
        let residual = self.pair_condition(join, filter.as_ref(), &written)?;
        let output: Vec<usize> = match kind {
            JoinKind::Inner | JoinKind::Left | JoinKind::Full => written,
            JoinKind::Semi | JoinKind::Anti { .. } | JoinKind::Mark => left_columns.collect(),
        };
        let null_equal = join.null_equality == NullEquality::NullEqualsNull;
        let window = self.join_window([left, right], [&left_keys, &right_keys]);
        let mut schemas = [join.left.schema().as_ref(), join.right.schema().as_ref()];
        if swap {
            schemas.swap(0, 1);
        }
        let mut node = JoinNode {
            kind,
            null_equal,
            left_keys,
            right_keys,
            residual,
            output,
            window,
            interval: None,
            temporal: self.constant_join(kind, right),
        };
        if !null_aware && node.temporal.is_none() {
            let equal = if null_equal { &[][..] } else { &on[..] };
            node.interval = self
                .window_interval(&node, left, right)
                .or_else(|| self.stream_window(&node, left, right))
                .or_else(|| self.join_interval(filter.as_ref(), equal, schemas, [left, right]));
        }
        let mut facts = self.join_facts(&node, left, right);
        let (mut left, mut right) = (left, right);
        if self.wants_ttl(&facts.state) && node.temporal.is_none() {
            left = self.expiring(left, &[], &node.left_keys);
            right = self.expiring(right, &[], &node.right_keys);
            facts = self.join_facts(&node, left, right);
        }
        let schema = Arc::new(join.schema.as_arrow().clone());
        Ok(self.add(StreamOp::Join(Box::new(node)), vec![left, right], schema, facts))
    }

    /// A condition over the query's left and right columns, which are at `written` of a pair.
    pub(super) fn pair_condition(
        &self,
        join: &Join,
        condition: Option<&Expr>,
        written: &[usize],
    ) -> Result<Option<PExpr>> {
        let Some(condition) = condition else { return Ok(None) };
        let both = join.left.schema().join(join.right.schema());
        let both = both.map_err(|e| HwError::internal(e.to_string()))?;
        let compiled = self.compile(condition, &both)?;
        expr::substitute(&compiled, &|c| expr::column(written[c])).map(Some)
    }

    /// Makes sure that each key expression is a column of the node; returns the node, the
    /// key columns and the number of original columns.
    pub(super) fn with_keys(
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

    fn join_facts(&self, join: &JoinNode, left: NodeId, right: NodeId) -> Facts {
        let (l, r) = (&self.nodes[left].facts, &self.nodes[right].facts);
        let width = self.nodes[left].schema.fields().len();
        let inner = join.kind == JoinKind::Inner;
        let columns = join.output.iter().map(|c| match *c < width {
            true if join.kind == JoinKind::Full => ColumnFact::Plain,
            true => self.joined_column(join, [left, right], 0, *c),
            false if inner => self.joined_column(join, [left, right], 1, *c - width),
            false => ColumnFact::Plain,
        });
        let mark = (join.kind == JoinKind::Mark).then_some(ColumnFact::Plain);
        let constant = join.temporal.is_some();
        let append_only = l.append_only
            && (constant
                || r.append_only && (inner || join.kind == JoinKind::Semi || join.interval.is_some()));
        let state = match (&join.window, join.kind) {
            _ if join.interval.as_ref().is_some_and(|i| !i.by_window) => StateBound::Interval,
            _ if join.interval.is_some() => StateBound::Window,
            _ if constant => StateBound::Fixed,
            (Some(_), _) => StateBound::Window,
            (None, JoinKind::Inner | JoinKind::Left | JoinKind::Full) => {
                StateBound::Unbounded("a join keeps the rows of both sides".into())
            }
            _ if join.residual.is_some() => {
                StateBound::Unbounded("it keeps the rows of both sides, to see which of them match".into())
            }
            _ => StateBound::Unbounded("it keeps the rows of one side and the keys of the other".into()),
        };
        Facts {
            append_only,
            unique_key: self.join_key(join, left, right),
            columns: columns.chain(mark).collect(),
            state,
        }
    }

    /// Output columns that identify a row. A side whose key is among the join's keys gives
    /// at most one partner to a row of the other side, which then is identified by its own.
    fn join_key(&self, join: &JoinNode, left: NodeId, right: NodeId) -> Option<Vec<usize>> {
        let (l, r) = (&self.nodes[left], &self.nodes[right]);
        let width = l.schema.fields().len();
        let place = |key: &Vec<usize>, shift: usize| {
            key.iter().map(|k| join.output.iter().position(|c| *c == k + shift)).collect::<Option<Vec<_>>>()
        };
        let left_key = l.facts.unique_key.as_ref().and_then(|k| place(k, 0));
        let right_key = r.facts.unique_key.as_ref().and_then(|k| place(k, width));
        let one_of = |side: &StreamNode, keys: &[usize]| {
            side.facts.unique_key.as_ref().is_some_and(|k| k.iter().all(|c| keys.contains(c)))
        };
        match join.kind {
            JoinKind::Semi | JoinKind::Anti { .. } | JoinKind::Mark => left_key,
            JoinKind::Inner | JoinKind::Left if one_of(r, &join.right_keys) && left_key.is_some() => left_key,
            JoinKind::Inner if one_of(l, &join.left_keys) && right_key.is_some() => right_key,
            // A row without a partner on either side could have only NULLs in its key.
            JoinKind::Full => None,
            JoinKind::Inner | JoinKind::Left => Some(left_key?.into_iter().chain(right_key?).collect()),
        }
    }
}

/// The kind of a join, and whether its inputs must be swapped for it.
fn join_kind(join_type: JoinType, null_aware: bool) -> (JoinKind, bool) {
    let kind = match join_type {
        JoinType::Inner => JoinKind::Inner,
        JoinType::Left | JoinType::Right => JoinKind::Left,
        JoinType::Full => JoinKind::Full,
        JoinType::LeftSemi | JoinType::RightSemi => JoinKind::Semi,
        JoinType::LeftAnti | JoinType::RightAnti => JoinKind::Anti { null_aware },
        JoinType::LeftMark | JoinType::RightMark => JoinKind::Mark,
    };
    let swap = matches!(
        join_type,
        JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark
    );
    (kind, swap)
}

/// A joined row's time columns are complete only when both sides are.
pub(super) fn joined_fact(fact: &ColumnFact, other: &Facts) -> ColumnFact {
    fact.following(|clock| {
        other.columns.iter().filter_map(ColumnFact::clock).fold(clock.clone(), |a, b| a.and(b))
    })
}

/// Key pairs, further condition, and whether the join is NOT IN over keys alone.
///
/// `x NOT IN (SELECT y …)` keeps a row if `x = y` is false for every row of the sub-query:
/// with correlation, that is an anti join on the correlated columns where `x = y` is not
/// false. Only without correlation does it become a null-aware join by key.
fn join_conditions(join: &Join) -> (Vec<(Expr, Expr)>, Option<Expr>, bool) {
    let (mut on, mut filter) = (join.on.clone(), join.filter.clone());
    if !join.null_aware {
        return (on, filter, false);
    }
    if on.len() == 1 && filter.is_none() {
        return (on, filter, true);
    }
    let not_false = |e: Expr| Expr::IsNotFalse(Box::new(e));
    if on.is_empty() {
        let mut parts = filter.take().map(split_conjunction_owned).unwrap_or_default();
        if let Some(first) = parts.first_mut() {
            *first = not_false(std::mem::take(first));
        }
        return (on, conjunction(parts), false);
    }
    let (left, right) = on.remove(0);
    let equal = Expr::BinaryExpr(BinaryExpr::new(Box::new(left), Operator::Eq, Box::new(right)));
    (on, conjunction(std::iter::once(not_false(equal)).chain(filter)), false)
}
