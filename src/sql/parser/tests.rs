//! One block per family of statements: what was read, field by field, and where errors are.

use super::{WindowKind, parse_expression, parse_sql, window_call};
use crate::formats::copy::{CopyForm, CopyFormat};
use crate::sql::ast::*;
use sqlparser::ast as sql;

mod clients;
mod docs;
mod emit;
mod errors;

/// The kind of the only statement of a text.
fn one(text: &str) -> StatementKind {
    let mut statements = parse_sql(text).unwrap_or_else(|e| panic!("{text}: {e:?}"));
    assert_eq!(statements.len(), 1, "{text}");
    statements.remove(0).kind
}

fn text_option(options: &Options, key: &str) -> String {
    options[key].value.as_text()
}

#[test]
fn statements_carry_their_text() {
    let text = "  SELECT 1 ;; -- é\n SELECT 'ü' /* x */ ; STEP  ";
    let statements = parse_sql(text).unwrap();
    let texts: Vec<&str> = statements.iter().map(|s| s.text.as_str()).collect();
    assert_eq!(texts, ["SELECT 1", "SELECT 'ü'", "STEP"]);
    assert_eq!(statements[1].position, 21);
    assert_eq!(&text[statements[2].span.clone()], "STEP");
    assert!(parse_sql(" ; -- nothing\n").unwrap().is_empty());
}

#[test]
fn create_source() {
    let StatementKind::CreateSource(s) = one("CREATE SOURCE IF NOT EXISTS public.Orders (
          id BIGINT NOT NULL, customer TEXT, amount NUMERIC(12,2) DEFAULT 0 NOT NULL, ts TIMESTAMPTZ,
          day DATE AS (ts::date), p TIMESTAMPTZ GENERATED ALWAYS AS (proctime()) STORED,
          PRIMARY KEY (id),
          WATERMARK FOR ts AS ts - INTERVAL '5 seconds'
        )
        INCLUDE KEY AS k INCLUDE PARTITION INCLUDE OFFSET INCLUDE TIMESTAMP AS t INCLUDE HEADERS
        WITH (connector = 'kafka', connection = k, topic = 'orders', scan.startup.mode = 'earliest',
              scan.watermark.idle-timeout = '30s', 'watermark.max_future_skew' = INTERVAL '5m',
              properties.sasl.password = SECRET pw, source_rate_limit = 10000)
        FORMAT PLAIN ENCODE CSV (delimiter = ';')")
    else {
        panic!()
    };
    assert!(s.if_not_exists && !s.or_replace);
    assert_eq!((s.name.schema.as_deref(), s.name.name.as_str()), (Some("public"), "orders"));
    let names: Vec<&str> = s.columns.columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["id", "customer", "amount", "ts", "day", "p"]);
    assert!(s.columns.columns[0].not_null && s.columns.columns[2].not_null);
    assert_eq!(s.columns.columns[2].default.as_ref().unwrap().to_string(), "0");
    assert_eq!(s.columns.columns[4].generated.as_ref().unwrap().text, "(ts::date)");
    assert!(s.columns.columns[5].generated.is_some());
    assert_eq!(s.columns.primary_key, ["id"]);
    let watermark = s.columns.watermark.unwrap();
    assert_eq!(watermark.column, "ts");
    assert!(
        matches!(watermark.strategy, WatermarkStrategy::Expr(e) if e.text == "ts - INTERVAL '5 seconds'")
    );
    assert_eq!(s.includes.len(), 5);
    assert_eq!((s.includes[0].kind, s.includes[0].alias.as_deref()), (IncludeKind::Key, Some("k")));
    assert_eq!(text_option(&s.with, "scan.watermark.idle-timeout"), "30s");
    assert!(matches!(&s.with["connection"].value, OptionLiteral::Name(n) if n.name == "k"));
    assert!(matches!(&s.with["properties.sasl.password"].value, OptionLiteral::Secret(n) if n.name == "pw"));
    assert_eq!(s.with["source_rate_limit"].value, OptionLiteral::Number("10000".into()));
    assert_eq!(s.with["watermark.max_future_skew"].value, OptionLiteral::Interval("5m".into()));
    let format = s.format.unwrap();
    assert_eq!((format.format, format.encode), (Format::Plain, Encode::Csv));
    assert_eq!(text_option(&format.options, "delimiter"), ";");
}

