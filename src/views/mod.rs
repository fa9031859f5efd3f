//! Views and tables as stored: many versions, in columns.
//!
//! The dataflow applies the changes of each epoch to a [`ViewStore`]; readers see the rows
//! of one epoch by [`ViewStore::snapshot`], [`ViewStore::lookup`], as a DataFusion table
//! ([`ViewScan`]) or as a [`Subscription`]. [`Pins`] keep the epochs alive that readers use.
//! Invariant: a row version is visible in the epochs `from <= E < to`, and is kept as long
//! as the horizon is below `to`.

mod chunk;
mod pins;
mod scan;
mod shard;
mod store;
mod subscribe;
#[cfg(test)]
mod tests;

pub use pins::{InputEnds, Pin, Pins};
pub use scan::ViewScan;
pub use store::ViewStore;
pub use subscribe::Subscription;
