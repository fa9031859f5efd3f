//! Benchmarks' queries as views. Nexmark is in `nexmark`.
//!
//! TPC-H: its 22 queries over small seeded data that is inserted, updated and deleted
//! in steps; after every step each view holds what its query gives, here and in PostgreSQL 15.
//!
//! Half of the views exist before the data, half are filled later. One test a query.
//! `HEADWATER_SEED=n` changes the data, `HEADWATER_STEPS=n` the number of steps.

mod harness;
mod nexmark;

use std::collections::BTreeMap;
use std::sync::Arc;

use harness::both::{Both, Suite, run_suite};
use harness::kit;
use harness::random::Random;
use harness::report::{Report, filters, only_list};
use nexmark::Nexmark;

const STEPS: u64 = 6;
const SUPPLIERS: u64 = 20;
const PARTS: u64 = 60;
const CUSTOMERS: u64 = 60;
const ORDERS: u64 = 200;

const TABLES: &str = "
CREATE TABLE region (r_regionkey INT PRIMARY KEY, r_name TEXT);
CREATE TABLE nation (n_nationkey INT PRIMARY KEY, n_name TEXT, n_regionkey INT);
CREATE TABLE supplier (s_suppkey INT PRIMARY KEY, s_name TEXT, s_address TEXT, s_nationkey INT, s_phone TEXT, s_acctbal NUMERIC(12,2), s_comment TEXT);
CREATE TABLE part (p_partkey INT PRIMARY KEY, p_name TEXT, p_mfgr TEXT, p_brand TEXT, p_type TEXT, p_size INT, p_container TEXT, p_retailprice NUMERIC(12,2));
CREATE TABLE partsupp (ps_partkey INT, ps_suppkey INT, ps_availqty INT, ps_supplycost NUMERIC(12,2), PRIMARY KEY (ps_partkey, ps_suppkey));
CREATE TABLE customer (c_custkey INT PRIMARY KEY, c_name TEXT, c_address TEXT, c_nationkey INT, c_phone TEXT, c_acctbal NUMERIC(12,2), c_mktsegment TEXT, c_comment TEXT);
CREATE TABLE orders (o_orderkey INT PRIMARY KEY, o_custkey INT, o_orderstatus TEXT, o_totalprice NUMERIC(12,2), o_orderdate DATE, o_orderpriority TEXT, o_shippriority INT, o_comment TEXT);
CREATE TABLE lineitem (l_orderkey INT, l_linenumber INT, l_partkey INT, l_suppkey INT, l_quantity NUMERIC(12,2), l_extendedprice NUMERIC(12,2), l_discount NUMERIC(4,2), l_tax NUMERIC(4,2), l_returnflag TEXT, l_linestatus TEXT, l_shipdate DATE, l_commitdate DATE, l_receiptdate DATE, l_shipmode TEXT, PRIMARY KEY (l_orderkey, l_linenumber))";

const NATIONS: [(&str, u64); 10] = [
    ("BRAZIL", 1),
    ("CANADA", 1),
    ("CHINA", 2),
    ("FRANCE", 3),
    ("GERMANY", 3),
    ("INDIA", 2),
    ("JAPAN", 2),
    ("KENYA", 0),
    ("RUSSIA", 3),
    ("EGYPT", 4),
];

/// An amount of money below `most`.
fn money(random: &mut Random, most: u64) -> String {
    format!("{}.{:02}", random.below(most), random.below(100))
}

fn date(random: &mut Random) -> String {
    format!("DATE '{}-{:02}-{:02}'", 1992 + random.below(7), 1 + random.below(12), 1 + random.below(28))
}

