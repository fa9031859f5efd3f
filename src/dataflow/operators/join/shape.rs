//! What a join makes of pairs: stored columns, residual condition, output columns.
//!
//! A pair is the stored columns of a left row followed by those of a right row. Both join
//! operators cut their specification down to what has to be stored, here.

use std::cell::Cell;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;

use super::keys::Admission;
use super::side::Matches;
use super::{JoinKind, JoinSpec, Unmatched};
use crate::dataflow::operators::errors::RowErrors;
use crate::dataflow::operators::expressions::{
    batch_of, columns_used, evaluate_predicate, is_data_error, renumber_columns,
};
use crate::error::{HwError, Result, sqlstate};
use crate::types::change_batch::consolidate;
use crate::types::{ChangeBatch, Weights};

/// Layout of pairs and of the output.
pub struct Shape {
    /// Over the pair columns.
    pub residual: Option<Arc<dyn PhysicalExpr>>,
    /// Stored left columns, then stored right columns.
    pub pair_schema: SchemaRef,
    /// Number of stored left columns.
    pub left_width: usize,
    /// Pair column of each output column.
    pub output: Vec<usize>,
    pub output_schema: SchemaRef,
    pub errors: Arc<RowErrors>,
    /// Pairs made in this epoch, and how many may be.
    made: Cell<usize>,
    pairs_max: usize,
}

