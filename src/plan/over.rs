//! Lowering of window functions (`OVER`).
//!
//! Arguments, PARTITION BY and ORDER BY that are not plain columns become columns of a map
//! below. Calls with the same partition, order and reach share one operator, which appends
//! their values to its input's columns; a map above puts them into the query's order.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::SortOptions;
use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::{NullTreatment, WindowFunction};
use datafusion::logical_expr::{Expr, SortExpr, Window, WindowFrame, WindowFunctionDefinition};
use datafusion::physical_expr::PhysicalSortExpr;
use datafusion::physical_expr::window::WindowExpr;
use datafusion::physical_plan::windows::create_window_expr;

use super::expr::{self, PExpr};
use super::lower::{Lowering, is_proctime, refuse};
use super::reach::{Reach, reach};
use super::top_n::settled;
use super::*;
use crate::error::{HwError, Result};

/// Window functions over the same partitions in the same order.
#[derive(Clone, Debug, PartialEq)]
pub struct OverNode {
    pub partition: Vec<usize>,
    pub order: Vec<SortKey>,
    pub calls: Vec<OverCall>,
    /// Which rows a change can touch.
    pub reach: Reach,
    /// Set if rows come in event time, so that those behind the watermark are final.
    pub time: Option<RowTime>,
    pub window: Option<GroupWindow>,
    /// Whether rows appear once, when they are final.
    pub on_close: bool,
}

/// The event time that rows are ordered by, the first column of the order, ascending.
#[derive(Clone, Debug, PartialEq)]
pub struct RowTime {
    /// Its watermark …
    pub clock: Clock,
    /// … less the allowed lateness.
    pub lateness_us: i64,
}

/// One call of a window function. Arguments are columns or constants.
#[derive(Clone, Debug, PartialEq)]
pub struct OverCall {
    pub function: WindowFunctionDefinition,
    pub args: Vec<PExpr>,
    pub frame: WindowFrame,
    pub ignore_nulls: bool,
    pub distinct: bool,
    pub filter: Option<usize>,
    pub output: FieldRef,
}

impl OverCall {
    /// Over all rows of the frame, NULLs too.
    pub fn new(
        function: WindowFunctionDefinition,
        args: Vec<PExpr>,
        frame: WindowFrame,
        output: FieldRef,
    ) -> OverCall {
        OverCall { function, args, frame, ignore_nulls: false, distinct: false, filter: None, output }
    }
}

impl OverNode {
    /// The ranking that the only call computes.
    pub fn ranking(&self) -> Option<Ranking> {
        match self.calls.as_slice() {
            [call] => Ranking::of_function(call.function.name()),
            _ => None,
        }
    }

    /// DataFusion's evaluators of the calls, over all rows of one partition in order.
    pub fn window_exprs(&self, schema: &SchemaRef) -> Result<Vec<Arc<dyn WindowExpr>>> {
        let order: Vec<PhysicalSortExpr> = (self.order.iter())
            .map(|k| PhysicalSortExpr {
                expr: expr::column(k.column),
                options: SortOptions { descending: k.descending, nulls_first: k.nulls_first },
            })
            .collect();
        let make = |call: &OverCall| {
            create_window_expr(
                &call.function,
                call.output.name().clone(),
                &call.args,
                &[],
                &order,
                Arc::new(call.frame.clone()),
                Arc::clone(schema),
                call.ignore_nulls,
                call.distinct,
                call.filter.map(expr::column),
            )
            .map_err(|e| refuse_call(call, &e))
        };
        self.calls.iter().map(make).collect()
    }
}

/// A node's columns and the expressions over them that an operator above needs as columns.
pub(super) struct Extended {
    exprs: Vec<PExpr>,
    fields: Vec<FieldRef>,
    below: SchemaRef,
    child: NodeId,
}

impl Extended {
    pub fn new(lowering: &Lowering, child: NodeId) -> Extended {
        let below = Arc::clone(&lowering.nodes[child].schema);
        let exprs = (0..below.fields().len()).map(expr::column).collect();
        Extended { exprs, fields: below.fields().iter().cloned().collect(), below, child }
    }

    /// The column that holds `e`.
    pub fn add(&mut self, e: PExpr) -> Result<usize> {
        if let Some(known) = self.exprs.iter().position(|x| x.eq(&e)) {
            return Ok(known);
        }
        let data_type = e.data_type(&self.below).map_err(|e| HwError::internal(e.to_string()))?;
        self.fields.push(Arc::new(Field::new(format!("over{}", self.exprs.len()), data_type, true)));
        self.exprs.push(e);
        Ok(self.exprs.len() - 1)
    }

