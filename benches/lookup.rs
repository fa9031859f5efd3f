//! Look-ups by key on a view of 1,000,000 rows, and what an idle server takes.
//!
//!     cargo bench --bench lookup [-- SECONDS]
//!
//! pgbench reads `SELECT * FROM v WHERE k = …` over 8 connections with prepared statements
//! (goal: 12,000 a second). Then a second server with one small windowed view is left alone
//! (goal: below 1 % of a core and 150 MB). Without pgbench the first part is skipped.

mod support;

use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use support::{BoxError, Server, load_average, verdict};

const ROWS: i64 = 1_000_000;
const TPS_GOAL: f64 = 12_000.0;
const IDLE_CPU_GOAL: f64 = 0.01;
const IDLE_MB_GOAL: f64 = 150.0;
const IDLE_TIME: Duration = Duration::from_secs(10);

async fn count(client: &tokio_postgres::Client) -> Result<i64, BoxError> {
    Ok(client.query_one("SELECT count(*) FROM v", &[]).await?.try_get(0)?)
}

async fn lookups(seconds: u32) -> Result<(), BoxError> {
    let server = Server::start()?;
    let client = server.connect().await?;
    let start = Instant::now();
    let source = format!(
        "CREATE SOURCE s (k BIGINT, a BIGINT) WITH (connector = 'generator', generator = 'sequence', rows = {ROWS})"
    );
    client.batch_execute(&source).await?;
    client
        .batch_execute(
            "CREATE MATERIALIZED VIEW v AS SELECT k, count(*) AS n, sum(a) AS total FROM s GROUP BY k",
        )
        .await?;
    while count(&client).await? < ROWS {
        if start.elapsed() > Duration::from_secs(60) {
            return Err(format!("the view has only {} rows after a minute", count(&client).await?).into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!(
        "view of {ROWS} rows after {:.1} s, server {:.0} MB",
        start.elapsed().as_secs_f64(),
        server.resident_mb()?
    );
    let mut script = tempfile::NamedTempFile::new()?;
    writeln!(script, "\\set k random(0, {})\nSELECT * FROM v WHERE k = :k;", ROWS - 1)?;
    let before = server.cpu_seconds()?;
    let run = Command::new("pgbench")
        .args(["-n", "-M", "prepared", "-c", "8", "-j", "2", "-T", &seconds.to_string()])
        .args(["-h", "127.0.0.1", "-p", &server.port.to_string(), "-U", "headwater", "-f"])
        .arg(script.path())
        .arg("headwater")
        .output();
    let output = match run {
        Ok(output) => output,
        Err(e) => {
            println!("*** SKIPPED: pgbench cannot be run: {e}");
            return Ok(());
        }
    };
    let text = String::from_utf8_lossy(&output.stdout).to_string();
    let figure =
        |name: &str| text.lines().find_map(|l| l.strip_prefix(name)).map(str::trim).map(str::to_string);
    let Some(tps) = figure("tps = ").and_then(|t| t.split(' ').next()?.parse::<f64>().ok()) else {
        return Err(format!("pgbench failed: {text}{}", String::from_utf8_lossy(&output.stderr)).into());
    };
    println!(
        "look-ups by key: {tps:.0} tps (goal {TPS_GOAL}) {}, average {}, server {:.0} % CPU, load {}",
        verdict(tps >= TPS_GOAL),
        figure("latency average = ").unwrap_or_default(),
        (server.cpu_seconds()? - before) / f64::from(seconds) * 100.0,
        load_average()
    );
    Ok(())
}

async fn idle() -> Result<(), BoxError> {
    let server = Server::start()?;
    let client = server.connect().await?;
    client
        .batch_execute(
            "CREATE SOURCE bid (WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds')
             WITH (connector = 'generator', generator = 'nexmark', \"nexmark.table.type\" = 'bid', rows = 100000)",
        )
        .await?;
    client
        .batch_execute(
            "CREATE MATERIALIZED VIEW v AS SELECT auction, window_end, count(*) AS bids
             FROM TUMBLE(bid, date_time, INTERVAL '10 seconds') GROUP BY auction, window_end",
        )
        .await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (cpu, start) = (server.cpu_seconds()?, Instant::now());
    tokio::time::sleep(IDLE_TIME).await;
    let cpu = (server.cpu_seconds()? - cpu) / start.elapsed().as_secs_f64();
    let resident = server.resident_mb()?;
    println!(
        "idle with one view: {:.2} % of a core {}, {resident:.0} MB {}, load {}",
        cpu * 100.0,
        verdict(cpu < IDLE_CPU_GOAL),
        verdict(resident < IDLE_MB_GOAL),
        load_average()
    );
    Ok(())
}

fn main() -> Result<(), BoxError> {
    let seconds = std::env::args().filter(|a| a != "--bench").nth(1).map_or(Ok(10), |s| s.parse())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        lookups(seconds).await?;
        idle().await
    })
}
