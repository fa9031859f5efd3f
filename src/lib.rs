//! Headwater: a SQL streaming database in one binary.
//!
//! Layers, low to high; a file names only strictly lower layers or its own module
//! (`tidy.rs` checks it): `error clock config metrics types` < `formats state` <
//! `connectors catalog views` < `plan` < `sql | dataflow` < `engine` < `serving` < `main`.

pub mod catalog;
pub mod clock;
pub mod config;
pub mod connectors;
pub mod dataflow;
pub mod engine;
pub mod error;
pub mod formats;
pub mod metrics;
pub mod plan;
pub mod serving;
pub mod sql;
pub mod state;
#[cfg(test)]
mod tidy;
pub mod types;
pub mod views;
