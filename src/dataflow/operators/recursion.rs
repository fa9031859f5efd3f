//! A recursive query: `x = base UNION [ALL] step(x)`, maintained in rounds.
//!
//! Input 0 brings changes of the base, input n + 1 changes of the n-th relation that the step
//! reads. The step is a [`Stage`] of ordinary operators; within an epoch it is run once for each
//! round, every time to the end of its epoch, so its joins keep the rows of x that they need.
//! Each row of x has its own part in what the step gives (the plan allows nothing else), so:
//! with UNION ALL the changes of x are those of the base and of the step's relations, and all
//! that the step makes of them, round after round. With UNION over rows that only grow, rows
//! seen before are left out. With UNION over rows that are deleted, counting derivations is
//! wrong, because the rows of a cycle derive each other; [`rounds`] counts them by round.
//! Invariant: after an epoch x is exactly what it would be from nothing.

mod rounds;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;

use self::rounds::Rounds;
use crate::dataflow::graph::Stage;
use crate::dataflow::operator::{EpochContext, Operator, StateSize};
use crate::error::{HwError, Result, sqlstate};
use crate::plan::RecursionMode;
use crate::state::PrintMap;
use crate::types::ChangeBatch;
use crate::types::change_batch::consolidate;
use crate::types::hash::fingerprints;

/// What a recursive query may do in one epoch before its view is stopped.
#[derive(Clone, Copy, Debug)]
pub struct RecursionLimits {
    pub rows_max: usize,
    pub rounds_max: usize,
}

pub struct RecursionSpec {
    /// The name of the query.
    pub name: String,
    pub mode: RecursionMode,
    pub schema: SchemaRef,
    /// Port 0 takes the rows of x, with their round in the last column if the mode has rounds.
    pub step: Stage,
    pub limits: RecursionLimits,
}

pub struct RecursiveOperator {
    query: String,
    schema: SchemaRef,
    step: Stage,
    limits: RecursionLimits,
    memory: Memory,
    /// Changes of the base in this epoch.
    base: Vec<ChangeBatch>,
    /// What the step has made of changes of its other relations in this epoch.
    made: Vec<ChangeBatch>,
}

/// What is known of the rows of x.
enum Memory {
    None,
    /// Those seen.
    Seen(PrintMap<()>),
    Rounds(Rounds),
}

/// Counts what an epoch does.
struct Meter<'a> {
    query: &'a str,
    limits: RecursionLimits,
    rows: u64,
    rounds: usize,
}

impl RecursiveOperator {
    pub fn new(spec: RecursionSpec) -> RecursiveOperator {
        let memory = match spec.mode {
            RecursionMode::Bag => Memory::None,
            RecursionMode::Growing => Memory::Seen(PrintMap::default()),
            RecursionMode::Rounds { column } => Memory::Rounds(Rounds::new(&spec.schema, column)),
        };
        RecursiveOperator {
            query: spec.name,
            schema: spec.schema,
            step: spec.step,
            limits: spec.limits,
            memory,
            base: Vec::new(),
            made: Vec::new(),
        }
    }
}

/// Runs the step over the changes of one round.
fn run(step: &mut Stage, cx: &EpochContext, rows: ChangeBatch, out: &mut Vec<ChangeBatch>) -> Result<()> {
    step.push(0, rows, out)?;
    step.finish_epoch(cx, out)
}

/// UNION ALL: everything goes round until it is gone.
fn bag(
    step: &mut Stage,
    schema: &SchemaRef,
    cx: &EpochContext,
    mut changes: Vec<ChangeBatch>,
    meter: &mut Meter,
) -> Result<Vec<ChangeBatch>> {
    let mut result = Vec::new();
    loop {
        let round = consolidated(schema, &std::mem::take(&mut changes))?;
        if round.is_empty() {
            return Ok(result);
        }
        meter.round(&round)?;
        result.push(round.clone());
        run(step, cx, round, &mut changes)?;
    }
}

