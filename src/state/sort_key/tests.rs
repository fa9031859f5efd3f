use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, IntervalMonthDayNanoArray, RecordBatch, StringArray};
use arrow::datatypes::{Field, IntervalMonthDayNano, Schema};

use super::{Key, KeyEncoder};
use crate::types::order::SortKey;

fn encoder(column: &ArrayRef, descending: bool, nulls_first: bool) -> (KeyEncoder, RecordBatch) {
    let schema = Arc::new(Schema::new(vec![Field::new("v", column.data_type().clone(), true)]));
    let rows = RecordBatch::try_new(schema.clone(), vec![column.clone()]).unwrap();
    (KeyEncoder::new(&schema, &[SortKey { column: 0, descending, nulls_first }]).unwrap(), rows)
}

/// Row numbers in the order of the keys; rows with equal keys share a place.
fn order(column: ArrayRef, descending: bool, nulls_first: bool) -> Vec<Vec<usize>> {
    let (encoder, rows) = encoder(&column, descending, nulls_first);
    let boxed: Vec<Box<[u8]>> = encoder.encode(&rows).unwrap();
    let mut places: std::collections::BTreeMap<Box<[u8]>, Vec<usize>> = Default::default();
    for (row, key) in boxed.into_iter().enumerate() {
        places.entry(key).or_default().push(row);
    }
    if encoder.width().is_some_and(|w| w <= 24) {
        let words: Vec<[u64; 3]> = encoder.encode(&rows).unwrap();
        let mut by_words: std::collections::BTreeMap<[u64; 3], Vec<usize>> = Default::default();
        for (row, key) in words.into_iter().enumerate() {
            by_words.entry(key).or_default().push(row);
        }
        assert!(by_words.into_values().eq(places.values().cloned()));
    }
    places.into_values().collect()
}

#[test]
fn integers_and_nulls() {
    let column: ArrayRef = Arc::new(Int64Array::from(vec![Some(5), None, Some(-7), Some(0)]));
    assert_eq!(order(column.clone(), false, false), [[2], [3], [0], [1]]);
    assert_eq!(order(column.clone(), true, true), [[1], [0], [3], [2]]);
    assert_eq!(order(column.clone(), true, false), [[0], [3], [2], [1]]);
    assert_eq!(order(column, false, true), [[1], [2], [3], [0]]);
}

#[test]
fn floats_as_postgres_orders_them() {
    let values = vec![f64::NAN, -0.0, 0.0, f64::INFINITY, -1.5, f64::NEG_INFINITY, -f64::NAN];
    let column: ArrayRef = Arc::new(Float64Array::from(values));
    assert_eq!(order(column, false, false), [vec![5], vec![4], vec![1, 2], vec![3], vec![0, 6]]);
}

#[test]
fn text_by_bytes() {
    let column: ArrayRef = Arc::new(StringArray::from(vec!["b", "", "é", "B", "ba", "zz"]));
    assert_eq!(order(column.clone(), false, false), [[1], [3], [0], [4], [5], [2]]);
    assert_eq!(order(column, true, false), [[2], [5], [4], [0], [3], [1]]);
}

#[test]
fn intervals_by_length() {
    let day = 86_400_000_000_000;
    let values: Vec<IntervalMonthDayNano> = [(1, 0, 0), (0, 30, 0), (0, 0, day), (0, 1, 0), (0, -1, 0)]
        .map(|(m, d, n)| IntervalMonthDayNano::new(m, d, n))
        .to_vec();
    let column: ArrayRef = Arc::new(IntervalMonthDayNanoArray::from(values));
    assert_eq!(order(column, false, false), [vec![4], vec![2, 3], vec![0, 1]]);
}

#[test]
fn without_an_order_all_keys_are_equal() {
    let schema = Arc::new(Schema::new(vec![Field::new("v", arrow::datatypes::DataType::Int64, true)]));
    let rows = RecordBatch::try_new(schema.clone(), vec![Arc::new(Int64Array::from(vec![1, 2]))]).unwrap();
    let encoder = KeyEncoder::new(&schema, &[]).unwrap();
    assert_eq!(encoder.width(), Some(0));
    assert_eq!(encoder.encode::<[u64; 2]>(&rows).unwrap(), [<[u64; 2]>::least(); 2]);
}
