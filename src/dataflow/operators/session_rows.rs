//! The rows of sessions, in order of key, time and fingerprint.
//!
//! A session is a run of them, so that sessions that merge or are divided move no rows. Invariant: a
//! row stands once, with its weight.

use std::ops::Bound::{Excluded, Included};

use crate::state::{Moved, Narrow, RowId, ShortPrint, SortedBlocks, WideWeights};

/// A key's fingerprint.
pub type Key = ShortPrint;

/// Where a row stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C, packed(4))]
pub struct At {
    pub key: Key,
    pub time: i64,
    /// The lower half of the row's fingerprint.
    pub print: u64,
}

#[derive(Clone, Copy)]
struct Kept {
    id: RowId,
    weight: Narrow,
}

/// A kept row.
#[derive(Clone, Copy)]
pub struct Member {
    pub at: At,
    pub id: RowId,
    pub weight: i64,
}

#[derive(Default)]
pub struct SessionRows {
    kept: SortedBlocks<At, Kept>,
    /// By id of row.
    wide: WideWeights,
}

impl SessionRows {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// The rows of a key at times `from..=to`.
    pub fn between(&self, key: Key, from: i64, to: i64) -> impl DoubleEndedIterator<Item = Member> {
        let first = At { key, time: from, print: 0 };
        let end = match from > to {
            true => Excluded(first),
            false => Included(At { key, time: to, print: u64::MAX }),
        };
        let weight = |kept: &Kept| self.wide.get(kept.id, kept.weight);
        let rows = self.kept.range(Included(first), end);
        rows.map(move |(at, kept)| Member { at: *at, id: kept.id, weight: weight(kept) })
    }

    /// The weight of a row that is there.
    pub fn weight(&self, at: At) -> Option<i64> {
        self.kept.get(&at).map(|kept| self.wide.get(kept.id, kept.weight))
    }

    pub fn add(&mut self, at: At, id: RowId, weight: i64) {
        self.kept.insert(at, Kept { id, weight: self.wide.set(id, 0, weight) });
    }

    /// Sets the weight of a row.
    pub fn weigh(&mut self, at: At, weight: i64) {
        if let Some(kept) = self.kept.get_mut(&at) {
            kept.weight = self.wide.set(kept.id, kept.weight, weight);
        }
    }

    pub fn remove(&mut self, at: At) {
        self.weigh(at, 0);
        self.kept.remove(&at);
    }

    /// Rows have moved in their store.
    pub fn follow(&mut self, moved: &Moved) {
        self.kept.values_mut().for_each(|kept| moved.follow(&mut kept.id));
        self.wide.follow(moved);
    }

    pub fn bytes(&self) -> usize {
        self.kept.bytes() + self.wide.bytes()
    }
}
