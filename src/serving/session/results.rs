//! Small results that a session makes itself: lists of text and the like.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::ScalarValue;
use futures::StreamExt;

use crate::error::{HwError, Result};
use crate::serving::pg::api::{Outcome, RowsTag};
use crate::types::PgType;

/// Complete, with a tag.
pub(super) fn command(tag: impl Into<String>) -> Outcome {
    Outcome::Command { tag: tag.into() }
}

/// Batches that are there already.
pub(super) fn rows(schema: SchemaRef, batches: Vec<RecordBatch>, tag: RowsTag) -> Outcome {
    let stream = futures::stream::iter(batches.into_iter().map(Ok)).boxed();
    Outcome::Rows { schema, stream, tag }
}

pub(super) fn counted(command: &str) -> RowsTag {
    RowsTag::Counted(command.to_string())
}

/// A schema of nullable columns.
pub(super) fn schema_of(columns: &[(&str, PgType)]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(|(n, t)| t.field(n, true)).collect::<Vec<_>>()))
}

/// A batch from rows of values; NULLs may be untyped.
pub(super) fn batch_of(schema: &SchemaRef, rows: Vec<Vec<ScalarValue>>) -> Result<RecordBatch> {
    let n = rows.len();
    let mut columns: Vec<Vec<ScalarValue>> = schema.fields().iter().map(|_| Vec::with_capacity(n)).collect();
    for row in rows {
        for ((column, field), value) in columns.iter_mut().zip(schema.fields()).zip(row) {
            let value = if value.is_null() { ScalarValue::try_from(field.data_type())? } else { value };
            column.push(value);
        }
    }
    let arrays = columns.into_iter().zip(schema.fields()).map(|(values, field)| match values.is_empty() {
        true => Ok(arrow::array::new_empty_array(field.data_type())),
        false => ScalarValue::iter_to_array(values).map_err(HwError::from),
    });
    batch(schema, arrays.collect::<Result<_>>()?, n)
}

/// A batch that may have no columns.
pub(super) fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// The batch under another schema of the same types, whose columns may have other names.
pub(super) fn relabel(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| {
        if column.data_type() == field.data_type() {
            return Ok(Arc::clone(column));
        }
        arrow::compute::cast(column, field.data_type()).map_err(HwError::from)
    });
    self::batch(schema, columns.collect::<Result<_>>()?, batch.num_rows())
}

pub(super) fn text(value: impl Into<String>) -> ScalarValue {
    ScalarValue::Utf8(Some(value.into()))
}

pub(super) fn int8(value: i64) -> ScalarValue {
    ScalarValue::Int64(Some(value))
}

/// Microseconds as a timestamptz; extremes of watermarks come out as infinity.
pub(super) fn timestamptz(micros: Option<i64>) -> ScalarValue {
    ScalarValue::TimestampMicrosecond(micros, Some(crate::types::pg_type::UTC.into()))
}
