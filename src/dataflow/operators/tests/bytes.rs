//! What an entry costs: at most twice the bytes of its columns and its key.
//!
//! Columns count as Arrow holds them: eight bytes for a bigint, for a text its bytes and four for
//! its length. A count is a column, too. A join keeps, beside the columns, what finds them by key.
//! Rows that are gone stay in their chunks until these are mostly dead, and are not counted here.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use datafusion::logical_expr::{WindowFrame, WindowFunctionDefinition};

use super::{context, run_epoch};
use crate::dataflow::operator::Operator;
use crate::dataflow::operators::aggregate::{AggregateOperator, AggregateSpec};
use crate::dataflow::operators::errors::RowErrors;
use crate::dataflow::operators::join::{JoinKind, JoinSpec, join_operator};
use crate::dataflow::operators::late::LateRows;
use crate::dataflow::operators::over::{OverSpec, over};
use crate::dataflow::operators::top_n::{Limits, TopNSpec, top_n};
use crate::plan::{AggregateCall, AggregateFunction, KeptRows, OverCall, OverNode, Reach};
use crate::types::ChangeBatch;
use crate::types::order::{RankRange, Ranking, SortKey};

mod every;

const BIGINT: f64 = 8.0;
/// A text of 20 characters.
const TEXT: f64 = 24.0;
/// Tables and chunks are fullest and emptiest at different sizes.
const SIZES: [i64; 4] = [100_000, 131_073, 160_000, 200_000];
const BATCH: i64 = 5_000;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, true),
        Field::new("v", DataType::Int64, true),
        Field::new("t", DataType::Utf8, true),
    ]))
}

/// Rows `from..to`: number / `per_key`, number, text of 20 characters.
fn rows(from: i64, to: i64, per_key: i64) -> ChangeBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values((from..to).map(|i| i / per_key))),
        Arc::new(Int64Array::from_iter_values((from..to).map(|i| i.wrapping_mul(0x9E37_79B9)))),
        Arc::new(StringArray::from_iter_values((from..to).map(|i| format!("customer {i:011}")))),
    ];
    ChangeBatch::inserts(RecordBatch::try_new(schema(), columns).unwrap())
}

/// Feeds rows until each of `SIZES` and checks what an entry costs then.
fn check(what: &str, operator: Box<dyn Operator>, per_key: i64, per_entry: i64, entry: f64) {
    check_input(what, operator, 0, per_key, per_entry, entry);
}

/// As [`check`], with the rows on one input.
fn check_input(
    what: &str,
    mut operator: Box<dyn Operator>,
    input: usize,
    per_key: i64,
    per_entry: i64,
    entry: f64,
) {
    let (mut fed, mut epoch, mut worst) = (0, 0, 0.0f64);
    for size in SIZES {
        while fed < size * per_entry {
            let to = (fed + BATCH).min(size * per_entry);
            epoch += 1;
            run_epoch(operator.as_mut(), [(input, rows(fed, to, per_key))], &context(epoch, 0, 0));
            fed = to;
        }
        let bytes = operator.state_size().bytes as f64 / size as f64;
        worst = worst.max(bytes / entry);
        println!("{what}: {bytes:.1} bytes at {size}, {:.2} times {entry}", bytes / entry);
    }
    assert!(worst <= 2.0, "{what}: an entry costs {worst:.2} times its columns and key");
}

fn aggregate(group: &[usize], calls: Vec<AggregateCall>, append_only: bool) -> Box<dyn Operator> {
    let spec = AggregateSpec::grouped(schema(), group.to_vec(), calls);
    Box::new(AggregateOperator::new(AggregateSpec { input_append_only: append_only, ..spec }).unwrap())
}

fn call(function: AggregateFunction, argument: Option<usize>, output: DataType) -> AggregateCall {
    let output = Arc::new(Field::new("c", output, true));
    let arguments = argument.into_iter().collect();
    AggregateCall { function, arguments, order_by: Vec::new(), filter: None, distinct: false, output }
}

/// Of a column, by the first.
fn count_distinct_of(column: usize, append_only: bool) -> Box<dyn Operator> {
    let values = call(AggregateFunction::Count, Some(column), DataType::Int64);
    aggregate(&[0], vec![AggregateCall { distinct: true, ..values }], append_only)
}

#[test]
fn count_and_sum_by_key() {
    for append_only in [true, false] {
        let count = call(AggregateFunction::CountStar, None, DataType::Int64);
        let sum = call(AggregateFunction::SumBig, Some(1), DataType::Decimal128(38, 0));
        let operator = aggregate(&[0], vec![count, sum], append_only);
        check("count and sum", operator, 1, 1, BIGINT + BIGINT + 2.0 * BIGINT);
    }
}

#[test]
fn count_distinct() {
    for append_only in [true, false] {
        let operator = count_distinct_of(1, append_only);
        // An entry is a value of a group; a hundred share a key.
        check("count distinct", operator, 100, 1, BIGINT);
    }
}

