//! Rows that belong to the result while the clock is within their bounds.
//!
//! Each row has a first and a last moment, computed from its time columns. A row whose time
//! has not come waits; when the clock reaches it the row enters, when its end is reached it
//! leaves as a retraction and is forgotten. A queue ordered by time says what is due, so an
//! epoch costs what changes in it. Rows whose end has passed are never kept; a NULL time is
//! never within bounds. Rows are judged by the `now` of their epoch, after all its rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, UInt32Array};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use hashbrown::HashMap;

use super::expressions::batch_of;
use crate::dataflow::operator::{EpochContext, Operator, StateSize};
use crate::error::{HwError, Result};
use crate::plan::TemporalBound;
use crate::state::{RowId, RowStore};
use crate::types::change_batch::take_rows;
use crate::types::hash::{PrintHasher, fingerprints};
use crate::types::{ChangeBatch, ProcTime};

/// A row that is in the result or may come into it.
struct Entry {
    row: RowId,
    weight: i64,
    /// What the result holds of it.
    shown: i64,
    /// In microseconds: from `start` on, before `end`.
    start: i64,
    end: i64,
}

pub struct TemporalFilterOperator {
    /// Bounds and the columns of their times.
    bounds: Vec<(usize, TemporalBound)>,
    schema: SchemaRef,
    rows: RowStore,
    entries: HashMap<u128, Entry, PrintHasher>,
    /// Rows by the moments at which they enter or leave.
    queue: BTreeMap<i64, Vec<u128>>,
    pending: Vec<ChangeBatch>,
}

impl TemporalFilterOperator {
    /// `schema`: the input's first columns, which are the output.
    pub fn new(bounds: Vec<(usize, TemporalBound)>, schema: SchemaRef) -> TemporalFilterOperator {
        TemporalFilterOperator {
            bounds,
            rows: RowStore::new(Arc::clone(&schema)),
            schema,
            entries: HashMap::default(),
            queue: BTreeMap::new(),
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

    /// Adds a batch; `touched` gets the rows it changes.
    fn add(&mut self, batch: &ChangeBatch, now: i64, touched: &mut Vec<u128>) -> Result<()> {
        let prints = fingerprints(batch.rows.columns(), batch.len());
        let mut fresh: Vec<(u32, u128)> = Vec::new();
        for (row, (start, end)) in self.spans(batch)?.into_iter().enumerate() {
            if end <= start || end <= now {
                continue;
            }
            let entry = self.entries.entry(prints[row]).or_insert_with(|| {
                fresh.push((row as u32, prints[row]));
                let due = [Some(start).filter(|s| *s > now), Some(end).filter(|e| *e < i64::MAX)];
                for at in due.into_iter().flatten() {
                    self.queue.entry(at).or_default().push(prints[row]);
                }
                Entry { row: 0, weight: 0, shown: 0, start, end }
            });
            entry.weight += batch.weights.get(row);
            touched.push(prints[row]);
        }
        if fresh.is_empty() {
            return Ok(());
        }
        let indices = UInt32Array::from_iter_values(fresh.iter().map(|(row, _)| *row));
        let columns = batch.rows.columns()[..self.schema.fields().len()].to_vec();
        let output = batch_of(&self.schema, columns, batch.len())?;
        let first = self.rows.append(take_rows(&output, &indices)?)?;
        for (id, (_, print)) in (first..).zip(fresh) {
            if let Some(entry) = self.entries.get_mut(&print) {
                entry.row = id;
            }
        }
        Ok(())
    }

    /// What changes in the result for the rows touched.
    fn emit(&mut self, touched: Vec<u128>, now: i64, out: &mut Vec<ChangeBatch>) -> Result<()> {
        let (mut ids, mut weights, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        for print in touched {
            let Some(entry) = self.entries.get_mut(&print) else { continue };
            let within = entry.start <= now && now < entry.end;
            let wanted = if within { entry.weight } else { 0 };
            if wanted != entry.shown {
                ids.push(entry.row);
                weights.push(wanted - entry.shown);
                entry.shown = wanted;
            }
            if entry.weight == 0 || now >= entry.end {
                gone.push(entry.row);
                self.entries.remove(&print);
            }
        }
        if !ids.is_empty() {
            out.push(ChangeBatch::new(self.rows.gather(&ids, None)?, weights));
        }
        gone.into_iter().for_each(|id| self.rows.release(id));
        if let Some(moved) = self.rows.compact_if_worth()? {
            self.entries.values_mut().for_each(|entry| moved.follow(&mut entry.row));
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
        let mut touched = Vec::new();
        for batch in std::mem::take(&mut self.pending) {
            self.add(&batch, now, &mut touched)?;
        }
        while let Some(due) = self.queue.first_entry().filter(|e| *e.key() <= now) {
            touched.extend(due.remove());
        }
        self.emit(touched, now, out)
    }

    fn next_timer(&self) -> Option<ProcTime> {
        self.queue.first_key_value().map(|(at, _)| ProcTime(*at))
    }

    fn state_size(&self) -> StateSize {
        let entry = size_of::<(u128, Entry)>() + size_of::<u128>();
        StateSize { entries: self.entries.len(), bytes: self.entries.capacity() * entry + self.rows.bytes() }
    }
}

#[cfg(test)]
mod tests;
