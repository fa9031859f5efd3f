//! Functions of bytes: trimming, bits, base64, and texts in other encodings.
//!
//! Texts are UTF-8. `convert_to` and `convert_from` know UTF8, SQL_ASCII, LATIN1, LATIN9 and
//! WIN1252; other encodings of PostgreSQL are refused by name. A character without an
//! equivalent is 22P05, bytes that are no text are 22021.

use std::borrow::Cow;

use super::datum::{Cx, Datum, Function, Kind};
use crate::error::{HwError, Result, sqlstate};

fn invalid(message: impl Into<String>) -> HwError {
    HwError::new(sqlstate::INVALID_PARAMETER_VALUE, message)
}

/// The part of a text that is left when characters of a set go from its ends.
fn trim_text<'t>(text: &'t str, set: &str, left: bool, right: bool) -> &'t str {
    let mut text = text;
    if let [byte] = set.as_bytes() {
        let c = char::from(*byte);
        text = if left { text.trim_start_matches(c) } else { text };
        return if right { text.trim_end_matches(c) } else { text };
    }
    let within = |c: char| set.contains(c);
    text = if left { text.trim_start_matches(within) } else { text };
    if right { text.trim_end_matches(within) } else { text }
}

fn trim_bytes<'t>(mut bytes: &'t [u8], set: &[u8], left: bool, right: bool) -> &'t [u8] {
    while let (true, [first, rest @ ..]) = (left, bytes)
        && set.contains(first)
    {
        bytes = rest;
    }
    while let (true, [rest @ .., last]) = (right, bytes)
        && set.contains(last)
    {
        bytes = rest;
    }
    bytes
}

fn trim<'a>(a: &[Datum<'a>], left: bool, right: bool) -> Result<Datum<'a>> {
    Ok(match &a[0] {
        Datum::Bytes(bytes) => {
            let set = a.get(1).map_or(&[][..], Datum::as_bytes);
            Datum::Bytes(match bytes {
                Cow::Borrowed(bytes) => trim_bytes(bytes, set, left, right).into(),
                Cow::Owned(bytes) => trim_bytes(bytes, set, left, right).to_vec().into(),
            })
        }
        Datum::Text(text) => {
            let set = a.get(1).map_or(" ", Datum::as_str);
            Datum::Text(match text {
                Cow::Borrowed(text) => trim_text(text, set, left, right).into(),
                Cow::Owned(text) => trim_text(text, set, left, right).to_string().into(),
            })
        }
        _ => Datum::Null,
    })
}

/// Byte and bit of a bit's number, from the least of the first byte.
fn bit_index(bytes: &[u8], n: i64) -> Result<(usize, u32)> {
    let bits = bytes.len() as i64 * 8;
    if !(0..bits).contains(&n) {
        let message = format!("index {n} out of valid range, 0..{}", bits - 1);
        return Err(HwError::new(sqlstate::ARRAY_SUBSCRIPT_ERROR, message));
    }
    Ok(((n / 8) as usize, (n % 8) as u32))
}

fn set_bit<'a>(_: &Cx, a: &[Datum<'a>]) -> Result<Datum<'a>> {
    let mut bytes = a[0].as_bytes().to_vec();
    let (at, bit) = bit_index(&bytes, a[1].as_i64())?;
    match a[2].as_i64() {
        0 => bytes[at] &= !(1 << bit),
        1 => bytes[at] |= 1 << bit,
        _ => return Err(invalid("new bit must be 0 or 1")),
    }
    Ok(Datum::Bytes(bytes.into()))
}

/// `bytes` with those from `start` on, so many as `length`, replaced.
fn overlay(bytes: &[u8], new: &[u8], start: i64, length: i64) -> Result<Vec<u8>> {
    if start <= 0 {
        return Err(HwError::new("22011", "negative substring length not allowed"));
    }
    let after = i32::try_from(start.saturating_add(length))
        .map_err(|_| HwError::new(sqlstate::NUMERIC_VALUE_OUT_OF_RANGE, "integer out of range"))?;
    let clamp = |n: i64| (n.max(1) - 1).min(bytes.len() as i64) as usize;
    Ok([&bytes[..clamp(start)], new, &bytes[clamp(after.into())..]].concat())
}

