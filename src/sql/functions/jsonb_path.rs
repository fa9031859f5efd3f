//! SQL/JSON paths in lax mode: the part of PostgreSQL's language that selects and compares.
//!
//! `$`, `@`, `.key`, `."key"`, `.*`, `[n]`, `[n to m]`, `[last]`, `[*]`, `.size()`, `.type()`,
//! `.**`, filters `?(…)` with `== != <> < <= > >=`, `&& || !`, `exists(…)`, `starts with`,
//! `like_regex`, `is unknown`, variables and literals. Arrays are unwrapped where an object is
//! expected, missing members select nothing. Strict mode, arithmetic and other methods are refused.

mod extras;

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{ArrayRef, LargeStringArray};
use arrow::datatypes::{DataType, Field};
use serde_json::Value;

use self::extras::{Levels, Pattern, descend};
use super::array::holds;
use super::datum::{Datum, Eval, Function, Kind, Ret};
use super::decimal::Numeric;
use super::jsonb::{json, parse, to_text, type_of};
use super::jsonb_edit::members;
use crate::error::{HwError, Result, sqlstate};

/// Most nested parentheses and filters of a path.
const DEPTH_MAX: usize = 100;

#[derive(Debug)]
enum Step {
    Member(String),
    AnyMember,
    Descend(Levels),
    /// Positions, counted from the end if the flag is set.
    Elements(At, At),
    AnyElement,
    Filter(Box<Test>),
    Size,
    Type,
}

#[derive(Clone, Copy, Debug)]
enum At {
    Position(usize),
    Last(usize),
}

#[derive(Debug)]
enum Operand {
    /// From the document (`$`) or the filtered item (`@`).
    Path {
        root: bool,
        steps: Vec<Step>,
    },
    Literal(Value),
    /// A variable's value, and a path from it.
    Variable(Value, Vec<Step>),
}

#[derive(Debug)]
enum Test {
    Compare(Operand, &'static str, Operand),
    StartsWith(Operand, String),
    LikeRegex(Operand, Pattern),
    IsUnknown(Box<Test>),
    And(Box<Test>, Box<Test>),
    Or(Box<Test>, Box<Test>),
    Not(Box<Test>),
    Exists(Operand),
}

/// A path, or a predicate at its top.
#[derive(Debug)]
enum Program {
    Path(Operand),
    Test(Test),
}

struct Parser<'t> {
    text: &'t str,
    rest: &'t str,
    depth: usize,
    variables: Option<&'t Value>,
}

