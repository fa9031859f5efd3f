//! Joins with the version of the other side that was valid at a row's event time:
//! `FOR SYSTEM_TIME AS OF l.ts`, `ASOF JOIN … ON … AND l.ts >= r.ts`.
//!
//! Every right row is a version of its key from its event time on. A left row waits until the
//! right watermark has passed its time, then meets the last version at that time (before it,
//! if `strict`), so what it gives is final: versions of the past do not change, and a left row that
//! is taken back meets the version that it has met before. Of versions of equal time the greatest
//! wins, by the columns that the plan names, whenever it came; where the right side changes, the
//! last change. A retraction of the last version without a new one in the same epoch ends the key
//! at the watermark.
//!
//! Per key the last version at min(W_left, W_right) and those after it are kept, or all versions if
//! the left side changes: what is taken back may be of any time. Rows older than their own side's
//! watermark W(E−1) are late, but for those of a left side that changes.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef, BooleanArray, make_comparator};
use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use hashbrown::HashMap;

use super::keys::{Admission, Arrival};
use super::shape::Shape;
use super::side::{Matches, halves};
use super::versions::{NO_ROW, Version, Versions};
use super::{AsOf, JoinKind, JoinSpec, OUTPUT_ROWS};
use crate::dataflow::operator::{EpochContext, Operator, StateSize};
use crate::dataflow::operators::late::{LateReason, Refusal};
use crate::dataflow::operators::time_queue::TimeQueue;
use crate::dataflow::operators::window_assign::timestamp_values;
use crate::error::{HwError, Result};
use crate::state::{Chunks, PrintMap, RowId, RowStore, ShortPrint, trim_free};
use crate::types::change_batch::consolidate;
use crate::types::hash::{PrintHasher, fingerprints};
use crate::types::{ChangeBatch, EventTime};

/// A left row that waits for the right watermark.
#[derive(Clone, Copy, Default)]
struct Waiting {
    id: RowId,
    weight: i64,
    key: u128,
}

/// Incremental join with versions of one worker.
pub struct AsOfJoinOperator {
    name: String,
    kind: JoinKind,
    as_of: AsOf,
    shape: Shape,
    admissions: [Admission; 2],
    left: RowStore,
    waiting: Chunks<Waiting>,
    free: Vec<u32>,
    by_time: TimeQueue<u32>,
    right: RowStore,
    /// By time, ascending; never empty.
    versions: PrintMap<Versions>,
    /// Keys by the times of their versions.
    ages: TimeQueue<ShortPrint>,
    /// Right columns that decide between versions of one time, as places among the stored ones.
    ties: Vec<usize>,
    right_schema: SchemaRef,
    /// Right rows of this epoch, if the right side changes: they are one set of changes.
    revised: Vec<ChangeBatch>,
    /// Right changes of this epoch, with their times.
    changes: Vec<(Arrival, Vec<i64>)>,
    watermarks: [EventTime; 2],
    left_append_only: bool,
    right_append_only: bool,
}

impl AsOfJoinOperator {
    pub fn new(spec: JoinSpec) -> Result<AsOfJoinOperator> {
        let (shape, admissions) = Shape::new(&spec)?;
        let Some(as_of) = spec.as_of else {
            return Err(HwError::internal("a join with versions needs their times"));
        };
        let stored = |schema: &SchemaRef, admission: &Admission| -> Result<RowStore> {
            Ok(RowStore::new(std::sync::Arc::new(schema.project(&admission.columns)?)))
        };
        let place = |c: &usize| admissions[1].columns.iter().position(|stored| stored == c);
        Ok(AsOfJoinOperator {
            name: spec.name,
            kind: spec.kind,
            left: stored(&spec.left_schema, &admissions[0])?,
            right: stored(&spec.right_schema, &admissions[1])?,
            ties: as_of.ties.iter().filter_map(place).collect(),
            right_schema: spec.right_schema,
            revised: Vec::new(),
            as_of,
            shape,
            admissions,
            waiting: Chunks::default(),
            free: Vec::new(),
            by_time: TimeQueue::default(),
            versions: PrintMap::default(),
            ages: TimeQueue::default(),
            changes: Vec::new(),
            watermarks: [EventTime::MIN; 2],
            left_append_only: spec.left_append_only,
            right_append_only: spec.right_append_only,
        })
    }

