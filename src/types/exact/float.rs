//! The exact sum of doubles, whatever their order: a sparse superaccumulator.
//!
//! Each finite double is an integer multiple of 2^-1074, so a sum is a big integer; here in
//! signed limbs of 32 bits that carry lazily (Neal, "Fast Exact Summation Using Small and
//! Large Superaccumulators", 2015), holding only the limbs in use. Adding and then
//! subtracting the same values gives exactly zero, and the result is the real sum rounded
//! once, so retraction, batching and the number of workers cannot change it.

const LIMB_BITS: u32 = 32;
const LIMB_MASK: i64 = (1 << LIMB_BITS) - 1;
/// Exponent of the lowest bit of limb 0.
const LOWEST_EXPONENT: i32 = -1074;
/// A limb takes this many additions of 32-bit digits before it must carry.
const MAX_PENDING_ADDS: u32 = 1 << 29;

/// A sum of finite doubles, or of products of two.
#[derive(Clone, Debug, Default)]
pub struct ExactFloat {
    limbs: Vec<i64>,
    /// Index of `limbs[0]`.
    base: u16,
    pending: u32,
}

impl ExactFloat {
    /// Adds `value × weight`; `value` is finite.
    #[inline]
    pub fn add(&mut self, value: f64, weight: i64) {
        let (mantissa, position) = parts(value);
        if mantissa == 0 || weight == 0 {
            return;
        }
        let negative = (value < 0.0) != (weight < 0);
        let weight = weight.unsigned_abs();
        self.add_product(mantissa, weight & LIMB_MASK as u64, position, negative);
        if weight >> LIMB_BITS != 0 {
            self.add_product(mantissa, weight >> LIMB_BITS, position + LIMB_BITS, negative);
        }
    }

    /// Adds `a × b × weight`, for a sum of products; both are finite.
    #[inline]
    pub fn add_products(&mut self, a: f64, b: f64, weight: i64) {
        let ((m, p), (n, q)) = (parts(a), parts(b));
        if m == 0 || n == 0 || weight == 0 {
            return;
        }
        let negative = ((a < 0.0) != (b < 0.0)) != (weight < 0);
        let product = m as u128 * n as u128;
        let halves = [(product as u64, 0), ((product >> 64) as u64, 2 * LIMB_BITS)];
        let weight = weight.unsigned_abs();
        for (factor, up) in [(weight & LIMB_MASK as u64, 0), (weight >> LIMB_BITS, LIMB_BITS)] {
            for (half, shift) in halves.iter().filter(|(half, _)| *half != 0 && factor != 0) {
                self.add_product(*half, factor, p + q + shift + up, negative);
            }
        }
    }

    /// The product of two sums, which is a sum of products.
    pub fn times(&self, other: &ExactFloat) -> ExactFloat {
        let ((a, a_negative), (b, b_negative)) = (self.magnitude(), other.magnitude());
        let mut limbs = vec![0i64; a.limbs.len() + b.limbs.len() + 1];
        for (i, x) in a.limbs.iter().enumerate() {
            let mut carry = 0u64;
            for (j, y) in b.limbs.iter().enumerate() {
                let sum = *x as u64 * *y as u64 + limbs[i + j] as u64 + carry;
                limbs[i + j] = sum as i64 & LIMB_MASK;
                carry = sum >> LIMB_BITS;
            }
            limbs[i + b.limbs.len()] += carry as i64;
        }
        if a_negative != b_negative {
            limbs.iter_mut().for_each(|limb| *limb = -*limb);
        }
        ExactFloat { limbs, base: a.base + b.base, pending: 1 }
    }

    /// `self × n`, of the same scale.
    pub fn times_integer(&self, n: i64) -> ExactFloat {
        let n = n.unsigned_abs();
        let limbs = vec![n as i64 & LIMB_MASK, (n >> LIMB_BITS) as i64];
        self.times(&ExactFloat { limbs, base: 0, pending: 1 })
    }

