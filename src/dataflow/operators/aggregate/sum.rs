//! Exact `sum` and `avg` of integers and decimals.
//!
//! State is the exact sum and the number of values. A sum is a word of 64 bits and, for the few
//! groups that need it, a rest beside it that is wider than any input: 128 bits hold
//! 2^64 sums of bigint, 256 bits any sum of decimals. Range is checked only when a value is
//! shown, so the order of changes inside an epoch cannot overflow.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Decimal128Array, Int64Array};
use arrow::datatypes::{
    DataType, Decimal128Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt32Type, i256,
};

use hashbrown::HashMap;

use super::accumulator::{Accumulator, Failures, Input, same, wrong_type};
use crate::error::{HwError, Result, sqlstate};
use crate::state::Grow;
use crate::types::exact::quotient::average;
use crate::types::special::{Specials, is_special};

/// The rest of a sum: exact addition of weighted values.
pub trait Sum: Copy + Default + PartialEq + Send + 'static {
    fn add(&mut self, value: i128, weight: i64);
    fn join(&mut self, other: Self);
    fn wide(self) -> i256;
}

impl Sum for i128 {
    #[inline(always)]
    fn add(&mut self, value: i128, weight: i64) {
        *self = self.wrapping_add(value.wrapping_mul(weight as i128));
    }
    #[inline(always)]
    fn join(&mut self, other: Self) {
        *self = self.wrapping_add(other);
    }
    fn wide(self) -> i256 {
        i256::from_i128(self)
    }
}

impl Sum for i256 {
    #[inline(always)]
    fn add(&mut self, value: i128, weight: i64) {
        let term = match weight {
            1 => i256::from_i128(value),
            -1 => i256::from_i128(value).wrapping_neg(),
            w => i256::from_i128(value).wrapping_mul(i256::from_i128(w as i128)),
        };
        *self = self.wrapping_add(term);
    }
    #[inline(always)]
    fn join(&mut self, other: Self) {
        *self = self.wrapping_add(other);
    }
    fn wide(self) -> i256 {
        self
    }
}

/// How the exact sum becomes the call's value.
pub enum Finish {
    /// int8, 22003 beyond it.
    Int64,
    /// The sum itself as numeric(precision, scale).
    Decimal { precision: u8, scale: i8 },
    /// PostgreSQL's numeric quotient as numeric(precision, scale). `plain`: the argument's
    /// type declares no scale, so only the decimals that the sum has are significant.
    Average { precision: u8, scale: i8, plain: bool },
}

impl Finish {
    pub fn sum(output: &DataType) -> Result<Finish> {
        match output {
            DataType::Int64 => Ok(Finish::Int64),
            DataType::Decimal128(precision, scale) => {
                Ok(Finish::Decimal { precision: *precision, scale: *scale })
            }
            other => Err(HwError::internal(format!("sum cannot give {other}"))),
        }
    }

    pub fn average(output: &DataType, plain: bool) -> Result<Finish> {
        match output {
            DataType::Decimal128(precision, scale) if *scale >= 0 => {
                Ok(Finish::Average { precision: *precision, scale: *scale, plain })
            }
            other => Err(HwError::internal(format!("avg cannot give {other}"))),
        }
    }
}

#[derive(Clone, Copy, Default)]
struct State {
    /// The sum, but for the rest.
    low: i64,
    count: i64,
}

/// The states of all groups.
struct States<S> {
    states: Vec<State>,
    /// What did not fit, by slot; never 0.
    rests: HashMap<u32, S>,
    /// NaN and infinities, by slot; never of weight 0. The sum is of the finite values.
    specials: HashMap<u32, Specials>,
}

impl<S: Sum> States<S> {
    #[inline(always)]
    fn add(&mut self, slot: usize, value: i128, weight: i64) {
        let state = &mut self.states[slot];
        state.count += weight;
        let term = i64::try_from(value).ok().and_then(|v| v.checked_mul(weight));
        match term.and_then(|term| state.low.checked_add(term)) {
            Some(low) => state.low = low,
            None => self.add_wide(slot, value, weight),
        }
    }

