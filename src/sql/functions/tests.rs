//! `SELECT expr` through a session, and the same expression as a physical expression.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::*;
use arrow::datatypes::*;
use datafusion::common::DFSchema;
use datafusion::datasource::MemTable;
use datafusion::execution::SessionState;
use datafusion::physical_plan::collect;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::cast::cast_array;
use super::datum::Kind::Int8;
use super::datum::{Cx, Function};
use super::format::format_datum;
use crate::error::{HwError, Result};
use crate::sql::context::{self, SessionOptions};
use crate::sql::errors::to_hw_error;
use crate::types::PgType;

/// While one lives, `slow_while_closed(bigint)` takes four milliseconds a row.
pub(crate) struct Gate;

static CLOSED: AtomicBool = AtomicBool::new(false);

impl Gate {
    pub(crate) fn close() -> Gate {
        CLOSED.store(true, Ordering::SeqCst);
        Gate
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        CLOSED.store(false, Ordering::SeqCst);
    }
}

pub(super) fn slow_while_closed() -> Function {
    Function::new("slow_while_closed").on(&[Int8], Int8, |_, arguments| {
        if CLOSED.load(Ordering::SeqCst) {
            crate::clock::sleep(Duration::from_millis(4));
        }
        Ok(arguments[0].clone())
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A session with `t(x int4, b int8, s text, n numeric, f float8, j jsonb, ts timestamptz, d date)`.
fn session() -> SessionState {
    let options = SessionOptions { now_micros: Some(1_600_000_000_000_000), ..Default::default() };
    let state = context::session_state(&options).unwrap();
    let schema = Arc::new(Schema::new(vec![
        PgType::Int4.field("x", true),
        PgType::Int8.field("b", true),
        PgType::Text.field("s", true),
        PgType::Numeric(None).field("n", true),
        PgType::Float8.field("f", true),
        PgType::Jsonb.field("j", true),
        PgType::Timestamptz.field("ts", true),
        PgType::Date.field("d", true),
    ]));
    let num = |v: i128| v * 10_000_000_000;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![Some(0), Some(1), Some(2), None])),
        Arc::new(Int64Array::from(vec![1, 2, i64::MAX, 4])),
        Arc::new(StringArray::from(vec!["a", "7", "b", "9"])),
        Arc::new(
            Decimal128Array::from(vec![num(1), num(2), num(3), num(5)])
                .with_data_type(PgType::Numeric(None).carrier()),
        ),
        Arc::new(Float64Array::from(vec![0.0, 1.5, 2.5, 3.5])),
        Arc::new(LargeStringArray::from(vec!["{\"k\": 1}", "{\"k\": \"v\"}", "[1, 2]", "null"])),
        Arc::new(TimestampMicrosecondArray::from(vec![0, 1, 2, 3]).with_timezone("UTC")),
        Arc::new(Date32Array::from(vec![0, 31, 59, 90])),
    ];
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
    let table = MemTable::try_new(schema, vec![vec![batch]]).unwrap();
    let catalog = state.catalog_list().catalog("datafusion").unwrap();
    catalog.schema("public").unwrap().register_table("t".into(), Arc::new(table)).unwrap();
    state
}

struct Answer {
    names: Vec<String>,
    types: Vec<String>,
    rows: Vec<Vec<String>>,
}

fn show(batch: &RecordBatch, out: &mut Vec<Vec<String>>) {
    let schema = batch.schema();
    for row in 0..batch.num_rows() {
        let cells = batch.columns().iter().zip(schema.fields()).map(|(c, f)| {
            let value = super::column::Column::of(c.as_ref()).get(row);
            if value.is_null() {
                "NULL".to_string()
            } else {
                format_datum(&value, f, &super::zone::Zone::UTC)
            }
        });
        out.push(cells.collect());
    }
}

fn run(sql: &str) -> Result<Answer> {
    let state = session();
    let Ok(mut statements) = Parser::parse_sql(&PostgreSqlDialect {}, sql) else {
        return Err(HwError::new("42601", format!("syntax error in {sql}")));
    };
    let sqlparser::ast::Statement::Query(query) = statements.remove(0) else { panic!("not a query: {sql}") };
    runtime().block_on(async {
        let (plan, names) = context::plan_query(&state, &query, Some(sql)).await?;
        let physical = state.create_physical_plan(&plan).await.map_err(|e| to_hw_error(e, Some(sql)))?;
        let schema = physical.schema();
        let types = schema.fields().iter().map(|f| PgType::of(f).sql_name()).collect();
        let batches = collect(physical, state.task_ctx()).await.map_err(|e| to_hw_error(e, Some(sql)))?;
        let mut rows = vec![];
        for batch in &batches {
            show(batch, &mut rows);
        }
        Ok(Answer { names, types, rows })
    })
}

