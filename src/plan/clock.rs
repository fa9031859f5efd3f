//! Which watermark an event time follows.
//!
//! A column's clock promises: a row of epoch E has a time that is not less than W(E−1). A join
//! holds rows of one side until the other side's watermark has passed them, so the times in its
//! output follow both sides, behind by as much as a row may be held.

use super::*;
use crate::types::EventTime;

/// A watermark: the minimum over inputs that are not idle, less a distance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// Plan inputs, ascending.
    pub inputs: Vec<usize>,
    /// Plan inputs that go on for these while all of these are idle, ascending.
    pub beside: Vec<usize>,
    pub behind_us: i64,
}

impl Clock {
    /// The later of two: complete when both are.
    pub fn and(&self, other: &Clock) -> Clock {
        let mut inputs: Vec<usize> = self.inputs.iter().chain(&other.inputs).copied().collect();
        inputs.sort_unstable();
        inputs.dedup();
        Clock { inputs, beside: Vec::new(), behind_us: self.behind_us.max(other.behind_us) }
    }

    /// The same, so much further behind.
    pub fn behind(&self, by_us: i64) -> Clock {
        Clock { behind_us: self.behind_us.saturating_add(by_us.max(0)), ..self.clone() }
    }

    /// The same, except that others go on for it while it is idle.
    pub fn beside(&self, other: &Clock) -> Clock {
        Clock { beside: self.and(other).inputs, ..self.clone() }
    }

    /// What the clock shows when its inputs are at `watermark`.
    pub fn reads(&self, watermark: EventTime) -> EventTime {
        match watermark {
            EventTime::MAX => EventTime::MAX,
            EventTime(us) => EventTime(us.saturating_sub(self.behind_us)),
        }
    }
}

impl From<Vec<usize>> for Clock {
    fn from(inputs: Vec<usize>) -> Clock {
        Clock { inputs, ..Clock::default() }
    }
}

impl ColumnFact {
    /// The watermark that the column follows.
    pub fn clock(&self) -> Option<&Clock> {
        match self {
            ColumnFact::EventTime { clock } => Some(clock),
            ColumnFact::WindowStart { time, .. } | ColumnFact::WindowEnd { time } => time.clock(),
            _ => None,
        }
    }

    /// The same column following another watermark.
    pub(super) fn following(&self, clock: impl Fn(&Clock) -> Clock) -> ColumnFact {
        let mut fact = self.clone();
        match &mut fact {
            ColumnFact::EventTime { clock: own }
            | ColumnFact::WindowStart { time: WindowTime::Event { clock: own }, .. }
            | ColumnFact::WindowEnd { time: WindowTime::Event { clock: own } } => *own = clock(own),
            _ => {}
        }
        fact
    }
}

impl WindowTime {
    pub fn clock(&self) -> Option<&Clock> {
        match self {
            WindowTime::Event { clock } => Some(clock),
            WindowTime::Processing | WindowTime::Unbounded => None,
        }
    }
}

impl StreamOp {
    /// The watermarks by which the operator shows, forgets or refuses rows.
    pub fn clocks(&self) -> Vec<&Clock> {
        let time = match self {
            StreamOp::SessionAssign(s) => Some(&s.time),
            StreamOp::Retain { time, .. } => Some(time),
            StreamOp::Aggregate(a) | StreamOp::LocalAggregate(a) => a.window.as_ref().map(|w| w.time()),
            StreamOp::TopN(t) => t.window.as_ref().map(|w| &w.time),
            StreamOp::Over(o) => match (&o.window, &o.time) {
                (None, Some(time)) => return vec![&time.clock],
                (window, _) => window.as_ref().map(|w| &w.time),
            },
            StreamOp::Join(j) => return j.clocks(),
            _ => None,
        };
        time.and_then(WindowTime::clock).into_iter().collect()
    }
}

impl JoinNode {
    fn clocks(&self) -> Vec<&Clock> {
        let window = self.window.as_ref().and_then(|w| w.time.clock());
        let interval = self.interval.as_ref().map(|i| &i.clocks);
        let versions = match &self.temporal {
            Some(Temporal::AsOf { clocks, .. }) => Some(clocks),
            _ => None,
        };
        window.into_iter().chain(interval.into_iter().chain(versions).flatten()).collect()
    }
}

impl StreamPlan {
    /// Whether watermarks alone can change what the view holds or shows.
    pub fn follows_watermarks(&self) -> bool {
        self.nodes.iter().any(|n| !n.op.clocks().is_empty())
    }

    /// Every watermark that is followed in the plan.
    pub fn clocks(&self) -> impl Iterator<Item = &Clock> {
        let facts = self.nodes.iter().flat_map(|n| &n.facts.columns).filter_map(ColumnFact::clock);
        self.nodes.iter().flat_map(|n| n.op.clocks()).chain(facts)
    }
}
