//! (module opens with its contract)
