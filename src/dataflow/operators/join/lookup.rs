//! Joins of arriving rows with what the other side holds now: `FOR SYSTEM_TIME AS OF proctime()`.
//!
//! The left input is append-only and is not kept. Its rows wait for the end of the epoch, so
//! they see all changes of the right side of their own epoch, whichever came first. What a
//! look-up gave is not revised when the right side changes later: the output only grows.

use arrow::array::{Array, BooleanArray};

use super::keys::Admission;
use super::shape::Shape;
use super::side::{Leaving, Matches, Side};
use super::{JoinKind, JoinSpec, OUTPUT_ROWS};
use crate::dataflow::operator::{EpochContext, Operator, StateSize};
use crate::error::Result;
use crate::types::ChangeBatch;

/// Look-ups of one worker.
pub struct LookupJoinOperator {
    name: String,
    kind: JoinKind,
    shape: Shape,
    left: Admission,
    right: Side,
    /// Left rows of this epoch.
    waiting: Vec<ChangeBatch>,
}

impl LookupJoinOperator {
    pub fn new(spec: JoinSpec) -> Result<LookupJoinOperator> {
        let (shape, [left, right]) = Shape::new(&spec)?;
        let right = Side::new(&spec.right_schema, right, Leaving::of(spec.right_append_only))?;
        Ok(LookupJoinOperator { name: spec.name, kind: spec.kind, shape, left, right, waiting: Vec::new() })
    }

    fn look_up(&self, batch: ChangeBatch, out: &mut Vec<ChangeBatch>) -> Result<()> {
        let (keyed, loose) = self.left.split(batch)?;
        if let (Some(loose), true) = (loose, self.kind.keeps(0)) {
            self.show(&loose.with_rows(loose.rows.project(&self.left.columns)?), false, out)?;
        }
        let Some(arrival) = self.left.admit(&keyed)? else { return Ok(()) };
        let mut matched = vec![false; arrival.rows.len()];
        let mut found = Matches::default();
        for (row, key) in arrival.key_prints.iter().enumerate() {
            let weight = arrival.rows.weights.get(row);
            let mut cursor = self.right.first(*key);
            while let Some(node) = cursor {
                cursor = self.right.push_match(node, row, weight, &mut found);
                if found.rows.len() >= OUTPUT_ROWS {
                    self.emit(&arrival.rows, &mut found, &mut matched, out)?;
                }
            }
        }
        self.emit(&arrival.rows, &mut found, &mut matched, out)?;
        if self.kind.keeps(0) {
            let matched = BooleanArray::from(matched);
            self.show(&arrival.rows.filter(&matched)?, true, out)?;
            self.show(&arrival.rows.filter(&arrow::compute::not(&matched)?)?, false, out)?;
        }
        Ok(())
    }

    fn emit(
        &self,
        rows: &ChangeBatch,
        found: &mut Matches,
        matched: &mut [bool],
        out: &mut Vec<ChangeBatch>,
    ) -> Result<()> {
        if found.rows.is_empty() {
            return Ok(());
        }
        let pairs = self.shape.pairs(0, &rows.rows, found, self.right.gather(&found.ids)?)?;
        let satisfied = self.shape.satisfied(&pairs)?;
        for (pair, row) in found.rows.iter().enumerate() {
            matched[*row as usize] |= satisfied.is_valid(pair) && satisfied.value(pair);
        }
        let pairs = self.shape.project(pairs.filter(&satisfied)?)?;
        out.extend((!pairs.is_empty()).then_some(pairs));
        found.clear();
        Ok(())
    }

    fn show(&self, rows: &ChangeBatch, matched: bool, out: &mut Vec<ChangeBatch>) -> Result<()> {
        let columns = rows.rows.columns();
        out.extend(self.shape.alone(self.kind, 0, columns, rows.weights.clone(), matched, rows.len())?);
        Ok(())
    }
}

impl Operator for LookupJoinOperator {
    fn name(&self) -> &str {
        &self.name
    }

    fn push(&mut self, input: usize, batch: ChangeBatch, _out: &mut Vec<ChangeBatch>) -> Result<()> {
        if input == 0 {
            self.waiting.push(batch);
            return Ok(());
        }
        match self.right.admit(&batch)? {
            Some(arrival) => self.right.store(arrival),
            None => Ok(()),
        }
    }

    fn finish_epoch(&mut self, _cx: &EpochContext, out: &mut Vec<ChangeBatch>) -> Result<()> {
        for batch in std::mem::take(&mut self.waiting) {
            self.look_up(batch, out)?;
        }
        self.shape.end_epoch();
        self.right.compact()
    }

    fn state_size(&self) -> StateSize {
        StateSize { entries: self.right.len(), bytes: self.right.bytes() }
    }
}

#[cfg(test)]
mod tests;
