//! An ordered multiset: one value, a small sorted vector, or sorted blocks.
//!
//! Where every value is there once, as most often, no weights are kept. Invariant: weights are never
//! 0, but may be negative inside an epoch.

use crate::state::SortedBlocks;

/// Entries up to which a multiset is a sorted vector.
const SMALL_BAG: usize = 64;

#[derive(Clone)]
pub struct Bag<K>(Entries<K>);

#[derive(Clone)]
enum Entries<K> {
    None,
    One(K),
    /// At most `SMALL_BAG`.
    Few(Vec<K>),
    Many(Box<SortedBlocks<K, ()>>),
    /// Some weights are not 1.
    Weighed(Vec<(K, i64)>),
    ManyWeighed(Box<SortedBlocks<K, i64>>),
}

impl<K> Default for Bag<K> {
    fn default() -> Self {
        Bag(Entries::None)
    }
}

fn insert<T>(entries: &mut Vec<T>, at: usize, entry: T) {
    if entries.len() == entries.capacity() {
        entries.reserve_exact((entries.len() / 4).max(1));
    }
    entries.insert(at, entry);
}

impl<K: Ord + Clone> Bag<K> {
    pub fn one(key: K) -> Bag<K> {
        Bag(Entries::One(key))
    }

    pub fn len(&self) -> usize {
        match &self.0 {
            Entries::None => 0,
            Entries::One(_) => 1,
            Entries::Few(keys) => keys.len(),
            Entries::Many(keys) => keys.len(),
            Entries::Weighed(entries) => entries.len(),
            Entries::ManyWeighed(entries) => entries.len(),
        }
    }

