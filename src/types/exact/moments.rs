//! Variance, covariance, correlation and linear regression from exact sums.
//!
//! Kept are the number of values and the sums of values, squares and products, all exact,
//! so the order of values and their removal leave no trace. `n·Σx² − (Σx)²` is computed
//! exactly too; rounding happens once at the end. PostgreSQL instead updates means one row
//! after the other (Youngs and Cramer), so the last digits of doubles may differ from it.
//! Variances of whole numbers and numerics are numeric, divided as PostgreSQL divides.

use arrow::datatypes::i256;

use super::float::ExactFloat;
use super::quotient::{average, decimals};
use super::total::overflow;
use crate::error::{HwError, Result, sqlstate};
use crate::types::special::{NAN, is_special};

/// A statistic of one or two variables; the first argument is `y`, as in PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Statistic {
    VarPop,
    VarSamp,
    StddevPop,
    StddevSamp,
    CovarPop,
    CovarSamp,
    Corr,
    RegrCount,
    RegrAvgx,
    RegrAvgy,
    RegrSxx,
    RegrSyy,
    RegrSxy,
    RegrSlope,
    RegrIntercept,
    RegrR2,
}

impl Statistic {
    pub const ALL: [Statistic; 16] = [
        Statistic::VarPop,
        Statistic::VarSamp,
        Statistic::StddevPop,
        Statistic::StddevSamp,
        Statistic::CovarPop,
        Statistic::CovarSamp,
        Statistic::Corr,
        Statistic::RegrCount,
        Statistic::RegrAvgx,
        Statistic::RegrAvgy,
        Statistic::RegrSxx,
        Statistic::RegrSyy,
        Statistic::RegrSxy,
        Statistic::RegrSlope,
        Statistic::RegrIntercept,
        Statistic::RegrR2,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Statistic::VarPop => "var_pop",
            Statistic::VarSamp => "var_samp",
            Statistic::StddevPop => "stddev_pop",
            Statistic::StddevSamp => "stddev_samp",
            Statistic::CovarPop => "covar_pop",
            Statistic::CovarSamp => "covar_samp",
            Statistic::Corr => "corr",
            Statistic::RegrCount => "regr_count",
            Statistic::RegrAvgx => "regr_avgx",
            Statistic::RegrAvgy => "regr_avgy",
            Statistic::RegrSxx => "regr_sxx",
            Statistic::RegrSyy => "regr_syy",
            Statistic::RegrSxy => "regr_sxy",
            Statistic::RegrSlope => "regr_slope",
            Statistic::RegrIntercept => "regr_intercept",
            Statistic::RegrR2 => "regr_r2",
        }
    }

    /// Other names of the same, by which a query may call it.
    pub fn other_names(self) -> &'static [&'static str] {
        match self {
            Statistic::VarPop => &["var_population"],
            Statistic::VarSamp => &["variance", "var", "var_sample"],
            Statistic::StddevSamp => &["stddev"],
            Statistic::CovarSamp => &["covar"],
            _ => &[],
        }
    }

    pub fn of_name(name: &str) -> Option<Statistic> {
        Statistic::ALL.into_iter().find(|s| s.name() == name || s.other_names().contains(&name))
    }

    /// Whether it is of two variables.
    pub fn is_of_two(self) -> bool {
        !matches!(self, Statistic::VarPop | Statistic::VarSamp | Statistic::StddevPop | Statistic::StddevSamp)
    }

    fn is_sample(self) -> bool {
        matches!(self, Statistic::VarSamp | Statistic::StddevSamp | Statistic::CovarSamp)
    }

    fn is_root(self) -> bool {
        matches!(self, Statistic::StddevPop | Statistic::StddevSamp)
    }
}

/// Sums of the second variable and of products.
#[derive(Clone, Debug, Default)]
struct Second {
    y: ExactFloat,
    yy: ExactFloat,
    xy: ExactFloat,
}

/// Moments of doubles.
#[derive(Clone, Debug, Default)]
pub struct FloatMoments {
    count: i64,
    /// Weight of rows with NaN or an infinity.
    special: i64,
    x: ExactFloat,
    xx: ExactFloat,
    second: Option<Box<Second>>,
}

impl FloatMoments {
    /// Adds a value of one variable.
    pub fn add(&mut self, x: f64, weight: i64) {
        self.count += weight;
        if !x.is_finite() {
            self.special += weight;
            return;
        }
        self.x.add(x, weight);
        self.xx.add_products(x, x, weight);
    }

    /// Adds a pair.
    pub fn add_pair(&mut self, y: f64, x: f64, weight: i64) {
        if !(x.is_finite() && y.is_finite()) {
            self.count += weight;
            self.special += weight;
            return;
        }
        self.add(x, weight);
        let second = self.second.get_or_insert_default();
        second.y.add(y, weight);
        second.yy.add_products(y, y, weight);
        second.xy.add_products(x, y, weight);
    }

