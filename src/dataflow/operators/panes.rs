//! The pane columns of a row: which pane of its window it is.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

use crate::dataflow::triggers::{EpochTimes, Firing};
use crate::error::Result;
use crate::types::EventTime;
use crate::types::trigger::{PANE_COLUMNS, PaneTiming};

/// What the pane columns say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaneRow {
    pub timing: PaneTiming,
    pub index: i64,
    pub nonspeculative_index: i64,
    pub is_first: bool,
    pub is_last: bool,
    /// Processing time in microseconds.
    pub fired_at: i64,
    /// W(E) at the firing; `EventTime::MIN` while unknown.
    pub watermark: i64,
}

impl PaneRow {
    pub fn new(firing: &Firing, times: &EpochTimes) -> PaneRow {
        PaneRow {
            timing: firing.timing,
            index: firing.index,
            nonspeculative_index: firing.nonspeculative_index,
            is_first: firing.is_first,
            is_last: firing.is_last,
            fired_at: times.now,
            watermark: times.watermark,
        }
    }
}

/// Fields of the pane columns, in order.
pub fn pane_fields() -> Vec<Field> {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let types = [
        DataType::Utf8,
        DataType::Int64,
        DataType::Int64,
        DataType::Boolean,
        DataType::Boolean,
        time.clone(),
        time,
    ];
    PANE_COLUMNS.iter().zip(types).map(|(name, t)| Field::new(*name, t, true)).collect()
}

/// Appends the pane columns of `rows`, in the types that the last fields of `output` have.
pub fn push_pane_columns(rows: &[PaneRow], output: &Schema, columns: &mut Vec<ArrayRef>) -> Result<()> {
    let time =
        |values: Vec<Option<i64>>| Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC"));
    let known = |w: i64| (w != EventTime::MIN.0).then_some(w);
    let made: [ArrayRef; 7] = [
        Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r.timing.as_str()))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.index))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.nonspeculative_index))),
        Arc::new(rows.iter().map(|r| Some(r.is_first)).collect::<BooleanArray>()),
        Arc::new(rows.iter().map(|r| Some(r.is_last)).collect::<BooleanArray>()),
        time(rows.iter().map(|r| Some(r.fired_at)).collect()),
        time(rows.iter().map(|r| known(r.watermark)).collect()),
    ];
    for array in made {
        let wanted = output.field(columns.len()).data_type();
        columns.push(if array.data_type() == wanted { array } else { cast(&array, wanted)? });
    }
    Ok(())
}
