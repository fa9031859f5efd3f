//! The database: catalog and engine together, and the statements that change them.
//!
//! One DDL statement runs at a time. A definition is stored before the object is filled; if
//! that fails the definition is taken back, so after a crash an object is wholly there or
//! wholly absent. What the planner must know of a view (append-only, key, event times) is
//! kept beside its definition in memory, made anew at every start.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{Field, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::execution::SessionState;
use datafusion::logical_expr::Expr;
use parking_lot::RwLock;

use super::planning::{Leaves, Planned, Scope, SqlContext, SystemSchemas, rename};
use super::relations::{BlackholeOutput, Progress, StoreOutput, ViewSpec};
use super::status::ViewSides;
use super::{Engine, EngineLimits, definitions};
use crate::catalog::{Catalog, CatalogStore, Definition, Details, Kind, NewDefinition, SourceDetails};
use crate::clock::Clock;
use crate::config::Config;
use crate::dataflow::build::{Sides, build};
use crate::dataflow::host::ViewOutput;
use crate::dataflow::operators::{LateRows, RowErrors};
use crate::error::{HwError, Result, sqlstate};
use crate::plan::relation::RelationKind;
use crate::plan::{ColumnFact, ExprCompiler, LowerOptions, StreamPlan, StreamRelation, WindowTime, lower};
use crate::sql::ast::{EmitClause, EmitPolicy};
use crate::sql::context::{SessionOptions, analyze, find_volatile, optimize_for_stream, physical_expr};
use crate::sql::send::{SendFuture, assert_send};
use crate::sql::windows::WindowInputs;
use crate::types::trigger::EmitSpec;
use crate::views::{Pin, ViewScan, ViewStore};

/// What the planner knows of a materialized view.
#[derive(Clone, Debug)]
struct ViewFacts {
    /// As the plan makes it: the catalog's types do not tell the scale of a plain numeric.
    schema: SchemaRef,
    append_only: bool,
    unique_key: Option<Vec<usize>>,
    event_time_columns: Vec<usize>,
    window_columns: Option<(Option<usize>, Option<usize>, i64)>,
}

