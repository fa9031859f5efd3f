//! All groups of an aggregate: hash table, key rows and accumulator slots.
//!
//! A group is a slot number. The index maps a 32-bit tag of the group's fingerprint
//! to its slot; a slot's head (`heads`) holds 64 bits of the fingerprint that
//! confirm the match together with the weight that the same row needs
//! next, so locating a row touches the index and one head. Keys are stored once, as Arrow
//! rows. At the first touch of a shown group in an epoch its old values are captured in columns;
//! `take_changes` compares them in bulk. Invariants: a slot is in the table iff it is live; a
//! freed slot's accumulators are empty.

mod columns;
pub mod fired;
mod fires;
mod heads;
mod locate;
mod narrow;
mod panes;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::interleave;
use arrow::datatypes::SchemaRef;
use hashbrown::{HashMap, HashSet};

pub use self::columns::feed;
use self::columns::unchanged;
use self::heads::{Heads, Shown};
use self::narrow::{KeyWords, NarrowKeys};
pub use self::panes::{PaneChange, Panes};
use super::accumulator::{Accumulator, Failures, accumulator};
use super::{AggregateCall, AggregateFunction};
use crate::dataflow::operators::errors::RowErrors;
use crate::error::{HwError, Result};
use crate::state::print_map::tag_of;
use crate::state::{Grow, RowId, RowStore, SlotIndex, trim_free};
use crate::types::ChangeBatch;
use crate::types::hash::fingerprints;

/// The groups of a batch's rows.
#[derive(Default)]
pub struct Located {
    /// Slot of each row.
    pub slots: Vec<u32>,
    /// Rows that made a new group.
    pub new_rows: Vec<u32>,
}

/// Rows to emit: keys are looked up by slot.
#[derive(Default)]
pub struct Emission {
    pub slots: Vec<u32>,
    /// `None` if all are 1.
    pub weights: Option<Vec<i64>>,
    /// One column a call.
    pub values: Vec<ArrayRef>,
}

/// Groups touched in this epoch.
#[derive(Default)]
struct Touched {
    /// Groups that were shown before, and their weights then.
    shown: Vec<u32>,
    old_weights: Vec<i64>,
    /// Old values of `shown`, in pieces, for each call.
    old_values: Vec<Vec<ArrayRef>>,
    captured: usize,
    /// Groups that were not shown before.
    hidden: Vec<u32>,
}

/// The groups of one aggregate operator.
pub struct Groups {
    calls: Vec<AggregateCall>,
    index: SlotIndex,
    heads: Heads,
    /// Tags by slot, where groups go in great numbers; otherwise their keys are hashed again.
    tags: Option<Vec<u32>>,
    /// Where keys stand in the heads.
    narrow: Option<NarrowKeys>,
    /// Elsewhere: rows of `keys`.
    key_ids: Vec<RowId>,
    /// Slots that the columns by slot have.
    slots: usize,
    /// Window end (or slice start) of each slot, where there are windows.
    bounds: Vec<i64>,
    free: Vec<u32>,
    keys: RowStore,
    accumulators: Vec<Option<Box<dyn Accumulator>>>,
    touched: Touched,
    /// Slots by window end; may name slots that were freed since.
    by_end: BTreeMap<i64, Vec<u32>>,
    /// The one group of a global aggregate lives without rows.
    keep_empty: bool,
    /// Trigger states, where the emit clause needs them.
    panes: Option<Box<Panes>>,
}

impl Groups {
    /// `key_schema` are the stored key columns, `input` the schema that calls read.
    pub fn new(
        key_schema: SchemaRef,
        input: &SchemaRef,
        calls: &[AggregateCall],
        append_only: bool,
    ) -> Result<Groups> {
        let accumulators = calls.iter().map(|c| accumulator(c, input, append_only)).collect::<Result<_>>()?;
        let touched = Touched { old_values: vec![Vec::new(); calls.len()], ..Touched::default() };
        Ok(Groups {
            calls: calls.to_vec(),
            index: SlotIndex::default(),
            heads: Heads::new(2),
            tags: None,
            narrow: None,
            key_ids: Vec::new(),
            slots: 0,
            bounds: Vec::new(),
            free: Vec::new(),
            keys: RowStore::new(key_schema),
            accumulators,
            touched,
            by_end: BTreeMap::new(),
            keep_empty: false,
            panes: None,
        })
    }

