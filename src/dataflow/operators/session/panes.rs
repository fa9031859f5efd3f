//! What readers see of sessions: the live panes, and the change from one firing to the next.
//!
//! The view holds one row a session: its latest pane. When sessions merge, the panes of all
//! of them stay until the merged one fires and takes their place. A firing whose row is the
//! one that is shown changes nothing. DISCARDING panes and the one pane of EMIT FINAL are
//! never taken back, so they are not kept.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use hashbrown::{HashMap, HashSet};

use super::super::aggregate::accumulator::Failures;
use super::super::errors::RowErrors;
use super::super::expressions::batch_of;
use super::super::panes::{PaneColumns, PaneRow};
use super::super::window_assign::timestamps;
use super::index::SessionIndex;
use super::{SessionAggregateSpec, Sessions};
use crate::dataflow::triggers::{EpochTimes, Firing};
use crate::error::{HwError, Result};
use crate::state::{RowId, RowStore};
use crate::types::ChangeBatch;
use crate::types::hash::fingerprints;
use crate::types::trigger::{Accumulation, EmitPolicy};

/// A firing; `None` where the clause keeps no trigger state.
pub type Fired = Option<Firing>;

/// No live pane.
const NO_ROW: RowId = RowId::MAX;

pub struct Panes {
    /// Whether panes are replaced, and therefore kept.
    replaces: bool,
    discards: bool,
    with_columns: bool,
    pub(super) rows: RowStore,
    /// The live pane of each slot.
    ids: Vec<RowId>,
    /// Live panes of swallowed sessions, by the slot that will replace them.
    others: HashMap<u32, Vec<RowId>>,
    /// Sessions that are in the error relation.
    failed: HashSet<u32>,
}

/// New rows of an epoch, and the old ones they replace.
struct Replacement {
    /// Slot and whether it is over, by row of `new`.
    slots: Vec<(u32, bool)>,
    new: RecordBatch,
    /// Old rows by position of the new one.
    old_ids: Vec<RowId>,
    old_of: Vec<usize>,
}

impl Panes {
    pub fn new(spec: &SessionAggregateSpec) -> Panes {
        let discards = spec.emit.accumulation == Accumulation::Discarding;
        Panes {
            replaces: !discards && spec.emit.policy != EmitPolicy::Final,
            discards,
            with_columns: spec.emit.with_pane_columns,
            rows: RowStore::new(Arc::clone(&spec.output_schema)),
            ids: Vec::new(),
            others: HashMap::new(),
            failed: HashSet::new(),
        }
    }

    /// Whether a firing resets the session's accumulators.
    pub fn discards(&self) -> bool {
        self.discards
    }

    pub fn grow(&mut self, slots: usize) {
        if self.replaces && slots > self.ids.len() {
            self.ids.resize(slots, NO_ROW);
        }
    }

    /// The live panes of `part` are to be replaced by the next one of `slot`.
    pub fn take_over(&mut self, part: u32, slot: u32) {
        if !self.replaces {
            return;
        }
        let id = std::mem::replace(&mut self.ids[part as usize], NO_ROW);
        let mut moved = self.others.remove(&part).unwrap_or_default();
        moved.extend((id != NO_ROW).then_some(id));
        if !moved.is_empty() {
            self.others.entry(slot).or_default().extend(moved);
        }
        if self.failed.remove(&part) {
            self.failed.insert(slot);
        }
    }

    /// Emits the panes that fired, with their slots and whether they are the last.
    pub fn emit(
        &mut self,
        spec: &SessionAggregateSpec,
        sessions: &Sessions,
        fired: &[(u32, Fired, bool)],
        times: &EpochTimes,
        out: &mut Vec<ChangeBatch>,
    ) -> Result<()> {
        if fired.is_empty() {
            return Ok(());
        }
        let slots: Vec<u32> = fired.iter().map(|f| f.0).collect();
        let mut failures = Failures::new();
        let values = sessions.cells.values(&slots, &mut failures)?;
        let key_ids: Vec<RowId> = slots.iter().map(|s| sessions.key_ids[*s as usize]).collect();
        let keys = sessions.keys.gather(&key_ids, None)?;
        let failing: HashMap<usize, HwError> = failures.into_iter().collect();
        self.report(&slots, &keys, &failing, &spec.errors)?;
        let mut columns = keys.columns().to_vec();
        let bounds: Vec<(i64, i64)> = slots.iter().map(|s| sessions.index.bounds(*s)).collect();
        let bound_type = spec.output_schema.field(columns.len()).data_type();
        columns.push(timestamps(bounds.iter().map(|b| b.0).collect(), bound_type));
        columns.push(timestamps(bounds.iter().map(|b| b.1).collect(), bound_type));
        columns.extend(values);
        if spec.emit.with_pane_columns {
            let panes: Option<PaneColumns> =
                fired.iter().map(|f| Some(PaneRow::new(f.1.as_ref()?, times))).collect();
            let missing = || HwError::internal("a firing without trigger state has no pane columns");
            panes.ok_or_else(missing)?.append_to(&spec.output_schema, &mut columns)?;
        }
        let new = batch_of(&spec.output_schema, columns, slots.len())?;
        let mut change = Replacement { slots: Vec::new(), new, old_ids: Vec::new(), old_of: Vec::new() };
        for (i, (slot, _, last)) in fired.iter().enumerate() {
            change.slots.push((*slot, *last));
            for id in self.live(*slot) {
                change.old_ids.push(id);
                change.old_of.push(i);
            }
        }
        let shows: Vec<bool> = (0..slots.len()).map(|i| !failing.contains_key(&i)).collect();
        self.replace(change, shows, out)
    }

