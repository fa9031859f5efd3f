//! Against librdkafka's mock cluster; those marked `ignore` need a real broker, started with
//! `sql-tests/kit/kafka.sh` and named by `HEADWATER_TEST_KAFKA`. The mock knows neither
//! transactions nor look-ups by time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::{Field, Fields, Int32Type, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};

use super::*;
use crate::connectors::{DecodedChunk, ReaderState};
use crate::error::HwError;
use crate::types::pg_type::PgType;

const TOPIC: &str = "orders";
const PATIENCE: Duration = Duration::from_secs(20);

fn options(brokers: &str, topic: &str, more: &[(&str, &str)]) -> KafkaOptions {
    let mut with = BTreeMap::from([
        ("connector".to_string(), "kafka".to_string()),
        ("topic".to_string(), topic.to_string()),
        ("properties.bootstrap.server".to_string(), brokers.to_string()),
    ]);
    with.extend(more.iter().map(|(k, v)| (k.to_string(), v.to_string())));
    KafkaOptions::from_with(&with).unwrap()
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![PgType::Int8.field("id", true), PgType::Text.field("name", true)]))
}

fn request(schema: SchemaRef, splits: Vec<SplitRange>) -> ReadRequest {
    ReadRequest { schema, checked: Fields::empty(), splits, chunk_rows_max: 8_192 }
}

fn producer(brokers: &str) -> BaseProducer {
    ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("linger.ms", "1")
        .set("queue.buffering.max.messages", "2000000")
        .set("queue.buffering.max.kbytes", "2000000")
        .create()
        .unwrap()
}

fn send(producer: &BaseProducer, topic: &str, partition: i32, value: Option<&str>) {
    let record = BaseRecord::<str, str>::to(topic).partition(partition).key("k");
    producer
        .send(match value {
            Some(v) => record.payload(v),
            None => record,
        })
        .unwrap();
}

fn mock(partitions: i32) -> (MockCluster<'static, DefaultProducerContext>, String) {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, partitions, 1).unwrap();
    let brokers = cluster.bootstrap_servers();
    (cluster, brokers)
}

/// Polls until `done` says so; panics after `PATIENCE`.
fn read_until(
    reader: &mut dyn SourceReader,
    mut done: impl FnMut(&[DecodedChunk], &mut dyn SourceReader) -> bool,
) -> Vec<DecodedChunk> {
    let deadline = Instant::now() + PATIENCE;
    let mut chunks: Vec<DecodedChunk> = Vec::new();
    while !done(&chunks, reader) {
        assert!(Instant::now() < deadline, "gave up: {chunks:?} {:?}", reader.state());
        chunks.extend(reader.poll(Duration::from_millis(50)).unwrap());
    }
    chunks
}

fn rows(chunks: &[DecodedChunk]) -> usize {
    chunks.iter().map(|c| c.rows.num_rows()).sum()
}

/// Ranges of a split touch each other, and every row lies inside its chunk.
fn check_ranges(chunks: &[DecodedChunk], start: &BTreeMap<u32, i64>) -> BTreeMap<u32, i64> {
    let mut next = start.clone();
    for c in chunks {
        assert_eq!(next.get(&c.split).copied().unwrap_or(0), c.start_offset);
        assert!(c.offsets.iter().all(|o| (c.start_offset..c.end_offset).contains(o)));
        assert!(c.offsets.is_sorted_by(|a, b| a < b));
        assert_eq!(c.offsets.len(), c.rows.num_rows());
        next.insert(c.split, c.end_offset);
    }
    next
}

