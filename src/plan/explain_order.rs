//! Top-n and window functions as EXPLAIN prints them.

use super::expr::{self, PExpr};
use super::*;
use crate::types::order::{Ranking, SortKey};

pub(super) fn top_n(node: &TopNNode, name: &dyn Fn(usize) -> String) -> String {
    let numbers = match (node.range.first, node.range.last) {
        (1, Some(last)) => format!("{last} first"),
        (first, Some(last)) => format!("{first}. to {last}."),
        (first, None) => format!("from {first}."),
    };
    let what = match node.ranking {
        Ranking::RowNumber => "rows".to_string(),
        ranking => format!("by {}", ranking.function()),
    };
    let groups = match node.partition.is_empty() {
        true => String::new(),
        false => format!(" by ({})", list(&node.partition, name)),
    };
    let keeps = match (node.keep, node.range.last) {
        (KeptRows::First, Some(last)) if node.ranking == Ranking::RowNumber => {
            let each = if node.partition.is_empty() { "" } else { " a group" };
            format!("keeps {last} row{}{each}", if last == 1 { "" } else { "s" })
        }
        (KeptRows::First, _) => "keeps the rows in range of each group".into(),
        (KeptRows::All, _) => "keeps all rows".into(),
    };
    let rank = node.rank.as_ref().map_or_else(String::new, |f| format!(", numbered as {}", f.name()));
    let emit = if node.on_close { ", emit on window close" } else { "" };
    format!("Top-n{groups}: {numbers} {what}{}{rank}{emit} ({keeps})", order(&node.order, name))
}

pub(super) fn over(node: &OverNode, name: &dyn Fn(usize) -> String) -> String {
    let calls = node.calls.iter().map(|c| call(c, name)).collect::<Vec<_>>().join(", ");
    let emit = if node.on_close { ", emit when final" } else { "" };
    let partition = list(&node.partition, name);
    let order = order(&node.order, name);
    format!("Over {calls} by ({partition}){order}{emit} ({})", node.reach)
}

fn call(call: &OverCall, name: &dyn Fn(usize) -> String) -> String {
    let arg = |e: &PExpr| expr::as_column(e).map_or_else(|| e.to_string(), name);
    let framed = FrameCall::of(&call.function);
    let (args, last) = match (framed, call.args.split_last()) {
        (Some(f), Some((last, args))) if f.filtered => (args, Some(arg(last))),
        _ => (call.args.as_slice(), None),
    };
    let args = args.iter().map(arg).collect::<Vec<_>>().join(", ");
    let distinct = if call.distinct || framed.is_some_and(|f| f.distinct) { "distinct " } else { "" };
    let filter = call.filter.map(name).or(last).map_or_else(String::new, |f| format!(" filter ({f})"));
    let excluding = match framed.map(|f| f.excluded) {
        None | Some(Excluded::Nothing) => String::new(),
        Some(excluded) => format!(" excluding {excluded}"),
    };
    format!("{}({distinct}{args}){filter}{excluding}", call.function.name())
}

fn list(columns: &[usize], name: &dyn Fn(usize) -> String) -> String {
    columns.iter().map(|c| name(*c)).collect::<Vec<_>>().join(", ")
}

/// ` order by a, b desc`; where NULLs stand is left out if it is PostgreSQL's default.
fn order(keys: &[SortKey], name: &dyn Fn(usize) -> String) -> String {
    if keys.is_empty() {
        return String::new();
    }
    let one = |k: &SortKey| {
        let direction = if k.descending { " desc" } else { "" };
        let nulls = match (k.nulls_first, k.descending) {
            (true, false) => " nulls first",
            (false, true) => " nulls last",
            _ => "",
        };
        format!("{}{direction}{nulls}", name(k.column))
    };
    format!(" order by {}", keys.iter().map(one).collect::<Vec<_>>().join(", "))
}
