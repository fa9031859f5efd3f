//! Typed column builders: one JSON value or one text in, one row on.
//!
//! In: tokens of the scanner, or plain text (message keys). Out: an Arrow array in the
//! carrier of `types::pg_type`. A value converts like `json_populate_record` of PostgreSQL:
//! scalars through the type's text input, containers into text and jsonb as JSON text.
//! Beyond it, a number in a timestamp column is milliseconds after 1970-01-01 UTC.
//! Contract: a failed push may leave a part of a value behind; `truncate` to the number of
//! rows before it removes that. All other calls leave the column one row longer.

use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::*;

use super::object::ObjectBuilder;
use super::scan::{DEPTH_MAX, Number, RawText, Scanner, Token, unescape};
use super::{datetime, jsonb, values};
use crate::error::{HwError, sqlstate};
use crate::types::pg_type::PgType;
use crate::types::text::{check_json, round_timestamp};

type Push = Result<(), HwError>;

const INTEGER_NAME: &str = "integer";

/// Values of variable length, `O` being the width of an offset.
pub struct Bytes<O> {
    offsets: Vec<O>,
    data: Vec<u8>,
}

impl<O: OffsetSizeTrait> Bytes<O> {
    fn new() -> Self {
        Bytes { offsets: vec![O::zero()], data: Vec::new() }
    }

    /// Ends the value whose bytes have been appended to `data`.
    #[inline(always)]
    fn end(&mut self) -> Push {
        let Some(end) = O::from_usize(self.data.len()) else {
            return Err(HwError::new(sqlstate::PROGRAM_LIMIT_EXCEEDED, "too many bytes in one batch"));
        };
        self.offsets.push(end);
        Ok(())
    }

    fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        let end = self.offsets.last().map_or(0, |o| o.as_usize());
        self.data.truncate(end);
    }

    fn take(&mut self) -> (OffsetBuffer<O>, Buffer) {
        let mut fresh = Vec::with_capacity(self.offsets.len());
        fresh.push(O::zero());
        let offsets = std::mem::replace(&mut self.offsets, fresh);
        let fresh = Vec::with_capacity(self.data.len());
        let data = std::mem::replace(&mut self.data, fresh);
        (OffsetBuffer::new(ScalarBuffer::from(offsets)), Buffer::from_vec(data))
    }
}

/// The values of a column by carrier.
enum Values {
    Bool(Vec<bool>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Numeric {
        values: Vec<i128>,
        precision: u8,
        scale: i8,
    },
    Date(Vec<i32>),
    Time(Vec<i64>),
    Timestamp {
        values: Vec<i64>,
        zone: Option<Arc<str>>,
    },
    Interval(Vec<IntervalMonthDayNano>),
    Uuid(Vec<u8>),
    /// `padded`: of `character(n)`, whose blanks at the end are not kept.
    Text {
        bytes: Bytes<i32>,
        chars_max: Option<usize>,
        padded: bool,
    },
    /// As it was written.
    Json(Bytes<i64>),
    Jsonb(Bytes<i64>),
    Bytea(Bytes<i32>),
    List {
        offsets: Vec<i32>,
        item: Box<Column>,
    },
    Struct(Box<ObjectBuilder>),
}

/// Builder of one column.
pub struct Column {
    field: FieldRef,
    values: Values,
    rows: usize,
    /// Rows that are null, ascending.
    nulls: Vec<usize>,
    /// Unescaped text of the value in hand.
    scratch: Vec<u8>,
}

impl Column {
    /// 0A000 for a carrier that no column of a source has.
    pub fn new(field: &FieldRef) -> Result<Column, HwError> {
        let values = match field.data_type() {
            DataType::Boolean => Values::Bool(Vec::new()),
            DataType::Int16 => Values::Int16(Vec::new()),
            DataType::Int32 => Values::Int32(Vec::new()),
            DataType::Int64 => Values::Int64(Vec::new()),
            DataType::Float32 => Values::Float32(Vec::new()),
            DataType::Float64 => Values::Float64(Vec::new()),
            DataType::Decimal128(p, s) => Values::Numeric { values: Vec::new(), precision: *p, scale: *s },
            DataType::Date32 => Values::Date(Vec::new()),
            DataType::Time64(TimeUnit::Microsecond) => Values::Time(Vec::new()),
            DataType::Timestamp(TimeUnit::Microsecond, zone) => {
                Values::Timestamp { values: Vec::new(), zone: zone.clone() }
            }
            DataType::Interval(IntervalUnit::MonthDayNano) => Values::Interval(Vec::new()),
            DataType::FixedSizeBinary(16) => Values::Uuid(Vec::new()),
            DataType::Utf8 => {
                let ty = PgType::of(field);
                let padded = matches!(ty, PgType::Bpchar(_));
                let chars_max = match ty {
                    PgType::Varchar(Some(n)) | PgType::Bpchar(Some(n)) => Some(n as usize),
                    _ => None,
                };
                Values::Text { bytes: Bytes::new(), chars_max, padded }
            }
            DataType::LargeBinary => Values::Json(Bytes::new()),
            DataType::LargeUtf8 => Values::Jsonb(Bytes::new()),
            DataType::Binary => Values::Bytea(Bytes::new()),
            DataType::List(item) => Values::List { offsets: vec![0], item: Box::new(Column::new(item)?) },
            DataType::Struct(fields) => {
                Values::Struct(Box::new(ObjectBuilder::new(fields, &Fields::empty())?))
            }
            other => {
                return Err(HwError::unsupported(
                    format!("column \"{}\" of type {other} in a JSON source", field.name()),
                    "Declare it as text or jsonb.",
                ));
            }
        };
        Ok(Column { field: field.clone(), values, rows: 0, nulls: Vec::new(), scratch: Vec::new() })
    }

