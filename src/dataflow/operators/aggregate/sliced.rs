//! Windows inside the aggregate: pre-aggregation by slice.
//!
//! All times of a slice belong to the same windows (the slice width divides slide and
//! size), so an epoch's rows are first aggregated by key and slice, and each touched slice
//! is then merged once into each of its windows that is still open (Krishnamurthy et al.,
//! "On-the-fly sharing for streamed aggregation", SIGMOD 2006). Calls that cannot be merged
//! (DISTINCT) get their rows once per window instead. Groups of windows are keyed by the
//! fingerprint of the keys extended by the window's end.

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::datatypes::DataType;

use super::groups::{Groups, Located};
use super::{AggregateOperator, HopSpec, key_rows, window_columns};
use crate::dataflow::operator::EpochContext;
use crate::dataflow::operators::late::Refusal;
use crate::dataflow::operators::window_assign::{LastSlice, drop_timeless, timestamp_values};
use crate::error::Result;
use crate::types::ChangeBatch;
use crate::types::hash::extend_print;

/// Rows of the epoch on their way into windows.
pub struct Slices {
    hop: HopSpec,
    /// This epoch's rows by key and slice; empty between epochs.
    delta: Groups,
    /// Fingerprint of the keys alone, by slot of `delta`.
    key_prints: Vec<u128>,
    /// Rows of each slice by absolute weight, by slot of `delta`; `None` if that is the
    /// weight or nobody asks.
    rows: Option<Vec<i64>>,
    located: Located,
    /// Rows without time column, until `now` is known.
    waiting: Vec<ChangeBatch>,
}

impl Slices {
    pub fn new(hop: HopSpec, delta: Groups, counts_rows: bool) -> Slices {
        let (key_prints, located) = Default::default();
        let rows = counts_rows.then(Vec::new);
        Slices { hop, delta, key_prints, rows, located, waiting: Vec::new() }
    }

    pub fn window_start(&self, end: i64) -> i64 {
        self.hop.windows.start_of(end)
    }

    pub fn push_bounds(&self, ends: Vec<i64>, data_type: &DataType, columns: &mut Vec<ArrayRef>) {
        window_columns(ends, &self.hop, data_type, columns);
    }

    /// Adds rows to the epoch's slices.
    fn add(
        &mut self,
        batch: &ChangeBatch,
        group_columns: &[usize],
        prints: &[u128],
        slices: &[i64],
    ) -> Result<()> {
        let with_slice: Vec<u128> =
            prints.iter().zip(slices).map(|(p, slice)| extend_print(*p, *slice as u64)).collect();
        self.delta.locate(&with_slice, None, batch.weights.as_slice(), &mut self.located);
        let keys = key_rows(&batch.rows, group_columns, &self.located.new_rows)?;
        self.delta.store_keys(&self.located, keys, None)?;
        self.delta.set_bounds(&self.located, slices);
        // Slots of a cleared table are handed out in order.
        self.key_prints.extend(self.located.new_rows.iter().map(|row| prints[*row as usize]));
        if let Some(rows) = &mut self.rows {
            rows.resize(self.key_prints.len(), 0);
            for (row, slot) in self.located.slots.iter().enumerate() {
                rows[*slot as usize] += batch.weights.get(row).saturating_abs();
            }
        }
        self.delta.update(batch, &self.located.slots)
    }
}

/// The slices of an epoch, paired with the windows they belong to.
#[derive(Default)]
struct Pairs {
    slots: Vec<u32>,
    prints: Vec<u128>,
    weights: Vec<i64>,
    /// Rows by absolute weight.
    rows: Vec<i64>,
    ends: Vec<i64>,
}

impl Pairs {
    fn reserve(&mut self, more: usize) {
        self.slots.reserve(more);
        self.prints.reserve(more);
        self.weights.reserve(more);
        self.rows.reserve(more);
        self.ends.reserve(more);
    }

    fn append(&mut self, mut other: Pairs) {
        self.slots.append(&mut other.slots);
        self.prints.append(&mut other.prints);
        self.weights.append(&mut other.weights);
        self.rows.append(&mut other.rows);
        self.ends.append(&mut other.ends);
    }
}

impl AggregateOperator {
    /// Rows with event time.
    pub(super) fn push_sliced(&mut self, batch: ChangeBatch, column: usize) -> Result<()> {
        let Some(slices) = &self.slices else { return Ok(()) };
        let windows = slices.hop.windows;
        let batch = drop_timeless(batch, column, &self.spec.late)?;
        let mut slice_of = LastSlice::new(&windows);
        let times = timestamp_values(&batch, column)?.values();
        let starts: Vec<i64> = times.iter().map(|t| slice_of.start_of(*t)).collect();
        self.push_with_slices(batch, starts)
    }

    /// Rows that get the windows of the epoch's `now`.
    pub(super) fn wait_for_now(&mut self, batch: ChangeBatch) {
        if let Some(slices) = &mut self.slices {
            slices.waiting.push(batch);
        }
    }