#[test]
fn options_are_checked() {
    let parse = |pairs: &[(&str, &str)]| {
        KafkaOptions::from_with(&pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect())
    };
    let base = [("topic", "t"), ("properties.bootstrap.servers", "h:1")];
    let with = |more: &[(&'static str, &'static str)]| {
        parse(&base.iter().chain(more).copied().collect::<Vec<_>>()).map(|o| o.startup)
    };
    assert_eq!(with(&[]).unwrap(), Startup::Earliest);
    assert_eq!(with(&[("scan.startup.mode", "latest")]).unwrap(), Startup::Latest);
    let at = [("scan.startup.mode", "timestamp"), ("scan.startup.timestamp.millis", "5")];
    assert_eq!(with(&at).unwrap(), Startup::Timestamp(5));
    assert!(with(&[("properties.sasl.mechanism", "PLAIN"), ("properties.fetch.wait.max.ms", "5")]).is_ok());
    for (pairs, code, shown) in [
        (&[("scan.startup.mode", "newest")][..], "22023", "newest"),
        (&[("scan.startup.mode", "timestamp")], "22023", "scan.startup.timestamp.millis"),
        (&[("scan.startup.timestamp.millis", "x")], "22023", "\"x\""),
        (&[("topicc", "t")], "22023", "topicc"),
        (&[("properties.no.such.thing", "1")], "22023", "no.such.thing"),
        (&[("properties.fetch.wait.max.ms", "soon")], "22023", "fetch.wait.max.ms"),
        (&[("properties.auto.offset.reset", "earliest")], "22023", "auto.offset.reset"),
        (&[("properties.plugin.library.paths", "/tmp/x.so")], "42501", "plugin"),
        (&[("max_record_bytes", "0")], "22023", "max_record_bytes"),
    ] {
        let e = with(pairs).unwrap_err();
        assert_eq!(e.sqlstate(), code, "{e}");
        assert!(e.message().contains(shown), "{e}");
    }
    let e = with(&[("scan.startup.mod", "latest")]).unwrap_err();
    assert!(e.hint().unwrap().contains("Did you mean \"scan.startup.mode\"?"), "{e}");
    assert!(parse(&[("topic", "t")]).unwrap_err().hint().unwrap().contains("properties.bootstrap.server"));
    assert!(parse(&base[1..]).unwrap_err().message().contains("topic"));
    let secret = parse(&[base[0], base[1], ("properties.sasl.password", "hunter2")]).unwrap();
    assert!(!format!("{secret:?}").contains("hunter2"));
}

