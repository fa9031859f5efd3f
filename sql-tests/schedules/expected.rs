//! What a view must show, computed row by row from the rules: the windows of every row, one
//! model of the trigger for each key and window, nothing else.

use headwater::types::trigger::{Accumulation, EmitPolicy};

use super::clause::{Kind, ViewSpec};
use super::model::Model;
use super::{ENDLESS, EpochTimes, Firing, MS, text};

/// A row of the source; its time in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    pub k: Option<i64>,
    pub t: Option<i64>,
    pub v: Option<i64>,
}

impl Row {
    pub fn values(&self) -> String {
        let number = |n: Option<i64>| n.map_or("NULL".to_string(), |n| n.to_string());
        let time = self.t.map_or("NULL".to_string(), |t| format!("'{}'", text(t * MS)));
        format!("({}, {}, {time})", number(self.k), number(self.v))
    }
}

/// One key and window.
struct Window {
    key: Option<i64>,
    start: i64,
    end: i64,
    pane: Model,
    rows: Vec<Row>,
    /// Rows since the last firing.
    new: Vec<Row>,
    /// Rows of this epoch.
    arrived: u64,
    /// Live panes: its own, or those of the sessions it has swallowed.
    shown: Vec<Line>,
}

/// A row of the view, and its pane columns.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    row: String,
    pane: String,
}

pub struct View {
    pub name: String,
    pub spec: ViewSpec,
    pub late: u64,
    windows: Vec<Window>,
    contents: Vec<Line>,
    panes: Vec<String>,
    changes: Vec<String>,
    before: i64,
}

impl View {
    pub fn new(name: String, spec: ViewSpec) -> View {
        let (windows, contents, panes, changes) = Default::default();
        View { name, spec, late: 0, windows, contents, panes, changes, before: i64::MIN }
    }

    /// Rows of the view.
    pub fn contents(&self) -> Vec<String> {
        self.contents.iter().map(|l| l.row.clone()).collect()
    }

    pub fn contents_with_panes(&self) -> Vec<String> {
        self.contents.iter().map(|l| format!("{}\t{}", l.row, l.pane)).collect()
    }

    /// All panes so far.
    pub fn panes(&self) -> &[String] {
        &self.panes
    }

    /// What followers see of the last epoch, as diff and row.
    pub fn changes(&self) -> &[String] {
        &self.changes
    }

    /// One epoch; `watermark` is `None` while there is none.
    pub fn epoch(&mut self, rows: &[Row], watermark: Option<i64>, now: i64) {
        let watermark = match self.spec.windowed() {
            _ if self.spec.by_the_clock() => now,
            true => watermark.unwrap_or(i64::MIN),
            false => i64::MIN,
        };
        let mut rows = rows.to_vec();
        if self.spec.by_the_clock() {
            rows.iter_mut().for_each(|r| r.t = Some(now / MS));
        }
        match self.spec.kind {
            Kind::Session { gap } | Kind::ProcSession { gap } => self.add_sessions(&rows, gap * MS),
            _ => rows.iter().for_each(|row| self.add(*row)),
        }
        let times = EpochTimes { before: self.before, watermark, now };
        let (mut gone, mut come) = (Vec::new(), Vec::new());
        let discarding = self.spec.emit.accumulation == Accumulation::Discarding;
        for window in &mut self.windows {
            let arrived = std::mem::take(&mut window.arrived);
            let Some(firing) = window.pane.epoch(arrived, &times) else { continue };
            let rows = if discarding { &window.new } else { &window.rows };
            let line = line(&self.spec, window, rows, &firing, &times);
            if !discarding {
                gone.append(&mut window.shown);
                window.shown = vec![line.clone()];
            }
            come.push(line);
            window.new.clear();
        }
        self.note(gone, come);
        let lateness = self.spec.emit.lateness_us;
        self.windows.retain(|w| w.end == ENDLESS || watermark < w.end.saturating_add(lateness));
        self.before = watermark;
    }

    /// Applies panes that go and panes that come.
    fn note(&mut self, mut gone: Vec<Line>, mut come: Vec<Line>) {
        self.panes.extend(come.iter().map(|l| format!("{}\t{}", l.row, l.pane)));
        for line in &gone {
            let at = self.contents.iter().position(|l| l == line);
            self.contents.remove(at.expect("what goes was there"));
        }
        self.contents.extend(come.iter().cloned());
        if !self.spec.lists_panes() {
            // Every change, and only what has changed.
            let same = |a: &Line, b: &[Line]| b.iter().any(|l| l.row == a.row);
            let (all_gone, all_come) = (gone.clone(), come.clone());
            gone.retain(|l| !same(l, &all_come));
            come.retain(|l| !same(l, &all_gone));
        } else if !self.spec.retracts() {
            gone.clear();
        }
        self.changes = gone.iter().map(|l| format!("-1\t{}", l.row)).collect();
        self.changes.extend(come.iter().map(|l| format!("1\t{}", l.row)));
    }

    /// Bounds of the windows of a time, in microseconds.
    fn bounds(&self, t: i64) -> Vec<(i64, i64)> {
        let starts = |slide: i64, size: i64, offset: i64| -> Vec<(i64, i64)> {
            let first = (t - size + 1..=t).filter(|s| (s - offset).rem_euclid(slide) == 0);
            first.map(|s| (s * MS, (s + size) * MS)).collect()
        };
        match self.spec.kind {
            Kind::None | Kind::Session { .. } | Kind::ProcSession { .. } => vec![],
            Kind::ProcTumble { size } => starts(size, size, 0),
            Kind::Tumble { size, offset } => starts(size, size, offset),
            Kind::Hop { slide, size, offset } => starts(slide.min(size), size, offset),
            Kind::Cumulate { step, size } => {
                let start = t.div_euclid(size) * size;
                let ends = (1..=size / step).map(|n| start + n * step).filter(|end| *end > t);
                ends.map(|end| (start * MS, end * MS)).collect()
            }
        }
    }

