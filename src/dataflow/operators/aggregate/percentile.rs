//! Approximate percentiles of groups, by a sketch that takes retractions
//! ([`crate::types::exact::sketch`]).

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array};
use arrow::datatypes::Float64Type;

use super::accumulator::{Accumulator, Failures, Input, same, wrong_type};
use crate::error::Result;
use crate::state::Grow;
use crate::types::exact::sketch::Sketch;

/// One percentile of each group.
pub struct Percentile {
    states: Vec<Sketch>,
    fraction: f64,
}

impl Percentile {
    pub fn new(fraction: f64) -> Percentile {
        Percentile { states: Vec::new(), fraction }
    }
}

impl Accumulator for Percentile {
    fn resize(&mut self, slots: usize) {
        self.states.grow(slots, Sketch::default());
    }

    fn update(&mut self, input: &Input<'_>) -> Result<()> {
        let array = input.array()?;
        let values =
            array.as_primitive_opt::<Float64Type>().ok_or_else(|| wrong_type("percentile", array))?;
        let states = &mut self.states;
        input.each(|row, slot, weight| states[slot].add(values.value(row), weight));
        Ok(())
    }

    fn merge(&mut self, other: &dyn Accumulator, pairs: &[(u32, u32)]) {
        let other = same::<Percentile>(other);
        pairs.iter().for_each(|(from, to)| self.states[*to as usize].join(&other.states[*from as usize]));
    }

    fn values(&self, slots: &[u32], _failures: &mut Failures) -> Result<ArrayRef> {
        let values = slots.iter().map(|s| self.states[*s as usize].percentile(self.fraction));
        Ok(Arc::new(Float64Array::from_iter(values)))
    }

    fn clear(&mut self, slots: &[u32]) {
        slots.iter().for_each(|s| self.states[*s as usize] = Sketch::default());
    }

    fn bytes(&self) -> usize {
        self.states.iter().map(|s| size_of::<Sketch>() + s.heap_bytes()).sum()
    }
}
