//! Where event time is, who holds it back, since when, and why: `headwater.watermarks`, SHOW
//! WATERMARKS, EXPLAIN WATERMARK.
//!
//! Flows in: what the engine says of sources, splits and views after the last cut. A view is
//! held back by its slowest input that is not idle, a source by its slowest split that is not
//! idle; followed downwards, that ends at one split. Times of `since` are the clock's.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::common::ScalarValue;

use super::results::{text, timestamptz};
use crate::catalog::{Catalog, Definition, Kind};
use crate::connectors::ReaderState;
use crate::engine::ViewState;
use crate::engine::database::Database;
use crate::engine::progress::SplitProgress;
use crate::engine::source::{SourceSpec, WatermarkStrategy};
use crate::engine::status::{SourceState, ViewTimeState};
use crate::engine::view_time::TimeState;
use crate::error::{HwError, Result, sqlstate};
use crate::types::PgType as P;
use crate::types::text::{Zone, write_interval, write_timestamp};

type Row = Vec<ScalarValue>;

pub(super) fn watermark_columns() -> Vec<(&'static str, P)> {
    vec![
        ("object", P::Text),
        ("kind", P::Text),
        ("split", P::Int8),
        ("watermark", P::Timestamptz),
        ("lag", P::Interval),
        ("idle", P::Bool),
        ("holds_back", P::Bool),
        ("held_by", P::Text),
        ("since", P::Timestamptz),
        ("reason", P::Text),
    ]
}

/// Watermarks of sources, their splits, and views.
pub(super) fn watermarks(database: &Database) -> Result<Vec<Row>> {
    let times = Times::of(database, Zone::default());
    let mut rows = Vec::new();
    let holders: BTreeSet<(u64, u32)> = times.views.keys().filter_map(|id| times.holder(*id)).collect();
    for (id, (spec, state)) in &times.sources {
        if spec.watermark.is_none() {
            continue;
        }
        let holds = holders.iter().any(|(source, _)| source == id);
        let progress = &state.progress;
        rows.push(times.row(
            *id,
            "source",
            None,
            progress.watermark,
            progress.is_idle(),
            holds,
            progress.since,
        ));
        let least = times.slowest_split(*id);
        for (split, p) in &progress.splits {
            let holds = least == Some(*split) && p.watermark != i64::MAX;
            rows.push(times.row(*id, "split", Some(*split), p.watermark, p.idle, holds, p.since));
        }
    }
    for (id, state) in &times.views {
        if let Some(d) = times.catalog.get(*id) {
            let untimed = state.output.state == TimeState::Untimed;
            let watermark = if untimed { i64::MIN } else { state.output.watermark.0 };
            let idle = state.output.state == TimeState::Idle;
            rows.push(times.row(*id, d.kind.noun(), None, watermark, idle, false, state.since));
        }
    }
    Ok(rows)
}

/// The lines of EXPLAIN WATERMARK for a view, sink or source.
///
/// Errors: 42809 for other objects.
pub(super) fn explain(database: &Database, definition: &Definition, zone: Zone) -> Result<Vec<String>> {
    let times = Times::of(database, zone);
    match definition.kind {
        Kind::MaterializedView | Kind::Sink | Kind::Source => {}
        _ => {
            let text =
                format!("\"{}\" is a {}, which has no watermark", definition.name, definition.kind.noun());
            return Err(HwError::new(sqlstate::WRONG_OBJECT_TYPE, text).with_hint(
                "Sources, and the materialized views and sinks that read them, have watermarks.",
            ));
        }
    }
    let mut lines = vec![times.headline(definition), times.cause(definition)];
    times.tree(definition.id, 0, times.holder(definition.id), &mut lines);
    Ok(lines)
}

/// What the engine says of event time, at one moment.
struct Times {
    catalog: Catalog,
    now: i64,
    zone: Zone,
    manual: bool,
    sources: BTreeMap<u64, (std::sync::Arc<SourceSpec>, SourceState)>,
    views: BTreeMap<u64, ViewTimeState>,
    states: BTreeMap<u64, ViewState>,
    /// Sources that some view or sink reads.
    read: BTreeSet<u64>,
}

