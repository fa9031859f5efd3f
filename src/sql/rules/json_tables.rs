//! Set-returning functions of json and jsonb as UNNEST of lists.
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
        "jsonb_array_elements" => (&["jsonb_element_list"], &["value"]),
        "json_array_elements" => (&["json_element_list"], &["value"]),
        "jsonb_array_elements_text" => (&["jsonb_element_texts"], &["value"]),
        "json_array_elements_text" => (&["json_element_texts"], &["value"]),
        "jsonb_each" => (&["jsonb_key_list", "jsonb_value_list"], &["key", "value"]),
        "json_each" => (&["json_key_list", "json_value_list"], &["key", "value"]),
        "jsonb_each_text" => (&["jsonb_key_list", "jsonb_value_texts"], &["key", "value"]),
        "json_each_text" => (&["json_key_list", "json_value_texts"], &["key", "value"]),
        "jsonb_object_keys" => (&["jsonb_key_list"], &[]),
        "json_object_keys" => (&["json_keys"], &[]),
        "jsonb_path_query" => (&["jsonb_path_list"], &[]),
        "regexp_matches" => (&["regexp_match_list"], &[]),
        "regexp_split_to_table" => (&["regexp_split_to_array"], &[]),
        "string_to_table" => (&["string_to_array"], &[]),
        _ => return None,
    })
}

/// The alias and the columns of one of these functions in FROM, if it has an alias without columns
/// and the columns have names of their own.
pub fn named_columns(factor: &TableFactor) -> Option<(Ident, Vec<Ident>)> {
    let (name, alias) = match factor {
        TableFactor::Function { name, alias: Some(alias), with_ordinality: false, .. } => (name, alias),
        TableFactor::Table { name, args: Some(_), alias: Some(alias), with_ordinality: false, .. } => {
            (name, alias)
        }
        _ => return None,
    };
    let (_, columns) = lists(&simple_name(name)?)?;
    if columns.is_empty() || !alias.columns.is_empty() {
        return None;
    }
    Some((alias.name.clone(), columns.iter().map(|c| Ident::new(*c)).collect()))
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
        TableFactor::Function { name, args, alias, with_ordinality, .. } => {
            (name, &*args, alias, *with_ordinality)
        }
        TableFactor::Table { name, args: Some(args), alias, with_ordinality, .. } => {
            (name, &args.args, alias, *with_ordinality)
        }
        _ => return,
    };
    let Some(name) = simple_name(name) else { return };
    let Some(args) = plain_arguments(args) else { return };
    if let Some(made) = record(&name, &args, alias) {
        *factor = made;
        return;
    }
    let Some((functions, columns)) = lists(&name) else { return };
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

/// `jsonb_to_record(x) AS r(a int, …)` and `jsonb_to_recordset`: a subquery that takes the
/// fields out.
fn record(name: &str, args: &[Expr], alias: &mut Option<TableAlias>) -> Option<TableFactor> {
    let set = match name {
        "jsonb_to_record" | "json_to_record" => false,
        "jsonb_to_recordset" | "json_to_recordset" => true,
        _ => return None,
    };
    let ([document], Some(given)) = (args, &*alias) else { return None };
    let element = Expr::Identifier(Ident::with_quote('"', "__element"));
    let (kind, expr) = (CastKind::DoubleColon, Box::new(document.clone()));
    let (data_type, elements) = match name.starts_with("jsonb") {
        true => (DataType::JSONB, "jsonb_element_list"),
        false => (DataType::JSON, "json_element_list"),
    };
    let document = Expr::Cast { kind, expr, data_type, array: false, format: None };
    let value = if set { &element } else { &document };
    let text = |s: &str| Expr::Value(Value::SingleQuotedString(s.into()).into());
    let field = |column: &TableAliasColumnDef| {
        let data_type = column.data_type.clone()?;
        let json = matches!(data_type, DataType::JSON | DataType::JSONB);
        let name = match column.name.quote_style {
            Some(_) => column.name.value.clone(),
            None => column.name.value.to_lowercase(),
        };
        let op = if json { BinaryOperator::Arrow } else { BinaryOperator::LongArrow };
        let (left, right) = (Box::new(Expr::Nested(Box::new(value.clone()))), Box::new(text(&name)));
        let expr = Box::new(Expr::Nested(Box::new(Expr::BinaryOp { left, op, right })));
        let expr = Expr::Cast { kind: CastKind::DoubleColon, expr, data_type, array: false, format: None };
        Some(SelectItem::ExprWithAlias { expr, alias: column.name.clone() })
    };
    let mut select = super::rows::select_nothing().ok()?;
    select.projection = given.columns.iter().map(field).collect::<Option<Vec<_>>>()?;
    if set {
        let column = TableAliasColumnDef { name: Ident::with_quote('"', "__element"), data_type: None };
        let name = Ident::with_quote('"', "__elements");
        let relation = TableFactor::UNNEST {
            alias: Some(TableAlias { explicit: true, name, columns: vec![column], at: None }),
            array_exprs: vec![call(elements, vec![document.clone()])],
            with_offset: false,
            with_offset_alias: None,
            with_ordinality: false,
        };
        select.from = vec![TableWithJoins { relation, joins: vec![] }];
    }
    let named = TableAlias { explicit: true, name: given.name.clone(), columns: vec![], at: None };
    Some(TableFactor::Derived {
        lateral: true,
        subquery: Box::new(super::rows::as_query(SetExpr::Select(Box::new(select)))),
        alias: Some(named),
        sample: None,
    })
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
