//! Rows of one schema in Arrow chunks, addressed by stable ids.
//!
//! `append` takes a batch and gives consecutive ids; `release` gives one row back; `gather`
//! reads rows in any order. An id is a number in pages of 1,024; each page belongs to one chunk,
//! so ids have four bytes. Small appends are concatenated to the last chunk, so single rows do
//! not become single-row chunks; buffers with much room beside the rows are copied. A chunk
//! is dropped with its last live row; `compact` empties chunks that are mostly dead and
//! reports the ids that moved. Invariants: an id is valid from `append` until `release` (or
//! until a compaction reports it as moved); each id is released at most once.

use arrow::array::{
    Array, ArrayRef, MutableArrayData, RecordBatch, RecordBatchOptions, UInt32Array, make_array,
};
use arrow::compute::{concat, concat_batches, interleave, take};
use arrow::datatypes::SchemaRef;
use hashbrown::HashMap;

use self::pages::Pages;
use crate::error::Result;

mod pages;

/// Address of a row in a [`RowStore`].
pub type RowId = u32;

/// New ids of the rows that a compaction has moved, by page of the old ones.
pub struct Moved(Vec<Option<Box<[RowId; pages::PAGE_ROWS]>>>);

impl Moved {
    fn of(moved: &[(RowId, RowId)]) -> Moved {
        let mut pages: Vec<Option<Box<_>>> = Vec::new();
        for (old, new) in moved {
            let page = *old as usize / pages::PAGE_ROWS;
            if pages.len() <= page {
                pages.resize_with(page + 1, || None);
            }
            let page = pages[page].get_or_insert_with(|| Box::new([RowId::MAX; pages::PAGE_ROWS]));
            page[*old as usize % pages::PAGE_ROWS] = *new;
        }
        Moved(pages)
    }

    /// Follows the row of `id`; others stay.
    #[inline]
    pub fn follow(&self, id: &mut RowId) {
        if let Some(Some(page)) = self.0.get(*id as usize / pages::PAGE_ROWS) {
            let new = page[*id as usize % pages::PAGE_ROWS];
            if new != RowId::MAX {
                *id = new;
            }
        }
    }
}

/// Appends go to the last chunk while it has fewer rows than this.
const OPEN_CHUNK_ROWS: usize = 4096;
/// No chunk grows beyond this by concatenation.
const MAX_CHUNK_ROWS: usize = 8192;
/// Fewer dead rows than this are never worth a compaction.
const MIN_DEAD_ROWS: usize = 8192;

/// Runs of fewer rows on average are gathered row by row.
const MIN_RUN_ROWS: usize = 32;

struct Chunk {
    rows: RecordBatch,
    /// Id of the first row; this and the rows that fit give its pages.
    base: RowId,
    room: usize,
    /// One bit a row, set while the row is live.
    live_bits: Vec<u64>,
    live: usize,
    bytes: usize,
}

impl Chunk {
    fn new(rows: RecordBatch, base: RowId, room: usize) -> Chunk {
        let n = rows.num_rows();
        let mut chunk = Chunk { rows, base, room, live_bits: Vec::new(), live: 0, bytes: 0 };
        chunk.mark_live(0, n);
        chunk
    }

    /// Marks the rows `from..to` live and re-measures the chunk.
    fn mark_live(&mut self, from: usize, to: usize) {
        let words = to.div_ceil(64);
        self.live_bits.reserve_exact(words.saturating_sub(self.live_bits.len()));
        self.live_bits.resize(words, 0);
        for row in from..to {
            self.live_bits[row / 64] |= 1 << (row % 64);
        }
        self.live += to - from;
        let bits = self.live_bits.capacity() * size_of::<u64>();
        self.bytes = size_of::<Chunk>() + bits + self.rows.get_array_memory_size();
    }

    fn live_rows(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.rows.num_rows() as u32)
            .filter(|row| self.live_bits[*row as usize / 64] >> (row % 64) & 1 == 1)
    }
}

/// Rows in columnar chunks.
pub struct RowStore {
    schema: SchemaRef,
    chunks: Vec<Option<Chunk>>,
    free_chunks: Vec<u32>,
    /// The chunk of each page of ids.
    pages: Pages,
    /// The chunk that small appends go to.
    tail: Option<u32>,
    live: usize,
    dead: usize,
    bytes: usize,
}

