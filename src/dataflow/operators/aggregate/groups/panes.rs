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

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::compute::{interleave, take};
use arrow::datatypes::{Field, Schema};
use hashbrown::HashMap;

use super::{Emission, Failures, Groups, Shown, unchanged};
use crate::dataflow::operators::aggregate::AggregateCall;
use crate::dataflow::operators::errors::RowErrors;
use crate::dataflow::operators::expressions::batch_of;
use crate::dataflow::operators::panes::PaneRow;
use crate::dataflow::triggers::{ENDLESS, EpochTimes, Firing, NEVER, PaneState, Program};
use crate::error::Result;
use crate::state::{RowId, RowStore};
use crate::types::EventTime;
use crate::types::trigger::{Accumulation, EmitSpec, PaneTiming};

/// Not among the groups captured in this epoch.
const NOT_CAPTURED: u32 = u32::MAX;

/// The panes of all groups of an operator.
pub struct Panes {
    program: Program,
    discarding: bool,
    /// Groups belong to windows; otherwise each lives in one endless window.
    windowed: bool,
    /// Trigger states, one cache line each, by slot.
    states: Vec<PaneState>,
    /// New rows of this epoch, by absolute weight.
    rows: Vec<u64>,
    slots: Vec<Slot>,
    /// With pane columns: when the row that is shown was fired, by slot.
    shown: Option<Vec<Fired>>,
    /// Slots by due time; may name slots that have fired or were freed since.
    timers: BTreeMap<i64, Vec<u32>>,
    held: RowStore,
    /// W(E−1).
    before: i64,
    /// The groups touched are those of a past that is one set of rows.
    filling: bool,
}

#[derive(Clone, Copy)]
struct Slot {
    held: RowId,
    /// Position among the captured groups of this epoch.
    captured: u32,
}

#[derive(Clone, Copy)]
struct Fired {
    timing: PaneTiming,
    at: i64,
    watermark: i64,
}

const EMPTY: Slot = Slot { held: 0, captured: NOT_CAPTURED };
const NOT_FIRED: Fired = Fired { timing: PaneTiming::Early, at: 0, watermark: 0 };

impl Panes {
    pub fn new(spec: &EmitSpec, calls: &[AggregateCall], windowed: bool) -> Result<Panes> {
        let fields: Vec<Field> =
            calls.iter().map(|c| Field::new("c", c.output.data_type().clone(), true)).collect();
        Ok(Panes {
            program: Program::new(spec)?,
            discarding: spec.accumulation == Accumulation::Discarding,
            windowed,
            states: Vec::new(),
            rows: Vec::new(),
            slots: Vec::new(),
            shown: spec.with_pane_columns.then(Vec::new),
            timers: BTreeMap::new(),
            held: RowStore::new(Arc::new(Schema::new(fields))),
            before: EventTime::MIN.0,
            filling: false,
        })
    }

    /// Makes slots `0..slots` exist.
    pub fn resize(&mut self, slots: usize) {
        let state = self.program.state(ENDLESS, self.before);
        self.states.resize(slots, state);
        self.rows.resize(slots, 0);
        self.slots.resize(slots, EMPTY);
        if let Some(shown) = &mut self.shown {
            shown.resize(slots, NOT_FIRED);
        }
    }

    /// A new group has got `slot`.
    pub fn open(&mut self, slot: u32, end: i64) {
        let end = self.end_of(end);
        self.states[slot as usize] = self.program.state(end, self.before);
        self.rows[slot as usize] = 0;
        self.slots[slot as usize] = EMPTY;
    }

    /// The end of a group's window, for the triggers. A window up to infinity ends with the
    /// input, an endless one never.
    fn end_of(&self, bound: i64) -> i64 {
        if self.windowed { bound.min(ENDLESS - 1) } else { ENDLESS }
    }

    pub fn bytes(&self) -> usize {
        let heap = self.states.first().map_or(0, |s| s.heap_bytes()) * self.states.len();
        self.states.capacity() * (size_of::<PaneState>() + size_of::<u64>() + size_of::<Slot>())
            + heap
            + self.shown.as_ref().map_or(0, |s| s.capacity() * size_of::<Fired>())
            + self.timers.values().map(|t| t.capacity() * 4 + 64).sum::<usize>()
            + self.held.bytes()
    }

