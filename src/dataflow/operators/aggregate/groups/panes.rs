//! Panes of groups: which fire in an epoch, and what their rows were before.
//!
//! Used when the emit clause needs a trigger state per group; plain `EMIT CHANGES` and
//! `EMIT FINAL` do without. A group is looked at only in epochs in which it got rows, a timer
//! of it is due, or the watermark passes its window's end or horizon. What is shown of a
//! group is what its accumulators held at its last firing: as long as nothing is new they
//! still hold it; the values are set aside (`held`) at the end of the epoch in which rows
//! came without a firing. DISCARDING groups start from nothing after each firing, so nothing
//! is ever set aside. Invariant: `held` has a row for exactly the groups `Shown::Held`.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{concat, take};
use arrow::datatypes::{Field, Schema};

use super::fired::{FiredTimes, NOT_FIRED};
use super::fires::{Asking, Due, Fires};
use super::{Failures, Groups, Shown, unchanged};
use crate::dataflow::operators::aggregate::AggregateCall;
use crate::dataflow::operators::errors::RowErrors;
use crate::dataflow::operators::expressions::batch_of;
use crate::dataflow::operators::panes::PaneColumns;
use crate::dataflow::triggers::{
    BriefProgram, BriefState, ENDLESS, EpochTimes, PaneState, Program, ROWS_MAX,
};
use crate::error::Result;
use crate::state::{RowId, RowStore};
use crate::types::EventTime;
use crate::types::trigger::{Accumulation, EmitSpec};

/// The panes of all groups of an operator.
pub struct Panes {
    machine: Machine,
    discarding: bool,
    /// Groups belong to windows; otherwise each lives in one endless window.
    windowed: bool,
    slots: Vec<Slot>,
    /// With pane columns: when the rows that are shown were fired.
    fired: Option<FiredTimes>,
    /// Slots by due time; may name slots that have fired or were freed since.
    timers: BTreeMap<i64, Vec<u32>>,
    held: RowStore,
    /// W(E−1).
    before: i64,
    /// The groups touched are those of a past that is one set of rows.
    filling: bool,
}

/// What decides; `Slot::state` is used by the brief one only.
enum Machine {
    Brief(BriefProgram),
    General(Program, Vec<General>),
}

/// Trigger state, and new rows of this epoch by absolute weight.
type General = (PaneState, u64);

/// What a group keeps of its panes.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    pub state: BriefState,
    /// The row that is shown, if it is set aside.
    pub held: RowId,
    /// New rows of this epoch, by absolute weight.
    pub rows: u32,
    /// When the row that is shown was fired, in `Panes::fired`.
    pub fired: u32,
}

/// Rows of groups to take back and to give. The old rows are those of the first groups.
#[derive(Default)]
pub struct PaneChange {
    pub slots: Vec<u32>,
    pub old: PaneRows,
    pub new: PaneRows,
}

/// One row a group.
#[derive(Default)]
pub struct PaneRows {
    pub groups: usize,
    /// One column a call.
    pub values: Vec<ArrayRef>,
    pub panes: Option<PaneColumns>,
    /// The groups that have a row; all if `None`.
    pub mask: Option<BooleanArray>,
}

impl Panes {
    pub fn new(spec: &EmitSpec, calls: &[AggregateCall], windowed: bool) -> Result<Panes> {
        let fields: Vec<Field> =
            calls.iter().map(|c| Field::new("c", c.output.data_type().clone(), true)).collect();
        let program = Program::new(spec)?;
        Ok(Panes {
            machine: match BriefProgram::of(&program) {
                Some(brief) => Machine::Brief(brief),
                None => Machine::General(program, Vec::new()),
            },
            discarding: spec.accumulation == Accumulation::Discarding,
            windowed,
            slots: Vec::new(),
            fired: spec.with_pane_columns.then(FiredTimes::default),
            timers: BTreeMap::new(),
            held: RowStore::new(Arc::new(Schema::new(fields))),
            before: EventTime::MIN.0,
            filling: false,
        })
    }

    /// Makes slots `0..slots` exist.
    pub fn resize(&mut self, slots: usize) {
        let state = match &mut self.machine {
            Machine::Brief(program) => program.state(ENDLESS, self.before),
            Machine::General(program, states) => {
                states.resize(slots, (program.state(ENDLESS, self.before), 0));
                BriefState::default()
            }
        };
        self.slots.resize(slots, Slot { state, held: 0, rows: 0, fired: NOT_FIRED });
    }

