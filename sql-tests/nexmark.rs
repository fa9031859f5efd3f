//! Nexmark q0–q22 as views over feeds; after every step each view holds what its query gives,
//! here and in PostgreSQL 15 over the same rows.
//!
//! PostgreSQL has the windows as plain views, whose names take the places of `HOP(bid, …)` and the
//! others. Rows come out of order, but never late, so every window shows all of them. Ties of
//! the ranking queries are broken by further columns.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio_postgres::Client;

use super::harness::random::Random;
use super::harness::run::compare;
use super::harness::script::Order;
use super::harness::server::{Instance, connect, run};

const STEPS: u64 = 6;
/// Event time of one step; rows of the next may be this much older than its start.
const STEP_SECONDS: u64 = 20;
const DISORDER_SECONDS: u64 = 3;

const PERSONS: u64 = 6;
const AUCTIONS: u64 = 12;
const BIDS: u64 = 90;

const PERSON: &str = "id BIGINT, name TEXT, city TEXT, state TEXT, date_time TIMESTAMP, extra TEXT";
const AUCTION: &str = "id BIGINT, item_name TEXT, description TEXT, initial_bid BIGINT, reserve BIGINT, date_time TIMESTAMP, expires TIMESTAMP, seller BIGINT, category BIGINT, extra TEXT";
const BID: &str =
    "auction BIGINT, bidder BIGINT, price BIGINT, channel TEXT, url TEXT, date_time TIMESTAMP, extra TEXT";

/// The windows as PostgreSQL's views.
const WINDOWS: [(&str, &str); 6] = [
    (
        "HOP(bid, date_time, INTERVAL '2 seconds', INTERVAL '10 seconds')",
        "SELECT h.*, window_start + INTERVAL '10 seconds' AS window_end FROM (SELECT b.*, date_bin('2 seconds', date_time, '1970-01-01') - k * INTERVAL '2 seconds' AS window_start FROM bid b, generate_series(0, 4) k) h",
    ),
    (
        "TUMBLE(bid, date_time, INTERVAL '10 seconds')",
        "SELECT t.*, window_start + INTERVAL '10 seconds' AS window_end FROM (SELECT b.*, date_bin('10 seconds', date_time, '1970-01-01') AS window_start FROM bid b) t",
    ),
    (
        "TUMBLE(person, date_time, INTERVAL '10 seconds')",
        "SELECT t.*, window_start + INTERVAL '10 seconds' AS window_end FROM (SELECT b.*, date_bin('10 seconds', date_time, '1970-01-01') AS window_start FROM person b) t",
    ),
    (
        "TUMBLE(auction, date_time, INTERVAL '10 seconds')",
        "SELECT t.*, window_start + INTERVAL '10 seconds' AS window_end FROM (SELECT b.*, date_bin('10 seconds', date_time, '1970-01-01') AS window_start FROM auction b) t",
    ),
    (
        "TUMBLE(bid, p_time, INTERVAL '10 seconds')",
        "SELECT t.*, window_start + INTERVAL '10 seconds' AS window_end FROM (SELECT b.*, date_bin('10 seconds', p_time, '1970-01-01+00') AS window_start FROM bid b) t",
    ),
    (
        "SESSION(bid PARTITION BY bidder, date_time, INTERVAL '10 seconds')",
        "SELECT s.*, min(date_time) OVER w AS window_start, max(date_time) OVER w + INTERVAL '10 seconds' AS window_end FROM (SELECT g.*, count(*) FILTER (WHERE gap) OVER (PARTITION BY bidder ORDER BY date_time) AS number FROM (SELECT b.*, date_time > lag(date_time) OVER (PARTITION BY bidder ORDER BY date_time) + INTERVAL '10 seconds' AS gap FROM bid b) g) s WINDOW w AS (PARTITION BY bidder, number)",
    ),
];

/// The queries by name.
pub fn queries() -> Vec<(String, String)> {
    super::named_queries(include_str!("nexmark/queries.sql"))
}

/// The query in PostgreSQL's words.
fn for_postgres(query: &str) -> String {
    let mut text = query.split_whitespace().collect::<Vec<_>>().join(" ");
    for (i, (call, _)) in WINDOWS.iter().enumerate() {
        text = text.replace(call, &format!("window{i} AS w"));
    }
    text.replace("side_input FOR SYSTEM_TIME AS OF proctime() AS s", "side_input s")
}

