//! Array literals: `{1,NULL,"a b"}`, and the quoting rules of arrays and rows.
//!
//! Reading gives the elements' texts; the caller parses them by element type. Arrays have
//! one dimension here (the carrier is a list); a literal with more is refused by name.

use crate::error::{HwError, Result, sqlstate};

/// Puts quotes around what was appended to `out` since `start`, if an array literal needs them.
pub(super) fn quote_array_element(out: &mut Vec<u8>, start: usize) {
    let text = &out[start..];
    let special = |b: &u8| matches!(b, b'"' | b'\\' | b'{' | b'}' | b',' | b' ' | b'\t'..=b'\r');
    if text.is_empty() || text.eq_ignore_ascii_case(b"null") || text.iter().any(special) {
        let text = out.split_off(start);
        out.push(b'"');
        for byte in text {
            if matches!(byte, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(byte);
        }
        out.push(b'"');
    }
}

/// The same for a field of a row, `(1,"a b")`, where quotes are doubled.
pub(super) fn quote_row_field(out: &mut Vec<u8>, start: usize) {
    let text = &out[start..];
    let special = |b: &u8| matches!(b, b'"' | b'\\' | b'(' | b')' | b',' | b' ' | b'\t'..=b'\r');
    if text.is_empty() || text.iter().any(special) {
        let text = out.split_off(start);
        out.push(b'"');
        for byte in text {
            if matches!(byte, b'"' | b'\\') {
                out.push(byte);
            }
            out.push(byte);
        }
        out.push(b'"');
    }
}

/// The elements of an array literal; `None` stands for NULL.
pub fn split(literal: &str) -> Result<Vec<Option<String>>> {
    let malformed = |detail: &str| {
        HwError::new(sqlstate::INVALID_TEXT_REPRESENTATION, format!("malformed array literal: \"{literal}\""))
            .with_detail(detail)
    };
    let body = literal.trim();
    let Some(inside) = body.strip_prefix('{') else {
        return Err(malformed("Array value must start with \"{\" or dimension information."));
    };
    let mut chars = inside.chars().peekable();
    let mut elements = Vec::new();
    loop {
        while chars.next_if(|c| c.is_ascii_whitespace()).is_some() {}
        match chars.peek() {
            Some('}') if elements.is_empty() => break,
            Some('{') => {
                return Err(HwError::unsupported(
                    "an array of several dimensions",
                    "Use an array of one dimension or jsonb.",
                ));
            }
            Some(c @ ('}' | ',')) => return Err(malformed(&format!("Unexpected \"{c}\" character."))),
            Some(_) => {}
            None => return Err(malformed("Unexpected end of input.")),
        }
        elements.push(element(&mut chars).map_err(malformed)?);
        match chars.peek() {
            Some(',') => drop(chars.next()),
            Some('}') => break,
            Some(_) => return Err(malformed("Unexpected array element.")),
            None => return Err(malformed("Unexpected end of input.")),
        }
    }
    chars.next();
    if chars.any(|c| !c.is_ascii_whitespace()) {
        return Err(malformed("Junk after closing right brace."));
    }
    Ok(elements)
}

/// One element up to the `,` or `}` behind it.
fn element(chars: &mut std::iter::Peekable<std::str::Chars>) -> Result<Option<String>, &'static str> {
    const ENDED: &str = "Unexpected end of input.";
    let mut text = String::new();
    if chars.next_if_eq(&'"').is_some() {
        loop {
            match chars.next().ok_or(ENDED)? {
                '"' => break,
                '\\' => text.push(chars.next().ok_or(ENDED)?),
                c => text.push(c),
            }
        }
        while chars.next_if(|c| c.is_ascii_whitespace()).is_some() {}
        return Ok(Some(text));
    }
    let mut escaped = false;
    // Length up to which white space is part of the element.
    let mut kept = 0;
    loop {
        match *chars.peek().ok_or(ENDED)? {
            ',' | '}' => break,
            '{' => return Err("Unexpected \"{\" character."),
            '"' => return Err("Unexpected array element."),
            '\\' => {
                chars.next();
                text.push(chars.next().ok_or(ENDED)?);
                escaped = true;
                kept = text.len();
            }
            c => {
                chars.next();
                text.push(c);
                if !c.is_ascii_whitespace() {
                    kept = text.len();
                }
            }
        }
    }
    text.truncate(kept);
    let null = !escaped && text.eq_ignore_ascii_case("null");
    Ok((!null).then_some(text))
}
