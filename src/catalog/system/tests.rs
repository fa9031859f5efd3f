//! The catalogs as clients see them: statements that real clients send, planned and run by
//! a plain DataFusion session over a small database.
//!
//! `HEADWATER_CAPTURED_SQL=file cargo test … captured -- --nocapture` reports how many
//! statements of a larger collection run.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::display::array_value_to_string;
use datafusion::catalog::MemorySchemaProvider;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement as DfStatement;
use sqlparser::ast::Statement;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::*;

fn relation(oid: u32, schema: &str, name: &str, kind: RelationKind, columns: Vec<Field>) -> RelationInfo {
    RelationInfo {
        oid,
        schema: schema.into(),
        name: name.into(),
        kind,
        columns,
        primary_key: vec![],
        definition: String::new(),
        comment: None,
        column_comments: vec![],
        defaults: vec![],
        row_estimate: -1.0,
        size_bytes: 8192,
        index: None,
    }
}

fn index(oid: u32, name: &str, table_oid: u32, column: usize, unique: bool) -> RelationInfo {
    let index = IndexInfo { table_oid, columns: vec![column], unique };
    RelationInfo { index: Some(index), ..relation(oid, "public", name, RelationKind::Index, vec![]) }
}

fn orders() -> RelationInfo {
    let text = PgType::Array(Box::new(PgType::Text));
    RelationInfo {
        primary_key: vec![0],
        comment: Some("order facts".into()),
        column_comments: vec![(0, "pk".into())],
        defaults: vec![ColumnDefault { column: 3, expression: "'new'".into(), generated: false }],
        ..relation(
            16390,
            "public",
            "orders",
            RelationKind::Table,
            vec![
                PgType::Int8.field("id", false),
                PgType::Int4.field("customer_id", false),
                PgType::Numeric(Some((12, 2))).field("amount", true),
                PgType::Varchar(Some(20)).field("status", true),
                text.field("tags", true),
                PgType::Jsonb.field("meta", true),
                PgType::Timestamptz.field("created_at", true),
                PgType::Date.field("d", true),
                PgType::Bool.field("ok", true),
                PgType::Float8.field("x", true),
            ],
        )
    }
}

fn relations() -> Vec<RelationInfo> {
    use RelationKind::{MaterializedView, Table, View};
    let customers = vec![PgType::Int4.field("id", false), PgType::Text.field("name", false)];
    let v_orders = vec![PgType::Int8.field("id", true), PgType::Numeric(Some((12, 2))).field("amount", true)];
    let mv_daily = vec![
        PgType::Timestamptz.field("d", true),
        PgType::Int8.field("n", true),
        PgType::Numeric(None).field("s", true),
    ];
    let t = vec![PgType::Int4.field("a", true), PgType::Text.field("b", true)];
    vec![
        RelationInfo { primary_key: vec![0], ..relation(16385, "public", "customers", Table, customers) },
        orders(),
        RelationInfo {
            definition: "SELECT id, amount FROM orders".into(),
            ..relation(16400, "public", "v_orders", View, v_orders)
        },
        RelationInfo {
            definition: "SELECT date_trunc('day', created_at) AS d, count(*) AS n, sum(amount) AS s \
                         FROM orders GROUP BY 1"
                .into(),
            ..relation(16410, "public", "mv_daily", MaterializedView, mv_daily)
        },
        relation(16420, "s2", "t", Table, t),
        index(16430, "customers_name_key", 16385, 1, true),
        index(16431, "orders_created_at_idx", 16390, 6, false),
        index(16432, "mv_daily_d_idx", 16410, 0, true),
    ]
}

fn setting(name: &str, value: &str) -> SettingInfo {
    SettingInfo {
        name: name.into(),
        value: value.into(),
        default_value: value.into(),
        context: "user",
        vartype: "string",
        ..SettingInfo::default()
    }
}

fn state() -> Arc<SystemState> {
    let schema = Arc::new(Schema::new(vec![Field::new("epoch", DataType::Int64, false)]));
    let batch_schema = Arc::clone(&schema);
    let rows: LiveRows = Arc::new(move || {
        let epochs = Arc::new(arrow::array::Int64Array::from(vec![7, 8]));
        Ok(vec![RecordBatch::try_new(Arc::clone(&batch_schema), vec![epochs])?])
    });
    Arc::new(SystemState {
        database: "headwater".into(),
        user: "alice".into(),
        server_version: "15.8".into(),
        search_path: vec![PUBLIC.into()],
        schemas: vec![],
        relations: relations(),
        functions: vec![FunctionInfo {
            oid: 16435,
            schema: PUBLIC.into(),
            name: "f".into(),
            arguments: vec![("x".into(), PgType::Int4)],
            result: PgType::Int4,
            body: "SELECT x + 1".into(),
        }],
        settings: vec![
            setting("default_table_access_method", "heap"),
            setting("max_index_keys", "32"),
            setting("jit", "off"),
            setting("search_path", "\"$user\", public"),
        ],
        sessions: vec![SessionInfo { pid: 1, state: "active", ..SessionInfo::default() }],
        backend_pid: 1,
        live: vec![LiveTable { name: "epochs".into(), schema, rows }],
        set_parameter: Some(SetParameter(Arc::new(|_, value, _| Ok(value.to_string())))),
    })
}

