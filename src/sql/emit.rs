//! Binding of the emit clause: from what is written to what it means.
//!
//! In: an [`EmitClause`] of the syntax tree, or none. Out: an [`EmitSpec`] with every interval
//! in microseconds and everything implied filled in (EARLY or LATE implies ON TIME; ON TIME
//! with an allowed lateness and without LATE implies LATE AFTER 1 ROW; no ALLOWED LATENESS is
//! 0), and [`EmitWords`]: which parts were written, for the rules that need the plan
//! (`plan::emit_rules`). Errors: 22023 for an interval that does not fit, 42P16 for a clause
//! that contradicts itself; each says what to write instead.

use sqlparser::ast::{Expr, Value};

use super::ast::{self, EmitClause, ObjectName};
use crate::error::{HwError, Result, sqlstate};
use crate::plan::EmitWords;
use crate::types::trigger::{Accumulation, Closing, EmitPolicy, EmitSpec, OnTime, TriggerSpec};

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// A bound emit clause.
#[derive(Clone, Debug, PartialEq)]
pub struct BoundEmit {
    pub spec: EmitSpec,
    pub words: EmitWords,
    /// `LATE DATA TO t`.
    pub late_data_to: Option<ObjectName>,
}

/// Binds a clause; without one it is `EMIT CHANGES`.
pub fn bind_emit(clause: Option<&EmitClause>) -> Result<BoundEmit> {
    let Some(clause) = clause else { return Ok(BoundEmit::default()) };
    bind(clause).map_err(|e| if e.position().is_some() { e } else { e.at(clause.position) })
}

/// Binds the text of a stored clause.
pub fn bind_stored(text: Option<&str>) -> Result<BoundEmit> {
    let Some(text) = text else { return Ok(BoundEmit::default()) };
    let statements = super::parse_sql(&format!("CREATE MATERIALIZED VIEW v AS SELECT 1 {text}"))?;
    match statements.first().map(|s| &s.kind) {
        Some(super::StatementKind::CreateMaterializedView(v)) => bind_emit(v.emit.as_ref()),
        _ => Err(HwError::internal("a stored emit clause cannot be read")),
    }
}

impl Default for BoundEmit {
    fn default() -> Self {
        let spec = EmitSpec {
            policy: EmitPolicy::Changes,
            lateness_us: 0,
            closing: Closing::default(),
            accumulation: Accumulation::default(),
            with_pane_columns: false,
        };
        BoundEmit { spec, words: EmitWords::default(), late_data_to: None }
    }
}

fn bind(clause: &EmitClause) -> Result<BoundEmit> {
    let mut bound = BoundEmit { late_data_to: clause.late_data_to.clone(), ..BoundEmit::default() };
    let (spec, words) = (&mut bound.spec, &mut bound.words);
    words.position = Some(clause.position);
    words.late_data = clause.late_data_to.is_some();
    if let Some(lateness) = &clause.allowed_lateness {
        spec.lateness_us = interval_us(&lateness.expr, Least::Zero)?;
        words.lateness = true;
    }
    if let Some(closing) = clause.closing {
        words.closing = true;
        spec.closing = match closing {
            ast::Closing::IfNotEmpty => Closing::IfNotEmpty,
            ast::Closing::Always => Closing::Always,
        };
    }
    if let Some(mode) = clause.accumulation {
        words.accumulation = true;
        spec.accumulation = match mode {
            ast::Accumulation::Discarding => Accumulation::Discarding,
            ast::Accumulation::Accumulating => Accumulation::Accumulating,
            ast::Accumulation::AccumulatingAndRetracting => Accumulation::AccumulatingAndRetracting,
        };
    }
    spec.policy = match &clause.policy {
        None | Some(ast::EmitPolicy::Changes) => EmitPolicy::Changes,
        Some(ast::EmitPolicy::Final) => {
            words.at_close = true;
            EmitPolicy::Final
        }
        Some(ast::EmitPolicy::When(trigger)) => {
            let trigger = trigger_spec(trigger)?;
            check_reachable(&trigger)?;
            check_after_end(&trigger, spec.lateness_us)?;
            words.after_watermark = mentions_watermark(&trigger);
            EmitPolicy::When(trigger)
        }
        Some(ast::EmitPolicy::Phases { early, on_time, late }) => {
            let early = early.as_ref().map(trigger_spec).transpose()?;
            let late = late.as_ref().map(trigger_spec).transpose()?;
            words.on_time = on_time.is_some();
            words.late = late.is_some();
            check_phases(early.as_ref(), late.as_ref(), spec.lateness_us)?;
            phases(early, *on_time, late, spec.lateness_us)
        }
    };
    Ok(bound)
}

