use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::prelude::SessionContext;
use proptest::prelude::*;

use super::*;
use crate::types::{ChangeBatch, Epoch};

type Row = (i64, String);
/// Rows with their multiplicity.
type Bag = BTreeMap<Row, i64>;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, false),
        Field::new("v", DataType::Utf8, true),
    ]))
}

fn change(rows: &[(i64, &str, i64)]) -> ChangeBatch {
    let k = Int64Array::from_iter_values(rows.iter().map(|r| r.0));
    let v = StringArray::from_iter_values(rows.iter().map(|r| r.1));
    let batch = RecordBatch::try_new(schema(), vec![Arc::new(k), Arc::new(v)]).unwrap();
    ChangeBatch::new(batch, rows.iter().map(|r| r.2).collect())
}

fn add(bag: &mut Bag, batch: &ChangeBatch) {
    let k = batch.rows.column(0).as_primitive::<Int64Type>();
    let v = batch.rows.column(1).as_string::<i32>();
    for row in 0..batch.len() {
        *bag.entry((k.value(row), v.value(row).to_string())).or_default() += batch.weights.get(row);
    }
    bag.retain(|_, weight| *weight != 0);
}

fn bag(batches: &[RecordBatch]) -> Bag {
    let mut all = Bag::new();
    batches.iter().for_each(|rows| add(&mut all, &ChangeBatch::inserts(rows.clone())));
    all
}

fn key(k: i64) -> Vec<ArrayRef> {
    vec![Arc::new(Int64Array::from(vec![k]))]
}

fn store(key: Option<Vec<usize>>, append_only: bool, shards: usize) -> Arc<ViewStore> {
    Arc::new(ViewStore::new("v", schema(), key, append_only, shards))
}

/// One epoch of a random history: (row, insert or delete), deletes of absent rows are skipped.
type Edits = Vec<(i64, u8, bool)>;

fn history() -> impl Strategy<Value = Vec<(Edits, bool)>> {
    let edit = (0..12i64, 0..3u8, any::<bool>());
    proptest::collection::vec((proptest::collection::vec(edit, 0..12), any::<bool>()), 1..40)
}

/// Turns edits into changes that the present rows allow.
fn changes_of(edits: &Edits, now: &Bag, keyed: bool) -> Vec<(i64, &'static str, i64)> {
    const TEXTS: [&str; 3] = ["a", "b", "c"];
    let mut bag = now.clone();
    let mut changes = Vec::new();
    for (k, v, insert) in edits {
        let (k, text) = (*k, TEXTS[*v as usize]);
        let present: Vec<&'static str> =
            TEXTS.into_iter().filter(|t| bag.contains_key(&(k, t.to_string()))).collect();
        let mut edit = |text: &'static str, weight: i64| {
            let count = bag.entry((k, text.to_string())).or_default();
            *count += weight;
            if *count == 0 {
                bag.remove(&(k, text.to_string()));
            }
            changes.push((k, text, weight));
        };
        match (insert, present.first()) {
            (true, Some(old)) if keyed => {
                edit(text, 1);
                edit(old, -1);
            }
            (true, _) => edit(text, 1),
            (false, Some(old)) => edit(old, -1),
            (false, None) => {}
        }
    }
    changes
}

