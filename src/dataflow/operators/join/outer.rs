//! Joins that also tell which rows have no match: left and full outer, semi, anti, mark.
//!
//! A *kept* side is one whose rows are shown by whether they match: outer joins show the
//! unmatched ones with NULLs for the other side, a semi join the matched ones, an anti join
//! the unmatched ones, a mark join all of them with the answer in a column. Right joins are
//! planned as left joins.
//!
//! Without a residual condition a row is matched iff its key is held on the other side, so
//! only keys that appear or disappear flip rows. With one, every node of a kept side counts
//! its matches. Either way the answer is taken at the end of the epoch: a row with weights
//! w → w′ and answers m → m′ emits −w in the form of m and +w′ in that of m′. Everything is
//! consolidated with the pairs of the epoch, so a row is never seen without a match that
//! came together with it.
//!
//! NOT IN: with `null_aware`, NULL keys are keys of their own. No row is shown while the
//! right side holds a NULL; a row with a NULL key is shown only while it holds nothing.

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, new_null_array};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{
    BinaryExpr, Column, IsNotNullExpr, IsNullExpr, Literal, NotExpr,
};
use hashbrown::HashMap;
use std::sync::Arc;

use super::keys::{Arrival, KeyCounts, key_prints};
use super::shape::Shape;
use super::side::{Leaving, Matches, Placement, Side};
use super::window::WindowGate;
use super::{JoinKind, JoinSpec, OUTPUT_ROWS};
use crate::dataflow::operator::{EpochContext, Operator, StateSize};
use crate::error::{HwError, Result};
use crate::state::RowId;
use crate::types::hash::PrintHasher;
use crate::types::{ChangeBatch, Weights};

/// What is held of a side.
enum Held {
    Rows(Box<Side>),
    Keys(KeyCounts),
}

/// Matches of a node with the residual condition, now and at the start of the epoch.
#[derive(Default)]
struct NodeMatches {
    counts: Vec<i64>,
    /// Weight and matches at the start of the epoch of the nodes that changed.
    before: HashMap<u32, (i64, i64)>,
}

/// Rows of a kept side on their way out, by the answer they show.
#[derive(Default)]
struct Shown {
    ids: Vec<RowId>,
    weights: Vec<i64>,
}

/// Incremental outer, semi, anti or mark join of one worker.
pub struct OuterJoinOperator {
    name: String,
    kind: JoinKind,
    window: Option<WindowGate>,
    shape: Shape,
    admissions: [super::keys::Admission; 2],
    held: [Held; 2],
    /// Without a residual condition: rows of kept sides that came in this epoch.
    arrivals: [Vec<Arrival>; 2],
    /// Without a residual condition: whether keys that changed were held before.
    touched: [HashMap<u128, bool, PrintHasher>; 2],
    /// With a residual condition.
    matches: [NodeMatches; 2],
    /// Whether rows that are known must be paired too: for the pairs themselves, or to take
    /// back errors of the residual condition.
    pairs_always: bool,
    null_aware: Option<NullAware>,
    /// Output that waits for consolidation.
    pending: Vec<ChangeBatch>,
}

/// What NOT IN needs to know of the whole right side.
struct NullAware {
    null_key: u128,
    /// Rows on the right, now and at the start of the epoch.
    total: i64,
    total_before: i64,
}

impl OuterJoinOperator {
    pub fn new(spec: JoinSpec) -> Result<OuterJoinOperator> {
        let (shape, mut admissions) = Shape::new(&spec)?;
        let null_aware = match spec.kind {
            JoinKind::Anti { null_aware: true } => {
                admissions.iter_mut().for_each(|a| a.null_equal = true);
                let key = spec.left_schema.field(spec.left_keys[0]).data_type();
                let null_key = key_prints(&[new_null_array(key, 1)], 1)[0];
                Some(NullAware { null_key, total: 0, total_before: 0 })
            }
            _ => None,
        };
        let left = Box::new(Side::new(
            &spec.left_schema,
            admissions[0].clone(),
            Leaving::of(spec.left_append_only),
        )?);
        let right = match spec.kind.makes_pairs() || spec.residual.is_some() {
            true => Held::Rows(Box::new(Side::new(
                &spec.right_schema,
                admissions[1].clone(),
                Leaving::of(spec.right_append_only),
            )?)),
            false => Held::Keys(KeyCounts::default()),
        };
        Ok(OuterJoinOperator {
            window: WindowGate::new(&spec),
            name: spec.name,
            kind: spec.kind,
            shape,
            admissions,
            held: [Held::Rows(left), right],
            arrivals: Default::default(),
            touched: Default::default(),
            matches: Default::default(),
            pairs_always: spec.kind.makes_pairs() || spec.residual.as_ref().is_some_and(can_fail),
            null_aware,
            pending: Vec::new(),
        })
    }

