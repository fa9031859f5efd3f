//! Generated Nexmark events per CPU-second of the process.
//!
//! `cargo bench --bench generator`. Prints one line per set of columns. The target is 3
//! million events per second and core.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use headwater::connectors::generator::{GeneratorConnector, GeneratorOptions};

const CHUNK_ROWS: i64 = 8_192;
const CPU_SECONDS: f64 = 1.0;

fn main() {
    measure("bid", &["auction", "bidder", "price", "date_time"]);
    measure("bid", &[]);
    measure("event", &[]);
    measure("auction", &[]);
    measure("person", &[]);
}

/// `columns`: those to generate, or all if empty.
fn measure(table: &str, columns: &[&str]) {
    let with = BTreeMap::from(
        [("generator", "nexmark"), ("nexmark.table.type", table)]
            .map(|(k, v)| (k.to_string(), v.to_string())),
    );
    let options = GeneratorOptions::from_with(&with, None).expect("the options are valid");
    let all = options.schema();
    let schema: SchemaRef = if columns.is_empty() {
        all
    } else {
        let chosen = columns.iter().filter_map(|name| all.field_with_name(name).ok().cloned());
        Arc::new(Schema::new(chosen.collect::<Vec<_>>()))
    };
    let connector = GeneratorConnector::new(options);
    let generate = |start: i64| {
        connector.generate(start..start + CHUNK_ROWS, &schema).expect("generating cannot fail").num_rows()
    };
    generate(0);
    let start = process_cpu_seconds();
    let mut rows = 0;
    while process_cpu_seconds() - start < CPU_SECONDS {
        for _ in 0..16 {
            rows += generate(rows as i64);
        }
    }
    let rate = rows as f64 / (process_cpu_seconds() - start) / 1e6;
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    println!("generator {table:8} {rate:7.2} M events/CPU-second  ({})", names.join(", "));
}

fn process_cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec that outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
