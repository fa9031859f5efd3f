//! Joins with a version of the other side: look-ups and as-of joins.
//!
//! The binder adds to the ON condition `c` a call that names the kind: [`LOOKUP`]`(c)`,
//! [`VERSION_AT`]`(time, c)`, [`AS_OF`]`(c)`. As the call reads both sides it stays with the
//! join whatever the optimizer moves. The right relation is behind `OFFSET 0`, which filters
//! do not pass; those that the optimizer has put above it are applied to the version found,
//! never before it is chosen.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Join, JoinType, LogicalPlan, Operator};

use super::expr::{self, PExpr};
use super::interval::necessary;
use super::lower::{Lowering, refuse};
use super::*;
use crate::error::{HwError, Result};

/// `lookup(condition)`: the right rows as they are now.
pub const LOOKUP: &str = "headwater_lookup";
/// `version_at(time, condition)`: the right rows as they were at the left row's time.
pub const VERSION_AT: &str = "headwater_version_at";
/// `as_of(condition)`: the last right row by the inequality of times in the condition.
pub const AS_OF: &str = "headwater_as_of";

/// Names the time of the right side in the calls that need it, and all columns by which versions
/// of one time are told apart, so that the optimizer keeps them.
pub fn name_version_times(plan: LogicalPlan) -> Result<LogicalPlan> {
    let named = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Join(mut join) = node else { return Ok(Transformed::no(node)) };
        let version = version_column(&join.right);
        let columns = join.right.schema().columns();
        join.filter = join.filter.take().map(|f| name_columns(f, version.as_ref(), &columns)).transpose()?;
        Ok(Transformed::yes(LogicalPlan::Join(join)))
    });
    named.map(|t| t.data).map_err(|e| HwError::internal(e.to_string()))
}

fn name_columns(
    filter: Expr,
    version: Option<&Column>,
    columns: &[Column],
) -> datafusion::error::Result<Expr> {
    let named = filter.transform_up(|e| {
        let Expr::ScalarFunction(mut f) = e.clone() else { return Ok(Transformed::no(e)) };
        match (f.name(), f.args.len(), version) {
            (AS_OF, 1, _) => {}
            (VERSION_AT, 2, Some(version)) => f.args.push(Expr::Column(version.clone())),
            _ => return Ok(Transformed::no(e)),
        }
        f.args.extend(columns.iter().cloned().map(Expr::Column));
        Ok(Transformed::yes(Expr::ScalarFunction(f)))
    });
    Ok(named?.data)
}

/// The one event-time column of a relation behind the barrier, by its name above it.
fn version_column(right: &LogicalPlan) -> Option<Column> {
    let mut plan = right;
    let relation = loop {
        match plan {
            LogicalPlan::TableScan(scan) => break source_as_provider(&scan.source).ok()?,
            _ => match plan.inputs()[..] {
                [below] => plan = below,
                _ => return None,
            },
        }
    };
    let any: &dyn std::any::Any = relation.as_ref();
    let relation = any.downcast_ref::<StreamRelation>()?;
    let [time] = relation.event_time_columns[..] else { return None };
    let name = relation.schema.field(time).name();
    let (qualifier, field) = right.schema().iter().find(|(_, f)| f.name() == name)?;
    Some(Column::new(qualifier.cloned(), field.name()))
}

/// The call that marks a join, by name, with its arguments.
fn mark(e: &Expr) -> Option<(&str, &[Expr])> {
    match e {
        Expr::Alias(a) => mark(&a.expr),
        Expr::ScalarFunction(f) if [LOOKUP, VERSION_AT, AS_OF].contains(&f.name()) => {
            Some((f.name(), &f.args))
        }
        _ => None,
    }
}

/// Whether the optimizer has moved a mark away from its join, as it does when the condition reads
/// one side only.
pub fn has_mark(e: &Expr) -> bool {
    e.exists(|e| Ok(mark(e).is_some())).unwrap_or(true)
}

