//! The rules of the emit clause that need the plan.
//!
//! In: a lowered plan, the bound clause and which of its parts were written. A part that can
//! have no effect on this plan is refused (42P16), naming the part and what to write instead;
//! DISCARDING over changes that delete rows is 0A000. What is implied is never refused: EARLY
//! on a view without watermark just has no on-time pane.

use super::*;
use crate::error::{HwError, Result, sqlstate};
use crate::types::trigger::{Accumulation, EmitSpec};

/// Which parts of an emit clause were written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EmitWords {
    /// Where the clause begins in the statement.
    pub position: Option<usize>,
    pub on_time: bool,
    pub late: bool,
    /// `FINAL` or `ON WINDOW CLOSE`.
    pub at_close: bool,
    /// `AFTER WATERMARK` in a free trigger.
    pub after_watermark: bool,
    pub lateness: bool,
    pub closing: bool,
    pub accumulation: bool,
}
