//! What an aggregate call reads of a batch, and how the accumulators are fed with it.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::{BooleanBuffer, NullBuffer};

use super::super::accumulator::{Accumulator, Input};
use crate::error::Result;
use crate::plan::AggregateCall;
use crate::types::ChangeBatch;

/// Feeds the rows of `batch`, by row to `slots`, to the accumulators that `calls` have.
pub fn feed(
    calls: &[AggregateCall],
    accumulators: &mut [Option<Box<dyn Accumulator>>],
    batch: &ChangeBatch,
    slots: &[u32],
) -> Result<()> {
    for (call, accumulator) in calls.iter().zip(accumulators) {
        let Some(accumulator) = accumulator else { continue };
        let (arguments, order) = call_columns(call, &batch.rows);
        let selected = selection(call, &batch.rows);
        accumulator.update(&Input {
            slots,
            arguments: &arguments,
            order: &order,
            weights: batch.weights.as_slice(),
            selected: selected.as_ref(),
        })?;
    }
    Ok(())
}

/// The arguments of a call, and the columns of its order.
fn call_columns<'r>(call: &AggregateCall, rows: &'r RecordBatch) -> (Vec<&'r ArrayRef>, Vec<&'r ArrayRef>) {
    let arguments = call.arguments.iter().map(|c| rows.column(*c)).collect();
    (arguments, call.order_by.iter().map(|(c, _)| rows.column(*c)).collect())
}

/// Rows of a batch that a call takes; `None` if all.
fn selection(call: &AggregateCall, rows: &RecordBatch) -> Option<BooleanBuffer> {
    let with_nulls = |bits: BooleanBuffer, nulls: Option<&NullBuffer>| match nulls {
        Some(nulls) => &bits & nulls.inner(),
        None => bits,
    };
    let passed = call.filter.map(|column| {
        let filter = rows.column(column).as_boolean();
        with_nulls(filter.values().clone(), filter.nulls())
    });
    let read = call.arguments.iter().filter(|_| call.skips_nulls());
    let nulls = read.filter_map(|c| rows.column(*c).nulls()).filter(|n| n.null_count() > 0);
    nulls.fold(passed, |bits, nulls| match bits {
        Some(bits) => Some(with_nulls(bits, Some(nulls))),
        None => Some(nulls.inner().clone()),
    })
}
