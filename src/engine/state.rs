//! What the operators of a running view hold now.
//!
//! A session asks the coordinator, which asks the workers; every worker answers between two
//! steps, in the order of the questions, and the answers are added up by node of the plan. A
//! question whose view fails or is dropped is forgotten, and the session hears that.

use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use super::Engine;
use super::coordinator::{Command, Coordinator};
use super::relations::Phase;
use crate::dataflow::build::stage_nodes;
use crate::dataflow::graph::Work;
use crate::dataflow::host::OperatorState;
use crate::dataflow::operator::StateSize;
use crate::error::{HwError, Result, sqlstate};
use crate::plan::StreamPlan;

/// How long a session waits for the workers, which may be busy with an epoch.
const PATIENCE: Duration = Duration::from_secs(10);

/// A view's plan, what each of its nodes holds and what it has done, on all workers together.
pub struct ViewStateSizes {
    pub plan: StreamPlan,
    pub sizes: Vec<StateSize>,
    pub work: Vec<Work>,
}

pub type StateReply = Sender<Result<ViewStateSizes>>;

/// A question that not all workers have answered.
pub struct StateQuestion {
    pub view: u64,
    answered: Vec<bool>,
    state: ViewStateSizes,
    /// The plan's nodes by stage, in the order of the stage's operators.
    stages: Vec<Vec<usize>>,
    reply: StateReply,
}

impl Engine {
    /// The state of a view or sink. Blocks until all workers have answered.
    ///
    /// Errors: 55000 if it does not run.
    pub fn view_state(&self, view: u64) -> Result<ViewStateSizes> {
        let (reply, answer) = bounded(1);
        self.send(Command::State(view, reply))?;
        answer.recv_timeout(PATIENCE).unwrap_or_else(|e| {
            Err(match e {
                RecvTimeoutError::Timeout => {
                    HwError::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, "the workers are busy")
                        .with_hint("Try again when the present epoch is done.")
                }
                RecvTimeoutError::Disconnected => not_running(),
            })
        })
    }
}

fn not_running() -> HwError {
    HwError::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, "the view is not running")
        .with_hint("headwater.views tells the state of every view, and why it failed.")
}

impl Coordinator {
    pub(super) fn ask_state(&mut self, view: u64, reply: StateReply) {
        let Some(runtime) = self.views.get(&view).filter(|v| !matches!(v.phase, Phase::Failed)) else {
            // The session may have gone.
            let _ = reply.send(Err(not_running()));
            return;
        };
        let plan = runtime.plan.clone();
        let stages = stage_nodes(&plan);
        let sizes = vec![StateSize::default(); plan.nodes.len()];
        let work = vec![Work::default(); plan.nodes.len()];
        let state = ViewStateSizes { plan, sizes, work };
        let answered = vec![false; self.host.workers()];
        self.state_questions.push(StateQuestion { view, answered, state, stages, reply });
        self.host.report_state(view);
    }

    /// A worker answers the first question of the view that it has not answered.
    pub(super) fn take_state(&mut self, worker: usize, view: u64, operators: &[OperatorState]) {
        let first = self.state_questions.iter().position(|q| q.view == view && !q.answered[worker]);
        let Some(at) = first else { return };
        let question = &mut self.state_questions[at];
        question.answered[worker] = true;
        let mut places = vec![0; question.stages.len()];
        for operator in operators {
            let place = &mut places[operator.stage];
            if let Some(node) = question.stages[operator.stage].get(*place) {
                let size = &mut question.state.sizes[*node];
                size.entries += operator.size.entries;
                size.bytes += operator.size.bytes;
                question.state.work[*node].add(operator.work);
            }
            *place += 1;
        }
        if question.answered.iter().all(|a| *a) {
            let StateQuestion { state, reply, .. } = self.state_questions.remove(at);
            let _ = reply.send(Ok(state));
        }
    }
}
