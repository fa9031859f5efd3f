//! Random schedules of rows, clock, watermark, crashes and restarts with other numbers of
//! workers, on a whole server: after every epoch the contents, the panes, the changes and the
//! late rows of each view must be those of the slow model.
//!
//! Window kind × trigger × accumulation × lateness × cuts × workers × kill and replay. One
//! server lives through one history with many views, in several rounds with keys and times of
//! their own: a schedule is one view in one round, checked after each of its epochs. Planning
//! a view costs more than its epochs do, so many rounds are cheap. The engine is asked directly
//! (`look`); some of the views are also read over the wire. What fails is made smaller; the
//! seed is printed. `HEADWATER_SEED=n` repeats a run, `HEADWATER_SCHEDULES=n` makes more of it.

mod clause;
mod expected;
mod history;
mod look;
/// The reference model of the trigger machine's own tests.
#[path = "../src/dataflow/triggers/model.rs"]
mod model;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use headwater::dataflow::triggers::{ENDLESS, EpochTimes, Firing};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tokio::runtime::Runtime;

use self::expected::{Cells, Line, Row, View, row_line, whole_line};
use self::history::{Epoch, FIRST_WATERMARK, Fault, History, Planned, SOURCES, history};
use self::look::{Look, News};
use super::harness::run::compare;
use super::harness::script::Order;
use super::harness::server::{Instance, row_text};

/// Schedules of an ordinary run.
pub const SCHEDULES: u64 = 300;
/// Views of one history, at most; fewer in short runs, which are to have several histories.
const VIEWS_MAX: usize = 150;
const SHORT_RUN: u64 = 12;
/// Times of the schedules are in milliseconds.
pub const MS: i64 = 1000;
/// Times a failing history is run again to make it smaller.
const SHRINKS_MAX: u32 = 600;
/// Longer runs tell how far they are, this often.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Columns of a SUBSCRIBE row before the view's own; the third is the diff.
const SUBSCRIBE_COLUMNS: usize = 4;

/// Runs histories until so many schedules have been tried.
pub fn run_schedules(runtime: &Arc<Runtime>, seed: u64, schedules: u64) -> Result<(), String> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = history(VIEWS_MAX.min(1 + (schedules / SHORT_RUN) as usize));
    let (mut tried, mut histories, mut told) = (0, 0u64, Instant::now());
    while tried < schedules {
        let history = strategy.new_tree(&mut runner).map_err(|e| e.to_string())?.current();
        match one_history(runtime, &history) {
            Ok(made) => tried += made,
            Err(why) => {
                let (history, why) = shrunk(runtime, history, why);
                return Err(format!("history {histories}, {why}\n{history:#?}"));
            }
        }
        histories += 1;
        if told.elapsed() >= TELL_EVERY {
            eprintln!("{tried} schedules in {histories} histories agree with the model (seed {seed})");
            told = Instant::now();
        }
    }
    Ok(())
}

/// A smaller history that fails too, and how.
fn shrunk(runtime: &Arc<Runtime>, mut history: History, mut why: String) -> (History, String) {
    let mut left = SHRINKS_MAX;
    'smaller: loop {
        for smaller in history.smaller() {
            if left == 0 {
                return (history, why);
            }
            left -= 1;
            if let Err(of_smaller) = one_history(runtime, &smaller) {
                (history, why) = (smaller, of_smaller);
                continue 'smaller;
            }
        }
        return (history, why);
    }
}

/// A server with what the model knows of it.
struct Trial {
    server: Instance,
    views: Vec<Tried>,
    /// Of each source.
    past: Vec<Vec<Row>>,
    watermarks: Vec<Option<i64>>,
    now: i64,
    /// The views are followed since before the last epoch.
    followed: bool,
}

struct Tried {
    model: View,
    source: usize,
    by_wire: bool,
    look: Look,
}

