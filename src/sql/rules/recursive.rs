//! WITH RECURSIVE in the syntax tree, by PostgreSQL's rules.
//!
//! Queries of a WITH RECURSIVE may name each other in any order; they are put in the order in
//! which they are needed. A query that names itself must be `base UNION [ALL] step` with one
//! reference, in a place where each row counts by itself (PostgreSQL's parse_cte.c); it becomes
//! a call in FROM, which [`crate::sql::recursion`] plans, and its reference to itself another.
//! Afterwards no WITH is recursive.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::ControlFlow;

use sqlparser::ast::*;

use super::references::{Context, References, mentions};
use super::rows::{as_query, select_from};
use crate::error::{HwError, Result, sqlstate};
use crate::plan::RECURSION_NAME_SEPARATOR;
use crate::sql::parser::fold_identifier;

/// The call in FROM that stands for a recursive query: name, UNION or UNION ALL, base, step and
/// column names.
pub const RECURSIVE_QUERY: &str = "headwater recursive query";
/// The call in FROM that stands for its rows, inside its step.
pub const WORKING_TABLE: &str = "headwater working table";

/// Rewrites the WITH clause of a query; the queries inside are visited by the caller.
pub fn rewrite(query: &mut Query) -> Result<()> {
    let Some(with) = query.with.as_mut().filter(|w| w.recursive) else { return Ok(()) };
    with.recursive = false;
    let ctes = std::mem::take(&mut with.cte_tables);
    for cte in in_order(ctes)? {
        let name = fold_identifier(&cte.alias.name);
        let cte = match mentions(&name, cte.query.as_ref()) {
            true => recursive(&name, cte)?,
            false => cte,
        };
        with.cte_tables.push(cte);
    }
    Ok(())
}

/// The queries, each after those that it names.
fn in_order(ctes: Vec<Cte>) -> Result<Vec<Cte>> {
    let names: Vec<String> = ctes.iter().map(|cte| fold_identifier(&cte.alias.name)).collect();
    if let Some(twice) = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
        let message = format!("WITH query name \"{}\" specified more than once", twice.1);
        return Err(HwError::new(sqlstate::DUPLICATE_ALIAS, message));
    }
    let needs = |cte: &Cte, own: usize| -> Vec<usize> {
        (0..names.len()).filter(|i| *i != own && mentions(&names[*i], cte.query.as_ref())).collect()
    };
    let needs: Vec<Vec<usize>> = ctes.iter().enumerate().map(|(own, cte)| needs(cte, own)).collect();
    let mut waiting: Vec<Option<Cte>> = ctes.into_iter().map(Some).collect();
    let mut placed = vec![false; waiting.len()];
    let mut ordered = Vec::with_capacity(waiting.len());
    while ordered.len() < waiting.len() {
        let next = (0..waiting.len()).find(|i| !placed[*i] && needs[*i].iter().all(|n| placed[*n]));
        let Some(next) = next else {
            return Err(HwError::new(
                sqlstate::FEATURE_NOT_SUPPORTED,
                "mutual recursion between WITH items is not implemented",
            )
            .with_hint(
                "Write one recursive query whose rows say in a column to which of them they belong.",
            ));
        };
        placed[next] = true;
        ordered.extend(waiting[next].take());
    }
    Ok(ordered)
}

fn invalid(message: String) -> HwError {
    HwError::new(sqlstate::INVALID_RECURSION, message)
}

