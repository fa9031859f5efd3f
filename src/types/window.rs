//! TUMBLE, HOP and CUMULATE: which windows of a given size a time belongs to.
//!
//! Windows start at multiples of `slide` after the Unix epoch plus `offset` and are half
//! open, `[start, end)`, in microseconds, before 1970 too. CUMULATE's windows all start where
//! its widest one does, and end one `step` after another. A slice is the widest span whose
//! times all belong to the same windows. With a time zone, multiples are of the local clock:
//! see [`local`].

mod local;

use crate::error::{HwError, Result, sqlstate};
use crate::types::text::Zone;

/// `window_time` is this much before the end: the last millisecond of the window.
pub const WINDOW_TIME_BEFORE_END_US: i64 = 1_000;
/// Windows that one row may be in.
const WINDOWS_PER_ROW_MAX: i64 = 100_000;
/// The widest window that is aligned to a local clock.
const ZONED_SIZE_US_MAX: i64 = 400 * 86_400_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd)]
pub enum Shape {
    Tumble,
    Hop,
    Cumulate,
}

/// The windows of a TUMBLE, HOP or CUMULATE, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Windows {
    shape: Shape,
    /// The slide of HOP, the step of CUMULATE, the size of TUMBLE.
    slide_us: i64,
    size_us: i64,
    offset_us: i64,
    slice_us: i64,
    zone: Zone,
}

impl Windows {
    /// TUMBLE or HOP aligned to UTC. 22023 unless `0 < slide <= size`.
    pub fn new(slide_us: i64, size_us: i64, offset_us: i64) -> Result<Windows> {
        let shape = if slide_us == size_us { Shape::Tumble } else { Shape::Hop };
        Windows::of(shape, slide_us, size_us, offset_us, Zone::Utc)
    }

    /// Windows of any shape and zone; `slide_us` is the step of CUMULATE.
    ///
    /// Errors: 22023 for sizes that are not positive or do not fit together.
    pub fn of(shape: Shape, slide_us: i64, size_us: i64, offset_us: i64, zone: Zone) -> Result<Windows> {
        let wrong = |message: &str, hint: &str| {
            Err(HwError::new(sqlstate::INVALID_PARAMETER_VALUE, message).with_hint(hint))
        };
        if size_us <= 0 || slide_us <= 0 {
            let hint = "Write for example INTERVAL '10 seconds'.";
            return wrong("the size of a window must be positive", hint);
        }
        if shape == Shape::Hop && slide_us > size_us {
            let hint = "HOP(table, time, slide, size): the slide comes first and must not exceed the size, or rows would fall between windows.";
            return wrong("the slide of HOP is larger than its size", hint);
        }
        if shape == Shape::Cumulate && size_us % slide_us != 0 {
            let hint = "CUMULATE(table, time, step, size): the step comes first and the size must be a multiple of it.";
            return wrong("the size of CUMULATE is not a multiple of its step", hint);
        }
        if size_us / slide_us > WINDOWS_PER_ROW_MAX {
            let hint = "Use a longer slide or step, or a shorter size.";
            let text = format!("a row would be in more than {WINDOWS_PER_ROW_MAX} windows");
            return wrong(&text, hint);
        }
        if shape == Shape::Tumble && slide_us != size_us {
            return Err(HwError::internal("a tumbling window slides by its size"));
        }
        // A fixed zone is an offset.
        let (zone, offset_us) = match zone {
            Zone::Fixed(east) => (Zone::Utc, offset_us.saturating_sub(i64::from(east) * 1_000_000)),
            other => (other, offset_us),
        };
        if zone != Zone::Utc && size_us > ZONED_SIZE_US_MAX {
            let hint = "Leave out time_zone, or use a size of at most 400 days.";
            return wrong("the size of a window with a time zone is too large", hint);
        }
        let (mut a, mut b) = (slide_us, size_us);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        let period = if shape == Shape::Cumulate { size_us } else { slide_us };
        let offset_us = offset_us.rem_euclid(period);
        Ok(Windows { shape, slide_us, size_us, offset_us, slice_us: a, zone })
    }

    pub fn shape(&self) -> Shape {
        self.shape
    }

    pub fn is_tumble(&self) -> bool {
        self.shape == Shape::Tumble
    }

    pub fn slide_us(&self) -> i64 {
        self.slide_us
    }

    pub fn size_us(&self) -> i64 {
        self.size_us
    }

    pub fn offset_us(&self) -> i64 {
        self.offset_us
    }

