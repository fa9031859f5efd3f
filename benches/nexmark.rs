//! Nexmark q0–q5, q7–q9, q11, q12, q15–q20 as views, against DataFusion computing each once.
//!
//!     cargo bench --bench nexmark [-- [--events N] [--epoch BATCHES] [--rounds N] [QUERY…]]
//!
//! The views are planned from SQL over a source of the whole event stream (persons and
//! auctions too) and run in the dataflow host, fed with pre-made batches of 8,192 events;
//! what they emit is counted and dropped. Printed per query: events per CPU-second of the
//! process with one worker, the CPU time of the baseline (stock DataFusion, one partition,
//! the same batches, results dropped as they stream), their ratio, and wall time with one
//! and two workers. The speed-up of two workers is the median of the rounds, in each of which
//! both run one after the other; on a machine that has other work to do it is better told by the
//! CPU time of the busier worker, printed beside. q0 and q2 also run from JSON
//! bytes. The emitted rows, net of retractions, must be as many as the baseline's. The best
//! of the rounds counts. Last (or alone, as query `emit`) come the costs of emit clauses.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray, RecordBatch, new_null_array};
use arrow::datatypes::{Field, Schema, SchemaRef, TimestampMicrosecondType};
use crossbeam_channel::{Receiver, bounded};
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt;
use headwater::catalog::{Details, NewDefinition, SourceDetails, ViewDetails, WatermarkDefinition};
use headwater::config::Config;
use headwater::connectors::generator::{GeneratorConnector, GeneratorOptions, bid_json};
use headwater::dataflow::build::{RecursionLimits, Sides, build};
use headwater::dataflow::graph::DataflowSpec;
use headwater::dataflow::host::{BuildOptions, DataflowFeed, Feed, Host, RelationRows, Report, ViewOutput};
use headwater::dataflow::operator::EpochContext;
use headwater::dataflow::operators::{LateRows, RowErrors};
use headwater::engine::database::Database;
use headwater::formats::json::{JsonDecoder, JsonLimits};
use headwater::plan::StreamPlan;
use headwater::sql::emit::BoundEmit;
use headwater::types::{ChangeBatch, Epoch, EventTime, ProcTime};

#[path = "support/nexmark_queries.rs"]
mod nexmark_queries;
use nexmark_queries::{QUERIES, Query};

/// The server's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[path = "support/emit.rs"]
mod emit;

type BoxError = Box<dyn std::error::Error>;

const BATCH_ROWS: usize = 8_192;
/// As the server's `epochs_in_flight_max`.
const EPOCHS_IN_FLIGHT: usize = 4;
const WATERMARK_DELAY_US: i64 = 4_000_000;
const VIEW: u64 = 1_000_000;
const JSON_RECORDS: usize = 400_000;

/// What the command line chose.
struct Settings {
    events: usize,
    epoch_batches: usize,
    rounds: usize,
    queries: Vec<String>,
}

impl Settings {
    fn from_args() -> Result<Settings, BoxError> {
        let mut settings = Settings { events: 4_000_000, epoch_batches: 8, rounds: 3, queries: Vec::new() };
        let mut args = std::env::args().skip(1).filter(|a| a != "--bench");
        while let Some(arg) = args.next() {
            let mut number =
                || -> Result<usize, BoxError> { Ok(args.next().ok_or("a number is missing")?.parse()?) };
            match arg.as_str() {
                "--events" => settings.events = number()?,
                "--epoch" => settings.epoch_batches = number()?.max(1),
                "--rounds" => settings.rounds = number()?.max(1),
                _ => settings.queries.push(arg),
            }
        }
        Ok(settings)
    }

    fn wants(&self, name: &str) -> bool {
        self.queries.is_empty() || self.queries.iter().any(|q| q == name)
    }
}

/// CPU seconds of this process.
fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec that outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// CPU seconds of the dataflow worker of this process that used most.
fn busiest_worker() -> Result<f64, BoxError> {
    let mut most: f64 = 0.0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        // A thread may end while the list is read.
        let name = std::fs::read_to_string(task.join("comm")).unwrap_or_default();
        if !name.starts_with("timely:work") {
            continue;
        }
        let stat = std::fs::read_to_string(task.join("schedstat"))?;
        most = most.max(stat.split(' ').next().ok_or("no run time")?.parse::<f64>()? / 1e9);
    }
    Ok(most)
}

