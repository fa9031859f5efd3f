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

impl Coordinator {
    /// Works out anew who waits. Called when watermarks have moved.
    pub(super) fn align(&mut self) {
        let mut slowest: BTreeMap<String, i64> = BTreeMap::new();
        for (id, source) in &self.sources {
            let Some(alignment) = &source.spec.alignment else { continue };
            if !self.views.values().any(|v| v.reads(*id)) {
                continue;
            }
            let active = source.progress.splits.values().filter(|s| !s.idle);
            if let Some(least) = active.map(|s| s.watermark).min() {
                let group = slowest.entry(alignment.group.clone()).or_insert(least);
                *group = least.min(*group);
            }
        }
        for source in self.sources.values_mut() {
            let Some(alignment) = &source.spec.alignment else { continue };
            source.limit =
                slowest.get(&alignment.group).map(|least| least.saturating_add(alignment.max_drift_us));
            source.hold();
        }
    }
}

impl SourceRuntime {
    /// Marks the splits beyond the limit and lets their reader pause.
    fn hold(&mut self) {
        let Some(intake) = &self.intake else { return };
        let mut held = BTreeSet::new();
        for (number, split) in &mut self.progress.splits {
            split.waits = self.limit.is_some_and(|limit| split.watermark > limit);
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
        let limit = self.limit?;
        let splits = &self.progress.splits;
        Some(Reach {
            limit,
            delays: splits.iter().filter_map(|(s, p)| Some((*s, p.delay_us?))).collect(),
            stopped: splits.iter().filter(|(_, p)| p.waits).map(|(s, _)| *s).collect(),
        })
    }
}