fn context(state: &Arc<SystemState>) -> SessionContext {
    let config = SessionConfig::new()
        .with_default_catalog_and_schema("headwater", PUBLIC)
        .with_information_schema(false)
        .with_target_partitions(1);
    let ctx = SessionContext::new_with_config(config);
    let catalog = ctx.catalog("headwater").expect("default catalog");
    for (name, schema) in system_schemas(Arc::clone(state)) {
        catalog.register_schema(&name, schema).expect("schema");
    }
    for relation in &state.relations {
        if catalog.schema(&relation.schema).is_none() {
            catalog.register_schema(&relation.schema, Arc::new(MemorySchemaProvider::new())).expect("schema");
        }
        let schema = Arc::new(Schema::new(relation.columns.clone()));
        let table = MemTable::try_new(schema, vec![vec![]]).expect("table");
        let provider = catalog.schema(&relation.schema).expect("registered above");
        provider.register_table(relation.name.clone(), Arc::new(table)).expect("table");
    }
    system_functions(Arc::clone(state)).into_iter().for_each(|f| ctx.register_udf(f));
    ctx
}

/// A captured statement.
struct Sample {
    number: String,
    client: String,
    sql: String,
}

fn samples(text: &str) -> Vec<Sample> {
    let mut samples: Vec<Sample> = vec![];
    let mut params: Vec<(String, String)> = vec![];
    for line in text.lines() {
        if let Some(header) = line.strip_prefix("-- @q ") {
            let mut words = header.split_ascii_whitespace();
            let number = words.next().unwrap_or_default().to_string();
            let client = words.next().unwrap_or_default().trim_start_matches("client=").to_string();
            samples.push(Sample { number, client, sql: String::new() });
            params.clear();
        } else if let Some(list) = line.strip_prefix("-- @params ") {
            let one =
                |p: &str| p.split_once(" = ").map(|(k, v)| (k.trim().to_string(), v.trim().to_string()));
            params =
                list.split(", $").filter_map(|p| one(&format!("${}", p.trim_start_matches('$')))).collect();
            params.reverse();
        } else if let Some(sample) = samples.last_mut().filter(|_| !line.starts_with("-- @")) {
            let line = params.iter().fold(line.to_string(), |l, (k, v)| l.replace(k.as_str(), v));
            sample.sql.push_str(&line);
            sample.sql.push('\n');
        }
    }
    samples
}

/// Puts the oids of the fixture for `{{oid:name}}`; types that it lacks are 0.
fn with_oids(state: &SystemState, sql: &str) -> String {
    let mut parts = sql.split("{{");
    let mut out = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let (placeholder, rest) = part.split_once("}}").unwrap_or((part, ""));
        let name = placeholder.split_once(':').map_or("", |(_, name)| name);
        let oid = state.find_class(name).map_or(0, |c| c.oid());
        out.push_str(&oid.to_string());
        out.push_str(rest);
    }
    out
}

/// Columns as `name:oid`, and the rows.
type Answer = (Vec<String>, Vec<RecordBatch>);

async fn run(ctx: &SessionContext, state: &SystemState, sql: &str) -> Result<Answer, String> {
    let sql = with_oids(state, sql);
    let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, &sql).map_err(|e| format!("parse: {e}"))?;
    let Some(Statement::Query(mut query)) = statements.pop() else { return Err("not a query".into()) };
    rewrite_catalog_query(&mut query);
    let statement = DfStatement::Statement(Box::new(Statement::Query(query.clone())));
    let fail = |stage: &str, e: datafusion::error::DataFusionError| format!("{stage}: {e}\n  {query}");
    let plan = ctx.state().statement_to_plan(statement).await.map_err(|e| fail("plan", e))?;
    let frame = ctx.execute_logical_plan(plan).await.map_err(|e| fail("execute", e))?;
    let columns = frame.schema().fields().iter();
    let columns = columns.map(|f| format!("{}:{}", f.name(), PgType::of(f).oid())).collect();
    Ok((columns, frame.collect().await.map_err(|e| fail("collect", e))?))
}

fn table(batches: &[RecordBatch]) -> Vec<Vec<String>> {
    let mut rows = vec![];
    for batch in batches {
        for r in 0..batch.num_rows() {
            let cell = |c: &arrow::array::ArrayRef| array_value_to_string(c, r).expect("printable");
            rows.push(batch.columns().iter().map(cell).collect());
        }
    }
    rows
}

