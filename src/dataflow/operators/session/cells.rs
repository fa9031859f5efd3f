//! The accumulators of all calls, by slot, with the weights that count their rows.
//!
//! `count(*)` has no accumulator: it is the weight. If the input only grows, accumulators keep
//! extremes as single values. Every slot can be added to another.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array};
use arrow::datatypes::SchemaRef;

use super::super::aggregate::accumulator::{Accumulator, Failures, accumulator};
use super::super::aggregate::groups::feed;
use crate::error::{HwError, Result};
use crate::plan::AggregateCall;
use crate::state::Grow;
use crate::types::ChangeBatch;

/// Scratch space for more slots than this is given back after use.
const SLOTS_KEPT_MAX: usize = 65_536;

pub struct Cells {
    input: SchemaRef,
    calls: Vec<AggregateCall>,
    append_only: bool,
    accumulators: Vec<Option<Box<dyn Accumulator>>>,
    weights: Vec<i64>,
}

impl Cells {
    pub fn new(calls: &[AggregateCall], input: &SchemaRef, append_only: bool) -> Result<Cells> {
        let accumulators: Vec<_> =
            calls.iter().map(|c| accumulator(c, input, append_only)).collect::<Result<_>>()?;
        if !accumulators.iter().flatten().all(|a| a.mergeable()) {
            return Err(HwError::internal("an aggregate over sessions cannot be merged"));
        }
        let (input, calls) = (Arc::clone(input), calls.to_vec());
        Ok(Cells { input, calls, append_only, accumulators, weights: Vec::new() })
    }

    /// Makes slots `0..slots` exist.
    pub fn resize(&mut self, slots: usize) {
        if slots > self.weights.len() {
            self.weights.grow(slots, 0);
            self.accumulators.iter_mut().flatten().for_each(|a| a.resize(slots));
        }
    }

    /// Adds the rows of a batch to `slots`, by row.
    pub fn update(&mut self, batch: &ChangeBatch, slots: &[u32]) -> Result<()> {
        match batch.weights.as_slice() {
            None => slots.iter().for_each(|s| self.weights[*s as usize] += 1),
            Some(weights) => slots.iter().zip(weights).for_each(|(s, w)| self.weights[*s as usize] += w),
        }
        feed(&self.calls, &mut self.accumulators, batch, slots)
    }

    /// Adds slots of `other` to slots of this, for each `(from, to)`.
    pub fn merge(&mut self, other: &Cells, pairs: &[(u32, u32)]) {
        if pairs.is_empty() {
            return;
        }
        pairs.iter().for_each(|(from, to)| self.weights[*to as usize] += other.weights[*from as usize]);
        for (to, from) in self.accumulators.iter_mut().zip(&other.accumulators) {
            if let (Some(to), Some(from)) = (to, from) {
                to.merge(from.as_ref(), pairs);
            }
        }
    }

    /// Sum of the weights of a slot's rows.
    pub fn weight(&self, slot: u32) -> i64 {
        self.weights[slot as usize]
    }

    /// One column a call; positions whose value has no representation are in `failures`.
    pub fn values(&self, slots: &[u32], failures: &mut Failures) -> Result<Vec<ArrayRef>> {
        let value = |accumulator: &Option<Box<dyn Accumulator>>| match accumulator {
            Some(accumulator) => accumulator.values(slots, failures),
            None => {
                let weights = slots.iter().map(|s| self.weights[*s as usize]);
                Ok(Arc::new(Int64Array::from_iter_values(weights)) as Arc<dyn Array>)
            }
        };
        self.accumulators.iter().map(value).collect()
    }

    /// Resets slots to the aggregate of nothing.
    pub fn clear(&mut self, slots: &[u32]) {
        slots.iter().for_each(|s| self.weights[*s as usize] = 0);
        self.accumulators.iter_mut().flatten().for_each(|a| a.clear(slots));
    }

    /// Gives back the space of many slots; all of them are lost.
    pub fn shrink(&mut self) -> Result<()> {
        if self.weights.len() > SLOTS_KEPT_MAX {
            *self = Cells::new(&self.calls, &self.input, self.append_only)?;
        }
        Ok(())
    }

    pub fn bytes(&self) -> usize {
        let accumulators: usize = self.accumulators.iter().flatten().map(|a| a.bytes()).sum();
        accumulators + self.weights.capacity() * size_of::<i64>()
    }
}
