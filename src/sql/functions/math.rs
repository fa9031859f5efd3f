//! Mathematical functions with PostgreSQL's overloads, rounding and domain errors.

use arrow::datatypes::DataType;

use super::arith::{checked_pow, float_overflow, numeric_pow, remainder};
use super::column::out_of_range;
use super::datum::{Datum, Function, Kind, Ret};
use super::decimal::{Numeric, QUOTIENT_SCALE, division_by_zero};
use super::temporal::interval_order;
use crate::error::{HwError, Result, sqlstate};

fn like_first(types: &[DataType]) -> DataType {
    types.first().cloned().unwrap_or(DataType::Float64)
}

fn whole(_: &[DataType]) -> DataType {
    DataType::Decimal128(38, 0)
}

fn quotient(_: &[DataType]) -> DataType {
    DataType::Decimal128(38, QUOTIENT_SCALE)
}

/// What is infinite, or zero where it cannot be, is 22003 for finite inputs.
fn finite(v: f64, input: f64) -> Result<Datum<'static>> {
    match input.is_finite() {
        true if v.is_infinite() => Err(float_overflow()),
        true if v == 0.0 && input != 0.0 => Err(super::float_ops::float_underflow()),
        _ => Ok(Datum::Float(v)),
    }
}

/// NaN has no sign: there is one NaN only.
fn negated(v: f64) -> f64 {
    if v.is_nan() { v } else { -v }
}

/// 2201E.
fn log_of(v: f64) -> Result<f64> {
    match v {
        0.0 => Err(HwError::new("2201E", "cannot take logarithm of zero")),
        v if v < 0.0 => Err(HwError::new("2201E", "cannot take logarithm of a negative number")),
        v => Ok(v.ln()),
    }
}

fn root(v: f64) -> Result<f64> {
    match v < 0.0 {
        true => Err(HwError::new("2201F", "cannot take square root of a negative number")),
        false => Ok(v.sqrt()),
    }
}

fn gcd(mut a: i128, mut b: i128) -> i128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.abs()
}

fn narrow(v: i128, typname: &str) -> Result<Datum<'static>> {
    i64::try_from(v).map(Datum::Int).map_err(|_| out_of_range(typname))
}

/// A function of one double.
fn float1(name: &'static str, eval: super::datum::Eval) -> Function {
    Function::new(name).on(&[Kind::Float8], Kind::Float8, eval)
}

