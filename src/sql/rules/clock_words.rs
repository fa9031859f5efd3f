//! `'now'::timestamp`, `date 'yesterday'` and the like, in the syntax tree: calls of the clock,
//! whose value is the statement's and which a materialized view refuses or follows as such.

use sqlparser::ast::*;

use super::ast::call;
use super::phrases::{binary, nested};
use crate::sql::functions::parse::is_clock_word;

/// What stands for a cast of such a word; `None` to leave it.
pub fn expression(data_type: &DataType, value: &Expr) -> Option<Expr> {
    let Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) = value else {
        return None;
    };
    if !is_clock_word(text) {
        return None;
    }
    let word = text.trim().to_ascii_lowercase();
    let days = match word.as_str() {
        "tomorrow" => 1,
        "yesterday" => -1,
        _ => 0,
    };
    let source = match data_type {
        DataType::Date => today(days),
        DataType::Timestamp(..) if word != "now" => today(days),
        DataType::Timestamp(..) => call("now", vec![]),
        DataType::Time(..) if word == "now" => call("localtime", vec![]),
        DataType::Custom(name, _) if name.to_string().eq_ignore_ascii_case("timestamptz") => match &*word {
            "now" => call("now", vec![]),
            _ => today(days),
        },
        _ => return None,
    };
    let (kind, data_type) = (CastKind::DoubleColon, data_type.clone());
    Some(Expr::Cast { kind, expr: Box::new(nested(source)), data_type, array: false, format: None })
}

fn today(days: i8) -> Expr {
    let today = call("current_date", vec![]);
    let one = || Expr::Value(Value::Number("1".into(), false).into());
    match days {
        1 => nested(binary(today, BinaryOperator::Plus, one())),
        -1 => nested(binary(today, BinaryOperator::Minus, one())),
        _ => today,
    }
}
