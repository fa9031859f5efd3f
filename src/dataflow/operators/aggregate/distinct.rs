//! DISTINCT inside an aggregate: the values of each group, once.
//!
//! A value reaches the inner accumulator with +1 when its weight becomes positive and with
//! −1 when it stops being so; all else only changes the weights. Values of up to 64 bits are
//! kept as they are (`few`), others by fingerprint; over append-only input a value that is there
//! stays, so no weights are kept. Groups can be added up where the inner accumulator just counts,
//! and where values come back from what is kept of them: whole numbers, floats, numerics.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Decimal128Array, Int64Array};
use arrow::datatypes::{DataType, Decimal128Type};
use hashbrown::hash_map::Entry;
use hashbrown::{HashMap, HashSet};

use self::few::Few;
use super::accumulator::{Accumulator, Failures, Input, same};
use crate::error::Result;
use crate::state::Chunks;
use crate::types::hash::{PrintHasher, fingerprints, value_words, values_of_words};

mod few;

/// The accumulator that lets each value of a group through once. `counts`: `inner` counts what it
/// gets and reads no values.
pub fn distinct(
    inner: Box<dyn Accumulator>,
    counts: bool,
    values: &DataType,
    append_only: bool,
) -> Box<dyn Accumulator> {
    if let DataType::Decimal128(..) = values {
        return match append_only {
            true => Box::new(Distinct::<Seen<Digits>>::new(inner, counts, values)),
            false => Box::new(Distinct::<Weighed<Digits>>::new(inner, counts, values)),
        };
    }
    let is_word = value_words(&arrow::array::new_empty_array(values)).is_some();
    match (is_word, append_only) {
        (true, true) => Box::new(Distinct::<Few<()>>::new(inner, counts, values)),
        (true, false) => Box::new(Distinct::<Few<i8>>::new(inner, counts, values)),
        (false, true) => Box::new(Distinct::<Seen<u128>>::new(inner, counts, values)),
        (false, false) => Box::new(Distinct::<Weighed<u128>>::new(inner, counts, values)),
    }
}

/// What stands for a value.
trait Print: Copy + Eq + Hash + Send + 'static {
    fn of(column: &ArrayRef) -> Vec<Self>;
    /// The values that they stand for, if they tell.
    fn values(prints: &[Self], of: &DataType) -> Option<ArrayRef>;
}

impl Print for u64 {
    fn of(column: &ArrayRef) -> Vec<u64> {
        value_words(column).unwrap_or_default()
    }

    fn values(prints: &[u64], of: &DataType) -> Option<ArrayRef> {
        values_of_words(prints, of)
    }
}

impl Print for u128 {
    fn of(column: &ArrayRef) -> Vec<u128> {
        fingerprints(std::slice::from_ref(column), column.len())
    }

    fn values(_prints: &[u128], _of: &DataType) -> Option<ArrayRef> {
        None
    }
}

/// The digits of a numeric; all of a call have one scale.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Digits(i128);

impl Hash for Digits {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mixed =
            (self.0 as u64 ^ ((self.0 >> 64) as u64).rotate_left(31)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        state.write_u64(mixed ^ (mixed >> 32));
    }
}

impl Print for Digits {
    fn of(column: &ArrayRef) -> Vec<Digits> {
        column.as_primitive::<Decimal128Type>().values().iter().map(|v| Digits(*v)).collect()
    }

    fn values(prints: &[Digits], of: &DataType) -> Option<ArrayRef> {
        let digits = Decimal128Array::from_iter_values(prints.iter().map(|p| p.0));
        Some(Arc::new(digits.with_data_type(of.clone())))
    }
}

/// The values of one group.
trait Values: Default + Send + 'static {
    type Print: Print;
    /// +1 if the value is there now and was not, −1 if it was and is not.
    fn add(&mut self, print: Self::Print, weight: i64) -> i64;
    /// Bytes held outside of the value itself.
    fn heap_bytes(&self) -> usize;
    /// How many values have a positive weight, if that is known without looking at many.
    fn count(&self) -> Option<i64> {
        None
    }
    /// Calls `f` with each value and its weight.
    fn each(&self, f: impl FnMut(Self::Print, i64));
}

struct Seen<P>(HashSet<P, PrintHasher>);

impl<P> Default for Seen<P> {
    fn default() -> Self {
        Seen(HashSet::default())
    }
}

impl<P: Print> Values for Seen<P> {
    type Print = P;
    #[inline(always)]
    fn add(&mut self, print: P, weight: i64) -> i64 {
        debug_assert!(weight > 0, "append-only input has positive weights");
        self.0.insert(print) as i64
    }

    fn heap_bytes(&self) -> usize {
        self.0.allocation_size()
    }

    fn count(&self) -> Option<i64> {
        Some(self.0.len() as i64)
    }

    fn each(&self, mut f: impl FnMut(P, i64)) {
        self.0.iter().for_each(|print| f(*print, 1));
    }
}

/// The weight of each value, never 0.
struct Weighed<P>(HashMap<P, i64, PrintHasher>);

