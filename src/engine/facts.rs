//! What the planner knows of a materialized view beside its definition.
//!
//! Found in the view's plan when it starts, at CREATE and at every start of the server; leaves of
//! other views' plans are described by it.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};

use super::panes::Edge;
use super::sharing::Shareable;
use crate::error::Result;
use crate::plan::relation::RelationKind;
use crate::plan::{ColumnFact, Extent, StreamPlan, StreamRelation, WindowTime};

#[derive(Clone, Debug)]
pub struct ViewFacts {
    /// As the plan makes it: the catalog's types do not tell the scale of a plain numeric.
    schema: SchemaRef,
    append_only: bool,
    unique_key: Option<Vec<usize>>,
    event_time_columns: Vec<usize>,
    window_columns: Option<(Option<usize>, Option<usize>, Option<i64>)>,
    final_windows: bool,
    extent: Extent,
    /// How its panes appear to subscribers and sinks.
    pub edge: Edge,
    /// Its query, if its rows can stand for it in other views.
    pub shareable: Option<Arc<Shareable>>,
}

impl ViewFacts {
    pub fn of(plan: &StreamPlan, edge: Edge, shareable: Option<Arc<Shareable>>) -> Result<ViewFacts> {
        let facts = &plan.root_node().facts;
        let event_time_columns = (0..facts.columns.len())
            .filter(|c| matches!(facts.columns[*c], ColumnFact::EventTime { .. }))
            .collect();
        let start = facts.columns.iter().enumerate().find_map(|(i, c)| match c {
            ColumnFact::WindowStart { time: WindowTime::Event { .. }, size_us } => Some((i, *size_us)),
            _ => None,
        });
        let end = facts
            .columns
            .iter()
            .position(|c| matches!(c, ColumnFact::WindowEnd { time: WindowTime::Event { .. } }));
        let window_columns = match (start, end) {
            (None, None) => None,
            (start, end) => Some((start.map(|s| s.0), end, start.and_then(|s| s.1))),
        };
        let visible = plan.visible_schema()?;
        let fields: Vec<Field> =
            visible.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
        Ok(ViewFacts {
            schema: Arc::new(Schema::new(fields)),
            append_only: facts.append_only,
            unique_key: plan.visible_key(),
            event_time_columns,
            window_columns,
            final_windows: plan.has_final_windows(),
            extent: plan.extent(),
            edge,
            shareable,
        })
    }

    /// Says of the leaf what is known of the view.
    pub fn describe(self, relation: &mut StreamRelation) {
        relation.kind = RelationKind::View;
        relation.schema = self.schema;
        relation.append_only = self.append_only;
        relation.unique_key = self.unique_key;
        relation.event_time_columns = self.event_time_columns;
        relation.window_columns = self.window_columns;
        relation.final_windows = self.final_windows;
        relation.extent = self.extent;
    }
}
