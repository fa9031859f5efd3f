//! From a streaming plan to stages of operators.
//!
//! A node starts a new stage where its input must be exchanged by key, or where several
//! nodes read it; everything between two such places is one stage and runs by function
//! calls. The exchange key is chosen here: group columns for aggregates (without window
//! bounds, so that overlapping windows share slices on one worker), key columns for joins;
//! no key means one worker. An input that is partitioned by that key already stays put.

mod recursion;
mod windows;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::graph::{DataflowSpec, InputSpec, Node, ObjectId, Stage, StageInput, StageOrigin, StageSpec};
use super::operator::Operator;
use super::operators::aggregate::{self, AggregateOperator, AggregateSpec};
use super::operators::changelog_trigger::ChangelogTriggerOperator;
use super::operators::constant::ConstantOperator;
use super::operators::expire::ExpireOperator;
use super::operators::join::{AsOf, JoinInterval, JoinSpec, JoinWindow, join_operator};
use super::operators::map::{MapOperator, PassOperator};
pub use super::operators::recursion::RecursionLimits;
use super::operators::set_op::SetOpOperator;
use super::operators::temporal_filter::TemporalFilterOperator;
use super::operators::unnest::UnnestOperator;
use super::operators::{LateRows, Limits, OverSpec, RowErrors, TopNSpec, over, top_n};
use crate::error::{HwError, Result};
use crate::plan::{
    AggregateNode, AggregateWindow, Clock, JoinKind, JoinNode, NodeId, OverNode, StreamNode, StreamOp,
    StreamPlan, Temporal, TopNNode, WindowAssign, WindowTime, replicated_side,
};

/// The side relations that a view's operators write to.
#[derive(Clone)]
pub struct Sides {
    pub late: Arc<LateRows>,
    /// In place of `late` for the view's own windows, if the clause names a late relation: rows
    /// of closed windows, and rows without a time.
    pub relation: Option<(Arc<LateRows>, Arc<LateRows>)>,
    pub errors: Arc<RowErrors>,
    /// Pairs that a join may make per epoch and worker.
    pub join_pairs_max: usize,
    pub recursion: RecursionLimits,
}

/// Makes the dataflow of `plan` for the object `id`.
pub fn build(id: ObjectId, name: &str, plan: &StreamPlan, sides: &Sides) -> DataflowSpec {
    let inputs = (plan.inputs.iter())
        .map(|i| InputSpec { relation: i.relation, schema: Arc::clone(&i.schema) })
        .collect();
    let cutter = Cutter::new(plan);
    let stages = cutter.roots.iter().map(|root| cutter.stage(*root, sides)).collect();
    DataflowSpec { id, name: name.to_string(), inputs, stages }
}

/// The plan's nodes whose operators each stage runs, in their order; stages as [`build`] makes
/// them.
pub fn stage_nodes(plan: &StreamPlan) -> Vec<Vec<NodeId>> {
    let cutter = Cutter::new(plan);
    cutter.roots.iter().map(|root| cutter.members(*root).0).collect()
}

/// An input of a stage, and the nodes and inputs of nodes that take its rows.
type Entrance = (StageInput, Vec<(NodeId, usize)>);

/// Decides which nodes form a stage.
struct Cutter<'a> {
    plan: &'a StreamPlan,
    /// Output nodes of the stages, in topological order.
    roots: Vec<NodeId>,
}

