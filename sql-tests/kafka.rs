//! Headwater against a real Kafka, end to end: the program as a child process, JSON orders in
//! several partitions, kill -9 in the middle, and in the end the views equal PostgreSQL's
//! answers over the same messages.
//!
//! The steps share one broker and one server and run in order; a step that fails does not
//! keep the next ones from running. Every wait has a limit.

mod harness;
#[path = "kafka/loss.rs"]
mod loss;
#[path = "kafka/secure.rs"]
mod secure;
#[path = "kafka/time.rs"]
mod time;

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use harness::kit::{self, Kit, free_ports};
use harness::report::{Report, filters, only_list};
use harness::run::compare;
use harness::script::Order;
use harness::server::{Answer, Refusal, connect, run};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_postgres::Client;

const PARTITIONS: i32 = 3;
const MESSAGES: usize = 12_000;
/// Every so many messages one cannot be decoded.
const BAD_EVERY: usize = 97;
const START_LIMIT: Duration = Duration::from_secs(60);
const CATCH_UP_LIMIT: Duration = Duration::from_secs(90);
/// CREATE must tell what is wrong within 10 s; the rest is for a busy machine.
const REFUSAL_LIMIT: Duration = Duration::from_secs(12);
const PAUSE: Duration = Duration::from_millis(100);

const SOURCE: &str = "CREATE SOURCE orders (id BIGINT, customer TEXT, amount NUMERIC(10,2), ts TIMESTAMPTZ, WATERMARK FOR ts AS ts - INTERVAL '1 day') INCLUDE PARTITION AS p INCLUDE OFFSET AS o WITH (connector = 'kafka', topic = 'orders', properties.bootstrap.server = '{broker}', scan.startup.mode = 'earliest', scan.watermark.idle-timeout = '2s') FORMAT PLAIN ENCODE JSON";
const VIEWS: [(&str, &str, &str); 3] = [
    (
        "per_minute",
        "SELECT customer, window_start, count(*) AS n, sum(amount) AS total FROM TUMBLE(orders, ts, INTERVAL '1 minute') GROUP BY customer, window_start, window_end",
        "SELECT customer, date_trunc('minute', ts) AS window_start, count(*) AS n, sum(amount) AS total FROM orders GROUP BY customer, date_trunc('minute', ts)",
    ),
    (
        "by_customer",
        "SELECT customer, count(*) AS n, sum(amount) AS total, avg(amount) AS mean, min(ts) AS first, max(id) AS last FROM orders GROUP BY customer",
        "SELECT customer, count(*) AS n, sum(amount) AS total, avg(amount) AS mean, min(ts) AS first, max(id) AS last FROM orders GROUP BY customer",
    ),
    (
        "positions",
        "SELECT p, count(*) AS n, count(DISTINCT o) AS d, count(DISTINCT id) AS ids FROM orders GROUP BY p",
        "SELECT p, count(*) AS n, count(DISTINCT o) AS d, count(DISTINCT id) AS ids FROM orders GROUP BY p",
    ),
];

