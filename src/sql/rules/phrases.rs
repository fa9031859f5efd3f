//! Constructs of PostgreSQL that DataFusion's planner does not know or reads otherwise, as
//! ones it knows, in the syntax tree.
//!
//! Rows are compared column by column, so that NULLs decide as in SQL; `(a, b) IN (SELECT …)`
//! asks whether a row EXISTS; `x op ANY (array)` becomes IN, or a call that knows NULL elements;
//! `ARRAY(SELECT …)` an aggregate; ROLLUP and CUBE that name a column twice their grouping
//! sets. Subqueries are wrapped under names of their own, so that none of their columns
//! captures one of the outer query.

use std::ops::ControlFlow;

use sqlparser::ast::*;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::ast::call;
use super::frames::FRAME_EXCLUDES;
use super::visit::each_select;
use crate::error::{HwError, Result, sqlstate};

/// CUBE of more columns is refused, as in PostgreSQL.
const CUBE_MAX: usize = 12;

/// Rewrites the clauses of every SELECT; before the expressions.
pub fn clauses<V: VisitMut>(statement: &mut V) -> Result<()> {
    each_select(statement, |select| {
        extend_windows(select);
        super::same_names::tell_apart(select);
        select.selection.as_mut().map_or(Ok(()), conjunct)?;
        group(select)
    })
}