    #[cold]
    fn add_wide(&mut self, slot: usize, value: i128, weight: i64) {
        if !is_special(value) {
            return self.add_rest(slot, |rest| rest.add(value, weight));
        }
        let mut one = Specials::default();
        one.add(value, weight);
        self.add_specials(slot as u32, one);
    }

    fn add_specials(&mut self, slot: u32, more: Specials) {
        let specials = self.specials.entry(slot).or_default();
        specials.join(more);
        if *specials == Specials::default() {
            self.specials.remove(&slot);
        }
    }

    /// The value of a sum, or of an average, that is not finite.
    fn special(&self, slot: u32) -> Option<i128> {
        if self.specials.is_empty() { None } else { self.specials.get(&slot)?.sum() }
    }

    #[cold]
    fn add_rest(&mut self, slot: usize, add: impl FnOnce(&mut S)) {
        let slot = slot as u32;
        let rest = self.rests.entry(slot).or_default();
        add(rest);
        if *rest == S::default() {
            self.rests.remove(&slot);
        }
    }

    fn join(&mut self, to: u32, other: &States<S>, from: u32) {
        let State { low, count } = other.states[from as usize];
        self.add(to as usize, low as i128, 1);
        self.states[to as usize].count += count - 1;
        if let Some(rest) = other.rests.get(&from) {
            self.add_rest(to as usize, |to| to.join(*rest));
        }
        if let Some(specials) = other.specials.get(&from) {
            self.add_specials(to, *specials);
        }
    }

    fn count(&self, slot: u32) -> i64 {
        self.states[slot as usize].count
    }

    fn sum(&self, slot: u32) -> i256 {
        let low = i256::from_i128(self.states[slot as usize].low as i128);
        match self.rests.is_empty() {
            true => low,
            false => self.rests.get(&slot).map_or(low, |rest| low.wrapping_add(rest.wide())),
        }
    }
}

/// Exact sums with counts of the values, for `sum` and `avg`.
pub struct ExactSum<S> {
    states: States<S>,
    finish: Finish,
    /// Decimals of the argument, known from the first batch.
    scale: i8,
}

impl<S: Sum> ExactSum<S> {
    pub fn new(finish: Finish) -> Self {
        let states = States { states: Vec::new(), rests: HashMap::new(), specials: HashMap::new() };
        ExactSum { states, finish, scale: 0 }
    }

    fn decimals<'a>(
        &'a self,
        slots: &'a [u32],
        value: impl Fn(i256, i64) -> Option<i128> + 'a,
        failures: &'a mut Failures,
    ) -> impl Iterator<Item = Option<i128>> + 'a {
        slots.iter().enumerate().map(move |(position, slot)| {
            let count = self.states.count(*slot);
            if count == 0 {
                return None;
            }
            if let Some(special) = self.states.special(*slot) {
                return Some(special);
            }
            let value = value(self.states.sum(*slot), count);
            if value.is_none() {
                let report = HwError::new(sqlstate::NUMERIC_VALUE_OUT_OF_RANGE, "numeric field overflow");
                failures.push((position, report));
            }
            value
        })
    }

    fn big_ints(&self, slots: &[u32], failures: &mut Failures) -> ArrayRef {
        let value = |(position, slot): (usize, &u32)| {
            if self.states.count(*slot) == 0 {
                return None;
            }
            let value = self.states.sum(*slot).to_i128().and_then(|v| i64::try_from(v).ok());
            if value.is_none() {
                let report = HwError::new(sqlstate::NUMERIC_VALUE_OUT_OF_RANGE, "bigint out of range");
                failures.push((position, report));
            }
            value
        };
        Arc::new(Int64Array::from_iter(slots.iter().enumerate().map(value)))
    }
}

