//! `sum` and `avg` of floats over a frame that moves.
//!
//! The frame's values are kept, and added up exactly for each row.

use std::collections::VecDeque;
use std::mem::size_of;

use arrow::array::ArrayRef;
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::Accumulator;

use super::{Shape, Sums, for_each};
use crate::error::HwError;

/// The values of the current frame. They leave in the order in which they came.
#[derive(Debug)]
pub(super) struct FloatFrame {
    shape: Shape,
    values: VecDeque<f64>,
}

impl FloatFrame {
    pub(super) fn new(shape: Shape) -> FloatFrame {
        FloatFrame { shape, values: VecDeque::new() }
    }
}

impl Accumulator for FloatFrame {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        for_each(&values[0], |_, v| self.values.push_back(v.float));
        Ok(())
    }
    fn retract_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        for_each(&values[0], |_, _| {
            self.values.pop_front();
        });
        Ok(())
    }
    fn supports_retract_batch(&self) -> bool {
        true
    }
    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let mut total = Sums::default();
        self.values.iter().for_each(|v| total.float.add(*v, 1));
        Ok(self.shape.value(&total, self.values.len() as i64)?)
    }
    fn size(&self) -> usize {
        size_of::<Self>() + self.values.capacity() * size_of::<f64>()
    }
    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Err(HwError::internal("a frame has no partial state").into())
    }
    fn merge_batch(&mut self, _: &[ArrayRef]) -> DfResult<()> {
        Err(HwError::internal("a frame has no partial state").into())
    }
}
