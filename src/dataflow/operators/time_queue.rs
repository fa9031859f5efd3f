//! Things by time, as an ordered queue: added in runs, taken in order, never scanned.
//!
//! A run is what one batch brought, sorted once. As many small runs cost more than what they hold,
//! runs of similar sizes are merged, so there are few, as in a log-structured tree; each thing is
//! moved a number of times that grows with the logarithm of their number. What was taken is cut off
//! when half of a run is gone. Invariant: no run is empty.

pub struct TimeQueue<T> {
    /// Longest first. A run is in descending order, so that the earliest element is the last.
    runs: Vec<Run<T>>,
    len: usize,
}

/// Times apart from things, so that there is no room between.
struct Run<T> {
    times: Vec<i64>,
    things: Vec<T>,
}

impl<T> Default for TimeQueue<T> {
    fn default() -> Self {
        TimeQueue { runs: Vec::new(), len: 0 }
    }
}

impl<T: Ord + Copy> Run<T> {
    fn of(sorted: &[(i64, T)]) -> Run<T> {
        Run {
            times: sorted.iter().map(|(time, _)| *time).collect(),
            things: sorted.iter().map(|(_, thing)| *thing).collect(),
        }
    }

    fn len(&self) -> usize {
        self.times.len()
    }

    fn last(&self) -> Option<(i64, T)> {
        Some((*self.times.last()?, *self.things.last()?))
    }

    fn pop(&mut self) -> Option<(i64, T)> {
        Some((self.times.pop()?, self.things.pop()?))
    }

    /// Both in one run.
    fn merged(mut self, mut other: Run<T>) -> Run<T> {
        let length = self.len() + other.len();
        let mut both = Run { times: Vec::with_capacity(length), things: Vec::with_capacity(length) };
        while let Some((time, thing)) = if self.last() <= other.last() && self.len() > 0 || other.len() == 0 {
            self.pop()
        } else {
            other.pop()
        } {
            both.times.push(time);
            both.things.push(thing);
        }
        both.times.reverse();
        both.things.reverse();
        both
    }

    /// Gives back the room of what was taken, once it is as much as what is left.
    fn trim(&mut self) {
        if self.times.capacity() > 2 * self.times.len() + 16 {
            self.times.shrink_to_fit();
            self.things.shrink_to_fit();
        }
    }
}

impl<T: Ord + Copy> TimeQueue<T> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn add(&mut self, mut run: Vec<(i64, T)>) {
        if run.is_empty() {
            return;
        }
        run.sort_unstable_by(|a, b| b.cmp(a));
        self.len += run.len();
        let mut run = Run::of(&run);
        // Each run is at least twice as long as the next.
        while let Some(last) = self.runs.pop_if(|last| last.len() < 2 * run.len()) {
            run = last.merged(run);
        }
        self.runs.push(run);
    }

    /// The earliest time.
    pub fn first(&self) -> Option<i64> {
        self.runs.iter().filter_map(|run| run.times.last().copied()).min()
    }

    /// Takes what has a time less than `limit`, in order.
    pub fn take_before(&mut self, limit: i64) -> Vec<(i64, T)> {
        limit.checked_sub(1).map_or_else(Vec::new, |last| self.take_until(last))
    }

    /// Takes what has this time or an earlier one, in order.
    pub fn take_until(&mut self, last: i64) -> Vec<(i64, T)> {
        let mut taken = Vec::new();
        for run in &mut self.runs {
            let before = taken.len();
            while run.times.last().is_some_and(|time| *time <= last) {
                taken.extend(run.pop());
            }
            if taken.len() > before {
                run.trim();
            }
        }
        if taken.is_empty() {
            return taken;
        }
        self.runs.retain(|run| run.len() > 0);
        self.runs.sort_by_key(|run| std::cmp::Reverse(run.len()));
        self.len -= taken.len();
        taken.sort_unstable();
        taken
    }

    /// What is there, in no order.
    #[cfg(test)]
    fn iter(&self) -> impl Iterator<Item = (i64, T)> + '_ {
        self.runs.iter().flat_map(|run| run.times.iter().copied().zip(run.things.iter().copied()))
    }

    pub fn bytes(&self) -> usize {
        let run =
            |run: &Run<T>| run.times.capacity() * size_of::<i64>() + run.things.capacity() * size_of::<T>();
        self.runs.iter().map(run).sum::<usize>() + self.runs.capacity() * size_of::<Run<T>>()
    }
}

#[cfg(test)]
mod tests;
