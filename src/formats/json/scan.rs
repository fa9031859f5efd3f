//! Single-pass reader of JSON text: tokens out, nothing copied.
//!
//! In: one record, already known to be UTF-8. Out: [`Token`]s that borrow from it. Scalars
//! are read once; arrays and objects come out as spans whose syntax has been checked
//! completely, so that what is skipped is checked like what is kept. Nesting is counted in
//! a bit stack, never on the call stack. Grammar: RFC 8259, without extensions.

use crate::error::{HwError, sqlstate};

/// Deepest nesting that any decoder accepts (the width of the bit stack).
pub const DEPTH_MAX: u32 = 128;

/// One JSON value. String and container spans borrow from the record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Token<'a> {
    Null,
    Bool(bool),
    Number(Number<'a>),
    Text(RawText<'a>),
    /// From `[` to `]`, checked.
    Array(&'a [u8]),
    /// From `{` to `}`, checked.
    Object(&'a [u8]),
}

/// A number as written, and its value if it is a short plain integer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number<'a> {
    pub text: &'a [u8],
    pub integer: Option<i64>,
}

/// A string between its quotes, as written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RawText<'a> {
    pub bytes: &'a [u8],
    pub escaped: bool,
}

/// A cursor in one record.
pub struct Scanner<'a> {
    bytes: &'a [u8],
    pos: usize,
    depth_max: u32,
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;
const BLOCK: usize = 32;

/// Bits set (at 0x80 of a byte, lowest one exact) where a string needs attention.
#[inline(always)]
fn special_bytes(word: u64) -> u64 {
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let is_quote = quote.wrapping_sub(ONES) & !quote;
    let is_backslash = backslash.wrapping_sub(ONES) & !backslash;
    let is_control = word.wrapping_sub(ONES * 0x20) & !word;
    (is_quote | is_backslash | is_control) & HIGHS
}

#[inline(always)]
fn is_special(b: u8) -> bool {
    b == b'"' || b == b'\\' || b < 0x20
}

/// Index of the first quote, backslash or control character at or after `from`.
#[inline(always)]
fn find_special(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(block) = bytes.get(at..at + BLOCK) {
        // Written so that the compiler makes vector compares of it.
        if block.iter().fold(false, |any, b| any | is_special(*b)) {
            break;
        }
        at += BLOCK;
    }
    while let Some(eight) = bytes.get(at..at + 8) {
        let mut word = [0u8; 8];
        word.copy_from_slice(eight);
        let found = special_bytes(u64::from_le_bytes(word));
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while at < bytes.len() && !is_special(bytes[at]) {
        at += 1;
    }
    at
}

/// 22P02 with the place in the record.
#[cold]
pub fn malformed(expected: &str, bytes: &[u8], pos: usize) -> HwError {
    let found = match std::str::from_utf8(bytes.get(pos..).unwrap_or_default()) {
        Ok("") => "the end of the record".to_string(),
        Ok(rest) => format!("{:?}", rest.chars().take(12).collect::<String>()),
        Err(_) => "other bytes".to_string(),
    };
    HwError::new(sqlstate::INVALID_TEXT_REPRESENTATION, "invalid input syntax for type json")
        .with_detail(format!("Expected {expected} at byte {pos}, found {found}."))
}

type Scan<T> = Result<T, HwError>;

impl<'a> Scanner<'a> {
    pub fn new(bytes: &'a [u8], depth_max: u32) -> Self {
        Scanner { bytes, pos: 0, depth_max: depth_max.min(DEPTH_MAX) }
    }

    #[cold]
    fn error<T>(&self, expected: &str) -> Scan<T> {
        Err(malformed(expected, self.bytes, self.pos))
    }

    /// The next byte that is not white space, without taking it; 0 at the end.
    #[inline(always)]
    pub fn peek(&mut self) -> u8 {
        while let Some(&b) = self.bytes.get(self.pos) {
            if b > b' ' || !matches!(b, b' ' | b'\n' | b'\r' | b'\t') {
                return b;
            }
            self.pos += 1;
        }
        0
    }

    /// Takes `byte` if it comes next after white space.
    #[inline(always)]
    pub fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == byte && self.pos < self.bytes.len();
        self.pos += found as usize;
        found
    }

    #[inline(always)]
    pub fn expect(&mut self, byte: u8, what: &str) -> Scan<()> {
        if self.take(byte) { Ok(()) } else { self.error(what) }
    }

    /// Nothing but white space may follow.
    pub fn expect_end(&mut self) -> Scan<()> {
        self.peek();
        if self.pos == self.bytes.len() { Ok(()) } else { self.error("the end of the record") }
    }

    /// Takes the field name if it is `name`, which must need no escapes; the opening quote
    /// has been taken.
    #[inline(always)]
    pub fn take_name(&mut self, name: &[u8]) -> bool {
        let end = self.pos + name.len();
        let same = self.bytes.get(end) == Some(&b'"') && &self.bytes[self.pos..end] == name;
        if same {
            self.pos = end + 1;
        }
        same
    }

    /// The rest of a string after its opening quote.
    #[inline(always)]
    pub fn text(&mut self) -> Scan<RawText<'a>> {
        let start = self.pos;
        let end = find_special(self.bytes, start);
        if self.bytes.get(end) == Some(&b'"') {
            self.pos = end + 1;
            return Ok(RawText { bytes: &self.bytes[start..end], escaped: false });
        }
        self.pos = end;
        self.text_with_escapes(start)
    }

    fn text_with_escapes(&mut self, start: usize) -> Scan<RawText<'a>> {
        loop {
            self.pos = find_special(self.bytes, self.pos);
            match self.bytes.get(self.pos) {
                Some(b'"') => {
                    let bytes = &self.bytes[start..self.pos];
                    self.pos += 1;
                    return Ok(RawText { bytes, escaped: true });
                }
                Some(b'\\') => {
                    let escape = self.bytes.get(self.pos + 1).copied().unwrap_or(0);
                    match escape {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.pos += 2,
                        b'u' => {
                            let digits = self.bytes.get(self.pos + 2..self.pos + 6);
                            if !digits.is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit)) {
                                return self.error("an escape of four hexadecimal digits");
                            }
                            self.pos += 6;
                        }
                        _ => return self.error("a valid escape"),
                    }
                }
                Some(_) => return self.error("no control character in a string"),
                None => return self.error("the end of the string"),
            }
        }
    }

    #[inline(always)]
    fn number(&mut self) -> Scan<Number<'a>> {
        let start = self.pos;
        let negative = self.bytes.get(self.pos) == Some(&b'-');
        self.pos += negative as usize;
        let first_digit = self.pos;
        let mut value: u64 = 0;
        while let Some(digit) = self.bytes.get(self.pos).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10) {
            value = value.wrapping_mul(10).wrapping_add(digit as u64);
            self.pos += 1;
        }
        let digits = self.pos - first_digit;
        if digits == 0 || (digits > 1 && self.bytes[first_digit] == b'0') {
            self.pos = start;
            return self.error("a value");
        }
        if matches!(self.bytes.get(self.pos), Some(b'.' | b'e' | b'E')) {
            self.fraction_and_exponent()?;
            return Ok(Number { text: &self.bytes[start..self.pos], integer: None });
        }
        let integer = (digits <= 18).then_some(if negative { -(value as i64) } else { value as i64 });
        Ok(Number { text: &self.bytes[start..self.pos], integer })
    }

    fn digits(&mut self) -> Scan<()> {
        let start = self.pos;
        while self.bytes.get(self.pos).is_some_and(u8::is_ascii_digit) {
            self.pos += 1;
        }
        if self.pos == start { self.error("a digit") } else { Ok(()) }
    }

    fn fraction_and_exponent(&mut self) -> Scan<()> {
        if self.bytes.get(self.pos) == Some(&b'.') {
            self.pos += 1;
            self.digits()?;
        }
        if matches!(self.bytes.get(self.pos), Some(b'e' | b'E')) {
            self.pos += 1;
            if matches!(self.bytes.get(self.pos), Some(b'+' | b'-')) {
                self.pos += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    #[inline(always)]
    fn word(&mut self, word: &[u8], token: Token<'a>) -> Scan<Token<'a>> {
        if self.bytes[self.pos..].starts_with(word) {
            self.pos += word.len();
            Ok(token)
        } else {
            self.error("a value")
        }
    }

    /// The next value, whole. `depth` is the number of containers around it.
    #[inline(always)]
    pub fn value(&mut self, depth: u32) -> Scan<Token<'a>> {
        match self.peek() {
            b'"' => {
                self.pos += 1;
                Ok(Token::Text(self.text()?))
            }
            b'-' | b'0'..=b'9' => Ok(Token::Number(self.number()?)),
            b'n' => self.word(b"null", Token::Null),
            b't' => self.word(b"true", Token::Bool(true)),
            b'f' => self.word(b"false", Token::Bool(false)),
            b'{' => Ok(Token::Object(self.container(depth)?)),
            b'[' => Ok(Token::Array(self.container(depth)?)),
            _ => self.error("a value"),
        }
    }

    /// Reads one array or object to its end, checking all of it.
    fn container(&mut self, depth: u32) -> Scan<&'a [u8]> {
        let start = self.pos;
        // Bit i tells whether the i-th open container is an object.
        let mut objects: u128 = 0;
        let mut open: u32 = 0;
        loop {
            // At the start of a value.
            let byte = self.peek();
            if byte == b'{' || byte == b'[' {
                self.pos += 1;
                if depth + open >= self.depth_max {
                    return Err(too_deep(self.depth_max));
                }
                let is_object = byte == b'{';
                objects = (objects & !(1 << open)) | ((is_object as u128) << open);
                open += 1;
                if !self.take(if is_object { b'}' } else { b']' }) {
                    if is_object {
                        self.name()?;
                    }
                    continue;
                }
                open -= 1;
            } else {
                self.value(0)?;
            }
            // After a value: close what ends here, then go on to the next one.
            while open > 0 {
                let in_object = objects >> (open - 1) & 1 == 1;
                if self.take(b',') {
                    if in_object {
                        self.name()?;
                    }
                    break;
                }
                self.expect(
                    if in_object { b'}' } else { b']' },
                    if in_object { "',' or '}'" } else { "',' or ']'" },
                )?;
                open -= 1;
            }
            if open == 0 {
                return Ok(&self.bytes[start..self.pos]);
            }
        }
    }

    fn name(&mut self) -> Scan<()> {
        self.expect(b'"', "a field name")?;
        self.text()?;
        self.expect(b':', "':'")
    }
}

/// The record nests deeper than allowed.
#[cold]
pub fn too_deep(depth_max: u32) -> HwError {
    HwError::new(sqlstate::PROGRAM_LIMIT_EXCEEDED, format!("depth > {depth_max}"))
        .with_detail("The record nests arrays and objects deeper than the limit.")
}

fn hex4(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |v, b| v << 4 | (*b as char).to_digit(16).unwrap_or(0))
}

