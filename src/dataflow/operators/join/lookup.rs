//! Joins of arriving rows with what the other side holds now: `FOR SYSTEM_TIME AS OF proctime()`,
//! and joins with constants.
//!
//! Left rows wait for the end of the epoch, so they see all changes of the right side of their own
//! epoch, whichever came first. What a look-up gave is not revised when the right side changes
//! later. A left input that is append-only is not kept, and the output only grows; of one that
//! changes it is remembered what its rows were shown with ([`Recalled`]), and taken back with them.
//!
//! A constant right side has all its rows in the first epoch. From then on left rows are joined as
//! they come, a deletion finds what its row has found, and nothing of the left side is kept.

use arrow::array::{Array, new_null_array};
use arrow::datatypes::SchemaRef;

use super::keys::{Admission, key_prints};
use super::recalled::{Found, Recalled};
use super::shape::Shape;
use super::side::{Leaving, Matches, Side};
use super::{JoinKind, JoinSpec, OUTPUT_ROWS};
use crate::dataflow::operator::{EpochContext, Operator, StateSize};
use crate::error::{HwError, Result};
use crate::types::ChangeBatch;
use crate::types::change_batch::consolidate;
use crate::types::hash::fingerprints;

/// Look-ups of one worker.
pub struct LookupJoinOperator {
    name: String,
    kind: JoinKind,
    shape: Shape,
    left: Admission,
    right: Side,
    /// Left rows of this epoch.
    waiting: Vec<ChangeBatch>,
    left_schema: SchemaRef,
    recalled: Option<Recalled>,
    /// Whether left rows are joined as they come: the right side has all its rows.
    settled: bool,
    constant: bool,
    null_aware: Option<NullAware>,
}

/// What NOT IN constants needs to know of them all.
#[derive(Clone, Copy)]
struct NullAware {
    null_key: u128,
    rows: i64,
}

impl LookupJoinOperator {
    pub fn new(spec: JoinSpec) -> Result<LookupJoinOperator> {
        let (shape, [mut left, mut right]) = Shape::new(&spec)?;
        let null_aware = match spec.kind {
            JoinKind::Anti { null_aware: true } => {
                (left.null_equal, right.null_equal) = (true, true);
                let key = spec.left_schema.field(spec.left_keys[0]).data_type();
                Some(NullAware { null_key: key_prints(&[new_null_array(key, 1)], 1)[0], rows: 0 })
            }
            _ => None,
        };
        let right = Side::new(&spec.right_schema, right, Leaving::of(spec.right_append_only))?;
        Ok(LookupJoinOperator {
            name: spec.name,
            kind: spec.kind,
            shape,
            left,
            right,
            waiting: Vec::new(),
            left_schema: spec.left_schema,
            recalled: (!spec.left_append_only && !spec.constant).then(|| Recalled::new(spec.output_schema)),
            settled: false,
            constant: spec.constant,
            null_aware,
        })
    }

    /// Shows the rows that can match nothing; the others come back.
    fn keyed(&self, batch: ChangeBatch, out: &mut Vec<ChangeBatch>) -> Result<ChangeBatch> {
        let (keyed, loose) = self.left.split(batch)?;
        if let (Some(loose), true) = (loose, self.kind.keeps(0)) {
            let columns = loose.rows.project(&self.left.columns)?;
            let (columns, weights) = (columns.columns(), loose.weights.clone());
            out.extend(self.shape.alone(self.kind, 0, columns, weights, false, loose.len())?);
        }
        Ok(keyed)
    }

    /// Left rows whose answer is not revised.
    fn join(&self, batch: ChangeBatch, out: &mut Vec<ChangeBatch>) -> Result<()> {
        let keyed = self.keyed(batch, out)?;
        let mut found = Vec::new();
        self.look_up(&keyed, &mut found)?;
        out.extend(found.into_iter().map(|f| f.shown));
        Ok(())
    }

    fn look_up(&self, keyed: &ChangeBatch, out: &mut Vec<Found>) -> Result<()> {
        let Some(arrival) = self.left.admit(keyed)? else { return Ok(()) };
        let mut matched = vec![false; arrival.rows.len()];
        let mut found = Matches::default();
        for (row, key) in arrival.key_prints.iter().enumerate() {
            let weight = arrival.rows.weights.get(row);
            let mut cursor = self.right.first(*key);
            while let Some(node) = cursor {
                cursor = self.right.push_match(node, row, weight, &mut found);
                if found.rows.len() >= OUTPUT_ROWS {
                    self.emit(&arrival.rows, &mut found, &mut matched, out)?;
                }
            }
        }
        self.emit(&arrival.rows, &mut found, &mut matched, out)?;
        if let Some(NullAware { null_key, rows }) = self.null_aware {
            let has_null = self.right.contains(null_key);
            for (matched, key) in matched.iter_mut().zip(&arrival.key_prints) {
                *matched |= has_null || (*key == null_key && rows != 0);
            }
        }
        if self.kind.keeps(0) {
            self.show(&arrival.rows, &matched, true, out)?;
            self.show(&arrival.rows, &matched, false, out)?;
        }
        Ok(())
    }

