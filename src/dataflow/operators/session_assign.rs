//! SESSION without aggregation: rows with the bounds of their session.
//!
//! A row at t proposes `[t, t + gap)`; windows of a key that overlap or touch are one session.
//! Rows of open sessions are kept, in order of key and time; a session is a run of them and stands
//! nowhere else. At the end of an epoch its rows, as a set, are put into
//! the sessions they touch, those sessions' rows are divided anew (a deleted row can split a
//! session), and every row whose bounds changed is emitted with −1 and +1. A session whose
//! rows all came too late, by its own end after merging, is refused; a session is forgotten
//! when the watermark passes its end plus the allowed lateness, and its rows stay emitted.
//! Invariants: a member's weight is positive; the end of every session is queued.

mod members;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, SchemaRef};

use self::members::Members;
use super::aggregate::WindowTime;
use super::expressions::batch_of;
use super::late::{LateReason, LateRows, Refusal};
use super::session_rows::{At, Key};
use super::window_assign::{bound_type, drop_timeless, timestamp_values, window_columns};
use crate::dataflow::operator::{EpochContext, Operator, StateSize};
use crate::error::Result;
use crate::state::{RowId, RowStore};
use crate::types::change_batch::{consolidate, take_rows};
use crate::types::hash::fingerprints;
use crate::types::{ChangeBatch, EventTime, ProcTime};

pub struct SessionAssignSpec {
    pub input_schema: SchemaRef,
    /// A timestamp column of the input; unused in processing time.
    pub time_column: usize,
    pub time: WindowTime,
    pub gap_us: i64,
    pub keys: Vec<usize>,
    pub lateness_us: i64,
    /// The input's columns, then `window_start`, `window_end`, `window_time`.
    pub output_schema: SchemaRef,
    /// Takes rows whose session was closed and rows without event time.
    pub late: Arc<LateRows>,
}

/// A row of a touched session, before and after.
struct Moved {
    time: i64,
    print: u64,
    /// Where the row is; rows of this epoch are not stored before they are accepted.
    place: Place,
    old: Option<(i64, i64, i64)>,
    weight: i64,
}

#[derive(Clone, Copy)]
enum Place {
    Stored(RowId),
    /// Row of the epoch's batch.
    Fresh(u32),
}

/// What an epoch emits: rows by place, their bounds and weights; and what it keeps.
#[derive(Default)]
struct Output {
    stored: Vec<(RowId, (i64, i64), i64)>,
    fresh: Vec<(u32, (i64, i64), i64)>,
    refused: Vec<Refusal>,
    released: Vec<(At, RowId)>,
    /// Stored rows and their weights.
    weighed: Vec<(At, i64)>,
    /// Rows of the batch to be stored, with their weights.
    accepted: Vec<(u32, At, i64)>,
    /// Ends that are new.
    ends: Vec<(i64, Key)>,
    /// Equal rows of the epoch are counted one by one.
    append_only: bool,
}

/// Adds sessions to rows.
pub struct SessionAssignOperator {
    spec: SessionAssignSpec,
    bound_type: DataType,
    rows: RowStore,
    members: Members,
    waiting: Vec<ChangeBatch>,
    /// W(E−1), or the last `now`.
    watermark: i64,
}

impl SessionAssignOperator {
    pub fn new(spec: SessionAssignSpec) -> Result<SessionAssignOperator> {
        let bound_type = bound_type(&spec.output_schema)?;
        let rows = RowStore::new(Arc::clone(&spec.input_schema));
        let members = Members::new(spec.gap_us);
        Ok(SessionAssignOperator {
            spec,
            bound_type,
            rows,
            members,
            waiting: Vec::new(),
            watermark: EventTime::MIN.0,
        })
    }

    fn is_processing_time(&self) -> bool {
        matches!(self.spec.time, WindowTime::Processing)
    }

