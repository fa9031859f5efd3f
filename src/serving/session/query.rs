//! SELECT: an epoch is pinned, the query planned over its snapshot, and run as a stream.
//!
//! Describing a statement finds the types of its parameters and columns without running it.
//! A session reads its own writes: outside of manual-clock mode a read waits until the
//! session's last write is published.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::execution::SessionState;
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use sqlparser::ast::Query;

use super::dispatch::{timed_out, until};
use super::dml::Target;
use super::results::{counted, relabel};
use super::transaction::BlockKind;
use super::{Body, DATABASE_NAME, Session, bind};
use crate::catalog::system::{rewrite_catalog_query, system_functions};
use crate::catalog::{Catalog, Kind};
use crate::engine::planning::{Leaves, Scope, SqlContext};
use crate::error::{HwError, Result, sqlstate};
use crate::serving::pg::api::{Description, Outcome};
use crate::sql::context::{SessionOptions, SessionVars, plan_query};
use crate::sql::errors::to_hw_error;
use crate::sql::rules::names::postgres_output_names;
use crate::sql::{Statement, StatementKind};
use crate::types::PgType;
use crate::types::text::TextOptions;
use crate::views::Pin;

/// The message that a statement came in.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    pub submitted: &'a Arc<str>,
}

/// A query ready to run.
pub(super) struct Ready {
    pub state: SessionState,
    /// Planned, not optimized.
    pub plan: LogicalPlan,
    pub names: Vec<String>,
}

impl Ready {
    /// The optimized plan and the columns as clients see them.
    pub fn optimize(&self) -> Result<(LogicalPlan, SchemaRef)> {
        let plan = self.state.optimize(&self.plan)?;
        let named = |(field, name): (&Arc<Field>, &String)| field.as_ref().clone().with_name(name);
        let fields: Vec<Field> = plan.schema().fields().iter().zip(&self.names).map(named).collect();
        Ok((plan, Arc::new(Schema::new(fields))))
    }
}

/// What only catalog queries mention.
const CATALOG_WORDS: [&str; 14] = [
    "pg_",
    "information_schema",
    "::reg",
    "as regclass",
    "to_reg",
    "_description",
    "format_type",
    "set_config",
    "current_setting",
    "current_schemas",
    "quote_ident",
    "has_",
    "getdatabaseencoding",
    "current_user",
];

pub(super) fn mentions_catalog(sql: &str) -> bool {
    let lower = sql.to_ascii_lowercase();
    CATALOG_WORDS.iter().any(|word| lower.contains(word))
}

impl Session {
    pub(super) fn now(&self) -> i64 {
        self.transaction.started.unwrap_or_else(|| self.database.engine.shared.clock.now().0)
    }

    pub(super) fn text_options_now(&self) -> TextOptions {
        TextOptions {
            zone: self.settings.zone(),
            date_order: self.settings.date_order(),
            now_micros: Some(self.now()),
        }
    }

    pub(super) fn search_path(&self) -> Vec<String> {
        let catalog = self.database.catalog();
        let mut path = self.settings.search_path(&self.user);
        path.retain(|schema| catalog.schemas().any(|s| s.name == *schema));
        path
    }

    /// What the session's statements are planned with.
    pub(super) fn context(&self) -> SqlContext {
        let vars = SessionVars {
            database: DATABASE_NAME.to_string(),
            user: self.user.clone(),
            session_user: self.user.clone(),
            search_path: self.search_path(),
            backend_pid: self.pid,
            settings: std::sync::Mutex::new(self.settings.values()),
        };
        let memory = self.database.config.query_memory_limit_bytes;
        SqlContext {
            search_path: self.search_path(),
            options: SessionOptions {
                time_zone: self.settings.get("TimeZone").to_string(),
                now_micros: Some(self.now()),
                memory_pool: Some(Arc::new(GreedyMemoryPool::new(memory))),
                vars: Arc::new(vars),
                ..SessionOptions::default()
            },
            system: self.system_schemas(),
        }
    }