/// One row, one value, as text; errors as `SQLSTATE message`.
fn value(expr: &str) -> String {
    match run(&format!("SELECT {expr}")) {
        Ok(answer) => answer.rows[0][0].clone(),
        Err(e) => format!("{} {}", e.sqlstate(), e.message()),
    }
}

fn check(table: &[(&str, &str)]) {
    let wrong: Vec<String> = table
        .iter()
        .map(|(expr, expect)| (expr, expect, value(expr)))
        .filter(|(_, expect, got)| got != *expect)
        .map(|(expr, expect, got)| format!("{expr}\n    expected {expect}\n    got      {got}"))
        .collect();
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), table.len(), wrong.join("\n"));
}

fn check_types(table: &[(&str, &str)]) {
    for (expr, expect) in table {
        let got = run(&format!("SELECT {expr} FROM t WHERE false")).map(|a| a.types[0].clone());
        assert_eq!(got.as_deref(), Ok(*expect), "type of {expr}");
    }
}

/// The column of `expr` over `t`, comma separated.
fn column(sql: &str) -> String {
    match run(sql) {
        Ok(a) => a.rows.iter().map(|r| r.join("|")).collect::<Vec<_>>().join(","),
        Err(e) => format!("{} {}", e.sqlstate(), e.message()),
    }
}

#[test]
fn arithmetic() {
    check(&[
        ("1", "1"),
        ("1 + 2", "3"),
        ("2147483647 + 1", "22003 integer out of range"),
        ("2147483648 + 1", "2147483649"),
        ("9223372036854775807 + 1", "22003 bigint out of range"),
        ("32767::smallint + 1::smallint", "22003 smallint out of range"),
        ("7 / 2", "3"),
        ("-7 / 2", "-3"),
        ("-7 % 3", "-1"),
        ("1 / 0", "22012 division by zero"),
        ("1 / 0.0", "22012 division by zero"),
        ("1.0::float8 / 0", "22012 division by zero"),
        ("mod(5, 0)", "22012 division by zero"),
        ("10 / 4.0", "2.5000000000000000"),
        ("1::numeric / 3", "0.33333333333333333333"),
        ("10::numeric / 3", "3.3333333333333333"),
        ("0.1 + 0.2", "0.3"),
        ("1.5 * 1.5", "2.25"),
        ("2 ^ 10", "1024"),
        ("abs(-5)", "5"),
        ("- (-5)", "5"),
        ("1 + '2'", "3"),
        ("'x' + 1", "22P02 invalid input syntax for type integer: \"x\""),
        ("ln(0)", "2201E cannot take logarithm of zero"),
        ("sqrt(-1)", "2201F cannot take square root of a negative number"),
        ("round(2.5)", "3"),
        ("floor(-2.5)", "-3"),
        ("ceil(2.5)", "3"),
        ("trunc(2.567, 1)", "2.5"),
        ("round(2.5::float8)", "2"),
        ("round(1.2345, 2)", "1.23"),
        ("width_bucket(5.35, 0.024, 10.06, 5)", "3"),
        ("gcd(12, 18)", "6"),
        ("NULL + 1", "NULL"),
    ]);
}

#[test]
fn types_of_results() {
    check_types(&[
        ("1", "integer"),
        ("2147483648", "bigint"),
        ("x + 1", "integer"),
        ("b + 1", "bigint"),
        ("x + b", "bigint"),
        ("x * f", "double precision"),
        ("sum(x)", "bigint"),
        ("sum(b)", "numeric"),
        ("avg(x)", "numeric"),
        ("avg(f)", "double precision"),
        ("sum(f)", "double precision"),
        ("count(*)", "bigint"),
        ("n * 2", "numeric"),
        ("ts - ts", "interval"),
        ("d - d", "integer"),
        ("d + 1", "date"),
        ("ts + INTERVAL '1 day'", "timestamp with time zone"),
        ("d + INTERVAL '1 day'", "timestamp without time zone"),
        ("now()", "timestamp with time zone"),
        ("j -> 'k'", "jsonb"),
        ("j ->> 'k'", "text"),
    ]);
}

