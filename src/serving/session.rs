//! SQL sessions: statements in, outcomes out, on top of the engine.
//!
//! [`Sessions`] opens a [`Session`] per connection. A session parses statements, dispatches
//! them by kind to the modules below, and keeps what outlives a statement: settings, the
//! open transaction, cursors, SQL-level prepared statements and notices. Reads take a pin of
//! one published epoch; writes are resolved when they are made and reach the log at COMMIT.
//! Invariant: outside of a transaction nothing is left locked or pending between statements.

mod activity;
mod bind;
mod clock;
mod control;
mod copy;
mod cursor;
mod ddl;
mod ddl_function;
mod ddl_source;
mod ddl_table;
mod ddl_view;
mod ddl_watermark;
mod dispatch;
mod dml;
mod drop;
mod evaluate;
mod explain;
mod live;
mod lookup;
mod options;
mod query;
mod results;
mod returning;
mod settings;
mod show;
mod state;
mod subscribe;
mod subscribed_view;
mod system;
mod transaction;
mod upsert;
mod watermarks;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::common::ScalarValue;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use self::activity::Activity;
use self::cursor::Cursor;
use self::lookup::Lookup;
use self::settings::{SettingChange, Settings};
use self::transaction::{BlockKind, Transaction};
use super::pg::api::{
    CancelFlag, CommandKind, Description, IdleLimit, Notice, Outcome, ParsedStatement, SessionFactory,
    SessionHandle, StartupParameters, TransactionStatus,
};
use crate::engine::database::Database;
use crate::error::{HwError, Result, sqlstate};
use crate::sql::send::assert_send;
use crate::sql::{Statement, StatementKind, parse_sql};
use crate::types::PgType;
use crate::types::text::TextOptions;

/// Name of the one database.
const DATABASE_NAME: &str = crate::engine::planning::DATABASE;

/// Opens sessions on one database.
pub struct Sessions {
    database: Arc<Database>,
    activity: Arc<Activity>,
}

impl Sessions {
    pub fn new(database: Arc<Database>) -> Sessions {
        Sessions { database, activity: Arc::default() }
    }
}

impl SessionFactory for Sessions {
    fn open(
        &self,
        startup: &StartupParameters,
        pid: i32,
        notices: mpsc::Sender<Notice>,
    ) -> Result<Box<dyn SessionHandle>> {
        let mut settings = Settings::default();
        for (name, value) in &startup.settings {
            settings.set_at_start(name, value)?;
        }
        let session = Session {
            database: Arc::clone(&self.database),
            activity: Arc::clone(&self.activity),
            user: startup.user.clone(),
            pid,
            settings,
            changes: Arc::default(),
            transaction: Transaction::default(),
            cursors: HashMap::new(),
            prepared: HashMap::new(),
            notices: Vec::new(),
            progress: notices,
            cancel: Arc::default(),
            last_write: 0,
            deadline: None,
        };
        self.activity.begin(pid, &startup.user, session.settings.get("application_name"));
        Ok(Box::new(session))
    }

    fn initial_parameters(&self) -> Vec<(String, String)> {
        Settings::default().reported()
    }
}

/// What the session keeps with a parsed statement.
struct Body {
    statement: Statement,
    /// The whole text that was submitted: positions count from its start.
    submitted: Arc<str>,
    /// A point look-up, once `describe` has recognised one.
    lookup: Mutex<Option<Arc<Lookup>>>,
    /// Types of the parameters, once described.
    parameters: Mutex<Vec<PgType>>,
}

/// A statement made by PREPARE.
struct PreparedStatement {
    parsed: ParsedStatement,
    parameters: Vec<PgType>,
}

/// One session.
pub(super) struct Session {
    database: Arc<Database>,
    activity: Arc<Activity>,
    user: String,
    pid: i32,
    settings: Settings,
    /// Settings that functions of a running query changed.
    changes: Arc<Mutex<Vec<SettingChange>>>,
    transaction: Transaction,
    cursors: HashMap<String, Cursor>,
    prepared: HashMap<String, PreparedStatement>,
    notices: Vec<Notice>,
    /// Notices while a statement runs.
    progress: mpsc::Sender<Notice>,
    cancel: Arc<CancelFlag>,
    /// Number of the session's newest record in the local log.
    last_write: u64,
    /// When the running statement has to end.
    deadline: Option<std::time::Instant>,
}

