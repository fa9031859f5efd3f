//! INTERSECT and EXCEPT, with and without ALL, by counting.
//!
//! Two changing inputs of equal columns; for each distinct row the state is how many copies
//! each side holds, matched by fingerprint, so no row is stored. At the end of the epoch
//! every row whose counts changed is compared with what it was worth before, and the
//! difference leaves as one change. Exact under any weights and order of batches.

use hashbrown::HashSet;

use arrow::array::UInt32Array;
use arrow::datatypes::SchemaRef;

use super::expressions::batch_of;
use crate::dataflow::operator::{EpochContext, Operator, StateSize};
use crate::error::Result;
use crate::plan::SetKind;
use crate::state::PrintMap;
use crate::types::ChangeBatch;
use crate::types::change_batch::take_rows;
use crate::types::hash::fingerprints;

/// Copies on the left and on the right.
type Counts = [i64; 2];

pub struct SetOpOperator {
    kind: SetKind,
    schema: SchemaRef,
    counts: PrintMap<Counts>,
    /// The epoch's batches, and for each row touched: where it is and its counts before.
    batches: Vec<ChangeBatch>,
    touched: Vec<Touched>,
    seen: HashSet<u32>,
}

struct Touched {
    print: u128,
    slot: u32,
    batch: u32,
    row: u32,
    before: Counts,
}

impl SetOpOperator {
    pub fn new(kind: SetKind, schema: SchemaRef) -> SetOpOperator {
        SetOpOperator {
            kind,
            schema,
            counts: PrintMap::default(),
            batches: Vec::new(),
            touched: Vec::new(),
            seen: HashSet::default(),
        }
    }

    /// What changes for the rows of one batch, in the order of its rows.
    fn emit(&self, batch: usize, rows: Vec<(u32, i64)>, out: &mut Vec<ChangeBatch>) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let indices = UInt32Array::from_iter_values(rows.iter().map(|(row, _)| *row));
        let taken = take_rows(&self.batches[batch].rows, &indices)?;
        let taken = batch_of(&self.schema, taken.columns().to_vec(), rows.len())?;
        out.push(match rows.iter().all(|(_, w)| *w == 1) {
            true => ChangeBatch::inserts(taken),
            false => ChangeBatch::new(taken, rows.into_iter().map(|(_, w)| w).collect()),
        });
        Ok(())
    }
}

impl Operator for SetOpOperator {
    fn name(&self) -> &str {
        "set operation"
    }

    fn push(&mut self, input: usize, batch: ChangeBatch, _out: &mut Vec<ChangeBatch>) -> Result<()> {
        let at = self.batches.len() as u32;
        for (row, print) in fingerprints(batch.rows.columns(), batch.len()).into_iter().enumerate() {
            let slot = self.counts.find_or_add(print, Counts::default);
            let counts = &mut self.counts[slot];
            if self.seen.insert(slot) {
                self.touched.push(Touched { print, slot, batch: at, row: row as u32, before: *counts });
            }
            counts[input] += batch.weights.get(row);
        }
        self.batches.push(batch);
        Ok(())
    }

    fn finish_epoch(&mut self, _cx: &EpochContext, out: &mut Vec<ChangeBatch>) -> Result<()> {
        let mut changes: Vec<Vec<(u32, i64)>> = vec![Vec::new(); self.batches.len()];
        for touched in std::mem::take(&mut self.touched) {
            let now = self.counts[touched.slot];
            let copies = |c: Counts| self.kind.copies(c[0], c[1]);
            let change = copies(now) - copies(touched.before);
            if change != 0 {
                changes[touched.batch as usize].push((touched.row, change));
            }
            if now == [0, 0] {
                self.counts.remove(touched.print);
            }
        }
        for (batch, rows) in changes.into_iter().enumerate() {
            self.emit(batch, rows, out)?;
        }
        self.batches.clear();
        self.seen = HashSet::default();
        self.counts.trim();
        Ok(())
    }

    fn state_size(&self) -> StateSize {
        StateSize { entries: self.counts.len(), bytes: self.counts.bytes() }
    }
}

#[cfg(test)]
mod tests;