#[test]
fn create_source_short_forms() {
    let StatementKind::CreateSource(s) = one(
        "CREATE SOURCE f (a INT PRIMARY KEY, ts TIMESTAMP, WATERMARK FOR ts AS SOURCE_WATERMARK()) WITH (connector='feed')",
    ) else {
        panic!()
    };
    assert_eq!(s.columns.primary_key, ["a"]);
    assert_eq!(s.columns.watermark.unwrap().strategy, WatermarkStrategy::SourceWatermark);
    let StatementKind::CreateSource(s) =
        one("CREATE SOURCE bids WITH (connector = 'generator', kind = 'nexmark')")
    else {
        panic!()
    };
    assert!(s.columns.columns.is_empty());
}

#[test]
fn create_table() {
    let StatementKind::CreateTable(t) =
        one("CREATE TABLE t (\"Id\" BIGINT, v double precision, CONSTRAINT pk PRIMARY KEY (\"Id\", v))")
    else {
        panic!()
    };
    assert_eq!(t.columns.primary_key, ["Id", "v"]);
    assert!(matches!(t.columns.columns[1].data_type, sql::DataType::DoublePrecision));
    let StatementKind::CreateTable(t) =
        one("CREATE TABLE e (a int) WITH (connector = 'kafka', topic = 'e') FORMAT UPSERT ENCODE JSON")
    else {
        panic!()
    };
    assert_eq!(t.format.unwrap().format, Format::Upsert);
    let StatementKind::CreateTable(t) = one("CREATE TEMP TABLE IF NOT EXISTS x AS SELECT 1 AS a") else {
        panic!()
    };
    assert!(t.temporary && t.if_not_exists);
    assert_eq!(t.query.unwrap().text, "SELECT 1 AS a");
}

#[test]
fn create_views_and_sinks() {
    let StatementKind::CreateView(v) = one("CREATE OR REPLACE VIEW v (a, b) AS SELECT 1, 2") else {
        panic!()
    };
    assert!(v.or_replace);
    assert_eq!(v.columns, ["a", "b"]);
    let StatementKind::CreateMaterializedView(v) =
        one("create materialized view if not exists \"db\".\"s\".\"v\" \
         with (retain_history = '1 day') as select a, count(*) from t group by a emit changes")
    else {
        panic!()
    };
    assert_eq!(v.name.to_string(), "db.s.v");
    assert_eq!(v.query.text, "select a, count(*) from t group by a");
    assert_eq!(text_option(&v.with, "retain_history"), "1 day");
    assert_eq!(v.emit.unwrap().policy, Some(EmitPolicy::Changes));
    let StatementKind::CreateSink(s) =
        one("CREATE SINK s FROM mv WITH (connector = 'kafka', topic = 'out', \
         primary_key = 'a,b') FORMAT UPSERT ENCODE JSON")
    else {
        panic!()
    };
    assert!(matches!(s.input, SinkInput::Object(n) if n.name == "mv"));
    for query in ["SELECT * FROM t", "SELECT a FROM t WHERE a > 1", "SELECT a FROM t x JOIN u ON x.a = u.a"] {
        let StatementKind::CreateSink(s) =
            one(&format!("CREATE SINK s AS {query} WITH (connector = 'blackhole')"))
        else {
            panic!()
        };
        assert!(matches!(&s.input, SinkInput::Query(q, None) if q.text == query));
        assert_eq!(text_option(&s.with, "connector"), "blackhole");
    }
}

#[test]
fn create_other_objects() {
    let StatementKind::CreateSecret { name, value, .. } = one("CREATE SECRET pw AS 'p''w'") else { panic!() };
    assert_eq!((name.name.as_str(), value.0.as_str()), ("pw", "p'w"));
    assert!(!format!("{value:?}").contains("p'w"));
    assert!(
        matches!(one("CREATE CONNECTION k WITH (type = 'kafka', properties.bootstrap.server = 'h:9092')"),
        StatementKind::CreateConnection { with, .. } if with.contains_key("properties.bootstrap.server"))
    );
    let StatementKind::CreateIndex(i) = one(
        "create unique index if not exists \"i\" on s.mv using btree (customer desc nulls last, lower(b)) where a > 1",
    ) else {
        panic!()
    };
    assert!(i.unique && i.columns.len() == 2 && i.predicate.is_some());
    let StatementKind::CreateFunction(f) =
        one("CREATE OR REPLACE FUNCTION f(x DOUBLE PRECISION, int) RETURNS \
         DOUBLE PRECISION LANGUAGE SQL IMMUTABLE AS $$ SELECT x * 2 $$")
    else {
        panic!()
    };
    assert_eq!((f.arguments.len(), f.body.as_str(), f.language.as_str()), (2, " SELECT x * 2 ", "sql"));
    assert_eq!(f.arguments[0].name.as_deref(), Some("x"));
    assert!(matches!(one("CREATE SCHEMA IF NOT EXISTS s2"),
        StatementKind::CreateSchema { if_not_exists: true, name } if name == "s2"));
    assert_eq!(
        one("CREATE EXTENSION hstore"),
        StatementKind::Unsupported { name: "CREATE EXTENSION".into() }
    );
}