async fn rows(sql: &str) -> Vec<Vec<String>> {
    let state = state();
    let answer = run(&context(&state), &state, sql).await;
    table(&answer.unwrap_or_else(|e| panic!("{e}")).1)
}

/// What became of a collection of samples.
#[derive(Default)]
struct Report {
    /// (run, all) by client.
    counts: BTreeMap<String, (usize, usize)>,
    failed: Vec<String>,
    /// Number, rows and columns of those that ran.
    answers: Vec<String>,
}

async fn report(text: &str) -> Report {
    let state = state();
    let ctx = context(&state);
    let mut report = Report::default();
    for sample in samples(text) {
        let result = run(&ctx, &state, &sample.sql).await;
        let count = report.counts.entry(sample.client.clone()).or_default();
        match result {
            Ok((columns, batches)) => {
                count.0 += 1;
                let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
                report.answers.push(format!("{}\t{rows}\t{}", sample.number, columns.join(" ")));
            }
            Err(e) if e == "not a query" => continue,
            Err(e) => report.failed.push(format!("{} {}: {e}", sample.client, sample.number)),
        }
        count.1 += 1;
    }
    report
}

async fn assert_all_run(text: &str) {
    let failed = report(text).await.failed;
    assert!(failed.is_empty(), "{} fail:\n{failed:#?}", failed.len());
}

#[tokio::test]
async fn psql_commands_run() {
    assert_all_run(include_str!("../../../sql-tests/pg/psql.sql")).await;
}

#[tokio::test]
async fn sqlalchemy_reflection_runs() {
    assert_all_run(include_str!("../../../sql-tests/pg/sqlalchemy.sql")).await;
}

#[tokio::test]
async fn jdbc_metadata_runs() {
    assert_all_run(include_str!("../../../sql-tests/pg/pgjdbc.sql")).await;
}

#[tokio::test]
async fn driver_introspection_runs() {
    assert_all_run(include_str!("../../../sql-tests/pg/drivers.sql")).await;
}

#[tokio::test]
async fn captured_collection_is_counted() {
    let Ok(path) = std::env::var("HEADWATER_CAPTURED_SQL") else { return };
    let text = std::fs::read_to_string(path).expect("readable");
    let report = report(&text).await;
    let counts: Vec<String> = report.counts.iter().map(|(c, (ok, all))| format!("{c}: {ok}/{all}")).collect();
    let sections = [counts.join("\n"), report.failed.join("\n\n"), report.answers.join("\n")];
    std::fs::write(std::env::temp_dir().join("headwater-captured.txt"), sections.join("\n\n=====\n"))
        .expect("writable");
}

#[tokio::test]
async fn relations_are_listed_by_kind() {
    let state = state();
    let ctx = context(&state);
    let sql = "SELECT n.nspname, c.relname, c.relkind, pg_catalog.pg_get_userbyid(c.relowner) \
               FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
               WHERE n.nspname OPERATOR(pg_catalog.~) '^(public|s2)$' COLLATE pg_catalog.default ORDER BY 1, 2";
    let (columns, batches) = run(&ctx, &state, sql).await.expect("runs");
    assert_eq!(columns, ["nspname:19", "relname:19", "relkind:18", "pg_get_userbyid:19"]);
    let listed: Vec<String> = table(&batches).iter().map(|r| format!("{} {}", r[1], r[2])).collect();
    assert_eq!(
        listed,
        [
            "customers r",
            "customers_name_key i",
            "customers_pkey i",
            "mv_daily m",
            "mv_daily_d_idx i",
            "orders r",
            "orders_created_at_idx i",
            "orders_pkey i",
            "v_orders v",
            "t r"
        ]
    );
}

#[tokio::test]
async fn columns_are_described_as_psql_shows_them() {
    let sql = "SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), \
               (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid, true) FROM pg_catalog.pg_attrdef d \
                WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.atthasdef), a.attnotnull, \
               (SELECT c.collname FROM pg_catalog.pg_collation c, pg_catalog.pg_type t \
                WHERE c.oid = a.attcollation AND t.oid = a.atttypid AND a.attcollation <> t.typcollation), \
               pg_catalog.col_description(a.attrelid, a.attnum) \
               FROM pg_catalog.pg_attribute a \
               WHERE a.attrelid = 'orders'::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";
    let shown: Vec<String> = rows(sql).await.iter().map(|r| r.join("|")).collect();
    assert_eq!(
        shown,
        [
            "id|bigint||true||pk",
            "customer_id|integer||true||",
            "amount|numeric(12,2)||false||",
            "status|character varying(20)|'new'|false||",
            "tags|text[]||false||",
            "meta|jsonb||false||",
            "created_at|timestamp with time zone||false||",
            "d|date||false||",
            "ok|boolean||false||",
            "x|double precision||false||",
        ]
    );
}

