//! Operators against DataFusion, on one thread.
//!
//! Each case runs an incremental operator over pre-made 8,192-row batches, eight batches an
//! epoch, and then DataFusion over the same batches once with `target_partitions = 1`.
//! Printed: events per CPU-second of each and the ratio of times (below 1: faster than the
//! batch query). Bids follow Nexmark's proportions: half of them on a hot auction, three
//! quarters by a hot bidder, the rest spread over recent ids. Last come the costs of one change
//! in ordered state of growing size, and those of a million open sessions (alone with `--
//! sessions`). Run: `cargo bench --bench operators`.

use std::alloc::{GlobalAlloc, Layout};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use headwater::dataflow::operator::{EpochContext, Operator};
use headwater::dataflow::operators::*;
use headwater::types::trigger::{Accumulation, EmitPolicy, EmitSpec, OnTime, TriggerSpec};
use headwater::types::{ChangeBatch, Epoch, EventTime, ProcTime};

#[path = "support/curves.rs"]
mod curves;
#[path = "support/ordered.rs"]
mod ordered;
#[path = "support/sessions.rs"]
mod sessions;

const BATCH_ROWS: usize = 8192;
const BATCHES: usize = 512;
const EPOCH_BATCHES: usize = 8;
/// Event time between two bids: 100,000 bids a second.
const STEP_US: i64 = 10;

type BoxError = Box<dyn Error>;

/// The server's allocator, counting what it gives out.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;
static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the server's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { mimalloc::MiMalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { mimalloc::MiMalloc.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATED.fetch_add(size, Ordering::Relaxed);
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { mimalloc::MiMalloc.realloc(pointer, layout, size) }
    }
}

/// Bytes that are in use.
fn allocated_bytes() -> usize {
    ALLOCATED.load(Ordering::Relaxed)
}

fn bid_schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    Arc::new(Schema::new(vec![
        Field::new("auction", DataType::Int64, false),
        Field::new("bidder", DataType::Int64, false),
        Field::new("price", DataType::Int64, false),
        Field::new("ts", time, false),
    ]))
}

/// A splitmix64 step.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn bids() -> Result<Vec<RecordBatch>, BoxError> {
    let mut seed = 42;
    let batch = |number: usize| -> Result<RecordBatch, BoxError> {
        let (mut auctions, mut bidders) = (Vec::new(), Vec::new());
        let (mut prices, mut times) = (Vec::new(), Vec::new());
        for row in 0..BATCH_ROWS {
            let event = (number * BATCH_ROWS + row) as u64;
            // 46 bids come with 3 auctions and 1 person.
            let (auction, person) = (event * 3 / 46 + 1000, event / 46 + 1000);
            let draw = random(&mut seed);
            let hot = |id: u64| id / 100 * 100;
            auctions.push(if draw & 1 == 0 { hot(auction) } else { auction - (draw >> 8) % 100 } as i64);
            bidders.push(if draw & 6 != 0 { hot(person) + 1 } else { person - (draw >> 24) % 1000 } as i64);
            prices.push((draw >> 40) as i64);
            times.push(event as i64 * STEP_US);
        }
        let columns: Vec<arrow::array::ArrayRef> = vec![
            Arc::new(Int64Array::from(auctions)),
            Arc::new(Int64Array::from(bidders)),
            Arc::new(Int64Array::from(prices)),
            Arc::new(TimestampMicrosecondArray::from(times)),
        ];
        Ok(RecordBatch::try_new(bid_schema(), columns)?)
    };
    (0..BATCHES).map(batch).collect()
}

/// CPU seconds of this process.
fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec that outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn call(function: AggregateFunction, argument: Option<usize>, output: DataType) -> AggregateCall {
    let output = Arc::new(Field::new("c", output, true));
    let arguments = argument.into_iter().collect();
    AggregateCall { function, arguments, order_by: Vec::new(), filter: None, distinct: false, output }
}

struct Case {
    name: &'static str,
    goal: f64,
    keys: Vec<usize>,
    calls: Vec<AggregateCall>,
    /// Slide and size in seconds.
    window: Option<(i64, i64)>,
    emit: EmitSpec,
    sql: String,
}