#[test]
fn drop_alter_comment_refresh() {
    let StatementKind::Drop { kind, if_exists, names, cascade } =
        one("DROP MATERIALIZED VIEW IF EXISTS a, s.b CASCADE")
    else {
        panic!()
    };
    assert_eq!((kind, if_exists, names.len(), cascade), (ObjectKind::MaterializedView, true, 2, true));
    assert!(matches!(one("ALTER MATERIALIZED VIEW a RENAME TO \"B\""),
        StatementKind::AlterRename { kind: ObjectKind::MaterializedView, to, .. } if to == "B"));
    assert!(matches!(one("alter table t add column x int"),
        StatementKind::Unsupported { name } if name == "ALTER TABLE … ADD"));
    assert!(matches!(one("COMMENT ON TABLE t IS $tag$it's$tag$"),
        StatementKind::Comment { comment: Some(c), .. } if c == "it's"));
    assert!(matches!(one("COMMENT ON COLUMN s.t.c IS NULL"),
        StatementKind::Comment { target: CommentTarget::Column, name, comment: None } if name.to_string() == "s.t.c"));
    assert!(matches!(one("REFRESH MATERIALIZED VIEW CONCURRENTLY mv"),
        StatementKind::RefreshMaterializedView { name } if name.name == "mv"));
}

#[test]
fn show() {
    let show = |text: &str| match one(text) {
        StatementKind::Show(s) => s,
        other => panic!("{other:?}"),
    };
    assert!(matches!(show("SHOW SOURCES"), Show::Objects { list: ShowList::Sources, .. }));
    assert!(matches!(show("SHOW MATERIALIZED VIEWS LIKE 'a%'"),
        Show::Objects { list: ShowList::MaterializedViews, like: Some(l), .. } if l == "a%"));
    assert_eq!(show("show watermarks"), Show::Watermarks(None));
    assert!(matches!(show("SHOW WATERMARKS FOR x"), Show::Watermarks(Some(n)) if n.name == "x"));
    assert!(matches!(show("SHOW CREATE MATERIALIZED VIEW x"), Show::Create(ObjectKind::MaterializedView, _)));
    assert!(matches!(show("SHOW COLUMNS FROM x"), Show::Columns(_)));
    for (text, name) in [
        ("show transaction isolation level", "transaction_isolation"),
        ("SHOW TIME ZONE", "timezone"),
        ("SHOW Server_Version", "server_version"),
        ("show a.b", "a.b"),
    ] {
        assert_eq!(show(text), Show::Parameter(name.into()));
    }
    assert_eq!(show("SHOW ALL"), Show::AllParameters);
}

