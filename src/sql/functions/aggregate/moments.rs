//! Variance, covariance, correlation and regression with PostgreSQL's types and an exact
//! state ([`crate::types::exact::moments`]).

use std::collections::HashSet;
use std::mem::size_of;
use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ReversedUDAF, Signature, Volatility,
};

use crate::error::{HwError, Result};
use crate::sql::functions::datum::{undefined_function, with_type};
use crate::sql::functions::decimal::QUOTIENT_SCALE;
use crate::types::PgType;
use crate::types::exact::moments::{FloatMoments, Statistic, WholeMoments};

/// One statistic as an aggregate.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Moments {
    name: &'static str,
    statistic: Statistic,
    signature: Signature,
}

/// All statistics, one function for each name, so that messages say the name that was called.
pub fn functions() -> Vec<AggregateUDF> {
    let names = |s: Statistic| std::iter::once(s.name()).chain(s.other_names().iter().copied());
    let function = |statistic: Statistic| {
        names(statistic).map(move |name| {
            let signature = Signature::user_defined(Volatility::Immutable);
            AggregateUDF::new_from_impl(Moments { name, statistic, signature })
        })
    };
    Statistic::ALL.into_iter().flat_map(function).collect()
}

fn is_whole(t: &DataType) -> bool {
    matches!(t, DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Decimal128(..))
}

impl AggregateUDFImpl for Moments {
    fn name(&self) -> &str {
        self.name
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let undefined = || undefined_function(self.name(), types);
        let numeric = |t: &DataType| t == &DataType::Null || t.is_numeric();
        if types.len() != 1 + usize::from(self.statistic.is_of_two()) || !types.iter().all(numeric) {
            return Err(undefined().into());
        }
        Ok(match types {
            [DataType::Int8 | DataType::UInt8] => vec![DataType::Int16],
            [DataType::UInt16] => vec![DataType::Int32],
            [DataType::UInt32 | DataType::UInt64] => vec![DataType::Int64],
            [t] if is_whole(t) => vec![t.clone()],
            all => vec![DataType::Float64; all.len()],
        })
    }
    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        Ok(match (self.statistic, types) {
            (Statistic::RegrCount, _) => DataType::Int64,
            (_, [t]) if is_whole(t) => DataType::Decimal128(38, QUOTIENT_SCALE),
            _ => DataType::Float64,
        })
    }
    fn return_field(&self, args: &[FieldRef]) -> DfResult<FieldRef> {
        let types: Vec<_> = args.iter().map(|f| f.data_type().clone()).collect();
        let field = Field::new(self.name(), self.return_type(&types)?, true);
        let numeric = matches!(field.data_type(), DataType::Decimal128(..));
        Ok(Arc::new(if numeric { with_type(field, "numeric_avg") } else { field }))
    }
    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        let argument = &args.expr_fields[0];
        let scale = match argument.data_type() {
            DataType::Decimal128(_, scale) => *scale as u32,
            _ => 0,
        };
        Ok(Box::new(MomentsAccumulator {
            statistic: self.statistic,
            state: State::of(argument.data_type()),
            plain: PgType::of(argument) == PgType::Numeric(None),
            scale,
            distinct: args.is_distinct.then(HashSet::new),
        }))
    }
    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        let name = format_state_name(args.name, "moments");
        Ok(vec![Arc::new(Field::new(name, DataType::Binary, true))])
    }
    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
}

#[derive(Debug)]
enum State {
    Whole(WholeMoments),
    Float(FloatMoments),
}

impl State {
    fn of(argument: &DataType) -> State {
        if is_whole(argument) { State::Whole(Default::default()) } else { State::Float(Default::default()) }
    }
}

#[derive(Debug)]
struct MomentsAccumulator {
    statistic: Statistic,
    state: State,
    scale: u32,
    plain: bool,
    /// Values seen, for DISTINCT: a number, or the bits of doubles.
    distinct: Option<HashSet<[i128; 2]>>,
}

