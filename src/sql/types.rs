//! SQL type names → carriers: DataFusion's type planner for PostgreSQL's types.
//!
//! Every spelling that PostgreSQL accepts for a supported type gives the carrier of
//! [`PgType`] with its metadata (varchar lengths, plain numeric); an unknown name is 42704.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::planner::TypePlanner;
use sqlparser::ast::{ArrayElemTypeDef, CharacterLength, DataType as SqlType, ExactNumberInfo, TimezoneInfo};

use crate::error::{HwError, Result, sqlstate};
use crate::types::PgType;
use crate::types::pg_type::TYPMOD_KEY;

/// The [`TypePlanner`] of every session.
#[derive(Debug)]
pub struct PgTypePlanner;

impl TypePlanner for PgTypePlanner {
    fn plan_type_field(&self, sql_type: &SqlType) -> DfResult<Option<FieldRef>> {
        Ok(Some(Arc::new(pg_type(sql_type)?.field("", true))))
    }
}

/// The type that a SQL type name means.
pub fn pg_type(sql_type: &SqlType) -> Result<PgType> {
    Ok(match sql_type {
        SqlType::Boolean | SqlType::Bool => PgType::Bool,
        SqlType::SmallInt(_) | SqlType::Int2(_) | SqlType::TinyInt(_) => PgType::Int2,
        SqlType::Int(_) | SqlType::Integer(_) | SqlType::Int4(_) => PgType::Int4,
        SqlType::BigInt(_) | SqlType::Int8(_) | SqlType::Int64 => PgType::Int8,
        SqlType::Real | SqlType::Float4 => PgType::Float4,
        SqlType::Float(ExactNumberInfo::Precision(p)) if *p <= 24 => PgType::Float4,
        SqlType::Double(_)
        | SqlType::DoublePrecision
        | SqlType::Float8
        | SqlType::Float64
        | SqlType::Float(_) => PgType::Float8,
        SqlType::Numeric(info) | SqlType::Decimal(info) | SqlType::Dec(info) => numeric(info)?,
        SqlType::Text | SqlType::String(_) => PgType::Text,
        SqlType::Varchar(n) | SqlType::CharacterVarying(n) | SqlType::CharVarying(n) => {
            PgType::Varchar(length(n.as_ref())?)
        }
        SqlType::Char(n) | SqlType::Character(n) => PgType::Bpchar(Some(length(n.as_ref())?.unwrap_or(1))),
        SqlType::Bytea => PgType::Bytea,
        SqlType::Date => PgType::Date,
        SqlType::Time(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => PgType::Time,
        SqlType::Timestamp(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => PgType::Timestamp,
        SqlType::Timestamp(_, _) => PgType::Timestamptz,
        SqlType::TimestampNtz(_) => PgType::Timestamp,
        SqlType::Interval { .. } => PgType::Interval,
        SqlType::Uuid => PgType::Uuid,
        SqlType::JSON => PgType::Json,
        SqlType::JSONB => PgType::Jsonb,
        SqlType::Regclass => PgType::Regclass,
        SqlType::Array(
            ArrayElemTypeDef::SquareBracket(inner, _)
            | ArrayElemTypeDef::AngleBracket(inner)
            | ArrayElemTypeDef::Parenthesis(inner),
        ) => PgType::Array(Box::new(pg_type(inner)?)),
        SqlType::Custom(name, _) => named(&name.to_string())?,
        other => return Err(unknown(&other.to_string())),
    })
}

/// The column with the digits of a second that `timestamp(n)`, `time(n)` or `interval(n)` keep.
pub fn with_digits(field: Field, sql_type: &SqlType) -> Field {
    let digits = match sql_type {
        SqlType::Timestamp(Some(n), _) | SqlType::Time(Some(n), _) => *n,
        SqlType::Interval { precision: Some(n), .. } => *n,
        _ => return field,
    };
    if digits >= 6 {
        return field;
    }
    let mut metadata = field.metadata().clone();
    metadata.insert(TYPMOD_KEY.to_string(), digits.to_string());
    field.with_metadata(metadata)
}

fn unknown(name: &str) -> HwError {
    HwError::new(sqlstate::UNDEFINED_OBJECT, format!("type \"{}\" does not exist", name.to_lowercase()))
}

fn named(name: &str) -> Result<PgType> {
    let lower = name.to_lowercase().replace('"', "");
    Ok(match lower.strip_prefix("pg_catalog.").unwrap_or(&lower) {
        "name" => PgType::Name,
        "char" => PgType::Char,
        "oid" => PgType::Oid,
        "regclass" => PgType::Regclass,
        "regtype" | "regproc" | "regnamespace" | "regrole" | "regoper" => PgType::Regclass,
        "timestamptz" => PgType::Timestamptz,
        "bool" => PgType::Bool,
        "int2" => PgType::Int2,
        "int4" => PgType::Int4,
        "int8" => PgType::Int8,
        "float4" => PgType::Float4,
        "float8" => PgType::Float8,
        "text" | "unknown" | "cstring" => PgType::Text,
        "varchar" => PgType::Varchar(None),
        "bpchar" => PgType::Bpchar(None),
        "numeric" => PgType::Numeric(None),
        "json" => PgType::Json,
        "jsonb" => PgType::Jsonb,
        "uuid" => PgType::Uuid,
        "void" => PgType::Void,
        _ => return Err(unknown(name)),
    })
}

fn numeric(info: &ExactNumberInfo) -> Result<PgType> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => return Ok(PgType::Numeric(None)),
        ExactNumberInfo::Precision(p) => (*p, 0),
        ExactNumberInfo::PrecisionAndScale(p, s) => (*p, *s),
    };
    if precision == 0 || precision > 1000 {
        let message = format!("NUMERIC precision {precision} must be between 1 and 1000");
        return Err(HwError::new(sqlstate::INVALID_PARAMETER_VALUE, message));
    }
    if precision > 38 {
        return Err(HwError::unsupported(
            format!("numeric precision {precision}"),
            "Use a precision of at most 38.",
        ));
    }
    if scale < 0 || scale as u64 > precision {
        return Err(HwError::unsupported(
            format!("numeric scale {scale} with precision {precision}"),
            "Use a scale between 0 and the precision.",
        ));
    }
    Ok(PgType::Numeric(Some((precision as u8, scale as i8))))
}

fn length(n: Option<&CharacterLength>) -> Result<Option<u32>> {
    match n {
        Some(CharacterLength::IntegerLength { length, .. }) if *length == 0 => {
            let message = "length for type varchar must be at least 1";
            Err(HwError::new(sqlstate::INVALID_PARAMETER_VALUE, message))
        }
        Some(CharacterLength::IntegerLength { length, .. }) => Ok(u32::try_from(*length).ok()),
        _ => Ok(None),
    }
}

/// The carrier as a field without a name.
pub fn carrier_field(data_type: DataType) -> FieldRef {
    Arc::new(Field::new("", data_type, true))
}