#[test]
fn set_and_reset() {
    let value = |text: &str| match one(text) {
        StatementKind::Set { scope, name, value: SettingValue::Values(v) } => {
            (scope, name, v.into_iter().map(|i| i.text).collect::<Vec<_>>().join("|"))
        }
        other => panic!("{other:?}"),
    };
    for (text, name, expected) in [
        ("SET extra_float_digits = 3", "extra_float_digits", "3"),
        ("SET SESSION DateStyle TO ISO, mdy", "datestyle", "iso|mdy"),
        ("set search_path = \"Foo\", public", "search_path", "Foo|public"),
        ("SET TIME ZONE 'Europe/Berlin'", "timezone", "Europe/Berlin"),
        ("SET TIME ZONE -8", "timezone", "-8"),
        ("SET application_name TO 'x y'", "application_name", "x y"),
        ("SET NAMES 'utf8'", "client_encoding", "utf8"),
        ("SET statement_timeout=on", "statement_timeout", "on"),
    ] {
        assert_eq!(value(text), (SetScope::Session, name.to_string(), expected.to_string()), "{text}");
    }
    assert_eq!(value("SET LOCAL read_level = 'strict'").0, SetScope::Local);
    assert!(matches!(one("SET x TO DEFAULT"), StatementKind::Set { value: SettingValue::Default, .. }));
    assert!(matches!(
        one("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ UNCOMMITTED"),
        StatementKind::SetTransaction { session: true, modes }
            if modes.isolation == Some(Isolation::ReadUncommitted)
    ));
    assert!(matches!(one("SET TRANSACTION READ ONLY"), StatementKind::SetTransaction { session: false, .. }));
    assert_eq!(one("RESET ALL"), StatementKind::Reset { name: None });
    assert_eq!(one("RESET TIME ZONE"), StatementKind::Reset { name: Some("timezone".into()) });
}

#[test]
fn transactions() {
    let serializable = TransactionModes {
        isolation: Some(Isolation::Serializable),
        read_only: Some(true),
        deferrable: Some(true),
    };
    assert_eq!(
        one("BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY DEFERRABLE"),
        StatementKind::Begin(serializable)
    );
    assert_eq!(one("START TRANSACTION"), StatementKind::Begin(TransactionModes::default()));
    assert_eq!(one("begin work"), StatementKind::Begin(TransactionModes::default()));
    assert_eq!(one("END"), StatementKind::Commit { chain: false });
    assert_eq!(one("COMMIT TRANSACTION AND CHAIN"), StatementKind::Commit { chain: true });
    assert_eq!(one("ABORT"), StatementKind::Rollback { chain: false });
    assert_eq!(one("ROLLBACK WORK TO SAVEPOINT s"), StatementKind::RollbackTo { name: "s".into() });
    assert_eq!(one("SAVEPOINT \"A b\""), StatementKind::Savepoint { name: "A b".into() });
    assert_eq!(one("RELEASE s"), StatementKind::Release { name: "s".into() });
    assert_eq!(parse_sql("BEGIN; SELECT 1; END").unwrap().len(), 3);
}

#[test]
fn cursors_and_subscribe() {
    let StatementKind::DeclareCursor(c) = one(
        "DECLARE c NO SCROLL CURSOR WITHOUT HOLD FOR SUBSCRIBE TO mv WITH (SNAPSHOT, PROGRESS = false) AS OF 5",
    ) else {
        panic!()
    };
    assert_eq!((c.scroll, c.hold), (Some(false), false));
    let CursorBody::Subscribe(s) = c.body else { panic!() };
    assert_eq!(s.with["snapshot"].value, OptionLiteral::Flag);
    assert_eq!(s.with["progress"].value, OptionLiteral::Bool(false));
    assert!(s.as_of.is_some());
    let StatementKind::Subscribe(s) = one("SUBSCRIBE (SELECT a FROM t)") else { panic!() };
    assert!(matches!(s.to, SubscribeTarget::Query(q) if q.text == "(SELECT a FROM t)"));
    let StatementKind::Subscribe(s) = one("SUBSCRIBE TO SELECT a FROM t WITH (SNAPSHOT)") else { panic!() };
    assert!(matches!(s.to, SubscribeTarget::Query(q) if q.text == "SELECT a FROM t"));
    for (text, direction) in [
        ("FETCH c", FetchDirection::Forward(1)),
        ("FETCH ALL c", FetchDirection::ForwardAll),
        ("FETCH ALL FROM c", FetchDirection::ForwardAll),
        ("fetch 2048 in \"c\"", FetchDirection::Forward(2048)),
        ("FETCH FORWARD 10 FROM c", FetchDirection::Forward(10)),
        ("FETCH FORWARD ALL IN c", FetchDirection::ForwardAll),
        ("FETCH BACKWARD FROM c", FetchDirection::Backward(1)),
        ("FETCH ABSOLUTE -1 FROM c", FetchDirection::Absolute(-1)),
        ("FETCH NEXT c", FetchDirection::Forward(1)),
    ] {
        let StatementKind::Fetch(f) = one(text) else { panic!("{text}") };
        assert_eq!((f.direction, f.cursor.as_str(), f.is_move), (direction, "c", false), "{text}");
    }
    let StatementKind::Fetch(f) = one("FETCH ALL c WITH (timeout = '1s')") else { panic!() };
    assert_eq!(text_option(&f.with, "timeout"), "1s");
    assert_eq!(one("CLOSE ALL"), StatementKind::CloseCursor { name: None });
}

