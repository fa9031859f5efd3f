//! Reading a source up to given offsets, beside the intake that follows it.
//!
//! A private reader for the needed columns; nothing is consumed and nothing accounted. It ends
//! when every split has reached its end, fails when the source fails or delivers nothing for
//! too long.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::intake::{self, ReadyChunk};
use super::source::SourceSpec;
use crate::clock;
use crate::connectors::{ReaderState, SourceReader, SplitRange};
use crate::error::{HwError, Result, sqlstate};

/// How long one call waits for rows.
const POLL: Duration = Duration::from_millis(100);

pub(super) struct BoundedRead<'a> {
    spec: &'a SourceSpec,
    needed: &'a [usize],
    reader: Box<dyn SourceReader>,
    /// Splits that have not reached their end.
    open: BTreeMap<u32, i64>,
    heard: Instant,
    silence_max: Duration,
}

impl<'a> BoundedRead<'a> {
    pub fn open(
        spec: &'a SourceSpec,
        needed: &'a [usize],
        ranges: Vec<SplitRange>,
        chunk_rows_max: usize,
        silence_max: Duration,
    ) -> Result<BoundedRead<'a>> {
        let open = ranges.iter().filter_map(|r| Some((r.split, r.end_offset?))).collect();
        let reader = intake::open(spec, needed, ranges, chunk_rows_max)?;
        Ok(BoundedRead { spec, needed, reader, open, heard: clock::monotonic(), silence_max })
    }

    pub fn is_done(&self) -> bool {
        self.open.is_empty()
    }

    /// What has come meanwhile, perhaps nothing. `now`: µs, for generated columns.
    pub fn poll(&mut self, now: i64) -> Result<Vec<ReadyChunk>> {
        let chunks = self.reader.poll(POLL)?;
        if let ReaderState::Failed(e) = self.reader.state() {
            return Err(e);
        }
        if !chunks.is_empty() {
            self.heard = clock::monotonic();
        } else if self.heard.elapsed() > self.silence_max {
            let message = format!("source \"{}\" does not deliver", self.spec.name);
            return Err(HwError::new(sqlstate::IO_ERROR, message));
        }
        let ready = chunks.into_iter().map(|chunk| intake::make_ready(self.spec, self.needed, chunk, now));
        let ready: Vec<ReadyChunk> = ready.collect::<Result<_>>()?;
        for chunk in &ready {
            if self.open.get(&chunk.split).is_some_and(|end| chunk.end_offset >= *end) {
                self.open.remove(&chunk.split);
            }
        }
        Ok(ready)
    }
}

/// From the source's start to the given ends; splits that appeared later start at 0.
pub(super) fn bounded_ranges(
    start: &[SplitRange],
    ends: impl IntoIterator<Item = (u32, i64)>,
) -> Vec<SplitRange> {
    let first = |split: u32| start.iter().find(|r| r.split == split).map_or(0, |r| r.start_offset);
    (ends.into_iter())
        .map(|(split, end)| SplitRange { split, start_offset: first(split), end_offset: Some(end) })
        .filter(|r| r.end_offset.is_some_and(|end| end > r.start_offset))
        .collect()
}