    pub fn join(&mut self, other: &FloatMoments) {
        self.count += other.count;
        self.special += other.special;
        self.x.join(&other.x);
        self.xx.join(&other.xx);
        if let Some(other) = &other.second {
            let second = self.second.get_or_insert_default();
            second.y.join(&other.y);
            second.yy.join(&other.yy);
            second.xy.join(&other.xy);
        }
    }

    /// `n·Σab − Σa·Σb`.
    fn scaled_spread(&self, products: &ExactFloat, a: &ExactFloat, b: &ExactFloat) -> ExactFloat {
        let mut spread = products.times_integer(self.count);
        spread.subtract(&a.times(b));
        spread
    }

    /// `(Σy·Sxx − Σx·Sxy) / (n·Sxx)`, where `Sxx` is not zero.
    fn intercept(&self, second: &Second) -> f64 {
        let sxx = self.scaled_spread(&self.xx, &self.x, &self.x);
        let sxy = self.scaled_spread(&second.xy, &self.x, &second.y);
        let mut top = second.y.times(&sxx);
        top.subtract(&self.x.times(&sxy));
        let n = self.count as f64;
        let (exact, below) = (top.triple_value(), sxx.product_value(0));
        if exact.is_normal() && below.is_normal() {
            return exact / below / n;
        }
        let slope = sxy.product_value(-1024) / sxx.product_value(-1024);
        (second.y.value() - self.x.value() * slope) / n
    }

    /// PostgreSQL's Sxx, Syy, Sxy.
    fn spread(&self, products: &ExactFloat, a: &ExactFloat, b: &ExactFloat) -> f64 {
        let spread = self.scaled_spread(products, a, b);
        let n = self.count as f64;
        let value = spread.product_value(0);
        if value.is_finite() { value / n } else { spread.product_value(-512) / n * 2f64.powi(512) }
    }

    /// `None` is NULL; 22003 if the value is beyond the doubles.
    pub fn value(&self, statistic: Statistic) -> Result<Option<f64>> {
        use Statistic::*;
        let n = self.count as f64;
        if self.count <= 0 || (statistic.is_sample() && self.count < 2) {
            return Ok(None);
        }
        if self.special != 0 {
            let constant = matches!(statistic, RegrCount);
            return Ok(Some(if constant { n } else { f64::NAN }));
        }
        let none = Second::default();
        let second = self.second.as_deref().unwrap_or(&none);
        let sxx = || self.spread(&self.xx, &self.x, &self.x);
        let syy = || self.spread(&second.yy, &second.y, &second.y);
        let sxy = || self.spread(&second.xy, &self.x, &second.y);
        let value = match statistic {
            VarPop => sxx() / n,
            VarSamp => sxx() / (n - 1.0),
            StddevPop => (sxx() / n).sqrt(),
            StddevSamp => (sxx() / (n - 1.0)).sqrt(),
            CovarPop => sxy() / n,
            CovarSamp => sxy() / (n - 1.0),
            RegrCount => n,
            RegrAvgx => self.x.value() / n,
            RegrAvgy => second.y.value() / n,
            RegrSxx => sxx(),
            RegrSyy => syy(),
            RegrSxy => sxy(),
            Corr => match (sxx(), syy()) {
                (0.0, _) | (_, 0.0) => return Ok(None),
                (sxx, syy) => (sxy() / sxx.sqrt() / syy.sqrt()).clamp(-1.0, 1.0),
            },
            RegrR2 => match (sxx(), syy()) {
                (0.0, _) => return Ok(None),
                (_, 0.0) => 1.0,
                (sxx, syy) => (sxy() / sxx) * (sxy() / syy),
            },
            RegrSlope | RegrIntercept => match sxx() {
                0.0 => return Ok(None),
                sxx if statistic == RegrSlope => sxy() / sxx,
                _ => self.intercept(second),
            },
        };
        if value.is_infinite() { Err(overflow()) } else { Ok(Some(value)) }
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.special.to_le_bytes());
        let none = Second::default();
        let second = self.second.as_deref().unwrap_or(&none);
        [&self.x, &self.xx, &second.y, &second.yy, &second.xy].iter().for_each(|sum| sum.write(out));
    }

    pub fn read(bytes: &mut &[u8]) -> Option<FloatMoments> {
        let mut number = || Some(i64::from_le_bytes(*bytes.split_off(..8)?.first_chunk()?));
        let (count, special) = (number()?, number()?);
        let (x, xx) = (ExactFloat::read(bytes)?, ExactFloat::read(bytes)?);
        let (y, yy, xy) = (ExactFloat::read(bytes)?, ExactFloat::read(bytes)?, ExactFloat::read(bytes)?);
        Some(FloatMoments { count, special, x, xx, second: Some(Box::new(Second { y, yy, xy })) })
    }

    /// Estimated bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let second = self
            .second
            .as_ref()
            .map_or(0, |s| size_of::<Second>() + s.y.heap_bytes() + s.yy.heap_bytes() + s.xy.heap_bytes());
        self.x.heap_bytes() + self.xx.heap_bytes() + second
    }
}

/// Values from here on have squares that 256 bits cannot add up.
const LARGEST: u128 = 10u128.pow(32);

