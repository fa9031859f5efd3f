//! What one side of a join holds: rows by key, with weights.
//!
//! A key's fingerprint leads to a chain of nodes, one node a different row. Nodes are
//! parallel vectors, rows are in a `RowStore`. On a retracting side a second table finds a
//! node by the fingerprint of key and row, and chains link both ways, so a deletion is O(1)
//! however long the chain. Weights are never 0, but may be negative inside an epoch when a
//! deletion comes before its insertion. Invariant: a node is in its key's chain and, on a
//! retracting side, in the row table, iff it is not free.

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use hashbrown::{HashMap, HashTable};
use std::sync::Arc;

use super::keys::{Admission, Arrival, KeysByEnd};
use crate::error::Result;
use crate::state::{RowId, RowStore};
use crate::types::ChangeBatch;
use crate::types::hash::{PrintHasher, extend_print, fingerprints};

const NONE: u32 = u32::MAX;

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
    id: RowId,
    weight: i64,
    next: u32,
}

/// What sides need of a node that can be taken out of its chain.
#[derive(Clone, Copy)]
struct Link {
    key: u128,
    previous: u32,
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
    chains: HashMap<u128, u32, PrintHasher>,
    nodes: Vec<Node>,
    free: Vec<u32>,
    /// Absent if rows leave with their keys.
    links: Option<Vec<Link>>,
    /// Present if rows are retracted: nodes by fingerprint of key and row.
    by_row: Option<RowTable>,
    /// Nodes whose weight became 0 and that may still be in their chains.
    emptied: Vec<u32>,
    ends: KeysByEnd,
}

impl Placement {
    fn add(&mut self, node: u32, fresh: bool, before: i64) {
        self.nodes.push(node);
        self.fresh.push(fresh);
        self.before.push(before);
    }
}

#[derive(Default)]
struct RowTable {
    table: HashTable<u32>,
    prints: Vec<u128>,
}

impl Side {
    /// The rows that `admission` lets in are stored.
    pub fn new(schema: &SchemaRef, admission: Admission, leaving: Leaving) -> Result<Side> {
        let stored = Arc::new(schema.project(&admission.columns)?);
        Ok(Side {
            all_columns: (0..admission.columns.len()).collect(),
            admission,
            store: RowStore::new(stored),
            chains: HashMap::default(),
            nodes: Vec::new(),
            free: Vec::new(),
            links: (leaving != Leaving::WithKey).then(Vec::new),
            by_row: (leaving == Leaving::ByRow).then(RowTable::default),
            emptied: Vec::new(),
            ends: KeysByEnd::default(),
        })
    }

    pub fn len(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    pub fn bytes(&self) -> usize {
        let rows = self.by_row.as_ref();
        let rows = rows.map_or(0, |r| r.prints.capacity() * size_of::<u128>() + r.table.capacity() * 5);
        let links = self.links.as_ref().map_or(0, |l| l.capacity() * size_of::<Link>());
        let chains = self.chains.capacity() * 33;
        self.store.bytes() + self.nodes.capacity() * size_of::<Node>() + chains + links + rows
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
        self.chains.contains_key(&key)
    }

    /// The keys held, in no order.
    pub fn keys(&self) -> impl Iterator<Item = u128> + '_ {
        self.chains.keys().copied()
    }

