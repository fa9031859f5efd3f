//! Numbering ordered rows, and the difference between two numberings.

use crate::state::RowId;
use crate::types::order::{RankRange, Ranking};

/// Which rows of a group are in the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub ranking: Ranking,
    pub range: RankRange,
    /// Whether the number is a column of the output.
    pub with_rank: bool,
}

/// Copies of a stored row under a number; the number is 0 where it is not asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    pub id: RowId,
    pub rank: u64,
    pub weight: i64,
}

/// Adds the rows in range, `sign` times each, to `out`. `rows` come in order, with key, id
/// and the number of copies; rows without copies are passed over.
pub fn show<'a, K: Ord + 'a>(
    rows: impl Iterator<Item = (&'a K, RowId, i64)>,
    limits: &Limits,
    sign: i64,
    out: &mut Vec<Shown>,
) {
    let first = limits.range.first;
    let last = limits.range.last.unwrap_or(u64::MAX);
    let (mut before, mut rank) = (0u64, 0u64);
    let mut previous: Option<&K> = None;
    for (key, id, weight) in rows.filter(|r| r.2 > 0) {
        let copies = weight as u64;
        if limits.ranking == Ranking::RowNumber {
            let (from, to) = (first.max(before + 1), last.min(before + copies));
            if limits.with_rank {
                out.extend((from..=to).map(|rank| Shown { id, rank, weight: sign }));
            } else if from <= to {
                out.push(Shown { id, rank: 0, weight: (to - from + 1) as i64 * sign });
            }
            before += copies;
            if before >= last {
                return;
            }
            continue;
        }
        if previous != Some(key) {
            rank = if limits.ranking == Ranking::Rank { before + 1 } else { rank + 1 };
            previous = Some(key);
        }
        before += copies;
        if rank > last {
            return;
        }
        if rank >= first {
            out.push(Shown { id, rank: if limits.with_rank { rank } else { 0 }, weight: weight * sign });
        }
    }
}

/// Adds up equal rows and leaves out those that cancel. Empties `shown`.
pub fn net(shown: &mut Vec<Shown>) -> Vec<Shown> {
    shown.sort_unstable_by_key(|s| (s.id, s.rank));
    let mut sums: Vec<Shown> = Vec::with_capacity(shown.len());
    for s in shown.drain(..) {
        match sums.last_mut() {
            Some(last) if (last.id, last.rank) == (s.id, s.rank) => last.weight += s.weight,
            _ => sums.push(s),
        }
    }
    sums.retain(|s| s.weight != 0);
    sums
}
