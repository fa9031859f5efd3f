//! Writes the values of one column, as text or in PostgreSQL's binary form.
//!
//! A [`ColumnWriter`] is built once per column of a batch: it brings stray Arrow types (views,
//! dictionaries, other time units) to the carrier and resolves type, scale and element
//! writers, so that writing a value is one match and a copy. It holds cheap clones of the
//! arrays and outlives the batch, as a suspended portal needs.

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array,
    FixedSizeBinaryArray, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array,
    IntervalMonthDayNanoArray, LargeBinaryArray, LargeStringArray, ListArray, StringArray, StructArray,
    Time64MicrosecondArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};

use super::array::{quote_array_element, quote_row_field};
use super::{
    NumericStyle, TextOptions, Zone, write_bytea, write_date, write_float4, write_float8, write_integer,
    write_interval, write_numeric, write_time, write_timestamp, write_uuid,
};
use crate::error::{HwError, Result};
use crate::types::PgType;
use crate::types::pg_type::TYPE_KEY;

/// Writes any value of one column.
pub struct ColumnWriter {
    pub(super) values: Values,
    pub(super) ty: PgType,
    rows: usize,
}

/// The column by carrier.
pub(super) enum Values {
    Null,
    Bool(BooleanArray),
    Int2(Int16Array),
    Int4(Int32Array),
    Int8(Int64Array),
    UInt8(UInt64Array),
    Float4(Float32Array),
    Float8(Float64Array),
    Numeric(Decimal128Array, i8, NumericStyle),
    /// Wider than any carrier; only DataFusion makes it.
    WideNumeric(Decimal256Array, i8),
    Text(StringArray),
    Json(LargeBinaryArray),
    Jsonb(LargeStringArray),
    Bytea(BinaryArray),
    Uuid(FixedSizeBinaryArray),
    Date(Date32Array),
    Time(Time64MicrosecondArray),
    Timestamp(TimestampMicrosecondArray),
    Timestamptz(TimestampMicrosecondArray, Zone),
    Interval(IntervalMonthDayNanoArray),
    List(ListArray, Box<ColumnWriter>),
    Struct(StructArray, Vec<ColumnWriter>),
}

/// The type in which values are written: a carrier, whatever the array's own type is.
fn target(data_type: &DataType) -> Result<DataType> {
    Ok(match data_type {
        DataType::Int8 | DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => DataType::Decimal128(*p, *s),
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::FixedSizeBinary(n) if *n != 16 => DataType::Binary,
        DataType::Date64 => DataType::Date32,
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::Interval(_) | DataType::Duration(_) => DataType::Interval(IntervalUnit::MonthDayNano),
        DataType::LargeList(field) | DataType::FixedSizeList(field, _) => DataType::List(field.clone()),
        DataType::Dictionary(_, value) => return target(value),
        DataType::RunEndEncoded(_, values) => return target(values.data_type()),
        DataType::Union(..) | DataType::Map(..) | DataType::ListView(_) | DataType::LargeListView(_) => {
            return Err(HwError::internal(format!("values of Arrow type {data_type} have no SQL form")));
        }
        other => other.clone(),
    })
}

impl ColumnWriter {
    /// A writer for a column; `field` says the SQL type, `options` the session's settings.
    pub fn new(array: &ArrayRef, field: &Field, options: &TextOptions) -> Result<ColumnWriter> {
        let wanted = target(array.data_type())?;
        let cast =
            if &wanted == array.data_type() { None } else { Some(arrow::compute::cast(array, &wanted)?) };
        let array = cast.as_ref().unwrap_or(array);
        let values = Values::new(array, field, options)?;
        Ok(ColumnWriter { values, ty: PgType::of(field), rows: array.len() })
    }

    /// The SQL type of the column.
    pub fn pg_type(&self) -> &PgType {
        &self.ty
    }

