//! The aggregate with panes against the slow model, on random schedules.
//!
//! Window kind × trigger × accumulation × lateness × workers, over random rows, deletions,
//! steps of the watermark and of the clock. `HEADWATER_SCHEDULES=100000` is the long mode.

use super::*;
use crate::dataflow::operators::panes::{PaneColumns, PaneRow, pane_fields};
use crate::dataflow::triggers::model::Model as PaneModel;
use crate::dataflow::triggers::tests::{emit_spec, schedules};
use crate::dataflow::triggers::{ENDLESS, NEVER};
use crate::types::trigger::{Accumulation, Closing, OnTime, TriggerSpec};

/// The operators of one worker under `emit`.
fn pane_worker(shape: Shape, emit: &EmitSpec, append_only: bool, owner: bool) -> Worker {
    let mut worker = worker(shape, false, append_only, owner);
    let mut spec = worker.aggregate.spec.clone();
    spec.emit = emit.clone();
    if emit.with_pane_columns {
        let mut fields: Vec<Field> = spec.output_schema.fields().iter().map(|f| f.as_ref().clone()).collect();
        fields.extend(pane_fields());
        spec.output_schema = Arc::new(Schema::new(fields));
    }
    worker.aggregate = AggregateOperator::new(spec).unwrap();
    worker
}

/// One key and window of the model.
struct Window {
    pane: PaneModel,
    rows: Vec<Row>,
    /// Rows since the last firing.
    new: Vec<Row>,
    /// Rows of this epoch, deletions included.
    arrived: u64,
    shown: Option<String>,
}

struct Views {
    shape: Shape,
    emit: EmitSpec,
    windows: BTreeMap<(Option<i64>, i64), Window>,
    contents: Contents,
    late: u64,
    before: i64,
}

impl Views {
    fn ends(&self, row: &Row) -> Vec<i64> {
        let Some((windows, _)) = self.shape.windows() else { return vec![ENDLESS] };
        let Some(t) = row.1 else { return vec![] };
        (t..=t + windows.size_us())
            .filter(|end| *end > t && windows.last_start(end - windows.size_us()) == end - windows.size_us())
            .collect()
    }

    fn add(&mut self, row: Row, weight: i64) {
        let key = if self.shape == Shape::Global { None } else { row.0 };
        for end in self.ends(&row) {
            let fresh = PaneModel::new(&self.emit, end, self.before);
            if !self.windows.get(&(key, end)).map_or(&fresh, |w| &w.pane).takes_rows(self.before) {
                self.late += 1;
                continue;
            }
            let window = self.windows.entry((key, end)).or_insert_with(|| Window {
                pane: fresh,
                rows: vec![],
                new: vec![],
                arrived: 0,
                shown: None,
            });
            window.arrived += 1;
            window.new.push(row);
            if weight > 0 {
                window.rows.push(row);
            } else if let Some(at) = window.rows.iter().position(|r| r == &row) {
                window.rows.remove(at);
            }
        }
    }

    fn line(&self, key: Option<i64>, end: i64, rows: &[Row], pane: PaneRow) -> String {
        let mut line = String::new();
        if self.shape != Shape::Global {
            line = key.map_or("NULL".to_string(), |k| k.to_string()) + "|";
        }
        if let Some((windows, _)) = self.shape.windows() {
            let bounds = timestamps(vec![end - windows.size_us(), end], &timestamp());
            let schema = Arc::new(Schema::new(vec![Field::new("b", timestamp(), true)]));
            let bounds = ChangeBatch::inserts(RecordBatch::try_new(schema, vec![bounds]).unwrap());
            let lines = crate::dataflow::operators::tests::lines(&bounds);
            line += &format!("{}|{}|", lines[0].0, lines[1].0);
        }
        line += &expected(rows, false);
        if self.emit.with_pane_columns {
            let schema = Arc::new(Schema::new(pane_fields()));
            let mut columns = Vec::new();
            [pane].into_iter().collect::<PaneColumns>().append_to(&schema, &mut columns).unwrap();
            let batch = ChangeBatch::inserts(RecordBatch::try_new(schema, columns).unwrap());
            line += &format!("|{}", crate::dataflow::operators::tests::lines(&batch)[0].0);
        }
        line
    }

