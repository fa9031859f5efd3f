//! One stage of a dataflow as one timely operator on one worker.
//!
//! Batches come in by step number; a stage pushes those of step S only after it has finished
//! S−1, and finishes S when no input can bring rows of S any more. It holds a capability for
//! the step it works on, so timers can emit without rows. The last stage hands its changes
//! to the [`ViewOutput`](super::ViewOutput) instead of a stream and records the step as
//! finished. An error or panic stops the whole dataflow; from then on rows are discarded.
//! A stage with much to do gives way to the other dataflows of the worker; where rows take
//! long it takes few of them at a time.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arrow::array::UInt32Array;
use timely::dataflow::channels::pact::{DistributorPact, Pipeline};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};
use timely::progress::frontier::MutableAntichain;

use super::super::exchange::{Batches, CopyDistributor, VnodeDistributor, copies};
use super::super::graph::{Node, ObjectId, Stage};
use super::super::operator::EpochContext;
use super::super::operators::late::working_on;
use super::{Build, OperatorState};
use crate::clock;
use crate::error::{HwError, Result};
use crate::types::{ChangeBatch, ProcTime};

/// How long a stage works before the other dataflows of its worker have their turn.
const TURN: Duration = Duration::from_millis(10);

pub(super) type Changes<'scope> = Stream<'scope, u64, Batches>;
/// Takes all that has arrived at an input: step number and batches.
type Port = Box<dyn FnMut(&mut dyn FnMut(u64, Vec<ChangeBatch>))>;

/// One step of a dataflow on this worker.
pub(super) struct Step {
    pub cx: EpochContext,
    pub private: bool,
    /// The earliest timer of the stages that have finished this step.
    pub next_timer: Cell<Option<ProcTime>>,
}

/// What stages tell the worker loop.
pub(super) enum Event {
    Finished { dataflow: ObjectId, step: Rc<Step>, changes: Vec<ChangeBatch> },
    Failed { dataflow: ObjectId, error: HwError },
}

/// What the worker loop and the stages of one dataflow share.
pub(super) struct Shared {
    pub build: Arc<Build>,
    pub worker: usize,
    /// Steps under way, each with the number of stages that have not finished it.
    pub steps: RefCell<BTreeMap<u64, (Rc<Step>, usize)>>,
    pub dropped: Cell<bool>,
    /// Of all dataflows of this worker.
    pub events: Rc<RefCell<Vec<Event>>>,
}

impl Shared {
    /// True if rows of this dataflow are to be discarded.
    pub fn stopped(&self) -> bool {
        self.dropped.get() || self.build.failed.load(Ordering::Acquire)
    }

    /// Stops the dataflow on all workers; the first failure is reported.
    pub fn fail(&self, error: HwError) {
        if !self.build.failed.swap(true, Ordering::AcqRel) {
            self.events.borrow_mut().push(Event::Failed { dataflow: self.build.spec.id, error });
        }
    }

    /// Runs `work`; an error or a panic fails the dataflow and gives `None`.
    pub fn guarded<R>(&self, work: impl FnOnce() -> Result<R>) -> Option<R> {
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Ok(result)) => return Some(result),
            Ok(Err(error)) => self.fail(error),
            Err(panic) => self.fail(panic_error(&self.build.spec.name, panic.as_ref())),
        }
        None
    }

    fn stage_finished(&self, number: u64, next_timer: Option<ProcTime>) -> Option<Rc<Step>> {
        let mut steps = self.steps.borrow_mut();
        let (step, waiting) = steps.get_mut(&number)?;
        let step = step.clone();
        step.next_timer.set(step.next_timer.get().into_iter().chain(next_timer).min());
        *waiting -= 1;
        if *waiting == 0 {
            steps.remove(&number);
        }
        Some(step)
    }

    fn context(&self, number: u64) -> Option<EpochContext> {
        self.steps.borrow().get(&number).map(|(step, _)| step.cx.clone())
    }
}

/// How many rows a stage can take in one turn, learnt from those before.
struct Pace {
    rows: usize,
}

impl Pace {
    /// The rows of a batch to push now, and those for later.
    fn split(&self, batch: ChangeBatch) -> Result<(ChangeBatch, Option<ChangeBatch>)> {
        if batch.len() <= self.rows {
            return Ok((batch, None));
        }
        let later = batch.slice(self.rows, batch.len() - self.rows);
        let now = batch.take(&UInt32Array::from_iter_values(0..self.rows as u32))?;
        Ok((now, Some(later)))
    }

