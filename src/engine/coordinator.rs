//! The coordinator: the one thread that decides what an epoch is.
//!
//! It owns the journal, the intakes and the life of every view. Its loop waits for a
//! command, a worker's report or news from an intake, and cuts an epoch when rows wait and
//! the epoch interval has passed (or enough rows wait), or a timer is due. Nothing else in
//! the process decides order; everything it decides is in the journal.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use tokio::sync::oneshot;

use super::hydrate::Hydrated;
use super::intake::{Intake, IntakeLimits};
use super::journal::{Attach, Journal, JournalRecord};
use super::progress::SourceProgress;
use super::relations::{Phase, Progress, TableSpec, ViewRuntime, ViewSpec};
use super::source::SourceSpec;
use super::state::{StateQuestion, StateReply};
use super::status::{SourceState, ViewState};
use super::table::TableHandle;
use super::{Published, Shared};
use crate::clock;
use crate::dataflow::host::{BuildOptions, Host, Report};
use crate::error::{HwError, Result, sqlstate};
use crate::types::{Epoch, ProcTime};
use crate::views::{InputEnds, ViewStore};

/// Reports waiting for the coordinator at most.
const REPORTS_MAX: usize = 65_536;
/// Rows that a worker keeps back for a view that is hydrating.
const QUEUED_ROWS_MAX: usize = 50_000_000;
/// Longest sleep of the loop while sources are read: idle splits are found by time.
const TICK: Duration = Duration::from_millis(200);
const LONG_TICK: Duration = Duration::from_secs(3600);

pub type Reply<T> = oneshot::Sender<Result<T>>;

pub enum Command {
    CreateSource(Arc<SourceSpec>, Reply<()>),
    CreateTable(TableSpec, Reply<()>),
    CreateView(Box<ViewSpec>, Progress, Reply<()>),
    Drop(Vec<u64>, Reply<()>),
    Recover(Reply<()>),
    Step(Reply<Epoch>),
    AdvanceWatermark { source: u64, to: i64, reply: Reply<()> },
    Hydrated(Box<Hydrated>),
    State(u64, StateReply),
    Wake,
    Shutdown,
}

/// A source being read, and how far.
pub(super) struct SourceRuntime {
    pub spec: Arc<SourceSpec>,
    pub progress: SourceProgress,
    pub intake: Option<Intake>,
    /// Told by `ADVANCE WATERMARK`, for the next cut.
    pub told_watermark: Option<i64>,
    /// In an alignment group, by split: with a later watermark it waits.
    pub limits: BTreeMap<u32, i64>,
    /// No cut has told the journal when the source began.
    pub is_new: bool,
}

/// An epoch that was fed and is not published yet.
pub(super) struct InFlight {
    pub epoch: Epoch,
    pub ends: Arc<InputEnds>,
    pub now: ProcTime,
    pub rows: u64,
    pub cut_at: Instant,
    /// Dataflows that have not finished it, with the number of workers missing.
    pub waiting: BTreeMap<u64, usize>,
    pub reply: Option<Reply<Epoch>>,
}

pub struct Coordinator {
    pub(super) shared: Arc<Shared>,
    pub(super) host: Arc<Host>,
    pub(super) journal: Journal,
    /// Records found at start, until recovery replays them.
    pub(super) records: Vec<JournalRecord>,
    pub(super) epoch: Epoch,
    pub(super) log_end: u64,
    pub(super) sources: BTreeMap<u64, SourceRuntime>,
    pub(super) tables: BTreeMap<u64, Arc<TableHandle>>,
    /// In order of creation, which is an order of dependency.
    pub(super) views: BTreeMap<u64, ViewRuntime>,
    pub(super) in_flight: VecDeque<InFlight>,
    pub(super) replies: BTreeMap<u64, Reply<()>>,
    /// Questions for the state of views, in order.
    pub(super) state_questions: Vec<StateQuestion>,
    pub(super) recovered: bool,
    pub(super) last_cut: Instant,
    pub(super) next_worker: usize,
    /// Late rows of each view that the metrics have counted.
    late_counts: BTreeMap<u64, u64>,
    commands: Receiver<Command>,
    pub(super) to_self: Sender<Command>,
    reports: Receiver<Report>,
    wake: Receiver<()>,
    waker: Sender<()>,
    stopping: bool,
    /// The disk or a worker failed: nothing is cut any more, reads go on.
    pub(super) broken: Option<HwError>,
}

