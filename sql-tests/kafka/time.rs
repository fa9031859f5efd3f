//! Event time against a real Kafka: partitions that are silent, skewed, added; watermarks in
//! headers and control records; alignment groups; and a kill -9 in between.

use std::time::{Duration, Instant};

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::FutureRecord;

use super::{CATCH_UP_LIMIT, Order, PAUSE, Scene, compare};

/// Longer than the idle timeout of the sources here, shorter than twice.
const IDLE: Duration = Duration::from_secs(8);
const IDLE_TIMEOUT_S: u64 = 6;

impl Scene {
    /// One message; `header` is the value of the header `wm`.
    fn send(
        &self,
        topic: &str,
        partition: i32,
        value: Option<&str>,
        header: Option<&str>,
    ) -> Result<(), String> {
        let mut record = FutureRecord::<str, str>::to(topic).partition(partition).key("k");
        if let Some(value) = value {
            record = record.payload(value);
        }
        if let Some(header) = header {
            record = record.headers(OwnedHeaders::new().insert(Header { key: "wm", value: Some(header) }));
        }
        let sent = self.runtime.block_on(self.producer.send(record, Duration::from_secs(30)));
        sent.map(drop).map_err(|(e, _)| e.to_string())
    }

    /// A row at a time of 1 May 2024.
    pub fn send_at(&self, topic: &str, partition: i32, time: &str) -> Result<(), String> {
        self.send(topic, partition, Some(&format!("{{\"v\": 1, \"ts\": \"2024-05-01T{time}Z\"}}")), None)
    }

    fn create_timed(
        &mut self,
        topic: &str,
        partitions: usize,
        strategy: &str,
        options: &str,
    ) -> Result<(), String> {
        self.kafka.topic(topic, partitions)?;
        let client = self.client()?;
        let broker = &self.kafka.address;
        self.query(&client, &format!("CREATE SOURCE {topic} (v INT, ts TIMESTAMPTZ, WATERMARK FOR ts AS {strategy}) WITH (connector = 'kafka', topic = '{topic}', properties.bootstrap.server = '{broker}', properties.topic.metadata.refresh.interval.ms = '500', {options}) FORMAT PLAIN ENCODE JSON"))?;
        self.query(
            &client,
            &format!("CREATE MATERIALIZED VIEW {topic}_n AS SELECT count(*) AS n FROM {topic}"),
        )?;
        self.query(&client, &format!("CREATE MATERIALIZED VIEW {topic}_final AS SELECT window_end, count(*) AS n FROM TUMBLE({topic}, ts, INTERVAL '1 minute') GROUP BY window_start, window_end EMIT FINAL"))?;
        Ok(())
    }

    fn watermark(&mut self, topic: &str) -> Result<String, String> {
        let client = self.client()?;
        let sql = format!(
            "SELECT to_char(watermark AT TIME ZONE 'UTC', 'HH24:MI:SS') FROM headwater.watermarks WHERE object = '{topic}' AND kind = 'source'"
        );
        self.query(&client, &sql)?.lines().pop().ok_or_else(|| "no source".to_string())
    }

    /// Waits until the source's watermark is `wanted`; on the way it must not fall.
    fn wait_for_watermark(&mut self, topic: &str, wanted: &str) -> Result<(), String> {
        let started = Instant::now();
        let mut before = String::new();
        loop {
            let now = self.watermark(topic)?;
            if now != "NULL" && now < before {
                return Err(format!("the watermark of {topic} fell from {before} to {now}"));
            }
            if now == wanted {
                return Ok(());
            }
            if started.elapsed() > CATCH_UP_LIMIT {
                return Err(format!(
                    "the watermark of {topic} is {now}, not {wanted}\n{}",
                    self.server.log_tail()
                ));
            }
            before = if now == "NULL" { before } else { now };
            std::thread::sleep(PAUSE);
        }
    }

    pub fn expect(&mut self, sql: &str, wanted: &[&str]) -> Result<(), String> {
        let client = self.client()?;
        let wanted: Vec<String> = wanted.iter().map(|w| w.to_string()).collect();
        let seen = self.wait_for(&client, sql, CATCH_UP_LIMIT, |lines| lines == wanted);
        seen.map_err(|why| format!("{why}\n  wanted: {wanted:?}"))
    }
}

