//! The database: catalog and engine together, and the statements that change them.
//!
//! One DDL statement runs at a time. A definition is stored before the object is filled; if
//! that fails the definition is taken back, so after a crash an object is wholly there or
//! wholly absent. What the planner must know of a view (append-only, key, event times) is
//! kept beside its definition in memory, made anew at every start.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::Field;
use datafusion::catalog::TableProvider;
use datafusion::common::{Constraint, Constraints};
use datafusion::execution::SessionState;
use datafusion::logical_expr::Expr;
use parking_lot::RwLock;

use super::definitions::ViewOptions;
use super::facts::ViewFacts;
use super::late::LateRelation;
use super::panes::{Edge, PaneLog};
use super::planning::{Leaves, Planned, Scope, SqlContext, SystemSchemas, refuse_volatile, rename};
use super::relations::{BlackholeOutput, Progress, StoreOutput, ViewSpec};
use super::sharing::{Shareable, Sharing, emits_changes, share};
use super::status::ViewSides;
use super::{Engine, EngineLimits, definitions, late};
use crate::catalog::{Catalog, CatalogStore, Definition, Details, Kind, NewDefinition, SourceDetails};
use crate::clock::Clock;
use crate::config::Config;
use crate::dataflow::build::{RecursionLimits, Sides, build};
use crate::dataflow::host::ViewOutput;
use crate::dataflow::operators::{LateRows, RowErrors};
use crate::error::{HwError, Result, sqlstate};
use crate::plan::relation::RelationKind;
use crate::plan::{
    ExprCompiler, Extent, LowerOptions, StreamPlan, StreamRelation, check_emit, keep_window_columns, lower,
    mark_temporal,
};
use crate::sql::context::{SessionOptions, analyze, optimize_for_stream, physical_expr};
use crate::sql::emit::{BoundEmit, bind_stored};
use crate::sql::errors::to_hw_error;
use crate::sql::pane_columns::mark_pane_columns;
use crate::sql::send::{SendFuture, assert_send};
use crate::sql::windows::WindowInputs;
use crate::types::trigger::{EmitPolicy, EmitSpec};
use crate::views::{Pin, ViewScan, ViewStore};

/// A planned view, before it exists.
pub struct PlannedView {
    pub plan: StreamPlan,
    pub edge: Edge,
    pub columns: Vec<Field>,
    pub depends_on: Vec<u64>,
    /// In which its names were looked up.
    catalog: Catalog,
    /// Views whose rows it reads in place of a part of its query.
    pub shares: Vec<u64>,
    /// Its query, if its rows can stand for it in other views.
    shareable: Option<Arc<Shareable>>,
}

pub struct Database {
    pub engine: Engine,
    pub config: Config,
    catalog: RwLock<Catalog>,
    store: CatalogStore,
    ddl: tokio::sync::Mutex<()>,
    facts: RwLock<HashMap<u64, ViewFacts>>,
}

impl Database {
    /// Opens the data directory, recreates every object and replays the journal.
    pub async fn open(config: Config) -> Result<Arc<Database>> {
        let clock = Arc::new(if config.manual_clock { Clock::manual() } else { Clock::system() });
        let (store, catalog) = CatalogStore::open(&config.data_dir)?;
        let limits = EngineLimits {
            workers: config.workers,
            epoch_interval_ms: config.epoch_interval_ms,
            epoch_rows_max: config.epoch_rows_max,
            epochs_in_flight_max: config.epochs_in_flight_max,
            view_lag_max_ms: config.view_lag_max_ms,
            intake_rows_max: config.intake_rows_max,
            chunk_rows_max: config.chunk_rows_max,
            dead_letters_max: config.dead_letters_max,
            late_rows_max: config.late_rows_max,
            join_pairs_max: config.join_pairs_max,
        };
        let engine = Engine::open(&config.data_dir, clock, limits)?;
        let database = Arc::new(Database {
            engine,
            config,
            catalog: RwLock::new(catalog.clone()),
            store,
            ddl: tokio::sync::Mutex::new(()),
            facts: RwLock::new(HashMap::new()),
        });
        for definition in catalog.objects() {
            database.start_object(definition, None, None).await.map_err(|e| {
                HwError::new(
                    e.sqlstate(),
                    format!("cannot recreate {}: {}", definition.describe(), e.message()),
                )
            })?;
        }
        database.engine.recover().await?;
        Ok(database)
    }

