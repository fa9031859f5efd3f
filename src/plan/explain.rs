//! The streaming plan as text, for EXPLAIN.
//!
//! One line a node, root first, children indented: what it does, then in brackets what the
//! planner knows: `append-only` or `retracting`, the unique key, event-time columns, and how
//! its state is bounded. A node used twice is printed once and referred to by its number.

use super::expr::PExpr;
use super::*;
use crate::types::window::Shape;

pub(super) fn explain(plan: &StreamPlan, note: &dyn Fn(NodeId) -> Option<String>) -> Vec<String> {
    let mut page = Page { plan, note, printed: vec![false; plan.nodes.len()], lines: Vec::new() };
    page.node(plan.root, 0);
    page.lines
}

/// The lines so far.
struct Page<'a> {
    plan: &'a StreamPlan,
    /// What stands behind the line of a node.
    note: &'a dyn Fn(NodeId) -> Option<String>,
    printed: Vec<bool>,
    lines: Vec<String>,
}

impl Page<'_> {
    fn node(&mut self, id: NodeId, depth: usize) {
        let plan = self.plan;
        let n = &plan.nodes[id];
        let indent = if depth == 0 { String::new() } else { format!("{}->  ", "  ".repeat(depth * 2 - 1)) };
        if self.printed[id] {
            self.lines.push(format!("{indent}shared with node {id}"));
            return;
        }
        self.printed[id] = true;
        let shared =
            plan.nodes.iter().map(|x| x.children.iter().filter(|c| **c == id).count()).sum::<usize>() > 1;
        let label = if shared { format!("node {id}: ") } else { String::new() };
        let note = (self.note)(id).map_or_else(String::new, |note| format!(" ({note})"));
        self.lines.push(format!("{indent}{label}{} [{}]{note}", describe(plan, n), facts(n)));
        if let StreamOp::Recursive(query) = &n.op {
            self.node(n.children[0], depth + 1);
            self.step(n, query, query.step.root, depth + 1);
            return;
        }
        for child in &n.children {
            self.node(*child, depth + 1);
        }
    }

    /// The nodes of a recursive query's step, down to the nodes outside that it reads.
    fn step(&mut self, of: &StreamNode, query: &RecursiveNode, id: NodeId, depth: usize) {
        let n = &query.step.nodes[id];
        let indent = format!("{}->  ", "  ".repeat(depth * 2 - 1));
        match n.op {
            StreamOp::Input { input } => return self.node(of.children[input + 1], depth),
            StreamOp::Working { .. } => {
                return self.lines.push(format!("{indent}Rows of {} in the round before", query.name));
            }
            _ => self.lines.push(format!("{indent}{} [{}]", describe(&query.step, n), facts(n))),
        }
        for child in &n.children {
            self.step(of, query, *child, depth + 1);
        }
    }
}

fn recursive(n: &StreamNode, query: &RecursiveNode) -> String {
    let how = match query.mode {
        RecursionMode::Bag => "UNION ALL, changes go through the step until none is left",
        RecursionMode::Growing => "UNION, rows not seen before go through the step",
        RecursionMode::Rounds { .. } => "UNION, derivations of each row counted by round",
    };
    let key: Vec<String> = query.key.iter().map(|c| column_name(n, *c)).collect();
    let place = match key.is_empty() {
        true => "on one worker".to_string(),
        false => format!("by ({}), which the step keeps", key.join(", ")),
    };
    format!("Recursive {}: {how}, {place}", query.name)
}