impl MomentsAccumulator {
    fn is_new(&mut self, value: [i128; 2]) -> bool {
        self.distinct.as_mut().is_none_or(|seen| seen.insert(value))
    }

    fn add_whole(&mut self, value: i128) {
        if self.is_new([value, 0])
            && let State::Whole(moments) = &mut self.state
        {
            moments.add(value, 1);
        }
    }

    fn add_floats(&mut self, y: f64, x: Option<f64>) {
        let key = |v: f64| if v.is_nan() { f64::NAN.to_bits() } else { (v + 0.0).to_bits() };
        if self.is_new([i128::from(key(y)), x.map_or(-1, |x| i128::from(key(x)))])
            && let State::Float(moments) = &mut self.state
        {
            match x {
                Some(x) => moments.add_pair(y, x, 1),
                None => moments.add(y, 1),
            }
        }
    }

    fn value(&self) -> Result<ScalarValue> {
        Ok(match &self.state {
            State::Whole(moments) => {
                let scale = QUOTIENT_SCALE;
                let value = moments.value(self.statistic, self.scale, self.plain, scale as u32)?;
                ScalarValue::Decimal128(value, 38, scale)
            }
            State::Float(moments) => {
                let value = moments.value(self.statistic)?;
                match self.statistic {
                    Statistic::RegrCount => ScalarValue::Int64(Some(value.unwrap_or(0.0) as i64)),
                    _ => ScalarValue::Float64(value),
                }
            }
        })
    }
}

impl Accumulator for MomentsAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        macro_rules! whole {
            ($t:ty) => {
                values[0].as_primitive::<$t>().iter().flatten().for_each(|v| self.add_whole(v as i128))
            };
        }
        match values[0].data_type() {
            DataType::Int16 => whole!(Int16Type),
            DataType::Int32 => whole!(Int32Type),
            DataType::Int64 => whole!(Int64Type),
            DataType::Decimal128(..) => whole!(Decimal128Type),
            _ => {
                let first = values[0].as_primitive::<Float64Type>();
                let second = values.get(1).map(|v| v.as_primitive::<Float64Type>());
                for row in 0..first.len() {
                    if first.is_valid(row) && second.is_none_or(|s| s.is_valid(row)) {
                        self.add_floats(first.value(row), second.map(|s| s.value(row)));
                    }
                }
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        Ok(self.value()?)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.distinct.as_ref().map_or(0, |d| d.capacity() * 33)
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        let mut bytes = Vec::new();
        match (&self.distinct, &self.state) {
            (Some(seen), _) => {
                seen.iter().flatten().for_each(|v| bytes.extend_from_slice(&v.to_le_bytes()));
            }
            (None, State::Whole(moments)) => moments.write(&mut bytes),
            (None, State::Float(moments)) => moments.write(&mut bytes),
        }
        Ok(vec![ScalarValue::Binary(Some(bytes))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let broken = || HwError::internal("the state of an aggregate is malformed");
        for mut bytes in states[0].as_binary::<i32>().iter().flatten() {
            if self.distinct.is_some() {
                for pair in bytes.chunks_exact(32) {
                    let number = |at: usize| pair[at..].first_chunk().map(|b| i128::from_le_bytes(*b));
                    let (Some(first), Some(second)) = (number(0), number(16)) else { continue };
                    match &self.state {
                        State::Whole(_) => self.add_whole(first),
                        State::Float(_) => {
                            let x = (second >= 0).then(|| f64::from_bits(second as u64));
                            self.add_floats(f64::from_bits(first as u64), x);
                        }
                    }
                }
                continue;
            }
            match &mut self.state {
                State::Whole(moments) => moments.join(&WholeMoments::read(&mut bytes).ok_or_else(broken)?),
                State::Float(moments) => moments.join(&FloatMoments::read(&mut bytes).ok_or_else(broken)?),
            }
        }
        Ok(())
    }
}
