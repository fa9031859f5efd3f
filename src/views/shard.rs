//! The part of a view store that one worker writes.
//!
//! Holds chunks in order of their ordinals and an index from fingerprints to ordinals. With
//! a key the index lists all versions of the key that are kept, oldest first, so that keys
//! can be looked up at older epochs; without a key it lists the live copies of a row, so
//! that a deletion finds one; without key and deletions there is none. Invariant: a key has
//! at most one live version, the last of its list. Small chunks at the end are merged when
//! the last is not much smaller than its neighbour, so appending costs O(log n) copies. A
//! chunk half of which has ended is noted (`ripe`), so that freeing costs what has ended.

use std::collections::{BTreeMap, VecDeque};

use arrow::array::{ArrayRef, RecordBatch};
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::chunk::{Chunk, Selection};
use crate::error::{HwError, Result};
use crate::types::hash::{self, PrintHasher};

/// Chunks are merged up to this many rows, and larger input is cut into such pieces.
pub(super) const CHUNK_ROWS: usize = 4096;
/// Rows that one call of `collect` may visit beyond those that have ended since the last.
const COLLECT_ROWS: usize = 16 * CHUNK_ROWS;
/// Chunks at least half of which has ended are noted, so a row that ends pays for two.
const VISITS_PER_ENDED_ROW: usize = 2;

/// What the index refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum IndexBy {
    /// These columns, unique among the rows of an epoch.
    Key(Vec<usize>),
    WholeRow,
    Nothing,
}

impl IndexBy {
    /// Fingerprints of the indexed columns; empty without index.
    pub fn prints(&self, rows: &RecordBatch) -> Vec<u128> {
        match self {
            IndexBy::Key(key) => {
                let columns: Vec<ArrayRef> = key.iter().map(|c| rows.column(*c).clone()).collect();
                hash::fingerprints(&columns, rows.num_rows())
            }
            IndexBy::WholeRow => hash::fingerprints(rows.columns(), rows.num_rows()),
            IndexBy::Nothing => Vec::new(),
        }
    }
}

/// Ordinals under one fingerprint, ascending.
enum Ordinals {
    One(u64),
    Many(Vec<u64>),
}

impl Ordinals {
    fn as_slice(&self) -> &[u64] {
        match self {
            Ordinals::One(only) => std::slice::from_ref(only),
            Ordinals::Many(all) => all,
        }
    }

    fn push(&mut self, ordinal: u64) {
        match self {
            Ordinals::One(first) => *self = Ordinals::Many(vec![*first, ordinal]),
            Ordinals::Many(all) => all.push(ordinal),
        }
    }

    /// Takes one ordinal out; true if none is left.
    fn remove(&mut self, ordinal: u64) -> bool {
        match self {
            Ordinals::One(only) => *only == ordinal,
            Ordinals::Many(all) => {
                if let Ok(i) = all.binary_search(&ordinal) {
                    all.remove(i);
                }
                all.is_empty()
            }
        }
    }
}

pub(super) struct Shard {
    index_by: IndexBy,
    /// By ordinal of the first row.
    chunks: BTreeMap<u64, Chunk>,
    index: HashMap<u128, Ordinals, PrintHasher>,
    next_ordinal: u64,
    /// The last epoch applied.
    epoch: u64,
    /// Chunks by their start, at least half of which has ended, and the epoch by which it had.
    /// May name chunks that are no more. Epochs ascend.
    ripe: VecDeque<(u64, u64)>,
    /// Rows that have ended since the last `collect`.
    ended: usize,
}

/// Rows of a chunk, and of those that changed: epoch, row, weight.
pub type ChunkChanges = (RecordBatch, Vec<(u64, u32, i64)>);

impl Shard {
    pub fn new(index_by: IndexBy) -> Shard {
        Shard {
            index_by,
            chunks: BTreeMap::new(),
            index: HashMap::default(),
            next_ordinal: 0,
            epoch: 0,
            ripe: VecDeque::new(),
            ended: 0,
        }
    }

    /// Starts the changes of `epoch`; epochs may repeat but not go back.
    pub fn begin(&mut self, epoch: u64) -> Result<()> {
        if epoch < self.epoch {
            return Err(HwError::internal(format!("epoch {epoch} comes after epoch {}", self.epoch)));
        }
        self.epoch = epoch;
        Ok(())
    }

    /// Ends one live version of the row (or key) with this fingerprint; false if there is none.
    pub fn delete(&mut self, print: u128) -> bool {
        let Some(entry) = self.index.get_mut(&print) else { return false };
        let Some(last) = entry.as_slice().last().copied() else { return false };
        let Some((_, chunk)) = self.chunks.range_mut(..=last).next_back() else { return false };
        let Some(row) = chunk.position(last).filter(|row| chunk.is_live(*row)) else { return false };
        let before = chunk.is_ripe();
        chunk.end(row, self.epoch);
        self.ended += 1;
        if !before && chunk.is_ripe() {
            self.ripe.push_back((self.epoch, chunk.start));
        }
        if self.index_by == IndexBy::WholeRow && entry.remove(last) {
            self.index.remove(&print);
        }
        true
    }

    /// Appends live versions with their fingerprints; false if a key would have two.
    pub fn insert(&mut self, rows: &RecordBatch, prints: &[u128]) -> Result<bool> {
        let unique = matches!(self.index_by, IndexBy::Key(_));
        let (first, chunks) = (self.next_ordinal, &self.chunks);
        self.index.reserve(prints.len());
        for (print, ordinal) in prints.iter().zip(first..) {
            match self.index.entry(*print) {
                Entry::Vacant(entry) => drop(entry.insert(Ordinals::One(ordinal))),
                Entry::Occupied(mut entry) => {
                    let last = entry.get().as_slice().last().copied();
                    // Rows of this call are not in a chunk yet; they are live.
                    let live = |last: u64| last >= first || is_live(chunks, last);
                    if unique && last.is_some_and(live) {
                        return Ok(false);
                    }
                    entry.get_mut().push(ordinal);
                }
            }
        }
        for offset in (0..rows.num_rows()).step_by(CHUNK_ROWS) {
            let piece = rows.slice(offset, CHUNK_ROWS.min(rows.num_rows() - offset));
            self.append(piece)?;
        }
        Ok(true)
    }