fn signs() -> Vec<Function> {
    use Kind::*;
    vec![
        Function::new("abs")
            .on(&[Int2], Int2, |_, a| Ok(Datum::Int(a[0].as_i64().abs())))
            .on(&[Int4], Int4, |_, a| Ok(Datum::Int(a[0].as_i64().abs())))
            .on(&[Int8], Int8, |_, a| {
                a[0].as_i64().checked_abs().map(Datum::Int).ok_or_else(|| out_of_range("bigint"))
            })
            .on(&[Float8], Float8, |_, a| Ok(Datum::Float(a[0].as_f64().abs())))
            .on(&[Float4], Float4, |_, a| Ok(Datum::Float(a[0].as_f64().abs())))
            .ret(&[Num], Ret::Of(like_first), |_, a| {
                let n = a[0].as_num();
                Ok(Datum::Num(if n.v < 0 { n.negated() } else { n }))
            }),
        Function::new("pg_neg")
            .on(&[Int2], Int2, |_, a| Ok(Datum::Int(-a[0].as_i64())))
            .on(&[Int4], Int4, |_, a| Ok(Datum::Int(-a[0].as_i64())))
            .on(&[Int8], Int8, |_, a| {
                a[0].as_i64().checked_neg().map(Datum::Int).ok_or_else(|| out_of_range("bigint"))
            })
            .on(&[Float8], Float8, |_, a| Ok(Datum::Float(negated(a[0].as_f64()))))
            .on(&[Float4], Float4, |_, a| Ok(Datum::Float(negated(a[0].as_f64()))))
            .ret(&[Num], Ret::Of(like_first), |_, a| Ok(Datum::Num(a[0].as_num().negated())))
            .on(&[Interval], Interval, |_, a| {
                let i = a[0].as_interval();
                let neg = (i.months.checked_neg(), i.days.checked_neg(), i.nanoseconds.checked_neg());
                match neg {
                    (Some(m), Some(d), Some(n)) => {
                        Ok(Datum::Interval(arrow::datatypes::IntervalMonthDayNano::new(m, d, n)))
                    }
                    _ => Err(HwError::new(sqlstate::DATETIME_FIELD_OVERFLOW, "interval out of range")),
                }
            }),
        Function::new("sign")
            .on(&[Float8], Float8, |_, a| {
                let v = a[0].as_f64();
                Ok(Datum::Float(f64::from(i8::from(v > 0.0) - i8::from(v < 0.0))))
            })
            .ret(&[Num], Ret::Of(whole), |_, a| {
                let n = a[0].as_num();
                Ok(Datum::Num(if n.is_nan() { n } else { Numeric::new(n.v.signum(), 0) }))
            }),
        Function::new("bitnot")
            .on(&[Int2], Int2, |_, a| Ok(Datum::Int(!a[0].as_i64())))
            .on(&[Int4], Int4, |_, a| Ok(Datum::Int(!a[0].as_i64())))
            .on(&[Int8], Int8, |_, a| Ok(Datum::Int(!a[0].as_i64()))),
        Function::new("interval_order").ret(&[Interval], Ret::Decimal(38, 0), |_, a| {
            Ok(Datum::Num(Numeric::new(interval_order(a[0].as_interval()), 0)))
        }),
    ]
}

fn bits() -> Vec<Function> {
    use Kind::*;
    vec![
        Function::new("bitxor")
            .on(&[Int2, Int2], Int2, |_, a| Ok(Datum::Int(a[0].as_i64() ^ a[1].as_i64())))
            .on(&[Int4, Int4], Int4, |_, a| Ok(Datum::Int(a[0].as_i64() ^ a[1].as_i64())))
            .on(&[Int8, Int8], Int8, |_, a| Ok(Datum::Int(a[0].as_i64() ^ a[1].as_i64()))),
        // The number of places counts modulo the operand's width, as the processor does.
        Function::new("shift_left")
            .on(&[Int2, Int4], Int2, |_, a| {
                let (v, n) = (a[0].as_i64() as i32, a[1].as_i64() as u32);
                Ok(Datum::Int((v.wrapping_shl(n) as i16).into()))
            })
            .on(&[Int4, Int4], Int4, |_, a| {
                Ok(Datum::Int((a[0].as_i64() as i32).wrapping_shl(a[1].as_i64() as u32).into()))
            })
            .on(&[Int8, Int4], Int8, |_, a| Ok(Datum::Int(a[0].as_i64().wrapping_shl(a[1].as_i64() as u32)))),
        Function::new("shift_right")
            .on(&[Int2, Int4], Int2, |_, a| {
                let (v, n) = (a[0].as_i64() as i32, a[1].as_i64() as u32);
                Ok(Datum::Int((v.wrapping_shr(n) as i16).into()))
            })
            .on(&[Int4, Int4], Int4, |_, a| {
                Ok(Datum::Int((a[0].as_i64() as i32).wrapping_shr(a[1].as_i64() as u32).into()))
            })
            .on(&[Int8, Int4], Int8, |_, a| Ok(Datum::Int(a[0].as_i64().wrapping_shr(a[1].as_i64() as u32)))),
    ]
}

