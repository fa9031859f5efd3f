//! What readers see of sessions: the live panes, and the change from one firing to the next.
//!
//! The view holds one row a session: its latest pane. When sessions merge, the panes of all
//! of them stay until the merged one fires and takes their place; when a session is divided, its
//! pane stays until the first of its parts fires. A firing whose row is the one that is shown
//! changes nothing. DISCARDING panes and the one pane of EMIT FINAL are never taken back, so they
//! are not kept. Of a pane its bounds, values and number are kept; its key is the session's.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, take};
use arrow::datatypes::{DataType, Field, Schema};
use hashbrown::{HashMap, HashSet};

use super::super::aggregate::accumulator::Failures;
use super::super::aggregate::groups::fired::{FiredTimes, NOT_FIRED};
use super::super::errors::RowErrors;
use super::super::expressions::batch_of;
use super::super::panes::{PaneColumns, PaneRow};
use super::super::window_assign::timestamps;
use super::index::SessionIndex;
use super::{SessionAggregateSpec, Sessions};
use crate::dataflow::triggers::{EpochTimes, Firing};
use crate::error::{HwError, Result};
use crate::state::{Grow, RowId, RowStore};
use crate::types::ChangeBatch;
use crate::types::hash::fingerprints;
use crate::types::trigger::{Accumulation, EmitPolicy};

/// A firing; `None` where the clause keeps no trigger state.
pub type Fired = Option<Firing>;

/// A session that fires: its slot, its firing, and whether it is over.
pub type FiredSlot = (u32, Fired, bool);

/// The row of no pane.
const NO_ROW: RowId = RowId::MAX;

/// A pane that is shown.
#[derive(Clone, Copy)]
struct Live {
    start: i64,
    end: i64,
    /// Its values in `Panes::rows`.
    row: RowId,
    mark: Mark,
}

/// As a slot keeps it, in words of four bytes.
#[derive(Clone, Copy)]
#[repr(C, packed(4))]
struct Span {
    start: i64,
    end: i64,
    row: RowId,
}

const NO_SPAN: Span = Span { start: 0, end: 0, row: NO_ROW };

const NONE: Live = Live { start: 0, end: 0, row: NO_ROW, mark: NO_MARK };

/// What its pane columns say; kept apart, as not every view has them.
#[derive(Clone, Copy)]
struct Mark {
    /// When it fired, in `Panes::fired`.
    fired: u32,
    index: u32,
    /// −1 for EARLY.
    nonspeculative: i32,
    is_last: bool,
}

const NO_MARK: Mark = Mark { fired: NOT_FIRED, index: 0, nonspeculative: -1, is_last: false };

/// A live pane that several sessions may replace: whichever fires first.
struct Shared {
    live: Option<Live>,
    owners: u32,
}

pub struct Panes {
    /// Whether panes are replaced, and therefore kept.
    replaces: bool,
    discards: bool,
    /// Values of live panes.
    pub(super) rows: RowStore,
    /// Bounds and row of the live pane of each slot.
    spans: Vec<Span>,
    /// With pane columns: the rest of it, and when panes were fired.
    marks: Vec<Mark>,
    fired: Option<FiredTimes>,
    /// Panes of sessions that were swallowed or divided, by number, and their numbers by the slot
    /// that is to replace them.
    shared: Vec<Shared>,
    free: Vec<u32>,
    others: HashMap<u32, Vec<u32>>,
    /// Sessions that are in the error relation.
    failed: HashSet<u32>,
}

/// New rows of an epoch, and the old ones they replace.
struct Replacement<'a> {
    fired: &'a [FiredSlot],
    keys: Vec<ArrayRef>,
    bounds: Vec<(i64, i64)>,
    values: Vec<ArrayRef>,
    /// Old panes by position of the new one.
    old: Vec<Live>,
    old_of: Vec<u32>,
}

impl Panes {
    pub fn new(spec: &SessionAggregateSpec) -> Panes {
        let discards = spec.emit.accumulation == Accumulation::Discarding;
        let replaces = !discards && spec.emit.policy != EmitPolicy::Final;
        let fields: Vec<Field> =
            spec.calls.iter().map(|c| Field::new("c", c.output.data_type().clone(), true)).collect();
        Panes {
            replaces,
            discards,
            rows: RowStore::new(Arc::new(Schema::new(fields))),
            spans: Vec::new(),
            marks: Vec::new(),
            fired: (replaces && spec.emit.with_pane_columns).then(FiredTimes::default),
            shared: Vec::new(),
            free: Vec::new(),
            others: HashMap::new(),
            failed: HashSet::new(),
        }
    }