/// How many schedules there were; a view whose clause is refused is none.
fn one_history(runtime: &Arc<Runtime>, history: &History) -> Result<u64, String> {
    let server = Instance::start(runtime, history.workers)?;
    let (past, watermarks) = (vec![Vec::new(); SOURCES], vec![None; SOURCES]);
    let mut trial = Trial { server, views: Vec::new(), past, watermarks, now: 0, followed: true };
    for source in 0..SOURCES {
        let sql = format!(
            "CREATE SOURCE e{source} (k INT, v INT, ts TIMESTAMP, \
             WATERMARK FOR ts AS SOURCE_WATERMARK()) WITH (connector = 'feed')"
        );
        trial.say(&sql)?;
    }
    trial.say("SET TIME ZONE 'UTC'")?;
    let mut schedules = 0;
    for (i, epoch) in history.epochs.iter().enumerate() {
        let of_epoch = |why: String| format!("epoch {i}: {why}");
        for (n, planned) in history.views.iter().enumerate().filter(|(_, p)| p.at == i) {
            trial.create(format!("v{n}"), planned).map_err(of_epoch)?;
        }
        trial = trial.epoch(epoch).map_err(of_epoch)?;
        trial.check_all(epoch.ends_round || epoch.fault != Fault::None).map_err(of_epoch)?;
        schedules += if epoch.ends_round { trial.views.len() as u64 } else { 0 };
    }
    Ok(schedules)
}

impl Trial {
    fn say(&mut self, sql: &str) -> Result<(), String> {
        self.server.run(sql).map(drop).map_err(|e| format!("{sql}\n  got: {e}"))
    }

    /// Makes a view, to which the rows of the past are one epoch; none if it is refused.
    fn create(&mut self, name: String, planned: &Planned) -> Result<(), String> {
        let Planned { source, by_wire, spec, .. } = planned;
        let sql = spec.create(&name, &format!("e{source}"));
        match self.server.run(&sql) {
            Ok(_) => {}
            Err(e) if e.code == "42P16" => return Ok(()),
            Err(e) => return Err(format!("{sql}\n  got: {e}")),
        }
        let look = Look::new(self.server.database()?, &name)?;
        let mut model = View::new(name, spec.clone());
        model.epoch(&self.past[*source], self.watermarks[*source], self.now);
        let mut tried = Tried { model, source: *source, by_wire: *by_wire, look };
        tried.check(&mut self.server, Checks::Whole).map_err(|e| format!("{sql}\n{e}"))?;
        if tried.by_wire {
            follow(&mut self.server, &tried.model.name)?;
        }
        self.views.push(tried);
        Ok(())
    }

    /// Rows, faults, clock, watermarks, and one epoch of everything.
    fn epoch(mut self, epoch: &Epoch) -> Result<Trial, String> {
        for (source, feed) in epoch.feeds.iter().enumerate() {
            if !feed.rows.is_empty() {
                let rows: Vec<String> = feed.rows.iter().map(Row::values).collect();
                self.say(&format!("INSERT INTO e{source} VALUES {}", rows.join(", ")))?;
            }
            self.past[source].extend(&feed.rows);
            if feed.watermark_step_ms > 0 {
                let to =
                    self.watermarks[source].unwrap_or(FIRST_WATERMARK * MS) + feed.watermark_step_ms * MS;
                self.watermarks[source] = Some(to);
            }
        }
        self.now += epoch.clock_step_ms * MS;
        self.followed = true;
        match epoch.fault {
            Fault::None => self.step(epoch)?,
            Fault::Crash => {
                self.server = self.server.crash()?;
                self.back()?;
                self.step(epoch)?;
            }
            Fault::Restart(workers) => {
                self.server = self.server.restart(Some(workers))?;
                self.back()?;
                self.step(epoch)?;
            }
            Fault::CrashWithin(micros) => self = self.crash_within(epoch, Duration::from_micros(micros))?,
        }
        for view in &mut self.views {
            let source = view.source;
            view.model.epoch(&epoch.feeds[source].rows, self.watermarks[source], self.now);
        }
        Ok(self)
    }