    /// Shows or hides rows of side `side`, given by their stored columns.
    fn show(
        &mut self,
        side: usize,
        columns: Vec<ArrayRef>,
        weights: Weights,
        matched: bool,
        rows: usize,
    ) -> Result<()> {
        let shown = self.shape.alone(self.kind, side, &columns, weights, matched, rows)?;
        self.pending.extend(shown);
        Ok(())
    }

    fn show_stored(&mut self, side: usize, shown: Shown, matched: bool) -> Result<()> {
        for from in (0..shown.ids.len()).step_by(OUTPUT_ROWS) {
            let to = shown.ids.len().min(from + OUTPUT_ROWS);
            let columns = self.rows(side)?.gather(&shown.ids[from..to])?;
            let weights = Weights::Each(Int64Array::from(shown.weights[from..to].to_vec()));
            self.show(side, columns, weights, matched, to - from)?;
        }
        Ok(())
    }

    fn rows(&self, side: usize) -> Result<&Side> {
        match &self.held[side] {
            Held::Rows(rows) => Ok(rows),
            Held::Keys(_) => Err(HwError::internal("this side of the join holds no rows")),
        }
    }

    /// Whether rows with `key` on the other side match rows of side `side`.
    fn is_matched(&self, side: usize, key: u128, before: bool) -> bool {
        let held = |key: u128| {
            let touched = if before { self.touched[side].get(&key) } else { None };
            touched.copied().unwrap_or_else(|| match &self.held[side] {
                Held::Rows(rows) => rows.contains(key),
                Held::Keys(keys) => keys.contains(key),
            })
        };
        match &self.null_aware {
            None => held(key),
            Some(aware) if key == aware.null_key => {
                (if before { aware.total_before } else { aware.total }) != 0
            }
            Some(aware) => held(aware.null_key) || held(key),
        }
    }

    fn store_by_key(&mut self, side: usize, arrival: Arrival) -> Result<()> {
        let keeps_other = self.kind.keeps(1 - side);
        if keeps_other {
            for key in &arrival.key_prints {
                let held = match &self.held[side] {
                    Held::Rows(rows) => rows.contains(*key),
                    Held::Keys(keys) => keys.contains(*key),
                };
                self.touched[side].entry(*key).or_insert(held);
            }
        }
        if let (1, Some(aware)) = (side, &mut self.null_aware) {
            aware.total += (0..arrival.rows.len()).map(|row| arrival.rows.weights.get(row)).sum::<i64>();
        }
        match &mut self.held[side] {
            Held::Keys(keys) => keys.store(&arrival),
            Held::Rows(rows) => {
                rows.place(&arrival, None)?;
                rows.unlink_emptied();
            }
        }
        if self.kind.keeps(side) {
            self.arrivals[side].push(arrival);
        }
        Ok(())
    }

    /// Pairs of the arrived rows with all that the other side holds, without a residual.
    fn pair_by_key(&mut self, side: usize, arrival: &Arrival) -> Result<()> {
        let mut matches = Matches::default();
        for row in 0..arrival.rows.len() {
            let weight = arrival.rows.weights.get(row);
            let mut cursor = self.rows(1 - side)?.first(arrival.key_prints[row]);
            while let Some(node) = cursor {
                cursor = self.rows(1 - side)?.push_match(node, row, weight, &mut matches);
                if matches.rows.len() >= OUTPUT_ROWS {
                    self.emit_pairs(side, arrival, &mut matches)?;
                }
            }
        }
        self.emit_pairs(side, arrival, &mut matches)
    }

    fn emit_pairs(&mut self, side: usize, arrival: &Arrival, matches: &mut Matches) -> Result<()> {
        if !matches.rows.is_empty() {
            let stored = self.rows(1 - side)?.gather(&matches.ids)?;
            let pairs = self.shape.pairs(side, &arrival.rows.rows, matches, stored)?;
            self.pending.push(self.shape.project(pairs)?);
            matches.clear();
        }
        Ok(())
    }

