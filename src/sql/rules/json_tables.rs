//! Set-returning jsonb functions as UNNEST of lists.
//!
//! `FROM jsonb_array_elements(x) AS t` becomes `FROM UNNEST(jsonb_element_list(x)) AS
//! t(value)`, `jsonb_each` unnests keys and values side by side, and in a select list
//! `jsonb_array_elements(x)` becomes `unnest(jsonb_element_list(x))`. Columns get
//! PostgreSQL's names.

use sqlparser::ast::*;

use super::ast::call;

/// The list functions, and the columns, of a set-returning function.
fn lists(name: &str) -> Option<(&'static [&'static str], &'static [&'static str])> {
    Some(match name {
        "jsonb_array_elements" | "json_array_elements" => (&["jsonb_element_list"], &["value"]),
        "jsonb_array_elements_text" | "json_array_elements_text" => (&["jsonb_element_texts"], &["value"]),
        "jsonb_each" | "json_each" => (&["jsonb_key_list", "jsonb_value_list"], &["key", "value"]),
        "jsonb_each_text" | "json_each_text" => (&["jsonb_key_list", "jsonb_value_texts"], &["key", "value"]),
        "jsonb_object_keys" | "json_object_keys" => (&["jsonb_key_list"], &[]),
        "jsonb_path_query" => (&["jsonb_path_list"], &[]),
        _ => return None,
    })
}

fn simple_name(name: &ObjectName) -> Option<String> {
    Some(name.0.last()?.as_ident()?.value.to_ascii_lowercase())
}

fn plain_arguments(args: &[FunctionArg]) -> Option<Vec<Expr>> {
    let plain = |a: &FunctionArg| match a {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Some(e.clone()),
        _ => None,
    };
    args.iter().map(plain).collect()
}

/// A call in an expression; `None` if it is none of these functions.
pub fn expression(function: &Function) -> Option<Expr> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let ([only], _) = lists(&simple_name(&function.name)?)? else { return None };
    Some(call("unnest", vec![call(only, plain_arguments(&list.args)?)]))
}

/// A call in FROM, in place.
pub fn table(factor: &mut TableFactor) {
    let (name, args, alias, with_ordinality) = match factor {
        TableFactor::Function { name, args, alias, .. } => (name, &*args, alias, false),
        TableFactor::Table { name, args: Some(args), alias, with_ordinality, .. } => {
            (name, &args.args, alias, *with_ordinality)
        }
        _ => return,
    };
    let Some(name) = simple_name(name) else { return };
    let Some((functions, columns)) = lists(&name) else { return };
    let Some(args) = plain_arguments(args) else { return };
    let given = alias.take();
    let table_name = given.as_ref().map_or_else(|| Ident::new(name), |a| a.name.clone());
    let columns = match given {
        Some(alias) if !alias.columns.is_empty() => alias.columns,
        _ => {
            let own = [table_name.value.as_str()];
            let names = if columns.is_empty() { own.as_slice() } else { columns };
            let column = |name: &&str| TableAliasColumnDef { name: Ident::new(*name), data_type: None };
            names.iter().map(column).collect()
        }
    };
    *factor = TableFactor::UNNEST {
        alias: Some(TableAlias { explicit: true, name: table_name, columns, at: None }),
        array_exprs: functions.iter().map(|f| call(f, args.clone())).collect(),
        with_offset: false,
        with_offset_alias: None,
        with_ordinality,
    };
}

/// Bounds that a slice leaves out: `a[:2]` is `a[1:2]`, `a[2:]` goes to the end.
pub fn fill_slices(access: &mut [AccessExpr]) {
    let number = |n: i32| Expr::Value(Value::Number(n.to_string(), false).into());
    for step in access {
        if let AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, .. }) = step {
            lower_bound.get_or_insert_with(|| number(1));
            upper_bound.get_or_insert_with(|| number(i32::MAX));
        }
    }
}
