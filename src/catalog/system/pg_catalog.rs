//! Which relations of `pg_catalog` have rows, and the rows of those that describe relations:
//! `pg_class`, `pg_attribute`, `pg_index`, `pg_constraint` and their kin.

use super::describe::{self, IndexShape};
use super::layout::{Layout, catalog_oid, layouts, static_rows};
use super::lookup::{Class, OWNER, key_constraint_oid, key_index_oid, key_name, schema_oid};
use super::rows::{Cell, Row};
use super::{RelationInfo, RelationKind, SystemState, pg_objects, stat_views};
use crate::types::PgType;

/// Computes the rows of one relation.
pub(super) type Rows = fn(&SystemState) -> Vec<Row>;

/// The builder of a relation's rows; `None` for relations that are always empty.
pub(super) fn builder(name: &str) -> Option<Rows> {
    Some(match name {
        "pg_class" => pg_class,
        "pg_attribute" => pg_attribute,
        "pg_attrdef" => pg_attrdef,
        "pg_index" => pg_index,
        "pg_constraint" => pg_constraint,
        "pg_description" => pg_description,
        "pg_rewrite" => pg_rewrite,
        _ => return pg_objects::builder(name).or_else(|| stat_views::builder(name)),
    })
}

/// Whether the relation never has a row, in any Headwater database.
pub(super) fn is_always_empty(name: &str) -> bool {
    super::layout::layout("pg_catalog", name).is_some()
        && builder(name).is_none()
        && static_rows(name).is_empty()
}

fn pg_class(state: &SystemState) -> Vec<Row> {
    state.classes().map(|class| class_row(state, &class)).collect()
}

fn class_row(state: &SystemState, class: &Class<'_>) -> Row {
    let relkind = class.relkind();
    let (rows, size, natts) = match class {
        Class::User(r) => (r.row_estimate, r.size_bytes, user_columns(state, class, r).len()),
        Class::KeyIndex(r) => (r.row_estimate, 0, r.primary_key.len()),
        Class::Live(t, _) => (-1.0, 0, t.schema.fields().len()),
        Class::System(l) => (-1.0, 0, l.columns.len()),
    };
    let am = match relkind {
        'r' | 'm' => 2u32,
        'i' => 403,
        _ => 0,
    };
    vec![
        ("oid", class.oid().into()),
        ("relname", class.name().into()),
        ("relnamespace", schema_oid(class.schema()).into()),
        ("relowner", OWNER.into()),
        ("relam", am.into()),
        ("relfilenode", (if matches!(relkind, 'v') { 0 } else { class.oid() }).into()),
        ("relpages", (size / 8192).into()),
        ("reltuples", Cell::Float(f64::from(rows))),
        ("relhasindex", has_index(state, class).into()),
        ("relpersistence", 'p'.into()),
        ("relkind", relkind.into()),
        ("relnatts", natts.into()),
        ("relhasrules", (relkind == 'v').into()),
        ("relispopulated", true.into()),
        ("relreplident", (if matches!(relkind, 'r' | 'm') { 'd' } else { 'n' }).into()),
    ]
}

fn has_index(state: &SystemState, class: &Class<'_>) -> bool {
    let Class::User(relation) = class else { return false };
    !relation.primary_key.is_empty()
        || state.relations.iter().any(|r| r.index.as_ref().is_some_and(|i| i.table_oid == relation.oid))
}

/// A column as `pg_attribute` sees it.
struct Attribute {
    name: String,
    type_oid: u32,
    typmod: i32,
    not_null: bool,
    has_default: bool,
    generated: bool,
}

fn attribute(name: &str, pg_type: &PgType) -> Attribute {
    Attribute {
        name: name.to_string(),
        type_oid: pg_type.oid(),
        typmod: pg_type.typmod(),
        not_null: false,
        has_default: false,
        generated: false,
    }
}

