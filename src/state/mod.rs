//! State structures of operators: rows kept in columnar chunks under stable ids, hash indexes of
//! little overhead, sort keys.
//!
//! Nothing here knows SQL or epochs; operators own their state and drop it themselves.

pub mod chunks;
pub mod grow;
pub mod print_map;
pub mod row_store;
pub mod short_print;
pub mod sort_key;
pub mod sorted_blocks;
pub mod wide;
pub mod word_table;

pub use chunks::Chunks;
pub use grow::{Grow, trim_free};
pub use print_map::PrintMap;
pub use row_store::{Moved, RowId, RowStore};
pub use short_print::ShortPrint;
pub use sort_key::{Key, KeyEncoder};
pub use sorted_blocks::SortedBlocks;
pub use wide::{Narrow, WideWeights};
pub use word_table::{SlotIndex, WordTable};
