//! `headwater demo`: a server, a generated stream of bids and a live windowed view.
//!
//! Starts a server in this process, then acts as an ordinary client over the wire: creates
//! the source and the view, and twice a second shows what the view holds. In a terminal the
//! screen is redrawn; otherwise frames are printed one after the other.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::http::connect_line;
use super::server::Server;
use super::shell::{Session, Table, Target};
use crate::clock;
use crate::config::Config;
use crate::error::{HwError, Result, sqlstate};

const FRAME_INTERVAL: Duration = Duration::from_millis(500);
/// Ports tried from the configured one upwards.
const PORTS_TRIED_MAX: u16 = 100;
const RATE: u64 = 10_000;
const CLEAR_SCREEN: &str = "\x1b[H\x1b[2J";

const TOP_QUERY: &str = "SELECT window_start, auction, bids, highest_price FROM top_auctions
ORDER BY window_start DESC, bids DESC, auction LIMIT 12";

/// How the demo was started.
pub struct DemoOptions {
    /// Its data directory is used only if `keep_data`; otherwise a temporary one.
    pub config: Config,
    pub keep_data: bool,
    /// Ends by itself after this time.
    pub duration: Option<Duration>,
}

/// Runs the demo until its time is over or Ctrl-C.
pub fn run(options: DemoOptions) -> Result<()> {
    let mut config = options.config;
    let scratch = if options.keep_data { None } else { Some(ScratchDir::create()?) };
    if let Some(scratch) = &scratch {
        config.data_dir = scratch.0.clone();
    }
    config.pg_listen = free_port(config.pg_listen, None)?;
    config.http_listen = free_port(config.http_listen, Some(config.pg_listen))?;
    super::server::start_logging(&config)?;
    let server = Server::start(config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let shown = show(&runtime, &server, options.duration);
    let stopped = server.stop();
    shown.and(stopped)
}

fn source_sql() -> String {
    format!(
        "CREATE SOURCE IF NOT EXISTS bid (WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds')
WITH (connector = 'generator', generator = 'nexmark', \"nexmark.table.type\" = 'bid',
      \"nexmark.event_time\" = 'realtime', rate = {RATE})"
    )
}

const VIEW_SQL: &str = "CREATE MATERIALIZED VIEW IF NOT EXISTS top_auctions AS
SELECT window_start, window_end, auction, count(*) AS bids, max(price) AS highest_price
FROM TUMBLE(bid, date_time, INTERVAL '10 seconds')
GROUP BY window_start, window_end, auction";

/// Creates the objects and draws frames.
fn show(runtime: &Runtime, server: &Server, duration: Option<Duration>) -> Result<()> {
    let target = Target {
        host: server.pg_addr().ip().to_string(),
        port: server.pg_addr().port(),
        user: "headwater".into(),
        database: "headwater".into(),
    };
    runtime.block_on(async {
        let session = Session::connect(&target).await?;
        session.rows(&source_sql()).await?;
        session.rows(VIEW_SQL).await?;
        let start = clock::monotonic();
        let mut meter = Meter::default();
        loop {
            let frame = frame(&session, server, &mut meter).await?;
            draw(&frame)?;
            if duration.is_some_and(|limit| start.elapsed() + FRAME_INTERVAL > limit) {
                return Ok(());
            }
            tokio::select! {
                _ = tokio::time::sleep(FRAME_INTERVAL) => {}
                _ = tokio::signal::ctrl_c() => return Ok(()),
            }
        }
    })
}

async fn frame(session: &Session, server: &Server, meter: &mut Meter) -> Result<String> {
    let top = session.rows(TOP_QUERY).await?;
    let watermarks = session.rows("SHOW WATERMARKS").await?;
    let rate = meter.rate(server.metrics().rows_in.with_label_values(&["bid"]).get());
    let mut text = format!("Headwater demo: a live view over {RATE} generated bids per second\n\n");
    for sql in [source_sql().as_str(), VIEW_SQL] {
        for line in sql.lines() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {line}");
        }
        text.push('\n');
    }
    let _ = writeln!(text, "{rate:>9.0} rows/s    {} epochs\n", server.metrics().epochs_published.get());
    text.push_str(&grid(&watermarks));
    let _ = writeln!(text, "\n{TOP_QUERY};\n");
    text.push_str(&grid(&top));
    let _ = writeln!(text, "\nConnect:  {}", connect_line(server.pg_addr()));
    let _ = writeln!(text, "Metrics:  http://{}/metrics    Ctrl-C ends the demo.", server.http_addr());
    Ok(text)
}

fn grid(table: &Table) -> String {
    let mut bytes = Vec::new();
    // Writing to a Vec cannot fail.
    let _ = table.write_grid(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn draw(frame: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if out.is_terminal() {
        out.write_all(CLEAR_SCREEN.as_bytes())?;
    }
    out.write_all(frame.as_bytes())?;
    if !out.is_terminal() {
        out.write_all(b"\n----\n\n")?;
    }
    Ok(out.flush()?)
}

/// Rows per second between two readings of a counter.
#[derive(Default)]
struct Meter {
    last: Option<(Instant, u64)>,
}

impl Meter {
    fn rate(&mut self, count: u64) -> f64 {
        let now = clock::monotonic();
        let rate = self.last.map_or(0.0, |(then, before)| {
            count.saturating_sub(before) as f64 / now.duration_since(then).as_secs_f64().max(1e-3)
        });
        self.last = Some((now, count));
        rate
    }
}

/// The first free port from `wanted` upwards that is not `taken`.
fn free_port(wanted: SocketAddr, taken: Option<SocketAddr>) -> Result<SocketAddr> {
    let ports = (0..PORTS_TRIED_MAX).filter_map(|step| wanted.port().checked_add(step));
    let mut addresses = ports.map(|port| SocketAddr::new(wanted.ip(), port));
    addresses.find(|addr| Some(*addr) != taken && TcpListener::bind(addr).is_ok()).ok_or_else(|| {
        HwError::new(sqlstate::CANNOT_CONNECT, format!("no free port from {} upwards", wanted.port()))
            .with_hint("Give a free address with --pg-listen and --http-listen.")
    })
}

/// A data directory that is removed at the end.
struct ScratchDir(PathBuf);

impl ScratchDir {
    fn create() -> Result<ScratchDir> {
        let dir = std::env::temp_dir().join(format!("headwater-demo-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        Ok(ScratchDir(dir))
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(dir = %self.0.display(), error = %e, "could not remove the demo's data");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_stepped_over() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = listener.local_addr().unwrap();
        let free = free_port(taken, None).unwrap();
        assert!(free.port() > taken.port());
        assert_ne!(free_port(free, Some(free)).unwrap(), free);
    }
}