#[tokio::test]
async fn definitions_are_printed_as_sql() {
    let sql = "SELECT pg_get_viewdef('v_orders'::regclass, true), pg_get_indexdef('orders_pkey'::regclass::oid), \
               pg_get_indexdef('mv_daily_d_idx'::regclass::oid, 1, true), 's2.t'::regclass, \
               (SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'orders_pkey'), \
               pg_get_function_arguments('f'::regproc::oid), obj_description('orders'::regclass, 'pg_class')";
    let expected = [
        " SELECT id, amount FROM orders;",
        "CREATE UNIQUE INDEX orders_pkey ON public.orders USING btree (id)",
        "d",
        "s2.t",
        "PRIMARY KEY (id)",
        "x integer",
        "order facts",
    ];
    assert_eq!(rows(sql).await, [expected]);
}

#[tokio::test]
async fn materialized_views_are_views_of_the_information_schema() {
    let sql = "SELECT table_name, table_type FROM information_schema.tables \
               WHERE table_schema = 'public' ORDER BY table_name";
    let shown: Vec<String> = rows(sql).await.iter().map(|r| r.join(" ")).collect();
    assert_eq!(shown, ["customers BASE TABLE", "mv_daily VIEW", "orders BASE TABLE", "v_orders VIEW"]);
}

#[tokio::test]
async fn live_tables_are_asked_at_each_scan() {
    assert_eq!(rows("SELECT sum(epoch) FROM headwater.epochs").await, [["15"]]);
    assert_eq!(rows("SELECT relkind FROM pg_class WHERE relname = 'epochs'").await, [["v"]]);
}

#[tokio::test]
async fn missing_objects_are_postgres_errors() {
    let state = state();
    let error =
        run(&context(&state), &state, "SELECT 'nothing'::regclass").await.expect_err("no such relation");
    assert!(error.contains("relation \"nothing\" does not exist"), "{error}");
    assert_eq!(state.regclass("nothing").expect_err("undefined").sqlstate(), "42P01");
}

#[test]
fn other_queries_are_left_alone() {
    let text = "SELECT a, (SELECT max(x) FROM u WHERE u.k = t.k AND t.b) FROM t WHERE EXISTS (SELECT 1 FROM u) \
                AND b LIKE 'x%' GROUP BY a ORDER BY 1 LIMIT 3";
    let Some(Statement::Query(mut query)) =
        Parser::parse_sql(&PostgreSqlDialect {}, text).expect("parses").pop()
    else {
        panic!("a query")
    };
    let before = query.clone();
    rewrite_catalog_query(&mut query);
    assert_eq!(query, before);
}

#[test]
fn types_are_found_by_internal_and_sql_names() {
    for (name, oid) in
        [("int4", 23), ("integer[]", 1007), ("pg_catalog.jsonb", 3802), ("numeric(10,2)", 1700)]
    {
        assert_eq!(describe::type_oid(name), Some(oid), "{name}");
    }
    assert_eq!(describe::type_oid("nothing"), None);
    assert_eq!(describe::format_type(1700, 786438), "numeric(12,2)");
    assert_eq!(describe::format_type(1015, 24), "character varying(20)[]");
}

#[test]
fn names_are_parsed_as_regclass_reads_them() {
    assert_eq!(lookup::parse_name("Public.\"Or\"\"ders\""), ["public", "Or\"ders"]);
    assert_eq!(describe::quote_ident("Or\"ders"), "\"Or\"\"ders\"");
    assert_eq!(describe::quote_ident("select"), "\"select\"");
}

#[tokio::test]
async fn helpers_give_what_postgres_gives() {
    let sql = "SELECT pg_size_pretty(10239), pg_size_pretty(10240), pg_size_pretty(5000000000), \
               pg_catalog.format('%I.%s %L', 'A b', 3, 'it''s'), set_config('jit', 'on', false), \
               array_to_string(current_schemas(true), ','), to_regtype('nothing'), 'int4'::regtype::oid, \
               (SELECT nspname FROM pg_namespace WHERE nspname LIKE 'pg/_%' ESCAPE '/'), \
               ARRAY(SELECT attnum FROM pg_attribute WHERE attrelid = 'customers'::regclass ORDER BY 1 DESC)";
    let expected = [
        "10239 bytes",
        "10 kB",
        "4768 MB",
        "\"A b\".3 'it''s'",
        "on",
        "pg_catalog,public",
        "",
        "23",
        "pg_catalog",
        "[2, 1]",
    ];
    assert_eq!(rows(sql).await, [expected]);
}
