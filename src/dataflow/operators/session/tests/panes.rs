//! Sessions with panes against the slow model, on random schedules.
//!
//! Trigger × accumulation × lateness × workers, over random rows and steps of the watermark
//! and of the clock; with rows that go again, too. The model knows rule 9 and nothing of runs, slots
//! or queues.
//! `HEADWATER_SCHEDULES=100000` is the long mode.

use arrow::array::BooleanArray;

use super::*;
use crate::dataflow::operators::panes::{PaneColumns, PaneRow, pane_fields};
use crate::dataflow::triggers::Firing;
use crate::dataflow::triggers::model::Model;
use crate::dataflow::triggers::tests::{emit_spec, schedules};
use crate::types::hash::vnodes;
use crate::types::trigger::Accumulation;

/// Key, time and value.
type Row = (i64, i64, i64);

struct Session {
    start: i64,
    end: i64,
    pane: Model,
    rows: Vec<Row>,
    /// Rows since the last firing.
    new: Vec<Row>,
    /// Rows of this epoch.
    arrived: u64,
    /// Of them, rows that went.
    lost: u64,
    /// Live panes, in `Views::live`: its own, those of the sessions it has swallowed, and those of
    /// the session of which it is a part.
    shown: Vec<usize>,
}

struct Views {
    emit: EmitSpec,
    append_only: bool,
    sessions: Vec<(i64, Session)>,
    live: Vec<Option<String>>,
    contents: Contents,
    late: u64,
    before: i64,
}

/// Rows of one key that overlap or touch, in order of time.
fn runs(rows: &[Row]) -> Vec<Vec<Row>> {
    let mut rows = rows.to_vec();
    rows.sort();
    let mut runs: Vec<Vec<Row>> = Vec::new();
    for row in rows {
        match runs.last_mut().filter(|run| run.last().is_some_and(|l| l.0 == row.0 && row.1 <= l.1 + GAP)) {
            Some(run) => run.push(row),
            None => runs.push(vec![row]),
        }
    }
    runs
}

impl Views {
    fn new(emit: &EmitSpec, append_only: bool) -> Views {
        let (sessions, live, contents) = Default::default();
        Views { emit: emit.clone(), append_only, sessions, live, contents, late: 0, before: i64::MIN }
    }

    /// Equal rows that may go again are one row with a weight.
    fn refuse(&mut self, mut rows: Vec<Row>) {
        if !self.append_only {
            rows.sort();
            rows.dedup();
        }
        self.late += rows.len() as u64;
    }

    fn add(&mut self, run: Vec<Row>) {
        let key = run[0].0;
        let (mut start, mut end) = (run[0].1, run[run.len() - 1].1 + GAP);
        let touches = |(k, s): &(i64, Session), start, end| *k == key && s.start <= end && start <= s.end;
        let (touched, apart): (Vec<_>, Vec<_>) = std::mem::take(&mut self.sessions)
            .into_iter()
            .partition(|s| !s.1.rows.is_empty() && touches(s, start, end));
        self.sessions = apart;
        let takes = match touched.as_slice() {
            [] => Model::new(&self.emit, end, self.before).takes_rows(self.before),
            touched => touched.iter().any(|(_, s)| !s.pane.over),
        };
        if !takes {
            self.refuse(run);
            self.sessions.extend(touched);
            return;
        }
        for (_, s) in &touched {
            (start, end) = (start.min(s.start), end.max(s.end));
        }
        // Where a session was of which nothing is left.
        let (emptied, apart): (Vec<_>, Vec<_>) = std::mem::take(&mut self.sessions)
            .into_iter()
            .partition(|s| s.1.rows.is_empty() && touches(s, start, end));
        self.sessions = apart;
        let touched: Vec<_> = touched.into_iter().chain(emptied).collect();
        let parts: Vec<(&Model, bool)> =
            touched.iter().map(|(_, s)| (&s.pane, (s.start, s.end) == (start, end))).collect();
        let pane = match parts.as_slice() {
            [] => Model::new(&self.emit, end, self.before),
            [(only, true)] => (*only).clone(),
            parts => Model::merged(&self.emit, end, self.before, parts),
        };
        let mut merged =
            Session { start, end, pane, rows: vec![], new: vec![], arrived: 0, lost: 0, shown: vec![] };
        for (_, s) in touched {
            merged.rows.extend(s.rows);
            merged.new.extend(s.new);
            merged.arrived += s.arrived;
            merged.shown.extend(s.shown);
        }
        merged.arrived += run.len() as u64;
        merged.new.extend(&run);
        merged.rows.extend(run);
        self.sessions.push((key, merged));
    }

