//! The engine without a session: objects are made from definitions, rows written to the log,
//! epochs cut by `step`, and views read back as text.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::Schema;

use super::database::Database;
use super::planning::{Leaves, Scope};
use super::status::ViewState;
use crate::catalog::*;
use crate::config::Config;
use crate::sql::StatementKind;
use crate::sql::emit::bind_emit;
use crate::sql::functions::tests::Gate;
use crate::types::{ChangeBatch, PgType};
use crate::views::Subscription;

const SECOND: i64 = 1_000_000;

async fn open(dir: &Path, workers: usize) -> Arc<Database> {
    let config = Config { data_dir: dir.to_path_buf(), manual_clock: true, workers, ..Config::default() };
    Database::open(config).await.expect("database opens")
}

async fn feed(db: &Arc<Database>, name: &str) -> u64 {
    let columns = vec![
        PgType::Int8.field("k", true),
        PgType::Int8.field("v", true),
        PgType::Timestamptz.field("ts", true),
    ];
    let watermark = Some(WatermarkDefinition {
        column: "ts".into(),
        expression: Some("ts - INTERVAL '1 second'".into()),
        percentile: None,
    });
    let details = SourceDetails { connector: "feed".into(), watermark, ..SourceDetails::default() };
    let new = NewDefinition {
        schema: "public".into(),
        name: name.into(),
        columns,
        depends_on: vec![],
        primary_key: vec![],
        created_at: 0,
        details: Details::Source(details),
    };
    db.create(new, None).await.expect("source").id
}

async fn view(db: &Arc<Database>, name: &str, sql: &str) -> crate::error::Result<u64> {
    let text = format!("CREATE MATERIALIZED VIEW {name} AS {sql}");
    let statement = crate::sql::parse_sql(&text)?.remove(0);
    let StatementKind::CreateMaterializedView(create) = statement.kind else { panic!("not a view") };
    let emit = bind_emit(create.emit.as_ref())?;
    let path = vec!["public".to_string()];
    let planned =
        db.plan_view(&db.system_context(&path), &create.query.query, &emit, None, Some(&text)).await?;
    println!("{}", planned.plan.explain().join("\n"));
    let details = MaterializedViewDetails {
        query: create.query.text.clone(),
        time_zone: "UTC".into(),
        search_path: path,
        emit: create.emit.map(|e| e.text),
        ..MaterializedViewDetails::default()
    };
    let new = NewDefinition {
        schema: "public".into(),
        name: name.into(),
        columns: planned.columns,
        depends_on: planned.depends_on,
        primary_key: vec![],
        created_at: 0,
        details: Details::MaterializedView(details),
    };
    Ok(db.create(new, None).await?.id)
}

fn write(db: &Database, source: u64, rows: &[(i64, i64, i64)]) {
    let schema: Arc<Schema> = Arc::clone(&db.engine.source(source).expect("source").schema);
    let times =
        TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| r.2 * SECOND)).with_timezone("UTC");
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.0))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.1))),
        Arc::new(times),
    ];
    let batch = RecordBatch::try_new(schema, columns).expect("batch");
    db.engine.write(vec![(source, ChangeBatch::inserts(batch))]).expect("write");
}

async fn rows(db: &Arc<Database>, sql: &str) -> Vec<String> {
    let pin = Arc::new(db.engine.pin());
    let scope = Scope::new(Arc::clone(db), Leaves::Snapshot(pin), db.system_context(&["public".to_string()]));
    let statement = crate::sql::parse_sql(sql).expect("parses").remove(0);
    let StatementKind::Query(query) = statement.kind else { panic!("not a query") };
    let planned = scope.plan(&query, Some(sql)).await.expect("plans");
    let plan = planned.state.create_physical_plan(&planned.plan).await.expect("physical");
    let batches = datafusion::physical_plan::collect(plan, planned.state.task_ctx()).await.expect("runs");
    let mut lines = Vec::new();
    for batch in batches {
        let options = arrow::util::display::FormatOptions::default().with_null("NULL");
        let columns: Vec<_> = (batch.columns().iter())
            .map(|c| arrow::util::display::ArrayFormatter::try_new(c.as_ref(), &options).expect("formats"))
            .collect();
        for row in 0..batch.num_rows() {
            lines.push(columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join("|"));
        }
    }
    lines.sort();
    lines
}

const WINDOWED: &str = "SELECT k, window_start, count(*) AS n, sum(v) AS s FROM TUMBLE(f, ts, INTERVAL '10 seconds') \
                        GROUP BY k, window_start, window_end";

