//! CREATE SOURCE: columns, generated columns, watermark, connector, where reading starts.
//!
//! The connector is asked for its splits once, now; the offsets it answers with are stored,
//! so a source reads the same rows after every restart.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{Field, Schema};

use super::Session;
use super::ddl_watermark::watermark;
use super::options::with_options;
use super::results::command;
use crate::catalog::{Details, FormatDefinition, IncludeDefinition, Kind, OptionText, SourceDetails};
use crate::connectors::SourceConnector;
use crate::engine::definitions::{connect, delivered_columns};
use crate::error::{HwError, Result, sqlstate};
use crate::serving::pg::api::Outcome;
use crate::sql::ast::{ColumnSpec, Columns, CreateSource, Encode, Format, FormatSpec, Include, IncludeKind};
use crate::sql::types::{pg_type, with_digits};
use crate::types::PgType;

/// Longest wait for a connector to tell its splits.
const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(10);

impl Session {
    pub(super) async fn create_source(&mut self, create: &CreateSource) -> Result<Outcome> {
        if create.or_replace {
            return Err(HwError::unsupported("CREATE OR REPLACE SOURCE", "Drop the source first."));
        }
        if self.exists(Kind::Source, &create.name, create.if_not_exists)? {
            return Ok(command("CREATE SOURCE"));
        }
        check_constraints(&create.columns)?;
        let mut details = SourceDetails {
            connector: connector_name(create)?,
            with: with_options(&create.with),
            watermark: None,
            includes: create.includes.iter().map(include_definition).collect(),
            format: create.format.as_ref().map(format_definition).transpose()?,
            generated: generated(&create.columns.columns),
            start_offsets: Default::default(),
        };
        let depends_on = self.secrets_of(&create.with)?;
        let mut columns = fields(&create.columns.columns)?;
        columns.extend(create.includes.iter().map(include_field));
        let catalog = self.database.catalog();
        let bytes_max = self.database.config.max_record_bytes;
        let (delivered, includes) = delivered_columns(&columns, &details);
        let declared: Vec<Field> = (delivered.iter().map(|i| columns[*i].clone()))
            .filter(|f| !includes.iter().any(|(_, i)| i.name() == f.name()))
            .collect();
        let given = (!declared.is_empty()).then(|| Arc::new(Schema::new(declared)));
        let without_columns = given.is_none();
        let connected = connect(&details, given, &includes, &catalog, bytes_max)?;
        if without_columns {
            let own = connected.own_schema.as_ref().ok_or_else(|| {
                let text = format!("source \"{}\" has no columns", create.name.name);
                HwError::new(sqlstate::INVALID_TABLE_DEFINITION, text)
                    .with_hint("Declare the columns that the records have.")
            })?;
            let own: Vec<Field> = own.fields().iter().map(|f| f.as_ref().clone()).collect();
            columns.splice(0..0, own);
        }
        check_columns(&columns)?;
        details.watermark = watermark(&create.columns, &columns, &details)?;
        let persist = connected.persist.into_iter().map(|(k, v)| (k, OptionText::Text(v)));
        details.with.0.extend(persist);
        if let Some(connector) = connected.connector {
            details.start_offsets = self.discover(connector).await?;
        }
        let mut new = self.definition(&create.name, Details::Source(details))?;
        new.columns = columns;
        new.depends_on = depends_on;
        self.create(new).await?;
        Ok(command("CREATE SOURCE"))
    }

    async fn discover(
        &self,
        connector: Arc<dyn SourceConnector>,
    ) -> Result<std::collections::BTreeMap<u32, i64>> {
        let discovery = tokio::task::spawn_blocking(move || connector.discover());
        let ranges = self.limited(async {
            match tokio::time::timeout(DISCOVERY_TIMEOUT + Duration::from_secs(1), discovery).await {
                Ok(joined) => joined.map_err(|e| HwError::internal(e.to_string()))?,
                Err(_) => {
                    let text = "the source did not answer within ten seconds";
                    Err(HwError::new(sqlstate::CANNOT_CONNECT, text))
                }
            }
        });
        Ok(ranges.await?.into_iter().map(|r| (r.split, r.start_offset)).collect())
    }
}

