//! Casts after type coercion: those that Arrow would do differently become [`PgCast`].

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result as DfResult, ScalarValue};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;

use super::{rewrite_expressions, rewrite_nodes};
use crate::sql::functions::cast::PgCast;
use crate::types::PgType;

/// Begins the literals that stand for parameters while their types are looked for.
pub const PARAMETER_MARK: &str = "\u{1}parameter ";

/// Runs after DataFusion's type coercion.
#[derive(Debug)]
pub struct PgCasts;

impl AnalyzerRule for PgCasts {
    fn name(&self) -> &str {
        "pg_casts"
    }
    fn analyze(&self, plan: LogicalPlan, options: &ConfigOptions) -> DfResult<LogicalPlan> {
        rewrite_expressions(plan, &|expr, schema| {
            let expr = rewrite(expr, schema)?;
            check_literals(&expr, options)?;
            Ok(expr)
        })
    }
}

/// A quoted literal that its type does not read is an error of the statement, whether or not
/// any row meets it.
fn check_literals(expr: &Expr, options: &ConfigOptions) -> DfResult<()> {
    expr.apply(|node| {
        if let Expr::ScalarFunction(f) = node
            && let [Expr::Literal(value @ ScalarValue::Utf8(Some(text)), _)] = f.args.as_slice()
            && !text.starts_with(PARAMETER_MARK)
            && let Some(cast) = f.func.inner().downcast_ref::<PgCast>()
        {
            cast.check(value, options)?;
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map(drop)
}

/// Rewrites one expression.
pub fn rewrite(expr: Expr, schema: &DFSchema) -> DfResult<Expr> {
    rewrite_nodes(expr, &|node| match node {
        Expr::Cast(cast) => {
            let (_, from) = cast.expr.to_field(schema)?;
            // The blanks that pad a character(n) are no part of a text.
            let padded = matches!(PgType::of(&from), PgType::Bpchar(_));
            let unpads = padded && !matches!(PgType::of(&cast.field), PgType::Bpchar(_));
            let text = cast.field.data_type() == &DataType::Utf8;
            Ok(match unpads && text || differs(from.data_type(), &cast.field) {
                true => PgCast::call(*cast.expr, &cast.field),
                false => Expr::Cast(cast),
            })
        }
        other => Ok(other),
    })
}

/// Whether Arrow's kernel rounds, fails or prints differently, or may fail at all.
fn differs(from: &DataType, to: &FieldRef) -> bool {
    use DataType::{
        Decimal128, Dictionary, Float32, Float64, LargeBinary, LargeUtf8, List, Null, Utf8, Utf8View,
    };
    use DataType::{Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32};
    let cuts = PgType::of(to);
    let varchar = matches!(cuts, PgType::Varchar(Some(_)) | PgType::Bpchar(_) | PgType::Name | PgType::Char);
    match (from, to.data_type()) {
        (Null | Dictionary(_, _), _) | (_, Dictionary(_, _)) => false,
        (Int8 | Int16 | Int32 | Int64, Int64) if cuts == PgType::Oid => true,
        (a, b) if a == b => varchar,
        (Utf8 | Utf8View, Utf8 | Utf8View) => varchar,
        (Int8 | UInt8, Int16 | Int32 | Int64) | (Int16 | UInt16, Int32 | Int64) | (Int32 | UInt32, Int64) => {
            false
        }
        (Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32, Float32 | Float64) => false,
        (Float32, Float64) => false,
        (Decimal128(_, _), Float32 | Float64) => true,
        (Int16, Decimal128(p, s)) => i32::from(*p) - i32::from(*s) < 5,
        (Int32, Decimal128(p, s)) => i32::from(*p) - i32::from(*s) < 10,
        (Int64, Decimal128(p, s)) => i32::from(*p) - i32::from(*s) < 19,
        (Decimal128(p1, s1), Decimal128(p2, s2)) => {
            // Arrow's kernel would multiply NaN and the infinities.
            s2 != s1 || p2 < p1
        }
        (List(a), List(b)) => a.data_type() != b.data_type() && a.data_type() != &Null,
        (_, LargeUtf8 | LargeBinary) | (LargeBinary, _) => true,
        (_, to) => supported(from) && supported(to),
    }
}

fn supported(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Boolean
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::UInt64
            | DataType::Float32
            | DataType::Float64
            | DataType::Decimal128(_, _)
            | DataType::Utf8
            | DataType::Utf8View
            | DataType::LargeUtf8
            | DataType::LargeBinary
            | DataType::Binary
            | DataType::FixedSizeBinary(_)
            | DataType::Date32
            | DataType::Time64(arrow::datatypes::TimeUnit::Microsecond)
            | DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, _)
            | DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano)
            | DataType::List(_)
    )
}
