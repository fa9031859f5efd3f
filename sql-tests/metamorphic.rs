//! What must hold of random views whatever their contents, so that no oracle is needed.
//!
//! The rows WHERE p, NOT p and p IS NULL together are all rows; a view over a view is the
//! query with the inner view written out; rows that come and go again leave every view as it
//! was.

use super::generator;
use super::harness::both::Both;
use super::harness::random::Random;
use super::harness::run::compare;
use super::harness::script::Order;
use super::harness::server::{Answer, Refusal};
use super::queries::{Case, differs, plain};

/// Views over views, and partitions, of a batch.
const STACKED: usize = 2;
const PARTITIONS: usize = 1;

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
    both: &mut Both,
    random: &mut Random,
    cases: &[Case],
    failures: &mut Vec<String>,
) -> Vec<Stacked> {
    let made: Vec<usize> = (0..cases.len()).filter(|i| cases[*i].is_view).collect();
    let mut stacked = Vec::new();
    for n in 0..STACKED.min(made.len()) {
        let i = made[random.below(made.len() as u64) as usize];
        let text = generator::over(random, &cases[i].types);
        let name = format!("s{n}");
        let inlined = text.replace("@@", &format!("({})", cases[i].query));
        if create(both, &name, &text.replace("@@", &format!("q{i}")), failures) {
            stacked.push(Stacked { name, inlined });
        }
    }
    stacked
}

pub fn partitions(both: &mut Both, random: &mut Random, failures: &mut Vec<String>) -> Vec<Partition> {
    let mut all = Vec::new();
    for n in 0..PARTITIONS {
        let (whole, p) = generator::filtered(random);
        let name = format!("p{n}_");
        let parts = [format!("({p})"), format!("NOT ({p})"), format!("({p}) IS NULL")];
        let parts = parts.map(|condition| format!("{whole} WHERE {condition}"));
        // What is refused of one is refused of all: they are one query.
        let made = (parts.iter().enumerate())
            .take_while(|(i, part)| create(both, &format!("{name}{i}"), part, failures))
            .count();
        if made == parts.len() {
            all.push(Partition { name, whole, parts });
            continue;
        }
        for i in 0..made {
            failures.extend(both.here(&format!("DROP MATERIALIZED VIEW {name}{i}")).err());
        }
    }
    all
}

/// Whether the view could be made; 0A000 is an answer, too.
fn create(both: &mut Both, name: &str, query: &str, failures: &mut Vec<String>) -> bool {
    let answer = both.here_all(vec![format!("CREATE MATERIALIZED VIEW {name} AS {query}")]);
    match answer.map(|mut answers| answers.remove(0)) {
        Ok(Ok(_)) => return true,
        Ok(Err(e)) if e.code == "0A000" => {}
        Ok(Err(e)) => failures.push(format!("CREATE MATERIALIZED VIEW … AS {query}\n  got: {e}")),
        Err(e) => failures.push(e),
    }
    false
}

/// The names of the views made here.
pub fn names(stacked: &[Stacked], split: &[Partition]) -> Vec<String> {
    let parts = split.iter().flat_map(|p| (0..3).map(move |i| format!("{}{i}", p.name)));
    stacked.iter().map(|s| s.name.clone()).chain(parts).collect()
}

pub fn check(both: &mut Both, stacked: &[Stacked], split: &[Partition]) -> Vec<String> {
    let mut failures = Vec::new();
    for view in stacked {
        let there = rows(both, &view.inlined);
        let here = rows(both, &format!("SELECT * FROM {}", view.name));
        failures.extend(same(&format!("view on view: {}", view.inlined), there, here).err());
    }
    for partition in split {
        let all = rows(both, &partition.whole);
        let ad_hoc = union(both, partition.parts.iter().cloned());
        let views = union(both, (0..3).map(|i| format!("SELECT * FROM {}{i}", partition.name)));
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

fn rows(both: &mut Both, query: &str) -> Result<Vec<String>, String> {
    both.here(query).map(|answer| plain(answer.lines()))
}

fn union(both: &mut Both, queries: impl Iterator<Item = String>) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for query in queries {
        all.extend(rows(both, &query)?);
    }
    Ok(all)
}

/// Rows that come in one epoch and go in another; the views hold what they held before.
pub fn there_and_back(both: &mut Both, cases: &[Case]) -> Result<Vec<String>, String> {
    let come_and_go = [
        "INSERT INTO a SELECT 1000 + n, n % 7, 'y', n, n / 4.0, n, DATE '2020-02-03', TIMESTAMP '2020-03-04 10:00:00', n, n % 2 = 0 FROM generate_series(1, 9) n",
        "INSERT INTO b SELECT 1000 + n, n % 5, 'x', n, n * 2 FROM generate_series(1, 6) n",
        "INSERT INTO c SELECT 1000 + n, 'z', n FROM generate_series(1, 4) n",
        "STEP",
        "DELETE FROM b WHERE id > 1000",
        "DELETE FROM c WHERE k > 1000",
        "DELETE FROM a WHERE id > 1000",
        "STEP",
    ];
    come_and_go.iter().try_for_each(|sql| both.here(sql).map(drop))?;
    let views: Vec<usize> = (0..cases.len()).filter(|i| cases[*i].is_view).collect();
    let reads = views.iter().map(|i| format!("SELECT * FROM q{i}")).collect();
    let answers: Vec<Result<Answer, Refusal>> = both.here_all(reads)?;
    let pairs = views.into_iter().zip(answers);
    Ok(pairs.filter_map(|(i, answer)| differs("insert and delete", &cases[i], answer)).collect())
}
