//! A million open sessions: bytes of state each, and an epoch that touches none of them.
//!
//! Sessions of a million bidders are opened by one bid each, with the gap longer than the
//! run. Counted are the bytes that the allocator has given out since before (divided by the
//! sessions), then the CPU time of epochs that bring a watermark, and of epochs that bring one
//! row of a bidder not seen before: the slowest of a hundred each. Goals: 300 bytes, 1 ms.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema};
use headwater::dataflow::operator::{EpochContext, Operator};
use headwater::dataflow::operators::panes::pane_fields;
use headwater::dataflow::operators::session::{SessionAggregateOperator, SessionAggregateSpec};
use headwater::dataflow::operators::{AggregateFunction, LateRows, RowErrors, WindowTime};
use headwater::types::trigger::EmitSpec;
use headwater::types::{ChangeBatch, Epoch, EventTime, ProcTime};

use super::{BATCH_ROWS, BoxError, allocated_bytes, bid_schema, call, cpu_seconds, early_on_time_late};

const SESSIONS: usize = 1_000_000;
const GAP_US: i64 = 3_600_000_000;
const EPOCHS: usize = 100;
const BYTES_GOAL: f64 = 300.0;
const EPOCH_GOAL_MS: f64 = 1.0;

fn operator(emit: EmitSpec) -> Result<SessionAggregateOperator, BoxError> {
    let schema = bid_schema();
    let time = schema.field(3).data_type().clone();
    let mut fields = vec![
        schema.field(1).clone(),
        Field::new("window_start", time.clone(), false),
        Field::new("window_end", time, false),
        Field::new("bids", DataType::Int64, true),
    ];
    if emit.with_pane_columns {
        fields.extend(pane_fields());
    }
    Ok(SessionAggregateOperator::new(SessionAggregateSpec {
        input_schema: schema,
        input_append_only: true,
        group_columns: vec![1],
        calls: vec![call(AggregateFunction::CountStar, None, DataType::Int64)],
        output_schema: Arc::new(Schema::new(fields)),
        time_column: 3,
        time: WindowTime::Event { clock: vec![0].into() },
        gap_us: GAP_US,
        emit,
        late: Arc::new(LateRows::new(100)),
        errors: Arc::new(RowErrors::new(100)),
    })?)
}

/// One bid of each of these bidders.
fn bids(bidders: std::ops::Range<usize>) -> Result<ChangeBatch, BoxError> {
    let ids = || Int64Array::from_iter_values(bidders.clone().map(|b| b as i64));
    let times = TimestampMicrosecondArray::from_iter_values(bidders.clone().map(|b| b as i64));
    let rows = RecordBatch::try_new(
        bid_schema(),
        vec![Arc::new(ids()), Arc::new(ids()), Arc::new(ids()), Arc::new(times)],
    )?;
    Ok(ChangeBatch::inserts(rows))
}

struct Run {
    operator: SessionAggregateOperator,
    epoch: u64,
}

impl Run {
    /// CPU time of an epoch in milliseconds.
    fn epoch(&mut self, batch: Option<ChangeBatch>) -> Result<f64, BoxError> {
        self.epoch += 1;
        let cx = EpochContext {
            epoch: Epoch(self.epoch),
            now: ProcTime(self.epoch as i64 * 100_000),
            watermarks: vec![EventTime(self.epoch as i64)].into(),
        };
        let (start, mut out) = (cpu_seconds(), Vec::new());
        if let Some(batch) = batch {
            self.operator.push(0, batch, &mut out)?;
        }
        self.operator.finish_epoch(&cx, &mut out)?;
        Ok((cpu_seconds() - start) * 1e3)
    }

    fn slowest(&mut self, new: bool) -> Result<f64, BoxError> {
        let mut slowest: f64 = 0.0;
        for number in 0..EPOCHS {
            let bidder = SESSIONS + number;
            let batch = if new { Some(bids(bidder..bidder + 1)?) } else { None };
            slowest = slowest.max(self.epoch(batch)?);
        }
        Ok(slowest)
    }
}

pub fn run() -> Result<(), BoxError> {
    println!();
    let panes = EmitSpec { with_pane_columns: true, ..early_on_time_late() };
    for (name, emit) in
        [("changes", EmitSpec::changes()), ("final", EmitSpec::final_pane()), ("early/on time/late", panes)]
    {
        let before = allocated_bytes();
        let mut run = Run { operator: operator(emit)?, epoch: 0 };
        for first in (0..SESSIONS).step_by(BATCH_ROWS) {
            run.epoch(Some(bids(first..(first + BATCH_ROWS).min(SESSIONS))?))?;
        }
        // Early panes that are due have fired.
        for _ in 0..20 {
            run.epoch(None)?;
        }
        let bytes = (allocated_bytes() - before) as f64 / SESSIONS as f64;
        let (idle, one) = (run.slowest(false)?, run.slowest(true)?);
        let met = bytes <= BYTES_GOAL && idle <= EPOCH_GOAL_MS && one <= EPOCH_GOAL_MS;
        println!(
            "{SESSIONS} open sessions, {name}: {bytes:.0} bytes each (goal {BYTES_GOAL}), slowest epoch without \
             rows {idle:.3} ms, with a row elsewhere {one:.3} ms (goal {EPOCH_GOAL_MS}) {}",
            if met { "met" } else { "MISSED" }
        );
    }
    Ok(())
}
