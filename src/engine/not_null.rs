//! The check of columns that must not be NULL, as PostgreSQL reports it.

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::Schema;

use crate::error::{HwError, Result, sqlstate};
use crate::types::text::{ColumnWriter, TextOptions};

/// Longest value that the report shows whole, in characters.
const SHOWN_MAX: usize = 64;

/// 23502 for the first row that has NULL in one of `columns`.
pub fn check(relation: &str, schema: &Schema, columns: &[usize], rows: &RecordBatch) -> Result<()> {
    let first = |column: &usize| {
        let values = rows.column(*column);
        (values.null_count() > 0).then(|| (0..values.len()).find(|row| values.is_null(*row)))?
    };
    let failing = columns.iter().filter_map(|c| first(c).map(|row| (row, *c))).min();
    let Some((row, column)) = failing else { return Ok(()) };
    let name = schema.field(column).name();
    let message =
        format!("null value in column \"{name}\" of relation \"{relation}\" violates not-null constraint");
    let shown = shown(schema, rows, row)?;
    Err(HwError::new(sqlstate::NOT_NULL_VIOLATION, message)
        .with_detail(format!("Failing row contains ({shown}).")))
}

fn shown(schema: &Schema, rows: &RecordBatch, row: usize) -> Result<String> {
    let options = TextOptions::default();
    let mut values = Vec::with_capacity(rows.num_columns());
    for (array, field) in rows.columns().iter().zip(schema.fields()) {
        if array.is_null(row) {
            values.push("null".to_string());
            continue;
        }
        let mut text = Vec::new();
        ColumnWriter::new(&array.slice(row, 1), field, &options)?.write_text(0, &mut text);
        let text = String::from_utf8_lossy(&text).into_owned();
        values.push(match text.char_indices().nth(SHOWN_MAX) {
            Some((end, _)) => format!("{}...", &text[..end]),
            None => text,
        });
    }
    Ok(values.join(", "))
}
