use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::{WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition};
use datafusion::scalar::ScalarValue;

use super::{OverSpec, over};
use crate::dataflow::operators::errors::RowErrors;
use crate::dataflow::operators::late::LateRows;
use crate::dataflow::operators::tests::{Contents, apply, cancelling, context, run_epoch};
use crate::plan::{OverCall, OverNode, Reach, RowTime};
use crate::types::ChangeBatch;
use crate::types::order::SortKey;

/// Group, order (also a time), value.
type Row = (i64, i64, i64);

fn schema(time: bool) -> SchemaRef {
    let order = if time { DataType::Timestamp(TimeUnit::Microsecond, None) } else { DataType::Int64 };
    let field = |name: &str, t| Field::new(name, t, true);
    Arc::new(Schema::new(vec![field("g", DataType::Int64), field("o", order), field("v", DataType::Int64)]))
}

fn batch(rows: &[(Row, i64)], time: bool) -> ChangeBatch {
    let order: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|(r, _)| r.1)));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|(r, _)| r.0))),
        arrow::compute::cast(&order, schema(time).field(1).data_type()).unwrap(),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|(r, _)| r.2))),
    ];
    let batch = RecordBatch::try_new(schema(time), columns).unwrap();
    if rows.iter().all(|(_, w)| *w == 1) {
        return ChangeBatch::inserts(batch);
    }
    ChangeBatch::new(batch, rows.iter().map(|(_, w)| *w).collect())
}

fn call(name: &str, frame: WindowFrame, output: DataType) -> OverCall {
    let state = SessionStateBuilder::new().with_default_features().build();
    let function = match state.window_functions().get(name) {
        Some(f) => WindowFunctionDefinition::WindowUDF(Arc::clone(f)),
        None => WindowFunctionDefinition::AggregateUDF(Arc::clone(&state.aggregate_functions()[name])),
    };
    let value: Arc<dyn datafusion::physical_expr::PhysicalExpr> =
        Arc::new(datafusion::physical_expr::expressions::Column::new("c2", 2));
    OverCall::new(function, vec![value], frame, Arc::new(Field::new(name, output, true)))
}

fn rows_frame(before: u64, after: u64) -> WindowFrame {
    let bound = |n: u64| ScalarValue::UInt64(Some(n));
    WindowFrame::new_bounds(
        WindowFrameUnits::Rows,
        WindowFrameBound::Preceding(bound(before)),
        WindowFrameBound::Following(bound(after)),
    )
}

fn range_frame(before: i64, after: i64) -> WindowFrame {
    let bound = |n: i64| ScalarValue::Int64(Some(n));
    WindowFrame::new_bounds(
        WindowFrameUnits::Range,
        WindowFrameBound::Preceding(bound(before)),
        WindowFrameBound::Following(bound(after)),
    )
}

fn spec(calls: Vec<OverCall>, reach: Reach, time: bool, on_close: bool) -> OverSpec {
    let mut fields: Vec<_> = schema(time).fields().iter().cloned().collect();
    fields.extend(calls.iter().map(|c| Arc::clone(&c.output)));
    OverSpec {
        name: "over".into(),
        input_schema: schema(time),
        node: OverNode {
            partition: vec![0],
            order: vec![SortKey { column: 1, descending: false, nulls_first: false }],
            calls,
            reach,
            time: time.then(|| RowTime { clock: vec![0].into(), lateness_us: 0 }),
            window: None,
            on_close,
        },
        output_schema: Arc::new(Schema::new(fields)),
        late: Arc::new(LateRows::new(100)),
        errors: Arc::new(RowErrors::new(100)),
    }
}

