//! Lowering of GROUP BY.
//!
//! Group expressions, arguments and FILTER conditions become columns of one map below the
//! aggregate. If that map stands directly on a window assignment and uses the window's
//! bounds only as group columns, the assignment moves into the aggregate (`Fused`): rows are
//! aggregated once per slice and slices are shared by overlapping windows, instead of
//! repeating every row `size / slide` times (Li et al., "No pane, no gain", SIGMOD 2005).

use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef, Schema};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Aggregate, Expr};

use super::aggregate_call::Site;
use super::expr::{self, PExpr};
use super::lower::{Lowering, refuse};
use super::session::{GroupColumn, group_columns};
use super::*;
use crate::error::{HwError, Result};

/// The map below an aggregate, while it is put together.
pub(super) struct Prepared {
    pub exprs: Vec<PExpr>,
    pub fields: Vec<FieldRef>,
}

impl Prepared {
    /// Index of `e` among the prepared columns; an equal expression is there once.
    pub fn add(&mut self, e: PExpr, name: String, input: &Schema) -> Result<usize> {
        if let Some(same) = self.exprs.iter().position(|x| x.eq(&e)) {
            return Ok(same);
        }
        let field = match expr::as_column(&e) {
            Some(c) => Arc::new(input.field(c).clone().with_name(name)),
            None => {
                let data_type = e.data_type(input).map_err(|e| HwError::internal(e.to_string()))?;
                Arc::new(Field::new(name, data_type, true))
            }
        };
        self.exprs.push(e);
        self.fields.push(field);
        Ok(self.exprs.len() - 1)
    }
}

/// What an aggregate makes besides its keys.
pub(super) struct Results {
    pub calls: Vec<AggregateCall>,
    /// Of the calls, then of the pane columns if there are.
    pub fields: Vec<FieldRef>,
    /// For each result of the logical aggregate, its place among `fields`.
    pub places: Vec<usize>,
    /// Columns below that make a row of the late relation.
    pub late: Vec<usize>,
    /// Names and types of these, as the window function reads them.
    pub row: Vec<FieldRef>,
}

impl Results {
    /// The same over other columns below.
    pub fn moved(&self, place: &dyn Fn(usize) -> Option<usize>) -> Results {
        Results {
            calls: self.calls.iter().map(|c| c.moved(place)).collect(),
            fields: self.fields.clone(),
            places: self.places.clone(),
            late: self.late.iter().filter_map(|k| place(*k)).collect(),
            row: self.row.clone(),
        }
    }
}

/// The pane column that an expression of the SELECT list names.
fn named_pane(e: &Expr) -> Option<usize> {
    match e {
        Expr::Alias(a) => named_pane(&a.expr),
        Expr::AggregateFunction(f) => super::panes::marked(f.func.name()),
        _ => None,
    }
}

