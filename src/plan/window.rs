//! Lowering of window table functions.
//!
//! TUMBLE, HOP and CUMULATE append window columns row by row; WINDOWS copies them from
//! columns of the row; SESSION keeps rows, because a later row can change their window. What
//! the planner learns is the clock that closes the windows, and their size where it is fixed.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, UserDefinedLogicalNodeCore};

use super::expr;
use super::lower::{Lowering, is_proctime};
use super::*;
use crate::error::{HwError, Result};
use crate::types::window::Shape;

impl Lowering<'_> {
    pub(super) fn window(&mut self, window: &WindowNode) -> Result<NodeId> {
        let child = self.plan(&window.input)?;
        let input = window.input.schema();
        let (time_column, time) = self.window_time(child, &window.time, input)?;
        let keys = self.window_keys(child, window)?;
        let schema = self.with_window_columns(child, window);
        match &window.windowing {
            Windowing::Fixed(windows) => {
                let facts = self.assigned_facts(child, &time, Some(windows));
                let assign = WindowAssign { time_column, time, windows: *windows };
                Ok(self.add(StreamOp::WindowAssign(assign), vec![child], schema, facts))
            }
            Windowing::Session { gap_us } => {
                let mut facts = self.assigned_facts(child, &time, None);
                facts.append_only = false;
                facts.state = match time {
                    WindowTime::Unbounded => StateBound::Unbounded(
                        "sessions keep their rows, and a time without watermark never closes them".into(),
                    ),
                    _ => StateBound::Window,
                };
                let lateness_us = self.options.emit.lateness_us;
                let assign = SessionAssign { time_column, time, gap_us: *gap_us, keys, lateness_us };
                Ok(self.add(StreamOp::SessionAssign(assign), vec![child], schema, facts))
            }
            Windowing::Columns => {
                let Some(end) = keys.first().copied() else {
                    return Err(HwError::internal("WINDOWS lost its end"));
                };
                let time = match (time, &self.nodes[child].facts.columns[end]) {
                    (WindowTime::Unbounded, ColumnFact::EventTime { clock }) => {
                        WindowTime::Event { clock: clock.clone() }
                    }
                    (WindowTime::Processing, _) => {
                        return Err(HwError::unsupported(
                            "proctime() as a bound of WINDOWS",
                            "Use TUMBLE, HOP, CUMULATE or SESSION over proctime().",
                        ));
                    }
                    (time, _) => time,
                };
                let facts = self.assigned_facts(child, &time, None);
                let op = StreamOp::WindowColumns { start: time_column, end };
                Ok(self.add(op, vec![child], schema, facts))
            }
        }
    }

    /// Facts of the child's rows with window columns after them.
    fn assigned_facts(&self, child: NodeId, time: &WindowTime, windows: Option<&Windows>) -> Facts {
        let below = &self.nodes[child];
        let width = below.schema.fields().len();
        let mut columns = below.facts.columns.clone();
        let size_us = windows.and_then(Windows::fixed_size_us);
        columns.push(ColumnFact::WindowStart { time: time.clone(), size_us });
        columns.push(ColumnFact::WindowEnd { time: time.clone() });
        columns.push(match time {
            WindowTime::Event { clock } => ColumnFact::EventTime { clock: clock.clone() },
            _ => ColumnFact::Plain,
        });
        let mut unique_key = below.facts.unique_key.clone();
        if let Some(key) = &mut unique_key {
            match windows.map(Windows::shape) {
                Some(Shape::Hop) => key.push(width),
                Some(Shape::Cumulate) => key.push(width + 1),
                _ => {}
            }
        }
        Facts { append_only: below.facts.append_only, unique_key, columns, state: StateBound::None }
    }

    fn with_window_columns(&self, child: NodeId, window: &WindowNode) -> SchemaRef {
        let mut fields: Vec<Arc<Field>> = self.nodes[child].schema.fields().iter().cloned().collect();
        let whole = UserDefinedLogicalNodeCore::schema(window).as_arrow().fields();
        fields.extend(whole[whole.len() - WINDOW_COLUMNS.len()..].iter().cloned());
        Arc::new(Schema::new(fields))
    }

    fn window_time(&self, child: NodeId, time: &Expr, input: &DFSchema) -> Result<(usize, WindowTime)> {
        if is_proctime(time) {
            return Ok((0, WindowTime::Processing));
        }
        let compiled = self.compile(time, input)?;
        let Some(column) = expr::as_column(&compiled) else {
            return Err(HwError::unsupported(
                "a window over an expression",
                "Name the expression as a column in a sub-query, or make it a generated column of the source.",
            ));
        };
        let time = match &self.nodes[child].facts.columns[column] {
            ColumnFact::EventTime { clock } => WindowTime::Event { clock: clock.clone() },
            ColumnFact::ProcTime => WindowTime::Processing,
            _ => WindowTime::Unbounded,
        };
        Ok((column, time))
    }

    /// Whether the rows of a node come from sessions, which have judged them.
    pub(super) fn is_judged(&self, node: NodeId) -> bool {
        match &self.nodes[node].op {
            StreamOp::SessionAssign(_) => true,
            StreamOp::Map { .. } => self.is_judged(self.nodes[node].children[0]),
            _ => false,
        }
    }

    /// The columns that partition sessions, each once; the end of WINDOWS.
    fn window_keys(&self, child: NodeId, window: &WindowNode) -> Result<Vec<usize>> {
        debug_assert_eq!(self.nodes[child].facts.columns.len(), window.input.schema().fields().len());
        let column = |key: &Expr| {
            let compiled = self.compile(key, window.input.schema())?;
            expr::as_column(&compiled).ok_or_else(|| HwError::internal("a window key is not a column"))
        };
        let mut keys = window.keys.iter().map(column).collect::<Result<Vec<usize>>>()?;
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }
}
