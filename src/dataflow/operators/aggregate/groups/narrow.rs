//! Keys that are as short as a fingerprint: they are their groups' identity, and kept nowhere else.
//!
//! Columns of whole numbers, dates, times and booleans become words of 32 bits side by side, four
//! bigints at most; the words stand in the heads of the groups, and columns come back from them. A
//! NULL is a word of 0, and which columns are NULL is told beside the words.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::*;

/// Words of the longest key.
const WORDS_MAX: usize = 8;
/// So many columns have a bit for NULL.
const COLUMNS_MAX: usize = 8;

/// How keys of some columns are kept in words.
pub struct NarrowKeys {
    types: Vec<DataType>,
    width: usize,
}

/// The keys of a batch.
pub struct KeyWords {
    width: usize,
    words: Vec<u32>,
    /// A bit for each column that is NULL, by row; empty if none is.
    nulls: Vec<u8>,
}

impl KeyWords {
    #[inline(always)]
    pub fn of(&self, row: usize) -> (&[u32], u8) {
        let words = &self.words[row * self.width..(row + 1) * self.width];
        (words, self.nulls.get(row).copied().unwrap_or(0))
    }
}

fn words_of(data_type: &DataType) -> Option<usize> {
    match data_type {
        DataType::Boolean | DataType::Int16 | DataType::Int32 | DataType::Date32 => Some(1),
        DataType::Int64
        | DataType::Time64(TimeUnit::Microsecond)
        | DataType::Timestamp(TimeUnit::Microsecond, _) => Some(2),
        _ => None,
    }
}

impl NarrowKeys {
    /// `None`: the columns are too many, too long or of other types.
    pub fn of(schema: &Schema) -> Option<NarrowKeys> {
        let types: Vec<DataType> = schema.fields().iter().map(|f| f.data_type().clone()).collect();
        let width = types.iter().map(words_of).sum::<Option<usize>>()?;
        (1..=WORDS_MAX).contains(&width).then_some(())?;
        (types.len() <= COLUMNS_MAX).then_some(NarrowKeys { types, width })
    }

    pub fn width(&self) -> usize {
        self.width
    }

    /// The keys of rows that have these key columns.
    pub fn words(&self, columns: &[ArrayRef], rows: usize) -> KeyWords {
        let mut keys = KeyWords { width: self.width, words: vec![0; rows * self.width], nulls: Vec::new() };
        let mut at = 0;
        for (number, column) in columns.iter().enumerate() {
            let mut places = keys.words.chunks_exact_mut(self.width).map(|key| &mut key[at..]);
            macro_rules! narrow {
                ($values:expr, |$v:ident| $word:expr) => {
                    $values.iter().zip(places).for_each(|($v, place)| place[0] = $word)
                };
            }
            macro_rules! wide {
                ($type:ty) => {
                    for (value, place) in column.as_primitive::<$type>().values().iter().zip(&mut places) {
                        (place[0], place[1]) = (*value as u32, (*value as u64 >> 32) as u32);
                    }
                };
            }
            match &self.types[number] {
                DataType::Boolean => narrow!(column.as_boolean().values(), |v| v as u32),
                DataType::Int16 => narrow!(column.as_primitive::<Int16Type>().values(), |v| *v as u32),
                DataType::Int32 => narrow!(column.as_primitive::<Int32Type>().values(), |v| *v as u32),
                DataType::Date32 => narrow!(column.as_primitive::<Date32Type>().values(), |v| *v as u32),
                DataType::Int64 => wide!(Int64Type),
                DataType::Time64(_) => wide!(Time64MicrosecondType),
                _ => wide!(TimestampMicrosecondType),
            }
            let length = words_of(&self.types[number]).unwrap_or(0);
            if let Some(nulls) = column.nulls().filter(|n| n.null_count() > 0) {
                keys.note_nulls(nulls, number, at..at + length);
            }
            at += length;
        }
        keys
    }