    pub fn catalog(&self) -> Catalog {
        self.catalog.read().clone()
    }

    fn save(&self, catalog: Catalog) -> Result<()> {
        self.store.save(&catalog)?;
        *self.catalog.write() = catalog;
        Ok(())
    }

    /// A context without a session: for stored definitions.
    pub fn system_context(&self, search_path: &[String]) -> SqlContext {
        SqlContext {
            search_path: search_path.to_vec(),
            options: SessionOptions { now_micros: Some(0), ..SessionOptions::default() },
            system: Arc::new(SystemSchemas::new()),
        }
    }

    /// The same in the zone of a view: that of the session which created it.
    pub fn view_context(&self, search_path: &[String], time_zone: &str) -> SqlContext {
        let mut cx = self.system_context(search_path);
        cx.options.time_zone = time_zone.to_string();
        cx
    }

    /// Stores a definition and starts the object; takes it back if that fails.
    pub async fn create(self: &Arc<Self>, new: NewDefinition, progress: Progress) -> Result<Arc<Definition>> {
        self.create_planned(new, None, None, progress).await
    }

    /// The same, together with the relation of its late rows. A plan is not made again if no DDL
    /// came between.
    pub async fn create_planned(
        self: &Arc<Self>,
        new: NewDefinition,
        late: Option<NewDefinition>,
        planned: Option<PlannedView>,
        progress: Progress,
    ) -> Result<Arc<Definition>> {
        let guard = self.ddl.lock().await;
        let before = self.catalog();
        let planned = planned.filter(|p| p.catalog.is_same(&before));
        let (catalog, definition) = before.create(new)?;
        self.save(late::create_relation(catalog, definition.id, late)?)?;
        // Filling a view may take long; other DDL need not wait for it.
        drop(guard);
        if let Err(e) = self.start_object(&definition, planned, progress).await {
            let _guard = self.ddl.lock().await;
            let catalog = self.catalog();
            let ids = late::with_relations(&catalog, &[definition.id])?;
            self.remove_objects(&catalog, &ids).await?;
            return Err(e);
        }
        Ok(definition)
    }

    /// A definition with a number of its own that the catalog does not keep: of a view that
    /// lives as long as a subscription.
    pub async fn reserve_unnamed(&self, new: NewDefinition) -> Result<Arc<Definition>> {
        let _guard = self.ddl.lock().await;
        let (catalog, definition) = self.catalog().create(new)?;
        self.save(catalog.remove(&[definition.id]))?;
        Ok(definition)
    }

    /// Runs and fills an unnamed view; returns when it is live.
    pub async fn start_unnamed(self: &Arc<Self>, definition: &Arc<Definition>) -> Result<()> {
        self.start_object(definition, None, None).await
    }

    /// Takes an unnamed view down, without waiting.
    pub fn end_unnamed(&self, id: u64) {
        self.facts.write().remove(&id);
        self.engine.forget_object(id);
    }

    /// Drops objects; with `cascade` also what depends on them. Returns the other objects
    /// that went with them.
    pub async fn drop_objects(&self, ids: &[u64], cascade: bool) -> Result<Vec<Arc<Definition>>> {
        let _guard = self.ddl.lock().await;
        let catalog = self.catalog();
        catalog.check_droppable(ids)?;
        let ids = &late::with_relations(&catalog, ids)?;
        let order = catalog.drop_order(ids, cascade)?;
        let others = order.iter().filter(|id| !ids.contains(id)).filter_map(|id| catalog.get(*id).cloned());
        let dropped = others.filter(|d| d.late_of().is_none()).collect();
        self.remove_objects(&catalog, &order).await?;
        Ok(dropped)
    }