    pub fn name(&self) -> &str {
        self.field.name()
    }

    pub fn len(&self) -> usize {
        self.rows
    }

    /// Adds one row from a JSON value that stands inside `depth` containers.
    #[inline(always)]
    pub fn push(&mut self, token: Token<'_>, depth: u32) -> Push {
        // The two kinds that carry most of the bytes of a stream come first.
        match (&mut self.values, token) {
            (Values::Int64(v), Token::Number(Number { integer: Some(i), .. })) => v.push(i),
            (Values::Text { bytes, chars_max: None, .. }, Token::Text(t)) => {
                if t.escaped {
                    unescape(t.bytes, &mut bytes.data)?;
                } else {
                    bytes.data.extend_from_slice(t.bytes);
                }
                bytes.end()?;
            }
            (_, Token::Null) => return self.push_null(),
            _ => return self.push_other(token, depth),
        }
        self.rows += 1;
        Ok(())
    }

    /// Whether the value could be added; keeps nothing.
    #[inline(always)]
    pub fn check(&mut self, token: Token<'_>, depth: u32) -> Push {
        match (&self.values, token) {
            (Values::Int64(_), Token::Number(Number { integer: Some(_), .. })) => Ok(()),
            (Values::Text { chars_max: None, .. }, Token::Text(RawText { escaped: false, .. })) => Ok(()),
            _ => {
                let pushed = self.push(token, depth);
                self.truncate(0);
                pushed
            }
        }
    }

    fn push_other(&mut self, token: Token<'_>, depth: u32) -> Push {
        match (&mut self.values, token) {
            (Values::Bool(v), Token::Bool(b)) => v.push(b),
            (Values::Int16(v), Token::Number(Number { integer: Some(i), .. })) => {
                v.push(values::narrow(i, "smallint")?)
            }
            (Values::Int32(v), Token::Number(Number { integer: Some(i), .. })) => {
                v.push(values::narrow(i, INTEGER_NAME)?)
            }
            (Values::Timestamp { values, .. }, Token::Number(n)) => values.push(epoch_millis(n)?),
            (Values::Json(bytes), token) => {
                jsonb::copy(token, &mut bytes.data);
                bytes.end()?;
            }
            (Values::Jsonb(bytes), token) => {
                jsonb::write(token, &mut bytes.data)?;
                bytes.end()?;
            }
            (Values::List { offsets, item }, Token::Array(span)) => {
                push_items(item, span, depth)?;
                offsets.push(item.len() as i32);
            }
            (Values::Struct(object), Token::Object(span)) => {
                object.push(&mut Scanner::new(span, DEPTH_MAX), depth)?;
            }
            (_, token) => return self.push_as_text(token),
        }
        self.rows += 1;
        Ok(())
    }