fn rounding() -> Vec<Function> {
    use Kind::*;
    vec![
        Function::new("round")
            .on(&[Float8], Float8, |_, a| Ok(Datum::Float(a[0].as_f64().round_ties_even())))
            .ret(&[Num], Ret::Of(whole), |_, a| Ok(Datum::Num(a[0].as_num().round(0)?)))
            .ret(&[Num, Int4], Ret::Of(like_first), |_, a| {
                Ok(Datum::Num(a[0].as_num().round(a[1].as_i64().clamp(-1000, 1000) as i32)?))
            }),
        Function::new("trunc")
            .on(&[Float8], Float8, |_, a| Ok(Datum::Float(a[0].as_f64().trunc())))
            .ret(&[Num], Ret::Of(whole), |_, a| Ok(Datum::Num(a[0].as_num().trunc(0))))
            .ret(&[Num, Int4], Ret::Of(like_first), |_, a| {
                let n = a[0].as_num();
                let digits = a[1].as_i64().clamp(-38, 38) as i8;
                if n.scale as i32 - digits as i32 > 38 && !n.is_special() {
                    return Ok(Datum::Num(Numeric::new(0, n.scale)));
                }
                Ok(Datum::Num(n.trunc(digits)))
            }),
        Function::new("ceil")
            .alias("ceiling")
            .on(&[Float8], Float8, |_, a| Ok(Datum::Float(a[0].as_f64().ceil())))
            .ret(&[Num], Ret::Of(whole), |_, a| Ok(Datum::Num(a[0].as_num().ceil()?))),
        Function::new("floor").on(&[Float8], Float8, |_, a| Ok(Datum::Float(a[0].as_f64().floor()))).ret(
            &[Num],
            Ret::Of(whole),
            |_, a| Ok(Datum::Num(a[0].as_num().floor()?)),
        ),
    ]
}

fn division() -> Vec<Function> {
    use Kind::*;
    fn int_mod<'a>(_: &super::datum::Cx, a: &[Datum<'a>]) -> Result<Datum<'a>> {
        match a[1].as_i64() {
            0 => Err(division_by_zero()),
            b => Ok(Datum::Int(a[0].as_i64().wrapping_rem(b))),
        }
    }
    vec![
        Function::new("mod")
            .on(&[Int2, Int2], Int2, int_mod)
            .kernel(remainder)
            .on(&[Int4, Int4], Int4, int_mod)
            .kernel(remainder)
            .on(&[Int8, Int8], Int8, int_mod)
            .kernel(remainder)
            .ret(&[Num, Num], Ret::Of(quotient), |_, a| {
                Ok(Datum::Num(a[0].as_num().remainder(a[1].as_num())?))
            }),
        Function::new("div").ret(&[Num, Num], Ret::Of(like_first), |_, a| {
            let (x, y) = (a[0].as_num(), a[1].as_num());
            if y.v == 0 || x.is_special() || y.is_special() {
                return Ok(Datum::Num(x.quotient(y)?));
            }
            let rest = x.remainder(y)?;
            Ok(Datum::Num(x.checked_add(rest.negated())?.quotient(y)?.round(0)?))
        }),
        Function::new("min_scale").on(&[Num], Int4, |_, a| match a[0].as_num() {
            n if n.is_special() => Ok(Datum::Null),
            n => Ok(Datum::Int(i64::from(n.trimmed().scale))),
        }),
        Function::new("trim_scale").ret(&[Num], Ret::Is(Num), |_, a| Ok(Datum::Num(a[0].as_num().trimmed()))),
        Function::new("gcd")
            .on(&[Int4, Int4], Int4, |_, a| {
                narrow(gcd(a[0].as_i64().into(), a[1].as_i64().into()), "integer")
            })
            .on(&[Int8, Int8], Int8, |_, a| {
                narrow(gcd(a[0].as_i64().into(), a[1].as_i64().into()), "bigint")
            }),
        Function::new("lcm").on(&[Int4, Int4], Int4, |_, a| lcm(a, "integer")).on(
            &[Int8, Int8],
            Int8,
            |_, a| lcm(a, "bigint"),
        ),
        Function::new("width_bucket")
            .on(&[Any, AnyArray], Int4, |_, a| Ok(Datum::Int(super::array::bucket(&a[0], &a[1]))))
            .on(&[Float8, Float8, Float8, Int4], Int4, |_, a| {
                bucket(a[0].as_f64(), a[1].as_f64(), a[2].as_f64(), a[3].as_i64())
            })
            .on(&[Num, Num, Num, Int4], Int4, |_, a| {
                bucket(a[0].as_f64(), a[1].as_f64(), a[2].as_f64(), a[3].as_i64())
            }),
    ]
}

