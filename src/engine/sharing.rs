//! Views that read another view's rows in place of an equal part of their own query.
//!
//! A new view is compared with the live ones before it is planned further: where a part of its
//! query means just what a whole view does, it reads that view, as if it had named it, and keeps
//! no state for the part. Which views it shares is stored with it, so that a restart makes the
//! same plan. It is not a dependency that anybody wrote: when the other view is dropped, its
//! definition goes out of sight and its rows stay for as long as they are shared
//! ([`Catalog::drop_or_hide`](crate::catalog::Catalog::drop_or_hide)).
//!
//! Two parts are equal if their plans are, before anything is optimized and whatever they call
//! their columns, and the relations that they name are the same. `SET share_plans = off` leaves a new view to itself.

use std::any::Any;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};

use super::database::Database;
use super::status::ViewState;
use crate::catalog::{Definition, Details, Kind};
use crate::dataflow::operators::RowErrors;
use crate::error::Result;
use crate::plan::StreamRelation;
use crate::sql::emit::BoundEmit;
use crate::sql::errors::to_hw_error;
use crate::types::trigger::{EmitPolicy, EmitSpec};

/// Whose rows a view may read in place of its own work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Nobody's.
    #[default]
    Nobody,
    /// Those of any view that is live.
    Live,
    /// Those of the views that it shared when it was created.
    These(Vec<u64>),
}

/// The query of a view whose rows can stand for it.
#[derive(Debug)]
pub struct Shareable {
    /// As its text was planned, not yet analyzed.
    pub plan: LogicalPlan,
    /// The relations at its leaves, in order.
    relations: Vec<u64>,
}

impl Shareable {
    pub fn new(plan: LogicalPlan) -> DfResult<Shareable> {
        let relations = relations(&plan)?;
        Ok(Shareable { plan, relations })
    }
}

/// A view that can be read in place of an equal query.
pub struct Candidate {
    pub relation: StreamRelation,
    pub shareable: Arc<Shareable>,
}

impl Candidate {
    fn is(&self, node: &LogicalPlan) -> DfResult<bool> {
        let fields = node.schema().fields();
        let types = self.relation.schema.fields();
        Ok(same(node, &self.shareable.plan)
            && relations(node)? == self.shareable.relations
            && fields.len() == types.len()
            && fields.iter().zip(types).all(|(a, b)| a.data_type() == b.data_type()))
    }

    /// A scan of the view's rows, with the names of `node`.
    fn in_place_of(&self, node: &LogicalPlan) -> DfResult<LogicalPlan> {
        let name = format!("shared {}", self.relation.id);
        let mut relation = self.relation.clone();
        relation.name = format!("{}, which holds the same", relation.name);
        let scan = LogicalPlanBuilder::scan(name, provider_as_source(Arc::new(relation)), None)?;
        let columns = scan.schema().columns();
        let names = node.schema().iter();
        let columns = columns.into_iter().zip(names).map(|(column, (qualifier, field))| {
            Expr::Column(column).alias_qualified(qualifier.cloned(), field.name())
        });
        scan.project(columns.collect::<Vec<_>>())?.build()
    }
}

/// Whether two plans are equal, but for the names of their columns.
fn same(a: &LogicalPlan, b: &LogicalPlan) -> bool {
    match (a, b) {
        (LogicalPlan::Projection(a), LogicalPlan::Projection(b)) => {
            let exprs = || a.expr.iter().zip(&b.expr);
            a.expr.len() == b.expr.len()
                && exprs().all(|(a, b)| unnamed(a) == unnamed(b))
                && a.input == b.input
        }
        (a, b) => a == b,
    }
}

fn unnamed(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unnamed(&alias.expr),
        other => other,
    }
}

/// The plan with the rows of candidates in place of what is equal to them, and whose they are.
pub fn share(plan: LogicalPlan, candidates: &[Candidate]) -> Result<(LogicalPlan, Vec<u64>)> {
    if candidates.is_empty() {
        return Ok((plan, Vec::new()));
    }
    let mut shared = Vec::new();
    let read = plan.transform_down_with_subqueries(|node| {
        for candidate in candidates {
            if candidate.is(&node)? {
                shared.push(candidate.relation.id);
                let scan = candidate.in_place_of(&node)?;
                return Ok(Transformed::new(scan, true, TreeNodeRecursion::Jump));
            }
        }
        Ok(Transformed::no(node))
    });
    // What is above may know better now which columns can be NULL.
    let settled = read.and_then(|read| match shared.is_empty() {
        true => Ok(read),
        false => read.data.transform_up_with_subqueries(|n| Ok(Transformed::yes(n.recompute_schema()?))),
    });
    let plan = settled.map_err(|e| to_hw_error(e, None))?.data;
    shared.sort_unstable();
    shared.dedup();
    Ok((plan, shared))
}

/// The relations at the leaves, in the order of a walk.
fn relations(plan: &LogicalPlan) -> DfResult<Vec<u64>> {
    let mut found = Vec::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let provider = source_as_provider(&scan.source)?;
            let any: &dyn Any = provider.as_ref();
            found.extend(any.downcast_ref::<StreamRelation>().map(|r| r.id));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

/// Whether the clause is the default, which shows rows as they are.
pub fn emits_changes(spec: &EmitSpec, emit: &BoundEmit) -> bool {
    matches!(spec.policy, EmitPolicy::Changes) && !spec.with_pane_columns && emit.late_data_to.is_none()
}

impl Database {
    /// The rows that failed in the queries of these views: they are missing in those that
    /// share them, too.
    pub(super) fn errors_of(&self, views: &[u64]) -> Vec<Arc<RowErrors>> {
        let sides = self.engine.shared.status.sides.read();
        views.iter().filter_map(|id| sides.get(id)).flat_map(|s| s.errors.iter().cloned()).collect()
    }

    /// The views that may be read in place of parts of a query which names `named`: what they
    /// name must be among it, so that it stays for as long as the query does.
    pub(super) fn candidates(
        &self,
        sharing: &Sharing,
        named: &[u64],
        time_zone: &str,
    ) -> Result<Vec<Candidate>> {
        let catalog = self.catalog();
        let may = |definition: &&Arc<Definition>| match sharing {
            Sharing::Nobody => false,
            Sharing::These(ids) => ids.contains(&definition.id),
            Sharing::Live => {
                let views = self.engine.shared.status.views.read();
                matches!(views.get(&definition.id), Some(ViewState::Live))
            }
        };
        let views = catalog.of_kind(Kind::MaterializedView).filter(may);
        let views = views.filter(|d| d.depends_on.iter().all(|id| named.contains(id)));
        // Equal text means another thing in another zone.
        let same_zone = |d: &&Arc<Definition>| matches!(&d.details, Details::MaterializedView(v) if v.time_zone == time_zone);
        let mut candidates = Vec::new();
        for definition in views.filter(same_zone) {
            if let Some(shareable) = self.shareable(definition.id) {
                candidates.push(Candidate { relation: self.stream_relation(definition)?, shareable });
            }
        }
        Ok(candidates)
    }
}