    /// The epoch that the present statement reads.
    pub(super) async fn pin(&mut self) -> Result<Arc<Pin>> {
        if let Some(pin) = &self.transaction.pin {
            return Ok(Arc::clone(pin));
        }
        self.wait_for_own_writes().await?;
        let pin = Arc::new(self.database.engine.pin());
        if self.transaction.kind() == BlockKind::Explicit {
            self.transaction.pin = Some(Arc::clone(&pin));
        }
        Ok(pin)
    }

    async fn wait_for_own_writes(&self) -> Result<()> {
        let engine = &self.database.engine;
        if self.is_manual() || engine.published().log_end >= self.last_write {
            return Ok(());
        }
        let patience = self.settings.timeout("read_timeout");
        let wait = async {
            let published = engine.wait_for_log(self.last_write);
            match patience {
                None => published.await.map(drop),
                Some(patience) => match tokio::time::timeout(patience, published).await {
                    Ok(done) => done.map(drop),
                    Err(_) => {
                        Err(HwError::new(sqlstate::QUERY_CANCELED, "canceling statement due to read timeout")
                            .with_detail("The session's last write is not yet in any published epoch."))
                    }
                },
            }
        };
        self.limited(wait).await
    }

    /// Plans a query over the snapshot of the pinned epoch.
    pub(super) async fn plan(&mut self, query: &Query, text: &str) -> Result<Ready> {
        let pin = self.pin().await?;
        let cx = self.context();
        self.plan_in(query, text, pin, cx).await
    }

    pub(super) async fn plan_in(
        &self,
        query: &Query,
        text: &str,
        pin: Arc<Pin>,
        cx: SqlContext,
    ) -> Result<Ready> {
        let scope = Scope::new(Arc::clone(&self.database), Leaves::Snapshot(pin), cx);
        let with_panes = scope.pane_columns_of(query)?;
        let query = with_panes.as_ref().unwrap_or(query);
        let inlined = scope.inline_functions(query)?;
        let query = inlined.as_ref().unwrap_or(query);
        let inputs = self.limited(async { Ok(scope.window_inputs(query).await) }).await?;
        let mut state = scope.session_state(inputs)?;
        let catalog = mentions_catalog(text) || mentions_catalog(&query.to_string());
        let (plan, names) = if catalog {
            // Of these two the functions of all queries know more.
            let own = |name: &str| matches!(name, "format" | "json_build_object");
            for function in system_functions(self.system_state()).into_iter().filter(|f| !own(f.name())) {
                datafusion::execution::FunctionRegistry::register_udf(&mut state, Arc::new(function))?;
            }
            let mut rewritten = query.clone();
            rewrite_catalog_query(&mut rewritten);
            let (plan, names) = self.limited(plan_query(&state, &rewritten, Some(text))).await?;
            // Names as written, where the rewrite kept the select list.
            let names = postgres_output_names(query, &plan).unwrap_or(names);
            (plan, names)
        } else {
            self.limited(plan_query(&state, query, Some(text))).await?
        };
        self.check_not_written(&scope.named_objects(), &self.database.catalog())?;
        Ok(Ready { state, plan, names })
    }

    /// 0A000 for reading what this transaction has written.
    pub(super) fn check_not_written(&self, ids: &[u64], catalog: &Catalog) -> Result<()> {
        if self.transaction.parts.is_empty() {
            return Ok(());
        }
        for id in ids {
            let Some(definition) = catalog.get(*id) else { continue };
            if definition.kind == Kind::View {
                self.check_not_written(&definition.depends_on, catalog)?;
            }
            if self.transaction.has_written(*id) {
                let what = format!(
                    "reading \"{}\", which was written earlier in this transaction,",
                    definition.name
                );
                let hint = "Read it before writing to it, or after COMMIT; several statements in one message are one transaction.";
                return Err(HwError::unsupported(what, hint));
            }
        }
        Ok(())
    }

