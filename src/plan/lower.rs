//! Lowering: a walk over the optimized logical plan that builds the streaming plan.
//!
//! In: a `LogicalPlan` whose leaves are [`StreamRelation`]s. Out: a [`StreamPlan`] whose
//! root has the plan's columns in order. Equal nodes are made once (hash-consing by
//! comparison), so a sub-query written twice is maintained once. Adjacent maps are merged
//! when that repeats no work. Anything that has no exact incremental operator is refused.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::DFSchema;
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::expr::{self, PExpr};
use super::relation::StreamRelation;
use super::*;
use crate::error::{HwError, Result};

/// Makes physical expressions with PostgreSQL's meaning; lives in a higher layer.
pub trait ExprCompiler {
    fn compile(&self, expr: &Expr, schema: &DFSchema) -> Result<PExpr>;
}

/// Choices of the statement.
#[derive(Clone, Debug)]
pub struct LowerOptions {
    pub emit: EmitSpec,
    /// Whether the rows that the view's windows refuse are kept whole.
    pub late_rows: bool,
    /// After how long untouched state goes that has no bound of its own.
    pub state_ttl_us: Option<i64>,
}

impl LowerOptions {
    /// For what the outermost aggregate reads.
    pub fn below(&self) -> LowerOptions {
        LowerOptions { emit: self.emit.below(), late_rows: false, state_ttl_us: self.state_ttl_us }
    }
}

/// Builds the streaming plan of a view.
///
/// Errors: 0A000 naming the construct that cannot be maintained; 42P16 when
/// `EMIT ON WINDOW CLOSE` has no window to close.
pub fn lower(plan: &LogicalPlan, compiler: &dyn ExprCompiler, options: LowerOptions) -> Result<StreamPlan> {
    let closes = options.emit.policy == EmitPolicy::Final;
    let mut lowering = Lowering {
        nodes: Vec::new(),
        inputs: Vec::new(),
        compiler,
        options,
        late: None,
        open: Vec::new(),
        recursions: 0,
    };
    let root = lowering.plan(plan)?;
    let root = lowering.restore_names(root, plan.schema());
    lowering.check_processing_time_marker(root)?;
    if closes {
        lowering.check_on_window_close(root)?;
    }
    let root = lowering.changelog_trigger(root);
    let hidden = panes::carry(&mut lowering.nodes, root)?;
    let late = lowering.late.take();
    let mut plan = StreamPlan { nodes: lowering.nodes, root, inputs: lowering.inputs, hidden, late };
    prune(&mut plan);
    super::top_n::drop_unused_ranks(&mut plan);
    super::narrow::narrow_joins(&mut plan)?;
    super::unique::drop_joins(&mut plan);
    prune(&mut plan);
    super::distribute::split_aggregates(&mut plan);
    super::bounds::settle(&mut plan);
    note_used_columns(&mut plan);
    Ok(plan)
}

pub(super) struct Lowering<'a> {
    pub nodes: Vec<StreamNode>,
    pub inputs: Vec<PlanInput>,
    pub compiler: &'a dyn ExprCompiler,
    pub options: LowerOptions,
    /// Found while the outermost aggregate is lowered.
    pub late: Option<LatePlan>,
    /// The recursive queries whose steps are being lowered, innermost last.
    pub open: Vec<super::recursion::Open>,
    /// Recursive queries so far.
    pub recursions: usize,
}

