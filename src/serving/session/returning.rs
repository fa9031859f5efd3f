//! RETURNING: expressions over the rows that a statement changed.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use sqlparser::ast::{Query, SelectItem, SetExpr};

use super::Session;
use super::dml::{Target, at_hand};
use super::evaluate::{RowsAtHand, query_of};
use super::query::Text;
use super::results::{counted, rows};
use crate::catalog::{Definition, quote_identifier};
use crate::error::{HwError, Result};
use crate::serving::pg::api::Outcome;

fn query(target: &Target, items: &[SelectItem]) -> Result<Query> {
    let mut query =
        query_of(&format!("SELECT 1 FROM {} AS {}", at_hand("t"), quote_identifier(&target.shown)))?;
    match query.body.as_mut() {
        SetExpr::Select(select) => select.projection = items.to_vec(),
        _ => return Err(HwError::internal("a query of one's own is not a SELECT")),
    }
    Ok(query)
}

impl Session {
    pub(super) async fn returning(
        &mut self,
        target: &Target,
        definition: &Definition,
        items: &[SelectItem],
        changed: RecordBatch,
        tag: &str,
        text: Text<'_>,
    ) -> Result<Outcome> {
        debug_assert_eq!(changed.num_columns(), definition.columns.len());
        let at_hand = RowsAtHand::default().with("t", changed.schema(), vec![changed])?;
        let ready = self.plan_with(&query(target, items)?, text.submitted, at_hand).await?;
        let (schema, batches) = self.collect(&ready, text.submitted).await?;
        Ok(rows(schema, batches, counted(tag)))
    }

    /// Columns of RETURNING, if there is one.
    pub(super) async fn returning_schema(
        &mut self,
        target: &Target,
        items: Option<&[SelectItem]>,
    ) -> Result<Option<SchemaRef>> {
        let definition = self.resolve(&target.name)?;
        let Some(items) = items else { return Ok(None) };
        let at_hand = RowsAtHand::default().with("t", definition.arrow_schema(), Vec::new())?;
        let ready = self.plan_with(&query(target, items)?, "", at_hand).await?;
        Ok(Some(ready.optimize()?.1))
    }
}
