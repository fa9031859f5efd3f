//! The WATERMARK clause of CREATE SOURCE, checked against columns, connector and options.

use arrow::datatypes::{DataType, Field};

use crate::catalog::{SourceDetails, WatermarkDefinition};
use crate::error::{HwError, Result, sqlstate};
use crate::sql::ast::{Columns, WatermarkStrategy};
use crate::types::PgType;

/// Options that mean something only if the source tells its watermark.
const SAID_BY_SOURCE: [&str; 2] = ["watermark.header", "watermark.control"];
/// Options that mean something only if there is a watermark.
const NEED_WATERMARK: [&str; 4] = [
    "scan.watermark.idle-timeout",
    "scan.watermark.alignment.group",
    "scan.watermark.alignment.max-drift",
    "watermark.max_future_skew",
];

/// The clause as it is stored. `columns`: all columns of the source.
///
/// Errors: 42703 and 42804 for the column, 22023 for options that do not fit the clause,
/// 0A000 for SOURCE_WATERMARK() of something that the connector knows nothing of.
pub(super) fn watermark(
    declared: &Columns,
    columns: &[Field],
    details: &SourceDetails,
) -> Result<Option<WatermarkDefinition>> {
    let Some(spec) = &declared.watermark else {
        let needless =
            NEED_WATERMARK.iter().chain(&SAID_BY_SOURCE).find(|o| details.with.0.contains_key(**o));
        return match needless {
            None => Ok(None),
            Some(option) => Err(HwError::new(
                sqlstate::INVALID_PARAMETER_VALUE,
                format!("option \"{option}\" needs a watermark"),
            )
            .with_hint("Declare WATERMARK FOR column AS column - INTERVAL '5 seconds' among the columns.")),
        };
    };
    let Some(column) = columns.iter().find(|c| *c.name() == spec.column) else {
        let text = format!("column \"{}\" named in WATERMARK does not exist", spec.column);
        return Err(HwError::new(sqlstate::UNDEFINED_COLUMN, text).at(spec.position));
    };
    if !matches!(column.data_type(), DataType::Timestamp(..)) {
        let shown = PgType::of(column).sql_name();
        let text = format!("column \"{}\" of WATERMARK is of type {shown}", spec.column);
        return Err(HwError::new(sqlstate::DATATYPE_MISMATCH, text)
            .with_hint("Event time is a timestamp with or without time zone.")
            .at(spec.position));
    }
    let by_source = spec.strategy == WatermarkStrategy::SourceWatermark;
    check_said_by_source(details, by_source, &spec.column).map_err(|e| e.at(spec.position))?;
    let (expression, percentile) = match &spec.strategy {
        WatermarkStrategy::Expr(text) => (Some(text.text.clone()), None),
        WatermarkStrategy::SourceWatermark => (None, None),
        WatermarkStrategy::Percentile(quantile) => (None, Some(*quantile)),
    };
    Ok(Some(WatermarkDefinition { column: spec.column.clone(), expression, percentile }))
}

/// Whether the source can say what it is asked to say, and is asked what it says.
fn check_said_by_source(details: &SourceDetails, by_source: bool, column: &str) -> Result<()> {
    let invalid = |text: String| HwError::new(sqlstate::INVALID_PARAMETER_VALUE, text);
    let given = SAID_BY_SOURCE.iter().find(|option| details.with.0.contains_key(**option));
    match (by_source, given) {
        (false, Some(option)) => {
            Err(invalid(format!("option \"{option}\" needs WATERMARK FOR {column} AS SOURCE_WATERMARK()"))
                .with_hint("With another strategy the watermark comes from the rows; leave the option out."))
        }
        (true, None) if details.connector == "kafka" => Err(HwError::unsupported(
            "SOURCE_WATERMARK() of a Kafka source that does not say where the watermark is",
            "Name the record header (watermark.header = '…') or the field of control records (watermark.control = '…'), or write WATERMARK FOR column AS column - INTERVAL '5 seconds'.",
        )),
        (true, _) if details.connector == "generator" && details.generated.contains_key(column) => {
            Err(HwError::unsupported(
                "SOURCE_WATERMARK() for a generated column",
                "The generator knows its own columns only; write WATERMARK FOR column AS an expression.",
            ))
        }
        _ => Ok(()),
    }
}
