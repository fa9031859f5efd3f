//! Append-only top-n: a group keeps only the rows that are in range.
//!
//! A row that is after the last kept one of a full group is passed over without being
//! stored. Where one row is kept, it stands in the group itself. Groups are identified by 96
//! bits of their fingerprints. Invariant: the rows of a
//! group are in order of (key, tie), and none of them has a number beyond the last.

use std::num::NonZeroU32;

use arrow::array::UInt32Array;

use super::Placed;
use super::ranks::{Limits, Shown, show};
use crate::error::Result;
use crate::state::print_map::tag_of;
use crate::state::{Chunks, Key, Moved, RowId, RowStore, SlotIndex};
use crate::types::change_batch::take_rows;
use crate::types::order::Ranking;
use crate::types::{ChangeBatch, Weights};

struct Entry<K> {
    key: K,
    tie: u64,
    /// One more than the id, so that no entry needs no further bytes.
    after_id: NonZeroU32,
}

impl<K: Key> Entry<K> {
    fn new(key: K, tie: u64, id: RowId) -> Entry<K> {
        Entry { key, tie, after_id: NonZeroU32::MIN.saturating_add(id) }
    }

    fn id(&self) -> RowId {
        self.after_id.get() - 1
    }

    fn place(&self) -> (&K, u64) {
        (&self.key, self.tie)
    }
}

struct Group<K> {
    /// The bits of the fingerprint that the index does not have.
    print: [u32; 2],
    dirty: bool,
    /// Different keys held, for DENSE_RANK.
    distinct: u32,
    /// The best row; the others follow in `rest`.
    best: Option<Entry<K>>,
    rest: Rest<K>,
}

/// Rows after the best one; most often none.
#[allow(clippy::box_collection, reason = "groups without such rows spend eight bytes")]
struct Rest<K>(Option<Box<Vec<Entry<K>>>>);

impl<K> std::ops::Deref for Rest<K> {
    type Target = [Entry<K>];
    fn deref(&self) -> &[Entry<K>] {
        self.0.as_ref().map_or(&[], |rows| rows.as_slice())
    }
}

impl<K> Rest<K> {
    fn insert(&mut self, at: usize, entry: Entry<K>) {
        let rows = self.0.get_or_insert_default();
        if rows.len() == rows.capacity() {
            rows.reserve_exact(2.max(rows.len() / 8));
        }
        rows.insert(at, entry);
    }

    fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |r| size_of::<Vec<Entry<K>>>() + r.capacity() * size_of::<Entry<K>>())
    }

    /// The rows from a position on, which leave.
    fn cut(&mut self, from: usize) -> impl Iterator<Item = Entry<K>> + '_ {
        self.0.iter_mut().flat_map(move |rows| rows.drain(from..))
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry<K>> {
        self.0.iter_mut().flat_map(|rows| rows.iter_mut())
    }
}

fn halves(print: u128) -> [u32; 2] {
    [print as u32, (print >> 32) as u32]
}

impl<K: Key> Group<K> {
    fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry<K>> {
        self.best.iter().chain(self.rest.iter())
    }

    fn len(&self) -> usize {
        self.best.is_some() as usize + self.rest.len()
    }

    fn last(&self) -> Option<&Entry<K>> {
        self.rest.last().or(self.best.as_ref())
    }
}

/// The groups of an append-only top-n.
pub struct FirstRows<K: Key> {
    limits: Limits,
    last: u64,
    slots: SlotIndex,
    groups: Chunks<Group<K>>,
    free: Vec<u32>,
    dirty: Vec<u32>,
    entries: usize,
    /// Bytes of keys and of rows after the best ones.
    other_bytes: usize,
    /// Whether equal rows may have been stored.
    repeats: bool,
}

/// Every row once for each of its copies.
pub fn single(batch: ChangeBatch) -> Result<ChangeBatch> {
    let Weights::Each(weights) = &batch.weights else { return Ok(batch) };
    debug_assert!(weights.values().iter().all(|w| *w > 0), "append-only input has positive weights");
    let rows = (0..batch.len() as u32)
        .flat_map(|row| std::iter::repeat_n(row, weights.value(row as usize).max(0) as usize));
    let taken = batch.take(&UInt32Array::from_iter_values(rows))?;
    Ok(ChangeBatch::inserts(taken.rows))
}

