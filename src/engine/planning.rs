//! From a query to a logical plan: what names mean, for views and for ad-hoc queries.
//!
//! One planner serves both; only the leaves differ. A *streaming* scope gives
//! [`StreamRelation`]s to the view planner; a *snapshot* scope gives the rows of one pinned
//! epoch. Views are planned in place, recursively, with the search path they were created
//! with. Unqualified names are looked up along the search path, then in `pg_catalog`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProviderList, SchemaProvider, TableProvider,
};
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use parking_lot::Mutex;
use sqlparser::ast::Query;

use super::database::Database;
use super::table_functions::{TableFunctions, is_table_function};
use crate::catalog::{Definition, Details, FunctionParameter, Kind, QualifiedName};
use crate::error::{HwError, Result, sqlstate};
use crate::sql::context::{SessionOptions, find_volatile, plan_query, session_state_builder};
use crate::sql::errors::to_hw_error;
use crate::sql::inline::{Returns, SqlFunction, inline_functions};
use crate::sql::pane_columns::{expand_wildcards, names_pane_column};
use crate::sql::places::at_call;
use crate::sql::query_planner::AdHocPlanner;
use crate::sql::recursion::RecursionPlanner;
use crate::sql::relations::SetOpPlanner;
use crate::sql::send::{SendFuture, assert_send};
use crate::sql::windows::{WindowInputs, WindowPlanner, is_window_function, window_input_names};
use crate::views::Pin;

/// Name of the one database, for three-part names.
pub const DATABASE: &str = "headwater";
/// Views on views deeper than this are refused (54001).
const VIEW_DEPTH_MAX: usize = 64;

/// Functions of DataFusion that stand in FROM; it looks their names up as relations first.
const TABLE_FUNCTIONS: [&str; 3] = ["generate_series", "range", "unnest"];

/// Schemas that are not in the catalog: `pg_catalog`, `information_schema`, `headwater`.
pub type SystemSchemas = HashMap<String, Arc<dyn SchemaProvider>>;

/// What a statement's names are looked up with.
#[derive(Clone)]
pub struct SqlContext {
    pub search_path: Vec<String>,
    pub options: SessionOptions,
    pub system: Arc<SystemSchemas>,
}

/// What the leaves of a plan are.
#[derive(Clone)]
pub enum Leaves {
    Streaming,
    /// Rows as of the pinned epoch.
    Snapshot(Arc<Pin>),
}

/// Looks names up for one statement, and remembers what it found.
pub struct Scope {
    pub database: Arc<Database>,
    pub leaves: Leaves,
    pub cx: SqlContext,
    depth: usize,
    /// Catalog objects named by the statement itself.
    named: Mutex<Vec<u64>>,
    /// Whether the statement names pane columns, so that views show those that they hide.
    pane_columns: AtomicBool,
}

impl std::fmt::Debug for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scope")
    }
}

impl Scope {
    pub fn new(database: Arc<Database>, leaves: Leaves, cx: SqlContext) -> Arc<Scope> {
        Arc::new(Scope {
            database,
            leaves,
            cx,
            depth: 0,
            named: Mutex::new(Vec::new()),
            pane_columns: AtomicBool::new(false),
        })
    }

