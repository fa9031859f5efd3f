//! PostgreSQL's numeric division, for averages.
//!
//! `avg` of integers and numerics is `sum / count` in `numeric`. The number of decimals is
//! PostgreSQL's (`select_div_scale` in numeric.c): at least 16 significant digits by
//! base-10000 weights, at least the scale of the dividend; rounded half away from zero.
//! The result is held at a fixed scale, so decimals beyond that are rounded away.

use arrow::datatypes::i256;

const MIN_SIGNIFICANT_DIGITS: i32 = 16;
/// Decimal digits of one PostgreSQL numeric digit.
const DIGIT_WIDTH: i32 = 4;

/// `sum / count`, where `sum` has `scale` decimals of which `shown` are significant, as an
/// unscaled number of `output_scale` decimals. `None` if it does not fit into 38 digits.
pub fn average(sum: i256, scale: u32, shown: u32, count: i128, output_scale: u32) -> Option<i128> {
    if sum == i256::ZERO || count == 0 {
        return Some(0);
    }
    let decimals = decimals(sum, scale, shown, count, output_scale);
    let quotient = divide(sum, scale, count, decimals)?;
    let scaled = quotient.checked_mul(10i128.checked_pow(output_scale - decimals)?)?;
    (scaled.unsigned_abs() < 10u128.pow(38)).then_some(scaled)
}

/// Decimals of the quotient that [`average`] rounds to; `sum` is not zero.
pub fn decimals(sum: i256, scale: u32, shown: u32, count: i128, output_scale: u32) -> u32 {
    let (weight, first) = leading_digit(sum, scale as i32);
    let (count_weight, count_first) = leading_digit(i256::from_i128(count), 0);
    let mut quotient_weight = weight - count_weight;
    if first <= count_first {
        quotient_weight -= 1;
    }
    let decimals = (MIN_SIGNIFICANT_DIGITS - quotient_weight * DIGIT_WIDTH).max(shown as i32).max(0) as u32;
    decimals.min(output_scale)
}

/// `sum / 10^scale / count` at `decimals` decimals, rounded half away from zero.
fn divide(sum: i256, scale: u32, count: i128, decimals: u32) -> Option<i128> {
    let (up, down) = (decimals.saturating_sub(scale), scale.saturating_sub(decimals));
    let small = || {
        let dividend = sum.to_i128()?.checked_mul(10i128.checked_pow(up)?)?;
        let divisor = count.checked_mul(10i128.checked_pow(down)?)?;
        let (quotient, rest) = (dividend / divisor, dividend % divisor);
        let away = (rest.unsigned_abs() >= divisor.unsigned_abs() - rest.unsigned_abs()) as i128;
        Some(if (dividend < 0) == (divisor < 0) { quotient + away } else { quotient - away })
    };
    small().or_else(|| {
        let ten = i256::from_i128(10);
        let dividend = sum.checked_mul(ten.checked_pow(up)?)?;
        let divisor = i256::from_i128(count).checked_mul(ten.checked_pow(down)?)?;
        let (quotient, rest) = (dividend.checked_div(divisor)?, dividend.checked_rem(divisor)?);
        let (rest, whole) = (rest.wrapping_abs(), divisor.wrapping_abs());
        let away = i256::from_i128((rest >= whole.wrapping_sub(rest)) as i128);
        let rounded = if (dividend < i256::ZERO) == (divisor < i256::ZERO) {
            quotient.checked_add(away)?
        } else {
            quotient.checked_sub(away)?
        };
        rounded.to_i128()
    })
}

/// Weight and value of the leading base-10000 digit of `value / 10^scale`, not zero.
fn leading_digit(value: i256, scale: i32) -> (i32, u32) {
    let (digits, leading) = match value.to_i128() {
        Some(small) => {
            let small = small.unsigned_abs();
            let digits = small.ilog10() as i32 + 1;
            (digits, small / 10u128.pow((digits - 5).max(0) as u32))
        }
        None => {
            let text = value.wrapping_abs().to_string();
            let leading = text.as_bytes()[..5].iter().fold(0, |n, d| n * 10 + (d - b'0') as u128);
            (text.len() as i32, leading)
        }
    };
    // `leading` holds the first min(digits, 5) decimal digits.
    let exponent = digits - scale - 1;
    let weight = exponent.div_euclid(DIGIT_WIDTH);
    let wanted = exponent - weight * DIGIT_WIDTH + 1;
    let held = digits.min(5);
    let first = if held >= wanted {
        leading / 10u128.pow((held - wanted) as u32)
    } else {
        leading * 10u128.pow((wanted - held) as u32)
    };
    (weight, first as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `sum`, `scale`, `count` → text of the quotient, trailing zeros cut.
    fn check(sum: i128, scale: u32, count: i128, expect: &str) {
        let value = average(i256::from_i128(sum), scale, scale, count, 20).unwrap();
        let text = format!("{}{:021}", if value < 0 { "-" } else { "" }, value.unsigned_abs());
        let (whole, decimals) = text.split_at(text.len() - 20);
        let text = format!("{whole}.{decimals}");
        assert_eq!(text.trim_end_matches('0').trim_end_matches('.'), expect);
    }

    #[test]
    fn decimals_follow_select_div_scale() {
        // Expected values as PostgreSQL 15 gives them.
        check(1, 0, 3, "0.33333333333333333333");
        check(10, 0, 3, "3.3333333333333333");
        check(2, 0, 3, "0.66666666666666666667");
        check(-2, 0, 3, "-0.66666666666666666667");
        check(20_000, 0, 3, "6666.6666666666666667");
        check(100_000_000, 0, 3, "33333333.333333333333");
        check(7, 0, 2, "3.5");
        check(150, 2, 4, "0.375");
        check(1_000_000_000_000_000_001, 0, 2, "500000000000000001");
        check(0, 0, 5, "0");
    }

    #[test]
    fn wide_sums_divide_too() {
        let sum = i256::from_i128(i128::MAX).wrapping_mul(i256::from_i128(1000));
        let expect = i128::MAX / 1_000_000_000_000_000_000_000;
        let value = average(sum, 24, 24, 1, 0).unwrap();
        assert!((value - expect).abs() <= 1, "{value} {expect}");
        assert_eq!(average(sum, 0, 0, 1, 20), None);
    }
}
