//! Runs one script in one mode and collects everything that is not as expected.
//!
//! The mode says what is changed on purpose: the number of workers, a crash before every
//! query, the comparison of every view with its own SELECT after every epoch, or an epoch
//! after every statement that brings rows, or the queries as views ([`super::as_views`]). The answers must be the same in all of them. A
//! crash keeps what the server promised: the runner only repeats what belongs to the session
//! (SET, PREPARE) and the ADVANCE statements since the last STEP, which are not durable.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use tokio::runtime::Runtime;

use super::as_views::QueryViews;
use super::script::{Block, Expect, Order, Script, Verb, matches};
use super::server::{Instance, Refusal, row_text};

/// Failures reported per script.
const FAILURES_MAX: usize = 20;
/// The first columns of a SUBSCRIBE row: epoch, time, diff, progressed.
const SUBSCRIBE_COLUMNS: usize = 4;
const DIFF_COLUMN: usize = 2;

/// One of the invariances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    AsWritten,
    TwoWorkers,
    CrashEverywhere,
    Batch,
    OtherCuts,
    AsViews,
}

impl Mode {
    pub const ALL: [Mode; 6] = [
        Mode::AsWritten,
        Mode::TwoWorkers,
        Mode::CrashEverywhere,
        Mode::Batch,
        Mode::OtherCuts,
        Mode::AsViews,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Mode::AsWritten => "as written",
            Mode::TwoWorkers => "two workers",
            Mode::CrashEverywhere => "crash before every query",
            Mode::Batch => "incremental = batch",
            Mode::OtherCuts => "other cuts",
            Mode::AsViews => "queries as views",
        }
    }

    /// Whether the script can be held to it.
    pub fn applies(self, script: &Script) -> bool {
        match self {
            Mode::AsWritten | Mode::TwoWorkers => true,
            Mode::CrashEverywhere => !script.flags.no_crash,
            Mode::Batch => !script.flags.no_batch,
            Mode::OtherCuts => script.flags.any_cuts,
            Mode::AsViews => !script.flags.no_batch && !script.flags.no_views,
        }
    }

    fn workers(self) -> usize {
        if self == Mode::TwoWorkers { 2 } else { 1 }
    }
}

/// Runs `script`; the error is the report of what went wrong.
pub fn run_script(runtime: &Arc<Runtime>, script: &Script, mode: Mode) -> Result<(), String> {
    let instance = Instance::start(runtime, mode.workers())?;
    let mut run = Run {
        script,
        mode,
        instance: Some(instance),
        failures: Vec::new(),
        views: BTreeMap::new(),
        in_block: HashSet::new(),
        subscriptions: HashSet::new(),
        setup: Vec::new(),
        advances: Vec::new(),
        rows_wait: false,
        queries: QueryViews::of(script),
        at: 0,
    };
    for (at, block) in script.blocks.iter().enumerate() {
        run.at = at;
        if let Err(why) = run.block(block) {
            run.failures.push(format!("{}:{}: {why}", script.file, block.line));
        }
        if run.instance.is_none() || run.failures.len() >= FAILURES_MAX {
            break;
        }
    }
    if run.failures.is_empty() { Ok(()) } else { Err(run.failures.join("\n\n")) }
}

struct Run<'a> {
    script: &'a Script,
    mode: Mode,
    /// `None` after a server that did not come back.
    instance: Option<Instance>,
    failures: Vec<String>,
    /// Materialized views that must equal their query at every epoch.
    views: BTreeMap<String, String>,
    /// Sessions with an open transaction block.
    in_block: HashSet<String>,
    subscriptions: HashSet<String>,
    /// Statements of the session that a new server must hear again.
    setup: Vec<String>,
    /// ADVANCE statements since the last STEP.
    advances: Vec<String>,
    /// Rows were written since the last STEP.
    rows_wait: bool,
    /// Views of the queries that come, if the mode makes them.
    queries: QueryViews,
    /// The block that runs.
    at: usize,
}

