//! The system catalogs as a session sees them.
//!
//! Their state is put together when a statement first asks for a system relation or
//! function, so plain queries do not pay for it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};

use super::settings::{SettingChange, Settings, canonical};
use super::{DATABASE_NAME, Session};
use crate::catalog::system::{
    ColumnDefault, RelationInfo, RelationKind, SetParameter, SystemState, system_schemas,
};
use crate::catalog::{Definition, Details, Kind};
use crate::engine::database::Database;
use crate::engine::planning::SystemSchemas;

const SCHEMAS: [&str; 3] = ["pg_catalog", "information_schema", "headwater"];

/// Makes the state at the first need.
struct LazyState {
    made: OnceLock<Made>,
    make: Box<dyn Fn() -> SystemState + Send + Sync>,
}

type Made = HashMap<String, Arc<dyn SchemaProvider>>;

impl LazyState {
    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let made = self.made.get_or_init(|| system_schemas(Arc::new((self.make)())).into_iter().collect());
        made.get(name).cloned()
    }
}

struct LazySchema {
    name: &'static str,
    state: Arc<LazyState>,
}

impl fmt::Debug for LazySchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LazySchema({})", self.name)
    }
}

#[async_trait]
impl SchemaProvider for LazySchema {
    fn table_names(&self) -> Vec<String> {
        self.state.schema(self.name).map_or_else(Vec::new, |schema| schema.table_names())
    }

    async fn table(&self, name: &str) -> datafusion::error::Result<Option<Arc<dyn TableProvider>>> {
        match self.state.schema(self.name) {
            Some(schema) => schema.table(name).await,
            None => Ok(None),
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.state.schema(self.name).is_some_and(|schema| schema.table_exist(name))
    }
}

impl Session {
    pub(super) fn system_schemas(&self) -> Arc<SystemSchemas> {
        let state = Arc::new(LazyState { made: OnceLock::new(), make: self.system_maker() });
        let schema = |name: &'static str| {
            let schema = LazySchema { name, state: Arc::clone(&state) };
            (name.to_string(), Arc::new(schema) as Arc<dyn SchemaProvider>)
        };
        Arc::new(SCHEMAS.into_iter().map(schema).collect())
    }

    /// The state for the functions of one statement.
    pub(super) fn system_state(&self) -> Arc<SystemState> {
        Arc::new((self.system_maker())())
    }

    fn system_maker(&self) -> Box<dyn Fn() -> SystemState + Send + Sync> {
        let database = Arc::clone(&self.database);
        let activity = Arc::clone(&self.activity);
        let changes = Arc::clone(&self.changes);
        let (user, pid, settings) = (self.user.clone(), self.pid, self.settings.clone());
        let search_path = self.search_path();
        Box::new(move || {
            let changes = Arc::clone(&changes);
            let set = move |name: &str, value: &str, local: bool| {
                let (_, shown) = canonical(name, value)?;
                let change = SettingChange { name: name.to_string(), value: value.to_string(), local };
                changes.lock().push(change);
                Ok(shown)
            };
            SystemState {
                user: user.clone(),
                search_path: search_path.clone(),
                sessions: activity.sessions(),
                backend_pid: pid,
                live: super::live::tables(&database),
                functions: super::ddl_function::infos(&database),
                set_parameter: Some(SetParameter(Arc::new(set))),
                ..describe(&database, &settings)
            }
        })
    }
}

fn describe(database: &Arc<Database>, settings: &Settings) -> SystemState {
    let catalog = database.catalog();
    let relation = |d: &Arc<Definition>| relation(database, d);
    SystemState {
        database: DATABASE_NAME.to_string(),
        server_version: settings.get("server_version").to_string(),
        schemas: catalog.schemas().map(|s| s.name.clone()).collect(),
        relations: catalog.objects().filter_map(relation).collect(),
        settings: settings.infos(),
        ..SystemState::default()
    }
}

fn relation(database: &Database, d: &Definition) -> Option<RelationInfo> {
    let (kind, definition) = match (&d.kind, &d.details) {
        (Kind::Source, _) => (RelationKind::Source, &d.definition_sql),
        (Kind::Table, _) => (RelationKind::Table, &d.definition_sql),
        (Kind::View, Details::View(view)) => (RelationKind::View, &view.query),
        (Kind::MaterializedView, Details::MaterializedView(view)) => {
            (RelationKind::MaterializedView, &view.query)
        }
        (Kind::Sink, _) => (RelationKind::Sink, &d.definition_sql),
        _ => return None,
    };
    let engine = &database.engine;
    let store = engine.shared.stores.read().get(&d.id).cloned();
    let rows = store.as_ref().map_or(-1.0, |s| s.len_at(engine.published().epoch) as f32);
    Some(RelationInfo {
        oid: d.oid,
        schema: d.schema.clone(),
        name: d.name.clone(),
        kind,
        columns: d.columns.clone(),
        primary_key: d.primary_key.clone(),
        definition: definition.clone(),
        comment: d.comment.clone(),
        column_comments: d.column_comments.iter().map(|(i, c)| (*i, c.clone())).collect(),
        defaults: defaults(d),
        row_estimate: rows,
        size_bytes: store.map_or(0, |s| s.bytes() as i64),
        index: None,
    })
}

fn defaults(d: &Definition) -> Vec<ColumnDefault> {
    let none = Default::default();
    let (defaults, generated) = match &d.details {
        Details::Table(table) => (&table.defaults, &table.generated),
        Details::Source(source) => (&none, &source.generated),
        _ => return Vec::new(),
    };
    let all = defaults.iter().map(|e| (e, false)).chain(generated.iter().map(|e| (e, true)));
    all.filter_map(|((column, expression), generated)| {
        let column = d.columns.iter().position(|c| c.name() == column)?;
        Some(ColumnDefault { column, expression: expression.clone(), generated })
    })
    .collect()
}
