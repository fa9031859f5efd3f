//! Every operator with state, with narrow and wide rows, while it grows and after half of its rows
//! went and came again. What is reported is what is allocated.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use datafusion::functions_aggregate::array_agg::array_agg_udaf;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::Column;

use super::super::allocated::held_bytes;
use super::super::run_epoch;
use super::{BATCH, BIGINT, TEXT, count_over};
use crate::dataflow::operator::{EpochContext, Operator};
use crate::dataflow::operators::aggregate::{AggregateOperator, AggregateSpec};
use crate::dataflow::operators::join::{AsOf, JoinInterval, JoinKind, JoinSpec, join_operator};
use crate::dataflow::operators::late::LateRows;
use crate::dataflow::operators::set_op::SetOpOperator;
use crate::dataflow::operators::top_n::{Limits, TopNSpec, top_n};
use crate::plan::{AggregateCall, AggregateFunction as F, KeptRows, SetKind};
use crate::types::order::{RankRange, Ranking, SortKey};
use crate::types::{ChangeBatch, Epoch, EventTime, ProcTime};

mod timed;

/// Small enough to be quick, too large for indexes that are roomy because they are small.
const SIZES: [i64; 4] = [40_000, 50_000, 65_537, 80_000];
/// Rows of entries that have several.
const ROWS_MAX: i64 = 240_000;
/// What all is less than is little: indexes of few entries are roomy.
const LITTLE: f64 = 32_768.0;

/// Columns by letter: `k` number / `per_key`, `v` a number, `s` a time, `t` a text of 20 characters.
fn schema(columns: &str) -> SchemaRef {
    let field = |letter: char| {
        let data_type = match letter {
            's' => DataType::Timestamp(TimeUnit::Microsecond, None),
            't' => DataType::Utf8,
            _ => DataType::Int64,
        };
        Field::new(letter.to_string(), data_type, true)
    };
    Arc::new(Schema::new(columns.chars().map(field).collect::<Vec<_>>()))
}

fn scattered(i: i64) -> i64 {
    i.wrapping_mul(0x9E37_79B9)
}

/// Times are apart and in no order.
fn time(i: i64) -> i64 {
    (scattered(i) & 0xFFFF_FFFF) * 1000
}

fn rows(columns: &str, numbers: &[i64], per_key: i64) -> RecordBatch {
    let all = || numbers.iter().copied();
    let column = |letter: char| -> ArrayRef {
        match letter {
            'k' => Arc::new(Int64Array::from_iter_values(all().map(|i| i / per_key))),
            's' => Arc::new(TimestampMicrosecondArray::from_iter_values(all().map(time))),
            't' => Arc::new(StringArray::from_iter_values(all().map(|i| format!("customer {i:011}")))),
            _ => Arc::new(Int64Array::from_iter_values(all().map(scattered))),
        }
    };
    RecordBatch::try_new(schema(columns), columns.chars().map(column).collect()).unwrap()
}

/// What costs more than twice its columns and key, by a part of a case's name, and how much; the
/// first counts. An entry of 16 bytes has as much for its index, its place in a chain or queue and
/// its weight; decision 14 says what each would take.
const KNOWN: [(&str, f64); 25] = [
    ("array of kv", 4.1),
    ("array of kt", 2.2),
    ("as-of join of ksv,", 2.4),
    ("count distinct of 2,", 2.1),
    ("distinct of two", 2.2),
    // Their fingerprints stand in tables that double.
    ("distinct of 1 texts", 5.5),
    ("distinct of 2 texts", 3.5),
    ("texts, retracting true", 3.3),
    ("max of texts retracting, 1 a key", 2.1),
    ("max append-only", 2.1),
    ("max retracting, 1 a key", 2.5),
    ("last retracting, 10", 2.5),
    ("last", 3.3),
    ("expiry of kv by", 2.6),
    ("Semi join of kv, side 1, 10 ", 2.4),
    ("join of kv,", 2.8),
    ("sessions, 1 a key, append-only true, final true", 2.4),
    ("sessions, 1 a key, append-only false", 2.7),
    ("sessions, 10 a key", 2.2),
    ("temporal filter of ksvt", 2.0),
    ("temporal filter", 2.1),
    ("top 1 of kvt, First", 3.1),
    ("top 1 of kv, First", 2.9),
    ("top 1 of kv, All", 2.9),
    ("window function", 2.6),
];