    /// The objects that the planned queries named, each once, ascending.
    pub fn named_objects(&self) -> Vec<u64> {
        let mut ids = self.named.lock().clone();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// The relations that window functions name as arguments; DataFusion looks up only those
    /// that stand in FROM themselves. Names that are not found may be of WITH queries.
    pub async fn window_inputs(self: &Arc<Self>, query: &Query) -> WindowInputs {
        let mut inputs = WindowInputs::new();
        for name in window_input_names(query) {
            let found = self.relation(name.schema.as_deref(), &name.name).await;
            if let Ok(Some(provider)) = found {
                inputs.insert((name.schema, name.name), provider_as_source(provider));
            }
        }
        inputs
    }

    /// The query without calls of SQL functions, which count as named; `None` if it calls none.
    pub fn inline_functions(&self, query: &Query) -> Result<Option<Query>> {
        let catalog = self.database.catalog();
        if catalog.of_kind(Kind::Function).next().is_none() {
            return Ok(None);
        }
        let lookup = |schema: Option<&str>, name: &str| {
            let name = QualifiedName::new(schema, name);
            let found = catalog.lookup_kind(Kind::Function, &name, &self.cx.search_path)?;
            let function = sql_function(found)?;
            self.named.lock().push(found.id);
            Some(function)
        };
        inline_functions(query, &lookup)
    }

    /// A DataFusion session in which this scope resolves names.
    pub fn session_state(self: &Arc<Self>, inputs: WindowInputs) -> Result<SessionState> {
        let catalogs = Arc::new(MemoryCatalogProviderList::new());
        catalogs.register_catalog(DATABASE.to_string(), Arc::new(ScopeCatalog { scope: Arc::clone(self) }));
        let mut builder = session_state_builder(&self.cx.options)
            .map_err(|e| to_hw_error(e, None))?
            .with_catalog_list(catalogs)
            .with_relation_planners(vec![
                Arc::new(WindowPlanner::new(inputs)),
                Arc::new(SetOpPlanner),
                Arc::new(RecursionPlanner::new(self.cx.options.clone())),
                Arc::new(TableFunctions::new(Arc::clone(self))),
            ])
            .with_query_planner(Arc::new(AdHocPlanner));
        if let Some(config) = builder.config() {
            let catalog = &mut config.options_mut().catalog;
            catalog.default_catalog = DATABASE.to_string();
            catalog.default_schema = SEARCH_PATH.to_string();
            catalog.create_default_catalog_and_schema = false;
        }
        Ok(builder.build())
    }

    /// Plans a query: neither analyzed nor optimized; its output names are beside it, because
    /// PostgreSQL lets them repeat.
    pub fn plan<'a>(
        self: &'a Arc<Self>,
        query: &'a Query,
        sql: Option<&'a str>,
    ) -> SendFuture<'a, Result<Planned>> {
        // SAFETY: it holds the tree, names, providers and futures that are `Send`.
        unsafe { assert_send(self.plan_inner(query, sql)) }
    }

    async fn plan_inner(self: &Arc<Self>, query: &Query, sql: Option<&str>) -> Result<Planned> {
        let inlined = self.inline_functions(query)?;
        let query = inlined.as_ref().unwrap_or(query);
        let with_panes = self.pane_columns_of(query)?;
        let query = with_panes.as_ref().unwrap_or(query);
        let inputs = self.window_inputs(query).await;
        let state = self.session_state(inputs)?;
        let (plan, names) = plan_query(&state, query, sql).await?;
        Ok(Planned { state, plan, names })
    }

    /// The query as it is planned if it names pane columns of views that it reads.
    pub fn pane_columns_of(&self, query: &Query) -> Result<Option<Query>> {
        if matches!(self.leaves, Leaves::Streaming) || !names_pane_column(query) {
            return Ok(None);
        }
        self.pane_columns.store(true, Ordering::Relaxed);
        let catalog = self.database.catalog();
        let hidden = |schema: Option<&str>, name: &str| {
            let found = catalog.lookup(&QualifiedName::new(schema, name), &self.cx.search_path)?;
            let store = self.database.engine.shared.stores.read().get(&found.id).cloned()?;
            let hides = store.stored_schema().fields().len() > store.schema().fields().len();
            hides.then(|| found.columns.iter().map(|c| c.name().clone()).collect())
        };
        let mut query = query.clone();
        expand_wildcards(&mut query, &hidden)?;
        Ok(Some(query))
    }

    async fn relation(
        self: &Arc<Self>,
        schema: Option<&str>,
        name: &str,
    ) -> Result<Option<Arc<dyn TableProvider>>> {
        if schema == Some("headwater") && is_table_function(name) {
            return Ok(None);
        }
        if let Some(schema) = schema
            && let Some(system) = self.cx.system.get(schema)
        {
            return system.table(name).await.map_err(|e| to_hw_error(e, None));
        }
        let catalog = self.database.catalog();
        let qualified = QualifiedName::new(schema, name);
        if let Some(definition) = catalog.lookup(&qualified, &self.cx.search_path) {
            let definition = Arc::clone(definition);
            return self.provider(&definition).await.map(Some);
        }
        if schema.is_none()
            && let Some(system) = self.cx.system.get("pg_catalog")
            && let Some(table) = system.table(name).await.map_err(|e| to_hw_error(e, None))?
        {
            return Ok(Some(table));
        }
        if schema.is_none() && (is_window_function(name) || TABLE_FUNCTIONS.contains(&name)) {
            return Ok(None);
        }
        // The error with its suggestion.
        catalog.resolve(&qualified, &self.cx.search_path).map(|_| None)
    }

    async fn provider(self: &Arc<Self>, definition: &Arc<Definition>) -> Result<Arc<dyn TableProvider>> {
        self.named.lock().push(definition.id);
        if let Details::View(view) = &definition.details {
            return self.view(definition, &view.query, &view.search_path).await;
        }
        if !definition.kind.is_readable() {
            return Err(HwError::new(
                sqlstate::WRONG_OBJECT_TYPE,
                format!("\"{}\" is {} and cannot be read", definition.name, with_article(definition.kind)),
            ));
        }
        match &self.leaves {
            Leaves::Streaming => Ok(Arc::new(self.database.stream_relation(definition)?)),
            Leaves::Snapshot(pin) => {
                let hidden = self.pane_columns.load(Ordering::Relaxed);
                self.database.snapshot_relation(definition, pin, hidden)
            }
        }
    }

    async fn view(
        self: &Arc<Self>,
        definition: &Arc<Definition>,
        query: &str,
        search_path: &[String],
    ) -> Result<Arc<dyn TableProvider>> {
        if self.depth >= VIEW_DEPTH_MAX {
            return Err(HwError::new(sqlstate::STATEMENT_TOO_COMPLEX, "views are nested too deeply"));
        }
        let cx = SqlContext { search_path: search_path.to_vec(), ..self.cx.clone() };
        let inner = Arc::new(Scope {
            database: Arc::clone(&self.database),
            leaves: self.leaves.clone(),
            cx,
            depth: self.depth + 1,
            named: Mutex::new(Vec::new()),
            pane_columns: AtomicBool::new(false),
        });
        let query = super::definitions::parse_query(query)?;
        let plan = inner.plan(&query, None).await?.plan;
        let names: Vec<String> = definition.columns.iter().map(|c| c.name().clone()).collect();
        let plan = rename(plan, &names)?;
        Ok(Arc::new(ViewTable::new(plan, Some(definition.definition_sql.clone()))))
    }
}