    /// Whether a firing resets the session's accumulators.
    pub fn discards(&self) -> bool {
        self.discards
    }

    pub fn grow(&mut self, slots: usize) {
        if self.replaces && slots > self.spans.len() {
            self.spans.grow(slots, NO_SPAN);
            if self.fired.is_some() {
                self.marks.grow(slots, NO_MARK);
            }
        }
    }

    /// The live panes of `part` are to be replaced by the next one of `slot`.
    pub fn take_over(&mut self, part: u32, slot: u32) {
        if !self.replaces {
            return;
        }
        let moved = self.share(part, 1);
        if !moved.is_empty() {
            self.others.entry(slot).or_default().extend(moved);
        }
        if self.failed.remove(&part) {
            self.failed.insert(slot);
        }
    }

    /// The panes of `slot` are to be replaced by the first of `parts` that fires.
    pub fn divide(&mut self, slot: u32, parts: &[u32]) {
        if !self.replaces {
            return;
        }
        let numbers = self.share(slot, parts.len() as u32);
        if !numbers.is_empty() {
            parts.iter().for_each(|part| self.others.entry(*part).or_default().extend(&numbers));
        }
    }

    /// Whether something of a session is shown, or told of in the error relation.
    pub fn is_shown(&self, slot: u32) -> bool {
        let lives = |numbers: &Vec<u32>| numbers.iter().any(|n| self.shared[*n as usize].live.is_some());
        self.spans.get(slot as usize).is_some_and(|s| s.row != NO_ROW)
            || self.others.get(&slot).is_some_and(lives)
            || self.failed.contains(&slot)
    }

    /// Takes the panes of a slot, each now with so many more owners.
    fn share(&mut self, slot: u32, owners: u32) -> Vec<u32> {
        let mut numbers = self.others.remove(&slot).unwrap_or_default();
        numbers.iter().for_each(|n| self.shared[*n as usize].owners += owners - 1);
        let live = self.take_own(slot);
        if live.row != NO_ROW {
            let shared = Shared { live: Some(live), owners };
            match self.free.pop() {
                Some(n) => {
                    self.shared[n as usize] = shared;
                    numbers.push(n);
                }
                None => {
                    numbers.push(self.shared.len() as u32);
                    self.shared.push(shared);
                }
            }
        }
        numbers
    }

    /// Takes the slot's own live pane.
    #[inline]
    fn take_own(&mut self, slot: u32) -> Live {
        let at = slot as usize;
        let Span { start, end, row } = std::mem::replace(&mut self.spans[at], NO_SPAN);
        if row == NO_ROW {
            return NONE;
        }
        let mark = self.marks.get_mut(at).map_or(NO_MARK, |m| std::mem::replace(m, NO_MARK));
        Live { start, end, row, mark }
    }

    /// Emits the panes that fired.
    pub fn emit(
        &mut self,
        spec: &SessionAggregateSpec,
        sessions: &Sessions,
        fired: &[FiredSlot],
        times: &EpochTimes,
        out: &mut Vec<ChangeBatch>,
    ) -> Result<()> {
        if fired.is_empty() {
            return Ok(());
        }
        let slots: Vec<u32> = fired.iter().map(|f| f.0).collect();
        let mut failures = Failures::new();
        let values = sessions.cells.values(&slots, &mut failures)?;
        let key_ids: Vec<RowId> = slots.iter().map(|s| sessions.key_ids[*s as usize]).collect();
        let keys = sessions.keys.gather(&key_ids, None)?;
        let failing: HashMap<usize, HwError> = failures.into_iter().collect();
        self.report(&slots, &keys, &failing, &spec.errors)?;
        let bounds = slots.iter().map(|s| sessions.index.bounds(*s)).collect();
        let keys = keys.columns().to_vec();
        let mut change = Replacement { fired, keys, bounds, values, old: Vec::new(), old_of: Vec::new() };
        if self.replaces {
            for (i, slot) in slots.iter().enumerate() {
                self.live(*slot, |live| {
                    change.old.push(live);
                    change.old_of.push(i as u32);
                });
            }
        }
        // Of a session without rows nothing is left to show.
        let holds = |slot: u32| self.discards || sessions.cells.weight(slot) != 0;
        let shows = |(i, slot): (usize, &u32)| !failing.contains_key(&i) && holds(*slot);
        let mut shows: Vec<bool> = slots.iter().enumerate().map(shows).collect();
        let mut leaves = vec![true; change.old.len()];
        // Every pane has its own pane columns: no row is the one that was shown.
        if !spec.emit.with_pane_columns {
            self.keep_equal(&change, &mut shows, &mut leaves)?;
        }
        if leaves.contains(&true) {
            out.push(ChangeBatch::deletes(picked(self.old_rows(spec, &change)?, &leaves)?));
        }
        for (live, _) in change.old.iter().zip(&leaves).filter(|(_, leaves)| **leaves) {
            self.rows.release(live.row);
            self.fired.iter_mut().for_each(|f| f.release(live.mark.fired));
        }
        let new = new_rows(spec, &change, times)?;
        let new = picked(new, &shows)?;
        if self.replaces {
            self.keep(&change, &shows, times)?;
        }
        if new.num_rows() > 0 {
            out.push(ChangeBatch::inserts(new));
        }
        self.fired.iter_mut().for_each(FiredTimes::end_epoch);
        Ok(())
    }