fn main() {
    if only_list() {
        println!("kafka: test");
        return;
    }
    if !filters().is_empty() && !filters().iter().any(|f| "kafka".contains(f.as_str())) {
        return;
    }
    let steps: [(&str, Step); 15] = [
        ("kafka: refusals at CREATE come within 10 s", refusals),
        ("kafka: kill -9 while producing, then equal to PostgreSQL", kill_while_producing),
        ("kafka: dead letters exactly once, byte for byte", dead_letters),
        ("kafka: after another kill -9 everything is still the same", after_another_kill),
        ("kafka: a new partition is noticed", new_partition),
        ("kafka: broker down: reconnecting, views readable, then it goes on", broker_down),
        ("kafka: a source read ad hoc equals the views", source_ad_hoc),
        ("kafka: TLS with SASL PLAIN and SCRAM", secure::readable),
        ("kafka: a wrong password or an unknown certificate is named", secure::refusals),
        ("kafka: watermarks per partition: silent, late, skewed", time::per_partition),
        ("kafka: watermarks after kill -9 and with a partition added", time::after_kill),
        ("kafka: watermarks in headers and control records", time::said_by_source),
        ("kafka: the faster topic of an alignment group waits", time::alignment),
        ("kafka: records deleted before they were read", loss::deleted_records),
        ("kafka: a topic that is gone, and one of its name", loss::deleted_topic),
    ];
    let mut report = Report::new(steps.len(), 0);
    match Scene::start() {
        Ok(Some(mut scene)) => {
            for (name, step) in steps {
                report.add(name, step(&mut scene));
            }
        }
        Ok(None) => {
            kit::skipped("Kafka end to end");
            steps.iter().for_each(|(name, _)| report.ignore(name, "this machine has no Kafka or PostgreSQL"));
        }
        Err(why) => report.add("kafka: start", Err(why)),
    }
    std::process::exit(report.finish());
}

type Step = fn(&mut Scene) -> Result<(), String>;

/// Broker, oracle, the program under test, and what has been sent.
struct Scene {
    runtime: Arc<Runtime>,
    kafka: Kit,
    _postgres: Kit,
    oracle: Client,
    server: Headwater,
    producer: FutureProducer,
    /// (partition, offset) → bytes of what cannot be decoded.
    bad: BTreeMap<(i32, i64), Vec<u8>>,
    sent: usize,
}

/// The program as a child process.
struct Headwater {
    dir: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Headwater {
    fn start(&mut self) -> Result<(), String> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.dir.path().join("log"));
        let child = Command::new(env!("CARGO_BIN_EXE_headwater"))
            .arg("server")
            .arg("--data-dir")
            .arg(self.dir.path().join("data"))
            .args(["--pg-listen", &format!("127.0.0.1:{}", self.port)])
            .args(["--http-listen", &format!("127.0.0.1:{}", self.port + 1)])
            .args(["--workers", "2"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.map_err(|e| e.to_string())?)
            .spawn()
            .map_err(|e| format!("the program did not start: {e}"))?;
        self.child = Some(child);
        Ok(())
    }

    /// kill -9.
    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Headwater {
    fn drop(&mut self) {
        self.kill();
    }
}

fn producer(brokers: &str) -> Result<FutureProducer, String> {
    ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("topic.metadata.refresh.interval.ms", "500")
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", "60000")
        .create()
        .map_err(|e| e.to_string())
}

impl Scene {
    fn start() -> Result<Option<Scene>, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = Arc::new(runtime.map_err(|e| e.to_string())?);
        let Some(kafka) = kit::kafka()? else { return Ok(None) };
        let Some(postgres) = kit::postgres()? else { return Ok(None) };
        kafka.topic("orders", PARTITIONS as usize)?;
        let oracle = connect(&runtime, &postgres.address)?;
        let table = "CREATE TABLE orders (id BIGINT, customer TEXT, amount NUMERIC(10,2), ts TIMESTAMPTZ, p INT, o BIGINT)";
        run(&runtime, &oracle, table).map_err(|e| e.to_string())?;
        let producer = producer(&kafka.address)?;
        let dir = TempDir::new().map_err(|e| e.to_string())?;
        let mut server = Headwater { dir, port: free_ports(2)?, child: None };
        server.start()?;
        let scene = Scene {
            runtime,
            kafka,
            _postgres: postgres,
            oracle,
            server,
            producer,
            bad: BTreeMap::new(),
            sent: 0,
        };
        Ok(Some(scene))
    }

