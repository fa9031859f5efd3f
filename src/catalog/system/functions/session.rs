//! Functions about the session and the server, and the helpers that rewritten catalog
//! queries call.

use super::super::SystemState;
use super::super::describe::quote_ident;
use super::super::rows::Cell;
use super::{Entry, int, text};
use crate::error::{HwError, Result, sqlstate};
use crate::types::PgType;

pub(super) fn entries() -> Vec<Entry> {
    let array = |t| PgType::Array(Box::new(t));
    vec![
        ("version", PgType::Text, version),
        ("current_database", PgType::Name, |s, _| Ok(s.database.as_str().into())),
        ("current_catalog", PgType::Name, |s, _| Ok(s.database.as_str().into())),
        ("current_schema", PgType::Name, |s, _| Ok(s.search_path.first().cloned().into())),
        ("current_schemas", array(PgType::Name), current_schemas),
        ("current_user", PgType::Name, |s, _| Ok(s.user.as_str().into())),
        ("session_user", PgType::Name, |s, _| Ok(s.user.as_str().into())),
        ("current_role", PgType::Name, |s, _| Ok(s.user.as_str().into())),
        ("user", PgType::Name, |s, _| Ok(s.user.as_str().into())),
        ("current_setting", PgType::Text, current_setting),
        ("set_config", PgType::Text, set_config),
        ("format", PgType::Text, format_text),
        ("pg_backend_pid", PgType::Int4, |s, _| Ok(s.backend_pid.into())),
        ("pg_is_in_recovery", PgType::Bool, |_, _| Ok(false.into())),
        ("pg_is_other_temp_schema", PgType::Bool, |_, _| Ok(false.into())),
        ("pg_my_temp_schema", PgType::Oid, |_, _| Ok(0.into())),
        ("pg_encoding_to_char", PgType::Name, pg_encoding_to_char),
        ("pg_char_to_encoding", PgType::Int4, pg_char_to_encoding),
        ("pg_client_encoding", PgType::Name, |_, _| Ok("UTF8".into())),
        ("getdatabaseencoding", PgType::Name, |_, _| Ok("UTF8".into())),
        ("pg_size_pretty", PgType::Text, |_, a| Ok(int(a, 0).map(size_pretty).into())),
        ("pg_oid", PgType::Oid, |_, a| Ok(int(a, 0).into())),
        ("pg_name", PgType::Name, as_text),
        ("pg_char", PgType::Char, |_, a| {
            Ok(text(a, 0).map(|t| t.chars().take(1).collect::<String>()).into())
        }),
        ("pg_subscripts", array(PgType::Int8), subscripts),
        ("pg_array_prefix", array(PgType::Text), array_prefix),
        ("pg_vector_out", PgType::Text, vector_out),
        ("json_build_object", PgType::Jsonb, json_build_object),
    ]
}

fn version(state: &SystemState, _: &[Cell]) -> Result<Cell> {
    let version = if state.server_version.is_empty() { "15.0" } else { &state.server_version };
    Ok(format!("PostgreSQL {version} (Headwater {})", env!("CARGO_PKG_VERSION")).into())
}

fn current_schemas(state: &SystemState, args: &[Cell]) -> Result<Cell> {
    let implicit = matches!(args.first(), Some(Cell::Bool(true)));
    let path = state.effective_path();
    let from = if implicit { 0 } else { 1 };
    Ok(Cell::Texts(path[from..].iter().map(|s| s.to_string()).collect()))
}

fn current_setting(state: &SystemState, args: &[Cell]) -> Result<Cell> {
    let Some(name) = text(args, 0) else { return Ok(Cell::Null) };
    let missing_ok = matches!(args.get(1), Some(Cell::Bool(true)));
    match state.setting(name) {
        Some(value) => Ok(value.into()),
        None if missing_ok => Ok(Cell::Null),
        None => Err(HwError::new(
            sqlstate::UNDEFINED_OBJECT,
            format!("unrecognized configuration parameter \"{name}\""),
        )),
    }
}

fn set_config(state: &SystemState, args: &[Cell]) -> Result<Cell> {
    let (Some(name), Some(value)) = (text(args, 0), text(args, 1)) else { return Ok(Cell::Null) };
    let local = matches!(args.get(2), Some(Cell::Bool(true)));
    match &state.set_parameter {
        Some(set) => Ok((set.0)(name, value, local)?.into()),
        None => Err(HwError::unsupported("set_config", "Use SET instead.")),
    }
}

