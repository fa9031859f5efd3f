use std::collections::BTreeMap as Map;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use proptest::prelude::*;

use super::*;
use crate::dataflow::operators::tests::{Contents, apply, context, run_epoch};

const TTL: i64 = 10;

fn schema() -> SchemaRef {
    let column = |name: &str| Field::new(name, DataType::Int64, true);
    Arc::new(Schema::new(vec![column("k"), column("v")]))
}

type Row = (i64, i64);

fn batch(rows: &[(Row, i64)]) -> ChangeBatch {
    let column = |f: fn(&Row) -> i64| Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| f(&r.0))));
    let columns: Vec<ArrayRef> = vec![column(|r| r.0), column(|r| r.1)];
    let rows_of = RecordBatch::try_new(schema(), columns).unwrap();
    ChangeBatch::new(rows_of, rows.iter().map(|r| r.1).collect())
}

fn operator(keys: &[usize]) -> ExpireOperator {
    let node = ExpireNode { keys: keys.to_vec(), partition: keys.to_vec(), ttl_us: TTL };
    ExpireOperator::new(&node, schema())
}

/// What is held of each row, and when its key was touched last.
#[derive(Default)]
struct Model {
    rows: Map<Row, i64>,
    touched: Map<Row, i64>,
}

impl Model {
    fn step(&mut self, by_row: bool, now: i64, changes: &[(Row, i64)]) {
        let key = |row: Row| if by_row { row } else { (row.0, 0) };
        for (row, weight) in changes {
            *self.rows.entry(*row).or_insert(0) += weight;
            self.touched.insert(key(*row), now);
        }
        let touched = &self.touched;
        self.rows.retain(|row, weight| *weight > 0 && touched[&key(*row)] + TTL > now);
    }
}

fn total(contents: &Contents) -> i64 {
    contents.values().sum()
}

proptest! {
    /// Whatever comes when, what is let out is what the rules say, and never negative.
    #[test]
    fn holds_what_was_touched_lately(
        by_row in any::<bool>(),
        steps in prop::collection::vec(
            (0..8_i64, prop::collection::vec(((0..3_i64, 0..3_i64), -1..3_i64), 0..4)),
            1..30,
        ),
    ) {
        let mut op = operator(if by_row { &[0, 1] } else { &[0] });
        let (mut model, mut contents, mut now) = (Model::default(), Contents::new(), 0);
        for (wait, changes) in steps {
            now += wait;
            let input = (!changes.is_empty()).then(|| (0, batch(&changes)));
            apply(&mut contents, &run_epoch(&mut op, input, &context(1, now, 0)));
            model.step(by_row, now, &changes);
            prop_assert!(contents.values().all(|w| *w > 0));
            prop_assert_eq!(total(&contents), model.rows.values().sum::<i64>());
            prop_assert_eq!(op.state_size().entries, model.rows.len());
            prop_assert!(op.next_timer().is_some() || model.rows.is_empty());
        }
        now += 2 * TTL;
        apply(&mut contents, &run_epoch(&mut op, [], &context(1, now, 0)));
        prop_assert_eq!((contents.len(), op.kept.len(), op.queue.len()), (0, 0, 0));
    }
}

#[test]
fn a_key_is_queued_once_however_often_it_is_touched() {
    let mut op = operator(&[0]);
    for now in 0..1_000 {
        run_epoch(&mut op, [(0, batch(&[((1, now), 1), ((1, now - 1), -1)]))], &context(1, now, 0));
        assert_eq!((op.queue.len(), op.kept.len()), (1, 1));
    }
}
