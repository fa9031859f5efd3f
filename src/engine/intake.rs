//! The intake of a source: a thread that reads and decodes ahead of the cuts.
//!
//! It owns the connector's reader, completes rows and queues them with their offsets, at
//! most `intake_rows_max` rows ahead; then it waits, and the broker keeps the rest. The
//! coordinator takes whole chunks for a live cut, or everything up to journalled offsets
//! when it replays. An outage of the source shows in `state` and is retried by the reader.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use crossbeam_channel::Sender;
use parking_lot::{Condvar, Mutex};

use super::source::{BatchTime, SourceSpec};
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
    pub time: BatchTime,
}

struct Queue {
    chunks: VecDeque<ReadyChunk>,
    rows: usize,
    splits: Vec<SplitStatus>,
    state: ReaderState,
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
        };
        let thread = std::thread::Builder::new()
            .name(format!("intake-{}", spec.id))
            .spawn(move || worker.run())
            .map_err(HwError::from)?;
        Ok(Intake { shared, needed, thread: Some(thread) })
    }

    /// Whole chunks in order, until `rows_max` rows are reached.
    pub fn take(&self, rows_max: usize) -> Taken {
        let mut queue = self.shared.queue.lock();
        let mut taken = Taken::default();
        while let Some(chunk) = queue.chunks.front() {
            if taken.rows > 0 && taken.rows + chunk.rows.num_rows() > rows_max {
                break;
            }
            taken.rows += chunk.rows.num_rows();
            taken.chunks.extend(queue.chunks.pop_front());
        }
        queue.rows -= taken.rows;
        self.shared.changed.notify_all();
        taken
    }

    /// Everything below the given offsets, waiting until it has been read. Chunks that reach
    /// over an offset are split there.
    ///
    /// Errors: the reader's failure, 58030 if nothing arrives for `patience`.
    pub fn take_until(
        &self,
        ends: &BTreeMap<u32, i64>,
        from: &BTreeMap<u32, i64>,
        patience: Duration,
    ) -> Result<Taken> {
        let mut reached = from.clone();
        let mut taken = Taken::default();
        let mut queue = self.shared.queue.lock();
        loop {
            let mut kept = VecDeque::new();
            while let Some(chunk) = queue.chunks.pop_front() {
                let Some(end) = ends.get(&chunk.split).copied() else {
                    kept.push_back(chunk);
                    continue;
                };
                let at = reached.entry(chunk.split).or_insert(0);
                if *at >= end {
                    kept.push_back(chunk);
                    continue;
                }
                let (now, later) = split_at(chunk, end);
                *at = now.end_offset.min(end);
                taken.rows += now.rows.num_rows();
                queue.rows -= now.rows.num_rows();
                taken.chunks.push(now);
                kept.extend(later);
            }
            queue.chunks = kept;
            self.shared.changed.notify_all();
            if ends.iter().all(|(split, end)| reached.get(split).copied().unwrap_or(0) >= *end) {
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

    pub fn waiting_rows(&self) -> usize {
        self.shared.queue.lock().rows
    }

    pub fn has_chunks(&self) -> bool {
        !self.shared.queue.lock().chunks.is_empty()
    }

    pub fn splits(&self) -> Vec<SplitStatus> {
        self.shared.queue.lock().splits.clone()
    }

    pub fn state(&self) -> ReaderState {
        self.shared.queue.lock().state.clone()
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
    connector.open(ReadRequest { schema: Arc::new(Schema::new(fields)), splits: ranges, chunk_rows_max })
}

/// The part of a chunk below `offset`, and the rest if there is any.
fn split_at(chunk: ReadyChunk, offset: i64) -> (ReadyChunk, Option<ReadyChunk>) {
    if chunk.end_offset <= offset {
        return (chunk, None);
    }
    let n = chunk.offsets.partition_point(|o| *o < offset);
    let (dead_now, dead_later) = chunk.dead_letters.into_iter().partition(|d| d.offset < offset);
    let now = ReadyChunk {
        split: chunk.split,
        end_offset: offset,
        rows: chunk.rows.slice(0, n),
        offsets: chunk.offsets[..n].to_vec(),
        dead_letters: dead_now,
        tombstones: 0,
        time: chunk.time,
    };
    let later = ReadyChunk {
        split: chunk.split,
        end_offset: chunk.end_offset,
        rows: chunk.rows.slice(n, chunk.rows.num_rows() - n),
        offsets: chunk.offsets[n..].to_vec(),
        dead_letters: dead_later,
        tombstones: chunk.tombstones,
        time: chunk.time,
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
        while queue.rows >= self.rows_max && !self.shared.stop.load(Ordering::SeqCst) {
            self.shared.changed.wait_for(&mut queue, POLL_WAIT);
        }
    }

    /// One poll of the reader; returns the number of rows queued.
    fn turn(&mut self) -> Result<usize> {
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
    let time = spec.batch_time(&rows, now)?;
    Ok(ReadyChunk {
        split: chunk.split,
        end_offset: chunk.end_offset,
        rows,
        offsets,
        dead_letters,
        tombstones: chunk.tombstones,
        time,
    })
}
