//! Lowering of one aggregate call: which columns it reads and how it is maintained.
//!
//! Functions with state of their own are chosen by name and type of the argument. Every
//! other aggregate that ad-hoc queries know is `Materialized`: the rows of its group are
//! kept, and the function itself is evaluated over the groups that changed.

use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::Operator;
use datafusion::logical_expr::expr::{AggregateFunction as Call, Cast, NullTreatment};
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::physical_expr::PhysicalSortExpr;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::{Literal, binary, is_not_null};

use super::aggregate::Prepared;
use super::expr::{self, PExpr};
use super::lower::{Lowering, refuse};
use super::{AggregateCall, AggregateFunction, Statistic};
use crate::error::{HwError, Result, sqlstate};
use crate::types::order_key::{ASCENDING, order_type};

/// Where a call's expressions become columns.
pub(super) struct Site<'a> {
    pub input: &'a DFSchema,
    pub arrow: &'a Schema,
    pub prepared: &'a mut Prepared,
}

impl Site<'_> {
    fn add(&mut self, lowering: &Lowering<'_>, e: &Expr, what: &str) -> Result<usize> {
        let compiled = lowering.compile(e, self.input)?;
        self.add_compiled(compiled, what)
    }

    fn add_compiled(&mut self, e: PExpr, what: &str) -> Result<usize> {
        self.prepared.add(e, format!("{what}{}", self.prepared.exprs.len()), self.arrow)
    }

    fn data_type(&self, column: usize) -> &DataType {
        self.prepared.fields[column].data_type()
    }
}

impl Lowering<'_> {
    pub(super) fn call(&self, e: &Expr, output: FieldRef, site: &mut Site<'_>) -> Result<AggregateCall> {
        let f = match e {
            Expr::Alias(a) => return self.call(&a.expr, output, site),
            Expr::AggregateFunction(f) => f,
            other => return Err(refuse(&format!("the aggregate {other}"), "")),
        };
        let name = f.func.name().to_lowercase();
        if let Some(call) = self.row_of_order(&name, f, &output, site)? {
            return Ok(call);
        }
        let filter = self.call_filter(f, None, site)?;
        let constant = |e: &Expr| matches!(e, Expr::Literal(v, _) if *v != ScalarValue::Null && !v.is_null());
        let arguments = match f.params.args.as_slice() {
            [only] if name == "count" && constant(only) && !f.params.distinct => Vec::new(),
            all => {
                // Columns of nothing but NULL have no mask of it; as a type of its own they have.
                let typed = |e: &Expr| match e.get_type(site.input) {
                    Ok(DataType::Null) => Expr::Cast(Cast::new(Box::new(e.clone()), DataType::Boolean)),
                    _ => e.clone(),
                };
                let typed = |e: &Expr| if name == "count" { typed(e) } else { e.clone() };
                all.iter().map(|e| self.compile(&typed(e), site.input)).collect::<Result<Vec<_>>>()?
            }
        };
        let types: Vec<DataType> = (arguments.iter())
            .map(|a| a.data_type(site.arrow).map_err(|e| HwError::internal(e.to_string())))
            .collect::<Result<_>>()?;
        if let Some(fraction) = sketched(&name, f, &arguments)? {
            let arguments = vec![site.add_compiled(Arc::clone(&arguments[0]), "arg")?];
            let function = AggregateFunction::Percentile(fraction);
            let distinct = f.params.distinct;
            return Ok(AggregateCall { function, arguments, order_by: Vec::new(), filter, distinct, output });
        }
        let Some(function) = function_of(&name, &types, f.params.distinct, output.data_type()) else {
            return self.materialized(f, arguments, filter, output, site);
        };
        let arguments =
            arguments.into_iter().map(|a| site.add_compiled(a, "arg")).collect::<Result<Vec<_>>>()?;
        let distinct =
            f.params.distinct && !matches!(function, AggregateFunction::Min | AggregateFunction::Max);
        Ok(AggregateCall { function, arguments, order_by: Vec::new(), filter, distinct, output })
    }

    /// The column of FILTER, and of `present` being there.
    fn call_filter(&self, f: &Call, present: Option<&Expr>, site: &mut Site<'_>) -> Result<Option<usize>> {
        let given = f.params.filter.as_ref().map(|c| self.compile(c, site.input)).transpose()?;
        let present =
            present.map(|e| is_not_null(self.compile(e, site.input)?).map_err(internal)).transpose()?;
        let condition = match (given, present) {
            (Some(a), Some(b)) => binary(a, Operator::And, b, site.arrow).map_err(internal)?,
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => return Ok(None),
        };
        site.add_compiled(condition, "filter").map(Some)
    }

    fn call_order(&self, f: &Call, site: &mut Site<'_>) -> Result<Vec<(usize, SortOptions)>> {
        let column = |s: &datafusion::logical_expr::SortExpr| {
            let options = SortOptions { descending: !s.asc, nulls_first: s.nulls_first };
            Ok((site.add(self, &s.expr, "order")?, options))
        };
        f.params.order_by.iter().map(column).collect()
    }

    /// `first_value`, `last_value`, `min_by`, `max_by`, `any_value`: one row of an order.
    fn row_of_order(
        &self,
        name: &str,
        f: &Call,
        output: &FieldRef,
        site: &mut Site<'_>,
    ) -> Result<Option<AggregateCall>> {
        let ignore_nulls = f.params.null_treatment == Some(NullTreatment::IgnoreNulls);
        let descending = SortOptions { descending: true, nulls_first: false };
        let (last, by, present) = match (name, f.params.args.as_slice()) {
            ("first_value", [x]) => (false, None, ignore_nulls.then_some(x)),
            ("last_value", [x]) => (true, None, ignore_nulls.then_some(x)),
            ("any_value", [x]) => (false, None, Some(x)),
            ("min_by", [_, k]) => (false, Some((k, ASCENDING)), Some(k)),
            ("max_by", [_, k]) => (false, Some((k, descending)), Some(k)),
            _ => return Ok(None),
        };
        let filter = self.call_filter(f, present, site)?;
        let order_by = match by {
            Some((key, options)) => vec![(site.add(self, key, "order")?, options)],
            None => self.call_order(f, site)?,
        };
        let arguments = vec![site.add(self, &f.params.args[0], "arg")?];
        let function = if last { AggregateFunction::LastRow } else { AggregateFunction::FirstRow };
        let output = FieldRef::clone(output);
        Ok(Some(AggregateCall { function, arguments, order_by, filter, distinct: false, output }))
    }

    /// A call whose group is kept and given to the function when it changed. Constant
    /// arguments are not kept, except where there would be nothing else.
    fn materialized(
        &self,
        f: &Call,
        given: Vec<PExpr>,
        filter: Option<usize>,
        output: FieldRef,
        site: &mut Site<'_>,
    ) -> Result<AggregateCall> {
        let order_by = self.call_order(f, site)?;
        let (mut arguments, mut args) = (Vec::new(), Vec::new());
        let all_constant = given.iter().all(expr::is_literal);
        for (i, argument) in given.into_iter().enumerate() {
            if expr::is_literal(&argument) && !(all_constant && i == 0) {
                args.push(argument);
            } else {
                args.push(expr::column(arguments.len()));
                arguments.push(site.add_compiled(argument, "arg")?);
            }
        }
        let mut fields: Vec<FieldRef> =
            arguments.iter().map(|c| Arc::clone(&site.prepared.fields[*c])).collect();
        let sort = |(at, (column, options)): (usize, &(usize, SortOptions))| {
            fields.push(Arc::new(Field::new(
                format!("order{at}"),
                order_type(site.data_type(*column)),
                true,
            )));
            PhysicalSortExpr { expr: expr::column(arguments.len() + at), options: *options }
        };
        let sorts: Vec<PhysicalSortExpr> = order_by.iter().enumerate().map(sort).collect();
        let evaluate = AggregateExprBuilder::new(Arc::clone(&f.func), args)
            .schema(Arc::new(Schema::new(fields)))
            .alias(f.func.name())
            .order_by(sorts)
            .with_distinct(f.params.distinct)
            .with_ignore_nulls(f.params.null_treatment == Some(NullTreatment::IgnoreNulls))
            .build()
            .map_err(|e| refuse(&format!("{} ({e})", f.func.name()), ""))?;
        evaluate.create_accumulator().map_err(HwError::from)?;
        let function = AggregateFunction::Materialized(Arc::new(evaluate));
        Ok(AggregateCall { function, arguments, order_by, filter, distinct: f.params.distinct, output })
    }
}

