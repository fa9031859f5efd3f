//! INTERSECT and EXCEPT: a relation planner that makes [`SetOpNode`]s of the calls that
//! [`super::rules::rows`] leaves in FROM.

use std::sync::Arc;

use datafusion::common::{Result as DfResult, plan_err};
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Extension, LogicalPlan};
use sqlparser::ast::{Expr, FunctionArg, FunctionArgExpr, TableFactor, Value};

use super::rules::rows::SET_OPERATION;
use crate::error::{HwError, sqlstate};
use crate::plan::{SetKind, SetOpNode};

/// Plans set operations; leaves every other table factor alone.
#[derive(Debug)]
pub struct SetOpPlanner;

impl RelationPlanner for SetOpPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> DfResult<RelationPlanning> {
        let is_set_operation = matches!(&relation, TableFactor::Function { name, .. }
            if name.0.len() == 1 && name.0[0].as_ident().is_some_and(|i| i.value == SET_OPERATION));
        let args = match relation {
            TableFactor::Function { args, .. } if is_set_operation => args,
            other => return Ok(RelationPlanning::Original(Box::new(other))),
        };
        let mut args = args.into_iter().filter_map(|a| match a {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Some(e),
            _ => None,
        });
        let kind = match args.next() {
            Some(Expr::Value(v)) => kind_of(&v.value),
            _ => None,
        };
        let mut side = || match args.next() {
            Some(Expr::Subquery(subquery)) => {
                let derived = TableFactor::Derived { lateral: false, subquery, alias: None, sample: None };
                context.plan(derived)
            }
            _ => plan_err!("a set operation needs two queries"),
        };
        let (left, right) = (side()?, side()?);
        let Some(kind) = kind else { return plan_err!("unknown set operation") };
        if left.schema().fields().len() != right.schema().fields().len() {
            let message = format!("each {} query must have the same number of columns", kind.word());
            return Err(HwError::new(sqlstate::SYNTAX_ERROR, message).into());
        }
        let node = SetOpNode::try_new(kind, left, right)?;
        let plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, None))))
    }
}

fn kind_of(word: &Value) -> Option<SetKind> {
    match word {
        Value::SingleQuotedString(word) => match word.as_str() {
            "INTERSECT" => Some(SetKind::Intersect),
            "INTERSECT ALL" => Some(SetKind::IntersectAll),
            "EXCEPT" => Some(SetKind::Except),
            "EXCEPT ALL" => Some(SetKind::ExceptAll),
            _ => None,
        },
        _ => None,
    }
}
