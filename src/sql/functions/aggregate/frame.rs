//! `sum` and `avg` of floats over a frame that moves.
//!
//! A float that was added cannot be taken out again exactly, and an infinity not at all. So
//! the frame's values are kept, and added up in order for each row, as PostgreSQL does.

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
        let float = self.values.iter().sum();
        Ok(self.shape.value(Sums { whole: 0, float }, self.values.len() as i64)?)
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
