//! The open sessions of all keys, by key and time.
//!
//! A session is a slot number. The table maps a 32-bit tag of the key's 128-bit fingerprint to
//! the first slot of the key; further sessions follow by `next`, in order of time, so a key
//! with one session costs one table entry and one head. Sessions of a key neither overlap nor
//! touch. A slot taken out of its key keeps its head until it is released: `retire` for good, `detach`
//! as a session that lives on without rows.

use hashbrown::HashTable;

/// Space for more slots than this is given back by `clear`.
const SLOTS_KEPT_MAX: usize = 65_536;
/// No slot.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Entry {
    tag: u32,
    slot: u32,
}

#[derive(Clone, Copy)]
struct Head {
    print: u128,
    start: i64,
    end: i64,
    next: u32,
    live: bool,
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
    table: HashTable<Entry>,
    heads: Vec<Head>,
    free: Vec<u32>,
}

fn tag_of(print: u128) -> u32 {
    (print >> 64) as u32
}

fn hash_of(tag: u32) -> u64 {
    (tag as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
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
        self.heads.capacity() * size_of::<Head>()
            + self.table.capacity() * (size_of::<Entry>() + 1)
            + self.free.capacity() * size_of::<u32>()
    }

    pub fn bounds(&self, slot: u32) -> (i64, i64) {
        let head = &self.heads[slot as usize];
        (head.start, head.end)
    }

    pub fn print(&self, slot: u32) -> u128 {
        self.heads[slot as usize].print
    }

    pub fn is_live(&self, slot: u32) -> bool {
        self.heads.get(slot as usize).is_some_and(|h| h.live)
    }

    /// The slots in use, ascending.
    pub fn live_slots(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.heads.len() as u32).filter(|s| self.heads[*s as usize].live)
    }

    fn first(&self, print: u128) -> Option<u32> {
        let tag = tag_of(print);
        let same = |e: &Entry| e.tag == tag && self.heads[e.slot as usize].print == print;
        self.table.find(hash_of(tag), same).map(|e| e.slot)
    }

    /// The sessions of a key that overlap or touch `[start, end)`, in order.
    pub fn touching(&self, print: u128, start: i64, end: i64, found: &mut Vec<u32>) {
        found.clear();
        let mut slot = self.first(print).unwrap_or(NONE);
        while slot != NONE {
            let head = &self.heads[slot as usize];
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
        while slot != NONE && self.heads[slot as usize].end < start {
            (before, slot) = (slot, self.heads[slot as usize].next);
        }
        if slot == NONE || self.heads[slot as usize].start > end {
            return Proposed::New(self.insert(print, start, end, before));
        }
        let head = &mut self.heads[slot as usize];
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
            let Head { end, next, .. } = self.heads[slot as usize];
            if next == NONE || self.heads[next as usize].start > end {
                return;
            }
            let following = self.heads[next as usize];
            let head = &mut self.heads[slot as usize];
            head.end = end.max(following.end);
            head.next = following.next;
            swallowed.push(next);
        }
    }

    /// A new session after the slot `before`, or as the first of its key.
    #[cold]
    fn insert(&mut self, print: u128, start: i64, end: i64, before: u32) -> u32 {
        let mut head = Head { print, start, end, next: NONE, live: true };
        let tag = tag_of(print);
        if before != NONE {
            head.next = self.heads[before as usize].next;
        } else if let Some(first) = self.first(print) {
            head.next = first;
        }
        let slot = match self.free.pop() {
            Some(slot) => {
                self.heads[slot as usize] = head;
                slot
            }
            None => {
                self.heads.push(head);
                self.heads.len() as u32 - 1
            }
        };
        if before != NONE {
            self.heads[before as usize].next = slot;
        } else if head.next != NONE {
            let first = head.next;
            if let Some(entry) = self.table.find_mut(hash_of(tag), |e| e.slot == first) {
                entry.slot = slot;
            }
        } else {
            self.table.insert_unique(hash_of(tag), Entry { tag, slot }, |e| hash_of(e.tag));
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
        let Head { print, next, .. } = self.heads[slot as usize];
        let hash = hash_of(tag_of(print));
        match self.first(print) {
            Some(first) if first == slot => {
                if let Ok(mut entry) = self.table.find_entry(hash, |e| e.slot == slot) {
                    if next == NONE {
                        entry.remove();
                    } else {
                        entry.get_mut().slot = next;
                    }
                }
            }
            Some(mut before) => {
                while self.heads[before as usize].next != slot && self.heads[before as usize].next != NONE {
                    before = self.heads[before as usize].next;
                }
                self.heads[before as usize].next = next;
            }
            None => {}
        }
    }

    /// Gives a session bounds within those that it has.
    pub fn shrink(&mut self, slot: u32, start: i64, end: i64) {
        let head = &mut self.heads[slot as usize];
        (head.start, head.end) = (start, end);
    }

    /// Frees the slot of a swallowed session.
    pub fn release(&mut self, slot: u32) {
        self.heads[slot as usize].live = false;
        self.free.push(slot);
    }

    /// Marks a swallowed session as gone without freeing its slot.
    pub fn retire(&mut self, slot: u32) {
        self.heads[slot as usize].live = false;
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
}