#[test]
fn sessions() {
    let StatementKind::Prepare { name, types, statement } = one("PREPARE p (int, text) AS SELECT $1, $2")
    else {
        panic!()
    };
    assert_eq!((name.as_str(), types.len(), statement.text.as_str()), ("p", 2, "SELECT $1, $2"));
    assert!(
        matches!(one("EXECUTE p(1, 'a')"), StatementKind::Execute { arguments, .. } if arguments.len() == 2)
    );
    assert_eq!(one("DEALLOCATE PREPARE ALL"), StatementKind::Deallocate { name: None });
    assert_eq!(one("DISCARD ALL"), StatementKind::Discard(DiscardTarget::All));
    assert_eq!(one("UNLISTEN *"), StatementKind::Unlisten { channel: None });
    let StatementKind::Copy(copy) = one("COPY t (a, b) FROM STDIN") else { panic!("not COPY") };
    assert_eq!((copy.from, copy.form), (true, CopyForm::of(CopyFormat::Text)));
    assert!(matches!(one("COPY (SELECT 1) TO STDOUT WITH (FORMAT csv)"),
        StatementKind::Copy(c) if !c.from && matches!(c.subject, CopySubject::Query(_))));
    assert_eq!(one("GRANT SELECT ON t TO u"), StatementKind::Grant);
}

#[test]
fn time_statements() {
    assert!(matches!(
        one("ADVANCE CLOCK TO TIMESTAMPTZ '2020-01-01 00:00:00Z'"),
        StatementKind::AdvanceClock(AdvanceClock::To(_))
    ));
    assert!(matches!(
        one("ADVANCE CLOCK BY INTERVAL '1 second'"),
        StatementKind::AdvanceClock(AdvanceClock::By(_))
    ));
    assert!(matches!(one("ADVANCE WATERMARK FOR s TO TIMESTAMPTZ '2020-01-01'"),
        StatementKind::AdvanceWatermark { source, .. } if source.name == "s"));
    assert_eq!(one("step;"), StatementKind::Step);
}

#[test]
fn explain() {
    let explain = |text: &str| match one(text) {
        StatementKind::Explain(e) => e,
        other => panic!("{other:?}"),
    };
    let e = explain("EXPLAIN (ANALYZE, VERBOSE false, FORMAT TEXT) SELECT 1");
    assert!(e.analyze && !e.verbose && e.options.contains_key("format"));
    assert!(matches!(
        explain("EXPLAIN ANALYZE VERBOSE MATERIALIZED VIEW mv").what,
        ExplainTarget::MaterializedView(_)
    ));
    assert!(matches!(explain("EXPLAIN WATERMARK MATERIALIZED VIEW mv").what, ExplainTarget::Watermark(_)));
    assert_eq!(explain("EXPLAIN STATE").what, ExplainTarget::State(None));
    assert!(matches!(explain("EXPLAIN (SELECT 1)").what, ExplainTarget::Statement(_)));
    let ExplainTarget::Statement(s) =
        explain("EXPLAIN CREATE MATERIALIZED VIEW v AS SELECT 1 EMIT FINAL").what
    else {
        panic!()
    };
    assert!(matches!(s.kind, StatementKind::CreateMaterializedView(_)));
}

/// The first table factor of a query.
fn factor(text: &str) -> sql::TableFactor {
    let StatementKind::Query(query) = one(text) else { panic!("{text}") };
    let sql::SetExpr::Select(select) = *query.body else { panic!("{text}") };
    select.from[0].relation.clone()
}

