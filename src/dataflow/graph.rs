//! A dataflow as data: stages of operators between exchanges.
//!
//! All operators between two exchanges form one stage. [`Stage`] runs a small DAG of
//! operators on one worker by plain function calls, batch by batch and depth first, so a
//! batch stays in cache while it passes through a chain; `host.rs` connects stages.
//! Invariant: `nodes` is in topological order, consumers come after producers.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;

use super::operator::{EpochContext, Operator, StateSize};
use crate::clock;
use crate::error::Result;
use crate::types::{ChangeBatch, ProcTime};

/// Identity of a catalog object; also of the dataflow that maintains a view.
pub type ObjectId = u64;

/// What a dataflow needs to be built on every worker.
pub struct DataflowSpec {
    pub id: ObjectId,
    pub name: String,
    pub inputs: Vec<InputSpec>,
    /// In topological order; the last stage's output is the view.
    pub stages: Vec<StageSpec>,
}

/// A source, table or view that a dataflow reads.
#[derive(Clone, Debug)]
pub struct InputSpec {
    pub relation: ObjectId,
    pub schema: SchemaRef,
}

pub struct StageSpec {
    pub inputs: Vec<StageInput>,
    pub output_schema: SchemaRef,
    /// Makes this stage's operators for the worker of that number.
    pub build: Arc<dyn Fn(usize) -> Result<Stage> + Send + Sync>,
}

#[derive(Clone, Debug)]
pub struct StageInput {
    pub from: StageOrigin,
    /// Columns whose vnode decides the worker; `Some([])` sends all rows to one worker;
    /// `None` stays on the worker.
    pub exchange: Option<Vec<usize>>,
    /// All rows go to every worker; `exchange` is then `None`.
    pub replicate: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageOrigin {
    /// Index into `DataflowSpec::inputs`.
    Input(usize),
    /// Index into `DataflowSpec::stages`, smaller than this stage's.
    Stage(usize),
}

/// One operator of a stage and who takes its output: `(node, input)` pairs.
pub struct Node {
    pub operator: Box<dyn Operator>,
    pub consumers: Vec<(usize, usize)>,
    pub work: Work,
}

impl Node {
    pub fn new(operator: Box<dyn Operator>, consumers: Vec<(usize, usize)>) -> Node {
        Node { operator, consumers, work: Work::default() }
    }

    /// Lets the operator work, and counts what it emits and the time it takes.
    fn run(
        &mut self,
        work: impl FnOnce(&mut dyn Operator, &mut Vec<ChangeBatch>) -> Result<()>,
    ) -> Result<Vec<ChangeBatch>> {
        let mut emitted = Vec::new();
        let from = clock::monotonic();
        work(self.operator.as_mut(), &mut emitted)?;
        self.work.time += from.elapsed();
        self.work.rows += emitted.iter().map(ChangeBatch::len).sum::<usize>() as u64;
        Ok(emitted)
    }
}

/// What an operator has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Changes emitted.
    pub rows: u64,
    pub time: Duration,
}

impl Work {
    pub fn add(&mut self, other: Work) {
        self.rows += other.rows;
        self.time += other.time;
    }
}

/// The operators of a stage on one worker.
pub struct Stage {
    pub nodes: Vec<Node>,
    /// For each stage input, the `(node, input)` pairs that take it.
    pub ports: Vec<Vec<(usize, usize)>>,
    /// Node whose output leaves the stage.
    pub output: usize,
}

impl Stage {
    /// Pushes one batch that arrived at stage input `port`; what leaves goes to `out`.
    pub fn push(&mut self, port: usize, batch: ChangeBatch, out: &mut Vec<ChangeBatch>) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let targets = self.ports[port].clone();
        for (node, input) in targets {
            self.push_node(node, input, batch.clone(), out)?;
        }
        Ok(())
    }

    fn push_node(
        &mut self,
        node: usize,
        input: usize,
        batch: ChangeBatch,
        out: &mut Vec<ChangeBatch>,
    ) -> Result<()> {
        let emitted = self.nodes[node].run(|operator, out| operator.push(input, batch, out))?;
        self.forward(node, emitted, out)
    }

    fn forward(&mut self, node: usize, emitted: Vec<ChangeBatch>, out: &mut Vec<ChangeBatch>) -> Result<()> {
        for batch in emitted {
            if batch.is_empty() {
                continue;
            }
            for i in 0..self.nodes[node].consumers.len() {
                let (consumer, input) = self.nodes[node].consumers[i];
                self.push_node(consumer, input, batch.clone(), out)?;
            }
            if node == self.output {
                out.push(batch);
            }
        }
        Ok(())
    }

    /// Ends the epoch in every operator, producers first.
    pub fn finish_epoch(&mut self, cx: &EpochContext, out: &mut Vec<ChangeBatch>) -> Result<()> {
        for node in 0..self.nodes.len() {
            let emitted = self.nodes[node].run(|operator, out| operator.finish_epoch(cx, out))?;
            self.forward(node, emitted, out)?;
        }
        Ok(())
    }

    pub fn next_timer(&self) -> Option<ProcTime> {
        self.nodes.iter().filter_map(|n| n.operator.next_timer()).min()
    }

    pub fn state_sizes(&self) -> Vec<(String, StateSize)> {
        self.nodes.iter().map(|n| (n.operator.name().to_string(), n.operator.state_size())).collect()
    }
}
