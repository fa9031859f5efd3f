//! JSON records to Arrow columns: one pass over the bytes, only the wanted columns.
//!
//! In: one JSON object per record. Out: a `RecordBatch` of the wanted columns. Columns that
//! are declared but not wanted are checked, fields of no column are skipped without being
//! converted, and the syntax of all is checked, so a record is bad or not whatever is wanted
//! of it. Field names match exactly or else without
//! regard to case; a missing field is NULL; of duplicate fields the last wins. A bad record
//! (22P02 malformed or bad text, 22003 out of range, 22P05 `\u0000`, 22021 not UTF-8, 23502
//! null, 54000 too deep or too long) leaves no trace in the columns.
//!
//! `scan` reads tokens, `object` finds columns by name, `column` converts and stores,
//! `values`, `datetime` and `jsonb` know PostgreSQL's text forms.

mod column;
mod datetime;
mod jsonb;
mod object;
mod scan;
#[cfg(test)]
mod tests;
mod values;

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{FieldRef, Fields, SchemaRef};

use self::column::Column;
use self::object::ObjectBuilder;
use self::scan::{DEPTH_MAX, Scanner, malformed};
use super::{DecoderFactory, RecordDecoder};
use crate::error::{HwError, Result, sqlstate};

pub use self::datetime::parse_timestamp;
pub use self::jsonb::escape as escape_text;

/// What a record may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonLimits {
    /// Deepest nesting of arrays and objects, at most 128.
    pub depth_max: u32,
    pub record_bytes_max: usize,
}

impl Default for JsonLimits {
    fn default() -> Self {
        JsonLimits { depth_max: DEPTH_MAX, record_bytes_max: 16 << 20 }
    }
}

/// Decodes records into the columns of one schema.
pub struct JsonDecoder {
    schema: SchemaRef,
    object: ObjectBuilder,
    limits: JsonLimits,
}

impl JsonDecoder {
    /// 0A000 if a column's type cannot come from JSON.
    pub fn new(schema: SchemaRef, limits: JsonLimits) -> Result<Self> {
        JsonDecoder::checking(schema, &Fields::empty(), limits)
    }

    /// Beside the columns of `schema`, values for `checked` must be good, but are not kept.
    pub fn checking(schema: SchemaRef, checked: &Fields, limits: JsonLimits) -> Result<Self> {
        let object = ObjectBuilder::new(schema.fields(), checked)?;
        Ok(JsonDecoder { schema, object, limits })
    }

    /// Makes decoders for whatever columns are wanted.
    pub fn factory(limits: JsonLimits) -> DecoderFactory {
        Arc::new(move |schema, checked| Ok(Box::new(JsonDecoder::checking(schema, checked, limits)?)))
    }

    /// Adds one row. An error means that the record is bad; nothing of it is kept.
    pub fn push(&mut self, record: &[u8]) -> std::result::Result<(), HwError> {
        if record.len() > self.limits.record_bytes_max {
            return Err(HwError::new(
                sqlstate::PROGRAM_LIMIT_EXCEEDED,
                format!("record of {} bytes is too long", record.len()),
            )
            .with_detail(format!("The limit is {} bytes.", self.limits.record_bytes_max)));
        }
        if let Err(e) = std::str::from_utf8(record) {
            return Err(invalid_utf8(record, e));
        }
        let rows = self.object.len();
        let mut scanner = Scanner::new(record, self.limits.depth_max);
        if scanner.peek() != b'{' {
            return Err(malformed("an object", record, 0));
        }
        self.object.push(&mut scanner, 0).and_then(|()| scanner.expect_end()).inspect_err(|_| {
            self.object.truncate(rows);
        })
    }

    /// Rows since the last `finish`.
    pub fn len(&self) -> usize {
        self.object.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the rows; the decoder is empty afterwards.
    pub fn finish(&mut self) -> Result<RecordBatch> {
        let rows = self.object.len();
        let (_, columns) = self.object.finish()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

impl RecordDecoder for JsonDecoder {
    fn push(&mut self, record: &[u8]) -> std::result::Result<(), HwError> {
        JsonDecoder::push(self, record)
    }
    fn len(&self) -> usize {
        JsonDecoder::len(self)
    }
    fn finish(&mut self) -> Result<RecordBatch> {
        JsonDecoder::finish(self)
    }
}

/// Builds one column from bare values outside any record, such as message keys.
pub struct ValueColumn(Column);

impl ValueColumn {
    /// 0A000 if the type cannot come from text.
    pub fn new(field: &FieldRef) -> Result<Self> {
        Ok(ValueColumn(Column::new(field)?))
    }

    /// Adds a value: bytes as they are for bytea, else the type's text form in UTF-8; `None`
    /// is null. An error leaves the column as it was.
    pub fn push(&mut self, value: Option<&[u8]>) -> std::result::Result<(), HwError> {
        let rows = self.0.len();
        let pushed = match value {
            Some(bytes) => self.0.push_bytes(bytes),
            None => self.0.push_null(),
        };
        pushed.inspect_err(|_| self.0.truncate(rows))
    }

    pub fn truncate(&mut self, rows: usize) {
        self.0.truncate(rows);
    }

    pub fn finish(&mut self) -> Result<ArrayRef> {
        self.0.finish()
    }
}

/// 22021 with the first offending bytes, as PostgreSQL shows them.
#[cold]
fn invalid_utf8(bytes: &[u8], e: std::str::Utf8Error) -> HwError {
    let start = e.valid_up_to();
    let bad = bytes.get(start..).unwrap_or_default();
    let shown: Vec<String> =
        bad.iter().take(e.error_len().unwrap_or(4)).map(|b| format!("0x{b:02x}")).collect();
    HwError::new(
        sqlstate::CHARACTER_NOT_IN_REPERTOIRE,
        format!("invalid byte sequence for encoding \"UTF8\": {}", shown.join(" ")),
    )
    .with_detail(format!("At byte {start}."))
}

/// 22021 for a zero byte, which no text can hold.
#[cold]
fn nul_byte() -> HwError {
    HwError::new(sqlstate::CHARACTER_NOT_IN_REPERTOIRE, "invalid byte sequence for encoding \"UTF8\": 0x00")
}
