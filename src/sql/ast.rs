//! The statements of Headwater.
//!
//! Queries, DML and expressions are sqlparser's own trees; every other statement has a
//! type here that holds exactly what it means. Object and column names in these types are
//! folded as PostgreSQL folds them (unquoted to lower case, at most 63 bytes). Window table
//! functions inside queries have one shape, which `parser::window_call` reads.
//! Positions are 1-based, in characters of the submitted text.

mod emit;
mod session;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use sqlparser::ast as sql;
pub use sqlparser::ast::{DataType, Expr, Query};

pub use emit::{Accumulation, Closing, EmitClause, EmitPolicy, OnTime, Trigger};
pub use session::{
    AdvanceClock, CopyStatement, CopySubject, CursorBody, DeclareCursor, DiscardTarget, Explain,
    ExplainTarget, Fetch, FetchDirection, Isolation, SetScope, SettingItem, SettingValue, Show, ShowList,
    Subscribe, SubscribeTarget, TransactionModes,
};

/// One statement and the text it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    pub kind: StatementKind,
    /// The statement's own text, from its first to its last token.
    pub text: String,
    /// Bytes of the submitted text that `text` covers.
    pub span: Range<usize>,
    /// Character position of the first token in the submitted text.
    pub position: usize,
}

/// What a statement asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum StatementKind {
    Query(Box<Query>),
    Insert(Box<sql::Insert>),
    Update(Box<sql::Update>),
    Delete(Box<sql::Delete>),
    Explain(Explain),
    CreateSchema {
        if_not_exists: bool,
        name: String,
    },
    CreateSecret {
        if_not_exists: bool,
        name: ObjectName,
        value: SecretText,
    },
    CreateConnection {
        if_not_exists: bool,
        name: ObjectName,
        with: Options,
    },
    CreateSource(Box<CreateSource>),
    CreateTable(Box<CreateTable>),
    CreateView(Box<CreateView>),
    CreateMaterializedView(Box<CreateMaterializedView>),
    CreateSink(Box<CreateSink>),
    CreateIndex(Box<CreateIndex>),
    CreateFunction(Box<CreateFunction>),
    Drop {
        kind: ObjectKind,
        if_exists: bool,
        names: Vec<ObjectName>,
        cascade: bool,
    },
    AlterRename {
        kind: ObjectKind,
        if_exists: bool,
        name: ObjectName,
        to: String,
    },
    /// `name` ends in the column's name for [`CommentTarget::Column`].
    Comment {
        target: CommentTarget,
        name: ObjectName,
        comment: Option<String>,
    },
    RefreshMaterializedView {
        name: ObjectName,
    },
    Show(Show),
    Set {
        scope: SetScope,
        name: String,
        value: SettingValue,
    },
    SetTransaction {
        session: bool,
        modes: TransactionModes,
    },
    /// `None` is `RESET ALL`.
    Reset {
        name: Option<String>,
    },
    Begin(TransactionModes),
    Commit {
        chain: bool,
    },
    Rollback {
        chain: bool,
    },
    Savepoint {
        name: String,
    },
    Release {
        name: String,
    },
    RollbackTo {
        name: String,
    },
    DeclareCursor(Box<DeclareCursor>),
    Fetch(Fetch),
    /// `None` is `CLOSE ALL`.
    CloseCursor {
        name: Option<String>,
    },
    Subscribe(Box<Subscribe>),
    Prepare {
        name: String,
        types: Vec<DataType>,
        statement: Box<Statement>,
    },
    Execute {
        name: String,
        arguments: Vec<Expr>,
    },
    /// `None` is `DEALLOCATE ALL`.
    Deallocate {
        name: Option<String>,
    },
    Discard(DiscardTarget),
    Listen {
        channel: String,
    },
    /// `None` is `UNLISTEN *`.
    Unlisten {
        channel: Option<String>,
    },
    Notify {
        channel: String,
        payload: Option<String>,
    },
    Copy(CopyStatement),
    AdvanceClock(AdvanceClock),
    AdvanceWatermark {
        source: ObjectName,
        to: Expr,
    },
    Step,
    Grant,
    Revoke,
    /// A PostgreSQL statement that Headwater does not have, to be refused by this name.
    Unsupported {
        name: String,
    },
}

/// A possibly qualified name, folded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    pub database: Option<String>,
    pub schema: Option<String>,
    pub name: String,
    pub position: usize,
}

impl ObjectName {
    /// A name without a schema, not from any text.
    pub fn bare(name: impl Into<String>) -> Self {
        ObjectName { database: None, schema: None, name: name.into(), position: 1 }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.database, &self.schema].into_iter().flatten() {
            write!(f, "{part}.")?;
        }
        f.write_str(&self.name)
    }
}

/// A query with the text the user wrote, which is what the catalog keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryText {
    pub query: Box<Query>,
    pub text: String,
}

/// Text that neither logs nor `Debug` may show.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(pub String);

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// `WITH ( … )` and format options, by lower-case key.
pub type Options = BTreeMap<String, OptionValue>;

