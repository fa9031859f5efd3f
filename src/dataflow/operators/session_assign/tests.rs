use arrow::array::{Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{Field, Schema, TimeUnit};
use proptest::prelude::*;

use super::*;
use crate::dataflow::operators::tests::{Contents, apply, cancelling, context, run_epoch};

const GAP: i64 = 10;

fn schema(bounds: &[&str]) -> SchemaRef {
    let time = || DataType::Timestamp(TimeUnit::Microsecond, None);
    let mut fields = vec![Field::new("k", DataType::Int64, true), Field::new("t", time(), true)];
    fields.extend(bounds.iter().map(|n| Field::new(*n, time(), true)));
    Arc::new(Schema::new(fields))
}

fn operator(lateness_us: i64, time: WindowTime) -> (SessionAssignOperator, Arc<LateRows>) {
    let late = Arc::new(LateRows::new(100));
    let spec = SessionAssignSpec {
        input_schema: schema(&[]),
        time_column: 1,
        time,
        gap_us: GAP,
        keys: vec![0],
        lateness_us,
        output_schema: schema(&["window_start", "window_end", "window_time"]),
        late: late.clone(),
    };
    (SessionAssignOperator::new(spec).unwrap(), late)
}

fn event_time() -> WindowTime {
    WindowTime::Event { clock: vec![0].into() }
}

fn batch(rows: &[(i64, i64, i64)]) -> ChangeBatch {
    let keys = Int64Array::from_iter_values(rows.iter().map(|r| r.0));
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| r.1));
    let rows_of = RecordBatch::try_new(schema(&[]), vec![Arc::new(keys), Arc::new(times)]).unwrap();
    if rows.iter().all(|r| r.2 == 1) {
        return ChangeBatch::inserts(rows_of);
    }
    ChangeBatch::new(rows_of, rows.iter().map(|r| r.2).collect())
}

/// The contents as `key:time[start,end)` with weights.
fn bounds(contents: &Contents) -> Vec<(i64, i64, i64, i64, i64)> {
    let micros = |text: &str| {
        let time: chrono::NaiveDateTime = text.parse().unwrap();
        time.and_utc().timestamp_micros()
    };
    let row = |(line, weight): (&String, &i64)| {
        let cells: Vec<&str> = line.split('|').collect();
        (cells[0].parse().unwrap(), micros(cells[1]), micros(cells[2]), micros(cells[3]), *weight)
    };
    let mut rows: Vec<_> = contents.iter().map(row).collect();
    rows.sort_unstable();
    rows
}

#[test]
fn touching_rows_merge_and_a_deleted_one_splits() {
    let (mut op, late) = operator(0, event_time());
    let mut contents = Contents::new();
    let mut step = |op: &mut SessionAssignOperator, rows: &[(i64, i64, i64)], watermark| {
        apply(&mut contents, &run_epoch(op, [(0, batch(rows))], &context(1, 0, watermark)));
        bounds(&contents)
    };
    // [0,10) and [20,30) do not touch, [10,20) touches both.
    let rows = step(&mut op, &[(1, 0, 1), (1, 20, 1), (2, 5, 1)], i64::MIN);
    assert_eq!(rows, [(1, 0, 0, 10, 1), (1, 20, 20, 30, 1), (2, 5, 5, 15, 1)]);
    let rows = step(&mut op, &[(1, 10, 1)], i64::MIN);
    assert_eq!(rows[..3], [(1, 0, 0, 30, 1), (1, 10, 0, 30, 1), (1, 20, 0, 30, 1)]);
    let rows = step(&mut op, &[(1, 10, -1)], 10);
    assert_eq!(rows[..2], [(1, 0, 0, 10, 1), (1, 20, 20, 30, 1)]);
    // [0,10) is closed: a row at 0 is too late, one at 9 touches nothing but ends at 19.
    let rows = step(&mut op, &[(1, 0, 1), (1, 9, 1)], 10);
    assert_eq!(rows[..3], [(1, 0, 0, 10, 1), (1, 0, 0, 19, 1), (1, 9, 0, 19, 1)]);
    assert_eq!(late.count(), 0, "the two rows of that epoch are one session, which is open");
    let rows = step(&mut op, &[(1, 0, -1)], 10);
    assert_eq!(rows[..2], [(1, 0, 0, 10, 1), (1, 9, 9, 19, 1)]);
    step(&mut op, &[(3, -1, 1), (3, -1, 1)], 10);
    assert_eq!(late.count(), 2, "two rows at −1 end at 9");
}

