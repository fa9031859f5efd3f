//! Walks over syntax trees, shared by the rewrites of this folder.
//!
//! Outer queries come before inner ones; the first error ends the walk.

use std::ops::ControlFlow;

use sqlparser::ast::*;

use crate::error::{HwError, Result};

/// Rewrites every query, before what is in it.
pub fn each_query<V: VisitMut>(tree: &mut V, rewrite: impl FnMut(&mut Query) -> Result<()>) -> Result<()> {
    struct Queries<F>(F);
    impl<F: FnMut(&mut Query) -> Result<()>> VisitorMut for Queries<F> {
        type Break = HwError;
        fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<HwError> {
            step((self.0)(query))
        }
    }
    end(tree.visit(&mut Queries(rewrite)))
}

/// Rewrites every SELECT, before what is in it.
pub fn each_select<V: VisitMut>(tree: &mut V, rewrite: impl FnMut(&mut Select) -> Result<()>) -> Result<()> {
    struct Selects<F>(F);
    impl<F: FnMut(&mut Select) -> Result<()>> VisitorMut for Selects<F> {
        type Break = HwError;
        fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<HwError> {
            step((self.0)(select))
        }
    }
    end(tree.visit(&mut Selects(rewrite)))
}

/// Replaces expressions outside of subqueries, inner ones first.
pub fn replace_outside_subqueries<V: VisitMut>(tree: &mut V, replacement: impl FnMut(&Expr) -> Option<Expr>) {
    struct Outside<F> {
        replacement: F,
        depth: usize,
    }
    impl<F: FnMut(&Expr) -> Option<Expr>> VisitorMut for Outside<F> {
        type Break = ();
        fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
            self.depth += 1;
            ControlFlow::Continue(())
        }
        fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
            self.depth -= 1;
            ControlFlow::Continue(())
        }
        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if self.depth == 0
                && let Some(new) = (self.replacement)(expr)
            {
                *expr = new;
            }
            ControlFlow::Continue(())
        }
    }
    let _ = tree.visit(&mut Outside { replacement, depth: 0 });
}

fn step(result: Result<()>) -> ControlFlow<HwError> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(e) => ControlFlow::Break(e),
    }
}

fn end(walked: ControlFlow<HwError>) -> Result<()> {
    match walked {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(e) => Err(e),
    }
}
