//! When the panes of a window fire: a pure state machine.
//!
//! [`Program`] is an emit clause compiled once per view; [`PaneState`] is what one key and
//! window keeps of it (at most 64 bytes for simple clauses). Once per epoch in which
//! something happened to the window — rows, a due timer, the watermark passing its end or
//! its horizon (end + allowed lateness) — [`Program::advance`] decides about at most one
//! pane. In flow the epoch's new rows, W(E−1), W(E) and `now`; out flow the firing, the next
//! processing time to ask again, and whether the state may go. The rules are those of "When
//! results are emitted" in the language contract; they follow Apache Beam. Nothing here
//! knows rows, keys or Arrow. Invariants: timings of a window come in the order EARLY*
//! ON_TIME? LATE*; indexes have no gaps; after `is_last` nothing fires.

mod brief;
mod tree;

pub use self::brief::{BriefProgram, BriefState, ROWS_MAX};
use self::tree::{Marks, Moment, Part, Tree};
pub use self::tree::{NEVER, TRIGGER_NODES_MAX};
use crate::error::Result;
use crate::types::trigger::{Closing, EmitPolicy, EmitSpec, OnTime, PaneTiming, TriggerSpec};

/// End of the one window of a view without windows. No watermark reaches it.
pub const ENDLESS: i64 = i64::MAX;

/// Phases always have an on-time pane: EARLY or LATE implies it.
const ALWAYS_ON_TIME: OnTime = OnTime { if_not_empty: false };

/// An emit clause, compiled.
#[derive(Clone, Debug)]
pub struct Program {
    policy: Policy,
    lateness_us: i64,
    closing: Closing,
    /// Words of trigger state in a window.
    words: usize,
}

#[derive(Clone, Debug)]
enum Policy {
    Changes,
    Final,
    Phases { early: Option<Tree>, on_time: OnTime, late: Option<Tree> },
    When(Tree),
}

/// The times of an epoch, in microseconds. Processing-time windows have the clock as their
/// watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochTimes {
    /// W(E−1), against which the epoch's rows are judged.
    pub before: i64,
    /// W(E).
    pub watermark: i64,
    pub now: i64,
}

/// A pane that fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Firing {
    pub timing: PaneTiming,
    /// From 0, per key and window.
    pub index: i64,
    /// Counts ON_TIME and LATE panes from 0; −1 for EARLY.
    pub nonspeculative_index: i64,
    pub is_first: bool,
    pub is_last: bool,
}

/// What an epoch does to a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub firing: Option<Firing>,
    /// A processing time, later than the epoch's `now`, at which `advance` must be called;
    /// given once, when it becomes known. [`NEVER`] if none is new.
    pub timer: i64,
    /// The horizon has passed: the window takes no rows, fires nothing, and its state may go.
    pub gone: bool,
}

/// What one key and window keeps between epochs.
#[derive(Clone, Debug)]
pub struct PaneState {
    /// Rows (by absolute weight) since the last firing.
    unfired: u64,
    /// Arrival of the first of them.
    first_unfired: i64,
    words: Words,
    /// The timer that was given last.
    timer: i64,
    /// Bit per node of the running trigger.
    finished: u32,
    /// Panes fired.
    panes: u32,
    /// On-time and late panes fired.
    nonspeculative: u32,
    /// The watermark had reached the window's end when it was created or last looked at.
    past_end: bool,
    /// A free trigger has finished: later rows are too late.
    closed: bool,
}

/// The words of a trigger; most need one.
#[derive(Clone, Debug)]
enum Words {
    Inline([i64; 2]),
    Heap(Box<[i64]>),
}

impl Words {
    fn new(words: usize) -> Words {
        if words <= 2 { Words::Inline([0; 2]) } else { Words::Heap(vec![0; words].into_boxed_slice()) }
    }

    fn as_slice(&self) -> &[i64] {
        match self {
            Words::Inline(words) => words,
            Words::Heap(words) => words,
        }
    }

    fn as_mut_slice(&mut self) -> &mut [i64] {
        match self {
            Words::Inline(words) => words,
            Words::Heap(words) => words,
        }
    }
}

impl PaneState {
    /// Whether the window refuses rows although its horizon has not passed.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether something is new since the last firing.
    pub fn has_unfired(&self) -> bool {
        self.unfired > 0
    }

