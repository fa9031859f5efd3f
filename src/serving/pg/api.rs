//! What the wire needs from a session: the contract between `serving/pg` and
//! `serving/session`.
//!
//! The wire decodes messages, keeps prepared statements and portals, and encodes results; the
//! session parses, plans and runs statements and keeps transactions, settings and cursors.
//! A session is used by one connection, one call at a time. Errors come back as values; after
//! any error inside a transaction block the wire calls `fail_transaction`. While `execute` or
//! a row stream runs, cancellation reaches the session only through its [`CancelFlag`].

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::common::ScalarValue;
use futures::stream::BoxStream;
use tokio::sync::{Notify, mpsc};

use crate::error::{HwError, Result, sqlstate};
use crate::formats::copy::CopyForm;
use crate::types::PgType;
use crate::types::text::TextOptions;

/// A statement as the session parsed it. Cloning is cheap.
#[derive(Clone)]
pub struct ParsedStatement {
    /// The statement's own text.
    pub sql: Arc<str>,
    /// Characters of the message in front of `sql`; added to the positions of its errors.
    pub offset: usize,
    pub kind: CommandKind,
    /// The session's own form of it.
    pub body: Arc<dyn Any + Send + Sync>,
}

/// What the wire has to know about a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandKind {
    /// COMMIT, ROLLBACK and the like: all that a failed transaction block accepts.
    TransactionEnd,
    /// BEGIN.
    TransactionBegin,
    Other,
}

/// Types of a statement, found without running it.
#[derive(Clone, Default)]
pub struct Description {
    /// One per `$n`.
    pub parameters: Vec<PgType>,
    /// `None` if the statement returns no rows.
    pub rows: Option<SchemaRef>,
}

/// The result of a statement.
pub enum Outcome {
    Rows {
        schema: SchemaRef,
        stream: BoxStream<'static, Result<RecordBatch>>,
        tag: RowsTag,
    },
    /// Complete, with its tag, such as `INSERT 0 3` or `CREATE VIEW`.
    Command {
        tag: String,
    },
    /// COPY … TO STDOUT: the rows are sent as data.
    CopyOut {
        schema: SchemaRef,
        stream: BoxStream<'static, Result<RecordBatch>>,
        form: CopyForm,
    },
    /// COPY … FROM STDIN: the client's data go to `copy_in`, at most so many bytes.
    CopyIn {
        columns: usize,
        bytes_max: usize,
    },
    Empty,
}

/// Command tag of a statement that returns rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowsTag {
    /// Followed by the number of rows: `SELECT`, `FETCH`, `INSERT 0`.
    Counted(String),
    /// As it is: `EXPLAIN`, `SHOW`.
    Plain(String),
}

/// The letter of ReadyForQuery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    Idle,
    InBlock,
    Failed,
}

/// A message beside the results.
#[derive(Clone, Debug)]
pub struct Notice {
    pub severity: Severity,
    /// SQLSTATE, message, DETAIL, HINT and position, shaped like an error.
    pub report: HwError,
}

impl Notice {
    /// NOTICE with SQLSTATE 00000.
    pub fn new(message: impl Into<String>) -> Notice {
        Notice { severity: Severity::Notice, report: HwError::new(sqlstate::SUCCESSFUL_COMPLETION, message) }
    }

    /// WARNING with SQLSTATE 01000.
    pub fn warning(message: impl Into<String>) -> Notice {
        Notice { severity: Severity::Warning, report: HwError::new(sqlstate::WARNING, message) }
    }
}

/// The longest wait for a client's next message, and the FATAL error after it.
pub struct IdleLimit {
    pub after: Duration,
    pub error: HwError,
}

/// Severity of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Notice,
    Warning,
    Info,
    Log,
    Debug,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Notice => "NOTICE",
            Severity::Warning => "WARNING",
            Severity::Info => "INFO",
            Severity::Log => "LOG",
            Severity::Debug => "DEBUG",
        }
    }
}

/// Tells a running statement to stop: a cancel request, a lost client or the server's end.
/// The wire clears it before each statement.
#[derive(Debug, Default)]
pub struct CancelFlag {
    requested: AtomicBool,
    notify: Notify,
}