/// UNION of rows that are only inserted: those seen before are left out.
fn growing(
    step: &mut Stage,
    schema: &SchemaRef,
    cx: &EpochContext,
    mut changes: Vec<ChangeBatch>,
    seen: &mut PrintMap<()>,
    meter: &mut Meter,
) -> Result<Vec<ChangeBatch>> {
    let mut result = Vec::new();
    loop {
        let mut new = Vec::new();
        for batch in std::mem::take(&mut changes) {
            let prints = fingerprints(batch.rows.columns(), batch.len());
            let mask: BooleanArray = prints.into_iter().map(|print| Some(seen.add_new(print, ()))).collect();
            new.push(ChangeBatch::inserts(batch.filter(&mask)?.rows));
        }
        let round = consolidated(schema, &new)?;
        if round.is_empty() {
            return Ok(result);
        }
        meter.round(&round)?;
        result.push(round.clone());
        run(step, cx, round, &mut changes)?;
    }
}

fn consolidated(schema: &SchemaRef, batches: &[ChangeBatch]) -> Result<ChangeBatch> {
    match batches {
        [] => Ok(ChangeBatch::inserts(RecordBatch::new_empty(schema.clone()))),
        batches => consolidate(schema, batches),
    }
}

impl Meter<'_> {
    /// Counts the changes of one more round.
    fn round(&mut self, changes: &ChangeBatch) -> Result<()> {
        self.rounds += 1;
        let copies = match changes.weights.as_slice() {
            None => changes.len() as u64,
            Some(weights) => weights.iter().fold(0, |sum: u64, w| sum.saturating_add(w.unsigned_abs())),
        };
        self.rows = self.rows.saturating_add(copies);
        let (what, limit, setting) = match self.rows > self.limits.rows_max as u64 {
            true => ("changes", self.limits.rows_max, "recursion_rows_max"),
            false if self.rounds > self.limits.rounds_max => {
                ("rounds", self.limits.rounds_max, "recursion_rounds_max")
            }
            false => return Ok(()),
        };
        let message =
            format!("recursive query \"{}\" makes more than {limit} {what} in one epoch", self.query);
        Err(HwError::new(sqlstate::CONFIGURATION_LIMIT_EXCEEDED, message)
            .with_detail(format!("Round {} brought the number of its changes to {}.", self.rounds, self.rows))
            .with_hint(format!(
                "If the data has a cycle, write UNION in place of UNION ALL, or bound the depth in the recursive term; or raise the setting {setting}."
            )))
    }
}

impl Operator for RecursiveOperator {
    fn name(&self) -> &str {
        "recursive query"
    }

    fn push(&mut self, input: usize, batch: ChangeBatch, _out: &mut Vec<ChangeBatch>) -> Result<()> {
        match input {
            0 => self.base.push(batch),
            _ => self.step.push(input, batch, &mut self.made)?,
        }
        Ok(())
    }

    fn finish_epoch(&mut self, cx: &EpochContext, out: &mut Vec<ChangeBatch>) -> Result<()> {
        let RecursiveOperator { step, schema, memory, base, made, query, limits } = self;
        let mut meter = Meter { query, limits: *limits, rows: 0, rounds: 0 };
        // First what the changes of other relations do to the rows that x had.
        step.finish_epoch(cx, made)?;
        let (base, made) = (std::mem::take(base), std::mem::take(made));
        let result = match memory {
            Memory::None => bag(step, schema, cx, [base, made].concat(), &mut meter)?,
            Memory::Seen(seen) => {
                out.extend(growing(step, schema, cx, [base, made].concat(), seen, &mut meter)?);
                return Ok(());
            }
            Memory::Rounds(rounds) => {
                return rounds.epoch(step, cx, base, made, &mut meter, out);
            }
        };
        let result = consolidated(schema, &result)?;
        out.extend((!result.is_empty()).then_some(result));
        Ok(())
    }

    fn state_size(&self) -> StateSize {
        let own = match &self.memory {
            Memory::None => StateSize::default(),
            Memory::Seen(seen) => StateSize { entries: seen.len(), bytes: seen.bytes() },
            Memory::Rounds(rounds) => rounds.state_size(),
        };
        let add = |sum: StateSize, (_, size): (String, StateSize)| StateSize {
            entries: sum.entries + size.entries,
            bytes: sum.bytes + size.bytes,
        };
        self.step.state_sizes().into_iter().fold(own, add)
    }
}

#[cfg(test)]
mod tests;
