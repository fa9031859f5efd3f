//! Explicit and implicit casts with PostgreSQL's rounding, range checks and text forms.
//!
//! [`PgCast`] stands in a plan for every cast that Arrow's kernels would do differently.
//! Text input and output of all types goes through here, so there is one place to change.
//! Errors: 22003 out of range, 22P02/22007/22008 bad text, 42846 no such cast.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef, IntervalMonthDayNano};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::column::out_of_range;
use super::datum::{Cx, Datum, Kind, evaluate_rows, type_name};
use super::decimal::Numeric;
use super::format::format_datum;
use super::parse::{parse_date, parse_interval, parse_time, parse_timestamp, parse_timestamptz};
use super::zone::{MICROS_PER_DAY, Zone};
use crate::error::{HwError, Result, sqlstate};
use crate::types::PgType;
use crate::types::special::of_f64;
use crate::types::text::{array_elements, check_json, special_float};

/// The cast to one type, as a function of one argument.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct PgCast {
    target: FieldRef,
    signature: Signature,
}

impl PgCast {
    /// `expr` cast to the type of `target`.
    pub fn call(expr: Expr, target: &FieldRef) -> Expr {
        let cast = PgCast { target: Arc::clone(target), signature: Signature::any(1, Volatility::Stable) };
        ScalarUDF::new_from_impl(cast).call(vec![expr])
    }

    /// Whether a constant can be cast.
    pub fn check(&self, value: &ScalarValue, options: &datafusion::config::ConfigOptions) -> DfResult<()> {
        let from = Field::new("", value.data_type(), true);
        let cx = Cx::new(options, &[])?;
        cast_array(&value.to_array()?, &from, &self.target, &cx).map(drop)
    }

    pub fn target(&self) -> &DataType {
        self.target.data_type()
    }

    pub fn target_field(&self) -> &FieldRef {
        &self.target
    }
}

impl ScalarUDFImpl for PgCast {
    fn name(&self) -> &str {
        "pg_cast"
    }
    fn schema_name(&self, args: &[Expr]) -> DfResult<String> {
        let arg = args.first().map(|a| a.to_string()).unwrap_or_default();
        Ok(format!("CAST({arg} AS {})", PgType::of(&self.target).sql_name()))
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(self.target.data_type().clone())
    }
    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let nullable = args.arg_fields.iter().any(|f| f.is_nullable());
        let field = Field::new(self.name(), self.target.data_type().clone(), nullable);
        Ok(Arc::new(field.with_metadata(self.target.metadata().clone())))
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let cx = Cx::new(&args.config_options, &args.arg_fields)?;
        match &args.args[0] {
            ColumnarValue::Array(array) => {
                Ok(ColumnarValue::Array(cast_array(array, &args.arg_fields[0], &self.target, &cx)?))
            }
            ColumnarValue::Scalar(value) => {
                let array = cast_array(&value.to_array()?, &args.arg_fields[0], &self.target, &cx)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?))
            }
        }
    }
}

/// A column cast to the type of `to`.
pub fn cast_array(array: &ArrayRef, from: &Field, to: &Field, cx: &Cx) -> DfResult<ArrayRef> {
    let unlimited = matches!(PgType::of(to), PgType::Text | PgType::Varchar(None) | PgType::Numeric(_));
    if let Some(times) = dates_as_timestamps(array, to)? {
        return Ok(times);
    }
    if unlimited && array.data_type() == to.data_type() && to.data_type() != &DataType::Null {
        return Ok(Arc::clone(array));
    }
    let column = ColumnarValue::Array(Arc::clone(array));
    let value =
        evaluate_rows(&[column], array.len(), to.data_type(), |row| match (&row[0], to.data_type()) {
            (Datum::Null, _) => Ok(Datum::Null),
            (Datum::List(items), DataType::List(item)) => Ok(Datum::List(cast_items(items, item, cx)?)),
            (Datum::Text(text), DataType::List(item)) => {
                let items: ArrayRef = Arc::new(StringArray::from(array_elements(text)?));
                Ok(Datum::List(cast_items(&items, item, cx)?))
            }
            (value, _) => cast_datum(value.clone(), from, to, cx),
        })?;
    value.into_array(array.len())
}

