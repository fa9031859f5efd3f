//! PostgreSQL's numeric on 128-bit decimals: exact arithmetic, rounding, text.
//!
//! A value is `v × 10^-scale`, or NaN or an infinity ([`crate::types::special`]). Additions and products are exact as long as they fit 38
//! digits; quotients are rounded where PostgreSQL's `select_div_scale` rounds them (at
//! least 16 significant digits). Every rounding is half away from zero. What does not
//! fit raises 22003.

use std::cmp::Ordering;
use std::fmt;

use arrow::datatypes::i256;

use crate::error::{HwError, Result, sqlstate};
use crate::types::pg_type::NUMERIC_PRECISION;
use crate::types::special::{self, INFINITY, NAN, Specials};
use crate::types::text::infinity_overflow;

/// Digits after the point of quotients and averages; their carrier is `Decimal128(38, 20)`.
pub const QUOTIENT_SCALE: i8 = 20;
/// `NUMERIC_MIN_SIG_DIGITS` of PostgreSQL.
const MIN_SIGNIFICANT_DIGITS: i32 = 16;
const LIMIT: i128 = 10i128.pow(38);

/// A decimal number; `scale` is 0..=38.
#[derive(Clone, Copy, Debug)]
pub struct Numeric {
    pub v: i128,
    pub scale: i8,
}

fn pow10(n: u32) -> i256 {
    i256::from_i128(10).wrapping_pow(n)
}

/// 22003 `numeric field overflow`, for values that the carrier cannot hold.
pub fn overflow() -> HwError {
    HwError::new(sqlstate::NUMERIC_VALUE_OUT_OF_RANGE, "value overflows numeric format")
        .with_hint("Headwater keeps at most 38 digits of a numeric.")
}

/// 22012.
pub fn division_by_zero() -> HwError {
    HwError::new(sqlstate::DIVISION_BY_ZERO, "division by zero")
}

/// `a / b` rounded half away from zero; `b` is positive.
fn round_div(a: i256, b: i256) -> i256 {
    let quotient = a.wrapping_div(b);
    let rest = a.wrapping_rem(b);
    let twice = rest.wrapping_abs().wrapping_mul(i256::from_i128(2));
    match (twice >= b, a.is_negative()) {
        (false, _) => quotient,
        (true, false) => quotient.wrapping_add(i256::ONE),
        (true, true) => quotient.wrapping_sub(i256::ONE),
    }
}

fn fit128(v: i256) -> Result<i128> {
    v.to_i128().filter(|v| v.unsigned_abs() < LIMIT.unsigned_abs()).ok_or_else(overflow)
}

impl Numeric {
    pub fn new(v: i128, scale: i8) -> Numeric {
        Numeric { v, scale }
    }

    pub const NAN: Numeric = Numeric { v: NAN, scale: 0 };

    /// ∞ or −∞.
    pub fn infinity(negative: bool) -> Numeric {
        Numeric { v: if negative { -INFINITY } else { INFINITY }, scale: 0 }
    }

    /// Whether it is NaN or an infinity.
    pub fn is_special(self) -> bool {
        special::is_special(self.v)
    }

    pub fn is_nan(self) -> bool {
        self.v == NAN
    }

    pub fn is_infinite(self) -> bool {
        self.is_special() && !self.is_nan()
    }

    /// The same value at another scale, rounded if digits are lost.
    pub fn rescale(self, scale: i8) -> Result<Numeric> {
        if self.is_special() {
            return Ok(Numeric { v: self.v, scale });
        }
        let v = match scale - self.scale {
            0 => return Ok(self),
            up if up > 0 && up <= 38 => {
                let v = self.v.checked_mul(10i128.pow(up as u32)).ok_or_else(overflow)?;
                fit128(i256::from_i128(v))?
            }
            down if (-38..0).contains(&down) => {
                let unit = 10i128.pow((-down) as u32);
                let (quotient, rest) = (self.v / unit, self.v % unit);
                // `unit - |rest|` and not `2 * rest`, which could overflow at 38 digits.
                let up = rest.unsigned_abs() >= unit.unsigned_abs() - rest.unsigned_abs();
                if up { quotient + self.v.signum() } else { quotient }
            }
            _ => return Err(overflow()),
        };
        Ok(Numeric { v, scale })
    }