    /// Rows of a left side that changes: first what goes, then what comes.
    fn follow(&self, recalled: &mut Recalled, out: &mut Vec<ChangeBatch>) -> Result<()> {
        let changes = self.keyed(consolidate(&self.left_schema, &self.waiting)?, out)?;
        if changes.is_empty() {
            return Ok(());
        }
        let part = |negative: bool| -> Result<(ChangeBatch, Vec<u128>, Vec<i64>)> {
            let weights = changes.weights_vec();
            let rows = changes.filter(&weights.iter().map(|w| Some((*w < 0) == negative)).collect())?;
            let prints = fingerprints(rows.rows.columns(), rows.len());
            let weights = rows.weights_vec();
            Ok((rows, prints, weights))
        };
        let (_, prints, weights) = part(true)?;
        out.extend(recalled.take_back(&prints, &weights)?);
        let (rows, prints, weights) = part(false)?;
        let mut found = Vec::new();
        self.look_up(&rows, &mut found)?;
        recalled.keep(&prints, &weights, &found)?;
        out.extend(found.into_iter().map(|f| f.shown));
        Ok(())
    }

    fn emit(
        &self,
        rows: &ChangeBatch,
        found: &mut Matches,
        matched: &mut [bool],
        out: &mut Vec<Found>,
    ) -> Result<()> {
        if found.rows.is_empty() {
            return Ok(());
        }
        let pairs = self.shape.pairs(0, &rows.rows, found, self.right.gather(&found.ids)?)?;
        let satisfied = self.shape.satisfied(&pairs)?;
        for (pair, row) in found.rows.iter().enumerate() {
            matched[*row as usize] |= satisfied.is_valid(pair) && satisfied.value(pair);
        }
        if !self.kind.makes_pairs() {
            found.clear();
            return Ok(());
        }
        let shown = self.shape.project(pairs.filter(&satisfied)?)?;
        let left = satisfied.iter().zip(&found.rows).filter(|(kept, _)| *kept == Some(true));
        let rows: Vec<u32> = left.map(|(_, row)| *row).collect();
        out.extend((!rows.is_empty()).then_some(Found { rows, shown }));
        found.clear();
        Ok(())
    }

    /// The rows that match, or those that do not, as they are shown.
    fn show(&self, all: &ChangeBatch, matched: &[bool], which: bool, out: &mut Vec<Found>) -> Result<()> {
        let rows: Vec<u32> = (0..all.len() as u32).filter(|row| matched[*row as usize] == which).collect();
        let these = all.filter(&matched.iter().map(|m| Some(*m == which)).collect())?;
        let weights = these.weights.clone();
        let shown = self.shape.alone(self.kind, 0, these.rows.columns(), weights, which, these.len())?;
        out.extend(shown.map(|shown| Found { rows, shown }));
        Ok(())
    }
}

impl Operator for LookupJoinOperator {
    fn name(&self) -> &str {
        &self.name
    }

    fn push(&mut self, input: usize, batch: ChangeBatch, out: &mut Vec<ChangeBatch>) -> Result<()> {
        if input == 0 && self.settled {
            return self.join(batch, out);
        }
        if input == 0 {
            self.waiting.push(batch);
            return Ok(());
        }
        if self.settled {
            return Err(HwError::internal("the constant side of a join has changed"));
        }
        if let Some(aware) = &mut self.null_aware {
            aware.rows += batch.weights_vec().iter().sum::<i64>();
        }
        match self.right.admit(&batch)? {
            Some(arrival) => self.right.store(arrival),
            None => Ok(()),
        }
    }

    fn finish_epoch(&mut self, _cx: &EpochContext, out: &mut Vec<ChangeBatch>) -> Result<()> {
        match self.recalled.take() {
            Some(mut recalled) => {
                self.follow(&mut recalled, out)?;
                self.waiting.clear();
                recalled.compact()?;
                self.recalled = Some(recalled);
            }
            None => {
                for batch in std::mem::take(&mut self.waiting) {
                    self.join(batch, out)?;
                }
            }
        }
        self.settled = self.constant;
        self.shape.end_epoch();
        self.right.compact()
    }

    fn state_size(&self) -> StateSize {
        let (entries, bytes) = self.recalled.as_ref().map_or((0, 0), |r| (r.entries(), r.bytes()));
        StateSize { entries: self.right.len() + entries, bytes: self.right.bytes() + bytes }
    }
}

#[cfg(test)]
mod tests;
