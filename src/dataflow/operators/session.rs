//! GROUP BY over sessions.
//!
//! Rows in, one row a session and firing out: keys, `window_start`, `window_end`, calls.
//! Kept are bounds and accumulators of open sessions, and their rows only if rows may go again
//! ([`retract`]). The rows of an epoch first
//! make runs ([`delta`]); at the end of the epoch each run joins the sessions it touches, or is
//! refused when it touches none and its own end plus the allowed lateness had passed. Then the
//! watermark takes effect, the trigger machine decides about each session that changed or
//! is due, and the pane that fires replaces the live panes of all sessions it has swallowed
//! ([`panes`]). Ends and timers wait in ordered queues; nothing scans all sessions.

mod cells;
mod delta;
mod index;
mod members;
mod panes;
mod retract;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use hashbrown::{HashMap, HashSet};

use self::cells::Cells;
use self::delta::{Delta, Rows};
use self::index::{Proposed, SessionIndex};
use self::members::Members;
use self::panes::{Fired, Panes};
use super::aggregate::WindowTime;
use super::errors::RowErrors;
use super::late::{LateReason, LateRows, Refusal};
use super::time_queue::TimeQueue;
use super::window_assign::{drop_timeless, timestamp_values};
use crate::dataflow::operator::{EpochContext, Operator, StateSize};
use crate::dataflow::triggers::{EpochTimes, Merged, NEVER, PaneState, Program};
use crate::error::Result;
use crate::plan::AggregateCall;
use crate::state::{Grow, RowId, RowStore};
use crate::types::hash::fingerprints;
use crate::types::trigger::{EmitPolicy, EmitSpec};
use crate::types::{ChangeBatch, EventTime, ProcTime};

/// What a [`SessionAggregateOperator`] computes.
pub struct SessionAggregateSpec {
    pub input_schema: SchemaRef,
    /// Otherwise rows are kept while their session is open.
    pub input_append_only: bool,
    /// The keys of the sessions.
    pub group_columns: Vec<usize>,
    pub calls: Vec<AggregateCall>,
    /// Keys, `window_start`, `window_end`, one column a call, pane columns if asked for.
    pub output_schema: SchemaRef,
    /// A timestamp column of the input; unused in processing time.
    pub time_column: usize,
    pub time: WindowTime,
    pub gap_us: i64,
    pub emit: EmitSpec,
    /// Takes rows whose session was closed and rows without event time.
    pub late: Arc<LateRows>,
    /// Takes the keys of sessions whose value has no representation (22003).
    pub errors: Arc<RowErrors>,
}

/// The open sessions of one worker, by slot.
struct Sessions {
    index: SessionIndex,
    cells: Cells,
    keys: RowStore,
    key_ids: Vec<RowId>,
    /// Rows of this epoch.
    new_rows: NewRows,
    /// Trigger state; not kept for clauses that need none.
    panes: Option<Vec<Option<PaneState>>>,
    /// Slots by the watermark at which they are due; what is due may be another session by now,
    /// or have grown. Every session is queued at its end or before, until that has passed, and
    /// then at its horizon.
    queue: TimeQueue<u32>,
    /// What comes into the queue with the epoch.
    queued: Vec<(i64, u32)>,
    /// Slots by the clock at which a trigger is due; may name slots that are free.
    timers: BTreeMap<i64, Vec<u32>>,
}

/// Rows of an epoch by slot, as weights without sign.
#[derive(Default)]
struct NewRows(HashMap<u32, u64>);

impl NewRows {
    fn get(&self, slot: u32) -> u64 {
        self.0.get(&slot).copied().unwrap_or(0)
    }

    fn set(&mut self, slot: u32, rows: u64) {
        self.0.insert(slot, rows);
    }

    fn add(&mut self, slot: u32, rows: u64) {
        *self.0.entry(slot).or_default() += rows;
    }

    fn take(&mut self, slot: u32) -> u64 {
        self.0.remove(&slot).unwrap_or(0)
    }

    /// The rows of `part` are rows of `slot`.
    fn take_over(&mut self, part: u32, slot: u32) {
        if let Some(rows) = self.0.remove(&part) {
            self.add(slot, rows);
        }
    }
}

/// Incremental session aggregate of one worker.
pub struct SessionAggregateOperator {
    spec: SessionAggregateSpec,
    program: Program,
    delta: Delta,
    sessions: Sessions,
    shown: Panes,
    /// Rows of open sessions, if rows may go again.
    members: Option<Box<Members>>,
    /// Rows in processing time, until `now` is known, and rows that may go in their epoch.
    waiting: Vec<ChangeBatch>,
    /// Sessions that were touched while the view was filled.
    filled: Vec<u32>,
    filling: bool,
    /// W(E−1), or the last `now`.
    watermark: i64,
}

