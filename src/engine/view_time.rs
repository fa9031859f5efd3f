//! Event time in a view: which inputs it follows, and how far it is.
//!
//! Flows in: for every input, its watermark and whether it is idle. Flows out: the
//! [`Watermarks`] that the dataflow is fed with, and the watermark that readers of the view
//! see. The watermark of a set of inputs is the minimum over those that are not idle; if all
//! are idle it holds. Invariant: it never falls, so an input that wakes up behind the others
//! brings late rows, not an earlier watermark.

use crate::dataflow::watermarks::Watermarks;
use crate::plan::{ColumnFact, StreamPlan, WindowTime};
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
    /// Sets of more than one input that operators follow, with their watermark.
    sets: Vec<(Vec<usize>, EventTime)>,
    pub output: RelationTime,
    /// Clock time (µs) at which `output.watermark` last rose, or the view began.
    pub since: i64,
}

impl ViewTime {
    pub fn new(plan: &StreamPlan) -> ViewTime {
        let mut sets: Vec<Vec<usize>> = Vec::new();
        for fact in plan.nodes.iter().flat_map(|n| &n.facts.columns) {
            if let Some(inputs) = followed(fact)
                && inputs.len() > 1
                && !sets.contains(inputs)
            {
                sets.push(inputs.clone());
            }
        }
        ViewTime {
            inputs: output_inputs(plan),
            sets: sets.into_iter().map(|set| (set, EventTime::MIN)).collect(),
            output: RelationTime { watermark: EventTime::MIN, state: TimeState::Active },
            since: i64::MIN,
        }
    }

    /// Moves on to the given times of the inputs; `now` is the clock's time in microseconds.
    pub fn advance(&mut self, times: &[RelationTime], now: i64) -> Watermarks {
        for (set, held) in &mut self.sets {
            *held = combined(set, times, *held);
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
            _ => combined(&timed, times, before),
        };
        if watermark != before || self.since == i64::MIN {
            self.since = now;
        }
        self.output = RelationTime { watermark, state };
        Watermarks::new(times.iter().map(|t| t.watermark).collect(), self.sets.clone())
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

fn followed(fact: &ColumnFact) -> Option<&Vec<usize>> {
    match fact {
        ColumnFact::EventTime { inputs }
        | ColumnFact::WindowEnd { time: WindowTime::Event { inputs } }
        | ColumnFact::WindowStart { time: WindowTime::Event { inputs }, .. } => Some(inputs),
        _ => None,
    }
}

/// Inputs whose watermark bounds the event times in the view's output.
fn output_inputs(plan: &StreamPlan) -> Vec<usize> {
    let facts = &plan.root_node().facts.columns;
    let mut inputs: Vec<usize> = facts.iter().filter_map(followed).flatten().copied().collect();
    if inputs.is_empty() {
        inputs.extend(0..plan.inputs.len());
    }
    inputs.sort_unstable();
    inputs.dedup();
    inputs
}

#[cfg(test)]
mod tests;
