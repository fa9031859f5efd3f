//! Approximate percentiles that can be retracted: counts of values by logarithmic bucket.
//!
//! A value falls into the bucket of its sign and of `log_γ |x|` rounded up, with
//! `γ = (1 + α) / (1 − α)`, so a bucket's middle is within α of each of its values (Masson et
//! al., "DDSketch", VLDB 2019). Counts are added and removed, so order does not matter; a
//! group holds at most about 71,000 buckets, and few hundred if its values span some decades.

use std::collections::BTreeMap;

/// Largest relative error of a percentile.
pub const RELATIVE_ERROR: f64 = 0.01;
/// Codes of −∞, +∞ and NaN, which is above all as in PostgreSQL; finite codes are smaller.
const INFINITE: i32 = 1 << 20;
const NAN: i32 = INFINITE + 1;
/// Makes the code of every positive number positive.
const SHIFT: i32 = 1 << 16;

/// Weighted counts of doubles by bucket.
#[derive(Clone, Debug, Default)]
pub struct Sketch {
    count: i64,
    /// By code, which orders buckets as their values are ordered; never 0.
    buckets: BTreeMap<i32, i64>,
}

fn gamma_ln() -> f64 {
    ((1.0 + RELATIVE_ERROR) / (1.0 - RELATIVE_ERROR)).ln()
}

fn code(value: f64) -> i32 {
    if value.is_nan() {
        return NAN;
    }
    if value.is_infinite() {
        return if value > 0.0 { INFINITE } else { -INFINITE };
    }
    if value == 0.0 {
        return 0;
    }
    let bucket = (value.abs().ln() / gamma_ln()).ceil() as i32 + SHIFT;
    if value > 0.0 { bucket } else { -bucket }
}

/// The middle of a bucket.
fn middle(code: i32) -> f64 {
    match code {
        0 => 0.0,
        NAN => f64::NAN,
        INFINITE => f64::INFINITY,
        c if c == -INFINITE => f64::NEG_INFINITY,
        c => {
            let magnitude = ((c.abs() - SHIFT) as f64 * gamma_ln()).exp() * (1.0 - RELATIVE_ERROR);
            magnitude.min(f64::MAX).copysign(c as f64)
        }
    }
}

impl Sketch {
    pub fn add(&mut self, value: f64, weight: i64) {
        self.add_code(code(value), weight);
    }

    fn add_code(&mut self, code: i32, weight: i64) {
        use std::collections::btree_map::Entry;
        self.count += weight;
        match self.buckets.entry(code) {
            Entry::Vacant(_) if weight == 0 => {}
            Entry::Vacant(new) => drop(new.insert(weight)),
            Entry::Occupied(mut known) => {
                *known.get_mut() += weight;
                if *known.get() == 0 {
                    known.remove();
                }
            }
        }
    }

    pub fn join(&mut self, other: &Sketch) {
        other.buckets.iter().for_each(|(code, weight)| self.add_code(*code, *weight));
    }

    /// A value within [`RELATIVE_ERROR`] of the one at `fraction` (0 to 1) of the way through
    /// the sorted values; `None` of nothing.
    pub fn percentile(&self, fraction: f64) -> Option<f64> {
        let rank = (fraction * (self.count - 1).max(0) as f64).round() as i64;
        let mut passed = 0;
        let found = self.buckets.iter().find(|(_, weight)| {
            passed += **weight;
            passed > rank
        });
        found.map(|(code, _)| middle(*code))
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        for (code, weight) in &self.buckets {
            out.extend_from_slice(&code.to_le_bytes());
            out.extend_from_slice(&weight.to_le_bytes());
        }
    }

    /// Adds what `write` made; `None` if `bytes` are something else.
    pub fn read(&mut self, bytes: &[u8]) -> Option<()> {
        for entry in bytes.chunks(12) {
            let code = i32::from_le_bytes(*entry.first_chunk()?);
            self.add_code(code, i64::from_le_bytes(*entry.get(4..)?.first_chunk()?));
        }
        Some(())
    }

    /// Estimated bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.buckets.len() * 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn percentiles_are_near_and_removal_leaves_nothing(
            mut kept in prop::collection::vec(-1e9..1e9f64, 1..60),
            gone in prop::collection::vec(any::<f64>(), 0..20),
            percent in 0u32..=100,
        ) {
            let (mut plain, mut used) = (Sketch::default(), Sketch::default());
            gone.iter().for_each(|v| used.add(*v, 2));
            kept.iter().for_each(|v| { plain.add(*v, 1); used.add(*v, 1); });
            gone.iter().for_each(|v| used.add(*v, -2));
            let fraction = percent as f64 / 100.0;
            let found = plain.percentile(fraction).unwrap();
            prop_assert_eq!(used.percentile(fraction).unwrap().to_bits(), found.to_bits());
            kept.sort_by(f64::total_cmp);
            let exact = kept[(fraction * (kept.len() - 1) as f64).round() as usize];
            prop_assert!((found - exact).abs() <= exact.abs() * RELATIVE_ERROR * 1.000001, "{found} {exact}");
            let mut bytes = Vec::new();
            used.write(&mut bytes);
            let mut read = Sketch::default();
            read.read(&bytes).unwrap();
            prop_assert_eq!(read.percentile(fraction).unwrap().to_bits(), found.to_bits());
        }
    }

    #[test]
    fn the_ends_of_the_doubles() {
        let mut sketch = Sketch::default();
        assert_eq!(sketch.percentile(0.5), None);
        for v in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, f64::MAX, 5e-324, -1.0] {
            sketch.add(v, 1);
        }
        assert_eq!(sketch.percentile(0.0), Some(f64::NEG_INFINITY));
        assert!(sketch.percentile(1.0).unwrap().is_nan());
        assert_eq!(sketch.percentile(5.0 / 6.0), Some(f64::INFINITY));
        assert!(sketch.percentile(4.0 / 6.0).unwrap() > 1.7e308);
        assert_eq!(sketch.percentile(2.0 / 6.0), Some(0.0));
        assert!(sketch.percentile(3.0 / 6.0).unwrap() < 1e-320);
    }
}