impl Lowering<'_> {
    pub fn plan(&mut self, plan: &LogicalPlan) -> Result<NodeId> {
        // The clause is that of the outermost aggregate; what other nodes read follows it.
        let passes = matches!(
            plan,
            LogicalPlan::Projection(_)
                | LogicalPlan::Filter(_)
                | LogicalPlan::SubqueryAlias(_)
                | LogicalPlan::Sort(_)
                | LogicalPlan::Aggregate(_)
        );
        if passes {
            return self.plan_node(plan);
        }
        let below = self.options.below();
        let options = std::mem::replace(&mut self.options, below);
        let node = self.plan_node(plan);
        self.options = options;
        node
    }

    fn plan_node(&mut self, plan: &LogicalPlan) -> Result<NodeId> {
        match plan {
            LogicalPlan::TableScan(scan) => self.table_scan(scan),
            LogicalPlan::SubqueryAlias(alias) => self.plan(&alias.input),
            LogicalPlan::Projection(p) => {
                let child = self.plan(&p.input)?;
                self.projection(child, p.input.schema(), &p.expr, &p.schema)
            }
            LogicalPlan::Filter(f) => {
                let child = self.plan(&f.input)?;
                let condition = self.compile(&f.predicate, f.input.schema())?;
                match self.top_n_filter(child, &condition)? {
                    Some(top_n) => Ok(top_n),
                    None => self.filter(child, condition),
                }
            }
            LogicalPlan::Union(u) => self.union(u),
            LogicalPlan::Aggregate(a) => self.aggregate(a),
            LogicalPlan::Join(j) => self.join(j),
            LogicalPlan::Extension(e) => match e.node.as_any().downcast_ref::<WindowNode>() {
                Some(window) => self.window(window),
                None => self.extension(e.node.as_ref()),
            },
            LogicalPlan::Values(values) => self.values(values),
            LogicalPlan::EmptyRelation(empty) => self.empty(empty),
            LogicalPlan::Unnest(unnest) => self.unnest(unnest),
            LogicalPlan::Limit(l) if is_barrier(l) => self.plan(&l.input),
            LogicalPlan::Sort(s) if s.fetch.is_none() => self.plan(&s.input),
            LogicalPlan::Sort(_) | LogicalPlan::Limit(_) => self.limit(plan),
            LogicalPlan::Window(w) => self.over(w),
            LogicalPlan::RecursiveQuery(query) => self.recursive(query),
            other => Err(refuse_plan(other)),
        }
    }

    pub fn compile(&self, expr: &Expr, schema: &DFSchema) -> Result<PExpr> {
        if super::temporal::has_mark(expr) {
            return Err(refuse("a join with versions without an equality", "Add the key: ON a.k = b.k."));
        }
        expr::canonical(&self.compiler.compile(expr, schema)?)
    }

    /// Adds a node, or finds the equal one.
    pub fn add(&mut self, op: StreamOp, children: Vec<NodeId>, schema: SchemaRef, facts: Facts) -> NodeId {
        debug_assert_eq!(schema.fields().len(), facts.columns.len());
        if let Some(same) =
            self.nodes.iter().position(|n| n.children == children && n.op == op && n.schema == schema)
        {
            return same;
        }
        self.nodes.push(StreamNode { op, children, schema, facts });
        self.nodes.len() - 1
    }

    fn table_scan(&mut self, scan: &datafusion::logical_expr::TableScan) -> Result<NodeId> {
        let provider = source_as_provider(&scan.source).map_err(|e| HwError::internal(e.to_string()))?;
        let any: &dyn std::any::Any = provider.as_ref();
        let mut node = if let Some(relation) = any.downcast_ref::<StreamRelation>() {
            self.input(relation)
        } else if let Some(table) = any.downcast_ref::<CteWorkTable>() {
            self.working_rows(table.name())?
        } else {
            return Err(HwError::unsupported(
                format!("reading {} in a materialized view", scan.table_name),
                "Materialized views read sources, tables and other views.",
            ));
        };
        let schema = provider.schema();
        let full = DFSchema::try_from_qualified_schema(scan.table_name.clone(), &schema)
            .map_err(|e| HwError::internal(e.to_string()))?;
        for condition in &scan.filters {
            let condition = self.compile(condition, &full)?;
            node = self.filter(node, condition)?;
        }
        match &scan.projection {
            None => Ok(node),
            Some(columns) => {
                let exprs = columns.iter().map(|c| expr::column(*c)).collect();
                let schema = Arc::new(schema.project(columns)?);
                self.map(node, None, exprs, schema)
            }
        }
    }

    fn input(&mut self, relation: &StreamRelation) -> NodeId {
        let input = match self.inputs.iter().position(|i| i.relation == relation.id) {
            Some(input) => input,
            None => {
                self.inputs.push(PlanInput {
                    relation: relation.id,
                    name: relation.name.clone(),
                    schema: relation.schema(),
                    used_columns: Vec::new(),
                    final_windows: relation.final_windows,
                    extent: relation.extent,
                });
                self.inputs.len() - 1
            }
        };
        let mut columns = vec![ColumnFact::Plain; relation.schema.fields().len()];
        for c in &relation.event_time_columns {
            columns[*c] = ColumnFact::EventTime { clock: vec![input].into() };
        }
        for c in &relation.proctime_columns {
            columns[*c] = ColumnFact::ProcTime;
        }
        if let Some((start, end, size_us)) = relation.window_columns {
            let time = WindowTime::Event { clock: vec![input].into() };
            if let Some(start) = start {
                columns[start] = ColumnFact::WindowStart { time: time.clone(), size_us };
            }
            if let Some(end) = end {
                columns[end] = ColumnFact::WindowEnd { time };
            }
        }
        let facts = Facts {
            append_only: relation.append_only,
            unique_key: relation.unique_key.clone(),
            columns,
            state: StateBound::None,
        };
        self.add(StreamOp::Input { input }, vec![], relation.schema(), facts)
    }

    pub fn projection(
        &mut self,
        child: NodeId,
        input: &DFSchema,
        exprs: &[Expr],
        output: &DFSchema,
    ) -> Result<NodeId> {
        let mut compiled = Vec::with_capacity(exprs.len());
        let mut proctime = Vec::new();
        for (i, e) in exprs.iter().enumerate() {
            if is_proctime(e) {
                proctime.push(i);
            }
            compiled.push(self.compile(e, input)?);
        }
        let node = self.map(child, None, compiled, Arc::new(output.as_arrow().clone()))?;
        for i in proctime {
            self.nodes[node].facts.columns[i] = ColumnFact::ProcTime;
        }
        Ok(node)
    }

    pub fn filter(&mut self, child: NodeId, condition: PExpr) -> Result<NodeId> {
        let schema = Arc::clone(&self.nodes[child].schema);
        let exprs = (0..schema.fields().len()).map(expr::column).collect();
        self.map(child, Some(condition), exprs, schema)
    }

    /// Adds a map over `child`, merged with a map below where no work is repeated.
    pub fn map(
        &mut self,
        child: NodeId,
        filter: Option<PExpr>,
        exprs: Vec<PExpr>,
        schema: SchemaRef,
    ) -> Result<NodeId> {
        let facts = map_facts(&self.nodes[child].facts, &exprs);
        if let StreamOp::Map { filter: below_filter, exprs: below } = &self.nodes[child].op {
            let used: Vec<usize> = filter.iter().chain(&exprs).flat_map(expr::columns_of).collect();
            let cheap = |i: &usize| {
                expr::as_column(&below[*i]).is_some()
                    || expr::is_literal(&below[*i])
                    || (used.iter().filter(|u| *u == i).count() == 1
                        && below_filter.is_none()
                        && filter.is_none())
            };
            if used.iter().all(cheap) && (below_filter.is_none() || filter.is_none()) {
                let replace = |i: usize| Arc::clone(&below[i]);
                let merged_filter = match (&filter, below_filter) {
                    (Some(f), None) => Some(expr::substitute(f, &replace)?),
                    (None, Some(f)) => Some(Arc::clone(f)),
                    _ => None,
                };
                let merged =
                    exprs.iter().map(|e| expr::substitute(e, &replace)).collect::<Result<Vec<_>>>()?;
                let grandchild = self.nodes[child].children[0];
                let op = StreamOp::Map { filter: merged_filter, exprs: merged };
                return Ok(self.add(op, vec![grandchild], schema, facts));
            }
        }
        let identity = filter.is_none()
            && exprs.len() == self.nodes[child].schema.fields().len()
            && exprs.iter().enumerate().all(|(i, e)| expr::as_column(e) == Some(i))
            && schema == self.nodes[child].schema;
        if identity {
            return Ok(child);
        }
        Ok(self.add(StreamOp::Map { filter, exprs }, vec![child], schema, facts))
    }

    fn union(&mut self, union: &datafusion::logical_expr::Union) -> Result<NodeId> {
        let schema = Arc::new(union.schema.as_arrow().clone());
        let mut children = Vec::new();
        for input in &union.inputs {
            let child = self.plan(input)?;
            let exprs = (0..schema.fields().len()).map(expr::column).collect();
            children.push(self.map(child, None, exprs, Arc::clone(&schema))?);
        }
        Ok(self.union_of(children, schema))
    }

    /// All rows of nodes that have exactly this schema.
    pub fn union_of(&mut self, children: Vec<NodeId>, schema: SchemaRef) -> NodeId {
        let columns = (0..schema.fields().len())
            .map(|c| union_fact(children.iter().map(|n| &self.nodes[*n].facts.columns[c])))
            .collect();
        let facts = Facts {
            append_only: children.iter().all(|n| self.nodes[*n].facts.append_only),
            unique_key: None,
            columns,
            state: StateBound::None,
        };
        self.add(StreamOp::Union, children, schema, facts)
    }

    /// The root with exactly the logical plan's output names.
    fn restore_names(&mut self, root: NodeId, schema: &DFSchema) -> NodeId {
        let target: SchemaRef = Arc::new(schema.as_arrow().clone());
        if self.nodes[root].schema == target {
            return root;
        }
        let shared = self.nodes.iter().any(|n| n.children.contains(&root));
        if shared {
            let exprs: Vec<PExpr> = (0..target.fields().len()).map(expr::column).collect();
            let facts = map_facts(&self.nodes[root].facts, &exprs);
            return self.add(StreamOp::Map { filter: None, exprs }, vec![root], target, facts);
        }
        self.nodes[root].schema = target;
        root
    }

    fn check_processing_time_marker(&self, root: NodeId) -> Result<()> {
        if self.nodes[root].facts.columns.contains(&ColumnFact::ProcTime) {
            return Err(HwError::unsupported(
                "proctime() in the output of a materialized view",
                "Use proctime() as the time column of TUMBLE or HOP.",
            ));
        }
        Ok(())
    }

    /// Every path from the root must meet a windowed aggregate before an unwindowed one.
    fn check_on_window_close(&self, node: NodeId) -> Result<()> {
        let n = &self.nodes[node];
        let refused = |why: &str| {
            Err(HwError::new(
                crate::error::sqlstate::INVALID_TABLE_DEFINITION,
                "EMIT ON WINDOW CLOSE needs a windowed aggregation with a watermark",
            )
            .with_detail(why.to_string())
            .with_hint("Group by window_start, window_end of TUMBLE or HOP over a column with a WATERMARK, or use EMIT CHANGES."))
        };
        match &n.op {
            StreamOp::Aggregate(a) => match a.window.as_ref().map(|w| w.time()) {
                None => refused("An aggregation is not grouped by a window."),
                Some(WindowTime::Unbounded) => refused("The time column of a window has no watermark."),
                Some(_) => Ok(()),
            },
            StreamOp::TopN(t) if t.on_close => Ok(()),
            StreamOp::Over(o) if o.on_close => Ok(()),
            StreamOp::Input { .. } => refused("Rows reach the view without passing a windowed aggregation."),
            _ => n.children.iter().try_for_each(|c| self.check_on_window_close(*c)),
        }
    }
}

