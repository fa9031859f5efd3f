//! UNION with deletions: derivations of a row are counted by round.
//!
//! Round 0 is the base; what the step makes of rows of round r belongs to round r + 1. A row of
//! x has the least round in which it has a derivation, and goes through the step with that
//! round, so a row is never the reason of itself: derivations of the round r + 1 come from rows
//! of round r. An epoch goes through the rounds upwards. When a round is looked at, all before it
//! are final, so the counts of this round are too; rows whose least round is now this one enter
//! the step, those that were of this round and are not any more leave it. That is the nested
//! iteration of differential dataflow (McSherry et al., CIDR 2013) for one row at a time.
//! Only rounds and rows that a change reaches are looked at. Rows are matched by fingerprint, so
//! none is stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use hashbrown::HashMap;

use super::{Meter, run};
use crate::dataflow::graph::Stage;
use crate::dataflow::operator::{EpochContext, StateSize};
use crate::error::{HwError, Result};
use crate::state::PrintMap;
use crate::types::ChangeBatch;
use crate::types::hash::{PrintHasher, fingerprints};

/// The derivations of one row: rounds, ascending, and how many each has, never 0.
#[derive(Debug)]
#[expect(clippy::box_collection, reason = "one pointer keeps an entry at 16 bytes")]
enum Counts {
    One(u32, i64),
    Many(Box<Vec<(u32, i64)>>),
}

impl Counts {
    fn as_slice(&self) -> CountsIter<'_> {
        match self {
            Counts::One(round, count) => CountsIter::One(Some((*round, *count))),
            Counts::Many(all) => CountsIter::Many(all.iter()),
        }
    }

    /// The least round with a derivation.
    fn least(&self) -> Option<u32> {
        self.as_slice().find(|(_, count)| *count > 0).map(|(round, _)| round)
    }

    /// Adds derivations; true if none are left in any round.
    fn add(&mut self, round: u32, weight: i64) -> bool {
        let mut all: Vec<(u32, i64)> = match std::mem::replace(self, Counts::One(0, 0)) {
            Counts::One(at, count) if at == round => {
                *self = Counts::One(at, count + weight);
                return count + weight == 0;
            }
            Counts::One(_, 0) => {
                *self = Counts::One(round, weight);
                return weight == 0;
            }
            Counts::One(at, count) => vec![(at, count)],
            Counts::Many(all) => *all,
        };
        match all.binary_search_by_key(&round, |(r, _)| *r) {
            Ok(i) => {
                all[i].1 += weight;
                if all[i].1 == 0 {
                    all.remove(i);
                }
            }
            Err(i) if weight != 0 => all.insert(i, (round, weight)),
            Err(_) => {}
        }
        *self = match all.as_slice() {
            [] => return true,
            [(round, count)] => Counts::One(*round, *count),
            _ => Counts::Many(Box::new(all)),
        };
        false
    }

    fn bytes(&self) -> usize {
        match self {
            Counts::One(..) => 0,
            Counts::Many(all) => size_of::<Vec<(u32, i64)>>() + all.capacity() * size_of::<(u32, i64)>(),
        }
    }
}

enum CountsIter<'a> {
    One(Option<(u32, i64)>),
    Many(std::slice::Iter<'a, (u32, i64)>),
}

impl Iterator for CountsIter<'_> {
    type Item = (u32, i64);

    fn next(&mut self) -> Option<(u32, i64)> {
        match self {
            CountsIter::One(one) => one.take(),
            CountsIter::Many(rest) => rest.next().copied(),
        }
    }
}

pub(super) struct Rounds {
    schema: SchemaRef,
    /// The schema of x inside the step: with the round.
    working: SchemaRef,
    /// The column of the step's output that holds the round.
    column: usize,
    counts: PrintMap<Counts>,
    /// Bytes of the counts of rows with several rounds.
    many_bytes: usize,
}

/// A row that an epoch looks at.
struct Touched {
    print: u128,
    /// Where the row is.
    batch: u32,
    row: u32,
    /// Its round before the epoch.
    before: Option<u32>,
}

/// What an epoch has touched.
#[derive(Default)]
struct Epoch {
    /// Rows without the round.
    batches: Vec<RecordBatch>,
    rows: Vec<Touched>,
    places: HashMap<u128, u32, PrintHasher>,
    /// Rows to look at, by round.
    due: BTreeMap<u32, Vec<u32>>,
}

impl Rounds {
    pub fn new(schema: &SchemaRef, column: usize) -> Rounds {
        let round = Arc::new(Field::new("round", DataType::Int64, true));
        let fields = schema.fields().iter().cloned().chain([round]);
        let working = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Rounds { schema: Arc::clone(schema), working, column, counts: PrintMap::default(), many_bytes: 0 }
    }

    /// Ends an epoch: `base` and `made` are changes of the base and of what the step gives.
    pub fn epoch(
        &mut self,
        step: &mut Stage,
        cx: &EpochContext,
        base: Vec<ChangeBatch>,
        mut made: Vec<ChangeBatch>,
        meter: &mut Meter,
        out: &mut Vec<ChangeBatch>,
    ) -> Result<()> {
        let mut epoch = Epoch::default();
        for batch in base {
            self.take(&mut epoch, batch.rows.clone(), |_| Ok(0), &batch)?;
        }
        loop {
            for batch in std::mem::take(&mut made) {
                self.take_made(&mut epoch, batch)?;
            }
            let Some((round, due)) = epoch.due.pop_first() else { break };
            let changes = self.look_at(&mut epoch, round, due);
            if changes.is_empty() {
                continue;
            }
            let changes = epoch.batch(&self.working, &changes, Some(round))?;
            meter.round(&changes)?;
            run(step, cx, changes, &mut made)?;
        }
        let net: Vec<(u32, i64)> = (epoch.rows.iter().zip(0u32..))
            .filter_map(|(row, place)| {
                let is = self.counts.get(row.print).is_some_and(|c| c.least().is_some());
                let change = i64::from(is) - i64::from(row.before.is_some());
                (change != 0).then_some((place, change))
            })
            .collect();
        if !net.is_empty() {
            out.push(epoch.batch(&self.schema, &net, None)?);
        }
        Ok(())
    }

