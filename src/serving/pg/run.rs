//! Runs session calls while watching the client, and sends the rows of a result.
//!
//! While a call runs, its connection forwards notices and notices the client's end and the
//! server's shutdown; both raise the session's cancel flag, so the call ends soon. A panic
//! inside the session becomes XX000 instead of ending the connection.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use tokio::sync::mpsc;

use super::api::{CancelFlag, Notice, RowsTag};
use super::report;
use super::rows::{Formats, RowCursor};
use super::server::{ShutdownSignal, shutting_down, stopped};
use super::transport::{MessageReader, MessageWriter, OUTPUT_BYTES_MAX};
use crate::error::{HwError, Result};
use crate::types::text::TextOptions;

/// Why a message could not be handled.
pub enum Failure {
    /// The statement failed; the connection goes on.
    Statement(HwError),
    /// The connection has to end, and the client is told why.
    Fatal(HwError),
    /// The client is gone.
    Closed,
}

impl From<HwError> for Failure {
    fn from(error: HwError) -> Failure {
        Failure::Statement(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(_: std::io::Error) -> Failure {
        Failure::Closed
    }
}

/// A connection without its session.
pub struct Link {
    pub reader: MessageReader,
    pub writer: MessageWriter,
    pub notices: mpsc::Receiver<Notice>,
    pub shutdown: ShutdownSignal,
    pub cancel: Arc<CancelFlag>,
}

impl Link {
    /// Completes `work`, a call of the session, unless the connection ends meanwhile.
    pub async fn watch<T>(&mut self, work: impl Future<Output = Result<T>>) -> Result<T, Failure> {
        let work = AssertUnwindSafe(work).catch_unwind();
        tokio::pin!(work);
        if let std::task::Poll::Ready(done) = futures::poll!(&mut work) {
            return Ok(unpanicked(done)?);
        }
        self.writer.flush().await?;
        let mut ending = None;
        loop {
            tokio::select! {
                biased;
                done = &mut work => return match ending {
                    Some(failure) => Err(failure),
                    None => Ok(unpanicked(done)?),
                },
                Some(notice) = self.notices.recv() => {
                    self.writer.push(report::notice(&notice))?;
                    self.writer.flush().await?;
                }
                () = stopped(&mut self.shutdown), if ending.is_none() => {
                    ending = Some(Failure::Fatal(shutting_down()));
                    self.cancel.cancel();
                }
                () = self.reader.closed(), if ending.is_none() => {
                    ending = Some(Failure::Closed);
                    self.cancel.cancel();
                }
            }
        }
    }

    /// Appends the notices that wait in the channel and then `rest`.
    pub fn push_notices(&mut self, rest: Vec<Notice>) -> Result<()> {
        while let Ok(notice) = self.notices.try_recv() {
            self.writer.push(report::notice(&notice))?;
        }
        rest.iter().try_for_each(|notice| self.writer.push(report::notice(notice)))
    }
}

/// Runs a synchronous call of the session; a panic becomes an error.
pub fn guard<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    unpanicked(std::panic::catch_unwind(AssertUnwindSafe(call)))
}

fn unpanicked<T>(done: Result<Result<T>, Box<dyn Any + Send>>) -> Result<T> {
    done.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("unknown");
        tracing::error!(panic = text, "a statement panicked");
        Err(HwError::internal(format!("statement failed by a defect of the server: {text}")))
    })
}

/// Rows on their way to the client; kept in a portal while it is suspended.
pub struct RowSource {
    stream: BoxStream<'static, Result<RecordBatch>>,
    schema: SchemaRef,
    tag: RowsTag,
    formats: Formats,
    options: TextOptions,
    cursor: Option<RowCursor>,
}

/// How far a result was sent.
pub enum Sent {
    /// All of it; the command tag.
    Complete(String),
    /// As many rows as were asked for.
    Suspended,
}

impl RowSource {
    pub fn new(
        stream: BoxStream<'static, Result<RecordBatch>>,
        schema: SchemaRef,
        tag: RowsTag,
        formats: Formats,
        options: TextOptions,
    ) -> RowSource {
        RowSource { stream, schema, tag, formats, options, cursor: None }
    }

    /// Sends up to `limit` rows. A suspended source goes on where it stopped.
    pub async fn send(&mut self, limit: usize, link: &mut Link) -> Result<Sent, Failure> {
        let mut sent = 0;
        while sent < limit {
            let cursor = match self.cursor.as_mut().filter(|cursor| cursor.remaining() > 0) {
                Some(cursor) => cursor,
                None => match self.next_batch(link).await? {
                    Some(batch) => {
                        let cursor = RowCursor::new(&batch, &self.schema, &self.formats, &self.options)?;
                        self.cursor.insert(cursor)
                    }
                    None => return Ok(Sent::Complete(self.tag(sent))),
                },
            };
            sent += cursor.write(limit - sent, OUTPUT_BYTES_MAX, &mut link.writer.out);
            link.writer.flush_if_full().await?;
        }
        Ok(Sent::Suspended)
    }

    async fn next_batch(&mut self, link: &mut Link) -> Result<Option<RecordBatch>, Failure> {
        let cancel = Arc::clone(&link.cancel);
        let stream = &mut self.stream;
        link.watch(async move {
            cancel.check()?;
            tokio::select! {
                biased;
                batch = stream.next() => batch.transpose(),
                () = cancel.cancelled() => Err(CancelFlag::error()),
            }
        })
        .await
    }

    /// The command tag after `rows` rows.
    pub fn tag(&self, rows: usize) -> String {
        match &self.tag {
            RowsTag::Counted(command) => format!("{command} {rows}"),
            RowsTag::Plain(tag) => tag.clone(),
        }
    }
}
