//! How far rows come behind the newest: the estimate of `WATERMARK FOR ts AS PERCENTILE (p)`.
//!
//! The delay of a row is the largest event time seen before it in its split, minus its own; 0
//! for a row that is the newest. Delays are counted in two histograms of [`BLOCK_ROWS`] rows,
//! the present block and the one before, so the estimate rests on the last 8,192 to 16,384
//! rows of the split. Buckets grow with the delay: below 32 µs they are exact, above they are
//! at most 1/32 wide; the upper bound is taken, so the estimate is never too small for the
//! rows it rests on and at most 3.2 % too large. It depends on the rows and their order only,
//! not on clocks, chunks or cuts. The quantile is by nearest rank, as in percentile_disc.

use std::collections::VecDeque;

const BLOCK_ROWS: u64 = 8_192;
/// Sub-buckets of each power of two, as a power of two.
const BITS: u32 = 5;
const BUCKETS: usize = (65 - BITS as usize) << BITS;

#[derive(Clone, Debug, PartialEq)]
pub struct DelayEstimate {
    quantile: f64,
    newest: i64,
    /// The present block and at most one before it.
    blocks: VecDeque<Block>,
}

#[derive(Clone, Debug, PartialEq)]
struct Block {
    rows: u64,
    counts: Vec<u32>,
}

impl DelayEstimate {
    /// `quantile` lies in 0..=1.
    pub fn new(quantile: f64) -> DelayEstimate {
        DelayEstimate { quantile, newest: i64::MIN, blocks: VecDeque::new() }
    }

    /// Takes the event times (µs) of rows in offset order.
    pub fn add(&mut self, times: impl Iterator<Item = i64>) {
        for time in times {
            if self.blocks.front().is_none_or(|b| b.rows >= BLOCK_ROWS) {
                self.blocks.push_front(Block { rows: 0, counts: vec![0; BUCKETS] });
                self.blocks.truncate(2);
            }
            let delay = if self.newest > time { self.newest.abs_diff(time) } else { 0 };
            self.newest = self.newest.max(time);
            if let Some(block) = self.blocks.front_mut() {
                block.rows += 1;
                block.counts[bucket(delay)] += 1;
            }
        }
    }

    /// The delay (µs) that the wanted part of the recent rows does not exceed.
    pub fn delay_us(&self) -> i64 {
        let rows: u64 = self.blocks.iter().map(|b| b.rows).sum();
        let rank = ((self.quantile * rows as f64).ceil() as u64).clamp(1, rows.max(1));
        let mut seen = 0;
        for i in 0..BUCKETS {
            seen += self.blocks.iter().map(|b| u64::from(b.counts[i])).sum::<u64>();
            if seen >= rank {
                return upper_bound(i);
            }
        }
        0
    }

    /// The newest event time minus the delay; `None` before the first row.
    pub fn watermark(&self) -> Option<i64> {
        (self.newest != i64::MIN).then(|| self.newest.saturating_sub(self.delay_us()))
    }
}

fn bucket(delay: u64) -> usize {
    if delay < 1 << BITS {
        return delay as usize;
    }
    let exponent = 63 - delay.leading_zeros();
    let low = (delay >> (exponent - BITS)) & ((1 << BITS) - 1);
    (((exponent - BITS + 1) as usize) << BITS) + low as usize
}

/// The largest delay of a bucket.
fn upper_bound(bucket: usize) -> i64 {
    if bucket < 1 << BITS {
        return bucket as i64;
    }
    let shift = (bucket >> BITS) as u32 - 1;
    let low = (bucket & ((1 << BITS) - 1)) as u128 + (1 << BITS);
    i64::try_from(((low + 1) << shift) - 1).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimate(quantile: f64, times: &[i64]) -> DelayEstimate {
        let mut e = DelayEstimate::new(quantile);
        e.add(times.iter().copied());
        e
    }

    #[test]
    fn buckets_are_contiguous_and_at_most_one_part_in_32_wide() {
        let mut last = -1;
        for i in 0..BUCKETS - 33 {
            let upper = upper_bound(i);
            assert_eq!(bucket((last + 1) as u64), i);
            assert_eq!(bucket(upper as u64), i);
            let width = i128::from(upper) - i128::from(last) - 1;
            assert!(width * 32 <= i128::from(last) + 1, "bucket {i}: {last} to {upper}");
            last = upper;
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn nearest_rank_of_small_delays_is_exact() {
        // Delays 0, 1, 2, …, 9.
        let times: Vec<i64> = std::iter::once(100).chain((1..10).map(|d| 100 - d)).collect();
        for (quantile, delay) in
            [(0.0, 0), (0.05, 0), (0.1, 0), (0.11, 1), (0.5, 4), (0.9, 8), (0.91, 9), (1.0, 9)]
        {
            let e = estimate(quantile, &times);
            assert_eq!((e.delay_us(), e.watermark()), (delay, Some(100 - delay)), "{quantile}");
        }
        assert_eq!(DelayEstimate::new(0.5).watermark(), None);
    }

    #[test]
    fn large_delays_are_never_understated_and_by_no_more_than_a_32nd_overstated() {
        let second = 1_000_000;
        for delay in [33, 1_000, 5 * second, 3_600 * second, 400 * 86_400 * second] {
            let found = estimate(1.0, &[0, -delay]).delay_us();
            assert!(found >= delay && (found - delay) * 32 <= delay, "{delay}: {found}");
        }
    }

    #[test]
    fn old_delays_are_forgotten_and_cuts_do_not_matter() {
        let burst: Vec<i64> = (0..1_000).map(|i| if i % 2 == 0 { i } else { i - 10_000 }).collect();
        let calm: Vec<i64> = (1_000..1_000 + 2 * BLOCK_ROWS as i64).collect();
        let mut whole = estimate(0.9, &burst);
        assert!(whole.delay_us() >= 10_000);
        let mut parts = DelayEstimate::new(0.9);
        burst.chunks(7).for_each(|c| parts.add(c.iter().copied()));
        whole.add(calm.iter().copied());
        calm.chunks(113).for_each(|c| parts.add(c.iter().copied()));
        assert_eq!(whole, parts);
        assert_eq!(whole.delay_us(), 0);
    }

    #[test]
    fn extremes_do_not_overflow() {
        let e = estimate(1.0, &[i64::MAX, i64::MIN + 1]);
        assert_eq!(e.delay_us(), i64::MAX);
    }
}
