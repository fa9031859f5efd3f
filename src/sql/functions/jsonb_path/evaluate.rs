//! What a SQL/JSON path means: `executeItemOptUnwrapTarget` and its kin of PostgreSQL 15.
//!
//! Values are found depth first, in the order of the document. Lax mode unwraps arrays where
//! something else is expected, wraps what is no array where one is, and selects nothing where
//! there is nothing; strict mode has errors instead. Errors inside of predicates make them unknown.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::super::decimal::Numeric;
use super::super::jsonb::type_of;
use super::super::jsonb_edit::members;
use super::extras::descend;
use super::{Compare, Either, Method, Operand, Program, Start, Step, Test};
use crate::error::HwError;

/// Why there is no value.
pub enum Fault {
    /// Suppressed by `silent`, and unknown in a predicate.
    Soft(HwError),
    /// Reported whatever is asked: a limit of Headwater, not of the language.
    Hard(HwError),
}

type Res<T> = Result<T, Fault>;

fn soft<T>(state: &'static str, message: impl Into<String>) -> Res<T> {
    Err(Fault::Soft(HwError::new(state, message)))
}

const MEMBER_NOT_FOUND: &str = "2203A";
const ARRAY_NOT_FOUND: &str = "22039";
const OBJECT_NOT_FOUND: &str = "2203C";
const NUMBER_NOT_FOUND: &str = "2203B";
const BAD_SUBSCRIPT: &str = "22033";
const NOT_NUMERIC: &str = "22036";
const NOT_SINGLE: &str = "22038";

/// One evaluation over a document.
pub struct Run<'v> {
    document: &'v Value,
    strict: bool,
    /// The first value is enough.
    first: bool,
}

/// Where an operand stands.
#[derive(Clone, Copy)]
struct Scope<'v> {
    item: &'v Value,
    /// Length of the innermost array that is subscripted.
    length: i64,
    /// Missing members are no errors, also in strict mode.
    lenient: bool,
}

