//! SESSION without aggregation: rows with the bounds of their session.
//!
//! A row at t proposes `[t, t + gap)`; windows of a key that overlap or touch are one session.
//! Rows of open sessions are kept. At the end of an epoch its rows, as a set, are put into
//! the sessions they touch, those sessions' rows are divided anew (a deleted row can split a
//! session), and every row whose bounds changed is emitted with −1 and +1. A session whose
//! rows all came too late, by its own end after merging, is refused; a session is forgotten
//! when the watermark passes its end plus the allowed lateness, and its rows stay emitted.
//! Invariants: sessions of a key are ordered and do not touch; a member's weight is positive.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, SchemaRef};
use hashbrown::HashMap;

use super::aggregate::WindowTime;
use super::expressions::batch_of;
use super::late::{LateReason, LateRows, Refusal};
use super::window_assign::{bound_type, drop_timeless, timestamp_values, window_columns};
use crate::dataflow::operator::{EpochContext, Operator, StateSize};
use crate::error::Result;
use crate::state::{RowId, RowStore};
use crate::types::change_batch::{consolidate, take_rows};
use crate::types::hash::{PrintHasher, fingerprints};
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

/// A kept row.
#[derive(Clone, Copy)]
struct Member {
    time: i64,
    print: u128,
    id: RowId,
    weight: i64,
}

struct Session {
    start: i64,
    end: i64,
    /// In order of time and fingerprint.
    members: Vec<Member>,
}

