use arrow::array::TimestampMicrosecondArray;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::physical_expr::expressions::col;

use super::*;

const MINUTE: i64 = 60_000_000;

fn spec(strategy: impl Fn(&Schema) -> WatermarkStrategy, future_skew_us: Option<i64>) -> SourceSpec {
    let ts = Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), true);
    let schema = Arc::new(Schema::new(vec![ts]));
    SourceSpec {
        id: 1,
        name: "s".into(),
        watermark: Some(WatermarkRule { column: 0, strategy: strategy(&schema) }),
        schema,
        delivered: vec![0],
        generated: vec![],
        always_needed: vec![0],
        not_null: vec![],
        connector: None,
        start: vec![],
        has_backlog: false,
        idle_timeout_us: None,
        future_skew_us,
        rate_limit: None,
        alignment: None,
    }
}

fn ascending(schema: &Schema) -> WatermarkStrategy {
    WatermarkStrategy::Expr(col("ts", schema).expect("column"))
}

fn time_of(spec: &SourceSpec, times: &[Option<i64>], now: i64) -> ChunkTime {
    let column = Arc::new(TimestampMicrosecondArray::from(times.to_vec()));
    let rows = RecordBatch::try_new(Arc::clone(&spec.schema), vec![column]).expect("batch");
    spec.chunk_time(&rows, |row| 100 + row as i64, now).expect("time")
}

#[test]
fn rows_beyond_the_guard_prove_nothing_and_are_named() {
    let spec = spec(ascending, Some(5 * MINUTE));
    let found = time_of(&spec, &[Some(1), Some(5 * MINUTE), None, Some(5 * MINUTE + 1), Some(3)], 0);
    assert_eq!(found.newest(), Some(5 * MINUTE), "exactly at the guard counts");
    assert_eq!(found.skewed, [(103, 5 * MINUTE + 1)]);
    // The clock has moved on: the same row is honest.
    let found = time_of(&spec, &[Some(5 * MINUTE + 1)], 1);
    assert_eq!((found.newest(), found.skewed), (Some(5 * MINUTE + 1), vec![]));
}

#[test]
fn without_guard_only_infinity_is_refused() {
    let spec = spec(ascending, None);
    let found = time_of(&spec, &[Some(i64::MAX - 1), Some(i64::MAX)], 0);
    assert_eq!((found.newest(), found.skewed), (Some(i64::MAX - 1), vec![(101, i64::MAX)]));
    assert_eq!(time_of(&spec, &[None], 0).newest(), None);
    assert_eq!(time_of(&spec, &[], 0).newest(), None);
}

#[test]
fn with_source_watermark_rows_prove_nothing() {
    let spec = spec(|_| WatermarkStrategy::Source, Some(0));
    let found = time_of(&spec, &[Some(1), Some(99)], 0);
    assert_eq!((found.newest(), found.skewed.len()), (None, 0));
}
