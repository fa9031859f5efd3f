//! SUBSCRIBE: the changes of a table or view as rows, by epoch.
//!
//! A [`Feed`] pulls a [`Subscription`] whenever an epoch is published, and puts the epoch,
//! its time and the weight in front of each row. `SUBSCRIBE TO (SELECT …)` that filters and
//! projects one relation is applied to every batch of its changes; any other query gets a view
//! of its own (`subscribed_view`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, TimestampMicrosecondArray, new_null_array,
};
use arrow::datatypes::{Field, Int64Type, Schema, SchemaRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::LogicalPlan;
use futures::StreamExt;
use sqlparser::ast::{Ident, Query, SelectItem, SetExpr, TableFactor};
use tokio::sync::watch;

use super::Session;
use super::dml::at_hand;
use super::evaluate::{RowsAtHand, query_of};
use super::options::{check_known, flag};
use super::query::Text;
use super::results::{batch, counted};
use super::subscribed_view::SubscribedView;
use crate::catalog::{Definition, Kind};
use crate::engine::Published;
use crate::engine::database::Database;
use crate::engine::panes::Edge;
use crate::engine::planning::{Leaves, Scope, SqlContext};
use crate::error::{HwError, Result, sqlstate};
use crate::serving::pg::api::Outcome;
use crate::sql::ast::{Subscribe, SubscribeTarget};
use crate::sql::context::plan_query;
use crate::sql::errors::to_hw_error;
use crate::sql::parser::{fold_identifier, relation_name};
use crate::types::change_batch::consolidate;
use crate::types::{ChangeBatch, Epoch, PgType, Weights};
use crate::views::Subscription;

const WEIGHT: &str = "$weight";

/// A filter and projection of the rows.
struct Projection {
    query: Query,
    cx: SqlContext,
}

/// What a subscription reads.
struct Followed {
    definition: Arc<Definition>,
    projection: Option<(Projection, SchemaRef)>,
}

/// A subscription as rows.
pub(super) struct Feed {
    database: Arc<Database>,
    subscription: Subscription,
    published: watch::Receiver<Published>,
    projection: Option<Projection>,
    edge: Edge,
    /// Ends with the subscription.
    _view: Option<SubscribedView>,
    schema: SchemaRef,
    progress: bool,
    /// Rows of this epoch and before are complete for the client.
    told: Option<Epoch>,
    waiting: VecDeque<RecordBatch>,
}

impl Session {
    pub(super) async fn subscribe_statement(
        &mut self,
        subscribe: &Subscribe,
        text: Text<'_>,
    ) -> Result<Outcome> {
        let feed = self.feed(subscribe, text).await?;
        let schema = feed.schema();
        let stream = futures::stream::unfold(Some(feed), |feed| async move {
            let mut feed = feed?;
            match feed.next().await {
                Ok(batch) => Some((Ok(batch), Some(feed))),
                Err(e) => Some((Err(e), None)),
            }
        });
        Ok(Outcome::Rows { schema, stream: stream.boxed(), tag: counted("SUBSCRIBE") })
    }

    pub(super) async fn subscribe_schema(
        &mut self,
        subscribe: &Subscribe,
        submitted: &Arc<str>,
    ) -> Result<SchemaRef> {
        let text = Text { submitted };
        if let SubscribeTarget::Query(query) = &subscribe.to
            && self.followed(subscribe, text).await?.is_none()
        {
            let new = self.plan_subscribed(query, text).await?;
            let fields: Vec<Field> = new.columns.iter().map(|c| c.as_ref().clone()).collect();
            return Ok(with_epoch_columns(&Arc::new(Schema::new(fields))));
        }
        Ok(self.feed(subscribe, text).await?.schema())
    }

    /// Opens a subscription.
    pub(super) async fn feed(&mut self, subscribe: &Subscribe, text: Text<'_>) -> Result<Feed> {
        check_known(&subscribe.with, &["snapshot", "progress"], "SUBSCRIBE")?;
        let snapshot = flag(&subscribe.with, "snapshot", true)?;
        let progress = flag(&subscribe.with, "progress", false)?;
        if subscribe.as_of.is_some() || subscribe.up_to.is_some() {
            let hint = "A subscription starts at the present epoch and goes on until it is closed.";
            return Err(HwError::unsupported("SUBSCRIBE … AS OF or UP TO", hint));
        }
        let (view, followed) = match (self.followed(subscribe, text).await?, &subscribe.to) {
            (Some(followed), _) => (None, followed),
            (None, SubscribeTarget::Query(query)) => {
                let view = self.start_subscribed(query, text).await?;
                let definition = Arc::clone(&view.definition);
                (Some(view), Followed { definition, projection: None })
            }
            (None, SubscribeTarget::Object(_)) => return Err(HwError::internal("no relation to follow")),
        };
        let definition = followed.definition;
        self.check_not_written(&[definition.id], &self.database.catalog())?;
        let pin = self.pin().await?;
        let pin = match &view {
            // Filled as of the latest epoch, which may be later than the one of a transaction.
            Some(_) => self.database.engine.pin(),
            None => self.database.engine.shared.pins.pin(pin.epoch())?,
        };
        let store = self.database.engine.readable_store(definition.id, &definition.name)?;
        let (projection, columns) = match followed.projection {
            None => (None, store.schema()),
            Some((projection, columns)) => (Some(projection), columns),
        };
        Ok(Feed {
            _view: view,
            database: Arc::clone(&self.database),
            subscription: Subscription::new(store, pin, snapshot),
            published: self.database.engine.shared.published.subscribe(),
            projection,
            edge: self.database.edge_of(definition.id),
            schema: with_epoch_columns(&columns),
            progress,
            told: None,
            waiting: VecDeque::new(),
        })
    }

    /// The relation whose changes are the subscribed ones, but for a filter and a projection.
    /// `None` for a query that is more than that.
    async fn followed(&self, subscribe: &Subscribe, text: Text<'_>) -> Result<Option<Followed>> {
        let query = match &subscribe.to {
            SubscribeTarget::Object(name) => {
                let definition = self.resolve(name)?;
                if !is_stored(&definition) {
                    let what = format!("SUBSCRIBE TO {} \"{}\"", definition.kind.noun(), definition.name);
                    let hint =
                        "Subscribe to a table, a materialized view, or a query: SUBSCRIBE TO (SELECT …).";
                    return Err(HwError::unsupported(what, hint));
                }
                return Ok(Some(Followed { definition, projection: None }));
            }
            SubscribeTarget::Query(query) => query,
        };
        let Some((definition, query)) = self.filtered_relation(&query.query)? else { return Ok(None) };
        let Some(query) = query else { return Ok(Some(Followed { definition, projection: None })) };
        let store = self.database.engine.readable_store(definition.id, &definition.name)?;
        let projection = Projection { query, cx: self.context() };
        let columns = self.check_projection(&projection, &store.stored_schema(), text).await?;
        Ok(columns.map(|columns| Followed { definition, projection: Some((projection, columns)) }))
    }

    /// The one relation of a subscribed query, and the query over changes at hand; `None` if
    /// its form is another.
    fn filtered_relation(&self, query: &Query) -> Result<Option<(Arc<Definition>, Option<Query>)>> {
        let mut query = query.clone();
        // `SUBSCRIBE TO (SELECT …)`: the parentheses are a query of their own.
        while let SetExpr::Query(inner) = query.body.as_mut() {
            query = (**inner).clone();
        }
        let plain = query.with.is_none()
            && query.order_by.is_none()
            && query.limit_clause.is_none()
            && query.fetch.is_none();
        let SetExpr::Select(select) = query.body.as_mut() else { return Ok(None) };
        let [from] = select.from.as_mut_slice() else { return Ok(None) };
        let TableFactor::Table { name, alias, args: None, .. } = &mut from.relation else {
            return Ok(None);
        };
        if !plain || !from.joins.is_empty() {
            return Ok(None);
        }
        let Some(relation) = relation_name(name) else { return Ok(None) };
        let definition = self.resolve(&relation)?;
        if !is_stored(&definition) {
            return Ok(None);
        }
        let shown = alias.as_ref().map_or_else(|| relation.name.clone(), |a| fold_identifier(&a.name));
        let skeleton =
            format!("SELECT 1 FROM {} AS {}", at_hand("t"), crate::catalog::quote_identifier(&shown));
        if let SetExpr::Select(replaced) = *query_of(&skeleton)?.body {
            select.from = replaced.from;
        }
        if matches!(select.projection.as_slice(), [SelectItem::Wildcard(_)]) && select.selection.is_none() {
            return Ok(Some((definition, None)));
        }
        // Wildcards would show the weight; their columns are written out.
        let mut items = Vec::new();
        for item in std::mem::take(&mut select.projection) {
            match item {
                SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => {
                    items.extend(definition.columns.iter().map(|c| {
                        let name = Ident::with_quote('"', c.name());
                        SelectItem::UnnamedExpr(sqlparser::ast::Expr::Identifier(name))
                    }));
                }
                other => items.push(other),
            }
        }
        let weight = sqlparser::ast::Expr::Identifier(Ident::with_quote('"', WEIGHT));
        items.push(SelectItem::UnnamedExpr(weight));
        select.projection = items;
        Ok(Some((definition, Some(query))))
    }

    /// The columns of a query that keeps or drops rows one by one; `None` for any other.
    async fn check_projection(
        &self,
        projection: &Projection,
        schema: &SchemaRef,
        text: Text<'_>,
    ) -> Result<Option<SchemaRef>> {
        let pin = Arc::new(self.database.engine.pin());
        let rows = RowsAtHand::default().with("t", with_weight(schema), Vec::new())?;
        let mut cx = projection.cx.clone();
        let mut system = (*cx.system).clone();
        system.insert(super::evaluate::ROWS_SCHEMA.to_string(), Arc::new(rows));
        cx.system = Arc::new(system);
        let ready = self.plan_in(&projection.query, text.submitted, pin, cx).await;
        let ready = match ready {
            // The weight beside an aggregate is what makes it ungrouped.
            Err(e) if e.sqlstate() == sqlstate::GROUPING_ERROR => return Ok(None),
            other => other?,
        };
        let mut simple = true;
        ready.plan.apply_with_subqueries(|node| {
            simple &= matches!(
                node,
                LogicalPlan::Projection(_)
                    | LogicalPlan::Filter(_)
                    | LogicalPlan::TableScan(_)
                    | LogicalPlan::SubqueryAlias(_)
            );
            let subquery = |e: &datafusion::logical_expr::Expr| {
                use datafusion::logical_expr::Expr as E;
                e.exists(|e| Ok(matches!(e, E::Exists(_) | E::InSubquery(_) | E::ScalarSubquery(_))))
                    .unwrap_or(true)
            };
            simple &= !node.expressions().iter().any(subquery);
            Ok(TreeNodeRecursion::Continue)
        })?;
        if !simple {
            return Ok(None);
        }
        let (_, columns) = ready.optimize()?;
        let kept = columns.fields().len() - 1;
        Ok(Some(Arc::new(columns.project(&(0..kept).collect::<Vec<_>>())?)))
    }
}

/// Whether the relation's changes can be read back.
fn is_stored(definition: &Definition) -> bool {
    matches!(definition.kind, Kind::Table | Kind::MaterializedView)
}

fn with_weight(schema: &SchemaRef) -> SchemaRef {
    let mut fields: Vec<Field> = schema.fields().iter().map(|f| f.as_ref().clone()).collect();
    fields.push(Field::new(WEIGHT, arrow::datatypes::DataType::Int64, false));
    Arc::new(Schema::new(fields))
}

fn with_epoch_columns(columns: &SchemaRef) -> SchemaRef {
    let mut fields = vec![
        PgType::Int8.field("hw_epoch", true),
        PgType::Timestamptz.field("hw_time", true),
        PgType::Int8.field("hw_diff", true),
        PgType::Bool.field("hw_progressed", true),
    ];
    fields.extend(columns.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)));
    Arc::new(Schema::new(fields))
}