impl Run<'_> {
    fn block(&mut self, block: &Block) -> Result<(), String> {
        let session = block.connection.as_str();
        match &block.verb {
            Verb::Statement { sql, expect } => self.statement(session, sql, expect),
            Verb::Query { sql, order, rows } => self.query(session, sql, *order, rows),
            Verb::Feed { source, values } => {
                let sql = format!("INSERT INTO {source} VALUES {}", values.join(", "));
                self.statement(session, &sql, &Expect::Ok)
            }
            Verb::Epoch => self.statement("", "STEP", &Expect::Ok),
            Verb::AdvanceClock(to) => self.statement("", &format!("ADVANCE CLOCK {to}"), &Expect::Ok),
            Verb::Watermark { source, to } => {
                let sql = format!("ADVANCE WATERMARK FOR {source} TO TIMESTAMPTZ '{to}'");
                self.statement("", &sql, &Expect::Ok)
            }
            Verb::Subscribe { name, relation } => self.subscribe(name, relation),
            Verb::Changes { name, rows } => self.changes(name, rows),
            Verb::Restart { workers } => self.replace_server(|i| i.restart(*workers)),
            Verb::Crash => self.replace_server(Instance::crash),
            Verb::VerifyBatch => self.verify_batch(),
        }
    }

    fn send(&mut self, session: &str, sql: &str) -> Result<super::server::Answer, Refusal> {
        match self.instance.as_mut() {
            Some(instance) => instance.run_on(session, sql),
            None => Err(Refusal { code: "-----".into(), text: "there is no server".into() }),
        }
    }

    fn statement(&mut self, session: &str, sql: &str, expect: &Expect) -> Result<(), String> {
        if self.mode == Mode::AsViews && self.in_block.is_empty() {
            let word = sql.split_whitespace().next().unwrap_or_default().to_uppercase();
            if ["DROP", "ALTER", "TRUNCATE"].contains(&word.as_str()) {
                self.with_queries(|queries, send| queries.drop_all(send))?;
            }
        }
        let result = self.send(session, sql);
        match (expect, result) {
            (Expect::Ok, Ok(_)) => self.succeeded(session, sql),
            (Expect::Notice(pattern), Ok(_)) => {
                let heard = self.instance.as_mut().map(|i| i.notices(session)).unwrap_or_default();
                match heard.iter().any(|notice| matches(pattern, notice)) {
                    true => self.succeeded(session, sql),
                    false => Err(format!("{sql}\n  expected: notice {pattern}\n  got: {heard:?}")),
                }
            }
            (Expect::Count(n), Ok(answer)) if answer.count == *n => self.succeeded(session, sql),
            (Expect::Count(n), Ok(answer)) => {
                Err(format!("{sql}\n  expected: {n} rows affected\n  got: {}", answer.count))
            }
            (_, Err(e)) if matches!(expect, Expect::Ok | Expect::Count(_)) => {
                Err(format!("{sql}\n  expected: success\n  got: {e}"))
            }
            (Expect::Error(code, pattern), Err(e)) => {
                let fits = pattern.as_deref().is_none_or(|p| matches(p, &e.text));
                if e.code == *code && fits {
                    return Ok(());
                }
                let pattern = pattern.as_deref().unwrap_or("");
                Err(format!("{sql}\n  expected: error {code} {pattern}\n  got: {e}"))
            }
            (Expect::Error(code, _), Ok(_)) => {
                Err(format!("{sql}\n  expected: error {code}\n  got: success"))
            }
            (_, Err(e)) => Err(e.to_string()),
        }
    }

    /// Notes what a statement that worked means for later blocks.
    fn succeeded(&mut self, session: &str, sql: &str) -> Result<(), String> {
        let words: Vec<String> =
            sql.split_whitespace().take(6).map(|w| w.trim_end_matches(';').to_uppercase()).collect();
        let word = |i: usize| words.get(i).map_or("", String::as_str);
        match word(0) {
            "BEGIN" | "START" => drop(self.in_block.insert(session.to_string())),
            "COMMIT" | "END" | "ROLLBACK" | "ABORT" if word(1) != "TO" && word(2) != "TO" => {
                self.in_block.remove(session);
            }
            "SET" | "PREPARE" | "RESET" if word(1) != "LOCAL" && session.is_empty() => {
                self.setup.push(sql.to_string());
            }
            "ADVANCE" => self.advances.push(sql.to_string()),
            "CREATE" if word(1) == "MATERIALIZED" => self.note_view(sql),
            "INSERT" | "UPDATE" | "DELETE" => self.rows_wait = true,
            _ => (),
        }
        if word(0) == "STEP" {
            self.advances.clear();
            self.rows_wait = false;
            if self.mode == Mode::Batch {
                self.verify_batch()?;
            }
        }
        if self.mode == Mode::AsViews && matches!(word(0), "CREATE" | "SET") && self.in_block.is_empty() {
            self.with_queries(|queries, send| {
                queries.make(send);
                Ok(())
            })?;
        }
        let wrote = matches!(word(0), "INSERT" | "UPDATE" | "DELETE");
        if self.mode == Mode::OtherCuts && wrote && self.in_block.is_empty() {
            // The script's own STEP still counts as the end of its epoch.
            self.send("", "STEP").map_err(|e| format!("STEP: {e}"))?;
            self.advances.clear();
        }
        Ok(())
    }

    /// Lets the views of the script's queries talk to the server.
    fn with_queries(
        &mut self,
        act: impl FnOnce(&mut QueryViews, &mut super::as_views::Send) -> Result<(), String>,
    ) -> Result<(), String> {
        let Some(instance) = self.instance.as_mut() else { return Err("there is no server".into()) };
        act(&mut self.queries, &mut |sql| instance.run_on("", sql))
    }

    fn note_view(&mut self, sql: &str) {
        let flat = sql.split_whitespace().collect::<Vec<_>>().join(" ");
        let Some((head, query)) = flat.split_once(" AS ") else { return };
        let upper = query.to_uppercase();
        let windows_close = upper.contains("EMIT ON WINDOW CLOSE") || upper.contains("EMIT FINAL");
        if windows_close || upper.contains("PROCTIME()") {
            return;
        }
        let query = match upper.find(" EMIT ") {
            Some(at) => &query[..at],
            None => query,
        };
        let head = head.trim_start_matches(|c: char| c != 'V' && c != 'v');
        let name =
            head.split_whitespace().filter(|w| !["IF", "NOT", "EXISTS"].contains(&&*w.to_uppercase())).nth(1);
        if let Some(name) = name {
            let name = name.split('(').next().unwrap_or(name);
            self.views.insert(name.to_string(), query.trim_end_matches(';').to_string());
        }
    }

    fn query(&mut self, session: &str, sql: &str, order: Order, expected: &[String]) -> Result<(), String> {
        if self.mode == Mode::CrashEverywhere && self.in_block.is_empty() && self.subscriptions.is_empty() {
            self.replace_server(Instance::crash)?;
        }
        let views = self.mode == Mode::AsViews && session.is_empty() && self.in_block.is_empty();
        if views && self.queries.knows(self.at) {
            let at = self.at;
            return self.with_queries(|queries, send| queries.check(at, expected, send));
        }
        // With other cuts, only what is read at the script's own epochs is comparable.
        let comparable = self.mode != Mode::OtherCuts || !self.rows_wait;
        let answer = self.send(session, sql).map_err(|e| format!("{sql}\n  expected: rows\n  got: {e}"))?;
        if comparable { compare(sql, order, expected, answer.lines()) } else { Ok(()) }
    }

    fn subscribe(&mut self, name: &str, relation: &str) -> Result<(), String> {
        let session = format!("subscription {name}");
        let declare = format!("DECLARE {name} CURSOR FOR SUBSCRIBE TO {relation} WITH (SNAPSHOT)");
        for sql in ["BEGIN", &declare] {
            self.send(&session, sql).map_err(|e| format!("{sql}\n  got: {e}"))?;
        }
        self.subscriptions.insert(name.to_string());
        Ok(())
    }

    fn changes(&mut self, name: &str, expected: &[String]) -> Result<(), String> {
        if !self.subscriptions.contains(name) {
            return Err(format!("there is no subscription {name}"));
        }
        if self.mode == Mode::OtherCuts {
            return Ok(());
        }
        let wait = if expected.is_empty() { "200ms" } else { "5s" };
        let sql = format!("FETCH ALL {name} WITH (timeout = '{wait}')");
        let session = format!("subscription {name}");
        let answer = self.send(&session, &sql).map_err(|e| format!("{sql}\n  got: {e}"))?;
        let mut lines = Vec::new();
        for row in &answer.rows {
            if row.len() < SUBSCRIBE_COLUMNS {
                return Err(format!("a SUBSCRIBE row has only {} columns", row.len()));
            }
            let mut shown = vec![row[DIFF_COLUMN].clone()];
            shown.extend(row[SUBSCRIBE_COLUMNS..].iter().cloned());
            lines.push(row_text(&shown));
        }
        compare(&sql, Order::Sorted, expected, lines)
    }

    fn replace_server(
        &mut self,
        how: impl FnOnce(Instance) -> Result<Instance, String>,
    ) -> Result<(), String> {
        let Some(old) = self.instance.take() else { return Err("there is no server".into()) };
        self.in_block.clear();
        self.subscriptions.clear();
        self.instance = Some(how(old)?);
        for sql in self.setup.clone().into_iter().chain(self.advances.clone()) {
            self.send("", &sql).map_err(|e| format!("after a restart: {sql}\n  got: {e}"))?;
        }
        Ok(())
    }

    /// Every materialized view equals its own SELECT over all rows.
    fn verify_batch(&mut self) -> Result<(), String> {
        for (name, query) in self.views.clone() {
            let view = match self.send("", &format!("SELECT * FROM {name}")) {
                Ok(answer) => answer,
                Err(e) if e.code == "42P01" => {
                    self.views.remove(&name);
                    continue;
                }
                Err(e) => return Err(format!("SELECT * FROM {name}\n  got: {e}")),
            };
            let batch = self.send("", &query).map_err(|e| format!("{query}\n  got: {e}"))?;
            let mut expected = batch.lines();
            expected.sort();
            compare(&format!("{name} against its query: {query}"), Order::Sorted, &expected, view.lines())?;
        }
        Ok(())
    }
}

