//! The incremental operators: plain structs behind [`Operator`](super::operator::Operator).
//!
//! All of them take and give Z-sets in Arrow columns and are right for retractions. Rows are
//! matched by 128-bit fingerprints (`types::hash`), so no row is ever encoded. Rows that
//! cannot be used are data: [`errors::RowErrors`] and [`late::LateRows`].

pub mod aggregate;
pub mod changelog_trigger;
pub mod constant;
pub mod errors;
pub mod expire;
pub mod expressions;
pub mod join;
pub mod late;
pub mod map;
pub mod over;
pub mod panes;
pub mod recursion;
pub mod retention;
pub mod session;
pub mod session_assign;
mod session_rows;
pub mod set_op;
pub mod temporal_filter;
mod time_queue;
pub mod top_n;
pub mod unnest;
pub mod window_assign;
pub mod window_bounds;

pub use aggregate::{
    AggregateCall, AggregateFunction, AggregateOperator, AggregateSpec, HopSpec, WindowBounds, WindowSpec,
    WindowTime,
};
pub use errors::{RowError, RowErrors};
pub use join::{JoinKind, JoinOperator, JoinSpec};
pub use late::{LateReason, LateRow, LateRows};
pub use map::{MapOperator, PassOperator};
pub use over::{OverSpec, over};
pub use top_n::{Limits, TopNSpec, top_n};
pub use window_assign::{WindowAssignOperator, WindowAssignSpec, Windows};

#[cfg(test)]
mod tests;