    /// A session, as soon as the server takes one.
    fn client(&mut self) -> Result<Client, String> {
        let address = format!("host=127.0.0.1 port={} user=headwater dbname=headwater", self.server.port);
        let started = Instant::now();
        loop {
            match connect(&self.runtime, &address) {
                Ok(client) => return Ok(client),
                Err(why) if started.elapsed() > START_LIMIT => {
                    return Err(format!("no connection: {why}\n{}", self.server.log_tail()));
                }
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
    }

    fn query(&self, client: &Client, sql: &str) -> Result<Answer, String> {
        run(&self.runtime, client, sql).map_err(|e| format!("{sql}\n  got: {e}"))
    }

    /// Repeats `sql` until its lines are as wanted.
    fn wait_for(
        &self,
        client: &Client,
        sql: &str,
        limit: Duration,
        wanted: impl Fn(&[String]) -> bool,
    ) -> Result<(), String> {
        let started = Instant::now();
        loop {
            let lines = self.query(client, sql)?.lines();
            if wanted(&lines) {
                return Ok(());
            }
            if started.elapsed() > limit {
                let tail = self.server.log_tail();
                return Err(format!("{sql}\n  after {} s: {lines:?}\n{tail}", limit.as_secs()));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Sends one chunk of messages and tells PostgreSQL the same.
    fn produce(&mut self, count: usize, partitions: i32) -> Result<(), String> {
        let first = self.sent;
        self.sent += count;
        let messages: Vec<(usize, Vec<u8>, Option<String>)> = (first..first + count).map(message).collect();
        let producer = &self.producer;
        let deliveries = self.runtime.block_on(async {
            let sends = messages.iter().map(|(id, bytes, _)| {
                let key = id.to_string();
                async move {
                    let record = FutureRecord::to("orders")
                        .partition(*id as i32 % partitions)
                        .key(&key)
                        .payload(bytes);
                    producer.send(record, Duration::from_secs(30)).await.map_err(|(e, _)| e.to_string())
                }
            });
            futures::future::join_all(sends).await
        });
        let mut rows = Vec::new();
        for ((_, bytes, row), delivery) in messages.into_iter().zip(deliveries) {
            let delivery = delivery?;
            match row {
                Some(row) => rows.push(format!("({row}, {}, {})", delivery.partition, delivery.offset)),
                None => drop(self.bad.insert((delivery.partition, delivery.offset), bytes)),
            }
        }
        let sql = format!("INSERT INTO orders VALUES {}", rows.join(", "));
        run(&self.runtime, &self.oracle, &sql).map(drop).map_err(|e| format!("PostgreSQL: {e}"))
    }

    fn good(&self) -> Result<String, String> {
        let answer =
            run(&self.runtime, &self.oracle, "SELECT count(*) FROM orders").map_err(|e| e.to_string())?;
        answer.lines().pop().ok_or_else(|| "no count".to_string())
    }

    /// Waits until all is in, then compares every view with PostgreSQL.
    fn compare_views(&mut self) -> Result<(), String> {
        let client = self.client()?;
        let good = self.good()?;
        let sum = "SELECT coalesce(sum(n), 0) FROM by_customer";
        self.wait_for(&client, sum, CATCH_UP_LIMIT, |lines| lines == [good.clone()])?;
        for (name, _, query) in VIEWS {
            let there = run(&self.runtime, &self.oracle, query).map_err(|e| e.to_string())?.lines();
            let here = self.query(&client, &format!("SELECT * FROM {name}"))?.lines();
            compare(name, Order::Sorted, &there, here)?;
        }
        Ok(())
    }
}

/// Message `id`: its bytes, and as a row of PostgreSQL if it can be decoded.
fn message(id: usize) -> (usize, Vec<u8>, Option<String>) {
    if id % BAD_EVERY == BAD_EVERY - 1 {
        let bad: &[u8] = match (id / BAD_EVERY) % 4 {
            0 => b"{not json",
            1 => b"{\"id\": \"many\", \"customer\": \"x\"}",
            2 => b"\xff\xfe\x00",
            _ => b"{\"id\": 1, \"ts\": \"yesterday-ish\"}",
        };
        return (id, bad.to_vec(), None);
    }
    let customer = format!("c{}", id * 7 % 11);
    let amount = format!("{}.{:02}", id % 1000, id % 100);
    let ts =
        format!("2024-05-01T{:02}:{:02}:{:02}.{:03}Z", 10 + id / 3600 % 4, id / 60 % 60, id % 60, id % 1000);
    let json = format!(
        "{{\"id\": {id}, \"customer\": \"{customer}\", \"amount\": {amount}, \"ts\": \"{ts}\", \"extra\": [1, null]}}"
    );
    (id, json.into_bytes(), Some(format!("{id}, '{customer}', {amount}, '{ts}'")))
}

fn expect_refusal(scene: &mut Scene, sql: &str, codes: &[&str], word: &str) -> Result<(), String> {
    let client = scene.client()?;
    let started = Instant::now();
    match run(&scene.runtime, &client, sql) {
        Ok(_) => Err(format!("{sql}\n  expected an error")),
        Err(Refusal { code, text }) => {
            let took = started.elapsed();
            if !codes.contains(&code.as_str()) || !text.contains(word) {
                return Err(format!("{sql}\n  expected {codes:?} with {word:?}\n  got: {code}: {text}"));
            }
            if took > REFUSAL_LIMIT { Err(format!("{sql}\n  took {took:?}")) } else { Ok(()) }
        }
    }
}

fn refusals(scene: &mut Scene) -> Result<(), String> {
    let good = SOURCE.replace("{broker}", &scene.kafka.address);
    let missing = good.replace("topic = 'orders'", "topic = 'no_such_topic'");
    expect_refusal(scene, &missing, &["42704", "42P01", "22023"], "no_such_topic")?;
    let nobody = format!("127.0.0.1:{}", free_ports(2)?);
    let unreachable = SOURCE.replace("{broker}", &nobody);
    expect_refusal(scene, &unreachable, &["08001", "08006"], &nobody)?;
    let nowhere = SOURCE.replace("{broker}", "no-such-host.invalid:9092");
    expect_refusal(scene, &nowhere, &["08001", "08006"], "no-such-host.invalid")?;
    let client = scene.client()?;
    let left = scene.query(&client, "SELECT count(*) FROM headwater.sources")?.lines();
    compare("sources left behind", Order::Sorted, &["0".to_string()], left)
}

fn kill_while_producing(scene: &mut Scene) -> Result<(), String> {
    let client = scene.client()?;
    let source = SOURCE.replace("{broker}", &scene.kafka.address);
    scene.query(&client, &source)?;
    for (name, query, _) in &VIEWS[..2] {
        scene.query(&client, &format!("CREATE MATERIALIZED VIEW {name} AS {query}"))?;
    }
    drop(client);
    let chunk = MESSAGES / 12;
    for part in 0..12 {
        if part == 4 || part == 8 {
            // The server dies while messages come in, and comes back while more do.
            scene.kill_during_production(chunk)?;
        } else {
            scene.produce(chunk, PARTITIONS)?;
        }
        if part == 6 {
            let client = scene.client()?;
            let (name, query, _) = VIEWS[2];
            scene.query(&client, &format!("CREATE MATERIALIZED VIEW {name} AS {query}"))?;
        }
    }
    scene.compare_views()
}

impl Scene {
    fn kill_during_production(&mut self, count: usize) -> Result<(), String> {
        let done = Arc::new(AtomicBool::new(false));
        let mut server = std::mem::replace(
            &mut self.server,
            Headwater { dir: TempDir::new().map_err(|e| e.to_string())?, port: 0, child: None },
        );
        let producing = done.clone();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            server.kill();
            let during = !producing.load(Ordering::SeqCst);
            let started = server.start();
            (server, during, started)
        });
        // In small parts, so that the kill falls between them.
        let result = (0..20).try_for_each(|_| {
            let sent = self.produce(count / 20, PARTITIONS);
            std::thread::sleep(Duration::from_millis(10));
            sent
        });
        done.store(true, Ordering::SeqCst);
        let (server, during, started) = killer.join().map_err(|_| "the killer panicked".to_string())?;
        self.server = server;
        started?;
        result?;
        if during { Ok(()) } else { Err("the kill came after the messages".into()) }
    }
}

fn dead_letters(scene: &mut Scene) -> Result<(), String> {
    let client = scene.client()?;
    let sql =
        "SELECT split, \"offset\", encode(value, 'hex') FROM headwater.dead_letters WHERE source = 'orders'";
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let expected: Vec<String> =
        scene.bad.iter().map(|((p, o), bytes)| format!("{p}\t{o}\t{}", hex(bytes))).collect();
    compare("dead letters", Order::Sorted, &expected, scene.query(&client, sql)?.lines())?;
    let codes = "SELECT DISTINCT sqlstate FROM headwater.dead_letters WHERE source = 'orders'";
    for code in scene.query(&client, codes)?.lines() {
        if !code.starts_with("22") {
            return Err(format!("a dead letter has SQLSTATE {code}"));
        }
    }
    Ok(())
}

fn after_another_kill(scene: &mut Scene) -> Result<(), String> {
    scene.server.kill();
    scene.server.start()?;
    scene.compare_views()?;
    dead_letters(scene)
}

impl Scene {
    fn admin(&self) -> Result<AdminClient<DefaultClientContext>, String> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.kafka.address).create().map_err(|e| e.to_string())
    }

    /// Raises the number of partitions, and waits until the producer knows.
    fn add_partition(&self, topic: &str, partitions: usize) -> Result<(), String> {
        let admin = self.admin()?;
        let wanted = [NewPartitions::new(topic, partitions)];
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(20)));
        let made =
            self.runtime.block_on(admin.create_partitions(&wanted, &options)).map_err(|e| e.to_string())?;
        made.into_iter().try_for_each(|r| r.map(drop).map_err(|(_, e)| e.to_string()))?;
        // The producer must learn of it too: a batch that fails half way would be half delivered.
        let started = Instant::now();
        let known = || {
            let metadata = self.producer.client().fetch_metadata(Some(topic), Duration::from_secs(5));
            metadata.is_ok_and(|m| m.topics().iter().any(|t| t.partitions().len() >= partitions))
        };
        while !known() && started.elapsed() < CATCH_UP_LIMIT {
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }
}

