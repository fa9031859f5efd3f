//! Recursive queries: a relation planner for the calls that [`super::rules::recursive`] leaves
//! in FROM.
//!
//! The base is analyzed first, so that the step sees its columns with PostgreSQL's types; the
//! types of the base are those of the query, and a step of wider ones is refused (42804), as in
//! PostgreSQL. Out comes DataFusion's `RecursiveQuery`, which the ad-hoc planner runs and the
//! view planner lowers. A numeric column whose step has other digits becomes a plain `numeric`, a
//! varchar column whose step is another text becomes `text`.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::{Column, Result as DfResult, plan_err};
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Projection, RecursiveQuery};
use parking_lot::Mutex;
use sqlparser::ast::{Expr as SqlExpr, FunctionArg, FunctionArgExpr, Query, TableFactor, Value};

use super::context::{SessionOptions, analyze, session_state};
use super::functions::cast::PgCast;
use super::functions::datum::with_type;
use super::rules::recursive::{RECURSIVE_QUERY, WORKING_TABLE};
use super::rules::set_types::{common, convert, is_unknown};
use crate::error::{HwError, sqlstate};
use crate::plan::RECURSION_NAME_SEPARATOR;
use crate::types::pg_type::{NUMERIC_PRECISION, NUMERIC_SCALE, PgType};

/// Plans recursive queries; leaves every other table factor alone.
#[derive(Debug)]
pub struct RecursionPlanner {
    options: SessionOptions,
    /// Columns of the recursive queries whose steps are being planned.
    working: Mutex<HashMap<String, SchemaRef>>,
}

/// The arguments of a call.
struct Call {
    name: String,
    is_distinct: bool,
    base: Box<Query>,
    step: Box<Query>,
    columns: Vec<String>,
}

impl RecursionPlanner {
    pub fn new(options: SessionOptions) -> RecursionPlanner {
        RecursionPlanner { options, working: Mutex::default() }
    }

    fn plan_query(&self, query: &Query, context: &mut dyn RelationPlannerContext) -> DfResult<LogicalPlan> {
        let subquery = Box::new(query.clone());
        let derived = TableFactor::Derived { lateral: false, subquery, alias: None, sample: None };
        let plan = context.plan(derived)?;
        Ok(analyze(plan, &session_state(&self.options)?)?)
    }

    fn working_table(&self, name: &str) -> DfResult<LogicalPlan> {
        let Some(schema) = self.working.lock().get(name).cloned() else {
            return plan_err!("{name} is not being planned");
        };
        let table = provider_as_source(Arc::new(CteWorkTable::new(name, schema)));
        LogicalPlanBuilder::scan(name, table, None)?.build()
    }

    fn recursive(&self, call: &Call, context: &mut dyn RelationPlannerContext) -> DfResult<LogicalPlan> {
        let name = call.name.split(RECURSION_NAME_SEPARATOR).next().unwrap_or(&call.name);
        let mut base = self.plan_query(&call.base, context)?;
        base = named(name, base, &call.columns)?;
        // A change of types is seen by the step, which then has no other types again.
        for _ in 0..3 {
            self.working.lock().insert(call.name.clone(), working_schema(&base));
            let step = self.plan_query(&call.step, context);
            self.working.lock().remove(&call.name);
            let step = step?;
            let types = unify(name, &base, &step)?;
            let wider = typed(base.clone(), &types)?;
            if wider.schema() != base.schema() {
                base = wider;
                continue;
            }
            let step = Arc::new(typed(step, &types)?);
            let query = RecursiveQuery::try_new(call.name.clone(), Arc::new(base), step, call.is_distinct)?;
            return Ok(LogicalPlan::RecursiveQuery(query));
        }
        plan_err!("the types of recursive query {name} do not settle")
    }
}

impl RelationPlanner for RecursionPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> DfResult<RelationPlanning> {
        let called = match &relation {
            TableFactor::Function { name, .. } => name.0.first().and_then(|part| part.as_ident()),
            _ => None,
        };
        let called = called.map(|ident| ident.value.as_str()).unwrap_or_default();
        let (is_query, is_table) = (called == RECURSIVE_QUERY, called == WORKING_TABLE);
        let (args, alias) = match relation {
            TableFactor::Function { args, alias, .. } if is_query || is_table => (args, alias),
            other => return Ok(RelationPlanning::Original(Box::new(other))),
        };
        let mut texts = Vec::new();
        let mut queries = Vec::new();
        for arg in args {
            match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(SqlExpr::Subquery(query))) => queries.push(query),
                FunctionArg::Unnamed(FunctionArgExpr::Expr(SqlExpr::Value(value))) => match value.value {
                    Value::SingleQuotedString(text) => texts.push(text),
                    _ => return plan_err!("unknown argument of a recursive query"),
                },
                _ => return plan_err!("unknown argument of a recursive query"),
            }
        }
        let mut texts = texts.into_iter();
        let name = texts.next().unwrap_or_default();
        let plan = if is_table {
            self.working_table(&name)?
        } else {
            let is_distinct = texts.next().as_deref() != Some("ALL");
            let Ok([base, step]) = <[Box<Query>; 2]>::try_from(queries) else {
                return plan_err!("a recursive query needs two terms");
            };
            let call = Call { name, is_distinct, base, step, columns: texts.collect() };
            self.recursive(&call, context)?
        };
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}

