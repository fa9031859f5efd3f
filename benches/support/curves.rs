//! Aggregates: work per changed row as groups become many, bytes of state, and hot keys.
//!
//! Ten rows a group; then epochs follow that each replace one row. Printed: microseconds of
//! CPU for such an epoch (two changes), which should not grow with the number of rows, and the
//! bytes of state for an entry beside those of its columns and key. Last come a stream with
//! 90 % of its rows in one group and one with all groups alike.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use headwater::dataflow::operator::{EpochContext, Operator};
use headwater::dataflow::operators::*;
use headwater::types::{ChangeBatch, Epoch, ProcTime};

use super::{BATCH_ROWS, BoxError, call, cpu_seconds, random};

const SIZES: [i64; 4] = [10_000, 100_000, 1_000_000, 10_000_000];
const EPOCHS: u64 = 1_000;
const ROWS_A_GROUP: i64 = 10;
const HOT_BATCHES: usize = 512;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(["k", "v"].map(|name| Field::new(name, DataType::Int64, true)).to_vec()))
}

fn rows(pairs: impl Iterator<Item = (i64, i64)> + Clone) -> Result<RecordBatch, BoxError> {
    let keys = Int64Array::from_iter_values(pairs.clone().map(|p| p.0));
    let values = Int64Array::from_iter_values(pairs.map(|p| p.1));
    Ok(RecordBatch::try_new(schema(), vec![Arc::new(keys), Arc::new(values)])?)
}

fn aggregate(
    group: &[usize],
    calls: Vec<AggregateCall>,
    append_only: bool,
) -> Result<AggregateOperator, BoxError> {
    let spec = AggregateSpec::grouped(schema(), group.to_vec(), calls);
    Ok(AggregateOperator::new(AggregateSpec { input_append_only: append_only, ..spec })?)
}

struct Case {
    name: &'static str,
    group: &'static [usize],
    calls: Vec<AggregateCall>,
    /// Bytes of an entry's columns and key: words of 8 bytes.
    words: usize,
    /// Rows of the input that share an entry.
    rows_an_entry: i64,
}

fn cases() -> Vec<Case> {
    use AggregateFunction as F;
    let whole = DataType::Int64;
    let distinct = AggregateCall { distinct: true, ..call(F::Count, Some(1), whole.clone()) };
    let linear = || {
        vec![call(F::CountStar, None, DataType::Int64), call(F::SumBig, Some(1), DataType::Decimal128(38, 0))]
    };
    let case = |name, group, calls, words, rows_an_entry| Case { name, group, calls, words, rows_an_entry };
    vec![
        // Key, count, sum of 16 bytes.
        case("count, sum by k", &[0], linear(), 4, ROWS_A_GROUP),
        case("max by k, retracting", &[0], vec![call(F::Max, Some(1), whole.clone())], 2, 1),
        case("count(distinct v) of all", &[], vec![distinct.clone()], 1, 1),
        case("count(distinct v) by k", &[0], vec![distinct], 2, 1),
        case("select distinct", &[0, 1], Vec::new(), 2, 1),
    ]
}

/// Microseconds of CPU an epoch that replaces one row, and bytes an entry.
fn replaced(case: &Case, size: i64) -> Result<(f64, f64), BoxError> {
    let mut operator = aggregate(case.group, case.calls.clone(), false)?;
    let groups = size / ROWS_A_GROUP;
    let key = |i: i64| i % groups;
    let mut epoch = 0;
    let mut finish = |operator: &mut AggregateOperator| -> Result<(), BoxError> {
        epoch += 1;
        let cx = EpochContext { epoch: Epoch(epoch), now: ProcTime(0), watermarks: Vec::new().into() };
        Ok(operator.finish_epoch(&cx, &mut Vec::new())?)
    };
    for from in (0..size).step_by(BATCH_ROWS) {
        let part = from..size.min(from + BATCH_ROWS as i64);
        operator.push(0, ChangeBatch::inserts(rows(part.map(|i| (key(i), i)))?), &mut Vec::new())?;
        finish(&mut operator)?;
    }
    let bytes = operator.state_size().bytes as f64 / (size / case.rows_an_entry) as f64;
    let mut seed = 7;
    let start = cpu_seconds();
    for round in 0..EPOCHS as i64 {
        let row = (random(&mut seed) % size as u64) as i64;
        let out = &mut Vec::new();
        operator.push(0, ChangeBatch::deletes(rows(std::iter::once((key(row), row)))?), out)?;
        operator.push(0, ChangeBatch::inserts(rows(std::iter::once((key(row), size + round)))?), out)?;
        finish(&mut operator)?;
        // And back, so that no row is deleted twice.
        operator.push(0, ChangeBatch::deletes(rows(std::iter::once((key(row), size + round)))?), out)?;
        operator.push(0, ChangeBatch::inserts(rows(std::iter::once((key(row), row)))?), out)?;
        finish(&mut operator)?;
    }
    Ok(((cpu_seconds() - start) * 1e6 / (2 * EPOCHS) as f64, bytes))
}

/// Rows per CPU-second of `count, sum, max by k` over append-only rows.
fn keyed(hot: bool) -> Result<f64, BoxError> {
    let mut seed = 3;
    let mut key = || {
        let draw = random(&mut seed);
        if hot && !draw.is_multiple_of(10) { 0 } else { (draw >> 16) as i64 % 100_000 }
    };
    let batch = |key: &mut dyn FnMut() -> i64| -> Result<RecordBatch, BoxError> {
        let pairs: Vec<(i64, i64)> = (0..BATCH_ROWS as i64).map(|i| (key(), i)).collect();
        rows(pairs.into_iter())
    };
    let batches = (0..HOT_BATCHES).map(|_| batch(&mut key)).collect::<Result<Vec<_>, _>>()?;
    use AggregateFunction as F;
    let mut calls = vec![call(F::CountStar, None, DataType::Int64), call(F::Max, Some(1), DataType::Int64)];
    calls.push(call(F::SumBig, Some(1), DataType::Decimal128(38, 0)));
    let mut operator = aggregate(&[0], calls, true)?;
    let (seconds, _) = super::run(&mut operator, &batches)?;
    Ok((HOT_BATCHES * BATCH_ROWS) as f64 / seconds)
}

pub fn run() -> Result<(), BoxError> {
    println!(
        "\n{:<26} {:>8} {:>8} {:>8} {:>8}  µs an epoch that replaces one row | bytes an entry at 10 M",
        "aggregates", "10 k", "100 k", "1 M", "10 M"
    );
    for case in cases() {
        let found = SIZES.iter().map(|size| replaced(&case, *size)).collect::<Result<Vec<_>, _>>()?;
        let cells: Vec<String> = found.iter().map(|(us, _)| format!("{us:>8.1}")).collect();
        let (bytes, plain) = (found[SIZES.len() - 1].1, case.words as f64 * 8.0);
        println!(
            "{:<26} {}  | {bytes:.0}, columns and key {plain:.0}: {:.1}x",
            case.name,
            cells.join(" "),
            bytes / plain
        );
    }
    let (uniform, hot) = (keyed(false)?, keyed(true)?);
    println!(
        "\n90 % of the rows in one group: {:.1} M rows a CPU-second, {:.1} M with groups alike: {:.2}x",
        hot / 1e6,
        uniform / 1e6,
        hot / uniform
    );
    Ok(())
}