impl Feed {
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The next rows; waits for them.
    async fn next(&mut self) -> Result<RecordBatch> {
        loop {
            if let Some(batch) = self.waiting.pop_front() {
                return Ok(batch);
            }
            self.pull().await?;
            if self.waiting.is_empty() {
                self.wait().await?;
            }
        }
    }

    /// What is there, at most `limit` rows; waits at most `timeout` for a first one.
    pub async fn fetch(&mut self, limit: usize, timeout: Option<Duration>) -> Result<Vec<RecordBatch>> {
        self.pull_all().await?;
        if self.waiting.is_empty()
            && let Some(timeout) = timeout
        {
            let first = async {
                while self.waiting.is_empty() {
                    self.wait().await?;
                    self.pull_all().await?;
                }
                Ok::<(), HwError>(())
            };
            if let Ok(done) = tokio::time::timeout(timeout, first).await {
                done?;
            }
        }
        let mut out = Vec::new();
        let mut left = limit;
        while left > 0 {
            let Some(batch) = self.waiting.pop_front() else { break };
            let n = batch.num_rows().min(left);
            if n < batch.num_rows() {
                self.waiting.push_front(batch.slice(n, batch.num_rows() - n));
            }
            left -= n;
            out.push(batch.slice(0, n));
        }
        Ok(out)
    }

