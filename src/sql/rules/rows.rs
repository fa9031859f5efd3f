//! Set operations, `TABLE t` and set-returning functions, in the syntax tree.
//!
//! INTERSECT and EXCEPT become a call in FROM, which [`crate::sql::relations`] plans with
//! exact multiplicities. `TABLE t` becomes `SELECT * FROM t`. `generate_series(…)` in FROM
//! becomes `unnest` of the array function of that name, and so does a call in a select list;
//! its column is named as PostgreSQL names it.

use std::ops::ControlFlow;

use sqlparser::ast::*;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::ast::call;
use crate::error::{HwError, Result};

/// The call in FROM that stands for INTERSECT and EXCEPT.
pub const SET_OPERATION: &str = "headwater set operation";

/// Rewrites every query of a statement.
pub fn rewrite<V: VisitMut>(statement: &mut V) -> Result<()> {
    let mut rows = Rows { failed: None };
    let _ = statement.visit(&mut rows);
    rows.failed.map_or(Ok(()), Err)
}

struct Rows {
    failed: Option<HwError>,
}

impl VisitorMut for Rows {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        match super::recursive::rewrite(query).and_then(|()| rewrite_body(&mut query.body)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(e) => {
                self.failed = Some(e);
                ControlFlow::Break(())
            }
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let Some(new) = series(factor) {
            *factor = new;
        }
        if let TableFactor::UNNEST { alias, array_exprs, with_offset: false, with_ordinality, .. } = factor {
            let numbered = std::mem::take(with_ordinality);
            if numbered {
                number_elements(array_exprs);
            }
            name_elements(alias, array_exprs, numbered);
            tell_apart(array_exprs);
        }
        ControlFlow::Continue(())
    }
}

fn rewrite_body(body: &mut SetExpr) -> Result<()> {
    match body {
        SetExpr::SetOperation { op, set_quantifier, left, right } => {
            rewrite_body(left)?;
            rewrite_body(right)?;
            let word = match op {
                SetOperator::Intersect => "INTERSECT",
                SetOperator::Except => "EXCEPT",
                _ => return Ok(()),
            };
            let all = matches!(set_quantifier, SetQuantifier::All);
            let kind = if all { format!("{word} ALL") } else { word.to_string() };
            let side = |side: &SetExpr| Expr::Subquery(Box::new(as_query(side.clone())));
            let args = vec![Expr::Value(Value::SingleQuotedString(kind).into()), side(left), side(right)];
            let from = TableFactor::Function {
                lateral: false,
                name: ObjectName::from(vec![Ident::with_quote('"', SET_OPERATION)]),
                args: args.into_iter().map(|a| FunctionArg::Unnamed(FunctionArgExpr::Expr(a))).collect(),
                with_ordinality: false,
                alias: None,
            };
            *body = select_from(from)?;
        }
        SetExpr::Table(table) => {
            let parts = [table.schema_name.take(), table.table_name.take()];
            let name = parts.into_iter().flatten().map(Ident::new).collect::<Vec<_>>();
            let mut select = select_from(placeholder())?;
            if let SetExpr::Select(select) = &mut select
                && let Some(TableWithJoins { relation: TableFactor::Table { name: to, .. }, .. }) =
                    select.from.first_mut()
            {
                *to = ObjectName::from(name);
            }
            *body = select;
        }
        _ => {}
    }
    Ok(())
}

pub fn as_query(body: SetExpr) -> Query {
    match body {
        SetExpr::Query(query) => *query,
        body => Query {
            with: None,
            body: Box::new(body),
            order_by: None,
            limit_clause: None,
            fetch: None,
            locks: Vec::new(),
            for_clause: None,
            settings: None,
            format_clause: None,
            pipe_operators: Vec::new(),
        },
    }
}

fn placeholder() -> TableFactor {
    TableFactor::Function {
        lateral: false,
        name: ObjectName::from(vec![]),
        args: vec![],
        with_ordinality: false,
        alias: None,
    }
}

/// A SELECT whose list is to be filled.
pub fn select_nothing() -> Result<Select> {
    match select_from(placeholder())? {
        SetExpr::Select(select) => Ok(Select { from: vec![], projection: vec![], ..*select }),
        _ => Err(HwError::internal("a template is no SELECT")),
    }
}

