//! A view or table with the versions of its rows.
//!
//! Every worker applies its changes of an epoch to its own shard; readers name an epoch that
//! all workers have finished. All changes of one row, or of one key, must come to the same
//! shard. Locks are held for look-ups and for handing out references to columns, not while
//! rows are filtered or hashed. Invariant: what a reader sees at an epoch never changes
//! while the epoch is not below the horizon.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::datatypes::SchemaRef;
use parking_lot::RwLock;

use super::chunk::Selection;
use super::shard::{IndexBy, Shard};
use crate::error::{HwError, Result, sqlstate};
use crate::types::change_batch::{concat, consolidate, take_rows};
use crate::types::{ChangeBatch, Epoch, hash};

/// No published epoch is incomplete.
const COMPLETE: u64 = u64::MAX;

/// Rows of a view or table at the epochs from the horizon on.
pub struct ViewStore {
    name: String,
    /// All columns that are stored, the hidden ones last.
    stored: SchemaRef,
    /// The columns that readers see unless they name hidden ones.
    schema: SchemaRef,
    index_by: IndexBy,
    append_only: bool,
    /// The changes of an epoch take back at most one row of a key and give at most one, and
    /// these differ.
    net: bool,
    shards: Vec<RwLock<Shard>>,
    /// The oldest epoch that may be read.
    horizon: AtomicU64,
    /// The first published epoch whose changes are not all here; `u64::MAX` while there is none.
    incomplete_from: AtomicU64,
}

impl ViewStore {
    /// `key`: columns whose values are unique among the rows of an epoch. `append_only`: no
    /// row is ever deleted. `shards`: the number of workers.
    pub fn new(
        name: impl Into<String>,
        schema: SchemaRef,
        key: Option<Vec<usize>>,
        append_only: bool,
        shards: usize,
    ) -> ViewStore {
        let index_by = match key {
            Some(key) => IndexBy::Key(key),
            None if append_only => IndexBy::Nothing,
            None => IndexBy::WholeRow,
        };
        let shards = (0..shards).map(|_| RwLock::new(Shard::new(index_by.clone()))).collect();
        let stored = Arc::clone(&schema);
        ViewStore {
            name: name.into(),
            stored,
            schema,
            index_by,
            append_only,
            net: false,
            shards,
            horizon: AtomicU64::new(0),
            incomplete_from: AtomicU64::new(COMPLETE),
        }
    }

    /// The last `hidden` columns are stored, and read only by those who name them.
    pub fn with_hidden(mut self, hidden: usize) -> Result<ViewStore> {
        let visible = self.stored.fields().len().saturating_sub(hidden);
        self.schema = Arc::new(self.stored.project(&(0..visible).collect::<Vec<_>>())?);
        Ok(self)
    }