impl<'a> Cutter<'a> {
    fn new(plan: &'a StreamPlan) -> Cutter<'a> {
        let mut cut = vec![false; plan.nodes.len()];
        for (id, node) in plan.nodes.iter().enumerate() {
            for (side, child) in node.children.iter().enumerate() {
                let readers: usize =
                    plan.nodes.iter().map(|n| n.children.iter().filter(|c| *c == child).count()).sum();
                let replicated = is_replicated(plan, &plan.nodes[id], side);
                if replicated || exchange_key(plan, id, side).is_some() || readers > 1 {
                    cut[*child] = true;
                }
            }
        }
        cut[plan.root] = true;
        // A plain input is fed to its readers directly.
        let is_input = |id: NodeId| matches!(plan.nodes[id].op, StreamOp::Input { .. });
        let roots =
            (0..plan.nodes.len()).filter(|id| cut[*id] && (!is_input(*id) || *id == plan.root)).collect();
        Cutter { plan, roots }
    }

    /// The nodes of the stage that ends in `root`, ascending, and where rows enter it.
    fn members(&self, root: NodeId) -> (Vec<NodeId>, Vec<Entrance>) {
        let (mut members, mut inputs) = (Vec::new(), Vec::new());
        self.collect(root, root, &mut members, &mut inputs);
        members.sort_unstable();
        (members, inputs)
    }

    fn stage(&self, root: NodeId, sides: &Sides) -> StageSpec {
        let (members, inputs) = self.members(root);
        let place = |id: NodeId| members.binary_search(&id).unwrap_or(0);
        let ports: Vec<Vec<(usize, usize)>> = (inputs.iter())
            .map(|(_, targets)| targets.iter().map(|(node, side)| (place(*node), *side)).collect())
            .collect();
        let consumers: Vec<Vec<(usize, usize)>> = (members.iter())
            .map(|producer| {
                (members.iter())
                    .flat_map(|m| {
                        self.plan.nodes[*m].children.iter().enumerate().map(move |(side, c)| (*m, side, *c))
                    })
                    .filter(|(_, _, child)| child == producer && *producer != root)
                    .map(|(consumer, side, _)| (place(consumer), side))
                    .collect()
            })
            .collect();
        let output = place(root);
        let plan = self.plan.clone();
        let sides = sides.clone();
        let build = move |worker: usize| -> Result<Stage> {
            let nodes = (members.iter().zip(&consumers))
                .map(|(id, consumers)| {
                    Ok(Node::new(operator(&plan, *id, &sides, worker)?, consumers.clone()))
                })
                .collect::<Result<Vec<_>>>()?;
            Ok(Stage { nodes, ports: ports.clone(), output })
        };
        StageSpec {
            inputs: inputs.into_iter().map(|(input, _)| input).collect(),
            output_schema: Arc::clone(&self.plan.nodes[root].schema),
            build: Arc::new(build),
        }
    }

    /// Gathers the nodes of the stage that ends in `root`, and where rows enter it.
    fn collect(&self, id: NodeId, root: NodeId, members: &mut Vec<NodeId>, inputs: &mut Vec<Entrance>) {
        if members.contains(&id) {
            return;
        }
        members.push(id);
        if let StreamOp::Input { input } = &self.plan.nodes[id].op {
            // Only when the root itself is an input: the view is the relation.
            let from = StageOrigin::Input(*input);
            inputs.push((StageInput { from, exchange: None, replicate: false }, vec![(id, 0)]));
            return;
        }
        for (side, child) in self.plan.nodes[id].children.iter().enumerate() {
            let from = match &self.plan.nodes[*child].op {
                StreamOp::Input { input } => Some(StageOrigin::Input(*input)),
                _ => match self.roots.iter().position(|r| r == child) {
                    Some(stage) if *child != root => Some(StageOrigin::Stage(stage)),
                    _ => None,
                },
            };
            match from {
                None => self.collect(*child, root, members, inputs),
                Some(from) => {
                    let exchange = exchange_key(self.plan, id, side);
                    let replicate = is_replicated(self.plan, &self.plan.nodes[id], side);
                    inputs.push((StageInput { from, exchange, replicate }, vec![(id, side)]));
                }
            }
        }
    }
}

/// Whether the rows of an input go to every worker.
fn is_replicated(plan: &StreamPlan, node: &StreamNode, side: usize) -> bool {
    match &node.op {
        StreamOp::Recursive(r) => side > 0 && !r.key.is_empty(),
        _ => replicated_side(plan, node) == Some(side),
    }
}

/// The columns by which input `side` of a node must be partitioned; `None` if it may stay.
fn exchange_key(plan: &StreamPlan, id: NodeId, side: usize) -> Option<Vec<usize>> {
    let wanted = match &plan.nodes[id].op {
        StreamOp::Aggregate(a) => a.group.clone(),
        StreamOp::Join(_) if replicated_side(plan, &plan.nodes[id]).is_some() => return None,
        // One NULL on the right concerns all rows on the left.
        StreamOp::Join(j) if j.kind == (JoinKind::Anti { null_aware: true }) => Vec::new(),
        StreamOp::SessionAssign(s) => s.keys.clone(),
        // A row and its deletion meet: by the key of what is below, or else by the whole row.
        StreamOp::Retain { .. } if partitioning(plan, plan.nodes[id].children[side]).is_some() => {
            return None;
        }
        StreamOp::Retain { .. } => (0..plan.nodes[id].schema.fields().len()).collect(),
        StreamOp::Join(j) if side == 0 => j.left_keys.clone(),
        StreamOp::Join(j) => j.right_keys.clone(),
        // Equal rows of both sides meet.
        StreamOp::SetOp(_) => (0..plan.nodes[id].schema.fields().len()).collect(),
        StreamOp::Recursive(_) if is_replicated(plan, &plan.nodes[id], side) => return None,
        // The rounds of a recursive query are those of one worker.
        StreamOp::Recursive(r) => r.key.clone(),
        StreamOp::ChangelogTrigger(_) => Vec::new(),
        StreamOp::TopN(t) => t.partition.clone(),
        StreamOp::Over(o) => o.partition.clone(),
        StreamOp::Expire(e) => e.partition.clone(),
        _ => return None,
    };
    // Joins need both sides by the same columns in the same order; aggregates any order.
    let child = plan.nodes[id].children[side];
    match partitioning(plan, child) {
        Some(have) if have == wanted && !wanted.is_empty() => None,
        _ => Some(wanted),
    }
}

/// The columns by which a node's output is partitioned, if it is.
fn partitioning(plan: &StreamPlan, id: NodeId) -> Option<Vec<usize>> {
    match &plan.nodes[id].op {
        StreamOp::Aggregate(a) => Some((0..a.group.len()).collect()),
        StreamOp::Map { exprs, .. } => {
            let below = partitioning(plan, plan.nodes[id].children[0])?;
            below.iter().map(|c| exprs.iter().position(|e| column_of(e) == Some(*c))).collect()
        }
        StreamOp::WindowAssign(_) | StreamOp::WindowColumns { .. } | StreamOp::Retain { .. } => {
            partitioning(plan, plan.nodes[id].children[0])
        }
        StreamOp::SessionAssign(s) => Some(s.keys.clone()),
        StreamOp::Recursive(r) if !r.key.is_empty() => Some(r.key.clone()),
        StreamOp::TopN(t) => Some(t.partition.clone()),
        StreamOp::Over(o) => Some(o.partition.clone()),
        StreamOp::Expire(e) => Some(e.partition.clone()),
        _ => None,
    }
}

fn column_of(e: &Arc<dyn datafusion::physical_expr::PhysicalExpr>) -> Option<usize> {
    e.downcast_ref::<datafusion::physical_expr::expressions::Column>().map(|c| c.index())
}

fn operator(plan: &StreamPlan, id: NodeId, sides: &Sides, worker: usize) -> Result<Box<dyn Operator>> {
    let node = &plan.nodes[id];
    let schema = Arc::clone(&node.schema);
    let child = |side: usize| &plan.nodes[node.children[side]];
    Ok(match &node.op {
        StreamOp::Input { .. } | StreamOp::Working { .. } => Box::new(PassOperator::new("read", None)),
        StreamOp::Union => Box::new(PassOperator::new("union", Some(schema))),
        StreamOp::Map { filter, exprs } => {
            let errors = Arc::clone(&sides.errors);
            Box::new(MapOperator::new("map", filter.clone(), exprs.clone(), schema, errors)?)
        }
        StreamOp::ChangelogTrigger(emit) => {
            Box::new(ChangelogTriggerOperator::new(emit, schema, Arc::clone(&sides.late))?)
        }
        StreamOp::SetOp(kind) => Box::new(SetOpOperator::new(*kind, schema)),
        StreamOp::Constant(rows) => Box::new(ConstantOperator::new(rows.clone(), worker == 0)),
        StreamOp::TemporalFilter(bounds) => Box::new(TemporalFilterOperator::new(bounds.clone(), schema)),
        StreamOp::Unnest(columns) => Box::new(UnnestOperator::new(columns.clone(), schema)),
        StreamOp::WindowAssign(w) => windows::assign(w, schema, sides)?,
        StreamOp::SessionAssign(s) => windows::session_assign(s, &child(0).schema, schema, sides)?,
        StreamOp::Retain { end, time, retention_us } => windows::retain(*end, time, *retention_us, schema),
        StreamOp::Expire(e) => Box::new(ExpireOperator::new(e, schema)),
        StreamOp::WindowColumns { start, end } => windows::bounds(*start, *end, schema, sides)?,
        StreamOp::Aggregate(a) if windows::is_session(a) => {
            windows::session_aggregate(a, child(0), schema, sides)?
        }
        StreamOp::Aggregate(a) | StreamOp::LocalAggregate(a) => {
            Box::new(AggregateOperator::new(aggregate_spec(a, node, child(0), sides, worker)?)?)
        }
        StreamOp::Recursive(r) => recursion::recursive(r, schema, sides, worker)?,
        StreamOp::TopN(t) => top_n_operator(t, &child(0).schema, schema, sides)?,
        StreamOp::Over(o) => over_operator(o, &child(0).schema, schema, sides)?,
        StreamOp::Join(j) => join_operator(join_spec(plan, node, j, sides))?,
    })
}

fn aggregate_spec(
    a: &AggregateNode,
    node: &StreamNode,
    child: &StreamNode,
    sides: &Sides,
    worker: usize,
) -> Result<AggregateSpec> {
    let is_local = matches!(node.op, StreamOp::LocalAggregate(_));
    Ok(AggregateSpec {
        name: if is_local { "local aggregate" } else { "aggregate" }.into(),
        input_schema: Arc::clone(&child.schema),
        group_columns: a.group.clone(),
        calls: a.calls.clone(),
        output_schema: Arc::clone(&node.schema),
        window: window_spec(a.window.as_ref())?,
        emit: a.emit.clone(),
        input_append_only: child.facts.append_only,
        late: match &sides.relation {
            Some((closed, _)) if !a.late.is_empty() => Arc::clone(closed),
            _ => Arc::clone(&sides.late),
        },
        errors: Arc::clone(&sides.errors),
        ttl_us: a.ttl_us,
        global: a.group.is_empty() && a.window.is_none() && !is_local,
        owner: worker == 0,
    })
}

fn over_operator(
    node: &OverNode,
    input: &SchemaRef,
    output_schema: SchemaRef,
    sides: &Sides,
) -> Result<Box<dyn Operator>> {
    over(OverSpec {
        name: "over".into(),
        input_schema: Arc::clone(input),
        node: node.clone(),
        output_schema,
        late: Arc::clone(&sides.late),
        errors: Arc::clone(&sides.errors),
    })
}

fn top_n_operator(
    node: &TopNNode,
    input: &SchemaRef,
    output_schema: SchemaRef,
    sides: &Sides,
) -> Result<Box<dyn Operator>> {
    let limits = Limits { ranking: node.ranking, range: node.range, with_rank: node.rank.is_some() };
    top_n(TopNSpec {
        name: "top-n".into(),
        input_schema: Arc::clone(input),
        partition: node.partition.clone(),
        order: node.order.clone(),
        limits,
        keep: node.keep,
        window: node.window.clone(),
        on_close: node.on_close,
        output_schema,
        late: Arc::clone(&sides.late),
    })
}

fn join_spec(plan: &StreamPlan, node: &StreamNode, j: &JoinNode, sides: &Sides) -> JoinSpec {
    let (left, right) = (&plan.nodes[node.children[0]], &plan.nodes[node.children[1]]);
    JoinSpec {
        name: "join".into(),
        kind: j.kind,
        null_equal: j.null_equal,
        left_schema: Arc::clone(&left.schema),
        right_schema: Arc::clone(&right.schema),
        left_keys: j.left_keys.clone(),
        right_keys: j.right_keys.clone(),
        residual: j.residual.clone(),
        output: j.output.clone(),
        window: j.window.as_ref().filter(|_| j.interval.is_none()).map(|w| JoinWindow {
            key: w.key,
            time: window_time(&w.time),
            over_after_us: w.over_after_us,
            late: w.judged.map(|judged| judged.then(|| Arc::clone(&sides.late))),
        }),
        interval: j.interval.as_ref().map(|i| JoinInterval {
            times: i.times,
            limits_us: i.limits_us,
            clocks: i.clocks.clone(),
            late: i.late_us.map(|late_us| (late_us, Arc::clone(&sides.late))),
        }),
        as_of: as_of(j.temporal.as_ref(), sides),
        lookup: j.temporal == Some(Temporal::Lookup),
        constant: j.temporal == Some(Temporal::Constant),
        pairs_max: sides.join_pairs_max,
        output_schema: Arc::clone(&node.schema),
        left_append_only: left.facts.append_only,
        right_append_only: right.facts.append_only,
        errors: Arc::clone(&sides.errors),
    }
}

fn as_of(temporal: Option<&Temporal>, sides: &Sides) -> Option<AsOf> {
    let Some(Temporal::AsOf { times, strict, clocks, ties }) = temporal else { return None };
    let late = Arc::clone(&sides.late);
    Some(AsOf { times: *times, strict: *strict, clocks: clocks.clone(), ties: ties.clone(), late })
}

fn window_time(time: &WindowTime) -> aggregate::WindowTime {
    match time {
        WindowTime::Event { clock } => aggregate::WindowTime::Event { clock: clock.clone() },
        WindowTime::Processing => aggregate::WindowTime::Processing,
        // Planned as plain groups, never as windows.
        WindowTime::Unbounded => aggregate::WindowTime::Event { clock: Clock::default() },
    }
}

fn window_spec(window: Option<&AggregateWindow>) -> Result<Option<aggregate::WindowSpec>> {
    Ok(match window {
        None => None,
        Some(AggregateWindow::Keyed { time: WindowTime::Unbounded, .. }) => None,
        Some(AggregateWindow::Keyed { end, start, time: t, judged }) => Some(aggregate::WindowSpec {
            time: window_time(t),
            bounds: aggregate::WindowBounds::Grouped {
                end_group: *end,
                start_group: *start,
                judged: *judged,
            },
        }),
        Some(AggregateWindow::Fused(w)) => Some(aggregate::WindowSpec {
            time: window_time(&w.time),
            bounds: aggregate::WindowBounds::Sliced(sliced(w)),
        }),
        Some(AggregateWindow::Session(_)) => {
            return Err(HwError::internal("sessions have an aggregate of their own"));
        }
    })
}

fn sliced(w: &WindowAssign) -> aggregate::HopSpec {
    aggregate::HopSpec {
        windows: w.windows,
        time_column: (w.time != WindowTime::Processing).then_some(w.time_column),
        with_window_time: false,
    }
}

/// The schema that a dataflow's last stage produces.
pub fn output_schema(spec: &DataflowSpec) -> Option<SchemaRef> {
    spec.stages.last().map(|s| Arc::clone(&s.output_schema))
}