/// `net`: the store of a keyed view is told that its changes are added up, and they are.
fn check_history(history: &[(Edits, bool)], keyed: bool, net: bool, shards: usize) {
    const RETAINED: u64 = 5;
    let store = ViewStore::new("v", schema(), keyed.then(|| vec![0]), false, shards).with_net_changes(net);
    let mut bags = vec![Bag::new()];
    for (edits, collect) in history {
        let epoch = bags.len() as u64;
        let mut now = bags[epoch as usize - 1].clone();
        let changes = changes_of(edits, &now, keyed);
        for shard in 0..shards {
            let of_shard: Vec<_> =
                changes.iter().filter(|c| c.0 as usize % shards == shard).copied().collect();
            let mut batches: Vec<_> = of_shard.chunks(3).map(change).collect();
            if net {
                let all = crate::types::change_batch::consolidate(&schema(), &batches).unwrap();
                // Rows of an epoch come in several batches, old and new apart.
                batches = (0..all.len()).map(|row| all.slice(row, 1)).collect();
            }
            batches.iter().for_each(|batch| add(&mut now, batch));
            store.apply(shard, Epoch(epoch), &batches).unwrap();
        }
        bags.push(now);
        let oldest = if *collect { epoch.saturating_sub(RETAINED) } else { store.horizon().0 };
        store.set_horizon(Epoch(oldest)).unwrap();
        let oldest = store.horizon().0;
        for at in oldest..=epoch {
            let expect = &bags[at as usize];
            assert_eq!(&bag(&store.snapshot(Epoch(at), None).unwrap()), expect);
            assert_eq!(store.len_at(Epoch(at)) as i64, expect.values().sum::<i64>());
            for k in (0..12).filter(|_| keyed) {
                let found = store.lookup(Epoch(at), &key(k)).unwrap();
                let found = found.map(|row| bag(&[row]));
                let wanted: Bag =
                    expect.iter().filter(|((rk, _), _)| *rk == k).map(|(r, n)| (r.clone(), *n)).collect();
                assert_eq!(found.unwrap_or_default(), wanted);
            }
        }
        let mut rolling = bags[oldest as usize].clone();
        let mut before = oldest;
        for (at, batch) in store.changes(Epoch(oldest), Epoch(epoch)).unwrap() {
            assert!(before < at.0 && at.0 <= epoch);
            before = at.0;
            add(&mut rolling, &batch);
            assert_eq!(&rolling, &bags[at.0 as usize]);
        }
        assert_eq!(&rolling, &bags[epoch as usize]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    #[test]
    fn a_store_agrees_with_its_model(history in history(), keyed: bool, net: bool, shards in 1..3usize) {
        check_history(&history, keyed, net, shards);
    }
}

#[test]
fn an_update_of_a_key_may_list_the_insertion_first() {
    let store = store(Some(vec![0]), false, 1);
    store.apply(0, Epoch(1), &[change(&[(1, "a", 1)])]).unwrap();
    store.apply(0, Epoch(2), &[change(&[(1, "b", 1), (1, "a", -1)])]).unwrap();
    let value = |epoch| bag(&[store.lookup(Epoch(epoch), &key(1)).unwrap().unwrap()]);
    assert_eq!(value(1), Bag::from([((1, "a".into()), 1)]));
    assert_eq!(value(2), Bag::from([((1, "b".into()), 1)]));
    assert!(store.lookup(Epoch(2), &key(9)).unwrap().is_none());
}

#[test]
fn inconsistent_changes_are_internal_errors_that_name_the_view() {
    let check = |key: Option<Vec<usize>>, append_only: bool, changes: &[(i64, &str, i64)]| {
        let store = store(key, append_only, 1);
        let error = store.apply(0, Epoch(1), &[change(changes)]).unwrap_err();
        assert_eq!(error.sqlstate(), "XX000");
        assert!(error.message().contains("\"v\""), "{error}");
    };
    check(None, false, &[(1, "a", -1)]);
    check(None, false, &[(1, "a", 1), (2, "a", -1)]);
    check(Some(vec![0]), false, &[(1, "a", 2)]);
    check(Some(vec![0]), false, &[(1, "a", 1), (1, "b", 1)]);
    check(None, true, &[(1, "a", -1)]);
    let store = store(Some(vec![0]), false, 1);
    store.apply(0, Epoch(2), &[change(&[(1, "a", 1)])]).unwrap();
    assert!(store.apply(0, Epoch(1), &[]).is_err());
    assert!(store.apply(0, Epoch(3), &[change(&[(1, "b", 1)])]).is_err());
}

#[test]
fn small_appends_become_few_chunks_and_dead_versions_go() {
    let store = store(Some(vec![0]), false, 1);
    // Each epoch gives one of 50 keys another text.
    for epoch in 1..=2000u64 {
        let (k, round) = (epoch as i64 % 50, epoch as usize / 50);
        let mut changes = vec![(k, ["x", "y"][round % 2], 1)];
        if epoch > 50 {
            changes.push((k, ["y", "x"][round % 2], -1));
        }
        store.apply(0, Epoch(epoch), &[change(&changes)]).unwrap();
    }
    let batches = store.snapshot(Epoch(2000), None).unwrap();
    assert!(batches.len() <= 4, "{} batches", batches.len());
    assert_eq!(store.len_at(Epoch(2000)), 50);
    let (versions, bytes) = (store.versions(), store.bytes());
    assert_eq!(versions, 2000);
    store.set_horizon(Epoch(2000)).unwrap();
    assert!(store.versions() <= 100, "{} versions", store.versions());
    assert!(store.bytes() < bytes);
    assert_eq!(store.snapshot(Epoch(1999), None).unwrap_err().sqlstate(), "55000");
    assert_eq!(store.len_at(Epoch(2000)), 50);
}

#[test]
fn dead_versions_go_as_fast_as_they_come() {
    const ROWS: i64 = 100_000;
    let store = ViewStore::new("v", schema(), Some(vec![0]), false, 1).with_net_changes(true);
    let rows = |text| change(&(0..ROWS).map(|k| (k, text, 1)).collect::<Vec<_>>()).rows;
    let texts = [rows("x"), rows("y")];
    for epoch in 1..=8usize {
        let mut changes = vec![ChangeBatch::inserts(texts[epoch % 2].clone())];
        if epoch > 1 {
            changes.insert(0, ChangeBatch::deletes(texts[(epoch + 1) % 2].clone()));
        }
        store.apply(0, Epoch(epoch as u64), &changes).unwrap();
        store.set_horizon(Epoch(epoch as u64 - 1)).unwrap();
        // Those that live, those that a reader of the last epoch sees, and half chunks.
        assert!(store.versions() <= 2 * ROWS as usize + 10_000, "{} versions", store.versions());
    }
    assert_eq!(store.len_at(Epoch(8)), ROWS as usize);
}

#[test]
fn whole_chunks_are_not_copied() {
    let store = store(None, true, 1);
    let rows: Vec<_> = (0..4096).map(|k| (k, "text", 1)).collect();
    let batch = ChangeBatch::inserts(change(&rows).rows);
    store.apply(0, Epoch(1), std::slice::from_ref(&batch)).unwrap();
    store.apply(0, Epoch(2), std::slice::from_ref(&batch)).unwrap();
    let snapshot = store.snapshot(Epoch(2), Some(&[0])).unwrap();
    assert_eq!(snapshot.iter().map(|b| b.num_rows()).sum::<usize>(), 8192);
    let address = |b: &RecordBatch| b.column(0).as_primitive::<Int64Type>().values().as_ptr();
    assert!(snapshot.iter().all(|b| address(b) == address(&batch.rows)));
    assert_eq!(store.snapshot(Epoch(1), None).unwrap().len(), 1);
}

#[test]
fn pins_hold_the_horizon() {
    let pins = Pins::new(2);
    pins.publish(Epoch(10), Arc::default());
    let mut old = pins.pin(Epoch(3)).unwrap();
    assert_eq!(pins.horizon(), Epoch(3));
    let latest = pins.pin_published();
    assert_eq!((latest.epoch(), pins.published()), (Epoch(10), Epoch(10)));
    old.move_to(Epoch(9));
    assert_eq!(pins.horizon(), Epoch(8));
    assert_eq!(pins.pin(Epoch(7)).err().unwrap().sqlstate(), "55000");
    pins.publish(Epoch(20), Arc::default());
    assert_eq!(pins.horizon(), Epoch(9));
    drop(old);
    assert_eq!(pins.horizon(), Epoch(10));
    drop(latest);
    assert_eq!(pins.horizon(), Epoch(18));
}

#[test]
fn a_subscription_gives_the_snapshot_and_then_each_epoch() {
    let (store, pins) = (store(None, false, 2), Pins::new(0));
    store.apply(0, Epoch(1), &[change(&[(1, "a", 2)])]).unwrap();
    pins.publish(Epoch(1), Arc::default());
    let mut subscription = Subscription::new(store.clone(), pins.pin_published(), true);
    let mut seen = Bag::new();
    for epoch in 2..=3000u64 {
        let change = change(&[(epoch as i64, "b", 1), (epoch as i64 - 1, "b", -((epoch > 2) as i64))]);
        let change = crate::types::change_batch::consolidate(&schema(), &[change]).unwrap();
        store.apply(1, Epoch(epoch), &[change]).unwrap();
    }
    pins.publish(Epoch(3000), Arc::default());
    store.set_horizon(pins.horizon()).unwrap();
    let mut polls = 0;
    while polls == 0 || subscription.epoch() < Epoch(3000) {
        for (epoch, batch) in subscription.poll(Epoch(3000)).unwrap() {
            assert!(epoch >= Epoch(1));
            add(&mut seen, &batch);
        }
        polls += 1;
    }
    assert_eq!(polls, 4);
    assert_eq!(seen, bag(&store.snapshot(Epoch(3000), None).unwrap()));
    assert!(subscription.poll(Epoch(3000)).unwrap().is_empty());
    assert_eq!(pins.horizon(), Epoch(3000));
}

#[tokio::test]
async fn sql_reads_a_view_at_the_pinned_epoch() {
    let (store, pins) = (store(Some(vec![0]), false, 2), Pins::new(10));
    store.apply(0, Epoch(1), &[change(&[(2, "b", 1), (4, "d", 1)])]).unwrap();
    store.apply(1, Epoch(1), &[change(&[(1, "a", 1)])]).unwrap();
    store.apply(0, Epoch(2), &[change(&[(2, "b", -1)])]).unwrap();
    let context = SessionContext::new();
    for epoch in [1, 2] {
        let pin = Arc::new(pins.pin(Epoch(epoch)).unwrap());
        let name = format!("v{epoch}");
        context.register_table(name, Arc::new(ViewScan::new(store.clone(), pin))).unwrap();
    }
    let run = async |sql: &str| {
        let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
        arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string()
    };
    let check = async |sql: &str, expect: &[&str]| {
        let text = run(sql).await;
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(&lines[3..lines.len().max(4) - 1], expect, "{sql}");
    };
    check("SELECT * FROM v1 ORDER BY k", &["| 1 | a |", "| 2 | b |", "| 4 | d |"]).await;
    check("SELECT v FROM v2 ORDER BY k DESC", &["| d |", "| a |"]).await;
    check("SELECT v, k FROM v1 WHERE k = 2", &["| b | 2 |"]).await;
    check("SELECT count(*) AS n FROM v2", &["| 2 |"]).await;
    check("SELECT count(*) AS n FROM v1 WHERE k = 2 AND v = 'c'", &["| 0 |"]).await;
    let plan = run("EXPLAIN SELECT v FROM v1 WHERE 2 = k").await;
    assert!(plan.contains("partition_sizes=[1]"), "{plan}");
    let rows: usize = store.snapshot(Epoch(2), Some(&[])).unwrap().iter().map(|b| b.num_rows()).sum();
    assert_eq!(rows, 2);
    assert!(store.lookup(Epoch(2), &[]).is_err());
    assert_eq!(schema().field(0).data_type(), key(1)[0].data_type());
}

#[test]
fn a_view_that_is_behind_is_read_up_to_where_it_is_complete() {
    let store = store(None, false, 1);
    let pins = Pins::new(100);
    (1..=2).for_each(|e| store.apply(0, Epoch(e), &[change(&[(e as i64, "a", 1)])]).unwrap());
    pins.publish(Epoch(2), Arc::default());
    let mut followed = Subscription::new(store.clone(), pins.pin(Epoch(1)).unwrap(), false);
    store.set_incomplete_from(Epoch(3));
    pins.publish(Epoch(4), Arc::default());
    assert_eq!(store.complete_up_to(Epoch(4)), Epoch(2));
    let error = store.snapshot(Epoch(3), None).unwrap_err();
    assert_eq!((error.sqlstate(), error.message()), ("55000", "materialized view \"v\" has fallen behind"));
    assert!(store.changes(Epoch(1), Epoch(3)).is_err());
    assert_eq!(bag(&store.snapshot(Epoch(2), None).unwrap()).len(), 2);
    assert_eq!(followed.poll(Epoch(4)).unwrap().len(), 1);
    assert!(followed.is_at(Epoch(4)) && followed.poll(Epoch(4)).unwrap().is_empty());
    (3..=4).for_each(|e| store.apply(0, Epoch(e), &[change(&[(e as i64, "a", 1)])]).unwrap());
    store.set_complete();
    assert!(!followed.is_at(Epoch(4)));
    assert_eq!(followed.poll(Epoch(4)).unwrap().len(), 2);
    assert_eq!(bag(&store.snapshot(Epoch(4), None).unwrap()).len(), 4);
}
