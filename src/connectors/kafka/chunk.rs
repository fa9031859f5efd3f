//! Collects the rows of one partition until they are handed on as a chunk.
//!
//! In: records in offset order. Out: a [`DecodedChunk`] of the wanted columns, decoded
//! fields and metadata in the order of the request. Invariant: decoder, key and header
//! columns, `offsets` and `timestamps` have the same number of rows after every call.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int32Array, Int64Array, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{Field, FieldRef, Fields, Schema, SchemaRef};

use super::mark::{control_watermark, header_watermark};
use super::options::{KafkaMetadata, KafkaOptions};
use super::queue::Record;
use crate::connectors::{DeadLetter, DecodedChunk};
use crate::error::{HwError, Result, sqlstate};
use crate::formats::RecordDecoder;
use crate::formats::json::{ValueColumn, escape_text};
use crate::types::pg_type::UTC;

/// Bytes of a bad record that are kept.
const DEAD_LETTER_BYTES_MAX: usize = 64 << 10;
/// Counted for a record beside its bytes, so that empty records fill a chunk too.
const RECORD_OVERHEAD_BYTES: usize = 64;

/// Where a column of the request comes from.
enum Origin {
    /// Index among the decoder's columns.
    Decoded(usize),
    Partition,
    Offset,
    Timestamp,
    /// Index into `values`.
    Value(usize),
}

/// A metadata column whose values differ in length.
struct MetadataValues {
    kind: KafkaMetadata,
    column: ValueColumn,
}

/// The unfinished chunk of one partition.
pub struct ChunkBuilder {
    schema: SchemaRef,
    origins: Vec<Origin>,
    decoder: Box<dyn RecordDecoder>,
    values: Vec<MetadataValues>,
    offsets: Vec<i64>,
    timestamps: Vec<Option<i64>>,
    wants_timestamp: bool,
    dead_letters: Vec<DeadLetter>,
    tombstones: u64,
    marks: Vec<(i64, i64)>,
    lost: u64,
    watermark_header: Option<String>,
    watermark_control: Option<String>,
    bytes: usize,
    record_bytes_max: usize,
}

impl ChunkBuilder {
    /// `schema` and `checked` are those of the request: decoded and metadata columns in any
    /// order.
    pub fn new(options: &KafkaOptions, schema: &SchemaRef, checked: &Fields) -> Result<Self> {
        let metadata = |field: &Field| {
            options.include.iter().find(|(_, f)| f.name() == field.name()).map(|(kind, _)| *kind)
        };
        let mut origins = Vec::with_capacity(schema.fields().len());
        let mut decoded: Vec<FieldRef> = Vec::new();
        let mut values = Vec::new();
        for field in schema.fields() {
            origins.push(match metadata(field) {
                None => {
                    decoded.push(field.clone());
                    Origin::Decoded(decoded.len() - 1)
                }
                Some(KafkaMetadata::Partition) => Origin::Partition,
                Some(KafkaMetadata::Offset) => Origin::Offset,
                Some(KafkaMetadata::Timestamp) => Origin::Timestamp,
                Some(kind @ (KafkaMetadata::Key | KafkaMetadata::Headers)) => {
                    values.push(MetadataValues { kind, column: ValueColumn::new(field)? });
                    Origin::Value(values.len() - 1)
                }
            });
        }
        let mut decodable: Vec<FieldRef> = Vec::new();
        for field in checked {
            match metadata(field) {
                None => decodable.push(field.clone()),
                Some(kind @ KafkaMetadata::Key) => {
                    values.push(MetadataValues { kind, column: ValueColumn::new(field)? });
                }
                Some(_) => {}
            }
        }
        Ok(ChunkBuilder {
            schema: schema.clone(),
            wants_timestamp: origins.iter().any(|o| matches!(o, Origin::Timestamp)),
            origins,
            decoder: (options.decoder)(Arc::new(Schema::new(decoded)), &decodable.into())?,
            values,
            offsets: Vec::new(),
            timestamps: Vec::new(),
            dead_letters: Vec::new(),
            tombstones: 0,
            marks: Vec::new(),
            lost: 0,
            watermark_header: options.watermark_header.clone(),
            watermark_control: options.watermark_control.clone(),
            bytes: 0,
            record_bytes_max: options.record_bytes_max,
        })
    }

    /// Bytes of records taken since the last chunk, plus a little for each.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Counts offsets that nobody can read any more.
    pub fn lose(&mut self, offsets: u64) {
        self.lost += offsets;
    }

    /// Takes a record as a row, a dead letter, a tombstone or a watermark.
    pub fn push(&mut self, record: &Record<'_>) {
        let value = record.value().unwrap_or_default();
        match self.push_mark(record).and_then(|row| if row { self.push_row(record, value) } else { Ok(()) }) {
            Ok(()) => self.bytes += value.len() + RECORD_OVERHEAD_BYTES,
            Err(e) => {
                let rows = self.offsets.len();
                self.values.iter_mut().for_each(|v| v.column.truncate(rows));
                self.push_dead_letter(record, value, e);
            }
        }
    }

