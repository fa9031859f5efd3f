//! The total of floats: an exact sum of the finite ones, and how many are NaN or infinite.

use super::float::ExactFloat;
use crate::error::{HwError, Result, sqlstate};

/// Sum and number of weighted floats.
#[derive(Clone, Debug, Default)]
pub struct FloatTotal {
    sum: ExactFloat,
    count: i64,
    /// Weights of NaN, +∞ and −∞, once one of them was seen.
    special: Option<Box<[i64; 3]>>,
}

/// 22003 as PostgreSQL words it for floats.
pub fn overflow() -> HwError {
    HwError::new(sqlstate::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: overflow")
}

impl FloatTotal {
    #[inline(always)]
    pub fn add(&mut self, value: f64, weight: i64) {
        self.count += weight;
        if value.is_finite() {
            self.sum.add(value, weight);
        } else {
            let kind = if value.is_nan() { 0 } else { 1 + (value < 0.0) as usize };
            self.special.get_or_insert_default()[kind] += weight;
        }
    }

    pub fn join(&mut self, other: &FloatTotal) {
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

    /// Sum or average, rounded once (to single precision if `single`); 22003 if finite values
    /// go beyond the type. `None` of nothing.
    pub fn value(&self, average: bool, single: bool) -> Result<Option<f64>> {
        if self.count == 0 {
            return Ok(None);
        }
        let (total, finite) = self.total();
        let value = if average { total / self.count as f64 } else { total };
        let shown = if single { value as f32 as f64 } else { value };
        if finite && shown.is_infinite() { Err(overflow()) } else { Ok(Some(shown)) }
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        let special = self.special.as_deref().copied().unwrap_or_default();
        for number in [self.count, special[0], special[1], special[2]] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        self.sum.write(out);
    }

    pub fn read(bytes: &mut &[u8]) -> Option<FloatTotal> {
        let mut number = || Some(i64::from_le_bytes(*bytes.split_off(..8)?.first_chunk()?));
        let (count, special) = (number()?, [number()?, number()?, number()?]);
        let sum = ExactFloat::read(bytes)?;
        Some(FloatTotal { sum, count, special: (special != [0; 3]).then(|| Box::new(special)) })
    }

    /// Estimated bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.sum.heap_bytes()
    }
}