impl<K: Key> FirstRows<K> {
    pub fn new(limits: Limits) -> FirstRows<K> {
        FirstRows {
            last: limits.range.last.unwrap_or(u64::MAX),
            limits,
            slots: SlotIndex::default(),
            groups: Chunks::default(),
            free: Vec::new(),
            dirty: Vec::new(),
            entries: 0,
            other_bytes: 0,
            repeats: false,
        }
    }

    /// Whether equal rows may be held.
    pub fn repeats(&self) -> bool {
        self.repeats
    }

    pub fn has(&self, group: u128) -> bool {
        self.find(group).is_some()
    }

    /// Takes rows; `shown` gets what the groups showed before their first change.
    pub fn insert(
        &mut self,
        mut placed: Placed<K>,
        store: &mut RowStore,
        mut shown: Option<&mut Vec<Shown>>,
        released: &mut Vec<RowId>,
    ) -> Result<()> {
        let mut candidates: Vec<(u32, u32)> = Vec::new();
        for row in 0..placed.groups.len() {
            let slot = self.slot(placed.groups[row]);
            if self.admits(&self.groups[slot], &placed.keys[row], placed.ties[row]) {
                candidates.push((row as u32, slot));
            }
        }
        let rows = match candidates.len() == placed.rows.num_rows() {
            true => placed.rows.clone(),
            false => {
                let picked = UInt32Array::from_iter_values(candidates.iter().map(|(row, _)| *row));
                take_rows(&placed.rows, &picked)?
            }
        };
        let first = store.append(rows)?;
        for (id, (row, slot)) in (first..).zip(candidates) {
            let row = row as usize;
            // An earlier row of this batch may have closed the group to this one.
            if !self.admits(&self.groups[slot], &placed.keys[row], placed.ties[row]) {
                released.push(id);
                continue;
            }
            self.capture(slot, shown.as_deref_mut());
            let key = std::mem::replace(&mut placed.keys[row], K::least());
            self.add(slot, Entry::new(key, placed.ties[row], id), released);
        }
        Ok(())
    }

    fn find(&self, print: u128) -> Option<u32> {
        self.slots.find(tag_of(print), |slot| self.groups[slot].print == halves(print))
    }

    fn slot(&mut self, print: u128) -> u32 {
        if let Some(slot) = self.find(print) {
            return slot;
        }
        let group = Group { print: halves(print), best: None, rest: Rest(None), distinct: 0, dirty: false };
        let slot = self.free.pop().unwrap_or(self.groups.len() as u32);
        self.groups.put(slot, group);
        self.slots.insert(tag_of(print), slot);
        slot
    }

    /// Whether a row can be in range, as far as the last kept row tells.
    #[inline]
    fn admits(&self, group: &Group<K>, key: &K, tie: u64) -> bool {
        let Some(last) = group.last() else { return self.last > 0 };
        match self.limits.ranking {
            Ranking::RowNumber => (group.len() as u64) < self.last || (key, tie) < last.place(),
            Ranking::Rank => (group.len() as u64) < self.last || *key <= last.key,
            Ranking::DenseRank => (group.distinct as u64) < self.last || *key <= last.key,
        }
    }

    /// At the first change of a group in an epoch, notes what it showed.
    fn capture(&mut self, slot: u32, shown: Option<&mut Vec<Shown>>) {
        let group = &mut self.groups[slot];
        if group.dirty {
            return;
        }
        group.dirty = true;
        self.dirty.push(slot);
        if let Some(shown) = shown {
            let rows = group.entries().map(|e| (&e.key, e.id(), 1));
            show(rows, &self.limits, -1, shown);
        }
    }

