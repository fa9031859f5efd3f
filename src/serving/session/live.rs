//! Relations of the schema `headwater`: what the engine tells about itself, now.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::RecordBatch;
use datafusion::common::ScalarValue;

use super::results::{batch_of, int8, schema_of, text, timestamptz};
use super::watermarks::{watermark_columns, watermarks};
use crate::catalog::Kind;
use crate::catalog::system::LiveTable;
use crate::connectors::ReaderState;
use crate::dataflow::operators::LateRows;
use crate::engine::ViewState;
use crate::engine::database::Database;
use crate::error::Result;
use crate::types::PgType as P;
use crate::types::text::{ColumnWriter, TextOptions};

type Row = Vec<ScalarValue>;
type Rows = fn(&Database) -> Result<Vec<Row>>;

/// All live tables of a database.
pub(super) fn tables(database: &Arc<Database>) -> Vec<LiveTable> {
    let table = |name: &str, columns: &[(&str, P)], rows: Rows| {
        let schema = schema_of(columns);
        let (database, out) = (Arc::clone(database), Arc::clone(&schema));
        let rows = move || Ok(vec![batch_of(&out, rows(&database)?)?]);
        LiveTable { name: name.to_string(), schema, rows: Arc::new(rows) }
    };
    let (text, int8, time) = (P::Text, P::Int8, P::Timestamptz);
    let t = || text.clone();
    let n = || int8.clone();
    let at = || time.clone();
    vec![
        table("epochs", &[("epoch", n()), ("time", at()), ("rows", n()), ("latency_us", n())], epochs),
        table("watermarks", &watermark_columns(), watermarks),
        table("sources", &source_columns(), sources),
        table(
            "dead_letters",
            &[
                ("source", t()),
                ("split", n()),
                ("offset", n()),
                ("timestamp", at()),
                ("key", P::Bytea),
                ("value", P::Bytea),
                ("value_length", n()),
                ("sqlstate", t()),
                ("message", t()),
            ],
            dead_letters,
        ),
        table("jobs", &job_columns(), jobs),
        table(
            "views",
            &[
                ("name", t()),
                ("state", t()),
                ("rows", n()),
                ("bytes", n()),
                ("detail", t()),
                ("late_rows", n()),
                ("null_time_rows", n()),
            ],
            views,
        ),
        table("state", &super::state::columns(), super::state::all),
        table("sinks", &[("name", t()), ("rows", n())], sinks),
        table(
            "late_rows",
            &[
                ("view", t()),
                ("window_start", at()),
                ("window_end", at()),
                ("watermark", at()),
                ("reason", t()),
                ("row", t()),
                ("epoch", n()),
            ],
            late_rows,
        ),
        table(
            "errors",
            &[("view", t()), ("row", t()), ("weight", n()), ("sqlstate", t()), ("message", t())],
            errors,
        ),
    ]
}

fn source_columns() -> Vec<(&'static str, P)> {
    vec![
        ("name", P::Text),
        ("split", P::Int8),
        ("offset", P::Int8),
        ("end_offset", P::Int8),
        ("lag_rows", P::Int8),
        ("state", P::Text),
        ("rows", P::Int8),
        ("dead_letters", P::Int8),
        ("tombstones", P::Int8),
        ("skewed_rows", P::Int8),
        ("detail", P::Text),
        ("lost_records", P::Int8),
    ]
}

pub(super) fn job_columns() -> Vec<(&'static str, P)> {
    vec![("name", P::Text), ("kind", P::Text), ("state", P::Text), ("rows", P::Int8), ("total", P::Int8)]
}

fn name_of(database: &Database, id: u64) -> Option<String> {
    database.catalog().get(id).map(|d| d.display_name())
}

fn epochs(database: &Database) -> Result<Vec<Row>> {
    let epochs = database.engine.shared.status.epochs.read();
    let row = |e: &crate::engine::status::EpochRecord| {
        vec![int8(e.epoch as i64), timestamptz(Some(e.now)), int8(e.rows as i64), int8(e.latency_us as i64)]
    };
    Ok(epochs.iter().map(row).collect())
}

fn sources(database: &Database) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (id, state) in database.engine.shared.status.sources.read().iter() {
        let Some(name) = name_of(database, *id) else { continue };
        let (shown, detail) = match &state.reader {
            None => ("idle", None),
            Some(ReaderState::Running) => ("running", None),
            Some(ReaderState::Reconnecting(why)) => ("reconnecting", Some(why.clone())),
            Some(ReaderState::Failed(e)) => ("failed", Some(e.to_string())),
        };
        let mut splits: Vec<Option<u32>> = state.progress.splits.keys().copied().map(Some).collect();
        if splits.is_empty() {
            splits.push(None);
        }
        for split in splits {
            let progress = split.and_then(|s| state.progress.splits.get(&s));
            let (offset, skewed) = (progress.map(|p| p.offset), progress.map_or(0, |p| p.skewed_rows));
            let status = state.splits.iter().find(|s| Some(s.split) == split);
            let end = status.and_then(|s| s.end_offset);
            let lag = offset.zip(end).map(|(offset, end)| (end - offset).max(0));
            rows.push(vec![
                text(&name),
                ScalarValue::Int64(split.map(i64::from)),
                ScalarValue::Int64(offset),
                ScalarValue::Int64(end),
                ScalarValue::Int64(lag),
                text(shown),
                int8(progress.map_or(state.rows, |p| p.rows) as i64),
                int8(state.dead_letters as i64),
                int8(state.tombstones as i64),
                int8(skewed as i64),
                ScalarValue::Utf8(detail.clone()),
                int8(progress.map_or(0, |p| p.lost) as i64),
            ]);
        }
    }
    Ok(rows)
}

