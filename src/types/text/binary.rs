//! PostgreSQL's binary form of every type, as its `…send` and `…recv` functions have it.
//!
//! Big-endian throughout. Dates and timestamps count from 2000-01-01; a numeric is digits of
//! base 10,000; jsonb has a version byte in front of its text.

use datafusion::common::ScalarValue;

use super::column::{ColumnWriter, Values, element_range};
use super::scalar::{character_value, list_of, null_of};
use super::{
    DATE_INFINITY, DATE_MINUS_INFINITY, POSTGRES_EPOCH_DAYS, POSTGRES_EPOCH_MICROS, TIMESTAMP_INFINITY,
    TIMESTAMP_MINUS_INFINITY, TextOptions, canonical_jsonb, check_json, parse_numeric,
};
use crate::error::{HwError, Result, sqlstate};
use crate::types::PgType;
use crate::types::pg_type::{NUMERIC_PRECISION, NUMERIC_SCALE, UTC};

const JSONB_VERSION: u8 = 1;
const NUMERIC_NEGATIVE: u16 = 0x4000;
const NUMERIC_NAN: u16 = 0xc000;
const NUMERIC_INFINITY: u16 = 0xd000;
const NUMERIC_MINUS_INFINITY: u16 = 0xf000;
/// Most base-10,000 digits that a Decimal256 with any scale can need.
const NUMERIC_GROUPS_MAX: usize = 96;

impl ColumnWriter {
    /// Appends the binary form of a value that is not null.
    pub fn write_binary(&self, row: usize, out: &mut Vec<u8>) {
        match &self.values {
            Values::Null => {}
            Values::Bool(a) => out.push(u8::from(a.value(row))),
            Values::Int2(a) => out.extend_from_slice(&a.value(row).to_be_bytes()),
            Values::Int4(a) => out.extend_from_slice(&a.value(row).to_be_bytes()),
            Values::Int8(a) if matches!(self.ty, PgType::Oid | PgType::Regclass) => {
                out.extend_from_slice(&(a.value(row) as u32).to_be_bytes());
            }
            Values::Int8(a) => out.extend_from_slice(&a.value(row).to_be_bytes()),
            Values::UInt8(a) => out.extend_from_slice(&a.value(row).to_be_bytes()),
            Values::Float4(a) => out.extend_from_slice(&a.value(row).to_be_bytes()),
            Values::Float8(a) => out.extend_from_slice(&a.value(row).to_be_bytes()),
            Values::Numeric(..) | Values::WideNumeric(..) => {
                let start = out.len();
                self.write_text(row, out);
                numeric_from_text(out, start);
            }
            Values::Text(_) => self.write_text(row, out),
            Values::Json(a) => out.extend_from_slice(a.value(row)),
            Values::Jsonb(a) => {
                out.push(JSONB_VERSION);
                out.extend_from_slice(a.value(row).as_bytes());
            }
            Values::Bytea(a) => out.extend_from_slice(a.value(row)),
            Values::Uuid(a) => out.extend_from_slice(a.value(row)),
            Values::Date(a) => {
                let days = match a.value(row) {
                    infinite @ (DATE_INFINITY | DATE_MINUS_INFINITY) => infinite,
                    days => days.saturating_sub(POSTGRES_EPOCH_DAYS),
                };
                out.extend_from_slice(&days.to_be_bytes());
            }
            Values::Time(a) => out.extend_from_slice(&a.value(row).to_be_bytes()),
            Values::Timestamp(a) | Values::Timestamptz(a, _) => {
                let micros = match a.value(row) {
                    infinite @ (TIMESTAMP_INFINITY | TIMESTAMP_MINUS_INFINITY) => infinite,
                    micros => micros.saturating_sub(POSTGRES_EPOCH_MICROS),
                };
                out.extend_from_slice(&micros.to_be_bytes());
            }
            Values::Interval(a) => {
                let interval = a.value(row);
                out.extend_from_slice(&(interval.nanoseconds / 1000).to_be_bytes());
                out.extend_from_slice(&interval.days.to_be_bytes());
                out.extend_from_slice(&interval.months.to_be_bytes());
            }
            Values::List(..) => self.write_array(row, out),
            Values::Struct(_, fields) => {
                out.extend_from_slice(&(fields.len() as i32).to_be_bytes());
                for field in fields {
                    out.extend_from_slice(&field.ty.oid().to_be_bytes());
                    field.write_cell(row, true, out);
                }
            }
        }
    }

