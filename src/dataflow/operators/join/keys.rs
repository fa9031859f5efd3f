//! Keys of a join: which rows can match, how often a key is held, when its window is over.
//!
//! [`Admission`] turns a batch into an [`Arrival`]: rows whose keys may match, reduced to the
//! columns that are stored, with fingerprints of their keys. [`KeyCounts`] is all that a
//! semi, anti or mark join without a further condition keeps of its right side.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::buffer::NullBuffer;

use super::side::halves;
use crate::dataflow::operators::window_assign::timestamp_values;
use crate::error::Result;
use crate::state::{Chunks, Narrow, SlotIndex, WideWeights};
use crate::types::ChangeBatch;
use crate::types::hash::fingerprints;

/// Rows of a batch that can match, reduced to the stored columns.
pub struct Arrival {
    pub rows: ChangeBatch,
    pub key_prints: Vec<u128>,
    /// Window ends by row, on sides with windows.
    pub ends: Vec<i64>,
}

/// What of a side's rows is looked at.
#[derive(Clone)]
pub struct Admission {
    pub keys: Vec<usize>,
    /// Columns that are stored.
    pub columns: Vec<usize>,
    /// The key column that holds the window's end.
    pub end_column: Option<usize>,
    /// Whether NULL keys match NULL keys.
    pub null_equal: bool,
}

impl Admission {
    /// The keyed rows and the rows that match nothing because a key is NULL.
    pub fn split(&self, batch: ChangeBatch) -> Result<(ChangeBatch, Option<ChangeBatch>)> {
        let nulls = match self.null_equal {
            true => None,
            false => self.keys.iter().fold(None, |nulls, key| {
                NullBuffer::union(nulls.as_ref(), batch.rows.column(*key).logical_nulls().as_ref())
            }),
        };
        let Some(nulls) = nulls.filter(|n| n.null_count() > 0) else { return Ok((batch, None)) };
        let keyed = BooleanArray::new(nulls.into_inner(), None);
        let loose = batch.filter(&arrow::compute::not(&keyed)?)?;
        Ok((batch.filter(&keyed)?, Some(loose)))
    }

    /// The rows of `batch` whose keys can match, with fingerprints of their keys.
    pub fn admit(&self, batch: &ChangeBatch) -> Result<Option<Arrival>> {
        let (keyed, _) = self.split(batch.clone())?;
        if keyed.is_empty() {
            return Ok(None);
        }
        let keys: Vec<ArrayRef> = self.keys.iter().map(|k| keyed.rows.column(*k).clone()).collect();
        let key_prints = key_prints(&keys, keyed.len());
        let ends = match self.end_column {
            Some(column) => timestamp_values(&keyed, column)?.values().to_vec(),
            None => Vec::new(),
        };
        let rows = keyed.with_rows(keyed.rows.project(&self.columns)?);
        Ok(Some(Arrival { rows, key_prints, ends }))
    }
}

/// Fingerprints of keys, of which 96 bits count.
pub fn key_prints(keys: &[ArrayRef], rows: usize) -> Vec<u128> {
    let mut prints = fingerprints(keys, rows);
    prints.iter_mut().for_each(|print| *print &= u128::MAX >> 32);
    prints
}

/// Keys by the end of their window; a key may be there twice or be gone.
#[derive(Default)]
pub struct KeysByEnd(BTreeMap<i64, Vec<u128>>);

impl KeysByEnd {
    /// Remembers the ends of keys that are not held yet.
    pub fn note(&mut self, arrival: &Arrival, held: impl Fn(u128) -> bool) {
        let mut noted = None;
        for (key, end) in arrival.key_prints.iter().zip(&arrival.ends) {
            if noted != Some(*key) && !held(*key) {
                self.0.entry(*end).or_default().push(*key);
            }
            noted = Some(*key);
        }
    }

    pub fn bytes(&self) -> usize {
        self.0.values().map(|keys| keys.capacity() * size_of::<u128>()).sum()
    }

    /// The keys of windows that ended at `reached` or before.
    pub fn take(&mut self, reached: i64) -> Vec<u128> {
        let mut keys = Vec::new();
        while let Some(window) = self.0.first_entry().filter(|w| *w.key() <= reached) {
            keys.extend(window.remove());
        }
        keys
    }
}

/// A key, but for the 32 bits by which it is found, and the weight of its rows.
#[derive(Clone, Copy)]
struct KeyCount {
    print: [u32; 2],
    count: Narrow,
}

/// How many rows a side holds of each key, and nothing else of them.
#[derive(Default)]
pub struct KeyCounts {
    index: SlotIndex,
    counts: Chunks<KeyCount>,
    wide: WideWeights,
    free: Vec<u32>,
    ends: KeysByEnd,
}

impl KeyCounts {
    pub fn store(&mut self, arrival: &Arrival) {
        let mut ends = std::mem::take(&mut self.ends);
        ends.note(arrival, |key| self.contains(key));
        self.ends = ends;
        for (row, key) in arrival.key_prints.iter().enumerate() {
            let weight = arrival.rows.weights.get(row);
            let slot = self.find(*key).unwrap_or_else(|| self.add(*key));
            let count = &mut self.counts[slot].count;
            let sum = self.wide.get(slot, *count) + weight;
            *count = self.wide.set(slot, *count, sum);
            if sum == 0 {
                self.remove(*key, slot);
            }
        }
    }

    #[inline(always)]
    fn find(&self, key: u128) -> Option<u32> {
        self.index.find((key >> 64) as u32, |slot| self.counts[slot].print == halves(key))
    }

    fn add(&mut self, key: u128) -> u32 {
        let slot = self.free.pop().unwrap_or(self.counts.len() as u32);
        self.counts.put(slot, KeyCount { print: halves(key), count: 0 });
        self.index.insert((key >> 64) as u32, slot);
        slot
    }

    fn remove(&mut self, key: u128, slot: u32) {
        self.index.remove((key >> 64) as u32, slot);
        self.free.push(slot);
    }

    #[inline]
    pub fn contains(&self, key: u128) -> bool {
        self.find(key).is_some()
    }

    pub fn expire(&mut self, reached: i64) {
        for key in self.ends.take(reached) {
            if let Some(slot) = self.find(key) {
                let count = &mut self.counts[slot].count;
                *count = self.wide.set(slot, *count, 0);
                self.remove(key, slot);
            }
        }
    }

    pub fn len(&self) -> usize {
        self.index.len()
    }

    pub fn bytes(&self) -> usize {
        let free = self.free.capacity() * size_of::<u32>() + self.wide.bytes();
        self.index.bytes() + self.counts.bytes() + free + self.ends.bytes()
    }
}
