//! Joins with versions in the syntax tree.
//!
//! `JOIN b FOR SYSTEM_TIME AS OF t ON c` and `ASOF JOIN b ON c` (the parser tells the latter
//! by `global`) become plain joins whose condition carries a call that `plan/temporal.rs`
//! knows, and whose right relation stands behind `OFFSET 0`, so that no filter is pushed
//! below the choice of the version.

use std::ops::ControlFlow;

use sqlparser::ast::*;

use super::ast::call;
use super::visit::each_query;
use crate::error::{HwError, Result};
use crate::plan::temporal::{AS_OF, LOOKUP, VERSION_AT};
use crate::sql::places::at_name;

/// Rewrites the joins of a statement.
pub fn rewrite<V: VisitMut>(statement: &mut V) -> Result<()> {
    each_query(statement, |query| body(&mut query.body))?;
    match statement.visit(&mut Versions) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(name) => {
            let e = HwError::unsupported(
                format!("{name} FOR SYSTEM_TIME AS OF outside of the right side of a join"),
                "Join the versions: FROM a JOIN b FOR SYSTEM_TIME AS OF a.ts ON a.k = b.k. What a relation was \
                 at a constant time is not kept.",
            );
            Err(at_name(e, first_ident(&name)))
        }
    }
}

/// Breaks at a version that no join has taken.
struct Versions;

impl VisitorMut for Versions {
    type Break = ObjectName;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<ObjectName> {
        match factor {
            TableFactor::Table { name, version: Some(_), .. } => ControlFlow::Break(name.clone()),
            _ => ControlFlow::Continue(()),
        }
    }
}

fn body(set: &mut SetExpr) -> Result<()> {
    match set {
        SetExpr::Select(select) => select.from.iter_mut().flat_map(|f| &mut f.joins).try_for_each(join),
        SetExpr::SetOperation { left, right, .. } => {
            body(left)?;
            body(right)
        }
        _ => Ok(()),
    }
}

fn first_ident(name: &ObjectName) -> Option<&Ident> {
    name.0.first().and_then(|part| part.as_ident())
}

/// A join that is refused is told at its right relation.
fn join(join: &mut Join) -> Result<()> {
    let place = match &join.relation {
        TableFactor::Table { name, .. } => first_ident(name).cloned(),
        TableFactor::Derived { alias: Some(alias), .. } => Some(alias.name.clone()),
        _ => None,
    };
    versions(join).map_err(|e| at_name(e, place.as_ref()))
}

fn versions(join: &mut Join) -> Result<()> {
    let version = match &mut join.relation {
        TableFactor::Table { version, .. } => version.take(),
        _ => None,
    };
    let (name, time) = match version {
        Some(TableVersion::ForSystemTimeAsOf(time)) if is_proctime(&time) => (LOOKUP, None),
        Some(TableVersion::ForSystemTimeAsOf(time)) => (VERSION_AT, Some(time)),
        Some(other) => {
            return Err(HwError::unsupported(format!("a join with {other}"), "Write FOR SYSTEM_TIME AS OF."));
        }
        None if join.global => (AS_OF, None),
        None => return Ok(()),
    };
    join.global = false;
    let on = match &mut join.join_operator {
        JoinOperator::Join(c) | JoinOperator::Inner(c) => c,
        JoinOperator::Left(c) | JoinOperator::LeftOuter(c) => c,
        _ => {
            return Err(HwError::unsupported(
                "this kind of join with versions",
                "Join the versions with JOIN or LEFT JOIN … ON.",
            ));
        }
    };
    let JoinConstraint::On(condition) = on else {
        return Err(HwError::unsupported("USING with versions", "Write the condition out: ON a.k = b.k."));
    };
    if !has_equality(condition) {
        return Err(HwError::unsupported(
            "a join with versions without an equality in ON",
            "Add the key: ON a.k = b.k.",
        ));
    }
    let mut arguments: Vec<Expr> = time.into_iter().collect();
    arguments.push(condition.clone());
    let marked = Expr::BinaryOp {
        left: Box::new(Expr::Nested(Box::new(condition.clone()))),
        op: BinaryOperator::And,
        right: Box::new(call(name, arguments)),
    };
    *condition = marked;
    barrier(&mut join.relation)
}

/// Whether one of the conditions is an equality of columns.
fn has_equality(condition: &Expr) -> bool {
    let of_columns = |e: &Expr| {
        let found = visit_expressions(e, |e| match e {
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        });
        found.is_break()
    };
    match condition {
        Expr::Nested(inner) => has_equality(inner),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => has_equality(left) || has_equality(right),
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => of_columns(left) && of_columns(right),
        _ => false,
    }
}

fn is_proctime(e: &Expr) -> bool {
    matches!(e, Expr::Function(f) if f.name.to_string().eq_ignore_ascii_case("proctime"))
}

/// `t` as `(SELECT * FROM t OFFSET 0) AS t`.
fn barrier(relation: &mut TableFactor) -> Result<()> {
    let TableFactor::Table { name, alias, .. } = relation else {
        return Err(HwError::unsupported(
            "a join with versions of a sub-query",
            "Make the sub-query a view and name the view.",
        ));
    };
    let own = name.0.last().and_then(|part| part.as_ident()).cloned();
    let alias = match (alias.take(), own) {
        (Some(alias), _) => alias,
        (None, Some(name)) => TableAlias { explicit: true, name, columns: Vec::new(), at: None },
        (None, None) => return Err(HwError::internal("a relation without a name")),
    };
    let query = all_of(name)?;
    *relation =
        TableFactor::Derived { lateral: false, subquery: Box::new(query), alias: Some(alias), sample: None };
    Ok(())
}

/// `SELECT * FROM name OFFSET 0`.
fn all_of(name: &ObjectName) -> Result<Query> {
    let mut statements = crate::sql::parse_sql(&format!("SELECT * FROM {name} OFFSET 0"))?;
    match statements.pop().map(|s| s.kind) {
        Some(crate::sql::ast::StatementKind::Query(query)) => Ok(*query),
        _ => Err(HwError::internal("a relation's name is no query")),
    }
}
