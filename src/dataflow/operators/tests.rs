//! What the operators' tests share: rows as text, contents of a changing relation.

use std::collections::BTreeMap;

use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::dataflow::operator::{EpochContext, Operator};
use crate::types::{ChangeBatch, Epoch, EventTime, ProcTime};

/// Each row as text, `|` between columns, with its weight.
pub fn lines(batch: &ChangeBatch) -> Vec<(String, i64)> {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<ArrayFormatter> =
        batch.rows.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
    (0..batch.len())
        .map(|row| {
            let cells: Vec<String> = columns.iter().map(|c| c.value(row).to_string()).collect();
            (cells.join("|"), batch.weights.get(row))
        })
        .collect()
}

/// A relation as a multiset of lines.
pub type Contents = BTreeMap<String, i64>;

/// Adds changes to `contents`.
pub fn apply(contents: &mut Contents, batches: &[ChangeBatch]) {
    for (line, weight) in batches.iter().flat_map(lines) {
        let sum = contents.entry(line).or_insert(0);
        *sum += weight;
    }
    contents.retain(|_, w| *w != 0);
}

/// Lines that an epoch's output both inserts and deletes: it was not consolidated.
pub fn cancelling(batches: &[ChangeBatch]) -> Vec<String> {
    let mut signs: BTreeMap<String, [bool; 2]> = BTreeMap::new();
    for (line, weight) in batches.iter().flat_map(lines) {
        signs.entry(line).or_default()[(weight > 0) as usize] = true;
    }
    signs.into_iter().filter(|(_, signs)| *signs == [true, true]).map(|(line, _)| line).collect()
}

pub fn context(epoch: u64, now: i64, watermark: i64) -> EpochContext {
    EpochContext { epoch: Epoch(epoch), now: ProcTime(now), watermarks: vec![EventTime(watermark)].into() }
}

/// Pushes batches on inputs, then finishes the epoch.
pub fn run_epoch(
    operator: &mut dyn Operator,
    batches: impl IntoIterator<Item = (usize, ChangeBatch)>,
    cx: &EpochContext,
) -> Vec<ChangeBatch> {
    let mut out = Vec::new();
    for (input, batch) in batches {
        operator.push(input, batch, &mut out).unwrap();
    }
    operator.finish_epoch(cx, &mut out).unwrap();
    out
}

mod allocated;
mod bytes;
