//! Panes beyond the view's contents: how they appear to those who follow the view, and which
//! of them are remembered for `headwater.panes('mv')`.
//!
//! In: the changes of a view with an emit clause, epoch by epoch, with the pane columns as
//! their last columns. A row with a positive weight is a pane that fires in this epoch; a row
//! with a negative one takes the previous pane of its key and window back. The contents of
//! the view follow both; followers see what the accumulation mode says ([`Edge`]). Bounded by
//! `panes_max` and by the view's `retain_history`. Replay makes the same panes again.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::datatypes::{Field, Schema, SchemaRef};
use parking_lot::Mutex;

use crate::dataflow::operator::EpochContext;
use crate::error::Result;
use crate::types::pg_type::UTC;
use crate::types::trigger::{Accumulation, EmitPolicy, EmitSpec, PANE_COLUMNS};
use crate::types::{ChangeBatch, Epoch, PgType, Weights};

/// What SUBSCRIBE and append sinks carry of a view's changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Edge {
    /// Every change, as it is.
    #[default]
    Changes,
    /// Every pane as +1; nothing is taken back.
    EveryPane,
    /// Every pane, the previous one with −1 before it.
    Retracting,
}

impl Edge {
    /// `written`: whether the clause names an accumulation mode.
    pub fn of(spec: &EmitSpec, written: bool) -> Edge {
        match spec.accumulation {
            _ if spec.policy == EmitPolicy::Changes && !written => Edge::Changes,
            Accumulation::Accumulating | Accumulation::Discarding => Edge::EveryPane,
            Accumulation::AccumulatingAndRetracting => Edge::Retracting,
        }
    }

    /// The changes of one epoch as followers see them.
    pub fn apply(self, changes: ChangeBatch) -> Result<ChangeBatch> {
        let Weights::Each(weights) = &changes.weights else { return Ok(changes) };
        match self {
            Edge::Changes => Ok(changes),
            Edge::EveryPane => positive(&changes),
            Edge::Retracting => {
                let of_sign =
                    |negative: bool| (0..weights.len()).filter(move |i| (weights.value(*i) < 0) == negative);
                let order = of_sign(true).chain(of_sign(false)).map(|i| i as u32);
                changes.take(&UInt32Array::from_iter_values(order))
            }
        }
    }

    /// How many rows followers see of these changes.
    pub fn count(self, changes: &ChangeBatch) -> u64 {
        match (self, changes.weights.as_slice()) {
            (Edge::EveryPane, Some(weights)) => weights.iter().filter(|w| **w > 0).count() as u64,
            _ => changes.len() as u64,
        }
    }
}

fn positive(changes: &ChangeBatch) -> Result<ChangeBatch> {
    if matches!(changes.weights, Weights::One) {
        return Ok(changes.clone());
    }
    let mask: BooleanArray = changes.weights_vec().iter().map(|w| Some(*w > 0)).collect();
    changes.filter(&mask)
}

/// Panes of one epoch on one worker.
struct Entry {
    epoch: Epoch,
    now: i64,
    rows: RecordBatch,
}

/// The most recent panes of a view.
pub struct PaneLog {
    /// As [`PaneLog::read`] gives them.
    schema: SchemaRef,
    /// Columns of the view that follow the pane columns there.
    shown: Vec<usize>,
    /// Where the pane columns begin in the view's stored rows.
    hidden_at: usize,
    panes_max: usize,
    retain_us: Option<i64>,
    /// One per worker, epochs ascending.
    shards: Vec<Mutex<VecDeque<Entry>>>,
}

impl PaneLog {
    /// `stored`: the view's columns with its `hidden` pane columns last. A view's own column
    /// with the name of one of those before it is left out.
    pub fn new(
        stored: SchemaRef,
        hidden: usize,
        workers: usize,
        panes_max: usize,
        retain_us: Option<i64>,
    ) -> PaneLog {
        let hidden_at = stored.fields().len() - hidden;
        let mut fields =
            vec![PgType::Int8.field("hw_epoch", true), PgType::Timestamptz.field("hw_time", true)];
        for (column, name) in (hidden_at..).zip(PANE_COLUMNS) {
            fields.push(Field::clone(stored.field(column)).with_name(name));
        }
        let taken: Vec<String> = fields.iter().map(|f| f.name().clone()).collect();
        let shown: Vec<usize> = (0..hidden_at).filter(|c| !taken.contains(stored.field(*c).name())).collect();
        fields.extend(shown.iter().map(|c| Field::clone(stored.field(*c)).with_nullable(true)));
        PaneLog {
            schema: Arc::new(Schema::new(fields)),
            shown,
            hidden_at,
            panes_max,
            retain_us,
            shards: (0..workers).map(|_| Mutex::default()).collect(),
        }
    }

    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Remembers the panes among the changes of an epoch.
    pub fn record(&self, worker: usize, cx: &EpochContext, changes: &[ChangeBatch]) -> Result<()> {
        let mut shard = self.shards[worker].lock();
        for batch in changes {
            let panes = positive(batch)?;
            if !panes.is_empty() {
                shard.push_back(Entry { epoch: cx.epoch, now: cx.now.0, rows: panes.rows });
            }
        }
        // What is dropped is not among the newest `panes_max` of all workers either.
        let mut rows: usize = shard.iter().map(|e| e.rows.num_rows()).sum();
        while let Some(oldest) = shard.front() {
            let without = rows - oldest.rows.num_rows();
            if without < self.panes_max && !self.is_past(oldest.now, cx.now.0) {
                break;
            }
            rows = without;
            shard.pop_front();
        }
        Ok(())
    }

    fn is_past(&self, fired: i64, now: i64) -> bool {
        self.retain_us.is_some_and(|retain| fired < now.saturating_sub(retain))
    }

    /// The panes up to `epoch`, in order of epochs: of the newest `panes_max`, and of the
    /// epoch of the oldest of these all. `now`: the clock, for `retain_history`.
    pub fn read(&self, epoch: Epoch, now: i64) -> Result<Vec<RecordBatch>> {
        let mut found: Vec<(Epoch, i64, RecordBatch)> = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            let kept = shard.iter().filter(|e| e.epoch <= epoch && !self.is_past(e.now, now));
            found.extend(kept.map(|e| (e.epoch, e.now, e.rows.clone())));
        }
        found.sort_by_key(|(epoch, ..)| *epoch);
        let mut rows = 0;
        let mut oldest = None;
        for (epoch, _, batch) in found.iter().rev() {
            if rows >= self.panes_max && oldest.is_some_and(|o| *epoch < o) {
                break;
            }
            rows += batch.num_rows();
            oldest = Some(*epoch);
        }
        let within = found.iter().filter(|(epoch, ..)| oldest.is_some_and(|o| *epoch >= o));
        within.map(|(epoch, now, rows)| self.as_read(*epoch, *now, rows)).collect()
    }

    fn as_read(&self, epoch: Epoch, now: i64, rows: &RecordBatch) -> Result<RecordBatch> {
        let n = rows.num_rows();
        let time = TimestampMicrosecondArray::from_value(now, n).with_timezone(UTC);
        let mut columns: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from_value(epoch.0 as i64, n)), Arc::new(time)];
        let panes = self.hidden_at..self.hidden_at + PANE_COLUMNS.len();
        columns.extend(panes.chain(self.shown.iter().copied()).map(|c| Arc::clone(rows.column(c))));
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

#[cfg(test)]
mod tests;
