//! Memory and disk of a windowed view over many events: both must stay flat.
//!
//!     cargo bench --bench flat [-- MILLIONS]
//!
//! A generator makes Nexmark bids as fast as the view takes them (100 million unless said
//! otherwise), in event time. The view counts bids by auction and window, corrects windows for
//! a while after their end and keeps results for a minute: so what it holds is a minute of
//! results and the open windows, however long it runs. Printed every ten million rows: rows
//! held, resident memory, size of the data directory. Goal: the last third needs at most a
//! tenth more memory than the second. The data directory holds no results; what grows in it is
//! the journal, by a cut an epoch (some 200 bytes), because recovery replays them all.

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use support::{BoxError, Server, load_average, verdict};

const STEP: i64 = 10_000_000;
const GROWTH_GOAL: f64 = 1.1;

const VIEW: &str = "CREATE MATERIALIZED VIEW counts WITH (retention = '1 minute') AS
    SELECT auction, window_end, count(*) AS bids, max(price) AS highest
    FROM TUMBLE(bid, date_time, INTERVAL '10 seconds') GROUP BY auction, window_end
    EMIT EARLY AFTER 1 ROW, ON TIME, LATE AFTER 1 ROW ALLOWED LATENESS INTERVAL '10 seconds'
    ACCUMULATING AND RETRACTING";

async fn number(client: &tokio_postgres::Client, sql: &str) -> Result<i64, BoxError> {
    Ok(client.query_one(sql, &[]).await?.try_get::<_, Option<i64>>(0)?.unwrap_or(0))
}

fn folder_mb(path: &Path) -> f64 {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => folder_mb(&entry.path()),
            Ok(data) => data.len() as f64 / 1e6,
            Err(_) => 0.0,
        })
        .sum()
}

async fn run(rows: i64) -> Result<(), BoxError> {
    let server = Server::start()?;
    let client = server.connect().await?;
    let source = format!(
        "CREATE SOURCE bid (WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds')
         WITH (connector = 'generator', generator = 'nexmark', \"nexmark.table.type\" = 'bid', rows = {rows})"
    );
    client.batch_execute(&source).await?;
    client.batch_execute(VIEW).await?;
    let (start, mut next, mut curve) = (Instant::now(), STEP, Vec::new());
    let mut last = (Instant::now(), 0);
    loop {
        let read = number(&client, "SELECT sum(rows)::bigint FROM headwater.sources").await?;
        if read >= next.min(rows) {
            let (held, memory) =
                (number(&client, "SELECT count(*) FROM counts").await?, server.resident_mb()?);
            let rate = read as f64 / start.elapsed().as_secs_f64() / 1e6;
            println!(
                "{:4} M events, {rate:.2} M/s: {held} rows held, {memory:.0} MB, on disk {:.1} MB",
                read / 1_000_000,
                folder_mb(server.data_dir())
            );
            curve.push(memory);
            next += STEP;
        }
        if read >= rows {
            break;
        }
        if read > last.1 {
            last = (Instant::now(), read);
        } else if last.0.elapsed() > Duration::from_secs(30) {
            return Err(format!("stuck at {read} rows").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let third = curve.len() / 3;
    let most = |part: &[f64]| part.iter().copied().fold(0.0, f64::max);
    if third > 0 {
        let growth = most(&curve[2 * third..]) / most(&curve[third..2 * third]);
        println!(
            "memory of the last third / of the second: {growth:.2} (goal {GROWTH_GOAL}) {}, load {}",
            verdict(growth <= GROWTH_GOAL),
            load_average()
        );
    }
    Ok(())
}

fn main() -> Result<(), BoxError> {
    let millions = std::env::args().filter(|a| a != "--bench").nth(1).map_or(Ok(100), |s| s.parse())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(millions * 1_000_000))
}
