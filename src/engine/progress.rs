//! How far a source has been taken into cuts, and where its event time is.
//!
//! Per split: the offset and watermark of the last cut, and what explains them. The watermark
//! of the source is the minimum over splits that are not idle (of those that were idle last,
//! if all are); it never falls, also when
//! splits are added, wake up, or come back from the journal. Times are in microseconds.

use std::collections::BTreeMap;

use arrow::array::Array;

use super::chunk_time::ChunkTime;
use super::delay::DelayEstimate;
use super::journal::{SourceCut, SplitCut};
use crate::connectors::SplitRange;

#[derive(Clone, Debug, PartialEq)]
pub struct SourceProgress {
    pub splits: BTreeMap<u32, SplitProgress>,
    /// W of the last cut; `i64::MIN` while there is none.
    pub watermark: i64,
    /// Clock time at which it last rose, or reading began.
    pub since: i64,
    /// With PERCENTILE, by split.
    estimates: BTreeMap<u32, DelayEstimate>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SplitProgress {
    pub offset: i64,
    pub watermark: i64,
    pub idle: bool,
    /// Clock time since which nothing came although we were caught up and listening.
    pub quiet_since: i64,
    /// Clock time at which the watermark last rose, or reading began.
    pub since: i64,
    pub rows: u64,
    /// Offsets that were deleted before they were read, and skipped.
    pub lost: u64,
    /// Rows too far in the future to move the watermark, and the last of them: offset, time.
    pub skewed_rows: u64,
    pub last_skew: Option<(i64, i64)>,
    /// Held back by its alignment group.
    pub waits: bool,
    /// With PERCENTILE: the present estimate of the delay.
    pub delay_us: Option<i64>,
}

impl SplitProgress {
    fn new(offset: i64, now: i64) -> SplitProgress {
        SplitProgress {
            offset,
            watermark: i64::MIN,
            idle: false,
            quiet_since: now,
            since: now,
            rows: 0,
            lost: 0,
            skewed_rows: 0,
            last_skew: None,
            waits: false,
            delay_us: None,
        }
    }

    /// Moves the watermark up to `to`; never down.
    pub fn raise(&mut self, to: i64, now: i64) {
        if to > self.watermark {
            self.watermark = to;
            self.since = now;
        }
    }

    /// Whether the split is silent: `listening` says that we are caught up with the other
    /// side and that nothing keeps us from hearing of more; only such time counts.
    pub fn listen(&mut self, listening: bool, idle_timeout_us: Option<i64>, now: i64) {
        if !listening {
            self.quiet_since = now;
        }
        self.idle = listening && idle_timeout_us.is_some_and(|t| now - self.quiet_since >= t);
    }
}

impl SourceProgress {
    pub fn new(start: &[SplitRange], now: i64) -> SourceProgress {
        let split = |r: &SplitRange| (r.split, SplitProgress::new(r.start_offset, now));
        SourceProgress {
            splits: start.iter().map(split).collect(),
            watermark: i64::MIN,
            since: now,
            estimates: BTreeMap::new(),
        }
    }

    /// A split that appeared after the source was created is read from its beginning.
    pub fn split_mut(&mut self, split: u32, now: i64) -> &mut SplitProgress {
        self.splits.entry(split).or_insert_with(|| SplitProgress::new(0, now))
    }

    /// Takes rows of a split up to `end_offset`. `quantile`: of PERCENTILE.
    pub fn take(
        &mut self,
        split: u32,
        end_offset: i64,
        rows: usize,
        time: &ChunkTime,
        quantile: Option<f64>,
        now: i64,
    ) {
        let mut proven = time.newest();
        let mut delay_us = None;
        if let (Some(quantile), Some(times)) = (quantile, &time.proven) {
            let estimate = self.estimates.entry(split).or_insert_with(|| DelayEstimate::new(quantile));
            estimate.add((0..times.len()).filter(|i| times.is_valid(*i)).map(|i| times.value(i)));
            proven = estimate.watermark();
            delay_us = proven.map(|_| estimate.delay_us());
        }
        let split = self.split_mut(split, now);
        split.offset = split.offset.max(end_offset);
        split.raise(proven.unwrap_or(i64::MIN), now);
        split.delay_us = delay_us.or(split.delay_us);
        split.rows += rows as u64;
        split.skewed_rows += time.skewed.len() as u64;
        split.last_skew = time.skewed.last().copied().or(split.last_skew);
        split.idle = false;
        split.quiet_since = now;
    }

    /// Combines the splits' watermarks; returns whether the source's watermark rose.
    pub fn combine(&mut self, now: i64) -> bool {
        let active = self.splits.values().filter(|s| !s.idle).map(|s| s.watermark).min();
        match active.or_else(|| self.last_active()) {
            Some(w) if w > self.watermark => {
                self.watermark = w;
                self.since = now;
                true
            }
            _ => false,
        }
    }

    /// The watermark when all splits have become idle: that of the one that was left when the
    /// others were idle already. Cuts may see several become idle at once, so their order is
    /// that of their last signs of life; splits that never had a watermark held nothing.
    fn last_active(&self) -> Option<i64> {
        let started = || self.splits.values().filter(|s| s.watermark > i64::MIN);
        let last = started().map(|s| s.quiet_since).max()?;
        started().filter(|s| s.quiet_since == last).map(|s| s.watermark).min()
    }

    /// All splits are idle, and there is one.
    pub fn is_idle(&self) -> bool {
        !self.splits.is_empty() && self.splits.values().all(|s| s.idle)
    }

    /// Sets everything to what a journalled cut says.
    pub fn set(&mut self, cut: &SourceCut, now: i64) {
        for s in &cut.splits {
            let split = self.split_mut(s.split, now);
            split.offset = s.end_offset;
            split.watermark = s.watermark;
            split.idle = s.idle;
            split.skewed_rows = s.skewed_rows;
            split.lost = s.lost;
            split.since = s.since;
            split.quiet_since = s.quiet_since;
        }
        if cut.watermark > self.watermark {
            self.watermark = cut.watermark;
            self.since = now;
        }
    }

    /// Begins a life after `other` was read by somebody else, to the same offsets.
    pub fn continue_from(&mut self, other: SourceProgress, now: i64) {
        self.set(&other.to_cut(0), now);
        for (split, there) in other.splits {
            let here = self.split_mut(split, now);
            (here.rows, here.last_skew, here.delay_us) = (there.rows, there.last_skew, there.delay_us);
        }
        self.estimates = other.estimates;
    }

    pub fn to_cut(&self, source: u64) -> SourceCut {
        let split = |(split, p): (&u32, &SplitProgress)| SplitCut {
            split: *split,
            end_offset: p.offset,
            watermark: p.watermark,
            idle: p.idle,
            skewed_rows: p.skewed_rows,
            lost: p.lost,
            since: p.since,
            quiet_since: p.quiet_since,
        };
        SourceCut { source, watermark: self.watermark, splits: self.splits.iter().map(split).collect() }
    }

    /// The ranges from here on, without end.
    pub fn ranges(&self) -> Vec<SplitRange> {
        (self.splits.iter())
            .map(|(split, p)| SplitRange { split: *split, start_offset: p.offset, end_offset: None })
            .collect()
    }

    /// A copy for the status, without what only the next row needs.
    pub fn shown(&self) -> SourceProgress {
        SourceProgress { splits: self.splits.clone(), estimates: BTreeMap::new(), ..*self }
    }
}

#[cfg(test)]
mod tests;
