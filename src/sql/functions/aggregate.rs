//! `sum` and `avg` with PostgreSQL's result types.
//!
//! sum: smallint, integer → bigint; bigint → numeric; numeric → numeric; real → real;
//! double → double; interval → interval. avg: whole numbers and numeric → numeric (a quotient, see
//! [`super::decimal`]), floats → double. Totals of whole numbers are kept in 128 bits, so
//! intermediate sums do not overflow; only the result is range-checked (22003). Totals of
//! floats are exact ([`crate::types::exact::total`]), so the order of rows does not matter.

pub mod bools;
pub mod moments;
pub mod ordered;
mod rules;
pub mod sketch;

mod frame;
mod intervals;

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
    Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, Signature, Volatility,
};

use super::column::out_of_range;
use super::datum::{undefined_function, with_type};
use super::decimal::{Numeric, QUOTIENT_SCALE, overflow};
use crate::error::{HwError, Result};
use crate::types::exact::total::FloatTotal;
use crate::types::pg_type::TYPE_KEY;
use crate::types::special::{Specials, is_special};

/// `sum` or `avg`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Total {
    average: bool,
    signature: Signature,
    /// Here and not `with_aliases`, whose wrapper does without accumulators of moving frames.
    aliases: Vec<String>,
}

impl Total {
    pub fn sum() -> Total {
        Total { average: false, signature: Signature::user_defined(Volatility::Immutable), aliases: vec![] }
    }
    pub fn avg() -> Total {
        let signature = Signature::user_defined(Volatility::Immutable);
        Total { average: true, signature, aliases: vec!["mean".into()] }
    }

    fn shape(&self, input: &DataType, output: &DataType) -> Shape {
        Shape {
            average: self.average,
            float: matches!(input, DataType::Float32 | DataType::Float64),
            scale: if let DataType::Decimal128(_, s) = input { *s } else { 0 },
            numeric: matches!(input, DataType::Decimal128(..)),
            output: output.clone(),
        }
    }
}

impl AggregateUDFImpl for Total {
    fn name(&self) -> &str {
        if self.average { "avg" } else { "sum" }
    }
    fn aliases(&self) -> &[String] {
        &self.aliases
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let [t] = types else { return Err(undefined_function(self.name(), types).into()) };
        Ok(vec![match t {
            DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Float32 | DataType::Float64 => {
                t.clone()
            }
            DataType::Int8 | DataType::UInt8 => DataType::Int16,
            DataType::UInt16 => DataType::Int32,
            DataType::UInt32 | DataType::UInt64 => DataType::Int64,
            DataType::Decimal128(_, _) => t.clone(),
            DataType::Null => DataType::Float64,
            t if intervals::is_interval(t) => intervals::carrier(),
            _ => return Err(undefined_function(self.name(), types).into()),
        }])
    }
    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        Ok(match (self.average, &types[0]) {
            (true, DataType::Float32 | DataType::Float64) => DataType::Float64,
            (true, DataType::Interval(_)) => intervals::carrier(),
            (true, _) => DataType::Decimal128(38, QUOTIENT_SCALE),
            (false, DataType::Int16 | DataType::Int32) => DataType::Int64,
            (false, DataType::Int64) => DataType::Decimal128(38, 0),
            (false, DataType::Decimal128(_, s)) => DataType::Decimal128(38, *s),
            (false, other) => other.clone(),
        })
    }
    fn return_field(&self, args: &[FieldRef]) -> DfResult<FieldRef> {
        let types: Vec<_> = args.iter().map(|f| f.data_type().clone()).collect();
        let ret = self.return_type(&types)?;
        let numeric = matches!(ret, DataType::Decimal128(_, _));
        let field = Field::new(self.name(), ret, true);
        let plain = types[0] == DataType::Int64 || args[0].metadata().contains_key(TYPE_KEY);
        Ok(Arc::new(match (numeric, self.average) {
            (true, true) => with_type(field, "numeric_avg"),
            (true, false) if plain => with_type(field, "numeric"),
            _ => field,
        }))
    }
    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        if intervals::is_interval(args.expr_fields[0].data_type()) {
            return Ok(Box::new(intervals::IntervalTotal::new(self.average, args.is_distinct)));
        }
        let shape = self.shape(args.expr_fields[0].data_type(), args.return_field.data_type());
        let distinct = args.is_distinct.then(HashSet::new);
        Ok(Box::new(TotalAccumulator { shape, total: Sums::default(), count: 0, distinct }))
    }
    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        let shape = self.shape(args.expr_fields[0].data_type(), args.return_field.data_type());
        if shape.float && !args.is_distinct {
            return Ok(Box::new(frame::FloatFrame::new(shape)));
        }
        self.accumulator(args)
    }
    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        let shape = self.shape(args.input_fields[0].data_type(), args.return_field.data_type());
        let field =
            |suffix: &str, t: DataType| Arc::new(Field::new(format_state_name(args.name, suffix), t, true));
        if args.is_distinct || intervals::is_interval(args.input_fields[0].data_type()) {
            return Ok(vec![field("distinct", DataType::Binary)]);
        }
        let mut fields = vec![field("total", shape.total_type()), field("count", DataType::Int64)];
        fields.extend(shape.numeric.then(|| field("special", DataType::Binary)));
        Ok(fields)
    }
    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct && !intervals::is_interval(args.expr_fields[0].data_type())
    }
    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn GroupsAccumulator>> {
        let shape = self.shape(args.expr_fields[0].data_type(), args.return_field.data_type());
        Ok(Box::new(TotalGroups::new(shape)))
    }
    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
}

