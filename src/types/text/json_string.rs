//! JSON strings: unescaping as PostgreSQL's `json_lex_string`, escaping as `escape_json`.
//!
//! `\u0000` is refused (22P05), surrogate pairs are joined, raw control characters are
//! refused. Output escapes only what JSON demands.

use super::json::syntax;
use crate::error::{HwError, Result, sqlstate};

/// The string whose opening quote is at `start`, and the place after its closing quote.
pub(super) fn parse(text: &[u8], start: usize) -> Result<(Vec<u8>, usize)> {
    let mut out = Vec::new();
    let mut at = start + 1;
    loop {
        let run = text[at..].iter().take_while(|b| !matches!(b, b'"' | b'\\' | 0..=0x1f)).count();
        out.extend_from_slice(&text[at..at + run]);
        at += run;
        match text.get(at) {
            Some(b'"') => return Ok((out, at + 1)),
            Some(b'\\') => at = escape(text, at + 1, &mut out)?,
            Some(control) => {
                return Err(syntax(format!("Character with value 0x{control:02x} must be escaped.")));
            }
            None => {
                let token = String::from_utf8_lossy(&text[start..]);
                return Err(syntax(format!("Token \"{token}\" is invalid.")));
            }
        }
    }
}

/// One escape, `at` standing after the backslash; returns the place after it.
fn escape(text: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize> {
    let Some(letter) = text.get(at) else {
        return Err(syntax("The input string ended unexpectedly.".to_string()));
    };
    out.push(match letter {
        b'"' | b'\\' | b'/' => *letter,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'u' => return unicode(text, at + 1, out),
        _ => {
            let shown = std::str::from_utf8(&text[at..]).ok().and_then(|t| t.chars().next()).unwrap_or('?');
            return Err(syntax(format!("Escape sequence \"\\{shown}\" is invalid.")));
        }
    });
    Ok(at + 1)
}

fn hex4(text: &[u8], at: usize) -> Result<u32> {
    let digits = text.get(at..at + 4).and_then(|d| std::str::from_utf8(d).ok());
    digits
        .filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))
        .and_then(|d| u32::from_str_radix(d, 16).ok())
        .ok_or_else(|| syntax("\"\\u\" must be followed by four hexadecimal digits.".to_string()))
}

fn unicode(text: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize> {
    let first = hex4(text, at)?;
    let (code, end) = match first {
        0 => {
            return Err(HwError::new(
                sqlstate::UNTRANSLATABLE_CHARACTER,
                "unsupported Unicode escape sequence",
            )
            .with_detail("\\u0000 cannot be converted to text."));
        }
        0xd800..=0xdbff => {
            let second = match text.get(at + 4..at + 6) {
                Some(b"\\u") => hex4(text, at + 6)?,
                _ => 0,
            };
            if !(0xdc00..=0xdfff).contains(&second) {
                return Err(syntax("Unicode low surrogate must follow a high surrogate.".to_string()));
            }
            (0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00), at + 10)
        }
        0xdc00..=0xdfff => {
            return Err(syntax("Unicode low surrogate must follow a high surrogate.".to_string()));
        }
        code => (code, at + 4),
    };
    let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(end)
}

/// The place after the closing quote of the string that opens at `start`; escapes are checked for
/// their form only.
pub(super) fn skip(text: &[u8], start: usize) -> Result<usize> {
    let mut at = start + 1;
    loop {
        at += text[at..].iter().take_while(|b| !matches!(b, b'"' | b'\\' | 0..=0x1f)).count();
        match text.get(at..) {
            Some([b'"', ..]) => return Ok(at + 1),
            Some([b'\\', b'u', ..]) => {
                hex4(text, at + 2)?;
                at += 6;
            }
            _ => at = skip_one(text, start, at)?,
        }
    }
}

/// An escape of one letter, or an error.
fn skip_one(text: &[u8], start: usize, at: usize) -> Result<usize> {
    match text.get(at) {
        Some(b'\\') => escape(text, at + 1, &mut Vec::new()),
        Some(control) => Err(syntax(format!("Character with value 0x{control:02x} must be escaped."))),
        None => {
            let token = String::from_utf8_lossy(&text[start..]);
            Err(syntax(format!("Token \"{token}\" is invalid.")))
        }
    }
}

/// Appends a text as a JSON string.
pub fn quote_json(text: &str, out: &mut String) {
    let mut quoted = Vec::with_capacity(text.len() + 2);
    push_quoted(text.as_bytes(), &mut quoted);
    out.push_str(&String::from_utf8_lossy(&quoted));
}

/// Appends a string with quotes and escapes.
pub(super) fn push_quoted(string: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = string;
    loop {
        let run = rest.iter().take_while(|b| !matches!(b, b'"' | b'\\' | 0..=0x1f)).count();
        out.extend_from_slice(&rest[..run]);
        let Some(special) = rest.get(run) else { break };
        match special {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *special]),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => {
                let hex = |digit: u8| b"0123456789abcdef"[usize::from(digit)];
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(control >> 4), hex(control & 15)]);
            }
        }
        rest = &rest[run + 1..];
    }
    out.push(b'"');
}
