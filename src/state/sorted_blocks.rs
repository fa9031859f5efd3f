//! An ordered map in blocks that are as long as what they hold.
//!
//! Entries stand in sorted vectors of at most 64, which grow by an eighth; a tree finds a block by a
//! key that is not greater than any of its entries. A B-tree's nodes are half empty where entries come
//! in order, and a third on average; here an entry costs a tenth beside itself. Adding and removing
//! move half of a block at most. Invariants: no block is empty; blocks do not overlap; keys are
//! different.

use std::collections::BTreeMap;
use std::ops::Bound;

const BLOCK_MAX: usize = 64;
/// A block with fewer entries is joined with the next, if both make less than half of one.
const BLOCK_MIN: usize = 16;

/// A map ordered by key.
#[derive(Clone)]
pub struct SortedBlocks<K, V> {
    blocks: BTreeMap<K, Vec<(K, V)>>,
    len: usize,
    /// Entries that the blocks have room for.
    room: usize,
}

impl<K, V> Default for SortedBlocks<K, V> {
    fn default() -> Self {
        SortedBlocks { blocks: BTreeMap::new(), len: 0, room: 0 }
    }
}

fn position<K: Ord, V>(block: &[(K, V)], key: &K) -> Result<usize, usize> {
    block.binary_search_by(|(k, _)| k.cmp(key))
}

impl<K: Ord + Clone, V> SortedBlocks<K, V> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The room of blocks, and about what the tree above them has.
    pub fn bytes(&self) -> usize {
        // A node of the tree has room for eleven.
        let places = if self.is_empty() { 0 } else { (self.blocks.len() * 3 / 2).max(11) };
        let above = places * (size_of::<K>() + size_of::<Vec<(K, V)>>());
        self.room * size_of::<(K, V)>() + above
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        let (_, block) = self.blocks.range(..=key).next_back()?;
        position(block, key).ok().map(|at| &block[at].1)
    }

    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let (_, block) = self.blocks.range_mut(..=key).next_back()?;
        position(block, key).ok().map(|at| &mut block[at].1)
    }

    /// Sets the value of a key.
    pub fn insert(&mut self, key: K, value: V) {
        if self.blocks.first_key_value().is_none_or(|(first, _)| *first > key) {
            // The first block takes what is before all.
            let block = self.blocks.pop_first().map_or_else(Vec::new, |(_, block)| block);
            self.blocks.insert(key.clone(), block);
        }
        let Some((_, block)) = self.blocks.range_mut(..=&key).next_back() else { return };
        let at = match position(block, &key) {
            Ok(at) => {
                block[at].1 = value;
                return;
            }
            Err(at) => at,
        };
        self.len += 1;
        if block.len() < BLOCK_MAX {
            return add(block, at, (key, value), &mut self.room);
        }
        // What comes in order leaves full blocks behind.
        let from = if at == BLOCK_MAX { BLOCK_MAX } else { BLOCK_MAX / 2 };
        let mut rest: Vec<(K, V)> = block.drain(from..).collect();
        self.room += rest.capacity();
        fit(block, &mut self.room);
        match at.checked_sub(from) {
            Some(at) if from == BLOCK_MAX || at > 0 => add(&mut rest, at, (key, value), &mut self.room),
            _ => add(block, at, (key, value), &mut self.room),
        }
        self.blocks.insert(rest[0].0.clone(), rest);
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        let (first, block) = self.blocks.range_mut(..=key).next_back()?;
        let at = position(block, key).ok()?;
        let (_, value) = block.remove(at);
        self.len -= 1;
        if block.capacity() > block.len() + block.len() / 4 + 4 {
            fit(block, &mut self.room);
        }
        if block.len() < BLOCK_MIN {
            let first = first.clone();
            self.join(&first);
        }
        Some(value)
    }

    /// The first entry.
    pub fn first(&self) -> Option<(&K, &V)> {
        self.blocks.first_key_value()?.1.first().map(|(k, v)| (k, v))
    }

    /// Takes the entries up to `last`, in order.
    pub fn take_until(&mut self, last: &K) -> Vec<(K, V)> {
        let mut taken = Vec::new();
        while let Some(mut first) = self.blocks.first_entry() {
            let block = first.get_mut();
            let due = block.partition_point(|(k, _)| k <= last);
            self.len -= due;
            if due < block.len() {
                taken.extend(block.drain(..due));
                fit(block, &mut self.room);
                break;
            }
            self.room -= block.capacity();
            taken.extend(first.remove());
        }
        taken
    }

    /// Drops an empty block, or puts the next one behind a short one.
    fn join(&mut self, first: &K) {
        let Some(length) = self.blocks.get(first).map(Vec::len) else { return };
        if length == 0 {
            self.room -= self.blocks.remove(first).map_or(0, |block| block.capacity());
            return;
        }
        let next = self.blocks.range((Bound::Excluded(first), Bound::Unbounded)).next();
        let Some(next) = next.filter(|(_, b)| b.len() + length < BLOCK_MAX / 2).map(|(k, _)| k.clone())
        else {
            return;
        };
        let Some(more) = self.blocks.remove(&next) else { return };
        self.room -= more.capacity();
        if let Some(block) = self.blocks.get_mut(first) {
            self.room -= block.capacity();
            block.reserve_exact(more.len());
            block.extend(more);
            self.room += block.capacity();
        }
    }

    /// Entries between two bounds, in order.
    pub fn range(&self, start: Bound<K>, end: Bound<K>) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        let low = match &start {
            Bound::Unbounded => None,
            Bound::Included(k) | Bound::Excluded(k) => self.blocks.range(..=k).next_back().map(|(b, _)| b),
        };
        let high = match (&end, low) {
            // Nothing is between; what is cut of the block below is empty.
            (Bound::Included(k) | Bound::Excluded(k), Some(low)) if k <= low => Bound::Included(low),
            (end, _) => end.as_ref(),
        };
        let low = low.map_or(Bound::Unbounded, Bound::Included);
        let cut = |block: &[(K, V)], bound: &Bound<K>, after_equal: bool| match bound {
            Bound::Unbounded => None,
            Bound::Included(k) => Some(block.partition_point(|(x, _)| x < k || (after_equal && x == k))),
            Bound::Excluded(k) => Some(block.partition_point(|(x, _)| x < k || (!after_equal && x == k))),
        };
        let high = high.cloned();
        let entries = self.blocks.range((low.cloned(), high)).flat_map(move |(_, block)| {
            let from = cut(block, &start, false).unwrap_or(0);
            let to = cut(block, &end, true).unwrap_or(block.len());
            block[from..to.max(from)].iter()
        });
        entries.map(|(k, v)| (k, v))
    }

    /// All entries, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.blocks.values().flatten().map(|(k, v)| (k, v))
    }

    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.blocks.values_mut().flatten().map(|(_, v)| v)
    }
}