    /// The unscaled value as `numeric(precision, scale)`.
    pub fn fit(self, precision: u8, scale: i8) -> Result<i128> {
        let field_overflow = || {
            HwError::new(sqlstate::NUMERIC_VALUE_OUT_OF_RANGE, "numeric field overflow").with_detail(format!(
                "A field with precision {precision}, scale {scale} must round to an absolute value less than \
                 10^{}.",
                precision as i32 - scale as i32
            ))
        };
        if self.is_special() {
            let holds = self.is_nan() || precision >= NUMERIC_PRECISION;
            return if holds { Ok(self.v) } else { Err(infinity_overflow(precision, scale)) };
        }
        let v = self.rescale(scale).map_err(|_| field_overflow())?.v;
        match v.unsigned_abs() < 10u128.pow(precision.min(38) as u32) {
            true => Ok(v),
            false => Err(field_overflow()),
        }
    }

    pub fn checked_add(self, other: Numeric) -> Result<Numeric> {
        let scale = self.scale.max(other.scale);
        if self.is_special() || other.is_special() {
            let mut sum = Specials::default();
            [self, other].iter().filter(|n| n.is_special()).for_each(|n| sum.add(n.v, 1));
            return Ok(Numeric { v: sum.sum().unwrap_or(NAN), scale });
        }
        let v = self.rescale(scale)?.v.checked_add(other.rescale(scale)?.v).ok_or_else(overflow)?;
        Ok(Numeric { v: fit128(i256::from_i128(v))?, scale })
    }

    pub fn negated(self) -> Numeric {
        Numeric { v: special::negated(self.v), scale: self.scale }
    }

    /// Product rounded to `scale`.
    pub fn mul(self, other: Numeric, scale: i8) -> Result<Numeric> {
        if self.is_special() || other.is_special() {
            let sign = self.v.signum() * other.v.signum();
            let nan = self.is_nan() || other.is_nan() || sign == 0;
            return Ok(if nan { Numeric::NAN } else { Numeric::infinity(sign < 0) });
        }
        let exact = self.scale as i32 + other.scale as i32;
        if exact == scale as i32
            && let Some(v) = self.v.checked_mul(other.v)
            && v.unsigned_abs() < LIMIT.unsigned_abs()
        {
            return Ok(Numeric { v, scale });
        }
        let product = i256::from_i128(self.v).wrapping_mul(i256::from_i128(other.v));
        let v = match exact - scale as i32 {
            drop if drop >= 0 => round_div(product, pow10(drop as u32)),
            add => product.checked_mul(pow10((-add) as u32)).ok_or_else(overflow)?,
        };
        Ok(Numeric { v: fit128(v)?, scale })
    }

    /// Quotient with as many digits as PostgreSQL computes, but at most [`QUOTIENT_SCALE`].
    pub fn quotient(self, other: Numeric) -> Result<Numeric> {
        if self.is_nan() || other.is_nan() {
            return Ok(Numeric::NAN);
        }
        if other.v == 0 {
            return Err(division_by_zero());
        }
        match (self.is_special(), other.is_special()) {
            (true, true) => return Ok(Numeric::NAN),
            (true, false) => return Ok(Numeric::infinity((self.v < 0) != (other.v < 0))),
            (false, true) => return Ok(Numeric::new(0, 0)),
            (false, false) => {}
        }
        let scale = div_scale(self, other).min(QUOTIENT_SCALE as i32) as i8;
        let shift = scale as i32 + other.scale as i32 - self.scale as i32;
        let (mut top, mut bottom) = (i256::from_i128(self.v), i256::from_i128(other.v));
        if shift >= 0 {
            top = top.checked_mul(pow10(shift as u32)).ok_or_else(overflow)?;
        } else {
            bottom = bottom.checked_mul(pow10((-shift) as u32)).ok_or_else(overflow)?;
        }
        if bottom.is_negative() {
            (top, bottom) = (top.wrapping_neg(), bottom.wrapping_neg());
        }
        Ok(Numeric { v: fit128(round_div(top, bottom))?, scale })
    }

