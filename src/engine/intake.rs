//! The intake of a source: a thread that reads and decodes ahead of the cuts.
//!
//! It owns the connector's reader, completes rows and queues them with their offsets, at
//! most `intake_rows_max` rows ahead; then it waits, and the broker keeps the rest. The
//! coordinator takes whole chunks for a live cut, or everything up to journalled offsets
//! when it replays. An outage of the source shows in `state` and is retried by the reader.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use crossbeam_channel::Sender;
use parking_lot::{Condvar, Mutex};

use super::chunk_time::ChunkTime;
use super::source::SourceSpec;
use crate::clock::Clock;
use crate::connectors::{DeadLetter, ReadRequest, ReaderState, SourceReader, SplitRange, SplitStatus};
use crate::error::{HwError, Result, sqlstate};

/// Longest wait inside a reader, so that stopping is prompt.
const POLL_WAIT: Duration = Duration::from_millis(50);

/// One decoded piece of a split, ready for a cut.
#[derive(Clone, Debug)]
pub struct ReadyChunk {
    pub split: u32,
    pub end_offset: i64,
    /// In the full relation schema.
    pub rows: RecordBatch,
    pub offsets: Vec<i64>,
    pub dead_letters: Vec<DeadLetter>,
    pub tombstones: u64,
    /// Offsets that were deleted before they were read.
    pub lost: u64,
    pub time: ChunkTime,
}

struct Queue {
    chunks: VecDeque<ReadyChunk>,
    rows: usize,
    splits: Vec<SplitStatus>,
    state: ReaderState,
    /// Splits that wait for others of their alignment group.
    held: BTreeSet<u32>,
    /// The reader is not asked at present: the queue is full, or the rate limit is reached.
    paused: bool,
}

impl Queue {
    fn free_rows(&self) -> usize {
        if self.held.is_empty() {
            return self.rows;
        }
        self.chunks.iter().filter(|c| !self.held.contains(&c.split)).map(|c| c.rows.num_rows()).sum()
    }
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    stop: AtomicBool,
}

/// Limits of an intake.
#[derive(Clone, Copy, Debug)]
pub struct IntakeLimits {
    pub rows_max: usize,
    pub chunk_rows_max: usize,
}

pub struct Intake {
    shared: Arc<Shared>,
    /// Relation columns being decoded.
    pub needed: Vec<usize>,
    thread: Option<JoinHandle<()>>,
}

/// What a cut took from an intake.
#[derive(Default)]
pub struct Taken {
    pub chunks: Vec<ReadyChunk>,
    pub rows: usize,
}

impl Taken {
    fn add(&mut self, chunk: ReadyChunk) {
        self.rows += chunk.rows.num_rows();
        self.chunks.push(chunk);
    }
}

/// How far a source in an alignment group may be taken.
pub struct Reach {
    /// By split: no further than the first row that proves more than this. A split seen for
    /// the first time has none.
    pub limits: BTreeMap<u32, i64>,
    /// Splits that are there already.
    pub stopped: BTreeSet<u32>,
}

/// What an intake knows of the other side.
pub struct IntakeView {
    /// Splits, and whether chunks of them wait for a cut.
    pub splits: Vec<(SplitStatus, bool)>,
    /// The other side is reachable and being asked.
    pub listening: bool,
}

