//! SESSION over all rows of a query.
//!
//! The rows are collected, ordered by key and time, and cut where the next row of a key comes
//! more than the gap after the one before. They leave in that order, in batches.

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::concat_batches;
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use futures::{Stream, StreamExt, TryStreamExt};

use super::WindowExec;
use crate::types::hash::fingerprints;

/// Rows of an output batch.
const BATCH_ROWS: usize = 8192;

/// The rows of `input` with their sessions.
pub(super) fn sessions(
    exec: WindowExec,
    input: SendableRecordBatchStream,
    gap_us: i64,
) -> impl Stream<Item = Result<RecordBatch>> {
    let schema = input.schema();
    let collected = input.try_collect::<Vec<RecordBatch>>();
    let batches = async move {
        let all = concat_batches(&schema, &collected.await?)?;
        divide(&exec, &all, gap_us)
    };
    futures::stream::once(batches).flat_map(|batches| {
        futures::stream::iter(match batches {
            Ok(batches) => batches.into_iter().map(Ok).collect(),
            Err(e) => vec![Err(e)],
        })
    })
}

fn divide(exec: &WindowExec, all: &RecordBatch, gap_us: i64) -> Result<Vec<RecordBatch>> {
    let times = exec.times(&exec.time, all)?;
    let keys = exec.keys.iter().map(|key| key.evaluate(all)?.into_array(all.num_rows()));
    let prints = fingerprints(&keys.collect::<Result<Vec<ArrayRef>>>()?, all.num_rows());
    let mut rows: Vec<u32> = (0..all.num_rows() as u32).filter(|row| times.is_valid(*row as usize)).collect();
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
