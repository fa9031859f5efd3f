//! Which epochs readers use.
//!
//! A reader pins an epoch before it reads and holds the [`Pin`] as long as it reads. The
//! horizon, below which view stores may forget, is the smaller of the oldest pin and the
//! last published epoch less the retention. Invariant: the horizon never falls, and no pin
//! is below it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

use super::store::epoch_gone;
use crate::error::Result;
use crate::types::Epoch;

/// What of its input an epoch has taken.
#[derive(Debug, Default)]
pub struct InputEnds {
    /// Records of the local log up to this number.
    pub log: u64,
    /// Of sources that are read, the split and one past its last offset.
    pub offsets: HashMap<u64, Vec<(u32, i64)>>,
}

/// Registry of the pinned epochs of a database.
pub struct Pins {
    /// Epochs before the published one that may still be pinned.
    retention_epochs: u64,
    state: Mutex<PinState>,
}

#[derive(Default)]
struct PinState {
    published: u64,
    ends: Arc<InputEnds>,
    horizon: u64,
    /// Number of pins per epoch.
    pinned: BTreeMap<u64, usize>,
}

impl PinState {
    fn add(&mut self, epoch: u64) {
        *self.pinned.entry(epoch).or_default() += 1;
    }

    fn remove(&mut self, epoch: u64) {
        if let Some(count) = self.pinned.get_mut(&epoch) {
            *count -= 1;
            if *count == 0 {
                self.pinned.remove(&epoch);
            }
        }
    }
}

impl Pins {
    pub fn new(retention_epochs: u64) -> Arc<Pins> {
        Arc::new(Pins { retention_epochs, state: Mutex::default() })
    }

    /// All views and tables are complete up to `epoch`, which has taken its input up to `ends`.
    pub fn publish(&self, epoch: Epoch, ends: Arc<InputEnds>) {
        let mut state = self.state.lock();
        if epoch.0 >= state.published {
            state.published = epoch.0;
            state.ends = ends;
        }
    }

    pub fn published(&self) -> Epoch {
        Epoch(self.state.lock().published)
    }

    /// Pins the last published epoch.
    pub fn pin_published(self: &Arc<Self>) -> Pin {
        let mut state = self.state.lock();
        let epoch = state.published;
        state.add(epoch);
        Pin { pins: self.clone(), epoch: Epoch(epoch), ends: Arc::clone(&state.ends) }
    }

    /// Pins an older epoch; 55000 if it is below the horizon.
    pub fn pin(self: &Arc<Self>, epoch: Epoch) -> Result<Pin> {
        let mut state = self.state.lock();
        if epoch.0 < state.horizon {
            return Err(epoch_gone(epoch, Epoch(state.horizon)));
        }
        state.add(epoch.0);
        Ok(Pin { pins: self.clone(), epoch, ends: Arc::clone(&state.ends) })
    }

    /// The oldest epoch that is or may be pinned from now on.
    pub fn horizon(&self) -> Epoch {
        let mut state = self.state.lock();
        let retained = state.published.saturating_sub(self.retention_epochs);
        let oldest = state.pinned.keys().next().map_or(retained, |pinned| retained.min(*pinned));
        state.horizon = state.horizon.max(oldest);
        Epoch(state.horizon)
    }
}

/// Keeps an epoch readable until it is dropped.
pub struct Pin {
    pins: Arc<Pins>,
    epoch: Epoch,
    ends: Arc<InputEnds>,
}

impl Pin {
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The input of the epoch that was published when this pin was made.
    pub fn ends(&self) -> &InputEnds {
        &self.ends
    }

    /// Pins a later epoch instead; an earlier one changes nothing.
    pub fn move_to(&mut self, epoch: Epoch) {
        if epoch > self.epoch {
            let mut state = self.pins.state.lock();
            state.add(epoch.0);
            state.remove(self.epoch.0);
            self.epoch = epoch;
        }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.pins.state.lock().remove(self.epoch.0);
    }
}
