//! Windows aligned to a local clock: days of 23 and 25 hours, hours that come twice or never.
//!
//! A boundary is an instant at which the local clock shows a multiple of the width, counted
//! from local midnight of 1970-01-01 plus the offset. If the clock jumps over a multiple, the
//! instant of the jump is the boundary. If it shows one twice, both instants are boundaries
//! when the width divides the repeated span (an hour that comes twice makes two windows of
//! one hour, as `date_trunc` has it); otherwise only the first is (the day has 25 hours).
//! Boundaries cut time without gaps. A HOP window reaches from a boundary of its slide to the
//! instant at which the local clock shows its start plus the size; sizes that divide the
//! clock change keep their length.

use super::{Shape, Windows, floor_to};

const SECOND_US: i64 = 1_000_000;
const DAY_US: i64 = 86_400 * SECOND_US;
/// No clock change is longer (Samoa skipped a day).
const CHANGE_US_MAX: i64 = DAY_US;

/// The instants that belong to a local time, in order.
struct Instants {
    first: i64,
    second: Option<i64>,
}

impl Windows {
    fn offset_at(&self, utc: i64) -> i64 {
        i64::from(self.zone.offset_at_utc(utc)) * SECOND_US
    }

    /// Offsets in force a day before and after a time, and by how much they differ.
    fn offsets_around(&self, time: i64) -> (i64, i64) {
        let before = self.offset_at(time.saturating_sub(CHANGE_US_MAX + SECOND_US));
        (before, self.offset_at(time.saturating_add(CHANGE_US_MAX + SECOND_US)))
    }

    /// When the local clock shows `local`, a multiple of `width`, or jumps over it.
    fn instants(&self, local: i64, width: i64) -> Instants {
        let (before, after) = self.offsets_around(local);
        let (early, late) = (local.saturating_sub(before), local.saturating_sub(after));
        if before == after {
            return Instants { first: early, second: None };
        }
        match (self.offset_at(early) == before, self.offset_at(late) == after) {
            (true, true) => {
                let twice = (before - after) % width == 0;
                Instants { first: early, second: twice.then_some(late) }
            }
            (true, false) => Instants { first: early, second: None },
            (false, true) => Instants { first: late, second: None },
            (false, false) => Instants { first: self.jump(late, early, after), second: None },
        }
    }

    /// The first instant in `(low, high]` at which the offset is `after`.
    fn jump(&self, low: i64, high: i64, after: i64) -> i64 {
        let (mut low, mut high) = (low.min(high) / SECOND_US - 1, high.max(low) / SECOND_US + 1);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.offset_at(middle * SECOND_US) == after { high = middle } else { low = middle }
        }
        high * SECOND_US
    }

    /// The boundaries of `width` around `time`: the last one not after it, the first after it.
    pub(super) fn local_span(&self, time: i64, width: i64) -> (i64, i64) {
        let (before, after) = self.offsets_around(time);
        let here = self.offset_at(time);
        let local = time.saturating_add(here);
        let base = floor_to(local, width, self.offset_us);
        // A change by whole windows leaves the boundaries where they are.
        let same_boundaries = (before - here) % width == 0 && (after - here) % width == 0;
        if same_boundaries && width <= CHANGE_US_MAX / 2 {
            let start = time.saturating_sub(local.saturating_sub(base));
            return (start, start.saturating_add(width));
        }
        let margin = (before - after).abs().max(1).div_euclid(width).saturating_add(2);
        let (mut start, mut end) = (i64::MIN, i64::MAX);
        for step in -margin..=margin + 1 {
            let instants = self.instants(base.saturating_add(step.saturating_mul(width)), width);
            for instant in std::iter::once(instants.first).chain(instants.second) {
                if instant <= time {
                    start = start.max(instant);
                } else {
                    end = end.min(instant);
                }
            }
        }
        (start, end)
    }

    /// The windows that hold `time`, latest end first.
    pub(super) fn local_windows(&self, time: i64) -> Vec<(i64, i64)> {
        match self.shape {
            Shape::Tumble => vec![self.local_span(time, self.size_us)],
            Shape::Cumulate => {
                let (start, last) = self.local_span(time, self.size_us);
                let mut end = self.local_span(time, self.slide_us).1;
                let mut windows = Vec::new();
                while end < last {
                    windows.push((start, end));
                    end = self.local_span(end, self.slide_us).1;
                }
                windows.push((start, last));
                windows.reverse();
                windows
            }
            Shape::Hop => {
                let mut windows = Vec::new();
                let mut start = self.local_span(time, self.slide_us).0;
                while time.saturating_sub(start) < self.size_us.saturating_add(CHANGE_US_MAX) {
                    let end = self.hop_end(start);
                    if end > time {
                        windows.push((start, end));
                    }
                    start = self.local_span(start.saturating_sub(1), self.slide_us).0;
                }
                windows.sort_unstable_by_key(|w| std::cmp::Reverse((w.1, w.0)));
                windows
            }
        }
    }

    /// Where the HOP window that starts at a boundary ends.
    fn hop_end(&self, start: i64) -> i64 {
        let fixed = start.saturating_add(self.size_us);
        let change = self.offset_at(fixed) - self.offset_at(start);
        if change == 0 || change % self.size_us == 0 {
            return fixed;
        }
        let local = start.saturating_add(self.offset_at(start)).saturating_add(self.size_us);
        let instants = self.instants(local, self.size_us);
        if instants.first > start { instants.first } else { instants.second.unwrap_or(fixed) }
    }
}
