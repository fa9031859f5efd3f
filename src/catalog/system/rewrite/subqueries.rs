//! Subqueries over system relations, in a form that DataFusion can decorrelate.
//!
//! DataFusion joins a correlated scalar subquery only if it is an aggregate whose
//! correlation consists of equalities. Clients look up catalogs by their keys, so there:
//! - what reads a relation that is always empty is a constant;
//! - conditions on outer columns alone move out, into a CASE around the subquery;
//! - with `inner = outer`, `outer` is replaced by `inner` in the other conditions;
//! - the one value is its own maximum, which makes the subquery an aggregate.

use std::collections::HashMap;
use std::ops::ControlFlow;

use sqlparser::ast::{
    ArrayElemTypeDef, BinaryOperator, CastKind, DataType, Expr, FunctionArgumentClause, FunctionArguments,
    GroupByExpr, JoinOperator, OrderByKind, Query, Select, SelectItem, SetExpr, TableFactor, TableWithJoins,
    VisitMut, VisitorMut,
};

use super::super::layout::Layout;
use super::super::pg_catalog::is_always_empty;
use super::ast::{
    arguments, as_string, boolean, call, column_name, folded, function_name, name_parts, null, number,
    plain_select, plain_select_mut, take,
};
use super::expressions::{empty_array, mapped_array};
use super::names::scope;

type Scope = HashMap<String, Option<&'static Layout>>;

/// A SELECT without rows needs no subqueries in its select list.
pub(super) fn clear_projection_of_nothing(select: &mut Select) {
    struct Clear;
    impl VisitorMut for Clear {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            match expr {
                Expr::Subquery(_) => *expr = null_text(),
                Expr::Exists { .. } => *expr = boolean(false),
                Expr::Function(f) if matches!(f.args, FunctionArguments::Subquery(_)) => {
                    *expr = empty_array()
                }
                _ => {}
            }
            ControlFlow::Continue(())
        }
    }
    if reads_nothing(&select.from) {
        let _ = select.projection.visit(&mut Clear);
    }
}

fn null_text() -> Expr {
    null_of(DataType::Text)
}

fn null_of(data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::DoubleColon, expr: Box::new(null()), data_type, array: false, format: None }
}

/// `CASE WHEN t.typtype = 'd' THEN (SELECT …)`: there are no composite types, domains or
/// enums, so the subquery is only its type.
pub(super) fn skip_absent_types(expr: &mut Expr) {
    let Expr::Case { operand: None, conditions, .. } = expr else { return };
    for branch in conditions.iter_mut() {
        let Expr::BinaryOp { left, op: BinaryOperator::Eq, right } = &branch.condition else { continue };
        let absent = column_name(left).as_deref() == Some("typtype")
            && as_string(right).is_some_and(|kind| matches!(kind, "c" | "d" | "e"));
        if let Expr::Subquery(query) = &branch.result
            && absent
        {
            branch.result = null_of(subquery_type(query));
        }
    }
}

/// The type of a catalog subquery's one column: oids or text, or an array of them.
fn subquery_type(query: &Query) -> DataType {
    let column = match query.body.as_ref() {
        SetExpr::Select(select) => projected(select),
        _ => None,
    };
    let element = |expr: &Expr| match column_name(expr) {
        Some(name) if name == "oid" || name.ends_with("id") || name == "typbasetype" => {
            DataType::BigInt(None)
        }
        _ => DataType::Text,
    };
    match column {
        Some(Expr::Function(f)) if name_parts(&f.name).last().is_some_and(|n| n == "array_agg") => {
            let element = arguments(f).first().map_or(DataType::Text, |arg| element(arg));
            DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(element), None))
        }
        Some(column) => element(column),
        None => DataType::Text,
    }
}

/// Whether a FROM clause has no rows because a relation in it is always empty.
fn reads_nothing(from: &[TableWithJoins]) -> bool {
    from.iter().any(is_empty)
}

fn is_empty(tables: &TableWithJoins) -> bool {
    let mut empty = is_empty_factor(&tables.relation);
    for join in &tables.joins {
        let right = is_empty_factor(&join.relation);
        empty = match &join.join_operator {
            JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_) => empty || right,
            JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => empty,
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) => right,
            _ => empty && right,
        };
    }
    empty
}

