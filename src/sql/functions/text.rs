//! Text and bytea functions with PostgreSQL's meaning of positions, lengths and errors.
//!
//! Positions count characters from 1; lengths that are negative raise 22011. What
//! DataFusion does the same way (lower, upper, trim, replace, translate, …) stays its own.

mod template;

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};

use super::column::Column;
use super::datum::{Cx, Datum, Function, Kind, Ret};
use super::format::{format_datum, hex};
use crate::error::{HwError, Result, sqlstate};

/// Largest text a function makes, as PostgreSQL's field limit.
const MAX_TEXT: usize = 1 << 28;

fn print(cx: &Cx, value: &Datum, arg: usize) -> String {
    match cx.args.get(arg) {
        Some(field) => format_datum(value, field, &cx.zone),
        None => value.as_str().to_string(),
    }
}

fn invalid(message: impl Into<String>) -> HwError {
    HwError::new(sqlstate::INVALID_PARAMETER_VALUE, message)
}

/// SQL's substring: `start` may be before the text, `length` counts from it.
fn substring(text: &str, start: i64, length: Option<i64>) -> Result<String> {
    let end = match length {
        Some(n) if n < 0 => return Err(HwError::new("22011", "negative substring length not allowed")),
        Some(n) => start.saturating_add(n),
        None => i64::MAX,
    };
    let skip = (start.max(1) - 1) as usize;
    let take = (end.max(1) - 1) as usize;
    Ok(text.chars().take(take).skip(skip).collect())
}

fn take_left(text: &str, n: i64) -> String {
    let count = if n < 0 { (text.chars().count() as i64 + n).max(0) } else { n };
    text.chars().take(count as usize).collect()
}

fn take_right(text: &str, n: i64) -> String {
    let all = text.chars().count() as i64;
    // The least integer has no positive, and PostgreSQL's negation gives itself.
    let skip = if n == i64::from(i32::MIN) {
        0
    } else if n < 0 {
        -n
    } else {
        (all - n).max(0)
    };
    text.chars().skip(skip as usize).collect()
}

fn pad(text: &str, length: i64, fill: &str, left: bool) -> Result<String> {
    let length = length.max(0) as usize;
    if length > MAX_TEXT {
        return Err(HwError::new(sqlstate::PROGRAM_LIMIT_EXCEEDED, "requested length too large"));
    }
    let have = text.chars().count();
    if have >= length || fill.is_empty() {
        return Ok(text.chars().take(length).collect());
    }
    let padding: String = fill.chars().cycle().take(length - have).collect();
    Ok(if left { padding + text } else { text.to_string() + &padding })
}

fn overlay(text: &str, new: &str, start: i64, length: i64) -> Result<String> {
    if start <= 0 {
        return Err(HwError::new("22011", "negative substring length not allowed"));
    }
    let head = substring(text, 1, Some(start - 1))?;
    let tail = substring(text, start.saturating_add(length), None)?;
    Ok(head + new + &tail)
}

fn initcap(text: &str) -> String {
    let mut inside = false;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match inside {
            true => out.extend(c.to_lowercase()),
            false => out.extend(c.to_uppercase()),
        }
        inside = c.is_alphanumeric();
    }
    out
}

fn split_part(text: &str, delimiter: &str, n: i64) -> Result<String> {
    if n == 0 {
        return Err(invalid("field position must not be zero"));
    }
    let parts: Vec<&str> = if delimiter.is_empty() { vec![text] } else { text.split(delimiter).collect() };
    let at = if n > 0 { n - 1 } else { parts.len() as i64 + n };
    Ok(usize::try_from(at).ok().and_then(|at| parts.get(at)).map_or(String::new(), |s| s.to_string()))
}

