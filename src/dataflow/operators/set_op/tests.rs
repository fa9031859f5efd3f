use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use proptest::prelude::*;

use super::*;
use crate::dataflow::operators::tests::{Contents, apply, cancelling, context, run_epoch};

const KINDS: [SetKind; 4] = [SetKind::Intersect, SetKind::IntersectAll, SetKind::Except, SetKind::ExceptAll];

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("x", DataType::Int64, true)]))
}

fn batch(rows: &[(Option<i64>, i64)]) -> ChangeBatch {
    let column: ArrayRef = Arc::new(Int64Array::from_iter(rows.iter().map(|r| r.0)));
    ChangeBatch::new(
        RecordBatch::try_new(schema(), vec![column]).unwrap(),
        rows.iter().map(|r| r.1).collect(),
    )
}

#[test]
fn copies_follow_the_definition() {
    let table = [
        (SetKind::Intersect, [0, 0, 0, 1, 1]),
        (SetKind::IntersectAll, [0, 0, 0, 1, 2]),
        (SetKind::Except, [0, 1, 0, 0, 0]),
        (SetKind::ExceptAll, [0, 2, 0, 1, 0]),
    ];
    let counts = [(0, 0), (2, 0), (0, 3), (2, 1), (2, 3)];
    for (kind, expected) in table {
        assert_eq!(counts.map(|(l, r)| kind.copies(l, r)), expected, "{kind}");
    }
}

#[test]
fn nulls_are_equal_and_nothing_is_kept_of_rows_that_are_gone() {
    let mut operator = SetOpOperator::new(SetKind::Except, schema());
    let out = run_epoch(&mut operator, [(0, batch(&[(None, 2), (Some(1), 1)]))], &context(1, 0, 0));
    assert_eq!(out.iter().map(ChangeBatch::len).sum::<usize>(), 2);
    let out = run_epoch(&mut operator, [(1, batch(&[(None, 1)]))], &context(2, 0, 0));
    assert_eq!(out[0].weights.get(0), -1);
    run_epoch(
        &mut operator,
        [(1, batch(&[(None, -1)])), (0, batch(&[(None, -2), (Some(1), -1)]))],
        &context(3, 0, 0),
    );
    assert_eq!(operator.state_size().entries, 0);
}

type Step = Vec<(usize, Vec<(Option<i64>, i64)>)>;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let row = (prop::option::of(0i64..4), prop::sample::select(vec![1i64, 1, 2, -1]));
    let change = (0usize..2, prop::collection::vec(row, 0..5));
    prop::collection::vec(prop::collection::vec(change, 0..4), 1..8)
}

proptest! {
    #[test]
    fn always_what_the_counts_say(steps in steps(), kind in 0usize..4) {
        let kind = KINDS[kind];
        let mut operator = SetOpOperator::new(kind, schema());
        let mut held: [std::collections::BTreeMap<Option<i64>, i64>; 2] = Default::default();
        let mut contents = Contents::new();
        for (epoch, step) in steps.into_iter().enumerate() {
            // A relation never holds less than nothing of a row.
            let mut fed = Vec::new();
            for (side, rows) in step {
                let mut kept = Vec::new();
                for (value, weight) in rows {
                    let count = held[side].entry(value).or_default();
                    if *count + weight >= 0 {
                        *count += weight;
                        kept.push((value, weight));
                    }
                }
                fed.push((side, batch(&kept)));
            }
            let out = run_epoch(&mut operator, fed, &context(epoch as u64, 0, 0));
            prop_assert!(cancelling(&out).is_empty());
            apply(&mut contents, &out);
            let mut expected = Contents::new();
            for value in [None, Some(0), Some(1), Some(2), Some(3)] {
                let count = |side: usize| held[side].get(&value).copied().unwrap_or(0);
                let copies = kind.copies(count(0), count(1));
                if copies > 0 {
                    expected.insert(value.map_or("NULL".into(), |v| v.to_string()), copies);
                }
            }
            prop_assert_eq!(&contents, &expected);
        }
    }
}
