//! Rows of `information_schema`.
//!
//! A deviation on purpose: PostgreSQL hides materialized views from this schema; here they
//! are the product, so they are listed, as `VIEW`s, where BI tools look for relations.

use super::describe;
use super::lookup::key_name;
use super::pg_catalog::Rows;
use super::rows::{Cell, Row, cell};
use super::{RelationInfo, RelationKind, SystemState};
use crate::types::PgType;

pub(super) fn builder(name: &str) -> Option<Rows> {
    Some(match name {
        "information_schema_catalog_name" => {
            |state| vec![vec![("catalog_name", state.database.as_str().into())]]
        }
        "schemata" => schemata,
        "tables" => tables,
        "columns" => columns,
        "views" => views,
        "table_constraints" => table_constraints,
        "key_column_usage" | "constraint_column_usage" => key_columns,
        "character_sets" => character_sets,
        "enabled_roles" => |state| vec![vec![("role_name", state.user.as_str().into())]],
        "routines" => routines,
        "table_privileges" | "role_table_grants" => table_privileges,
        _ => return None,
    })
}

fn schemata(state: &SystemState) -> Vec<Row> {
    let row = |name: String| -> Row {
        vec![
            ("catalog_name", state.database.as_str().into()),
            ("schema_name", name.into()),
            ("schema_owner", state.user.as_str().into()),
        ]
    };
    state.schema_names().into_iter().map(row).collect()
}

/// The three columns by which this schema names a relation.
fn table_name(state: &SystemState, schema: &str, name: String) -> Row {
    vec![
        ("table_catalog", state.database.as_str().into()),
        ("table_schema", schema.into()),
        ("table_name", name.into()),
    ]
}

fn tables(state: &SystemState) -> Vec<Row> {
    let mut rows = Vec::new();
    for class in state.classes() {
        let kind = match class.relkind() {
            'r' => "BASE TABLE",
            'v' | 'm' => "VIEW",
            _ => continue,
        };
        let mut row = table_name(state, class.schema(), class.name());
        let insertable = matches!(&class, super::lookup::Class::User(r) if r.kind == RelationKind::Table);
        row.push(("table_type", kind.into()));
        row.push(("is_insertable_into", yes_or_no(insertable)));
        row.push(("is_typed", "NO".into()));
        rows.push(row);
    }
    rows
}

fn yes_or_no(v: bool) -> Cell {
    if v { "YES".into() } else { "NO".into() }
}

fn columns(state: &SystemState) -> Vec<Row> {
    let mut rows = Vec::new();
    for relation in state.tables() {
        for (i, field) in relation.columns.iter().enumerate() {
            let nullable = field.is_nullable() && !relation.primary_key.contains(&i);
            let mut row = column_row(state, &relation.schema, &relation.name, i, field, nullable);
            let default = relation.defaults.iter().find(|d| d.column == i);
            let generated = default.filter(|d| d.generated);
            let plain = default.filter(|d| !d.generated);
            row.push(("column_default", plain.map(|d| d.expression.as_str()).into()));
            row.push(("is_generated", (if generated.is_some() { "ALWAYS" } else { "NEVER" }).into()));
            row.push(("generation_expression", generated.map(|d| d.expression.as_str()).into()));
            row.push(("is_updatable", yes_or_no(relation.kind == RelationKind::Table)));
            rows.push(row);
        }
    }
    for class in state.classes() {
        let fields = match class {
            super::lookup::Class::Live(table, _) => table.schema.fields(),
            super::lookup::Class::System(layout) => layout.arrow.fields(),
            _ => continue,
        };
        for (i, field) in fields.iter().enumerate() {
            rows.push(column_row(state, class.schema(), &class.name(), i, field, true));
        }
    }
    rows
}

fn column_row(
    state: &SystemState,
    schema: &str,
    table: &str,
    position: usize,
    field: &arrow::datatypes::Field,
    nullable: bool,
) -> Row {
    let pg_type = PgType::of(field);
    let mut row = table_name(state, schema, table.to_string());
    row.extend([
        ("column_name", Cell::from(field.name().as_str())),
        ("ordinal_position", (position + 1).into()),
        ("is_nullable", yes_or_no(nullable)),
        ("udt_catalog", state.database.as_str().into()),
        ("udt_schema", "pg_catalog".into()),
        ("udt_name", type_name(&pg_type)),
        ("dtd_identifier", (position + 1).to_string().into()),
        ("is_self_referencing", "NO".into()),
        ("is_identity", "NO".into()),
        ("identity_cycle", "NO".into()),
    ]);
    row.extend(type_cells(&pg_type));
    row
}

/// `pg_type.typname`.
fn type_name(pg_type: &PgType) -> Cell {
    describe::type_row(i64::from(pg_type.oid()))
        .and_then(|row| cell(row, "typname"))
        .cloned()
        .unwrap_or(Cell::Null)
}