/// Where a part begins, from 1; 0 if nowhere.
fn position(bytes: &[u8], part: &[u8]) -> i64 {
    if part.is_empty() {
        return 1;
    }
    memchr::memmem::find(bytes, part).map_or(0, |at| at as i64 + 1)
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// `pg_base64_decode` of encode.c.
pub fn base64(text: &str) -> Result<Vec<u8>> {
    let (mut out, mut word, mut place, mut end) = (Vec::with_capacity(text.len() / 4 * 3), 0u32, 0, 0);
    for c in text.chars().filter(|c| !matches!(c, ' ' | '\t' | '\n' | '\r')) {
        let digit = match c {
            '=' => {
                if end == 0 {
                    end = match place {
                        2 => 1,
                        3 => 2,
                        _ => return Err(invalid("unexpected \"=\" while decoding base64 sequence")),
                    };
                }
                0
            }
            c => BASE64.iter().position(|d| char::from(*d) == c).ok_or_else(|| {
                invalid(format!("invalid symbol \"{c}\" found while decoding base64 sequence"))
            })?,
        };
        word = word << 6 | digit as u32;
        place += 1;
        if place == 4 {
            let kept = if end == 0 { 3 } else { end };
            out.extend_from_slice(&word.to_be_bytes()[1..=kept]);
            (word, place) = (0, 0);
        }
    }
    match place {
        0 => Ok(out),
        _ => Err(invalid("invalid base64 end sequence")
            .with_hint("Input data is missing padding, is truncated, or is otherwise corrupted.")),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Encoding {
    Utf8,
    Ascii,
    Latin1,
    Latin9,
    Win1252,
}

/// PostgreSQL's other encodings, as they are compared.
const OTHERS: &[&str] = &[
    "abc",
    "alt",
    "big5",
    "eucjis2004",
    "eucjp",
    "euccn",
    "euckr",
    "euctw",
    "gb18030",
    "gbk",
    "iso88595",
    "iso88596",
    "iso88597",
    "iso88598",
    "johab",
    "koi8",
    "koi8r",
    "koi8u",
    "latin10",
    "latin2",
    "latin3",
    "latin4",
    "latin5",
    "latin6",
    "latin7",
    "latin8",
    "mskanji",
    "muleinternal",
    "shiftjis",
    "shiftjis2004",
    "sjis",
    "tcvn",
    "tcvn5712",
    "uhc",
    "vscii",
    "win",
    "win1250",
    "win1251",
    "win1253",
    "win1254",
    "win1255",
    "win1256",
    "win1257",
    "win1258",
    "win866",
    "win874",
    "win932",
    "win936",
    "win949",
    "win950",
    "windows1250",
    "windows1251",
    "windows1253",
    "windows1254",
    "windows1255",
    "windows1256",
    "windows1257",
    "windows1258",
    "windows866",
    "windows874",
    "windows932",
    "windows936",
    "windows949",
    "windows950",
];

impl Encoding {
    fn named(name: &str, side: &str) -> Result<Encoding> {
        let plain: String =
            name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
        Ok(match plain.as_str() {
            "utf8" | "unicode" => Encoding::Utf8,
            "sqlascii" => Encoding::Ascii,
            "latin1" | "iso88591" => Encoding::Latin1,
            "latin9" | "iso885915" => Encoding::Latin9,
            "win1252" | "windows1252" => Encoding::Win1252,
            other if OTHERS.contains(&other) => {
                let hint = "UTF8, SQL_ASCII, LATIN1, LATIN9 and WIN1252 are there.";
                return Err(HwError::unsupported(format!("encoding {name}"), hint));
            }
            _ => return Err(invalid(format!("invalid {side} encoding name \"{name}\""))),
        })
    }

    fn name(self) -> &'static str {
        match self {
            Encoding::Utf8 => "UTF8",
            Encoding::Ascii => "SQL_ASCII",
            Encoding::Latin1 => "LATIN1",
            Encoding::Latin9 => "LATIN9",
            Encoding::Win1252 => "WIN1252",
        }
    }

    /// The character of a byte of a one-byte encoding.
    fn decoded(self, byte: u8) -> Option<char> {
        const WIN: [char; 32] = [
            '€', '\0', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\0', 'Ž', '\0', '\0', '‘',
            '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\0', 'ž', 'Ÿ',
        ];
        match (self, byte) {
            (Encoding::Win1252, 0x80..=0x9f) => Some(WIN[usize::from(byte - 0x80)]).filter(|c| *c != '\0'),
            (Encoding::Latin9, 0xa4) => Some('€'),
            (Encoding::Latin9, 0xa6) => Some('Š'),
            (Encoding::Latin9, 0xa8) => Some('š'),
            (Encoding::Latin9, 0xb4) => Some('Ž'),
            (Encoding::Latin9, 0xb8) => Some('ž'),
            (Encoding::Latin9, 0xbc) => Some('Œ'),
            (Encoding::Latin9, 0xbd) => Some('œ'),
            (Encoding::Latin9, 0xbe) => Some('Ÿ'),
            (_, byte) => Some(char::from(byte)),
        }
    }

    fn encoded(self, c: char) -> Option<u8> {
        let same = u8::try_from(u32::from(c)).ok().filter(|b| self.decoded(*b) == Some(c));
        same.or_else(|| (0x80..=0xff).find(|b| self.decoded(*b) == Some(c)))
    }
}

fn byte_list(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("0x{b:02x}")).collect::<Vec<_>>().join(" ")
}

fn malformed(encoding: Encoding, bytes: &[u8]) -> HwError {
    let wide = match (encoding, bytes.first()) {
        (Encoding::Utf8 | Encoding::Ascii, Some(0xc0..=0xdf)) => 2,
        (Encoding::Utf8 | Encoding::Ascii, Some(0xe0..=0xef)) => 3,
        (Encoding::Utf8 | Encoding::Ascii, Some(0xf0..=0xf7)) => 4,
        _ => 1,
    };
    let name = if encoding == Encoding::Ascii { "UTF8" } else { encoding.name() };
    let shown = byte_list(&bytes[..wide.min(bytes.len())]);
    let message = format!("invalid byte sequence for encoding \"{name}\": {shown}");
    HwError::new(sqlstate::CHARACTER_NOT_IN_REPERTOIRE, message)
}

fn no_equivalent(bytes: &[u8], from: Encoding, to: Encoding) -> HwError {
    HwError::new(
        "22P05",
        format!(
            "character with byte sequence {} in encoding \"{}\" has no equivalent in encoding \"{}\"",
            byte_list(bytes),
            from.name(),
            to.name()
        ),
    )
}

fn convert_to(text: &str, name: &str) -> Result<Vec<u8>> {
    let encoding = Encoding::named(name, "destination")?;
    if matches!(encoding, Encoding::Utf8 | Encoding::Ascii) {
        return Ok(text.as_bytes().to_vec());
    }
    let encode = |c: char| {
        let none = || no_equivalent(c.to_string().as_bytes(), Encoding::Utf8, encoding);
        encoding.encoded(c).ok_or_else(none)
    };
    text.chars().map(encode).collect()
}

fn convert_from(bytes: &[u8], name: &str) -> Result<String> {
    let encoding = Encoding::named(name, "source")?;
    if let Some(at) = memchr::memchr(0, bytes) {
        let valid = std::str::from_utf8(&bytes[..at]).is_ok();
        if valid || !matches!(encoding, Encoding::Utf8 | Encoding::Ascii) {
            return Err(malformed(encoding, &[0]));
        }
    }
    if matches!(encoding, Encoding::Utf8 | Encoding::Ascii) {
        return match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_string()),
            Err(e) => Err(malformed(encoding, &bytes[e.valid_up_to()..])),
        };
    }
    let decode = |b: &u8| encoding.decoded(*b).ok_or_else(|| no_equivalent(&[*b], encoding, Encoding::Utf8));
    bytes.iter().map(decode).collect()
}

