use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::*;
use crate::dataflow::operators::tests::{Contents, apply, context, run_epoch};

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, true),
        Field::new("v", DataType::Int64, true),
    ]))
}

fn batch(rows: &[(i64, i64, i64)]) -> ChangeBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.0))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.1))),
    ];
    ChangeBatch::new(RecordBatch::try_new(schema(), columns).unwrap(), rows.iter().map(|r| r.2).collect())
}

fn look_up(left_append_only: bool) -> LookupJoinOperator {
    let spec = JoinSpec::on_keys(JoinKind::Left, (schema(), vec![0]), (schema(), vec![0]), vec![1, 3]);
    LookupJoinOperator::new(JoinSpec { lookup: true, left_append_only, ..spec }).unwrap()
}

#[test]
fn rows_see_their_own_epoch_and_are_not_revised() {
    let mut join = look_up(true);
    let mut contents = Contents::new();
    // The left row comes first, and with it a right row that is there and gone.
    let inputs =
        [(0, batch(&[(1, 10, 1), (2, 20, 1)])), (1, batch(&[(1, 100, 1), (2, 200, 1), (2, 200, -1)]))];
    apply(&mut contents, &run_epoch(&mut join, inputs, &context(1, 0, 0)));
    apply(
        &mut contents,
        &run_epoch(&mut join, [(1, batch(&[(1, 100, -1), (1, 101, 1)]))], &context(2, 0, 0)),
    );
    let inputs = [(1, batch(&[(2, 201, 1)])), (0, batch(&[(1, 11, 1), (2, 21, 1)]))];
    apply(&mut contents, &run_epoch(&mut join, inputs, &context(3, 0, 0)));
    let shown: Vec<&str> = contents.keys().map(String::as_str).collect();
    assert_eq!(shown, ["10|100", "11|101", "20|NULL", "21|201"]);
    assert_eq!(join.state_size().entries, 2);
}

#[test]
fn what_equal_rows_found_is_taken_back_last_first() {
    let mut join = look_up(false);
    let mut contents = Contents::new();
    let mut epoch = |join: &mut LookupJoinOperator, inputs: Vec<(usize, ChangeBatch)>, n: u64| {
        apply(&mut contents, &run_epoch(join, inputs, &context(n, 0, 0)));
        let shown = contents.iter().filter(|(_, w)| **w != 0).map(|(l, w)| format!("{l}*{w}"));
        shown.collect::<Vec<_>>()
    };
    // Two copies find a row that is there twice; one more finds nothing, one another row.
    epoch(&mut join, vec![(1, batch(&[(1, 100, 2)])), (0, batch(&[(1, 10, 2)]))], 1);
    epoch(&mut join, vec![(1, batch(&[(1, 100, -2)])), (0, batch(&[(1, 10, 1)]))], 2);
    let shown = epoch(&mut join, vec![(1, batch(&[(1, 101, 1)])), (0, batch(&[(1, 10, 1)]))], 3);
    assert_eq!(shown, ["10|100*4", "10|101*1", "10|NULL*1"]);
    let shown = epoch(&mut join, vec![(0, batch(&[(1, 10, -2)]))], 4);
    assert_eq!(shown, ["10|100*4"]);
    // A row that goes and comes in one epoch has not changed.
    let shown = epoch(&mut join, vec![(0, batch(&[(1, 10, -1), (1, 10, 1)]))], 5);
    assert_eq!(shown, ["10|100*4"]);
    let shown = epoch(&mut join, vec![(0, batch(&[(1, 10, -1)])), (1, batch(&[(1, 101, -1)]))], 6);
    assert_eq!(shown, ["10|100*2"]);
    let shown = epoch(&mut join, vec![(0, batch(&[(1, 10, -1)]))], 7);
    assert_eq!(shown, Vec::<String>::new());
    assert_eq!(join.state_size().entries, 0);
}

#[test]
fn constants_are_all_that_is_kept() {
    let shown = |contents: &Contents| {
        let shown = contents.iter().filter(|(_, w)| **w != 0).map(|(l, w)| format!("{l}*{w}"));
        shown.collect::<Vec<_>>()
    };
    let kinds = [
        (
            JoinKind::Left,
            vec!["10|100*4", "10|101*2", "30|NULL*1"],
            vec!["10|100*2", "10|101*1", "30|NULL*1"],
        ),
        (JoinKind::Semi, vec!["10*2"], vec!["10*1"]),
        (JoinKind::Anti { null_aware: false }, vec!["30*1"], vec!["30*1"]),
        (JoinKind::Anti { null_aware: true }, vec!["30*1"], vec!["30*1"]),
    ];
    for (kind, first, second) in kinds {
        let output = if kind == JoinKind::Left { vec![1, 3] } else { vec![1] };
        let spec = JoinSpec::on_keys(kind, (schema(), vec![0]), (schema(), vec![0]), output);
        let mut join = LookupJoinOperator::new(JoinSpec { constant: true, ..spec }).unwrap();
        let mut contents = Contents::new();
        // Left rows may come before the constants of the first epoch.
        let inputs =
            [(0, batch(&[(1, 10, 2), (3, 30, 1)])), (1, batch(&[(1, 100, 2), (1, 101, 1), (2, 200, 1)]))];
        apply(&mut contents, &run_epoch(&mut join, inputs, &context(1, 0, 0)));
        assert_eq!(shown(&contents), first, "{kind:?}");
        apply(&mut contents, &run_epoch(&mut join, [(0, batch(&[(1, 10, -1)]))], &context(2, 0, 0)));
        assert_eq!(shown(&contents), second, "{kind:?}");
        // Rows, or only their keys.
        let kept = if kind == JoinKind::Left { 3 } else { 2 };
        assert_eq!(join.state_size().entries, kept, "{kind:?}");
    }
}
