//! Window functions (`OVER`): each row with values computed from its partition.
//!
//! Rows with weights in; the same rows with the values of the calls appended out. All copies
//! of all rows stand in one tree ordered by partition and sort key (equal keys by a hash that
//! is the same in every run), each with the values it was last shown with. At the end of an
//! epoch the rows that a change can touch, by the plan's [`Reach`], are evaluated again by
//! DataFusion's window expressions over them and the rows around them; what came out
//! different is emitted, old with −1 and new with +1.
//!
//! In event-time order over append-only input, rows behind the watermark are final: rows that
//! come later still are late, and what no row to come can need is dropped. With `on_close` a
//! row is emitted once, when it is final. If the partition holds a window's end, it goes as a
//! whole when that has passed. Where an evaluation fails, the partition shows no rows and is
//! in the error relation.

mod evaluate;
mod rows;
mod time;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, Int64Type, Schema, SchemaRef};
use hashbrown::HashMap;

use self::evaluate::Evaluator;
use self::rows::{Affected, Rows, Span, Touched};
use self::time::Progress;
use super::errors::RowErrors;
use super::expressions::batch_of;
use super::late::{LateReason, LateRows, Refusal};
use super::window_assign::{drop_null_times, timestamp_values};
use crate::dataflow::operator::{EpochContext, Operator, StateSize};
use crate::error::{HwError, Result};
use crate::plan::{GroupWindow, OverNode, Reach, WindowTime};
use crate::state::{Key, KeyEncoder, RowId, RowStore};
use crate::types::change_batch::consolidate;
use crate::types::hash::{PrintHasher, fingerprints, stable_hashes};
use crate::types::{ChangeBatch, EventTime, ProcTime, Weights};

/// What an over operator computes.
pub struct OverSpec {
    pub name: String,
    pub input_schema: SchemaRef,
    pub node: OverNode,
    /// The input's columns, then one column a call.
    pub output_schema: SchemaRef,
    pub late: Arc<LateRows>,
    pub errors: Arc<RowErrors>,
}

/// The operator, with sort keys in words where they are short.
pub fn over(spec: OverSpec) -> Result<Box<dyn Operator>> {
    let encoder = KeyEncoder::new(&spec.input_schema, &spec.node.order)?;
    Ok(match encoder.width() {
        Some(..=12) => Box::new(Over::<[u32; 3]>::new(spec, encoder)?),
        Some(..=16) => Box::new(Over::<[u64; 2]>::new(spec, encoder)?),
        Some(..=24) => Box::new(Over::<[u64; 3]>::new(spec, encoder)?),
        _ => Box::new(Over::<Box<[u8]>>::new(spec, encoder)?),
    })
}

/// A row's values are not known, or not shown.
const NO_VALUES: RowId = RowId::MAX;

/// A row and the values it is shown with.
#[derive(Clone, Copy)]
struct Line {
    row: RowId,
    values: RowId,
}

struct Over<K: Key> {
    spec: OverSpec,
    encoder: KeyEncoder,
    evaluator: Evaluator,
    tie_columns: Vec<usize>,
    /// Input rows.
    store: RowStore,
    /// Values of the calls.
    values: RowStore,
    rows: Rows<K>,
    pending: Vec<ChangeBatch>,
    /// How far each partition is emitted and dropped, in event-time order.
    progress: Progress<K>,
    /// Partitions whose evaluation failed, as they are in the error relation.
    failed: HashMap<u128, RecordBatch, PrintHasher>,
    by_end: BTreeMap<i64, Vec<u128>>,
    watermark: i64,
    minus: Vec<Line>,
    plus: Vec<Line>,
    /// Rows, and values, that are given back when the epoch's changes are made.
    released: Vec<RowId>,
    forgotten: Vec<RowId>,
}

impl<K: Key> Over<K> {
    fn new(spec: OverSpec, encoder: KeyEncoder) -> Result<Over<K>> {
        let placed =
            |c: &usize| spec.node.partition.contains(c) || spec.node.order.iter().any(|k| k.column == *c);
        let fields: Vec<_> = spec.node.calls.iter().map(|c| Arc::clone(&c.output)).collect();
        Ok(Over {
            evaluator: Evaluator::new(&spec)?,
            tie_columns: (0..spec.input_schema.fields().len()).filter(|c| !placed(c)).collect(),
            store: RowStore::new(Arc::clone(&spec.input_schema)),
            values: RowStore::new(Arc::new(Schema::new(fields))),
            rows: Rows::new(spec.node.reach),
            progress: Progress::new(spec.node.reach, spec.node.on_close),
            spec,
            encoder,
            pending: Vec::new(),
            failed: HashMap::default(),
            by_end: BTreeMap::new(),
            watermark: EventTime::MIN.0,
            minus: Vec::new(),
            plus: Vec::new(),
            released: Vec::new(),
            forgotten: Vec::new(),
        })
    }

