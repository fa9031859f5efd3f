//! The emit clause of a materialized view, as written.
//!
//! The meaning of each part, and what is implied where a part is missing, is the planner's.

use super::{Expr, ExprText, ObjectName};

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
        interval: Box<Expr>,
        offset: Option<Box<Expr>>,
    },
    /// `AFTER DELAY INTERVAL i`.
    AfterDelay(Box<Expr>),
    AfterWatermark,
    Or(Box<Trigger>, Box<Trigger>),
    And(Box<Trigger>, Box<Trigger>),
    Then(Box<Trigger>, Box<Trigger>),
    Until(Box<Trigger>, Box<Trigger>),
    Repeatedly(Box<Trigger>),
}
