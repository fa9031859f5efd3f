//! Angles in radians and degrees, as float.c computes them.
//!
//! Arguments outside of a function's domain are 22003; NaN gives NaN. In degrees, multiples of
//! 30 and 45 give exact results.

use std::f64::consts::PI;

use super::datum::{Cx, Datum, Eval, Function, Kind};
use crate::error::{HwError, Result, sqlstate};

const RADIANS_PER_DEGREE: f64 = PI / 180.0;

fn outside() -> HwError {
    HwError::new(sqlstate::NUMERIC_VALUE_OUT_OF_RANGE, "input is out of range")
}

fn finite(a: &[Datum]) -> Result<f64> {
    let x = a[0].as_f64();
    if x.is_infinite() { Err(outside()) } else { Ok(x) }
}

/// NaN passes.
fn within(a: &[Datum], low: f64, high: f64) -> Result<f64> {
    let x = a[0].as_f64();
    if x < low || x > high { Err(outside()) } else { Ok(x) }
}

fn float<'a>(v: f64) -> Result<Datum<'a>> {
    Ok(Datum::Float(v))
}

fn sind_0_to_30(x: f64) -> f64 {
    (x * RADIANS_PER_DEGREE).sin() / (30.0 * RADIANS_PER_DEGREE).sin() / 2.0
}

fn cosd_0_to_60(x: f64) -> f64 {
    1.0 - ((1.0 - (x * RADIANS_PER_DEGREE).cos()) / (1.0 - (60.0 * RADIANS_PER_DEGREE).cos())) / 2.0
}

/// Sine and cosine of 0 to 90 degrees.
fn sind_q1(x: f64) -> f64 {
    if x <= 30.0 { sind_0_to_30(x) } else { cosd_0_to_60(90.0 - x) }
}
fn cosd_q1(x: f64) -> f64 {
    if x <= 60.0 { cosd_0_to_60(x) } else { sind_0_to_30(90.0 - x) }
}

/// An angle in the first quadrant, and the signs of its sine and its cosine.
fn reduced(x: f64) -> (f64, f64, f64) {
    let (mut x, mut sine, mut cosine) = (x % 360.0, 1.0, 1.0);
    if x < 0.0 {
        (x, sine) = (-x, -sine);
    }
    if x > 180.0 {
        (x, sine) = (360.0 - x, -sine);
    }
    if x > 90.0 {
        (x, cosine) = (180.0 - x, -cosine);
    }
    (x, sine, cosine)
}

fn sind(x: f64) -> f64 {
    let (x, sine, _) = reduced(x);
    sine * sind_q1(x)
}

fn cosd(x: f64) -> f64 {
    let (x, _, cosine) = reduced(x);
    cosine * cosd_q1(x)
}

/// Zero has no sign.
fn unsigned(v: f64) -> f64 {
    if v == 0.0 { 0.0 } else { v }
}

fn tand(x: f64) -> f64 {
    let (x, sine, cosine) = reduced(x);
    unsigned(sine * cosine * ((sind_q1(x) / cosd_q1(x)) / (sind_q1(45.0) / cosd_q1(45.0))))
}

fn cotd(x: f64) -> f64 {
    let (x, sine, cosine) = reduced(x);
    unsigned(sine * cosine * ((cosd_q1(x) / sind_q1(x)) / (cosd_q1(45.0) / sind_q1(45.0))))
}

fn asind_q1(x: f64) -> f64 {
    match x <= 0.5 {
        true => x.asin() / 0.5f64.asin() * 30.0,
        false => 90.0 - x.acos() / 0.5f64.acos() * 60.0,
    }
}

fn asind(x: f64) -> f64 {
    if x >= 0.0 { asind_q1(x) } else { -asind_q1(-x) }
}

fn acosd(x: f64) -> f64 {
    match x >= 0.0 {
        true if x <= 0.5 => 90.0 - x.asin() / 0.5f64.asin() * 30.0,
        true => x.acos() / 0.5f64.acos() * 60.0,
        false => 90.0 + asind_q1(-x),
    }
}

fn atand(radians: f64) -> f64 {
    radians / 1f64.atan() * 45.0
}

pub fn functions() -> Vec<Function> {
    let one: [(&'static str, Eval); 20] = [
        ("sin", |_: &Cx, a| float(finite(a)?.sin())),
        ("cos", |_, a| float(finite(a)?.cos())),
        ("tan", |_, a| float(finite(a)?.tan())),
        ("cot", |_, a| float(1.0 / finite(a)?.tan())),
        ("asin", |_, a| float(within(a, -1.0, 1.0)?.asin())),
        ("acos", |_, a| float(within(a, -1.0, 1.0)?.acos())),
        ("atan", |_, a| float(a[0].as_f64().atan())),
        ("sinh", |_, a| float(a[0].as_f64().sinh())),
        ("cosh", |_, a| float(a[0].as_f64().cosh())),
        ("tanh", |_, a| float(a[0].as_f64().tanh())),
        ("asinh", |_, a| float(a[0].as_f64().asinh())),
        ("acosh", |_, a| float(within(a, 1.0, f64::INFINITY)?.acosh())),
        ("atanh", |_, a| float(within(a, -1.0, 1.0)?.atanh())),
        ("sind", |_, a| float(sind(finite(a)?))),
        ("cosd", |_, a| float(cosd(finite(a)?))),
        ("tand", |_, a| float(tand(finite(a)?))),
        ("cotd", |_, a| float(cotd(finite(a)?))),
        ("asind", |_, a| float(asind(within(a, -1.0, 1.0)?))),
        ("acosd", |_, a| float(acosd(within(a, -1.0, 1.0)?))),
        ("atand", |_, a| float(atand(a[0].as_f64().atan()))),
    ];
    let mut all: Vec<Function> = one
        .into_iter()
        .map(|(name, eval)| Function::new(name).on(&[Kind::Float8], Kind::Float8, eval))
        .collect();
    let two = [Kind::Float8, Kind::Float8];
    all.push(Function::new("atan2").on(&two, Kind::Float8, |_, a| float(a[0].as_f64().atan2(a[1].as_f64()))));
    all.push(
        Function::new("atan2d")
            .on(&two, Kind::Float8, |_, a| float(atand(a[0].as_f64().atan2(a[1].as_f64())))),
    );
    all
}
