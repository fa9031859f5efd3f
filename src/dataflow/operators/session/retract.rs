//! Rows of sessions that go again.
//!
//! The rows of an epoch are a set: a row that comes and goes in it never was. Those that come are
//! applied first, as if no row ever went ([`super`]). Then those that go leave the sessions that hold
//! them; a row that no open session holds is refused. What is left of a session is divided where it
//! does not touch any more. A part is a new window, unless its bounds are those of the session:
//! it begins with what the trigger of the session has counted, the rows that went counted as new ones,
//! and the first part that fires takes the session's pane back. A session of which nothing
//! is left fires once more if a pane of it is shown, and shows nothing; a session that comes to where
//! it was takes its place.

use std::collections::BTreeMap;

use arrow::array::{BooleanArray, UInt32Array};

use super::index::Proposed;
use super::{SessionAggregateOperator, timestamp_values};
use crate::dataflow::operators::late::{LateReason, Refusal};
use crate::dataflow::operators::session_rows::{At, Member};
use crate::dataflow::triggers::Merged;
use crate::error::Result;
use crate::state::RowId;
use crate::types::change_batch::consolidate;
use crate::types::hash::fingerprints;
use crate::types::{ChangeBatch, EventTime};

/// Rows on their way from one slot to another.
#[derive(Default)]
struct Moves {
    rows: Vec<RowId>,
    weights: Vec<i64>,
    from: Vec<u32>,
    to: Vec<u32>,
    /// New slots, and those that have their key.
    slots: Vec<(u32, u32)>,
}

/// Rows of a session that overlap or touch: how many, and their bounds.
struct Run {
    rows: usize,
    start: i64,
    end: i64,
}

impl SessionAggregateOperator {
    /// Adds the rows of the epoch that come and gives those that go.
    pub(super) fn add_waiting(&mut self, now: i64) -> Result<Option<ChangeBatch>> {
        let waiting = std::mem::take(&mut self.waiting);
        if self.members.is_none() {
            for batch in waiting {
                self.add(&batch, &vec![now; batch.len()])?;
            }
            return Ok(None);
        }
        if waiting.is_empty() {
            return Ok(None);
        }
        let all = consolidate(&self.spec.input_schema, &waiting)?;
        let of_sign = |comes: bool| -> BooleanArray {
            (0..all.len()).map(|row| Some((all.weights.get(row) > 0) == comes)).collect()
        };
        let came = all.filter(&of_sign(true))?;
        if !came.is_empty() {
            let times = self.times(&came, now)?;
            self.add(&came, &times)?;
        }
        let gone = all.filter(&of_sign(false))?;
        Ok((!gone.is_empty()).then_some(gone))
    }

    pub(super) fn times(&self, batch: &ChangeBatch, now: i64) -> Result<Vec<i64>> {
        match self.is_processing_time() {
            true => Ok(vec![now; batch.len()]),
            false => Ok(timestamp_values(batch, self.spec.time_column)?.values().to_vec()),
        }
    }