#[test]
fn aggregates() {
    for (sql, expect) in [
        ("SELECT sum(x), avg(x), count(x) FROM t", "3|1.0000000000000000|3"),
        ("SELECT sum(b) FROM t", "9223372036854775814"),
        ("SELECT x IS NULL, sum(b) FROM t GROUP BY 1 ORDER BY 1", "false|9223372036854775810,true|4"),
        ("SELECT avg(n) FROM t", "2.7500000000000000"),
        ("SELECT sum(DISTINCT x), avg(DISTINCT x), sum(x) FROM t", "3|1.0000000000000000|3"),
        ("SELECT every(x >= 0), bool_or(x > 1) FROM t", "true|true"),
        ("SELECT sum(10 / x) FILTER (WHERE x <> 0) FROM t", "15"),
        ("SELECT sum(x) FROM t WHERE false", "NULL"),
    ] {
        assert_eq!(column(sql), expect, "{sql}");
    }
}

#[test]
fn guards() {
    for (sql, expect) in [
        ("SELECT x FROM t WHERE x <> 0 AND 10 / x > 5 ORDER BY x", "1"),
        ("SELECT x FROM t WHERE 10 / x > 5", "22012 division by zero"),
        ("SELECT x FROM t WHERE x = 0 OR 10 / x > 5 ORDER BY x", "0,1"),
        ("SELECT coalesce(nullif(x, 0), 10 / x) FROM t WHERE x <> 0", "1,2"),
        ("SELECT coalesce(nullif(x, 5), 10 / x) FROM t WHERE x IS NOT NULL", "0,1,2"),
        ("SELECT CASE WHEN x <> 0 THEN 10 / x END FROM t", "NULL,10,5,NULL"),
        ("SELECT x <> 0 AND 10 / x > 5 FROM t", "false,true,false,NULL"),
        ("SELECT s FROM t WHERE x IN (1) AND s::int > 5", "7"),
        ("SELECT y FROM (SELECT 10 / x AS y FROM t WHERE x <> 0) q WHERE y > 5", "10"),
    ] {
        assert_eq!(column(sql), expect, "{sql}");
    }
}

