//! A trigger expression as a flat tree, and its state as a few words.
//!
//! The tree is compiled once per view and shared; a window holds one word a leaf (a count of
//! rows, or the processing time at which the leaf is due) and one bit a node (finished).
//! Meaning of every node as in Apache Beam's trigger state machines: a leaf fires once and
//! finishes; OR and AND finish when they fire; THEN runs its parts in order; UNTIL finishes
//! with either side and its right side keeps its state across firings of the left;
//! REPEATEDLY starts anew what has finished. Invariant: the children of a node follow it.

use crate::error::{HwError, Result, sqlstate};
use crate::types::trigger::TriggerSpec;

/// Nodes of one trigger expression at most, REPEATEDLY of a phase included.
pub const TRIGGER_NODES_MAX: usize = 32;

/// No processing time: the leaf waits for a row.
pub const NEVER: i64 = i64::MAX;

/// What a node does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Rows(i64),
    Every { interval_us: i64, offset_us: i64 },
    Delay(i64),
    Watermark,
    Or,
    And,
    Then,
    Until,
    Repeatedly,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    kind: Kind,
    /// Index of the right child; the left one is the next node.
    right: usize,
    /// Word of a leaf.
    word: usize,
}

/// A compiled trigger expression; node 0 is the root.
#[derive(Clone, Debug)]
pub struct Tree {
    nodes: Vec<Node>,
    words: usize,
    /// The leaf of `REPEATEDLY (leaf)`, which most triggers are: it never finishes, and its
    /// state is word 0.
    repeated: Option<Kind>,
}

/// What a trigger may look at when it is asked whether it fires.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub now: i64,
    /// The watermark has reached the end of the window.
    pub end_reached: bool,
    /// It did so in this epoch.
    pub reaches_end: bool,
}

/// The state of a tree in one window.
pub struct Marks<'a> {
    pub words: &'a mut [i64],
    pub finished: &'a mut u32,
}

/// What one of several merged windows brings: its state if it ran the same tree, and the
/// rows that it has not fired.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    pub marks: Option<(&'a [i64], u32)>,
    pub unfired: u64,
    pub first_unfired: i64,
}

impl Tree {
    /// 54001 if the expression is too large.
    pub fn new(spec: &TriggerSpec) -> Result<Tree> {
        let mut tree = Tree { nodes: Vec::new(), words: 0, repeated: None };
        tree.add(spec)?;
        if let [Node { kind: Kind::Repeatedly, .. }, leaf] = tree.nodes.as_slice() {
            tree.repeated = Some(leaf.kind);
        }
        Ok(tree)
    }

    fn add(&mut self, spec: &TriggerSpec) -> Result<()> {
        if self.nodes.len() >= TRIGGER_NODES_MAX {
            let message = format!("a trigger has more than {TRIGGER_NODES_MAX} parts");
            return Err(HwError::new(sqlstate::STATEMENT_TOO_COMPLEX, message));
        }
        let (kind, children): (Kind, Vec<&TriggerSpec>) = match spec {
            TriggerSpec::AfterRows(n) => (Kind::Rows(i64::try_from(*n).unwrap_or(i64::MAX).max(1)), vec![]),
            TriggerSpec::Every { interval_us, offset_us } => {
                let interval_us = (*interval_us).max(1);
                (Kind::Every { interval_us, offset_us: offset_us.rem_euclid(interval_us) }, vec![])
            }
            TriggerSpec::AfterDelay { delay_us } => (Kind::Delay((*delay_us).max(0)), vec![]),
            TriggerSpec::AfterWatermark => (Kind::Watermark, vec![]),
            TriggerSpec::Or(a, b) => (Kind::Or, vec![a, b]),
            TriggerSpec::And(a, b) => (Kind::And, vec![a, b]),
            TriggerSpec::Then(a, b) => (Kind::Then, vec![a, b]),
            TriggerSpec::Until(a, b) => (Kind::Until, vec![a, b]),
            TriggerSpec::Repeatedly(a) => (Kind::Repeatedly, vec![a]),
        };
        let at = self.nodes.len();
        self.nodes.push(Node { kind, right: 0, word: self.words });
        self.words += children.is_empty() as usize;
        for (i, child) in children.into_iter().enumerate() {
            if i == 1 {
                self.nodes[at].right = self.nodes.len();
            }
            self.add(child)?;
        }
        Ok(())
    }

    /// Words of state.
    pub fn words(&self) -> usize {
        self.words
    }

    /// The leaf of `REPEATEDLY (leaf)`.
    pub(super) fn repeated_leaf(&self) -> Option<Kind> {
        self.repeated
    }

    /// Forgets everything.
    #[inline]
    pub fn reset(&self, marks: &mut Marks<'_>) {
        match self.repeated {
            Some(leaf) => {
                *marks.finished = 0;
                marks.words[0] = empty(leaf);
            }
            None => self.clear(0, marks),
        }
    }

    /// Counts `rows` rows that arrived at `arrived`.
    #[inline]
    pub fn add_rows(&self, marks: &mut Marks<'_>, rows: u64, arrived: i64) {
        match self.repeated {
            Some(leaf) => marks.words[0] = grown(leaf, marks.words[0], rows, arrived),
            None => self.rows(0, marks, rows, arrived),
        }
    }

