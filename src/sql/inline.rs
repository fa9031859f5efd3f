//! Calls of SQL functions become the text of their bodies.
//!
//! A scalar function whose body is `SELECT expression` becomes that expression; another body
//! becomes a scalar subquery, and a function that returns a table a derived table. Arguments
//! that are not constants are computed beside the body, which reads them through a lateral
//! join, so their names cannot mean columns of the body's relations. Arguments and results
//! are cast to the declared types. Calls nested deeper than [`DEPTH_MAX`] are 54001.

use std::ops::ControlFlow;

use sqlparser::ast::*;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use crate::error::{HwError, Result, sqlstate};

/// Functions may call functions so deep.
const DEPTH_MAX: usize = 32;

/// A function as it was declared.
#[derive(Clone, Debug)]
pub struct SqlFunction {
    pub name: String,
    /// Names, if given, and types.
    pub parameters: Vec<(Option<String>, String)>,
    pub returns: Returns,
    pub body: String,
    pub strict: bool,
}

#[derive(Clone, Debug)]
pub enum Returns {
    Scalar(String),
    /// Names and types.
    Table(Vec<(String, String)>),
}

/// Finds a function by schema and name.
pub type Lookup<'a> = dyn Fn(Option<&str>, &str) -> Option<SqlFunction> + 'a;

/// Replaces the calls in a query; `None` if it has none.
pub fn inline_functions(query: &Query, lookup: &Lookup) -> Result<Option<Query>> {
    let mut inlined = query.clone();
    for depth in 0.. {
        let mut inliner = Inliner { lookup, count: 0, failed: None };
        let _ = VisitMut::visit(&mut inlined, &mut inliner);
        if let Some(e) = inliner.failed {
            return Err(e);
        }
        if inliner.count == 0 {
            return Ok((depth > 0).then_some(inlined));
        }
        if depth == DEPTH_MAX {
            break;
        }
    }
    Err(HwError::new(sqlstate::STATEMENT_TOO_COMPLEX, "functions call each other too deeply"))
}

struct Inliner<'a> {
    lookup: &'a Lookup<'a>,
    count: usize,
    failed: Option<HwError>,
}

impl Inliner<'_> {
    fn find(&self, name: &ObjectName) -> Option<SqlFunction> {
        let folded = |part: &ObjectNamePart| {
            let id = part.as_ident()?;
            Some(if id.quote_style.is_some() { id.value.clone() } else { id.value.to_lowercase() })
        };
        match name.0.as_slice() {
            [name] => (self.lookup)(None, &folded(name)?),
            [schema, name] => (self.lookup)(Some(&folded(schema)?), &folded(name)?),
            _ => None,
        }
    }

    fn apply<T>(&mut self, target: &mut T, new: Result<Option<T>>) -> ControlFlow<()> {
        match new {
            Ok(None) => ControlFlow::Continue(()),
            Ok(Some(new)) => {
                *target = new;
                self.count += 1;
                ControlFlow::Continue(())
            }
            Err(e) => {
                self.failed = Some(e);
                ControlFlow::Break(())
            }
        }
    }

    fn expression(&self, expr: &Expr) -> Result<Option<Expr>> {
        let Expr::Function(call) = expr else { return Ok(None) };
        if call.over.is_some() || call.filter.is_some() {
            return Ok(None);
        }
        let Some(function) = self.find(&call.name) else { return Ok(None) };
        let arguments = match &call.args {
            FunctionArguments::None => Some(vec![]),
            FunctionArguments::List(list) => plain_arguments(&list.args),
            FunctionArguments::Subquery(_) => None,
        };
        let arguments = arguments.filter(|a| a.len() == function.parameters.len());
        match (arguments, &function.returns) {
            (Some(arguments), Returns::Scalar(returns)) => scalar(&function, &arguments, returns).map(Some),
            (Some(_), Returns::Table(_)) => Err(HwError::unsupported(
                format!("calling {}, which returns a table, outside of FROM", function.name),
                "Write it in FROM, with LATERAL if it reads columns.",
            )),
            (None, _) => Err(wrong_arguments(&function)),
        }
    }

    fn relation(&self, factor: &TableFactor) -> Result<Option<TableFactor>> {
        let (name, args, alias) = match factor {
            TableFactor::Table { name, args: Some(args), alias, .. } => (name, &args.args, alias),
            TableFactor::Function { name, args, alias, .. } => (name, args, alias),
            _ => return Ok(None),
        };
        let Some(function) = self.find(name) else { return Ok(None) };
        let arguments = plain_arguments(args).filter(|a| a.len() == function.parameters.len());
        let arguments = arguments.ok_or_else(|| wrong_arguments(&function))?;
        let columns = match &function.returns {
            Returns::Table(columns) => columns.clone(),
            Returns::Scalar(returns) => vec![(function.name.clone(), returns.clone())],
        };
        let casts: Vec<String> =
            columns.iter().map(|(n, t)| format!("CAST({} AS {t}) AS {}", quoted(n), quoted(n))).collect();
        let names: Vec<String> = columns.iter().map(|(n, _)| quoted(n)).collect();
        let (casts, names) = (casts.join(", "), names.join(", "));
        let query = match &function.returns {
            Returns::Scalar(returns) => {
                format!("SELECT {} AS {names}", scalar(&function, &arguments, returns)?)
            }
            Returns::Table(_) => match constants(&function, &arguments) {
                Some(values) => {
                    format!("SELECT {casts} FROM ({}) AS \"f body\"({names})", body(&function, &values)?)
                }
                None => {
                    let body = body(&function, &carried(&function))?;
                    let arguments = computed(&function, &arguments);
                    format!(
                        "SELECT {casts} FROM ({arguments}) AS \"f args\", LATERAL ({body}) AS \"f body\"({names})"
                    )
                }
            },
        };
        let alias = match alias {
            Some(alias) => alias.to_string(),
            None => quoted(&function.name),
        };
        let lateral = if arguments.is_empty() { "" } else { "LATERAL " };
        match parse(&format!("SELECT * FROM {lateral}({query}) AS {alias}"))?.body.as_ref() {
            SetExpr::Select(select) => Ok(select.from.first().map(|from| from.relation.clone())),
            _ => Ok(None),
        }
    }
}

