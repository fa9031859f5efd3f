use std::collections::BTreeMap;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::logical_expr::Operator as Op;
use datafusion::physical_expr::expressions::{BinaryExpr, Column};
use proptest::prelude::*;

use super::*;
use crate::dataflow::operators::tests::{Contents, apply, cancelling, context, run_epoch};

type Row = (Option<i64>, i64, Option<u8>);

fn schema(prefix: &str) -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new(format!("{prefix}_k"), DataType::Int64, true),
        Field::new(format!("{prefix}_v"), DataType::Int64, true),
        Field::new(format!("{prefix}_s"), DataType::Utf8, true),
    ]))
}

fn batch(prefix: &str, rows: &[(Row, i64)]) -> ChangeBatch {
    let text = |r: &Row| r.2.map(|s| format!("s{s}"));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|(r, _)| r.0).collect::<Int64Array>()),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|(r, _)| r.1))),
        Arc::new(rows.iter().map(|(r, _)| text(r)).collect::<StringArray>()),
    ];
    let batch = RecordBatch::try_new(schema(prefix), columns).unwrap();
    if rows.iter().all(|(_, w)| *w == 1) {
        return ChangeBatch::inserts(batch);
    }
    ChangeBatch::new(batch, rows.iter().map(|(_, w)| *w).collect())
}

/// `SELECT l.s, r.k, r.v FROM l JOIN r ON l.k = r.k [AND l.v < r.v]`
fn operator(residual: bool, append_only: [bool; 2]) -> JoinOperator {
    let column = |name: &str, i| Arc::new(Column::new(name, i)) as Arc<dyn PhysicalExpr>;
    let less = BinaryExpr::new(column("l_v", 1), Op::Lt, column("r_v", 4));
    let spec =
        JoinSpec::on_keys(JoinKind::Inner, (schema("l"), vec![0]), (schema("r"), vec![0]), vec![2, 3, 4]);
    let spec = JoinSpec {
        residual: residual.then(|| Arc::new(less) as Arc<dyn PhysicalExpr>),
        pairs_max: 100_000,
        left_append_only: append_only[0],
        right_append_only: append_only[1],
        ..spec
    };
    JoinOperator::new(spec).unwrap()
}

fn model(sides: &[BTreeMap<Row, i64>; 2], residual: bool) -> Contents {
    let mut all = Contents::new();
    for ((lk, lv, ls), lw) in &sides[0] {
        for ((rk, rv, _), rw) in &sides[1] {
            if let (Some(lk), Some(rk)) = (lk, rk)
                && lk == rk
                && (!residual || lv < rv)
            {
                let text = ls.map_or("NULL".to_string(), |s| format!("s{s}"));
                *all.entry(format!("{text}|{rk}|{rv}")).or_insert(0) += lw * rw;
            }
        }
    }
    all.retain(|_, w| *w != 0);
    all
}

fn row() -> impl Strategy<Value = Row> {
    (prop::option::weighted(0.9, 0i64..4), 0i64..4, prop::option::weighted(0.8, 0u8..3))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn agrees_with_nested_loops(
        residual in any::<bool>(),
        append_only in any::<[bool; 2]>(),
        epochs in prop::collection::vec(
            prop::collection::vec((0usize..2, prop::collection::vec((row(), -2i64..4), 1..12)), 0..6),
            1..6,
        ),
    ) {
        let mut join = operator(residual, append_only);
        let mut sides: [BTreeMap<Row, i64>; 2] = Default::default();
        let mut contents = Contents::new();
        for (epoch, batches) in epochs.iter().enumerate() {
            let mut inputs = Vec::new();
            for (side, rows) in batches {
                let rows: Vec<(Row, i64)> = rows
                    .iter()
                    .map(|(r, w)| (*r, if append_only[*side] { 1 } else { *w }))
                    .filter(|(_, w)| *w != 0)
                    .collect();
                rows.iter().for_each(|(r, w)| *sides[*side].entry(*r).or_insert(0) += w);
                if !rows.is_empty() {
                    inputs.push((*side, batch(if *side == 0 { "l" } else { "r" }, &rows)));
                }
            }
            let out = run_epoch(&mut join, inputs, &context(epoch as u64, 0, 0));
            prop_assert_eq!(cancelling(&out), Vec::<String>::new());
            apply(&mut contents, &out);
            prop_assert_eq!(&contents, &model(&sides, residual));
        }
        for side in 0..2 {
            let held = sides[side].iter().filter(|((k, _, _), w)| k.is_some() && **w != 0);
            if !append_only[side] {
                prop_assert!(join.sides[side].len() <= held.count());
            }
        }
    }
}