/// `SELECT * FROM factor`; an empty function leaves a table to be named.
pub fn select_from(factor: TableFactor) -> Result<SetExpr> {
    let parsed = Parser::parse_sql(&PostgreSqlDialect {}, "SELECT * FROM x");
    let Ok([Statement::Query(query)]) = parsed.as_deref() else {
        return Err(HwError::internal("a template does not parse"));
    };
    let mut body = (*query.body).clone();
    if let SetExpr::Select(select) = &mut body
        && let Some(from) = select.from.first_mut()
        && !matches!(&factor, TableFactor::Function { name, .. } if name.0.is_empty())
    {
        from.relation = factor;
    }
    Ok(body)
}

/// `generate_series(…)` in FROM, and `unnest` that the parser reads as any function, as UNNEST.
fn series(factor: &TableFactor) -> Option<TableFactor> {
    let (name, args, alias, with_ordinality) = match factor {
        TableFactor::Table { name, args: Some(args), alias, with_ordinality, .. } => {
            (name, &args.args, alias, *with_ordinality)
        }
        TableFactor::Function { name, args, alias, with_ordinality, .. } => {
            (name, args, alias, *with_ordinality)
        }
        _ => return None,
    };
    let [ObjectNamePart::Identifier(function)] = name.0.as_slice() else { return None };
    let exprs = args.iter().map(|a| match a {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Some(e.clone()),
        _ => None,
    });
    let args = exprs.collect::<Option<Vec<_>>>()?;
    let name = function.value.to_ascii_lowercase();
    let array_exprs = match name.as_str() {
        "generate_series" => vec![call("generate_series", args)],
        "generate_subscripts" => vec![super::calls::subscripts(args)],
        "unnest" => args,
        _ => return None,
    };
    let mut alias = alias.clone();
    if alias.is_none() {
        alias = Some(table_alias(Ident::new(name)));
    }
    let (with_offset, with_offset_alias) = (false, None);
    Some(TableFactor::UNNEST { alias, array_exprs, with_offset, with_offset_alias, with_ordinality })
}

/// WITH ORDINALITY is one more array, of the numbers from 1.
fn number_elements(array_exprs: &mut Vec<Expr>) {
    let zero = || Expr::Value(Value::Number("0".into(), false).into());
    let lengths = array_exprs.iter().map(|a| call("cardinality", vec![a.clone()]));
    let length = call("coalesce", vec![call("greatest", lengths.collect()), zero()]);
    let wide = |e: Expr| Expr::Cast {
        kind: CastKind::DoubleColon,
        expr: Box::new(e),
        data_type: DataType::BigInt(None),
        array: false,
        format: None,
    };
    let one = Expr::Value(Value::Number("1".into(), false).into());
    array_exprs.push(call("generate_series", vec![wide(one), wide(length)]));
}

/// Arrays of one text are one column to DataFusion, which leaves casts out of its names.
fn tell_apart(arrays: &mut [Expr]) {
    let bare = |mut e: &Expr| -> String {
        while let Expr::Cast { expr, .. } | Expr::Nested(expr) = e {
            e = expr;
        }
        e.to_string()
    };
    let texts: Vec<String> = arrays.iter().map(bare).collect();
    for (at, array) in arrays.iter_mut().enumerate() {
        for _ in texts[..at].iter().filter(|t| **t == texts[at]) {
            *array = call("same_value", vec![array.clone()]);
        }
    }
}

fn table_alias(name: Ident) -> TableAlias {
    TableAlias { explicit: true, name, columns: vec![], at: None }
}

/// The columns of a function in FROM are named as its alias, or else as the function.
fn name_elements(alias: &mut Option<TableAlias>, arrays: &[Expr], numbered: bool) {
    let alias = alias.get_or_insert_with(|| table_alias(Ident::new("unnest")));
    let values = arrays.len() - usize::from(numbered);
    let column = |name: Ident| TableAliasColumnDef { name, data_type: None };
    if alias.columns.is_empty() {
        let name = if values == 1 { alias.name.clone() } else { Ident::new("unnest") };
        let repeated = |i: usize| Ident::with_quote('"', format!("{}:{i}", name.value));
        let names = (0..values).map(|i| if i == 0 { name.clone() } else { repeated(i) });
        alias.columns = names.map(column).collect();
    }
    if numbered && alias.columns.len() == values {
        alias.columns.push(column(Ident::new("ordinality")));
    }
}