    /// Ends the epoch; the panes fired.
    fn epoch(&mut self, times: &EpochTimes) -> usize {
        let mut changes: Vec<(String, i64)> = Vec::new();
        let mut fired = 0;
        let mut windows = std::mem::take(&mut self.windows);
        for ((key, end), window) in &mut windows {
            let rows = std::mem::take(&mut window.arrived);
            let Some(firing) = window.pane.epoch(rows, times) else { continue };
            fired += 1;
            let pane = PaneRow::new(&firing, times);
            if self.emit.accumulation == Accumulation::Discarding {
                changes.push((self.line(*key, *end, &window.new, pane), 1));
            } else {
                let lives = !window.rows.is_empty() || self.shape == Shape::Global;
                let line = lives.then(|| self.line(*key, *end, &window.rows, pane));
                changes.extend(window.shown.take().map(|l| (l, -1)));
                changes.extend(line.clone().map(|l| (l, 1)));
                window.shown = line;
            }
            window.new.clear();
        }
        // Without windows and without anything to remember, a group starts anew.
        windows.retain(|(_, end), w| {
            *end != ENDLESS
                || self.shape == Shape::Global
                || self.emit.accumulation == Accumulation::Discarding
                || !w.rows.is_empty()
                || w.shown.is_some()
                || !w.new.is_empty()
                || w.pane.over
        });
        self.windows = windows;
        for (line, weight) in changes {
            *self.contents.entry(line).or_insert(0) += weight;
        }
        self.contents.retain(|_, w| *w != 0);
        self.before = times.watermark;
        fired
    }
}

/// An epoch: new rows, old rows to delete, steps of watermark and clock, batch length.
type PaneStep = (Vec<Row>, Vec<prop::sample::Index>, i64, i64, usize);

struct Case {
    shape: Shape,
    emit: EmitSpec,
    append_only: bool,
    workers: usize,
}

/// Sends rows to the workers as the exchange does.
fn distribute(shape: Shape, rows: &[(Row, i64)], split: usize, workers: usize) -> Vec<Vec<ChangeBatch>> {
    let mut inputs: Vec<Vec<ChangeBatch>> = vec![Vec::new(); workers];
    for part in rows.chunks(split.max(1)) {
        let part_batch = batch(part);
        let keys = if shape == Shape::Global { vec![] } else { vec![part_batch.rows.column(0).clone()] };
        let nodes = vnodes(&keys, part.len());
        for (worker, input) in inputs.iter_mut().enumerate() {
            let mine: BooleanArray = match shape {
                Shape::Global => nodes.iter().map(|_| Some(worker == 0)).collect(),
                _ => nodes.iter().map(|v| Some(*v as usize % workers == worker)).collect(),
            };
            let mine = part_batch.filter(&mine).unwrap();
            if !mine.is_empty() {
                input.push(mine);
            }
        }
    }
    inputs
}

