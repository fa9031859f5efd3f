//! The operator of a recursive query, with the operators of its step as a stage inside it.

use arrow::datatypes::SchemaRef;

use super::{Sides, operator};
use crate::dataflow::graph::{Node, Stage};
use crate::dataflow::operator::Operator;
use crate::dataflow::operators::recursion::{RecursionSpec, RecursiveOperator};
use crate::error::Result;
use crate::plan::{RecursiveNode, StreamOp, StreamPlan};

pub(super) fn recursive(
    node: &RecursiveNode,
    schema: SchemaRef,
    sides: &Sides,
    worker: usize,
) -> Result<Box<dyn Operator>> {
    let spec = RecursionSpec {
        name: node.name.clone(),
        mode: node.mode,
        schema,
        step: step(&node.step, sides, worker)?,
        limits: sides.recursion,
    };
    Ok(Box::new(RecursiveOperator::new(spec)))
}

/// All nodes of the step as one stage: port 0 takes the rows of the recursive query, port n + 1
/// those of input n.
fn step(plan: &StreamPlan, sides: &Sides, worker: usize) -> Result<Stage> {
    let mut ports = vec![Vec::new(); plan.inputs.len() + 1];
    let mut nodes = Vec::with_capacity(plan.nodes.len());
    for (id, node) in plan.nodes.iter().enumerate() {
        match node.op {
            StreamOp::Working { .. } => ports[0].push((id, 0)),
            StreamOp::Input { input } => ports[input + 1].push((id, 0)),
            _ => {}
        }
        let readers = plan.nodes.iter().enumerate().flat_map(|(reader, n)| {
            n.children.iter().enumerate().filter(|(_, c)| **c == id).map(move |(side, _)| (reader, side))
        });
        let consumers = readers.collect();
        nodes.push(Node::new(operator(plan, id, sides, worker)?, consumers));
    }
    Ok(Stage { nodes, ports, output: plan.root })
}