#[test]
fn an_unreachable_broker_is_reported_quickly() {
    let started = Instant::now();
    let e = KafkaConnector::new(options("127.0.0.1:1", TOPIC, &[])).discover().unwrap_err();
    assert_eq!(e.sqlstate(), "08001");
    assert!(e.message().contains("127.0.0.1:1"), "{e}");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn a_missing_topic_is_named() {
    let (_cluster, brokers) = mock(1);
    let e = KafkaConnector::new(options(&brokers, "no_such_topic", &[])).discover().unwrap_err();
    assert_eq!(e.sqlstate(), "42704", "{e}");
    assert!(e.message().contains("no_such_topic") && e.hint().is_some(), "{e}");
}

#[test]
fn rows_dead_letters_tombstones_and_new_rows() {
    let (_cluster, brokers) = mock(2);
    let producer = producer(&brokers);
    for value in [Some(r#"{"id":1,"name":"a"}"#), Some("{bad"), None, Some(r#"{"id":2}"#)] {
        send(&producer, TOPIC, 0, value);
    }
    send(&producer, TOPIC, 1, Some(r#"{"id":3,"name":"c"}"#));
    producer.flush(PATIENCE).unwrap();
    let connector = KafkaConnector::new(options(&brokers, TOPIC, &[]));
    let splits = connector.discover().unwrap();
    let expect = [0, 1].map(|split| SplitRange { split, start_offset: 0, end_offset: None });
    assert_eq!(splits, expect);
    let mut reader = connector.open(request(schema(), splits)).unwrap();
    let chunks = read_until(reader.as_mut(), |_, r| {
        r.splits().iter().all(|s| s.caught_up && s.end_offset.is_some_and(|e| e > 0))
    });
    let ends = check_ranges(&chunks, &BTreeMap::new());
    assert_eq!(ends, BTreeMap::from([(0, 4), (1, 1)]));
    assert_eq!(rows(&chunks), 3);
    assert_eq!(chunks.iter().map(|c| c.tombstones).sum::<u64>(), 1);
    let dead: Vec<_> = chunks.iter().flat_map(|c| &c.dead_letters).collect();
    assert_eq!(dead.len(), 1);
    assert_eq!((dead[0].offset, dead[0].value_length), (1, 4));
    assert_eq!(dead[0].value.as_deref(), Some(b"{bad".as_slice()));
    assert_eq!(dead[0].key.as_deref(), Some(b"k".as_slice()));
    assert_eq!(dead[0].error.sqlstate(), "22P02");
    assert!(dead[0].timestamp.is_some());

    send(&producer, TOPIC, 1, Some(r#"{"id":4}"#));
    producer.flush(PATIENCE).unwrap();
    let more = read_until(reader.as_mut(), |chunks, _| rows(chunks) == 1);
    assert_eq!(check_ranges(&more, &ends)[&1], 2);
    assert_eq!(reader.state(), ReaderState::Running);
    let end = connector.end_offsets().unwrap();
    assert_eq!(end.iter().map(|s| s.end_offset).collect::<Vec<_>>(), [Some(4), Some(2)]);
}

#[test]
fn a_bounded_read_stops_where_it_should() {
    let (_cluster, brokers) = mock(1);
    let producer = producer(&brokers);
    for i in 0..10 {
        send(&producer, TOPIC, 0, Some(&format!("{{\"id\":{i}}}")));
    }
    producer.flush(PATIENCE).unwrap();
    let connector = KafkaConnector::new(options(&brokers, TOPIC, &[]));
    let range = SplitRange { split: 0, start_offset: 2, end_offset: Some(7) };
    let mut request = request(schema(), vec![range]);
    request.chunk_rows_max = 2;
    let mut reader = connector.open(request).unwrap();
    let chunks = read_until(reader.as_mut(), |_, r| r.splits().iter().all(|s| s.finished));
    assert_eq!(check_ranges(&chunks, &BTreeMap::from([(0, 2)]))[&0], 7);
    let ids: Vec<i64> =
        chunks.iter().flat_map(|c| c.rows.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
    assert_eq!(ids, [2, 3, 4, 5, 6]);
    assert!(chunks.iter().all(|c| c.rows.num_rows() <= 2));
    assert!(reader.poll(Duration::from_secs(5)).unwrap().is_empty());
}

#[test]
fn metadata_columns() {
    let (_cluster, brokers) = mock(1);
    let producer = producer(&brokers);
    let headers = OwnedHeaders::new()
        .insert(Header { key: "trace", value: Some("x\"y") })
        .insert(Header { key: "raw", value: Some(&[0xffu8, 0][..]) });
    let record = BaseRecord::<str, str>::to(TOPIC).partition(0).key("17").payload(r#"{"id":1}"#);
    producer.send(record.headers(headers).timestamp(1_234)).unwrap();
    let record = BaseRecord::<str, str>::to(TOPIC).partition(0).key("not a number").payload(r#"{"id":2}"#);
    producer.send(record).unwrap();
    producer.flush(PATIENCE).unwrap();
    let fields = [
        (KafkaMetadata::Key, PgType::Int4.field("k", true)),
        (KafkaMetadata::Partition, PgType::Int4.field("p", true)),
        (KafkaMetadata::Offset, PgType::Int8.field("o", true)),
        (KafkaMetadata::Timestamp, PgType::Timestamptz.field("ts", true)),
        (KafkaMetadata::Headers, PgType::Jsonb.field("h", true)),
    ];
    let mut options = options(&brokers, TOPIC, &[]);
    options.include = fields.iter().map(|(kind, field)| (*kind, Arc::new(field.clone()))).collect();
    let mut all: Vec<Field> = fields.into_iter().map(|(_, f)| f).collect();
    all.insert(2, PgType::Int8.field("id", true));
    let connector = KafkaConnector::new(options);
    let splits = connector.discover().unwrap();
    let mut reader = connector.open(request(Arc::new(Schema::new(all)), splits)).unwrap();
    let done =
        |chunks: &[DecodedChunk], _: &mut dyn SourceReader| chunks.last().is_some_and(|c| c.end_offset == 2);
    let chunks = read_until(reader.as_mut(), done);
    let batch = &chunks[0].rows;
    assert_eq!(rows(&chunks), 1);
    assert_eq!(batch.column(0).as_primitive::<Int32Type>().value(0), 17);
    assert_eq!(batch.column(1).as_primitive::<Int32Type>().value(0), 0);
    assert_eq!(batch.column(2).as_primitive::<Int64Type>().value(0), 1);
    assert_eq!(batch.column(3).as_primitive::<Int64Type>().value(0), 0);
    assert_eq!(batch.column(4).as_primitive::<TimestampMicrosecondType>().value(0), 1_234_000);
    assert_eq!(batch.column(5).as_string::<i64>().value(0), r#"{"raw": "\\xff00", "trace": "x\"y"}"#);
    assert_eq!(chunks.iter().map(|c| c.dead_letters.len()).sum::<usize>(), 1);
}

#[test]
fn an_outage_is_shown_and_ends_by_itself() {
    let (cluster, brokers) = mock(1);
    let producer = producer(&brokers);
    send(&producer, TOPIC, 0, Some(r#"{"id":1}"#));
    producer.flush(PATIENCE).unwrap();
    let connector = KafkaConnector::new(options(&brokers, TOPIC, &[]));
    let splits = connector.discover().unwrap();
    let mut reader = connector.open(request(schema(), splits)).unwrap();
    read_until(reader.as_mut(), |chunks, _| rows(chunks) == 1);
    cluster.broker_down(-1).unwrap();
    read_until(reader.as_mut(), |_, r| matches!(r.state(), ReaderState::Reconnecting(_)));
    cluster.broker_up(-1).unwrap();
    read_until(reader.as_mut(), |_, r| r.state() == ReaderState::Running);
    send(&producer, TOPIC, 0, Some(r#"{"id":2}"#));
    producer.flush(PATIENCE).unwrap();
    let chunks = read_until(reader.as_mut(), |chunks, _| rows(chunks) == 1);
    assert_eq!(chunks.last().unwrap().end_offset, 2);
}

#[test]
fn an_offset_out_of_range_fails_with_both_offsets() {
    let (_cluster, brokers) = mock(1);
    let producer = producer(&brokers);
    send(&producer, TOPIC, 0, Some(r#"{"id":1}"#));
    producer.flush(PATIENCE).unwrap();
    let connector = KafkaConnector::new(options(&brokers, TOPIC, &[]));
    let split = SplitRange { split: 0, start_offset: 500, end_offset: None };
    let mut reader = connector.open(request(schema(), vec![split])).unwrap();
    read_until(reader.as_mut(), |_, r| matches!(r.state(), ReaderState::Failed(_)));
    let ReaderState::Failed(e) = reader.state() else { unreachable!("just seen") };
    assert!(e.message().contains("offset 500 of partition 0"), "{e}");
    assert!(e.detail().unwrap().contains("0 to 0"), "{e}");
}

fn real_broker() -> String {
    std::env::var("HEADWATER_TEST_KAFKA").expect("HEADWATER_TEST_KAFKA names a broker")
}

fn admin(brokers: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap()
}

fn new_topic(brokers: &str, name: &str, partitions: i32) -> String {
    let topic = format!("{name}-{}", crate::clock::wall_micros());
    let new = NewTopic::new(&topic, partitions, TopicReplication::Fixed(1));
    let made = admin(brokers).create_topics([&new], &AdminOptions::new());
    futures::executor::block_on(made).unwrap().remove(0).unwrap();
    // A producer that asks too early is told that there is no such topic, and drops records.
    let connector = KafkaConnector::new(options(brokers, &topic, &[]));
    let deadline = Instant::now() + PATIENCE;
    while connector.discover().is_err() {
        assert!(Instant::now() < deadline, "topic {topic} does not appear");
    }
    topic
}

/// CPU seconds of this process.
fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` lives through the call.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) }, 0);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

#[test]
#[ignore = "needs a real Kafka"]
fn real_transactions_and_gaps() {
    let brokers = real_broker();
    let topic = new_topic(&brokers, "transactions", 1);
    let transactional: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &brokers)
        .set("transactional.id", &topic)
        .create()
        .unwrap();
    transactional.init_transactions(PATIENCE).unwrap();
    for (commit, id) in [(true, 1), (false, 2), (true, 3), (false, 4)] {
        transactional.begin_transaction().unwrap();
        let value = format!("{{\"id\":{id}}}");
        let record = BaseRecord::<str, str>::to(&topic).key("k").payload(&value).timestamp(id * 1_000);
        transactional.send(record).unwrap();
        transactional.flush(PATIENCE).unwrap();
        if commit {
            transactional.commit_transaction(PATIENCE).unwrap();
        } else {
            transactional.abort_transaction(PATIENCE).unwrap();
        }
    }
    let connector = KafkaConnector::new(options(&brokers, &topic, &[]));
    // Each transaction is a record and a control record.
    assert_eq!(connector.end_offsets().unwrap()[0].end_offset, Some(8));
    let mut reader = connector.open(request(schema(), connector.discover().unwrap())).unwrap();
    let chunks =
        read_until(reader.as_mut(), |_, r| r.splits()[0].caught_up && r.splits()[0].end_offset == Some(8));
    assert_eq!(check_ranges(&chunks, &BTreeMap::new())[&0], 8);
    let offsets: Vec<i64> = chunks.iter().flat_map(|c| c.offsets.clone()).collect();
    assert_eq!(offsets, [0, 4]);

    let bounded = connector.end_offsets().unwrap();
    let mut reader = connector.open(request(schema(), bounded)).unwrap();
    let chunks = read_until(reader.as_mut(), |_, r| r.splits()[0].finished);
    assert_eq!(chunks.last().unwrap().end_offset, 8);
}

#[test]
#[ignore = "needs a real Kafka"]
fn real_startup_by_time() {
    let brokers = real_broker();
    // Without transactions: a control record carries the broker's clock and would be found too.
    let topic = new_topic(&brokers, "by-time", 1);
    let producer = producer(&brokers);
    for seconds in [1, 2, 3] {
        let record = BaseRecord::<str, str>::to(&topic).key("k").payload("{}").timestamp(seconds * 1_000);
        producer.send(record).unwrap();
        producer.flush(PATIENCE).unwrap();
    }
    let at = |millis: &str| {
        let more = [("scan.startup.mode", "timestamp"), ("scan.startup.timestamp.millis", millis)];
        KafkaConnector::new(options(&brokers, &topic, &more)).discover().unwrap()[0].start_offset
    };
    assert_eq!((at("0"), at("2000"), at("2500"), at("99999999")), (0, 1, 2, 3));
}

#[test]
#[ignore = "needs a real Kafka"]
fn real_partitions_added_and_topic_gone() {
    let brokers = real_broker();
    let topic = new_topic(&brokers, "grows", 1);
    let connector = KafkaConnector::new(options(&brokers, &topic, &[]));
    let mut reader = connector.open(request(schema(), connector.discover().unwrap())).unwrap();
    let three = NewPartitions::new(&topic, 3);
    let grown = admin(&brokers).create_partitions([&three], &AdminOptions::new());
    futures::executor::block_on(grown).unwrap().remove(0).unwrap();
    let producer = producer(&brokers);
    for p in 0..3 {
        send(&producer, &topic, p, Some(r#"{"id":1}"#));
    }
    producer.flush(PATIENCE).unwrap();
    let chunks = read_until(reader.as_mut(), |chunks, _| rows(chunks) == 3);
    check_ranges(&chunks, &BTreeMap::new());
    let missing = KafkaConnector::new(options(&brokers, "no_such_topic", &[])).discover().unwrap_err();
    assert_eq!(missing.sqlstate(), "42704");
    futures::executor::block_on(admin(&brokers).delete_topics(&[&topic], &AdminOptions::new())).unwrap();
    read_until(reader.as_mut(), |_, r| matches!(r.state(), ReaderState::Failed(_)));
    let ReaderState::Failed(e) = reader.state() else { unreachable!("just seen") };
    assert!(e.message().starts_with("topic gone"), "{e}");
}

#[test]
#[ignore = "needs a real Kafka; prints figures"]
fn real_throughput_latency_and_idle_cost() {
    let brokers = real_broker();
    let topic = new_topic(&brokers, "bids", 2);
    let producer = producer(&brokers);
    let extra = "e".repeat(290);
    let bid =
        |i: usize| format!("{{\"id\":{i},\"sent\":{},\"extra\":\"{extra}\"}}", crate::clock::wall_micros());
    let total = 1_000_000;
    for i in 0..total {
        send(&producer, &topic, (i % 2) as i32, Some(&bid(i)));
        if i % 10_000 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(Duration::from_secs(120)).unwrap();
    let wanted =
        Arc::new(Schema::new(vec![PgType::Int8.field("id", true), PgType::Int8.field("sent", true)]));
    let connector = KafkaConnector::new(options(&brokers, &topic, &[]));
    let mut reader = connector.open(request(wanted, connector.discover().unwrap())).unwrap();
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let mut read = 0;
    while read < total {
        assert!(start.elapsed() < Duration::from_secs(60), "{read} of {total} records after 60 s");
        read += rows(&reader.poll(Duration::from_millis(100)).unwrap());
    }
    let (wall, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    eprintln!(
        "{total} records: {:.0} k/s wall, {:.0} k/s per CPU-second",
        total as f64 / wall / 1e3,
        total as f64 / cpu / 1e3
    );

    let sender = std::thread::spawn(move || {
        let start = Instant::now();
        for i in 0..250_000usize {
            while (start.elapsed().as_micros() as usize) < i * 20 {
                producer.poll(Duration::from_micros(500));
            }
            let value = format!("{{\"id\":{i},\"sent\":{}}}", crate::clock::wall_micros());
            send(&producer, &topic, (i % 2) as i32, Some(&value));
        }
        producer.flush(PATIENCE).unwrap();
    });
    let mut delays = Vec::new();
    while delays.len() < 250_000 {
        for chunk in reader.poll(Duration::from_millis(100)).unwrap() {
            let now = crate::clock::wall_micros();
            delays.extend(chunk.rows.column(1).as_primitive::<Int64Type>().values().iter().map(|s| now - s));
        }
    }
    sender.join().unwrap();
    delays.sort_unstable();
    let at = |q: usize| delays[delays.len() * q / 1_000] as f64 / 1e3;
    eprintln!(
        "50 k/s: produced to decoded p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
        at(500),
        at(990),
        at(999)
    );

    let (start, cpu) = (Instant::now(), cpu_seconds());
    while start.elapsed() < Duration::from_secs(5) {
        reader.poll(Duration::from_millis(100)).unwrap();
    }
    eprintln!("idle: {:.2} % of a core", (cpu_seconds() - cpu) / 5.0 * 100.0);
}

#[test]
fn reading_needs_no_expectations_of_errors() {
    // A schema that no decoder can build is refused when the reader opens, not later.
    let odd = Arc::new(Schema::new(vec![Field::new("x", arrow::datatypes::DataType::UInt8, true)]));
    let connector = KafkaConnector::new(options("127.0.0.1:1", TOPIC, &[]));
    let split = SplitRange { split: 0, start_offset: 0, end_offset: None };
    let opened: Result<_, HwError> = connector.open(request(odd, vec![split]));
    assert_eq!(opened.err().map(|e| e.sqlstate()), Some("0A000"));
}
