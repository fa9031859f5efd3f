//! Functions and operators of regular expressions, with PostgreSQL's arguments.
//!
//! Patterns are in PostgreSQL's advanced syntax ([`engine`]). An expression is compiled once for
//! the rows of a batch that share it.

pub mod engine;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, StringArray};
use arrow::datatypes::{DataType, Field};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::ColumnarValue;

use self::engine::{Engine, Found, Options};
use super::column::Output;
use super::datum::{Datum, Function, Kernel, Kind, Ret, evaluate_rows};
use crate::error::{HwError, Result, sqlstate};

/// One row's call: its text, the compiled pattern, all arguments.
struct Call<'c, 'r> {
    text: &'c str,
    engine: &'c Engine,
    global: bool,
    row: &'c [Datum<'r>],
}

impl Call<'_, '_> {
    /// The number that argument `at` gives, which is at least `least`.
    fn number(&self, at: usize, name: &str, least: i64, otherwise: i64) -> Result<i64> {
        let number = match self.row.get(at) {
            Some(Datum::Int(n)) => *n,
            _ => otherwise,
        };
        if number < least {
            let message = format!("invalid value for parameter \"{name}\": {number}");
            return Err(HwError::new(sqlstate::INVALID_PARAMETER_VALUE, message));
        }
        Ok(number)
    }

    /// The byte at which a search begins whose first character argument `at` gives.
    fn start(&self, at: usize) -> Result<Option<usize>> {
        let start = self.number(at, "start", 1, 1)? as usize - 1;
        let ends = self.text.char_indices().map(|(byte, _)| byte).chain([self.text.len()]);
        Ok(ends.into_iter().nth(start))
    }

    /// The `n`th match from the start that argument `from` gives.
    fn nth(&self, from: usize, n: i64) -> Result<Option<Found>> {
        let Some(from) = self.start(from)? else { return Ok(None) };
        self.engine.matches(self.text, from).nth(n as usize - 1).transpose()
    }

    fn part(&self, range: Option<(usize, usize)>) -> Option<&str> {
        range.map(|(start, end)| &self.text[start..end])
    }

    /// The groups of a match, or the whole match if the pattern has none.
    fn groups(&self, found: &Found) -> ArrayRef {
        let wanted = if found.len() > 1 { &found[1..] } else { found };
        Arc::new(wanted.iter().map(|range| self.part(*range)).collect::<StringArray>())
    }

    fn not_global(&self, function: &str) -> Result<()> {
        if !self.global {
            return Ok(());
        }
        let message = format!("{function}() does not support the \"global\" option");
        Err(HwError::new(sqlstate::INVALID_PARAMETER_VALUE, message))
    }
}

/// Evaluates rows of (text, pattern, …), whose flags are argument `flags`.
fn scan(
    args: &[ColumnarValue],
    ret: &DataType,
    flags: usize,
    eval: impl Fn(&Call) -> Result<Datum<'static>>,
) -> DfResult<ColumnarValue> {
    let rows = args.iter().find_map(|a| match a {
        ColumnarValue::Array(array) => Some(array.len()),
        ColumnarValue::Scalar(_) => None,
    });
    let mut last: Option<(String, String, Engine, bool)> = None;
    evaluate_rows(args, rows.unwrap_or(1), ret, |row| {
        if row.iter().any(Datum::is_null) {
            return Ok(Datum::Null);
        }
        let (text, pattern) = (row[0].as_str(), row[1].as_str());
        let flags = row.get(flags).map_or("", Datum::as_str);
        if !matches!(&last, Some((p, f, ..)) if p == pattern && f == flags) {
            let options = Options::of(flags)?;
            let engine = Engine::new(pattern, &options)?;
            last = Some((pattern.to_string(), flags.to_string(), engine, options.global));
        }
        let Some((_, _, engine, global)) = &last else { return Ok(Datum::Null) };
        eval(&Call { text, engine, global: *global, row })
    })
}

fn text_list() -> DataType {
    Kind::TextArray.carrier()
}

fn list_of_lists() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(text_list(), true)))
}

fn owned(part: Option<&str>) -> Datum<'static> {
    part.map_or(Datum::Null, |p| Datum::text(p.to_string()))
}