#[tokio::test(flavor = "multi_thread")]
async fn a_windowed_view_follows_its_source_and_survives_a_restart() {
    for workers in [1, 2] {
        let dir = tempfile::tempdir().expect("dir");
        let expect =
            ["1|1970-01-01T00:00:00Z|2|30", "1|1970-01-01T00:00:10Z|1|5", "2|1970-01-01T00:00:00Z|1|7"];
        {
            let db = open(dir.path(), workers).await;
            let f = feed(&db, "f").await;
            view(&db, "w", WINDOWED).await.expect("view");
            view(&db, "final", &format!("{WINDOWED} EMIT ON WINDOW CLOSE")).await.expect("final view");
            view(&db, "total", "SELECT sum(n) AS n, count(*) AS groups FROM w").await.expect("view on view");
            assert_eq!(rows(&db, "SELECT * FROM total").await, ["NULL|0"]);
            write(&db, f, &[(1, 10, 1), (1, 20, 9), (2, 7, 3)]);
            db.engine.step().await.expect("step");
            assert_eq!(rows(&db, "SELECT * FROM w").await, [expect[0], expect[2]]);
            assert_eq!(rows(&db, "SELECT * FROM total").await, ["3|2"]);
            assert!(rows(&db, "SELECT * FROM final").await.is_empty());
            write(&db, f, &[(1, 5, 11)]);
            db.engine.step().await.expect("step");
            assert_eq!(rows(&db, "SELECT * FROM final").await, [expect[0], expect[2]]);
            // Too late: the watermark stands at 10 s, the end of its window.
            write(&db, f, &[(2, 1000, 4)]);
            db.engine.step().await.expect("step");
            assert_eq!(rows(&db, "SELECT * FROM w").await, expect);
            view(
                &db,
                "later",
                "SELECT k, max(v) AS m, min(v) AS i, count(DISTINCT v) AS d, avg(v) AS a FROM f GROUP BY k",
            )
            .await
            .expect("hydrates");
            assert_eq!(rows(&db, "SELECT k, m, i, d FROM later").await, ["1|20|5|3", "2|1000|7|2"]);
            db.engine.shutdown();
        }
        let db = open(dir.path(), 3 - workers).await;
        assert_eq!(rows(&db, "SELECT * FROM w").await, expect);
        assert_eq!(rows(&db, "SELECT * FROM final").await, [expect[0], expect[2]]);
        assert_eq!(rows(&db, "SELECT k, m, i, d FROM later").await, ["1|20|5|3", "2|1000|7|2"]);
        assert_eq!(rows(&db, "SELECT * FROM total").await, ["4|3"]);
        db.engine.shutdown();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hop_view_equals_the_same_query_ad_hoc() {
    let dir = tempfile::tempdir().expect("dir");
    let db = open(dir.path(), 2).await;
    let f = feed(&db, "f").await;
    let hop = "SELECT k, window_end, count(*) AS n FROM HOP(f, ts, INTERVAL '2 seconds', INTERVAL '10 seconds') \
               GROUP BY k, window_start, window_end";
    view(&db, "h", hop).await.expect("view");
    let hot = "SELECT a.k, a.n FROM h a JOIN (SELECT window_end, max(n) AS m FROM h GROUP BY window_end) b \
               ON a.window_end = b.window_end AND a.n >= b.m";
    view(&db, "hot", hot).await.expect("self join");
    for step in 0..5i64 {
        let batch: Vec<_> = (0..50).map(|i| ((i * 7 + step) % 11, i, step * 3 + i % 3)).collect();
        write(&db, f, &batch);
        db.engine.step().await.expect("step");
        assert_eq!(rows(&db, "SELECT * FROM h").await, rows(&db, hop).await);
        assert_eq!(rows(&db, "SELECT * FROM hot").await, rows(&db, hot).await);
    }
    let refused = view(&db, "x", "SELECT random() AS r FROM f").await.expect_err("refused");
    assert_eq!(refused.sqlstate(), "0A000", "{refused}");
    db.engine.shutdown();
}

/// Waits until `done` says so; fails after half a minute.
async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if done() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{what} did not come");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_holds_back_epochs_is_detached_until_it_has_caught_up() {
    const WRITES: i64 = 20;
    const ROWS: i64 = 500;
    for workers in [1, 2] {
        let gate = Gate::close();
        let dir = tempfile::tempdir().expect("dir");
        let data_dir = dir.path().to_path_buf();
        let config = Config { data_dir, workers, view_lag_max_ms: 400, ..Config::default() };
        let db = Database::open(config).await.expect("database opens");
        let (f, g) = (feed(&db, "f").await, feed(&db, "g").await);
        // Some milliseconds for each row until the gate opens: about half a minute in all.
        let slow = view(&db, "slow", "SELECT k, slow_while_closed(v) AS h FROM f").await.expect("slow view");
        view(&db, "above", "SELECT count(*) AS n FROM slow").await.expect("view on view");
        let quick = view(&db, "quick", "SELECT k FROM g").await.expect("quick view");
        let quick = db.engine.readable_store(quick, "quick").expect("store");
        let store = db.engine.readable_store(slow, "slow").expect("store");
        let mut seen = Subscription::new(Arc::clone(&store), db.engine.pin(), false);
        for write_number in 0..WRITES {
            let first = write_number * ROWS;
            write(&db, f, &(first..first + ROWS).map(|k| (k, 1, 1)).collect::<Vec<_>>());
        }
        let behind = || store.complete_up_to(db.engine.published().epoch) < db.engine.published().epoch;
        until("the lag", behind).await;
        write(&db, g, &[(1, 1, 1)]);
        until("a row of the quick view", || {
            let rows = quick.snapshot(db.engine.published().epoch, None);
            rows.is_ok_and(|batches| !batches.is_empty())
        })
        .await;
        assert!(behind(), "the others did not go on");
        let published = db.engine.published().epoch;
        let error = store.snapshot(published, None).expect_err("not complete");
        assert_eq!(error.sqlstate(), "55000", "{error}");
        assert!(error.message().contains("\"slow\" has fallen behind"), "{error}");
        assert!(store.snapshot(store.complete_up_to(published), None).is_ok());

        drop(gate);
        let mut followed = 0;
        until("all changes", || {
            let changes = seen.poll(db.engine.published().epoch).expect("changes");
            followed += changes.iter().map(|(_, batch)| batch.len() as i64).sum::<i64>();
            followed == WRITES * ROWS && !behind()
        })
        .await;
        let all = format!("{}", WRITES * ROWS);
        assert_eq!(rows(&db, "SELECT count(DISTINCT k) FROM slow").await, [all.as_str()]);
        until("the view above", || {
            db.engine.shared.status.views.read().values().all(|s| matches!(s, ViewState::Live))
        })
        .await;
        assert_eq!(rows(&db, "SELECT n FROM above").await, [all.as_str()]);
        db.engine.shutdown();
    }
}

/// The journal as it is if the process ends before the newest view has been filled.
fn forget_last_attach(dir: &Path) {
    use super::journal::{Journal, JournalRecord};
    let path = dir.join("journal");
    let (_, mut records) = Journal::open(&path).expect("journal");
    let last = records.iter().rposition(|r| matches!(r, JournalRecord::Attach(_))).expect("an attach");
    records.remove(last);
    std::fs::remove_file(&path).expect("removed");
    let (mut journal, _) = Journal::open(&path).expect("journal");
    records.iter().for_each(|r| journal.append(r).expect("append"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_was_being_filled_when_the_process_ended_is_filled_again() {
    for workers in [1, 2] {
        let dir = tempfile::tempdir().expect("dir");
        let sums = "SELECT k, sum(v) AS s, count(DISTINCT v) AS d FROM f GROUP BY k";
        let f = {
            let db = open(dir.path(), workers).await;
            let f = feed(&db, "f").await;
            view(&db, "before", "SELECT count(*) AS n FROM f").await.expect("view");
            for step in 0..4 {
                write(&db, f, &[(1, step, 1), (2, 7, step)]);
                db.engine.step().await.expect("step");
            }
            view(&db, "filling", sums).await.expect("view");
            db.engine.shutdown();
            f
        };
        forget_last_attach(dir.path());
        let db = open(dir.path(), workers).await;
        let live = || db.engine.shared.status.views.read().values().all(|s| matches!(s, ViewState::Live));
        until("the view", live).await;
        assert_eq!(rows(&db, "SELECT * FROM filling").await, ["1|6|4", "2|28|1"]);
        write(&db, f, &[(2, 3, 9)]);
        db.engine.step().await.expect("step");
        assert_eq!(rows(&db, "SELECT * FROM filling").await, rows(&db, sums).await);
        assert_eq!(rows(&db, "SELECT n FROM before").await, ["9"]);
        db.engine.shutdown();
    }
}
