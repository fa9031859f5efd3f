//! SESSION over all rows of a query.
//!
//! The rows are collected, ordered by key and time, and cut where the next row of a key comes
//! more than the gap after the one before. They leave in that order, in batches.

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::concat_batches;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use futures::{Stream, StreamExt, TryStreamExt};

use super::WindowExec;
use crate::types::hash::fingerprints;

/// Rows of an output batch.
const BATCH_ROWS: usize = 8192;

/// The rows of `input` with their sessions. The rows count against the query's memory.
pub(super) fn sessions(
    exec: WindowExec,
    input: SendableRecordBatchStream,
    gap_us: i64,
    context: &TaskContext,
) -> impl Stream<Item = Result<RecordBatch>> + use<> {
    let schema = input.schema();
    let reservation = MemoryConsumer::new("SESSION").register(context.memory_pool());
    let batches = async move {
        let reserved = |batch: &RecordBatch| reservation.try_grow(batch.get_array_memory_size());
        let all = input.map(|batch| batch.and_then(|b| reserved(&b).map(|()| b)));
        let all = concat_batches(&schema, &all.try_collect::<Vec<_>>().await?)?;
        Ok((divide(&exec, &all, gap_us)?, reservation))
    };
    futures::stream::once(batches).flat_map(|batches| {
        let (batches, reservation) = match batches {
            Ok((batches, reservation)) => (batches.into_iter().map(Ok).collect(), Some(reservation)),
            Err(e) => (vec![Err(e)], None),
        };
        futures::stream::iter(batches).inspect(move |_| {
            let _held = &reservation;
        })
    })
}

fn divide(exec: &WindowExec, all: &RecordBatch, gap_us: i64) -> Result<Vec<RecordBatch>> {
    let times = exec.times(&exec.time, all)?;
    let keys = exec.keys.iter().map(|key| key.evaluate(all)?.into_array(all.num_rows()));
    let prints = fingerprints(&keys.collect::<Result<Vec<ArrayRef>>>()?, all.num_rows());
    let timed = |row: usize| times.is_valid(row) && !super::is_infinite(times.value(row));
    let mut rows: Vec<u32> = (0..all.num_rows() as u32).filter(|row| timed(*row as usize)).collect();
    rows.sort_by_key(|row| (prints[*row as usize], times.value(*row as usize)));
    let mut spans: Vec<(i64, i64)> = Vec::with_capacity(rows.len());
    let (mut first, mut key, mut end) = (0, None, i64::MIN);
    for (i, row) in rows.iter().enumerate() {
        let (print, time) = (prints[*row as usize], times.value(*row as usize));
        if key != Some(print) || time > end {
            spans[first..].iter_mut().for_each(|s| s.1 = end);
            (first, key) = (i, Some(print));
        }
        end = time.saturating_add(gap_us);
        let start = spans.get(first).map_or(time, |s| s.0);
        spans.push((start, end));
    }
    spans[first..].iter_mut().for_each(|s| s.1 = end);
    let chunks = rows.chunks(BATCH_ROWS).zip(spans.chunks(BATCH_ROWS));
    chunks.map(|(rows, spans)| exec.with_windows(all, &UInt32Array::from(rows.to_vec()), spans)).collect()
}
