//! The PostgreSQL wire protocol, version 3.
//!
//! [`serve`] accepts connections; each runs one loop (`connection`) that reads a message,
//! handles it and writes the answers to a buffer that is flushed when the protocol says so.
//! Messages are pgwire's; rows are encoded straight from Arrow columns (`rows`). Statements
//! and portals of the extended protocol live in `extended`. What statements mean is behind
//! [`SessionHandle`], which `serving/session` implements. Nothing a client sends ends the
//! process; every queue has a limit in [`PgLimits`].

pub mod api;
mod connection;
mod copy;
mod extended;
mod frame;
mod report;
mod rows;
mod run;
mod server;
mod startup;
mod transport;

#[cfg(test)]
mod tests;

pub use api::{
    CancelFlag, CommandKind, Description, Notice, Outcome, ParsedStatement, RowsTag, SessionFactory,
    SessionHandle, Severity, StartupParameters, TransactionStatus,
};
pub use server::{PgLimits, ShutdownSignal, serve};
