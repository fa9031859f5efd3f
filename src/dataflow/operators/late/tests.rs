use std::sync::Arc;

use arrow::array::{AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};

use super::*;

fn record(late: &LateRows, values: std::ops::Range<i64>) {
    let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, true)]));
    let batch =
        RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from_iter_values(values.clone()))]).unwrap();
    let refusals: Vec<Refusal> = (0..values.count() as u32)
        .map(|row| Refusal { row, window_start: None, window_end: Some(i64::from(row)) })
        .collect();
    late.record(&batch, &refusals, |_| 1, LateReason::WindowClosed, EventTime(7)).unwrap();
}

fn values(late: &LateRows) -> Vec<i64> {
    let chunks = late.chunks();
    chunks.iter().for_each(|c| assert_eq!(c.rows.num_rows(), c.facts.len()));
    chunks.iter().flat_map(|c| c.rows.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
}

#[test]
fn the_newest_rows_are_kept_in_order_and_all_are_counted() {
    let late = LateRows::new(10);
    for n in [1, 1, 2, 1, 7, 0, 3, 25, 1] {
        let from = late.count() as i64;
        record(&late, from..from + n);
        let all: Vec<i64> = (0..late.count() as i64).collect();
        assert_eq!(values(&late), all[all.len().saturating_sub(10)..]);
    }
    let newest: Vec<Option<i64>> = late.newest(2).iter().map(|r| r.facts.window_end).collect();
    assert_eq!((late.count(), newest), (41, vec![Some(24), Some(0)]));
}

#[test]
fn single_rows_end_up_in_few_chunks() {
    let late = LateRows::new(1 << 20);
    (0..10_000).for_each(|i| record(&late, i..i + 1));
    assert_eq!(values(&late), (0..10_000).collect::<Vec<i64>>());
    assert!(late.chunks().len() < 20, "{} chunks", late.chunks().len());
}
