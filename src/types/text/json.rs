//! Canonical text of jsonb: what PostgreSQL prints for the same document.
//!
//! Keys are sorted by length, then bytes; of equal keys the last one wins; separators are
//! `, ` and `: `; numbers are written as numerics (no exponent, their scale kept); strings
//! are unescaped and escaped again. One pass writes straight into the output; an object is
//! rewritten only if its keys were not in order.

use std::ops::Range;

use super::json_string;
use crate::error::{HwError, Result, sqlstate};

/// Deepest nesting of arrays and objects.
const DEPTH_MAX: usize = 1_000;
/// Digits that a number may get when its exponent is written out.
const NUMBER_DIGITS_MAX: i64 = 16_383;

/// The canonical form of a JSON document.
pub fn canonical_jsonb(text: &str) -> Result<String> {
    let parser = Parser::run(text, false)?;
    String::from_utf8(parser.out).map_err(|_| HwError::internal("canonical JSON is not UTF-8"))
}

/// Whether the text is a document of type json, which keeps it as it is.
pub fn check_json(text: &str) -> Result<()> {
    Parser::run(text, true).map(drop)
}

struct Parser<'a> {
    text: &'a [u8],
    /// Only the grammar counts: numbers may be of any size, escapes stand for no characters.
    syntax_only: bool,
    at: usize,
    depth: usize,
    out: Vec<u8>,
}

/// A member of an object: its key, unescaped, and where `"key": value` stands in the output.
struct Member {
    key: Vec<u8>,
    written: Range<usize>,
}

impl Parser<'_> {
    fn run(text: &str, syntax_only: bool) -> Result<Parser<'_>> {
        let out = Vec::with_capacity(if syntax_only { 0 } else { text.len() + 16 });
        let mut parser = Parser { text: text.as_bytes(), syntax_only, at: 0, depth: 0, out };
        parser.value("JSON value")?;
        parser.skip_space();
        if parser.at < parser.text.len() {
            return Err(parser.unexpected("end of input"));
        }
        Ok(parser)
    }

    fn skip_space(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self, expected: &str) -> Result<()> {
        self.skip_space();
        match self.text.get(self.at) {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => {
                let string = self.string()?;
                json_string::push_quoted(&string, &mut self.out);
                Ok(())
            }
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.literal(expected),
        }
    }

    fn nested(&mut self, parse: fn(&mut Self) -> Result<()>) -> Result<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(HwError::new(sqlstate::STATEMENT_TOO_COMPLEX, "JSON document is nested too deeply")
                .with_detail(format!("At most {DEPTH_MAX} levels are supported.")));
        }
        self.at += 1;
        parse(self)?;
        self.depth -= 1;
        Ok(())
    }

    fn array(&mut self) -> Result<()> {
        self.out.push(b'[');
        self.skip_space();
        if self.text.get(self.at) == Some(&b']') {
            self.at += 1;
            self.out.push(b']');
            return Ok(());
        }
        let mut expected = "array element or \"]\"";
        loop {
            self.value(expected)?;
            self.skip_space();
            match self.text.get(self.at) {
                Some(b',') => self.out.extend_from_slice(b", "),
                Some(b']') => break,
                _ => return Err(self.unexpected("\",\" or \"]\"")),
            }
            self.at += 1;
            expected = "JSON value";
        }
        self.at += 1;
        self.out.push(b']');
        Ok(())
    }

    fn object(&mut self) -> Result<()> {
        let start = self.out.len();
        self.out.push(b'{');
        let mut members: Vec<Member> = Vec::new();
        self.skip_space();
        if self.text.get(self.at) == Some(&b'}') {
            self.at += 1;
            self.out.push(b'}');
            return Ok(());
        }
        let mut expected = "string or \"}\"";
        loop {
            self.skip_space();
            if self.text.get(self.at) != Some(&b'"') {
                return Err(self.unexpected(expected));
            }
            let key = self.string()?;
            self.skip_space();
            if self.text.get(self.at) != Some(&b':') {
                return Err(self.unexpected("\":\""));
            }
            self.at += 1;
            let from = self.out.len();
            json_string::push_quoted(&key, &mut self.out);
            self.out.extend_from_slice(b": ");
            self.value("JSON value")?;
            members.push(Member { key, written: from..self.out.len() });
            self.skip_space();
            match self.text.get(self.at) {
                Some(b',') => self.out.extend_from_slice(b", "),
                Some(b'}') => break,
                _ => return Err(self.unexpected("\",\" or \"}\"")),
            }
            self.at += 1;
            expected = "string";
        }
        self.at += 1;
        self.out.push(b'}');
        self.sort_members(start, members);
        Ok(())
    }

    /// Rewrites the object that starts at `start` unless its keys are strictly rising.
    fn sort_members(&mut self, start: usize, mut members: Vec<Member>) {
        let rank = |member: &Member| (member.key.len(), member.key.clone());
        let rising = members
            .windows(2)
            .all(|pair| (pair[0].key.len(), &pair[0].key) < (pair[1].key.len(), &pair[1].key));
        if rising {
            return;
        }
        if self.syntax_only {
            return;
        }
        members.sort_by_cached_key(rank);
        let written = self.out.split_off(start);
        self.out.push(b'{');
        let last_of_key =
            |index: usize| members.get(index + 1).is_none_or(|next| next.key != members[index].key);
        let mut first = true;
        for index in (0..members.len()).filter(|index| last_of_key(*index)) {
            if !first {
                self.out.extend_from_slice(b", ");
            }
            first = false;
            let range = &members[index].written;
            self.out.extend_from_slice(&written[range.start - start..range.end - start]);
        }
        self.out.push(b'}');
    }

    fn string(&mut self) -> Result<Vec<u8>> {
        if self.syntax_only {
            self.at = json_string::skip(self.text, self.at)?;
            return Ok(Vec::new());
        }
        let (string, end) = json_string::parse(self.text, self.at)?;
        self.at = end;
        Ok(string)
    }

    fn literal(&mut self, expected: &str) -> Result<()> {
        for word in [b"true".as_slice(), b"false", b"null"] {
            let end = self.at + word.len();
            if self.text[self.at..].starts_with(word) && !self.text.get(end).is_some_and(is_word) {
                self.out.extend_from_slice(word);
                self.at = end;
                return Ok(());
            }
        }
        Err(self.unexpected(expected))
    }

    /// `-0.10e2`, written as a numeric.
    fn number(&mut self) -> Result<()> {
        let start = self.at;
        let token_end = start
            + self.text[start..].iter().take_while(|b| is_word(b) || matches!(b, b'-' | b'+' | b'.')).count();
        let token = &self.text[start..token_end];
        let Some(number) = Number::split(token) else {
            return Err(syntax(format!("Token \"{}\" is invalid.", String::from_utf8_lossy(token))));
        };
        if self.syntax_only {
            self.at = token_end;
            return Ok(());
        }
        if number.exponent.abs() > NUMBER_DIGITS_MAX || !number.push(&mut self.out) {
            return Err(HwError::new(sqlstate::NUMERIC_VALUE_OUT_OF_RANGE, "value overflows numeric format"));
        }
        self.at = token_end;
        Ok(())
    }

    /// The next token is not what the grammar expects.
    fn unexpected(&self, expected: &str) -> HwError {
        let rest = &self.text[self.at..];
        match rest.first() {
            None => syntax("The input string ended unexpectedly.".to_string()),
            Some(first) if is_word(first) || matches!(first, b'-') => {
                let word = &rest[..rest.iter().take_while(|b| is_word(b)).count().max(1)];
                let known = matches!(word, b"true" | b"false" | b"null") || Number::split(word).is_some();
                let word = String::from_utf8_lossy(word);
                syntax(match known {
                    true => format!("Expected {expected}, but found \"{word}\"."),
                    false => format!("Token \"{word}\" is invalid."),
                })
            }
            Some(_) => {
                let punctuation = matches!(rest[0], b'{' | b'}' | b'[' | b']' | b',' | b':' | b'"');
                let length =
                    std::str::from_utf8(rest).ok().and_then(|t| t.chars().next()).map_or(1, char::len_utf8);
                let found = String::from_utf8_lossy(&rest[..length]);
                syntax(match punctuation {
                    true => format!("Expected {expected}, but found \"{found}\"."),
                    false => format!("Token \"{found}\" is invalid."),
                })
            }
        }
    }
}

