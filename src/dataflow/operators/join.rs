//! Inner equi-join of two changing inputs.
//!
//! Bilinear: a batch of one side is joined with what the other side holds now and then
//! stored, so after any order of batches an epoch has emitted exactly
//! Δ(L⋈R) = ΔL⋈R + L⋈ΔR + ΔL⋈ΔR; weights multiply. NULL keys never match and are never
//! stored. A side stores only the columns that the output and the residual condition read.
//! Where both inputs are append-only, matches leave at once; otherwise they wait for the
//! end of the epoch and are consolidated, so that changes that cancel are never seen. Rows of
//! windows that are over on both sides are forgotten; what they emitted stays.

mod side;

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;

use self::side::{Matches, Side};
use super::aggregate::WindowTime;
use super::errors::RowErrors;
use super::expressions::{batch_of, columns_used, evaluate_predicate, isolate_errors, renumber_columns};
use crate::dataflow::operator::{EpochContext, Operator, StateSize};
use crate::error::{HwError, Result};
use crate::types::change_batch::consolidate;
use crate::types::{ChangeBatch, Weights};

/// Matches are gathered into batches of this many rows.
const OUTPUT_ROWS: usize = 8192;

/// What a [`JoinOperator`] computes. Column numbers of `residual` and `output` are over the
/// left columns followed by the right ones. Input 0 is the left side, input 1 the right.
#[derive(Clone)]
pub struct JoinSpec {
    pub name: String,
    pub left_schema: SchemaRef,
    pub right_schema: SchemaRef,
    /// Equal numbers of key columns, of comparable types, in pairs.
    pub left_keys: Vec<usize>,
    pub right_keys: Vec<usize>,
    /// A further condition on pairs.
    pub residual: Option<Arc<dyn PhysicalExpr>>,
    pub output: Vec<usize>,
    pub output_schema: SchemaRef,
    /// Set if no row changes after the end of its window.
    pub window: Option<JoinWindow>,
    pub left_append_only: bool,
    pub right_append_only: bool,
    /// Takes pairs whose residual condition fails.
    pub errors: Arc<RowErrors>,
}

/// Windows that both sides are keyed by.
#[derive(Clone, Debug)]
pub struct JoinWindow {
    /// Position among the key columns of the window's end, a timestamp.
    pub key: usize,
    pub time: WindowTime,
}

/// Incremental inner join of one worker.
pub struct JoinOperator {
    name: String,
    window: Option<JoinWindow>,
    sides: [Side; 2],
    /// Over the pair columns.
    residual: Option<Arc<dyn PhysicalExpr>>,
    /// Stored left columns, then stored right columns.
    pair_schema: SchemaRef,
    /// Pair column of each output column.
    output: Vec<usize>,
    output_schema: SchemaRef,
    append_only: bool,
    /// Output that waits for consolidation.
    pending: Vec<ChangeBatch>,
    errors: Arc<RowErrors>,
}

