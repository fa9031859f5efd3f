//! Which groups the rows of a batch belong to.

use super::heads::{Shown, halves};
use super::narrow::KeyWords;
use super::{Groups, Located};
use crate::state::Grow;
use crate::state::print_map::tag_of;

impl Groups {
    /// Finds or makes the group of each fingerprint and adds the weight to it. The caller
    /// must give the keys of new groups to `store_keys` next.
    pub fn locate(
        &mut self,
        prints: &[u128],
        keys: Option<&KeyWords>,
        weights: Option<&[i64]>,
        located: &mut Located,
    ) {
        debug_assert_eq!(keys.is_some(), self.narrow.is_some(), "narrow keys are needed");
        located.slots.clear();
        located.new_rows.clear();
        located.slots.reserve(prints.len());
        match weights {
            None => {
                let rows = prints.iter().enumerate();
                rows.for_each(|(row, p)| self.locate_row(row, *p, keys, 1, located));
            }
            Some(weights) => {
                let rows = prints.iter().zip(weights).enumerate();
                rows.for_each(|(row, (p, w))| self.locate_row(row, *p, keys, *w, located));
            }
        }
    }

    #[inline(always)]
    fn locate_row(
        &mut self,
        row: usize,
        print: u128,
        keys: Option<&KeyWords>,
        weight: i64,
        located: &mut Located,
    ) {
        let found = match keys {
            None => self.slot_of(print),
            Some(keys) => {
                let key = keys.of(row);
                self.index.find(tag_of(print), |slot| self.heads.has_key(slot, key))
            }
        };
        let slot = found.unwrap_or_else(|| {
            located.new_rows.push(row as u32);
            match keys {
                None => self.insert(print, (&halves(print), 0)),
                Some(keys) => self.insert(print, keys.of(row)),
            }
        });
        located.slots.push(slot);
        if self.heads.touch(slot) {
            if self.heads.shown(slot) == Shown::Yes {
                self.touched.shown.push(slot);
                self.touched.old_weights.push(self.heads.weight(slot));
            } else {
                self.touched.hidden.push(slot);
            }
        }
        self.heads.add_weight(slot, weight);
    }

    /// The slot of a group that exists.
    #[inline(always)]
    pub(super) fn slot_of(&self, print: u128) -> Option<u32> {
        self.index.find(tag_of(print), |slot| self.heads.is(slot, halves(print)))
    }

    #[cold]
    fn insert(&mut self, print: u128, (identity, nulls): (&[u32], u8)) -> u32 {
        let slot = self.free.pop().unwrap_or(self.heads.len() as u32);
        self.heads.open(slot, identity, nulls);
        self.index.insert(tag_of(print), slot);
        if let Some(tags) = &mut self.tags {
            tags.grow(tags.len().max(slot as usize + 1), 0);
            tags[slot as usize] = tag_of(print);
        }
        slot
    }
}
