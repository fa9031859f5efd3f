//! COPY between the client and tables, feeds and queries.
//!
//! TO STDOUT is a query whose rows are sent in COPY's form. FROM STDIN reads the whole data,
//! each field as its column's type, and inserts the rows as INSERT would; any bad field refuses
//! them all, with its line.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema};
use datafusion::common::ScalarValue;

use super::Session;
use super::dml::{Insertable, column_index, is_generated, quoted_name, read_type};
use super::evaluate::query_of;
use super::query::Text;
use super::results::{batch_of, command};
use crate::catalog::{Definition, quote_identifier};
use crate::error::{HwError, Result, sqlstate};
use crate::formats::copy::{CopyReader, CopyRecord};
use crate::serving::pg::api::Outcome;
use crate::sql::ast::{CopyStatement, CopySubject};
use crate::types::PgType;
use crate::types::text::parse_text;

/// Rows that are turned into columns at a time.
const CHUNK_ROWS: usize = 8_192;
/// Characters of a field that an error shows.
const SHOWN_CHARS: usize = 100;

impl Session {
    pub(super) async fn copy(&mut self, copy: &CopyStatement, text: Text<'_>) -> Result<Outcome> {
        if copy.from {
            self.refuse_in_read_only("COPY FROM")?;
            let (_, _, targets) = self.copy_target(copy)?;
            let bytes_max = self.database.config.query_memory_limit_bytes;
            return Ok(Outcome::CopyIn { columns: targets.len(), bytes_max });
        }
        let outcome = match &copy.subject {
            CopySubject::Query(query) => self.select(query, text).await?,
            CopySubject::Relation { name, columns } => {
                let definition = self.resolve(name)?;
                columns.iter().try_for_each(|c| column_index(&definition, c).map(drop))?;
                let listed: Vec<String> = columns.iter().map(|c| quote_identifier(c)).collect();
                let list = if listed.is_empty() { "*".to_string() } else { listed.join(", ") };
                let query = query_of(&format!("SELECT {list} FROM {}", quoted_name(name)))?;
                let own: Arc<str> = Arc::from("");
                self.select(&query, Text { submitted: &own }).await?
            }
        };
        match outcome {
            Outcome::Rows { schema, stream, .. } => {
                Ok(Outcome::CopyOut { schema, stream, form: copy.form.clone() })
            }
            other => Ok(other),
        }
    }

    /// The relation to fill, and the columns that the data have.
    fn copy_target(&self, copy: &CopyStatement) -> Result<(Arc<Definition>, Insertable, Vec<usize>)> {
        let CopySubject::Relation { name, columns } = &copy.subject else {
            return Err(HwError::internal("COPY of a query from the client"));
        };
        let definition = self.resolve(name)?;
        let to = self.insertable(&definition, name.position)?;
        if columns.is_empty() {
            let plain = |c: &usize| !is_generated(&definition, definition.columns[*c].name());
            let targets = (0..definition.columns.len()).filter(plain).collect();
            return Ok((definition, to, targets));
        }
        let mut targets = Vec::new();
        for column in columns {
            let index = column_index(&definition, column)?;
            if targets.contains(&index) {
                let text = format!("column \"{column}\" specified more than once");
                return Err(HwError::new(sqlstate::DUPLICATE_COLUMN, text));
            }
            if is_generated(&definition, column) {
                let text = format!("column \"{column}\" is a generated column");
                return Err(HwError::new(sqlstate::INVALID_COLUMN_REFERENCE, text)
                    .with_detail("Generated columns cannot be used in COPY."));
            }
            targets.push(index);
        }
        Ok((definition, to, targets))
    }

    /// Inserts the rows that the data hold.
    pub(super) async fn copy_rows(&mut self, copy: &CopyStatement, data: &[u8]) -> Result<Outcome> {
        let (definition, to, targets) = self.copy_target(copy)?;
        let fields: Vec<&Field> = targets.iter().map(|c| &definition.columns[*c]).collect();
        let types: Vec<PgType> = fields.iter().map(|f| read_type(&PgType::of(f))).collect();
        let read = fields.iter().zip(&types).map(|(f, ty)| ty.field(f.name(), true));
        let schema = Arc::new(Schema::new(read.collect::<Vec<_>>()));
        let options = self.text_options_now();
        let mut reader = CopyReader::new(data, &copy.form);
        let (mut batches, mut rows) = (Vec::<RecordBatch>::new(), Vec::new());
        let mut header = copy.form.header;
        loop {
            let place =
                |e: HwError, line: usize| e.with_detail(format!("COPY {}, line {line}.", definition.name));
            let record = reader.next_record().map_err(|e| place(e, reader.line()))?;
            let Some(record) = record else { break };
            if std::mem::take(&mut header) {
                continue;
            }
            check_width(&record, &fields).map_err(|e| place(e, reader.line()))?;
            let mut row = Vec::with_capacity(types.len());
            for ((text, ty), field) in record.into_iter().zip(&types).zip(&fields) {
                row.push(match text {
                    None => ScalarValue::Null,
                    Some(text) => parse_text(&text, ty, &options)
                        .map_err(|e| located(e, &definition, reader.line(), field, &text))?,
                });
            }
            rows.push(row);
            if rows.len() == CHUNK_ROWS {
                batches.push(batch_of(&schema, std::mem::take(&mut rows))?);
                self.limited(async {
                    tokio::task::yield_now().await;
                    Ok(())
                })
                .await?;
            }
        }
        batches.push(batch_of(&schema, rows)?);
        let all = arrow::compute::concat_batches(&schema, &batches)?;
        let whole = self.rows_of_columns(&definition, &targets, &all).await?;
        let inserted = self.insert_rows(&definition, &to, whole).await?;
        Ok(command(format!("COPY {inserted}")))
    }
}

/// 22P04 unless the record has one field for each column.
fn check_width(record: &CopyRecord, fields: &[&Field]) -> Result<()> {
    let bad = |text: String| Err(HwError::new(sqlstate::BAD_COPY_FILE_FORMAT, text));
    match fields.get(record.len()) {
        Some(missing) => bad(format!("missing data for column \"{}\"", missing.name())),
        None if record.len() > fields.len() => bad("extra data after last expected column".into()),
        None => Ok(()),
    }
}

/// The error with where its field stands.
fn located(error: HwError, definition: &Definition, line: usize, field: &Field, text: &str) -> HwError {
    let shown: String = text.chars().take(SHOWN_CHARS).collect();
    let detail = format!("COPY {}, line {line}, column {}: \"{shown}\".", definition.name, field.name());
    error.with_detail(detail)
}
