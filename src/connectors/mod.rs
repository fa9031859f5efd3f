//! Where rows come from: connectors read splits and hand decoded Arrow batches upwards.
//!
//! A source has splits (Kafka partitions, generator streams); each split is a sequence of
//! offsets. A [`SourceReader`] runs on the source's own intake thread; it may block for a
//! bounded time, never forever. It returns chunks that cover a contiguous offset range of
//! one split exactly: every offset in `[start_offset, end_offset)` is a row, a dead letter,
//! a tombstone or a gap, and reading the same range again gives the same rows.

pub mod generator;
pub mod kafka;

use std::collections::BTreeSet;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{Fields, SchemaRef};

use crate::error::{HwError, Result};

/// Number of a split within its source: the Kafka partition, or 0.
pub type SplitId = u32;

/// One contiguous, decoded piece of a split.
#[derive(Clone, Debug)]
pub struct DecodedChunk {
    pub split: SplitId,
    /// First offset covered.
    pub start_offset: i64,
    /// One past the last offset covered.
    pub end_offset: i64,
    /// The accepted rows, in offset order, in the schema of the [`ReadRequest`].
    pub rows: RecordBatch,
    /// Offset of each row, strictly ascending, as long as `rows`.
    pub offsets: Vec<i64>,
    pub dead_letters: Vec<DeadLetter>,
    /// Records without a value, which a plain source skips.
    pub tombstones: u64,
    /// What the source itself says of event time: after the record at this offset its
    /// watermark is that (µs). Offsets ascend.
    pub marks: Vec<(i64, i64)>,
    /// Offsets that the other side had deleted before they were read.
    pub lost: u64,
}

/// A record that could not be decoded, kept byte for byte.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    pub split: SplitId,
    pub offset: i64,
    /// Broker timestamp in microseconds after the Unix epoch, if there is one.
    pub timestamp: Option<i64>,
    pub key: Option<Vec<u8>>,
    /// At most the first 64 KiB of the value; `value_length` tells the whole length.
    pub value: Option<Vec<u8>>,
    pub value_length: usize,
    pub error: HwError,
}

/// What a reader shall read.
#[derive(Clone, Debug)]
pub struct ReadRequest {
    /// The columns wanted, by name, out of the source's declared columns (and `INCLUDE`d
    /// metadata columns). Fields that are not declared are skipped without being converted.
    pub schema: SchemaRef,
    /// The other declared columns: not delivered, but a record whose value for one of them
    /// cannot be decoded is bad, so that the rows of a source do not depend on who reads what.
    pub checked: Fields,
    /// Splits to read: first offset and, for a bounded read, the offset to stop before.
    pub splits: Vec<SplitRange>,
    /// Largest number of rows in one chunk.
    pub chunk_rows_max: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitRange {
    pub split: SplitId,
    pub start_offset: i64,
    pub end_offset: Option<i64>,
}

/// What the other side knows about one split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitStatus {
    pub split: SplitId,
    /// One past the newest record at the source, if known.
    pub end_offset: Option<i64>,
    /// Everything up to `end_offset` has been returned by `poll`.
    pub caught_up: bool,
    /// A bounded split that has returned everything it will ever hold.
    pub finished: bool,
}

/// State of the connection as shown in `headwater.sources`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReaderState {
    Running,
    /// The other side cannot be reached at present; retried without end.
    Reconnecting(String),
    /// Needs a person, e.g. data lost upstream.
    Failed(HwError),
}

/// Reads the splits of one source.
pub trait SourceReader: Send {
    /// Waits at most `wait` for something, then returns what is there (possibly nothing).
    /// Temporary outages are not errors: they show in `state`.
    fn poll(&mut self, wait: Duration) -> Result<Vec<DecodedChunk>>;
    /// From now on these splits, and no others, are to deliver nothing for a while: others
    /// are behind them. What has been read already may still come.
    fn pause(&mut self, splits: &BTreeSet<SplitId>) -> Result<()>;
    /// Splits as known now, new partitions included.
    fn splits(&mut self) -> Vec<SplitStatus>;
    fn state(&self) -> ReaderState;
}

/// A configured source, made from a `CREATE SOURCE` statement's options.
pub trait SourceConnector: Send + Sync {
    /// Checks that the source is there (at most 10 s) and gives its splits with the offset
    /// at which the configured startup mode begins.
    fn discover(&self) -> Result<Vec<SplitRange>>;
    /// Opens a reader. Several readers of one connector are independent.
    fn open(&self, request: ReadRequest) -> Result<Box<dyn SourceReader>>;
    /// The present end offset of every split (at most 10 s), for bounded reads.
    fn end_offsets(&self) -> Result<Vec<SplitRange>>;
}
