use std::sync::Arc;

use arrow::array::Int64Array;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::logical_expr::Operator as Op;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use proptest::prelude::*;

use super::*;
use crate::dataflow::operators::tests::{context, lines, run_epoch};

fn schema(names: &[&str]) -> SchemaRef {
    Arc::new(Schema::new(names.iter().map(|n| Field::new(*n, DataType::Int64, true)).collect::<Vec<_>>()))
}

fn column(name: &str, index: usize) -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new(name, index))
}

fn binary(left: Arc<dyn PhysicalExpr>, op: Op, right: Arc<dyn PhysicalExpr>) -> Arc<dyn PhysicalExpr> {
    Arc::new(BinaryExpr::new(left, op, right))
}

/// `SELECT c, 100 / b WHERE a > 0` over (a, b, c).
fn operator(errors: &Arc<RowErrors>) -> MapOperator {
    let zero = Arc::new(Literal::new(0i64.into()));
    let hundred = Arc::new(Literal::new(100i64.into()));
    let exprs = vec![column("c", 2), binary(hundred, Op::Divide, column("b", 1))];
    let filter = binary(column("a", 0), Op::Gt, zero);
    MapOperator::new("map", Some(filter), exprs, schema(&["c", "q"]), errors.clone()).unwrap()
}

fn batch(rows: &[(i64, i64, i64, i64)]) -> ChangeBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.0))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.1))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.2))),
    ];
    let batch = RecordBatch::try_new(schema(&["a", "b", "c"]), columns).unwrap();
    ChangeBatch::new(batch, rows.iter().map(|r| r.3).collect())
}

#[test]
fn a_bad_row_goes_to_the_errors_and_a_retraction_clears_it() {
    let errors = Arc::new(RowErrors::new(2));
    let mut map = operator(&errors);
    let rows: Vec<_> = (0..100).map(|i| (1, if i == 37 { 0 } else { 2 }, i, 1)).collect();
    let out = run_epoch(&mut map, [(0, batch(&rows))], &context(1, 0, 0));
    assert_eq!(out.iter().map(ChangeBatch::len).sum::<usize>(), 99);
    let bad = errors.rows();
    assert_eq!((bad.len(), bad[0].weight, bad[0].error.sqlstate()), (1, 1, "22012"));
    run_epoch(&mut map, [(0, batch(&[(1, 0, 37, -1)]))], &context(2, 0, 0));
    assert_eq!((errors.count(), errors.rows().len()), (0, 0));
    run_epoch(&mut map, [(0, batch(&[(1, 0, 1, 1), (1, 0, 2, 1), (1, 0, 3, 1)]))], &context(3, 0, 0));
    assert_eq!((errors.count(), errors.rows().len()), (3, 2));
}

#[test]
fn columns_are_passed_without_copies() {
    let errors = Arc::new(RowErrors::new(2));
    let exprs = vec![column("c", 2)];
    let mut map = MapOperator::new("map", None, exprs, schema(&["x"]), errors).unwrap();
    let input = batch(&[(1, 2, 3, 1)]);
    let out = run_epoch(&mut map, [(0, input.clone())], &context(1, 0, 0));
    assert!(Arc::ptr_eq(out[0].rows.column(0), input.rows.column(2)));
}

proptest! {
    #[test]
    fn agrees_with_a_loop(rows in prop::collection::vec((-1i64..3, -2i64..3, any::<i64>(), -2i64..3), 0..200)) {
        let errors = Arc::new(RowErrors::new(1000));
        let out = run_epoch(&mut operator(&errors), [(0, batch(&rows))], &context(1, 0, 0));
        let out: Vec<_> = out.iter().flat_map(lines).collect();
        let passed = rows.iter().filter(|r| r.0 > 0);
        let expect: Vec<_> =
            passed.clone().filter(|r| r.1 != 0).map(|r| (format!("{}|{}", r.2, 100 / r.1), r.3)).collect();
        prop_assert_eq!(out, expect);
        prop_assert_eq!(errors.count(), passed.filter(|r| r.1 == 0).map(|r| r.3).sum::<i64>());
    }
}