macro_rules! add_ints {
    ($input:expr, $states:expr, $array:expr, $type:ty) => {{
        let values = $array.as_primitive::<$type>().values();
        $input.each(|row, slot, weight| $states.add(slot, values[row] as i128, weight))
    }};
}

impl<S: Sum> Accumulator for ExactSum<S> {
    fn resize(&mut self, slots: usize) {
        self.states.states.grow(slots, State::default());
    }

    fn update(&mut self, input: &Input<'_>) -> Result<()> {
        let array = input.array()?;
        let states = &mut self.states;
        match array.data_type() {
            DataType::Int8 => add_ints!(input, states, array, Int8Type),
            DataType::Int16 => add_ints!(input, states, array, Int16Type),
            DataType::Int32 => add_ints!(input, states, array, Int32Type),
            DataType::Int64 => add_ints!(input, states, array, Int64Type),
            DataType::UInt32 => add_ints!(input, states, array, UInt32Type),
            DataType::Decimal128(_, scale) => {
                self.scale = *scale;
                add_ints!(input, states, array, Decimal128Type)
            }
            _ => return Err(wrong_type("sum", array)),
        }
        Ok(())
    }

    fn merge(&mut self, other: &dyn Accumulator, pairs: &[(u32, u32)]) {
        let other = same::<Self>(other);
        self.scale = self.scale.max(other.scale);
        for (from, to) in pairs {
            self.states.join(*to, &other.states, *from);
        }
    }

    fn values(&self, slots: &[u32], failures: &mut Failures) -> Result<ArrayRef> {
        let scale = self.scale;
        let (values, precision, output_scale): (Decimal128Array, u8, i8) = match self.finish {
            Finish::Int64 => return Ok(self.big_ints(slots, failures)),
            Finish::Decimal { precision, scale: output_scale } => {
                let limit = 10u128.pow(precision.min(38) as u32);
                let value = |sum: i256, _count: i64| {
                    let sum = rescale(sum, scale, output_scale)?;
                    (sum.unsigned_abs() < limit).then_some(sum)
                };
                (self.decimals(slots, value, failures).collect(), precision, output_scale)
            }
            Finish::Average { precision, scale: output_scale, plain } => {
                let value = |sum: i256, count: i64| {
                    let scale = scale.max(0) as u32;
                    let shown = if plain { significant_decimals(sum, scale) } else { scale };
                    average(sum, scale, shown, count as i128, output_scale as u32)
                };
                (self.decimals(slots, value, failures).collect(), precision, output_scale)
            }
        };
        Ok(Arc::new(values.with_precision_and_scale(precision, output_scale)?))
    }

    fn clear(&mut self, slots: &[u32]) {
        slots.iter().for_each(|s| self.states.states[*s as usize] = State::default());
        if !self.states.rests.is_empty() || !self.states.specials.is_empty() {
            for slot in slots {
                self.states.rests.remove(slot);
                self.states.specials.remove(slot);
            }
        }
    }

    fn bytes(&self) -> usize {
        let rest = size_of::<(u32, S)>() + 1;
        let specials = size_of::<(u32, Specials)>() + 1;
        self.states.states.capacity() * size_of::<State>()
            + self.states.rests.capacity() * rest
            + self.states.specials.capacity() * specials
    }
}

/// `value` of scale `from` at the larger scale `to`.
fn rescale(value: i256, from: i8, to: i8) -> Option<i128> {
    if from == to {
        return value.to_i128();
    }
    let factor = i256::from_i128(10).checked_pow((to - from).unsigned_abs() as u32)?;
    if to > from { value.checked_mul(factor)?.to_i128() } else { value.checked_div(factor)?.to_i128() }
}

/// Decimals of `value / 10^scale` without trailing zeros.
fn significant_decimals(value: i256, scale: u32) -> u32 {
    let Some(mut value) = value.to_i128() else { return scale };
    let mut decimals = scale;
    while decimals > 0 && value % 10 == 0 {
        value /= 10;
        decimals -= 1;
    }
    decimals
}
