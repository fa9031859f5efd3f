//! Top-n over an input that retracts: all rows, in one ordered map.
//!
//! The tree orders rows by group, sort key, tie, which is 64 bits of the row, and 32 bits more that no
//! row knows beforehand, so a deletion finds its row, and the next row of a group that lost one, in
//! O(log n). Equal rows
//! are one entry with a weight. Where only the first rows are left out (`OFFSET` alone), what
//! changes is the input itself less the change of the rows left out.

use std::ops::Bound;

use arrow::array::UInt32Array;
use hashbrown::HashMap;

use super::Placed;
use super::ranks::{Limits, Shown, show};
use crate::error::Result;
use crate::state::{Chunks, Key, Moved, Narrow, RowId, RowStore, SlotIndex, SortedBlocks, WideWeights};
use crate::types::Weights;
use crate::types::change_batch::take_rows;
use crate::types::hash::PrintHasher;
use crate::types::order::RankRange;

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place<K> {
    group: u32,
    key: K,
    tie: u64,
    print: u32,
}

struct Row {
    id: RowId,
    weight: Narrow,
}

fn thirds(print: u128) -> [u32; 3] {
    [print as u32, (print >> 32) as u32, (print >> 64) as u32]
}

/// Numbers of groups, identified by 96 bits of their fingerprints.
#[derive(Default)]
struct Slots {
    index: SlotIndex,
    prints: Chunks<[u32; 3]>,
    free: Vec<u32>,
}

impl Slots {
    fn find(&self, print: u128) -> Option<u32> {
        let print = thirds(print);
        self.index.find(print[2], |slot| self.prints[slot] == print)
    }

    fn find_or_add(&mut self, print: u128) -> u32 {
        if let Some(slot) = self.find(print) {
            return slot;
        }
        let slot = self.free.pop().unwrap_or(self.prints.len() as u32);
        self.prints.put(slot, thirds(print));
        self.index.insert(self.prints[slot][2], slot);
        slot
    }

    fn release(&mut self, slot: u32) {
        if self.index.remove(self.prints[slot][2], slot) {
            self.free.push(slot);
        }
    }

    fn bytes(&self) -> usize {
        self.index.bytes() + self.prints.bytes() + self.free.capacity() * size_of::<u32>()
    }
}

/// The rows of a top-n whose input retracts.
pub struct AllRows<K: Key> {
    /// What is computed from the tree: the rows shown, or those left out.
    limits: Limits,
    /// The rows shown are all but those in `limits`.
    inverted: bool,
    slots: Slots,
    tree: SortedBlocks<Place<K>, Row>,
    /// By id of row.
    wide: WideWeights,
    /// Groups changed in this epoch.
    dirty: Vec<u32>,
    key_bytes: usize,
}

impl<K: Key> AllRows<K> {
    pub fn new(limits: Limits) -> AllRows<K> {
        let inverted = limits.range.last.is_none() && !limits.with_rank;
        let range = match inverted {
            true => RankRange { first: 1, last: Some(limits.range.first - 1) },
            false => limits.range,
        };
        let limits = Limits { range, ..limits };
        let (slots, tree, wide) = (Slots::default(), SortedBlocks::default(), WideWeights::default());
        AllRows { limits, inverted, slots, tree, wide, dirty: Vec::new(), key_bytes: 0 }
    }

    fn weight(&self, row: &Row) -> i64 {
        self.wide.get(row.id, row.weight)
    }

    fn rows_of(&self, group: u32) -> impl Iterator<Item = (&Place<K>, &Row)> {
        let start = Place { group, key: K::least(), tie: 0, print: 0 };
        self.tree.range(Bound::Included(start), Bound::Unbounded).take_while(move |(p, _)| p.group == group)
    }

    pub fn has(&self, group: u128) -> bool {
        self.slots.find(group).is_some()
    }

    fn show(&self, group: u32, sign: i64, shown: &mut Vec<Shown>) {
        if self.limits.range.last == Some(0) {
            return;
        }
        let sign = if self.inverted { -sign } else { sign };
        let rows = self.rows_of(group).map(|(place, row)| (&place.key, row.id, self.weight(row)));
        show(rows, &self.limits, sign, shown);
    }

