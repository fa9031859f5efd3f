//! Functions of regular expressions that DataFusion lacks.
//!
//! The syntax is that of Rust's `regex`, which has no back references or look-around; `.`
//! matches a line break unless the flags say `n`, as in PostgreSQL. An expression is compiled
//! once for the rows of a batch that share it.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::{DataType, Field};
use datafusion::error::Result as DfResult;
use datafusion::functions::regex::compile_regex;
use datafusion::logical_expr::ColumnarValue;

use super::column::Output;
use super::datum::{Datum, Function, Kind, Ret, evaluate_rows};
use crate::error::{HwError, Result, sqlstate};

/// Byte ranges of one match: the whole, then its groups.
type Found = Vec<Option<(usize, usize)>>;

/// PostgreSQL's flags as those of `regex`, and whether all matches are wanted.
fn flags(text: &str) -> Result<(String, bool)> {
    let mut own = String::new();
    let mut dot_matches_all = true;
    let mut global = false;
    for c in text.chars() {
        match c {
            'g' => global = true,
            'i' | 'x' => own.push(c),
            'n' | 'm' => {
                own.push('m');
                dot_matches_all = false;
            }
            'c' => own.retain(|o| o != 'i'),
            's' => dot_matches_all = true,
            _ => {
                let message = format!("invalid regular expression option: \"{c}\"");
                return Err(HwError::new(sqlstate::INVALID_PARAMETER_VALUE, message));
            }
        }
    }
    if dot_matches_all {
        own.push('s');
    }
    Ok((own, global))
}

/// Evaluates rows of (text, pattern [, flags]): `eval` gets the text, its matches in order, and
/// whether the flags ask for all of them.
fn scan(
    args: &[ColumnarValue],
    ret: &DataType,
    eval: impl Fn(&str, &mut dyn Iterator<Item = Found>, bool) -> Result<Datum<'static>>,
) -> DfResult<ColumnarValue> {
    let rows = args.iter().find_map(|a| match a {
        ColumnarValue::Array(array) => Some(array.len()),
        ColumnarValue::Scalar(_) => None,
    });
    let mut last = None;
    evaluate_rows(args, rows.unwrap_or(1), ret, |row| {
        if row.iter().any(Datum::is_null) {
            return Ok(Datum::Null);
        }
        let (text, pattern) = (row[0].as_str(), row[1].as_str());
        let (own, global) = flags(row.get(2).map_or("", Datum::as_str))?;
        let known = matches!(&last, Some((p, f, _)) if p == pattern && *f == own);
        if !known {
            let made = compile_regex(pattern, Some(&own))
                .map_err(|_| HwError::new("2201B", format!("invalid regular expression: \"{pattern}\"")))?;
            last = Some((pattern.to_string(), own, made));
        }
        let Some((_, _, regex)) = &last else { return Ok(Datum::Null) };
        let mut all = regex
            .captures_iter(text)
            .map(|c| (0..c.len()).map(|g| c.get(g).map(|m| (m.start(), m.end()))).collect::<Found>());
        eval(text, &mut all, global)
    })
}

fn texts(items: Vec<Option<&str>>) -> ArrayRef {
    Arc::new(StringArray::from(items))
}

fn text_list() -> DataType {
    Kind::TextArray.carrier()
}

fn list_of_lists() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(text_list(), true)))
}

/// The groups of a match, or the whole match if the pattern has none.
fn groups<'t>(text: &'t str, found: &Found) -> Vec<Option<&'t str>> {
    let part = |at: &Option<(usize, usize)>| at.map(|(start, end)| &text[start..end]);
    if found.len() > 1 { found[1..].iter().map(part).collect() } else { found.iter().map(part).collect() }
}

fn match_list(args: &[ColumnarValue]) -> DfResult<ColumnarValue> {
    scan(args, &list_of_lists(), |text, found, global| {
        let mut out = Output::new(&text_list(), 0)?;
        for one in found.take(if global { usize::MAX } else { 1 }) {
            out.push(Datum::List(texts(groups(text, &one))))?;
        }
        Ok(Datum::List(out.finish()?))
    })
}

fn first_match(args: &[ColumnarValue]) -> DfResult<ColumnarValue> {
    scan(args, &text_list(), |text, found, _| {
        Ok(found.next().map_or(Datum::Null, |one| Datum::List(texts(groups(text, &one)))))
    })
}

/// `substring(text from pattern)`: the first group, or else the whole match.
fn first_part(args: &[ColumnarValue]) -> DfResult<ColumnarValue> {
    scan(args, &DataType::Utf8, |text, found, _| {
        let part = found.next().and_then(|one| groups(text, &one).first().copied().flatten());
        Ok(part.map_or(Datum::Null, |p| Datum::text(p.to_string())))
    })
}

fn whole_match(args: &[ColumnarValue]) -> DfResult<ColumnarValue> {
    scan(args, &DataType::Utf8, |text, found, _| {
        let part = found.next().and_then(|one| one[0]);
        Ok(part.map_or(Datum::Null, |(start, end)| Datum::text(text[start..end].to_string())))
    })
}

/// The parts between matches; empty matches at an end of the text, or directly after a match,
/// do not count.
fn split(args: &[ColumnarValue]) -> DfResult<ColumnarValue> {
    scan(args, &text_list(), |text, found, _| {
        let (mut parts, mut from) = (Vec::new(), 0);
        for (start, end) in found.filter_map(|one| one[0]) {
            if start == end && (start == 0 || start == text.len() || start == from) {
                continue;
            }
            parts.push(Some(&text[from..start]));
            from = end;
        }
        parts.push(Some(&text[from..]));
        Ok(Datum::List(texts(parts)))
    })
}

pub fn functions() -> Vec<Function> {
    use Kind::Text;
    let made = |name: &'static str, ret: fn(&[DataType]) -> DataType, kernel: super::datum::Kernel| {
        let mut function = Function::new(name);
        for args in [[Text; 3].as_slice(), [Text; 2].as_slice()] {
            function = function.ret(args, Ret::Of(ret), |_, _| Ok(Datum::Null)).kernel(kernel);
        }
        function
    };
    vec![
        made("regexp_match_list", |_| list_of_lists(), match_list),
        made("regexp_match", |_| text_list(), first_match),
        made("regexp_split_to_array", |_| text_list(), split),
        made("regexp_first_part", |_| DataType::Utf8, first_part),
        Function::new("regexp_substr")
            .ret(&[Text, Text], Ret::Is(Text), |_, _| Ok(Datum::Null))
            .kernel(whole_match),
    ]
}