    fn step(&mut self, epoch: &Epoch) -> Result<(), String> {
        self.say(&format!("ADVANCE CLOCK TO TIMESTAMPTZ '{}Z'", text(self.now)))?;
        for (source, feed) in epoch.feeds.iter().enumerate() {
            if let (true, Some(to)) = (feed.watermark_step_ms > 0, self.watermarks[source]) {
                self.say(&format!("ADVANCE WATERMARK FOR e{source} TO TIMESTAMPTZ '{}Z'", text(to)))?;
            }
        }
        self.say("STEP")
    }

    /// The server goes on with what was on disk when the epoch had been worked on for a while;
    /// the epoch is repeated unless it was there.
    fn crash_within(mut self, epoch: &Epoch, after: Duration) -> Result<Trial, String> {
        let before = self.published()?;
        let disk = self.server.disk_later(after);
        self.step(epoch)?;
        self.server = self.server.open_again(disk)?;
        let lost = self.published()? == before;
        self.back()?;
        if lost {
            self.step(epoch)?;
        }
        self.followed = lost;
        Ok(self)
    }

    fn published(&self) -> Result<u64, String> {
        Ok(self.server.database()?.engine.published().epoch.0)
    }

    /// Follows the views again after a fault; nothing is told of the changes before it.
    fn back(&mut self) -> Result<(), String> {
        self.say("SET TIME ZONE 'UTC'")?;
        for view in &mut self.views {
            view.look = Look::new(self.server.database()?, &view.model.name)?;
            if view.by_wire {
                follow(&mut self.server, &view.model.name)?;
            }
        }
        Ok(())
    }

    fn check_all(&mut self, whole: bool) -> Result<(), String> {
        let checks = match (self.followed, whole) {
            (true, true) => Checks::Both,
            (true, false) => Checks::News,
            (false, _) => Checks::Whole,
        };
        for view in &mut self.views {
            let source = format!("e{}", view.source);
            view.check(&mut self.server, checks)
                .map_err(|e| format!("{}\n{e}", view.model.spec.create(&view.model.name, &source)))?;
        }
        Ok(())
    }
}

/// Opens a cursor on the changes of a view, in a session of its own.
fn follow(server: &mut Instance, view: &str) -> Result<(), String> {
    let declare = format!("DECLARE c CURSOR FOR SUBSCRIBE TO {view} WITH (SNAPSHOT = false)");
    for sql in ["BEGIN", declare.as_str()] {
        server.run_on(view, sql).map_err(|e| format!("{sql}\n  got: {e}"))?;
    }
    Ok(())
}

/// What is compared of a view after an epoch. Contents that were right and have changed as they
/// should are right.
#[derive(Clone, Copy, PartialEq)]
enum Checks {
    /// Contents and all panes.
    Whole,
    /// Changes of the contents, changes that followers get, and new panes.
    News,
    Both,
}

impl Tried {
    fn check(&mut self, server: &mut Instance, checks: Checks) -> Result<(), String> {
        let (model, spec) = (&self.model, &self.model.spec);
        if checks != Checks::News {
            same("contents", spec, model.contents(), self.look.contents()?)?;
        }
        if spec.lists_panes() {
            match checks {
                Checks::News => same("new panes", spec, model.new_panes(), self.look.panes(false)?)?,
                _ => same("panes", spec, model.panes(), self.look.panes(true)?)?,
            }
        }
        if model.late != self.look.late() {
            return Err(format!("late rows: expected {}, got {}", model.late, self.look.late()));
        }
        if checks != Checks::Whole {
            self.check_news()?;
        }
        if self.by_wire { self.check_by_wire(server, checks != Checks::Whole) } else { Ok(()) }
    }

