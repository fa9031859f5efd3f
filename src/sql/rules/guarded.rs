//! DataFusion's optimizer rules, kept from plans that they get wrong.
//!
//! * A join node has one way to compare NULLs for all of its keys. One rule adds keys of `=` to
//!   nodes that hold NULL equal to NULL, another merges nodes of both kinds into one.
//! * A condition without columns is pushed below every aggregate, also below one that has a row
//!   where its input has none. Such conditions come about while filters are merged: `x = 1 AND
//!   x = 2` is `false`, `NOT (x = x)` is `x IS NULL AND NULL`. Nothing else can be pushed below
//!   such an aggregate, so the filters above it are left as they are.
//! * Of conditions on one column it keeps the narrowest, and takes `5 = x` for another condition than
//!   `x = 5`, and `5 < x` for as wide as `x >= 5`: constants come to the right before that.
//! * Of an aggregate over a join that is grouped by the key of one side and more, DataFusion holds
//!   that the key determines every row. What drops group keys and DISTINCT by such dependencies does
//!   not see them.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{FunctionalDependencies, NullEquality, Result as DfResult};
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Distinct, Expr, Filter, GroupingSet, Join, LogicalPlan, Projection,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// Which plans a rule must leave alone.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    /// A join whose keys hold NULL equal to NULL.
    NullSafeJoin,
    /// A plan with such a join anywhere.
    NullSafePlan,
    /// Conditions on an aggregate that always has a row.
    AboveTotal,
    /// What the input of GROUP BY and DISTINCT says of its keys.
    Dependencies,
}

/// One of DataFusion's rules with its guard.
#[derive(Debug)]
struct Guarded {
    rule: Arc<dyn OptimizerRule + Send + Sync>,
    leaves: Leaves,
}

/// The rule with its guard, if it needs one.
pub fn guarded(rule: Arc<dyn OptimizerRule + Send + Sync>) -> Arc<dyn OptimizerRule + Send + Sync> {
    let leaves = match rule.name() {
        "extract_equijoin_predicate" => Leaves::NullSafeJoin,
        "eliminate_cross_join" => Leaves::NullSafePlan,
        "push_down_filter" => Leaves::AboveTotal,
        "optimize_projections" | "replace_distinct_aggregate" => Leaves::Dependencies,
        _ => return rule,
    };
    Arc::new(Guarded { rule, leaves })
}

impl OptimizerRule for Guarded {
    fn name(&self) -> &str {
        self.rule.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.rule.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> DfResult<Transformed<LogicalPlan>> {
        let plan = match self.leaves {
            Leaves::AboveTotal => constants_right(plan)?.data,
            _ => plan,
        };
        let left = match self.leaves {
            Leaves::NullSafeJoin => null_safe(&plan),
            Leaves::NullSafePlan => plan.exists(|node| Ok(null_safe(node)))?,
            Leaves::AboveTotal => above_total(&plan),
            Leaves::Dependencies => {
                let plan = match self.rule.apply_order() {
                    None => plan.transform_up_with_subqueries(hide_dependencies)?.data,
                    Some(_) => hide_dependencies(plan)?.data,
                };
                return self.rule.rewrite(plan, config);
            }
        };
        if left { Ok(Transformed::no(plan)) } else { self.rule.rewrite(plan, config) }
    }
}

/// The conditions of a filter or join as `column op constant`.
fn constants_right(plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    if !matches!(plan, LogicalPlan::Filter(_) | LogicalPlan::Join(_)) {
        return Ok(Transformed::no(plan));
    }
    plan.map_expressions(|expr| {
        expr.transform_up(|e| match e {
            Expr::BinaryExpr(BinaryExpr { left, op, right })
                if matches!(*left, Expr::Literal(..)) && !matches!(*right, Expr::Literal(..)) =>
            {
                Ok(match op.swap() {
                    Some(op) => {
                        Transformed::yes(Expr::BinaryExpr(BinaryExpr { left: right, op, right: left }))
                    }
                    None => Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })),
                })
            }
            other => Ok(Transformed::no(other)),
        })
    })
}

fn hide_dependencies(plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Aggregate(mut a) if a.group_expr.len() > 1 && depends(&a.input) => {
            a.input = Arc::new(independent(a.input)?);
            Ok(Transformed::yes(LogicalPlan::Aggregate(a)))
        }
        LogicalPlan::Distinct(Distinct::All(input)) if depends(&input) => {
            let input = Arc::new(independent(input)?);
            Ok(Transformed::yes(LogicalPlan::Distinct(Distinct::All(input))))
        }
        other => Ok(Transformed::no(other)),
    }
}

fn depends(plan: &LogicalPlan) -> bool {
    !plan.schema().functional_dependencies().is_empty()
}

/// The same rows under a schema that says nothing of them.
fn independent(input: Arc<LogicalPlan>) -> DfResult<LogicalPlan> {
    let schema = input.schema().as_ref().clone();
    let columns = schema.columns().into_iter().map(Expr::Column).collect();
    let schema = schema.with_functional_dependencies(FunctionalDependencies::empty())?;
    Ok(LogicalPlan::Projection(Projection::try_new_with_schema(columns, input, Arc::new(schema))?))
}

fn null_safe(plan: &LogicalPlan) -> bool {
    let LogicalPlan::Join(Join { null_equality, on, .. }) = plan else { return false };
    *null_equality == NullEquality::NullEqualsNull && !on.is_empty()
}

/// The rule merges filters that stand on each other, and goes on below them.
fn above_total(plan: &LogicalPlan) -> bool {
    let LogicalPlan::Filter(Filter { input, .. }) = plan else { return false };
    match input.as_ref() {
        LogicalPlan::Aggregate(aggregate) => has_total(aggregate),
        below => above_total(below),
    }
}

/// Whether one of the grouping sets is the empty one.
fn has_total(aggregate: &Aggregate) -> bool {
    match aggregate.group_expr.as_slice() {
        [] => true,
        [Expr::GroupingSet(GroupingSet::GroupingSets(sets))] => sets.iter().any(Vec::is_empty),
        [Expr::GroupingSet(_)] => true,
        _ => false,
    }
}