impl VisitorMut for Inliner<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        // A column that is a call keeps the function's name.
        if let SetExpr::Select(select) = query.body.as_mut() {
            for item in &mut select.projection {
                if let SelectItem::UnnamedExpr(expr @ Expr::Function(_)) = item
                    && let Expr::Function(call) = &*expr
                    && let Some(function) = self.find(&call.name)
                {
                    let alias = Ident::with_quote('"', function.name);
                    *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let new = self.expression(expr);
        self.apply(expr, new)
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let new = self.relation(factor);
        self.apply(factor, new)
    }
}

fn wrong_arguments(function: &SqlFunction) -> HwError {
    let types: Vec<&str> = function.parameters.iter().map(|(_, t)| t.as_str()).collect();
    HwError::new(
        sqlstate::UNDEFINED_FUNCTION,
        format!("function {} with these arguments does not exist", function.name),
    )
    .with_hint(format!("There is {}({}).", function.name, types.join(", ")))
}

fn plain_arguments(args: &[FunctionArg]) -> Option<Vec<Expr>> {
    let plain = args.iter().map(|a| match a {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Some(e.clone()),
        _ => None,
    });
    plain.collect()
}

fn quoted(name: &str) -> String {
    Ident::with_quote('"', name).to_string()
}

fn parse(sql: &str) -> Result<Query> {
    let mut parsed = Parser::parse_sql(&PostgreSqlDialect {}, sql).map_err(|e| {
        let text = e.to_string();
        HwError::new(sqlstate::SYNTAX_ERROR, text.trim_start_matches("sql parser error: ").to_string())
    })?;
    match (parsed.pop(), parsed.is_empty()) {
        (Some(Statement::Query(query)), true) => Ok(*query),
        _ => Err(HwError::new(
            sqlstate::INVALID_FUNCTION_DEFINITION,
            "the body of a function must be one SELECT",
        )),
    }
}

fn cast(value: &str, data_type: &str) -> String {
    format!("CAST({value} AS {data_type})")
}

/// The arguments as constants of the declared types, if all are.
fn constants(function: &SqlFunction, arguments: &[Expr]) -> Option<Vec<String>> {
    fn constant(e: &Expr) -> bool {
        match e {
            Expr::Value(_) | Expr::TypedString(_) | Expr::Interval(_) => true,
            Expr::Cast { expr, .. } | Expr::Nested(expr) | Expr::UnaryOp { expr, .. } => constant(expr),
            _ => false,
        }
    }
    let values = arguments.iter().zip(&function.parameters);
    arguments.iter().all(constant).then(|| values.map(|(a, (_, t))| cast(&a.to_string(), t)).collect())
}

/// The parameters as columns of the relation of arguments.
fn carried(function: &SqlFunction) -> Vec<String> {
    (1..=function.parameters.len()).map(|n| format!("\"f args\".\"${n}\"")).collect()
}

/// The query that computes the arguments.
fn computed(function: &SqlFunction, arguments: &[Expr]) -> String {
    let values = arguments.iter().zip(&function.parameters).enumerate();
    let values = values.map(|(i, (a, (_, t)))| format!("{} AS \"${}\"", cast(&a.to_string(), t), i + 1));
    format!("SELECT {}", values.collect::<Vec<_>>().join(", "))
}

/// The body with values in place of its parameters.
fn body(function: &SqlFunction, values: &[String]) -> Result<Query> {
    let mut query = parse(&function.body)?;
    let parameter = |expr: &Expr| -> Option<usize> {
        let named = |id: &Ident| {
            let name = if id.quote_style.is_some() { id.value.clone() } else { id.value.to_lowercase() };
            function.parameters.iter().position(|(n, _)| n.as_deref() == Some(name.as_str()))
        };
        match expr {
            Expr::Identifier(id) => named(id),
            Expr::CompoundIdentifier(ids) => match ids.as_slice() {
                [owner, id] if owner.value.eq_ignore_ascii_case(&function.name) => named(id),
                _ => None,
            },
            Expr::Value(v) => match &v.value {
                Value::Placeholder(p) => {
                    let n = p.strip_prefix('$')?.parse::<usize>().ok()?.checked_sub(1)?;
                    Some(n).filter(|n| *n < function.parameters.len())
                }
                _ => None,
            },
            _ => None,
        }
    };
    let parsed: Vec<Expr> = values.iter().map(|v| parse_expr(v)).collect::<Result<_>>()?;
    let _ = visit_expressions_mut(&mut query, |expr| {
        if let Some(n) = parameter(expr) {
            *expr = parsed[n].clone();
        }
        ControlFlow::<()>::Continue(())
    });
    Ok(query)
}

fn parse_expr(text: &str) -> Result<Expr> {
    match *parse(&format!("SELECT ({text})"))?.body {
        SetExpr::Select(mut select) => match select.projection.pop() {
            Some(SelectItem::UnnamedExpr(e)) => Ok(e),
            _ => Err(HwError::internal("an argument is no expression")),
        },
        _ => Err(HwError::internal("an argument is no expression")),
    }
}

fn scalar(function: &SqlFunction, arguments: &[Expr], returns: &str) -> Result<Expr> {
    let values: Vec<String> =
        arguments.iter().zip(&function.parameters).map(|(a, (_, t))| cast(&a.to_string(), t)).collect();
    let plain = match only_expression(&parse(&function.body)?) {
        true => only_item(&body(function, &values)?).map(|e| cast(&format!("({e})"), returns)),
        false => None,
    };
    let value = match (plain, constants(function, arguments)) {
        (Some(plain), _) => plain,
        (None, Some(values)) => cast(&format!("({})", body(function, &values)?), returns),
        (None, None) => {
            let body = body(function, &carried(function))?;
            let arguments = computed(function, arguments);
            let query = format!(
                "SELECT \"f body\".r FROM ({arguments}) AS \"f args\", LATERAL ({body}) AS \"f body\"(r)"
            );
            cast(&format!("({query})"), returns)
        }
    };
    let value = match function.strict && !values.is_empty() {
        true => {
            let nulls: Vec<String> = values.iter().map(|v| format!("{v} IS NULL")).collect();
            format!("CASE WHEN {} THEN NULL ELSE {value} END", nulls.join(" OR "))
        }
        false => value,
    };
    parse_expr(&value)
}

/// `SELECT expression` and nothing else.
fn only_expression(query: &Query) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else { return false };
    let bare = Select { projection: vec![], ..select.as_ref().clone() };
    let SetExpr::Select(empty) = (match parse("SELECT 1") {
        Ok(query) => *query.body,
        Err(_) => return false,
    }) else {
        return false;
    };
    let empty = Select { projection: vec![], ..*empty };
    query.with.is_none() && query.limit_clause.is_none() && bare.to_string() == empty.to_string()
}

fn only_item(query: &Query) -> Option<&Expr> {
    match query.body.as_ref() {
        SetExpr::Select(select) => match select.projection.as_slice() {
            [SelectItem::UnnamedExpr(e) | SelectItem::ExprWithAlias { expr: e, .. }] => Some(e),
            _ => None,
        },
        _ => None,
    }
}
