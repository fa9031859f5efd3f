//! Objects printed as SQL: types, indexes, constraints, views, functions.

use super::layout::static_rows;
use super::lookup::{self, Class};
use super::rows::{Cell, Row, cell};
use super::{FunctionInfo, RelationInfo, RelationKind, SystemState};
use crate::types::PgType;

/// PostgreSQL's reserved words.
#[rustfmt::skip]
const RESERVED: &[&str] = &[
    "all", "and", "any", "array", "as", "asc", "both", "case", "cast", "check", "collate", "column",
    "constraint", "create", "current_date", "current_time", "current_user", "default", "desc",
    "distinct", "do", "else", "end", "except", "false", "fetch", "for", "foreign", "from", "grant",
    "group", "having", "in", "initially", "inner", "intersect", "into", "is", "join", "leading", "left",
    "like", "limit", "natural", "not", "null", "offset", "on", "only", "or", "order", "outer", "primary",
    "references", "returning", "right", "select", "session_user", "some", "table", "then", "to",
    "trailing", "true", "union", "unique", "user", "using", "values", "when", "where", "window", "with",
];

/// An identifier as it must be written in SQL.
pub(super) fn quote_ident(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '$');
    if plain && !RESERVED.contains(&name) {
        name.to_string()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// A row of `pg_type` by oid.
pub(super) fn type_row(oid: i64) -> Option<&'static Row> {
    static_rows("pg_type").iter().find(|r| cell(r, "oid").and_then(Cell::as_int) == Some(oid))
}

/// A column of a row of `pg_type` as a number; 0 if there is none.
pub(super) fn type_number(row: Option<&Row>, column: &str) -> i64 {
    row.and_then(|r| cell(r, column)).and_then(Cell::as_int).unwrap_or(0)
}

/// `format_type(oid, typmod)`.
pub(super) fn format_type(oid: i64, typmod: i64) -> String {
    let Some(row) = type_row(oid) else {
        return if oid == 0 { "-".into() } else { "???".into() };
    };
    let element = type_number(Some(row), "typelem");
    let name = cell(row, "typname").and_then(Cell::as_text).unwrap_or_default();
    if element != 0 && name.starts_with('_') {
        return format!("{}[]", format_type(element, typmod));
    }
    match (oid, typmod) {
        (1043, m) if m >= 4 => format!("character varying({})", m - 4),
        (1042, m) if m >= 4 => format!("character({})", m - 4),
        (1700, m) if m >= 4 => format!("numeric({},{})", (m - 4) >> 16, (m - 4) & 0x7ff),
        (1560, m) if m >= 0 => format!("bit({m})"),
        (1083, m) if m >= 0 => format!("time({m}) without time zone"),
        (1114, m) if m >= 0 => format!("timestamp({m}) without time zone"),
        (1184, m) if m >= 0 => format!("timestamp({m}) with time zone"),
        _ => sql_type_name(name),
    }
}

/// The SQL spelling of a `pg_type.typname`.
fn sql_type_name(typname: &str) -> String {
    match typname {
        "bool" => "boolean",
        "int2" => "smallint",
        "int4" => "integer",
        "int8" => "bigint",
        "float4" => "real",
        "float8" => "double precision",
        "varchar" => "character varying",
        "bpchar" => "character",
        "varbit" => "bit varying",
        "char" => "\"char\"",
        "any" => "\"any\"",
        "time" => "time without time zone",
        "timetz" => "time with time zone",
        "timestamp" => "timestamp without time zone",
        "timestamptz" => "timestamp with time zone",
        other => other,
    }
    .to_string()
}

/// `to_regtype(text)`: the oid of a type by its internal or SQL name, `[]` included.
pub(super) fn type_oid(text: &str) -> Option<i64> {
    let text = text.trim().to_ascii_lowercase();
    let text = text.strip_prefix("pg_catalog.").unwrap_or(&text);
    if let Ok(oid) = text.parse() {
        return Some(oid);
    }
    if let Some(element) = text.strip_suffix("[]") {
        let array = type_number(type_row(type_oid(element)?), "typarray");
        return (array != 0).then_some(array);
    }
    let base = text.split('(').next().unwrap_or(text).trim();
    let base = match base {
        "int" => "integer",
        "decimal" => "numeric",
        "timestamp with time zone" | "timestamptz" => "timestamptz",
        other => other.trim_matches('"'),
    };
    static_rows("pg_type").iter().find_map(|row| {
        let name = cell(row, "typname").and_then(Cell::as_text)?;
        (name == base || sql_type_name(name) == base).then(|| type_number(Some(row), "oid"))
    })
}