    /// Applies the rows of the epoch.
    fn apply(&mut self, now: i64, out: &mut Vec<ChangeBatch>) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        if waiting.is_empty() {
            return Ok(());
        }
        let batch = consolidate(&self.spec.input_schema, &waiting)?;
        let (keys, prints) = self.prints(&batch);
        let times: Vec<i64> = match self.is_processing_time() {
            true => vec![now; batch.len()],
            false => timestamp_values(&batch, self.spec.time_column)?.values().to_vec(),
        };
        let mut by_key: BTreeMap<u128, Vec<u32>> = BTreeMap::new();
        for (row, key) in keys.iter().enumerate() {
            by_key.entry(*key).or_default().push(row as u32);
        }
        let append_only = batch.weights.as_slice().is_none();
        let mut output = Output { append_only, ..Output::default() };
        for (print, rows) in by_key {
            let key = Key::of(print);
            let changes = rows.iter().map(|row| Moved {
                time: times[*row as usize],
                print: prints[*row as usize] as u64,
                place: Place::Fresh(*row),
                old: None,
                weight: batch.weights.get(*row as usize),
            });
            let (moved, before) = self.touch(key, changes.collect());
            let after = self.divide(key, moved, &mut output);
            self.members.replace_ends(key, &before, &after, &mut output.ends);
        }
        self.settle(&batch, output, out)
    }

    /// Fingerprints of keys and of whole rows.
    fn prints(&self, batch: &ChangeBatch) -> (Vec<u128>, Vec<u128>) {
        let keys: Vec<ArrayRef> = self.spec.keys.iter().map(|c| batch.rows.column(*c).clone()).collect();
        (fingerprints(&keys, batch.len()), fingerprints(batch.rows.columns(), batch.len()))
    }

    /// Joins the rows of the sessions that `changes` touch with the changes, in order of time and
    /// fingerprint, each row once. With the ends of those sessions.
    fn touch(&self, key: Key, mut changes: Vec<Moved>) -> (Vec<Moved>, Vec<i64>) {
        if self.is_processing_time() {
            // A deleted row is found by its content: its time is when it came.
            for change in changes.iter_mut().filter(|c| c.weight < 0) {
                change.time = self.members.time_of(key, change.print).unwrap_or(change.time);
            }
        }
        let gap = self.spec.gap_us;
        let mut times: Vec<i64> = changes.iter().map(|c| c.time).collect();
        times.sort_unstable();
        let (mut ends, mut rows, mut from) = (Vec::new(), Vec::new(), Some(i64::MIN));
        for time in times {
            while let Some(next) = from
                && let low = next.max(time.saturating_sub(gap))
                && let Some(session) = self.members.session(key, low, time.saturating_add(gap), &mut rows)
            {
                changes.extend(rows.drain(..).map(|m| Moved {
                    time: m.at.time,
                    print: m.at.print,
                    place: Place::Stored(m.id),
                    old: Some((session.start, session.end, m.weight)),
                    weight: m.weight,
                }));
                ends.push(session.end);
                from = session.last.checked_add(1);
            }
        }
        (merged(changes), ends)
    }

    /// Divides the rows of touched sessions into sessions, and notes what that changes. Gives the
    /// ends of those that stay open.
    fn divide(&self, key: Key, moved: Vec<Moved>, output: &mut Output) -> Vec<i64> {
        let mut ends = Vec::new();
        let mut run: Vec<Moved> = Vec::new();
        let mut end = i64::MIN;
        for row in moved {
            if row.weight <= 0 {
                match (row.old, row.place) {
                    (Some((old_start, old_end, weight)), Place::Stored(id)) => {
                        output.stored.push((id, (old_start, old_end), -weight));
                        output.released.push((row.at(key), id));
                    }
                    // A deletion of a row that no open session holds.
                    (_, Place::Fresh(row_index)) if row.weight < 0 => output.refused.push(Refusal {
                        row: row_index,
                        window_start: Some(row.time),
                        window_end: Some(row.time.saturating_add(self.spec.gap_us)),
                    }),
                    _ => {}
                }
                continue;
            }
            if row.time > end {
                ends.extend(self.close_run(key, &run, end, output));
                run.clear();
            }
            end = row.time.saturating_add(self.spec.gap_us);
            run.push(row);
        }
        ends.extend(self.close_run(key, &run, end, output));
        ends
    }

    /// The end of a session, unless it is refused or has no rows.
    fn close_run(&self, key: Key, run: &[Moved], end: i64, output: &mut Output) -> Option<i64> {
        let start = run.first()?.time;
        let known = run.iter().any(|r| r.old.is_some());
        if !known && end.saturating_add(self.spec.lateness_us) <= self.watermark {
            for row in run {
                let Place::Fresh(index) = row.place else { continue };
                let refusal = Refusal { row: index, window_start: Some(start), window_end: Some(end) };
                let times = if output.append_only { row.weight as usize } else { 1 };
                output.refused.extend(std::iter::repeat_n(refusal, times));
            }
            return None;
        }
        for row in run {
            let (id, (old_start, old_end, weight)) = match (row.place, row.old) {
                (Place::Stored(id), Some(old)) => (id, old),
                (Place::Fresh(i), _) => {
                    output.fresh.push((i, (start, end), row.weight));
                    output.accepted.push((i, row.at(key), row.weight));
                    continue;
                }
                _ => continue,
            };
            if (old_start, old_end) != (start, end) {
                output.stored.push((id, (old_start, old_end), -weight));
                output.stored.push((id, (start, end), row.weight));
            } else if weight != row.weight {
                output.stored.push((id, (start, end), row.weight - weight));
            }
            if weight != row.weight {
                output.weighed.push((row.at(key), row.weight));
            }
        }
        Some(end)
    }

    /// Emits, and stores what the sessions are now.
    fn settle(&mut self, batch: &ChangeBatch, output: Output, out: &mut Vec<ChangeBatch>) -> Result<()> {
        let ids: Vec<RowId> = output.stored.iter().map(|s| s.0).collect();
        if !ids.is_empty() {
            let rows = self.rows.gather(&ids, None)?;
            self.emit(rows, output.stored.iter().map(|s| (s.1, s.2)), out)?;
        }
        if !output.fresh.is_empty() {
            let picked = UInt32Array::from_iter_values(output.fresh.iter().map(|f| f.0));
            let rows = take_rows(&batch.rows, &picked)?;
            self.emit(rows, output.fresh.iter().map(|f| (f.1, f.2)), out)?;
        }
        let weight = |row: usize| batch.weights.get(row);
        let watermark = EventTime(self.watermark);
        self.spec.late.record(&batch.rows, &output.refused, weight, LateReason::WindowClosed, watermark)?;
        for (at, id) in output.released {
            self.members.rows.remove(at);
            self.rows.release(id);
        }
        output.weighed.into_iter().for_each(|(at, weight)| self.members.rows.weigh(at, weight));
        if !output.accepted.is_empty() {
            let picked = UInt32Array::from_iter_values(output.accepted.iter().map(|a| a.0));
            let ids = self.rows.append(take_rows(&batch.rows, &picked)?)?..;
            ids.zip(output.accepted).for_each(|(id, (_, at, weight))| self.members.rows.add(at, id, weight));
        }
        self.members.queue(output.ends);
        Ok(())
    }

    fn emit(
        &self,
        rows: RecordBatch,
        changes: impl Iterator<Item = ((i64, i64), i64)>,
        out: &mut Vec<ChangeBatch>,
    ) -> Result<()> {
        let (spans, weights): (Vec<(i64, i64)>, Vec<i64>) = changes.unzip();
        let columns = window_columns(&spans, &self.bound_type);
        let columns = rows.columns().iter().cloned().chain(columns).collect();
        out.push(ChangeBatch::new(batch_of(&self.spec.output_schema, columns, spans.len())?, weights));
        Ok(())
    }

    /// Takes the epoch's watermark, or clock, into effect and forgets closed sessions.
    fn advance(&mut self, cx: &EpochContext) -> Result<()> {
        let reached = match &self.spec.time {
            WindowTime::Event { clock } if clock.inputs.is_empty() => EventTime::MIN.0,
            WindowTime::Event { clock } => cx.watermark(clock).0,
            WindowTime::Processing => cx.now.0,
        };
        self.watermark = self.watermark.max(reached);
        for id in self.members.close(self.watermark.saturating_sub(self.spec.lateness_us)) {
            self.rows.release(id);
        }
        if let Some(moved) = self.rows.compact_if_worth()? {
            self.members.follow(&moved);
        }
        Ok(())
    }
}