    fn add(&mut self, slot: u32, entry: Entry<K>, released: &mut Vec<RowId>) {
        let group = &mut self.groups[slot];
        self.entries += 1;
        self.other_bytes += entry.key.heap_bytes();
        let new_key = group.distinct == 0
            || self.limits.ranking == Ranking::DenseRank && {
                let at = group.rest.partition_point(|e| e.key < entry.key);
                group.rest.get(at).is_none_or(|e| e.key != entry.key)
                    && group.best.as_ref().is_none_or(|e| e.key != entry.key)
            };
        group.distinct += new_key as u32;
        let entry = match group.best.as_mut() {
            None => {
                group.best = Some(entry);
                return;
            }
            Some(best) if entry.place() < best.place() => std::mem::replace(best, entry),
            Some(_) => entry,
        };
        if self.last == 1 && self.limits.ranking == Ranking::RowNumber {
            self.entries -= 1;
            self.other_bytes -= entry.key.heap_bytes();
            released.push(entry.id());
            return;
        }
        let at = group.rest.partition_point(|e| e.place() <= entry.place());
        let before = at.checked_sub(1).map(|i| &group.rest[i]).or(group.best.as_ref());
        self.repeats |= before.is_some_and(|e| e.place() == entry.place());
        let before = group.rest.bytes();
        group.rest.insert(at, entry);
        self.other_bytes += group.rest.bytes() - before;
        self.trim(slot, released);
    }

    /// Drops the rows that the newest one has pushed out of range: one row, or one set of
    /// peers, because there was none beyond the range before.
    fn trim(&mut self, slot: u32, released: &mut Vec<RowId>) {
        let group = &mut self.groups[slot];
        let Some(last) = group.rest.last() else { return };
        let keep = match self.limits.ranking {
            Ranking::RowNumber => self.last - 1,
            Ranking::Rank => {
                // Rows before the last peers; with `last` or more of them, the peers are out.
                let peers = group.rest.partition_point(|e| e.key < last.key) as u64;
                let first_is_peer = group.best.as_ref().is_some_and(|e| e.key == last.key);
                if first_is_peer || peers + 1 < self.last { u64::MAX } else { peers }
            }
            Ranking::DenseRank if group.distinct as u64 <= self.last => u64::MAX,
            Ranking::DenseRank => {
                group.distinct -= 1;
                group.rest.partition_point(|e| e.key < last.key) as u64
            }
        };
        let keep = usize::try_from(keep).unwrap_or(usize::MAX).min(group.rest.len());
        for entry in group.rest.cut(keep) {
            self.entries -= 1;
            self.other_bytes -= entry.key.heap_bytes();
            released.push(entry.id());
        }
    }

    /// Notes what the changed groups show now.
    pub fn end_epoch(&mut self, mut shown: Option<&mut Vec<Shown>>) {
        for slot in std::mem::take(&mut self.dirty) {
            let group = &mut self.groups[slot];
            group.dirty = false;
            if let Some(shown) = shown.as_deref_mut() {
                let rows = group.entries().map(|e| (&e.key, e.id(), 1));
                show(rows, &self.limits, 1, shown);
            }
        }
    }

    /// Drops a group; `shown` gets what it held.
    pub fn forget(&mut self, print: u128, shown: Option<&mut Vec<Shown>>, released: &mut Vec<RowId>) {
        let Some(slot) = self.find(print) else { return };
        self.slots.remove(tag_of(print), slot);
        let group = &mut self.groups[slot];
        if let Some(shown) = shown {
            let rows = group.entries().map(|e| (&e.key, e.id(), 1));
            show(rows, &self.limits, 1, shown);
        }
        self.other_bytes -= group.rest.bytes();
        let mut rest = Rest(group.rest.0.take());
        for entry in group.best.take().into_iter().chain(rest.cut(0)) {
            self.entries -= 1;
            self.other_bytes -= entry.key.heap_bytes();
            released.push(entry.id());
        }
        self.free.push(slot);
    }

    /// Follows rows that the store has moved.
    pub fn relocate(&mut self, moved: &Moved) {
        for entry in self.groups.iter_mut().flat_map(|g| g.best.iter_mut().chain(g.rest.iter_mut())) {
            let mut id = entry.id();
            moved.follow(&mut id);
            entry.after_id = NonZeroU32::MIN.saturating_add(id);
        }
    }

    /// Entries and bytes.
    pub fn size(&self) -> (usize, usize) {
        let lists = (self.free.capacity() + self.dirty.capacity()) * size_of::<u32>();
        (self.entries, self.groups.bytes() + self.slots.bytes() + self.other_bytes + lists)
    }
}