impl RowStore {
    pub fn new(schema: SchemaRef) -> RowStore {
        RowStore {
            schema,
            chunks: Vec::new(),
            free_chunks: Vec::new(),
            pages: Pages::default(),
            tail: None,
            live: 0,
            dead: 0,
            bytes: 0,
        }
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Number of live rows.
    pub fn len(&self) -> usize {
        self.live
    }

    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Bytes of Arrow buffers held, dead rows included, and of what leads to them.
    pub fn bytes(&self) -> usize {
        self.bytes + self.pages.bytes()
    }

    /// Forgets all rows.
    pub fn clear(&mut self) {
        *self = RowStore::new(self.schema.clone());
    }

    /// Stores the rows of `batch`, which has this store's schema, and returns the id of the
    /// first; the ids of the others follow one by one. An empty batch stores nothing.
    pub fn append(&mut self, batch: RecordBatch) -> Result<RowId> {
        let added = batch.num_rows();
        if added == 0 {
            return Ok(0);
        }
        if let Some(tail) = self.tail
            && let Some(chunk) = &mut self.chunks[tail as usize]
        {
            let had = chunk.rows.num_rows();
            if had < OPEN_CHUNK_ROWS && had + added <= chunk.room {
                self.bytes -= chunk.bytes;
                chunk.rows = concat_batches(&self.schema, [&chunk.rows, &batch])?;
                chunk.mark_live(had, had + added);
                self.bytes += chunk.bytes;
                self.live += added;
                return Ok(chunk.base + had as RowId);
            }
        }
        let index = self.free_chunks.pop().unwrap_or(self.chunks.len() as u32);
        let room = added.max(MAX_CHUNK_ROWS);
        let base = self.pages.take(room, index)?;
        let chunk = Chunk::new(fitted(batch)?, base, room);
        self.live += added;
        self.bytes += chunk.bytes;
        if index as usize == self.chunks.len() {
            self.chunks.push(Some(chunk));
        } else {
            self.chunks[index as usize] = Some(chunk);
        }
        self.tail = Some(index);
        Ok(base)
    }

    /// The chunk of a row, and its row there.
    #[inline]
    fn place(&self, id: RowId) -> (u32, u32) {
        let index = self.pages.chunk_of(id);
        (index, id - self.chunk(index).base)
    }

    /// Gives one row back. Releasing an id twice is an error of the caller.
    pub fn release(&mut self, id: RowId) {
        let index = self.pages.chunk_of(id);
        let Some(chunk) = &mut self.chunks[index as usize] else {
            debug_assert!(false, "row {id:#x} was released before");
            return;
        };
        let row = (id - chunk.base) as usize;
        let bit = 1 << (row % 64);
        debug_assert!(chunk.live_bits[row / 64] & bit != 0, "row {id:#x} was released before");
        chunk.live_bits[row / 64] &= !bit;
        chunk.live -= 1;
        self.live -= 1;
        self.dead += 1;
        if chunk.live == 0 {
            self.drop_chunk(index);
        }
    }

    fn drop_chunk(&mut self, index: u32) {
        if let Some(chunk) = self.chunks[index as usize].take() {
            self.bytes -= chunk.bytes;
            self.dead -= chunk.rows.num_rows() - chunk.live;
            self.live -= chunk.live;
            self.pages.give_back(chunk.base, chunk.room);
            self.free_chunks.push(index);
            if self.tail == Some(index) {
                self.tail = None;
            }
        }
    }

    /// The rows of `ids`, in that order, with the columns of `projection` (all if `None`).
    pub fn gather(&self, ids: &[RowId], projection: Option<&[usize]>) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(ids.len()));
        let (schema, columns) = match projection {
            Some(p) => (std::sync::Arc::new(self.schema.project(p)?), self.gather_columns(ids, p)?),
            None => {
                let all: Vec<usize> = (0..self.schema.fields().len()).collect();
                (self.schema.clone(), self.gather_columns(ids, &all)?)
            }
        };
        Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
    }

    /// Like [`gather`](Self::gather), without the schema.
    pub fn gather_columns(&self, ids: &[RowId], projection: &[usize]) -> Result<Vec<ArrayRef>> {
        let Some(first) = ids.first() else {
            let fields = self.schema.fields();
            return Ok(projection
                .iter()
                .map(|c| arrow::array::new_empty_array(fields[*c].data_type()))
                .collect());
        };
        if projection.is_empty() {
            return Ok(Vec::new());
        }
        let chunk = self.pages.chunk_of(*first);
        if ids.iter().all(|id| self.pages.chunk_of(*id) == chunk) {
            return self.gather_from_chunk(chunk, ids, projection);
        }
        self.gather_from_many(ids, projection)
    }

    fn gather_from_chunk(&self, chunk: u32, ids: &[RowId], projection: &[usize]) -> Result<Vec<ArrayRef>> {
        let Chunk { rows, base, .. } = self.chunk(chunk);
        let start = (ids[0] - base) as usize;
        if ids.windows(2).all(|pair| pair[1] == pair[0] + 1) {
            return Ok(projection.iter().map(|c| rows.column(*c).slice(start, ids.len())).collect());
        }
        let indices = UInt32Array::from_iter_values(ids.iter().map(|id| id - base));
        projection.iter().map(|c| Ok(take(rows.column(*c), &indices, None)?)).collect()
    }

    fn gather_from_many(&self, ids: &[RowId], projection: &[usize]) -> Result<Vec<ArrayRef>> {
        let mut positions: HashMap<u32, usize> = HashMap::new();
        let mut used: Vec<u32> = Vec::new();
        let mut indices = Vec::with_capacity(ids.len());
        let (mut last, mut position) = (u32::MAX, 0);
        for id in ids {
            let (chunk, row) = self.place(*id);
            if chunk != last || used.is_empty() {
                position = *positions.entry(chunk).or_insert_with(|| {
                    used.push(chunk);
                    used.len() - 1
                });
                last = chunk;
            }
            indices.push((position, row as usize));
        }
        if let Some(pieces) = runs(&indices) {
            return projection.iter().map(|c| self.concatenated(&used, &pieces, *c)).collect();
        }
        let chunks: Vec<&RecordBatch> = used.iter().map(|c| &self.chunk(*c).rows).collect();
        let gather = |column: &usize| {
            let arrays: Vec<&dyn arrow::array::Array> =
                chunks.iter().map(|rows| rows.column(*column).as_ref()).collect();
            Ok(interleave(&arrays, &indices)?)
        };
        projection.iter().map(gather).collect()
    }

    /// One column of runs of rows: chunk by its place in `used`, first row, length.
    fn concatenated(
        &self,
        used: &[u32],
        pieces: &[(usize, usize, usize)],
        column: usize,
    ) -> Result<ArrayRef> {
        let slices: Vec<ArrayRef> = pieces
            .iter()
            .map(|(chunk, row, length)| self.chunk(used[*chunk]).rows.column(column).slice(*row, *length))
            .collect();
        Ok(concat(&slices.iter().map(|s| s.as_ref()).collect::<Vec<&dyn Array>>())?)
    }

    fn chunk(&self, index: u32) -> &Chunk {
        self.chunks[index as usize].as_ref().expect("a live id names a live chunk")
    }

    /// Compacts if that frees a third of the rows held; the owner lets every id of a live row follow.
    pub fn compact_if_worth(&mut self) -> Result<Option<Moved>> {
        match self.dead > MIN_DEAD_ROWS && self.dead * 2 > self.live {
            true => Ok(Some(Moved::of(&self.compact()?))),
            false => Ok(None),
        }
    }

    /// Moves the live rows out of chunks of which a quarter is dead. Returns `(old, new)`
    /// ids of the moved rows; the old ones are no longer valid.
    fn compact(&mut self) -> Result<Vec<(RowId, RowId)>> {
        let victims: Vec<u32> = (0..self.chunks.len() as u32)
            .filter(|index| {
                self.chunks[*index as usize].as_ref().is_some_and(|c| c.live * 4 < c.rows.num_rows() * 3)
            })
            .collect();
        let mut moved = Vec::new();
        self.tail = self.tail.filter(|tail| !victims.contains(tail));
        for index in victims {
            let chunk = self.chunk(index);
            let rows = UInt32Array::from_iter_values(chunk.live_rows());
            let base = chunk.base;
            let batch = crate::types::change_batch::take_rows(&chunk.rows, &rows)?;
            let first = self.append(batch)?;
            moved.extend(rows.values().iter().zip(first..).map(|(row, new)| (base + row, new)));
            self.drop_chunk(index);
        }
        Ok(moved)
    }
}

