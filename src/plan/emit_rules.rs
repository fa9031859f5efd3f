//! The rules of the emit clause that need the plan.
//!
//! In: a lowered plan, the bound clause and which of its parts were written. A part that can
//! have no effect on this plan is refused (42P16), naming the part and what to write instead;
//! DISCARDING over changes that delete rows is 0A000. What is implied is never refused: EARLY
//! on a view without watermark just has no on-time pane.

use super::*;
use crate::error::{HwError, Result, sqlstate};
use crate::types::trigger::Accumulation;

/// Which parts of an emit clause were written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EmitWords {
    /// Where the clause begins in the statement.
    pub position: Option<usize>,
    pub on_time: bool,
    pub late: bool,
    /// `FINAL` or `ON WINDOW CLOSE`.
    pub at_close: bool,
    /// `AFTER WATERMARK` in a free trigger.
    pub after_watermark: bool,
    pub lateness: bool,
    pub closing: bool,
    pub accumulation: bool,
    /// `LATE DATA TO`.
    pub late_data: bool,
}

/// Checks a clause against the plan it belongs to.
pub fn check_emit(plan: &StreamPlan, spec: &EmitSpec, words: &EmitWords) -> Result<()> {
    check(plan, spec, words).map_err(|e| match words.position {
        Some(position) => e.at(position),
        None => e,
    })
}

impl EmitWords {
    /// An error of a clause that does not fit the query, at the clause.
    pub fn place(&self, e: HwError) -> HwError {
        match self.position {
            Some(at) if e.sqlstate() == sqlstate::INVALID_TABLE_DEFINITION => e.at(at),
            _ => e,
        }
    }
}

fn check(plan: &StreamPlan, spec: &EmitSpec, words: &EmitWords) -> Result<()> {
    let windows = windows(plan);
    if windows.is_empty() {
        let needing_windows = [
            (words.lateness, "ALLOWED LATENESS"),
            (words.late, "LATE"),
            (words.closing, "CLOSING"),
            (words.late_data, "LATE DATA TO"),
        ];
        if let Some((_, part)) = needing_windows.iter().find(|(written, _)| *written) {
            return Err(refused(
                format!("{part} needs windows"),
                "The view has no windows, so no row of it is ever late.",
                "Group by window_start, window_end of TUMBLE, HOP, CUMULATE or SESSION, or leave it out.",
            ));
        }
    }
    check_end(plan, words)?;
    let needing_watermark = [
        (words.on_time, "ON TIME"),
        (words.late, "LATE"),
        (words.at_close, "EMIT FINAL"),
        (words.after_watermark, "AFTER WATERMARK"),
        (words.lateness, "ALLOWED LATENESS"),
        (words.late_data, "LATE DATA TO"),
    ];
    if let Some((_, part)) = needing_watermark.iter().find(|(written, _)| *written) {
        check_watermark(plan, &windows, part)?;
    }
    if words.late_data && plan.late.is_none() {
        return Err(refused(
            "LATE DATA TO needs windows".into(),
            "The outermost aggregation of the view is not grouped by a window, so it refuses no row.",
            "Group by window_start, window_end of TUMBLE, HOP, CUMULATE or SESSION, or leave it out.",
        ));
    }
    if spec.accumulation == Accumulation::Discarding {
        check_discarding(plan)?;
    }
    Ok(())
}

/// What needs a window that ends.
fn check_end(plan: &StreamPlan, words: &EmitWords) -> Result<()> {
    let changelog = plan.nodes.iter().any(|n| matches!(n.op, StreamOp::ChangelogTrigger(_)));
    let needing_an_end = [
        (words.on_time, "ON TIME"),
        (words.late, "LATE"),
        (words.after_watermark, "AFTER WATERMARK"),
        (words.lateness && changelog, "ALLOWED LATENESS"),
        (words.closing && changelog, "CLOSING"),
        (words.late_data && changelog, "LATE DATA TO"),
    ];
    let Some((_, part)) = needing_an_end.iter().find(|(written, _)| *written) else { return Ok(()) };
    if !changelog && has_window(plan) {
        return Ok(());
    }
    Err(refused(
        format!("{part} needs an aggregation by window"),
        "A view that does not group by a window is one endless window, whose end no watermark reaches.",
        "Group by window_start, window_end of TUMBLE, HOP, CUMULATE or SESSION, or use EMIT EARLY or EMIT WHEN with rows or processing time.",
    ))
}

/// Whether the aggregate that has the trigger groups by a window.
fn has_window(plan: &StreamPlan) -> bool {
    let owner = panes::owner(&plan.nodes, plan.root).map(|owner| &plan.nodes[owner].op);
    matches!(owner, Some(StreamOp::Aggregate(a)) if a.window.is_some())
}

/// The clocks of the plan's windows.
fn windows(plan: &StreamPlan) -> Vec<&WindowTime> {
    let aggregates = plan.nodes.iter().filter_map(|n| match &n.op {
        StreamOp::Aggregate(a) => a.window.as_ref().map(AggregateWindow::time),
        _ => None,
    });
    let columns = plan.nodes.iter().flat_map(|n| &n.facts.columns).filter_map(|c| match c {
        ColumnFact::WindowEnd { time } => Some(time),
        _ => None,
    });
    aggregates.chain(columns).collect()
}

fn check_watermark(plan: &StreamPlan, windows: &[&WindowTime], part: &str) -> Result<()> {
    if windows.iter().any(|time| **time == WindowTime::Unbounded) {
        return Err(refused(
            format!("{part} needs a watermark"),
            "The time column of the window has no watermark, so it is never known that a window is complete.",
            "Declare WATERMARK FOR the column on the source, or use EMIT CHANGES or a trigger of rows or processing time.",
        ));
    }
    let has_event_time = |n: &StreamNode| {
        n.facts.columns.iter().any(|c| {
            matches!(
                c,
                ColumnFact::EventTime { .. } | ColumnFact::WindowEnd { time: WindowTime::Event { .. } }
            )
        })
    };
    let known = !windows.is_empty() || plan.nodes.iter().any(has_event_time);
    if known {
        return Ok(());
    }
    Err(refused(
        format!("{part} needs a watermark"),
        "Nothing that the view reads has a watermark.",
        "Read a source that declares WATERMARK FOR a column, or use EMIT CHANGES or a trigger of rows or processing time.",
    ))
}

/// The panes of DISCARDING cannot take back what an earlier pane has shown.
fn check_discarding(plan: &StreamPlan) -> Result<()> {
    let owner = panes::owner(&plan.nodes, plan.root).unwrap_or(plan.root);
    let inputs = match plan.nodes[owner].children.as_slice() {
        [] => vec![owner],
        children => children.to_vec(),
    };
    if inputs.iter().all(|c| plan.nodes[*c].facts.append_only) {
        return Ok(());
    }
    Err(HwError::new(sqlstate::FEATURE_NOT_SUPPORTED, "DISCARDING needs an input that only appends")
        .with_detail("A row that is deleted or changed may have been in a pane that is not kept.")
        .with_hint("Use ACCUMULATING or ACCUMULATING AND RETRACTING, or read a source."))
}

fn refused(message: String, detail: &str, hint: &str) -> HwError {
    HwError::new(sqlstate::INVALID_TABLE_DEFINITION, message).with_detail(detail).with_hint(hint)
}
