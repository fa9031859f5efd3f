//! What must hold of random views whatever their contents, so that no oracle is needed.
//!
//! The rows WHERE p, NOT p and p IS NULL together are all rows; a view over a view is the
//! query with the inner view written out; rows that come and go again leave every view as it
//! was.

use super::generator::{self, Ty};
use super::harness::random::Random;
use super::harness::run::compare;
use super::harness::script::Order;
use super::harness::server::Instance;

/// Views over views, and partitions, of a batch.
const STACKED: u64 = 3;
const PARTITIONS: u64 = 2;

/// A view over a view, and the same query with the inner one written out.
pub struct Stacked {
    name: String,
    inlined: String,
}

/// A query whose views with p, NOT p and p IS NULL are `name0`, `name1` and `name2`.
pub struct Partition {
    name: String,
    whole: String,
    parts: [String; 3],
}

pub fn on_views(
    server: &mut Instance,
    random: &mut Random,
    queries: &[(String, Vec<Ty>)],
    made: &[usize],
    failures: &mut Vec<String>,
) -> Vec<Stacked> {
    let mut stacked = Vec::new();
    for n in 0..STACKED.min(made.len() as u64) {
        let i = made[random.below(made.len() as u64) as usize];
        let (query, types) = &queries[i];
        let text = generator::over(random, types);
        let name = format!("s{n}");
        let inlined = text.replace("@@", &format!("({query})"));
        if create(server, &name, &text.replace("@@", &format!("q{i}")), failures) {
            stacked.push(Stacked { name, inlined });
        }
    }
    stacked
}

pub fn partitions(server: &mut Instance, random: &mut Random, failures: &mut Vec<String>) -> Vec<Partition> {
    let mut all = Vec::new();
    for n in 0..PARTITIONS {
        let (whole, p) = generator::filtered(random);
        let name = format!("p{n}_");
        let parts = [format!("({p})"), format!("NOT ({p})"), format!("({p}) IS NULL")];
        let parts = parts.map(|condition| format!("{whole} WHERE {condition}"));
        let ok: Vec<bool> = (parts.iter().enumerate())
            .map(|(i, part)| create(server, &format!("{name}{i}"), part, failures))
            .collect();
        if ok.iter().all(|ok| *ok) {
            all.push(Partition { name, whole, parts });
            continue;
        }
        for (i, _) in ok.iter().enumerate().filter(|(_, ok)| **ok) {
            let dropped = server.run(&format!("DROP MATERIALIZED VIEW {name}{i}"));
            failures.extend(dropped.err().map(|e| format!("DROP: {e}")));
        }
    }
    all
}

/// Whether the view could be made; 0A000 is an answer, too.
fn create(server: &mut Instance, name: &str, query: &str, failures: &mut Vec<String>) -> bool {
    match server.run(&format!("CREATE MATERIALIZED VIEW {name} AS {query}")) {
        Ok(_) => true,
        Err(e) => {
            if !e.to_string().starts_with("0A000") {
                failures.push(format!("CREATE MATERIALIZED VIEW … AS {query}\n  got: {e}"));
            }
            false
        }
    }
}

pub fn check(server: &mut Instance, stacked: &[Stacked], split: &[Partition]) -> Vec<String> {
    let mut failures = Vec::new();
    for view in stacked {
        let there = rows(server, &view.inlined);
        let here = rows(server, &format!("SELECT * FROM {}", view.name));
        failures.extend(same(&format!("view on view: {}", view.inlined), there, here).err());
    }
    for partition in split {
        let all = rows(server, &partition.whole);
        let ad_hoc = union(server, partition.parts.iter().cloned());
        let views = union(server, (0..3).map(|i| format!("SELECT * FROM {}{i}", partition.name)));
        let name = &partition.parts[0];
        failures.extend(same(&format!("partitioned ad hoc: {name}"), all.clone(), ad_hoc).err());
        failures.extend(same(&format!("partitioned views: {name}"), all, views).err());
    }
    failures
}

fn same(
    what: &str,
    expected: Result<Vec<String>, String>,
    found: Result<Vec<String>, String>,
) -> Result<(), String> {
    let failed = |e: String| format!("{what}\n  got: {e}");
    compare(what, Order::Sorted, &expected.map_err(failed)?, found.map_err(failed)?)
}

fn rows(server: &mut Instance, query: &str) -> Result<Vec<String>, String> {
    server.run(query).map(|answer| super::queries::plain(answer.lines())).map_err(|e| e.to_string())
}

fn union(server: &mut Instance, queries: impl Iterator<Item = String>) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for query in queries {
        all.extend(rows(server, &query)?);
    }
    Ok(all)
}

/// Rows that come in one epoch and go in another.
pub fn there_and_back(
    server: &mut Instance,
    made: &[usize],
    queries: &[(String, Vec<Ty>)],
) -> Result<Vec<String>, String> {
    let contents = |server: &mut Instance| -> Vec<Result<Vec<String>, String>> {
        made.iter().map(|i| rows(server, &format!("SELECT * FROM q{i}"))).collect()
    };
    let before = contents(server);
    let come = [
        "INSERT INTO a SELECT 1000 + n, n % 7, 'y', n, n / 4.0, n, DATE '2020-02-03', TIMESTAMP '2020-03-04 10:00:00', n, n % 2 = 0 FROM generate_series(1, 9) n",
        "INSERT INTO b SELECT 1000 + n, n % 5, 'x', n, n * 2 FROM generate_series(1, 6) n",
        "INSERT INTO c SELECT 1000 + n, 'z', n FROM generate_series(1, 4) n",
        "STEP",
    ];
    let go = [
        "DELETE FROM b WHERE id > 1000",
        "DELETE FROM c WHERE k > 1000",
        "DELETE FROM a WHERE id > 1000",
        "STEP",
    ];
    for sql in come.iter().chain(&go) {
        server.run(sql).map_err(|e| format!("{sql}\n  got: {e}"))?;
    }
    let after = contents(server);
    let pairs = made.iter().zip(before.into_iter().zip(after));
    Ok(pairs
        .filter_map(|(i, (before, after))| {
            same(&format!("insert and delete: {}", queries[*i].0), before, after).err()
        })
        .collect())
}

pub fn forget(server: &mut Instance, stacked: &[Stacked], split: &[Partition]) -> Result<(), String> {
    let parts = split.iter().flat_map(|p| (0..3).map(move |i| format!("{}{i}", p.name)));
    for name in stacked.iter().map(|s| s.name.clone()).chain(parts) {
        server.run(&format!("DROP MATERIALIZED VIEW {name}")).map_err(|e| format!("DROP: {e}"))?;
    }
    Ok(())
}
