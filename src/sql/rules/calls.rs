//! Function calls that mean others, in the syntax tree.

use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::ast::*;

use super::ast::call;
use crate::sql::parser::VARIADIC;

/// Arguments of `make_interval`, in order.
const INTERVAL_PARTS: [&str; 7] = ["years", "months", "weeks", "days", "hours", "mins", "secs"];

/// The call that stands for this one; `None` to leave it.
pub fn rewrite(function: &Function) -> Option<Expr> {
    let [part] = function.name.0.as_slice() else { return None };
    let FunctionArguments::List(list) = &function.args else { return None };
    let name = part.as_ident()?.value.to_ascii_lowercase();
    if let Some(args) = plain(list)
        && let Some(spread) = variadic(&name, args)
    {
        return Some(spread);
    }
    match name.as_str() {
        "make_interval" => make_interval(list),
        "nullif" => match <[Expr; 2]>::try_from(plain(list)?).ok()? {
            [value, null @ Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(_), .. })] => {
                Some(null_if(value, null))
            }
            _ => None,
        },
        "generate_subscripts" => Some(subscripts(plain(list)?)),
        "gen_random_uuid" if list.args.is_empty() => Some(cast(call("uuid", vec![]), DataType::Uuid)),
        // The age of a moment is counted from this midnight.
        "age" => match plain(list)?.as_slice() {
            [then] => {
                let today = call("current_date", vec![]);
                let midnight = cast(today, DataType::Timestamp(None, TimezoneInfo::None));
                Some(call("age", vec![midnight, then.clone()]))
            }
            _ => None,
        },
        _ => match plain(list)?.as_slice() {
            [value] => Some(cast(value.clone(), named_type(&name)?)),
            _ => None,
        },
    }
}

/// `nullif(value, 'literal')` by the `=` of the value's type, whose type the literal takes.
fn null_if(value: Expr, null: Expr) -> Expr {
    let nested = |e: Expr| Box::new(Expr::Nested(Box::new(e)));
    let condition =
        Expr::BinaryOp { left: nested(value.clone()), op: BinaryOperator::Eq, right: nested(null) };
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen { condition, result: Expr::Value(Value::Null.into()) }],
        else_result: Some(Box::new(value)),
    }
}

/// Types whose name is a function that casts to it.
fn named_type(name: &str) -> Option<DataType> {
    Some(match name {
        "int2" => DataType::SmallInt(None),
        "int4" => DataType::Integer(None),
        "int8" => DataType::BigInt(None),
        "float4" => DataType::Real,
        "float8" => DataType::DoublePrecision,
        "bool" => DataType::Boolean,
        "text" => DataType::Text,
        "date" => DataType::Date,
        "timestamptz" => DataType::Timestamp(None, TimezoneInfo::Tz),
        _ => return None,
    })
}

/// `f(a, VARIADIC array)`: the elements of a written array, or the function of an array.
fn variadic(name: &str, mut args: Vec<Expr>) -> Option<Expr> {
    let array = match args.last()? {
        Expr::Function(f) if f.name.to_string() == VARIADIC => {
            let FunctionArguments::List(list) = &f.args else { return None };
            plain(list)?.pop()?
        }
        _ => return None,
    };
    args.pop();
    if let Expr::Array(Array { elem, .. }) = &array {
        args.extend(elem.iter().cloned());
        return Some(call(name, args));
    }
    args.push(array);
    let of_array = match name {
        "format" => "format_array",
        "concat" => "concat_array",
        "concat_ws" => "concat_ws_array",
        "jsonb_extract_path" => "jsonb_path_get",
        "jsonb_extract_path_text" => "jsonb_path_get_text",
        "json_extract_path" => "json_path_get",
        "json_extract_path_text" => "json_path_get_text",
        _ => return None,
    };
    Some(call(of_array, args))
}

fn plain(list: &FunctionArgumentList) -> Option<Vec<Expr>> {
    let plain = |a: &FunctionArg| match a {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Some(e.clone()),
        _ => None,
    };
    list.args.iter().map(plain).collect()
}

fn cast(expr: Expr, data_type: DataType) -> Expr {
    let (kind, expr) = (CastKind::DoubleColon, Box::new(expr));
    Expr::Cast { kind, expr, data_type, array: false, format: None }
}

fn number(n: &str) -> Expr {
    Expr::Value(Value::Number(n.into(), false).into())
}

/// All seven parts by position, those that are not given zero.
fn make_interval(list: &FunctionArgumentList) -> Option<Expr> {
    let mut parts: Vec<Expr> = INTERVAL_PARTS.iter().map(|_| number("0")).collect();
    for (at, arg) in list.args.iter().enumerate() {
        let (at, value) = match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => (at, value),
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. } => {
                let at = INTERVAL_PARTS.iter().position(|p| name.value.eq_ignore_ascii_case(p))?;
                (at, value)
            }
            _ => return None,
        };
        *parts.get_mut(at)? = value.clone();
    }
    Some(call("make_interval", parts))
}

/// The subscripts of an array's dimension, as an array.
pub fn subscripts(args: Vec<Expr>) -> Expr {
    call("generate_series", vec![number("1"), call("array_length", args)])
}
