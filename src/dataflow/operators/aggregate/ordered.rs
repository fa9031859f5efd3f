//! Aggregates that look at the rows of their group in order.
//!
//! State is, for each group, a multiset of rows in Arrow's row format: the keys of the
//! call's ORDER BY first, then the arguments, so its order is the call's order with ties
//! broken by the values; where a call orders nothing, the values alone decide. The result
//! thus depends only on which rows there are. `FirstRow` and `LastRow` read one end (over
//! append-only input only that row is kept); any other function is a DataFusion aggregate
//! that is evaluated over the whole group when the group changed.

use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array, new_empty_array};
use arrow::datatypes::{DataType, Schema};
use arrow::row::{Row, RowConverter, SortField};
use datafusion::common::ScalarValue;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{Column, Literal};

use super::accumulator::{Accumulator, Failures, Input, same};
use super::bag::Bag;
use super::{AggregateCall, AggregateFunction};
use crate::dataflow::operators::expressions::evaluation_error;
use crate::error::{HwError, Result};
use crate::state::Grow;
use crate::types::order_key::{ASCENDING, keeps_value, order_key, order_type};

/// Rows that are decoded together.
const DECODE_ROWS_MAX: usize = 65_536;

type Bytes = Box<[u8]>;

/// Where an argument of the evaluated function comes from.
enum Argument {
    /// Position among the stored columns.
    Stored(usize),
    Constant(ScalarValue),
}

enum Finish {
    Edge {
        last: bool,
        keep_one: bool,
    },
    All {
        evaluate: Arc<AggregateFunctionExpr>,
        /// Arguments, then the keys of ORDER BY.
        inputs: Vec<Argument>,
        distinct: bool,
    },
}

/// Ordered multisets of rows by group.
pub struct Ordered {
    groups: Vec<Bag<Bytes>>,
    key_bytes: usize,
    converter: RowConverter,
    /// Arguments that the keys of ORDER BY do not hold already, each as its order key or as it is.
    extra: Vec<(usize, bool)>,
    /// Stored column of each argument.
    places: Vec<usize>,
    finish: Finish,
    output: DataType,
}

impl Ordered {
    /// `FirstRow` or `LastRow`.
    pub fn edge(call: &AggregateCall, input: &Schema, append_only: bool) -> Result<Box<dyn Accumulator>> {
        let last = call.function == AggregateFunction::LastRow;
        Ok(Box::new(Ordered::new(call, input, Finish::Edge { last, keep_one: append_only })?))
    }

    /// A function over the whole group.
    pub fn all(
        call: &AggregateCall,
        input: &Schema,
        evaluate: &Arc<AggregateFunctionExpr>,
    ) -> Result<Box<dyn Accumulator>> {
        let finish =
            Finish::All { evaluate: Arc::clone(evaluate), inputs: Vec::new(), distinct: call.distinct };
        let mut ordered = Ordered::new(call, input, finish)?;
        let argument = |e: &Arc<dyn datafusion::physical_expr::PhysicalExpr>| {
            if let Some(literal) = e.downcast_ref::<Literal>() {
                return Ok(Argument::Constant(literal.value().clone()));
            }
            let place = e.downcast_ref::<Column>().and_then(|c| ordered.places.get(c.index()));
            place
                .map(|p| Argument::Stored(*p))
                .ok_or_else(|| HwError::internal("an aggregate's argument is not kept"))
        };
        let mut all = evaluate.expressions().iter().map(argument).collect::<Result<Vec<_>>>()?;
        all.extend((0..evaluate.order_bys().len()).map(Argument::Stored));
        if let Finish::All { inputs, .. } = &mut ordered.finish {
            *inputs = all;
        }
        Ok(Box::new(ordered))
    }

    fn new(call: &AggregateCall, input: &Schema, finish: Finish) -> Result<Ordered> {
        let type_of = |column: usize| input.field(column).data_type();
        let sorted = call.order_by.iter();
        let mut fields: Vec<SortField> =
            sorted.map(|(c, o)| SortField::new_with_options(order_type(type_of(*c)), *o)).collect();
        let (mut extra, mut places) = (Vec::new(), Vec::new());
        for (i, column) in call.arguments.iter().enumerate() {
            let held = call.order_by.iter().position(|(c, _)| c == column);
            let data_type = type_of(*column);
            let mut push = |key: bool, data_type: DataType| {
                extra.push((i, key));
                fields.push(SortField::new_with_options(data_type, ASCENDING));
                fields.len() - 1
            };
            let place = match (held, keeps_value(data_type)) {
                (Some(place), true) => place,
                (held, keeps) => {
                    if held.is_none() && !keeps {
                        push(true, order_type(data_type));
                    }
                    push(false, data_type.clone())
                }
            };
            places.push(place);
        }
        Ok(Ordered {
            groups: Vec::new(),
            key_bytes: 0,
            converter: RowConverter::new(fields)?,
            extra,
            places,
            finish,
            output: call.output.data_type().clone(),
        })
    }

    fn add(&mut self, slot: usize, key: &[u8], weight: i64) {
        let group = &mut self.groups[slot];
        if let Finish::Edge { last, keep_one: true } = self.finish {
            let beaten = match group.best(false) {
                Some(best) if last => key > best.as_ref(),
                Some(best) => key < best.as_ref(),
                None => true,
            };
            if beaten {
                *group = Bag::one(key.into());
            }
            return;
        }
        let before = group.len();
        group.add(key.into(), weight);
        match group.len().cmp(&before) {
            std::cmp::Ordering::Greater => self.key_bytes += key.len(),
            std::cmp::Ordering::Less => self.key_bytes = self.key_bytes.saturating_sub(key.len()),
            std::cmp::Ordering::Equal => {}
        }
    }

