//! Weights in 32 bits, and a map for the few that do not fit.
//!
//! An entry keeps a `Narrow`; whoever owns the entries has one [`WideWeights`], by the entry's number.
//! Invariant: the map holds an entry's weight iff its narrow weight says so.

use hashbrown::HashMap;

use super::{Moved, RowId};

/// What an entry keeps of its weight.
pub type Narrow = i32;

/// The weight is in the map.
const WIDE: Narrow = Narrow::MIN;

/// Weights beyond 32 bits, by number of entry.
#[derive(Default)]
pub struct WideWeights(HashMap<u32, i64>);

impl WideWeights {
    #[inline(always)]
    pub fn get(&self, entry: u32, narrow: Narrow) -> i64 {
        match narrow {
            WIDE => self.0.get(&entry).copied().unwrap_or(0),
            weight => i64::from(weight),
        }
    }

    /// What an entry, which kept `before`, keeps of its new weight.
    #[inline(always)]
    #[must_use]
    pub fn set(&mut self, entry: u32, before: Narrow, weight: i64) -> Narrow {
        match Narrow::try_from(weight) {
            Ok(narrow) if narrow != WIDE => {
                if before == WIDE {
                    self.0.remove(&entry);
                }
                narrow
            }
            _ => {
                self.0.insert(entry, weight);
                WIDE
            }
        }
    }

    /// Rows that number the entries have moved in their store.
    pub fn follow(&mut self, moved: &Moved) {
        let followed = self.0.drain().map(|(mut id, weight): (RowId, i64)| {
            moved.follow(&mut id);
            (id, weight)
        });
        self.0 = followed.collect();
    }

    pub fn bytes(&self) -> usize {
        self.0.allocation_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_of_any_size_are_kept() {
        let mut wide = WideWeights::default();
        let mut narrow = 0;
        for weight in [1, -1, i64::from(i32::MAX), 1 << 40, i64::MIN, 7, i64::from(i32::MIN), 0] {
            narrow = wide.set(3, narrow, weight);
            assert_eq!(wide.get(3, narrow), weight);
        }
        assert!(wide.0.is_empty());
    }
}
