//! Reads a generator: bounds, pace, chunks.
//!
//! Without `rate` a poll returns one full chunk at once. With it, row n may be read when
//! its turn has come on the monotonic clock; the reader sleeps at most as long as it was
//! told to and then returns all rows that are due, in chunks of bounded size. With
//! real-time event time the turns are counted from the source's start, so rows that fell
//! due while nobody read come at once and no row is ever ahead of its event time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;

use super::{GeneratorOptions, Rows, SPLIT};
use crate::clock;
use crate::connectors::{DecodedChunk, ReadRequest, ReaderState, SourceReader, SplitId, SplitStatus};
use crate::error::Result;

/// Rows are let out in steps of this length, so that a slow rate does not mean a busy thread.
const PACE_STEP: Duration = Duration::from_millis(5);
/// Chunks that one poll may return when rows have piled up.
const CHUNKS_PER_POLL_MAX: usize = 4;
/// Keeps a text column's 32-bit offsets in range: 1 MiB × 1,024 rows < 2 GiB.
const WIDE_CHUNK_ROWS_MAX: i64 = 1_024;
const WIDE_EVENT_BYTES: usize = 16_384;

pub struct GeneratorReader {
    rows: Arc<Rows>,
    schema: SchemaRef,
    /// False if the request does not name the generator's split.
    assigned: bool,
    next: i64,
    /// Where this read stops: the generator's `rows` or the request's end.
    stop: i64,
    /// The generator's `rows`.
    rows_total: Option<i64>,
    chunk_rows_max: i64,
    pace: Option<Pace>,
    /// Whether chunks say what is known of event time.
    marks: bool,
    paused: bool,
}

impl GeneratorReader {
    pub(super) fn new(
        options: &GeneratorOptions,
        rows: Arc<Rows>,
        request: ReadRequest,
        marks: bool,
    ) -> GeneratorReader {
        let range = request.splits.iter().find(|range| range.split == SPLIT);
        let next = range.map_or(0, |range| range.start_offset);
        let end = range.and_then(|range| range.end_offset).unwrap_or(i64::MAX);
        let chunk_rows_max = (request.chunk_rows_max.max(1) as i64).min(chunk_rows_limit(options));
        GeneratorReader {
            rows,
            schema: request.schema,
            assigned: range.is_some(),
            next,
            stop: end.min(options.rows.unwrap_or(i64::MAX)),
            rows_total: options.rows,
            chunk_rows_max,
            pace: options.rate.map(|rate| Pace {
                rate,
                start: clock::monotonic(),
                start_row: options.realtime_due().unwrap_or(next),
            }),
            marks,
            paused: false,
        }
    }

    /// One past the last row that may be read now.
    fn due(&self) -> i64 {
        self.pace.as_ref().map_or(self.stop, |pace| pace.due().min(self.stop))
    }

    /// Sleeps until a step's worth of rows is due, but no longer than `wait`.
    fn wait_for_rows(&self, wait: Duration) {
        let nothing_to_come = self.paused || !self.assigned || self.next >= self.stop;
        let pause = match &self.pace {
            _ if nothing_to_come => wait,
            Some(pace) if pace.due() <= self.next => pace.until(self.next + 1).max(PACE_STEP).min(wait),
            _ => return,
        };
        if !pause.is_zero() {
            clock::sleep(pause);
        }
    }
}

impl SourceReader for GeneratorReader {
    fn poll(&mut self, wait: Duration) -> Result<Vec<DecodedChunk>> {
        self.wait_for_rows(wait);
        let due = if self.assigned && !self.paused { self.due() } else { self.next };
        let chunks_max = if self.pace.is_some() { CHUNKS_PER_POLL_MAX } else { 1 };
        let mut chunks = Vec::new();
        while self.next < due && chunks.len() < chunks_max {
            let end = due.min(self.next.saturating_add(self.chunk_rows_max));
            let rows = self.rows.generate(self.next..end, &self.schema)?;
            chunks.push(DecodedChunk {
                split: SPLIT,
                start_offset: self.next,
                end_offset: end,
                rows,
                offsets: (self.next..end).collect(),
                dead_letters: Vec::new(),
                tombstones: 0,
                marks: match self.marks {
                    true => (self.next..end).map(|row| (row, self.rows.watermark_after(row))).collect(),
                    false => Vec::new(),
                },
                lost: 0,
            });
            self.next = end;
        }
        Ok(chunks)
    }

    fn pause(&mut self, splits: &BTreeSet<SplitId>) -> Result<()> {
        self.paused = splits.contains(&SPLIT);
        Ok(())
    }

    fn splits(&mut self) -> Vec<SplitStatus> {
        if !self.assigned {
            return Vec::new();
        }
        let end_offset = match &self.pace {
            Some(pace) => Some(pace.due().min(self.rows_total.unwrap_or(i64::MAX))),
            None => self.rows_total,
        };
        vec![SplitStatus {
            split: SPLIT,
            end_offset,
            caught_up: self.next >= self.due(),
            finished: self.rows_total.is_some_and(|total| self.next >= total),
        }]
    }

    fn state(&self) -> ReaderState {
        ReaderState::Running
    }
}

fn chunk_rows_limit(options: &GeneratorOptions) -> i64 {
    match &options.kind {
        super::GeneratorKind::Nexmark(n)
            if n.person_bytes.max(n.auction_bytes).max(n.bid_bytes) > WIDE_EVENT_BYTES =>
        {
            WIDE_CHUNK_ROWS_MAX
        }
        _ => 65_536,
    }
}

/// Rows that fall due at an even rate.
struct Pace {
    /// Rows per second.
    rate: u64,
    start: Instant,
    /// Rows that were due at `start`.
    start_row: i64,
}

impl Pace {
    fn due(&self) -> i64 {
        let elapsed = self.start.elapsed().as_nanos();
        let rows = elapsed * u128::from(self.rate) / 1_000_000_000;
        self.start_row.saturating_add(i64::try_from(rows).unwrap_or(i64::MAX))
    }

    /// Time until `rows` rows are due.
    fn until(&self, rows: i64) -> Duration {
        let missing = rows.saturating_sub(self.start_row).max(0) as u128;
        let nanos = (missing * 1_000_000_000).div_ceil(u128::from(self.rate));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).saturating_sub(self.start.elapsed())
    }
}