    /// Takes the watermark that a record carries; returns whether the record is a row too.
    fn push_mark(&mut self, record: &Record<'_>) -> Result<bool> {
        let offset = record.offset();
        if let Some(name) = &self.watermark_header {
            let headers = record.headers();
            // Of equal names the last counts, as in the column of headers.
            if let Some((_, value)) = headers.iter().rev().find(|(header, _)| header == name) {
                self.marks.push((offset, header_watermark(name, value.unwrap_or_default())?));
            }
        }
        let Some(value) = record.value() else {
            self.tombstones += 1;
            return Ok(false);
        };
        if let Some(field) = &self.watermark_control
            && let Some(watermark) = control_watermark(field, value)?
        {
            self.marks.push((offset, watermark));
            return Ok(false);
        }
        Ok(true)
    }

    fn push_row(&mut self, record: &Record<'_>, value: &[u8]) -> std::result::Result<(), HwError> {
        if value.len() > self.record_bytes_max {
            return Err(HwError::new(
                sqlstate::PROGRAM_LIMIT_EXCEEDED,
                format!("record of {} bytes is larger than max_record_bytes", value.len()),
            )
            .with_detail(format!("The limit is {} bytes.", self.record_bytes_max)));
        }
        for metadata in &mut self.values {
            match metadata.kind {
                KafkaMetadata::Headers => metadata.column.push(Some(&headers_json(record)))?,
                _ => metadata.column.push(record.key())?,
            }
        }
        self.decoder.push(value)?;
        self.offsets.push(record.offset());
        if self.wants_timestamp {
            self.timestamps.push(record.timestamp());
        }
        Ok(())
    }

    fn push_dead_letter(&mut self, record: &Record<'_>, value: &[u8], error: HwError) {
        let kept = &value[..value.len().min(DEAD_LETTER_BYTES_MAX)];
        let key = record.key().map(|k| k[..k.len().min(DEAD_LETTER_BYTES_MAX)].to_vec());
        self.bytes += kept.len() + RECORD_OVERHEAD_BYTES;
        self.dead_letters.push(DeadLetter {
            split: record.partition() as u32,
            offset: record.offset(),
            timestamp: record.timestamp(),
            key,
            value: Some(kept.to_vec()),
            value_length: value.len(),
            error,
        });
    }

    /// Takes everything as the chunk that covers `[start_offset, end_offset)`.
    pub fn finish(&mut self, partition: i32, start_offset: i64, end_offset: i64) -> Result<DecodedChunk> {
        let rows = self.offsets.len();
        let decoded = self.decoder.finish()?;
        let mut values = Vec::with_capacity(self.values.len());
        for metadata in &mut self.values {
            values.push(metadata.column.finish()?);
        }
        let offsets = std::mem::take(&mut self.offsets);
        let timestamps = std::mem::take(&mut self.timestamps);
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.origins.len());
        for (origin, field) in self.origins.iter().zip(self.schema.fields()) {
            let column: ArrayRef = match origin {
                Origin::Decoded(i) => decoded.column(*i).clone(),
                Origin::Value(i) => values[*i].clone(),
                Origin::Partition => Arc::new(Int32Array::from_value(partition, rows)),
                Origin::Offset => Arc::new(Int64Array::from(offsets.clone())),
                Origin::Timestamp => {
                    Arc::new(TimestampMicrosecondArray::from(timestamps.clone()).with_timezone(UTC))
                }
            };
            let same = column.data_type() == field.data_type();
            columns.push(if same { column } else { cast(&column, field.data_type())? });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        self.bytes = 0;
        Ok(DecodedChunk {
            split: partition as u32,
            start_offset,
            end_offset,
            rows: RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?,
            offsets,
            dead_letters: std::mem::take(&mut self.dead_letters),
            tombstones: std::mem::take(&mut self.tombstones),
            marks: std::mem::take(&mut self.marks),
            lost: std::mem::take(&mut self.lost),
        })
    }
}

/// The headers as the text of a JSON object; of equal names the last wins when it becomes jsonb.
fn headers_json(record: &Record<'_>) -> Vec<u8> {
    let mut out = vec![b'{'];
    for (i, (name, value)) in record.headers().into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        escape_text(name.as_bytes(), &mut out);
        out.push(b':');
        match value.map(|v| (v, std::str::from_utf8(v))) {
            None => out.extend_from_slice(b"null"),
            Some((_, Ok(text))) if !text.contains('\0') => escape_text(text.as_bytes(), &mut out),
            Some((bytes, _)) => {
                let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
                escape_text(format!("\\x{hex}").as_bytes(), &mut out);
            }
        }
    }
    out.push(b'}');
    out
}
