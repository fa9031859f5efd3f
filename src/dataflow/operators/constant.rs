//! Rows that are there from the first epoch on: VALUES, and a SELECT without FROM.
//!
//! No input. One worker emits the rows when its first epoch ends; a replay does the same, so
//! nothing is kept. Rows of length zero columns count as rows too.

use arrow::array::RecordBatch;

use crate::dataflow::operator::{EpochContext, Operator};
use crate::error::Result;
use crate::types::ChangeBatch;

pub struct ConstantOperator {
    rows: Option<RecordBatch>,
}

impl ConstantOperator {
    /// `owner`: whether this worker emits the rows.
    pub fn new(rows: RecordBatch, owner: bool) -> ConstantOperator {
        ConstantOperator { rows: owner.then_some(rows) }
    }
}

impl Operator for ConstantOperator {
    fn name(&self) -> &str {
        "constant"
    }

    fn push(&mut self, _input: usize, _batch: ChangeBatch, _out: &mut Vec<ChangeBatch>) -> Result<()> {
        Ok(())
    }

    fn finish_epoch(&mut self, _cx: &EpochContext, out: &mut Vec<ChangeBatch>) -> Result<()> {
        out.extend(self.rows.take().map(ChangeBatch::inserts));
        Ok(())
    }
}
