//! Evaluating DataFusion expressions over changes, with bad rows set aside.
//!
//! A batch whose evaluation fails is bisected until the failing rows stand alone; those go
//! to [`RowErrors`] with their weights and the others go on. Whatever an expression says of a row is
//! that row's fault; errors of class XX (internal) and 0A of the operators around it end the
//! dataflow instead.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::DataFusionError;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;

use super::errors::RowErrors;
use crate::error::{HwError, Result, sqlstate};
use crate::types::ChangeBatch;

/// The PostgreSQL report for an error of expression evaluation.
pub fn evaluation_error(error: DataFusionError) -> HwError {
    match error {
        DataFusionError::External(inner) => match inner.downcast::<HwError>() {
            Ok(report) => *report,
            Err(other) => HwError::new(sqlstate::DATA_EXCEPTION, other.to_string()),
        },
        DataFusionError::ArrowError(inner, _) => HwError::from(*inner),
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            evaluation_error(*inner)
        }
        DataFusionError::Shared(inner) => match Arc::try_unwrap(inner) {
            Ok(own) => evaluation_error(own),
            Err(shared) => HwError::new(sqlstate::DATA_EXCEPTION, shared.to_string()),
        },
        DataFusionError::Execution(message) => HwError::new(sqlstate::DATA_EXCEPTION, message),
        other => HwError::internal(other.to_string()),
    }
}

/// The value of `expr` for each row of `rows`.
pub fn evaluate(expr: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<ArrayRef> {
    if let Some(column) = expr.downcast_ref::<Column>() {
        return Ok(rows.column(column.index()).clone());
    }
    let value = expr.evaluate(rows).and_then(|v| v.into_array(rows.num_rows()));
    value.map_err(|e| fault_of_row(evaluation_error(e)))
}

/// The error as one of data: also what a library's function does not take is in a row.
fn fault_of_row(error: HwError) -> HwError {
    if is_data_error(&error) {
        return error;
    }
    let mut fault = HwError::new(sqlstate::DATA_EXCEPTION, error.message());
    if let Some(detail) = error.detail() {
        fault = fault.with_detail(detail);
    }
    match error.hint() {
        Some(hint) => fault.with_hint(hint),
        None => fault,
    }
}

/// The value of a predicate for each row.
pub fn evaluate_predicate(expr: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<BooleanArray> {
    let value = evaluate(expr, rows)?;
    match value.as_boolean_opt() {
        Some(mask) => Ok(mask.clone()),
        None => Err(HwError::internal("a predicate is not boolean")),
    }
}

/// Runs `step` over `batch`; when it fails, over its halves, down to single rows, which go
/// to `errors`. What succeeds is pushed to `out`, empty results are left out.
pub fn isolate_errors(
    batch: &ChangeBatch,
    errors: &RowErrors,
    step: &mut dyn FnMut(&ChangeBatch) -> Result<ChangeBatch>,
    out: &mut Vec<ChangeBatch>,
) -> Result<()> {
    match step(batch) {
        Ok(result) if result.is_empty() => Ok(()),
        Ok(result) => {
            out.push(result);
            Ok(())
        }
        Err(error) if !is_data_error(&error) => Err(error),
        Err(error) if batch.len() == 1 => errors.add(&batch.rows, 0, batch.weights.get(0), error),
        Err(_) => {
            let half = batch.len() / 2;
            isolate_errors(&batch.slice(0, half), errors, step, out)?;
            isolate_errors(&batch.slice(half, batch.len() - half), errors, step, out)
        }
    }
}

/// Whether an error is the row's fault.
pub fn is_data_error(error: &HwError) -> bool {
    !matches!(&error.sqlstate()[..2], "XX" | "0A")
}

/// Indices of the columns that `exprs` read, ascending.
pub fn columns_used<'a>(exprs: impl IntoIterator<Item = &'a Arc<dyn PhysicalExpr>>) -> Vec<usize> {
    let mut used: Vec<usize> =
        exprs.into_iter().flat_map(|e| collect_columns(e).into_iter().map(|c| c.index())).collect();
    used.sort_unstable();
    used.dedup();
    used
}

/// `expr` with each column index `used[i]` replaced by `i`, for rows that hold only `used`.
pub fn renumber_columns(expr: &Arc<dyn PhysicalExpr>, used: &[usize]) -> Result<Arc<dyn PhysicalExpr>> {
    let renumber = |e: Arc<dyn PhysicalExpr>| {
        let Some(column) = e.downcast_ref::<Column>() else { return Ok(Transformed::no(e)) };
        match used.binary_search(&column.index()) {
            Ok(index) => {
                Ok(Transformed::yes(Arc::new(Column::new(column.name(), index)) as Arc<dyn PhysicalExpr>))
            }
            Err(_) => Err(DataFusionError::Internal(format!("column {} is not kept", column.index()))),
        }
    };
    expr.clone().transform(renumber).map(|t| t.data).map_err(evaluation_error)
}

/// A batch of `schema` from columns; fails if types or nullability do not agree.
pub fn batch_of(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}
