//! Where a recursive query names itself, and whether it may do so there.
//!
//! The rules and messages are PostgreSQL's: once, not in the non-recursive term, not in a
//! subquery of an expression, not on a side of an outer join that may be filled with NULLs, not
//! below what needs all rows at once.

use std::ops::ControlFlow;

use sqlparser::ast::*;

use crate::error::{HwError, Result, sqlstate};
use crate::sql::context::is_aggregate;
use crate::sql::parser::fold_identifier;

/// Around a reference.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Context {
    Ok,
    NonRecursive,
    Subquery,
    OuterJoin,
    Intersect,
    Except,
}

impl Context {
    fn words(self) -> Option<&'static str> {
        Some(match self {
            Context::Ok => return None,
            Context::NonRecursive => "its non-recursive term",
            Context::Subquery => "a subquery",
            Context::OuterJoin => "an outer join",
            Context::Intersect => "INTERSECT",
            Context::Except => "EXCEPT",
        })
    }
}

/// Whether a part of a query names the relation `name`.
pub fn mentions<V: Visit>(name: &str, part: &V) -> bool {
    count(name, part) > 0
}

fn count<V: Visit>(name: &str, part: &V) -> usize {
    let mut counter = Counter { name, count: 0, shadowed: 0 };
    let _ = part.visit(&mut counter);
    counter.count
}

struct Counter<'a> {
    name: &'a str,
    count: usize,
    shadowed: usize,
}

fn shadows(name: &str, query: &Query) -> bool {
    query.with.iter().flat_map(|w| &w.cte_tables).any(|cte| fold_identifier(&cte.alias.name) == name)
}

fn is_named(name: &str, relation: &ObjectName) -> bool {
    matches!(relation.0.as_slice(), [ObjectNamePart::Identifier(ident)] if fold_identifier(ident) == name)
}

impl Visitor for Counter<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.shadowed += usize::from(shadows(self.name, query));
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.shadowed -= usize::from(shadows(self.name, query));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let named =
            matches!(factor, TableFactor::Table { name, args: None, .. } if is_named(self.name, name));
        self.count += usize::from(named && self.shadowed == 0);
        ControlFlow::Continue(())
    }
}

/// Checks the references of a query to itself.
pub struct References<'a> {
    name: &'a str,
    found: usize,
}