/// A planned view, before it exists.
pub struct PlannedView {
    pub plan: StreamPlan,
    pub columns: Vec<Field>,
    pub depends_on: Vec<u64>,
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
            intake_rows_max: config.intake_rows_max,
            chunk_rows_max: config.chunk_rows_max,
            dead_letters_max: config.dead_letters_max,
            late_rows_max: config.late_rows_max,
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
            database.start_object(definition, None).await.map_err(|e| {
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

    /// Stores a definition and starts the object; takes it back if that fails.
    pub async fn create(self: &Arc<Self>, new: NewDefinition, progress: Progress) -> Result<Arc<Definition>> {
        let guard = self.ddl.lock().await;
        let (catalog, definition) = self.catalog().create(new)?;
        self.save(catalog)?;
        // Filling a view may take long; other DDL need not wait for it.
        drop(guard);
        if let Err(e) = self.start_object(&definition, progress).await {
            let _guard = self.ddl.lock().await;
            let _ = self.engine.drop_objects(vec![definition.id]).await;
            self.facts.write().remove(&definition.id);
            self.save(self.catalog().remove(&[definition.id]))?;
            return Err(e);
        }
        Ok(definition)
    }

    /// Drops objects; with `cascade` also what depends on them. Returns the other objects
    /// that went with them.
    pub async fn drop_objects(&self, ids: &[u64], cascade: bool) -> Result<Vec<Arc<Definition>>> {
        let _guard = self.ddl.lock().await;
        let catalog = self.catalog();
        let order = catalog.drop_order(ids, cascade)?;
        let dropped =
            order.iter().filter(|id| !ids.contains(id)).filter_map(|id| catalog.get(*id).cloned()).collect();
        self.save(catalog.remove(&order))?;
        order.iter().for_each(|id| drop(self.facts.write().remove(id)));
        self.engine.drop_objects(order).await?;
        Ok(dropped)
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
        progress: Progress,
    ) -> SendFuture<'a, Result<()>> {
        // SAFETY: it holds definitions, syntax trees, plans and futures that are `Send`.
        unsafe { assert_send(self.start_object_inner(definition, progress)) }
    }

    async fn start_object_inner(
        self: &Arc<Self>,
        definition: &Arc<Definition>,
        progress: Progress,
    ) -> Result<()> {
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
                let emit = parse_emit(view.emit.as_deref())?;
                let cx = self.system_context(&view.search_path);
                let names: Vec<String> = definition.columns.iter().map(|c| c.name().clone()).collect();
                let planned = self.plan_view(&cx, &query, emit, Some(&names), None).await?;
                self.start_view(definition, planned.plan, progress).await
            }
            Details::Sink(sink) => {
                let text = match (&sink.query, sink.from) {
                    (Some(query), _) => query.clone(),
                    (None, Some(from)) => self.select_all(from)?,
                    (None, None) => return Err(HwError::internal("a sink without input")),
                };
                let emit = parse_emit(sink.emit.as_deref())?;
                let cx = self.system_context(&sink.search_path);
                let planned =
                    self.plan_view(&cx, &definitions::parse_query(&text)?, emit, None, None).await?;
                self.start_view(definition, planned.plan, progress).await
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

    async fn start_view(&self, definition: &Definition, plan: StreamPlan, progress: Progress) -> Result<()> {
        let id = definition.id;
        let limit = self.config.late_rows_max;
        let sides = Sides { late: Arc::new(LateRows::new(limit)), errors: Arc::new(RowErrors::new(limit)) };
        let dataflow = Arc::new(build(id, &definition.name, &plan, &sides));
        let facts = view_facts(&plan);
        let is_sink = definition.kind == Kind::Sink;
        let store = (!is_sink).then(|| {
            let workers = self.config.workers;
            let key = facts.unique_key.clone().filter(|k| !k.is_empty());
            Arc::new(ViewStore::new(definition.name.clone(), plan.schema(), key, facts.append_only, workers))
        });
        let output: Arc<dyn ViewOutput> = match &store {
            Some(store) => Arc::new(StoreOutput { store: Arc::clone(store) }),
            None => {
                let output = Arc::new(BlackholeOutput::default());
                self.engine.shared.status.blackholes.write().insert(id, Arc::clone(&output));
                output
            }
        };
        let view_sides = ViewSides { late: vec![sides.late], errors: vec![sides.errors] };
        self.engine.shared.status.sides.write().insert(id, view_sides);
        self.facts.write().insert(id, facts);
        let spec = ViewSpec { id, name: definition.name.clone(), plan, dataflow, store, output };
        self.engine.create_view(spec, progress).await
    }

    /// Plans the query of a view for maintenance. `names`: output names given or stored;
    /// `sql`: the statement's text, for positions in errors.
    pub fn plan_view<'a>(
        self: &'a Arc<Self>,
        cx: &'a SqlContext,
        query: &'a sqlparser::ast::Query,
        emit: EmitSpec,
        names: Option<&'a [String]>,
        sql: Option<&'a str>,
    ) -> SendFuture<'a, Result<PlannedView>> {
        // SAFETY: it holds the tree, plans, the session and futures that are `Send`.
        unsafe { assert_send(self.plan_view_inner(cx, query, emit, names, sql)) }
    }