/// Dates at midnight; infinity stays what it is. 22008 for what a timestamp cannot hold.
fn dates_as_timestamps(array: &ArrayRef, to: &Field) -> Result<Option<ArrayRef>> {
    let DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None) = to.data_type() else {
        return Ok(None);
    };
    let Some(dates) = array.as_primitive_opt::<arrow::datatypes::Date32Type>() else { return Ok(None) };
    let midnight = |day: i32| match day {
        i32::MAX => Ok(i64::MAX),
        i32::MIN => Ok(i64::MIN),
        day => i64::from(day).checked_mul(MICROS_PER_DAY).ok_or_else(|| {
            HwError::new(sqlstate::DATETIME_FIELD_OVERFLOW, "date out of range for timestamp")
        }),
    };
    let times = dates.try_unary::<_, arrow::datatypes::TimestampMicrosecondType, HwError>(midnight)?;
    Ok(Some(Arc::new(times)))
}

fn cast_items(items: &ArrayRef, to: &Field, cx: &Cx) -> Result<ArrayRef> {
    let from = Field::new("item", items.data_type().clone(), true);
    Ok(cast_array(items, &from, to, cx)?)
}

/// One value cast to the type of `to`.
pub fn cast_datum<'a>(value: Datum<'a>, from: &Field, to: &Field, cx: &Cx) -> Result<Datum<'a>> {
    if value.is_null() {
        return Ok(Datum::Null);
    }
    let kind = Kind::of(to.data_type());
    let cannot = || {
        HwError::new(
            sqlstate::CANNOT_COERCE,
            format!("cannot cast type {} to {}", type_name(from.data_type()), type_name(to.data_type())),
        )
    };
    Ok(match kind {
        Kind::Bool => to_bool(&value, from).ok_or_else(cannot)??,
        Kind::Int2 => {
            Datum::Int(to_int(&value, "smallint", i16::MIN.into(), i16::MAX.into()).ok_or_else(cannot)??)
        }
        Kind::Int4 => {
            Datum::Int(to_int(&value, "integer", i32::MIN.into(), i32::MAX.into()).ok_or_else(cannot)??)
        }
        Kind::Int8 if PgType::of(to) == PgType::Oid => to_oid(&value, from).ok_or_else(cannot)??,
        Kind::Int8 => Datum::Int(to_int(&value, "bigint", i64::MIN, i64::MAX).ok_or_else(cannot)??),
        Kind::Float4 => to_float4(to_float(&value, "real").ok_or_else(cannot)??)?,
        Kind::Float8 => Datum::Float(to_float(&value, "double precision").ok_or_else(cannot)??),
        Kind::Num => Datum::Num(to_numeric(&value, from).ok_or_else(cannot)??),
        Kind::Text | Kind::Any => to_text(value, from, to, cx),
        Kind::Bytea => to_bytes(value, from).ok_or_else(cannot)??,
        Kind::Uuid => to_uuid(value, from).ok_or_else(cannot)??,
        Kind::Jsonb => match &value {
            Datum::Json(_) => value,
            Datum::Text(text) | Datum::RawJson(text) => {
                Datum::Json(super::jsonb::canonical_json(text)?.into())
            }
            _ => return Err(cannot()),
        },
        Kind::RawJson => match value {
            Datum::RawJson(_) => value,
            Datum::Json(text) => Datum::RawJson(text),
            Datum::Text(text) => {
                check_json(&text)?;
                Datum::RawJson(text)
            }
            _ => return Err(cannot()),
        },
        Kind::Date | Kind::Time | Kind::Ts | Kind::Tstz | Kind::Interval => {
            to_temporal(&value, kind, &cx.zone).ok_or_else(cannot)??
        }
        Kind::AnyArray | Kind::TextArray => return Err(cannot()),
    })
}

/// 22P02.
pub fn bad_text(typname: &str, text: &str) -> HwError {
    HwError::new(
        sqlstate::INVALID_TEXT_REPRESENTATION,
        format!("invalid input syntax for type {typname}: \"{text}\""),
    )
}

/// Of the integers, only `integer` is cast from and to boolean.
fn to_bool(value: &Datum, from: &Field) -> Option<Result<Datum<'static>>> {
    let parsed = match value {
        Datum::Bool(b) => Ok(*b),
        Datum::Int(v) if from.data_type() == &DataType::Int32 => Ok(*v != 0),
        Datum::Text(text) => parse_bool(text).ok_or_else(|| bad_text("boolean", text)),
        Datum::Json(text) => {
            return Some(
                super::jsonb::scalar_text(text, "boolean", "boolean")
                    .map(|t| t.map_or(Datum::Null, |t| Datum::Bool(t == "true"))),
            );
        }
        _ => return None,
    };
    Some(parsed.map(Datum::Bool))
}