#[test]
fn lateness_keeps_sessions_and_processing_time_closes_them() {
    let (mut op, late) = operator(5, event_time());
    let mut contents = Contents::new();
    apply(&mut contents, &run_epoch(&mut op, [(0, batch(&[(1, 0, 1)]))], &context(1, 0, 14)));
    apply(&mut contents, &run_epoch(&mut op, [(0, batch(&[(1, 5, 1)]))], &context(2, 0, 20)));
    assert_eq!(bounds(&contents), [(1, 0, 0, 15, 1), (1, 5, 0, 15, 1)]);
    assert_eq!((op.state_size().entries, late.count()), (0, 0));

    let (mut op, _) = operator(0, WindowTime::Processing);
    let mut contents = Contents::new();
    apply(&mut contents, &run_epoch(&mut op, [(0, batch(&[(1, 0, 1)]))], &context(1, 100, 0)));
    assert_eq!(op.next_timer(), Some(ProcTime(110)));
    apply(&mut contents, &run_epoch(&mut op, [(0, batch(&[(1, 7, 1)]))], &context(2, 109, 0)));
    assert_eq!(bounds(&contents), [(1, 0, 100, 119, 1), (1, 7, 100, 119, 1)]);
    apply(&mut contents, &run_epoch(&mut op, [(0, batch(&[(1, 0, -1)]))], &context(3, 110, 0)));
    assert_eq!(bounds(&contents), [(1, 7, 109, 119, 1)]);
    run_epoch(&mut op, [], &context(4, 119, 0));
    assert_eq!((op.state_size().entries, op.next_timer()), (0, None));
}

/// The sessions of a multiset of rows.
fn expected(rows: &BTreeMap<(i64, i64), i64>) -> Vec<(i64, i64, i64, i64, i64)> {
    let mut sessions: Vec<(i64, i64, i64)> = Vec::new();
    for (key, time) in rows.keys() {
        match sessions.last_mut().filter(|s| s.0 == *key && *time <= s.2) {
            Some(session) => session.2 = time + GAP,
            None => sessions.push((*key, *time, time + GAP)),
        }
    }
    let of = |((key, time), weight): (&(i64, i64), &i64)| {
        let session = sessions.iter().find(|s| s.0 == *key && s.1 <= *time && *time < s.2).unwrap();
        (*key, *time, session.1, session.2, *weight)
    };
    rows.iter().map(of).collect()
}

proptest! {
    #[test]
    fn any_changes_give_the_sessions_of_what_is_left(
        epochs in prop::collection::vec(prop::collection::vec((0..3i64, 0..100i64, any::<bool>(), 1..3i64), 0..12), 1..12)
    ) {
        let (mut op, late) = operator(0, event_time());
        let mut rows: BTreeMap<(i64, i64), i64> = BTreeMap::new();
        let mut contents = Contents::new();
        for (epoch, changes) in epochs.into_iter().enumerate() {
            let mut batches = Vec::new();
            for (key, time, insert, weight) in changes {
                let held = rows.entry((key, time)).or_insert(0);
                let weight = if insert { weight } else { -weight.min(*held) };
                *held += weight;
                if weight != 0 {
                    batches.push((0, batch(&[(key, time, weight)])));
                }
            }
            rows.retain(|_, w| *w > 0);
            let out = run_epoch(&mut op, batches, &context(epoch as u64, 0, i64::MIN));
            prop_assert_eq!(cancelling(&out), Vec::<String>::new());
            apply(&mut contents, &out);
            prop_assert_eq!(bounds(&contents), expected(&rows));
            prop_assert_eq!(op.state_size().entries, rows.len());
        }
        prop_assert_eq!(late.count(), 0);
        run_epoch(&mut op, [], &context(99, 0, 200));
        prop_assert_eq!((op.state_size().entries, op.rows.len()), (0, 0));
    }
}