    /// Groups go with their windows, and their fingerprints are not those of their keys alone.
    pub fn keep_tags(&mut self) {
        self.tags = Some(Vec::new());
    }

    /// Keys identify their groups, and are kept in the heads, if they are short. Rows are located
    /// with the words of their keys then.
    pub fn use_narrow_keys(&mut self) {
        self.narrow = NarrowKeys::of(self.keys.schema());
        self.heads = Heads::new(self.narrow.as_ref().map_or(2, NarrowKeys::width));
    }

    /// What `locate` needs of key columns beside their fingerprints.
    pub fn key_words(&self, columns: &[ArrayRef], rows: usize) -> Option<KeyWords> {
        self.narrow.as_ref().map(|keys| keys.words(columns, rows))
    }

    /// Whether `store_keys` reads no keys.
    pub fn has_narrow_keys(&self) -> bool {
        self.narrow.is_some()
    }

    /// Makes the group with fingerprint `print` exist for ever, with or without rows.
    pub fn add_permanent(&mut self, print: u128, key: RecordBatch) -> Result<()> {
        self.keep_empty = true;
        let mut located = Located::default();
        self.locate(&[print], None, Some(&[0]), &mut located);
        self.store_keys(&located, key, None)
    }

    /// True if the slots of all calls are merged with little work, which sets of values are not.
    pub fn mergeable(&self) -> bool {
        use AggregateFunction as F;
        let without_set = |f: &F| matches!(f, F::CountStar | F::Min | F::Max | F::BoolAnd | F::BoolOr);
        let has_set = |c: &AggregateCall| {
            c.distinct && !without_set(&c.function) && !matches!(c.function, F::Materialized(_))
        };
        self.accumulators.iter().flatten().all(|a| a.mergeable()) && !self.calls.iter().any(has_set)
    }

    pub fn group_count(&self) -> usize {
        self.heads.len() - self.free.len()
    }

    pub fn bytes(&self) -> usize {
        let accumulators: usize = self.accumulators.iter().flatten().map(|a| a.bytes()).sum();
        let ends: usize = self.by_end.values().map(|slots| slots.capacity() * size_of::<u32>()).sum();
        self.heads.bytes()
            + self.index.bytes()
            + self.tags.as_ref().map_or(0, |t| t.capacity() * size_of::<u32>())
            + self.key_ids.capacity() * size_of::<RowId>()
            + self.bounds.capacity() * size_of::<i64>()
            + self.free.capacity() * size_of::<u32>()
            + ends
            + self.keys.bytes()
            + accumulators
            + self.panes.as_ref().map_or(0, |p| p.bytes())
    }

    pub fn weight(&self, slot: u32) -> i64 {
        self.heads.weight(slot)
    }

    pub fn bound(&self, slot: u32) -> i64 {
        self.bounds[slot as usize]
    }

    /// Key columns of `slots`.
    pub fn keys_of(&self, slots: &[u32]) -> Result<RecordBatch> {
        if let Some(keys) = &self.narrow {
            let columns = keys.columns(slots.iter().map(|slot| self.heads.key(*slot)));
            // There may be no columns: one group of all rows.
            let count = RecordBatchOptions::new().with_row_count(Some(slots.len()));
            let schema = Arc::clone(self.keys.schema());
            return Ok(RecordBatch::try_new_with_options(schema, columns, &count)?);
        }
        let ids: Vec<RowId> = slots.iter().map(|s| self.key_ids[*s as usize]).collect();
        self.keys.gather(&ids, None)
    }

    /// Stores the keys of the new groups: one row of `keys` for each of `located.new_rows`.
    /// `bounds`, by row, are window ends to be indexed for `take_closed`.
    pub fn store_keys(&mut self, located: &Located, keys: RecordBatch, bounds: Option<&[i64]>) -> Result<()> {
        let slots = self.heads.len();
        if slots > self.slots {
            self.slots = slots;
            if self.narrow.is_none() {
                self.key_ids.grow(slots, 0);
            }
            if bounds.is_some() {
                self.bounds.grow(slots, 0);
            }
            self.accumulators.iter_mut().flatten().for_each(|a| a.resize(slots));
            self.panes.iter_mut().for_each(|p| p.resize(slots));
        }
        if located.new_rows.is_empty() || self.narrow.is_some() {
            return Ok(());
        }
        let first = self.keys.append(keys)?;
        for (id, row) in (first..).zip(&located.new_rows) {
            let slot = located.slots[*row as usize];
            self.key_ids[slot as usize] = id;
            if let Some(panes) = &mut self.panes {
                panes.open(slot, bounds.map_or(i64::MAX, |b| b[*row as usize]));
            }
            if let Some(bounds) = bounds {
                let end = bounds[*row as usize];
                self.bounds[slot as usize] = end;
                self.by_end.entry(end).or_default().push(slot);
            }
        }
        Ok(())
    }

