//! Window table functions in FROM: a relation planner that makes [`WindowNode`]s.
//!
//! Used by views and ad-hoc queries alike, so the same words mean the same windows. Sizes are
//! intervals without months (a month has no fixed length). Columns of the input that are
//! called like those a window adds are hidden by them, so that windows can be windowed again.
//! Errors: 22023 for a size, slide or zone that does not fit, 42804 for a wrong type.

use std::collections::HashMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Column, DFSchema, ScalarValue, TableReference};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, LogicalPlanBuilder, TableSource};
use sqlparser::ast::{Expr as SqlExpr, Query, TableFactor, Visit, Visitor};

use super::parser::{WindowCall, WindowKind as Called, relation_name, window_call};
use crate::error::{HwError, sqlstate};
use crate::plan::{WINDOW_COLUMNS, WindowNode, Windowing};
use crate::types::text::Zone;
use crate::types::window::{Shape, Windows};

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
        call: &WindowCall,
        context: &mut dyn RelationPlannerContext,
    ) -> datafusion::error::Result<LogicalPlan> {
        let input = self.input(&call.input, context)?;
        let schema = Arc::clone(input.schema());
        let mut time = context.sql_to_expr(call.time_column.clone(), &schema)?;
        let windowing = windowing(call, context)?;
        check_zone(windowing, &time, &schema)?;
        let keys = match call.kind {
            Called::Windows => call.argument("end").into_iter().cloned().collect(),
            _ => call.partition_by.clone(),
        };
        let mut keys = keys
            .into_iter()
            .map(|key| context.sql_to_expr(key, &schema))
            .collect::<datafusion::error::Result<Vec<Expr>>>()?;
        if let Some(key) = keys.iter().find(|k| k.try_as_col().is_none()) {
            return Err(HwError::unsupported(
                format!("the expression {key} as a column of {}", call.kind.name()),
                "Name the expression as a column in a sub-query.",
            )
            .into());
        }
        let (input, kept) = shadow(input)?;
        for column in keys.iter_mut().chain([&mut time]) {
            if let Expr::Column(column) = column {
                *column = shadowed(column);
            }
        }
        let node = WindowNode::try_new(windowing, input, time, keys)?;
        let plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
        match kept {
            None => Ok(plan),
            Some(mut kept) => {
                kept.extend(WINDOW_COLUMNS.map(|name| Expr::Column(Column::new_unqualified(name))));
                LogicalPlanBuilder::from(plan).project(kept)?.build()
            }
        }
    }
}

/// Before the name of a hidden column of the input.
const HIDDEN: &str = "input.";

/// `input` with columns called like those of a window under other names, and the columns
/// that stay visible; `None` if there are no such columns.
fn shadow(input: LogicalPlan) -> datafusion::error::Result<(LogicalPlan, Option<Vec<Expr>>)> {
    let columns = input.schema().columns();
    let hides = |c: &Column| WINDOW_COLUMNS.contains(&c.name.as_str());
    if !columns.iter().any(hides) {
        return Ok((input, None));
    }
    let renamed = columns.iter().map(|c| match hides(c) {
        true => Expr::Column(c.clone()).alias_qualified(c.relation.clone(), shadowed(c).name),
        false => Expr::Column(c.clone()),
    });
    let input = LogicalPlanBuilder::from(input).project(renamed.collect::<Vec<_>>())?.build()?;
    Ok((input, Some(columns.into_iter().filter(|c| !hides(c)).map(Expr::Column).collect())))
}

/// The name under which a window finds a column of its input.
fn shadowed(column: &Column) -> Column {
    match WINDOW_COLUMNS.contains(&column.name.as_str()) {
        true => Column::new(column.relation.clone(), format!("{HIDDEN}{}", column.name)),
        false => column.clone(),
    }
}

/// The sizes of a call.
fn windowing(
    call: &WindowCall,
    context: &mut dyn RelationPlannerContext,
) -> datafusion::error::Result<Windowing> {
    let mut argument = |name: &str| match call.argument(name) {
        Some(e) => interval_us(e, context).map(Some),
        None => Ok(None),
    };
    let mut needed = |name: &str| match argument(name)? {
        Some(value) => Ok(value),
        None => {
            let message = format!("the {name} of the window is missing");
            Err(DataFusionError::from(HwError::new(sqlstate::UNDEFINED_FUNCTION, message)))
        }
    };
    let (shape, slide_us) = match call.kind {
        Called::Windows => return Ok(Windowing::Columns),
        Called::Session => {
            let gap_us = needed("gap")?;
            if gap_us <= 0 {
                let message = "the gap of a session must be positive";
                return Err(HwError::new(sqlstate::INVALID_PARAMETER_VALUE, message)
                    .with_hint("Write for example INTERVAL '10 seconds'.")
                    .into());
            }
            return Ok(Windowing::Session { gap_us });
        }
        Called::Tumble => (Shape::Tumble, needed("size")?),
        Called::Hop => (Shape::Hop, needed("slide")?),
        Called::Cumulate => (Shape::Cumulate, needed("step")?),
    };
    let size_us = needed("size")?;
    let offset_us = argument("offset")?.unwrap_or(0);
    let zone = match call.named.get("time_zone") {
        Some(e) => zone(e, context)?,
        None => Zone::Utc,
    };
    // Windows that slide by their size are tumbling windows.
    let shape = if shape == Shape::Hop && slide_us == size_us { Shape::Tumble } else { shape };
    Ok(Windowing::Fixed(Windows::of(shape, slide_us, size_us, offset_us, zone)?))
}

/// A zone's name.
fn zone(e: &SqlExpr, context: &mut dyn RelationPlannerContext) -> datafusion::error::Result<Zone> {
    let planned = context.sql_to_expr(e.clone(), &DFSchema::empty())?;
    let wrong = |message: String| {
        let hint =
            "Write the name of a zone, for example 'Europe/Berlin' or 'UTC'; pg_timezone_names lists them.";
        DataFusionError::from(HwError::new(sqlstate::INVALID_PARAMETER_VALUE, message).with_hint(hint))
    };
    match constant(&planned) {
        Some(ScalarValue::Utf8(Some(name)) | ScalarValue::Utf8View(Some(name))) => {
            Zone::from_name(name).ok_or_else(|| wrong(format!("time zone \"{name}\" not recognized")))
        }
        _ => Err(wrong(format!("the time_zone of a window must be a text literal, not {e}"))),
    }
}

/// A zone aligns points in time; a timestamp without zone is none.
fn check_zone(windowing: Windowing, time: &Expr, input: &DFSchema) -> datafusion::error::Result<()> {
    use datafusion::logical_expr::ExprSchemable;
    let Windowing::Fixed(windows) = windowing else { return Ok(()) };
    let DataType::Timestamp(_, None) = time.get_type(input)? else { return Ok(()) };
    match windows.zone() {
        None => Ok(()),
        Some(zone) => {
            let message = "time_zone needs a time column of type timestamp with time zone";
            let hint = format!(
                "Make the column TIMESTAMPTZ, or leave out time_zone => '{}': windows of a timestamp without time zone are aligned to its own clock.",
                zone.name()
            );
            Err(HwError::new(sqlstate::DATATYPE_MISMATCH, message).with_hint(hint).into())
        }
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
        let plan = self.plan_call(&call, context)?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
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