    /// The zone whose clock aligns the windows, if it is not UTC.
    pub fn zone(&self) -> Option<Zone> {
        (self.zone != Zone::Utc).then_some(self.zone)
    }

    /// The length of every window, if they all have the same.
    pub fn fixed_size_us(&self) -> Option<i64> {
        (self.shape != Shape::Cumulate && self.zone == Zone::Utc).then_some(self.size_us)
    }

    /// Whether no two windows have the same end, so that the end stands for the window.
    pub fn end_is_unique(&self) -> bool {
        self.zone == Zone::Utc || self.shape != Shape::Hop
    }

    /// The slice that holds `time`; see [`Windows::end_is_unique`] for where slices can be used.
    pub fn slice(&self, time: i64) -> (i64, i64) {
        if self.zone == Zone::Utc {
            let start = floor_to(time, self.slice_us, self.offset_us);
            return (start, start.saturating_add(self.slice_us));
        }
        let (start, end) = self.local_span(time, self.slide_us);
        if self.shape != Shape::Cumulate {
            return (start, end);
        }
        let (first, last) = self.local_span(time, self.size_us);
        (start.max(first), end.min(last))
    }

    /// Width of the slices of windows aligned to UTC.
    pub fn slice_us(&self) -> i64 {
        self.slice_us
    }

    /// Start of the slice that holds `time`.
    pub fn slice_of(&self, time: i64) -> i64 {
        self.slice(time).0
    }

    /// Start of the last window that holds `time`.
    pub fn last_start(&self, time: i64) -> i64 {
        let width = if self.shape == Shape::Cumulate { self.size_us } else { self.slide_us };
        match self.zone {
            Zone::Utc => floor_to(time, width, self.offset_us),
            _ => self.local_span(time, width).0,
        }
    }

    /// The windows that hold `time`, as start and end, latest end first.
    pub fn windows(&self, time: i64) -> Spans {
        if self.zone != Zone::Utc {
            return Spans::Listed(self.local_windows(time).into_iter());
        }
        let start = self.last_start(time);
        let (slide, size) = (self.slide_us, self.size_us);
        let common_start = (self.shape == Shape::Cumulate).then_some(start);
        Spans::Even { end: Some(start.saturating_add(size)), slide, size, time, common_start }
    }

    /// Ends of the windows that hold `time`, latest first.
    pub fn ends(&self, time: i64) -> impl Iterator<Item = i64> + use<> {
        self.windows(time).map(|(_, end)| end)
    }

    /// Start of the window that ends at `end`; asked only where the end is unique.
    pub fn start_of(&self, end: i64) -> i64 {
        match self.fixed_size_us() {
            Some(size) => end.saturating_sub(size),
            None => self.last_start(end.saturating_sub(1)),
        }
    }

    /// End of the earliest window that holds `time`.
    pub fn first_end(&self, time: i64) -> i64 {
        match (self.zone, self.shape) {
            (Zone::Utc, Shape::Cumulate) => {
                floor_to(time, self.slide_us, self.offset_us).saturating_add(self.slide_us)
            }
            (Zone::Utc, _) => {
                let past = self.last_start(time).saturating_add(self.size_us).saturating_sub(time);
                time.saturating_add((past - 1).rem_euclid(self.slide_us) + 1)
            }
            _ => self.ends(time).last().unwrap_or(time),
        }
    }
}

/// Windows that hold a time, as `(start, end)`.
pub enum Spans {
    /// Ends at equal distances, down to `time`.
    Even {
        end: Option<i64>,
        slide: i64,
        size: i64,
        time: i64,
        common_start: Option<i64>,
    },
    Listed(std::vec::IntoIter<(i64, i64)>),
}

impl Iterator for Spans {
    type Item = (i64, i64);

    #[inline]
    fn next(&mut self) -> Option<(i64, i64)> {
        match self {
            Spans::Even { end, slide, size, time, common_start } => {
                let current = end.filter(|e| e > time)?;
                *end = current.checked_sub(*slide);
                Some((common_start.unwrap_or(current.saturating_sub(*size)), current))
            }
            Spans::Listed(list) => list.next(),
        }
    }
}

fn floor_to(time: i64, width: i64, offset: i64) -> i64 {
    let past = time.wrapping_sub(offset).rem_euclid(width);
    time.saturating_sub(past)
}

/// The time just before `window_end` that stands for the window: `window_time`.
pub fn window_time(end: i64) -> i64 {
    end.saturating_sub(WINDOW_TIME_BEFORE_END_US)
}

#[cfg(test)]
mod tests;