/// `true`, `t`, `yes`, `on`, `1` and their unique prefixes.
pub fn parse_bool(text: &str) -> Option<bool> {
    let text = text.trim().to_ascii_lowercase();
    let prefix = |word: &str| !text.is_empty() && word.starts_with(&text);
    match text.as_str() {
        "1" | "on" => Some(true),
        "0" | "of" | "off" => Some(false),
        _ if prefix("true") || prefix("yes") => Some(true),
        _ if prefix("false") || prefix("no") => Some(false),
        _ => None,
    }
}

fn to_int(value: &Datum, typname: &str, min: i64, max: i64) -> Option<Result<i64>> {
    let check = |v: i128| match i128::from(min) <= v && v <= i128::from(max) {
        true => Ok(v as i64),
        false => Err(out_of_range(typname)),
    };
    Some(match value {
        Datum::Int(v) => check(i128::from(*v)),
        Datum::Bool(b) if typname == "integer" => Ok(i64::from(*b)),
        Datum::Num(n) => whole(*n, typname).and_then(check),
        Datum::Float(v) => {
            // Half to even, as rint(); the bounds are exact in a double.
            let rounded = v.round_ties_even();
            match rounded >= min as f64 && rounded < -(min as f64) {
                true => Ok(rounded as i64),
                false => Err(out_of_range(typname)),
            }
        }
        Datum::Text(text) => parse_int(text, typname, min, max),
        Datum::Json(text) => match super::jsonb::scalar_text(text, "number", typname) {
            Ok(Some(number)) => {
                let n = Numeric::parse(&number).and_then(Numeric::to_i128);
                n.ok_or_else(|| out_of_range(typname)).and_then(check)
            }
            Ok(None) => Err(HwError::new(
                sqlstate::INVALID_PARAMETER_VALUE,
                format!("cannot cast jsonb null to type {typname}"),
            )),
            Err(e) => Err(e),
        },
        _ => return None,
    })
}

/// The nearest integer; 0A000 of what has none.
fn whole(n: Numeric, typname: &str) -> Result<i128> {
    n.to_i128().ok_or_else(|| {
        let what = if n.is_nan() { "NaN" } else { "infinity" };
        HwError::new(sqlstate::FEATURE_NOT_SUPPORTED, format!("cannot convert {what} to {typname}"))
    })
}

/// The bits of an integer as a number without sign.
fn to_oid(value: &Datum, from: &Field) -> Option<Result<Datum<'static>>> {
    let wide = from.data_type() == &DataType::Int64 && PgType::of(from) != PgType::Oid;
    let found = match to_int(value, "oid", i64::MIN, i64::MAX)? {
        Ok(v) if (0..=i64::from(u32::MAX)).contains(&v) => Ok(Datum::Int(v)),
        Ok(v) if !wide && i32::try_from(v).is_ok() => Ok(Datum::Int(i64::from(v as i32 as u32))),
        Ok(_) => match value {
            Datum::Text(text) => Err(HwError::new(
                sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
                format!("value \"{text}\" is out of range for type oid"),
            )),
            _ => Err(HwError::new(sqlstate::NUMERIC_VALUE_OUT_OF_RANGE, "OID out of range")),
        },
        Err(e) => Err(e),
    };
    Some(found)
}

fn parse_int(text: &str, typname: &str, min: i64, max: i64) -> Result<i64> {
    let trimmed = text.trim();
    match trimmed.parse::<i64>() {
        Ok(v) if (min..=max).contains(&v) => Ok(v),
        Err(_) if trimmed.trim_start_matches(['-', '+']).bytes().any(|b| !b.is_ascii_digit()) => {
            Err(bad_text(typname, text))
        }
        Err(_) if trimmed.trim_start_matches(['-', '+']).is_empty() => Err(bad_text(typname, text)),
        _ => Err(HwError::new(
            sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
            format!("value \"{text}\" is out of range for type {typname}"),
        )),
    }
}

fn to_float(value: &Datum, typname: &str) -> Option<Result<f64>> {
    Some(match value {
        Datum::Int(_) | Datum::Float(_) | Datum::Num(_) => Ok(value.as_f64()),
        Datum::Text(text) => parse_float(text, typname),
        Datum::Json(text) => match super::jsonb::scalar_text(text, "number", typname) {
            Ok(number) => parse_float(&number.unwrap_or_default(), typname),
            Err(e) => Err(e),
        },
        _ => return None,
    })
}