impl Session {
    fn notice(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    fn is_manual(&self) -> bool {
        self.database.engine.shared.clock.is_manual()
    }

    /// Takes over what `set_config` asked for.
    fn apply_setting_changes(&mut self) {
        let changes = std::mem::take(&mut *self.changes.lock());
        for change in changes {
            let in_block = self.transaction.kind() == BlockKind::Explicit;
            // Validated when it was asked for.
            let _ = self.settings.set(&change.name, &change.value, change.local && in_block);
        }
    }

    fn finish_activity(&self) {
        let state = match self.transaction.kind() {
            BlockKind::Explicit => "idle in transaction",
            _ => "idle",
        };
        self.activity.finish(self.pid, state);
    }

    fn body(statement: &ParsedStatement) -> Result<&Body> {
        statement
            .body
            .downcast_ref::<Body>()
            .ok_or_else(|| HwError::internal("a statement of another session"))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.activity.end(self.pid);
    }
}

fn parsed(statement: Statement, submitted: &Arc<str>) -> ParsedStatement {
    let kind = match &statement.kind {
        StatementKind::Commit { .. } | StatementKind::Rollback { .. } | StatementKind::RollbackTo { .. } => {
            CommandKind::TransactionEnd
        }
        StatementKind::Begin(_) => CommandKind::TransactionBegin,
        _ => CommandKind::Other,
    };
    ParsedStatement {
        sql: Arc::from(statement.text.as_str()),
        offset: 0,
        kind,
        body: Arc::new(Body {
            statement,
            submitted: Arc::clone(submitted),
            lookup: Mutex::new(None),
            parameters: Mutex::new(Vec::new()),
        }),
    }
}

#[async_trait]
impl SessionHandle for Session {
    fn parse(&mut self, sql: &str) -> Result<Vec<ParsedStatement>> {
        let submitted: Arc<str> = Arc::from(sql);
        Ok(parse_sql(sql)?.into_iter().map(|s| parsed(s, &submitted)).collect())
    }

    async fn describe(
        &mut self,
        statement: &ParsedStatement,
        parameters: &[Option<PgType>],
    ) -> Result<Description> {
        self.apply_setting_changes();
        let body = Self::body(statement)?;
        // SAFETY: sessions, trees, plans and the futures over them are `Send`.
        let description = unsafe { assert_send(self.describe_statement(body, parameters)) }.await?;
        body.parameters.lock().clone_from(&description.parameters);
        Ok(description)
    }

    async fn execute(
        &mut self,
        statement: &ParsedStatement,
        parameters: Vec<ScalarValue>,
    ) -> Result<Outcome> {
        self.apply_setting_changes();
        let body = Self::body(statement)?;
        let lookup = body.lookup.lock().clone();
        if let Some(lookup) = lookup
            && let Some(outcome) = self.run_lookup(&lookup, &parameters).await?
        {
            return Ok(outcome);
        }
        self.activity.start(self.pid, &statement.sql);
        // SAFETY: as in `describe`.
        let outcome = unsafe { assert_send(self.execute_limited(body, parameters)) }.await;
        self.finish_activity();
        outcome
    }

    async fn copy_in(&mut self, statement: &ParsedStatement, data: Vec<u8>) -> Result<Outcome> {
        let body = Self::body(statement)?;
        self.activity.start(self.pid, &statement.sql);
        // SAFETY: as in `describe`.
        let outcome = unsafe { assert_send(self.copy_limited(body, &data)) }.await;
        self.finish_activity();
        outcome
    }

    fn begin_implicit_transaction(&mut self) {
        if self.transaction.kind() == BlockKind::None {
            self.begin(BlockKind::Implicit, Default::default());
        }
    }

    async fn end_implicit_transaction(&mut self, commit: bool) -> Result<()> {
        if self.transaction.kind() != BlockKind::Implicit {
            return Ok(());
        }
        if commit && !self.transaction.is_failed() {
            // SAFETY: as in `describe`.
            unsafe { assert_send(self.commit()) }.await
        } else {
            self.roll_back();
            Ok(())
        }
    }

    fn cursor_columns(&self, name: &str) -> Option<SchemaRef> {
        self.cursor_schema(name).ok()
    }

    fn transaction_status(&self) -> TransactionStatus {
        match self.transaction.kind() {
            BlockKind::Explicit if self.transaction.is_failed() => TransactionStatus::Failed,
            BlockKind::Explicit => TransactionStatus::InBlock,
            BlockKind::None | BlockKind::Implicit => TransactionStatus::Idle,
        }
    }

    fn fail_transaction(&mut self) {
        self.transaction.fail();
    }

    fn take_notices(&mut self) -> Vec<Notice> {
        let least = self.settings.client_min_messages();
        std::mem::take(&mut self.notices).into_iter().filter(|n| least.shows(n.severity)).collect()
    }

    fn take_parameter_changes(&mut self) -> Vec<(String, String)> {
        self.apply_setting_changes();
        let changes = self.settings.take_changes();
        if let Some((_, name)) = changes.iter().find(|(name, _)| name == "application_name") {
            self.activity.rename(self.pid, name);
        }
        changes
    }

    fn idle_limit(&self) -> Option<IdleLimit> {
        let (setting, code, what) = match self.transaction_status() {
            TransactionStatus::Idle => {
                ("idle_session_timeout", sqlstate::IDLE_SESSION_TIMEOUT, "idle-session timeout")
            }
            TransactionStatus::InBlock | TransactionStatus::Failed => (
                "idle_in_transaction_session_timeout",
                sqlstate::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
                "idle-in-transaction timeout",
            ),
        };
        let after = self.settings.timeout(setting)?;
        Some(IdleLimit { after, error: HwError::new(code, format!("terminating connection due to {what}")) })
    }

    fn text_options(&self) -> TextOptions {
        self.text_options_now()
    }

    fn cancel_flag(&self) -> Arc<CancelFlag> {
        Arc::clone(&self.cancel)
    }
}
