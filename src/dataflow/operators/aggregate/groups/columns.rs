//! The columns and rows of a batch that an aggregate call reads.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::{BooleanBuffer, NullBuffer};

use crate::plan::AggregateCall;

/// The arguments of a call, and the columns of its order.
pub fn call_columns<'r>(
    call: &AggregateCall,
    rows: &'r RecordBatch,
) -> (Vec<&'r ArrayRef>, Vec<&'r ArrayRef>) {
    let arguments = call.arguments.iter().map(|c| rows.column(*c)).collect();
    (arguments, call.order_by.iter().map(|(c, _)| rows.column(*c)).collect())
}

/// Rows of a batch that a call takes; `None` if all.
pub fn selection(call: &AggregateCall, rows: &RecordBatch) -> Option<BooleanBuffer> {
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