#[derive(Clone, Debug, PartialEq)]
pub struct OptionValue {
    pub value: OptionLiteral,
    /// Of the key.
    pub position: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub enum OptionLiteral {
    String(String),
    Number(String),
    Bool(bool),
    /// An option without a value.
    Flag,
    /// A name: `connection = k`.
    Name(ObjectName),
    /// The text inside `INTERVAL '…'`.
    Interval(String),
    /// `SECRET name`.
    Secret(ObjectName),
}

impl OptionLiteral {
    /// The value as text, as options are handed to connectors; a flag is `true`.
    pub fn as_text(&self) -> String {
        match self {
            OptionLiteral::String(s) | OptionLiteral::Number(s) | OptionLiteral::Interval(s) => s.clone(),
            OptionLiteral::Bool(b) => b.to_string(),
            OptionLiteral::Flag => "true".to_string(),
            OptionLiteral::Name(n) | OptionLiteral::Secret(n) => n.to_string(),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct ColumnSpec {
    pub name: String,
    pub position: usize,
    pub data_type: DataType,
    pub not_null: bool,
    pub primary_key: bool,
    pub unique: bool,
    pub default: Option<Expr>,
    /// `AS (expr)` or `GENERATED ALWAYS AS (expr) STORED`, with its text.
    pub generated: Option<ExprText>,
}

/// An expression with the text the user wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct ExprText {
    pub expr: Box<Expr>,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct WatermarkSpec {
    pub column: String,
    pub position: usize,
    pub strategy: WatermarkStrategy,
}

#[derive(Clone, Debug, PartialEq)]
pub enum WatermarkStrategy {
    /// `AS ts - INTERVAL '5 seconds'`: heuristic, from the largest event time seen.
    Expr(ExprText),
    /// `AS SOURCE_WATERMARK()`: the source says.
    SourceWatermark,
    /// `AS PERCENTILE (0.99)`: behind the newest by a quantile, from 0 to 1, of recent delays.
    Percentile(f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncludeKind {
    Key,
    Partition,
    Offset,
    Timestamp,
    Headers,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Include {
    pub kind: IncludeKind,
    pub alias: Option<String>,
    pub position: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Plain,
    Upsert,
    Debezium,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encode {
    Json,
    Csv,
    Avro,
    Protobuf,
    Bytes,
}

/// `FORMAT … ENCODE … ( … )`.
#[derive(Clone, Debug, PartialEq)]
pub struct FormatSpec {
    pub format: Format,
    pub encode: Encode,
    pub options: Options,
    pub position: usize,
}

/// The parenthesised list after the name of a source or table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Columns {
    pub columns: Vec<ColumnSpec>,
    /// Names of the primary key's columns, in key order, from either spelling.
    pub primary_key: Vec<String>,
    pub watermark: Option<WatermarkSpec>,
    /// Table constraints other than the primary key, in sqlparser's form.
    pub constraints: Vec<sql::TableConstraint>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CreateSource {
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub name: ObjectName,
    pub columns: Columns,
    pub includes: Vec<Include>,
    pub with: Options,
    pub format: Option<FormatSpec>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CreateTable {
    pub temporary: bool,
    pub if_not_exists: bool,
    pub name: ObjectName,
    pub columns: Columns,
    /// `CREATE TABLE … AS query`.
    pub query: Option<QueryText>,
    /// The rest is the connector form.
    pub includes: Vec<Include>,
    pub with: Options,
    pub format: Option<FormatSpec>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CreateView {
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub temporary: bool,
    pub name: ObjectName,
    /// Output names, or empty.
    pub columns: Vec<String>,
    pub query: QueryText,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CreateMaterializedView {
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub name: ObjectName,
    pub columns: Vec<String>,
    pub with: Options,
    pub query: QueryText,
    pub emit: Option<EmitClause>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SinkInput {
    Object(ObjectName),
    Query(QueryText, Option<Box<EmitClause>>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct CreateSink {
    pub if_not_exists: bool,
    pub name: ObjectName,
    pub input: SinkInput,
    pub with: Options,
    pub format: Option<FormatSpec>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CreateIndex {
    pub if_not_exists: bool,
    pub unique: bool,
    /// Absent: PostgreSQL makes one up, `table_column_idx`.
    pub name: Option<ObjectName>,
    pub table: ObjectName,
    pub method: Option<String>,
    pub columns: Vec<Expr>,
    pub with: Options,
    pub predicate: Option<Expr>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FunctionArgument {
    pub name: Option<String>,
    pub data_type: DataType,
    pub default: Option<Expr>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CreateFunction {
    pub or_replace: bool,
    pub name: ObjectName,
    pub arguments: Vec<FunctionArgument>,
    pub returns: Option<DataType>,
    /// Lower case; `sql` unless another was named.
    pub language: String,
    /// The text between the quotes, or of the expression after RETURN.
    pub body: String,
    pub volatility: Option<String>,
    pub strict: bool,
}

/// Kinds of objects as DROP, ALTER, SHOW CREATE and EXPLAIN name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    Schema,
    Secret,
    Connection,
    Source,
    Table,
    View,
    MaterializedView,
    Sink,
    Index,
    Function,
}

impl ObjectKind {
    /// As messages name it.
    pub fn noun(self) -> &'static str {
        match self {
            ObjectKind::Schema => "schema",
            ObjectKind::Secret => "secret",
            ObjectKind::Connection => "connection",
            ObjectKind::Source => "source",
            ObjectKind::Table => "table",
            ObjectKind::View => "view",
            ObjectKind::MaterializedView => "materialized view",
            ObjectKind::Sink => "sink",
            ObjectKind::Index => "index",
            ObjectKind::Function => "function",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommentTarget {
    Object(ObjectKind),
    Column,
    Database,
}

// SAFETY: plain owned data; `sql::send` proves it of sqlparser's trees once, so that the
// compiler need not walk them for every future that holds a statement.
unsafe impl Send for Statement {}
unsafe impl Sync for Statement {}
unsafe impl Send for StatementKind {}
unsafe impl Sync for StatementKind {}
unsafe impl Send for QueryText {}
unsafe impl Sync for QueryText {}
unsafe impl Send for ExprText {}
unsafe impl Sync for ExprText {}
