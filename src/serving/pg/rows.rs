//! Rows as messages: RowDescription from a schema, DataRow straight from Arrow columns.
//!
//! A batch becomes one writer per column; each row is then appended to the output buffer
//! without an allocation, lengths being patched in afterwards.

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::data::{FieldDescription, RowDescription};

use crate::error::Result;
use crate::types::PgType;
use crate::types::text::{ColumnWriter, TextOptions};

/// Formats of the columns of a result: none given means text, one given holds for all.
#[derive(Clone, Debug, Default)]
pub struct Formats(Vec<i16>);

impl Formats {
    pub fn new(codes: Vec<i16>) -> Formats {
        Formats(codes)
    }

    pub fn is_binary(&self, column: usize) -> bool {
        let code = if self.0.len() == 1 { self.0.first() } else { self.0.get(column) };
        code == Some(&1)
    }
}

/// `pg_type.typlen`.
fn type_length(ty: &PgType) -> i16 {
    match ty {
        PgType::Bool | PgType::Char => 1,
        PgType::Int2 => 2,
        PgType::Int4 | PgType::Float4 | PgType::Date | PgType::Oid | PgType::Regclass | PgType::Void => 4,
        PgType::Int8 | PgType::Float8 | PgType::Time | PgType::Timestamp | PgType::Timestamptz => 8,
        PgType::Interval | PgType::Uuid => 16,
        PgType::Name => 64,
        PgType::Unknown => -2,
        _ => -1,
    }
}

/// The message that announces the columns of `schema`.
pub fn describe(schema: &Schema, formats: &Formats) -> PgWireBackendMessage {
    let fields = schema.fields().iter().enumerate().map(|(index, field)| {
        let ty = PgType::of(field);
        let format = i16::from(formats.is_binary(index));
        FieldDescription::new(field.name().clone(), 0, 0, ty.oid(), type_length(&ty), ty.typmod(), format)
    });
    PgWireBackendMessage::RowDescription(RowDescription::new(fields.collect()))
}

/// True if rows of `actual` can be sent to a client that was told `described`.
pub fn same_columns(described: &SchemaRef, actual: &SchemaRef) -> bool {
    let same = || {
        let pairs = described.fields().iter().zip(actual.fields());
        described.fields().len() == actual.fields().len()
            && pairs.into_iter().all(|(a, b)| PgType::of(a).oid() == PgType::of(b).oid())
    };
    std::sync::Arc::ptr_eq(described, actual) || same()
}

/// A batch that is being sent; it remembers how far it got.
pub struct RowCursor {
    columns: Vec<(ColumnWriter, bool)>,
    rows: usize,
    next: usize,
}

impl RowCursor {
    pub fn new(
        batch: &RecordBatch,
        schema: &Schema,
        formats: &Formats,
        options: &TextOptions,
    ) -> Result<RowCursor> {
        let columns = batch.columns().iter().zip(schema.fields()).enumerate();
        let columns = columns.map(|(index, (array, field))| {
            Ok((ColumnWriter::new(array, field, options)?, formats.is_binary(index)))
        });
        Ok(RowCursor { columns: columns.collect::<Result<_>>()?, rows: batch.num_rows(), next: 0 })
    }

    pub fn remaining(&self) -> usize {
        self.rows - self.next
    }

    /// Appends a DataRow for each of up to `limit` rows, and stops early once `out` is longer
    /// than `bytes_max`. Returns the number of rows.
    pub fn write(&mut self, limit: usize, bytes_max: usize, out: &mut Vec<u8>) -> usize {
        let first = self.next;
        let end = first + limit.min(self.remaining());
        while self.next < end && out.len() < bytes_max {
            self.write_row(out);
            self.next += 1;
        }
        self.next - first
    }

    fn write_row(&self, out: &mut Vec<u8>) {
        out.push(b'D');
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&(self.columns.len() as u16).to_be_bytes());
        for (column, binary) in &self.columns {
            column.write_cell(self.next, *binary, out);
        }
        let length = (out.len() - start) as i32;
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }
}
