//! What every group has: its identity, its weight, and what is shown of it.
//!
//! Words of 32 bits: one for the state, and the identity, which is 64 bits of a fingerprint (12 bytes
//! then; 32 more are in the hash index), or the key itself (`narrow`). A weight of 27 bits stands in
//! the head, greater ones in a map beside it.

use hashbrown::HashMap;

/// What readers of the output know of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shown {
    /// The slot is free.
    Free,
    No,
    Yes,
    /// What is shown is not what the accumulators hold: `panes` has set it aside.
    Held,
    /// Its value cannot be represented: it is in the error relation.
    Failed,
}

const KINDS: [Shown; 5] = [Shown::Free, Shown::No, Shown::Yes, Shown::Held, Shown::Failed];
/// Bits of a state: what is shown, whether the group was touched in this epoch, whether its key has
/// NULLs, the weight.
const SHOWN: u32 = 0b111;
const TOUCHED: u32 = 0b1000;
const HAS_NULLS: u32 = 0b1_0000;
const WEIGHT_BITS: u32 = 27;
const WEIGHT_SHIFT: u32 = 32 - WEIGHT_BITS;
/// The weight is in the map.
const WIDE: i32 = -(1 << (WEIGHT_BITS - 1));

/// Heads of a chunk, as a power of two; chunks never move.
const CHUNK_BITS: u32 = 12;

/// The heads of all groups, by slot.
pub(super) struct Heads {
    /// Words of a head: its state, then its identity.
    stride: usize,
    chunks: Vec<Vec<u32>>,
    len: usize,
    wide: HashMap<u32, i64>,
    /// The columns that are NULL in keys that have NULLs, a bit each.
    nulls: HashMap<u32, u8>,
}

/// 64 bits of a fingerprint.
#[inline(always)]
pub(super) fn halves(print: u128) -> [u32; 2] {
    [print as u32, (print >> 32) as u32]
}

#[inline(always)]
fn narrow_weight(state: u32) -> i32 {
    state as i32 >> WEIGHT_SHIFT
}

#[inline(always)]
fn with_narrow_weight(state: u32, weight: i32) -> u32 {
    (weight << WEIGHT_SHIFT) as u32 | state & (SHOWN | TOUCHED | HAS_NULLS)
}