fn main() {
    let (tpch, nexmark) = (named_queries(include_str!("tpch/queries.sql")), nexmark::queries());
    if only_list() {
        tpch.iter().for_each(|(name, _)| println!("tpch: {name}: test"));
        nexmark.iter().for_each(|(name, _)| println!("nexmark: {name}: test"));
        return;
    }
    let filters = filters();
    let all = tpch.len() + nexmark.len();
    let wanted = |suite: &str, queries: Vec<(String, String)>| -> Vec<(String, String)> {
        let wants = |name: &str| filters.iter().any(|f| format!("{suite}: {name}").contains(f.as_str()));
        queries.into_iter().filter(|(name, _)| filters.is_empty() || wants(name)).collect()
    };
    let (tpch, nexmark) = (wanted("tpch", tpch), wanted("nexmark", nexmark));
    let mut report = Report::new(tpch.len() + nexmark.len(), all - tpch.len() - nexmark.len());
    let postgres = match kit::postgres() {
        Ok(postgres) => postgres,
        Err(why) => {
            eprintln!("PostgreSQL: {why}");
            std::process::exit(101);
        }
    };
    if postgres.is_none() {
        kit::skipped("the comparison of TPC-H and Nexmark with PostgreSQL 15");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = Arc::new(runtime.expect("the clients' runtime starts"));
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let (seed, steps) = (number("HEADWATER_SEED"), number("HEADWATER_STEPS").unwrap_or(STEPS).max(2));
    let address = postgres.as_ref().map(|p| p.address.clone());
    for (suite, queries) in [("tpch", &tpch), ("nexmark", &nexmark)] {
        if queries.is_empty() {
            continue;
        }
        let mut failures: BTreeMap<String, String> = BTreeMap::new();
        let mut rows: Box<dyn Suite> = match suite {
            "tpch" => Box::new(Tpch(Random(seed.unwrap_or(7)))),
            _ => Box::new(Nexmark(Random(seed.unwrap_or(11)))),
        };
        let whole = Both::start(&runtime, 2, address.as_deref())
            .and_then(|both| run_suite(rows.as_mut(), both, queries, steps, &mut failures));
        for (name, _) in queries {
            let result = match (failures.remove(name), &whole) {
                (Some(why), _) => Err(why),
                (None, Err(why)) => Err(why.clone()),
                (None, Ok(())) => Ok(()),
            };
            report.add(&format!("{suite}: {name}"), result);
        }
    }
    drop(postgres);
    std::process::exit(report.finish());
}

/// Queries by name, each after a line `-- q…`.
fn named_queries(text: &str) -> Vec<(String, String)> {
    let mut queries: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("-- q") {
            Some(number) => queries.push((format!("q{number}"), String::new())),
            None => {
                if let Some((_, query)) = queries.last_mut() {
                    query.push_str(line);
                    query.push(' ');
                }
            }
        }
    }
    queries
}

/// Tables that are loaded at once and then change.
struct Tpch(Random);

impl Suite for Tpch {
    fn prepare(&mut self, both: &mut Both) -> Result<(), String> {
        TABLES.split(';').try_for_each(|table| both.run(table.trim()))
    }

    fn feed(&mut self, both: &mut Both, step: u64) -> Result<(), String> {
        let statements = if step == 0 { base(&mut self.0) } else { changes(&mut self.0) };
        statements.iter().try_for_each(|sql| both.run(sql))
    }
}

/// The first load.
fn base(random: &mut Random) -> Vec<String> {
    let mut sql = Vec::new();
    let list = |rows: Vec<String>| rows.join(", ");
    let regions = ["AFRICA", "AMERICA", "ASIA", "EUROPE", "MIDDLE EAST"];
    let rows = regions.iter().enumerate().map(|(i, name)| format!("({i}, '{name}')")).collect();
    sql.push(format!("INSERT INTO region VALUES {}", list(rows)));
    let rows =
        NATIONS.iter().enumerate().map(|(i, (name, region))| format!("({i}, '{name}', {region})")).collect();
    sql.push(format!("INSERT INTO nation VALUES {}", list(rows)));
    let rows = (0..SUPPLIERS).map(|key| supplier(random, key)).collect();
    sql.push(format!("INSERT INTO supplier VALUES {}", list(rows)));
    let rows = (0..PARTS).map(|key| part(random, key)).collect();
    sql.push(format!("INSERT INTO part VALUES {}", list(rows)));
    let rows = (0..PARTS).flat_map(|p| [p % SUPPLIERS, (p + 7) % SUPPLIERS].map(|s| (p, s)));
    let rows =
        rows.map(|(p, s)| format!("({p}, {s}, {}, {})", random.below(60), money(random, 500))).collect();
    sql.push(format!("INSERT INTO partsupp VALUES {}", list(rows)));
    let rows = (0..CUSTOMERS).map(|key| customer(random, key)).collect();
    sql.push(format!("INSERT INTO customer VALUES {}", list(rows)));
    for first in (0..ORDERS).step_by(50) {
        sql.extend(orders(random, first, 50));
    }
    sql
}

fn supplier(random: &mut Random, key: u64) -> String {
    let comment = random.of(&["quick", "slow", "Customer has Complaints", "none"]);
    let nation = random.below(NATIONS.len() as u64);
    format!(
        "({key}, 'Supplier#{key}', 'street {}', {nation}, '{}-{:03}', {}, '{comment}')",
        random.below(90),
        10 + nation,
        random.below(999),
        money(random, 9_999)
    )
}

