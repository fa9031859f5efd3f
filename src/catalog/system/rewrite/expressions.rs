//! Operators, functions and arrays of catalog queries.

use std::collections::HashSet;
use std::sync::LazyLock;

use arrow::datatypes::DataType as ArrowType;
use sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, Ident, ObjectName, Query, Select, SelectItem, SetExpr, Statement, Subscript,
    TableAlias, TableFactor, Value,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::super::layout::layouts;
use super::ast::{
    arguments, as_string, boolean, call, column_name, folded, function_name, name_parts, number, quoted,
    string, take,
};
use super::casts::{VECTORS, array_items, array_of, single_argument};

pub(super) fn rewrite(expr: &mut Expr) {
    match expr {
        Expr::Collate { expr: inner, collation } => {
            let plain =
                matches!(name_parts(collation).last().map(String::as_str), Some("default" | "C" | "POSIX"));
            if plain {
                *expr = take(inner);
            }
        }
        Expr::BinaryOp { left, op, right } => {
            plain_operator(op);
            if matches!(op, BinaryOperator::Eq | BinaryOperator::NotEq) {
                literal_of_column(left, right);
            }
        }
        Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. } => {
            let escape = escape_char.as_ref().and_then(|v| match &v.value {
                Value::SingleQuotedString(text) => text.chars().next(),
                _ => None,
            });
            if let Some(escape) = escape.filter(|c| *c != '\\') {
                backslash_escapes(pattern, escape);
                *escape_char = None;
            }
        }
        Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } => {
            if let Some(items) = as_string(right).and_then(array_items) {
                let numeric = !items.is_empty() && items.iter().all(|i| i.parse::<i64>().is_ok());
                **right = array_of(items, numeric);
            }
        }
        Expr::Function(function) => rewrite_call(function),
        Expr::CompoundFieldAccess { .. } => access(expr),
        _ => {}
    }
    if function_name(expr).as_deref() == Some("generate_subscripts") {
        generate_subscripts(expr);
    }
}

/// `OPERATOR(pg_catalog.~)` as `~`.
fn plain_operator(op: &mut BinaryOperator) {
    let BinaryOperator::PGCustomBinaryOperator(parts) = op else { return };
    *op = match parts.last().map(String::as_str) {
        Some("~") => BinaryOperator::PGRegexMatch,
        Some("~*") => BinaryOperator::PGRegexIMatch,
        Some("!~") => BinaryOperator::PGRegexNotMatch,
        Some("!~*") => BinaryOperator::PGRegexNotIMatch,
        Some("~~") => BinaryOperator::PGLikeMatch,
        Some("=") => BinaryOperator::Eq,
        Some("<>") => BinaryOperator::NotEq,
        Some("<") => BinaryOperator::Lt,
        Some(">") => BinaryOperator::Gt,
        Some("+") => BinaryOperator::Plus,
        Some("||") => BinaryOperator::StringConcat,
        _ => return,
    };
}

/// Names of the catalog columns of a kind of type.
fn columns_of(is_kind: fn(&ArrowType) -> bool) -> HashSet<&'static str> {
    let columns = layouts().iter().flat_map(|l| l.columns.iter().zip(l.arrow.fields()));
    columns.filter(|(_, f)| is_kind(f.data_type())).map(|(c, _)| c.name).collect()
}

static ARRAY_COLUMNS: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| columns_of(|t| matches!(t, ArrowType::List(_))));
static BOOLEAN_COLUMNS: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| columns_of(|t| t == &ArrowType::Boolean));

/// `coalesce(array, '{}')`: DataFusion does not read arrays from text.
pub(super) fn empty_array_default(expr: &mut Expr) {
    if function_name(expr).as_deref() != Some("coalesce") {
        return;
    }
    let Expr::Function(function) = expr else { return };
    let FunctionArguments::List(list) = &mut function.args else { return };
    for argument in list.args.iter_mut().skip(1) {
        if let FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) = argument
            && as_string(value) == Some("{}")
        {
            *value = call("make_array", vec![]);
        }
    }
}

/// `polroles = '{0}'`, `indisprimary = 'f'`: the literal takes the type of the column beside it.
fn literal_of_column(left: &Expr, right: &mut Expr) {
    let (Some(column), Some(text)) = (column_name(left), as_string(right)) else { return };
    if ARRAY_COLUMNS.contains(column.as_str()) {
        if let Some(items) = array_items(text) {
            *right = array_of(items, true);
        }
    } else if BOOLEAN_COLUMNS.contains(column.as_str()) {
        match text {
            "t" | "true" => *right = boolean(true),
            "f" | "false" => *right = boolean(false),
            _ => {}
        }
    }
}