    /// Stores the rows and counts the pairs that satisfy the residual, on both sides.
    fn push_by_row(&mut self, side: usize, arrival: Arrival) -> Result<()> {
        let (keeps, keeps_other) = (self.kind.keeps(side), self.kind.keeps(1 - side));
        let mut placed = Placement::default();
        if let Held::Rows(rows) = &mut self.held[side] {
            rows.place(&arrival, Some(&mut placed))?;
            self.matches[side].counts.resize(rows.nodes_end(), 0);
        }
        if keeps {
            for ((node, fresh), before) in placed.nodes.iter().zip(&placed.fresh).zip(&placed.before) {
                let own = &mut self.matches[side];
                if *fresh {
                    own.counts[*node as usize] = 0;
                }
                own.before.entry(*node).or_insert((*before, own.counts[*node as usize]));
            }
        }
        let mut matches = Matches::default();
        let mut nodes = Vec::new();
        for row in 0..arrival.rows.len() {
            if !(self.pairs_always || keeps_other || placed.fresh[row]) {
                continue;
            }
            let weight = arrival.rows.weights.get(row);
            let mut cursor = self.rows(1 - side)?.first(arrival.key_prints[row]);
            while let Some(node) = cursor {
                nodes.push(node);
                cursor = self.rows(1 - side)?.push_match(node, row, weight, &mut matches);
                if nodes.len() >= OUTPUT_ROWS {
                    self.count_pairs(side, &arrival, &placed, &mut matches, &mut nodes)?;
                }
            }
        }
        self.count_pairs(side, &arrival, &placed, &mut matches, &mut nodes)
    }

    fn count_pairs(
        &mut self,
        side: usize,
        arrival: &Arrival,
        placed: &Placement,
        matches: &mut Matches,
        nodes: &mut Vec<u32>,
    ) -> Result<()> {
        if nodes.is_empty() {
            return Ok(());
        }
        let stored = self.rows(1 - side)?.gather(&matches.ids)?;
        let pairs = self.shape.pairs(side, &arrival.rows.rows, matches, stored)?;
        let satisfied = self.shape.satisfied(&pairs)?;
        for (pair, other) in nodes.iter().enumerate() {
            if !(satisfied.is_valid(pair) && satisfied.value(pair)) {
                continue;
            }
            let row = matches.rows[pair] as usize;
            let other_weight = self.rows(1 - side)?.row(*other).1;
            if self.kind.keeps(side) && placed.fresh[row] {
                self.matches[side].counts[placed.nodes[row] as usize] += other_weight;
            }
            if self.kind.keeps(1 - side) {
                let kept = &mut self.matches[1 - side];
                let count = &mut kept.counts[*other as usize];
                kept.before.entry(*other).or_insert((other_weight, *count));
                *count += arrival.rows.weights.get(row);
            }
        }
        if self.kind.makes_pairs() {
            self.pending.push(self.shape.project(pairs.filter(&satisfied)?)?);
        }
        matches.clear();
        nodes.clear();
        Ok(())
    }

    /// The epoch's changes of a kept side by key: arrived rows in the form of before, then
    /// all rows of keys whose answer flipped.
    fn finish_by_key(&mut self, side: usize) -> Result<()> {
        for arrival in std::mem::take(&mut self.arrivals[side]) {
            let matched: BooleanArray =
                arrival.key_prints.iter().map(|key| Some(self.is_matched(1 - side, *key, true))).collect();
            for answer in [true, false] {
                let mask = if answer { matched.clone() } else { arrow::compute::not(&matched)? };
                let rows = arrival.rows.filter(&mask)?;
                self.show(side, rows.rows.columns().to_vec(), rows.weights.clone(), answer, rows.len())?;
            }
        }
        let (mut now, mut gone) =
            ([Shown::default(), Shown::default()], [Shown::default(), Shown::default()]);
        for key in self.keys_to_check(side)? {
            let (before, after) =
                (self.is_matched(1 - side, key, true), self.is_matched(1 - side, key, false));
            if before == after {
                continue;
            }
            let rows = self.rows(side)?;
            for node in rows.chain(key) {
                let (id, weight) = rows.row(node);
                now[after as usize].add(id, weight);
                gone[before as usize].add(id, -weight);
            }
        }
        for (answer, (now, gone)) in now.into_iter().zip(gone).enumerate() {
            self.show_stored(side, now, answer == 1)?;
            self.show_stored(side, gone, answer == 1)?;
        }
        Ok(())
    }

    /// Keys of side `side` whose answer may have changed.
    fn keys_to_check(&self, side: usize) -> Result<Vec<u128>> {
        let mut keys: Vec<u128> = self.touched[1 - side].keys().copied().collect();
        if let Some(aware) = &self.null_aware {
            let null_before = self.touched[1 - side].get(&aware.null_key);
            if let (Some(before), Held::Keys(right)) = (null_before, &self.held[1 - side])
                && *before != right.contains(aware.null_key)
            {
                keys = self.rows(side)?.keys().collect();
            }
            if !keys.contains(&aware.null_key) {
                keys.push(aware.null_key);
            }
        }
        Ok(keys)
    }

