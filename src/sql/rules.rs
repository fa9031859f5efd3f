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
mod clauses;
pub mod clock_units;
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
pub mod limits;
pub mod literals;
mod members;
pub mod names;
pub mod operators;
mod order_names;
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

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ExprSchema, Result as DfResult};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Values};

/// Applies `rewrite` to every expression of every node, keeping the output names. Goes from the
/// inputs up, and into a node's subqueries after its inputs, so that every expression meets the
/// types that its columns have after the rewrite, also those of set operations and of outer
/// columns.
pub(crate) fn rewrite_expressions(
    plan: LogicalPlan,
    rewrite: &dyn Fn(Expr, &DFSchema) -> DfResult<Expr>,
) -> DfResult<LogicalPlan> {
    let into = |plan| rewrite_expressions(plan, rewrite).map(Transformed::yes);
    let plan = match plan {
        LogicalPlan::Join(mut join) => {
            // A lateral right side reads columns of the left.
            let left = rewrite_expressions(Arc::unwrap_or_clone(join.left), rewrite)?;
            let right = retype_outer_columns(Arc::unwrap_or_clone(join.right), left.schema())?;
            join.left = Arc::new(left);
            join.right = Arc::new(rewrite_expressions(right.data, rewrite)?);
            LogicalPlan::Join(join)
        }
        other => other.map_children(into)?.data,
    };
    if matches!(plan, LogicalPlan::Limit(_) | LogicalPlan::Ddl(_)) {
        return Ok(plan);
    }
    let mut schema = merge_schema(&plan.inputs());
    let plan = plan.map_subqueries(|subquery| into(retype_outer_columns(subquery, &schema)?.data))?.data;
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
    match plan.data.recompute_schema()? {
        // Its schema is of the types before.
        LogicalPlan::Values(values) if !values_fit(&values)? => {
            LogicalPlanBuilder::values(values.values)?.build()
        }
        plan => Ok(set_types::set_operation(plan)?.data),
    }
}

fn values_fit(values: &Values) -> DfResult<bool> {
    let none = DFSchema::empty();
    for row in &values.values {
        for (cell, field) in row.iter().zip(values.schema.fields()) {
            // Cells with columns of outer queries were cast to the column's type.
            if !cell.contains_outer() && cell.get_type(&none)? != *field.data_type() {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// The outer columns of a subquery with the types that they have in `schema` now. The schemas of
/// its nodes stay as they are.
fn retype_outer_columns(subquery: LogicalPlan, schema: &DFSchema) -> DfResult<Transformed<LogicalPlan>> {
    subquery.transform_up_with_subqueries(|inner| {
        inner.map_expressions(|expr| {
            expr.transform_up(|node| match node {
                Expr::OuterReferenceColumn(field, column) => match schema.field_from_column(&column) {
                    Ok(now) if now.data_type() != field.data_type() => {
                        Ok(Transformed::yes(Expr::OuterReferenceColumn(Arc::clone(now), column)))
                    }
                    _ => Ok(Transformed::no(Expr::OuterReferenceColumn(field, column))),
                },
                other => Ok(Transformed::no(other)),
            })
        })
    })
}

/// Applies `rewrite` bottom-up to the nodes of one expression.
pub(crate) fn rewrite_nodes(expr: Expr, rewrite: &dyn Fn(Expr) -> DfResult<Expr>) -> DfResult<Expr> {
    Ok(expr.transform_up(|node| Ok(Transformed::yes(rewrite(node)?)))?.data)
}