    /// Bytes beside the multiset itself, without what its keys hold.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Entries::None | Entries::One(_) => 0,
            Entries::Few(keys) => keys.capacity() * size_of::<K>(),
            Entries::Many(keys) => size_of::<SortedBlocks<K, ()>>() + keys.bytes(),
            Entries::Weighed(entries) => entries.capacity() * size_of::<(K, i64)>(),
            Entries::ManyWeighed(entries) => size_of::<SortedBlocks<K, i64>>() + entries.bytes(),
        }
    }

    pub fn add(&mut self, key: K, weight: i64) {
        let left = match &mut self.0 {
            _ if weight == 0 => return,
            Entries::None if weight == 1 => return self.0 = Entries::One(key),
            Entries::One(known) if weight == -1 && *known == key => 0,
            Entries::One(known) if weight == 1 && *known != key => {
                let (known, less) = (known.clone(), *known < key);
                self.0 = Entries::Few(if less { vec![known, key] } else { vec![key, known] });
                return;
            }
            Entries::Few(keys) => match (keys.binary_search(&key), weight) {
                (Ok(at), -1) => {
                    keys.remove(at);
                    keys.len()
                }
                (Err(at), 1) if keys.len() < SMALL_BAG => return insert(keys, at, key),
                (Err(_), 1) => return self.grow(key),
                _ => return self.weigh(key, weight),
            },
            Entries::Many(keys) => match (keys.get(&key).is_some(), weight) {
                (true, -1) => {
                    keys.remove(&key);
                    keys.len()
                }
                (false, 1) => return keys.insert(key, ()),
                _ => return self.weigh(key, weight),
            },
            _ => return self.weigh(key, weight),
        };
        if left == 0 {
            self.0 = Entries::None;
        }
    }

    /// A sorted vector becomes blocks.
    fn grow(&mut self, key: K) {
        let Entries::Few(keys) = &mut self.0 else { return };
        let mut many = Box::new(SortedBlocks::default());
        std::mem::take(keys).into_iter().chain([key]).for_each(|key| many.insert(key, ()));
        self.0 = Entries::Many(many);
    }

    /// Adds where weights are kept, or have to be from now on.
    fn weigh(&mut self, key: K, weight: i64) {
        if !matches!(self.0, Entries::Weighed(_) | Entries::ManyWeighed(_)) {
            let many = self.len() > SMALL_BAG;
            let entries = self.iter().map(|(key, weight)| (key.clone(), weight));
            self.0 = match many {
                false => Entries::Weighed(entries.collect()),
                true => {
                    let mut blocks = Box::new(SortedBlocks::default());
                    entries.for_each(|(key, weight)| blocks.insert(key, weight));
                    Entries::ManyWeighed(blocks)
                }
            };
        }
        match &mut self.0 {
            Entries::Weighed(entries) => match entries.binary_search_by(|(k, _)| k.cmp(&key)) {
                Ok(at) => {
                    entries[at].1 += weight;
                    if entries[at].1 == 0 {
                        entries.remove(at);
                    }
                    self.unweigh();
                }
                Err(at) if entries.len() < SMALL_BAG => insert(entries, at, (key, weight)),
                Err(_) => {
                    let mut many = Box::new(SortedBlocks::default());
                    std::mem::take(entries).into_iter().for_each(|(key, weight)| many.insert(key, weight));
                    many.insert(key, weight);
                    self.0 = Entries::ManyWeighed(many);
                }
            },
            Entries::ManyWeighed(entries) => {
                match entries.get_mut(&key) {
                    None => entries.insert(key, weight),
                    Some(known) if *known + weight == 0 => drop(entries.remove(&key)),
                    Some(known) => *known += weight,
                }
                if entries.is_empty() {
                    self.0 = Entries::None;
                }
            }
            _ => {}
        }
    }

    /// Forgets the weights of a small multiset if all of them are 1.
    fn unweigh(&mut self) {
        let Entries::Weighed(entries) = &mut self.0 else { return };
        if entries.iter().all(|(_, weight)| *weight == 1) {
            let mut keys: Vec<K> = std::mem::take(entries).into_iter().map(|(key, _)| key).collect();
            self.0 = match keys.len() {
                0 => Entries::None,
                1 => keys.pop().map_or(Entries::None, Entries::One),
                _ => Entries::Few(keys),
            };
        }
    }

    pub fn join(&mut self, other: &Bag<K>) {
        other.iter().for_each(|(key, weight)| self.add(key.clone(), weight));
    }

    /// Entries in order, with their weights.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, i64)> {
        let (mut one, mut few, mut many, mut weighed, mut blocks) = (None, None, None, None, None);
        match &self.0 {
            Entries::None => {}
            Entries::One(key) => one = Some(key),
            Entries::Few(keys) => few = Some(keys),
            Entries::Many(keys) => many = Some(keys),
            Entries::Weighed(entries) => weighed = Some(entries),
            Entries::ManyWeighed(entries) => blocks = Some(entries),
        }
        let keys = one.into_iter().chain(few.into_iter().flatten());
        let keys = keys.chain(many.into_iter().flat_map(|keys| keys.iter()).map(|(key, ())| key));
        let weighed = weighed.into_iter().flatten().map(|(key, weight)| (key, *weight));
        let blocks = blocks.into_iter().flat_map(|all| all.iter()).map(|(key, weight)| (key, *weight));
        keys.map(|key| (key, 1)).chain(weighed).chain(blocks)
    }

    /// The first entry with a positive weight, or the last.
    pub fn best(&self, max: bool) -> Option<&K> {
        match (&self.0, max) {
            (Entries::One(key), _) => Some(key),
            (Entries::Few(keys), false) => keys.first(),
            (Entries::Few(keys), true) => keys.last(),
            (_, false) => self.iter().find(|(_, weight)| *weight > 0).map(|(key, _)| key),
            (_, true) => self.iter().rev().find(|(_, weight)| *weight > 0).map(|(key, _)| key),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Of few and of many values, each once or with any weight.
        #[test]
        fn agrees_with_a_map(
            keys in 1i64..60,
            steps in prop::collection::vec((any::<u16>(), prop::sample::select(vec![1i64, 1, 1, -1, -1, 2, -2, 0])), 0..200),
        ) {
            let (mut bag, mut model) = (Bag::default(), BTreeMap::new());
            for (key, weight) in steps {
                let key = i64::from(key) % keys;
                // Mostly what is there goes.
                let weight = if weight < 0 && !model.contains_key(&key) && key % 4 > 0 { 1 } else { weight };
                bag.add(key, weight);
                *model.entry(key).or_insert(0) += weight;
                model.retain(|_, weight| *weight != 0);
                prop_assert_eq!(bag.len(), model.len());
                prop_assert!(bag.iter().map(|(k, w)| (*k, w)).eq(model.iter().map(|(k, w)| (*k, *w))));
                let mut there = model.iter().filter(|(_, w)| **w > 0).map(|(k, _)| k);
                prop_assert_eq!(bag.best(true), there.clone().next_back());
                prop_assert_eq!(bag.best(false), there.next());
            }
        }
    }
}
