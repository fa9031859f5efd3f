//! The vocabulary of all layers: changes with weights, the three kinds of time, SQL types
//! and their Arrow carriers, canonical hashing. Pure data; nothing here does I/O.

pub mod change_batch;
pub mod exact;
pub mod hash;
pub mod order;
pub mod order_key;
pub mod pg_type;
pub mod special;
pub mod text;
pub mod time;
pub mod trigger;
pub mod window;

pub use change_batch::{ChangeBatch, Weights};
pub use pg_type::PgType;
pub use time::{Epoch, EventTime, ProcTime};