    fn push_with_slices(&mut self, batch: ChangeBatch, starts: Vec<i64>) -> Result<()> {
        let (batch, starts) = self.refuse_closed(batch, starts)?;
        if batch.is_empty() {
            return Ok(());
        }
        let prints = self.prints(&batch);
        let can_finish = self.can_finish();
        let Some(slices) = &mut self.slices else { return Ok(()) };
        if slices.delta.mergeable() && !can_finish {
            return slices.add(&batch, &self.spec.group_columns, &prints, &starts);
        }
        let windows = slices.hop.windows;
        let (mut rows, mut ends, mut with_end) = (Vec::new(), Vec::new(), Vec::new());
        for (row, start) in starts.iter().enumerate() {
            for end in windows.ends(*start).filter(|end| !self.is_closed(*end)) {
                rows.push(row as u32);
                ends.push(end);
                with_end.push(extend_print(prints[row], end as u64));
            }
        }
        self.apply(&batch.take(&UInt32Array::from(rows))?, &with_end, Some(&ends))
    }

    /// Records the closed windows that refuse rows and drops rows that no window takes.
    fn refuse_closed(&self, batch: ChangeBatch, starts: Vec<i64>) -> Result<(ChangeBatch, Vec<i64>)> {
        let Some(slices) = &self.slices else { return Ok((batch, starts)) };
        let windows = slices.hop.windows;
        let earliest = starts.iter().copied().min().unwrap_or(i64::MAX);
        if batch.is_empty() || !self.is_closed(windows.first_end(earliest)) {
            return Ok((batch, starts));
        }
        let (mut refusals, mut kept) = (Vec::new(), Vec::new());
        for (row, start) in starts.iter().enumerate() {
            let mut open = false;
            for end in windows.ends(*start) {
                if self.is_closed(end) {
                    refusals.push(Refusal {
                        row: row as u32,
                        window_start: Some(windows.start_of(end)),
                        window_end: Some(end),
                    });
                } else {
                    open = true;
                }
            }
            if open {
                kept.push(row as u32);
            }
        }
        self.refuse(&batch, &refusals)?;
        let starts = kept.iter().map(|row| starts[*row as usize]).collect();
        Ok((batch.take(&UInt32Array::from(kept))?, starts))
    }

    /// Merges the epoch's slices into their open windows.
    pub(super) fn finish_slices(&mut self, cx: &EpochContext) -> Result<()> {
        let Some(slices) = &mut self.slices else { return Ok(()) };
        let waiting = std::mem::take(&mut slices.waiting);
        let now = slices.hop.windows.slice_of(cx.now.0);
        for batch in waiting {
            let rows = batch.len();
            self.push_with_slices(batch, vec![now; rows])?;
        }
        let pairs = self.pair_slices();
        let Some(slices) = &mut self.slices else { return Ok(()) };
        if pairs.slots.is_empty() {
            return Ok(());
        }
        self.groups.locate(&pairs.prints, None, Some(&pairs.weights), &mut self.located);
        let new: Vec<u32> = self.located.new_rows.iter().map(|i| pairs.slots[*i as usize]).collect();
        self.groups.store_keys(&self.located, slices.delta.keys_of(&new)?, Some(&pairs.ends))?;
        self.groups.count_rows(&self.located.slots, Some(&pairs.rows));
        self.groups.capture()?;
        let merges: Vec<(u32, u32)> =
            pairs.slots.iter().copied().zip(self.located.slots.iter().copied()).collect();
        self.groups.merge(&slices.delta, &merges);
        slices.delta.clear();
        slices.key_prints.clear();
        slices.rows.iter_mut().for_each(Vec::clear);
        Ok(())
    }

    /// Window by window: the groups of a window lie together in memory, where the watermark
    /// and the close of the window look at them.
    fn pair_slices(&self) -> Pairs {
        let Some(slices) = &self.slices else { return Pairs::default() };
        let mut windows: BTreeMap<i64, Pairs> = BTreeMap::new();
        let mut of_slice: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
        for slot in 0..slices.key_prints.len() as u32 {
            of_slice.entry(slices.delta.bound(slot)).or_default().push(slot);
        }
        for (start, slots) in of_slice {
            for end in slices.hop.windows.ends(start).filter(|end| !self.is_closed(*end)) {
                let pairs = windows.entry(end).or_default();
                pairs.reserve(slots.len());
                for slot in &slots {
                    let weight = slices.delta.weight(*slot);
                    let rows = slices.rows.as_ref().map_or(weight, |rows| rows[*slot as usize]);
                    pairs.slots.push(*slot);
                    pairs.prints.push(extend_print(slices.key_prints[*slot as usize], end as u64));
                    pairs.weights.push(weight);
                    pairs.rows.push(rows);
                    pairs.ends.push(end);
                }
            }
        }
        let mut all = Pairs::default();
        all.reserve(windows.values().map(|pairs| pairs.slots.len()).sum());
        windows.into_values().for_each(|pairs| all.append(pairs));
        all
    }
}
