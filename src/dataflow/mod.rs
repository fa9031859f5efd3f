//! The dataflow: operators, stages and the host that runs them on timely workers.

pub mod graph;
pub mod operator;
pub mod operators;