/// What the runs of an epoch do to the sessions.
#[derive(Default)]
struct Changes {
    /// Sessions that got rows; some may be part of others since.
    touched: Vec<u32>,
    refused: HashSet<u32>,
    /// Swallowed sessions and the runs they go to.
    moves: Vec<(u32, u32)>,
    /// Runs and the sessions they go to.
    pairs: Vec<(u32, u32)>,
    created: Vec<(u32, u32)>,
    /// Where swallowed sessions have gone.
    redirect: HashMap<u32, u32>,
    /// Scratch space for one run.
    parts: Vec<u32>,
    bounds: Vec<(i64, i64)>,
    swallowed: Vec<u32>,
}

impl SessionAggregateOperator {
    pub fn new(spec: SessionAggregateSpec) -> Result<SessionAggregateOperator> {
        let program = Program::new(&spec.emit)?;
        let cells = || Cells::new(&spec.calls, &spec.input_schema, spec.input_append_only);
        let key_schema = Arc::new(spec.input_schema.project(&spec.group_columns)?);
        let delta = Delta::new(cells()?, cells()?, spec.gap_us, spec.group_columns.clone());
        let sessions = Sessions {
            index: SessionIndex::default(),
            cells: cells()?,
            keys: RowStore::new(key_schema),
            key_ids: Vec::new(),
            new_rows: NewRows::default(),
            panes: spec.emit.needs_panes().then(Vec::new),
            queue: TimeQueue::default(),
            queued: Vec::new(),
            timers: BTreeMap::new(),
        };
        let shown = Panes::new(&spec);
        let watermark = EventTime::MIN.0;
        let rows = || Box::new(Members::new(RowStore::new(Arc::clone(&spec.input_schema))));
        let members = (!spec.input_append_only).then(rows);
        let (waiting, filled, filling) = Default::default();
        Ok(SessionAggregateOperator {
            spec,
            program,
            delta,
            sessions,
            shown,
            members,
            waiting,
            filled,
            filling,
            watermark,
        })
    }

    fn is_processing_time(&self) -> bool {
        matches!(self.spec.time, WindowTime::Processing)
    }

    fn add(&mut self, batch: &ChangeBatch, times: &[i64]) -> Result<()> {
        let keys: Vec<ArrayRef> =
            self.spec.group_columns.iter().map(|c| batch.rows.column(*c).clone()).collect();
        let prints = fingerprints(&keys, batch.len());
        // A free trigger may have closed any session.
        let suspect_end = match self.spec.emit.policy {
            EmitPolicy::When(_) => i64::MAX,
            // Rows that may go are kept in any case.
            _ if self.members.is_some() => i64::MAX,
            _ => self.watermark.saturating_sub(self.spec.emit.lateness_us),
        };
        self.delta.add(&Rows { batch, prints: &prints, times, suspect_end })
    }

    /// Joins the runs of the epoch with the sessions they touch.
    fn merge_runs(&mut self, now: i64) -> Result<Vec<u32>> {
        let touched = std::mem::take(&mut self.filled);
        if self.delta.is_empty() {
            return Ok(touched);
        }
        let mut changes = Changes { touched, ..Changes::default() };
        for run in self.delta.runs() {
            self.merge_run(run, &mut changes);
        }
        let Changes { touched, refused, moves, mut pairs, created, redirect, .. } = changes;
        let sessions = &mut self.sessions;
        self.delta.take_in(&sessions.cells, &moves);
        let gone: Vec<u32> = moves.iter().map(|m| m.0).collect();
        sessions.cells.clear(&gone);
        sessions.cells.resize(sessions.index.slots());
        let last = |mut slot: u32| {
            while let Some(next) = redirect.get(&slot) {
                slot = *next;
            }
            slot
        };
        pairs.iter_mut().for_each(|(_, slot)| *slot = last(*slot));
        sessions.cells.merge(self.delta.cells(), &pairs);
        if !created.is_empty() {
            let runs: Vec<u32> = created.iter().map(|c| c.1).collect();
            let first = sessions.keys.append(self.delta.keys_of(&runs, sessions.keys.schema())?)?;
            created.iter().zip(first..).for_each(|((slot, _), id)| sessions.key_ids[*slot as usize] = id);
        }
        self.keep_rows(&pairs, now)?;
        for slot in gone {
            self.sessions.keys.release(self.sessions.key_ids[slot as usize]);
            self.sessions.index.release(slot);
        }
        self.refuse(&refused)?;
        self.delta.clear()?;
        Ok(touched)
    }

