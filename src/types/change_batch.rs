//! A change is a row and a weight: a Z-set held in Arrow columns.
//!
//! `+1` inserts a row, `-1` deletes one equal row, other weights stand for repetition. The
//! `One` form is the append-only fast path: every row has weight 1 and nothing is stored.
//! Order inside a batch has no meaning; the rows of an epoch are a set (DBSP, Budiu et al.,
//! VLDB 2023). Invariant: `Each` holds exactly one non-null weight per row, none of them 0
//! after `consolidate`.

use arrow::array::{BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;

use crate::error::Result;

/// Weights of the rows of a batch.
#[derive(Clone, Debug)]
pub enum Weights {
    /// Every row has weight 1.
    One,
    /// One non-null weight per row.
    Each(Int64Array),
}

impl Weights {
    pub fn get(&self, row: usize) -> i64 {
        match self {
            Weights::One => 1,
            Weights::Each(w) => w.value(row),
        }
    }

    /// The weights as a slice, or `None` when all are 1.
    pub fn as_slice(&self) -> Option<&[i64]> {
        match self {
            Weights::One => None,
            Weights::Each(w) => Some(w.values()),
        }
    }
}

/// Rows with weights. Cloning is cheap (reference counts).
#[derive(Clone, Debug)]
pub struct ChangeBatch {
    pub rows: RecordBatch,
    pub weights: Weights,
}

impl ChangeBatch {
    pub fn inserts(rows: RecordBatch) -> Self {
        ChangeBatch { rows, weights: Weights::One }
    }

    pub fn deletes(rows: RecordBatch) -> Self {
        let n = rows.num_rows();
        ChangeBatch { rows, weights: Weights::Each(Int64Array::from_value(-1, n)) }
    }

    /// Panics if the number of weights is not the number of rows.
    pub fn new(rows: RecordBatch, weights: Vec<i64>) -> Self {
        assert_eq!(rows.num_rows(), weights.len());
        ChangeBatch { rows, weights: Weights::Each(Int64Array::from(weights)) }
    }

    pub fn len(&self) -> usize {
        self.rows.num_rows()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.num_rows() == 0
    }

    pub fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    /// Keeps the rows where `mask` is true; null counts as false.
    pub fn filter(&self, mask: &BooleanArray) -> Result<ChangeBatch> {
        let rows = filter_record_batch(&self.rows, mask)?;
        let weights = match &self.weights {
            Weights::One => Weights::One,
            Weights::Each(w) => {
                let kept = arrow::compute::filter(w, mask)?;
                Weights::Each(arrow::array::AsArray::as_primitive(&kept).clone())
            }
        };
        Ok(ChangeBatch { rows, weights })
    }

    /// Picks rows by index, in that order; repetition is allowed.
    pub fn take(&self, indices: &UInt32Array) -> Result<ChangeBatch> {
        let rows = take_rows(&self.rows, indices)?;
        let weights = match &self.weights {
            Weights::One => Weights::One,
            Weights::Each(w) => {
                let taken = arrow::compute::take(w, indices, None)?;
                Weights::Each(arrow::array::AsArray::as_primitive(&taken).clone())
            }
        };
        Ok(ChangeBatch { rows, weights })
    }

    /// A view of `length` rows from `offset`, without copying.
    pub fn slice(&self, offset: usize, length: usize) -> ChangeBatch {
        let weights = match &self.weights {
            Weights::One => Weights::One,
            Weights::Each(w) => Weights::Each(w.slice(offset, length)),
        };
        ChangeBatch { rows: self.rows.slice(offset, length), weights }
    }

    /// The same rows under other columns (same number of rows), weights kept.
    pub fn with_rows(&self, rows: RecordBatch) -> ChangeBatch {
        assert_eq!(rows.num_rows(), self.rows.num_rows());
        ChangeBatch { rows, weights: self.weights.clone() }
    }

    /// All weights as an owned vector.
    pub fn weights_vec(&self) -> Vec<i64> {
        match &self.weights {
            Weights::One => vec![1; self.len()],
            Weights::Each(w) => w.values().to_vec(),
        }
    }
}

/// Rows by index; rows without columns are rows too.
pub fn take_rows(rows: &RecordBatch, indices: &UInt32Array) -> Result<RecordBatch> {
    if rows.num_columns() > 0 {
        return Ok(take_record_batch(rows, indices)?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(indices.len()));
    Ok(RecordBatch::try_new_with_options(rows.schema(), Vec::new(), &options)?)
}

/// Concatenates batches of one schema; `One` survives only if all are `One`.
pub fn concat(schema: &SchemaRef, batches: &[ChangeBatch]) -> Result<ChangeBatch> {
    if let [only] = batches {
        return Ok(only.clone());
    }
    let rows = arrow::compute::concat_batches(schema, batches.iter().map(|b| &b.rows))?;
    let weights = if batches.iter().all(|b| matches!(b.weights, Weights::One)) {
        Weights::One
    } else {
        let mut all = Vec::with_capacity(rows.num_rows());
        for b in batches {
            match &b.weights {
                Weights::One => all.resize(all.len() + b.len(), 1),
                Weights::Each(w) => all.extend_from_slice(w.values()),
            }
        }
        Weights::Each(Int64Array::from(all))
    };
    Ok(ChangeBatch { rows, weights })
}

/// Adds up the weights of equal rows and drops rows whose weight is 0. Returns one batch;
/// append-only input (`One`) is returned as it is, unconsolidated, because equal inserts
/// need no cancelling. Rows are matched by 128-bit fingerprint (see `types::hash`).
pub fn consolidate(schema: &SchemaRef, batches: &[ChangeBatch]) -> Result<ChangeBatch> {
    let all = concat(schema, batches)?;
    let Weights::Each(weights) = &all.weights else { return Ok(all) };
    let prints = super::hash::fingerprints(all.rows.columns(), all.len());
    let mut first: hashbrown::HashMap<u128, u32, super::hash::PrintHasher> =
        hashbrown::HashMap::with_capacity_and_hasher(all.len(), Default::default());
    let mut sums: Vec<(u32, i64)> = Vec::with_capacity(all.len());
    for (row, print) in prints.iter().enumerate() {
        let slot = *first.entry(*print).or_insert_with(|| {
            sums.push((row as u32, 0));
            (sums.len() - 1) as u32
        });
        sums[slot as usize].1 += weights.value(row);
    }
    sums.retain(|(_, w)| *w != 0);
    let indices = UInt32Array::from_iter_values(sums.iter().map(|(row, _)| *row));
    let rows = take_rows(&all.rows, &indices)?;
    Ok(ChangeBatch::new(rows, sums.into_iter().map(|(_, w)| w).collect()))
}
