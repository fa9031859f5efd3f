//! `sum` and `avg` of intervals: months, days and times are added up apart.
//!
//! The average divides the sum as `interval / number` does. Sums beyond an interval are 22008.

use std::collections::HashSet;
use std::mem::size_of;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, IntervalMonthDayNano, IntervalMonthDayNanoType};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::Accumulator;

use crate::error::{HwError, Result, sqlstate};
use crate::sql::functions::arith::ArithOp;
use crate::sql::functions::datum::Datum;
use crate::sql::functions::temporal::{interval_order, temporal_op};
use crate::sql::functions::zone::Zone;
use crate::types::PgType;

/// Bytes of a partial state: three sums and the count.
const STATE_BYTES: usize = 64;

/// The total of the intervals seen.
#[derive(Debug, Default)]
pub(super) struct IntervalTotal {
    average: bool,
    sums: [i128; 3],
    count: i128,
    /// For DISTINCT: what was seen, by length, and the first interval of that length.
    distinct: Option<HashSet<(i128, IntervalMonthDayNano)>>,
    lengths: HashSet<i128>,
}

impl IntervalTotal {
    pub(super) fn new(average: bool, distinct: bool) -> IntervalTotal {
        IntervalTotal { average, distinct: distinct.then(HashSet::new), ..IntervalTotal::default() }
    }

    fn add(&mut self, i: IntervalMonthDayNano, weight: i128) {
        if let Some(seen) = &mut self.distinct {
            let length = interval_order(i);
            if !self.lengths.insert(length) {
                return;
            }
            seen.insert((length, i));
        }
        let parts = [i128::from(i.months), i128::from(i.days), i128::from(i.nanoseconds)];
        for (sum, part) in self.sums.iter_mut().zip(parts) {
            *sum += part * weight;
        }
        self.count += weight;
    }

    fn add_all(&mut self, values: &ArrayRef, weight: i128) {
        let values = values.as_primitive::<IntervalMonthDayNanoType>();
        values.iter().flatten().for_each(|i| self.add(i, weight));
    }

    fn value(&self) -> Result<Option<IntervalMonthDayNano>> {
        if self.count == 0 {
            return Ok(None);
        }
        let out_of_range = || HwError::new(sqlstate::DATETIME_FIELD_OVERFLOW, "interval out of range");
        let part = |n: usize| i32::try_from(self.sums[n]).map_err(|_| out_of_range());
        let nanos = i64::try_from(self.sums[2]).map_err(|_| out_of_range())?;
        let sum = IntervalMonthDayNano::new(part(0)?, part(1)?, nanos);
        if !self.average {
            return Ok(Some(sum));
        }
        let count = Datum::Float(self.count as f64);
        let quotient = temporal_op(ArithOp::Div, &Datum::Interval(sum), &count, &Zone::UTC)?;
        Ok(Some(quotient.as_interval()))
    }
}

impl Accumulator for IntervalTotal {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.add_all(&values[0], 1);
        Ok(())
    }
    fn retract_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.add_all(&values[0], -1);
        Ok(())
    }
    fn supports_retract_batch(&self) -> bool {
        self.distinct.is_none()
    }
    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        Ok(ScalarValue::IntervalMonthDayNano(self.value()?))
    }
    fn size(&self) -> usize {
        size_of::<Self>() + self.lengths.capacity() * 64
    }
    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        let bytes: Vec<u8> = match &self.distinct {
            Some(seen) => {
                let each = |(_, i): &(i128, IntervalMonthDayNano)| {
                    let (months, days, nanos) = (i.months, i.days, i.nanoseconds);
                    [&months.to_le_bytes()[..], &days.to_le_bytes(), &nanos.to_le_bytes()].concat()
                };
                seen.iter().flat_map(each).collect()
            }
            None => {
                self.sums.iter().chain(std::iter::once(&self.count)).flat_map(|v| v.to_le_bytes()).collect()
            }
        };
        Ok(vec![ScalarValue::Binary(Some(bytes))])
    }
    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let malformed = || HwError::internal("the state of a sum is malformed");
        for bytes in states[0].as_binary::<i32>().iter().flatten() {
            if self.distinct.is_some() {
                for one in bytes.chunks_exact(16) {
                    let int = |at: usize| one[at..at + 4].try_into().map(i32::from_le_bytes);
                    let months = int(0).map_err(|_| malformed())?;
                    let days = int(4).map_err(|_| malformed())?;
                    let nanos = one[8..16].try_into().map(i64::from_le_bytes).map_err(|_| malformed())?;
                    self.add(IntervalMonthDayNano::new(months, days, nanos), 1);
                }
                continue;
            }
            if bytes.len() != STATE_BYTES {
                return Err(malformed().into());
            }
            let at = |n: usize| bytes[n * 16..n * 16 + 16].try_into().map(i128::from_le_bytes);
            for (n, sum) in self.sums.iter_mut().enumerate() {
                *sum += at(n).map_err(|_| malformed())?;
            }
            self.count += at(3).map_err(|_| malformed())?;
        }
        Ok(())
    }
}

/// Whether a total is of intervals.
pub(super) fn is_interval(t: &DataType) -> bool {
    matches!(t, DataType::Interval(_) | DataType::Duration(_) | DataType::Time64(_))
}

/// The type in which intervals are added up.
pub(super) fn carrier() -> DataType {
    PgType::Interval.carrier()
}
