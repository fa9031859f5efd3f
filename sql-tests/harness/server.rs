//! A Headwater server in this process, in a folder of its own, with sessions over the wire.
//!
//! The clock is manual and the ports are free ones. A crash is a copy of the data directory
//! as it is at that moment, opened by a new server: what was not on disk is lost. Every
//! statement has a time limit, so that a server that hangs fails the test.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headwater::config::Config;
use headwater::engine::database::Database;
use headwater::serving::server::Server;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_postgres::{AsyncMessage, Client, NoTls, SimpleQueryMessage};

/// Longest time that one statement may take.
const STATEMENT_LIMIT: Duration = Duration::from_secs(45);

/// Rows and tag of one statement.
#[derive(Debug, Default)]
pub struct Answer {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Option<String>>>,
    pub count: u64,
}

impl Answer {
    /// Rows in the form of scripts.
    pub fn lines(&self) -> Vec<String> {
        self.rows.iter().map(|row| row_text(row)).collect()
    }
}

/// One row in the form of scripts.
pub fn row_text(row: &[Option<String>]) -> String {
    row.iter().map(|v| value_text(v.as_deref())).collect::<Vec<_>>().join("\t")
}

fn value_text(value: Option<&str>) -> String {
    match value {
        None => "NULL".to_string(),
        Some("") => "(empty)".to_string(),
        Some(text) => text.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n"),
    }
}

/// An error as the client sees it.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub code: String,
    pub text: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.text)
    }
}

impl Refusal {
    pub fn from_error(e: &tokio_postgres::Error) -> Refusal {
        match e.as_db_error() {
            Some(db) => {
                let mut text = db.message().to_string();
                for more in [db.detail(), db.hint()].into_iter().flatten() {
                    text.push_str(" | ");
                    text.push_str(more);
                }
                if let Some(tokio_postgres::error::ErrorPosition::Original(at)) = db.position() {
                    text.push_str(&format!(" | position {at}"));
                }
                Refusal { code: db.code().code().to_string(), text }
            }
            None => Refusal { code: "-----".into(), text: format!("connection failed: {e:?}") },
        }
    }
}

/// Runs one statement on a session.
pub fn run(runtime: &Runtime, client: &Client, sql: &str) -> Result<Answer, Refusal> {
    runtime.block_on(limited(client, sql))
}

/// Runs statements, all of which are sent before the first answer comes.
pub fn run_all(runtime: &Runtime, client: &Client, statements: &[String]) -> Vec<Result<Answer, Refusal>> {
    let all = statements.iter().map(|sql| limited(client, sql));
    runtime.block_on(futures::future::join_all(all))
}

async fn limited(client: &Client, sql: &str) -> Result<Answer, Refusal> {
    let messages = match tokio::time::timeout(STATEMENT_LIMIT, client.simple_query(sql)).await {
        Ok(Ok(messages)) => messages,
        Ok(Err(e)) => return Err(Refusal::from_error(&e)),
        Err(_) => {
            let text = format!("no answer within {} s: {sql}", STATEMENT_LIMIT.as_secs());
            return Err(Refusal { code: "-----".into(), text });
        }
    };
    let mut answer = Answer::default();
    for message in messages {
        match message {
            SimpleQueryMessage::Row(row) => {
                answer.rows.push((0..row.len()).map(|i| row.get(i).map(String::from)).collect());
            }
            SimpleQueryMessage::RowDescription(columns) => {
                answer.columns = columns.iter().map(|c| c.name().to_string()).collect();
            }
            SimpleQueryMessage::CommandComplete(n) => answer.count = n,
            _ => (),
        }
    }
    Ok(answer)
}

/// Messages and hints of the notices that a client got.
type Notices = Arc<Mutex<Vec<String>>>;

/// Connects to a server and keeps its notices; they are there before the answer is.
fn connect_hearing(runtime: &Runtime, address: &str) -> Result<(Client, Notices), String> {
    let notices = Notices::default();
    let heard = notices.clone();
    let connecting = async {
        let limited = tokio::time::timeout(STATEMENT_LIMIT, tokio_postgres::connect(address, NoTls)).await;
        let (client, mut connection) =
            limited.map_err(|_| "no connection in time".to_string())?.map_err(|e| format!("{e:?}"))?;
        tokio::spawn(async move {
            while let Some(Ok(message)) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
                if let (AsyncMessage::Notice(notice), Ok(mut heard)) = (message, heard.lock()) {
                    heard.push(format!("{} {}", notice.message(), notice.hint().unwrap_or_default()));
                }
            }
        });
        Ok((client, notices))
    };
    runtime.block_on(connecting)
}

