//! Random schedules of rows, clock, watermark, crashes and restarts with other numbers of
//! workers, on a whole server: after every epoch the contents, the panes, the changes and the
//! late rows of each view must be those of the slow model.
//!
//! Window kind × trigger × accumulation × lateness × cuts × workers × kill and replay. What
//! fails is shrunk; the seed is printed. `HEADWATER_SEED=n` repeats a run,
//! `HEADWATER_SCHEDULES=n` makes more of them (a schedule is one view under one history).

mod clause;
mod expected;
/// The reference model of the trigger machine's own tests.
#[path = "../src/dataflow/triggers/model.rs"]
mod model;

use std::cell::Cell;
use std::sync::Arc;

pub use headwater::dataflow::triggers::{ENDLESS, EpochTimes, Firing};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use tokio::runtime::Runtime;

use self::clause::{ViewSpec, view_spec};
use self::expected::{Row, View};
use super::harness::run::compare;
use super::harness::script::Order;
use super::harness::server::{Instance, row_text};

/// Views of an ordinary run.
pub const SCHEDULES: u64 = 60;
/// Times of the schedules are in milliseconds.
pub const MS: i64 = 1000;
/// Times a failing history is run again to make it smaller.
const SHRINKS_MAX: u32 = 150;
/// Columns of a SUBSCRIBE row before the view's own; the third is the diff.
const SUBSCRIBE_COLUMNS: usize = 4;

const SOURCE: &str = "CREATE SOURCE e (k INT, v INT, ts TIMESTAMP, \
    WATERMARK FOR ts AS SOURCE_WATERMARK()) WITH (connector = 'feed')";

/// What happens to the server before an epoch.
#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    Crash,
    Restart(usize),
}

/// One epoch.
#[derive(Clone, Debug)]
struct Epoch {
    rows: Vec<Row>,
    watermark_step_ms: i64,
    clock_step_ms: i64,
    fault: Fault,
}

#[derive(Clone, Debug)]
struct History {
    workers: usize,
    /// Each with the epoch before which it is made.
    views: Vec<(usize, ViewSpec)>,
    epochs: Vec<Epoch>,
}

fn history() -> impl Strategy<Value = History> {
    let row = (prop::option::weighted(0.9, 0..3i64), prop::option::weighted(0.9, 0..9i64));
    let row = (row, prop::option::weighted(0.95, -20..60i64)).prop_map(|((k, v), t)| Row { k, v, t });
    let fault = prop_oneof![
        7 => Just(Fault::None),
        1 => Just(Fault::Crash),
        1 => (1usize..4).prop_map(Fault::Restart),
    ];
    let step = prop_oneof![2 => Just(0i64), 3 => 1..5i64, 1 => 5..25i64];
    let epoch = (prop::collection::vec(row, 0..6), step, 0..4i64, fault).prop_map(
        |(rows, watermark_step_ms, clock_step_ms, fault)| Epoch {
            rows,
            watermark_step_ms,
            clock_step_ms,
            fault,
        },
    );
    let view = (prop_oneof![3 => Just(0usize), 1 => 1..9usize], view_spec());
    (1usize..4, prop::collection::vec(view, 1..9), prop::collection::vec(epoch, 1..14))
        .prop_map(|(workers, views, epochs)| History { workers, views, epochs })
}

/// Runs histories until `schedules` views have been tried.
pub fn run_schedules(runtime: &Arc<Runtime>, seed: u64, schedules: u64) -> Result<(), String> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config {
        cases: u32::MAX,
        max_shrink_iters: SHRINKS_MAX,
        failure_persistence: None,
        ..Config::default()
    };
    let tried = Cell::new(0);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let strategy = history();
    while tried.get() < schedules {
        let tree = strategy.new_tree(&mut runner).map_err(|e| e.to_string())?;
        let run = |history: History| {
            let made = one_history(runtime, &history).map_err(TestCaseError::fail)?;
            tried.set(tried.get() + made);
            Ok(())
        };
        runner.run_one(tree, run).map_err(|e| match e {
            TestError::Fail(why, history) => format!("{why}\n{history:#?}"),
            TestError::Abort(why) => why.to_string(),
        })?;
    }
    Ok(())
}