    fn add(&mut self, row: Row) {
        let bounds = match row.t {
            _ if !self.spec.windowed() => vec![(0, ENDLESS)],
            Some(t) => self.bounds(t),
            None => {
                self.late += 1;
                vec![]
            }
        };
        for (start, end) in bounds {
            let at = self.windows.iter().position(|w| (w.key, w.start, w.end) == (row.k, start, end));
            let fresh = || Model::new(&self.spec.emit, end, self.before);
            let takes = match at {
                Some(at) => self.windows[at].pane.takes_rows(self.before),
                None => fresh().takes_rows(self.before),
            };
            if !takes {
                self.late += 1;
                continue;
            }
            let at = at.unwrap_or_else(|| {
                let window = Window::new(row.k, start, end, fresh());
                self.windows.push(window);
                self.windows.len() - 1
            });
            self.windows[at].take(&[row]);
        }
    }

    /// 9: the rows of an epoch that overlap or touch, then the sessions that those touch.
    fn add_sessions(&mut self, rows: &[Row], gap: i64) {
        self.late += rows.iter().filter(|r| r.t.is_none()).count() as u64;
        let mut rows: Vec<(Option<i64>, i64, Row)> =
            rows.iter().filter_map(|r| Some((r.k, r.t? * MS, *r))).collect();
        rows.sort();
        let mut runs: Vec<(Option<i64>, i64, i64, Vec<Row>)> = Vec::new();
        for (key, t, row) in rows {
            match runs.last_mut().filter(|run| run.0 == key && t <= run.2) {
                Some(run) => {
                    run.2 = t + gap;
                    run.3.push(row);
                }
                None => runs.push((key, t, t + gap, vec![row])),
            }
        }
        for (key, start, end, rows) in runs {
            self.add_run(key, start, end, &rows);
        }
    }

    fn add_run(&mut self, key: Option<i64>, mut start: i64, mut end: i64, rows: &[Row]) {
        let touches = |w: &Window| w.key == key && w.start <= end && start <= w.end;
        let (touched, apart): (Vec<Window>, Vec<Window>) =
            std::mem::take(&mut self.windows).into_iter().partition(touches);
        self.windows = apart;
        let takes = match touched.as_slice() {
            [] => Model::new(&self.spec.emit, end, self.before).takes_rows(self.before),
            touched => touched.iter().any(|w| !w.pane.over),
        };
        if !takes {
            self.late += rows.len() as u64;
            self.windows.extend(touched);
            return;
        }
        for w in &touched {
            (start, end) = (start.min(w.start), end.max(w.end));
        }
        let parts: Vec<(&Model, bool)> =
            touched.iter().map(|w| (&w.pane, (w.start, w.end) == (start, end))).collect();
        let pane = match parts.as_slice() {
            [] => Model::new(&self.spec.emit, end, self.before),
            [(only, true)] => (*only).clone(),
            parts => Model::merged(&self.spec.emit, end, self.before, parts),
        };
        let mut merged = Window::new(key, start, end, pane);
        for w in touched {
            merged.rows.extend(w.rows);
            merged.new.extend(w.new);
            merged.arrived += w.arrived;
            merged.shown.extend(w.shown);
        }
        merged.take(rows);
        self.windows.push(merged);
    }
}

impl Window {
    fn new(key: Option<i64>, start: i64, end: i64, pane: Model) -> Window {
        Window { key, start, end, pane, rows: vec![], new: vec![], arrived: 0, shown: vec![] }
    }

    fn take(&mut self, rows: &[Row]) {
        self.arrived += rows.len() as u64;
        self.rows.extend(rows);
        self.new.extend(rows);
    }
}

fn line(spec: &ViewSpec, window: &Window, rows: &[Row], firing: &Firing, times: &EpochTimes) -> Line {
    let number = |n: Option<i64>| n.map_or("NULL".to_string(), |n| n.to_string());
    let truth = |b: bool| if b { "t" } else { "f" }.to_string();
    let mut row = vec![number(window.key)];
    if spec.windowed() {
        // Those of the clock have a zone.
        let zone = if spec.by_the_clock() { "+00" } else { "" };
        row.extend([window.start, window.end].map(|bound| format!("{}{zone}", text(bound))));
    }
    let values: Vec<i64> = rows.iter().filter_map(|r| r.v).collect();
    let sum = (!values.is_empty()).then(|| values.iter().sum());
    row.extend([rows.len().to_string(), number(sum), number(values.iter().max().copied())]);
    let zoned = |micros: i64| format!("{}+00", text(micros));
    let watermark = if times.watermark == i64::MIN { "NULL".to_string() } else { zoned(times.watermark) };
    let pane = [
        firing.timing.as_str().to_string(),
        firing.index.to_string(),
        firing.nonspeculative_index.to_string(),
        truth(firing.is_first),
        truth(firing.is_last),
        zoned(times.now),
        watermark,
    ];
    let changes_only = spec.emit.policy == EmitPolicy::Changes && !spec.mode_written;
    let pane = if changes_only { String::new() } else { pane.join("\t") };
    Line { row: row.join("\t"), pane }
}