fn new_partition(scene: &mut Scene) -> Result<(), String> {
    scene.add_partition("orders", PARTITIONS as usize + 1)?;
    std::thread::sleep(Duration::from_secs(2));
    scene.produce(40, PARTITIONS + 1)?;
    scene.compare_views()?;
    let client = scene.client()?;
    let sql = "SELECT count(*) > 0 FROM positions WHERE p = 3";
    scene.wait_for(&client, sql, CATCH_UP_LIMIT, |lines| lines == ["t"])
}

fn broker_down(scene: &mut Scene) -> Result<(), String> {
    let client = scene.client()?;
    scene.kafka.stop();
    let state = "SELECT DISTINCT state FROM headwater.sources WHERE name = 'orders'";
    scene.wait_for(&client, state, CATCH_UP_LIMIT, |lines| lines.iter().any(|l| l == "reconnecting"))?;
    let before = scene.good()?;
    let read = scene.query(&client, "SELECT sum(n) FROM by_customer")?.lines();
    compare("by_customer while the broker is down", Order::Sorted, &[before], read)?;
    scene.kafka.start_again()?;
    // One that has not backed off while the broker was away.
    scene.producer = producer(&scene.kafka.address)?;
    scene.produce(500, PARTITIONS)?;
    scene.compare_views()?;
    scene.wait_for(&client, state, CATCH_UP_LIMIT, |lines| !lines.iter().any(|l| l == "reconnecting"))
}

fn source_ad_hoc(scene: &mut Scene) -> Result<(), String> {
    let client = scene.client()?;
    let (_, query, there) = VIEWS[1];
    let expected = run(&scene.runtime, &scene.oracle, there).map_err(|e| e.to_string())?.lines();
    compare("the source", Order::Sorted, &expected, scene.query(&client, query)?.lines())
}