    fn check_news(&mut self) -> Result<(), String> {
        let News { delta, mut followed } = self.look.news()?;
        let (expected, got) = (net(self.model.delta()), net(&delta));
        if expected != got {
            let line =
                |(line, diff): (&Line, &i64)| format!("{diff}\t{}", whole_line(&self.model.spec, line));
            let text = |lines: &BTreeMap<Line, i64>| lines.iter().map(line).collect::<Vec<_>>();
            return compare("changes of the contents", Order::Sorted, &text(&expected), text(&got));
        }
        let ordered = followed.windows(2).all(|w| w[0].0 < 0 || w[1].0 > 0);
        if self.model.spec.retracts() && !ordered {
            return Err(format!("a pane comes before the one it replaces: {followed:?}"));
        }
        let mut expected = self.model.changes().to_vec();
        expected.sort();
        followed.sort();
        if expected == followed {
            return Ok(());
        }
        compare("changes", Order::Sorted, &self.lines(&expected), self.lines(&followed))
    }

    fn lines(&self, changes: &[(i64, Cells)]) -> Vec<String> {
        let line = |(diff, row): &(i64, Cells)| format!("{diff}\t{}", row_line(&self.model.spec, row));
        changes.iter().map(line).collect()
    }

    /// The same as clients see it.
    fn check_by_wire(&self, server: &mut Instance, with_changes: bool) -> Result<(), String> {
        let (model, name, spec) = (&self.model, &self.model.name, &self.model.spec);
        let mut ask = |sql: String, expected: &[String]| {
            let answer = server.run(&sql).map_err(|e| format!("{sql}\n  got: {e}"))?;
            compare(&sql, Order::Sorted, expected, answer.lines())
        };
        let rows: Vec<String> = model.contents().iter().map(|l| row_line(spec, &l.row)).collect();
        ask(format!("SELECT * FROM {name}"), &rows)?;
        if spec.lists_panes() {
            let whole = |lines: &[Line]| lines.iter().map(|l| whole_line(spec, l)).collect::<Vec<_>>();
            let panes = whole(model.panes());
            ask(format!("SELECT {} FROM headwater.panes('{name}')", spec.pane_list()), &panes)?;
            ask(format!("SELECT {} FROM {name}", spec.pane_list()), &whole(model.contents()))?;
        }
        let late = format!("SELECT count(*) FROM headwater.late_rows WHERE view = '{name}'");
        ask(late, &[model.late.to_string()])?;
        if !with_changes {
            return Ok(());
        }
        let (wait, expected) =
            (if model.changes().is_empty() { "0s" } else { "5s" }, self.lines(model.changes()));
        let sql = format!("FETCH ALL c WITH (timeout = '{wait}')");
        let answer = server.run_on(name, &sql).map_err(|e| format!("{sql}\n  got: {e}"))?;
        let of_row = |row: &Vec<Option<String>>| {
            format!("{}\t{}", row[2].as_deref().unwrap_or("?"), row_text(&row[SUBSCRIBE_COLUMNS..]))
        };
        compare("changes by cursor", Order::Sorted, &expected, answer.rows.iter().map(of_row).collect())
    }
}

/// Equal lines added up.
fn net(changes: &[(i64, Line)]) -> BTreeMap<Line, i64> {
    let mut all = BTreeMap::new();
    changes.iter().for_each(|(diff, line)| *all.entry(line.clone()).or_default() += diff);
    all.retain(|_, diff| *diff != 0);
    all
}

/// Whether both are the same rows; `got` is sorted.
fn same(what: &str, spec: &clause::ViewSpec, expected: &[Line], got: Vec<Line>) -> Result<(), String> {
    let mut expected = expected.to_vec();
    expected.sort();
    if expected == got {
        return Ok(());
    }
    let text = |lines: &[Line]| lines.iter().map(|l| whole_line(spec, l)).collect::<Vec<_>>();
    compare(what, Order::Sorted, &text(&expected), text(&got))
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
