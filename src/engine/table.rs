//! Tables: one writer at a time resolves changes against the present rows.
//!
//! Present means: the published rows, then what the local log holds beyond them, then what
//! the writer's own transaction has done. A statement takes the table's writer lock, resolves
//! INSERT/UPDATE/DELETE to rows with weights, and keeps the lock until the transaction is
//! in the log. Invariant: with a primary key, no state of the table holds a key twice.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::datatypes::SchemaRef;
use hashbrown::HashMap;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::Engine;
use super::not_null;
use super::relations::TableSpec;
use crate::error::{HwError, Result, sqlstate};
use crate::types::change_batch::consolidate;
use crate::types::hash::{PrintHasher, fingerprints};
use crate::types::{ChangeBatch, Weights};
use crate::views::{Pin, ViewStore};

/// How long a statement waits for another transaction's lock.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);

pub struct TableHandle {
    pub id: u64,
    pub name: String,
    pub schema: SchemaRef,
    pub key: Vec<usize>,
    pub not_null: Vec<usize>,
    pub store: Arc<ViewStore>,
    writer: Arc<Mutex<Writer>>,
}

/// The exclusive right to change a table.
#[derive(Default)]
pub struct Writer {
    /// Logged changes that may not be published yet, with their log numbers.
    pending: VecDeque<(u64, ChangeBatch)>,
}

/// What to do with a row whose key is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    Error,
    DoNothing,
    /// The caller resolves the conflicting rows itself.
    Collect,
}

/// Outcome of resolving an INSERT.
pub struct Inserted {
    /// Rows without conflict.
    pub rows: RecordBatch,
    /// For `Collect`: proposed rows with a conflict, and the present rows, pairwise.
    pub conflicts: Option<(RecordBatch, RecordBatch)>,
}

impl TableHandle {
    pub fn new(spec: TableSpec, store: Arc<ViewStore>) -> TableHandle {
        TableHandle {
            id: spec.id,
            name: spec.name,
            schema: spec.schema,
            key: spec.key,
            not_null: spec.not_null,
            store,
            writer: Arc::new(Mutex::new(Writer::default())),
        }
    }

    /// Waits for the table's writer lock; 55P03-like 55006 after half a minute.
    pub async fn lock(&self) -> Result<OwnedMutexGuard<Writer>> {
        tokio::time::timeout(LOCK_PATIENCE, Arc::clone(&self.writer).lock_owned()).await.map_err(|_| {
            HwError::new(
                sqlstate::OBJECT_IN_USE,
                format!("table \"{}\" is locked by another transaction", self.name),
            )
            .with_hint("Commit or roll back the transaction that wrote to it.")
        })
    }

    /// 23502 if a column that must not be null is.
    pub fn check_not_null(&self, rows: &RecordBatch) -> Result<()> {
        let columns: Vec<usize> = self.not_null.iter().chain(&self.key).copied().collect();
        not_null::check(&self.name, &self.schema, &columns, rows)
    }

    /// All present rows: published, logged, and `own` of the transaction.
    pub fn current(
        &self,
        writer: &mut Writer,
        engine: &Engine,
        own: &[ChangeBatch],
    ) -> Result<Vec<RecordBatch>> {
        let (pin, mut changes) = self.unpublished(writer, engine);
        let snapshot = self.store.snapshot(pin.epoch(), None)?;
        drop(pin);
        changes.extend(own.iter().cloned());
        if changes.is_empty() {
            return Ok(snapshot);
        }
        let mut all: Vec<ChangeBatch> = snapshot.into_iter().map(ChangeBatch::inserts).collect();
        all.extend(changes.into_iter().map(weighted));
        let whole = consolidate(&self.schema, &all)?;
        expand(&whole).map(|rows| vec![rows])
    }

    /// The published epoch, pinned, and what has been written since.
    fn unpublished(&self, writer: &mut Writer, engine: &Engine) -> (Pin, Vec<ChangeBatch>) {
        let pin = engine.pin();
        while writer.pending.front().is_some_and(|(n, _)| *n <= pin.ends().log) {
            writer.pending.pop_front();
        }
        (pin, writer.pending.iter().map(|(_, b)| b.clone()).collect())
    }

    /// Checks proposed rows against keys present and among themselves.
    ///
    /// Errors: 23505 for a duplicate with `OnConflict::Error`; 21000 when `Collect` meets one
    /// key twice in the same command.
    pub fn resolve_insert(
        &self,
        writer: &mut Writer,
        engine: &Engine,
        own: &[ChangeBatch],
        rows: RecordBatch,
        on_conflict: OnConflict,
    ) -> Result<Inserted> {
        self.check_not_null(&rows)?;
        if self.key.is_empty() {
            return Ok(Inserted { rows, conflicts: None });
        }
        let (pin, mut changes) = self.unpublished(writer, engine);
        changes.extend(own.iter().cloned());
        let overlay = Overlay::new(&self.key, changes);
        let keys = self.key_columns(&rows);
        let prints = fingerprints(&keys, rows.num_rows());
        let mut seen: HashMap<u128, (), PrintHasher> = HashMap::default();
        let mut fresh = Vec::new();
        let mut conflicting = Vec::new();
        let mut present = Vec::new();
        for (row, print) in prints.iter().enumerate() {
            let twice = seen.insert(*print, ()).is_some();
            let existing = match overlay.find(*print) {
                Some(known) => known,
                None => {
                    let key: Vec<ArrayRef> = keys.iter().map(|k| k.slice(row, 1)).collect();
                    self.store.lookup(pin.epoch(), &key)?
                }
            };
            if !twice && existing.is_none() {
                fresh.push(row as u32);
                continue;
            }
            match (on_conflict, existing) {
                (OnConflict::DoNothing, _) => {}
                (OnConflict::Collect, Some(existing)) if !twice => {
                    conflicting.push(row as u32);
                    present.push(existing);
                }
                (OnConflict::Collect, _) => {
                    return Err(HwError::new(
                        sqlstate::CARDINALITY_VIOLATION,
                        "ON CONFLICT DO UPDATE command cannot affect row a second time",
                    )
                    .with_hint("Ensure that no rows proposed for insertion within the same command have duplicate constrained values."));
                }
                (OnConflict::Error, _) => return Err(self.duplicate_key(&keys, row)),
            }
        }
        let pick = |indices: Vec<u32>| arrow::compute::take_record_batch(&rows, &UInt32Array::from(indices));
        let conflicts = match present.is_empty() {
            true => None,
            false => Some((pick(conflicting)?, arrow::compute::concat_batches(&self.schema, &present)?)),
        };
        let rows = if fresh.len() == rows.num_rows() { rows.clone() } else { pick(fresh)? };
        Ok(Inserted { rows, conflicts })
    }