/// DataFusion escapes LIKE patterns with a backslash only.
fn backslash_escapes(pattern: &mut Expr, escape: char) {
    match pattern {
        Expr::BinaryOp { left, right, .. } => {
            backslash_escapes(left, escape);
            backslash_escapes(right, escape);
        }
        Expr::Nested(inner) => backslash_escapes(inner, escape),
        other => {
            let Some(text) = as_string(other) else {
                let doubled = call("replace", vec![take(other), string("\\"), string("\\\\")]);
                *other = call("replace", vec![doubled, string(&escape.to_string()), string("\\")]);
                return;
            };
            let mut escaped = String::new();
            let mut chars = text.chars();
            while let Some(c) = chars.next() {
                match c {
                    c if c == escape => escaped.extend(['\\', chars.next().unwrap_or('\\')]),
                    '\\' => escaped.push_str("\\\\"),
                    c => escaped.push(c),
                }
            }
            *other = string(&escaped);
        }
    }
}

/// Functions live in one namespace; some have other names in DataFusion.
fn rewrite_call(function: &mut Function) {
    let parts = name_parts(&function.name);
    let [.., name] = parts.as_slice() else { return };
    let qualified =
        matches!(parts.as_slice(), [schema, _] if schema == "pg_catalog" || schema == "information_schema");
    let renamed = match name.as_str() {
        "array_upper" => "array_length",
        other => other,
    };
    if qualified || renamed != name {
        function.name = ObjectName::from(Ident::new(renamed));
    }
}

/// Set-returning subscripts of an array; those of PostgreSQL's vectors start at 0.
fn generate_subscripts(expr: &mut Expr) {
    let Expr::Function(function) = expr else { return };
    let Some(array) = arguments(function).first().map(|a| (*a).clone()) else { return };
    let first = if is_vector(&array) { 0 } else { 1 };
    *expr = call("unnest", vec![call("pg_subscripts", vec![array, number(first)])]);
}

fn is_vector(expr: &Expr) -> bool {
    column_name(expr).is_some_and(|c| VECTORS.contains(&c.as_str()))
}

/// `indkey[0]`, `(_pg_expandarray(indkey)).n` and `(keys).x`.
fn access(expr: &mut Expr) {
    let Expr::CompoundFieldAccess { root, access_chain } = expr else { return };
    match access_chain.as_mut_slice() {
        [AccessExpr::Subscript(Subscript::Index { index })] if is_vector(root) => {
            let position = take(index);
            let position = Expr::Nested(Box::new(position));
            *index = Expr::BinaryOp {
                left: Box::new(position),
                op: BinaryOperator::Plus,
                right: Box::new(number(1)),
            };
        }
        [AccessExpr::Dot(field)] => {
            let Some(field) = column_name(field).filter(|f| f == "x" || f == "n") else { return };
            let root = unnested(root);
            if function_name(root).as_deref() == Some("_pg_expandarray") {
                if let Some(part) = expanded(root, &field) {
                    *expr = part;
                }
            } else if let Some(part) = composite_part(root, &field) {
                *expr = part;
            }
        }
        _ => {}
    }
}

fn unnested(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) => unnested(inner),
        other => other,
    }
}

/// One column of `_pg_expandarray(array)`: the elements (`x`) or their positions (`n`).
fn expanded(function: &Expr, field: &str) -> Option<Expr> {
    let array = single_argument(function)?;
    Some(match field {
        "x" => call("unnest", vec![array]),
        _ => call("unnest", vec![call("pg_subscripts", vec![array, number(1)])]),
    })
}

/// The column that [`expand_arrays`] made for a field of an expanded array.
fn composite_part(root: &Expr, field: &str) -> Option<Expr> {
    let part = |ident: &Ident| quoted(&format!("{}.{field}", folded(ident)));
    match root {
        Expr::Identifier(ident) => Some(Expr::Identifier(part(ident))),
        Expr::CompoundIdentifier(parts) => {
            let (last, rest) = parts.split_last()?;
            let mut parts = rest.to_vec();
            parts.push(part(last));
            Some(Expr::CompoundIdentifier(parts))
        }
        _ => None,
    }
}

