//! `+ - * /` of floats: Arrow's kernels, and PostgreSQL's errors of each row.
//!
//! A result is looked at again only if some row of its batch is infinite or zero: 22003 where
//! finite operands overflow or operands that are not zero underflow, 22012 for a division by
//! zero of a number.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Datum as ArrowDatum, PrimitiveArray};
use arrow::compute::kernels::numeric;
use arrow::datatypes::{ArrowPrimitiveType, DataType, Float32Type, Float64Type};

use super::arith::{ArithOp, float_overflow};
use super::decimal::division_by_zero;
use crate::error::{HwError, Result, sqlstate};

/// 22003 for what is nearer to zero than any float.
pub fn float_underflow() -> HwError {
    HwError::new(sqlstate::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: underflow")
}

/// `op` of two columns of one float type.
pub fn floats(op: ArithOp, l: &dyn ArrowDatum, r: &dyn ArrowDatum) -> Result<ArrayRef> {
    let result = match op {
        ArithOp::Add => numeric::add_wrapping(l, r),
        ArithOp::Sub => numeric::sub_wrapping(l, r),
        ArithOp::Mul => numeric::mul_wrapping(l, r),
        _ => numeric::div(l, r),
    }?;
    // There is one NaN only; processors make some with a sign.
    match result.data_type() {
        DataType::Float32 => {
            let result = result.as_primitive::<Float32Type>();
            check(op, l, r, result)?;
            if result.values().iter().any(|v| v.is_nan()) {
                return Ok(Arc::new(
                    result.unary::<_, Float32Type>(|v| if v.is_nan() { f32::NAN } else { v }),
                ));
            }
        }
        _ => {
            let result = result.as_primitive::<Float64Type>();
            check(op, l, r, result)?;
            if result.values().iter().any(|v| v.is_nan()) {
                return Ok(Arc::new(
                    result.unary::<_, Float64Type>(|v| if v.is_nan() { f64::NAN } else { v }),
                ));
            }
        }
    }
    Ok(result)
}

fn check<T>(op: ArithOp, l: &dyn ArrowDatum, r: &dyn ArrowDatum, result: &PrimitiveArray<T>) -> Result<()>
where
    T: ArrowPrimitiveType,
    T::Native: Into<f64>,
{
    let products = matches!(op, ArithOp::Mul | ArithOp::Div);
    let suspect = |v: f64| !v.is_finite() || products && v == 0.0;
    if !result.values().iter().any(|v| suspect((*v).into())) {
        return Ok(());
    }
    let ((la, ls), (ra, rs)) = (l.get(), r.get());
    let (la, ra) = (la.as_primitive::<T>(), ra.as_primitive::<T>());
    for row in (0..result.len()).filter(|row| result.is_valid(*row)) {
        let v: f64 = result.value(row).into();
        if suspect(v) {
            let x: f64 = la.value(if ls { 0 } else { row }).into();
            let y: f64 = ra.value(if rs { 0 } else { row }).into();
            check_row(op, x, y, v)?;
        }
    }
    Ok(())
}

fn check_row(op: ArithOp, x: f64, y: f64, v: f64) -> Result<()> {
    if op == ArithOp::Div && y == 0.0 && !x.is_nan() {
        return Err(division_by_zero());
    }
    // float8_div allows an infinite divisor to give what it gives.
    if v.is_infinite() && !x.is_infinite() && (op == ArithOp::Div || !y.is_infinite()) {
        return Err(float_overflow());
    }
    let vanished = match op {
        ArithOp::Mul => x != 0.0 && y != 0.0,
        ArithOp::Div => x != 0.0 && !y.is_infinite(),
        _ => false,
    };
    if v == 0.0 && vanished { Err(float_underflow()) } else { Ok(()) }
}