/// Where a condition only decides whether a row stays, a row in a subquery is a semi join.
fn conjunct(expr: &mut Expr) -> Result<()> {
    match expr {
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            conjunct(left)?;
            conjunct(right)
        }
        Expr::Nested(inner) => conjunct(inner),
        Expr::InSubquery { expr: tested, subquery, negated } => {
            let Some(row) = row_of(tested) else { return Ok(()) };
            let (columns, from) = (member_columns(row.len()), (**subquery).clone());
            let equal = compare(row, &BinaryOperator::Eq, &columns)?;
            // Of NOT IN, what may be equal counts as found.
            let condition = if *negated { Expr::IsNotFalse(Box::new(equal)) } else { equal };
            *expr = exists(from, row.len(), condition, *negated)?;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// One expression; its parts are done.
pub fn expression(expr: &Expr) -> Result<Option<Expr>> {
    Ok(match expr {
        Expr::Array(array) if array.elem.iter().any(|e| matches!(e, Expr::Array(_))) => {
            let hint = "Arrays have one dimension: keep rows in a table, or use jsonb.";
            return Err(HwError::unsupported("an array of arrays", hint));
        }
        Expr::BinaryOp { left, op, right } => match (row_of(left), row_of(right), right.as_ref()) {
            (Some(_), Some(_), _) if *op == BinaryOperator::Overlaps => overlaps(left, right),
            (Some(left), Some(right), _) => Some(compare(left, op, right)?),
            (Some(left), None, Expr::Subquery(query)) => Some(compare_subquery(left, op, query)?),
            _ => None,
        },
        Expr::IsDistinctFrom(left, right) | Expr::IsNotDistinctFrom(left, right) => {
            let (Some(l), Some(r)) = (row_of(left), row_of(right)) else { return Ok(None) };
            Some(distinct(l, r, matches!(expr, Expr::IsDistinctFrom(..)))?)
        }
        Expr::IsNull(row) => {
            row_of(row).map(|row| joined(row.iter().map(|e| Expr::IsNull(Box::new(e.clone()))), "AND"))
        }
        Expr::IsNotNull(row) => {
            row_of(row).map(|row| joined(row.iter().map(|e| Expr::IsNotNull(Box::new(e.clone()))), "AND"))
        }
        Expr::InList { expr, list, negated } => {
            let Some(row) = row_of(expr) else { return Ok(None) };
            let equal = list.iter().map(|item| match row_of(item) {
                Some(item) => compare(row, &BinaryOperator::Eq, item),
                None => Err(HwError::new(sqlstate::DATATYPE_MISMATCH, "a row is compared with a value")),
            });
            let any = joined(equal.collect::<Result<Vec<_>>>()?.into_iter(), "OR");
            Some(if *negated { not(any) } else { any })
        }
        Expr::InSubquery { expr, subquery, negated } => {
            let Some(row) = row_of(expr) else { return Ok(None) };
            let answer = member(row, subquery)?;
            Some(if *negated { not(answer) } else { answer })
        }
        Expr::AnyOp { left, compare_op, right, .. } => quantified(left, compare_op, right, false)?,
        Expr::AllOp { left, compare_op, right } => quantified(left, compare_op, right, true)?,
        Expr::Like { negated, any, expr, pattern, escape_char } => {
            patterns(*any, pattern, |pattern| Expr::Like {
                negated: *negated,
                any: false,
                expr: expr.clone(),
                pattern: Box::new(pattern),
                escape_char: escape_char.clone(),
            })
        }
        Expr::ILike { negated, any, expr, pattern, escape_char } => {
            patterns(*any, pattern, |pattern| Expr::ILike {
                negated: *negated,
                any: false,
                expr: expr.clone(),
                pattern: Box::new(pattern),
                escape_char: escape_char.clone(),
            })
        }
        Expr::Function(Function { name, args: FunctionArguments::Subquery(query), .. })
            if name.to_string().eq_ignore_ascii_case("array") =>
        {
            Some(array_of(query)?)
        }
        _ => None,
    })
}

/// `IS [NOT] DISTINCT FROM` of rows.
fn distinct(left: &[Expr], right: &[Expr], distinct: bool) -> Result<Expr> {
    same_width(left, right)?;
    let pairs = left.iter().zip(right).map(|(a, b)| {
        let (a, b) = (Box::new(a.clone()), Box::new(b.clone()));
        if distinct { Expr::IsDistinctFrom(a, b) } else { Expr::IsNotDistinctFrom(a, b) }
    });
    Ok(joined(pairs, if distinct { "OR" } else { "AND" }))
}

/// Whether a subquery has the row: NULL if it has none that is equal, but one that may be.
fn member(row: &[Expr], subquery: &Query) -> Result<Expr> {
    let equal = compare(row, &BinaryOperator::Eq, &member_columns(row.len()))?;
    let maybe = Expr::IsNull(Box::new(equal.clone()));
    let found = exists(subquery.clone(), row.len(), equal, false)?;
    let perhaps = exists(subquery.clone(), row.len(), maybe, false)?;
    let mut answer = parsed("CASE WHEN true THEN true WHEN false THEN NULL ELSE false END")?;
    if let Expr::Case { conditions, .. } = &mut answer {
        conditions.iter_mut().zip([found, perhaps]).for_each(|(when, test)| when.condition = test);
    }
    Ok(answer)
}

/// The columns of a row constructor.
fn row_of(expr: &Expr) -> Option<&[Expr]> {
    match expr {
        Expr::Tuple(columns) => Some(columns),
        _ => None,
    }
}

/// `ROW(a, b)` as `(a, b)`.
pub fn row_constructor(function: &Function) -> Option<Expr> {
    let FunctionArguments::List(list) = &function.args else { return None };
    if !function.name.to_string().eq_ignore_ascii_case("row") {
        return None;
    }
    let columns = list.args.iter().map(|a| match a {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Some(e.clone()),
        _ => None,
    });
    Some(Expr::Tuple(columns.collect::<Option<Vec<_>>>()?))
}

pub(super) fn parsed(text: &str) -> Result<Expr> {
    let parser = Parser::new(&PostgreSqlDialect {}).try_with_sql(text);
    parser.and_then(|mut p| p.parse_expr()).map_err(|_| HwError::internal("a template does not parse"))
}

pub(super) fn nested(expr: Expr) -> Expr {
    Expr::Nested(Box::new(expr))
}

fn not(expr: Expr) -> Expr {
    Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(nested(expr)) }
}

pub(super) fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

/// In parentheses; of nothing, what AND or OR of nothing is.
fn joined(exprs: impl Iterator<Item = Expr>, word: &str) -> Expr {
    let op = if word == "AND" { BinaryOperator::And } else { BinaryOperator::Or };
    let all = exprs.reduce(|left, right| binary(left, op.clone(), right));
    nested(all.unwrap_or(Expr::Value(Value::Boolean(word == "AND").into())))
}

fn same_width(left: &[Expr], right: &[Expr]) -> Result<()> {
    if left.len() == right.len() {
        return Ok(());
    }
    Err(HwError::new(sqlstate::SYNTAX_ERROR, "unequal number of entries in row expressions"))
}

/// A comparison of rows, from left to right.
fn compare(left: &[Expr], op: &BinaryOperator, right: &[Expr]) -> Result<Expr> {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    same_width(left, right)?;
    let pair = |op: &BinaryOperator| {
        let pairs = left.iter().zip(right);
        let op = op.clone();
        pairs.map(move |(a, b)| compare_values(a, &op, b))
    };
    let strict = match op {
        Eq => return Ok(joined(pair(op).collect::<Result<Vec<_>>>()?.into_iter(), "AND")),
        NotEq => return Ok(joined(pair(op).collect::<Result<Vec<_>>>()?.into_iter(), "OR")),
        Lt | LtEq => Lt,
        Gt | GtEq => Gt,
        other => return Err(HwError::unsupported(format!("{other} of rows"), "Compare their columns.")),
    };
    let pairs = left.iter().zip(right).rev();
    let mut made: Option<Expr> = None;
    for (a, b) in pairs {
        made = Some(match made {
            None => compare_values(a, op, b)?,
            Some(rest) => {
                let equal = binary(compare_values(a, &Eq, b)?, BinaryOperator::And, rest);
                nested(binary(compare_values(a, &strict, b)?, BinaryOperator::Or, nested(equal)))
            }
        });
    }
    Ok(nested(made.unwrap_or(Expr::Value(Value::Boolean(false).into()))))
}

fn compare_values(left: &Expr, op: &BinaryOperator, right: &Expr) -> Result<Expr> {
    match (row_of(left), row_of(right)) {
        (Some(left), Some(right)) => compare(left, op, right),
        _ => Ok(binary(nested(left.clone()), op.clone(), nested(right.clone()))),
    }
}

fn member_columns(width: usize) -> Vec<Expr> {
    (1..=width).map(|n| Expr::Identifier(Ident::with_quote('"', format!("__member{n}")))).collect()
}

/// `SELECT value FROM (query) AS "__member"("__member1", …) WHERE condition`.
fn over_members(value: Expr, query: Query, width: usize, condition: Option<Expr>) -> Result<Query> {
    let names: Vec<String> = member_columns(width).iter().map(Expr::to_string).collect();
    let text = format!("EXISTS (SELECT 1 FROM (SELECT 1) AS \"__member\"({}))", names.join(", "));
    let Expr::Exists { subquery: mut made, .. } = parsed(&text)? else {
        return Err(HwError::internal("a template is no query"));
    };
    if let SetExpr::Select(select) = made.body.as_mut()
        && let Some(TableWithJoins { relation: TableFactor::Derived { subquery, .. }, .. }) =
            select.from.first_mut()
    {
        **subquery = query;
        select.projection = vec![SelectItem::UnnamedExpr(value)];
        select.selection = condition;
    }
    Ok(*made)
}

fn exists(query: Query, width: usize, condition: Expr, negated: bool) -> Result<Expr> {
    let one = Expr::Value(Value::Number("1".into(), false).into());
    let subquery = Box::new(over_members(one, query, width, Some(condition))?);
    Ok(Expr::Exists { subquery, negated })
}

/// `(a, b) = (SELECT x, y …)`: NULL without a row, 21000 with several.
fn compare_subquery(row: &[Expr], op: &BinaryOperator, query: &Query) -> Result<Expr> {
    let value = compare(row, op, &member_columns(row.len()))?;
    Ok(Expr::Subquery(Box::new(over_members(value, query.clone(), row.len(), None)?)))
}

/// `(s1, e1) OVERLAPS (s2, e2)`: half-open, in either order; equal points overlap.
fn overlaps(left: &Expr, right: &Expr) -> Option<Expr> {
    use BinaryOperator::Plus;
    let (Some([s1, e1]), Some([s2, e2])) = (row_of(left), row_of(right)) else { return None };
    let end = |start: &Expr, end: &Expr| match end {
        Expr::Interval(_) => nested(binary(start.clone(), Plus, end.clone())),
        end => end.clone(),
    };
    let (e1, e2) = (end(s1, e1), end(s2, e2));
    Some(call("overlaps", vec![s1.clone(), e1, s2.clone(), e2]))
}

/// ANY and ALL of an array; of a subquery it stays.
fn quantified(left: &Expr, op: &BinaryOperator, right: &Expr, all: bool) -> Result<Option<Expr>> {
    let array = match right {
        Expr::Subquery(_) => return Ok(None),
        Expr::Nested(inner) => inner.as_ref(),
        other => other,
    };
    if let Expr::Array(Array { elem, .. }) = array
        && !elem.is_empty()
        && !elem.iter().any(|e| matches!(e, Expr::Array(_)))
    {
        let negated = match (op, all) {
            (BinaryOperator::Eq, false) => Some(false),
            (BinaryOperator::NotEq, true) => Some(true),
            _ => None,
        };
        if let Some(negated) = negated {
            let (expr, list) = (Box::new(left.clone()), elem.clone());
            return Ok(Some(nested(Expr::InList { expr, list, negated })));
        }
        let tests = elem.iter().map(|e| binary(nested(left.clone()), op.clone(), nested(e.clone())));
        return Ok(Some(joined(tests, if all { "AND" } else { "OR" })));
    }
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    if !matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq) {
        return Ok(None);
    }
    let word = format!("{op} {}", if all { "all" } else { "any" });
    let word = Expr::Value(Value::SingleQuotedString(word).into());
    Ok(Some(call("array_compare", vec![word, left.clone(), array.clone()])))
}

