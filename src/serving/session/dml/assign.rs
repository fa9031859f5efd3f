//! Assignment of values to columns: which types fit, literals, lengths.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, PrimitiveArray, StringArray};
use arrow::datatypes::{
    DataType, Field, IntervalMonthDayNano, IntervalMonthDayNanoType, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType,
};
use sqlparser::ast::{CastKind, Expr, UnaryOperator, Value};

use crate::error::{HwError, Result, sqlstate};
use crate::sql::parser::parse_expression;
use crate::types::PgType;
use crate::types::text::{round_micros, round_timestamp};

/// The type in which a value for a column is read; lengths are checked afterwards.
pub(in crate::serving::session) fn read_type(ty: &PgType) -> PgType {
    if matches!(ty, PgType::Varchar(_) | PgType::Bpchar(_)) { PgType::Text } else { ty.clone() }
}

/// A literal as a literal of the column's type; `None` for other expressions.
pub(in crate::serving::session) fn typed_literal(expr: &Expr, ty: &PgType) -> Option<Expr> {
    if !is_literal(expr) {
        return None;
    }
    let name = read_type(ty).sql_name();
    let Ok(Expr::Cast { data_type, .. }) = parse_expression(&format!("NULL::{name}")) else { return None };
    Some(Expr::Cast {
        kind: CastKind::DoubleColon,
        expr: Box::new(expr.clone()),
        data_type,
        array: false,
        format: None,
    })
}

fn is_literal(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => {
            matches!(
                value.value,
                Value::SingleQuotedString(_)
                    | Value::EscapedStringLiteral(_)
                    | Value::UnicodeStringLiteral(_)
                    | Value::DollarQuotedString(_)
                    | Value::Null
            )
        }
        Expr::Nested(inner) | Expr::UnaryOp { op: UnaryOperator::Plus, expr: inner } => is_literal(inner),
        _ => false,
    }
}

/// 42804 if a value of one type cannot be assigned to a column of another.
pub(in crate::serving::session) fn assignable(from: &Field, to: &Field) -> Result<()> {
    let (source, target) = (PgType::of(from), PgType::of(to));
    if from.data_type() == &DataType::Null || from.data_type() == to.data_type() || fits(&source, &target) {
        return Ok(());
    }
    let text = format!(
        "column \"{}\" is of type {} but expression is of type {}",
        to.name(),
        target.sql_name(),
        source.sql_name()
    );
    Err(HwError::new(sqlstate::DATATYPE_MISMATCH, text)
        .with_hint("You will need to rewrite or cast the expression."))
}

fn fits(from: &PgType, to: &PgType) -> bool {
    use PgType as P;
    let number = |t: &P| {
        matches!(
            t,
            P::Int2 | P::Int4 | P::Int8 | P::Float4 | P::Float8 | P::Numeric(_) | P::Oid | P::Regclass
        )
    };
    match (from, to) {
        (a, b) if number(a) && number(b) => true,
        (_, P::Text | P::Varchar(_) | P::Bpchar(_) | P::Name) => true,
        (P::Date, P::Timestamp | P::Timestamptz) => true,
        (P::Timestamp | P::Timestamptz, P::Date | P::Time | P::Timestamp | P::Timestamptz) => true,
        (P::Time, P::Interval) | (P::Interval, P::Time) => true,
        (P::Unknown, _) => true,
        (P::Array(a), P::Array(b)) => fits(a, b),
        _ => from == to,
    }
}

/// Values as the column keeps them: texts within its length, times with its digits. Blanks at
/// the end of a text that is too long are cut; 22001 for anything else.
pub(in crate::serving::session) fn fit(field: &Field, values: ArrayRef) -> Result<ArrayRef> {
    match PgType::of(field) {
        PgType::Varchar(Some(most)) => fit_texts(&values, most as usize, false),
        PgType::Bpchar(most) => fit_texts(&values, most.unwrap_or(u32::MAX) as usize, true),
        _ => match PgType::digits_of(field) {
            Some(digits) => fit_times(values, digits),
            None => Ok(values),
        },
    }
}

fn fit_texts(values: &ArrayRef, most: usize, padded: bool) -> Result<ArrayRef> {
    let Some(texts) = values.as_string_opt::<i32>() else { return Ok(Arc::clone(values)) };
    let fits = |text: &str| {
        let short = !padded || !text.ends_with(' ');
        short && (text.len() <= most || text.chars().count() <= most)
    };
    if texts.iter().flatten().all(fits) {
        return Ok(Arc::clone(values));
    }
    let ty = if padded { "character" } else { "character varying" };
    let cut = |text: &str| {
        let text = if padded { text.trim_end_matches(' ') } else { text };
        match text.char_indices().nth(most) {
            Some((end, _)) if text[end..].bytes().all(|b| b == b' ') => Ok(text[..end].to_string()),
            None => Ok(text.to_string()),
            Some(_) => Err(HwError::new(
                sqlstate::STRING_DATA_RIGHT_TRUNCATION,
                format!("value too long for type {ty}({most})"),
            )),
        }
    };
    let cut = texts.iter().map(|text| text.map(cut).transpose()).collect::<Result<StringArray>>()?;
    Ok(Arc::new(cut))
}

fn fit_times(values: ArrayRef, digits: u32) -> Result<ArrayRef> {
    let round = |micros: i64| round_micros(micros, i64::from(digits));
    Ok(match values.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let round = |at: i64| round_timestamp(at, i64::from(digits));
            let rounded = values.as_primitive::<TimestampMicrosecondType>().unary(round);
            let rounded: PrimitiveArray<TimestampMicrosecondType> = rounded;
            Arc::new(rounded.with_timezone_opt(zone.clone()))
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            let rounded: PrimitiveArray<Time64MicrosecondType> =
                values.as_primitive::<Time64MicrosecondType>().unary(round);
            Arc::new(rounded)
        }
        DataType::Interval(_) => {
            let round = |i: IntervalMonthDayNano| {
                IntervalMonthDayNano::new(i.months, i.days, round(i.nanoseconds / 1000) * 1000)
            };
            let rounded: PrimitiveArray<IntervalMonthDayNanoType> =
                values.as_primitive::<IntervalMonthDayNanoType>().unary(round);
            Arc::new(rounded)
        }
        _ => values,
    })
}
