//! Sessions of DataFusion that mean what PostgreSQL means.
//!
//! [`session_state`] gives the state for one statement or one view: PostgreSQL's literals,
//! operators, casts, functions and guards on top of DataFusion's, with the session's zone,
//! clock and variables. Ad-hoc SELECT plans and runs on it; views use [`analyze`],
//! [`optimize_for_stream`] and [`physical_expr`], which apply the same rewrites, so an
//! expression means the same in both. The registries are built once per process.

use std::sync::{Arc, LazyLock};

use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList,
    MemorySchemaProvider,
};
use datafusion::common::DFSchema;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{AggregateUDF, Expr, LogicalPlan, Volatility};
use datafusion::optimizer::analyzer::resolve_grouping_function::ResolveGroupingFunction;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;
use datafusion::optimizer::simplify_expressions::{ExprSimplifier, SimplifyExpressions};
use datafusion::optimizer::{AnalyzerRule, Optimizer, OptimizerContext, OptimizerRule};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::SessionConfig;

use super::functions;
pub use super::functions::system::SessionVars;
use super::outer_join_exec::HideConstants;
use super::rules::guards::{GuardFilters, PgGuards, guard_expression};
use super::rules::operators::PgOperators;
use super::rules::orders::PgOrders;
use super::rules::{casts, frames, guarded, json_checks, limits, literals, subqueries};
use super::send::{SendFuture, assert_send};
use super::types::PgTypePlanner;
use crate::clock;
use crate::error::{HwError, Result};

/// What distinguishes one session or view from another.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// The session's `TimeZone`.
    pub time_zone: String,
    /// `now()` in microseconds; the wall clock if `None`.
    pub now_micros: Option<i64>,
    pub batch_size: usize,
    pub target_partitions: usize,
    pub memory_pool: Option<Arc<dyn MemoryPool>>,
    pub vars: Arc<SessionVars>,
}

impl Default for SessionOptions {
    fn default() -> Self {
        SessionOptions {
            time_zone: "UTC".into(),
            now_micros: None,
            batch_size: 8192,
            target_partitions: 1,
            memory_pool: None,
            vars: Arc::new(SessionVars::default()),
        }
    }
}

/// The state that every session starts from.
static TEMPLATE: LazyLock<SessionState> = LazyLock::new(template);

fn template() -> SessionState {
    let mut planners: Vec<Arc<dyn ExprPlanner>> = vec![Arc::new(PgOperators)];
    let defaults = SessionStateBuilder::new().with_default_features().build();
    planners.extend(defaults.expr_planners().iter().cloned());
    let mut state = SessionStateBuilder::new()
        .with_default_features()
        .with_expr_planners(planners)
        .with_type_planner(Arc::new(PgTypePlanner))
        .with_analyzer_rules(analyzer_rules())
        .with_optimizer_rules(optimizer_rules())
        .with_physical_optimizer_rules(physical_rules())
        .with_config(config())
        .build();
    functions::register(&mut state);
    state
}

fn analyzer_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    vec![
        Arc::new(limits::PgLimits),
        Arc::new(ResolveGroupingFunction::new()),
        Arc::new(literals::PgLiterals),
        Arc::new(json_checks::PgJson),
        Arc::new(PgOrders),
        Arc::new(TypeCoercion::new()),
        Arc::new(casts::PgCasts),
        Arc::new(frames::PgFrames),
        Arc::new(subqueries::PgSubqueries),
        Arc::new(PgGuards),
    ]
}

/// DataFusion's rules, except the one that loses our result types (our aggregates handle DISTINCT
/// themselves), and the one that drops joins by keys that it only believes in.
fn optimizer_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = Optimizer::new().rules;
    rules.retain(|r| !["single_distinct_aggregation_to_group_by", "eliminate_join"].contains(&r.name()));
    rules = rules.into_iter().map(guarded::guarded).collect();
    rules.push(Arc::new(GuardFilters));
    rules
}

/// Without the push-down of filters below joins of physical plans: it takes a column of one side
/// for the column of the same number of the other (`r.k = l.k` becomes `r.k = r.k`). Logical
/// plans have been pushed down before.
fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    rules.retain(|r| !r.name().starts_with("FilterPushdown"));
    rules.insert(0, Arc::new(HideConstants));
    rules
}