    /// Rows with a time that is not late, and rows without time. Retractions are never late.
    fn on_time(&self, side: usize, batch: ChangeBatch) -> Result<(ChangeBatch, ChangeBatch)> {
        let times = timestamp_values(&batch, self.as_of.times[side])?.clone();
        let watermark = self.watermarks[side];
        let judged = side == 1 || self.left_append_only;
        let is_late = |row: usize| {
            judged && times.is_valid(row) && times.value(row) < watermark.0 && batch.weights.get(row) > 0
        };
        let late: Vec<Refusal> = (0..batch.len())
            .filter(|row| is_late(*row))
            .map(|row| Refusal { row: row as u32, window_start: None, window_end: None })
            .collect();
        if !late.is_empty() {
            let weight = |row: usize| batch.weights.get(row);
            self.as_of.late.record(&batch.rows, &late, weight, LateReason::WindowClosed, watermark)?;
        }
        let mask = |keep: &dyn Fn(usize) -> bool| -> BooleanArray {
            (0..batch.len()).map(|row| Some(keep(row))).collect()
        };
        let timed = batch.filter(&mask(&|row| times.is_valid(row) && !is_late(row)))?;
        let timeless = batch.filter(&mask(&|row| times.is_null(row)))?;
        Ok((timed, timeless))
    }

    fn show(&self, side_rows: &ChangeBatch, out: &mut Vec<ChangeBatch>) -> Result<()> {
        let columns = side_rows.rows.project(&self.admissions[0].columns)?.columns().to_vec();
        let (weights, rows) = (side_rows.weights.clone(), side_rows.len());
        if self.kind.keeps(0) {
            out.extend(self.shape.alone(self.kind, 0, &columns, weights, false, rows)?);
        }
        Ok(())
    }

    fn wait(&mut self, arrival: Arrival, times: &[i64]) -> Result<()> {
        let first = self.left.append(arrival.rows.rows.clone())?;
        let mut run = Vec::with_capacity(times.len());
        for (row, (key, time)) in arrival.key_prints.iter().zip(times).enumerate() {
            let waiting =
                Waiting { id: first + row as RowId, weight: arrival.rows.weights.get(row), key: *key };
            let slot = self.free.pop().unwrap_or(self.waiting.len() as u32);
            self.waiting.put(slot, waiting);
            run.push((*time, slot));
        }
        self.by_time.add(run);
        Ok(())
    }

    /// Applies the right side's changes: new versions first, then what was retracted.
    fn apply_changes(&mut self) -> Result<()> {
        let changes = std::mem::take(&mut self.changes);
        let mut renewed: HashMap<u128, (), PrintHasher> = HashMap::default();
        for (arrival, times) in &changes {
            let prints = fingerprints(arrival.rows.rows.columns(), arrival.rows.len());
            let first = self.right.append(arrival.rows.rows.clone())?;
            let mut run = Vec::new();
            for (row, (key, time)) in arrival.key_prints.iter().zip(times).enumerate() {
                let id = first + row as RowId;
                if arrival.rows.weights.get(row) <= 0 {
                    self.right.release(id);
                    continue;
                }
                renewed.insert(*key, ());
                run.push((*time, *key));
                self.add_version(*key, Version { time: *time, id, print: halves(prints[row]) })?;
            }
            self.note_ages(run);
        }
        for (arrival, times) in &changes {
            let prints = fingerprints(arrival.rows.rows.columns(), arrival.rows.len());
            for (row, (key, time)) in arrival.key_prints.iter().zip(times).enumerate() {
                if arrival.rows.weights.get(row) < 0 && !renewed.contains_key(key) {
                    self.end_version(*key, *time, prints[row])?;
                }
            }
        }
        Ok(())
    }