    fn learn(&mut self, rows: usize, took: Duration) {
        if took > TURN {
            let fitting = rows as f64 * TURN.as_secs_f64() / took.as_secs_f64();
            self.rows = (fitting as usize).max(1);
        } else if rows >= self.rows && took < TURN / 2 {
            self.rows = self.rows.saturating_mul(2);
        }
    }
}

pub(super) fn panic_error(name: &str, panic: &(dyn std::any::Any + Send)) -> HwError {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    HwError::internal(format!("the dataflow of \"{name}\" panicked: {text}"))
        .with_hint("This is a defect of Headwater; the other views go on.")
}

/// The stage's operators and where they are in time.
pub(super) struct StageRun {
    shared: Rc<Shared>,
    index: usize,
    is_last: bool,
    /// `None` once the dataflow has failed or was dropped.
    stage: Option<Stage>,
    /// The step being worked on; all before it are finished.
    current: u64,
    /// Rows that have arrived and not been pushed, with their input.
    stash: BTreeMap<u64, VecDeque<(usize, ChangeBatch)>>,
    /// Emitted in the current step and not sent on.
    emitted: Vec<ChangeBatch>,
    pace: Pace,
}

impl StageRun {
    pub fn new(shared: Rc<Shared>, index: usize, stage: Option<Stage>) -> StageRun {
        let is_last = index + 1 == shared.build.spec.stages.len();
        StageRun {
            shared,
            index,
            is_last,
            stage,
            current: 0,
            stash: BTreeMap::new(),
            emitted: Vec::new(),
            pace: Pace { rows: usize::MAX },
        }
    }

    /// Works as far as possible within its turn, given that all steps before `upper` are
    /// complete. Changes for the next stages go to `send` with their step. Returns whether
    /// there is more to do.
    fn advance(&mut self, upper: u64, send: &mut dyn FnMut(u64, Vec<ChangeBatch>)) -> bool {
        let turn_ends = clock::monotonic() + TURN;
        while !self.shared.stopped() {
            let pushed = self.push_stashed(turn_ends);
            let complete = pushed && self.current < upper;
            if complete && !self.finish_step() {
                break;
            }
            if !self.is_last && !self.emitted.is_empty() {
                send(self.current, std::mem::take(&mut self.emitted));
            }
            if !complete {
                return !pushed;
            }
            self.current += 1;
            if self.current < upper && clock::monotonic() >= turn_ends {
                return true;
            }
        }
        self.release();
        false
    }

    /// Whether all that has come of the step has been pushed.
    fn push_stashed(&mut self, turn_ends: Instant) -> bool {
        // Rows of another worker may be here before this worker knows of their step; they are
        // pushed when it does, at the latest when the step is complete.
        let Some(cx) = self.shared.context(self.current) else { return true };
        let Some(mut rows) = self.stash.remove(&self.current) else { return true };
        working_on(cx.epoch);
        let StageRun { shared, stage, emitted, pace, .. } = self;
        let Some(stage) = stage else { return true };
        shared.guarded(|| {
            let mut began = clock::monotonic();
            while let Some((port, batch)) = rows.pop_front() {
                let (batch, later) = pace.split(batch)?;
                if let Some(later) = later {
                    rows.push_front((port, later));
                }
                let count = batch.len();
                stage.push(port, batch, emitted)?;
                let ended = clock::monotonic();
                pace.learn(count, ended - began);
                if ended >= turn_ends {
                    break;
                }
                began = ended;
            }
            Ok(())
        });
        let all = rows.is_empty();
        if !all {
            self.stash.insert(self.current, rows);
        }
        all
    }

    /// Ends the current step in all operators; false if the dataflow has stopped.
    fn finish_step(&mut self) -> bool {
        let StageRun { shared, stage, emitted, is_last, current, .. } = self;
        let (Some(stage), Some(cx)) = (stage, shared.context(*current)) else { return false };
        if shared.stopped() {
            return false;
        }
        working_on(cx.epoch);
        let timer = shared.guarded(|| {
            stage.finish_epoch(&cx, emitted)?;
            if *is_last && !shared.stopped() {
                shared.build.output.epoch(shared.worker, &cx, emitted)?;
            }
            Ok(stage.next_timer())
        });
        let Some(timer) = timer else { return false };
        let Some(step) = shared.stage_finished(*current, timer) else { return false };
        if *is_last && !shared.stopped() {
            let changes = std::mem::take(emitted);
            let dataflow = shared.build.spec.id;
            shared.events.borrow_mut().push(Event::Finished { dataflow, step, changes });
        }
        true
    }