    /// Counts derivations that the step gives: each is of the round after its row's.
    fn take_made(&mut self, epoch: &mut Epoch, batch: ChangeBatch) -> Result<()> {
        let Some(rounds) = batch.rows.column(self.column).as_primitive_opt::<Int64Type>().cloned() else {
            return Err(HwError::internal("the rows of a recursive term have no round"));
        };
        let columns: Vec<usize> = (0..batch.rows.num_columns()).filter(|c| *c != self.column).collect();
        let rows = batch.rows.project(&columns)?;
        let round = |row: usize| {
            let next = rounds.value(row) + 1;
            u32::try_from(next).map_err(|_| HwError::internal("a recursive query has too many rounds"))
        };
        self.take(epoch, rows, round, &batch)
    }

    fn take(
        &mut self,
        epoch: &mut Epoch,
        rows: RecordBatch,
        round: impl Fn(usize) -> Result<u32>,
        weights: &ChangeBatch,
    ) -> Result<()> {
        let batch = epoch.batches.len() as u32;
        for (row, print) in fingerprints(rows.columns(), rows.num_rows()).into_iter().enumerate() {
            let round = round(row)?;
            let counts = self.counts.get(print);
            let place = *epoch.places.entry(print).or_insert_with(|| {
                let before = counts.and_then(Counts::least);
                epoch.rows.push(Touched { print, batch, row: row as u32, before });
                epoch.rows.len() as u32 - 1
            });
            self.count(print, round, weights.weights.get(row));
            epoch.due.entry(round).or_default().push(place);
        }
        epoch.batches.push(rows);
        Ok(())
    }

    fn count(&mut self, print: u128, round: u32, weight: i64) {
        let slot = self.counts.find_or_add(print, || Counts::One(round, 0));
        let counts = &mut self.counts[slot];
        self.many_bytes -= counts.bytes();
        if counts.add(round, weight) {
            *counts = Counts::One(0, 0);
            self.counts.remove(print);
        } else {
            self.many_bytes += counts.bytes();
        }
    }

    /// What changes among the rows of `round`, of which all counts are final: rows of the epoch
    /// with weights. Rows that may be of a later round, or were, become due there.
    fn look_at(&self, epoch: &mut Epoch, round: u32, mut due: Vec<u32>) -> Vec<(u32, i64)> {
        due.sort_unstable();
        due.dedup();
        let mut changes = Vec::new();
        for place in due {
            let row = &epoch.rows[place as usize];
            let counts = self.counts.get(row.print);
            let least =
                counts.and_then(|c| c.as_slice().take_while(|(r, _)| *r <= round).find(|(_, n)| *n > 0));
            let is = least.is_some_and(|(r, _)| r == round);
            let was = row.before == Some(round);
            if is != was {
                changes.push((place, i64::from(is) - i64::from(was)));
            }
            // Later rounds of a row count only while no earlier one does.
            let later = match least {
                Some(_) => row.before.filter(|before| *before > round),
                None => {
                    let next = counts.and_then(|c| c.as_slice().find(|(r, _)| *r > round)).map(|(r, _)| r);
                    let was_later = row.before.filter(|before| *before > round);
                    next.into_iter().chain(was_later).min()
                }
            };
            if let Some(later) = later {
                epoch.due.entry(later).or_default().push(place);
            }
        }
        changes
    }

    pub fn state_size(&self) -> StateSize {
        StateSize { entries: self.counts.len(), bytes: self.counts.bytes() + self.many_bytes }
    }
}

impl Epoch {
    /// Rows of the epoch with weights, as a batch of `schema`, with their round if there is one.
    fn batch(&self, schema: &SchemaRef, rows: &[(u32, i64)], round: Option<u32>) -> Result<ChangeBatch> {
        let mut used: Vec<u32> = rows.iter().map(|(place, _)| self.rows[*place as usize].batch).collect();
        used.sort_unstable();
        used.dedup();
        let batches: Vec<&RecordBatch> = used.iter().map(|b| &self.batches[*b as usize]).collect();
        let indices: Vec<(usize, usize)> = (rows.iter())
            .map(|(place, _)| {
                let row = &self.rows[*place as usize];
                (used.partition_point(|b| *b < row.batch), row.row as usize)
            })
            .collect();
        let mut columns: Vec<ArrayRef> = match batches.first() {
            Some(first) if first.num_columns() > 0 => {
                interleave_record_batch(&batches, &indices)?.columns().to_vec()
            }
            _ => Vec::new(),
        };
        columns.extend(round.map(|r| Arc::new(Int64Array::from_value(i64::from(r), rows.len())) as ArrayRef));
        let rows_of = super::super::expressions::batch_of(schema, columns, rows.len())?;
        Ok(match rows.iter().all(|(_, w)| *w == 1) {
            true => ChangeBatch::inserts(rows_of),
            false => ChangeBatch::new(rows_of, rows.iter().map(|(_, w)| *w).collect()),
        })
    }
}
