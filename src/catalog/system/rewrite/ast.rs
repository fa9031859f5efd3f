//! Small constructors and readers of sqlparser trees.

use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName,
    Query, Select, SetExpr, Value,
};

/// The parts of a name, folded as PostgreSQL folds them.
pub(super) fn name_parts(name: &ObjectName) -> Vec<String> {
    name.0.iter().filter_map(|part| part.as_ident()).map(folded).collect()
}

pub(super) fn folded(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

pub(super) fn qualified(schema: &str, name: &str) -> ObjectName {
    ObjectName::from(vec![Ident::new(schema), Ident::new(name)])
}

/// An identifier that means exactly `name`.
pub(super) fn quoted(name: &str) -> Ident {
    Ident::with_quote('"', name)
}

pub(super) fn number(value: i64) -> Expr {
    Expr::value(Value::Number(value.to_string(), false))
}

pub(super) fn string(value: &str) -> Expr {
    Expr::value(Value::SingleQuotedString(value.to_string()))
}

pub(super) fn boolean(value: bool) -> Expr {
    Expr::value(Value::Boolean(value))
}

pub(super) fn null() -> Expr {
    Expr::value(Value::Null)
}

/// A string literal's text.
pub(super) fn as_string(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// Takes the expression out, leaving NULL.
pub(super) fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, null())
}

pub(super) fn call(name: &str, args: Vec<Expr>) -> Expr {
    let args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect();
    Expr::Function(Function {
        name: ObjectName::from(Ident::new(name)),
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

/// The bare name of a called function.
pub(super) fn function_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Function(function) => name_parts(&function.name).pop(),
        _ => None,
    }
}

pub(super) fn rename_function(expr: &mut Expr, name: &str) {
    if let Expr::Function(function) = expr {
        function.name = ObjectName::from(Ident::new(name));
    }
}

/// The positional arguments of a call.
pub(super) fn arguments(function: &Function) -> Vec<&Expr> {
    let FunctionArguments::List(list) = &function.args else { return vec![] };
    list.args
        .iter()
        .filter_map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
            _ => None,
        })
        .collect()
}

/// The column that the expression names, without its qualifier.
pub(super) fn column_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(ident) => Some(folded(ident)),
        Expr::CompoundIdentifier(parts) => parts.last().map(folded),
        Expr::Nested(inner) => column_name(inner),
        _ => None,
    }
}

/// The SELECT that a query consists of, if it is nothing more than that.
pub(super) fn plain_select(query: &Query) -> Option<&Select> {
    let simple = query.with.is_none() && query.limit_clause.is_none() && query.fetch.is_none();
    match query.body.as_ref() {
        SetExpr::Select(select) if simple => Some(select),
        _ => None,
    }
}

pub(super) fn plain_select_mut(query: &mut Query) -> Option<&mut Select> {
    plain_select(query)?;
    match query.body.as_mut() {
        SetExpr::Select(select) => Some(select),
        _ => None,
    }
}
