//! Canonical hashing of rows: one versioned function for vnodes and for row identity.
//!
//! Equal SQL values hash equally whatever their carrier: integers of all widths as i64,
//! decimals without trailing zeros, floats with -0 = 0 and one NaN, text of all string
//! layouts as bytes. `fingerprints` gives 128 bits a row, seeded per process: operators and
//! stores take equal fingerprints for equal rows (for 10^9 rows the chance of any collision
//! is below 10^-20, and the seed keeps it out of an adversary's hands). `vnodes` uses a fixed seed, because it decides placement
//! and must not change between runs; `HASH_VERSION` is written beside any state that is
//! partitioned by it. The mixing step is the folded 64x64→128 multiply of wyhash/foldhash.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::OnceLock;

use arrow::array::*;
use arrow::datatypes::*;

use super::special::is_special;

pub const HASH_VERSION: u32 = 1;
/// Number of virtual nodes that keys are spread over.
pub const VNODES: u64 = 256;

const K1: u64 = 0x9E37_79B9_7F4A_7C15;
const K2: u64 = 0xD1B5_4A32_D192_ED03;
const K3: u64 = 0x8CB9_2BA7_2F3D_8DD7;
const NULL_WORD: u64 = 0xA5A5_5A5A_0F0F_F0F1;
const FIXED_SEED: (u64, u64) = (0x243F_6A88_85A3_08D3, 0x1319_8A2E_0370_7344);

#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let m = (a as u128).wrapping_mul(b as u128);
    (m as u64) ^ ((m >> 64) as u64)
}

#[derive(Clone, Copy)]
struct State(u64, u64);

impl State {
    #[inline(always)]
    fn word(&mut self, v: u64) {
        self.0 = fold(self.0 ^ v, K1) ^ self.1.rotate_left(23);
        self.1 = fold(self.1 ^ v ^ K3, K2).wrapping_add(self.0);
    }

    #[inline(always)]
    fn bytes(&mut self, b: &[u8]) {
        self.word(b.len() as u64 ^ K2);
        let mut chunks = b.chunks_exact(8);
        for c in &mut chunks {
            self.word(u64::from_le_bytes([c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]]));
        }
        let rest = chunks.remainder();
        if !rest.is_empty() {
            let mut last = [0u8; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.word(u64::from_le_bytes(last));
        }
    }

    #[inline(always)]
    fn finish(self) -> u128 {
        let a = fold(self.0 ^ K3, self.1 ^ K1);
        let b = fold(self.1 ^ K2, self.0.rotate_left(32) ^ K3);
        ((a as u128) << 64) | b as u128
    }
}

fn process_seed() -> (u64, u64) {
    static SEED: OnceLock<(u64, u64)> = OnceLock::new();
    *SEED.get_or_init(|| {
        use std::hash::BuildHasher;
        let r = std::collections::hash_map::RandomState::new();
        (r.hash_one(1u64), r.hash_one(2u64))
    })
}

/// 128-bit fingerprints of `rows` rows over `columns`, seeded per process.
pub fn fingerprints(columns: &[ArrayRef], rows: usize) -> Vec<u128> {
    let (a, b) = process_seed();
    hash_rows(columns, rows, State(a, b)).into_iter().map(State::finish).collect()
}

/// The vnode (0..256) of each row, by a seed that never changes.
pub fn vnodes(columns: &[ArrayRef], rows: usize) -> Vec<u8> {
    let states = hash_rows(columns, rows, State(FIXED_SEED.0, FIXED_SEED.1));
    states.into_iter().map(|s| (s.finish() % VNODES as u128) as u8).collect()
}

/// A hash of each row by a seed that never changes, for orders that must be the same in every
/// run. Different rows may share one.
pub fn stable_hashes(columns: &[ArrayRef], rows: usize) -> Vec<u64> {
    let states = hash_rows(columns, rows, State(FIXED_SEED.0, FIXED_SEED.1));
    states.into_iter().map(|s| s.finish() as u64).collect()
}