fn user_columns(state: &SystemState, class: &Class<'_>, relation: &RelationInfo) -> Vec<Attribute> {
    if let Some(shape) = describe::index_shape(state, class) {
        return index_columns(&shape);
    }
    let column = |(i, field): (usize, &arrow::datatypes::Field)| {
        let default = relation.defaults.iter().find(|d| d.column == i);
        Attribute {
            not_null: !field.is_nullable() || relation.primary_key.contains(&i),
            has_default: default.is_some(),
            generated: default.is_some_and(|d| d.generated),
            ..attribute(field.name(), &PgType::of(field))
        }
    };
    relation.columns.iter().enumerate().map(column).collect()
}

fn index_columns(shape: &IndexShape<'_>) -> Vec<Attribute> {
    let fields = shape.columns.iter().filter_map(|c| shape.table.columns.get(*c));
    fields.map(|f| attribute(f.name(), &PgType::of(f))).collect()
}

fn attributes(state: &SystemState, class: &Class<'_>) -> Vec<Attribute> {
    match class {
        Class::User(relation) => user_columns(state, class, relation),
        Class::KeyIndex(_) => describe::index_shape(state, class).map_or(vec![], |s| index_columns(&s)),
        Class::Live(table, _) => {
            table.schema.fields().iter().map(|f| attribute(f.name(), &PgType::of(f))).collect()
        }
        Class::System(layout) => system_columns(layout),
    }
}

fn system_columns(layout: &Layout) -> Vec<Attribute> {
    let fields = layout.columns.iter().zip(layout.arrow.fields());
    fields.map(|(c, f)| Attribute { not_null: c.not_null, ..attribute(c.name, &PgType::of(f)) }).collect()
}

fn pg_attribute(state: &SystemState) -> Vec<Row> {
    let mut rows = Vec::new();
    for class in state.classes() {
        let oid = class.oid();
        let columns = attributes(state, &class);
        rows.extend(columns.iter().enumerate().map(|(i, column)| attribute_row(oid, i + 1, column)));
    }
    rows
}

fn attribute_row(relation: u32, number: usize, column: &Attribute) -> Row {
    let row = describe::type_row(i64::from(column.type_oid));
    let cell_of = |name| row.and_then(|r| super::rows::cell(r, name)).cloned().unwrap_or(Cell::Null);
    let mut cells: Row = vec![
        ("attrelid", relation.into()),
        ("attname", column.name.as_str().into()),
        ("atttypid", column.type_oid.into()),
        ("attstattarget", (-1).into()),
        ("attlen", cell_of("typlen")),
        ("attnum", number.into()),
        ("attcacheoff", (-1).into()),
        ("atttypmod", column.typmod.into()),
        ("attndims", (if describe::type_number(row, "typelem") != 0 { 1 } else { 0 }).into()),
        ("attbyval", cell_of("typbyval")),
        ("attalign", cell_of("typalign")),
        ("attstorage", cell_of("typstorage")),
        ("attnotnull", column.not_null.into()),
        ("atthasdef", column.has_default.into()),
        ("attislocal", true.into()),
        ("attcollation", cell_of("typcollation")),
    ];
    if column.generated {
        cells.push(("attgenerated", 's'.into()));
    }
    cells
}

fn pg_attrdef(state: &SystemState) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for relation in state.tables() {
        let oids = (1u32 << 31) + rows.len() as u32..;
        rows.extend(relation.defaults.iter().zip(oids).map(|(default, oid)| -> Row {
            vec![
                ("oid", oid.into()),
                ("adrelid", relation.oid.into()),
                ("adnum", (default.column + 1).into()),
                ("adbin", default.expression.as_str().into()),
            ]
        }));
    }
    rows
}

