//! From definitions in the catalog to things that run: sources, tables.
//!
//! A definition holds SQL texts; here they are parsed and compiled again, at CREATE and at
//! every start alike, so that what runs is always made from what is stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::execution::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;
use sqlparser::ast::Query;

use super::relations::TableSpec;
use super::sharing::Sharing;
use super::source::{Alignment, SourceSpec, WatermarkRule, WatermarkStrategy};
use crate::catalog::{
    Catalog, Definition, Details, Kind, OptionText, QualifiedName, SourceDetails, WatermarkDefinition,
    WithOptions,
};
use crate::connectors::generator::{GeneratorConnector, GeneratorOptions};
use crate::connectors::kafka::{KafkaConnector, KafkaMetadata, KafkaOptions};
use crate::connectors::{SourceConnector, SplitRange};
use crate::error::{HwError, Result, sqlstate};
use crate::formats::json::{JsonDecoder, JsonLimits};
use crate::sql::StatementKind;
use crate::sql::context::{analyze_expr, physical_expr};
use crate::sql::errors::to_hw_error;

/// Options of the engine itself, taken out before a connector reads the rest.
const ENGINE_OPTIONS: [&str; 7] = [
    "connector",
    "connection",
    "scan.watermark.idle-timeout",
    "scan.watermark.alignment.group",
    "scan.watermark.alignment.max-drift",
    "watermark.max_future_skew",
    "source_rate_limit",
];
/// A Kafka split that is caught up and silent for so long does not hold the watermark back.
const KAFKA_IDLE_TIMEOUT_US: i64 = 30_000_000;
/// Kafka rows further ahead of the clock than this do not move the watermark.
const KAFKA_FUTURE_SKEW_US: i64 = 300_000_000;

/// Parses a stored query.
pub fn parse_query(text: &str) -> Result<Query> {
    let mut statements = crate::sql::parse_sql(text)?;
    match (statements.pop(), statements.is_empty()) {
        (Some(statement), true) => match statement.kind {
            StatementKind::Query(query) => Ok(*query),
            _ => Err(HwError::internal("a stored definition is not a query")),
        },
        _ => Err(HwError::internal("a stored definition is not one query")),
    }
}

/// A connector and what the engine must know besides.
pub struct Connected {
    pub connector: Option<Arc<dyn SourceConnector>>,
    /// The connector's own columns, when none are declared.
    pub own_schema: Option<SchemaRef>,
    /// What must be stored so that the source stays what it is.
    pub persist: BTreeMap<String, String>,
    pub has_backlog: bool,
    pub idle_timeout_us: Option<i64>,
    pub future_skew_us: Option<i64>,
    pub rate_limit: Option<u64>,
    pub alignment: Option<Alignment>,
}

/// Makes the connector of a source. `declared`: the columns it delivers, if any are declared.
///
/// Errors: 22023 for an unknown connector or option, with the valid ones.
pub fn connect(
    details: &SourceDetails,
    declared: Option<SchemaRef>,
    includes: &[(String, Field)],
    catalog: &Catalog,
    max_record_bytes: usize,
) -> Result<Connected> {
    let with = resolve_options(&details.with, catalog)?;
    let mut own: BTreeMap<String, String> = with.clone();
    own.retain(|k, _| !ENGINE_OPTIONS.contains(&k.as_str()));
    let kafka = details.connector == "kafka";
    let duration = |key: &str| with.get(key).map(|v| duration_us(key, v)).transpose();
    let mut connected = Connected {
        connector: None,
        own_schema: None,
        persist: BTreeMap::new(),
        has_backlog: kafka,
        idle_timeout_us: duration("scan.watermark.idle-timeout")?.or(kafka.then_some(KAFKA_IDLE_TIMEOUT_US)),
        future_skew_us: duration("watermark.max_future_skew")?.or(kafka.then_some(KAFKA_FUTURE_SKEW_US)),
        rate_limit: with.get("source_rate_limit").map(|v| rate_limit(v)).transpose()?,
        alignment: alignment(&with)?,
    };
    match details.connector.as_str() {
        "feed" => {
            if let Some(unknown) = own.keys().next() {
                return Err(invalid_option(unknown, "feed", &ENGINE_OPTIONS));
            }
        }
        "generator" => {
            let options = GeneratorOptions::from_with(&own, declared)?;
            options.persist(&mut connected.persist);
            connected.own_schema = Some(options.schema());
            let marks = details.watermark.as_ref().is_some_and(|w| w.is_by_source());
            connected.connector = Some(Arc::new(GeneratorConnector::new(options).with_marks(marks)));
        }
        "kafka" => {
            own.entry("max_record_bytes".into()).or_insert_with(|| max_record_bytes.to_string());
            let mut options = KafkaOptions::from_with(&own)?;
            options.include = includes
                .iter()
                .map(|(kind, field)| Ok((metadata_kind(kind)?, Arc::new(field.clone()))))
                .collect::<Result<_>>()?;
            let limits = JsonLimits { record_bytes_max: options.record_bytes_max, ..JsonLimits::default() };
            options.decoder = JsonDecoder::factory(limits);
            connected.connector = Some(Arc::new(KafkaConnector::new(options)));
        }
        other => {
            return Err(HwError::new(
                sqlstate::INVALID_PARAMETER_VALUE,
                format!("unrecognized connector \"{other}\""),
            )
            .with_hint("Valid connectors are: kafka, generator, feed."));
        }
    }
    Ok(connected)
}

