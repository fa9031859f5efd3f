//! Inner equi-join of two changing inputs.
//!
//! Bilinear: a batch of one side is joined with what the other side holds now and then
//! stored, so after any order of batches an epoch has emitted exactly
//! Δ(L⋈R) = ΔL⋈R + L⋈ΔR + ΔL⋈ΔR; weights multiply. NULL keys never match and are never
//! stored. A side stores only the columns that the output and the residual condition read.
//! Where both inputs are append-only, matches leave at once; otherwise they wait for the
//! end of the epoch and are consolidated, so that changes that cancel are never seen. Rows of
//! windows that are over on both sides are forgotten, and refused; what they emitted stays.

pub mod as_of;
pub mod interval;
mod keys;
pub mod lookup;
pub mod outer;
mod recalled;
mod shape;
mod side;
mod versions;
mod window;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;

use self::keys::Arrival;
use self::shape::Shape;
use self::side::{Leaving, Matches, Side};
use self::window::WindowGate;
use super::aggregate::WindowTime;
use super::errors::RowErrors;
use super::expressions::isolate_errors;
use super::late::LateRows;
use crate::dataflow::operator::{EpochContext, Operator, StateSize};
use crate::error::Result;
use crate::plan::Clock;
pub use crate::plan::JoinKind;
use crate::types::ChangeBatch;

/// Matches are gathered into batches of this many rows.
const OUTPUT_ROWS: usize = 8192;

/// What a [`JoinOperator`] computes. Column numbers of `residual` and `output` are over the
/// left columns followed by the right ones. Input 0 is the left side, input 1 the right.
#[derive(Clone)]
pub struct JoinSpec {
    pub name: String,
    pub kind: JoinKind,
    /// Whether NULL keys match NULL keys (IS NOT DISTINCT FROM).
    pub null_equal: bool,
    pub left_schema: SchemaRef,
    pub right_schema: SchemaRef,
    /// Equal numbers of key columns, of comparable types, in pairs.
    pub left_keys: Vec<usize>,
    pub right_keys: Vec<usize>,
    /// A further condition on pairs.
    pub residual: Option<Arc<dyn PhysicalExpr>>,
    pub output: Vec<usize>,
    pub output_schema: SchemaRef,
    /// Set if no row changes after the end of its window.
    pub window: Option<JoinWindow>,
    /// Set if rows match within a bounded distance in event time.
    pub interval: Option<JoinInterval>,
    /// Set if left rows meet the version that is valid at their time.
    pub as_of: Option<AsOf>,
    /// Whether left rows meet what the right side holds now, once.
    pub lookup: bool,
    /// Whether the right side has all its rows in the first epoch, and never changes.
    pub constant: bool,
    /// Pairs that may be made in an epoch; with more the view stops with 53400.
    pub pairs_max: usize,
    pub left_append_only: bool,
    pub right_append_only: bool,
    /// Takes pairs whose residual condition fails.
    pub errors: Arc<RowErrors>,
}

impl JoinSpec {
    /// A join of equal keys over inputs that may change, without bounds; failing pairs are counted.
    /// A mark comes after `output`.
    pub fn on_keys(
        kind: JoinKind,
        (left_schema, left_keys): (SchemaRef, Vec<usize>),
        (right_schema, right_keys): (SchemaRef, Vec<usize>),
        output: Vec<usize>,
    ) -> JoinSpec {
        let both: Vec<_> = left_schema.fields().iter().chain(right_schema.fields()).collect();
        let mark = (kind == JoinKind::Mark).then(|| Arc::new(Field::new("mark", DataType::Boolean, false)));
        let fields: Vec<_> = output.iter().map(|c| Arc::clone(both[*c])).chain(mark).collect();
        JoinSpec {
            name: "join".into(),
            kind,
            null_equal: false,
            left_schema,
            right_schema,
            left_keys,
            right_keys,
            residual: None,
            output,
            output_schema: Arc::new(Schema::new(fields)),
            window: None,
            interval: None,
            as_of: None,
            lookup: false,
            constant: false,
            pairs_max: usize::MAX,
            left_append_only: false,
            right_append_only: false,
            errors: Arc::new(RowErrors::new(0)),
        }
    }
}

/// Bounds of a join in event time, by side. Both inputs are append-only.
#[derive(Clone)]
pub struct JoinInterval {
    /// Time columns of the inputs.
    pub times: [usize; 2],
    /// A row is over when its time is less than the other side's watermark plus this.
    pub limits_us: [i64; 2],
    /// The watermark that counts for a side.
    pub clocks: [Clock; 2],
    /// Takes rows whose time is less than their side's watermark plus this; absent if there
    /// cannot be such.
    pub late: Option<([i64; 2], Arc<LateRows>)>,
}

/// Versions by event time.
#[derive(Clone)]
pub struct AsOf {
    /// Time columns of the inputs.
    pub times: [usize; 2],
    /// Whether a version counts only after its own time.
    pub strict: bool,
    /// The watermark that counts for a side.
    pub clocks: [Clock; 2],
    /// Right columns by which the greatest of versions of one key and time wins.
    pub ties: Vec<usize>,
    /// Takes rows older than their side's watermark.
    pub late: Arc<LateRows>,
}

