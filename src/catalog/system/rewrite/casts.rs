//! Casts to PostgreSQL's object identifier and catalog types.
//!
//! `x::regclass` becomes `pg_regclass_oid(x)`, which takes a name or an oid; as text it is
//! `pg_regclass_name(x)`. The other `reg…` types work alike.

use sqlparser::ast::{Array, ArrayElemTypeDef, DataType, Expr, ObjectName};

use super::ast::{
    arguments, as_string, call, column_name, function_name, name_parts, number, rename_function, string, take,
};

/// `int2vector` and `oidvector` columns: their subscripts start at 0.
pub(super) const VECTORS: [&str; 8] =
    ["indkey", "indoption", "indclass", "indcollation", "proargtypes", "tgattr", "stxkeys", "i_indoption"];

/// The function that shows as a name what `function` gives as an oid.
pub(super) fn name_of_oid(function: &str) -> Option<&'static str> {
    Some(match function {
        "pg_regclass_oid" => "pg_regclass_name",
        "pg_regtype_oid" => "pg_regtype_name",
        "pg_regnamespace_oid" => "pg_regnamespace_name",
        _ => return None,
    })
}

/// `pg_typeof(x) = 'integer'::regtype` compares names.
fn compare_type_names(expr: &mut Expr) {
    let Expr::BinaryOp { left, right, .. } = expr else { return };
    let (l, r) = (left.clone(), right.clone());
    for (name, oid) in [(l, right), (r, left)] {
        if function_name(&name).as_deref() == Some("pg_typeof")
            && function_name(oid).as_deref() == Some("pg_regtype_oid")
        {
            rename_function(oid, "pg_regtype_name");
        }
    }
}

pub(super) fn rewrite(expr: &mut Expr) {
    compare_type_names(expr);
    let Expr::Cast { expr: inner, data_type, .. } = expr else { return };
    let Some(target) = type_name(data_type) else {
        if let DataType::Array(ArrayElemTypeDef::SquareBracket(element, _)) = data_type {
            array_cast(inner, element);
            if let Expr::Array(_) = inner.as_ref() {
                return;
            }
        }
        return;
    };
    let value = || call_with(inner);
    let replacement = match target.as_str() {
        "regclass" => value()("pg_regclass_oid"),
        "regtype" => value()("pg_regtype_oid"),
        "regnamespace" => value()("pg_regnamespace_oid"),
        "regproc" | "regprocedure" => value()("pg_regproc_name"),
        "oid" if function_name(inner).as_deref() == Some("pg_regproc_name") => {
            rename_function(inner, "pg_regproc_oid");
            inner.as_ref().clone()
        }
        "oid" | "regrole" => value()("pg_oid"),
        "name" => value()("pg_name"),
        "\"char\"" => value()("pg_char"),
        "text" => match as_text(inner) {
            Some(text) => text,
            None => {
                *data_type = DataType::Text;
                return;
            }
        },
        other => {
            if let Some(builtin) = builtin(other) {
                *data_type = builtin;
            }
            return;
        }
    };
    *expr = replacement;
}

fn call_with(inner: &Expr) -> impl FnOnce(&str) -> Expr + '_ {
    move |name| call(name, vec![inner.clone()])
}

/// What `inner::text` is when text is not simply a cast.
fn as_text(inner: &mut Expr) -> Option<Expr> {
    if let Some(shown) = function_name(inner).and_then(|f| name_of_oid(&f)) {
        rename_function(inner, shown);
        return Some(take(inner));
    }
    let vector = column_name(inner).is_some_and(|c| VECTORS.contains(&c.as_str()));
    vector.then(|| call("pg_vector_out", vec![take(inner)]))
}

/// The name of a type that needs a closer look.
fn type_name(data_type: &DataType) -> Option<String> {
    match data_type {
        DataType::Regclass => Some("regclass".into()),
        DataType::Text | DataType::Varchar(None) | DataType::CharacterVarying(None) => Some("text".into()),
        DataType::Custom(name, _) => custom_name(name),
        _ => None,
    }
}

fn custom_name(name: &ObjectName) -> Option<String> {
    let parts = name_parts(name);
    let last = match parts.as_slice() {
        [last] => last,
        [schema, last] if schema == "pg_catalog" => last,
        _ => return None,
    };
    let quoted_char = last == "char";
    Some(if quoted_char { "\"char\"".into() } else { last.clone() })
}

/// Types that sqlparser does not know when they are qualified.
fn builtin(name: &str) -> Option<DataType> {
    Some(match name {
        "bool" => DataType::Boolean,
        "int2" => DataType::SmallInt(None),
        "int4" => DataType::Integer(None),
        "int8" | "xid" => DataType::BigInt(None),
        "float4" => DataType::Real,
        "float8" => DataType::DoublePrecision,
        "varchar" | "bpchar" | "aclitem" | "regoperator" | "regoper" | "regconfig" | "regdictionary" => {
            DataType::Text
        }
        _ => return None,
    })
}

/// `'{a,b}'::text[]` becomes an array; element types become ones that DataFusion knows.
fn array_cast(inner: &mut Expr, element: &mut DataType) {
    let name = type_name(element);
    let oids = matches!(name.as_deref(), Some("oid" | "regclass" | "regtype"));
    let known = match name.as_deref() {
        Some("name" | "\"char\"" | "text") => Some(DataType::Text),
        _ if oids => Some(DataType::BigInt(None)),
        Some(other) => builtin(other),
        None => None,
    };
    if let Some(known) = known {
        *element = known;
    }
    if let Some(items) = as_string(inner).and_then(array_items) {
        let textual = matches!(element, DataType::Text);
        *inner = array_of(items, !textual);
    }
}

/// An array literal as an expression.
pub(super) fn array_of(items: Vec<String>, numeric: bool) -> Expr {
    let item = |text: String| match text.parse::<i64>() {
        Ok(value) if numeric => number(value),
        _ => string(&text),
    };
    Expr::Array(Array { elem: items.into_iter().map(item).collect(), named: true })
}

/// The elements of a one-dimensional array in PostgreSQL's text form.
pub(super) fn array_items(text: &str) -> Option<Vec<String>> {
    let body = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    if body.trim().is_empty() {
        return Some(vec![]);
    }
    let (mut items, mut item, mut quoted) = (vec![], String::new(), false);
    let mut chars = body.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => item.extend(chars.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => items.push(std::mem::take(&mut item)),
            '{' | '}' if !quoted => return None,
            c => item.push(c),
        }
    }
    items.push(item);
    Some(items)
}

/// Whether the expression is a call of one argument, and which.
pub(super) fn single_argument(expr: &Expr) -> Option<Expr> {
    match expr {
        Expr::Function(function) => match arguments(function).as_slice() {
            [only] => Some((*only).clone()),
            _ => None,
        },
        _ => None,
    }
}