/// Appends the characters that a checked string stands for. 22P05 for `\u0000` and for half
/// of a surrogate pair, which no PostgreSQL text can hold.
pub fn unescape(raw: &[u8], out: &mut Vec<u8>) -> Scan<()> {
    let mut at = 0;
    while at < raw.len() {
        let plain = memchr::memchr(b'\\', &raw[at..]).map_or(raw.len(), |n| at + n);
        out.extend_from_slice(&raw[at..plain]);
        at = plain;
        let Some(escape) = raw.get(at + 1) else { break };
        at += 2;
        let byte = match escape {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                at += unescape_unicode(&raw[at..], out)?;
                continue;
            }
            other => *other,
        };
        out.push(byte);
    }
    Ok(())
}

/// `digits` starts after `\u`; gives the number of bytes used.
fn unescape_unicode(digits: &[u8], out: &mut Vec<u8>) -> Scan<usize> {
    let untranslatable = |detail: &str| {
        HwError::new(sqlstate::UNTRANSLATABLE_CHARACTER, "unsupported Unicode escape sequence")
            .with_detail(detail)
    };
    let first = hex4(&digits[..4]);
    let (code, used) = match first {
        0 => return Err(untranslatable("\\u0000 cannot be converted to text.")),
        0xD800..=0xDBFF => {
            let low = match digits.get(4..10) {
                Some(next) if next.starts_with(b"\\u") => hex4(&next[2..]),
                _ => 0,
            };
            if !(0xDC00..=0xDFFF).contains(&low) {
                return Err(untranslatable("Unicode low surrogate must follow a high surrogate."));
            }
            (0x10000 + ((first - 0xD800) << 10) + (low - 0xDC00), 10)
        }
        other => (other, 4),
    };
    let Some(c) = char::from_u32(code) else {
        return Err(untranslatable("Unicode low surrogate must follow a high surrogate."));
    };
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(used)
}
