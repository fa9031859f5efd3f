//! Random tables, random changes, views of many shapes: after every epoch each view must
//! hold what its query gives when it is run over all rows, here and in PostgreSQL 15.
//!
//! The seed is printed; `HEADWATER_SEED=n` repeats a run, `HEADWATER_ROUNDS=n` makes more of
//! them. Between epochs the server is sometimes restarted with another number of workers, or
//! crashes.

mod generator;
mod harness;
mod metamorphic;
mod queries;
mod schedules;
/// Where the model of the schedules expects it.
mod types {
    pub use headwater::types::trigger;
}

use std::sync::Arc;
use std::time::Duration;

use harness::both::Both;
use harness::kit;
use harness::random::Random;
use harness::report::{Report, filters, only_list};
use harness::server::Instance;
use queries::Bounds;
use tokio::runtime::Runtime;

/// Of an ordinary run, so that it can be repeated; long runs take others.
const SEED: u64 = 37_075;
const ROUNDS: u64 = 3;
const EPOCHS_PER_ROUND: usize = 10;
/// Keys of the tables; few, so that changes meet.
const KEYS: u64 = 40;

const TABLES: [&str; 3] = [
    "CREATE TABLE a (id INT PRIMARY KEY, k INT, g TEXT, v INT, n NUMERIC(10,2), b BIGINT, d DATE, t TIMESTAMP, f DOUBLE PRECISION, o BOOLEAN)",
    "CREATE TABLE b (id INT PRIMARY KEY, k INT, g TEXT, w SMALLINT, x NUMERIC(12,4))",
    "CREATE TABLE c (k INT, g VARCHAR(8), u INT, PRIMARY KEY (k, g))",
];

/// A view that others read.
const BY_GROUP: usize = 4;

