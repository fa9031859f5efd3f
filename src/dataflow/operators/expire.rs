//! `state_ttl` below an operator: rows leave when nobody has touched them for so long.
//!
//! Rows with equal keys are touched together: by any change of one of them, at the clock of its
//! epoch. Changes pass at the end of the epoch; when the clock reaches the last touch plus the
//! time to live, after the rows of the epoch, what is held of the key is emitted with the
//! opposite weight and forgotten. A deletion of a row that has expired is ignored. Invariant:
//! held are exactly the rows let out, none with a negative weight.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::datatypes::SchemaRef;
use hashbrown::HashMap;

use crate::dataflow::operator::{EpochContext, Operator, StateSize};
use crate::error::Result;
use crate::plan::ExpireNode;
use crate::state::{RowId, RowStore};
use crate::types::change_batch::take_rows;
use crate::types::hash::{PrintHasher, fingerprints};
use crate::types::{ChangeBatch, ProcTime};

/// A key's list of rows may have so many rows that are gone, beyond as many as are there.
const DEAD_ROWS: usize = 16;

struct Entry {
    row: RowId,
    key: u128,
    weight: i64,
    /// What has been let out.
    shown: i64,
}

/// The rows of a key, which is queued once.
struct Held {
    touched: i64,
    live: usize,
    /// May name rows that are gone.
    rows: Vec<u128>,
}

pub struct ExpireOperator {
    keys: Vec<usize>,
    ttl_us: i64,
    rows: RowStore,
    entries: HashMap<u128, Entry, PrintHasher>,
    held: HashMap<u128, Held, PrintHasher>,
    /// Keys by a touch of theirs, which need not be the last.
    queue: BTreeMap<i64, Vec<u128>>,
    pending: Vec<ChangeBatch>,
}

/// Rows to be emitted, and rows to be given back to the store then.
#[derive(Default)]
struct Changes {
    ids: Vec<RowId>,
    weights: Vec<i64>,
    gone: Vec<RowId>,
}

impl ExpireOperator {
    pub fn new(node: &ExpireNode, schema: SchemaRef) -> ExpireOperator {
        ExpireOperator {
            keys: node.keys.clone(),
            ttl_us: node.ttl_us,
            rows: RowStore::new(schema),
            entries: HashMap::default(),
            held: HashMap::default(),
            queue: BTreeMap::new(),
            pending: Vec::new(),
        }
    }

    /// Fingerprints of the rows and of their keys.
    fn prints(&self, batch: &ChangeBatch) -> (Vec<u128>, Vec<u128>) {
        let rows = fingerprints(batch.rows.columns(), batch.len());
        if self.keys.len() == batch.rows.num_columns() {
            return (rows.clone(), rows);
        }
        let keys: Vec<ArrayRef> = self.keys.iter().map(|k| Arc::clone(batch.rows.column(*k))).collect();
        (rows, fingerprints(&keys, batch.len()))
    }

    fn add(&mut self, batch: &ChangeBatch, now: i64, changed: &mut Vec<u128>) -> Result<()> {
        let (prints, keys) = self.prints(batch);
        let mut fresh: Vec<u32> = Vec::new();
        for (row, (print, key)) in prints.iter().zip(&keys).enumerate() {
            let queue = &mut self.queue;
            let held = self.held.entry(*key).or_insert_with(|| {
                queue.entry(now).or_default().push(*key);
                Held { touched: now, live: 0, rows: Vec::new() }
            });
            held.touched = now;
            let entry = self.entries.entry(*print).or_insert_with(|| {
                fresh.push(row as u32);
                held.live += 1;
                held.rows.push(*print);
                Entry { row: 0, key: *key, weight: 0, shown: 0 }
            });
            entry.weight += batch.weights.get(row);
            changed.push(*print);
        }
        let first = self.rows.append(take_rows(&batch.rows, &UInt32Array::from(fresh.clone()))?)?;
        for (id, row) in (first..).zip(fresh) {
            if let Some(entry) = self.entries.get_mut(&prints[row as usize]) {
                entry.row = id;
            }
        }
        Ok(())
    }

