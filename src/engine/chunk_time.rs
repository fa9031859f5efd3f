//! What a piece of a split says about event time, row by row, so that it can be cut anywhere.

use arrow::array::{Array, TimestampMicrosecondArray};
use arrow::compute::kernels::aggregate;

/// Offsets are those of the split, times microseconds.
#[derive(Clone, Debug, Default)]
pub struct ChunkTime {
    /// By row: the watermark that it proves (with PERCENTILE: its event time); null if nothing.
    pub proven: Option<TimestampMicrosecondArray>,
    /// What the source itself says: after the record at this offset its watermark is that.
    /// Offsets ascend; they need not be those of rows.
    pub marks: Vec<(i64, i64)>,
    /// Offset and event time of rows too far in the future to prove anything.
    pub skewed: Vec<(i64, i64)>,
}

impl ChunkTime {
    /// The largest time proven.
    pub fn newest(&self) -> Option<i64> {
        let rows = self.proven.as_ref().and_then(aggregate::max);
        rows.max(self.marks.iter().map(|(_, time)| *time).max())
    }

    /// The parts before and from `offset`, of which the first has `rows` rows.
    pub fn split(self, rows: usize, offset: i64) -> (ChunkTime, ChunkTime) {
        let slice = |from: usize, n: usize| self.proven.as_ref().map(|p| p.slice(from, n));
        let rest = self.proven.as_ref().map_or(0, |p| p.len() - rows);
        let (proven_now, proven_later) = (slice(0, rows), slice(rows, rest));
        let before = |pairs: Vec<(i64, i64)>| -> (Vec<_>, Vec<_>) {
            pairs.into_iter().partition(|(at, _)| *at < offset)
        };
        let (marks_now, marks_later) = before(self.marks);
        let (skewed_now, skewed_later) = before(self.skewed);
        (
            ChunkTime { proven: proven_now, marks: marks_now, skewed: skewed_now },
            ChunkTime { proven: proven_later, marks: marks_later, skewed: skewed_later },
        )
    }

    /// The first offset whose record proves more than `limit`. `offsets`: those of the rows.
    pub fn first_beyond(&self, offsets: &[i64], limit: i64) -> Option<i64> {
        let mark = self.marks.iter().find(|(_, time)| *time > limit).map(|(at, _)| *at);
        let row = self.proven.as_ref().and_then(|p| {
            let beyond = (0..p.len()).find(|i| p.is_valid(*i) && p.value(*i) > limit)?;
            offsets.get(beyond).copied()
        });
        match (mark, row) {
            (Some(mark), Some(row)) => Some(mark.min(row)),
            (mark, row) => mark.or(row),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_knows_its_own_rows_only() {
        let proven = TimestampMicrosecondArray::from(vec![Some(5), None, Some(9), Some(7)]);
        let marks = vec![(10, 1), (13, 8)];
        let time = ChunkTime { proven: Some(proven), marks, skewed: vec![(11, 99), (15, 98)] };
        let offsets = [10, 11, 12, 14];
        assert_eq!(time.newest(), Some(9));
        assert_eq!(time.first_beyond(&offsets, 5), Some(12));
        assert_eq!(time.first_beyond(&offsets, 9), None);
        assert_eq!(time.first_beyond(&offsets, 0), Some(10));
        let (now, later) = time.split(2, 12);
        assert_eq!((now.newest(), now.marks, now.skewed), (Some(5), vec![(10, 1)], vec![(11, 99)]));
        assert_eq!((later.newest(), later.marks, later.skewed), (Some(9), vec![(13, 8)], vec![(15, 98)]));
    }
}
