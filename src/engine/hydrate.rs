//! Filling a new view beside the running ones.
//!
//! The dataflow is built at the boundary after cut E0; from then on the workers keep live
//! feeds back for it. A thread of its own feeds it, in bounded steps, what the relations
//! held at E0: sources read again by a private reader up to the offsets of E0, the local
//! log, snapshots of tables and views. The watermark is held back meanwhile, so no row is
//! late, and takes effect with the last step. A source that nobody read so far is read up to
//! its present end and begins its life there. Then the coordinator attaches the view.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::bounded_read::{BoundedRead, bounded_ranges};
use super::coordinator::{Command, Coordinator};
use super::cut::split_by_key;
use super::progress::SourceProgress;
use super::relations::Progress;
use super::source::SourceSpec;
use super::status::ViewState;
use super::view_time::{RelationTime, TimeState, ViewTime};
use super::{Shared, TableHandle};
use crate::connectors::{DeadLetter, SplitRange};
use crate::dataflow::host::{DataflowFeed, Feed, Host, RelationRows};
use crate::dataflow::watermarks::Watermarks;
use crate::error::{HwError, Result, sqlstate};
use crate::types::{ChangeBatch, Epoch, EventTime, ProcTime};
use crate::views::{Pin, ViewStore};

/// Hydration steps that workers may have before them.
const STEPS_AHEAD: usize = 2;
/// Rows of one step, roughly.
const STEP_ROWS: usize = 65_536;
/// How long the source may deliver nothing before the hydration fails.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Counts hydration steps that the workers have not finished.
pub struct Gate {
    workers: usize,
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    /// Reports still to come: workers × steps.
    outstanding: usize,
    cancelled: bool,
}

impl Gate {
    pub fn new(workers: usize) -> Gate {
        Gate { workers, state: Mutex::new(GateState::default()), changed: Condvar::new() }
    }

    /// Waits until at most `ahead` steps are before the workers, then counts one more.
    fn begin(&self, ahead: usize) -> Result<()> {
        let mut state = self.state.lock();
        while state.outstanding > ahead * self.workers && !state.cancelled {
            self.changed.wait(&mut state);
        }
        if state.cancelled {
            return Err(HwError::new(
                sqlstate::QUERY_CANCELED,
                "the view was dropped while it was being filled",
            ));
        }
        state.outstanding += self.workers;
        Ok(())
    }

    pub fn step_done(&self) {
        let mut state = self.state.lock();
        state.outstanding = state.outstanding.saturating_sub(1);
        self.changed.notify_all();
    }

    pub fn cancel(&self) {
        self.state.lock().cancelled = true;
        self.changed.notify_all();
    }

    fn is_cancelled(&self) -> bool {
        self.state.lock().cancelled
    }
}

/// Outcome of a hydration, for the coordinator.
pub struct Hydrated {
    pub view: u64,
    pub epoch: Epoch,
    pub result: Result<()>,
    /// Sources that nobody read before, with what was read of them.
    pub activated: BTreeMap<u64, ReadAhead>,
    pub watermarks: Watermarks,
    /// The clock's time by which its rows came.
    pub now: ProcTime,
}

/// What a source that nobody read so far has delivered to a hydration.
pub struct ReadAhead {
    pub progress: SourceProgress,
    pub dead_letters: Vec<DeadLetter>,
    /// Of all dead letters, the newest of which are kept.
    pub dead_letter_count: u64,
    pub tombstones: u64,
}

/// Where the rows of one input come from.
enum Origin {
    Feed {
        relation: u64,
    },
    /// A source up to the offsets of E0, or (`None`) up to its present end.
    Source {
        spec: Arc<SourceSpec>,
        used: Vec<usize>,
        until: Option<SourceProgress>,
    },
    Table(Arc<TableHandle>),
    View {
        relation: u64,
        store: Arc<ViewStore>,
    },
}

impl Origin {
    /// Place in the order of filling: events come last.
    fn rank(&self) -> u8 {
        match self {
            Origin::Table(_) => 0,
            Origin::View { .. } => 1,
            Origin::Feed { .. } | Origin::Source { .. } => 2,
        }
    }
}

struct Hydration {
    view: u64,
    epoch: Epoch,
    now: ProcTime,
    log_end: u64,
    shared: Arc<Shared>,
    host: Arc<Host>,
    gate: Arc<Gate>,
    progress: Progress,
    origins: Vec<Origin>,
    /// Event time at E0 by input; of sources not yet read it is found while reading.
    times: Vec<RelationTime>,
    time: ViewTime,
    relations: Vec<u64>,
    _pin: Pin,
    rows: u64,
    total: Option<u64>,
    next_worker: usize,
    activated: BTreeMap<u64, ReadAhead>,
}

