//! The number of the round as a column of the rows of a step.
//!
//! It stands behind the columns that a node had before, except that a mark join keeps its answer
//! last; so each node has a place for it, and columns from that place on move by one.

use arrow::datatypes::{DataType, Field, Schema};

use super::super::expr::{self, PExpr};
use super::super::*;
use crate::error::{HwError, Result};

/// Makes every node that depends on the rows of x pass the number of their round on, and
/// returns the column of the root that holds it.
pub(super) fn carry(plan: &mut StreamPlan) -> Result<usize> {
    let mut places: Vec<Option<usize>> = Vec::with_capacity(plan.nodes.len());
    for id in 0..plan.nodes.len() {
        let place = carry_through(plan, id, &places)?;
        if let Some(place) = place {
            let node = &mut plan.nodes[id];
            let mut fields: Vec<FieldRef> = node.schema.fields().iter().cloned().collect();
            fields.insert(place, Arc::new(Field::new("round", DataType::Int64, true)));
            node.schema = Arc::new(Schema::new(fields));
            node.facts.columns.insert(place, ColumnFact::Plain);
            node.facts.unique_key = None;
        }
        places.push(place);
    }
    places[plan.root].ok_or_else(|| HwError::internal("a recursive term does not read its own rows"))
}

/// The rows of x, and so all that depends on them, may be deleted.
pub(super) fn retract(plan: &mut StreamPlan) {
    for id in 0..plan.nodes.len() {
        let below = plan.nodes[id].children.iter().any(|c| !plan.nodes[*c].facts.append_only);
        let node = &mut plan.nodes[id];
        node.facts.append_only &= !below && !matches!(node.op, StreamOp::Working { .. });
    }
}

/// Changes what node `id` does so that it has the number; `places` are those of the nodes
/// before it. Returns its place, none if the node does not depend on x.
fn carry_through(plan: &mut StreamPlan, id: NodeId, places: &[Option<usize>]) -> Result<Option<usize>> {
    let children = plan.nodes[id].children.clone();
    // Widths are those after the change.
    let widths: Vec<usize> = children.iter().map(|c| plan.nodes[*c].schema.fields().len()).collect();
    let width = plan.nodes[id].schema.fields().len();
    let place = children.first().and_then(|c| places[*c]);
    let moved =
        |column: usize, place: Option<usize>| column + usize::from(place.is_some_and(|p| column >= p));
    let replaced = |place: Option<usize>| move |column: usize| expr::column(moved(column, place));
    Ok(match &mut plan.nodes[id].op {
        StreamOp::Working { .. } => Some(width),
        StreamOp::Map { filter, exprs } => {
            let Some(at) = place else { return Ok(None) };
            let replace = replaced(place);
            *filter = filter.as_ref().map(|f| expr::substitute(f, &replace)).transpose()?;
            *exprs = exprs.iter().map(|e| expr::substitute(e, &replace)).collect::<Result<_>>()?;
            exprs.push(expr::column(at));
            Some(width)
        }
        StreamOp::Unnest(columns) => {
            let Some(at) = place else { return Ok(None) };
            for column in columns.iter_mut() {
                *column = match *column {
                    UnnestColumn::Repeat(c) => UnnestColumn::Repeat(moved(c, place)),
                    UnnestColumn::Elements(c) => UnnestColumn::Elements(moved(c, place)),
                };
            }
            columns.push(UnnestColumn::Repeat(at));
            Some(width)
        }
        StreamOp::Union => {
            // Its parts have equal schemas, and so the place behind the last column.
            if children.iter().any(|c| places[*c] != Some(width)) {
                return Err(HwError::internal("parts of a union differ in the place of the round"));
            }
            Some(width)
        }
        StreamOp::Join(join) => {
            let sides = [places[children[0]], places[children[1]]];
            let before = widths[0] - usize::from(sides[0].is_some());
            let pair = |column: usize| match column < before {
                true => moved(column, sides[0]),
                false => widths[0] + moved(column - before, sides[1]),
            };
            let Some(at) = sides[0].or(sides[1].map(|place| widths[0] + place)) else { return Ok(None) };
            join.left_keys.iter_mut().for_each(|c| *c = moved(*c, sides[0]));
            join.right_keys.iter_mut().for_each(|c| *c = moved(*c, sides[1]));
            let replace = |column: usize| -> PExpr { expr::column(pair(column)) };
            join.residual = join.residual.as_ref().map(|r| expr::substitute(r, &replace)).transpose()?;
            join.output.iter_mut().for_each(|c| *c = pair(*c));
            join.output.push(at);
            Some(join.output.len() - 1)
        }
        _ => None,
    })
}
