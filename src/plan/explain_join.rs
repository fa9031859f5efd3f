//! A join in one line of EXPLAIN: its kind, its keys, its further condition, where it runs.

use super::explain::{column_name, show};
use super::*;

pub(super) fn join(plan: &StreamPlan, n: &StreamNode, j: &JoinNode) -> String {
    let name = |side: usize, column: usize| match n.children.get(side) {
        Some(child) => column_name(&plan.nodes[*child], column),
        None => format!("c{column}"),
    };
    let equals = if j.null_equal { "is not distinct from" } else { "=" };
    let pairs: Vec<String> = (j.left_keys.iter().zip(&j.right_keys))
        .map(|(l, r)| format!("{} {equals} {}", name(0, *l), name(1, *r)))
        .collect();
    let keys = if pairs.is_empty() { "true".into() } else { pairs.join(" and ") };
    let residual = j.residual.as_ref().map_or_else(String::new, |r| format!(" and {}", show(r, None)));
    let replicated = match super::distribute::replicated_side(plan, n) {
        None => "",
        Some(0) => ", left side on every worker",
        Some(_) => ", right side on every worker",
    };
    format!("{} on {keys}{residual}{replicated}", kind(j, &name))
}

fn kind(j: &JoinNode, name: &dyn Fn(usize, usize) -> String) -> String {
    let side = match j.kind {
        JoinKind::Inner => "",
        JoinKind::Left => "left ",
        JoinKind::Full => "full ",
        JoinKind::Semi => "semi ",
        JoinKind::Anti { .. } => "anti ",
        JoinKind::Mark => "mark ",
    };
    let judged = |i: &&JoinInterval| i.late_us.is_some();
    let by_time = j.interval.as_ref().filter(judged).map(|i| i.by_window);
    let by_window = by_time == Some(true) || j.window.as_ref().is_some_and(|w| w.judged != [false; 2]);
    let what = match &j.temporal {
        Some(Temporal::Lookup) => "lookup join".into(),
        Some(Temporal::AsOf { times, strict, .. }) => {
            let op = if *strict { ">" } else { ">=" };
            format!("as-of join ({} {op} {})", name(0, times[0]), name(1, times[1]))
        }
        Some(Temporal::Constant) if j.kind == (JoinKind::Anti { null_aware: true }) => {
            "join with constants (NOT IN)".into()
        }
        Some(Temporal::Constant) => "join with constants".into(),
        None if by_window => "window join".into(),
        None if by_time.is_some() => "interval join".into(),
        None if j.kind == (JoinKind::Anti { null_aware: true }) => "join (NOT IN)".into(),
        None => "join".to_string(),
    };
    let mut text = format!("{side}{what}");
    text[..1].make_ascii_uppercase();
    text
}
