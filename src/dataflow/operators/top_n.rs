//! The first rows by an order: ORDER BY … LIMIT, and ROW_NUMBER, RANK or DENSE_RANK ≤ n.
//!
//! Rows with weights in; out, per group, the rows whose number is in the range, followed by
//! the number if the plan wants it. Rows with equal sort keys are numbered by a hash of their
//! other columns, which is the same in every run, and so are the results. At the end of an
//! epoch only what entered, left or changed its number is emitted.
//!
//! Two strategies, chosen by the plan. *First rows*: append-only input; a group keeps the rows
//! that are in range now, the others can never come back. *All rows*: every row is kept in one
//! tree ordered by group and sort key, so a row that leaves is replaced by the next one.
//!
//! If a window's end is one of the group columns, the group goes when the watermark passes
//! it; rows that come after that are late.

mod all_rows;
mod first_rows;
mod ranks;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch};
use arrow::datatypes::SchemaRef;

use self::all_rows::AllRows;
use self::first_rows::FirstRows;
pub use self::ranks::Limits;
use self::ranks::Shown;
use super::expressions::batch_of;
use super::late::{LateReason, LateRows, Refusal};
use super::window_assign::timestamp_values;
use crate::dataflow::operator::{EpochContext, Operator, StateSize};
use crate::error::Result;
use crate::plan::{GroupWindow, KeptRows, WindowTime};
use crate::state::{Key, KeyEncoder, RowId, RowStore};
use crate::types::change_batch::consolidate;
use crate::types::hash::{fingerprints, stable_hashes};
use crate::types::order::SortKey;
use crate::types::{ChangeBatch, EventTime, ProcTime, Weights};

/// What a top-n operator computes.
pub struct TopNSpec {
    pub name: String,
    pub input_schema: SchemaRef,
    pub partition: Vec<usize>,
    pub order: Vec<SortKey>,
    pub limits: Limits,
    pub keep: KeptRows,
    pub window: Option<GroupWindow>,
    /// Whether rows appear once, when their window closes.
    pub on_close: bool,
    /// The input's columns, then the number if `limits.with_rank`.
    pub output_schema: SchemaRef,
    pub late: Arc<LateRows>,
}

/// The operator, with sort keys in words where they are short.
pub fn top_n(spec: TopNSpec) -> Result<Box<dyn Operator>> {
    let encoder = KeyEncoder::new(&spec.input_schema, &spec.order)?;
    Ok(match encoder.width() {
        Some(..=12) => Box::new(TopN::<[u32; 3]>::new(spec, encoder)),
        Some(..=16) => Box::new(TopN::<[u64; 2]>::new(spec, encoder)),
        Some(..=24) => Box::new(TopN::<[u64; 3]>::new(spec, encoder)),
        _ => Box::new(TopN::<Box<[u8]>>::new(spec, encoder)),
    })
}

/// Rows of a batch with what places them.
struct Placed<K> {
    rows: RecordBatch,
    groups: Vec<u128>,
    keys: Vec<K>,
    /// Decides between equal keys.
    ties: Vec<u64>,
}

enum Kept<K: Key> {
    First(FirstRows<K>),
    All(AllRows<K>),
}

struct TopN<K: Key> {
    spec: TopNSpec,
    encoder: KeyEncoder,
    /// Columns that decide between rows with equal keys.
    tie_columns: Vec<usize>,
    store: RowStore,
    kept: Kept<K>,
    /// Rows of this epoch, for the strategy that needs them together.
    pending: Vec<ChangeBatch>,
    /// What was shown before, with the opposite weight, and what is shown now.
    shown: Vec<Shown>,
    /// Rows that are no longer kept but may still have to be retracted.
    released: Vec<RowId>,
    /// Groups by the end of their window.
    by_end: BTreeMap<i64, Vec<u128>>,
    /// W(E−1), or the last `now`, in microseconds.
    watermark: i64,
}

