//! What one side of a join holds: rows by key, with weights.
//!
//! A key's fingerprint leads to a chain of nodes, one node a different row; rows are in a
//! `RowStore`. On a retracting side nodes know the fingerprint of their
//! row: in a short chain it is looked for, the nodes of a long one are in a second index and linked
//! both ways, so a deletion is O(1) however long the chain. Keys are identified by 96 bits of their
//! fingerprints, rows of a key by 64. Weights are never 0, but may be negative inside an epoch when a
//! deletion comes before its insertion. Invariant: a node is in its key's chain and, if that is
//! marked as long, in the index of rows, iff it is not free.

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use std::sync::Arc;

use super::keys::{Admission, Arrival, KeysByEnd};
use crate::error::Result;
use crate::state::{Chunks, Narrow, RowId, RowStore, SlotIndex, WideWeights, trim_free};
use crate::types::ChangeBatch;
use crate::types::hash::{extend_print, fingerprints};

const NONE: u32 = u32::MAX;
/// Before the first node of a long chain.
const LONG: u32 = u32::MAX - 1;
/// A chain with more nodes than this is long.
const SHORT_MAX: usize = 8;

/// Pairs found: row of the arriving batch, stored row, product of weights.
#[derive(Default)]
pub struct Matches {
    pub rows: Vec<u32>,
    pub ids: Vec<RowId>,
    pub weights: Vec<i64>,
}

impl Matches {
    pub fn clear(&mut self) {
        self.rows.clear();
        self.ids.clear();
        self.weights.clear();
    }
}

/// Where stored rows went, one entry an arrived row.
#[derive(Default)]
pub struct Placement {
    pub nodes: Vec<u32>,
    /// Whether the row made its node.
    pub fresh: Vec<bool>,
    /// Weight of the node before the row.
    pub before: Vec<i64>,
}

/// A stored row in the chain of its key.
#[derive(Clone, Copy)]
struct Node {
    /// 64 bits of the key's fingerprint.
    key: [u32; 2],
    id: RowId,
    weight: Narrow,
    next: u32,
}

/// What a node has that is taken out of its chain by number.
#[derive(Clone, Copy)]
struct Link {
    /// 32 more bits of the key's fingerprint.
    tag: u32,
    /// `NONE` at the first node.
    previous: u32,
}

/// Rows by fingerprint.
#[derive(Default)]
struct RowPrints {
    /// By node.
    prints: Chunks<[u32; 2]>,
    /// The nodes of long chains.
    index: SlotIndex,
    /// The nodes before those of long chains, `LONG` before the first; `NONE` in short ones. Absent
    /// as long as all chains are short.
    previous: Option<Chunks<u32>>,
}

impl RowPrints {
    fn previous(&self, node: u32) -> u32 {
        self.previous.as_ref().map_or(NONE, |previous| previous[node])
    }

    fn bytes(&self) -> usize {
        self.prints.bytes() + self.index.bytes() + self.previous.as_ref().map_or(0, Chunks::bytes)
    }
}

#[inline(always)]
fn tag_of(print: u128) -> u32 {
    (print >> 64) as u32
}

#[inline(always)]
pub(super) fn halves(print: u128) -> [u32; 2] {
    [print as u32, (print >> 32) as u32]
}

/// What a row of a long chain is found by.
#[inline(always)]
fn row_tag([_, high]: [u32; 2]) -> u32 {
    high
}

/// How rows leave a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// Never, or with all rows of their key.
    WithKey,
    /// One by one, by number of node.
    ByNode,
    /// By retraction.
    ByRow,
}

impl Leaving {
    pub fn of(append_only: bool) -> Leaving {
        if append_only { Leaving::WithKey } else { Leaving::ByRow }
    }
}

/// One side of a join.
pub struct Side {
    admission: Admission,
    all_columns: Vec<usize>,
    store: RowStore,
    /// First node of each key.
    chains: SlotIndex,
    nodes: Chunks<Node>,
    /// By node.
    wide: WideWeights,
    free: Vec<u32>,
    /// Present if rows leave by number of node.
    links: Option<Chunks<Link>>,
    /// Present if rows are retracted.
    by_row: Option<RowPrints>,
    /// Nodes whose weight became 0 and that may still be in their chains, and the tags of their keys.
    emptied: Vec<(u32, u32)>,
    ends: KeysByEnd,
}