/// PostgreSQL's keywords that are not unreserved.
const KEYWORDS: &str = " all analyse analyze and any array as asc asymmetric authorization between bigint binary \
    bit boolean both case cast char character check coalesce collate collation column concurrently constraint \
    create cross current_catalog current_date current_role current_schema current_time current_timestamp \
    current_user dec decimal default deferrable desc distinct do else end except exists extract false fetch float \
    for foreign freeze from full grant greatest group grouping having ilike in initially inner inout int integer \
    intersect interval into is isnull join lateral leading least left like limit localtime localtimestamp national \
    natural nchar none normalize not notnull null nullif numeric offset on only or order out outer overlaps overlay \
    placing position precision primary real references returning right row select session_user setof similar \
    smallint some substring symmetric table tablesample then time timestamp to trailing treat trim true union \
    unique user using values varchar variadic verbose when where window with xmlattributes xmlconcat xmlelement \
    xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable ";

fn is_keyword(word: &str) -> bool {
    KEYWORDS.split(' ').any(|k| k == word)
}

pub fn quote_ident(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !is_keyword(text);
    if plain { text.to_string() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}

pub fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

fn encode(bytes: &[u8], format: &str) -> Result<String> {
    match format.to_ascii_lowercase().as_str() {
        "hex" => Ok(hex(bytes)),
        "base64" => Ok(base64(bytes)),
        "escape" => Ok(bytes.iter().fold(String::new(), |s, b| match b {
            b'\\' => s + "\\\\",
            0 | 0x80..=0xff => s + &format!("\\{b:03o}"),
            _ => s + &(*b as char).to_string(),
        })),
        _ => Err(invalid(format!("unrecognized encoding: \"{format}\""))),
    }
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut out = String::new();
    for (i, chunk) in bytes.chunks(3).enumerate() {
        if i > 0 && i % 19 == 0 {
            out.push('\n');
        }
        let word = chunk.iter().fold(0u32, |w, b| w << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for k in 0..4 {
            let digit = BASE64[(word >> (18 - 6 * k)) as usize & 63] as char;
            out.push(if k <= chunk.len() { digit } else { '=' });
        }
    }
    out
}

fn decode(text: &str, format: &str) -> Result<Vec<u8>> {
    match format.to_ascii_lowercase().as_str() {
        "hex" => super::cast::parse_bytes(&format!("\\x{text}")),
        "escape" => super::cast::parse_bytes(text),
        "base64" => super::bytes::base64(text),
        _ => Err(invalid(format!("unrecognized encoding: \"{format}\""))),
    }
}

fn byte_index(bytes: &[u8], at: i64) -> Result<usize> {
    usize::try_from(at).ok().filter(|at| *at < bytes.len()).ok_or_else(|| {
        let message = format!("index {at} out of valid range, 0..{}", bytes.len() as i64 - 1);
        HwError::new(sqlstate::ARRAY_SUBSCRIPT_ERROR, message)
    })
}

fn texts(items: Vec<Option<String>>) -> Datum<'static> {
    Datum::List(Arc::new(StringArray::from(items)) as ArrayRef)
}

fn slices() -> Vec<Function> {
    use Kind::*;
    vec![
        Function::new("substr")
            .alias("substring")
            .on(&[Text, Int4], Text, |_, a| Ok(Datum::text(substring(a[0].as_str(), a[1].as_i64(), None)?)))
            .on(&[Text, Int4, Int4], Text, |_, a| {
                Ok(Datum::text(substring(a[0].as_str(), a[1].as_i64(), Some(a[2].as_i64()))?))
            })
            .on(&[Text, Text, Text], Text, |_, _| Ok(Datum::Null))
            .kernel(super::pattern::similar_part)
            .on(&[Bytea, Int4, Int4], Bytea, |_, a| {
                let bytes = a[0].as_bytes();
                let (start, length) = (a[1].as_i64(), a[2].as_i64());
                if length < 0 {
                    return Err(HwError::new("22011", "negative substring length not allowed"));
                }
                let end = (start.saturating_add(length).max(1) - 1).min(bytes.len() as i64) as usize;
                let skip = ((start.max(1) - 1) as usize).min(end);
                Ok(Datum::Bytes(bytes[skip..end].to_vec().into()))
            })
            .on(&[Bytea, Int4], Bytea, |_, a| {
                let skip = (a[1].as_i64().max(1) - 1) as usize;
                Ok(Datum::Bytes(a[0].as_bytes().get(skip..).unwrap_or(&[]).to_vec().into()))
            }),
        Function::new("left")
            .on(&[Text, Int4], Text, |_, a| Ok(Datum::text(take_left(a[0].as_str(), a[1].as_i64())))),
        Function::new("right")
            .on(&[Text, Int4], Text, |_, a| Ok(Datum::text(take_right(a[0].as_str(), a[1].as_i64())))),
        Function::new("lpad")
            .on(&[Text, Int4], Text, |_, a| Ok(Datum::text(pad(a[0].as_str(), a[1].as_i64(), " ", true)?)))
            .on(&[Text, Int4, Text], Text, |_, a| {
                Ok(Datum::text(pad(a[0].as_str(), a[1].as_i64(), a[2].as_str(), true)?))
            }),
        Function::new("rpad")
            .on(&[Text, Int4], Text, |_, a| Ok(Datum::text(pad(a[0].as_str(), a[1].as_i64(), " ", false)?)))
            .on(&[Text, Int4, Text], Text, |_, a| {
                Ok(Datum::text(pad(a[0].as_str(), a[1].as_i64(), a[2].as_str(), false)?))
            }),
        super::bytes::add_overlay(Function::new("overlay"))
            .on(&[Text, Text, Int4], Text, |_, a| {
                let length = a[1].as_str().chars().count() as i64;
                Ok(Datum::text(overlay(a[0].as_str(), a[1].as_str(), a[2].as_i64(), length)?))
            })
            .on(&[Text, Text, Int4, Int4], Text, |_, a| {
                Ok(Datum::text(overlay(a[0].as_str(), a[1].as_str(), a[2].as_i64(), a[3].as_i64())?))
            }),
        Function::new("split_part").on(&[Text, Text, Int4], Text, |_, a| {
            Ok(Datum::text(split_part(a[0].as_str(), a[1].as_str(), a[2].as_i64())?))
        }),
        Function::new("repeat").on(&[Text, Int4], Text, |_, a| {
            let count = a[1].as_i64().max(0) as usize;
            if a[0].as_str().len().saturating_mul(count) > MAX_TEXT {
                return Err(HwError::new(sqlstate::PROGRAM_LIMIT_EXCEEDED, "requested length too large"));
            }
            Ok(Datum::text(a[0].as_str().repeat(count)))
        }),
    ]
}

fn properties() -> Vec<Function> {
    use Kind::*;
    vec![
        Function::new("length")
            .alias("char_length")
            .alias("character_length")
            .on(&[Text], Int4, |_, a| Ok(Datum::Int(a[0].as_str().chars().count() as i64)))
            .on(&[Bytea], Int4, |_, a| Ok(Datum::Int(a[0].as_bytes().len() as i64))),
        Function::new("octet_length")
            .on(&[Text], Int4, |_, a| Ok(Datum::Int(a[0].as_str().len() as i64)))
            .on(&[Bytea], Int4, |_, a| Ok(Datum::Int(a[0].as_bytes().len() as i64))),
        super::bytes::add_position(Function::new("strpos")).on(&[Text, Text], Int4, |_, a| {
            let (text, part) = (a[0].as_str(), a[1].as_str());
            Ok(Datum::Int(text.find(part).map_or(0, |at| text[..at].chars().count() as i64 + 1)))
        }),
        Function::new("starts_with")
            .on(&[Text, Text], Bool, |_, a| Ok(Datum::Bool(a[0].as_str().starts_with(a[1].as_str())))),
        Function::new("ascii")
            .on(&[Text], Int4, |_, a| Ok(Datum::Int(a[0].as_str().chars().next().map_or(0, |c| c as i64)))),
        Function::new("chr").on(&[Int4], Text, |_, a| match a[0].as_i64() {
            0 => Err(HwError::new(sqlstate::PROGRAM_LIMIT_EXCEEDED, "null character not permitted")),
            n => {
                u32::try_from(n).ok().and_then(char::from_u32).map(|c| Datum::text(c.to_string())).ok_or_else(
                    || {
                        HwError::new(
                            sqlstate::PROGRAM_LIMIT_EXCEEDED,
                            "requested character not valid for encoding",
                        )
                    },
                )
            }
        }),
        Function::new("get_byte").on(&[Bytea, Int4], Int4, |_, a| {
            let (bytes, at) = (a[0].as_bytes(), a[1].as_i64());
            Ok(Datum::Int(byte_index(bytes, at).map(|at| i64::from(bytes[at]))?))
        }),
        Function::new("set_byte").on(&[Bytea, Int4, Int4], Bytea, |_, a| {
            let mut bytes = a[0].as_bytes().to_vec();
            let at = byte_index(&bytes, a[1].as_i64())?;
            bytes[at] = a[2].as_i64() as u8;
            Ok(Datum::Bytes(bytes.into()))
        }),
        Function::new("to_hex")
            .on(&[Int4], Text, |_, a| Ok(Datum::text(format!("{:x}", a[0].as_i64() as i32))))
            .on(&[Int8], Text, |_, a| Ok(Datum::text(format!("{:x}", a[0].as_i64())))),
        Function::new("initcap").on(&[Text], Text, |_, a| Ok(Datum::text(initcap(a[0].as_str())))),
        Function::new("quote_ident").on(&[Text], Text, |_, a| Ok(Datum::text(quote_ident(a[0].as_str())))),
        Function::new("quote_literal")
            .on(&[Any], Text, |cx, a| Ok(Datum::text(quote_literal(&print(cx, &a[0], 0))))),
        Function::new("quote_nullable").called_on_null().on(&[Any], Text, |cx, a| {
            Ok(Datum::text(if a[0].is_null() { "NULL".into() } else { quote_literal(&print(cx, &a[0], 0)) }))
        }),
        Function::new("encode")
            .on(&[Bytea, Text], Text, |_, a| Ok(Datum::text(encode(a[0].as_bytes(), a[1].as_str())?))),
        Function::new("decode")
            .on(&[Text, Text], Bytea, |_, a| Ok(Datum::Bytes(decode(a[0].as_str(), a[1].as_str())?.into()))),
    ]
}

fn joins() -> Vec<Function> {
    use Kind::*;
    vec![
        Function::new("pg_concat")
            .on(&[Bytea, Bytea], Bytea, |_, a| {
                Ok(Datum::Bytes([a[0].as_bytes(), a[1].as_bytes()].concat().into()))
            })
            .on(&[Text, Text], Text, |_, a| Ok(Datum::text(format!("{}{}", a[0].as_str(), a[1].as_str()))))
            .on(&[Any, Any], Text, |cx, a| Ok(Datum::text(print(cx, &a[0], 0) + &print(cx, &a[1], 1)))),
        Function::new("concat").called_on_null().variadic(&[Any], Ret::Is(Text), |cx, a| {
            let parts = a.iter().enumerate().filter(|(_, v)| !v.is_null()).map(|(i, v)| short(cx, v, i));
            Ok(Datum::text(parts.collect::<String>()))
        }),
        Function::new("concat_ws").called_on_null().variadic(&[Text, Any], Ret::Is(Text), |cx, a| {
            if a[0].is_null() {
                return Ok(Datum::Null);
            }
            let parts =
                a.iter().enumerate().skip(1).filter(|(_, v)| !v.is_null()).map(|(i, v)| short(cx, v, i));
            Ok(Datum::text(parts.collect::<Vec<_>>().join(a[0].as_str())))
        }),
        Function::new("format").called_on_null().variadic(&[Text, Any], Ret::Is(Text), |cx, a| {
            match a[0].is_null() {
                true => Ok(Datum::Null),
                false => Ok(Datum::text(template::format(cx, a)?)),
            }
        }),
    ]
}

/// Functions of arrays of texts, and those whose last arguments are VARIADIC.
fn lists() -> Vec<Function> {
    use Kind::*;
    vec![
        Function::new("format_array").called_on_null().on(&[Text, AnyArray], Text, |cx, a| {
            if a[0].is_null() {
                return Ok(Datum::Null);
            }
            let (cx, row) = spread(cx, a, 1);
            Ok(Datum::text(template::format(&cx, &row)?))
        }),
        Function::new("concat_array").on(&[AnyArray], Text, |cx, a| {
            let (cx, row) = spread(cx, a, 0);
            Ok(Datum::text(shown(&cx, &row, 0).concat()))
        }),
        Function::new("concat_ws_array").on(&[Text, AnyArray], Text, |cx, a| {
            let (cx, row) = spread(cx, a, 1);
            Ok(Datum::text(shown(&cx, &row, 1).join(a[0].as_str())))
        }),
        Function::new("string_to_array").called_on_null().variadic(
            &[Text, Text],
            Ret::Is(TextArray),
            |_, a| {
                if a[0].is_null() {
                    return Ok(Datum::Null);
                }
                let text = a[0].as_str();
                let parts: Vec<String> = match a.get(1).filter(|d| !d.is_null()).map(|d| d.as_str()) {
                    _ if text.is_empty() => vec![],
                    None => text.chars().map(String::from).collect(),
                    Some("") => vec![text.to_string()],
                    Some(d) => text.split(d).map(String::from).collect(),
                };
                let null = a.get(2).filter(|d| !d.is_null()).map(|d| d.as_str().to_string());
                Ok(texts(
                    parts
                        .into_iter()
                        .map(|p| if Some(&p) == null.as_ref() { None } else { Some(p) })
                        .collect(),
                ))
            },
        ),
        Function::new("array_to_string").called_on_null().variadic(
            &[AnyArray, Text],
            Ret::Is(Text),
            |cx, a| {
                let (Datum::List(items), false) = (&a[0], a[1].is_null()) else { return Ok(Datum::Null) };
                let field = arrow::datatypes::Field::new("v", items.data_type().clone(), true);
                let column = Column::of(items.as_ref());
                let parts = (0..items.len()).filter_map(|i| match column.get(i) {
                    Datum::Null => a.get(2).map(|n| n.as_str().to_string()),
                    Datum::Bool(b) => Some(if b { "t" } else { "f" }.into()),
                    v => Some(format_datum(&v, &field, &cx.zone)),
                });
                Ok(Datum::text(parts.collect::<Vec<_>>().join(a[1].as_str())))
            },
        ),
    ]
}

/// The values before an array and its elements, as if each was an argument.
fn spread<'r>(cx: &Cx, a: &'r [Datum<'_>], at: usize) -> (Cx, Vec<Datum<'r>>) {
    let mut args = cx.args[..at.min(cx.args.len())].to_vec();
    let mut row: Vec<Datum<'r>> = a[..at].to_vec();
    if let Datum::List(items) = &a[at] {
        let field = Arc::new(arrow::datatypes::Field::new("v", items.data_type().clone(), true));
        let column = Column::of(items.as_ref());
        row.extend((0..items.len()).map(|i| column.get(i)));
        args.resize(row.len(), field);
    }
    (Cx { zone: cx.zone, args }, row)
}

fn shown(cx: &Cx, row: &[Datum], from: usize) -> Vec<String> {
    let given = row.iter().enumerate().skip(from).filter(|(_, v)| !v.is_null());
    given.map(|(i, v)| short(cx, v, i)).collect()
}

/// `concat` prints booleans as one letter.
fn short(cx: &Cx, value: &Datum, arg: usize) -> String {
    match value {
        Datum::Bool(b) => if *b { "t" } else { "f" }.into(),
        other => print(cx, other, arg),
    }
}

/// Every function of this file.
pub fn functions() -> Vec<Function> {
    [slices(), properties(), joins(), lists()].into_iter().flatten().collect()
}