impl<'v> Run<'v> {
    /// With `first`, one value is enough; strict mode looks for all, because of errors.
    pub fn of(program: &Program, document: &'v Value, first: bool) -> Run<'v> {
        Run { document, strict: program.strict, first: first && !program.strict }
    }

    /// The values of a path, as far as no fault ended it.
    pub fn all(&self, program: &Program) -> (Vec<Value>, Option<Fault>) {
        let scope = Scope { item: self.document, length: 0, lenient: false };
        let mut found = Vec::new();
        let fault = self.either(&program.root, scope, self.first, &mut found).err();
        (found, fault)
    }

    fn either(&self, either: &Either, scope: Scope<'_>, first: bool, found: &mut Vec<Value>) -> Res<()> {
        match either {
            Either::Operand(operand) => self.operand(operand, scope, first, found),
            Either::Test(test) => {
                found.push(self.test(test, scope)?.map_or(Value::Null, Value::Bool));
                Ok(())
            }
        }
    }

    fn operand(&self, operand: &Operand, scope: Scope<'_>, first: bool, found: &mut Vec<Value>) -> Res<()> {
        match operand {
            Operand::Path { start, steps } => match start {
                Start::Document => self.steps(steps, self.document, scope, !self.strict, first, found),
                Start::Item => self.steps(steps, scope.item, scope, !self.strict, first, found),
                Start::Last => {
                    let last = Value::from(scope.length - 1);
                    self.steps(steps, &last, scope, !self.strict, first, found)
                }
                Start::Value(value) => self.steps(steps, value, scope, !self.strict, first, found),
                Start::Group(inner) => {
                    let mut values = Vec::new();
                    self.either(inner, scope, false, &mut values)?;
                    values.iter().try_for_each(|v| self.steps(steps, v, scope, !self.strict, first, found))
                }
            },
            Operand::Unary(negative, inner) => {
                let symbol = if *negative { '-' } else { '+' };
                for value in self.unwrapped(inner, scope)? {
                    let Value::Number(number) = &value else {
                        let what =
                            format!("operand of unary jsonpath operator {symbol} is not a numeric value");
                        return soft(NUMBER_NOT_FOUND, what);
                    };
                    found.push(if *negative { number_of(numeric(number)?.negated())? } else { value });
                    if first {
                        break;
                    }
                }
                Ok(())
            }
            Operand::Binary(left, symbol, right) => {
                let (a, b) = (self.unwrapped(left, scope)?, self.unwrapped(right, scope)?);
                let a = single(&a, "left", *symbol)?;
                let b = single(&b, "right", *symbol)?;
                found.push(arithmetic(a, *symbol, b)?);
                Ok(())
            }
        }
    }

    /// The values of an operand of a predicate or of arithmetic: lax mode unwraps arrays.
    fn unwrapped(&self, operand: &Operand, scope: Scope<'_>) -> Res<Vec<Value>> {
        let mut found = Vec::new();
        self.operand(operand, scope, false, &mut found)?;
        if self.strict || !found.iter().any(Value::is_array) {
            return Ok(found);
        }
        let unwrap = |value| match value {
            Value::Array(items) => items,
            other => vec![other],
        };
        Ok(found.into_iter().flat_map(unwrap).collect())
    }

    /// Follows `steps` from one item. `unwrap`: the first step may look into an array.
    fn steps(
        &self,
        steps: &[Step],
        item: &Value,
        scope: Scope<'_>,
        unwrap: bool,
        first: bool,
        found: &mut Vec<Value>,
    ) -> Res<()> {
        if first && !found.is_empty() {
            return Ok(());
        }
        let Some((step, rest)) = steps.split_first() else {
            found.push(item.clone());
            return Ok(());
        };
        let strict = self.strict && !scope.lenient;
        let mut next = |v: &Value, scope| self.steps(rest, v, scope, !self.strict, first, found);
        match (step, item) {
            (Step::Member(key), Value::Object(map)) => match map.get(key) {
                Some(value) => next(value, scope),
                None if strict => {
                    soft(MEMBER_NOT_FOUND, format!("JSON object does not contain key \"{key}\""))
                }
                None => Ok(()),
            },
            (Step::AnyMember, Value::Object(map)) => {
                members(map).into_iter().try_for_each(|(_, value)| next(value, scope))
            }
            (Step::AnyElement, Value::Array(items)) => items.iter().try_for_each(|v| next(v, scope)),
            (Step::AnyElement, other) if !self.strict => next(other, scope),
            (Step::Elements(ranges), item) if item.is_array() || !self.strict => {
                let items = item.as_array().map_or(std::slice::from_ref(item), Vec::as_slice);
                for (from, to) in ranges {
                    let (from, to) = self.range(from, to.as_ref(), items.len(), scope, strict)?;
                    items[from..to].iter().try_for_each(|v| next(v, scope))?;
                }
                Ok(())
            }
            (Step::Descend(levels), item) => {
                let mut below = Vec::new();
                descend(item, 0, *levels, &mut below);
                below.into_iter().try_for_each(|v| next(v, Scope { lenient: true, ..scope }))
            }
            (Step::Method(Method::Type), item) => next(&Value::from(type_of(item)), scope),
            (Step::Method(Method::Size), item) => match item {
                Value::Array(items) => next(&Value::from(items.len()), scope),
                _ if strict => {
                    let what = "jsonpath item method .size() can only be applied to an array";
                    soft(ARRAY_NOT_FOUND, what)
                }
                _ => next(&Value::from(1), scope),
            },
            (_, Value::Array(items)) if unwrap => {
                items.iter().try_for_each(|v| self.steps(steps, v, scope, false, first, found))
            }
            (Step::Filter(test), item) => match self.test(test, Scope { item, ..scope })? {
                Some(true) => next(item, scope),
                _ => Ok(()),
            },
            (Step::Method(method), item) => next(&number_method(*method, item)?, scope),
            (step, _) if strict => not_there(step),
            _ => Ok(()),
        }
    }

    /// The positions of a subscript, as a half-open range within the array.
    fn range(
        &self,
        from: &Operand,
        to: Option<&Operand>,
        length: usize,
        scope: Scope<'_>,
        strict: bool,
    ) -> Res<(usize, usize)> {
        let scope = Scope { length: length as i64, ..scope };
        let from = self.position(from, scope)?;
        let to = to.map_or(Ok(from), |to| self.position(to, scope))?;
        if strict && (from < 0 || from > to || to >= length as i64) {
            return soft(BAD_SUBSCRIPT, "jsonpath array subscript is out of bounds");
        }
        let from = from.max(0) as usize;
        let to = (to + 1).clamp(0, length as i64) as usize;
        Ok(if from < to { (from, to) } else { (0, 0) })
    }

    fn position(&self, operand: &Operand, scope: Scope<'_>) -> Res<i64> {
        let mut found = Vec::new();
        self.operand(operand, scope, false, &mut found)?;
        let [Value::Number(number)] = found.as_slice() else {
            return soft(BAD_SUBSCRIPT, "jsonpath array subscript is not a single numeric value");
        };
        let whole = Numeric::parse(&number.to_string()).and_then(|n| n.trunc(0).to_i128());
        match whole.and_then(|n| i32::try_from(n).ok()) {
            Some(position) => Ok(i64::from(position)),
            None => soft(BAD_SUBSCRIPT, "jsonpath array subscript is out of integer range"),
        }
    }

    /// Three-valued: `None` is unknown.
    fn test(&self, test: &Test, scope: Scope<'_>) -> Res<Option<bool>> {
        match test {
            Test::Compare(left, op, right) => {
                let Some(left) = known(self.unwrapped(left, scope))? else { return Ok(None) };
                let Some(right) = known(self.unwrapped(right, scope))? else { return Ok(None) };
                Ok(self.any(left.iter().flat_map(|l| right.iter().map(move |r| compared(l, *op, r)))))
            }
            Test::StartsWith(operand, initial) => {
                let Some(values) = known(self.unwrapped(operand, scope))? else { return Ok(None) };
                let starts = |v: &Value| Some(v.as_str()?.starts_with(initial.as_str()?));
                Ok(self.any(values.iter().map(starts)))
            }
            Test::LikeRegex(operand, pattern) => {
                let Some(values) = known(self.unwrapped(operand, scope))? else { return Ok(None) };
                Ok(self.any(values.iter().map(|v| Some(pattern.matches(v.as_str()?)))))
            }
            Test::IsUnknown(inner) => Ok(Some(self.test(inner, scope)?.is_none())),
            Test::And(a, b) => Ok(match self.test(a, scope)? {
                Some(false) => Some(false),
                a => match self.test(b, scope)? {
                    Some(true) => a,
                    b => b,
                },
            }),
            Test::Or(a, b) => Ok(match self.test(a, scope)? {
                Some(true) => Some(true),
                a => match self.test(b, scope)? {
                    Some(false) => a,
                    b => b,
                },
            }),
            Test::Not(inner) => Ok(self.test(inner, scope)?.map(|b| !b)),
            Test::Exists(operand) => {
                let mut found = Vec::new();
                let first = !self.strict;
                let done = self.operand(operand, scope, first, &mut found);
                Ok(known(done)?.map(|()| !found.is_empty()))
            }
        }
    }

    /// Whether a predicate holds for some of the pairs. Lax mode ends at the first that does;
    /// strict mode looks at all, and ends where it is unknown.
    fn any(&self, results: impl Iterator<Item = Option<bool>>) -> Option<bool> {
        let (mut unknown, mut holds) = (false, false);
        for result in results {
            match result {
                Some(true) if !self.strict => return Some(true),
                None if self.strict => return None,
                Some(true) => holds = true,
                Some(false) => {}
                None => unknown = true,
            }
        }
        if unknown { None } else { Some(holds) }
    }
}

/// What strict mode says of an accessor of something that is not there.
fn not_there(step: &Step) -> Res<()> {
    let (state, accessor, of) = match step {
        Step::Member(_) => (MEMBER_NOT_FOUND, "member", "an object"),
        Step::AnyMember => (OBJECT_NOT_FOUND, "wildcard member", "an object"),
        Step::AnyElement => (ARRAY_NOT_FOUND, "wildcard array", "an array"),
        _ => (ARRAY_NOT_FOUND, "array", "an array"),
    };
    soft(state, format!("jsonpath {accessor} accessor can only be applied to {of}"))
}

/// `None` for an error that a predicate does not tell.
fn known<T>(result: Res<T>) -> Res<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Fault::Soft(_)) => Ok(None),
        Err(hard) => Err(hard),
    }
}

