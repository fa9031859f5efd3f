//! Incremental GROUP BY, with or without windows.
//!
//! Rows with weights in, one row a group out. Emitting by call, fixed at construction:
//! counts, sums and averages add `weight × value`; `min`/`max` keep the best value over
//! append-only input and an ordered multiset otherwise; DISTINCT keeps a multiset. At the
//! end of an epoch the groups that changed emit their old row with −1 and their new row
//! with +1, once, whatever happened inside the epoch.
//!
//! Windows come in two shapes. *Grouped*: the rows carry their window (from
//! `window_assign`) and its end is one of the group columns. *Sliced*: rows carry a time;
//! the epoch's rows are pre-aggregated by key and slice and each slice is merged into its
//! windows, so a HOP costs one hash look-up a row. Output columns are then the group
//! columns, `window_start`, `window_end`, optionally `window_time`, and the calls.
//!
//! A row is too late when the watermark before its epoch had passed the end of its window
//! plus the allowed lateness. State of a window is dropped when the watermark passes that point;
//! with `EMIT FINAL` its rows are emitted then, exactly once. Nothing scans all windows.

pub mod accumulator;
mod bag;
mod bits;
mod distinct;
mod extremum;
mod float_sum;
pub mod groups;
mod idle;
mod moments;
mod ordered;
mod percentile;
mod sliced;
mod sum;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Schema, SchemaRef};

use self::groups::{Emission, Groups, Located, PaneChange, Panes};
use self::idle::IdleGroups;
use self::sliced::Slices;
use super::errors::RowErrors;
use super::expressions::batch_of;
use super::late::{LateReason, LateRows, Refusal};
use super::window_assign::{Windows, drop_null_times, starts_of, timestamp_values, timestamps, window_time};
use crate::dataflow::operator::{EpochContext, Operator, StateSize};
use crate::dataflow::triggers::EpochTimes;
use crate::error::{HwError, Result};
use crate::plan::Clock;
pub use crate::plan::{AggregateCall, AggregateFunction};
pub use crate::types::exact::quotient::average;
use crate::types::hash::fingerprints;
use crate::types::trigger::{Accumulation, EmitPolicy, EmitSpec};
use crate::types::{ChangeBatch, EventTime, ProcTime, Weights};

/// What decides that a window is complete.
#[derive(Clone, Debug)]
pub enum WindowTime {
    /// A watermark.
    Event { clock: Clock },
    /// The epoch's `now`.
    Processing,
}

/// A TUMBLE (`slide == size`) or HOP done inside the aggregate.
#[derive(Clone, Debug)]
pub struct HopSpec {
    /// Timestamp column of the input; `None`: rows belong to the epoch's `now`.
    pub time_column: Option<usize>,
    pub windows: Windows,
    /// Whether the output has `window_time` after `window_end`.
    pub with_window_time: bool,
}

/// Where the windows of rows come from.
#[derive(Clone, Debug)]
pub enum WindowBounds {
    /// Positions within `group_columns` of the window's end, and of its start if it is one;
    /// `judged` rows are never late.
    Grouped { end_group: usize, start_group: Option<usize>, judged: bool },
    /// Rows are sliced here; `group_columns` are the other keys.
    Sliced(HopSpec),
}

#[derive(Clone, Debug)]
pub struct WindowSpec {
    pub bounds: WindowBounds,
    pub time: WindowTime,
}

/// What an [`AggregateOperator`] computes.
#[derive(Clone)]
pub struct AggregateSpec {
    pub name: String,
    pub input_schema: SchemaRef,
    pub group_columns: Vec<usize>,
    /// May be empty: SELECT DISTINCT.
    pub calls: Vec<AggregateCall>,
    /// Group columns, window bounds of sliced windows, then one column a call.
    pub output_schema: SchemaRef,
    pub window: Option<WindowSpec>,
    pub emit: EmitSpec,
    pub input_append_only: bool,
    /// Takes rows whose window was closed and rows without event time.
    pub late: Arc<LateRows>,
    /// Takes the keys of groups whose value has no representation (22003).
    pub errors: Arc<RowErrors>,
    /// Groups not touched for so long go; the input only appends and there are no windows.
    pub ttl_us: Option<i64>,
    /// No GROUP BY: one row exists even over empty input, from the first epoch on.
    pub global: bool,
    /// Whether this worker shows the row of a global aggregate (it owns vnode 0).
    pub owner: bool,
}

