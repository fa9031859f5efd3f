//! The state of one aggregate call for all groups of an operator.
//!
//! State is columnar: slot `s` of every accumulator belongs to the same group. `update` is
//! one typed loop over a batch; weights multiply, so the linear accumulators are right for
//! retractions by construction. `merge` adds the state of other slots (pre-aggregated
//! slices). `values` never changes state. A group whose value cannot be represented is
//! reported in `failures` instead of failing the operator.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Int64Type, Schema};

use super::bits::{BitRule, Bits};
use super::distinct::distinct;
use super::extremum::extremum;
use super::float_sum::FloatSum;
use super::moments::{FloatSpread, WholeSpread};
use super::ordered::Ordered;
use super::percentile::Percentile;
use super::sum::{ExactSum, Finish};
use super::{AggregateCall, AggregateFunction as F};
use crate::error::{HwError, Result};
use crate::state::Grow;
use crate::types::PgType;

/// Positions (in the slots asked for) whose value has no representation, and why.
pub type Failures = Vec<(usize, HwError)>;

/// What one call reads of a batch. `slots[row]` is the group of a row.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    pub slots: &'a [u32],
    /// The arguments; none for `count(*)`.
    pub arguments: &'a [&'a ArrayRef],
    /// The columns of the call's ORDER BY.
    pub order: &'a [&'a ArrayRef],
    pub weights: Option<&'a [i64]>,
    /// Rows that pass FILTER and, if the function skips NULL, whose arguments are not NULL;
    /// `None` if all do.
    pub selected: Option<&'a BooleanBuffer>,
}

impl Input<'_> {
    /// Calls `f(row, slot, weight)` for each selected row.
    #[inline(always)]
    pub fn each(&self, mut f: impl FnMut(usize, usize, i64)) {
        match (self.selected, self.weights) {
            (None, None) => self.slots.iter().enumerate().for_each(|(row, slot)| f(row, *slot as usize, 1)),
            (None, Some(weights)) => {
                let rows = self.slots.iter().zip(weights).enumerate();
                rows.for_each(|(row, (slot, weight))| f(row, *slot as usize, *weight));
            }
            (Some(selected), weights) => {
                for row in selected.set_indices() {
                    f(row, self.slots[row] as usize, weights.map_or(1, |w| w[row]));
                }
            }
        }
    }

    /// The first argument; calls that have none never ask.
    pub fn array(&self) -> Result<&ArrayRef> {
        self.arguments
            .first()
            .copied()
            .ok_or_else(|| HwError::internal("an aggregate call lacks its argument"))
    }
}

/// State of one call, one slot a group.
pub trait Accumulator: Send + Any {
    /// Makes slots `0..slots` exist; new ones hold the aggregate of nothing.
    fn resize(&mut self, slots: usize);
    fn update(&mut self, input: &Input<'_>) -> Result<()>;
    /// Adds slot `from` of `other`, an accumulator of the same call, to slot `to`, for each
    /// `(from, to)`.
    fn merge(&mut self, other: &dyn Accumulator, pairs: &[(u32, u32)]);
    /// The call's value in each of `slots`; NULL where it failed.
    fn values(&self, slots: &[u32], failures: &mut Failures) -> Result<ArrayRef>;
    /// Resets `slots` to the aggregate of nothing.
    fn clear(&mut self, slots: &[u32]);
    /// Estimated bytes of state.
    fn bytes(&self) -> usize;
    /// False when `merge` is not possible.
    fn mergeable(&self) -> bool {
        true
    }
}

/// `other` as the accumulator type of its partner.
pub fn same<T: Accumulator>(other: &dyn Accumulator) -> &T {
    let other: &dyn Any = other;
    other.downcast_ref().expect("slots of one call are merged with each other")
}

/// The accumulator of a call. `count(*)` without FILTER has none: it is the group's weight.
pub fn accumulator(
    call: &AggregateCall,
    input: &Schema,
    append_only: bool,
) -> Result<Option<Box<dyn Accumulator>>> {
    let output = call.output.data_type();
    let plain_numeric =
        call.arguments.first().is_some_and(|c| PgType::of(input.field(*c)) == PgType::Numeric(None));
    let plain: Box<dyn Accumulator> = match &call.function {
        F::CountStar if call.filter.is_none() => return Ok(None),
        F::CountStar | F::Count => Box::new(Count::default()),
        F::AddCounts => Box::new(Count { of_counts: true, ..Count::default() }),
        F::SumInt | F::SumBig => Box::new(ExactSum::<i128>::new(Finish::sum(output)?)),
        F::SumDecimal => Box::new(ExactSum::<arrow::datatypes::i256>::new(Finish::sum(output)?)),
        F::AvgInt => Box::new(ExactSum::<i128>::new(Finish::average(output, plain_numeric)?)),
        F::AvgDecimal => {
            Box::new(ExactSum::<arrow::datatypes::i256>::new(Finish::average(output, plain_numeric)?))
        }
        F::SumFloat => Box::new(FloatSum::new(output, false)),
        F::AvgFloat => Box::new(FloatSum::new(output, true)),
        F::Min | F::Max => return Ok(Some(extremum(call.function == F::Max, output, append_only)?)),
        F::BoolAnd => Box::new(BoolTest { states: Vec::new(), all: true }),
        F::BoolOr => Box::new(BoolTest { states: Vec::new(), all: false }),
        F::BitAnd => Box::new(Bits::new(BitRule::All, output)?),
        F::BitOr => Box::new(Bits::new(BitRule::Any, output)?),
        F::BitXor => Box::new(Bits::new(BitRule::Odd, output)?),
        F::Moments(statistic) => match call.arguments.first().map(|c| input.field(*c).data_type()) {
            Some(t) if t != &DataType::Float64 => {
                Box::new(WholeSpread::new(*statistic, t, plain_numeric, output)?)
            }
            _ => Box::new(FloatSpread::new(*statistic)),
        },
        F::Percentile(fraction) => Box::new(Percentile::new(*fraction)),
        F::FirstRow | F::LastRow => return Ok(Some(Ordered::edge(call, input, append_only)?)),
        F::Materialized(evaluate) => return Ok(Some(Ordered::all(call, input, evaluate)?)),
    };
    let needs_set = call.distinct && !matches!(call.function, F::BoolAnd | F::BoolOr | F::CountStar);
    let counts = call.function == F::Count;
    Ok(Some(match call.arguments.first() {
        Some(column) if needs_set => distinct(plain, counts, input.field(*column).data_type(), append_only),
        _ => plain,
    }))
}

/// `count(x)`, `count(*)` with a FILTER, or the sum of counts.
#[derive(Default)]
struct Count {
    counts: Vec<i64>,
    /// The argument is a count itself.
    of_counts: bool,
}

impl Accumulator for Count {
    fn resize(&mut self, slots: usize) {
        self.counts.grow(slots, 0);
    }