    /// Keeps the rows of the runs; `pairs` are these and their sessions.
    fn keep_rows(&mut self, pairs: &[(u32, u32)], now: i64) -> Result<()> {
        let Some(mut members) = self.members.take() else { return Ok(()) };
        let index = &self.sessions.index;
        let key_of: HashMap<u32, u128> = pairs.iter().map(|(run, slot)| (*run, index.print(*slot))).collect();
        for (batch, runs) in self.delta.suspects() {
            let keys: Vec<Option<u128>> = runs.iter().map(|run| key_of.get(run).copied()).collect();
            members.add(batch, &self.times(batch, now)?, &keys)?;
        }
        self.members = Some(members);
        Ok(())
    }

    fn merge_run(&mut self, run: u32, changes: &mut Changes) {
        let (print, start, end) = self.delta.run(run);
        let sessions = &mut self.sessions;
        let Changes { parts, bounds, swallowed, .. } = changes;
        sessions.index.touching(print, start, end, parts);
        if sessions.refuses(parts, end, &self.program, self.watermark) {
            changes.refused.insert(run);
            return;
        }
        bounds.clear();
        bounds.extend(parts.iter().map(|p| sessions.index.bounds(*p)));
        let slot = match sessions.index.propose(print, start, end, swallowed) {
            Proposed::Into(slot) => slot,
            Proposed::New(slot) => {
                sessions.grow();
                self.shown.grow(sessions.index.slots());
                changes.created.push((slot, run));
                slot
            }
        };
        let merged = sessions.index.bounds(slot);
        // One whose end has passed is not queued by it any more.
        let is_queued = bounds.first().is_some_and(|(_, end)| *end == merged.1 || *end > self.watermark);
        let members = self.members.as_mut();
        let emptied = members.map_or(Vec::new(), |m| m.take_emptied(print, merged, &sessions.index));
        parts.extend(&emptied);
        bounds.extend(emptied.iter().map(|part| sessions.index.bounds(*part)));
        sessions.merge_panes(slot, parts, bounds, merged, &self.program, self.watermark);
        if !is_queued {
            sessions.queue_end(slot, merged.1);
        }
        changes.touched.push(slot);
        sessions.new_rows.add(slot, self.delta.cells().weight(run).unsigned_abs());
        for part in swallowed.drain(..) {
            sessions.index.retire(part);
            self.shown.take_over(part, slot);
            sessions.new_rows.take_over(part, slot);
            changes.moves.push((part, run));
            changes.redirect.insert(part, slot);
        }
        for part in emptied {
            self.shown.take_over(part, slot);
            sessions.new_rows.take_over(part, slot);
            sessions.cells.clear(&[part]);
            sessions.forget(part, true);
        }
        changes.pairs.push((run, slot));
    }

    /// Records the rows of refused runs.
    fn refuse(&self, refused: &HashSet<u32>) -> Result<()> {
        if refused.is_empty() {
            return Ok(());
        }
        for (batch, runs) in self.delta.suspects() {
            let rows = runs.iter().enumerate().filter(|(_, run)| refused.contains(*run));
            let refusals: Vec<Refusal> = rows
                .map(|(row, run)| {
                    let (_, start, end) = self.delta.run(*run);
                    Refusal { row: row as u32, window_start: Some(start), window_end: Some(end) }
                })
                .collect();
            let weight = |row: usize| batch.weights.get(row);
            let watermark = EventTime(self.watermark);
            self.spec.late.record(&batch.rows, &refusals, weight, LateReason::WindowClosed, watermark)?;
        }
        Ok(())
    }

    /// The watermark, or clock, that the epoch brings.
    fn reached(&self, cx: &EpochContext) -> i64 {
        let reached = match &self.spec.time {
            WindowTime::Event { clock } if clock.inputs.is_empty() => EventTime::MIN.0,
            WindowTime::Event { clock } => cx.watermark(clock).0,
            WindowTime::Processing => cx.now.0,
        };
        self.watermark.max(reached)
    }