    /// Frees state and rows of a dataflow that has stopped.
    pub fn release(&mut self) {
        self.stage = None;
        self.stash.clear();
        self.emitted.clear();
    }

    pub fn state(&self) -> Vec<OperatorState> {
        let nodes = self.stage.iter().flat_map(|stage| &stage.nodes);
        let state = |node: &Node| OperatorState {
            stage: self.index,
            operator: node.operator.name().to_string(),
            size: node.operator.state_size(),
            work: node.work,
        };
        nodes.map(state).collect()
    }
}

/// Where the rows of a stage's input go.
pub(super) enum Place {
    Here,
    /// To the worker of the vnode of these columns.
    ByKey(Vec<usize>),
    Everywhere,
}

/// Adds the stage to the timely dataflow. `inputs` are the streams it reads, each with the
/// place where its rows go. Returns the stage's output, none for the last stage.
pub(super) fn install<'scope>(
    scope: Scope<'scope, u64>,
    name: String,
    inputs: Vec<(Changes<'scope>, Place)>,
    run: Rc<RefCell<StageRun>>,
) -> Option<Changes<'scope>> {
    let mut builder = OperatorBuilder::new(name, scope);
    let activator = scope.activator_for(builder.operator_info().address);
    let mut ports: Vec<Port> =
        inputs.into_iter().map(|(stream, place)| port(&mut builder, stream, place)).collect();
    let (output, stream) = match run.borrow().is_last {
        true => (None, None),
        false => {
            let (output, stream) = builder.new_output::<Batches>();
            (Some(output), Some(stream))
        }
    };
    builder.build(move |mut capabilities| {
        let mut output = output.zip(capabilities.pop());
        move |frontiers| {
            let run = &mut *run.borrow_mut();
            let stopped = run.shared.stopped();
            for (input, port) in ports.iter_mut().enumerate() {
                port(&mut |number, batches| {
                    if !stopped {
                        run.stash.entry(number).or_default().extend(batches.into_iter().map(|b| (input, b)));
                    }
                });
            }
            let Some(upper) = least(frontiers) else {
                // Either timely has not told the frontiers yet, or all workers have closed
                // their inputs: then the operator ends when it gives up its capability.
                if run.shared.dropped.get() {
                    output = None;
                }
                return;
            };
            let more = run.advance(upper, &mut |number, batches| {
                if let Some((output, capability)) = &mut output {
                    capability.downgrade(&number);
                    output.activate().give(capability, &mut Batches::new(batches));
                }
            });
            if let Some((_, capability)) = &mut output {
                capability.downgrade(&run.current);
            }
            if more {
                activator.activate();
            }
        }
    });
    stream
}

/// The least step that some input may still bring; none once all inputs are closed.
fn least(frontiers: &[MutableAntichain<u64>]) -> Option<u64> {
    frontiers.iter().filter_map(|f| f.frontier().first().copied()).min()
}

fn port<'scope>(builder: &mut OperatorBuilder<'scope, u64>, stream: Changes<'scope>, place: Place) -> Port {
    macro_rules! port {
        ($input:expr) => {{
            let mut input = $input;
            Box::new(move |take: &mut dyn FnMut(u64, Vec<ChangeBatch>)| {
                input.for_each(|time, batches| {
                    if let Some(number) = time.least() {
                        take(*number, std::mem::take(batches).into_vec());
                    }
                })
            })
        }};
    }
    match place {
        Place::ByKey(key) if stream.scope().peers() > 1 => {
            let pact = DistributorPact(move |workers| VnodeDistributor::new(key, workers));
            port!(builder.new_input(stream, pact))
        }
        Place::Everywhere if stream.scope().peers() > 1 => {
            let pact = DistributorPact(|_| CopyDistributor);
            port!(builder.new_input(copies(stream), pact))
        }
        _ => port!(builder.new_input(stream, Pipeline)),
    }
}
