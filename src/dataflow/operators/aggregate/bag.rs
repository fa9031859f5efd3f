//! An ordered multiset: a small sorted vector that turns into many.

use crate::state::SortedBlocks;

/// Entries up to which a multiset is a sorted vector.
const SMALL_BAG: usize = 16;

/// An ordered multiset; weights are never 0 but may be negative inside an epoch.
#[derive(Clone)]
pub enum Bag<K> {
    Small(Vec<(K, i64)>),
    Large(Box<SortedBlocks<K, i64>>),
}

impl<K> Default for Bag<K> {
    fn default() -> Self {
        Bag::Small(Vec::new())
    }
}

impl<K: Ord + Clone> Bag<K> {
    pub fn len(&self) -> usize {
        match self {
            Bag::Small(entries) => entries.len(),
            Bag::Large(entries) => entries.len(),
        }
    }

    /// Bytes beside the multiset itself, without what its keys hold.
    pub fn bytes(&self) -> usize {
        match self {
            Bag::Small(entries) => entries.capacity() * size_of::<(K, i64)>(),
            Bag::Large(entries) => size_of::<SortedBlocks<K, i64>>() + entries.bytes(),
        }
    }

    pub fn add(&mut self, key: K, weight: i64) {
        if weight == 0 {
            return;
        }
        match self {
            Bag::Small(entries) => match entries.binary_search_by(|(k, _)| k.cmp(&key)) {
                Ok(at) => {
                    entries[at].1 += weight;
                    if entries[at].1 == 0 {
                        entries.remove(at);
                    }
                }
                Err(at) if entries.len() < SMALL_BAG => {
                    if entries.len() == entries.capacity() {
                        entries.reserve_exact((entries.len() / 4).max(1));
                    }
                    entries.insert(at, (key, weight));
                }
                Err(_) => {
                    let mut large = Box::new(SortedBlocks::default());
                    std::mem::take(entries).into_iter().for_each(|(key, weight)| large.insert(key, weight));
                    large.insert(key, weight);
                    *self = Bag::Large(large);
                }
            },
            Bag::Large(entries) => {
                match entries.get_mut(&key) {
                    None => entries.insert(key, weight),
                    Some(known) if *known + weight == 0 => drop(entries.remove(&key)),
                    Some(known) => *known += weight,
                }
                if entries.is_empty() {
                    *self = Bag::Small(Vec::new());
                }
            }
        }
    }

    pub fn join(&mut self, other: &Bag<K>) {
        match other {
            Bag::Small(entries) => entries.iter().for_each(|(k, w)| self.add(k.clone(), *w)),
            Bag::Large(entries) => entries.iter().for_each(|(k, w)| self.add(k.clone(), *w)),
        }
    }

    /// Entries in order, with their weights.
    pub fn iter(&self) -> impl Iterator<Item = (&K, i64)> {
        let (small, large) = match self {
            Bag::Small(entries) => (Some(entries), None),
            Bag::Large(entries) => (None, Some(entries)),
        };
        let small = small.into_iter().flatten().map(|(k, w)| (k, *w));
        small.chain(large.into_iter().flat_map(|all| all.iter()).map(|(k, w)| (k, *w)))
    }

    /// The first entry with a positive weight, or the last.
    pub fn best(&self, max: bool) -> Option<&K> {
        fn first<'a, K: 'a>(mut entries: impl Iterator<Item = (&'a K, &'a i64)>) -> Option<&'a K> {
            entries.find(|(_, w)| **w > 0).map(|(k, _)| k)
        }
        match (self, max) {
            (Bag::Small(entries), false) => first(entries.iter().map(|(k, w)| (k, w))),
            (Bag::Small(entries), true) => first(entries.iter().rev().map(|(k, w)| (k, w))),
            (Bag::Large(entries), false) => first(entries.iter()),
            (Bag::Large(entries), true) => first(entries.iter().rev()),
        }
    }
}