/// `data_type` and what belongs to it.
fn type_cells(pg_type: &PgType) -> Row {
    let numeric = |precision: i32, radix: i32, scale: Cell| -> Row {
        vec![
            ("numeric_precision", precision.into()),
            ("numeric_precision_radix", radix.into()),
            ("numeric_scale", scale),
        ]
    };
    let data_type = match pg_type {
        PgType::Array(_) => "ARRAY".to_string(),
        PgType::Numeric(_) => "numeric".to_string(),
        PgType::Varchar(_) => "character varying".to_string(),
        PgType::Bpchar(_) => "character".to_string(),
        other => other.sql_name(),
    };
    let mut row: Row = vec![("data_type", data_type.into())];
    row.extend(match pg_type {
        PgType::Int2 => numeric(16, 2, 0.into()),
        PgType::Int4 => numeric(32, 2, 0.into()),
        PgType::Int8 => numeric(64, 2, 0.into()),
        PgType::Float4 => numeric(24, 2, Cell::Null),
        PgType::Float8 => numeric(53, 2, Cell::Null),
        PgType::Numeric(Some((p, s))) => numeric(i32::from(*p), 10, i32::from(*s).into()),
        PgType::Numeric(None) => vec![("numeric_precision_radix", 10.into())],
        PgType::Varchar(Some(n)) | PgType::Bpchar(Some(n)) => {
            vec![("character_maximum_length", (*n).into()), ("character_octet_length", (n * 4).into())]
        }
        PgType::Text | PgType::Varchar(None) | PgType::Bpchar(None) => {
            vec![("character_octet_length", (1 << 30).into())]
        }
        PgType::Date => vec![("datetime_precision", 0.into())],
        PgType::Time | PgType::Timestamp | PgType::Timestamptz | PgType::Interval => {
            vec![("datetime_precision", 6.into())]
        }
        _ => vec![],
    });
    row
}

fn views(state: &SystemState) -> Vec<Row> {
    let row = |relation: &RelationInfo| -> Option<Row> {
        let definition = describe::view_definition(relation)?;
        let mut row = table_name(state, &relation.schema, relation.name.clone());
        row.push(("view_definition", definition.into()));
        row.push(("check_option", "NONE".into()));
        for column in [
            "is_updatable",
            "is_insertable_into",
            "is_trigger_updatable",
            "is_trigger_deletable",
            "is_trigger_insertable_into",
        ] {
            row.push((column, "NO".into()));
        }
        Some(row)
    };
    state.tables().filter_map(row).collect()
}

/// The table's and the constraint's name of a relation with a primary key.
fn key_row(state: &SystemState, relation: &RelationInfo) -> Row {
    let mut row = table_name(state, &relation.schema, relation.name.clone());
    row.push(("constraint_catalog", state.database.as_str().into()));
    row.push(("constraint_schema", relation.schema.as_str().into()));
    row.push(("constraint_name", key_name(relation).into()));
    row
}

fn keyed(state: &SystemState) -> impl Iterator<Item = &RelationInfo> {
    state.tables().filter(|r| !r.primary_key.is_empty())
}

fn table_constraints(state: &SystemState) -> Vec<Row> {
    let row = |relation: &RelationInfo| {
        let mut row = key_row(state, relation);
        row.push(("constraint_type", "PRIMARY KEY".into()));
        row.push(("is_deferrable", "NO".into()));
        row.push(("initially_deferred", "NO".into()));
        row.push(("enforced", "YES".into()));
        row
    };
    keyed(state).map(row).collect()
}

/// `key_column_usage`; also `constraint_column_usage`, which has no positions.
fn key_columns(state: &SystemState) -> Vec<Row> {
    let mut rows = Vec::new();
    for relation in keyed(state) {
        for (i, field) in relation.primary_key.iter().filter_map(|c| relation.columns.get(*c)).enumerate() {
            let mut row = key_row(state, relation);
            row.push(("column_name", field.name().as_str().into()));
            row.push(("ordinal_position", (i + 1).into()));
            rows.push(row);
        }
    }
    rows
}

fn character_sets(state: &SystemState) -> Vec<Row> {
    vec![vec![
        ("character_set_name", "UTF8".into()),
        ("character_repertoire", "UCS".into()),
        ("form_of_use", "UTF8".into()),
        ("default_collate_catalog", state.database.as_str().into()),
        ("default_collate_schema", "pg_catalog".into()),
        ("default_collate_name", "default".into()),
    ]]
}

fn routines(state: &SystemState) -> Vec<Row> {
    let row = |f: &super::FunctionInfo| -> Row {
        vec![
            ("specific_catalog", state.database.as_str().into()),
            ("specific_schema", f.schema.as_str().into()),
            ("specific_name", format!("{}_{}", f.name, f.oid).into()),
            ("routine_catalog", state.database.as_str().into()),
            ("routine_schema", f.schema.as_str().into()),
            ("routine_name", f.name.as_str().into()),
            ("routine_type", "FUNCTION".into()),
            ("data_type", f.result.sql_name().into()),
            ("type_udt_name", type_name(&f.result)),
            ("routine_body", "SQL".into()),
            ("routine_definition", f.body.as_str().into()),
            ("external_language", "SQL".into()),
            ("is_deterministic", "YES".into()),
            ("security_type", "INVOKER".into()),
        ]
    };
    state.functions.iter().map(row).collect()
}

/// The owner may do everything that the kind of relation allows.
fn table_privileges(state: &SystemState) -> Vec<Row> {
    let mut rows = Vec::new();
    for relation in state.tables() {
        let privileges: &[&str] = match relation.kind {
            RelationKind::Table => &["INSERT", "SELECT", "UPDATE", "DELETE"],
            _ => &["SELECT"],
        };
        for privilege in privileges {
            let mut row = table_name(state, &relation.schema, relation.name.clone());
            row.push(("grantor", state.user.as_str().into()));
            row.push(("grantee", state.user.as_str().into()));
            row.push(("privilege_type", (*privilege).into()));
            row.push(("is_grantable", "YES".into()));
            row.push(("with_hierarchy", yes_or_no(*privilege == "SELECT")));
            rows.push(row);
        }
    }
    rows
}
