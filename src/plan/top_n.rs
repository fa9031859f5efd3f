//! Lowering of ORDER BY … LIMIT, and of filters on a row's number.
//!
//! `WHERE n <= 10` over `row_number() OVER (…) AS n` becomes a top-n, which keeps less and
//! numbers less than the window function would; any other condition stays a filter above it.
//! The number is left out of the result if nothing above reads it, so that rows do not change
//! when only their number does.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{FetchType, Limit, LogicalPlan, Operator, SkipType};
use datafusion::physical_expr::expressions::{BinaryExpr, Literal};
use datafusion::physical_expr::{conjunction, split_conjunction};

use super::expr::{self, PExpr};
use super::lower::{Lowering, refuse};
use super::*;
use crate::error::{HwError, Result};

/// A group keeps its rows in one ordered array up to this many; beyond, all rows are kept in
/// a tree, whose changes cost the same however many they are.
const FIRST_ROWS_MAX: u64 = 4096;

impl Lowering<'_> {
    /// `LIMIT`, `OFFSET`, or a sort that keeps only so many rows.
    pub(super) fn limit(&mut self, plan: &LogicalPlan) -> Result<NodeId> {
        match plan {
            LogicalPlan::Limit(limit) => {
                let (skip, fetch) = bounds(limit)?;
                self.limited(&limit.input, skip, fetch)
            }
            other => self.limited(other, 0, None),
        }
    }

    fn limited(&mut self, plan: &LogicalPlan, skip: u64, fetch: Option<u64>) -> Result<NodeId> {
        match plan {
            LogicalPlan::Projection(p) if is_ordered(&p.input) => {
                let child = self.limited(&p.input, skip, fetch)?;
                self.projection(child, p.input.schema(), &p.expr, &p.schema)
            }
            LogicalPlan::SubqueryAlias(alias) => self.limited(&alias.input, skip, fetch),
            LogicalPlan::Limit(inner) => {
                let (inner_skip, inner_fetch) = bounds(inner)?;
                let left = inner_fetch.map(|n| n.saturating_sub(skip));
                let fetch = [left, fetch].into_iter().flatten().min();
                self.limited(&inner.input, skip.saturating_add(inner_skip), fetch)
            }
            LogicalPlan::Sort(sort) => {
                let left = sort.fetch.map(|n| (n as u64).saturating_sub(skip));
                let fetch = [left, fetch].into_iter().flatten().min();
                let child = self.plan(&sort.input)?;
                let mut extended = super::over::Extended::new(self, child);
                let order = extended.sort_keys(self, &sort.expr, sort.input.schema())?;
                let (extended, width) = extended.finish(self)?;
                let top = self.global(extended, order, skip, fetch)?;
                let exprs = (0..width).map(expr::column).collect();
                self.map(top, None, exprs, Arc::new(plan.schema().as_arrow().clone()))
            }
            other => {
                let child = self.plan(other)?;
                self.global(child, Vec::new(), skip, fetch)
            }
        }
    }

    fn global(
        &mut self,
        child: NodeId,
        order: Vec<SortKey>,
        skip: u64,
        fetch: Option<u64>,
    ) -> Result<NodeId> {
        if skip == 0 && fetch.is_none() {
            return Ok(child);
        }
        let range = RankRange { first: skip.saturating_add(1), last: fetch.map(|n| skip.saturating_add(n)) };
        let node = self.top_n_node(child, Vec::new(), order, Ranking::RowNumber, range, None);
        Ok(self.add_top_n(child, node))
    }

    fn top_n_node(
        &self,
        child: NodeId,
        partition: Vec<usize>,
        order: Vec<SortKey>,
        ranking: Ranking,
        range: RankRange,
        rank: Option<FieldRef>,
    ) -> TopNNode {
        let small = range.last.is_some_and(|n| n <= FIRST_ROWS_MAX);
        let keep = match self.nodes[child].facts.append_only && small {
            true => KeptRows::First,
            false => KeptRows::All,
        };
        let window = partition.iter().find_map(|c| self.group_window(child, *c));
        let on_close =
            self.options.emit.policy == EmitPolicy::Final && window.as_ref().is_some_and(|w| w.refuse_late);
        TopNNode { partition, order, ranking, range, rank, keep, window, on_close }
    }

    fn add_top_n(&mut self, child: NodeId, node: TopNNode) -> NodeId {
        let (mut child, mut node) = (child, node);
        if self.wants_ttl(&top_n_facts(&node, &self.nodes[child].facts, false).state) {
            child = self.expiring(child, &node.partition, &node.partition);
            let TopNNode { partition, order, ranking, range, rank, .. } = node;
            node = self.top_n_node(child, partition, order, ranking, range, rank);
        }
        let below = &self.nodes[child];
        let mut fields: Vec<FieldRef> = below.schema.fields().iter().cloned().collect();
        fields.extend(node.rank.clone());
        let append_only = self.closes_once(node.window.as_ref(), node.on_close, below.facts.append_only);
        let facts = top_n_facts(&node, &below.facts, append_only);
        self.add(StreamOp::TopN(node), vec![child], Arc::new(Schema::new(fields)), facts)
    }

    /// Whether what is emitted for a group stays as it is: its rows appear when its window
    /// closes, here or, all together, in a windowed aggregate below.
    pub(super) fn closes_once(
        &self,
        window: Option<&GroupWindow>,
        on_close: bool,
        append_only: bool,
    ) -> bool {
        let together = |w: &GroupWindow| !w.refuse_late && matches!(w.time, WindowTime::Event { .. });
        let closes = self.options.emit.policy == EmitPolicy::Final;
        on_close || (closes && append_only && window.is_some_and(together))
    }

    /// The window that a column of a node places its rows in, if rows of a window come to an
    /// end: it holds the window's start or end.
    pub(super) fn group_window(&self, node: NodeId, column: usize) -> Option<GroupWindow> {
        let lateness_us = self.options.emit.lateness_us;
        let (time, to_end_us) = match &self.nodes[node].facts.columns[column] {
            ColumnFact::WindowEnd { time } => (time.clone(), 0),
            ColumnFact::WindowStart { time, size_us: Some(size) } => (time.clone(), *size),
            _ => return None,
        };
        if time == WindowTime::Unbounded {
            return None;
        }
        let refuse_late = match self.assigns_windows(node, column) {
            true => time != WindowTime::Processing,
            false => {
                self.final_at(node, column)?;
                false
            }
        };
        let to_end_us = to_end_us.saturating_add(lateness_us);
        Some(GroupWindow { column, to_end_us, time, refuse_late })
    }

    /// Whether the rows of a node come straight from the window that gave them this column.
    fn assigns_windows(&self, node: NodeId, column: usize) -> bool {
        let n = &self.nodes[node];
        match &n.op {
            StreamOp::Map { exprs, .. } => {
                expr::as_column(&exprs[column]).is_some_and(|c| self.assigns_windows(n.children[0], c))
            }
            StreamOp::WindowAssign(_) => column >= self.nodes[n.children[0]].schema.fields().len(),
            StreamOp::Join(join) => {
                join.interval.as_ref().is_some_and(|i| i.by_window && i.late_us.is_some())
            }
            _ => false,
        }
    }

    /// A filter on the number of a ranking function as a top-n; `None` if it is not one.
    pub(super) fn top_n_filter(&mut self, child: NodeId, condition: &PExpr) -> Result<Option<NodeId>> {
        let conjuncts = split_conjunction(condition);
        let mut target: Option<(NodeId, usize)> = None;
        let mut range = RankRange { first: 1, last: None };
        let mut others = Vec::new();
        for conjunct in conjuncts {
            let bound = number_range(conjunct)
                .filter(|(c, _)| target.is_none_or(|(_, column)| column == *c))
                .and_then(|(c, r)| Some((self.numbered(child, c)?, c, r)));
            match bound {
                Some((over, column, more)) => {
                    target = Some((over, column));
                    range.first = range.first.max(more.first);
                    range.last = [range.last, more.last].into_iter().flatten().min();
                }
                None => others.push(Arc::clone(conjunct)),
            }
        }
        let (Some((over, _)), Some(_)) = (target, range.last) else { return Ok(None) };
        let Some(top) = self.top_n_of(over, range) else { return Ok(None) };
        let node = self.rebuild(child, over, top)?;
        if others.is_empty() {
            return Ok(Some(node));
        }
        self.filter(node, conjunction(others)).map(Some)
    }

    /// The node that numbers the rows, if `column` of `node` is that number unchanged.
    fn numbered(&self, node: NodeId, column: usize) -> Option<NodeId> {
        let n = &self.nodes[node];
        match &n.op {
            StreamOp::Map { exprs, .. } => self.numbered(n.children[0], expr::as_column(&exprs[column])?),
            StreamOp::Over(over) => {
                let alone = over.calls.len() == 1 && over.ranking().is_some();
                (alone && column + 1 == n.schema.fields().len()).then_some(node)
            }
            _ => None,
        }
    }

    fn top_n_of(&mut self, over: NodeId, range: RankRange) -> Option<NodeId> {
        let StreamOp::Over(node) = self.nodes[over].op.clone() else { return None };
        let mut child = self.nodes[over].children[0];
        if let StreamOp::Expire(_) = self.nodes[child].op {
            // The top-n may keep less than the window function.
            child = self.nodes[child].children[0];
        }
        let rank = Arc::clone(&node.calls.first()?.output);
        if *rank.data_type() != DataType::Int64 {
            return None;
        }
        let ranking = node.ranking()?;
        let top = self.top_n_node(child, node.partition, node.order, ranking, range, Some(rank));
        Some(self.add_top_n(child, top))
    }

    /// The maps from `over` up to `node`, over `top` instead.
    fn rebuild(&mut self, node: NodeId, over: NodeId, top: NodeId) -> Result<NodeId> {
        if node == over {
            return Ok(top);
        }
        let n = self.nodes[node].clone();
        let StreamOp::Map { filter, exprs } = n.op else {
            return Err(HwError::internal("a number passed through more than projections"));
        };
        let below = self.rebuild(n.children[0], over, top)?;
        self.map(below, filter, exprs, n.schema)
    }
}