impl Moved {
    fn at(&self, key: Key) -> At {
        At { key, time: self.time, print: self.print }
    }
}

/// Rows in order of time and fingerprint, the weights of equal ones added.
fn merged(mut rows: Vec<Moved>) -> Vec<Moved> {
    // A stored row comes before the change to it.
    rows.sort_unstable_by_key(|r| (r.time, r.print, matches!(r.place, Place::Fresh(_))));
    let mut merged: Vec<Moved> = Vec::with_capacity(rows.len());
    for row in rows {
        match merged.last_mut().filter(|last| (last.time, last.print) == (row.time, row.print)) {
            Some(last) => last.weight += row.weight,
            None => merged.push(row),
        }
    }
    merged
}

impl Operator for SessionAssignOperator {
    fn name(&self) -> &str {
        "session"
    }

    fn push(&mut self, _input: usize, batch: ChangeBatch, _out: &mut Vec<ChangeBatch>) -> Result<()> {
        let batch = match self.is_processing_time() {
            true => batch,
            false => drop_timeless(batch, self.spec.time_column, &self.spec.late)?,
        };
        if !batch.is_empty() {
            self.waiting.push(batch);
        }
        Ok(())
    }

    fn finish_epoch(&mut self, cx: &EpochContext, out: &mut Vec<ChangeBatch>) -> Result<()> {
        self.apply(cx.now.0, out)?;
        self.advance(cx)
    }

    fn next_timer(&self) -> Option<ProcTime> {
        let end = self.members.first_end().filter(|_| self.is_processing_time());
        end.map(|end| ProcTime(end.saturating_add(self.spec.lateness_us)))
    }

    fn state_size(&self) -> StateSize {
        StateSize { entries: self.members.rows.len(), bytes: self.rows.bytes() + self.members.bytes() }
    }
}

#[cfg(test)]
mod tests;