/// A partition without rows holds until it is idle; a slow one holds; a far row does not count.
pub fn per_partition(scene: &mut Scene) -> Result<(), String> {
    let options = format!("scan.watermark.idle-timeout = '{IDLE_TIMEOUT_S}s'");
    scene.kafka.topic("parts", 2)?;
    let started = Instant::now();
    scene.create_timed("parts", 2, "ts - INTERVAL '10 seconds'", &options)?;
    let client = scene.client()?;
    scene.send_at("parts", 0, "10:00:30")?;
    scene.send_at("parts", 0, "10:05:00")?;
    scene.expect("SELECT n FROM parts_n", &["2"])?;
    let held =
        "SELECT held_by, split_part(reason, ';', 1) FROM headwater.watermarks WHERE object = 'parts_final'";
    if started.elapsed() < Duration::from_secs(IDLE_TIMEOUT_S) {
        let there = scene.query(&client, held)?.lines();
        // The answer was right if the partition was not idle yet when it was given.
        if started.elapsed() < Duration::from_secs(IDLE_TIMEOUT_S) {
            compare("who holds", Order::Sorted, &["source parts, split 1\tno row yet".to_string()], there)?;
        }
    }
    scene.wait_for_watermark("parts", "10:04:50")?;
    scene.expect("SELECT n FROM parts_final", &["1"])?;
    // The silent partition wakes up behind: its row is late, and time does not go back.
    scene.send_at("parts", 1, "10:00:40")?;
    scene.expect(
        "SELECT count(*), min(reason) FROM headwater.late_rows WHERE view = 'parts_final'",
        &["1\twindow closed"],
    )?;
    scene.wait_for_watermark("parts", "10:04:50")?;
    // A row years ahead is kept, counted and named, and does not move the watermark.
    scene.send("parts", 0, Some("{\"v\": 1, \"ts\": \"2150-01-01T00:00:00Z\"}"), None)?;
    scene.expect("SELECT n FROM parts_n", &["4"])?;
    scene.expect("SELECT skewed_rows FROM headwater.sources WHERE name = 'parts' AND split = 0", &["1"])?;
    let named = "SELECT reason LIKE '%1 row did not move it%at offset 2 with event time 2150-01-01%' FROM headwater.watermarks WHERE object = 'parts' AND split = 0";
    scene.expect(named, &["t"])?;
    scene.wait_for_watermark("parts", "10:04:50")
}

/// The watermark and the count of skewed rows are what they were after a kill -9.
pub fn after_kill(scene: &mut Scene) -> Result<(), String> {
    let before = scene.watermark("parts")?;
    scene.server.kill();
    scene.server.start()?;
    scene.expect("SELECT n FROM parts_n", &["4"])?;
    scene.wait_for_watermark("parts", &before)?;
    scene.expect("SELECT skewed_rows FROM headwater.sources WHERE name = 'parts' AND split = 0", &["1"])?;
    scene.expect("SELECT n FROM parts_final", &["1"])?;
    // A third partition begins with old rows: the watermark stays, then follows the slowest.
    scene.add_partition("parts", 3)?;
    scene.send_at("parts", 2, "10:06:00")?;
    scene.send_at("parts", 0, "10:20:00")?;
    scene.send_at("parts", 1, "10:30:00")?;
    scene.expect("SELECT n FROM parts_n", &["7"])?;
    std::thread::sleep(IDLE);
    // All idle but nothing falls; a new row everywhere, and the slowest decides.
    scene.send_at("parts", 0, "10:40:00")?;
    scene.send_at("parts", 1, "10:41:00")?;
    scene.send_at("parts", 2, "10:42:00")?;
    scene.wait_for_watermark("parts", "10:39:50")
}