    /// Rows that go, after those that came.
    fn remove(&mut self, gone: &[Row]) {
        let mut refused = Vec::new();
        for row in gone {
            let holds = |(k, s): &&mut (i64, Session)| *k == row.0 && !s.pane.over && s.rows.contains(row);
            match self.sessions.iter_mut().find(holds) {
                Some((_, session)) => {
                    let at = session.rows.iter().position(|r| r == row).unwrap();
                    session.rows.remove(at);
                    session.lost += 1;
                }
                None => refused.push(*row),
            }
        }
        self.refuse(refused);
        for (key, mut session) in std::mem::take(&mut self.sessions) {
            let lost = std::mem::take(&mut session.lost);
            session.arrived += lost;
            let parts = runs(&session.rows);
            let bounds = |run: &[Row]| (run[0].1, run[run.len() - 1].1 + GAP);
            if lost == 0 || parts.len() == 1 && bounds(&parts[0]) == (session.start, session.end) {
                self.sessions.push((key, session));
            } else if parts.is_empty() {
                // It stays where a pane of it is shown.
                if session.shown.iter().any(|n| self.live[*n].is_some()) {
                    self.sessions.push((key, session));
                }
            } else {
                for rows in parts {
                    let (start, end) = bounds(&rows);
                    let pane = Model::merged(&self.emit, end, self.before, &[(&session.pane, false)]);
                    let (arrived, shown) = (session.arrived, session.shown.clone());
                    let part = Session { start, end, pane, rows, new: vec![], arrived, lost: 0, shown };
                    self.sessions.push((key, part));
                }
            }
        }
    }

    fn epoch(&mut self, rows: &[Row], gone: &[Row], times: &EpochTimes) {
        runs(rows).into_iter().for_each(|run| self.add(run));
        self.remove(gone);
        let mut changes: Vec<(String, i64)> = Vec::new();
        let live = &mut self.live;
        self.sessions.retain_mut(|(key, session)| {
            let arrived = std::mem::take(&mut session.arrived);
            let Some(firing) = session.pane.epoch(arrived, times) else { return true };
            if self.emit.accumulation == Accumulation::Discarding {
                changes.push((line(&self.emit, *key, session, &session.new, &firing, times), 1));
            } else {
                let old = session.shown.drain(..).filter_map(|n| live[n].take());
                changes.extend(old.map(|l| (l, -1)));
                if session.rows.is_empty() {
                    return false;
                }
                let line = line(&self.emit, *key, session, &session.rows, &firing, times);
                changes.push((line.clone(), 1));
                session.shown = vec![live.len()];
                live.push(Some(line));
            }
            session.new.clear();
            true
        });
        let horizon = |s: &Session| s.end.saturating_add(self.emit.lateness_us);
        self.sessions.retain(|(_, s)| times.watermark < horizon(s));
        for (line, weight) in changes {
            *self.contents.entry(line).or_insert(0) += weight;
        }
        self.contents.retain(|_, w| *w != 0);
        self.before = times.watermark;
    }
}

fn line(emit: &EmitSpec, key: i64, s: &Session, rows: &[Row], firing: &Firing, times: &EpochTimes) -> String {
    let columns = vec![
        Arc::new(Int64Array::from(vec![key])) as ArrayRef,
        Arc::new(TimestampMicrosecondArray::from(vec![s.start])),
        Arc::new(TimestampMicrosecondArray::from(vec![s.end])),
        Arc::new(Int64Array::from(vec![rows.len() as i64])),
        Arc::new(Int64Array::from(vec![rows.iter().map(|r| r.2).max()])),
    ];
    let names = schema(&["k", "window_start", "window_end", "n", "hi"]);
    let of = |schema: SchemaRef, columns| {
        let batch = ChangeBatch::inserts(RecordBatch::try_new(schema, columns).unwrap());
        lines(&batch)[0].0.clone()
    };
    let mut text = of(names, columns);
    if emit.with_pane_columns {
        let schema = Arc::new(Schema::new(pane_fields()));
        let mut columns = Vec::new();
        let row = PaneRow::new(firing, times);
        [row].into_iter().collect::<PaneColumns>().append_to(&schema, &mut columns).unwrap();
        text += &format!("|{}", of(schema, columns));
    }
    text
}

fn worker(emit: &EmitSpec, append_only: bool) -> (SessionAggregateOperator, Arc<LateRows>) {
    let (plain, late) = operator_over(emit.clone(), append_only);
    let mut spec = plain.spec;
    if emit.with_pane_columns {
        let mut fields: Vec<Field> = spec.output_schema.fields().iter().map(|f| f.as_ref().clone()).collect();
        fields.extend(pane_fields());
        spec.output_schema = Arc::new(Schema::new(fields));
    }
    (SessionAggregateOperator::new(spec).unwrap(), late)
}

/// What an epoch brings.
#[derive(Clone, Debug)]
struct Step {
    rows: Vec<Row>,
    /// Which of the rows so far go, if rows may go.
    gone: Vec<usize>,
    watermark: i64,
    clock: i64,
    /// Length of a batch.
    split: usize,
}

