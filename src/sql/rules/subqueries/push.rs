//! A correlated plan as a plain one that carries its outer values.
//!
//! [`Pusher::push`] gives, for a plan with outer columns o, a plan with the same columns and
//! beside them columns for o: its rows are those that the original has for each o. Outer
//! values that an equality of a filter determines are taken from there; otherwise the plan
//! meets the domain, all different outer values, in a cross join. An aggregate without groups
//! has a row even for outer values that meet no rows: that row is a *default* until a node
//! needs it (`materialize`); `marker` is a column that is NULL where it is missing.

use std::cell::Cell;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ExprSchema, Result as DfResult, ScalarValue};
use datafusion::logical_expr::expr::{AggregateFunction, GroupingSet, WindowFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Distinct, EmptyRelation, Expr, ExprFunctionExt, Filter, Join, JoinType, Limit,
    LogicalPlan, LogicalPlanBuilder, Operator, Projection, SortExpr, Union, Window, lit, when,
};

use super::rows::{over_one_row, padded, unless_padded};
use crate::error::HwError;

/// An outer column, and the name under which a pushed plan carries it.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub field: FieldRef,
    pub column: Column,
    pub name: String,
}

impl Key {
    /// The column in the pushed plan.
    pub fn carried(&self) -> Expr {
        Expr::Column(Column::new_unqualified(&self.name))
    }

    /// The value in a scope of this schema: a column, or of a scope further out.
    pub fn outer_expr(&self, schema: &DFSchema) -> Expr {
        match schema.has_column(&self.column) {
            true => Expr::Column(self.column.clone()),
            false => Expr::OuterReferenceColumn(Arc::clone(&self.field), self.column.clone()),
        }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Pushed {
    pub plan: LogicalPlan,
    /// The original columns.
    pub columns: Vec<Column>,
    pub keys: Vec<Key>,
    /// No outer value carried is NULL.
    pub strict: bool,
    /// The row that outer values without rows have, by column.
    pub defaults: Option<Vec<Expr>>,
    pub marker: Option<Column>,
}

impl Pushed {
    pub fn with_plan(&self, plan: LogicalPlan) -> Pushed {
        Pushed {
            plan,
            columns: vec![],
            defaults: None,
            marker: None,
            keys: self.keys.clone(),
            strict: self.strict,
        }
    }

    pub fn default_of(&self, column: &Column) -> Option<Expr> {
        let at = self.columns.iter().position(|c| c == column)?;
        self.defaults.as_ref().map(|d| d[at].clone())
    }

    fn carried(&self) -> impl Iterator<Item = Expr> + '_ {
        self.keys.iter().map(Key::carried).chain(self.marker.clone().map(Expr::Column))
    }
}

pub(super) struct Pusher<'a> {
    pub keys: Vec<Key>,
    /// All different outer values, under the names of the keys; none if nothing is correlated.
    pub domain: Option<LogicalPlan>,
    /// The domain is all outer rows, as they are.
    pub rows: bool,
    /// An outer row that meets nothing gives a row all the same, where `marker` is not NULL.
    pub pads: bool,
    pub names: &'a Cell<usize>,
}

