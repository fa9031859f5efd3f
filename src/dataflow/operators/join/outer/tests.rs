use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::logical_expr::Operator as Op;
use datafusion::physical_expr::expressions::binary;
use proptest::prelude::*;

use super::*;
use crate::dataflow::operators::tests::{Contents, apply, cancelling, context, run_epoch};

/// Key and value.
type Row = (Option<i64>, i64);

fn schema(prefix: &str) -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new(format!("{prefix}_k"), DataType::Int64, true),
        Field::new(format!("{prefix}_v"), DataType::Int64, true),
    ]))
}

fn batch(prefix: &str, rows: &[(Row, i64)]) -> ChangeBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|(r, _)| r.0).collect::<Int64Array>()),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|(r, _)| r.1))),
    ];
    let batch = RecordBatch::try_new(schema(prefix), columns).unwrap();
    if rows.iter().all(|(_, w)| *w == 1) {
        return ChangeBatch::inserts(batch);
    }
    ChangeBatch::new(batch, rows.iter().map(|(_, w)| *w).collect())
}

const KINDS: [JoinKind; 6] = [
    JoinKind::Left,
    JoinKind::Full,
    JoinKind::Semi,
    JoinKind::Anti { null_aware: false },
    JoinKind::Anti { null_aware: true },
    JoinKind::Mark,
];

/// `l KIND JOIN r ON l.k = r.k [AND l.v < r.v]`, both values in the output.
fn operator(kind: JoinKind, residual: bool, null_equal: bool, append_only: [bool; 2]) -> OuterJoinOperator {
    let (left, right) = (schema("l"), schema("r"));
    let column = |name: &str, i| Arc::new(Column::new(name, i)) as Arc<dyn PhysicalExpr>;
    let both = Schema::new(left.fields().iter().chain(right.fields()).cloned().collect::<Vec<_>>());
    let less = binary(column("l_v", 1), Op::Lt, column("r_v", 3), &both).unwrap();
    let output = if kind.makes_pairs() { vec![0, 1, 3] } else { vec![0, 1] };
    let spec = JoinSpec::on_keys(kind, (left, vec![0]), (right, vec![0]), output);
    OuterJoinOperator::new(JoinSpec {
        null_equal,
        residual: residual.then_some(less),
        left_append_only: append_only[0],
        right_append_only: append_only[1],
        ..spec
    })
    .unwrap()
}

fn text(v: Option<i64>) -> String {
    v.map_or("NULL".into(), |v| v.to_string())
}

/// The join by its definition, one nested loop.
fn model(kind: JoinKind, residual: bool, null_equal: bool, sides: &[BTreeMap<Row, i64>; 2]) -> Contents {
    let mut all = Contents::new();
    let null_aware = kind == (JoinKind::Anti { null_aware: true });
    let matches = |l: &Row, r: &Row| {
        let equal = match (l.0, r.0) {
            (Some(l), Some(r)) => l == r,
            (None, None) => null_equal || null_aware,
            _ => null_aware,
        };
        equal && (!residual || l.1 < r.1)
    };
    for (l, lw) in &sides[0] {
        let partners: Vec<_> = sides[1].iter().filter(|(r, w)| **w != 0 && matches(l, r)).collect();
        let mut add = |line: String, w: i64| *all.entry(line).or_insert(0) += w;
        let own = format!("{}|{}", text(l.0), l.1);
        match kind {
            JoinKind::Left | JoinKind::Full => {
                partners.iter().for_each(|(r, rw)| add(format!("{own}|{}", r.1), lw * **rw));
                if partners.is_empty() {
                    add(format!("{own}|NULL"), *lw);
                }
            }
            JoinKind::Semi if !partners.is_empty() => add(own, *lw),
            JoinKind::Anti { .. } if partners.is_empty() => add(own, *lw),
            JoinKind::Mark => add(format!("{own}|{}", !partners.is_empty()), *lw),
            _ => (),
        }
    }
    for (r, rw) in sides[1].iter().filter(|_| kind == JoinKind::Full) {
        if !sides[0].iter().any(|(l, w)| *w != 0 && matches(l, r)) {
            *all.entry(format!("NULL|NULL|{}", r.1)).or_insert(0) += rw;
        }
    }
    all.retain(|_, w| *w != 0);
    all
}

fn row() -> impl Strategy<Value = Row> {
    (prop::option::weighted(0.85, 0i64..4), 0i64..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn agrees_with_nested_loops(
        kind in prop::sample::select(KINDS.to_vec()),
        residual in any::<bool>(),
        null_equal in any::<bool>(),
        append_only in any::<[bool; 2]>(),
        epochs in prop::collection::vec(
            // Side, rows; a row is deleted if it is there and the flag says so.
            prop::collection::vec((0usize..2, prop::collection::vec((row(), any::<bool>()), 1..8)), 0..6),
            1..7,
        ),
    ) {
        let null_aware = kind == (JoinKind::Anti { null_aware: true });
        let (residual, null_equal) = (residual && !null_aware, null_equal && !null_aware);
        let mut join = operator(kind, residual, null_equal, append_only);
        let mut sides: [BTreeMap<Row, i64>; 2] = Default::default();
        let mut contents = Contents::new();
        for (epoch, batches) in epochs.iter().enumerate() {
            let mut inputs = Vec::new();
            for (side, rows) in batches {
                let mut changes = Vec::new();
                for (row, delete) in rows {
                    let held = sides[*side].entry(*row).or_insert(0);
                    let weight = if *delete && !append_only[*side] { -*held } else { 1 };
                    *held += weight;
                    changes.extend((weight != 0).then_some((*row, weight)));
                }
                // The rows of an epoch are a set: deletions may come first.
                if rows.len() % 2 == 0 {
                    changes.reverse();
                }
                if !changes.is_empty() {
                    inputs.push((*side, batch(if *side == 0 { "l" } else { "r" }, &changes)));
                }
            }
            let out = run_epoch(&mut join, inputs, &context(epoch as u64, 0, 0));
            prop_assert_eq!(cancelling(&out), Vec::<String>::new());
            apply(&mut contents, &out);
            prop_assert_eq!(&contents, &model(kind, residual, null_equal, &sides));
        }
        let gone: Vec<(usize, ChangeBatch)> = [(0, "l"), (1, "r")]
            .into_iter()
            .filter(|(side, _)| !append_only[*side])
            .map(|(side, prefix)| {
                let rows: Vec<(Row, i64)> =
                    sides[side].iter().filter(|(_, w)| **w != 0).map(|(r, w)| (*r, -w)).collect();
                (side, batch(prefix, &rows))
            })
            .filter(|(_, b)| !b.is_empty())
            .collect();
        run_epoch(&mut join, gone, &context(99, 0, 0));
        if append_only == [false, false] {
            prop_assert_eq!(join.state_size().entries, 0);
        }
    }
}

#[test]
fn a_match_of_the_same_epoch_leaves_no_trace_of_the_unmatched_row() {
    for residual in [false, true] {
        let mut join = operator(JoinKind::Left, residual, false, [true, true]);
        let (left, right) = (batch("l", &[((Some(1), 1), 1)]), batch("r", &[((Some(1), 2), 1)]));
        let out = run_epoch(&mut join, [(0, left), (1, right)], &context(1, 0, 0));
        assert_eq!(out.iter().map(|b| b.len()).sum::<usize>(), 1);
        assert!(matches!(out[0].weights, Weights::One));
    }
}
