//! Random queries, as views and ad hoc, against PostgreSQL 15.
//!
//! Batches of queries become views over random tables; the tables change, sometimes with a
//! crash in between; then every view, its query run here and its query run by PostgreSQL must
//! agree. What a view refuses (0A000) is still compared ad hoc. `HEADWATER_QUERIES=n` makes a
//! long run; the seed is printed and `HEADWATER_SEED=n` repeats it. What must hold without an
//! oracle is in `metamorphic`.

use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio_postgres::Client;

use super::generator::{self, Ty};
use super::harness::random::Random;
use super::harness::run::compare;
use super::harness::script::Order;
use super::harness::server::{Instance, connect, run};
use super::{TABLES, change, metamorphic};

/// Queries of an ordinary run.
pub const QUERIES: u64 = 500;
const BATCH: u64 = 40;

/// What differs, by a word of the query or of the message, and why.
const KNOWN: [(&str, &str); 2] = [
    ("FULL JOIN is only supported with merge-joinable", "PostgreSQL refuses it; Headwater runs it"),
    ("could not implement", "PostgreSQL refuses it; Headwater runs it"),
];

/// What ad-hoc queries refuse, by a word of the message, and why; their views are compared.
const KNOWN_HERE: [(&str, &str); 1] = [(
    "does not satisfy order requirements",
    "DataFusion's check of the plan forgets below a join that a key of the order is constant",
)];

/// A run with so many failures ends; they are shown as they come.
const FAILURES_MAX: usize = 40;

/// How many queries were compared, and how.
#[derive(Default, Debug)]
struct Tally {
    views: usize,
    ad_hoc_only: usize,
    refused_by_postgres: usize,
    refused_ad_hoc: usize,
    /// Comparisons that need no PostgreSQL.
    metamorphic: usize,
}

pub fn run_queries(runtime: &Arc<Runtime>, seed: u64, count: u64, postgres: &str) -> Result<(), String> {
    let mut random = Random(seed);
    let mut server = Instance::start(runtime, 1 + random.below(2) as usize)?;
    let oracle = connect(runtime, postgres)?;
    let fresh = "DROP SCHEMA public CASCADE; CREATE SCHEMA public";
    run(runtime, &oracle, fresh).map_err(|e| e.to_string())?;
    for table in TABLES {
        both(&mut server, runtime, &oracle, table)?;
    }
    let mut tally = Tally::default();
    let (mut failures, mut failed) = (Vec::new(), 0);
    for _ in 0..count.div_ceil(BATCH) {
        let queries: Vec<(String, Vec<Ty>)> = (0..BATCH).map(|_| generator::query(&mut random)).collect();
        let made = create(&mut server, &queries, &mut failures);
        let stacked = metamorphic::on_views(&mut server, &mut random, &queries, &made, &mut failures);
        let split = metamorphic::partitions(&mut server, &mut random, &mut failures);
        for _ in 0..2 + random.below(4) {
            let sql = change(&mut random);
            both(&mut server, runtime, &oracle, &sql)?;
        }
        if random.chance(10) {
            server = server.crash()?;
        }
        server.run("STEP").map_err(|e| format!("STEP: {e}"))?;
        for (i, (query, _)) in queries.iter().enumerate() {
            let view = made.contains(&i).then(|| format!("q{i}"));
            let result = check(&mut server, runtime, &oracle, query, view.as_deref(), &mut tally);
            failures.extend(result.err());
        }
        failures.extend(metamorphic::check(&mut server, &stacked, &split));
        failures.extend(metamorphic::there_and_back(&mut server, &made, &queries)?);
        tally.metamorphic += stacked.len() + split.len() + made.len();
        metamorphic::forget(&mut server, &stacked, &split)?;
        for i in &made {
            server.run(&format!("DROP MATERIALIZED VIEW q{i}")).map_err(|e| format!("DROP: {e}"))?;
        }
        for failure in failures.drain(..) {
            println!("{failure}\n");
            failed += 1;
        }
        if failed > FAILURES_MAX {
            break;
        }
    }
    println!("random queries: {tally:?}");
    match failed {
        0 => Ok(()),
        n => Err(format!("{n} failures, shown above")),
    }
}

fn both(server: &mut Instance, runtime: &Runtime, oracle: &Client, sql: &str) -> Result<(), String> {
    server.run(sql).map_err(|e| format!("{sql}\n  got: {e}"))?;
    run(runtime, oracle, sql).map_err(|e| format!("PostgreSQL: {sql}\n  got: {e}"))?;
    Ok(())
}

/// The numbers of the queries that became views.
fn create(server: &mut Instance, queries: &[(String, Vec<Ty>)], failures: &mut Vec<String>) -> Vec<usize> {
    let mut made = Vec::new();
    for (i, (query, _)) in queries.iter().enumerate() {
        match server.run(&format!("CREATE MATERIALIZED VIEW q{i} AS {query}")) {
            Ok(_) => made.push(i),
            Err(e) if e.to_string().starts_with("0A000") => {}
            Err(e) => failures.push(format!("CREATE MATERIALIZED VIEW … AS {query}\n  got: {e}")),
        }
    }
    made
}

fn check(
    server: &mut Instance,
    runtime: &Runtime,
    oracle: &Client,
    query: &str,
    view: Option<&str>,
    tally: &mut Tally,
) -> Result<(), String> {
    let expected = match run(runtime, oracle, query) {
        Ok(answer) => answer.lines(),
        Err(e) if KNOWN.iter().any(|(word, _)| e.to_string().contains(word)) => {
            tally.refused_by_postgres += 1;
            return Ok(());
        }
        Err(e) => return Err(format!("PostgreSQL does not run {query}\n  got: {e}")),
    };
    let expected = plain(expected);
    match server.run(query) {
        Ok(answer) => {
            let found = plain(answer.lines());
            compare(&format!("ad hoc: {query}"), Order::Sorted, &expected, found)?;
        }
        Err(e) if KNOWN_HERE.iter().any(|(word, _)| e.text.contains(word)) => tally.refused_ad_hoc += 1,
        Err(e) => return Err(format!("{query}\n  got: {e}")),
    }
    let Some(view) = view else {
        tally.ad_hoc_only += 1;
        return Ok(());
    };
    tally.views += 1;
    let rows =
        server.run(&format!("SELECT * FROM {view}")).map_err(|e| format!("view of {query}\n  got: {e}"))?;
    compare(&format!("view: {query}"), Order::Sorted, &expected, plain(rows.lines()))
}

/// Without trailing zeros of numerics, whose number is a documented difference.
pub fn plain(lines: Vec<String>) -> Vec<String> {
    let cell = |cell: &str| match cell.parse::<f64>() {
        Ok(_) if cell.contains('.') => cell.trim_end_matches('0').trim_end_matches('.').to_string(),
        _ => cell.to_string(),
    };
    let mut lines: Vec<String> =
        lines.iter().map(|l| l.split('\t').map(cell).collect::<Vec<_>>().join("\t")).collect();
    lines.sort();
    lines
}