impl Placement {
    fn add(&mut self, node: u32, fresh: bool, before: i64) {
        self.nodes.push(node);
        self.fresh.push(fresh);
        self.before.push(before);
    }
}

impl Side {
    /// The rows that `admission` lets in are stored.
    pub fn new(schema: &SchemaRef, admission: Admission, leaving: Leaving) -> Result<Side> {
        let stored = Arc::new(schema.project(&admission.columns)?);
        Ok(Side {
            all_columns: (0..admission.columns.len()).collect(),
            admission,
            store: RowStore::new(stored),
            chains: SlotIndex::default(),
            nodes: Chunks::default(),
            wide: WideWeights::default(),
            free: Vec::new(),
            links: (leaving == Leaving::ByNode).then(Chunks::default),
            by_row: (leaving == Leaving::ByRow).then(RowPrints::default),
            emptied: Vec::new(),
            ends: KeysByEnd::default(),
        })
    }

    pub fn len(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    pub fn bytes(&self) -> usize {
        let rows = self.by_row.as_ref().map_or(0, RowPrints::bytes);
        let links = self.links.as_ref().map_or(0, Chunks::bytes);
        let others = self.free.capacity() * size_of::<u32>() + self.wide.bytes() + self.ends.bytes();
        self.store.bytes() + self.nodes.bytes() + self.chains.bytes() + links + rows + others
    }

    pub fn gather(&self, ids: &[RowId]) -> Result<Vec<ArrayRef>> {
        self.store.gather_columns(ids, &self.all_columns)
    }

    /// The rows of `batch` that can match.
    pub fn admit(&self, batch: &ChangeBatch) -> Result<Option<Arrival>> {
        self.admission.admit(batch)
    }

    /// Whether rows of this key are held.
    #[inline]
    pub fn contains(&self, key: u128) -> bool {
        self.first(key).is_some()
    }

    /// The keys held, in no order.
    pub fn keys(&self) -> impl Iterator<Item = u128> + '_ {
        self.chains.iter().map(|(tag, first)| {
            let [low, high] = self.nodes[first].key;
            (tag as u128) << 64 | (high as u128) << 32 | low as u128
        })
    }