impl Intake {
    /// Starts reading `ranges`; `wake` is told when there is something new.
    pub fn start(
        spec: Arc<SourceSpec>,
        needed: Vec<usize>,
        ranges: Vec<SplitRange>,
        limits: IntakeLimits,
        clock: Arc<Clock>,
        wake: Sender<()>,
    ) -> Result<Intake> {
        let reader = open(&spec, &needed, ranges, limits.chunk_rows_max)?;
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue {
                chunks: VecDeque::new(),
                rows: 0,
                splits: Vec::new(),
                state: ReaderState::Running,
                held: BTreeSet::new(),
                paused: false,
            }),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let worker = IntakeThread {
            spec: Arc::clone(&spec),
            needed: needed.clone(),
            reader,
            rows_max: limits.rows_max,
            clock,
            wake,
            shared: Arc::clone(&shared),
            held: BTreeSet::new(),
        };
        let thread = std::thread::Builder::new()
            .name(format!("intake-{}", spec.id))
            .spawn(move || worker.run())
            .map_err(HwError::from)?;
        Ok(Intake { shared, needed, thread: Some(thread) })
    }

    /// Chunks in order, until `rows_max` rows are reached; of a source in an alignment group
    /// no further than it may go.
    pub fn take(&self, rows_max: usize, mut reach: Option<Reach>) -> Taken {
        let mut queue = self.shared.queue.lock();
        let mut taken = Taken::default();
        let mut left = VecDeque::new();
        while let Some(chunk) = queue.chunks.pop_front() {
            if taken.rows > 0 && taken.rows + chunk.rows.num_rows() > rows_max {
                queue.chunks.push_front(chunk);
                break;
            }
            let Some(end) = end_of(&chunk, None, reach.as_mut()) else {
                left.push_back(chunk);
                continue;
            };
            let (now, later) = split_at(chunk, end);
            taken.add(now);
            left.extend(later);
        }
        left.append(&mut queue.chunks);
        queue.chunks = left;
        queue.rows -= taken.rows;
        self.shared.changed.notify_all();
        taken
    }

    /// Everything below the given offsets, waiting until it has been read. Chunks that reach
    /// over an offset are split there. Splits that may go no further are not waited for.
    ///
    /// Errors: the reader's failure, 58030 if nothing arrives for `patience`.
    pub fn take_until(
        &self,
        ends: &BTreeMap<u32, i64>,
        from: &BTreeMap<u32, i64>,
        mut reach: Option<Reach>,
        patience: Duration,
    ) -> Result<Taken> {
        let mut reached = from.clone();
        let mut taken = Taken::default();
        let mut queue = self.shared.queue.lock();
        loop {
            let mut kept = VecDeque::new();
            while let Some(chunk) = queue.chunks.pop_front() {
                let at = reached.entry(chunk.split).or_insert(0);
                let end = ends.get(&chunk.split).copied().filter(|end| *at < *end);
                let end = end.and_then(|end| end_of(&chunk, Some(end), reach.as_mut()));
                let Some(end) = end else {
                    kept.push_back(chunk);
                    continue;
                };
                let (now, later) = split_at(chunk, end);
                *at = now.end_offset;
                queue.rows -= now.rows.num_rows();
                taken.add(now);
                kept.extend(later);
            }
            queue.chunks = kept;
            self.shared.changed.notify_all();
            let stopped = |split: &u32| reach.as_ref().is_some_and(|r| r.stopped.contains(split));
            let done = |(split, end): (&u32, &i64)| {
                stopped(split) || reached.get(split).copied().unwrap_or(0) >= *end
            };
            if !queue.splits.is_empty() && ends.iter().all(done) {
                return Ok(taken);
            }
            if let ReaderState::Failed(e) = &queue.state {
                return Err(e.clone());
            }
            if self.shared.changed.wait_for(&mut queue, patience).timed_out() {
                return Err(HwError::new(
                    sqlstate::IO_ERROR,
                    "the source does not deliver rows that were read before",
                ));
            }
        }
    }

    /// The splits that wait for others; their reader pauses.
    pub fn hold(&self, held: BTreeSet<u32>) {
        let mut queue = self.shared.queue.lock();
        if queue.held != held {
            queue.held = held;
            self.shared.changed.notify_all();
        }
    }

    /// Rows that a cut may take.
    pub fn waiting_rows(&self) -> usize {
        self.shared.queue.lock().free_rows()
    }

    /// Whether there is something that a cut may take.
    pub fn has_chunks(&self) -> bool {
        let queue = self.shared.queue.lock();
        queue.chunks.iter().any(|c| !queue.held.contains(&c.split))
    }

    /// What is known of the other side, at one moment.
    pub fn view(&self) -> IntakeView {
        let queue = self.shared.queue.lock();
        let pending = |split: u32| queue.chunks.iter().any(|c| c.split == split);
        IntakeView {
            splits: queue.splits.iter().map(|s| (s.clone(), pending(s.split))).collect(),
            listening: queue.state == ReaderState::Running && !queue.paused,
        }
    }

    pub fn splits(&self) -> Vec<SplitStatus> {
        self.shared.queue.lock().splits.clone()
    }

    pub fn state(&self) -> ReaderState {
        self.shared.queue.lock().state.clone()
    }
}

