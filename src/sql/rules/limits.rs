//! `LIMIT (SELECT …)` and `OFFSET (SELECT …)` as conditions on the number of a row.
//!
//! DataFusion's limits are constants. The first rule of the analyzer, so that what reads the count is
//! seen by all others. A count of NULL is no limit; less than zero is 2201W or 2201X.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::Result as DfResult;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::expr_fn::cast;
use datafusion::logical_expr::{
    Expr, ExprFunctionExt, Limit, LogicalPlan, LogicalPlanBuilder, Projection, lit, when,
};
use datafusion::optimizer::AnalyzerRule;

use crate::sql::functions;

/// Counts that a subquery gives.
#[derive(Debug)]
pub struct PgLimits;

impl AnalyzerRule for PgLimits {
    fn name(&self) -> &str {
        "pg_limits"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> DfResult<LogicalPlan> {
        let counted = plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Limit(limit) if reads(limit.skip.as_deref()) || reads(limit.fetch.as_deref()) => {
                Ok(Transformed::yes(numbered(limit)?))
            }
            other => Ok(Transformed::no(other)),
        })?;
        Ok(counted.data)
    }
}

fn reads(count: Option<&Expr>) -> bool {
    count.is_some_and(|c| c.exists(|e| Ok(matches!(e, Expr::ScalarSubquery(_)))).unwrap_or(false))
}

fn numbered(limit: Limit) -> DfResult<LogicalPlan> {
    // The order may be by columns that a projection above it leaves out.
    if let LogicalPlan::Projection(p) = limit.input.as_ref()
        && matches!(p.input.as_ref(), LogicalPlan::Sort(_))
    {
        let (exprs, schema) = (p.expr.clone(), Arc::clone(&p.schema));
        let below = numbered(Limit { input: Arc::clone(&p.input), ..limit })?;
        return Ok(LogicalPlan::Projection(Projection::try_new_with_schema(exprs, Arc::new(below), schema)?));
    }
    let columns = limit.input.schema().columns().into_iter().map(Expr::Column);
    let columns: Vec<Expr> = columns.collect();
    let (input, order) = match Arc::unwrap_or_clone(limit.input) {
        LogicalPlan::Sort(sort) => (Arc::unwrap_or_clone(sort.input), sort.expr),
        other => (other, vec![]),
    };
    let number = match datafusion::functions_window::expr_fn::row_number() {
        number if order.is_empty() => number,
        number => number.order_by(order.clone()).build()?,
    };
    let plan = LogicalPlanBuilder::from(input).window(vec![number])?;
    let number = plan.schema().columns().pop().map_or(lit(0i64), Expr::Column);
    let number = cast(number, DataType::Int64);
    let skip = match limit.skip {
        Some(count) => {
            let count = functions::scalar("offset_rows")?.call(vec![cast(*count, DataType::Int64)]);
            when(count.clone().is_null(), lit(0i64)).otherwise(count)?
        }
        None => lit(0i64),
    };
    let mut condition = number.clone().gt(skip.clone());
    if let Some(count) = limit.fetch {
        let count = functions::scalar("limit_rows")?.call(vec![cast(*count, DataType::Int64)]);
        condition = condition.and(count.clone().is_null().or((number - skip).lt_eq(count)));
    }
    let mut plan = plan.filter(condition)?;
    if !order.is_empty() {
        plan = plan.sort(order)?;
    }
    plan.project(columns)?.build()
}