    /// Takes the live panes of a slot.
    fn live(&mut self, slot: u32) -> Vec<RowId> {
        if !self.replaces {
            return Vec::new();
        }
        let mut ids = self.others.remove(&slot).unwrap_or_default();
        let id = std::mem::replace(&mut self.ids[slot as usize], NO_ROW);
        ids.extend((id != NO_ROW).then_some(id));
        ids
    }

    fn replace(
        &mut self,
        change: Replacement,
        mut shows: Vec<bool>,
        out: &mut Vec<ChangeBatch>,
    ) -> Result<()> {
        let old = self.rows.gather(&change.old_ids, None)?;
        let mut leaves = vec![true; change.old_ids.len()];
        // Every pane has its own pane columns: no row is the one that was shown.
        if !self.with_columns {
            self.keep_equal(&change, &old, &mut shows, &mut leaves);
        }
        let gone = picked(&old, &leaves)?;
        if gone.num_rows() > 0 {
            out.push(ChangeBatch::deletes(gone));
        }
        let old_ids = change.old_ids.iter().zip(&leaves);
        old_ids.filter(|(_, leaves)| **leaves).for_each(|(id, _)| self.rows.release(*id));
        let shown = picked(&change.new, &shows)?;
        if shown.num_rows() == 0 {
            return Ok(());
        }
        if self.replaces {
            self.keep(&change, &shows)?;
        }
        out.push(ChangeBatch::inserts(shown));
        Ok(())
    }

    /// A session whose new row is one that is shown keeps that one.
    fn keep_equal(
        &mut self,
        change: &Replacement,
        old: &RecordBatch,
        shows: &mut [bool],
        leaves: &mut [bool],
    ) {
        let Replacement { slots, new, old_ids, old_of } = change;
        let (new_prints, old_prints) =
            (fingerprints(new.columns(), new.num_rows()), fingerprints(old.columns(), old.num_rows()));
        for (i, of) in old_of.iter().enumerate() {
            if shows[*of] && old_prints[i] == new_prints[*of] {
                (shows[*of], leaves[i]) = (false, false);
                self.ids[slots[*of].0 as usize] = old_ids[i];
            }
        }
    }

    /// Keeps the rows that are shown of sessions that are not over.
    fn keep(&mut self, change: &Replacement, shows: &[bool]) -> Result<()> {
        let Replacement { slots, new, .. } = change;
        let stays: Vec<bool> = shows.iter().zip(slots).map(|(shows, (_, over))| *shows && !over).collect();
        let kept = picked(new, &stays)?;
        if kept.num_rows() > 0 {
            let ids = self.rows.append(kept)?..;
            let kept = slots.iter().zip(&stays).filter(|(_, stays)| **stays);
            kept.zip(ids).for_each(|(((slot, _), _), id)| self.ids[*slot as usize] = id);
        }
        Ok(())
    }

    /// Moves sessions into and out of the error relation.
    fn report(
        &mut self,
        slots: &[u32],
        keys: &RecordBatch,
        failing: &HashMap<usize, HwError>,
        errors: &RowErrors,
    ) -> Result<()> {
        if failing.is_empty() && self.failed.is_empty() {
            return Ok(());
        }
        for (i, slot) in slots.iter().enumerate() {
            match (self.failed.contains(slot), failing.get(&i)) {
                (false, Some(error)) => {
                    errors.add(keys, i, 1, error.clone())?;
                    self.failed.insert(*slot);
                }
                (true, None) => {
                    errors.add(keys, i, -1, HwError::internal("the session has recovered"))?;
                    self.failed.remove(slot);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A session is over; its last pane stays in the view.
    pub fn forget(&mut self, slot: u32) {
        for id in self.live(slot) {
            self.rows.release(id);
        }
        self.failed.remove(&slot);
    }

    /// Rewrites pane rows when most of those held are dead.
    pub fn compact(&mut self, index: &SessionIndex) -> Result<()> {
        if self.rows.wants_compaction() {
            let moved: HashMap<RowId, RowId> = self.rows.compact()?.into_iter().collect();
            let place = |id: &mut RowId| *id = moved.get(id).copied().unwrap_or(*id);
            index.live_slots().for_each(|slot| place(&mut self.ids[slot as usize]));
            self.others.values_mut().flatten().for_each(place);
        }
        Ok(())
    }

    pub fn bytes(&self) -> usize {
        self.rows.bytes() + self.ids.capacity() * size_of::<RowId>() + self.others.len() * 64
    }
}

/// The rows that `mask` names, without a copy when it is all of them.
fn picked(rows: &RecordBatch, mask: &[bool]) -> Result<RecordBatch> {
    if mask.iter().all(|picked| *picked) {
        return Ok(rows.clone());
    }
    Ok(filter_record_batch(rows, &BooleanArray::from(mask.to_vec()))?)
}
