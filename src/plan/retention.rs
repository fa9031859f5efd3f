//! `WITH (retention = …)`: rows leave a windowed view some time after their window's end.
//!
//! A node above the root, so it holds for whatever the query is. How long results are kept is
//! neither the delay of the watermark nor the allowed lateness.

use std::sync::Arc;

use super::*;
use crate::error::{HwError, Result, sqlstate};

impl StreamPlan {
    /// The plan whose rows leave when the clock of their window has passed its end by
    /// `retention_us`.
    ///
    /// Errors: 42P16 without a window end in the output, or without a clock that passes it.
    pub fn retain(mut self, retention_us: i64) -> Result<StreamPlan> {
        let root = self.root_node();
        let refused = |why: &str, hint: &str| {
            let message = "retention needs a windowed view";
            let error = HwError::new(sqlstate::INVALID_TABLE_DEFINITION, message);
            Err(error.with_detail(why.to_string()).with_hint(hint.to_string()))
        };
        let end = root.facts.columns.iter().enumerate().find_map(|(i, fact)| match fact {
            ColumnFact::WindowEnd { time } => Some((i, time.clone())),
            _ => None,
        });
        let (end, time) = match end {
            None => {
                let why = "The output of the view has no window_end.";
                return refused(
                    why,
                    "Select window_end of TUMBLE, HOP, CUMULATE, SESSION or WINDOWS as it is.",
                );
            }
            Some((_, WindowTime::Unbounded)) => {
                let why = "The time column of the window has no watermark, so no window ever ends.";
                return refused(why, "Declare WATERMARK FOR the column in CREATE SOURCE.");
            }
            Some(found) => found,
        };
        let facts = Facts {
            append_only: false,
            unique_key: root.facts.unique_key.clone(),
            columns: root.facts.columns.clone(),
            state: StateBound::Window,
        };
        let schema = Arc::clone(&root.schema);
        let op = StreamOp::Retain { end, time, retention_us };
        self.nodes.push(StreamNode { op, children: vec![self.root], schema, facts });
        self.root = self.nodes.len() - 1;
        Ok(self)
    }
}
