//! SQL text in, statements and plans out: grammar, types, functions, meaning and errors as
//! PostgreSQL has them, on sqlparser and DataFusion's planner.
//!
//! `parser` turns text into the statements of `ast`; nothing there knows objects or types.
//! Statements carry their source text, so that definitions are kept as the user wrote them.
//! `context` plans queries; `windows` adds TUMBLE and HOP. Nothing here keeps state between
//! statements; `engine` and `serving` execute.

pub mod ast;
pub mod context;
pub mod emit;
pub mod errors;
pub mod functions;
pub mod inline;
pub mod outer_join_exec;
pub mod pane_columns;
pub mod parser;
pub mod places;
pub mod query_planner;
pub mod recursion;
pub mod relations;
pub mod rules;
pub mod send;
pub mod set_op_exec;
pub mod suggest;
pub mod types;
pub mod window_exec;
pub mod windows;

pub use ast::{Statement, StatementKind};
pub use parser::parse_sql;
pub use suggest::did_you_mean;
