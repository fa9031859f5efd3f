//! Watermark alignment: in a group of sources, the faster splits wait for the slowest.
//!
//! Flows in: the watermarks of all splits of the group as of the last cut. Flows out, per
//! source: a limit. A split whose watermark is beyond it is held: its rows stay in the
//! intake, its reader pauses, and it is not idle meanwhile. A split is taken up to and with the
//! first row beyond the limit, so it is ahead by `max-drift` and one row at most. Idle splits
//! and sources that nobody reads do not hold the group back; a split without rows does. A
//! feed never waits, as its rows are in the local log already, but others wait for it.

use std::collections::{BTreeMap, BTreeSet};

use super::coordinator::{Coordinator, SourceRuntime};
use super::intake::Reach;
use super::view_time::{RelationTime, TimeState};
use crate::types::EventTime;

/// The two slowest of a group, since nobody waits for itself.
#[derive(Clone, Copy)]
struct Slowest {
    least: i64,
    least_at: (u64, u32),
    next: i64,
}

impl Slowest {
    fn add(&mut self, at: (u64, u32), watermark: i64) {
        if watermark < self.least {
            *self = Slowest { least: watermark, least_at: at, next: self.least };
        } else {
            self.next = self.next.min(watermark);
        }
    }

    fn of_others(&self, at: (u64, u32)) -> i64 {
        if at == self.least_at { self.next } else { self.least }
    }
}

impl Coordinator {
    /// Works out anew who waits. Called when watermarks have moved.
    pub(super) fn align(&mut self) {
        let mut groups: BTreeMap<String, Slowest> = BTreeMap::new();
        for (id, source) in &self.sources {
            let Some(alignment) = &source.spec.alignment else { continue };
            if !self.views.values().any(|v| v.reads(*id)) {
                continue;
            }
            for (number, split) in source.progress.splits.iter().filter(|(_, s)| !s.idle) {
                let nobody = Slowest { least: i64::MAX, least_at: (0, 0), next: i64::MAX };
                let group = groups.entry(alignment.group.clone()).or_insert(nobody);
                group.add((*id, *number), split.watermark);
            }
        }
        for (id, source) in &mut self.sources {
            let Some(alignment) = &source.spec.alignment else { continue };
            let Some(slowest) = groups.get(&alignment.group) else { continue };
            let limit = |number: u32| slowest.of_others((*id, number)).saturating_add(alignment.max_drift_us);
            source.limits = source.progress.splits.keys().map(|number| (*number, limit(*number))).collect();
            source.hold();
        }
    }
}

impl SourceRuntime {
    /// Marks the splits beyond their limit and lets their reader pause.
    fn hold(&mut self) {
        let Some(intake) = &self.intake else { return };
        let mut held = BTreeSet::new();
        for (number, split) in &mut self.progress.splits {
            split.waits = self.limits.get(number).is_some_and(|limit| split.watermark > *limit);
            if split.waits {
                held.insert(*number);
            }
        }
        intake.hold(held);
    }

    /// Event time as readers of the source see it.
    pub(super) fn time(&self) -> RelationTime {
        if self.spec.watermark.is_none() {
            return RelationTime::UNTIMED;
        }
        let state = if self.progress.is_idle() { TimeState::Idle } else { TimeState::Active };
        RelationTime { watermark: EventTime(self.progress.watermark), state }
    }

    /// How far the next cut may take the splits.
    pub(super) fn reach(&self) -> Option<Reach> {
        self.spec.alignment.as_ref()?;
        let splits = &self.progress.splits;
        let delay = |split: &u32| splits.get(split).and_then(|p| p.delay_us).unwrap_or(0);
        Some(Reach {
            limits: self.limits.iter().map(|(s, limit)| (*s, limit.saturating_add(delay(s)))).collect(),
            stopped: splits.iter().filter(|(_, p)| p.waits).map(|(s, _)| *s).collect(),
        })
    }
}
