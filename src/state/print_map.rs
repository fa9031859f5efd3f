//! A map from fingerprints: 32 bits of each in a hash index, 64 beside its value.
//!
//! An entry has a number, which is valid until it is removed and then free for another. Entries
//! stand in chunks that never move, so what an entry costs beside its value is about 19 bytes,
//! whatever the number of entries.

use std::ops::{Index, IndexMut};

use super::{Chunks, SlotIndex, trim_free};

struct Entry<V> {
    print: [u32; 2],
    value: V,
}

/// Values by the lower 96 bits of fingerprints.
pub struct PrintMap<V> {
    index: SlotIndex,
    entries: Chunks<Entry<V>>,
    free: Vec<u32>,
}

impl<V> Default for PrintMap<V> {
    fn default() -> Self {
        PrintMap { index: SlotIndex::default(), entries: Chunks::default(), free: Vec::new() }
    }
}

/// The bits that an entry is found by.
#[inline(always)]
pub fn tag_of(print: u128) -> u32 {
    (print >> 64) as u32
}

#[inline(always)]
fn halves(print: u128) -> [u32; 2] {
    [print as u32, (print >> 32) as u32]
}

impl<V> PrintMap<V> {
    pub fn len(&self) -> usize {
        self.index.len()
    }

    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Number of the entry of `print`.
    #[inline(always)]
    pub fn find(&self, print: u128) -> Option<u32> {
        self.index.find(tag_of(print), |slot| self.entries[slot].print == halves(print))
    }

    pub fn get(&self, print: u128) -> Option<&V> {
        self.find(print).map(|slot| &self.entries[slot].value)
    }

    pub fn contains(&self, print: u128) -> bool {
        self.find(print).is_some()
    }

    /// Adds a fingerprint that is not there.
    pub fn add(&mut self, print: u128, value: V) -> u32 {
        debug_assert!(self.find(print).is_none(), "an entry is added once");
        let slot = self.free.pop().unwrap_or(self.entries.len() as u32);
        self.entries.put(slot, Entry { print: halves(print), value });
        self.index.insert(tag_of(print), slot);
        slot
    }

    /// Number of the entry of `print`, made if there is none.
    #[inline]
    pub fn find_or_add(&mut self, print: u128, value: impl FnOnce() -> V) -> u32 {
        match self.find(print) {
            Some(slot) => slot,
            None => self.add(print, value()),
        }
    }

    /// Adds an entry unless it is there; false if it was.
    pub fn add_new(&mut self, print: u128, value: V) -> bool {
        let is_new = self.find(print).is_none();
        if is_new {
            self.add(print, value);
        }
        is_new
    }

    /// Removes the entry of `print`; its value stays in its place until that is used again.
    pub fn remove(&mut self, print: u128) -> Option<u32> {
        let slot = self.find(print)?;
        self.remove_at(slot, tag_of(print));
        Some(slot)
    }

    /// Removes an entry that is there by its number and tag.
    pub fn remove_at(&mut self, slot: u32, tag: u32) {
        if self.index.remove(tag, slot) {
            self.free.push(slot);
        }
    }

    /// What stands, or stood last, in a place.
    pub fn place(&self, slot: u32) -> Option<&V> {
        ((slot as usize) < self.entries.len()).then(|| &self.entries[slot].value)
    }

    /// As [`places_mut`](Self::places_mut).
    pub fn places(&self) -> impl Iterator<Item = &V> {
        (0..self.entries.len() as u32).map(|slot| &self.entries[slot].value)
    }

    /// The values of all places, some of them of entries that are gone.
    pub fn places_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.iter_mut().map(|entry| &mut entry.value)
    }

    /// Gives back room if most of it is empty.
    pub fn trim(&mut self) {
        match self.is_empty() {
            true => *self = PrintMap::default(),
            false => {
                self.index.trim();
                trim_free(&mut self.free);
            }
        }
    }

    pub fn bytes(&self) -> usize {
        self.index.bytes() + self.entries.bytes() + self.free.capacity() * size_of::<u32>()
    }
}

impl<V> Index<u32> for PrintMap<V> {
    type Output = V;
    #[inline(always)]
    fn index(&self, slot: u32) -> &V {
        &self.entries[slot].value
    }
}

impl<V> IndexMut<u32> for PrintMap<V> {
    #[inline(always)]
    fn index_mut(&mut self, slot: u32) -> &mut V {
        &mut self.entries[slot].value
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Tags and the rest of fingerprints meet often.
        #[test]
        fn agrees_with_a_map(steps in prop::collection::vec((0u128..3, 0u128..5, any::<u32>(), any::<bool>()), 0..400)) {
            let (mut map, mut model) = (PrintMap::default(), HashMap::new());
            for (tag, rest, value, adds) in steps {
                let print = tag << 64 | rest << 31;
                if adds {
                    let slot = map.find_or_add(print, || 0);
                    map[slot] = value;
                    model.insert(print, value);
                } else {
                    prop_assert_eq!(map.remove(print).map(|slot| map[slot]), model.remove(&print));
                }
                prop_assert_eq!(map.len(), model.len());
                map.trim();
            }
            for print in (0..3).flat_map(|tag| (0..5).map(move |rest| tag << 64 | rest << 31)) {
                prop_assert_eq!(map.get(print), model.get(&print));
            }
        }
    }

    #[test]
    fn an_entry_costs_little_beside_its_value() {
        let mut map = PrintMap::default();
        for i in 0..300_000u64 {
            let print = u128::from(i.wrapping_mul(0x9E37_79B9_7F4A_7C15)) << 32 | u128::from(i);
            map.add(print, i as u32);
        }
        assert!(map.bytes() < 300_000 * (4 + 20), "{}", map.bytes());
    }
}