    /// Takes objects out of the catalog, dependents before what they read, and down, but for
    /// views whose rows others share.
    async fn remove_objects(&self, catalog: &Catalog, order: &[u64]) -> Result<()> {
        let (catalog, gone) = catalog.drop_or_hide(order);
        self.save(catalog)?;
        gone.iter().for_each(|id| drop(self.facts.write().remove(id)));
        self.engine.drop_objects(gone).await
    }

    /// Any other change of the catalog: rename, comment, schemas.
    pub async fn alter(&self, change: impl FnOnce(&Catalog) -> Result<Catalog>) -> Result<()> {
        let _guard = self.ddl.lock().await;
        let changed = change(&self.catalog())?;
        self.save(changed)
    }

    /// Makes an object run, at CREATE and at every start.
    fn start_object<'a>(
        self: &'a Arc<Self>,
        definition: &'a Arc<Definition>,
        planned: Option<PlannedView>,
        progress: Progress,
    ) -> SendFuture<'a, Result<()>> {
        // SAFETY: it holds definitions, syntax trees, plans and futures that are `Send`.
        unsafe { assert_send(self.start_object_inner(definition, planned, progress)) }
    }

    async fn start_object_inner(
        self: &Arc<Self>,
        definition: &Arc<Definition>,
        planned: Option<PlannedView>,
        progress: Progress,
    ) -> Result<()> {
        if let Some(planned) = planned {
            return self.start_view(definition, planned, progress).await;
        }
        match &definition.details {
            Details::Source(_) => {
                let scope = Scope::new(Arc::clone(self), Leaves::Streaming, self.system_context(&[]));
                let state = scope.session_state(WindowInputs::new())?;
                let catalog = self.catalog();
                let spec =
                    definitions::source_spec(definition, &catalog, &state, self.config.max_record_bytes)?;
                self.engine.create_source(spec).await
            }
            Details::Table(_) => self.engine.create_table(definitions::table_spec(definition)).await,
            Details::MaterializedView(view) => {
                let query = definitions::parse_query(&view.query)?;
                let emit = bind_stored(view.emit.as_deref())?;
                let cx = self.view_context(&view.search_path, &view.time_zone);
                let names: Vec<String> = definition.columns.iter().map(|c| c.name().clone()).collect();
                let sharing = Sharing::These(view.shares.clone());
                let options = ViewOptions::of(&view.with)?.sharing(sharing);
                let planned = self.plan_view_with(options, &cx, &query, &emit, Some(&names), None).await?;
                self.start_view(definition, planned, progress).await
            }
            Details::Sink(sink) => {
                let text = match (&sink.query, sink.from) {
                    (Some(query), _) => query.clone(),
                    (None, Some(from)) => self.select_all(from)?,
                    (None, None) => return Err(HwError::internal("a sink without input")),
                };
                let emit = bind_stored(sink.emit.as_deref())?;
                let cx = self.system_context(&sink.search_path);
                let query = definitions::parse_query(&text)?;
                let mut planned = self.plan_view(&cx, &query, &emit, None, None).await?;
                if let Some(from) = sink.from {
                    planned.edge = self.edge_of(from);
                }
                self.start_view(definition, planned, progress).await
            }
            Details::View(_)
            | Details::Index(_)
            | Details::Function(_)
            | Details::Secret(_)
            | Details::Connection(_) => Ok(()),
        }
    }

    fn select_all(&self, relation: u64) -> Result<String> {
        let catalog = self.catalog();
        let from = catalog.get(relation).ok_or_else(|| HwError::internal("the input of a sink is gone"))?;
        let quote = crate::catalog::quote_identifier;
        Ok(format!("SELECT * FROM {}.{}", quote(&from.schema), quote(&from.name)))
    }

    /// How the panes of a view appear to those who follow it.
    pub fn edge_of(&self, view: u64) -> Edge {
        self.facts.read().get(&view).map_or(Edge::Changes, |f| f.edge)
    }

    async fn start_view(
        &self,
        definition: &Definition,
        planned: PlannedView,
        progress: Progress,
    ) -> Result<()> {
        let PlannedView { plan, edge, shares, shareable, .. } = planned;
        let id = definition.id;
        let limit = self.config.late_rows_max;
        let relation_limit = self.config.late_relation_rows_max;
        let relation = plan.late.as_ref().map(|late| Arc::new(LateRelation::new(late, relation_limit)));
        let sides = Sides {
            late: Arc::new(LateRows::new(limit)),
            relation: relation.as_ref().map(|r| (Arc::clone(&r.closed), Arc::clone(&r.unassigned))),
            errors: Arc::new(RowErrors::new(limit)),
            join_pairs_max: self.config.join_pairs_max,
            recursion: RecursionLimits {
                rows_max: self.config.recursion_rows_max,
                rounds_max: self.config.recursion_rounds_max,
            },
        };
        let dataflow = Arc::new(build(id, &definition.name, &plan, &sides));
        let facts = ViewFacts::of(&plan, edge, shareable)?;
        let is_sink = definition.kind == Kind::Sink;
        let store = match is_sink {
            true => None,
            false => Some(Arc::new(self.view_store(&definition.name, &plan)?)),
        };
        let output: Arc<dyn ViewOutput> = match &store {
            Some(store) => {
                let panes = (plan.hidden > 0).then(|| Arc::new(self.pane_log(definition, &plan)));
                if let Some(panes) = &panes {
                    self.engine.shared.status.panes.write().insert(id, Arc::clone(panes));
                }
                Arc::new(StoreOutput { store: Arc::clone(store), panes })
            }
            None => {
                let output = Arc::new(BlackholeOutput::new(edge));
                self.engine.shared.status.blackholes.write().insert(id, Arc::clone(&output));
                output
            }
        };
        let relations = sides.relation.into_iter().flat_map(|(a, b)| [a, b]);
        let all_late = std::iter::once(sides.late).chain(relations).collect();
        let mut errors = vec![sides.errors];
        errors.extend(self.errors_of(&shares));
        let view_sides = ViewSides { late: all_late, errors };
        if let Some(relation) = relation {
            self.engine.shared.status.late_relations.write().insert(id, relation);
        }
        self.engine.shared.status.sides.write().insert(id, view_sides);
        self.facts.write().insert(id, facts);
        let spec = ViewSpec { id, name: definition.name.clone(), plan, dataflow, store, output };
        self.engine.create_view(spec, progress).await
    }

    /// The query of a view that others may read its rows for.
    pub(super) fn shareable(&self, id: u64) -> Option<Arc<Shareable>> {
        self.facts.read().get(&id)?.shareable.clone()
    }

    fn view_store(&self, name: &str, plan: &StreamPlan) -> Result<ViewStore> {
        let facts = &plan.root_node().facts;
        let key = facts.unique_key.clone().filter(|k| !k.is_empty());
        ViewStore::new(name, plan.schema(), key, facts.append_only, self.config.workers)
            .with_net_changes(plan.has_net_changes())
            .with_hidden(plan.hidden)
    }

    fn pane_log(&self, definition: &Definition, plan: &StreamPlan) -> PaneLog {
        let retain = match &definition.details {
            Details::MaterializedView(view) => view.with.text("retain_history"),
            _ => None,
        };
        // Read at CREATE; what is stored can be read again.
        let retain_us = retain.and_then(|text| definitions::duration_us("retain_history", text).ok());
        PaneLog::new(plan.schema(), plan.hidden, self.config.workers, self.config.panes_max, retain_us)
    }

    /// Plans the query of a view for maintenance. `names`: output names given or stored;
    /// `sql`: the statement's text, for positions in errors.
    pub fn plan_view<'a>(
        self: &'a Arc<Self>,
        cx: &'a SqlContext,
        query: &'a sqlparser::ast::Query,
        emit: &'a BoundEmit,
        names: Option<&'a [String]>,
        sql: Option<&'a str>,
    ) -> SendFuture<'a, Result<PlannedView>> {
        self.plan_view_with(ViewOptions::default(), cx, query, emit, names, sql)
    }

    /// The same with the view's options.
    pub fn plan_view_with<'a>(
        self: &'a Arc<Self>,
        options: ViewOptions,
        cx: &'a SqlContext,
        query: &'a sqlparser::ast::Query,
        emit: &'a BoundEmit,
        names: Option<&'a [String]>,
        sql: Option<&'a str>,
    ) -> SendFuture<'a, Result<PlannedView>> {
        // SAFETY: it holds the tree, plans, the session and futures that are `Send`.
        unsafe { assert_send(self.plan_view_inner(options, cx, query, emit, names, sql)) }
    }

    async fn plan_view_inner(
        self: &Arc<Self>,
        options: ViewOptions,
        cx: &SqlContext,
        query: &sqlparser::ast::Query,
        emit: &BoundEmit,
        names: Option<&[String]>,
        sql: Option<&str>,
    ) -> Result<PlannedView> {
        let catalog = self.catalog();
        let scope = Scope::new(Arc::clone(self), Leaves::Streaming, cx.clone());
        let (query, emit_spec) = self.with_panes(cx, query, emit);
        let Planned { state, plan, names: own_names } = scope.plan(&query, sql).await?;
        let mut output_names = own_names;
        if let Some(given) = names {
            if given.len() > output_names.len() {
                return Err(HwError::new(
                    sqlstate::SYNTAX_ERROR,
                    "CREATE VIEW specifies more column names than columns",
                ));
            }
            output_names[..given.len()].clone_from_slice(given);
        }
        let whole = !options.bounds_state() && emits_changes(&emit_spec, emit);
        let own = whole.then(|| plan.clone());
        let named = scope.named_objects();
        let sharing = if whole { options.sharing.clone() } else { Sharing::Nobody };
        let (plan, shares) = share(plan, &self.candidates(&sharing, &named, &cx.options.time_zone)?)?;
        let plan = crate::sql::rules::clock_units::rewrite(rename(plan, &output_names)?)?;
        let plan = mark_temporal(plan)?;
        refuse_volatile(&plan, &query, sql)?;
        let plan = if emit.late_data_to.is_some() { keep_window_columns(plan)? } else { plan };
        let plan = analyze(plan, &state)?;
        let plan = optimize_for_stream(plan, &state)?;
        let compiler = Compiler { state: &state };
        let plan = lower(
            &plan,
            &compiler,
            LowerOptions {
                emit: emit_spec.clone(),
                late_rows: emit.late_data_to.is_some(),
                state_ttl_us: options.state_ttl_us,
            },
        );
        let plan = plan.map_err(|e| emit.words.place(e))?;
        check_emit(&plan, &emit_spec, &emit.words)?;
        let edge = match plan.triggers_changes() && !emit.words.accumulation {
            true => Edge::Changes,
            false => Edge::of(&emit_spec, emit.words.accumulation),
        };
        let plan = match options.retention_us {
            Some(retention_us) => plan.retain(retention_us)?,
            None => plan,
        };
        let visible = plan.visible_schema()?;
        let columns = visible.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
        let own = own.filter(|_| plan.can_be_shared()).map(Shareable::new).transpose();
        let shareable = own.map_err(|e| to_hw_error(e, None))?.map(Arc::new);
        Ok(PlannedView { plan, edge, columns, depends_on: named, shares, shareable, catalog })
    }

    /// The query with its pane columns marked, and the clause that says whether there are any.
    fn with_panes(
        &self,
        cx: &SqlContext,
        query: &sqlparser::ast::Query,
        emit: &BoundEmit,
    ) -> (sqlparser::ast::Query, EmitSpec) {
        let catalog = self.catalog();
        let columns_of = |schema: Option<&str>, name: &str| {
            let name = crate::catalog::QualifiedName::new(schema, name);
            let found = catalog.lookup(&name, &cx.search_path)?;
            Some(found.columns.iter().map(|c| c.name().clone()).collect())
        };
        let mut query = query.clone();
        let named = mark_pane_columns(&mut query, &columns_of);
        let mut spec = emit.spec.clone();
        spec.with_pane_columns =
            named || emit.words.accumulation || !matches!(spec.policy, EmitPolicy::Changes);
        (query, spec)
    }

    /// A relation as a leaf of a view's plan.
    pub fn stream_relation(&self, definition: &Arc<Definition>) -> Result<StreamRelation> {
        let mut relation = StreamRelation {
            id: definition.id,
            name: definition.name.clone(),
            kind: RelationKind::Source,
            schema: nullable_schema(definition),
            append_only: true,
            unique_key: None,
            primary_key: key_constraint(definition),
            event_time_columns: Vec::new(),
            proctime_columns: Vec::new(),
            window_columns: None,
            final_windows: false,
            extent: Extent::Endless,
        };
        match &definition.details {
            Details::Source(details) => source_facts(definition, details, &mut relation),
            Details::Table(_) => {
                relation.kind = RelationKind::Table;
                relation.append_only = false;
                relation.extent = Extent::Tables;
                relation.unique_key =
                    (!definition.primary_key.is_empty()).then(|| definition.primary_key.clone());
            }
            _ => {
                let facts = self.facts.read().get(&definition.id).cloned();
                let facts = facts.ok_or_else(|| {
                    let m = format!("materialized view \"{}\" is not ready", definition.name);
                    HwError::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, m)
                })?;
                facts.describe(&mut relation);
            }
        }
        Ok(relation)
    }

    /// A relation as rows of a pinned epoch; of a view with its hidden columns, if asked for.
    pub fn snapshot_relation(
        self: &Arc<Self>,
        definition: &Arc<Definition>,
        pin: &Arc<Pin>,
        hidden: bool,
    ) -> Result<Arc<dyn TableProvider>> {
        if definition.kind == Kind::Source {
            let spec = self.engine.source(definition.id);
            let spec = spec.ok_or_else(|| HwError::internal("the source is not running"))?;
            return Ok(Arc::new(super::source_scan::SourceScan::new(
                Arc::clone(self),
                spec,
                Arc::clone(pin),
            )));
        }
        let store = self.engine.readable_store(definition.id, &definition.name)?;
        Ok(Arc::new(match hidden {
            true => ViewScan::with_hidden(store, Arc::clone(pin)),
            false => ViewScan::new(store, Arc::clone(pin)).with_key(key_constraint(definition)),
        }))
    }
}