impl<'t> Parser<'t> {
    fn error(&self) -> HwError {
        let near: String = self.rest.chars().take(12).collect();
        let place = if near.is_empty() { "at end".into() } else { format!("at or near \"{near}\"") };
        HwError::new(sqlstate::SYNTAX_ERROR, format!("syntax error {place} of jsonpath input"))
            .with_detail(format!("The path is {}.", self.text))
    }

    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, token: &str) -> bool {
        self.skip();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn require(&mut self, token: &str) -> Result<()> {
        if self.take(token) { Ok(()) } else { Err(self.error()) }
    }

    fn word(&mut self) -> &'t str {
        self.skip();
        let end = self.rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn string(&mut self) -> Result<String> {
        self.skip();
        let mut stream = serde_json::Deserializer::from_str(self.rest).into_iter::<String>();
        let Some(Ok(text)) = stream.next() else { return Err(self.error()) };
        self.rest = &self.rest[stream.byte_offset()..];
        Ok(text)
    }

    fn program(&mut self) -> Result<Program> {
        self.take("lax ");
        if self.take("strict ") {
            return Err(refused("strict mode"));
        }
        let program = match self.either()? {
            Either::Operand(operand) => Program::Path(operand),
            Either::Test(test) => Program::Test(test),
        };
        self.skip();
        if self.rest.is_empty() { Ok(program) } else { Err(self.error()) }
    }

    fn either(&mut self) -> Result<Either> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(HwError::new(sqlstate::STATEMENT_TOO_COMPLEX, "jsonpath is nested too deeply"));
        }
        let mut left = self.conjunction()?;
        while self.take("||") {
            left = Either::Test(Test::Or(left.test(self)?, self.conjunction()?.test(self)?));
        }
        self.depth -= 1;
        Ok(left)
    }

    fn conjunction(&mut self) -> Result<Either> {
        let mut left = self.comparison()?;
        while self.take("&&") {
            left = Either::Test(Test::And(left.test(self)?, self.comparison()?.test(self)?));
        }
        Ok(left)
    }

    fn comparison(&mut self) -> Result<Either> {
        if self.take("!") {
            self.require("(")?;
            let inner = self.either()?.test(self)?;
            self.require(")")?;
            return Ok(Either::Test(Test::Not(inner)));
        }
        if self.take("exists") {
            self.require("(")?;
            let operand = self.operand()?;
            self.require(")")?;
            return Ok(Either::Test(Test::Exists(operand)));
        }
        if self.take("(") {
            let inner = self.either()?;
            self.require(")")?;
            if self.take("is unknown") {
                return Ok(Either::Test(Test::IsUnknown(inner.test(self)?)));
            }
            return Ok(inner);
        }
        let left = self.operand()?;
        if self.take("starts with") {
            return Ok(Either::Test(Test::StartsWith(left, self.string()?)));
        }
        if self.take("like_regex") {
            let pattern = self.string()?;
            let flags = if self.take("flag") { self.string()? } else { String::new() };
            return Ok(Either::Test(Test::LikeRegex(left, Pattern::new(&pattern, &flags)?)));
        }
        for (token, op) in
            [("==", "="), ("!=", "<>"), ("<>", "<>"), ("<=", "<="), (">=", ">="), ("<", "<"), (">", ">")]
        {
            if self.take(token) {
                return Ok(Either::Test(Test::Compare(left, op, self.operand()?)));
            }
        }
        self.skip();
        if self.rest.starts_with(['+', '-', '*', '/', '%']) {
            return Err(refused("arithmetic"));
        }
        Ok(Either::Operand(left))
    }

    fn operand(&mut self) -> Result<Operand> {
        self.skip();
        let named = |c: char| c.is_alphabetic() || c == '_' || c == '"';
        if self.rest.strip_prefix('$').is_some_and(|name| name.starts_with(named)) {
            let value = self.variable()?;
            return Ok(Operand::Variable(value, self.steps()?));
        }
        let root = self.rest.starts_with('$');
        if root || self.rest.starts_with('@') {
            self.rest = &self.rest[1..];
            return Ok(Operand::Path { root, steps: self.steps()? });
        }
        self.literal().map(Operand::Literal)
    }

    /// `$name`, which the last argument gives.
    fn variable(&mut self) -> Result<Value> {
        self.rest = &self.rest[1..];
        let name = if self.rest.starts_with('"') { self.string()? } else { self.word().to_string() };
        self.variables.and_then(|all| all.get(&name)).cloned().ok_or_else(|| {
            let message = format!("could not find jsonpath variable \"{name}\"");
            HwError::new(sqlstate::UNDEFINED_OBJECT, message)
        })
    }

    /// `{n}`, `{n to m}`, `{last}` after `**`.
    fn levels(&mut self) -> Result<Levels> {
        if !self.take("{") {
            return Ok(Levels { first: 0, last: usize::MAX, leaves: false });
        }
        let level = |at: At| if let At::Position(n) = at { n } else { usize::MAX };
        let first = self.at()?;
        let last = if self.take("to ") { self.at()? } else { first };
        self.require("}")?;
        Ok(Levels { first: level(first), last: level(last), leaves: matches!(first, At::Last(_)) })
    }

    /// A string, a number, true, false or null.
    fn literal(&mut self) -> Result<Value> {
        if self.rest.starts_with('"') {
            return self.string().map(Value::String);
        }
        let end = self.rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '.' | '-' | '+')));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        let value: Value = serde_json::from_str(word).map_err(|_| self.error())?;
        self.rest = rest;
        Ok(value)
    }

    fn steps(&mut self) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        loop {
            if self.take(".") {
                steps.push(self.member()?);
            } else if self.take("[") {
                steps.push(self.subscript()?);
            } else if self.take("?") {
                self.require("(")?;
                let test = self.either()?.test(self)?;
                self.require(")")?;
                steps.push(Step::Filter(test));
            } else {
                return Ok(steps);
            }
        }
    }

    fn member(&mut self) -> Result<Step> {
        if self.take("**") {
            return Ok(Step::Descend(self.levels()?));
        }
        if self.take("*") {
            return Ok(Step::AnyMember);
        }
        self.skip();
        if self.rest.starts_with('"') {
            return Ok(Step::Member(self.string()?));
        }
        let word = self.word();
        if word.is_empty() {
            return Err(self.error());
        }
        if self.take("(") {
            self.require(")")?;
            return match word {
                "size" => Ok(Step::Size),
                "type" => Ok(Step::Type),
                other => Err(refused(&format!(".{other}()"))),
            };
        }
        Ok(Step::Member(word.to_string()))
    }

    fn subscript(&mut self) -> Result<Step> {
        if self.take("*") {
            self.require("]")?;
            return Ok(Step::AnyElement);
        }
        let from = self.at()?;
        let to = if self.take("to ") { self.at()? } else { from };
        self.require("]")?;
        Ok(Step::Elements(from, to))
    }

    fn at(&mut self) -> Result<At> {
        let number = |word: &str, parser: &Self| word.parse::<usize>().map_err(|_| parser.error());
        if self.take("last") {
            let back = if self.take("-") { number(self.word(), self)? } else { 0 };
            return Ok(At::Last(back));
        }
        Ok(At::Position(number(self.word(), self)?))
    }
}