fn is_empty_factor(factor: &TableFactor) -> bool {
    match factor {
        TableFactor::Table { name, .. } => {
            matches!(name_parts(name).as_slice(), [.., schema, name] if schema == "pg_catalog" && is_always_empty(name))
        }
        TableFactor::NestedJoin { table_with_joins, .. } => is_empty(table_with_joins),
        _ => false,
    }
}

/// EXISTS in a select list counts.
pub(super) fn count_in_projection(select: &mut Select) {
    struct Count;
    impl VisitorMut for Count {
        type Break = ();
        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if let Expr::Exists { subquery, negated } = expr
                && let Some(select) = plain_select_mut(subquery)
            {
                let count = call("count", vec![number(1)]);
                select.projection = vec![SelectItem::UnnamedExpr(count)];
                let op = if *negated { BinaryOperator::Eq } else { BinaryOperator::Gt };
                let counted = Expr::Subquery(subquery.clone());
                *expr = Expr::Nested(Box::new(Expr::BinaryOp {
                    left: Box::new(counted),
                    op,
                    right: Box::new(number(0)),
                }));
            }
            ControlFlow::Continue(())
        }
    }
    let _ = select.projection.visit(&mut Count);
}

pub(super) fn rewrite(expr: &mut Expr) {
    let replacement = match expr {
        Expr::Subquery(query) if folds_to_nothing(query) => Some(null_text()),
        Expr::Subquery(query) => decorrelate(query),
        Expr::Exists { subquery, negated } if folds_to_nothing(subquery) => Some(boolean(*negated)),
        Expr::Function(function) => match &mut function.args {
            FunctionArguments::Subquery(query) => array_subquery(query),
            _ => None,
        },
        _ => None,
    };
    if let Some(replacement) = replacement {
        *expr = replacement;
    }
}

/// Whether the query reads an empty relation and is no count.
fn folds_to_nothing(query: &Query) -> bool {
    plain_select(query).is_some_and(|select| {
        reads_nothing(&select.from)
            && projected(select).is_some_and(|e| function_name(e).as_deref() != Some("count"))
    })
}

/// The one column of a SELECT.
fn projected(select: &Select) -> Option<&Expr> {
    match select.projection.as_slice() {
        [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] => Some(expr),
        _ => None,
    }
}

fn projected_mut(select: &mut Select) -> Option<&mut Expr> {
    match select.projection.as_mut_slice() {
        [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] => Some(expr),
        _ => None,
    }
}

/// `ARRAY(SELECT …)` as `array_agg`.
fn array_subquery(query: &mut Query) -> Option<Expr> {
    if let Some(array) = mapped_array(query) {
        return Some(array);
    }
    if folds_to_nothing(query) {
        return Some(empty_array());
    }
    let element = projected(plain_select(query)?)?.clone();
    let order = query.order_by.take();
    let select = plain_select_mut(query)?;
    let mut aggregate = call("array_agg", vec![element.clone()]);
    if let Some(OrderByKind::Expressions(mut keys)) = order.map(|o| o.kind)
        && let Expr::Function(function) = &mut aggregate
        && let FunctionArguments::List(list) = &mut function.args
    {
        let by_position = |key: &Expr| matches!(key, Expr::Value(_));
        keys.iter_mut().filter(|k| by_position(&k.expr)).for_each(|k| k.expr = element.clone());
        list.clauses.push(FunctionArgumentClause::OrderBy(keys));
    }
    *projected_mut(select)? = aggregate;
    let guarded = decorrelate(query).unwrap_or_else(|| Expr::Subquery(Box::new(query.clone())));
    Some(call("coalesce", vec![guarded, call("make_array", vec![])]))
}

