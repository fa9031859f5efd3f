//! What happens in a history, drawn at random, and how a failing one becomes smaller.
//!
//! A history is a server's life: several sources with rows and watermarks of their own, one
//! clock, faults, and many views, each over one of the sources. It goes on for several rounds:
//! each has keys of its own and begins where event time has come to, so that the windows of a
//! key know nothing of the rounds before. Nothing here knows a server.

use headwater::types::trigger::{Closing, EmitPolicy, TriggerSpec};
use proptest::prelude::*;

use super::clause::{ViewSpec, view_spec};
use super::expected::Row;

/// Sources of a history.
pub const SOURCES: usize = 4;
/// Of a hundred views, those that are also read over the wire.
const BY_WIRE: u32 = 1;
/// Keys of one round, without NULL.
const KEYS: i64 = 3;
/// Event times of a round, in milliseconds, and where its watermark begins.
const TIMES: std::ops::Range<i64> = -20..60;
pub const FIRST_WATERMARK: i64 = -25;

/// What happens to the server around an epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    None,
    /// What was on disk before the epoch is all there is.
    Crash,
    /// What was on disk at some moment of the epoch, after so many microseconds.
    CrashWithin(u64),
    Restart(usize),
}

/// What one source gets in an epoch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Feed {
    pub rows: Vec<Row>,
    pub watermark_step_ms: i64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Epoch {
    pub feeds: Vec<Feed>,
    pub clock_step_ms: i64,
    pub fault: Fault,
    pub ends_round: bool,
}

/// A view, the epoch before which it is made, and its source.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    pub at: usize,
    pub source: usize,
    /// It is also read with SELECT and SUBSCRIBE.
    pub by_wire: bool,
    pub spec: ViewSpec,
}

#[derive(Clone, Debug, PartialEq)]
pub struct History {
    pub workers: usize,
    pub views: Vec<Planned>,
    pub epochs: Vec<Epoch>,
}

pub fn history(views_max: usize) -> impl Strategy<Value = History> {
    let row = (prop::option::weighted(0.9, 0..KEYS), prop::option::weighted(0.9, 0..9i64));
    let row = (row, prop::option::weighted(0.95, TIMES)).prop_map(|((k, v), t)| Row { k, v, t });
    let fault = prop_oneof![
        60 => Just(Fault::None),
        1 => Just(Fault::Crash),
        1 => (0u64..4_000).prop_map(Fault::CrashWithin),
        1 => (1usize..4).prop_map(Fault::Restart),
    ];
    let step = prop_oneof![2 => Just(0i64), 3 => 1..5i64, 1 => 5..25i64];
    let feed = (prop::collection::vec(row, 0..6), step)
        .prop_map(|(rows, watermark_step_ms)| Feed { rows, watermark_step_ms });
    let epoch = (prop::collection::vec(feed, SOURCES), 0..4i64, fault)
        .prop_map(|(feeds, clock_step_ms, fault)| Epoch { feeds, clock_step_ms, fault, ends_round: false });
    let round = prop::collection::vec(epoch, 1..9);
    let at = prop_oneof![3 => Just(0usize), 1 => 1..9usize];
    let by_wire = (0u32..100).prop_map(|n| n < BY_WIRE);
    let view = (at, 0..SOURCES, by_wire, view_spec());
    let view = view.prop_map(|(at, source, by_wire, spec)| Planned { at, source, by_wire, spec });
    let workers = prop_oneof![3 => Just(1usize), 3 => Just(2usize), 1 => Just(3usize)];
    (workers, prop::collection::vec(view, views_max / 2..=views_max), prop::collection::vec(round, 4..9))
        .prop_map(|(workers, views, rounds)| History { workers, views, epochs: one_after_another(rounds) })
}