impl AggregateSpec {
    /// Groups of all rows, shown as they change, over input that may change; what fails is
    /// counted.
    pub fn grouped(
        input_schema: SchemaRef,
        group_columns: Vec<usize>,
        calls: Vec<AggregateCall>,
    ) -> AggregateSpec {
        let keys = group_columns.iter().map(|c| Arc::clone(&input_schema.fields()[*c]));
        let fields: Vec<_> = keys.chain(calls.iter().map(|call| Arc::clone(&call.output))).collect();
        AggregateSpec {
            name: "aggregate".into(),
            global: group_columns.is_empty(),
            input_schema,
            group_columns,
            calls,
            output_schema: Arc::new(Schema::new(fields)),
            window: None,
            emit: EmitSpec::changes(),
            input_append_only: false,
            late: Arc::new(LateRows::new(0)),
            errors: Arc::new(RowErrors::new(0)),
            ttl_us: None,
            owner: true,
        }
    }
}

/// How rows come out, chosen by the emit clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Emitting {
    /// Every epoch, whatever changed.
    Changes,
    /// Each group once, when its window closes.
    Final,
    /// A trigger state for each group decides.
    Panes,
}

impl Emitting {
    fn of(spec: &AggregateSpec) -> Result<Emitting> {
        let emit = &spec.emit;
        let discarding = emit.accumulation == Accumulation::Discarding;
        if emit.policy == EmitPolicy::Final && spec.window.is_none() {
            return Err(HwError::internal("emission on close needs windows"));
        }
        if discarding && !spec.input_append_only {
            return Err(HwError::internal("DISCARDING panes need append-only input"));
        }
        Ok(match emit.policy {
            _ if emit.needs_panes() => Emitting::Panes,
            EmitPolicy::Final => Emitting::Final,
            _ => Emitting::Changes,
        })
    }
}

/// Incremental aggregate of one worker.
pub struct AggregateOperator {
    spec: AggregateSpec,
    strategy: Emitting,
    groups: Groups,
    slices: Option<Slices>,
    idle: Option<IdleGroups>,
    located: Located,
    /// W(E−1), or the last `now`, in microseconds.
    watermark: i64,
}

impl AggregateOperator {
    pub fn new(spec: AggregateSpec) -> Result<AggregateOperator> {
        let strategy = Emitting::of(&spec)?;
        let key_schema = Arc::new(spec.input_schema.project(&spec.group_columns)?);
        let make_groups =
            || Groups::new(key_schema.clone(), &spec.input_schema, &spec.calls, spec.input_append_only);
        let mut groups = make_groups()?;
        if spec.window.is_some() || spec.ttl_us.is_some() || strategy == Emitting::Panes {
            groups.keep_tags();
        }
        let slices = match &spec.window {
            Some(WindowSpec { bounds: WindowBounds::Sliced(hop), .. }) => {
                let counts_rows = strategy == Emitting::Panes && !spec.input_append_only;
                Some(Slices::new(hop.clone(), make_groups()?, counts_rows))
            }
            _ => None,
        };
        // Groups of windows are known by more than their keys.
        if spec.window.is_none() && strategy != Emitting::Panes && !spec.global {
            groups.use_narrow_keys();
        }
        if strategy == Emitting::Panes {
            let panes = Panes::new(&spec.emit, &spec.calls, spec.window.is_some())?;
            groups.use_panes(panes, spec.global);
        } else if spec.global && spec.owner {
            groups.add_permanent(fingerprints(&[], 1)[0], batch_of(&key_schema, Vec::new(), 1)?)?;
        }
        let watermark = EventTime::MIN.0;
        let idle = spec.ttl_us.map(IdleGroups::new);
        Ok(AggregateOperator { spec, strategy, groups, slices, idle, located: Located::default(), watermark })
    }