/// The subquery with its conditions made plain, if it is correlated and reads only system
/// relations.
fn decorrelate(query: &mut Query) -> Option<Expr> {
    if query.order_by.is_some() {
        return None;
    }
    let select = plain_select_mut(query)?;
    let inner = scope(&select.from);
    let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(keys, _) if keys.is_empty());
    if grouped || inner.is_empty() || inner.values().any(Option::is_none) || select.distinct.is_some() {
        return None;
    }
    let conditions = conjuncts(select.selection.take());
    if conditions.iter().all(|c| side(c, &inner) == Side::Inner) {
        select.selection = conjunction(conditions);
        return None;
    }
    let (guards, mut kept): (Vec<Expr>, Vec<Expr>) =
        conditions.into_iter().partition(|c| side(c, &inner) == Side::Outer);
    let equal: Vec<(Expr, Expr)> = kept.iter().filter_map(|c| equality(c, &inner)).collect();
    for condition in kept.iter_mut().filter(|c| equality(c, &inner).is_none()) {
        substitute(condition, &equal);
    }
    select.selection = conjunction(kept);
    let value = projected_mut(select)?;
    substitute(value, &equal);
    if !is_aggregate(value) {
        *value = call("max", vec![take(value)]);
    }
    let subquery = Expr::Subquery(Box::new(query.clone()));
    Some(match conjunction(guards) {
        None => subquery,
        Some(guard) => case_when(guard, subquery),
    })
}

fn case_when(condition: Expr, result: Expr) -> Expr {
    use sqlparser::ast::helpers::attached_token::AttachedToken;
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![sqlparser::ast::CaseWhen { condition, result }],
        else_result: None,
    }
}

fn is_aggregate(expr: &Expr) -> bool {
    let aggregates = ["max", "min", "count", "sum", "array_agg", "string_agg", "bool_or", "bool_and"];
    function_name(expr).is_some_and(|name| aggregates.contains(&name.as_str()))
}

fn conjuncts(condition: Option<Expr>) -> Vec<Expr> {
    match condition {
        None => vec![],
        Some(Expr::BinaryOp { left, op: BinaryOperator::And, right }) => {
            let mut parts = conjuncts(Some(*left));
            parts.extend(conjuncts(Some(*right)));
            parts
        }
        Some(Expr::Nested(inner)) if matches!(*inner, Expr::BinaryOp { op: BinaryOperator::And, .. }) => {
            conjuncts(Some(*inner))
        }
        Some(other) => vec![other],
    }
}

fn conjunction(conditions: Vec<Expr>) -> Option<Expr> {
    conditions.into_iter().reduce(|left, right| Expr::BinaryOp {
        left: Box::new(left),
        op: BinaryOperator::And,
        right: Box::new(right),
    })
}

/// Whose columns an expression reads. Constants are inner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Inner,
    Outer,
    Both,
}

fn side(expr: &Expr, inner: &Scope) -> Side {
    let (mut reads_inner, mut reads_outer) = (false, false);
    let mut expr = expr.clone();
    let _ = sqlparser::ast::visit_expressions_mut(&mut expr, |e| {
        match is_inner(e, inner) {
            Some(true) => reads_inner = true,
            Some(false) => reads_outer = true,
            None => {}
        }
        ControlFlow::<()>::Continue(())
    });
    match (reads_inner, reads_outer) {
        (true, true) => Side::Both,
        (false, true) => Side::Outer,
        _ => Side::Inner,
    }
}

/// Whether a column belongs to the subquery's own relations; `None` for what is no column.
fn is_inner(expr: &Expr, inner: &Scope) -> Option<bool> {
    match expr {
        Expr::Identifier(column) => {
            let column = folded(column);
            Some(inner.values().flatten().any(|l| l.columns.iter().any(|c| c.name == column)))
        }
        Expr::CompoundIdentifier(parts) => {
            let qualifier = parts.get(parts.len().checked_sub(2)?)?;
            Some(inner.contains_key(&folded(qualifier)))
        }
        _ => None,
    }
}

/// (outer, inner) of a condition `inner = outer`.
fn equality(condition: &Expr, inner: &Scope) -> Option<(Expr, Expr)> {
    let Expr::BinaryOp { left, op: BinaryOperator::Eq, right } = condition else { return None };
    match (side(left, inner), side(right, inner)) {
        (Side::Outer, Side::Inner) => Some((left.as_ref().clone(), right.as_ref().clone())),
        (Side::Inner, Side::Outer) => Some((right.as_ref().clone(), left.as_ref().clone())),
        _ => None,
    }
}

fn substitute(expr: &mut Expr, equal: &[(Expr, Expr)]) {
    let _ = sqlparser::ast::visit_expressions_mut(expr, |e| {
        if let Some((_, inner)) = equal.iter().find(|(outer, _)| outer == e) {
            *e = inner.clone();
        }
        ControlFlow::<()>::Continue(())
    });
}
