//! Rows that belong to the result while the clock is within their bounds.
//!
//! Each row has a first and a last moment, computed from its time columns. A row whose time
//! has not come waits; when the clock reaches it the row enters, when its end is reached it
//! leaves as a retraction and is forgotten. Rows stand in the order of what comes next, which
//! says what is due and, as it is known from the row, finds it, so an
//! epoch costs what changes in it. Rows whose end has passed are never kept; a NULL time is
//! never within bounds. Rows are judged by the `now` of their epoch, after all its rows.

use std::sync::Arc;

use arrow::array::{Array, AsArray, UInt32Array};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};

use super::expressions::batch_of;
use crate::dataflow::operator::{EpochContext, Operator, StateSize};
use crate::error::{HwError, Result};
use crate::plan::TemporalBound;
use crate::state::{Moved, Narrow, RowId, RowStore, ShortPrint, SortedBlocks, WideWeights};
use crate::types::change_batch::take_rows;
use crate::types::hash::fingerprints;
use crate::types::{ChangeBatch, ProcTime};

/// A row of the result, by when it leaves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C, packed(4))]
struct Within {
    end: i64,
    print: ShortPrint,
}

/// A row whose time has not come, by when it enters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C, packed(4))]
struct Waiting {
    start: i64,
    then: Within,
}

/// The weight is 0 only within an epoch.
#[derive(Clone, Copy)]
struct Kept {
    row: RowId,
    weight: Narrow,
}

/// Rows by what comes next.
struct Held<K> {
    kept: SortedBlocks<K, Kept>,
    /// By id of row.
    wide: WideWeights,
    /// Rows that the epoch has touched, with their weights before.
    touched: Vec<(K, i64)>,
}

impl<K: Ord + Copy> Held<K> {
    fn new() -> Held<K> {
        let (kept, wide, touched) = Default::default();
        Held { kept, wide, touched }
    }

    /// Whether a row is there; it is from now on, and stored when it gets its id.
    fn admit(&mut self, key: K) -> bool {
        let known = self.kept.get(&key).is_some();
        if !known {
            self.kept.insert(key, Kept { row: RowId::MAX, weight: 0 });
        }
        known
    }

    fn place(&mut self, key: &K, row: RowId) {
        if let Some(kept) = self.kept.get_mut(key) {
            kept.row = row;
        }
    }

    /// Adds to the weight of a row.
    fn add(&mut self, key: K, weight: i64) {
        let Some(kept) = self.kept.get_mut(&key) else { return };
        let before = self.wide.get(kept.row, kept.weight);
        kept.weight = self.wide.set(kept.row, kept.weight, before + weight);
        self.touched.push((key, before));
    }

    /// What the epoch has touched: rows, their weights before and after. Rows of weight 0 are gone.
    fn settle(&mut self) -> Vec<(RowId, i64, i64)> {
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_by_key(|(key, _)| *key);
        touched.dedup_by_key(|(key, _)| *key);
        let mut settled = Vec::with_capacity(touched.len());
        for (key, before) in touched {
            let Some(Kept { row, weight }) = self.kept.get(&key).copied() else { continue };
            let after = self.wide.get(row, weight);
            settled.push((row, before, after));
            if after == 0 {
                self.kept.remove(&key);
            }
        }
        settled
    }

    /// Takes the rows up to `last`, with their weights.
    fn take_until(&mut self, last: &K) -> impl Iterator<Item = (K, RowId, i64)> {
        let due = self.kept.take_until(last);
        due.into_iter().map(|(key, Kept { row, weight })| {
            let taken = self.wide.get(row, weight);
            // Nothing of it stays beside.
            let _none = self.wide.set(row, weight, 0);
            (key, row, taken)
        })
    }

    fn follow(&mut self, moved: &Moved) {
        self.kept.values_mut().for_each(|kept| moved.follow(&mut kept.row));
        self.wide.follow(moved);
    }

    fn bytes(&self) -> usize {
        self.kept.bytes() + self.wide.bytes()
    }
}

pub struct TemporalFilterOperator {
    /// Bounds and the columns of their times.
    bounds: Vec<(usize, TemporalBound)>,
    schema: SchemaRef,
    rows: RowStore,
    within: Held<Within>,
    waiting: Held<Waiting>,
    /// The clock by which the result is what it is.
    before: i64,
    pending: Vec<ChangeBatch>,
}

impl TemporalFilterOperator {
    /// `schema`: the input's first columns, which are the output.
    pub fn new(bounds: Vec<(usize, TemporalBound)>, schema: SchemaRef) -> TemporalFilterOperator {
        TemporalFilterOperator {
            bounds,
            rows: RowStore::new(Arc::clone(&schema)),
            schema,
            within: Held::new(),
            waiting: Held::new(),
            before: i64::MIN,
            pending: Vec::new(),
        }
    }

