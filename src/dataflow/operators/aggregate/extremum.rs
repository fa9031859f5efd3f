//! `min` and `max`.
//!
//! Over append-only input a group keeps only its best value; otherwise an ordered multiset
//! of its values. Values are compared as
//! order-preserving keys: 64-bit integers for numbers and times (floats in PostgreSQL's
//! order: −0 = 0, NaN above all), 128 bits for numeric, pairs for intervals, bytes for text
//! (the C collation), bytea and uuid.

use std::sync::Arc;

use arrow::array::*;
use arrow::compute::cast;
use arrow::datatypes::*;

use super::accumulator::{Accumulator, Failures, Input, same};
use super::bag::Bag;
use crate::error::{HwError, Result};
use crate::state::Grow;

const NANOS_PER_DAY: i128 = 86_400_000_000_000;

/// The accumulator of `min` or `max` over a column of `data_type`.
pub fn extremum(max: bool, data_type: &DataType, append_only: bool) -> Result<Box<dyn Accumulator>> {
    fn build<K: Key>(max: bool, data_type: &DataType, append_only: bool) -> Box<dyn Accumulator> {
        if append_only {
            Box::new(Best::<K> { best: Vec::new(), held: Vec::new(), max, data_type: data_type.clone() })
        } else {
            Box::new(Bags::<K> { states: Vec::new(), entries: 0, max, data_type: data_type.clone() })
        }
    }
    match data_type {
        DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Date32
        | DataType::Time64(TimeUnit::Microsecond)
        | DataType::Timestamp(TimeUnit::Microsecond, _) => Ok(build::<i64>(max, data_type, append_only)),
        DataType::Decimal128(_, _) => Ok(build::<i128>(max, data_type, append_only)),
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            Ok(build::<(i128, i128)>(max, data_type, append_only))
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::FixedSizeBinary(_) => {
            Ok(build::<Box<[u8]>>(max, data_type, append_only))
        }
        other => Err(HwError::unsupported(format!("min or max of {other}"), "Cast the argument to text.")),
    }
}

/// An order-preserving form of the values of some Arrow types.
trait Key: Ord + Clone + Default + Send + 'static {
    type Column;
    /// Prepares a column for `get`.
    fn column(array: &ArrayRef) -> Result<Self::Column>;
    fn get(column: &Self::Column, row: usize) -> Self;
    /// True when the value in `row` beats `best`.
    fn beats(column: &Self::Column, row: usize, best: &Self, max: bool) -> bool;
    fn array(values: Vec<Option<&Self>>, data_type: &DataType) -> Result<ArrayRef>;
    fn heap_bytes() -> usize {
        0
    }
}

fn better<T: Ord + ?Sized>(value: &T, best: &T, max: bool) -> bool {
    if max { value > best } else { value < best }
}

/// Doubles as integers in PostgreSQL's order; its own inverse on the other side.
fn float_key(value: f64) -> i64 {
    let value = if value.is_nan() { f64::NAN.abs() } else { value + 0.0 };
    let bits = value.to_bits() as i64;
    bits ^ ((bits >> 63) as u64 >> 1) as i64
}

fn float_of(key: i64) -> f64 {
    f64::from_bits((key ^ ((key >> 63) as u64 >> 1) as i64) as u64)
}

macro_rules! primitive {
    ($values:expr, $data_type:expr, $type:ty, |$v:ident| $convert:expr) => {
        Arc::new(
            PrimitiveArray::<$type>::from_iter($values.into_iter().map(|v| v.map(|$v| $convert)))
                .with_data_type($data_type.clone()),
        )
    };
}

impl Key for i64 {
    type Column = Vec<i64>;

    fn column(array: &ArrayRef) -> Result<Vec<i64>> {
        fn keys<T: ArrowPrimitiveType>(array: &ArrayRef, key: impl Fn(T::Native) -> i64) -> Vec<i64> {
            array.as_primitive::<T>().values().iter().map(|v| key(*v)).collect()
        }
        Ok(match array.data_type() {
            DataType::Int16 => keys::<Int16Type>(array, |v| v as i64),
            DataType::Int32 => keys::<Int32Type>(array, |v| v as i64),
            DataType::Int64 => keys::<Int64Type>(array, |v| v),
            DataType::Float32 => keys::<Float32Type>(array, |v| float_key(v as f64)),
            DataType::Float64 => keys::<Float64Type>(array, float_key),
            DataType::Date32 => keys::<Date32Type>(array, |v| v as i64),
            DataType::Time64(_) => keys::<Time64MicrosecondType>(array, |v| v),
            DataType::Timestamp(TimeUnit::Microsecond, _) => keys::<TimestampMicrosecondType>(array, |v| v),
            other => return Err(HwError::internal(format!("{other} has no integer order"))),
        })
    }

