//! Hypothetical-set aggregates, `rank(x) WITHIN GROUP (ORDER BY y)`, as counts.
//!
//! The rank of a row that would be added is one more than the rows before it; so views
//! maintain it as they maintain counts. One argument and one key, as almost all uses have.

use sqlparser::ast::*;

use super::phrases::{binary, nested, parsed};
use crate::error::{HwError, Result, sqlstate};

/// The counts that stand for the call; `None` for other calls.
pub fn rewrite(function: &Function) -> Result<Option<Expr>> {
    let Some(name) = function.name.0.last().and_then(|n| n.as_ident()) else { return Ok(None) };
    let name = name.value.to_ascii_lowercase();
    let shape = match name.as_str() {
        "rank" => "count(*) FILTER (WHERE @) + 1",
        "dense_rank" => {
            "count(DISTINCT #) FILTER (WHERE @) + least(count(*) FILTER (WHERE (@) AND # IS NULL), 1) + 1"
        }
        "percent_rank" => {
            "coalesce(count(*) FILTER (WHERE @)::float8 / nullif(count(*) FILTER (WHERE ~), 0), 0)"
        }
        "cume_dist" => "(count(*) FILTER (WHERE @) + 1)::float8 / (count(*) FILTER (WHERE ~) + 1)",
        _ => return Ok(None),
    };
    if function.within_group.is_empty() {
        return Ok(None);
    }
    let FunctionArguments::List(list) = &function.args else { return Ok(None) };
    let ([FunctionArg::Unnamed(FunctionArgExpr::Expr(value))], [key]) =
        (list.args.as_slice(), function.within_group.as_slice())
    else {
        let alike = list.args.len() == function.within_group.len();
        return Err(match alike {
            true => HwError::unsupported(
                format!("{name} of several values WITHIN GROUP"),
                "Count the rows before the values with count(*) FILTER (WHERE (a, b) < (x, y)).",
            ),
            false => HwError::new(
                sqlstate::UNDEFINED_FUNCTION,
                format!("function {name} with these direct and ordered arguments does not exist"),
            ),
        });
    };
    let filter = function.filter.as_deref();
    let ahead = and(before(value, key, name == "cume_dist"), filter);
    let all = filter.cloned().unwrap_or(Expr::Value(Value::Boolean(true).into()));
    let mut made =
        nested(parsed(&shape.replace('@', "__before").replace('~', "__all").replace('#', "__key"))?);
    fill(&mut made, &[("__before", &ahead), ("__all", &all), ("__key", &nested(key.expr.clone()))]);
    Ok(Some(made))
}

/// Whether a row's key stands before the value, or beside it.
fn before(value: &Expr, key: &OrderByExpr, beside: bool) -> Expr {
    let descending = key.options.asc == Some(false);
    let nulls_first = key.options.nulls_first.unwrap_or(descending);
    let (value, key) = (nested(value.clone()), nested(key.expr.clone()));
    let op = match (descending, beside) {
        (false, false) => BinaryOperator::Lt,
        (false, true) => BinaryOperator::LtEq,
        (true, false) => BinaryOperator::Gt,
        (true, true) => BinaryOperator::GtEq,
    };
    let null = |e: &Expr| Expr::IsNull(Box::new(e.clone()));
    let there = |e: &Expr| Expr::IsNotNull(Box::new(e.clone()));
    let apart = match nulls_first {
        true => binary(null(&key), BinaryOperator::And, there(&value)),
        false => binary(there(&key), BinaryOperator::And, null(&value)),
    };
    let mut ahead = binary(binary(key.clone(), op, value.clone()), BinaryOperator::Or, nested(apart));
    if beside {
        let both = binary(null(&key), BinaryOperator::And, null(&value));
        ahead = binary(ahead, BinaryOperator::Or, nested(both));
    }
    nested(ahead)
}

fn and(condition: Expr, filter: Option<&Expr>) -> Expr {
    match filter {
        Some(filter) => binary(condition, BinaryOperator::And, nested(filter.clone())),
        None => condition,
    }
}

/// Puts expressions in the places of names.
fn fill(template: &mut Expr, places: &[(&str, &Expr)]) {
    let _ = visit_expressions_mut(template, |expr| {
        if let Expr::Identifier(name) = expr
            && let Some((_, value)) = places.iter().find(|(place, _)| *place == name.value)
        {
            *expr = (*value).clone();
        }
        std::ops::ControlFlow::<()>::Continue(())
    });
}
