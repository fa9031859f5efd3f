//! The three kinds of time, as three types that do not convert into each other.
//!
//! `EventTime` is when something happened according to the data; watermarks are event
//! times. `ProcTime` is what the server's clock says; it reaches operators only inside an
//! `EpochContext`. `Epoch` numbers the published states of the database, without gaps.

/// Microseconds after 1970-01-01 UTC, PostgreSQL's resolution.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EventTime(pub i64);

impl EventTime {
    /// No watermark yet: nothing is known to be complete.
    pub const MIN: EventTime = EventTime(i64::MIN);
    /// End of input: everything is complete.
    pub const MAX: EventTime = EventTime(i64::MAX);
}

/// Microseconds after 1970-01-01 UTC, of the server's (or the manual) clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProcTime(pub i64);

impl ProcTime {
    pub const MIN: ProcTime = ProcTime(i64::MIN);
}

/// One published state of all views and tables. Epoch 0 is the empty database.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Epoch(pub u64);

impl Epoch {
    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}