    async fn wait(&mut self) -> Result<()> {
        let shut_down = |_| HwError::new(sqlstate::ADMIN_SHUTDOWN, "the server is shutting down");
        let subscription = &self.subscription;
        self.published.wait_for(|p| !subscription.is_at(p.epoch)).await.map(drop).map_err(shut_down)
    }

    async fn pull_all(&mut self) -> Result<()> {
        loop {
            self.pull().await?;
            if self.subscription.is_at(self.published.borrow().epoch) {
                return Ok(());
            }
        }
    }

    /// Takes what has been published into `waiting`.
    async fn pull(&mut self) -> Result<()> {
        let published = self.published.borrow_and_update().epoch;
        let first = self.told.is_none();
        let changes = self.subscription.poll(published)?;
        let bytes: usize = changes.iter().map(|(_, c)| c.rows.get_array_memory_size()).sum();
        if !first && bytes > self.database.config.subscribe_buffer_bytes_max {
            let text = "the subscriber is too slow: its unread changes exceed the limit";
            return Err(HwError::new(sqlstate::CONFIGURATION_LIMIT_EXCEEDED, text)
                .with_hint("Read faster, subscribe to fewer rows, or raise subscribe_buffer_bytes_max."));
        }
        for (epoch, changes) in changes {
            let mut changes = self.project(self.edge.apply(changes)?).await?;
            if matches!(self.edge, Edge::Changes) {
                // One row for all equal rows of an epoch; a key that changed its worker, or a
                // projection, may leave changes that cancel out.
                let weights = changes.weights_vec();
                changes = consolidate(&changes.schema(), &[ChangeBatch::new(changes.rows, weights)])?;
            }
            if !changes.is_empty() {
                let rows = self.rows(epoch, &changes)?;
                self.waiting.push_back(rows);
            }
        }
        let at = self.subscription.epoch();
        if self.told != Some(at) {
            self.told = Some(at);
            if self.progress {
                let rows = self.progress_row(at)?;
                self.waiting.push_back(rows);
            }
        }
        Ok(())
    }