    /// Panes fired so far: the index of the next one.
    pub fn panes(&self) -> i64 {
        i64::from(self.panes)
    }

    /// Whether the window may fire at its horizon: not when it has had its on-time pane and
    /// nothing is new, unless the clause fires then always.
    pub fn awaits_horizon(&self) -> bool {
        !self.past_end || self.unfired > 0
    }

    /// Bytes outside the struct itself.
    pub fn heap_bytes(&self) -> usize {
        if let Words::Heap(words) = &self.words { size_of_val(words.as_ref()) } else { 0 }
    }

    /// What it brings into a merge.
    fn part(&self, same_phase: bool) -> Part<'_> {
        Part {
            marks: same_phase.then_some((self.words.as_slice(), self.finished)),
            unfired: self.unfired,
            first_unfired: self.first_unfired,
        }
    }

    fn marks(&mut self) -> Marks<'_> {
        Marks { words: self.words.as_mut_slice(), finished: &mut self.finished }
    }
}

/// A window that a merge swallows.
#[derive(Clone, Copy, Debug)]
pub struct Merged<'a> {
    pub state: &'a PaneState,
    /// Its bounds are those of the merged window, which therefore continues it.
    pub same_bounds: bool,
}

impl Program {
    /// 54001 if a trigger is too large.
    pub fn new(spec: &EmitSpec) -> Result<Program> {
        let repeated = |t: &Option<TriggerSpec>| {
            let forever = |t: &TriggerSpec| TriggerSpec::Repeatedly(Box::new(t.clone()));
            t.as_ref().map(|t| Tree::new(&forever(t))).transpose()
        };
        let policy = match &spec.policy {
            EmitPolicy::Changes => Policy::Changes,
            EmitPolicy::Final => Policy::Final,
            EmitPolicy::When(trigger) => Policy::When(Tree::new(trigger)?),
            EmitPolicy::Phases { early, on_time, late } => Policy::Phases {
                early: repeated(early)?,
                on_time: on_time.unwrap_or(ALWAYS_ON_TIME),
                late: repeated(late)?,
            },
        };
        let words = |tree: &Option<Tree>| tree.as_ref().map_or(0, Tree::words);
        let words = match &policy {
            Policy::Changes | Policy::Final => 0,
            Policy::Phases { early, late, .. } => words(early).max(words(late)),
            Policy::When(tree) => tree.words(),
        };
        Ok(Program { policy, lateness_us: spec.lateness_us, closing: spec.closing, words })
    }

    /// The watermark that closes a window with this end.
    pub fn horizon(&self, end: i64) -> i64 {
        end.saturating_add(self.lateness_us)
    }

    /// Whether a window with this end is too late for rows, judged against W(E−1).
    pub fn refuses(&self, end: i64, watermark: i64) -> bool {
        end != ENDLESS && watermark >= self.horizon(end)
    }

    /// Whether windows fire at their horizon even if nothing is new.
    pub fn closes_always(&self) -> bool {
        self.closing == Closing::Always
    }

    /// State of a window whose first row has come in an epoch with W(E−1) = `before`.
    pub fn state(&self, end: i64, before: i64) -> PaneState {
        let mut state = PaneState {
            unfired: 0,
            first_unfired: NEVER,
            words: Words::new(self.words),
            timer: NEVER,
            finished: 0,
            panes: 0,
            nonspeculative: 0,
            past_end: end != ENDLESS && before >= end,
            closed: false,
        };
        if let Some(tree) = self.running(&state) {
            tree.reset(&mut state.marks());
        }
        state
    }

    /// The trigger that runs while the window is in this phase.
    fn running(&self, state: &PaneState) -> Option<&Tree> {
        match &self.policy {
            Policy::Changes | Policy::Final => None,
            Policy::Phases { early, late, .. } => {
                if state.past_end {
                    late.as_ref()
                } else {
                    early.as_ref()
                }
            }
            Policy::When(tree) => Some(tree),
        }
    }

