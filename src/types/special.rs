//! NaN and the infinities among the 128-bit carriers of numerics.
//!
//! A finite numeric has at most 38 digits, so every carrier beyond them is free. The three that
//! are in use compare, group and hash as integers the way PostgreSQL compares the values: −∞, the
//! numbers, ∞, NaN, which equals itself. They stand for the same value at every scale, and they
//! lie so far apart, and from the bounds of the carrier, that moving one by the offset of a RANGE
//! frame reaches no other value.
//! Whoever computes with carriers asks [`is_special`] first.

/// Carriers of finite numerics are less than this.
pub const LIMIT: u128 = 10u128.pow(38);

pub const NAN: i128 = 165 * 10i128.pow(36);
pub const INFINITY: i128 = 135 * 10i128.pow(36);
pub const MINUS_INFINITY: i128 = -INFINITY;

/// Whether a carrier is none of a finite number.
#[inline(always)]
pub fn is_special(carrier: i128) -> bool {
    carrier.unsigned_abs() >= LIMIT
}

/// PostgreSQL's text of a carrier that is special.
pub fn text(carrier: i128) -> &'static str {
    match carrier {
        MINUS_INFINITY => "-Infinity",
        INFINITY => "Infinity",
        _ => "NaN",
    }
}

/// The double of a carrier that is special.
pub fn to_f64(carrier: i128) -> f64 {
    match carrier {
        MINUS_INFINITY => f64::NEG_INFINITY,
        INFINITY => f64::INFINITY,
        _ => f64::NAN,
    }
}

/// The carrier of a double that is not finite.
pub fn of_f64(value: f64) -> i128 {
    match value {
        v if v.is_nan() => NAN,
        v if v > 0.0 => INFINITY,
        _ => MINUS_INFINITY,
    }
}

/// The carrier that stands for the negated value.
pub fn negated(carrier: i128) -> i128 {
    if carrier == NAN { NAN } else { -carrier }
}

/// Weights of NaN and the infinities beside a sum of finite values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Specials {
    pub nan: i64,
    pub plus: i64,
    pub minus: i64,
}

impl Specials {
    /// Counts a carrier that is special.
    pub fn add(&mut self, carrier: i128, weight: i64) {
        match carrier {
            MINUS_INFINITY => self.minus += weight,
            INFINITY => self.plus += weight,
            _ => self.nan += weight,
        }
    }

    pub fn join(&mut self, other: Specials) {
        self.nan += other.nan;
        self.plus += other.plus;
        self.minus += other.minus;
    }

    /// The carrier of the sum, unless all values are finite.
    pub fn sum(self) -> Option<i128> {
        match self {
            Specials { nan: 0, plus: 0, minus: 0 } => None,
            Specials { nan: 0, minus: 0, .. } => Some(INFINITY),
            Specials { nan: 0, plus: 0, .. } => Some(MINUS_INFINITY),
            _ => Some(NAN),
        }
    }

    pub fn write(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        for (at, weight) in [self.nan, self.plus, self.minus].into_iter().enumerate() {
            bytes[at * 8..][..8].copy_from_slice(&weight.to_le_bytes());
        }
        bytes
    }

    /// What [`Specials::write`] wrote; `None` of other bytes.
    pub fn read(bytes: &[u8]) -> Option<Specials> {
        let weight = |at: usize| Some(i64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        Some(Specials { nan: weight(0)?, plus: weight(8)?, minus: weight(16)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carriers_are_ordered_as_the_values() {
        let digits = LIMIT as i128 - 1;
        let all = [MINUS_INFINITY, -digits, 0, digits, INFINITY, NAN];
        assert!(all.is_sorted());
        assert!(all.map(is_special) == [true, false, false, false, true, true]);
        assert_eq!([NAN, INFINITY, MINUS_INFINITY].map(negated), [NAN, MINUS_INFINITY, INFINITY]);
    }

    #[test]
    fn sums_of_special_values() {
        let sum = |carriers: &[(i128, i64)]| {
            let mut specials = Specials::default();
            carriers.iter().for_each(|(carrier, weight)| specials.add(*carrier, *weight));
            assert_eq!(Specials::read(&specials.write()), Some(specials));
            specials.sum()
        };
        assert_eq!(sum(&[]), None);
        assert_eq!(sum(&[(NAN, 2), (INFINITY, 1)]), Some(NAN));
        assert_eq!(sum(&[(MINUS_INFINITY, 1), (INFINITY, 1)]), Some(NAN));
        assert_eq!(sum(&[(MINUS_INFINITY, 1), (INFINITY, 1), (INFINITY, -1)]), Some(MINUS_INFINITY));
        assert_eq!(sum(&[(NAN, 1), (NAN, -1)]), None);
    }
}