    fn edges(&self, slots: &[u32], last: bool) -> Result<ArrayRef> {
        let parser = self.converter.parser();
        let mut rows = Vec::with_capacity(slots.len());
        let picks: UInt32Array = (slots.iter())
            .map(|slot| {
                let best = self.groups[*slot as usize].best(last)?;
                rows.push(parser.parse(best));
                Some(rows.len() as u32 - 1)
            })
            .collect();
        let columns = self.converter.convert_rows(rows)?;
        let values = &columns[self.places[0]];
        Ok(arrow::compute::take(values, &picks, None)?)
    }

    /// Calls `each` with every slot's decoded rows, in pieces of many slots.
    fn decode(
        &self,
        slots: &[u32],
        distinct: bool,
        mut each: impl FnMut(&[ArrayRef], usize, usize),
    ) -> Result<()> {
        let parser = self.converter.parser();
        let mut rows: Vec<Row<'_>> = Vec::new();
        let mut lengths: Vec<usize> = Vec::new();
        for (position, slot) in slots.iter().enumerate() {
            let before = rows.len();
            for (key, weight) in self.groups[*slot as usize].iter().filter(|(_, w)| *w > 0) {
                let times = if distinct { 1 } else { weight as usize };
                rows.extend(std::iter::repeat_n(parser.parse(key), times));
            }
            lengths.push(rows.len() - before);
            if rows.len() >= DECODE_ROWS_MAX || position + 1 == slots.len() {
                let columns = self.converter.convert_rows(rows.drain(..))?;
                let mut start = 0;
                for length in lengths.drain(..) {
                    each(&columns, start, length);
                    start += length;
                }
            }
        }
        Ok(())
    }
}

/// The function's value over the rows `start..start + length` of the stored columns.
fn evaluate_group(
    function: &AggregateFunctionExpr,
    inputs: &[Argument],
    columns: &[ArrayRef],
    start: usize,
    length: usize,
) -> Result<ScalarValue> {
    let mut accumulator = function.create_accumulator().map_err(evaluation_error)?;
    if length > 0 {
        let values = inputs.iter().map(|input| match input {
            Argument::Stored(place) => Ok(columns[*place].slice(start, length)),
            Argument::Constant(value) => value.to_array_of_size(length),
        });
        let values = values.collect::<Result<Vec<_>, _>>().map_err(evaluation_error)?;
        accumulator.update_batch(&values).map_err(evaluation_error)?;
    }
    accumulator.evaluate().map_err(evaluation_error)
}

impl Accumulator for Ordered {
    fn resize(&mut self, slots: usize) {
        self.groups.grow_with(slots, Bag::default);
    }

    fn update(&mut self, input: &Input<'_>) -> Result<()> {
        let mut columns: Vec<ArrayRef> = input.order.iter().map(|c| order_key(c)).collect();
        columns.extend(self.extra.iter().map(|(argument, key)| {
            let values = input.arguments[*argument];
            if *key { order_key(values) } else { Arc::clone(values) }
        }));
        let rows = self.converter.convert_columns(&columns)?;
        input.each(|row, slot, weight| self.add(slot, rows.row(row).as_ref(), weight));
        Ok(())
    }

    fn merge(&mut self, other: &dyn Accumulator, pairs: &[(u32, u32)]) {
        let other = same::<Ordered>(other);
        for (from, to) in pairs {
            for (key, weight) in other.groups[*from as usize].iter() {
                self.add(*to as usize, key, weight);
            }
        }
    }

    fn values(&self, slots: &[u32], failures: &mut Failures) -> Result<ArrayRef> {
        let (function, inputs, distinct) = match &self.finish {
            Finish::Edge { last, keep_one } => return self.edges(slots, *last && !*keep_one),
            Finish::All { evaluate, inputs, distinct } => (evaluate, inputs, *distinct),
        };
        if slots.is_empty() {
            return Ok(new_empty_array(&self.output));
        }
        let null = ScalarValue::try_from(&self.output).map_err(evaluation_error)?;
        let mut values = Vec::with_capacity(slots.len());
        self.decode(slots, distinct, |columns, start, length| {
            let value = evaluate_group(function, inputs, columns, start, length);
            values.push(value.unwrap_or_else(|report| {
                failures.push((values.len(), report));
                null.clone()
            }));
        })?;
        let array = ScalarValue::iter_to_array(values).map_err(evaluation_error)?;
        Ok(if array.data_type() == &self.output {
            array
        } else {
            arrow::compute::cast(&array, &self.output)?
        })
    }

    fn clear(&mut self, slots: &[u32]) {
        for slot in slots {
            let gone = std::mem::take(&mut self.groups[*slot as usize]);
            if !matches!(self.finish, Finish::Edge { keep_one: true, .. }) {
                let bytes: usize = gone.iter().map(|(key, _)| key.len()).sum();
                self.key_bytes = self.key_bytes.saturating_sub(bytes);
            }
        }
    }

    fn bytes(&self) -> usize {
        let bags: usize = self.groups.iter().map(Bag::bytes).sum();
        let keys = match self.finish {
            Finish::Edge { keep_one: true, .. } => {
                self.groups.iter().flat_map(Bag::iter).map(|(key, _)| key.len()).sum()
            }
            _ => self.key_bytes,
        };
        self.groups.capacity() * size_of::<Bag<Bytes>>() + bags + keys
    }
}