    /// Remainder with the dividend's sign.
    pub fn remainder(self, other: Numeric) -> Result<Numeric> {
        if self.is_nan() || other.is_nan() {
            return Ok(Numeric::NAN);
        }
        if other.v == 0 {
            return Err(division_by_zero());
        }
        match (self.is_special(), other.is_special()) {
            (true, _) => return Ok(Numeric::NAN),
            (false, true) => return Ok(self),
            (false, false) => {}
        }
        let scale = self.scale.max(other.scale);
        let a = i256::from_i128(self.v).wrapping_mul(pow10((scale - self.scale) as u32));
        let b = i256::from_i128(other.v).wrapping_mul(pow10((scale - other.scale) as u32));
        Ok(Numeric { v: fit128(a.wrapping_rem(b))?, scale })
    }

    /// Toward zero at `scale` digits.
    pub fn trunc(self, scale: i8) -> Numeric {
        if scale >= self.scale || self.is_special() {
            return self;
        }
        let unit = 10i128.pow((self.scale - scale) as u32);
        Numeric { v: self.v / unit * unit, scale: self.scale }
    }

    /// Rounded at `digits` after the point (before it if negative), scale unchanged.
    pub fn round(self, digits: i32) -> Result<Numeric> {
        if digits >= self.scale as i32 || self.is_special() {
            return Ok(self);
        }
        let drop = self.scale as i32 - digits;
        if drop > 38 {
            return Ok(Numeric { v: 0, scale: self.scale });
        }
        let unit = pow10(drop as u32);
        let v = round_div(i256::from_i128(self.v), unit).wrapping_mul(unit);
        Ok(Numeric { v: fit128(v)?, scale: self.scale })
    }

    pub fn floor(self) -> Result<Numeric> {
        let whole = self.trunc(0);
        if self.v < whole.v { whole.checked_add(Numeric::new(-1, 0)) } else { Ok(whole) }
    }

    pub fn ceil(self) -> Result<Numeric> {
        Ok(self.negated().floor()?.negated())
    }

    /// Without zeros at the end of the fraction.
    pub fn trimmed(self) -> Numeric {
        let mut n = self;
        while n.scale > 0 && n.v % 10 == 0 && !n.is_special() {
            n = Numeric { v: n.v / 10, scale: n.scale - 1 };
        }
        n
    }

