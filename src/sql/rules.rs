//! Rewrites that give a plan PostgreSQL's meaning.
//!
//! In order: [`ast`] before planning (names, operators that DataFusion's planner does not
//! know), [`operators`] while planning (each binary operator by its operand types),
//! [`literals`] before type coercion, [`casts`], [`frames`] and [`guards`] after it, and the guards of
//! filters again after the optimizer has moved predicates. [`names`] computes the
//! output column names. Each rewrite is idempotent.

pub mod aggregates;
pub mod ast;
mod calls;
pub mod casts;
mod clock_words;
pub mod collations;
pub mod distinct_on;
pub mod fetch;
pub mod frames;
pub mod guarded;
pub mod guards;
mod hypothetical;
pub mod json_checks;
mod json_tables;
pub mod literals;
pub mod names;
pub mod operators;
pub mod orders;
mod patterns;
mod phrases;
pub mod recursive;
mod references;
pub mod rows;
mod same_names;
pub mod set_types;
pub mod subqueries;
pub mod temporal;
pub mod using;
mod values;
mod visit;
pub mod whole_rows;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result as DfResult};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan};

/// Applies `rewrite` to every expression of every node, subqueries included, keeping the
/// output names, and recomputes schemas.
pub(crate) fn rewrite_expressions(
    plan: LogicalPlan,
    rewrite: &dyn Fn(Expr, &DFSchema) -> DfResult<Expr>,
) -> DfResult<LogicalPlan> {
    let result = plan.transform_up_with_subqueries(|plan| {
        if matches!(plan, LogicalPlan::Limit(_) | LogicalPlan::Ddl(_)) {
            return Ok(Transformed::no(plan));
        }
        let mut schema = merge_schema(&plan.inputs());
        if let LogicalPlan::TableScan(scan) = &plan {
            let source = DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())?;
            schema.merge(&source);
        }
        let names = NamePreserver::new(&plan);
        let plan = plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let rewritten = rewrite(expr, &schema)?;
            Ok(Transformed::yes(name.restore(rewritten)))
        })?;
        plan.map_data(LogicalPlan::recompute_schema)
    })?;
    Ok(result.data)
}

/// Applies `rewrite` bottom-up to the nodes of one expression.
pub(crate) fn rewrite_nodes(expr: Expr, rewrite: &dyn Fn(Expr) -> DfResult<Expr>) -> DfResult<Expr> {
    Ok(expr.transform_up(|node| Ok(Transformed::yes(rewrite(node)?)))?.data)
}
