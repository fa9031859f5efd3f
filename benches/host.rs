//! What an epoch costs in the dataflow host: `cargo bench --bench host`.
//!
//! Prints the latency of an empty epoch (3 stages, 2 workers; goal: median at most 100 µs),
//! the same with rows, and the processor time that 500 idle views take beside one live view
//! (goal: below 1 % of a core).

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use crossbeam_channel::{Receiver, bounded};
use headwater::dataflow::graph::{DataflowSpec, InputSpec, Node, Stage, StageInput, StageOrigin, StageSpec};
use headwater::dataflow::host::{BuildOptions, DataflowFeed, Feed, Host, RelationRows, Report, ViewOutput};
use headwater::dataflow::operator::{EpochContext, Operator};
use headwater::error::Result;
use headwater::types::{ChangeBatch, Epoch, ProcTime};

const WORKERS: usize = 2;
const SOURCE: u64 = 1_000_000;

struct Pass;

impl Operator for Pass {
    fn name(&self) -> &str {
        "pass"
    }
    fn push(&mut self, _: usize, batch: ChangeBatch, out: &mut Vec<ChangeBatch>) -> Result<()> {
        out.push(batch);
        Ok(())
    }
    fn finish_epoch(&mut self, _: &EpochContext, _: &mut Vec<ChangeBatch>) -> Result<()> {
        Ok(())
    }
}

struct Nowhere;

impl ViewOutput for Nowhere {
    fn epoch(&self, _: usize, _: &EpochContext, _: &[ChangeBatch]) -> Result<()> {
        Ok(())
    }
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, false)]))
}

fn three_stages(id: u64) -> Arc<DataflowSpec> {
    let stage = |from, exchange| StageSpec {
        inputs: vec![StageInput { from, exchange, replicate: false }],
        output_schema: schema(),
        build: Arc::new(|_| {
            let node = Node::new(Box::new(Pass), vec![]);
            Ok(Stage { nodes: vec![node], ports: vec![vec![(0, 0)]], output: 0 })
        }),
    };
    Arc::new(DataflowSpec {
        id,
        name: format!("view{id}"),
        inputs: vec![InputSpec { relation: SOURCE, schema: schema() }],
        stages: vec![
            stage(StageOrigin::Input(0), None),
            stage(StageOrigin::Stage(0), Some(vec![0])),
            stage(StageOrigin::Stage(1), Some(vec![0])),
        ],
    })
}

struct Bench {
    host: Host,
    reports: Receiver<Report>,
    epoch: u64,
}

impl Bench {
    fn start(views: u64) -> Bench {
        let (sender, reports) = bounded(65536);
        let host = Host::start(WORKERS, sender).expect("workers start");
        for id in 1..=views {
            let options = BuildOptions { hydrating: false, queued_rows_max: 0 };
            host.build(three_stages(id), Arc::new(Nowhere), options);
        }
        let bench = Bench { host, reports, epoch: 0 };
        for _ in 0..views * WORKERS as u64 {
            bench.report();
        }
        bench
    }

    fn report(&self) {
        let report = self.reports.recv_timeout(Duration::from_secs(60)).expect("a report");
        assert!(matches!(report, Report::Built { .. } | Report::EpochDone { .. }), "{report:?}");
    }

    /// Runs one epoch of views 1..=`views` and waits for all workers.
    fn epoch(&mut self, views: u64, rows: &[RelationRows]) -> Duration {
        self.epoch += 1;
        let start = Instant::now();
        self.host.feed(Arc::new(Feed {
            epoch: Epoch(self.epoch),
            now: ProcTime(self.epoch as i64),
            dataflows: (1..=views)
                .map(|id| DataflowFeed { id, watermarks: Default::default(), now: None })
                .collect(),
            rows: rows.to_vec(),
            private: None,
        }));
        for _ in 0..views * WORKERS as u64 {
            self.report();
        }
        start.elapsed()
    }
}

fn percentiles(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |p: usize| times[(times.len() - 1) * p / 100].as_secs_f64() * 1e6;
    println!("{name}: median {:.0} µs, p90 {:.0} µs, p99 {:.0} µs", at(50), at(90), at(99));
}

fn rows(rows_per_worker: i64) -> Vec<RelationRows> {
    let batch = |w: i64| {
        let values = Int64Array::from_iter_values(w * rows_per_worker..(w + 1) * rows_per_worker);
        let rows = RecordBatch::try_new(schema(), vec![Arc::new(values)]).expect("one column");
        vec![ChangeBatch::inserts(rows)]
    };
    vec![RelationRows { relation: SOURCE, per_worker: (0..WORKERS as i64).map(batch).collect() }]
}

/// Processor time of this process so far.
fn cpu_time() -> Duration {
    // SAFETY: getrusage fills the struct it is given and keeps nothing.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let of = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    of(usage.ru_utime) + of(usage.ru_stime)
}

fn main() {
    let mut one = Bench::start(1);
    let run = |bench: &mut Bench, n: usize, rows: &[RelationRows]| -> Vec<Duration> {
        (0..n).map(|_| bench.epoch(1, rows)).collect()
    };
    run(&mut one, 200, &[]);
    percentiles("empty epoch, 3 stages, 2 workers", run(&mut one, 2000, &[]));
    percentiles("epoch of 2 x 10,000 rows", run(&mut one, 300, &rows(10_000)));
    one.host.shutdown();

    let start = Instant::now();
    let mut many = Bench::start(500);
    println!("building 500 views: {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    let (start, cpu) = (Instant::now(), cpu_time());
    std::thread::sleep(Duration::from_secs(2));
    let idle = (cpu_time() - cpu).as_secs_f64() / start.elapsed().as_secs_f64();
    println!("500 idle views: {:.2} % of a core", idle * 100.0);
    percentiles("empty epoch of one view beside 499 idle", run(&mut many, 2000, &[]));
    let all: Vec<_> = (0..50).map(|_| many.epoch(500, &[])).collect();
    percentiles("empty epoch of all 500 views", all);
    many.host.shutdown();
}
