//! `state_ttl` below an operator: rows leave when nobody has touched them for so long.
//!
//! Rows with equal keys are touched together: by any change of one of them, at the clock of its
//! epoch. Changes pass at the end of the epoch; when the clock reaches the last touch plus the
//! time to live, after the rows of the epoch, what is held of the key is emitted with the
//! opposite weight and forgotten. A deletion of a row that has expired is ignored. Invariant:
//! held are exactly the rows let out, none with a negative weight.

use std::ops::Bound::Included;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::datatypes::SchemaRef;
use std::sync::Arc;

use super::time_queue::TimeQueue;
use crate::dataflow::operator::{EpochContext, Operator, StateSize};
use crate::error::Result;
use crate::plan::ExpireNode;
use crate::state::{Narrow, RowId, RowStore, ShortPrint, SortedBlocks, WideWeights};
use crate::types::change_batch::take_rows;
use crate::types::hash::fingerprints;
use crate::types::{ChangeBatch, ProcTime};

/// Fewer keys than this are queued without being looked through.
const STALE_MIN: usize = 1024;

/// Where a row stands: with those of its key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C, packed(4))]
struct At {
    key: ShortPrint,
    /// The lower half of its fingerprint.
    row: u64,
}

/// A key is touched last when the last one of its rows is.
#[derive(Clone, Copy)]
#[repr(C, packed(4))]
struct Kept {
    row: RowId,
    weight: Narrow,
    touched: i64,
}