fn lcm(a: &[Datum], typname: &str) -> Result<Datum<'static>> {
    let (x, y) = (i128::from(a[0].as_i64()), i128::from(a[1].as_i64()));
    if x == 0 || y == 0 {
        return Ok(Datum::Int(0));
    }
    narrow((x / gcd(x, y) * y).abs(), typname)
}

fn bucket(v: f64, low: f64, high: f64, count: i64) -> Result<Datum<'static>> {
    let bad = |m: &str| Err(HwError::new("2201G", m));
    if count <= 0 {
        return bad("count must be greater than zero");
    }
    if v.is_nan() || low.is_nan() || high.is_nan() {
        return bad("operand, lower bound, and upper bound cannot be NaN");
    }
    if low.is_infinite() || high.is_infinite() {
        return bad("lower and upper bounds must be finite");
    }
    if low == high {
        return bad("lower bound cannot equal upper bound");
    }
    let (v, low, high) = if low < high { (v, low, high) } else { (-v, -low, -high) };
    Ok(Datum::Int(if v < low {
        0
    } else if v >= high {
        count + 1
    } else {
        ((v - low) / (high - low) * count as f64).floor() as i64 + 1
    }))
}

fn powers() -> Vec<Function> {
    use Kind::*;
    vec![
        Function::new("sqrt").on(&[Float8], Float8, |_, a| root(a[0].as_f64()).map(Datum::Float)).ret(
            &[Num],
            Ret::Of(quotient),
            |_, a| Ok(Datum::Num(Numeric::from_f64(root(a[0].as_f64())?, 16)?)),
        ),
        float1("cbrt", |_, a| Ok(Datum::Float(a[0].as_f64().cbrt()))),
        float1("exp", |_, a| finite(a[0].as_f64().exp(), a[0].as_f64())),
        float1("ln", |_, a| log_of(a[0].as_f64()).map(Datum::Float)),
        Function::new("log")
            .alias("log10")
            .on(&[Float8], Float8, |_, a| {
                log_of(a[0].as_f64())?;
                Ok(Datum::Float(a[0].as_f64().log10()))
            })
            .ret(&[Num, Num], Ret::Of(quotient), |_, a| {
                let (x, y) = (a[0].as_num(), a[1].as_num());
                if x.is_nan() || y.is_nan() {
                    return Ok(Datum::Num(Numeric::NAN));
                }
                let (base, v) = (log_of(x.to_f64())?, log_of(y.to_f64())?);
                if v.is_infinite() && base.is_finite() {
                    return Ok(Datum::Num(Numeric::infinity(false)));
                }
                if base == 0.0 {
                    return Err(division_by_zero());
                }
                Ok(Datum::Num(Numeric::from_f64(v / base, 16)?))
            }),
        Function::new("power")
            .alias("pow")
            .on(&[Float8, Float8], Float8, |_, a| {
                Ok(Datum::Float(checked_pow(a[0].as_f64(), a[1].as_f64())?))
            })
            .ret(&[Num, Num], Ret::Of(quotient), |_, a| {
                Ok(Datum::Num(numeric_pow(a[0].as_num(), a[1].as_num())?))
            }),
        float1("degrees", |_, a| finite(a[0].as_f64().to_degrees(), a[0].as_f64())),
        float1("radians", |_, a| Ok(Datum::Float(a[0].as_f64().to_radians()))),
    ]
}

/// Every function of this file.
pub fn functions() -> Vec<Function> {
    [signs(), bits(), rounding(), division(), powers()].into_iter().flatten().collect()
}