    /// Applies one epoch to a window: `rows` new rows (by absolute weight, already accepted),
    /// then the watermark, then the clock.
    pub fn advance(&self, state: &mut PaneState, end: i64, rows: u64, times: &EpochTimes) -> Step {
        let reached = end != ENDLESS && times.watermark >= end;
        let reaches = reached && !state.past_end;
        let gone = end != ENDLESS && times.watermark >= self.horizon(end);
        if state.closed {
            return Step { firing: None, timer: NEVER, gone };
        }
        if rows > 0 {
            state.unfired += rows;
            state.first_unfired = state.first_unfired.min(times.now);
            if let Some(tree) = self.running(state) {
                tree.add_rows(&mut state.marks(), rows, times.now);
            }
        }
        let at = Moment { now: times.now, end_reached: reached, reaches_end: reaches };
        let fires = self.decide(state, &at);
        let closes = gone && (state.unfired > 0 || self.closing == Closing::Always);
        let timing = match (reached, reaches) {
            (false, _) => PaneTiming::Early,
            (true, true) => PaneTiming::OnTime,
            (true, false) => PaneTiming::Late,
        };
        state.past_end |= reached;
        let firing = (fires || closes).then(|| state.fire(timing, gone));
        state.closed |= gone;
        let running = self.running(state).filter(|_| !state.closed);
        let timer = running.map_or(NEVER, |tree| tree.timer(&state.marks(), times.now));
        let is_new = timer != state.timer;
        state.timer = timer;
        Step { firing, timer: if is_new { timer } else { NEVER }, gone }
    }

    /// Whether a pane fires, leaving closing panes aside; moves the triggers on.
    fn decide(&self, state: &mut PaneState, at: &Moment) -> bool {
        let something_new = state.unfired > 0;
        match &self.policy {
            Policy::Changes => something_new,
            Policy::Final => false,
            Policy::Phases { on_time, late, .. } if at.reaches_end => {
                state.finished = 0;
                if let Some(late) = late {
                    late.reset(&mut state.marks());
                }
                something_new || !on_time.if_not_empty
            }
            Policy::Phases { .. } => {
                let Some(tree) = self.running(state) else { return false };
                let ready = tree.ready(&state.marks(), at);
                if ready {
                    tree.fire(&mut state.marks(), at);
                }
                ready && something_new
            }
            Policy::When(tree) => {
                let ready = tree.ready(&state.marks(), at);
                if ready {
                    state.closed = tree.fire(&mut state.marks(), at);
                }
                let even_if_empty = at.reaches_end || (state.closed && self.closing == Closing::Always);
                ready && (something_new || even_if_empty)
            }
        }
    }

    /// State of the window that `parts` merge into, whose end is `end`, in an epoch with
    /// W(E−1) = `before`; the epoch's rows are not in it yet. It is new, its index counts
    /// from 0, unless it has the bounds of a part. Rows that parts have not fired are its
    /// own unfired rows. `advance` must be called in the same epoch; it gives the timer.
    pub fn merge(&self, parts: &[Merged<'_>], end: i64, before: i64) -> PaneState {
        let mut merged = self.state(end, before);
        for Merged { state, same_bounds } in parts {
            merged.unfired += state.unfired;
            merged.first_unfired = merged.first_unfired.min(state.first_unfired);
            if *same_bounds {
                merged.panes = state.panes;
                merged.nonspeculative = state.nonspeculative;
            }
        }
        merged.closed = !parts.is_empty() && parts.iter().all(|p| p.state.closed);
        let (Some(tree), past_end) = (self.running(&merged), merged.past_end) else { return merged };
        let same_phase =
            |state: &PaneState| matches!(self.policy, Policy::When(_)) || state.past_end == past_end;
        if tree.merge_leaf(parts.iter().map(|p| p.state.part(same_phase(p.state))), &mut merged.marks()) {
            return merged;
        }
        let inner: Vec<Part<'_>> = parts.iter().map(|p| p.state.part(same_phase(p.state))).collect();
        tree.merge(&inner, &mut merged.marks());
        merged
    }
}

impl PaneState {
    /// Counts a pane.
    fn fire(&mut self, timing: PaneTiming, gone: bool) -> Firing {
        let nonspeculative_index = match timing {
            PaneTiming::Early => -1,
            PaneTiming::OnTime | PaneTiming::Late => i64::from(self.nonspeculative),
        };
        let firing = Firing {
            timing,
            index: i64::from(self.panes),
            nonspeculative_index,
            is_first: self.panes == 0,
            is_last: gone || self.closed,
        };
        self.panes += 1;
        self.nonspeculative += (timing != PaneTiming::Early) as u32;
        self.unfired = 0;
        self.first_unfired = NEVER;
        firing
    }
}

#[cfg(test)]
pub mod model;
#[cfg(test)]
pub mod tests;
