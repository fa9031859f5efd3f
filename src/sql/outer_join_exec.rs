//! Outer joins of ad-hoc queries: what is constant in the rows of one side is not constant in the
//! join, which pads that side with NULLs. DataFusion takes it for constant, and then leaves a column
//! out of a sort or streams groups that are not in order. So it does above grouping sets, where a
//! constant group key is NULL in the sets that leave it out.
//!
//! [`HideConstants`] runs before the other rules of physical plans and puts a node between such a
//! join and its input that hands rows on and tells nothing of them.

use std::fmt;
use std::sync::Arc;

use datafusion::common::JoinType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties, Statistics,
};

#[derive(Debug)]
pub(super) struct HideConstants;

impl PhysicalOptimizerRule for HideConstants {
    fn name(&self) -> &str {
        "hide_constants_from_outer_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let padded = padded_sides(node.as_ref());
            let known =
                |input: &Arc<dyn ExecutionPlan>| !input.equivalence_properties().constants().is_empty();
            let children = node.children();
            let hides = children.iter().zip(padded).any(|(input, padded)| padded && known(input));
            if !hides {
                return Ok(Transformed::no(node));
            }
            let hidden = children.iter().zip(padded).map(|(input, padded)| match padded && known(input) {
                true => Arc::new(PlainRowsExec::new(Arc::clone(input))) as Arc<dyn ExecutionPlan>,
                false => Arc::clone(input),
            });
            let hidden = hidden.collect();
            Ok(Transformed::yes(replace_children_if_necessary(Arc::clone(&node), hidden)?))
        })
        .data()
    }
}

/// Which of its inputs a node may pad with NULLs.
fn padded_sides(node: &dyn ExecutionPlan) -> [bool; 2] {
    let any: &dyn std::any::Any = node;
    if any.downcast_ref::<AggregateExec>().is_some_and(|a| !a.group_expr().is_single()) {
        return [true, false];
    }
    let of_hash = any.downcast_ref::<HashJoinExec>().map(|j| *j.join_type());
    let of_loop = || any.downcast_ref::<NestedLoopJoinExec>().map(|j| *j.join_type());
    let of_merge = || any.downcast_ref::<SortMergeJoinExec>().map(|j| j.join_type());
    match of_hash.or_else(of_loop).or_else(of_merge) {
        Some(JoinType::Left) => [false, true],
        Some(JoinType::Right) => [true, false],
        Some(JoinType::Full) => [true, true],
        _ => [false, false],
    }
}

/// The rows of its input, of which nothing is known.
#[derive(Debug)]
struct PlainRowsExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl PlainRowsExec {
    fn new(input: Arc<dyn ExecutionPlan>) -> PlainRowsExec {
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            input.output_partitioning().clone(),
            input.pipeline_behavior(),
            input.boundedness(),
        ));
        PlainRowsExec { input, properties }
    }
}

impl DisplayAs for PlainRowsExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("PlainRowsExec")
    }
}

impl ExecutionPlan for PlainRowsExec {
    fn name(&self) -> &str {
        "PlainRowsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(PlainRowsExec::new(children.swap_remove(0))))
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        Ok(Arc::clone(&inputs[0]))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }
}
