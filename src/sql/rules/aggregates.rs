//! Rewrites of aggregate calls in the syntax tree.
//!
//! `jsonb_agg(x)` becomes `jsonb_agg(to_jsonb(x) ORDER BY x)`: conversion is a function of
//! its own, with the session's zone, and the order of the values stays that of `x`.

use sqlparser::ast::*;

use super::ast::call;
use super::whole_rows::ROW_FUNCTION;
use crate::error::{HwError, Result, sqlstate};

/// Rewrites one function call.
pub fn rewrite(function: &mut Function) -> Result<()> {
    let name = function.name.0.last().and_then(|n| n.as_ident()).map(|i| i.value.to_ascii_lowercase());
    let Some(name) = name else { return Ok(()) };
    let FunctionArguments::List(list) = &mut function.args else { return Ok(()) };
    check_distinct(list)?;
    let values = match name.as_str() {
        "jsonb_agg" | "json_agg" => 0,
        "jsonb_object_agg" | "json_object_agg" => 1,
        _ => return Ok(()),
    };
    let ordered = list.clauses.iter().any(|c| matches!(c, FunctionArgumentClause::OrderBy(_)));
    let mut order = Vec::new();
    for (i, argument) in list.args.iter_mut().enumerate() {
        let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument else { continue };
        let options = OrderByOptions { asc: None, nulls_first: None };
        order.push(OrderByExpr { expr: expr.clone(), options, with_fill: None });
        let given = expr.clone();
        *expr = if i < values { as_text(given) } else { call(element(&name, &given), vec![given]) };
    }
    // Over a window the order is the window's.
    if !ordered && !order.is_empty() && function.over.is_none() {
        list.clauses.push(FunctionArgumentClause::OrderBy(order));
    }
    Ok(())
}

/// The function that makes an element or a member's value.
fn element(aggregate: &str, given: &Expr) -> &'static str {
    let is_row = |f: &Function| f.name.to_string() == ROW_FUNCTION;
    match (aggregate, given) {
        ("json_agg", Expr::Function(f)) if is_row(f) => "json_row_element",
        ("json_agg", _) => "json_element",
        ("json_object_agg", _) => "to_json",
        _ => "to_jsonb",
    }
}

fn as_text(expr: Expr) -> Expr {
    let (kind, data_type) = (CastKind::DoubleColon, DataType::Text);
    Expr::Cast { kind, expr: Box::new(expr), data_type, array: false, format: None }
}

/// 42P10 for an order of DISTINCT values by something else.
fn check_distinct(list: &FunctionArgumentList) -> Result<()> {
    if list.duplicate_treatment != Some(DuplicateTreatment::Distinct) {
        return Ok(());
    }
    let is_argument = |e: &Expr| {
        list.args.iter().any(|a| matches!(a, FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)) if arg == e))
    };
    let orders = list.clauses.iter().filter_map(|c| match c {
        FunctionArgumentClause::OrderBy(order) => Some(order),
        _ => None,
    });
    if orders.flatten().all(|o| is_argument(&o.expr)) {
        return Ok(());
    }
    Err(HwError::new(
        sqlstate::INVALID_COLUMN_REFERENCE,
        "in an aggregate with DISTINCT, ORDER BY expressions must appear in argument list",
    ))
}
