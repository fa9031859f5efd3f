//! `FETCH FIRST n ROWS ONLY | WITH TIES`, the standard's words for LIMIT.
//!
//! ONLY is LIMIT. WITH TIES also takes the peers of the last row, which is what `rank()` over
//! the same ORDER BY says: the query becomes a sub-query with that number, of which the rows
//! up to n are kept, in the order of the number.

use sqlparser::ast::*;
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::Parser;

use super::visit::each_query;
use crate::error::{HwError, Result, sqlstate};

/// Rewrites the FETCH clauses of all queries in a tree.
pub fn rewrite<V: VisitMut>(tree: &mut V) -> Result<()> {
    each_query(tree, rewrite_query)
}

fn rewrite_query(query: &mut Query) -> Result<()> {
    let Some(fetch) = query.fetch.take() else { return Ok(()) };
    if fetch.percent {
        return Err(HwError::unsupported("FETCH with PERCENT", "Write a number of rows."));
    }
    let count = fetch.quantity.unwrap_or_else(|| Expr::Value(Value::Number("1".into(), false).into()));
    if fetch.with_ties {
        return with_ties(query, count);
    }
    let offset = match query.limit_clause.take() {
        None => None,
        Some(LimitClause::LimitOffset { limit: None, offset, .. }) => offset,
        Some(_) => return Err(syntax("multiple LIMIT clauses not allowed")),
    };
    query.limit_clause = Some(LimitClause::LimitOffset { limit: Some(count), offset, limit_by: Vec::new() });
    Ok(())
}

fn syntax(message: &str) -> HwError {
    HwError::new(sqlstate::SYNTAX_ERROR, message)
}

fn with_ties(query: &mut Query, count: Expr) -> Result<()> {
    let Some(OrderBy { kind: OrderByKind::Expressions(order), .. }) = query.order_by.take() else {
        return Err(syntax("WITH TIES cannot be specified without ORDER BY clause"));
    };
    if query.limit_clause.is_some() {
        let hint = "Number the rows with row_number() and rank() in a sub-query and filter them.";
        return Err(HwError::unsupported("OFFSET together with FETCH … WITH TIES", hint));
    }
    let SetExpr::Select(select) = query.body.as_mut() else {
        let hint = "Write SELECT * FROM (…) AS x around the query.";
        return Err(HwError::unsupported("FETCH … WITH TIES over a set operation", hint));
    };
    if select.distinct.is_some() {
        let hint = "Write SELECT * FROM (…) AS x around the query.";
        return Err(HwError::unsupported("FETCH … WITH TIES with DISTINCT", hint));
    }
    let order = order.into_iter().map(|o| of_item(o, &select.projection)).collect::<Result<Vec<_>>>()?;
    select.projection.push(rank_item(order)?);
    let mut outer = template(
        r##"SELECT * EXCLUDE ("#rank") FROM (SELECT 1) AS "#ties" WHERE "#rank" <= 1 ORDER BY "#rank""##,
    )?;
    outer.with = query.with.take();
    let inner = std::mem::replace(query, outer);
    let SetExpr::Select(select) = query.body.as_mut() else { return Err(HwError::internal("not a SELECT")) };
    if let Some(Expr::BinaryOp { right, .. }) = &mut select.selection {
        **right = count;
    }
    if let Some(TableFactor::Derived { subquery, .. }) = select.from.first_mut().map(|f| &mut f.relation) {
        **subquery = inner;
    }
    Ok(())
}

/// An ORDER BY item that names a select item by number or alias, as that item's expression.
fn of_item(mut order: OrderByExpr, items: &[SelectItem]) -> Result<OrderByExpr> {
    let expression = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(e) | SelectItem::ExprWithAlias { expr: e, .. } => Some(e.clone()),
        _ => None,
    };
    let named = match &order.expr {
        Expr::Value(ValueWithSpan { value: Value::Number(text, _), .. }) => {
            if items.iter().any(|item| expression(item).is_none()) {
                let hint = "Write the name of the column.";
                return Err(HwError::unsupported("ORDER BY position with * and FETCH … WITH TIES", hint));
            }
            let position = text.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
            let item = position.and_then(|at| items.get(at)).and_then(expression);
            let missing = || {
                let text = format!("ORDER BY position {text} is not in select list");
                HwError::new(sqlstate::INVALID_COLUMN_REFERENCE, text)
            };
            Some(item.ok_or_else(missing)?)
        }
        Expr::Identifier(name) => items.iter().find_map(|item| match item {
            SelectItem::ExprWithAlias { expr, alias } if alias.value == name.value => Some(expr.clone()),
            _ => None,
        }),
        _ => None,
    };
    if let Some(expr) = named {
        order.expr = expr;
    }
    Ok(order)
}

/// `rank() OVER (ORDER BY order) AS "#rank"`.
fn rank_item(order: Vec<OrderByExpr>) -> Result<SelectItem> {
    let query = template(r##"SELECT rank() OVER (ORDER BY 1) AS "#rank""##)?;
    let SetExpr::Select(mut select) = *query.body else { return Err(HwError::internal("not a SELECT")) };
    let mut item = select.projection.pop().ok_or_else(|| HwError::internal("no item"))?;
    if let SelectItem::ExprWithAlias { expr: Expr::Function(f), .. } = &mut item
        && let Some(WindowType::WindowSpec(spec)) = &mut f.over
    {
        spec.order_by = order;
    }
    Ok(item)
}

fn template(sql: &str) -> Result<Query> {
    let parsed = Parser::new(&GenericDialect {}).try_with_sql(sql).and_then(|mut p| p.parse_query());
    parsed.map(|q| *q).map_err(|e| HwError::internal(e.to_string()))
}