    /// `batch` without rows that are late, by their time or by their window.
    fn admit(&self, batch: ChangeBatch) -> Result<ChangeBatch> {
        let (column, to_end, windowed) = match (&self.spec.node.window, &self.spec.node.time) {
            (Some(w), _) if w.refuse_late => (w.column, w.to_end_us, true),
            // A row at t is final when the watermark is greater than t.
            (None, Some(_)) => (self.spec.node.order[0].column, 1, false),
            _ => return Ok(batch),
        };
        let batch = drop_null_times(batch, column, &self.spec.late)?;
        let times = timestamp_values(&batch, column)?.values().clone();
        let open = |t: &i64| t.saturating_add(to_end) > self.watermark;
        if times.iter().all(open) {
            return Ok(batch);
        }
        let kept: BooleanArray = times.iter().map(|t| Some(open(t))).collect();
        let refusals: Vec<Refusal> = (0..batch.len())
            .filter(|row| !kept.value(*row))
            .map(|row| {
                let window_end = windowed.then(|| times[row].saturating_add(to_end));
                Refusal { row: row as u32, window_start: None, window_end }
            })
            .collect();
        let weight = |row: usize| batch.weights.get(row);
        let (late, watermark) = (&self.spec.late, EventTime(self.watermark));
        let reason = if windowed { LateReason::WindowClosed } else { LateReason::BehindWatermark };
        late.record(&batch.rows, &refusals, weight, reason, watermark)?;
        batch.filter(&kept)
    }

    /// Applies the epoch's rows; what they touch comes back.
    fn apply_pending(&mut self) -> Result<Touched<K>> {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() {
            return Ok(Touched::default());
        }
        let changes = consolidate(&self.spec.input_schema, &pending)?;
        if changes.is_empty() {
            return Ok(Touched::default());
        }
        let columns =
            |list: &[usize]| list.iter().map(|c| changes.rows.column(*c).clone()).collect::<Vec<_>>();
        let n = changes.len();
        let groups = fingerprints(&columns(&self.spec.node.partition), n);
        self.note_ends(&changes, &groups)?;
        let places = rows::Places {
            groups,
            keys: self.encoder.encode(&changes.rows)?,
            ties: stable_hashes(&columns(&self.tie_columns), n),
            prints: fingerprints(changes.rows.columns(), n),
            at: self.order_values(&changes)?,
        };
        let mut removed = Vec::new();
        let touched = self.rows.apply(&changes, places, &mut self.store, &mut removed)?;
        for line in removed {
            self.hide(line);
            self.released.push(line.row);
        }
        Ok(touched)
    }

    /// What a row is ordered by as a number that ascends with the order, where that counts.
    fn order_values(&self, changes: &ChangeBatch) -> Result<Option<Vec<i64>>> {
        let node = &self.spec.node;
        if node.time.is_none() && !matches!(node.reach, Reach::Range { .. }) {
            return Ok(None);
        }
        let key = &node.order[0];
        let column = changes.rows.column(key.column);
        let numbers = match column.data_type() {
            DataType::Timestamp(..) => timestamp_values(changes, key.column)?.reinterpret_cast::<Int64Type>(),
            _ => {
                let cast = arrow::compute::cast(column, &DataType::Int64)?;
                cast.as_primitive::<Int64Type>().clone()
            }
        };
        let null = if key.nulls_first { i64::MIN } else { i64::MAX };
        let value = |row: usize| match (numbers.is_null(row), key.descending) {
            (true, _) => null,
            (false, false) => numbers.value(row),
            (false, true) => numbers.value(row).saturating_neg(),
        };
        Ok(Some((0..changes.len()).map(value).collect()))
    }

    /// Remembers when the window of each new partition ends.
    fn note_ends(&mut self, batch: &ChangeBatch, groups: &[u128]) -> Result<()> {
        let Some(window) = &self.spec.node.window else { return Ok(()) };
        let ends = timestamp_values(batch, window.column)?;
        let mut noted = None;
        for (row, group) in groups.iter().enumerate() {
            if noted != Some(*group) && !self.rows.has(*group) {
                let end = ends.value(row).saturating_add(window.to_end_us);
                self.by_end.entry(end).or_default().push(*group);
            }
            noted = Some(*group);
        }
        Ok(())
    }

