//! Rows of the views of `pg_catalog` that list relations and sessions: `pg_tables`, `pg_views`,
//! `pg_matviews`, `pg_indexes`, `pg_stat_*`.

use super::describe;
use super::lookup::{Class, DATABASE, OWNER};
use super::pg_catalog::Rows;
use super::rows::Row;
use super::{RelationInfo, RelationKind, SystemState};

pub(super) fn builder(name: &str) -> Option<Rows> {
    Some(match name {
        "pg_tables" => pg_tables,
        "pg_views" => pg_views,
        "pg_matviews" => pg_matviews,
        "pg_indexes" => pg_indexes,
        "pg_stat_user_tables" | "pg_stat_all_tables" => pg_stat_user_tables,
        "pg_stat_activity" => pg_stat_activity,
        _ => return None,
    })
}

fn pg_tables(state: &SystemState) -> Vec<Row> {
    let row = |class: Class<'_>| -> Option<Row> {
        (class.relkind() == 'r').then(|| {
            let indexed = matches!(&class, Class::User(r) if !r.primary_key.is_empty());
            vec![
                ("schemaname", class.schema().into()),
                ("tablename", class.name().into()),
                ("tableowner", state.user.as_str().into()),
                ("hasindexes", indexed.into()),
                ("hasrules", false.into()),
                ("hastriggers", false.into()),
                ("rowsecurity", false.into()),
            ]
        })
    };
    state.classes().filter_map(row).collect()
}

fn of_kind(state: &SystemState, kind: RelationKind) -> impl Iterator<Item = &RelationInfo> {
    state.relations.iter().filter(move |r| r.kind == kind)
}

fn pg_views(state: &SystemState) -> Vec<Row> {
    of_kind(state, RelationKind::View)
        .map(|view| -> Row {
            vec![
                ("schemaname", view.schema.as_str().into()),
                ("viewname", view.name.as_str().into()),
                ("viewowner", state.user.as_str().into()),
                ("definition", describe::view_definition(view).into()),
            ]
        })
        .collect()
}

fn pg_matviews(state: &SystemState) -> Vec<Row> {
    of_kind(state, RelationKind::MaterializedView)
        .map(|view| -> Row {
            vec![
                ("schemaname", view.schema.as_str().into()),
                ("matviewname", view.name.as_str().into()),
                ("matviewowner", state.user.as_str().into()),
                ("hasindexes", (!view.primary_key.is_empty()).into()),
                ("ispopulated", true.into()),
                ("definition", describe::view_definition(view).into()),
            ]
        })
        .collect()
}

fn pg_indexes(state: &SystemState) -> Vec<Row> {
    let row = |class: Class<'_>| -> Option<Row> {
        let shape = describe::index_shape(state, &class)?;
        Some(vec![
            ("schemaname", shape.table.schema.as_str().into()),
            ("tablename", shape.table.name.as_str().into()),
            ("indexname", class.name().into()),
            ("indexdef", describe::index_definition(state, &class, 0).into()),
        ])
    };
    state.classes().filter_map(row).collect()
}

fn pg_stat_user_tables(state: &SystemState) -> Vec<Row> {
    let counters = [
        "seq_scan",
        "seq_tup_read",
        "n_tup_ins",
        "n_tup_upd",
        "n_tup_del",
        "n_tup_hot_upd",
        "n_dead_tup",
        "n_mod_since_analyze",
        "n_ins_since_vacuum",
        "vacuum_count",
        "autovacuum_count",
        "analyze_count",
        "autoanalyze_count",
    ];
    let row = |relation: &RelationInfo| -> Row {
        let mut row: Row = vec![
            ("relid", relation.oid.into()),
            ("schemaname", relation.schema.as_str().into()),
            ("relname", relation.name.as_str().into()),
            ("n_live_tup", (relation.row_estimate.max(0.0) as i64).into()),
        ];
        row.extend(counters.iter().map(|name| (*name, 0.into())));
        row
    };
    state.tables().filter(|r| r.kind != RelationKind::View).map(row).collect()
}

fn pg_stat_activity(state: &SystemState) -> Vec<Row> {
    let row = |session: &super::SessionInfo| -> Row {
        vec![
            ("datid", DATABASE.into()),
            ("datname", session.database.as_str().into()),
            ("pid", session.pid.into()),
            ("usesysid", OWNER.into()),
            ("usename", session.user.as_str().into()),
            ("application_name", session.application_name.as_str().into()),
            ("client_addr", session.client_address.clone().into()),
            ("client_port", session.client_port.into()),
            ("backend_start", session.backend_start.into()),
            ("query_start", session.query_start.into()),
            ("state_change", session.query_start.into()),
            ("state", session.state.into()),
            ("query", session.query.as_str().into()),
            ("backend_type", "client backend".into()),
        ]
    };
    state.sessions.iter().map(row).collect()
}