fn single<'n>(values: &'n [Value], side: &str, symbol: char) -> Res<&'n Number> {
    match values {
        [Value::Number(number)] => Ok(number),
        _ => soft(
            NOT_SINGLE,
            format!("{side} operand of jsonpath operator {symbol} is not a single numeric value"),
        ),
    }
}

/// The number with its digits; beyond 38 it is not computed with.
fn numeric(number: &Number) -> Res<Numeric> {
    let text = number.to_string();
    let exact = |n: &Numeric| {
        let significant = |t: &str| t.bytes().filter(u8::is_ascii_digit).count();
        text.contains(['e', 'E']) || significant(&n.to_string()) >= significant(&text)
    };
    Numeric::parse(&text).filter(exact).ok_or_else(|| Fault::Hard(super::super::decimal::overflow()))
}

fn number_of(n: Numeric) -> Res<Value> {
    let number = serde_json::from_str(&n.to_string());
    number.map_err(|e| Fault::Hard(HwError::internal(format!("a number is not one of JSON: {e}"))))
}

fn arithmetic(a: &Number, symbol: char, b: &Number) -> Res<Value> {
    let (a, b) = (numeric(a)?, numeric(b)?);
    if b.v == 0 && matches!(symbol, '/' | '%') {
        return Err(Fault::Soft(super::super::decimal::division_by_zero()));
    }
    let made = match symbol {
        '+' => a.checked_add(b),
        '-' => a.checked_add(b.negated()),
        '*' => a.mul(b, (a.scale + b.scale).min(38)),
        '/' => a.quotient(b),
        _ => a.remainder(b),
    };
    number_of(made.map_err(Fault::Hard)?)
}

