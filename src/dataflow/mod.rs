//! The dataflow: operators, stages and the host that runs them on timely workers.

pub mod build;
pub mod exchange;
pub mod graph;
pub mod host;
pub mod operator;
pub mod operators;
pub mod triggers;
pub mod watermarks;
