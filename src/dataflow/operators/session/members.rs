//! The rows of open sessions, where rows may go again.
//!
//! In: rows that came with the session they are of, and what becomes of sessions. Out: the rows of
//! a session in order of time, which are those of its key within its bounds. A session that has lost
//! all of its rows while a pane of it is shown is
//! *emptied*: no row joins it, and it lives on until that pane is taken back. Invariants:
//! the weight of a member is positive; equal rows of a session are one member.

use arrow::array::{RecordBatch, UInt32Array};
use hashbrown::HashMap;

use super::index::SessionIndex;
use crate::dataflow::operators::session_rows::{At, Key, Member, SessionRows};
use crate::error::Result;
use crate::state::{RowId, RowStore};
use crate::types::ChangeBatch;
use crate::types::hash::{PrintHasher, fingerprints};

pub struct Members {
    rows: RowStore,
    kept: SessionRows,
    /// Slots of emptied sessions, by key.
    emptied: HashMap<u128, Vec<u32>, PrintHasher>,
}

impl Members {
    pub fn new(rows: RowStore) -> Members {
        Members { rows, kept: SessionRows::default(), emptied: HashMap::default() }
    }

    /// The rows of a session, in order of time.
    pub fn of(&self, slot: u32, index: &SessionIndex) -> impl Iterator<Item = Member> {
        let (start, end) = index.bounds(slot);
        self.kept.between(Key::of(index.print(slot)), start, end)
    }

    /// Adds rows of a batch to keys by fingerprint, one for each; those of `None` are left.
    pub fn add(&mut self, batch: &ChangeBatch, times: &[i64], keys: &[Option<u128>]) -> Result<()> {
        let prints = fingerprints(batch.rows.columns(), batch.len());
        let mut new = Vec::new();
        for (row, key) in keys.iter().enumerate() {
            let Some(key) = key else { continue };
            let at = At { key: Key::of(*key), time: times[row], print: prints[row] as u64 };
            match self.kept.weight(at) {
                Some(weight) => self.kept.weigh(at, weight + batch.weights.get(row)),
                None => new.push((row as u32, at)),
            }
        }
        let taken = UInt32Array::from_iter_values(new.iter().map(|(row, _)| *row));
        let first = self.rows.append(batch.take(&taken)?.rows)?;
        for (id, (row, at)) in (first..).zip(new) {
            let weight = batch.weights.get(row as usize);
            match self.kept.weight(at) {
                None => self.kept.add(at, id, weight),
                // Equal rows of the batch.
                Some(before) => {
                    self.kept.weigh(at, before + weight);
                    self.rows.release(id);
                }
            }
        }
        Ok(())
    }

    /// Where a session has a row of this time, or of any.
    pub fn find(&self, slot: u32, time: Option<i64>, print: u64, index: &SessionIndex) -> Option<At> {
        let Some(time) = time else {
            return self.of(slot, index).find(|m| m.at.print == print).map(|m| m.at);
        };
        let at = At { key: Key::of(index.print(slot)), time, print };
        self.kept.weight(at).map(|_| at)
    }

    /// Changes the weight of a row.
    pub fn weigh(&mut self, at: At, change: i64) {
        if let Some(weight) = self.kept.weight(at) {
            self.kept.weigh(at, weight + change);
        }
    }

    /// Gives back the rows of a session that are gone; the others are left.
    pub fn drop_gone(&mut self, slot: u32, index: &SessionIndex) -> Vec<Member> {
        let (left, gone): (Vec<Member>, Vec<Member>) = self.of(slot, index).partition(|m| m.weight > 0);
        self.drop_all(gone);
        left
    }

    fn drop_all(&mut self, gone: Vec<Member>) {
        for member in gone {
            self.kept.remove(member.at);
            self.rows.release(member.id);
        }
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
        let print = index.print(slot);
        let emptied = self.emptied.get_mut(&print);
        let Some((slots, at)) = emptied.and_then(|s| s.iter().position(|e| *e == slot).map(|at| (s, at)))
        else {
            let gone = self.of(slot, index).collect();
            self.drop_all(gone);
            return false;
        };
        slots.swap_remove(at);
        if slots.is_empty() {
            self.emptied.remove(&print);
        }
        true
    }

    /// Rewrites rows when most of those held are dead.
    pub fn compact(&mut self) -> Result<()> {
        if let Some(moved) = self.rows.compact_if_worth()? {
            self.kept.follow(&moved);
        }
        Ok(())
    }

    /// Rows of open sessions.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    pub fn bytes(&self) -> usize {
        self.rows.bytes() + self.kept.bytes()
    }
}
