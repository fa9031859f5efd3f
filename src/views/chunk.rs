//! A run of row versions of one shard: Arrow columns and, beside them, the epochs.
//!
//! Every version of a shard has an ordinal, given in the order of arrival and never reused,
//! which the index refers to. Merging neighbours and dropping dead versions keep ordinals,
//! so the index need not follow. Invariant: ordinals ascend within and between chunks; the
//! summary fields (`from_max`, `to_min`, …) always describe the rows present.

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::DataType;

use crate::error::Result;
use crate::types::change_batch::take_rows;

/// `to` of a version that no change has ended.
pub(super) const LIVE: u64 = u64::MAX;

pub(super) struct Chunk {
    /// Ordinal of the first row.
    pub start: u64,
    /// Ordinals of the rows unless they are `start..`.
    ordinals: Option<Vec<u64>>,
    pub rows: RecordBatch,
    from: Vec<u64>,
    to: Vec<u64>,
    from_max: u64,
    to_min: u64,
    /// The largest `to` below `LIVE`, or 0.
    ended_max: u64,
    /// Versions whose `to` is below `LIVE`.
    ended: usize,
    pub bytes: usize,
}

impl Chunk {
    /// New versions, visible from `epoch` on.
    pub fn new(start: u64, rows: RecordBatch, epoch: u64) -> Chunk {
        let n = rows.num_rows();
        let bytes = bytes_of(&rows);
        Chunk {
            start,
            ordinals: None,
            rows,
            from: vec![epoch; n],
            to: vec![LIVE; n],
            from_max: epoch,
            to_min: LIVE,
            ended_max: 0,
            ended: 0,
            bytes,
        }
    }

    pub fn len(&self) -> usize {
        self.from.len()
    }

    /// Whether at least half of the versions have ended.
    pub fn is_ripe(&self) -> bool {
        2 * self.ended >= self.len()
    }

    pub fn ordinal(&self, row: usize) -> u64 {
        self.ordinals.as_ref().map_or(self.start + row as u64, |ordinals| ordinals[row])
    }

    /// The row with this ordinal, if it is here.
    pub fn position(&self, ordinal: u64) -> Option<usize> {
        match &self.ordinals {
            Some(ordinals) => ordinals.binary_search(&ordinal).ok(),
            None => ordinal.checked_sub(self.start).map(|p| p as usize).filter(|p| *p < self.len()),
        }
    }

    pub fn visible(&self, row: usize, epoch: u64) -> bool {
        self.from[row] <= epoch && epoch < self.to[row]
    }

    pub fn is_live(&self, row: usize) -> bool {
        self.to[row] == LIVE
    }

    /// Ends a live version: it is not visible from `epoch` on.
    pub fn end(&mut self, row: usize, epoch: u64) {
        debug_assert!(self.is_live(row));
        self.to[row] = epoch;
        self.to_min = self.to_min.min(epoch);
        self.ended_max = self.ended_max.max(epoch);
        self.ended += 1;
    }

    /// Which rows are visible at `epoch`.
    pub fn selection(&self, epoch: u64) -> Selection {
        if self.from_max <= epoch && epoch < self.to_min {
            return Selection::All;
        }
        let mask = BooleanBuffer::collect_bool(self.len(), |row| self.visible(row, epoch));
        match mask.count_set_bits() {
            0 => Selection::None,
            n if n == self.len() => Selection::All,
            _ => Selection::Some(mask),
        }
    }

    /// Adds what changed in the epochs `after < E <= up_to`: epoch, row, weight.
    pub fn changes(&self, after: u64, up_to: u64) -> Vec<(u64, u32, i64)> {
        let mut changes = Vec::new();
        if self.from_max <= after && self.ended_max <= after {
            return changes;
        }
        let within = |epoch: u64| after < epoch && epoch <= up_to;
        for (row, (from, to)) in self.from.iter().zip(&self.to).enumerate() {
            if from == to {
                continue;
            }
            if within(*from) {
                changes.push((*from, row as u32, 1));
            }
            if within(*to) {
                changes.push((*to, row as u32, -1));
            }
        }
        changes
    }

