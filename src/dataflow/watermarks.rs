//! The watermarks of one epoch as a dataflow sees them.
//!
//! One per input, and one for every set of inputs that an operator of the plan follows. The
//! engine makes the sets: an input that is idle is left out of them, and they never fall, so
//! a set may be ahead of the smallest of its inputs. A set nobody announced is the smallest
//! of its inputs.

use crate::types::EventTime;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watermarks {
    inputs: Vec<EventTime>,
    sets: Vec<(Vec<usize>, EventTime)>,
    is_held: bool,
}

impl Watermarks {
    /// `inputs` in the order of `DataflowSpec::inputs`; `sets` as the plan names them.
    pub fn new(inputs: Vec<EventTime>, sets: Vec<(Vec<usize>, EventTime)>) -> Watermarks {
        Watermarks { inputs, sets, is_held: false }
    }

    /// Nothing is known yet, or all is held back while a view is filled.
    pub fn held(inputs: usize) -> Watermarks {
        Watermarks { inputs: vec![EventTime::MIN; inputs], sets: Vec::new(), is_held: true }
    }

    pub fn is_held(&self) -> bool {
        self.is_held
    }

    /// The watermark of an operator that follows these inputs; `MAX` if there are none.
    pub fn of(&self, inputs: &[usize]) -> EventTime {
        match self.sets.iter().find(|(set, _)| set == inputs) {
            Some((_, watermark)) => *watermark,
            None => inputs.iter().map(|i| self.inputs[*i]).min().unwrap_or(EventTime::MAX),
        }
    }
}

impl From<Vec<EventTime>> for Watermarks {
    fn from(inputs: Vec<EventTime>) -> Watermarks {
        Watermarks { inputs, sets: Vec::new(), is_held: false }
    }
}
