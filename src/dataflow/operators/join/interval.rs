//! Joins whose rows match only within a bounded distance in event time.
//!
//! `l.ts BETWEEN r.ts + lower AND r.ts + upper` beside the keys, both inputs append-only with
//! a watermark. A left row is over when the right watermark has passed `l.ts − lower`, a
//! right row when the left one has passed `r.ts + upper`: no row that is on time can match it
//! any more. Rows that are over leave the state, by ordered queues of times; a row of a kept
//! side that never matched is shown then, and only then. So the output only grows.
//!
//! A row of epoch E older than its own side's watermark W(E−1) is late: it goes to the late
//! relation. What it could have matched may be gone. Where the times are bounds of windows, both
//! sides follow the earlier watermark, and a row is late when that has reached its window's end.

use arrow::array::{Array, ArrayRef, BooleanArray};

use super::keys::{Admission, Arrival};
use super::shape::Shape;
use super::side::{Leaving, Matches, Placement, Side};
use super::{JoinInterval, JoinKind, JoinSpec, OUTPUT_ROWS};
use crate::dataflow::operator::{EpochContext, Operator, StateSize};
use crate::dataflow::operators::late::{LateReason, Refusal};
use crate::dataflow::operators::time_queue::TimeQueue;
use crate::dataflow::operators::window_assign::timestamp_values;
use crate::error::{HwError, Result};
use crate::state::{Grow, RowId};
use crate::types::{ChangeBatch, EventTime, Weights};

/// Incremental interval join of one worker.
pub struct IntervalJoinOperator {
    name: String,
    kind: JoinKind,
    interval: JoinInterval,
    shape: Shape,
    admissions: [Admission; 2],
    sides: [Side; 2],
    /// Whether the row of a node has matched, by node.
    matched: [Vec<bool>; 2],
    queues: [TimeQueue<u32>; 2],
    /// W(E−1) of each side.
    watermarks: [EventTime; 2],
}

impl IntervalJoinOperator {
    pub fn new(spec: JoinSpec) -> Result<IntervalJoinOperator> {
        let (shape, admissions) = Shape::new(&spec)?;
        let Some(interval) = spec.interval else {
            return Err(HwError::internal("an interval join needs an interval"));
        };
        let side = |schema, admission: &Admission| Side::new(schema, admission.clone(), Leaving::ByNode);
        Ok(IntervalJoinOperator {
            name: spec.name,
            kind: spec.kind,
            interval,
            shape,
            sides: [side(&spec.left_schema, &admissions[0])?, side(&spec.right_schema, &admissions[1])?],
            admissions,
            matched: Default::default(),
            queues: Default::default(),
            watermarks: [EventTime::MIN; 2],
        })
    }

    /// Takes late rows away; rows without time match nothing.
    fn on_time(&self, side: usize, batch: ChangeBatch) -> Result<(ChangeBatch, Option<ChangeBatch>)> {
        let times = timestamp_values(&batch, self.interval.times[side])?.clone();
        let watermark = self.watermarks[side];
        let judge = self.interval.late.as_ref().filter(|_| watermark > EventTime::MIN);
        let limit = judge.map(|(late_us, _)| watermark.0.saturating_add(late_us[side]));
        let is_late = |row: usize| limit.is_some_and(|l| times.is_valid(row) && times.value(row) < l);
        let late: Vec<Refusal> = (0..batch.len())
            .filter(|row| is_late(*row))
            .map(|row| Refusal { row: row as u32, window_start: None, window_end: None })
            .collect();
        if late.is_empty() && times.null_count() == 0 {
            return Ok((batch, None));
        }
        let weight = |row: usize| batch.weights.get(row);
        if let Some((_, relation)) = judge.filter(|_| !late.is_empty()) {
            relation.record(&batch.rows, &late, weight, LateReason::WindowClosed, watermark)?;
        }
        let mask = |keep: &dyn Fn(usize) -> bool| -> BooleanArray {
            (0..batch.len()).map(|row| Some(keep(row))).collect()
        };
        let timed = batch.filter(&mask(&|row| times.is_valid(row) && !is_late(row)))?;
        let timeless = batch.filter(&mask(&|row| times.is_null(row)))?;
        Ok((timed, Some(timeless)))
    }

    /// Rows that match nothing, as is known at once.
    fn show_loose(&self, side: usize, rows: Option<ChangeBatch>, out: &mut Vec<ChangeBatch>) -> Result<()> {
        let (Some(loose), true) = (rows, self.kind.keeps(side)) else { return Ok(()) };
        let columns = loose.rows.project(&self.admissions[side].columns)?.columns().to_vec();
        let rows = loose.len();
        out.extend(self.shape.alone(self.kind, side, &columns, loose.weights, false, rows)?);
        Ok(())
    }