/// The base with the names of the column list, and columns of a type.
fn named(name: &str, base: LogicalPlan, columns: &[String]) -> DfResult<LogicalPlan> {
    let width = base.schema().fields().len();
    if columns.len() > width {
        let message = format!(
            "WITH query \"{name}\" has {width} columns available but {} columns specified",
            columns.len()
        );
        return Err(HwError::new(sqlstate::INVALID_COLUMN_REFERENCE, message).into());
    }
    let text: FieldRef = Arc::new(Field::new("", DataType::Utf8, true));
    let types: Vec<FieldRef> = (base.schema().fields().iter())
        .map(|f| if f.data_type() == &DataType::Null { Arc::clone(&text) } else { Arc::clone(f) })
        .collect();
    let base = convert(base, &types)?;
    let fields: Vec<_> = base.schema().iter().map(|(q, f)| (q.cloned(), f.name().clone())).collect();
    let exprs = fields.into_iter().enumerate().map(|(i, (qualifier, field))| {
        let alias = columns.get(i).cloned().unwrap_or_else(|| field.clone());
        Expr::Column(Column::new(qualifier, field)).alias(alias)
    });
    Ok(LogicalPlan::Projection(Projection::try_new(exprs.collect(), Arc::new(base))?))
}

/// The columns that the step reads: those of the base, any of which may be NULL.
fn working_schema(base: &LogicalPlan) -> SchemaRef {
    let fields = base.schema().fields().iter().map(|f| f.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The column types of the query: those of the base, but for digits of numbers.
fn unify(name: &str, base: &LogicalPlan, step: &LogicalPlan) -> DfResult<Vec<FieldRef>> {
    let fields = base.schema().fields();
    if step.schema().fields().len() != fields.len() {
        let message = "each UNION query must have the same number of columns";
        return Err(HwError::new(sqlstate::SYNTAX_ERROR, message).into());
    }
    let mut types = Vec::with_capacity(fields.len());
    for (column, (of_base, of_step)) in fields.iter().zip(step.schema().fields()).enumerate() {
        if is_unknown(step, column) {
            types.push(Arc::clone(of_base));
            continue;
        }
        let overall = common("UNION", of_base, of_step)?;
        let (base_type, overall_type) = (PgType::of(of_base), overall_type(of_base, of_step, &overall));
        types.push(match (&base_type, &overall_type) {
            (PgType::Numeric(_), PgType::Numeric(_)) => digits(of_base, of_step),
            (a, b) if a == b => Arc::clone(of_base),
            (PgType::Varchar(_), PgType::Varchar(_)) => {
                Arc::new(Field::new(of_base.name(), DataType::Utf8, true))
            }
            (a, b) => {
                let message = format!(
                    "recursive query \"{name}\" column {} has type {} in non-recursive term but type {} overall",
                    column + 1,
                    plain_name(a),
                    plain_name(b)
                );
                return Err(HwError::new(sqlstate::DATATYPE_MISMATCH, message)
                    .with_hint("Cast the output of the non-recursive term to the correct type.")
                    .into());
            }
        });
    }
    Ok(types)
}

/// A term with exactly the types, modifiers included: both terms must agree in them.
fn typed(term: LogicalPlan, types: &[FieldRef]) -> DfResult<LogicalPlan> {
    let term = convert(term, types)?;
    let fields: Vec<_> = term.schema().iter().map(|(q, f)| (q.cloned(), Arc::clone(f))).collect();
    if fields.iter().zip(types).all(|((_, field), target)| field.metadata() == target.metadata()) {
        return Ok(term);
    }
    let exprs = fields.into_iter().zip(types).map(|((qualifier, field), target)| {
        let column = Expr::Column(Column::new(qualifier, field.name()));
        match field.metadata() == target.metadata() {
            true => column,
            false => PgCast::call(column, target).alias(field.name()),
        }
    });
    Ok(LogicalPlan::Projection(Projection::try_new(exprs.collect(), Arc::new(term))?))
}

/// PostgreSQL's type of both columns together.
fn overall_type(base: &FieldRef, step: &FieldRef, common: &FieldRef) -> PgType {
    match (PgType::of(base), PgType::of(step)) {
        (PgType::Varchar(a), PgType::Varchar(b)) if a != b => PgType::Varchar(None),
        (PgType::Varchar(_), PgType::Text) => PgType::Varchar(None),
        (PgType::Bpchar(a), PgType::Bpchar(b)) if a != b => PgType::Bpchar(None),
        (base, step) if base.carrier() == step.carrier() => base,
        _ => PgType::of(common),
    }
}

fn plain_name(t: &PgType) -> String {
    match t {
        PgType::Numeric(_) => "numeric".into(),
        t => t.sql_name(),
    }
}

/// A numeric column: as in the base if the step has the same digits, or else a plain numeric.
fn digits(base: &FieldRef, step: &FieldRef) -> FieldRef {
    let (DataType::Decimal128(precision, scale), true) =
        (base.data_type(), base.data_type() != step.data_type())
    else {
        return Arc::clone(base);
    };
    if *precision == NUMERIC_PRECISION && *scale >= NUMERIC_SCALE {
        return Arc::clone(base);
    }
    let wide = DataType::Decimal128(NUMERIC_PRECISION, NUMERIC_SCALE.max(*scale));
    Arc::new(with_type(Field::new(base.name(), wide, true), "numeric"))
}
