//! PostgreSQL types and the Arrow carriers that stand for them in every layer.
//!
//! The carrier decides the SQL type: a column's `DataType` alone identifies its `PgType`,
//! except for the few catalog types and modifiers kept in field metadata under
//! [`TYPE_KEY`]. Timestamps are always microseconds. Carriers are part of what is written
//! to disk; changing one is a format change.
//!
//! | SQL | Arrow | | SQL | Arrow |
//! |---|---|---|---|---|
//! | smallint, integer, bigint | Int16, Int32, Int64 | | text, varchar, char (without its padding) | Utf8 |
//! | real, double precision | Float32, Float64 | | bytea | Binary |
//! | numeric(p,s) | Decimal128(p,s) | | uuid | FixedSizeBinary(16) |
//! | numeric | Decimal128(38,10) | | jsonb | LargeUtf8 (canonical text) |
//! | json | LargeBinary (text as written) | | | |
//! | boolean | Boolean | | date, time | Date32, Time64(µs) |
//! | interval | Interval(MonthDayNano) | | timestamp, timestamptz | Timestamp(µs), Timestamp(µs,"UTC") |
//! | T[] | List(T) | | | |

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};

/// Field metadata key that overrides the type derived from the carrier: a `pg_type.typname`
/// such as `name`, `char` (the internal one-byte type), `oid`, `regclass`, `varchar`, `numeric_avg`.
pub const TYPE_KEY: &str = "headwater.type";
/// Field metadata key for the type modifier as PostgreSQL's `atttypmod` (an integer).
pub const TYPMOD_KEY: &str = "headwater.typmod";
/// The zone string of every timestamptz carrier.
pub const UTC: &str = "UTC";
/// Precision and scale of a plain `NUMERIC`.
pub const NUMERIC_PRECISION: u8 = 38;
pub const NUMERIC_SCALE: i8 = 10;

/// SQL types that Headwater speaks on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PgType {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    /// `(precision, scale)` if declared.
    Numeric(Option<(u8, i8)>),
    Text,
    /// Length in characters if declared.
    Varchar(Option<u32>),
    /// `character(n)`: kept without the blanks that pad it, shown with them.
    Bpchar(Option<u32>),
    Bytea,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Interval,
    Uuid,
    /// The text as it was written.
    Json,
    Jsonb,
    /// Catalog types, carried by Utf8 / Int64 / Utf8 / Int64 with `TYPE_KEY`.
    Name,
    Char,
    Oid,
    Regclass,
    Unknown,
    Void,
    Array(Box<PgType>),
    /// An Arrow struct; shown as text in PostgreSQL's row notation.
    Record,
}

impl PgType {
    /// `pg_type.oid`.
    pub fn oid(&self) -> u32 {
        match self {
            PgType::Bool => 16,
            PgType::Bytea => 17,
            PgType::Char => 18,
            PgType::Name => 19,
            PgType::Int8 => 20,
            PgType::Int2 => 21,
            PgType::Int4 => 23,
            PgType::Text => 25,
            PgType::Oid => 26,
            PgType::Json => 114,
            PgType::Float4 => 700,
            PgType::Float8 => 701,
            PgType::Unknown => 705,
            PgType::Varchar(_) => 1043,
            PgType::Bpchar(_) => 1042,
            PgType::Date => 1082,
            PgType::Time => 1083,
            PgType::Timestamp => 1114,
            PgType::Timestamptz => 1184,
            PgType::Interval => 1186,
            PgType::Numeric(_) => 1700,
            PgType::Regclass => 2205,
            PgType::Record => 2249,
            PgType::Void => 2278,
            PgType::Uuid => 2950,
            PgType::Jsonb => 3802,
            PgType::Array(inner) => match **inner {
                PgType::Json => 199,
                PgType::Bool => 1000,
                PgType::Bytea => 1001,
                PgType::Char => 1002,
                PgType::Name => 1003,
                PgType::Int2 => 1005,
                PgType::Int4 => 1007,
                PgType::Text | PgType::Unknown => 1009,
                PgType::Varchar(_) => 1015,
                PgType::Bpchar(_) => 1014,
                PgType::Int8 => 1016,
                PgType::Float4 => 1021,
                PgType::Float8 => 1022,
                PgType::Oid => 1028,
                PgType::Timestamp => 1115,
                PgType::Date => 1182,
                PgType::Time => 1183,
                PgType::Timestamptz => 1185,
                PgType::Interval => 1187,
                PgType::Numeric(_) => 1231,
                PgType::Uuid => 2951,
                PgType::Jsonb => 3807,
                _ => 1009,
            },
        }
    }