    /// Number of rows of the column.
    pub fn len(&self) -> usize {
        self.rows
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    pub fn is_null(&self, row: usize) -> bool {
        match &self.values {
            Values::Null => true,
            Values::Bool(a) => a.is_null(row),
            Values::Int2(a) => a.is_null(row),
            Values::Int4(a) => a.is_null(row),
            Values::Int8(a) => a.is_null(row),
            Values::UInt8(a) => a.is_null(row),
            Values::Float4(a) => a.is_null(row),
            Values::Float8(a) => a.is_null(row),
            Values::Numeric(a, ..) => a.is_null(row),
            Values::WideNumeric(a, _) => a.is_null(row),
            Values::Text(a) => a.is_null(row),
            Values::Json(a) => a.is_null(row),
            Values::Jsonb(a) => a.is_null(row),
            Values::Bytea(a) => a.is_null(row),
            Values::Uuid(a) => a.is_null(row),
            Values::Date(a) => a.is_null(row),
            Values::Time(a) => a.is_null(row),
            Values::Timestamp(a) | Values::Timestamptz(a, _) => a.is_null(row),
            Values::Interval(a) => a.is_null(row),
            Values::List(a, _) => a.is_null(row),
            Values::Struct(a, _) => a.is_null(row),
        }
    }

    /// Appends the text of a value that is not null.
    pub fn write_text(&self, row: usize, out: &mut Vec<u8>) {
        match &self.values {
            Values::Null => {}
            Values::Bool(a) => out.push(if a.value(row) { b't' } else { b'f' }),
            Values::Int2(a) => write_integer(a.value(row).into(), out),
            Values::Int4(a) => write_integer(a.value(row).into(), out),
            Values::Int8(a) => write_integer(a.value(row).into(), out),
            Values::UInt8(a) => write_integer(a.value(row).into(), out),
            Values::Float4(a) => write_float4(a.value(row), out),
            Values::Float8(a) => write_float8(a.value(row), out),
            Values::Numeric(a, scale, style) => write_numeric(a.value(row), *scale, *style, out),
            Values::WideNumeric(a, scale) => {
                let text = Decimal256Array::from_iter_values([a.value(row)])
                    .with_precision_and_scale(76, *scale)
                    .map(|one| one.value_as_string(0));
                out.extend_from_slice(text.unwrap_or_default().as_bytes());
            }
            Values::Text(a) => out.extend_from_slice(a.value(row).as_bytes()),
            Values::Json(a) => out.extend_from_slice(a.value(row)),
            Values::Jsonb(a) => out.extend_from_slice(a.value(row).as_bytes()),
            Values::Bytea(a) => write_bytea(a.value(row), out),
            Values::Uuid(a) => write_uuid(a.value(row), out),
            Values::Date(a) => write_date(a.value(row), out),
            Values::Time(a) => write_time(a.value(row), out),
            Values::Timestamp(a) => write_timestamp(a.value(row), None, out),
            Values::Timestamptz(a, zone) => write_timestamp(a.value(row), Some(zone), out),
            Values::Interval(a) => write_interval(a.value(row), out),
            Values::List(a, elements) => write_list(a, elements, row, out),
            Values::Struct(_, fields) => write_struct(fields, row, out),
        }
    }

    /// True for texts that may hold characters with a meaning inside an array or row.
    fn may_need_quotes(&self) -> bool {
        matches!(
            self.values,
            Values::Text(_)
                | Values::Json(_)
                | Values::Jsonb(_)
                | Values::Bytea(_)
                | Values::Timestamp(_)
                | Values::Timestamptz(..)
                | Values::Interval(_)
                | Values::Date(_)
                | Values::Struct(..)
        )
    }
}

impl Values {
    fn new(array: &ArrayRef, field: &Field, options: &TextOptions) -> Result<Values> {
        Ok(match array.data_type() {
            DataType::Null => Values::Null,
            DataType::Boolean => Values::Bool(array.as_boolean().clone()),
            DataType::Int16 => Values::Int2(array.as_primitive().clone()),
            DataType::Int32 => Values::Int4(array.as_primitive().clone()),
            DataType::Int64 => Values::Int8(array.as_primitive().clone()),
            DataType::UInt64 => Values::UInt8(array.as_primitive().clone()),
            DataType::Float32 => Values::Float4(array.as_primitive().clone()),
            DataType::Float64 => Values::Float8(array.as_primitive().clone()),
            DataType::Decimal128(_, scale) => {
                let style = match field.metadata().get(TYPE_KEY).map(String::as_str) {
                    Some("numeric_avg") => NumericStyle::Average,
                    _ if PgType::of(field) == PgType::Numeric(None) => NumericStyle::Trimmed,
                    _ => NumericStyle::Scale,
                };
                Values::Numeric(array.as_primitive().clone(), *scale, style)
            }
            DataType::Decimal256(_, scale) => Values::WideNumeric(array.as_primitive().clone(), *scale),
            DataType::Utf8 => match PgType::of(field) {
                PgType::Bpchar(Some(width)) => Values::Text(padded(array.as_string(), width as usize)),
                _ => Values::Text(array.as_string().clone()),
            },
            DataType::LargeBinary => Values::Json(array.as_binary().clone()),
            DataType::LargeUtf8 => Values::Jsonb(array.as_string().clone()),
            DataType::Binary => Values::Bytea(array.as_binary().clone()),
            DataType::FixedSizeBinary(_) => Values::Uuid(array.as_fixed_size_binary().clone()),
            DataType::Date32 => Values::Date(array.as_primitive().clone()),
            DataType::Time64(_) => Values::Time(array.as_primitive().clone()),
            DataType::Timestamp(_, None) => Values::Timestamp(array.as_primitive().clone()),
            DataType::Timestamp(_, Some(_)) => {
                Values::Timestamptz(array.as_primitive().clone(), options.zone)
            }
            DataType::Interval(_) => Values::Interval(array.as_primitive().clone()),
            DataType::List(element) => {
                let list = array.as_list::<i32>();
                Values::List(list.clone(), Box::new(ColumnWriter::new(list.values(), element, options)?))
            }
            DataType::Struct(fields) => {
                let row = array.as_struct();
                let columns = row.columns().iter().zip(fields.iter());
                let writers = columns.map(|(column, field)| ColumnWriter::new(column, field, options));
                Values::Struct(row.clone(), writers.collect::<Result<_>>()?)
            }
            other => return Err(HwError::internal(format!("values of Arrow type {other} have no SQL form"))),
        })
    }
}

/// `character(n)` as it is shown: with blanks up to its length.
fn padded(texts: &StringArray, width: usize) -> StringArray {
    texts.iter().map(|text| text.map(|text| format!("{text:<width$}"))).collect()
}

/// Index range of a list's elements.
pub(super) fn element_range(list: &ListArray, row: usize) -> std::ops::Range<usize> {
    let offsets = list.value_offsets();
    offsets[row] as usize..offsets[row + 1] as usize
}

fn write_list(list: &ListArray, elements: &ColumnWriter, row: usize, out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, element) in element_range(list, row).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        if elements.is_null(element) {
            out.extend_from_slice(b"NULL");
            continue;
        }
        let start = out.len();
        elements.write_text(element, out);
        if elements.may_need_quotes() {
            quote_array_element(out, start);
        }
    }
    out.push(b'}');
}

fn write_struct(fields: &[ColumnWriter], row: usize, out: &mut Vec<u8>) {
    out.push(b'(');
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        if field.is_null(row) {
            continue;
        }
        let start = out.len();
        field.write_text(row, out);
        if field.may_need_quotes() || matches!(field.values, Values::List(..)) {
            quote_row_field(out, start);
        }
    }
    out.push(b')');
}
