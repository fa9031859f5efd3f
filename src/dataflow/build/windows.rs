//! Operators of window table functions, made from their plan nodes.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::{Sides, window_time};
use crate::dataflow::operator::Operator;
use crate::dataflow::operators::LateRows;
use crate::dataflow::operators::retention::RetentionOperator;
use crate::dataflow::operators::session::{SessionAggregateOperator, SessionAggregateSpec};
use crate::dataflow::operators::session_assign::{SessionAssignOperator, SessionAssignSpec};
use crate::dataflow::operators::window_assign::{WindowAssignOperator, WindowAssignSpec};
use crate::dataflow::operators::window_bounds::{WindowBoundsOperator, WindowBoundsSpec};
use crate::error::{HwError, Result};
use crate::plan::{AggregateNode, AggregateWindow, SessionAssign, StreamNode, WindowAssign, WindowTime};

/// Takes whole rows of the input that get no window.
fn refused_rows(sides: &Sides) -> Arc<LateRows> {
    sides.relation.as_ref().map_or_else(|| Arc::clone(&sides.late), |r| Arc::clone(&r.1))
}

pub(super) fn assign(w: &WindowAssign, output: SchemaRef, sides: &Sides) -> Result<Box<dyn Operator>> {
    Ok(Box::new(WindowAssignOperator::new(WindowAssignSpec {
        name: "window".into(),
        windows: w.windows,
        time_column: (w.time != WindowTime::Processing).then_some(w.time_column),
        output_schema: output,
        late: refused_rows(sides),
    })?))
}

pub(super) fn session_assign(
    s: &SessionAssign,
    input: &SchemaRef,
    output: SchemaRef,
    sides: &Sides,
) -> Result<Box<dyn Operator>> {
    Ok(Box::new(SessionAssignOperator::new(SessionAssignSpec {
        input_schema: Arc::clone(input),
        time_column: s.time_column,
        time: window_time(&s.time),
        gap_us: s.gap_us,
        keys: s.keys.clone(),
        lateness_us: s.lateness_us,
        output_schema: output,
        late: refused_rows(sides),
    })?))
}

pub(super) fn bounds(
    start: usize,
    end: usize,
    output: SchemaRef,
    sides: &Sides,
) -> Result<Box<dyn Operator>> {
    let late = refused_rows(sides);
    Ok(Box::new(WindowBoundsOperator::new(WindowBoundsSpec { start, end, output_schema: output, late })?))
}

/// Whether an aggregate keeps sessions.
pub(super) fn is_session(a: &AggregateNode) -> bool {
    matches!(a.window, Some(AggregateWindow::Session(_)))
}

pub(super) fn session_aggregate(
    a: &AggregateNode,
    input: &StreamNode,
    output: SchemaRef,
    sides: &Sides,
) -> Result<Box<dyn Operator>> {
    let Some(AggregateWindow::Session(s)) = &a.window else {
        return Err(HwError::internal("an aggregate without sessions"));
    };
    Ok(Box::new(SessionAggregateOperator::new(SessionAggregateSpec {
        input_schema: Arc::clone(&input.schema),
        input_append_only: input.facts.append_only,
        group_columns: a.group.clone(),
        calls: a.calls.clone(),
        output_schema: output,
        time_column: s.time_column,
        time: window_time(&s.time),
        gap_us: s.gap_us,
        emit: a.emit.clone(),
        late: match &sides.relation {
            Some((closed, _)) if !a.late.is_empty() => Arc::clone(closed),
            _ => Arc::clone(&sides.late),
        },
        errors: Arc::clone(&sides.errors),
    })?))
}

pub(super) fn retain(
    end: usize,
    time: &WindowTime,
    retention_us: i64,
    output: SchemaRef,
) -> Box<dyn Operator> {
    Box::new(RetentionOperator::new(output, end, window_time(time), retention_us))
}
