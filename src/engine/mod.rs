//! The engine: one coordinator thread cuts epochs, the host's workers compute them, and
//! sessions read what is published.
//!
//! [`Engine`] is the handle that serving code shares. Commands (create, drop, step) go to
//! the coordinator over a bounded channel and are answered; writes go to the local log;
//! reads take a snapshot of an epoch from the view stores without asking anybody.
//! Invariants: epochs rise by one; an epoch is published only when every live view has
//! finished it and its cut is on disk; published snapshots never change.

pub mod align;
mod behind;
mod bounded_read;
pub mod chunk_time;
pub mod coordinator;
pub mod cut;
pub mod database;
pub mod definitions;
pub mod delay;
mod facts;
pub mod hydrate;
pub mod intake;
pub mod journal;
pub mod late;
pub mod local_log;
pub mod not_null;
pub mod panes;
pub mod planning;
pub mod progress;
pub mod recovery;
pub mod relations;
pub mod sharing;
pub mod source;
pub mod source_scan;
pub mod state;
pub mod status;
pub mod table;
pub mod table_functions;
#[cfg(test)]
mod tests;
pub mod view_time;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, bounded};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{oneshot, watch};

use crate::clock::Clock;
use crate::error::{HwError, Result, sqlstate};
use crate::metrics::Metrics;
use crate::types::{ChangeBatch, Epoch};
use crate::views::{Pin, Pins, ViewStore};

pub use relations::{Progress, TableSpec, ViewSpec};
pub use source::{SourceSpec, WatermarkRule};
pub use status::{EngineStatus, ViewState};
pub use table::TableHandle;

/// Commands waiting for the coordinator at most.
const COMMANDS_MAX: usize = 1024;

/// What sessions wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    pub epoch: Epoch,
    /// Local log records up to this number are contained.
    pub log_end: u64,
}

/// Limits and timing of the engine, from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct EngineLimits {
    pub workers: usize,
    pub epoch_interval_ms: u64,
    pub epoch_rows_max: usize,
    pub epochs_in_flight_max: usize,
    /// How long a view may hold back an epoch before it is detached.
    pub view_lag_max_ms: u64,
    pub intake_rows_max: usize,
    pub chunk_rows_max: usize,
    pub dead_letters_max: usize,
    pub late_rows_max: usize,
    /// Pairs that a join may make per epoch and worker.
    pub join_pairs_max: usize,
}

/// State shared by the coordinator, hydration threads and sessions.
pub struct Shared {
    pub clock: Arc<Clock>,
    pub limits: EngineLimits,
    pub log: local_log::LocalLog,
    pub published: watch::Sender<Published>,
    pub pins: Arc<Pins>,
    pub stores: RwLock<HashMap<u64, Arc<ViewStore>>>,
    pub tables: RwLock<HashMap<u64, Arc<TableHandle>>>,
    pub sources: RwLock<HashMap<u64, Arc<SourceSpec>>>,
    pub status: EngineStatus,
    pub metrics: Arc<Metrics>,
    /// Set when the disk or a worker failed: nothing is cut any more, reads go on.
    pub broken: RwLock<Option<HwError>>,
}

