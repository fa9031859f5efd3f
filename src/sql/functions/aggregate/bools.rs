//! `bool_and` and `bool_or`: DataFusion's, and over moving frames by counts, so that rows can
//! leave again.

use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, Signature,
};

/// One of the two.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Bools {
    inner: Arc<AggregateUDF>,
    aliases: Vec<String>,
}

pub fn functions() -> Vec<AggregateUDF> {
    use datafusion::functions_aggregate::bool_and_or::{bool_and_udaf, bool_or_udaf};
    let made = |inner: Arc<AggregateUDF>, aliases: &[&str]| {
        let aliases = aliases.iter().map(|a| a.to_string()).collect();
        AggregateUDF::new_from_impl(Bools { inner, aliases })
    };
    vec![made(bool_and_udaf(), &["every"]), made(bool_or_udaf(), &[])]
}

impl AggregateUDFImpl for Bools {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Boolean)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        self.inner.accumulator(args)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn GroupsAccumulator>> {
        self.inner.create_groups_accumulator(args)
    }

    fn create_sliding_accumulator(&self, _: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        Ok(Box::new(Counts { and: self.name() == "bool_and", trues: 0, falses: 0 }))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
}

/// The values in a frame.
#[derive(Debug)]
struct Counts {
    and: bool,
    trues: usize,
    falses: usize,
}

fn count(values: &[ArrayRef]) -> (usize, usize) {
    let values = values[0].as_boolean();
    let trues = values.true_count();
    (trues, values.len() - values.null_count() - trues)
}

impl Accumulator for Counts {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        let (trues, falses) = count(values);
        self.trues += trues;
        self.falses += falses;
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        let (trues, falses) = count(values);
        self.trues -= trues;
        self.falses -= falses;
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let value = match (self.trues, self.falses) {
            (0, 0) => None,
            (trues, falses) => Some(if self.and { falses == 0 } else { trues > 0 }),
        };
        Ok(ScalarValue::Boolean(value))
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        self.update_batch(states)
    }

    fn size(&self) -> usize {
        size_of::<Counts>()
    }
}