fn trims() -> Vec<Function> {
    use Kind::{Bytea, Text};
    vec![
        Function::new("btrim")
            .alias("trim")
            .on(&[Text], Text, |_, a| trim(a, true, true))
            .on(&[Text, Text], Text, |_, a| trim(a, true, true))
            .on(&[Bytea, Bytea], Bytea, |_, a| trim(a, true, true)),
        Function::new("ltrim")
            .on(&[Text], Text, |_, a| trim(a, true, false))
            .on(&[Text, Text], Text, |_, a| trim(a, true, false))
            .on(&[Bytea, Bytea], Bytea, |_, a| trim(a, true, false)),
        Function::new("rtrim")
            .on(&[Text], Text, |_, a| trim(a, false, true))
            .on(&[Text, Text], Text, |_, a| trim(a, false, true))
            .on(&[Bytea, Bytea], Bytea, |_, a| trim(a, false, true)),
    ]
}

pub fn functions() -> Vec<Function> {
    use Kind::{Bytea, Int4, Int8, Text};
    let mut all = trims();
    all.extend([
        Function::new("bit_length")
            .on(&[Text], Int4, |_, a| Ok(Datum::Int(a[0].as_str().len() as i64 * 8)))
            .on(&[Bytea], Int4, |_, a| Ok(Datum::Int(a[0].as_bytes().len() as i64 * 8))),
        Function::new("bit_count").on(&[Bytea], Int8, |_, a| {
            Ok(Datum::Int(a[0].as_bytes().iter().map(|b| i64::from(b.count_ones())).sum()))
        }),
        Function::new("get_bit").on(&[Bytea, Int8], Int4, |_, a| {
            let (at, bit) = bit_index(a[0].as_bytes(), a[1].as_i64())?;
            Ok(Datum::Int(i64::from(a[0].as_bytes()[at] >> bit & 1)))
        }),
        Function::new("set_bit").on(&[Bytea, Int8, Int4], Bytea, set_bit),
        Function::new("convert_to").on(&[Text, Text], Bytea, |_, a| {
            Ok(Datum::Bytes(convert_to(a[0].as_str(), a[1].as_str())?.into()))
        }),
        Function::new("convert_from")
            .on(&[Bytea, Text], Text, |_, a| Ok(Datum::text(convert_from(a[0].as_bytes(), a[1].as_str())?))),
        Function::new("convert").on(&[Bytea, Text, Text], Bytea, |_, a| {
            let text = convert_from(a[0].as_bytes(), a[1].as_str())?;
            Ok(Datum::Bytes(convert_to(&text, a[2].as_str())?.into()))
        }),
    ]);
    all
}

/// The overloads for bytes of functions that also take texts.
pub fn add_overlay(function: Function) -> Function {
    use Kind::{Bytea, Int4};
    function
        .on(&[Bytea, Bytea, Int4], Bytea, |_, a| {
            let length = a[1].as_bytes().len() as i64;
            Ok(Datum::Bytes(overlay(a[0].as_bytes(), a[1].as_bytes(), a[2].as_i64(), length)?.into()))
        })
        .on(&[Bytea, Bytea, Int4, Int4], Bytea, |_, a| {
            let (start, length) = (a[2].as_i64(), a[3].as_i64());
            Ok(Datum::Bytes(overlay(a[0].as_bytes(), a[1].as_bytes(), start, length)?.into()))
        })
}

pub fn add_position(function: Function) -> Function {
    function.on(&[Kind::Bytea, Kind::Bytea], Kind::Int4, |_, a| {
        Ok(Datum::Int(position(a[0].as_bytes(), a[1].as_bytes())))
    })
}