/// Name and query; later ones may read earlier ones.
const VIEWS: [(&str, &str); 79] = [
    (
        "project",
        "SELECT id, v + 1 AS v1, upper(g) AS g, coalesce(v, -1) AS v0, n * 2 AS n2, d + 1 AS d1 FROM a",
    ),
    ("filtered", "SELECT id, v FROM a WHERE v > 3 AND g IN ('x', 'y') OR o"),
    (
        "guarded",
        "SELECT id, CASE WHEN v = 0 THEN NULL ELSE 100 / v END AS q FROM a WHERE v IS NULL OR v <> 1",
    ),
    (
        "totals",
        "SELECT count(*) AS n, count(v) AS c, sum(v) AS s, round(avg(v), 6) AS a, min(v) AS lo, max(v) AS hi FROM a",
    ),
    (
        "by_group",
        "SELECT g, count(*) AS n, count(v) AS c, sum(v) AS s, round(avg(v), 6) AS m, min(v) AS lo, max(v) AS hi, count(DISTINCT v) AS d FROM a GROUP BY g",
    ),
    (
        "numerics",
        "SELECT k, sum(n) AS s, round(avg(n), 6) AS m, min(n) AS lo, max(n) AS hi, count(DISTINCT n) AS c FROM a GROUP BY k",
    ),
    ("bigs", "SELECT g, sum(b) AS s, round(avg(b), 6) AS m, min(b) AS lo, max(b) AS hi FROM a GROUP BY g"),
    (
        "times",
        "SELECT k, min(d) AS d0, max(d) AS d1, min(t) AS t0, max(t) AS t1, min(g) AS g0, max(g) AS g1 FROM a GROUP BY k",
    ),
    ("floats", "SELECT g, sum(f) AS s, min(f) AS lo, max(f) AS hi FROM a GROUP BY g"),
    (
        "bools",
        "SELECT k, bool_and(o) AS all_o, bool_or(o) AS any_o, count(*) FILTER (WHERE o) AS n FROM a GROUP BY k",
    ),
    ("two_keys", "SELECT g, k, count(*) AS n, sum(v) AS s FROM a GROUP BY g, k"),
    (
        "filters",
        "SELECT g, count(*) FILTER (WHERE v > 5) AS n, sum(v) FILTER (WHERE k = 1) AS s, max(n) FILTER (WHERE o) AS m FROM a GROUP BY g",
    ),
    ("having", "SELECT k, sum(v) AS s FROM a GROUP BY k HAVING count(*) > 2 AND sum(v) <> 7"),
    ("expression_key", "SELECT v % 3 AS m, g || '-' AS h, count(*) AS n FROM a GROUP BY v % 3, g || '-'"),
    ("distinct_rows", "SELECT DISTINCT k, g FROM a"),
    ("joined", "SELECT a.id AS a, b.id AS b, a.v, b.w FROM a JOIN b ON a.k = b.k"),
    ("joined_two", "SELECT a.id AS a, b.id AS b FROM a JOIN b ON a.k = b.k AND a.g = b.g WHERE a.v > b.w"),
    (
        "joined_sum",
        "SELECT a.g, count(*) AS n, sum(b.w) AS w, sum(a.v * b.w) AS p, max(b.x) AS x FROM a, b WHERE a.k = b.k GROUP BY a.g",
    ),
    (
        "three",
        "SELECT a.id AS a, b.id AS b, c.u FROM a JOIN b ON a.k = b.k JOIN c ON b.k = c.k AND c.g = a.g",
    ),
    ("self", "SELECT x.id AS x, y.id AS y FROM a x JOIN a y ON x.k = y.k AND x.id < y.id"),
    (
        "union_all",
        "SELECT id, v FROM a WHERE v > 2 UNION ALL SELECT id, w FROM b UNION ALL SELECT k, u FROM c",
    ),
    (
        "union_sum",
        "SELECT k, count(*) AS n, sum(s) AS s FROM (SELECT k, v AS s FROM a UNION ALL SELECT k, -w FROM b) u GROUP BY k",
    ),
    ("on_view", "SELECT s, count(*) AS n FROM by_group GROUP BY s"),
    (
        "nested",
        "SELECT n, count(*) AS groups, sum(s) AS s FROM (SELECT k, count(*) AS n, sum(v) AS s FROM a GROUP BY k) x GROUP BY n",
    ),
    ("view_join", "SELECT b.id, y.n, y.hi FROM b JOIN by_group y ON b.g = y.g"),
    (
        "above_mean",
        "SELECT a.id FROM a JOIN (SELECT k, round(avg(v), 6) AS m FROM a GROUP BY k) x ON a.k = x.k WHERE a.v > x.m",
    ),
    ("left_joined", "SELECT a.id AS a, b.id AS b, b.w FROM a LEFT JOIN b ON a.k = b.k"),
    ("right_joined", "SELECT a.id AS a, a.v, b.id AS b FROM a RIGHT JOIN b ON a.k = b.k"),
    (
        "full_joined",
        "SELECT a.id AS a, b.id AS b, a.g, b.g AS bg FROM a FULL JOIN b ON a.k = b.k AND a.g = b.g",
    ),
    ("left_if", "SELECT a.id AS a, b.id AS b FROM a LEFT JOIN b ON a.k = b.k AND a.v > b.w"),
    ("full_if", "SELECT a.id AS a, b.id AS b FROM a FULL JOIN b ON a.k = b.k AND a.v > b.w AND b.id > 5"),
    (
        "left_counts",
        "SELECT b.k, count(*) AS n, count(a.id) AS c, sum(a.v) AS s FROM b LEFT JOIN a ON a.k = b.k GROUP BY b.k",
    ),
    (
        "outer_chain",
        "SELECT a.id AS a, b.id AS b, c.u FROM a LEFT JOIN b ON a.k = b.k LEFT JOIN c ON c.k = b.k AND c.g = a.g",
    ),
    ("semi", "SELECT id, v FROM a WHERE k IN (SELECT k FROM b WHERE w > 2)"),
    ("semi_if", "SELECT id FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.k = a.k AND b.w > a.v)"),
    ("anti", "SELECT id FROM a WHERE NOT EXISTS (SELECT 1 FROM b WHERE b.k = a.k)"),
    ("anti_if", "SELECT id FROM a WHERE NOT EXISTS (SELECT 1 FROM b WHERE b.k = a.k AND b.w < a.v)"),
    ("not_in", "SELECT id, k FROM a WHERE k NOT IN (SELECT k FROM b WHERE w > 8)"),
    ("mark", "SELECT id FROM a WHERE v > 8 OR EXISTS (SELECT 1 FROM b WHERE b.k = a.k AND b.g = a.g)"),
    ("null_safe", "SELECT a.id AS a, b.id AS b FROM a LEFT JOIN b ON a.k IS NOT DISTINCT FROM b.k"),
    ("non_equi", "SELECT a.id AS a, b.id AS b FROM a JOIN b ON a.id < b.id AND a.v = b.w + 1"),
    ("left_less", "SELECT b.id AS b, c.u FROM b LEFT JOIN c ON b.w < c.u"),
    ("crossed", "SELECT b.id AS b, c.u FROM b CROSS JOIN c WHERE b.w + c.u > 12"),
    ("above_all", "SELECT a.id FROM a, (SELECT round(avg(w), 6) AS m FROM b) x WHERE a.v > x.m"),
    ("on_nulls", "SELECT y.g, a.id FROM by_group y FULL JOIN a ON y.n = a.v"),
    ("top", "SELECT id, v FROM a ORDER BY v DESC NULLS LAST, id LIMIT 5"),
    ("top_offset", "SELECT id, f FROM a ORDER BY f, id LIMIT 4 OFFSET 2"),
    ("skipped", "SELECT id FROM b ORDER BY x NULLS FIRST, id OFFSET 3"),
    ("top_sum", "SELECT sum(v) AS s, count(*) AS n FROM (SELECT v FROM a ORDER BY n, id LIMIT 7) x"),
    (
        "top_per_group",
        "SELECT g, id, rn FROM (SELECT g, id, row_number() OVER (PARTITION BY g ORDER BY v DESC, id) AS rn FROM a) x WHERE rn <= 3",
    ),
    (
        "middle",
        "SELECT k, id FROM (SELECT k, id, row_number() OVER (PARTITION BY k ORDER BY d, id DESC) AS rn FROM a) x WHERE rn BETWEEN 2 AND 3 AND id > 5",
    ),
    (
        "ranked",
        "SELECT k, id, r FROM (SELECT k, id, rank() OVER (PARTITION BY k ORDER BY v) AS r FROM a) x WHERE r <= 2",
    ),
    (
        "dense",
        "SELECT g, id FROM (SELECT g, id, dense_rank() OVER (PARTITION BY g ORDER BY w DESC) AS r FROM b) x WHERE r < 3",
    ),
    ("newest", "SELECT DISTINCT ON (k) k, id, v FROM a ORDER BY k, t DESC NULLS LAST, id"),
    (
        "numbers",
        "SELECT id, row_number() OVER (PARTITION BY g ORDER BY v, id) AS n, rank() OVER (PARTITION BY g ORDER BY v) AS r, dense_rank() OVER (PARTITION BY g ORDER BY v) AS d, ntile(3) OVER (PARTITION BY k ORDER BY id) AS q FROM a",
    ),
    (
        "neighbours",
        "SELECT id, lag(v) OVER (PARTITION BY k ORDER BY id) AS l, lead(v, 2, -1) OVER (PARTITION BY k ORDER BY id) AS f FROM a",
    ),
    (
        "running",
        "SELECT id, sum(v) OVER w AS s, count(*) OVER w AS c, min(n) OVER w AS lo, max(f) OVER w AS hi, last_value(g) OVER w AS l FROM a WINDOW w AS (PARTITION BY g ORDER BY id)",
    ),
    (
        "moving",
        "SELECT id, sum(v) OVER w AS s, round(avg(v) OVER w, 6) AS m, max(n) OVER w AS hi, first_value(v) OVER w AS f FROM a WINDOW w AS (PARTITION BY g ORDER BY k, id ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING)",
    ),
    (
        "in_range",
        "SELECT id, sum(w) OVER (PARTITION BY g ORDER BY w RANGE BETWEEN 2 PRECEDING AND 1 FOLLOWING) AS s, count(*) OVER (PARTITION BY k ORDER BY w DESC GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW) AS c FROM b",
    ),
    (
        "days_around",
        "SELECT id, count(*) OVER (PARTITION BY g ORDER BY t RANGE BETWEEN INTERVAL '2 days' PRECEDING AND INTERVAL '1 day' FOLLOWING) AS c FROM a",
    ),
    ("of_whole", "SELECT id, v - min(v) OVER (PARTITION BY g) AS d, count(*) OVER () AS n FROM a"),
    (
        "top_of_join",
        "SELECT a, w FROM (SELECT a.id AS a, b.w, b.id AS b, row_number() OVER (PARTITION BY a.k ORDER BY b.w DESC NULLS LAST, a.id, b.id) AS n FROM a JOIN b ON a.k = b.k) x WHERE n <= 2",
    ),
    (
        "arrays",
        "SELECT g, array_agg(v ORDER BY v, id) AS a, array_agg(DISTINCT k ORDER BY k DESC) AS d, array_agg(t ORDER BY id) FILTER (WHERE o) AS t FROM a GROUP BY g",
    ),
    (
        "texts",
        "SELECT k, string_agg(g, ',' ORDER BY id) AS s, string_agg(DISTINCT g, '-' ORDER BY g) AS u, string_agg(v::text, '' ORDER BY d DESC NULLS LAST, id) AS w FROM a GROUP BY k",
    ),
    (
        "documents",
        "SELECT g, jsonb_agg(v ORDER BY id DESC) AS l, jsonb_object_agg('k' || id, d) AS o, jsonb_agg(DISTINCT k ORDER BY k) AS u FROM a GROUP BY g",
    ),
    (
        "percentiles",
        "SELECT k, percentile_cont(0.5) WITHIN GROUP (ORDER BY v) AS c, percentile_disc(0.25) WITHIN GROUP (ORDER BY d DESC) AS e, percentile_disc(ARRAY[0.1, 0.9]) WITHIN GROUP (ORDER BY f) AS f, mode() WITHIN GROUP (ORDER BY g) AS m FROM a GROUP BY k",
    ),
    (
        "spreads",
        "SELECT g, round(variance(v), 8) AS a, round(stddev_pop(v), 8) AS b, round(var_pop(n), 8) AS c, round(stddev(DISTINCT k), 8) AS d FROM a GROUP BY g",
    ),
    (
        "fits",
        "SELECT k, regr_count(f, v) AS n, round(covar_pop(f, v)::numeric, 6) AS c, round(corr(f, v)::numeric, 6) AS r, round(regr_slope(f, v)::numeric, 6) AS s FROM a GROUP BY k",
    ),
    ("bits", "SELECT g, bit_and(v) AS a, bit_or(b) AS o, every(o) AS e FROM a GROUP BY g"),
    (
        "whole",
        "SELECT array_agg(id ORDER BY v DESC, id) AS a, stddev(f) IS NULL AS s, count(*) AS n, sum(v) AS v FROM a",
    ),
    (
        "reached",
        "WITH RECURSIVE r(x) AS (SELECT min(k) FROM b UNION SELECT a.v % 6 FROM r JOIN a ON a.k = r.x) SELECT x FROM r",
    ),
    (
        "closed",
        "WITH RECURSIVE g AS (SELECT k AS x, v % 6 AS y FROM a UNION ALL SELECT k, w FROM b), p(x, y) AS (SELECT x, y FROM g UNION SELECT p.x, g.y FROM p JOIN g ON g.x = p.y) SELECT x, y FROM p",
    ),
    (
        "stitched",
        "WITH RECURSIVE g AS (SELECT id AS x, v AS y FROM a UNION SELECT v, id FROM a), s(id, o) AS (SELECT x, x FROM g UNION SELECT s.id, g.y FROM s JOIN g ON g.x = s.o) SELECT id, min(o) AS m, count(*) AS n FROM s GROUP BY id",
    ),
    (
        "walked",
        "WITH RECURSIVE p(x, y, n) AS (SELECT k, v % 6, 1 FROM a UNION ALL SELECT p.x, b.w, p.n + 1 FROM p JOIN b ON b.k = p.y WHERE p.n < 3) SELECT x, n, count(*) AS c, sum(y) AS s FROM p GROUP BY x, n",
    ),
    (
        "avoiding",
        "WITH RECURSIVE r(x) AS (SELECT k FROM b UNION SELECT a.v % 6 FROM r JOIN a ON a.k = r.x WHERE NOT EXISTS (SELECT 1 FROM c WHERE c.k = r.x AND c.u > a.v)) SELECT x FROM r",
    ),
    (
        "branches",
        "WITH RECURSIVE p(id, path) AS (SELECT id, id::text FROM b WHERE k IS NULL OR k = 0 UNION ALL SELECT a.id, p.path || '/' || a.id FROM p JOIN a ON a.k = p.id AND a.id > p.id) SELECT id, path FROM p",
    ),
    (
        "shortest",
        "WITH RECURSIVE r(x, d) AS (SELECT k, 0 FROM c UNION SELECT a.v % 6, r.d + 1 FROM r JOIN a ON a.k = r.x WHERE r.d < 4) SELECT x, min(d) AS d FROM r GROUP BY x",
    ),
    (
        "through_left",
        "WITH RECURSIVE r(x, g) AS (SELECT k, g::text FROM c UNION SELECT a.v % 6, b.g FROM r JOIN a ON a.k = r.x LEFT JOIN b ON b.k = a.v % 6 AND b.w > 5) SELECT x, g FROM r",
    ),
    (
        "among",
        "WITH RECURSIVE r(x, f) AS (SELECT k, false FROM c UNION SELECT a.v % 6, a.g IN (SELECT g FROM b WHERE w > 3) FROM r JOIN a ON a.k = r.x WHERE a.k IN (SELECT k FROM b)) SELECT x, f FROM r",
    ),
];

