//! DataFusion's optimizer rules, kept from plans that they get wrong.
//!
//! * A join node has one way to compare NULLs for all of its keys. One rule adds keys of `=` to
//!   nodes that hold NULL equal to NULL, another merges nodes of both kinds into one.
//! * A condition without columns is pushed below every aggregate, also below one that has a row
//!   where its input has none. Such conditions come about while filters are merged: `x = 1 AND
//!   x = 2` is `false`, `NOT (x = x)` is `x IS NULL AND NULL`. Nothing else can be pushed below
//!   such an aggregate, so the filters above it are left as they are.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{NullEquality, Result as DfResult};
use datafusion::logical_expr::{Aggregate, Expr, Filter, GroupingSet, Join, LogicalPlan};
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
            Leaves::AboveTotal => above_total(&plan),
        };
        if left { Ok(Transformed::no(plan)) } else { self.rule.rewrite(plan, config) }
    }
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
