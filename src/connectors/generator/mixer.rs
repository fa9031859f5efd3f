//! Random numbers without a sequence: a draw is a hash of (seed, row number, purpose).
//!
//! The hash is the finalizer of SplitMix64 (Steele, Lea, Flood: "Fast splittable
//! pseudorandom number generators", 2014) over a linear combination of its inputs. All
//! arithmetic is on integers or exact, so a row is the same on every machine.

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
const PURPOSE: u64 = 0xd1b5_4a32_d192_ed03;

/// Gives the draws of one seed.
#[derive(Clone, Copy, Debug)]
pub struct Mixer {
    key: u64,
}

impl Mixer {
    pub fn new(seed: u64) -> Mixer {
        Mixer { key: mix(seed.wrapping_add(GOLDEN)) }
    }

    /// The draw of row `number` for `purpose`; different purposes are independent.
    #[inline]
    pub fn draw(&self, number: u64, purpose: u64) -> Draw {
        let row = number.wrapping_mul(GOLDEN);
        Draw(mix(self.key.wrapping_add(row).wrapping_add(purpose.wrapping_mul(PURPOSE))))
    }
}

/// 64 random bits, from which further ones can be had.
#[derive(Clone, Copy, Debug)]
pub struct Draw(pub u64);

impl Draw {
    /// The `n`-th further draw; 1 and up are independent of this one.
    #[inline]
    pub fn further(self, n: u64) -> Draw {
        Draw(mix(self.0.wrapping_add(n.wrapping_mul(GOLDEN))))
    }

    /// Uniform in `0..n`; `n` must not be 0. Uses the high bits first.
    #[inline]
    pub fn below(self, n: u64) -> u64 {
        ((u128::from(self.0) * u128::from(n)) >> 64) as u64
    }

    /// True with probability 1 - 1/`ratio`, from the low 32 bits only.
    #[inline]
    pub fn is_hot(self, ratio: u64) -> bool {
        ((self.0 & 0xffff_ffff) * ratio) >> 32 > 0
    }

    /// Uniform in `[0, 1)`.
    #[inline]
    pub fn unit(self) -> f64 {
        (self.0 >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }
}

#[inline]
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// `10^exponent` for an exponent in `0.0..=18.0`, to nine digits, with the same bits on
/// every machine (a library's `pow` may differ in the last place).
#[inline]
pub fn power_of_ten(exponent: f64) -> f64 {
    let binary = exponent * std::f64::consts::LOG2_10;
    let whole = binary as i64;
    let x = (binary - whole as f64) * std::f64::consts::LN_2;
    const TAYLOR: [f64; 11] = [
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ];
    let fraction = TAYLOR.iter().fold(0.0, |sum, c| sum * x + c);
    fraction * f64::from_bits(((1023 + whole) as u64) << 52)
}
