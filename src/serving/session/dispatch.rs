//! From a statement's kind to the module that runs it.

use std::sync::Arc;

use datafusion::common::ScalarValue;

use super::query::Text;
use super::results::command;
use super::transaction::BlockKind;
use super::{Body, Session};
use crate::error::{HwError, Result, sqlstate};
use crate::serving::pg::api::{CancelFlag, Outcome};
use crate::sql::{Statement, StatementKind};
use crate::{clock, error};

impl Session {
    /// Runs a statement under `statement_timeout`; outside of a transaction its writes are
    /// committed, or forgotten after an error.
    pub(super) async fn execute_limited(
        &mut self,
        body: &Body,
        parameters: Vec<ScalarValue>,
    ) -> Result<Outcome> {
        self.check_not_failed(&body.statement.kind)?;
        self.deadline = self.settings.timeout("statement_timeout").map(|limit| clock::monotonic() + limit);
        let bound;
        let statement = if parameters.is_empty() {
            &body.statement
        } else {
            let types = body.parameters.lock().clone();
            bound = super::bind::substitute(&body.statement, &parameters, &types)?;
            &bound
        };
        let outcome = self.run(statement, &body.submitted).await;
        self.end_statement(outcome).await
    }

    /// Takes the data of a COPY FROM, under the same rules.
    pub(super) async fn copy_limited(&mut self, body: &Body, data: &[u8]) -> Result<Outcome> {
        let StatementKind::Copy(copy) = &body.statement.kind else {
            return Err(HwError::internal("data for a statement that is no COPY"));
        };
        self.deadline = self.settings.timeout("statement_timeout").map(|limit| clock::monotonic() + limit);
        let outcome = self.copy_rows(copy, data).await;
        self.end_statement(outcome).await
    }

    async fn end_statement(&mut self, outcome: Result<Outcome>) -> Result<Outcome> {
        if self.transaction.kind() != BlockKind::None {
            return outcome;
        }
        match outcome {
            Ok(outcome) => self.flush().await.map(|()| outcome),
            Err(e) => {
                self.transaction = Default::default();
                Err(e)
            }
        }
    }

    fn check_not_failed(&self, kind: &StatementKind) -> Result<()> {
        use StatementKind as K;
        let ends = matches!(kind, K::Commit { .. } | K::Rollback { .. } | K::RollbackTo { .. });
        if self.transaction.is_failed() && !ends {
            let text = "current transaction is aborted, commands ignored until end of transaction block";
            return Err(HwError::new(sqlstate::IN_FAILED_TRANSACTION, text));
        }
        Ok(())
    }

