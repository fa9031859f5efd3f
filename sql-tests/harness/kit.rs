//! The test kit's servers, Kafka and PostgreSQL, as values that stop with their scope.
//!
//! The scripts in `sql-tests/kit` obtain and start them. Exit code 77 means that this
//! machine cannot have one; then the test says so loudly and is skipped.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A server of the kit.
pub struct Kit {
    script: PathBuf,
    dir: TempDir,
    pub address: String,
    pub port: u16,
}

/// Starts PostgreSQL 15; `None` if this machine cannot have it.
pub fn postgres() -> Result<Option<Kit>, String> {
    Kit::start("postgres.sh")
}

/// Starts a one-node Kafka; `None` if this machine cannot have it.
pub fn kafka() -> Result<Option<Kit>, String> {
    Kit::start("kafka.sh")
}

impl Kit {
    fn start(name: &str) -> Result<Option<Kit>, String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql-tests/kit").join(name);
        let dir = tempfile::Builder::new().prefix("headwater-kit").tempdir().map_err(|e| e.to_string())?;
        open_to_all(dir.path())?;
        let port = free_ports(3)?;
        let mut kit = Kit { script, dir, address: String::new(), port };
        match kit.start_again()? {
            true => Ok(Some(kit)),
            false => Ok(None),
        }
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new("sh");
        command.arg(&self.script).arg(verb).arg(self.dir.path().join("server")).stdin(Stdio::null());
        command
    }

    /// Starts the server in the same folder; `false` if this machine cannot have it.
    pub fn start_again(&mut self) -> Result<bool, String> {
        let out = self.dir.path().join("start.out");
        let stdout = std::fs::File::create(&out).map_err(|e| e.to_string())?;
        // The server inherits these files, so they must not be pipes that are read to the end.
        let status = self
            .command("start")
            .arg(self.port.to_string())
            .stdout(stdout)
            .status()
            .map_err(|e| e.to_string())?;
        match status.code() {
            Some(0) => {
                let text = std::fs::read_to_string(&out).map_err(|e| e.to_string())?;
                self.address = text.trim().to_string();
                Ok(true)
            }
            Some(77) => Ok(false),
            _ => Err(format!("{} start failed: {status}", self.script.display())),
        }
    }

    pub fn stop(&mut self) {
        let _ = self.command("stop").status();
    }

    /// A file that the server keeps beside its data.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join("server").join(name)
    }

    /// Creates a Kafka topic.
    pub fn topic(&self, name: &str, partitions: usize) -> Result<(), String> {
        let status = self
            .command("topic")
            .args([name, &partitions.to_string()])
            .stdout(Stdio::null())
            .status()
            .map_err(|e| e.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("topic {name} was not created: {status}")) }
    }
}

impl Drop for Kit {
    fn drop(&mut self) {
        self.stop();
    }
}

/// PostgreSQL runs as a user of its own and must be able to enter the folder.
fn open_to_all(dir: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).map_err(|e| e.to_string())
}

/// The first of `count` free ports in a row.
pub fn free_ports(count: u16) -> Result<u16, String> {
    for _ in 0..100 {
        let first = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
        let port = first.local_addr().map_err(|e| e.to_string())?.port();
        let end = port.checked_add(count);
        if end.is_some_and(|end| (port + 1..end).all(|p| TcpListener::bind(("127.0.0.1", p)).is_ok())) {
            return Ok(port);
        }
    }
    Err(format!("no {count} free ports in a row found"))
}

/// Says that a test could not be run, so that nobody overlooks it.
pub fn skipped(what: &str) {
    eprintln!("\n*** SKIPPED: {what}. The test has NOT been run. ***\n");
}