fn config() -> SessionConfig {
    let mut config = SessionConfig::new();
    let options = config.options_mut();
    options.sql_parser.parse_float_as_decimal = true;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.sql_parser.enable_ident_normalization = true;
    options.sql_parser.collect_spans = true;
    options.sql_parser.dialect = datafusion::config::Dialect::PostgreSQL;
    options.sql_parser.default_null_ordering = "nulls_max".into();
    options.execution.parquet.schema_force_view_types = false;
    options.catalog.information_schema = false;
    options.catalog.create_default_catalog_and_schema = true;
    options.explain.show_statistics = false;
    // Logical and physical schemas may differ in what may be NULL, which changes no result.
    options.execution.skip_physical_aggregate_schema_check = true;
    config
}

/// A builder for one statement or view; set the catalog list on it and build.
pub fn session_state_builder(options: &SessionOptions) -> DfResult<SessionStateBuilder> {
    let mut state = TEMPLATE.clone();
    let config = state.config_mut();
    *config = std::mem::take(config)
        .with_batch_size(options.batch_size.max(1))
        .with_target_partitions(options.target_partitions.max(1));
    config.options_mut().execution.time_zone = Some(options.time_zone.clone());
    let now = options.now_micros.unwrap_or_else(clock::wall_micros);
    functions::register_session(&mut state, now, &options.vars);
    let start = chrono::DateTime::from_timestamp_micros(now);
    let props = state.execution_props_mut();
    props.query_execution_start_time = start;
    let snapshot = Arc::clone(state.config_options());
    state.execution_props_mut().config_options = Some(snapshot);
    let mut builder = SessionStateBuilder::new_from_existing(state).with_catalog_list(empty_catalog()?);
    if let Some(pool) = &options.memory_pool {
        let env = RuntimeEnvBuilder::new().with_memory_pool(Arc::clone(pool)).build_arc()?;
        builder = builder.with_runtime_env(env);
    }
    Ok(builder)
}

/// A catalog of its own for every session, with an empty default schema.
fn empty_catalog() -> DfResult<Arc<dyn CatalogProviderList>> {
    let catalog = MemoryCatalogProvider::new();
    catalog.register_schema("public", Arc::new(MemorySchemaProvider::new()))?;
    let list = MemoryCatalogProviderList::new();
    list.register_catalog("datafusion".into(), Arc::new(catalog));
    Ok(Arc::new(list))
}

/// A state for one statement or view.
pub fn session_state(options: &SessionOptions) -> DfResult<SessionState> {
    Ok(session_state_builder(options)?.build())
}

/// Runs the analyzer rules: afterwards every expression has PostgreSQL's types and meaning.
pub fn analyze(plan: LogicalPlan, state: &SessionState) -> Result<LogicalPlan> {
    let options = state.config_options();
    Ok(state.analyzer().execute_and_check(plan, options, |_, _| {})?)
}

/// Makes an expression that was planned alone (a generated column, a watermark) ready for
/// [`physical_expr`].
pub fn analyze_expr(expr: Expr, schema: &DFSchema, state: &SessionState) -> Result<Expr> {
    let expr = literals::rewrite(expr, schema)?;
    Ok(coerce(expr, schema, state)?)
}

fn coerce(expr: Expr, schema: &DFSchema, state: &SessionState) -> DfResult<Expr> {
    let context = SimplifyContext::builder()
        .with_schema(Arc::new(schema.clone()))
        .with_config_options(Arc::clone(state.config_options()))
        .with_query_execution_start_time(state.execution_props().query_execution_start_time)
        .build();
    let expr = ExprSimplifier::new(context).coerce(expr, schema)?;
    guard_expression(casts::rewrite(expr, schema)?, schema)
}

/// The physical form of an analysed expression over columns of `schema`.
pub fn physical_expr(expr: &Expr, schema: &DFSchema, state: &SessionState) -> Result<Arc<dyn PhysicalExpr>> {
    let expr = coerce(expr.clone(), schema, state)?;
    Ok(state.create_physical_expr(expr, schema)?)
}