    fn lateness(&self) -> i64 {
        self.spec.emit.lateness_us
    }

    /// Whether windows ending at `end` take no rows any more.
    fn is_closed(&self, end: i64) -> bool {
        end.saturating_add(self.lateness()) <= self.watermark
    }

    /// Whether a trigger may close a group before its window's horizon.
    fn can_finish(&self) -> bool {
        matches!(self.spec.emit.policy, EmitPolicy::When(_))
    }

    /// Applies rows that carry their group completely.
    fn apply(&mut self, batch: &ChangeBatch, prints: &[u128], ends: Option<&[i64]>) -> Result<()> {
        if !self.can_finish() || !prints.iter().any(|p| self.groups.is_finished(*p)) {
            return self.apply_accepted(batch, prints, ends);
        }
        let start_of = |end: i64| self.slices.as_ref().map(|slices| slices.window_start(end));
        let (mut refusals, mut kept) = (Vec::new(), Vec::new());
        for (row, print) in prints.iter().enumerate() {
            let window_end = ends.map(|ends| ends[row]);
            let window_start = window_end.and_then(start_of);
            match self.groups.is_finished(*print) {
                true => refusals.push(Refusal { row: row as u32, window_start, window_end }),
                false => kept.push(row as u32),
            }
        }
        self.refuse(batch, &refusals)?;
        let prints: Vec<u128> = kept.iter().map(|row| prints[*row as usize]).collect();
        let ends: Option<Vec<i64>> = ends.map(|ends| kept.iter().map(|row| ends[*row as usize]).collect());
        self.apply_accepted(&batch.take(&UInt32Array::from(kept))?, &prints, ends.as_deref())
    }

    fn apply_accepted(&mut self, batch: &ChangeBatch, prints: &[u128], ends: Option<&[i64]>) -> Result<()> {
        let words = match self.groups.has_narrow_keys() {
            true => self.groups.key_words(&self.keys(batch), batch.len()),
            false => None,
        };
        self.groups.locate(prints, words.as_ref(), batch.weights.as_slice(), &mut self.located);
        let new_rows: &[u32] = if words.is_some() { &[] } else { &self.located.new_rows };
        let keys = key_rows(&batch.rows, &self.spec.group_columns, new_rows)?;
        self.groups.store_keys(&self.located, keys, ends)?;
        self.groups.count_rows(&self.located.slots, batch.weights.as_slice());
        self.groups.capture()?;
        self.groups.update(batch, &self.located.slots)
    }

    fn push_grouped(
        &mut self,
        batch: ChangeBatch,
        end_column: usize,
        start_column: Option<usize>,
        judged: bool,
    ) -> Result<()> {
        let batch = drop_null_times(batch, end_column, &self.spec.late)?;
        let batch = if judged { batch } else { self.drop_late(batch, end_column, start_column)? };
        let prints = self.prints(&batch);
        let ends = timestamp_values(&batch, end_column)?.values().clone();
        self.apply(&batch, &prints, Some(&ends))
    }

    fn keys(&self, batch: &ChangeBatch) -> Vec<ArrayRef> {
        self.spec.group_columns.iter().map(|c| batch.rows.column(*c).clone()).collect()
    }

    fn prints(&self, batch: &ChangeBatch) -> Vec<u128> {
        fingerprints(&self.keys(batch), batch.len())
    }

    fn drop_late(
        &self,
        batch: ChangeBatch,
        end_column: usize,
        start_column: Option<usize>,
    ) -> Result<ChangeBatch> {
        let ends = timestamp_values(&batch, end_column)?.values();
        let limit = ends.iter().copied().min().unwrap_or(i64::MAX);
        if !self.is_closed(limit) {
            return Ok(batch);
        }
        let kept: arrow::array::BooleanArray = ends.iter().map(|end| Some(!self.is_closed(*end))).collect();
        let starts = start_column.map(|c| timestamp_values(&batch, c)).transpose()?;
        let refusals: Vec<Refusal> = (0..batch.len())
            .filter(|row| !kept.value(*row))
            .map(|row| Refusal {
                row: row as u32,
                window_start: starts.filter(|s| s.is_valid(row)).map(|s| s.value(row)),
                window_end: Some(ends[row]),
            })
            .collect();
        self.refuse(&batch, &refusals)?;
        batch.filter(&kept)
    }

