//! Arithmetic operators with PostgreSQL's types and errors.
//!
//! [`Arith`] is one of `+ - * / % ^`. Integers keep the wider operand's type and raise
//! 22003 where they do not fit; numerics are exact, quotients as in [`super::decimal`];
//! division by zero is 22012 for every type; dates, times and intervals combine as in
//! PostgreSQL. Integer and float kernels are Arrow's, numerics a loop over 128-bit values.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Datum as ArrowDatum, Decimal128Array};
use arrow::compute::kernels::numeric;
use arrow::datatypes::*;
use arrow::error::ArrowError;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::column::out_of_range;
use super::datum::{Cx, Kind, evaluate_rows, numeric_like, type_name, with_type};
use super::decimal::{Numeric, QUOTIENT_SCALE, division_by_zero};
use super::temporal::temporal_op;
use crate::error::{HwError, Result, sqlstate};
use crate::types::special::{LIMIT, is_special};

/// The operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArithOp {
    Add,
    Sub,
    Mul,
    Div,
    Rem,
    Pow,
}

impl ArithOp {
    pub fn symbol(self) -> &'static str {
        match self {
            ArithOp::Add => "+",
            ArithOp::Sub => "-",
            ArithOp::Mul => "*",
            ArithOp::Div => "/",
            ArithOp::Rem => "%",
            ArithOp::Pow => "^",
        }
    }
}

/// One arithmetic operator as a function of two arguments.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Arith {
    op: ArithOp,
    signature: Signature,
}

impl Arith {
    pub fn udf(op: ArithOp) -> Arc<ScalarUDF> {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(ScalarUDF::new_from_impl(Arith { op, signature }))
    }
    pub fn call(op: ArithOp, left: Expr, right: Expr) -> Expr {
        Arith::udf(op).call(vec![left, right])
    }
}

/// Coerced operand types and the result of an operator.
struct Typed {
    left: DataType,
    right: DataType,
    ret: DataType,
}

/// 42883 as PostgreSQL words it.
pub fn undefined_operator(op: &str, left: &DataType, right: &DataType) -> HwError {
    HwError::new(
        sqlstate::UNDEFINED_FUNCTION,
        format!("operator does not exist: {} {op} {}", type_name(left), type_name(right)),
    )
    .with_hint(
        "No operator matches the given name and argument types. You might need to add explicit type casts.",
    )
}

fn typed(op: ArithOp, left: &DataType, right: &DataType) -> Result<Typed> {
    let (l, r) = match (left, right) {
        (DataType::Null, DataType::Null) => (&DataType::Int32, &DataType::Int32),
        (DataType::Null, r) => (r, r),
        (l, DataType::Null) => (l, l),
        both => both,
    };
    let (lk, rk) = (Kind::of(l), Kind::of(r));
    use Kind::*;
    let number = |k: Kind| matches!(k, Int2 | Int4 | Int8 | Num | Float4 | Float8);
    if !number(lk) || !number(rk) {
        return temporal(op, lk, rk).ok_or_else(|| undefined_operator(op.symbol(), left, right));
    }
    let same = |t: DataType| Typed { left: t.clone(), right: t.clone(), ret: t };
    if matches!(lk, Float4 | Float8) || matches!(rk, Float4 | Float8) {
        let single = lk == Float4 && rk == Float4 && op != ArithOp::Pow;
        if op == ArithOp::Rem {
            return Err(undefined_operator("%", left, right));
        }
        return Ok(same(if single { DataType::Float32 } else { DataType::Float64 }));
    }
    if lk == Num || rk == Num {
        let (l, r) = (Num.coerced(l), Num.coerced(r));
        let ret = numeric_result(op, &l, &r);
        return Ok(Typed { left: l, right: r, ret });
    }
    if op == ArithOp::Pow {
        return Ok(same(DataType::Float64));
    }
    Ok(same(if lk == Int8 || rk == Int8 {
        DataType::Int64
    } else if lk == Int4 || rk == Int4 {
        DataType::Int32
    } else {
        DataType::Int16
    }))
}

/// Precision and scale: sums and products are exact while they fit 38 digits; a product
/// keeps at least its operands' scale, quotients and powers have [`QUOTIENT_SCALE`].
fn numeric_result(op: ArithOp, left: &DataType, right: &DataType) -> DataType {
    let (DataType::Decimal128(p1, s1), DataType::Decimal128(p2, s2)) = (left, right) else {
        return DataType::Decimal128(38, QUOTIENT_SCALE);
    };
    let whole = (*p1 as i8 - s1).max(*p2 as i8 - s2);
    match op {
        ArithOp::Add | ArithOp::Sub => {
            let scale = *s1.max(s2);
            DataType::Decimal128((whole + scale + 1).clamp(1, 38) as u8, scale)
        }
        ArithOp::Rem => {
            let scale = *s1.max(s2);
            DataType::Decimal128((whole + scale).clamp(1, 38) as u8, scale)
        }
        ArithOp::Mul => {
            let scale = (s1 + s2).min(QUOTIENT_SCALE).max(*s1.max(s2));
            DataType::Decimal128((p1 + p2).min(38), scale)
        }
        ArithOp::Div | ArithOp::Pow => DataType::Decimal128(38, QUOTIENT_SCALE),
    }
}