fn limit(what: &str) -> f64 {
    KNOWN.iter().find(|(name, _)| what.contains(name)).map_or(2.0, |(_, times)| *times)
}

/// What is fed to an operator and what an entry may cost half of.
struct Case<'a> {
    what: &'a str,
    columns: &'a str,
    inputs: &'a [usize],
    per_key: i64,
    per_entry: i64,
    /// Bytes of columns and key.
    entry: f64,
    retracts: bool,
}

const CASE: Case<'static> =
    Case { what: "", columns: "kv", inputs: &[0], per_key: 1, per_entry: 1, entry: 0.0, retracts: true };

fn context(epoch: u64) -> EpochContext {
    let watermarks = vec![EventTime(i64::MIN / 2); 2].into();
    EpochContext { epoch: Epoch(epoch), now: ProcTime(0), watermarks }
}

impl Case<'_> {
    fn feed(
        &self,
        operator: &mut dyn Operator,
        range: Range<i64>,
        takes: impl Fn(i64) -> bool,
        insert: bool,
        epoch: &mut u64,
    ) {
        for from in range.clone().step_by(BATCH as usize) {
            *epoch += 1;
            let numbers: Vec<i64> = (from..range.end.min(from + BATCH)).filter(|i| takes(*i)).collect();
            let batches = self.inputs.iter().map(|input| {
                let rows = rows(self.columns, &numbers, self.per_key);
                (*input, if insert { ChangeBatch::inserts(rows) } else { ChangeBatch::deletes(rows) })
            });
            run_epoch(operator, batches, &context(*epoch));
        }
    }

    /// The greatest cost of an entry, in times of its columns and key.
    fn check(&self, make: impl FnOnce() -> Box<dyn Operator>) {
        let before = held_bytes();
        let mut operator = make();
        let (mut fed, mut epoch, mut worst) = (0, 0, 0.0f64);
        let mut measure = |operator: &dyn Operator, size: i64, when: &str| {
            let (held, said) = ((held_bytes() - before) as f64, operator.state_size().bytes as f64);
            let entry = held.max(said) / (size as f64) / self.inputs.len() as f64;
            if held.max(said) > LITTLE {
                worst = worst.max(entry / self.entry);
            }
            let times = entry / self.entry;
            println!(
                "{} {when} {size}: {entry:.1} for {}, {times:.2} times; reported {:.2} of what is held",
                self.what,
                self.entry,
                said / held
            );
            let close = (said - held).abs() <= held * 0.1 + 200_000.0;
            if !close {
                fail(format!("{}: reports {said} bytes and holds {held}", self.what));
            }
        };
        for size in SIZES.map(|size| size.min(ROWS_MAX * size / SIZES[3] / self.per_entry)) {
            self.feed(operator.as_mut(), fed..size * self.per_entry, |_| true, true, &mut epoch);
            fed = size * self.per_entry;
            measure(operator.as_ref(), size, "at");
        }
        if self.retracts {
            let goes = |i: i64| scattered(i / self.per_entry) >> 20 & 1 == 0;
            self.feed(operator.as_mut(), 0..fed, goes, false, &mut epoch);
            self.feed(operator.as_mut(), 0..fed, goes, true, &mut epoch);
            measure(operator.as_ref(), fed / self.per_entry, "after churn at");
        }
        if worst > limit(self.what) {
            fail(format!("{}: an entry costs {worst:.2} times its columns and key", self.what));
        }
    }
}