/// `x AS (base UNION [ALL] step)` as `x AS (SELECT * FROM recursive query)`.
fn recursive(name: &str, mut cte: Cte) -> Result<Cte> {
    let mut hasher = DefaultHasher::new();
    cte.to_string().hash(&mut hasher);
    let unique = format!("{name}{RECURSION_NAME_SEPARATOR}{:016x}", hasher.finish());
    let query = unwrapped(*cte.query);
    let form = || {
        let form = "non-recursive-term UNION [ALL] recursive-term";
        invalid(format!("recursive query \"{name}\" does not have the form {form}"))
    };
    let (left, right, all) = match *query.body {
        SetExpr::SetOperation { op: SetOperator::Union, left, right, set_quantifier } => {
            (left, right, matches!(set_quantifier, SetQuantifier::All))
        }
        _ => return Err(form()),
    };
    let mut references = References::new(name);
    references.with(query.with.as_ref())?;
    references.set(&left, Context::NonRecursive)?;
    references.set(&right, Context::Ok)?;
    let refused = [
        ("ORDER BY", query.order_by.is_some()),
        ("OFFSET", matches!(&query.limit_clause, Some(LimitClause::LimitOffset { offset: Some(_), .. }))),
        ("LIMIT", query.limit_clause.is_some() || query.fetch.is_some()),
        ("FOR UPDATE/SHARE", !query.locks.is_empty()),
    ];
    if let Some((what, _)) = refused.iter().find(|(_, is)| *is) {
        let message = format!("{what} in a recursive query is not implemented");
        return Err(HwError::new(sqlstate::FEATURE_NOT_SUPPORTED, message)
            .with_hint("Order or limit the result of the recursive query."));
    }
    let term = |body: Box<SetExpr>| {
        let mut term = as_query(*body);
        if let Some(outer) = &query.with {
            match &mut term.with {
                Some(with) => drop(with.cte_tables.splice(0..0, outer.cte_tables.iter().cloned())),
                with => *with = Some(outer.clone()),
            }
        }
        term
    };
    let (base, mut step) = (term(left), term(right));
    let _ = VisitMut::visit(&mut step, &mut Replace { name, unique: &unique, shadowed: 0 });
    let text = |text: &str| Expr::Value(Value::SingleQuotedString(text.into()).into());
    let mut args = vec![text(&unique), text(if all { "ALL" } else { "" })];
    args.extend([base, step].map(|q| Expr::Subquery(Box::new(q))));
    args.extend(std::mem::take(&mut cte.alias.columns).iter().map(|c| text(&fold_identifier(&c.name))));
    *cte.query = as_query(select_from(function(RECURSIVE_QUERY, args, None))?);
    Ok(cte)
}

/// The query inside parentheses that hold nothing else.
fn unwrapped(mut query: Query) -> Query {
    loop {
        let plain = query.with.is_none()
            && query.order_by.is_none()
            && query.limit_clause.is_none()
            && query.fetch.is_none()
            && query.locks.is_empty();
        match *query.body {
            SetExpr::Query(inner) if plain => query = *inner,
            body => {
                *query.body = body;
                return query;
            }
        }
    }
}

fn function(name: &str, args: Vec<Expr>, alias: Option<TableAlias>) -> TableFactor {
    TableFactor::Function {
        lateral: false,
        name: ObjectName::from(vec![Ident::with_quote('"', name)]),
        args: args.into_iter().map(|a| FunctionArg::Unnamed(FunctionArgExpr::Expr(a))).collect(),
        with_ordinality: false,
        alias,
    }
}

/// Puts the call for the rows of the recursive query in the place of its name.
struct Replace<'a> {
    name: &'a str,
    unique: &'a str,
    /// Queries around that give the name another meaning.
    shadowed: usize,
}

impl Replace<'_> {
    fn shadows(&self, query: &Query) -> bool {
        query.with.iter().flat_map(|w| &w.cte_tables).any(|cte| fold_identifier(&cte.alias.name) == self.name)
    }
}

impl VisitorMut for Replace<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.shadowed += usize::from(self.shadows(query));
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.shadowed -= usize::from(self.shadows(query));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, alias, args: None, .. } = factor
            && self.shadowed == 0
            && let [ObjectNamePart::Identifier(ident)] = name.0.as_slice()
            && fold_identifier(ident) == self.name
        {
            let plain = || TableAlias { explicit: true, name: ident.clone(), columns: vec![], at: None };
            let alias = alias.clone().unwrap_or_else(plain);
            let arg = Expr::Value(Value::SingleQuotedString(self.unique.into()).into());
            *factor = function(WORKING_TABLE, vec![arg], Some(alias));
        }
        ControlFlow::Continue(())
    }
}