/// A stored function, as calls of it are replaced.
pub fn sql_function(definition: &Definition) -> Option<SqlFunction> {
    let Details::Function(details) = &definition.details else { return None };
    let table = |columns: &[FunctionParameter]| {
        columns.iter().map(|c| (c.name.clone().unwrap_or_default(), c.type_name.clone())).collect()
    };
    Some(SqlFunction {
        name: definition.name.clone(),
        parameters: details.parameters.iter().map(|p| (p.name.clone(), p.type_name.clone())).collect(),
        returns: match details.table.as_slice() {
            [] => Returns::Scalar(details.returns.clone()),
            columns => Returns::Table(table(columns)),
        },
        body: details.body.clone(),
        strict: details.strict,
    })
}

/// A planned query, and the session it was planned in.
pub struct Planned {
    pub state: SessionState,
    pub plan: LogicalPlan,
    pub names: Vec<String>,
}

/// The same plan with other column names. Names may repeat.
pub fn rename(plan: LogicalPlan, names: &[String]) -> Result<LogicalPlan> {
    use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
    let same = plan.schema().fields().iter().map(|f| f.name()).eq(names.iter());
    let qualified = plan.schema().iter().any(|(q, _)| q.is_some());
    if same && !qualified || plan.schema().fields().len() != names.len() {
        return Ok(plan);
    }
    let mut unique = std::collections::HashSet::new();
    if !names.iter().all(|n| unique.insert(n)) {
        let twice = names.iter().enumerate().find(|(i, n)| names[..*i].contains(n)).map_or("", |(_, n)| n);
        return Err(HwError::new(
            sqlstate::DUPLICATE_COLUMN,
            format!("column \"{twice}\" specified more than once"),
        ));
    }
    let exprs: Vec<Expr> = (plan.schema().columns().into_iter().zip(names))
        .map(|(column, name)| Expr::Column(column).alias(name))
        .collect();
    LogicalPlanBuilder::from(plan).project(exprs).and_then(|b| b.build()).map_err(|e| to_hw_error(e, None))
}

/// 0A000 for functions whose value a replay would not find again, where `query` calls them.
pub fn refuse_volatile(plan: &LogicalPlan, query: &sqlparser::ast::Query, sql: Option<&str>) -> Result<()> {
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
        Some(name) => Err(at_call(
            HwError::unsupported(
                format!("{name}() in a materialized view"),
                "Its value changes without any row changing. Use it in the SELECT that reads the view; of the functions of time, now() and date_trunc('day', now()) can be compared with a timestamp in WHERE, as in ts > now() - INTERVAL '1 hour' (months go to the other side: ts + INTERVAL '1 month' > now()).",
            ),
            &name,
            query,
            sql,
        )),
    }
}

fn with_article(kind: Kind) -> String {
    let noun = kind.noun();
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}

#[derive(Debug)]
struct ScopeCatalog {
    scope: Arc<Scope>,
}

impl CatalogProvider for ScopeCatalog {
    fn schema_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.scope.cx.system.keys().cloned().collect();
        names.extend(self.scope.database.catalog().schemas().map(|s| s.name.clone()));
        names.push(SEARCH_PATH.to_string());
        names
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let schema = (name != SEARCH_PATH).then(|| name.to_string());
        Some(Arc::new(ScopeSchema { scope: Arc::clone(&self.scope), schema }))
    }
}

/// The default schema of DataFusion's session: stands for the search path.
pub const SEARCH_PATH: &str = "public";

#[derive(Debug)]
struct ScopeSchema {
    scope: Arc<Scope>,
    /// `None`: an unqualified name.
    schema: Option<String>,
}

#[async_trait]
impl SchemaProvider for ScopeSchema {
    fn table_names(&self) -> Vec<String> {
        Vec::new()
    }

    async fn table(&self, name: &str) -> datafusion::error::Result<Option<Arc<dyn TableProvider>>> {
        // SAFETY: it holds syntax trees, definitions and futures that are `Send`.
        Ok(unsafe { assert_send(self.scope.relation(self.schema.as_deref(), name)) }.await?)
    }

    fn table_exist(&self, _name: &str) -> bool {
        true
    }
}