impl Coordinator {
    pub fn new(
        shared: Arc<Shared>,
        journal: Journal,
        records: Vec<JournalRecord>,
        commands: Receiver<Command>,
        to_self: Sender<Command>,
    ) -> Result<Coordinator> {
        let (report_sender, reports) = bounded(REPORTS_MAX);
        let (waker, wake) = bounded(1);
        let host = Arc::new(Host::start(shared.limits.workers, report_sender)?);
        Ok(Coordinator {
            shared,
            host,
            journal,
            records,
            epoch: Epoch(0),
            log_end: 0,
            sources: BTreeMap::new(),
            tables: BTreeMap::new(),
            views: BTreeMap::new(),
            in_flight: VecDeque::new(),
            replies: BTreeMap::new(),
            state_questions: Vec::new(),
            recovered: false,
            last_cut: clock::monotonic(),
            next_worker: 0,
            late_counts: BTreeMap::new(),
            commands,
            to_self,
            reports,
            wake,
            waker,
            stopping: false,
            broken: None,
        })
    }

    /// The engine's loop.
    pub fn run(mut self) {
        while !self.stopping {
            let timeout = self.time_to_next_cut();
            select! {
                recv(self.commands) -> command => match command {
                    Ok(command) => self.command(command),
                    Err(_) => break,
                },
                recv(self.reports) -> report => report.into_iter().for_each(|r| self.report(r)),
                recv(self.wake) -> _ => self.update_source_status(),
                default(timeout) => {}
            }
            while let Ok(report) = self.reports.try_recv() {
                self.report(report);
            }
            if self.recovered && !self.shared.clock.is_manual() && self.broken.is_none() {
                self.cut_if_due();
                self.detach_lagging();
            }
        }
        self.finish();
    }

    /// Nothing is cut any more; reads go on.
    pub(super) fn break_down(&mut self, error: HwError) {
        *self.shared.broken.write() = Some(error.clone());
        self.broken = Some(error);
    }

    fn finish(&mut self) {
        self.sources.values_mut().for_each(|s| s.intake = None);
        let deadline = clock::monotonic() + Duration::from_secs(10);
        while !self.in_flight.is_empty() && clock::monotonic() < deadline {
            match self.reports.recv_timeout(Duration::from_millis(100)) {
                Ok(report) => self.report(report),
                Err(_) => continue,
            }
        }
    }

