//! LIKE and SIMILAR TO as PostgreSQL matches them.
//!
//! `like_escape` brings a pattern with an escape character of its own to the form whose escape
//! is the backslash; `pg_like` matches such a pattern, also over bytes, and raises 22025 where
//! the pattern ends in its escape. A SIMILAR TO pattern becomes a regular expression that
//! matches the whole text (`similar_escape_internal` of regexp.c), compiled once for the rows
//! that share it; `similar_part` is `substring(text SIMILAR pattern ESCAPE e)`.

use arrow::datatypes::DataType;
use datafusion::error::Result as DfResult;
use datafusion::functions::regex::compile_regex;
use datafusion::logical_expr::ColumnarValue;

use super::datum::{Datum, Function, Kind, Ret, evaluate_rows};
use crate::error::{HwError, Result};

/// The escape of a pattern; an empty text is none.
fn escape_of(text: &str) -> Result<Option<char>> {
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (escape, None) => Ok(escape),
        _ => Err(HwError::new("22025", "invalid escape string")
            .with_hint("Escape string must be empty or one character.")),
    }
}

/// A LIKE pattern with the backslash as its escape.
pub fn like_escape(pattern: &str, escape: &str) -> Result<String> {
    let escape = escape_of(escape)?;
    if escape == Some('\\') {
        return Ok(pattern.to_string());
    }
    let mut out = String::with_capacity(pattern.len() + 4);
    let mut escaped = false;
    for c in pattern.chars() {
        if Some(c) == escape && !escaped {
            out.push('\\');
            escaped = true;
            continue;
        }
        if c == '\\' && !escaped {
            out.push('\\');
        }
        out.push(c);
        escaped = false;
    }
    Ok(out)
}

/// Whether a pattern ends in an escape that escapes nothing.
pub fn ends_in_escape(pattern: &str) -> bool {
    pattern.bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 1
}

/// How a match ends: `Abort` says that no later start can match, either.
#[derive(PartialEq)]
enum Matched {
    Yes,
    No,
    Abort,
}

/// Bytes of the character at the start of `text`.
fn width(text: &[u8], bytes: bool) -> usize {
    match text[0] {
        _ if bytes => 1,
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xff => 4,
        _ => 1,
    }
    .min(text.len())
}

/// `MatchText` of like_match.c; `bytes` if a character is a byte.
fn match_text(mut t: &[u8], mut p: &[u8], bytes: bool) -> Result<Matched> {
    let dangling = || HwError::new("22025", "LIKE pattern must not end with escape character");
    while let (false, Some(first)) = (t.is_empty(), p.first()) {
        match first {
            b'\\' => {
                p = &p[1..];
                if *p.first().ok_or_else(dangling)? != t[0] {
                    return Ok(Matched::No);
                }
                (t, p) = (&t[1..], &p[1..]);
            }
            b'%' => return match_rest(t, &p[1..], bytes),
            b'_' => (t, p) = (&t[width(t, bytes)..], &p[1..]),
            byte if *byte != t[0] => return Ok(Matched::No),
            _ => (t, p) = (&t[1..], &p[1..]),
        }
    }
    if !t.is_empty() {
        return Ok(Matched::No);
    }
    Ok(if p.iter().all(|b| *b == b'%') { Matched::Yes } else { Matched::Abort })
}

/// What follows a `%`: matched at the first place where it can be.
fn match_rest(mut t: &[u8], mut p: &[u8], bytes: bool) -> Result<Matched> {
    while let Some(b @ (b'%' | b'_')) = p.first() {
        if *b == b'_' {
            if t.is_empty() {
                return Ok(Matched::Abort);
            }
            t = &t[width(t, bytes)..];
        }
        p = &p[1..];
    }
    let first = match p {
        [] => return Ok(Matched::Yes),
        [b'\\'] => return Err(HwError::new("22025", "LIKE pattern must not end with escape character")),
        [b'\\', next, ..] => *next,
        [first, ..] => *first,
    };
    while !t.is_empty() {
        if t[0] == first {
            let matched = match_text(t, p, bytes)?;
            if matched != Matched::No {
                return Ok(matched);
            }
        }
        t = &t[width(t, bytes)..];
    }
    Ok(Matched::Abort)
}

fn like<'a>(_: &super::datum::Cx, a: &[Datum<'a>]) -> Result<Datum<'a>> {
    let matched = match (&a[0], &a[1]) {
        (Datum::Bytes(text), Datum::Bytes(pattern)) => match_text(text, pattern, true)?,
        (text, pattern) => match_text(text.as_str().as_bytes(), pattern.as_str().as_bytes(), false)?,
    };
    Ok(Datum::Bool(matched == Matched::Yes))
}

/// The parts of a SIMILAR TO pattern as regular expressions, divided where an escaped quote stands.
fn similar_parts(pattern: &str, escape: &str) -> Result<Vec<String>> {
    let escape = escape_of(escape)?;
    let (mut parts, mut part) = (Vec::new(), String::new());
    let (mut escaped, mut class) = (false, false);
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        if escaped {
            escaped = false;
            match c {
                '"' if !class => {
                    if parts.len() == 2 {
                        let message = "SQL regular expression may not contain more than two escape-double-quote separators";
                        return Err(HwError::new("2200C", message));
                    }
                    parts.push(std::mem::take(&mut part));
                }
                'm' | 'M' | 'y' | 'Y' | 'Z' if !class => part += word_escape(c),
                c if c.is_ascii_alphanumeric() => part.extend(['\\', c]),
                c => literal(c, &mut part),
            }
        } else if Some(c) == escape {
            escaped = true;
        } else if class {
            // PostgreSQL's classes know no operators, `regex` has some.
            match c {
                '[' if matches!(chars.peek(), Some(':')) => part.push('['),
                '\\' | '[' | '&' | '~' => part.extend(['\\', c]),
                c => part.push(c),
            }
            class = c != ']';
        } else {
            match c {
                '[' => {
                    part.push('[');
                    class = true;
                    if let Some('^') = chars.peek() {
                        part.push('^');
                        chars.next();
                    }
                }
                '%' => part += ".*",
                '_' => part.push('.'),
                '(' => part += "(?:",
                '\\' | '.' | '^' | '$' => part.extend(['\\', c]),
                c => part.push(c),
            }
        }
    }
    parts.push(part);
    // The classes of `regex` are those of ASCII.
    Ok(parts.into_iter().map(|part| CLASSES.iter().fold(part, |p, (name, of)| p.replace(name, of))).collect())
}

