//! Recursive queries: `x AS (base UNION [ALL] step)`, where the step reads x once.
//!
//! The step is lowered with a leaf for the rows of x; the nodes that depend on that leaf then
//! become a plan of their own inside one node, whose children are the base and what else the step
//! reads. Only nodes that treat every row of x by itself may depend on it, so that the step over
//! the rows of one round gives the rows of the next. Where rows may be deleted, the rows of x
//! carry the number of the round in which they appear through the step (see
//! `dataflow/operators/recursion`).

mod rounds;

use datafusion::logical_expr::RecursiveQuery;

use super::expr;
use super::lower::{Lowering, prune, refuse};
use super::*;
use crate::error::{HwError, sqlstate};

/// Between the name that a recursive query was given and what tells it from others.
pub const RECURSION_NAME_SEPARATOR: &str = " #";

/// A recursive query. Child 0 is the base; child n + 1 is input n of the step.
#[derive(Clone, Debug)]
pub struct RecursiveNode {
    pub name: String,
    pub mode: RecursionMode,
    /// Columns that every row takes over from the row that it is derived from. Workers divide the
    /// query by them, and all get what else the step reads; without any, one worker does it all.
    pub key: Vec<usize>,
    /// From [`StreamOp::Working`] and inputs to rows of x.
    pub step: Box<StreamPlan>,
}

/// How a recursive query is maintained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecursionMode {
    /// UNION ALL: what changes goes through the step until nothing is left of it.
    Bag,
    /// UNION of rows that are never deleted: only rows not seen before go through the step.
    Growing,
    /// UNION: rows go through the step with the number of their round, in this column of the
    /// step's output.
    Rounds { column: usize },
}

impl PartialEq for RecursiveNode {
    fn eq(&self, other: &RecursiveNode) -> bool {
        let same = |(a, b): (&StreamNode, &StreamNode)| {
            a.op == b.op && a.children == b.children && a.schema == b.schema
        };
        self.name == other.name
            && self.mode == other.mode
            && self.step.root == other.step.root
            && self.step.nodes.len() == other.step.nodes.len()
            && self.step.nodes.iter().zip(&other.step.nodes).all(same)
    }
}

impl RecursiveNode {
    /// The operators of the step hold no more than what it reads lets them.
    pub(super) fn bound_step(&mut self, bound: &StateBound) {
        let unbounded = |n: &&mut StreamNode| matches!(n.facts.state, StateBound::Unbounded(_));
        self.step.nodes.iter_mut().filter(unbounded).for_each(|n| n.facts.state = bound.clone());
    }
}

/// A recursive query whose step is being lowered.
pub(super) struct Open {
    name: String,
    working: NodeId,
}

