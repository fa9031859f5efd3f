//! The operator contract.
//!
//! An operator is a plain struct. Within an epoch it gets any number of `push` calls, in any
//! order (the rows of an epoch are a set), then exactly one `finish_epoch`. It never reads a
//! clock, does I/O or waits. What it emits in `push` and in `finish_epoch` of epoch E
//! together are its changes of epoch E. Every operator is right for retractions.

use super::watermarks::Watermarks;
use crate::error::Result;
use crate::plan::Clock;
use crate::types::{ChangeBatch, Epoch, EventTime, ProcTime};

/// Everything an operator may know about an epoch.
#[derive(Clone, Debug)]
pub struct EpochContext {
    pub epoch: Epoch,
    pub now: ProcTime,
    /// W(E); `EventTime::MIN` while unknown or held during hydration.
    pub watermarks: Watermarks,
}

impl EpochContext {
    /// What a clock shows. Never falls.
    pub fn watermark(&self, clock: &Clock) -> EventTime {
        self.watermarks.of(clock)
    }

    /// The view gets the rows of the past, in steps that mean nothing: what they brought is one
    /// set, decided about in the first epoch that is no longer filling.
    pub fn is_filling(&self) -> bool {
        self.watermarks.is_held()
    }
}

/// One incremental operator on one worker.
pub trait Operator: Send {
    /// Name for EXPLAIN ANALYZE, metrics and panics.
    fn name(&self) -> &str;
    /// Takes one batch of input number `input`; may emit at once.
    fn push(&mut self, input: usize, batch: ChangeBatch, out: &mut Vec<ChangeBatch>) -> Result<()>;
    /// All rows of the epoch were pushed. Applies the watermark, then timers up to `now`.
    fn finish_epoch(&mut self, cx: &EpochContext, out: &mut Vec<ChangeBatch>) -> Result<()>;
    /// The earliest processing time at which this operator must be called without input.
    fn next_timer(&self) -> Option<ProcTime> {
        None
    }
    /// Entries and bytes of state held now (estimate), for EXPLAIN STATE and metrics.
    fn state_size(&self) -> StateSize {
        StateSize::default()
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateSize {
    pub entries: usize,
    pub bytes: usize,
}