    /// Takes rows out of their sessions, which are `touched` then.
    pub(super) fn remove_rows(&mut self, gone: &ChangeBatch, now: i64, touched: &mut Vec<u32>) -> Result<()> {
        let times = self.times(gone, now)?;
        let keys: Vec<_> = self.spec.group_columns.iter().map(|c| gone.rows.column(*c).clone()).collect();
        let keys = fingerprints(&keys, gone.len());
        let prints = fingerprints(gone.rows.columns(), gone.len());
        let (mut rows, mut slots, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        let mut lost: BTreeMap<u32, u64> = BTreeMap::new();
        for row in 0..gone.len() {
            let weight = gone.weights.get(row);
            let (Some((slot, at)), Some(members)) =
                (self.find(keys[row], times[row], prints[row] as u64), &mut self.members)
            else {
                refused.push(Refusal {
                    row: row as u32,
                    window_start: Some(times[row]),
                    window_end: Some(times[row].saturating_add(self.spec.gap_us)),
                });
                continue;
            };
            members.weigh(at, weight);
            rows.push(row as u32);
            slots.push(slot);
            *lost.entry(slot).or_default() += weight.unsigned_abs();
        }
        let weight = |row: usize| gone.weights.get(row);
        let watermark = EventTime(self.watermark);
        self.spec.late.record(&gone.rows, &refused, weight, LateReason::WindowClosed, watermark)?;
        if !rows.is_empty() {
            self.sessions.cells.update(&gone.take(&UInt32Array::from(rows))?, &slots)?;
        }
        let mut moves = Moves::default();
        for (slot, lost) in lost {
            self.divide(slot, lost, touched, &mut moves);
        }
        self.move_rows(&moves)
    }

    /// The open session that holds a row, and where.
    fn find(&self, key: u128, time: i64, print: u64) -> Option<(u32, At)> {
        let members = self.members.as_ref()?;
        let mut slots = Vec::new();
        // In processing time the row has come when it came.
        let (time, from, to) = match self.is_processing_time() {
            true => (None, i64::MIN, i64::MAX),
            false => (Some(time), time, time),
        };
        self.sessions.index.touching(key, from, to, &mut slots);
        let open = slots.into_iter().filter(|s| !self.sessions.pane(*s).is_some_and(|p| p.is_closed()));
        open.filter_map(|slot| Some((slot, members.find(slot, time, print, &self.sessions.index)?))).next()
    }

    /// Divides what is left of a session, whose rows that went weighed `lost`.
    fn divide(&mut self, slot: u32, lost: u64, touched: &mut Vec<u32>, moves: &mut Moves) {
        let (Some(members), sessions) = (&mut self.members, &mut self.sessions) else { return };
        let left = members.drop_gone(slot, &sessions.index);
        sessions.new_rows.add(slot, lost);
        touched.push(slot);
        let runs = runs(&left, self.spec.gap_us);
        let print = sessions.index.print(slot);
        match runs.as_slice() {
            [] if self.shown.is_shown(slot) => {
                sessions.index.detach(slot);
                members.set_emptied(print, slot);
            }
            [] => {
                sessions.new_rows.take(slot);
                sessions.cells.clear(&[slot]);
                sessions.forget(slot, false);
            }
            [only] if (only.start, only.end) == sessions.index.bounds(slot) => {}
            _ => self.part(slot, (&left, &runs), touched, moves),
        }
    }

    /// Makes each run of the rows that are left a session of its own; the longest keeps the slot.
    fn part(
        &mut self,
        slot: u32,
        (left, runs): (&[Member], &[Run]),
        touched: &mut Vec<u32>,
        moves: &mut Moves,
    ) {
        let sessions = &mut self.sessions;
        let print = sessions.index.print(slot);
        let stays = (0..runs.len()).max_by_key(|i| runs[*i].rows).unwrap_or(0);
        sessions.index.shrink(slot, runs[stays].start, runs[stays].end);
        let before = sessions.panes.as_mut().and_then(|p| p[slot as usize].take());
        let new_rows = sessions.new_rows.get(slot);
        let mut left = left;
        let mut parts = Vec::with_capacity(runs.len());
        for (i, run) in runs.iter().enumerate() {
            let (rows, others) = left.split_at(run.rows);
            left = others;
            let mut part = slot;
            if i != stays {
                let mut none = Vec::new();
                let (Proposed::New(new) | Proposed::Into(new)) =
                    sessions.index.propose(print, run.start, run.end, &mut none);
                debug_assert!(none.is_empty() && new != slot, "parts do not touch");
                sessions.grow();
                self.shown.grow(sessions.index.slots());
                sessions.cells.resize(sessions.index.slots());
                moves.slots.push((new, slot));
                moves.rows.extend(rows.iter().map(|m| m.id));
                moves.weights.extend(rows.iter().map(|m| m.weight));
                moves.from.resize(moves.rows.len(), slot);
                moves.to.resize(moves.rows.len(), new);
                part = new;
            }
            if let (Some(panes), Some(state)) = (&mut sessions.panes, &before) {
                let of = [Merged { state, same_bounds: false }];
                panes[part as usize] = Some(self.program.merge(&of, run.end, self.watermark));
            }
            sessions.new_rows.set(part, new_rows);
            sessions.queue_end(part, run.end);
            parts.push(part);
        }
        self.shown.divide(slot, &parts);
        touched.extend(parts);
    }

    /// Gives rows to the cells of the sessions that they have gone to.
    fn move_rows(&mut self, moves: &Moves) -> Result<()> {
        let (Some(members), sessions) = (&self.members, &mut self.sessions) else { return Ok(()) };
        if moves.slots.is_empty() {
            return Ok(());
        }
        let like: Vec<RowId> = moves.slots.iter().map(|(_, like)| sessions.key_ids[*like as usize]).collect();
        let keys = sessions.keys.gather(&like, None)?;
        let first = sessions.keys.append(keys)?;
        moves.slots.iter().zip(first..).for_each(|((new, _), id)| sessions.key_ids[*new as usize] = id);
        let rows = members.rows_of(&moves.rows)?;
        let taken = moves.weights.iter().map(|w| -w).collect();
        sessions.cells.update(&ChangeBatch::new(rows.clone(), taken), &moves.from)?;
        sessions.cells.update(&ChangeBatch::new(rows, moves.weights.clone()), &moves.to)
    }

    /// The rows of the past, which ends with this epoch, are what is left of them.
    pub(super) fn count_filled(&mut self, touched: &[u32]) {
        if self.members.is_none() || !std::mem::take(&mut self.filling) {
            return;
        }
        for slot in touched.iter().filter(|slot| self.sessions.index.is_live(**slot)) {
            self.sessions.new_rows.set(*slot, self.sessions.cells.weight(*slot).unsigned_abs());
        }
    }
}

/// The runs of rows that are in order of time.
fn runs(members: &[Member], gap_us: i64) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for member in members {
        let time = member.at.time;
        let end = time.saturating_add(gap_us);
        match runs.last_mut().filter(|run| time <= run.end) {
            Some(run) => (run.rows, run.end) = (run.rows + 1, end),
            None => runs.push(Run { rows: 1, start: time, end }),
        }
    }
    runs
}
