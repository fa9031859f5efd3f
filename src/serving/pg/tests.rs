//! The wire over a loopback socket: tokio-postgres against a scripted session.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::common::ScalarValue;
use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::api::IdleLimit;
use super::*;
use crate::error::{HwError, Result, sqlstate};
use crate::types::PgType;
use crate::types::text::TextOptions;

/// Understands `rows N`, `echo` (returns its two parameters), `fail`, `wait`, `panic`,
/// `notice`, `set`, `begin`, `commit`, `rollback`; `;` separates statements.
struct Script {
    status: TransactionStatus,
    cancel: Arc<CancelFlag>,
    notices: mpsc::Sender<Notice>,
    changes: Vec<(String, String)>,
    implicit: Vec<&'static str>,
}

fn schema() -> SchemaRef {
    let fields = vec![PgType::Int4.field("n", false), PgType::Text.field("t", true)];
    Arc::new(Schema::new(fields))
}

fn batch(from: i32, to: i32) -> Result<RecordBatch> {
    let texts = (from..to).map(|n| (n % 2 == 0).then(|| format!("row {n}")));
    let texts = StringArray::from_iter(texts);
    Ok(RecordBatch::try_new(
        schema(),
        vec![Arc::new(Int32Array::from_iter_values(from..to)), Arc::new(texts)],
    )?)
}

#[async_trait]
impl SessionHandle for Script {
    fn parse(&mut self, sql: &str) -> Result<Vec<ParsedStatement>> {
        let mut statements = Vec::new();
        let mut offset = 0;
        for part in sql.split(';') {
            let text = part.trim().to_ascii_lowercase();
            if text == "syntax" {
                return Err(HwError::new(sqlstate::SYNTAX_ERROR, "syntax error").at(offset + 1));
            }
            if !text.is_empty() {
                let kind = match text.as_str() {
                    "commit" | "rollback" => CommandKind::TransactionEnd,
                    "begin" | "start transaction" => CommandKind::TransactionBegin,
                    _ => CommandKind::Other,
                };
                statements.push(ParsedStatement { sql: text.into(), offset, kind, body: Arc::new(()) });
            }
            offset += part.len() + 1;
        }
        Ok(statements)
    }

    async fn describe(&mut self, statement: &ParsedStatement, _: &[Option<PgType>]) -> Result<Description> {
        let rows = statement.sql.starts_with("rows") || &*statement.sql == "echo";
        let parameters = if &*statement.sql == "echo" { vec![PgType::Int4, PgType::Text] } else { vec![] };
        Ok(Description { parameters, rows: rows.then(schema) })
    }

    async fn copy_in(&mut self, _: &ParsedStatement, data: Vec<u8>) -> Result<Outcome> {
        Ok(Outcome::Command { tag: format!("COPY {}", data.iter().filter(|b| **b == b'\n').count()) })
    }

    async fn execute(
        &mut self,
        statement: &ParsedStatement,
        parameters: Vec<ScalarValue>,
    ) -> Result<Outcome> {
        let mut words = statement.sql.split(' ');
        let command = |tag: &str| Ok(Outcome::Command { tag: tag.to_string() });
        match words.next().unwrap() {
            "rows" => {
                let count: i32 = words.next().unwrap().parse().unwrap();
                let batches = (0..count).step_by(10).map(move |from| batch(from, count.min(from + 10)));
                let stream = futures::stream::iter(batches).boxed();
                Ok(Outcome::Rows { schema: schema(), stream, tag: RowsTag::Counted("SELECT".into()) })
            }
            "echo" => {
                let columns = parameters.iter().map(|p| p.to_array().unwrap()).collect();
                let batch = RecordBatch::try_new(schema(), columns)?;
                let stream = futures::stream::iter([Ok(batch)]).boxed();
                Ok(Outcome::Rows { schema: schema(), stream, tag: RowsTag::Counted("SELECT".into()) })
            }
            "wait" => {
                self.cancel.cancelled().await;
                Err(CancelFlag::error())
            }
            "hang" => {
                let stream = futures::stream::pending().boxed();
                Ok(Outcome::Rows { schema: schema(), stream, tag: RowsTag::Plain("SHOW".into()) })
            }
            "panic" => panic!("scripted"),
            "notice" => {
                self.notices.send(Notice::new("half way")).await.unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
                command("DO")
            }
            "set" => {
                self.changes.push(("TimeZone".into(), "Mars".into()));
                command("SET")
            }
            "implicit" => command(&self.implicit.join(",")),
            "begin" | "start" => {
                self.status = TransactionStatus::InBlock;
                command("BEGIN")
            }
            "commit" | "rollback" => {
                let tag = if self.status == TransactionStatus::Failed { "ROLLBACK" } else { "COMMIT" };
                self.status = TransactionStatus::Idle;
                command(tag)
            }
            _ => Err(HwError::new(sqlstate::DIVISION_BY_ZERO, "division by zero")
                .with_detail("A detail.")
                .with_hint("A hint.")
                .at(2)),
        }
    }