fn internal(e: datafusion::error::DataFusionError) -> HwError {
    HwError::internal(e.to_string())
}

/// The constant fraction of an approximate percentile, counted from the least value.
fn sketched(name: &str, f: &Call, arguments: &[PExpr]) -> Result<Option<f64>> {
    let literal = |e: &PExpr| match e.downcast_ref::<Literal>().map(Literal::value) {
        Some(ScalarValue::Float64(Some(fraction))) => Some(*fraction),
        _ => None,
    };
    let fraction = match (name, arguments) {
        ("approx_median", [_]) => 0.5,
        ("approx_percentile_cont", [_, fraction]) => match literal(fraction) {
            Some(fraction) => fraction,
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    if !(0.0..=1.0).contains(&fraction) {
        let message = format!("percentile value {fraction} is not between 0 and 1");
        return Err(HwError::new(sqlstate::NUMERIC_VALUE_OUT_OF_RANGE, message));
    }
    let descending = f.params.order_by.first().is_some_and(|o| !o.asc);
    Ok(Some(if descending { 1.0 - fraction } else { fraction }))
}

/// The function with state of its own, if there is one.
fn function_of(
    name: &str,
    arguments: &[DataType],
    distinct: bool,
    output: &DataType,
) -> Option<AggregateFunction> {
    use AggregateFunction as F;
    use DataType as D;
    if let Some(statistic) = Statistic::of_name(name) {
        return (!distinct || arguments.len() == 1).then_some(F::Moments(statistic));
    }
    let Some(t) = arguments.first() else { return (name == "count").then_some(F::CountStar) };
    if arguments.len() > 1 {
        return None;
    }
    Some(match (name, t) {
        ("count", _) => F::Count,
        ("min", _) => F::Min,
        ("max", _) => F::Max,
        ("sum", D::Int8 | D::Int16 | D::Int32 | D::UInt8 | D::UInt16) => F::SumInt,
        ("sum", D::Int64) if *output == D::Int64 => F::SumInt,
        ("sum", D::Int64) => F::SumBig,
        ("sum", D::Decimal128(..)) => F::SumDecimal,
        ("sum", D::Float32 | D::Float64) => F::SumFloat,
        ("avg", D::Int16 | D::Int32 | D::Int64) => F::AvgInt,
        ("avg", D::Decimal128(..)) => F::AvgDecimal,
        ("avg", D::Float32 | D::Float64) => F::AvgFloat,
        ("bool_and" | "every", D::Boolean) => F::BoolAnd,
        ("bool_or", D::Boolean) => F::BoolOr,
        ("bit_and", D::Int16 | D::Int32 | D::Int64) => F::BitAnd,
        ("bit_or", D::Int16 | D::Int32 | D::Int64) => F::BitOr,
        ("bit_xor", D::Int16 | D::Int32 | D::Int64) => F::BitXor,
        _ => return None,
    })
}
