//! One server: the data directory's lock, the listeners, and their life from start to stop.
//!
//! [`run`] is `headwater server`; [`Server`] is the same in pieces, for `headwater demo` and
//! tests, several of which may live in one process. Start order: lock, listeners (so that a
//! taken port is reported before anything is recovered), engine, services. Stop order is
//! the reverse. Nothing is written to the data directory without holding its lock.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{IsTerminal, Read, Seek, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::http::{self, HealthCheck, HttpState};
use super::pg::{self, PgLimits};
use super::session::Sessions;
use crate::config::{Config, LogFormat};
use crate::engine::database::Database;
use crate::error::{HwError, Result, sqlstate};
use crate::metrics::Metrics;

/// Threads for sessions and HTTP; the dataflow has its own.
const SERVING_THREADS: usize = 2;
/// Address space for the stack of each; planning a statement goes as deep as it nests.
const STACK_BYTES: usize = 256 << 20;
const LOCK_FILE: &str = "headwater.lock";

/// Runs a server until SIGTERM or SIGINT.
pub fn run(config: Config) -> Result<()> {
    start_logging(&config)?;
    let server = Server::start(config)?;
    tracing::info!(pg = %server.pg_addr(), http = %server.http_addr(), "ready for connections");
    server.wait_for_signal()?;
    tracing::info!("stopping");
    server.stop()
}

/// Opens the database on a thread with the stack of those that plan: recovery plans every view again.
fn open(runtime: &Runtime, config: Config) -> Result<Arc<Database>> {
    std::thread::scope(|scope| {
        let recovery = std::thread::Builder::new().name("recovery".into()).stack_size(STACK_BYTES);
        let opened = recovery.spawn_scoped(scope, || runtime.block_on(Database::open(config)))?;
        opened.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A running server.
pub struct Server {
    runtime: Runtime,
    stop: watch::Sender<bool>,
    http: JoinHandle<Result<()>>,
    pg: JoinHandle<Result<()>>,
    database: Arc<Database>,
    pg_addr: SocketAddr,
    http_addr: SocketAddr,
    /// Held until everything else has stopped.
    _lock: DataDirLock,
}

impl Server {
    /// Starts everything and returns when clients can connect: after recovery.
    pub fn start(config: Config) -> Result<Server> {
        let lock = DataDirLock::acquire(&config.data_dir)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(SERVING_THREADS)
            .thread_name("serving")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()?;
        let pg_listener = runtime.block_on(bind("pg_listen", config.pg_listen))?;
        let http_listener = runtime.block_on(bind("http_listen", config.http_listen))?;
        let (pg_addr, http_addr) = (pg_listener.local_addr()?, http_listener.local_addr()?);
        let limits = PgLimits { connections_max: config.connections_max, ..PgLimits::default() };
        let database = open(&runtime, config)?;
        let (stop, stopped) = watch::channel(false);
        let checked = Arc::clone(&database);
        let health: HealthCheck = Arc::new(move || checked.engine.health());
        let metrics = Arc::clone(&database.engine.shared.metrics);
        let state = HttpState { metrics, health, pg_addr };
        let http = runtime.spawn(http::serve(http_listener, state, stop_requested(stopped.clone())));
        let sessions = Arc::new(Sessions::new(Arc::clone(&database)));
        let pg = runtime.spawn(pg::serve(pg_listener, sessions, limits, stopped));
        Ok(Server { runtime, stop, http, pg, database, pg_addr, http_addr, _lock: lock })
    }

    pub fn metrics(&self) -> &Metrics {
        &self.database.engine.shared.metrics
    }

    pub fn database(&self) -> &Arc<Database> {
        &self.database
    }

    pub fn pg_addr(&self) -> SocketAddr {
        self.pg_addr
    }

    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Blocks until the process is asked to end.
    pub fn wait_for_signal(&self) -> Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        self.runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate())?;
            let mut interrupt = signal(SignalKind::interrupt())?;
            tokio::select! {
                _ = terminate.recv() => (),
                _ = interrupt.recv() => (),
            }
            Ok(())
        })
    }

    /// Stops taking connections, lets epochs in flight finish, ends the services and
    /// releases the data directory.
    pub fn stop(self) -> Result<()> {
        self.stop.send_replace(true);
        let ended =
            |service: &str, result: std::result::Result<Result<()>, tokio::task::JoinError>| match result {
                Ok(result) => result,
                Err(panic) => Err(HwError::internal(format!("the {service} service failed: {panic}"))),
            };
        let pg = ended("PostgreSQL", self.runtime.block_on(self.pg));
        let http = ended("HTTP", self.runtime.block_on(self.http));
        self.database.engine.shutdown();
        self.runtime.shutdown_timeout(std::time::Duration::from_secs(5));
        pg.and(http)
    }
}

