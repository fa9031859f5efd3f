//! The system catalogs: `pg_catalog`, `information_schema` and `headwater`, as clients of
//! PostgreSQL expect them.
//!
//! Higher layers describe the database as plain data in a [`SystemState`]; this module turns
//! it into DataFusion schemas ([`system_schemas`]), functions ([`system_functions`]) and a
//! rewrite of catalog queries into what DataFusion can plan ([`rewrite_catalog_query`]).
//! Every relation and column of PostgreSQL 15's two system schemas exists (`relations.txt`);
//! those that Headwater has nothing to say about are empty. Nothing here does I/O or reads
//! engine state except through the closures of [`LiveTable`].

mod describe;
mod functions;
mod information_schema;
mod layout;
mod lookup;
mod pg_catalog;
mod pg_objects;
mod provider;
mod rewrite;
mod rows;
mod stat_views;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, SchemaRef};

use crate::error::Result;
use crate::types::PgType;

pub use functions::system_functions;
pub use provider::system_schemas;
pub use rewrite::rewrite_catalog_query;

/// Schema that holds user relations unless another is named.
pub const PUBLIC: &str = "public";
/// The first oid of user objects, as in PostgreSQL.
pub const FIRST_USER_OID: u32 = 16384;

/// What a session sees of the database, as plain data. Built by the engine, immutable here.
#[derive(Debug, Default)]
pub struct SystemState {
    pub database: String,
    /// The session's user; the owner of everything.
    pub user: String,
    /// `server_version` as reported to clients, such as `15.8`.
    pub server_version: String,
    /// Schemas searched for unqualified names, without `pg_catalog`; usually `["public"]`.
    pub search_path: Vec<String>,
    /// User schemas besides those that relations name (an empty schema is listed here).
    pub schemas: Vec<String>,
    pub relations: Vec<RelationInfo>,
    pub functions: Vec<FunctionInfo>,
    pub settings: Vec<SettingInfo>,
    pub sessions: Vec<SessionInfo>,
    /// Identifier of this session's backend, as in its `BackendKeyData`.
    pub backend_pid: i32,
    /// Relations of the schema `headwater`.
    pub live: Vec<LiveTable>,
    /// Carries out `set_config`; without it that function is refused.
    pub set_parameter: Option<SetParameter>,
}

/// Kind of a user relation; decides `pg_class.relkind`. Sources show as tables. Sinks cannot be
/// read and are not in `pg_class`, where clients would offer them for SELECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RelationKind {
    Table,
    Source,
    View,
    MaterializedView,
    Sink,
    Index,
}

/// A user relation.
#[derive(Clone, Debug)]
pub struct RelationInfo {
    /// Unique, from [`FIRST_USER_OID`] up to 2^28.
    pub oid: u32,
    pub schema: String,
    pub name: String,
    pub kind: RelationKind,
    /// Columns in order, with the metadata of [`crate::types::pg_type`].
    pub columns: Vec<Field>,
    /// Positions (from 0) of the primary key's columns in `columns`; empty if there is none.
    pub primary_key: Vec<usize>,
    /// The defining query of views, the statement of everything else.
    pub definition: String,
    pub comment: Option<String>,
    /// (position from 0, comment).
    pub column_comments: Vec<(usize, String)>,
    pub defaults: Vec<ColumnDefault>,
    /// Rows, if known; negative if not.
    pub row_estimate: f32,
    pub size_bytes: i64,
    /// What an index indexes; `None` for other kinds.
    pub index: Option<IndexInfo>,
}

/// The table and columns behind a relation of kind [`RelationKind::Index`].
#[derive(Clone, Debug)]
pub struct IndexInfo {
    pub table_oid: u32,
    /// Positions (from 0) in the table's columns.
    pub columns: Vec<usize>,
    pub unique: bool,
}

/// A default or generation expression of a column.
#[derive(Clone, Debug)]
pub struct ColumnDefault {
    pub column: usize,
    pub expression: String,
    pub generated: bool,
}

/// A user-defined function.
#[derive(Clone, Debug)]
pub struct FunctionInfo {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    /// (name or empty, type).
    pub arguments: Vec<(String, PgType)>,
    pub result: PgType,
    pub body: String,
}

/// A run-time parameter, for `pg_settings` and `current_setting`.
#[derive(Clone, Debug, Default)]
pub struct SettingInfo {
    pub name: String,
    pub value: String,
    pub default_value: String,
    pub description: String,
    pub category: String,
    /// `user`, `postmaster` or `internal`.
    pub context: &'static str,
    /// `bool`, `integer`, `real`, `string` or `enum`.
    pub vartype: &'static str,
    pub unit: Option<String>,
}

/// A client session, for `pg_stat_activity`. Times are microseconds after the Unix epoch.
#[derive(Clone, Debug, Default)]
pub struct SessionInfo {
    pub pid: i32,
    pub user: String,
    pub database: String,
    pub application_name: String,
    pub client_address: Option<String>,
    pub client_port: Option<i32>,
    pub backend_start: i64,
    pub query_start: Option<i64>,
    /// `active`, `idle` or `idle in transaction`.
    pub state: &'static str,
    pub query: String,
}

/// Computes the present rows of a live table.
pub type LiveRows = Arc<dyn Fn() -> Result<Vec<RecordBatch>> + Send + Sync>;

/// A relation of the schema `headwater` whose rows are asked for at each scan.
#[derive(Clone)]
pub struct LiveTable {
    pub name: String,
    pub schema: SchemaRef,
    pub rows: LiveRows,
}

/// Name, value, whether only for the transaction; returns the value as `SHOW` prints it.
pub type SetParameterFn = dyn Fn(&str, &str, bool) -> Result<String> + Send + Sync;

/// Sets a run-time parameter of the session. May be called more than once per statement.
#[derive(Clone)]
pub struct SetParameter(pub Arc<SetParameterFn>);

impl fmt::Debug for SetParameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SetParameter")
    }
}

impl fmt::Debug for LiveTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveTable").field("name", &self.name).field("schema", &self.schema).finish()
    }
}

impl RelationKind {
    /// `pg_class.relkind`.
    pub fn relkind(self) -> char {
        match self {
            RelationKind::Table | RelationKind::Source | RelationKind::Sink => 'r',
            RelationKind::View => 'v',
            RelationKind::MaterializedView => 'm',
            RelationKind::Index => 'i',
        }
    }
}