    fn get(column: &Vec<i64>, row: usize) -> i64 {
        column[row]
    }

    fn beats(column: &Vec<i64>, row: usize, best: &i64, max: bool) -> bool {
        better(&column[row], best, max)
    }

    fn array(values: Vec<Option<&i64>>, data_type: &DataType) -> Result<ArrayRef> {
        Ok(match data_type {
            DataType::Int16 => primitive!(values, data_type, Int16Type, |v| *v as i16),
            DataType::Int32 => primitive!(values, data_type, Int32Type, |v| *v as i32),
            DataType::Int64 => primitive!(values, data_type, Int64Type, |v| *v),
            DataType::Float32 => primitive!(values, data_type, Float32Type, |v| float_of(*v) as f32),
            DataType::Float64 => primitive!(values, data_type, Float64Type, |v| float_of(*v)),
            DataType::Date32 => primitive!(values, data_type, Date32Type, |v| *v as i32),
            DataType::Time64(_) => primitive!(values, data_type, Time64MicrosecondType, |v| *v),
            _ => primitive!(values, data_type, TimestampMicrosecondType, |v| *v),
        })
    }
}

impl Key for i128 {
    type Column = Decimal128Array;

    fn column(array: &ArrayRef) -> Result<Decimal128Array> {
        array.as_primitive_opt().cloned().ok_or_else(|| HwError::internal("the argument is not numeric"))
    }

    fn get(column: &Decimal128Array, row: usize) -> i128 {
        column.value(row)
    }

    fn beats(column: &Decimal128Array, row: usize, best: &i128, max: bool) -> bool {
        better(&column.value(row), best, max)
    }

    fn array(values: Vec<Option<&i128>>, data_type: &DataType) -> Result<ArrayRef> {
        Ok(primitive!(values, data_type, Decimal128Type, |v| *v))
    }
}

/// An interval as its length (a month is 30 days) and its fields, so that equally long
/// intervals stay apart.
impl Key for (i128, i128) {
    type Column = IntervalMonthDayNanoArray;

    fn column(array: &ArrayRef) -> Result<IntervalMonthDayNanoArray> {
        array.as_primitive_opt().cloned().ok_or_else(|| HwError::internal("the argument is not an interval"))
    }

    fn get(column: &IntervalMonthDayNanoArray, row: usize) -> (i128, i128) {
        let v = column.value(row);
        let length = (v.months as i128 * 30 + v.days as i128) * NANOS_PER_DAY + v.nanoseconds as i128;
        let fields = (v.months as i128) << 96 | (v.days as u32 as i128) << 64 | v.nanoseconds as u64 as i128;
        (length, fields)
    }

    fn beats(column: &IntervalMonthDayNanoArray, row: usize, best: &(i128, i128), max: bool) -> bool {
        better(&Self::get(column, row), best, max)
    }

    fn array(values: Vec<Option<&(i128, i128)>>, data_type: &DataType) -> Result<ArrayRef> {
        Ok(primitive!(values, data_type, IntervalMonthDayNanoType, |v| IntervalMonthDayNano::new(
            (v.1 >> 96) as i32,
            (v.1 >> 64) as i32,
            v.1 as i64
        )))
    }
}

impl Key for Box<[u8]> {
    type Column = LargeBinaryArray;

    fn column(array: &ArrayRef) -> Result<LargeBinaryArray> {
        Ok(cast(array, &DataType::LargeBinary)?.as_binary::<i64>().clone())
    }

    fn get(column: &LargeBinaryArray, row: usize) -> Box<[u8]> {
        column.value(row).into()
    }

    fn beats(column: &LargeBinaryArray, row: usize, best: &Box<[u8]>, max: bool) -> bool {
        better(column.value(row), best, max)
    }

