//! The pane columns of a row: which pane of its window it is.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};
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

/// The pane columns of many rows, column by column.
#[derive(Default)]
pub struct PaneColumns {
    timings: Vec<PaneTiming>,
    indexes: Vec<i64>,
    nonspeculative_indexes: Vec<i64>,
    firsts: Vec<bool>,
    lasts: Vec<bool>,
    fired_at: Vec<i64>,
    watermarks: Vec<i64>,
}

impl PaneColumns {
    pub fn with_capacity(rows: usize) -> PaneColumns {
        PaneColumns {
            timings: Vec::with_capacity(rows),
            indexes: Vec::with_capacity(rows),
            nonspeculative_indexes: Vec::with_capacity(rows),
            firsts: Vec::with_capacity(rows),
            lasts: Vec::with_capacity(rows),
            fired_at: Vec::with_capacity(rows),
            watermarks: Vec::with_capacity(rows),
        }
    }

    /// Those of panes that fire now.
    pub fn of(firings: &[Firing], times: &EpochTimes) -> PaneColumns {
        PaneColumns {
            timings: firings.iter().map(|f| f.timing).collect(),
            indexes: firings.iter().map(|f| f.index).collect(),
            nonspeculative_indexes: firings.iter().map(|f| f.nonspeculative_index).collect(),
            firsts: firings.iter().map(|f| f.is_first).collect(),
            lasts: firings.iter().map(|f| f.is_last).collect(),
            fired_at: vec![times.now; firings.len()],
            watermarks: vec![times.watermark; firings.len()],
        }
    }

    #[inline]
    pub fn push(&mut self, row: &PaneRow) {
        self.timings.push(row.timing);
        self.indexes.push(row.index);
        self.nonspeculative_indexes.push(row.nonspeculative_index);
        self.firsts.push(row.is_first);
        self.lasts.push(row.is_last);
        self.fired_at.push(row.fired_at);
        self.watermarks.push(row.watermark);
    }

    /// Appends them to `columns`, in the types that the last fields of `output` have.
    pub fn append_to(self, output: &Schema, columns: &mut Vec<ArrayRef>) -> Result<()> {
        let bits = |values: Vec<bool>| Arc::new(BooleanArray::from(values)) as ArrayRef;
        let made: [ArrayRef; 7] = [
            timing_names(&self.timings),
            Arc::new(Int64Array::from(self.indexes)),
            Arc::new(Int64Array::from(self.nonspeculative_indexes)),
            bits(self.firsts),
            bits(self.lasts),
            Arc::new(TimestampMicrosecondArray::from(self.fired_at).with_timezone("UTC")),
            watermarks(self.watermarks),
        ];
        for array in made {
            let wanted = output.field(columns.len()).data_type();
            columns.push(if array.data_type() == wanted { array } else { cast(&array, wanted)? });
        }
        Ok(())
    }
}

impl FromIterator<PaneRow> for PaneColumns {
    fn from_iter<I: IntoIterator<Item = PaneRow>>(rows: I) -> PaneColumns {
        let rows = rows.into_iter();
        let mut columns = PaneColumns::with_capacity(rows.size_hint().0);
        rows.for_each(|row| columns.push(&row));
        columns
    }
}

/// Names of timings; mostly those of an epoch are all the same.
fn timing_names(timings: &[PaneTiming]) -> ArrayRef {
    match timings.first() {
        Some(first) if timings.iter().all(|t| t == first) => {
            let name = first.as_str();
            let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(name.len(), timings.len()));
            let bytes = Buffer::from(name.as_bytes().repeat(timings.len()));
            Arc::new(StringArray::new(offsets, bytes, None))
        }
        _ => Arc::new(StringArray::from_iter_values(timings.iter().map(|t| t.as_str()))),
    }
}

/// NULL while unknown.
fn watermarks(values: Vec<i64>) -> ArrayRef {
    let known = |w: &i64| *w != EventTime::MIN.0;
    let nulls = (!values.iter().all(known)).then(|| values.iter().map(known).collect::<NullBuffer>());
    Arc::new(TimestampMicrosecondArray::new(values.into(), nulls).with_timezone("UTC"))
}
