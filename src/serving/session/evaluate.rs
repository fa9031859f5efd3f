//! Small evaluations inside other statements: constants, and queries over rows at hand.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::datasource::MemTable;
use futures::future::BoxFuture;
use sqlparser::ast::{Expr, Query};

use super::Session;
use super::query::Ready;
use crate::catalog::{Definition, Kind, QualifiedName};
use crate::engine::planning::SqlContext;
use crate::error::{HwError, Result};
use crate::sql::ast::ObjectName;
use crate::sql::{StatementKind, parse_sql};
use crate::types::PgType;

/// Schema of relations that exist for one statement: the rows it changes.
pub(super) const ROWS_SCHEMA: &str = "$rows";

/// Rows at hand, as relations of [`ROWS_SCHEMA`].
#[derive(Debug, Default)]
pub(super) struct RowsAtHand(HashMap<String, Arc<MemTable>>);

impl RowsAtHand {
    pub fn with(mut self, name: &str, schema: SchemaRef, batches: Vec<RecordBatch>) -> Result<RowsAtHand> {
        self.0.insert(name.to_string(), Arc::new(MemTable::try_new(schema, vec![batches])?));
        Ok(self)
    }
}

impl SchemaProvider for RowsAtHand {
    fn table_names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    // Written out, because the compiler needs seconds to prove that a `MemTable` is `Send`.
    fn table<'life0, 'life1, 'a>(
        &'life0 self,
        name: &'life1 str,
    ) -> BoxFuture<'a, datafusion::error::Result<Option<Arc<dyn TableProvider>>>>
    where
        'life0: 'a,
        'life1: 'a,
        Self: 'a,
    {
        let table = self.0.get(name).map(|t| Arc::clone(t) as Arc<dyn TableProvider>);
        Box::pin(std::future::ready(Ok(table)))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

/// Parses a query that this module's callers have written.
pub(super) fn query_of(sql: &str) -> Result<Query> {
    match parse_sql(sql)?.pop().map(|s| s.kind) {
        Some(StatementKind::Query(query)) => Ok(*query),
        _ => Err(HwError::internal(format!("not a query: {sql}"))),
    }
}

impl Session {
    /// The value of an expression without columns, as a type.
    pub(super) async fn constant(&mut self, expr: &Expr, ty: &PgType) -> Result<ScalarValue> {
        let query = query_of(&format!("SELECT ({expr})::{}", ty.sql_name()))?;
        let text: Arc<str> = Arc::from("");
        let ready = self.plan(&query, &text).await?;
        let (_, batches) = self.collect(&ready, &text).await?;
        match batches.iter().find(|b| b.num_rows() > 0) {
            Some(batch) => Ok(ScalarValue::try_from_array(batch.column(0), 0)?),
            None => Err(HwError::internal("a constant has no value")),
        }
    }

    /// The session's context with rows at hand.
    pub(super) fn context_with(&self, rows: RowsAtHand) -> SqlContext {
        let mut cx = self.context();
        let mut system = (*cx.system).clone();
        system.insert(ROWS_SCHEMA.to_string(), Arc::new(rows));
        cx.system = Arc::new(system);
        cx
    }

    /// Plans a query that may read rows at hand.
    pub(super) async fn plan_with(&mut self, query: &Query, text: &str, rows: RowsAtHand) -> Result<Ready> {
        let pin = self.pin().await?;
        let cx = self.context_with(rows);
        self.plan_in(query, text, pin, cx).await
    }

    /// The relation of a name in a statement.
    pub(super) fn resolve(&self, name: &ObjectName) -> Result<Arc<Definition>> {
        let catalog = self.database.catalog();
        let found = catalog.resolve(&qualified(name), &self.search_path()).cloned();
        found.map_err(|e| e.at(name.position))
    }

    /// The object of a name and kind.
    pub(super) fn resolve_kind(&self, kind: Kind, name: &ObjectName) -> Result<Arc<Definition>> {
        let catalog = self.database.catalog();
        let found = catalog.resolve_kind(kind, &qualified(name), &self.search_path()).cloned();
        found.map_err(|e| e.at(name.position))
    }
}

pub(super) fn qualified(name: &ObjectName) -> QualifiedName {
    QualifiedName::new(name.schema.as_deref(), &name.name)
}