    /// The nodes of a key.
    pub fn chain(&self, key: u128) -> impl Iterator<Item = u32> + '_ {
        std::iter::successors(self.first(key), |node| {
            let next = self.nodes[*node as usize].next;
            (next != NONE).then_some(next)
        })
    }

    /// Address and weight of a node's row.
    #[inline]
    pub fn row(&self, node: u32) -> (RowId, i64) {
        let node = &self.nodes[node as usize];
        (node.id, node.weight)
    }

    /// One more than the largest node.
    pub fn nodes_end(&self) -> usize {
        self.nodes.len()
    }

    /// The first node of a key's chain.
    #[inline]
    pub fn first(&self, key: u128) -> Option<u32> {
        self.chains.get(&key).copied()
    }

    /// Adds the pair of `row` and `node`; returns the next node.
    #[inline]
    pub fn push_match(&self, node: u32, row: usize, weight: i64, matches: &mut Matches) -> Option<u32> {
        let node = &self.nodes[node as usize];
        matches.rows.push(row as u32);
        matches.ids.push(node.id);
        matches.weights.push(node.weight * weight);
        (node.next != NONE).then_some(node.next)
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
        let chains = &self.chains;
        self.ends.note(arrival, |key| chains.contains_key(&key));
        if self.by_row.is_some() {
            return self.store_changes(arrival, placed);
        }
        let first = self.store.append(arrival.rows.rows.clone())?;
        for (row, key) in arrival.key_prints.iter().enumerate() {
            let node = self.link(first + row as u64, arrival.rows.weights.get(row), *key, 0);
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
        let mut next = self.chains.remove(&key).unwrap_or(NONE);
        while next != NONE {
            let index = next;
            let node = &mut self.nodes[index as usize];
            next = node.next;
            node.weight = 0;
            self.store.release(node.id);
            self.free.push(index);
            if let Some(rows) = &mut self.by_row {
                let print = rows.prints[index as usize];
                if let Ok(entry) = rows.table.find_entry(print as u64, |n| *n == index) {
                    entry.remove();
                }
            }
        }
    }

    fn store_changes(&mut self, arrival: &Arrival, mut placed: Option<&mut Placement>) -> Result<()> {
        let batch = &arrival.rows.rows;
        let row_prints = fingerprints(batch.columns(), batch.num_rows());
        let mut new: Vec<(u32, u32)> = Vec::new();
        for (row, key) in arrival.key_prints.iter().enumerate() {
            let print = extend_print(extend_print(row_prints[row], *key as u64), (*key >> 64) as u64);
            let weight = arrival.rows.weights.get(row);
            let known = self.find(print);
            // The row id follows when the new rows are stored together.
            let node = known.unwrap_or_else(|| self.link(0, 0, *key, print));
            if known.is_none() {
                new.push((row as u32, node));
            }
            let node_ref = &mut self.nodes[node as usize];
            if let Some(placed) = &mut placed {
                placed.add(node, known.is_none(), node_ref.weight);
            }
            node_ref.weight += weight;
            if node_ref.weight == 0 {
                self.emptied.push(node);
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
            self.nodes[*node as usize].id = id;
        }
        Ok(())
    }

    /// Forgets the rows whose weight became 0 and still is.
    pub fn unlink_emptied(&mut self) {
        let mut emptied = std::mem::take(&mut self.emptied);
        emptied.sort_unstable();
        emptied.dedup();
        for node in &emptied {
            if self.nodes[*node as usize].weight == 0 {
                self.unlink(*node);
            }
        }
        emptied.clear();
        self.emptied = emptied;
    }

    fn find(&self, print: u128) -> Option<u32> {
        let rows = self.by_row.as_ref()?;
        rows.table.find(print as u64, |node| rows.prints[*node as usize] == print).copied()
    }

    /// Puts a new node at the head of its key's chain.
    fn link(&mut self, id: RowId, weight: i64, key: u128, print: u128) -> u32 {
        let index = self.free.pop().unwrap_or(self.nodes.len() as u32);
        let head = self.chains.entry(key).or_insert(NONE);
        let node = Node { id, weight, next: *head };
        *head = index;
        put(&mut self.nodes, index, node);
        if let Some(links) = &mut self.links {
            put(links, index, Link { key, previous: NONE });
            if node.next != NONE {
                links[node.next as usize].previous = index;
            }
        }
        if let Some(rows) = &mut self.by_row {
            put(&mut rows.prints, index, print);
            let prints = &rows.prints;
            rows.table.insert_unique(print as u64, index, |n| prints[*n as usize] as u64);
        }
        index
    }

    /// Takes a node out of its chain and frees it; an error of the caller where rows leave
    /// with their key.
    pub fn unlink(&mut self, index: u32) {
        let Some(links) = &mut self.links else { return };
        let Link { key, previous } = links[index as usize];
        let Node { id, next, .. } = self.nodes[index as usize];
        if next != NONE {
            links[next as usize].previous = previous;
        }
        match (previous, next) {
            (NONE, NONE) => drop(self.chains.remove(&key)),
            (NONE, next) => drop(self.chains.insert(key, next)),
            (previous, next) => self.nodes[previous as usize].next = next,
        }
        if let Some(rows) = &mut self.by_row {
            let print = rows.prints[index as usize];
            if let Ok(entry) = rows.table.find_entry(print as u64, |n| *n == index) {
                entry.remove();
            }
        }
        self.nodes[index as usize].weight = 0;
        self.free.push(index);
        self.store.release(id);
    }

    /// Rewrites stored rows when most of those held are dead.
    pub fn compact(&mut self) -> Result<()> {
        if !self.store.wants_compaction() {
            return Ok(());
        }
        let moved: HashMap<RowId, RowId> = self.store.compact()?.into_iter().collect();
        for node in self.nodes.iter_mut().filter(|n| n.weight != 0) {
            if let Some(id) = moved.get(&node.id) {
                node.id = *id;
            }
        }
        Ok(())
    }
}

/// Sets an element, or adds it at the end.
fn put<T>(elements: &mut Vec<T>, index: u32, element: T) {
    match elements.get_mut(index as usize) {
        Some(place) => *place = element,
        None => elements.push(element),
    }
}