    fn begin_implicit_transaction(&mut self) {
        self.implicit.push("begin");
    }

    async fn end_implicit_transaction(&mut self, commit: bool) -> Result<()> {
        self.implicit.push(if commit { "commit" } else { "rollback" });
        Ok(())
    }

    fn cursor_columns(&self, _: &str) -> Option<SchemaRef> {
        None
    }

    fn transaction_status(&self) -> TransactionStatus {
        self.status
    }

    fn fail_transaction(&mut self) {
        self.status = TransactionStatus::Failed;
    }

    fn take_notices(&mut self) -> Vec<Notice> {
        Vec::new()
    }

    fn take_parameter_changes(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.changes)
    }

    /// Only a transaction block has to hurry.
    fn idle_limit(&self) -> Option<IdleLimit> {
        (self.status != TransactionStatus::Idle).then(|| IdleLimit {
            after: Duration::from_secs(1),
            error: HwError::new(sqlstate::IDLE_IN_TRANSACTION_SESSION_TIMEOUT, "too slow"),
        })
    }

    fn text_options(&self) -> TextOptions {
        TextOptions::default()
    }

    fn cancel_flag(&self) -> Arc<CancelFlag> {
        Arc::clone(&self.cancel)
    }
}

struct Scripts;

impl SessionFactory for Scripts {
    fn open(
        &self,
        startup: &StartupParameters,
        _pid: i32,
        notices: mpsc::Sender<Notice>,
    ) -> Result<Box<dyn SessionHandle>> {
        if startup.user == "nobody" {
            return Err(HwError::new(sqlstate::INVALID_CATALOG_NAME, "database \"x\" does not exist"));
        }
        Ok(Box::new(Script {
            status: TransactionStatus::Idle,
            cancel: Arc::default(),
            notices,
            changes: startup.settings.clone(),
            implicit: Vec::new(),
        }))
    }

    fn initial_parameters(&self) -> Vec<(String, String)> {
        vec![("server_version".into(), "15.0".into())]
    }
}

struct TestServer {
    port: u16,
    stop: watch::Sender<bool>,
    done: tokio::task::JoinHandle<Result<()>>,
}

async fn start(connections_max: usize) -> TestServer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (stop, signal) = watch::channel(false);
    let limits = PgLimits { connections_max, ..PgLimits::default() };
    let done = tokio::spawn(serve(listener, Arc::new(Scripts), limits, signal));
    TestServer { port, stop, done }
}