    /// Completes `work` unless the statement is cancelled or runs out of time.
    pub(super) async fn limited<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let cancel = Arc::clone(&self.cancel);
        tokio::select! {
            biased;
            done = work => done,
            () = cancel.cancelled() => Err(CancelFlag::error()),
            () = until(self.deadline) => Err(timed_out()),
        }
    }

    /// Runs a statement without parameters.
    pub(super) async fn run(&mut self, statement: &Statement, submitted: &Arc<str>) -> Result<Outcome> {
        use StatementKind as K;
        let text = Text { submitted };
        match &statement.kind {
            K::Query(query) => self.select(query, text).await,
            K::Insert(insert) => self.insert(insert, text).await,
            K::Update(update) => self.update(update, text).await,
            K::Delete(delete) => self.delete(delete, text).await,
            K::Explain(explain) => self.explain(explain, submitted).await,
            K::Show(show) => self.show(show).await,
            K::DeclareCursor(declare) => self.declare_cursor(declare, text).await,
            K::Fetch(fetch) => self.fetch(fetch).await,
            K::CloseCursor { name } => self.close_cursor(name.as_deref()),
            K::Subscribe(subscribe) => self.subscribe_statement(subscribe, text).await,
            K::Begin(modes) => self.begin_statement(*modes),
            K::Commit { chain } => self.commit_statement(*chain).await,
            K::Rollback { chain } => self.rollback_statement(*chain),
            K::Savepoint { name } => self.savepoint(name.clone()),
            K::Release { name } => self.release(name),
            K::RollbackTo { name } => self.rollback_to(name),
            K::Set { scope, name, value } => self.set(*scope, name, value),
            K::SetTransaction { session, modes } => self.set_transaction(*session, *modes),
            K::Reset { name } => self.reset(name.as_deref()),
            K::Prepare { name, types, statement } => self.prepare(name, types, statement, submitted).await,
            K::Execute { name, arguments } => Box::pin(self.execute_prepared(name, arguments)).await,
            K::Deallocate { name } => self.deallocate(name.as_deref()),
            K::Discard(target) => self.discard(*target),
            K::AdvanceClock(advance) => self.advance_clock(advance).await,
            K::AdvanceWatermark { source, to } => self.advance_watermark(source, to).await,
            K::Step => self.step().await,
            K::Listen { .. } => Err(no_notifications("LISTEN")),
            K::Notify { .. } => Err(no_notifications("NOTIFY")),
            // Clients send it when they hand a connection back.
            K::Unlisten { .. } => Ok(command("UNLISTEN")),
            K::Copy(copy) => self.copy(copy, text).await,
            K::Grant | K::Revoke => {
                let what = if matches!(statement.kind, K::Grant) { "GRANT" } else { "REVOKE" };
                Err(HwError::unsupported(what, "Headwater has no roles: whoever connects may do everything."))
            }
            K::Unsupported { name } => {
                Err(HwError::unsupported(name, "The manual lists the statements there are."))
            }
            _ => self.define(statement, text).await,
        }
    }

    /// Statements that change the catalog.
    async fn define(&mut self, statement: &Statement, text: Text<'_>) -> Result<Outcome> {
        use StatementKind as K;
        self.refuse_in_read_only(command_name(&statement.kind))?;
        // A new object is read at a later epoch than the one this transaction has pinned.
        self.transaction.pin = None;
        let outcome = match &statement.kind {
            K::CreateSchema { if_not_exists, name } => self.create_schema(*if_not_exists, name).await,
            K::CreateSecret { if_not_exists, name, value } => {
                self.create_secret(*if_not_exists, name, value).await
            }
            K::CreateConnection { if_not_exists, name, with } => {
                self.create_connection(*if_not_exists, name, with).await
            }
            K::CreateSource(create) => self.create_source(create).await,
            K::CreateTable(create) => self.create_table(create, text).await,
            K::CreateView(create) => self.create_view(create, text).await,
            K::CreateMaterializedView(create) => self.create_materialized_view(create, text).await,
            K::CreateSink(create) => self.create_sink(create, text).await,
            K::CreateIndex(_) => Err(HwError::unsupported(
                "CREATE INDEX",
                "Tables are indexed by their primary key, and materialized views by their GROUP BY columns.",
            )),
            K::CreateFunction(create) => self.create_function(create).await,
            K::Drop { kind, if_exists, names, cascade } => {
                self.drop_objects(*kind, *if_exists, names, *cascade).await
            }
            K::AlterRename { kind, if_exists, name, to } => self.rename(*kind, *if_exists, name, to).await,
            K::Comment { target, name, comment } => self.comment(*target, name, comment.clone()).await,
            K::RefreshMaterializedView { name } => {
                self.resolve_kind(crate::catalog::Kind::MaterializedView, name)?;
                Err(HwError::unsupported(
                    "REFRESH MATERIALIZED VIEW",
                    "A materialized view is always up to date; nothing has to be refreshed.",
                ))
            }
            other => Err(HwError::internal(format!("statement without a handler: {}", command_name(other)))),
        };
        self.transaction.defined |= outcome.is_ok();
        outcome
    }
}

/// Waits for the deadline, or for ever. It needs no share of the task's budget, which a query
/// that never waits uses up.
pub(super) async fn until(deadline: Option<std::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::task::unconstrained(tokio::time::sleep_until(deadline.into())).await,
        None => std::future::pending().await,
    }
}

/// 57014 of `statement_timeout`.
pub(super) fn timed_out() -> HwError {
    HwError::new(error::sqlstate::QUERY_CANCELED, "canceling statement due to statement timeout")
}

fn no_notifications(what: &str) -> HwError {
    HwError::unsupported(what, "SUBSCRIBE TO a table or view tells of every change of it.")
}

fn command_name(kind: &StatementKind) -> &'static str {
    use StatementKind as K;
    match kind {
        K::CreateSchema { .. } => "CREATE SCHEMA",
        K::CreateSecret { .. } => "CREATE SECRET",
        K::CreateConnection { .. } => "CREATE CONNECTION",
        K::CreateSource(_) => "CREATE SOURCE",
        K::CreateTable(_) => "CREATE TABLE",
        K::CreateView(_) => "CREATE VIEW",
        K::CreateMaterializedView(_) => "CREATE MATERIALIZED VIEW",
        K::CreateSink(_) => "CREATE SINK",
        K::CreateIndex(_) => "CREATE INDEX",
        K::CreateFunction(_) => "CREATE FUNCTION",
        K::Drop { .. } => "DROP",
        K::AlterRename { .. } => "ALTER",
        K::Comment { .. } => "COMMENT",
        K::RefreshMaterializedView { .. } => "REFRESH MATERIALIZED VIEW",
        _ => "this statement",
    }
}