fn temporal(op: ArithOp, l: Kind, r: Kind) -> Option<Typed> {
    use ArithOp::*;
    use Kind::*;
    let result = |left: Kind, right: Kind, ret: Kind| {
        Some(Typed { left: left.carrier(), right: right.carrier(), ret: ret.carrier() })
    };
    let int = |k: Kind| matches!(k, Int2 | Int4 | Int8);
    match (op, l, r) {
        (Add | Sub, Date, k) if int(k) => result(Date, Int8, Date),
        (Add, k, Date) if int(k) => result(Int8, Date, Date),
        (Sub, Date, Date) => result(Date, Date, Int4),
        (Add | Sub, Date | Ts, Interval) => result(Ts, Interval, Ts),
        (Add | Sub, Tstz, Interval) => result(Tstz, Interval, Tstz),
        (Add | Sub, Time, Interval) => result(Time, Interval, Time),
        (Add, Interval, Date | Ts) => result(Interval, Ts, Ts),
        (Add, Interval, Tstz) => result(Interval, Tstz, Tstz),
        (Add, Interval, Time) => result(Interval, Time, Time),
        (Add | Sub, Interval, Interval) => result(Interval, Interval, Interval),
        (Add, Date | Ts, Time) => result(Ts, Time, Ts),
        (Add, Time, Date | Ts) => result(Time, Ts, Ts),
        (Sub, Ts, Time) => result(Ts, Time, Ts),
        (Sub, Time, Time) => result(Time, Time, Interval),
        (Sub, Ts | Date, Ts | Date) => result(Ts, Ts, Interval),
        (Sub, Tstz | Ts | Date, Tstz | Ts | Date) => result(Tstz, Tstz, Interval),
        (Mul | Div, Interval, Int2 | Int4 | Int8 | Num | Float4 | Float8) => {
            result(Interval, Float8, Interval)
        }
        (Mul, Int2 | Int4 | Int8 | Num | Float4 | Float8, Interval) => result(Float8, Interval, Interval),
        _ => None,
    }
}

impl ScalarUDFImpl for Arith {
    fn name(&self) -> &str {
        match self.op {
            ArithOp::Add => "pg_add",
            ArithOp::Sub => "pg_sub",
            ArithOp::Mul => "pg_mul",
            ArithOp::Div => "pg_div",
            ArithOp::Rem => "pg_mod",
            ArithOp::Pow => "pg_pow",
        }
    }
    fn schema_name(&self, args: &[Expr]) -> DfResult<String> {
        match args {
            [l, r] => Ok(format!("({} {} {})", l.schema_name(), self.op.symbol(), r.schema_name())),
            _ => Ok(self.name().to_string()),
        }
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let t = typed(self.op, &types[0], &types[1])?;
        Ok(vec![t.left, t.right])
    }
    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        Ok(typed(self.op, &types[0], &types[1])?.ret)
    }
    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let types: Vec<_> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        let ret = self.return_type(&types)?;
        let quotient = matches!(self.op, ArithOp::Div) && matches!(ret, DataType::Decimal128(_, _));
        let field = numeric_like(self.name(), ret, args.arg_fields);
        Ok(Arc::new(if quotient { with_type(field, "numeric_avg") } else { field }))
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let ret = args.return_field.data_type();
        match ret {
            DataType::Int16 | DataType::Int32 | DataType::Int64
                if args.args.iter().all(|a| a.data_type().is_integer()) =>
            {
                native(self.op, &args.args, |op, l, r| integers(op, l, r, ret))
            }
            DataType::Float32 | DataType::Float64 => native(self.op, &args.args, floats),
            DataType::Decimal128(p, s) => native(self.op, &args.args, |op, l, r| decimals(op, l, r, *p, *s)),
            _ => {
                let cx = Cx::new(&args.config_options, &args.arg_fields)?;
                let op = self.op;
                evaluate_rows(&args.args, args.number_rows, ret, |row| {
                    if row.iter().any(|v| v.is_null()) {
                        return Ok(super::datum::Datum::Null);
                    }
                    temporal_op(op, &row[0], &row[1], &cx.zone)
                })
            }
        }
    }
}