#[test]
fn select_distinct() {
    for append_only in [true, false] {
        check("distinct", aggregate(&[0, 2], Vec::new(), append_only), 1, 1, BIGINT + TEXT);
    }
}

#[test]
fn count_distinct_of_few() {
    for append_only in [true, false] {
        let operator = count_distinct_of(1, append_only);
        // An entry is a group with its key, its count and its values; few of them cost what a group
        // costs, 2.6 times with three.
        check("count distinct of 16", operator, 16, 16, BIGINT + BIGINT + 16.0 * BIGINT);
    }
}

#[test]
fn count_distinct_of_texts() {
    for append_only in [true, false] {
        let operator = count_distinct_of(2, append_only);
        check("count distinct texts", operator, 100, 1, TEXT);
    }
}

#[test]
fn outer_join() {
    for (kind, append_only, per_key) in
        [(JoinKind::Left, true, 1), (JoinKind::Left, false, 10), (JoinKind::Full, false, 1)]
    {
        let operator = join_operator(JoinSpec { kind, ..join_of_all(append_only) });
        let what = format!("{kind:?} join, append-only {append_only}, {per_key} rows of a key");
        check(&what, operator.unwrap(), per_key, 1, BIGINT + BIGINT + TEXT + BIGINT);
    }
}

#[test]
fn look_up_of_changing_rows() {
    let operator = join_operator(JoinSpec { kind: JoinKind::Left, lookup: true, ..join_of_all(false) });
    // A row of the left side, as it was shown, and its fingerprint.
    check("look-up", operator.unwrap(), 1, 1, 2.0 * (BIGINT + BIGINT + TEXT) + 2.0 * BIGINT);
}

/// `count(v) OVER (PARTITION BY k ORDER BY v)`.
fn count_over(input_schema: SchemaRef) -> Box<dyn Operator> {
    let output = Arc::new(Field::new("n", DataType::Int64, true));
    let count = datafusion::functions_aggregate::count::count_udaf();
    let function = WindowFunctionDefinition::AggregateUDF(count);
    let value = Arc::new(datafusion::physical_expr::expressions::Column::new("v", 1));
    let call = OverCall::new(function, vec![value], WindowFrame::new(None), Arc::clone(&output));
    let fields: Vec<_> = input_schema.fields().iter().cloned().chain([output]).collect();
    let operator = over(OverSpec {
        name: "over".into(),
        input_schema,
        node: OverNode {
            partition: vec![0],
            order: vec![SortKey { column: 1, descending: false, nulls_first: false }],
            calls: vec![call],
            reach: Reach::Partition,
            time: None,
            window: None,
            on_close: false,
        },
        output_schema: Arc::new(Schema::new(fields)),
        late: Arc::new(LateRows::new(10)),
        errors: Arc::new(RowErrors::new(10)),
    });
    operator.unwrap()
}

#[test]
fn window_functions() {
    // The columns, the value, and the order as a key.
    let entry = BIGINT + BIGINT + TEXT + BIGINT + 2.0 * BIGINT;
    check("window function", count_over(schema()), 10, 1, entry);
}

fn join_of_all(append_only: bool) -> JoinSpec {
    let spec = JoinSpec::on_keys(JoinKind::Inner, (schema(), vec![0]), (schema(), vec![0]), (0..6).collect());
    JoinSpec { left_append_only: append_only, right_append_only: append_only, ..spec }
}

#[test]
fn inner_join() {
    for (append_only, per_key) in [(true, 1), (false, 1), (true, 10), (false, 10), (false, 1000)] {
        let operator = join_operator(join_of_all(append_only));
        let what = format!("join, append-only {append_only}, {per_key} rows of a key");
        check(&what, operator.unwrap(), per_key, 1, BIGINT + BIGINT + TEXT + BIGINT);
    }
}

#[test]
fn first_rows() {
    for (keep, last, per_key, per_entry) in
        [(KeptRows::First, 1, 1, 1), (KeptRows::First, 10, 10, 1), (KeptRows::All, 3, 10, 1)]
    {
        let operator = top_n(TopNSpec {
            name: "top-n".into(),
            input_schema: schema(),
            partition: vec![0],
            order: vec![SortKey { column: 1, descending: true, nulls_first: false }],
            limits: Limits {
                ranking: Ranking::RowNumber,
                range: RankRange { first: 1, last: Some(last) },
                with_rank: false,
            },
            keep,
            window: None,
            on_close: false,
            output_schema: schema(),
            late: Arc::new(LateRows::new(10)),
        });
        // The order is a key, too.
        let what = format!("top {last}, {keep:?}");
        check(&what, operator.unwrap(), per_key, per_entry, BIGINT + BIGINT + TEXT + 2.0 * BIGINT);
    }
}