/// `~`: a column against one pattern is matched without a look at each row's arguments.
fn test(args: &[ColumnarValue]) -> DfResult<ColumnarValue> {
    if let [ColumnarValue::Array(texts), constants @ ..] = args
        && let Some(texts) = texts.as_string_opt::<i32>()
        && let Some(constants) = constants.iter().map(constant).collect::<Option<Vec<&str>>>()
    {
        let engine = Engine::new(constants[0], &Options::of(constants.get(1).unwrap_or(&""))?)?;
        let matched = texts.iter().map(|t| t.map(|t| engine.is_match(t)).transpose());
        return Ok(ColumnarValue::Array(Arc::new(matched.collect::<Result<BooleanArray>>()?)));
    }
    scan(args, &DataType::Boolean, 2, |call| Ok(Datum::Bool(call.engine.is_match(call.text)?)))
}

fn constant(value: &ColumnarValue) -> Option<&str> {
    match value {
        ColumnarValue::Scalar(ScalarValue::Utf8(text)) => text.as_deref(),
        _ => None,
    }
}

fn like(args: &[ColumnarValue]) -> DfResult<ColumnarValue> {
    scan(args, &DataType::Boolean, 2, |call| {
        call.not_global("regexp_like")?;
        Ok(Datum::Bool(call.engine.is_match(call.text)?))
    })
}

fn match_list(args: &[ColumnarValue]) -> DfResult<ColumnarValue> {
    scan(args, &list_of_lists(), 2, |call| {
        let mut out = Output::new(&text_list(), 0)?;
        let wanted = if call.global { usize::MAX } else { 1 };
        for found in call.engine.matches(call.text, 0).take(wanted) {
            out.push(Datum::List(call.groups(&found?)))?;
        }
        Ok(Datum::List(out.finish()?))
    })
}

fn first_match(args: &[ColumnarValue]) -> DfResult<ColumnarValue> {
    scan(args, &text_list(), 2, |call| {
        call.not_global("regexp_match")?;
        Ok(call.engine.find(call.text, 0)?.map_or(Datum::Null, |found| Datum::List(call.groups(&found))))
    })
}

/// `substring(text from pattern)`: the first group, or else the whole match.
fn first_part(args: &[ColumnarValue]) -> DfResult<ColumnarValue> {
    scan(args, &DataType::Utf8, 2, |call| {
        let found = call.engine.find(call.text, 0)?;
        Ok(owned(found.and_then(|f| call.part(*f.get(1).unwrap_or(&f[0])))))
    })
}

/// (text, pattern [, start [, n [, flags [, group]]]]): the nth match, or a group of it.
fn substr(args: &[ColumnarValue]) -> DfResult<ColumnarValue> {
    scan(args, &DataType::Utf8, 4, |call| {
        call.not_global("regexp_substr")?;
        let group = call.number(5, "subexpr", 0, 0)? as usize;
        let found = call.nth(2, call.number(3, "n", 1, 1)?)?;
        Ok(owned(found.and_then(|f| call.part(f.get(group).copied().flatten()))))
    })
}

/// (text, pattern [, start [, n [, end [, flags [, group]]]]]): where the nth match is, or 0.
fn instr(args: &[ColumnarValue]) -> DfResult<ColumnarValue> {
    scan(args, &DataType::Int32, 5, |call| {
        call.not_global("regexp_instr")?;
        let (n, end) = (call.number(3, "n", 1, 1)?, call.number(4, "endoption", 0, 0)?);
        let group = call.number(6, "subexpr", 0, 0)? as usize;
        if end > 1 {
            call.number(4, "endoption", i64::MAX, 0)?;
        }
        let range = call.nth(2, n)?.and_then(|found| found.get(group).copied().flatten());
        let place = |(start, stop)| call.text[..if end == 1 { stop } else { start }].chars().count() as i64;
        Ok(Datum::Int(range.map_or(0, |range| place(range) + 1)))
    })
}

fn count(args: &[ColumnarValue]) -> DfResult<ColumnarValue> {
    scan(args, &DataType::Int32, 3, |call| {
        call.not_global("regexp_count")?;
        let Some(from) = call.start(2)? else { return Ok(Datum::Int(0)) };
        let mut matches = 0;
        for found in call.engine.matches(call.text, from) {
            found?;
            matches += 1;
        }
        Ok(Datum::Int(matches))
    })
}

/// The parts between matches; empty matches at an end of the text, or directly after a match,
/// do not count.
fn split(args: &[ColumnarValue]) -> DfResult<ColumnarValue> {
    scan(args, &text_list(), 2, |call| {
        call.not_global("regexp_split_to_array")?;
        let (text, mut parts, mut from) = (call.text, Vec::new(), 0);
        for found in call.engine.matches(text, 0) {
            let Some((start, end)) = found?[0] else { continue };
            if start == end && (start == 0 || start == text.len() || start == from) {
                continue;
            }
            parts.push(Some(&text[from..start]));
            from = end;
        }
        parts.push(Some(&text[from..]));
        Ok(Datum::List(Arc::new(StringArray::from(parts))))
    })
}

