//! Nexmark q0–q22 as views over feeds; after every step each view holds what its query gives,
//! here and in PostgreSQL 15 over the same rows.
//!
//! PostgreSQL has the windows as plain views, whose names take the places of `HOP(bid, …)` and the
//! others. Rows come out of order, but never late, so every window shows all of them. Ties of
//! the ranking queries are broken by further columns.

use super::harness::both::{Both, Suite};
use super::harness::random::Random;

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

/// Feeds, whose rows come in the order of steps.
pub struct Nexmark(pub Random);

impl Suite for Nexmark {
    /// Feeds here, tables and windows there.
    fn prepare(&mut self, both: &mut Both) -> Result<(), String> {
        let watermark = "WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'";
        for (name, columns) in [("person", PERSON), ("auction", AUCTION), ("bid", BID)] {
            let (here, there) = match name {
                "bid" => (", p_time TIMESTAMPTZ AS (proctime())", ", p_time TIMESTAMPTZ"),
                _ => ("", ""),
            };
            both.here(&format!(
                "CREATE SOURCE {name} ({columns}{here}, {watermark}) WITH (connector = 'feed')"
            ))?;
            both.there(&format!("CREATE TABLE {name} ({columns}{there})"))?;
        }
        both.run("CREATE TABLE side_input (key BIGINT PRIMARY KEY, value TEXT)")?;
        both.run("INSERT INTO side_input SELECT n, 'side ' || n FROM generate_series(0, 7) n")?;
        for (i, (_, view)) in WINDOWS.iter().enumerate() {
            both.there(&format!("CREATE VIEW window{i} AS {view}"))?;
        }
        both.here("STEP").map(drop)
    }

    fn feed(&mut self, both: &mut Both, step: u64) -> Result<(), String> {
        let clock = format!("2020-01-01 00:00:{:02}+00", 7 * step);
        both.here(&format!("ADVANCE CLOCK TO TIMESTAMPTZ '{clock}'"))?;
        for (table, columns, rows) in rows(&mut self.0, step) {
            let rows: Vec<String> = rows.iter().map(|r| format!("({r})")).collect();
            both.run(&format!("INSERT INTO {table} ({columns}) VALUES {}", rows.join(", ")))?;
        }
        // Rows are read, and so get their processing time, at the STEP.
        both.there(&format!("UPDATE bid SET p_time = '{clock}' WHERE p_time IS NULL")).map(drop)
    }

    fn for_postgres(&self, query: &str) -> String {
        let mut text = query.split_whitespace().collect::<Vec<_>>().join(" ");
        for (i, (call, _)) in WINDOWS.iter().enumerate() {
            text = text.replace(call, &format!("window{i} AS w"));
        }
        text.replace("side_input FOR SYSTEM_TIME AS OF proctime() AS s", "side_input s")
    }

    /// When a row came is no property of the row: only the view knows it.
    fn only_as_view(&self, name: &str) -> bool {
        name == "q12"
    }
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
