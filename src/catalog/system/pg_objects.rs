//! Rows of the `pg_catalog` relations about objects other than relations: schemas, types,
//! functions, roles, databases, settings.

use super::SystemState;
use super::layout::static_rows;
use super::lookup::{DATABASE, OWNER, schema_oid};
use super::pg_catalog::Rows;
use super::rows::{Cell, Row};

pub(super) fn builder(name: &str) -> Option<Rows> {
    Some(match name {
        "pg_namespace" => pg_namespace,
        "pg_type" => |_| owned("pg_type", "typnamespace", "typowner"),
        "pg_collation" => |_| owned("pg_collation", "collnamespace", "collowner"),
        "pg_opclass" => |_| owned("pg_opclass", "opcnamespace", "opcowner"),
        "pg_language" => |_| with_owner("pg_language", "lanowner"),
        "pg_tablespace" => |_| with_owner("pg_tablespace", "spcowner"),
        "pg_am" => |_| static_rows("pg_am").to_vec(),
        "pg_range" => |_| static_rows("pg_range").to_vec(),
        "pg_proc" => pg_proc,
        "pg_database" => pg_database,
        "pg_authid" | "pg_roles" => roles,
        "pg_user" => pg_user,
        "pg_settings" => pg_settings,
        "pg_timezone_names" => pg_timezone_names,
        _ => return None,
    })
}

/// The unchanging rows of a relation, with the columns for the owner.
fn with_owner(name: &str, owner: &'static str) -> Vec<Row> {
    let mut rows = static_rows(name).to_vec();
    rows.iter_mut().for_each(|row| row.push((owner, OWNER.into())));
    rows
}

/// The same for objects in the schema `pg_catalog`.
fn owned(name: &str, namespace: &'static str, owner: &'static str) -> Vec<Row> {
    let mut rows = with_owner(name, owner);
    rows.iter_mut().for_each(|row| row.push((namespace, schema_oid("pg_catalog").into())));
    rows
}

fn pg_namespace(state: &SystemState) -> Vec<Row> {
    let row = |name: String| -> Row {
        vec![("oid", schema_oid(&name).into()), ("nspname", name.into()), ("nspowner", OWNER.into())]
    };
    state.schema_names().into_iter().map(row).collect()
}

fn pg_proc(state: &SystemState) -> Vec<Row> {
    let row = |f: &super::FunctionInfo| -> Row {
        let types = f.arguments.iter().map(|(_, t)| i64::from(t.oid())).collect();
        let names: Vec<String> = f.arguments.iter().map(|(name, _)| name.clone()).collect();
        let named = names.iter().any(|n| !n.is_empty());
        vec![
            ("oid", f.oid.into()),
            ("proname", f.name.as_str().into()),
            ("pronamespace", schema_oid(&f.schema).into()),
            ("proowner", OWNER.into()),
            ("prolang", 14.into()),
            ("procost", Cell::Float(100.0)),
            ("prokind", 'f'.into()),
            ("provolatile", 'i'.into()),
            ("proparallel", 's'.into()),
            ("pronargs", f.arguments.len().into()),
            ("prorettype", f.result.oid().into()),
            ("proargtypes", Cell::Ints(types)),
            ("proargnames", if named { Cell::Texts(names) } else { Cell::Null }),
            ("prosrc", f.body.as_str().into()),
        ]
    };
    state.functions.iter().map(row).collect()
}

fn pg_database(state: &SystemState) -> Vec<Row> {
    vec![vec![
        ("oid", DATABASE.into()),
        ("datname", state.database.as_str().into()),
        ("datdba", OWNER.into()),
        ("encoding", 6.into()),
        ("datlocprovider", 'c'.into()),
        ("datallowconn", true.into()),
        ("datconnlimit", (-1).into()),
        ("dattablespace", 1663.into()),
        ("datcollate", "C.UTF-8".into()),
        ("datctype", "C.UTF-8".into()),
    ]]
}

fn roles(state: &SystemState) -> Vec<Row> {
    vec![vec![
        ("oid", OWNER.into()),
        ("rolname", state.user.as_str().into()),
        ("rolsuper", true.into()),
        ("rolinherit", true.into()),
        ("rolcreaterole", false.into()),
        ("rolcreatedb", false.into()),
        ("rolcanlogin", true.into()),
        ("rolreplication", false.into()),
        ("rolbypassrls", true.into()),
        ("rolconnlimit", (-1).into()),
    ]]
}

fn pg_user(state: &SystemState) -> Vec<Row> {
    vec![vec![
        ("usename", state.user.as_str().into()),
        ("usesysid", OWNER.into()),
        ("usecreatedb", false.into()),
        ("usesuper", true.into()),
        ("userepl", false.into()),
        ("usebypassrls", true.into()),
    ]]
}

fn pg_settings(state: &SystemState) -> Vec<Row> {
    let row = |s: &super::SettingInfo| -> Row {
        let source = if s.value == s.default_value { "default" } else { "session" };
        vec![
            ("name", s.name.as_str().into()),
            ("setting", s.value.as_str().into()),
            ("unit", s.unit.clone().into()),
            ("category", s.category.as_str().into()),
            ("short_desc", s.description.as_str().into()),
            ("context", s.context.into()),
            ("vartype", s.vartype.into()),
            ("source", source.into()),
            ("boot_val", s.default_value.as_str().into()),
            ("reset_val", s.default_value.as_str().into()),
            ("pending_restart", false.into()),
        ]
    };
    state.settings.iter().map(row).collect()
}

fn pg_timezone_names(_: &SystemState) -> Vec<Row> {
    let row = |zone: &chrono_tz::Tz| -> Row {
        vec![("name", zone.name().into()), ("abbrev", zone.name().into()), ("is_dst", false.into())]
    };
    chrono_tz::TZ_VARIANTS.iter().map(row).collect()
}