/// Writes what replaces a match: `\1`, `\&` and `\\` stand for a group, the match, a backslash.
fn expand(replacement: &str, call: &Call, found: &Found, out: &mut String) {
    let mut letters = replacement.chars().peekable();
    while let Some(c) = letters.next() {
        let group = match (c, letters.peek()) {
            ('\\', Some('&')) => 0,
            ('\\', Some(digit @ '1'..='9')) => *digit as usize - '0' as usize,
            ('\\', Some('\\')) => {
                letters.next();
                out.push('\\');
                continue;
            }
            (c, _) => {
                out.push(c);
                continue;
            }
        };
        letters.next();
        out.push_str(call.part(found.get(group).copied().flatten()).unwrap_or(""));
    }
}

/// Replaces the `n`th match from byte `from`, or all if `n` is 0.
fn replaced(call: &Call, from: Option<usize>, n: i64) -> Result<Datum<'static>> {
    let replacement = call.row[2].as_str();
    let (mut out, mut done) = (String::new(), 0);
    if let Some(from) = from {
        for (at, found) in call.engine.matches(call.text, from).enumerate() {
            let found = found?;
            let Some((start, end)) = found[0] else { continue };
            if n != 0 && at as i64 + 1 != n {
                continue;
            }
            out.push_str(&call.text[done..start]);
            expand(replacement, call, &found, &mut out);
            done = end;
            if n != 0 {
                break;
            }
        }
    }
    out.push_str(&call.text[done..]);
    Ok(Datum::text(out))
}

/// (text, pattern, replacement [, flags]).
fn replace(args: &[ColumnarValue]) -> DfResult<ColumnarValue> {
    scan(args, &DataType::Utf8, 3, |call| replaced(call, Some(0), i64::from(!call.global)))
}

/// (text, pattern, replacement, start [, n [, flags]]).
fn replace_from(args: &[ColumnarValue]) -> DfResult<ColumnarValue> {
    scan(args, &DataType::Utf8, 5, |call| {
        let n = call.number(4, "n", 0, i64::from(!call.global))?;
        replaced(call, call.start(3)?, n)
    })
}

pub fn functions() -> Vec<Function> {
    use Kind::{Int4 as I, Text as T};
    fn unused<'a>(_: &super::datum::Cx, _: &[Datum<'a>]) -> Result<Datum<'a>> {
        Ok(Datum::Null)
    }
    let made =
        |name: &'static str, signatures: &[&[Kind]], ret: fn(&[DataType]) -> DataType, kernel: Kernel| {
            let with = |f: Function, args: &&[Kind]| f.ret(args, Ret::Of(ret), unused).kernel(kernel);
            signatures.iter().fold(Function::new(name), with)
        };
    let flagged: &[&[Kind]] = &[&[T, T, T], &[T, T]];
    let replaces: Function =
        made("regexp_replace", &[&[T, T, T], &[T, T, T, T]], |_| DataType::Utf8, replace);
    let from: [&[Kind]; 3] = [&[T, T, T, I], &[T, T, T, I, I], &[T, T, T, I, I, T]];
    let replaces = from.iter().fold(replaces, |f, args| f.ret(args, Ret::Is(T), unused).kernel(replace_from));
    vec![
        made("regexp_test", flagged, |_| DataType::Boolean, test),
        made("regexp_like", flagged, |_| DataType::Boolean, like),
        made("regexp_match_list", flagged, |_| list_of_lists(), match_list),
        made("regexp_match", flagged, |_| text_list(), first_match),
        made("regexp_split_to_array", flagged, |_| text_list(), split),
        made("regexp_first_part", flagged, |_| DataType::Utf8, first_part),
        made("regexp_count", &[&[T, T], &[T, T, I], &[T, T, I, T]], |_| DataType::Int32, count),
        made(
            "regexp_substr",
            &[&[T, T], &[T, T, I], &[T, T, I, I], &[T, T, I, I, T], &[T, T, I, I, T, I]],
            |_| DataType::Utf8,
            substr,
        ),
        made(
            "regexp_instr",
            &[
                &[T, T],
                &[T, T, I],
                &[T, T, I, I],
                &[T, T, I, I, I],
                &[T, T, I, I, I, T],
                &[T, T, I, I, I, T, I],
            ],
            |_| DataType::Int32,
            instr,
        ),
        replaces,
    ]
}
