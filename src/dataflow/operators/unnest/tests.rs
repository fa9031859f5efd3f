use std::sync::Arc;

use arrow::array::{Int32Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int32Type, Schema};

use super::*;
use crate::dataflow::operators::tests::{context, lines, run_epoch};

fn batch() -> ChangeBatch {
    let list = |rows: Vec<Option<Vec<Option<i32>>>>| -> ArrayRef {
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(rows))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![1, 2, 3, 4])),
        list(vec![Some(vec![Some(10), None]), None, Some(vec![]), Some(vec![Some(40)])]),
        list(vec![Some(vec![Some(7)]), Some(vec![Some(8)]), None, Some(vec![Some(9), Some(9)])]),
    ];
    let element = |name: &str, c: &ArrayRef| Field::new(name, c.data_type().clone(), true);
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int32, true),
        element("a", &columns[1]),
        element("b", &columns[2]),
    ]);
    let rows = RecordBatch::try_new(Arc::new(schema), columns).unwrap();
    ChangeBatch::new(rows, vec![1, -1, 1, 2])
}

fn unnest(columns: Vec<UnnestColumn>) -> Vec<(String, i64)> {
    let fields = (0..columns.len()).map(|i| Field::new(format!("c{i}"), DataType::Int32, true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let mut operator = UnnestOperator::new(columns, schema);
    run_epoch(&mut operator, [(0, batch())], &context(1, 0, 0)).iter().flat_map(lines).collect()
}

#[test]
fn empty_and_null_arrays_give_no_rows() {
    let found = unnest(vec![UnnestColumn::Repeat(0), UnnestColumn::Elements(1)]);
    let expected = [("1|10", 1), ("1|NULL", 1), ("4|40", 2)];
    assert_eq!(found, expected.map(|(l, w)| (l.to_string(), w)));
}

#[test]
fn the_shorter_array_is_filled_with_nulls() {
    let found = unnest(vec![UnnestColumn::Repeat(0), UnnestColumn::Elements(1), UnnestColumn::Elements(2)]);
    let expected = [("1|10|7", 1), ("1|NULL|NULL", 1), ("2|NULL|8", -1), ("4|40|9", 2), ("4|NULL|9", 2)];
    assert_eq!(found, expected.map(|(l, w)| (l.to_string(), w)));
}

#[test]
fn long_arrays_leave_in_several_batches() {
    let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(
        (0..4).map(|_| Some((0..5000).map(Some).collect::<Vec<_>>())),
    ));
    let schema = Arc::new(Schema::new(vec![Field::new("a", list.data_type().clone(), true)]));
    let rows = ChangeBatch::inserts(RecordBatch::try_new(schema, vec![list]).unwrap());
    let out_schema = Arc::new(Schema::new(vec![Field::new("x", DataType::Int32, true)]));
    let mut operator = UnnestOperator::new(vec![UnnestColumn::Elements(0)], out_schema);
    let out = run_epoch(&mut operator, [(0, rows)], &context(1, 0, 0));
    assert_eq!(out.iter().map(ChangeBatch::len).collect::<Vec<_>>(), [10_000, 10_000]);
}