fn add<T>(block: &mut Vec<T>, at: usize, entry: T, room: &mut usize) {
    if block.len() == block.capacity() {
        *room -= block.capacity();
        block.reserve_exact((block.len() / 8).max(1));
        *room += block.capacity();
    }
    block.insert(at, entry);
}

fn fit<T>(block: &mut Vec<T>, room: &mut usize) {
    *room -= block.capacity();
    block.shrink_to(block.len() + block.len() / 8);
    *room += block.capacity();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bound(kind: u8, key: u16) -> Bound<u16> {
        match kind % 3 {
            0 => Bound::Included(key),
            1 => Bound::Excluded(key),
            _ => Bound::Unbounded,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn agrees_with_a_tree(
            steps in prop::collection::vec((0u8..4, 0u16..400, 1u16..120), 1..80),
            ranges in prop::collection::vec((any::<u8>(), 0u16..520, any::<u8>(), 0u16..520), 20),
        ) {
            let (mut blocks, mut model) = (SortedBlocks::default(), BTreeMap::new());
            for (kind, from, count) in steps {
                // Runs, upwards and downwards, so that blocks are split and joined.
                if kind == 3 {
                    let taken = blocks.take_until(&(from / 8));
                    let rest = model.split_off(&(from / 8 + 1));
                    prop_assert!(taken.into_iter().eq(std::mem::replace(&mut model, rest)));
                }
                for i in 0..count {
                    let key = if kind % 2 == 0 { from + i } else { from + count - i };
                    if kind < 2 {
                        blocks.insert(key, i);
                        model.insert(key, i);
                    } else {
                        prop_assert_eq!(blocks.remove(&key), model.remove(&key));
                    }
                }
                prop_assert_eq!(blocks.len(), model.len());
                prop_assert_eq!(blocks.room, blocks.blocks.values().map(Vec::capacity).sum::<usize>());
            }
            prop_assert!(blocks.iter().eq(model.iter()));
            prop_assert_eq!(blocks.first(), model.first_key_value());
            prop_assert!(blocks.blocks.iter().all(|(k, b)| !b.is_empty() && *k <= b[0].0 && b.len() <= BLOCK_MAX));
            for key in 0..520 {
                prop_assert_eq!(blocks.get(&key), model.get(&key));
                prop_assert_eq!(blocks.get_mut(&key), model.get_mut(&key));
            }
            for (a, from, b, to) in ranges {
                let (start, end) = (bound(a, from), bound(b, to));
                let inside = |k: &u16| {
                    use std::ops::RangeBounds;
                    (start, end).contains(k)
                };
                let expected: Vec<_> = model.iter().filter(|(k, _)| inside(k)).collect();
                prop_assert_eq!(&blocks.range(start, end).collect::<Vec<_>>(), &expected);
                let back: Vec<_> = expected.into_iter().rev().collect();
                prop_assert_eq!(blocks.range(start, end).rev().collect::<Vec<_>>(), back);
            }
        }
    }

    #[test]
    fn an_entry_costs_little_beside_itself() {
        for step in [1u64, 0x9E37_79B9_7F4A_7C15, u64::MAX] {
            let mut blocks = SortedBlocks::default();
            (1..100_000u64).for_each(|i| blocks.insert(i.wrapping_mul(step), 0u64));
            assert!(blocks.bytes() < 100_000 * 16 * 5 / 4, "{} by {step}", blocks.bytes());
        }
    }
}