    /// Sets the bound of new groups without indexing it.
    pub fn set_bounds(&mut self, located: &Located, bounds: &[i64]) {
        self.bounds.grow(self.heads.len(), 0);
        for row in &located.new_rows {
            self.bounds[located.slots[*row as usize] as usize] = bounds[*row as usize];
        }
    }

    /// Keeps the values that the groups touched since the last call had before.
    pub fn capture(&mut self) -> Result<()> {
        let fresh = &self.touched.shown[self.touched.captured..];
        if fresh.is_empty() {
            return Ok(());
        }
        for (call, accumulator) in self.accumulators.iter().enumerate() {
            if let Some(accumulator) = accumulator {
                let values = accumulator.values(fresh, &mut Failures::new())?;
                self.touched.old_values[call].push(values);
            }
        }
        self.touched.captured = self.touched.shown.len();
        Ok(())
    }

    /// Feeds the rows of `batch`, whose groups are `slots`, to the accumulators.
    pub fn update(&mut self, batch: &ChangeBatch, slots: &[u32]) -> Result<()> {
        feed(&self.calls, &mut self.accumulators, batch, slots)
    }

    /// Adds the accumulators of `other` to this one's, `(from, to)` by slot. Weights are
    /// added by `locate`.
    pub fn merge(&mut self, other: &Groups, pairs: &[(u32, u32)]) {
        for (to, from) in self.accumulators.iter_mut().zip(&other.accumulators) {
            if let (Some(to), Some(from)) = (to, from) {
                to.merge(from.as_ref(), pairs);
            }
        }
    }

    /// The value of each call in `slots`.
    fn values(&self, slots: &[u32], failures: &mut Failures) -> Result<Vec<ArrayRef>> {
        let value = |accumulator: &Option<Box<dyn Accumulator>>| match accumulator {
            Some(accumulator) => accumulator.values(slots, failures),
            None => {
                let weights = slots.iter().map(|s| self.weight(*s));
                Ok(Arc::new(Int64Array::from_iter_values(weights)) as ArrayRef)
            }
        };
        self.accumulators.iter().map(value).collect()
    }

    fn lives(&self, slot: u32) -> bool {
        self.weight(slot) > 0 || self.keep_empty
    }

    /// The difference between what is shown and what the groups touched in this epoch hold
    /// now, as −1 and +1 rows; afterwards the new values are shown. Groups whose value has
    /// no representation go to `errors` instead, and leave it when they recover.
    pub fn take_changes(&mut self, errors: &RowErrors) -> Result<Emission> {
        let touched = std::mem::take(&mut self.touched);
        let shown_before = touched.shown.len();
        let mut slots = touched.shown;
        slots.extend(touched.hidden.iter().filter(|s| self.lives(**s)));
        let mut failures = Failures::new();
        let new_values = self.values(&slots, &mut failures)?;
        let old_values = self.old_values(touched.old_weights, touched.old_values)?;
        let mut failed = vec![false; slots.len()];
        failures.iter().for_each(|(position, _)| failed[*position] = true);
        let same = unchanged(&old_values, &new_values, shown_before)?;
        let mut picks: Vec<(usize, usize)> = Vec::with_capacity(slots.len());
        let replaced = |i: usize, groups: &Groups| {
            !same.as_ref().is_none_or(|s| s.value(i)) || failed[i] || !groups.lives(slots[i])
        };
        picks.extend((0..shown_before).filter(|i| replaced(*i, self)).map(|i| (0, i)));
        let removed = picks.len();
        for i in 0..slots.len() {
            let appears = i >= shown_before || replaced(i, self);
            if appears && !failed[i] && self.lives(slots[i]) {
                picks.push((1, i));
            }
        }
        let values = (0..self.calls.len()).map(|call| {
            match old_values.get(call) {
                Some(old) => Ok(interleave(&[old.as_ref(), new_values[call].as_ref()], &picks)?),
                // Without old values every pick is of the new ones.
                None => {
                    let rows = UInt32Array::from_iter_values(picks.iter().map(|(_, i)| *i as u32));
                    Ok(arrow::compute::take(&new_values[call], &rows, None)?)
                }
            }
        });
        let values = values.collect::<Result<_>>()?;
        let weights = (removed > 0).then(|| {
            let mut weights = vec![-1; removed];
            weights.resize(picks.len(), 1);
            weights
        });
        let emitted = picks.iter().map(|(_, i)| slots[*i]).collect();
        let had_failed = |slot: &u32| self.heads.shown(*slot) == Shown::Failed;
        let before: Vec<u32> = touched.hidden.iter().copied().filter(had_failed).collect();
        self.report_failures(&slots, &before, failures, errors)?;
        for (slot, failed) in slots.iter().zip(failed) {
            let lives = self.lives(*slot);
            let shown = match (failed, lives) {
                (true, true) => Shown::Failed,
                (false, true) => Shown::Yes,
                (_, false) => Shown::No,
            };
            self.heads.show(*slot, shown);
        }
        // Groups that were hidden and hold nothing need no row, only to be freed.
        slots.extend(touched.hidden);
        self.stash_touched(slots);
        Ok(Emission { slots: emitted, weights, values })
    }