/// Fills in what EARLY, ON TIME and LATE imply.
fn phases(
    early: Option<TriggerSpec>,
    on_time: Option<ast::OnTime>,
    late: Option<TriggerSpec>,
    lateness_us: i64,
) -> EmitPolicy {
    let on_time = OnTime { if_not_empty: on_time.is_some_and(|o| o.if_not_empty) };
    let late = late.or_else(|| (lateness_us > 0).then_some(TriggerSpec::AfterRows(1)));
    EmitPolicy::Phases { early, on_time: Some(on_time), late }
}

fn trigger_spec(trigger: &ast::Trigger) -> Result<TriggerSpec> {
    let both = |a: &ast::Trigger, b: &ast::Trigger| -> Result<(Box<TriggerSpec>, Box<TriggerSpec>)> {
        Ok((Box::new(trigger_spec(a)?), Box::new(trigger_spec(b)?)))
    };
    Ok(match trigger {
        ast::Trigger::AfterRows(n) => TriggerSpec::AfterRows(*n),
        ast::Trigger::Every { interval, offset } => {
            let interval_us = interval_us(interval, Least::One)?;
            let offset = offset.as_ref().map(|o| self::interval_us(o, Least::Any)).transpose()?;
            TriggerSpec::Every { interval_us, offset_us: offset.unwrap_or(0).rem_euclid(interval_us) }
        }
        ast::Trigger::AfterDelay(delay) => {
            TriggerSpec::AfterDelay { delay_us: interval_us(delay, Least::Zero)? }
        }
        ast::Trigger::AfterWatermark => TriggerSpec::AfterWatermark,
        ast::Trigger::Or(a, b) => both(a, b).map(|(a, b)| TriggerSpec::Or(a, b))?,
        ast::Trigger::And(a, b) => both(a, b).map(|(a, b)| TriggerSpec::And(a, b))?,
        ast::Trigger::Then(a, b) => both(a, b).map(|(a, b)| TriggerSpec::Then(a, b))?,
        ast::Trigger::Until(a, b) => both(a, b).map(|(a, b)| TriggerSpec::Until(a, b))?,
        ast::Trigger::Repeatedly(a) => TriggerSpec::Repeatedly(Box::new(trigger_spec(a)?)),
    })
}

fn contradiction(message: impl Into<String>, detail: &str, hint: &str) -> HwError {
    HwError::new(sqlstate::INVALID_TABLE_DEFINITION, message).with_detail(detail).with_hint(hint)
}

/// EARLY ends, and LATE begins, where the watermark reaches the end of the window.
fn check_phases(early: Option<&TriggerSpec>, late: Option<&TriggerSpec>, lateness_us: i64) -> Result<()> {
    if let Some(early) = early {
        if needs_watermark(early) {
            return Err(contradiction(
                "the EARLY trigger can never fire",
                "It waits for AFTER WATERMARK, and EARLY ends when the watermark passes the end of the window.",
                "Write ON TIME for the pane at the end of the window, and for EARLY for example EVERY INTERVAL '1 minute'.",
            ));
        }
        check_reachable(early)?;
    }
    let Some(late) = late else { return Ok(()) };
    if mentions_watermark(late) {
        return Err(contradiction(
            "AFTER WATERMARK has no meaning in LATE",
            "LATE begins when the watermark has passed the end of the window.",
            "Write for example LATE AFTER 1 ROW.",
        ));
    }
    if lateness_us == 0 {
        return Err(contradiction(
            "the LATE trigger can never fire",
            "Without ALLOWED LATENESS a row that comes after the end of its window is refused.",
            "Add for example ALLOWED LATENESS INTERVAL '1 minute', or leave LATE out.",
        ));
    }
    check_reachable(late)
}

/// Refuses what stands after a trigger that never finishes.
fn check_reachable(trigger: &TriggerSpec) -> Result<()> {
    match trigger {
        TriggerSpec::Then(first, next) => {
            if !finishes(first) {
                return Err(contradiction(
                    "the trigger after THEN can never fire",
                    "REPEATEDLY before it never finishes.",
                    "Write REPEATEDLY (…) UNTIL …, which ends the repetition when the second trigger fires.",
                ));
            }
            check_reachable(first)?;
            check_reachable(next)
        }
        TriggerSpec::Or(a, b) | TriggerSpec::And(a, b) | TriggerSpec::Until(a, b) => {
            check_reachable(a)?;
            check_reachable(b)
        }
        TriggerSpec::Repeatedly(inner) => check_reachable(inner),
        _ => Ok(()),
    }
}

