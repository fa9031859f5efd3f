//! When the panes that are shown were fired, shared by the groups that fired together.
//!
//! The panes of an epoch and timing have the same times, so that a group keeps a number of
//! four bytes. Entries that no group names any more are used again from the next epoch on.

use crate::dataflow::operators::panes::PaneRow;
use crate::dataflow::triggers::{EpochTimes, Firing};
use crate::types::trigger::PaneTiming;

/// The number of no pane.
pub const NOT_FIRED: u32 = 0;

#[derive(Clone, Copy)]
struct Entry {
    timing: PaneTiming,
    at: i64,
    watermark: i64,
    groups: u32,
}

pub struct FiredTimes {
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// Entries that no group names since this epoch.
    unnamed: Vec<u32>,
    /// Entries of this epoch.
    current: Vec<u32>,
}

impl Default for FiredTimes {
    fn default() -> FiredTimes {
        let none = Entry { timing: PaneTiming::Early, at: 0, watermark: 0, groups: 0 };
        FiredTimes { entries: vec![none], free: Vec::new(), unnamed: Vec::new(), current: Vec::new() }
    }
}

impl FiredTimes {
    /// A group fires: `fired` becomes its number. Gives the one before, which is valid until
    /// the end of the epoch.
    #[inline]
    pub fn replace(&mut self, fired: &mut u32, timing: PaneTiming, times: &EpochTimes) -> u32 {
        let of_timing = |e: &&u32| self.entries[**e as usize].timing == timing;
        let entry = match self.current.iter().find(of_timing) {
            Some(entry) => *entry,
            None => self.add(Entry { timing, at: times.now, watermark: times.watermark, groups: 0 }),
        };
        self.entries[entry as usize].groups += 1;
        let before = std::mem::replace(fired, entry);
        self.release(before);
        before
    }

    fn add(&mut self, entry: Entry) -> u32 {
        let at = match self.free.pop() {
            Some(at) => {
                self.entries[at as usize] = entry;
                at
            }
            None => {
                self.entries.push(entry);
                self.entries.len() as u32 - 1
            }
        };
        self.current.push(at);
        at
    }

    /// A group names this entry no more.
    #[inline]
    pub fn release(&mut self, fired: u32) {
        if fired != NOT_FIRED {
            let entry = &mut self.entries[fired as usize];
            entry.groups -= 1;
            if entry.groups == 0 {
                self.unnamed.push(fired);
            }
        }
    }

    pub fn end_epoch(&mut self) {
        self.current.clear();
        self.free.append(&mut self.unnamed);
    }

    /// What is known of the pane that `firing` replaces.
    pub fn replaced(&self, fired: u32, firing: &Firing) -> PaneRow {
        let Entry { timing, at, watermark, .. } = self.entries[fired as usize];
        let early = timing == PaneTiming::Early;
        PaneRow {
            timing,
            index: firing.index - 1,
            nonspeculative_index: if early { -1 } else { firing.nonspeculative_index - 1 },
            is_first: firing.index == 1,
            is_last: false,
            fired_at: at,
            watermark,
        }
    }

    /// Timing, clock and watermark of a number.
    pub fn times(&self, fired: u32) -> (PaneTiming, i64, i64) {
        let Entry { timing, at, watermark, .. } = self.entries[fired as usize];
        (timing, at, watermark)
    }

    pub fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.free.capacity() * size_of::<u32>()
    }

    #[cfg(test)]
    pub fn used(&self) -> usize {
        self.entries.len() - 1 - self.free.len()
    }
}