fn operator(case: &Case) -> Result<AggregateOperator, BoxError> {
    let schema = bid_schema();
    let mut fields: Vec<Field> = case.keys.iter().map(|k| schema.field(*k).clone()).collect();
    let mut window = None;
    if let Some((slide, size)) = case.window {
        let bound = schema.field(3).data_type().clone();
        fields.push(Field::new("window_start", bound.clone(), false));
        fields.push(Field::new("window_end", bound, false));
        let windows = Windows::new(slide * 1_000_000, size * 1_000_000, 0)?;
        let hop = HopSpec { time_column: Some(3), windows, with_window_time: false };
        let time = WindowTime::Event { clock: vec![0].into() };
        window = Some(WindowSpec { bounds: WindowBounds::Sliced(hop), time });
    }
    fields.extend(case.calls.iter().map(|c| c.output.as_ref().clone()));
    if case.emit.with_pane_columns {
        fields.extend(panes::pane_fields());
    }
    Ok(AggregateOperator::new(AggregateSpec {
        output_schema: Arc::new(Schema::new(fields)),
        window,
        emit: case.emit.clone(),
        input_append_only: true,
        global: false,
        ..AggregateSpec::grouped(schema, case.keys.clone(), case.calls.clone())
    })?)
}

/// CPU seconds and emitted rows.
fn run(operator: &mut dyn Operator, batches: &[RecordBatch]) -> Result<(f64, usize), BoxError> {
    let start = cpu_seconds();
    let mut emitted = 0;
    for (epoch, batches) in batches.chunks(EPOCH_BATCHES).enumerate() {
        let mut out = Vec::new();
        for batch in batches {
            operator.push(0, ChangeBatch::inserts(batch.clone()), &mut out)?;
        }
        let seen = ((epoch + 1) * EPOCH_BATCHES * BATCH_ROWS) as i64 * STEP_US;
        let watermarks = vec![EventTime(seen - 1_000_000)];
        // The clock goes as fast as event time.
        let cx = EpochContext {
            epoch: Epoch(epoch as u64 + 1),
            now: ProcTime(seen),
            watermarks: watermarks.into(),
        };
        operator.finish_epoch(&cx, &mut out)?;
        emitted += out.iter().map(ChangeBatch::len).sum::<usize>();
    }
    Ok((cpu_seconds() - start, emitted))
}

fn baseline(runtime: &tokio::runtime::Runtime, batches: &[RecordBatch], sql: &str) -> Result<f64, BoxError> {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    context.register_table("bid", Arc::new(MemTable::try_new(bid_schema(), vec![batches.to_vec()])?))?;
    let start = cpu_seconds();
    runtime.block_on(async { context.sql(sql).await?.collect().await })?;
    Ok(cpu_seconds() - start)
}

/// Early panes every second, on time, and a late pane a row for one more second.
fn early_on_time_late() -> EmitSpec {
    EmitSpec {
        policy: EmitPolicy::Phases {
            early: Some(TriggerSpec::Every { interval_us: 1_000_000, offset_us: 0 }),
            on_time: Some(OnTime { if_not_empty: false }),
            late: Some(TriggerSpec::AfterRows(1)),
        },
        lateness_us: 1_000_000,
        accumulation: Accumulation::AccumulatingAndRetracting,
        ..EmitSpec::changes()
    }
}