    /// The earliest processing time at which some group must be looked at.
    pub fn next_timer(&self) -> Option<i64> {
        self.timers.first_key_value().map(|(at, _)| *at)
    }

    fn compact(&mut self) -> Result<()> {
        if !self.held.wants_compaction() {
            return Ok(());
        }
        let moved: HashMap<RowId, RowId> = self.held.compact()?.into_iter().collect();
        for slot in &mut self.slots {
            if let Some(new) = moved.get(&slot.held) {
                slot.held = *new;
            }
        }
        Ok(())
    }

    /// What is known of the pane of `slot` that `firing` replaces.
    fn replaced(&self, slot: u32, firing: &Firing) -> PaneRow {
        let last = self.shown.as_ref().map_or(NOT_FIRED, |s| s[slot as usize]);
        let early = last.timing == PaneTiming::Early;
        PaneRow {
            timing: last.timing,
            index: firing.index - 1,
            nonspeculative_index: if early { -1 } else { firing.nonspeculative_index - 1 },
            is_first: firing.index == 1,
            is_last: false,
            fired_at: last.at,
            watermark: last.watermark,
        }
    }
}

/// The panes of an epoch, by position in `slots`.
#[derive(Default)]
struct Fires {
    slots: Vec<u32>,
    firings: Vec<Firing>,
}

impl Groups {
    /// Gives every group a trigger state.
    pub fn use_panes(&mut self, panes: Panes, keep_empty: bool) {
        self.panes = Some(Box::new(panes));
        self.keep_empty = keep_empty;
    }

    /// Counts new rows of located groups for their triggers.
    pub fn count_rows(&mut self, slots: &[u32], weights: Option<&[i64]>) {
        let Some(panes) = &mut self.panes else { return };
        match weights {
            None => slots.iter().for_each(|s| panes.rows[*s as usize] += 1),
            Some(weights) => {
                let rows = slots.iter().zip(weights);
                rows.for_each(|(s, w)| panes.rows[*s as usize] += w.unsigned_abs());
            }
        }
    }

    /// Whether the group with this fingerprint has been closed by its trigger.
    pub fn is_finished(&self, print: u128) -> bool {
        let Some(panes) = &self.panes else { return false };
        self.slot_of(print).is_some_and(|slot| panes.states[slot as usize].is_closed())
    }

    /// Decides the panes of the epoch and gives their rows: −1 for a row that a pane
    /// replaces, +1 for the new one. Afterwards the panes are what is shown.
    pub fn take_panes(&mut self, times: &EpochTimes, errors: &RowErrors) -> Result<Emission> {
        let Some(mut panes) = self.panes.take() else { return Ok(Emission::default()) };
        let fires = self.decide(&mut panes, times);
        let emission = match panes.discarding {
            true => self.fire_discarding(&panes, &fires, times, errors)?,
            false => self.fire_accumulating(&mut panes, &fires, times, errors)?,
        };
        if let Some(shown) = &mut panes.shown {
            for (slot, firing) in fires.slots.iter().zip(&fires.firings) {
                let watermark = times.watermark;
                shown[*slot as usize] = Fired { timing: firing.timing, at: times.now, watermark };
            }
        }
        panes.before = times.watermark;
        panes.compact()?;
        self.panes = Some(panes);
        Ok(emission)
    }

    /// Ends a step in which the view was filled: nothing is decided, the groups touched stay so.
    pub fn fill_panes(&mut self) {
        self.panes.iter_mut().for_each(|p| p.filling = true);
    }

    /// The rows of the past are what is left of them: a group of which nothing is left has
    /// never been, of the others each row counts once.
    fn end_filling(&mut self, panes: &mut Panes) {
        let touched = std::mem::take(&mut self.touched.hidden);
        let (gone, stays): (Vec<u32>, Vec<u32>) =
            touched.into_iter().partition(|s| self.weight(*s) == 0 && !self.keep_empty);
        for slot in &stays {
            panes.rows[*slot as usize] = self.weight(*slot).unsigned_abs();
        }
        self.release(&gone);
        self.touched.hidden = stays;
        panes.filling = false;
    }