impl Times {
    fn of(database: &Database, zone: Zone) -> Times {
        let shared = &database.engine.shared;
        let specs = shared.sources.read();
        let states = shared.status.sources.read();
        let views = shared.status.view_times.read().clone();
        Times {
            catalog: database.catalog(),
            now: shared.clock.now().0,
            zone,
            manual: shared.clock.is_manual(),
            sources: (states.iter())
                .filter_map(|(id, state)| Some((*id, (specs.get(id)?.clone(), state.clone()))))
                .collect(),
            read: views.values().flat_map(|v| v.reads.iter().copied()).collect(),
            views,
            states: shared.status.views.read().clone(),
        }
    }

    fn name(&self, id: u64) -> String {
        self.catalog.get(id).map(|d| d.display_name()).unwrap_or_default()
    }

    /// The split of a source that is not idle and furthest behind.
    fn slowest_split(&self, source: u64) -> Option<u32> {
        let (_, state) = self.sources.get(&source)?;
        let active = state.progress.splits.iter().filter(|(_, s)| !s.idle);
        active.min_by_key(|(split, s)| (s.watermark, **split)).map(|(split, _)| *split)
    }

    /// State and watermark of a relation with event time.
    fn time_of(&self, relation: u64) -> Option<(TimeState, i64)> {
        if let Some((spec, state)) = self.sources.get(&relation) {
            spec.watermark.as_ref()?;
            let idle = state.progress.is_idle();
            return Some((if idle { TimeState::Idle } else { TimeState::Active }, state.progress.watermark));
        }
        let view = self.views.get(&relation)?;
        (view.output.state != TimeState::Untimed).then_some((view.output.state, view.output.watermark.0))
    }

    /// The input of a view that is not idle and furthest behind.
    fn slowest_input(&self, view: u64) -> Option<u64> {
        let inputs = self.views.get(&view)?.inputs.iter().copied();
        let active = inputs.filter_map(|i| match self.time_of(i)? {
            (TimeState::Active, watermark) => Some((watermark, i)),
            _ => None,
        });
        active.min().map(|(_, input)| input)
    }

    /// The split that holds a relation back; none if it has ended, or all is idle.
    fn holder(&self, relation: u64) -> Option<(u64, u32)> {
        if let Some((_, state)) = self.sources.get(&relation) {
            let split = self.slowest_split(relation)?;
            let ended = state.progress.splits[&split].watermark == i64::MAX;
            return (!ended).then_some((relation, split));
        }
        self.holder(self.slowest_input(relation)?)
    }

    #[allow(clippy::too_many_arguments)]
    fn row(
        &self,
        id: u64,
        kind: &str,
        split: Option<u32>,
        watermark: i64,
        idle: bool,
        holds: bool,
        since: i64,
    ) -> Row {
        // No watermark yet is NULL; the end of the input is infinity.
        let known = (watermark != i64::MIN).then_some(watermark);
        let lag = known.filter(|w| *w != i64::MAX).map(|w| self.now.saturating_sub(w));
        let holder = if split.is_some() { None } else { self.holder(id) };
        let reason = match split {
            Some(split) => Some(self.split_reason(id, split)),
            None => self.reason(id, holder),
        };
        vec![
            text(self.name(id)),
            text(kind),
            ScalarValue::Int64(split.map(i64::from)),
            timestamptz(known),
            lag.map_or(ScalarValue::Null, interval),
            ScalarValue::Boolean(Some(idle)),
            ScalarValue::Boolean(Some(holds)),
            ScalarValue::Utf8(holder.map(|(source, split)| self.place(source, split))),
            timestamptz((since != i64::MIN).then_some(since)),
            ScalarValue::Utf8(reason),
        ]
    }

    fn place(&self, source: u64, split: u32) -> String {
        format!("source {}, split {split}", self.name(source))
    }

