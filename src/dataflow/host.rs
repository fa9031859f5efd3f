//! The host of dataflows: timely worker threads that run [`DataflowSpec`]s.
//!
//! The engine sends every worker the same commands in the same order; each worker turns
//! them into timely dataflows, one per view, and reports when a dataflow has finished an
//! epoch on it. A [`Feed`] advances the dataflows it names by one step, so dataflows without
//! rows, watermark change or due timer cost nothing. A view on a view takes the output of
//! its upstream on the same worker. Every dataflow numbers its steps itself; that number is
//! the timely time, so hydration steps and skipped epochs align with nothing else.
//! Invariant: what a worker does depends only on the commands, so all workers give a step
//! the same number. Workers without work are parked.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::Thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use timely::communication::WorkerGuards;
use timely::{CommunicationConfig, Config, WorkerConfig};

use super::graph::{DataflowSpec, ObjectId, Work};
use super::operator::{EpochContext, StateSize};
use super::watermarks::Watermarks;
use crate::error::{HwError, Result};
use crate::types::{ChangeBatch, Epoch, ProcTime};

mod stage;
#[cfg(test)]
mod tests;
mod worker;

/// Commands that may wait for one worker; the sender of one more waits.
const COMMANDS_MAX: usize = 4096;
/// How long a worker without work polls before it parks. Polling takes the core from the
/// worker it waits for when cores are scarce: with 2 workers on 2 busy cores an empty epoch
/// of 3 stages took 48 µs without polling, 114 µs with 10 µs and 405 µs with 60 µs of it.
const IDLE_SPIN: Duration = Duration::ZERO;

/// Takes what a view's dataflow produces.
pub trait ViewOutput: Send + Sync {
    /// Called on the worker's thread when the last stage has finished an epoch there, epochs
    /// in order; `changes` may be empty and is not consolidated. An error fails the dataflow.
    fn epoch(&self, worker: usize, cx: &EpochContext, changes: &[ChangeBatch]) -> Result<()>;
}

/// One step of the dataflows named, shared by all workers.
#[derive(Clone, Debug)]
pub struct Feed {
    pub epoch: Epoch,
    pub now: ProcTime,
    /// Only these are advanced. If a view and its upstream both are named, the view waits on
    /// each worker for the upstream's output of this epoch; an upstream that is not named
    /// has no changes.
    pub dataflows: Vec<DataflowFeed>,
    /// Rows of sources and tables, for every dataflow named that reads the relation.
    pub rows: Vec<RelationRows>,
    /// A hydration step of this dataflow, which must be hydrating and named: it runs at once,
    /// takes rows of upstream views from `rows` too, and nothing goes on to dependent views.
    pub private: Option<ObjectId>,
}

#[derive(Clone, Debug)]
pub struct DataflowFeed {
    pub id: ObjectId,
    pub watermarks: Watermarks,
    /// The clock of a view whose life began after this epoch; `None`: that of the feed.
    pub now: Option<ProcTime>,
}

#[derive(Clone, Debug)]
pub struct RelationRows {
    pub relation: ObjectId,
    /// One list of batches for each worker.
    pub per_worker: Vec<Vec<ChangeBatch>>,
}

/// What workers tell the engine.
#[derive(Clone, Debug)]
pub enum Report {
    /// The dataflow is installed on this worker.
    Built { worker: usize, dataflow: ObjectId },
    /// The last stage finished the epoch on this worker and `ViewOutput::epoch` returned.
    EpochDone {
        worker: usize,
        dataflow: ObjectId,
        epoch: Epoch,
        private: bool,
        /// The earliest timer of this dataflow on this worker after the epoch.
        next_timer: Option<ProcTime>,
        rows_out: u64,
    },
    /// Sent once per dataflow, by the worker that failed first. All workers stop running
    /// it at once; it and the views that read it make no progress until they are dropped.
    Failed { worker: usize, dataflow: ObjectId, error: HwError },
    /// Answer to [`Host::report_state`].
    State { worker: usize, dataflow: ObjectId, operators: Vec<OperatorState> },
    /// The worker thread has ended because of a defect; the process should restart.
    WorkerFailed { worker: usize, error: HwError },
}

