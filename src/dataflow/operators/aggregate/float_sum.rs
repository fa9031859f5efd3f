//! `sum` and `avg` of real and double precision, exact and retractable.
//!
//! Finite values go to an exact sum; NaN and the infinities are counted, so deleting the
//! only NaN brings the finite sum back. A finite sum beyond the range of the type is 22003,
//! as in PostgreSQL.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float32Array, Float64Array};
use arrow::datatypes::{DataType, Float32Type, Float64Type};

use super::accumulator::{Accumulator, Failures, Input, same, wrong_type};
use super::exact_float::ExactFloat;
use crate::error::{HwError, Result, sqlstate};

#[derive(Clone, Default)]
struct State {
    sum: ExactFloat,
    count: i64,
    /// Weights of NaN, +∞ and −∞, once one of them was seen.
    special: Option<Box<[i64; 3]>>,
}

impl State {
    #[inline(always)]
    fn add(&mut self, value: f64, weight: i64) {
        self.count += weight;
        if value.is_finite() {
            self.sum.add(value, weight);
        } else {
            let kind = if value.is_nan() { 0 } else { 1 + (value < 0.0) as usize };
            self.special.get_or_insert_default()[kind] += weight;
        }
    }

    fn join(&mut self, other: &State) {
        self.count += other.count;
        self.sum.join(&other.sum);
        if let Some(other) = &other.special {
            let special = self.special.get_or_insert_default();
            special.iter_mut().zip(other.iter()).for_each(|(a, b)| *a += b);
        }
    }

    /// The sum, and whether it is made of finite values.
    fn total(&self) -> (f64, bool) {
        match self.special.as_deref() {
            Some([nan, plus, minus]) if *nan != 0 || (*plus != 0 && *minus != 0) => (f64::NAN, false),
            Some([_, plus, _]) if *plus != 0 => (f64::INFINITY, false),
            Some([_, _, minus]) if *minus != 0 => (f64::NEG_INFINITY, false),
            _ => (self.sum.value(), true),
        }
    }
}

/// Sums or averages of floats.
pub struct FloatSum {
    states: Vec<State>,
    average: bool,
    single: bool,
}

impl FloatSum {
    pub fn new(output: &DataType, average: bool) -> FloatSum {
        FloatSum { states: Vec::new(), average, single: output == &DataType::Float32 }
    }

    fn value(&self, state: &State) -> Result<Option<f64>> {
        if state.count == 0 {
            return Ok(None);
        }
        let (total, finite) = state.total();
        let value = if self.average { total / state.count as f64 } else { total };
        let shown = if self.single { value as f32 as f64 } else { value };
        if finite && shown.is_infinite() {
            return Err(HwError::new(sqlstate::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: overflow"));
        }
        Ok(Some(shown))
    }
}

impl Accumulator for FloatSum {
    fn resize(&mut self, slots: usize) {
        self.states.resize(slots, State::default());
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
            self.value(&self.states[*slot as usize]).unwrap_or_else(|report| {
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
        slots.iter().for_each(|s| self.states[*s as usize] = State::default());
    }

    fn bytes(&self) -> usize {
        // Sums of values of similar size hold about four limbs.
        self.states.capacity() * size_of::<State>() + self.states.len() * 32
    }
}