/// Counts what a view emits and drops it, as the blackhole sink does.
#[derive(Default)]
struct Counter {
    rows: AtomicU64,
    net: AtomicI64,
}

impl ViewOutput for Counter {
    fn epoch(&self, _: usize, _: &EpochContext, changes: &[ChangeBatch]) -> headwater::error::Result<()> {
        for batch in changes {
            self.rows.fetch_add(batch.len() as u64, Ordering::Relaxed);
            let net = batch.weights.as_slice().map_or(batch.len() as i64, |w| w.iter().sum());
            self.net.fetch_add(net, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// The event stream in memory: columns that no query reads are null.
struct Events {
    batches: Vec<RecordBatch>,
    /// Watermark after each batch, as the source would prove it.
    watermarks: Vec<EventTime>,
    rows: usize,
}

fn event_schema() -> Result<SchemaRef, BoxError> {
    let with = [("generator", "nexmark"), ("nexmark.table.type", "event")];
    let with = with.map(|(k, v)| (k.to_string(), v.to_string())).into();
    Ok(GeneratorOptions::from_with(&with, None)?.schema())
}

fn nullable(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(
        schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect::<Vec<_>>(),
    ))
}

/// Rows of `schema` whose other columns are null.
fn widen(
    schema: &SchemaRef,
    used: &[usize],
    columns: &[ArrayRef],
    rows: usize,
) -> Result<RecordBatch, BoxError> {
    let mut all: Vec<ArrayRef> =
        schema.fields().iter().map(|f| new_null_array(f.data_type(), rows)).collect();
    used.iter().zip(columns).for_each(|(at, column)| all[*at] = Arc::clone(column));
    Ok(RecordBatch::try_new(Arc::clone(schema), all)?)
}

fn events(count: usize) -> Result<Events, BoxError> {
    let with = [("generator", "nexmark"), ("nexmark.table.type", "event")];
    let with = with.map(|(k, v)| (k.to_string(), v.to_string())).into();
    let options = GeneratorOptions::from_with(&with, None)?;
    let schema = nullable(&options.schema());
    let bids = ["event_type", "date_time", "extra", "auction", "bidder", "price", "channel", "url"];
    let auctions =
        ["id", "item_name", "description", "initial_bid", "reserve", "expires", "seller", "category"];
    let persons = ["name", "city", "state"];
    let mut used = bids
        .iter()
        .chain(&auctions)
        .chain(&persons)
        .map(|n| Ok(schema.index_of(n)?))
        .collect::<Result<Vec<_>, BoxError>>()?;
    used.sort_unstable();
    let narrow = Arc::new(options.schema().project(&used)?);
    let connector = GeneratorConnector::new(options);
    let empty: Vec<ArrayRef> =
        schema.fields().iter().map(|f| new_null_array(f.data_type(), BATCH_ROWS)).collect();
    let mut events = Events { batches: Vec::new(), watermarks: Vec::new(), rows: 0 };
    while events.rows < count {
        let rows = connector.generate(events.rows as i64..(events.rows + BATCH_ROWS) as i64, &narrow)?;
        let mut columns = empty.clone();
        used.iter().zip(rows.columns()).for_each(|(at, column)| columns[*at] = Arc::clone(column));
        let times = rows.column_by_name("date_time").ok_or("no date_time")?;
        let newest = times.as_primitive::<TimestampMicrosecondType>().values().iter().max().copied();
        events.watermarks.push(EventTime(newest.ok_or("an empty batch")? - WATERMARK_DELAY_US));
        events.batches.push(RecordBatch::try_new(Arc::clone(&schema), columns)?);
        events.rows += BATCH_ROWS;
    }
    Ok(events)
}

/// A database with the source `event` and the view `bid` on it.
async fn database(dir: &std::path::Path) -> Result<Arc<Database>, BoxError> {
    let config = Config { data_dir: dir.to_path_buf(), manual_clock: true, workers: 1, ..Config::default() };
    let database = Database::open(config).await?;
    let definition =
        |name: &str, columns: Vec<Field>, depends_on: Vec<u64>, details: Details| NewDefinition {
            schema: "public".into(),
            name: name.into(),
            columns,
            depends_on,
            primary_key: Vec::new(),
            created_at: 0,
            details,
        };
    let schema = event_schema()?;
    let columns: Vec<Field> = schema.fields().iter().map(|f| f.as_ref().clone()).collect();
    let source = SourceDetails {
        connector: "feed".into(),
        watermark: Some(WatermarkDefinition {
            column: "date_time".into(),
            expression: Some("date_time - INTERVAL '4' SECOND".into()),
            percentile: None,
        }),
        ..SourceDetails::default()
    };
    let event = database.create(definition("event", columns, vec![], Details::Source(source)), None).await?;
    let names = ["auction", "bidder", "price", "channel", "url", "date_time", "extra"];
    let view = ViewDetails {
        query: format!("SELECT {} FROM event WHERE event_type = 2", names.join(", ")),
        column_names: Vec::new(),
        search_path: vec!["public".into()],
        late_of: None,
    };
    let fields =
        names.iter().map(|n| Ok(schema.field_with_name(n)?.clone())).collect::<Result<_, BoxError>>()?;
    database.create(definition("bid", fields, vec![event.id], Details::View(view)), None).await?;
    Ok(database)
}

async fn plan(database: &Arc<Database>, sql: &str) -> Result<StreamPlan, BoxError> {
    plan_emitting(database, sql, &BoundEmit::default()).await
}

async fn plan_emitting(
    database: &Arc<Database>,
    sql: &str,
    emit: &BoundEmit,
) -> Result<StreamPlan, BoxError> {
    let cx = database.system_context(&["public".to_string()]);
    let query = headwater::engine::definitions::parse_query(sql)?;
    Ok(database.plan_view(&cx, &query, emit, None, Some(sql)).await?.plan)
}

/// One view in a host of its own.
struct Run {
    host: Host,
    reports: Receiver<Report>,
    relation: u64,
    counter: Arc<Counter>,
    epoch: u64,
    /// Reports still to come, one per worker and epoch.
    waiting: usize,
    now: ProcTime,
}

impl Run {
    fn start(plan: &StreamPlan, workers: usize) -> Result<Run, BoxError> {
        let (sender, reports) = bounded(4_096);
        let host = Host::start(workers, sender)?;
        let sides = Sides {
            late: Arc::new(LateRows::new(100)),
            relation: None,
            errors: Arc::new(RowErrors::new(100)),
            join_pairs_max: usize::MAX,
            recursion: RecursionLimits { rows_max: usize::MAX, rounds_max: usize::MAX },
        };
        let spec: Arc<DataflowSpec> = Arc::new(build(VIEW, "nexmark", plan, &sides));
        let counter = Arc::new(Counter::default());
        let relation = plan.inputs.first().ok_or("a plan without input")?.relation;
        let output: Arc<dyn ViewOutput> = Arc::<Counter>::clone(&counter);
        host.build(spec, output, BuildOptions { hydrating: false, queued_rows_max: 0 });
        let mut run = Run { host, reports, relation, counter, epoch: 0, waiting: workers, now: ProcTime(0) };
        run.wait(0)?;
        Ok(run)
    }

    fn wait(&mut self, until: usize) -> Result<(), BoxError> {
        while self.waiting > until {
            match self.reports.recv_timeout(Duration::from_secs(120))? {
                Report::Built { .. } | Report::EpochDone { .. } => self.waiting -= 1,
                other => return Err(format!("{other:?}").into()),
            }
        }
        Ok(())
    }

    fn feed(&mut self, batches: &[RecordBatch], watermark: EventTime) -> Result<(), BoxError> {
        let workers = self.host.workers();
        self.wait((EPOCHS_IN_FLIGHT - 1) * workers)?;
        self.epoch += 1;
        self.now = ProcTime(self.now.0 + 1_000);
        let mut per_worker = vec![Vec::new(); workers];
        for (i, batch) in batches.iter().enumerate() {
            per_worker[i % workers].push(ChangeBatch::inserts(batch.clone()));
        }
        self.host.feed(Arc::new(Feed {
            epoch: Epoch(self.epoch),
            now: self.now,
            dataflows: vec![DataflowFeed { id: VIEW, watermarks: vec![watermark].into(), now: None }],
            rows: vec![RelationRows { relation: self.relation, per_worker }],
            private: None,
        }));
        self.waiting += workers;
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Measured {
    cpu: f64,
    /// CPU seconds of the worker that used most.
    busiest: f64,
    wall: f64,
    rows: u64,
    net: i64,
}

impl Measured {
    const NONE: Measured = Measured { cpu: f64::MAX, busiest: f64::MAX, wall: f64::MAX, rows: 0, net: 0 };

    /// The better of two rounds, each time for itself.
    fn best(self, other: Measured) -> Measured {
        Measured {
            cpu: self.cpu.min(other.cpu),
            busiest: self.busiest.min(other.busiest),
            wall: self.wall.min(other.wall),
            ..other
        }
    }
}

/// `live`: the clock goes as fast as event time, and the input ends.
fn headwater(
    plan: &StreamPlan,
    events: &Events,
    workers: usize,
    epoch_batches: usize,
    live: bool,
) -> Result<Measured, BoxError> {
    let mut run = Run::start(plan, workers)?;
    let (cpu, wall) = (cpu_seconds(), Instant::now());
    let watermarks = events.watermarks.chunks(epoch_batches);
    for (batches, watermarks) in events.batches.chunks(epoch_batches).zip(watermarks) {
        let watermark = *watermarks.last().ok_or("an empty epoch")?;
        if live {
            run.now = ProcTime(watermark.0 + WATERMARK_DELAY_US);
        }
        run.feed(batches, watermark)?;
    }
    if live {
        run.feed(&[], EventTime(i64::MAX))?;
    }
    run.wait(0)?;
    let (cpu, wall) = (cpu_seconds() - cpu, wall.elapsed().as_secs_f64());
    let busiest = busiest_worker()?;
    let counter = Arc::clone(&run.counter);
    run.host.shutdown();
    let (rows, net) = (counter.rows.load(Ordering::Relaxed), counter.net.load(Ordering::Relaxed));
    Ok(Measured { cpu, busiest, wall, rows, net })
}

async fn baseline(sql: &str, events: &Events) -> Result<Measured, BoxError> {
    let mut config = SessionConfig::new().with_target_partitions(1);
    // 0.908 is numeric in both.
    config.options_mut().sql_parser.parse_float_as_decimal = true;
    let context = SessionContext::new_with_config(config);
    let schema = events.batches[0].schema();
    context.register_table("event", Arc::new(MemTable::try_new(schema, vec![events.batches.clone()])?))?;
    let (cpu, wall) = (cpu_seconds(), Instant::now());
    let mut stream = context.sql(sql).await?.execute_stream().await?;
    let mut rows = 0;
    while let Some(batch) = stream.next().await {
        rows += batch?.num_rows() as u64;
    }
    let (cpu, wall) = (cpu_seconds() - cpu, wall.elapsed().as_secs_f64());
    Ok(Measured { cpu, busiest: cpu, wall, rows, net: rows as i64 })
}

/// Decodes bids as the Kafka source does, keeps the columns that the plan uses, and feeds them.
fn from_json(plan: &StreamPlan, records: &[Vec<u8>], epoch_batches: usize) -> Result<Measured, BoxError> {
    let mut run = Run::start(plan, 1)?;
    let input = plan.inputs.first().ok_or("a plan without input")?;
    let used = &input.used_columns;
    let others = (0..input.schema.fields().len()).filter(|c| !used.contains(c)).collect::<Vec<_>>();
    let wanted = Arc::new(input.schema.project(used)?);
    let checked = input.schema.project(&others)?;
    let mut decoder = JsonDecoder::checking(wanted, checked.fields(), JsonLimits::default())?;
    let (cpu, wall) = (cpu_seconds(), Instant::now());
    for epoch in records.chunks(BATCH_ROWS * epoch_batches) {
        let mut batches = Vec::new();
        for chunk in epoch.chunks(BATCH_ROWS) {
            for record in chunk {
                decoder.push(record)?;
            }
            let rows = decoder.finish()?;
            batches.push(widen(&input.schema, used, rows.columns(), rows.num_rows())?);
        }
        run.feed(&batches, EventTime(0))?;
    }
    run.wait(0)?;
    let (cpu, wall) = (cpu_seconds() - cpu, wall.elapsed().as_secs_f64());
    let (rows, net) = (run.counter.rows.load(Ordering::Relaxed), run.counter.net.load(Ordering::Relaxed));
    Ok(Measured { cpu, busiest: cpu, wall, rows, net })
}

/// The middle value; of an even number of them the lower one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

fn load_average() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default().split(' ').next().unwrap_or("?").to_string()
}

async fn measure(
    database: &Arc<Database>,
    events: &Events,
    query: &Query,
    settings: &Settings,
) -> Result<(), BoxError> {
    let plan = plan(database, query.sql).await?;
    plan.explain().iter().for_each(|line| println!("    {line}"));
    let (mut one, mut two, mut base) = (Measured::NONE, Measured::NONE, Measured::NONE);
    let (mut by_wall, mut by_cpu) = (Vec::new(), Vec::new());
    for _ in 0..settings.rounds {
        let single = headwater(&plan, events, 1, settings.epoch_batches, false)?;
        let pair = headwater(&plan, events, 2, settings.epoch_batches, false)?;
        by_wall.push(single.wall / pair.wall);
        by_cpu.push(single.busiest / pair.busiest);
        (one, two) = (one.best(single), two.best(pair));
        base = base.best(baseline(query.baseline, events).await?);
    }
    for measured in [&one, &two] {
        if measured.net != base.net {
            return Err(
                format!("{}: {} rows, DataFusion gives {}", query.name, measured.net, base.net).into()
            );
        }
    }
    let rate = events.rows as f64 / one.cpu;
    let ratio = one.cpu / base.cpu;
    let met = if rate >= query.goal && ratio <= query.goal_ratio { "met" } else { "MISSED" };
    println!(
        "{:<4} {:>7.2} M/CPU-s (goal {:>4.1}) | DataFusion {:>7.2} M/s, ratio {:.2} (goal {:.1}) {met} | wall 1 worker \
         {:.3} s, 2 workers {:.3} s: {:.2}x, by CPU time of the busiest worker {:.2}x | emitted {} rows, net {} | load {}",
        query.name,
        rate / 1e6,
        query.goal / 1e6,
        events.rows as f64 / base.cpu / 1e6,
        ratio,
        query.goal_ratio,
        one.wall,
        two.wall,
        median(by_wall),
        median(by_cpu),
        one.rows,
        one.net,
        load_average(),
    );
    Ok(())
}

async fn measure_json(
    database: &Arc<Database>,
    query: &Query,
    goal: f64,
    settings: &Settings,
) -> Result<(), BoxError> {
    let plan = plan(database, query.sql).await?;
    let record = |n: usize| {
        let mut bytes = Vec::with_capacity(400);
        bid_json(0, n as u64, &mut bytes);
        bytes
    };
    let records: Vec<Vec<u8>> = (0..JSON_RECORDS).map(record).collect();
    let bytes: usize = records.iter().map(Vec::len).sum();
    let mut best = Measured::NONE;
    for _ in 0..settings.rounds {
        best = best.best(from_json(&plan, &records, settings.epoch_batches)?);
    }
    let rate = JSON_RECORDS as f64 / best.cpu;
    let met = if rate >= goal { "met" } else { "MISSED" };
    println!(
        "{} from JSON, {} bytes an event: {:.2} M/CPU-s (goal {:.1}) {met} | {} rows | load {}",
        query.name,
        bytes / JSON_RECORDS,
        rate / 1e6,
        goal / 1e6,
        best.rows,
        load_average(),
    );
    Ok(())
}

fn main() -> Result<(), BoxError> {
    let settings = Settings::from_args()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let dir = tempfile::tempdir()?;
    let events = events(settings.events)?;
    println!(
        "{} events in batches of {BATCH_ROWS}, {} batches an epoch, best of {} rounds, load {}",
        events.rows,
        settings.epoch_batches,
        settings.rounds,
        load_average(),
    );
    runtime.block_on(async {
        let database = database(dir.path()).await?;
        for query in QUERIES.iter().filter(|q| settings.wants(q.name)) {
            measure(&database, &events, query, &settings).await?;
        }
        for (query, goal) in [(&QUERIES[0], 0.8e6), (&QUERIES[2], 1.5e6)] {
            if settings.wants(query.name) {
                measure_json(&database, query, goal, &settings).await?;
            }
        }
        if settings.wants("emit") {
            emit::measure(&database, &events, &settings).await?;
        }
        Ok(())
    })
}
