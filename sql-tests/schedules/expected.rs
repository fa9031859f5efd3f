//! What a view must show, computed row by row from the rules: the windows of every row, one
//! model of the trigger for each key and window, nothing else.

use headwater::types::trigger::{Accumulation, PaneTiming};

use std::collections::BTreeMap;

use super::clause::{Kind, SMALL, ViewSpec};
use super::model::Model;
use super::{ENDLESS, EpochTimes, Firing, MS, text};

/// Values of a row: numbers, and times in microseconds.
pub type Cells = Vec<Option<i64>>;

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
    /// Of them, rows that went.
    lost: u64,
    /// Live panes, in `View::live`: its own, those of the sessions it has swallowed, and those of the
    /// session of which it is a part.
    shown: Vec<usize>,
}

/// Of a window below the sessions: its values, greatest first.
type Inner = BTreeMap<(Option<i64>, i64), Vec<Option<i64>>>;

/// A row of the view, and its pane columns, if it has any: the timing as a number, the indices,
/// first and last as 0 or 1, and two times.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    pub row: Cells,
    pub pane: Cells,
}

pub struct View {
    pub name: String,
    pub spec: ViewSpec,
    pub late: u64,
    windows: Vec<Window>,
    /// By key and end in milliseconds.
    inner: Inner,
    live: Vec<Option<Line>>,
    contents: Vec<Line>,
    panes: Vec<Line>,
    /// Of them, those of earlier epochs.
    panes_before: usize,
    delta: Vec<(i64, Line)>,
    changes: Vec<(i64, Cells)>,
    before: i64,
}

impl View {
    pub fn new(name: String, spec: ViewSpec) -> View {
        let (windows, inner, live, contents, panes, delta, changes) = Default::default();
        let (panes_before, before) = (0, i64::MIN);
        View {
            name,
            spec,
            late: 0,
            windows,
            inner,
            live,
            contents,
            panes,
            panes_before,
            delta,
            changes,
            before,
        }
    }

    /// Rows of the view.
    pub fn contents(&self) -> &[Line] {
        &self.contents
    }

    /// All panes so far.
    pub fn panes(&self) -> &[Line] {
        &self.panes
    }

    /// Panes of the last epoch.
    pub fn new_panes(&self) -> &[Line] {
        &self.panes[self.panes_before..]
    }

    /// How the contents differ from those before the last epoch.
    pub fn delta(&self) -> &[(i64, Line)] {
        &self.delta
    }