fn describe(plan: &StreamPlan, n: &StreamNode) -> String {
    let child = n.children.first().map(|c| &plan.nodes[*c]);
    let name = |i: usize| child.map_or_else(|| format!("c{i}"), |c| column_name(c, i));
    let list = |columns: &[usize]| columns.iter().map(|c| name(*c)).collect::<Vec<_>>().join(", ");
    match &n.op {
        StreamOp::Input { input } => format!("Read {}", plan.inputs[*input].name),
        StreamOp::Map { filter, exprs } => {
            let columns = exprs.iter().map(|e| show(e, child)).collect::<Vec<_>>().join(", ");
            match filter {
                Some(f) => format!("Map {columns} where {}", show(f, child)),
                None => format!("Map {columns}"),
            }
        }
        StreamOp::WindowAssign(w) => format!("{} rows to each window", window(w)),
        StreamOp::SessionAssign(s) => format!("{} by ({}): rows to their session", session(s), list(&s.keys)),
        StreamOp::Retain { end, retention_us, .. } => {
            format!("Retain rows until {} plus {}s", name(*end), *retention_us as f64 / 1e6)
        }
        StreamOp::Expire(e) => {
            format!("Expire rows of ({}) untouched for {}s", list(&e.keys), e.ttl_us as f64 / 1e6)
        }
        StreamOp::WindowColumns { start, end } => {
            format!("Windows from {} to {} of each row", name(*start), name(*end))
        }
        StreamOp::Union => "Union all".into(),
        StreamOp::ChangelogTrigger(spec) => {
            format!("Changes of the whole view, {}", super::explain_emit::emit(spec, false))
        }
        StreamOp::SetOp(kind) => format!("{kind} by counts of each row"),
        StreamOp::Recursive(query) => recursive(n, query),
        StreamOp::Working { .. } => "Rows of the round before".into(),
        StreamOp::Constant(rows) => format!("Constant rows: {}", rows.num_rows()),
        StreamOp::TemporalFilter(bounds) => format!("Keep rows while {}", temporal(bounds, &name)),
        StreamOp::Unnest(columns) => format!("Unnest {}", list(&unnested(columns))),
        StreamOp::TopN(t) => super::explain_order::top_n(t, &name),
        StreamOp::Over(o) => super::explain_order::over(o, &name),
        StreamOp::Aggregate(a) | StreamOp::LocalAggregate(a) => {
            let calls = a.calls.iter().map(|c| call(c, &name)).collect::<Vec<_>>().join(", ");
            let window = match &a.window {
                Some(AggregateWindow::Fused(w)) => format!(", {} in shared slices", window(w)),
                Some(AggregateWindow::Session(s)) => {
                    let rows =
                        if child.is_some_and(|c| c.facts.append_only) { "" } else { ", with their rows" };
                    format!(", {} kept here{rows}", session(s))
                }
                Some(AggregateWindow::Keyed { end, .. }) => format!(", window end {}", name(a.group[*end])),
                None => String::new(),
            };
            let emit = super::explain_emit::emit(&a.emit, a.window.is_some());
            let append = child.is_some_and(|c| c.facts.append_only);
            let strategies: Vec<&str> = a.calls.iter().map(|c| strategy(c, append)).collect();
            let how =
                if strategies.is_empty() { String::new() } else { format!(" ({})", strategies.join(", ")) };
            let what = match &n.op {
                StreamOp::LocalAggregate(_) => "Aggregate on each worker",
                _ => "Aggregate",
            };
            format!("{what} {calls} by ({}){window}, {emit}{how}", list(&a.group))
        }
        StreamOp::Join(j) => super::explain_join::join(plan, n, j),
    }
}

/// The input columns whose elements become rows.
fn unnested(columns: &[UnnestColumn]) -> Vec<usize> {
    let elements = |c: &UnnestColumn| match c {
        UnnestColumn::Elements(i) => Some(*i),
        UnnestColumn::Repeat(_) => None,
    };
    columns.iter().filter_map(elements).collect()
}

/// How a call is maintained; the same rule the operator follows.
pub(super) fn strategy(call: &AggregateCall, append_only: bool) -> &'static str {
    use AggregateFunction as F;
    match call.function {
        F::Materialized(_) => "materialized input, re-evaluated",
        _ if call.distinct => "materialized input",
        F::Min | F::Max | F::FirstRow | F::LastRow if append_only => "append only",
        F::Min | F::Max | F::FirstRow | F::LastRow => "materialized input",
        _ => "linear",
    }
}

fn call(c: &AggregateCall, name: &dyn Fn(usize) -> String) -> String {
    use AggregateFunction as F;
    let function = match &c.function {
        F::CountStar | F::Count => "count",
        F::AddCounts => "sum of counts",
        F::SumInt | F::SumBig | F::SumDecimal | F::SumFloat => "sum",
        F::AvgInt | F::AvgDecimal | F::AvgFloat => "avg",
        F::Min => "min",
        F::Max => "max",
        F::BoolAnd => "bool_and",
        F::BoolOr => "bool_or",
        F::BitAnd => "bit_and",
        F::BitOr => "bit_or",
        F::BitXor => "bit_xor",
        F::Moments(statistic) => statistic.name(),
        F::Percentile(_) => "approx_percentile_cont",
        F::FirstRow => "first_value",
        F::LastRow => "last_value",
        F::Materialized(f) => f.fun().name(),
    };
    let list = |columns: &[usize]| columns.iter().map(|c| name(*c)).collect::<Vec<_>>().join(", ");
    let mut argument = if c.arguments.is_empty() { "*".into() } else { list(&c.arguments) };
    if !c.order_by.is_empty() {
        let keys: Vec<String> = (c.order_by.iter())
            .map(|(column, o)| format!("{}{}", name(*column), if o.descending { " desc" } else { "" }))
            .collect();
        argument = format!("{argument} order by {}", keys.join(", "));
    }
    let distinct = if c.distinct { "distinct " } else { "" };
    let filter = c.filter.map_or_else(String::new, |f| format!(" filter ({})", name(f)));
    format!("{function}({distinct}{argument}){filter}")
}