impl Lowering<'_> {
    /// Lowers a join that the binder has marked; `None` for others.
    pub(super) fn temporal_join(&mut self, join: &Join) -> Result<Option<NodeId>> {
        let mut parts = Vec::new();
        join.filter.iter().for_each(|f| necessary(f, &mut parts));
        let Some((name, arguments)) = parts.iter().find_map(|p| mark(p)) else { return Ok(None) };
        let kind = match join.join_type {
            JoinType::Inner => JoinKind::Inner,
            JoinType::Left => JoinKind::Left,
            other => {
                return Err(HwError::unsupported(
                    format!("a {other} join with versions"),
                    "Join the versions with JOIN or LEFT JOIN on the right.",
                ));
            }
        };
        if join.on.is_empty() {
            return Err(refuse("a join with versions without an equality", "Add the key: ON a.k = b.k."));
        }
        let mut rest: Vec<Expr> = Vec::new();
        for part in parts.iter().filter(|p| mark(p).is_none() && !is_true(p)) {
            if !rest.contains(part) {
                rest.push((*part).clone());
            }
        }
        let left = self.plan(&join.left)?;
        let (right, kept) = self.plan_versions(&join.right)?;
        let schemas = [join.left.schema().as_ref(), join.right.schema().as_ref()];
        let temporal = match name {
            LOOKUP => Temporal::Lookup,
            VERSION_AT => self.version_at(arguments, schemas, [left, right])?,
            _ => self.as_of(&mut rest, schemas, [left, right])?,
        };
        let (on_left, on_right): (Vec<_>, Vec<_>) = join.on.iter().cloned().unzip();
        let (left, left_keys, left_width) = self.with_keys(left, &on_left, join.left.schema())?;
        let visible = join.right.schema().fields().len();
        let (right, right_keys, _) = self.with_keys(right, &on_right, join.right.schema())?;
        self.check_versions(&temporal, right, &right_keys)?;
        let temporal = self.told_apart(temporal, arguments, schemas[1], right, &right_keys);
        // A left row that is taken back meets the version that it has met before.
        let right = match temporal == Temporal::Lookup || self.nodes[left].facts.append_only {
            true => self.expiring(right, &[], &right_keys),
            false => right,
        };
        let left_total = self.nodes[left].schema.fields().len();
        let output: Vec<usize> = (0..left_width).chain(left_total..left_total + visible).collect();
        let residual =
            self.version_condition(join, conjunction(rest), &output, kept.map(|k| k + left_total))?;
        let null_equal = join.null_equality == datafusion::common::NullEquality::NullEqualsNull;
        let node = JoinNode {
            kind,
            null_equal,
            left_keys,
            right_keys,
            residual,
            output,
            window: None,
            interval: None,
            temporal: Some(temporal),
        };
        let facts = self.temporal_facts(&node, left, right);
        let schema = Arc::new(join.schema.as_arrow().clone());
        Ok(Some(self.add(StreamOp::Join(Box::new(node)), vec![left, right], schema, facts)))
    }

    /// The right side of a join with versions, with a column that tells which rows pass the
    /// filters above its barrier.
    fn plan_versions(&mut self, plan: &LogicalPlan) -> Result<(NodeId, Option<usize>)> {
        match plan {
            LogicalPlan::SubqueryAlias(alias) => self.plan_versions(&alias.input),
            LogicalPlan::Filter(f) => {
                let (node, kept) = self.plan_versions(&f.input)?;
                let mut passes = self.compile(&f.predicate, f.input.schema())?;
                let width = f.input.schema().fields().len();
                if let Some(kept) = kept {
                    passes = expr::and(expr::column(kept), passes);
                }
                let exprs = (0..width).map(expr::column).chain([passes]).collect();
                let schema = with_flag(&Arc::new(f.input.schema().as_arrow().clone()));
                Ok((self.map(node, None, exprs, schema)?, Some(width)))
            }
            LogicalPlan::Projection(p) => {
                let (node, kept) = self.plan_versions(&p.input)?;
                let exprs = p.expr.iter().map(|e| self.compile(e, p.input.schema()));
                let mut exprs = exprs.collect::<Result<Vec<_>>>()?;
                let mut schema = Arc::new(p.schema.as_arrow().clone());
                let width = exprs.len();
                if let Some(kept) = kept {
                    exprs.push(expr::column(kept));
                    schema = with_flag(&schema);
                }
                Ok((self.map(node, None, exprs, schema)?, kept.map(|_| width)))
            }
            other => Ok((self.plan(other)?, None)),
        }
    }

    /// The right side's one event time, against the time given.
    fn version_at(
        &self,
        arguments: &[Expr],
        schemas: [&DFSchema; 2],
        nodes: [NodeId; 2],
    ) -> Result<Temporal> {
        let index = |e: &Expr, side: usize| match e {
            Expr::Column(c) => schemas[side].maybe_index_of_column(c),
            _ => None,
        };
        let column = arguments.first().and_then(|time| index(time, 0)).ok_or_else(|| {
            HwError::unsupported(
                "FOR SYSTEM_TIME AS OF an expression",
                "Name an event-time column of the left side, or proctime().",
            )
        })?;
        match arguments.get(2).and_then(|time| index(time, 1)) {
            Some(version) => self.versions([column, version], false, nodes),
            None => Err(no_versions("The right side needs exactly one column with a watermark.")),
        }
    }

    /// Takes the inequality of times out of the condition.
    fn as_of(&self, rest: &mut Vec<Expr>, schemas: [&DFSchema; 2], nodes: [NodeId; 2]) -> Result<Temporal> {
        let found = rest.iter().enumerate().find_map(|(i, e)| Some((i, ordered(e, schemas)?)));
        let Some((at, (times, op))) = found else {
            return Err(HwError::unsupported(
                "an ASOF JOIN without an inequality of times",
                "Write ASOF JOIN b ON a.k = b.k AND a.ts >= b.ts.",
            ));
        };
        if !matches!(op, Operator::GtEq | Operator::Gt) {
            return Err(HwError::unsupported(
                "an ASOF JOIN with what comes later",
                "Join with what came before: a.ts >= b.ts or a.ts > b.ts, a on the left.",
            ));
        }
        rest.remove(at);
        self.versions(times, op == Operator::Gt, nodes)
    }

    fn versions(&self, times: [usize; 2], strict: bool, nodes: [NodeId; 2]) -> Result<Temporal> {
        let known = |clock: Option<Clock>| {
            clock.ok_or_else(|| no_versions("Both times must be columns with a watermark."))
        };
        let left = known(self.time_clock(nodes[0], times[0]))?;
        let right = self.time_clock(nodes[1], times[1]).or_else(|| self.latest_clock(nodes[1], times[1]));
        let right = known(right)?;
        let clocks = [left.beside(&right), right.beside(&left)];
        Ok(Temporal::AsOf { times, strict, clocks, ties: Vec::new() })
    }

    fn time_clock(&self, node: NodeId, column: usize) -> Option<Clock> {
        match &self.nodes[node].facts.columns[column] {
            ColumnFact::EventTime { clock } => Some(clock.clone()),
            _ => None,
        }
    }

    /// The watermark that new rows of the latest row of each key follow; `column` orders them.
    fn latest_clock(&self, node: NodeId, column: usize) -> Option<Clock> {
        let n = &self.nodes[node];
        match &n.op {
            StreamOp::Map { exprs, .. } => self.latest_clock(n.children[0], expr::as_column(&exprs[column])?),
            StreamOp::TopN(top) => {
                let one = (top.range.first, top.range.last) == (1, Some(1));
                let latest = top.order.first().is_some_and(|key| key.column == column && key.descending);
                let rows = n.children[0];
                (one && latest && self.nodes[rows].facts.append_only)
                    .then(|| self.time_clock(rows, column))?
            }
            _ => None,
        }
    }

    /// A right side that retracts must be versions of its key.
    fn check_versions(&self, temporal: &Temporal, right: NodeId, keys: &[usize]) -> Result<()> {
        let facts = &self.nodes[right].facts;
        let keyed = facts.unique_key.as_ref().is_some_and(|k| k.iter().all(|c| keys.contains(c)));
        if *temporal == Temporal::Lookup || facts.append_only || keyed {
            return Ok(());
        }
        Err(no_versions("The right side changes, so the join must be on its primary key."))
    }

    /// With the columns that tell versions of one key and one time apart: of the right side's
    /// own key if it has one, or else all, in their order.
    fn told_apart(
        &self,
        temporal: Temporal,
        arguments: &[Expr],
        schema: &DFSchema,
        right: NodeId,
        keys: &[usize],
    ) -> Temporal {
        let Temporal::AsOf { times, strict, clocks, .. } = temporal else { return temporal };
        let facts = &self.nodes[right].facts;
        let tells = |c: &usize| {
            let own = facts.unique_key.as_ref().is_none_or(|key| key.contains(c));
            own && *c != times[1] && !keys.contains(c) && facts.columns[*c] != ColumnFact::ProcTime
        };
        let index = |e: &Expr| match e {
            Expr::Column(c) => schema.maybe_index_of_column(c),
            _ => None,
        };
        // Of a key whose row changes, the last change is the version.
        let ties = match facts.append_only {
            true => arguments.iter().filter_map(index).filter(tells).collect(),
            false => Vec::new(),
        };
        Temporal::AsOf { times, strict, clocks, ties }
    }

    /// The condition on a version found, over left ++ right.
    fn version_condition(
        &self,
        join: &Join,
        rest: Option<Expr>,
        written: &[usize],
        kept: Option<usize>,
    ) -> Result<Option<PExpr>> {
        let rest = self.pair_condition(join, rest.as_ref(), written)?;
        Ok(match (rest, kept.map(expr::column)) {
            (Some(rest), Some(kept)) => Some(expr::and(kept, rest)),
            (rest, kept) => rest.or(kept),
        })
    }

    /// A left row has waited until the right watermark has passed its time.
    fn waited_column(&self, join: &JoinNode, left: NodeId, right: NodeId, column: usize) -> ColumnFact {
        let fact =
            super::join::joined_fact(&self.nodes[left].facts.columns[column], &self.nodes[right].facts);
        let is_as_old = |times: &[usize; 2]| self.behind_time(left, column, times[0]) == Some(0);
        match &join.temporal {
            Some(Temporal::AsOf { times, .. }) if fact.clock().is_some() && !is_as_old(times) => {
                ColumnFact::Plain
            }
            _ => fact,
        }
    }

    fn temporal_facts(&self, join: &JoinNode, left: NodeId, right: NodeId) -> Facts {
        let (l, r) = (&self.nodes[left].facts, &self.nodes[right].facts);
        let lookup = join.temporal == Some(Temporal::Lookup);
        let width = self.nodes[left].schema.fields().len();
        let columns = join.output.iter().map(|c| match *c < width {
            true if lookup => l.columns[*c].clone(),
            true => self.waited_column(join, left, right, *c),
            false => ColumnFact::Plain,
        });
        let keyed = r.unique_key.as_ref().is_some_and(|k| k.iter().all(|c| join.right_keys.contains(c)));
        let one = !lookup || keyed;
        let why = match (lookup, l.append_only) {
            (true, true) => "a look-up keeps the rows of the right side",
            (true, false) => {
                "a look-up keeps the rows of the right side, and what each row of the left side has found"
            }
            (false, true) => "it keeps the last version of every key of the right side",
            (false, false) => "it keeps all versions of the right side, as the left side changes",
        };
        Facts {
            append_only: l.append_only,
            unique_key: l.unique_key.clone().filter(|k| one && k.iter().all(|c| join.output.contains(c))),
            columns: columns.collect(),
            state: StateBound::Unbounded(why.into()),
        }
    }
}