/// The declared primary key.
fn key_constraint(definition: &Definition) -> Constraints {
    match definition.kind != Kind::Table || definition.primary_key.is_empty() {
        true => Constraints::default(),
        false => Constraints::new_unverified(vec![Constraint::PrimaryKey(definition.primary_key.clone())]),
    }
}

fn nullable_schema(definition: &Definition) -> arrow::datatypes::SchemaRef {
    let fields: Vec<Field> = definition.columns.iter().map(|f| f.clone().with_nullable(true)).collect();
    Arc::new(arrow::datatypes::Schema::new(fields))
}

fn source_facts(definition: &Definition, details: &SourceDetails, relation: &mut StreamRelation) {
    let position = |name: &str| definition.columns.iter().position(|c| c.name() == name);
    relation.event_time_columns.extend(details.watermark.as_ref().and_then(|w| position(&w.column)));
    for (name, text) in &details.generated {
        if definitions::is_proctime(text) {
            relation.proctime_columns.extend(position(name));
        }
    }
}

struct Compiler<'a> {
    state: &'a SessionState,
}

impl ExprCompiler for Compiler<'_> {
    fn compile(
        &self,
        expr: &Expr,
        schema: &datafusion::common::DFSchema,
    ) -> Result<Arc<dyn datafusion::physical_expr::PhysicalExpr>> {
        physical_expr(expr, schema, self.state)
    }
}
