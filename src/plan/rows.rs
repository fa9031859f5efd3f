//! Lowering of what makes or takes whole rows: VALUES, SELECT without FROM, unnest, and
//! INTERSECT and EXCEPT.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, TimeUnit};
use datafusion::common::DFSchema;
use datafusion::logical_expr::{EmptyRelation, Unnest, UserDefinedLogicalNode, Values};

use super::expr;
use super::lower::{Lowering, refuse, union_fact};
use super::*;
use crate::error::{HwError, Result};

impl Lowering<'_> {
    pub(super) fn extension(&mut self, node: &dyn UserDefinedLogicalNode) -> Result<NodeId> {
        let any = node.as_any();
        if let Some(node) = any.downcast_ref::<SetOpNode>() {
            return self.set_op(node);
        }
        match any.downcast_ref::<TemporalNode>() {
            Some(node) => self.temporal(node),
            None => Err(refuse(node.name(), "")),
        }
    }

    /// The times of the bounds become columns of a map below.
    fn temporal(&mut self, node: &TemporalNode) -> Result<NodeId> {
        let child = self.plan(&node.input)?;
        if self.joins_plainly(child)
            && let Some(pushed) = super::temporal_push::pushed_below(node)?
        {
            return self.plan(&pushed);
        }
        let schema = Arc::clone(&self.nodes[child].schema);
        let width = schema.fields().len();
        let mut fields: Vec<FieldRef> = schema.fields().iter().cloned().collect();
        let mut exprs: Vec<expr::PExpr> = (0..width).map(expr::column).collect();
        let mut bounds = Vec::new();
        for (time, bound) in node.times.iter().zip(&node.bounds) {
            let time = self.compile(time, node.input.schema())?;
            let data_type = time.data_type(&schema)?;
            if !matches!(data_type, DataType::Timestamp(TimeUnit::Microsecond, _)) {
                return Err(refuse(
                    "a comparison of now() with what is not a timestamp",
                    "Cast it to timestamptz.",
                ));
            }
            let column = match exprs.iter().position(|e| e.eq(&time)) {
                Some(column) => column,
                None => {
                    fields.push(Arc::new(Field::new(format!("time{}", exprs.len()), data_type, true)));
                    exprs.push(time);
                    exprs.len() - 1
                }
            };
            bounds.push((column, bound.clone()));
        }
        let mut map = self.map(child, None, exprs, Arc::new(Schema::new(fields)))?;
        let until = bounds.iter().any(|(_, b)| b.until);
        if !until {
            map = self.expiring(map, &[], &[]);
        }
        let below = &self.nodes[map].facts;
        let facts = Facts {
            append_only: below.append_only && !until,
            unique_key: below.unique_key.clone().filter(|k| k.iter().all(|c| *c < width)),
            columns: below.columns[..width].to_vec(),
            state: if until {
                StateBound::Clock
            } else {
                StateBound::Unbounded("rows are kept once their time has come".into())
            },
        };
        Ok(self.add(StreamOp::TemporalFilter(bounds), vec![map], schema, facts))
    }

    pub(super) fn values(&mut self, values: &Values) -> Result<NodeId> {
        let schema = Arc::new(values.schema.as_arrow().clone());
        let one = one_row()?;
        let mut rows = Vec::with_capacity(values.values.len());
        for row in &values.values {
            let mut cells: Vec<ArrayRef> = Vec::with_capacity(row.len());
            for cell in row {
                let value = self.compile(cell, &DFSchema::empty())?.evaluate(&one)?;
                cells.push(value.into_array(1)?);
            }
            rows.push(cells);
        }
        let column = |c: usize| -> Result<ArrayRef> {
            let cells: Vec<&dyn arrow::array::Array> = rows.iter().map(|r| r[c].as_ref()).collect();
            Ok(arrow::compute::cast(&arrow::compute::concat(&cells)?, schema.field(c).data_type())?)
        };
        let columns = (0..schema.fields().len()).map(column).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(self.constant(RecordBatch::try_new_with_options(schema, columns, &options)?))
    }

    pub(super) fn empty(&mut self, empty: &EmptyRelation) -> Result<NodeId> {
        let schema = Arc::new(empty.schema.as_arrow().clone());
        Ok(match (empty.produce_one_row, schema.fields().is_empty()) {
            (true, true) => self.one_row(),
            (true, false) => return Err(refuse("a row without values", "Use VALUES.")),
            (false, _) => self.constant(RecordBatch::new_empty(schema)),
        })
    }

    /// One row without columns.
    pub(super) fn one_row(&mut self) -> NodeId {
        let options = RecordBatchOptions::new().with_row_count(Some(1));
        let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options);
        self.constant(row.unwrap_or_else(|_| RecordBatch::new_empty(Arc::new(Schema::empty()))))
    }

    fn constant(&mut self, rows: RecordBatch) -> NodeId {
        let schema = rows.schema();
        let facts = Facts {
            append_only: true,
            unique_key: (rows.num_rows() <= 1).then(Vec::new),
            columns: vec![ColumnFact::Plain; schema.fields().len()],
            state: StateBound::None,
        };
        self.add(StreamOp::Constant(rows), vec![], schema, facts)
    }

    pub(super) fn unnest(&mut self, unnest: &Unnest) -> Result<NodeId> {
        if !unnest.struct_type_columns.is_empty() {
            return Err(refuse("unnest of a record", "Name its fields one by one."));
        }
        if unnest.list_type_columns.iter().any(|(_, list)| list.depth != 1) {
            return Err(refuse("unnest of nested arrays at once", "Unnest one level in a sub-query."));
        }
        let child = self.plan(&unnest.input)?;
        let elements = |i: usize| unnest.list_type_columns.iter().any(|(c, _)| *c == i);
        let below = &self.nodes[child].facts;
        let mut columns = Vec::new();
        let mut facts = Vec::new();
        for i in &unnest.dependency_indices {
            columns.push(if elements(*i) { UnnestColumn::Elements(*i) } else { UnnestColumn::Repeat(*i) });
            facts.push(if elements(*i) { ColumnFact::Plain } else { below.columns[*i].clone() });
        }
        let facts = Facts {
            append_only: below.append_only,
            unique_key: None,
            columns: facts,
            state: StateBound::None,
        };
        let schema = Arc::new(unnest.schema.as_arrow().clone());
        Ok(self.add(StreamOp::Unnest(columns), vec![child], schema, facts))
    }

    pub(super) fn set_op(&mut self, node: &SetOpNode) -> Result<NodeId> {
        let schema =
            Arc::new(datafusion::logical_expr::UserDefinedLogicalNodeCore::schema(node).as_arrow().clone());
        let mut sides = Vec::new();
        for side in [&node.left, &node.right] {
            let child = self.plan(side)?;
            let exprs = (0..schema.fields().len()).map(expr::column).collect();
            let side = self.map(child, None, exprs, Arc::clone(&schema))?;
            sides.push(self.expiring(side, &[], &[]));
        }
        let (left, right) = (&self.nodes[sides[0]].facts, &self.nodes[sides[1]].facts);
        let intersect = matches!(node.kind, SetKind::Intersect | SetKind::IntersectAll);
        let all_columns = || (!node.kind.is_all()).then(|| (0..schema.fields().len()).collect());
        let columns = (0..schema.fields().len())
            .map(|c| union_fact([&left.columns[c], &right.columns[c]].into_iter()))
            .collect();
        let facts = Facts {
            append_only: intersect && left.append_only && right.append_only,
            unique_key: left.unique_key.clone().or_else(all_columns),
            columns,
            state: StateBound::Unbounded("one entry for each different row of both sides".into()),
        };
        Ok(self.add(StreamOp::SetOp(node.kind), sides, schema, facts))
    }
}

fn one_row() -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)
        .map_err(|e| HwError::internal(e.to_string()))
}