    fn time_to_next_cut(&self) -> Duration {
        if !self.recovered || self.shared.clock.is_manual() || self.broken.is_some() {
            return LONG_TICK;
        }
        let interval = Duration::from_millis(self.shared.limits.epoch_interval_ms);
        if self.in_flight.len() < self.shared.limits.epochs_in_flight_max && self.rows_wait() {
            return interval.saturating_sub(self.last_cut.elapsed());
        }
        let lag = self.time_to_lag().unwrap_or(LONG_TICK);
        let timer = self.next_timer().map_or(LONG_TICK, |t| {
            Duration::from_micros(t.0.saturating_sub(self.shared.clock.now().0).max(0) as u64)
        });
        let tick = if self.sources.values().any(|s| s.intake.is_some()) { TICK } else { LONG_TICK };
        timer.min(tick).min(lag).max(Duration::from_micros(200))
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Wake => {}
            Command::Shutdown => self.stopping = true,
            Command::CreateSource(spec, reply) => {
                self.create_source(spec);
                let _ = reply.send(Ok(()));
            }
            Command::CreateTable(spec, reply) => {
                self.create_table(spec);
                let _ = reply.send(Ok(()));
            }
            Command::CreateView(spec, progress, reply) => self.create_view(*spec, progress, reply),
            Command::Drop(ids, reply) => {
                ids.into_iter().for_each(|id| self.drop_object(id));
                let _ = reply.send(Ok(()));
            }
            Command::Recover(reply) => {
                let result = self.recover();
                if let Err(e) = &result {
                    self.break_down(e.clone());
                }
                let _ = reply.send(result);
            }
            Command::Step(reply) => self.step(reply),
            Command::AdvanceWatermark { source, to, reply } => {
                let result = match self.sources.get_mut(&source) {
                    Some(s) => {
                        s.told_watermark = Some(s.told_watermark.unwrap_or(i64::MIN).max(to));
                        Ok(())
                    }
                    None => Err(HwError::internal("the source is not running")),
                };
                let _ = reply.send(result);
            }
            Command::Hydrated(hydrated) => self.hydrated(*hydrated),
            Command::State(view, reply) => self.ask_state(view, reply),
        }
    }

    fn create_source(&mut self, spec: Arc<SourceSpec>) {
        let progress = SourceProgress::new(&spec.start, self.shared.clock.now().0);
        self.shared.sources.write().insert(spec.id, Arc::clone(&spec));
        let state = SourceState {
            reader: None,
            splits: Vec::new(),
            progress: progress.clone(),
            rows: 0,
            dead_letters: 0,
            tombstones: 0,
        };
        self.shared.status.sources.write().insert(spec.id, state);
        let runtime = SourceRuntime {
            spec,
            progress,
            intake: None,
            told_watermark: None,
            limits: BTreeMap::new(),
            is_new: true,
        };
        self.sources.insert(runtime.spec.id, runtime);
    }

    fn create_table(&mut self, spec: TableSpec) {
        let key = (!spec.key.is_empty()).then(|| spec.key.clone());
        let store = Arc::new(ViewStore::new(spec.name.clone(), Arc::clone(&spec.schema), key, false, 1));
        self.shared.stores.write().insert(spec.id, Arc::clone(&store));
        let table = Arc::new(TableHandle::new(spec, store));
        self.shared.tables.write().insert(table.id, Arc::clone(&table));
        self.tables.insert(table.id, table);
    }

    /// Builds the dataflow at the boundary after the last cut, and begins to fill it. Before
    /// recovery the journal decides: a view that was attached is replayed.
    fn create_view(&mut self, spec: ViewSpec, progress: Progress, reply: Reply<()>) {
        if let Some(e) = &self.broken {
            let _ = reply.send(Err(e.clone()));
            return;
        }
        let id = spec.id;
        if let Some(store) = &spec.store {
            self.shared.stores.write().insert(id, Arc::clone(store));
        }
        let options = BuildOptions { hydrating: self.recovered, queued_rows_max: QUEUED_ROWS_MAX };
        if !self.recovered {
            let attach_at = self.records.iter().find_map(|r| match r {
                JournalRecord::Attach(a) if a.view == id => Some(a.clone()),
                _ => None,
            });
            if let Some(Attach { epoch, since: began, filled_at, .. }) = attach_at {
                let (attach_at, filled_at) = (Epoch(epoch), ProcTime(filled_at));
                self.shared.status.set_view(id, ViewState::Recovering);
                self.host.build(Arc::clone(&spec.dataflow), Arc::clone(&spec.output), options);
                let workers = self.host.workers();
                let view = ViewRuntime::new(spec, Phase::Replaying { attach_at }, workers);
                self.views.insert(id, ViewRuntime { began, filled_at, ..view });
                let _ = reply.send(Ok(()));
                return;
            }
        }
        let options = BuildOptions { hydrating: true, ..options };
        self.shared.status.set_view(id, ViewState::Hydrating { rows: 0, total: None });
        self.host.build(Arc::clone(&spec.dataflow), Arc::clone(&spec.output), options);
        let gate = Arc::new(super::hydrate::Gate::new(self.host.workers()));
        let workers = self.host.workers();
        self.views.insert(id, ViewRuntime::new(spec, Phase::Hydrating(Arc::clone(&gate)), workers));
        if self.recovered {
            self.replies.insert(id, reply);
            self.start_hydration(id, gate, progress);
        } else {
            // A crash came between CREATE and attach: filled again once the journal is replayed.
            let _ = reply.send(Ok(()));
        }
    }

    fn drop_object(&mut self, id: u64) {
        self.state_questions.retain(|q| q.view != id);
        if let Some(view) = self.views.remove(&id) {
            if let Phase::Hydrating(gate) = &view.phase {
                gate.cancel();
            }
            self.host.drop_dataflow(id);
            self.in_flight.iter_mut().for_each(|f| {
                f.waiting.remove(&id);
            });
            if let Some(reply) = self.replies.remove(&id) {
                let _ = reply.send(Err(HwError::new(
                    sqlstate::QUERY_CANCELED,
                    "the view was dropped while it was being filled",
                )));
            }
        }
        self.sources.remove(&id);
        self.tables.remove(&id);
        self.shared.sources.write().remove(&id);
        self.shared.tables.write().remove(&id);
        self.shared.stores.write().remove(&id);
        self.shared.status.forget(id);
        self.stop_unused_intakes();
        self.publish_done();
    }

    fn stop_unused_intakes(&mut self) {
        for (id, source) in &mut self.sources {
            if source.intake.is_some() && !self.views.values().any(|v| v.reads(*id)) {
                source.intake = None;
            }
        }
    }

    /// (Re)starts the intake of a source from the last cut, for the columns that its views use.
    pub(super) fn ensure_intake(&mut self, id: u64) -> Result<()> {
        let used: Vec<usize> = (self.views.values())
            .flat_map(|v| v.plan.inputs.iter().filter(|i| i.relation == id))
            .flat_map(|i| i.used_columns.iter().copied())
            .collect();
        let Some(source) = self.sources.get_mut(&id) else { return Ok(()) };
        if source.spec.is_feed() {
            return Ok(());
        }
        let needed = source.spec.needed(&used);
        if source.intake.as_ref().is_some_and(|i| needed.iter().all(|c| i.needed.contains(c))) {
            return Ok(());
        }
        source.intake = None;
        let limits = IntakeLimits {
            rows_max: self.shared.limits.intake_rows_max,
            chunk_rows_max: self.shared.limits.chunk_rows_max,
        };
        let ranges = source.progress.ranges();
        let spec = Arc::clone(&source.spec);
        let clock = Arc::clone(&self.shared.clock);
        source.intake = Some(Intake::start(spec, needed, ranges, limits, clock, self.waker.clone())?);
        Ok(())
    }

    fn report(&mut self, report: Report) {
        match report {
            Report::EpochDone { worker, dataflow, epoch, private, next_timer, .. } => {
                let Some(view) = self.views.get_mut(&dataflow) else { return };
                view.timers[worker] = next_timer;
                if private {
                    if let Phase::Hydrating(gate) = &view.phase {
                        gate.step_done();
                    }
                    return;
                }
                view.done[worker] = epoch;
                if let Some(flight) = self.in_flight.iter_mut().find(|f| f.epoch == epoch)
                    && let Some(missing) = flight.waiting.get_mut(&dataflow)
                {
                    *missing -= 1;
                    if *missing == 0 {
                        flight.waiting.remove(&dataflow);
                    }
                }
                self.go_live_if_drained(dataflow);
                self.attach_if_caught_up(dataflow);
                self.publish_done();
            }
            Report::Failed { dataflow, error, .. } => self.fail_view(dataflow, error),
            Report::WorkerFailed { error, .. } => {
                tracing::error!(%error, "a worker thread has ended");
                self.break_down(error);
            }
            Report::State { worker, dataflow, operators } => self.take_state(worker, dataflow, &operators),
            Report::Built { .. } => {}
        }
    }

    /// Detaches a failed view and those that read it; the rest goes on.
    pub(super) fn fail_view(&mut self, id: u64, error: HwError) {
        let Some(view) = self.views.get_mut(&id) else { return };
        if matches!(view.phase, Phase::Failed) {
            return;
        }
        tracing::error!(view = %view.name, %error, "view failed");
        if let Phase::Hydrating(gate) = &view.phase {
            gate.cancel();
        }
        view.phase = Phase::Failed;
        let name = view.name.clone();
        self.state_questions.retain(|q| q.view != id);
        self.host.drop_dataflow(id);
        self.in_flight.iter_mut().for_each(|f| {
            f.waiting.remove(&id);
        });
        self.shared.status.set_view(id, ViewState::Failed(error.clone()));
        if let Some(reply) = self.replies.remove(&id) {
            let _ = reply.send(Err(error.clone()));
        }
        let dependents: Vec<u64> =
            self.views.iter().filter(|(_, v)| v.reads(id)).map(|(id, _)| *id).collect();
        for dependent in dependents {
            let why = HwError::new(
                sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("the view reads \"{name}\", which has failed: {}", error.message()),
            );
            self.fail_view(dependent, why);
        }
        self.publish_done();
    }

    /// Hydration thread says that everything up to the attach epoch has been fed.
    fn hydrated(&mut self, hydrated: Hydrated) {
        let id = hydrated.view;
        if let Err(e) = hydrated.result {
            return self.fail_view(id, e);
        }
        let Some(view) = self.views.get(&id) else { return };
        let Phase::Hydrating(_) = &view.phase else { return };
        let now = self.shared.clock.now().0;
        let mut activated = Vec::new();
        for (source, ahead) in hydrated.activated {
            let Some(runtime) = self.sources.get_mut(&source) else { continue };
            if runtime.intake.is_none() {
                self.shared.status.add_read_ahead(source, &ahead, self.shared.limits.dead_letters_max);
                runtime.progress.continue_from(ahead.progress, now);
                activated.push(runtime.progress.to_cut(source));
            }
        }
        let since = view.time.since;
        let filled_at = hydrated.now.0;
        let attach = Attach { view: id, epoch: hydrated.epoch.0, activated, since, filled_at };
        if let Err(e) = self.journal.append(&JournalRecord::Attach(attach)) {
            self.break_down(e.clone());
            return self.fail_view(id, e);
        }
        let relations: Vec<u64> = view.plan.inputs.iter().map(|i| i.relation).collect();
        let failed = relations.iter().find_map(|r| self.ensure_intake(*r).err());
        if let Some(e) = failed {
            return self.fail_view(id, e);
        }
        self.host.attach(id);
        if let Some(view) = self.views.get_mut(&id) {
            view.watermarks = hydrated.watermarks;
            view.phase = Phase::Draining { target: view.last_fed };
        }
        self.update_source_status();
        self.go_live_if_drained(id);
    }

    /// A drained view becomes part of what an epoch waits for.
    fn go_live_if_drained(&mut self, id: u64) {
        let Some(view) = self.views.get_mut(&id) else { return };
        let Phase::Draining { target } = view.phase else { return };
        if !view.done.iter().all(|d| *d >= target) {
            return;
        }
        self.make_live(id);
        if let Some(reply) = self.replies.remove(&id) {
            let _ = reply.send(Ok(()));
        }
    }

    /// From now on epochs wait for the view.
    pub(super) fn make_live(&mut self, id: u64) {
        let Some(view) = self.views.get_mut(&id) else { return };
        view.phase = Phase::Live;
        for flight in &mut self.in_flight {
            let missing = view.done.iter().filter(|d| **d < flight.epoch).count();
            if flight.epoch <= view.last_fed && missing > 0 {
                flight.waiting.insert(id, missing);
            }
        }
        self.shared.status.set_view(id, ViewState::Live);
    }

    /// Publishes every epoch at the front that nobody works on any more.
    pub(super) fn publish_done(&mut self) {
        while self.in_flight.front().is_some_and(|f| f.waiting.is_empty()) {
            let Some(flight) = self.in_flight.pop_front() else { return };
            let log_end = flight.ends.log;
            self.shared.pins.publish(flight.epoch, flight.ends);
            self.shared.published.send_replace(Published { epoch: flight.epoch, log_end });
            let record = super::status::EpochRecord {
                epoch: flight.epoch.0,
                now: flight.now.0,
                rows: flight.rows,
                latency_us: flight.cut_at.elapsed().as_micros() as u64,
            };
            self.shared.metrics.epochs_published.inc();
            self.shared.metrics.epoch_latency_seconds.observe(record.latency_us as f64 / 1e6);
            self.shared.status.add_epoch(record);
            self.count_late_rows();
            if let Some(reply) = flight.reply {
                let _ = reply.send(Ok(flight.epoch));
            }
            self.collect_garbage();
        }
    }

    /// Late rows since the last epoch, by view.
    fn count_late_rows(&mut self) {
        for (id, sides) in self.shared.status.sides.read().iter() {
            let count: u64 = sides.late.iter().map(|l| l.count() + l.null_time_count()).sum();
            let before = self.late_counts.insert(*id, count).unwrap_or(0);
            if let (Some(view), true) = (self.views.get(id), count > before) {
                self.shared.metrics.late_rows.with_label_values(&[&view.name]).inc_by(count - before);
            }
        }
    }

    fn collect_garbage(&mut self) {
        let horizon = self.shared.pins.horizon();
        let changed =
            self.views.values().filter(|v| v.last_fed.0 + 2 >= self.epoch.0).filter_map(|v| v.store.as_ref());
        for store in changed.chain(self.tables.values().map(|t| &t.store)) {
            if let Err(e) = store.set_horizon(horizon) {
                tracing::error!(error = %e, "garbage collection of a view failed");
            }
        }
    }

    /// Waits for one report; used where the coordinator must not go on without.
    pub(super) fn wait_for_report(&mut self, patience: Duration) -> Result<()> {
        match self.reports.recv_timeout(patience) {
            Ok(report) => {
                self.report(report);
                Ok(())
            }
            Err(_) => Err(HwError::internal("the workers do not finish an epoch")),
        }
    }
}
