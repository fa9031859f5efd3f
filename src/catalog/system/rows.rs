//! Rows of system relations as sparse lists of named cells, and their way into Arrow.
//!
//! A row names only the columns that have something to say; the rest take PostgreSQL's
//! empty value: NULL where the column may be NULL, else 0, false or the empty string.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array, ListBuilder,
    PrimitiveBuilder, RecordBatch, RecordBatchOptions, StringArray, StringBuilder, TimestampMicrosecondArray,
    new_null_array,
};
use arrow::datatypes::{ArrowPrimitiveType, DataType, FieldRef, Int16Type, Int64Type, TimeUnit};

use super::layout::Layout;
use crate::error::Result;
use crate::types::pg_type::UTC;

/// A value of a system relation.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Null,
    Bool(bool),
    /// Also oids and timestamps (microseconds after the Unix epoch).
    Int(i64),
    Float(f64),
    Text(String),
    Ints(Vec<i64>),
    Texts(Vec<String>),
}

/// (column, value) for the columns that are not empty.
pub(super) type Row = Vec<(&'static str, Cell)>;

impl From<&str> for Cell {
    fn from(v: &str) -> Cell {
        Cell::Text(v.to_string())
    }
}
impl From<String> for Cell {
    fn from(v: String) -> Cell {
        Cell::Text(v)
    }
}
impl From<char> for Cell {
    fn from(v: char) -> Cell {
        Cell::Text(v.to_string())
    }
}
impl From<bool> for Cell {
    fn from(v: bool) -> Cell {
        Cell::Bool(v)
    }
}
impl From<u32> for Cell {
    fn from(v: u32) -> Cell {
        Cell::Int(i64::from(v))
    }
}
impl From<i32> for Cell {
    fn from(v: i32) -> Cell {
        Cell::Int(i64::from(v))
    }
}
impl From<i64> for Cell {
    fn from(v: i64) -> Cell {
        Cell::Int(v)
    }
}
impl From<usize> for Cell {
    fn from(v: usize) -> Cell {
        Cell::Int(v as i64)
    }
}
impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(v: Option<T>) -> Cell {
        v.map_or(Cell::Null, Into::into)
    }
}

impl Cell {
    pub(super) fn as_int(&self) -> Option<i64> {
        match self {
            Cell::Int(v) => Some(*v),
            _ => None,
        }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Cell::Text(v) => Some(v),
            _ => None,
        }
    }
}

/// The cell of a column in a sparse row.
pub(super) fn cell<'a>(row: &'a Row, column: &str) -> Option<&'a Cell> {
    row.iter().find(|(name, _)| *name == column).map(|(_, cell)| cell)
}

/// One batch with all `rows` of the relation.
pub(super) fn to_batch(layout: &Layout, rows: &[Row]) -> Result<RecordBatch> {
    let positions: HashMap<&str, usize> =
        layout.columns.iter().enumerate().map(|(i, c)| (c.name, i)).collect();
    let mut columns: Vec<Vec<Option<&Cell>>> = vec![vec![None; rows.len()]; layout.columns.len()];
    for (r, row) in rows.iter().enumerate() {
        for (name, cell) in row {
            debug_assert!(positions.contains_key(name), "no column {name} in {}", layout.name);
            if let Some(position) = positions.get(name) {
                columns[*position][r] = Some(cell);
            }
        }
    }
    let arrays = columns
        .iter()
        .zip(layout.arrow.fields())
        .zip(&layout.columns)
        .map(|((cells, field), column)| to_array(field, column.not_null, cells))
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(&layout.arrow), arrays, &options)?)
}

fn to_array(field: &FieldRef, not_null: bool, cells: &[Option<&Cell>]) -> ArrayRef {
    let empty_int = not_null.then_some(0);
    let ints = || cells.iter().map(|c| c.map_or(empty_int, Cell::as_int));
    match field.data_type() {
        DataType::Boolean => Arc::new(BooleanArray::from_iter(cells.iter().map(|c| match c {
            Some(Cell::Bool(v)) => Some(*v),
            Some(_) => None,
            None => not_null.then_some(false),
        }))),
        DataType::Int16 => Arc::new(Int16Array::from_iter(ints().map(|v| v.map(|v| v as i16)))),
        DataType::Int32 => Arc::new(Int32Array::from_iter(ints().map(|v| v.map(|v| v as i32)))),
        DataType::Int64 => Arc::new(Int64Array::from_iter(ints())),
        DataType::Float32 => {
            Arc::new(Float32Array::from_iter(floats(cells, not_null).map(|v| v.map(|v| v as f32))))
        }
        DataType::Float64 => Arc::new(Float64Array::from_iter(floats(cells, not_null))),
        DataType::Utf8 => Arc::new(StringArray::from_iter(cells.iter().map(|c| match c {
            Some(cell) => cell.as_text(),
            None => not_null.then_some(""),
        }))),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => Arc::new(
            TimestampMicrosecondArray::from_iter(cells.iter().map(|c| c.and_then(Cell::as_int)))
                .with_timezone_opt(zone.as_ref().map(|_| UTC)),
        ),
        DataType::List(element) => to_list(element, not_null, cells),
        other => new_null_array(other, cells.len()),
    }
}

fn floats<'a>(cells: &'a [Option<&'a Cell>], not_null: bool) -> impl Iterator<Item = Option<f64>> + 'a {
    cells.iter().map(move |c| match c {
        Some(Cell::Float(v)) => Some(*v),
        Some(_) => None,
        None => not_null.then_some(0.0),
    })
}

fn to_list(element: &FieldRef, not_null: bool, cells: &[Option<&Cell>]) -> ArrayRef {
    match element.data_type() {
        DataType::Int16 => int_list::<Int16Type>(element, not_null, cells, |v| v as i16),
        DataType::Int64 => int_list::<Int64Type>(element, not_null, cells, |v| v),
        DataType::Utf8 => {
            let mut list = ListBuilder::new(StringBuilder::new()).with_field(Arc::clone(element));
            for cell in cells {
                match cell {
                    Some(Cell::Texts(values)) => {
                        list.values().extend(values.iter().map(Some));
                        list.append(true);
                    }
                    Some(_) => list.append(false),
                    None => list.append(not_null),
                }
            }
            Arc::new(list.finish())
        }
        _ => new_null_array(&DataType::List(Arc::clone(element)), cells.len()),
    }
}

fn int_list<T: ArrowPrimitiveType>(
    element: &FieldRef,
    not_null: bool,
    cells: &[Option<&Cell>],
    convert: fn(i64) -> T::Native,
) -> ArrayRef {
    let mut list = ListBuilder::new(PrimitiveBuilder::<T>::new()).with_field(Arc::clone(element));
    for cell in cells {
        match cell {
            Some(Cell::Ints(values)) => {
                values.iter().for_each(|v| list.values().append_value(convert(*v)));
                list.append(true);
            }
            Some(_) => list.append(false),
            None => list.append(not_null),
        }
    }
    Arc::new(list.finish())
}