pub fn scene(
    runtime: &Arc<Runtime>,
    queries: &[(String, String)],
    postgres: Option<&str>,
    (seed, steps): (Option<u64>, Option<u64>),
    failures: &mut BTreeMap<String, String>,
) -> Result<(), String> {
    let mut random = Random(seed.unwrap_or(11));
    let mut server = Instance::start(runtime, 2)?;
    let oracle = postgres.map(|address| connect(runtime, address)).transpose()?;
    prepare(&mut server, runtime, oracle.as_ref())?;
    let steps = steps.unwrap_or(STEPS).max(2);
    for step in 0..steps {
        let clock = format!("2020-01-01 00:00:{:02}+00", 7 * step);
        server.run(&format!("ADVANCE CLOCK TO TIMESTAMPTZ '{clock}'")).map_err(|e| e.to_string())?;
        for (table, columns, rows) in rows(&mut random, step) {
            let rows: Vec<String> = rows.iter().map(|r| format!("({r})")).collect();
            let sql = format!("INSERT INTO {table} ({columns}) VALUES {}", rows.join(", "));
            server.run(&sql).map_err(|e| format!("{sql}\n  got: {e}"))?;
            if let Some(oracle) = &oracle {
                run(runtime, oracle, &sql).map_err(|e| format!("PostgreSQL: {sql}\n  got: {e}"))?;
            }
        }
        if let Some(oracle) = &oracle {
            // Rows are read, and so get their processing time, at the STEP.
            let sql = format!("UPDATE bid SET p_time = '{clock}' WHERE p_time IS NULL");
            run(runtime, oracle, &sql).map_err(|e| format!("PostgreSQL: {sql}\n  got: {e}"))?;
        }
        for (i, (name, query)) in queries.iter().enumerate() {
            if (i % 2 == 0 && step == 0) || (i % 2 == 1 && step == steps / 2) {
                let sql = format!("CREATE MATERIALIZED VIEW {name} AS {query}");
                if let Err(e) = server.run(&sql) {
                    failures.insert(name.clone(), format!("{sql}\n  got: {e}"));
                }
            }
        }
        if step == steps - 2 {
            server = server.crash()?;
        }
        server.run("STEP").map_err(|e| format!("STEP: {e}"))?;
        for (i, (name, query)) in queries.iter().enumerate() {
            let there = i % 2 == 0 || step >= steps / 2;
            if there
                && !failures.contains_key(name)
                && let Err(why) = check(&mut server, runtime, oracle.as_ref(), name, query)
            {
                failures.insert(name.clone(), format!("step {step}: {why}"));
            }
        }
    }
    Ok(())
}

/// Feeds here, tables and windows there.
fn prepare(server: &mut Instance, runtime: &Runtime, oracle: Option<&Client>) -> Result<(), String> {
    let watermark = "WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'";
    let sides = "INSERT INTO side_input SELECT n, 'side ' || n FROM generate_series(0, 7) n";
    for (name, columns) in [("person", PERSON), ("auction", AUCTION), ("bid", BID)] {
        let clock = if name == "bid" { ", p_time TIMESTAMPTZ AS (proctime())" } else { "" };
        let sql = format!("CREATE SOURCE {name} ({columns}{clock}, {watermark}) WITH (connector = 'feed')");
        server.run(&sql).map_err(|e| format!("{sql}\n  got: {e}"))?;
    }
    let side = "CREATE TABLE side_input (key BIGINT PRIMARY KEY, value TEXT)";
    for sql in [side, sides, "STEP"] {
        server.run(sql).map_err(|e| format!("{sql}\n  got: {e}"))?;
    }
    let Some(oracle) = oracle else { return Ok(()) };
    let mut there = vec!["DROP SCHEMA public CASCADE".to_string(), "CREATE SCHEMA public".to_string()];
    there.push(format!("CREATE TABLE person ({PERSON})"));
    there.push(format!("CREATE TABLE auction ({AUCTION})"));
    there.push(format!("CREATE TABLE bid ({BID}, p_time TIMESTAMPTZ)"));
    there.extend([side.to_string(), sides.to_string()]);
    there.extend(WINDOWS.iter().enumerate().map(|(i, (_, view))| format!("CREATE VIEW window{i} AS {view}")));
    for sql in there {
        run(runtime, oracle, &sql).map_err(|e| format!("PostgreSQL: {sql}\n  got: {e}"))?;
    }
    Ok(())
}

