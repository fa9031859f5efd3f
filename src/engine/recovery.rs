//! Recovery: the journalled cuts, replayed over input that is read again.
//!
//! Sources are read from their start, the local log from its file; every cut takes exactly
//! the rows it took before and has the watermark and time it had before. A view takes part
//! from the first cut, its watermark held back until the epoch at which it was attached. So
//! the views are what they were, whatever the number of workers is now. Views that were not
//! attached when the process ended are filled anew.

use std::collections::BTreeMap;
use std::time::Duration;

use super::coordinator::Coordinator;
use super::cut::Gathered;
use super::journal::{Attach, Cut, JournalRecord, SourceCut};
use super::relations::Phase;
use super::status::ViewState;
use crate::error::Result;
use crate::types::{Epoch, ProcTime};

const WORKER_PATIENCE: Duration = Duration::from_secs(600);

impl Coordinator {
    pub(super) fn recover(&mut self) -> Result<()> {
        let records = std::mem::take(&mut self.records);
        let mut activations: BTreeMap<u64, Vec<SourceCut>> = BTreeMap::new();
        let mut cuts: Vec<Cut> = vec![Cut::default()];
        for record in records {
            match record {
                JournalRecord::Cut(cut) => cuts.push(cut),
                JournalRecord::Attach(Attach { epoch, activated, .. }) => {
                    activations.entry(epoch).or_default().extend(activated);
                }
            }
        }
        let ids: Vec<u64> = self.sources.keys().copied().collect();
        for id in &ids {
            if self.views.values().any(|v| v.reads(*id) && matches!(v.phase, Phase::Replaying { .. })) {
                self.ensure_intake(*id)?;
            }
        }
        let replayed = cuts.len() - 1;
        let last_now = cuts.last().map_or(0, |c| c.now);
        for cut in cuts {
            let activated = activations.remove(&cut.epoch).unwrap_or_default();
            self.replay(cut, activated)?;
        }
        while !self.in_flight.is_empty() {
            self.wait_for_report(WORKER_PATIENCE)?;
        }
        if self.shared.clock.is_manual() {
            // A clock that has moved further already stays where it is.
            let _ = self.shared.clock.advance_to(ProcTime(last_now));
        }
        self.go_live();
        tracing::info!(epochs = replayed, epoch = self.epoch.0, "recovered");
        Ok(())
    }

    fn replay(&mut self, cut: Cut, activated: Vec<SourceCut>) -> Result<()> {
        while self.in_flight.len() >= self.shared.limits.epochs_in_flight_max {
            self.wait_for_report(WORKER_PATIENCE)?;
        }
        let mut gathered = Gathered::default();
        for source in cut.sources.iter().chain(&activated) {
            let ends = source.splits.iter().map(|s| (s.split, s.end_offset)).collect();
            self.take_replayed(source.source, &ends, ProcTime(cut.now), &mut gathered)?;
        }
        self.take_log(cut.log_end, usize::MAX, ProcTime(cut.now), &mut gathered);
        for source in cut.sources.iter().chain(&activated) {
            if let Some(runtime) = self.sources.get_mut(&source.source) {
                runtime.progress.set(source, cut.now);
                runtime.is_new = false;
            }
        }
        let (epoch, now) = (Epoch(cut.epoch), ProcTime(cut.now));
        let fed = self.feed(epoch, now, &gathered);
        self.apply_tables(epoch, &gathered)?;
        self.finish_cut(epoch, now, fed, gathered.row_count, None);
        Ok(())
    }

    fn go_live(&mut self) {
        self.recovered = true;
        if !self.shared.clock.is_manual() {
            // Nobody listened while the server was down or replayed its journal.
            let now = self.shared.clock.now().0;
            let splits = self.sources.values_mut().flat_map(|s| s.progress.splits.values_mut());
            splits.for_each(|s| s.quiet_since = now);
        }
        let mut unfilled = Vec::new();
        for (id, view) in &mut self.views {
            match &view.phase {
                Phase::Replaying { .. } => {
                    view.phase = Phase::Live;
                    self.shared.status.set_view(*id, ViewState::Live);
                }
                Phase::Hydrating(gate) => unfilled.push((*id, std::sync::Arc::clone(gate))),
                _ => {}
            }
        }
        for (id, gate) in unfilled {
            self.start_hydration(id, gate, None);
        }
        self.align();
        self.update_source_status();
    }
}