/// For columns of at most 64 bits a value, a word for each value: different for different
/// values, and spread like a hash. Words of NULLs mean nothing. `None` for other types.
pub fn value_words(column: &dyn Array) -> Option<Vec<u64>> {
    use arrow::datatypes::DataType as D;
    let seed = process_seed().0;
    let spread = |v: u64| spread(v, seed);
    macro_rules! words {
        ($type:ty, |$v:ident| $word:expr) => {
            column.as_primitive::<$type>().values().iter().map(|$v| spread($word)).collect()
        };
    }
    Some(match column.data_type() {
        D::Int16 => words!(Int16Type, |v| *v as i64 as u64),
        D::Int32 => words!(Int32Type, |v| *v as i64 as u64),
        D::Int64 => words!(Int64Type, |v| *v as u64),
        D::Float32 => words!(Float32Type, |v| float_word(*v as f64)),
        D::Float64 => words!(Float64Type, |v| float_word(*v)),
        D::Date32 => words!(Date32Type, |v| *v as i64 as u64),
        D::Time64(TimeUnit::Microsecond) => words!(Time64MicrosecondType, |v| *v as u64),
        D::Timestamp(TimeUnit::Microsecond, _) => words!(TimestampMicrosecondType, |v| *v as u64),
        _ => return None,
    })
}

/// The values, of type `of`, that have these words.
pub fn values_of_words(words: &[u64], of: &DataType) -> Option<ArrayRef> {
    use arrow::datatypes::DataType as D;
    let seed = process_seed().0;
    let bits = words.iter().map(|w| gathered(*w, seed));
    let float = |bits: u64| f64::from_bits(bits);
    Some(match of {
        D::Int16 => std::sync::Arc::new(bits.map(|v| Some(v as i16)).collect::<Int16Array>()),
        D::Int32 => std::sync::Arc::new(bits.map(|v| Some(v as i32)).collect::<Int32Array>()),
        D::Int64 => std::sync::Arc::new(bits.map(|v| Some(v as i64)).collect::<Int64Array>()),
        D::Float32 => std::sync::Arc::new(bits.map(|v| Some(float(v) as f32)).collect::<Float32Array>()),
        D::Float64 => std::sync::Arc::new(bits.map(|v| Some(float(v))).collect::<Float64Array>()),
        _ => return None,
    })
}

/// Each step can be undone, so no two values share a word.
#[inline(always)]
fn spread(v: u64, seed: u64) -> u64 {
    let v = (v ^ seed).wrapping_mul(K1);
    let v = (v ^ (v >> 32)).wrapping_mul(K2);
    v ^ (v >> 29)
}

/// Undoes `spread`.
fn gathered(v: u64, seed: u64) -> u64 {
    const UNDO_K1: u64 = inverse(K1);
    const UNDO_K2: u64 = inverse(K2);
    let v = (v ^ (v >> 29) ^ (v >> 58)).wrapping_mul(UNDO_K2);
    (v ^ (v >> 32)).wrapping_mul(UNDO_K1) ^ seed
}

/// The number whose product with an odd `k` is 1, by Newton's iteration.
const fn inverse(k: u64) -> u64 {
    let (mut x, mut i) = (k, 0);
    while i < 6 {
        x = x.wrapping_mul(2u64.wrapping_sub(k.wrapping_mul(x)));
        i += 1;
    }
    x
}

/// The fingerprint of a row extended by one more word, such as a window bound.
#[inline(always)]
pub fn extend_print(print: u128, word: u64) -> u128 {
    let mut state = State((print >> 64) as u64, print as u64);
    state.word(word);
    state.finish()
}

fn hash_rows(columns: &[ArrayRef], rows: usize, seed: State) -> Vec<State> {
    let mut states = vec![seed; rows];
    for column in columns {
        hash_column(column.as_ref(), &mut states);
    }
    states
}

macro_rules! hash_with {
    ($array:expr, $states:expr, |$v:ident| $word:expr) => {{
        let array = $array;
        if array.null_count() == 0 {
            for (s, $v) in $states.iter_mut().zip(array.values().iter()) {
                s.word($word);
            }
        } else {
            for (i, s) in $states.iter_mut().enumerate() {
                if array.is_null(i) {
                    s.word(NULL_WORD);
                } else {
                    let $v = &array.value(i);
                    s.word($word);
                }
            }
        }
    }};
}

macro_rules! hash_bytes {
    ($array:expr, $states:expr, |$v:ident| $bytes:expr) => {{
        let array = $array;
        for (i, s) in $states.iter_mut().enumerate() {
            if array.is_null(i) {
                s.word(NULL_WORD);
            } else {
                let $v = array.value(i);
                s.bytes($bytes);
            }
        }
    }};
}

fn float_word(v: f64) -> u64 {
    if v.is_nan() {
        f64::NAN.to_bits()
    } else if v == 0.0 {
        0
    } else {
        v.to_bits()
    }
}