/// Calls a kernel of Arrow datums; two constants give a constant.
fn native(
    op: ArithOp,
    args: &[ColumnarValue],
    kernel: impl Fn(ArithOp, &dyn ArrowDatum, &dyn ArrowDatum) -> Result<ArrayRef>,
) -> DfResult<ColumnarValue> {
    let array = match (&args[0], &args[1]) {
        (ColumnarValue::Array(l), ColumnarValue::Array(r)) => kernel(op, l, r)?,
        (ColumnarValue::Array(l), ColumnarValue::Scalar(r)) => kernel(op, l, &r.to_scalar()?)?,
        (ColumnarValue::Scalar(l), ColumnarValue::Array(r)) => kernel(op, &l.to_scalar()?, r)?,
        (ColumnarValue::Scalar(l), ColumnarValue::Scalar(r)) => {
            let array = kernel(op, &l.to_scalar()?, &r.to_scalar()?)?;
            let value = datafusion::common::ScalarValue::try_from_array(&array, 0)?;
            return Ok(ColumnarValue::Scalar(value));
        }
    };
    Ok(ColumnarValue::Array(array))
}

fn integers(op: ArithOp, l: &dyn ArrowDatum, r: &dyn ArrowDatum, ret: &DataType) -> Result<ArrayRef> {
    let result = match op {
        ArithOp::Add => numeric::add(l, r),
        ArithOp::Sub => numeric::sub(l, r),
        ArithOp::Mul => numeric::mul(l, r),
        ArithOp::Div => numeric::div(l, r),
        ArithOp::Rem | ArithOp::Pow => numeric::rem(l, r),
    };
    result.map_err(|e| match e {
        ArrowError::ArithmeticOverflow(_) => out_of_range(&type_name(ret)),
        ArrowError::DivideByZero => division_by_zero(),
        other => other.into(),
    })
}

fn floats(op: ArithOp, l: &dyn ArrowDatum, r: &dyn ArrowDatum) -> Result<ArrayRef> {
    if op == ArithOp::Pow { pow(l, r) } else { super::float_ops::floats(op, l, r) }
}