/// Outer columns anywhere in a plan, each once.
pub(super) fn outer_columns(plan: &LogicalPlan) -> DfResult<Vec<(FieldRef, Column)>> {
    let mut found: Vec<(FieldRef, Column)> = Vec::new();
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|e| {
            e.apply(|e| {
                if let Expr::OuterReferenceColumn(field, column) = e
                    && !found.iter().any(|(_, c)| c == column)
                {
                    found.push((Arc::clone(field), column.clone()));
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

pub(super) fn is_correlated(plan: &LogicalPlan) -> DfResult<bool> {
    Ok(!outer_columns(plan)?.is_empty())
}

/// Whether a plan has at most one row for any outer values.
pub(super) fn at_most_one(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(p) => at_most_one(&p.input),
        LogicalPlan::SubqueryAlias(a) => at_most_one(&a.input),
        LogicalPlan::Sort(s) => s.fetch.is_some_and(|n| n <= 1) || at_most_one(&s.input),
        LogicalPlan::Filter(f) => at_most_one(&f.input),
        LogicalPlan::Aggregate(a) => a.group_expr.is_empty(),
        LogicalPlan::EmptyRelation(_) => true,
        LogicalPlan::Values(v) => v.values.len() <= 1,
        LogicalPlan::Limit(l) => {
            limits(l).is_some_and(|(_, n)| n.is_some_and(|n| n <= 1)) || at_most_one(&l.input)
        }
        _ => false,
    }
}

/// Whether a plan is a sort, perhaps below projections.
fn sorts(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Sort(_) => true,
        LogicalPlan::Projection(p) => sorts(&p.input),
        _ => false,
    }
}

fn limits(limit: &Limit) -> Option<(usize, Option<usize>)> {
    use datafusion::logical_expr::{FetchType, SkipType};
    match (limit.get_skip_type().ok()?, limit.get_fetch_type().ok()?) {
        (SkipType::Literal(skip), FetchType::Literal(fetch)) => Some((skip, fetch)),
        _ => None,
    }
}

/// Equality of outer values: NULLs are equal unless there are none. Written as plain
/// equalities, so that it is a key of a join.
pub(super) fn equal(a: Expr, b: Expr, data_type: &DataType, strict: bool) -> DfResult<Expr> {
    let zero = if strict { None } else { ScalarValue::new_default(data_type).ok() };
    let Some(zero) = zero else { return Ok(a.eq(b)) };
    let or_zero = |e: Expr| when(e.clone().is_null(), lit(zero.clone())).otherwise(e);
    Ok(or_zero(a.clone())?.eq(or_zero(b.clone())?).and(a.is_null().eq(b.is_null())))
}

pub(super) fn count_rows() -> Expr {
    datafusion::functions_aggregate::expr_fn::count(lit(1i64))
}

pub(super) fn count(e: Expr) -> Expr {
    datafusion::functions_aggregate::expr_fn::count(e)
}

pub(super) fn extreme(name: &str, e: Expr) -> DfResult<Expr> {
    use datafusion::functions_aggregate::expr_fn::{max, min};
    Ok(if name == "min" { min(e) } else { max(e) })
}

/// The value of a group of one row.
pub(super) fn any_value(e: Expr, data_type: &DataType) -> DfResult<Expr> {
    use datafusion::functions_aggregate::expr_fn::{bool_and, first_value, min};
    Ok(match data_type {
        DataType::Boolean => bool_and(e),
        DataType::List(_) | DataType::Struct(_) => first_value(e, vec![]),
        _ => min(e),
    })
}

fn unsupported(what: &str) -> datafusion::error::DataFusionError {
    HwError::unsupported(
        format!("a correlated subquery with {what}"),
        "Write it as a join, or move the outer column into a WHERE of the subquery.",
    )
    .into()
}

impl Pusher<'_> {
    fn name(&self, prefix: &str) -> String {
        self.names.set(self.names.get() + 1);
        format!("__{prefix}{}", self.names.get())
    }

    /// Outer columns as the columns that carry them.
    fn inner(&self, expr: Expr) -> DfResult<Expr> {
        let carried = |e: Expr| match e {
            Expr::OuterReferenceColumn(_, ref column) => {
                let key = self.keys.iter().find(|k| k.column == *column);
                Ok(key.map_or(Transformed::no(e.clone()), |k| Transformed::yes(k.carried())))
            }
            other => Ok(Transformed::no(other)),
        };
        Ok(expr.transform_up(carried)?.data)
    }

    fn plain(&self, plan: LogicalPlan, columns: Vec<Column>, strict: bool) -> Pushed {
        Pushed { plan, columns, keys: self.keys.clone(), strict, defaults: None, marker: None }
    }

    /// The plan of `node`, which carries the outer values.
    pub fn push(&self, node: &LogicalPlan) -> DfResult<Pushed> {
        if let (true, LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: true, .. }), Some(domain)) =
            (self.rows, node, &self.domain)
        {
            return Ok(self.plain(domain.clone(), vec![], false));
        }
        if !(is_correlated(node)? || self.rows && over_one_row(node)) {
            let columns = node.schema().columns();
            let plan = match &self.domain {
                None => node.clone(),
                Some(domain) => LogicalPlanBuilder::from(node.clone()).cross_join(domain.clone())?.build()?,
            };
            // An aggregate that is not correlated has its row for every outer value.
            return Ok(self.plain(plan, columns, false));
        }
        match node {
            LogicalPlan::Subquery(s) => self.push(&s.subquery),
            LogicalPlan::SubqueryAlias(a) => {
                let below = self.push(&a.input)?;
                let names = node.schema().columns();
                let exprs = below.columns.iter().zip(&names);
                let exprs =
                    exprs.map(|(c, n)| Expr::Column(c.clone()).alias_qualified(n.relation.clone(), &n.name));
                let exprs: Vec<Expr> = exprs.chain(below.carried()).collect();
                let plan = LogicalPlanBuilder::from(below.plan).project(exprs)?.build()?;
                Ok(Pushed { plan, columns: names, ..Pushed { plan: LogicalPlan::default(), ..below } })
            }
            LogicalPlan::Projection(p) => self.projection(node, &p.expr, &p.input),
            LogicalPlan::Filter(f) => self.filter(f),
            LogicalPlan::Aggregate(a) => self.aggregate(a),
            LogicalPlan::Distinct(Distinct::All(input)) => {
                let below = self.materialize(self.push(input)?)?;
                let plan = LogicalPlan::Distinct(Distinct::All(Arc::new(below.plan)));
                Ok(self.plain(plan, below.columns, below.strict))
            }
            LogicalPlan::Sort(s) if s.fetch.is_none() => self.push(&s.input),
            LogicalPlan::Limit(l) => self.limit(l),
            LogicalPlan::Join(j) => self.join(j),
            LogicalPlan::Union(u) => {
                let inputs: Vec<&LogicalPlan> = u.inputs.iter().map(AsRef::as_ref).collect();
                self.branches(node, inputs, |inputs| {
                    Ok(LogicalPlan::Union(Union::try_new(inputs.into_iter().map(Arc::new).collect())?))
                })
            }
            LogicalPlan::Window(_) | LogicalPlan::Unnest(_) => self.over_rows(node),
            LogicalPlan::Extension(e) if e.node.inputs().len() == 2 => {
                let made = |inputs| {
                    let node = e.node.with_exprs_and_inputs(vec![], inputs)?;
                    Ok(LogicalPlan::Extension(datafusion::logical_expr::Extension { node }))
                };
                self.branches(node, e.node.inputs(), made)
            }
            LogicalPlan::Extension(_) => self.over_rows(node),
            other => Err(unsupported(&other.display().to_string())),
        }
    }

    fn projection(&self, node: &LogicalPlan, exprs: &[Expr], input: &LogicalPlan) -> DfResult<Pushed> {
        let below = self.push(input)?;
        let columns = node.schema().columns();
        let named = exprs
            .iter()
            .zip(&columns)
            .map(|(e, c)| Ok(self.inner(e.clone())?.unalias().alias_qualified(c.relation.clone(), &c.name)));
        let mut all = named.collect::<DfResult<Vec<_>>>()?;
        if self.pads {
            // A plain column is made NULL in the end.
            let guarded = all.into_iter().zip(&columns).map(|(e, c)| {
                let value = match e.unalias() {
                    column @ Expr::Column(_) => column,
                    value => unless_padded(value, below.marker.as_ref())?,
                };
                Ok(value.alias_qualified(c.relation.clone(), &c.name))
            });
            all = guarded.collect::<DfResult<Vec<_>>>()?;
        }
        all.extend(below.carried());
        let defaults = match &below.defaults {
            None => None,
            Some(_) => Some(exprs.iter().map(|e| below.by_default(e.clone())).collect::<DfResult<Vec<_>>>()?),
        };
        let (keys, strict, marker) = (below.keys.clone(), below.strict, below.marker.clone());
        let plan = LogicalPlanBuilder::from(below.plan).project(all)?.build()?;
        Ok(Pushed { plan, columns, keys, strict, defaults, marker })
    }

    fn filter(&self, filter: &Filter) -> DfResult<Pushed> {
        let columns = filter.input.schema().columns();
        if !self.rows
            && !is_correlated(&filter.input)?
            && let Some(found) = self.determined(&filter.predicate)
        {
            let mut exprs: Vec<Expr> = columns.iter().cloned().map(Expr::Column).collect();
            exprs.extend(found.iter().zip(&self.keys).map(|(e, k)| e.clone().alias(&k.name)));
            let plan = LogicalPlanBuilder::from(filter.input.as_ref().clone()).project(exprs)?.build()?;
            let present = self.keys.iter().map(|k| k.carried().is_not_null());
            let own = self.inner(filter.predicate.clone())?;
            let condition = present.fold(own, Expr::and);
            let plan = LogicalPlan::Filter(Filter::try_new(condition, Arc::new(plan))?);
            return Ok(self.plain(plan, columns, true));
        }
        let below = self.materialize(self.push(&filter.input)?)?;
        let condition = self.inner(filter.predicate.clone())?;
        let plan = LogicalPlan::Filter(Filter::try_new(condition, Arc::new(below.plan))?);
        Ok(self.plain(plan, below.columns, below.strict))
    }

    /// For each key an expression that a conjunct says is equal to it.
    fn determined(&self, predicate: &Expr) -> Option<Vec<Expr>> {
        let conjuncts = split_conjunction(predicate);
        let inner = |e: &Expr| !e.exists(|e| Ok(matches!(e, Expr::OuterReferenceColumn(..)))).unwrap_or(true);
        let equals = |key: &Key| {
            let is_key = |e: &Expr| matches!(e, Expr::OuterReferenceColumn(_, c) if *c == key.column);
            conjuncts.iter().find_map(|e| match e {
                Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
                    if is_key(left) && inner(right) {
                        Some(right.as_ref().clone())
                    } else if is_key(right) && inner(left) {
                        Some(left.as_ref().clone())
                    } else {
                        None
                    }
                }
                _ => None,
            })
        };
        self.keys.iter().map(equals).collect()
    }

    fn aggregate(&self, aggregate: &Aggregate) -> DfResult<Pushed> {
        let below = self.materialize(self.push(&aggregate.input)?)?;
        let carried: Vec<Expr> = self.keys.iter().map(Key::carried).collect();
        let preserver = NamePreserver::new_for_projection();
        let inner = |e: &Expr| -> DfResult<Expr> {
            let name = preserver.save(e);
            Ok(name.restore(self.inner(e.clone())?))
        };
        let group = match aggregate.group_expr.as_slice() {
            [Expr::GroupingSet(GroupingSet::GroupingSets(sets))] => {
                let sets = sets.iter().map(|set| {
                    let set = set.iter().map(inner).collect::<DfResult<Vec<_>>>()?;
                    Ok([set, carried.clone()].concat())
                });
                vec![Expr::GroupingSet(GroupingSet::GroupingSets(sets.collect::<DfResult<Vec<_>>>()?))]
            }
            [Expr::GroupingSet(_)] => return Err(unsupported("ROLLUP or CUBE")),
            group => [group.iter().map(inner).collect::<DfResult<Vec<_>>>()?, carried].concat(),
        };
        let calls = aggregate.aggr_expr.iter().map(inner).collect::<DfResult<Vec<_>>>()?;
        let plan = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(below.plan), group, calls)?);
        let columns = aggregate.schema.columns();
        if !aggregate.group_expr.is_empty() {
            return Ok(self.plain(plan, columns, below.strict));
        }
        let marker = self.name("found");
        let mut exprs: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
        exprs.push(lit(true).alias(&marker));
        let plan = LogicalPlanBuilder::from(plan).project(exprs)?.build()?;
        let types = aggregate.schema.fields().iter();
        let empty = aggregate.aggr_expr.iter().zip(types).map(|(e, f)| of_nothing(e, f.data_type()));
        Ok(Pushed {
            defaults: Some(empty.collect::<DfResult<Vec<_>>>()?),
            marker: Some(Column::new_unqualified(marker)),
            ..self.plain(plan, columns, below.strict)
        })
    }

    /// LIMIT counts for each outer values: by row numbers.
    fn limit(&self, limit: &Limit) -> DfResult<Pushed> {
        let Some((skip, fetch)) = limits(limit) else { return Err(unsupported("LIMIT of an expression")) };
        // The order may be by columns that a projection above it leaves out.
        if let LogicalPlan::Projection(p) = limit.input.as_ref()
            && sorts(&p.input)
        {
            let below = LogicalPlan::Limit(Limit { input: Arc::clone(&p.input), ..limit.clone() });
            let schema = Arc::clone(&p.schema);
            let above = Projection::try_new_with_schema(p.expr.clone(), Arc::new(below), schema)?;
            return self.push(&LogicalPlan::Projection(above));
        }
        let (input, order) = match limit.input.as_ref() {
            LogicalPlan::Sort(s) => (s.input.as_ref(), s.expr.clone()),
            other => (other, vec![]),
        };
        let below = self.push(input)?;
        if below.defaults.is_some() && skip == 0 && fetch.is_none_or(|n| n > 0) {
            return Ok(below);
        }
        let below = self.materialize(below)?;
        let order = order.into_iter().map(|s| Ok(SortExpr { expr: self.inner(s.expr)?, ..s }));
        let order = order.collect::<DfResult<Vec<_>>>()?;
        let partition: Vec<Expr> = self.keys.iter().map(Key::carried).collect();
        let row_number = datafusion::functions_window::expr_fn::row_number()
            .partition_by(partition)
            .order_by(order)
            .build()?;
        let mut keep: Vec<Expr> = below.columns.iter().cloned().map(Expr::Column).collect();
        keep.extend(below.carried());
        let plan = LogicalPlan::Window(Window::try_new(vec![row_number], Arc::new(below.plan))?);
        let at = plan.schema().columns().pop().map(Expr::Column).unwrap_or(lit(0u64));
        let mut condition = at.clone().gt(lit(skip as u64));
        if let Some(fetch) = fetch {
            condition = condition.and(at.lt_eq(lit((skip + fetch) as u64)));
        }
        let plan = LogicalPlanBuilder::from(plan).filter(condition)?.project(keep)?.build()?;
        Ok(self.plain(plan, below.columns, below.strict))
    }

    fn join(&self, join: &Join) -> DfResult<Pushed> {
        let mut on: Vec<Expr> = join.on.iter().map(|(l, r)| l.clone().eq(r.clone())).collect();
        on.extend(join.filter.clone());
        let on = on.into_iter().map(|e| self.inner(e)).collect::<DfResult<Vec<_>>>()?;
        let on = conjunction(on).unwrap_or(lit(true));
        let one_side = |t: JoinType| {
            matches!(t, JoinType::Inner | JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti)
        };
        let right_correlated = is_correlated(&join.right)?;
        let columns = join.schema.columns();
        if one_side(join.join_type) && !right_correlated {
            let left = self.materialize(self.push(&join.left)?)?;
            let builder = LogicalPlanBuilder::from(left.plan);
            let plan = builder.join_on(join.right.as_ref().clone(), join.join_type, [on])?.build()?;
            return Ok(self.plain(plan, columns, left.strict));
        }
        if join.join_type == JoinType::Inner && !is_correlated(&join.left)? {
            let right = self.materialize(self.push(&join.right)?)?;
            let builder = LogicalPlanBuilder::from(join.left.as_ref().clone());
            let plan = builder.join_on(right.plan, JoinType::Inner, [on])?.build()?;
            return Ok(self.plain(plan, columns, right.strict));
        }
        if !one_side(join.join_type) {
            return Err(unsupported(&format!("a {} join", join.join_type)));
        }
        // Both sides: each with outer values of its own, which must be equal.
        let left = self.materialize(self.push(&join.left)?)?;
        let right = self.materialize(self.push(&join.right)?)?;
        let renamed: Vec<Key> =
            self.keys.iter().map(|k| Key { name: self.name("outer"), ..k.clone() }).collect();
        let mut exprs: Vec<Expr> = right.columns.iter().cloned().map(Expr::Column).collect();
        exprs.extend(self.keys.iter().zip(&renamed).map(|(k, r)| k.carried().alias(&r.name)));
        let right_plan = LogicalPlanBuilder::from(right.plan).project(exprs)?.build()?;
        let strict = left.strict || right.strict;
        let pairs = self.keys.iter().zip(&renamed);
        let pairs = pairs.map(|(k, r)| equal(k.carried(), r.carried(), k.field.data_type(), strict));
        let mut all = pairs.collect::<DfResult<Vec<_>>>()?;
        all.push(on);
        let mut keep: Vec<Expr> = columns.iter().cloned().map(Expr::Column).collect();
        keep.extend(left.carried());
        let joined = LogicalPlanBuilder::from(left.plan.clone()).join_on(right_plan, join.join_type, all)?;
        Ok(self.plain(joined.project(keep)?.build()?, columns, left.strict))
    }

    /// Set operations: every branch carries the outer values.
    fn branches(
        &self,
        node: &LogicalPlan,
        inputs: Vec<&LogicalPlan>,
        make: impl FnOnce(Vec<LogicalPlan>) -> DfResult<LogicalPlan>,
    ) -> DfResult<Pushed> {
        let columns = node.schema().columns();
        let branch = |input: &LogicalPlan| {
            let below = self.materialize(self.push(input)?)?;
            let exprs =
                below.columns.iter().zip(&columns).map(|(c, n)| Expr::Column(c.clone()).alias(&n.name));
            let exprs: Vec<Expr> = exprs.chain(below.carried()).collect();
            Ok((LogicalPlanBuilder::from(below.plan).project(exprs)?.build()?, below.strict))
        };
        let branches = inputs.into_iter().map(branch).collect::<DfResult<Vec<_>>>()?;
        let strict = branches.iter().all(|(_, strict)| *strict);
        let plan = make(branches.into_iter().map(|(plan, _)| plan).collect())?;
        let exprs = columns.iter().map(|n| {
            Expr::Column(Column::new_unqualified(&n.name)).alias_qualified(n.relation.clone(), &n.name)
        });
        let exprs: Vec<Expr> = exprs.chain(self.keys.iter().map(Key::carried)).collect();
        let plan = LogicalPlanBuilder::from(plan).project(exprs)?.build()?;
        Ok(self.plain(plan, columns, strict))
    }

    /// Nodes of one input that give its columns and more: windows and unnest.
    fn over_rows(&self, node: &LogicalPlan) -> DfResult<Pushed> {
        let inputs = node.inputs();
        let [input] = inputs.as_slice() else { return Err(unsupported(&node.display().to_string())) };
        let below = self.materialize(self.push(input)?)?;
        let columns = node.schema().columns();
        let plan = match node {
            LogicalPlan::Unnest(u) if self.pads => {
                let (plan, marker) = padded(u, below.plan, self.name("none"))?;
                return Ok(Pushed { marker: Some(marker), ..self.plain(plan, columns, below.strict) });
            }
            LogicalPlan::Unnest(u) => {
                let builder = LogicalPlanBuilder::from(below.plan);
                builder.unnest_columns_with_options(u.exec_columns.clone(), u.options.clone())?.build()?
            }
            LogicalPlan::Window(w) => {
                let calls = w.window_expr.iter();
                let calls = calls.map(|e| self.by_outer_values(self.inner(e.clone().unalias())?));
                let calls = calls.collect::<DfResult<Vec<_>>>()?;
                let mut exprs: Vec<Expr> = below.columns.iter().cloned().map(Expr::Column).collect();
                exprs.extend(below.carried());
                let plan = LogicalPlan::Window(Window::try_new(calls, Arc::new(below.plan))?);
                let made = plan.schema().columns();
                let made = made[made.len() - w.window_expr.len()..].iter();
                exprs.extend(made.zip(&columns[below.columns.len()..]).map(|(from, to)| {
                    Expr::Column(from.clone()).alias_qualified(to.relation.clone(), &to.name)
                }));
                LogicalPlanBuilder::from(plan).project(exprs)?.build()?
            }
            node => {
                let exprs =
                    node.expressions().into_iter().map(|e| self.inner(e)).collect::<DfResult<Vec<_>>>()?;
                node.with_new_exprs(exprs, vec![below.plan])?
            }
        };
        Ok(self.plain(plan, columns, below.strict))
    }

    /// A window function's partitions never mix outer values.
    fn by_outer_values(&self, expr: Expr) -> DfResult<Expr> {
        let partitioned = |e: Expr| match e {
            Expr::WindowFunction(mut window) => {
                let WindowFunction { params, .. } = window.as_mut();
                params.partition_by.extend(self.keys.iter().map(Key::carried));
                Ok(Transformed::yes(Expr::WindowFunction(window)))
            }
            other => Ok(Transformed::no(other)),
        };
        Ok(expr.transform_up(partitioned)?.data)
    }

    /// Makes the default rows real: the domain, left joined with what there is.
    pub fn materialize(&self, pushed: Pushed) -> DfResult<Pushed> {
        let (Some(defaults), Some(marker), Some(domain)) = (&pushed.defaults, &pushed.marker, &self.domain)
        else {
            return Ok(Pushed { defaults: None, marker: None, ..pushed });
        };
        let renamed: Vec<Key> =
            self.keys.iter().map(|k| Key { name: self.name("outer"), ..k.clone() }).collect();
        let mut exprs: Vec<Expr> = pushed.columns.iter().cloned().map(Expr::Column).collect();
        exprs.push(Expr::Column(marker.clone()));
        exprs.extend(self.keys.iter().zip(&renamed).map(|(k, r)| k.carried().alias(&r.name)));
        let there = LogicalPlanBuilder::from(pushed.plan.clone()).project(exprs)?.build()?;
        let pairs = self.keys.iter().zip(&renamed);
        let on = pairs.map(|(k, r)| equal(k.carried(), r.carried(), k.field.data_type(), pushed.strict));
        let on = on.collect::<DfResult<Vec<_>>>()?;
        let missing = Expr::Column(marker.clone()).is_null();
        let columns = pushed.columns.iter().zip(defaults).map(|(c, default)| {
            let data_type = pushed.plan.schema().field_from_column(c)?.data_type().clone();
            let default = Expr::Cast(datafusion::logical_expr::Cast::new(
                Box::new(self.inner(default.clone())?),
                data_type,
            ));
            let value = when(missing.clone(), default).otherwise(Expr::Column(c.clone()))?;
            Ok(value.alias_qualified(c.relation.clone(), &c.name))
        });
        let mut all = columns.collect::<DfResult<Vec<_>>>()?;
        all.extend(self.keys.iter().map(Key::carried));
        let joined = LogicalPlanBuilder::from(domain.clone()).join_on(there, JoinType::Left, on)?;
        Ok(self.plain(joined.project(all)?.build()?, pushed.columns, false))
    }
}

impl Pushed {
    /// The value of an expression in the default row.
    fn by_default(&self, expr: Expr) -> DfResult<Expr> {
        let replaced = expr.unalias().transform_up(|e| match e {
            Expr::Column(ref c) => {
                Ok(self.default_of(c).map_or(Transformed::no(e.clone()), Transformed::yes))
            }
            other => Ok(Transformed::no(other)),
        })?;
        Ok(replaced.data)
    }
}

/// The value of an aggregate over no rows.
fn of_nothing(call: &Expr, data_type: &DataType) -> DfResult<Expr> {
    let function = match call {
        Expr::Alias(a) => return of_nothing(&a.expr, data_type),
        Expr::AggregateFunction(AggregateFunction { func, .. }) => func.name().to_lowercase(),
        _ => return Err(unsupported("an unknown aggregate")),
    };
    let counts = ["count", "approx_distinct", "regr_count"].contains(&function.as_str());
    let value = if counts { ScalarValue::new_zero(data_type)? } else { ScalarValue::try_from(data_type)? };
    Ok(lit(value))
}