    #[inline]
    pub fn ready(&self, marks: &Marks<'_>, at: &Moment) -> bool {
        match self.repeated {
            Some(leaf) => leaf_fires(leaf, marks.words[0], at),
            None => self.fires(0, marks, at),
        }
    }

    /// Fires the root, which must be ready. True if it has finished.
    #[inline]
    pub fn fire(&self, marks: &mut Marks<'_>, at: &Moment) -> bool {
        if let Some(leaf) = self.repeated {
            marks.words[0] = empty(leaf);
            return false;
        }
        self.on_fire(0, marks, at);
        done(marks, 0)
    }

    /// The first processing time after `now` at which the root may become ready; [`NEVER`]
    /// if only a row or the watermark can make it so.
    #[inline]
    pub fn timer(&self, marks: &Marks<'_>, now: i64) -> i64 {
        match self.repeated {
            Some(leaf) => leaf_due(leaf, marks.words[0], now),
            None => self.due(0, marks, now),
        }
    }

    /// [`Tree::merge`] for `REPEATEDLY (leaf)`. False if the tree is more than that.
    #[inline]
    pub fn merge_leaf<'a>(&self, parts: impl Iterator<Item = Part<'a>>, marks: &mut Marks<'_>) -> bool {
        let Some(leaf) = self.repeated else { return false };
        let word = |part: Part<'a>| match part.marks {
            Some((words, _)) => words[0],
            None => grown(leaf, empty(leaf), part.unfired, part.first_unfired),
        };
        *marks.finished = 0;
        marks.words[0] = parts.fold(empty(leaf), |sum, part| joined(leaf, sum, word(part)));
        true
    }

    /// The state of a window into which others were merged: counts add up, the earliest due
    /// time holds, a node is finished if it is in all of them. `marks` is reset first.
    pub fn merge(&self, parts: &[Part<'_>], marks: &mut Marks<'_>) {
        self.clear(0, marks);
        self.merge_node(0, parts, marks);
    }

    fn left(&self, node: usize) -> usize {
        node + 1
    }

    /// The part of a THEN whose turn it is.
    fn turn(&self, node: usize, marks: &Marks<'_>) -> usize {
        if done(marks, self.left(node)) { self.nodes[node].right } else { self.left(node) }
    }

    fn clear(&self, node: usize, marks: &mut Marks<'_>) {
        *marks.finished &= !(1 << node);
        let Node { kind, right, word } = self.nodes[node];
        match kind {
            Kind::Rows(_) | Kind::Every { .. } | Kind::Delay(_) | Kind::Watermark => {
                marks.words[word] = empty(kind)
            }
            Kind::Repeatedly => self.clear(self.left(node), marks),
            Kind::Or | Kind::And | Kind::Then | Kind::Until => {
                self.clear(self.left(node), marks);
                self.clear(right, marks);
            }
        }
    }

    fn rows(&self, node: usize, marks: &mut Marks<'_>, rows: u64, arrived: i64) {
        if done(marks, node) {
            return;
        }
        let Node { kind, right, word } = self.nodes[node];
        match kind {
            Kind::Rows(_) | Kind::Every { .. } | Kind::Delay(_) | Kind::Watermark => {
                marks.words[word] = grown(kind, marks.words[word], rows, arrived);
            }
            Kind::Repeatedly => self.rows(self.left(node), marks, rows, arrived),
            Kind::Then => self.rows(self.turn(node, marks), marks, rows, arrived),
            Kind::Or | Kind::And | Kind::Until => {
                self.rows(self.left(node), marks, rows, arrived);
                self.rows(right, marks, rows, arrived);
            }
        }
    }

    fn fires(&self, node: usize, marks: &Marks<'_>, at: &Moment) -> bool {
        if done(marks, node) {
            return false;
        }
        let Node { kind, right, word } = self.nodes[node];
        match kind {
            Kind::Rows(_) | Kind::Every { .. } | Kind::Delay(_) | Kind::Watermark => {
                leaf_fires(kind, marks.words[word], at)
            }
            Kind::Repeatedly => self.fires(self.left(node), marks, at),
            Kind::Then => self.fires(self.turn(node, marks), marks, at),
            Kind::And => self.fires(self.left(node), marks, at) && self.fires(right, marks, at),
            Kind::Or | Kind::Until => self.fires(self.left(node), marks, at) || self.fires(right, marks, at),
        }
    }

    fn on_fire(&self, node: usize, marks: &mut Marks<'_>, at: &Moment) {
        let right = self.nodes[node].right;
        let left = self.left(node);
        let finished = match self.nodes[node].kind {
            Kind::Rows(_) | Kind::Every { .. } | Kind::Delay(_) | Kind::Watermark | Kind::Or | Kind::And => {
                self.clear(node, marks);
                true
            }
            Kind::Repeatedly => {
                self.on_fire(left, marks, at);
                if done(marks, left) {
                    self.clear(left, marks);
                }
                false
            }
            Kind::Then => {
                self.on_fire(self.turn(node, marks), marks, at);
                done(marks, right)
            }
            Kind::Until if self.fires(right, marks, at) => {
                self.on_fire(right, marks, at);
                self.clear(left, marks);
                done(marks, right)
            }
            Kind::Until => {
                self.on_fire(left, marks, at);
                done(marks, left)
            }
        };
        if finished {
            *marks.finished |= 1 << node;
        }
    }

    fn due(&self, node: usize, marks: &Marks<'_>, now: i64) -> i64 {
        if done(marks, node) {
            return NEVER;
        }
        let Node { kind, right, word } = self.nodes[node];
        match kind {
            Kind::Rows(_) | Kind::Every { .. } | Kind::Delay(_) | Kind::Watermark => {
                leaf_due(kind, marks.words[word], now)
            }
            Kind::Repeatedly => self.due(self.left(node), marks, now),
            Kind::Then => self.due(self.turn(node, marks), marks, now),
            Kind::Or | Kind::And | Kind::Until => {
                self.due(self.left(node), marks, now).min(self.due(right, marks, now))
            }
        }
    }

    fn merge_node(&self, node: usize, parts: &[Part<'_>], marks: &mut Marks<'_>) {
        let bit = 1 << node;
        if parts.iter().all(|part| part.marks.is_some_and(|(_, finished)| finished & bit != 0)) {
            *marks.finished |= bit;
            return;
        }
        // Where the node has finished, it takes part with what it would have seen since.
        let parts: Vec<Part<'_>> = (parts.iter())
            .map(|part| Part { marks: part.marks.filter(|(_, finished)| finished & bit == 0), ..*part })
            .collect();
        let parts = parts.as_slice();
        let Node { kind, right, word } = self.nodes[node];
        match kind {
            Kind::Rows(_) | Kind::Every { .. } | Kind::Delay(_) | Kind::Watermark => {
                for part in parts {
                    let value = match part.marks {
                        Some((words, _)) => words[word],
                        None => grown(kind, empty(kind), part.unfired, part.first_unfired),
                    };
                    marks.words[word] = joined(kind, marks.words[word], value);
                }
            }
            Kind::Repeatedly => {
                self.merge_node(self.left(node), parts, marks);
                if done(marks, self.left(node)) {
                    self.clear(self.left(node), marks);
                }
            }
            Kind::Then => {
                self.merge_node(self.left(node), parts, marks);
                if done(marks, self.left(node)) {
                    self.merge_node(right, parts, marks);
                }
                if done(marks, right) {
                    *marks.finished |= 1 << node;
                }
            }
            Kind::Or | Kind::And | Kind::Until => {
                self.merge_node(self.left(node), parts, marks);
                self.merge_node(right, parts, marks);
            }
        }
    }
}

fn done(marks: &Marks<'_>, node: usize) -> bool {
    *marks.finished & (1 << node) != 0
}

/// Whether a leaf's word is a number of rows; else it is a due time.
fn counts(kind: Kind) -> bool {
    matches!(kind, Kind::Rows(_) | Kind::Watermark)
}

pub(super) fn empty(kind: Kind) -> i64 {
    if counts(kind) { 0 } else { NEVER }
}

/// Whether a leaf with this word fires.
pub(super) fn leaf_fires(kind: Kind, word: i64, at: &Moment) -> bool {
    match kind {
        Kind::Rows(n) => word >= n,
        Kind::Every { .. } | Kind::Delay(_) => word != NEVER && word <= at.now,
        // Only a row can make it ready later: it is not asked without a reason.
        Kind::Watermark => at.reaches_end || (at.end_reached && word > 0),
        _ => false,
    }
}

/// The processing time after `now` at which a leaf with this word fires.
pub(super) fn leaf_due(kind: Kind, word: i64, now: i64) -> i64 {
    match kind {
        Kind::Every { .. } | Kind::Delay(_) if word > now => word,
        _ => NEVER,
    }
}

/// A leaf's word after `rows` rows that arrived at `arrived`.
pub(super) fn grown(kind: Kind, word: i64, rows: u64, arrived: i64) -> i64 {
    match kind {
        _ if rows == 0 => word,
        Kind::Rows(_) | Kind::Watermark => word.saturating_add_unsigned(rows),
        // The first row decides.
        Kind::Every { .. } if word <= arrived => word,
        Kind::Every { interval_us, offset_us } => word.min(boundary(arrived, interval_us, offset_us)),
        Kind::Delay(delay_us) => word.min(arrived.saturating_add(delay_us)),
        _ => word,
    }
}

fn joined(kind: Kind, a: i64, b: i64) -> i64 {
    if counts(kind) { a.saturating_add(b) } else { a.min(b) }
}

/// The first multiple of `interval_us` plus `offset_us` that is not before `time`.
fn boundary(time: i64, interval_us: i64, offset_us: i64) -> i64 {
    let past = match time.checked_sub(offset_us) {
        Some(since) => since.rem_euclid(interval_us),
        None => (time as i128 - offset_us as i128).rem_euclid(interval_us as i128) as i64,
    };
    if past == 0 { time } else { time.saturating_add(interval_us - past) }
}