    /// Takes another sum away.
    pub fn subtract(&mut self, other: &ExactFloat) {
        let mut negated = other.clone();
        negated.limbs.iter_mut().for_each(|limb| *limb = -*limb);
        self.join(&negated);
    }

    /// The absolute value in digits of 32 bits, and whether it was negative.
    fn magnitude(&self) -> (ExactFloat, bool) {
        let mut sum = self.clone();
        sum.carry();
        let negative = sum.limbs.last().is_some_and(|top| *top < 0);
        if negative {
            sum.limbs.iter_mut().for_each(|limb| *limb = -*limb);
            sum.carry();
        }
        (sum, negative)
    }

    /// Adds `±mantissa × factor × 2^(position − 1074)`; `factor` has 32 bits.
    #[inline]
    fn add_product(&mut self, mantissa: u64, factor: u64, position: u32, negative: bool) {
        let mut rest = (mantissa as u128 * factor as u128) << (position % LIMB_BITS);
        let first = position / LIMB_BITS;
        let digits = (128 - rest.leading_zeros()).div_ceil(LIMB_BITS);
        self.reserve(first, first + digits);
        let start = first as usize - self.base as usize;
        for limb in &mut self.limbs[start..start + digits as usize] {
            let digit = rest as i64 & LIMB_MASK;
            *limb += if negative { -digit } else { digit };
            rest >>= LIMB_BITS;
        }
        self.pending += 1;
        if self.pending >= MAX_PENDING_ADDS {
            self.carry();
        }
    }

    /// Makes the limbs `from..to` exist.
    #[inline]
    fn reserve(&mut self, from: u32, to: u32) {
        if self.limbs.is_empty() {
            self.base = from as u16;
        }
        let base = self.base as u32;
        if from < base {
            let more = (base - from) as usize;
            self.limbs.splice(0..0, std::iter::repeat_n(0, more));
            self.base = from as u16;
        }
        let needed = to as usize - self.base as usize;
        if needed > self.limbs.len() {
            self.limbs.resize(needed, 0);
        }
    }

    /// Adds another sum.
    pub fn join(&mut self, other: &ExactFloat) {
        if other.limbs.is_empty() {
            return;
        }
        if self.pending.saturating_add(other.pending) >= MAX_PENDING_ADDS {
            self.carry();
        }
        self.reserve(other.base as u32, other.base as u32 + other.limbs.len() as u32);
        let start = other.base as usize - self.base as usize;
        for (limb, add) in self.limbs[start..].iter_mut().zip(&other.limbs) {
            *limb += add;
        }
        self.pending += other.pending.max(1);
    }

    /// Brings every limb but the last into `0..2^32`; the last carries the sign.
    fn carry(&mut self) {
        let mut carry = 0;
        for limb in &mut self.limbs {
            let sum = *limb + carry;
            *limb = sum & LIMB_MASK;
            carry = sum >> LIMB_BITS;
        }
        while carry != 0 && carry != -1 {
            self.limbs.push(carry & LIMB_MASK);
            carry >>= LIMB_BITS;
        }
        if carry == -1 {
            self.limbs.push(-1);
        }
        self.pending = 1;
    }

    /// The sum rounded once, half to even; ±∞ beyond the range of doubles.
    pub fn value(&self) -> f64 {
        self.rounded(LOWEST_EXPONENT)
    }

    /// The value of a sum of products times `2^shift`.
    pub fn product_value(&self, shift: i32) -> f64 {
        self.rounded(2 * LOWEST_EXPONENT + shift)
    }

    /// The value of a sum of products of three.
    pub fn triple_value(&self) -> f64 {
        self.rounded(3 * LOWEST_EXPONENT)
    }