    fn add_version(&mut self, key: u128, version: Version) -> Result<()> {
        let Some(slot) = self.versions.find(key) else {
            self.versions.add(key, Versions::One(version));
            return Ok(());
        };
        let versions = &mut self.versions[slot];
        let at = versions.partition_point(|v| v.time < version.time);
        match versions.get_mut(at).filter(|v| v.time == version.time) {
            None => versions.insert(at, version),
            Some(known) => {
                let wins = match (known.row(), version.row()) {
                    (Some(a), Some(b)) if !self.ties.is_empty() => is_greater(&self.right, &self.ties, b, a)?,
                    _ => true,
                };
                let loser = if wins { std::mem::replace(known, version) } else { version };
                loser.row().into_iter().for_each(|id| self.right.release(id));
            }
        }
        Ok(())
    }

    fn note_ages(&mut self, run: Vec<(i64, u128)>) {
        if self.left_append_only {
            self.ages.add(run.into_iter().map(|(time, key)| (time, ShortPrint::of(key))).collect());
        }
    }

    /// Ends a key whose last version was retracted.
    fn end_version(&mut self, key: u128, time: i64, print: u128) -> Result<()> {
        let last = self.versions.get(key).and_then(|v| v.last()).copied();
        let is_last = last.is_some_and(|v| v.time == time && v.row().is_some() && v.print == halves(print));
        if is_last {
            let end = time.max(self.watermarks[1].0);
            self.note_ages(vec![(end, key)]);
            self.add_version(key, Version { time: end, id: NO_ROW, print: [0; 2] })?;
        }
        Ok(())
    }

    /// Meets left rows whose time has been passed with their versions.
    fn resolve(&mut self, slots: &[u32], times: &[i64], out: &mut Vec<ChangeBatch>) -> Result<()> {
        let ids: Vec<RowId> = slots.iter().map(|s| self.waiting[*s].id).collect();
        let weights: Vec<i64> = slots.iter().map(|s| self.waiting[*s].weight).collect();
        let rows = ChangeBatch::new(self.left.gather(&ids, None)?, weights);
        let mut found = Matches::default();
        for (row, (slot, time)) in slots.iter().zip(times).enumerate() {
            let waiting = self.waiting[*slot];
            let versions = self.versions.get(waiting.key).map_or(&[][..], |v| &v[..]);
            let end = versions.partition_point(|v| match self.as_of.strict {
                true => v.time < *time,
                false => v.time <= *time,
            });
            if let Some(id) = end.checked_sub(1).and_then(|at| versions[at].row()) {
                found.rows.push(row as u32);
                found.ids.push(id);
                found.weights.push(waiting.weight);
            }
        }
        let mut matched = vec![false; slots.len()];
        if !found.rows.is_empty() {
            let stored: Vec<ArrayRef> = self.right.gather(&found.ids, None)?.columns().to_vec();
            let pairs = self.shape.pairs(0, &rows.rows, &found, stored)?;
            let satisfied = self.shape.satisfied(&pairs)?;
            for (pair, row) in found.rows.iter().enumerate() {
                matched[*row as usize] = satisfied.is_valid(pair) && satisfied.value(pair);
            }
            let pairs = self.shape.project(pairs.filter(&satisfied)?)?;
            out.extend((!pairs.is_empty()).then_some(pairs));
        }
        if self.kind.keeps(0) {
            let alone = rows.filter(&matched.iter().map(|m| Some(!m)).collect())?;
            let columns = alone.rows.columns();
            let weights = alone.weights.clone();
            out.extend(self.shape.alone(self.kind, 0, columns, weights, false, alone.len())?);
        }
        for (slot, id) in slots.iter().zip(ids) {
            self.left.release(id);
            self.free.push(*slot);
        }
        Ok(())
    }

    /// Drops versions that no left row can meet any more; none are noted if any may be met.
    fn prune(&mut self) {
        let horizon = self.watermarks[0].min(self.watermarks[1]).0;
        // With `strict`, a row at the horizon meets what was before it.
        let passed = horizon.saturating_add(!self.as_of.strict as i64);
        for (_, key) in self.ages.take_before(passed) {
            let key = key.print();
            let Some(slot) = self.versions.find(key) else { continue };
            let versions = &mut self.versions[slot];
            let last = versions.partition_point(|v| v.time < passed).saturating_sub(1);
            for version in versions.take_first(last) {
                version.row().into_iter().for_each(|id| self.right.release(id));
            }
            if versions.first().is_some_and(|v| v.row().is_none() && v.time < passed) {
                versions.take_first(1);
            }
            if versions.is_empty() {
                *versions = Versions::none();
                self.versions.remove(key);
            }
        }
    }

