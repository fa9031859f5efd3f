//! LIKE with an escape, SIMILAR TO and `substring(text FROM pattern FOR escape)`, in the syntax
//! tree: calls of [`crate::sql::functions::pattern`], and LIKE as DataFusion knows it, whose
//! escape is the backslash.

use sqlparser::ast::*;

use super::ast::call;
use super::phrases::nested;
use crate::error::Result;
use crate::sql::functions::pattern::{ends_in_escape, like_escape};

/// What stands for `expr`; `None` to leave it.
pub fn expression(expr: &Expr) -> Result<Option<Expr>> {
    Ok(match expr {
        Expr::Like { negated, expr, pattern, escape_char, any: false } => {
            let made = escaped(pattern, escape_char.as_ref())?;
            let pattern = made.as_ref().unwrap_or(pattern);
            // DataFusion takes a backslash at the end for itself.
            if literal(pattern).is_some_and(ends_in_escape) {
                let like = call("pg_like", vec![expr.as_ref().clone(), pattern.clone()]);
                return Ok(Some(if *negated { not(like) } else { like }));
            }
            let Some(pattern) = made else { return Ok(None) };
            let (expr, pattern) = (expr.clone(), Box::new(pattern));
            Some(Expr::Like { negated: *negated, any: false, expr, pattern, escape_char: None })
        }
        Expr::ILike { negated, expr, pattern, escape_char, any: false } => {
            let Some(pattern) = escaped(pattern, escape_char.as_ref())? else { return Ok(None) };
            let (expr, pattern) = (expr.clone(), Box::new(pattern));
            Some(Expr::ILike { negated: *negated, any: false, expr, pattern, escape_char: None })
        }
        Expr::SimilarTo { negated, expr, pattern, escape_char } => {
            let escape = escape_char.clone().unwrap_or_else(|| text("\\"));
            let args = vec![expr.as_ref().clone(), pattern.as_ref().clone(), Expr::Value(escape)];
            let similar = call("pg_similar", args);
            Some(if *negated { not(similar) } else { similar })
        }
        Expr::Substring {
            expr,
            substring_from: Some(pattern),
            substring_for: Some(escape),
            shorthand: false,
            ..
        } if literal(pattern).is_some() && literal(escape).is_some() => {
            let args = [expr, pattern, escape].map(|e| e.as_ref().clone());
            Some(call("similar_part", args.into()))
        }
        // `substr` has no patterns: its quoted arguments are numbers.
        Expr::Substring { expr, substring_from: Some(from), substring_for, shorthand: true, .. }
            if literal(from).is_some() || substring_for.as_deref().and_then(literal).is_some() =>
        {
            let rest = [Some(from), substring_for.as_ref()].into_iter().flatten().map(|e| integer(e));
            Some(call("substr", std::iter::once(expr.as_ref().clone()).chain(rest).collect()))
        }
        _ => None,
    })
}

/// A quoted literal as an integer.
fn integer(expr: &Expr) -> Expr {
    if literal(expr).is_none() {
        return expr.clone();
    }
    let (kind, expr) = (CastKind::DoubleColon, Box::new(expr.clone()));
    Expr::Cast { kind, expr, data_type: DataType::Integer(None), array: false, format: None }
}

fn not(expr: Expr) -> Expr {
    nested(Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(expr) })
}

fn text(text: &str) -> ValueWithSpan {
    Value::SingleQuotedString(text.into()).into()
}

fn literal(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(ValueWithSpan {
            value: Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text),
            ..
        }) => Some(text),
        _ => None,
    }
}

/// The pattern with the backslash as its escape, if it has another.
fn escaped(pattern: &Expr, escape: Option<&ValueWithSpan>) -> Result<Option<Expr>> {
    let Some(escape) = escape else { return Ok(None) };
    let escape = Expr::Value(escape.clone());
    Ok(Some(match (literal(pattern), literal(&escape)) {
        (Some(pattern), Some(escape)) => Expr::Value(text(&like_escape(pattern, escape)?)),
        _ => call("like_escape", vec![pattern.clone(), escape]),
    }))
}
