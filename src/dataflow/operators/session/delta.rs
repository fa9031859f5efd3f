//! The rows of an epoch, aggregated into runs.
//!
//! A run is what the rows of one epoch and key give that overlap or touch: a session as if
//! there were no others. Rows join runs one by one, with one hash look-up each; runs that a
//! row joins are added up per batch. Rows that may be too late are kept until it is known
//! whether their run is. Empty between epochs.

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::SchemaRef;

use super::super::expressions::batch_of;
use super::cells::Cells;
use super::index::{Proposed, SessionIndex};
use crate::error::Result;
use crate::types::ChangeBatch;

/// A batch on its way into runs.
pub struct Rows<'a> {
    pub batch: &'a ChangeBatch,
    pub prints: &'a [u128],
    pub times: &'a [i64],
    /// Rows whose own window ends here or earlier may be too late.
    pub suspect_end: i64,
}

pub struct Delta {
    index: SessionIndex,
    cells: Cells,
    /// Cells on their way from one slot of `cells` to another.
    moved: Cells,
    gap_us: i64,
    key_columns: Vec<usize>,
    /// Keys of the runs, in the order of slots.
    keys: Vec<RecordBatch>,
    /// The run that a slot has become part of.
    roots: Vec<u32>,
    /// Rows that may be too late, and their runs.
    suspects: Vec<(ChangeBatch, Vec<u32>)>,
}

impl Delta {
    pub fn new(cells: Cells, moved: Cells, gap_us: i64, key_columns: Vec<usize>) -> Delta {
        let index = SessionIndex::default();
        Delta { index, cells, moved, gap_us, key_columns, keys: vec![], roots: vec![], suspects: vec![] }
    }

    /// Adds the rows of a batch.
    pub fn add(&mut self, rows: &Rows<'_>) -> Result<()> {
        let mut slots: Vec<u32> = Vec::with_capacity(rows.times.len());
        let (mut new_rows, mut swallowed, mut joined) = (Vec::new(), Vec::new(), Vec::new());
        let (mut suspects, mut suspect_slots) = (Vec::new(), Vec::new());
        for (row, (print, time)) in rows.prints.iter().zip(rows.times).enumerate() {
            let end = time.saturating_add(self.gap_us);
            let slot = match self.index.propose(*print, *time, end, &mut swallowed) {
                Proposed::Into(slot) => slot,
                Proposed::New(slot) => {
                    new_rows.push(row as u32);
                    self.roots.push(slot);
                    slot
                }
            };
            slots.push(slot);
            for gone in swallowed.drain(..) {
                self.index.retire(gone);
                self.roots[gone as usize] = slot;
                joined.push(gone);
            }
            if end <= rows.suspect_end {
                suspects.push(row as u32);
                suspect_slots.push(slot);
            }
        }
        let keys = rows.batch.rows.project(&self.key_columns)?;
        if !new_rows.is_empty() {
            self.keys.push(picked(&keys, new_rows)?);
        }
        if !suspects.is_empty() {
            self.suspects.push((rows.batch.take(&UInt32Array::from(suspects))?, suspect_slots));
        }
        self.cells.resize(self.index.slots());
        if !joined.is_empty() {
            self.join(&joined);
            slots.iter_mut().for_each(|s| *s = self.root(*s));
        }
        self.cells.update(rows.batch, &slots)
    }

    /// Adds the cells of slots that have become part of others to those.
    fn join(&mut self, joined: &[u32]) {
        let out: Vec<(u32, u32)> = joined.iter().copied().zip(0..).collect();
        let back: Vec<(u32, u32)> =
            joined.iter().map(|s| self.root(*s)).zip(0..).map(|(r, i)| (i, r)).collect();
        self.moved.resize(joined.len());
        self.moved.merge(&self.cells, &out);
        self.cells.clear(joined);
        self.cells.merge(&self.moved, &back);
        let used: Vec<u32> = (0..joined.len() as u32).collect();
        self.moved.clear(&used);
    }

    /// The run that a slot belongs to.
    fn root(&self, mut slot: u32) -> u32 {
        while self.roots[slot as usize] != slot {
            slot = self.roots[slot as usize];
        }
        slot
    }

    pub fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// The runs in order of key and time.
    pub fn runs(&self) -> Vec<u32> {
        let mut runs: Vec<u32> = self.index.live_slots().collect();
        runs.sort_unstable_by_key(|run| (self.index.print(*run), self.index.bounds(*run).0));
        runs
    }

    /// Fingerprint of the key, start and end of a run.
    pub fn run(&self, run: u32) -> (u128, i64, i64) {
        let (start, end) = self.index.bounds(run);
        (self.index.print(run), start, end)
    }

    pub fn cells(&self) -> &Cells {
        &self.cells
    }

    /// Adds sessions that a run swallows to the run.
    pub fn take_in(&mut self, sessions: &Cells, moves: &[(u32, u32)]) {
        self.cells.merge(sessions, moves);
    }

    /// Key rows of runs.
    pub fn keys_of(&self, runs: &[u32], schema: &SchemaRef) -> Result<RecordBatch> {
        picked(&concat_batches(schema, &self.keys)?, runs.to_vec())
    }

    /// The rows that may be too late, with their runs.
    pub fn suspects(&self) -> impl Iterator<Item = (&ChangeBatch, Vec<u32>)> {
        self.suspects.iter().map(|(batch, slots)| (batch, slots.iter().map(|s| self.root(*s)).collect()))
    }

    /// Forgets the epoch.
    pub fn clear(&mut self) -> Result<()> {
        let used: Vec<u32> = (0..self.roots.len() as u32).collect();
        self.cells.clear(&used);
        self.cells.shrink()?;
        self.moved.shrink()?;
        self.index.clear();
        self.keys.clear();
        self.roots.clear();
        self.suspects.clear();
        Ok(())
    }

    pub fn bytes(&self) -> usize {
        self.index.bytes() + self.cells.bytes() + self.moved.bytes()
    }
}

/// Rows of a batch that may have no columns.
fn picked(batch: &RecordBatch, rows: Vec<u32>) -> Result<RecordBatch> {
    let rows = UInt32Array::from(rows);
    let columns =
        batch.columns().iter().map(|c| Ok(take(c, &rows, None)?)).collect::<Result<Vec<ArrayRef>>>()?;
    batch_of(&batch.schema(), columns, rows.len())
}
