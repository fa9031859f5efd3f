//! Rewrites of the syntax tree before DataFusion plans it.
//!
//! `pg_catalog.` is dropped from function names; operators without an expression in
//! DataFusion become function calls; interval literals are read with PostgreSQL's syntax;
//! select items get the names and the uniqueness that the planner needs.

use std::collections::HashSet;
use std::ops::ControlFlow;

use sqlparser::ast::*;

use super::names::item_name;
use super::whole_rows::Tables;
use crate::error::Result;
use crate::sql::functions::parse::parse_interval;
use crate::types::text::{IntervalField, parse_interval_fields, round_micros};

/// Rewrites a query or statement in place; call it once, before planning.
pub fn prepare<V: VisitMut>(statement: &mut V, tables: &Tables) -> Result<()> {
    super::clauses::rewrite(statement)?;
    super::order_names::rewrite(statement)?;
    super::whole_rows::rewrite(statement, tables);
    super::fetch::rewrite(statement)?;
    super::temporal::rewrite(statement)?;
    super::using::rewrite(statement)?;
    super::values::rewrite(statement)?;
    super::phrases::clauses(statement)?;
    let mut failed = None;
    let _ = visit_expressions_mut(statement, |expr| match rewrite(expr) {
        Ok(()) => ControlFlow::Continue(()),
        Err(e) => {
            failed = Some(e);
            ControlFlow::Break(())
        }
    });
    if let Some(e) = failed {
        return Err(e);
    }
    let _ = statement.visit(&mut TableFunctions);
    let _ = statement.visit(&mut NameItems { depth: 0 });
    wrap_series(statement);
    super::rows::rewrite(statement)?;
    Ok(())
}

/// Functions in FROM that become UNNEST.
struct TableFunctions;

impl VisitorMut for TableFunctions {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        super::json_tables::table(factor);
        ControlFlow::Continue(())
    }
}

/// A call `name(args)`.
pub fn call(name: &str, args: Vec<Expr>) -> Expr {
    let args = args.into_iter().map(|a| FunctionArg::Unnamed(FunctionArgExpr::Expr(a))).collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args,
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

fn rewrite(expr: &mut Expr) -> Result<()> {
    if let Some(new) = super::phrases::expression(expr)? {
        *expr = new;
    }
    if let Some(new) = super::patterns::expression(expr)? {
        *expr = new;
    }
    if let Some(new) = clock_word(expr) {
        *expr = new;
    }
    if let Some(new) = super::collations::expression(expr)? {
        *expr = new;
    }
    let replacement = match expr {
        Expr::Function(f) => {
            strip_schema(&mut f.name);
            super::aggregates::rewrite(f)?;
            let ranked = super::hypothetical::rewrite(f)?;
            ranked
                .or_else(|| super::phrases::row_constructor(f))
                .or_else(|| super::calls::rewrite(f))
                .or_else(|| super::json_tables::expression(f))
        }
        Expr::UnaryOp { op: UnaryOperator::Minus, expr: inner } if matches!(**inner, Expr::Interval(_)) => {
            let minus_one = Expr::Value(Value::Number("-1".into(), false).into());
            Some(Expr::BinaryOp {
                left: inner.clone(),
                op: BinaryOperator::Multiply,
                right: Box::new(minus_one),
            })
        }
        Expr::Value(v) => {
            if let Value::UnicodeStringLiteral(text) = &mut v.value {
                v.value = Value::SingleQuotedString(std::mem::take(text));
            }
            float_literal(v)
        }
        Expr::Cast { data_type, .. } | Expr::TypedString(TypedString { data_type, .. }) => {
            let (digits, field) = (rounded_timestamp(data_type), last_field(data_type));
            digits
                .map(|n| {
                    let digits = Expr::Value(Value::Number(n.to_string(), false).into());
                    call("timestamp_scale", vec![expr.clone(), digits])
                })
                .or_else(|| {
                    let unit = Expr::Value(Value::SingleQuotedString(field?.into()).into());
                    Some(call("date_trunc", vec![unit, expr.clone()]))
                })
        }
        Expr::UnaryOp { op: UnaryOperator::Minus, expr: inner } => minus_of_power(inner),
        Expr::UnaryOp { op, expr } => unary_function(op).map(|name| call(name, vec![(**expr).clone()])),
        Expr::AtTimeZone { timestamp, time_zone } => {
            Some(call("timezone", vec![(**time_zone).clone(), (**timestamp).clone()]))
        }
        Expr::CompoundFieldAccess { access_chain, .. } => {
            super::json_tables::fill_slices(access_chain);
            None
        }
        Expr::Interval(interval) => {
            normalise_interval(interval)?;
            None
        }
        _ => None,
    };
    if let Some(new) = replacement {
        *expr = new;
    }
    Ok(())
}

/// What stands for the cast of a word such as `today`.
fn clock_word(expr: &Expr) -> Option<Expr> {
    match expr {
        Expr::Cast { data_type, expr, .. } => super::clock_words::expression(data_type, expr),
        Expr::TypedString(TypedString { data_type, value, .. }) => {
            super::clock_words::expression(data_type, &Expr::Value(value.clone()))
        }
        _ => None,
    }
}

/// A series in a select list gives a row for each element. Runs while calls in FROM are no
/// expressions yet. The elements of an array that is written as a call may be outer columns.
fn wrap_series<V: VisitMut>(statement: &mut V) {
    let _ = visit_expressions_mut(statement, |expr| {
        if let Expr::Array(Array { elem, .. }) = expr
            && !elem.is_empty()
            && !elem.iter().any(|e| matches!(e, Expr::Array(_)))
        {
            *expr = call("make_array", std::mem::take(elem));
        }
        if let Expr::Function(f) = expr
            && f.over.is_none()
            && f.name
                .0
                .last()
                .and_then(|p| p.as_ident())
                .is_some_and(|n| n.value.eq_ignore_ascii_case("generate_series"))
        {
            *expr = call("unnest", vec![expr.clone()]);
        }
        ControlFlow::<()>::Continue(())
    });
}

fn strip_schema(name: &mut ObjectName) {
    let catalog =
        name.0.len() == 2 && name.0[0].as_ident().is_some_and(|i| i.value.eq_ignore_ascii_case("pg_catalog"));
    if catalog {
        name.0.remove(0);
    }
}

/// Takes the precision off `timestamp(n)`, `time(n)` and `interval(n)`.
fn rounded_timestamp(data_type: &mut DataType) -> Option<u64> {
    match data_type {
        DataType::Timestamp(precision, _) | DataType::Time(precision, _) => {
            precision.take().filter(|n| *n < 6)
        }
        DataType::Interval { precision, .. } => precision.take().filter(|n| *n < 6),
        _ => None,
    }
}

/// `-a ^ b` is `(-a) ^ b`: the sign binds tighter than sqlparser reads it.
fn minus_of_power(expr: &Expr) -> Option<Expr> {
    let Expr::BinaryOp { left, op: op @ BinaryOperator::PGExp, right } = expr else { return None };
    let left = minus_of_power(left)
        .unwrap_or_else(|| Expr::UnaryOp { op: UnaryOperator::Minus, expr: left.clone() });
    Some(Expr::BinaryOp { left: Box::new(left), op: op.clone(), right: right.clone() })
}

/// Takes the fields off `interval day to minute`: smaller ones than the last are cut.
fn last_field(data_type: &mut DataType) -> Option<&'static str> {
    use IntervalFields as F;
    let DataType::Interval { fields, .. } = data_type else { return None };
    Some(match fields.take()? {
        F::Year => "year",
        F::Month | F::YearToMonth => "month",
        F::Day => "day",
        F::Hour | F::DayToHour => "hour",
        F::Minute | F::DayToMinute | F::HourToMinute => "minute",
        F::Second | F::DayToSecond | F::HourToSecond | F::MinuteToSecond => return None,
    })
}