impl Lowering<'_> {
    pub(super) fn recursive(&mut self, query: &RecursiveQuery) -> Result<NodeId> {
        let fields = query.schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true));
        let schema: SchemaRef = Arc::new(arrow::datatypes::Schema::new(fields.collect::<Vec<_>>()));
        let base = self.plan(&query.static_term)?;
        let base = self.typed(base, &schema)?;
        let base = self.expiring(base, &[], &[]);
        let width = schema.fields().len();
        self.recursions += 1;
        let facts = Facts {
            append_only: self.nodes[base].facts.append_only,
            unique_key: None,
            columns: vec![ColumnFact::Plain; width],
            state: StateBound::None,
        };
        let op = StreamOp::Working { query: self.recursions };
        let working = self.add(op, vec![], Arc::clone(&schema), facts);
        self.open.push(Open { name: query.name.clone(), working });
        let step = self.plan(&query.recursive_term);
        self.open.pop();
        let step = step?;
        let step = self.typed(step, &schema)?;
        let append_only = self.nodes[base].facts.append_only && self.nodes[step].facts.append_only;
        let (mut plan, mut children) = self.cut_out(shown(&query.name), working, step, query.is_distinct)?;
        let key = (0..width).filter(|c| origin(&plan, plan.root, *c) == Some(*c)).collect();
        let mode = match (query.is_distinct, append_only) {
            (false, _) => RecursionMode::Bag,
            (true, true) => RecursionMode::Growing,
            (true, false) => RecursionMode::Rounds { column: rounds::carry(&mut plan)? },
        };
        if !append_only {
            rounds::retract(&mut plan);
        }
        children.insert(0, base);
        let unbounded = |n: &StreamNode| match &n.facts.state {
            StateBound::Unbounded(why) => Some(StateBound::Unbounded(format!("in its step, {why}"))),
            _ => None,
        };
        let state = match mode {
            RecursionMode::Bag => plan.nodes.iter().find_map(unbounded).unwrap_or(StateBound::None),
            _ => StateBound::Unbounded("a recursive query keeps an entry for each row of its result".into()),
        };
        let facts = Facts {
            append_only,
            unique_key: query.is_distinct.then(|| (0..width).collect()),
            columns: vec![ColumnFact::Plain; width],
            state,
        };
        let node = RecursiveNode { name: shown(&query.name).to_string(), mode, key, step: Box::new(plan) };
        Ok(self.add(StreamOp::Recursive(node), children, schema, facts))
    }

    /// The rows of the recursive query of that name, inside its step.
    pub(super) fn working_rows(&self, name: &str) -> Result<NodeId> {
        let open = self.open.iter().rev().find(|open| open.name == name);
        open.map(|open| open.working)
            .ok_or_else(|| HwError::internal(format!("\"{name}\" is not recursive here")))
    }

    /// Whether a node depends on the rows of a recursive query whose step is being lowered.
    pub(super) fn reads_working(&self, node: NodeId) -> bool {
        let mut reads = vec![false; node + 1];
        for id in 0..=node {
            let is_working = self.open.iter().any(|open| open.working == id);
            reads[id] = is_working || self.nodes[id].children.iter().any(|c| reads[*c]);
        }
        reads[node]
    }

    /// The node with exactly this schema, which differs in names and nullability only.
    fn typed(&mut self, node: NodeId, schema: &SchemaRef) -> Result<NodeId> {
        for (have, want) in self.nodes[node].schema.fields().iter().zip(schema.fields()) {
            if have.data_type() != want.data_type() {
                return Err(HwError::internal(format!(
                    "column {} of a recursive query is {} and {}",
                    want.name(),
                    have.data_type(),
                    want.data_type()
                )));
            }
        }
        let exprs = (0..schema.fields().len()).map(expr::column).collect();
        self.map(node, None, exprs, Arc::clone(schema))
    }

    /// The nodes that depend on `working` as a plan of their own, and the nodes that it reads.
    fn cut_out(
        &self,
        name: &str,
        working: NodeId,
        step: NodeId,
        is_distinct: bool,
    ) -> Result<(StreamPlan, Vec<NodeId>)> {
        let mut inside = vec![false; self.nodes.len()];
        for id in working..self.nodes.len() {
            inside[id] = id == working || self.nodes[id].children.iter().any(|c| inside[*c]);
        }
        let mut cut = Cut {
            outer: &self.nodes,
            inside,
            places: vec![None; self.nodes.len()],
            inputs: vec![],
            nodes: vec![],
        };
        let root = cut.take(name, step, is_distinct)?;
        let inputs = cut.inputs.iter().map(|id| PlanInput {
            relation: 0,
            name: String::new(),
            schema: Arc::clone(&self.nodes[*id].schema),
            final_windows: false,
            used_columns: Vec::new(),
            extent: self.extent(*id),
        });
        let inputs = inputs.collect();
        let children = cut.inputs;
        let mut plan = StreamPlan { nodes: cut.nodes, root, inputs, hidden: 0, late: None };
        prune(&mut plan);
        super::narrow::narrow_joins(&mut plan)?;
        prune(&mut plan);
        Ok((plan, children))
    }
}

/// The column of the rows of x that a column of a node of the step is a copy of.
fn origin(plan: &StreamPlan, id: NodeId, column: usize) -> Option<usize> {
    let node = &plan.nodes[id];
    match &node.op {
        StreamOp::Working { .. } => Some(column),
        StreamOp::Map { exprs, .. } => origin(plan, node.children[0], expr::as_column(&exprs[column])?),
        StreamOp::Unnest(columns) => match columns[column] {
            UnnestColumn::Repeat(c) => origin(plan, node.children[0], c),
            UnnestColumn::Elements(_) => None,
        },
        StreamOp::Join(join) => {
            let of_pair = *join.output.get(column)?;
            let left = plan.nodes[node.children[0]].schema.fields().len();
            match of_pair.checked_sub(left) {
                None => origin(plan, node.children[0], of_pair),
                Some(of_right) => origin(plan, node.children[1], of_right),
            }
        }
        _ => None,
    }
}

/// The name that the query was given, without what tells it from others.
fn shown(name: &str) -> &str {
    name.split(RECURSION_NAME_SEPARATOR).next().unwrap_or(name)
}