    /// Asks every group to which something happened.
    fn decide(&mut self, panes: &mut Panes, times: &EpochTimes) -> Fires {
        if panes.filling {
            self.end_filling(panes);
        }
        let mut asked: Vec<u32> = self.touched.shown.iter().chain(&self.touched.hidden).copied().collect();
        while let Some(entry) = panes.timers.first_entry().filter(|e| *e.key() <= times.now) {
            let mut due = entry.remove();
            // In the order of memory.
            due.sort_unstable();
            for slot in due {
                self.ask(slot, None, &mut asked);
            }
        }
        if panes.windowed {
            for (end, slot) in self.passed(panes, times) {
                self.ask(slot, Some(end), &mut asked);
            }
        }
        let mut fires = Fires::default();
        for slot in asked {
            let at = slot as usize;
            let end = panes.end_of(self.bounds.get(at).copied().unwrap_or(ENDLESS));
            let rows = std::mem::take(&mut panes.rows[at]);
            let step = panes.program.advance(&mut panes.states[at], end, rows, times);
            if step.timer != NEVER {
                panes.timers.entry(step.timer).or_default().push(slot);
            }
            if let Some(firing) = step.firing {
                fires.slots.push(slot);
                fires.firings.push(firing);
            }
        }
        fires
    }

    /// Notes a group as looked at in this epoch, once.
    fn ask(&mut self, slot: u32, end: Option<i64>, asked: &mut Vec<u32>) {
        let head = &mut self.heads[slot as usize];
        let stale = head.shown == Shown::Free || end.is_some_and(|end| self.bounds[slot as usize] != end);
        if !stale && head.touched != self.stamp {
            head.touched = self.stamp;
            self.touched.hidden.push(slot);
            asked.push(slot);
        }
    }

    /// Slots of windows whose end or horizon the watermark passes in this epoch.
    fn passed(&self, panes: &Panes, times: &EpochTimes) -> Vec<(i64, u32)> {
        // Windows whose horizon had passed before are gone, so the first part is short.
        let lateness = panes.program.horizon(0);
        let horizon = match times.watermark {
            i64::MAX => Some(i64::MAX),
            watermark => watermark.checked_sub(lateness),
        };
        let of = |(end, slots): (&i64, &Vec<u32>)| slots.iter().map(|s| (*end, *s)).collect::<Vec<_>>();
        let mut passed: Vec<(i64, u32)> = Vec::new();
        if let Some(horizon) = horizon {
            passed.extend(self.by_end.range(..=horizon).flat_map(of));
        }
        let from = times.before.max(horizon.unwrap_or(i64::MIN));
        if from < times.watermark {
            let ends = (Bound::Excluded(from), Bound::Included(times.watermark));
            passed.extend(self.by_end.range(ends).flat_map(of));
        }
        passed.sort_unstable_by_key(|(_, slot)| *slot);
        passed
    }

    fn fire_discarding(
        &mut self,
        panes: &Panes,
        fires: &Fires,
        times: &EpochTimes,
        errors: &RowErrors,
    ) -> Result<Emission> {
        let mut failures = Failures::new();
        let mut values = self.values(&fires.slots, &mut failures)?;
        let mut shown: Vec<usize> = (0..fires.slots.len()).collect();
        if !failures.is_empty() {
            for (position, report) in failures {
                errors.add(&self.keys_of(&[fires.slots[position]])?, 0, 1, report)?;
                shown.retain(|i| *i != position);
            }
            let rows = UInt32Array::from_iter_values(shown.iter().map(|i| *i as u32));
            values = values.iter().map(|v| Ok(take(v, &rows, None)?)).collect::<Result<_>>()?;
        }
        let rows = |i: &usize| PaneRow::new(&fires.firings[*i], times);
        let emission = Emission {
            slots: shown.iter().map(|i| fires.slots[*i]).collect(),
            weights: None,
            values,
            panes: if panes.shown.is_some() { shown.iter().map(rows).collect() } else { Vec::new() },
        };
        self.accumulators.iter_mut().flatten().for_each(|a| a.clear(&fires.slots));
        fires.slots.iter().for_each(|s| self.heads[*s as usize].weight = 0);
        Ok(emission)
    }

