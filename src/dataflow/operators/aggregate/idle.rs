//! `state_ttl` of an aggregate over rows that only append: groups nobody has touched go.
//!
//! A group is touched by each of its rows, at the clock of their epoch. When the clock reaches the
//! last touch plus the time to live, after the rows of the epoch, the group's row is retracted and
//! its state is dropped; a later row of the same key starts a new group.

use std::collections::BTreeMap;

use super::groups::Groups;

/// Of a slot without a group.
const NEVER: i64 = i64::MIN;

/// When the groups of an operator were touched last, by slot.
pub struct IdleGroups {
    ttl_us: i64,
    touched: Vec<i64>,
    /// Every group once, by a touch that need not be its last.
    queue: BTreeMap<i64, Vec<u32>>,
}

impl IdleGroups {
    pub fn new(ttl_us: i64) -> IdleGroups {
        IdleGroups { ttl_us, touched: Vec::new(), queue: BTreeMap::new() }
    }

    /// Notes the groups that got rows in this epoch.
    pub fn note(&mut self, groups: &Groups, now: i64) {
        for slot in groups.touched_slots() {
            let at = *slot as usize;
            if self.touched.len() <= at {
                self.touched.resize(at + 1, NEVER);
            }
            if self.touched[at] == NEVER {
                self.queue.entry(now).or_default().push(*slot);
            }
            self.touched[at] = now;
        }
    }

    /// The groups whose time is over.
    pub fn take(&mut self, now: i64) -> Vec<u32> {
        let mut idle = Vec::new();
        while let Some(first) = self.queue.first_entry() {
            if first.key().saturating_add(self.ttl_us) > now {
                break;
            }
            for slot in first.remove() {
                let touched = &mut self.touched[slot as usize];
                if touched.saturating_add(self.ttl_us) > now {
                    self.queue.entry(*touched).or_default().push(slot);
                } else {
                    *touched = NEVER;
                    idle.push(slot);
                }
            }
        }
        idle
    }

    pub fn next_timer(&self) -> Option<i64> {
        self.queue.first_key_value().map(|(at, _)| at.saturating_add(self.ttl_us))
    }

    pub fn bytes(&self) -> usize {
        let queued: usize = self.queue.values().map(|slots| slots.capacity() * size_of::<u32>()).sum();
        self.touched.capacity() * size_of::<i64>() + queued
    }
}