/// Moments of whole numbers and numerics of one scale.
#[derive(Clone, Copy, Debug, Default)]
pub struct WholeMoments {
    count: i64,
    /// Weight of values that are too large.
    special: i64,
    /// The sum, which needs less than 192 bits. Above them is the weight of NaN and infinities.
    x: i256,
    xx: i256,
}

impl WholeMoments {
    #[inline]
    pub fn add(&mut self, x: i128, weight: i64) {
        self.count += weight;
        if x.unsigned_abs() >= LARGEST {
            match is_special(x) {
                true => self.x = self.x.wrapping_add(i256::from_parts(0, i128::from(weight) << 64)),
                false => self.special += weight,
            }
            return;
        }
        let (x, weight) = (i256::from_i128(x), i256::from(weight));
        self.x = self.x.wrapping_add(x.wrapping_mul(weight));
        self.xx = self.xx.wrapping_add(x.wrapping_mul(x).wrapping_mul(weight));
    }

    pub fn join(&mut self, other: &WholeMoments) {
        self.count += other.count;
        self.special += other.special;
        self.x = self.x.wrapping_add(other.x);
        self.xx = self.xx.wrapping_add(other.xx);
    }

    /// Whether NaN or an infinity is among the values.
    fn is_nan(&self) -> bool {
        let half = i256::from_parts(0, 1 << 63);
        self.x.wrapping_add(half).to_parts().1 >> 64 != 0
    }

    /// A variance or deviation as an unscaled number of `output_scale` decimals; `None` is
    /// NULL. `plain`: the values declare no scale, so only decimals in use count.
    pub fn value(
        &self,
        statistic: Statistic,
        scale: u32,
        plain: bool,
        output_scale: u32,
    ) -> Result<Option<i128>> {
        if self.count <= 0 || (statistic.is_sample() && self.count < 2) {
            return Ok(None);
        }
        if self.is_nan() {
            return Ok(Some(NAN));
        }
        self.spread(statistic, scale, plain, output_scale).map(Some).ok_or_else(|| {
            HwError::new(sqlstate::NUMERIC_VALUE_OUT_OF_RANGE, "value overflows numeric format")
        })
    }

    fn spread(&self, statistic: Statistic, scale: u32, plain: bool, output_scale: u32) -> Option<i128> {
        if self.special != 0 {
            return None;
        }
        let n = i256::from(self.count);
        let spread = self.xx.checked_mul(n)?.checked_sub(self.x.checked_mul(self.x)?)?;
        if spread <= i256::ZERO {
            return Some(0);
        }
        let count = self.count as i128;
        let divisor = if statistic.is_sample() { count * (count - 1) } else { count * count };
        let shown = if plain { digits_in_use(spread, 2 * scale) } else { 2 * scale };
        let variance = average(spread, 2 * scale, shown, divisor, output_scale)?;
        if !statistic.is_root() {
            return Some(variance);
        }
        let kept = decimals(spread, 2 * scale, shown, divisor, output_scale);
        // One more decimal than is kept, to round by.
        let shifted = i256::from_i128(variance).checked_mul(power(output_scale + 2)?)?;
        let root = square_root(shifted);
        let drop = power(output_scale + 1 - kept)?;
        let rounded = root.checked_add(drop.checked_div(i256::from(2i64))?)?.checked_div(drop)?;
        rounded.checked_mul(power(output_scale - kept)?)?.to_i128()
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.special.to_le_bytes());
        out.extend_from_slice(&self.x.to_le_bytes());
        out.extend_from_slice(&self.xx.to_le_bytes());
    }

    pub fn read(bytes: &mut &[u8]) -> Option<WholeMoments> {
        let mut number = || Some(i64::from_le_bytes(*bytes.split_off(..8)?.first_chunk()?));
        let (count, special) = (number()?, number()?);
        let mut wide = || Some(i256::from_le_bytes(*bytes.split_off(..32)?.first_chunk()?));
        Some(WholeMoments { count, special, x: wide()?, xx: wide()? })
    }
}

fn power(exponent: u32) -> Option<i256> {
    i256::from_i128(10).checked_pow(exponent)
}

/// Decimals of `value / 10^scale` without trailing zeros.
fn digits_in_use(mut value: i256, scale: u32) -> u32 {
    let ten = i256::from_i128(10);
    let mut left = scale;
    while left > 0 && value.checked_rem(ten) == Some(i256::ZERO) {
        value = value.wrapping_div(ten);
        left -= 1;
    }
    left
}

/// The largest whole number whose square is at most `value`, which is positive.
fn square_root(value: i256) -> i256 {
    let bits = match value.to_parts() {
        (low, 0) => 128 - low.leading_zeros(),
        (_, high) => 256 - high.leading_zeros(),
    };
    // Newton's method from above the root falls until it is there.
    let mut root = i256::ONE << bits.div_ceil(2) as u8;
    loop {
        let next = root.wrapping_add(value.wrapping_div(root)).wrapping_div(i256::from(2i64));
        if next >= root {
            return root;
        }
        root = next;
    }
}

#[cfg(test)]
mod tests;
