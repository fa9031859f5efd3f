//! Statements of a session: EXPLAIN, SHOW, SET, transactions, cursors, SUBSCRIBE, time.
//!
//! They define nothing; names in them are folded like those of definitions.

use super::{Expr, ObjectKind, ObjectName, Options, Query, QueryText, Statement};
use crate::formats::copy::CopyForm;

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
    Subscribe(Box<Subscribe>),
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

/// `COPY … FROM STDIN` or `TO STDOUT`.
#[derive(Clone, Debug, PartialEq)]
pub struct CopyStatement {
    pub subject: CopySubject,
    /// `FROM STDIN` rather than `TO STDOUT`.
    pub from: bool,
    pub form: CopyForm,
}

#[derive(Clone, Debug, PartialEq)]
pub enum CopySubject {
    /// With the columns named; none named means all.
    Relation { name: ObjectName, columns: Vec<String> },
    /// TO only.
    Query(Box<Query>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum AdvanceClock {
    To(Expr),
    By(Expr),
}
