//! What the edge shows and how much the list of panes keeps.

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;

use super::*;
use crate::types::{EventTime, ProcTime};

fn stored() -> SchemaRef {
    let mut fields = vec![PgType::Int8.field("v", true), PgType::Int8.field("pane_index", true)];
    fields.extend(PANE_COLUMNS.iter().enumerate().map(|(i, name)| {
        let hidden = if *name == "pane_index" { "$pane_index" } else { name };
        crate::plan::panes::pane_type(i).field(hidden, true)
    }));
    Arc::new(Schema::new(fields))
}

fn changes(rows: &[(i64, i64)]) -> ChangeBatch {
    let schema = stored();
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.0)));
    let mut columns = vec![Arc::clone(&values), values];
    columns
        .extend(schema.fields()[2..].iter().map(|f| arrow::array::new_null_array(f.data_type(), rows.len())));
    ChangeBatch::new(RecordBatch::try_new(schema, columns).unwrap(), rows.iter().map(|r| r.1).collect())
}

fn values(batch: &RecordBatch, column: &str) -> Vec<i64> {
    batch.column_by_name(column).unwrap().as_primitive::<Int64Type>().values().to_vec()
}

fn at(epoch: u64, now: i64) -> EpochContext {
    EpochContext { epoch: Epoch(epoch), now: ProcTime(now), watermarks: vec![EventTime::MIN].into() }
}

#[test]
fn edges() {
    let some = || changes(&[(2, 1), (1, -1), (3, 1)]);
    let shown = |edge: Edge| {
        let seen = edge.apply(some()).unwrap();
        (values(&seen.rows, "v"), seen.weights_vec(), edge.count(&some()))
    };
    assert_eq!(shown(Edge::Changes), (vec![2, 1, 3], vec![1, -1, 1], 3));
    assert_eq!(shown(Edge::EveryPane), (vec![2, 3], vec![1, 1], 2));
    assert_eq!(shown(Edge::Retracting), (vec![1, 2, 3], vec![-1, 1, 1], 3));
}

#[test]
fn the_newest_panes_of_all_workers() {
    let log = PaneLog::new(stored(), PANE_COLUMNS.len(), 2, 3, None);
    for epoch in 1..=4 {
        let v = epoch as i64 * 10;
        log.record(epoch as usize % 2, &at(epoch, v), &[changes(&[(v, 1), (v - 9, -1), (v + 1, 1)])])
            .unwrap();
    }
    let read = |epoch: u64| -> Vec<(i64, i64)> {
        let all = log.read(Epoch(epoch), 0).unwrap();
        all.iter().flat_map(|b| values(b, "hw_epoch").into_iter().zip(values(b, "v"))).collect()
    };
    assert_eq!(read(4), [(3, 30), (3, 31), (4, 40), (4, 41)]);
    assert_eq!(read(3), [(2, 20), (2, 21), (3, 30), (3, 31)]);
    // The view's own pane_index gives way to the pane column.
    assert_eq!(log.schema().fields().iter().filter(|f| f.name() == "pane_index").count(), 1);
    assert!(log.read(Epoch(4), 0).unwrap()[0].column_by_name("pane_index").unwrap().is_null(0));
}

#[test]
fn panes_within_the_history() {
    let log = PaneLog::new(stored(), PANE_COLUMNS.len(), 1, 100, Some(10));
    log.record(0, &at(1, 100), &[changes(&[(1, 1)])]).unwrap();
    log.record(0, &at(2, 105), &[changes(&[(2, 1)])]).unwrap();
    let count = |now: i64| log.read(Epoch(2), now).unwrap().iter().map(RecordBatch::num_rows).sum::<usize>();
    assert_eq!((count(110), count(111), count(116)), (2, 1, 0));
}