const CLASSES: [(&str, &str); 5] = [
    ("[:alpha:]", r"\p{Alphabetic}"),
    ("[:alnum:]", r"\p{Alphabetic}\p{Nd}"),
    ("[:upper:]", r"\p{Uppercase}"),
    ("[:lower:]", r"\p{Lowercase}"),
    ("[:space:]", r"\s"),
];

/// PostgreSQL's escapes of places between words, as those of `regex`.
fn word_escape(c: char) -> &'static str {
    match c {
        'm' => r"\b{start}",
        'M' => r"\b{end}",
        'y' => r"\b",
        'Y' => r"\B",
        _ => r"\z",
    }
}

fn literal(c: char, out: &mut String) {
    if c.is_ascii_punctuation() {
        out.push('\\');
    }
    out.push(c);
}

/// A predicate of whole texts. `\z` and not `$`, which `m` would change.
fn whole(part: &str, pattern: &str) -> Result<impl Fn(&str) -> bool + use<>> {
    let regex = compile_regex(&format!("^(?:{part})\\z"), Some("s"))
        .map_err(|_| HwError::new("2201B", format!("invalid regular expression: \"{pattern}\"")))?;
    Ok(move |text: &str| regex.is_match(text))
}

/// Evaluates rows of (text, pattern, escape) by what `compile` makes of the last two.
fn each<M>(
    args: &[ColumnarValue],
    ret: &DataType,
    compile: impl Fn(&str, &str) -> Result<M>,
    eval: impl Fn(&M, &str) -> Datum<'static>,
) -> DfResult<ColumnarValue> {
    let rows = args.iter().find_map(|a| match a {
        ColumnarValue::Array(array) => Some(array.len()),
        ColumnarValue::Scalar(_) => None,
    });
    let mut last: Option<(String, String, M)> = None;
    evaluate_rows(args, rows.unwrap_or(1), ret, |row| {
        if row.iter().any(Datum::is_null) {
            return Ok(Datum::Null);
        }
        let (pattern, escape) = (row[1].as_str(), row[2].as_str());
        if !matches!(&last, Some((p, e, _)) if p == pattern && e == escape) {
            last = Some((pattern.to_string(), escape.to_string(), compile(pattern, escape)?));
        }
        Ok(last.as_ref().map_or(Datum::Null, |(_, _, made)| eval(made, row[0].as_str())))
    })
}

fn similar(args: &[ColumnarValue]) -> DfResult<ColumnarValue> {
    let compile = |pattern: &str, escape: &str| {
        let parts = similar_parts(pattern, escape)?;
        let one = parts.iter().map(|part| format!("(?:{part})")).collect::<String>();
        whole(&one, pattern)
    };
    each(args, &DataType::Boolean, compile, |matches, text| Datum::Bool(matches(text)))
}

/// The part between two escaped quotes: what stands before it is as short as possible, the part
/// as long as possible. Without quotes, the whole text if it matches.
pub fn similar_part(args: &[ColumnarValue]) -> DfResult<ColumnarValue> {
    let compile = |pattern: &str, escape: &str| {
        let parts = similar_parts(pattern, escape)?;
        parts.iter().map(|part| whole(part, pattern)).collect::<Result<Vec<_>>>()
    };
    each(args, &DataType::Utf8, compile, |parts, text| {
        let found = match parts.as_slice() {
            [all] => all(text).then_some(text),
            [before, part] => divide(text, before, part, &|rest| rest.is_empty()),
            [before, part, after] => divide(text, before, part, after),
            _ => None,
        };
        found.map_or(Datum::Null, |part| Datum::text(part.to_string()))
    })
}

fn divide<'t>(
    text: &'t str,
    before: &dyn Fn(&str) -> bool,
    part: &dyn Fn(&str) -> bool,
    after: &dyn Fn(&str) -> bool,
) -> Option<&'t str> {
    let places = || (0..=text.len()).filter(|at| text.is_char_boundary(*at));
    places().filter(|start| before(&text[..*start])).find_map(|start| {
        let mut ends = places().filter(|end| *end >= start).rev();
        ends.find(|end| after(&text[*end..]) && part(&text[start..*end])).map(|end| &text[start..end])
    })
}

pub fn functions() -> Vec<Function> {
    use Kind::{Bool, Bytea, Text};
    let none: super::datum::Eval = |_, _| Ok(Datum::Null);
    vec![
        Function::new("pg_like").on(&[Text, Text], Bool, like).on(&[Bytea, Bytea], Bool, like),
        Function::new("like_escape")
            .on(&[Text, Text], Text, |_, a| Ok(Datum::text(like_escape(a[0].as_str(), a[1].as_str())?))),
        Function::new("pg_similar").ret(&[Text, Text, Text], Ret::Is(Bool), none).kernel(similar),
        Function::new("similar_part").ret(&[Text, Text, Text], Ret::Is(Text), none).kernel(similar_part),
    ]
}