    /// Pairs of arrived rows and stored rows: shows those that satisfy the condition.
    fn emit(
        &mut self,
        side: usize,
        arrival: &Arrival,
        placed: &Placement,
        found: &mut Found,
        out: &mut Vec<ChangeBatch>,
    ) -> Result<()> {
        if found.nodes.is_empty() {
            return Ok(());
        }
        let stored = self.sides[1 - side].gather(&found.matches.ids)?;
        let pairs = self.shape.pairs(side, &arrival.rows.rows, &found.matches, stored)?;
        let satisfied = self.shape.satisfied(&pairs)?;
        let mut first: [Vec<u32>; 2] = Default::default();
        for (pair, other) in found.nodes.iter().enumerate() {
            if satisfied.is_valid(pair) && satisfied.value(pair) {
                let own = placed.nodes[found.matches.rows[pair] as usize];
                for (side, node) in [(side, own), (1 - side, *other)] {
                    if !std::mem::replace(&mut self.matched[side][node as usize], true) {
                        first[side].push(node);
                    }
                }
            }
        }
        if self.kind.makes_pairs() {
            let pairs = self.shape.project(pairs.filter(&satisfied)?)?;
            out.extend((!pairs.is_empty()).then_some(pairs));
        } else {
            self.show(0, &first[0], true, out)?;
        }
        found.matches.clear();
        found.nodes.clear();
        Ok(())
    }

    fn show(&self, side: usize, nodes: &[u32], matched: bool, out: &mut Vec<ChangeBatch>) -> Result<()> {
        for nodes in nodes.chunks(OUTPUT_ROWS) {
            let (ids, weights): (Vec<RowId>, Vec<i64>) =
                nodes.iter().map(|node| self.sides[side].row(*node)).unzip();
            let columns: Vec<ArrayRef> = self.sides[side].gather(&ids)?;
            let weights = match weights.iter().all(|w| *w == 1) {
                true => Weights::One,
                false => Weights::Each(weights.into()),
            };
            out.extend(self.shape.alone(self.kind, side, &columns, weights, matched, nodes.len())?);
        }
        Ok(())
    }

    /// Forgets rows that are over; shows those that never matched.
    fn expire(&mut self, side: usize, out: &mut Vec<ChangeBatch>) -> Result<()> {
        let limit = match self.watermarks[1 - side] {
            EventTime::MIN => i64::MIN,
            EventTime(us) => us.saturating_add(self.interval.limits_us[side]),
        };
        let over = self.queues[side].take_before(limit).into_iter().map(|(_, node)| node);
        let over: Vec<u32> = over.collect();
        if self.kind.keeps(side) {
            let alone: Vec<u32> =
                over.iter().copied().filter(|node| !self.matched[side][*node as usize]).collect();
            self.show(side, &alone, false, out)?;
        }
        over.into_iter().for_each(|node| self.sides[side].unlink(node));
        self.sides[side].compact()
    }
}

/// Pairs that were found and not looked at.
#[derive(Default)]
struct Found {
    matches: Matches,
    nodes: Vec<u32>,
}

impl Operator for IntervalJoinOperator {
    fn name(&self) -> &str {
        &self.name
    }

    fn push(&mut self, side: usize, batch: ChangeBatch, out: &mut Vec<ChangeBatch>) -> Result<()> {
        let (batch, timeless) = self.on_time(side, batch)?;
        self.show_loose(side, timeless, out)?;
        let (keyed, loose) = self.admissions[side].split(batch)?;
        self.show_loose(side, loose, out)?;
        let Some(arrival) = self.admissions[side].admit(&keyed)? else { return Ok(()) };
        let times = timestamp_values(&keyed, self.interval.times[side])?.values().clone();
        let mut placed = Placement::default();
        self.sides[side].place(&arrival, Some(&mut placed))?;
        self.matched[side].grow(self.sides[side].nodes_end(), false);
        placed.nodes.iter().for_each(|node| self.matched[side][*node as usize] = false);
        self.queues[side].add(times.iter().copied().zip(placed.nodes.iter().copied()).collect());
        let mut found = Found::default();
        for (row, key) in arrival.key_prints.iter().enumerate() {
            let weight = arrival.rows.weights.get(row);
            let mut cursor = self.sides[1 - side].first(*key);
            while let Some(node) = cursor {
                found.nodes.push(node);
                cursor = self.sides[1 - side].push_match(node, row, weight, &mut found.matches);
                if found.nodes.len() >= OUTPUT_ROWS {
                    self.emit(side, &arrival, &placed, &mut found, out)?;
                }
            }
        }
        self.emit(side, &arrival, &placed, &mut found, out)
    }

    fn finish_epoch(&mut self, cx: &EpochContext, out: &mut Vec<ChangeBatch>) -> Result<()> {
        for side in [0, 1] {
            let reached = cx.watermark(&self.interval.clocks[side]);
            self.watermarks[side] = self.watermarks[side].max(reached);
        }
        self.shape.end_epoch();
        self.expire(0, out)?;
        self.expire(1, out)
    }

    fn state_size(&self) -> StateSize {
        let queued: usize = self.queues.iter().map(TimeQueue::bytes).sum();
        let matched: usize = self.matched.iter().map(Vec::capacity).sum();
        StateSize {
            entries: self.sides.iter().map(Side::len).sum(),
            bytes: self.sides.iter().map(Side::bytes).sum::<usize>() + queued + matched,
        }
    }
}

#[cfg(test)]
mod tests;
