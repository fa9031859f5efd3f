//! A scalar subquery without a row is NULL, also if its column never is.
//!
//! DataFusion takes the column's word and simplifies `(SELECT 1 WHERE false) IS NULL` away. The
//! value becomes a call that may be NULL and is not folded; views, which join the subquery,
//! take it out again.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result as DfResult};
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, Subquery};

use crate::sql::functions;

/// The function that gives its argument.
pub const NULLABLE: &str = "nullable_value";

/// Marks the values of uncorrelated scalar subqueries that say they are never NULL.
pub fn mark(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let marked = plan.transform_up_with_subqueries(|node| {
        node.map_expressions(|e| {
            e.transform_up(|e| match e {
                Expr::ScalarSubquery(subquery) if marks(&subquery) => {
                    Ok(Transformed::yes(Expr::ScalarSubquery(marked(subquery)?)))
                }
                other => Ok(Transformed::no(other)),
            })
        })
    })?;
    Ok(marked.data)
}

fn marks(subquery: &Subquery) -> bool {
    let fields = subquery.subquery.schema().fields();
    subquery.outer_ref_columns.is_empty() && fields.len() == 1 && !fields[0].is_nullable()
}

fn marked(subquery: Subquery) -> DfResult<Subquery> {
    let columns = subquery.subquery.schema().columns();
    let call = |column: Column| -> DfResult<Expr> {
        let name = column.name.clone();
        Ok(functions::scalar(NULLABLE)?.call(vec![Expr::Column(column)]).alias(name))
    };
    let exprs = columns.into_iter().map(call).collect::<DfResult<Vec<_>>>()?;
    let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::clone(&subquery.subquery))?);
    Ok(Subquery { subquery: Arc::new(plan), ..subquery })
}

/// Takes the marks out.
pub fn unmark(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let plain = plan.transform_up_with_subqueries(|node| {
        node.map_expressions(|e| {
            e.transform_up(|e| match e {
                Expr::ScalarFunction(mut f) if f.func.name() == NULLABLE && f.args.len() == 1 => {
                    Ok(Transformed::yes(f.args.swap_remove(0)))
                }
                other => Ok(Transformed::no(other)),
            })
        })
    })?;
    Ok(plain.data)
}