    /// A new group has got `slot`.
    pub fn open(&mut self, slot: u32, end: i64) {
        let end = self.end_of(end);
        let state = match &mut self.machine {
            Machine::Brief(program) => program.state(end, self.before),
            Machine::General(program, states) => {
                states[slot as usize] = (program.state(end, self.before), 0);
                BriefState::default()
            }
        };
        self.slots[slot as usize] = Slot { state, held: 0, rows: 0, fired: NOT_FIRED };
    }

    fn count_rows(&mut self, slots: &[u32], weights: Option<&[i64]>) {
        match &mut self.machine {
            Machine::Brief(_) => each(slots, weights, |slot, rows| {
                let counted = &mut self.slots[slot].rows;
                *counted = counted.saturating_add(u32::try_from(rows).unwrap_or(ROWS_MAX));
            }),
            Machine::General(_, states) => each(slots, weights, |slot, rows| states[slot].1 += rows),
        }
    }

    fn set_rows(&mut self, slot: u32, rows: u64) {
        match &mut self.machine {
            Machine::Brief(_) => self.slots[slot as usize].rows = u32::try_from(rows).unwrap_or(ROWS_MAX),
            Machine::General(_, states) => states[slot as usize].1 = rows,
        }
    }

    fn is_closed(&self, slot: u32) -> bool {
        match &self.machine {
            Machine::Brief(_) => self.slots[slot as usize].state.is_closed(),
            Machine::General(_, states) => states[slot as usize].0.is_closed(),
        }
    }

    fn has_unfired(&self, slot: u32) -> bool {
        match &self.machine {
            Machine::Brief(_) => self.slots[slot as usize].state.has_unfired(),
            Machine::General(_, states) => states[slot as usize].0.has_unfired(),
        }
    }

    /// Whether the horizon of the group's window may bring a pane.
    fn awaits_horizon(&self, slot: u32) -> bool {
        match &self.machine {
            Machine::Brief(program) => {
                program.closes_always() || self.slots[slot as usize].state.awaits_horizon()
            }
            Machine::General(program, states) => {
                program.closes_always() || states[slot as usize].0.awaits_horizon()
            }
        }
    }

    /// The greatest window end whose horizon the watermark has reached.
    fn closed_end(&self, watermark: i64) -> Option<i64> {
        let lateness = match &self.machine {
            Machine::Brief(program) => program.lateness_us(),
            Machine::General(program, _) => program.horizon(0),
        };
        if watermark == i64::MAX { Some(watermark) } else { watermark.checked_sub(lateness) }
    }

    /// The end of a group's window, for the triggers. A window up to infinity ends with the
    /// input, an endless one never.
    fn end_of(&self, bound: i64) -> i64 {
        if self.windowed { bound.min(ENDLESS - 1) } else { ENDLESS }
    }

    pub fn bytes(&self) -> usize {
        let states = match &self.machine {
            Machine::Brief(_) => 0,
            Machine::General(_, states) => {
                let heap = states.first().map_or(0, |s| s.0.heap_bytes()) * states.len();
                states.capacity() * size_of::<General>() + heap
            }
        };
        self.slots.capacity() * size_of::<Slot>()
            + states
            + self.fired.as_ref().map_or(0, FiredTimes::bytes)
            + self.timers.values().map(|t| t.capacity() * 4 + 64).sum::<usize>()
            + self.held.bytes()
    }

    /// The earliest processing time at which some group must be looked at.
    pub fn next_timer(&self) -> Option<i64> {
        self.timers.first_key_value().map(|(at, _)| *at)
    }

    fn compact(&mut self) -> Result<()> {
        if let Some(moved) = self.held.compact_if_worth()? {
            self.slots.iter_mut().for_each(|slot| moved.follow(&mut slot.held));
        }
        Ok(())
    }

    fn columns_of_new(&self, fires: &Fires, times: &EpochTimes) -> Option<PaneColumns> {
        self.fired.as_ref().map(|_| PaneColumns::of(&fires.firings, times))
    }

    /// What is known of the panes that those of this epoch replace.
    fn columns_of_old(&self, fires: &Fires) -> Option<PaneColumns> {
        let fired = self.fired.as_ref()?;
        let replaced = fires.firings.iter().zip(&fires.fired).take(fires.replaced());
        Some(replaced.map(|(firing, before)| fired.replaced(*before, firing)).collect())
    }
}

