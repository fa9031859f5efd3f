//! A server of its own for a bench, and what it uses of the machine.
//!
//! The server is the `headwater` binary built with the bench, on free ports and a temporary
//! data directory; it is killed when the [`Server`] is dropped.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

pub struct Server {
    process: Child,
    pub port: u16,
    data_dir: tempfile::TempDir,
}

impl Server {
    pub fn start() -> Result<Server, BoxError> {
        let data_dir = tempfile::tempdir()?;
        let (pg, http) = (free_port()?, free_port()?);
        let process = Command::new(env!("CARGO_BIN_EXE_headwater"))
            .arg("server")
            .args(["--pg-listen", &format!("127.0.0.1:{pg}")])
            .args(["--http-listen", &format!("127.0.0.1:{http}")])
            .arg("--data-dir")
            .arg(data_dir.path().join("data"))
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Server { process, port: pg, data_dir })
    }

    /// Connects; waits until the server listens.
    pub async fn connect(&self) -> Result<tokio_postgres::Client, BoxError> {
        let target = format!("host=127.0.0.1 port={} user=headwater dbname=headwater", self.port);
        let start = Instant::now();
        loop {
            match tokio_postgres::connect(&target, tokio_postgres::NoTls).await {
                Ok((client, connection)) => {
                    tokio::spawn(connection);
                    return Ok(client);
                }
                Err(e) if start.elapsed() > Duration::from_secs(20) => return Err(e.into()),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Where the server keeps what it must not forget.
    #[allow(dead_code, reason = "not every bench looks at it")]
    pub fn data_dir(&self) -> &std::path::Path {
        self.data_dir.path()
    }

    /// CPU seconds used so far.
    #[allow(dead_code, reason = "not every bench looks at it")]
    pub fn cpu_seconds(&self) -> Result<f64, BoxError> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // The program's name may hold spaces; fields are counted from its closing bracket.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
        let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
        // SAFETY: sysconf takes and returns plain numbers.
        Ok(ticks / unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64)
    }

    /// Resident memory in MB.
    pub fn resident_mb(&self) -> Result<f64, BoxError> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.split_whitespace().nth(1).ok_or("no VmRSS")?.parse::<f64>()? / 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn free_port() -> Result<u16, BoxError> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The load of the last minute, which says how much else the machine did.
pub fn load_average() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default().split(' ').next().unwrap_or("?").to_string()
}

/// `met` or `MISSED`.
pub fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}