/// `format`: `%s`, `%I`, `%L`, `%%`, without positions and widths.
fn format_text(_: &SystemState, args: &[Cell]) -> Result<Cell> {
    let Some(template) = text(args, 0) else { return Ok(Cell::Null) };
    let mut values = args.iter().skip(1);
    let mut out = String::new();
    let mut chars = template.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let directive = chars.next();
        if directive == Some('%') {
            out.push('%');
            continue;
        }
        let invalid = |message: &str| HwError::new(sqlstate::INVALID_PARAMETER_VALUE, message);
        let value = values.next().ok_or_else(|| invalid("too few arguments for format()"))?;
        let value = to_text(value);
        match (directive, value.as_text()) {
            (Some('s'), value) => out.push_str(value.unwrap_or_default()),
            (Some('I'), Some(name)) => out.push_str(&quote_ident(name)),
            (Some('I'), None) => return Err(invalid("null values cannot be formatted as an SQL identifier")),
            (Some('L'), Some(value)) => out.push_str(&format!("'{}'", value.replace('\'', "''"))),
            (Some('L'), None) => out.push_str("NULL"),
            _ => return Err(invalid("unrecognized format() type specifier")),
        }
    }
    Ok(out.into())
}

fn pg_encoding_to_char(_: &SystemState, args: &[Cell]) -> Result<Cell> {
    Ok(int(args, 0)
        .map(|encoding| match encoding {
            0 => "SQL_ASCII",
            6 => "UTF8",
            8 => "LATIN1",
            _ => "",
        })
        .into())
}

fn pg_char_to_encoding(_: &SystemState, args: &[Cell]) -> Result<Cell> {
    Ok(text(args, 0)
        .map(|name| match name.to_ascii_uppercase().replace('-', "").as_str() {
            "SQL_ASCII" => 0,
            "UTF8" | "UNICODE" => 6,
            "LATIN1" | "ISO88591" => 8,
            _ => -1,
        })
        .into())
}

/// `pg_size_pretty`: units change at 10 of the next, halves round away from zero.
fn size_pretty(bytes: i64) -> String {
    let limit = 10 * 1024;
    if bytes.unsigned_abs() < limit as u64 {
        return format!("{bytes} bytes");
    }
    let units = ["kB", "MB", "GB", "TB", "PB"];
    let (mut halves, mut unit) = (i128::from(bytes) / 512, 0);
    while halves.abs() >= 2 * limit - 1 && unit + 1 < units.len() {
        halves /= 1024;
        unit += 1;
    }
    let rounded = (halves + if halves < 0 { -1 } else { 1 }) / 2;
    format!("{rounded} {}", units[unit])
}

fn as_text(_: &SystemState, args: &[Cell]) -> Result<Cell> {
    Ok(args.first().map_or(Cell::Null, to_text))
}

fn to_text(cell: &Cell) -> Cell {
    match cell {
        Cell::Int(v) => v.to_string().into(),
        Cell::Bool(v) => (if *v { "t" } else { "f" }).into(),
        Cell::Text(v) => v.as_str().into(),
        _ => Cell::Null,
    }
}

/// The subscripts of an array: from the second argument, which is 0 for PostgreSQL's vectors.
fn subscripts(_: &SystemState, args: &[Cell]) -> Result<Cell> {
    let length = match args.first() {
        Some(Cell::Ints(v)) => v.len() as i64,
        Some(Cell::Texts(v)) => v.len() as i64,
        _ => return Ok(Cell::Null),
    };
    let first = int(args, 1).unwrap_or(1);
    Ok(Cell::Ints((first..first + length).collect()))
}

/// `array(select prefix || x from unnest(array) x)`; an empty array for NULL.
fn array_prefix(_: &SystemState, args: &[Cell]) -> Result<Cell> {
    let prefix = text(args, 0).unwrap_or_default();
    Ok(Cell::Texts(match args.get(1) {
        Some(Cell::Texts(values)) => values.iter().map(|v| format!("{prefix}{v}")).collect(),
        Some(Cell::Ints(values)) => values.iter().map(|v| format!("{prefix}{v}")).collect(),
        _ => vec![],
    }))
}

/// An `int2vector` or `oidvector` as text.
fn vector_out(_: &SystemState, args: &[Cell]) -> Result<Cell> {
    Ok(match args.first() {
        Some(Cell::Ints(v)) => v.iter().map(i64::to_string).collect::<Vec<_>>().join(" ").into(),
        _ => Cell::Null,
    })
}

fn json_value(cell: &Cell) -> serde_json::Value {
    match cell {
        Cell::Null | Cell::Float(_) => serde_json::Value::Null,
        Cell::Bool(v) => (*v).into(),
        Cell::Int(v) => (*v).into(),
        Cell::Text(v) => v.as_str().into(),
        Cell::Ints(v) => v.clone().into(),
        Cell::Texts(v) => v.clone().into(),
    }
}

fn json_build_object(_: &SystemState, args: &[Cell]) -> Result<Cell> {
    let pairs = args.chunks(2).map(|pair| {
        let key = match &pair[0] {
            Cell::Text(key) => json_value(&Cell::Text(key.clone())).to_string(),
            other => format!("\"{}\"", json_value(other)),
        };
        let value = pair.get(1).map_or(serde_json::Value::Null, json_value);
        format!("{key} : {value}")
    });
    Ok(format!("{{{}}}", pairs.collect::<Vec<_>>().join(", ")).into())
}
