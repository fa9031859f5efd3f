use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use proptest::prelude::*;

use super::*;
use crate::dataflow::operators::late::LateRows;
use crate::dataflow::operators::tests::{Contents, apply, run_epoch};
use crate::types::{Epoch, ProcTime};

/// Time, key, value.
type Row = (Option<i64>, i64, i64);

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("k", DataType::Int64, true),
        Field::new("v", DataType::Int64, true),
    ]))
}

fn batch(rows: &[Row]) -> ChangeBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|r| r.0).collect::<TimestampMicrosecondArray>()),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.1))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.2))),
    ];
    ChangeBatch::inserts(RecordBatch::try_new(schema(), columns).unwrap())
}

fn context(epoch: u64, watermarks: [i64; 2]) -> EpochContext {
    let watermarks = watermarks.iter().map(|w| EventTime(*w)).collect::<Vec<_>>().into();
    EpochContext { epoch: Epoch(epoch), now: ProcTime(0), watermarks }
}

/// The condition in time, as a residual over `l.ts, l.v, r.ts, r.v` and the key.
fn between(lower: i64, upper: i64) -> Arc<dyn datafusion::physical_expr::PhysicalExpr> {
    use datafusion::logical_expr::Operator as Op;
    use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, Column, Literal};
    use datafusion::scalar::ScalarValue;
    type P = Arc<dyn datafusion::physical_expr::PhysicalExpr>;
    let micros = |name: &str, i| -> P {
        Arc::new(CastExpr::new(Arc::new(Column::new(name, i)), DataType::Int64, None))
    };
    let number = |v: i64| -> P { Arc::new(Literal::new(ScalarValue::Int64(Some(v)))) };
    let binary = |l: P, op, r: P| -> P { Arc::new(BinaryExpr::new(l, op, r)) };
    let distance = || binary(micros("ts", 0), Op::Minus, micros("ts", 3));
    binary(binary(distance(), Op::GtEq, number(lower)), Op::And, binary(distance(), Op::LtEq, number(upper)))
}

fn operator(kind: JoinKind, lower: i64, upper: i64, late: &Arc<LateRows>) -> IntervalJoinOperator {
    let output = if kind.makes_pairs() { vec![2, 5] } else { vec![2] };
    let spec = JoinSpec::on_keys(kind, (schema(), vec![1]), (schema(), vec![1]), output);
    IntervalJoinOperator::new(JoinSpec {
        residual: Some(between(lower, upper)),
        interval: Some(JoinInterval {
            times: [0, 0],
            limits_us: [lower, -upper],
            clocks: [vec![0].into(), vec![1].into()],
            late: Some(([0, 0], Arc::clone(late))),
        }),
        left_append_only: true,
        right_append_only: true,
        ..spec
    })
    .unwrap()
}

/// What is shown of the rows given; the rows of a kept side whose answer is open are left out.
fn model(kind: JoinKind, lower: i64, upper: i64, sides: &[Vec<Row>; 2], w: [i64; 2]) -> Contents {
    let mut all = Contents::new();
    let mut add = |line: String| *all.entry(line).or_insert(0) += 1;
    let matches = |l: &Row, r: &Row| match (l.0, r.0) {
        (Some(lt), Some(rt)) => l.1 == r.1 && (lower..=upper).contains(&(lt - rt)),
        _ => false,
    };
    for l in &sides[0] {
        let partners: Vec<&Row> = sides[1].iter().filter(|r| matches(l, r)).collect();
        let proven = l.0.is_none_or(|t| t - lower < w[1]);
        match kind {
            JoinKind::Inner | JoinKind::Left | JoinKind::Full => {
                partners.iter().for_each(|r| add(format!("{}|{}", l.2, r.2)));
                if kind != JoinKind::Inner && partners.is_empty() && proven {
                    add(format!("{}|NULL", l.2));
                }
            }
            JoinKind::Semi if !partners.is_empty() => add(l.2.to_string()),
            JoinKind::Anti { .. } if partners.is_empty() && proven => add(l.2.to_string()),
            JoinKind::Mark if !partners.is_empty() || proven => {
                add(format!("{}|{}", l.2, !partners.is_empty()))
            }
            _ => (),
        }
    }
    for r in sides[1].iter().filter(|_| kind == JoinKind::Full) {
        let proven = r.0.is_none_or(|t| t + upper < w[0]);
        if proven && !sides[0].iter().any(|l| matches(l, r)) {
            add(format!("NULL|{}", r.2));
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn agrees_with_nested_loops_over_rows_on_time(
        kind in prop::sample::select(vec![
            JoinKind::Inner, JoinKind::Left, JoinKind::Full, JoinKind::Semi,
            JoinKind::Anti { null_aware: false }, JoinKind::Mark,
        ]),
        lower in -6i64..4,
        width in 0i64..8,
        epochs in prop::collection::vec((
            prop::collection::vec((0usize..2, prop::option::weighted(0.95, -4i64..8), 0i64..3, 0i64..100), 0..8),
            [0i64..6, 0i64..6],
        ), 1..8),
    ) {
        let late = Arc::new(LateRows::new(1000));
        let upper = lower + width;
        let mut join = operator(kind, lower, upper, &late);
        let (mut w, mut sides): ([i64; 2], [Vec<Row>; 2]) = ([0, 0], Default::default());
        let (mut contents, mut refused) = (Contents::new(), 0);
        run_epoch(&mut join, [], &context(0, w));
        for (epoch, (rows, steps)) in epochs.iter().enumerate() {
            let mut inputs = Vec::new();
            for (side, offset, key, value) in rows {
                let row = (offset.map(|o| w[*side] + o), *key, *value);
                inputs.push((*side, batch(&[row])));
                match row.0 {
                    Some(t) if t < w[*side] => refused += 1,
                    _ => sides[*side].push(row),
                }
            }
            w = [w[0] + steps[0], w[1] + steps[1]];
            let out = run_epoch(&mut join, inputs, &context(epoch as u64 + 1, w));
            prop_assert!(out.iter().all(|b| b.weights_vec().iter().all(|w| *w == 1)), "the output only grows");
            apply(&mut contents, &out);
            prop_assert_eq!(&contents, &model(kind, lower, upper, &sides, w));
            prop_assert_eq!(late.count(), refused);
            let held: usize = [
                sides[0].iter().filter(|r| r.0.is_some_and(|t| t >= w[1] + lower)).count(),
                sides[1].iter().filter(|r| r.0.is_some_and(|t| t >= w[0] - upper)).count(),
            ].iter().sum();
            prop_assert_eq!(join.state_size().entries, held, "rows that are over are gone, others are not");
        }
        run_epoch(&mut join, [], &context(99, [i64::MAX; 2]));
        prop_assert_eq!(join.state_size().entries, 0);
    }
}