/// A splitmix64 step.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Runs random changes through the operator with a reach, and through one that evaluates
/// whole partitions; both must hold the same, and the values must add up to `total` of each
/// partition's rows in order.
fn check(calls: Vec<OverCall>, reach: Reach, total: impl Fn(&[Row]) -> i64) {
    let mut local = over(spec(calls.clone(), reach, false, false)).unwrap();
    let mut whole = over(spec(calls, Reach::Partition, false, false)).unwrap();
    let (mut here, mut there) = (Contents::new(), Contents::new());
    let mut rows = Vec::<Row>::new();
    let mut seed = 7;
    for epoch in 0..120 {
        let mut changes = Vec::new();
        for _ in 0..random(&mut seed) % 5 {
            if rows.is_empty() || random(&mut seed) % 5 < 3 {
                // No two rows of a partition have the same order, but for equal rows.
                let order = (random(&mut seed) % 40) as i64;
                let row = ((random(&mut seed) % 2) as i64, order, order * 10);
                let copies = 1 + random(&mut seed).is_multiple_of(5) as usize;
                changes.push((row, copies as i64));
                rows.extend(std::iter::repeat_n(row, copies));
            } else {
                let row = rows.swap_remove(random(&mut seed) as usize % rows.len());
                changes.push((row, -1));
            }
        }
        let batches: Vec<_> = changes.chunks(2).map(|c| (0, batch(c, false))).collect();
        let cx = context(epoch + 1, 0, i64::MIN);
        let out = run_epoch(local.as_mut(), batches.clone(), &cx);
        assert_eq!(cancelling(&out), Vec::<String>::new());
        apply(&mut here, &out);
        apply(&mut there, &run_epoch(whole.as_mut(), batches, &cx));
        assert_eq!(here, there, "epoch {epoch}");
        let shown = here.iter().map(|(l, w)| w * l.rsplit('|').next().unwrap().parse::<i64>().unwrap());
        let mut sorted = rows.clone();
        sorted.sort();
        let expected = sorted.chunk_by(|a, b| a.0 == b.0).map(&total);
        assert_eq!(shown.sum::<i64>(), expected.sum::<i64>(), "epoch {epoch}");
    }
    assert_eq!(local.state_size().entries, rows.len());
}

#[test]
fn frames_by_range_touch_only_what_they_reach() {
    let calls = vec![call("sum", range_frame(5, 3), DataType::Int64)];
    check(calls, Reach::Range { before: 5, after: 3 }, |rows| {
        let frame = |row: &Row| {
            rows.iter().filter(|r| (row.1 - 5..=row.1 + 3).contains(&r.1)).map(|r| r.2).sum::<i64>()
        };
        rows.iter().map(frame).sum()
    });
}

#[test]
fn frames_by_rows_touch_only_what_they_reach() {
    let calls = vec![call("sum", rows_frame(2, 1), DataType::Int64)];
    check(calls, Reach::Rows { before: 2, after: 1 }, |rows| {
        let frame = |i: usize| &rows[i.saturating_sub(2)..(i + 2).min(rows.len())];
        (0..rows.len()).map(|i| frame(i).iter().map(|r| r.2).sum::<i64>()).sum()
    });
}

#[test]
fn state_behind_the_watermark_goes() {
    let interval = |us: i64| ScalarValue::new_interval_mdn(0, 0, us * 1000);
    let frame = WindowFrame::new_bounds(
        WindowFrameUnits::Range,
        WindowFrameBound::Preceding(interval(10)),
        WindowFrameBound::CurrentRow,
    );
    for on_close in [false, true] {
        let calls = vec![call("sum", frame.clone(), DataType::Int64)];
        let spec = spec(calls, Reach::Range { before: 10, after: 0 }, true, on_close);
        let late = Arc::clone(&spec.late);
        let mut operator = over(spec).unwrap();
        let mut contents = Contents::new();
        let mut most = 0;
        for step in 0..1000_i64 {
            let row = [((0, step, 1), 1)];
            let cx = context(step as u64 + 1, 0, step);
            apply(&mut contents, &run_epoch(operator.as_mut(), [(0, batch(&row, true))], &cx));
            most = most.max(operator.state_size().entries);
        }
        assert_eq!(most, 11);
        // The last row is not final yet: another of its time may come.
        assert_eq!(contents.len(), if on_close { 999 } else { 1000 });
        assert!(contents.keys().skip(10).all(|line| line.ends_with("|11") || line.split('|').count() == 4));
        let row = [((0, 998, 1), 1)];
        run_epoch(operator.as_mut(), [(0, batch(&row, true))], &context(2000, 0, 999));
        assert_eq!(late.count(), 1);
        apply(&mut contents, &run_epoch(operator.as_mut(), [], &context(2001, 0, i64::MAX)));
        assert_eq!((contents.len(), operator.state_size().entries), (1000, 0));
        let sums: i64 = contents.keys().map(|l| l.rsplit('|').next().unwrap().parse::<i64>().unwrap()).sum();
        assert_eq!(sums, (1..=10).sum::<i64>() + 990 * 11);
    }
}
