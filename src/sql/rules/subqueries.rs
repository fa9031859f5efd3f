//! Subqueries in expressions become joins and aggregates, wherever they stand.
//!
//! DataFusion decorrelates EXISTS and IN that are conjuncts of a WHERE and whose correlation
//! it can pull up; this rule does the rest. [`push`] makes of a correlated subquery a plain
//! plan that also carries the outer values it belongs to (T. Neumann, A. Kemper: Unnesting
//! Arbitrary Queries, BTW 2015); here that plan is joined to the input of the expression:
//! a scalar subquery is a left join on the outer values, EXISTS a left join with what has
//! rows, IN and ANY/ALL joins with counts and extremes, so that NULLs decide as in SQL. More
//! than one row of a scalar subquery is 21000 for the row that reads it.
//!
//! In the analyzer it leaves uncorrelated scalar subqueries alone, which DataFusion runs once;
//! for views ([`for_stream`]) nothing may be left.

mod elsewhere;
pub mod nullable;
mod push;
mod rows;

use std::cell::Cell;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ExprSchema, Result as DfResult};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison, SetQuantifier};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    Distinct, Expr, ExprSchemable, Filter, Join, JoinType, LogicalPlan, LogicalPlanBuilder, Operator,
    Subquery, lit, not, when,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::decorrelate::PullUpCorrelatedExpr;

use self::push::{Key, Pushed, Pusher, equal, outer_columns};
pub use self::rows::UNLESS_ROWS;
use crate::error::HwError;
use crate::sql::functions;

/// What DataFusion's planner leaves correlated, for ad-hoc queries and views.
#[derive(Debug)]
pub struct PgSubqueries;