    fn rounded(&self, lowest: i32) -> f64 {
        let (sum, negative) = self.magnitude();
        let Some(top) = sum.limbs.iter().rposition(|limb| *limb != 0) else { return 0.0 };
        let limb = |back: usize| top.checked_sub(back).map_or(0, |i| sum.limbs[i] as u128);
        let window = limb(0) << 96 | limb(1) << 64 | limb(2) << 32 | limb(3);
        let sticky = top >= 4 && sum.limbs[..top - 3].iter().any(|limb| *limb != 0);
        let exponent = (sum.base as i32 + top as i32 - 3) * LIMB_BITS as i32 + lowest;
        let magnitude = round(window, sticky, exponent);
        if negative { -magnitude } else { magnitude }
    }

    /// The sum as bytes, for [`ExactFloat::read`].
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut sum = self.clone();
        sum.carry();
        out.extend_from_slice(&sum.base.to_le_bytes());
        out.extend_from_slice(&(sum.limbs.len() as u16).to_le_bytes());
        sum.limbs.iter().for_each(|limb| out.extend_from_slice(&limb.to_le_bytes()));
    }

    /// Takes a sum off the front of `bytes`; `None` if they were not written by `write`.
    pub fn read(bytes: &mut &[u8]) -> Option<ExactFloat> {
        let base = u16::from_le_bytes(*bytes.split_off(..2)?.first_chunk()?);
        let length = u16::from_le_bytes(*bytes.split_off(..2)?.first_chunk()?) as usize;
        let limbs = bytes.split_off(..length * 8)?.chunks_exact(8);
        let limbs = limbs.map(|c| c.first_chunk().map(|c| i64::from_le_bytes(*c))).collect::<Option<_>>()?;
        Some(ExactFloat { limbs, base, pending: 1 })
    }

    /// Estimated bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.limbs.capacity() * 8
    }
}

/// Mantissa and position of its lowest bit, in units of the smallest double.
fn parts(value: f64) -> (u64, u32) {
    let bits = value.to_bits();
    let exponent = (bits >> 52) as u32 & 0x7ff;
    let fraction = bits & ((1 << 52) - 1);
    if exponent == 0 { (fraction, 0) } else { (fraction | 1 << 52, exponent - 1) }
}

/// `window × 2^exponent` plus something smaller than one unit if `sticky`, as a double.
fn round(window: u128, sticky: bool, exponent: i32) -> f64 {
    let length = 128 - window.leading_zeros() as i32;
    let drop = (length - 53).max(LOWEST_EXPONENT - exponent).max(0);
    let mut mantissa = if drop >= 128 { 0 } else { window >> drop };
    if drop > 0 {
        let half = 1u128 << (drop - 1).min(127);
        let rest = window & ((half - 1) | half);
        if rest > half || rest == half && (sticky || mantissa & 1 == 1) {
            mantissa += 1;
        }
    }
    let exponent = exponent + drop;
    if exponent > 1023 {
        return f64::INFINITY;
    }
    let half = exponent / 2;
    // Both products are exact: the mantissa has 53 bits and its last one is at least 2^-1074.
    mantissa as f64 * power_of_two(half) * power_of_two(exponent - half)
}