impl<K: Key> TopN<K> {
    fn new(spec: TopNSpec, encoder: KeyEncoder) -> TopN<K> {
        let placed = |c: &usize| spec.partition.contains(c) || spec.order.iter().any(|k| k.column == *c);
        let kept = match spec.keep {
            KeptRows::First => Kept::First(FirstRows::new(spec.limits)),
            KeptRows::All => Kept::All(AllRows::new(spec.limits)),
        };
        TopN {
            tie_columns: (0..spec.input_schema.fields().len()).filter(|c| !placed(c)).collect(),
            store: RowStore::new(Arc::clone(&spec.input_schema)),
            spec,
            encoder,
            kept,
            pending: Vec::new(),
            shown: Vec::new(),
            released: Vec::new(),
            by_end: BTreeMap::new(),
            watermark: EventTime::MIN.0,
        }
    }

    fn place(&self, rows: RecordBatch) -> Result<Placed<K>> {
        let columns = |list: &[usize]| list.iter().map(|c| rows.column(*c).clone()).collect::<Vec<_>>();
        let n = rows.num_rows();
        Ok(Placed {
            groups: fingerprints(&columns(&self.spec.partition), n),
            keys: self.encoder.encode(&rows)?,
            ties: stable_hashes(&columns(&self.tie_columns), n),
            rows,
        })
    }

    /// `batch` without the rows of windows that are closed, which are late.
    fn admit(&self, batch: ChangeBatch) -> Result<ChangeBatch> {
        let Some(window) = self.spec.window.as_ref().filter(|w| w.refuse_late) else { return Ok(batch) };
        let ends = timestamp_values(&batch, window.column)?.values().clone();
        let open = |end: &i64| end.saturating_add(window.to_end_us) > self.watermark;
        if ends.iter().all(open) {
            return Ok(batch);
        }
        let kept: BooleanArray = ends.iter().map(|end| Some(open(end))).collect();
        let refusals: Vec<Refusal> = (0..batch.len())
            .filter(|row| !kept.value(*row))
            .map(|row| {
                let window_end = Some(ends[row].saturating_add(window.to_end_us));
                Refusal { row: row as u32, window_start: None, window_end }
            })
            .collect();
        let weight = |row: usize| batch.weights.get(row);
        let watermark = EventTime(self.watermark);
        self.spec.late.record(&batch.rows, &refusals, weight, LateReason::WindowClosed, watermark)?;
        batch.filter(&kept)
    }

    /// Remembers when the window of each new group ends.
    fn note_ends(&mut self, batch: &ChangeBatch, groups: &[u128]) -> Result<()> {
        let Some(window) = &self.spec.window else { return Ok(()) };
        let ends = timestamp_values(batch, window.column)?;
        let mut noted = None;
        for (row, group) in groups.iter().enumerate() {
            let known = match &self.kept {
                Kept::First(rows) => rows.has(*group),
                Kept::All(rows) => rows.has(*group),
            };
            if noted != Some(*group) && !known {
                let end = ends.value(row).saturating_add(window.to_end_us);
                self.by_end.entry(end).or_default().push(*group);
            }
            noted = Some(*group);
        }
        Ok(())
    }

    /// What has to be retracted if it is not shown again.
    fn shows_changes(&self) -> bool {
        !self.spec.on_close
    }

