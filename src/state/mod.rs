//! State structures of operators: rows kept in columnar chunks under stable ids.
//!
//! Nothing here knows SQL or epochs; operators own their state and drop it themselves.

pub mod row_store;
pub mod sort_key;

pub use row_store::{RowId, RowStore};
pub use sort_key::{Key, KeyEncoder};
