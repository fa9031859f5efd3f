//! EXPLAIN: physical plans of queries, streaming plans of materialized views.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::physical_plan::display::DisplayableExecutionPlan;

use super::Session;
use super::query::Text;
use super::results::{batch_of, rows, schema_of, text};
use crate::catalog::{Definition, Details, Kind};
use crate::engine::definitions::{ViewOptions, parse_query};
use crate::engine::sharing::Sharing;
use crate::error::{HwError, Result, sqlstate};
use crate::plan::{StreamOp, StreamPlan};
use crate::serving::pg::api::{Outcome, RowsTag};
use crate::sql::StatementKind;
use crate::sql::ast::{Explain, ExplainTarget, ObjectName, Query};
use crate::sql::emit::bind_stored;
use crate::sql::errors::to_hw_error;
use crate::types::PgType;

pub(super) fn schema(what: &ExplainTarget) -> SchemaRef {
    match what {
        ExplainTarget::State(_) => super::state::schema(),
        _ => schema_of(&[("QUERY PLAN", PgType::Text)]),
    }
}

impl Session {
    pub(super) async fn explain(&mut self, explain: &Explain, submitted: &Arc<str>) -> Result<Outcome> {
        let lines = match &explain.what {
            ExplainTarget::Statement(statement) => {
                let text = Text { submitted };
                match &statement.kind {
                    StatementKind::Query(query) => self.explain_query(query, text, explain.analyze).await?,
                    StatementKind::CreateMaterializedView(create) if !explain.analyze => {
                        let (planned, _) = self.plan_materialized(create, text).await?;
                        planned.plan.explain()
                    }
                    _ => {
                        let what = if explain.analyze {
                            "EXPLAIN ANALYZE of this statement"
                        } else {
                            "EXPLAIN of this statement"
                        };
                        return Err(HwError::unsupported(
                            what,
                            "Queries and CREATE MATERIALIZED VIEW can be explained.",
                        ));
                    }
                }
            }
            ExplainTarget::MaterializedView(name) if !explain.analyze => {
                let definition = self.maintained_view(name)?;
                self.planned_view(&definition).await?.explain()
            }
            ExplainTarget::MaterializedView(name) => {
                let definition = self.maintained_view(name)?;
                self.analyze_view(definition.id).await?
            }
            ExplainTarget::Sink(_) => {
                return Err(HwError::unsupported(
                    "EXPLAIN SINK",
                    "Explain the materialized view that it reads.",
                ));
            }
            ExplainTarget::Watermark(name) => {
                let definition = self.resolve(name)?;
                super::watermarks::explain(&self.database, &definition, self.settings.zone())?
            }
            ExplainTarget::State(name) => return self.explain_state(name.as_ref()).await,
        };
        let schema = schema(&explain.what);
        let batch = batch_of(&schema, lines.into_iter().map(|line| vec![text(line)]).collect())?;
        Ok(rows(schema, vec![batch], RowsTag::Plain("EXPLAIN".into())))
    }

    fn maintained_view(&self, name: &ObjectName) -> Result<Arc<Definition>> {
        self.resolve_kind(Kind::MaterializedView, name).map_err(|e| match e.sqlstate() {
            sqlstate::WRONG_OBJECT_TYPE => e.with_hint("Only a materialized view has a plan that is kept."),
            _ => e,
        })
    }

    /// The plan that runs, with what each of its operators has done and holds.
    async fn analyze_view(&mut self, view: u64) -> Result<Vec<String>> {
        let database = Arc::clone(&self.database);
        let asked = tokio::task::spawn_blocking(move || database.engine.view_state(view));
        let state = asked.await.map_err(|e| HwError::internal(e.to_string()))??;
        let note = |node: usize| {
            let (size, work) = (state.sizes[node], state.work[node]);
            let holds = match size.entries {
                0 => String::new(),
                entries => format!(", holds {entries} in {} bytes", size.bytes),
            };
            let is_input = matches!(state.plan.nodes[node].op, StreamOp::Input { .. });
            let time_ms = work.time.as_secs_f64() * 1e3;
            (!is_input).then(|| format!("rows={} time={time_ms:.3} ms{holds}", work.rows))
        };
        Ok(state.plan.explain_with(&note))
    }

    async fn explain_query(&mut self, query: &Query, text: Text<'_>, analyze: bool) -> Result<Vec<String>> {
        let ready = self.plan(query, text.submitted).await?;
        let (plan, _) = ready.optimize()?;
        let planner = Arc::clone(ready.state.query_planner());
        let physical = planner.create_physical_plan(&plan, &ready.state).await;
        let physical = physical.map_err(|e| to_hw_error(e, Some(text.submitted)))?;
        if analyze {
            let task = ready.state.task_ctx();
            let run = datafusion::physical_plan::collect(Arc::clone(&physical), task);
            let run = async { run.await.map_err(|e| to_hw_error(e, Some(text.submitted))) };
            self.limited(run).await?;
            let plan = DisplayableExecutionPlan::with_metrics(physical.as_ref());
            return Ok(lines(plan.indent(false)));
        }
        let plan = DisplayableExecutionPlan::new(physical.as_ref());
        Ok(lines(plan.indent(false)))
    }

    /// Plans the stored query again, which gives the plan that runs.
    async fn planned_view(&mut self, definition: &Definition) -> Result<StreamPlan> {
        let Details::MaterializedView(view) = &definition.details else {
            return Err(HwError::internal("a materialized view without a query"));
        };
        let emit = bind_stored(view.emit.as_deref())?;
        let names: Vec<String> = definition.columns.iter().map(|c| c.name().clone()).collect();
        let cx = self.database.system_context(&view.search_path);
        let query = parse_query(&view.query)?;
        let options = ViewOptions::of(&view.with)?.sharing(Sharing::These(view.shares.clone()));
        let planned = self.database.plan_view_with(options, &cx, &query, &emit, Some(&names), None);
        Ok(self.limited(planned).await?.plan)
    }
}

fn lines(plan: impl std::fmt::Display) -> Vec<String> {
    plan.to_string().lines().map(str::to_string).collect()
}
