//! Functions about relations, types, functions and comments.

use super::super::describe;
use super::super::lookup::{Class, OWNER, schema_oid};
use super::super::rows::Cell;
use super::super::{RelationInfo, SystemState};
use super::{Entry, int, relation, text};
use crate::error::{HwError, Result, sqlstate};
use crate::types::PgType;

pub(super) fn entries() -> Vec<Entry> {
    let mut entries: Vec<Entry> = vec![
        ("format_type", PgType::Text, format_type),
        ("pg_get_viewdef", PgType::Text, pg_get_viewdef),
        ("pg_get_indexdef", PgType::Text, pg_get_indexdef),
        ("pg_get_constraintdef", PgType::Text, |s, a| {
            Ok(int(a, 0).and_then(|oid| describe::constraint_definition(s, oid)).into())
        }),
        ("pg_get_expr", PgType::Text, |_, a| Ok(text(a, 0).into())),
        ("pg_get_userbyid", PgType::Name, pg_get_userbyid),
        ("pg_get_functiondef", PgType::Text, |s, a| {
            Ok(function(s, a).map(describe::function_definition).into())
        }),
        ("pg_get_function_arguments", PgType::Text, |s, a| {
            Ok(function(s, a).map(describe::function_arguments).into())
        }),
        ("pg_get_function_identity_arguments", PgType::Text, |s, a| {
            Ok(function(s, a).map(describe::function_arguments).into())
        }),
        ("pg_get_function_result", PgType::Text, |s, a| {
            Ok(function(s, a).map(|f| f.result.sql_name()).into())
        }),
        ("obj_description", PgType::Text, obj_description),
        ("col_description", PgType::Text, col_description),
        ("pg_table_is_visible", PgType::Bool, pg_table_is_visible),
        ("pg_function_is_visible", PgType::Bool, pg_function_is_visible),
        ("to_regclass", PgType::Oid, |s, a| {
            Ok(text(a, 0).and_then(|name| s.find_class(name)).map(|c| c.oid()).into())
        }),
        ("to_regtype", PgType::Oid, |_, a| Ok(text(a, 0).and_then(describe::type_oid).into())),
        ("to_regnamespace", PgType::Oid, to_regnamespace),
        ("pg_regclass_oid", PgType::Oid, |s, a| Ok(relation(s, a, 0)?.into())),
        ("pg_regclass_name", PgType::Text, regclass_name),
        ("pg_regtype_oid", PgType::Oid, regtype_oid),
        ("pg_regtype_name", PgType::Text, |s, a| match regtype_oid(s, a)? {
            Cell::Int(oid) => Ok(describe::format_type(oid, -1).into()),
            _ => Ok(Cell::Null),
        }),
        ("pg_regnamespace_oid", PgType::Oid, regnamespace_oid),
        ("pg_regnamespace_name", PgType::Text, |s, a| {
            Ok(int(a, 0).and_then(|oid| s.schema_by_oid(oid)).map(|n| describe::quote_ident(&n)).into())
        }),
        ("pg_regproc_oid", PgType::Oid, regproc_oid),
        ("pg_relation_size", PgType::Int8, relation_size),
        ("pg_table_size", PgType::Int8, relation_size),
        ("pg_total_relation_size", PgType::Int8, relation_size),
        ("pg_indexes_size", PgType::Int8, |_, a| Ok(int(a, 0).map(|_| 0i64).into())),
        ("pg_database_size", PgType::Int8, |s, _| {
            Ok(s.relations.iter().map(|r| r.size_bytes).sum::<i64>().into())
        }),
        ("pg_relation_is_publishable", PgType::Bool, |_, _| Ok(false.into())),
        ("quote_ident", PgType::Text, |_, a| Ok(text(a, 0).map(describe::quote_ident).into())),
        ("has_column_privilege", PgType::Bool, |_, _| Ok(true.into())),
        ("pg_tablespace_location", PgType::Text, |_, _| Ok("".into())),
        ("pg_partition_ancestors", PgType::Oid, |_, _| Ok(Cell::Null)),
        ("pg_regproc_name", PgType::Text, regproc_name),
    ];
    entries.extend(visible_in_pg_catalog().map(|name| -> Entry { (name, PgType::Bool, known_is_visible) }));
    entries.extend(granted().map(|name| -> Entry { (name, PgType::Bool, |_, _| Ok(true.into())) }));
    entries.extend(without_objects().map(|name| -> Entry { (name, PgType::Text, |_, _| Ok(Cell::Null)) }));
    entries
}