    /// Rows that no reader at `horizon` or later sees.
    pub fn dead(&self, horizon: u64) -> Vec<u32> {
        (0..self.len() as u32).filter(|row| self.to[*row as usize] <= horizon).collect()
    }

    /// This chunk without the rows that `dead(horizon)` names; `None` if nothing is left.
    pub fn without_dead(&self, horizon: u64) -> Result<Option<Chunk>> {
        let kept: Vec<u32> = (0..self.len() as u32).filter(|r| self.to[*r as usize] > horizon).collect();
        let Some(first) = kept.first() else { return Ok(None) };
        let start = self.ordinal(*first as usize);
        let pick = |values: &[u64]| kept.iter().map(|r| values[*r as usize]).collect::<Vec<u64>>();
        let ordinals = Some(kept.iter().map(|r| self.ordinal(*r as usize)).collect());
        let (from, to) = (pick(&self.from), pick(&self.to));
        let rows = take_rows(&self.rows, &UInt32Array::from(kept))?;
        Ok(Some(Chunk::assemble(start, ordinals, rows, from, to)))
    }

    /// Both chunks as one; `next` holds the larger ordinals.
    pub fn merge(&self, next: &Chunk) -> Result<Chunk> {
        let rows = concat_batches(&self.rows.schema(), [&self.rows, &next.rows])?;
        let adjoining = next.start == self.start + self.len() as u64;
        let ordinals = match (&self.ordinals, &next.ordinals) {
            (None, None) if adjoining => None,
            _ => {
                let all = |c: &Chunk| (0..c.len()).map(|r| c.ordinal(r)).collect::<Vec<u64>>();
                Some([all(self), all(next)].concat())
            }
        };
        let from = [self.from.as_slice(), &next.from].concat();
        let to = [self.to.as_slice(), &next.to].concat();
        Ok(Chunk::assemble(self.start, ordinals, rows, from, to))
    }

    fn assemble(
        start: u64,
        ordinals: Option<Vec<u64>>,
        rows: RecordBatch,
        from: Vec<u64>,
        to: Vec<u64>,
    ) -> Chunk {
        let ended = to.iter().filter(|t| **t != LIVE);
        Chunk {
            start,
            ordinals,
            from_max: from.iter().copied().max().unwrap_or(0),
            to_min: to.iter().copied().min().unwrap_or(LIVE),
            ended_max: ended.clone().copied().max().unwrap_or(0),
            ended: ended.count(),
            bytes: bytes_of(&rows),
            rows,
            from,
            to,
        }
    }
}

/// The part of a chunk that a reader sees.
pub(super) enum Selection {
    All,
    None,
    Some(BooleanBuffer),
}

impl Selection {
    pub fn count(&self, all: usize) -> usize {
        match self {
            Selection::All => all,
            Selection::None => 0,
            Selection::Some(mask) => mask.count_set_bits(),
        }
    }

    /// The rows selected; without a copy when it is all of them.
    pub fn apply(self, rows: RecordBatch) -> Result<RecordBatch> {
        match self {
            Selection::All => Ok(rows),
            Selection::None => Ok(rows.slice(0, 0)),
            Selection::Some(mask) => Ok(filter_record_batch(&rows, &BooleanArray::new(mask, None))?),
        }
    }
}

/// Bytes of the rows and their epochs, counting only the part of shared buffers in use.
fn bytes_of(rows: &RecordBatch) -> usize {
    let columns = rows.columns().iter().map(|column| {
        let data = column.to_data();
        let fixed = data.get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size());
        let long_text = match column.data_type() {
            DataType::Utf8View => column.as_string_view().total_buffer_bytes_used(),
            DataType::BinaryView => column.as_binary_view().total_buffer_bytes_used(),
            _ => 0,
        };
        fixed + long_text
    });
    columns.sum::<usize>() + 2 * size_of::<u64>() * rows.num_rows()
}