    fn append(&mut self, rows: RecordBatch) -> Result<()> {
        let mut chunk = Chunk::new(self.next_ordinal, rows, self.epoch);
        self.next_ordinal += chunk.len() as u64;
        while let Some((start, last)) = self.chunks.last_key_value() {
            if last.len() >= 2 * chunk.len() || last.len() + chunk.len() > CHUNK_ROWS {
                break;
            }
            let start = *start;
            chunk = last.merge(&chunk)?;
            self.chunks.remove(&start);
        }
        self.put(chunk);
        Ok(())
    }

    fn put(&mut self, chunk: Chunk) {
        if chunk.is_ripe() {
            self.ripe.push_back((self.epoch, chunk.start));
        }
        self.chunks.insert(chunk.start, chunk);
    }

    fn locate(&self, ordinal: u64) -> Option<(&Chunk, usize)> {
        locate(&self.chunks, ordinal)
    }

    /// The version of a key that is visible at `epoch`.
    pub fn lookup(&self, print: u128, epoch: u64) -> Option<RecordBatch> {
        let versions = self.index.get(&print)?.as_slice();
        let found = versions.iter().rev().filter_map(|ordinal| self.locate(*ordinal));
        let (chunk, row) = found.into_iter().find(|(chunk, row)| chunk.visible(*row, epoch))?;
        Some(chunk.rows.slice(row, 1))
    }

    /// Chunks with visible rows, and which rows of them.
    pub fn select(&self, epoch: u64) -> Vec<(RecordBatch, Selection)> {
        let chunks = self.chunks.values().map(|chunk| (chunk.rows.clone(), chunk.selection(epoch)));
        chunks.filter(|(_, selection)| !matches!(selection, Selection::None)).collect()
    }

    pub fn len_at(&self, epoch: u64) -> usize {
        self.chunks.values().map(|chunk| chunk.selection(epoch).count(chunk.len())).sum()
    }

    /// For each chunk that changed in `after < E <= up_to`: epoch, row, weight.
    pub fn changes(&self, after: u64, up_to: u64) -> Vec<ChunkChanges> {
        let chunks = self.chunks.values().map(|chunk| (chunk.rows.clone(), chunk.changes(after, up_to)));
        chunks.filter(|(_, changes)| !changes.is_empty()).collect()
    }

    /// Drops versions that no reader at `horizon` or later sees from chunks at least half of
    /// which have ended. Visits in the long run more rows than end, and a bounded number in a
    /// call; the next one goes on there.
    pub fn collect(&mut self, horizon: u64) -> Result<()> {
        let mut left = COLLECT_ROWS + VISITS_PER_ENDED_ROW * std::mem::take(&mut self.ended);
        while let Some((_, start)) = self.ripe.front().filter(|(epoch, _)| *epoch <= horizon && left > 0) {
            let start = *start;
            self.ripe.pop_front();
            // It may have been merged since: then what it is part of is noted too.
            let Some(chunk) = self.chunks.get(&start).filter(|chunk| chunk.is_ripe()) else { continue };
            left = left.saturating_sub(chunk.len());
            let dead = chunk.dead(horizon);
            match 2 * dead.len() >= chunk.len() {
                true => self.rewrite(start, &dead, horizon)?,
                // It has grown; half of it has ended by now.
                false => self.ripe.push_back((self.epoch, start)),
            }
        }
        Ok(())
    }

    fn rewrite(&mut self, start: u64, dead: &[u32], horizon: u64) -> Result<()> {
        let Some(chunk) = self.chunks.remove(&start) else { return Ok(()) };
        if let IndexBy::Key(_) = self.index_by {
            let prints = self.index_by.prints(&chunk.rows);
            for row in dead {
                let (print, ordinal) = (prints[*row as usize], chunk.ordinal(*row as usize));
                if self.index.get_mut(&print).is_some_and(|entry| entry.remove(ordinal)) {
                    self.index.remove(&print);
                }
            }
        }
        let Some(mut kept) = chunk.without_dead(horizon)? else { return Ok(()) };
        if let Some((before, previous)) = self.chunks.range(..start).next_back()
            && previous.len() + kept.len() <= CHUNK_ROWS
        {
            let before = *before;
            kept = previous.merge(&kept)?;
            self.chunks.remove(&before);
        }
        self.put(kept);
        Ok(())
    }

    pub fn bytes(&self) -> usize {
        let entry = size_of::<(u128, Ordinals)>() + 1;
        self.chunks.values().map(|chunk| chunk.bytes).sum::<usize>() + self.index.capacity() * entry
    }

    #[cfg(test)]
    pub fn versions(&self) -> usize {
        self.chunks.values().map(Chunk::len).sum()
    }
}

fn locate(chunks: &BTreeMap<u64, Chunk>, ordinal: u64) -> Option<(&Chunk, usize)> {
    let (_, chunk) = chunks.range(..=ordinal).next_back()?;
    Some((chunk, chunk.position(ordinal)?))
}

fn is_live(chunks: &BTreeMap<u64, Chunk>, ordinal: u64) -> bool {
    locate(chunks, ordinal).is_some_and(|(chunk, row)| chunk.is_live(row))
}
