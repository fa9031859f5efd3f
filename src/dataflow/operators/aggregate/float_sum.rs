//! `sum` and `avg` of real and double precision, exact and retractable
//! ([`crate::types::exact::total`]).

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float32Array, Float64Array};
use arrow::datatypes::{DataType, Float32Type, Float64Type};

use super::accumulator::{Accumulator, Failures, Input, same, wrong_type};
use crate::error::Result;
use crate::state::Grow;
use crate::types::exact::total::FloatTotal;

/// Sums or averages of floats.
pub struct FloatSum {
    states: Vec<FloatTotal>,
    average: bool,
    single: bool,
}

impl FloatSum {
    pub fn new(output: &DataType, average: bool) -> FloatSum {
        FloatSum { states: Vec::new(), average, single: output == &DataType::Float32 }
    }
}

impl Accumulator for FloatSum {
    fn resize(&mut self, slots: usize) {
        self.states.grow(slots, FloatTotal::default());
    }

    fn update(&mut self, input: &Input<'_>) -> Result<()> {
        let array = input.array()?;
        let states = &mut self.states;
        match array.data_type() {
            DataType::Float64 => {
                let values = array.as_primitive::<Float64Type>().values();
                input.each(|row, slot, weight| states[slot].add(values[row], weight));
            }
            DataType::Float32 => {
                let values = array.as_primitive::<Float32Type>().values();
                input.each(|row, slot, weight| states[slot].add(values[row] as f64, weight));
            }
            _ => return Err(wrong_type("sum", array)),
        }
        Ok(())
    }

    fn merge(&mut self, other: &dyn Accumulator, pairs: &[(u32, u32)]) {
        let other = same::<FloatSum>(other);
        for (from, to) in pairs {
            self.states[*to as usize].join(&other.states[*from as usize]);
        }
    }

    fn values(&self, slots: &[u32], failures: &mut Failures) -> Result<ArrayRef> {
        let value = |(position, slot): (usize, &u32)| {
            self.states[*slot as usize].value(self.average, self.single).unwrap_or_else(|report| {
                failures.push((position, report));
                None
            })
        };
        let values = slots.iter().enumerate().map(value);
        if self.single {
            return Ok(Arc::new(Float32Array::from_iter(values.map(|v| v.map(|v| v as f32)))));
        }
        Ok(Arc::new(Float64Array::from_iter(values)))
    }

    fn clear(&mut self, slots: &[u32]) {
        slots.iter().for_each(|s| self.states[*s as usize] = FloatTotal::default());
    }

    fn bytes(&self) -> usize {
        // Sums of values of similar size hold about four limbs.
        self.states.capacity() * size_of::<FloatTotal>() + self.states.len() * 32
    }
}