    /// The epoch's changes of a kept side by row.
    fn finish_by_row(&mut self, side: usize) -> Result<()> {
        let mut shown = [Shown::default(), Shown::default()];
        let before = std::mem::take(&mut self.matches[side].before);
        for (node, (weight_before, count_before)) in before {
            let (id, weight) = self.rows(side)?.row(node);
            let (was, is) = (count_before != 0, self.matches[side].counts[node as usize] != 0);
            shown[was as usize].add(id, -weight_before);
            shown[is as usize].add(id, weight);
        }
        for (answer, shown) in shown.into_iter().enumerate() {
            self.show_stored(side, shown, answer == 1)?;
        }
        Ok(())
    }
}

/// Whether evaluating `expr` may raise an error.
fn can_fail(expr: &Arc<dyn PhysicalExpr>) -> bool {
    use datafusion::logical_expr::Operator as Op;
    let safe = if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        matches!(
            binary.op(),
            Op::Eq
                | Op::NotEq
                | Op::Lt
                | Op::LtEq
                | Op::Gt
                | Op::GtEq
                | Op::And
                | Op::Or
                | Op::IsDistinctFrom
                | Op::IsNotDistinctFrom
        )
    } else {
        expr.downcast_ref::<Column>().is_some()
            || expr.downcast_ref::<Literal>().is_some()
            || expr.downcast_ref::<NotExpr>().is_some()
            || expr.downcast_ref::<IsNullExpr>().is_some()
            || expr.downcast_ref::<IsNotNullExpr>().is_some()
    };
    !safe || expr.children().into_iter().any(can_fail)
}

impl Shown {
    fn add(&mut self, id: RowId, weight: i64) {
        if weight != 0 {
            self.ids.push(id);
            self.weights.push(weight);
        }
    }
}

impl Operator for OuterJoinOperator {
    fn name(&self) -> &str {
        &self.name
    }

    fn push(&mut self, input: usize, batch: ChangeBatch, _out: &mut Vec<ChangeBatch>) -> Result<()> {
        let batch = WindowGate::open(self.window.as_ref(), input, batch)?;
        let (keyed, loose) = self.admissions[input].split(batch)?;
        if let (Some(loose), true) = (loose, self.kind.keeps(input)) {
            let columns = loose.rows.project(&self.admissions[input].columns)?.columns().to_vec();
            let rows = loose.len();
            self.show(input, columns, loose.weights, false, rows)?;
        }
        let Some(arrival) = self.admissions[input].admit(&keyed)? else { return Ok(()) };
        if self.shape.residual.is_some() {
            return self.push_by_row(input, arrival);
        }
        if self.kind.makes_pairs() {
            self.pair_by_key(input, &arrival)?;
        }
        self.store_by_key(input, arrival)
    }

    fn finish_epoch(&mut self, cx: &EpochContext, out: &mut Vec<ChangeBatch>) -> Result<()> {
        for side in [0, 1] {
            if !self.kind.keeps(side) {
                continue;
            }
            match self.shape.residual {
                Some(_) => self.finish_by_row(side)?,
                None => self.finish_by_key(side)?,
            }
        }
        self.touched.iter_mut().for_each(HashMap::clear);
        if let Some(aware) = &mut self.null_aware {
            aware.total_before = aware.total;
        }
        self.shape.end_epoch();
        out.extend(self.shape.consolidated(&mut self.pending)?);
        let reached = self.window.as_mut().map(|w| w.advance(cx));
        for held in &mut self.held {
            match held {
                Held::Keys(keys) => reached.into_iter().for_each(|r| keys.expire(r)),
                Held::Rows(rows) => {
                    rows.unlink_emptied();
                    reached.into_iter().for_each(|r| rows.expire(r));
                    rows.compact()?;
                }
            }
        }
        Ok(())
    }

    fn state_size(&self) -> StateSize {
        let mut size = StateSize::default();
        for held in &self.held {
            let (entries, bytes) = match held {
                Held::Rows(rows) => (rows.len(), rows.bytes()),
                Held::Keys(keys) => (keys.len(), keys.bytes()),
            };
            size.entries += entries;
            size.bytes += bytes;
        }
        size.bytes += self.matches.iter().map(|m| m.counts.capacity() * size_of::<i64>()).sum::<usize>();
        size
    }
}

#[cfg(test)]
mod tests;
