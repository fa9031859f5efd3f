//! The `generator` connector: seeded rows without an outside system.
//!
//! Three generators: `nexmark` (the auction benchmark's people, auctions and bids),
//! `sequence` (columns that count up) and `random` (values by declared type). A generator
//! has one split; the offset is the row's number, and every row is a pure function of the
//! options and that number, so any range of offsets can be read again, in any order and at
//! the same cost, and gives the same rows. Only the columns asked for are computed.
//!
//! Invariant: no state of a reader influences the contents of a row. Pace (`rate`) only
//! decides when a row may be read.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::{ReadRequest, SourceConnector, SourceReader, SplitId, SplitRange};
use crate::error::Result;

mod columns;
mod json;
mod mixer;
mod model;
mod options;
mod random;
mod reader;
mod sequence;
#[cfg(test)]
mod tests;
mod text;

pub use json::bid_json;
pub use options::{GeneratorKind, GeneratorOptions, NexmarkOptions, NexmarkTable, TimeOptions};

/// The only split of a generator.
const SPLIT: SplitId = 0;

/// What turns row numbers into Arrow columns.
enum Rows {
    Nexmark(columns::Nexmark),
    Sequence(sequence::Sequence),
    Random(random::Random),
}

impl Rows {
    fn new(options: &GeneratorOptions) -> Rows {
        match &options.kind {
            GeneratorKind::Nexmark(nexmark) => Rows::Nexmark(columns::Nexmark::new(options, nexmark)),
            GeneratorKind::Sequence(time) => Rows::Sequence(sequence::Sequence::new(options, time)),
            GeneratorKind::Random { base_time } => {
                Rows::Random(random::Random::new(options.seed, *base_time))
            }
        }
    }

    /// The rows of the given offsets with the columns of `schema`.
    fn generate(&self, rows: Range<i64>, schema: &SchemaRef) -> Result<RecordBatch> {
        match self {
            Rows::Nexmark(nexmark) => nexmark.generate(rows, schema),
            Rows::Sequence(sequence) => sequence.generate(rows, schema),
            Rows::Random(random) => random.generate(rows, schema),
        }
    }

    /// The earliest event time (µs) that a row after this one can have.
    fn watermark_after(&self, row: i64) -> i64 {
        match self {
            Rows::Nexmark(nexmark) => nexmark.earliest_from(row + 1),
            Rows::Sequence(sequence) => sequence.time_of(row + 1),
            Rows::Random(random) => random.base_time(),
        }
    }
}

/// A configured generator source.
pub struct GeneratorConnector {
    options: GeneratorOptions,
    rows: Arc<Rows>,
    marks: bool,
}

impl GeneratorConnector {
    pub fn new(options: GeneratorOptions) -> GeneratorConnector {
        let rows = Arc::new(Rows::new(&options));
        GeneratorConnector { options, rows, marks: false }
    }

    /// Readers say what is known of event time, for `SOURCE_WATERMARK()`.
    pub fn with_marks(self, marks: bool) -> GeneratorConnector {
        GeneratorConnector { marks, ..self }
    }

    /// The rows `[rows.start, rows.end)` with the columns of `schema`, without pace or
    /// bounds; for tests and benches.
    pub fn generate(&self, rows: Range<i64>, schema: &SchemaRef) -> Result<RecordBatch> {
        self.rows.generate(rows, schema)
    }
}

impl SourceConnector for GeneratorConnector {
    fn discover(&self) -> Result<Vec<SplitRange>> {
        Ok(vec![SplitRange { split: SPLIT, start_offset: 0, end_offset: self.options.rows }])
    }

    fn open(&self, request: ReadRequest) -> Result<Box<dyn SourceReader>> {
        Ok(Box::new(reader::GeneratorReader::new(&self.options, self.rows.clone(), request, self.marks)))
    }

    /// The number of rows that exist by now: `rows`, limited by the real-time pace if event
    /// time is real time. `None` for an endless generator, which always has a next row.
    fn end_offsets(&self) -> Result<Vec<SplitRange>> {
        let end_offset = match (self.options.realtime_due(), self.options.rows) {
            (Some(due), Some(rows)) => Some(due.min(rows)),
            (due, rows) => due.or(rows),
        };
        Ok(vec![SplitRange { split: SPLIT, start_offset: 0, end_offset }])
    }
}