fn cases() -> Vec<Case> {
    use AggregateFunction::*;
    let count = || vec![call(CountStar, None, DataType::Int64)];
    let rich = || {
        vec![
            call(CountStar, None, DataType::Int64),
            call(SumBig, Some(2), DataType::Decimal128(38, 0)),
            call(AvgInt, Some(2), DataType::Decimal128(38, 20)),
            call(Min, Some(2), DataType::Int64),
            call(Max, Some(2), DataType::Int64),
        ]
    };
    let tumble =
        |key: &str| format!("SELECT {key}, (ts::bigint / 10000000) w, count(*) FROM bid GROUP BY 1, 2");
    let hop = "SELECT auction, w - h.column1 w, count(*) FROM \
               (SELECT auction, (ts::bigint / 2000000) w FROM bid) b \
               CROSS JOIN (VALUES (0), (1), (2), (3), (4)) h GROUP BY 1, 2";
    let case =
        |name, goal, keys, calls, window, emit, sql| Case { name, goal, keys, calls, window, emit, sql };
    vec![
        case(
            "q12 tumble count, changes",
            8e6,
            vec![1],
            count(),
            Some((10, 10)),
            EmitSpec::changes(),
            tumble("bidder"),
        ),
        case(
            "q12 tumble count, on close",
            8e6,
            vec![1],
            count(),
            Some((10, 10)),
            EmitSpec::final_pane(),
            tumble("bidder"),
        ),
        case(
            "q5 hop 2s/10s count, changes",
            5e6,
            vec![0],
            count(),
            Some((2, 10)),
            EmitSpec::changes(),
            hop.into(),
        ),
        case(
            "q5 hop 2s/10s count, on close",
            5e6,
            vec![0],
            count(),
            Some((2, 10)),
            EmitSpec::final_pane(),
            hop.into(),
        ),
        // At most 1.5 times the cost of the case "changes".
        case(
            "q5 hop 2s/10s, early/on time/late",
            3.3e6,
            vec![0],
            count(),
            Some((2, 10)),
            early_on_time_late(),
            hop.into(),
        ),
        case(
            "q5 the same with pane columns",
            3.3e6,
            vec![0],
            count(),
            Some((2, 10)),
            EmitSpec { with_pane_columns: true, ..early_on_time_late() },
            hop.into(),
        ),
        case(
            "group by auction: 5 calls",
            3e6,
            vec![0],
            rich(),
            None,
            EmitSpec::changes(),
            "SELECT auction, count(*), sum(price), avg(price), min(price), max(price) FROM bid GROUP BY 1"
                .into(),
        ),
    ]
}

/// Every bid with its auction, one row an auction stored on the right first.
fn join_case(runtime: &tokio::runtime::Runtime, bids: &[RecordBatch]) -> Result<(f64, f64, usize), BoxError> {
    let auction = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("category", DataType::Int64, false),
    ]));
    let ids = 0..(BATCHES * BATCH_ROWS * 3 / 46) as i64 + 2000;
    let categories = Int64Array::from_iter_values(ids.clone().map(|id| id % 20));
    let columns: Vec<arrow::array::ArrayRef> =
        vec![Arc::new(Int64Array::from_iter_values(ids)), Arc::new(categories)];
    let auctions = RecordBatch::try_new(auction.clone(), columns)?;
    let sides = ((bid_schema(), vec![0]), (auction.clone(), vec![0]));
    let spec = JoinSpec::on_keys(JoinKind::Inner, sides.0, sides.1, vec![0, 2, 5]);
    let mut join = JoinOperator::new(JoinSpec { left_append_only: true, ..spec })?;
    join.push(1, ChangeBatch::inserts(auctions.clone()), &mut Vec::new())?;
    let (seconds, emitted) = run(&mut join, bids)?;
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    context.register_table("bid", Arc::new(MemTable::try_new(bid_schema(), vec![bids.to_vec()])?))?;
    context.register_table("auction", Arc::new(MemTable::try_new(auction, vec![vec![auctions]])?))?;
    let start = cpu_seconds();
    let sql = "SELECT b.auction, b.price, a.category FROM bid b JOIN auction a ON b.auction = a.id";
    runtime.block_on(async { context.sql(sql).await?.collect().await })?;
    Ok((seconds, cpu_seconds() - start, emitted))
}

