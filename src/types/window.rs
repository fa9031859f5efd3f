//! TUMBLE and HOP: which windows of fixed size a time belongs to.
//!
//! Windows start at multiples of `slide` after the Unix epoch plus `offset` and are half
//! open, `[start, end)`, in microseconds, before 1970 too. A slice is the widest span whose
//! times all belong to the same windows.

use crate::error::{HwError, Result, sqlstate};

/// `window_time` is this much before the end: the last millisecond of the window.
const WINDOW_TIME_BEFORE_END_US: i64 = 1_000;

/// The windows of a TUMBLE (`slide == size`) or HOP, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    slide_us: i64,
    size_us: i64,
    offset_us: i64,
    slice_us: i64,
}

impl Windows {
    /// 22023 unless `0 < slide <= size`.
    pub fn new(slide_us: i64, size_us: i64, offset_us: i64) -> Result<Windows> {
        if slide_us <= 0 || slide_us > size_us {
            return Err(HwError::new(
                sqlstate::INVALID_PARAMETER_VALUE,
                "the slide of a window must be positive and not greater than its size",
            ));
        }
        let (mut a, mut b) = (slide_us, size_us);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        Ok(Windows { slide_us, size_us, offset_us: offset_us.rem_euclid(slide_us), slice_us: a })
    }

    pub fn is_tumble(&self) -> bool {
        self.slide_us == self.size_us
    }

    pub fn slide_us(&self) -> i64 {
        self.slide_us
    }

    pub fn size_us(&self) -> i64 {
        self.size_us
    }

    /// Width of the slices: all times of one slice belong to the same windows.
    pub fn slice_us(&self) -> i64 {
        self.slice_us
    }

    /// Start of the slice that holds `time`.
    pub fn slice_of(&self, time: i64) -> i64 {
        floor_to(time, self.slice_us, self.offset_us)
    }

    /// Start of the last window that holds `time`.
    pub fn last_start(&self, time: i64) -> i64 {
        floor_to(time, self.slide_us, self.offset_us)
    }

    /// Ends of the windows that hold `time`, latest first.
    pub fn ends(&self, time: i64) -> impl Iterator<Item = i64> + use<> {
        let (size, slide) = (self.size_us, self.slide_us);
        std::iter::successors(Some(self.last_start(time).saturating_add(size)), move |end| {
            end.checked_sub(slide)
        })
        .take_while(move |end| *end > time)
    }

    /// End of the earliest window that holds `time`.
    pub fn first_end(&self, time: i64) -> i64 {
        let past = self.last_start(time).saturating_add(self.size_us).saturating_sub(time);
        time.saturating_add((past - 1).rem_euclid(self.slide_us) + 1)
    }
}

fn floor_to(time: i64, width: i64, offset: i64) -> i64 {
    let past = time.wrapping_sub(offset).rem_euclid(width);
    time.saturating_sub(past)
}

/// Times before `window_end` that stand for the window: `window_time`.
pub fn window_time(end: i64) -> i64 {
    end.saturating_sub(WINDOW_TIME_BEFORE_END_US)
}