/// A row of a touched session, before and after.
struct Moved {
    time: i64,
    print: u128,
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

/// What an epoch emits: rows by place, their bounds and weights.
#[derive(Default)]
struct Output {
    stored: Vec<(RowId, (i64, i64), i64)>,
    fresh: Vec<(u32, (i64, i64), i64)>,
    refused: Vec<Refusal>,
    released: Vec<RowId>,
    /// Rows of the batch to be stored.
    accepted: Vec<u32>,
    /// Equal rows of the epoch are counted one by one.
    append_only: bool,
}

/// Adds sessions to rows.
pub struct SessionAssignOperator {
    spec: SessionAssignSpec,
    bound_type: DataType,
    rows: RowStore,
    sessions: HashMap<u128, Vec<Session>, PrintHasher>,
    /// Keys by end of their sessions; may name sessions that have changed since.
    by_end: BTreeMap<i64, BTreeSet<u128>>,
    waiting: Vec<ChangeBatch>,
    /// W(E−1), or the last `now`.
    watermark: i64,
    members: usize,
}

impl SessionAssignOperator {
    pub fn new(spec: SessionAssignSpec) -> Result<SessionAssignOperator> {
        let bound_type = bound_type(&spec.output_schema)?;
        let rows = RowStore::new(Arc::clone(&spec.input_schema));
        Ok(SessionAssignOperator {
            spec,
            bound_type,
            rows,
            sessions: HashMap::default(),
            by_end: BTreeMap::new(),
            waiting: Vec::new(),
            watermark: EventTime::MIN.0,
            members: 0,
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
        let mut divided = Vec::new();
        for (key, rows) in by_key {
            let changes = rows.iter().map(|row| Moved {
                time: times[*row as usize],
                print: prints[*row as usize],
                place: Place::Fresh(*row),
                old: None,
                weight: batch.weights.get(*row as usize),
            });
            let moved = self.touch(key, changes.collect());
            self.divide(key, moved, &mut output, &mut divided);
        }
        self.settle(&batch, output, divided, out)
    }

    /// Fingerprints of keys and of whole rows.
    fn prints(&self, batch: &ChangeBatch) -> (Vec<u128>, Vec<u128>) {
        let keys: Vec<ArrayRef> = self.spec.keys.iter().map(|c| batch.rows.column(*c).clone()).collect();
        (fingerprints(&keys, batch.len()), fingerprints(batch.rows.columns(), batch.len()))
    }

    /// Takes the sessions that `changes` touch out of the key's and joins their rows with the
    /// changes, in order of time and fingerprint, each row once.
    fn touch(&mut self, key: u128, mut changes: Vec<Moved>) -> Vec<Moved> {
        let processing = self.is_processing_time();
        let gap = self.spec.gap_us;
        let Some(sessions) = self.sessions.get_mut(&key) else { return merged(changes) };
        if processing {
            // A deleted row is found by its content: its time is when it came.
            for change in changes.iter_mut().filter(|c| c.weight < 0) {
                let known = sessions.iter().flat_map(|s| &s.members).find(|m| m.print == change.print);
                change.time = known.map_or(change.time, |m| m.time);
            }
        }
        let mut touched = vec![false; sessions.len()];
        for change in &changes {
            let proposed_end = change.time.saturating_add(gap);
            let first = sessions.partition_point(|s| s.end < change.time);
            for (i, session) in sessions.iter().enumerate().skip(first) {
                if session.start > proposed_end {
                    break;
                }
                touched[i] = true;
            }
        }
        let mut i = 0;
        let taken: Vec<Session> = sessions
            .extract_if(.., |_| {
                i += 1;
                touched[i - 1]
            })
            .collect();
        for session in taken {
            self.members -= session.members.len();
            changes.extend(session.members.into_iter().map(|m| Moved {
                time: m.time,
                print: m.print,
                place: Place::Stored(m.id),
                old: Some((session.start, session.end, m.weight)),
                weight: m.weight,
            }));
        }
        merged(changes)
    }

    /// Divides the rows of touched sessions into sessions, notes what that changes, and keeps
    /// the sessions that stay open in `divided` until their rows are stored.
    fn divide(
        &mut self,
        key: u128,
        moved: Vec<Moved>,
        output: &mut Output,
        divided: &mut Vec<(u128, i64, i64, Vec<Moved>)>,
    ) {
        let mut run: Vec<Moved> = Vec::new();
        let mut end = i64::MIN;
        for row in moved {
            if row.weight <= 0 {
                match (row.old, row.place) {
                    (Some((old_start, old_end, weight)), Place::Stored(id)) => {
                        output.stored.push((id, (old_start, old_end), -weight));
                        output.released.push(id);
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
            if !run.is_empty() && row.time > end {
                self.close_run(key, std::mem::take(&mut run), end, output, divided);
            }
            end = row.time.saturating_add(self.spec.gap_us);
            run.push(row);
        }
        if !run.is_empty() {
            self.close_run(key, run, end, output, divided);
        }
    }

    fn close_run(
        &self,
        key: u128,
        run: Vec<Moved>,
        end: i64,
        output: &mut Output,
        divided: &mut Vec<(u128, i64, i64, Vec<Moved>)>,
    ) {
        let Some(start) = run.first().map(|r| r.time) else { return };
        let known = run.iter().any(|r| r.old.is_some());
        if !known && end.saturating_add(self.spec.lateness_us) <= self.watermark {
            for row in &run {
                let Place::Fresh(index) = row.place else { continue };
                let refusal = Refusal { row: index, window_start: Some(start), window_end: Some(end) };
                let times = if output.append_only { row.weight as usize } else { 1 };
                output.refused.extend(std::iter::repeat_n(refusal, times));
            }
            return;
        }
        for row in &run {
            match (row.place, row.old) {
                (Place::Fresh(i), _) => {
                    output.fresh.push((i, (start, end), row.weight));
                    output.accepted.push(i);
                }
                (Place::Stored(id), Some((old_start, old_end, weight)))
                    if (old_start, old_end) != (start, end) =>
                {
                    output.stored.push((id, (old_start, old_end), -weight));
                    output.stored.push((id, (start, end), row.weight));
                }
                (Place::Stored(id), Some((.., weight))) if weight != row.weight => {
                    output.stored.push((id, (start, end), row.weight - weight));
                }
                _ => {}
            }
        }
        divided.push((key, start, end, run));
    }

    /// Emits, stores the accepted rows and puts the sessions back.
    fn settle(
        &mut self,
        batch: &ChangeBatch,
        output: Output,
        divided: Vec<(u128, i64, i64, Vec<Moved>)>,
        out: &mut Vec<ChangeBatch>,
    ) -> Result<()> {
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
        output.released.iter().for_each(|id| self.rows.release(*id));
        let mut ids = HashMap::new();
        if !output.accepted.is_empty() {
            let picked = UInt32Array::from(output.accepted.clone());
            let first = self.rows.append(take_rows(&batch.rows, &picked)?)?;
            ids = output.accepted.into_iter().zip(first..).collect();
        }
        for (key, start, end, run) in divided {
            let members = run.into_iter().filter_map(|r| {
                let id = match r.place {
                    Place::Stored(id) => id,
                    Place::Fresh(row) => *ids.get(&row)?,
                };
                Some(Member { time: r.time, print: r.print, id, weight: r.weight })
            });
            let session = Session { start, end, members: members.collect() };
            self.members += session.members.len();
            let sessions = self.sessions.entry(key).or_default();
            let place = sessions.partition_point(|s| s.start < start);
            sessions.insert(place, session);
            self.by_end.entry(end).or_default().insert(key);
        }
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
        let passed = |end: i64, watermark: i64| end.saturating_add(self.spec.lateness_us) <= watermark;
        while let Some(first) = self.by_end.first_entry() {
            if !passed(*first.key(), self.watermark) {
                break;
            }
            for key in first.remove() {
                let Some(sessions) = self.sessions.get_mut(&key) else { continue };
                let closed = sessions.extract_if(.., |s| passed(s.end, self.watermark));
                for member in closed.flat_map(|s| s.members) {
                    self.rows.release(member.id);
                    self.members -= 1;
                }
                if sessions.is_empty() {
                    self.sessions.remove(&key);
                }
            }
        }
        if let Some(moved) = self.rows.compact_if_worth()? {
            let members = self.sessions.values_mut().flatten().flat_map(|s| &mut s.members);
            members.for_each(|member| moved.follow(&mut member.id));
        }
        Ok(())
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
        let end = self.by_end.first_key_value().filter(|_| self.is_processing_time());
        end.map(|(end, _)| ProcTime(end.saturating_add(self.spec.lateness_us)))
    }

    fn state_size(&self) -> StateSize {
        let sessions = self.sessions.values().map(|sessions| {
            let members: usize = sessions.iter().map(|s| s.members.capacity()).sum();
            sessions.capacity() * size_of::<Session>() + members * size_of::<Member>()
        });
        // A tree's nodes are two thirds full; sets of keys have one node most often.
        let ends = self.by_end.len() * size_of::<(i64, BTreeSet<u128>)>() * 3 / 2;
        let keys: usize = self.by_end.values().map(|keys| keys.len().max(11) * size_of::<u128>()).sum();
        let bytes =
            self.rows.bytes() + sessions.sum::<usize>() + self.sessions.allocation_size() + ends + keys;
        StateSize { entries: self.members, bytes }
    }
}

#[cfg(test)]
mod tests;