fn no_versions(detail: &str) -> HwError {
    HwError::new(
        crate::error::sqlstate::FEATURE_NOT_SUPPORTED,
        "the right side of the join has no versions by event time",
    )
    .with_detail(detail.to_string())
    .with_hint("Use FOR SYSTEM_TIME AS OF proctime() to join with what the right side holds now.")
}

fn is_true(e: &Expr) -> bool {
    matches!(e, Expr::Literal(ScalarValue::Boolean(Some(true)), _))
}

/// The columns and the operator of a comparison between the sides, the left one first.
fn ordered(e: &Expr, schemas: [&DFSchema; 2]) -> Option<([usize; 2], Operator)> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = e else { return None };
    let (Expr::Column(a), Expr::Column(b)) = (&**left, &**right) else { return None };
    let index = |side: usize, c| schemas[side].maybe_index_of_column(c);
    let (times, op) = match ([index(0, a), index(1, b)], [index(0, b), index(1, a)]) {
        ([Some(l), Some(r)], _) => ([l, r], *op),
        (_, [Some(l), Some(r)]) => ([l, r], op.swap()?),
        _ => return None,
    };
    matches!(op, Operator::GtEq | Operator::Gt | Operator::LtEq | Operator::Lt).then_some((times, op))
}

fn with_flag(schema: &SchemaRef) -> SchemaRef {
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    fields.push(Arc::new(arrow::datatypes::Field::new("passes", arrow::datatypes::DataType::Boolean, true)));
    Arc::new(arrow::datatypes::Schema::new(fields))
}