    fn array(values: Vec<Option<&Box<[u8]>>>, data_type: &DataType) -> Result<ArrayRef> {
        let bytes = LargeBinaryArray::from_iter(values.into_iter().map(|v| v.map(|v| v.as_ref())));
        Ok(cast(&bytes, data_type)?)
    }

    fn heap_bytes() -> usize {
        24
    }
}

/// Best value of append-only groups.
struct Best<K> {
    best: Vec<K>,
    /// A bit a group: whether it has a value.
    held: Vec<u64>,
    max: bool,
    data_type: DataType,
}

impl<K> Best<K> {
    #[inline(always)]
    fn of(&self, slot: u32) -> Option<&K> {
        (self.held[slot as usize / 64] >> (slot % 64) & 1 == 1).then(|| &self.best[slot as usize])
    }
}

impl<K: Key> Accumulator for Best<K> {
    fn resize(&mut self, slots: usize) {
        self.best.grow(slots, K::default());
        self.held.grow(slots.div_ceil(64), 0);
    }

    fn update(&mut self, input: &Input<'_>) -> Result<()> {
        let column = K::column(input.array()?)?;
        let (best, held, max) = (&mut self.best, &mut self.held, self.max);
        input.each(|row, slot, _| {
            let (bits, bit) = (&mut held[slot / 64], 1 << (slot % 64));
            if *bits & bit == 0 || K::beats(&column, row, &best[slot], max) {
                *bits |= bit;
                best[slot] = K::get(&column, row);
            }
        });
        Ok(())
    }

    fn merge(&mut self, other: &dyn Accumulator, pairs: &[(u32, u32)]) {
        let other = same::<Self>(other);
        for (from, to) in pairs {
            let Some(value) = other.of(*from) else { continue };
            if self.of(*to).is_none_or(|best| better(value, best, self.max)) {
                self.held[*to as usize / 64] |= 1 << (to % 64);
                self.best[*to as usize] = value.clone();
            }
        }
    }

    fn values(&self, slots: &[u32], _failures: &mut Failures) -> Result<ArrayRef> {
        K::array(slots.iter().map(|slot| self.of(*slot)).collect(), &self.data_type)
    }

    fn clear(&mut self, slots: &[u32]) {
        for slot in slots {
            self.held[*slot as usize / 64] &= !(1 << (slot % 64));
            self.best[*slot as usize] = K::default();
        }
    }

    fn bytes(&self) -> usize {
        let held = self.held.capacity() * size_of::<u64>();
        self.best.capacity() * size_of::<K>() + held + self.best.len() * K::heap_bytes()
    }
}

/// Multisets of retracting groups.
struct Bags<K> {
    states: Vec<Bag<K>>,
    entries: usize,
    max: bool,
    data_type: DataType,
}

impl<K: Key> Accumulator for Bags<K> {
    fn resize(&mut self, slots: usize) {
        self.states.grow(slots, Bag::default());
    }

    fn update(&mut self, input: &Input<'_>) -> Result<()> {
        let column = K::column(input.array()?)?;
        let (states, mut entries) = (&mut self.states, self.entries);
        input.each(|row, slot, weight| {
            let before = states[slot].len();
            states[slot].add(K::get(&column, row), weight);
            entries = entries + states[slot].len() - before;
        });
        self.entries = entries;
        Ok(())
    }

    fn merge(&mut self, other: &dyn Accumulator, pairs: &[(u32, u32)]) {
        let other = same::<Self>(other);
        for (from, to) in pairs {
            let state = &mut self.states[*to as usize];
            let before = state.len();
            state.join(&other.states[*from as usize]);
            self.entries = self.entries + state.len() - before;
        }
    }

    fn values(&self, slots: &[u32], _failures: &mut Failures) -> Result<ArrayRef> {
        K::array(slots.iter().map(|s| self.states[*s as usize].best(self.max)).collect(), &self.data_type)
    }

    fn clear(&mut self, slots: &[u32]) {
        for slot in slots {
            let gone = std::mem::take(&mut self.states[*slot as usize]);
            self.entries -= gone.len();
        }
    }

    fn bytes(&self) -> usize {
        let bags: usize = self.states.iter().map(Bag::bytes).sum();
        self.states.capacity() * size_of::<Bag<K>>() + bags + self.entries * K::heap_bytes()
    }
}