fn unary_function(op: &UnaryOperator) -> Option<&'static str> {
    Some(match op {
        UnaryOperator::BitwiseNot => "bitnot",
        UnaryOperator::PGSquareRoot => "sqrt",
        UnaryOperator::PGCubeRoot => "cbrt",
        UnaryOperator::PGAbs => "abs",
        _ => return None,
    })
}

/// A number with an exponent beyond what numeric holds is a double precision constant.
fn float_literal(v: &ValueWithSpan) -> Option<Expr> {
    let Value::Number(text, _) = &v.value else { return None };
    let exponent: i32 = text.split_once(['e', 'E'])?.1.parse().ok()?;
    if exponent.abs() < 20 {
        return None;
    }
    Some(Expr::Cast {
        kind: CastKind::DoubleColon,
        expr: Box::new(Expr::Value(Value::SingleQuotedString(text.clone()).into())),
        data_type: DataType::DoublePrecision,
        array: false,
        format: None,
    })
}

fn interval_field(field: &DateTimeField) -> Option<IntervalField> {
    use DateTimeField as D;
    Some(match field {
        D::Year | D::Years => IntervalField::Year,
        D::Month | D::Months => IntervalField::Month,
        D::Day | D::Days => IntervalField::Day,
        D::Hour | D::Hours => IntervalField::Hour,
        D::Minute | D::Minutes => IntervalField::Minute,
        D::Second | D::Seconds => IntervalField::Second,
        _ => return None,
    })
}