#[test]
fn many_matches_leave_in_bounded_batches() {
    let mut join = operator(false, [true, true]);
    let rows: Vec<(Row, i64)> = (0..200).map(|v| ((Some(1), v, None), 1)).collect();
    let out = run_epoch(&mut join, [(0, batch("l", &rows)), (1, batch("r", &rows))], &context(1, 0, 0));
    assert_eq!(out.iter().map(ChangeBatch::len).sum::<usize>(), 40_000);
    assert!(out.iter().all(|b| b.len() <= 8192));
}

#[test]
fn a_runaway_join_is_stopped_with_the_numbers() {
    let rows: Vec<(Row, i64)> = (0..400).map(|v| ((Some(1), v, None), 1)).collect();
    let mut join = operator(false, [true, true]);
    join.push(0, batch("l", &rows), &mut Vec::new()).unwrap();
    let error = join.push(1, batch("r", &rows), &mut Vec::new()).unwrap_err();
    assert_eq!(error.sqlstate(), "53400");
    let text = format!("{error:?}");
    assert!(text.contains("100000 pairs") && text.contains("400 rows of the right side"), "{text}");
    // Epoch by epoch it is within the limit.
    let mut join = operator(false, [true, true]);
    run_epoch(&mut join, [(0, batch("l", &rows))], &context(1, 0, 0));
    for (epoch, rows) in rows.chunks(200).enumerate() {
        run_epoch(&mut join, [(1, batch("r", rows))], &context(epoch as u64 + 2, 0, 0));
    }
}

#[test]
fn a_self_join_counts_each_pair_once() {
    let mut join = operator(false, [false, false]);
    let input = [((Some(1), 1, None), 1), ((Some(1), 2, None), 1)];
    let epoch = |join: &mut JoinOperator, rows: &[(Row, i64)]| {
        let out = run_epoch(join, [(0, batch("l", rows)), (1, batch("r", rows))], &context(1, 0, 0));
        out.iter().flat_map(|b| b.weights_vec()).collect::<Vec<_>>()
    };
    assert_eq!(epoch(&mut join, &input), [2, 2]);
    let gone: Vec<(Row, i64)> = input.iter().map(|(r, _)| (*r, -1)).collect();
    assert_eq!(epoch(&mut join, &gone), [-2, -2]);
    assert_eq!(join.state_size().entries, 0);
}

#[test]
fn windows_that_are_over_are_forgotten() {
    use arrow::array::TimestampMicrosecondArray;
    use arrow::datatypes::TimeUnit;

    let schema = Arc::new(Schema::new(vec![
        Field::new("window_end", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("v", DataType::Int64, true),
    ]));
    let rows = |rows: &[(i64, i64)]| {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| r.0))),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.1))),
        ];
        ChangeBatch::inserts(RecordBatch::try_new(schema.clone(), columns).unwrap())
    };
    for append_only in [true, false] {
        let side = || (schema.clone(), vec![0]);
        let mut join = JoinOperator::new(JoinSpec {
            window: Some(JoinWindow {
                key: 0,
                time: WindowTime::Event { clock: vec![0].into() },
                over_after_us: 0,
                late: [None, None],
            }),
            left_append_only: append_only,
            right_append_only: append_only,
            ..JoinSpec::on_keys(JoinKind::Inner, side(), side(), vec![0, 1, 3])
        })
        .unwrap();
        let left = rows(&[(10, 1), (20, 2), (10, 3)]);
        let out = run_epoch(&mut join, [(0, left), (1, rows(&[(10, 4), (20, 5)]))], &context(1, 0, 9));
        assert_eq!((out.iter().map(ChangeBatch::len).sum::<usize>(), join.state_size().entries), (3, 5));
        let out = run_epoch(&mut join, [], &context(2, 0, 10));
        assert_eq!((out.len(), join.state_size().entries), (0, 2), "nothing is taken back");
        let out = run_epoch(&mut join, [(0, rows(&[(20, 6), (30, 7)]))], &context(3, 0, 20));
        assert_eq!((out.iter().map(ChangeBatch::len).sum::<usize>(), join.state_size().entries), (1, 1));
        run_epoch(&mut join, [], &context(4, 0, i64::MAX));
        assert_eq!(join.state_size().entries, 0);
    }
}
