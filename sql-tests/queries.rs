//! Random queries, as views and ad hoc, against PostgreSQL 15.
//!
//! A batch of queries becomes views; the tables change, sometimes with a crash in between; the
//! same queries become views again, over what the tables hold then; and all four must agree:
//! the view made before the rows, the one made after them, the query run here and the query run
//! by PostgreSQL. What a view refuses (0A000) is still compared ad hoc. Each server begins with
//! empty tables and sees several batches. What must hold without an oracle is in `metamorphic`.
//!
//! `HEADWATER_QUERIES=n` and `HEADWATER_MINUTES=n` make long runs, which end at either; the seed
//! is printed and `HEADWATER_SEED=n` repeats it. A server's batches follow from its own seed,
//! which a failure names: `HEADWATER_SEED=s HEADWATER_QUERIES=200` repeats just them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::generator::{self, Ty};
use super::harness::both::Both;
use super::harness::random::Random;
use super::harness::run::compare;
use super::harness::script::Order;
use super::harness::server::{Answer, Instance, Refusal};
use super::{TABLES, change, metamorphic};

/// Queries of an ordinary run.
pub const QUERIES: u64 = 500;
const BATCH: u64 = 25;
const BATCHES_PER_SERVER: u64 = 8;

/// What PostgreSQL refuses, by a word of its message, and why Headwater does not.
const KNOWN_THERE: [(&str, &str); 2] = [
    ("FULL JOIN is only supported with merge-joinable", "Headwater runs every FULL JOIN"),
    ("could not implement", "Headwater needs no operators that hash or sort"),
];

/// What ad-hoc queries refuse, by a word of the message, and why; their views are compared.
const KNOWN_HERE: [(&str, &str); 1] = [(
    "does not satisfy order requirements",
    "DataFusion's check of the plan forgets below a join that a key of the order is constant",
)];

/// A run with so many failures ends; they are shown as they come.
const FAILURES_MAX: usize = 40;
/// Totals are printed after so many servers.
const SERVERS_PER_LINE: u64 = 10;

/// How many queries were compared, and how.
#[derive(Default)]
struct Tally {
    queries: usize,
    /// Views made before the rows, and after them.
    views: [usize; 2],
    refused_views: BTreeMap<String, usize>,
    refused_there: usize,
    refused_ad_hoc: usize,
    /// Comparisons that need no PostgreSQL.
    metamorphic: usize,
    failures: usize,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [before, after] = self.views;
        write!(
            f,
            "{} queries; views {before} before and {after} after the rows, refused by PostgreSQL {}, ad hoc {}; {} metamorphic; {} failures",
            self.queries, self.refused_there, self.refused_ad_hoc, self.metamorphic, self.failures
        )?;
        self.refused_views.iter().try_for_each(|(why, n)| write!(f, "\n  {n} views refused: {why}"))
    }
}

/// What a long run is bounded by.
pub struct Bounds {
    pub queries: u64,
    pub time: Option<Duration>,
}

pub fn run_queries(runtime: &Arc<Runtime>, seed: u64, bounds: &Bounds, postgres: &str) -> Result<(), String> {
    let started = Instant::now();
    let is_over = |tally: &Tally| {
        tally.queries as u64 >= bounds.queries
            || tally.failures > FAILURES_MAX
            || bounds.time.is_some_and(|t| started.elapsed() >= t)
    };
    let mut tally = Tally::default();
    for server in 0.. {
        let seed = seed + server;
        let mut random = Random(seed);
        let mut both = Both::start(runtime, 1 + random.below(2) as usize, Some(postgres))?;
        TABLES.iter().try_for_each(|table| both.run(table))?;
        for _ in 0..BATCHES_PER_SERVER {
            let mut batch = Batch::new(&mut random);
            both = batch.run(both, &mut random, &mut tally).map_err(|e| format!("seed {seed}: {e}"))?;
            batch.failures.iter().for_each(|failure| println!("seed {seed}: {failure}\n"));
            tally.failures += batch.failures.len();
            if is_over(&tally) {
                break;
            }
        }
        if is_over(&tally) || server % SERVERS_PER_LINE == SERVERS_PER_LINE - 1 {
            println!("random queries from seed {seed} on, {} s: {tally}", started.elapsed().as_secs());
        }
        if is_over(&tally) {
            break;
        }
    }
    match tally.failures {
        0 => Ok(()),
        n => Err(format!("{n} failures, shown above")),
    }
}

/// A query and what was found of it.
pub struct Case {
    pub query: String,
    pub types: Vec<Ty>,
    /// Its view of the name `q` and the number of the case is there.
    pub is_view: bool,
    /// What PostgreSQL answers, or what is answered here if it refuses the query.
    pub expected: Option<Vec<String>>,
}

struct Batch {
    cases: Vec<Case>,
    failures: Vec<String>,
}

impl Batch {
    fn new(random: &mut Random) -> Batch {
        let cases = (0..BATCH).map(|_| {
            let (query, types) = generator::query(random);
            Case { query, types, is_view: false, expected: None }
        });
        Batch { cases: cases.collect(), failures: Vec::new() }
    }