    /// What followers see of the last epoch, as diff and row.
    pub fn changes(&self) -> &[(i64, Cells)] {
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
            Kind::Kept { inner, gap } => {
                let (came, gone) = self.small(&rows, inner);
                self.add_sessions(&came, gap * MS);
                self.remove(&gone, gap * MS);
            }
            _ => rows.iter().for_each(|row| self.add(*row)),
        }
        let times = EpochTimes { before: self.before, watermark, now };
        let (mut gone, mut come) = (Vec::new(), Vec::new());
        let discarding = self.spec.emit.accumulation == Accumulation::Discarding;
        let (spec, live) = (&self.spec, &mut self.live);
        self.windows.retain_mut(|window| {
            let arrived = std::mem::take(&mut window.arrived);
            let Some(firing) = window.pane.epoch(arrived, &times) else { return true };
            let rows = if discarding { &window.new } else { &window.rows };
            let line = line(spec, window, rows, &firing, &times);
            if !discarding {
                gone.extend(window.shown.drain(..).filter_map(|n| live[n].take()));
                if window.rows.is_empty() {
                    return false;
                }
                window.shown = vec![live.len()];
                live.push(Some(line.clone()));
            }
            come.push(line);
            window.new.clear();
            true
        });
        self.note(gone, come);
        let lateness = self.spec.emit.lateness_us;
        self.windows.retain(|w| w.end == ENDLESS || watermark < w.end.saturating_add(lateness));
        self.before = watermark;
    }

    /// Applies panes that go and panes that come.
    fn note(&mut self, mut gone: Vec<Line>, mut come: Vec<Line>) {
        self.panes_before = self.panes.len();
        self.panes.extend(come.iter().cloned());
        for line in &gone {
            let at = self.contents.iter().position(|l| l == line);
            self.contents.remove(at.expect("what goes was there"));
        }
        self.contents.extend(come.iter().cloned());
        self.delta = gone.iter().map(|l| (-1, l.clone())).collect();
        self.delta.extend(come.iter().map(|l| (1, l.clone())));
        if !self.spec.lists_panes() {
            // Every change, and only what has changed.
            let same = |a: &Line, b: &[Line]| b.iter().any(|l| l.row == a.row);
            let (all_gone, all_come) = (gone.clone(), come.clone());
            gone.retain(|l| !same(l, &all_come));
            come.retain(|l| !same(l, &all_gone));
        } else if !self.spec.retracts() {
            gone.clear();
        }
        self.changes = gone.into_iter().map(|l| (-1, l.row)).collect();
        self.changes.extend(come.into_iter().map(|l| (1, l.row)));
    }

    /// Bounds of the windows of a time, in microseconds.
    fn bounds(&self, t: i64) -> Vec<(i64, i64)> {
        let starts = |t: i64, slide: i64, size: i64, offset: i64| -> Vec<(i64, i64)> {
            let first = (t - size + 1..=t).filter(|s| (s - offset).rem_euclid(slide) == 0);
            first.map(|s| (s * MS, (s + size) * MS)).collect()
        };
        match self.spec.kind {
            Kind::None | Kind::Session { .. } | Kind::ProcSession { .. } | Kind::Kept { .. } => vec![],
            Kind::ProcTumble { size } => starts(t, size, size, 0),
            Kind::Tumble { size, offset } => starts(t, size, size, offset),
            Kind::Hop { slide, size, offset } => starts(t, slide.min(size), size, offset),
            Kind::Nested { inner, slide, size } => {
                // `window_time` of the inner window.
                let t = t.div_euclid(inner) * inner + inner - 1;
                starts(t, slide.min(size), size, 0)
            }
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
        let touches = |w: &Window, start, end| w.key == key && w.start <= end && start <= w.end;
        let (touched, apart): (Vec<Window>, Vec<Window>) = std::mem::take(&mut self.windows)
            .into_iter()
            .partition(|w| !w.rows.is_empty() && touches(w, start, end));
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
        // Where a session was of which nothing is left.
        let (emptied, apart): (Vec<Window>, Vec<Window>) = std::mem::take(&mut self.windows)
            .into_iter()
            .partition(|w| w.rows.is_empty() && touches(w, start, end));
        self.windows = apart;
        let touched: Vec<Window> = touched.into_iter().chain(emptied).collect();
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

    /// The rows below the sessions that come and go: one of each window whose greatest value is small.
    fn small(&mut self, rows: &[Row], size: i64) -> (Vec<Row>, Vec<Row>) {
        let row = |(k, end): &(Option<i64>, i64), values: &[Option<i64>]| {
            let v = values.iter().flatten().max().copied().filter(|v| *v < SMALL)?;
            Some(Row { k: *k, t: Some(end - 1), v: Some(v) })
        };
        let before = self.inner.clone();
        for new in rows {
            let end = new.t.map(|t| (t.div_euclid(size) + 1) * size);
            let open = end.filter(|e| self.before < (e * MS).saturating_add(self.spec.emit.lateness_us));
            match open {
                Some(end) => self.inner.entry((new.k, end)).or_default().push(new.v),
                None => self.late += 1,
            }
        }
        let (mut came, mut gone) = (Vec::new(), Vec::new());
        for (window, values) in &self.inner {
            let (old, new) = (before.get(window).and_then(|v| row(window, v)), row(window, values));
            if old != new {
                gone.extend(old);
                came.extend(new);
            }
        }
        (came, gone)
    }

    /// Rows that go, after those that came.
    fn remove(&mut self, gone: &[Row], gap: i64) {
        for row in gone {
            let holds = |w: &&mut Window| w.key == row.k && !w.pane.over && w.rows.contains(row);
            match self.windows.iter_mut().find(holds) {
                Some(window) => {
                    window.rows.retain(|r| r != row);
                    window.lost += 1;
                }
                None => self.late += 1,
            }
        }
        for mut window in std::mem::take(&mut self.windows) {
            let lost = std::mem::take(&mut window.lost);
            window.arrived += lost;
            let mut rows: Vec<(i64, Row)> =
                window.rows.iter().filter_map(|r| Some((r.t? * MS, *r))).collect();
            rows.sort();
            let mut parts: Vec<(i64, i64, Vec<Row>)> = Vec::new();
            for (t, row) in rows {
                match parts.last_mut().filter(|part| t <= part.1) {
                    Some(part) => {
                        part.1 = t + gap;
                        part.2.push(row);
                    }
                    None => parts.push((t, t + gap, vec![row])),
                }
            }
            let whole =
                matches!(parts.as_slice(), [(start, end, _)] if (*start, *end) == (window.start, window.end));
            if lost == 0 || whole {
                self.windows.push(window);
            } else if parts.is_empty() {
                // It stays where a pane of it is shown.
                if window.shown.iter().any(|n| self.live[*n].is_some()) {
                    self.windows.push(window);
                }
            } else {
                for (start, end, rows) in parts {
                    let pane = Model::merged(&self.spec.emit, end, self.before, &[(&window.pane, false)]);
                    let mut part = Window::new(window.key, start, end, pane);
                    (part.rows, part.arrived, part.shown) = (rows, window.arrived, window.shown.clone());
                    self.windows.push(part);
                }
            }
        }
    }
}

impl Window {
    fn new(key: Option<i64>, start: i64, end: i64, pane: Model) -> Window {
        Window { key, start, end, pane, rows: vec![], new: vec![], arrived: 0, lost: 0, shown: vec![] }
    }

    fn take(&mut self, rows: &[Row]) {
        self.arrived += rows.len() as u64;
        self.rows.extend(rows);
        self.new.extend(rows);
    }
}

fn line(spec: &ViewSpec, window: &Window, rows: &[Row], firing: &Firing, times: &EpochTimes) -> Line {
    let mut row = vec![window.key];
    if spec.windowed() {
        row.extend([Some(window.start), Some(window.end)]);
    }
    let values: Vec<i64> = rows.iter().filter_map(|r| r.v).collect();
    let sum = (!values.is_empty()).then(|| values.iter().sum());
    row.extend([Some(rows.len() as i64), sum, values.iter().max().copied()]);
    if !spec.lists_panes() {
        return Line { row, pane: vec![] };
    }
    let pane = vec![
        Some(timing_number(firing.timing.as_str())),
        Some(firing.index),
        Some(firing.nonspeculative_index),
        Some(i64::from(firing.is_first)),
        Some(i64::from(firing.is_last)),
        Some(times.now),
        (times.watermark != i64::MIN).then_some(times.watermark),
    ];
    Line { row, pane }
}

const TIMINGS: [PaneTiming; 3] = [PaneTiming::Early, PaneTiming::OnTime, PaneTiming::Late];

/// What stands for a timing among numbers; −1 for what is none.
pub fn timing_number(name: &str) -> i64 {
    TIMINGS.iter().position(|t| t.as_str() == name).map_or(-1, |i| i as i64)
}

/// Rows of the view as clients get them.
pub fn row_line(spec: &ViewSpec, row: &[Option<i64>]) -> String {
    let cell = |(i, value): (usize, &Option<i64>)| match value {
        Some(bound) if spec.windowed() && (1..3).contains(&i) => {
            // Those of the clock have a zone.
            format!("{}{}", text(*bound), if spec.by_the_clock() { "+00" } else { "" })
        }
        Some(n) => n.to_string(),
        None => "NULL".to_string(),
    };
    row.iter().enumerate().map(cell).collect::<Vec<_>>().join("\t")
}

/// The same with the pane columns.
pub fn whole_line(spec: &ViewSpec, line: &Line) -> String {
    let cell = |(i, value): (usize, &Option<i64>)| match (i, value) {
        (_, None) => "NULL".to_string(),
        (0, Some(n)) => TIMINGS.get(*n as usize).map_or("?", |t| t.as_str()).to_string(),
        (3 | 4, Some(n)) => if *n == 1 { "t" } else { "f" }.to_string(),
        (5 | 6, Some(micros)) => format!("{}+00", text(*micros)),
        (_, Some(n)) => n.to_string(),
    };
    let cells = line.pane.iter().enumerate().map(cell);
    std::iter::once(row_line(spec, &line.row)).chain(cells).collect::<Vec<_>>().join("\t")
}
