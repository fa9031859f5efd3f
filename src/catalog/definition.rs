//! What the catalog knows of one object.
//!
//! [`Definition`] is what all kinds have in common; [`Details`] is what each kind adds.
//! Texts (queries, expressions, emit clauses) are SQL as the user wrote it. Everything is
//! serialized into `catalog.json`; fields may be added with `#[serde(default)]`, and any
//! other change of shape raises the store's format version.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use super::snapshot::HIDDEN_SCHEMA;

/// Identity of an object for as long as the data directory lives; never reused.
pub type ObjectId = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Source,
    Table,
    View,
    MaterializedView,
    Sink,
    Index,
    Function,
    Secret,
    Connection,
}

impl Kind {
    /// As messages name it.
    pub fn noun(self) -> &'static str {
        match self {
            Kind::Source => "source",
            Kind::Table => "table",
            Kind::View => "view",
            Kind::MaterializedView => "materialized view",
            Kind::Sink => "sink",
            Kind::Index => "index",
            Kind::Function => "function",
            Kind::Secret => "secret",
            Kind::Connection => "connection",
        }
    }

    /// Whether a query can read it.
    pub fn is_readable(self) -> bool {
        matches!(self, Kind::Source | Kind::Table | Kind::View | Kind::MaterializedView)
    }

    /// Kinds of one namespace must differ in name.
    pub(super) fn namespace(self) -> Namespace {
        match self {
            Kind::Function => Namespace::Functions,
            Kind::Secret => Namespace::Secrets,
            Kind::Connection => Namespace::Connections,
            _ => Namespace::Relations,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Namespace {
    Relations,
    Functions,
    Secrets,
    Connections,
}

/// One object of the catalog.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    pub id: ObjectId,
    /// `pg_class.oid` (or of the catalog of its kind), from 16384.
    pub oid: u32,
    pub schema: String,
    pub name: String,
    pub kind: Kind,
    /// Output columns of a relation; empty for other kinds.
    #[serde(with = "super::columns")]
    pub columns: Vec<Field>,
    /// The normalised CREATE statement, secrets masked.
    pub definition_sql: String,
    /// What this object reads, ascending.
    pub depends_on: Vec<ObjectId>,
    /// Indexes into `columns`, in key order; for a view, its unique key.
    pub primary_key: Vec<usize>,
    pub comment: Option<String>,
    /// By index into `columns`.
    #[serde(default)]
    pub column_comments: BTreeMap<usize, String>,
    /// Microseconds after the Unix epoch.
    pub created_at: i64,
    pub details: Details,
}

impl Definition {
    pub fn arrow_schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.columns.clone()))
    }

    /// The name as messages show it: with the schema unless that is `public`.
    pub fn display_name(&self) -> String {
        if self.schema == super::DEFAULT_SCHEMA {
            self.name.clone()
        } else {
            format!("{}.{}", self.schema, self.name)
        }
    }

    /// `view v`, as DETAIL lines name an object.
    pub fn describe(&self) -> String {
        format!("{} {}", self.kind.noun(), self.display_name())
    }

    /// Whether some stored text names what this object depends on.
    pub(super) fn names_its_inputs(&self) -> bool {
        self.kind != Kind::Index && self.late_of().is_none()
    }

    /// The views whose rows it reads in place of an equal part of its query.
    pub fn shares(&self) -> &[ObjectId] {
        match &self.details {
            Details::MaterializedView(view) => &view.shares,
            _ => &[],
        }
    }

    /// Whether it was dropped and is kept because other views share its rows.
    pub fn is_hidden(&self) -> bool {
        self.schema == HIDDEN_SCHEMA
    }

    /// The object whose late rows this relation holds.
    pub fn late_of(&self) -> Option<ObjectId> {
        match &self.details {
            Details::View(view) => view.late_of,
            _ => None,
        }
    }
}

/// What is needed to create an object; the catalog adds ids and the rendered text.
#[derive(Clone, Debug, PartialEq)]
pub struct NewDefinition {
    pub schema: String,
    pub name: String,
    pub columns: Vec<Field>,
    pub depends_on: Vec<ObjectId>,
    pub primary_key: Vec<usize>,
    pub created_at: i64,
    pub details: Details,
}

/// What each kind adds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Details {
    Source(SourceDetails),
    Table(TableDetails),
    View(ViewDetails),
    MaterializedView(MaterializedViewDetails),
    Sink(SinkDetails),
    Index(IndexDetails),
    Function(FunctionDetails),
    Secret(SecretDetails),
    Connection(ConnectionDetails),
}

