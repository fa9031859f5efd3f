//! One worker: the loop that turns commands into steps of timely dataflows.
//!
//! For each dataflow the worker keeps a queue of live steps in epoch order. A step is
//! submitted (rows sent, inputs advanced) when all upstream views named in its feed have
//! delivered their output of the epoch on this worker, the dataflow is not hydrating, and not
//! too many are under way;
//! private steps are submitted at once. Invariant: steps are submitted in the same order
//! on all workers, so they get the same numbers everywhere.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use hashbrown::{HashMap, HashSet};
use timely::container::NoopBuilder;
use timely::dataflow::operators::Input as _;
use timely::dataflow::{InputHandle, Scope};
use timely::worker::Worker;

use super::super::exchange::Batches;
use super::super::graph::{InputSpec, ObjectId, Stage, StageOrigin};
use super::super::operator::EpochContext;
use super::stage::{Changes, Event, Place, Shared, StageRun, Step, install, panic_error};
use super::{Build, Command, Feed, Report};
use crate::error::{HwError, Result, sqlstate};
use crate::types::{ChangeBatch, Epoch};

/// How long a worker sleeps before it offers reports again that found no room.
const REPORT_RETRY: Duration = Duration::from_millis(1);
/// Live steps of one dataflow under way at once; those of a view that is behind wait.
const STEPS_AHEAD_MAX: usize = 64;

/// Body of a worker thread: runs until the shutdown command.
pub(super) fn run(worker: &mut Worker, commands: Receiver<Command>, reports: Sender<Report>) {
    let index = worker.index();
    let mut this = WorkerLoop {
        index,
        dataflows: HashMap::new(),
        readers: HashMap::new(),
        events: Rc::default(),
        waiting_reports: VecDeque::new(),
        reports: reports.clone(),
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| this.run(worker, &commands)));
    if let Err(panic) = outcome {
        let error = panic_error("worker", panic.as_ref());
        let _ = reports.try_send(Report::WorkerFailed { worker: index, error });
        std::mem::forget(this);
    }
    for dataflow in worker.installed_dataflows() {
        worker.drop_dataflow(dataflow);
    }
}

struct WorkerLoop {
    index: usize,
    dataflows: HashMap<ObjectId, Dataflow>,
    /// Who reads a relation: dataflow and input.
    readers: HashMap<ObjectId, Vec<(ObjectId, usize)>>,
    events: Rc<RefCell<Vec<Event>>>,
    /// Reports that found no room.
    waiting_reports: VecDeque<Report>,
    reports: Sender<Report>,
}

impl WorkerLoop {
    fn run(&mut self, worker: &mut Worker, commands: &Receiver<Command>) {
        loop {
            for command in commands.try_iter() {
                match command {
                    Command::Build(build) => self.build(worker, build),
                    Command::Feed(feed) => self.feed(&feed),
                    Command::Attach(id) => self.attach(id),
                    Command::Drop(id) => self.drop_dataflow(id),
                    Command::State(id) => self.report_state(id),
                    Command::Shutdown => return self.dataflows.clear(),
                }
            }
            self.take_events();
            self.send_reports();
            let park = (!self.waiting_reports.is_empty()).then_some(REPORT_RETRY);
            worker.step_or_park(park);
        }
    }

    fn build(&mut self, worker: &mut Worker, build: Arc<Build>) {
        let id = build.spec.id;
        self.drop_dataflow(id);
        let shared = Rc::new(Shared {
            build: build.clone(),
            worker: self.index,
            steps: RefCell::default(),
            dropped: Cell::new(false),
            events: self.events.clone(),
        });
        for (input, spec) in build.spec.inputs.iter().enumerate() {
            self.readers.entry(spec.relation).or_default().push((id, input));
        }
        let dataflow =
            worker.dataflow_named(&build.spec.name, |scope| Dataflow::install(scope, shared.clone()));
        self.dataflows.insert(id, dataflow);
        if !shared.stopped() {
            self.waiting_reports.push_back(Report::Built { worker: self.index, dataflow: id });
        }
    }

    fn feed(&mut self, feed: &Feed) {
        let fed: HashSet<ObjectId> = feed.dataflows.iter().map(|d| d.id).collect();
        for dataflow_feed in &feed.dataflows {
            let Some(dataflow) = self.dataflows.get_mut(&dataflow_feed.id) else { continue };
            let cx = EpochContext {
                epoch: feed.epoch,
                now: dataflow_feed.now.unwrap_or(feed.now),
                watermarks: dataflow_feed.watermarks.clone(),
            };
            let inputs = &dataflow.shared.build.spec.inputs;
            let rows = inputs.iter().map(|input| rows_of(feed, input, self.index)).collect();
            match feed.private {
                Some(id) if id == dataflow_feed.id => {
                    dataflow.submit_private(QueuedStep { cx, rows, missing: Vec::new() })
                }
                Some(_) => {}
                None => {
                    let missing = (0..inputs.len()).filter(|i| fed.contains(&inputs[*i].relation)).collect();
                    dataflow.queue(QueuedStep { cx, rows, missing });
                }
            }
        }
    }

