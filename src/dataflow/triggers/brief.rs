//! The machine again, for clauses whose triggers are single leaves: 24 bytes a window.
//!
//! EARLY and LATE with one of `AFTER n ROWS`, `EVERY`, `AFTER DELAY`, or none, are most of
//! what is written, and every aggregate by window looks at many windows in an epoch: what
//! they keep decides what panes cost. Invariant: the steps are those of [`Program::advance`]
//! on the same epochs; merging is not possible.

use super::tree::{Kind, Moment, NEVER, empty, grown, leaf_due, leaf_fires};
use super::{ENDLESS, EpochTimes, Firing, Policy, Program, Step};
use crate::types::trigger::{Closing, PaneTiming};

/// Counts of rows above this are the same to every brief program.
pub const ROWS_MAX: u32 = u32::MAX;

/// Flags of a [`BriefState`].
const PAST_END: u8 = 1;
const CLOSED: u8 = 2;
const UNFIRED: u8 = 4;

/// A clause whose triggers are single leaves, compiled.
#[derive(Clone, Debug)]
pub struct BriefProgram {
    fires: Fires,
    early: Option<Kind>,
    late: Option<Kind>,
    lateness_us: i64,
    closes_always: bool,
}

/// When panes fire by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fires {
    /// In every epoch that brings something new.
    Changes,
    Never,
    /// By `early` and `late`, and on time.
    Phases {
        if_not_empty: bool,
    },
}

/// What one key and window keeps between epochs under a [`BriefProgram`].
#[derive(Clone, Copy, Debug, Default)]
pub struct BriefState {
    /// The word of the leaf that runs: a count or a due time.
    word: i64,
    panes: u32,
    nonspeculative: u32,
    flags: u8,
}

impl BriefState {
    pub fn is_closed(&self) -> bool {
        self.flags & CLOSED != 0
    }

    pub fn has_unfired(&self) -> bool {
        self.flags & UNFIRED != 0
    }

    /// As [`PaneState::awaits_horizon`](super::PaneState::awaits_horizon).
    pub fn awaits_horizon(&self) -> bool {
        self.flags & (PAST_END | UNFIRED) != PAST_END
    }
}

impl BriefProgram {
    /// `None` if the clause needs more.
    pub fn of(program: &Program) -> Option<BriefProgram> {
        let leaf = |tree: &Option<super::Tree>| match tree {
            None => Some(None),
            Some(tree) => {
                let leaf = tree.repeated_leaf()?;
                let counted = !matches!(leaf, Kind::Rows(n) if n > i64::from(ROWS_MAX));
                counted.then_some(Some(leaf))
            }
        };
        let (fires, early, late) = match &program.policy {
            Policy::Changes => (Fires::Changes, None, None),
            Policy::Final => (Fires::Never, None, None),
            Policy::Phases { early, on_time, late } => {
                (Fires::Phases { if_not_empty: on_time.if_not_empty }, leaf(early)?, leaf(late)?)
            }
            Policy::When(_) => return None,
        };
        let closes_always = program.closing == Closing::Always;
        Some(BriefProgram { fires, early, late, lateness_us: program.lateness_us, closes_always })
    }

    pub fn lateness_us(&self) -> i64 {
        self.lateness_us
    }

    /// As [`Program::closes_always`].
    pub fn closes_always(&self) -> bool {
        self.closes_always
    }

    fn leaf(&self, flags: u8) -> Option<Kind> {
        if flags & PAST_END != 0 { self.late } else { self.early }
    }

    /// As [`Program::state`].
    #[inline]
    pub fn state(&self, end: i64, before: i64) -> BriefState {
        let flags = if end != ENDLESS && before >= end { PAST_END } else { 0 };
        BriefState { word: self.leaf(flags).map_or(NEVER, empty), panes: 0, nonspeculative: 0, flags }
    }

    /// As [`Program::advance`].
    #[inline]
    pub fn advance(&self, state: &mut BriefState, end: i64, rows: u32, times: &EpochTimes) -> Step {
        let reached = end != ENDLESS && times.watermark >= end;
        let gone = reached && times.watermark >= end.saturating_add(self.lateness_us);
        if state.is_closed() {
            return Step { firing: None, timer: NEVER, gone };
        }
        let reaches = reached && state.flags & PAST_END == 0;
        let before = state.word;
        if rows > 0 {
            state.flags |= UNFIRED;
            if let Some(leaf) = self.leaf(state.flags) {
                state.word = grown(leaf, state.word, u64::from(rows), times.now);
            }
        }
        let at = Moment { now: times.now, end_reached: reached, reaches_end: reaches };
        let fires = self.decide(state, &at);
        let closes = gone && (state.has_unfired() || self.closes_always);
        let timing = match (reached, reaches) {
            (false, _) => PaneTiming::Early,
            (true, true) => PaneTiming::OnTime,
            (true, false) => PaneTiming::Late,
        };
        if reached {
            state.flags |= PAST_END;
        }
        let firing = (fires || closes).then(|| state.fire(timing, gone));
        if gone {
            state.flags |= CLOSED;
        }
        // A due time lasts until it is reached, so that it is new if the word is.
        let is_new = state.word != before && !gone;
        let timer = match self.leaf(state.flags) {
            Some(leaf) if is_new => leaf_due(leaf, state.word, times.now),
            _ => NEVER,
        };
        Step { firing, timer, gone }
    }

    #[inline]
    fn decide(&self, state: &mut BriefState, at: &Moment) -> bool {
        let something_new = state.has_unfired();
        match self.fires {
            Fires::Changes => something_new,
            Fires::Never => false,
            Fires::Phases { if_not_empty } if at.reaches_end => {
                state.word = self.late.map_or(NEVER, empty);
                something_new || !if_not_empty
            }
            Fires::Phases { .. } => match self.leaf(state.flags) {
                Some(leaf) if leaf_fires(leaf, state.word, at) => {
                    state.word = empty(leaf);
                    something_new
                }
                _ => false,
            },
        }
    }
}

impl BriefState {
    /// Counts a pane.
    fn fire(&mut self, timing: PaneTiming, gone: bool) -> Firing {
        let early = timing == PaneTiming::Early;
        let firing = Firing {
            timing,
            index: i64::from(self.panes),
            nonspeculative_index: if early { -1 } else { i64::from(self.nonspeculative) },
            is_first: self.panes == 0,
            is_last: gone,
        };
        self.panes += 1;
        self.nonspeculative += u32::from(!early);
        self.flags &= !UNFIRED;
        firing
    }
}
