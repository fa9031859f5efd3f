use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use proptest::prelude::*;

use super::*;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, false),
        Field::new("t", DataType::Utf8, true),
    ]))
}

fn batch(range: std::ops::Range<i64>) -> RecordBatch {
    let text = StringArray::from_iter(range.clone().map(|v| (v % 3 != 0).then(|| format!("row {v}"))));
    RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from_iter_values(range)), Arc::new(text)])
        .unwrap()
}

fn check(store: &RowStore, live: &[(i64, RowId)]) {
    let ids: Vec<RowId> = live.iter().map(|(_, id)| *id).collect();
    let rows = store.gather(&ids, None).unwrap();
    let keys: Vec<i64> = rows.column(0).as_primitive::<Int64Type>().values().to_vec();
    assert_eq!(keys, live.iter().map(|(v, _)| *v).collect::<Vec<_>>());
    for (row, (v, _)) in live.iter().enumerate() {
        let text = rows.column(1).as_string::<i32>();
        let text = arrow::array::Array::is_valid(text, row).then(|| text.value(row).to_string());
        assert_eq!(text, (v % 3 != 0).then(|| format!("row {v}")));
    }
    let only = store.gather(&ids, Some(&[1])).unwrap();
    assert_eq!((only.num_columns(), only.num_rows()), (1, live.len()));
}

#[test]
fn small_appends_share_a_chunk_and_keep_their_ids() {
    let mut store = RowStore::new(schema());
    let a = store.append(batch(0..10)).unwrap();
    let b = store.append(batch(10..12)).unwrap();
    assert_eq!(b, a + 10);
    check(&store, &[(11, b + 1), (0, a), (3, a + 3)]);
    check(&store, &[(4, a + 4), (5, a + 5)]);
}

#[test]
fn dead_chunks_are_dropped_and_half_dead_ones_compacted() {
    let mut store = RowStore::new(schema());
    let a = store.append(batch(0..8000)).unwrap();
    let b = store.append(batch(8000..16_000)).unwrap();
    (0..8000).for_each(|row| store.release(a + row));
    assert_eq!(store.len(), 8000);
    let bytes = store.bytes();
    (100..8000).for_each(|row| store.release(b + row));
    let moved = store.compact().unwrap();
    assert_eq!(moved.len(), 100);
    assert!(store.bytes() < bytes / 10);
    let live: Vec<(i64, RowId)> = moved.iter().map(|(old, new)| (8000 + (old - b) as i64, *new)).collect();
    check(&store, &live);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn agrees_with_a_vector(steps in prop::collection::vec((0u8..3, 1usize..3000, any::<u64>()), 1..30)) {
        let mut store = RowStore::new(schema());
        let (mut live, mut next): (Vec<(i64, RowId)>, i64) = (Vec::new(), 0);
        for (kind, n, seed) in steps {
            match kind {
                0 => {
                    let first = store.append(batch(next..next + n as i64)).unwrap();
                    live.extend((0..n as i64).map(|i| (next + i, first + i as RowId)));
                    next += n as i64;
                }
                1 => {
                    let mut state = seed | 1;
                    live.retain(|(_, id)| {
                        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                        let gone = state >> 62 != 0;
                        if gone { store.release(*id) }
                        !gone
                    });
                }
                _ => {
                    let moved: HashMap<RowId, RowId> = store.compact().unwrap().into_iter().collect();
                    live.iter_mut().for_each(|(_, id)| *id = *moved.get(id).unwrap_or(id));
                }
            }
            prop_assert_eq!(store.len(), live.len());
            check(&store, &live);
        }
    }
}
