//! Which chunk each page of row ids belongs to.
//!
//! A chunk takes the pages for all the rows that it may come to hold, in a row; they are given
//! back with it, and free neighbours become one range again.

use std::collections::BTreeMap;

use super::RowId;
use crate::error::{HwError, Result, sqlstate};

/// Ids of a page, as a power of two.
const PAGE_BITS: u32 = 10;
pub(super) const PAGE_ROWS: usize = 1 << PAGE_BITS;
/// Of the ids of 32 bits; the last page is never used, so that the greatest id can stand for none.
const PAGES_MAX: usize = (1 << (32 - PAGE_BITS)) - 1;

#[derive(Default)]
pub(super) struct Pages {
    chunks: Vec<u32>,
    /// Free pages: the first of each range, and how many.
    free: BTreeMap<u32, u32>,
}

fn pages_of(rows: usize) -> usize {
    rows.div_ceil(1 << PAGE_BITS)
}

impl Pages {
    #[inline(always)]
    pub fn chunk_of(&self, id: RowId) -> u32 {
        self.chunks[(id >> PAGE_BITS) as usize]
    }

    /// Ids for `rows` rows of a chunk; gives the first. 54000 if there are no more.
    pub fn take(&mut self, rows: usize, chunk: u32) -> Result<RowId> {
        let count = pages_of(rows);
        let fitting = self.free.iter().find(|(_, free)| **free as usize >= count);
        let first = match fitting.map(|(first, free)| (*first, *free)) {
            Some((first, free)) => {
                self.free.remove(&first);
                if free as usize > count {
                    self.free.insert(first + count as u32, free - count as u32);
                }
                first as usize
            }
            None => {
                let first = self.chunks.len();
                if first + count > PAGES_MAX {
                    let report = HwError::new(
                        sqlstate::PROGRAM_LIMIT_EXCEEDED,
                        "an operator cannot hold more than four billion rows",
                    );
                    return Err(report);
                }
                self.chunks.resize(first + count, 0);
                first
            }
        };
        self.chunks[first..first + count].fill(chunk);
        Ok((first as RowId) << PAGE_BITS)
    }

    /// The ids of a chunk are free again.
    pub fn give_back(&mut self, base: RowId, rows: usize) {
        let (mut first, mut count) = (base >> PAGE_BITS, pages_of(rows) as u32);
        if let Some(after) = self.free.remove(&(first + count)) {
            count += after;
        }
        if let Some((before, free)) = self.free.range(..first).next_back().map(|(f, n)| (*f, *n))
            && before + free == first
        {
            (first, count) = (before, count + free);
        }
        self.free.insert(first, count);
    }

    pub fn bytes(&self) -> usize {
        self.chunks.capacity() * size_of::<u32>()
    }
}