/// What is added up and what comes out.
#[derive(Clone, Debug)]
struct Shape {
    average: bool,
    float: bool,
    /// The argument is numeric, which may be NaN or infinite.
    numeric: bool,
    scale: i8,
    output: DataType,
}

/// One value: whichever of the two the argument's type has.
#[derive(Clone, Copy, Debug, Default)]
struct Value {
    whole: i128,
    float: f64,
}

/// What was added up.
#[derive(Clone, Debug, Default)]
struct Sums {
    whole: i128,
    float: FloatTotal,
    specials: Specials,
}

impl Shape {
    fn total_type(&self) -> DataType {
        if self.float { DataType::Binary } else { DataType::Decimal128(38, self.scale) }
    }

    fn value(&self, total: &Sums, count: i64) -> Result<ScalarValue> {
        if self.float {
            let single = self.output == DataType::Float32;
            let value = total.float.value(self.average, single)?;
            return Ok(match single {
                true => ScalarValue::Float32(value.map(|v| v as f32)),
                false => ScalarValue::Float64(value),
            });
        }
        if count == 0 {
            return Ok(ScalarValue::try_from(&self.output)?);
        }
        if let (DataType::Decimal128(p, s), Some(special)) = (&self.output, total.specials.sum()) {
            return Ok(ScalarValue::Decimal128(Some(special), *p, *s));
        }
        let n = Numeric::new(total.whole, self.scale);
        Ok(match (&self.output, self.average) {
            (DataType::Int64, _) => {
                ScalarValue::Int64(Some(i64::try_from(total.whole).map_err(|_| out_of_range("bigint"))?))
            }
            (DataType::Decimal128(p, s), true) => {
                let quotient = n.quotient(Numeric::new(i128::from(count), 0))?;
                ScalarValue::Decimal128(Some(quotient.rescale(*s)?.v), *p, *s)
            }
            (DataType::Decimal128(p, s), false) => {
                if total.whole.unsigned_abs() >= 10u128.pow(38) {
                    return Err(overflow());
                }
                ScalarValue::Decimal128(Some(total.whole), *p, *s)
            }
            _ => ScalarValue::try_from(&self.output)?,
        })
    }
}

/// Calls `f(row, value)` for every non-null row.
fn for_each(array: &ArrayRef, mut f: impl FnMut(usize, Value)) {
    macro_rules! rows {
        ($t:ty, $value:expr) => {{
            let array = array.as_primitive::<$t>();
            for i in 0..array.len() {
                if !array.is_null(i) {
                    f(i, $value(array.value(i)));
                }
            }
        }};
    }
    match array.data_type() {
        DataType::Int16 => rows!(Int16Type, |v| Value { whole: i128::from(v), float: 0.0 }),
        DataType::Int32 => rows!(Int32Type, |v| Value { whole: i128::from(v), float: 0.0 }),
        DataType::Int64 => rows!(Int64Type, |v| Value { whole: i128::from(v), float: 0.0 }),
        DataType::Decimal128(_, _) => rows!(Decimal128Type, |v| Value { whole: v, float: 0.0 }),
        DataType::Float32 => rows!(Float32Type, |v| Value { whole: 0, float: f64::from(v) }),
        DataType::Float64 => rows!(Float64Type, |v| Value { whole: 0, float: v }),
        _ => {}
    }
}

/// The sum of floats in a state.
fn read_total(bytes: &[u8]) -> Result<FloatTotal> {
    let mut bytes = bytes;
    FloatTotal::read(&mut bytes).ok_or_else(|| HwError::internal("the state of a sum is malformed"))
}

fn written(total: &FloatTotal) -> Vec<u8> {
    let mut bytes = Vec::new();
    total.write(&mut bytes);
    bytes
}

