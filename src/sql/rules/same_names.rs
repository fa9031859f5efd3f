//! Calls that differ only in a cast, in the syntax tree.
//!
//! DataFusion names a call by its arguments without their casts, so `sum(i)` and
//! `sum(i::bigint)` would be one column. The later one's argument is wrapped in a `coalesce`
//! of itself, which changes its name and nothing else.

use std::collections::HashMap;
use std::ops::ControlFlow;

use sqlparser::ast::*;

use super::ast::call;
use crate::sql::context::is_aggregate;

/// Tells the calls of one SELECT apart.
pub fn tell_apart(select: &mut Select) {
    let mut casts = false;
    let _ = visit_expressions(&select.projection, |expr| {
        casts |= matches!(expr, Expr::Cast { .. });
        ControlFlow::<()>::Continue(())
    });
    if !casts {
        return;
    }
    let mut variants: HashMap<String, Vec<String>> = HashMap::new();
    let mut wrap = |expr: &mut Expr| {
        if !matches!(expr, Expr::Function(f) if is_aggregate(&f.name.to_string().to_lowercase())) {
            return;
        }
        let text = expr.to_string();
        let Expr::Function(function) = expr else { return };
        let known = variants.entry(without_casts(function)).or_default();
        let at = known.iter().position(|k| *k == text).unwrap_or_else(|| {
            known.push(text);
            known.len() - 1
        });
        let FunctionArguments::List(list) = &mut function.args else { return };
        let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))) = list.args.first_mut() else {
            return;
        };
        for _ in 0..at {
            let other = call("coalesce", vec![argument.clone()]);
            let orders = list.clauses.iter_mut().filter_map(|c| match c {
                FunctionArgumentClause::OrderBy(order) => Some(order),
                _ => None,
            });
            orders.flatten().filter(|o| o.expr == *argument).for_each(|o| o.expr = other.clone());
            *argument = other;
        }
    };
    let mut each = |expr: &mut Expr| {
        wrap(expr);
        ControlFlow::<()>::Continue(())
    };
    let _ = visit_expressions_mut(&mut select.projection, &mut each);
    let _ = visit_expressions_mut(&mut select.having, &mut each);
}

fn without_casts(function: &Function) -> String {
    let mut bare = Expr::Function(function.clone());
    let _ = visit_expressions_mut(&mut bare, |expr| {
        while let Expr::Cast { expr: inner, .. } = expr {
            *expr = inner.as_ref().clone();
        }
        ControlFlow::<()>::Continue(())
    });
    bare.to_string()
}