fn check_panes(case: &Case, steps: &[PaneStep]) {
    let Case { shape, emit, append_only, workers } = case;
    let mut running: Vec<Worker> =
        (0..*workers).map(|i| pane_worker(*shape, emit, *append_only, i == 0)).collect();
    let mut views = Views {
        shape: *shape,
        emit: emit.clone(),
        windows: BTreeMap::new(),
        contents: Contents::new(),
        late: 0,
        before: i64::MIN,
    };
    let (mut live, mut contents): (Vec<Row>, Contents) = Default::default();
    let (mut watermark, mut now) = (-30, -7);
    for (epoch, (new, deletes, step, clock, split)) in steps.iter().enumerate() {
        let mut rows: Vec<(Row, i64)> = new.iter().map(|r| (*r, 1)).collect();
        live.extend(new);
        let wanted = if *append_only { 0 } else { deletes.len().min(live.len()) };
        for delete in &deletes[..wanted] {
            let gone = live.swap_remove(delete.index(live.len()));
            rows.insert(0, (gone, -1));
        }
        rows.iter().filter(|(_, w)| *w > 0).for_each(|(r, w)| views.add(*r, *w));
        rows.iter().filter(|(_, w)| *w < 0).for_each(|(r, w)| views.add(*r, *w));
        watermark += step;
        now += clock;
        let windowed = shape.windows().is_some();
        let seen = if windowed { watermark } else { i64::MIN };
        views.epoch(&EpochTimes { before: views.before, watermark: seen, now });
        let cx = context(epoch as u64 + 1, now, watermark);
        for (worker, input) in running.iter_mut().zip(distribute(*shape, &rows, *split, *workers)) {
            let out = worker.epoch(input, &cx);
            assert_eq!(cancelling(&out), Vec::<String>::new());
            apply(&mut contents, &out);
            assert!(worker.aggregate.next_timer().is_none_or(|t| t.0 > now && t.0 != NEVER));
        }
        let wrong: Vec<_> = contents.iter().filter(|(l, w)| views.contents.get(*l) != Some(w)).collect();
        let missing: Vec<_> = views.contents.iter().filter(|(l, w)| contents.get(*l) != Some(w)).collect();
        assert!(wrong.is_empty() && missing.is_empty(), "epoch {epoch}: {wrong:#?} instead of {missing:#?}");
        assert_eq!(running.iter().map(|w| w.late.count()).sum::<u64>(), views.late, "late in {epoch}");
    }
    if shape.windows().is_some() {
        let end = context(99, now, i64::MAX);
        views.epoch(&EpochTimes { before: views.before, watermark: i64::MAX, now });
        for worker in &mut running {
            apply(&mut contents, &worker.epoch(Vec::new(), &end));
            assert_eq!(worker.aggregate.state_size().entries, 0);
            assert_eq!(worker.aggregate.groups.held_rows(), 0);
            assert_eq!(worker.aggregate.groups.fired_times(), 0);
        }
        assert_eq!(contents, views.contents, "at the end");
    }
}

fn case() -> impl Strategy<Value = Case> {
    let mode = prop_oneof![
        Just(Accumulation::Accumulating),
        Just(Accumulation::AccumulatingAndRetracting),
        Just(Accumulation::Discarding),
    ];
    (shape(), emit_spec(), mode, any::<bool>(), any::<bool>(), 1usize..4).prop_map(
        |(shape, mut emit, accumulation, with_pane_columns, append_only, workers)| {
            emit.accumulation = accumulation;
            emit.with_pane_columns = with_pane_columns;
            if shape.windows().is_none() && emit.policy == EmitPolicy::Final {
                emit.policy = EmitPolicy::Changes;
            }
            // Its first row comes without a pane; the test of the changes has it.
            if shape == Shape::Global && emit.policy == EmitPolicy::Changes {
                emit.with_pane_columns = true;
            }
            let append_only = append_only || accumulation == Accumulation::Discarding;
            Case { shape, emit, append_only, workers }
        },
    )
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Case { shape, emit, append_only, workers } = self;
        write!(f, "{shape:?}, append only {append_only}, {workers} workers, {emit:#?}")
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(schedules(300))
    })]
    #[test]
    fn agree_with_the_model(
        case in case(),
        steps in prop::collection::vec(
            (
                prop::collection::vec(row(), 0..8),
                prop::collection::vec(any::<prop::sample::Index>(), 0..6),
                prop_oneof![3 => 0i64..4, 1 => 4i64..20],
                0i64..4,
                1usize..20,
            ),
            1..20,
        ),
    ) {
        check_panes(&case, &steps);
    }
}

fn phases(early: u64, late: u64) -> EmitSpec {
    EmitSpec {
        policy: EmitPolicy::Phases {
            early: Some(TriggerSpec::AfterRows(early)),
            on_time: Some(OnTime { if_not_empty: false }),
            late: Some(TriggerSpec::AfterRows(late)),
        },
        lateness_us: 20,
        closing: Closing::IfNotEmpty,
        ..EmitSpec::changes()
    }
}