#[derive(Debug)]
struct TotalAccumulator {
    shape: Shape,
    total: Sums,
    count: i64,
    /// The values seen, for DISTINCT: as 128 bits (a double by its bits).
    distinct: Option<HashSet<i128>>,
}

impl TotalAccumulator {
    fn apply(&mut self, v: Value) -> Result<()> {
        if let Some(seen) = &mut self.distinct {
            let key = if self.shape.float { i128::from((v.float + 0.0).to_bits()) } else { v.whole };
            if !seen.insert(key) {
                return Ok(());
            }
        }
        self.count += 1;
        if self.shape.float {
            self.total.float.add(v.float, 1);
        } else if is_special(v.whole) {
            self.total.specials.add(v.whole, 1);
        } else {
            self.total.whole = self.total.whole.checked_add(v.whole).ok_or_else(overflow)?;
        }
        Ok(())
    }
}

impl Accumulator for TotalAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        let mut result = Ok(());
        for_each(&values[0], |_, v| {
            if result.is_ok() {
                result = self.apply(v);
            }
        });
        Ok(result?)
    }
    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        Ok(self.shape.value(&self.total, self.count)?)
    }
    fn size(&self) -> usize {
        size_of::<Self>() + self.distinct.as_ref().map_or(0, |d| d.capacity() * 17)
    }
    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        if let Some(seen) = &self.distinct {
            let bytes = seen.iter().flat_map(|v| v.to_le_bytes()).collect();
            return Ok(vec![ScalarValue::Binary(Some(bytes))]);
        }
        let total = match self.shape.float {
            true => ScalarValue::Binary(Some(written(&self.total.float))),
            false => ScalarValue::Decimal128(Some(self.total.whole), 38, self.shape.scale),
        };
        let mut state = vec![total, ScalarValue::Int64(Some(self.count))];
        if self.shape.numeric {
            let specials = self.total.specials;
            let some = (specials != Specials::default()).then(|| specials.write().to_vec());
            state.push(ScalarValue::Binary(some));
        }
        Ok(state)
    }
    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        if self.distinct.is_some() {
            for bytes in states[0].as_binary::<i32>().iter().flatten() {
                for chunk in bytes.chunks_exact(16) {
                    let v = i128::from_le_bytes(chunk.try_into().expect("chunks of 16 bytes"));
                    let float = if self.shape.float { f64::from_bits(v as u64) } else { 0.0 };
                    self.apply(Value { whole: if self.shape.float { 0 } else { v }, float })?;
                }
            }
            return Ok(());
        }
        let counts = states[1].as_primitive::<Int64Type>();
        self.count += counts.iter().flatten().sum::<i64>();
        if self.shape.float {
            for bytes in states[0].as_binary::<i32>().iter().flatten() {
                self.total.float.join(&read_total(bytes)?);
            }
            return Ok(());
        }
        if self.shape.numeric {
            let specials = states[2].as_binary::<i32>().iter().flatten().filter_map(Specials::read);
            specials.for_each(|more| self.total.specials.join(more));
        }
        let mut sum = Some(self.total.whole);
        for_each(&states[0], |_, v| sum = sum.and_then(|s| s.checked_add(v.whole)));
        self.total.whole = sum.ok_or_else(overflow)?;
        Ok(())
    }
    fn retract_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        for_each(&values[0], |_, v| {
            self.count -= 1;
            match is_special(v.whole) {
                true => self.total.specials.add(v.whole, -1),
                false => self.total.whole -= v.whole,
            }
            if self.shape.float {
                self.total.float.add(v.float, -1);
            }
        });
        Ok(())
    }
    fn supports_retract_batch(&self) -> bool {
        self.distinct.is_none()
    }
}

#[derive(Debug)]
struct TotalGroups {
    shape: Shape,
    whole: Vec<i128>,
    floats: Vec<FloatTotal>,
    counts: Vec<i64>,
    /// NaN and infinities; none while none was seen.
    specials: Vec<Specials>,
}

impl TotalGroups {
    fn new(shape: Shape) -> TotalGroups {
        TotalGroups { shape, whole: vec![], floats: vec![], counts: vec![], specials: vec![] }
    }

    fn special(&mut self, group: usize) -> &mut Specials {
        self.specials.resize(self.counts.len(), Specials::default());
        &mut self.specials[group]
    }

    fn grow(&mut self, groups: usize) {
        self.counts.resize(groups, 0);
        match self.shape.float {
            true => self.floats.resize(groups, FloatTotal::default()),
            false => self.whole.resize(groups, 0),
        }
    }