enum Either {
    Operand(Operand),
    Test(Test),
}

impl Either {
    fn test(self, parser: &Parser<'_>) -> Result<Box<Test>> {
        match self {
            Either::Test(test) => Ok(Box::new(test)),
            Either::Operand(_) => Err(parser.error()),
        }
    }
}

fn refused(what: &str) -> HwError {
    HwError::unsupported(
        format!("{what} in a jsonpath"),
        "Use lax paths with comparisons, or the operators -> and @>.",
    )
}

fn program(text: &str, variables: Option<&Value>) -> Result<Program> {
    Parser { text, rest: text, depth: 0, variables }.program()
}

/// The elements of an array, or the value itself.
fn unwrapped(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items,
        other => vec![other],
    }
}

impl At {
    fn of(self, length: usize) -> Option<usize> {
        match self {
            At::Position(at) => Some(at),
            At::Last(back) => length.checked_sub(back + 1),
        }
    }
}

impl Step {
    fn apply(&self, values: Vec<Value>, document: &Value) -> Vec<Value> {
        let objects = |values: Vec<Value>| values.into_iter().flat_map(unwrapped);
        match self {
            Step::Member(key) => {
                objects(values).filter_map(|v| v.as_object().and_then(|m| m.get(key)).cloned()).collect()
            }
            Step::AnyMember => objects(values)
                .flat_map(|v| {
                    let all = |m| members(m).into_iter().map(|m| m.1.clone()).collect::<Vec<_>>();
                    v.as_object().map(all).unwrap_or_default()
                })
                .collect(),
            Step::Descend(levels) => {
                let mut found = Vec::new();
                values.iter().for_each(|v| descend(v, 0, *levels, &mut found));
                found
            }
            Step::AnyElement => values.into_iter().flat_map(unwrapped).collect(),
            Step::Elements(from, to) => values
                .into_iter()
                .flat_map(|value| {
                    let items = unwrapped(value);
                    let range = from.of(items.len()).zip(to.of(items.len()));
                    let (from, to) = range.unwrap_or((1, 0));
                    items
                        .into_iter()
                        .enumerate()
                        .filter(move |(i, _)| (from..=to).contains(i))
                        .map(|(_, v)| v)
                })
                .collect(),
            Step::Filter(test) => objects(values).filter(|v| test.holds(document, v) == Some(true)).collect(),
            Step::Size => values.iter().map(|v| Value::from(v.as_array().map_or(1, Vec::len))).collect(),
            Step::Type => values.iter().map(|v| Value::from(type_of(v))).collect(),
        }
    }
}

impl Operand {
    fn values(&self, document: &Value, item: &Value) -> Vec<Value> {
        match self {
            Operand::Literal(value) => vec![value.clone()],
            Operand::Variable(value, steps) => {
                steps.iter().fold(vec![value.clone()], |values, step| step.apply(values, document))
            }
            Operand::Path { root, steps } => {
                let start = vec![if *root { document.clone() } else { item.clone() }];
                steps.iter().fold(start, |values, step| step.apply(values, document))
            }
        }
    }