fn metadata_kind(kind: &str) -> Result<KafkaMetadata> {
    Ok(match kind {
        "key" => KafkaMetadata::Key,
        "partition" => KafkaMetadata::Partition,
        "offset" => KafkaMetadata::Offset,
        "timestamp" => KafkaMetadata::Timestamp,
        "headers" => KafkaMetadata::Headers,
        other => return Err(HwError::internal(format!("unknown metadata column {other}"))),
    })
}

fn invalid_option(name: &str, connector: &str, valid: &[&str]) -> HwError {
    HwError::new(
        sqlstate::INVALID_PARAMETER_VALUE,
        format!("unrecognized option \"{name}\" of connector \"{connector}\""),
    )
    .with_hint(format!("Valid options are: {}.", valid.join(", ")))
}

/// What the options of a materialized view say of its plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ViewOptions {
    pub retention_us: Option<i64>,
    pub state_ttl_us: Option<i64>,
    pub sharing: Sharing,
}

impl ViewOptions {
    /// Errors: 22023 for what is not a duration.
    pub fn of(with: &WithOptions) -> Result<ViewOptions> {
        let duration = |key: &str| with.text(key).map(|text| duration_us(key, text)).transpose();
        let state_ttl_us = duration("state_ttl")?;
        if state_ttl_us == Some(0) {
            let message = "invalid value for option \"state_ttl\": it must be more than nothing";
            return Err(HwError::new(sqlstate::INVALID_PARAMETER_VALUE, message)
                .with_hint("Write a duration such as '1 hour', or leave the option out."));
        }
        Ok(ViewOptions { retention_us: duration("retention")?, state_ttl_us, sharing: Sharing::Nobody })
    }

    pub fn sharing(self, sharing: Sharing) -> ViewOptions {
        ViewOptions { sharing, ..self }
    }

    /// Whether rows or state go by the clock or the watermark.
    pub fn bounds_state(&self) -> bool {
        self.retention_us.is_some() || self.state_ttl_us.is_some()
    }
}

/// A duration option in microseconds. 22023 if it is none.
pub fn duration_us(key: &str, text: &str) -> Result<i64> {
    let parsed = crate::types::text::parse_interval(text.as_bytes()).ok().filter(|i| i.months == 0);
    let us = parsed.map(|i| i.days as i64 * 86_400_000_000 + i.nanoseconds / 1000).filter(|us| *us >= 0);
    us.ok_or_else(|| {
        HwError::new(
            sqlstate::INVALID_PARAMETER_VALUE,
            format!("invalid value for option \"{key}\": \"{text}\""),
        )
        .with_hint("Write a duration such as '30s' or '5 minutes'.")
    })
}