async fn stop_requested(mut stopped: watch::Receiver<bool>) {
    // An error means that the server is gone, which is a stop too.
    let _ = stopped.wait_for(|stop| *stop).await;
}

async fn bind(setting: &str, addr: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(addr).await.map_err(|e| {
        let error = HwError::new(sqlstate::CANNOT_CONNECT, format!("could not listen on {addr}: {e}"));
        match e.kind() {
            std::io::ErrorKind::AddrInUse => error.with_hint(format!(
                "Is another server running on port {}? Stop it, or set {setting} to another port.",
                addr.port()
            )),
            _ => error.with_hint(format!("Set {setting} to an address of this machine.")),
        }
    })
}

/// The right to use a data directory, held by one process at a time.
struct DataDirLock {
    _file: File,
}

impl DataDirLock {
    fn acquire(dir: &Path) -> Result<DataDirLock> {
        let shown = dir.display();
        let failed = |e: std::io::Error| {
            let base = HwError::from(e);
            HwError::new(
                base.sqlstate(),
                format!("could not open data directory \"{shown}\": {}", base.message()),
            )
        };
        std::fs::create_dir_all(dir).map_err(failed)?;
        let path = dir.join(LOCK_FILE);
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = options.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(e)) => return Err(failed(e)),
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The process number only makes the message better.
                let _ = file.read_to_string(&mut holder);
                return Err(HwError::new(
                    sqlstate::OBJECT_IN_USE,
                    format!("data directory \"{shown}\" is locked by another server"),
                )
                .with_detail(format!("It is used by process {}.", holder.trim()))
                .with_hint("Stop that server, or choose another data_dir."));
            }
        }
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(DataDirLock { _file: file })
    }
}

/// Writes log lines to standard error. `HEADWATER_LOG` overrides the level, e.g.
/// `headwater::engine=debug`.
pub fn start_logging(config: &Config) -> Result<()> {
    use tracing_subscriber::EnvFilter;
    let default = format!("warn,headwater={}", config.log_level.name());
    let directives = std::env::var("HEADWATER_LOG").unwrap_or(default);
    let filter = EnvFilter::try_new(&directives).map_err(|e| {
        HwError::new(sqlstate::INVALID_PARAMETER_VALUE, format!("invalid log filter \"{directives}\": {e}"))
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let result = match config.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    result.map_err(|e| HwError::internal(format!("could not start logging: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(dir: &Path) -> Config {
        let any = "127.0.0.1:0".parse().unwrap();
        Config { data_dir: dir.to_path_buf(), pg_listen: any, http_listen: any, ..Config::default() }
    }

    #[test]
    fn a_second_server_is_refused_until_the_first_stops() {
        let dir = tempfile::tempdir().unwrap();
        let first = Server::start(config(dir.path())).unwrap();
        let error = Server::start(config(dir.path())).err().unwrap();
        assert_eq!(error.sqlstate(), "55006");
        assert!(error.detail().unwrap().contains(&std::process::id().to_string()), "{error}");
        first.stop().unwrap();
        Server::start(config(dir.path())).unwrap().stop().unwrap();
    }

    #[test]
    fn a_taken_port_is_named() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = Server::start(config(one.path())).unwrap();
        let taken = Config { pg_listen: first.pg_addr(), ..config(two.path()) };
        let error = Server::start(taken).err().unwrap();
        assert_eq!(error.sqlstate(), "08001");
        assert!(error.hint().unwrap().contains("pg_listen"), "{error}");
        first.stop().unwrap();
    }
}
