//! The windows of a join whose state goes with them: which rows are too late for theirs.
//!
//! A window is over in the epoch after the one whose watermark, or clock, has passed it. Rows of
//! windows that are over are refused where they can come at all: they go to the late relation.

use arrow::array::{Array, BooleanArray};

use super::{JoinSpec, JoinWindow};
use crate::dataflow::operator::EpochContext;
use crate::dataflow::operators::aggregate::WindowTime;
use crate::dataflow::operators::late::{LateReason, Refusal};
use crate::dataflow::operators::window_assign::timestamp_values;
use crate::error::Result;
use crate::types::{ChangeBatch, EventTime};

pub struct WindowGate {
    window: JoinWindow,
    /// Columns that hold a bound of the window, by side.
    columns: [usize; 2],
    watermark: EventTime,
    /// Windows with this time in their column, or an earlier one, are over.
    passed: i64,
}

impl WindowGate {
    pub fn new(spec: &JoinSpec) -> Option<WindowGate> {
        let window = spec.window.clone()?;
        let columns = [spec.left_keys[window.key], spec.right_keys[window.key]];
        Some(WindowGate { window, columns, watermark: EventTime::MIN, passed: i64::MIN })
    }

    /// The rows of a side that are not too late; all of them without windows.
    pub fn open(gate: Option<&WindowGate>, side: usize, batch: ChangeBatch) -> Result<ChangeBatch> {
        let Some(gate) = gate else { return Ok(batch) };
        let Some(late) = &gate.window.late[side] else { return Ok(batch) };
        let times = timestamp_values(&batch, gate.columns[side])?.clone();
        let is_late =
            |row: usize| gate.passed > i64::MIN && times.is_valid(row) && times.value(row) <= gate.passed;
        let refusals: Vec<Refusal> = (0..batch.len())
            .filter(|row| is_late(*row))
            .map(|row| Refusal { row: row as u32, window_start: None, window_end: None })
            .collect();
        if refusals.is_empty() {
            return Ok(batch);
        }
        let weight = |row: usize| batch.weights.get(row);
        late.record(&batch.rows, &refusals, weight, LateReason::WindowClosed, gate.watermark)?;
        let kept: BooleanArray = (0..batch.len()).map(|row| Some(!is_late(row))).collect();
        batch.filter(&kept)
    }

    /// Takes the epoch's watermark, or clock, into effect: windows with this time in their
    /// column, or an earlier one, are over.
    pub fn advance(&mut self, cx: &EpochContext) -> i64 {
        let now = match &self.window.time {
            WindowTime::Event { clock } => cx.watermark(clock).0,
            WindowTime::Processing => cx.now.0,
        };
        self.watermark = self.watermark.max(EventTime(now));
        self.passed = match self.watermark {
            EventTime::MAX => i64::MAX,
            EventTime(us) => us.saturating_sub(self.window.over_after_us),
        };
        self.passed
    }
}
