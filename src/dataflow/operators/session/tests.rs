mod panes;

use arrow::array::{Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use proptest::prelude::*;

use super::*;
use crate::dataflow::operators::session_assign::{SessionAssignOperator, SessionAssignSpec};
use crate::dataflow::operators::tests::{Contents, apply, cancelling, context, lines, run_epoch};
use crate::plan::AggregateFunction;
use crate::types::trigger::{OnTime, TriggerSpec};

const GAP: i64 = 10;

fn schema(names: &[&str]) -> SchemaRef {
    let field = |name: &&str| match *name {
        "t" | "window_start" | "window_end" | "window_time" => {
            Field::new(*name, DataType::Timestamp(TimeUnit::Microsecond, None), true)
        }
        name => Field::new(name, DataType::Int64, true),
    };
    Arc::new(Schema::new(names.iter().map(field).collect::<Vec<_>>()))
}

fn calls() -> Vec<AggregateCall> {
    let call = |function, argument: Option<usize>, name| AggregateCall {
        function,
        arguments: argument.into_iter().collect(),
        order_by: Vec::new(),
        filter: None,
        distinct: false,
        output: Arc::new(Field::new(name, DataType::Int64, true)),
    };
    vec![call(AggregateFunction::CountStar, None, "n"), call(AggregateFunction::Max, Some(2), "hi")]
}

fn operator(emit: EmitSpec) -> (SessionAggregateOperator, Arc<LateRows>) {
    operator_over(emit, true)
}

fn operator_over(emit: EmitSpec, append_only: bool) -> (SessionAggregateOperator, Arc<LateRows>) {
    let late = Arc::new(LateRows::new(100));
    let spec = SessionAggregateSpec {
        input_schema: schema(&["k", "t", "v"]),
        input_append_only: append_only,
        group_columns: vec![0],
        calls: calls(),
        output_schema: schema(&["k", "window_start", "window_end", "n", "hi"]),
        time_column: 1,
        time: WindowTime::Event { clock: vec![0].into() },
        gap_us: GAP,
        emit,
        late: late.clone(),
        errors: Arc::new(RowErrors::new(10)),
    };
    (SessionAggregateOperator::new(spec).unwrap(), late)
}

fn batch(rows: &[(i64, i64, i64)]) -> ChangeBatch {
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| r.1));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.0))),
        Arc::new(times),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.2))),
    ];
    ChangeBatch::inserts(RecordBatch::try_new(schema(&["k", "t", "v"]), columns).unwrap())
}

/// A line of output as key, bounds in microseconds, count and maximum.
fn parsed(line: &str) -> (i64, i64, i64, i64, i64) {
    let micros = |text: &str| text.parse::<chrono::NaiveDateTime>().unwrap().and_utc().timestamp_micros();
    let cells: Vec<&str> = line.split('|').collect();
    let number = |i: usize| cells[i].parse().unwrap();
    (number(0), micros(cells[1]), micros(cells[2]), number(3), number(4))
}