    /// Takes the values of a line back, if it is shown.
    fn hide(&mut self, line: Line) {
        if line.values != NO_VALUES {
            self.minus.push(line);
        }
    }

    /// Evaluates what changes touch.
    fn refresh_touched(&mut self, touched: Touched<K>) -> Result<()> {
        let spans = |(group, places): (u128, Vec<_>)| {
            (group, self.rows.spans(group, &places, self.failed.contains_key(&group)))
        };
        let work = touched.groups.into_iter().map(spans).collect();
        self.refresh(work)
    }

    /// Evaluates spans by partition and notes what came out different.
    fn refresh(&mut self, work: Vec<(u128, Vec<Span<K>>)>) -> Result<()> {
        let mut affected = Affected::default();
        let mut outputs: Vec<Vec<ArrayRef>> = Vec::new();
        for (group, spans) in work {
            let mut results = Vec::new();
            for span in &spans {
                match self.evaluator.evaluate(span, &self.store) {
                    Ok(columns) => results.push(columns),
                    Err(e) if matches!(&e.sqlstate()[..2], "XX" | "0A") => return Err(e),
                    Err(e) => {
                        results.clear();
                        self.fail(group, e)?;
                        break;
                    }
                }
            }
            if results.len() == spans.len() {
                self.recover(group)?;
                spans.into_iter().for_each(|span| affected.extend(span));
                outputs.extend(results);
            }
        }
        self.compare(affected, outputs)
    }

    fn compare(&mut self, affected: Affected<K>, outputs: Vec<Vec<ArrayRef>>) -> Result<()> {
        let n = affected.lines.len();
        if n == 0 {
            return Ok(());
        }
        let new = evaluate::concat_columns(&outputs)?;
        let shown: Vec<usize> = (0..n).filter(|i| affected.lines[*i].values != NO_VALUES).collect();
        let old_ids: Vec<RowId> = shown.iter().map(|i| affected.lines[*i].values).collect();
        let old = self.values.gather(&old_ids, None)?;
        let old_prints = fingerprints(old.columns(), old_ids.len());
        let new_prints = fingerprints(&new, n);
        let mut changed = vec![true; n];
        shown.iter().zip(old_prints).for_each(|(i, print)| changed[*i] = print != new_prints[*i]);
        let picked: Vec<u32> = (0..n as u32).filter(|i| changed[*i as usize]).collect();
        let indices = UInt32Array::from(picked.clone());
        let columns: Vec<ArrayRef> =
            new.iter().map(|c| Ok(arrow::compute::take(c, &indices, None)?)).collect::<Result<_>>()?;
        let schema = Arc::clone(self.values.schema());
        let first = self.values.append(batch_of(&schema, columns, picked.len())?)?;
        for (values, i) in (first..).zip(picked) {
            let line = affected.lines[i as usize];
            self.hide(line);
            self.plus.push(Line { row: line.row, values });
            self.rows.set_values(&affected.places[i as usize], values);
        }
        Ok(())
    }

    /// A partition whose values cannot be computed shows no rows.
    fn fail(&mut self, group: u128, error: HwError) -> Result<()> {
        let lines = self.rows.take_values(group);
        if let Some(first) = lines.first()
            && !self.failed.contains_key(&group)
        {
            let row = self.store.gather(&[first.row], Some(&self.spec.node.partition))?;
            self.failed.insert(group, row.clone());
            self.spec.errors.add(&row, 0, 1, error)?;
        }
        lines.into_iter().for_each(|line| self.hide(line));
        Ok(())
    }

    fn recover(&mut self, group: u128) -> Result<()> {
        let Some(row) = self.failed.remove(&group) else { return Ok(()) };
        self.spec.errors.add(&row, 0, -1, HwError::internal("the partition is well again"))
    }

    fn advance(&mut self, cx: &EpochContext) -> Result<()> {
        let node = &self.spec.node;
        let reached = match (&node.window, &node.time) {
            (Some(GroupWindow { time: WindowTime::Event { clock }, .. }), _) => cx.watermark(clock).0,
            (Some(GroupWindow { time: WindowTime::Processing, .. }), _) => cx.now.0,
            (None, Some(time)) => match cx.watermark(&time.clock).0 {
                i64::MAX => i64::MAX,
                w => w.saturating_sub(time.lateness_us),
            },
            _ => return Ok(()),
        };
        if reached <= self.watermark {
            return Ok(());
        }
        self.watermark = reached;
        if node.time.is_some() && node.window.is_none() {
            return self.advance_time();
        }
        let on_close = node.on_close;
        while let Some(first) = self.by_end.first_entry().filter(|e| *e.key() <= reached) {
            for group in first.remove() {
                if on_close {
                    self.refresh(vec![(group, self.rows.spans(group, &[], true))])?;
                }
                self.forget(group)?;
            }
        }
        Ok(())
    }