/// Handle to the running engine.
pub struct Engine {
    pub shared: Arc<Shared>,
    commands: Sender<coordinator::Command>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Engine {
    /// Opens log and journal in `data_dir` and starts the coordinator, idle. The caller then
    /// recreates the objects of the catalog and calls [`Engine::recover`].
    pub fn open(data_dir: &Path, clock: Arc<Clock>, limits: EngineLimits) -> Result<Engine> {
        let log = local_log::LocalLog::open(&data_dir.join("local.log"))?;
        let (journal, records) = journal::Journal::open(&data_dir.join("journal"))?;
        let (published, _) = watch::channel(Published::default());
        let shared = Arc::new(Shared {
            clock,
            limits,
            log,
            published,
            pins: Pins::new(0),
            stores: RwLock::new(HashMap::new()),
            tables: RwLock::new(HashMap::new()),
            sources: RwLock::new(HashMap::new()),
            status: EngineStatus::default(),
            metrics: Arc::new(Metrics::new()),
            broken: RwLock::new(None),
        });
        let (commands, receiver) = bounded(COMMANDS_MAX);
        let coordinator =
            coordinator::Coordinator::new(Arc::clone(&shared), journal, records, receiver, commands.clone())?;
        let thread = std::thread::Builder::new()
            .name("coordinator".into())
            .spawn(move || coordinator.run())
            .map_err(HwError::from)?;
        Ok(Engine { shared, commands, thread: Mutex::new(Some(thread)) })
    }

    fn send(&self, command: coordinator::Command) -> Result<()> {
        self.commands
            .send(command)
            .map_err(|_| HwError::new(sqlstate::ADMIN_SHUTDOWN, "the server is shutting down"))
    }

    async fn ask<T>(
        &self,
        make: impl FnOnce(oneshot::Sender<Result<T>>) -> coordinator::Command,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.send(make(reply))?;
        answer.await.map_err(|_| HwError::new(sqlstate::ADMIN_SHUTDOWN, "the server is shutting down"))?
    }

    pub async fn create_source(&self, spec: SourceSpec) -> Result<()> {
        self.ask(|reply| coordinator::Command::CreateSource(Arc::new(spec), reply)).await
    }

    pub async fn create_table(&self, spec: TableSpec) -> Result<()> {
        self.ask(|reply| coordinator::Command::CreateTable(spec, reply)).await
    }

    /// Creates a view or sink and returns when it is attached. `progress` hears of the
    /// hydration; at recovery views are created without waiting.
    pub async fn create_view(&self, spec: ViewSpec, progress: Progress) -> Result<()> {
        self.ask(|reply| coordinator::Command::CreateView(Box::new(spec), progress, reply)).await
    }

    /// Drops objects, dependents first.
    pub async fn drop_objects(&self, ids: Vec<u64>) -> Result<()> {
        self.ask(|reply| coordinator::Command::Drop(ids, reply)).await
    }

    /// Drops an object without waiting for it.
    pub fn forget_object(&self, id: u64) {
        let (reply, _) = tokio::sync::oneshot::channel();
        // An engine that has ended has dropped everything.
        let _ = self.send(coordinator::Command::Drop(vec![id], reply));
    }

    /// Replays the journal over the objects created so far, then goes live.
    pub async fn recover(&self) -> Result<()> {
        self.ask(coordinator::Command::Recover).await
    }

    /// Cuts one epoch from everything available and returns it published (manual clock).
    pub async fn step(&self) -> Result<Epoch> {
        self.ask(coordinator::Command::Step).await
    }

    /// Moves the watermark of a source with `SOURCE_WATERMARK()`; part of the next cut.
    pub async fn advance_watermark(&self, source: u64, to: i64) -> Result<()> {
        self.ask(|reply| coordinator::Command::AdvanceWatermark { source, to, reply }).await
    }

    /// Appends one durable transaction; returns its log number.
    pub fn write(&self, parts: Vec<(u64, ChangeBatch)>) -> Result<u64> {
        let number = self.shared.log.append(parts)?;
        self.send(coordinator::Command::Wake)?;
        Ok(number)
    }

    pub fn published(&self) -> Published {
        *self.shared.published.borrow()
    }

    /// Waits until the records of the local log up to `number` are published.
    pub async fn wait_for_log(&self, number: u64) -> Result<Epoch> {
        let mut receiver = self.shared.published.subscribe();
        let seen = receiver
            .wait_for(|p| p.log_end >= number)
            .await
            .map_err(|_| HwError::new(sqlstate::ADMIN_SHUTDOWN, "the server is shutting down"))?;
        Ok(seen.epoch)
    }

    /// Pins the published epoch: its snapshot stays readable while the pin lives.
    pub fn pin(&self) -> Pin {
        self.shared.pins.pin_published()
    }

    /// Store of a table or view for reading; 55000 while the view is detached.
    pub fn readable_store(&self, id: u64, name: &str) -> Result<Arc<ViewStore>> {
        self.shared.status.check_readable(id, name)?;
        let store = self.shared.stores.read().get(&id).cloned();
        store.ok_or_else(|| {
            HwError::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, format!("\"{name}\" cannot be read yet"))
        })
    }

    pub fn table(&self, id: u64) -> Option<Arc<TableHandle>> {
        self.shared.tables.read().get(&id).cloned()
    }

    pub fn source(&self, id: u64) -> Option<Arc<SourceSpec>> {
        self.shared.sources.read().get(&id).cloned()
    }

    /// Why the engine takes no more work, if so.
    pub fn health(&self) -> std::result::Result<(), String> {
        self.shared.broken.read().as_ref().map_or(Ok(()), |e| Err(e.to_string()))
    }

    /// Stops intake, lets epochs in flight finish, and ends the threads.
    pub fn shutdown(&self) {
        let _ = self.send(coordinator::Command::Shutdown);
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}
