//! The rows of open sessions, and when these end.
//!
//! A session is a run of rows of a key of which each begins before the last one's gap is over; its
//! bounds are read from its rows. The end of every session waits in a queue; an end that is no
//! session's any more is skipped, and ends are looked through when a fifth of them are such.

use crate::dataflow::operators::session_rows::{Key, Member, SessionRows};
use crate::dataflow::operators::time_queue::TimeQueue;
use crate::state::{Moved, RowId};

/// Fewer ends than this are never looked through.
const STALE_MIN: usize = 1024;

/// The bounds of a session, and the time of its last row.
#[derive(Clone, Copy)]
pub struct Session {
    pub start: i64,
    pub last: i64,
    pub end: i64,
}

pub struct Members {
    gap_us: i64,
    pub rows: SessionRows,
    ends: TimeQueue<Key>,
    /// How many sessions there are.
    sessions: usize,
}

impl Members {
    pub fn new(gap_us: i64) -> Members {
        Members { gap_us, rows: SessionRows::default(), ends: TimeQueue::default(), sessions: 0 }
    }

    /// Adds the rows of the first session of a key that has one in `from..=to` to `rows`.
    pub fn session(&self, key: Key, from: i64, to: i64, rows: &mut Vec<Member>) -> Option<Session> {
        let anchor = self.rows.between(key, from, to).next()?.at.time;
        let (begin, mut start, mut last) = (rows.len(), anchor, anchor);
        for member in anchor.checked_sub(1).iter().flat_map(|to| self.rows.between(key, i64::MIN, *to).rev())
        {
            if member.at.time.saturating_add(self.gap_us) < start {
                break;
            }
            start = member.at.time;
            rows.push(member);
        }
        rows[begin..].reverse();
        for member in self.rows.between(key, anchor, i64::MAX) {
            if member.at.time > last.saturating_add(self.gap_us) {
                break;
            }
            last = member.at.time;
            rows.push(member);
        }
        Some(Session { start, last, end: last.saturating_add(self.gap_us) })
    }

    /// When a row of a key came.
    pub fn time_of(&self, key: Key, print: u64) -> Option<i64> {
        let mut rows = self.rows.between(key, i64::MIN, i64::MAX);
        rows.find(|member| member.at.print == print).map(|member| member.at.time)
    }

    /// Sessions of a key have these ends instead of those, both ascending.
    pub fn replace_ends(&mut self, key: Key, before: &[i64], after: &[i64], queue: &mut Vec<(i64, Key)>) {
        self.sessions = self.sessions + after.len() - before.len();
        let new = after.iter().filter(|end| before.binary_search(end).is_err());
        queue.extend(new.map(|end| (*end, key)));
    }

    /// Queues ends, once the rows of their sessions are there.
    pub fn queue(&mut self, ends: Vec<(i64, Key)>) {
        self.ends.add(ends);
        if self.ends.len() > self.sessions + self.sessions / 4 + STALE_MIN {
            let mut ends = std::mem::take(&mut self.ends).take_until(i64::MAX);
            ends.dedup();
            ends.retain(|(end, key)| self.last_of(*key, *end).is_some());
            self.ends.add(ends);
        }
    }

    /// The time of the last row of the session of a key that ends at `end`.
    fn last_of(&self, key: Key, end: i64) -> Option<i64> {
        // At the end of time several rows may say so, of which one is the last.
        let to = if end == i64::MAX { i64::MAX } else { end.saturating_sub(self.gap_us) };
        let last = self.rows.between(key, i64::MIN, to).next_back()?.at.time;
        if last.saturating_add(self.gap_us) != end {
            return None;
        }
        let follows = last.checked_add(1).is_some_and(|at| self.rows.between(key, at, end).next().is_some());
        (!follows).then_some(last)
    }

    /// Takes the rows of sessions that end at `until` or before.
    pub fn close(&mut self, until: i64) -> Vec<RowId> {
        let (mut closed, mut rows) = (Vec::new(), Vec::new());
        for (end, key) in self.ends.take_until(until) {
            let Some(last) = self.last_of(key, end) else { continue };
            if self.session(key, last, last, &mut rows).is_some() {
                self.sessions -= 1;
            }
            for member in rows.drain(..) {
                self.rows.remove(member.at);
                closed.push(member.id);
            }
        }
        closed
    }

    /// The first end, which may be no session's any more.
    pub fn first_end(&self) -> Option<i64> {
        self.ends.first()
    }

    /// Rows have moved in their store.
    pub fn follow(&mut self, moved: &Moved) {
        self.rows.follow(moved);
    }

    pub fn bytes(&self) -> usize {
        self.rows.bytes() + self.ends.bytes()
    }
}
