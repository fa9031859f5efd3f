//! The only door to the wall clock.
//!
//! A server runs on the system clock or, with `--manual-clock`, on one that moves only by
//! `ADVANCE CLOCK`. Time read here becomes `now` of a cut; operators never see a clock.
//! Invariant: `now()` never goes back, whatever the machine's clock does.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::types::ProcTime;

/// Source of processing time.
#[derive(Debug)]
pub struct Clock {
    manual: bool,
    /// Microseconds after the Unix epoch: the manual clock's time, or the largest time told.
    last: AtomicI64,
}

impl Clock {
    pub fn system() -> Clock {
        Clock { manual: false, last: AtomicI64::new(0) }
    }

    /// Starts at 1970-01-01 UTC and stands still.
    pub fn manual() -> Clock {
        Clock { manual: true, last: AtomicI64::new(0) }
    }

    pub fn is_manual(&self) -> bool {
        self.manual
    }

    pub fn now(&self) -> ProcTime {
        if self.manual {
            return ProcTime(self.last.load(Ordering::SeqCst));
        }
        let wall = wall_micros();
        let before = self.last.fetch_max(wall, Ordering::SeqCst);
        ProcTime(before.max(wall))
    }

    /// Moves a manual clock forward to `to`; an earlier `to` is refused with the present time.
    pub fn advance_to(&self, to: ProcTime) -> Result<(), ProcTime> {
        let before = self.last.fetch_max(to.0, Ordering::SeqCst);
        if before > to.0 { Err(ProcTime(before)) } else { Ok(()) }
    }
}

/// Microseconds after the Unix epoch by the machine's clock, for logs and start times.
pub fn wall_micros() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as i64)
}

/// Monotonic time since an arbitrary start, for durations and timeouts.
pub fn monotonic() -> Instant {
    Instant::now()
}

/// Blocks this thread. Only edges (readers waiting to reconnect, tests) may call it.
pub fn sleep(duration: Duration) {
    std::thread::sleep(duration);
}