#[test]
fn window_functions_in_all_spellings() {
    for call in [
        "TUMBLE(t, ts, INTERVAL '1 minute')",
        "tumble(s.t, ts, INTERVAL '1 minute') AS w",
        "TUMBLE(t, ts, INTERVAL '1 minute', INTERVAL '5 seconds') w",
        "TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) AS w",
        "TUMBLE(data => TABLE t, timecol => DESCRIPTOR(ts), size => INTERVAL '1 minute')",
        "LATERAL TUMBLE(t, ts, size => INTERVAL '1 minute', time_zone => 'Europe/Berlin')",
        "TUMBLE((SELECT * FROM t WHERE a > 1), ts, INTERVAL '1 minute')",
        "TUMBLE(TUMBLE(t, ts, INTERVAL '1 second'), window_time, INTERVAL '1 minute')",
        "TUMBLE(t, proctime(), INTERVAL '1 minute')",
    ] {
        let factor = factor(&format!("SELECT * FROM {call}"));
        assert!(matches!(factor, sql::TableFactor::Table { args: Some(_), .. }), "{call}");
        let window = window_call(&factor).unwrap().unwrap();
        assert_eq!(window.kind, WindowKind::Tumble, "{call}");
        assert!(window.argument("size").is_some(), "{call}");
        assert!(
            ["ts", "window_time", "proctime()"].contains(&window.time_column.to_string().as_str()),
            "{call}"
        );
    }
    let nested = factor(
        "SELECT * FROM HOP(TUMBLE(t, ts, INTERVAL '1 s'), window_time, INTERVAL '1 m', INTERVAL '5 m')",
    );
    let outer = window_call(&nested).unwrap().unwrap();
    assert_eq!(outer.kind, WindowKind::Hop);
    assert_eq!(window_call(&outer.input).unwrap().unwrap().kind, WindowKind::Tumble);
    for (call, keys) in [
        ("SESSION(t PARTITION BY k, ts, INTERVAL '5 m')", 1),
        ("SESSION(TABLE t PARTITION BY (k, j), DESCRIPTOR(ts), INTERVAL '5 m')", 2),
        ("SESSION((SELECT * FROM t) PARTITION BY lower(k), ts, gap => INTERVAL '5 m')", 1),
        ("SESSION(t, ts, INTERVAL '5 m')", 0),
    ] {
        let window = window_call(&factor(&format!("SELECT * FROM {call}"))).unwrap().unwrap();
        assert_eq!((window.kind, window.partition_by.len()), (WindowKind::Session, keys), "{call}");
        assert!(window.argument("gap").is_some());
    }
    assert_eq!(window_call(&factor("SELECT * FROM generate_series(1, 2)")).unwrap(), None);
    assert_eq!(window_call(&factor("SELECT * FROM hop")).unwrap(), None);
    for (call, sqlstate) in [
        ("TUMBLE(t, ts)", "42883"),
        ("TUMBLE(t, ts, INTERVAL '1 m', INTERVAL '1 m', 3)", "42883"),
        ("TUMBLE(t, ts, width => INTERVAL '1 m')", "42883"),
        ("HOP(t, ts, INTERVAL '1 m', slide => INTERVAL '1 m', size => INTERVAL '1 m')", "42601"),
        ("TUMBLE(t PARTITION BY k, ts, INTERVAL '1 m')", "42601"),
        ("TUMBLE(t, 1 + 1, INTERVAL '1 m')", "42601"),
    ] {
        let error = window_call(&factor(&format!("SELECT * FROM {call}"))).unwrap_err();
        assert_eq!(error.sqlstate(), sqlstate, "{call}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn queries_keep_postgres_freedom() {
    for text in [
        "SELECT a view FROM t",
        "SELECT 1 emit",
        "SELECT emit, late, allowed FROM t AS emit",
        "SELECT * FROM a emit JOIN b late ON emit.x = late.x",
        "SELECT * FROM t at",
        "SELECT * FROM orders FOR SYSTEM_TIME AS OF '2020-01-01' o",
        "SELECT * FROM o JOIN r FOR SYSTEM_TIME AS OF o.ts AS r ON o.c = r.c",
        "SELECT /*+ READ('complete') */ * FROM t",
        "SELECT U&'d\\0061t' || E'\\n' || $$x$$",
        "WITH x AS (SELECT 1) SELECT * FROM x",
        "TABLE t",
        "VALUES (1), (2)",
        "SELECT t.* FROM t",
        "INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = excluded.a RETURNING a",
        "UPDATE t SET a = 1 WHERE b NOTNULL RETURNING *",
        "DELETE FROM t USING u WHERE t.a = u.a",
    ] {
        one(text);
    }
    assert_eq!(parse_expression("ts - INTERVAL '5 s'").unwrap().to_string(), "ts - INTERVAL '5 s'");
    assert!(parse_expression("a FROM t").is_err());
    assert!(parse_expression("1; SELECT 2").is_err());
}