impl<P> Default for Weighed<P> {
    fn default() -> Self {
        Weighed(HashMap::default())
    }
}

impl<P: Print> Values for Weighed<P> {
    type Print = P;
    #[inline(always)]
    fn add(&mut self, print: P, weight: i64) -> i64 {
        if weight == 0 {
            return 0;
        }
        let (before, after) = match self.0.entry(print) {
            Entry::Occupied(mut known) => {
                let before = *known.get();
                *known.get_mut() += weight;
                if before + weight == 0 {
                    known.remove();
                }
                (before, before + weight)
            }
            Entry::Vacant(new) => {
                new.insert(weight);
                (0, weight)
            }
        };
        (after > 0) as i64 - (before > 0) as i64
    }

    fn heap_bytes(&self) -> usize {
        self.0.allocation_size()
    }

    fn each(&self, mut f: impl FnMut(P, i64)) {
        self.0.iter().for_each(|(print, weight)| f(*print, *weight));
    }
}

/// Lets each value of a group through once.
struct Distinct<V> {
    inner: Box<dyn Accumulator>,
    /// The inner accumulator reads no values.
    counts: bool,
    /// Type of the values.
    of: DataType,
    groups: Chunks<V>,
    /// Bytes of the tables of all groups.
    bytes: usize,
    /// Weight each row of a batch has for the inner accumulator.
    effective: Vec<i64>,
}

impl<V: Values> Distinct<V> {
    fn new(inner: Box<dyn Accumulator>, counts: bool, of: &DataType) -> Distinct<V> {
        Distinct { inner, counts, of: of.clone(), groups: Chunks::default(), bytes: 0, effective: Vec::new() }
    }
}

impl<V: Values> Distinct<V> {
    /// The call counts the values, which are there to be counted: nothing is kept beside them.
    fn counts_itself(&self) -> bool {
        self.counts && V::default().count().is_some()
    }
}

impl<V: Values> Accumulator for Distinct<V> {
    fn resize(&mut self, slots: usize) {
        (self.groups.len()..slots).for_each(|_| self.groups.push(V::default()));
        if !self.counts_itself() {
            self.inner.resize(slots);
        }
    }

    fn update(&mut self, input: &Input<'_>) -> Result<()> {
        let prints = V::Print::of(input.array()?);
        let Distinct { groups, effective, bytes, .. } = self;
        effective.clear();
        effective.resize(input.slots.len(), 0);
        let (mut grown, mut any) = (*bytes, false);
        input.each(|row, slot, weight| {
            let group = &mut groups[slot as u32];
            let before = group.heap_bytes();
            let change = group.add(prints[row], weight);
            if change != 0 {
                effective[row] = change;
                any = true;
            }
            grown = grown + group.heap_bytes() - before;
        });
        *bytes = grown;
        if !any || self.counts_itself() {
            return Ok(());
        }
        self.inner.update(&Input { weights: Some(&self.effective), ..*input })
    }

    fn merge(&mut self, other: &dyn Accumulator, pairs: &[(u32, u32)]) {
        let other: &Distinct<V> = same(other);
        let (mut slots, mut prints, mut effective) = (Vec::new(), Vec::new(), Vec::new());
        for (from, to) in pairs {
            let group = &mut self.groups[*to];
            let before = group.heap_bytes();
            other.groups[*from].each(|print, weight| {
                let change = group.add(print, weight);
                if change != 0 {
                    slots.push(*to);
                    prints.push(print);
                    effective.push(change);
                }
            });
            self.bytes = self.bytes + group.heap_bytes() - before;
        }
        if self.counts_itself() {
            return;
        }
        let values = if self.counts { None } else { V::Print::values(&prints, &self.of) };
        debug_assert!(self.counts || values.is_some(), "values are not kept");
        let arguments: Vec<&ArrayRef> = values.iter().collect();
        let weights = Some(effective.as_slice());
        let input = Input { slots: &slots, arguments: &arguments, order: &[], weights, selected: None };
        let done = self.inner.update(&input);
        debug_assert!(done.is_ok(), "an accumulator refuses what it took before");
    }

    fn values(&self, slots: &[u32], failures: &mut Failures) -> Result<ArrayRef> {
        if self.counts_itself() {
            let counts = slots.iter().map(|slot| self.groups[*slot].count().unwrap_or(0));
            return Ok(Arc::new(Int64Array::from_iter_values(counts)));
        }
        self.inner.values(slots, failures)
    }

    fn clear(&mut self, slots: &[u32]) {
        for slot in slots {
            let gone = std::mem::take(&mut self.groups[*slot]);
            self.bytes -= gone.heap_bytes();
        }
        if !self.counts_itself() {
            self.inner.clear(slots);
        }
    }

    fn bytes(&self) -> usize {
        self.groups.bytes() + self.bytes + self.inner.bytes()
    }

    fn mergeable(&self) -> bool {
        self.counts || V::Print::values(&[], &self.of).is_some()
    }
}
