//! The rows of all partitions in order, and which of them a change can touch.
//!
//! One entry is one copy of a row, so that each copy has values of its own. Partitions have numbers
//! of four bytes here; one that is empty keeps its number until the epoch is over. Invariant: the
//! copies of a row are numbered from 0 without gaps.

use std::collections::BTreeMap;
use std::ops::Bound;

use arrow::array::UInt32Array;

use super::{Line, NO_VALUES};
use crate::error::{HwError, Result};
use crate::plan::Reach;
use crate::state::print_map::tag_of;
use crate::state::{Key, PrintMap, RowId, RowStore, SortedBlocks};
use crate::types::ChangeBatch;

/// Where a copy of a row stands: by the number of its partition, its key, 64 bits that are the same
/// in every run, and 32 more that tell rows apart.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place<K> {
    group: u32,
    key: K,
    tie: u64,
    print: u32,
    copy: u32,
}

/// Numbers of partitions.
#[derive(Default)]
struct Numbers {
    /// By fingerprint, each with the bits that it is found by.
    of: PrintMap<u32>,
    /// Those that may be empty.
    emptied: Vec<u32>,
}

/// What places the rows of a batch.
pub struct Places<K> {
    pub groups: Vec<u128>,
    pub keys: Vec<K>,
    pub ties: Vec<u64>,
    pub prints: Vec<u128>,
    /// Order values, where the reach or the time needs them.
    pub at: Option<Vec<i64>>,
}

struct Entry {
    line: Line,
    at: i64,
}

/// Places that changed, with their order values, by partition, in order.
pub struct Touched<K> {
    pub groups: BTreeMap<u128, Vec<(Place<K>, i64)>>,
}

impl<K> Default for Touched<K> {
    fn default() -> Self {
        Touched { groups: BTreeMap::new() }
    }
}

/// Rows to evaluate: those touched, and the rows around them that their values depend on.
pub struct Span<K> {
    pub context: Vec<RowId>,
    /// The touched rows are `context[start..start + lines.len()]`.
    pub start: usize,
    pub places: Vec<Place<K>>,
    pub lines: Vec<Line>,
}

/// The touched rows of an epoch.
pub struct Affected<K> {
    pub places: Vec<Place<K>>,
    pub lines: Vec<Line>,
}

impl<K> Default for Affected<K> {
    fn default() -> Self {
        Affected { places: Vec::new(), lines: Vec::new() }
    }
}

impl<K> Affected<K> {
    pub fn extend(&mut self, span: Span<K>) {
        self.places.extend(span.places);
        self.lines.extend(span.lines);
    }
}

pub struct Rows<K: Key> {
    reach: Reach,
    tree: SortedBlocks<Place<K>, Entry>,
    numbers: Numbers,
    key_bytes: usize,
}

impl<K: Key> Rows<K> {
    pub fn new(reach: Reach) -> Rows<K> {
        Rows { reach, tree: SortedBlocks::default(), numbers: Numbers::default(), key_bytes: 0 }
    }

    /// The number of a partition; one that no row has for one that is not there.
    fn number(&self, group: u128) -> u32 {
        self.numbers.of.find(group).unwrap_or(u32::MAX)
    }

    /// Forgets the numbers of partitions that are empty; no places of them are held any more.
    pub fn end_epoch(&mut self) {
        let mut emptied = std::mem::take(&mut self.numbers.emptied);
        emptied.sort_unstable();
        emptied.dedup();
        for number in emptied {
            let first = self.tree.range(Bound::Included(Self::least(number)), Bound::Unbounded).next();
            if first.is_none_or(|(place, _)| place.group != number) {
                let tag = self.numbers.of[number];
                self.numbers.of.remove_at(number, tag);
            }
        }
        self.numbers.of.trim();
    }

    fn least(group: u32) -> Place<K> {
        Place { group, key: K::least(), tie: 0, print: 0, copy: 0 }
    }

