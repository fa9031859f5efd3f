//! The queries of a script as materialized views: made as soon as what they read is there, before
//! the rows, and once more where the script asks them.
//!
//! A query that a view refuses by name (0A000) or for its state (53400), or whose relations it does
//! not see (42P01: those of the system) is only asked ad hoc. How
//! many were views is counted for the runner's report.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::run::compare;
use super::script::{Order, Script, Verb};
use super::server::{Answer, Refusal};

/// Queries that were views before the rows, after them, and neither.
static COUNTS: [AtomicUsize; 3] = [AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0)];

/// What sends a statement to the server of the script.
pub type Send<'a> = dyn FnMut(&str) -> Result<Answer, Refusal> + 'a;

/// Views of queries that come later in the script.
pub struct QueryViews {
    /// By the query's block: its text and its number of columns, if rows are expected.
    waiting: BTreeMap<usize, (String, Option<usize>)>,
    made: BTreeMap<usize, (String, Option<usize>)>,
}

/// The totals so far, for a line of the report.
pub fn totals() -> Option<String> {
    let [before, after, neither] = [0, 1, 2].map(|i| COUNTS[i].load(Relaxed));
    (before + after + neither > 0).then(|| {
        format!("queries as views: {before} made before the rows, {after} after them, {neither} only ad hoc")
    })
}

impl QueryViews {
    pub fn of(script: &Script) -> QueryViews {
        let query = |(at, block): (usize, &super::script::Block)| match &block.verb {
            Verb::Query { sql, order, rows } if block.connection.is_empty() && is_query(sql, *order) => {
                let width = rows.first().map(|row| row.split('\t').count());
                Some((at, (sql.trim_end_matches(';').to_string(), width)))
            }
            _ => None,
        };
        let waiting = script.blocks.iter().enumerate().filter_map(query).collect();
        QueryViews { waiting, made: BTreeMap::new() }
    }

    /// Makes the views that can be made now.
    pub fn make(&mut self, send: &mut Send) {
        for (at, query) in std::mem::take(&mut self.waiting) {
            match create(&name(at, "before"), &query, send) {
                Ok(()) => drop(self.made.insert(at, query)),
                Err(_) => drop(self.waiting.insert(at, query)),
            }
        }
    }

    /// Takes the views away before a statement that could not change what they read.
    pub fn drop_all(&mut self, send: &mut Send) -> Result<(), String> {
        for (at, query) in std::mem::take(&mut self.made) {
            remove(&name(at, "before"), send)?;
            self.waiting.insert(at, query);
        }
        Ok(())
    }

    /// Whether the query in block `at` may be a view.
    pub fn knows(&self, at: usize) -> bool {
        self.made.contains_key(&at) || self.waiting.contains_key(&at)
    }

    /// Compares the views of the query in block `at` with its answer.
    pub fn check(&mut self, at: usize, expected: &[String], send: &mut Send) -> Result<(), String> {
        let (before, query) = match (self.made.remove(&at), self.waiting.remove(&at)) {
            (Some(query), _) => (true, query),
            (None, Some(query)) => (false, query),
            _ => return Ok(()),
        };
        if before {
            read(&name(at, "before"), &query.0, expected, send)?;
            remove(&name(at, "before"), send)?;
            COUNTS[0].fetch_add(1, Relaxed);
        }
        let after = name(at, "after");
        match create(&after, &query, send) {
            Ok(()) => {
                read(&after, &query.0, expected, send)?;
                remove(&after, send)?;
                COUNTS[1].fetch_add(1, Relaxed);
                Ok(())
            }
            Err(e) if ["0A000", "53400", "42P01"].contains(&e.code.as_str()) => {
                COUNTS[2].fetch_add(1, Relaxed);
                Ok(())
            }
            Err(e) => Err(format!("as a view: {}\n  got: {e}", query.0)),
        }
    }
}

fn name(at: usize, when: &str) -> String {
    format!("query_{at}_{when}")
}

fn is_query(sql: &str, order: Order) -> bool {
    let word = sql.trim_start_matches(['(', ' ', '\n']).split_whitespace().next().unwrap_or_default();
    let selects = ["SELECT", "WITH", "VALUES", "TABLE"].iter().any(|w| word.eq_ignore_ascii_case(w));
    selects && !matches!(order, Order::Contains)
}

fn create(name: &str, (sql, width): &(String, Option<usize>), send: &mut Send) -> Result<(), Refusal> {
    match send(&format!("CREATE MATERIALIZED VIEW {name} AS {sql}")) {
        // The columns of a view have names, each its own.
        Err(e) if e.code == "42701" && width.is_some() => {
            let names: Vec<String> = (0..width.unwrap_or_default()).map(|i| format!("c{i}")).collect();
            let columns = names.join(", ");
            let sql = format!("CREATE MATERIALIZED VIEW {name} AS SELECT * FROM ({sql}) AS q({columns})");
            send(&sql).map(drop)
        }
        other => other.map(drop),
    }
}

fn read(name: &str, query: &str, expected: &[String], send: &mut Send) -> Result<(), String> {
    let sql = format!("SELECT * FROM {name}");
    let answer = send(&sql).map_err(|e| format!("{name}, which is {query}\n  got: {e}"))?;
    compare(&format!("{name}, which is {query}"), Order::Sorted, expected, answer.lines())
}

fn remove(name: &str, send: &mut Send) -> Result<(), String> {
    let sql = format!("DROP MATERIALIZED VIEW {name}");
    send(&sql).map(drop).map_err(|e| format!("{sql}\n  got: {e}"))
}