    fn refuse(&self, batch: &ChangeBatch, refusals: &[Refusal]) -> Result<()> {
        let weight = |row: usize| batch.weights.get(row);
        let watermark = EventTime(self.watermark);
        self.spec.late.record(&batch.rows, refusals, weight, LateReason::WindowClosed, watermark)
    }

    /// Keys and, where sliced, window bounds of groups.
    fn group_columns(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut columns = self.groups.keys_of(slots)?.columns().to_vec();
        if let Some(slices) = &self.slices {
            let ends: Vec<i64> = slots.iter().map(|s| self.groups.bound(*s)).collect();
            let field = self.spec.output_schema.field(columns.len());
            slices.push_bounds(ends, field.data_type(), &mut columns);
        }
        Ok(columns)
    }

    /// Emits rows of groups: keys, window bounds where sliced, calls.
    fn emit(&self, emission: Emission, out: &mut Vec<ChangeBatch>) -> Result<()> {
        let rows = emission.slots.len();
        if rows == 0 {
            return Ok(());
        }
        let mut columns = self.group_columns(&emission.slots)?;
        columns.extend(emission.values);
        let rows = batch_of(&self.spec.output_schema, columns, rows)?;
        let weights = emission.weights.map_or(Weights::One, |w| Weights::Each(Int64Array::from(w)));
        out.push(ChangeBatch { rows, weights });
        Ok(())
    }

    /// Emits the rows that panes replace with −1, and the new ones. Both share the columns of
    /// their groups.
    fn emit_panes(&self, change: PaneChange, out: &mut Vec<ChangeBatch>) -> Result<()> {
        if change.slots.is_empty() {
            return Ok(());
        }
        let groups = self.group_columns(&change.slots)?;
        let sides = [(change.old, false), (change.new, true)].into_iter();
        for (side, is_new) in sides.filter(|(side, _)| side.groups > 0) {
            let mut columns: Vec<ArrayRef> = groups.iter().map(|g| g.slice(0, side.groups)).collect();
            columns.extend(side.values);
            if let Some(panes) = side.panes {
                panes.append_to(&self.spec.output_schema, &mut columns)?;
            }
            let mut rows = batch_of(&self.spec.output_schema, columns, side.groups)?;
            if let Some(mask) = side.mask {
                rows = filter_record_batch(&rows, &mask)?;
            }
            if rows.num_rows() > 0 {
                out.push(if is_new { ChangeBatch::inserts(rows) } else { ChangeBatch::deletes(rows) });
            }
        }
        Ok(())
    }

    /// Takes the epoch's watermark, or clock, into effect: the times that panes go by.
    fn take_watermark(&mut self, cx: &EpochContext) -> EpochTimes {
        let before = self.watermark;
        let reached = match self.spec.window.as_ref().map(|w| &w.time) {
            Some(WindowTime::Event { clock }) => cx.watermark(clock).0,
            Some(WindowTime::Processing) => cx.now.0,
            None => before,
        };
        self.watermark = before.max(reached);
        EpochTimes { before, watermark: self.watermark, now: cx.now.0 }
    }

    /// Retracts and drops the groups that nobody has touched for long.
    fn drop_idle(&mut self, now: i64, out: &mut Vec<ChangeBatch>) -> Result<()> {
        let Some(idle) = &mut self.idle else { return Ok(()) };
        let slots = idle.take(now);
        if slots.is_empty() {
            return Ok(());
        }
        self.emit(self.groups.retractions(&slots, &self.spec.errors)?, out)?;
        self.groups.release(&slots)
    }

    /// Drops windows whose horizon has passed.
    fn close_windows(&mut self, out: &mut Vec<ChangeBatch>) -> Result<()> {
        let closed = self.groups.take_closed(self.spec.emit.lateness_us, self.watermark);
        if closed.is_empty() {
            return Ok(());
        }
        if self.strategy == Emitting::Final {
            self.emit(self.groups.final_rows(&closed, &self.spec.errors)?, out)?;
        }
        self.groups.release(&closed)
    }
}