fn is_word(b: &u8) -> bool {
    b.is_ascii_alphanumeric() || *b == b'_' || *b >= 0x80
}

/// 22P02 with PostgreSQL's detail.
pub(super) fn syntax(detail: String) -> HwError {
    HwError::new(sqlstate::INVALID_TEXT_REPRESENTATION, "invalid input syntax for type json")
        .with_detail(detail)
}

/// A number cut into its parts.
struct Number<'a> {
    negative: bool,
    integer: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

impl<'a> Number<'a> {
    /// `None` if the text is not a JSON number.
    fn split(text: &'a [u8]) -> Option<Number<'a>> {
        let (negative, unsigned) = match text.strip_prefix(b"-") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let digits = |text: &[u8]| text.iter().take_while(|b| b.is_ascii_digit()).count();
        let (integer, rest) = unsigned.split_at(digits(unsigned));
        if integer.is_empty() || (integer.len() > 1 && integer[0] == b'0') {
            return None;
        }
        let (fraction, rest) = match rest.strip_prefix(b".") {
            Some(rest) => rest.split_at(digits(rest)),
            None => (&rest[..0], rest),
        };
        if fraction.is_empty() && text.contains(&b'.') {
            return None;
        }
        let exponent = match rest.split_first() {
            None => 0,
            Some((b'e' | b'E', rest)) => {
                let unsigned = rest.strip_prefix(b"-").or_else(|| rest.strip_prefix(b"+")).unwrap_or(rest);
                if unsigned.is_empty() || digits(unsigned) < unsigned.len() {
                    return None;
                }
                let magnitude =
                    unsigned.iter().fold(0i64, |n, b| (n * 10 + i64::from(b - b'0')).min(1_000_000_000));
                if rest[0] == b'-' { -magnitude } else { magnitude }
            }
            Some(_) => return None,
        };
        Some(Number { negative, integer, fraction, exponent })
    }

    /// Writes it without exponent; false if that takes too many digits.
    fn push(&self, out: &mut Vec<u8>) -> bool {
        let nonzero = self.integer.iter().chain(self.fraction).any(|b| *b != b'0');
        let scale = (self.fraction.len() as i64 - self.exponent).max(0);
        // The point stands `point` digits right of the first digit.
        let point = self.integer.len() as i64 + self.exponent;
        if scale > NUMBER_DIGITS_MAX || (nonzero && point > 131_072) {
            return false;
        }
        if self.negative && nonzero {
            out.push(b'-');
        }
        let digit = |at: i64| {
            let length = self.integer.len() as i64;
            match usize::try_from(at) {
                Ok(index) if at < length => self.integer[index],
                Ok(index) => self.fraction.get(index - self.integer.len()).copied().unwrap_or(b'0'),
                Err(_) => b'0',
            }
        };
        let first = (0..point).find(|at| digit(*at) != b'0').unwrap_or(point.max(0));
        if first >= point {
            out.push(b'0');
        }
        out.extend((first..point).map(digit));
        if scale > 0 {
            out.push(b'.');
            out.extend((point..point + scale).map(digit));
        }
        true
    }
}