/// Calls `f(slot, absolute weight)` for each row.
fn each(slots: &[u32], weights: Option<&[i64]>, mut f: impl FnMut(usize, u64)) {
    match weights {
        None => slots.iter().for_each(|s| f(*s as usize, 1)),
        Some(weights) => slots.iter().zip(weights).for_each(|(s, w)| f(*s as usize, w.unsigned_abs())),
    }
}

impl Groups {
    /// Gives every group a trigger state.
    pub fn use_panes(&mut self, panes: Panes, keep_empty: bool) {
        self.panes = Some(Box::new(panes));
        self.keep_empty = keep_empty;
    }

    /// Counts new rows of located groups for their triggers.
    pub fn count_rows(&mut self, slots: &[u32], weights: Option<&[i64]>) {
        if let Some(panes) = &mut self.panes {
            panes.count_rows(slots, weights);
        }
    }

    /// Whether the group with this fingerprint has been closed by its trigger.
    pub fn is_finished(&self, print: u128) -> bool {
        let Some(panes) = &self.panes else { return false };
        self.slot_of(print).is_some_and(|slot| panes.is_closed(slot))
    }

    /// Decides the panes of the epoch and gives their rows. Afterwards the panes are what is
    /// shown.
    pub fn take_panes(&mut self, times: &EpochTimes, errors: &RowErrors) -> Result<PaneChange> {
        let Some(mut panes) = self.panes.take() else { return Ok(PaneChange::default()) };
        let asked = self.asked(&mut panes, times)?;
        let fires = self.decide(&mut panes, &asked, times);
        let change = match panes.discarding {
            true => self.fire_discarding(&panes, fires, times, errors)?,
            false => self.fire_accumulating(&mut panes, fires, times, errors)?,
        };
        panes.fired.iter_mut().for_each(FiredTimes::end_epoch);
        panes.before = times.watermark;
        panes.compact()?;
        self.panes = Some(panes);
        Ok(change)
    }

    /// Ends a step in which the view was filled: nothing is decided, the groups touched stay so.
    pub fn fill_panes(&mut self) {
        self.panes.iter_mut().for_each(|p| p.filling = true);
    }

    /// The rows of the past are what is left of them: a group of which nothing is left has
    /// never been, of the others each row counts once.
    fn end_filling(&mut self, panes: &mut Panes) -> Result<()> {
        let touched = std::mem::take(&mut self.touched.hidden);
        let (gone, stays): (Vec<u32>, Vec<u32>) =
            touched.into_iter().partition(|s| self.weight(*s) == 0 && !self.keep_empty);
        for slot in &stays {
            panes.set_rows(*slot, self.weight(*slot).unsigned_abs());
        }
        self.release(&gone)?;
        if !gone.is_empty() {
            let heads = &self.heads;
            let held = |slots: &mut Vec<u32>| slots.retain(|s| heads.shown(*s) != Shown::Free);
            self.by_end.values_mut().for_each(held);
            self.by_end.retain(|_, slots| !slots.is_empty());
        }
        self.touched.hidden = stays;
        panes.filling = false;
        Ok(())
    }

    /// Asks every group to which something happened.
    fn decide(&mut self, panes: &mut Panes, asked: &[u32], times: &EpochTimes) -> Fires {
        let Panes { machine, discarding, windowed, slots, fired, timers, .. } = panes;
        let mut asking = Asking {
            groups: self,
            slots,
            fired: fired.as_mut(),
            due: Due::new(timers),
            discarding: *discarding,
            windowed: *windowed,
            times,
        };
        match machine {
            Machine::Brief(program) => asking.ask_all(asked, |slot, _, end| {
                let rows = std::mem::take(&mut slot.rows);
                program.advance(&mut slot.state, end, rows, times)
            }),
            Machine::General(program, states) => asking.ask_all(asked, |_, at, end| {
                let (state, rows) = &mut states[at];
                program.advance(state, end, std::mem::take(rows), times)
            }),
        }
    }

    /// The groups to ask: the captured ones first.
    fn asked(&mut self, panes: &mut Panes, times: &EpochTimes) -> Result<Vec<u32>> {
        if panes.filling {
            self.end_filling(panes)?;
        }
        let mut asked: Vec<u32> = self.touched.shown.iter().chain(&self.touched.hidden).copied().collect();
        while let Some(entry) = panes.timers.first_entry().filter(|e| *e.key() <= times.now) {
            let due = entry.remove();
            self.ask(due, &mut asked);
        }
        if panes.windowed {
            let passed = self.passed(panes, times);
            self.ask(passed, &mut asked);
        }
        Ok(asked)
    }

