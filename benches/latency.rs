//! From a record produced to Kafka to its row in a SELECT, at 50,000 records a second.
//!
//!     cargo bench --bench latency [-- SECONDS]
//!
//! One thread produces bids (about 150 bytes of JSON) to a real broker, started with
//! `sql-tests/kit/kafka.sh`; one record in 250 is a probe, a record of the key 0. The view
//! counts records by key. A client asks for the probe's row over and over with a prepared
//! statement and notes which probes it sees. Latency is the time from handing a probe to the
//! producer until a SELECT has returned it; goal: half within 30 ms, 99 % within 100 ms. The
//! first seconds do not count. Without a broker the bench is skipped.

mod support;

use std::fmt::Write;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};
use support::{BoxError, Server, free_port, load_average, verdict};

const RATE: u64 = 50_000;
const PROBE_EVERY: u64 = 250;
const KEYS: u64 = 10_000;
/// A broker compiles itself while it runs.
const WARM_UP: Duration = Duration::from_secs(15);
/// The collector of a small machine; everything else as in production.
const JVM_OPTIONS: &str = "-XX:+UseSerialGC";
const TOPIC: &str = "bids";
const P50_GOAL: Duration = Duration::from_millis(30);
const P99_GOAL: Duration = Duration::from_millis(100);

/// A broker of its own, stopped when dropped.
struct Broker {
    dir: tempfile::TempDir,
    address: String,
}

fn kit(args: &[&str]) -> Result<std::process::Output, BoxError> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/sql-tests/kit/kafka.sh");
    let mut command = Command::new("sh");
    command.arg(script).args(args).env("KAFKA_JVM_OPTIONS", JVM_OPTIONS);
    Ok(command.stderr(std::process::Stdio::inherit()).output()?)
}

impl Broker {
    /// `None` if this machine cannot have a broker.
    fn start() -> Result<Option<Broker>, BoxError> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().to_str().ok_or("the temporary directory has no UTF-8 name")?.to_string();
        let port = free_port()?.to_string();
        let output = kit(&["start", &path, &port])?;
        if !output.status.success() {
            return Ok(None);
        }
        let address = String::from_utf8(output.stdout)?.trim().to_string();
        let broker = Broker { dir, address };
        let topic = kit(&["topic", &path, TOPIC, "4"])?;
        if topic.status.success() { Ok(Some(broker)) } else { Err("cannot create the topic".into()) }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(path) = self.dir.path().to_str() {
            let _ = kit(&["stop", path]);
        }
    }
}

/// Nanoseconds after `start` at which each probe was handed to the producer, and at which the
/// broker had acknowledged it.
struct Probes {
    start: Instant,
    sent: Vec<AtomicU64>,
    acknowledged: Vec<AtomicU64>,
}

impl Probes {
    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }
}

/// Hears of probes that the broker has written.
struct Acknowledgements(Arc<Probes>);

impl ClientContext for Acknowledgements {}

impl ProducerContext for Acknowledgements {
    /// The number of a probe, or of no probe.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, probe: usize) {
        if let (Ok(_), Some(at)) = (result, self.0.acknowledged.get(probe)) {
            at.store(self.0.now(), Ordering::Release);
        }
    }
}

