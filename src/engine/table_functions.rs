//! Table functions of the schema `headwater`: `headwater.panes('mv')`, and the late rows of a
//! view, which the relation named by `LATE DATA TO` reads.
//!
//! They read what the engine remembers besides the contents of views, up to the epoch of the
//! statement, so only ad-hoc queries may use them.

use std::fmt;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::logical_expr::LogicalPlanBuilder;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use sqlparser::ast::{Expr, FunctionArg, FunctionArgExpr, TableFactor, Value};

use super::planning::{Leaves, Scope};
use crate::catalog::{Kind, QualifiedName};
use crate::error::{HwError, Result, sqlstate};
use crate::sql::parser::relation_name;

/// Name of the function that reads the late rows of the object with that id.
pub const LATE_ROWS: &str = "late_rows_of";
const PANES: &str = "panes";

/// Whether `headwater.name` is one of the functions.
pub fn is_table_function(name: &str) -> bool {
    [PANES, LATE_ROWS].contains(&name)
}

/// Plans the functions; leaves every other table factor alone.
pub struct TableFunctions {
    scope: Arc<Scope>,
}

impl TableFunctions {
    pub fn new(scope: Arc<Scope>) -> TableFunctions {
        TableFunctions { scope }
    }

    fn provider(&self, function: &str, args: &[FunctionArg]) -> Result<Arc<dyn TableProvider>> {
        let Leaves::Snapshot(pin) = &self.scope.leaves else {
            let what = if function == PANES { "headwater.panes" } else { "a relation of late rows" };
            return Err(HwError::unsupported(
                format!("{what} in a materialized view"),
                "Use it in the SELECT that reads, or insert its rows into a table or feed.",
            ));
        };
        let argument = match args {
            [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value)))] => Some(&value.value),
            _ => None,
        };
        match (function, argument) {
            (PANES, Some(Value::SingleQuotedString(name))) => self.panes(name, pin.epoch()),
            (LATE_ROWS, Some(Value::Number(id, _))) => {
                let rows = self.scope.database.late_relation(id.to_string().parse().unwrap_or(0))?;
                Ok(Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]])?))
            }
            _ => Err(HwError::new(
                sqlstate::UNDEFINED_FUNCTION,
                format!("function headwater.{function} does not take these arguments"),
            )
            .with_hint("Write headwater.panes('name of a materialized view').")),
        }
    }

    fn panes(&self, name: &str, epoch: crate::types::Epoch) -> Result<Arc<dyn TableProvider>> {
        let database = &self.scope.database;
        let catalog = database.catalog();
        let name = qualified(name)?;
        let view = catalog.resolve_kind(Kind::MaterializedView, &name, &self.scope.cx.search_path)?;
        database.engine.readable_store(view.id, &view.name)?;
        let log = database.engine.shared.status.panes.read().get(&view.id).cloned();
        let log = log.ok_or_else(|| {
            let text = format!("materialized view \"{}\" keeps no panes", view.name);
            let detail = "Only a view whose outermost step is an aggregation has a pane for each key and window. A trigger of another view is on its changes as a whole, and with EMIT CHANGES alone each result is just corrected.";
            HwError::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, text).with_detail(detail).with_hint(
                "Follow its changes with SUBSCRIBE, or end it in GROUP BY with EMIT EARLY, ON TIME, LATE, FINAL or WHEN, or with an accumulation mode.",
            )
        })?;
        let now = database.engine.shared.clock.now().0;
        Ok(Arc::new(MemTable::try_new(log.schema(), vec![log.read(epoch, now)?])?))
    }
}

/// `name` or `schema.name`, folded as identifiers are.
fn qualified(text: &str) -> Result<QualifiedName> {
    let wrong = || {
        HwError::new(sqlstate::INVALID_PARAMETER_VALUE, format!("invalid name of a relation: \"{text}\""))
            .with_hint("Write the name as in FROM, for example 'mv' or 'public.mv'.")
    };
    let query = super::definitions::parse_query(&format!("SELECT 1 FROM {text}")).map_err(|_| wrong())?;
    let sqlparser::ast::SetExpr::Select(select) = query.body.as_ref() else { return Err(wrong()) };
    let [from] = select.from.as_slice() else { return Err(wrong()) };
    match &from.relation {
        TableFactor::Table { name, alias: None, args: None, .. } if from.joins.is_empty() => {
            let name = relation_name(name).ok_or_else(wrong)?;
            Ok(QualifiedName::new(name.schema.as_deref(), &name.name))
        }
        _ => Err(wrong()),
    }
}

impl fmt::Debug for TableFunctions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TableFunctions")
    }
}

impl RelationPlanner for TableFunctions {
    fn plan_relation(
        &self,
        relation: TableFactor,
        _context: &mut dyn RelationPlannerContext,
    ) -> datafusion::error::Result<RelationPlanning> {
        let called = match &relation {
            TableFactor::Table { name, args: Some(args), alias, .. } => {
                relation_name(name).map(|name| (name, args.args.clone(), alias.clone()))
            }
            _ => None,
        };
        match called {
            Some((name, args, alias))
                if name.schema.as_deref() == Some("headwater") && is_table_function(&name.name) =>
            {
                let source = provider_as_source(self.provider(&name.name, &args)?);
                // Scans are taken for equal if their names are.
                let scanned = TableReference::bare(relation.to_string());
                let scan = LogicalPlanBuilder::scan(scanned, source, None)?;
                let plan = scan.alias(name.name.as_str())?.build()?;
                Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
            }
            _ => Ok(RelationPlanning::Original(Box::new(relation))),
        }
    }
}