fn number_method(method: Method, item: &Value) -> Res<Value> {
    let name = match method {
        Method::Abs => "abs",
        Method::Floor => "floor",
        Method::Ceiling => "ceiling",
        _ => return double(item),
    };
    let Value::Number(number) = item else {
        let what = format!("jsonpath item method .{name}() can only be applied to a numeric value");
        return soft(NOT_NUMERIC, what);
    };
    let n = numeric(number)?;
    let made = match method {
        Method::Abs => Ok(if n.v < 0 { n.negated() } else { n }),
        Method::Floor => n.floor().and_then(|n| n.rescale(0)),
        _ => n.ceil().and_then(|n| n.rescale(0)),
    };
    number_of(made.map_err(Fault::Hard)?)
}

/// A number that a double can hold stays as it is; a text is read as a double.
fn double(item: &Value) -> Res<Value> {
    let finite =
        |text: &str| crate::types::text::parse_float8(text.as_bytes()).ok().filter(|v| v.is_finite());
    match item {
        Value::Number(number) if finite(&number.to_string()).is_some() => Ok(item.clone()),
        Value::Number(_) => soft(
            NOT_NUMERIC,
            "numeric argument of jsonpath item method .double() is out of range for type double precision",
        ),
        Value::String(text) => match finite(text) {
            Some(v) => number_of(Numeric::from_f64(v, 15).map_err(Fault::Hard)?),
            None => soft(
                NOT_NUMERIC,
                "string argument of jsonpath item method .double() is not a valid representation of a double \
                 precision number",
            ),
        },
        _ => soft(
            NOT_NUMERIC,
            "jsonpath item method .double() can only be applied to a string or numeric value",
        ),
    }
}

/// `None` if the two cannot be compared. NULL equals only NULL, and is unlike everything else.
fn compared(a: &Value, op: Compare, b: &Value) -> Option<bool> {
    if a.is_null() != b.is_null() {
        return Some(op == Compare::Ne);
    }
    let order = ordering(a, b)?;
    Some(match op {
        Compare::Eq => order == Ordering::Equal,
        Compare::Ne => order != Ordering::Equal,
        Compare::Lt => order == Ordering::Less,
        Compare::Le => order != Ordering::Greater,
        Compare::Gt => order == Ordering::Greater,
        Compare::Ge => order != Ordering::Less,
    })
}

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