fn main() {
    if only_list() {
        println!("random: test");
        return;
    }
    if !filters().is_empty() && !filters().iter().any(|f| "random".contains(f.as_str())) {
        return;
    }
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let seed = number("HEADWATER_SEED").unwrap_or(SEED);
    let rounds = number("HEADWATER_ROUNDS").unwrap_or(ROUNDS);
    let minutes = number("HEADWATER_MINUTES");
    let otherwise = if minutes.is_some() { u64::MAX } else { queries::QUERIES };
    let queries = number("HEADWATER_QUERIES").unwrap_or(otherwise);
    let postgres = match if rounds > 0 || queries > 0 { kit::postgres().map(Some) } else { Ok(None) } {
        Ok(Some(Some(kit))) => Some(kit),
        Ok(None) => None,
        Ok(Some(None)) => {
            kit::skipped("the comparison of random views with PostgreSQL 15");
            None
        }
        Err(why) => {
            eprintln!("PostgreSQL: {why}");
            std::process::exit(101);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = Arc::new(runtime.expect("the clients' runtime starts"));
    let mut report = Report::new(rounds as usize, 0);
    for round in 0..rounds {
        let seed = seed + round;
        let address = postgres.as_ref().map(|p| p.address.clone());
        report.add(&format!("random (seed {seed})"), one_round(&runtime, seed, address.as_deref()));
    }
    if let (Some(postgres), true) = (&postgres, queries > 0) {
        let time = minutes.map(|m| Duration::from_secs(60 * m));
        let result = queries::run_queries(&runtime, seed, &Bounds { queries, time }, &postgres.address);
        report.add(&format!("random queries (seed {seed})"), result);
    }
    drop(postgres);
    let count = number("HEADWATER_SCHEDULES").unwrap_or(schedules::SCHEDULES);
    let name = format!("{count} random schedules of panes (seed {seed})");
    report.add(&name, schedules::run_schedules(&runtime, seed, count));
    std::process::exit(report.finish());
}

fn one_round(runtime: &Arc<Runtime>, seed: u64, postgres: Option<&str>) -> Result<(), String> {
    let mut random = Random(seed);
    let mut both = Both::start(runtime, 1 + random.below(2) as usize, postgres)?;
    TABLES.iter().try_for_each(|table| both.run(table))?;
    // Some views see everything from the start, the others are filled later.
    let early = random.below(VIEWS.len() as u64) as usize;
    let mut made = Vec::new();
    for (i, view) in VIEWS.iter().enumerate() {
        // "on_view", "view_join" and "on_nulls" need it.
        if i < early || i == BY_GROUP {
            create(&mut both, view)?;
            made.push(view.0);
        }
    }
    for epoch in 0..EPOCHS_PER_ROUND {
        for _ in 0..1 + random.below(6) {
            both.run(&change(&mut random))?;
        }
        if epoch == EPOCHS_PER_ROUND / 2 {
            for view in VIEWS.iter().filter(|(name, _)| !made.contains(name)) {
                create(&mut both, view)?;
            }
            made = VIEWS.iter().map(|(name, _)| *name).collect();
        }
        match random.below(8) {
            0 => both = both.replace(Instance::crash)?,
            1 => {
                let workers = 1 + random.below(2) as usize;
                both = both.replace(|server| server.restart(Some(workers)))?;
            }
            _ => (),
        }
        both.here("STEP")?;
        check(&mut both, &made).map_err(|e| format!("epoch {epoch}: {e}"))?;
    }
    Ok(())
}

fn create(both: &mut Both, (name, query): &(&str, &str)) -> Result<(), String> {
    both.here(&format!("CREATE MATERIALIZED VIEW {name} AS {query}")).map(drop)
}

/// One INSERT, UPDATE or DELETE that both systems accept.
fn change(random: &mut Random) -> String {
    match random.below(10) {
        0..=3 => insert(random),
        4 => {
            let (low, g) = (random.below(KEYS), letter(random));
            let g = random.maybe(g);
            format!(
                "UPDATE a SET v = v + {}, g = {g} WHERE id BETWEEN {low} AND {}",
                random.below(5),
                low + 4
            )
        }
        5 => {
            let k = random.below(6);
            format!("UPDATE a SET k = {k}, n = n * 2, o = NOT o WHERE v % 4 = {}", random.below(4))
        }
        6 => {
            format!("UPDATE b SET w = w + 1, k = k + {} WHERE id % 3 = {}", random.below(2), random.below(3))
        }
        7 => format!("DELETE FROM a WHERE id % 7 = {}", random.below(7)),
        8 => format!("DELETE FROM b WHERE k = {}", random.below(6)),
        _ => format!("DELETE FROM c WHERE u < {}", random.below(10)),
    }
}

fn letter(random: &mut Random) -> String {
    format!("'{}'", ["x", "y", "z", ""][random.below(4) as usize])
}

fn insert(random: &mut Random) -> String {
    let rows = 1 + random.below(8);
    let mut values = Vec::new();
    let mut used = Vec::new();
    let table = random.below(3);
    for _ in 0..rows {
        let key = random.below(KEYS);
        if used.contains(&key) {
            continue;
        }
        used.push(key);
        let (k, v) = (random.below(6).to_string(), random.below(12).to_string());
        let (k, v, g) = (random.maybe(k), random.maybe(v), letter(random));
        values.push(match table {
            0 => {
                let n = format!("{}.{:02}", random.below(100), random.below(100));
                let b = (900_000_000_000_000_000_i64 / (1 + random.below(5) as i64)).to_string();
                let day = 1 + random.below(28);
                let d = format!("DATE '2020-02-{day:02}'");
                let t = format!("TIMESTAMP '2020-03-{day:02} 10:00:00.{}'", random.below(1000));
                let f = format!("{}", random.below(64) as f64 / 8.0 - 4.0);
                let o = random.chance(50).to_string();
                let optional: Vec<String> =
                    [g, v, n, b, d, t, f, o].into_iter().map(|value| random.maybe(value)).collect();
                format!("({key}, {k}, {})", optional.join(", "))
            }
            1 => {
                let x = format!("{}.{:04}", random.below(1000), random.below(10_000));
                format!("({key}, {k}, {g}, {v}, {})", random.maybe(x))
            }
            _ => format!("({key}, {g}, {v})"),
        });
    }
    let (name, key, update) = match table {
        0 => ("a", "id", "k = excluded.k, v = coalesce(a.v, 0) + 1, g = excluded.g"),
        1 => ("b", "id", "w = excluded.w, g = excluded.g, x = excluded.x"),
        _ => ("c", "k, g", "u = excluded.u"),
    };
    let action = if random.chance(70) { format!("DO UPDATE SET {update}") } else { "DO NOTHING".to_string() };
    format!("INSERT INTO {name} VALUES {} ON CONFLICT ({key}) {action}", values.join(", "))
}

/// Every view against its query, here and there.
fn check(both: &mut Both, made: &[&str]) -> Result<(), String> {
    let mut failures = Vec::new();
    for (name, query) in VIEWS.iter().filter(|(name, _)| made.contains(name)) {
        // PostgreSQL has no materialized "by_group": its query stands in its place.
        let (_, by_group) = VIEWS[BY_GROUP];
        let there =
            query.replace("by_group", &format!("({by_group}) AS by_group")).replace("AS by_group y", "AS y");
        failures.extend(both.check_view(name, Some(query), &there).err());
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n\n")) }
}