/// `LIKE ANY (ARRAY[…])` and `LIKE ALL (…)`, one pattern after the other.
fn patterns(any: bool, pattern: &Expr, one: impl Fn(Expr) -> Expr) -> Option<Expr> {
    let (pattern, any) = match pattern {
        Expr::Function(f) if f.name.to_string().eq_ignore_ascii_case("all") => {
            let FunctionArguments::List(list) = &f.args else { return None };
            let [FunctionArg::Unnamed(FunctionArgExpr::Expr(pattern))] = list.args.as_slice() else {
                return None;
            };
            (pattern, false)
        }
        pattern if any => (pattern, true),
        _ => return None,
    };
    let mut pattern = pattern;
    while let Expr::Nested(inner) = pattern {
        pattern = inner;
    }
    let all = match pattern {
        Expr::Array(Array { elem, .. }) => elem.clone(),
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) => {
            let literal = |t: Option<String>| t.map_or(Value::Null, Value::SingleQuotedString);
            let elements = crate::types::text::array_elements(text).ok()?;
            elements.into_iter().map(|t| Expr::Value(literal(t).into())).collect::<Vec<_>>()
        }
        _ => return None,
    };
    Some(joined(all.into_iter().map(one), if any { "OR" } else { "AND" }))
}

/// `ARRAY(SELECT x … ORDER BY y)`: the values in that order, an empty array without rows.
fn array_of(query: &Query) -> Result<Expr> {
    let mut query = query.clone();
    let keys = match query.order_by.as_ref().map(|o| &o.kind) {
        Some(OrderByKind::Expressions(keys)) => keys.clone(),
        _ => Vec::new(),
    };
    let mut width = 1;
    let mut order = Vec::new();
    for key in keys {
        let column = match &mut *query.body {
            SetExpr::Select(select) => order_column(select, &key.expr, &mut width),
            _ if is_position(&key.expr) => Some(1),
            _ => None,
        };
        let Some(column) = column else {
            return Err(HwError::unsupported(
                "this ORDER BY inside ARRAY(SELECT …)",
                "Use array_agg(x ORDER BY y) over the subquery.",
            ));
        };
        let column = &member_columns(column)[column - 1];
        let way = match key.options {
            OrderByOptions { asc: Some(false), nulls_first } => (" DESC", nulls_first),
            OrderByOptions { nulls_first, .. } => ("", nulls_first),
        };
        let nulls = match way.1 {
            Some(true) => " NULLS FIRST",
            Some(false) => " NULLS LAST",
            None => "",
        };
        order.push(format!("{column}{}{nulls}", way.0));
    }
    let value = &member_columns(1)[0];
    let order = if order.is_empty() { String::new() } else { format!(" ORDER BY {}", order.join(", ")) };
    let value = parsed(&format!("array_or_empty(array_agg({value}{order}))"))?;
    Ok(Expr::Subquery(Box::new(over_members(value, query, width, None)?)))
}