fn parse_float(text: &str, typname: &str) -> Result<f64> {
    let trimmed = text.trim();
    let lower = trimmed.to_ascii_lowercase();
    match lower.trim_start_matches(['+', '-']) {
        "nan" if lower == "nan" => return Ok(f64::NAN),
        "infinity" | "inf" => {
            return Ok(if lower.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
        }
        body if !body.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {
            return Err(bad_text(typname, text));
        }
        _ => {}
    }
    let v: f64 = trimmed.parse().map_err(|_| bad_text(typname, text))?;
    let nonzero = || lower.split('e').next().is_some_and(|m| m.bytes().any(|b| (b'1'..=b'9').contains(&b)));
    if v.is_infinite() || v == 0.0 && nonzero() {
        let message = format!("\"{text}\" is out of range for type {typname}");
        return Err(HwError::new(sqlstate::NUMERIC_VALUE_OUT_OF_RANGE, message));
    }
    Ok(v)
}

fn to_float4(v: f64) -> Result<Datum<'static>> {
    if v.is_finite() && (v as f32).is_infinite() {
        return Err(HwError::new(sqlstate::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: overflow"));
    }
    Ok(Datum::Float(v))
}

fn to_numeric(value: &Datum, from: &Field) -> Option<Result<Numeric>> {
    Some(match value {
        Datum::Int(v) => Ok(Numeric::new(i128::from(*v), 0)),
        Datum::Num(n) => Ok(*n),
        Datum::Float(v) => Numeric::from_f64(*v, if from.data_type() == &DataType::Float32 { 6 } else { 15 }),
        Datum::Text(text) => parse_numeric(text),
        Datum::Json(text) => match super::jsonb::scalar_text(text, "number", "numeric") {
            Ok(number) => parse_numeric(&number.unwrap_or_default()),
            Err(e) => Err(e),
        },
        _ => return None,
    })
}

fn parse_numeric(text: &str) -> Result<Numeric> {
    let special = || special_float(text.trim().as_bytes()).map(|v| Numeric::new(of_f64(v), 0));
    Numeric::parse(text).or_else(special).ok_or_else(|| {
        let body = text.trim().to_ascii_lowercase();
        let numeric = body.contains(|c: char| c.is_ascii_digit()) && body.parse::<f64>().is_ok();
        if numeric { super::decimal::overflow() } else { bad_text("numeric", text) }
    })
}

fn to_text<'a>(value: Datum<'a>, from: &Field, to: &Field, cx: &Cx) -> Datum<'a> {
    let text = match value {
        Datum::Text(text) => text,
        other => format_datum(&other, from, &cx.zone).into(),
    };
    match PgType::of(to) {
        PgType::Bpchar(n) => {
            let cut: String = text.chars().take(n.map_or(usize::MAX, |n| n as usize)).collect();
            Datum::Text(cut.trim_end_matches(' ').to_string().into())
        }
        PgType::Varchar(Some(n)) if text.chars().nth(n as usize).is_some() => {
            Datum::Text(text.chars().take(n as usize).collect::<String>().into())
        }
        PgType::Name if text.len() > NAME_BYTES_MAX => {
            let end = (0..=NAME_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            Datum::Text(text[..end].to_string().into())
        }
        PgType::Char => Datum::Text(text.chars().take(1).collect::<String>().into()),
        _ => Datum::Text(text),
    }
}

/// Bytes of a `name`.
const NAME_BYTES_MAX: usize = 63;

fn to_bytes<'a>(value: Datum<'a>, from: &Field) -> Option<Result<Datum<'a>>> {
    Some(match value {
        Datum::Bytes(_) if matches!(from.data_type(), DataType::FixedSizeBinary(_)) => return None,
        Datum::Bytes(_) => Ok(value),
        Datum::Text(text) => parse_bytes(&text).map(|b| Datum::Bytes(b.into())),
        _ => return None,
    })
}

/// `\x…` or the escape form.
pub fn parse_bytes(text: &str) -> Result<Vec<u8>> {
    if let Some(digits) = text.strip_prefix("\\x") {
        let digits: Vec<u8> = digits.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        let nibble = |b: u8| {
            (b as char).to_digit(16).map(|d| d as u8).ok_or_else(|| {
                HwError::new(
                    sqlstate::INVALID_PARAMETER_VALUE,
                    format!("invalid hexadecimal digit: \"{}\"", b as char),
                )
            })
        };
        if !digits.len().is_multiple_of(2) {
            let message = "invalid hexadecimal data: odd number of digits";
            return Err(HwError::new(sqlstate::INVALID_PARAMETER_VALUE, message));
        }
        return digits.chunks(2).map(|p| Ok(nibble(p[0])? << 4 | nibble(p[1])?)).collect();
    }
    let (mut out, bytes, mut i) = (vec![], text.as_bytes(), 0);
    while i < bytes.len() {
        match (bytes[i], bytes.get(i + 1), bytes.get(i + 1..i + 4)) {
            (b'\\', Some(b'\\'), _) => {
                out.push(b'\\');
                i += 2;
            }
            (b'\\', _, Some(octal))
                if octal.iter().all(|b| (b'0'..=b'7').contains(b)) && octal[0] <= b'3' =>
            {
                out.push((octal[0] - b'0') << 6 | (octal[1] - b'0') << 3 | (octal[2] - b'0'));
                i += 4;
            }
            (b'\\', ..) => return Err(bad_text("bytea", text)),
            (b, ..) => {
                out.push(b);
                i += 1;
            }
        }
    }
    Ok(out)
}