    /// Emits what has become final and drops what nothing needs any more.
    fn advance_time(&mut self) -> Result<()> {
        for group in self.progress.due(self.watermark) {
            if self.spec.node.on_close
                && let Some((from, to)) = self.progress.finals(group, &self.rows, self.watermark)
            {
                let span = self.rows.span(&from, &to);
                self.refresh(vec![(group, span.into_iter().collect())])?;
            }
            for place in self.progress.droppable(group, &self.rows, self.watermark) {
                self.drop_line(&place);
            }
            self.progress.note(group, &self.rows);
        }
        Ok(())
    }

    /// Forgets a row; what it was emitted with stays.
    fn drop_line(&mut self, place: &rows::Place<K>) {
        let Some(line) = self.rows.remove(place) else { return };
        self.released.push(line.row);
        if line.values != NO_VALUES {
            self.forgotten.push(line.values);
        }
    }

    fn forget(&mut self, group: u128) -> Result<()> {
        for place in self.rows.places_of(group) {
            self.drop_line(&place);
        }
        self.recover(group)
    }

    fn emit(&mut self, out: &mut Vec<ChangeBatch>) -> Result<()> {
        let (minus, plus) = (std::mem::take(&mut self.minus), std::mem::take(&mut self.plus));
        let n = minus.len() + plus.len();
        if n > 0 {
            let lines = minus.iter().chain(&plus);
            let (rows, values): (Vec<RowId>, Vec<RowId>) = lines.map(|l| (l.row, l.values)).unzip();
            let mut columns = self.store.gather(&rows, None)?.columns().to_vec();
            columns.extend(self.values.gather(&values, None)?.columns().iter().cloned());
            let rows = batch_of(&self.spec.output_schema, columns, n)?;
            let batch = match minus.is_empty() {
                true => ChangeBatch::inserts(rows),
                false => {
                    let weights = minus.iter().map(|_| -1).chain(plus.iter().map(|_| 1));
                    let weights = Weights::Each(Int64Array::from_iter_values(weights));
                    consolidate(&self.spec.output_schema, &[ChangeBatch { rows, weights }])?
                }
            };
            out.push(batch);
        }
        minus.iter().for_each(|line| self.values.release(line.values));
        self.forgotten.drain(..).for_each(|id| self.values.release(id));
        self.released.drain(..).for_each(|id| self.store.release(id));
        self.rows.end_epoch();
        self.compact()
    }

    fn compact(&mut self) -> Result<()> {
        if let Some(moved) = self.store.compact_if_worth()? {
            self.rows.lines_mut().for_each(|line| moved.follow(&mut line.row));
        }
        if let Some(moved) = self.values.compact_if_worth()? {
            self.rows.lines_mut().for_each(|line| moved.follow(&mut line.values));
        }
        Ok(())
    }
}

impl<K: Key> Operator for Over<K> {
    fn name(&self) -> &str {
        &self.spec.name
    }

    fn push(&mut self, _input: usize, batch: ChangeBatch, _out: &mut Vec<ChangeBatch>) -> Result<()> {
        let batch = self.admit(batch)?;
        if !batch.is_empty() {
            self.pending.push(batch);
        }
        Ok(())
    }

    fn finish_epoch(&mut self, cx: &EpochContext, out: &mut Vec<ChangeBatch>) -> Result<()> {
        let touched = self.apply_pending()?;
        if self.spec.node.time.is_some() {
            touched.groups.keys().for_each(|group| self.progress.note(*group, &self.rows));
        }
        if !self.spec.node.on_close {
            self.refresh_touched(touched)?;
        }
        self.advance(cx)?;
        self.emit(out)
    }

    fn next_timer(&self) -> Option<ProcTime> {
        match &self.spec.node.window {
            Some(window) if window.time == WindowTime::Processing => {
                self.by_end.first_key_value().map(|(end, _)| ProcTime(*end))
            }
            _ => None,
        }
    }

    fn state_size(&self) -> StateSize {
        let (entries, bytes) = self.rows.size();
        StateSize { entries, bytes: bytes + self.store.bytes() + self.values.bytes() }
    }
}

#[cfg(test)]
mod tests;