    async fn plan_view_inner(
        self: &Arc<Self>,
        cx: &SqlContext,
        query: &sqlparser::ast::Query,
        emit: EmitSpec,
        names: Option<&[String]>,
        sql: Option<&str>,
    ) -> Result<PlannedView> {
        let scope = Scope::new(Arc::clone(self), Leaves::Streaming, cx.clone());
        let Planned { state, plan, names: own_names } = scope.plan(query, sql).await?;
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
        let plan = rename(plan, &output_names)?;
        refuse_volatile(&plan)?;
        let plan = analyze(plan, &state)?;
        let plan = optimize_for_stream(plan, &state)?;
        let compiler = Compiler { state: &state };
        let plan = lower(&plan, &compiler, LowerOptions { emit })?;
        let columns = plan.schema().fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
        Ok(PlannedView { plan, columns, depends_on: scope.named_objects() })
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
            event_time_columns: Vec::new(),
            proctime_columns: Vec::new(),
            window_columns: None,
        };
        match &definition.details {
            Details::Source(details) => source_facts(definition, details, &mut relation),
            Details::Table(_) => {
                relation.kind = RelationKind::Table;
                relation.append_only = false;
                relation.unique_key =
                    (!definition.primary_key.is_empty()).then(|| definition.primary_key.clone());
            }
            _ => {
                let facts = self.facts.read().get(&definition.id).cloned();
                let facts = facts.ok_or_else(|| {
                    let m = format!("materialized view \"{}\" is not ready", definition.name);
                    HwError::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, m)
                })?;
                relation.kind = RelationKind::View;
                relation.schema = facts.schema;
                relation.append_only = facts.append_only;
                relation.unique_key = facts.unique_key;
                relation.event_time_columns = facts.event_time_columns;
                relation.window_columns = facts.window_columns;
            }
        }
        Ok(relation)
    }

    /// A relation as rows of a pinned epoch.
    pub fn snapshot_relation(
        self: &Arc<Self>,
        definition: &Arc<Definition>,
        pin: &Arc<Pin>,
    ) -> Result<Arc<dyn TableProvider>> {
        if definition.kind == Kind::Source {
            let spec = self.engine.source(definition.id);
            let spec = spec.ok_or_else(|| HwError::internal("the source is not running"))?;
            return Ok(Arc::new(super::source_scan::SourceScan::new(Arc::clone(self), spec)));
        }
        let store = self.engine.readable_store(definition.id, &definition.name)?;
        Ok(Arc::new(ViewScan::new(store, Arc::clone(pin))))
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

fn view_facts(plan: &StreamPlan) -> ViewFacts {
    let facts = &plan.root_node().facts;
    let event_time_columns = (0..facts.columns.len())
        .filter(|c| matches!(facts.columns[*c], ColumnFact::EventTime { .. }))
        .collect();
    let start = facts.columns.iter().enumerate().find_map(|(i, c)| match c {
        ColumnFact::WindowStart { time: WindowTime::Event { .. }, size_us } => Some((i, *size_us)),
        _ => None,
    });
    let end = facts
        .columns
        .iter()
        .position(|c| matches!(c, ColumnFact::WindowEnd { time: WindowTime::Event { .. } }));
    let window_columns = match (start, end) {
        (None, None) => None,
        (start, end) => Some((start.map(|s| s.0), end, start.map_or(0, |s| s.1))),
    };
    let fields: Vec<Field> =
        plan.schema().fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
    ViewFacts {
        schema: Arc::new(arrow::datatypes::Schema::new(fields)),
        append_only: facts.append_only,
        unique_key: facts.unique_key.clone(),
        event_time_columns,
        window_columns,
    }
}

/// What the EMIT clause asks for; what is not there yet is refused by name.
pub fn emit_mode(emit: Option<&EmitClause>) -> Result<EmitSpec> {
    let Some(clause) = emit else { return Ok(EmitSpec::changes()) };
    let refused = |what: &str| {
        Err(HwError::unsupported(what, "Use EMIT CHANGES or EMIT ON WINDOW CLOSE.").at(clause.position))
    };
    if clause.allowed_lateness.is_some() {
        return refused("ALLOWED LATENESS");
    }
    if clause.closing.is_some() {
        return refused("CLOSING");
    }
    if clause.accumulation.is_some() {
        return refused("an accumulation mode");
    }
    if clause.late_data_to.is_some() {
        return refused("LATE DATA TO");
    }
    match &clause.policy {
        None | Some(EmitPolicy::Changes) => Ok(EmitSpec::changes()),
        Some(EmitPolicy::Final) => Ok(EmitSpec::final_pane()),
        Some(EmitPolicy::When(_)) => refused("EMIT WHEN"),
        Some(EmitPolicy::Phases { .. }) => refused("EMIT EARLY, ON TIME or LATE"),
    }
}

/// Reads a stored EMIT clause.
fn parse_emit(text: Option<&str>) -> Result<EmitSpec> {
    let Some(text) = text else { return Ok(EmitSpec::changes()) };
    let statements = crate::sql::parse_sql(&format!("CREATE MATERIALIZED VIEW v AS SELECT 1 {text}"))?;
    match statements.first().map(|s| &s.kind) {
        Some(crate::sql::StatementKind::CreateMaterializedView(v)) => emit_mode(v.emit.as_ref()),
        _ => Err(HwError::internal("a stored EMIT clause cannot be read")),
    }
}

/// 0A000 for functions whose value a replay would not find again.
fn refuse_volatile(plan: &datafusion::logical_expr::LogicalPlan) -> Result<()> {
    use datafusion::common::tree_node::TreeNodeRecursion;
    let mut found = None;
    let walked = plan.apply_with_subqueries(|node| {
        for e in node.expressions() {
            if let Some(name) = find_volatile(&e).filter(|n| n != "proctime") {
                found = Some(name);
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(walked.is_ok());
    match found {
        None => Ok(()),
        Some(name) => Err(HwError::unsupported(
            format!("{name}() in a materialized view"),
            "Its value changes without any row changing. Use it in the SELECT that reads the view, or take the time from a column.",
        )),
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