    /// 23505 if `changes` leave a key twice; used after UPDATE of key columns.
    pub fn check_keys(&self, current: &[RecordBatch], changes: &ChangeBatch) -> Result<()> {
        if self.key.is_empty() {
            return Ok(());
        }
        let mut counts: HashMap<u128, i64, PrintHasher> = HashMap::default();
        let keys = self.key_columns(&changes.rows);
        let prints = fingerprints(&keys, changes.len());
        for (row, print) in prints.iter().enumerate() {
            *counts.entry(*print).or_default() += changes.weights.get(row);
        }
        for batch in current {
            for print in fingerprints(&self.key_columns(batch), batch.num_rows()) {
                if let Some(count) = counts.get_mut(&print) {
                    *count += 1;
                }
            }
        }
        match prints.iter().position(|p| counts.get(p).is_some_and(|c| *c > 1)) {
            Some(row) => Err(self.duplicate_key(&keys, row)),
            None => Ok(()),
        }
    }

    fn key_columns(&self, rows: &RecordBatch) -> Vec<ArrayRef> {
        self.key.iter().map(|c| Arc::clone(rows.column(*c))).collect()
    }

    fn duplicate_key(&self, keys: &[ArrayRef], row: usize) -> HwError {
        let names: Vec<&str> = self.key.iter().map(|c| self.schema.field(*c).name().as_str()).collect();
        let values: Vec<String> = keys
            .iter()
            .map(|k| arrow::util::display::array_value_to_string(k, row).unwrap_or_default())
            .collect();
        HwError::new(
            sqlstate::UNIQUE_VIOLATION,
            format!("duplicate key value violates unique constraint \"{}_pkey\"", self.name),
        )
        .with_detail(format!("Key ({})=({}) already exists.", names.join(", "), values.join(", ")))
    }
}

impl Writer {
    /// Remembers a change that is in the log under `number`.
    pub fn logged(&mut self, number: u64, changes: ChangeBatch) {
        self.pending.push_back((number, changes));
    }
}

/// The newest word of unpublished changes about each key.
struct Overlay {
    latest: HashMap<u128, Option<(usize, u32)>, PrintHasher>,
    changes: Vec<ChangeBatch>,
}

impl Overlay {
    fn new(key: &[usize], changes: Vec<ChangeBatch>) -> Overlay {
        let mut latest: HashMap<u128, Option<(usize, u32)>, PrintHasher> = HashMap::default();
        for (b, batch) in changes.iter().enumerate() {
            let keys: Vec<ArrayRef> = key.iter().map(|c| Arc::clone(batch.rows.column(*c))).collect();
            let prints = fingerprints(&keys, batch.len());
            // Deletions first: an update is −1 and +1 of one key in one batch.
            for (row, print) in prints.iter().enumerate().filter(|(r, _)| batch.weights.get(*r) < 0) {
                debug_assert!(row < batch.len());
                latest.insert(*print, None);
            }
            for (row, print) in prints.iter().enumerate().filter(|(r, _)| batch.weights.get(*r) > 0) {
                latest.insert(*print, Some((b, row as u32)));
            }
        }
        Overlay { latest, changes }
    }

    /// `Some(None)`: known to be absent; `None`: unknown here.
    fn find(&self, print: u128) -> Option<Option<RecordBatch>> {
        let entry = self.latest.get(&print)?;
        Some(entry.map(|(b, row)| self.changes[b].rows.slice(row as usize, 1)))
    }
}

/// The same batch with its weights written out, so that `consolidate` adds them up.
fn weighted(batch: ChangeBatch) -> ChangeBatch {
    match batch.weights {
        Weights::Each(_) => batch,
        Weights::One => {
            let n = batch.len();
            ChangeBatch::new(batch.rows, vec![1; n])
        }
    }
}

/// Rows repeated by their weight; weights below zero cannot be.
fn expand(batch: &ChangeBatch) -> Result<RecordBatch> {
    let mut indices = Vec::with_capacity(batch.len());
    for row in 0..batch.len() {
        for _ in 0..batch.weights.get(row).max(0) {
            indices.push(row as u32);
        }
    }
    Ok(arrow::compute::take_record_batch(&batch.rows, &UInt32Array::from(indices))?)
}