/// `…_is_visible` of objects that exist only in `pg_catalog`.
fn visible_in_pg_catalog() -> impl Iterator<Item = &'static str> {
    [
        "pg_type_is_visible",
        "pg_collation_is_visible",
        "pg_operator_is_visible",
        "pg_opclass_is_visible",
        "pg_opfamily_is_visible",
        "pg_conversion_is_visible",
        "pg_statistics_obj_is_visible",
        "pg_ts_config_is_visible",
        "pg_ts_dict_is_visible",
        "pg_ts_parser_is_visible",
        "pg_ts_template_is_visible",
    ]
    .into_iter()
}

/// Privilege checks: the session's user owns everything.
fn granted() -> impl Iterator<Item = &'static str> {
    [
        "has_table_privilege",
        "has_any_column_privilege",
        "has_database_privilege",
        "has_schema_privilege",
        "has_function_privilege",
        "has_sequence_privilege",
        "has_type_privilege",
        "has_language_privilege",
        "has_tablespace_privilege",
        "has_server_privilege",
        "has_foreign_data_wrapper_privilege",
        "pg_has_role",
    ]
    .into_iter()
}

/// Functions about kinds of objects that do not exist here.
fn without_objects() -> impl Iterator<Item = &'static str> {
    [
        "shobj_description",
        "pg_get_serial_sequence",
        "pg_get_triggerdef",
        "pg_get_ruledef",
        "pg_get_partkeydef",
        "pg_get_partition_constraintdef",
        "pg_get_statisticsobjdef",
        "pg_get_statisticsobjdef_columns",
        "pg_get_function_sqlbody",
        "pg_get_function_arg_default",
    ]
    .into_iter()
}

fn known_is_visible(_: &SystemState, args: &[Cell]) -> Result<Cell> {
    Ok(int(args, 0).map(|_| true).into())
}

fn format_type(_: &SystemState, args: &[Cell]) -> Result<Cell> {
    Ok(int(args, 0).map(|oid| describe::format_type(oid, int(args, 1).unwrap_or(-1))).into())
}

fn function<'a>(state: &'a SystemState, args: &[Cell]) -> Option<&'a super::super::FunctionInfo> {
    state.function_by_oid(int(args, 0)?)
}

fn user_relation<'a>(state: &'a SystemState, args: &[Cell]) -> Result<Option<&'a RelationInfo>> {
    let oid = relation(state, args, 0)?.and_then(|oid| u32::try_from(oid).ok());
    Ok(oid.and_then(|oid| state.relation_by_oid(oid)))
}

fn pg_get_viewdef(state: &SystemState, args: &[Cell]) -> Result<Cell> {
    Ok(user_relation(state, args)?.and_then(describe::view_definition).into())
}

fn pg_get_indexdef(state: &SystemState, args: &[Cell]) -> Result<Cell> {
    let column = int(args, 1).and_then(|c| usize::try_from(c).ok()).unwrap_or(0);
    let class = int(args, 0).and_then(|oid| state.class_by_oid(oid));
    Ok(class.and_then(|c| describe::index_definition(state, &c, column)).into())
}

fn pg_get_userbyid(state: &SystemState, args: &[Cell]) -> Result<Cell> {
    Ok(match int(args, 0) {
        None => Cell::Null,
        Some(oid) if oid == i64::from(OWNER) => state.user.as_str().into(),
        Some(oid) => format!("unknown (OID={oid})").into(),
    })
}

