use std::collections::BTreeMap;

use arrow::array::*;
use arrow::datatypes::{Field, Schema, TimeUnit};
use proptest::prelude::*;

mod panes;

use super::*;
use crate::dataflow::operators::tests::{Contents, apply, cancelling, context, run_epoch};
use crate::dataflow::operators::window_assign::{WindowAssignOperator, WindowAssignSpec};
use crate::types::hash::vnodes;

/// key, time, int, float in quarters, text, flag
type Row = (Option<i64>, Option<i64>, Option<i32>, Option<i8>, Option<u8>, Option<bool>);

fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

fn input_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, true),
        Field::new("t", timestamp(), true),
        Field::new("v", DataType::Int32, true),
        Field::new("f", DataType::Float64, true),
        Field::new("s", DataType::Utf8, true),
        Field::new("b", DataType::Boolean, true),
        Field::new("n", DataType::Decimal128(10, 2), true),
    ]))
}

fn batch(rows: &[(Row, i64)]) -> ChangeBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|(r, _)| r.0).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|(r, _)| r.1).collect::<TimestampMicrosecondArray>()),
        Arc::new(rows.iter().map(|(r, _)| r.2).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|(r, _)| r.3.map(float)).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|(r, _)| r.4.map(text)).collect::<StringArray>()),
        Arc::new(rows.iter().map(|(r, _)| r.5).collect::<BooleanArray>()),
        Arc::new(
            rows.iter()
                .map(|(r, _)| r.2.map(|v| v as i128 * 7))
                .collect::<Decimal128Array>()
                .with_precision_and_scale(10, 2)
                .unwrap(),
        ),
    ];
    let rows_batch = RecordBatch::try_new(input_schema(), columns).unwrap();
    if rows.iter().all(|(_, w)| *w == 1) {
        return ChangeBatch::inserts(rows_batch);
    }
    ChangeBatch::new(rows_batch, rows.iter().map(|(_, w)| *w).collect())
}

fn float(quarters: i8) -> f64 {
    match quarters {
        100 => f64::NAN,
        101 => f64::INFINITY,
        q => q as f64 / 4.0,
    }
}

fn text(t: u8) -> String {
    format!("{:02}", t % 7)
}

fn call(function: AggregateFunction, argument: Option<usize>, output: DataType) -> AggregateCall {
    let output = Arc::new(Field::new("c", output, true));
    let arguments = argument.into_iter().collect();
    AggregateCall { function, arguments, order_by: Vec::new(), filter: None, distinct: false, output }
}

fn calls(with_distinct: bool) -> Vec<AggregateCall> {
    use AggregateFunction::*;
    let mut calls = vec![
        call(CountStar, None, DataType::Int64),
        call(Count, Some(2), DataType::Int64),
        call(SumInt, Some(2), DataType::Int64),
        call(AvgInt, Some(2), DataType::Decimal128(38, 20)),
        call(SumFloat, Some(3), DataType::Float64),
        call(AvgFloat, Some(3), DataType::Float64),
        call(Min, Some(2), DataType::Int32),
        call(Max, Some(4), DataType::Utf8),
        call(BoolAnd, Some(5), DataType::Boolean),
        call(BoolOr, Some(5), DataType::Boolean),
        AggregateCall { filter: Some(5), ..call(CountStar, None, DataType::Int64) },
        AggregateCall { filter: Some(5), ..call(Max, Some(3), DataType::Float64) },
        call(SumDecimal, Some(6), DataType::Decimal128(38, 2)),
        call(AvgDecimal, Some(6), DataType::Decimal128(38, 20)),
        call(Min, Some(6), DataType::Decimal128(10, 2)),
    ];
    if with_distinct {
        calls.push(AggregateCall { distinct: true, ..call(Count, Some(4), DataType::Int64) });
        let filtered = AggregateCall { filter: Some(5), ..call(SumInt, Some(2), DataType::Int64) };
        calls.push(AggregateCall { distinct: true, ..filtered });
    }
    calls
}

