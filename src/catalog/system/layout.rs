//! Names, types and oids of all system relations, and the rows that never change.
//!
//! `relations.txt`: a line per relation, `oid schema name relkind column:type[!] …`, where
//! `!` means NOT NULL and the types are PostgreSQL's. `rows.txt`: sections that begin with
//! `# relation column …`, then one row per line; `\N` is NULL. Both are read once.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::rows::{Cell, Row};
use crate::types::PgType;

const RELATIONS: &str = include_str!("relations.txt");
const ROWS: &str = include_str!("rows.txt");

/// Shape of one system relation.
#[derive(Debug)]
pub(super) struct Layout {
    pub oid: u32,
    pub schema: &'static str,
    pub name: &'static str,
    pub relkind: char,
    pub columns: Vec<LayoutColumn>,
    pub arrow: SchemaRef,
}

#[derive(Debug)]
pub(super) struct LayoutColumn {
    pub name: &'static str,
    /// `pg_type.typname` in PostgreSQL.
    pub pg_type: &'static str,
    pub not_null: bool,
}

static LAYOUTS: LazyLock<Vec<Layout>> =
    LazyLock::new(|| RELATIONS.lines().filter_map(parse_layout).collect());

static BY_NAME: LazyLock<HashMap<(&'static str, &'static str), usize>> =
    LazyLock::new(|| LAYOUTS.iter().enumerate().map(|(i, l)| ((l.schema, l.name), i)).collect());

static STATIC_ROWS: LazyLock<HashMap<&'static str, Vec<Row>>> = LazyLock::new(parse_rows);

/// All system relations of `pg_catalog` and `information_schema`.
pub(super) fn layouts() -> &'static [Layout] {
    &LAYOUTS
}

pub(super) fn layout(schema: &str, name: &str) -> Option<&'static Layout> {
    BY_NAME.get(&(schema, name)).map(|i| &LAYOUTS[*i])
}

/// The oid of a relation of `pg_catalog`, as in `pg_description.classoid`.
pub(super) fn catalog_oid(name: &str) -> u32 {
    layout("pg_catalog", name).map_or(0, |l| l.oid)
}

/// The rows of a `pg_catalog` relation that are the same in every database.
pub(super) fn static_rows(name: &str) -> &'static [Row] {
    STATIC_ROWS.get(name).map_or(&[], Vec::as_slice)
}

fn parse_layout(line: &'static str) -> Option<Layout> {
    let mut words = line.split_ascii_whitespace();
    let oid = words.next()?.parse().ok()?;
    let (schema, name) = (words.next()?, words.next()?);
    let relkind = words.next()?.chars().next()?;
    let columns: Vec<LayoutColumn> = words.filter_map(parse_column).collect();
    let fields: Vec<Field> = columns.iter().map(arrow_field).collect();
    Some(Layout { oid, schema, name, relkind, columns, arrow: Arc::new(Schema::new(fields)) })
}

fn parse_column(word: &'static str) -> Option<LayoutColumn> {
    let (name, pg_type) = word.split_once(':')?;
    let not_null = pg_type.ends_with('!');
    Some(LayoutColumn { name, pg_type: pg_type.trim_end_matches('!'), not_null })
}

/// Columns are nullable in Arrow even where PostgreSQL says NOT NULL, so that outer joins
/// and unions over catalogs never disagree about it.
fn arrow_field(column: &LayoutColumn) -> Field {
    carrier_type(column.pg_type).field(column.name, true)
}

/// The type by which a catalog column is carried and reported.
fn carrier_type(pg_type: &str) -> PgType {
    let array = |t| PgType::Array(Box::new(t));
    match pg_type {
        "bool" => PgType::Bool,
        "int2" => PgType::Int2,
        "int4" => PgType::Int4,
        "int8" | "xid" => PgType::Int8,
        "float4" => PgType::Float4,
        "float8" => PgType::Float8,
        "numeric" => PgType::Numeric(None),
        "oid" | "regtype" => PgType::Oid,
        "name" => PgType::Name,
        "char" => PgType::Char,
        "varchar" => PgType::Varchar(None),
        "timestamptz" => PgType::Timestamptz,
        "interval" => PgType::Interval,
        "bytea" => PgType::Bytea,
        "int2vector" | "_int2" => array(PgType::Int2),
        "oidvector" | "_oid" | "_regtype" => array(PgType::Int8),
        "_float4" => array(PgType::Float4),
        "_float8" => array(PgType::Float8),
        "_bool" => array(PgType::Bool),
        "_text" | "_name" | "_char" | "_aclitem" | "anyarray" | "_pg_statistic" => array(PgType::Text),
        _ => PgType::Text,
    }
}

fn parse_rows() -> HashMap<&'static str, Vec<Row>> {
    let mut tables: HashMap<&'static str, Vec<Row>> = HashMap::new();
    let mut header: Option<(&'static Layout, Vec<&'static str>)> = None;
    for line in ROWS.lines() {
        if let Some(names) = line.strip_prefix("# ") {
            let mut words = names.split_ascii_whitespace();
            header = words.next().and_then(|t| layout("pg_catalog", t)).map(|l| (l, words.collect()));
        } else if let Some((layout, names)) = &header {
            let row = names.iter().copied().zip(line.split_ascii_whitespace());
            let row: Row = row.map(|(name, text)| (name, parse_cell(layout, name, text))).collect();
            if !row.is_empty() {
                tables.entry(layout.name).or_default().push(row);
            }
        }
    }
    tables
}

fn parse_cell(layout: &Layout, column: &str, text: &str) -> Cell {
    if text == "\\N" {
        return Cell::Null;
    }
    match layout.arrow.field_with_name(column).map(Field::data_type) {
        Ok(DataType::Boolean) => Cell::Bool(text == "t"),
        Ok(DataType::Int16 | DataType::Int32 | DataType::Int64) => text.parse().map_or(Cell::Null, Cell::Int),
        Ok(DataType::Float32 | DataType::Float64) => text.parse().map_or(Cell::Null, Cell::Float),
        _ => Cell::Text(text.to_string()),
    }
}
