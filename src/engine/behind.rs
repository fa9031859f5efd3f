//! Views that hold back an epoch for too long.
//!
//! An epoch is published when every view that was fed in it has finished it. A view that
//! needs longer than `view_lag_max_ms` is detached: epochs are published without it and the
//! views that read it, its rows can be read up to the epoch before, and it goes on with what
//! it was fed. When it has finished all that is published it is attached again. Nothing of
//! this is in the journal: a restart replays everybody to the same epoch. On a manual clock
//! nobody falls behind, because STEP waits.

use std::time::Duration;

use super::coordinator::Coordinator;
use super::relations::Phase;
use super::status::ViewState;
use crate::types::Epoch;

impl Coordinator {
    /// Time until the oldest epoch in flight has waited too long; `None` without one.
    pub(super) fn time_to_lag(&self) -> Option<Duration> {
        let oldest = self.in_flight.front().filter(|_| !self.shared.clock.is_manual())?;
        Some(self.lag_max().saturating_sub(oldest.cut_at.elapsed()))
    }

    fn lag_max(&self) -> Duration {
        Duration::from_millis(self.shared.limits.view_lag_max_ms)
    }

    /// Detaches the views that keep epochs from being published for too long.
    pub(super) fn detach_lagging(&mut self) {
        while let Some(flight) = self.in_flight.front()
            && self.time_to_lag().is_some_and(|left| left.is_zero())
            && !flight.waiting.is_empty()
        {
            let epoch = flight.epoch;
            let lagging: Vec<u64> = flight.waiting.keys().copied().collect();
            for id in lagging {
                self.detach(id, epoch);
            }
            self.publish_done();
        }
    }

    /// `epoch`: the first that the view has not finished; it is not published yet.
    fn detach(&mut self, id: u64, epoch: Epoch) {
        self.in_flight.iter_mut().for_each(|f| {
            f.waiting.remove(&id);
        });
        let Some(view) = self.views.get_mut(&id) else { return };
        view.phase = Phase::Behind;
        if let Some(store) = &view.store {
            store.set_incomplete_from(epoch);
        }
        let limit_ms = self.shared.limits.view_lag_max_ms;
        tracing::warn!(view = %view.name, epoch = epoch.0, limit_ms, "view has fallen behind and is detached");
        let since = self.shared.clock.now().0;
        self.shared.status.set_view(id, ViewState::Behind { since, epoch });
    }

    /// Attaches a view that has finished every published epoch.
    pub(super) fn attach_if_caught_up(&mut self, id: u64) {
        let Some(view) = self.views.get_mut(&id) else { return };
        let due = view.last_fed.min(self.shared.pins.published());
        if !matches!(view.phase, Phase::Behind) || !view.done.iter().all(|d| *d >= due) {
            return;
        }
        if let Some(store) = &view.store {
            store.set_complete();
        }
        tracing::info!(view = %view.name, "view has caught up and is attached again");
        self.make_live(id);
        // Whoever waits for its changes looks again.
        self.shared.published.send_modify(|_| {});
    }
}