impl Coordinator {
    pub(super) fn start_hydration(&mut self, id: u64, gate: Arc<Gate>, progress: Progress) {
        let times = self.input_times(id);
        let now = self.shared.clock.now();
        let pin = match self.shared.pins.pin(self.epoch.min(self.shared.pins.published())) {
            Ok(pin) => pin,
            Err(e) => return self.fail_view(id, e),
        };
        let Some(view) = self.views.get_mut(&id) else { return };
        let time = view.time.clone();
        view.time.advance(&times, now.0);
        let Some(view) = self.views.get(&id) else { return };
        let relations: Vec<u64> = view.plan.inputs.iter().map(|i| i.relation).collect();
        let origins = view.plan.inputs.iter().map(|i| self.origin(i.relation, &i.used_columns)).collect();
        let hydration = Hydration {
            view: id,
            epoch: self.epoch,
            now,
            log_end: self.log_end,
            shared: Arc::clone(&self.shared),
            host: Arc::clone(&self.host),
            gate,
            progress,
            origins,
            times,
            time,
            relations,
            _pin: pin,
            rows: 0,
            total: None,
            next_worker: 0,
            activated: BTreeMap::new(),
        };
        let to_self = self.to_self.clone();
        let spawned =
            std::thread::Builder::new().name(format!("hydrate-{id}")).spawn(move || hydration.run(to_self));
        if let Err(e) = spawned {
            self.fail_view(id, e.into());
        }
    }

    fn origin(&self, relation: u64, used: &[usize]) -> Origin {
        if let Some(source) = self.sources.get(&relation) {
            if source.spec.is_feed() {
                return Origin::Feed { relation };
            }
            // On a manual clock a new source delivers with the next STEP; a source without a
            // backlog begins live.
            let fresh = source.intake.is_none();
            let until = match fresh && !self.shared.clock.is_manual() && source.spec.has_backlog {
                true => None,
                false => Some(source.progress.clone()),
            };
            return Origin::Source { spec: Arc::clone(&source.spec), used: used.to_vec(), until };
        }
        if let Some(table) = self.tables.get(&relation) {
            return Origin::Table(Arc::clone(table));
        }
        match self.views.get(&relation).and_then(|v| v.store.clone()) {
            Some(store) => Origin::View { relation, store },
            None => Origin::Feed { relation },
        }
    }
}

impl Hydration {
    fn run(mut self, to_coordinator: crossbeam_channel::Sender<Command>) {
        let result = self.fill();
        let watermarks = self.time.advance(&self.times, self.now.0);
        let hydrated = Hydrated {
            view: self.view,
            epoch: self.epoch,
            result,
            activated: std::mem::take(&mut self.activated),
            watermarks,
            now: self.now,
        };
        let _ = to_coordinator.send(Command::Hydrated(Box::new(hydrated)));
    }

    fn fill(&mut self) -> Result<()> {
        self.wait_for_epoch()?;
        let mut origins: Vec<_> = std::mem::take(&mut self.origins).into_iter().enumerate().collect();
        // Look-ups find what their right sides hold: those, which stand later, are filled before.
        origins.sort_by_key(|(input, origin)| (origin.rank(), std::cmp::Reverse(*input)));
        for (input, origin) in origins {
            // A relation read twice is one input; each input is fed once.
            match origin {
                Origin::Feed { relation } => self.fill_from_log(relation)?,
                Origin::Source { spec, used, until } => self.fill_from_source(input, spec, &used, until)?,
                Origin::Table(table) => self.fill_from_table(&table)?,
                Origin::View { relation, store } => self.fill_from_view(relation, &store)?,
            }
        }
        // The last step makes the watermark take effect; all steps are done when it is.
        let watermarks = self.time.advance(&self.times, self.now.0);
        self.step(Vec::new(), watermarks)?;
        self.gate.begin(0)?;
        (0..self.host.workers()).for_each(|_| self.gate.step_done());
        Ok(())
    }

    /// The stores hold E0 once it is published.
    fn wait_for_epoch(&self) -> Result<()> {
        let mut published = self.shared.published.subscribe();
        let epoch = self.epoch;
        let seen = futures::executor::block_on(published.wait_for(|p| p.epoch >= epoch)).map(|_| ());
        seen.map_err(|_| HwError::new(sqlstate::ADMIN_SHUTDOWN, "the server is shutting down"))
    }

    fn fill_from_log(&mut self, relation: u64) -> Result<()> {
        let batches =
            self.shared.log.read_back(&[relation], self.log_end)?.remove(&relation).unwrap_or_default();
        for batch in batches {
            self.rows_of(relation, vec![batch])?;
        }
        Ok(())
    }

    fn fill_from_table(&mut self, table: &TableHandle) -> Result<()> {
        let workers = self.host.workers();
        for rows in table.store.snapshot(self.epoch, None)? {
            let batch = ChangeBatch::inserts(rows);
            self.rows += batch.len() as u64;
            let parts = split_by_key(&batch, &table.key, workers)?;
            let per_worker = parts.into_iter().map(|p| p.into_iter().collect()).collect();
            self.step(vec![RelationRows { relation: table.id, per_worker }], self.held())?;
        }
        Ok(())
    }