    fn attach(&mut self, id: ObjectId) {
        if let Some(dataflow) = self.dataflows.get_mut(&id) {
            dataflow.hydrating = false;
            dataflow.submit_ready();
        }
    }

    fn drop_dataflow(&mut self, id: ObjectId) {
        if self.dataflows.remove(&id).is_some() {
            self.readers.retain(|_, readers| {
                readers.retain(|(reader, _)| *reader != id);
                !readers.is_empty()
            });
        }
    }

    fn report_state(&mut self, id: ObjectId) {
        if let Some(dataflow) = self.dataflows.get(&id) {
            let operators = dataflow.stages.iter().flat_map(|stage| stage.borrow().state()).collect();
            self.waiting_reports.push_back(Report::State { worker: self.index, dataflow: id, operators });
        }
    }

    /// Hands finished epochs to the views that read them and turns events into reports.
    fn take_events(&mut self) {
        loop {
            let events = std::mem::take(&mut *self.events.borrow_mut());
            if events.is_empty() {
                return;
            }
            for event in events {
                let report = match event {
                    Event::Failed { dataflow, error } => {
                        Report::Failed { worker: self.index, dataflow, error }
                    }
                    Event::Finished { dataflow, step, changes } => {
                        self.pass_on(dataflow, &step, &changes);
                        if let Some(dataflow) = self.dataflows.get_mut(&dataflow) {
                            dataflow.submit_ready();
                        }
                        Report::EpochDone {
                            worker: self.index,
                            dataflow,
                            epoch: step.cx.epoch,
                            private: step.private,
                            next_timer: step.next_timer.get(),
                            rows_out: changes.iter().map(|c| c.len() as u64).sum(),
                        }
                    }
                };
                self.waiting_reports.push_back(report);
            }
        }
    }

    fn pass_on(&mut self, upstream: ObjectId, step: &Step, changes: &[ChangeBatch]) {
        if step.private {
            return;
        }
        for (reader, input) in self.readers.get(&upstream).into_iter().flatten() {
            if let Some(dataflow) = self.dataflows.get_mut(reader) {
                dataflow.deliver(step.cx.epoch, *input, changes);
            }
        }
    }

    fn send_reports(&mut self) {
        while let Some(report) = self.waiting_reports.pop_front() {
            if let Err(TrySendError::Full(report)) = self.reports.try_send(report) {
                self.waiting_reports.push_front(report);
                return;
            }
        }
    }
}

/// The changes of a view as other views see them: without its hidden columns.
fn visible(changes: &[ChangeBatch], columns: usize) -> Result<Vec<ChangeBatch>> {
    let project = |batch: &ChangeBatch| {
        if batch.rows.num_columns() <= columns {
            return Ok(batch.clone());
        }
        Ok(batch.with_rows(batch.rows.project(&(0..columns).collect::<Vec<_>>())?))
    };
    changes.iter().map(project).collect()
}

fn rows_of(feed: &Feed, input: &InputSpec, worker: usize) -> Vec<ChangeBatch> {
    let relations = feed.rows.iter().filter(|rows| rows.relation == input.relation);
    relations.filter_map(|rows| rows.per_worker.get(worker)).flatten().cloned().collect()
}

/// A step that waits for upstream views or for the end of hydration.
struct QueuedStep {
    cx: EpochContext,
    /// For each input of the dataflow.
    rows: Vec<Vec<ChangeBatch>>,
    /// Inputs whose upstream view has not finished this epoch.
    missing: Vec<usize>,
}

/// A dataflow on this worker. Dropping it closes its inputs.
struct Dataflow {
    shared: Rc<Shared>,
    handles: Vec<InputHandle<u64, NoopBuilder<Batches>>>,
    stages: Vec<Rc<RefCell<StageRun>>>,
    next_number: u64,
    hydrating: bool,
    /// Live steps not submitted, in epoch order.
    queue: VecDeque<QueuedStep>,
    queued_rows: usize,
}