    /// Changes come with at most one old and one new row of a key in an epoch, never equal
    /// ones: nothing needs to be added up.
    pub fn with_net_changes(mut self, net: bool) -> ViewStore {
        self.net = net && matches!(self.index_by, IndexBy::Key(_));
        self
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// The columns that readers see, then the hidden ones.
    pub fn stored_schema(&self) -> SchemaRef {
        self.stored.clone()
    }

    /// Number of columns that readers see.
    fn visible(&self) -> usize {
        self.schema.fields().len()
    }

    /// The key columns, if the rows have a key of visible columns.
    pub fn key(&self) -> Option<&[usize]> {
        match &self.index_by {
            IndexBy::Key(key) if key.iter().all(|c| *c < self.visible()) => Some(key),
            _ => None,
        }
    }

    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Applies changes of `epoch` to one shard, deletions first. An epoch may be applied in
    /// several calls, with ascending epochs. Errors (XX000) are defects of what computed the
    /// changes: a deletion of a row that is not there, a second row of a key, a deletion
    /// from an append-only view; the store must then be abandoned.
    pub fn apply(&self, shard: usize, epoch: Epoch, changes: &[ChangeBatch]) -> Result<()> {
        if changes.iter().all(ChangeBatch::is_empty) {
            return self.shards[shard].write().begin(epoch.0);
        }
        if self.net {
            return self.apply_net(shard, epoch, changes);
        }
        let changes = match self.append_only {
            true => concat(&self.stored, changes)?,
            false => consolidate(&self.stored, changes)?,
        };
        let Some(weights) = changes.weights.as_slice() else {
            let prints = self.index_by.prints(&changes.rows);
            return self.write(shard, epoch, &changes.rows, &prints, &[]);
        };
        if self.append_only && weights.iter().any(|w| *w < 0) {
            return Err(self.broken("a row is deleted from an append-only view"));
        }
        let prints = self.index_by.prints(&changes.rows);
        let (mut inserted, mut insert_prints, mut deleted) = (Vec::new(), Vec::new(), Vec::new());
        for (row, weight) in weights.iter().enumerate() {
            let times = weight.unsigned_abs() as usize;
            if *weight < 0 {
                deleted.extend(std::iter::repeat_n(prints[row], times));
            } else {
                inserted.extend(std::iter::repeat_n(row as u32, times));
                if !prints.is_empty() {
                    insert_prints.extend(std::iter::repeat_n(prints[row], times));
                }
            }
        }
        let rows = take_rows(&changes.rows, &UInt32Array::from(inserted))?;
        self.write(shard, epoch, &rows, &insert_prints, &deleted)
    }

    /// As `apply`, for changes that need no adding up.
    fn apply_net(&self, shard: usize, epoch: Epoch, changes: &[ChangeBatch]) -> Result<()> {
        let prints: Vec<Vec<u128>> = changes.iter().map(|c| self.index_by.prints(&c.rows)).collect();
        let mut shard = self.shards[shard].write();
        shard.begin(epoch.0)?;
        for (batch, prints) in changes.iter().zip(&prints) {
            let weights = batch.weights.as_slice().unwrap_or_default();
            let mut deleted = weights.iter().zip(prints).filter(|(weight, _)| **weight < 0);
            if !deleted.all(|(_, print)| shard.delete(*print)) {
                return Err(self.broken("a row is deleted that is not there"));
            }
        }
        for (batch, mut prints) in changes.iter().zip(prints) {
            let mut rows = batch.rows.clone();
            if let Some(weights) = batch.weights.as_slice() {
                let inserted: Vec<u32> =
                    (0..weights.len() as u32).filter(|row| weights[*row as usize] > 0).collect();
                if inserted.len() < prints.len() {
                    prints = inserted.iter().map(|row| prints[*row as usize]).collect();
                    rows = take_rows(&rows, &UInt32Array::from(inserted))?;
                }
            }
            if !shard.insert(&rows, &prints)? {
                return Err(self.broken("a key has two rows"));
            }
        }
        Ok(())
    }

    fn write(
        &self,
        shard: usize,
        epoch: Epoch,
        rows: &RecordBatch,
        prints: &[u128],
        deleted: &[u128],
    ) -> Result<()> {
        let mut shard = self.shards[shard].write();
        shard.begin(epoch.0)?;
        if !deleted.iter().all(|print| shard.delete(*print)) {
            return Err(self.broken("a row is deleted that is not there"));
        }
        match shard.insert(rows, prints)? {
            true => Ok(()),
            false => Err(self.broken("a key has two rows")),
        }
    }

    fn broken(&self, what: &str) -> HwError {
        HwError::internal(format!("inconsistent changes of \"{}\": {what}", self.name))
    }

    /// The rows at `epoch`, with the projected columns (`None`: the visible ones). Chunks all of whose rows are visible
    /// are handed out without a copy. 55000 if `epoch` is below the horizon.
    pub fn snapshot(&self, epoch: Epoch, projection: Option<&[usize]>) -> Result<Vec<RecordBatch>> {
        Ok(self.snapshot_by_shard(epoch, projection)?.into_iter().flatten().collect())
    }

    /// Like `snapshot`, one list for each shard.
    pub fn snapshot_by_shard(
        &self,
        epoch: Epoch,
        projection: Option<&[usize]>,
    ) -> Result<Vec<Vec<RecordBatch>>> {
        let visible: Vec<usize> = (0..self.visible()).collect();
        let all = self.visible() == self.stored.fields().len();
        let projection = projection.or((!all).then_some(visible.as_slice()));
        let select = |shard: &RwLock<Shard>| -> Result<Vec<RecordBatch>> {
            let selected = shard.read().select(epoch.0);
            let project = |rows: RecordBatch| match projection {
                Some(columns) => rows.project(columns),
                None => Ok(rows),
            };
            let rows = |(rows, selection): (RecordBatch, Selection)| selection.apply(project(rows)?);
            selected.into_iter().map(rows).collect()
        };
        let batches = self.shards.iter().map(select).collect::<Result<_>>()?;
        self.check_readable(epoch)?;
        Ok(batches)
    }

    /// The row of a key at `epoch`; `key_values` holds one value for each key column, of the
    /// type of the column. XX000 if the view has no key.
    pub fn lookup(&self, epoch: Epoch, key_values: &[ArrayRef]) -> Result<Option<RecordBatch>> {
        if self.key().is_none_or(|key| key.len() != key_values.len()) {
            return Err(HwError::internal(format!("\"{}\" has no such key", self.name)));
        }
        let print = hash::fingerprints(key_values, 1)[0];
        let row = self.shards.iter().find_map(|shard| shard.read().lookup(print, epoch.0));
        self.check_readable(epoch)?;
        let visible: Vec<usize> = (0..self.visible()).collect();
        row.map(|row| Ok(row.project(&visible)?)).transpose()
    }

    /// The changes of the epochs `after < E <= up_to`, ascending, without epochs that changed
    /// nothing; with the hidden columns. `after` must not be below the horizon (55000).
    pub fn changes(&self, after: Epoch, up_to: Epoch) -> Result<Vec<(Epoch, ChangeBatch)>> {
        let mut epochs: BTreeMap<u64, Vec<ChangeBatch>> = BTreeMap::new();
        for shard in &self.shards {
            let chunks = shard.read().changes(after.0, up_to.0);
            for (rows, mut changes) in chunks {
                changes.sort_unstable_by_key(|(epoch, row, _)| (*epoch, *row));
                for of_epoch in changes.chunk_by(|a, b| a.0 == b.0) {
                    let indices = UInt32Array::from_iter_values(of_epoch.iter().map(|c| c.1));
                    let rows = take_rows(&rows, &indices)?;
                    let batch = ChangeBatch::new(rows, of_epoch.iter().map(|c| c.2).collect());
                    epochs.entry(of_epoch[0].0).or_default().push(batch);
                }
            }
        }
        self.check_readable(after)?;
        self.check_readable(up_to)?;
        epochs.into_iter().map(|(epoch, all)| Ok((Epoch(epoch), concat(&self.stored, &all)?))).collect()
    }

    /// Number of rows at `epoch`.
    pub fn len_at(&self, epoch: Epoch) -> usize {
        self.shards.iter().map(|shard| shard.read().len_at(epoch.0)).sum()
    }

    /// No epoch below `oldest_readable` is read any more: frees versions that only those
    /// show, a bounded number in each call. A smaller epoch than before changes nothing.
    pub fn set_horizon(&self, oldest_readable: Epoch) -> Result<()> {
        let before = self.horizon.fetch_max(oldest_readable.0, Ordering::SeqCst);
        let horizon = before.max(oldest_readable.0);
        self.shards.iter().try_for_each(|shard| shard.write().collect(horizon))
    }

    /// The oldest epoch that may be read.
    pub fn horizon(&self) -> Epoch {
        Epoch(self.horizon.load(Ordering::SeqCst))
    }

    /// Bytes of all versions and the index (estimate).
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().bytes()).sum()
    }

    /// The view has fallen behind: `first` and later epochs are published although not all of
    /// their changes are here, and cannot be read. Must be told before they are published.
    pub fn set_incomplete_from(&self, first: Epoch) {
        self.incomplete_from.fetch_min(first.0, Ordering::SeqCst);
    }

    /// All changes of all published epochs are here.
    pub fn set_complete(&self) {
        self.incomplete_from.store(COMPLETE, Ordering::SeqCst);
    }

    /// The newest epoch up to `published` that can be read.
    pub fn complete_up_to(&self, published: Epoch) -> Epoch {
        Epoch(published.0.min(self.incomplete_from.load(Ordering::SeqCst).saturating_sub(1)))
    }

    /// Checked after reading, because the bounds may move meanwhile.
    fn check_readable(&self, epoch: Epoch) -> Result<()> {
        let horizon = self.horizon();
        if epoch < horizon {
            return Err(epoch_gone(epoch, horizon));
        }
        let complete = self.complete_up_to(epoch);
        if complete < epoch {
            return Err(self.behind(epoch, complete));
        }
        Ok(())
    }

    fn behind(&self, epoch: Epoch, complete: Epoch) -> HwError {
        let message = format!("materialized view \"{}\" has fallen behind", self.name);
        HwError::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
            .with_detail(format!(
                "It is complete up to epoch {}; this query reads epoch {}.",
                complete.0, epoch.0
            ))
            .with_hint("It can be read again when it has caught up; SHOW JOBS lists it until then.")
    }

    #[cfg(test)]
    pub(super) fn versions(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().versions()).sum()
    }
}

pub(super) fn epoch_gone(epoch: Epoch, oldest: Epoch) -> HwError {
    let message = format!("epoch {} is no longer available", epoch.0);
    HwError::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
        .with_detail(format!("The oldest epoch kept is {}.", oldest.0))
}
