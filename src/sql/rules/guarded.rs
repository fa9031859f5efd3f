//! DataFusion's optimizer rules, kept from plans that they get wrong.
//!
//! * A join node has one way to compare NULLs for all of its keys. One rule adds keys of `=` to
//!   nodes that hold NULL equal to NULL, another merges nodes of both kinds into one.
//! * A condition without columns is pushed below every aggregate, also below one that has a row
//!   where its input has none: `NOT (x = x)` is `x IS NULL AND NULL`, and the NULL went down.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{NullEquality, Result as DfResult};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Aggregate, Expr, Filter, GroupingSet, Join, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// Which plans a rule must leave alone.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    /// A join whose keys hold NULL equal to NULL.
    NullSafeJoin,
    /// A plan with such a join anywhere.
    NullSafePlan,
    /// A condition without columns right above an aggregate that always has a row.
    ConstantAboveTotal,
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
        "push_down_filter" => Leaves::ConstantAboveTotal,
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
        let left = match self.leaves {
            Leaves::NullSafeJoin => null_safe(&plan),
            Leaves::NullSafePlan => plan.exists(|node| Ok(null_safe(node)))?,
            Leaves::ConstantAboveTotal => constant_above_total(&plan),
        };
        if left { Ok(Transformed::no(plan)) } else { self.rule.rewrite(plan, config) }
    }
}

fn null_safe(plan: &LogicalPlan) -> bool {
    let LogicalPlan::Join(Join { null_equality, on, .. }) = plan else { return false };
    *null_equality == NullEquality::NullEqualsNull && !on.is_empty()
}

fn constant_above_total(plan: &LogicalPlan) -> bool {
    let LogicalPlan::Filter(Filter { predicate, input, .. }) = plan else { return false };
    let LogicalPlan::Aggregate(aggregate) = input.as_ref() else { return false };
    has_total(aggregate) && split_conjunction(predicate).into_iter().any(|e| !e.any_column_refs())
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