/// Logical optimisation for plans that are maintained incrementally: simplification, joins
/// from WHERE, decorrelation, push-down and pruning; nothing that assumes an order, a limit
/// or a single evaluation.
pub fn optimize_for_stream(plan: LogicalPlan, state: &SessionState) -> Result<LogicalPlan> {
    let plan = crate::plan::temporal::name_version_times(plan)?;
    let plan = subqueries::for_stream(plan)?;
    let wanted = [
        "replace_distinct_aggregate",
        "decorrelate_predicate_subquery",
        "scalar_subquery_to_join",
        "decorrelate_lateral_join",
        "extract_equijoin_predicate",
        "eliminate_duplicated_expr",
        "eliminate_filter",
        "eliminate_cross_join",
        "eliminate_outer_join",
        "push_down_filter",
        "optimize_projections",
    ];
    let plan = super::rules::distinct_on::number_rows(plan, state)?;
    let mut rules: Vec<Arc<dyn OptimizerRule + Send + Sync>> = vec![Arc::new(SimplifyExpressions::new())];
    let all = Optimizer::new().rules.into_iter();
    rules.extend(all.filter(|r| wanted.contains(&r.name())).map(guarded::guarded));
    rules.push(Arc::new(GuardFilters));
    let mut context = OptimizerContext::new_with_config_options(Arc::clone(state.config_options()));
    if let Some(start) = state.execution_props().query_execution_start_time {
        context = context.with_query_execution_start_time(start);
    }
    Ok(Optimizer::with_rules(rules).optimize(plan, &context, |_, _| {})?)
}

/// The first function in `expr` whose value is not determined by its row: volatile ones, and
/// stable ones of the clock, such as `now()`.
pub fn find_volatile(expr: &Expr) -> Option<String> {
    use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
    let mut found = None;
    let walked = expr.apply(|node| {
        if let Expr::ScalarFunction(f) = node {
            let volatile = f.func.signature().volatility == Volatility::Volatile
                && f.func.name() != subqueries::nullable::NULLABLE;
            if volatile || functions::system::CLOCK_FUNCTIONS.contains(&f.name()) {
                found = Some(f.name().to_string());
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    walked.ok().and(found)
}

/// Plans one query: rewrites its syntax tree, plans it, and gives the output names beside.
pub fn plan_query<'a>(
    state: &'a SessionState,
    query: &'a sqlparser::ast::Query,
    sql: Option<&'a str>,
) -> SendFuture<'a, Result<(LogicalPlan, Vec<String>)>> {
    // SAFETY: it holds trees and DataFusion's planning future, which servers use as `Send`.
    unsafe { assert_send(plan_query_inner(state, query, sql)) }
}

async fn plan_query_inner(
    state: &SessionState,
    query: &sqlparser::ast::Query,
    sql: Option<&str>,
) -> Result<(LogicalPlan, Vec<String>)> {
    let tables = tables_of(state, query).await;
    let mut prepared = query.clone();
    super::rules::ast::prepare(&mut prepared, &tables).map_err(|e| super::places::placed(e, sql))?;
    let statement = sqlparser::ast::Statement::Query(Box::new(prepared));
    let statement = datafusion::sql::parser::Statement::Statement(Box::new(statement));
    let plan = state.statement_to_plan(statement).await;
    let plan = plan.map_err(|e: DataFusionError| super::errors::to_hw_error(e, sql))?;
    let names = super::rules::names::postgres_output_names(query, &plan)?;
    Ok((plan, names))
}

/// The columns of the tables that a query names, if its rewrites need them.
fn tables_of<'a>(
    state: &'a SessionState,
    query: &'a sqlparser::ast::Query,
) -> SendFuture<'a, super::rules::whole_rows::Tables> {
    // SAFETY: it holds the tree and futures of the catalog, which are `Send`.
    unsafe { assert_send(tables_of_inner(state, query)) }
}

async fn tables_of_inner(
    state: &SessionState,
    query: &sqlparser::ast::Query,
) -> super::rules::whole_rows::Tables {
    let mut tables = super::rules::whole_rows::Tables::new();
    if !super::rules::whole_rows::needs_columns(query) {
        return tables;
    }
    let mut names = Vec::new();
    let _ = sqlparser::ast::visit_relations(query, |name| {
        names.push(name.to_string());
        std::ops::ControlFlow::<()>::Continue(())
    });
    for name in names {
        let reference = datafusion::common::TableReference::parse_str(&name);
        let table = reference.table().to_string();
        let Ok(schema) = state.schema_for_ref(reference) else { continue };
        if let Ok(Some(found)) = schema.table(&table).await {
            let columns = found.schema().fields().iter().map(|f| f.name().clone()).collect();
            tables.insert(name, columns);
        }
    }
    tables
}

/// Whether a function of that name is an aggregate.
pub fn is_aggregate(name: &str) -> bool {
    TEMPLATE.aggregate_functions().contains_key(name)
}

/// An aggregate of the registry by name, for planners that build plans themselves.
pub fn aggregate(state: &SessionState, name: &str) -> Result<Arc<AggregateUDF>> {
    state.aggregate_functions().get(name).cloned().ok_or_else(|| {
        HwError::new(crate::error::sqlstate::UNDEFINED_FUNCTION, format!("function {name} does not exist"))
    })
}