    /// Takes rows of a side: left rows wait, right rows become changes.
    fn take(&mut self, side: usize, batch: ChangeBatch, out: &mut Vec<ChangeBatch>) -> Result<()> {
        let (timed, timeless) = self.on_time(side, batch)?;
        let (keyed, loose) = self.admissions[side].split(timed)?;
        if side == 0 {
            self.show(&timeless, out)?;
            loose.map_or(Ok(()), |loose| self.show(&loose, out))?;
        }
        let Some(arrival) = self.admissions[side].admit(&keyed)? else { return Ok(()) };
        let times = timestamp_values(&keyed, self.as_of.times[side])?.values().to_vec();
        if side == 0 {
            return self.wait(arrival, &times);
        }
        self.changes.push((arrival, times));
        Ok(())
    }

    fn compact(&mut self) -> Result<()> {
        trim_free(&mut self.free);
        self.versions.trim();
        if let Some(moved) = self.right.compact_if_worth()? {
            let versions = self.versions.places_mut().flat_map(|v| v.iter_mut()).filter(|v| v.id != NO_ROW);
            versions.for_each(|version| moved.follow(&mut version.id));
        }
        if let Some(moved) = self.left.compact_if_worth()? {
            self.waiting.iter_mut().for_each(|w| moved.follow(&mut w.id));
        }
        Ok(())
    }
}

/// Whether stored row `a` is greater than `b`, column by column; NULL is the least.
fn is_greater(store: &RowStore, columns: &[usize], a: RowId, b: RowId) -> Result<bool> {
    let rows = store.gather(&[a, b], Some(columns))?;
    for column in rows.columns() {
        let compare = make_comparator(column, column, SortOptions::default())?;
        match compare(0, 1) {
            Ordering::Equal => continue,
            order => return Ok(order == Ordering::Greater),
        }
    }
    Ok(false)
}

impl Operator for AsOfJoinOperator {
    fn name(&self) -> &str {
        &self.name
    }

    fn push(&mut self, side: usize, batch: ChangeBatch, out: &mut Vec<ChangeBatch>) -> Result<()> {
        if side == 1 && !self.right_append_only {
            self.revised.push(batch);
            return Ok(());
        }
        self.take(side, batch, out)
    }

    fn finish_epoch(&mut self, cx: &EpochContext, out: &mut Vec<ChangeBatch>) -> Result<()> {
        if !self.revised.is_empty() {
            let revised = consolidate(&self.right_schema, &std::mem::take(&mut self.revised))?;
            self.take(1, revised, out)?;
        }
        self.apply_changes()?;
        for side in [0, 1] {
            let reached = cx.watermark(&self.as_of.clocks[side]);
            self.watermarks[side] = self.watermarks[side].max(reached);
        }
        // A version at exactly the watermark may still come; for `strict` rows it is too new.
        let passed = self.watermarks[1].0.saturating_add(self.as_of.strict as i64);
        let (times, slots): (Vec<i64>, Vec<u32>) = self.by_time.take_before(passed).into_iter().unzip();
        for (slots, times) in slots.chunks(OUTPUT_ROWS).zip(times.chunks(OUTPUT_ROWS)) {
            self.resolve(slots, times, out)?;
        }
        self.shape.end_epoch();
        self.prune();
        self.compact()
    }

    fn state_size(&self) -> StateSize {
        let versions: usize = self.versions.places().map(Versions::bytes).sum();
        let waiting = self.waiting.bytes() + self.free.capacity() * size_of::<u32>();
        StateSize {
            entries: self.by_time.len() + self.right.len(),
            bytes: self.left.bytes()
                + self.right.bytes()
                + waiting
                + self.by_time.bytes()
                + self.ages.bytes()
                + versions
                + self.versions.bytes(),
        }
    }
}

#[cfg(test)]
mod tests;
