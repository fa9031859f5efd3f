//! DISTINCT inside an aggregate: a multiset of values per group, by fingerprint.
//!
//! A value reaches the inner accumulator with +1 when its weight becomes positive and with
//! −1 when it stops being so; all else only changes the multiset.

use arrow::array::ArrayRef;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::accumulator::{Accumulator, Failures, Input};
use crate::error::Result;
use crate::types::hash::{PrintHasher, fingerprints};

/// Lets each value of a group through once.
pub struct Distinct {
    inner: Box<dyn Accumulator>,
    /// Weight of each value of each group, never 0.
    weights: Vec<HashMap<u128, i64, PrintHasher>>,
    entries: usize,
    /// Weight each row of a batch has for the inner accumulator.
    effective: Vec<i64>,
}

impl Distinct {
    pub fn new(inner: Box<dyn Accumulator>) -> Distinct {
        Distinct { inner, weights: Vec::new(), entries: 0, effective: Vec::new() }
    }
}

impl Accumulator for Distinct {
    fn resize(&mut self, slots: usize) {
        self.weights.resize_with(slots, HashMap::default);
        self.inner.resize(slots);
    }

    fn update(&mut self, input: &Input<'_>) -> Result<()> {
        let prints = fingerprints(std::slice::from_ref(input.array()?), input.slots.len());
        let (groups, effective) = (&mut self.weights, &mut self.effective);
        effective.clear();
        effective.resize(input.slots.len(), 0);
        let mut entries = self.entries as isize;
        input.each(|row, slot, weight| {
            let (before, after) = match groups[slot].entry(prints[row]) {
                Entry::Occupied(mut known) => {
                    let before = *known.get();
                    *known.get_mut() += weight;
                    if before + weight == 0 {
                        known.remove();
                        entries -= 1;
                    }
                    (before, before + weight)
                }
                Entry::Vacant(new) => {
                    if weight != 0 {
                        new.insert(weight);
                        entries += 1;
                    }
                    (0, weight)
                }
            };
            effective[row] = (after > 0) as i64 - (before > 0) as i64;
        });
        self.entries = entries as usize;
        self.inner.update(&Input { weights: Some(&self.effective), ..*input })
    }

    fn merge(&mut self, _other: &dyn Accumulator, _pairs: &[(u32, u32)]) {
        debug_assert!(false, "distinct values are never pre-aggregated");
    }

    fn values(&self, slots: &[u32], failures: &mut Failures) -> Result<ArrayRef> {
        self.inner.values(slots, failures)
    }

    fn clear(&mut self, slots: &[u32]) {
        for slot in slots {
            let gone = std::mem::take(&mut self.weights[*slot as usize]);
            self.entries -= gone.len();
        }
        self.inner.clear(slots);
    }

    fn bytes(&self) -> usize {
        let maps = self.weights.capacity() * size_of::<HashMap<u128, i64, PrintHasher>>();
        maps + self.entries * 40 + self.inner.bytes()
    }

    fn mergeable(&self) -> bool {
        false
    }
}