/// The source says: a header of each record, or a record of its own.
pub fn said_by_source(scene: &mut Scene) -> Result<(), String> {
    scene.create_timed("headed", 1, "SOURCE_WATERMARK()", "watermark.header = 'wm'")?;
    scene.create_timed("controlled", 1, "SOURCE_WATERMARK()", "watermark.control = 'wm'")?;
    let row = "{\"v\": 1, \"ts\": \"2024-05-01T10:00:30Z\"}";
    scene.send("headed", 0, Some(row), Some("2024-05-01T10:00:00Z"))?;
    scene.wait_for_watermark("headed", "10:00:00")?;
    scene.send("headed", 0, Some(row), None)?;
    // 2024-05-01 10:01:00, in a heartbeat without a value.
    scene.send("headed", 0, None, Some("1714557660000"))?;
    scene.wait_for_watermark("headed", "10:01:00")?;
    scene.expect("SELECT n FROM headed_final", &["2"])?;
    scene.send("headed", 0, Some(row), Some("whenever"))?;
    scene.expect(
        "SELECT sqlstate, \"offset\" FROM headwater.dead_letters WHERE source = 'headed'",
        &["22007\t3"],
    )?;
    scene.expect("SELECT n FROM headed_n", &["2"])?;

    scene.send("controlled", 0, Some(row), None)?;
    scene.send("controlled", 0, Some("{\"wm\": \"2024-05-01T10:00:59.999Z\"}"), None)?;
    scene.wait_for_watermark("controlled", "10:00:59")?;
    scene.expect("SELECT n FROM controlled_n", &["1"])?;
    scene.expect("SELECT count(*) FROM controlled_final", &["0"])?;
    scene.send("controlled", 0, Some("{\"wm\": 1714557660000}"), None)?;
    scene.expect("SELECT n FROM controlled_final", &["1"])?;
    scene.expect("SELECT count(*) FROM headwater.dead_letters WHERE source = 'controlled'", &["0"])?;
    scene.server.kill();
    scene.server.start()?;
    scene.expect("SELECT n FROM controlled_final", &["1"])?;
    scene.wait_for_watermark("controlled", "10:01:00")?;
    scene.wait_for_watermark("headed", "10:01:00")
}

/// The faster of two topics waits; a partition that is paused is read on later without loss.
pub fn alignment(scene: &mut Scene) -> Result<(), String> {
    let options = "scan.watermark.alignment.group = 'k', scan.watermark.alignment.max-drift = '1 minute', scan.watermark.idle-timeout = '1 hour'";
    scene.create_timed("slowly", 1, "ts", options)?;
    scene.create_timed("quickly", 2, "ts", options)?;
    scene.send_at("slowly", 0, "10:10:00")?;
    scene.expect("SELECT n FROM slowly_n", &["1"])?;
    for second in 0..600 {
        let time = format!("10:{:02}:{:02}", 10 + second / 60, second % 60);
        scene.send_at("quickly", 0, &time)?;
        if second % 100 == 0 {
            scene.send_at("quickly", 1, &time)?;
        }
    }
    // Partition 0 has 62 rows up to 10:11:01; partition 1 has 10:10:00 and the first beyond.
    scene.expect("SELECT n FROM quickly_n", &["64"])?;
    let waits = "SELECT split, idle, split_part(reason, ':', 1) FROM headwater.watermarks WHERE object = 'quickly' AND kind = 'split' ORDER BY 1";
    scene.expect(waits, &["0\tf\twaits", "1\tf\twaits"])?;
    std::thread::sleep(Duration::from_secs(1));
    scene.expect("SELECT n FROM quickly_n", &["64"])?;
    scene.send_at("slowly", 0, "10:13:00")?;
    // The limit is 10:14:00: 242 rows of partition 0, and to 10:15:00 of partition 1.
    scene.expect("SELECT n FROM quickly_n", &["246"])?;
    scene.send_at("slowly", 0, "11:00:00")?;
    // Partition 1 has no more rows than that of 10:18:20, and partition 0 waits for it.
    scene.expect("SELECT n FROM quickly_n", &["568"])?;
    scene.send_at("quickly", 1, "11:00:00")?;
    scene.expect("SELECT n FROM quickly_n", &["607"])?;
    scene.expect("SELECT count(*) FROM headwater.dead_letters WHERE source = 'quickly'", &["0"])
}
