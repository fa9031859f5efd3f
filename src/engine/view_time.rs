//! Event time in a view: which inputs it follows, and how far it is.
//!
//! Flows in: for every input, its watermark and whether it is idle. Flows out: the
//! [`Watermarks`] that the dataflow is fed with, and the watermark that readers of the view
//! see. The watermark of a clock is the minimum over those of its inputs that are not idle; if
//! all are idle it holds, unless others go on for them. Invariant: it never falls, so an input
//! that wakes up behind the others brings late rows, not an earlier watermark.

use crate::dataflow::watermarks::Watermarks;
use crate::plan::{Clock, ColumnFact, StreamPlan};
use crate::types::EventTime;

/// Whether and how a relation takes part in event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeState {
    /// A table, or a stream without WATERMARK: holds nobody back.
    Untimed,
    Active,
    /// Nothing is to be expected of it at present: left out where there are other inputs.
    Idle,
}

/// Event time of a relation as its readers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelationTime {
    pub watermark: EventTime,
    pub state: TimeState,
}

impl RelationTime {
    pub const UNTIMED: RelationTime = RelationTime { watermark: EventTime::MAX, state: TimeState::Untimed };
}

#[derive(Clone, Debug)]
pub struct ViewTime {
    /// The inputs whose watermark bounds the event times in the view's output.
    pub inputs: Vec<usize>,
    /// How far the times in the output may be behind it.
    behind: Clock,
    /// Clocks of more than one input, not behind, with the watermark of their inputs.
    clocks: Vec<(Clock, EventTime)>,
    /// The watermark of `inputs`.
    reached: EventTime,
    pub output: RelationTime,
    /// Clock time (µs) at which `output.watermark` last rose, or the view began.
    pub since: i64,
}

impl ViewTime {
    pub fn new(plan: &StreamPlan) -> ViewTime {
        let mut clocks: Vec<(Clock, EventTime)> = Vec::new();
        for clock in plan.clocks().filter(|c| c.inputs.len() > 1 || !c.beside.is_empty()) {
            let clock = Clock { behind_us: 0, ..clock.clone() };
            if clocks.iter().all(|(known, _)| *known != clock) {
                clocks.push((clock, EventTime::MIN));
            }
        }
        let output = output_clock(plan);
        ViewTime {
            inputs: output.inputs.clone(),
            behind: output,
            clocks,
            reached: EventTime::MIN,
            output: RelationTime { watermark: EventTime::MIN, state: TimeState::Active },
            since: i64::MIN,
        }
    }

    /// Moves on to the given times of the inputs; `now` is the clock's time in microseconds.
    pub fn advance(&mut self, times: &[RelationTime], now: i64) -> Watermarks {
        for (clock, held) in &mut self.clocks {
            *held = combined(&clock.inputs, times, *held);
            let is_idle = |i: &usize| times[*i].state == TimeState::Idle;
            if !clock.beside.is_empty() && clock.inputs.iter().all(is_idle) {
                *held = combined(&clock.beside, times, *held);
            }
        }
        let timed: Vec<usize> =
            (self.inputs.iter().copied()).filter(|i| times[*i].state != TimeState::Untimed).collect();
        let state = match timed.iter().all(|i| times[*i].state == TimeState::Idle) {
            _ if timed.is_empty() => TimeState::Untimed,
            true => TimeState::Idle,
            false => TimeState::Active,
        };
        let before = match self.output.state {
            TimeState::Untimed => EventTime::MIN,
            _ => self.output.watermark,
        };
        let watermark = match state {
            TimeState::Untimed => EventTime::MAX,
            _ => {
                self.reached = combined(&timed, times, self.reached);
                self.behind.reads(self.reached)
            }
        };
        if watermark != before || self.since == i64::MIN {
            self.since = now;
        }
        self.output = RelationTime { watermark, state };
        Watermarks::new(times.iter().map(|t| t.watermark).collect(), self.clocks.clone())
    }
}

/// Minimum over the inputs of a set that are not idle, at least `held`.
fn combined(set: &[usize], times: &[RelationTime], held: EventTime) -> EventTime {
    let timed = || set.iter().map(|i| times[*i]).filter(|t| t.state != TimeState::Untimed);
    let active = timed().filter(|t| t.state == TimeState::Active).map(|t| t.watermark).min();
    match active {
        Some(watermark) => held.max(watermark),
        None if timed().next().is_none() => EventTime::MAX,
        // One idle input alone is where it is; of several, the earliest is certain.
        None => held.max(timed().map(|t| t.watermark).min().unwrap_or(held)),
    }
}

/// What bounds the event times in the view's output.
fn output_clock(plan: &StreamPlan) -> Clock {
    let facts = &plan.root_node().facts.columns;
    let all = || (0..plan.inputs.len()).collect::<Vec<_>>().into();
    facts.iter().filter_map(ColumnFact::clock).cloned().reduce(|a, b| a.and(&b)).unwrap_or_else(all)
}

#[cfg(test)]
mod tests;