    /// Appends the length and the value, -1 for null, as `DataRow` and arrays hold them.
    pub fn write_cell(&self, row: usize, binary: bool, out: &mut Vec<u8>) {
        if self.is_null(row) {
            return out.extend_from_slice(&(-1i32).to_be_bytes());
        }
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        if binary {
            self.write_binary(row, out);
        } else {
            self.write_text(row, out);
        }
        let length = (out.len() - start - 4) as i32;
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }

    /// Dimensions, a flag for nulls, the element type, then the elements. A list of lists is
    /// sent with the dimensions of its first elements.
    fn write_array(&self, row: usize, out: &mut Vec<u8>) {
        let (mut lengths, mut rows, mut writer) = (Vec::new(), vec![row], self);
        while let Values::List(list, elements) = &writer.values {
            let next: Vec<usize> =
                rows.iter().filter(|r| !writer.is_null(**r)).flat_map(|r| element_range(list, *r)).collect();
            lengths.push((next.len() / rows.len().max(1)) as i32);
            (rows, writer) = (next, elements);
        }
        let nulls = rows.iter().any(|r| writer.is_null(*r));
        let dimensions: &[i32] = if rows.is_empty() { &[] } else { &lengths };
        out.extend_from_slice(&(dimensions.len() as i32).to_be_bytes());
        out.extend_from_slice(&i32::from(nulls).to_be_bytes());
        out.extend_from_slice(&writer.ty.oid().to_be_bytes());
        for length in dimensions {
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(&1i32.to_be_bytes());
        }
        for row in rows {
            writer.write_cell(row, true, out);
        }
    }
}

/// Replaces a decimal text at the end of `out` by its binary form.
fn numeric_from_text(out: &mut Vec<u8>, start: usize) {
    let mut groups = [0u16; NUMERIC_GROUPS_MAX];
    let text = &out[start..];
    // No digits; an infinity's flag also reads as a scale, as PostgreSQL sends it.
    let special: Option<[u16; 2]> = match text {
        b"NaN" => Some([NUMERIC_NAN, 0]),
        b"Infinity" => Some([NUMERIC_INFINITY, 32]),
        b"-Infinity" => Some([NUMERIC_MINUS_INFINITY, 32]),
        _ => None,
    };
    if let Some([sign, scale]) = special {
        out.truncate(start);
        return [0, 0, sign, scale].iter().for_each(|word| out.extend_from_slice(&word.to_be_bytes()));
    }
    let negative = text.first() == Some(&b'-');
    let digits = &text[usize::from(negative)..];
    let point = digits.iter().position(|b| *b == b'.').unwrap_or(digits.len());
    let fraction = digits.get(point + 1..).unwrap_or(&[]);
    // Groups of four digits are aligned at the point.
    let integer_groups = point.div_ceil(4);
    let padding = integer_groups * 4 - point;
    for (index, digit) in digits[..point].iter().chain(fraction).enumerate() {
        let at = index + padding;
        let weight = [1000, 100, 10, 1][at % 4];
        if let Some(group) = groups.get_mut(at / 4) {
            *group += u16::from(digit - b'0') * weight;
        }
    }
    let used = (integer_groups + fraction.len().div_ceil(4)).min(NUMERIC_GROUPS_MAX);
    let first = groups[..used].iter().position(|g| *g != 0).unwrap_or(used);
    let last = groups[..used].iter().rposition(|g| *g != 0).map_or(first, |last| last + 1);
    let scale = fraction.len() as u16;
    let weight = if first == last { 0 } else { integer_groups as i16 - first as i16 - 1 };
    let sign = if negative { NUMERIC_NEGATIVE } else { 0 };
    out.truncate(start);
    out.extend_from_slice(&((last - first) as u16).to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&scale.to_be_bytes());
    for group in &groups[first..last] {
        out.extend_from_slice(&group.to_be_bytes());
    }
}

