//! `x IN (SELECT y …)` and `x op ANY (SELECT y …)` where `x` and `y` meet in a type, or are compared by
//! a key, that DataFusion would not choose: as `x = y` does.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result as DfResult};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlanBuilder, Subquery};

use super::literals::floats_differ;
use super::operators::as_float;
use crate::sql::functions::{self, datum::Kind};

/// What both sides become.
pub(super) enum Meeting {
    Float,
    Type(DataType),
    /// A function whose values are ordered as its arguments are.
    Key(&'static str),
}

/// How a value and the first column of a subquery meet; `None` where DataFusion does it.
pub(super) fn meeting(value: &Expr, subquery: &Subquery, schema: &DFSchema) -> DfResult<Option<Meeting>> {
    let Some(column) = subquery.subquery.schema().fields().first() else { return Ok(None) };
    let left = value.get_type(schema)?;
    let right = column.data_type();
    Ok(match (Kind::of(&left), Kind::of(right)) {
        (l, r) if floats_differ(l, r) => Some(Meeting::Float),
        (Kind::Interval, Kind::Interval) => Some(Meeting::Key("interval_order")),
        (Kind::Jsonb, Kind::Jsonb) => Some(Meeting::Key("jsonb_order")),
        (Kind::Date, Kind::Ts | Kind::Tstz) | (Kind::Ts, Kind::Tstz) => Some(Meeting::Type(right.clone())),
        (Kind::Ts | Kind::Tstz, Kind::Date) | (Kind::Tstz, Kind::Ts) => Some(Meeting::Type(left)),
        _ => None,
    })
}

impl Meeting {
    pub(super) fn of(&self, value: Expr) -> DfResult<Expr> {
        Ok(match self {
            Meeting::Float => as_float(value),
            Meeting::Type(to) => Expr::Cast(Cast::new(Box::new(value), to.clone())),
            Meeting::Key(function) => functions::scalar(function)?.call(vec![value]),
        })
    }

    pub(super) fn of_first(&self, subquery: Subquery) -> DfResult<Subquery> {
        let columns = subquery.subquery.schema().columns();
        let Some(first) = columns.first().cloned() else { return Ok(subquery) };
        let name = first.name.clone();
        let value = self.of(Expr::Column(first))?.alias(name);
        let plan = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone()).project([value])?.build()?;
        Ok(Subquery { subquery: Arc::new(plan), ..subquery })
    }
}