    /// Rows of a view stay on the worker whose dataflow made them.
    fn fill_from_view(&mut self, relation: u64, store: &ViewStore) -> Result<()> {
        let workers = self.host.workers();
        for (shard, batches) in store.snapshot_by_shard(self.epoch, None)?.into_iter().enumerate() {
            for rows in batches {
                self.rows += rows.num_rows() as u64;
                let mut per_worker = vec![Vec::new(); workers];
                per_worker[shard].push(ChangeBatch::inserts(rows));
                self.step(vec![RelationRows { relation, per_worker }], self.held())?;
            }
        }
        Ok(())
    }

    fn fill_from_source(
        &mut self,
        input: usize,
        spec: Arc<SourceSpec>,
        used: &[usize],
        until: Option<SourceProgress>,
    ) -> Result<()> {
        let ends: BTreeMap<u32, i64> = match &until {
            Some(progress) => progress.splits.iter().map(|(s, p)| (*s, p.offset)).collect(),
            None => match &spec.connector {
                Some(c) => {
                    c.end_offsets()?.into_iter().filter_map(|r| Some((r.split, r.end_offset?))).collect()
                }
                None => BTreeMap::new(),
            },
        };
        let ranges = bounded_ranges(&spec.start, ends.clone());
        let missing: i64 = ranges.iter().map(|r| r.end_offset.unwrap_or(0) - r.start_offset).sum();
        self.total = Some(self.total.unwrap_or(0) + missing.max(0) as u64);
        let progress = SourceProgress::new(&spec.start, self.now.0);
        let mut ahead = ReadAhead { progress, dead_letters: Vec::new(), dead_letter_count: 0, tombstones: 0 };
        if missing > 0 {
            self.read_source(&spec, &spec.needed(used), ranges, &mut ahead)?;
        }
        if until.is_none() {
            let progress = &mut ahead.progress;
            for (split, end) in ends {
                let split = progress.split_mut(split, self.now.0);
                split.offset = split.offset.max(end);
            }
            progress.combine(self.now.0);
            if self.times[input].state != TimeState::Untimed {
                let watermark = EventTime(progress.watermark);
                self.times[input] = RelationTime { watermark, state: TimeState::Active };
            }
            self.activated.insert(spec.id, ahead);
        }
        Ok(())
    }

    fn read_source(
        &mut self,
        spec: &SourceSpec,
        needed: &[usize],
        ranges: Vec<SplitRange>,
        ahead: &mut ReadAhead,
    ) -> Result<()> {
        let chunk_rows_max = self.shared.limits.chunk_rows_max;
        let mut read = BoundedRead::open(spec, needed, ranges, chunk_rows_max, SILENCE_MAX)?;
        let mut waiting = Vec::new();
        let mut waiting_rows = 0;
        while !read.is_done() {
            if self.gate.is_cancelled() {
                return Err(HwError::new(
                    sqlstate::QUERY_CANCELED,
                    "the view was dropped while it was being filled",
                ));
            }
            for ready in read.poll(self.now.0)? {
                let rows = ready.rows.num_rows();
                let progress = &mut ahead.progress;
                progress.split_mut(ready.split, self.now.0).lost += ready.lost;
                progress.take(ready.split, ready.end_offset, rows, &ready.time, spec.quantile(), self.now.0);
                ahead.tombstones += ready.tombstones;
                ahead.dead_letter_count += ready.dead_letters.len() as u64;
                ahead.dead_letters.extend(ready.dead_letters);
                let limit = self.shared.limits.dead_letters_max;
                ahead.dead_letters.drain(..ahead.dead_letters.len().saturating_sub(limit));
                waiting_rows += ready.rows.num_rows();
                waiting.push(ChangeBatch::inserts(ready.rows));
            }
            if waiting_rows >= STEP_ROWS || read.is_done() {
                self.rows_of(spec.id, std::mem::take(&mut waiting))?;
                waiting_rows = 0;
            }
        }
        Ok(())
    }

    fn rows_of(&mut self, relation: u64, batches: Vec<ChangeBatch>) -> Result<()> {
        let workers = self.host.workers();
        let mut per_worker = vec![Vec::new(); workers];
        for batch in batches.into_iter().filter(|b| !b.is_empty()) {
            self.rows += batch.len() as u64;
            per_worker[self.next_worker % workers].push(batch);
            self.next_worker += 1;
        }
        self.step(vec![RelationRows { relation, per_worker }], self.held())
    }

    fn held(&self) -> Watermarks {
        Watermarks::held(self.relations.len())
    }

    fn step(&mut self, rows: Vec<RelationRows>, watermarks: Watermarks) -> Result<()> {
        self.gate.begin(STEPS_AHEAD)?;
        let dataflows = vec![DataflowFeed { id: self.view, watermarks, now: None }];
        self.host.feed(Arc::new(Feed {
            epoch: self.epoch,
            now: self.now,
            dataflows,
            rows,
            private: Some(self.view),
        }));
        self.shared.status.set_view(self.view, ViewState::Hydrating { rows: self.rows, total: self.total });
        if let Some(progress) = &self.progress {
            let _ = progress.try_send((self.rows, self.total));
        }
        Ok(())
    }
}
