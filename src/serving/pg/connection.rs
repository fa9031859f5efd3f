//! The loop of one connection: a message in, its answers out.
//!
//! Simple queries are handled here, the extended protocol in `extended`. After an error in
//! the extended protocol everything up to Sync is skipped; after any error an open
//! transaction block is failed and accepts only its end. Output is flushed with
//! ReadyForQuery, on Flush, when much has gathered, and before waiting for a session.

use std::sync::Arc;

use pgwire::messages::PgWireBackendMessage as Backend;
use pgwire::messages::PgWireFrontendMessage as Frontend;
use pgwire::messages::response::{CommandComplete, EmptyQueryResponse};
use pgwire::messages::startup::ParameterStatus;

use super::api::{CommandKind, Outcome, ParsedStatement, SessionHandle, TransactionStatus};
use super::extended::Store;
use super::report;
use super::rows::{self, Formats};
use super::run::{Failure, Link, RowSource, Sent, guard};
use super::server::{PgLimits, shutting_down, stopped};
use super::transport::Incoming;
use crate::error::{HwError, Result, sqlstate};

/// One client and its session.
pub struct Connection {
    pub(super) session: Box<dyn SessionHandle>,
    pub(super) link: Link,
    pub(super) store: Store,
    pub(super) limits: Arc<PgLimits>,
    /// An error of the extended protocol waits for its Sync.
    skip_to_sync: bool,
    /// An implicit transaction of several statements is open.
    implicit_transaction: bool,
    /// The client has been told that the session waits for it.
    idle: bool,
}

impl Connection {
    pub fn new(session: Box<dyn SessionHandle>, link: Link, limits: Arc<PgLimits>) -> Connection {
        Connection {
            session,
            link,
            store: Store::default(),
            limits,
            skip_to_sync: false,
            implicit_transaction: false,
            idle: true,
        }
    }

    /// Serves the client until one side ends the connection.
    pub async fn run(mut self) {
        let end = loop {
            let incoming = match self.receive().await {
                Ok(incoming) => incoming,
                Err(failure) => break failure,
            };
            let handled = match incoming {
                Incoming::Message(Frontend::Terminate(_)) | Incoming::End => break Failure::Closed,
                Incoming::Message(Frontend::Sync(_)) => self.sync().await,
                Incoming::Message(Frontend::Query(query)) if !self.skip_to_sync => {
                    self.simple_query(&query.query).await
                }
                Incoming::Malformed { kind: b'Q' | b'S', error } => self.refuse_query(error).await,
                _ if self.skip_to_sync => Ok(()),
                Incoming::Malformed { error, .. } => self.refuse(error).await,
                Incoming::Message(message) => self.extended(message).await,
            };
            if let Err(failure) = handled {
                break failure;
            }
        };
        if let Failure::Fatal(error) | Failure::Statement(error) = end
            && self.link.writer.push(report::fatal(&error)).is_ok()
        {
            // The client may be gone already; there is nobody else to tell.
            let _ = self.link.writer.flush().await;
        }
    }

    /// The next message; notices that come while the client is idle are sent at once. A
    /// client that stays idle longer than its session allows is told so and let go.
    pub(super) async fn receive(&mut self) -> Result<Incoming, Failure> {
        let limit = if std::mem::take(&mut self.idle) { self.session.idle_limit() } else { None };
        let overdue = async {
            match limit {
                Some(limit) => {
                    tokio::time::sleep(limit.after).await;
                    limit.error
                }
                None => std::future::pending().await,
            }
        };
        tokio::pin!(overdue);
        loop {
            let link = &mut self.link;
            tokio::select! {
                biased;
                () = stopped(&mut link.shutdown) => return Err(Failure::Fatal(shutting_down())),
                incoming = link.reader.next() => return incoming.map_err(Failure::Fatal),
                error = &mut overdue => return Err(Failure::Fatal(error)),
                Some(notice) = link.notices.recv() => {
                    link.writer.push(report::notice(&notice))?;
                    link.writer.flush().await?;
                }
            }
        }
    }

    async fn extended(&mut self, message: Frontend) -> Result<(), Failure> {
        let handled = match message {
            Frontend::Parse(parse) => self.parse(parse).await,
            Frontend::Bind(bind) => self.bind(bind),
            Frontend::Describe(describe) => self.describe(describe),
            Frontend::Execute(execute) => self.execute(execute).await,
            Frontend::Close(close) => self.close(close),
            Frontend::Flush(_) => Ok(self.link.writer.flush().await?),
            // Leftovers of a COPY that has failed, as PostgreSQL ignores them.
            Frontend::CopyData(_) | Frontend::CopyDone(_) | Frontend::CopyFail(_) => Ok(()),
            _ => {
                let error = HwError::new(sqlstate::PROTOCOL_VIOLATION, "unexpected frontend message");
                return Err(Failure::Fatal(error));
            }
        };
        match handled {
            Err(Failure::Statement(error)) => self.refuse(error).await,
            other => other,
        }
    }

    /// An error of the extended protocol: everything up to Sync is skipped.
    async fn refuse(&mut self, error: HwError) -> Result<(), Failure> {
        self.skip_to_sync = true;
        self.fail(&error).await?;
        Ok(self.link.writer.flush().await?)
    }

    /// An error instead of a simple query or Sync.
    async fn refuse_query(&mut self, error: HwError) -> Result<(), Failure> {
        self.skip_to_sync = false;
        self.fail(&error).await?;
        self.ready().await
    }