fn obj_description(state: &SystemState, args: &[Cell]) -> Result<Cell> {
    let catalog = text(args, 1).unwrap_or("pg_class");
    Ok(int(args, 0).and_then(|oid| describe::comment(state, oid, catalog, 0)).into())
}

fn col_description(state: &SystemState, args: &[Cell]) -> Result<Cell> {
    let (Some(oid), Some(column)) = (relation(state, args, 0)?, int(args, 1)) else { return Ok(Cell::Null) };
    Ok(describe::comment(state, oid, "pg_class", column).into())
}

fn pg_table_is_visible(state: &SystemState, args: &[Cell]) -> Result<Cell> {
    let class = int(args, 0).and_then(|oid| state.class_by_oid(oid));
    Ok(class.map(|c| state.is_visible(&c)).into())
}

fn pg_function_is_visible(state: &SystemState, args: &[Cell]) -> Result<Cell> {
    let schema = function(state, args).map(|f| f.schema.as_str());
    Ok(schema.map(|schema| state.effective_path().contains(&schema)).into())
}

fn regclass_name(state: &SystemState, args: &[Cell]) -> Result<Cell> {
    let Some(oid) = relation(state, args, 0)? else { return Ok(Cell::Null) };
    let name = state.class_by_oid(oid).map(|c| describe::class_name(state, &c));
    Ok(name.unwrap_or_else(|| if oid == 0 { "-".into() } else { oid.to_string() }).into())
}

fn undefined(kind: &str, name: &str) -> HwError {
    HwError::new(sqlstate::UNDEFINED_OBJECT, format!("{kind} \"{name}\" does not exist"))
}

fn regtype_oid(_: &SystemState, args: &[Cell]) -> Result<Cell> {
    match args.first() {
        // `trigger` is a type of PostgreSQL without values; clients compare with its oid.
        Some(Cell::Text(name)) if name.ends_with("trigger") => Ok(2279.into()),
        Some(Cell::Text(name)) => {
            describe::type_oid(name).map(Cell::Int).ok_or_else(|| undefined("type", name))
        }
        _ => Ok(int(args, 0).into()),
    }
}

fn to_regnamespace(state: &SystemState, args: &[Cell]) -> Result<Cell> {
    let name = text(args, 0).filter(|name| state.schema_names().iter().any(|s| s == name));
    Ok(name.map(schema_oid).into())
}

fn regnamespace_oid(state: &SystemState, args: &[Cell]) -> Result<Cell> {
    match (args.first(), to_regnamespace(state, args)?) {
        (Some(Cell::Text(name)), Cell::Null) => {
            Err(HwError::new(sqlstate::INVALID_SCHEMA_NAME, format!("schema \"{name}\" does not exist")))
        }
        (Some(Cell::Text(_)), oid) => Ok(oid),
        _ => Ok(int(args, 0).into()),
    }
}

fn regproc_oid(state: &SystemState, args: &[Cell]) -> Result<Cell> {
    let Some(name) = text(args, 0) else { return Ok(int(args, 0).into()) };
    let function =
        state.functions.iter().find(|f| f.name == name || format!("{}.{}", f.schema, f.name) == name);
    function.map(|f| f.oid.into()).ok_or_else(|| {
        HwError::new(sqlstate::UNDEFINED_FUNCTION, format!("function \"{name}\" does not exist"))
    })
}

/// Catalog columns of type `regproc` hold the bare name.
fn regproc_name(_: &SystemState, args: &[Cell]) -> Result<Cell> {
    Ok(text(args, 0).map(|name| name.strip_prefix("pg_catalog.").unwrap_or(name)).into())
}

fn relation_size(state: &SystemState, args: &[Cell]) -> Result<Cell> {
    let Some(oid) = relation(state, args, 0)? else { return Ok(Cell::Null) };
    Ok(state
        .class_by_oid(oid)
        .map(|class| match class {
            Class::User(r) => r.size_bytes,
            _ => 0,
        })
        .into())
}
