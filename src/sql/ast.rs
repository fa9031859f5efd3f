//! The statements of Headwater.
//!
//! Queries, DML and expressions are sqlparser's own trees; every other statement has a
//! type here that holds exactly what it means. Object and column names in these types are
//! folded as PostgreSQL folds them (unquoted to lower case, at most 63 bytes). Window table
//! functions inside queries have one shape, which `parser::window_call` reads.
//! Positions are 1-based, in characters of the submitted text.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use sqlparser::ast as sql;
pub use sqlparser::ast::{DataType, Expr, Query};

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
    pub expr: Expr,
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
    Query(QueryText, Option<EmitClause>),
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

#[derive(Clone, Debug, PartialEq)]
pub struct Explain {
    pub analyze: bool,
    pub verbose: bool,
    /// The parenthesised options other than ANALYZE and VERBOSE, by lower-case name.
    pub options: Options,
    pub what: ExplainTarget,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ExplainTarget {
    /// A query, DML or CREATE MATERIALIZED VIEW (or another statement, to be refused).
    Statement(Box<Statement>),
    MaterializedView(ObjectName),
    Sink(ObjectName),
    Watermark(ObjectName),
    /// `None`: of everything.
    State(Option<ObjectName>),
}

/// What SHOW lists or tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Show {
    Objects {
        list: ShowList,
        schema: Option<String>,
        like: Option<String>,
    },
    /// `FOR x`, or of everything.
    Watermarks(Option<ObjectName>),
    Create(ObjectKind, ObjectName),
    Columns(ObjectName),
    /// A parameter, by its lower-case name (`transaction_isolation`, `timezone`, …).
    Parameter(String),
    AllParameters,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShowList {
    Sources,
    Tables,
    Views,
    MaterializedViews,
    Sinks,
    Jobs,
    Connections,
    Secrets,
    Functions,
    Indexes,
    Schemas,
    Databases,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetScope {
    Session,
    Local,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SettingValue {
    Default,
    /// One or more values, as PostgreSQL's `SET x TO a, b`.
    Values(Vec<SettingItem>),
}

/// One value of SET: identifiers are folded, strings and numbers are as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingItem {
    pub text: String,
    /// Written as a bare word, not as a string or number.
    pub is_identifier: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransactionModes {
    pub isolation: Option<Isolation>,
    pub read_only: Option<bool>,
    pub deferrable: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    ReadUncommitted,
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

#[derive(Clone, Debug, PartialEq)]
pub struct DeclareCursor {
    pub name: String,
    pub binary: bool,
    /// `SCROLL` or `NO SCROLL`, if written.
    pub scroll: Option<bool>,
    pub hold: bool,
    pub body: CursorBody,
}

#[derive(Clone, Debug, PartialEq)]
pub enum CursorBody {
    Query(QueryText),
    Subscribe(Subscribe),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Fetch {
    /// MOVE instead of FETCH.
    pub is_move: bool,
    pub cursor: String,
    pub direction: FetchDirection,
    /// `WITH (timeout = '1s')`.
    pub with: Options,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchDirection {
    /// So many rows forward.
    Forward(i64),
    ForwardAll,
    Backward(i64),
    BackwardAll,
    First,
    Last,
    Absolute(i64),
    Relative(i64),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Subscribe {
    pub to: SubscribeTarget,
    /// SNAPSHOT and PROGRESS, as flags or with a value.
    pub with: Options,
    pub as_of: Option<Expr>,
    pub up_to: Option<Expr>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SubscribeTarget {
    Object(ObjectName),
    Query(QueryText),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscardTarget {
    All,
    Plans,
    Sequences,
    Temp,
}

/// COPY is recognised, so that it can be refused by name.
#[derive(Clone, Debug, PartialEq)]
pub struct CopyStatement {
    /// Absent for `COPY (query) TO`.
    pub relation: Option<ObjectName>,
    /// `COPY … FROM` rather than `TO`.
    pub from: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum AdvanceClock {
    To(Expr),
    By(Expr),
}

/// When results are emitted, and what becomes of late rows. Fields are as written; the
/// planner supplies what is implied.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EmitClause {
    pub policy: Option<EmitPolicy>,
    /// `ALLOWED LATENESS`, with its text.
    pub allowed_lateness: Option<ExprText>,
    pub closing: Option<Closing>,
    pub accumulation: Option<Accumulation>,
    /// `LATE DATA TO t`.
    pub late_data_to: Option<ObjectName>,
    /// The whole clause as written.
    pub text: String,
    pub position: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub enum EmitPolicy {
    /// `EMIT CHANGES` = `EMIT ON UPDATE`.
    Changes,
    /// `EMIT FINAL` = `EMIT ON WINDOW CLOSE`.
    Final,
    /// `EMIT WHEN trigger`.
    When(Trigger),
    /// `EMIT EARLY …, ON TIME …, LATE …`; at least one is there.
    Phases { early: Option<Trigger>, on_time: Option<OnTime>, late: Option<Trigger> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnTime {
    pub if_not_empty: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    IfNotEmpty,
    Always,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accumulation {
    Discarding,
    Accumulating,
    AccumulatingAndRetracting,
}

/// When a pane fires. From loose to tight: UNTIL, THEN, OR, AND.
#[derive(Clone, Debug, PartialEq)]
pub enum Trigger {
    /// `AFTER n ROWS`.
    AfterRows(u64),
    /// `EVERY INTERVAL i [OFFSET INTERVAL o]`.
    Every {
        interval: Expr,
        offset: Option<Expr>,
    },
    /// `AFTER DELAY INTERVAL i`.
    AfterDelay(Expr),
    AfterWatermark,
    Or(Box<Trigger>, Box<Trigger>),
    And(Box<Trigger>, Box<Trigger>),
    Then(Box<Trigger>, Box<Trigger>),
    Until(Box<Trigger>, Box<Trigger>),
    Repeatedly(Box<Trigger>),
}
