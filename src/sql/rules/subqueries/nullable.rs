//! A scalar subquery without a row is NULL, also if its column never is.
//!
//! DataFusion takes the column's word and simplifies `(SELECT 1 WHERE false) IS NULL` away. The
//! value becomes a call that may be NULL and is not folded; views, which join the subquery,
//! take it out again.

use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result as DfResult, TableReference};
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, Subquery, Union};

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

/// Every node's schema anew, so that what may be NULL now is known above; a UNION's column is
/// NULL where it is in any of the parts.
pub fn recompute(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let done = plan.transform_up_with_subqueries(|node| match node.recompute_schema()? {
        LogicalPlan::Union(union) => widened(union).map(|u| Transformed::yes(LogicalPlan::Union(u))),
        node => Ok(Transformed::yes(node)),
    })?;
    Ok(done.data)
}

fn widened(union: Union) -> DfResult<Union> {
    let field = |(i, (qualifier, field)): (usize, (Option<&TableReference>, &FieldRef))| {
        let part = |p: &Arc<LogicalPlan>| p.schema().fields().get(i).is_some_and(|f| f.is_nullable());
        let nullable = field.is_nullable() || union.inputs.iter().any(part);
        (qualifier.cloned(), Arc::new(field.as_ref().clone().with_nullable(nullable)))
    };
    let fields = union.schema.iter().enumerate().map(field).collect();
    let schema = DFSchema::new_with_metadata(fields, union.schema.metadata().clone())?;
    Ok(Union { schema: Arc::new(schema), ..union })
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