fn decimal_words(mut v: i128, mut scale: i8) -> (u64, u64) {
    if is_special(v) {
        return (v as u64, (v >> 64) as u64);
    }
    while scale > 0 && v % 10 == 0 && v != 0 {
        v /= 10;
        scale -= 1;
    }
    if v == 0 {
        scale = 0;
    }
    // Integral values hash like integers in their low word; the scale joins the high word.
    (v as u64, ((v >> 64) as u64) ^ ((scale as u64) << 56))
}

/// By PostgreSQL's equality: a month is 30 days, a day 24 hours.
fn hash_intervals(column: &dyn Array, states: &mut [State]) {
    let a = column.as_primitive::<IntervalMonthDayNanoType>();
    for (i, s) in states.iter_mut().enumerate() {
        if a.is_null(i) {
            s.word(NULL_WORD);
        } else {
            let v = a.value(i);
            let days = v.months as i128 * 30 + v.days as i128;
            let nanos = days * 86_400_000_000_000 + v.nanoseconds as i128;
            s.word(nanos as u64);
            s.word((nanos >> 64) as u64);
        }
    }
}

fn hash_decimals(column: &dyn Array, scale: i8, states: &mut [State]) {
    let a = column.as_primitive::<Decimal128Type>();
    for (i, s) in states.iter_mut().enumerate() {
        if a.is_null(i) {
            s.word(NULL_WORD);
        } else {
            let (low, high) = decimal_words(a.value(i), scale);
            s.word(low);
            s.word(high);
        }
    }
}

fn hash_text(column: &dyn Array, states: &mut [State]) {
    match column.data_type() {
        DataType::Utf8 => hash_bytes!(column.as_string::<i32>(), states, |v| v.as_bytes()),
        DataType::LargeUtf8 => hash_bytes!(column.as_string::<i64>(), states, |v| v.as_bytes()),
        _ => hash_bytes!(column.as_string_view(), states, |v| v.as_bytes()),
    }
}

fn hash_binary(column: &dyn Array, states: &mut [State]) {
    match column.data_type() {
        DataType::Binary => hash_bytes!(column.as_binary::<i32>(), states, |v| v),
        DataType::LargeBinary => hash_bytes!(column.as_binary::<i64>(), states, |v| v),
        DataType::BinaryView => hash_bytes!(column.as_binary_view(), states, |v| v),
        _ => hash_bytes!(column.as_fixed_size_binary(), states, |v| v),
    }
}

fn hash_column(column: &dyn Array, states: &mut [State]) {
    use arrow::datatypes::DataType as D;
    match column.data_type() {
        D::Boolean => {
            let a = column.as_boolean();
            for (i, s) in states.iter_mut().enumerate() {
                s.word(if a.is_null(i) { NULL_WORD } else { a.value(i) as u64 });
            }
        }
        D::Int8 => hash_with!(column.as_primitive::<Int8Type>(), states, |v| *v as i64 as u64),
        D::Int16 => hash_with!(column.as_primitive::<Int16Type>(), states, |v| *v as i64 as u64),
        D::Int32 => hash_with!(column.as_primitive::<Int32Type>(), states, |v| *v as i64 as u64),
        D::Int64 => hash_with!(column.as_primitive::<Int64Type>(), states, |v| *v as u64),
        D::UInt8 => hash_with!(column.as_primitive::<UInt8Type>(), states, |v| *v as u64),
        D::UInt16 => hash_with!(column.as_primitive::<UInt16Type>(), states, |v| *v as u64),
        D::UInt32 => hash_with!(column.as_primitive::<UInt32Type>(), states, |v| *v as u64),
        D::UInt64 => hash_with!(column.as_primitive::<UInt64Type>(), states, |v| *v),
        D::Float32 => hash_with!(column.as_primitive::<Float32Type>(), states, |v| float_word(*v as f64)),
        D::Float64 => hash_with!(column.as_primitive::<Float64Type>(), states, |v| float_word(*v)),
        D::Date32 => hash_with!(column.as_primitive::<Date32Type>(), states, |v| *v as i64 as u64),
        D::Time64(TimeUnit::Microsecond) => {
            hash_with!(column.as_primitive::<Time64MicrosecondType>(), states, |v| *v as u64)
        }
        D::Timestamp(TimeUnit::Microsecond, _) => {
            hash_with!(column.as_primitive::<TimestampMicrosecondType>(), states, |v| *v as u64)
        }
        D::Interval(IntervalUnit::MonthDayNano) => hash_intervals(column, states),
        D::Decimal128(_, scale) => hash_decimals(column, *scale, states),
        D::Utf8 | D::LargeUtf8 | D::Utf8View => hash_text(column, states),
        D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_) => hash_binary(column, states),
        D::Null => states.iter_mut().for_each(|s| s.word(NULL_WORD)),
        D::Struct(_) => {
            let a = column.as_struct();
            for (i, s) in states.iter_mut().enumerate() {
                s.word(a.is_null(i) as u64);
            }
            for child in a.columns() {
                hash_column(child.as_ref(), states);
            }
        }
        // Lists and rarer carriers: hash each row's canonical text.
        other => {
            let options = arrow::util::display::FormatOptions::default().with_null("\u{0}null");
            match arrow::util::display::ArrayFormatter::try_new(column, &options) {
                Ok(f) => {
                    for (i, s) in states.iter_mut().enumerate() {
                        s.bytes(f.value(i).to_string().as_bytes());
                    }
                }
                Err(_) => panic!("no canonical hash for {other}"),
            }
        }
    }
}