/// State that one operator holds on one worker, and what it has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorState {
    pub stage: usize,
    pub operator: String,
    pub size: StateSize,
    pub work: Work,
}

/// How a dataflow starts.
#[derive(Clone, Copy, Debug)]
pub struct BuildOptions {
    /// Live feeds are kept back, and private ones accepted, until [`Host::attach`].
    pub hydrating: bool,
    /// Rows that may be kept back on one worker; with more the dataflow fails with 53400.
    pub queued_rows_max: usize,
}

#[derive(Clone)]
enum Command {
    Build(Arc<Build>),
    Feed(Arc<Feed>),
    Attach(ObjectId),
    Drop(ObjectId),
    State(ObjectId),
    Shutdown,
}

/// A dataflow to build, shared by all workers.
struct Build {
    spec: Arc<DataflowSpec>,
    output: Arc<dyn ViewOutput>,
    options: BuildOptions,
    /// Set by the first worker on which the dataflow fails, seen by all.
    failed: AtomicBool,
}

/// The worker threads. Dropping the host ends them.
pub struct Host {
    /// One queue per worker; the lock keeps commands in one order for all.
    commands: Mutex<Vec<Sender<Command>>>,
    threads: Vec<Thread>,
    /// Behind a lock only because the handles cannot be shared between threads.
    _guards: Mutex<WorkerGuards<()>>,
}

impl Host {
    /// Starts `workers` threads. They never wait for `reports`: while the channel is full
    /// they keep reports and go on.
    pub fn start(workers: usize, reports: Sender<Report>) -> Result<Host> {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| bounded(COMMANDS_MAX)).unzip();
        let receivers = Mutex::new(receivers.into_iter().map(Some).collect::<Vec<Option<Receiver<_>>>>());
        let communication = match workers {
            1 => CommunicationConfig::Thread,
            n => CommunicationConfig::Process(n),
        };
        let worker_config = WorkerConfig::default().idle_spin(IDLE_SPIN);
        let config = Config { communication, worker: worker_config };
        let guards = timely::execute(config, move |worker| {
            let commands = receivers.lock()[worker.index()].take();
            if let Some(commands) = commands {
                worker::run(worker, commands, reports.clone());
            }
        });
        let guards = guards.map_err(|e| HwError::internal(format!("cannot start workers: {e}")))?;
        let threads = guards.guards().iter().map(|g| g.thread().clone()).collect();
        Ok(Host { commands: Mutex::new(senders), threads, _guards: Mutex::new(guards) })
    }

    pub fn workers(&self) -> usize {
        self.threads.len()
    }

    /// Installs a dataflow; every worker answers `Built`, or one `Failed`.
    pub fn build(&self, spec: Arc<DataflowSpec>, output: Arc<dyn ViewOutput>, options: BuildOptions) {
        let failed = AtomicBool::new(false);
        self.send(Command::Build(Arc::new(Build { spec, output, options, failed })));
    }

    /// Advances the dataflows it names; dataflows unknown or failed are passed over.
    pub fn feed(&self, feed: Arc<Feed>) {
        self.send(Command::Feed(feed));
    }

    /// Ends hydration: the epochs kept back run in order, then live ones as they come.
    pub fn attach(&self, dataflow: ObjectId) {
        self.send(Command::Attach(dataflow));
    }

    /// Removes a dataflow with its state; what is in flight is discarded, nothing is reported.
    pub fn drop_dataflow(&self, dataflow: ObjectId) {
        self.send(Command::Drop(dataflow));
    }

    /// Makes every worker that runs the dataflow report the state its operators hold.
    pub fn report_state(&self, dataflow: ObjectId) {
        self.send(Command::State(dataflow));
    }

    /// Discards what is in flight and waits for the worker threads to end.
    pub fn shutdown(self) {}

    fn send(&self, command: Command) {
        let senders = self.commands.lock();
        for (sender, thread) in senders.iter().zip(&self.threads) {
            // A worker that is gone has reported WorkerFailed.
            let _ = sender.send(command.clone());
            thread.unpark();
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.send(Command::Shutdown);
    }
}