/// What is known of a top-n over rows of which `below` is known.
fn top_n_facts(node: &TopNNode, below: &Facts, append_only: bool) -> Facts {
    let mut columns: Vec<ColumnFact> =
        below.columns.iter().map(|c| settled(c, node.window.is_some())).collect();
    let mut unique_key = below.unique_key.clone();
    let number = node.ranking == Ranking::RowNumber;
    if number && node.range.first == 1 && node.range.last == Some(1) {
        unique_key = Some(node.partition.clone());
    } else if unique_key.is_none() && number && node.rank.is_some() {
        unique_key = Some(node.partition.iter().copied().chain([below.columns.len()]).collect());
    }
    if node.rank.is_some() {
        columns.push(ColumnFact::Plain);
    }
    let state = match (&node.window, node.keep, node.range.last) {
        (Some(_), _, _) => StateBound::Window,
        (None, KeptRows::First, Some(last)) if node.partition.is_empty() && number => StateBound::Rows(last),
        (None, KeptRows::First, _) => StateBound::Unbounded(
            "the first rows of every group are kept, and groups are never dropped".into(),
        ),
        (None, KeptRows::All, _) => StateBound::Unbounded(
            "all rows are kept, because those in range may be deleted or be many".into(),
        ),
    };
    Facts { append_only, unique_key, columns, state }
}

