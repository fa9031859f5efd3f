//! The groups of an epoch on their way through the trigger machine.
//!
//! In: the groups to which something happened. Out: those that fire, in the order of where the
//! rows are that they replace ([`Fires`]), so that each kind is read in one go. One pass; what
//! is shown of a group is noted on the way.

use std::collections::BTreeMap;

use arrow::buffer::BooleanBuffer;

use super::fired::FiredTimes;
use super::panes::Slot;
use super::{Failures, Groups, Shown};
use crate::dataflow::triggers::{ENDLESS, EpochTimes, Firing, NEVER, Step};
use crate::state::RowId;

/// The panes of an epoch, in the order of where the rows are that they replace.
#[derive(Default)]
pub(super) struct Fires {
    pub slots: Vec<u32>,
    pub firings: Vec<Firing>,
    /// With pane columns: when the row that is replaced was fired.
    pub fired: Vec<u32>,
    /// Groups that have no rows left, by position in `slots`.
    pub dead: Vec<usize>,
    /// Positions of the first groups among those captured in this epoch.
    pub captured: Vec<u32>,
    /// The groups that follow have their row set aside,
    pub held: Vec<RowId>,
    /// and so many have it in their accumulators. The others have none.
    pub still: usize,
    /// Captured groups that do not fire, by position.
    pub unfired: Vec<u32>,
    /// Groups whose value had no representation.
    pub failed: Vec<u32>,
}

impl Fires {
    /// Groups that have a row already.
    pub fn replaced(&self) -> usize {
        self.captured.len() + self.held.len() + self.still
    }

    fn reserve(&mut self, more: usize) {
        self.slots.reserve(more);
        self.firings.reserve(more);
        self.fired.reserve(more);
    }

    fn push(&mut self, slot: u32, firing: Firing, fired: Option<u32>, lives: bool) {
        self.dead.extend((!lives).then_some(self.slots.len()));
        self.slots.push(slot);
        self.firings.push(firing);
        self.fired.extend(fired);
    }

    fn append(&mut self, mut other: Fires) {
        let first = self.slots.len();
        self.dead.extend(other.dead.iter().map(|i| first + i));
        self.slots.append(&mut other.slots);
        self.firings.append(&mut other.firings);
        self.fired.append(&mut other.fired);
    }

    /// Which groups show a row afterwards; `None` if all.
    pub fn shows(&self, failures: &Failures) -> Option<BooleanBuffer> {
        if self.dead.is_empty() && failures.is_empty() {
            return None;
        }
        let mut shows = vec![true; self.slots.len()];
        let hidden = self.dead.iter().copied().chain(failures.iter().map(|f| f.0));
        hidden.for_each(|i| shows[i] = false);
        Some(BooleanBuffer::from(shows))
    }
}

/// Timers of groups, gathered so that those with one due time cost one look-up.
pub(super) struct Due<'a> {
    timers: &'a mut BTreeMap<i64, Vec<u32>>,
    at: i64,
    slots: Vec<u32>,
}

impl<'a> Due<'a> {
    pub fn new(timers: &'a mut BTreeMap<i64, Vec<u32>>) -> Due<'a> {
        Due { timers, at: NEVER, slots: Vec::new() }
    }

    fn push(&mut self, at: i64, slot: u32) {
        if at != self.at {
            self.flush();
            self.at = at;
        }
        self.slots.push(slot);
    }

    fn flush(&mut self) {
        if !self.slots.is_empty() {
            self.timers.entry(self.at).or_default().append(&mut self.slots);
        }
    }
}

/// The groups of an epoch on their way through the machine.
pub(super) struct Asking<'a> {
    pub groups: &'a mut Groups,
    pub slots: &'a mut [Slot],
    pub fired: Option<&'a mut FiredTimes>,
    pub due: Due<'a>,
    pub discarding: bool,
    pub windowed: bool,
    pub times: &'a EpochTimes,
}

impl Asking<'_> {
    /// One step of each group: `advance(its slot, the slot's number, end of its window)`.
    /// Groups that fire are shown afterwards if they hold rows; of DISCARDING ones nothing is.
    #[inline(always)]
    pub fn ask_all(
        &mut self,
        asked: &[u32],
        mut advance: impl FnMut(&mut Slot, usize, i64) -> Step,
    ) -> Fires {
        let captured = self.groups.touched.shown.len();
        let [mut fires, mut held, mut still, mut others]: [Fires; 4] = Default::default();
        others.reserve(self.groups.touched.hidden.len());
        for (position, slot) in asked.iter().enumerate() {
            let at = *slot as usize;
            // A window up to infinity ends with the input, an endless one never.
            let end = if self.windowed { self.groups.bounds[at].min(ENDLESS - 1) } else { ENDLESS };
            let state = &mut self.slots[at];
            let step = advance(state, at, end);
            if step.timer != NEVER {
                self.due.push(step.timer, *slot);
            }
            let is_captured = position < captured;
            let Some(firing) = step.firing else {
                fires.unfired.extend(is_captured.then_some(position as u32));
                continue;
            };
            let lives = self.groups.lives(*slot);
            let class = match self.groups.heads.shown(*slot) {
                Shown::Yes if is_captured => {
                    fires.captured.push(position as u32);
                    &mut fires
                }
                Shown::Held => {
                    held.held.push(state.held);
                    &mut held
                }
                Shown::Yes => &mut still,
                Shown::Failed => {
                    others.failed.push(*slot);
                    &mut others
                }
                Shown::Free | Shown::No => &mut others,
            };
            let before = self.fired.as_mut().map(|f| f.replace(&mut state.fired, firing.timing, self.times));
            class.push(*slot, firing, before, lives);
            self.groups.heads.show(*slot, if lives && !self.discarding { Shown::Yes } else { Shown::No });
        }
        self.due.flush();
        fires.still = still.slots.len();
        std::mem::swap(&mut fires.held, &mut held.held);
        std::mem::swap(&mut fires.failed, &mut others.failed);
        fires.reserve(held.slots.len() + still.slots.len() + others.slots.len());
        [held, still, others].into_iter().for_each(|class| fires.append(class));
        fires
    }
}