impl Dataflow {
    fn install(scope: Scope<'_, u64>, shared: Rc<Shared>) -> Dataflow {
        let spec = shared.build.spec.clone();
        let mut handles = Vec::new();
        let mut inputs: Vec<Changes> = Vec::new();
        // Stages without inputs read one more input, which has time and no rows.
        let rowless = spec.stages.iter().any(|stage| stage.inputs.is_empty()) as usize;
        for _ in 0..spec.inputs.len() + rowless {
            let (handle, stream) = scope.new_input_with_builder::<NoopBuilder<Batches>>();
            handles.push(handle);
            inputs.push(stream);
        }
        let mut outputs: Vec<Option<Changes>> = Vec::new();
        let mut stages = Vec::new();
        for (index, stage_spec) in spec.stages.iter().enumerate() {
            let stage: Option<Stage> = shared.guarded(|| (stage_spec.build)(shared.worker));
            let run = Rc::new(RefCell::new(StageRun::new(shared.clone(), index, stage)));
            let streams = stage_spec.inputs.iter().filter_map(|input| {
                let stream = match input.from {
                    StageOrigin::Input(i) => inputs.get(i).cloned(),
                    StageOrigin::Stage(s) => outputs.get(s).cloned().flatten(),
                };
                let place = match (&input.exchange, input.replicate) {
                    (_, true) => Place::Everywhere,
                    (Some(key), false) => Place::ByKey(key.clone()),
                    (None, false) => Place::Here,
                };
                Some((stream?, place))
            });
            let mut streams: Vec<_> = streams.collect();
            if streams.len() < stage_spec.inputs.len() {
                shared.fail(HwError::internal(format!("stage {index} of \"{}\" has no origin", spec.name)));
            }
            if stage_spec.inputs.is_empty() {
                streams.extend(inputs.get(spec.inputs.len()).map(|stream| (stream.clone(), Place::Here)));
            }
            outputs.push(install(scope, format!("{} stage {index}", spec.name), streams, run.clone()));
            stages.push(run);
        }
        let hydrating = shared.build.options.hydrating;
        let queue = VecDeque::new();
        Dataflow { shared, handles, stages, next_number: 0, hydrating, queue, queued_rows: 0 }
    }

    fn submit_private(&mut self, step: QueuedStep) {
        if self.shared.stopped() {
            return;
        }
        match self.hydrating {
            true => self.submit(step, true),
            false => {
                let name = &self.shared.build.spec.name;
                self.shared.fail(HwError::internal(format!("\"{name}\" is not hydrating")));
            }
        }
    }

    fn queue(&mut self, step: QueuedStep) {
        if self.shared.stopped() {
            return;
        }
        self.queued_rows += step.rows.iter().flatten().map(ChangeBatch::len).sum::<usize>();
        self.queue.push_back(step);
        self.submit_ready();
    }

    /// Takes the changes of an upstream view that has finished `epoch` on this worker.
    fn deliver(&mut self, epoch: Epoch, input: usize, changes: &[ChangeBatch]) {
        let at = self.queue.partition_point(|step| step.cx.epoch < epoch);
        let Some(step) = self.queue.get_mut(at).filter(|step| step.cx.epoch == epoch) else { return };
        if let Some(i) = step.missing.iter().position(|missing| *missing == input) {
            step.missing.swap_remove(i);
            let columns = self.shared.build.spec.inputs[input].schema.fields().len();
            let visible = self.shared.guarded(|| visible(changes, columns)).unwrap_or_default();
            step.rows[input].extend(visible);
            self.queued_rows += changes.iter().map(ChangeBatch::len).sum::<usize>();
            self.submit_ready();
        }
    }

    fn submit_ready(&mut self) {
        while !self.hydrating
            && self.shared.steps.borrow().len() < STEPS_AHEAD_MAX
            && self.queue.front().is_some_and(|step| step.missing.is_empty())
        {
            if let Some(step) = self.queue.pop_front() {
                self.queued_rows -= step.rows.iter().flatten().map(ChangeBatch::len).sum::<usize>();
                self.submit(step, false);
            }
        }
        let rows_max = self.shared.build.options.queued_rows_max;
        if self.queued_rows > rows_max {
            self.shared.fail(too_many_rows(&self.shared.build.spec.name, rows_max));
        }
        if self.shared.stopped() {
            self.queue.clear();
            self.queued_rows = 0;
        }
    }

    /// Starts a step: sends its rows and closes its time at all inputs.
    fn submit(&mut self, step: QueuedStep, private: bool) {
        let number = self.next_number;
        self.next_number += 1;
        let QueuedStep { cx, rows, .. } = step;
        let step = Rc::new(Step { cx, private, next_timer: Cell::new(None) });
        self.shared.steps.borrow_mut().insert(number, (step, self.stages.len()));
        let Dataflow { shared, handles, .. } = self;
        // Exchanging rows computes on them, so it may fail like an operator.
        shared.guarded(|| -> Result<()> {
            for (handle, rows) in handles.iter_mut().zip(rows) {
                handle.send_batch(&mut Batches::new(rows));
            }
            handles.iter_mut().for_each(|handle| handle.advance_to(number + 1));
            Ok(())
        });
    }
}

impl Drop for Dataflow {
    fn drop(&mut self) {
        self.shared.dropped.set(true);
        *self.shared.steps.borrow_mut() = BTreeMap::new();
        self.stages.iter().for_each(|stage| stage.borrow_mut().release());
    }
}

fn too_many_rows(name: &str, rows_max: usize) -> HwError {
    let message = format!("more than {rows_max} rows wait for \"{name}\" to catch up");
    HwError::new(sqlstate::CONFIGURATION_LIMIT_EXCEEDED, message)
}