/// Refuses what waits for the end of a window that is closed by then.
fn check_after_end(trigger: &TriggerSpec, lateness_us: i64) -> Result<()> {
    match trigger {
        TriggerSpec::Then(first, next) => {
            if lateness_us == 0 && needs_watermark(first) {
                return Err(contradiction(
                    "the trigger after THEN can never fire",
                    "Without ALLOWED LATENESS a window is closed when the watermark reaches its end, for which the trigger before THEN waits.",
                    "Add for example ALLOWED LATENESS INTERVAL '1 minute', or leave THEN out.",
                ));
            }
            check_after_end(first, lateness_us)?;
            check_after_end(next, lateness_us)
        }
        TriggerSpec::Or(a, b) | TriggerSpec::And(a, b) | TriggerSpec::Until(a, b) => {
            check_after_end(a, lateness_us)?;
            check_after_end(b, lateness_us)
        }
        TriggerSpec::Repeatedly(inner) => check_after_end(inner, lateness_us),
        _ => Ok(()),
    }
}

/// Whether the trigger ever finishes. OR and AND do when they fire.
fn finishes(trigger: &TriggerSpec) -> bool {
    match trigger {
        TriggerSpec::Repeatedly(_) => false,
        TriggerSpec::Then(_, last) => finishes(last),
        TriggerSpec::Until(a, b) => finishes(a) || finishes(b),
        _ => true,
    }
}

/// Whether AFTER WATERMARK stands anywhere in it.
fn mentions_watermark(trigger: &TriggerSpec) -> bool {
    match trigger {
        TriggerSpec::AfterWatermark => true,
        TriggerSpec::Or(a, b)
        | TriggerSpec::And(a, b)
        | TriggerSpec::Then(a, b)
        | TriggerSpec::Until(a, b) => mentions_watermark(a) || mentions_watermark(b),
        TriggerSpec::Repeatedly(a) => mentions_watermark(a),
        _ => false,
    }
}

/// Whether it cannot fire before the watermark passes.
fn needs_watermark(trigger: &TriggerSpec) -> bool {
    match trigger {
        TriggerSpec::AfterWatermark => true,
        TriggerSpec::And(a, b) => needs_watermark(a) || needs_watermark(b),
        TriggerSpec::Or(a, b) | TriggerSpec::Until(a, b) => needs_watermark(a) && needs_watermark(b),
        TriggerSpec::Then(first, _) => needs_watermark(first),
        TriggerSpec::Repeatedly(a) => needs_watermark(a),
        _ => false,
    }
}

/// The least value an interval may have.
#[derive(Clone, Copy, PartialEq)]
enum Least {
    Any,
    Zero,
    One,
}

/// `INTERVAL '…' [field]` in microseconds.
fn interval_us(expr: &Expr, least: Least) -> Result<i64> {
    let wrong = |message: String| {
        HwError::new(sqlstate::INVALID_PARAMETER_VALUE, message)
            .with_hint("Write for example INTERVAL '1 minute'.")
    };
    let text = interval_text(expr).ok_or_else(|| wrong(format!("{expr} is not an interval literal")))?;
    let value = crate::types::text::parse_interval(text.as_bytes())?;
    if value.months != 0 {
        return Err(wrong(format!("{expr}: months and years differ in length and cannot time a trigger")));
    }
    let days_us = i64::from(value.days).saturating_mul(MICROS_PER_DAY);
    let us = days_us.saturating_add(value.nanoseconds / 1000);
    match least {
        Least::Zero if us < 0 => Err(wrong(format!("{expr} must not be negative"))),
        Least::One if us <= 0 => Err(wrong(format!("{expr} must be positive"))),
        _ => Ok(us),
    }
}

fn interval_text(expr: &Expr) -> Option<String> {
    let Expr::Interval(interval) = expr else { return None };
    if interval.last_field.is_some() || interval.leading_precision.is_some() {
        return None;
    }
    let Expr::Value(value) = interval.value.as_ref() else { return None };
    let number = match &value.value {
        Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => text.clone(),
        Value::Number(n, _) => n.to_string(),
        _ => return None,
    };
    Some(match &interval.leading_field {
        Some(field) => format!("{number} {field}"),
        None => number,
    })
}

#[cfg(test)]
mod tests;
