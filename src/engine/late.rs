//! The relation of `LATE DATA TO t`: rows that the windows of a view refused.
//!
//! Its columns are those of the rows that the window function reads, then the window's
//! bounds, the watermark that the row was judged against, and the reason, so that
//! `INSERT INTO feed SELECT … FROM t` brings them in again. The newest
//! `late_relation_rows_max` rows are kept; a refused deletion is counted and listed in `headwater.late_rows` only.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::table_functions::LATE_ROWS;
use crate::catalog::{Catalog, Details, NewDefinition};
use crate::dataflow::operators::late::{LateChunk, LateFacts};
use crate::dataflow::operators::{LateReason, LateRows};
use crate::error::{HwError, Result, sqlstate};
use crate::plan::LatePlan;
use crate::types::PgType;
use crate::types::change_batch::take_rows;

/// What an operator tells of a late row, in words.
pub fn reason_text(reason: LateReason) -> &'static str {
    match reason {
        LateReason::WindowClosed => "window closed",
        LateReason::BehindWatermark => "behind the watermark",
        LateReason::NullTime => "event time is null",
        LateReason::InfiniteTime => "event time is infinite",
        LateReason::EmptyWindow => "the window is empty",
    }
}

/// The late rows of one view, to be read.
pub struct LateRelation {
    row: SchemaRef,
    bound: DataType,
    schema: SchemaRef,
    /// Of windows that were closed, and of rows without a time.
    pub closed: Arc<LateRows>,
    pub unassigned: Arc<LateRows>,
}

impl LateRelation {
    pub fn new(plan: &LatePlan, rows_max: usize) -> LateRelation {
        LateRelation {
            row: Arc::clone(&plan.row),
            bound: plan.bound.clone(),
            schema: schema(plan),
            closed: Arc::new(LateRows::new(rows_max).of_columns(plan.columns.clone())),
            unassigned: Arc::new(LateRows::new(rows_max)),
        }
    }

    /// All rows that are kept.
    pub fn read(&self) -> Result<RecordBatch> {
        let mut chunks = self.closed.chunks();
        let width = self.row.fields().len();
        chunks.extend(self.unassigned.chunks().into_iter().filter(|c| c.rows.num_columns() == width));
        let named = |c: &LateChunk| RecordBatch::try_new(Arc::clone(&self.row), c.rows.columns().to_vec());
        let rows = chunks.iter().map(named).collect::<std::result::Result<Vec<_>, _>>()?;
        let rows = concat_batches(&self.row, &rows)?;
        let late: Vec<LateFacts> = chunks.into_iter().flat_map(|c| c.facts).collect();
        let times = |of: &dyn Fn(&LateFacts) -> Option<i64>| -> ArrayRef {
            let times = TimestampMicrosecondArray::from_iter(late.iter().map(of));
            Arc::new(times.with_data_type(self.bound.clone()))
        };
        let mut columns = rows.columns().to_vec();
        columns.push(times(&|r| r.window_start));
        columns.push(times(&|r| r.window_end));
        columns.push(times(&|r| Some(r.watermark.0).filter(|w| *w != i64::MIN)));
        columns.push(Arc::new(StringArray::from_iter_values(late.iter().map(|r| reason_text(r.reason)))));
        let all = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        if late.iter().all(|r| r.weight == 1) {
            return Ok(all);
        }
        // A deletion, of negative weight, is not repeated at all.
        let repeated = late.iter().enumerate().flat_map(|(i, r)| (0..r.weight).map(move |_| i as u32));
        take_rows(&all, &UInt32Array::from_iter_values(repeated))
    }
}

/// The columns of the relation.
pub fn schema(plan: &LatePlan) -> SchemaRef {
    let mut fields: Vec<Field> =
        plan.row.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
    for name in ["window_start", "window_end", "watermark"] {
        fields.push(Field::new(name, plan.bound.clone(), true));
    }
    fields.push(PgType::Text.field("reason", true));
    Arc::new(Schema::new(fields))
}

/// Adds the relation of the late rows of `owner`.
pub fn create_relation(catalog: Catalog, owner: u64, relation: Option<NewDefinition>) -> Result<Catalog> {
    let Some(mut relation) = relation else { return Ok(catalog) };
    relation.depends_on = vec![owner];
    if let Details::View(view) = &mut relation.details {
        view.query = format!("SELECT * FROM headwater.{LATE_ROWS}({owner})");
        view.late_of = Some(owner);
    }
    Ok(catalog.create(relation)?.0)
}

/// Objects to be dropped and the relations of their late rows.
///
/// Errors: 2BP01 if such a relation would go and its owner stay.
pub fn with_relations(catalog: &Catalog, ids: &[u64]) -> Result<Vec<u64>> {
    for relation in ids.iter().filter_map(|id| catalog.get(*id)) {
        let owner = relation.late_of().filter(|owner| !ids.contains(owner)).and_then(|id| catalog.get(id));
        if let Some(owner) = owner {
            let (relation, owner) = (relation.describe(), owner.describe());
            let text = format!("cannot drop {relation} because {owner} requires it");
            return Err(HwError::new(sqlstate::DEPENDENT_OBJECTS, text)
                .with_hint(format!("You can drop {owner} instead.")));
        }
    }
    let owned = catalog.objects().filter(|d| d.late_of().is_some_and(|owner| ids.contains(&owner)));
    let mut all: Vec<u64> = ids.iter().copied().chain(owned.map(|d| d.id)).collect();
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

impl super::database::Database {
    /// The late rows of a view or sink, for the relation that its clause names.
    pub fn late_relation(&self, id: u64) -> Result<RecordBatch> {
        let relation = self.engine.shared.status.late_relations.read().get(&id).cloned();
        relation.ok_or_else(|| HwError::internal("the late rows of a view are gone"))?.read()
    }
}
