//! Sessions over a database in a temporary directory, with a manual clock.

use std::sync::Arc;

use futures::TryStreamExt;

use super::*;
use crate::config::Config;
use crate::serving::pg::api::RowsTag;
use crate::types::text::ColumnWriter;

struct Client {
    session: Box<dyn SessionHandle>,
    _notices: mpsc::Receiver<Notice>,
}

struct Reply {
    rows: Vec<String>,
    names: Vec<String>,
    tag: String,
}

impl Client {
    async fn run(&mut self, sql: &str) -> Result<Reply> {
        let statement = self.session.parse(sql)?.remove(0);
        self.run_parsed(&statement, Vec::new()).await
    }

    async fn run_parsed(&mut self, statement: &ParsedStatement, values: Vec<ScalarValue>) -> Result<Reply> {
        let outcome = self.session.execute(statement, values).await;
        if outcome.is_err() {
            self.session.fail_transaction();
        }
        let (schema, stream, tag) = match outcome? {
            Outcome::Rows { schema, stream, tag } => (schema, stream, tag),
            Outcome::Command { tag } => return Ok(Reply { rows: Vec::new(), names: Vec::new(), tag }),
            Outcome::Empty => panic!("no statement"),
            Outcome::CopyOut { .. } | Outcome::CopyIn { .. } => panic!("the wire takes COPY"),
        };
        let options = self.session.text_options();
        let mut rows = Vec::new();
        for batch in stream.try_collect::<Vec<_>>().await? {
            let writers: Vec<ColumnWriter> = batch
                .columns()
                .iter()
                .zip(schema.fields())
                .map(|(c, f)| ColumnWriter::new(c, f, &options).unwrap())
                .collect();
            for row in 0..batch.num_rows() {
                let cell = |w: &ColumnWriter| {
                    let mut out = Vec::new();
                    if w.is_null(row) {
                        b"NULL".to_vec()
                    } else {
                        w.write_text(row, &mut out);
                        out
                    }
                };
                let cells: Vec<String> =
                    writers.iter().map(|w| String::from_utf8(cell(w)).unwrap()).collect();
                rows.push(cells.join("|"));
            }
        }
        let tag = match tag {
            RowsTag::Counted(tag) => format!("{tag} {}", rows.len()),
            RowsTag::Plain(tag) => tag,
        };
        Ok(Reply { rows, names: schema.fields().iter().map(|f| f.name().clone()).collect(), tag })
    }

