//! DataFusion's planner of ad-hoc queries, with the physical nodes of our own logical nodes:
//! windows and set operations.
//!
//! The async methods are written out, because the compiler needs seconds to prove that a future
//! that holds a plan is `Send`.

use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::error::Result;
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};

use super::send::{SendFuture, assert_send};
use super::{set_op_exec, window_exec};

#[derive(Debug, Default)]
pub struct AdHocPlanner;

impl QueryPlanner for AdHocPlanner {
    fn create_physical_plan<'life0, 'life1, 'life2, 'a>(
        &'life0 self,
        logical_plan: &'life1 LogicalPlan,
        session: &'life2 dyn Session,
    ) -> SendFuture<'a, Result<Arc<dyn ExecutionPlan>>>
    where
        'life0: 'a,
        'life1: 'a,
        'life2: 'a,
        Self: 'a,
    {
        // SAFETY: it holds a plan, a planner and a `Send` future.
        unsafe {
            assert_send(async move {
                let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(OwnNodes)]);
                planner.create_physical_plan(logical_plan, session).await
            })
        }
    }
}

/// Makes the physical nodes of the logical nodes that are not DataFusion's.
struct OwnNodes;

impl ExtensionPlanner for OwnNodes {
    fn plan_extension<'life0, 'life1, 'life2, 'life3, 'life4, 'life5, 'life6, 'life7, 'a>(
        &'life0 self,
        _planner: &'life1 dyn PhysicalPlanner,
        node: &'life2 dyn UserDefinedLogicalNode,
        _logical_inputs: &'life3 [&'life4 LogicalPlan],
        physical_inputs: &'life5 [Arc<dyn ExecutionPlan>],
        session: &'life6 dyn Session,
        _planning_ctx: &'life7 PhysicalPlanningContext,
    ) -> SendFuture<'a, Result<Option<Arc<dyn ExecutionPlan>>>>
    where
        'life0: 'a,
        'life1: 'a,
        'life2: 'a,
        'life3: 'a,
        'life4: 'a,
        'life5: 'a,
        'life6: 'a,
        'life7: 'a,
        Self: 'a,
    {
        let planned = match set_op_exec::plan(node, physical_inputs) {
            Some(plan) => Ok(Some(plan)),
            None => window_exec::plan(node, physical_inputs, session),
        };
        Box::pin(std::future::ready(planned))
    }
}