impl References<'_> {
    pub fn new(name: &str) -> References<'_> {
        References { name, found: 0 }
    }

    fn error(&self, rest: &str) -> HwError {
        let message = format!("recursive reference to query \"{}\" must not appear {rest}", self.name);
        HwError::new(sqlstate::INVALID_RECURSION, message)
    }

    /// The WITH clause of the recursive query itself.
    pub fn with(&mut self, with: Option<&With>) -> Result<()> {
        with.iter().flat_map(|w| &w.cte_tables).try_for_each(|cte| self.query(&cte.query, Context::Subquery))
    }

    fn reference(&mut self, context: Context) -> Result<()> {
        if let Some(words) = context.words() {
            return Err(self.error(&format!("within {words}")));
        }
        self.found += 1;
        if self.found > 1 {
            return Err(self
                .error("more than once")
                .with_hint("A closure needs it once: join the rows so far with the relation itself."));
        }
        Ok(())
    }

    fn query(&mut self, query: &Query, context: Context) -> Result<()> {
        if shadows(self.name, query) {
            return Ok(());
        }
        for cte in query.with.iter().flat_map(|w| &w.cte_tables) {
            self.query(&cte.query, context)?;
        }
        self.set(&query.body, context)
    }

    pub fn set(&mut self, body: &SetExpr, context: Context) -> Result<()> {
        match body {
            SetExpr::Select(select) => self.select(select, context),
            SetExpr::Query(query) => self.query(query, context),
            SetExpr::SetOperation { op, set_quantifier, left, right } => {
                let all = matches!(set_quantifier, SetQuantifier::All);
                let (of_left, of_right) = match op {
                    SetOperator::Intersect if all => (Context::Intersect, Context::Intersect),
                    SetOperator::Except if all => (Context::Except, Context::Except),
                    SetOperator::Except => (context, Context::Except),
                    _ => (context, context),
                };
                self.set(left, of_left)?;
                self.set(right, of_right)
            }
            SetExpr::Table(table) => {
                let named = table.schema_name.is_none() && table.table_name.as_deref() == Some(self.name);
                if named { self.reference(context) } else { Ok(()) }
            }
            other => self.inside(other, 0, context),
        }
    }

    fn select(&mut self, select: &Select, context: Context) -> Result<()> {
        let before = self.found;
        for from in &select.from {
            self.joined(from, context)?;
        }
        let in_from = self.found - before;
        // Only a relation of this SELECT itself: as PostgreSQL, not one of a query in FROM.
        let direct = select.from.iter().any(|from| self.is_direct(from));
        if direct && (has_aggregate(&select.projection) || select.having.as_ref().is_some_and(has_aggregate))
        {
            let message = "aggregate functions are not allowed in a recursive query's recursive term";
            return Err(HwError::new(sqlstate::INVALID_RECURSION, message)
                .with_hint("Aggregate the result of the recursive query."));
        }
        self.inside(select, in_from, context)
    }

    fn is_direct(&self, from: &TableWithJoins) -> bool {
        std::iter::once(&from.relation).chain(from.joins.iter().map(|j| &j.relation)).any(|f| match f {
            TableFactor::Table { name, args: None, .. } => is_named(self.name, name),
            TableFactor::NestedJoin { table_with_joins, .. } => self.is_direct(table_with_joins),
            _ => false,
        })
    }

    /// What else is in `part` than the references in FROM stands in subqueries.
    fn inside<V: Visit>(&mut self, part: &V, in_from: usize, context: Context) -> Result<()> {
        if count(self.name, part) <= in_from {
            return Ok(());
        }
        self.reference(if context == Context::Ok { Context::Subquery } else { context })
    }

    fn joined(&mut self, from: &TableWithJoins, context: Context) -> Result<()> {
        let fills_left = |joins: &[Join]| {
            joins.iter().any(|j| {
                use JoinOperator as J;
                matches!(j.join_operator, J::Right(_) | J::RightOuter(_) | J::FullOuter(_))
            })
        };
        let of = |outer: bool| if outer && context == Context::Ok { Context::OuterJoin } else { context };
        self.factor(&from.relation, of(fills_left(&from.joins)))?;
        for (i, join) in from.joins.iter().enumerate() {
            use JoinOperator as J;
            let filled = matches!(join.join_operator, J::Left(_) | J::LeftOuter(_) | J::FullOuter(_));
            self.factor(&join.relation, of(filled || fills_left(&from.joins[i + 1..])))?;
        }
        Ok(())
    }

    fn factor(&mut self, factor: &TableFactor, context: Context) -> Result<()> {
        match factor {
            TableFactor::Table { name, args: None, .. } if is_named(self.name, name) => {
                self.reference(context)
            }
            TableFactor::Derived { subquery, .. } => self.query(subquery, context),
            TableFactor::NestedJoin { table_with_joins, .. } => self.joined(table_with_joins, context),
            _ => Ok(()),
        }
    }
}

/// Whether an aggregate is called, subqueries aside.
fn has_aggregate<V: Visit>(part: &V) -> bool {
    let mut finder = AggregateFinder { depth: 0, found: false };
    let _ = part.visit(&mut finder);
    finder.found
}

struct AggregateFinder {
    depth: usize,
    found: bool,
}

impl Visitor for AggregateFinder {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Function(f) = expr
            && self.depth == 0
            && f.over.is_none()
            && let Some(name) = f.name.0.last().and_then(|p| p.as_ident())
            && is_aggregate(&fold_identifier(name))
        {
            self.found = true;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}
