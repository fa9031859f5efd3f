//! ORDER BY over intervals: by their length, a month of 30 days, as their comparison.
//!
//! DataFusion orders intervals by months, then days, then time. The keys of sorts and of
//! window functions become `interval_order(key)`; other keys already have PostgreSQL's order.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result as DfResult};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, SortExpr, WindowFrameBound, WindowFrameUnits,
};
use datafusion::optimizer::AnalyzerRule;

use crate::sql::functions;

/// Runs before type coercion, which has no frames over intervals.
#[derive(Debug)]
pub struct PgOrders;

impl AnalyzerRule for PgOrders {
    fn name(&self) -> &str {
        "pg_orders"
    }
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> DfResult<LogicalPlan> {
        let result = plan.transform_up_with_subqueries(|plan| match plan {
            LogicalPlan::Sort(mut sort) => {
                let schema = sort.input.schema().clone();
                let changed = by_length(&mut sort.expr, &schema)?;
                let plan = LogicalPlan::Sort(sort);
                Ok(if changed { Transformed::yes(plan) } else { Transformed::no(plan) })
            }
            LogicalPlan::Window(_) => {
                let schema = merge_schema(&plan.inputs());
                let names = NamePreserver::new(&plan);
                plan.map_expressions(|mut expr| {
                    let name = names.save(&expr);
                    Ok(match window_keys(&mut expr, &schema)? {
                        true => Transformed::yes(name.restore(expr)),
                        false => Transformed::no(expr),
                    })
                })
            }
            other => Ok(Transformed::no(other)),
        })?;
        Ok(result.data)
    }
}

fn window_keys(expr: &mut Expr, schema: &DFSchema) -> DfResult<bool> {
    match expr {
        Expr::Alias(alias) => window_keys(&mut alias.expr, schema),
        Expr::WindowFunction(f) => {
            let frame = &f.params.window_frame;
            let offset =
                |b: &WindowFrameBound| !matches!(b, WindowFrameBound::CurrentRow) && !b.is_unbounded();
            if frame.units == WindowFrameUnits::Range
                && (offset(&frame.start_bound) || offset(&frame.end_bound))
            {
                return Ok(false);
            }
            by_length(&mut f.params.order_by, schema)
        }
        _ => Ok(false),
    }
}

/// Wraps the keys that are intervals; tells whether there are any.
fn by_length(keys: &mut [SortExpr], schema: &DFSchema) -> DfResult<bool> {
    let mut changed = false;
    for key in keys {
        // A key that has no type yet is none that could be an interval.
        if matches!(key.expr.get_type(schema), Ok(DataType::Interval(_))) {
            let length = functions::scalar("interval_order")?;
            key.expr = length.call(vec![key.expr.clone()]);
            changed = true;
        }
    }
    Ok(changed)
}
