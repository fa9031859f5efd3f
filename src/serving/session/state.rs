//! State of views: what is said of views whose state grows without end, and EXPLAIN STATE.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;

use super::Session;
use super::results::{batch_of, int8, rows, schema_of, text};
use crate::catalog::{Definition, Kind};
use crate::engine::database::Database;
use crate::engine::state::ViewStateSizes;
use crate::error::{HwError, Result, sqlstate};
use crate::plan::{StreamPlan, Unbounded};
use crate::serving::pg::api::{Notice, Outcome, RowsTag};
use crate::sql::ast::ObjectName;
use crate::types::PgType;

/// Columns of `headwater.state`.
pub(super) fn columns() -> Vec<(&'static str, PgType)> {
    vec![
        ("view", PgType::Text),
        ("node", PgType::Int8),
        ("operator", PgType::Text),
        ("keys", PgType::Text),
        ("strategy", PgType::Text),
        ("rows", PgType::Int8),
        ("bytes", PgType::Int8),
        ("bound", PgType::Text),
        ("detail", PgType::Text),
    ]
}

pub(super) fn schema() -> SchemaRef {
    schema_of(&columns())
}

/// The operators of all running views and sinks that keep state.
pub(super) fn all(database: &Database) -> Result<Vec<Vec<ScalarValue>>> {
    let catalog = database.catalog();
    let mut all = Vec::new();
    for definition in catalog.objects().filter(|d| is_maintained(d.kind)) {
        // One that has failed, or is dropped just now, holds nothing.
        if let Ok(state) = database.engine.view_state(definition.id) {
            all.extend(operators(&definition.name, &state));
        }
    }
    Ok(all)
}

fn is_maintained(kind: Kind) -> bool {
    matches!(kind, Kind::MaterializedView | Kind::Sink)
}

fn operators(view: &str, state: &ViewStateSizes) -> Vec<Vec<ScalarValue>> {
    let row = |facts: crate::plan::StateFacts| {
        let size = state.sizes[facts.node];
        vec![
            text(view),
            int8(facts.node as i64),
            text(facts.operator),
            text(facts.keys),
            text(facts.strategy),
            int8(size.entries as i64),
            int8(size.bytes as i64),
            text(facts.bound),
            text(facts.detail),
        ]
    };
    state.plan.state_facts().into_iter().map(row).collect()
}

impl Session {
    /// EXPLAIN STATE of one view or sink, or of all.
    pub(super) async fn explain_state(&mut self, name: Option<&ObjectName>) -> Result<Outcome> {
        let definition = name.map(|name| self.maintained(name)).transpose()?;
        let database = Arc::clone(&self.database);
        let asked = tokio::task::spawn_blocking(move || match definition {
            Some(d) => Ok(operators(&d.name, &database.engine.view_state(d.id)?)),
            None => all(&database),
        });
        let found = asked.await.map_err(|e| HwError::internal(e.to_string()))??;
        let schema = schema();
        let batch = batch_of(&schema, found)?;
        Ok(rows(schema, vec![batch], RowsTag::Plain("EXPLAIN".into())))
    }

    fn maintained(&self, name: &ObjectName) -> Result<Arc<Definition>> {
        let definition = self.resolve(name)?;
        if is_maintained(definition.kind) {
            return Ok(definition);
        }
        let message = format!("\"{}\" is not a materialized view or sink", definition.name);
        Err(HwError::new(sqlstate::WRONG_OBJECT_TYPE, message)
            .with_hint("Only what is maintained keeps state.")
            .at(name.position))
    }

    /// Tells of every operator whose state grows without end.
    ///
    /// Errors: 53400 for the first one, if `unbounded_state` is `refuse`.
    pub(super) fn check_state(&mut self, plan: &StreamPlan, has_ttl: bool) -> Result<()> {
        let refuse = self.settings.get("unbounded_state") == "refuse";
        for found in plan.without_bound() {
            if refuse {
                return Err(refused(&found));
            }
            let Unbounded { operator, reason, advice } = found;
            let mut notice = Notice::new(format!("the state of the {operator} is not bounded: {reason}"));
            notice.report = notice.report.with_hint(advice);
            self.notice(notice);
        }
        if has_ttl && !plan.expires() {
            let mut notice = Notice::new("option \"state_ttl\" has no effect on this view");
            let hint = "The state of each of its operators has a bound of its own, as EXPLAIN shows.";
            notice.report = notice.report.with_hint(hint);
            self.notice(notice);
        }
        Ok(())
    }
}

fn refused(found: &Unbounded) -> HwError {
    let message = format!("the state of the {} is not bounded", found.operator);
    HwError::new(sqlstate::CONFIGURATION_LIMIT_EXCEEDED, message)
        .with_detail(format!("{}.", capitalized(&found.reason)))
        .with_hint(format!("{} SET unbounded_state = 'notice' lets such views be created.", found.advice))
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|c| c.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