impl Details {
    pub fn kind(&self) -> Kind {
        match self {
            Details::Source(_) => Kind::Source,
            Details::Table(_) => Kind::Table,
            Details::View(_) => Kind::View,
            Details::MaterializedView(_) => Kind::MaterializedView,
            Details::Sink(_) => Kind::Sink,
            Details::Index(_) => Kind::Index,
            Details::Function(_) => Kind::Function,
            Details::Secret(_) => Kind::Secret,
            Details::Connection(_) => Kind::Connection,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceDetails {
    /// `kafka`, `generator`, `feed`, ….
    pub connector: String,
    /// All options as written, `connector` included.
    pub with: WithOptions,
    pub watermark: Option<WatermarkDefinition>,
    pub includes: Vec<IncludeDefinition>,
    pub format: Option<FormatDefinition>,
    /// Expressions of generated columns, by column.
    pub generated: BTreeMap<String, String>,
    /// First offset to read, by split, fixed when the source was created.
    pub start_offsets: BTreeMap<u32, i64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WatermarkDefinition {
    pub column: String,
    /// The expression; `None` is `SOURCE_WATERMARK()`, unless `percentile` is given.
    pub expression: Option<String>,
    /// `PERCENTILE (…)`, from 0 to 1.
    #[serde(default)]
    pub percentile: Option<f64>,
}

impl WatermarkDefinition {
    /// Whether the source itself tells its watermark.
    pub fn is_by_source(&self) -> bool {
        self.expression.is_none() && self.percentile.is_none()
    }
}

/// A metadata column. It is among the definition's columns, after the declared ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncludeDefinition {
    /// `key`, `partition`, `offset`, `timestamp` or `headers`.
    pub kind: String,
    pub column: String,
}

/// Lower-case words of `FORMAT … ENCODE …`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FormatDefinition {
    pub format: String,
    pub encode: String,
    pub options: WithOptions,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TableDetails {
    /// Texts of DEFAULT expressions, by column.
    pub defaults: BTreeMap<String, String>,
    /// Expressions of generated columns, by column.
    #[serde(default)]
    pub generated: BTreeMap<String, String>,
    /// Of a table that is filled by a connector.
    pub connector: Option<SourceDetails>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ViewDetails {
    pub query: String,
    /// Output names given after the view's name, or empty.
    pub column_names: Vec<String>,
    /// Where unqualified names in `query` are looked up.
    pub search_path: Vec<String>,
    /// The object whose late rows it holds (`LATE DATA TO`); it comes and goes with it.
    #[serde(default)]
    pub late_of: Option<ObjectId>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MaterializedViewDetails {
    pub query: String,
    pub column_names: Vec<String>,
    pub search_path: Vec<String>,
    /// In which its expressions read and write times.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// The whole emit clause, if one was written.
    pub emit: Option<String>,
    pub with: WithOptions,
    /// Views whose rows it reads in place of an equal part of its query; the text does not
    /// name them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shares: Vec<ObjectId>,
}

/// The zone of definitions from before they named it.
fn utc() -> String {
    "UTC".into()
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SinkDetails {
    /// The object it reads, unless it has a query.
    pub from: Option<ObjectId>,
    /// How the statement named `from`.
    pub from_name: Option<String>,
    pub query: Option<String>,
    pub emit: Option<String>,
    pub search_path: Vec<String>,
    pub connector: String,
    pub with: WithOptions,
    pub format: Option<FormatDefinition>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IndexDetails {
    pub relation: ObjectId,
    pub relation_name: String,
    /// Texts of the indexed expressions.
    pub columns: Vec<String>,
    pub unique: bool,
    pub with: WithOptions,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FunctionParameter {
    pub name: Option<String>,
    /// SQL name of the type.
    pub type_name: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FunctionDetails {
    pub parameters: Vec<FunctionParameter>,
    pub returns: String,
    /// The columns of RETURNS TABLE; none for a scalar.
    #[serde(default)]
    pub table: Vec<FunctionParameter>,
    pub language: String,
    pub body: String,
    pub volatility: Option<String>,
    pub strict: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SecretDetails {
    pub value: SecretValue,
}

/// The text of a secret: in `catalog.json`, but in no log and no `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretValue(pub String);

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConnectionDetails {
    pub with: WithOptions,
}

/// The value of an option.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptionText {
    Text(String),
    /// The name of a secret, to be looked up when the option is used.
    Secret(String),
}

/// Options by lower-case key. `Debug` masks what looks like a password.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WithOptions(pub BTreeMap<String, OptionText>);

impl WithOptions {
    /// The value as text; of a secret, none.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.0.get(key) {
            Some(OptionText::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// Whether the value of `key` must not be shown.
    pub fn is_sensitive(key: &str) -> bool {
        let last = key.rsplit('.').next().unwrap_or(key);
        ["password", "secret", "token", "credential", "private", "passphrase"]
            .iter()
            .any(|w| last.contains(w))
            || key.ends_with("ssl.key.pem")
            || key.ends_with("sasl.jaas.config")
    }
}

impl fmt::Debug for WithOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(k, v)| (k, super::render::option_value(k, v)))).finish()
    }
}
