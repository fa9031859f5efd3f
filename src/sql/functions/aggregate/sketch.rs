//! `approx_percentile_cont(p) WITHIN GROUP (ORDER BY x)`, also written
//! `approx_percentile_cont(x, p)`, and `approx_median(x)`: percentiles of a sketch
//! ([`crate::types::exact::sketch`]) with a relative error of at most 1 %.

use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

use super::rules::check_fraction;
use crate::error::HwError;
use crate::sql::functions::datum::undefined_function;
use crate::types::exact::sketch::Sketch;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Approximate {
    median: bool,
    signature: Signature,
}

pub fn functions() -> Vec<AggregateUDF> {
    let function = |median| {
        let signature = Signature::user_defined(Volatility::Immutable);
        AggregateUDF::new_from_impl(Approximate { median, signature })
    };
    vec![function(false), function(true)]
}

impl AggregateUDFImpl for Approximate {
    fn name(&self) -> &str {
        if self.median { "approx_median" } else { "approx_percentile_cont" }
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let numbers = types.iter().all(|t| t.is_numeric() || t == &DataType::Null);
        if !numbers || types.len() != if self.median { 1 } else { 2 } {
            return Err(undefined_function(self.name(), types).into());
        }
        Ok(vec![DataType::Float64; types.len()])
    }
    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Float64)
    }
    fn supports_within_group_clause(&self) -> bool {
        !self.median
    }
    /// The direction of the order is all that matters.
    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        Ok(Box::new(SketchAccumulator {
            sketch: Sketch::default(),
            fraction: self.median.then_some(0.5),
            descending: args.order_bys.first().is_some_and(|o| o.options.descending),
            distinct: args.is_distinct.then(Default::default),
        }))
    }
    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        let field = |suffix, t| Arc::new(Field::new(format_state_name(args.name, suffix), t, true));
        Ok(vec![field("sketch", DataType::Binary), field("fraction", DataType::Float64)])
    }
}

#[derive(Debug)]
struct SketchAccumulator {
    sketch: Sketch,
    fraction: Option<f64>,
    descending: bool,
    /// Bits of the values seen, for DISTINCT.
    distinct: Option<std::collections::HashSet<u64>>,
}

impl Accumulator for SketchAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        if let Some(fractions) = values.get(1) {
            let fractions = fractions.as_primitive::<Float64Type>();
            self.fraction = fractions.iter().next().flatten().or(self.fraction);
        }
        for value in values[0].as_primitive::<Float64Type>().iter().flatten() {
            if self.distinct.as_mut().is_none_or(|seen| seen.insert((value + 0.0).to_bits())) {
                self.sketch.add(value, 1);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let Some(fraction) = self.fraction else { return Ok(ScalarValue::Float64(None)) };
        let fraction = check_fraction(fraction)?;
        let fraction = if self.descending { 1.0 - fraction } else { fraction };
        Ok(ScalarValue::Float64(self.sketch.percentile(fraction)))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.sketch.heap_bytes() + self.distinct.as_ref().map_or(0, |d| d.capacity() * 9)
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        let mut bytes = Vec::new();
        match &self.distinct {
            Some(seen) => seen.iter().for_each(|bits| bytes.extend_from_slice(&bits.to_le_bytes())),
            None => self.sketch.write(&mut bytes),
        }
        Ok(vec![ScalarValue::Binary(Some(bytes)), ScalarValue::Float64(self.fraction)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let fractions = states[1].as_primitive::<Float64Type>();
        self.fraction = fractions.iter().flatten().next().or(self.fraction);
        for bytes in states[0].as_binary::<i32>().iter().flatten() {
            match &mut self.distinct {
                None => {
                    let read = self.sketch.read(bytes);
                    read.ok_or_else(|| HwError::internal("the state of a sketch is malformed"))?;
                }
                Some(seen) => {
                    for bits in bytes.chunks(8).filter_map(|b| b.first_chunk()) {
                        let bits = u64::from_le_bytes(*bits);
                        if seen.insert(bits) {
                            self.sketch.add(f64::from_bits(bits), 1);
                        }
                    }
                }
            }
        }
        Ok(())
    }
}
