//! The system relations as DataFusion schemas and tables.
//!
//! A table knows its columns without work; its rows are computed when it is scanned, from
//! the [`SystemState`] it was made with, so a query sees one state throughout.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, Session, TableProvider};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use futures::future::BoxFuture;

use super::layout::{Layout, layout};
use super::pg_catalog::{self, Rows};
use super::rows::to_batch;
use super::{LiveTable, SystemState, information_schema};
use crate::error::Result;

/// The schemas `pg_catalog`, `information_schema` and `headwater`, by name.
pub fn system_schemas(state: Arc<SystemState>) -> Vec<(String, Arc<dyn SchemaProvider>)> {
    ["pg_catalog", "information_schema", "headwater"]
        .into_iter()
        .map(|name| {
            let schema = SystemSchema { name, state: Arc::clone(&state) };
            (name.to_string(), Arc::new(schema) as Arc<dyn SchemaProvider>)
        })
        .collect()
}

#[derive(Debug)]
struct SystemSchema {
    name: &'static str,
    state: Arc<SystemState>,
}

impl SystemSchema {
    fn content(&self, table: &str) -> Option<Content> {
        if self.name == "headwater" {
            return self.state.live.iter().find(|t| t.name == table).cloned().map(Content::Live);
        }
        let layout = layout(self.name, table)?;
        let rows = match self.name {
            "pg_catalog" => pg_catalog::builder(table),
            _ => information_schema::builder(table),
        };
        Some(Content::Described(layout, rows))
    }
}

#[async_trait]
impl SchemaProvider for SystemSchema {
    fn table_names(&self) -> Vec<String> {
        match self.name {
            "headwater" => self.state.live.iter().map(|t| t.name.clone()).collect(),
            name => pg_catalog::relation_names(name),
        }
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>> {
        let table = self.content(name).map(|content| SystemTable { content, state: Arc::clone(&self.state) });
        Ok(table.map(|t| Arc::new(t) as Arc<dyn TableProvider>))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.content(name).is_some()
    }
}

/// Where the rows of a system relation come from.
enum Content {
    Described(&'static Layout, Option<Rows>),
    Live(LiveTable),
}

struct SystemTable {
    content: Content,
    state: Arc<SystemState>,
}

impl fmt::Debug for SystemTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match &self.content {
            Content::Described(layout, _) => layout.name,
            Content::Live(table) => &table.name,
        };
        write!(f, "SystemTable({name})")
    }
}

impl SystemTable {
    fn batches(&self) -> Result<Vec<RecordBatch>> {
        match &self.content {
            Content::Live(table) => (table.rows)(),
            Content::Described(layout, rows) => {
                let rows = rows.map_or(vec![], |rows| rows(&self.state));
                Ok(vec![to_batch(layout, &rows)?])
            }
        }
    }

    fn plan(&self, columns: Option<&Vec<usize>>, limit: Option<usize>) -> DfResult<Arc<dyn ExecutionPlan>> {
        let rows = [self.batches()?];
        let source = MemorySourceConfig::try_new(&rows, self.schema(), columns.cloned())?.with_limit(limit);
        Ok(DataSourceExec::from_data_source(source))
    }
}

impl TableProvider for SystemTable {
    fn schema(&self) -> SchemaRef {
        match &self.content {
            Content::Described(layout, _) => Arc::clone(&layout.arrow),
            Content::Live(table) => Arc::clone(&table.schema),
        }
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn scan<'life0, 'life1, 'life2, 'life3, 'a>(
        &'life0 self,
        _session: &'life1 dyn Session,
        projection: Option<&'life2 Vec<usize>>,
        _filters: &'life3 [Expr],
        limit: Option<usize>,
    ) -> BoxFuture<'a, DfResult<Arc<dyn ExecutionPlan>>>
    where
        'life0: 'a,
        'life1: 'a,
        'life2: 'a,
        'life3: 'a,
        Self: 'a,
    {
        Box::pin(std::future::ready(self.plan(projection, limit)))
    }
}