#[test]
fn casts() {
    check(&[
        ("2.5::float8::int", "2"),
        ("3.5::float8::int", "4"),
        ("2.5::int", "3"),
        ("1e20::numeric", "100000000000000000000"),
        ("'abc'::int", "22P02 invalid input syntax for type integer: \"abc\""),
        ("'99999999999'::int", "22003 value \"99999999999\" is out of range for type integer"),
        ("3000000000::int", "22003 integer out of range"),
        ("1e10::float8::int", "22003 integer out of range"),
        ("'t'::bool", "true"),
        ("true::text", "true"),
        ("1.50::numeric(10,2)::text", "1.50"),
        ("123456.789::numeric(5,2)", "22003 numeric field overflow"),
        ("'abc'::varchar(2)", "ab"),
        ("1e15::float8::text", "1e+15"),
        ("0.1::float8::text", "0.1"),
        ("'2020-02-30'::date", "22008 date/time field value out of range: \"2020-02-30\""),
        ("'2020-02-29 10:00+02'::timestamptz", "2020-02-29 08:00:00+00"),
        ("'9999-12-31 23:59:59.999999'::timestamp", "9999-12-31 23:59:59.999999"),
        ("'1600-01-01'::timestamp", "1600-01-01 00:00:00"),
        ("'1 day 2 hours'::interval", "1 day 02:00:00"),
        ("'{\"b\":1, \"a\" : [1,2]}'::jsonb", "{\"a\": [1, 2], \"b\": 1}"),
        ("'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("'{1,2,NULL}'::int[]", "{1,2,NULL}"),
        ("'\\x6869'::bytea", "\\x6869"),
        ("CAST('12' AS bigint)", "12"),
    ]);
}

#[test]
fn times() {
    check(&[
        ("'1 day'::interval = '24 hours'::interval", "true"),
        ("date '2020-03-01' - date '2020-02-01'", "29"),
        ("date '2020-01-31' + 1", "2020-02-01"),
        ("timestamp '2020-01-31' + interval '1 month'", "2020-02-29 00:00:00"),
        ("timestamp '2020-01-02 03:04:05' - timestamp '2020-01-01'", "1 day 03:04:05"),
        ("interval '1 day' * 1.5", "1 day 12:00:00"),
        ("extract(epoch from timestamp '1970-01-01 00:00:01.5')", "1.500000"),
        ("extract(year from date '2020-05-01')", "2020"),
        ("date_part('dow', timestamp '2020-05-03')", "0"),
        ("date_trunc('week', timestamp '2020-05-07 10:00')", "2020-05-04 00:00:00"),
        ("date_trunc('hour', timestamptz '2020-05-07 10:30+00')", "2020-05-07 10:00:00+00"),
        ("timestamp '2020-07-01 12:00' AT TIME ZONE 'Europe/Berlin'", "2020-07-01 10:00:00+00"),
        ("timestamptz '2020-07-01 12:00+00' AT TIME ZONE 'Europe/Berlin'", "2020-07-01 14:00:00"),
        ("to_char(timestamp '2020-01-05 14:03:09', 'YYYY-MM-DD HH24:MI:SS')", "2020-01-05 14:03:09"),
        (
            "to_char(timestamp '2020-01-05 14:03:09', 'FMMonth DDth, Dy HH12:MI AM')",
            "January 05th, Sun 02:03 PM",
        ),
        ("to_timestamp('05 Dec 2000', 'DD Mon YYYY')", "2000-12-05 00:00:00+00"),
        ("to_date('2020/02/03', 'YYYY/MM/DD')", "2020-02-03"),
        ("age(timestamp '2001-04-10', timestamp '1957-06-13')", "43 years 9 mons 27 days"),
        ("make_date(2020, 2, 29)", "2020-02-29"),
        ("make_timestamptz(2020, 1, 2, 3, 4, 5.5)", "2020-01-02 03:04:05.5+00"),
        ("justify_interval(interval '1 mon -1 hour')", "29 days 23:00:00"),
        (
            "date_bin('15 minutes', timestamp '2020-02-11 15:44:17', timestamp '2001-01-01')",
            "2020-02-11 15:30:00",
        ),
        ("now()", "2020-09-13 12:26:40+00"),
        ("current_date", "2020-09-13"),
        ("interval '1-2' ", "1 year 2 mons"),
    ]);
}

#[test]
fn texts() {
    check(&[
        ("'a' || 1", "a1"),
        ("1 || 'a'", "1a"),
        ("'a' || NULL", "NULL"),
        ("substring('hello' from 2 for 3)", "ell"),
        ("substring('hello', -1, 4)", "he"),
        ("left('hello', -2)", "hel"),
        ("right('hello', 2)", "lo"),
        ("lpad('7', 3, '0')", "007"),
        ("split_part('a,b,c', ',', -1)", "c"),
        ("position('l' in 'hello')", "3"),
        ("initcap('hELLO wORLD')", "Hello World"),
        ("overlay('Txxxxas' placing 'hom' from 2 for 4)", "Thomas"),
        ("md5('abc')", "900150983cd24fb0d6963f7d28e17f72"),
        ("encode('abc'::bytea, 'base64')", "YWJj"),
        ("encode(decode('YWJj', 'base64'), 'hex')", "616263"),
        ("format('%s %I %L', 'a', 'B c', 'it''s')", "a \"B c\" 'it''s'"),
        ("concat('a', NULL, 1, true)", "a1t"),
        ("concat_ws(',', 'a', NULL, 'b')", "a,b"),
        ("string_to_array('a,b', ',')", "{a,b}"),
        ("array_to_string(string_to_array('a,b', ','), '-')", "a-b"),
        ("to_hex(255)", "ff"),
        ("chr(65)", "A"),
        ("greatest(1, NULL, 3)", "3"),
        ("num_nonnulls(1, NULL, 3)", "2"),
        ("quote_literal('it''s')", "'it''s'"),
        ("'abc' ~ '^a'", "true"),
        ("~5", "-6"),
        ("upper('abc')", "ABC"),
        ("pg_catalog.lower('ABC')", "abc"),
    ]);
}

#[test]
fn json() {
    check(&[
        ("'{\"a\": {\"b\": 5}}'::jsonb -> 'a' ->> 'b'", "5"),
        ("'[1,2,3]'::jsonb -> -1", "3"),
        ("'{\"a\": {\"b\": 5}}'::jsonb #>> '{a,b}'", "5"),
        ("'{\"a\": 1, \"b\": 2}'::jsonb @> '{\"b\": 2}'", "true"),
        ("'{\"a\": 1}'::jsonb ? 'a'", "true"),
        ("jsonb_build_object('a', 1, 'b', NULL)", "{\"a\": 1, \"b\": null}"),
        ("jsonb_build_array(1, 'x', true)", "[1, \"x\", true]"),
        ("jsonb_typeof('[1]')", "array"),
        ("jsonb_array_length('[1, 2]')", "2"),
        ("'{\"a\":1}'::jsonb = '{ \"a\" : 1 }'", "true"),
        ("('{\"a\": 7}'::jsonb -> 'a')::int", "7"),
        ("'{'::jsonb", "22P02 invalid input syntax for type json"),
        ("to_jsonb('x'::text)", "\"x\""),
    ]);
}

#[test]
fn system() {
    check(&[
        ("current_user", "headwater"),
        ("current_schema()", "public"),
        ("current_schemas(true)", "{pg_catalog,public}"),
        ("pg_typeof(1)", "integer"),
        ("pg_typeof(1.5)", "numeric"),
        ("format_type(1043, 14)", "character varying(10)"),
        ("current_setting('nope')", "42704 unrecognized configuration parameter \"nope\""),
        ("current_setting('nope', true)", "NULL"),
    ]);
}

#[test]
fn names_and_duplicates() {
    for (sql, names) in [
        ("SELECT 1, 1, x, x, count(*) FROM t GROUP BY x", vec!["?column?", "?column?", "x", "x", "count"]),
        (
            "SELECT x::text, 1::int, CASE WHEN true THEN 1 END, coalesce(x, 1) FROM t",
            vec!["x", "int4", "case", "coalesce"],
        ),
        ("SELECT *, x FROM (SELECT x, count(*) FROM t GROUP BY x) q", vec!["x", "count", "x"]),
        ("SELECT x AS a, b AS a FROM t", vec!["a", "a"]),
    ] {
        assert_eq!(run(sql).map(|a| a.names).unwrap(), names, "{sql}");
    }
}

#[test]
fn errors() {
    for (sql, expect) in [
        ("SELECT nope FROM t", "42703 column \"nope\" does not exist"),
        ("SELECT t.nope FROM t", "42703 column t.nope does not exist"),
        ("SELECT q.x FROM t", "42P01 missing FROM-clause entry for table \"q\""),
        ("SELECT x FROM missing", "42P01 relation \"missing\" does not exist"),
        ("SELECT nofun(1)", "42883 function nofun does not exist"),
        ("SELECT s + x FROM t", "42883 operator does not exist: text + integer"),
        ("SELECT s = x FROM t", "42883 operator does not exist: text = integer"),
        ("SELECT lpad(1, 2)", "42883 function lpad(bigint, bigint) does not exist"),
        (
            "SELECT x, count(*) FROM t",
            "42803 column \"t.x\" must appear in the GROUP BY clause or be used in an aggregate function",
        ),
        ("SELECT x FROM t a JOIN t b ON true", "42702 column reference \"x\" is ambiguous"),
    ] {
        assert_eq!(column(sql), expect, "{sql}");
    }
    let hinted = run("SELECT xx FROM t").err().unwrap();
    assert_eq!(hinted.position(), Some(8));
}

#[test]
fn physical_expressions_mean_the_same() {
    let state = session();
    let schema = Schema::new(vec![PgType::Int4.field("x", true), PgType::Text.field("s", true)]);
    let df_schema = DFSchema::try_from(schema.clone()).unwrap();
    let batch = RecordBatch::try_new(
        Arc::new(schema),
        vec![Arc::new(Int32Array::from(vec![0, 2, 5])), Arc::new(StringArray::from(vec!["1", "2", "3"]))],
    )
    .unwrap();
    for (sql, expect) in [
        ("x + 1", "1,3,6"),
        ("x <> 0 AND 10 / x > 2", "false,true,false"),
        ("s::int + x", "1,4,8"),
        ("10 / x", "22012 division by zero"),
        ("x * 2000000000", "22003 integer out of range"),
        ("CASE WHEN x > 0 THEN 10 / x END", "NULL,5,2"),
    ] {
        let got = (|| -> Result<String> {
            let expr = state.create_logical_expr(sql, &df_schema)?;
            let expr = context::analyze_expr(expr, &df_schema, &state)?;
            let physical = context::physical_expr(&expr, &df_schema, &state)?;
            let array = physical.evaluate(&batch)?.into_array(batch.num_rows())?;
            let cx = Cx::new(state.config_options(), &[])?;
            let from = Field::new("v", array.data_type().clone(), true);
            let texts = cast_array(&array, &from, &PgType::Text.field("v", true), &cx)?;
            let texts = texts.as_string::<i32>();
            Ok(texts.iter().map(|t| t.unwrap_or("NULL")).collect::<Vec<_>>().join(","))
        })();
        let got = got.unwrap_or_else(|e| format!("{} {}", e.sqlstate(), e.message()));
        assert_eq!(got, expect, "{sql}");
    }
}