/// Connects to a server; the connection lives as long as the client.
pub fn connect(runtime: &Runtime, address: &str) -> Result<Client, String> {
    let connecting = async {
        let limited = tokio::time::timeout(STATEMENT_LIMIT, tokio_postgres::connect(address, NoTls)).await;
        let (client, connection) =
            limited.map_err(|_| "no connection in time".to_string())?.map_err(|e| format!("{e:?}"))?;
        tokio::spawn(async move { drop(connection.await) });
        Ok(client)
    };
    runtime.block_on(connecting)
}

/// A copy of a data directory that is being made.
pub type Disk = std::thread::JoinHandle<Result<TempDir, String>>;

/// A running server with its sessions.
pub struct Instance {
    runtime: Arc<Runtime>,
    server: Option<Server>,
    dir: TempDir,
    workers: usize,
    sessions: HashMap<String, (Client, Notices)>,
}

impl Instance {
    pub fn start(runtime: &Arc<Runtime>, workers: usize) -> Result<Instance, String> {
        let dir = TempDir::new().map_err(|e| e.to_string())?;
        Instance::open(runtime, dir, workers)
    }

    fn open(runtime: &Arc<Runtime>, dir: TempDir, workers: usize) -> Result<Instance, String> {
        let config = Config {
            data_dir: dir.path().join("data"),
            pg_listen: ([127, 0, 0, 1], 0).into(),
            http_listen: ([127, 0, 0, 1], 0).into(),
            workers,
            manual_clock: true,
            // So that what never ends is soon stopped.
            recursion_rounds_max: 1_000,
            ..Config::default()
        };
        let server = Server::start(config).map_err(|e| format!("the server did not start: {e}"))?;
        let mut instance = Instance {
            runtime: runtime.clone(),
            server: Some(server),
            dir,
            workers,
            sessions: HashMap::new(),
        };
        instance.session("")?;
        Ok(instance)
    }

    pub fn address(&self) -> String {
        let port = self.server.as_ref().map_or(0, |s| s.pg_addr().port());
        format!("host=127.0.0.1 port={port} user=headwater dbname=headwater")
    }

    /// The session of this name, connected when first used.
    fn session(&mut self, name: &str) -> Result<&Client, String> {
        if !self.sessions.contains_key(name) {
            let session = connect_hearing(&self.runtime, &self.address())?;
            self.sessions.insert(name.to_string(), session);
        }
        Ok(&self.sessions[name].0)
    }

    /// The session of statements that name none.
    pub fn client(&mut self) -> Result<&Client, String> {
        self.session("")
    }

    /// The notices of the named session since the last call.
    pub fn notices(&mut self, session: &str) -> Vec<String> {
        let notices = self.sessions.get(session).and_then(|(_, notices)| notices.lock().ok());
        notices.map(|mut notices| std::mem::take(&mut *notices)).unwrap_or_default()
    }

    /// Runs a statement on the named session.
    pub fn run_on(&mut self, session: &str, sql: &str) -> Result<Answer, Refusal> {
        let runtime = self.runtime.clone();
        let client = self.session(session).map_err(|text| Refusal { code: "-----".into(), text })?;
        run(&runtime, client, sql)
    }

    pub fn run(&mut self, sql: &str) -> Result<Answer, Refusal> {
        self.run_on("", sql)
    }

    /// Ends the server in good order and starts another on the same data.
    pub fn restart(mut self, workers: Option<usize>) -> Result<Instance, String> {
        self.stop()?;
        let workers = workers.unwrap_or(self.workers);
        let dir = std::mem::replace(&mut self.dir, TempDir::new().map_err(|e| e.to_string())?);
        Instance::open(&self.runtime, dir, workers)
    }

    /// Opens a copy of the data directory as it is now with a new server.
    pub fn crash(self) -> Result<Instance, String> {
        let disk = self.disk_later(Duration::ZERO);
        self.open_again(disk)
    }

    /// A copy of the data directory as it is after some time, made beside what the server does.
    pub fn disk_later(&self, after: Duration) -> Disk {
        let data = self.dir.path().join("data");
        std::thread::spawn(move || {
            std::thread::sleep(after);
            let copy = TempDir::new().map_err(|e| e.to_string())?;
            copy_folder(&data, &copy.path().join("data")).map_err(|e| e.to_string())?;
            Ok(copy)
        })
    }

    /// Opens what was on disk then with a new server.
    pub fn open_again(mut self, disk: Disk) -> Result<Instance, String> {
        let copy = disk.join().map_err(|_| "the copy of the disk panicked".to_string())??;
        self.stop()?;
        Instance::open(&self.runtime, copy, self.workers)
    }

    /// The database of the server, for tests that look into it.
    pub fn database(&self) -> Result<&Arc<Database>, String> {
        self.server.as_ref().map(Server::database).ok_or_else(|| "the server has stopped".to_string())
    }

    pub fn stop(&mut self) -> Result<(), String> {
        self.sessions.clear();
        match self.server.take() {
            Some(server) => server.stop().map_err(|e| format!("the server did not stop: {e}")),
            None => Ok(()),
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