fn pg_index(state: &SystemState) -> Vec<Row> {
    let row = |class: Class<'_>| -> Option<Row> {
        let shape = describe::index_shape(state, &class)?;
        let types: Vec<Option<&Row>> =
            index_columns(&shape).iter().map(|c| describe::type_row(i64::from(c.type_oid))).collect();
        let collations = types.iter().map(|t| describe::type_number(*t, "typcollation")).collect();
        let classes = types.iter().map(|t| operator_class(describe::type_number(*t, "oid"))).collect();
        Some(vec![
            ("indexrelid", class.oid().into()),
            ("indrelid", shape.table.oid.into()),
            ("indnatts", shape.columns.len().into()),
            ("indnkeyatts", shape.columns.len().into()),
            ("indisunique", shape.unique.into()),
            ("indisprimary", shape.primary.into()),
            ("indimmediate", true.into()),
            ("indisvalid", true.into()),
            ("indisready", true.into()),
            ("indislive", true.into()),
            ("indkey", Cell::Ints(column_numbers(shape.columns))),
            ("indcollation", Cell::Ints(collations)),
            ("indclass", Cell::Ints(classes)),
            ("indoption", Cell::Ints(vec![0; shape.columns.len()])),
        ])
    };
    state.classes().filter_map(row).collect()
}

/// The default btree operator class of a type, by oid.
fn operator_class(type_oid: i64) -> i64 {
    let is = |row: &&Row, column, value: Cell| super::rows::cell(row, column) == Some(&value);
    static_rows("pg_opclass")
        .iter()
        .filter(|row| is(row, "opcdefault", Cell::Bool(true)))
        .find(|row| is(row, "opcintype", Cell::Int(type_oid)))
        .map_or(0, |row| describe::type_number(Some(row), "oid"))
}

fn column_numbers(columns: &[usize]) -> Vec<i64> {
    columns.iter().map(|c| *c as i64 + 1).collect()
}

fn pg_constraint(state: &SystemState) -> Vec<Row> {
    let keyed = state.tables().filter(|r| !r.primary_key.is_empty());
    keyed
        .map(|relation| -> Row {
            vec![
                ("oid", key_constraint_oid(relation).into()),
                ("conname", key_name(relation).into()),
                ("connamespace", schema_oid(&relation.schema).into()),
                ("contype", 'p'.into()),
                ("convalidated", true.into()),
                ("conrelid", relation.oid.into()),
                ("conindid", key_index_oid(relation).into()),
                ("conislocal", true.into()),
                ("connoinherit", true.into()),
                ("confupdtype", ' '.into()),
                ("confdeltype", ' '.into()),
                ("confmatchtype", ' '.into()),
                ("conkey", Cell::Ints(column_numbers(&relation.primary_key))),
            ]
        })
        .collect()
}

fn pg_description(state: &SystemState) -> Vec<Row> {
    let class = catalog_oid("pg_class");
    let row = |oid: u32, column: usize, text: &str| -> Row {
        vec![
            ("objoid", oid.into()),
            ("classoid", class.into()),
            ("objsubid", column.into()),
            ("description", text.into()),
        ]
    };
    let mut rows = Vec::new();
    for relation in &state.relations {
        rows.extend(relation.comment.iter().map(|text| row(relation.oid, 0, text)));
        rows.extend(relation.column_comments.iter().map(|(c, text)| row(relation.oid, c + 1, text)));
    }
    rows
}

/// The `_RETURN` rule of every view, by which clients find what a view depends on.
fn pg_rewrite(state: &SystemState) -> Vec<Row> {
    let views =
        state.tables().filter(|r| matches!(r.kind, RelationKind::View | RelationKind::MaterializedView));
    views
        .map(|view| -> Row {
            vec![
                ("oid", (view.oid | 3 << 29).into()),
                ("rulename", "_RETURN".into()),
                ("ev_class", view.oid.into()),
                ("ev_type", '1'.into()),
                ("ev_enabled", 'O'.into()),
                ("is_instead", true.into()),
            ]
        })
        .collect()
}

/// Names of all relations of the schema.
pub(super) fn relation_names(schema: &str) -> Vec<String> {
    layouts().iter().filter(|l| l.schema == schema).map(|l| l.name.to_string()).collect()
}