    /// Nearest double.
    pub fn to_f64(self) -> f64 {
        if self.is_special() {
            return special::to_f64(self.v);
        }
        if self.scale == 0 {
            return self.v as f64;
        }
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    /// From a double by its 15 significant digits, as PostgreSQL casts float8 to numeric.
    pub fn from_f64(v: f64, digits: usize) -> Result<Numeric> {
        if !v.is_finite() {
            return Ok(Numeric::new(special::of_f64(v), 0));
        }
        Numeric::parse(&format!("{v:.*e}", digits.saturating_sub(1)))
            .ok_or_else(overflow)
            .map(Numeric::trimmed)
    }

    /// Integer nearest to the value, half away from zero; none is near a special value.
    pub fn to_i128(self) -> Option<i128> {
        self.rescale(0).ok().filter(|n| !n.is_special()).map(|n| n.v)
    }

    /// Decimal or scientific notation; `None` if malformed or beyond 38 digits. Fraction
    /// digits that do not fit are rounded away.
    pub fn parse(text: &str) -> Option<Numeric> {
        let text = text.trim();
        let (negative, body) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (mantissa, exponent) = match body.find(['e', 'E']) {
            Some(at) => (&body[..at], body[at + 1..].parse::<i32>().ok()?),
            None => (body, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = [whole.as_bytes(), fraction.as_bytes()].concat();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let mut scale = fraction.len() as i32 - exponent;
        let mut v: i128 = 0;
        let mut rest = digits.iter();
        for d in rest.by_ref() {
            let digit = i128::from(d - b'0');
            match v.checked_mul(10).and_then(|v| v.checked_add(digit)).filter(|v| *v < LIMIT) {
                Some(next) => v = next,
                None => {
                    // Digits beyond the carrier: round at the first one, count the others.
                    let dropped = 1 + rest.len() as i32;
                    v += i128::from(digit >= 5);
                    scale -= dropped;
                    if scale < 0 {
                        return None;
                    }
                    break;
                }
            }
        }
        if scale < 0 {
            v = v.checked_mul(10i128.checked_pow((-scale) as u32)?).filter(|v| *v < LIMIT)?;
            scale = 0;
        }
        let mut n = Numeric { v, scale: 0 };
        if scale > 38 {
            let drop = (scale - 38) as u32;
            n.v = 10i128.checked_pow(drop).filter(|p| *p <= LIMIT).map_or(0, |p| n.v / p);
            scale = 38;
        }
        n.scale = scale as i8;
        Some(if negative { n.negated() } else { n })
    }
}

impl PartialEq for Numeric {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Numeric {}
impl PartialOrd for Numeric {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Numeric {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.is_special() || other.is_special() {
            return self.v.cmp(&other.v);
        }
        let scale = self.scale.max(other.scale);
        let a = i256::from_i128(self.v).wrapping_mul(pow10((scale - self.scale) as u32));
        let b = i256::from_i128(other.v).wrapping_mul(pow10((scale - other.scale) as u32));
        a.cmp(&b)
    }
}

impl fmt::Display for Numeric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_special() {
            return f.write_str(special::text(self.v));
        }
        let sign = if self.v < 0 { "-" } else { "" };
        let digits = self.v.unsigned_abs().to_string();
        if self.scale <= 0 {
            return write!(f, "{sign}{digits}{}", "0".repeat(self.scale.unsigned_abs() as usize));
        }
        let scale = self.scale as usize;
        let digits = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        write!(f, "{sign}{whole}.{fraction}")
    }
}

/// Weight and leading digit in base 10000, as PostgreSQL stores numerics.
fn leading(n: Numeric) -> (i32, u128) {
    let v = n.v.unsigned_abs();
    if v == 0 {
        return (0, 0);
    }
    let digits = v.ilog10() as i32 + 1;
    let exponent = digits - 1 - n.scale as i32;
    let take = exponent.rem_euclid(4) + 1;
    let first = match digits - take {
        extra if extra >= 0 => v / 10u128.pow(extra as u32),
        missing => v * 10u128.pow((-missing) as u32),
    };
    (exponent.div_euclid(4), first)
}

/// `select_div_scale` of PostgreSQL's numeric.c.
fn div_scale(a: Numeric, b: Numeric) -> i32 {
    let ((weight_a, first_a), (weight_b, first_b)) = (leading(a), leading(b));
    let mut weight = weight_a - weight_b;
    if first_a <= first_b {
        weight -= 1;
    }
    let shown = a.trimmed().scale.max(b.trimmed().scale) as i32;
    (MIN_SIGNIFICANT_DIGITS - weight * 4).max(shown).max(0)
}

impl Numeric {
    /// Text of a quotient: the digits that PostgreSQL computes for a quotient of that size.
    pub fn quotient_text(self) -> String {
        if self.is_special() {
            return self.to_string();
        }
        let scale = (MIN_SIGNIFICANT_DIGITS - leading(self).0 * 4).clamp(0, QUOTIENT_SCALE as i32);
        let shown = scale.max(self.trimmed().scale as i32) as i8;
        self.rescale(shown).unwrap_or(self).to_string()
    }
}