/// The rows of one group → the line of its calls, computed the slow way.
fn expected(rows: &[Row], with_distinct: bool) -> String {
    let ints: Vec<i64> = rows.iter().filter_map(|r| r.2.map(|v| v as i64)).collect();
    let floats: Vec<f64> = rows.iter().filter_map(|r| r.3.map(float)).collect();
    let passed: Vec<&Row> = rows.iter().filter(|r| r.5 == Some(true)).collect();
    let texts: Vec<String> = rows.iter().filter_map(|r| r.4.map(text)).collect();
    let flags: Vec<bool> = rows.iter().filter_map(|r| r.5).collect();
    let n = ints.len() as i64;
    let total: i64 = ints.iter().sum();
    let quotient = |sum: i64, scale: u32| {
        (n > 0).then(|| average(arrow::datatypes::i256::from(sum), scale, scale, n.into(), 20).unwrap())
    };
    let decimal = |v: Option<i128>, p: u8, s: i8| -> ArrayRef {
        Arc::new(Decimal128Array::from(vec![v]).with_precision_and_scale(p, s).unwrap())
    };
    let some = |any: bool, v: f64| any.then_some(v);
    let sum: f64 = floats.iter().sum();
    let greater = |a: f64, b: f64| if b.is_nan() || b > a { b } else { a };
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![rows.len() as i64])),
        Arc::new(Int64Array::from(vec![n])),
        Arc::new(Int64Array::from(vec![(n > 0).then_some(total)])),
        decimal(quotient(total, 0), 38, 20),
        Arc::new(Float64Array::from(vec![some(!floats.is_empty(), sum)])),
        Arc::new(Float64Array::from(vec![some(!floats.is_empty(), sum / floats.len() as f64)])),
        Arc::new(Int32Array::from(vec![ints.iter().min().map(|v| *v as i32)])),
        Arc::new(StringArray::from(vec![texts.iter().max().cloned()])),
        Arc::new(BooleanArray::from(vec![(!flags.is_empty()).then(|| flags.iter().all(|b| *b))])),
        Arc::new(BooleanArray::from(vec![(!flags.is_empty()).then(|| flags.iter().any(|b| *b))])),
        Arc::new(Int64Array::from(vec![passed.len() as i64])),
        Arc::new(Float64Array::from(vec![passed.iter().filter_map(|r| r.3.map(float)).reduce(greater)])),
        decimal((n > 0).then_some(total as i128 * 7), 38, 2),
        decimal(quotient(total * 7, 2), 38, 20),
        decimal(ints.iter().min().map(|v| *v as i128 * 7), 10, 2),
    ];
    if with_distinct {
        let set: std::collections::BTreeSet<_> = texts.iter().collect();
        columns.push(Arc::new(Int64Array::from(vec![set.len() as i64])));
        let set: std::collections::BTreeSet<_> = passed.iter().filter_map(|r| r.2).collect();
        let sum = set.iter().map(|v| *v as i64).sum();
        columns.push(Arc::new(Int64Array::from(vec![(!set.is_empty()).then_some(sum)])));
    }
    let fields: Vec<Field> = columns.iter().map(|c| Field::new("c", c.data_type().clone(), true)).collect();
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    crate::dataflow::operators::tests::lines(&ChangeBatch::inserts(rows))[0].0.clone()
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    Plain,
    Global,
    /// Windows from `window_assign`.
    Assigned {
        slide: i64,
        size: i64,
        on_close: bool,
    },
    Sliced {
        slide: i64,
        size: i64,
        on_close: bool,
    },
}

impl Shape {
    fn windows(self) -> Option<(Windows, bool)> {
        match self {
            Shape::Plain | Shape::Global => None,
            Shape::Assigned { slide, size, on_close } | Shape::Sliced { slide, size, on_close } => {
                Some((Windows::new(slide, size, 3).unwrap(), on_close))
            }
        }
    }
}

/// One worker: window assignment where the shape needs it, then the aggregate.
struct Worker {
    assign: Option<WindowAssignOperator>,
    aggregate: AggregateOperator,
    late: Arc<LateRows>,
}