/// 2^exponent of a normal double.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(values: &[(f64, i64)]) -> ExactFloat {
        let mut sum = ExactFloat::default();
        values.iter().for_each(|(v, w)| sum.add(*v, *w));
        sum
    }

    #[test]
    fn sums_are_rounded_once() {
        assert_eq!(sum(&[(1e100, 1), (1.0, 1), (-1e100, 1)]).value(), 1.0);
        assert_eq!(sum(&[(0.1, 10)]).value(), 1.0);
        assert_eq!(sum(&[(0.1, 1), (0.2, 1)]).value(), 0.1 + 0.2);
        assert_eq!(sum(&[(1e308, 3), (1e308, -2)]).value(), 1e308);
        assert_eq!(sum(&[(1e308, 2)]).value(), f64::INFINITY);
        assert_eq!(sum(&[(f64::MAX, -1), (5e-324, 3), (f64::MAX, 1)]).value(), 1.5e-323);
        assert_eq!(sum(&[(9007199254740992.0, 1), (1.0, 1)]).value(), 9007199254740992.0);
        assert_eq!(sum(&[(9007199254740992.0, 1), (1.0, 1), (1e-300, 1)]).value(), 9007199254740994.0);
        assert_eq!(sum(&[(1.0, i64::MAX), (1.0, -i64::MAX), (-0.5, 1)]).value(), -0.5);
        assert_eq!(sum(&[]).value(), 0.0);
    }

    /// A sum of products from `(a, b, weight)`.
    fn products(values: &[(f64, f64, i64)]) -> ExactFloat {
        let mut sum = ExactFloat::default();
        values.iter().for_each(|(a, b, w)| sum.add_products(*a, *b, *w));
        sum
    }

    #[test]
    fn products_are_exact() {
        assert_eq!(products(&[(0.1, 0.1, 1), (0.1, 0.1, -1)]).product_value(0), 0.0);
        assert_eq!(products(&[(3.0, -4.0, 5)]).product_value(0), -60.0);
        assert_eq!(products(&[(1e300, 1e300, 1)]).product_value(0), f64::INFINITY);
        assert_eq!(products(&[(2f64.powi(600), 2f64.powi(600), 3)]).product_value(-1200), 3.0);
        assert_eq!(
            products(&[(1.0, 2.0, i64::MAX), (1.0, 2.0, -i64::MAX), (0.5, 1.0, 1)]).product_value(0),
            0.5
        );
        assert_eq!(sum(&[(3.0, 1)]).times(&sum(&[(-2.0, 1)])).product_value(0), -6.0);
        assert_eq!(products(&[(3.0, 0.5, 1)]).times_integer(7).product_value(0), 10.5);
    }

    proptest! {
        #[test]
        fn written_sums_are_read_back(values in prop::collection::vec((-1e9..1e9, -9i64..9), 0..20)) {
            let mut bytes = Vec::new();
            let given = sum(&values);
            given.write(&mut bytes);
            let read = ExactFloat::read(&mut bytes.as_slice()).unwrap();
            prop_assert_eq!(read.value().to_bits(), given.value().to_bits());
            let square = given.times(&given).product_value(0);
            let expect = given.value() * given.value();
            prop_assert!((square - expect).abs() <= 1e-9 * expect.abs());
        }

        #[test]
        fn one_value_is_itself_and_order_does_not_matter(
            values in prop::collection::vec(any::<f64>().prop_filter("finite", |v| v.is_finite()), 1..40),
            split in 0usize..40,
        ) {
            prop_assert_eq!(sum(&[(values[0], 1)]).value(), values[0]);
            let forward: Vec<_> = values.iter().map(|v| (*v, 1)).collect();
            let back: Vec<_> = forward.iter().rev().copied().collect();
            let expect = sum(&forward).value();
            prop_assert_eq!(sum(&back).value().to_bits(), expect.to_bits());
            let (a, b) = forward.split_at(split.min(forward.len()));
            let mut joined = sum(a);
            joined.join(&sum(b));
            prop_assert_eq!(joined.value().to_bits(), expect.to_bits());
            forward.iter().for_each(|(v, _)| joined.add(*v, -1));
            prop_assert_eq!(joined.value(), 0.0);
        }

        #[test]
        fn integers_agree_with_integer_arithmetic(values in prop::collection::vec((-(1i64 << 52)..1 << 52, -1000i64..1000), 0..50)) {
            let expect: i128 = values.iter().map(|(v, w)| *v as i128 * *w as i128).sum();
            let all: Vec<_> = values.iter().map(|(v, w)| (*v as f64, *w)).collect();
            prop_assert_eq!(sum(&all).value(), expect as f64);
        }
    }
}
