//! Documents of type json where they stand: parts of the text, none of it written anew.
//!
//! In: text that has been checked when it came in. Out: the members and elements as they were
//! written, duplicates and order kept. Of equal keys the last one counts, as in PostgreSQL.

use std::borrow::Cow;

use crate::error::{HwError, Result, sqlstate};

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    Object,
    Array,
    Text,
    Number,
    Boolean,
    Null,
}

impl Sort {
    pub fn of(text: &str) -> Sort {
        match text.trim_start().as_bytes().first() {
            Some(b'{') => Sort::Object,
            Some(b'[') => Sort::Array,
            Some(b'"') => Sort::Text,
            Some(b't' | b'f') => Sort::Boolean,
            Some(b'n') => Sort::Null,
            _ => Sort::Number,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Sort::Object => "object",
            Sort::Array => "array",
            Sort::Text => "string",
            Sort::Number => "number",
            Sort::Boolean => "boolean",
            Sort::Null => "null",
        }
    }
}

/// A member or an element: its key with quotes, and its value.
pub struct Part<'a> {
    pub key: Option<&'a str>,
    pub value: &'a str,
}

/// The members of an object or the elements of an array; none of a scalar.
pub fn parts(text: &str) -> Vec<Part<'_>> {
    let sort = Sort::of(text);
    let mut found = Vec::new();
    if !matches!(sort, Sort::Object | Sort::Array) {
        return found;
    }
    let bytes = text.as_bytes();
    let mut at = skip_space(bytes, skip_space(bytes, 0) + 1);
    while at < bytes.len() && !matches!(bytes[at], b'}' | b']') {
        let mut key = None;
        if sort == Sort::Object {
            let end = string_end(bytes, at);
            key = text.get(at..end);
            at = skip_space(bytes, skip_space(bytes, end) + 1);
        }
        let end = value_end(bytes, at);
        found.push(Part { key, value: text.get(at..end).unwrap_or_default() });
        at = skip_space(bytes, end);
        if bytes.get(at) == Some(&b',') {
            at = skip_space(bytes, at + 1);
        }
    }
    found
}

fn skip_space(text: &[u8], from: usize) -> usize {
    let spaces = |b: &&u8| matches!(b, b' ' | b'\t' | b'\n' | b'\r');
    from + text.get(from..).unwrap_or_default().iter().take_while(spaces).count()
}

/// The place after the string whose opening quote is at `from`.
fn string_end(text: &[u8], from: usize) -> usize {
    let mut at = from + 1;
    while at < text.len() && text[at] != b'"' {
        at += if text[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

fn value_end(text: &[u8], from: usize) -> usize {
    let (mut at, mut depth) = (from, 0);
    while at < text.len() {
        match text[at] {
            b'"' => at = string_end(text, at),
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' if depth > 0 => {
                depth -= 1;
                at += 1;
            }
            b'}' | b']' | b',' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => return at,
            _ => at += 1,
        }
        if depth == 0 && matches!(text.get(at - 1), Some(b'"' | b'}' | b']')) {
            return at;
        }
    }
    at.min(text.len())
}

/// A string without quotes and escapes; 22P05 for what no text holds.
pub fn unquoted(quoted: &str) -> Result<Cow<'_, str>> {
    let inner = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    if !inner.contains('\\') {
        return Ok(inner.into());
    }
    let untranslatable = |detail: &str| {
        HwError::new(sqlstate::UNTRANSLATABLE_CHARACTER, "unsupported Unicode escape sequence")
            .with_detail(detail)
    };
    let text: String =
        serde_json::from_str(quoted).map_err(|_| untranslatable("A surrogate does not stand in a pair."))?;
    match text.contains('\0') {
        true => Err(untranslatable("\\u0000 cannot be converted to text.")),
        false => Ok(text.into()),
    }
}

/// `->>`'s reading of a value: strings bare, null as none.
pub fn as_text(value: &str) -> Result<Option<Cow<'_, str>>> {
    let value = value.trim_matches([' ', '\t', '\n', '\r']);
    match Sort::of(value) {
        Sort::Null => Ok(None),
        Sort::Text => unquoted(value).map(Some),
        _ => Ok(Some(value.into())),
    }
}

/// The last member of that name.
pub fn member<'a>(text: &'a str, name: &str) -> Result<Option<&'a str>> {
    if Sort::of(text) != Sort::Object {
        return Ok(None);
    }
    let mut found = None;
    for part in parts(text) {
        if unquoted(part.key.unwrap_or_default())? == name {
            found = Some(part.value);
        }
    }
    Ok(found)
}

/// The element at a position, from the end if it is negative.
pub fn element(text: &str, at: i64) -> Option<&str> {
    if Sort::of(text) != Sort::Array {
        return None;
    }
    let parts = parts(text);
    let at = if at < 0 { parts.len() as i64 + at } else { at };
    usize::try_from(at).ok().and_then(|at| parts.get(at)).map(|p| p.value)
}

/// What stands at the end of a path of names and positions.
pub fn at_path<'a>(text: &'a str, path: &[Option<String>]) -> Result<Option<&'a str>> {
    let mut found = text.trim_matches([' ', '\t', '\n', '\r']);
    for step in path {
        let Some(step) = step else { return Ok(None) };
        let next = match Sort::of(found) {
            Sort::Array => step.trim().parse().ok().and_then(|at| element(found, at)),
            _ => member(found, step)?,
        };
        match next {
            Some(next) => found = next,
            None => return Ok(None),
        }
    }
    Ok(Some(found))
}

/// The document without members that are null, and without spaces.
pub fn without_nulls(text: &str, out: &mut String) {
    let sort = Sort::of(text);
    if !matches!(sort, Sort::Object | Sort::Array) {
        return out.push_str(text.trim_matches([' ', '\t', '\n', '\r']));
    }
    out.push(if sort == Sort::Object { '{' } else { '[' });
    let start = out.len();
    for part in parts(text) {
        if part.key.is_some() && Sort::of(part.value) == Sort::Null {
            continue;
        }
        if out.len() > start {
            out.push(',');
        }
        if let Some(key) = part.key {
            out.push_str(key);
            out.push(':');
        }
        without_nulls(part.value, out);
    }
    out.push(if sort == Sort::Object { '}' } else { ']' });
}
