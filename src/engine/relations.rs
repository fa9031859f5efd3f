//! What the coordinator keeps of each table and view.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::datatypes::SchemaRef;

use super::hydrate::Gate;
use super::panes::{Edge, PaneLog};
use super::view_time::ViewTime;
use crate::dataflow::graph::DataflowSpec;
use crate::dataflow::host::ViewOutput;
use crate::dataflow::operator::EpochContext;
use crate::dataflow::watermarks::Watermarks;
use crate::error::Result;
use crate::plan::StreamPlan;
use crate::types::{ChangeBatch, Epoch, ProcTime};
use crate::views::ViewStore;

/// A table to be created.
pub struct TableSpec {
    pub id: u64,
    pub name: String,
    pub schema: SchemaRef,
    /// Primary key columns; none: rows are identified by all their columns.
    pub key: Vec<usize>,
    pub not_null: Vec<usize>,
}

/// A materialized view or sink to be created.
pub struct ViewSpec {
    pub id: u64,
    pub name: String,
    pub plan: StreamPlan,
    pub dataflow: Arc<DataflowSpec>,
    /// `None` for a sink.
    pub store: Option<Arc<ViewStore>>,
    pub output: Arc<dyn ViewOutput>,
}

/// Hears how far a hydration is: rows so far, rows in all if known.
pub type Progress = Option<tokio::sync::mpsc::Sender<(u64, Option<u64>)>>;

/// Life of a view's dataflow.
pub enum Phase {
    /// Replayed together with the journal until its attach epoch: rows are applied, the
    /// watermark is held back.
    Replaying {
        attach_at: Epoch,
    },
    Hydrating(Arc<Gate>),
    /// Attached; finishes what came during hydration, up to this epoch.
    Draining {
        target: Epoch,
    },
    Live,
    /// Held back an epoch for too long: the others are published without it until it has
    /// caught up with them.
    Behind,
    Failed,
}

pub struct ViewRuntime {
    pub name: String,
    pub plan: StreamPlan,
    pub dataflow: Arc<DataflowSpec>,
    pub store: Option<Arc<ViewStore>>,
    pub output: Arc<dyn ViewOutput>,
    pub phase: Phase,
    /// Per worker: the newest live epoch done, and the earliest timer.
    pub done: Vec<Epoch>,
    pub timers: Vec<Option<ProcTime>>,
    pub last_fed: Epoch,
    /// Watermarks of the last feed.
    pub watermarks: Watermarks,
    /// Event time in the view.
    pub time: ViewTime,
    /// Of a view that is replayed: the clock's time when it began.
    pub began: i64,
    /// Of a view that is replayed: the clock's time by which it had been filled.
    pub filled_at: ProcTime,
    pub reads_watermark: bool,
}

impl ViewRuntime {
    pub fn new(spec: ViewSpec, phase: Phase, workers: usize) -> ViewRuntime {
        ViewRuntime {
            name: spec.name,
            reads_watermark: spec.plan.follows_watermarks(),
            done: vec![Epoch(0); workers],
            timers: vec![None; workers],
            last_fed: Epoch(0),
            watermarks: Watermarks::held(spec.plan.inputs.len()),
            time: ViewTime::new(&spec.plan),
            began: 0,
            filled_at: ProcTime(0),
            plan: spec.plan,
            dataflow: spec.dataflow,
            store: spec.store,
            output: spec.output,
            phase,
        }
    }

    pub fn reads(&self, relation: u64) -> bool {
        self.plan.inputs.iter().any(|i| i.relation == relation)
    }

    pub fn next_timer(&self) -> Option<ProcTime> {
        self.timers.iter().flatten().min().copied()
    }
}

/// Applies a view's changes to its store.
pub struct StoreOutput {
    pub store: Arc<ViewStore>,
    /// Remembers the panes, if the view has an emit clause.
    pub panes: Option<Arc<PaneLog>>,
}

impl ViewOutput for StoreOutput {
    fn epoch(&self, worker: usize, cx: &EpochContext, changes: &[ChangeBatch]) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        if let Some(panes) = &self.panes {
            panes.record(worker, cx, changes)?;
        }
        self.store.apply(worker, cx.epoch, changes)
    }
}

/// Takes everything and keeps nothing but counts.
pub struct BlackholeOutput {
    pub rows: AtomicU64,
    pub epochs: AtomicU64,
    edge: Edge,
}

impl BlackholeOutput {
    pub fn new(edge: Edge) -> BlackholeOutput {
        BlackholeOutput { rows: AtomicU64::new(0), epochs: AtomicU64::new(0), edge }
    }
}

impl ViewOutput for BlackholeOutput {
    fn epoch(&self, _worker: usize, _cx: &EpochContext, changes: &[ChangeBatch]) -> Result<()> {
        self.rows.fetch_add(changes.iter().map(|c| self.edge.count(c)).sum(), Ordering::Relaxed);
        self.epochs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
