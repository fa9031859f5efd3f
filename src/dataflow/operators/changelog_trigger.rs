//! A trigger on the changes of a view that is not grouped.
//!
//! Changes of a relation in, the same changes out, but only when the trigger fires: all that
//! has come since the last firing, consolidated, as one set. The whole view is one endless
//! window, so all rows must come to one worker. A change of a row counts as a row. When a
//! free trigger has finished, later changes are too late: they go to the late relation.
//! Accumulating and discarding panes are the same changes here. Invariant: between firings
//! the output stands still; at a firing it equals the input so far.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::late::{LateReason, LateRows, Refusal};
use crate::dataflow::operator::{EpochContext, Operator, StateSize};
use crate::dataflow::triggers::{ENDLESS, EpochTimes, NEVER, PaneState, Program};
use crate::error::Result;
use crate::types::change_batch::{Weights, concat, consolidate};
use crate::types::trigger::EmitSpec;
use crate::types::{ChangeBatch, EventTime, ProcTime};

/// Fewer pending rows than this are not worth a consolidation before they fire.
const CONSOLIDATE_ROWS: usize = 65_536;

pub struct ChangelogTriggerOperator {
    schema: SchemaRef,
    program: Program,
    late: Arc<LateRows>,
    /// From the first change on.
    state: Option<PaneState>,
    /// Changes of this epoch.
    arrived: Vec<ChangeBatch>,
    /// Changes since the last firing.
    pending: Vec<ChangeBatch>,
    pending_rows: usize,
    /// Pending rows that make the next consolidation worth it.
    consolidate_at: usize,
    timer: i64,
}

impl ChangelogTriggerOperator {
    /// 54001 if the trigger is too large.
    pub fn new(emit: &EmitSpec, schema: SchemaRef, late: Arc<LateRows>) -> Result<ChangelogTriggerOperator> {
        Ok(ChangelogTriggerOperator {
            schema,
            program: Program::new(emit)?,
            late,
            state: None,
            arrived: Vec::new(),
            pending: Vec::new(),
            pending_rows: 0,
            consolidate_at: CONSOLIDATE_ROWS,
            timer: NEVER,
        })
    }

    /// The epoch's changes as a set, and how many rows they change.
    fn take_arrived(&mut self) -> Result<(ChangeBatch, u64)> {
        let arrived = consolidate(&self.schema, &std::mem::take(&mut self.arrived))?;
        let rows = match &arrived.weights {
            Weights::One => arrived.len() as u64,
            Weights::Each(weights) => weights.values().iter().map(|w| w.unsigned_abs()).sum(),
        };
        Ok((arrived, rows))
    }

    fn refuse(&self, batch: &ChangeBatch) -> Result<()> {
        let refusal = |row: usize| Refusal { row: row as u32, window_start: None, window_end: None };
        let refusals: Vec<Refusal> = (0..batch.len()).map(refusal).collect();
        let weight = |row: usize| batch.weights.get(row);
        self.late.record(&batch.rows, &refusals, weight, LateReason::WindowClosed, EventTime::MIN)
    }

    fn keep(&mut self, batch: ChangeBatch) -> Result<()> {
        self.pending_rows += batch.len();
        self.pending.push(batch);
        if self.pending_rows >= self.consolidate_at {
            self.consolidate()?;
        }
        Ok(())
    }

    fn consolidate(&mut self) -> Result<()> {
        let all = consolidate(&self.schema, &std::mem::take(&mut self.pending))?;
        self.pending_rows = all.len();
        self.consolidate_at = (all.len() * 2).max(CONSOLIDATE_ROWS);
        self.pending.push(all);
        Ok(())
    }
}

impl Operator for ChangelogTriggerOperator {
    fn name(&self) -> &str {
        "changelog trigger"
    }

    fn push(&mut self, _input: usize, batch: ChangeBatch, _out: &mut Vec<ChangeBatch>) -> Result<()> {
        self.arrived.push(batch);
        Ok(())
    }

    fn finish_epoch(&mut self, cx: &EpochContext, out: &mut Vec<ChangeBatch>) -> Result<()> {
        if cx.is_filling() {
            // Of the past only the result counts.
            if self.arrived.iter().map(ChangeBatch::len).sum::<usize>() >= self.consolidate_at {
                let all = consolidate(&self.schema, &std::mem::take(&mut self.arrived))?;
                self.consolidate_at = (all.len() * 2).max(CONSOLIDATE_ROWS);
                self.arrived.push(all);
            }
            return Ok(());
        }
        let mut rows = 0;
        if !self.arrived.is_empty() {
            let (batch, changed) = self.take_arrived()?;
            if self.state.as_ref().is_some_and(PaneState::is_closed) {
                return self.refuse(&batch);
            }
            rows = changed;
            if rows > 0 {
                self.keep(batch)?;
            }
        }
        let due = self.timer <= cx.now.0;
        if rows == 0 && !due {
            return Ok(());
        }
        if due {
            self.timer = NEVER;
        }
        let nothing = EventTime::MIN.0;
        let times = EpochTimes { before: nothing, watermark: nothing, now: cx.now.0 };
        let state = self.state.get_or_insert_with(|| self.program.state(ENDLESS, nothing));
        let step = self.program.advance(state, ENDLESS, rows, &times);
        if step.timer != NEVER {
            self.timer = step.timer;
        }
        if step.firing.is_some() {
            let pane = match self.pending.len() {
                1 => concat(&self.schema, &std::mem::take(&mut self.pending))?,
                _ => consolidate(&self.schema, &std::mem::take(&mut self.pending))?,
            };
            (self.pending_rows, self.consolidate_at) = (0, CONSOLIDATE_ROWS);
            if !pane.is_empty() {
                out.push(pane);
            }
        }
        Ok(())
    }

    fn next_timer(&self) -> Option<ProcTime> {
        (self.timer != NEVER).then_some(ProcTime(self.timer))
    }

    fn state_size(&self) -> StateSize {
        StateSize {
            entries: self.pending_rows,
            bytes: self.pending.iter().map(|b| b.rows.get_array_memory_size()).sum(),
        }
    }
}

#[cfg(test)]
mod tests;