    /// Decides about the sessions that changed or are due, emits their panes and forgets those
    /// that are over.
    fn fire(&mut self, touched: &[u32], times: &EpochTimes, out: &mut Vec<ChangeBatch>) -> Result<()> {
        let mut due = self.sessions.take_due(&self.program, times);
        let swallowed = |slot: &&u32| self.sessions.new_rows.get(**slot) == 0;
        due.extend(touched.iter().filter(|slot| !swallowed(slot)));
        due.sort_unstable();
        due.dedup();
        let (mut fired, mut gone) = (Vec::new(), Vec::new());
        for slot in due {
            let rows = self.sessions.new_rows.take(slot);
            let (firing, over) = self.sessions.advance(slot, rows, &self.program, &self.spec.emit, times);
            // What has no rows is over when its pane is taken back.
            let emptied = self.members.as_ref().is_some_and(|m| m.is_emptied(slot, &self.sessions.index));
            if over || (emptied && firing.is_some()) {
                gone.push(slot);
            }
            fired.extend(firing.map(|f| (slot, f, over)));
        }
        self.shown.emit(&self.spec, &self.sessions, &fired, times, out)?;
        if self.shown.discards() {
            let slots: Vec<u32> = fired.iter().map(|f| f.0).collect();
            self.sessions.cells.clear(&slots);
        }
        self.sessions.cells.clear(&gone);
        for slot in gone {
            self.shown.forget(slot);
            let emptied = self.members.as_mut().is_some_and(|m| m.forget(slot, &self.sessions.index));
            self.sessions.forget(slot, emptied);
        }
        self.sessions.compact()?;
        if let Some(members) = &mut self.members {
            members.compact()?;
        }
        self.shown.compact(&self.sessions.index)
    }
}

impl Sessions {
    /// Makes the columns by slot as long as the index.
    fn grow(&mut self) {
        let slots = self.index.slots();
        if slots > self.key_ids.len() {
            self.key_ids.grow(slots, 0);
            if let Some(panes) = &mut self.panes {
                panes.grow(slots, None);
            }
        }
    }

    /// Whether a run that ends at `end` and touches `parts` is too late.
    fn refuses(&self, parts: &[u32], end: i64, program: &Program, watermark: i64) -> bool {
        if parts.is_empty() {
            return program.refuses(end, watermark);
        }
        let closed = |slot: &u32| self.pane(*slot).is_some_and(|p| p.is_closed());
        parts.iter().all(closed)
    }

    fn pane(&self, slot: u32) -> Option<&PaneState> {
        self.panes.as_ref()?.get(slot as usize)?.as_ref()
    }

    /// The trigger state of a session that `parts` have become, of which `slot` is the first.
    fn merge_panes(
        &mut self,
        slot: u32,
        parts: &[u32],
        bounds: &[(i64, i64)],
        merged: (i64, i64),
        program: &Program,
        watermark: i64,
    ) {
        let Some(panes) = &self.panes else { return };
        let state = match bounds {
            [] => program.state(merged.1, watermark),
            [only] if *only == merged && parts[0] == slot => return,
            // It has only grown.
            [only] => {
                let Some(state) = panes[parts[0] as usize].as_ref() else { return };
                program.merge(&[Merged { state, same_bounds: *only == merged }], merged.1, watermark)
            }
            _ => {
                let parts: Vec<Merged<'_>> = (parts.iter().zip(bounds))
                    .filter_map(|(part, bounds)| {
                        let state = panes[*part as usize].as_ref()?;
                        Some(Merged { state, same_bounds: *bounds == merged })
                    })
                    .collect();
                program.merge(&parts, merged.1, watermark)
            }
        };
        if let Some(panes) = &mut self.panes {
            parts.iter().for_each(|part| panes[*part as usize] = None);
            panes[slot as usize] = Some(state);
        }
    }

    /// Queues a session by its end.
    fn queue_end(&mut self, slot: u32, end: i64) {
        self.queued.push((end, slot));
    }

    /// The sessions whose end or horizon the watermark has reached, and those whose timers
    /// are due.
    fn take_due(&mut self, program: &Program, times: &EpochTimes) -> Vec<u32> {
        let (mut due, mut later) = (Vec::new(), Vec::new());
        self.queue.add(std::mem::take(&mut self.queued));
        for (_, slot) in self.queue.take_until(times.watermark) {
            if !self.index.is_live(slot) {
                continue;
            }
            let end = self.index.bounds(slot).1;
            let horizon = program.horizon(end);
            if end > times.watermark {
                later.push((end, slot));
                continue;
            }
            due.push(slot);
            if horizon > times.watermark {
                later.push((horizon, slot));
            }
        }
        later.sort_unstable();
        later.dedup();
        self.queue.add(later);
        while let Some(first) = self.timers.first_entry() {
            if *first.key() > times.now {
                break;
            }
            due.extend(first.remove().into_iter().filter(|s| self.index.is_live(*s)));
        }
        due
    }

