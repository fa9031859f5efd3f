//! What the engine tells about itself: states of views, progress of sources, dead letters.
//!
//! Written by the coordinator and workers, read by system views and sessions; every list
//! has a limit and a count that goes on beyond it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::RwLock;

use super::progress::SourceProgress;
use super::view_time::RelationTime;
use crate::connectors::{DeadLetter, ReaderState, SplitStatus};
use crate::dataflow::operators::{LateRows, RowErrors};
use crate::error::{HwError, Result, sqlstate};
use crate::types::Epoch;

/// Readable state of a view or sink.
#[derive(Clone, Debug)]
pub enum ViewState {
    Recovering,
    Hydrating {
        rows: u64,
        total: Option<u64>,
    },
    Live,
    /// Detached since this clock time (µs), complete before this epoch.
    Behind {
        since: i64,
        epoch: Epoch,
    },
    Failed(HwError),
}

/// What is known of a source.
#[derive(Clone, Debug)]
pub struct SourceState {
    pub reader: Option<ReaderState>,
    pub splits: Vec<SplitStatus>,
    pub progress: SourceProgress,
    pub rows: u64,
    pub dead_letters: u64,
    pub tombstones: u64,
}

/// Event time of a view.
#[derive(Clone, Debug)]
pub struct ViewTimeState {
    pub output: RelationTime,
    /// Clock time (µs) at which the watermark last rose.
    pub since: i64,
    /// The relations whose watermark bounds the view's.
    pub inputs: Vec<u64>,
    /// All relations that it reads.
    pub reads: Vec<u64>,
}

/// A published epoch, for `headwater.epochs`.
#[derive(Clone, Copy, Debug)]
pub struct EpochRecord {
    pub epoch: u64,
    pub now: i64,
    pub rows: u64,
    /// From the cut to publication, microseconds.
    pub latency_us: u64,
}

/// Epochs remembered.
const EPOCHS_MAX: usize = 1000;

/// Side relations of a view.
#[derive(Clone)]
pub struct ViewSides {
    pub late: Vec<Arc<LateRows>>,
    pub errors: Vec<Arc<RowErrors>>,
}

#[derive(Default)]
pub struct EngineStatus {
    pub views: RwLock<BTreeMap<u64, ViewState>>,
    pub sources: RwLock<BTreeMap<u64, SourceState>>,
    pub dead_letters: RwLock<BTreeMap<u64, VecDeque<DeadLetter>>>,
    pub epochs: RwLock<VecDeque<EpochRecord>>,
    pub sides: RwLock<BTreeMap<u64, ViewSides>>,
    /// Panes fired, of views that keep them.
    pub panes: RwLock<BTreeMap<u64, Arc<super::panes::PaneLog>>>,
    /// Rows of `LATE DATA TO`, by view.
    pub late_relations: RwLock<BTreeMap<u64, Arc<super::late::LateRelation>>>,
    /// Event time of every view, as of the last cut.
    pub view_times: RwLock<BTreeMap<u64, ViewTimeState>>,
    pub blackholes: RwLock<BTreeMap<u64, Arc<super::relations::BlackholeOutput>>>,
}

impl EngineStatus {
    pub fn set_view(&self, id: u64, state: ViewState) {
        self.views.write().insert(id, state);
    }

    pub fn forget(&self, id: u64) {
        self.views.write().remove(&id);
        self.sources.write().remove(&id);
        self.dead_letters.write().remove(&id);
        self.sides.write().remove(&id);
        self.panes.write().remove(&id);
        self.late_relations.write().remove(&id);
        self.view_times.write().remove(&id);
        self.blackholes.write().remove(&id);
    }

    /// 55000 with the reason when a view cannot be read at present.
    pub fn check_readable(&self, id: u64, name: &str) -> Result<()> {
        let not_ready = |m: String| HwError::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, m);
        match self.views.read().get(&id) {
            // How far a view that is behind can be read is known to its store.
            None | Some(ViewState::Live | ViewState::Behind { .. }) => Ok(()),
            Some(ViewState::Recovering) => {
                Err(not_ready(format!("materialized view \"{name}\" is recovering"))
                    .with_hint("Try again when the server has replayed its journal."))
            }
            Some(ViewState::Hydrating { rows, total }) => {
                let of = total.map_or(String::new(), |t| format!(" of {t}"));
                Err(not_ready(format!("materialized view \"{name}\" is being filled"))
                    .with_detail(format!("{rows}{of} rows have been read so far."))
                    .with_hint("SHOW JOBS tells how far it is."))
            }
            Some(ViewState::Failed(e)) => Err(not_ready(format!("materialized view \"{name}\" has failed"))
                .with_detail(e.message().to_string())
                .with_hint("DROP it and create it again once the cause is gone.")),
        }
    }

    pub fn add_dead_letters(&self, source: u64, letters: Vec<DeadLetter>, limit: usize) {
        if letters.is_empty() {
            return;
        }
        let mut all = self.dead_letters.write();
        let kept = all.entry(source).or_default();
        kept.extend(letters);
        let excess = kept.len().saturating_sub(limit);
        kept.drain(..excess);
    }

    /// What a hydration read of a source that nobody read before.
    pub fn add_read_ahead(&self, source: u64, ahead: &super::hydrate::ReadAhead, limit: usize) {
        if let Some(state) = self.sources.write().get_mut(&source) {
            state.rows += ahead.progress.splits.values().map(|s| s.rows).sum::<u64>();
            state.dead_letters += ahead.dead_letter_count;
            state.tombstones += ahead.tombstones;
        }
        self.add_dead_letters(source, ahead.dead_letters.clone(), limit);
    }

    pub fn add_epoch(&self, record: EpochRecord) {
        let mut epochs = self.epochs.write();
        if epochs.len() >= EPOCHS_MAX {
            epochs.pop_front();
        }
        epochs.push_back(record);
    }
}
