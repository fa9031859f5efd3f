//! The catalog: definitions of all objects, as plain data.
//!
//! A [`Catalog`] is an immutable snapshot that is cheap to clone; every change makes a new
//! one, which the engine swaps in and [`CatalogStore`] writes. Nothing here parses SQL: texts
//! of queries and expressions are kept as the user wrote them, and planned by higher layers.
//! Invariants: ids and oids are never reused; names are unique per schema and namespace;
//! every id in `depends_on` exists; secrets are in no rendered text.

mod columns;
mod definition;
mod dependencies;
mod render;
mod snapshot;
mod store;
pub mod suggest;
pub mod system;

#[cfg(test)]
mod tests;

pub use definition::{
    ConnectionDetails, Definition, Details, FormatDefinition, FunctionDetails, FunctionParameter,
    IncludeDefinition, IndexDetails, Kind, MaterializedViewDetails, NewDefinition, ObjectId, OptionText,
    SecretDetails, SecretValue, SinkDetails, SourceDetails, TableDetails, ViewDetails, WatermarkDefinition,
    WithOptions,
};
pub use render::{quote_identifier, quote_literal, render_create};
pub use snapshot::{Catalog, QualifiedName, SchemaDefinition};
pub use store::CatalogStore;

/// The schema of objects that are named without one.
pub const DEFAULT_SCHEMA: &str = "public";
/// First oid of user objects, as in PostgreSQL.
pub const FIRST_OID: u32 = 16384;