/// `_pg_expandarray(a) AS keys` returns rows of two fields: they become two columns.
pub(super) fn expand_arrays(select: &mut Select) {
    let is_expansion = |item: &SelectItem| matches!(item, SelectItem::ExprWithAlias { expr, .. } if function_name(expr).as_deref() == Some("_pg_expandarray"));
    if !select.projection.iter().any(is_expansion) {
        return;
    }
    let mut projection = Vec::with_capacity(select.projection.len() + 1);
    for item in std::mem::take(&mut select.projection) {
        match item {
            SelectItem::ExprWithAlias { expr, alias }
                if function_name(&expr).as_deref() == Some("_pg_expandarray") =>
            {
                for field in ["x", "n"] {
                    let alias = quoted(&format!("{}.{field}", folded(&alias)));
                    projection
                        .extend(expanded(&expr, field).map(|expr| SelectItem::ExprWithAlias { expr, alias }));
                }
            }
            other => projection.push(other),
        }
    }
    select.projection = projection;
}

/// Words that are key words here and not in SQL:2003, for `pg_get_keywords`.
const KEYWORDS: &str = "SELECT * FROM (VALUES ('analyze'), ('emit'), ('explain'), ('index'), ('limit'), \
     ('materialized'), ('offset'), ('returning'), ('show'), ('sink'), ('source'), ('subscribe'), \
     ('watermark')) AS pg_get_keywords(word)";

/// Table functions: unqualified, and with computed arguments as an unnested array.
pub(super) fn table_function(factor: &mut TableFactor) {
    let TableFactor::Table { name, args: Some(args), alias, .. } = factor else { return };
    let parts = name_parts(name);
    let Some(function) = parts.last().cloned() else { return };
    if matches!(parts.as_slice(), [schema, _] if schema == "pg_catalog") {
        *name = ObjectName::from(Ident::new(function.as_str()));
    }
    let arguments: Vec<Expr> = args
        .args
        .iter()
        .filter_map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Some(e.clone()),
            _ => None,
        })
        .collect();
    let literal = |e: &Expr| matches!(e, Expr::Value(_) | Expr::UnaryOp { .. });
    if function == "generate_series" && !arguments.iter().all(literal) {
        let big = |expr| Expr::Cast {
            kind: CastKind::DoubleColon,
            expr: Box::new(Expr::Nested(Box::new(expr))),
            data_type: DataType::BigInt(None),
            array: false,
            format: None,
        };
        let series = call("generate_series", arguments.into_iter().map(big).collect());
        if let Some(derived) = derived(&format!("SELECT unnest({series}) AS generate_series"), alias.take()) {
            *factor = derived;
        }
    } else if function == "pg_get_keywords"
        && let Some(derived) = derived(KEYWORDS, alias.take())
    {
        *factor = derived;
    }
}

/// A subquery in FROM from its text.
fn derived(sql: &str, alias: Option<TableAlias>) -> Option<TableFactor> {
    let statement = Parser::parse_sql(&PostgreSqlDialect {}, sql).ok()?.pop()?;
    let Statement::Query(subquery) = statement else { return None };
    Some(TableFactor::Derived { lateral: false, subquery, alias, sample: None })
}

/// `array(select 'prefix' || x from unnest(a) x)` without the subquery, which would be
/// lateral: the array and the prefix.
pub(super) fn mapped_array(query: &Query) -> Option<Expr> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let [tables] = select.from.as_slice() else { return None };
    if !tables.joins.is_empty() || select.selection.is_some() {
        return None;
    }
    let array = match &tables.relation {
        TableFactor::UNNEST { array_exprs, .. } => array_exprs.first()?.clone(),
        TableFactor::Function { name, args, .. } if name_parts(name).last()? == "unnest" => {
            match args.first()? {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => e.clone(),
                _ => return None,
            }
        }
        TableFactor::Table { name, args: Some(args), .. } if name_parts(name).last()? == "unnest" => {
            match args.args.first()? {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => e.clone(),
                _ => return None,
            }
        }
        _ => return None,
    };
    let (SelectItem::UnnamedExpr(item) | SelectItem::ExprWithAlias { expr: item, .. }) =
        select.projection.first()?
    else {
        return None;
    };
    let prefix = match item {
        Expr::BinaryOp { left, op: BinaryOperator::StringConcat, right } if column_name(right).is_some() => {
            as_string(left)?.to_string()
        }
        column if column_name(column).is_some() => return Some(array),
        _ => return None,
    };
    Some(call("pg_array_prefix", vec![string(&prefix), array]))
}

/// An empty `text[]`.
pub(super) fn empty_array() -> Expr {
    call("pg_array_prefix", vec![string(""), super::ast::null()])
}