/// Copies the nodes of a step out of the plan around it.
struct Cut<'a> {
    outer: &'a [StreamNode],
    /// Whether a node depends on the rows of x.
    inside: Vec<bool>,
    /// Where a node went.
    places: Vec<Option<NodeId>>,
    /// The nodes outside that the step reads.
    inputs: Vec<NodeId>,
    nodes: Vec<StreamNode>,
}

impl Cut<'_> {
    fn take(&mut self, name: &str, id: NodeId, is_distinct: bool) -> Result<NodeId> {
        if let Some(place) = self.places[id] {
            return Ok(place);
        }
        let mut node = self.outer[id].clone();
        if self.inside[id] {
            let inside: Vec<bool> = node.children.iter().map(|c| self.inside[*c]).collect();
            node.op = allowed(name, node.op, &inside, is_distinct)?;
            for child in &mut node.children {
                *child = self.take(name, *child, is_distinct)?;
            }
        } else {
            node.op = StreamOp::Input { input: self.inputs.len() };
            node.children.clear();
            node.facts.state = StateBound::None;
            self.inputs.push(id);
        }
        self.nodes.push(node);
        self.places[id] = Some(self.nodes.len() - 1);
        Ok(self.nodes.len() - 1)
    }
}

/// What a node of the step does, if each row of x has its own part in what the node gives;
/// `inside` says which children depend on x.
fn allowed(name: &str, op: StreamOp, inside: &[bool], is_distinct: bool) -> Result<StreamOp> {
    let invalid = |message: String| Err(HwError::new(sqlstate::INVALID_RECURSION, message));
    let within = |what: &str| {
        invalid(format!("recursive reference to query \"{name}\" must not appear within {what}"))
    };
    match &op {
        StreamOp::Working { .. } => Ok(StreamOp::Working { query: 0 }),
        StreamOp::Map { .. } | StreamOp::Unnest(_) => Ok(op),
        StreamOp::Union if inside.iter().all(|i| *i) => Ok(op),
        StreamOp::Union => Err(refuse(
            "a UNION in a recursive term with a part that does not read the recursive query",
            "Move that part to the non-recursive term.",
        )),
        StreamOp::Join(join)
            if join.temporal.is_some() || join.interval.is_some() || join.window.is_some() =>
        {
            Err(refuse("a join over time in a recursive term", "Join the result of the recursive query."))
        }
        StreamOp::Join(join) => match (join.kind, inside) {
            (_, [true, true]) => Err(refuse(
                "a LATERAL sub-query over the rows of a recursive query",
                "Join with a relation that holds the answer for all rows; elements of arrays and series can stand in the SELECT list.",
            )),
            (JoinKind::Inner, _) => Ok(op),
            (JoinKind::Left | JoinKind::Semi | JoinKind::Anti { .. } | JoinKind::Mark, [true, false]) => {
                Ok(op)
            }
            (JoinKind::Left | JoinKind::Full, _) => within("an outer join"),
            _ => within("a subquery"),
        },
        // DISTINCT: whether a row is there, not how often, counts in the end.
        StreamOp::Aggregate(a) if a.calls.is_empty() && a.window.is_none() && is_distinct => {
            Ok(StreamOp::Map { filter: None, exprs: a.group.iter().map(|c| expr::column(*c)).collect() })
        }
        StreamOp::Aggregate(a) if a.calls.is_empty() => {
            Err(refuse("DISTINCT in the recursive term of UNION ALL", "Write UNION in place of UNION ALL."))
        }
        StreamOp::Aggregate(_) => {
            Err(refuse("an aggregate in a recursive term", "Aggregate the result of the recursive query."))
        }
        StreamOp::SetOp(kind) => within(kind.word()),
        StreamOp::Recursive(_) => Err(refuse(
            "a recursive query within a recursive term that it reads",
            "Write one recursive query.",
        )),
        StreamOp::TopN(_) => {
            Err(refuse("ORDER BY with LIMIT in a recursive term", "Limit the result of the recursive query."))
        }
        StreamOp::Over(_) => Err(refuse(
            "a window function in a recursive term",
            "Use it over the result of the recursive query.",
        )),
        StreamOp::TemporalFilter(_) => {
            Err(refuse("now() in a recursive term", "Filter the result of the recursive query."))
        }
        _ => Err(refuse("a window in a recursive term", "Use it over the result of the recursive query.")),
    }
}