impl Shape {
    /// The layout, and what of the left and of the right side is looked at.
    pub fn new(spec: &JoinSpec) -> Result<(Shape, [Admission; 2])> {
        if spec.left_keys.len() != spec.right_keys.len() {
            return Err(HwError::internal("a join needs as many left keys as right keys"));
        }
        let mut needed = columns_used(spec.residual.as_ref());
        needed.extend(&spec.output);
        let width = spec.left_schema.fields().len();
        needed.extend(spec.as_of.iter().flat_map(|a| &a.ties).map(|c| c + width));
        needed.sort_unstable();
        needed.dedup();
        let left_width = needed.partition_point(|c| *c < width);
        let admission = |keys: &[usize], columns: Vec<usize>| Admission {
            keys: keys.to_vec(),
            columns,
            end_column: spec.window.as_ref().map(|w| keys[w.key]),
            null_equal: spec.null_equal,
        };
        let left = admission(&spec.left_keys, needed[..left_width].to_vec());
        let right = admission(&spec.right_keys, needed[left_width..].iter().map(|c| c - width).collect());
        let (stored_left, stored_right) =
            (spec.left_schema.project(&left.columns)?, spec.right_schema.project(&right.columns)?);
        let fields = stored_left.fields().iter().chain(stored_right.fields());
        let pair_schema = Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()));
        let position = |c: &usize| needed.partition_point(|n| n < c);
        let shape = Shape {
            residual: spec.residual.as_ref().map(|r| renumber_columns(r, &needed)).transpose()?,
            pair_schema,
            left_width,
            output: spec.output.iter().map(position).collect(),
            output_schema: spec.output_schema.clone(),
            errors: Arc::clone(&spec.errors),
            made: Cell::new(0),
            pairs_max: spec.pairs_max,
        };
        Ok((shape, [left, right]))
    }

    /// Pairs of rows of `batch`, which came on side `from`, with gathered rows of the other.
    /// Errors: 53400 when an epoch makes too many.
    pub fn pairs(
        &self,
        from: usize,
        batch: &RecordBatch,
        matches: &Matches,
        stored: Vec<ArrayRef>,
    ) -> Result<ChangeBatch> {
        self.made.set(self.made.get() + matches.rows.len());
        if self.made.get() > self.pairs_max {
            return Err(self.runaway(from, batch.num_rows()));
        }
        let rows = UInt32Array::from(matches.rows.clone());
        let own: Vec<ArrayRef> =
            batch.columns().iter().map(|c| Ok(take(c, &rows, None)?)).collect::<Result<_>>()?;
        let columns = if from == 0 { [own, stored] } else { [stored, own] }.concat();
        let rows = batch_of(&self.pair_schema, columns, matches.rows.len())?;
        if matches.weights.iter().all(|w| *w == 1) {
            return Ok(ChangeBatch::inserts(rows));
        }
        Ok(ChangeBatch::new(rows, matches.weights.clone()))
    }

    fn runaway(&self, from: usize, rows: usize) -> HwError {
        let side = if from == 0 { "left" } else { "right" };
        let message = format!("a join makes more than {} pairs in one epoch on one worker", self.pairs_max);
        HwError::new(sqlstate::CONFIGURATION_LIMIT_EXCEEDED, message)
            .with_detail(format!(
                "A batch of {rows} rows of the {side} side brought the number of pairs to {}.",
                self.made.get()
            ))
            .with_hint("Add an equality to the join's condition, or raise the setting join_pairs_max.")
    }

    /// The epoch is over.
    pub fn end_epoch(&self) {
        self.made.set(0);
    }

    /// Whether each pair satisfies the residual condition; pairs where it fails do not, and
    /// go to the error relation.
    pub fn satisfied(&self, pairs: &ChangeBatch) -> Result<BooleanArray> {
        let Some(residual) = &self.residual else {
            return Ok(BooleanArray::from(vec![true; pairs.len()]));
        };
        match evaluate_predicate(residual, &pairs.rows) {
            Ok(mask) => Ok(mask),
            Err(error) if !is_data_error(&error) => Err(error),
            Err(error) if pairs.len() == 1 => {
                self.errors.add(&pairs.rows, 0, pairs.weights.get(0), error)?;
                Ok(BooleanArray::from(vec![false]))
            }
            Err(_) => {
                let half = pairs.len() / 2;
                let parts = [pairs.slice(0, half), pairs.slice(half, pairs.len() - half)];
                let masks = parts.iter().map(|p| self.satisfied(p)).collect::<Result<Vec<_>>>()?;
                Ok(masks.iter().flat_map(|m| m.iter()).collect())
            }
        }
    }

    /// The output columns of pairs.
    pub fn project(&self, pairs: ChangeBatch) -> Result<ChangeBatch> {
        let columns = self.output.iter().map(|c| pairs.rows.column(*c).clone()).collect();
        let rows = batch_of(&self.output_schema, columns, pairs.len())?;
        Ok(ChangeBatch { rows, weights: pairs.weights })
    }

    /// Applies the residual condition and projects to the output columns.
    pub fn finish(&self, pairs: ChangeBatch) -> Result<ChangeBatch> {
        match &self.residual {
            Some(_) => self.project(pairs.filter(&self.satisfied(&pairs)?)?),
            None => self.project(pairs),
        }
    }

    /// Rows of side `side`, given by their stored columns, as they are shown when they match
    /// or do not; none if they are not shown.
    pub fn alone(
        &self,
        kind: JoinKind,
        side: usize,
        own: &[ArrayRef],
        weights: Weights,
        matched: bool,
        rows: usize,
    ) -> Result<Option<ChangeBatch>> {
        let shown = match kind.unmatched() {
            Unmatched::Shown => !matched,
            Unmatched::Hidden => matched,
            Unmatched::Marked => true,
        };
        if !shown || rows == 0 {
            return Ok(None);
        }
        let columns = if side == 0 { 0..self.left_width } else { self.left_width..usize::MAX };
        let fields = self.output_schema.fields();
        let mut output: Vec<ArrayRef> = Vec::with_capacity(fields.len());
        for (column, field) in self.output.iter().zip(fields) {
            output.push(match columns.contains(column) {
                true => own[column - columns.start].clone(),
                false => new_null_array(field.data_type(), rows),
            });
        }
        if kind == JoinKind::Mark {
            output.push(Arc::new(BooleanArray::from(vec![matched; rows])));
        }
        let rows = batch_of(&self.output_schema, output, rows)?;
        Ok(Some(ChangeBatch { rows, weights }))
    }

    /// Adds up what waited during the epoch; nothing that cancels is left.
    pub fn consolidated(&self, pending: &mut Vec<ChangeBatch>) -> Result<Option<ChangeBatch>> {
        if pending.is_empty() {
            return Ok(None);
        }
        let all = consolidate(&self.output_schema, &std::mem::take(pending))?;
        let all = match &all.weights {
            Weights::Each(w) if w.values().iter().all(|w| *w == 1) => ChangeBatch::inserts(all.rows),
            _ => all,
        };
        Ok((!all.is_empty()).then_some(all))
    }
}
