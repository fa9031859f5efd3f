//! SQL text in, statements out: the grammar of Headwater on top of sqlparser.
//!
//! `parser` turns text into the statements of `ast`; nothing here knows objects or types.
//! Statements carry their source text, so that definitions are kept as the user wrote them.
//! Syntax errors are 42601 with a position in the text that was submitted.

pub mod types;
pub mod rules;
pub mod functions;
pub mod errors;
pub mod context;
pub mod ast;
pub mod parser;
pub mod suggest;

pub use ast::{Statement, StatementKind};
pub use parser::parse_sql;
pub use suggest::did_you_mean;
pub mod window_exec;
pub mod windows;
//! SQL text to plans: types, functions, meaning and errors as PostgreSQL has them, on
//! DataFusion's planner. Nothing here executes; `engine` and `serving` do.

