//! Frames that DataFusion's window functions do not follow: those with `EXCLUDE`, moving ones
//! under aggregates that cannot take rows back, and all under aggregates that look at the order
//! of the rows. Their calls become a [`FrameCall`].
//!
//! Runs after type coercion. The parser has put what is excluded into PARTITION BY, as a call of
//! [`FRAME_EXCLUDES`]; here it is taken out.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result as DfResult, ScalarValue};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, WindowFunctionDefinition};
use datafusion::optimizer::AnalyzerRule;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, Literal};

use crate::plan::{Excluded, FrameCall, follows_frame};

/// Name of the internal function whose argument is what a frame leaves out.
pub const FRAME_EXCLUDES: &str = "__frame_excludes";

#[derive(Debug)]
pub struct PgFrames;

impl AnalyzerRule for PgFrames {
    fn name(&self) -> &str {
        "pg_frames"
    }
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> DfResult<LogicalPlan> {
        let result = plan.transform_up_with_subqueries(|plan| {
            if !matches!(plan, LogicalPlan::Window(_)) {
                return Ok(Transformed::no(plan));
            }
            let schema = merge_schema(&plan.inputs());
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|expr| {
                let name = names.save(&expr);
                let changed = expr.transform_up(|node| call(node, &schema))?;
                Ok(changed.update_data(|expr| name.restore(expr)))
            })
        })?;
        Ok(result.data)
    }
}

fn call(node: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    let Expr::WindowFunction(mut window) = node else { return Ok(Transformed::no(node)) };
    let WindowFunction { fun, params } = window.as_mut();
    let marked = params.partition_by.iter().find_map(excluded);
    params.partition_by.retain(|e| excluded(e).is_none());
    let anew = match &*fun {
        WindowFunctionDefinition::AggregateUDF(_) => {
            let moving = !params.window_frame.is_ever_expanding();
            marked.is_some() || !follows(fun, &params.args, params.distinct, moving, schema)
        }
        f => marked.is_some() && matches!(f.name(), "first_value" | "last_value" | "nth_value"),
    };
    if !anew {
        let node = Expr::WindowFunction(window);
        return Ok(if marked.is_some() { Transformed::yes(node) } else { Transformed::no(node) });
    }
    let filter = params.filter.take();
    let excluded = marked.unwrap_or(Excluded::Nothing);
    let distinct = std::mem::take(&mut params.distinct);
    *fun = FrameCall::definition(fun.clone(), excluded, distinct, filter.is_some());
    params.args.extend(filter.map(|f| *f));
    Ok(Transformed::yes(Expr::WindowFunction(window)))
}

/// What the parser's call says.
fn excluded(e: &Expr) -> Option<Excluded> {
    let Expr::ScalarFunction(f) = e else { return None };
    if f.name() != FRAME_EXCLUDES {
        return None;
    }
    Some(match f.args.first() {
        Some(Expr::Literal(ScalarValue::Utf8(Some(text)), _)) => match text.as_str() {
            "current row" => Excluded::CurrentRow,
            "group" => Excluded::Group,
            _ => Excluded::Ties,
        },
        _ => Excluded::Nothing,
    })
}

/// Whether the aggregate follows the frame by itself.
fn follows(
    fun: &WindowFunctionDefinition,
    args: &[Expr],
    distinct: bool,
    moving: bool,
    schema: &DFSchema,
) -> bool {
    let WindowFunctionDefinition::AggregateUDF(aggregate) = fun else { return true };
    let value = |(i, e): (usize, &Expr)| -> Arc<dyn PhysicalExpr> {
        match e {
            Expr::Literal(value, _) => Arc::new(Literal::new(value.clone())),
            _ => Arc::new(Column::new(&format!("arg{i}"), i)),
        }
    };
    let values: Vec<_> = args.iter().enumerate().map(value).collect();
    let fields: DfResult<Vec<_>> = args.iter().map(|e| Ok(e.to_field(schema)?.1)).collect();
    fields.is_ok_and(|fields| follows_frame(aggregate, &values, &fields, distinct, moving))
}