    /// Reports an error and fails the transaction it happened in.
    async fn fail(&mut self, error: &HwError) -> Result<(), Failure> {
        if self.session.transaction_status() == TransactionStatus::InBlock {
            self.session.fail_transaction();
        }
        let ended = self.end_implicit_transaction(false).await;
        self.link.push_notices(self.session.take_notices())?;
        self.link.writer.push(report::error(error))?;
        match ended {
            Err(Failure::Statement(second)) => {
                tracing::warn!(error = %second, "rollback of an implicit transaction failed");
                Ok(())
            }
            other => other,
        }
    }

    async fn sync(&mut self) -> Result<(), Failure> {
        self.skip_to_sync = false;
        match self.end_implicit_transaction(true).await {
            Err(Failure::Statement(error)) => self.fail(&error).await?,
            other => other?,
        }
        self.ready().await
    }

    /// Makes the statements up to the end of the message one transaction.
    pub(super) fn begin_implicit_transaction(&mut self) {
        if !self.implicit_transaction && self.session.transaction_status() == TransactionStatus::Idle {
            self.session.begin_implicit_transaction();
            self.implicit_transaction = true;
        }
    }

    async fn end_implicit_transaction(&mut self, commit: bool) -> Result<(), Failure> {
        if !std::mem::take(&mut self.implicit_transaction) {
            return Ok(());
        }
        self.link.cancel.clear();
        self.link.watch(self.session.end_implicit_transaction(commit)).await
    }

    /// Ends a cycle: changed settings, then ReadyForQuery. Portals live as long as the transaction.
    async fn ready(&mut self) -> Result<(), Failure> {
        let status = self.session.transaction_status();
        if status == TransactionStatus::Idle {
            self.store.close_portals();
        }
        self.link.push_notices(self.session.take_notices())?;
        for (name, value) in self.session.take_parameter_changes() {
            self.link.writer.push(Backend::ParameterStatus(ParameterStatus::new(name, value)))?;
        }
        self.link.writer.push(report::ready(status))?;
        self.idle = true;
        Ok(self.link.writer.flush().await?)
    }

    async fn simple_query(&mut self, sql: &str) -> Result<(), Failure> {
        self.store.close_unnamed();
        match self.run_all(sql).await {
            Err(Failure::Statement(error)) => self.fail(&error).await?,
            other => other?,
        }
        self.ready().await
    }

    /// Runs the statements of a message; several of them are one transaction, and an error
    /// ends all.
    async fn run_all(&mut self, sql: &str) -> Result<(), Failure> {
        let statements = guard(|| self.session.parse(sql))?;
        if statements.is_empty() {
            self.link.writer.push(Backend::EmptyQueryResponse(EmptyQueryResponse::new()))?;
        }
        if statements.len() > 1 {
            self.begin_implicit_transaction();
        }
        for statement in &statements {
            self.run_simple(statement).await.map_err(|failure| located(failure, statement))?;
        }
        self.end_implicit_transaction(true).await
    }

    async fn run_simple(&mut self, statement: &ParsedStatement) -> Result<(), Failure> {
        self.check_transaction(statement.kind)?;
        self.link.cancel.clear();
        let outcome = self.link.watch(self.session.execute(statement, Vec::new())).await?;
        self.link.push_notices(self.session.take_notices())?;
        let (schema, stream, tag) = match outcome {
            Outcome::Rows { schema, stream, tag } => (schema, stream, tag),
            Outcome::CopyOut { schema, stream, form } => return self.copy_out(&schema, stream, &form).await,
            Outcome::CopyIn { columns, bytes_max } => {
                return self.copy_in(statement, columns, bytes_max).await;
            }
            other => return Ok(self.complete(other)?),
        };
        let formats = Formats::default();
        self.link.writer.push(rows::describe(&schema, &formats))?;
        let options = self.session.text_options();
        let mut source = RowSource::new(stream, schema, tag, formats, options);
        if let Sent::Complete(tag) = source.send(usize::MAX, &mut self.link).await? {
            self.link.push_notices(self.session.take_notices())?;
            self.link.writer.push(Backend::CommandComplete(CommandComplete::new(tag)))?;
        }
        Ok(())
    }

    /// Ends a statement that has no rows.
    pub(super) fn complete(&mut self, outcome: Outcome) -> Result<()> {
        self.link.writer.push(match outcome {
            Outcome::Command { tag } => Backend::CommandComplete(CommandComplete::new(tag)),
            _ => Backend::EmptyQueryResponse(EmptyQueryResponse::new()),
        })
    }

    /// 25P02 for anything but its end in a failed transaction block.
    pub(super) fn check_transaction(&self, kind: CommandKind) -> Result<()> {
        let failed = self.session.transaction_status() == TransactionStatus::Failed;
        if failed && kind != CommandKind::TransactionEnd {
            return Err(HwError::new(
                sqlstate::IN_FAILED_TRANSACTION,
                "current transaction is aborted, commands ignored until end of transaction block",
            ));
        }
        Ok(())
    }
}

/// Makes the position in a statement one in its message.
pub(super) fn located(failure: Failure, statement: &ParsedStatement) -> Failure {
    match failure {
        Failure::Statement(error) => Failure::Statement(match error.position() {
            Some(position) => error.at(position + statement.offset),
            None => error,
        }),
        other => other,
    }
}