    /// Notes groups as looked at in this epoch, each once.
    fn ask(&mut self, slots: Vec<u32>, asked: &mut Vec<u32>) {
        for slot in slots {
            if self.heads.shown(slot) != Shown::Free && self.heads.touch(slot) {
                self.touched.hidden.push(slot);
                asked.push(slot);
            }
        }
    }

    /// Slots of windows whose end the watermark passes in this epoch, and of those whose
    /// horizon it passes if that may show something. Groups with panes stay until their
    /// window goes, so that the slots of a window are all its own.
    fn passed(&self, panes: &Panes, times: &EpochTimes) -> Vec<u32> {
        let mut passed: Vec<u32> = Vec::new();
        if times.before < times.watermark {
            let ends = (Bound::Excluded(times.before), Bound::Included(times.watermark));
            passed.extend(self.by_end.range(ends).flat_map(|(_, slots)| slots));
        }
        // Windows whose horizon had passed before are gone.
        if let Some(closed) = panes.closed_end(times.watermark) {
            let closing = self.by_end.range(..=closed.min(times.before));
            let pending = |slot: &&u32| panes.awaits_horizon(**slot);
            passed.extend(closing.flat_map(|(_, slots)| slots).filter(pending));
        }
        passed
    }

    fn fire_discarding(
        &mut self,
        panes: &Panes,
        fires: Fires,
        times: &EpochTimes,
        errors: &RowErrors,
    ) -> Result<PaneChange> {
        let mut failures = Failures::new();
        let values = self.values(&fires.slots, &mut failures)?;
        let groups = fires.slots.len();
        let mask = (!failures.is_empty()).then(|| {
            let mut shows = vec![true; groups];
            failures.iter().for_each(|(position, _)| shows[*position] = false);
            BooleanArray::from(shows)
        });
        for (position, report) in failures {
            errors.add(&self.keys_of(&[fires.slots[position]])?, 0, 1, report)?;
        }
        self.accumulators.iter_mut().flatten().for_each(|a| a.clear(&fires.slots));
        fires.slots.iter().for_each(|s| self.heads.set_weight(*s, 0));
        let new = PaneRows { groups, values, panes: panes.columns_of_new(&fires, times), mask };
        Ok(PaneChange { slots: fires.slots, old: PaneRows::default(), new })
    }

    fn fire_accumulating(
        &mut self,
        panes: &mut Panes,
        fires: Fires,
        times: &EpochTimes,
        errors: &RowErrors,
    ) -> Result<PaneChange> {
        let weights = std::mem::take(&mut self.touched.old_weights);
        let no_values = vec![Vec::new(); self.calls.len()];
        let captured = std::mem::replace(&mut self.touched.old_values, no_values);
        let captured = self.old_values(weights, captured)?;
        let mut failures = Failures::new();
        let values = self.values(&fires.slots, &mut failures)?;
        let old_values = self.replaced_rows(panes, &fires, &captured, &values)?;
        let (replaced, groups) = (fires.replaced(), fires.slots.len());
        let (mut leaves, mut appears) = (None, fires.shows(&failures));
        if panes.fired.is_none() && replaced > 0 {
            // A row that stays as it is neither leaves nor appears.
            let same = unchanged(&old_values, &values, replaced)?;
            let shown = |i: usize| appears.as_ref().is_none_or(|a| a.value(i));
            let stays = |i: usize| i < replaced && shown(i) && same.as_ref().is_none_or(|s| s.value(i));
            leaves = Some(BooleanBuffer::collect_bool(replaced, |i| !stays(i)));
            appears = Some(BooleanBuffer::collect_bool(groups, |i| shown(i) && !stays(i)));
        }
        let mask = |bits: Option<BooleanBuffer>| bits.map(|bits| BooleanArray::new(bits, None));
        let panes_of_old = panes.columns_of_old(&fires);
        let old = PaneRows { groups: replaced, values: old_values, panes: panes_of_old, mask: mask(leaves) };
        let new =
            PaneRows { groups, values, panes: panes.columns_of_new(&fires, times), mask: mask(appears) };
        fires.held.iter().for_each(|id| panes.held.release(*id));
        self.note_failures(&fires, failures, errors)?;
        self.hold_unfired(panes, &fires.unfired, &captured)?;
        Ok(PaneChange { slots: fires.slots, old, new })
    }

