//! Assignment of values to columns: which types fit, literals, lengths.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field};
use sqlparser::ast::{CastKind, Expr, UnaryOperator, Value};

use crate::error::{HwError, Result, sqlstate};
use crate::sql::parser::parse_expression;
use crate::types::PgType;

/// The type in which a value for a column is read; lengths are checked afterwards.
pub(in crate::serving::session) fn read_type(ty: &PgType) -> PgType {
    if matches!(ty, PgType::Varchar(_)) { PgType::Text } else { ty.clone() }
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
        (_, P::Text | P::Varchar(_) | P::Name) => true,
        (P::Date, P::Timestamp | P::Timestamptz) => true,
        (P::Timestamp | P::Timestamptz, P::Date | P::Time | P::Timestamp | P::Timestamptz) => true,
        (P::Time, P::Interval) | (P::Interval, P::Time) => true,
        (P::Unknown, _) => true,
        (P::Array(a), P::Array(b)) => fits(a, b),
        _ => from == to,
    }
}

/// 22001 if a text is longer than the column's declared length.
pub(in crate::serving::session) fn check_lengths(field: &Field, values: &ArrayRef) -> Result<()> {
    let PgType::Varchar(Some(most)) = PgType::of(field) else { return Ok(()) };
    let Some(texts) = values.as_string_opt::<i32>() else { return Ok(()) };
    let too_long = |row: &usize| texts.is_valid(*row) && texts.value(*row).chars().count() > most as usize;
    match (0..texts.len()).find(too_long) {
        None => Ok(()),
        Some(_) => Err(HwError::new(
            sqlstate::STRING_DATA_RIGHT_TRUNCATION,
            format!("value too long for type character varying({most})"),
        )),
    }
}
