//! `TUMBLE` and `HOP` in FROM: a relation planner that makes [`WindowNode`]s.
//!
//! Used by views and ad-hoc queries alike, so the same words mean the same windows. Sizes are
//! intervals without months (a month has no fixed length). Errors: 22023 for a size or slide
//! that does not fit, 0A000 for the windows that are not there yet, by name.

use std::collections::HashMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::{DFSchema, ScalarValue, TableReference};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, LogicalPlanBuilder, TableSource};
use sqlparser::ast::{Expr as SqlExpr, Query, TableFactor, Visit, Visitor};

use super::parser::{WindowCall, WindowKind as Called, relation_name, window_call};
use crate::error::{HwError, Result, sqlstate};
use crate::plan::{WindowKind, WindowNode};

/// Relations named as arguments of window functions, by schema and name.
pub type WindowInputs = HashMap<(Option<String>, String), Arc<dyn TableSource>>;

/// Whether a name in FROM is that of a window function.
pub fn is_window_function(name: &str) -> bool {
    Called::of(name).is_some()
}

/// The relations that window functions of a query name as their input.
pub fn window_input_names(query: &Query) -> Vec<super::ast::ObjectName> {
    let mut collector = InputNames(Vec::new());
    let _ = query.visit(&mut collector);
    collector.0
}

struct InputNames(Vec<super::ast::ObjectName>);

impl InputNames {
    fn add(&mut self, factor: &TableFactor) {
        let Ok(Some(call)) = window_call(factor) else { return };
        match &call.input {
            TableFactor::Table { name, args: None, .. } => self.0.extend(relation_name(name)),
            inner => self.add(inner),
        }
    }
}

impl Visitor for InputNames {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        self.add(factor);
        ControlFlow::Continue(())
    }
}

/// Plans window table functions; leaves every other table factor alone.
pub struct WindowPlanner {
    inputs: WindowInputs,
}

impl WindowPlanner {
    pub fn new(inputs: WindowInputs) -> WindowPlanner {
        WindowPlanner { inputs }
    }

    /// The relation that a window function reads: of a WITH query, a sub-query, or one of
    /// the relations looked up before.
    fn input(
        &self,
        factor: &TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> datafusion::error::Result<LogicalPlan> {
        let planned = context.plan(factor.clone());
        let TableFactor::Table { name, args: None, alias, .. } = factor else { return planned };
        if planned.is_ok() {
            return planned;
        }
        let source = relation_name(name).and_then(|n| self.inputs.get(&(n.schema, n.name)).cloned());
        let Some(source) = source else { return planned };
        let reference = match alias {
            Some(alias) => TableReference::bare(context.normalize_ident(alias.name.clone())),
            None => context.object_name_to_table_reference(name.clone())?,
        };
        LogicalPlanBuilder::scan(reference, source, None)?.build()
    }

    fn plan_call(
        &self,
        call: WindowCall,
        context: &mut dyn RelationPlannerContext,
    ) -> datafusion::error::Result<LogicalPlan> {
        let kind = match call.kind {
            Called::Tumble => WindowKind::Tumble,
            Called::Hop => WindowKind::Hop,
            other => return Err(not_yet(other.name()).into()),
        };
        if call.named.contains_key("time_zone") {
            return Err(HwError::unsupported(
                "time_zone of a window",
                "Windows are aligned to UTC; use offset => INTERVAL '…' for a fixed offset.",
            )
            .into());
        }
        let input = self.input(&call.input, context)?;
        let time = context.sql_to_expr(call.time_column.clone(), &Arc::clone(input.schema()))?;
        let mut argument = |name: &str| match call.argument(name) {
            Some(e) => interval_us(e, context).map(Some),
            None => Ok(None),
        };
        let missing = |name: &str| {
            HwError::new(sqlstate::UNDEFINED_FUNCTION, format!("the {name} of the window is missing"))
        };
        let size_us = argument("size")?.ok_or_else(|| missing("size"))?;
        let slide_us = match kind {
            WindowKind::Tumble => size_us,
            WindowKind::Hop => argument("slide")?.ok_or_else(|| missing("slide"))?,
        };
        let offset_us = argument("offset")?.unwrap_or(0);
        check_sizes(kind, slide_us, size_us)?;
        let node = WindowNode::try_new(kind, input, time, slide_us, size_us, offset_us)?;
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }
}

impl fmt::Debug for WindowPlanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WindowPlanner")
    }
}

impl RelationPlanner for WindowPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> datafusion::error::Result<RelationPlanning> {
        let Some(call) = window_call(&relation)? else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let alias = call.alias.clone();
        let plan = self.plan_call(call, context)?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}

fn check_sizes(kind: WindowKind, slide_us: i64, size_us: i64) -> Result<()> {
    let wrong = |m: &str, hint: &str| Err(HwError::new(sqlstate::INVALID_PARAMETER_VALUE, m).with_hint(hint));
    if size_us <= 0 || slide_us <= 0 {
        return wrong("the size of a window must be positive", "Write for example INTERVAL '10 seconds'.");
    }
    if kind == WindowKind::Hop && slide_us > size_us {
        return wrong(
            "the slide of HOP is larger than its size",
            "HOP(table, time, slide, size): the slide comes first and must not exceed the size, or rows would fall between windows.",
        );
    }
    Ok(())
}

fn not_yet(name: &str) -> HwError {
    HwError::unsupported(format!("{name} windows"), "Use TUMBLE or HOP.")
}

/// An interval literal in microseconds.
fn interval_us(e: &SqlExpr, context: &mut dyn RelationPlannerContext) -> datafusion::error::Result<i64> {
    let planned = context.sql_to_expr(e.clone(), &DFSchema::empty())?;
    let wrong = |m: String| -> DataFusionError {
        HwError::new(sqlstate::INVALID_PARAMETER_VALUE, m)
            .with_hint("Write for example INTERVAL '10 seconds'.")
            .into()
    };
    let value = match constant(&planned) {
        Some(ScalarValue::IntervalMonthDayNano(Some(v))) => *v,
        Some(ScalarValue::Utf8(Some(text))) => crate::types::text::parse_interval(text.as_bytes())
            .map_err(|_| wrong(format!("{e} is not an interval")))?,
        _ => return Err(wrong(format!("{e} is not an interval literal"))),
    };
    if value.months != 0 {
        return Err(wrong(format!(
            "{e}: a window cannot be sized in months or years, which differ in length"
        )));
    }
    Ok(value.days as i64 * 86_400_000_000 + value.nanoseconds / 1000)
}

fn constant(e: &Expr) -> Option<&ScalarValue> {
    match e {
        Expr::Literal(v, _) => Some(v),
        Expr::Alias(a) => constant(&a.expr),
        Expr::Cast(c) => constant(&c.expr),
        _ => None,
    }
}
