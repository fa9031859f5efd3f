//! Filter and projection in one operator, stateless.
//!
//! The filter runs first and only the columns that the projection reads are filtered; a
//! filter that keeps everything copies nothing, and plain column expressions are passed by
//! reference. Rows whose expressions fail go to the view's error relation. Weights pass
//! through, which is all that retractions need. The order of rows is kept.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::{FilterBuilder, FilterPredicate};
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;

use super::errors::RowErrors;
use super::expressions::{
    batch_of, columns_used, evaluate, evaluate_predicate, isolate_errors, renumber_columns,
};
use crate::dataflow::operator::{EpochContext, Operator};
use crate::error::Result;
use crate::types::{ChangeBatch, Weights};

/// `SELECT exprs WHERE filter`.
pub struct MapOperator {
    name: String,
    filter: Option<Arc<dyn PhysicalExpr>>,
    /// Over the columns `used` only.
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    /// Input columns that the projection reads.
    used: Vec<usize>,
    output_schema: SchemaRef,
    errors: Arc<RowErrors>,
}

impl MapOperator {
    /// `exprs` give the columns of `output_schema`, in order, over the input's columns.
    pub fn new(
        name: impl Into<String>,
        filter: Option<Arc<dyn PhysicalExpr>>,
        exprs: Vec<Arc<dyn PhysicalExpr>>,
        output_schema: SchemaRef,
        errors: Arc<RowErrors>,
    ) -> Result<MapOperator> {
        let used = columns_used(&exprs);
        let exprs = exprs.iter().map(|e| renumber_columns(e, &used)).collect::<Result<_>>()?;
        Ok(MapOperator { name: name.into(), filter, exprs, used, output_schema, errors })
    }

    fn apply(&self, batch: &ChangeBatch) -> Result<ChangeBatch> {
        let Some(filter) = &self.filter else {
            return self.project(batch.rows.project(&self.used)?, batch.weights.clone());
        };
        let mask = evaluate_predicate(filter, &batch.rows)?;
        let kept = mask.true_count();
        if kept == batch.len() {
            return self.project(batch.rows.project(&self.used)?, batch.weights.clone());
        }
        if kept == 0 {
            let empty = RecordBatch::new_empty(self.output_schema.clone());
            return Ok(ChangeBatch::inserts(empty));
        }
        let predicate = build_predicate(&mask, self.used.len());
        let columns =
            self.used.iter().map(|c| Ok(predicate.filter(batch.rows.column(*c))?)).collect::<Result<_>>()?;
        let schema = Arc::new(batch.rows.schema_ref().project(&self.used)?);
        let weights = match &batch.weights {
            Weights::One => Weights::One,
            Weights::Each(w) => {
                let filtered = predicate.filter(w)?;
                Weights::Each(arrow::array::AsArray::as_primitive(&filtered).clone())
            }
        };
        self.project(batch_of(&schema, columns, kept)?, weights)
    }

    /// `rows` holds only the used columns.
    fn project(&self, rows: RecordBatch, weights: Weights) -> Result<ChangeBatch> {
        let columns: Vec<ArrayRef> = self.exprs.iter().map(|e| evaluate(e, &rows)).collect::<Result<_>>()?;
        Ok(ChangeBatch { rows: batch_of(&self.output_schema, columns, rows.num_rows())?, weights })
    }
}

/// Counts null as false; prepares the mask once when several columns use it.
fn build_predicate(mask: &BooleanArray, columns: usize) -> FilterPredicate {
    let builder = FilterBuilder::new(mask);
    if columns > 1 { builder.optimize().build() } else { builder.build() }
}

impl Operator for MapOperator {
    fn name(&self) -> &str {
        &self.name
    }

    fn push(&mut self, _input: usize, batch: ChangeBatch, out: &mut Vec<ChangeBatch>) -> Result<()> {
        isolate_errors(&batch, &self.errors, &mut |part| self.apply(part), out)
    }

    fn finish_epoch(&mut self, _cx: &EpochContext, _out: &mut Vec<ChangeBatch>) -> Result<()> {
        Ok(())
    }
}

/// Hands every batch on: UNION ALL, and a node where a graph needs one.
pub struct PassOperator {
    name: String,
    /// The schema to give to batches, when the inputs differ in names or nullability.
    schema: Option<SchemaRef>,
}

impl PassOperator {
    pub fn new(name: impl Into<String>, schema: Option<SchemaRef>) -> PassOperator {
        PassOperator { name: name.into(), schema }
    }
}

impl Operator for PassOperator {
    fn name(&self) -> &str {
        &self.name
    }

    fn push(&mut self, _input: usize, batch: ChangeBatch, out: &mut Vec<ChangeBatch>) -> Result<()> {
        let batch = match &self.schema {
            Some(schema) => {
                let rows = batch_of(schema, batch.rows.columns().to_vec(), batch.len())?;
                ChangeBatch { rows, weights: batch.weights }
            }
            None => batch,
        };
        if !batch.is_empty() {
            out.push(batch);
        }
        Ok(())
    }

    fn finish_epoch(&mut self, _cx: &EpochContext, _out: &mut Vec<ChangeBatch>) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