/// A row of key `k` at time 5.
fn at_five(k: i64) -> (Row, i64) {
    ((Some(k), Some(5), Some(1), None, None, None), 1)
}

#[test]
fn state_goes_with_the_horizon_and_timers_with_it() {
    let shape = Shape::Sliced { slide: 10, size: 10, on_close: false };
    let mut emit = phases(2, 1);
    emit.policy =
        EmitPolicy::When(TriggerSpec::Repeatedly(Box::new(TriggerSpec::AfterDelay { delay_us: 50 })));
    let mut w = pane_worker(shape, &emit, true, true);
    let rows: Vec<_> = (0..1000).map(at_five).collect();
    w.epoch(vec![batch(&rows)], &context(1, 100, 0));
    assert_eq!(w.aggregate.state_size().entries, 1000);
    assert_eq!(w.aggregate.next_timer(), Some(ProcTime(150)));
    w.epoch(vec![], &context(2, 110, 32));
    assert_eq!(w.aggregate.state_size().entries, 1000);
    let out = w.epoch(vec![], &context(3, 110, 33));
    assert_eq!(out.iter().map(ChangeBatch::len).sum::<usize>(), 1000);
    assert_eq!(w.aggregate.state_size().entries, 0);
    assert!(w.epoch(vec![], &context(4, 150, 33)).is_empty());
    assert_eq!(w.aggregate.next_timer(), None);
}

#[test]
fn open_windows_cost_at_most_300_bytes() {
    let shape = Shape::Sliced { slide: 10, size: 10, on_close: false };
    let mut emit = phases(2, 1);
    emit.with_pane_columns = true;
    let mut spec = pane_worker(shape, &emit, true, true).aggregate.spec.clone();
    spec.calls = vec![call(AggregateFunction::CountStar, None, DataType::Int64)];
    let mut fields: Vec<Field> =
        spec.output_schema.fields()[..3].iter().map(|f| f.as_ref().clone()).collect();
    fields.push(Field::new("c", DataType::Int64, true));
    fields.extend(pane_fields());
    spec.output_schema = Arc::new(Schema::new(fields));
    let mut aggregate = AggregateOperator::new(spec).unwrap();
    let windows = 1 << 17;
    for part in 0..windows / 8192 {
        let rows: Vec<_> = (0..8192).map(|i| at_five(part * 8192 + i)).collect();
        run_epoch(&mut aggregate, [(0, batch(&rows))], &context(part as u64 + 1, 0, 0));
    }
    let size = aggregate.state_size();
    assert_eq!(size.entries, windows as usize);
    assert!(size.bytes <= 300 * size.entries, "{} bytes a window", size.bytes / size.entries);
}

#[test]
fn processing_time_windows_have_panes_by_the_clock() {
    let shape = Shape::Sliced { slide: 10, size: 10, on_close: false };
    let mut spec = pane_worker(shape, &phases(2, 1), true, true).aggregate.spec.clone();
    if let Some(window) = &mut spec.window {
        window.time = WindowTime::Processing;
        if let WindowBounds::Sliced(hop) = &mut window.bounds {
            hop.time_column = None;
        }
    }
    let mut aggregate = AggregateOperator::new(spec).unwrap();
    let mut epoch = |number: u64, now: i64, rows: &[(Row, i64)]| {
        let inputs: Vec<_> = (!rows.is_empty()).then(|| (0, batch(rows))).into_iter().collect();
        let out = run_epoch(&mut aggregate, inputs, &context(number, now, 0));
        (out.iter().flat_map(|b| b.weights_vec()).collect::<Vec<_>>(), aggregate.next_timer().map(|t| t.0))
    };
    // Windows end at 13, 23, …; panes close 20 later.
    assert_eq!(epoch(1, 4, &[at_five(1)]), (vec![], Some(13)));
    assert_eq!(epoch(2, 5, &[at_five(1)]), (vec![1], Some(13)));
    assert_eq!(epoch(3, 13, &[]), (vec![], Some(33)));
    assert_eq!(epoch(4, 33, &[]), (vec![], None));
}