/// Windows that both sides are keyed by.
#[derive(Clone)]
pub struct JoinWindow {
    /// Position among the key columns of a bound of the window, a timestamp.
    pub key: usize,
    pub time: WindowTime,
    /// From that time to when no row of the window changes.
    pub over_after_us: i64,
    /// Take the rows of a side that come later, if there can be such.
    pub late: [Option<Arc<LateRows>>; 2],
}

/// What a join does with rows of a kept side that have no match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unmatched {
    Shown,
    Hidden,
    /// All rows are shown, with the answer in the last column.
    Marked,
}

impl JoinKind {
    fn unmatched(self) -> Unmatched {
        match self {
            JoinKind::Left | JoinKind::Full | JoinKind::Anti { .. } => Unmatched::Shown,
            JoinKind::Inner | JoinKind::Semi => Unmatched::Hidden,
            JoinKind::Mark => Unmatched::Marked,
        }
    }

    fn makes_pairs(self) -> bool {
        matches!(self, JoinKind::Inner | JoinKind::Left | JoinKind::Full)
    }

    /// Whether rows of that side are shown by whether they match.
    fn keeps(self, side: usize) -> bool {
        match self {
            JoinKind::Inner => false,
            JoinKind::Full => true,
            _ => side == 0,
        }
    }
}

/// The operator of a join of any kind.
pub fn join_operator(spec: JoinSpec) -> Result<Box<dyn Operator>> {
    if spec.lookup || spec.constant {
        return Ok(Box::new(lookup::LookupJoinOperator::new(spec)?));
    }
    if spec.as_of.is_some() {
        return Ok(Box::new(as_of::AsOfJoinOperator::new(spec)?));
    }
    if spec.interval.is_some() {
        return Ok(Box::new(interval::IntervalJoinOperator::new(spec)?));
    }
    Ok(match spec.kind {
        JoinKind::Inner => Box::new(JoinOperator::new(spec)?),
        _ => Box::new(outer::OuterJoinOperator::new(spec)?),
    })
}

/// Incremental inner join of one worker.
pub struct JoinOperator {
    name: String,
    window: Option<WindowGate>,
    sides: [Side; 2],
    shape: Shape,
    append_only: bool,
    /// Output that waits for consolidation.
    pending: Vec<ChangeBatch>,
}

impl JoinOperator {
    pub fn new(spec: JoinSpec) -> Result<JoinOperator> {
        let (shape, [left, right]) = Shape::new(&spec)?;
        let window = WindowGate::new(&spec);
        let left = Side::new(&spec.left_schema, left, Leaving::of(spec.left_append_only))?;
        let right = Side::new(&spec.right_schema, right, Leaving::of(spec.right_append_only))?;
        Ok(JoinOperator {
            name: spec.name,
            window,
            append_only: spec.left_append_only && spec.right_append_only,
            sides: [left, right],
            shape,
            pending: Vec::new(),
        })
    }

    fn emit(
        &mut self,
        from: usize,
        arrival: &Arrival,
        matches: &Matches,
        out: &mut Vec<ChangeBatch>,
    ) -> Result<()> {
        let stored = self.sides[1 - from].gather(&matches.ids)?;
        let pairs = self.shape.pairs(from, &arrival.rows.rows, matches, stored)?;
        let shape = &self.shape;
        let emitted = if self.append_only { out } else { &mut self.pending };
        isolate_errors(&pairs, &shape.errors, &mut |part| shape.finish(part.clone()), emitted)
    }
}

impl Operator for JoinOperator {
    fn name(&self) -> &str {
        &self.name
    }

    fn push(&mut self, input: usize, batch: ChangeBatch, out: &mut Vec<ChangeBatch>) -> Result<()> {
        let batch = WindowGate::open(self.window.as_ref(), input, batch)?;
        let Some(arrival) = self.sides[input].admit(&batch)? else { return Ok(()) };
        let mut matches = Matches::default();
        for row in 0..arrival.rows.len() {
            let mut cursor = self.sides[1 - input].first(arrival.key_prints[row]);
            let weight = arrival.rows.weights.get(row);
            while let Some(node) = cursor {
                cursor = self.sides[1 - input].push_match(node, row, weight, &mut matches);
                if matches.rows.len() >= OUTPUT_ROWS {
                    self.emit(input, &arrival, &matches, out)?;
                    matches.clear();
                }
            }
        }
        if !matches.rows.is_empty() {
            self.emit(input, &arrival, &matches, out)?;
        }
        self.sides[input].store(arrival)
    }

    fn finish_epoch(&mut self, cx: &EpochContext, out: &mut Vec<ChangeBatch>) -> Result<()> {
        self.shape.end_epoch();
        out.extend(self.shape.consolidated(&mut self.pending)?);
        if let Some(window) = &mut self.window {
            let reached = window.advance(cx);
            self.sides.iter_mut().for_each(|side| side.expire(reached));
        }
        self.sides.iter_mut().try_for_each(Side::compact)
    }

    fn state_size(&self) -> StateSize {
        StateSize {
            entries: self.sides.iter().map(Side::len).sum(),
            bytes: self.sides.iter().map(Side::bytes).sum(),
        }
    }
}

#[cfg(test)]
mod tests;
