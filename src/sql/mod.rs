//! SQL text to plans: types, functions, meaning and errors as PostgreSQL has them, on
//! DataFusion's planner. Nothing here executes; `engine` and `serving` do.

pub mod context;
pub mod errors;
pub mod functions;
pub mod rules;
pub mod types;