    fn shown(&self, micros: i64) -> String {
        if micros == i64::MIN {
            return "none yet".into();
        }
        let mut out = Vec::new();
        write_timestamp(micros, Some(&self.zone), &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// Why a relation is where it is.
    fn reason(&self, relation: u64, holder: Option<(u64, u32)>) -> Option<String> {
        match self.time_of(relation) {
            None => Some("no watermark: nothing that it reads declares WATERMARK FOR".into()),
            Some((TimeState::Idle, _)) => Some("all that it reads is idle: the watermark holds".into()),
            Some((_, i64::MAX)) => Some("all that it reads has ended".into()),
            Some(_) => holder.map(|(source, split)| self.split_reason(source, split)),
        }
    }

    /// Why the watermark of a split is where it is.
    fn split_reason(&self, source: u64, split: u32) -> String {
        let Some((spec, state)) = self.sources.get(&source) else { return String::new() };
        let Some(p) = state.progress.splits.get(&split) else { return String::new() };
        let mut reason = self.base_reason(source, spec, state, split, p);
        if let Some((offset, time)) = p.last_skew.filter(|_| p.watermark != i64::MAX) {
            let guard = spec.future_skew_us.map(duration).unwrap_or_default();
            reason.push_str(&format!(
                "; {} did not move it, being further in the future than watermark.max_future_skew ({guard}), the last at offset {offset} with event time {}",
                rows(p.skewed_rows as i64, "row", "rows"),
                self.shown(time)
            ));
        }
        reason
    }

    fn base_reason(
        &self,
        source: u64,
        spec: &SourceSpec,
        state: &SourceState,
        split: u32,
        p: &SplitProgress,
    ) -> String {
        let status = state.splits.iter().find(|s| s.split == split);
        let behind = status.and_then(|s| s.end_offset).map_or(0, |end| end - p.offset);
        let timeout = spec.idle_timeout_us.map(duration);
        if p.watermark == i64::MAX {
            return "ended: no row will come any more".into();
        }
        if !self.read.contains(&source) {
            return "not read: no view reads the source".into();
        }
        match &state.reader {
            Some(ReaderState::Failed(e)) => return format!("failed: {}", e.message()),
            Some(ReaderState::Reconnecting(why)) => return format!("reconnecting: {why}"),
            _ => {}
        }
        if p.idle {
            return format!(
                "idle: caught up and silent for {} or more; it holds nothing back",
                timeout.unwrap_or_default()
            );
        }
        if let (true, Some(alignment)) = (p.waits, &spec.alignment) {
            return format!(
                "waits: it is more than {} ahead of the slowest of alignment group {}",
                duration(alignment.max_drift_us),
                alignment.group
            );
        }
        if behind > 0 {
            return format!("behind: {} still to be read", rows(behind, "row is", "rows are"));
        }
        let said =
            matches!(&spec.watermark, Some(rule) if matches!(rule.strategy, WatermarkStrategy::Source));
        let when = match timeout {
            Some(timeout) => format!("; it is idle after {timeout} of silence"),
            None => "; without scan.watermark.idle-timeout it holds until then".into(),
        };
        match (said, p.rows, p.watermark) {
            (true, _, i64::MIN) => format!("the source has not told a watermark yet{}", self.teller(spec)),
            (true, ..) => {
                format!("caught up: waits until the source tells a later watermark{}", self.teller(spec))
            }
            (false, 0, _) => format!("no row yet{when}"),
            (false, _, i64::MIN) => format!("no row with a usable event time yet{when}"),
            _ => format!("caught up: a later row must come{when}"),
        }
    }

    /// How a source with SOURCE_WATERMARK() tells it.
    fn teller(&self, spec: &SourceSpec) -> &'static str {
        match (spec.is_feed(), self.manual) {
            (true, true) => " (ADVANCE WATERMARK)",
            (true, false) => " (a feed is told by ADVANCE WATERMARK, on a server with a manual clock)",
            (false, _) => "",
        }
    }

    fn headline(&self, d: &Definition) -> String {
        let (noun, name) = (d.kind.noun(), d.display_name());
        match self.time_of(d.id) {
            None => format!("{noun} {name} has no watermark"),
            Some((_, watermark)) => {
                let since = match self.sources.get(&d.id) {
                    Some((_, state)) => state.progress.since,
                    None => self.views.get(&d.id).map_or(i64::MIN, |v| v.since),
                };
                let lag = match watermark {
                    i64::MIN | i64::MAX => String::new(),
                    _ => {
                        format!(", {} behind the clock", duration(self.now.saturating_sub(watermark).max(0)))
                    }
                };
                format!(
                    "{noun} {name}: watermark {}{lag}, unchanged since {}",
                    self.shown(watermark),
                    self.shown(since)
                )
            }
        }
    }

    /// One sentence: who holds it back, since when, and why.
    fn cause(&self, d: &Definition) -> String {
        if let Some(state) = self.states.get(&d.id).filter(|state| !matches!(state, ViewState::Live)) {
            return match state {
                ViewState::Behind { since, epoch } => format!(
                    "it needs too long for epoch {} and is detached since {} until it has caught up",
                    epoch.0,
                    self.shown(*since)
                ),
                ViewState::Failed(e) => {
                    format!("it has failed and follows nothing any more: {}", e.message())
                }
                _ => "it is being filled: its watermark takes effect when that is done".into(),
            };
        }
        let holder = self.holder(d.id);
        let noun = if d.kind == Kind::MaterializedView { "view" } else { d.kind.noun() };
        match (holder, self.reason(d.id, holder)) {
            (Some((source, split)), Some(reason)) if self.is_active(d.id) => {
                let holding = self.sources.get(&source).and_then(|(_, s)| s.progress.splits.get(&split));
                let (at, since) = holding.map_or((i64::MIN, i64::MIN), |s| (s.watermark, s.since));
                let place = self.place(source, split);
                let woken = match self.time_of(d.id) {
                    Some((_, watermark)) if watermark > at => {
                        "; it was idle and is behind, so its rows may be late until it has caught up"
                    }
                    _ => "",
                };
                format!("{place}: {reason}; it holds back the {noun} since {}{woken}", self.shown(since))
            }
            (_, reason) => reason.unwrap_or_default(),
        }
    }

    fn is_active(&self, relation: u64) -> bool {
        matches!(self.time_of(relation), Some((TimeState::Active, watermark)) if watermark != i64::MAX)
    }

    /// Inputs and splits below a relation, each deeper one indented.
    fn tree(&self, relation: u64, depth: usize, holder: Option<(u64, u32)>, lines: &mut Vec<String>) {
        let indent = "  ".repeat(depth + 1);
        let mark = |holds: bool| if holds { "  <- holds back" } else { "" };
        if let Some((_, state)) = self.sources.get(&relation) {
            for (split, p) in &state.progress.splits {
                let held = mark(holder == Some((relation, *split)));
                let reason = self.split_reason(relation, *split);
                lines.push(format!("{indent}split {split}: {}; {reason}{held}", self.shown(p.watermark)));
            }
            return;
        }
        let Some(view) = self.views.get(&relation) else { return };
        for input in &view.inputs {
            let Some(d) = self.catalog.get(*input) else { continue };
            let (noun, name) = (d.kind.noun(), d.display_name());
            let held = mark(holder.is_some() && self.slowest_input(relation) == Some(*input));
            lines.push(match self.time_of(*input) {
                None => format!("{indent}{noun} {name}: no watermark, holds nothing back"),
                Some((TimeState::Idle, w)) => {
                    format!("{indent}{noun} {name}: {}, idle, left out", self.shown(w))
                }
                Some((_, w)) => format!("{indent}{noun} {name}: {}{held}", self.shown(w)),
            });
            if self.time_of(*input).is_some() {
                self.tree(*input, depth + 1, if held.is_empty() { None } else { holder }, lines);
            }
        }
    }
}

fn rows(n: i64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// Microseconds as PostgreSQL writes an interval, whole days apart.
fn duration(micros: i64) -> String {
    const DAY: i64 = 86_400_000_000;
    let days = i32::try_from(micros / DAY).unwrap_or(i32::MAX);
    let nanoseconds = (micros % DAY) * 1000;
    let mut out = Vec::new();
    write_interval(arrow::datatypes::IntervalMonthDayNano { months: 0, days, nanoseconds }, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn interval(micros: i64) -> ScalarValue {
    let nanoseconds = micros.saturating_mul(1000);
    let value = arrow::datatypes::IntervalMonthDayNano { months: 0, days: 0, nanoseconds };
    ScalarValue::IntervalMonthDayNano(Some(value))
}