/// The rows expected and those that came, side by side when they differ.
/// A comparison of more rows shows only those that differ.
const ROWS_SHOWN: usize = 40;

/// Of long sorted answers, the rows that only one of them has.
fn differences(what: &str, expected: &[String], got: &[String]) -> String {
    let only = |mine: &[String], others: &[String]| {
        let mut left = others.to_vec();
        let rows = mine.iter().filter(|row| match left.iter().position(|r| r == *row) {
            Some(at) => {
                left.swap_remove(at);
                false
            }
            None => true,
        });
        rows.take(ROWS_SHOWN).map(|r| format!("    {r}")).collect::<Vec<_>>().join("\n")
    };
    let (a, b) = (expected.len(), got.len());
    let (missing, extra) = (only(expected, got), only(got, expected));
    format!("{what}\n  {a} rows expected, {b} found\n  missing:\n{missing}\n  too many:\n{extra}")
}

pub fn compare(what: &str, order: Order, expected: &[String], mut got: Vec<String>) -> Result<(), String> {
    let mut expected = expected.to_vec();
    let same = match order {
        Order::Contains => {
            let mut lines = got.iter();
            expected.iter().all(|part| lines.any(|line| line.contains(part.trim())))
        }
        Order::AsReturned => expected == got,
        Order::Sorted => {
            expected.sort();
            got.sort();
            expected == got
        }
    };
    if same {
        return Ok(());
    }
    if matches!(order, Order::Sorted) && expected.len().max(got.len()) > ROWS_SHOWN {
        return Err(differences(what, &expected, &got));
    }
    let list = |rows: &[String]| rows.iter().map(|r| format!("    {r}")).collect::<Vec<_>>().join("\n");
    Err(format!("{what}\n  expected:\n{}\n  got:\n{}", list(&expected), list(&got)))
}