    /// From when until when each row of a batch is in the result.
    fn spans(&self, batch: &ChangeBatch) -> Result<Vec<(i64, i64)>> {
        let mut spans = vec![(i64::MIN, i64::MAX); batch.len()];
        for (column, bound) in &self.bounds {
            let times = batch.rows.column(*column).as_primitive_opt::<TimestampMicrosecondType>();
            let times = times.ok_or_else(|| HwError::internal("the time of a filter is no timestamp"))?;
            for (row, (start, end)) in spans.iter_mut().enumerate() {
                if times.is_null(row) {
                    *end = i64::MIN;
                    continue;
                }
                let at = times.value(row).saturating_add(bound.shift_us);
                match bound.until {
                    true => *end = (*end).min(at),
                    false => *start = (*start).max(at),
                }
            }
        }
        Ok(spans)
    }

    /// Adds a batch to what waits, and to what is within, by the clock before.
    fn add(&mut self, batch: &ChangeBatch, now: i64) -> Result<()> {
        let prints = fingerprints(batch.rows.columns(), batch.len());
        let place = |(row, (start, end)): (usize, (i64, i64))| {
            let then = Within { end, print: ShortPrint::of(prints[row]) };
            (start < end && end > now).then_some((row, Waiting { start, then }))
        };
        let taken: Vec<_> = self.spans(batch)?.into_iter().enumerate().filter_map(place).collect();
        let waits = |at: &Waiting| at.start > self.before;
        let mut fresh = Vec::new();
        for (row, at) in &taken {
            let known = match waits(at) {
                true => self.waiting.admit(*at),
                false => self.within.admit(at.then),
            };
            fresh.extend((!known).then_some((*row as u32, *at)));
        }
        if !fresh.is_empty() {
            let indices = UInt32Array::from_iter_values(fresh.iter().map(|(row, _)| *row));
            let columns = batch.rows.columns()[..self.schema.fields().len()].to_vec();
            let output = batch_of(&self.schema, columns, batch.len())?;
            let first = self.rows.append(take_rows(&output, &indices)?)?;
            for (id, (_, at)) in (first..).zip(fresh) {
                match waits(&at) {
                    true => self.waiting.place(&at, id),
                    false => self.within.place(&at.then, id),
                }
            }
        }
        for (row, at) in taken {
            let weight = batch.weights.get(row);
            match waits(&at) {
                true => self.waiting.add(at, weight),
                false => self.within.add(at.then, weight),
            }
        }
        Ok(())
    }

    /// What changes in the result by the rows of the epoch and by the clock.
    fn emit(&mut self, now: i64, out: &mut Vec<ChangeBatch>) -> Result<()> {
        let (mut ids, mut weights, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        for (row, before, after) in self.within.settle() {
            if before != after {
                ids.push(row);
                weights.push(after - before);
            }
            gone.extend((after == 0).then_some(row));
        }
        let empty = |(row, _, after): (RowId, i64, i64)| (after == 0).then_some(row);
        gone.extend(self.waiting.settle().into_iter().filter_map(empty));
        let last = ShortPrint::GREATEST;
        let due = Within { end: now, print: last };
        for (_, row, weight) in self.within.take_until(&due) {
            ids.push(row);
            weights.push(-weight);
            gone.push(row);
        }
        let entered = Waiting { start: now, then: Within { end: i64::MAX, print: last } };
        for (Waiting { then, .. }, row, weight) in self.waiting.take_until(&entered) {
            if then.end <= now {
                gone.push(row);
                continue;
            }
            ids.push(row);
            weights.push(weight);
            self.within.kept.insert(then, Kept { row, weight: self.within.wide.set(row, 0, weight) });
        }
        self.before = now;
        if !ids.is_empty() {
            out.push(ChangeBatch::new(self.rows.gather(&ids, None)?, weights));
        }
        gone.into_iter().for_each(|id| self.rows.release(id));
        if let Some(moved) = self.rows.compact_if_worth()? {
            self.within.follow(&moved);
            self.waiting.follow(&moved);
        }
        Ok(())
    }
}

impl Operator for TemporalFilterOperator {
    fn name(&self) -> &str {
        "temporal filter"
    }

    fn push(&mut self, _input: usize, batch: ChangeBatch, _out: &mut Vec<ChangeBatch>) -> Result<()> {
        self.pending.push(batch);
        Ok(())
    }

    fn finish_epoch(&mut self, cx: &EpochContext, out: &mut Vec<ChangeBatch>) -> Result<()> {
        let now = cx.now.0;
        for batch in std::mem::take(&mut self.pending) {
            self.add(&batch, now)?;
        }
        self.emit(now, out)
    }

    fn next_timer(&self) -> Option<ProcTime> {
        let enters = self.waiting.kept.first().map(|(at, _)| at.start);
        let leaves = self.within.kept.first().map(|(at, _)| at.end).filter(|end| *end < i64::MAX);
        enters.into_iter().chain(leaves).min().map(ProcTime)
    }

    fn state_size(&self) -> StateSize {
        let entries = self.within.kept.len() + self.waiting.kept.len();
        StateSize { entries, bytes: self.within.bytes() + self.waiting.bytes() + self.rows.bytes() }
    }
}

#[cfg(test)]
mod tests;
