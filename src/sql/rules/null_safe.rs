//! Joins on `IS NOT DISTINCT FROM` beside joins on `=`.
//!
//! A join node has one way to compare NULLs for all of its keys. DataFusion adds keys of `=` to
//! nodes that hold NULL equal to NULL, and merges nodes of both kinds into one; these rules
//! stand in the places of the two that do.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{NullEquality, Result as DfResult};
use datafusion::logical_expr::{Join, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// Which plans a rule must leave alone.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    /// A join whose keys hold NULL equal to NULL.
    Node,
    /// A plan with such a join anywhere.
    Plan,
}

/// One of DataFusion's rules, kept from those plans.
#[derive(Debug)]
struct Guarded {
    rule: Arc<dyn OptimizerRule + Send + Sync>,
    leaves: Leaves,
}

/// The rule with its guard, if it needs one.
pub fn guarded(rule: Arc<dyn OptimizerRule + Send + Sync>) -> Arc<dyn OptimizerRule + Send + Sync> {
    let leaves = match rule.name() {
        "extract_equijoin_predicate" => Leaves::Node,
        "eliminate_cross_join" => Leaves::Plan,
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
            Leaves::Node => null_safe(&plan),
            Leaves::Plan => plan.exists(|node| Ok(null_safe(node)))?,
        };
        if left { Ok(Transformed::no(plan)) } else { self.rule.rewrite(plan, config) }
    }
}

fn null_safe(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Join(Join { null_equality: NullEquality::NullEqualsNull, on, .. }) if !on.is_empty())
}