/// Bounds-checked reading of a binary value.
struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (head, rest) = self
            .bytes
            .split_at_checked(length)
            .ok_or_else(|| HwError::new(sqlstate::PROTOCOL_VIOLATION, "insufficient data left in message"))?;
        self.bytes = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }
}

fn invalid(message: impl Into<String>) -> HwError {
    HwError::new(sqlstate::INVALID_BINARY_REPRESENTATION, message)
}

/// The value that `bytes` stand for in the binary form of type `ty`.
pub fn parse_binary(bytes: &[u8], ty: &PgType, options: &TextOptions) -> Result<ScalarValue> {
    let mut reader = Reader { bytes };
    let value = read_value(&mut reader, ty, options)?;
    if reader.bytes.is_empty() { Ok(value) } else { Err(invalid("incorrect binary data format")) }
}

fn read_value(reader: &mut Reader, ty: &PgType, options: &TextOptions) -> Result<ScalarValue> {
    Ok(match ty {
        PgType::Bool => ScalarValue::Boolean(Some(reader.array::<1>()?[0] != 0)),
        PgType::Int2 => ScalarValue::Int16(Some(reader.i16()?)),
        PgType::Int4 => ScalarValue::Int32(Some(reader.i32()?)),
        PgType::Int8 => ScalarValue::Int64(Some(reader.i64()?)),
        PgType::Oid | PgType::Regclass => ScalarValue::Int64(Some(i64::from(reader.i32()? as u32))),
        PgType::Float4 => ScalarValue::Float32(Some(f32::from_be_bytes(reader.array()?))),
        PgType::Float8 => ScalarValue::Float64(Some(f64::from_be_bytes(reader.array()?))),
        PgType::Numeric(modifier) => {
            let (precision, scale) = modifier.unwrap_or((NUMERIC_PRECISION, NUMERIC_SCALE));
            let text = read_numeric(reader)?;
            ScalarValue::Decimal128(Some(parse_numeric(&text, precision, scale)?), precision, scale)
        }
        PgType::Text
        | PgType::Varchar(_)
        | PgType::Bpchar(_)
        | PgType::Name
        | PgType::Char
        | PgType::Unknown => ScalarValue::Utf8(Some(character_value(utf8(reader.rest())?, ty)?)),
        PgType::Bytea => ScalarValue::Binary(Some(reader.rest().to_vec())),
        PgType::Date => ScalarValue::Date32(Some(match reader.i32()? {
            infinite @ (DATE_INFINITY | DATE_MINUS_INFINITY) => infinite,
            days => days.checked_add(POSTGRES_EPOCH_DAYS).ok_or_else(|| out_of_range("date"))?,
        })),
        PgType::Time => {
            let micros = reader.i64()?;
            let day = 0..=super::MICROS_PER_DAY;
            ScalarValue::Time64Microsecond(Some(
                Some(micros).filter(|m| day.contains(m)).ok_or_else(|| out_of_range("time"))?,
            ))
        }
        PgType::Timestamp => ScalarValue::TimestampMicrosecond(Some(read_timestamp(reader)?), None),
        PgType::Timestamptz => {
            ScalarValue::TimestampMicrosecond(Some(read_timestamp(reader)?), Some(UTC.into()))
        }
        PgType::Interval => {
            let (micros, days, months) = (reader.i64()?, reader.i32()?, reader.i32()?);
            let nanos = micros.checked_mul(1000).ok_or_else(|| out_of_range("interval"))?;
            ScalarValue::new_interval_mdn(months, days, nanos)
        }
        PgType::Uuid => ScalarValue::FixedSizeBinary(16, Some(reader.take(16)?.to_vec())),
        PgType::Json => {
            let text = utf8(reader.rest())?;
            check_json(text)?;
            ScalarValue::LargeBinary(Some(text.as_bytes().to_vec()))
        }
        PgType::Jsonb => {
            let bytes = reader.rest();
            // Some clients send bare text, which cannot start with the version.
            let text = utf8(bytes.strip_prefix(&[JSONB_VERSION]).unwrap_or(bytes))?;
            ScalarValue::LargeUtf8(Some(canonical_jsonb(text)?))
        }
        PgType::Void => ScalarValue::Null,
        PgType::Array(element) => read_array(reader, element, options)?,
        PgType::Record => {
            return Err(HwError::new(
                sqlstate::FEATURE_NOT_SUPPORTED,
                "input of anonymous composite types is not implemented",
            ));
        }
    })
}

