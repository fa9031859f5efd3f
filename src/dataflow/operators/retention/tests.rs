use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

use super::*;
use crate::dataflow::operators::tests::{Contents, apply, context, run_epoch};

fn schema() -> SchemaRef {
    let end = DataType::Timestamp(TimeUnit::Microsecond, None);
    Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, true), Field::new("window_end", end, true)]))
}

fn batch(rows: &[(i64, Option<i64>, i64)]) -> ChangeBatch {
    let values = Int64Array::from_iter_values(rows.iter().map(|r| r.0));
    let ends = TimestampMicrosecondArray::from_iter(rows.iter().map(|r| r.1));
    let rows_of = RecordBatch::try_new(schema(), vec![Arc::new(values), Arc::new(ends)]).unwrap();
    ChangeBatch::new(rows_of, rows.iter().map(|r| r.2).collect())
}

#[test]
fn rows_leave_when_the_watermark_passes_end_plus_retention() {
    let time = WindowTime::Event { clock: vec![0].into() };
    let mut op = RetentionOperator::new(schema(), 1, time, 5);
    let mut contents = Contents::new();
    let mut step = |op: &mut RetentionOperator, rows: &[(i64, Option<i64>, i64)], watermark| {
        apply(&mut contents, &run_epoch(op, [(0, batch(rows))], &context(1, 0, watermark)));
        contents.values().sum::<i64>()
    };
    assert_eq!(step(&mut op, &[(1, Some(10), 2), (2, Some(11), 1), (3, None, 1)], 14), 4);
    assert_eq!(step(&mut op, &[(1, Some(10), -1), (4, Some(10), 1)], 14), 4);
    // At 15 all of the window that ended at 10 leave, one row of it twice changed.
    assert_eq!(step(&mut op, &[], 15), 2);
    // It takes no change any more: neither a row nor the deletion of one that has left.
    assert_eq!(step(&mut op, &[(1, Some(10), -1), (9, Some(10), 1)], 15), 2);
    assert_eq!(step(&mut op, &[], 16), 1);
    assert_eq!((op.state_size().entries, op.buckets.len()), (0, 0));
}

#[test]
fn what_changes_often_stays_small() {
    let mut op = RetentionOperator::new(schema(), 1, WindowTime::Processing, 5);
    for i in 0..10_000 {
        run_epoch(
            &mut op,
            [(0, batch(&[(i, Some(10), 1), (i - 1, Some(10), -((i > 0) as i64))]))],
            &context(1, 0, 0),
        );
    }
    assert!(op.state_size().entries <= 2 * GROWTH_ROWS + 2);
    assert_eq!(op.next_timer(), Some(ProcTime(15)));
    let out = run_epoch(&mut op, [], &context(1, 15, 0));
    assert_eq!((out.len(), out[0].len(), out[0].weights.get(0)), (1, 1, -1));
}