fn check(
    server: &mut Instance,
    runtime: &Runtime,
    oracle: Option<&Client>,
    name: &str,
    query: &str,
) -> Result<(), String> {
    let select = format!("SELECT * FROM {name}");
    let view = server.run(&select).map_err(|e| format!("{select}\n  got: {e}"))?.lines();
    // When a row came is no property of the row: only the view knows it.
    if name != "q12" {
        let batch = server.run(query).map_err(|e| format!("{query}\n  got: {e}"))?.lines();
        compare("the view against its query, run here", Order::Sorted, &batch, view.clone())?;
    }
    let Some(oracle) = oracle else { return Ok(()) };
    let query = for_postgres(query);
    let there = run(runtime, oracle, &query).map_err(|e| format!("PostgreSQL: {query}\n  got: {e}"))?.lines();
    compare("the view against PostgreSQL", Order::Sorted, &there, view)
}

/// A moment of a step, in milliseconds, perhaps a little before its start.
fn moment(random: &mut Random, step: u64) -> String {
    let start = 60 + step * STEP_SECONDS - DISORDER_SECONDS;
    let millis = start * 1000 + random.below((STEP_SECONDS + DISORDER_SECONDS) * 1000);
    timestamp(millis)
}

fn timestamp(millis: u64) -> String {
    format!("TIMESTAMP '2015-07-15 07:59:00' + {millis} * INTERVAL '1 millisecond'")
}

/// One step of rows: table, columns, rows.
fn rows(random: &mut Random, step: u64) -> Vec<(&'static str, &'static str, Vec<String>)> {
    let persons = (0..PERSONS).map(|n| {
        let id = 1000 + step * PERSONS + n;
        let state = random.of(&["or", "id", "ca", "wa", "ny"]);
        let city = random.of(&["Kent", "Bend", "Boise"]);
        format!("{id}, 'person {id}', '{city}', '{state}', {}, ''", moment(random, step))
    });
    let persons = persons.collect();
    let auctions = (0..AUCTIONS).map(|n| {
        let id = 1000 + step * AUCTIONS + n;
        let seller = 1000 + random.below((step + 1) * PERSONS);
        let opened = moment(random, step);
        let (initial, category) = (random.below(1000), 10 + random.below(5));
        format!(
            "{id}, 'item {id}', 'd{}', {initial}, {}, {opened}, {opened} + INTERVAL '{} seconds', {seller}, {category}, 'e'",
            random.below(3),
            initial * 2,
            random.below(40)
        )
    });
    let auctions = auctions.collect();
    let bids = (0..BIDS).map(|_| {
        // Often one of the newest.
        let all = (step + 1) * AUCTIONS;
        let back = if random.chance(70) { random.below(AUCTIONS.min(all)) } else { random.below(all) };
        let (auction, bidder) = (1000 + all - 1 - back, 1000 + random.below((step + 1) * PERSONS));
        let price = 10u64.pow(random.below(7) as u32) * (1 + random.below(9));
        let channel = random.of(&["Apple", "Google", "Facebook", "Baidu", "channel-1", "channel-22"]);
        let url = random.of(&[
            "https://www.nexmark.com/abc/de_f/ghi/item.htm?query=1",
            "https://www.nexmark.com/x/y/item.htm?query=1&channel_id=77",
            "https://www.nexmark.com/item.htm?channel_id=5&z",
        ]);
        let extra = random.of(&["'abcabc'", "'cc'", "''", "NULL"]);
        format!("{auction}, {bidder}, {price}, '{channel}', '{url}', {}, {extra}", moment(random, step))
    });
    let bids = bids.collect();
    vec![
        ("person", "id, name, city, state, date_time, extra", persons),
        (
            "auction",
            "id, item_name, description, initial_bid, reserve, date_time, expires, seller, category, extra",
            auctions,
        ),
        ("bid", "auction, bidder, price, channel, url, date_time, extra", bids),
    ]
}
