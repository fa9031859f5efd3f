//! Following a view: its rows at one epoch, then what changes.
//!
//! A [`Subscription`] gives all stored columns, hidden ones too. It is pulled with the last published epoch and gives batches by epoch.
//! It pins the epoch up to which it has given everything, so the store keeps just what the
//! subscriber has not seen. Sum of the batches up to an epoch = snapshot at the epoch.

use std::sync::Arc;

use super::{Pin, ViewStore};
use crate::error::Result;
use crate::types::{ChangeBatch, Epoch};

/// Epochs that one call of `poll` gives at most, which bounds its memory.
const POLL_EPOCHS_MAX: u64 = 1024;

/// A reader's place in the history of a view.
pub struct Subscription {
    store: Arc<ViewStore>,
    pin: Pin,
    snapshot_due: bool,
    /// The store's columns, hidden ones too.
    all: Vec<usize>,
}

impl Subscription {
    /// Starts at the pinned epoch; with `snapshot` the rows at that epoch come first.
    pub fn new(store: Arc<ViewStore>, pin: Pin, snapshot: bool) -> Subscription {
        let all = (0..store.stored_schema().fields().len()).collect();
        Subscription { store, pin, snapshot_due: snapshot, all }
    }

    /// Everything up to this epoch has been given.
    pub fn epoch(&self) -> Epoch {
        self.pin.epoch()
    }

    /// All that can be read of the epochs up to `published` has been given. A view that has
    /// fallen behind gives the rest when it has caught up.
    pub fn is_at(&self, published: Epoch) -> bool {
        self.epoch() >= self.store.complete_up_to(published)
    }

    /// What came since the last call: batches by ascending epoch; the snapshot may be many
    /// batches of one epoch. Unless `is_at(published)` afterwards there is more.
    pub fn poll(&mut self, published: Epoch) -> Result<Vec<(Epoch, ChangeBatch)>> {
        let at = self.pin.epoch();
        if self.snapshot_due {
            let rows = self.store.snapshot(at, Some(&self.all))?;
            self.snapshot_due = false;
            return Ok(rows.into_iter().map(|rows| (at, ChangeBatch::inserts(rows))).collect());
        }
        let up_to = self.store.complete_up_to(published).min(Epoch(at.0.saturating_add(POLL_EPOCHS_MAX)));
        if up_to <= at {
            return Ok(Vec::new());
        }
        let changes = self.store.changes(at, up_to)?;
        self.pin.move_to(up_to);
        Ok(changes)
    }
}
