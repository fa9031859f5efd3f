//! What PostgreSQL does not do with json: it has no equality and no order.
//!
//! Runs before type coercion, on the query as it was written: the plans of views and of
//! subqueries group and sort rows for reasons of their own, by the bytes of the text.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result as DfResult};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Distinct, Expr, ExprSchemable, LogicalPlan, Operator};
use datafusion::optimizer::AnalyzerRule;

use crate::error::{HwError, sqlstate};
use crate::plan::SetOpNode;
use crate::sql::functions::arith::undefined_operator;

const HINT: &str = "Cast it to jsonb, which can be compared: (…)::jsonb.";

#[derive(Debug)]
pub struct PgJson;

impl AnalyzerRule for PgJson {
    fn name(&self) -> &str {
        "pg_json"
    }
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> DfResult<LogicalPlan> {
        let checked = plan.transform_up_with_subqueries(|plan| {
            check(&plan)?;
            Ok(Transformed::no(plan))
        })?;
        Ok(checked.data)
    }
}

fn is_json(e: &Expr, schema: &DFSchema) -> bool {
    // An expression that has no type yet is none that could be json.
    matches!(e.get_type(schema), Ok(DataType::LargeBinary))
}

fn no_equality() -> HwError {
    let message = "could not identify an equality operator for type json";
    HwError::new(sqlstate::UNDEFINED_FUNCTION, message).with_hint(HINT)
}

fn no_order() -> HwError {
    let message = "could not identify an ordering operator for type json";
    HwError::new(sqlstate::UNDEFINED_FUNCTION, message).with_hint(HINT)
}

fn check(plan: &LogicalPlan) -> DfResult<()> {
    let schema = merge_schema(&plan.inputs());
    let has_json =
        |plan: &LogicalPlan| plan.schema().fields().iter().any(|f| f.data_type() == &DataType::LargeBinary);
    let any = |mut all: std::slice::Iter<Expr>| all.any(|e| is_json(e, &schema));
    let equal = match plan {
        LogicalPlan::Aggregate(a) => any(a.group_expr.iter()),
        LogicalPlan::Distinct(Distinct::All(input)) => has_json(input),
        LogicalPlan::Distinct(Distinct::On(on)) => any(on.on_expr.iter()),
        LogicalPlan::Extension(e) if e.node.as_any().is::<SetOpNode>() => {
            e.node.inputs().first().is_some_and(|side| has_json(side))
        }
        LogicalPlan::Join(join) => {
            if join.on.iter().any(|(l, _)| is_json(l, &schema)) {
                return Err(undefined("=", &DataType::LargeBinary, &DataType::LargeBinary));
            }
            false
        }
        LogicalPlan::Sort(sort) if sort.expr.iter().any(|k| is_json(&k.expr, &schema)) => {
            return Err(no_order().into());
        }
        _ => false,
    };
    if equal {
        return Err(no_equality().into());
    }
    plan.apply_expressions(|e| {
        e.apply(|node| expression(node, &schema).map(|()| TreeNodeRecursion::Continue))
    })
    .map(drop)
}

fn undefined(op: &str, left: &DataType, right: &DataType) -> datafusion::error::DataFusionError {
    undefined_operator(op, left, right).with_hint(HINT).into()
}

fn expression(node: &Expr, schema: &DFSchema) -> DfResult<()> {
    let json = |e: &Expr| is_json(e, schema);
    let compared = |op: &str, left: &Expr, right: &Expr| match json(left) || json(right) {
        true => Err(undefined(op, &left.get_type(schema)?, &right.get_type(schema)?)),
        false => Ok(()),
    };
    match node {
        Expr::BinaryExpr(b) => match b.op {
            Operator::And | Operator::Or => Ok(()),
            Operator::IsDistinctFrom | Operator::IsNotDistinctFrom => compared("=", &b.left, &b.right),
            op => compared(&op.to_string(), &b.left, &b.right),
        },
        Expr::InList(list) if json(&list.expr) => compared("=", &list.expr, &list.expr),
        Expr::InSubquery(list) if json(&list.expr) => compared("=", &list.expr, &list.expr),
        Expr::Between(b) if json(&b.expr) => compared(">=", &b.expr, &b.expr),
        Expr::Like(like) if json(&like.expr) => compared("~~", &like.expr, &like.pattern),
        Expr::Case(case) => match &case.expr {
            Some(value) if json(value) => compared("=", value, value),
            _ => Ok(()),
        },
        Expr::AggregateFunction(call) => {
            let params = &call.params;
            // The argument of json_agg is made of what was written.
            let written = |e: &Expr| match e {
                Expr::ScalarFunction(f) if matches!(f.name(), "json_element" | "to_json") => {
                    f.args.iter().any(json)
                }
                e => json(e),
            };
            match call.func.name() {
                "min" | "max" if params.args.iter().any(json) => {
                    let types = [DataType::LargeBinary];
                    let error = crate::sql::functions::datum::undefined_function(call.func.name(), &types);
                    Err(error.with_hint(HINT).into())
                }
                _ if params.distinct && params.args.iter().any(written) => Err(no_equality().into()),
                _ => Ok(()),
            }
        }
        Expr::WindowFunction(call) => {
            if call.params.partition_by.iter().any(json) {
                return Err(no_equality().into());
            }
            match call.params.order_by.iter().any(|k| json(&k.expr)) {
                true => Err(no_order().into()),
                false => Ok(()),
            }
        }
        _ => Ok(()),
    }
}
