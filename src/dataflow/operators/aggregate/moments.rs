//! Variances, covariances and regressions of groups: sums of squares and products, exact
//! and retractable ([`crate::types::exact::moments`]).

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Decimal128Array, Float64Array, Int64Array};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int16Type, Int32Type, Int64Type};

use super::accumulator::{Accumulator, Failures, Input, same, wrong_type};
use crate::error::{HwError, Result};
use crate::state::Grow;
use crate::types::exact::moments::{FloatMoments, Statistic, WholeMoments};

/// A variance or deviation of whole numbers or numerics.
pub struct WholeSpread {
    states: Vec<WholeMoments>,
    statistic: Statistic,
    scale: u32,
    /// The argument's type declares no scale.
    plain: bool,
    output: (u8, i8),
}

impl WholeSpread {
    pub fn new(
        statistic: Statistic,
        argument: &DataType,
        plain: bool,
        output: &DataType,
    ) -> Result<WholeSpread> {
        let scale = match argument {
            DataType::Decimal128(_, scale) => *scale as u32,
            _ => 0,
        };
        let DataType::Decimal128(precision, output_scale) = output else {
            return Err(HwError::internal(format!("{} cannot give {output}", statistic.name())));
        };
        let output = (*precision, *output_scale);
        Ok(WholeSpread { states: Vec::new(), statistic, scale, plain, output })
    }
}

impl Accumulator for WholeSpread {
    fn resize(&mut self, slots: usize) {
        self.states.grow(slots, WholeMoments::default());
    }

    fn update(&mut self, input: &Input<'_>) -> Result<()> {
        let array = input.array()?;
        let states = &mut self.states;
        macro_rules! add {
            ($type:ty) => {{
                let values = array.as_primitive::<$type>().values();
                input.each(|row, slot, weight| states[slot].add(values[row] as i128, weight))
            }};
        }
        match array.data_type() {
            DataType::Int16 => add!(Int16Type),
            DataType::Int32 => add!(Int32Type),
            DataType::Int64 => add!(Int64Type),
            DataType::Decimal128(..) => add!(Decimal128Type),
            _ => return Err(wrong_type("variance", array)),
        }
        Ok(())
    }

    fn merge(&mut self, other: &dyn Accumulator, pairs: &[(u32, u32)]) {
        let other = same::<WholeSpread>(other);
        pairs.iter().for_each(|(from, to)| self.states[*to as usize].join(&other.states[*from as usize]));
    }

    fn values(&self, slots: &[u32], failures: &mut Failures) -> Result<ArrayRef> {
        let (precision, scale) = self.output;
        let value = |(position, slot): (usize, &u32)| {
            let state = &self.states[*slot as usize];
            state.value(self.statistic, self.scale, self.plain, scale as u32).unwrap_or_else(|report| {
                failures.push((position, report));
                None
            })
        };
        let values: Decimal128Array = slots.iter().enumerate().map(value).collect();
        Ok(Arc::new(values.with_precision_and_scale(precision, scale)?))
    }

    fn clear(&mut self, slots: &[u32]) {
        slots.iter().for_each(|s| self.states[*s as usize] = WholeMoments::default());
    }

    fn bytes(&self) -> usize {
        self.states.capacity() * size_of::<WholeMoments>()
    }
}

/// A statistic of doubles, or of pairs of them.
pub struct FloatSpread {
    states: Vec<FloatMoments>,
    statistic: Statistic,
}

impl FloatSpread {
    pub fn new(statistic: Statistic) -> FloatSpread {
        FloatSpread { states: Vec::new(), statistic }
    }
}

impl Accumulator for FloatSpread {
    fn resize(&mut self, slots: usize) {
        self.states.grow(slots, FloatMoments::default());
    }

    fn update(&mut self, input: &Input<'_>) -> Result<()> {
        let doubles = |array: &ArrayRef| match array.as_primitive_opt::<Float64Type>() {
            Some(values) => Ok(values.values().clone()),
            None => Err(wrong_type("variance", array)),
        };
        let states = &mut self.states;
        let first = doubles(input.array()?)?;
        match input.arguments.get(1) {
            None => input.each(|row, slot, weight| states[slot].add(first[row], weight)),
            Some(second) => {
                let second = doubles(second)?;
                input.each(|row, slot, weight| states[slot].add_pair(first[row], second[row], weight));
            }
        }
        Ok(())
    }

    fn merge(&mut self, other: &dyn Accumulator, pairs: &[(u32, u32)]) {
        let other = same::<FloatSpread>(other);
        pairs.iter().for_each(|(from, to)| self.states[*to as usize].join(&other.states[*from as usize]));
    }

    fn values(&self, slots: &[u32], failures: &mut Failures) -> Result<ArrayRef> {
        let value = |(position, slot): (usize, &u32)| {
            self.states[*slot as usize].value(self.statistic).unwrap_or_else(|report| {
                failures.push((position, report));
                None
            })
        };
        let values = slots.iter().enumerate().map(value);
        if self.statistic == Statistic::RegrCount {
            return Ok(Arc::new(Int64Array::from_iter_values(values.map(|v| v.unwrap_or(0.0) as i64))));
        }
        Ok(Arc::new(Float64Array::from_iter(values)))
    }

    fn clear(&mut self, slots: &[u32]) {
        slots.iter().for_each(|s| self.states[*s as usize] = FloatMoments::default());
    }

    fn bytes(&self) -> usize {
        // Sums of values of similar size hold about four limbs, of squares about six.
        self.states.capacity() * size_of::<FloatMoments>() + self.states.len() * 80
    }
}