    /// The nodes of a key.
    pub fn chain(&self, key: u128) -> impl Iterator<Item = u32> + '_ {
        std::iter::successors(self.first(key), |node| {
            let next = self.nodes[*node].next;
            (next != NONE).then_some(next)
        })
    }

    /// Address and weight of a node's row.
    #[inline]
    pub fn row(&self, node: u32) -> (RowId, i64) {
        (self.nodes[node].id, self.weight(node))
    }

    #[inline(always)]
    fn weight(&self, node: u32) -> i64 {
        self.wide.get(node, self.nodes[node].weight)
    }

    fn set_weight(&mut self, node: u32, weight: i64) {
        let narrow = &mut self.nodes[node].weight;
        *narrow = self.wide.set(node, *narrow, weight);
    }

    /// One more than the largest node.
    pub fn nodes_end(&self) -> usize {
        self.nodes.len()
    }

    /// The first node of a key's chain.
    #[inline]
    pub fn first(&self, key: u128) -> Option<u32> {
        self.chains.find(tag_of(key), |node| self.nodes[node].key == halves(key))
    }

    /// Adds the pair of `row` and `node`; returns the next node.
    #[inline]
    pub fn push_match(&self, node: u32, row: usize, weight: i64, matches: &mut Matches) -> Option<u32> {
        let Node { id, next, .. } = self.nodes[node];
        matches.rows.push(row as u32);
        matches.ids.push(id);
        matches.weights.push(self.weight(node) * weight);
        (next != NONE).then_some(next)
    }

    /// Applies arrived rows to what this side holds.
    pub fn store(&mut self, arrival: Arrival) -> Result<()> {
        self.place(&arrival, None)?;
        self.unlink_emptied();
        Ok(())
    }

    /// Like [`store`](Self::store), and tells where the rows went. Rows whose weight becomes
    /// 0 stay in their chains until [`unlink_emptied`](Self::unlink_emptied).
    pub fn place(&mut self, arrival: &Arrival, mut placed: Option<&mut Placement>) -> Result<()> {
        let mut ends = std::mem::take(&mut self.ends);
        ends.note(arrival, |key| self.contains(key));
        self.ends = ends;
        if self.by_row.is_some() {
            return self.store_changes(arrival, placed);
        }
        let first = self.store.append(arrival.rows.rows.clone())?;
        for (row, key) in arrival.key_prints.iter().enumerate() {
            let node = self.link(first + row as RowId, arrival.rows.weights.get(row), *key, 0);
            if let Some(placed) = &mut placed {
                placed.add(node, true, 0);
            }
        }
        Ok(())
    }

    /// Forgets the rows of windows that ended at `reached` or before.
    pub fn expire(&mut self, reached: i64) {
        for key in self.ends.take(reached) {
            self.forget(key);
        }
    }

    fn forget(&mut self, key: u128) {
        let Some(first) = self.first(key) else { return };
        self.chains.remove(tag_of(key), first);
        let is_long = self.is_long(first);
        let mut next = first;
        while next != NONE {
            let node = next;
            next = self.nodes[node].next;
            self.set_weight(node, 0);
            self.store.release(self.nodes[node].id);
            self.free.push(node);
            if let (true, Some(rows)) = (is_long, &mut self.by_row) {
                rows.index.remove(row_tag(rows.prints[node]), node);
            }
        }
    }

    /// Whether the chain that starts with `first` is long.
    fn is_long(&self, first: u32) -> bool {
        self.by_row.as_ref().is_some_and(|rows| rows.previous(first) == LONG)
    }

    fn store_changes(&mut self, arrival: &Arrival, mut placed: Option<&mut Placement>) -> Result<()> {
        let batch = &arrival.rows.rows;
        let row_prints = fingerprints(batch.columns(), batch.num_rows());
        let mut new: Vec<(u32, u32)> = Vec::new();
        for (row, key) in arrival.key_prints.iter().enumerate() {
            let print = extend_print(extend_print(row_prints[row], *key as u64), (*key >> 64) as u64);
            let weight = arrival.rows.weights.get(row);
            let known = self.find(*key, print);
            // The row id follows when the new rows are stored together.
            let node = known.unwrap_or_else(|| self.link(0, 0, *key, print));
            if known.is_none() {
                new.push((row as u32, node));
            }
            let before = self.weight(node);
            if let Some(placed) = &mut placed {
                placed.add(node, known.is_none(), before);
            }
            self.set_weight(node, before + weight);
            if before + weight == 0 {
                self.emptied.push((node, tag_of(*key)));
            }
        }
        let rows = arrow::array::UInt32Array::from_iter_values(new.iter().map(|(row, _)| *row));
        let columns = batch.columns().iter().map(|c| Ok(arrow::compute::take(c, &rows, None)?));
        let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
        let schema = self.store.schema().clone();
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(new.len()));
        let stored = arrow::array::RecordBatch::try_new_with_options(schema, columns, &options)?;
        let first = self.store.append(stored)?;
        for (id, (_, node)) in (first..).zip(&new) {
            self.nodes[*node].id = id;
        }
        Ok(())
    }

    /// Forgets the rows whose weight became 0 and still is.
    pub fn unlink_emptied(&mut self) {
        let mut emptied = std::mem::take(&mut self.emptied);
        emptied.sort_unstable();
        emptied.dedup();
        for (node, tag) in &emptied {
            if self.nodes[*node].weight == 0 {
                self.unlink_row(*node, *tag);
            }
        }
        emptied.clear();
        self.emptied = emptied;
    }

    /// The node of a row. A short chain that has grown long becomes marked as such.
    fn find(&mut self, key: u128, print: u128) -> Option<u32> {
        let first = self.first(key)?;
        let print = halves(print);
        let rows = self.by_row.as_ref()?;
        if rows.previous(first) == LONG {
            let is = |node: u32| rows.prints[node] == print && self.nodes[node].key == halves(key);
            return rows.index.find(row_tag(print), is);
        }
        let (mut node, mut length) = (first, 0);
        while node != NONE {
            if rows.prints[node] == print {
                return Some(node);
            }
            node = self.nodes[node].next;
            length += 1;
        }
        if length > SHORT_MAX {
            self.mark_long(first);
        }
        None
    }

    fn mark_long(&mut self, first: u32) {
        let Some(rows) = &mut self.by_row else { return };
        let previous = rows.previous.get_or_insert_with(|| {
            let mut all = Chunks::default();
            (0..self.nodes.len()).for_each(|_| all.push(NONE));
            all
        });
        let (mut node, mut before) = (first, LONG);
        while node != NONE {
            rows.index.insert(row_tag(rows.prints[node]), node);
            previous[node] = before;
            (before, node) = (node, self.nodes[node].next);
        }
    }

    /// Puts a new node at the head of its key's chain.
    fn link(&mut self, id: RowId, weight: i64, key: u128, print: u128) -> u32 {
        let index = self.free.pop().unwrap_or(self.nodes.len() as u32);
        let head = self.first(key);
        match head {
            Some(head) => self.chains.replace(tag_of(key), head, index),
            None => self.chains.insert(tag_of(key), index),
        }
        let next = head.unwrap_or(NONE);
        self.nodes.put(index, Node { key: halves(key), id, weight: 0, next });
        self.set_weight(index, weight);
        if let Some(links) = &mut self.links {
            if let Some(head) = head {
                links[head].previous = index;
            }
            links.put(index, Link { tag: tag_of(key), previous: NONE });
        }
        if let Some(rows) = &mut self.by_row {
            rows.prints.put(index, halves(print));
            if let Some(previous) = &mut rows.previous {
                previous.put(index, NONE);
                if let Some(head) = head.filter(|head| previous[*head] == LONG) {
                    (previous[head], previous[index]) = (index, LONG);
                    rows.index.insert(row_tag(halves(print)), index);
                }
            }
        }
        index
    }

    /// Takes a node out of its chain and frees it; an error of the caller where rows do not leave
    /// by number of node.
    pub fn unlink(&mut self, index: u32) {
        let Some(links) = &mut self.links else { return };
        let Link { tag, previous } = links[index];
        let next = self.nodes[index].next;
        if next != NONE {
            links[next].previous = previous;
        }
        self.pass_over(index, tag, previous);
    }

    /// Takes a retracted row, of a key with this tag, out of its chain and frees its node.
    fn unlink_row(&mut self, index: u32, tag: u32) {
        let Some(rows) = &mut self.by_row else { return };
        let Node { key, next, .. } = self.nodes[index];
        let mut before = rows.previous(index);
        match (&mut rows.previous, before) {
            (Some(previous), before) if before != NONE => {
                rows.index.remove(row_tag(rows.prints[index]), index);
                if next != NONE {
                    previous[next] = before;
                }
            }
            _ => {
                let mut node = self.chains.find(tag, |node| self.nodes[node].key == key).unwrap_or(index);
                while node != index && node != NONE {
                    (before, node) = (node, self.nodes[node].next);
                }
            }
        }
        self.pass_over(index, tag, if before == LONG { NONE } else { before });
    }

    /// Lets what was before a node, or the index if nothing was, lead to what is after it; frees it.
    fn pass_over(&mut self, index: u32, tag: u32, previous: u32) {
        let Node { id, next, .. } = self.nodes[index];
        match (previous, next) {
            (NONE, NONE) => drop(self.chains.remove(tag, index)),
            (NONE, next) => self.chains.replace(tag, index, next),
            (previous, next) => self.nodes[previous].next = next,
        }
        self.set_weight(index, 0);
        self.free.push(index);
        self.store.release(id);
    }

    /// Rewrites stored rows when most of those held are dead.
    pub fn compact(&mut self) -> Result<()> {
        trim_free(&mut self.free);
        if self.emptied.capacity() > 4096 && self.emptied.is_empty() {
            self.emptied = Vec::new();
        }
        if let Some(moved) = self.store.compact_if_worth()? {
            let live = self.nodes.iter_mut().filter(|n| n.weight != 0);
            live.for_each(|node| moved.follow(&mut node.id));
        }
        Ok(())
    }
}