    fn apply_pending(&mut self) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() {
            return Ok(());
        }
        let changes = consolidate(&self.spec.input_schema, &pending)?;
        if changes.is_empty() {
            return Ok(());
        }
        let placed = self.place(changes.rows.clone())?;
        self.note_ends(&changes, &placed.groups)?;
        let prints = fingerprints(changes.rows.columns(), changes.len());
        let before = self.shows_changes();
        let Kept::All(rows) = &mut self.kept else { return Ok(()) };
        let shown = before.then_some(&mut self.shown);
        rows.apply(placed, &prints, &changes.weights, &mut self.store, shown, &mut self.released)
    }

    /// Takes the epoch's watermark, or clock, into effect.
    fn advance(&mut self, cx: &EpochContext) {
        let Some(window) = &self.spec.window else { return };
        let reached = match &window.time {
            WindowTime::Event { clock } => cx.watermark(clock).0,
            WindowTime::Processing => cx.now.0,
            WindowTime::Unbounded => return,
        };
        self.watermark = self.watermark.max(reached);
        let on_close = self.spec.on_close;
        while let Some(first) = self.by_end.first_entry().filter(|e| *e.key() <= self.watermark) {
            for group in first.remove() {
                let shown = on_close.then_some(&mut self.shown);
                match &mut self.kept {
                    Kept::First(rows) => rows.forget(group, shown, &mut self.released),
                    Kept::All(rows) => rows.forget(group, shown, &mut self.released),
                }
            }
        }
    }

    fn emit(&mut self, out: &mut Vec<ChangeBatch>) -> Result<()> {
        let shown = ranks::net(&mut self.shown);
        if shown.is_empty() {
            return Ok(());
        }
        let ids: Vec<RowId> = shown.iter().map(|s| s.id).collect();
        let mut columns: Vec<ArrayRef> = self.store.gather(&ids, None)?.columns().to_vec();
        if self.spec.limits.with_rank {
            columns.push(Arc::new(Int64Array::from_iter_values(shown.iter().map(|s| s.rank as i64))));
        }
        let rows = batch_of(&self.spec.output_schema, columns, shown.len())?;
        let weights = match shown.iter().all(|s| s.weight == 1) {
            true => Weights::One,
            false => Weights::Each(Int64Array::from_iter_values(shown.iter().map(|s| s.weight))),
        };
        let changes = ChangeBatch { rows, weights };
        // The append-only strategy stores equal rows apart.
        let repeats = matches!(&self.kept, Kept::First(rows) if rows.repeats());
        out.push(if repeats { consolidate(&self.spec.output_schema, &[changes])? } else { changes });
        Ok(())
    }

    fn release(&mut self) -> Result<()> {
        for id in self.released.drain(..) {
            self.store.release(id);
        }
        if let Some(moved) = self.store.compact_if_worth()? {
            match &mut self.kept {
                Kept::First(rows) => rows.relocate(&moved),
                Kept::All(rows) => rows.relocate(&moved),
            }
        }
        Ok(())
    }
}

impl<K: Key> Operator for TopN<K> {
    fn name(&self) -> &str {
        &self.spec.name
    }

    fn push(&mut self, _input: usize, batch: ChangeBatch, _out: &mut Vec<ChangeBatch>) -> Result<()> {
        let batch = self.admit(batch)?;
        if batch.is_empty() {
            return Ok(());
        }
        if self.spec.keep == KeptRows::All {
            self.pending.push(batch);
            return Ok(());
        }
        let batch = first_rows::single(batch)?;
        let placed = self.place(batch.rows.clone())?;
        self.note_ends(&batch, &placed.groups)?;
        let shows_changes = self.shows_changes();
        let Kept::First(rows) = &mut self.kept else { return Ok(()) };
        let shown = shows_changes.then_some(&mut self.shown);
        rows.insert(placed, &mut self.store, shown, &mut self.released)
    }

    fn finish_epoch(&mut self, cx: &EpochContext, out: &mut Vec<ChangeBatch>) -> Result<()> {
        self.apply_pending()?;
        let shows_changes = self.shows_changes();
        let shown = shows_changes.then_some(&mut self.shown);
        match &mut self.kept {
            Kept::First(rows) => rows.end_epoch(shown),
            Kept::All(rows) => rows.end_epoch(shown),
        }
        self.advance(cx);
        self.emit(out)?;
        self.release()
    }

    fn next_timer(&self) -> Option<ProcTime> {
        match &self.spec.window {
            Some(window) if window.time == WindowTime::Processing => {
                self.by_end.first_key_value().map(|(end, _)| ProcTime(*end))
            }
            _ => None,
        }
    }

    fn state_size(&self) -> StateSize {
        let (entries, bytes) = match &self.kept {
            Kept::First(rows) => rows.size(),
            Kept::All(rows) => rows.size(),
        };
        StateSize { entries, bytes: bytes + self.store.bytes() }
    }
}

#[cfg(test)]
mod tests;