    pub(super) async fn select(&mut self, query: &Query, text: Text<'_>) -> Result<Outcome> {
        if let Some(lookup) = self.recognise_lookup(query, &[])?
            && let Some(outcome) = self.run_lookup(&lookup, &[]).await?
        {
            return Ok(outcome);
        }
        let ready = self.plan(query, text.submitted).await?;
        let (schema, stream) = self.start(&ready, text.submitted).await?;
        Ok(Outcome::Rows { schema, stream, tag: counted("SELECT") })
    }

    /// Starts a planned query.
    pub(super) async fn start(
        &self,
        ready: &Ready,
        text: &Arc<str>,
    ) -> Result<(SchemaRef, BoxStream<'static, Result<RecordBatch>>)> {
        let sql = Arc::clone(text);
        let run = async {
            let (plan, schema) = ready.optimize()?;
            let planner = Arc::clone(ready.state.query_planner());
            let physical = planner.create_physical_plan(&plan, &ready.state).await;
            let physical = physical.map_err(|e| to_hw_error(e, Some(text)))?;
            let stream = execute_stream(physical, ready.state.task_ctx());
            Ok((schema, stream.map_err(|e| to_hw_error(e, Some(text)))?))
        };
        let (schema, stream) = self.limited(run).await?;
        let out = Arc::clone(&schema);
        let stream = stream.map(move |batch| match batch {
            Ok(batch) => relabel(&batch, &out),
            Err(e) => Err(to_hw_error(e, Some(&sql))),
        });
        Ok((schema, with_deadline(stream.boxed(), self.deadline)))
    }