fn out_of_range(what: &str) -> HwError {
    HwError::new(sqlstate::DATETIME_FIELD_OVERFLOW, format!("{what} out of range"))
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|e| {
        let at = e.valid_up_to();
        let bad: Vec<String> =
            bytes[at..].iter().take(e.error_len().unwrap_or(1)).map(|b| format!("0x{b:02x}")).collect();
        HwError::new(
            sqlstate::CHARACTER_NOT_IN_REPERTOIRE,
            format!("invalid byte sequence for encoding \"UTF8\": {}", bad.join(" ")),
        )
    })
}

fn read_timestamp(reader: &mut Reader) -> Result<i64> {
    match reader.i64()? {
        infinite @ (TIMESTAMP_INFINITY | TIMESTAMP_MINUS_INFINITY) => Ok(infinite),
        micros => micros.checked_add(POSTGRES_EPOCH_MICROS).ok_or_else(|| out_of_range("timestamp")),
    }
}

/// The decimal text of a binary numeric.
fn read_numeric(reader: &mut Reader) -> Result<Vec<u8>> {
    let (count, weight, sign, scale) = (reader.i16()?, reader.i16()?, reader.i16()? as u16, reader.i16()?);
    if !(0..=16_383).contains(&scale) || count < 0 {
        return Err(invalid("invalid scale in external \"numeric\" value"));
    }
    let mut text = Vec::with_capacity(usize::from(count as u16) * 4 + 8);
    match sign {
        0 => {}
        NUMERIC_NEGATIVE => text.push(b'-'),
        NUMERIC_NAN => return Ok(b"NaN".to_vec()),
        NUMERIC_INFINITY => return Ok(b"Infinity".to_vec()),
        NUMERIC_MINUS_INFINITY => return Ok(b"-Infinity".to_vec()),
        _ => return Err(invalid("invalid sign in external \"numeric\" value")),
    }
    for _ in 0..count {
        let group = reader.i16()?;
        if !(0..10_000).contains(&group) {
            return Err(invalid("invalid digit in external \"numeric\" value"));
        }
        text.extend_from_slice(format!("{group:04}").as_bytes());
    }
    // The digits are an integer; the exponent puts the point in its place.
    let exponent = (i32::from(weight) + 1 - i32::from(count)) * 4;
    text.extend_from_slice(if count == 0 { b"0" } else { b"" });
    text.extend_from_slice(format!("e{exponent}").as_bytes());
    Ok(text)
}

fn read_array(reader: &mut Reader, element: &PgType, options: &TextOptions) -> Result<ScalarValue> {
    let (dimensions, _nulls, oid) = (reader.i32()?, reader.i32()?, reader.i32()? as u32);
    if dimensions > 1 {
        return Err(HwError::unsupported(
            "an array of several dimensions",
            "Use an array of one dimension or jsonb.",
        ));
    }
    if oid != element.oid() && PgType::from_oid(oid).map(|t| t.carrier()) != Some(element.carrier()) {
        return Err(HwError::new(sqlstate::DATATYPE_MISMATCH, "wrong element type"));
    }
    let mut values = Vec::new();
    if dimensions == 1 {
        let (length, _lower_bound) = (reader.i32()?, reader.i32()?);
        for _ in 0..length {
            values.push(match reader.i32()? {
                -1 => null_of(element)?,
                length => {
                    let length =
                        usize::try_from(length).map_err(|_| invalid("invalid array element length"))?;
                    parse_binary(reader.take(length)?, element, options)?
                }
            });
        }
    }
    Ok(list_of(&values, element))
}
