//! Work per changed row of the ordered operators, as their state grows.
//!
//! A group of 10 k to 10 M rows is filled; then epochs follow that delete one row and
//! insert another, somewhere in the order. Printed: microseconds of CPU per changed row, for
//! a top-n whose input retracts and for `lag`, which looks at one neighbour. It may grow with
//! the logarithm of the rows, not with their number.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::{WindowFrame, WindowFunctionDefinition};
use datafusion::physical_expr::expressions::Column;
use headwater::dataflow::operator::{EpochContext, Operator};
use headwater::dataflow::operators::{LateRows, Limits, OverSpec, RowErrors, TopNSpec, over, top_n};
use headwater::plan::{KeptRows, OverCall, OverNode, Reach};
use headwater::types::order::{RankRange, Ranking, SortKey};
use headwater::types::{ChangeBatch, Epoch, EventTime, ProcTime};

use super::{BoxError, cpu_seconds, random};

const SIZES: [i64; 4] = [10_000, 100_000, 1_000_000, 10_000_000];
const EPOCHS: u64 = 2_000;

fn schema() -> SchemaRef {
    let fields = ["id", "price"].map(|name| Field::new(name, DataType::Int64, false));
    Arc::new(Schema::new(fields.to_vec()))
}

fn rows(ids: impl Iterator<Item = i64> + Clone) -> Result<RecordBatch, BoxError> {
    let price = |id: i64| (random(&mut (id as u64)) >> 20) as i64;
    let prices = Int64Array::from_iter_values(ids.clone().map(price));
    Ok(RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from_iter_values(ids)), Arc::new(prices)])?)
}

const ORDER: [SortKey; 1] = [SortKey { column: 1, descending: true, nulls_first: true }];

fn top_ten() -> Result<Box<dyn Operator>, BoxError> {
    let range = RankRange { first: 1, last: Some(10) };
    Ok(top_n(TopNSpec {
        name: "top-n".into(),
        input_schema: schema(),
        partition: Vec::new(),
        order: ORDER.to_vec(),
        limits: Limits { ranking: Ranking::RowNumber, range, with_rank: false },
        keep: KeptRows::All,
        window: None,
        on_close: false,
        output_schema: schema(),
        late: Arc::new(LateRows::new(100)),
    })?)
}

fn lag() -> Result<Box<dyn Operator>, BoxError> {
    let state = SessionStateBuilder::new().with_default_features().build();
    let lag = state.window_functions().get("lag").cloned().ok_or("no function lag")?;
    let output = Arc::new(Field::new("before", DataType::Int64, true));
    let function = WindowFunctionDefinition::WindowUDF(lag);
    let value = Arc::new(Column::new("c1", 1));
    let call = OverCall::new(function, vec![value], WindowFrame::new(Some(true)), Arc::clone(&output));
    let fields = schema().fields().iter().cloned().chain([output]).collect::<Vec<_>>();
    Ok(over(OverSpec {
        name: "over".into(),
        input_schema: schema(),
        node: OverNode {
            partition: Vec::new(),
            order: ORDER.to_vec(),
            calls: vec![call],
            reach: Reach::Rows { before: 1, after: 0 },
            time: None,
            window: None,
            on_close: false,
        },
        output_schema: Arc::new(Schema::new(fields)),
        late: Arc::new(LateRows::new(100)),
        errors: Arc::new(RowErrors::new(100)),
    })?)
}

/// Microseconds of CPU per changed row.
fn per_change(operator: &mut dyn Operator, size: i64) -> Result<f64, BoxError> {
    let context = |epoch: u64| EpochContext {
        epoch: Epoch(epoch),
        now: ProcTime(0),
        watermarks: vec![EventTime::MIN].into(),
    };
    operator.push(0, ChangeBatch::inserts(rows(0..size)?), &mut Vec::new())?;
    operator.finish_epoch(&context(1), &mut Vec::new())?;
    let start = cpu_seconds();
    for step in 0..EPOCHS {
        let mut out = Vec::new();
        operator.push(0, ChangeBatch::deletes(rows(std::iter::once(step as i64))?), &mut out)?;
        operator.push(0, ChangeBatch::inserts(rows(std::iter::once(size + step as i64))?), &mut out)?;
        operator.finish_epoch(&context(step + 2), &mut out)?;
    }
    Ok((cpu_seconds() - start) * 1e6 / (2 * EPOCHS) as f64)
}

pub fn run() -> Result<(), BoxError> {
    println!(
        "\n{:<32} {:>10} {:>10} {:>10} {:>10}  µs per changed row",
        "one change an epoch", "10 k", "100 k", "1 M", "10 M"
    );
    for (name, make) in [
        ("top 10 of retracting rows", top_ten as fn() -> Result<Box<dyn Operator>, BoxError>),
        ("lag over one partition", lag),
    ] {
        let mut cells = Vec::new();
        for size in SIZES {
            cells.push(format!("{:>10.1}", per_change(make()?.as_mut(), size)?));
        }
        println!("{name:<32} {}", cells.join(" "));
    }
    Ok(())
}