fn is_position(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(ValueWithSpan { value: Value::Number(n, _), .. }) if n == "1")
}

/// The number of the column that a key of ORDER BY is; one is added if it is none.
fn order_column(select: &mut Select, key: &Expr, width: &mut usize) -> Option<usize> {
    let named = match select.projection.first()? {
        SelectItem::ExprWithAlias { alias, expr } => {
            matches!(key, Expr::Identifier(name) if name.value == alias.value) || expr == key
        }
        SelectItem::UnnamedExpr(expr) => expr == key,
        _ => return None,
    };
    if named || is_position(key) {
        return Some(1);
    }
    if select.distinct.is_some() {
        return None;
    }
    select.projection.push(SelectItem::UnnamedExpr(key.clone()));
    *width += 1;
    Some(*width)
}

/// `OVER (w ROWS …)`: partition and order of the named window.
fn extend_windows(select: &mut Select) {
    let mut named: Vec<(String, WindowSpec)> = Vec::new();
    for NamedWindowDefinition(name, window) in &mut select.named_window {
        if let NamedWindowExpr::WindowSpec(spec) = window {
            extend_window(spec, &named);
            named.push((name.value.clone(), spec.clone()));
        }
    }
    if named.is_empty() {
        return;
    }
    let _ = visit_expressions_mut(&mut select.projection, |expr| {
        if let Expr::Function(Function { over: Some(WindowType::WindowSpec(spec)), .. }) = expr {
            extend_window(spec, &named);
        }
        ControlFlow::<()>::Continue(())
    });
}