/// Both options of an alignment group, or neither.
fn alignment(with: &BTreeMap<String, String>) -> Result<Option<Alignment>> {
    let [group, drift] = ["scan.watermark.alignment.group", "scan.watermark.alignment.max-drift"];
    let missing = |option: &str, given: &str| {
        HwError::new(sqlstate::INVALID_PARAMETER_VALUE, format!("option \"{option}\" is missing"))
            .with_hint(format!("Option \"{given}\" needs it: sources of a group wait when they are further ahead of the slowest than max-drift."))
    };
    match (with.get(group), with.get(drift)) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(missing(drift, group)),
        (None, Some(_)) => Err(missing(group, drift)),
        (Some(name), Some(text)) => {
            Ok(Some(Alignment { group: name.clone(), max_drift_us: duration_us(drift, text)? }))
        }
    }
}

fn rate_limit(text: &str) -> Result<u64> {
    text.trim().parse().ok().filter(|n| *n > 0).ok_or_else(|| {
        HwError::new(
            sqlstate::INVALID_PARAMETER_VALUE,
            format!("invalid value for option \"source_rate_limit\": \"{text}\""),
        )
        .with_hint("Write the number of rows per second.")
    })
}

/// Options as text, with the connection's options below them and secrets looked up.
pub fn resolve_options(with: &WithOptions, catalog: &Catalog) -> Result<BTreeMap<String, String>> {
    let mut resolved = BTreeMap::new();
    if let Some(name) = with.text("connection") {
        let path = [crate::catalog::DEFAULT_SCHEMA.to_string()];
        let definition = catalog.resolve_kind(Kind::Connection, &QualifiedName::new(None, name), &path)?;
        if let Details::Connection(connection) = &definition.details {
            for (key, value) in &connection.with.0 {
                if key != "type" {
                    resolved.insert(key.clone(), option_text(value, catalog)?);
                }
            }
        }
    }
    for (key, value) in &with.0 {
        resolved.insert(key.clone(), option_text(value, catalog)?);
    }
    Ok(resolved)
}

fn option_text(value: &OptionText, catalog: &Catalog) -> Result<String> {
    match value {
        OptionText::Text(text) => Ok(text.clone()),
        OptionText::Secret(name) => {
            let path = [crate::catalog::DEFAULT_SCHEMA.to_string()];
            let definition = catalog.resolve_kind(Kind::Secret, &QualifiedName::new(None, name), &path)?;
            match &definition.details {
                Details::Secret(secret) => Ok(secret.value.0.clone()),
                _ => Err(HwError::internal("a secret has no value")),
            }
        }
    }
}

/// The columns of a definition that a connector delivers, and the metadata columns.
pub fn delivered_columns(columns: &[Field], details: &SourceDetails) -> (Vec<usize>, Vec<(String, Field)>) {
    let delivered =
        (0..columns.len()).filter(|i| !details.generated.contains_key(columns[*i].name())).collect();
    let includes = (details.includes.iter())
        .filter_map(|i| Some((i.kind.clone(), columns.iter().find(|c| *c.name() == i.column)?.clone())))
        .collect();
    (delivered, includes)
}

/// Makes the running form of a source.
pub fn source_spec(
    definition: &Definition,
    catalog: &Catalog,
    state: &SessionState,
    max_record_bytes: usize,
) -> Result<SourceSpec> {
    let Details::Source(details) = &definition.details else {
        return Err(HwError::internal(format!("{} is not a source", definition.name)));
    };
    let nullable: Vec<Field> = definition.columns.iter().map(|f| f.clone().with_nullable(true)).collect();
    let schema = Arc::new(Schema::new(nullable));
    let (delivered, includes) = delivered_columns(&definition.columns, details);
    let declared: Vec<Field> = (delivered.iter())
        .map(|i| definition.columns[*i].clone())
        .filter(|f| !includes.iter().any(|(_, i)| i.name() == f.name()))
        .collect();
    let connected =
        connect(details, Some(Arc::new(Schema::new(declared))), &includes, catalog, max_record_bytes)?;
    let mut always_needed = Vec::new();
    let mut generated = Vec::new();
    for (name, text) in &details.generated {
        let column = schema.index_of(name)?;
        let target = schema.field(column).data_type().clone();
        if is_proctime(text) {
            continue;
        }
        generated.push((column, compile(text, &schema, Some(&target), state, &mut always_needed)?));
    }
    let watermark = (details.watermark.as_ref())
        .map(|w| watermark_rule(w, &schema, state, &mut always_needed))
        .transpose()?;
    let not_null = delivered.iter().copied().filter(|i| !definition.columns[*i].is_nullable()).collect();
    let start = match &connected.connector {
        None => vec![SplitRange { split: 0, start_offset: 0, end_offset: None }],
        Some(_) => (details.start_offsets.iter())
            .map(|(split, offset)| SplitRange { split: *split, start_offset: *offset, end_offset: None })
            .collect(),
    };
    Ok(SourceSpec {
        id: definition.id,
        name: definition.name.clone(),
        schema,
        delivered,
        generated,
        always_needed,
        watermark,
        not_null,
        connector: connected.connector,
        start,
        has_backlog: connected.has_backlog,
        idle_timeout_us: connected.idle_timeout_us,
        future_skew_us: connected.future_skew_us,
        rate_limit: connected.rate_limit,
        alignment: connected.alignment,
    })
}

