//! Aggregates over the rows of a group in order: `array_agg`, `string_agg`, `jsonb_agg`,
//! `jsonb_object_agg` and those of json, `mode`, `percentile_cont`, `percentile_disc`, `median`,
//! `first_value`, `last_value`, `any_value`, `min_by`, `max_by`.
//!
//! One accumulator keeps the rows, sorts them when it is evaluated and hands them to the
//! function's [`Rule`]. Rows that ORDER BY leaves tied, and all rows without ORDER BY, are
//! ordered by the arguments: PostgreSQL leaves that open, here it makes the result
//! independent of the order of the input. Views evaluate the same accumulator.

use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt32Array, new_empty_array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{SortOptions, concat, take};
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::function::{AccumulatorArgs, AggregateFunctionSimplification, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

use super::rules::Finished;
pub use super::rules::Rule;
use crate::types::order_key::{ASCENDING, order_key, order_type};

/// One aggregate of this family.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ordered {
    rule: Rule,
    aliases: Vec<String>,
    signature: Signature,
}

/// All aggregates of this family.
/// One of the functions, for planners.
pub fn function(rule: Rule) -> AggregateUDF {
    named(rule, &[])
}

fn named(rule: Rule, aliases: &[&str]) -> AggregateUDF {
    AggregateUDF::new_from_impl(Ordered {
        rule,
        aliases: aliases.iter().map(|a| a.to_string()).collect(),
        signature: Signature::user_defined(Volatility::Immutable),
    })
}

pub fn functions() -> Vec<AggregateUDF> {
    let all: [(Rule, &[&str]); 15] = [
        (Rule::ArrayAgg, &[]),
        (Rule::StringAgg, &["listagg"]),
        (Rule::JsonAgg, &[]),
        (Rule::JsonObjectAgg, &[]),
        (Rule::RawJsonAgg, &[]),
        (Rule::RawJsonObjectAgg, &[]),
        (Rule::Mode, &[]),
        (Rule::PercentileCont, &["quantile_cont"]),
        (Rule::PercentileDisc, &["quantile_disc"]),
        (Rule::Median, &[]),
        (Rule::FirstValue, &[]),
        (Rule::LastValue, &[]),
        (Rule::AnyValue, &[]),
        (Rule::MinBy, &["arg_min"]),
        (Rule::MaxBy, &["arg_max"]),
    ];
    all.into_iter().map(|(rule, aliases)| named(rule, aliases)).collect()
}

impl AggregateUDFImpl for Ordered {
    fn name(&self) -> &str {
        self.rule.name()
    }
    fn aliases(&self) -> &[String] {
        &self.aliases
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        Ok(self.rule.coerce(types)?)
    }
    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        let fields: Vec<FieldRef> =
            types.iter().map(|t| Arc::new(Field::new("argument", t.clone(), true))).collect();
        Ok(self.rule.output(&fields).data_type().clone())
    }
    fn return_field(&self, args: &[FieldRef]) -> DfResult<FieldRef> {
        Ok(Arc::new(self.rule.output(args).with_name(self.name())))
    }
    fn supports_within_group_clause(&self) -> bool {
        self.rule.within_group()
    }
    fn supports_null_handling_clause(&self) -> bool {
        matches!(self.rule, Rule::FirstValue | Rule::LastValue)
    }
    /// The order is made here, so that several calls of one query may differ in theirs.
    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Beneficial
    }
    fn with_beneficial_ordering(self: Arc<Self>, _: bool) -> DfResult<Option<Arc<dyn AggregateUDFImpl>>> {
        Ok(Some(self))
    }
    fn simplify(&self) -> Option<AggregateFunctionSimplification> {
        None
    }
    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        let arguments = args.expr_fields.iter().map(|f| Ok(f.data_type().clone()));
        let columns = arguments.chain(args.order_bys.iter().map(|o| o.expr.data_type(args.schema)));
        Ok(Box::new(Kept {
            rule: self.rule,
            output: args.return_field,
            arguments: args.exprs.len(),
            types: columns.collect::<DfResult<_>>()?,
            order: args.order_bys.iter().map(|o| o.options).collect(),
            distinct: args.is_distinct,
            ignore_nulls: args.ignore_nulls,
            pieces: Vec::new(),
            bytes: 0,
        }))
    }
    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        let columns = args.input_fields.iter().chain(args.ordering_fields).enumerate();
        Ok(columns
            .map(|(i, f)| {
                let list = DataType::List(Arc::new(Field::new_list_field(f.data_type().clone(), true)));
                Arc::new(Field::new(format_state_name(args.name, &format!("column{i}")), list, true))
            })
            .collect())
    }
}

