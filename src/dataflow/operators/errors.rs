//! Rows whose expressions failed: the error relation of a view.
//!
//! A bad row leaves the dataflow and lands here with its weight and its error; the same row
//! with the opposite weight clears it again, so the relation follows the input exactly.
//! Entries are bounded: beyond `limit` a new bad row is only counted. A retraction of a row
//! that was only counted lowers the count. Shared by the workers of a view; touched only
//! when something fails, so a mutex is enough.

use arrow::array::{RecordBatch, UInt32Array};
use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::error::{HwError, Result};
use crate::types::change_batch::take_rows;
use crate::types::hash::{PrintHasher, fingerprints};

/// A bad row, as it entered the operator that failed.
#[derive(Clone, Debug)]
pub struct RowError {
    /// Exactly one row.
    pub row: RecordBatch,
    pub weight: i64,
    pub error: HwError,
}

/// Weighted, bounded relation of bad rows.
#[derive(Debug)]
pub struct RowErrors {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<u128, RowError, PrintHasher>,
    /// Sum of all weights, of kept rows and of those beyond the limit.
    total: i64,
}

impl RowErrors {
    /// Keeps at most `limit` different rows.
    pub fn new(limit: usize) -> RowErrors {
        RowErrors { limit, state: Mutex::new(State::default()) }
    }

    /// Adds row `index` of `rows` with `weight`.
    pub fn add(&self, rows: &RecordBatch, index: usize, weight: i64, error: HwError) -> Result<()> {
        // A group without keys is a row without columns, which cannot be taken.
        let row = match rows.num_columns() {
            0 => rows.slice(index, 1),
            _ => take_rows(rows, &UInt32Array::from(vec![index as u32]))?,
        };
        let print = fingerprints(row.columns(), 1)[0];
        let mut state = self.state.lock();
        state.total += weight;
        if let Some(known) = state.entries.get_mut(&print) {
            known.weight += weight;
            if known.weight == 0 {
                state.entries.remove(&print);
            }
        } else if state.entries.len() < self.limit {
            state.entries.insert(print, RowError { row, weight, error });
        }
        Ok(())
    }

    /// Number of bad rows now (sum of weights), those beyond the limit included.
    pub fn count(&self) -> i64 {
        self.state.lock().total
    }

    /// Number of different rows that are kept at most.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The kept bad rows, in no order.
    pub fn rows(&self) -> Vec<RowError> {
        self.state.lock().entries.values().filter(|e| e.weight > 0).cloned().collect()
    }
}
