//! Rows that belong to the result while the clock is within their bounds.
//!
//! Each row has a first and a last moment, computed from its time columns. A row whose time
//! has not come waits; when the clock reaches it the row enters, when its end is reached it
//! leaves as a retraction and is forgotten. A queue ordered by time says what is due, so an
//! epoch costs what changes in it. Rows whose end has passed are never kept; a NULL time is
//! never within bounds. Rows are judged by the `now` of their epoch, after all its rows.

use std::sync::Arc;

use arrow::array::{Array, AsArray, UInt32Array};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};

use super::expressions::batch_of;
use super::time_queue::TimeQueue;
use crate::dataflow::operator::{EpochContext, Operator, StateSize};
use crate::error::{HwError, Result};
use crate::plan::TemporalBound;
use crate::state::print_map::tag_of;
use crate::state::{PrintMap, RowId, RowStore};
use crate::types::change_batch::take_rows;
use crate::types::hash::fingerprints;
use crate::types::{ChangeBatch, ProcTime};

/// A row that is in the result or may come into it.
#[derive(Clone, Copy)]
struct Entry {
    row: RowId,
    /// What the map finds it by.
    tag: u32,
    /// 0 only within an epoch, and in the places of entries that are gone.
    weight: i64,
    /// In microseconds: from `start` on, before `end`.
    start: i64,
    end: i64,
}

pub struct TemporalFilterOperator {
    /// Bounds and the columns of their times.
    bounds: Vec<(usize, TemporalBound)>,
    schema: SchemaRef,
    rows: RowStore,
    entries: PrintMap<Entry>,
    /// Entries by the moments at which they enter or leave. What is due may be gone and its number
    /// another's, which is looked at in vain.
    queue: TimeQueue<u32>,
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
            entries: PrintMap::default(),
            queue: TimeQueue::default(),
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

    /// Adds a batch; `touched` gets the entries it changes with their weights before.
    fn add(&mut self, batch: &ChangeBatch, now: i64, touched: &mut Vec<(u32, i64)>) -> Result<()> {
        let prints = fingerprints(batch.rows.columns(), batch.len());
        let (mut fresh, mut due) = (Vec::new(), Vec::new());
        for (row, (start, end)) in self.spans(batch)?.into_iter().enumerate() {
            if end <= start || end <= now {
                continue;
            }
            let slot = self.entries.find(prints[row]).unwrap_or_else(|| {
                let entry = Entry { row: 0, tag: tag_of(prints[row]), weight: 0, start, end };
                let slot = self.entries.add(prints[row], entry);
                fresh.push((row as u32, slot));
                let moments = [Some(start).filter(|s| *s > now), Some(end).filter(|e| *e < i64::MAX)];
                due.extend(moments.into_iter().flatten().map(|at| (at, slot)));
                slot
            });
            let entry = &mut self.entries[slot];
            touched.push((slot, entry.weight));
            entry.weight += batch.weights.get(row);
        }
        self.queue.add(due);
        if fresh.is_empty() {
            return Ok(());
        }
        let indices = UInt32Array::from_iter_values(fresh.iter().map(|(row, _)| *row));
        let columns = batch.rows.columns()[..self.schema.fields().len()].to_vec();
        let output = batch_of(&self.schema, columns, batch.len())?;
        let first = self.rows.append(take_rows(&output, &indices)?)?;
        (first..).zip(fresh).for_each(|(id, (_, slot))| self.entries[slot].row = id);
        Ok(())
    }

    /// What changes in the result for the entries touched, of which the first weights count.
    fn emit(&mut self, mut touched: Vec<(u32, i64)>, now: i64, out: &mut Vec<ChangeBatch>) -> Result<()> {
        touched.sort_by_key(|(slot, _)| *slot);
        touched.dedup_by_key(|(slot, _)| *slot);
        let (mut ids, mut weights, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        for (slot, weight_before) in touched {
            let Entry { row, tag, weight, start, end } = self.entries[slot];
            let within = |now: i64| start <= now && now < end;
            let shown = if within(self.before) { weight_before } else { 0 };
            let wanted = if within(now) { weight } else { 0 };
            if wanted != shown {
                ids.push(row);
                weights.push(wanted - shown);
            }
            if weight == 0 || now >= end {
                gone.push(row);
                self.entries[slot].weight = 0;
                self.entries.remove_at(slot, tag);
            }
        }
        self.before = now;
        if !ids.is_empty() {
            out.push(ChangeBatch::new(self.rows.gather(&ids, None)?, weights));
        }
        gone.into_iter().for_each(|id| self.rows.release(id));
        if let Some(moved) = self.rows.compact_if_worth()? {
            self.entries.places_mut().for_each(|entry| moved.follow(&mut entry.row));
        }
        self.entries.trim();
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
        let mut touched = Vec::new();
        for batch in std::mem::take(&mut self.pending) {
            self.add(&batch, now, &mut touched)?;
        }
        for (_, slot) in self.queue.take_before(now.saturating_add(1)) {
            // The entry may have gone, and its place with the others.
            let weight = self.entries.place(slot).map_or(0, |entry| entry.weight);
            touched.extend((weight != 0).then_some((slot, weight)));
        }
        self.emit(touched, now, out)
    }

    fn next_timer(&self) -> Option<ProcTime> {
        self.queue.first().map(ProcTime)
    }

    fn state_size(&self) -> StateSize {
        let bytes = self.entries.bytes() + self.queue.bytes() + self.rows.bytes();
        StateSize { entries: self.entries.len(), bytes }
    }
}

#[cfg(test)]
mod tests;
