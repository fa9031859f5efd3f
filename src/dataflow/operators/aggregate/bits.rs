//! `bit_and`, `bit_or` and `bit_xor`: for each bit, how many values have it.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int16Array, Int32Array, Int64Array};
use arrow::datatypes::{DataType, Int16Type, Int32Type, Int64Type};

use super::accumulator::{Accumulator, Failures, Input, same, wrong_type};
use crate::error::{HwError, Result};
use crate::state::Grow;

/// Which bits of the result are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitRule {
    All,
    Any,
    Odd,
}

/// Bit aggregates of groups; a group's state is its number of values and one count a bit.
pub struct Bits {
    states: Vec<i64>,
    width: usize,
    rule: BitRule,
}

impl Bits {
    pub fn new(rule: BitRule, data_type: &DataType) -> Result<Bits> {
        let width = match data_type {
            DataType::Int16 => 16,
            DataType::Int32 => 32,
            DataType::Int64 => 64,
            other => return Err(HwError::internal(format!("bit aggregates cannot take {other}"))),
        };
        Ok(Bits { states: Vec::new(), width, rule })
    }

    fn range(&self, slot: u32) -> std::ops::Range<usize> {
        let stride = self.width + 1;
        slot as usize * stride..(slot as usize + 1) * stride
    }

    fn value(&self, slot: u32) -> Option<i64> {
        let state = &self.states[self.range(slot)];
        let (total, counts) = (state[0], &state[1..]);
        if total == 0 {
            return None;
        }
        let is_set = |count: i64| match self.rule {
            BitRule::All => count == total,
            BitRule::Any => count != 0,
            BitRule::Odd => count % 2 != 0,
        };
        let bits = counts.iter().enumerate().filter(|(_, c)| is_set(**c));
        Some(bits.fold(0, |value, (bit, _)| value | 1 << bit))
    }
}

impl Accumulator for Bits {
    fn resize(&mut self, slots: usize) {
        self.states.grow(slots * (self.width + 1), 0);
    }

    fn update(&mut self, input: &Input<'_>) -> Result<()> {
        let array = input.array()?;
        let (states, width) = (&mut self.states, self.width);
        macro_rules! add {
            ($type:ty, $unsigned:ty) => {{
                let values = array.as_primitive::<$type>().values();
                input.each(|row, slot, weight| {
                    let state = &mut states[slot * (width + 1)..];
                    state[0] += weight;
                    let mut bits = values[row] as $unsigned;
                    while bits != 0 {
                        state[1 + bits.trailing_zeros() as usize] += weight;
                        bits &= bits - 1;
                    }
                })
            }};
        }
        match array.data_type() {
            DataType::Int16 => add!(Int16Type, u16),
            DataType::Int32 => add!(Int32Type, u32),
            DataType::Int64 => add!(Int64Type, u64),
            _ => return Err(wrong_type("bit aggregates", array)),
        }
        Ok(())
    }

    fn merge(&mut self, other: &dyn Accumulator, pairs: &[(u32, u32)]) {
        let other = same::<Bits>(other);
        for (from, to) in pairs {
            let (from, to) = (other.range(*from), self.range(*to));
            self.states[to].iter_mut().zip(&other.states[from]).for_each(|(a, b)| *a += b);
        }
    }

    fn values(&self, slots: &[u32], _failures: &mut Failures) -> Result<ArrayRef> {
        let values = slots.iter().map(|s| self.value(*s));
        Ok(match self.width {
            16 => Arc::new(Int16Array::from_iter(values.map(|v| v.map(|v| v as i16)))),
            32 => Arc::new(Int32Array::from_iter(values.map(|v| v.map(|v| v as i32)))),
            _ => Arc::new(Int64Array::from_iter(values)),
        })
    }

    fn clear(&mut self, slots: &[u32]) {
        for slot in slots {
            let range = self.range(*slot);
            self.states[range].fill(0);
        }
    }

    fn bytes(&self) -> usize {
        self.states.capacity() * 8
    }
}