    fn fire_accumulating(
        &mut self,
        panes: &mut Panes,
        fires: &Fires,
        times: &EpochTimes,
        errors: &RowErrors,
    ) -> Result<Emission> {
        let slots = &fires.slots;
        let weights = std::mem::take(&mut self.touched.old_weights);
        let no_values = vec![Vec::new(); self.calls.len()];
        let captured = std::mem::replace(&mut self.touched.old_values, no_values);
        let captured = self.old_values(weights, captured)?;
        for (position, slot) in self.touched.shown.iter().enumerate() {
            panes.slots[*slot as usize].captured = position as u32;
        }
        let mut failures = Failures::new();
        let new = self.values(slots, &mut failures)?;
        let mut failed = vec![false; slots.len()];
        failures.iter().for_each(|(position, _)| failed[*position] = true);
        let (replaced, old) = self.replaced_rows(panes, slots, &captured, &new)?;
        let same = match panes.shown {
            Some(_) => None,
            None => Some(self.same_rows(&replaced, &old, &new)?),
        };
        let keeps = |k: usize| {
            let i = replaced[k];
            same.as_ref().is_some_and(|s| s[k]) && !failed[i] && self.lives(slots[i])
        };
        let mut appears: Vec<bool> = (0..slots.len()).map(|i| !failed[i] && self.lives(slots[i])).collect();
        let mut picks: Vec<(usize, usize)> = Vec::with_capacity(slots.len() * 2);
        for (k, i) in replaced.iter().enumerate() {
            match keeps(k) {
                true => appears[*i] = false,
                false => picks.push((0, k)),
            }
        }
        let removed = picks.len();
        picks.extend((0..slots.len()).filter(|i| appears[*i]).map(|i| (1, i)));
        let fire_of = |(from, k): &(usize, usize)| if *from == 0 { replaced[*k] } else { *k };
        let row = |pick: &(usize, usize)| {
            let i = fire_of(pick);
            let firing = &fires.firings[i];
            if pick.0 == 0 { panes.replaced(slots[i], firing) } else { PaneRow::new(firing, times) }
        };
        let values = (old.iter().zip(&new))
            .map(|(old, new)| Ok(interleave(&[old.as_ref(), new.as_ref()], &picks)?))
            .collect::<Result<_>>()?;
        let emission = Emission {
            slots: picks.iter().map(|p| slots[fire_of(p)]).collect(),
            weights: (removed > 0)
                .then(|| (0..picks.len()).map(|k| if k < removed { -1 } else { 1 }).collect()),
            values,
            panes: if panes.shown.is_some() { picks.iter().map(row).collect() } else { Vec::new() },
        };
        self.report_failures(slots, slots, failures, errors)?;
        self.set_shown(panes, slots, &failed);
        self.hold_unfired(panes, &captured)?;
        Ok(emission)
    }

