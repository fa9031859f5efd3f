//! The watermarks of one epoch as a dataflow sees them.
//!
//! One per input, and one for every clock of the plan that follows several. The engine reads
//! these: an input that is idle is left out of them, and they never fall, so a clock may be
//! ahead of the smallest of its inputs. One that nobody announced is the smallest of its inputs.

use crate::plan::Clock;
use crate::types::EventTime;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watermarks {
    inputs: Vec<EventTime>,
    clocks: Vec<(Clock, EventTime)>,
    is_held: bool,
}

impl Watermarks {
    /// `inputs` in the order of `DataflowSpec::inputs`; `clocks` as the plan names them, not
    /// behind, with the watermarks of their inputs.
    pub fn new(inputs: Vec<EventTime>, clocks: Vec<(Clock, EventTime)>) -> Watermarks {
        Watermarks { inputs, clocks, is_held: false }
    }

    /// Nothing is known yet, or all is held back while a view is filled.
    pub fn held(inputs: usize) -> Watermarks {
        Watermarks { inputs: vec![EventTime::MIN; inputs], clocks: Vec::new(), is_held: true }
    }

    pub fn is_held(&self) -> bool {
        self.is_held
    }

    /// What a clock shows; `MAX` if it follows nothing.
    pub fn of(&self, clock: &Clock) -> EventTime {
        let announced =
            self.clocks.iter().find(|(c, _)| c.inputs == clock.inputs && c.beside == clock.beside);
        clock.reads(match announced {
            Some((_, watermark)) => *watermark,
            None => clock.inputs.iter().map(|i| self.inputs[*i]).min().unwrap_or(EventTime::MAX),
        })
    }
}

impl From<Vec<EventTime>> for Watermarks {
    fn from(inputs: Vec<EventTime>) -> Watermarks {
        Watermarks { inputs, clocks: Vec::new(), is_held: false }
    }
}