    /// Runs a planned query to its end.
    pub(super) async fn collect(
        &self,
        ready: &Ready,
        text: &Arc<str>,
    ) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        let (schema, stream) = self.start(ready, text).await?;
        let batches = self.limited(stream.try_collect::<Vec<_>>()).await?;
        Ok((schema, batches))
    }

    /// Types of a statement's parameters and columns.
    pub(super) async fn describe_statement(
        &mut self,
        body: &Body,
        declared: &[Option<PgType>],
    ) -> Result<Description> {
        let statement = &body.statement;
        if let StatementKind::Query(query) = &statement.kind
            && let Some(lookup) = self.recognise_lookup(query, declared)?
        {
            let description = lookup.description();
            *body.lookup.lock() = Some(Arc::new(lookup));
            return Ok(description);
        }
        let (count, casts) = bind::parameters(statement)?;
        let count = count.max(declared.len());
        let mut types: Vec<Option<PgType>> = (0..count)
            .map(|i| declared.get(i).cloned().flatten().or_else(|| casts.get(&(i + 1)).cloned()))
            .collect();
        if types.iter().any(Option::is_none) {
            let partly = bind::typed_nulls(statement, &types)?;
            self.infer(&partly, &mut types, &body.submitted).await?;
        }
        if types.iter().any(Option::is_none) {
            let quoted = bind::quoted_unknowns(statement, &types)?;
            self.infer_quoted(&quoted, &mut types, &body.submitted).await?;
        }
        let parameters: Vec<PgType> = types.into_iter().map(|t| t.unwrap_or(PgType::Text)).collect();
        let known: Vec<Option<PgType>> = parameters.iter().cloned().map(Some).collect();
        let bound = bind::typed_nulls(statement, &known)?;
        let rows = self.describe_rows(&bound, &body.submitted).await?;
        Ok(Description { parameters, rows })
    }

    /// Types that the planner finds for parameters.
    async fn infer(
        &mut self,
        statement: &Statement,
        types: &mut [Option<PgType>],
        text: &Arc<str>,
    ) -> Result<()> {
        match &statement.kind {
            StatementKind::Insert(insert) => self.infer_insert(insert, types)?,
            StatementKind::Update(update) => self.infer_update(update, types)?,
            _ => {}
        }
        let Some(query) = self.query_within(statement)? else { return Ok(()) };
        // What cannot be planned yet is reported when the types are complete.
        let Ok(ready) = self.plan(&query, text).await else { return Ok(()) };
        for (index, ty) in bind::array_parameters(&ready.plan) {
            if let Some(slot) = types.get_mut(index) {
                slot.get_or_insert(ty);
            }
        }
        let Ok(found) = ready.plan.get_parameter_fields() else { return Ok(()) };
        for (name, field) in found {
            let index = name.strip_prefix('$').and_then(|n| n.parse::<usize>().ok());
            if let (Some(index), Some(field)) = (index, field)
                && let Some(slot) = index.checked_sub(1).and_then(|i| types.get_mut(i))
                && !matches!(field.data_type(), arrow::datatypes::DataType::Null)
            {
                slot.get_or_insert_with(|| PgType::of(&field));
            }
        }
        Ok(())
    }

    /// Types that quoted literals would take where parameters still have none.
    async fn infer_quoted(
        &mut self,
        statement: &Statement,
        types: &mut [Option<PgType>],
        text: &Arc<str>,
    ) -> Result<()> {
        let Some(query) = self.query_within(statement)? else { return Ok(()) };
        let Ok(ready) = self.plan(&query, text).await else { return Ok(()) };
        let Ok(plan) = crate::sql::context::analyze(ready.plan, &ready.state) else { return Ok(()) };
        for (index, ty) in bind::types_of_quoted(&plan) {
            if let Some(slot) = types.get_mut(index) {
                slot.get_or_insert(ty);
            }
        }
        Ok(())
    }

    /// The query that a statement is or has in it.
    fn query_within(&self, statement: &Statement) -> Result<Option<sqlparser::ast::Query>> {
        Ok(match &statement.kind {
            StatementKind::Query(query) => Some((**query).clone()),
            StatementKind::Insert(insert) => insert.source.as_deref().cloned(),
            StatementKind::Update(update) => self.update_as_query(update)?,
            StatementKind::Delete(delete) => self.delete_as_query(delete)?,
            _ => None,
        })
    }

    async fn describe_rows(&mut self, statement: &Statement, text: &Arc<str>) -> Result<Option<SchemaRef>> {
        use StatementKind as K;
        match &statement.kind {
            K::Query(query) => {
                let ready = self.plan(query, text).await?;
                Ok(Some(ready.optimize()?.1))
            }
            K::Insert(insert) => {
                self.returning_schema(&Target::of_insert(insert)?, insert.returning.as_deref()).await
            }
            K::Update(update) => {
                self.returning_schema(&Target::of_update(update)?, update.returning.as_deref()).await
            }
            K::Delete(delete) => {
                self.returning_schema(&Target::of_delete(delete)?, delete.returning.as_deref()).await
            }
            K::Show(show) => self.show_schema(show).await.map(Some),
            K::Explain(explain) => Ok(Some(super::explain::schema(&explain.what))),
            K::Fetch(fetch) if !fetch.is_move => self.cursor_schema(&fetch.cursor).map(Some),
            K::Subscribe(subscribe) => self.subscribe_schema(subscribe, text).await.map(Some),
            K::Execute { name, .. } => {
                let Some(prepared) = self.prepared.get(name) else { return Ok(None) };
                let parsed = prepared.parsed.clone();
                let known: Vec<Option<PgType>> = prepared.parameters.iter().cloned().map(Some).collect();
                let bound = bind::typed_nulls(&Self::body(&parsed)?.statement, &known)?;
                Box::pin(self.describe_rows(&bound, text)).await
            }
            _ => Ok(None),
        }
    }
}

/// Ends a stream with 57014 once the deadline has passed.
fn with_deadline(
    stream: BoxStream<'static, Result<RecordBatch>>,
    deadline: Option<std::time::Instant>,
) -> BoxStream<'static, Result<RecordBatch>> {
    if deadline.is_none() {
        return stream;
    }
    futures::stream::unfold(Some(stream), move |stream| async move {
        let mut stream = stream?;
        tokio::select! {
            biased;
            batch = stream.next() => match batch? {
                Ok(batch) => Some((Ok(batch), Some(stream))),
                Err(e) => Some((Err(e), None)),
            },
            () = until(deadline) => Some((Err(timed_out()), None)),
        }
    })
    .boxed()
}
