//! Places in the submitted text of what rules and planners refuse.
//!
//! Rules on the syntax tree know lines and columns but not the text; what is found in a plan is
//! looked for in the tree by its name. What comes from elsewhere, such as the body of a function,
//! has no place.

use std::ops::ControlFlow;

use sqlparser::ast::{Expr, Ident, Query, visit_expressions};

use super::errors::char_position;
use crate::error::HwError;

/// `e` with the line and column of a name in the text.
pub fn at_name(e: HwError, name: Option<&Ident>) -> HwError {
    match name.map(|n| n.span.start) {
        Some(start) if start.line > 0 => e.at_line_column(start.line, start.column),
        _ => e,
    }
}

/// `e` with its position in characters, if it knows line and column.
pub fn placed(e: HwError, sql: Option<&str>) -> HwError {
    let found = match (e.position(), e.line_column(), sql) {
        (None, Some((line, column)), Some(sql)) => char_position(sql, line, column),
        _ => None,
    };
    match found {
        Some(position) => e.at(position),
        None => e,
    }
}

/// `e` at the first call of a function in the query.
pub fn at_call(e: HwError, function: &str, query: &Query, sql: Option<&str>) -> HwError {
    let found = visit_expressions(query, |e| match e {
        Expr::Function(f) => match f.name.0.last().and_then(|part| part.as_ident()) {
            Some(name) if name.value.eq_ignore_ascii_case(function) => ControlFlow::Break(name.clone()),
            _ => ControlFlow::Continue(()),
        },
        _ => ControlFlow::Continue(()),
    });
    match found {
        ControlFlow::Break(name) => placed(at_name(e, Some(&name)), sql),
        ControlFlow::Continue(()) => e,
    }
}
