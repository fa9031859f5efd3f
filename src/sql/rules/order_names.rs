//! Names in ORDER BY: one that stands alone is an output column's first, in an expression every name
//! is an input column's.
//!
//! DataFusion looks at the output columns first everywhere. Where an expression of ORDER BY has a name
//! that is also an alias, the select list gets aliases that nothing else is named like; a subquery then
//! has its names back from a query around it, and the names of a statement travel beside its plan.

use std::ops::ControlFlow;

use sqlparser::ast::*;

use super::names::item_name;
use super::rows::{as_query, select_nothing};
use crate::error::{HwError, Result};
use crate::sql::parser::fold_identifier;

/// Rewrites every query of a tree.
pub fn rewrite<V: VisitMut>(tree: &mut V) -> Result<()> {
    match tree.visit(&mut Orders { depth: 0 }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(e) => Err(e),
    }
}

struct Orders {
    depth: usize,
}

impl VisitorMut for Orders {
    type Break = HwError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<HwError> {
        let names = rename(query);
        if self.depth > 0
            && let Some(names) = names
            && let Err(e) = wrap(query, names)
        {
            return ControlFlow::Break(e);
        }
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<HwError> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}

fn alias(at: usize) -> Ident {
    Ident::with_quote('"', format!("__output:{}", at + 1))
}

/// Gives the select list aliases of its own if ORDER BY needs it; the names that it had, then.
fn rename(query: &mut Query) -> Option<Vec<String>> {
    let SetExpr::Select(select) = query.body.as_mut() else { return None };
    let OrderByKind::Expressions(keys) = &mut query.order_by.as_mut()?.kind else { return None };
    let aliases: Vec<Option<String>> = select.projection.iter().map(own_alias).collect();
    let clash = |key: &OrderByExpr| alone(&key.expr).is_none() && names(&key.expr, &aliases);
    if !keys.iter().any(clash) {
        return None;
    }
    // Columns of a wildcard keep their names.
    let had = select.projection.iter().map(item_name).collect::<Option<Vec<_>>>()?;
    let firsts = match &mut select.distinct {
        Some(Distinct::On(firsts)) => firsts.as_mut_slice(),
        _ => &mut [],
    };
    for expr in keys.iter_mut().map(|k| &mut k.expr).chain(firsts) {
        let item = |item: &SelectItem| match item {
            SelectItem::ExprWithAlias { expr: e, .. } | SelectItem::UnnamedExpr(e) => e == expr,
            _ => false,
        };
        let at = match alone(expr) {
            Some(name) => had.iter().position(|n| *n == name),
            None => select.projection.iter().position(item),
        };
        if let Some(at) = at {
            *expr = Expr::Identifier(alias(at));
        }
    }
    for (at, item) in select.projection.iter_mut().enumerate() {
        if let SelectItem::ExprWithAlias { expr, .. } | SelectItem::UnnamedExpr(expr) = item {
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: alias(at) };
        }
    }
    Some(had)
}

/// An alias, unless it is its column's own name.
fn own_alias(item: &SelectItem) -> Option<String> {
    let SelectItem::ExprWithAlias { expr, alias } = item else { return None };
    let alias = fold_identifier(alias);
    match expr {
        Expr::Identifier(name) if fold_identifier(name) == alias => None,
        _ => Some(alias),
    }
}

/// The name if that is all; parentheses are nothing.
fn alone(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(name) => Some(fold_identifier(name)),
        Expr::Nested(inner) => alone(inner),
        // A place in the select list.
        Expr::Value(_) => Some(String::new()),
        _ => None,
    }
}

/// Whether an expression has one of the names.
fn names(expr: &Expr, aliases: &[Option<String>]) -> bool {
    let named = |name: &Ident| aliases.contains(&Some(fold_identifier(name)));
    let walked = visit_expressions(expr, |e| {
        let found = match e {
            Expr::Identifier(name) => named(name),
            Expr::CompoundIdentifier(parts) => parts.last().is_some_and(named),
            _ => false,
        };
        if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    walked.is_break()
}

/// `SELECT … AS "__output:1" … ORDER BY …` in a query that names its columns.
fn wrap(query: &mut Query, names: Vec<String>) -> Result<()> {
    let with = query.with.take();
    let inner = std::mem::replace(
        query,
        as_query(SetExpr::Values(Values { explicit_row: false, value_keyword: false, rows: vec![] })),
    );
    let item = |(at, name): (usize, String)| SelectItem::ExprWithAlias {
        expr: Expr::Identifier(alias(at)),
        alias: Ident::with_quote('"', name),
    };
    let mut select = select_nothing()?;
    select.projection = names.into_iter().enumerate().map(item).collect();
    let named = TableAlias { explicit: true, name: Ident::new("__ordered"), columns: vec![], at: None };
    let relation =
        TableFactor::Derived { lateral: false, subquery: Box::new(inner), alias: Some(named), sample: None };
    select.from = vec![TableWithJoins { relation, joins: vec![] }];
    *query.body = SetExpr::Select(Box::new(select));
    query.with = with;
    Ok(())
}
