use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use proptest::prelude::*;

use super::*;
use crate::dataflow::operators::late::LateRows;
use crate::dataflow::operators::tests::{Contents, apply, run_epoch};
use crate::types::{Epoch, ProcTime};

/// Time, key, value.
type Row = (i64, i64, i64);

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("k", DataType::Int64, true),
        Field::new("v", DataType::Int64, true),
    ]))
}

fn batch(rows: &[(Row, i64)]) -> ChangeBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|(r, _)| r.0))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|(r, _)| r.1))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|(r, _)| r.2))),
    ];
    let batch = RecordBatch::try_new(schema(), columns).unwrap();
    ChangeBatch::new(batch, rows.iter().map(|(_, w)| *w).collect())
}

fn context(epoch: u64, watermarks: [i64; 2]) -> EpochContext {
    let watermarks = watermarks.iter().map(|w| EventTime(*w)).collect::<Vec<_>>().into();
    EpochContext { epoch: Epoch(epoch), now: ProcTime(0), watermarks }
}

/// The values of left row and version.
fn operator(kind: JoinKind, strict: bool, appends: bool, late: &Arc<LateRows>) -> AsOfJoinOperator {
    let spec = JoinSpec::on_keys(kind, (schema(), vec![1]), (schema(), vec![1]), vec![2, 5]);
    AsOfJoinOperator::new(JoinSpec {
        as_of: Some(AsOf {
            times: [0, 0],
            strict,
            clocks: [vec![0].into(), vec![1].into()],
            ties: if appends { vec![2] } else { Vec::new() },
            late: Arc::clone(late),
        }),
        left_append_only: true,
        right_append_only: appends,
        ..spec
    })
    .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn every_row_meets_the_version_of_its_time(
        outer in any::<bool>(),
        strict in any::<bool>(),
        epochs in prop::collection::vec((
            prop::collection::vec((0usize..2, -3i64..8, 0i64..3, 0i64..100), 0..10),
            [0i64..6, 0i64..6],
        ), 1..10),
    ) {
        let late = Arc::new(LateRows::new(1000));
        let kind = if outer { JoinKind::Left } else { JoinKind::Inner };
        let mut join = operator(kind, strict, true, &late);
        let (mut w, mut refused) = ([0i64; 2], 0);
        let mut lefts: Vec<Row> = Vec::new();
        // Time, key, value: of one key and time the greatest value wins, whenever it came.
        let mut versions: Vec<(i64, i64, i64)> = Vec::new();
        let mut contents = Contents::new();
        run_epoch(&mut join, [], &context(0, w));
        for (epoch, (rows, steps)) in epochs.iter().enumerate() {
            let mut inputs = Vec::new();
            for (side, offset, key, value) in rows {
                let row = (w[*side] + offset, *key, *value);
                inputs.push((*side, batch(&[(row, 1)])));
                match (row.0 < w[*side], side) {
                    (true, _) => refused += 1,
                    (false, 0) => lefts.push(row),
                    (false, _) => versions.push((row.0, *key, *value)),
                }
            }
            w = [w[0] + steps[0], w[1] + steps[1]];
            let out = run_epoch(&mut join, inputs, &context(epoch as u64 + 1, w));
            prop_assert!(out.iter().all(|b| b.weights_vec().iter().all(|w| *w == 1)), "the output only grows");
            apply(&mut contents, &out);
            let mut expect = Contents::new();
            for l in lefts.iter().filter(|l| l.0 < w[1] + strict as i64) {
                let valid = |v: &&(i64, i64, i64)| v.1 == l.1 && if strict { v.0 < l.0 } else { v.0 <= l.0 };
                match versions.iter().filter(valid).max_by_key(|v| (v.0, v.2)) {
                    Some(v) => *expect.entry(format!("{}|{}", l.2, v.2)).or_insert(0) += 1,
                    None if outer => *expect.entry(format!("{}|NULL", l.2)).or_insert(0) += 1,
                    None => (),
                }
            }
            prop_assert_eq!(&contents, &expect);
            prop_assert_eq!(late.count(), refused);
        }
        // In the end a key is its last version.
        run_epoch(&mut join, [], &context(98, [i64::MAX - 1; 2]));
        let keys: std::collections::BTreeSet<i64> = versions.iter().map(|v| v.1).collect();
        prop_assert_eq!(join.state_size().entries, keys.len());
    }
}

#[test]
fn updates_are_versions_and_deletions_end_them() {
    let late = Arc::new(LateRows::new(10));
    let mut join = operator(JoinKind::Left, false, false, &late);
    let mut contents = Contents::new();
    let mut epoch = |join: &mut AsOfJoinOperator, inputs: Vec<(usize, ChangeBatch)>, n: u64, w: i64| {
        apply(&mut contents, &run_epoch(join, inputs, &context(n, [w; 2])));
        contents.keys().cloned().collect::<Vec<_>>()
    };
    epoch(&mut join, vec![(1, batch(&[((10, 1, 100), 1)]))], 1, 10);
    let update = batch(&[((10, 1, 100), -1), ((20, 1, 200), 1)]);
    epoch(&mut join, vec![(1, update), (0, batch(&[((15, 1, 1), 1), ((25, 1, 2), 1)]))], 2, 12);
    let shown = epoch(&mut join, vec![(1, batch(&[((20, 1, 200), -1)]))], 3, 30);
    assert_eq!(shown, ["1|100", "2|NULL"], "deleted while the watermark was 12, so from 20 on");
    epoch(&mut join, vec![(0, batch(&[((40, 1, 3), 1)])), (1, batch(&[((50, 1, 300), 1)]))], 4, 45);
    let shown = epoch(&mut join, vec![(0, batch(&[((55, 1, 4), 1)]))], 5, 60);
    assert_eq!(shown, ["1|100", "2|NULL", "3|NULL", "4|300"]);
    assert_eq!(join.state_size().entries, 1);
}

#[test]
fn rows_of_a_changing_side_meet_the_same_version_again() {
    let late = Arc::new(LateRows::new(10));
    let mut join = operator(JoinKind::Left, false, false, &late);
    join.left_append_only = false;
    let mut contents = Contents::new();
    let mut epoch = |join: &mut AsOfJoinOperator, inputs: Vec<(usize, ChangeBatch)>, n: u64, w: [i64; 2]| {
        apply(&mut contents, &run_epoch(join, inputs, &context(n, w)));
        let shown = contents.iter().filter(|(_, w)| **w != 0).map(|(l, w)| format!("{l}*{w}"));
        shown.collect::<Vec<_>>()
    };
    let versions = batch(&[((10, 1, 100), 1), ((20, 1, 200), 1)]);
    epoch(&mut join, vec![(1, versions), (0, batch(&[((15, 1, 1), 2), ((5, 1, 2), 1)]))], 1, [30, 30]);
    // Long after both watermarks: rows of the past come and go.
    let changes = batch(&[((15, 1, 1), -1), ((5, 1, 2), -1), ((12, 1, 3), 1)]);
    let shown = epoch(&mut join, vec![(1, batch(&[((90, 1, 300), 1)])), (0, changes)], 2, [99, 99]);
    assert_eq!(shown, ["1|100*1", "3|100*1"]);
    let shown = epoch(&mut join, vec![(0, batch(&[((15, 1, 1), -1), ((12, 1, 3), -1)]))], 3, [99, 99]);
    assert_eq!(shown, Vec::<String>::new());
    assert_eq!((late.count(), join.state_size().entries), (0, 3));
}