impl JoinOperator {
    pub fn new(spec: JoinSpec) -> Result<JoinOperator> {
        if spec.left_keys.len() != spec.right_keys.len() {
            return Err(HwError::internal("a join needs as many left keys as right keys"));
        }
        let mut needed = columns_used(spec.residual.as_ref());
        needed.extend(&spec.output);
        needed.sort_unstable();
        needed.dedup();
        let width = spec.left_schema.fields().len();
        let split = needed.partition_point(|c| *c < width);
        let left_columns = needed[..split].to_vec();
        let right_columns: Vec<usize> = needed[split..].iter().map(|c| c - width).collect();
        let (left_schema, right_schema) = (&spec.left_schema, &spec.right_schema);
        let end = |keys: &[usize]| spec.window.as_ref().map(|w| keys[w.key]);
        let (left_end, right_end) = (end(&spec.left_keys), end(&spec.right_keys));
        let left = Side::new(left_schema, spec.left_keys, left_columns, left_end, spec.left_append_only)?;
        let right =
            Side::new(right_schema, spec.right_keys, right_columns, right_end, spec.right_append_only)?;
        let fields = left.schema().fields().iter().chain(right.schema().fields());
        let pair_schema = Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()));
        let position = |c: &usize| needed.partition_point(|n| n < c);
        Ok(JoinOperator {
            name: spec.name,
            window: spec.window,
            residual: spec.residual.as_ref().map(|r| renumber_columns(r, &needed)).transpose()?,
            output: spec.output.iter().map(position).collect(),
            output_schema: spec.output_schema,
            append_only: spec.left_append_only && spec.right_append_only,
            sides: [left, right],
            pair_schema,
            pending: Vec::new(),
            errors: spec.errors,
        })
    }

    /// Pairs of rows of `batch`, which came on side `from`, with stored rows of the other.
    fn pairs(&self, from: usize, batch: &RecordBatch, matches: &Matches) -> Result<ChangeBatch> {
        let rows = UInt32Array::from(matches.rows.clone());
        let own: Vec<ArrayRef> =
            batch.columns().iter().map(|c| Ok(take(c, &rows, None)?)).collect::<Result<_>>()?;
        let stored = self.sides[1 - from].gather(&matches.ids)?;
        let columns = if from == 0 { [own, stored] } else { [stored, own] }.concat();
        let rows = batch_of(&self.pair_schema, columns, matches.rows.len())?;
        if matches.weights.iter().all(|w| *w == 1) {
            return Ok(ChangeBatch::inserts(rows));
        }
        Ok(ChangeBatch::new(rows, matches.weights.clone()))
    }

    /// Applies the residual condition and projects to the output columns.
    fn finish_pairs(&self, pairs: &ChangeBatch) -> Result<ChangeBatch> {
        let kept = match &self.residual {
            Some(residual) => pairs.filter(&evaluate_predicate(residual, &pairs.rows)?)?,
            None => pairs.clone(),
        };
        let columns = self.output.iter().map(|c| kept.rows.column(*c).clone()).collect();
        let rows = batch_of(&self.output_schema, columns, kept.len())?;
        Ok(ChangeBatch { rows, weights: kept.weights })
    }

    fn emit(
        &mut self,
        from: usize,
        batch: &RecordBatch,
        matches: &Matches,
        out: &mut Vec<ChangeBatch>,
    ) -> Result<()> {
        let pairs = self.pairs(from, batch, matches)?;
        let mut emitted = Vec::new();
        isolate_errors(&pairs, &self.errors, &mut |part| self.finish_pairs(part), &mut emitted)?;
        if self.append_only {
            out.append(&mut emitted)
        } else {
            self.pending.append(&mut emitted)
        }
        Ok(())
    }
}

impl Operator for JoinOperator {
    fn name(&self) -> &str {
        &self.name
    }

    fn push(&mut self, input: usize, batch: ChangeBatch, out: &mut Vec<ChangeBatch>) -> Result<()> {
        let Some(arrival) = self.sides[input].admit(&batch)? else { return Ok(()) };
        let mut matches = Matches::default();
        for row in 0..arrival.rows.len() {
            let mut cursor = self.sides[1 - input].first(arrival.key_prints[row]);
            let weight = arrival.rows.weights.get(row);
            while let Some(node) = cursor {
                cursor = self.sides[1 - input].push_match(node, row, weight, &mut matches);
                if matches.rows.len() >= OUTPUT_ROWS {
                    self.emit(input, &arrival.rows.rows, &matches, out)?;
                    matches.clear();
                }
            }
        }
        if !matches.rows.is_empty() {
            self.emit(input, &arrival.rows.rows, &matches, out)?;
        }
        self.sides[input].store(arrival)
    }

    fn finish_epoch(&mut self, cx: &EpochContext, out: &mut Vec<ChangeBatch>) -> Result<()> {
        if !self.pending.is_empty() {
            let pending = std::mem::take(&mut self.pending);
            let all = consolidate(&self.output_schema, &pending)?;
            let all = match &all.weights {
                Weights::Each(w) if w.values().iter().all(|w| *w == 1) => ChangeBatch::inserts(all.rows),
                _ => all,
            };
            if !all.is_empty() {
                out.push(all);
            }
        }
        if let Some(window) = &self.window {
            let reached = match &window.time {
                WindowTime::Event { inputs } => cx.watermark(inputs).0,
                WindowTime::Processing => cx.now.0,
            };
            self.sides.iter_mut().for_each(|side| side.expire(reached));
        }
        self.sides.iter_mut().try_for_each(Side::compact)
    }

    fn state_size(&self) -> StateSize {
        StateSize {
            entries: self.sides.iter().map(Side::len).sum(),
            bytes: self.sides.iter().map(Side::bytes).sum(),
        }
    }
}

#[cfg(test)]
mod tests;