/// The key columns of some rows.
fn key_rows(rows: &RecordBatch, columns: &[usize], picked: &[u32]) -> Result<RecordBatch> {
    let keys = rows.project(columns)?;
    if picked.len() == rows.num_rows() {
        return Ok(keys);
    }
    let picked_array = UInt32Array::from(picked.to_vec());
    let taken = keys
        .columns()
        .iter()
        .map(|column| Ok(arrow::compute::take(column, &picked_array, None)?))
        .collect::<Result<Vec<ArrayRef>>>()?;
    batch_of(&keys.schema(), taken, picked.len())
}

impl Operator for AggregateOperator {
    fn name(&self) -> &str {
        &self.spec.name
    }

    fn push(&mut self, _input: usize, batch: ChangeBatch, _out: &mut Vec<ChangeBatch>) -> Result<()> {
        match &self.spec.window {
            None => {
                let prints = self.prints(&batch);
                self.apply(&batch, &prints, None)
            }
            Some(WindowSpec { bounds: WindowBounds::Grouped { end_group, start_group, judged }, .. }) => {
                let (end_column, judged) = (self.spec.group_columns[*end_group], *judged);
                let start_column = start_group.map(|s| self.spec.group_columns[s]);
                self.push_grouped(batch, end_column, start_column, judged)
            }
            Some(WindowSpec { bounds: WindowBounds::Sliced(hop), .. }) => match hop.time_column {
                Some(column) => self.push_sliced(batch, column),
                None => {
                    self.wait_for_now(batch);
                    Ok(())
                }
            },
        }
    }

    fn finish_epoch(&mut self, cx: &EpochContext, out: &mut Vec<ChangeBatch>) -> Result<()> {
        self.finish_slices(cx)?;
        if self.strategy == Emitting::Panes && cx.is_filling() {
            self.groups.fill_panes();
            return self.groups.compact();
        }
        if self.strategy == Emitting::Changes {
            let changes = self.groups.take_changes(&self.spec.errors)?;
            self.emit(changes, out)?;
        }
        let times = self.take_watermark(cx);
        if self.strategy == Emitting::Panes {
            let panes = self.groups.take_panes(&times, &self.spec.errors)?;
            self.emit_panes(panes, out)?;
            self.groups.end_pane_epoch()?;
        } else {
            if let Some(idle) = &mut self.idle {
                idle.note(&self.groups, cx.now.0);
            }
            self.groups.end_epoch()?;
        }
        self.drop_idle(cx.now.0, out)?;
        self.close_windows(out)?;
        self.groups.compact()
    }

    fn next_timer(&self) -> Option<ProcTime> {
        let by_window = match &self.spec.window {
            Some(WindowSpec { time: WindowTime::Processing, .. }) => {
                let closes = self.groups.first_end().map(|end| end.saturating_add(self.lateness()));
                let ends = (self.strategy == Emitting::Panes).then(|| self.groups.next_end(self.watermark));
                closes.into_iter().chain(ends.flatten()).min().filter(|at| *at != i64::MAX)
            }
            _ => None,
        };
        let idle = self.idle.as_ref().and_then(IdleGroups::next_timer);
        by_window.into_iter().chain(self.groups.next_timer()).chain(idle).min().map(ProcTime)
    }

    fn state_size(&self) -> StateSize {
        let idle = self.idle.as_ref().map_or(0, IdleGroups::bytes);
        StateSize { entries: self.groups.group_count(), bytes: self.groups.bytes() + idle }
    }
}

/// Bounds of windows as columns: start, end and, if asked for, `window_time`.
fn window_columns(ends: Vec<i64>, hop: &HopSpec, data_type: &DataType, columns: &mut Vec<ArrayRef>) {
    columns.push(timestamps(starts_of(&hop.windows, &ends), data_type));
    columns.push(timestamps(ends.clone(), data_type));
    if hop.with_window_time {
        columns.push(timestamps(ends.into_iter().map(window_time).collect(), data_type));
    }
}

#[cfg(test)]
mod tests;