impl TestServer {
    async fn try_connect(&self, user: &str) -> Result<Client, tokio_postgres::Error> {
        let config = format!("host=127.0.0.1 port={} user={user} dbname=d options='-c a.b=c'", self.port);
        let (client, connection) = tokio_postgres::connect(&config, NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    async fn connect(&self) -> Client {
        self.try_connect("u").await.unwrap()
    }
}

fn code(error: &tokio_postgres::Error) -> &str {
    error.as_db_error().unwrap_or_else(|| panic!("{error:?}")).code().code()
}

fn rows_of(messages: &[SimpleQueryMessage]) -> usize {
    messages.iter().filter(|m| matches!(m, SimpleQueryMessage::Row(_))).count()
}

#[tokio::test]
async fn simple_queries() {
    let server = start(10).await;
    let client = server.connect().await;
    let messages = client.simple_query("rows 25").await.unwrap();
    assert_eq!(rows_of(&messages), 25);
    let Some(SimpleQueryMessage::Row(row)) =
        messages.iter().find(|m| matches!(m, SimpleQueryMessage::Row(_)))
    else {
        panic!("no row")
    };
    assert_eq!((row.get("n"), row.get("t")), (Some("0"), Some("row 0")));
    assert!(client.simple_query("").await.unwrap().len() <= 1);
    assert_eq!(rows_of(&client.simple_query("rows 1; set; rows 2").await.unwrap()), 3);
    let error = client.simple_query("rows 1; fail; set").await.unwrap_err();
    let report = error.as_db_error().unwrap();
    assert_eq!((code(&error), report.severity()), ("22012", "ERROR"));
    assert_eq!((report.detail(), report.hint()), (Some("A detail."), Some("A hint.")));
    assert_eq!(report.position(), Some(&tokio_postgres::error::ErrorPosition::Original(9)));
    assert_eq!(code(&client.simple_query("panic").await.unwrap_err()), "XX000");
    assert_eq!(rows_of(&client.simple_query("rows 5").await.unwrap()), 5);
}

#[tokio::test]
async fn prepared_statements_in_binary() {
    let server = start(10).await;
    let client = server.connect().await;
    let echo = client.prepare("echo").await.unwrap();
    for n in 0..50i32 {
        let row = client.query_one(&echo, &[&n, &"text"]).await.unwrap();
        assert_eq!((row.get::<_, i32>(0), row.get::<_, &str>(1)), (n, "text"));
    }
    let row = client.query_one(&echo, &[&1i32, &None::<&str>]).await.unwrap();
    assert_eq!(row.get::<_, Option<&str>>(1), None);
    assert_eq!(client.query("rows 1000", &[]).await.unwrap().len(), 1000);
    assert_eq!(code(&client.query("fail", &[]).await.unwrap_err()), "22012");
    assert_eq!(code(&client.query("set; set", &[]).await.unwrap_err()), "42601");
    assert_eq!(client.query("rows 3", &[]).await.unwrap().len(), 3);
}

#[tokio::test]
async fn portals_go_on_where_they_stopped() {
    let server = start(10).await;
    let mut client = server.connect().await;
    let transaction = client.transaction().await.unwrap();
    let statement = transaction.prepare("rows 25").await.unwrap();
    let portal = transaction.bind(&statement, &[]).await.unwrap();
    let mut seen = Vec::new();
    for expected in [7, 7, 7, 4, 0] {
        let rows = transaction.query_portal(&portal, 7).await.unwrap();
        assert_eq!(rows.len(), expected);
        seen.extend(rows.iter().map(|row| row.get::<_, i32>(0)));
    }
    assert_eq!(seen, (0..25).collect::<Vec<_>>());
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn failed_blocks_accept_only_their_end() {
    let server = start(10).await;
    let client = server.connect().await;
    client.simple_query("begin").await.unwrap();
    assert_eq!(code(&client.query("fail", &[]).await.unwrap_err()), "22012");
    assert_eq!(code(&client.query("rows 1", &[]).await.unwrap_err()), "25P02");
    assert_eq!(code(&client.simple_query("rows 1").await.unwrap_err()), "25P02");
    client.simple_query("rollback").await.unwrap();
    assert_eq!(client.query("rows 1", &[]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn idle_clients_are_let_go() {
    let server = start(10).await;
    let client = server.connect().await;
    tokio::time::sleep(Duration::from_millis(1300)).await;
    client.simple_query("begin").await.unwrap();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(rows_of(&client.simple_query("rows 1").await.unwrap()), 1);
    }
    client.simple_query("commit").await.unwrap();
    tokio::time::sleep(Duration::from_millis(1300)).await;
    client.simple_query("begin").await.unwrap();
    tokio::time::sleep(Duration::from_millis(1300)).await;
    assert!(client.simple_query("rows 1").await.is_err());
}

#[tokio::test]
async fn cancel_requests_end_statements() {
    let server = start(10).await;
    let client = server.connect().await;
    for statement in ["wait", "hang", "wait"] {
        let token = client.cancel_token();
        let cancel = async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            token.cancel_query(NoTls).await.unwrap();
        };
        let (result, ()) = tokio::join!(client.simple_query(statement), cancel);
        assert_eq!(code(&result.unwrap_err()), "57014");
        assert_eq!(rows_of(&client.simple_query("rows 2").await.unwrap()), 2);
    }
}

#[tokio::test]
async fn one_client_too_many() {
    let server = start(1).await;
    let first = server.connect().await;
    assert_eq!(code(&server.try_connect("u").await.unwrap_err()), "53300");
    drop(first);
    for _ in 0..100 {
        if server.try_connect("u").await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the place was not given back");
}

#[tokio::test]
async fn refused_sessions_and_shutdown() {
    let server = start(10).await;
    assert_eq!(code(&server.try_connect("nobody").await.unwrap_err()), "3D000");
    let (idle, busy) = (server.connect().await, server.connect().await);
    let running = tokio::spawn(async move { busy.simple_query("wait").await });
    tokio::time::sleep(Duration::from_millis(30)).await;
    server.stop.send(true).unwrap();
    assert_eq!(code(&running.await.unwrap().unwrap_err()), "57P01");
    server.done.await.unwrap().unwrap();
    assert!(idle.simple_query("rows 1").await.is_err());
}

/// A raw connection after its startup.
async fn raw(server: &TestServer) -> TcpStream {
    let mut socket = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    let mut body = 196_608i32.to_be_bytes().to_vec();
    body.extend_from_slice(b"user\0u\0\0");
    socket.write_all(&(body.len() as i32 + 4).to_be_bytes()).await.unwrap();
    socket.write_all(&body).await.unwrap();
    assert_eq!(exchange(&mut socket, &[]).await.chars().last(), Some('Z'));
    socket
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind];
    message.extend_from_slice(&(body.len() as i32 + 4).to_be_bytes());
    message.extend_from_slice(body);
    message
}

/// Sends messages; returns the types of the answers up to ReadyForQuery, `E` with its SQLSTATE.
async fn exchange(socket: &mut TcpStream, messages: &[Vec<u8>]) -> String {
    socket.write_all(&messages.concat()).await.unwrap();
    let mut kinds = String::new();
    loop {
        let Ok(kind) = socket.read_u8().await else { return kinds };
        let length = socket.read_i32().await.unwrap();
        let mut body = vec![0; length as usize - 4];
        socket.read_exact(&mut body).await.unwrap();
        kinds.push(char::from(kind));
        if kind == b'E' {
            let mut fields = body.split(|b| *b == 0);
            let code = fields.find(|f| f.first() == Some(&b'C')).unwrap();
            kinds.push_str(&String::from_utf8_lossy(&code[1..]));
        }
        if kind == b'Z' {
            return kinds;
        }
    }
}

fn parse(name: &str, sql: &str) -> Vec<u8> {
    message(b'P', format!("{name}\0{sql}\0\0\0").as_bytes())
}

fn bind(portal: &str, statement: &str) -> Vec<u8> {
    message(b'B', format!("{portal}\0{statement}\0\0\0\0\0\0\0").as_bytes())
}

fn execute(portal: &str, rows: u8) -> Vec<u8> {
    message(b'E', &[portal.as_bytes(), &[0, 0, 0, 0, rows]].concat())
}

#[tokio::test]
async fn extended_protocol_by_the_byte() {
    let server = start(10).await;
    let mut socket = raw(&server).await;
    let sync = || message(b'S', b"");
    let ask = async |socket: &mut TcpStream, messages: &[Vec<u8>]| exchange(socket, messages).await;
    let run = [parse("", "rows 3"), bind("", ""), message(b'D', b"P\0"), execute("", 0), sync()];
    assert_eq!(ask(&mut socket, &run).await, "12TDDDCZ");
    let limited = [bind("p", ""), execute("p", 2), execute("p", 2), execute("p", 2), sync()];
    assert_eq!(ask(&mut socket, &limited).await, "2DDsDCCZ");
    assert_eq!(ask(&mut socket, &[execute("p", 0), sync()]).await, "E34000Z");
    assert_eq!(ask(&mut socket, &[bind("", "gone"), execute("", 0), sync()]).await, "E26000Z");
    let failing = [parse("a", "fail"), bind("", "a"), execute("", 0), parse("b", "rows 1"), sync()];
    assert_eq!(ask(&mut socket, &failing).await, "12E22012Z");
    assert_eq!(ask(&mut socket, &[parse("a", "rows 1"), sync()]).await, "E42P05Z");
    assert_eq!(ask(&mut socket, &[message(b'C', b"Sa\0"), parse("a", "rows 1"), sync()]).await, "31Z");
    assert_eq!(ask(&mut socket, &[message(b'D', b"Sa\0"), sync()]).await, "tTZ");
    assert_eq!(ask(&mut socket, &[parse("", ""), bind("", ""), execute("", 0), sync()]).await, "12IZ");
    assert_eq!(ask(&mut socket, &[message(b'B', b"\0a\0\xff\xff"), sync()]).await, "E08P01Z");
    assert_eq!(ask(&mut socket, &[message(b'Q', b"rows \xff\0")]).await, "E22021Z");
    assert_eq!(ask(&mut socket, &[message(b'Q', b" \0")]).await, "IZ");
    assert_eq!(ask(&mut socket, &[message(b'Q', b"set\0")]).await, "CSZ");
    assert_eq!(ask(&mut socket, &[message(b'Q', b"notice\0")]).await, "NCZ");
    assert_eq!(ask(&mut socket, &[message(b'y', b"")]).await, "E08P01");
}

#[tokio::test]
async fn encryption_is_refused() {
    let server = start(10).await;
    let request = [8i32.to_be_bytes(), 80_877_103i32.to_be_bytes()].concat();
    let mut socket = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    socket.write_all(&request).await.unwrap();
    assert_eq!(socket.read_u8().await.unwrap(), b'N');
    let mut socket = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    socket.write_all(&[request.as_slice(), b"stuffed"].concat()).await.unwrap();
    assert_eq!(exchange(&mut socket, &[]).await, "E08P01");
}

#[test]
fn options_are_split() {
    let parsed = super::startup::parse_options(r"-c a=b --search-path=x\ y -cc.d=e").unwrap();
    let expected = [("a", "b"), ("search_path", "x y"), ("c.d", "e")];
    assert_eq!(parsed, expected.map(|(k, v)| (k.to_string(), v.to_string())));
    assert!(super::startup::parse_options("nonsense").is_err());
}