    /// The rows shown of groups that fire: positions in `slots`, and their columns.
    fn replaced_rows(
        &self,
        panes: &Panes,
        slots: &[u32],
        captured: &[ArrayRef],
        new: &[ArrayRef],
    ) -> Result<(Vec<usize>, Vec<ArrayRef>)> {
        let (mut replaced, mut picks, mut held) = (Vec::new(), Vec::new(), Vec::new());
        for (i, slot) in slots.iter().enumerate() {
            let state = &panes.slots[*slot as usize];
            match self.heads[*slot as usize].shown {
                Shown::Yes if state.captured != NOT_CAPTURED => picks.push((0, state.captured as usize)),
                Shown::Yes => picks.push((1, i)),
                Shown::Held => {
                    picks.push((2, held.len()));
                    held.push(state.held);
                }
                Shown::Free | Shown::No | Shown::Failed => continue,
            }
            replaced.push(i);
        }
        let held = panes.held.gather(&held, None)?;
        let columns = (0..self.calls.len()).map(|call| {
            let empty = new[call].slice(0, 0);
            let captured = captured.get(call).unwrap_or(&empty);
            let sources: [&dyn Array; 3] =
                [captured.as_ref(), new[call].as_ref(), held.column(call).as_ref()];
            Ok(interleave(&sources, &picks)?)
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        Ok((replaced, columns))
    }

    /// For each replaced row, whether the new one is equal.
    fn same_rows(&self, replaced: &[usize], old: &[ArrayRef], new: &[ArrayRef]) -> Result<Vec<bool>> {
        let rows = UInt32Array::from_iter_values(replaced.iter().map(|i| *i as u32));
        let new = new.iter().map(|v| Ok(take(v, &rows, None)?)).collect::<Result<Vec<_>>>()?;
        let same = unchanged(old, &new, replaced.len())?;
        Ok((0..replaced.len()).map(|k| same.as_ref().is_none_or(|s| s.value(k))).collect())
    }

    fn set_shown(&mut self, panes: &mut Panes, slots: &[u32], failed: &[bool]) {
        for (slot, failed) in slots.iter().zip(failed) {
            let lives = self.lives(*slot);
            let head = &mut self.heads[*slot as usize];
            let state = &mut panes.slots[*slot as usize];
            if head.shown == Shown::Held {
                panes.held.release(state.held);
            }
            state.captured = NOT_CAPTURED;
            head.shown = match (failed, lives) {
                (true, true) => Shown::Failed,
                (false, true) => Shown::Yes,
                (_, false) => Shown::No,
            };
        }
    }

    /// Sets aside what is shown of the groups that got rows and did not fire.
    fn hold_unfired(&mut self, panes: &mut Panes, captured: &[ArrayRef]) -> Result<()> {
        let unfired: Vec<(u32, u32)> = (self.touched.shown.iter())
            .map(|slot| (*slot, panes.slots[*slot as usize].captured))
            .filter(|(_, captured)| *captured != NOT_CAPTURED)
            .collect();
        if unfired.is_empty() {
            return Ok(());
        }
        let rows = UInt32Array::from_iter_values(unfired.iter().map(|(_, captured)| *captured));
        let columns = captured.iter().map(|c| Ok(take(c, &rows, None)?)).collect::<Result<Vec<_>>>()?;
        let first = panes.held.append(batch_of(panes.held.schema(), columns, unfired.len())?)?;
        for (id, (slot, _)) in (first..).zip(unfired) {
            let state = &mut panes.slots[slot as usize];
            state.captured = NOT_CAPTURED;
            state.held = id;
            self.heads[slot as usize].shown = Shown::Held;
        }
        Ok(())
    }

    /// Ends an epoch with panes. A group without rows goes at once only if nothing of it is
    /// shown or pending; one that belongs to a window goes with its window.
    pub fn end_pane_epoch(&mut self) {
        let mut empty = std::mem::take(&mut self.touched.hidden);
        empty.append(&mut self.touched.shown);
        let Some(panes) = self.panes.as_ref() else { return };
        let keeps = panes.windowed || panes.discarding || self.keep_empty;
        empty.retain(|s| {
            let head = &self.heads[*s as usize];
            let state = &panes.states[*s as usize];
            !keeps
                && head.weight == 0
                && matches!(head.shown, Shown::No)
                && !state.has_unfired()
                && !state.is_closed()
        });
        self.release(&empty);
        self.touched.old_weights.clear();
        self.touched.captured = 0;
        self.stamp = self.stamp.wrapping_add(1).max(1);
    }

    /// Frees what panes hold of released groups.
    pub(super) fn release_panes(&mut self, slots: &[u32]) {
        let Some(panes) = &mut self.panes else { return };
        for slot in slots {
            if self.heads[*slot as usize].shown == Shown::Held {
                panes.held.release(panes.slots[*slot as usize].held);
            }
        }
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