/// Hasher for maps keyed by fingerprints: they are uniform already, so take 64 bits.
#[derive(Default, Clone, Copy)]
pub struct PrintBits(u64);

impl Hasher for PrintBits {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.0 = self.0.rotate_left(8) ^ *b as u64;
        }
    }
    fn write_u128(&mut self, v: u128) {
        self.0 = v as u64;
    }
    fn write_u64(&mut self, v: u64) {
        self.0 = v;
    }
}

pub type PrintHasher = BuildHasherDefault<PrintBits>;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn equal_values_have_equal_prints_whatever_the_carrier() {
        let a: ArrayRef = Arc::new(Int32Array::from(vec![Some(-5), None, Some(7)]));
        let b: ArrayRef = Arc::new(Int64Array::from(vec![Some(-5), None, Some(7)]));
        assert_eq!(fingerprints(&[a], 3), fingerprints(&[b], 3));
        let d1: ArrayRef =
            Arc::new(Decimal128Array::from(vec![150]).with_precision_and_scale(10, 2).unwrap());
        let d2: ArrayRef = Arc::new(Decimal128Array::from(vec![15]).with_precision_and_scale(10, 1).unwrap());
        assert_eq!(fingerprints(&[d1], 1), fingerprints(&[d2], 1));
        let f: ArrayRef = Arc::new(Float64Array::from(vec![0.0, -0.0, f64::NAN, -f64::NAN]));
        let p = fingerprints(&[f], 4);
        assert!(p[0] == p[1] && p[2] == p[3] && p[0] != p[2]);
    }

    #[test]
    fn values_come_back_from_their_words() {
        let arrays: [ArrayRef; 5] = [
            Arc::new(Int16Array::from(vec![0, -1, i16::MIN, 7])),
            Arc::new(Int32Array::from(vec![0, -1, i32::MAX, 7])),
            Arc::new(Int64Array::from(vec![0, -1, i64::MIN, 1 << 40])),
            Arc::new(Float32Array::from(vec![0.0, -1.5, f32::INFINITY, 0.1])),
            Arc::new(Float64Array::from(vec![0.0, -1.5, f64::NEG_INFINITY, 0.1])),
        ];
        for array in arrays {
            let words = value_words(&array).unwrap();
            assert_eq!(&values_of_words(&words, array.data_type()).unwrap(), &array);
        }
        assert!(values_of_words(&[1], &DataType::Utf8).is_none());
    }

    #[test]
    fn words_tell_values_apart() {
        let values: Vec<i64> = (0..50_000).map(|i| i * 1_000_003 - 7).chain([i64::MIN, i64::MAX]).collect();
        let words = value_words(&Int64Array::from(values.clone())).unwrap();
        let different: std::collections::HashSet<u64> = words.iter().copied().collect();
        assert_eq!(different.len(), values.len());
        let floats = value_words(&Float64Array::from(vec![0.0, -0.0, f64::NAN, -f64::NAN])).unwrap();
        assert!(floats[0] == floats[1] && floats[2] == floats[3] && floats[0] != floats[2]);
        assert!(value_words(&StringArray::from(vec!["a"])).is_none());
    }

    #[test]
    fn vnodes_never_change() {
        let a: ArrayRef = Arc::new(Int64Array::from(vec![0, 1, 2, 3]));
        let t: ArrayRef = Arc::new(StringArray::from(vec!["", "a", "headwater", "é"]));
        let first = vnodes(&[a.clone(), t.clone()], 4);
        assert_eq!(first, vnodes(&[a, t], 4));
        let many: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100_000));
        let mut seen = [0usize; 256];
        vnodes(&[many], 100_000).iter().for_each(|v| seen[*v as usize] += 1);
        assert!(seen.iter().all(|n| (250..550).contains(n)), "uneven: {seen:?}");
    }
}