fn rows(contents: &Contents) -> Vec<(i64, i64, i64, i64, i64)> {
    assert!(contents.values().all(|w| *w == 1), "{contents:?}");
    contents.keys().map(|line| parsed(line)).collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

fn changes(out: &[ChangeBatch]) -> Vec<(i64, i64, i64, i64, i64)> {
    out.iter()
        .flat_map(lines)
        .map(|(line, weight)| (weight, parsed(&line)))
        .map(|(w, r)| (w, r.1, r.2, r.3, r.4))
        .collect()
}

#[test]
fn a_merge_replaces_what_it_swallows() {
    let (mut op, late) = operator(EmitSpec::changes());
    let out = run_epoch(&mut op, [(0, batch(&[(1, 0, 5), (1, 20, 7)]))], &context(1, 0, i64::MIN));
    assert_eq!(changes(&out), [(1, 0, 10, 1, 5), (1, 20, 30, 1, 7)]);
    let out = run_epoch(&mut op, [(0, batch(&[(1, 10, 1), (1, 25, 2)]))], &context(2, 0, i64::MIN));
    assert_eq!(changes(&out), [(-1, 20, 30, 1, 7), (-1, 0, 10, 1, 5), (1, 0, 35, 4, 7)]);
    assert_eq!(op.state_size().entries, 1);
    let out = run_epoch(&mut op, [], &context(3, 0, 35));
    assert_eq!((changes(&out), op.state_size().entries), (vec![], 0));
    // Two rows too late, alone and as a run; one that touches nothing but ends later.
    let out = run_epoch(&mut op, [(0, batch(&[(1, 25, 1), (1, 20, 1), (2, 26, 1)]))], &context(4, 0, 35));
    assert_eq!((changes(&out), late.count()), (vec![(1, 26, 36, 1, 1)], 2));
    assert_eq!(late.newest(9)[0].facts.window_end, Some(35));
}

#[test]
fn a_swallowed_pane_stays_until_the_merged_one_fires() {
    let early = EmitPolicy::Phases {
        early: Some(TriggerSpec::AfterRows(2)),
        on_time: Some(OnTime { if_not_empty: false }),
        late: None,
    };
    let (mut op, _) = operator(EmitSpec { policy: early, ..EmitSpec::changes() });
    let out = run_epoch(&mut op, [(0, batch(&[(1, 0, 1), (1, 1, 2)]))], &context(1, 0, 0));
    assert_eq!(changes(&out), [(1, 0, 11, 2, 2)]);
    let out = run_epoch(&mut op, [(0, batch(&[(1, 5, 3)]))], &context(2, 0, 0));
    assert_eq!(changes(&out), []);
    // Counts add up: the second new row of the merged session fires.
    let out = run_epoch(&mut op, [(0, batch(&[(1, 6, 4)]))], &context(3, 0, 0));
    assert_eq!(changes(&out), [(-1, 0, 11, 2, 2), (1, 0, 16, 4, 4)]);
    run_epoch(&mut op, [(0, batch(&[(1, 8, 9)]))], &context(4, 0, 11));
    let out = run_epoch(&mut op, [], &context(5, 0, 18));
    assert_eq!(changes(&out), [(-1, 0, 16, 4, 4), (1, 0, 18, 5, 9)]);
    assert_eq!((op.state_size().entries, op.shown.rows.len(), op.sessions.keys.len()), (0, 0, 0));
}

#[test]
fn many_open_sessions_are_small() {
    let (mut op, _) = operator(EmitSpec::changes());
    for epoch in 0..4 {
        let rows: Vec<(i64, i64, i64)> = (0..50_000).map(|i| (epoch * 50_000 + i, 0, i)).collect();
        let batches: Vec<_> = rows.chunks(8192).map(|c| (0, batch(c))).collect();
        run_epoch(&mut op, batches, &context(epoch as u64, 0, 0));
    }
    let size = op.state_size();
    assert_eq!(size.entries, 200_000);
    assert!(size.bytes <= 300 * size.entries, "{} bytes a session", size.bytes / size.entries);
}

/// What rows kept by a [`SessionAssignOperator`] give, aggregated from scratch.
fn by_rows(
    op: &mut SessionAssignOperator,
    contents: &mut Contents,
    batches: Vec<(usize, ChangeBatch)>,
    cx: &EpochContext,
) -> Vec<(i64, i64, i64, i64, i64)> {
    apply(contents, &run_epoch(op, batches, cx));
    let mut sessions: BTreeMap<(i64, i64, i64), (i64, i64)> = BTreeMap::new();
    for (line, weight) in contents.iter() {
        let cells: Vec<&str> = line.split('|').collect();
        let moved = [cells[0], cells[3], cells[4], cells[2], cells[2]].join("|");
        let (key, start, end, value, _) = parsed(&moved);
        let session = sessions.entry((key, start, end)).or_insert((0, i64::MIN));
        *session = (session.0 + weight, session.1.max(value));
    }
    sessions.into_iter().map(|((k, s, e), (n, hi))| (k, s, e, n, hi)).collect()
}

proptest! {
    /// Bounds and accumulators alone give what all rows give, under any watermark and cut.
    #[test]
    fn sessions_without_rows_are_those_with_rows(
        epochs in prop::collection::vec(
            (prop::collection::vec((0..3i64, 0..120i64, 0..9i64), 0..10), 0..25i64), 1..12),
        lateness in prop_oneof![Just(0i64), Just(15)],
    ) {
        let emit = |spec: EmitSpec| EmitSpec { lateness_us: lateness, ..spec };
        let (mut op, late) = operator(emit(EmitSpec::changes()));
        let (mut last, _) = operator(emit(EmitSpec::final_pane()));
        let reference_late = Arc::new(LateRows::new(100));
        let mut reference = SessionAssignOperator::new(SessionAssignSpec {
            input_schema: schema(&["k", "t", "v"]),
            time_column: 1,
            time: WindowTime::Event { clock: vec![0].into() },
            gap_us: GAP,
            keys: vec![0],
            lateness_us: lateness,
            output_schema: schema(&["k", "t", "v", "window_start", "window_end", "window_time"]),
            late: reference_late.clone(),
        }).unwrap();
        let (mut contents, mut finals, mut kept) = (Contents::new(), Contents::new(), Contents::new());
        let mut watermark = 0;
        for (epoch, (changed, advance)) in epochs.into_iter().enumerate() {
            watermark += advance;
            let cx = context(epoch as u64, 0, watermark);
            let batches = || changed.chunks(4).map(|c| (0, batch(c))).collect::<Vec<_>>();
            let out = run_epoch(&mut op, batches(), &cx);
            prop_assert_eq!(cancelling(&out), Vec::<String>::new());
            apply(&mut contents, &out);
            apply(&mut finals, &run_epoch(&mut last, batches(), &cx));
            let expected = by_rows(&mut reference, &mut kept, batches(), &cx);
            prop_assert_eq!(rows(&contents), expected.clone());
            let closed: Vec<_> = expected.into_iter().filter(|r| r.2 + lateness <= watermark).collect();
            prop_assert_eq!(rows(&finals), closed);
        }
        prop_assert_eq!(late.count(), reference_late.count());
        run_epoch(&mut op, [], &context(99, 0, 1000));
        prop_assert_eq!((op.sessions.index.len(), op.shown.rows.len(), op.sessions.keys.len()), (0, 0, 0));
    }
}