/// How far a chunk may be taken: to `end`, and to the first row that is too far ahead.
fn end_of(chunk: &ReadyChunk, end: Option<i64>, reach: Option<&mut Reach>) -> Option<i64> {
    let end = end.map_or(chunk.end_offset, |end| end.min(chunk.end_offset));
    let Some(reach) = reach else { return Some(end) };
    if reach.stopped.contains(&chunk.split) {
        return None;
    }
    let limit = reach.limits.get(&chunk.split).copied().unwrap_or(i64::MAX);
    match chunk.time.first_beyond(&chunk.offsets, limit) {
        Some(beyond) if beyond < end => {
            reach.stopped.insert(chunk.split);
            Some(beyond + 1)
        }
        _ => Some(end),
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A reader that hangs in its client library must not hang the coordinator: the
            // thread ends by itself at its next turn.
            drop(thread);
        }
    }
}

/// Opens a reader for the needed columns.
pub fn open(
    spec: &SourceSpec,
    needed: &[usize],
    ranges: Vec<SplitRange>,
    chunk_rows_max: usize,
) -> Result<Box<dyn SourceReader>> {
    let Some(connector) = &spec.connector else {
        return Err(HwError::internal(format!("source {} has no connector", spec.name)));
    };
    let fields: Vec<_> = needed
        .iter()
        .map(|c| {
            let nullable = !spec.not_null.contains(c);
            Arc::new(spec.schema.field(*c).clone().with_nullable(nullable))
        })
        .collect();
    let others = spec.delivered.iter().filter(|c| !needed.contains(c));
    let checked = others.map(|c| Arc::clone(&spec.schema.fields()[*c])).collect();
    let schema = Arc::new(Schema::new(fields));
    connector.open(ReadRequest { schema, checked, splits: ranges, chunk_rows_max })
}

/// The part of a chunk below `offset`, and the rest if there is any.
pub(super) fn split_at(chunk: ReadyChunk, offset: i64) -> (ReadyChunk, Option<ReadyChunk>) {
    if chunk.end_offset <= offset {
        return (chunk, None);
    }
    let n = chunk.offsets.partition_point(|o| *o < offset);
    let (dead_now, dead_later) = chunk.dead_letters.into_iter().partition(|d| d.offset < offset);
    let (time_now, time_later) = chunk.time.split(n, offset);
    let now = ReadyChunk {
        split: chunk.split,
        end_offset: offset,
        rows: chunk.rows.slice(0, n),
        offsets: chunk.offsets[..n].to_vec(),
        dead_letters: dead_now,
        tombstones: 0,
        lost: 0,
        time: time_now,
    };
    let later = ReadyChunk {
        split: chunk.split,
        end_offset: chunk.end_offset,
        rows: chunk.rows.slice(n, chunk.rows.num_rows() - n),
        offsets: chunk.offsets[n..].to_vec(),
        dead_letters: dead_later,
        tombstones: chunk.tombstones,
        lost: chunk.lost,
        time: time_later,
    };
    (now, Some(later))
}

struct IntakeThread {
    spec: Arc<SourceSpec>,
    needed: Vec<usize>,
    reader: Box<dyn SourceReader>,
    rows_max: usize,
    clock: Arc<Clock>,
    wake: Sender<()>,
    shared: Arc<Shared>,
    /// Splits that the reader was told to pause.
    held: BTreeSet<u32>,
}