    /// The type for a `pg_type.oid`, for parameters that a client declares.
    pub fn from_oid(oid: u32) -> Option<PgType> {
        const SCALARS: [PgType; 24] = [
            PgType::Bool,
            PgType::Bytea,
            PgType::Char,
            PgType::Name,
            PgType::Int8,
            PgType::Int2,
            PgType::Int4,
            PgType::Text,
            PgType::Oid,
            PgType::Float4,
            PgType::Float8,
            PgType::Unknown,
            PgType::Varchar(None),
            PgType::Bpchar(None),
            PgType::Date,
            PgType::Time,
            PgType::Timestamp,
            PgType::Timestamptz,
            PgType::Interval,
            PgType::Numeric(None),
            PgType::Uuid,
            PgType::Json,
            PgType::Jsonb,
            PgType::Regclass,
        ];
        if let Some(t) = SCALARS.iter().find(|t| t.oid() == oid) {
            return Some(t.clone());
        }
        SCALARS
            .iter()
            .map(|t| PgType::Array(Box::new(t.clone())))
            .find(|t| t.oid() == oid && oid != 1009)
            .or((oid == 1009).then(|| PgType::Array(Box::new(PgType::Text))))
    }

    /// The Arrow carrier.
    pub fn carrier(&self) -> DataType {
        match self {
            PgType::Bool => DataType::Boolean,
            PgType::Int2 => DataType::Int16,
            PgType::Int4 => DataType::Int32,
            PgType::Int8 | PgType::Oid | PgType::Regclass => DataType::Int64,
            PgType::Float4 => DataType::Float32,
            PgType::Float8 => DataType::Float64,
            PgType::Numeric(Some((p, s))) => DataType::Decimal128(*p, *s),
            PgType::Numeric(None) => DataType::Decimal128(NUMERIC_PRECISION, NUMERIC_SCALE),
            PgType::Text
            | PgType::Varchar(_)
            | PgType::Bpchar(_)
            | PgType::Name
            | PgType::Char
            | PgType::Unknown => DataType::Utf8,
            PgType::Bytea => DataType::Binary,
            PgType::Date => DataType::Date32,
            PgType::Time => DataType::Time64(TimeUnit::Microsecond),
            PgType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            PgType::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
            PgType::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            PgType::Uuid => DataType::FixedSizeBinary(16),
            PgType::Json => DataType::LargeBinary,
            PgType::Jsonb => DataType::LargeUtf8,
            PgType::Void => DataType::Null,
            PgType::Array(inner) => DataType::List(Arc::new(Field::new_list_field(inner.carrier(), true))),
            PgType::Record => DataType::Utf8,
        }
    }

    /// A nullable or non-null column of this type, with the metadata that the carrier alone
    /// does not say.
    pub fn field(&self, name: &str, nullable: bool) -> Field {
        let mut metadata = HashMap::new();
        let mut set = |t: &str| metadata.insert(TYPE_KEY.to_string(), t.to_string());
        match self {
            PgType::Name => drop(set("name")),
            PgType::Char => drop(set("char")),
            PgType::Oid => drop(set("oid")),
            PgType::Regclass => drop(set("regclass")),
            PgType::Varchar(n) => {
                set("varchar");
                if let Some(n) = n {
                    metadata.insert(TYPMOD_KEY.to_string(), (n + 4).to_string());
                }
            }
            PgType::Bpchar(n) => {
                set("bpchar");
                if let Some(n) = n {
                    metadata.insert(TYPMOD_KEY.to_string(), (n + 4).to_string());
                }
            }
            PgType::Numeric(None) => drop(set("numeric")),
            // The carrier alone would be a plain numeric.
            PgType::Numeric(Some((NUMERIC_PRECISION, NUMERIC_SCALE))) => drop(set("numeric(38,10)")),
            _ => {}
        }
        Field::new(name, self.carrier(), nullable).with_metadata(metadata)
    }

    /// The SQL type of a column.
    pub fn of(field: &Field) -> PgType {
        match field.metadata().get(TYPE_KEY).map(String::as_str) {
            Some("name") => return PgType::Name,
            Some("char") => return PgType::Char,
            Some("oid") => return PgType::Oid,
            Some("regclass") => return PgType::Regclass,
            Some("numeric" | "numeric_avg") => return PgType::Numeric(None),
            Some("void") => return PgType::Void,
            Some("numeric(38,10)") => return PgType::Numeric(Some((NUMERIC_PRECISION, NUMERIC_SCALE))),
            Some("bpchar") if field.data_type() == &DataType::Utf8 => {
                let typmod = field.metadata().get(TYPMOD_KEY).and_then(|v| v.parse::<u32>().ok());
                return PgType::Bpchar(typmod.map(|t| t.saturating_sub(4)));
            }
            Some("varchar") if field.data_type() == &DataType::Utf8 => {
                let typmod = field.metadata().get(TYPMOD_KEY).and_then(|v| v.parse::<u32>().ok());
                return PgType::Varchar(typmod.map(|t| t.saturating_sub(4)));
            }
            _ => {}
        }
        Self::of_carrier(field.data_type())
    }

