//! How far the value of a window function looks: which rows a changed row can touch.

use std::fmt;

use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition};
use datafusion::physical_expr::expressions::Literal;

use super::{FrameCall, OverCall};
use crate::types::order::SortKey;

const MICROS_PER_HOUR: i64 = 3_600_000_000;

/// The rows that a row's value depends on, in the order of the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All rows of the partition.
    Partition,
    /// So many rows before and after it.
    Rows { before: u64, after: u64 },
    /// Rows whose order value is so much before or after its own, and its peers; an upper
    /// bound, in the unit of the order column (microseconds for timestamps).
    Range { before: i64, after: i64 },
}

impl Reach {
    pub fn is_local(&self) -> bool {
        *self != Reach::Partition
    }

    pub fn same_kind(&self, other: &Reach) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// The least reach that holds both, which are of one kind.
    pub fn widest(&self, other: &Reach) -> Reach {
        match (*self, *other) {
            (Reach::Rows { before, after }, Reach::Rows { before: b, after: a }) => {
                Reach::Rows { before: before.max(b), after: after.max(a) }
            }
            (Reach::Range { before, after }, Reach::Range { before: b, after: a }) => {
                Reach::Range { before: before.max(b), after: after.max(a) }
            }
            _ => Reach::Partition,
        }
    }

    /// How far it looks ahead, in rows or in units of the order.
    pub fn after(&self) -> i64 {
        match self {
            Reach::Partition => i64::MAX,
            Reach::Rows { after, .. } => i64::try_from(*after).unwrap_or(i64::MAX),
            Reach::Range { after, .. } => *after,
        }
    }

    /// How far before a row those can be whose values it changes, by their order.
    pub fn behind_us(&self) -> Option<i64> {
        match self {
            Reach::Range { after, .. } => Some(*after),
            Reach::Rows { after: 0, .. } => Some(0),
            _ => None,
        }
    }

    /// What is kept behind the watermark, in words.
    pub fn kept(&self) -> String {
        match self {
            Reach::Partition => "all rows are kept".into(),
            Reach::Rows { before, after } => {
                format!("{} rows of a partition are kept behind the watermark", before.saturating_add(*after))
            }
            Reach::Range { before, after } => {
                let seconds = before.saturating_add(*after) as f64 / 1e6;
                format!("rows more than {seconds}s behind the watermark are dropped")
            }
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reach::Partition => write!(f, "changed partitions evaluated again"),
            Reach::Rows { before, after } => {
                write!(f, "{before} rows before and {after} after a change evaluated again")
            }
            Reach::Range { .. } => write!(f, "rows in range of a change evaluated again"),
        }
    }
}

/// The reach of a call over rows of `schema` in `order`.
pub(super) fn reach(call: &OverCall, order: &[SortKey], schema: &SchemaRef) -> Reach {
    let looks_at_frame = match (&call.function, call.function.name()) {
        (_, "lag") => return neighbour(call, -1),
        (_, "lead") => return neighbour(call, 1),
        (WindowFunctionDefinition::AggregateUDF(_), _) => true,
        (_, "first_value" | "last_value" | "nth_value") => true,
        (function, _) => FrameCall::of(function).is_some(),
    };
    if !looks_at_frame {
        return Reach::Partition;
    }
    let (start, end) = (&call.frame.start_bound, &call.frame.end_bound);
    match call.frame.units {
        WindowFrameUnits::Rows => match (rows_before(start), rows_before(end)) {
            (Some(from), Some(to)) => {
                let farthest = |v: i64| u64::try_from(v).unwrap_or(0);
                Reach::Rows { before: farthest(from.max(to)), after: farthest((-from).max(-to)) }
            }
            _ => Reach::Partition,
        },
        WindowFrameUnits::Range => range(start, end, order, schema).unwrap_or(Reach::Partition),
        WindowFrameUnits::Groups => Reach::Partition,
    }
}

/// `lag` and `lead`: one row, at a distance.
fn neighbour(call: &OverCall, direction: i64) -> Reach {
    if call.ignore_nulls {
        return Reach::Partition;
    }
    let distance = match call.args.get(1) {
        None => Some(1),
        Some(arg) => arg.downcast_ref::<Literal>().and_then(|l| whole(l.value())),
    };
    match distance.and_then(|d| d.checked_mul(direction)) {
        Some(d) if d <= 0 => Reach::Rows { before: d.unsigned_abs(), after: 0 },
        Some(d) => Reach::Rows { before: 0, after: d.unsigned_abs() },
        None => Reach::Partition,
    }
}

/// Rows between a bound and the current row; negative if it is after it.
fn rows_before(bound: &WindowFrameBound) -> Option<i64> {
    match bound {
        WindowFrameBound::CurrentRow => Some(0),
        WindowFrameBound::Preceding(v) => whole(v),
        WindowFrameBound::Following(v) => whole(v).map(|n| -n),
    }
}

fn range(
    start: &WindowFrameBound,
    end: &WindowFrameBound,
    order: &[SortKey],
    schema: &SchemaRef,
) -> Option<Reach> {
    let [key] = order else { return None };
    let data_type = schema.field(key.column).data_type();
    if !has_order_value(data_type) {
        return None;
    }
    let distance = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::CurrentRow => Some(0),
        WindowFrameBound::Preceding(v) => length(v, data_type),
        WindowFrameBound::Following(v) => length(v, data_type).map(|n| -n),
    };
    let (from, to) = (distance(start)?, distance(end)?);
    Some(Reach::Range { before: from.max(to).max(0), after: (-from).max(-to).max(0) })
}

/// Types whose values are numbers of 64 bits in order.
pub fn has_order_value(t: &DataType) -> bool {
    matches!(t, DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Date32)
        || matches!(t, DataType::Timestamp(TimeUnit::Microsecond, _))
}

/// An upper bound of an offset, in units of the order column.
fn length(v: &ScalarValue, order: &DataType) -> Option<i64> {
    match (v, order) {
        (ScalarValue::IntervalMonthDayNano(Some(i)), DataType::Timestamp(..)) => {
            // A day may be 25 hours long, a month 31 days.
            let days = i64::from(i.months).checked_mul(31)?.checked_add(i64::from(i.days))?;
            let micros = i.nanoseconds / 1000 + i64::from(i.nanoseconds % 1000 != 0);
            let total = days.checked_mul(25 * MICROS_PER_HOUR)?.checked_add(micros)?;
            (i.months >= 0 && i.days >= 0 && i.nanoseconds >= 0).then_some(total)
        }
        (_, DataType::Int16 | DataType::Int32 | DataType::Int64) => whole(v),
        _ => None,
    }
}

fn whole(v: &ScalarValue) -> Option<i64> {
    match v {
        ScalarValue::Int16(v) => v.map(i64::from),
        ScalarValue::Int32(v) => v.map(i64::from),
        ScalarValue::Int64(v) => *v,
        ScalarValue::UInt32(v) => v.map(i64::from),
        ScalarValue::UInt64(v) => v.and_then(|n| i64::try_from(n).ok()),
        _ => None,
    }
}