    /// Keeps the slots of the epoch until `end_epoch` frees the empty ones.
    fn stash_touched(&mut self, slots: Vec<u32>) {
        self.touched.hidden = slots;
        self.touched.old_values = vec![Vec::new(); self.calls.len()];
    }

    /// Values that the shown groups had, as one column a call.
    fn old_values(&self, weights: Vec<i64>, pieces: Vec<Vec<ArrayRef>>) -> Result<Vec<ArrayRef>> {
        if weights.is_empty() {
            return Ok(Vec::new());
        }
        let weights: ArrayRef = Arc::new(Int64Array::from(weights));
        let column =
            |(accumulator, pieces): (&Option<_>, Vec<ArrayRef>)| match (accumulator, pieces.as_slice()) {
                (None, _) => Ok(weights.clone()),
                (_, [only]) => Ok(only.clone()),
                (_, many) => {
                    let parts: Vec<&dyn Array> = many.iter().map(|a| a.as_ref()).collect();
                    Ok(arrow::compute::concat(&parts)?)
                }
            };
        self.accumulators.iter().zip(pieces).map(column).collect()
    }

    /// Moves groups into and out of the error relation: `failures` are positions in `slots`,
    /// `before` the slots that had failed before.
    fn report_failures(
        &self,
        slots: &[u32],
        before: &[u32],
        failures: Failures,
        errors: &RowErrors,
    ) -> Result<()> {
        if failures.is_empty() && before.is_empty() {
            return Ok(());
        }
        let now: HashMap<u32, HwError> = failures.into_iter().map(|(i, e)| (slots[i], e)).collect();
        let failed_before: HashSet<u32> = before.iter().copied().collect();
        for slot in before {
            if !now.contains_key(slot) || !self.lives(*slot) {
                errors.add(&self.keys_of(&[*slot])?, 0, -1, HwError::internal("the group has recovered"))?;
            }
        }
        for (slot, report) in now {
            if !failed_before.contains(&slot) && self.lives(slot) {
                errors.add(&self.keys_of(&[slot])?, 0, 1, report)?;
            }
        }
        Ok(())
    }

    /// Ends the epoch: groups without rows are freed and touches are forgotten.
    pub fn end_epoch(&mut self) -> Result<()> {
        let mut empty = std::mem::take(&mut self.touched.hidden);
        empty.append(&mut self.touched.shown);
        empty.retain(|s| {
            self.heads.untouch(*s);
            self.heads.weight(*s) == 0 && self.heads.shown(*s) != Shown::Free && !self.keep_empty
        });
        empty.sort_unstable();
        empty.dedup();
        self.touched.old_weights.clear();
        self.touched.captured = 0;
        self.release(&empty)
    }

    /// The groups of all windows with `end + lateness <= watermark`, each once.
    pub fn take_closed(&mut self, lateness_us: i64, watermark: i64) -> Vec<u32> {
        let mut closed = Vec::new();
        while let Some(window) = self.by_end.first_entry() {
            let end = *window.key();
            if end.saturating_add(lateness_us) > watermark {
                break;
            }
            let mut slots = window.remove();
            // Groups with panes stay until their window goes.
            if self.panes.is_none() {
                slots.retain(|s| self.heads.shown(*s) != Shown::Free && self.bounds[*s as usize] == end);
                slots.sort_unstable();
                slots.dedup();
            }
            closed.append(&mut slots);
        }
        closed
    }

