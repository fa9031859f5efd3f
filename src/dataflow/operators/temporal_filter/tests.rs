use std::collections::BTreeMap;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use proptest::prelude::*;

use super::*;
use crate::dataflow::operators::tests::{Contents, apply, context, run_epoch};

/// Rows (x, t), in the result while t + 2 <= now < t + 5.
fn operator() -> TemporalFilterOperator {
    let bound = |shift_us, until| (1, TemporalBound { shift_us, until });
    TemporalFilterOperator::new(vec![bound(2, false), bound(5, true)], schema(1))
}

fn schema(columns: usize) -> SchemaRef {
    let fields = [
        Field::new("x", DataType::Int64, true),
        Field::new("t", DataType::Timestamp(TimeUnit::Microsecond, None), true),
    ];
    Arc::new(Schema::new(fields[..columns].to_vec()))
}

fn batch(rows: &[(i64, Option<i64>, i64)]) -> ChangeBatch {
    let x: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.0)));
    let t: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter(rows.iter().map(|r| r.1)));
    let batch = RecordBatch::try_new(schema(2), vec![x, t]).unwrap();
    ChangeBatch::new(batch, rows.iter().map(|r| r.2).collect())
}

#[test]
fn a_row_enters_and_leaves_at_its_microsecond() {
    let mut operator = operator();
    let mut contents = Contents::new();
    let mut held = Vec::new();
    for now in 8..17 {
        let rows = if now == 8 { vec![(0, batch(&[(1, Some(10), 2), (2, None, 1)]))] } else { vec![] };
        apply(&mut contents, &run_epoch(&mut operator, rows, &context(now as u64, now, 0)));
        held.push(contents.get("1").copied().unwrap_or(0));
    }
    assert_eq!(held, [0, 0, 0, 0, 2, 2, 2, 0, 0]);
    assert_eq!((operator.next_timer(), operator.state_size().entries), (None, 0));
}

#[test]
fn timers_are_the_moments_of_change() {
    let mut operator = operator();
    run_epoch(&mut operator, [(0, batch(&[(1, Some(10), 1)]))], &context(1, 0, 0));
    assert_eq!(operator.next_timer(), Some(ProcTime(12)));
    run_epoch(&mut operator, [], &context(2, 12, 0));
    assert_eq!(operator.next_timer(), Some(ProcTime(15)));
}

type Epoch = (i64, Vec<(i64, Option<i64>, i64)>);

fn epochs() -> impl Strategy<Value = Vec<Epoch>> {
    let row = (0i64..3, prop::option::of(0i64..20), prop::sample::select(vec![1i64, 1, 2, -1]));
    prop::collection::vec((0i64..4, prop::collection::vec(row, 0..5)), 1..12)
}

proptest! {
    #[test]
    fn always_the_rows_whose_time_it_is(epochs in epochs()) {
        let mut operator = operator();
        let mut contents = Contents::new();
        let mut held: BTreeMap<(i64, Option<i64>), i64> = BTreeMap::new();
        let mut now = 0;
        for (number, (step, rows)) in epochs.into_iter().enumerate() {
            now += step;
            let mut kept = Vec::new();
            for (x, t, weight) in rows {
                let count = held.entry((x, t)).or_default();
                if *count + weight >= 0 {
                    *count += weight;
                    kept.push((x, t, weight));
                }
            }
            let out = run_epoch(&mut operator, [(0, batch(&kept))], &context(number as u64, now, 0));
            apply(&mut contents, &out);
            let mut expected = Contents::new();
            for ((x, t), count) in &held {
                if t.is_some_and(|t| t + 2 <= now && now < t + 5) && *count > 0 {
                    *expected.entry(x.to_string()).or_default() += count;
                }
            }
            prop_assert_eq!(&contents, &expected);
        }
    }
}