/// Gives each round its keys and times.
fn one_after_another(rounds: Vec<Vec<Epoch>>) -> Vec<Epoch> {
    let mut passed = [0; SOURCES];
    let mut epochs = Vec::new();
    for (n, mut round) in (0..).zip(rounds) {
        let begins = passed;
        for epoch in &mut round {
            for (source, feed) in epoch.feeds.iter_mut().enumerate() {
                for row in &mut feed.rows {
                    row.k = row.k.map(|k| k + n * KEYS);
                    row.t = row.t.map(|t| t + begins[source]);
                }
                passed[source] += feed.watermark_step_ms;
            }
        }
        round.iter_mut().last().iter_mut().for_each(|last| last.ends_round = true);
        epochs.append(&mut round);
    }
    epochs
}

impl History {
    /// Histories that are smaller by one thing, the largest parts first.
    pub fn smaller(&self) -> Vec<History> {
        let mut found = Vec::new();
        let mut offer = |change: &dyn Fn(&mut History)| {
            let mut smaller = self.clone();
            change(&mut smaller);
            if smaller != *self {
                found.push(smaller);
            }
        };
        let (views, epochs) = (self.views.len(), self.epochs.len());
        if views > 1 {
            offer(&|h| h.views.truncate(views / 2));
            offer(&|h| drop(h.views.drain(..views / 2)));
        }
        if epochs > 1 {
            offer(&|h| h.epochs.truncate(epochs / 2));
            offer(&|h| drop(h.epochs.drain(..epochs / 2)));
            for i in (0..epochs).rev() {
                offer(&|h| drop(h.epochs.remove(i)));
            }
        }
        if (2..9).contains(&views) {
            (0..views).for_each(|i| offer(&|h| drop(h.views.remove(i))));
        }
        offer(&|h| h.workers = 1);
        for source in (0..SOURCES).filter(|s| self.views.iter().all(|v| v.source != *s)) {
            offer(&|h| h.epochs.iter_mut().for_each(|e| e.feeds[source] = Feed::default()));
        }
        for (i, epoch) in self.epochs.iter().enumerate() {
            offer(&|h| h.epochs[i].fault = Fault::None);
            offer(&|h| h.epochs[i].clock_step_ms = 0);
            for (s, feed) in epoch.feeds.iter().enumerate() {
                offer(&|h| h.epochs[i].feeds[s].watermark_step_ms = 0);
                offer(&|h| h.epochs[i].feeds[s].rows.clear());
                for r in 0..feed.rows.len() {
                    offer(&|h| {
                        h.epochs[i].feeds[s].rows.remove(r);
                    });
                }
            }
        }
        for (i, view) in self.views.iter().enumerate() {
            offer(&|h| h.views[i].at = 0);
            for spec in smaller_specs(&view.spec) {
                offer(&|h| h.views[i].spec = spec.clone());
            }
        }
        found
    }
}

fn smaller_specs(spec: &ViewSpec) -> Vec<ViewSpec> {
    let mut found = Vec::new();
    let mut with = |change: &dyn Fn(&mut ViewSpec)| {
        let mut smaller = spec.clone();
        change(&mut smaller);
        found.push(smaller);
    };
    with(&|s| s.emit.closing = Closing::IfNotEmpty);
    match &spec.emit.policy {
        EmitPolicy::When(trigger) => {
            for part in parts(trigger) {
                with(&|s| s.emit.policy = EmitPolicy::When(part.clone()));
            }
        }
        EmitPolicy::Phases { early, late, .. } => {
            for part in early.iter().flat_map(parts) {
                with(&|s| {
                    if let EmitPolicy::Phases { early, .. } = &mut s.emit.policy {
                        *early = Some(part.clone());
                    }
                });
            }
            for part in late.iter().flat_map(parts) {
                with(&|s| {
                    if let EmitPolicy::Phases { late, .. } = &mut s.emit.policy {
                        *late = Some(part.clone());
                    }
                });
            }
        }
        EmitPolicy::Changes | EmitPolicy::Final => {}
    }
    found
}

fn parts(trigger: &TriggerSpec) -> Vec<TriggerSpec> {
    match trigger {
        TriggerSpec::Or(a, b)
        | TriggerSpec::And(a, b)
        | TriggerSpec::Then(a, b)
        | TriggerSpec::Until(a, b) => vec![(**a).clone(), (**b).clone()],
        TriggerSpec::Repeatedly(a) => vec![(**a).clone()],
        _ => vec![],
    }
}