fn to_uuid<'a>(value: Datum<'a>, from: &Field) -> Option<Result<Datum<'a>>> {
    Some(match value {
        Datum::Bytes(_) if from.data_type() == &DataType::Binary => return None,
        Datum::Bytes(_) => Ok(value),
        Datum::Text(text) => {
            let body = text.trim().trim_start_matches('{').trim_end_matches('}').replace('-', "");
            match (body.len(), parse_bytes(&format!("\\x{body}"))) {
                (32, Ok(bytes)) => Ok(Datum::Bytes(bytes.into())),
                _ => Err(bad_text("uuid", &text)),
            }
        }
        _ => return None,
    })
}

fn to_temporal(value: &Datum, kind: Kind, zone: &Zone) -> Option<Result<Datum<'static>>> {
    // Infinity stays what it is.
    let day = |d: i32| match d {
        i32::MAX => i64::MAX,
        i32::MIN => i64::MIN,
        d => i64::from(d) * MICROS_PER_DAY,
    };
    let date = |local: i64| match local {
        i64::MAX => Datum::Date(i32::MAX),
        i64::MIN => Datum::Date(i32::MIN),
        local => Datum::Date(local.div_euclid(MICROS_PER_DAY) as i32),
    };
    Some(Ok(match (kind, value) {
        (_, Datum::Text(text)) => return Some(temporal_of_text(text, kind, zone)),
        (Kind::Date, Datum::Date(d)) => Datum::Date(*d),
        (Kind::Date, Datum::Ts(t)) => date(*t),
        (Kind::Date, Datum::Tstz(t)) => date(zone.to_local(*t)),
        (Kind::Time, Datum::Time(t)) => Datum::Time(*t),
        // There is no time of day at infinity.
        (Kind::Time, Datum::Ts(t) | Datum::Tstz(t)) if matches!(*t, i64::MIN | i64::MAX) => Datum::Null,
        (Kind::Time, Datum::Ts(t)) => Datum::Time(t.rem_euclid(MICROS_PER_DAY)),
        (Kind::Time, Datum::Tstz(t)) => Datum::Time(zone.to_local(*t).rem_euclid(MICROS_PER_DAY)),
        (Kind::Time, Datum::Interval(i)) => Datum::Time((i.nanoseconds / 1000).rem_euclid(MICROS_PER_DAY)),
        (Kind::Ts, Datum::Ts(t)) => Datum::Ts(*t),
        (Kind::Ts, Datum::Date(d)) => Datum::Ts(day(*d)),
        (Kind::Ts, Datum::Tstz(t)) => Datum::Ts(zone.to_local(*t)),
        (Kind::Tstz, Datum::Tstz(t)) => Datum::Tstz(*t),
        (Kind::Tstz, Datum::Ts(t)) => Datum::Tstz(zone.to_utc(*t)),
        (Kind::Tstz, Datum::Date(d)) => Datum::Tstz(zone.to_utc(day(*d))),
        (Kind::Interval, Datum::Interval(i)) => Datum::Interval(*i),
        (Kind::Interval, Datum::Time(t)) => Datum::Interval(IntervalMonthDayNano::new(0, 0, t * 1000)),
        _ => return None,
    }))
}

fn temporal_of_text(text: &str, kind: Kind, zone: &Zone) -> Result<Datum<'static>> {
    Ok(match kind {
        Kind::Date => Datum::Date(parse_date(text)?),
        Kind::Time => Datum::Time(parse_time(text)?),
        Kind::Ts => Datum::Ts(parse_timestamp(text)?),
        Kind::Tstz => Datum::Tstz(parse_timestamptz(text, zone)?),
        _ => Datum::Interval(parse_interval(text)?),
    })
}

/// The first value of a column cast to `to`, for constants outside of plans.
pub fn cast_scalar(value: &ScalarValue, to: &Field, cx: &Cx) -> DfResult<ScalarValue> {
    let array = value.to_array()?;
    let from = Field::new("v", value.data_type(), true);
    let cast = cast_array(&array, &from, to, cx)?;
    ScalarValue::try_from_array(&cast, 0)
}
