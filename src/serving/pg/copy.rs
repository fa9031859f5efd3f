//! COPY on the wire: rows out as CopyData, the client's CopyData in.
//!
//! Only in simple queries. The client's data are gathered up to a limit and handed to the
//! session when they are complete; CopyFail, an unexpected message or too many data end the
//! statement with an error, and what the client still sends of them is ignored.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use pgwire::messages::PgWireBackendMessage as Backend;
use pgwire::messages::PgWireFrontendMessage as Frontend;
use pgwire::messages::copy::{CopyData, CopyDone, CopyInResponse, CopyOutResponse};
use pgwire::messages::response::CommandComplete;

use super::api::{CancelFlag, ParsedStatement};
use super::connection::Connection;
use super::run::Failure;
use super::transport::{Incoming, OUTPUT_BYTES_MAX};
use crate::error::{HwError, Result, sqlstate};
use crate::formats::copy::CopyForm;
use crate::types::text::ColumnWriter;

/// Text, as the format of the whole and of each column.
const TEXT: i8 = 0;

impl Connection {
    /// Sends all rows and the end of the statement.
    pub(super) async fn copy_out(
        &mut self,
        schema: &SchemaRef,
        mut stream: BoxStream<'static, Result<RecordBatch>>,
        form: &CopyForm,
    ) -> Result<(), Failure> {
        let columns = schema.fields().len();
        let formats = vec![i16::from(TEXT); columns];
        let response = CopyOutResponse::new(TEXT, columns as i16, formats);
        self.link.writer.push(Backend::CopyOutResponse(response))?;
        let mut lines = Vec::new();
        if form.header {
            write_line(schema.fields().iter().map(|f| Some(f.name().as_bytes())), form, &mut lines);
        }
        let mut count = 0;
        loop {
            let cancel = Arc::clone(&self.link.cancel);
            let next = async {
                cancel.check()?;
                tokio::select! {
                    biased;
                    batch = stream.next() => batch.transpose(),
                    () = cancel.cancelled() => Err(CancelFlag::error()),
                }
            };
            let Some(batch) = self.link.watch(next).await? else { break };
            let options = self.session.text_options();
            let writers = batch.columns().iter().zip(schema.fields());
            let writers = writers.map(|(array, field)| ColumnWriter::new(array, field, &options));
            let writers: Vec<ColumnWriter> = writers.collect::<Result<_>>()?;
            let mut cells: Vec<Vec<u8>> = vec![Vec::new(); writers.len()];
            for row in 0..batch.num_rows() {
                for (writer, cell) in writers.iter().zip(&mut cells) {
                    cell.clear();
                    writer.write_text(row, cell);
                }
                let fields = writers.iter().zip(&cells);
                let fields = fields.map(|(w, cell)| (!w.is_null(row)).then_some(cell.as_slice()));
                write_line(fields, form, &mut lines);
                if lines.len() >= OUTPUT_BYTES_MAX {
                    self.send_lines(&mut lines).await?;
                }
            }
            count += batch.num_rows();
        }
        self.send_lines(&mut lines).await?;
        self.link.push_notices(self.session.take_notices())?;
        self.link.writer.push(Backend::CopyDone(CopyDone::new()))?;
        let tag = format!("COPY {count}");
        Ok(self.link.writer.push(Backend::CommandComplete(CommandComplete::new(tag)))?)
    }

    async fn send_lines(&mut self, lines: &mut Vec<u8>) -> Result<(), Failure> {
        if !lines.is_empty() {
            let data = CopyData::new(Bytes::from(std::mem::take(lines)));
            self.link.writer.push(Backend::CopyData(data))?;
        }
        Ok(self.link.writer.flush_if_full().await?)
    }

    /// Takes the client's data, and lets the session insert them.
    pub(super) async fn copy_in(
        &mut self,
        statement: &ParsedStatement,
        columns: usize,
        bytes_max: usize,
    ) -> Result<(), Failure> {
        let formats = vec![i16::from(TEXT); columns];
        let response = CopyInResponse::new(TEXT, columns as i16, formats);
        self.link.writer.push(Backend::CopyInResponse(response))?;
        self.link.writer.flush().await?;
        let mut data = Vec::new();
        loop {
            let message = match self.receive().await? {
                Incoming::Message(message) => message,
                Incoming::Malformed { error, .. } => return Err(error.into()),
                Incoming::End => return Err(Failure::Closed),
            };
            match message {
                Frontend::CopyData(more) if data.len() + more.data.len() > bytes_max => {
                    let text = format!("the data of COPY exceed {bytes_max} bytes");
                    return Err(HwError::new(sqlstate::OUT_OF_MEMORY, text)
                        .with_hint("Copy in several parts, or raise query_memory_limit_bytes.")
                        .into());
                }
                Frontend::CopyData(more) => data.extend_from_slice(&more.data),
                Frontend::CopyDone(_) => break,
                Frontend::CopyFail(fail) => {
                    let text = format!("COPY from stdin failed: {}", fail.message);
                    return Err(HwError::new(sqlstate::QUERY_CANCELED, text).into());
                }
                Frontend::Flush(_) | Frontend::Sync(_) => {}
                Frontend::Terminate(_) => return Err(Failure::Closed),
                _ => {
                    let text = "unexpected message during COPY from stdin";
                    return Err(HwError::new(sqlstate::PROTOCOL_VIOLATION, text).into());
                }
            }
        }
        let outcome = self.link.watch(self.session.copy_in(statement, data)).await?;
        self.link.push_notices(self.session.take_notices())?;
        Ok(self.complete(outcome)?)
    }
}

fn write_line<'a>(
    fields: impl ExactSizeIterator<Item = Option<&'a [u8]>>,
    form: &CopyForm,
    out: &mut Vec<u8>,
) {
    let alone = fields.len() == 1;
    for (i, field) in fields.enumerate() {
        if i > 0 {
            out.push(form.delimiter);
        }
        form.write_field(field, alone, out);
    }
    out.push(b'\n');
}