/// Microseconds of CPU for an epoch that changes one row, in a join over `rows` left rows with
/// ten to a key, or all of one key. In turn a right row and a left row are updated.
fn update_case(kind: JoinKind, rows: usize, one_key: bool) -> Result<f64, BoxError> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, true),
        Field::new("v", DataType::Int64, true),
    ]));
    let batch = |changes: &[(i64, i64, i64)]| -> Result<ChangeBatch, BoxError> {
        let columns: Vec<arrow::array::ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(changes.iter().map(|c| c.0))),
            Arc::new(Int64Array::from_iter_values(changes.iter().map(|c| c.1))),
        ];
        let weights = changes.iter().map(|c| c.2).collect();
        Ok(ChangeBatch::new(RecordBatch::try_new(schema.clone(), columns)?, weights))
    };
    let keys = if one_key { 1 } else { (rows / 10).max(1) as i64 };
    let side = || (schema.clone(), vec![0]);
    let mut join = join::join_operator(JoinSpec::on_keys(kind, side(), side(), vec![0, 1, 3]))?;
    let mut epoch = 0;
    let mut step = |join: &mut Box<dyn Operator>, side: usize, changes: &[(i64, i64, i64)]| {
        epoch += 1;
        let mut out = Vec::new();
        join.push(side, batch(changes)?, &mut out)?;
        let cx = EpochContext { epoch: Epoch(epoch), now: ProcTime(0), watermarks: Vec::new().into() };
        join.finish_epoch(&cx, &mut out)?;
        Ok::<usize, BoxError>(out.iter().map(ChangeBatch::len).sum())
    };
    let all: Vec<(i64, i64, i64)> = (0..rows as i64).map(|i| (i % keys, i, 1)).collect();
    for part in all.chunks(BATCH_ROWS) {
        step(&mut join, 0, part)?;
    }
    let right: Vec<(i64, i64, i64)> = (0..keys).map(|k| (k, k, 1)).collect();
    for part in right.chunks(BATCH_ROWS) {
        step(&mut join, 1, part)?;
    }
    let mut seed = 7;
    let (start, rounds) = (cpu_seconds(), 500);
    for round in 0..rounds {
        let row = (random(&mut seed) % rows as u64) as i64;
        // Of a key that all rows have, only left rows change: the right one would change all.
        if !one_key && round % 2 == 0 {
            let key = row % keys;
            step(&mut join, 1, &[(key, key, -1), (key, -key - 1, 1)])?;
            step(&mut join, 1, &[(key, -key - 1, -1), (key, key, 1)])?;
        } else {
            step(&mut join, 0, &[(row % keys, row, -1), (row % keys, -row - 1, 1)])?;
            step(&mut join, 0, &[(row % keys, -row - 1, -1), (row % keys, row, 1)])?;
        }
    }
    Ok((cpu_seconds() - start) * 1e6 / (2 * rounds) as f64)
}

fn print_updates() -> Result<(), BoxError> {
    println!(
        "\n{:<32} {:>10} {:>14} {:>14}",
        "one row changes, µs an epoch", "rows", "10 to a key", "one key"
    );
    for (name, kind) in
        [("inner join", JoinKind::Inner), ("left join", JoinKind::Left), ("full join", JoinKind::Full)]
    {
        for rows in [10_000, 100_000, 1_000_000, 10_000_000] {
            let (spread, one) = (update_case(kind, rows, false)?, update_case(kind, rows, true)?);
            println!("{name:<32} {rows:>10} {spread:>14.1} {one:>14.1}");
        }
    }
    Ok(())
}

fn main() -> Result<(), BoxError> {
    // `-- updates` runs the costs of single changes only.
    if std::env::args().any(|a| a == "updates") {
        curves::run()?;
        ordered::run()?;
        return print_updates();
    }
    if std::env::args().any(|a| a == "sessions") {
        return sessions::run();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let batches = bids()?;
    let rows = (BATCHES * BATCH_ROWS) as f64;
    println!(
        "{:<32} {:>10} {:>8} {:>12} {:>7} {:>9}",
        "case", "events/s", "goal", "DataFusion", "ratio", "emitted"
    );
    for case in cases() {
        let mut best = f64::MAX;
        let mut emitted = 0;
        for _ in 0..3 {
            let (seconds, rows) = run(&mut operator(&case)?, &batches)?;
            best = best.min(seconds);
            emitted = rows;
        }
        let base = baseline(&runtime, &batches, &case.sql)?;
        print_line(case.name, rows, case.goal, best, base, emitted);
    }
    let (seconds, base, emitted) = join_case(&runtime, &batches)?;
    print_line("join bid with auction", rows, 3e6, seconds, base, emitted);
    print_updates()?;
    curves::run()?;
    ordered::run()?;
    sessions::run()
}

fn print_line(name: &str, rows: f64, goal: f64, seconds: f64, base: f64, emitted: usize) {
    println!(
        "{name:<32} {:>8.2} M {:>6.1} M {:>10.2} M {:>7.2} {emitted:>9}",
        rows / seconds / 1e6,
        goal / 1e6,
        rows / base / 1e6,
        seconds / base,
    );
}