    async fn project(&self, changes: ChangeBatch) -> Result<ChangeBatch> {
        let Some(projection) = &self.projection else { return Ok(changes) };
        let schema = with_weight(&changes.schema());
        let mut columns = changes.rows.columns().to_vec();
        columns.push(Arc::new(Int64Array::from(changes.weights_vec())));
        let rows = RecordBatch::try_new(Arc::clone(&schema), columns)?;
        let mut cx = projection.cx.clone();
        let mut system = (*cx.system).clone();
        let at_hand = RowsAtHand::default().with("t", schema, vec![rows])?;
        system.insert(super::evaluate::ROWS_SCHEMA.to_string(), Arc::new(at_hand));
        cx.system = Arc::new(system);
        let pin = Arc::new(self.database.engine.pin());
        let scope = Scope::new(Arc::clone(&self.database), Leaves::Snapshot(pin), cx);
        let state = scope.session_state(scope.window_inputs(&projection.query).await)?;
        let (plan, _) = plan_query(&state, &projection.query, None).await?;
        let physical = state.create_physical_plan(&plan).await?;
        let batches = datafusion::physical_plan::collect(Arc::clone(&physical), state.task_ctx()).await;
        let batches = batches.map_err(|e| to_hw_error(e, None))?;
        let all = arrow::compute::concat_batches(&physical.schema(), &batches)?;
        let kept = all.num_columns() - 1;
        let weights = all.column(kept).as_primitive::<Int64Type>().values().to_vec();
        Ok(ChangeBatch::new(all.project(&(0..kept).collect::<Vec<_>>())?, weights))
    }

    /// Processing time of an epoch, as long as it is remembered.
    fn time_of(&self, epoch: Epoch) -> i64 {
        let shared = &self.database.engine.shared;
        let epochs = shared.status.epochs.read();
        let found = epochs.iter().rev().find(|e| e.epoch == epoch.0).map(|e| e.now);
        found.unwrap_or_else(|| shared.clock.now().0)
    }

    fn rows(&self, epoch: Epoch, changes: &ChangeBatch) -> Result<RecordBatch> {
        let n = changes.len();
        let weights: ArrayRef = match &changes.weights {
            Weights::One => Arc::new(Int64Array::from_value(1, n)),
            Weights::Each(weights) => Arc::new(weights.clone()),
        };
        let mut columns = self.epoch_columns(epoch, n, weights, false);
        for (column, field) in changes.rows.columns().iter().zip(&self.schema.fields()[4..]) {
            columns.push(match column.data_type() == field.data_type() {
                true => Arc::clone(column),
                false => arrow::compute::cast(column, field.data_type())?,
            });
        }
        batch(&self.schema, columns, n)
    }

    fn progress_row(&self, epoch: Epoch) -> Result<RecordBatch> {
        let weight: ArrayRef = new_null_array(&arrow::datatypes::DataType::Int64, 1);
        let mut columns = self.epoch_columns(epoch, 1, weight, true);
        columns.extend(self.schema.fields()[4..].iter().map(|f| new_null_array(f.data_type(), 1)));
        batch(&self.schema, columns, 1)
    }

    fn epoch_columns(&self, epoch: Epoch, n: usize, weights: ArrayRef, progressed: bool) -> Vec<ArrayRef> {
        let time = TimestampMicrosecondArray::from_value(self.time_of(epoch), n);
        vec![
            Arc::new(Int64Array::from_value(epoch.0 as i64, n)),
            Arc::new(time.with_timezone(crate::types::pg_type::UTC)),
            weights,
            Arc::new(BooleanArray::from(vec![progressed; n])),
        ]
    }
}
