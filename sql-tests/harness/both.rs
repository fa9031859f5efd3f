//! A Headwater server and PostgreSQL 15 beside it: what both are told, and views that must hold
//! what their query gives here and there.
//!
//! Without PostgreSQL a view is held to its query alone. A suite gives its rows and says what is
//! written otherwise there; [`run_suite`] makes half of its views before the rows and half in the
//! middle, crashes before the last step but one, and checks every view after every step.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio_postgres::Client;

use super::run::compare;
use super::script::Order;
use super::server::{Answer, Instance, Refusal, connect, run, run_all};

pub struct Both {
    runtime: Arc<Runtime>,
    server: Instance,
    oracle: Option<Client>,
}

/// Views that are compared with each other must not read each other's rows.
fn alone(mut server: Instance) -> Result<Instance, String> {
    server.run("SET share_plans = off").map_err(|e| e.to_string())?;
    Ok(server)
}

impl Both {
    /// A new server, and an empty schema in PostgreSQL.
    pub fn start(runtime: &Arc<Runtime>, workers: usize, postgres: Option<&str>) -> Result<Both, String> {
        let server = alone(Instance::start(runtime, workers)?)?;
        let oracle = postgres.map(|address| connect(runtime, address)).transpose()?;
        let both = Both { runtime: runtime.clone(), server, oracle };
        for sql in ["DROP SCHEMA public CASCADE", "CREATE SCHEMA public"] {
            both.there(sql)?;
        }
        Ok(both)
    }

    /// The answer of the server.
    pub fn here(&mut self, sql: &str) -> Result<Answer, String> {
        self.server.run(sql).map_err(|e| format!("{sql}\n  got: {e}"))
    }

    /// The answer of PostgreSQL, if there is one.
    pub fn there(&self, sql: &str) -> Result<Option<Answer>, String> {
        let answer = self.oracle.as_ref().map(|oracle| run(&self.runtime, oracle, sql)).transpose();
        answer.map_err(|e| format!("PostgreSQL: {sql}\n  got: {e}"))
    }

    /// The answers to many statements that are sent at once.
    pub fn here_all(&mut self, statements: Vec<String>) -> Result<Vec<Result<Answer, Refusal>>, String> {
        let runtime = self.runtime.clone();
        Ok(run_all(&runtime, self.server.client()?, &statements))
    }

    /// The answers of PostgreSQL; none without it.
    pub fn there_all(&self, statements: Vec<String>) -> Result<Vec<Result<Answer, Refusal>>, String> {
        Ok(self.oracle.as_ref().map(|oracle| run_all(&self.runtime, oracle, &statements)).unwrap_or_default())
    }

    pub fn run(&mut self, sql: &str) -> Result<(), String> {
        self.here(sql)?;
        self.there(sql).map(drop)
    }

    /// With the server that `how` makes of this one.
    pub fn replace(self, how: impl FnOnce(Instance) -> Result<Instance, String>) -> Result<Both, String> {
        Ok(Both { server: alone(how(self.server)?)?, ..self })
    }

    /// A view holds what its query gives here (if it is given) and in PostgreSQL.
    pub fn check_view(&mut self, name: &str, query: Option<&str>, there: &str) -> Result<(), String> {
        let view = self.here(&format!("SELECT * FROM {name}"))?.lines();
        if let Some(query) = query {
            let batch = self.here(query)?.lines();
            let what = format!("{name} against its query, run here: {query}");
            compare(&what, Order::Sorted, &batch, view.clone())?;
        }
        match self.there(there)? {
            Some(answer) => {
                let what = format!("{name} against PostgreSQL: {there}");
                compare(&what, Order::Sorted, &answer.lines(), view)
            }
            None => Ok(()),
        }
    }
}

/// Rows in steps, and what its queries need besides.
pub trait Suite {
    fn prepare(&mut self, both: &mut Both) -> Result<(), String>;

    fn feed(&mut self, both: &mut Both, step: u64) -> Result<(), String>;

    /// The query in PostgreSQL's words.
    fn for_postgres(&self, query: &str) -> String {
        query.to_string()
    }

    /// The view's query, run later, gives something else.
    fn only_as_view(&self, _name: &str) -> bool {
        false
    }
}

/// Runs the suite for `steps`; what fails of a single query is put into `failures` under its name.
pub fn run_suite(
    suite: &mut dyn Suite,
    mut both: Both,
    queries: &[(String, String)],
    steps: u64,
    failures: &mut BTreeMap<String, String>,
) -> Result<(), String> {
    suite.prepare(&mut both)?;
    let from = |i: usize| if i.is_multiple_of(2) { 0 } else { steps / 2 };
    for step in 0..steps {
        suite.feed(&mut both, step)?;
        for (_, (name, query)) in queries.iter().enumerate().filter(|(i, _)| from(*i) == step) {
            if let Err(why) = both.here(&format!("CREATE MATERIALIZED VIEW {name} AS {query}")) {
                failures.insert(name.clone(), why);
            }
        }
        if step + 2 == steps {
            both = both.replace(Instance::crash)?;
        }
        both.here("STEP")?;
        for (_, (name, query)) in queries.iter().enumerate().filter(|(i, _)| from(*i) <= step) {
            if failures.contains_key(name) {
                continue;
            }
            let here = (!suite.only_as_view(name)).then_some(query.as_str());
            if let Err(why) = both.check_view(name, here, &suite.for_postgres(query)) {
                failures.insert(name.clone(), format!("step {step}: {why}"));
            }
        }
    }
    Ok(())
}