impl CancelFlag {
    pub fn cancel(&self) {
        self.requested.store(true, Ordering::SeqCst);
        self.notify.notify_waiters();
    }

    pub fn clear(&self) {
        self.requested.store(false, Ordering::SeqCst);
    }

    pub fn is_cancelled(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }

    /// 57014 if cancellation was requested.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Self::error()) } else { Ok(()) }
    }

    /// Completes when cancellation is requested. Dropping it loses nothing.
    pub async fn cancelled(&self) {
        loop {
            let notified = self.notify.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.is_cancelled() {
                return;
            }
            // Whatever the task's budget, which a query that never waits uses up.
            tokio::task::unconstrained(notified).await;
        }
    }

    /// What a cancelled statement ends with.
    pub fn error() -> HwError {
        HwError::new(sqlstate::QUERY_CANCELED, "canceling statement due to user request")
    }
}

/// What a client asks for when it connects.
#[derive(Clone, Debug, Default)]
pub struct StartupParameters {
    pub user: String,
    /// The user's name if the client names no database.
    pub database: String,
    /// Settings in the order given: `options='-c x=y'` first, then plain parameters such as
    /// `application_name` and `client_encoding`.
    pub settings: Vec<(String, String)>,
}

/// One session of one connection.
#[async_trait]
pub trait SessionHandle: Send {
    /// Splits and parses the text of a message; no statement at all gives an empty list.
    /// Positions of errors count from the start of `sql`.
    fn parse(&mut self, sql: &str) -> Result<Vec<ParsedStatement>>;

    /// Types of parameters and rows. `parameters` holds what the client declared and may be
    /// shorter than the statement's parameters. Called once per prepared statement.
    async fn describe(
        &mut self,
        statement: &ParsedStatement,
        parameters: &[Option<PgType>],
    ) -> Result<Description>;

    /// Runs a statement; `parameters` have the described types. Returns early with 57014 if
    /// the cancel flag is raised. Dropping a row stream ends the query.
    async fn execute(&mut self, statement: &ParsedStatement, parameters: Vec<ScalarValue>)
    -> Result<Outcome>;

    /// Ends a COPY … FROM STDIN with the data that the client sent.
    async fn copy_in(&mut self, statement: &ParsedStatement, data: Vec<u8>) -> Result<Outcome>;

    /// Several statements of one message follow: outside of a block they form a transaction
    /// that ends with `end_implicit_transaction`. A no-op inside a transaction block.
    fn begin_implicit_transaction(&mut self);

    /// Ends what `begin_implicit_transaction` began, also if statements in between were
    /// BEGIN or COMMIT (then it has nothing to do). `commit` is false after an error.
    async fn end_implicit_transaction(&mut self, commit: bool) -> Result<()>;

    /// Columns of the cursor that `DECLARE name CURSOR` made, which clients describe as a portal.
    fn cursor_columns(&self, name: &str) -> Option<SchemaRef>;

    fn transaction_status(&self) -> TransactionStatus;

    /// An error happened: an open transaction block is failed from now on.
    fn fail_transaction(&mut self);

    /// Notices of the last call, sent before its command completes.
    fn take_notices(&mut self) -> Vec<Notice>;

    /// Reported settings that changed, sent as ParameterStatus before ReadyForQuery.
    fn take_parameter_changes(&mut self) -> Vec<(String, String)>;

    /// How long the client may now keep the session waiting, and what ends it after that.
    fn idle_limit(&self) -> Option<IdleLimit>;

    /// How values are read and printed from now on.
    fn text_options(&self) -> TextOptions;

    /// The flag that `execute` and its streams observe; one per session.
    fn cancel_flag(&self) -> Arc<CancelFlag>;
}

/// Opens sessions.
pub trait SessionFactory: Send + Sync {
    /// A session for a client that has been let in. `notices` carries notices to the client
    /// while a statement runs (progress). An error refuses the connection as FATAL.
    fn open(
        &self,
        startup: &StartupParameters,
        pid: i32,
        notices: mpsc::Sender<Notice>,
    ) -> Result<Box<dyn SessionHandle>>;

    /// ParameterStatus of a new connection, such as `server_version`; what
    /// `take_parameter_changes` returns right after `open` is sent after these.
    fn initial_parameters(&self) -> Vec<(String, String)>;
}