/// `OFFSET 0`, which leaves out nothing.
fn is_barrier(limit: &datafusion::logical_expr::Limit) -> bool {
    use datafusion::logical_expr::{FetchType, SkipType};
    matches!(
        (limit.get_skip_type(), limit.get_fetch_type()),
        (Ok(SkipType::Literal(0)), Ok(FetchType::Literal(None)))
    )
}

/// `proctime()` or an alias of it.
pub(super) fn is_proctime(expr: &Expr) -> bool {
    match expr {
        Expr::Alias(a) => is_proctime(&a.expr),
        Expr::ScalarFunction(f) => f.func.name() == "proctime",
        _ => false,
    }
}

fn map_facts(below: &Facts, exprs: &[PExpr]) -> Facts {
    let columns = exprs
        .iter()
        .map(|e| expr::as_column(e).map_or(ColumnFact::Plain, |i| below.columns[i].clone()))
        .collect();
    let unique_key = below.unique_key.as_ref().and_then(|key| {
        key.iter()
            .map(|k| exprs.iter().position(|e| expr::as_column(e) == Some(*k)))
            .collect::<Option<Vec<_>>>()
    });
    Facts { append_only: below.append_only, unique_key, columns, state: StateBound::None }
}

pub(super) fn union_fact<'a>(mut facts: impl Iterator<Item = &'a ColumnFact>) -> ColumnFact {
    let Some(first) = facts.next() else { return ColumnFact::Plain };
    let mut merged = first.clone();
    for fact in facts {
        merged = match (merged, fact) {
            (ColumnFact::EventTime { clock }, ColumnFact::EventTime { clock: other }) => {
                ColumnFact::EventTime { clock: clock.and(other) }
            }
            (a, b) if a == *b => a,
            _ => ColumnFact::Plain,
        };
    }
    merged
}

