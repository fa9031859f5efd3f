//! The open sessions of all keys, by key and time.
//!
//! A session is a slot number. The table maps 32 bits of the 96 of the key's fingerprint to
//! the first slot of the key; further sessions follow by `next`, in order of time, so a key
//! with one session costs one table entry and one head. Sessions of a key neither overlap nor
//! touch. A slot taken out of its key keeps its head until it is released: `retire` for good, `detach`
//! as a session that lives on without rows.

use crate::state::print_map::tag_of;
use crate::state::{Chunks, ShortPrint, SlotIndex, trim_free};

/// Space for more slots than this is given back by `clear`.
const SLOTS_KEPT_MAX: usize = 65_536;
/// No slot.
const NONE: u32 = u32::MAX;

/// In place of the next slot where a session is gone.
const GONE: u32 = u32::MAX - 1;

#[derive(Clone, Copy)]
struct Head {
    print: ShortPrint,
    next: u32,
    start: i64,
    end: i64,
}

/// Where a proposed window went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proposed {
    /// A session of its own, in a new slot.
    New(u32),
    /// Into the session of this slot, whose bounds may have grown.
    Into(u32),
}

#[derive(Default)]
pub struct SessionIndex {
    table: SlotIndex,
    heads: Chunks<Head>,
    free: Vec<u32>,
}

impl SessionIndex {
    /// Slots ever used; all slot numbers are below it.
    pub fn slots(&self) -> usize {
        self.heads.len()
    }

    /// Slots in use.
    pub fn len(&self) -> usize {
        self.heads.len() - self.free.len()
    }

    pub fn bytes(&self) -> usize {
        self.heads.bytes() + self.table.bytes() + self.free.capacity() * size_of::<u32>()
    }

    pub fn bounds(&self, slot: u32) -> (i64, i64) {
        let head = &self.heads[slot];
        (head.start, head.end)
    }

    pub fn print(&self, slot: u32) -> u128 {
        self.heads[slot].print.print()
    }

    pub fn is_live(&self, slot: u32) -> bool {
        (slot as usize) < self.heads.len() && self.heads[slot].next != GONE
    }

    /// The slots in use, ascending.
    pub fn live_slots(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.heads.len() as u32).filter(|s| self.heads[*s].next != GONE)
    }

    #[inline]
    fn first(&self, print: u128) -> Option<u32> {
        let short = ShortPrint::of(print);
        self.table.find(tag_of(print), |slot| self.heads[slot].print == short)
    }

    /// The sessions of a key that overlap or touch `[start, end)`, in order.
    pub fn touching(&self, print: u128, start: i64, end: i64, found: &mut Vec<u32>) {
        found.clear();
        let mut slot = self.first(print).unwrap_or(NONE);
        while slot != NONE {
            let head = &self.heads[slot];
            if head.start > end {
                break;
            }
            if head.end >= start {
                found.push(slot);
            }
            slot = head.next;
        }
    }

    /// Puts a window into the session that it touches, or makes it one. Sessions that become
    /// part of the first touched one are taken out of the key and added to `swallowed`.
    #[inline]
    pub fn propose(&mut self, print: u128, start: i64, end: i64, swallowed: &mut Vec<u32>) -> Proposed {
        let Some(first) = self.first(print) else {
            return Proposed::New(self.insert(print, start, end, NONE));
        };
        let (mut before, mut slot) = (NONE, first);
        while slot != NONE && self.heads[slot].end < start {
            (before, slot) = (slot, self.heads[slot].next);
        }
        if slot == NONE || self.heads[slot].start > end {
            return Proposed::New(self.insert(print, start, end, before));
        }
        let head = &mut self.heads[slot];
        head.start = head.start.min(start);
        if end > head.end {
            head.end = end;
            self.swallow_following(slot, swallowed);
        }
        Proposed::Into(slot)
    }

    /// Joins the sessions after `slot` that it touches now.
    fn swallow_following(&mut self, slot: u32, swallowed: &mut Vec<u32>) {
        loop {
            let Head { end, next, .. } = self.heads[slot];
            if next == NONE || self.heads[next].start > end {
                return;
            }
            let following = self.heads[next];
            let head = &mut self.heads[slot];
            head.end = end.max(following.end);
            head.next = following.next;
            swallowed.push(next);
        }
    }

    /// A new session after the slot `before`, or as the first of its key.
    #[cold]
    fn insert(&mut self, print: u128, start: i64, end: i64, before: u32) -> u32 {
        let mut head = Head { print: ShortPrint::of(print), next: NONE, start, end };
        let tag = tag_of(print);
        if before != NONE {
            head.next = self.heads[before].next;
        } else if let Some(first) = self.first(print) {
            head.next = first;
        }
        let slot = self.free.pop().unwrap_or(self.heads.len() as u32);
        self.heads.put(slot, head);
        if before != NONE {
            self.heads[before].next = slot;
        } else if head.next != NONE {
            self.table.replace(tag, head.next, slot);
        } else {
            self.table.insert(tag, slot);
        }
        slot
    }

    /// Takes a session that is over out of its key and frees its slot.
    pub fn remove(&mut self, slot: u32) {
        self.detach(slot);
        self.release(slot);
    }

    /// Takes a session out of its key: it is live, but no window joins it.
    pub fn detach(&mut self, slot: u32) {
        let Head { print, next, .. } = self.heads[slot];
        let (print, tag) = (print.print(), tag_of(print.print()));
        match self.first(print) {
            Some(first) if first == slot => match next {
                NONE => drop(self.table.remove(tag, slot)),
                next => self.table.replace(tag, slot, next),
            },
            Some(mut before) => {
                while self.heads[before].next != slot && self.heads[before].next != NONE {
                    before = self.heads[before].next;
                }
                self.heads[before].next = next;
            }
            None => {}
        }
    }

    /// Gives a session bounds within those that it has.
    pub fn shrink(&mut self, slot: u32, start: i64, end: i64) {
        let head = &mut self.heads[slot];
        (head.start, head.end) = (start, end);
    }

    /// Frees the slot of a swallowed session.
    pub fn release(&mut self, slot: u32) {
        self.heads[slot].next = GONE;
        self.free.push(slot);
    }

    /// Marks a swallowed session as gone without freeing its slot.
    pub fn retire(&mut self, slot: u32) {
        self.heads[slot].next = GONE;
    }

    /// Forgets everything, and gives back the space of many sessions.
    pub fn clear(&mut self) {
        if self.heads.len() > SLOTS_KEPT_MAX {
            *self = SessionIndex::default();
        }
        self.table.clear();
        self.heads.clear();
        self.free.clear();
    }

    /// Gives back room that most is empty of.
    pub fn trim(&mut self) {
        self.table.trim();
        trim_free(&mut self.free);
    }
}