    fn update(&mut self, input: &Input<'_>) -> Result<()> {
        let counts = &mut self.counts;
        if !self.of_counts {
            input.each(|_, slot, weight| counts[slot] += weight);
            return Ok(());
        }
        let array = input.array()?;
        let values = array.as_primitive_opt::<Int64Type>().ok_or_else(|| wrong_type("count", array))?;
        input.each(|row, slot, weight| counts[slot] += weight * values.value(row));
        Ok(())
    }

    fn merge(&mut self, other: &dyn Accumulator, pairs: &[(u32, u32)]) {
        let other = same::<Count>(other);
        for (from, to) in pairs {
            self.counts[*to as usize] += other.counts[*from as usize];
        }
    }

    fn values(&self, slots: &[u32], _failures: &mut Failures) -> Result<ArrayRef> {
        Ok(Arc::new(Int64Array::from_iter_values(slots.iter().map(|s| self.counts[*s as usize]))))
    }

    fn clear(&mut self, slots: &[u32]) {
        slots.iter().for_each(|s| self.counts[*s as usize] = 0);
    }

    fn bytes(&self) -> usize {
        self.counts.capacity() * 8
    }
}

/// `bool_and` and `bool_or`, by counting both values.
struct BoolTest {
    /// Weights of false and of true.
    states: Vec<[i64; 2]>,
    all: bool,
}

impl Accumulator for BoolTest {
    fn resize(&mut self, slots: usize) {
        self.states.grow(slots, [0; 2]);
    }

    fn update(&mut self, input: &Input<'_>) -> Result<()> {
        let argument = input.array()?;
        let values = argument.as_boolean_opt().ok_or_else(|| wrong_type("bool_and", argument))?;
        let states = &mut self.states;
        input.each(|row, slot, weight| states[slot][values.value(row) as usize] += weight);
        Ok(())
    }

    fn merge(&mut self, other: &dyn Accumulator, pairs: &[(u32, u32)]) {
        let other = same::<BoolTest>(other);
        for (from, to) in pairs {
            let from = other.states[*from as usize];
            let to = &mut self.states[*to as usize];
            *to = [to[0] + from[0], to[1] + from[1]];
        }
    }

    fn values(&self, slots: &[u32], _failures: &mut Failures) -> Result<ArrayRef> {
        let value = |slot: &u32| {
            let [falses, trues] = self.states[*slot as usize];
            let any = falses != 0 || trues != 0;
            any.then_some(if self.all { falses == 0 } else { trues != 0 })
        };
        Ok(Arc::new(BooleanArray::from_iter(slots.iter().map(value))))
    }

    fn clear(&mut self, slots: &[u32]) {
        slots.iter().for_each(|s| self.states[*s as usize] = [0; 2]);
    }

    fn bytes(&self) -> usize {
        self.states.capacity() * 16
    }
}

/// XX000 for an argument that the planner should not have let through.
pub fn wrong_type(function: &str, argument: &ArrayRef) -> HwError {
    HwError::internal(format!("{function} cannot take {}", argument.data_type()))
}
