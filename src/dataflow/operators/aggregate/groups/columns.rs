//! What an aggregate call reads of a batch, how the accumulators are fed with it, and whether what
//! they give has changed.

use std::slice::from_ref;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::kernels::cmp::distinct;
use arrow::row::{RowConverter, SortField};

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

/// For each shown row, whether all its columns are as before; `None` without columns.
pub fn unchanged(old: &[ArrayRef], new: &[ArrayRef], rows: usize) -> Result<Option<BooleanBuffer>> {
    let mut same: Option<BooleanBuffer> = None;
    for (old, new) in old.iter().zip(new) {
        let new = new.slice(0, rows);
        let column = if old.data_type().is_nested() {
            equal_rows(old, &new)?
        } else {
            !distinct(&old, &new)?.values()
        };
        same = Some(same.map_or(column.clone(), |s| &s & &column));
    }
    Ok(same)
}

fn equal_rows(old: &ArrayRef, new: &ArrayRef) -> Result<BooleanBuffer> {
    let converter = RowConverter::new(vec![SortField::new(old.data_type().clone())])?;
    let (old, new) = (converter.convert_columns(from_ref(old))?, converter.convert_columns(from_ref(new))?);
    Ok(old.iter().zip(new.iter()).map(|(a, b)| a == b).collect())
}