fn part(random: &mut Random, key: u64) -> String {
    let kind = random.of(&["ECONOMY", "PROMO", "MEDIUM", "STANDARD"]);
    let metal = random.of(&["BRASS", "STEEL", "TIN"]);
    format!(
        "({key}, '{} {}', 'Manufacturer#{}', 'Brand#{}', '{kind} {metal}', {}, '{}', {})",
        random.of(&["green", "blue", "forest", "rose"]),
        random.of(&["almond", "green", "forest", "snow"]),
        1 + random.below(5),
        random.of(&["12", "23", "34", "45"]),
        1 + random.below(50),
        random.of(&["SM CASE", "SM BOX", "MED BAG", "MED BOX", "LG CASE", "LG BOX"]),
        money(random, 2_000)
    )
}

fn customer(random: &mut Random, key: u64) -> String {
    format!(
        "({key}, 'Customer#{key}', 'road {}', {}, '{}-{:03}', {}{}, '{}', 'c{}')",
        random.below(90),
        random.below(NATIONS.len() as u64),
        random.of(&["13", "31", "23", "29", "30", "18", "17", "99"]),
        random.below(999),
        random.of(&["", "", "-"]),
        money(random, 9_999),
        random.of(&["BUILDING", "AUTOMOBILE", "MACHINERY"]),
        random.below(9)
    )
}

/// Orders with their lines.
fn orders(random: &mut Random, first: u64, count: u64) -> Vec<String> {
    let (mut orders, mut lines) = (Vec::new(), Vec::new());
    for key in first..first + count {
        orders.push(format!(
            "({key}, {}, '{}', {}, {}, '{}', 0, '{}')",
            random.below(CUSTOMERS * 2 / 3),
            random.of(&["F", "O", "P"]),
            money(random, 50_000),
            date(random),
            random.of(&["1-URGENT", "2-HIGH", "3-MEDIUM", "5-LOW"]),
            random.of(&["plain", "special packages requests", "fast"])
        ));
        for line in 0..1 + random.below(5) {
            lines.push(format!(
                "({key}, {line}, {}, {}, {}, {}, 0.0{}, 0.0{}, '{}', '{}', {}, {}, {}, '{}')",
                random.below(PARTS),
                random.below(SUPPLIERS),
                1 + random.below(50),
                money(random, 20_000),
                random.below(10),
                random.below(9),
                random.of(&["R", "A", "N"]),
                random.of(&["F", "O"]),
                date(random),
                date(random),
                date(random),
                random.of(&["AIR", "MAIL", "SHIP", "RAIL"])
            ));
        }
    }
    vec![
        format!("INSERT INTO orders VALUES {}", orders.join(", ")),
        format!("INSERT INTO lineitem VALUES {}", lines.join(", ")),
    ]
}

/// One step of inserts, updates and deletes in every table.
fn changes(random: &mut Random) -> Vec<String> {
    let first = ORDERS + random.below(100_000) * 20;
    let mut sql = orders(random, first, 15);
    let (a, b) = (random.below(7), random.below(7));
    sql.push(format!("DELETE FROM lineitem WHERE l_orderkey % 7 = {a} AND l_linenumber > 1"));
    sql.push(format!("DELETE FROM orders WHERE o_orderkey % 23 = {b}"));
    sql.push(format!(
        "UPDATE lineitem SET l_quantity = l_quantity + 1, l_discount = 0.06 WHERE l_partkey % 7 = {b}"
    ));
    sql.push(format!(
        "UPDATE orders SET o_custkey = o_custkey + 1, o_orderstatus = 'F' WHERE o_orderkey % 11 = {a}"
    ));
    sql.push(format!(
        "UPDATE customer SET c_acctbal = c_acctbal * -1, c_nationkey = {a} WHERE c_custkey % 9 = {b}"
    ));
    sql.push(format!("UPDATE partsupp SET ps_supplycost = ps_supplycost / 2, ps_availqty = ps_availqty + {a} WHERE ps_partkey % 5 = {}", a % 5));
    sql.push(format!(
        "UPDATE supplier SET s_nationkey = {a}, s_comment = 'Customer Complaints' WHERE s_suppkey = {}",
        random.below(SUPPLIERS)
    ));
    sql.push(format!(
        "UPDATE part SET p_size = p_size % 49 + 1, p_type = 'PROMO BRASS' WHERE p_partkey % 13 = {b}"
    ));
    sql.push(format!("DELETE FROM customer WHERE c_custkey = {}", random.below(CUSTOMERS)));
    let key = CUSTOMERS + random.below(1_000_000);
    sql.push(format!("INSERT INTO customer VALUES {}", customer(random, key)));
    sql
}