/// `batch` in buffers of its own if those that it has are much larger.
fn fitted(batch: RecordBatch) -> Result<RecordBatch> {
    let held = batch.get_array_memory_size();
    let mut needed = 0;
    for column in batch.columns() {
        needed += column.to_data().get_slice_memory_size()?;
    }
    if held <= needed + needed / 8 + 512 * batch.num_columns() {
        return Ok(batch);
    }
    let copied = batch.columns().iter().map(|c| {
        let data = c.to_data();
        let mut copy = MutableArrayData::new(vec![&data], false, data.len());
        copy.try_extend(0, 0, data.len())?;
        let mut copy = make_array(copy.freeze());
        copy.shrink_to_fit();
        Ok(copy)
    });
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(batch.schema(), copied.collect::<Result<_>>()?, &options)?)
}

/// Rows as runs of neighbours, if these are long.
fn runs(indices: &[(usize, usize)]) -> Option<Vec<(usize, usize, usize)>> {
    let mut runs: Vec<(usize, usize, usize)> = Vec::new();
    let runs_max = indices.len() / MIN_RUN_ROWS;
    for (chunk, row) in indices {
        match runs.last_mut() {
            Some((last, first, length)) if last == chunk && *first + *length == *row => *length += 1,
            _ => runs.push((*chunk, *row, 1)),
        }
        if runs.len() > runs_max {
            return None;
        }
    }
    Some(runs)
}

#[cfg(test)]
mod tests;