    pub fn sort_keys(
        &mut self,
        lowering: &Lowering,
        order: &[SortExpr],
        schema: &DFSchema,
    ) -> Result<Vec<SortKey>> {
        let mut keys: Vec<SortKey> = Vec::new();
        for s in order {
            let compiled = lowering.compile(&s.expr, schema)?;
            if expr::is_literal(&compiled) {
                continue;
            }
            let arrival = |c: usize| lowering.nodes[self.child].facts.columns[c] == ColumnFact::ProcTime;
            if is_proctime(&s.expr) || expr::as_column(&compiled).is_some_and(arrival) {
                return Err(refuse(
                    "ORDER BY proctime()",
                    "Order by a column of the rows, such as their event time.",
                ));
            }
            let column = self.add(compiled)?;
            if keys.iter().all(|k| k.column != column) {
                keys.push(SortKey { column, descending: !s.asc, nulls_first: s.nulls_first });
            }
        }
        Ok(keys)
    }

    /// The map that computes the columns, and the number of the node's own columns. Rows
    /// have at least one column, so that they can be counted.
    pub fn finish(mut self, lowering: &mut Lowering) -> Result<(NodeId, usize)> {
        let width = self.below.fields().len();
        if self.exprs.is_empty() {
            self.add(datafusion::physical_expr::expressions::lit(true))?;
        }
        if self.exprs.len() == width {
            return Ok((self.child, width));
        }
        let node = lowering.map(self.child, None, self.exprs, Arc::new(Schema::new(self.fields)))?;
        Ok((node, width))
    }
}

/// A call with what it is over.
struct Placed {
    partition: Vec<usize>,
    order: Vec<SortKey>,
    call: OverCall,
}

impl Lowering<'_> {
    pub(super) fn over(&mut self, window: &Window) -> Result<NodeId> {
        let child = self.plan(&window.input)?;
        let input = window.input.schema();
        let mut extended = Extended::new(self, child);
        let output = window.schema.as_arrow();
        let mut calls = Vec::new();
        for (i, e) in window.window_expr.iter().enumerate() {
            let field = Arc::clone(&output.fields()[input.fields().len() + i]);
            calls.push(self.over_call(e, input, field, &mut extended)?);
        }
        let (mut node, width) = extended.finish(self)?;
        let schema = Arc::clone(&self.nodes[node].schema);
        let reaches: Vec<Reach> = calls.iter().map(|c| reach(&c.call, &c.order, &schema)).collect();
        let mut columns = vec![0; calls.len()];
        let mut left: Vec<usize> = (0..calls.len()).collect();
        // In event time, those first whose results still come in it.
        let timed = |i: usize| {
            let first = calls[i].order.first().map(|key| &self.nodes[node].facts.columns[key.column]);
            matches!(first, Some(ColumnFact::EventTime { .. }))
        };
        left.sort_by_key(|i| timed(*i) && reaches[*i].behind_us().is_none());
        while let Some(first) = left.first().copied() {
            let alike = |i: &usize| {
                calls[*i].partition == calls[first].partition
                    && calls[*i].order == calls[first].order
                    && reaches[*i].same_kind(&reaches[first])
            };
            let (these, others): (Vec<usize>, Vec<usize>) = left.iter().partition(|i| alike(i));
            let start = self.nodes[node].schema.fields().len();
            these.iter().enumerate().for_each(|(place, i)| columns[*i] = start + place);
            let reach = these.iter().fold(reaches[first], |all, i| all.widest(&reaches[*i]));
            let same: Vec<OverCall> = these.iter().map(|i| calls[*i].call.clone()).collect();
            node = self.over_node(node, &calls[first], same, reach)?;
            left = others;
        }
        let exprs = (0..width).chain(columns).map(expr::column).collect();
        self.map(node, None, exprs, Arc::new(output.clone()))
    }

    fn over_call(
        &self,
        e: &Expr,
        input: &DFSchema,
        output: FieldRef,
        extended: &mut Extended,
    ) -> Result<Placed> {
        let f = match e {
            Expr::Alias(a) => return self.over_call(&a.expr, input, output, extended),
            Expr::WindowFunction(f) => f,
            other => return Err(refuse(&format!("the window function {other}"), "")),
        };
        let WindowFunction { fun, params } = f.as_ref();
        let mut args = Vec::new();
        for arg in &params.args {
            let compiled = self.compile(arg, input)?;
            args.push(match expr::is_literal(&compiled) {
                true => compiled,
                false => expr::column(extended.add(compiled)?),
            });
        }
        let mut partition = Vec::new();
        for e in &params.partition_by {
            let compiled = self.compile(e, input)?;
            if !expr::is_literal(&compiled) {
                partition.push(extended.add(compiled)?);
            }
        }
        partition.sort_unstable();
        partition.dedup();
        let order = extended.sort_keys(self, &params.order_by, input)?;
        let filter = match &params.filter {
            Some(condition) => Some(extended.add(self.compile(condition, input)?)?),
            None => None,
        };
        let call = OverCall {
            ignore_nulls: params.null_treatment == Some(NullTreatment::IgnoreNulls),
            distinct: params.distinct,
            filter,
            ..OverCall::new(fun.clone(), args, params.window_frame.clone(), output)
        };
        Ok(Placed { partition, order, call })
    }

    /// The event time by which rows are final, if they come and are ordered by one.
    fn row_time(&self, child: NodeId, placed: &Placed, reach: &Reach, windowed: bool) -> Option<RowTime> {
        let below = &self.nodes[child].facts;
        let key = placed.order.first().filter(|key| !windowed && !key.descending)?;
        match &below.columns[key.column] {
            ColumnFact::EventTime { clock } if reach.is_local() && self.changes_on_time(child) => {
                Some(RowTime { clock: clock.clone(), lateness_us: self.options.emit.lateness_us })
            }
            _ => None,
        }
    }

    /// Whether all changes of a node are of rows that the watermark has not passed: rows that
    /// only come, or their values of window functions in event time.
    fn changes_on_time(&self, node: NodeId) -> bool {
        let n = &self.nodes[node];
        match &n.op {
            _ if n.facts.append_only => true,
            StreamOp::Map { .. } => self.changes_on_time(n.children[0]),
            StreamOp::Over(over) => over.time.is_some(),
            _ => false,
        }
    }

    fn over_node(
        &mut self,
        child: NodeId,
        placed: &Placed,
        calls: Vec<OverCall>,
        reach: Reach,
    ) -> Result<NodeId> {
        let mut child = child;
        let window = placed.partition.iter().find_map(|c| self.group_window(child, *c));
        let time = self.row_time(child, placed, &reach, window.is_some());
        if window.is_none() && time.is_none() {
            child = self.expiring(child, &placed.partition, &placed.partition);
        }
        let below = &self.nodes[child];
        let on_close = self.options.emit.policy == EmitPolicy::Final
            && (time.is_some() || window.as_ref().is_some_and(|w| w.refuse_late));
        let node = OverNode {
            partition: placed.partition.clone(),
            order: placed.order.clone(),
            calls,
            reach,
            time,
            window,
            on_close,
        };
        check(&node, &below.schema)?;
        let append_only = self.closes_once(node.window.as_ref(), node.on_close, below.facts.append_only);
        let facts = over_facts(&node, &below.facts, append_only);
        let fields = below.schema.fields().iter().chain(node.calls.iter().map(|c| &c.output));
        let schema = Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()));
        Ok(self.add(StreamOp::Over(node), vec![child], schema, facts))
    }
}

