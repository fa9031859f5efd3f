//! A vector in chunks: it never moves what it holds and has room for one chunk at most, where a
//! vector doubles. The first chunk grows like a vector, so that little state stays little.

use std::ops::{Index, IndexMut};

const CHUNK_BITS: u32 = 12;
const CHUNK: usize = 1 << CHUNK_BITS;

pub struct Chunks<T> {
    chunks: Vec<Vec<T>>,
    len: usize,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Chunks { chunks: Vec::new(), len: 0 }
    }
}

impl<T> Chunks<T> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn push(&mut self, element: T) {
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => last.push(element),
            last => {
                let mut chunk = Vec::with_capacity(if last.is_some() { CHUNK } else { 0 });
                chunk.push(element);
                self.chunks.push(chunk);
            }
        }
        self.len += 1;
    }

    /// Sets an element, or adds it at the end.
    #[inline]
    pub fn put(&mut self, index: u32, element: T) {
        match index as usize == self.len {
            true => self.push(element),
            false => self[index] = element,
        }
    }

    pub fn clear(&mut self) {
        *self = Chunks::default();
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.chunks.iter_mut().flatten()
    }

    pub fn bytes(&self) -> usize {
        let room: usize = self.chunks.iter().map(Vec::capacity).sum();
        room * size_of::<T>() + self.chunks.capacity() * size_of::<Vec<T>>()
    }
}

impl<T> Index<u32> for Chunks<T> {
    type Output = T;
    #[inline(always)]
    fn index(&self, index: u32) -> &T {
        &self.chunks[(index >> CHUNK_BITS) as usize][index as usize % CHUNK]
    }
}

impl<T> IndexMut<u32> for Chunks<T> {
    #[inline(always)]
    fn index_mut(&mut self, index: u32) -> &mut T {
        &mut self.chunks[(index >> CHUNK_BITS) as usize][index as usize % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_a_vector_of_little_room() {
        let mut chunks = Chunks::default();
        for i in 0..20_000u32 {
            chunks.put(i, i);
        }
        chunks.put(9_999, 1);
        chunks[12_345] += 1;
        let changed: Vec<u32> = (0..20_000).filter(|i| chunks[*i] != *i).collect();
        assert_eq!(changed, [9_999, 12_345]);
        assert!(chunks.len() == 20_000 && chunks.iter_mut().count() == 20_000);
        assert!(chunks.bytes() < (20_000 + 4096) * 4 + 500, "{}", chunks.bytes());
        chunks.clear();
        assert!(chunks.is_empty() && chunks.bytes() == 0);
    }
}