/// 22003 for floats.
pub fn float_overflow() -> HwError {
    HwError::new(sqlstate::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: overflow")
}

fn pow(l: &dyn ArrowDatum, r: &dyn ArrowDatum) -> Result<ArrayRef> {
    let ((la, ls), (ra, rs)) = (l.get(), r.get());
    let (a, b) = (la.as_primitive::<Float64Type>(), ra.as_primitive::<Float64Type>());
    let rows = if ls { b.len() } else { a.len() };
    let at = |array: &arrow::array::Float64Array, scalar: bool, i: usize| {
        let i = if scalar { 0 } else { i };
        (!array.is_null(i)).then(|| array.value(i))
    };
    let values = (0..rows).map(|i| match (at(a, ls, i), at(b, rs, i)) {
        (Some(x), Some(y)) => checked_pow(x, y).map(Some),
        _ => Ok(None),
    });
    Ok(Arc::new(values.collect::<Result<arrow::array::Float64Array>>()?))
}

/// `dpow()` of PostgreSQL's float.c.
pub fn checked_pow(x: f64, y: f64) -> Result<f64> {
    let domain = |m: &str| HwError::new("2201F", m);
    if x == 0.0 && y < 0.0 {
        return Err(domain("zero raised to a negative power is undefined"));
    }
    if x < 0.0 && y.fract() != 0.0 && y.is_finite() {
        return Err(domain("a negative number raised to a non-integer power yields a complex result"));
    }
    let v = x.powf(y);
    if v.is_infinite() && x.is_finite() && y.is_finite() {
        return Err(float_overflow());
    }
    let vanished = v == 0.0 && x != 0.0 && x.is_finite() && y.is_finite();
    if vanished { Err(super::float_ops::float_underflow()) } else { Ok(v) }
}

fn decimals(op: ArithOp, l: &dyn ArrowDatum, r: &dyn ArrowDatum, p: u8, s: i8) -> Result<ArrayRef> {
    let ((la, ls), (ra, rs)) = (l.get(), r.get());
    let (a, b) = (la.as_primitive::<Decimal128Type>(), ra.as_primitive::<Decimal128Type>());
    let (sa, sb) = (scale_of(la), scale_of(ra));
    let (left, right) = ((a, ls), (b, rs));
    let aligned = sa == s && sb == s;
    let general = |x, y| {
        let (x, y) = (Numeric::new(x, sa), Numeric::new(y, sb));
        let v = match op {
            ArithOp::Add => x.checked_add(y)?,
            ArithOp::Sub => x.checked_add(y.negated())?,
            ArithOp::Mul => x.mul(y, s)?,
            ArithOp::Div => x.quotient(y)?,
            ArithOp::Rem => x.remainder(y)?,
            ArithOp::Pow => numeric_pow(x, y)?,
        };
        Ok(v.rescale(s)?.v)
    };
    let values = match op {
        ArithOp::Add if aligned => unscaled(left, right, i128::checked_add, general)?,
        ArithOp::Sub if aligned => unscaled(left, right, i128::checked_sub, general)?,
        ArithOp::Mul if i32::from(sa) + i32::from(sb) == i32::from(s) => {
            unscaled(left, right, product, general)?
        }
        _ => each_decimal(left, right, general)?,
    };
    Ok(Arc::new(values.with_precision_and_scale(p, s)?))
}

/// Applies `apply` where no digits have to be moved: the unscaled values are the operands.
/// Special values go to `general`.
fn unscaled(
    left: (&Decimal128Array, bool),
    right: (&Decimal128Array, bool),
    apply: impl Fn(i128, i128) -> Option<i128>,
    general: impl Fn(i128, i128) -> Result<i128>,
) -> Result<Decimal128Array> {
    each_decimal(left, right, |x, y| {
        if is_special(x) || is_special(y) {
            return general(x, y);
        }
        apply(x, y).filter(|v| v.unsigned_abs() < LIMIT).ok_or_else(super::decimal::overflow)
    })
}

/// Products of 64-bit values need no overflow check, which is slow for 128 bits.
fn product(x: i128, y: i128) -> Option<i128> {
    match (i64::try_from(x), i64::try_from(y)) {
        (Ok(x), Ok(y)) => Some(i128::from(x) * i128::from(y)),
        _ => x.checked_mul(y),
    }
}

/// The results of `apply` for each row; an operand is a column, or one value for all rows.
fn each_decimal(
    (a, a_scalar): (&Decimal128Array, bool),
    (b, b_scalar): (&Decimal128Array, bool),
    apply: impl Fn(i128, i128) -> Result<i128>,
) -> Result<Decimal128Array> {
    let constant = |array: &Decimal128Array| (!array.is_null(0)).then(|| array.value(0));
    match (a_scalar, b_scalar) {
        (true, false) => match constant(a) {
            Some(x) => b.try_unary(|y| apply(x, y)),
            None => Ok(Decimal128Array::new_null(b.len())),
        },
        (false, true) => match constant(b) {
            Some(y) => a.try_unary(|x| apply(x, y)),
            None => Ok(Decimal128Array::new_null(a.len())),
        },
        _ => {
            let pairs = a.iter().zip(b.iter()).map(|pair| match pair {
                (Some(x), Some(y)) => apply(x, y).map(Some),
                _ => Ok(None),
            });
            pairs.collect()
        }
    }
}

/// `mod()` of integers.
pub fn remainder(args: &[ColumnarValue]) -> DfResult<ColumnarValue> {
    let ret = args[0].data_type();
    native(ArithOp::Rem, args, |op, l, r| integers(op, l, r, &ret))
}

/// Exact for small whole exponents, else through doubles.
pub fn numeric_pow(x: Numeric, y: Numeric) -> Result<Numeric> {
    if x.is_special() || y.is_special() {
        return special_pow(x, y);
    }
    let exponent = y.trimmed();
    if exponent.scale == 0 && (0..=64).contains(&exponent.v) {
        let base = x.trimmed();
        let scale = (i32::from(base.scale) * exponent.v as i32).min(QUOTIENT_SCALE as i32) as i8;
        let mut product = Numeric::new(1, 0);
        for _ in 0..exponent.v {
            let exact = (product.scale + base.scale).min(scale.max(base.scale));
            product = product.mul(base, exact)?;
        }
        return Ok(product);
    }
    Numeric::from_f64(checked_pow(x.to_f64(), y.to_f64())?, 17)
}

/// Powers of or to NaN and infinities: `numeric_power()` of PostgreSQL, which follows pow(3).
fn special_pow(x: Numeric, y: Numeric) -> Result<Numeric> {
    let (zero, one) = (Numeric::new(0, 0), Numeric::new(1, 0));
    if x == one || y == zero {
        return Ok(one);
    }
    if x.is_nan() || y.is_nan() {
        return Ok(Numeric::NAN);
    }
    let whole = y.is_special() || y.trimmed().scale == 0;
    if x < zero && !whole {
        return checked_pow(-1.0, 0.5).map(|_| x);
    }
    if x == zero {
        return checked_pow(0.0, y.to_f64()).map(|_| zero);
    }
    if y.is_special() {
        let size = x.max(x.negated());
        return Ok(match (size > one) == (y > zero) {
            _ if size == one => one,
            true => Numeric::infinity(false),
            false => zero,
        });
    }
    let odd = y.trimmed().v % 2 != 0;
    Ok(if y < zero { zero } else { Numeric::infinity(x < zero && odd) })
}

fn scale_of(array: &dyn Array) -> i8 {
    match array.data_type() {
        DataType::Decimal128(_, s) => *s,
        _ => 0,
    }
}
