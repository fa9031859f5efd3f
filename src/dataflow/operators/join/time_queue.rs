//! Things by time, as an ordered queue: added in runs, taken in order, never scanned.
//!
//! A run is what one batch brought, sorted once. Invariant: a run is filed under the time of
//! its earliest element, and no run is empty.

use std::collections::BTreeMap;

pub struct TimeQueue<T> {
    /// Runs are reversed, so that the earliest element is the last.
    runs: BTreeMap<i64, Vec<Vec<(i64, T)>>>,
    len: usize,
}

impl<T> Default for TimeQueue<T> {
    fn default() -> Self {
        TimeQueue { runs: BTreeMap::new(), len: 0 }
    }
}

impl<T: Ord + Copy> TimeQueue<T> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn add(&mut self, mut run: Vec<(i64, T)>) {
        run.sort_unstable_by(|a, b| b.cmp(a));
        self.len += run.len();
        if let Some((first, _)) = run.last() {
            self.runs.entry(*first).or_default().push(run);
        }
    }

    /// Takes what has a time less than `limit`.
    pub fn take_before(&mut self, limit: i64) -> Vec<(i64, T)> {
        let mut taken = Vec::new();
        while let Some(entry) = self.runs.first_entry().filter(|e| *e.key() < limit) {
            for mut run in entry.remove() {
                let rest = run.partition_point(|(time, _)| *time >= limit);
                taken.extend(run.drain(rest..).rev());
                if let Some((first, _)) = run.last() {
                    self.runs.entry(*first).or_default().push(run);
                }
            }
        }
        self.len -= taken.len();
        taken
    }
}

#[cfg(test)]
mod tests;