    /// The rows of a partition from `from` on, in order.
    pub fn from<'a>(
        &'a self,
        from: Bound<&Place<K>>,
        group: u128,
    ) -> impl Iterator<Item = (&'a Place<K>, i64)> {
        let group = self.number(group);
        let least = Self::least(group);
        let start = if from == Bound::Unbounded { Bound::Included(&least) } else { from };
        self.tree
            .range(start.cloned(), Bound::Unbounded)
            .take_while(move |(p, _)| p.group == group)
            .map(|(p, e)| (p, e.at))
    }

    pub fn has(&self, group: u128) -> bool {
        self.from(Bound::Unbounded, group).next().is_some()
    }

    pub fn places_of(&self, group: u128) -> Vec<Place<K>> {
        self.from(Bound::Unbounded, group).map(|(p, _)| p.clone()).collect()
    }

    pub fn remove(&mut self, place: &Place<K>) -> Option<Line> {
        let entry = self.tree.remove(place)?;
        self.key_bytes -= place.key.heap_bytes();
        if place.copy == 0 {
            self.numbers.emptied.push(place.group);
        }
        Some(entry.line)
    }

    pub fn set_values(&mut self, place: &Place<K>, values: RowId) {
        if let Some(entry) = self.tree.get_mut(place) {
            entry.line.values = values;
        }
    }

    /// The lines of a partition, which from now on show nothing.
    pub fn take_values(&mut self, group: u128) -> Vec<Line> {
        let mut lines = Vec::new();
        for place in self.places_of(group) {
            if let Some(entry) = self.tree.get_mut(&place) {
                lines.push(entry.line);
                entry.line.values = NO_VALUES;
            }
        }
        lines
    }

    /// Adds and removes copies; the lines of removed ones go to `removed`. The rows are
    /// consolidated: none is there twice unless all weights are 1.
    pub fn apply(
        &mut self,
        changes: &ChangeBatch,
        places: Places<K>,
        store: &mut RowStore,
        removed: &mut Vec<Line>,
    ) -> Result<Touched<K>> {
        let Places { groups, keys, ties, prints, at } = places;
        let inserted = (0..changes.len() as u32).flat_map(|row| {
            let copies = changes.weights.get(row as usize).max(0) as usize;
            std::iter::repeat_n(row, copies)
        });
        let taken = changes.take(&UInt32Array::from_iter_values(inserted))?;
        let mut next_id = store.append(taken.rows)?;
        let mut touched = Touched::default();
        for (row, key) in keys.into_iter().enumerate() {
            let at = at.as_ref().map_or(0, |at| at[row]);
            let group = self.numbers.of.find_or_add(groups[row], || tag_of(groups[row]));
            let first = Place { group, key, tie: ties[row], print: prints[row] as u32, copy: 0 };
            let copies = self.copies(&first);
            let weight = changes.weights.get(row);
            let places: &mut Vec<_> = touched.groups.entry(groups[row]).or_default();
            for copy in copies..copies.saturating_add(weight.max(0) as u32) {
                let place = Place { copy, ..first.clone() };
                self.key_bytes += place.key.heap_bytes();
                places.push((place.clone(), at));
                let line = Line { row: next_id, values: NO_VALUES };
                self.tree.insert(place, Entry { line, at });
                next_id += 1;
            }
            for gone in 1..=weight.min(0).unsigned_abs() as u32 {
                let copy = copies.checked_sub(gone);
                let place = copy.map(|copy| Place { copy, ..first.clone() });
                let line = place.as_ref().and_then(|p| self.remove(p));
                let (Some(place), Some(line)) = (place, line) else {
                    return Err(HwError::internal("a row was deleted that is not there"));
                };
                removed.push(line);
                places.push((place, at));
            }
        }
        touched.groups.values_mut().for_each(|places| places.sort_unstable_by(|a, b| a.0.cmp(&b.0)));
        Ok(touched)
    }

    fn copies(&self, first: &Place<K>) -> u32 {
        let last = Place { copy: u32::MAX, ..first.clone() };
        self.tree
            .range(Bound::Included(first.clone()), Bound::Included(last))
            .next_back()
            .map_or(0, |(p, _)| p.copy + 1)
    }

    /// How far before and after a row its value looks; `None`: over the whole partition.
    fn distances(&self) -> Option<(Distance, Distance)> {
        match self.reach {
            Reach::Partition => None,
            Reach::Rows { before, after } => Some((Distance::Rows(before), Distance::Rows(after))),
            Reach::Range { before, after } => Some((Distance::Value(before), Distance::Value(after))),
        }
    }

    /// What has to be evaluated after changes at `places`, which are in order; with `whole`
    /// the partition.
    pub fn spans(&self, group: u128, places: &[(Place<K>, i64)], whole: bool) -> Vec<Span<K>> {
        let Some((before, after)) = self.distances().filter(|_| !whole) else {
            return self.all(group).into_iter().collect();
        };
        let mut bounds: Vec<(Place<K>, Place<K>)> = Vec::new();
        for (place, at) in places {
            // A row depends on what is `before` it, so a change touches what is `after` it.
            let from = self.back(place, *at, &after);
            let Some(to) = self.forward(place, *at, &before) else { continue };
            match bounds.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.clone().max(to),
                _ if from <= to => bounds.push((from, to)),
                _ => {}
            }
        }
        bounds.into_iter().filter_map(|(from, to)| self.span(&from, &to)).collect()
    }

    /// The span that touches the rows between two places and looks around them.
    pub fn span(&self, from: &Place<K>, to: &Place<K>) -> Option<Span<K>> {
        let (before, after) = self.distances()?;
        let first_at =
            self.tree.range(Bound::Included(from.clone()), Bound::Unbounded).next().map(|(_, e)| e.at)?;
        let last_at =
            self.tree.range(Bound::Unbounded, Bound::Included(to.clone())).next_back().map(|(_, e)| e.at)?;
        let start = self.back(from, first_at, &before);
        let end = self.forward(to, last_at, &after)?;
        let mut span = Span { context: Vec::new(), start: 0, places: Vec::new(), lines: Vec::new() };
        for (place, entry) in self.tree.range(Bound::Included(start), Bound::Included(end)) {
            span.context.push(entry.line.row);
            if place < from {
                span.start += 1;
            } else if place <= to {
                span.places.push(place.clone());
                span.lines.push(entry.line);
            }
        }
        (!span.lines.is_empty()).then_some(span)
    }

    fn all(&self, group: u128) -> Option<Span<K>> {
        let mut span = Span { context: Vec::new(), start: 0, places: Vec::new(), lines: Vec::new() };
        let group = self.number(group);
        let rows = self
            .tree
            .range(Bound::Included(Self::least(group)), Bound::Unbounded)
            .take_while(|(p, _)| p.group == group);
        for (place, entry) in rows {
            span.context.push(entry.line.row);
            span.places.push(place.clone());
            span.lines.push(entry.line);
        }
        (!span.lines.is_empty()).then_some(span)
    }

    /// The first row of the partition within a distance before `place`, or `place` itself.
    fn back(&self, place: &Place<K>, at: i64, distance: &Distance) -> Place<K> {
        let rows = self
            .tree
            .range(Bound::Unbounded, Bound::Excluded(place.clone()))
            .rev()
            .take_while(|(p, _)| p.group == place.group);
        let found = match distance {
            Distance::Rows(n) => rows.take(usize::try_from(*n).unwrap_or(usize::MAX)).last(),
            Distance::Value(v) => rows.take_while(|(_, e)| e.at >= at.saturating_sub(*v)).last(),
        };
        found.map_or_else(|| place.clone(), |(p, _)| p.clone())
    }

    /// The last row of the partition within a distance after `place`, it included if it is
    /// there.
    fn forward(&self, place: &Place<K>, at: i64, distance: &Distance) -> Option<Place<K>> {
        let rows = self
            .tree
            .range(Bound::Included(place.clone()), Bound::Unbounded)
            .take_while(|(p, _)| p.group == place.group);
        let found = match distance {
            Distance::Rows(n) => {
                let n = usize::try_from(*n).unwrap_or(usize::MAX).saturating_add(1);
                rows.take(n).last()
            }
            Distance::Value(v) => rows.take_while(|(_, e)| e.at <= at.saturating_add(*v)).last(),
        };
        match found {
            Some((p, _)) => Some(p.clone()),
            // The last row of the partition was removed; rows before it may be touched.
            None => {
                let previous = self.tree.range(Bound::Unbounded, Bound::Excluded(place.clone())).next_back();
                previous.filter(|(p, _)| p.group == place.group).map(|(p, _)| p.clone())
            }
        }
    }

    /// All lines, to follow rows that a store has moved.
    pub fn lines_mut(&mut self) -> impl Iterator<Item = &mut Line> {
        self.tree.values_mut().map(|entry| &mut entry.line)
    }

    /// Entries and bytes.
    pub fn size(&self) -> (usize, usize) {
        (self.tree.len(), self.tree.bytes() + self.key_bytes + self.numbers.of.bytes())
    }
}

/// How far to look from a row.
enum Distance {
    Rows(u64),
    /// By order value, peers included.
    Value(i64),
}