thread_local! {
    static FAILURES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn fail(what: String) {
    FAILURES.with_borrow_mut(|all| all.push(what));
}

/// Ends a test: all of its cases were run.
fn settle() {
    let all = FAILURES.take();
    assert!(all.is_empty(), "{}", all.join("\n"));
}

fn call(function: F, argument: Option<usize>, output: DataType) -> AggregateCall {
    let output = Arc::new(Field::new("c", output, true));
    let arguments = argument.into_iter().collect();
    AggregateCall { function, arguments, order_by: Vec::new(), filter: None, distinct: false, output }
}

fn aggregate(
    columns: &str,
    group: &[usize],
    calls: Vec<AggregateCall>,
    append_only: bool,
) -> Box<dyn Operator> {
    let spec = AggregateSpec::grouped(schema(columns), group.to_vec(), calls);
    Box::new(AggregateOperator::new(AggregateSpec { input_append_only: append_only, ..spec }).unwrap())
}

fn count_distinct(column: usize) -> Vec<AggregateCall> {
    vec![AggregateCall { distinct: true, ..call(F::Count, Some(column), DataType::Int64) }]
}

#[test]
fn distinct_of_two() {
    for retracts in [false, true] {
        let case = Case { what: "distinct of two", entry: 2.0 * BIGINT, retracts, ..CASE };
        case.check(|| aggregate("kv", &[0, 1], Vec::new(), !retracts));
    }
    settle();
}

#[test]
fn count_by_key() {
    for retracts in [false, true] {
        let case = Case { what: "count", entry: 2.0 * BIGINT, retracts, ..CASE };
        case.check(|| aggregate("kv", &[0], vec![call(F::CountStar, None, DataType::Int64)], !retracts));
    }
    settle();
}

#[test]
fn sum_by_key() {
    for retracts in [false, true] {
        // The number of values, by which a sum of none is NULL, is a column.
        let case = Case { what: "sum", entry: 3.0 * BIGINT, retracts, ..CASE };
        case.check(|| aggregate("kv", &[0], vec![call(F::SumInt, Some(1), DataType::Int64)], !retracts));
    }
    settle();
}

#[test]
fn max_by_key() {
    let case = Case { what: "max append-only", entry: 2.0 * BIGINT, retracts: false, ..CASE };
    case.check(|| aggregate("kv", &[0], vec![call(F::Max, Some(1), DataType::Int64)], true));
    for per_key in [1, 4, 10, 100] {
        let what = format!("max retracting, {per_key} a key");
        let entry = BIGINT * per_key as f64 + BIGINT + BIGINT;
        let case = Case { what: &what, entry, per_key, per_entry: per_key, ..CASE };
        case.check(|| aggregate("kv", &[0], vec![call(F::Max, Some(1), DataType::Int64)], false));
    }
    settle();
}

#[test]
fn max_of_texts() {
    for per_key in [1, 10] {
        let what = format!("max of texts retracting, {per_key} a key");
        let entry = TEXT * per_key as f64 + BIGINT + BIGINT;
        let case = Case { what: &what, columns: "kt", entry, per_key, per_entry: per_key, ..CASE };
        case.check(|| aggregate("kt", &[0], vec![call(F::Max, Some(1), DataType::Utf8)], false));
    }
    settle();
}

#[test]
fn first_and_last() {
    let last = |append_only: bool| {
        let plain = call(F::LastRow, Some(1), DataType::Int64);
        let order_by = vec![(2, arrow::compute::SortOptions::default())];
        aggregate("kvs", &[0], vec![AggregateCall { order_by, ..plain }], append_only)
    };
    let case = Case { what: "last", columns: "kvs", entry: 3.0 * BIGINT, retracts: false, ..CASE };
    case.check(|| last(true));
    for per_key in [1, 10] {
        let what = format!("last retracting, {per_key} a key");
        let entry = 2.0 * BIGINT * per_key as f64 + BIGINT;
        let case = Case { what: &what, columns: "kvs", entry, per_key, per_entry: per_key, ..CASE };
        case.check(|| last(false));
    }
    settle();
}

/// The array of all values, whose group is kept for it.
fn array_of(columns: &str, column: usize) -> Vec<AggregateCall> {
    let value: Arc<dyn PhysicalExpr> = Arc::new(Column::new("x", 0));
    let data_type = schema(columns).field(column).data_type().clone();
    let fields = vec![Field::new("x", data_type.clone(), true)];
    let array = AggregateExprBuilder::new(array_agg_udaf(), vec![value])
        .schema(Arc::new(Schema::new(fields)))
        .alias("array_agg")
        .build();
    let list = DataType::new_list(data_type, true);
    vec![call(F::Materialized(Arc::new(array.unwrap())), Some(column), list)]
}

#[test]
fn arrays_of_values() {
    for (columns, value, per_key) in [("kv", BIGINT, 4), ("kv", BIGINT, 100), ("kt", TEXT, 10)] {
        let what = format!("array of {columns}, {per_key} a key");
        let entry = BIGINT + value * per_key as f64;
        let case = Case { what: &what, columns, entry, per_key, per_entry: per_key, ..CASE };
        case.check(|| aggregate(columns, &[0], array_of(columns, 1), false));
    }
    settle();
}

#[test]
fn count_distinct_of_any_number() {
    for per_key in [1, 2, 3, 4, 5, 6, 8, 9, 12, 13, 16, 17, 20, 24, 40, 113] {
        for retracts in [false, true] {
            let what = format!("count distinct of {per_key}, retracting {retracts}");
            let entry = BIGINT + BIGINT + BIGINT * per_key as f64;
            let case = Case { what: &what, entry, per_key, per_entry: per_key, retracts, ..CASE };
            case.check(|| aggregate("kv", &[0], count_distinct(1), !retracts));
        }
    }
    settle();
}

#[test]
fn count_distinct_of_any_number_of_texts() {
    for per_key in [1, 2, 4, 8, 10, 16, 20, 57, 113] {
        for retracts in [false, true] {
            let what = format!("count distinct of {per_key} texts, retracting {retracts}");
            let entry = BIGINT + BIGINT + TEXT * per_key as f64;
            let case =
                Case { what: &what, columns: "kt", entry, per_key, per_entry: per_key, retracts, ..CASE };
            case.check(|| aggregate("kt", &[0], count_distinct(1), !retracts));
        }
    }
    settle();
}

fn wide(columns: &str) -> f64 {
    columns.chars().map(|c| if c == 't' { TEXT } else { BIGINT }).sum()
}

#[test]
fn top() {
    let order = |descending| vec![SortKey { column: 1, descending, nulls_first: false }];
    for (columns, keep, last, per_key, descending) in [
        ("kv", KeptRows::First, 1, 1, false),
        ("kvt", KeptRows::First, 1, 20, false),
        ("kv", KeptRows::First, 10, 10, false),
        ("kv", KeptRows::All, 1, 1, false),
        ("kv", KeptRows::All, 1, 10, false),
        ("kvt", KeptRows::All, 1, 10, false),
    ] {
        let what = format!("top {last} of {columns}, {keep:?}, {per_key} a key");
        let retracts = keep == KeptRows::All;
        let per_entry = if last == 1 && !retracts { per_key } else { 1 };
        // The key, the order as a key, the columns.
        let entry = wide(columns) + 2.0 * BIGINT;
        let case = Case { what: &what, columns, entry, per_key, per_entry, retracts, ..CASE };
        case.check(|| {
            top_n(TopNSpec {
                name: "top-n".into(),
                input_schema: schema(columns),
                partition: vec![0],
                order: order(descending),
                limits: Limits {
                    ranking: Ranking::RowNumber,
                    range: RankRange { first: 1, last: Some(last) },
                    with_rank: false,
                },
                keep,
                window: None,
                on_close: false,
                output_schema: schema(columns),
                late: Arc::new(LateRows::new(10)),
            })
            .unwrap()
        });
    }
    settle();
}

#[test]
fn window_function_of_narrow_rows() {
    for (columns, per_key) in [("kv", 1), ("kv", 10), ("kvt", 10)] {
        let what = format!("window function of {columns}, {per_key} a key");
        // The columns, the value, and partition and order as keys.
        let entry = wide(columns) + BIGINT + 2.0 * BIGINT;
        let case = Case { what: &what, columns, entry, per_key, ..CASE };
        case.check(|| count_over(schema(columns)));
    }
    settle();
}

fn join(kind: JoinKind, columns: &str, append_only: bool) -> JoinSpec {
    let width = columns.len();
    let output = match kind {
        JoinKind::Inner | JoinKind::Left | JoinKind::Full => (0..2 * width).collect(),
        _ => (0..width).collect(),
    };
    let side = || (schema(columns), vec![0]);
    let spec = JoinSpec::on_keys(kind, side(), side(), output);
    JoinSpec { left_append_only: append_only, right_append_only: append_only, ..spec }
}

#[test]
fn joins_of_narrow_rows() {
    for (kind, input) in [
        (JoinKind::Inner, 0),
        (JoinKind::Full, 0),
        (JoinKind::Semi, 0),
        (JoinKind::Semi, 1),
        (JoinKind::Anti { null_aware: false }, 0),
        (JoinKind::Mark, 0),
    ] {
        for (columns, per_key, retracts) in
            [("kv", 1, false), ("kv", 1, true), ("kv", 10, true), ("kv", 1000, true), ("kvt", 1, true)]
        {
            let what = format!("{kind:?} join of {columns}, side {input}, {per_key} a key, back {retracts}");
            let only_keys = input == 1 && kind == JoinKind::Semi;
            let wide_rows = (wide(columns) + BIGINT, 1);
            let (entry, per_entry) = if only_keys { (2.0 * BIGINT, per_key) } else { wide_rows };
            let inputs = &[input];
            let case = Case { what: &what, columns, inputs, entry, per_key, per_entry, retracts };
            case.check(|| join_operator(join(kind, columns, !retracts)).unwrap());
        }
    }
    settle();
}

#[test]
fn look_up() {
    for columns in ["kv", "kvt"] {
        let what = format!("look-up of changing rows of {columns}");
        let entry = 2.0 * wide(columns) + 2.0 * BIGINT;
        let case = Case { what: &what, columns, entry, ..CASE };
        case.check(|| {
            join_operator(JoinSpec { lookup: true, ..join(JoinKind::Left, columns, false) }).unwrap()
        });
    }
    settle();
}

#[test]
fn as_of_join() {
    for (columns, input, per_key) in
        [("ksv", 1, 1), ("ksv", 1, 10), ("ksv", 1, 100), ("ksv", 0, 1), ("ksvt", 0, 1), ("ksvt", 1, 1)]
    {
        let what = format!("as-of join of {columns}, side {input}, {per_key} a key");
        // The key and, as a key, the time.
        let entry = wide(columns) + 2.0 * BIGINT;
        let inputs = [input];
        let case = Case { what: &what, columns, inputs: &inputs, entry, per_key, retracts: false, ..CASE };
        case.check(|| {
            let late = Arc::new(LateRows::new(10));
            let as_of = Some(AsOf {
                times: [1, 1],
                strict: false,
                clocks: [vec![0].into(), vec![1].into()],
                ties: vec![],
                late,
            });
            let spec = join(JoinKind::Left, columns, false);
            join_operator(JoinSpec { as_of, left_append_only: true, ..spec }).unwrap()
        });
    }
    settle();
}

#[test]
fn interval_join() {
    for (columns, kind) in
        [("ksv", JoinKind::Inner), ("ksv", JoinKind::Left), ("ksvt", JoinKind::Full), ("ksv", JoinKind::Semi)]
    {
        let what = format!("{kind:?} interval join of {columns}");
        let entry = wide(columns) + 2.0 * BIGINT;
        let case = Case { what: &what, columns, inputs: &[0, 1], entry, retracts: false, ..CASE };
        case.check(|| {
            let interval = Some(JoinInterval {
                times: [1, 1],
                limits_us: [-10, -10],
                clocks: [vec![0].into(), vec![1].into()],
                late: None,
            });
            join_operator(JoinSpec { interval, ..join(kind, columns, true) }).unwrap()
        });
    }
    settle();
}

#[test]
fn set_operations() {
    for (kind, columns) in [(SetKind::ExceptAll, "kv"), (SetKind::IntersectAll, "kvt")] {
        for inputs in [&[0][..], &[1][..]] {
            let what = format!("{kind:?} of {columns} on {inputs:?}");
            let case = Case { what: &what, columns, inputs, entry: wide(columns) + BIGINT, ..CASE };
            case.check(|| Box::new(SetOpOperator::new(kind, schema(columns))));
        }
    }
    settle();
}