    /// Groups whose value has no representation are in the error relation instead.
    fn note_failures(&mut self, fires: &Fires, failures: Failures, errors: &RowErrors) -> Result<()> {
        let failing: Vec<u32> = failures.iter().map(|(i, _)| fires.slots[*i]).collect();
        self.report_failures(&fires.slots, &fires.failed, failures, errors)?;
        for slot in failing {
            if self.lives(slot) {
                self.heads.show(slot, Shown::Failed);
            }
        }
        Ok(())
    }

    /// The values shown of the groups that fire and have a row, in their order.
    fn replaced_rows(
        &self,
        panes: &Panes,
        fires: &Fires,
        captured: &[ArrayRef],
        new: &[ArrayRef],
    ) -> Result<Vec<ArrayRef>> {
        let from = fires.captured.len();
        let still = from + fires.held.len();
        let held = panes.held.gather(&fires.held, None)?;
        let rows = UInt32Array::from_iter_values(fires.captured.iter().copied());
        let column = |call: usize| {
            let mut parts: Vec<ArrayRef> = Vec::with_capacity(3);
            match captured.get(call) {
                Some(column) if column.len() == from => parts.push(Arc::clone(column)),
                Some(column) => parts.push(take(column, &rows, None)?),
                None => {}
            }
            if !fires.held.is_empty() {
                parts.push(Arc::clone(held.column(call)));
            }
            if fires.still > 0 || parts.is_empty() {
                parts.push(new[call].slice(still, fires.still));
            }
            match parts.as_slice() {
                [only] => Ok(Arc::clone(only)),
                many => Ok(concat(&many.iter().map(|a| a.as_ref()).collect::<Vec<&dyn Array>>())?),
            }
        };
        (0..self.calls.len()).map(column).collect()
    }

    /// Sets aside what is shown of the captured groups that did not fire.
    fn hold_unfired(&mut self, panes: &mut Panes, unfired: &[u32], captured: &[ArrayRef]) -> Result<()> {
        if unfired.is_empty() {
            return Ok(());
        }
        let rows = UInt32Array::from(unfired.to_vec());
        let columns = captured.iter().map(|c| Ok(take(c, &rows, None)?)).collect::<Result<Vec<_>>>()?;
        let first = panes.held.append(batch_of(panes.held.schema(), columns, unfired.len())?)?;
        for (id, position) in (first..).zip(unfired) {
            let slot = self.touched.shown[*position as usize];
            panes.slots[slot as usize].held = id;
            self.heads.show(slot, Shown::Held);
        }
        Ok(())
    }

    /// Ends an epoch with panes. A group without rows goes at once only if nothing of it is
    /// shown or pending; one that belongs to a window goes with its window.
    pub fn end_pane_epoch(&mut self) -> Result<()> {
        let mut empty = std::mem::take(&mut self.touched.hidden);
        empty.append(&mut self.touched.shown);
        empty.iter().for_each(|s| self.heads.untouch(*s));
        let Some(panes) = self.panes.as_ref() else { return Ok(()) };
        if panes.windowed || panes.discarding || self.keep_empty {
            empty.clear();
        }
        empty.retain(|s| {
            self.heads.weight(*s) == 0
                && matches!(self.heads.shown(*s), Shown::No)
                && !panes.has_unfired(*s)
                && !panes.is_closed(*s)
        });
        self.touched.old_weights.clear();
        self.touched.captured = 0;
        self.release(&empty)
    }

    /// Frees what panes hold of released groups.
    pub(super) fn release_panes(&mut self, slots: &[u32]) {
        let Some(panes) = &mut self.panes else { return };
        for slot in slots {
            let state = &panes.slots[*slot as usize];
            if self.heads.shown(*slot) == Shown::Held {
                panes.held.release(state.held);
            }
            panes.fired.iter_mut().for_each(|f| f.release(state.fired));
        }
        panes.fired.iter_mut().for_each(FiredTimes::end_epoch);
    }

    /// Times of panes that are shown.
    #[cfg(test)]
    pub fn fired_times(&self) -> usize {
        self.panes.as_ref().and_then(|p| p.fired.as_ref()).map_or(0, |f| f.used())
    }

    #[cfg(test)]
    pub fn held_rows(&self) -> usize {
        self.panes.as_ref().map_or(0, |p| p.held.len())
    }

    /// The first window end after `watermark` that has groups.
    pub fn next_end(&self, watermark: i64) -> Option<i64> {
        self.by_end.range((Bound::Excluded(watermark), Bound::Unbounded)).next().map(|(end, _)| *end)
    }
}
