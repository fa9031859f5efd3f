//! Catalog queries in the shape that clients send, made plannable by DataFusion.
//!
//! The rewrite works on the syntax tree before name resolution. It gives names their
//! schema, casts to `regclass` and its kin their functions, and correlated subqueries over
//! system relations a form that DataFusion can decorrelate. What it does to subqueries it
//! does only to those over system relations, whose keys it knows; everything else is left
//! as it was. It keeps the result, except that unnamed columns of catalog queries get
//! PostgreSQL's names, made unique by a number.

mod ast;
mod casts;
mod expressions;
mod names;
mod subqueries;

use std::collections::HashSet;
use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, ObjectName, Query, Select, SelectItem, SetExpr, TableFactor, VisitMut, VisitorMut,
};

use self::ast::{function_name, rename_function};
use super::layout::layout;

/// Rewrites `query` in place. Queries that mention nothing of the catalogs come out unchanged.
pub fn rewrite_catalog_query(query: &mut Query) {
    let mut relations = Relations { ctes: cte_names(query), found: false };
    let _ = query.visit(&mut relations);
    let _ = query.visit(&mut Rewriter { catalog: relations.found });
    show_registered_names(&mut query.body);
}

fn cte_names(query: &mut Query) -> HashSet<String> {
    struct Ctes(HashSet<String>);
    impl VisitorMut for Ctes {
        type Break = ();
        fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
            let tables = query.with.iter().flat_map(|with| &with.cte_tables);
            self.0.extend(tables.map(|cte| cte.alias.name.value.to_lowercase()));
            ControlFlow::Continue(())
        }
    }
    let mut ctes = Ctes(HashSet::new());
    let _ = query.visit(&mut ctes);
    ctes.0
}

/// Qualifies the names of system relations: `pg_catalog` comes first in every search path.
struct Relations {
    ctes: HashSet<String>,
    /// Whether a system relation or function was seen.
    found: bool,
}

impl VisitorMut for Relations {
    type Break = ();

    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<()> {
        let parts = ast::name_parts(relation);
        match parts.as_slice() {
            [name] if !self.ctes.contains(name) && layout("pg_catalog", name).is_some() => {
                *relation = ast::qualified("pg_catalog", name);
                self.found = true;
            }
            [.., schema, name] if layout(schema, name).is_some() => self.found = true,
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr {
            let parts = ast::name_parts(&function.name);
            self.found |= parts.len() > 1 || parts.first().is_some_and(|name| name.starts_with("pg_"));
        }
        ControlFlow::Continue(())
    }
}

struct Rewriter {
    /// Whether the query reads a system relation.
    catalog: bool,
}

impl VisitorMut for Rewriter {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if self.catalog {
            names::name_columns(select);
            subqueries::clear_projection_of_nothing(select);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if self.catalog {
            subqueries::count_in_projection(select);
            names::resolve_table_oids(select);
            expressions::expand_arrays(select);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        expressions::table_function(factor);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.catalog {
            subqueries::skip_absent_types(expr);
            expressions::empty_array_default(expr);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        casts::rewrite(expr);
        expressions::rewrite(expr);
        subqueries::rewrite(expr);
        ControlFlow::Continue(())
    }
}

/// `x::regclass` in the select list of the whole query shows the name; anywhere else it is
/// the oid.
fn show_registered_names(body: &mut SetExpr) {
    match body {
        SetExpr::Query(query) => show_registered_names(&mut query.body),
        SetExpr::SetOperation { left, right, .. } => {
            show_registered_names(left);
            show_registered_names(right);
        }
        SetExpr::Select(select) => {
            for item in &mut select.projection {
                let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item else {
                    continue;
                };
                if let Some(shown) = function_name(expr).and_then(|name| casts::name_of_oid(&name)) {
                    rename_function(expr, shown);
                }
            }
        }
        _ => {}
    }
}