    async fn ok(&mut self, sql: &str) -> Reply {
        self.run(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    async fn tag(&mut self, sql: &str) -> String {
        self.ok(sql).await.tag
    }

    async fn rows(&mut self, sql: &str) -> Vec<String> {
        self.ok(sql).await.rows
    }

    async fn code(&mut self, sql: &str) -> &'static str {
        match self.run(sql).await {
            Ok(_) => panic!("{sql} succeeded"),
            Err(e) => e.sqlstate(),
        }
    }

    fn notices(&mut self) -> Vec<String> {
        self.session.take_notices().iter().map(|n| n.report.message().to_string()).collect()
    }
}

async fn database(dir: &std::path::Path) -> Arc<Database> {
    let config = Config { data_dir: dir.to_path_buf(), manual_clock: true, workers: 2, ..Config::default() };
    Database::open(config).await.unwrap()
}

fn client(sessions: &Sessions) -> Client {
    let (sender, receiver) = mpsc::channel(16);
    let startup = StartupParameters { user: "u".into(), database: "headwater".into(), settings: Vec::new() };
    Client { session: sessions.open(&startup, 7, sender).unwrap(), _notices: receiver }
}

macro_rules! with_client {
    (|$c:ident| $body:block) => {{
        let dir = tempfile::tempdir().unwrap();
        let db = database(dir.path()).await;
        let sessions = Sessions::new(Arc::clone(&db));
        #[allow(unused_mut)]
        let mut $c = client(&sessions);
        $body
        drop($c);
        let stopping = Arc::clone(&db);
        tokio::task::spawn_blocking(move || stopping.engine.shutdown()).await.unwrap();
    }};
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_views_and_steps() {
    with_client!(|c| {
        assert_eq!(
            c.tag("CREATE TABLE t (k BIGINT PRIMARY KEY, v TEXT NOT NULL, n INT DEFAULT 7)").await,
            "CREATE TABLE"
        );
        assert_eq!(c.tag("INSERT INTO t VALUES (1, 'a', DEFAULT), (2, 'b', 3)").await, "INSERT 0 2");
        assert_eq!(c.code("INSERT INTO t VALUES (4, 'a'), (5, 'b', 3)").await, "42601");
        assert_eq!(
            c.tag("CREATE MATERIALIZED VIEW m AS SELECT v, count(*) AS c, sum(n) AS s FROM t GROUP BY v")
                .await,
            "CREATE MATERIALIZED VIEW"
        );
        assert_eq!(c.tag("STEP").await, "STEP");
        let reply = c.ok("SELECT k, v, n, k AS k FROM t ORDER BY k").await;
        assert_eq!(reply.rows, ["1|a|7|1", "2|b|3|2"]);
        assert_eq!(reply.names, ["k", "v", "n", "k"]);
        assert_eq!(reply.tag, "SELECT 2");
        assert_eq!(c.rows("SELECT * FROM m ORDER BY v").await, ["a|1|7", "b|1|3"]);
        assert_eq!(c.rows("SELECT s FROM m WHERE v = 'b'").await, ["3"]);
        assert_eq!(c.tag("UPDATE t SET n = n + 1, v = 'z' WHERE k = 1").await, "UPDATE 1");
        assert_eq!(c.tag("DELETE FROM t WHERE k = 2").await, "DELETE 1");
        assert_eq!(c.rows("SELECT v, c, s FROM m ORDER BY v").await, ["a|1|7", "b|1|3"]);
        c.ok("STEP").await;
        assert_eq!(c.rows("SELECT * FROM m").await, ["z|1|8"]);
        assert_eq!(c.code("INSERT INTO t VALUES (1, 'x')").await, "23505");
        assert_eq!(c.code("INSERT INTO t VALUES (5, NULL)").await, "23502");
        assert_eq!(c.code("INSERT INTO m VALUES ('x', 1, 1)").await, "42809");
        let upsert = "INSERT INTO t VALUES (1, 'q', 5) ON CONFLICT (k) DO UPDATE SET n = t.n + excluded.n RETURNING k, n";
        assert_eq!(c.rows(upsert).await, ["1|13"]);
        assert_eq!(c.tag("INSERT INTO t VALUES (1, 'q', 5) ON CONFLICT DO NOTHING").await, "INSERT 0 0");
        assert_eq!(c.code("DROP TABLE t").await, "2BP01");
        assert_eq!(c.tag("DROP TABLE t CASCADE").await, "DROP TABLE");
        assert_eq!(c.notices().last().map(String::as_str), Some("drop cascades to materialized view m"));
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_hold_their_writes() {
    with_client!(|c| {
        c.ok("CREATE TABLE t (k INT PRIMARY KEY, v TEXT)").await;
        c.ok("CREATE TABLE other (k INT)").await;
        assert_eq!(c.tag("BEGIN").await, "BEGIN");
        c.ok("INSERT INTO t VALUES (1, 'a')").await;
        assert_eq!(c.tag("UPDATE t SET v = 'b'").await, "UPDATE 1");
        c.ok("SAVEPOINT s").await;
        assert_eq!(c.tag("DELETE FROM t").await, "DELETE 1");
        assert_eq!(c.tag("ROLLBACK TO SAVEPOINT s").await, "ROLLBACK");
        assert_eq!(c.rows("SELECT * FROM other").await.len(), 0);
        assert_eq!(c.code("SELECT * FROM t").await, "0A000");
        assert_eq!(c.code("SELECT 1").await, "25P02");
        assert_eq!(c.tag("COMMIT").await, "ROLLBACK");
        c.ok("BEGIN").await;
        c.ok("INSERT INTO t VALUES (2, 'c')").await;
        assert_eq!(c.code("STEP").await, "25001");
        c.ok("ROLLBACK").await;
        c.ok("BEGIN").await;
        c.ok("INSERT INTO t VALUES (3, 'd')").await;
        assert_eq!(c.tag("COMMIT").await, "COMMIT");
        c.ok("STEP").await;
        assert_eq!(c.rows("SELECT * FROM t").await, ["3|d"]);
        assert_eq!(c.tag("COMMIT").await, "COMMIT");
        assert_eq!(c.notices(), ["there is no transaction in progress"]);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_and_cursors() {
    with_client!(|c| {
        c.ok("CREATE TABLE t (k INT PRIMARY KEY, v TEXT)").await;
        c.ok("INSERT INTO t VALUES (1, 'a'), (2, 'b')").await;
        c.ok("STEP").await;
        assert_eq!(c.tag("DECLARE c CURSOR FOR SUBSCRIBE TO t").await, "DECLARE CURSOR");
        let first = c.ok("FETCH ALL c").await;
        assert_eq!(first.names[..4], ["hw_epoch", "hw_time", "hw_diff", "hw_progressed"]);
        assert_eq!(first.tag, "FETCH 2");
        c.ok("UPDATE t SET v = 'z' WHERE k = 1").await;
        c.ok("STEP").await;
        let mut changes: Vec<String> = (c.rows("FETCH ALL c WITH (timeout = '1s')").await.iter())
            .map(|r| r.split('|').skip(2).collect::<Vec<_>>().join("|"))
            .collect();
        changes.sort();
        assert_eq!(changes, ["-1|f|1|a", "1|f|1|z"]);
        c.ok("DECLARE p CURSOR FOR SUBSCRIBE TO (SELECT v FROM t WHERE k > 1) WITH (SNAPSHOT, PROGRESS)")
            .await;
        assert_eq!(c.rows("FETCH ALL p").await.len(), 2);
        assert_eq!(c.tag("CLOSE c").await, "CLOSE CURSOR");
        assert_eq!(c.code("FETCH ALL c").await, "34000");
        assert_eq!(c.code("SUBSCRIBE TO (SELECT count(*) FROM nothing)").await, "42P01");
        c.ok("DECLARE q SCROLL CURSOR WITH HOLD FOR SELECT k FROM t ORDER BY k").await;
        assert_eq!(c.rows("FETCH 1 q").await, ["1"]);
        assert_eq!(c.rows("FETCH LAST q").await, ["2"]);
        assert_eq!(c.rows("FETCH PRIOR q").await, ["1"]);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sources_windows_and_time() {
    with_client!(|c| {
        c.ok("CREATE SOURCE f (k TEXT, ts TIMESTAMPTZ, d DATE AS (ts::date), WATERMARK FOR ts AS ts - INTERVAL '1 second') WITH (connector = 'feed')").await;
        c.ok("CREATE MATERIALIZED VIEW w AS SELECT window_start, k, count(*) AS n FROM TUMBLE(f, ts, INTERVAL '10 seconds') GROUP BY window_start, window_end, k EMIT ON WINDOW CLOSE").await;
        c.ok("INSERT INTO f VALUES ('a', '2026-01-01 00:00:01Z'), ('a', '2026-01-01 00:00:02Z')").await;
        c.ok("STEP").await;
        assert_eq!(c.rows("SELECT * FROM w").await.len(), 0);
        c.ok("INSERT INTO f (k, ts) VALUES ('b', '2026-01-01 00:00:30Z')").await;
        c.ok("STEP").await;
        assert_eq!(c.rows("SELECT * FROM w").await, ["2026-01-01 00:00:00+00|a|2"]);
        assert_eq!(c.rows("SELECT d FROM f WHERE k = 'b'").await, ["2026-01-01"]);
        c.ok("ADVANCE CLOCK TO TIMESTAMPTZ '2026-01-01 00:00:00Z'").await;
        assert_eq!(c.rows("SELECT now()").await, ["2026-01-01 00:00:00+00"]);
        c.ok("ADVANCE CLOCK BY INTERVAL '1 minute'").await;
        assert_eq!(c.code("ADVANCE CLOCK TO TIMESTAMPTZ '2025-01-01 00:00:00Z'").await, "22023");
        assert_eq!(c.code("ADVANCE WATERMARK FOR f TO TIMESTAMPTZ '2025-01-01 00:00:00Z'").await, "55000");
        assert_eq!(
            c.code("CREATE SOURCE x (a INT, WATERMARK FOR a AS a) WITH (connector = 'feed')").await,
            "42804"
        );
        assert_eq!(c.code("CREATE SOURCE x (a INT) WITH (connector = 'nothing')").await, "22023");
        assert_eq!(
            c.tag("CREATE SOURCE IF NOT EXISTS f (a INT) WITH (connector = 'feed')").await,
            "CREATE SOURCE"
        );
        assert_eq!(c.notices(), ["relation \"f\" already exists, skipping"]);
        assert!(c.rows("SHOW WATERMARKS").await.iter().any(|r| r.starts_with("f|source|")));
        assert!(c.rows("EXPLAIN MATERIALIZED VIEW w").await.len() > 1);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parameters_and_look_ups() {
    with_client!(|c| {
        c.ok("CREATE TABLE t (k BIGINT PRIMARY KEY, v VARCHAR(3))").await;
        let insert = c.session.parse("INSERT INTO t VALUES ($1, $2)").unwrap().remove(0);
        let described = c.session.describe(&insert, &[]).await.unwrap();
        assert_eq!(described.parameters, [PgType::Int8, PgType::Varchar(Some(3))]);
        let values = |k: i64, v: &str| vec![ScalarValue::Int64(Some(k)), ScalarValue::Utf8(Some(v.into()))];
        assert_eq!(c.run_parsed(&insert, values(1, "it'")).await.unwrap().tag, "INSERT 0 1");
        let too_long = c.run_parsed(&insert, values(2, "long")).await.err().unwrap();
        assert_eq!(too_long.sqlstate(), "22001");
        c.ok("STEP").await;
        let lookup = c.session.parse("SELECT v FROM t WHERE k = $1").unwrap().remove(0);
        let described = c.session.describe(&lookup, &[]).await.unwrap();
        assert_eq!(described.parameters, [PgType::Int8]);
        assert!(Session::body(&lookup).unwrap().lookup.lock().is_some());
        assert_eq!(c.run_parsed(&lookup, vec![ScalarValue::Int64(Some(1))]).await.unwrap().rows, ["it'"]);
        assert_eq!(c.run_parsed(&lookup, vec![ScalarValue::Int64(Some(9))]).await.unwrap().rows.len(), 0);
        let query = c.session.parse("SELECT k + $1 AS x FROM t WHERE v LIKE $2 LIMIT $3").unwrap().remove(0);
        let described = c.session.describe(&query, &[None, None, Some(PgType::Int8)]).await.unwrap();
        assert_eq!(described.parameters.len(), 3);
        c.ok("PREPARE p (bigint) AS SELECT v FROM t WHERE k = $1").await;
        assert_eq!(c.rows("EXECUTE p (1)").await, ["it'"]);
        assert_eq!(c.tag("DEALLOCATE p").await, "DEALLOCATE");
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn catalogs_settings_and_refusals() {
    with_client!(|c| {
        c.ok("CREATE TABLE t (k BIGINT PRIMARY KEY)").await;
        assert_eq!(c.rows("SELECT relname FROM pg_class WHERE relname = 't'").await, ["t"]);
        assert_eq!(
            c.rows("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'").await,
            ["t"]
        );
        assert_eq!(c.rows("SELECT 't'::regclass").await, ["t"]);
        assert_eq!(c.tag("SET timezone = 'Europe/Berlin'").await, "SET");
        assert_eq!(c.rows("SHOW timezone").await, ["Europe/Berlin"]);
        assert_eq!(c.rows("SELECT current_setting('timezone')").await, ["Europe/Berlin"]);
        c.ok("SELECT set_config('application_name', 'x', false)").await;
        assert_eq!(c.rows("SHOW application_name").await, ["x"]);
        assert_eq!(c.code("SET nonsense = 1").await, "42704");
        assert_eq!(c.code("CREATE INDEX i ON t (k)").await, "0A000");
        assert_eq!(c.code("COPY t FROM '/tmp/x'").await, "0A000");
        assert_eq!(c.code("SELECT * FROM nowhere").await, "42P01");
        assert_eq!(c.code("CREATE SINK s FROM t WITH (connector = 'kafka')").await, "0A000");
        assert_eq!(c.tag("CREATE SINK s FROM t WITH (connector = 'blackhole')").await, "CREATE SINK");
        assert_eq!(c.rows("SELECT name FROM headwater.sinks").await, ["s"]);
        assert_eq!(c.rows("SHOW TABLES").await, ["t"]);
        assert_eq!(c.tag("DROP VIEW IF EXISTS v").await, "DROP VIEW");
        assert_eq!(c.notices(), ["view \"v\" does not exist, skipping"]);
        assert_eq!(c.tag("CREATE VIEW v AS SELECT k FROM t").await, "CREATE VIEW");
        assert_eq!(c.tag("CREATE OR REPLACE VIEW v AS SELECT k + 1 AS k FROM t").await, "CREATE VIEW");
        assert_eq!(c.tag("COMMENT ON VIEW v IS 'text'").await, "COMMENT");
        assert_eq!(c.tag("ALTER VIEW v RENAME TO w").await, "ALTER VIEW");
        assert!(c.rows("EXPLAIN SELECT * FROM w").await.len() > 1);
    });
}
