//! Sessions with panes against the slow model, on random schedules.
//!
//! Trigger × accumulation × lateness × workers, over random rows and steps of the watermark
//! and of the clock. The model knows rule 9 and nothing of runs, slots or queues.
//! `HEADWATER_SCHEDULES=100000` is the long mode.

use arrow::array::BooleanArray;

use super::*;
use crate::dataflow::operators::panes::{PaneColumns, PaneRow, pane_fields};
use crate::dataflow::triggers::Firing;
use crate::dataflow::triggers::model::Model;
use crate::dataflow::triggers::tests::emit_spec;
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
    /// Live panes: its own, or those of the sessions it has swallowed.
    shown: Vec<String>,
}

struct Views {
    emit: EmitSpec,
    sessions: Vec<(i64, Session)>,
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
    fn add(&mut self, run: Vec<Row>) {
        let key = run[0].0;
        let (mut start, mut end) = (run[0].1, run[run.len() - 1].1 + GAP);
        let touches = |(k, s): &(i64, Session)| *k == key && s.start <= end && start <= s.end;
        let (touched, apart): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.sessions).into_iter().partition(touches);
        self.sessions = apart;
        let takes = match touched.as_slice() {
            [] => Model::new(&self.emit, end, self.before).takes_rows(self.before),
            touched => touched.iter().any(|(_, s)| !s.pane.over),
        };
        if !takes {
            self.late += run.len() as u64;
            self.sessions.extend(touched);
            return;
        }
        for (_, s) in &touched {
            (start, end) = (start.min(s.start), end.max(s.end));
        }
        let parts: Vec<(&Model, bool)> =
            touched.iter().map(|(_, s)| (&s.pane, (s.start, s.end) == (start, end))).collect();
        let pane = match parts.as_slice() {
            [] => Model::new(&self.emit, end, self.before),
            [(only, true)] => (*only).clone(),
            parts => Model::merged(&self.emit, end, self.before, parts),
        };
        let mut merged = Session { start, end, pane, rows: vec![], new: vec![], arrived: 0, shown: vec![] };
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

    fn epoch(&mut self, rows: &[Row], times: &EpochTimes) {
        runs(rows).into_iter().for_each(|run| self.add(run));
        let mut changes: Vec<(String, i64)> = Vec::new();
        for (key, session) in &mut self.sessions {
            let arrived = std::mem::take(&mut session.arrived);
            let Some(firing) = session.pane.epoch(arrived, times) else { continue };
            if self.emit.accumulation == Accumulation::Discarding {
                changes.push((line(&self.emit, *key, session, &session.new, &firing, times), 1));
            } else {
                let line = line(&self.emit, *key, session, &session.rows, &firing, times);
                changes.extend(session.shown.drain(..).map(|l| (l, -1)));
                changes.push((line.clone(), 1));
                session.shown = vec![line];
            }
            session.new.clear();
        }
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

fn worker(emit: &EmitSpec) -> (SessionAggregateOperator, Arc<LateRows>) {
    let (plain, late) = operator(emit.clone());
    let mut spec = plain.spec;
    if emit.with_pane_columns {
        let mut fields: Vec<Field> = spec.output_schema.fields().iter().map(|f| f.as_ref().clone()).collect();
        fields.extend(pane_fields());
        spec.output_schema = Arc::new(Schema::new(fields));
    }
    (SessionAggregateOperator::new(spec).unwrap(), late)
}

/// Rows, steps of watermark and clock, and the length of a batch.
type SessionStep = (Vec<Row>, i64, i64, usize);

fn check(emit: &EmitSpec, workers: usize, steps: &[SessionStep]) {
    let mut running: Vec<_> = (0..workers).map(|_| worker(emit)).collect();
    let mut views =
        Views { emit: emit.clone(), sessions: vec![], contents: Contents::new(), late: 0, before: i64::MIN };
    let mut contents = Contents::new();
    let (mut watermark, mut now) = (-30, -7);
    for (epoch, (rows, step, clock, split)) in steps.iter().enumerate() {
        (watermark, now) = (watermark + step, now + clock);
        views.epoch(rows, &EpochTimes { before: views.before, watermark, now });
        let cx = context(epoch as u64 + 1, now, watermark);
        for (i, (op, _)) in running.iter_mut().enumerate() {
            let mine = |part: &[Row]| {
                let part = batch(part);
                let nodes = vnodes(&[part.rows.column(0).clone()], part.len());
                let mask: BooleanArray = nodes.iter().map(|v| Some(*v as usize % workers == i)).collect();
                (0, part.filter(&mask).unwrap())
            };
            let inputs: Vec<_> = rows.chunks(*split).map(mine).filter(|(_, b)| !b.is_empty()).collect();
            let out = run_epoch(op, inputs, &cx);
            assert_eq!(cancelling(&out), Vec::<String>::new());
            apply(&mut contents, &out);
            assert!(op.next_timer().is_none_or(|t| t.0 > now && t.0 != NEVER));
        }
        assert_eq!(contents, views.contents, "epoch {epoch}");
        assert_eq!(running.iter().map(|(_, late)| late.count()).sum::<u64>(), views.late, "late in {epoch}");
    }
    views.epoch(&[], &EpochTimes { before: views.before, watermark: i64::MAX, now });
    for (op, _) in &mut running {
        apply(&mut contents, &run_epoch(op, [], &context(99, now, i64::MAX)));
        assert_eq!((op.sessions.index.len(), op.shown.rows.len(), op.sessions.keys.len()), (0, 0, 0));
    }
    assert_eq!(contents, views.contents, "at the end");
}

fn schedules() -> u32 {
    std::env::var("HEADWATER_SCHEDULES").ok().and_then(|n| n.parse().ok()).unwrap_or(500)
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(schedules())
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
        steps in prop::collection::vec(
            (
                prop::collection::vec((0..3i64, 0..70i64, 0..9i64), 0..7),
                prop_oneof![3 => 0i64..4, 1 => 4i64..20],
                0i64..4,
                1usize..9,
            ),
            1..20,
        ),
    ) {
        emit.accumulation = mode;
        emit.with_pane_columns = with_pane_columns;
        check(&emit, workers, &steps);
    }
}