fn watermark_rule(
    definition: &WatermarkDefinition,
    schema: &SchemaRef,
    state: &SessionState,
    reads: &mut Vec<usize>,
) -> Result<WatermarkRule> {
    let column = schema.index_of(&definition.column)?;
    reads.push(column);
    let target = schema.field(column).data_type().clone();
    let strategy = match (&definition.expression, definition.percentile) {
        (Some(text), _) => WatermarkStrategy::Expr(compile(text, schema, Some(&target), state, reads)?),
        (None, Some(quantile)) => WatermarkStrategy::Percentile(quantile),
        (None, None) => WatermarkStrategy::Source,
    };
    Ok(WatermarkRule { column, strategy })
}

/// Whether a generated column is the processing-time marker.
pub fn is_proctime(text: &str) -> bool {
    let bare: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    bare.eq_ignore_ascii_case("proctime()") || bare.eq_ignore_ascii_case("(proctime())")
}

/// Compiles a scalar expression over a relation's own columns; adds the columns it reads to
/// `reads`.
pub fn compile(
    text: &str,
    schema: &SchemaRef,
    target: Option<&DataType>,
    state: &SessionState,
    reads: &mut Vec<usize>,
) -> Result<Arc<dyn PhysicalExpr>> {
    let (expr, df_schema) = logical(text, schema, state)?;
    if let Some(function) = crate::sql::context::find_volatile(&expr) {
        return Err(HwError::unsupported(
            format!("{function}() in a stored expression"),
            "Use only columns of the row and functions whose value they determine.",
        ));
    }
    for column in expr.column_refs() {
        reads.extend(df_schema.maybe_index_of_column(column));
    }
    let expr = match target {
        Some(target) => {
            use datafusion::logical_expr::ExprSchemable;
            let cast = expr.cast_to(target, &df_schema);
            let cast = cast.and_then(|e| crate::sql::rules::casts::rewrite(e, &df_schema));
            cast.map_err(|e| to_hw_error(e, None))?
        }
        None => expr,
    };
    physical_expr(&expr, &df_schema, state)
}

/// Plans a scalar expression over a relation's own columns.
pub fn logical(text: &str, schema: &SchemaRef, state: &SessionState) -> Result<(Expr, DFSchema)> {
    let parsed = crate::sql::parser::parse_expression(text)?;
    let df_schema = DFSchema::try_from(schema.as_ref().clone()).map_err(|e| to_hw_error(e, None))?;
    let with_alias = sqlparser::ast::ExprWithAlias { expr: parsed, alias: None };
    let expr = state
        .create_logical_expr_from_sql_expr(with_alias, &df_schema)
        .map_err(|e| to_hw_error(e, Some(text)))?;
    let expr = analyze_expr(expr, &df_schema, state)?;
    Ok((expr, df_schema))
}

/// Makes the running form of a table.
pub fn table_spec(definition: &Definition) -> TableSpec {
    let not_null = (0..definition.columns.len()).filter(|i| !definition.columns[*i].is_nullable()).collect();
    let nullable: Vec<Field> = definition.columns.iter().map(|f| f.clone().with_nullable(true)).collect();
    TableSpec {
        id: definition.id,
        name: definition.name.clone(),
        schema: Arc::new(Schema::new(nullable)),
        key: definition.primary_key.clone(),
        not_null,
    }
}