    fn apply(
        &mut self,
        values: &ArrayRef,
        groups: &[usize],
        filter: Option<&BooleanArray>,
        values_may_be_special: bool,
        count: impl Fn(usize) -> i64,
    ) -> Result<()> {
        let (float, mut result) = (self.shape.float, Ok(()));
        for_each(values, |i, v| {
            if filter.is_some_and(|f| f.is_null(i) || !f.value(i)) {
                return;
            }
            let g = groups[i];
            self.counts[g] += count(i);
            if float {
                self.floats[g].add(v.float, 1);
            } else if values_may_be_special && is_special(v.whole) {
                self.special(g).add(v.whole, 1);
            } else {
                match self.whole[g].checked_add(v.whole) {
                    Some(sum) => self.whole[g] = sum,
                    None => result = Err(overflow()),
                }
            }
        });
        result
    }

    fn take(&mut self, emit: EmitTo) -> (Vec<i128>, Vec<FloatTotal>, Vec<i64>, Vec<Specials>) {
        if !self.specials.is_empty() {
            self.specials.resize(self.counts.len(), Specials::default());
        }
        let specials = if self.specials.is_empty() { vec![] } else { emit.take_needed(&mut self.specials) };
        let counts = emit.take_needed(&mut self.counts);
        match self.shape.float {
            true => (vec![], emit.take_needed(&mut self.floats), counts, specials),
            false => (emit.take_needed(&mut self.whole), vec![], counts, specials),
        }
    }
}

impl GroupsAccumulator for TotalGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total_groups: usize,
    ) -> DfResult<()> {
        self.grow(total_groups);
        Ok(self.apply(&values[0], groups, filter, self.shape.numeric, |_| 1)?)
    }
    fn evaluate(&mut self, emit: EmitTo) -> DfResult<ArrayRef> {
        let (whole, floats, counts, specials) = self.take(emit);
        let mut floats = floats.into_iter();
        let values = counts.iter().enumerate().map(|(g, count)| {
            let total = Sums {
                whole: whole.get(g).copied().unwrap_or(0),
                float: floats.next().unwrap_or_default(),
                specials: specials.get(g).copied().unwrap_or_default(),
            };
            self.shape.value(&total, *count)
        });
        let values = values.collect::<Result<Vec<_>>>()?;
        if values.is_empty() {
            return Ok(new_empty_array(&self.shape.output));
        }
        ScalarValue::iter_to_array(values)
    }
    fn state(&mut self, emit: EmitTo) -> DfResult<Vec<ArrayRef>> {
        let (whole, floats, counts, specials) = self.take(emit);
        let total: ArrayRef = match self.shape.float {
            true => Arc::new(BinaryArray::from_iter_values(floats.iter().map(written))),
            false => Arc::new(Decimal128Array::from(whole).with_data_type(self.shape.total_type())),
        };
        let mut state: Vec<ArrayRef> = vec![total];
        if self.shape.numeric {
            let written = |g: usize| {
                let specials = specials.get(g).copied().unwrap_or_default();
                (specials != Specials::default()).then(|| specials.write())
            };
            state.push(Arc::new((0..counts.len()).map(written).collect::<BinaryArray>()));
        }
        state.insert(1, Arc::new(Int64Array::from(counts)));
        Ok(state)
    }
    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total_groups: usize) -> DfResult<()> {
        self.grow(total_groups);
        let counts = values[1].as_primitive::<Int64Type>();
        if self.shape.float {
            let totals = values[0].as_binary::<i32>();
            for (row, group) in groups.iter().enumerate() {
                self.counts[*group] += counts.value(row);
                self.floats[*group].join(&read_total(totals.value(row))?);
            }
            return Ok(());
        }
        if self.shape.numeric {
            let specials = values[2].as_binary::<i32>();
            for (row, group) in groups.iter().enumerate().filter(|(row, _)| specials.is_valid(*row)) {
                let more = Specials::read(specials.value(row)).unwrap_or_default();
                self.special(*group).join(more);
            }
        }
        Ok(self.apply(&values[0], groups, None, false, |i| counts.value(i))?)
    }
    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> DfResult<Vec<ArrayRef>> {
        let rows = values[0].len();
        let mut each = TotalGroups::new(self.shape.clone());
        let groups: Vec<usize> = (0..rows).collect();
        each.update_batch(values, &groups, filter, rows)?;
        each.state(EmitTo::All)
    }
    fn size(&self) -> usize {
        size_of::<Self>()
            + self.whole.capacity() * 16
            + self.counts.capacity() * 8
            + self.specials.capacity() * size_of::<Specials>()
            + self.floats.capacity() * (size_of::<FloatTotal>() + 32)
    }
}
