//! Lowering of GROUPING SETS, ROLLUP and CUBE.
//!
//! Each set is an aggregate of its own over the shared input; the columns that a set leaves
//! out are NULL, and a column tells the sets apart, as DataFusion's `grouping()` reads it:
//! one bit for each left-out expression, the last expression being the lowest bit, and above
//! them the number of equal sets before. The empty set has a row even if there is no input.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::GroupingSet;
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{Aggregate, Expr};
use datafusion::physical_expr::expressions::Literal;

use super::expr::{self, PExpr};
use super::lower::Lowering;
use super::*;
use crate::error::{HwError, Result};

impl Lowering<'_> {
    pub(super) fn grouping_sets(&mut self, aggregate: &Aggregate, sets: &GroupingSet) -> Result<NodeId> {
        let all: Vec<Expr> = grouping_set_to_exprlist(&aggregate.group_expr)?.into_iter().cloned().collect();
        let fields = aggregate.schema.as_arrow().fields().iter();
        let schema =
            Arc::new(Schema::new(fields.map(|f| f.as_ref().clone().with_nullable(true)).collect::<Vec<_>>()));
        let id_type = schema.field(all.len()).data_type().clone();
        let mut masks: Vec<u64> = Vec::new();
        let mut children = Vec::new();
        for set in expand(sets) {
            let left_out = all.iter().rev().enumerate().filter(|(_, e)| !set.contains(e));
            let mask = left_out.fold(0u64, |mask, (bit, _)| mask | (1 << bit));
            let repeated = masks.iter().filter(|m| **m == mask).count() as u64;
            masks.push(mask);
            let id = mask | (repeated << all.len());
            children.push(self.grouping_set(aggregate, &all, &set, id_value(id, &id_type)?, &schema)?);
        }
        let node = self.union_of(children, Arc::clone(&schema));
        self.nodes[node].facts.unique_key = Some((0..=all.len()).collect());
        Ok(node)
    }

    /// One set, with the columns of the whole.
    fn grouping_set(
        &mut self,
        aggregate: &Aggregate,
        all: &[Expr],
        set: &[Expr],
        id: ScalarValue,
        schema: &SchemaRef,
    ) -> Result<NodeId> {
        let literal = |value: ScalarValue| -> PExpr { Arc::new(Literal::new(value)) };
        let node = match set.is_empty() && aggregate.aggr_expr.is_empty() {
            true => self.one_row(),
            false => {
                let single = Aggregate::try_new(
                    Arc::clone(&aggregate.input),
                    set.to_vec(),
                    aggregate.aggr_expr.clone(),
                )?;
                self.aggregate(&single)?
            }
        };
        let mut exprs = Vec::with_capacity(schema.fields().len());
        for (i, e) in all.iter().enumerate() {
            exprs.push(match set.iter().position(|s| s == e) {
                Some(at) => expr::column(at),
                None => literal(null_of(schema.field(i).data_type())?),
            });
        }
        exprs.push(literal(id));
        exprs.extend((0..aggregate.aggr_expr.len()).map(|i| expr::column(set.len() + i)));
        self.map(node, None, exprs, Arc::clone(schema))
    }
}

fn null_of(data_type: &DataType) -> Result<ScalarValue> {
    ScalarValue::try_from(data_type).map_err(|e| HwError::internal(e.to_string()))
}

fn id_value(id: u64, data_type: &DataType) -> Result<ScalarValue> {
    ScalarValue::UInt64(Some(id)).cast_to(data_type).map_err(|e| HwError::internal(e.to_string()))
}

/// The sets, in the order in which they are written; each expression once in a set.
fn expand(sets: &GroupingSet) -> Vec<Vec<Expr>> {
    let mut all = match sets {
        GroupingSet::GroupingSets(sets) => sets.clone(),
        GroupingSet::Rollup(exprs) => (0..=exprs.len()).rev().map(|n| exprs[..n].to_vec()).collect(),
        GroupingSet::Cube(exprs) => (0..1u64 << exprs.len())
            .rev()
            .map(|bits| {
                let kept = exprs.iter().rev().enumerate().filter(|(i, _)| bits & (1 << i) != 0);
                kept.map(|(_, e)| e.clone()).collect::<Vec<_>>().into_iter().rev().collect()
            })
            .collect(),
    };
    for set in &mut all {
        let mut seen: Vec<Expr> = Vec::with_capacity(set.len());
        set.retain(|e| {
            !seen.contains(e) && {
                seen.push(e.clone());
                true
            }
        });
    }
    all
}