fn connector_name(create: &CreateSource) -> Result<String> {
    create.with.get("connector").map(|o| o.value.as_text().to_lowercase()).ok_or_else(|| {
        HwError::new(sqlstate::INVALID_PARAMETER_VALUE, "option \"connector\" is missing")
            .with_hint("Valid connectors are: kafka, generator, feed.")
    })
}

/// Declared columns as fields.
pub(super) fn fields(columns: &[ColumnSpec]) -> Result<Vec<Field>> {
    let field = |c: &ColumnSpec| {
        let ty = pg_type(&c.data_type).map_err(|e| e.at(c.position))?;
        if matches!(ty, PgType::Unknown | PgType::Void | PgType::Record) {
            let text = format!("column \"{}\" has pseudo-type {}", c.name, ty.sql_name());
            return Err(HwError::new(sqlstate::INVALID_TABLE_DEFINITION, text).at(c.position));
        }
        let field = ty.field(&c.name, !c.not_null && !c.primary_key);
        Ok(with_digits(field, &c.data_type))
    };
    columns.iter().map(field).collect()
}

pub(super) fn generated(columns: &[ColumnSpec]) -> std::collections::BTreeMap<String, String> {
    columns.iter().filter_map(|c| Some((c.name.clone(), c.generated.as_ref()?.text.clone()))).collect()
}

/// 42701 if a name is there twice.
pub(super) fn check_columns(columns: &[Field]) -> Result<()> {
    for (i, column) in columns.iter().enumerate() {
        if columns[..i].iter().any(|c| c.name() == column.name()) {
            let text = format!("column \"{}\" specified more than once", column.name());
            return Err(HwError::new(sqlstate::DUPLICATE_COLUMN, text));
        }
    }
    Ok(())
}

fn check_constraints(columns: &Columns) -> Result<()> {
    if !columns.primary_key.is_empty() {
        return Err(HwError::unsupported(
            "PRIMARY KEY of a source in FORMAT PLAIN",
            "Leave it out: a plain source is a list of events. Keep the newest row of a key with a materialized view.",
        ));
    }
    if !columns.constraints.is_empty() || columns.columns.iter().any(|c| c.unique) {
        let hint = "Only NOT NULL is checked on sources.";
        return Err(HwError::unsupported("a constraint of a source", hint));
    }
    if let Some(column) = columns.columns.iter().find(|c| c.default.is_some()) {
        let hint = "Use a generated column: name type AS (expression).";
        return Err(HwError::unsupported("DEFAULT in a source", hint).at(column.position));
    }
    Ok(())
}

fn include_kind(kind: IncludeKind) -> (&'static str, PgType) {
    match kind {
        IncludeKind::Key => ("key", PgType::Bytea),
        IncludeKind::Partition => ("partition", PgType::Int4),
        IncludeKind::Offset => ("offset", PgType::Int8),
        IncludeKind::Timestamp => ("timestamp", PgType::Timestamptz),
        IncludeKind::Headers => ("headers", PgType::Jsonb),
    }
}

fn include_definition(include: &Include) -> IncludeDefinition {
    let (kind, _) = include_kind(include.kind);
    let column = include.alias.clone().unwrap_or_else(|| kind.to_string());
    IncludeDefinition { kind: kind.to_string(), column }
}

fn include_field(include: &Include) -> Field {
    let (kind, ty) = include_kind(include.kind);
    ty.field(include.alias.as_deref().unwrap_or(kind), true)
}

fn format_definition(spec: &FormatSpec) -> Result<FormatDefinition> {
    let hint = "Use FORMAT PLAIN ENCODE JSON.";
    let refused = |what: &str| Err(HwError::unsupported(what, hint).at(spec.position));
    match spec.format {
        Format::Plain => {}
        Format::Upsert => return refused("FORMAT UPSERT"),
        Format::Debezium => return refused("FORMAT DEBEZIUM"),
    }
    match spec.encode {
        Encode::Json => {}
        Encode::Csv => return refused("ENCODE CSV"),
        Encode::Avro => return refused("ENCODE AVRO"),
        Encode::Protobuf => return refused("ENCODE PROTOBUF"),
        Encode::Bytes => return refused("ENCODE BYTES"),
    }
    super::options::check_known(&spec.options, &[], "ENCODE JSON")?;
    Ok(FormatDefinition {
        format: "plain".into(),
        encode: "json".into(),
        options: with_options(&spec.options),
    })
}