    /// Takes the live panes of a slot.
    #[inline]
    fn live(&mut self, slot: u32, mut f: impl FnMut(Live)) {
        if !self.others.is_empty()
            && let Some(numbers) = self.others.remove(&slot)
        {
            for n in numbers {
                let shared = &mut self.shared[n as usize];
                shared.owners -= 1;
                if let Some(live) = shared.live.take() {
                    f(live);
                }
                if shared.owners == 0 {
                    self.free.push(n);
                }
            }
        }
        let live = self.take_own(slot);
        if live.row != NO_ROW {
            f(live);
        }
    }

    /// The rows that are taken back.
    fn old_rows(&self, spec: &SessionAggregateSpec, change: &Replacement<'_>) -> Result<RecordBatch> {
        let Replacement { keys, old, old_of, .. } = change;
        let all = old_of.len() == change.fired.len() && (0..).zip(old_of).all(|(i, of)| i == *of);
        let mut columns = keys.clone();
        if !all {
            let of = UInt32Array::from(old_of.clone());
            columns = keys.iter().map(|k| Ok(take(k, &of, None)?)).collect::<Result<_>>()?;
        }
        push_bounds(spec, old.iter().map(|l| (l.start, l.end)), &mut columns);
        let ids: Vec<RowId> = old.iter().map(|l| l.row).collect();
        columns.extend(self.rows.gather(&ids, None)?.columns().iter().cloned());
        if let Some(fired) = &self.fired {
            let mut panes = PaneColumns::with_capacity(old.len());
            for Live { mark, .. } in old {
                let (timing, fired_at, watermark) = fired.times(mark.fired);
                panes.push(&PaneRow {
                    timing,
                    index: i64::from(mark.index),
                    nonspeculative_index: i64::from(mark.nonspeculative),
                    is_first: mark.index == 0,
                    is_last: mark.is_last,
                    fired_at,
                    watermark,
                });
            }
            panes.append_to(&spec.output_schema, &mut columns)?;
        }
        batch_of(&spec.output_schema, columns, old.len())
    }

    /// A session whose new row is one that is shown keeps that one.
    fn keep_equal(
        &mut self,
        change: &Replacement<'_>,
        shows: &mut [bool],
        leaves: &mut [bool],
    ) -> Result<()> {
        let Replacement { bounds, old, old_of, .. } = change;
        let same_bounds = |(_, (live, of)): &(usize, (&Live, &u32))| {
            shows[**of as usize] && (live.start, live.end) == bounds[**of as usize]
        };
        let pairs = old.iter().zip(old_of).enumerate().filter(same_bounds);
        let (at, of): (Vec<usize>, Vec<u32>) = pairs.map(|(i, (_, of))| (i, *of)).unzip();
        if at.is_empty() {
            return Ok(());
        }
        let ids: Vec<RowId> = at.iter().map(|i| old[*i].row).collect();
        let before = fingerprints(self.rows.gather(&ids, None)?.columns(), at.len());
        let rows = UInt32Array::from(of.clone());
        let after: Vec<ArrayRef> =
            change.values.iter().map(|v| Ok(take(v, &rows, None)?)).collect::<Result<_>>()?;
        let after = fingerprints(&after, at.len());
        for (pair, (i, of)) in at.into_iter().zip(of).enumerate() {
            if before[pair] == after[pair] && shows[of as usize] {
                (shows[of as usize], leaves[i]) = (false, false);
                self.put(change.fired[of as usize].0, old[i]);
            }
        }
        Ok(())
    }

    /// `live` is what is shown of a slot.
    fn put(&mut self, slot: u32, live: Live) {
        self.spans[slot as usize] = Span { start: live.start, end: live.end, row: live.row };
        if let Some(mark) = self.marks.get_mut(slot as usize) {
            *mark = live.mark;
        }
    }