    /// What the epoch's rows change.
    fn apply(&mut self, changed: Vec<u128>, changes: &mut Changes) {
        for print in changed {
            let Some(entry) = self.entries.get_mut(&print) else { continue };
            entry.weight = entry.weight.max(0);
            if entry.weight != entry.shown {
                changes.ids.push(entry.row);
                changes.weights.push(entry.weight - entry.shown);
                entry.shown = entry.weight;
            }
            if entry.weight == 0 {
                changes.gone.push(entry.row);
                let key = entry.key;
                self.entries.remove(&print);
                self.leave(key);
            }
        }
    }

    /// A row of the key has gone.
    fn leave(&mut self, key: u128) {
        let Some(held) = self.held.get_mut(&key) else { return };
        held.live -= 1;
        if held.live == 0 {
            self.held.remove(&key);
        } else if held.rows.len() > 2 * held.live + DEAD_ROWS {
            let entries = &self.entries;
            held.rows.retain(|print| entries.contains_key(print));
            held.rows.sort_unstable();
            held.rows.dedup();
        }
    }

    fn expire(&mut self, now: i64, changes: &mut Changes) {
        while let Some(first) = self.queue.first_entry() {
            let queued = *first.key();
            if queued.saturating_add(self.ttl_us) > now {
                break;
            }
            for key in first.remove() {
                match self.held.get(&key).map(|held| held.touched) {
                    None => {}
                    Some(touched) if touched.saturating_add(self.ttl_us) > now => {
                        self.queue.entry(touched).or_default().push(key);
                    }
                    Some(_) => self.forget(key, changes),
                }
            }
        }
    }

    fn forget(&mut self, key: u128, changes: &mut Changes) {
        for print in self.held.remove(&key).into_iter().flat_map(|held| held.rows) {
            let Some(entry) = self.entries.remove(&print) else { continue };
            changes.ids.push(entry.row);
            changes.weights.push(-entry.shown);
            changes.gone.push(entry.row);
        }
    }

    fn release(&mut self, gone: Vec<RowId>) -> Result<()> {
        gone.into_iter().for_each(|id| self.rows.release(id));
        if let Some(moved) = self.rows.compact_if_worth()? {
            self.entries.values_mut().for_each(|entry| moved.follow(&mut entry.row));
        }
        Ok(())
    }
}

impl Operator for ExpireOperator {
    fn name(&self) -> &str {
        "expiry"
    }

    fn push(&mut self, _input: usize, batch: ChangeBatch, _out: &mut Vec<ChangeBatch>) -> Result<()> {
        self.pending.push(batch);
        Ok(())
    }

    fn finish_epoch(&mut self, cx: &EpochContext, out: &mut Vec<ChangeBatch>) -> Result<()> {
        let (now, mut changed, mut changes) = (cx.now.0, Vec::new(), Changes::default());
        for batch in std::mem::take(&mut self.pending) {
            self.add(&batch, now, &mut changed)?;
        }
        self.apply(changed, &mut changes);
        self.expire(now, &mut changes);
        if !changes.ids.is_empty() {
            out.push(ChangeBatch::new(self.rows.gather(&changes.ids, None)?, changes.weights));
        }
        self.release(changes.gone)
    }

    fn next_timer(&self) -> Option<ProcTime> {
        self.queue.first_key_value().map(|(at, _)| ProcTime(at.saturating_add(self.ttl_us)))
    }

    fn state_size(&self) -> StateSize {
        let entry = size_of::<(u128, Entry)>() + 1;
        let held = size_of::<(u128, Held)>() + 1;
        let lists: usize = self.held.values().map(|h| h.rows.capacity() * size_of::<u128>()).sum();
        let bytes = self.entries.capacity() * entry
            + self.held.capacity() * held
            + self.queue.values().map(|keys| keys.capacity() * size_of::<u128>()).sum::<usize>()
            + lists
            + self.rows.bytes();
        StateSize { entries: self.entries.len(), bytes }
    }
}

#[cfg(test)]
mod tests;