    fn push_as_text(&mut self, token: Token<'_>) -> Push {
        let raw: &[u8] = match token {
            Token::Null => return self.push_null(),
            Token::Bool(true) => b"true",
            Token::Bool(false) => b"false",
            Token::Number(n) => n.text,
            Token::Array(span) | Token::Object(span) => span,
            Token::Text(t) if !t.escaped => t.bytes,
            Token::Text(t) => {
                let mut scratch = std::mem::take(&mut self.scratch);
                scratch.clear();
                let pushed = unescape(t.bytes, &mut scratch).and_then(|()| self.push_utf8(&scratch));
                self.scratch = scratch;
                return pushed;
            }
        };
        self.push_utf8(raw)
    }

    fn push_utf8(&mut self, raw: &[u8]) -> Push {
        let text = std::str::from_utf8(raw).map_err(|e| super::invalid_utf8(raw, e))?;
        self.push_text(text)
    }

    /// Adds one row from the type's text form, as a cast from text does.
    pub fn push_text(&mut self, text: &str) -> Push {
        match &mut self.values {
            Values::Bool(v) => v.push(values::parse_bool(text)?),
            Values::Int16(v) => v.push(values::narrow(values::parse_integer(text, "smallint")?, "smallint")?),
            Values::Int32(v) => {
                v.push(values::narrow(values::parse_integer(text, INTEGER_NAME)?, INTEGER_NAME)?)
            }
            Values::Int64(v) => v.push(values::parse_integer(text, "bigint")?),
            Values::Float32(v) => v.push(values::parse_float4(text)?),
            Values::Float64(v) => v.push(values::parse_float8(text)?),
            Values::Numeric { values, precision, scale } => {
                values.push(values::parse_numeric(text, *precision, *scale)?)
            }
            Values::Date(v) => v.push(datetime::parse_date(text)?),
            Values::Time(v) => v.push(datetime::parse_time(text)?),
            Values::Timestamp { values, zone } => {
                values.push(datetime::parse_timestamp(text, zone.is_some())?)
            }
            Values::Interval(v) => v.push(values::parse_interval(text)?),
            Values::Uuid(v) => v.extend_from_slice(&values::parse_uuid(text)?),
            Values::Text { bytes, chars_max, padded } => {
                let text = match chars_max {
                    Some(n) => fit_length(text, *n, *padded)?,
                    None => text,
                };
                bytes.data.extend_from_slice(text.as_bytes());
                bytes.end()?;
            }
            Values::Json(bytes) => {
                check_json(text)?;
                bytes.data.extend_from_slice(text.as_bytes());
                bytes.end()?;
            }
            Values::Jsonb(bytes) => {
                let mut scanner = Scanner::new(text.as_bytes(), DEPTH_MAX);
                let token = scanner.value(0)?;
                scanner.expect_end()?;
                jsonb::write(token, &mut bytes.data)?;
                bytes.end()?;
            }
            Values::Bytea(bytes) => {
                values::parse_bytea(text, &mut bytes.data)?;
                bytes.end()?;
            }
            Values::List { .. } | Values::Struct(_) => {
                let type_name = PgType::of(&self.field).sql_name();
                let shape = if matches!(self.values, Values::List { .. }) { "an array" } else { "an object" };
                return Err(values::bad_syntax(&type_name, text)
                    .with_detail(format!("Expected {shape} in column \"{}\".", self.name())));
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// Adds one row from raw bytes: a bytea takes them as they are, any other type as its
    /// text form in UTF-8.
    pub fn push_bytes(&mut self, raw: &[u8]) -> Push {
        if let Values::Bytea(bytes) = &mut self.values {
            bytes.data.extend_from_slice(raw);
            bytes.end()?;
            self.rows += 1;
            return Ok(());
        }
        if raw.contains(&0) {
            return Err(super::nul_byte());
        }
        self.push_utf8(raw)
    }

    /// Adds a null row; 23502 if the column must not be null.
    pub fn push_null(&mut self) -> Push {
        if !self.field.is_nullable() {
            return Err(HwError::new(
                sqlstate::NOT_NULL_VIOLATION,
                format!("null value in column \"{}\" violates not-null constraint", self.name()),
            ));
        }
        self.push_placeholder();
        Ok(())
    }

    /// Adds a null row whatever the field says: below a null struct, or until the value is
    /// replaced.
    pub fn push_placeholder(&mut self) {
        self.nulls.push(self.rows);
        self.rows += 1;
        match &mut self.values {
            Values::Bool(v) => v.push(false),
            Values::Int16(v) => v.push(0),
            Values::Int32(v) | Values::Date(v) => v.push(0),
            Values::Int64(v) | Values::Time(v) | Values::Timestamp { values: v, .. } => v.push(0),
            Values::Float32(v) => v.push(0.0),
            Values::Float64(v) => v.push(0.0),
            Values::Numeric { values, .. } => values.push(0),
            Values::Interval(v) => v.push(IntervalMonthDayNano::ZERO),
            Values::Uuid(v) => v.extend_from_slice(&[0; 16]),
            Values::Text { bytes, .. } | Values::Bytea(bytes) => repeat_last(&mut bytes.offsets),
            Values::Json(bytes) | Values::Jsonb(bytes) => repeat_last(&mut bytes.offsets),
            Values::List { offsets, .. } => repeat_last(offsets),
            Values::Struct(object) => object.push_placeholder(),
        }
    }

    /// Drops everything beyond the first `rows` rows, and parts of a value left by an error.
    pub fn truncate(&mut self, rows: usize) {
        self.rows = rows;
        while self.nulls.last().is_some_and(|row| *row >= rows) {
            self.nulls.pop();
        }
        match &mut self.values {
            Values::Bool(v) => v.truncate(rows),
            Values::Int16(v) => v.truncate(rows),
            Values::Int32(v) | Values::Date(v) => v.truncate(rows),
            Values::Int64(v) | Values::Time(v) | Values::Timestamp { values: v, .. } => v.truncate(rows),
            Values::Float32(v) => v.truncate(rows),
            Values::Float64(v) => v.truncate(rows),
            Values::Numeric { values, .. } => values.truncate(rows),
            Values::Interval(v) => v.truncate(rows),
            Values::Uuid(v) => v.truncate(rows * 16),
            Values::Text { bytes, .. } | Values::Bytea(bytes) => bytes.truncate(rows),
            Values::Json(bytes) | Values::Jsonb(bytes) => bytes.truncate(rows),
            Values::List { offsets, item } => {
                offsets.truncate(rows + 1);
                item.truncate(offsets.last().copied().unwrap_or(0) as usize);
            }
            Values::Struct(object) => object.truncate(rows),
        }
    }

    fn take_nulls(&mut self) -> Option<NullBuffer> {
        if self.nulls.is_empty() {
            return None;
        }
        let mut valid = BooleanBufferBuilder::new(self.rows);
        valid.append_n(self.rows, true);
        for row in self.nulls.drain(..) {
            valid.set_bit(row, false);
        }
        Some(NullBuffer::new(valid.finish()))
    }

    /// Takes the rows; the column is empty afterwards and keeps its capacity.
    pub fn finish(&mut self) -> Result<ArrayRef, HwError> {
        let nulls = self.take_nulls();
        let rows = std::mem::take(&mut self.rows);
        Ok(match &mut self.values {
            Values::Bool(v) => Arc::new(BooleanArray::new(BooleanBuffer::from(renew(v)), nulls)),
            Values::Int16(v) => primitive::<Int16Type>(v, nulls),
            Values::Int32(v) => primitive::<Int32Type>(v, nulls),
            Values::Int64(v) => primitive::<Int64Type>(v, nulls),
            Values::Float32(v) => primitive::<Float32Type>(v, nulls),
            Values::Float64(v) => primitive::<Float64Type>(v, nulls),
            Values::Numeric { values, precision, scale } => {
                let array = Decimal128Array::new(renew(values).into(), nulls);
                Arc::new(array.with_precision_and_scale(*precision, *scale)?)
            }
            Values::Date(v) => primitive::<Date32Type>(v, nulls),
            Values::Time(v) => primitive::<Time64MicrosecondType>(v, nulls),
            Values::Timestamp { values, zone } => {
                if let Some(digits) = PgType::digits_of(&self.field) {
                    values.iter_mut().for_each(|at| *at = round_timestamp(*at, i64::from(digits)));
                }
                let array = TimestampMicrosecondArray::new(renew(values).into(), nulls);
                Arc::new(array.with_timezone_opt(zone.clone()))
            }
            Values::Interval(v) => primitive::<IntervalMonthDayNanoType>(v, nulls),
            Values::Uuid(v) => {
                Arc::new(FixedSizeBinaryArray::try_new(16, Buffer::from_vec(renew(v)), nulls)?)
            }
            Values::Text { bytes, .. } => {
                let (offsets, data) = bytes.take();
                Arc::new(StringArray::try_new(offsets, data, nulls)?)
            }
            Values::Json(bytes) => {
                let (offsets, data) = bytes.take();
                Arc::new(LargeBinaryArray::try_new(offsets, data, nulls)?)
            }
            Values::Jsonb(bytes) => {
                let (offsets, data) = bytes.take();
                Arc::new(LargeStringArray::try_new(offsets, data, nulls)?)
            }
            Values::Bytea(bytes) => {
                let (offsets, data) = bytes.take();
                Arc::new(BinaryArray::try_new(offsets, data, nulls)?)
            }
            Values::List { offsets, item } => {
                let taken = std::mem::replace(offsets, vec![0]);
                let offsets = OffsetBuffer::new(ScalarBuffer::from(taken));
                Arc::new(ListArray::try_new(item.field.clone(), offsets, item.finish()?, nulls)?)
            }
            Values::Struct(object) => {
                let (fields, columns) = object.finish()?;
                Arc::new(StructArray::try_new_with_length(fields, columns, nulls, rows)?)
            }
        })
    }
}

/// Takes the values and leaves an empty vector of the same capacity.
fn renew<T>(values: &mut Vec<T>) -> Vec<T> {
    let fresh = Vec::with_capacity(values.len());
    std::mem::replace(values, fresh)
}

fn primitive<T: ArrowPrimitiveType>(values: &mut Vec<T::Native>, nulls: Option<NullBuffer>) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::new(renew(values).into(), nulls))
}

fn repeat_last<O: Copy>(offsets: &mut Vec<O>) {
    offsets.extend(offsets.last().copied());
}

fn epoch_millis(number: Number<'_>) -> Result<i64, HwError> {
    let text = std::str::from_utf8(number.text).unwrap_or_default();
    let micros = match number.integer {
        Some(millis) => millis.checked_mul(1_000),
        None => values::parse_epoch_millis(text),
    };
    micros.filter(|m| datetime::timestamp_in_range(*m)).ok_or_else(|| {
        HwError::new(sqlstate::DATETIME_FIELD_OVERFLOW, format!("timestamp out of range: \"{text}\""))
            .with_hint("A number in a timestamp column is milliseconds after 1970-01-01 UTC.")
    })
}

/// 22001 unless the text fits; excess spaces are cut off, as PostgreSQL does.
fn fit_length(text: &str, chars_max: usize, padded: bool) -> Result<&str, HwError> {
    let text = if padded { text.trim_end_matches(' ') } else { text };
    let name = if padded { "character" } else { "character varying" };
    match text.char_indices().nth(chars_max) {
        None => Ok(text),
        Some((end, _)) if text[end..].bytes().all(|b| b == b' ') => Ok(&text[..end]),
        Some(_) => Err(HwError::new(
            sqlstate::STRING_DATA_RIGHT_TRUNCATION,
            format!("value too long for type {name}({chars_max})"),
        )),
    }
}

fn push_items(item: &mut Column, span: &[u8], depth: u32) -> Push {
    let mut scanner = Scanner::new(span, DEPTH_MAX);
    scanner.expect(b'[', "'['")?;
    if scanner.take(b']') {
        return Ok(());
    }
    loop {
        let token = scanner.value(depth + 1)?;
        item.push(token, depth + 1)?;
        if i32::try_from(item.len()).is_err() {
            return Err(HwError::new(
                sqlstate::PROGRAM_LIMIT_EXCEEDED,
                "too many array elements in one batch",
            ));
        }
        if !scanner.take(b',') {
            return scanner.expect(b']', "',' or ']'");
        }
    }
}
