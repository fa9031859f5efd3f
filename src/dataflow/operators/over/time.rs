//! How far each partition has come in event time: which rows are final, which are needed.
//!
//! A row is final when no row that can still come touches it; it is needed while a row that
//! is not final depends on it. Partitions wait in a queue for the watermark that changes
//! something for them, so a watermark costs nothing for the others.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

use super::rows::{Place, Rows};
use crate::plan::Reach;
use crate::state::Key;

/// How far the partitions are emitted, and when they are next due.
pub struct Progress<K: Key> {
    reach: Reach,
    on_close: bool,
    /// The last row that was emitted as final.
    emitted: HashMap<u128, Place<K>>,
    due: HashMap<u128, i64>,
    /// A partition is due when the watermark is greater than its number.
    queue: BTreeSet<(i64, u128)>,
}

impl<K: Key> Progress<K> {
    pub fn new(reach: Reach, on_close: bool) -> Progress<K> {
        Progress { reach, on_close, emitted: HashMap::new(), due: HashMap::new(), queue: BTreeSet::new() }
    }

    fn unemitted(&self, group: u128) -> Bound<&Place<K>> {
        self.emitted.get(&group).map_or(Bound::Unbounded, Bound::Excluded)
    }

    /// Sets when a partition is due, after its rows have changed.
    pub fn note(&mut self, group: u128, rows: &Rows<K>) {
        if let Some(old) = self.due.remove(&group) {
            self.queue.remove(&(old, group));
        }
        if !rows.has(group) {
            self.emitted.remove(&group);
            return;
        }
        let dropped = match self.reach {
            Reach::Rows { before, after } => {
                nth(rows.from(Bound::Unbounded, group), before.saturating_add(after))
            }
            Reach::Range { before, after } => nth(rows.from(Bound::Unbounded, group), 0)
                .map(|at| at.saturating_add(after).saturating_add(before)),
            Reach::Partition => None,
        };
        let emitted = match (self.on_close, self.reach) {
            (true, Reach::Rows { after, .. }) => nth(rows.from(self.unemitted(group), group), after),
            (true, Reach::Range { after, .. }) => {
                nth(rows.from(self.unemitted(group), group), 0).map(|at| at.saturating_add(after))
            }
            _ => None,
        };
        let due = [dropped, emitted].into_iter().flatten().min().unwrap_or(i64::MAX);
        self.due.insert(group, due);
        self.queue.insert((due, group));
    }

    /// The partitions for which the watermark changes something. At the end of the input,
    /// when the watermark is infinite, these are all.
    pub fn due(&mut self, watermark: i64) -> Vec<u128> {
        let mut groups = Vec::new();
        while let Some((due, group)) = self.queue.first().copied() {
            if due >= watermark && watermark != i64::MAX {
                break;
            }
            self.queue.pop_first();
            self.due.remove(&group);
            groups.push(group);
        }
        groups
    }

    /// The first and last row that have become final; they count as emitted from now on.
    pub fn finals(&mut self, group: u128, rows: &Rows<K>, watermark: i64) -> Option<(Place<K>, Place<K>)> {
        let after_last = self.emitted.get(&group).cloned();
        let waiting = rows.from(after_last.as_ref().map_or(Bound::Unbounded, Bound::Excluded), group);
        let places: Vec<&Place<K>> = match (self.reach, watermark) {
            (_, i64::MAX) => waiting.map(|(p, _)| p).collect(),
            (Reach::Range { after, .. }, _) => {
                waiting.take_while(|(_, at)| at.saturating_add(after) < watermark).map(|(p, _)| p).collect()
            }
            (Reach::Rows { after, .. }, _) => {
                let mut behind: Vec<_> =
                    waiting.take_while(|(_, at)| *at < watermark).map(|(p, _)| p).collect();
                behind.truncate(behind.len().saturating_sub(count(after)));
                behind
            }
            (Reach::Partition, _) => Vec::new(),
        };
        let (from, to) = ((*places.first()?).clone(), (*places.last()?).clone());
        self.emitted.insert(group, to.clone());
        Some((from, to))
    }

    /// The rows that nothing needs any more.
    pub fn droppable(&self, group: u128, rows: &Rows<K>, watermark: i64) -> Vec<Place<K>> {
        let all = rows.from(Bound::Unbounded, group);
        let places: Vec<&Place<K>> = match (self.reach, watermark) {
            (_, i64::MAX) => all.map(|(p, _)| p).collect(),
            (Reach::Range { before, after }, _) => {
                let reach = after.saturating_add(before);
                all.take_while(|(_, at)| at.saturating_add(reach) < watermark).map(|(p, _)| p).collect()
            }
            (Reach::Rows { before, after }, _) => {
                let mut behind: Vec<_> = all.take_while(|(_, at)| *at < watermark).map(|(p, _)| p).collect();
                behind.truncate(behind.len().saturating_sub(count(before.saturating_add(after))));
                behind
            }
            (Reach::Partition, _) => Vec::new(),
        };
        places.into_iter().cloned().collect()
    }
}

fn nth<'a, K: 'a>(mut rows: impl Iterator<Item = (&'a Place<K>, i64)>, n: u64) -> Option<i64> {
    rows.nth(count(n)).map(|(_, at)| at)
}

fn count(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
