//! `SELECT DISTINCT ON (k) … ORDER BY k, t` in views: the first row of each key by its number.
//!
//! DataFusion replaces DISTINCT ON by an aggregate; views number the rows of each key and
//! keep the first, which the planner of views maintains as a top-n.

use datafusion::common::tree_node::Transformed;
use datafusion::error::Result as DfResult;
use datafusion::execution::SessionState;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{
    Distinct, Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, WindowFunctionDefinition, col, lit,
};

use crate::error::{HwError, Result};

/// Name of the number within the plan.
const NUMBER: &str = "#distinct_on";

/// Rewrites every DISTINCT ON of an analyzed plan.
pub fn number_rows(plan: LogicalPlan, state: &SessionState) -> Result<LogicalPlan> {
    let Some(row_number) = state.window_functions().get("row_number").cloned() else {
        return Err(HwError::internal("row_number is not registered"));
    };
    let function = WindowFunctionDefinition::WindowUDF(row_number);
    let rewritten =
        plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Distinct(Distinct::On(on)) => {
                let names = on.schema.iter().map(|(q, f)| (q.cloned(), f.name().clone()));
                let names: Vec<_> = names.collect();
                let plan = first_rows(on, &function)?;
                let exprs =
                    plan.schema().columns().into_iter().zip(names).map(|(column, (qualifier, name))| {
                        Expr::Column(column).alias_qualified(qualifier, name)
                    });
                let exprs: Vec<Expr> = exprs.collect();
                Ok(Transformed::yes(LogicalPlanBuilder::from(plan).project(exprs)?.build()?))
            }
            other => Ok(Transformed::no(other)),
        })?;
    Ok(rewritten.data)
}

fn first_rows(
    on: datafusion::logical_expr::DistinctOn,
    function: &WindowFunctionDefinition,
) -> DfResult<LogicalPlan> {
    let order = on.sort_expr.unwrap_or_default();
    let number = Expr::from(WindowFunction::new(function.clone(), Vec::new()))
        .partition_by(on.on_expr)
        .order_by(order.clone())
        .build()?
        .alias(NUMBER);
    let name = number.schema_name().to_string();
    let input = std::sync::Arc::unwrap_or_clone(on.input);
    let numbered = LogicalPlanBuilder::from(input).window(vec![number])?;
    debug_assert_eq!(name, NUMBER);
    let first = numbered.filter(col(format!("\"{NUMBER}\"")).eq(lit(1i64)))?;
    // A LIMIT above takes the first rows by this order.
    let ordered = if order.is_empty() { first } else { first.sort(order)? };
    ordered.project(on.select_expr)?.build()
}