fn worker(shape: Shape, with_distinct: bool, append_only: bool, owner: bool) -> Worker {
    let late = Arc::new(LateRows::new(10));
    let bound = |name: &str| Field::new(name, timestamp(), true);
    let mut fields: Vec<Field> = input_schema().fields().iter().map(|f| f.as_ref().clone()).collect();
    let mut output = vec![fields[0].clone()];
    let (mut assign, mut group_columns, mut window) = (None, vec![0], None);
    if let Some((windows, _)) = shape.windows() {
        output.extend([bound("window_start"), bound("window_end")]);
        let bounds = match shape {
            Shape::Sliced { .. } => {
                WindowBounds::Sliced(HopSpec { time_column: Some(1), windows, with_window_time: false })
            }
            _ => {
                fields.extend([bound("window_start"), bound("window_end"), bound("window_time")]);
                let output_schema = Arc::new(Schema::new(fields.clone()));
                let spec = WindowAssignSpec {
                    name: "assign".into(),
                    windows,
                    time_column: Some(1),
                    output_schema,
                    late: late.clone(),
                };
                assign = Some(WindowAssignOperator::new(spec).unwrap());
                group_columns = vec![0, 7, 8];
                WindowBounds::Grouped { end_group: 2, start_group: Some(1), judged: false }
            }
        };
        window = Some(WindowSpec { bounds, time: WindowTime::Event { clock: vec![0].into() } });
    }
    if shape == Shape::Global {
        group_columns.clear();
        output.clear();
    }
    let calls = calls(with_distinct);
    output.extend(calls.iter().map(|c| c.output.as_ref().clone()));
    let on_close = shape.windows().is_some_and(|w| w.1);
    let spec = AggregateSpec {
        name: "aggregate".into(),
        input_schema: Arc::new(Schema::new(fields)),
        group_columns,
        calls,
        output_schema: Arc::new(Schema::new(output)),
        window,
        emit: if on_close { EmitSpec::final_pane() } else { EmitSpec::changes() },
        input_append_only: append_only,
        late: late.clone(),
        errors: Arc::new(RowErrors::new(10)),
        ttl_us: None,
        global: shape == Shape::Global,
        owner,
    };
    Worker { assign, aggregate: AggregateOperator::new(spec).unwrap(), late }
}

impl Worker {
    fn epoch(&mut self, batches: Vec<ChangeBatch>, cx: &EpochContext) -> Vec<ChangeBatch> {
        let mut assigned = Vec::new();
        match &mut self.assign {
            Some(assign) => {
                let inputs = batches.into_iter().map(|b| (0, b));
                assigned = run_epoch(assign, inputs, cx);
            }
            None => assigned.extend(batches),
        }
        run_epoch(&mut self.aggregate, assigned.into_iter().map(|b| (0, b)), cx)
    }
}

/// Rows accepted so far by group, judged like the language contract says.
#[derive(Default)]
struct Model {
    groups: BTreeMap<(Option<i64>, i64), Vec<Row>>,
    late: u64,
    watermark: i64,
}

impl Model {
    fn add(&mut self, shape: Shape, row: Row, weight: i64) {
        let key = if shape == Shape::Global { None } else { row.0 };
        let ends: Vec<i64> = match shape.windows() {
            None => vec![0],
            Some((windows, _)) => {
                let Some(t) = row.1 else { return };
                // By definition, not by arithmetic: every aligned window that holds t.
                (t..=t + windows.size_us())
                    .filter(|end| {
                        *end > t && windows.last_start(end - windows.size_us()) == end - windows.size_us()
                    })
                    .collect()
            }
        };
        for end in ends {
            if shape.windows().is_some() && end <= self.watermark {
                self.late += 1;
                continue;
            }
            let rows = self.groups.entry((key, end)).or_default();
            if weight > 0 {
                rows.push(row);
            } else if let Some(at) = rows.iter().position(|r| r == &row) {
                rows.remove(at);
            }
        }
    }

    fn contents(&self, shape: Shape, with_distinct: bool) -> Contents {
        let mut all = Contents::new();
        if shape == Shape::Global {
            let rows = self.groups.get(&(None, 0)).cloned().unwrap_or_default();
            return Contents::from([(expected(&rows, with_distinct), 1)]);
        }
        let windows = shape.windows();
        for ((key, end), rows) in self.groups.iter().filter(|(_, rows)| !rows.is_empty()) {
            if windows.is_some_and(|(_, on_close)| on_close && *end > self.watermark) {
                continue;
            }
            let key = key.map_or("NULL".to_string(), |k| k.to_string());
            let bounds = windows.map_or(String::new(), |(windows, _)| {
                let bounds = timestamps(vec![end - windows.size_us(), *end], &timestamp());
                let schema = Arc::new(Schema::new(vec![Field::new("b", timestamp(), true)]));
                let bounds = ChangeBatch::inserts(RecordBatch::try_new(schema, vec![bounds]).unwrap());
                let lines = crate::dataflow::operators::tests::lines(&bounds);
                format!("|{}|{}", lines[0].0, lines[1].0)
            });
            *all.entry(format!("{key}{bounds}|{}", expected(rows, with_distinct))).or_insert(0) += 1;
        }
        all
    }
}