/// How many views the server took; a view whose clause is refused is left out.
fn one_history(runtime: &Arc<Runtime>, history: &History) -> Result<u64, String> {
    let mut server = Instance::start(runtime, history.workers)?;
    say(&mut server, SOURCE)?;
    say(&mut server, "SET TIME ZONE 'UTC'")?;
    let mut views: Vec<View> = Vec::new();
    let mut past: Vec<Row> = Vec::new();
    let (mut watermark, mut now) = (None, 0);
    for (i, epoch) in history.epochs.iter().enumerate() {
        let of_epoch = |why: String| format!("epoch {i}: {why}");
        for (n, (_, spec)) in history.views.iter().enumerate().filter(|(_, (at, _))| *at == i) {
            let made =
                create(&mut server, format!("v{n}"), spec, &past, (watermark, now)).map_err(of_epoch)?;
            views.extend(made);
        }
        if !epoch.rows.is_empty() {
            let rows: Vec<String> = epoch.rows.iter().map(Row::values).collect();
            say(&mut server, &format!("INSERT INTO e VALUES {}", rows.join(", "))).map_err(of_epoch)?;
        }
        past.extend(&epoch.rows);
        server = match epoch.fault {
            Fault::None => server,
            Fault::Crash => server.crash()?,
            Fault::Restart(workers) => server.restart(Some(workers))?,
        };
        if !matches!(epoch.fault, Fault::None) {
            say(&mut server, "SET TIME ZONE 'UTC'").map_err(of_epoch)?;
            views.iter().try_for_each(|view| follow(&mut server, &view.name)).map_err(of_epoch)?;
        }
        now += epoch.clock_step_ms * MS;
        say(&mut server, &format!("ADVANCE CLOCK TO TIMESTAMPTZ '{}Z'", text(now))).map_err(of_epoch)?;
        if epoch.watermark_step_ms > 0 {
            let to = watermark.unwrap_or(-25 * MS) + epoch.watermark_step_ms * MS;
            watermark = Some(to);
            let sql = format!("ADVANCE WATERMARK FOR e TO TIMESTAMPTZ '{}Z'", text(to));
            say(&mut server, &sql).map_err(of_epoch)?;
        }
        say(&mut server, "STEP").map_err(of_epoch)?;
        for view in &mut views {
            view.epoch(&epoch.rows, watermark, now);
            check(&mut server, view, true)
                .map_err(|e| format!("epoch {i}: {}\n{e}", view.spec.create(&view.name)))?;
        }
    }
    Ok(views.len() as u64)
}

/// Makes a view, to which the rows of the past are one epoch; `None` if it is refused.
fn create(
    server: &mut Instance,
    name: String,
    spec: &ViewSpec,
    past: &[Row],
    (watermark, now): (Option<i64>, i64),
) -> Result<Option<View>, String> {
    let sql = spec.create(&name);
    match server.run(&sql) {
        Ok(_) => {}
        Err(e) if e.code == "42P16" => return Ok(None),
        Err(e) => return Err(format!("{sql}\n  got: {e}")),
    }
    let mut view = View::new(name, spec.clone());
    view.epoch(past, watermark, now);
    check(server, &view, false).map_err(|e| format!("{sql}\n{e}"))?;
    follow(server, &view.name)?;
    Ok(Some(view))
}

fn say(server: &mut Instance, sql: &str) -> Result<(), String> {
    server.run(sql).map(drop).map_err(|e| format!("{sql}\n  got: {e}"))
}

/// Opens a cursor on the changes of a view, in a session of its own.
fn follow(server: &mut Instance, view: &str) -> Result<(), String> {
    let declare = format!("DECLARE c CURSOR FOR SUBSCRIBE TO {view} WITH (SNAPSHOT = false)");
    for sql in ["BEGIN", declare.as_str()] {
        server.run_on(view, sql).map_err(|e| format!("{sql}\n  got: {e}"))?;
    }
    Ok(())
}

fn check(server: &mut Instance, view: &View, with_changes: bool) -> Result<(), String> {
    let name = &view.name;
    let mut ask = |sql: String, expected: &[String]| {
        let answer = server.run(&sql).map_err(|e| format!("{sql}\n  got: {e}"))?;
        compare(&sql, Order::Sorted, expected, answer.lines())
    };
    ask(format!("SELECT * FROM {name}"), &view.contents())?;
    if view.spec.lists_panes() {
        ask(format!("SELECT {} FROM headwater.panes('{name}')", view.spec.pane_list()), view.panes())?;
        ask(format!("SELECT {} FROM {name}", view.spec.pane_list()), &view.contents_with_panes())?;
    }
    let late = format!("SELECT count(*) FROM headwater.late_rows WHERE view = '{name}'");
    ask(late, &[view.late.to_string()])?;
    if !with_changes {
        return Ok(());
    }
    let (wait, expected) = (if view.changes().is_empty() { "0s" } else { "5s" }, view.changes());
    let sql = format!("FETCH ALL c WITH (timeout = '{wait}')");
    let answer = server.run_on(name, &sql).map_err(|e| format!("{sql}\n  got: {e}"))?;
    let changes: Vec<String> = (answer.rows.iter())
        .map(|row| format!("{}\t{}", row[2].as_deref().unwrap_or("?"), row_text(&row[SUBSCRIBE_COLUMNS..])))
        .collect();
    let ordered =
        |changes: &[String]| changes.windows(2).all(|w| w[0].starts_with('-') || !w[1].starts_with('-'));
    if view.spec.retracts() && !ordered(&changes) {
        return Err(format!("a pane comes before the one it replaces: {changes:#?}"));
    }
    compare(&format!("changes of {name}"), Order::Sorted, expected, changes)
}

/// A time in microseconds as PostgreSQL writes it, without a zone.
pub fn text(micros: i64) -> String {
    use chrono::DateTime;
    let time = DateTime::from_timestamp_micros(micros).map(|t| t.naive_utc());
    let seconds = time.map_or(String::new(), |t| t.format("%Y-%m-%d %H:%M:%S").to_string());
    match micros.rem_euclid(1_000_000) {
        0 => seconds,
        fraction => format!("{seconds}.{}", format!("{fraction:06}").trim_end_matches('0')),
    }
}
