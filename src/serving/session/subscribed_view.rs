//! A view of a session's own, for `SUBSCRIBE TO (SELECT …)`.
//!
//! A query that is more than a filter of one relation is maintained like a materialized view,
//! but by a view that has no name, is not stored in the catalog and ends with its subscription.

use std::sync::Arc;

use super::Session;
use super::query::Text;
use crate::catalog::Definition;
use crate::engine::database::Database;
use crate::error::{HwError, Result};
use crate::serving::pg::api::CancelFlag;
use crate::sql::ast::{CreateMaterializedView, ObjectName, Options, QueryText};

/// The running view of a subscription; dropped, it is taken down.
pub(super) struct SubscribedView {
    pub definition: Arc<Definition>,
    database: Arc<Database>,
}

impl Drop for SubscribedView {
    fn drop(&mut self) {
        self.database.end_unnamed(self.definition.id);
    }
}

impl Session {
    /// The definition that a materialized view of the query would have.
    pub(super) async fn plan_subscribed(
        &mut self,
        query: &QueryText,
        text: Text<'_>,
    ) -> Result<crate::catalog::NewDefinition> {
        let name = format!("subscription of session {}", self.pid);
        let create = CreateMaterializedView {
            or_replace: false,
            if_not_exists: false,
            name: ObjectName { database: None, schema: None, name, position: 1 },
            columns: Vec::new(),
            with: Options::default(),
            query: query.clone(),
            emit: None,
        };
        let (planned, mut new) = self.plan_materialized(&create, text).await?;
        new.primary_key = planned.plan.visible_key().unwrap_or_default();
        Ok(new)
    }

    /// Starts the view and waits until it is filled; a cancelled one is taken down.
    pub(super) async fn start_subscribed(
        &mut self,
        query: &QueryText,
        text: Text<'_>,
    ) -> Result<SubscribedView> {
        let new = self.plan_subscribed(query, text).await?;
        self.check_not_written(&new.depends_on, &self.database.catalog())?;
        self.outside_block_writes().await?;
        let definition = self.database.reserve_unnamed(new).await?;
        let view = SubscribedView { definition, database: Arc::clone(&self.database) };
        let (database, definition) = (Arc::clone(&self.database), Arc::clone(&view.definition));
        let mut starting = tokio::spawn(async move { database.start_unnamed(&definition).await });
        tokio::select! {
            biased;
            done = &mut starting => done.map_err(|e| HwError::internal(e.to_string()))??,
            () = self.cancel.cancelled() => return Err(CancelFlag::error()),
            () = super::dispatch::until(self.deadline) => return Err(super::dispatch::timed_out()),
        }
        Ok(view)
    }
}