/// The rows of one group: arguments, then the keys of ORDER BY.
#[derive(Debug)]
struct Kept {
    rule: Rule,
    output: FieldRef,
    arguments: usize,
    /// Types of the columns.
    types: Vec<DataType>,
    order: Vec<SortOptions>,
    distinct: bool,
    ignore_nulls: bool,
    pieces: Vec<Vec<ArrayRef>>,
    bytes: usize,
}

impl Kept {
    fn columns(&self) -> DfResult<Vec<ArrayRef>> {
        let column = |c: usize| {
            let parts: Vec<&dyn Array> = self.pieces.iter().map(|p| p[c].as_ref()).collect();
            Ok(if parts.is_empty() { new_empty_array(&self.types[c]) } else { concat(&parts)? })
        };
        (0..self.types.len()).map(column).collect()
    }

    /// The order keys of the rows, ties broken by the arguments.
    fn keys(&self, columns: &[ArrayRef]) -> DfResult<Rows> {
        let (arguments, order) = columns.split_at(self.arguments);
        let by_rule = self.rule.key(arguments);
        let mut options: Vec<SortOptions> = by_rule.iter().map(|(_, o)| *o).collect();
        let mut keys: Vec<ArrayRef> = by_rule.into_iter().map(|(k, _)| k).collect();
        if keys.is_empty() {
            keys.extend(order.iter().map(order_key));
            options.clone_from(&self.order);
        }
        keys.extend(arguments.iter().flat_map(|a| [order_key(a), Arc::clone(a)]));
        options.resize(keys.len(), ASCENDING);
        let fields = keys.iter().zip(options);
        let fields = fields.map(|(k, o)| SortField::new_with_options(k.data_type().clone(), o)).collect();
        Ok(RowConverter::new(fields)?.convert_columns(&keys)?)
    }

    /// The arguments of the rows that count, in order.
    fn sorted(&self) -> DfResult<Vec<ArrayRef>> {
        let columns = self.columns()?;
        let keys = self.keys(&columns)?;
        let skip = self.rule.required(self.ignore_nulls).map(|c| columns[c].logical_nulls());
        let present = |row: &u32| match &skip {
            Some(Some(nulls)) => nulls.is_valid(*row as usize),
            _ => true,
        };
        let mut picks: Vec<u32> = (0..keys.num_rows() as u32).filter(present).collect();
        picks.sort_by(|a, b| keys.row(*a as usize).cmp(&keys.row(*b as usize)));
        if self.distinct {
            let fields = columns[..self.arguments].iter();
            let fields = fields.map(|c| SortField::new(order_type(c.data_type()))).collect();
            let arguments: Vec<ArrayRef> = columns[..self.arguments].iter().map(order_key).collect();
            let values = RowConverter::new(fields)?.convert_columns(&arguments)?;
            picks.dedup_by(|a, b| values.row(*a as usize) == values.row(*b as usize));
        }
        let picks = UInt32Array::from(picks);
        Ok(columns[..self.arguments].iter().map(|c| take(c, &picks, None)).collect::<Result<_, _>>()?)
    }
}

impl Accumulator for Kept {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        if values.first().is_some_and(|v| !v.is_empty()) {
            self.bytes += values.iter().map(|v| v.get_buffer_memory_size() / v.len().max(1)).sum::<usize>();
            self.pieces.push(values.to_vec());
        }
        Ok(())
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        if self.pieces.is_empty() {
            return ScalarValue::try_from(self.output.data_type());
        }
        let rows = self.sorted()?;
        if rows[0].is_empty() {
            return ScalarValue::try_from(self.output.data_type());
        }
        Ok(match self.rule.finish(&rows)? {
            Finished::Scalar(value) => value,
            Finished::Element(column, row) => ScalarValue::try_from_array(&rows[column], row)?,
            Finished::List(items) => ScalarValue::List(Arc::new(one_list(self.output.data_type(), items)?)),
        })
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.bytes + self.pieces.capacity() * size_of::<Vec<ArrayRef>>()
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        let list = |items: ArrayRef| {
            let list = DataType::List(Arc::new(Field::new_list_field(items.data_type().clone(), true)));
            Ok(ScalarValue::List(Arc::new(one_list(&list, items)?)))
        };
        self.columns()?.into_iter().map(list).collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        for row in 0..states.first().map_or(0, |s| s.len()) {
            let columns = states.iter().map(|s| s.as_list::<i32>());
            if columns.clone().all(|s| s.is_valid(row)) {
                self.update_batch(&columns.map(|s| s.value(row)).collect::<Vec<_>>())?;
            }
        }
        Ok(())
    }
}

/// A list column of one row.
fn one_list(data_type: &DataType, items: ArrayRef) -> DfResult<ListArray> {
    let field = match data_type {
        DataType::List(field) => Arc::clone(field),
        _ => Arc::new(Field::new_list_field(items.data_type().clone(), true)),
    };
    Ok(ListArray::try_new(field, OffsetBuffer::from_lengths([items.len()]), items, None)?)
}
