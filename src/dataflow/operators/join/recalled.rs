//! What the look-ups of a left side that changes have given, so that it can be taken back.
//!
//! In: what the rows of an epoch found, and later their retractions. Out: for a retraction what its
//! row was shown with, whatever the right side holds by then. Of equal rows that found different
//! things the last one is taken back first. Invariant: an entry for each left row that is there
//! and may have matched, and for each pair that it made.

use std::sync::Arc;

use crate::error::Result;
use crate::state::{Chunks, PrintMap, RowId, RowStore, trim_free};
use crate::types::ChangeBatch;
use arrow::datatypes::SchemaRef;

const NONE: u32 = u32::MAX;

/// One pair of a look-up, or a look-up that shows nothing (no row).
#[derive(Clone, Copy)]
struct Given {
    row: RowId,
    next: u32,
    /// The epoch of the look-up, by which its pairs belong together.
    epoch: u32,
    /// How often one left row is shown with it.
    times: i32,
    /// Left rows that stand behind it.
    left: i64,
}

/// A look-up's output with the left row of each of its rows.
pub struct Found {
    pub rows: Vec<u32>,
    pub shown: ChangeBatch,
}

/// The memory of one operator.
pub struct Recalled {
    shown: RowStore,
    given: Chunks<Given>,
    free: Vec<u32>,
    /// The last entry of each left row, by its fingerprint.
    last: PrintMap<u32>,
    entries: usize,
    epoch: u32,
}

impl Recalled {
    pub fn new(output: SchemaRef) -> Recalled {
        Recalled {
            shown: RowStore::new(Arc::clone(&output)),
            given: Chunks::default(),
            free: Vec::new(),
            last: PrintMap::default(),
            entries: 0,
            epoch: 0,
        }
    }

    /// Keeps what left rows, with these fingerprints and weights, have found in this epoch.
    pub fn keep(&mut self, prints: &[u128], weights: &[i64], found: &[Found]) -> Result<()> {
        self.epoch += 1;
        let mut alone = vec![true; prints.len()];
        for Found { rows, shown } in found {
            let first = self.shown.append(shown.rows.clone())?;
            for (at, row) in rows.iter().enumerate() {
                let row = *row as usize;
                let times = shown.weights.get(at) / weights[row];
                self.push(prints[row], first + at as RowId, times as i32, weights[row]);
                alone[row] = false;
            }
        }
        for row in (0..prints.len()).filter(|row| alone[*row]) {
            self.push(prints[row], NONE, 0, weights[row]);
        }
        Ok(())
    }

    fn push(&mut self, print: u128, row: RowId, times: i32, left: i64) {
        let last = self.last.find_or_add(print, || NONE);
        let given = Given { row, next: self.last[last], epoch: self.epoch, times, left };
        let slot = self.free.pop().unwrap_or(self.given.len() as u32);
        self.given.put(slot, given);
        self.last[last] = slot;
        self.entries += 1;
    }

    /// What retractions of left rows take back.
    pub fn take_back(&mut self, prints: &[u128], weights: &[i64]) -> Result<Option<ChangeBatch>> {
        let (mut rows, mut changes, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        for (print, weight) in prints.iter().zip(weights) {
            let mut rest = -weight;
            while rest > 0 {
                let Some(last) = self.last.find(*print) else { break };
                let top = self.last[last];
                let (epoch, left) = (self.given[top].epoch, self.given[top].left);
                let taken = rest.min(left);
                let mut at = top;
                while at != NONE && self.given[at].epoch == epoch {
                    let entry = &mut self.given[at];
                    if entry.row != NONE {
                        rows.push(entry.row);
                        changes.push(-taken * i64::from(entry.times));
                    }
                    entry.left -= taken;
                    if entry.left == 0 {
                        gone.extend((entry.row != NONE).then_some(entry.row));
                        self.free.push(at);
                        self.entries -= 1;
                    }
                    at = entry.next;
                }
                if taken == left {
                    match at {
                        NONE => drop(self.last.remove(*print)),
                        next => self.last[last] = next,
                    }
                }
                rest -= taken;
            }
        }
        let back = match rows.is_empty() {
            true => None,
            false => Some(ChangeBatch::new(self.shown.gather(&rows, None)?, changes)),
        };
        gone.into_iter().for_each(|row| self.shown.release(row));
        Ok(back)
    }

    pub fn compact(&mut self) -> Result<()> {
        self.last.trim();
        trim_free(&mut self.free);
        if let Some(moved) = self.shown.compact_if_worth()? {
            // Free entries are written anew before they are read.
            self.given.iter_mut().for_each(|given| moved.follow(&mut given.row));
        }
        Ok(())
    }

    pub fn entries(&self) -> usize {
        self.entries
    }

    pub fn bytes(&self) -> usize {
        self.shown.bytes() + self.given.bytes() + self.free.capacity() * size_of::<u32>() + self.last.bytes()
    }
}
