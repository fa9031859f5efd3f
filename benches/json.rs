//! JSON decoding: events per CPU-second of `JsonDecoder`, against arrow-json's `Decoder`
//! over the same bytes in the same run.
//!
//! In: 330-byte flat Nexmark bids, made here, in the order of a Kafka fetch (one slice
//! each). Printed: events per CPU-second and MB/s of both for 6 wanted columns (two strings
//! of about 100 bytes among them) and for 3 integer columns, and their ratio. The time is
//! CPU time of the process, so other load on the machine does not count.
//!
//!     cargo bench --bench json [-- EVENTS]

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use headwater::formats::json::{JsonDecoder, JsonLimits};

const EVENTS_DEFAULT: usize = 400_000;
const BATCH_ROWS: usize = 8_192;
/// Each side runs so often, alternating; the best run counts.
const ROUNDS: usize = 5;

/// CPU seconds used by this process.
fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` lives through the call.
    let rc = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    assert_eq!(rc, 0, "the process CPU clock exists on Linux");
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// A bid of about 330 bytes.
fn bid(n: u64) -> String {
    let random = n.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(17);
    let path: String = (0..46).map(|i| char::from(b'a' + ((random >> (i % 48)) % 26) as u8)).collect();
    let extra: String = (0..92).map(|i| char::from(b'A' + ((random >> (i % 57)) % 26) as u8)).collect();
    format!(
        "{{\"auction\":{},\"bidder\":{},\"price\":{},\"channel\":\"channel-{}\",\
         \"url\":\"https://www.nexmark.com/{path}/item.htm?query=1&channel_id={}\",\
         \"dateTime\":\"2026-11-21 10:{:02}:{:02}.{:03}\",\"extra\":\"{extra}\"}}",
        1_000 + random % 100_000,
        1_000 + random % 50_021,
        100 + random % 10_000_000,
        random % 10_000,
        random % 1_000_000_000,
        n / 60_000 % 60,
        n / 1_000 % 60,
        n % 1_000,
    )
}

fn six_columns() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("auction", DataType::Int64, true),
        Field::new("bidder", DataType::Int64, true),
        Field::new("price", DataType::Int64, true),
        Field::new("url", DataType::Utf8, true),
        Field::new("dateTime", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("extra", DataType::Utf8, true),
    ]))
}

fn three_columns() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("auction", DataType::Int64, true),
        Field::new("bidder", DataType::Int64, true),
        Field::new("price", DataType::Int64, true),
    ]))
}

/// CPU seconds of our decoder over all records, and the rows it gave.
fn headwater(schema: &SchemaRef, records: &[String]) -> (f64, usize) {
    let mut decoder = JsonDecoder::new(schema.clone(), JsonLimits::default()).expect("a valid schema");
    let mut rows = 0;
    let start = cpu_seconds();
    for batch in records.chunks(BATCH_ROWS) {
        for record in batch {
            decoder.push(record.as_bytes()).expect("a valid bid");
        }
        rows += decoder.finish().expect("a batch").num_rows();
    }
    (cpu_seconds() - start, rows)
}

/// CPU seconds of arrow-json over all records, and the rows it gave.
fn arrow_json(schema: &SchemaRef, records: &[String]) -> (f64, usize) {
    let builder = arrow_json::ReaderBuilder::new(schema.clone()).with_batch_size(BATCH_ROWS);
    let mut decoder = builder.build_decoder().expect("a valid schema");
    let mut rows = 0;
    let start = cpu_seconds();
    for batch in records.chunks(BATCH_ROWS) {
        for record in batch {
            assert_eq!(decoder.decode(record.as_bytes()).expect("a valid bid"), record.len());
        }
        rows += decoder.flush().expect("a batch").map_or(0, |b| b.num_rows());
    }
    (cpu_seconds() - start, rows)
}

fn report(name: &str, schema: &SchemaRef, records: &[String]) {
    let bytes: usize = records.iter().map(String::len).sum();
    let (mut ours, mut theirs) = (f64::MAX, f64::MAX);
    for _ in 0..ROUNDS {
        let (seconds, rows) = headwater(schema, records);
        assert_eq!(rows, records.len());
        ours = ours.min(seconds);
        let (seconds, rows) = arrow_json(schema, records);
        assert_eq!(rows, records.len());
        theirs = theirs.min(seconds);
    }
    let rate = |seconds: f64| (records.len() as f64 / seconds / 1e6, bytes as f64 / seconds / 1e6);
    let ((our_events, our_bytes), (their_events, their_bytes)) = (rate(ours), rate(theirs));
    println!(
        "{name}: headwater {our_events:.2} M events/s ({our_bytes:.0} MB/s) per CPU-second, \
         arrow-json {their_events:.2} M events/s ({their_bytes:.0} MB/s), ratio {:.2}",
        theirs / ours
    );
}

fn main() {
    let events = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(EVENTS_DEFAULT);
    let records: Vec<String> = (0..events as u64).map(bid).collect();
    let mean = records.iter().map(String::len).sum::<usize>() / records.len().max(1);
    println!("{events} bids of {mean} bytes on average, batches of {BATCH_ROWS} rows");
    report("6 columns", &six_columns(), &records);
    report("3 columns", &three_columns(), &records);
}