fn dead_letters(database: &Database) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (id, letters) in database.engine.shared.status.dead_letters.read().iter() {
        let Some(name) = name_of(database, *id) else { continue };
        rows.extend(letters.iter().map(|letter| {
            vec![
                text(&name),
                int8(letter.split.into()),
                int8(letter.offset),
                timestamptz(letter.timestamp),
                ScalarValue::Binary(letter.key.clone()),
                ScalarValue::Binary(letter.value.clone()),
                int8(letter.value_length as i64),
                text(letter.error.sqlstate()),
                text(letter.error.message()),
            ]
        }));
    }
    Ok(rows)
}

/// Views and sinks that are not live yet, and those that have failed.
pub(super) fn jobs(database: &Database) -> Result<Vec<Row>> {
    let catalog = database.catalog();
    let mut rows = Vec::new();
    for (id, state) in database.engine.shared.status.views.read().iter() {
        let Some(d) = catalog.get(*id) else { continue };
        let (shown, done, total) = match state {
            ViewState::Recovering => ("recovering", None, None),
            ViewState::Hydrating { rows, total } => ("hydrating", Some(*rows), *total),
            ViewState::Live => continue,
            ViewState::Behind { .. } => ("behind", None, None),
            ViewState::Failed(_) => ("failed", None, None),
        };
        let count = |n: Option<u64>| ScalarValue::Int64(n.map(|n| n as i64));
        rows.push(vec![text(d.display_name()), text(d.kind.noun()), text(shown), count(done), count(total)]);
    }
    Ok(rows)
}

fn views(database: &Database) -> Result<Vec<Row>> {
    let (catalog, engine) = (database.catalog(), &database.engine);
    let states = engine.shared.status.views.read();
    let row = |d: &Arc<crate::catalog::Definition>| {
        let (state, detail) = match states.get(&d.id) {
            None | Some(ViewState::Live) => ("live", None),
            Some(ViewState::Recovering) => ("recovering", None),
            Some(ViewState::Hydrating { rows, total }) => {
                let of = total.map_or(String::new(), |t| format!(" of {t}"));
                ("hydrating", Some(format!("{rows}{of} rows")))
            }
            Some(ViewState::Behind { epoch, .. }) => {
                ("behind", Some(format!("complete before epoch {}", epoch.0)))
            }
            Some(ViewState::Failed(e)) => ("failed", Some(e.to_string())),
        };
        let store = engine.shared.stores.read().get(&d.id).cloned();
        let epoch = engine.published().epoch;
        let sides = engine.shared.status.sides.read();
        let count = |of: fn(&LateRows) -> u64| {
            sides.get(&d.id).map_or(0, |s| s.late.iter().map(|l| of(l)).sum::<u64>())
        };
        vec![
            text(d.display_name()),
            text(state),
            ScalarValue::Int64(store.as_ref().map(|s| s.len_at(epoch) as i64)),
            ScalarValue::Int64(store.map(|s| s.bytes() as i64)),
            ScalarValue::Utf8(detail),
            int8(count(LateRows::count) as i64),
            int8(count(LateRows::null_time_count) as i64),
        ]
    };
    Ok(catalog.of_kind(Kind::MaterializedView).map(row).collect())
}

fn sinks(database: &Database) -> Result<Vec<Row>> {
    let blackholes = database.engine.shared.status.blackholes.read();
    let rows = blackholes.iter().filter_map(|(id, output)| {
        Some(vec![text(name_of(database, *id)?), int8(output.rows.load(Ordering::Relaxed) as i64)])
    });
    Ok(rows.collect())
}

fn late_rows(database: &Database) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let rows_max = database.config.late_rows_max;
    for (id, sides) in database.engine.shared.status.sides.read().iter() {
        let Some(name) = name_of(database, *id) else { continue };
        for late in sides.late.iter().flat_map(|l| l.newest(rows_max)) {
            let facts = late.facts;
            rows.push(vec![
                text(&name),
                timestamptz(facts.window_start),
                timestamptz(facts.window_end),
                timestamptz(Some(facts.watermark.0).filter(|w| *w != i64::MIN)),
                text(crate::engine::late::reason_text(facts.reason)),
                text(row_text(&late.row)?),
                int8(facts.epoch.0 as i64),
            ]);
        }
    }
    Ok(rows)
}

fn errors(database: &Database) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (id, sides) in database.engine.shared.status.sides.read().iter() {
        let Some(name) = name_of(database, *id) else { continue };
        for bad in sides.errors.iter().flat_map(|e| e.rows()) {
            rows.push(vec![
                text(&name),
                text(row_text(&bad.row)?),
                int8(bad.weight),
                text(bad.error.sqlstate()),
                text(bad.error.message()),
            ]);
        }
    }
    Ok(rows)
}

/// The first row of a batch in PostgreSQL's row notation, `(1,"a b",)`.
fn row_text(row: &RecordBatch) -> Result<String> {
    let options = TextOptions::default();
    let mut out = String::from("(");
    for (i, (column, field)) in row.columns().iter().zip(row.schema().fields()).enumerate() {
        if i > 0 {
            out.push(',');
        }
        let writer = ColumnWriter::new(column, field, &options)?;
        if writer.is_empty() || writer.is_null(0) {
            continue;
        }
        let mut value = Vec::new();
        writer.write_text(0, &mut value);
        let value = String::from_utf8_lossy(&value);
        let plain = !value.is_empty() && !value.contains([',', '(', ')', '"', '\\', ' ', '\n', '\t']);
        match plain {
            true => out.push_str(&value),
            false => {
                let quoted = value.replace('\\', "\\\\").replace('"', "\"\"");
                out.push_str(&format!("\"{quoted}\""));
            }
        }
    }
    out.push(')');
    Ok(out)
}