fn window(w: &WindowAssign) -> String {
    let seconds = |us: i64| format!("{}s", us as f64 / 1e6);
    let (size, slide) = (seconds(w.windows.size_us()), seconds(w.windows.slide_us()));
    let clock = clock(&w.time);
    let zone = w.windows.zone().map_or_else(String::new, |zone| format!(" in {}", zone.name()));
    match w.windows.shape() {
        Shape::Tumble => format!("tumble {size} of {clock}{zone}"),
        Shape::Hop => format!("hop {size} by {slide} of {clock}{zone}"),
        Shape::Cumulate => format!("cumulate {size} by {slide} of {clock}{zone}"),
    }
}

fn session(s: &SessionAssign) -> String {
    format!("session gap {}s of {}", s.gap_us as f64 / 1e6, clock(&s.time))
}

fn clock(time: &WindowTime) -> &'static str {
    match time {
        WindowTime::Event { .. } => "event time",
        WindowTime::Processing => "processing time",
        WindowTime::Unbounded => "a column without watermark",
    }
}

fn temporal(bounds: &[(usize, TemporalBound)], name: &dyn Fn(usize) -> String) -> String {
    let bound = |(column, b): &(usize, TemporalBound)| {
        let op = if b.until { "<" } else { ">=" };
        format!("now() {op} {} + {}s", name(*column), b.shift_us as f64 / 1e6)
    };
    bounds.iter().map(bound).collect::<Vec<_>>().join(" and ")
}

fn facts(n: &StreamNode) -> String {
    let mut parts =
        vec![if n.facts.append_only { "append-only".to_string() } else { "retracting".to_string() }];
    if let Some(key) = n.facts.unique_key.as_ref().filter(|k| !k.is_empty()) {
        parts
            .push(format!("key ({})", key.iter().map(|k| column_name(n, *k)).collect::<Vec<_>>().join(", ")));
    }
    let times: Vec<String> = (n.facts.columns.iter().enumerate())
        .filter(|(_, c)| {
            matches!(
                c,
                ColumnFact::EventTime { .. } | ColumnFact::WindowEnd { time: WindowTime::Event { .. } }
            )
        })
        .map(|(i, _)| column_name(n, i))
        .collect();
    if !times.is_empty() {
        parts.push(format!("watermark on {}", times.join(", ")));
    }
    match &n.facts.state {
        StateBound::None => {}
        StateBound::Pending => parts.push("state: the changes since the last firing".into()),
        StateBound::Interval => parts.push("state dropped when both watermarks have passed".into()),
        StateBound::Window => parts.push("state dropped when the window closes".into()),
        StateBound::Rows(n) => parts.push(format!("keeps at most {n} rows")),
        StateBound::Watermark(how) => parts.push(how.clone()),
        StateBound::Clock => parts.push("state dropped when the clock has passed it".into()),
        StateBound::Fixed => parts.push("state: as many rows whatever comes".into()),
        StateBound::Tables => parts.push("state bounded by the tables that it reads".into()),
        StateBound::Ttl(ttl) => parts.push(format!("state dropped after {}s untouched", *ttl as f64 / 1e6)),
        StateBound::Unbounded(why) => parts.push(format!("this state grows without bound, because: {why}")),
    }
    parts.join("; ")
}

pub(super) fn column_name(n: &StreamNode, i: usize) -> String {
    n.schema
        .fields()
        .get(i)
        .map_or_else(|| format!("c{i}"), |f| f.name().replace("count(Int64(1))", "count(*)"))
}

/// An expression with the child's column names in place of `c3@3`.
pub(super) fn show(e: &PExpr, child: Option<&StreamNode>) -> String {
    let mut text = e.to_string();
    let mut columns = super::expr::columns_of(e);
    columns.reverse();
    for c in columns {
        let name = child.map_or_else(|| format!("c{c}"), |n| column_name(n, c));
        text = text.replace(&format!("c{c}@{c}"), &name);
    }
    text
}
