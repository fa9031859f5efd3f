//! Rows refused by time: the late relation of a view.
//!
//! A row that comes after its window was closed is not applied; it is counted here and kept
//! in a bounded ring together with the window that refused it and the watermark that closed
//! it. A HOP row is recorded once per refusing window. Rows without event time are recorded
//! with their own reason. The newest `capacity` rows are kept, in chunks; the counters are exact.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::concat_batches;
use parking_lot::Mutex;

use crate::error::Result;
use crate::types::change_batch::take_rows;
use crate::types::{Epoch, EventTime};

/// Small chunks are put together up to this size.
const CHUNK_ROWS_MAX: usize = 4_096;

/// Why a row was not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LateReason {
    /// The window was closed before.
    WindowClosed,
    /// Rows come in event-time order, and the watermark had passed the row's own time.
    BehindWatermark,
    /// The event time is NULL, so the row belongs to no window.
    NullTime,
    /// The event time is infinite, so no window of a size holds the row.
    InfiniteTime,
    /// The window that the row's own columns give ends before it starts.
    EmptyWindow,
}

/// What is known of a refused row beside its columns.
#[derive(Clone, Copy, Debug)]
pub struct LateFacts {
    pub weight: i64,
    pub reason: LateReason,
    /// Bounds of the refusing window in microseconds, where known.
    pub window_start: Option<i64>,
    pub window_end: Option<i64>,
    /// The watermark the row was judged against.
    pub watermark: EventTime,
    /// The epoch that brought the row; 0 outside a running dataflow.
    pub epoch: Epoch,
}

/// A refused row with what refused it.
#[derive(Clone, Debug)]
pub struct LateRow {
    /// Exactly one row, as it entered the operator.
    pub row: RecordBatch,
    pub facts: LateFacts,
}

/// Refused rows of one schema, as they entered the operator.
#[derive(Clone, Debug)]
pub struct LateChunk {
    pub rows: RecordBatch,
    /// Of each row.
    pub facts: Vec<LateFacts>,
}

thread_local! {
    /// The epoch whose rows this worker is working on.
    static EPOCH: Cell<Epoch> = const { Cell::new(Epoch(0)) };
}

/// Told by the host before it pushes rows of an epoch, so that operators, which learn the
/// epoch only at its end, need not keep refused rows until then.
pub fn working_on(epoch: Epoch) {
    EPOCH.set(epoch);
}

/// One refusal of a row of a batch, for [`LateRows::record`].
#[derive(Clone, Copy, Debug)]
pub struct Refusal {
    /// Row of the batch.
    pub row: u32,
    pub window_start: Option<i64>,
    pub window_end: Option<i64>,
}

/// Bounded ring of refused rows with exact counters.
#[derive(Debug)]
pub struct LateRows {
    capacity: usize,
    /// What is kept of a row; all of it if `None`.
    columns: Option<Vec<usize>>,
    ring: Mutex<Ring>,
    closed: AtomicU64,
    null_times: AtomicU64,
}

/// Chunks, oldest first; a small one at the end grows with what follows.
#[derive(Debug, Default)]
struct Ring {
    chunks: VecDeque<LateChunk>,
    rows: usize,
}

impl Ring {
    fn push(&mut self, chunk: LateChunk, capacity: usize) -> Result<()> {
        self.rows += chunk.facts.len();
        self.chunks.push_back(chunk);
        while let [.., before, last] = self.chunks.make_contiguous() {
            let (small, same) =
                (before.facts.len() <= last.facts.len(), last.rows.schema() == before.rows.schema());
            if !small || !same || before.facts.len() + last.facts.len() > CHUNK_ROWS_MAX {
                break;
            }
            before.rows = concat_batches(&last.rows.schema(), [&before.rows, &last.rows])?;
            before.facts.append(&mut last.facts);
            self.chunks.pop_back();
        }
        while let Some(oldest) = self.chunks.front_mut() {
            let surplus = self.rows.saturating_sub(capacity);
            let len = oldest.facts.len();
            if surplus == 0 {
                break;
            }
            self.rows -= surplus.min(len);
            if surplus < len {
                oldest.rows = oldest.rows.slice(surplus, len - surplus);
                oldest.facts.drain(..surplus);
                break;
            }
            self.chunks.pop_front();
        }
        Ok(())
    }
}

impl LateRows {
    /// Keeps the newest `capacity` rows.
    pub fn new(capacity: usize) -> LateRows {
        LateRows {
            capacity,
            columns: None,
            ring: Mutex::default(),
            closed: AtomicU64::new(0),
            null_times: AtomicU64::new(0),
        }
    }

    /// Keeps only these columns of the rows that enter the operator.
    pub fn of_columns(mut self, columns: Vec<usize>) -> LateRows {
        self.columns = Some(columns);
        self
    }

    /// Records refusals of rows of `batch`; `weight_of` gives the weight of a row.
    pub fn record(
        &self,
        batch: &RecordBatch,
        refusals: &[Refusal],
        weight_of: impl Fn(usize) -> i64,
        reason: LateReason,
        watermark: EventTime,
    ) -> Result<()> {
        let counter = match reason {
            LateReason::WindowClosed | LateReason::BehindWatermark => &self.closed,
            LateReason::NullTime | LateReason::InfiniteTime | LateReason::EmptyWindow => &self.null_times,
        };
        counter.fetch_add(refusals.len() as u64, Ordering::Relaxed);
        let kept = &refusals[refusals.len().saturating_sub(self.capacity)..];
        if kept.is_empty() {
            return Ok(());
        }
        let kept_columns = match &self.columns {
            Some(columns) => batch.project(columns)?,
            None => batch.clone(),
        };
        let rows = take_rows(&kept_columns, &UInt32Array::from_iter_values(kept.iter().map(|r| r.row)))?;
        let facts = kept.iter().map(|refusal| LateFacts {
            weight: weight_of(refusal.row as usize),
            reason,
            window_start: refusal.window_start,
            window_end: refusal.window_end,
            watermark,
            epoch: EPOCH.get(),
        });
        let chunk = LateChunk { rows, facts: facts.collect() };
        self.ring.lock().push(chunk, self.capacity)
    }

    /// Refusals by closed windows since the start.
    pub fn count(&self) -> u64 {
        self.closed.load(Ordering::Relaxed)
    }

    /// Rows that belong to no window, since the start.
    pub fn null_time_count(&self) -> u64 {
        self.null_times.load(Ordering::Relaxed)
    }

    /// The kept refusals, oldest first.
    pub fn chunks(&self) -> Vec<LateChunk> {
        self.ring.lock().chunks.iter().cloned().collect()
    }

    /// The newest `rows_max` of the kept refusals, oldest first, each by itself.
    pub fn newest(&self, rows_max: usize) -> Vec<LateRow> {
        let ring = self.ring.lock();
        let surplus = ring.rows.saturating_sub(rows_max);
        let each = ring.chunks.iter().flat_map(|c| (0..c.facts.len()).map(move |i| (c, i)));
        each.skip(surplus).map(|(c, i)| LateRow { row: c.rows.slice(i, 1), facts: c.facts[i] }).collect()
    }
}

#[cfg(test)]
mod tests;