impl IntakeThread {
    fn run(mut self) {
        let started = crate::clock::monotonic();
        let mut delivered: u64 = 0;
        while !self.shared.stop.load(Ordering::SeqCst) {
            self.wait_for_room();
            if let Some(limit) = self.spec.rate_limit {
                let allowed = (started.elapsed().as_secs_f64() * limit as f64) as u64;
                if delivered > allowed {
                    let ahead = (delivered - allowed) as f64 / limit as f64;
                    self.shared.queue.lock().paused = true;
                    crate::clock::sleep(Duration::from_secs_f64(ahead.min(POLL_WAIT.as_secs_f64())));
                    continue;
                }
            }
            match self.turn() {
                Ok(rows) => delivered += rows as u64,
                Err(e) => {
                    tracing::error!(source = %self.spec.name, error = %e, "source failed");
                    self.shared.queue.lock().state = ReaderState::Failed(e);
                    self.shared.changed.notify_all();
                    let _ = self.wake.try_send(());
                    return;
                }
            }
        }
    }

    fn wait_for_room(&self) {
        let mut queue = self.shared.queue.lock();
        while queue.free_rows() >= self.rows_max && !self.shared.stop.load(Ordering::SeqCst) {
            queue.paused = true;
            self.shared.changed.wait_for(&mut queue, POLL_WAIT);
        }
    }

    /// One poll of the reader; returns the number of rows queued.
    fn turn(&mut self) -> Result<usize> {
        let held = self.shared.queue.lock().held.clone();
        if held != self.held {
            self.reader.pause(&held)?;
            self.held = held;
        }
        let chunks = self.reader.poll(POLL_WAIT)?;
        let mut ready = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            ready.push(make_ready(&self.spec, &self.needed, chunk, self.clock.now().0)?);
        }
        let splits = self.reader.splits();
        let state = self.reader.state();
        let rows = ready.iter().map(|c| c.rows.num_rows()).sum();
        let mut queue = self.shared.queue.lock();
        let news = !ready.is_empty() || queue.splits != splits || queue.state != state;
        queue.rows += rows;
        queue.chunks.extend(ready);
        queue.splits = splits;
        queue.state = state;
        queue.paused = false;
        drop(queue);
        if news {
            self.shared.changed.notify_all();
            let _ = self.wake.try_send(());
        }
        Ok(rows)
    }
}

/// Completes a decoded chunk. A chunk whose generated columns fail is taken apart: rows that
/// fail become dead letters, the others go on.
pub fn make_ready(
    spec: &SourceSpec,
    needed: &[usize],
    chunk: crate::connectors::DecodedChunk,
    now: i64,
) -> Result<ReadyChunk> {
    let mut dead_letters = chunk.dead_letters;
    let (rows, offsets) = match spec.complete(&chunk.rows, needed) {
        Ok(rows) => (rows, chunk.offsets),
        Err(_) => {
            let mut good = Vec::new();
            let mut offsets = Vec::new();
            for (i, offset) in chunk.offsets.iter().enumerate() {
                match spec.complete(&chunk.rows.slice(i, 1), needed) {
                    Ok(row) => {
                        good.push(row);
                        offsets.push(*offset);
                    }
                    Err(error) => dead_letters.push(DeadLetter {
                        split: chunk.split,
                        offset: *offset,
                        timestamp: None,
                        key: None,
                        value: None,
                        value_length: 0,
                        error,
                    }),
                }
            }
            (arrow::compute::concat_batches(&spec.schema, &good)?, offsets)
        }
    };
    let mut time = spec.chunk_time(&rows, |row| offsets[row], now)?;
    time.marks = chunk.marks;
    Ok(ReadyChunk {
        split: chunk.split,
        end_offset: chunk.end_offset,
        rows,
        offsets,
        dead_letters,
        tombstones: chunk.tombstones,
        lost: chunk.lost,
        time,
    })
}

#[cfg(test)]
mod tests;