impl AnalyzerRule for PgSubqueries {
    fn name(&self) -> &str {
        "pg_subqueries"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> DfResult<LogicalPlan> {
        let plan = rewrite(plan, Mode::Correlated)?;
        // What a subquery gives may be NULL where its plan says that it cannot.
        nullable::recompute(nullable::mark(plan)?)
    }
}

/// Leaves no subquery in an expression, apart from EXISTS and IN that become semi joins.
pub fn for_stream(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    rewrite(nullable::unmark(plan)?, Mode::Stream)
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// Leave uncorrelated scalar subqueries.
    Correlated,
    /// Leave only what becomes a semi or anti join.
    Stream,
    /// Leave nothing: the plan is about to be pushed.
    Everything,
}

fn rewrite(plan: LogicalPlan, mode: Mode) -> DfResult<LogicalPlan> {
    // A plan passes here twice; the names of the second time are others.
    let first = if mode == Mode::Stream { 100_000 } else { 0 };
    rewrite_named(plan, mode, &Cell::new(first))
}

fn rewrite_named(plan: LogicalPlan, mode: Mode, names: &Cell<usize>) -> DfResult<LogicalPlan> {
    Ok(plan.transform_up_with_subqueries(|node| rewrite_node(node, mode, names))?.data)
}

fn rewrite_node(node: LogicalPlan, mode: Mode, names: &Cell<usize>) -> DfResult<Transformed<LogicalPlan>> {
    match node {
        LogicalPlan::Filter(filter) => rewrite_filter(filter, mode, names),
        LogicalPlan::Join(join) => rewrite_join(join, mode, names),
        LogicalPlan::Distinct(Distinct::On(on)) => elsewhere::distinct_on(on, mode, names),
        LogicalPlan::Projection(_)
        | LogicalPlan::Aggregate(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Window(_) => {
            if !node.expressions().iter().any(|e| has_target(e, mode)) {
                return Ok(Transformed::no(node));
            }
            let schema = Arc::clone(node.schema());
            let node = match node {
                LogicalPlan::Sort(sort) => LogicalPlan::Sort(elsewhere::widened(sort)?),
                other => other,
            };
            let input = node.inputs()[0].clone();
            let preserver = NamePreserver::new_for_projection();
            let mut apply = Apply::new(input, mode, names);
            let exprs = node.expressions().into_iter().map(|e| {
                let name = preserver.save(&e);
                let replaced = apply.replace(e)?;
                Ok(if matches!(node, LogicalPlan::Sort(_)) { replaced } else { name.restore(replaced) })
            });
            let exprs = exprs.collect::<DfResult<Vec<_>>>()?;
            let keeps = matches!(node, LogicalPlan::Sort(_) | LogicalPlan::Window(_));
            let plan = node.with_new_exprs(exprs, vec![apply.input])?;
            Ok(Transformed::yes(if keeps { only(plan, schema.columns())? } else { plan }))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// `plan` with just these columns.
fn only(plan: LogicalPlan, columns: Vec<Column>) -> DfResult<LogicalPlan> {
    LogicalPlanBuilder::from(plan).project(columns.into_iter().map(Expr::Column))?.build()
}

fn rewrite_filter(filter: Filter, mode: Mode, names: &Cell<usize>) -> DfResult<Transformed<LogicalPlan>> {
    let (mut kept, mut own) = (Vec::new(), Vec::new());
    for conjunct in split_conjunction(&filter.predicate) {
        let target = has_target(conjunct, mode) && !becomes_semi_join(conjunct, mode);
        if target { own.push(conjunct.clone()) } else { kept.push(conjunct.clone()) }
    }
    if own.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    }
    let columns = filter.input.schema().columns();
    let mut input = filter.input.as_ref().clone();
    if let Some(kept) = conjunction(kept) {
        input = LogicalPlanBuilder::from(input).filter(kept)?.build()?;
    }
    let mut apply = Apply::new(input, mode, names);
    let own = own.into_iter().map(|e| apply.replace(e)).collect::<DfResult<Vec<_>>>()?;
    let plan = match conjunction(own) {
        Some(own) => LogicalPlan::Filter(Filter::try_new(own, Arc::new(apply.input))?),
        None => apply.input,
    };
    Ok(Transformed::yes(only(plan, columns)?))
}

/// Lateral joins, and subqueries in ON.
fn rewrite_join(join: Join, mode: Mode, names: &Cell<usize>) -> DfResult<Transformed<LogicalPlan>> {
    // Outer columns are known by name only, so a join counts as lateral only where SQL said so.
    let lateral = is_lateral(&join.right)
        && matches!(join.join_type, JoinType::Inner | JoinType::Left)
        && outer_columns(&join.right)?.iter().any(|(_, c)| join.left.schema().has_column(c));
    if lateral && let Some(flat) = rows::flat(&join, names)? {
        return Ok(Transformed::yes(flat));
    }
    if lateral && (mode == Mode::Everything || !pulls_up(&join.right)) {
        let columns = join.schema.columns();
        let mut apply = Apply::new(join.left.as_ref().clone(), mode, names);
        let pushed = apply.push(&join.right)?;
        let pushed = apply.pusher(&pushed.keys)?.materialize(pushed)?;
        let mut on: Vec<Expr> = join.on.into_iter().map(|(l, r)| l.eq(r)).collect();
        on.extend(join.filter);
        apply.join(pushed, on, join.join_type)?;
        return Ok(Transformed::yes(only(apply.input, columns)?));
    }
    let targets = join.filter.as_ref().is_some_and(|f| has_target(f, mode));
    match join.join_type {
        JoinType::Inner if targets => {}
        JoinType::Left | JoinType::Right | JoinType::Full if targets => {
            return Ok(Transformed::yes(elsewhere::outer_join(join, mode, names)?));
        }
        _ => return Ok(Transformed::no(LogicalPlan::Join(join))),
    }
    let filter = join.filter.clone();
    let plain = Join { filter: None, ..join };
    let plan = match filter {
        Some(filter) => LogicalPlan::Filter(Filter::try_new(filter, Arc::new(LogicalPlan::Join(plain)))?),
        None => LogicalPlan::Join(plain),
    };
    match plan {
        LogicalPlan::Filter(filter) => rewrite_filter(filter, mode, names),
        other => Ok(Transformed::yes(other)),
    }
}

fn is_lateral(right: &LogicalPlan) -> bool {
    match right {
        LogicalPlan::Subquery(_) => true,
        LogicalPlan::SubqueryAlias(a) => is_lateral(&a.input),
        _ => false,
    }
}

fn has_target(expr: &Expr, mode: Mode) -> bool {
    expr.exists(|e| Ok(is_target(e, mode))).unwrap_or(false)
}

fn is_target(expr: &Expr, mode: Mode) -> bool {
    match expr {
        Expr::ScalarSubquery(s) => mode != Mode::Correlated || is_correlated(s),
        Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) => true,
        _ => false,
    }
}

fn is_correlated(subquery: &Subquery) -> bool {
    outer_columns(&subquery.subquery).map_or(true, |c| !c.is_empty())
}

/// A conjunct that DataFusion turns into a semi or anti join.
fn becomes_semi_join(conjunct: &Expr, mode: Mode) -> bool {
    let (subquery, negated_in) = match conjunct {
        Expr::Exists(e) => (&e.subquery, false),
        Expr::InSubquery(i) if of_this_query(i, mode) => (&i.subquery, i.negated),
        Expr::Not(inner) => match inner.as_ref() {
            Expr::Exists(e) => (&e.subquery, false),
            Expr::InSubquery(i) if of_this_query(i, mode) => (&i.subquery, !i.negated),
            _ => return false,
        },
        _ => return false,
    };
    // A correlated NOT IN asks of each outer row's own set whether it holds a NULL, and that of a
    // constant would be no condition on the rows of this side.
    let constant = match conjunct {
        Expr::InSubquery(i) => !i.expr.any_column_refs(),
        Expr::Not(inner) => matches!(inner.as_ref(), Expr::InSubquery(i) if !i.expr.any_column_refs()),
        _ => false,
    };
    let own = negated_in && (constant || is_correlated(subquery));
    mode != Mode::Everything && !own && pulls_up(&subquery.subquery)
}

/// The tested value has no subquery and no column of a query outside, which a condition of the semi join
/// could not be pulled up with.
fn of_this_query(member: &InSubquery, mode: Mode) -> bool {
    !has_target(&member.expr, mode) && !member.expr.contains_outer()
}

/// Whether DataFusion can move the correlation of a plan into a join condition.
fn pulls_up(plan: &LogicalPlan) -> bool {
    let plain = plan.apply_with_subqueries(|node| {
        // What DataFusion would pull a condition through, or out of, with other rows or names.
        let whole = matches!(
            node,
            LogicalPlan::Extension(_)
                | LogicalPlan::Window(_)
                | LogicalPlan::Unnest(_)
                | LogicalPlan::SubqueryAlias(_)
        );
        Ok(if whole && !outer_columns(node)?.is_empty() {
            TreeNodeRecursion::Stop
        } else {
            TreeNodeRecursion::Continue
        })
    });
    if !matches!(plain, Ok(TreeNodeRecursion::Continue)) {
        return false;
    }
    let mut pull_up = PullUpCorrelatedExpr::new().with_need_handle_count_bug(true);
    match plan.clone().rewrite(&mut pull_up) {
        Ok(done) => {
            pull_up.can_pull_up
                && pull_up.pull_up_having_expr.is_none()
                && outer_columns(&done.data).is_ok_and(|c| c.is_empty())
                && pull_up.collected_count_expr_map.is_empty()
                && names_differ(&done.data)
        }
        Err(_) => false,
    }
}

/// DataFusion gives what it pulls up one qualifier, under which columns of one name are one column.
fn names_differ(plan: &LogicalPlan) -> bool {
    let mut names: Vec<&String> = plan.schema().fields().iter().map(|f| f.name()).collect();
    names.sort();
    names.windows(2).all(|pair| pair[0] != pair[1])
}

/// Joins subqueries to the input of an expression.
struct Apply<'a> {
    /// The input with what has been joined to it.
    input: LogicalPlan,
    /// The input alone: where outer values come from.
    outer: LogicalPlan,
    mode: Mode,
    names: &'a Cell<usize>,
}

impl<'a> Apply<'a> {
    fn new(input: LogicalPlan, mode: Mode, names: &'a Cell<usize>) -> Apply<'a> {
        Apply { outer: input.clone(), input, mode, names }
    }

    fn name(&self, prefix: &str) -> String {
        self.names.set(self.names.get() + 1);
        format!("__{prefix}{}", self.names.get())
    }

    /// `expr` without the subqueries that are this rule's.
    fn replace(&mut self, expr: Expr) -> DfResult<Expr> {
        let mode = self.mode;
        let replaced = expr.transform_up(|e| match e {
            Expr::ScalarSubquery(s) if mode != Mode::Correlated || is_correlated(&s) => {
                Ok(Transformed::yes(self.scalar(&s)?))
            }
            Expr::Exists(e) => Ok(Transformed::yes(self.exists(&e)?)),
            Expr::InSubquery(i) => Ok(Transformed::yes(self.is_in(*i.expr, &i.subquery, i.negated)?)),
            Expr::SetComparison(c) => Ok(Transformed::yes(self.compare(c)?)),
            other => Ok(Transformed::no(other)),
        })?;
        Ok(replaced.data)
    }

    fn pusher(&self, keys: &[Key]) -> DfResult<Pusher<'a>> {
        let outer = keys.iter().map(|k| k.outer_expr(self.outer.schema()).alias(&k.name));
        let outer: Vec<Expr> = outer.collect();
        let domain = match outer.is_empty() {
            true => None,
            false => {
                let values = LogicalPlanBuilder::from(self.outer.clone()).project(outer)?.build()?;
                Some(LogicalPlan::Distinct(Distinct::All(Arc::new(values))))
            }
        };
        Ok(Pusher { keys: keys.to_vec(), domain, rows: false, pads: false, names: self.names })
    }

    /// The subquery as a plan that carries the outer values of its rows.
    fn push(&self, subquery: &LogicalPlan) -> DfResult<Pushed> {
        let subquery = rewrite_named(subquery.clone(), Mode::Everything, self.names)?;
        let outer = outer_columns(&subquery)?.into_iter();
        let keys: Vec<Key> =
            outer.map(|(field, column)| Key { field, column, name: self.name("outer") }).collect();
        self.pusher(&keys)?.push(&subquery)
    }

    /// Joins a pushed plan to the input, on the outer values and `on`.
    fn join(&mut self, pushed: Pushed, on: Vec<Expr>, join_type: JoinType) -> DfResult<()> {
        let mut on = on;
        let pushed = self.renamed(pushed)?;
        for key in &pushed.keys {
            let own = key.outer_expr(self.outer.schema());
            on.push(equal(own, key.carried(), key.field.data_type(), pushed.strict)?);
        }
        let input = LogicalPlanBuilder::from(self.input.clone());
        self.input = match on.is_empty() && join_type == JoinType::Inner {
            true => input.cross_join(pushed.plan)?.build()?,
            false if on.is_empty() => input.join_on(pushed.plan, join_type, [lit(true)])?.build()?,
            false => input.join_on(pushed.plan, join_type, on)?.build()?,
        };
        Ok(())
    }

    /// Under other names for the outer values: one plan may be joined twice.
    fn renamed(&self, pushed: Pushed) -> DfResult<Pushed> {
        let keys: Vec<Key> =
            (pushed.keys.iter()).map(|k| Key { name: self.name("outer"), ..k.clone() }).collect();
        let fresh = |c: &Column| {
            let at = pushed.keys.iter().position(|k| c.relation.is_none() && k.name == c.name)?;
            Some(Expr::Column(c.clone()).alias(&keys[at].name))
        };
        let columns = pushed.plan.schema().columns();
        let exprs: Vec<Expr> = columns.into_iter().map(|c| fresh(&c).unwrap_or(Expr::Column(c))).collect();
        let plan = LogicalPlanBuilder::from(pushed.plan.clone()).project(exprs)?.build()?;
        Ok(Pushed { keys, ..pushed.with_plan(plan) })
    }

    fn scalar(&mut self, subquery: &Subquery) -> DfResult<Expr> {
        let pushed = self.push(&subquery.subquery)?;
        let value = pushed.columns.first().cloned().ok_or_else(no_column)?;
        let one = push::at_most_one(&subquery.subquery);
        let data_type = pushed.plan.schema().field_from_column(&value)?.data_type().clone();
        let keys = pushed.keys.clone();
        if let Some(default) = pushed.default_of(&value) {
            // An aggregate: a row even where there is nothing to aggregate.
            let (name, marker) = (self.name("value"), self.name("found"));
            let found = pushed.marker.clone().map_or(lit(true), Expr::Column);
            let default = self.resolve(default)?;
            let plan =
                self.carrying(&pushed, vec![Expr::Column(value).alias(&name), found.alias(&marker)])?;
            let uncorrelated = keys.is_empty();
            self.join(plan, vec![], if uncorrelated { JoinType::Inner } else { JoinType::Left })?;
            let column = Expr::Column(Column::new_unqualified(name));
            if uncorrelated {
                return Ok(column);
            }
            let missing = Expr::Column(Column::new_unqualified(marker)).is_null();
            return when(missing, default.cast_to(&data_type, self.outer.schema())?).otherwise(column);
        }
        let (name, rows) = (self.name("value"), self.name("rows"));
        if one && !keys.is_empty() {
            let plan = self.carrying(&pushed, vec![Expr::Column(value).alias(&name)])?;
            self.join(plan, vec![], JoinType::Left)?;
            return Ok(Expr::Column(Column::new_unqualified(name)));
        }
        let value = push::any_value(Expr::Column(value), &data_type)?.alias(&name);
        let plan = self.grouped(&pushed, vec![push::count_rows().alias(&rows), value])?;
        self.join(plan, vec![], if keys.is_empty() { JoinType::Inner } else { JoinType::Left })?;
        let column = |name: String| Expr::Column(Column::new_unqualified(name));
        Ok(functions::scalar("single_row")?.call(vec![column(rows), column(name)]))
    }

    /// A default in terms of this input.
    fn resolve(&self, default: Expr) -> DfResult<Expr> {
        let schema = self.outer.schema();
        Ok(default
            .transform(|e| match e {
                Expr::OuterReferenceColumn(_, c) if schema.has_column(&c) => {
                    Ok(Transformed::yes(Expr::Column(c)))
                }
                other => Ok(Transformed::no(other)),
            })?
            .data)
    }

    /// Only these expressions of a pushed plan, beside the outer values.
    fn carrying(&self, pushed: &Pushed, mut exprs: Vec<Expr>) -> DfResult<Pushed> {
        exprs.extend(pushed.keys.iter().map(Key::carried));
        let plan = LogicalPlanBuilder::from(pushed.plan.clone()).project(exprs)?.build()?;
        Ok(pushed.with_plan(plan))
    }

    /// Aggregates of a pushed plan by its outer values.
    fn grouped(&self, pushed: &Pushed, calls: Vec<Expr>) -> DfResult<Pushed> {
        let keys: Vec<Expr> = pushed.keys.iter().map(Key::carried).collect();
        let plan = LogicalPlanBuilder::from(pushed.plan.clone()).aggregate(keys, calls)?.build()?;
        Ok(pushed.with_plan(plan))
    }

    fn exists(&mut self, exists: &Exists) -> DfResult<Expr> {
        let pushed = self.push(&exists.subquery.subquery)?;
        if pushed.marker.is_some() {
            return Ok(lit(!exists.negated));
        }
        let rows = self.name("rows");
        let plan = self.grouped(&pushed, vec![push::count_rows().alias(&rows)])?;
        let correlated = !plan.keys.is_empty();
        self.join(plan, vec![], if correlated { JoinType::Left } else { JoinType::Inner })?;
        let rows = Expr::Column(Column::new_unqualified(rows));
        Ok(match (correlated, exists.negated) {
            (true, true) => rows.is_null(),
            (true, false) => rows.is_not_null(),
            (false, true) => rows.eq(lit(0i64)),
            (false, false) => rows.gt(lit(0i64)),
        })
    }

    /// Number of rows, of rows that are not NULL, least and greatest, for each outer values.
    fn summary(&mut self, pushed: &Pushed, value: &Column, extremes: bool) -> DfResult<[Expr; 4]> {
        let names = ["rows", "values", "least", "greatest"].map(|n| self.name(n));
        let column = || Expr::Column(value.clone());
        let mut calls = vec![push::count_rows().alias(&names[0]), push::count(column()).alias(&names[1])];
        if extremes {
            calls.push(push::extreme("min", column())?.alias(&names[2]));
            calls.push(push::extreme("max", column())?.alias(&names[3]));
        }
        let plan = self.grouped(pushed, calls)?;
        let join_type = if plan.keys.is_empty() { JoinType::Inner } else { JoinType::Left };
        self.join(plan, vec![], join_type)?;
        Ok(names.map(|n| Expr::Column(Column::new_unqualified(n))))
    }

    fn is_in(&mut self, value: Expr, subquery: &Subquery, negated: bool) -> DfResult<Expr> {
        let pushed = self.push(&subquery.subquery)?;
        let pushed = self.pusher(&pushed.keys)?.materialize(pushed)?;
        let found_in = pushed.columns.first().cloned().ok_or_else(no_column)?;
        let [rows, values, ..] = self.summary(&pushed, &found_in, false)?;
        let (name, marker) = (self.name("member"), self.name("found"));
        let keys = pushed.keys.iter().map(Key::carried);
        let group: Vec<Expr> = std::iter::once(Expr::Column(found_in.clone())).chain(keys).collect();
        let members = LogicalPlanBuilder::from(pushed.plan.clone())
            .filter(Expr::Column(found_in.clone()).is_not_null())?
            .aggregate(group, vec![push::count_rows().alias(&marker)])?
            .build()?;
        let member = pushed.with_plan(members);
        let plan = self.carrying(
            &member,
            vec![Expr::Column(found_in).alias(&name), Expr::Column(Column::new_unqualified(&marker))],
        )?;
        let on = value.clone().eq(Expr::Column(Column::new_unqualified(name)));
        self.join(plan, vec![on], JoinType::Left)?;
        let found = Expr::Column(Column::new_unqualified(marker)).is_not_null();
        let none = rows.clone().is_null().or(rows.clone().eq(lit(0i64)));
        let unknown = value.is_null().or(values.lt(rows));
        let null = lit(datafusion::common::ScalarValue::Boolean(None));
        let answer =
            when(found, lit(true)).when(none, lit(false)).when(unknown, null).otherwise(lit(false))?;
        Ok(if negated { not(answer) } else { answer })
    }

    /// `value op ANY (…)`, `value op ALL (…)`: by the extremes.
    fn compare(&mut self, comparison: SetComparison) -> DfResult<Expr> {
        let SetComparison { expr, subquery, op, quantifier } = comparison;
        let all = quantifier == SetQuantifier::All;
        match (op, all) {
            (Operator::Eq, false) => return self.is_in(*expr, &subquery, false),
            (Operator::NotEq, true) => return self.is_in(*expr, &subquery, true),
            _ => {}
        }
        let pushed = self.push(&subquery.subquery)?;
        let pushed = self.pusher(&pushed.keys)?.materialize(pushed)?;
        let column = pushed.columns.first().cloned().ok_or_else(no_column)?;
        let [rows, values, least, greatest] = self.summary(&pushed, &column, true)?;
        let test = |bound: &Expr| datafusion::logical_expr::binary_expr((*expr).clone(), op, bound.clone());
        let holds = match (op, all) {
            (Operator::Gt | Operator::GtEq, true) | (Operator::Lt | Operator::LtEq, false) => test(&greatest),
            (Operator::Lt | Operator::LtEq, true) | (Operator::Gt | Operator::GtEq, false) => test(&least),
            (Operator::Eq, true) => test(&least).and(test(&greatest)),
            (Operator::NotEq, false) => test(&least).or(test(&greatest)),
            _ => return Err(HwError::unsupported(format!("{op} with ANY or ALL"), "Use EXISTS.").into()),
        };
        let none = rows.clone().is_null().or(rows.clone().eq(lit(0i64)));
        let decided = if all { not(holds.clone()) } else { holds.clone() };
        let unknown = holds.is_null().or(values.lt(rows));
        let null = lit(datafusion::common::ScalarValue::Boolean(None));
        when(none, lit(all)).when(decided, lit(!all)).when(unknown, null).otherwise(lit(all))
    }
}

fn no_column() -> datafusion::error::DataFusionError {
    HwError::new(crate::error::sqlstate::SYNTAX_ERROR, "subquery must return a column").into()
}