fn extend_window(spec: &mut WindowSpec, named: &[(String, WindowSpec)]) {
    let Some(name) = &spec.window_name else { return };
    let Some((_, base)) = named.iter().find(|(n, _)| *n == name.value) else { return };
    // What the frame excludes stands there too, and is not taken from the base.
    if spec.partition_by.iter().all(is_frame_mark) {
        spec.partition_by.extend(base.partition_by.iter().filter(|e| !is_frame_mark(e)).cloned());
    }
    if spec.order_by.is_empty() {
        spec.order_by = base.order_by.clone();
    }
    spec.window_name = None;
}

fn is_frame_mark(e: &Expr) -> bool {
    let Expr::Function(f) = e else { return false };
    f.name.0.last().and_then(|p| p.as_ident()).is_some_and(|n| n.value == FRAME_EXCLUDES)
}

/// ROLLUP, CUBE and GROUPING SETS in which a column stands twice.
fn group(select: &mut Select) -> Result<()> {
    let GroupByExpr::Expressions(items, _) = &mut select.group_by else { return Ok(()) };
    for item in items {
        let sets = match item {
            Expr::Rollup(parts) if repeats(parts) => {
                (0..=parts.len()).rev().map(|n| parts[..n].concat()).collect()
            }
            Expr::Cube(parts) if repeats(parts) => {
                if parts.len() > CUBE_MAX {
                    let text = format!("CUBE is limited to {CUBE_MAX} elements");
                    return Err(HwError::new("54011", text));
                }
                let chosen = |mask: usize| (0..parts.len()).filter(move |i| mask & (1 << i) != 0);
                (0..1usize << parts.len())
                    .rev()
                    .map(|mask| chosen(mask).flat_map(|i| parts[i].clone()).collect())
                    .collect()
            }
            Expr::GroupingSets(sets) if sets.iter().any(|s| repeats(std::slice::from_ref(s))) => sets.clone(),
            _ => continue,
        };
        let once = |set: Vec<Expr>| {
            let mut kept: Vec<Expr> = Vec::with_capacity(set.len());
            set.into_iter().for_each(|e| {
                if !kept.contains(&e) {
                    kept.push(e)
                }
            });
            kept
        };
        *item = Expr::GroupingSets(sets.into_iter().map(once).collect());
    }
    Ok(())
}

fn repeats(parts: &[Vec<Expr>]) -> bool {
    let all: Vec<&Expr> = parts.iter().flatten().collect();
    all.iter().enumerate().any(|(i, e)| all[..i].contains(e))
}