    pub fn next_timer(&self) -> Option<i64> {
        self.panes.as_ref().and_then(|p| p.next_timer())
    }

    /// The earliest window end that still has groups.
    pub fn first_end(&self) -> Option<i64> {
        self.by_end.first_key_value().map(|(end, _)| *end)
    }

    /// The rows of `slots` that hold something, each with weight 1.
    pub fn final_rows(&self, slots: &[u32], errors: &RowErrors) -> Result<Emission> {
        let mut live: Vec<u32> = slots.iter().copied().filter(|s| self.lives(*s)).collect();
        let mut failures = Failures::new();
        let mut values = self.values(&live, &mut failures)?;
        if !failures.is_empty() {
            let mut failed = vec![false; live.len()];
            failures.iter().for_each(|(i, _)| failed[*i] = true);
            self.report_failures(&live, &[], failures, errors)?;
            live = live.into_iter().zip(failed).filter(|(_, failed)| !failed).map(|(s, _)| s).collect();
            values = self.values(&live, &mut Failures::new())?;
        }
        Ok(Emission { slots: live, weights: None, values })
    }

    /// The slots touched in this epoch, after `take_changes`; some may be named twice.
    pub fn touched_slots(&self) -> &[u32] {
        &self.touched.hidden
    }

    /// The rows that are shown of `slots`, each with weight −1; they leave `errors`, too.
    pub fn retractions(&self, slots: &[u32], errors: &RowErrors) -> Result<Emission> {
        let is = |s: &&u32, shown: Shown| self.heads.shown(**s) == shown;
        for slot in slots.iter().filter(|s| is(s, Shown::Failed)) {
            errors.add(&self.keys_of(&[*slot])?, 0, -1, HwError::internal("the group has expired"))?;
        }
        let shown: Vec<u32> = slots.iter().filter(|s| is(s, Shown::Yes)).copied().collect();
        let values = self.values(&shown, &mut Failures::new())?;
        Ok(Emission { weights: Some(vec![-1; shown.len()]), slots: shown, values })
    }

    /// What the index knows `slots` by.
    fn tags_of(&self, slots: &[u32]) -> Result<Vec<u32>> {
        Ok(match &self.tags {
            Some(tags) => slots.iter().map(|s| tags[*s as usize]).collect(),
            None => {
                fingerprints(self.keys_of(slots)?.columns(), slots.len()).into_iter().map(tag_of).collect()
            }
        })
    }

    /// Frees groups and their state.
    pub fn release(&mut self, slots: &[u32]) -> Result<()> {
        if slots.is_empty() {
            return Ok(());
        }
        self.release_panes(slots);
        for (slot, tag) in slots.iter().zip(self.tags_of(slots)?) {
            let found = self.index.remove(tag, *slot);
            debug_assert!(found, "a live group is in the index");
            self.heads.set_weight(*slot, 0);
            self.heads.show(*slot, Shown::Free);
            if self.narrow.is_none() {
                self.keys.release(self.key_ids[*slot as usize]);
            }
        }
        self.accumulators.iter_mut().flatten().for_each(|a| a.clear(slots));
        self.free.extend_from_slice(slots);
        Ok(())
    }

    /// Rewrites key rows when most of those held are dead.
    pub fn compact(&mut self) -> Result<()> {
        self.index.trim();
        trim_free(&mut self.free);
        if let Some(moved) = self.keys.compact_if_worth()? {
            let ids = self.key_ids.iter_mut().enumerate();
            let live = ids.filter(|(slot, _)| self.heads.shown(*slot as u32) != Shown::Free);
            live.for_each(|(_, id)| moved.follow(id));
        }
        Ok(())
    }

    /// Forgets all groups.
    pub fn clear(&mut self) {
        let live: Vec<u32> =
            (0..self.heads.len() as u32).filter(|s| self.heads.shown(*s) != Shown::Free).collect();
        self.accumulators.iter_mut().flatten().for_each(|a| a.clear(&live));
        self.index.clear();
        self.heads.clear();
        self.tags.iter_mut().for_each(Vec::clear);
        self.free.clear();
        self.keys.clear();
        self.key_ids.clear();
        self.slots = 0;
        self.bounds.clear();
        self.by_end.clear();
        self.touched.hidden.clear();
    }
}