/// `INTERVAL '1-2' YEAR TO MONTH`, `INTERVAL 'P1D'`, … in the units DataFusion reads.
fn normalise_interval(interval: &mut Interval) -> Result<()> {
    let Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) = interval.value.as_mut()
    else {
        return Ok(());
    };
    let bare = text.trim().parse::<f64>().is_ok();
    let named = |field: &Option<DateTimeField>| field.as_ref().and_then(interval_field);
    let (first, last) = (named(&interval.leading_field), named(&interval.last_field));
    let parsed = match (&interval.leading_field, first, last) {
        (_, Some(first), last) => parse_interval_fields(text, first, last.unwrap_or(first))?,
        (Some(unit), None, _) if bare => parse_interval(&format!("{text} {unit}"))?,
        _ => parse_interval(text)?,
    };
    let digits = interval.fractional_seconds_precision.or(interval.leading_precision).unwrap_or(6);
    let micros = round_micros(parsed.nanoseconds / 1000, digits as i64);
    let (months, days) = (parsed.months, parsed.days);
    *text = format!("{months} months {days} days {micros} microseconds");
    interval.leading_field = None;
    interval.last_field = None;
    interval.leading_precision = None;
    interval.fractional_seconds_precision = None;
    Ok(())
}

/// Names expressions of nested queries as PostgreSQL does, and makes the items of every
/// select list unique (the outermost list is renamed back on output).
struct NameItems {
    depth: usize,
}

impl VisitorMut for NameItems {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        name_set(&mut query.body, self.depth > 0);
        name_positions(query);
        self.depth += 1;
        ControlFlow::Continue(())
    }
    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}

fn name_set(body: &mut SetExpr, nested: bool) {
    match body {
        SetExpr::Select(select) => name_items(&mut select.projection, nested),
        SetExpr::SetOperation { left, right, .. } => {
            name_later(right);
            name_set(left, nested);
            name_set(right, nested);
        }
        _ => {}
    }
}

/// A set operation has the names of its first query: in the later ones names of their own only
/// collide with those.
fn name_later(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => {
            for (at, item) in select.projection.iter_mut().enumerate() {
                if let SelectItem::UnnamedExpr(expr) = item {
                    let alias = Ident::with_quote('"', format!("__item:{}", at + 1));
                    *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
                }
            }
        }
        SetExpr::Query(query) if query.order_by.is_none() => name_later(&mut query.body),
        SetExpr::SetOperation { left, right, .. } => {
            name_later(left);
            name_later(right);
        }
        _ => {}
    }
}

/// `ORDER BY 2` means the item by its name: DataFusion would look for its columns below GROUP BY.
fn name_positions(query: &mut Query) {
    let (SetExpr::Select(select), Some(order)) = (query.body.as_mut(), &query.order_by) else { return };
    let OrderByKind::Expressions(keys) = &order.kind else { return };
    for key in keys {
        let Expr::Value(ValueWithSpan { value: Value::Number(n, _), .. }) = &key.expr else { continue };
        let at = n.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
        let Some(item) = at.and_then(|at| select.projection.get_mut(at)) else { continue };
        if let SelectItem::UnnamedExpr(e) = item
            && !matches!(e, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
        {
            let alias = Ident::with_quote('"', item_name_or(e, n));
            *item = SelectItem::ExprWithAlias { expr: e.clone(), alias };
        }
    }
}

fn item_name_or(expr: &Expr, position: &str) -> String {
    let name = item_name(&SelectItem::UnnamedExpr(expr.clone()));
    format!("{}:{position}", name.unwrap_or_else(|| "?column?".into()))
}

fn name_items(items: &mut [SelectItem], nested: bool) {
    // A nested query is read by these names: `a.*, b.x` keeps the name `x`.
    let wildcard = items.iter().any(|i| match i {
        SelectItem::Wildcard(_) => true,
        SelectItem::QualifiedWildcard(..) => !nested,
        _ => false,
    });
    let names: Vec<Option<String>> = items.iter().map(item_name).collect();
    let mut seen = HashSet::new();
    for (at, item) in items.iter_mut().enumerate() {
        let Some(name) = &names[at] else { continue };
        let first = seen.insert(name.clone());
        let bare_column = |e: &Expr| matches!(e, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
        let of_column =
            |e: &Expr| matches!(e, Expr::Cast { expr, .. } if bare_column(expr)) || bare_column(e);
        match item {
            SelectItem::UnnamedExpr(e) if !first || (wildcard && of_column(e)) => {
                let alias = Ident::with_quote('"', format!("{name}:{}", at + 1));
                *item = SelectItem::ExprWithAlias { expr: e.clone(), alias };
            }
            // Casts of one literal have one name inside.
            SelectItem::UnnamedExpr(e) if matches!(e, Expr::Cast { .. } | Expr::TypedString(_)) => {
                *item = SelectItem::ExprWithAlias { expr: e.clone(), alias: Ident::with_quote('"', name) };
            }
            SelectItem::UnnamedExpr(e) if nested && !bare_column(e) && name != "?column?" => {
                *item = SelectItem::ExprWithAlias { expr: e.clone(), alias: Ident::with_quote('"', name) };
            }
            SelectItem::ExprWithAlias { alias, .. } if !first => {
                *alias = Ident::with_quote('"', format!("{name}:{}", at + 1));
            }
            _ => {}
        }
    }
}
