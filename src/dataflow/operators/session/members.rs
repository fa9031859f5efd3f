//! The rows of open sessions, where rows may go again.
//!
//! In: rows that came with the slot of their session, and what becomes of sessions. Out: the rows of
//! a session in order of time. A session that has lost all of its rows while a pane of it is shown is
//! *emptied*: no row joins it, and it lives on until that pane is taken back. Invariants:
//! the weight of a member is positive; equal rows of a session are one member.

use arrow::array::{RecordBatch, UInt32Array};
use hashbrown::HashMap;

use super::index::SessionIndex;
use crate::error::Result;
use crate::state::{RowId, RowStore};
use crate::types::ChangeBatch;
use crate::types::hash::{PrintHasher, fingerprints};

/// A kept row.
#[derive(Clone, Copy)]
pub struct Member {
    pub time: i64,
    /// Fingerprint of the row.
    pub print: u128,
    pub id: RowId,
    pub weight: i64,
}

impl Member {
    fn order(&self) -> (i64, u128) {
        (self.time, self.print)
    }
}

pub struct Members {
    rows: RowStore,
    /// In order of time and fingerprint.
    by_slot: Vec<Vec<Member>>,
    count: usize,
    /// Slots of emptied sessions, by key.
    emptied: HashMap<u128, Vec<u32>, PrintHasher>,
}

impl Members {
    pub fn new(rows: RowStore) -> Members {
        Members { rows, by_slot: Vec::new(), count: 0, emptied: HashMap::default() }
    }

    pub fn grow(&mut self, slots: usize) {
        if slots > self.by_slot.len() {
            self.by_slot.resize_with(slots, Vec::new);
        }
    }

    /// The rows of a session, in order of time.
    pub fn of(&self, slot: u32) -> &[Member] {
        &self.by_slot[slot as usize]
    }

    /// Takes all rows of a session.
    pub fn take(&mut self, slot: u32) -> Vec<Member> {
        std::mem::take(&mut self.by_slot[slot as usize])
    }

    /// Gives a session without rows these, which were members before.
    pub fn put(&mut self, slot: u32, members: Vec<Member>) {
        self.by_slot[slot as usize] = members;
    }

    /// The rows of `part` are rows of `slot` from now on.
    pub fn merge(&mut self, part: u32, slot: u32) {
        let moved = self.take(part);
        self.by_slot[slot as usize].extend(moved);
        self.arrange(slot);
    }

    /// Adds rows of a batch to the sessions that `slots` gives for each; those of `None` are left.
    pub fn add(&mut self, batch: &ChangeBatch, times: &[i64], slots: &[Option<u32>]) -> Result<()> {
        let taken: Vec<u32> = (0..).zip(slots).filter_map(|(row, slot)| slot.map(|_| row)).collect();
        if taken.is_empty() {
            return Ok(());
        }
        let prints = fingerprints(batch.rows.columns(), batch.len());
        let rows = batch.take(&UInt32Array::from(taken.clone()))?.rows;
        let first = self.rows.append(rows)?;
        let mut changed = Vec::new();
        for (row, id) in taken.into_iter().zip(first..) {
            let (Some(slot), row) = (slots[row as usize], row as usize) else { continue };
            let member = Member { time: times[row], print: prints[row], id, weight: batch.weights.get(row) };
            let members = &mut self.by_slot[slot as usize];
            if members.last().is_some_and(|last| last.order() >= member.order()) {
                changed.push(slot);
            }
            members.push(member);
            self.count += 1;
        }
        changed.sort_unstable();
        changed.dedup();
        changed.into_iter().for_each(|slot| self.arrange(slot));
        Ok(())
    }

    /// Puts the rows of a session in order and adds up equal ones.
    fn arrange(&mut self, slot: u32) {
        let Members { rows, by_slot, count, .. } = self;
        let members = &mut by_slot[slot as usize];
        // Mostly two ordered runs, which a stable sort finds.
        members.sort_by_key(Member::order);
        members.dedup_by(|later, kept| {
            let equal = later.order() == kept.order();
            if equal {
                kept.weight += later.weight;
                rows.release(later.id);
                *count -= 1;
            }
            equal
        });
    }

    /// Where a session has this row.
    pub fn find(&self, slot: u32, time: Option<i64>, print: u128) -> Option<usize> {
        let members = self.of(slot);
        match time {
            Some(time) => members.binary_search_by_key(&(time, print), Member::order).ok(),
            None => members.iter().position(|m| m.print == print),
        }
    }

    /// Changes the weight of a row.
    pub fn weigh(&mut self, slot: u32, at: usize, weight: i64) {
        self.by_slot[slot as usize][at].weight += weight;
    }

    /// Gives back the rows of a session that are gone.
    pub fn drop_gone(&mut self, slot: u32) {
        let Members { rows, by_slot, count, .. } = self;
        by_slot[slot as usize].retain(|member| {
            if member.weight <= 0 {
                rows.release(member.id);
                *count -= 1;
            }
            member.weight > 0
        });
    }

    pub fn rows_of(&self, ids: &[RowId]) -> Result<RecordBatch> {
        self.rows.gather(ids, None)
    }

    /// A session has no rows any more; its pane stays for now.
    pub fn set_emptied(&mut self, print: u128, slot: u32) {
        self.emptied.entry(print).or_default().push(slot);
    }

    pub fn is_emptied(&self, slot: u32, index: &SessionIndex) -> bool {
        let slots = self.emptied.get(&index.print(slot));
        slots.is_some_and(|slots| slots.contains(&slot))
    }

    /// Takes the emptied sessions of a key that overlap or touch these bounds.
    pub fn take_emptied(&mut self, print: u128, bounds: (i64, i64), index: &SessionIndex) -> Vec<u32> {
        if self.emptied.is_empty() {
            return Vec::new();
        }
        let Some(slots) = self.emptied.get_mut(&print) else { return Vec::new() };
        let touches = |slot: &mut u32| {
            let (start, end) = index.bounds(*slot);
            start <= bounds.1 && bounds.0 <= end
        };
        let taken = slots.extract_if(.., touches).collect();
        if slots.is_empty() {
            self.emptied.remove(&print);
        }
        taken
    }

    /// A session is over. True if it was emptied.
    pub fn forget(&mut self, slot: u32, index: &SessionIndex) -> bool {
        let gone = self.take(slot);
        self.count -= gone.len();
        gone.iter().for_each(|member| self.rows.release(member.id));
        let print = index.print(slot);
        let Some(slots) = self.emptied.get_mut(&print) else { return false };
        let before = slots.len();
        slots.retain(|s| *s != slot);
        let was_emptied = slots.len() < before;
        if slots.is_empty() {
            self.emptied.remove(&print);
        }
        was_emptied
    }

    /// Rewrites rows when most of those held are dead.
    pub fn compact(&mut self) -> Result<()> {
        if let Some(moved) = self.rows.compact_if_worth()? {
            self.by_slot.iter_mut().flatten().for_each(|member| moved.follow(&mut member.id));
        }
        Ok(())
    }

    /// Rows of open sessions.
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn bytes(&self) -> usize {
        let lists: usize = self.by_slot.iter().map(|m| m.capacity() * size_of::<Member>()).sum();
        self.rows.bytes() + self.by_slot.capacity() * size_of::<Vec<Member>>() + lists
    }
}