fn row() -> impl Strategy<Value = Row> {
    (
        prop::option::weighted(0.9, 0i64..4),
        prop::option::weighted(0.95, -20i64..60),
        prop::option::weighted(0.8, -50i32..50),
        prop::option::weighted(0.8, prop_oneof![9 => -40i8..40, 1 => 100i8..102]),
        prop::option::weighted(0.8, any::<u8>()),
        prop::option::weighted(0.8, any::<bool>()),
    )
}

fn shape() -> impl Strategy<Value = Shape> {
    let sizes = (1i64..12, 0i64..25, any::<bool>());
    prop_oneof![
        Just(Shape::Plain),
        Just(Shape::Global),
        sizes.clone().prop_map(|(slide, more, on_close)| Shape::Assigned {
            slide,
            size: slide + more,
            on_close
        }),
        sizes.prop_map(|(slide, more, on_close)| Shape::Sliced { slide, size: slide + more, on_close }),
    ]
}

/// An epoch: new rows, choices of old rows to delete, watermark step, batch length.
type Step = (Vec<Row>, Vec<prop::sample::Index>, i64, usize);

fn check(shape: Shape, with_distinct: bool, append_only: bool, workers: usize, steps: &[Step]) {
    let mut running: Vec<Worker> =
        (0..workers).map(|i| worker(shape, with_distinct, append_only, i == 0)).collect();
    let mut model = Model { watermark: i64::MIN, ..Model::default() };
    let (mut live, mut contents): (Vec<Row>, Contents) = Default::default();
    let mut watermark = -30;
    for (epoch, (new, deletes, step, split)) in steps.iter().enumerate() {
        let mut rows: Vec<(Row, i64)> = new.iter().map(|r| (*r, 1)).collect();
        live.extend(new);
        let wanted = if append_only { 0 } else { deletes.len().min(live.len()) };
        for delete in &deletes[..wanted] {
            let gone = live.swap_remove(delete.index(live.len()));
            // Before the insertions, so that deletions come before what they delete.
            rows.insert(0, (gone, -1));
        }
        // The model wants insertions first.
        rows.iter().filter(|(_, w)| *w > 0).for_each(|(r, w)| model.add(shape, *r, *w));
        rows.iter().filter(|(_, w)| *w < 0).for_each(|(r, w)| model.add(shape, *r, *w));
        watermark += step;
        model.watermark = watermark;
        let cx = context(epoch as u64 + 1, 0, watermark);
        let mut inputs: Vec<Vec<ChangeBatch>> = vec![Vec::new(); workers];
        for part in rows.chunks((*split).max(1)) {
            let part_batch = batch(part);
            let keys = if shape == Shape::Global { vec![] } else { vec![part_batch.rows.column(0).clone()] };
            let nodes = vnodes(&keys, part.len());
            for (worker, input) in inputs.iter_mut().enumerate() {
                let mine: BooleanArray = match shape {
                    Shape::Global => nodes.iter().map(|_| Some(worker == 0)).collect(),
                    _ => nodes.iter().map(|v| Some(*v as usize % workers == worker)).collect(),
                };
                let mine = part_batch.filter(&mine).unwrap();
                if !mine.is_empty() {
                    input.push(mine);
                }
            }
        }
        for (worker, input) in running.iter_mut().zip(inputs) {
            let out = worker.epoch(input, &cx);
            assert_eq!(cancelling(&out), Vec::<String>::new());
            apply(&mut contents, &out);
        }
        assert_eq!(contents, model.contents(shape, with_distinct), "epoch {epoch} of {shape:?}");
        if shape.windows().is_some() {
            assert_eq!(running.iter().map(|w| w.late.count()).sum::<u64>(), model.late);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn agrees_with_a_slow_model(
        shape in shape(),
        with_distinct in any::<bool>(),
        append_only in any::<bool>(),
        workers in 1usize..4,
        steps in prop::collection::vec(
            (
                prop::collection::vec(row(), 0..30),
                prop::collection::vec(any::<prop::sample::Index>(), 0..25),
                0i64..20,
                1usize..20,
            ),
            1..8,
        ),
    ) {
        check(shape, with_distinct, append_only, workers, &steps);
    }
}

#[test]
fn state_goes_with_windows_and_groups() {
    let shape = Shape::Sliced { slide: 2, size: 10, on_close: false };
    let mut w = worker(shape, false, false, true);
    let rows: Vec<(Row, i64)> =
        (0..1000).map(|i| ((Some(i), Some(5), Some(1), None, None, None), 1)).collect();
    w.epoch(vec![batch(&rows)], &context(1, 0, 0));
    assert_eq!(w.aggregate.state_size().entries, 5000);
    assert_eq!(w.epoch(Vec::new(), &context(2, 0, 100)).len(), 0);
    assert_eq!(w.aggregate.state_size().entries, 0);

    let mut w = worker(Shape::Plain, true, false, true);
    w.epoch(vec![batch(&rows)], &context(1, 0, 0));
    let gone: Vec<(Row, i64)> = rows.iter().map(|(r, _)| (*r, -1)).collect();
    let out = w.epoch(vec![batch(&gone)], &context(2, 0, 0));
    assert_eq!(out[0].weights_vec(), vec![-1; 1000]);
    assert_eq!(w.aggregate.state_size().entries, 0);
}

#[test]
fn processing_time_windows_close_by_the_clock() {
    let mut w = worker(Shape::Sliced { slide: 10, size: 10, on_close: true }, false, true, true);
    let Some(window) = &mut w.aggregate.spec.window else { panic!() };
    window.time = WindowTime::Processing;
    if let WindowBounds::Sliced(hop) = &mut window.bounds {
        hop.time_column = None;
    }
    let row: Row = (Some(1), None, Some(5), None, None, None);
    assert_eq!(w.aggregate.next_timer(), None);
    assert!(w.epoch(vec![batch(&[(row, 1)])], &context(1, 14, 0)).is_empty());
    assert_eq!(w.aggregate.next_timer(), Some(ProcTime(23)));
    assert!(w.epoch(vec![batch(&[(row, 1)])], &context(2, 22, 0)).is_empty());
    let out = w.epoch(vec![batch(&[(row, 1)])], &context(3, 23, 0));
    assert_eq!(out.iter().map(ChangeBatch::len).sum::<usize>(), 1);
    let count = out[0].rows.column(3).as_primitive::<arrow::datatypes::Int64Type>().value(0);
    assert_eq!((count, w.aggregate.next_timer()), (2, Some(ProcTime(33))));
}

#[test]
fn distinct_rows_without_calls() {
    let spec = worker(Shape::Plain, false, false, true).aggregate.spec;
    let schema = Arc::new(Schema::new(vec![input_schema().field(0).clone()]));
    let spec = AggregateSpec { calls: Vec::new(), output_schema: schema, ..spec };
    let mut distinct = AggregateOperator::new(spec).unwrap();
    let row = |k: i64| -> Row { (Some(k), None, None, None, None, None) };
    let mut epoch = |rows: &[(Row, i64)]| {
        let out = run_epoch(&mut distinct, [(0, batch(rows))], &context(1, 0, 0));
        out.iter().flat_map(crate::dataflow::operators::tests::lines).collect::<Vec<_>>()
    };
    assert_eq!(epoch(&[(row(1), 1), (row(1), 1), (row(2), 1)]), [("1".into(), 1), ("2".into(), 1)]);
    assert_eq!(epoch(&[(row(1), -1), (row(2), -1)]), [("2".to_string(), -1)]);
    assert_eq!(epoch(&[(row(1), -1), (row(1), 1)]), []);
}

#[test]
fn a_group_beyond_bigint_is_an_error_until_it_recovers() {
    let spec = worker(Shape::Plain, false, false, true).aggregate.spec;
    let errors = spec.errors.clone();
    let schema = Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, true),
        Field::new("c", DataType::Int64, true),
    ]));
    let calls = vec![call(AggregateFunction::SumInt, Some(2), DataType::Int64)];
    let mut sum = AggregateOperator::new(AggregateSpec { calls, output_schema: schema, ..spec }).unwrap();
    let row: Row = (Some(1), None, Some(i32::MAX), None, None, None);
    let mut epoch = |weight: i64| {
        let out = run_epoch(&mut sum, [(0, batch(&[(row, weight)]))], &context(1, 0, 0));
        out.iter().flat_map(|b| b.weights_vec()).collect::<Vec<_>>()
    };
    assert_eq!(epoch(1), [1]);
    assert_eq!(epoch(1 << 33), [-1]);
    assert_eq!((errors.count(), errors.rows()[0].error.sqlstate()), (1, "22003"));
    assert_eq!(epoch(-(1 << 33)), [1]);
    assert_eq!(errors.count(), 0);
}