/// Sends records at the rate until `seconds` are over. Returns the records that were sent.
fn produce(address: &str, seconds: u64, probes: &Arc<Probes>) -> Result<u64, BoxError> {
    let producer: ThreadedProducer<Acknowledgements> = ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("queue.buffering.max.ms", "1")
        .set("queue.buffering.max.messages", "1000000")
        .set("acks", "1")
        .create_with_context(Acknowledgements(Arc::clone(probes)))?;
    let mut sent = 0;
    let mut payload = String::new();
    while sent < RATE * seconds {
        let due = (probes.start.elapsed().as_secs_f64() * RATE as f64) as u64;
        while sent < due.min(RATE * seconds) {
            let probe = sent.is_multiple_of(PROBE_EVERY);
            let key = if probe { 0 } else { 1 + sent % KEYS };
            payload.clear();
            let number = sent / PROBE_EVERY;
            write!(
                payload,
                "{{\"k\": {key}, \"probe\": {number}, \"price\": {}, \"channel\": \"channel-{}\", \
                 \"url\": \"https://www.nexmark.com/item.htm?query=1&channel_id={sent}\"}}",
                100 + sent % 9_999_991,
                sent % 1_000,
            )?;
            if probe {
                probes.sent[number as usize].store(probes.now(), Ordering::Release);
            }
            let key = key.to_string();
            let of_probe = if probe { number as usize } else { usize::MAX };
            let record = BaseRecord::with_opaque_to(TOPIC, of_probe).key(&key).payload(payload.as_str());
            match producer.send(record) {
                Ok(()) => sent += 1,
                Err((e, _))
                    if e.rdkafka_error_code() == Some(rdkafka::types::RDKafkaErrorCode::QueueFull) =>
                {
                    break;
                }
                Err((e, _)) => return Err(e.into()),
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    producer.flush(Duration::from_secs(10))?;
    Ok(sent)
}

async fn create(client: &tokio_postgres::Client, address: &str) -> Result<(), BoxError> {
    let source = format!(
        "CREATE SOURCE bids (k BIGINT, probe BIGINT, price BIGINT, channel TEXT, url TEXT)
         WITH (connector = 'kafka', \"properties.bootstrap.server\" = '{address}', topic = '{TOPIC}',
               \"scan.startup.mode\" = 'earliest') FORMAT PLAIN ENCODE JSON"
    );
    client.batch_execute(&source).await?;
    client
        .batch_execute(
            "CREATE MATERIALIZED VIEW v AS SELECT k, count(*) AS n, max(price) AS highest, max(probe) AS probe
             FROM bids GROUP BY k",
        )
        .await?;
    Ok(())
}

/// Asks until the producer has finished and all its probes are seen. Returns the latencies
/// of the probes after the warm-up, and the number of SELECTs.
async fn observe(
    client: &tokio_postgres::Client,
    probes: &Probes,
    finished: &AtomicBool,
) -> Result<(Vec<Duration>, u64), BoxError> {
    let select = client.prepare("SELECT n, probe FROM v WHERE k = $1").await?;
    let (mut latencies, mut next, mut selects) = (Vec::new(), 0, 0);
    let mut last_progress = Instant::now();
    while next < probes.sent.len() {
        let row = client.query_opt(&select, &[&0i64]).await?;
        let now = probes.now();
        selects += 1;
        let seen = row.map(|r| r.try_get::<_, i64>(1)).transpose()?.unwrap_or(-1);
        while (next as i64) <= seen {
            let sent = Duration::from_nanos(probes.sent[next].load(Ordering::Acquire));
            if sent >= WARM_UP {
                latencies.push(Duration::from_nanos(now).saturating_sub(sent));
            }
            next += 1;
            last_progress = Instant::now();
        }
        if finished.load(Ordering::Acquire) && last_progress.elapsed() > Duration::from_secs(15) {
            return Err(format!("probe {next} has not arrived 15 s after the end").into());
        }
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
    Ok((latencies, selects))
}

/// Median, 99th percentile, and these and others as text.
fn distribution(mut of: Vec<Duration>) -> (Duration, Duration, String) {
    of.sort_unstable();
    let at = |p: usize| of.get(of.len().saturating_sub(1) * p / 1000).copied().unwrap_or(Duration::MAX);
    let ms = |p: usize| at(p).as_secs_f64() * 1e3;
    let text = format!(
        "p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms, most {:.1} ms",
        ms(500),
        ms(900),
        ms(990),
        ms(999),
        ms(1000),
    );
    (at(500), at(990), text)
}

async fn run(broker: &Broker, seconds: u64) -> Result<(), BoxError> {
    let server = Server::start()?;
    let client = server.connect().await?;
    create(&client, &broker.address).await?;
    let count = (RATE * seconds).div_ceil(PROBE_EVERY);
    let times = || (0..count).map(|_| AtomicU64::new(0)).collect();
    let probes = Arc::new(Probes { start: Instant::now(), sent: times(), acknowledged: times() });
    let finished = Arc::new(AtomicBool::new(false));
    let cpu = server.cpu_seconds()?;
    let producer = {
        let (probes, finished, address) =
            (Arc::clone(&probes), Arc::clone(&finished), broker.address.clone());
        std::thread::spawn(move || {
            let result = produce(&address, seconds, &probes);
            finished.store(true, Ordering::Release);
            (result, probes.start.elapsed())
        })
    };
    let (latencies, selects) = observe(&client, &probes, &finished).await?;
    let cpu = server.cpu_seconds()? - cpu;
    let (produced, took) = producer.join().map_err(|_| "the producer panicked")?;
    let produced = produced?;
    println!(
        "{produced} records in {:.1} s ({:.0}/s), {} probes, {selects} SELECTs, server {:.0} % CPU, {:.0} MB, load {}",
        took.as_secs_f64(),
        produced as f64 / took.as_secs_f64(),
        latencies.len(),
        cpu / took.as_secs_f64() * 100.0,
        server.resident_mb()?,
        load_average(),
    );
    let acknowledged = probes.sent.iter().zip(&probes.acknowledged);
    let acknowledged = acknowledged.map(|(sent, at)| {
        let sent = sent.load(Ordering::Acquire);
        Duration::from_nanos(at.load(Ordering::Acquire).saturating_sub(sent))
    });
    let warm = (WARM_UP.as_secs() * RATE / PROBE_EVERY) as usize;
    println!("produced to acknowledged by the broker: {}", distribution(acknowledged.skip(warm).collect()).2);
    let (p50, p99, text) = distribution(latencies);
    println!(
        "produced to visible: {text}; p50 {}, p99 {}",
        verdict(p50 <= P50_GOAL),
        verdict(p99 <= P99_GOAL),
    );
    Ok(())
}

fn main() -> Result<(), BoxError> {
    let seconds = std::env::args().filter(|a| a != "--bench").nth(1).map_or(Ok(40), |s| s.parse())?;
    let Some(broker) = Broker::start()? else {
        println!("*** SKIPPED: no Kafka broker can be started here (see above)");
        return Ok(());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(&broker, seconds))
}
