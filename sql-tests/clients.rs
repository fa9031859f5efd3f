//! Real PostgreSQL clients against the program: each script in `sql-tests/clients` drives an
//! empty server with a manual clock and exits with 0 if everything was as wanted.
//!
//! `sql-tests/kit/python.sh` obtains the clients; without them the tests are skipped loudly.

mod harness;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use harness::kit::{free_ports, skipped};
use harness::report::{Report, filters, only_list};

const START_LIMIT: Duration = Duration::from_secs(30);
const SCRIPT_LIMIT: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(50);

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql-tests");
    let mut scripts: Vec<PathBuf> = std::fs::read_dir(root.join("clients"))
        .expect("the folder of scripts is there")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "py"))
        .collect();
    scripts.sort();
    let name = |path: &Path| {
        format!("clients: {}", path.file_stem().map_or_else(String::new, |s| s.to_string_lossy().to_string()))
    };
    if only_list() {
        scripts.iter().for_each(|path| println!("{}: test", name(path)));
        return;
    }
    let filters = filters();
    let (wanted, left): (Vec<PathBuf>, Vec<PathBuf>) = scripts
        .into_iter()
        .partition(|path| filters.is_empty() || filters.iter().any(|f| name(path).contains(f.as_str())));
    let mut report = Report::new(wanted.len(), left.len());
    if wanted.is_empty() {
        std::process::exit(report.finish());
    }
    match python(&root) {
        Ok(Some(python)) => wanted.iter().for_each(|path| report.add(&name(path), run(&python, path))),
        Ok(None) => {
            skipped("PostgreSQL clients");
            wanted.iter().for_each(|path| report.ignore(&name(path), "this machine has no Python clients"));
        }
        Err(why) => wanted.iter().for_each(|path| report.add(&name(path), Err(why.clone()))),
    }
    std::process::exit(report.finish());
}

/// The interpreter that has the clients; `None` if this machine cannot have it.
fn python(root: &Path) -> Result<Option<PathBuf>, String> {
    let output = Command::new("sh")
        .arg(root.join("kit/python.sh"))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| e.to_string())?;
    match output.status.code() {
        Some(0) => Ok(Some(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))),
        Some(77) => Ok(None),
        _ => Err(format!("python.sh failed: {}", output.status)),
    }
}

/// The server under test; it ends with its scope.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(python: &Path, script: &Path) -> Result<(), String> {
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let port = free_ports(2)?;
    let log = std::fs::File::create(dir.path().join("log")).map_err(|e| e.to_string())?;
    let child = Command::new(env!("CARGO_BIN_EXE_headwater"))
        .args(["server", "--manual-clock", "--workers", "2", "--data-dir"])
        .arg(dir.path().join("data"))
        .args(["--pg-listen", &format!("127.0.0.1:{port}")])
        .args(["--http-listen", &format!("127.0.0.1:{}", port + 1)])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(|e| format!("the program did not start: {e}"))?;
    let mut server = Server(child);
    let started = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        if started.elapsed() > START_LIMIT || server.0.try_wait().is_ok_and(|status| status.is_some()) {
            return Err(format!("the server does not listen\n{}", tail(&dir.path().join("log"))));
        }
        std::thread::sleep(PAUSE);
    }
    let said = dir.path().join("said");
    let out = std::fs::File::create(&said).map_err(|e| e.to_string())?;
    let both = out.try_clone().map_err(|e| e.to_string())?;
    let mut client = Command::new(python)
        .arg(script)
        .arg(port.to_string())
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(both)
        .spawn()
        .map_err(|e| e.to_string())?;
    let started = Instant::now();
    let status = loop {
        if let Some(status) = client.try_wait().map_err(|e| e.to_string())? {
            break status;
        }
        if started.elapsed() > SCRIPT_LIMIT {
            let _ = client.kill();
            let _ = client.wait();
            return Err(format!("not done after {} s\n{}", SCRIPT_LIMIT.as_secs(), tail(&said)));
        }
        std::thread::sleep(PAUSE);
    };
    match status.success() {
        true => Ok(()),
        false => Err(format!("{status}\n{}\n{}", tail(&said), tail(&dir.path().join("log")))),
    }
}

/// The last lines of a file.
fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}