    /// Keeps the rows that are shown of sessions that are not over.
    fn keep(&mut self, change: &Replacement<'_>, shows: &[bool], times: &EpochTimes) -> Result<()> {
        let stays: Vec<bool> =
            shows.iter().zip(change.fired).map(|(shows, (.., over))| *shows && !over).collect();
        let values = batch_of(self.rows.schema(), change.values.clone(), change.fired.len())?;
        let kept = picked(values, &stays)?;
        if kept.num_rows() == 0 {
            return Ok(());
        }
        let rows = self.rows.append(kept)?..;
        let staying = change.fired.iter().enumerate().filter(|(i, _)| stays[*i]);
        for ((i, (slot, firing, _)), row) in staying.zip(rows) {
            let mut mark = NO_MARK;
            if let (Some(fired), Some(firing)) = (&mut self.fired, firing) {
                fired.replace(&mut mark.fired, firing.timing, times);
                mark.index = firing.index as u32;
                mark.nonspeculative = firing.nonspeculative_index as i32;
                mark.is_last = firing.is_last;
            }
            let (start, end) = change.bounds[i];
            self.put(*slot, Live { start, end, row, mark });
        }
        Ok(())
    }

    /// Moves sessions into and out of the error relation.
    fn report(
        &mut self,
        slots: &[u32],
        keys: &RecordBatch,
        failing: &HashMap<usize, HwError>,
        errors: &RowErrors,
    ) -> Result<()> {
        if failing.is_empty() && self.failed.is_empty() {
            return Ok(());
        }
        for (i, slot) in slots.iter().enumerate() {
            match (self.failed.contains(slot), failing.get(&i)) {
                (false, Some(error)) => {
                    errors.add(keys, i, 1, error.clone())?;
                    self.failed.insert(*slot);
                }
                (true, None) => {
                    errors.add(keys, i, -1, HwError::internal("the session has recovered"))?;
                    self.failed.remove(slot);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A session is over; its last pane stays in the view.
    pub fn forget(&mut self, slot: u32) {
        self.failed.remove(&slot);
        if !self.replaces {
            return;
        }
        let mut gone = Vec::new();
        self.live(slot, |live| gone.push(live));
        for live in gone {
            self.rows.release(live.row);
            self.fired.iter_mut().for_each(|f| f.release(live.mark.fired));
        }
    }

    /// Rewrites pane rows when most of those held are dead.
    pub fn compact(&mut self, index: &SessionIndex) -> Result<()> {
        if let Some(moved) = self.rows.compact_if_worth()? {
            index.live_slots().for_each(|slot| moved.follow(&mut self.spans[slot as usize].row));
            self.shared.iter_mut().flat_map(|s| &mut s.live).for_each(|live| moved.follow(&mut live.row));
        }
        Ok(())
    }

    pub fn bytes(&self) -> usize {
        self.rows.bytes()
            + self.spans.capacity() * size_of::<Span>()
            + self.marks.capacity() * size_of::<Mark>()
            + self.fired.as_ref().map_or(0, FiredTimes::bytes)
            + self.shared.capacity() * size_of::<Shared>()
            + self.others.len() * 64
    }
}

fn push_bounds(
    spec: &SessionAggregateSpec,
    bounds: impl Iterator<Item = (i64, i64)>,
    columns: &mut Vec<ArrayRef>,
) {
    let bound_type: &DataType = spec.output_schema.field(columns.len()).data_type();
    let (starts, ends) = bounds.unzip();
    columns.push(timestamps(starts, bound_type));
    columns.push(timestamps(ends, bound_type));
}

/// The rows of the panes that fired.
fn new_rows(
    spec: &SessionAggregateSpec,
    change: &Replacement<'_>,
    times: &EpochTimes,
) -> Result<RecordBatch> {
    let mut columns = change.keys.clone();
    push_bounds(spec, change.bounds.iter().copied(), &mut columns);
    columns.extend(change.values.iter().cloned());
    if spec.emit.with_pane_columns {
        let firings: Option<Vec<Firing>> = change.fired.iter().map(|f| f.1).collect();
        let missing = || HwError::internal("a firing without trigger state has no pane columns");
        let panes = PaneColumns::of(&firings.ok_or_else(missing)?, times);
        panes.append_to(&spec.output_schema, &mut columns)?;
    }
    batch_of(&spec.output_schema, columns, change.fired.len())
}

/// The rows that `mask` names, without a copy when it is all of them.
fn picked(rows: RecordBatch, mask: &[bool]) -> Result<RecordBatch> {
    if mask.iter().all(|picked| *picked) {
        return Ok(rows);
    }
    Ok(filter_record_batch(&rows, &BooleanArray::from(mask.to_vec()))?)
}