/// A relation's name as `regclass` prints it: qualified only if it is not visible.
pub(super) fn class_name(state: &SystemState, class: &Class<'_>) -> String {
    let name = quote_ident(&class.name());
    if state.is_visible(class) { name } else { format!("{}.{name}", quote_ident(class.schema())) }
}

/// `pg_get_viewdef`.
pub(super) fn view_definition(relation: &RelationInfo) -> Option<String> {
    if !matches!(relation.kind, RelationKind::View | RelationKind::MaterializedView) {
        return None;
    }
    let text = relation.definition.trim().trim_end_matches(';');
    Some(format!(" {text};"))
}

/// What an index covers: its table, its columns, whether it is unique.
pub(super) struct IndexShape<'a> {
    pub table: &'a RelationInfo,
    pub columns: &'a [usize],
    pub unique: bool,
    pub primary: bool,
}

pub(super) fn index_shape<'a>(state: &'a SystemState, class: &Class<'a>) -> Option<IndexShape<'a>> {
    match class {
        Class::KeyIndex(table) => {
            Some(IndexShape { table, columns: &table.primary_key, unique: true, primary: true })
        }
        Class::User(relation) => {
            let index = relation.index.as_ref()?;
            let table = state.relation_by_oid(index.table_oid)?;
            Some(IndexShape { table, columns: &index.columns, unique: index.unique, primary: false })
        }
        _ => None,
    }
}

/// Quoted names of a table's columns.
fn column_names(table: &RelationInfo, columns: &[usize]) -> Vec<String> {
    columns.iter().filter_map(|c| table.columns.get(*c)).map(|f| quote_ident(f.name())).collect()
}

/// `pg_get_indexdef(oid, column)`: the whole statement for column 0.
pub(super) fn index_definition(state: &SystemState, class: &Class<'_>, column: usize) -> Option<String> {
    let shape = index_shape(state, class)?;
    let names = column_names(shape.table, shape.columns);
    if column > 0 {
        return names.get(column - 1).cloned();
    }
    let unique = if shape.unique { "UNIQUE " } else { "" };
    Some(format!(
        "CREATE {unique}INDEX {} ON {}.{} USING btree ({})",
        quote_ident(&class.name()),
        quote_ident(&shape.table.schema),
        quote_ident(&shape.table.name),
        names.join(", ")
    ))
}

/// `pg_get_constraintdef`: primary keys are the only constraints.
pub(super) fn constraint_definition(state: &SystemState, oid: i64) -> Option<String> {
    let table = state
        .relations
        .iter()
        .find(|r| !r.primary_key.is_empty() && i64::from(lookup::key_constraint_oid(r)) == oid)?;
    Some(format!("PRIMARY KEY ({})", column_names(table, &table.primary_key).join(", ")))
}

/// `pg_get_function_arguments`.
pub(super) fn function_arguments(function: &FunctionInfo) -> String {
    let argument = |(name, t): &(String, PgType)| match name.as_str() {
        "" => t.sql_name(),
        name => format!("{} {}", quote_ident(name), t.sql_name()),
    };
    function.arguments.iter().map(argument).collect::<Vec<_>>().join(", ")
}

/// `pg_get_functiondef`.
pub(super) fn function_definition(function: &FunctionInfo) -> String {
    format!(
        "CREATE OR REPLACE FUNCTION {}.{}({})\n RETURNS {}\n LANGUAGE sql\nAS $function${}$function$\n",
        quote_ident(&function.schema),
        quote_ident(&function.name),
        function_arguments(function),
        function.result.sql_name(),
        function.body
    )
}

/// The comment on an object: (oid, `pg_class` or another catalog, column from 1 or 0).
pub(super) fn comment<'a>(state: &'a SystemState, oid: i64, catalog: &str, column: i64) -> Option<&'a str> {
    if catalog != "pg_class" {
        return None;
    }
    let relation = state.relation_by_oid(u32::try_from(oid).ok()?)?;
    if column == 0 {
        return relation.comment.as_deref();
    }
    let position = usize::try_from(column - 1).ok()?;
    relation.column_comments.iter().find(|(c, _)| *c == position).map(|(_, text)| text.as_str())
}