/// A column's fact over rows that may appear, or change, after the watermark has passed them.
pub(super) fn settled(fact: &ColumnFact, windowed: bool) -> ColumnFact {
    match fact {
        ColumnFact::WindowStart { .. } | ColumnFact::WindowEnd { .. } if windowed => fact.clone(),
        ColumnFact::ProcTime => ColumnFact::ProcTime,
        _ => ColumnFact::Plain,
    }
}

/// Takes the number out of top-ns whose number nothing reads.
pub(super) fn drop_unused_ranks(plan: &mut StreamPlan) {
    for id in 0..plan.nodes.len() {
        let width = plan.nodes[id].schema.fields().len();
        let StreamOp::TopN(node) = &plan.nodes[id].op else { continue };
        if node.rank.is_none() || id == plan.root {
            continue;
        }
        let reads = |n: &StreamNode| match &n.op {
            StreamOp::Map { filter, exprs } => {
                filter.iter().chain(exprs).any(|e| expr::columns_of(e).contains(&(width - 1)))
            }
            _ => true,
        };
        if plan.nodes.iter().filter(|n| n.children.contains(&id)).any(reads) {
            continue;
        }
        let child = plan.nodes[id].children[0];
        let schema = Arc::clone(&plan.nodes[child].schema);
        let below = plan.nodes[child].facts.clone();
        let top = &mut plan.nodes[id];
        if let StreamOp::TopN(node) = &mut top.op {
            node.rank = None;
            top.facts = top_n_facts(node, &below, top.facts.append_only);
            top.schema = schema;
        }
    }
}

