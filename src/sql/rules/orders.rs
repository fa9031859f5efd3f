//! ORDER BY over intervals: by their length, a month of 30 days, as their comparison.
//!
//! DataFusion orders intervals by months, then days, then time. The keys of sorts and of
//! window functions become `interval_order(key)`, and `min` and `max` of intervals look at it. Arrays put their NULL elements where NULLS
//! FIRST and LAST put the whole key; in PostgreSQL they are always the greatest, so such a key
//! of a sort becomes two. Other keys already have PostgreSQL's order.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result as DfResult};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, SortExpr, WindowFrameBound, WindowFrameUnits,
};
use datafusion::optimizer::AnalyzerRule;

use crate::sql::functions;
use crate::sql::functions::aggregate::ordered::{self, Rule};

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
                let changed = by_length(&mut sort.expr, &schema)? | arrays(&mut sort.expr, &schema);
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
            LogicalPlan::Aggregate(_) => {
                let schema = merge_schema(&plan.inputs());
                let names = NamePreserver::new(&plan);
                plan.map_expressions(|expr| {
                    let name = names.save(&expr);
                    let changed = expr.transform_up(|node| extremes(node, &schema))?;
                    Ok(changed.update_data(|expr| name.restore(expr)))
                })
            }
            other => Ok(Transformed::no(other)),
        })?;
        Ok(result.data)
    }
}

/// The least and the greatest interval by their length.
fn extremes(node: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    let Expr::AggregateFunction(mut call) = node else { return Ok(Transformed::no(node)) };
    let by = match (call.func.name(), call.params.args.as_slice()) {
        ("min", [x]) if matches!(x.get_type(schema), Ok(DataType::Interval(_))) => Rule::MinBy,
        ("max", [x]) if matches!(x.get_type(schema), Ok(DataType::Interval(_))) => Rule::MaxBy,
        _ => return Ok(Transformed::no(Expr::AggregateFunction(call))),
    };
    let length = functions::scalar("interval_order")?.call(vec![call.params.args[0].clone()]);
    call.params.args.push(length);
    call.params.distinct = false;
    call.func = Arc::new(ordered::function(by));
    Ok(Transformed::yes(Expr::AggregateFunction(call)))
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
            Ok(as_text(&mut f.params.order_by, schema) | by_length(&mut f.params.order_by, schema)?)
        }
        _ => Ok(false),
    }
}

/// Keys of types that DataFusion has no frames over, as text, which has their order.
fn as_text(keys: &mut [SortExpr], schema: &DFSchema) -> bool {
    let mut changed = false;
    for key in keys {
        let by_text = matches!(
            key.expr.get_type(schema),
            Ok(DataType::FixedSizeBinary(_) | DataType::Binary | DataType::Time64(_))
        );
        if by_text {
            key.expr = Expr::Cast(Cast::new(Box::new(key.expr.clone()), DataType::Utf8));
            changed = true;
        }
    }
    changed
}

/// Keys of arrays whose NULLs stand against the order: whether they are NULL, then the key.
fn arrays(keys: &mut Vec<SortExpr>, schema: &DFSchema) -> bool {
    let against = |key: &SortExpr| {
        key.asc == key.nulls_first && matches!(key.expr.get_type(schema), Ok(DataType::List(_)))
    };
    if !keys.iter().any(against) {
        return false;
    }
    *keys = std::mem::take(keys)
        .into_iter()
        .flat_map(|key| {
            let null = against(&key).then(|| key.expr.clone().is_null().sort(!key.nulls_first, false));
            let nulls_first = if null.is_some() { !key.nulls_first } else { key.nulls_first };
            null.into_iter().chain([SortExpr { nulls_first, ..key }])
        })
        .collect();
    true
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