/// `SELECT window_start, window_end, max(c) FROM (SELECT k, …, count(*) c FROM HOP(…) GROUP BY k, …) GROUP BY …`
#[test]
fn an_aggregate_over_a_changing_aggregate_is_right_and_consolidated() {
    let inner = worker(Shape::Sliced { slide: 5, size: 10, on_close: false }, false, true, true);
    let spec = inner.aggregate.spec;
    let fields = spec.output_schema.fields();
    let middle = Arc::new(Schema::new(fields[..4].to_vec()));
    let count = vec![call(AggregateFunction::CountStar, None, DataType::Int64)];
    let mut inner =
        AggregateOperator::new(AggregateSpec { calls: count, output_schema: middle.clone(), ..spec.clone() })
            .unwrap();
    let most = vec![call(AggregateFunction::Max, Some(3), DataType::Int64)];
    let mut outer = AggregateOperator::new(AggregateSpec {
        input_schema: middle.clone(),
        group_columns: vec![1, 2],
        calls: most,
        output_schema: Arc::new(Schema::new(middle.fields()[1..].to_vec())),
        window: Some(WindowSpec {
            bounds: WindowBounds::Grouped { end_group: 1, start_group: Some(0), judged: false },
            time: WindowTime::Event { clock: vec![0].into() },
        }),
        input_append_only: false,
        ..spec
    })
    .unwrap();
    let mut contents = Contents::new();
    let mut counts: BTreeMap<(i64, i64), i64> = BTreeMap::new();
    let mut state = 7u64;
    for epoch in 0..40i64 {
        let mut rows = Vec::new();
        for _ in 0..20 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let (k, t) = ((state >> 33) as i64 % 5, epoch * 2 + (state >> 40) as i64 % 9);
            rows.push(((Some(k), Some(t), None, None, None, None), 1));
            Windows::new(5, 10, 3).unwrap().ends(t).filter(|end| *end > epoch * 2 - 2).for_each(|end| {
                *counts.entry((end, k)).or_insert(0) += 1;
            });
        }
        let cx = context(epoch as u64 + 1, 0, epoch * 2);
        let changes = run_epoch(&mut inner, [(0, batch(&rows))], &cx);
        let out = run_epoch(&mut outer, changes.into_iter().map(|b| (0, b)), &cx);
        assert_eq!(cancelling(&out), Vec::<String>::new());
        apply(&mut contents, &out);
    }
    let mut most: BTreeMap<i64, i64> = BTreeMap::new();
    counts.iter().for_each(|((end, _), n)| {
        let best = most.entry(*end).or_insert(0);
        *best = *n.max(best);
    });
    let maxima: Vec<i64> =
        contents.keys().map(|line| line.rsplit('|').next().unwrap().parse().unwrap()).collect();
    assert_eq!(maxima, most.values().copied().collect::<Vec<_>>());
    assert!(contents.values().all(|w| *w == 1));
}

#[test]
fn windows_need_no_other_keys() {
    let spec =
        worker(Shape::Sliced { slide: 5, size: 10, on_close: false }, false, true, true).aggregate.spec;
    let output = spec.output_schema.fields()[1..4].to_vec();
    let count = vec![call(AggregateFunction::CountStar, None, DataType::Int64)];
    let output_schema = Arc::new(Schema::new(output));
    let spec = AggregateSpec { group_columns: Vec::new(), calls: count, output_schema, ..spec };
    let mut windowed = AggregateOperator::new(spec).unwrap();
    let mut contents = Contents::new();
    for (epoch, t) in [(1, 3), (2, 4), (3, 9)] {
        let row = (None, Some(t), None, None, None, None);
        let out = run_epoch(&mut windowed, [(0, batch(&[(row, 1)]))], &context(epoch, 0, 0));
        apply(&mut contents, &out);
    }
    let counts: Vec<&str> = contents.keys().map(|line| line.rsplit('|').next().unwrap()).collect();
    assert_eq!((counts, contents.values().sum::<i64>()), (vec!["2", "3", "1"], 3));
}