pub struct ExpireOperator {
    keys: Vec<usize>,
    ttl_us: i64,
    rows: RowStore,
    kept: SortedBlocks<At, Kept>,
    /// By id of row.
    wide: WideWeights,
    /// Keys by a touch of theirs, which need not be the last; a key may be there twice or be gone.
    queue: TimeQueue<ShortPrint>,
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
            kept: SortedBlocks::default(),
            wide: WideWeights::default(),
            queue: TimeQueue::default(),
            pending: Vec::new(),
        }
    }

    /// Where the rows of a batch stand.
    fn places(&self, batch: &ChangeBatch) -> Vec<At> {
        let rows = fingerprints(batch.rows.columns(), batch.len());
        let of = |(key, row): (&u128, &u128)| At { key: ShortPrint::of(*key), row: *row as u64 };
        if self.keys.len() == batch.rows.num_columns() {
            return rows.iter().zip(&rows).map(of).collect();
        }
        let keys: Vec<ArrayRef> = self.keys.iter().map(|k| Arc::clone(batch.rows.column(*k))).collect();
        fingerprints(&keys, batch.len()).iter().zip(&rows).map(of).collect()
    }

    /// The rows of a key.
    fn of(&self, key: ShortPrint) -> impl Iterator<Item = (&At, &Kept)> {
        let from = At { key, row: 0 };
        self.kept.range(Included(from), Included(At { key, row: u64::MAX }))
    }

    /// Adds a batch; `changed` gets the rows that it touches with their weights before.
    fn add(&mut self, batch: &ChangeBatch, now: i64, changed: &mut Vec<(At, i64)>) -> Result<()> {
        let places = self.places(batch);
        let (mut fresh, mut keys) = (Vec::new(), Vec::new());
        for (row, at) in places.iter().enumerate() {
            match self.kept.get_mut(at) {
                Some(kept) => kept.touched = now,
                None => {
                    if self.of(at.key).next().is_none() {
                        keys.push((now, at.key));
                    }
                    self.kept.insert(*at, Kept { row: RowId::MAX, weight: 0, touched: now });
                    fresh.push(row as u32);
                }
            }
        }
        self.enqueue(keys);
        let first = self.rows.append(take_rows(&batch.rows, &UInt32Array::from(fresh.clone()))?)?;
        for (id, row) in (first..).zip(fresh) {
            if let Some(kept) = self.kept.get_mut(&places[row as usize]) {
                kept.row = id;
            }
        }
        for (row, at) in places.into_iter().enumerate() {
            let Some(kept) = self.kept.get_mut(&at) else { continue };
            let before = self.wide.get(kept.row, kept.weight);
            kept.weight = self.wide.set(kept.row, kept.weight, before + batch.weights.get(row));
            changed.push((at, before));
        }
        Ok(())
    }

    /// Queues keys; looks through the queue when most of what it has may be gone.
    fn enqueue(&mut self, keys: Vec<(i64, ShortPrint)>) {
        self.queue.add(keys);
        if self.queue.len() > self.kept.len() + self.kept.len() / 4 + STALE_MIN {
            let mut keys = std::mem::take(&mut self.queue).take_until(i64::MAX);
            // The earliest of a key's is enough.
            keys.sort_unstable_by_key(|(time, key)| (*key, *time));
            keys.dedup_by_key(|(_, key)| *key);
            keys.retain(|(_, key)| self.of(*key).next().is_some());
            self.queue.add(keys);
        }
    }

    /// What the epoch's rows change.
    fn apply(&mut self, mut changed: Vec<(At, i64)>, now: i64, changes: &mut Changes) {
        changed.sort_by_key(|(at, _)| *at);
        changed.dedup_by_key(|(at, _)| *at);
        for (at, shown) in changed {
            let Some(kept) = self.kept.get_mut(&at) else { continue };
            let (row, sum) = (kept.row, self.wide.get(kept.row, kept.weight));
            let weight = sum.max(0);
            kept.weight = self.wide.set(row, kept.weight, weight);
            if weight != shown {
                changes.ids.push(row);
                changes.weights.push(weight - shown);
            }
            if weight == 0 {
                changes.gone.push(row);
                self.kept.remove(&at);
                let other = self.of(at.key).next().map(|(at, _)| *at);
                if let Some(kept) = other.and_then(|at| self.kept.get_mut(&at)) {
                    kept.touched = now;
                }
            }
        }
    }

    fn expire(&mut self, now: i64, changes: &mut Changes) {
        let mut later = Vec::new();
        for (_, key) in self.queue.take_until(now.saturating_sub(self.ttl_us)) {
            match self.of(key).map(|(_, kept)| kept.touched).max() {
                None => {}
                Some(touched) if touched.saturating_add(self.ttl_us) > now => later.push((touched, key)),
                Some(_) => self.forget(key, changes),
            }
        }
        later.sort_unstable();
        later.dedup();
        self.queue.add(later);
    }

    fn forget(&mut self, key: ShortPrint, changes: &mut Changes) {
        let rows: Vec<(At, Kept)> = self.of(key).map(|(at, kept)| (*at, *kept)).collect();
        for (at, Kept { row, weight, .. }) in rows {
            changes.ids.push(row);
            changes.weights.push(-self.wide.get(row, weight));
            changes.gone.push(row);
            // Nothing of it stays beside.
            let _none = self.wide.set(row, weight, 0);
            self.kept.remove(&at);
        }
    }

    fn release(&mut self, gone: Vec<RowId>) -> Result<()> {
        gone.into_iter().for_each(|id| self.rows.release(id));
        if let Some(moved) = self.rows.compact_if_worth()? {
            self.kept.values_mut().for_each(|kept| moved.follow(&mut kept.row));
            self.wide.follow(&moved);
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
        self.apply(changed, now, &mut changes);
        self.expire(now, &mut changes);
        if !changes.ids.is_empty() {
            out.push(ChangeBatch::new(self.rows.gather(&changes.ids, None)?, changes.weights));
        }
        self.release(changes.gone)
    }

    fn next_timer(&self) -> Option<ProcTime> {
        self.queue.first().map(|at| ProcTime(at.saturating_add(self.ttl_us)))
    }

    fn state_size(&self) -> StateSize {
        let bytes = self.kept.bytes() + self.wide.bytes() + self.queue.bytes() + self.rows.bytes();
        StateSize { entries: self.kept.len(), bytes }
    }
}

#[cfg(test)]
mod tests;