    /// Applies the changes of an epoch, each row once. `shown` gets what the groups showed
    /// before.
    pub fn apply(
        &mut self,
        placed: Placed<K>,
        prints: &[u128],
        weights: &Weights,
        store: &mut RowStore,
        mut shown: Option<&mut Vec<Shown>>,
        released: &mut Vec<RowId>,
    ) -> Result<()> {
        let groups: Vec<u32> = placed.groups.iter().map(|g| self.slots.find_or_add(*g)).collect();
        self.dirty = groups.clone();
        self.dirty.sort_unstable();
        self.dirty.dedup();
        if let Some(shown) = shown.as_deref_mut() {
            self.dirty.iter().for_each(|group| self.show(*group, -1, shown));
        }
        let Placed { rows, keys, ties, .. } = placed;
        let mut places: Vec<Place<K>> = (keys.into_iter().enumerate())
            .map(|(row, key)| Place { group: groups[row], key, tie: ties[row], print: prints[row] as u32 })
            .collect();
        let mut new: Vec<u32> = Vec::new();
        let mut emptied: Vec<u32> = Vec::new();
        let mut seen: HashMap<u128, (), PrintHasher> = HashMap::default();
        for (row, place) in places.iter().enumerate() {
            match self.add_weight(place, weights.get(row), &mut shown) {
                Some(0) => emptied.push(row as u32),
                Some(_) => {}
                None if seen.insert(prints[row], ()).is_none() => new.push(row as u32),
                None => {}
            }
        }
        let first = store.append(take_rows(&rows, &UInt32Array::from(new.clone()))?)?;
        for (id, row) in (first..).zip(&new) {
            self.key_bytes += places[*row as usize].key.heap_bytes();
            self.tree.insert(places[*row as usize].clone(), Row { id, weight: 0 });
        }
        // Append-only batches repeat rows.
        for row in (0..places.len()).filter(|row| seen.contains_key(&prints[*row])) {
            if self.add_weight(&places[row], weights.get(row), &mut shown) == Some(0) {
                emptied.push(row as u32);
            }
        }
        for row in emptied {
            self.remove_empty(&mut places[row as usize], released);
        }
        Ok(())
    }

    /// The weight afterwards of the row at `place`; `None` if the tree has no such row.
    fn add_weight(
        &mut self,
        place: &Place<K>,
        weight: i64,
        shown: &mut Option<&mut Vec<Shown>>,
    ) -> Option<i64> {
        let kept = self.tree.get_mut(place)?;
        if let (true, Some(shown)) = (self.inverted, shown.as_deref_mut()) {
            shown.push(Shown { id: kept.id, rank: 0, weight });
        }
        let sum = self.wide.get(kept.id, kept.weight) + weight;
        kept.weight = self.wide.set(kept.id, kept.weight, sum);
        Some(sum)
    }

    fn remove_empty(&mut self, place: &mut Place<K>, released: &mut Vec<RowId>) {
        if self.tree.get(place).is_some_and(|row| row.weight == 0)
            && let Some(row) = self.tree.remove(place)
        {
            self.key_bytes -= place.key.heap_bytes();
            released.push(row.id);
            if self.rows_of(place.group).next().is_none() {
                self.slots.release(place.group);
            }
        }
    }

    /// Notes what the changed groups show now.
    pub fn end_epoch(&mut self, shown: Option<&mut Vec<Shown>>) {
        let dirty = std::mem::take(&mut self.dirty);
        if let Some(shown) = shown {
            dirty.into_iter().for_each(|group| self.show(group, 1, shown));
        }
    }

    /// Drops a group; `shown` gets what it held.
    pub fn forget(&mut self, group: u128, shown: Option<&mut Vec<Shown>>, released: &mut Vec<RowId>) {
        let Some(group) = self.slots.find(group) else { return };
        if let Some(shown) = shown {
            self.show(group, 1, shown);
            if self.inverted {
                let all =
                    self.rows_of(group).map(|(_, r)| Shown { id: r.id, rank: 0, weight: self.weight(r) });
                shown.extend(all.filter(|s| s.weight > 0));
            }
        }
        let places: Vec<Place<K>> = self.rows_of(group).map(|(place, _)| place.clone()).collect();
        for place in places {
            if let Some(row) = self.tree.remove(&place) {
                // Nothing of it stays beside.
                let _none = self.wide.set(row.id, row.weight, 0);
                self.key_bytes -= place.key.heap_bytes();
                released.push(row.id);
            }
        }
        self.slots.release(group);
    }

    /// Follows rows that the store has moved.
    pub fn relocate(&mut self, moved: &Moved) {
        self.tree.values_mut().for_each(|row| moved.follow(&mut row.id));
        self.wide.follow(moved);
    }

    /// Entries and bytes.
    pub fn size(&self) -> (usize, usize) {
        (self.tree.len(), self.tree.bytes() + self.wide.bytes() + self.key_bytes + self.slots.bytes())
    }
}