    /// One epoch of a session: its firing, and whether it is over.
    fn advance(
        &mut self,
        slot: u32,
        rows: u64,
        program: &Program,
        emit: &EmitSpec,
        times: &EpochTimes,
    ) -> (Option<Fired>, bool) {
        let end = self.index.bounds(slot).1;
        let pane = self.panes.as_mut().and_then(|p| p.get_mut(slot as usize)?.as_mut());
        let Some(pane) = pane else {
            let gone = times.watermark >= program.horizon(end);
            let fires = if emit.policy == EmitPolicy::Final { gone } else { rows > 0 };
            return (fires.then_some(None), gone);
        };
        let step = program.advance(pane, end, rows, times);
        if step.timer != NEVER {
            self.timers.entry(step.timer).or_default().push(slot);
        }
        (step.firing.map(Some), step.gone)
    }

    /// A session is over; an emptied one was taken out of its key before.
    fn forget(&mut self, slot: u32, emptied: bool) {
        self.keys.release(self.key_ids[slot as usize]);
        if let Some(panes) = &mut self.panes {
            panes[slot as usize] = None;
        }
        match emptied {
            true => self.index.release(slot),
            false => self.index.remove(slot),
        }
    }

    /// Gives back what most is empty of, and rewrites key rows when most of those held are dead.
    fn compact(&mut self) -> Result<()> {
        self.index.trim();
        if self.new_rows.0.is_empty() {
            self.new_rows = NewRows::default();
        }
        if let Some(moved) = self.keys.compact_if_worth()? {
            self.index.live_slots().for_each(|slot| moved.follow(&mut self.key_ids[slot as usize]));
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        let panes = self.panes.as_ref().map_or(0, |p| p.capacity() * size_of::<Option<PaneState>>());
        let timers = self.timers.len() * 48;
        self.index.bytes()
            + self.cells.bytes()
            + self.keys.bytes()
            + self.key_ids.capacity() * size_of::<RowId>()
            + self.queue.bytes()
            + self.queued.capacity() * size_of::<(i64, u32)>()
            + self.new_rows.0.allocation_size()
            + panes
            + timers
    }
}

impl Operator for SessionAggregateOperator {
    fn name(&self) -> &str {
        "session aggregate"
    }

    fn push(&mut self, _input: usize, batch: ChangeBatch, _out: &mut Vec<ChangeBatch>) -> Result<()> {
        if self.is_processing_time() {
            self.waiting.push(batch);
            return Ok(());
        }
        let batch = drop_timeless(batch, self.spec.time_column, &self.spec.late)?;
        if batch.is_empty() {
            return Ok(());
        }
        if self.members.is_some() {
            self.waiting.push(batch);
            return Ok(());
        }
        let times = timestamp_values(&batch, self.spec.time_column)?.values().clone();
        self.add(&batch, &times)
    }

    fn finish_epoch(&mut self, cx: &EpochContext, out: &mut Vec<ChangeBatch>) -> Result<()> {
        let gone = self.add_waiting(cx.now.0)?;
        let mut touched = self.merge_runs(cx.now.0)?;
        if let Some(gone) = gone {
            self.remove_rows(&gone, cx.now.0, &mut touched)?;
        }
        if cx.is_filling() && self.sessions.panes.is_some() {
            (self.filled, self.filling) = (touched, true);
            return Ok(());
        }
        self.count_filled(&touched);
        let times = EpochTimes { before: self.watermark, watermark: self.reached(cx), now: cx.now.0 };
        self.watermark = times.watermark;
        self.fire(&touched, &times, out)
    }

    fn next_timer(&self) -> Option<ProcTime> {
        let timer = self.sessions.timers.first_key_value().map(|(at, _)| *at);
        let queued = self.sessions.queued.iter().map(|(at, _)| *at).min();
        let first = self.sessions.queue.first().into_iter().chain(queued).min();
        let end = first.filter(|_| self.is_processing_time());
        timer.into_iter().chain(end).min().map(ProcTime)
    }

    fn state_size(&self) -> StateSize {
        let bytes = self.sessions.bytes() + self.shown.bytes() + self.delta.bytes();
        match &self.members {
            Some(members) => StateSize { entries: members.len(), bytes: bytes + members.bytes() },
            None => StateSize { entries: self.sessions.index.len(), bytes },
        }
    }
}

#[cfg(test)]
mod tests;
