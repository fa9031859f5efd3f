//! Small operations on physical expressions that refer to their input by index.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};

use crate::error::{HwError, Result};

pub type PExpr = Arc<dyn PhysicalExpr>;

/// A reference to input column `index`. The name is canonical, so that equal expressions of
/// differently named plans compare equal.
pub fn column(index: usize) -> PExpr {
    Arc::new(Column::new(&format!("c{index}"), index))
}

/// Both conditions.
pub fn and(left: PExpr, right: PExpr) -> PExpr {
    Arc::new(BinaryExpr::new(left, Operator::And, right))
}

/// The column number if `expr` is nothing but a column.
pub fn as_column(expr: &PExpr) -> Option<usize> {
    expr.downcast_ref::<Column>().map(|c| c.index())
}

pub fn is_literal(expr: &PExpr) -> bool {
    expr.downcast_ref::<Literal>().is_some()
}

/// Rewrites every column reference `i` to `replace(i)`.
pub fn substitute(expr: &PExpr, replace: &dyn Fn(usize) -> PExpr) -> Result<PExpr> {
    Arc::clone(expr)
        .transform_up(|e| match e.downcast_ref::<Column>() {
            Some(c) => Ok(Transformed::yes(replace(c.index()))),
            None => Ok(Transformed::no(e)),
        })
        .map(|t| t.data)
        .map_err(|e| HwError::internal(e.to_string()))
}

/// Canonical column names everywhere in `expr`.
pub fn canonical(expr: &PExpr) -> Result<PExpr> {
    substitute(expr, &column)
}

/// The columns that `expr` reads, each once, ascending.
pub fn columns_of(expr: &PExpr) -> Vec<usize> {
    let mut columns = Vec::new();
    let walked = expr.apply(|e| {
        if let Some(c) = e.downcast_ref::<Column>() {
            columns.push(c.index());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(walked.is_ok());
    columns.sort_unstable();
    columns.dedup();
    columns
}
