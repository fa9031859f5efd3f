//! Deterministic time: ADVANCE CLOCK, ADVANCE WATERMARK and STEP.
//!
//! They exist on servers that were started with a manual clock; elsewhere they are 55000.

use datafusion::common::ScalarValue;
use sqlparser::ast::Expr;

use super::Session;
use super::results::command;
use crate::catalog::{Details, Kind};
use crate::error::{HwError, Result, sqlstate};
use crate::serving::pg::api::Outcome;
use crate::sql::ast::{AdvanceClock, ObjectName};
use crate::types::{PgType, ProcTime};

const MICROS_PER_DAY: i64 = 86_400_000_000;

impl Session {
    fn require_manual(&self, what: &str) -> Result<()> {
        if self.is_manual() {
            return Ok(());
        }
        let text = format!("{what} needs a server with a manual clock");
        Err(HwError::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, text)
            .with_hint("Start the server with --manual-clock."))
    }

    pub(super) async fn advance_clock(&mut self, advance: &AdvanceClock) -> Result<Outcome> {
        self.require_manual("ADVANCE CLOCK")?;
        let clock = std::sync::Arc::clone(&self.database.engine.shared.clock);
        let to = match advance {
            AdvanceClock::To(expr) => self.timestamp(expr).await?,
            AdvanceClock::By(expr) => {
                let interval = match self.constant(expr, &PgType::Interval).await? {
                    ScalarValue::IntervalMonthDayNano(Some(interval)) => interval,
                    _ => return Err(null_time()),
                };
                if interval.months != 0 {
                    let hint = "Write the interval in days or smaller units.";
                    return Err(HwError::unsupported("ADVANCE CLOCK by months", hint));
                }
                let by = i64::from(interval.days) * MICROS_PER_DAY + interval.nanoseconds / 1000;
                clock.now().0.saturating_add(by)
            }
        };
        clock.advance_to(ProcTime(to)).map_err(|now| {
            let mut shown = Vec::new();
            crate::types::text::write_timestamp(now.0, Some(&self.settings.zone()), &mut shown);
            HwError::new(sqlstate::INVALID_PARAMETER_VALUE, "the clock cannot go back")
                .with_detail(format!("It shows {}.", String::from_utf8_lossy(&shown)))
        })?;
        Ok(command("ADVANCE CLOCK"))
    }

    pub(super) async fn advance_watermark(&mut self, source: &ObjectName, to: &Expr) -> Result<Outcome> {
        self.require_manual("ADVANCE WATERMARK")?;
        let definition = self.resolve_kind(Kind::Source, source)?;
        let by_source = matches!(&definition.details,
            Details::Source(s) if s.watermark.as_ref().is_some_and(|w| w.is_by_source()));
        if !by_source {
            let text = format!("source \"{}\" does not take its watermark from the source", definition.name);
            return Err(HwError::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, text)
                .with_hint("Declare the source with WATERMARK FOR column AS SOURCE_WATERMARK().")
                .at(source.position));
        }
        if matches!(&definition.details, Details::Source(s) if s.connector != "feed") {
            let text = format!("source \"{}\" is told its watermark by its connector", definition.name);
            return Err(HwError::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, text)
                .with_hint("ADVANCE WATERMARK is for sources WITH (connector = 'feed').")
                .at(source.position));
        }
        let to = self.timestamp(to).await?;
        self.database.engine.advance_watermark(definition.id, to).await?;
        Ok(command("ADVANCE WATERMARK"))
    }

    pub(super) async fn step(&mut self) -> Result<Outcome> {
        self.require_manual("STEP")?;
        self.outside_block("STEP").await?;
        self.database.engine.step().await?;
        Ok(command("STEP"))
    }

    async fn timestamp(&mut self, expr: &Expr) -> Result<i64> {
        match self.constant(expr, &PgType::Timestamptz).await? {
            ScalarValue::TimestampMicrosecond(Some(micros), _) => Ok(micros),
            _ => Err(null_time()),
        }
    }
}

fn null_time() -> HwError {
    HwError::new(sqlstate::INVALID_PARAMETER_VALUE, "the time must not be null")
}