    /// Digits of a second that a column of times keeps, if fewer than six.
    pub fn digits_of(field: &Field) -> Option<u32> {
        use DataType::{Interval, Time64, Timestamp};
        let times = matches!(field.data_type(), Timestamp(_, _) | Time64(_) | Interval(_));
        times.then(|| field.metadata().get(TYPMOD_KEY)?.parse().ok()).flatten()
    }

    /// The SQL type that a carrier stands for when there is no metadata.
    pub fn of_carrier(data_type: &DataType) -> PgType {
        match data_type {
            DataType::Boolean => PgType::Bool,
            DataType::Int8 | DataType::Int16 | DataType::UInt8 => PgType::Int2,
            DataType::Int32 | DataType::UInt16 => PgType::Int4,
            DataType::Int64 | DataType::UInt32 | DataType::UInt64 => PgType::Int8,
            DataType::Float16 | DataType::Float32 => PgType::Float4,
            DataType::Float64 => PgType::Float8,
            DataType::Decimal128(NUMERIC_PRECISION, NUMERIC_SCALE) => PgType::Numeric(None),
            DataType::Decimal32(p, s)
            | DataType::Decimal64(p, s)
            | DataType::Decimal128(p, s)
            | DataType::Decimal256(p, s) => PgType::Numeric(Some((*p, *s))),
            DataType::Utf8 | DataType::Utf8View => PgType::Text,
            DataType::LargeUtf8 => PgType::Jsonb,
            DataType::LargeBinary => PgType::Json,
            DataType::Binary | DataType::BinaryView => PgType::Bytea,
            DataType::FixedSizeBinary(16) => PgType::Uuid,
            DataType::FixedSizeBinary(_) => PgType::Bytea,
            DataType::Date32 | DataType::Date64 => PgType::Date,
            DataType::Time32(_) | DataType::Time64(_) => PgType::Time,
            DataType::Timestamp(_, None) => PgType::Timestamp,
            DataType::Timestamp(_, Some(_)) => PgType::Timestamptz,
            DataType::Interval(_) | DataType::Duration(_) => PgType::Interval,
            DataType::List(f) | DataType::LargeList(f) | DataType::FixedSizeList(f, _) => {
                PgType::Array(Box::new(PgType::of(f)))
            }
            DataType::Dictionary(_, v) => Self::of_carrier(v),
            DataType::Struct(_) => PgType::Record,
            DataType::Null => PgType::Text,
            _ => PgType::Text,
        }
    }

    /// SQL name as `format_type` prints it, with modifiers.
    pub fn sql_name(&self) -> String {
        match self {
            PgType::Bool => "boolean".into(),
            PgType::Int2 => "smallint".into(),
            PgType::Int4 => "integer".into(),
            PgType::Int8 => "bigint".into(),
            PgType::Float4 => "real".into(),
            PgType::Float8 => "double precision".into(),
            PgType::Numeric(Some((p, s))) => format!("numeric({p},{s})"),
            PgType::Numeric(None) => "numeric".into(),
            PgType::Text => "text".into(),
            PgType::Varchar(Some(n)) => format!("character varying({n})"),
            PgType::Varchar(None) => "character varying".into(),
            PgType::Bpchar(Some(n)) => format!("character({n})"),
            PgType::Bpchar(None) => "character".into(),
            PgType::Bytea => "bytea".into(),
            PgType::Date => "date".into(),
            PgType::Time => "time without time zone".into(),
            PgType::Timestamp => "timestamp without time zone".into(),
            PgType::Timestamptz => "timestamp with time zone".into(),
            PgType::Interval => "interval".into(),
            PgType::Uuid => "uuid".into(),
            PgType::Json => "json".into(),
            PgType::Jsonb => "jsonb".into(),
            PgType::Name => "name".into(),
            PgType::Char => "\"char\"".into(),
            PgType::Oid => "oid".into(),
            PgType::Regclass => "regclass".into(),
            PgType::Unknown => "unknown".into(),
            PgType::Void => "void".into(),
            PgType::Record => "record".into(),
            PgType::Array(inner) => format!("{}[]", inner.sql_name()),
        }
    }

    /// `atttypmod`, or -1.
    pub fn typmod(&self) -> i32 {
        match self {
            PgType::Numeric(Some((p, s))) => ((*p as i32) << 16 | (*s as i32 & 0x7ff)) + 4,
            PgType::Varchar(Some(n)) | PgType::Bpchar(Some(n)) => *n as i32 + 4,
            _ => -1,
        }
    }
}
