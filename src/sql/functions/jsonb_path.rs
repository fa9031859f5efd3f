//! SQL/JSON paths, as PostgreSQL 15 reads and evaluates them: the functions.
//!
//! The language is in [`parse`] (text to [`Program`]), its meaning in [`evaluate`]. Numbers are
//! numerics, so that arithmetic has PostgreSQL's digits. An error is either one that `silent`
//! suppresses, or one that is reported anyhow. `.datetime()` and `.keyvalue()` are refused.

mod evaluate;
mod extras;
mod parse;

use std::sync::Arc;

use arrow::array::{ArrayRef, LargeStringArray};
use arrow::datatypes::{DataType, Field};
use serde_json::Value;

use self::evaluate::{Fault, Run};
use self::extras::{Levels, Pattern};
use super::datum::{Datum, Eval, Function, Kind, Ret};
use super::jsonb::{json, parse as parse_json, to_text};
use crate::error::{HwError, Result, sqlstate};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Method {
    Size,
    Type,
    Abs,
    Floor,
    Ceiling,
    Double,
}

#[derive(Debug)]
enum Step {
    Member(String),
    AnyMember,
    Descend(Levels),
    /// Positions, or ranges of them.
    Elements(Vec<(Operand, Option<Operand>)>),
    AnyElement,
    Filter(Box<Test>),
    Method(Method),
}

#[derive(Debug)]
enum Start {
    /// `$`, `@`, `last`.
    Document,
    Item,
    Last,
    /// A literal, or the value of a variable.
    Value(Value),
    Group(Box<Either>),
}

#[derive(Debug)]
enum Operand {
    Path {
        start: Start,
        steps: Vec<Step>,
    },
    /// Negated if the flag is set.
    Unary(bool, Box<Operand>),
    Binary(Box<Operand>, char, Box<Operand>),
}

#[derive(Debug)]
enum Test {
    Compare(Operand, Compare, Operand),
    StartsWith(Operand, Value),
    LikeRegex(Operand, Pattern),
    IsUnknown(Box<Test>),
    And(Box<Test>, Box<Test>),
    Or(Box<Test>, Box<Test>),
    Not(Box<Test>),
    Exists(Operand),
}

#[derive(Debug)]
enum Either {
    Operand(Operand),
    Test(Test),
}

/// A path, or a predicate at its top.
#[derive(Debug)]
struct Program {
    strict: bool,
    root: Either,
}

/// What a call found, and the error that ended it if `silent` suppressed one.
struct Outcome {
    values: Vec<Value>,
    failed: bool,
}

/// Evaluates the arguments (document, path [, variables [, silent]]); with `first` one value is
/// enough where the mode is lax.
fn outcome(a: &[Datum], first: bool, silent: bool) -> Result<Outcome> {
    let document = parse_json(a[0].as_str())?;
    let variables = a.get(2).map(|v| parse_json(v.as_str())).transpose()?;
    if variables.as_ref().is_some_and(|v| !v.is_object()) {
        let message = "\"vars\" argument is not an object";
        return Err(HwError::new(sqlstate::INVALID_PARAMETER_VALUE, message)
            .with_detail("Jsonpath parameters should be encoded as key-value pairs of \"vars\" object."));
    }
    let program = parse::program(a[1].as_str(), variables.as_ref())?;
    let (values, fault) = Run::of(&program, &document, first).all(&program);
    match fault {
        Some(Fault::Hard(e)) => Err(e),
        Some(Fault::Soft(e)) if !silent => Err(e),
        fault => Ok(Outcome { values, failed: fault.is_some() }),
    }
}

fn is_silent(a: &[Datum]) -> bool {
    a.get(3).is_some_and(Datum::as_bool)
}

fn selected(a: &[Datum]) -> Result<Vec<Value>> {
    Ok(outcome(a, false, is_silent(a))?.values)
}

/// Whether there is a value; NULL if an error keeps it unknown.
fn exists<'a>(a: &[Datum<'a>], silent: bool) -> Result<Datum<'a>> {
    let found = outcome(a, true, silent)?;
    Ok(if found.failed { Datum::Null } else { Datum::Bool(!found.values.is_empty()) })
}

/// The truth of a predicate; 22038 if the path is none.
fn matches<'a>(a: &[Datum<'a>], silent: bool) -> Result<Datum<'a>> {
    match outcome(a, false, silent)?.values.as_slice() {
        [Value::Bool(b)] => Ok(Datum::Bool(*b)),
        [Value::Null] => Ok(Datum::Null),
        _ if silent => Ok(Datum::Null),
        _ => Err(HwError::new("22038", "single boolean result is expected")),
    }
}

fn json_list(_: &[DataType]) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::LargeUtf8, true)))
}

/// A path may have variables, and a flag that suppresses errors.
fn overloads(function: Function, ret: Ret, eval: Eval) -> Function {
    use Kind::*;
    let function = function.ret(&[Jsonb, Text], ret, eval);
    function.ret(&[Jsonb, Text, Jsonb], ret, eval).ret(&[Jsonb, Text, Jsonb, Bool], ret, eval)
}

/// Path functions; `@?` and `@@` are planned as calls of them.
pub fn functions() -> Vec<Function> {
    use Kind::*;
    let path = |name, ret, eval| overloads(Function::new(name), ret, eval);
    vec![
        path("jsonb_path_exists", Ret::Is(Bool), |_, a| exists(a, is_silent(a)))
            .alias("jsonb_path_exists_tz"),
        path("jsonb_path_match", Ret::Is(Bool), |_, a| matches(a, is_silent(a))).alias("jsonb_path_match_tz"),
        Function::new("jsonb_path_found").on(&[Jsonb, Text], Bool, |_, a| exists(a, true)),
        Function::new("jsonb_path_test").on(&[Jsonb, Text], Bool, |_, a| matches(a, true)),
        path("jsonb_path_query_first", Ret::Is(Jsonb), |_, a| {
            Ok(selected(a)?.first().map_or(Datum::Null, json))
        })
        .alias("jsonb_path_query_first_tz"),
        path("jsonb_path_query_array", Ret::Is(Jsonb), |_, a| Ok(json(&Value::Array(selected(a)?))))
            .alias("jsonb_path_query_array_tz"),
        path("jsonb_path_list", Ret::Of(json_list), |_, a| {
            let found = selected(a)?;
            let array: ArrayRef = Arc::new(LargeStringArray::from_iter_values(found.iter().map(to_text)));
            Ok(Datum::List(array))
        }),
    ]
}