/// Rows to skip and to take.
fn bounds(limit: &Limit) -> Result<(u64, Option<u64>)> {
    let internal = |e: datafusion::error::DataFusionError| HwError::internal(e.to_string());
    let skip = limit.get_skip_type().map_err(internal)?;
    let fetch = limit.get_fetch_type().map_err(internal)?;
    match (skip, fetch) {
        (SkipType::Literal(skip), FetchType::Literal(fetch)) => Ok((skip as u64, fetch.map(|n| n as u64))),
        _ => Err(refuse("LIMIT or OFFSET with an expression", "Write a number.")),
    }
}

/// Whether a plan's rows are in an order that LIMIT has to follow.
fn is_ordered(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(p) => is_ordered(&p.input),
        LogicalPlan::SubqueryAlias(a) => is_ordered(&a.input),
        LogicalPlan::Sort(_) | LogicalPlan::Limit(_) => true,
        _ => false,
    }
}

/// `column <= 3` and the like: the column and the numbers that pass.
fn number_range(e: &PExpr) -> Option<(usize, RankRange)> {
    let binary = e.downcast_ref::<BinaryExpr>()?;
    let (column, value, op) = match (expr::as_column(binary.left()), number(binary.right())) {
        (Some(column), Some(value)) => (column, value, *binary.op()),
        _ => {
            let column = expr::as_column(binary.right())?;
            (column, number(binary.left())?, binary.op().swap()?)
        }
    };
    let above = |n: i64| u64::try_from(n).unwrap_or(0);
    let (first, last) = match op {
        Operator::Lt => (1, Some(above(value.saturating_sub(1)))),
        Operator::LtEq => (1, Some(above(value))),
        Operator::Gt => (above(value.saturating_add(1)), None),
        Operator::GtEq => (above(value), None),
        Operator::Eq if value >= 1 => (above(value), Some(above(value))),
        _ => return None,
    };
    Some((column, RankRange { first: first.max(1), last }))
}

fn number(e: &PExpr) -> Option<i64> {
    match e.downcast_ref::<Literal>()?.value() {
        ScalarValue::Int64(v) => *v,
        ScalarValue::Int32(v) => v.map(i64::from),
        ScalarValue::Int16(v) => v.map(i64::from),
        _ => None,
    }
}