impl Heads {
    /// `width`: words of an identity.
    pub fn new(width: usize) -> Heads {
        let (wide, nulls) = Default::default();
        Heads { stride: width + 1, chunks: Vec::new(), len: 0, wide, nulls }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn bytes(&self) -> usize {
        let words: usize = self.chunks.iter().map(Vec::capacity).sum();
        words * size_of::<u32>()
            + self.chunks.capacity() * size_of::<Vec<u32>>()
            + self.wide.allocation_size()
            + self.nulls.allocation_size()
    }

    pub fn clear(&mut self) {
        *self = Heads::new(self.stride - 1);
    }

    #[inline(always)]
    fn offset(&self, slot: u32) -> usize {
        (slot & ((1 << CHUNK_BITS) - 1)) as usize * self.stride
    }

    #[inline(always)]
    fn state(&self, slot: u32) -> u32 {
        self.chunks[(slot >> CHUNK_BITS) as usize][self.offset(slot)]
    }

    #[inline(always)]
    fn state_mut(&mut self, slot: u32) -> &mut u32 {
        let offset = self.offset(slot);
        &mut self.chunks[(slot >> CHUNK_BITS) as usize][offset]
    }

    #[inline(always)]
    fn identity(&self, slot: u32) -> &[u32] {
        let offset = self.offset(slot);
        &self.chunks[(slot >> CHUNK_BITS) as usize][offset + 1..offset + self.stride]
    }

    /// A new group in a slot that is free, or the next one. `nulls`: a bit for each column of the
    /// key that is NULL.
    pub fn open(&mut self, slot: u32, identity: &[u32], nulls: u8) {
        let state = Shown::No as u32 | if nulls != 0 { HAS_NULLS } else { 0 };
        if slot as usize == self.len {
            if self.len & ((1 << CHUNK_BITS) - 1) == 0 {
                // The first chunk grows, so that little state stays little.
                let room = if self.chunks.is_empty() { 0 } else { self.stride << CHUNK_BITS };
                self.chunks.push(Vec::with_capacity(room));
            }
            if let Some(last) = self.chunks.last_mut() {
                last.push(state);
                last.extend_from_slice(identity);
            }
            self.len += 1;
        } else {
            *self.state_mut(slot) = state;
            let (offset, stride) = (self.offset(slot), self.stride);
            let chunk = &mut self.chunks[(slot >> CHUNK_BITS) as usize];
            chunk[offset + 1..offset + stride].copy_from_slice(identity);
        }
        if nulls != 0 {
            self.nulls.insert(slot, nulls);
        }
    }

    /// Whether this is the group with these 64 bits of a fingerprint.
    #[inline(always)]
    pub fn is(&self, slot: u32, print: [u32; 2]) -> bool {
        matches!(self.identity(slot), [low, high] if [*low, *high] == print)
    }

    /// Whether this is the group with this key.
    #[inline(always)]
    pub fn has_key(&self, slot: u32, (words, nulls): (&[u32], u8)) -> bool {
        let identity = self.identity(slot);
        let same = identity.len() == words.len() && identity.iter().zip(words).all(|(a, b)| a == b);
        same && (nulls != 0) == (self.state(slot) & HAS_NULLS != 0)
            && (nulls == 0 || self.nulls_of(slot) == nulls)
    }

    #[cold]
    fn nulls_of(&self, slot: u32) -> u8 {
        self.nulls.get(&slot).copied().unwrap_or(0)
    }

    /// The key that is a group's identity.
    pub fn key(&self, slot: u32) -> (&[u32], u8) {
        let nulls = if self.state(slot) & HAS_NULLS != 0 { self.nulls_of(slot) } else { 0 };
        (self.identity(slot), nulls)
    }

    #[inline(always)]
    pub fn shown(&self, slot: u32) -> Shown {
        KINDS[(self.state(slot) & SHOWN) as usize]
    }

    pub fn show(&mut self, slot: u32, shown: Shown) {
        let state = self.state_mut(slot);
        let had_nulls = *state & HAS_NULLS != 0;
        *state = *state & !SHOWN | shown as u32;
        if had_nulls && shown == Shown::Free {
            self.nulls.remove(&slot);
        }
    }

    /// Notes the group as touched in this epoch; false if it was before.
    #[inline(always)]
    pub fn touch(&mut self, slot: u32) -> bool {
        let state = self.state_mut(slot);
        let first = *state & TOUCHED == 0;
        *state |= TOUCHED;
        first
    }

    pub fn untouch(&mut self, slot: u32) {
        *self.state_mut(slot) &= !TOUCHED;
    }

    /// Sum of the weights of the group's rows.
    #[inline(always)]
    pub fn weight(&self, slot: u32) -> i64 {
        match narrow_weight(self.state(slot)) {
            WIDE => self.wide.get(&slot).copied().unwrap_or(0),
            weight => weight as i64,
        }
    }

    #[inline(always)]
    pub fn add_weight(&mut self, slot: u32, more: i64) {
        let state = self.state_mut(slot);
        let before = narrow_weight(*state);
        let after = before as i64 + more;
        if before != WIDE && after > WIDE as i64 && after < -(WIDE as i64) {
            *state = with_narrow_weight(*state, after as i32);
        } else {
            self.set_weight(slot, self.weight(slot) + more);
        }
    }

    pub fn set_weight(&mut self, slot: u32, weight: i64) {
        let state = self.state_mut(slot);
        let was_wide = narrow_weight(*state) == WIDE;
        let is_narrow = weight > WIDE as i64 && weight < -(WIDE as i64);
        *state = with_narrow_weight(*state, if is_narrow { weight as i32 } else { WIDE });
        if is_narrow {
            if was_wide {
                self.wide.remove(&slot);
            }
        } else {
            self.wide.insert(slot, weight);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_small_and_hold_any_weight() {
        let mut heads = Heads::new(2);
        heads.open(0, &[7, 9], 0);
        heads.open(1, &[7, 8], 0b10);
        assert!(heads.is(0, [7, 9]) && !heads.is(1, [7, 9]));
        assert!(heads.has_key(1, (&[7, 8], 0b10)) && !heads.has_key(1, (&[7, 8], 0)));
        assert!(heads.has_key(0, (&[7, 9], 0)) && !heads.has_key(0, (&[7, 9], 1)));
        assert_eq!((heads.key(0), heads.key(1)), ((&[7, 9][..], 0), (&[7, 8][..], 0b10)));
        heads.show(1, Shown::Failed);
        assert!(heads.touch(1) && !heads.touch(1));
        let edge = (1 << 26) - 1;
        let mut expected = 0;
        for more in [5, edge, -3, i64::MAX - 2 * edge, -edge, -i64::MAX + edge, -1, -edge - edge, edge] {
            expected += more;
            heads.add_weight(1, more);
            assert_eq!((heads.weight(1), heads.weight(0)), (expected, 0));
            assert_eq!(heads.shown(1), Shown::Failed);
        }
        heads.set_weight(1, 0);
        heads.untouch(1);
        assert!(heads.weight(1) == 0 && heads.touch(1) && heads.shown(0) == Shown::No);
        assert!(heads.wide.is_empty());
        heads.show(1, Shown::Free);
        assert!(heads.nulls.is_empty());
        heads.open(1, &[5, 6], 0);
        assert!(heads.has_key(1, (&[5, 6], 0)));
        (2..100_000).for_each(|slot| heads.open(slot, &[slot, slot], 0));
        assert!(heads.is(77_777, [77_777; 2]) && heads.is(1, [5, 6]));
        assert!(heads.bytes() < (100_000 + 4096) * 12 + 2000, "{}", heads.bytes());
    }
}