impl Lowering<'_> {
    pub fn aggregate(&mut self, aggregate: &Aggregate) -> Result<NodeId> {
        if let [Expr::GroupingSet(sets)] = aggregate.group_expr.as_slice() {
            // Their rows come from several aggregates, none of which is the view's own.
            let below = self.options.below();
            let options = std::mem::replace(&mut self.options, below);
            let node = self.grouping_sets(aggregate, sets);
            self.options = options;
            return node;
        }
        let below = self.options.below();
        let options = std::mem::replace(&mut self.options, below);
        let child = self.plan(&aggregate.input);
        self.options = options;
        let (child, late) = self.late_row(child?)?;
        let input = aggregate.input.schema();
        let input_arrow = Arc::clone(&self.nodes[child].schema);
        let output = aggregate.schema.as_arrow();
        let mut prepared = Prepared { exprs: Vec::new(), fields: Vec::new() };

        let mut group = Vec::new();
        for (i, e) in aggregate.group_expr.iter().enumerate() {
            let compiled = self.compile(e, input)?;
            group.push(prepared.add(compiled, output.field(i).name().clone(), &input_arrow)?);
        }
        let mut calls = Vec::new();
        let mut named = Vec::new();
        for (i, e) in aggregate.aggr_expr.iter().enumerate() {
            let pane = named_pane(e);
            named.push(pane);
            if pane.is_none() {
                let field = Arc::clone(&output.fields()[group.len() + i]);
                let mut site = Site { input, arrow: &input_arrow, prepared: &mut prepared };
                calls.push(self.call(e, field, &mut site)?);
            }
        }
        let mut results = self.results(&calls, &named)?;
        for (column, field) in &late {
            results.late.push(prepared.add(expr::column(*column), field.name().clone(), &input_arrow)?);
            results.row.push(Arc::clone(field));
        }
        // Group columns are distinct columns in the operator; `group` maps them back.
        let mut keys = group.clone();
        keys.sort_unstable();
        keys.dedup();
        self.windowed_or_plain(child, prepared, keys, &group, results, output)
    }

    /// The columns that the aggregate makes besides its keys.
    fn results(&self, calls: &[AggregateCall], named: &[Option<usize>]) -> Result<Results> {
        let with_panes = self.options.emit.with_pane_columns;
        if !with_panes && named.iter().any(Option::is_some) {
            return Err(refuse(
                "a pane column of an aggregation inside another query",
                "Name pane columns in the outermost SELECT with GROUP BY; its panes are those of the view.",
            ));
        }
        let mut fields: Vec<FieldRef> = calls.iter().map(|c| Arc::clone(&c.output)).collect();
        if with_panes {
            fields.extend(super::panes::pane_fields());
        }
        let mut call = 0..;
        let place = |pane: &Option<usize>| match pane {
            Some(pane) => calls.len() + pane,
            None => call.next().unwrap_or(0),
        };
        Ok(Results {
            calls: calls.to_vec(),
            fields,
            places: named.iter().map(place).collect(),
            late: Vec::new(),
            row: Vec::new(),
        })
    }

    fn windowed_or_plain(
        &mut self,
        child: NodeId,
        prepared: Prepared,
        keys: Vec<usize>,
        group: &[usize],
        results: Results,
        output: &Schema,
    ) -> Result<NodeId> {
        let schema = Arc::new(Schema::new(prepared.fields));
        let map = self.map(child, None, prepared.exprs, schema)?;
        if let Some(node) = self.fuse(map, &keys, group, &results, output)? {
            return Ok(node);
        }
        if let Some(node) = self.fuse_session(map, &keys, group, &results, output)? {
            return Ok(node);
        }
        let (map, keys, window) = self.keyed_window(map, keys)?;
        self.check_session_panes(window.as_ref())?;
        if self.is_distinct_already(map, &keys, &results, window.as_ref()) {
            return self.arrange(map, group.to_vec(), 0, &[], output);
        }
        let (map, ttl_us) = self.aggregate_ttl(map, &keys, &results.calls, window.as_ref());
        let map_schema = Arc::clone(&self.nodes[map].schema);
        let mut fields: Vec<FieldRef> = keys.iter().map(|k| Arc::clone(&map_schema.fields()[*k])).collect();
        let mut columns: Vec<ColumnFact> =
            keys.iter().map(|k| self.nodes[map].facts.columns[*k].clone()).collect();
        fields.extend(results.fields.iter().cloned());
        columns.extend(results.fields.iter().map(|_| ColumnFact::Plain));
        let positions: Vec<usize> =
            group.iter().map(|g| keys.iter().position(|k| k == g).unwrap_or(0)).collect();
        let Results { calls, places, late, row, .. } = results;
        let mut facts = self.aggregate_facts(keys.len(), calls.len(), columns, window.as_ref());
        if window.is_none() && self.are_literals(map, &keys) {
            facts.state = StateBound::None;
        }
        self.bound_groups(map, &calls, ttl_us, &mut facts);
        let emit = self.options.emit.clone();
        let node = AggregateNode { group: keys.clone(), calls, window, emit, late, ttl_us };
        let node = self.add(StreamOp::Aggregate(node), vec![map], Arc::new(Schema::new(fields)), facts);
        self.note_late(node, &row);
        self.arrange(node, positions, keys.len(), &places, output)
    }

    pub(super) fn aggregate_facts(
        &self,
        keys: usize,
        calls: usize,
        columns: Vec<ColumnFact>,
        window: Option<&AggregateWindow>,
    ) -> Facts {
        let closes = window.is_some_and(|w| *w.time() != WindowTime::Unbounded);
        let state = if closes {
            StateBound::Window
        } else if keys == 0 {
            StateBound::None
        } else {
            StateBound::Unbounded("one entry per group, and groups are never dropped".into())
        };
        Facts {
            append_only: (closes || self.options.emit.keeps_every_pane())
                && self.options.emit.is_append_only(),
            unique_key: super::panes::pane_key(&self.options.emit, keys, calls),
            columns,
            state,
        }
    }

    /// Puts the operator's columns into the order of the logical aggregate.
    fn arrange(
        &mut self,
        node: NodeId,
        group: Vec<usize>,
        keys: usize,
        places: &[usize],
        output: &Schema,
    ) -> Result<NodeId> {
        let exprs = group.into_iter().chain(places.iter().map(|p| keys + p)).map(expr::column).collect();
        self.map(node, None, exprs, Arc::new(output.clone()))
    }

    /// Finds a window bound among the group columns. A `window_start` alone gets its end as
    /// an additional key, so that the operator always knows when the window closes.
    fn keyed_window(
        &mut self,
        map: NodeId,
        mut keys: Vec<usize>,
    ) -> Result<(NodeId, Vec<usize>, Option<AggregateWindow>)> {
        let facts = &self.nodes[map].facts.columns;
        let end = keys.iter().position(|k| matches!(facts[*k], ColumnFact::WindowEnd { .. }));
        if let Some(end) = end {
            let ColumnFact::WindowEnd { time } = facts[keys[end]].clone() else {
                return Err(HwError::internal("window end lost its facts"));
            };
            let is_start = |k: &usize| matches!(facts[*k], ColumnFact::WindowStart { .. });
            let start = keys.iter().position(is_start);
            let judged = self.is_judged(map);
            return Ok((map, keys, Some(AggregateWindow::Keyed { end, start, time, judged })));
        }
        let start = keys.iter().enumerate().find_map(|(i, k)| match &facts[*k] {
            ColumnFact::WindowStart { time, size_us: Some(size_us) } => Some((i, *k, time.clone(), *size_us)),
            _ => None,
        });
        let Some((at, start, time, size_us)) = start else { return Ok((map, keys, None)) };
        let schema = Arc::clone(&self.nodes[map].schema);
        let width = schema.fields().len();
        let mut exprs: Vec<PExpr> = (0..width).map(expr::column).collect();
        exprs.push(plus_micros(start, size_us, &schema)?);
        let mut fields: Vec<FieldRef> = schema.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new("window_end", schema.field(start).data_type().clone(), true)));
        let map = self.map(map, None, exprs, Arc::new(Schema::new(fields)))?;
        self.nodes[map].facts.columns[width] = ColumnFact::WindowEnd { time: time.clone() };
        keys.push(width);
        let end = keys.len() - 1;
        let window = AggregateWindow::Keyed { end, start: Some(at), time, judged: false };
        Ok((map, keys, Some(window)))
    }

    /// Moves a window assignment directly below into the aggregate, if its columns are used
    /// only as group columns. `None` if the shape does not fit.
    fn fuse(
        &mut self,
        map: NodeId,
        keys: &[usize],
        group: &[usize],
        results: &Results,
        output: &Schema,
    ) -> Result<Option<NodeId>> {
        let calls = &results.calls;
        let StreamOp::Map { filter, exprs } = self.nodes[map].op.clone() else { return Ok(None) };
        let assign_id = self.nodes[map].children[0];
        let StreamOp::WindowAssign(assign) = self.nodes[assign_id].op.clone() else { return Ok(None) };
        if assign.time == WindowTime::Unbounded || !assign.windows.end_is_unique() {
            return Ok(None);
        }
        let below = self.nodes[assign_id].children[0];
        let width = self.nodes[below].schema.fields().len();
        let bound = |k: usize| expr::as_column(&exprs[k]).and_then(|c| c.checked_sub(width));
        let is_bound = |k: usize| bound(k).is_some();
        let bounds: Vec<usize> = keys.iter().copied().filter(|k| is_bound(*k)).collect();
        let others: Vec<usize> = (0..exprs.len()).filter(|k| !bounds.contains(k)).collect();
        let reads_window = |e: &PExpr| expr::columns_of(e).iter().any(|c| *c >= width);
        // The start stands for the window only if windows do not share it.
        let is_end = |k: &usize| bound(*k) > Some(0);
        let whole = assign.windows.fixed_size_us().is_some() || bounds.iter().any(is_end);
        if bounds.is_empty()
            || !whole
            || filter.iter().any(&reads_window)
            || others.iter().any(|k| reads_window(&exprs[*k]))
            || calls.iter().any(|c| c.columns().any(&is_bound))
        {
            return Ok(None);
        }
        let schema = Arc::clone(&self.nodes[map].schema);
        let mut inner: Vec<PExpr> = others.iter().map(|k| Arc::clone(&exprs[*k])).collect();
        let mut fields: Vec<FieldRef> = others.iter().map(|k| Arc::clone(&schema.fields()[*k])).collect();
        let place = |k: usize| others.iter().position(|o| *o == k);
        // The time column goes last; processing time needs none.
        let time_column = inner.len();
        if assign.time != WindowTime::Processing {
            inner.push(expr::column(assign.time_column));
            fields.push(Arc::clone(&self.nodes[below].schema.fields()[assign.time_column]));
        }
        let window_fields: Vec<FieldRef> = self.nodes[assign_id].schema.fields()[width..width + 2].to_vec();
        let map = self.map(below, filter, inner, Arc::new(Schema::new(fields)))?;

        let keep: Vec<usize> = keys.iter().copied().filter(|k| !bounds.contains(k)).collect();
        let positions = group_columns(group, &keep, bound);
        let group_columns: Vec<usize> = keep.iter().filter_map(|k| place(*k)).collect();
        let assign = WindowAssign { time_column, ..assign };
        let moved = results.moved(&place);
        self.sliced(map, group_columns, assign, window_fields, moved, positions, output).map(Some)
    }

    /// The aggregate that assigns windows itself, its columns in the order of `positions`.
    #[expect(clippy::too_many_arguments, reason = "the parts of one node, each used once")]
    fn sliced(
        &mut self,
        map: NodeId,
        group: Vec<usize>,
        assign: WindowAssign,
        window_fields: Vec<FieldRef>,
        results: Results,
        positions: Vec<GroupColumn>,
        output: &Schema,
    ) -> Result<NodeId> {
        let below = &self.nodes[map];
        let mut fields: Vec<FieldRef> =
            group.iter().map(|k| Arc::clone(&below.schema.fields()[*k])).collect();
        let mut columns: Vec<ColumnFact> = group.iter().map(|k| below.facts.columns[*k].clone()).collect();
        fields.extend(window_fields);
        let size_us = assign.windows.fixed_size_us();
        columns.push(ColumnFact::WindowStart { time: assign.time.clone(), size_us });
        columns.push(ColumnFact::WindowEnd { time: assign.time.clone() });
        fields.extend(results.fields.iter().cloned());
        columns.extend(results.fields.iter().map(|_| ColumnFact::Plain));
        let Results { calls, places, late, row, .. } = results;
        let keys = group.len() + 2;
        let window = Some(AggregateWindow::Fused(assign));
        let facts = self.aggregate_facts(keys, calls.len(), columns, window.as_ref());
        let emit = self.options.emit.clone();
        let node = AggregateNode { group, calls, window, emit, late, ttl_us: None };
        let node = self.add(StreamOp::Aggregate(node), vec![map], Arc::new(Schema::new(fields)), facts);
        self.note_late(node, &row);
        self.arrange_windowed(node, &positions, keys - 2, &places, output)
    }
}

/// `column + size_us`, as a timestamp of the column's type.
pub(super) fn plus_micros(column: usize, size_us: i64, schema: &Schema) -> Result<PExpr> {
    use datafusion::logical_expr::Operator;
    let interval = ScalarValue::new_interval_mdn(0, 0, size_us.saturating_mul(1000));
    datafusion::physical_expr::expressions::binary(
        expr::column(column),
        Operator::Plus,
        datafusion::physical_expr::expressions::lit(interval),
        schema,
    )
    .map_err(|e| HwError::internal(e.to_string()))
}
