//! What every group has: the rest of its fingerprint, its weight, and what is shown of it.
//!
//! Twelve bytes. 32 bits of a group's fingerprint are in the hash index and 64 here; these 96 are
//! its identity. A weight of 28 bits stands in the head, greater ones in a map beside it.

use hashbrown::HashMap;

use crate::state::Chunks;

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
/// Bits of `Head::state`: what is shown, whether the group was touched in this epoch, the weight.
const SHOWN: u32 = 0b111;
const TOUCHED: u32 = 0b1000;
const WEIGHT_BITS: u32 = 28;
const WEIGHT_SHIFT: u32 = 32 - WEIGHT_BITS;
/// The weight is in the map.
const WIDE: i32 = -(1 << (WEIGHT_BITS - 1));

#[derive(Clone, Copy)]
struct Head {
    print: [u32; 2],
    state: u32,
}

impl Head {
    #[inline(always)]
    fn narrow_weight(self) -> i32 {
        self.state as i32 >> WEIGHT_SHIFT
    }

    #[inline(always)]
    fn set_narrow_weight(&mut self, weight: i32) {
        self.state = (weight << WEIGHT_SHIFT) as u32 | self.state & (SHOWN | TOUCHED);
    }
}

/// The heads of all groups, by slot.
#[derive(Default)]
pub(super) struct Heads {
    heads: Chunks<Head>,
    wide: HashMap<u32, i64>,
}

#[inline(always)]
fn halves(print: u64) -> [u32; 2] {
    [print as u32, (print >> 32) as u32]
}

impl Heads {
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    pub fn bytes(&self) -> usize {
        self.heads.bytes() + self.wide.capacity() * (size_of::<(u32, i64)>() + 1)
    }

    pub fn clear(&mut self) {
        self.heads.clear();
        self.wide.clear();
    }

    /// A new group in a slot that is free, or the next one.
    pub fn open(&mut self, slot: u32, print: u64) {
        let head = Head { print: halves(print), state: Shown::No as u32 };
        self.heads.put(slot, head);
    }

    #[inline(always)]
    pub fn is(&self, slot: u32, print: u64) -> bool {
        self.heads[slot].print == halves(print)
    }

    #[inline(always)]
    pub fn shown(&self, slot: u32) -> Shown {
        KINDS[(self.heads[slot].state & SHOWN) as usize]
    }

    pub fn show(&mut self, slot: u32, shown: Shown) {
        let head = &mut self.heads[slot];
        head.state = head.state & !SHOWN | shown as u32;
    }

    /// Notes the group as touched in this epoch; false if it was before.
    #[inline(always)]
    pub fn touch(&mut self, slot: u32) -> bool {
        let head = &mut self.heads[slot];
        let first = head.state & TOUCHED == 0;
        head.state |= TOUCHED;
        first
    }

    pub fn untouch(&mut self, slot: u32) {
        self.heads[slot].state &= !TOUCHED;
    }

    /// Sum of the weights of the group's rows.
    #[inline(always)]
    pub fn weight(&self, slot: u32) -> i64 {
        match self.heads[slot].narrow_weight() {
            WIDE => self.wide.get(&slot).copied().unwrap_or(0),
            weight => weight as i64,
        }
    }

    #[inline(always)]
    pub fn add_weight(&mut self, slot: u32, more: i64) {
        let head = &mut self.heads[slot];
        let before = head.narrow_weight();
        let after = before as i64 + more;
        if before != WIDE && after > WIDE as i64 && after < -(WIDE as i64) {
            head.set_narrow_weight(after as i32);
        } else {
            self.set_weight(slot, self.weight(slot) + more);
        }
    }

    pub fn set_weight(&mut self, slot: u32, weight: i64) {
        let head = &mut self.heads[slot];
        let was_wide = head.narrow_weight() == WIDE;
        let is_narrow = weight > WIDE as i64 && weight < -(WIDE as i64);
        head.set_narrow_weight(if is_narrow { weight as i32 } else { WIDE });
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
        assert_eq!(size_of::<Head>(), 12);
        let mut heads = Heads::default();
        heads.open(0, u64::MAX - 1);
        heads.open(1, 7);
        assert!(heads.is(0, u64::MAX - 1) && !heads.is(1, 8));
        heads.show(1, Shown::Failed);
        assert!(heads.touch(1) && !heads.touch(1));
        let edge = (1 << 27) - 1;
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
    }
}