/// Drops nodes that the root does not reach.
pub(super) fn prune(plan: &mut StreamPlan) {
    let mut live = vec![false; plan.nodes.len()];
    live[plan.root] = true;
    for id in (0..plan.nodes.len()).rev() {
        if live[id] {
            plan.nodes[id].children.iter().for_each(|c| live[*c] = true);
        }
    }
    let mut renumbered = vec![0; plan.nodes.len()];
    let mut kept = Vec::new();
    for (id, mut node) in std::mem::take(&mut plan.nodes).into_iter().enumerate() {
        if live[id] {
            node.children.iter_mut().for_each(|c| *c = renumbered[*c]);
            renumbered[id] = kept.len();
            kept.push(node);
        }
    }
    plan.root = renumbered[plan.root];
    plan.nodes = kept;
}

/// Fills `PlanInput::used_columns` from the maps directly above each input.
fn note_used_columns(plan: &mut StreamPlan) {
    for id in 0..plan.nodes.len() {
        let StreamOp::Input { input } = plan.nodes[id].op else { continue };
        let width = plan.nodes[id].schema.fields().len();
        let mut used = Vec::new();
        for consumer in plan.nodes.iter().filter(|n| n.children.contains(&id)) {
            match &consumer.op {
                StreamOp::Map { filter, exprs } => {
                    used.extend(filter.iter().chain(exprs).flat_map(expr::columns_of));
                }
                _ => used.extend(0..width),
            }
        }
        if id == plan.root {
            used.extend(0..width);
        }
        used.sort_unstable();
        used.dedup();
        plan.inputs[input].used_columns = used;
    }
}

pub(super) fn refuse(what: &str, hint: &str) -> HwError {
    let e = HwError::new(
        crate::error::sqlstate::FEATURE_NOT_SUPPORTED,
        format!("{what} cannot be maintained incrementally yet"),
    );
    if hint.is_empty() { e } else { e.with_hint(hint.to_string()) }
}

fn refuse_plan(plan: &LogicalPlan) -> HwError {
    match plan {
        LogicalPlan::Subquery(_) => refuse("a sub-query in an expression", "Write it as a join."),
        other => refuse(&format!("{} in a materialized view", other.display()), ""),
    }
}