    fn run(&mut self, mut both: Both, random: &mut Random, tally: &mut Tally) -> Result<Both, String> {
        self.create(&mut both, tally)?;
        let stacked = metamorphic::on_views(&mut both, random, &self.cases, &mut self.failures);
        let split = metamorphic::partitions(&mut both, random, &mut self.failures);
        for _ in 0..2 + random.below(4) {
            both.run(&change(random))?;
        }
        if random.chance(8) {
            both = both.replace(Instance::crash)?;
        }
        both.here("STEP")?;
        let after = self.create_again(&mut both, tally)?;
        self.check(&mut both, &after, tally)?;
        self.failures.extend(metamorphic::check(&mut both, &stacked, &split));
        self.failures.extend(metamorphic::there_and_back(&mut both, &self.cases)?);
        let views = self.cases.iter().filter(|c| c.is_view).count();
        tally.metamorphic += stacked.len() + split.len() + views;
        let again = after.iter().map(|i| format!("l{i}"));
        let names: Vec<String> =
            self.views().chain(again).chain(metamorphic::names(&stacked, &split)).collect();
        if !names.is_empty() {
            both.here(&format!("DROP MATERIALIZED VIEW {} CASCADE", names.join(", ")))?;
        }
        Ok(both)
    }

    fn views(&self) -> impl Iterator<Item = String> {
        (self.cases.iter().enumerate()).filter(|(_, c)| c.is_view).map(|(i, _)| format!("q{i}"))
    }

    fn create(&mut self, both: &mut Both, tally: &mut Tally) -> Result<(), String> {
        let statements = self.cases.iter().enumerate();
        let statements = statements.map(|(i, c)| format!("CREATE MATERIALIZED VIEW q{i} AS {}", c.query));
        let answers = both.here_all(statements.collect())?;
        for (case, answer) in self.cases.iter_mut().zip(answers) {
            match answer {
                Ok(_) => case.is_view = true,
                Err(e) if e.code == "0A000" => {
                    let what = e.text.split(" | ").next().unwrap_or_default().to_string();
                    *tally.refused_views.entry(what).or_default() += 1;
                }
                Err(e) => self.failures.push(format!("view: {}\n  got: {e}", case.query)),
            }
        }
        Ok(())
    }

    /// Views over what the tables hold now; the numbers of their cases.
    fn create_again(&mut self, both: &mut Both, tally: &mut Tally) -> Result<Vec<usize>, String> {
        let of: Vec<usize> = (0..self.cases.len()).filter(|i| self.cases[*i].is_view).collect();
        let create = |i: &usize| format!("CREATE MATERIALIZED VIEW l{i} AS {}", self.cases[*i].query);
        let answers = both.here_all(of.iter().map(create).collect())?;
        let mut made = Vec::new();
        for (i, answer) in of.into_iter().zip(answers) {
            match answer {
                Ok(_) => made.push(i),
                Err(e) => {
                    self.failures.push(format!("view, made again: {}\n  got: {e}", self.cases[i].query))
                }
            }
        }
        tally.views[1] += made.len();
        Ok(made)
    }

    fn check(&mut self, both: &mut Both, after: &[usize], tally: &mut Tally) -> Result<(), String> {
        let queries: Vec<String> = self.cases.iter().map(|c| c.query.clone()).collect();
        let there = both.there_all(queries.clone())?;
        let here = both.here_all(queries)?;
        let numbers: Vec<usize> = (0..self.cases.len()).filter(|i| self.cases[*i].is_view).collect();
        let read = |prefix: &str, of: &[usize]| -> Vec<String> {
            of.iter().map(|i| format!("SELECT * FROM {prefix}{i}")).collect()
        };
        let before = both.here_all(read("q", &numbers))?;
        let later = both.here_all(read("l", after))?;
        let answers = there.into_iter().zip(here);
        for (case, (there, here)) in self.cases.iter_mut().zip(answers) {
            tally.queries += 1;
            match there {
                Ok(answer) => case.expected = Some(plain(answer.lines())),
                Err(e) if KNOWN_THERE.iter().any(|(word, _)| e.text.contains(word)) => {
                    tally.refused_there += 1;
                    // The views are held to the query as it is run here.
                    case.expected = here.as_ref().ok().map(|answer| plain(answer.lines()));
                }
                Err(e) => {
                    self.failures.push(format!("PostgreSQL does not run {}\n  got: {e}", case.query));
                }
            }
            if here.as_ref().is_err_and(|e| KNOWN_HERE.iter().any(|(word, _)| e.text.contains(word))) {
                tally.refused_ad_hoc += 1;
            } else {
                self.failures.extend(differs("ad hoc", case, here));
            }
        }
        tally.views[0] += numbers.len();
        for (what, of, answers) in
            [("view", numbers.as_slice(), before), ("view of what was there", after, later)]
        {
            for (i, answer) in of.iter().zip(answers) {
                self.failures.extend(differs(what, &self.cases[*i], answer));
            }
        }
        Ok(())
    }
}

/// How an answer differs from PostgreSQL's, if there is one.
pub fn differs(what: &str, case: &Case, answer: Result<Answer, Refusal>) -> Option<String> {
    let expected = case.expected.as_ref()?;
    let what = format!("{what}: {}", case.query);
    match answer {
        Ok(answer) => compare(&what, Order::Sorted, expected, plain(answer.lines())).err(),
        Err(e) => Some(format!("{what}\n  got: {e}")),
    }
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