    /// Values that a comparison sees: arrays are unwrapped.
    fn compared(&self, document: &Value, item: &Value) -> Vec<Value> {
        self.values(document, item).into_iter().flat_map(unwrapped).collect()
    }
}

/// `None` if the two cannot be compared.
fn ordering(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Number(a), Value::Number(b)) => {
            let exact = Numeric::parse(&a.to_string()).zip(Numeric::parse(&b.to_string()));
            match exact {
                Some((a, b)) => Some(a.cmp(&b)),
                None => a.as_f64()?.partial_cmp(&b.as_f64()?),
            }
        }
        _ => None,
    }
}

fn holds_between(a: &Value, op: &str, b: &Value) -> Option<bool> {
    // NULL equals only NULL, and is unlike everything else.
    if a.is_null() != b.is_null() {
        return Some(op == "<>");
    }
    Some(holds(op, ordering(a, b)?))
}

impl Test {
    /// Three-valued: `None` is unknown.
    fn holds(&self, document: &Value, item: &Value) -> Option<bool> {
        match self {
            Test::Compare(left, op, right) => {
                let (left, right) = (left.compared(document, item), right.compared(document, item));
                let pairs = left.iter().flat_map(|l| right.iter().map(move |r| holds_between(l, op, r)));
                any(pairs)
            }
            Test::StartsWith(operand, prefix) => any(operand
                .compared(document, item)
                .iter()
                .map(|v| v.as_str().map(|s| s.starts_with(prefix.as_str())))),
            Test::LikeRegex(operand, pattern) => {
                any(operand.compared(document, item).iter().map(|v| v.as_str().map(|s| pattern.matches(s))))
            }
            Test::IsUnknown(inner) => Some(inner.holds(document, item).is_none()),
            Test::And(a, b) => match (a.holds(document, item), b.holds(document, item)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Test::Or(a, b) => match (a.holds(document, item), b.holds(document, item)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Test::Not(inner) => inner.holds(document, item).map(|b| !b),
            Test::Exists(operand) => Some(!operand.values(document, item).is_empty()),
        }
    }
}

fn any(results: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut unknown = false;
    for result in results {
        match result {
            Some(true) => return Some(true),
            Some(false) => {}
            None => unknown = true,
        }
    }
    if unknown { None } else { Some(false) }
}

fn selected(a: &[Datum]) -> Result<Vec<Value>> {
    let document = parse(a[0].as_str())?;
    let variables = a.get(2).map(|v| parse(v.as_str())).transpose()?;
    Ok(match program(a[1].as_str(), variables.as_ref())? {
        Program::Path(operand) => operand.values(&document, &document),
        Program::Test(test) => vec![test.holds(&document, &document).map_or(Value::Null, Value::Bool)],
    })
}

fn json_list(_: &[DataType]) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::LargeUtf8, true)))
}

/// A path may have variables; errors that the last flag would silence do not arise.
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
        path("jsonb_path_exists", Ret::Is(Bool), |_, a| Ok(Datum::Bool(!selected(a)?.is_empty()))),
        path("jsonb_path_match", Ret::Is(Bool), |_, a| match selected(a)?.as_slice() {
            [Value::Bool(b)] => Ok(Datum::Bool(*b)),
            [Value::Null] => Ok(Datum::Null),
            _ => Err(HwError::new(sqlstate::DATA_EXCEPTION, "single boolean result is expected")),
        }),
        Function::new("jsonb_path_test").on(&[Jsonb, Text], Bool, |_, a| match selected(a)?.as_slice() {
            [Value::Bool(b)] => Ok(Datum::Bool(*b)),
            _ => Ok(Datum::Null),
        }),
        path("jsonb_path_query_first", Ret::Is(Jsonb), |_, a| {
            Ok(selected(a)?.first().map_or(Datum::Null, json))
        }),
        path("jsonb_path_query_array", Ret::Is(Jsonb), |_, a| Ok(json(&Value::Array(selected(a)?)))),
        path("jsonb_path_list", Ret::Of(json_list), |_, a| {
            let found = selected(a)?;
            let array: ArrayRef = Arc::new(LargeStringArray::from_iter_values(found.iter().map(to_text)));
            Ok(Datum::List(array))
        }),
    ]
}
