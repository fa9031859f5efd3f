//! (module opens with its contract)

pub mod pg;