/// Tries the calls on rows of NULLs: what DataFusion has no evaluator for is refused.
fn check(node: &OverNode, schema: &SchemaRef) -> Result<()> {
    const ROWS: usize = 2;
    let fields: Vec<Field> = schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let columns = schema.fields().iter().map(|f| arrow::array::new_null_array(f.data_type(), ROWS)).collect();
    let rows = RecordBatch::try_new(Arc::clone(&schema), columns)?;
    let evaluators = node.window_exprs(&schema)?;
    let failed = (node.calls.iter().zip(evaluators))
        .find_map(|(call, evaluator)| Some((call, evaluator.evaluate(&rows).err()?)));
    match failed {
        None => Ok(()),
        Some((call, e)) => Err(refuse_call(call, &e)),
    }
}

fn refuse_call(call: &OverCall, why: &DataFusionError) -> HwError {
    let hint = "A frame that starts with UNBOUNDED PRECEDING, or GROUP BY, may serve instead.";
    let what = format!("{} over this frame", call.function.name());
    refuse(&what, hint).with_detail(sentence(&why.strip_backtrace()))
}

fn sentence(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default().trim_end_matches('.');
    format!("{first}.")
}

fn over_facts(node: &OverNode, below: &Facts, append_only: bool) -> Facts {
    // A row can change the values of rows before it.
    let behind_us = node.time.as_ref().and_then(|_| node.reach.behind_us());
    let fact = |(i, c): (usize, &ColumnFact)| match (c, behind_us) {
        (ColumnFact::EventTime { .. }, Some(us)) if i == node.order[0].column => {
            c.following(|w| w.behind(us))
        }
        (c, _) => settled(c, node.window.is_some()),
    };
    let mut columns: Vec<ColumnFact> = below.columns.iter().enumerate().map(fact).collect();
    let width = columns.len();
    columns.extend(node.calls.iter().map(|_| ColumnFact::Plain));
    let numbered = node.calls.iter().position(|c| c.function.name() == Ranking::RowNumber.function());
    let unique_key = below.unique_key.clone().or_else(|| {
        let number = width + numbered?;
        Some(node.partition.iter().copied().chain([number]).collect())
    });
    let state = match (&node.window, &node.time) {
        (Some(_), _) => StateBound::Window,
        (None, Some(_)) => StateBound::Watermark(node.reach.kept()),
        (None, None) => StateBound::Unbounded("window functions keep all rows of their partitions".into()),
    };
    Facts { append_only, unique_key, columns, state }
}