    /// The key columns of keys that [`words`](Self::words) has made, for each its words and NULLs.
    pub fn columns<'a>(&self, keys: impl Iterator<Item = (&'a [u32], u8)> + Clone) -> Vec<ArrayRef> {
        let mut at = 0;
        let column = |(number, data_type): (usize, &DataType)| -> ArrayRef {
            let from = at;
            at += words_of(data_type).unwrap_or(0);
            let keys = keys.clone().map(move |(words, nulls)| (&words[from..], nulls >> number & 1 == 0));
            macro_rules! values {
                ($type:ty, |$w:ident| $value:expr) => {{
                    let values = keys.map(|($w, valid)| valid.then_some($value));
                    Arc::new(values.collect::<PrimitiveArray<$type>>().with_data_type(data_type.clone()))
                }};
            }
            let wide = |words: &[u32]| (u64::from(words[1]) << 32 | u64::from(words[0])) as i64;
            match data_type {
                DataType::Boolean => {
                    Arc::new(keys.map(|(w, valid)| valid.then_some(w[0] != 0)).collect::<BooleanArray>())
                }
                DataType::Int16 => values!(Int16Type, |w| w[0] as i16),
                DataType::Int32 => values!(Int32Type, |w| w[0] as i32),
                DataType::Date32 => values!(Date32Type, |w| w[0] as i32),
                DataType::Int64 => values!(Int64Type, |w| wide(w)),
                DataType::Time64(_) => values!(Time64MicrosecondType, |w| wide(w)),
                _ => values!(TimestampMicrosecondType, |w| wide(w)),
            }
        };
        self.types.iter().enumerate().map(column).collect()
    }
}

impl KeyWords {
    /// Rows whose column `number`, with these words of a key, is NULL.
    fn note_nulls(&mut self, nulls: &NullBuffer, number: usize, words: std::ops::Range<usize>) {
        self.nulls.resize(nulls.len(), 0);
        for row in (0..nulls.len()).filter(|row| nulls.is_null(*row)) {
            self.nulls[row] |= 1 << number;
            self.words[row * self.width..][words.clone()].fill(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{BooleanArray, Date32Array, Int16Array, Int64Array, TimestampMicrosecondArray};

    use super::*;

    #[test]
    fn columns_come_back_from_their_words() {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(-1), Some(1 << 40)])),
            Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, None])),
            Arc::new(Int16Array::from(vec![Some(-5), Some(i16::MAX), None, Some(0)])),
            Arc::new(Date32Array::from(vec![Some(-1), Some(20_000), Some(i32::MIN), None])),
            Arc::new(
                TimestampMicrosecondArray::from(vec![Some(-1), None, Some(i64::MAX), Some(3)])
                    .with_timezone("UTC"),
            ),
        ];
        let field = |c: &ArrayRef| Field::new("c", c.data_type().clone(), true);
        let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
        let keys = NarrowKeys::of(&schema).unwrap();
        assert_eq!(keys.width(), 7);
        let words = keys.words(&columns, 4);
        assert_eq!(&keys.columns((0..4).map(|row| words.of(row))), &columns);
        assert_ne!(words.of(1), keys.words(&[columns[0].slice(0, 1)], 1).of(0));
    }

    #[test]
    fn long_and_other_keys_are_not_narrow() {
        let schema = |types: &[DataType]| {
            Schema::new(types.iter().map(|t| Field::new("c", t.clone(), true)).collect::<Vec<_>>())
        };
        assert!(NarrowKeys::of(&schema(&[])).is_none());
        assert!(NarrowKeys::of(&schema(&[DataType::Int64, DataType::Utf8])).is_none());
        assert!(NarrowKeys::of(&schema(&[DataType::Float64])).is_none());
        assert!(NarrowKeys::of(&schema(&vec![DataType::Int64; 4])).is_some());
        assert!(NarrowKeys::of(&schema(&vec![DataType::Int64; 5])).is_none());
        assert!(NarrowKeys::of(&schema(&vec![DataType::Int16; 9])).is_none());
    }
}