fn check(emit: &EmitSpec, append_only: bool, workers: usize, steps: &[Step]) {
    let mut running: Vec<_> = (0..workers).map(|_| worker(emit, append_only)).collect();
    let mut views = Views::new(emit, append_only);
    let (mut contents, mut alive) = (Contents::new(), Vec::new());
    let (mut watermark, mut now) = (-30, -7);
    for (epoch, step) in steps.iter().enumerate() {
        (watermark, now) = (watermark + step.watermark, now + step.clock);
        alive.extend(step.rows.iter().copied());
        let mut gone: Vec<Row> = Vec::new();
        for n in step.gone.iter().filter(|_| !append_only) {
            if !alive.is_empty() {
                gone.push(alive.swap_remove(n % alive.len()));
            }
        }
        // What comes and goes in an epoch never was.
        let (mut net_rows, mut net_gone) = (step.rows.clone(), Vec::new());
        for row in &gone {
            match net_rows.iter().position(|r| r == row) {
                Some(at) => drop(net_rows.swap_remove(at)),
                None => net_gone.push(*row),
            }
        }
        views.epoch(&net_rows, &net_gone, &EpochTimes { before: views.before, watermark, now });
        let cx = context(epoch as u64 + 1, now, watermark);
        for (i, (op, _)) in running.iter_mut().enumerate() {
            let mine = |part: &[Row], weight: i64| {
                let part = batch(part);
                let nodes = vnodes(&[part.rows.column(0).clone()], part.len());
                let mask: BooleanArray = nodes.iter().map(|v| Some(*v as usize % workers == i)).collect();
                let mine = part.filter(&mask).unwrap();
                let weights = vec![weight; mine.len()];
                (0, if append_only { mine } else { ChangeBatch::new(mine.rows, weights) })
            };
            let inputs = step.rows.chunks(step.split).map(|rows| mine(rows, 1));
            let inputs = inputs.chain(gone.chunks(step.split).map(|rows| mine(rows, -1)));
            let inputs: Vec<_> = inputs.filter(|(_, b)| !b.is_empty()).collect();
            let out = run_epoch(op, inputs, &cx);
            // A part of a session may show what the pane was that another part takes back.
            assert!(!append_only || cancelling(&out).is_empty());
            apply(&mut contents, &out);
            assert!(op.next_timer().is_none_or(|t| t.0 > now && t.0 != NEVER));
        }
        assert_eq!(contents, views.contents, "epoch {epoch}");
        if emit.accumulation != Accumulation::Discarding {
            let keys: std::collections::BTreeSet<_> =
                contents.keys().map(|line| line.splitn(4, '|').take(3).collect::<Vec<_>>()).collect();
            assert_eq!(keys.len(), contents.len(), "one row a session");
        }
        assert_eq!(running.iter().map(|(_, late)| late.count()).sum::<u64>(), views.late, "late in {epoch}");
    }
    views.epoch(&[], &[], &EpochTimes { before: views.before, watermark: i64::MAX, now });
    for (op, _) in &mut running {
        apply(&mut contents, &run_epoch(op, [], &context(99, now, i64::MAX)));
        assert_eq!((op.sessions.index.len(), op.shown.rows.len(), op.sessions.keys.len()), (0, 0, 0));
        assert_eq!(op.members.as_ref().map_or(0, |m| m.len()), 0);
    }
    assert_eq!(contents, views.contents, "at the end");
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let rows = prop::collection::vec((0..3i64, 0..70i64, 0..9i64), 0..7);
    let gone = prop_oneof![2 => Just(vec![]), 3 => prop::collection::vec(0..1000usize, 0..4)];
    let watermark = prop_oneof![3 => 0i64..4, 1 => 4i64..20];
    let step = (rows, gone, watermark, 0i64..4, 1usize..9);
    let step =
        step.prop_map(|(rows, gone, watermark, clock, split)| Step { rows, gone, watermark, clock, split });
    prop::collection::vec(step, 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(schedules(500))
    })]
    #[test]
    fn agree_with_the_model(
        mut emit in emit_spec(),
        mode in prop_oneof![
            Just(Accumulation::Accumulating),
            Just(Accumulation::AccumulatingAndRetracting),
            Just(Accumulation::Discarding),
        ],
        with_pane_columns in any::<bool>(),
        workers in 1usize..4,
        steps in steps(),
    ) {
        emit.accumulation = mode;
        emit.with_pane_columns = with_pane_columns;
        check(&emit, true, workers, &steps);
    }

    #[test]
    fn rows_that_go_agree_with_the_model(
        mut emit in emit_spec(),
        retracting in any::<bool>(),
        with_pane_columns in any::<bool>(),
        workers in 1usize..4,
        steps in steps(),
    ) {
        let modes = [Accumulation::Accumulating, Accumulation::AccumulatingAndRetracting];
        emit.accumulation = modes[usize::from(retracting)];
        emit.with_pane_columns = with_pane_columns;
        check(&emit, false, workers, &steps);
    }
}
