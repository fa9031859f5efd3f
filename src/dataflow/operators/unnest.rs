//! A row for each element of its arrays.
//!
//! Stateless. The listed columns are arrays; a row becomes as many rows as its longest array
//! has elements, shorter arrays are filled up with NULL, and a row whose arrays are all
//! empty or NULL gives none, as in PostgreSQL. The other columns are repeated, and so is the
//! weight.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::SchemaRef;

use super::expressions::batch_of;
use crate::dataflow::operator::{EpochContext, Operator};
use crate::error::{HwError, Result};
use crate::plan::UnnestColumn;
use crate::types::{ChangeBatch, Weights};

/// Rows are made in batches of about this many.
const OUTPUT_ROWS: usize = 8192;

pub struct UnnestOperator {
    columns: Vec<UnnestColumn>,
    schema: SchemaRef,
}

impl UnnestOperator {
    pub fn new(columns: Vec<UnnestColumn>, schema: SchemaRef) -> UnnestOperator {
        UnnestOperator { columns, schema }
    }

    fn lists<'a>(&self, batch: &'a ChangeBatch) -> Result<Vec<&'a ListArray>> {
        let elements = self.columns.iter().filter_map(|c| match c {
            UnnestColumn::Elements(i) => Some(batch.rows.column(*i)),
            UnnestColumn::Repeat(_) => None,
        });
        elements
            .map(|c| {
                c.as_list_opt::<i32>().ok_or_else(|| HwError::internal("unnest of what is not an array"))
            })
            .collect()
    }

    /// Rows `from..to` of the input, unnested.
    fn part(&self, batch: &ChangeBatch, lengths: &[u32], from: usize, to: usize) -> Result<ChangeBatch> {
        let total: usize = lengths[from..to].iter().map(|n| *n as usize).sum();
        let rows = (from..to).flat_map(|row| std::iter::repeat_n(row as u32, lengths[row] as usize));
        let repeat = UInt32Array::from_iter_values(rows);
        let column = |c: &UnnestColumn| -> Result<ArrayRef> {
            let (UnnestColumn::Repeat(i) | UnnestColumn::Elements(i)) = *c;
            let array = batch.rows.column(i);
            if matches!(c, UnnestColumn::Repeat(_)) {
                return Ok(take(array, &repeat, None)?);
            }
            let list = array.as_list::<i32>();
            let mut indices: Vec<Option<u32>> = Vec::with_capacity(total);
            for (row, total) in (from..to).zip(&lengths[from..to]) {
                let held = length(list, row);
                let start = list.value_offsets()[row] as u32;
                indices.extend((0..*total).map(|n| (n < held).then_some(start + n)));
            }
            Ok(take(list.values(), &UInt32Array::from(indices), None)?)
        };
        let columns = self.columns.iter().map(column).collect::<Result<Vec<_>>>()?;
        let weights = match &batch.weights {
            Weights::One => Weights::One,
            Weights::Each(w) => Weights::Each(Int64Array::from_iter_values(
                repeat.values().iter().map(|r| w.value(*r as usize)),
            )),
        };
        Ok(ChangeBatch { rows: batch_of(&self.schema, columns, total)?, weights })
    }
}

fn length(list: &ListArray, row: usize) -> u32 {
    if list.is_null(row) { 0 } else { list.value_length(row) as u32 }
}

impl Operator for UnnestOperator {
    fn name(&self) -> &str {
        "unnest"
    }

    fn push(&mut self, _input: usize, batch: ChangeBatch, out: &mut Vec<ChangeBatch>) -> Result<()> {
        let lists = self.lists(&batch)?;
        let longest = |row: usize| lists.iter().map(|l| length(l, row)).max().unwrap_or(0);
        let lengths: Vec<u32> = (0..batch.len()).map(longest).collect();
        let (mut from, mut waiting) = (0, 0);
        for row in 0..batch.len() {
            waiting += lengths[row] as usize;
            if waiting >= OUTPUT_ROWS || row + 1 == batch.len() {
                if waiting > 0 {
                    out.push(self.part(&batch, &lengths, from, row + 1)?);
                }
                (from, waiting) = (row + 1, 0);
            }
        }
        Ok(())
    }

    fn finish_epoch(&mut self, _cx: &EpochContext, _out: &mut Vec<ChangeBatch>) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
