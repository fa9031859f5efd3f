//! A connection of the shell or the demo to a server.

use std::io::Write;
use std::time::Duration;

use futures::{StreamExt, pin_mut};
use tokio_postgres::{AsyncMessage, CancelToken, Client, NoTls, SimpleQueryMessage};

use super::table::Table;
use super::{report, statement};
use crate::error::{HwError, Result, sqlstate};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where to connect.
#[derive(Clone, Debug)]
pub struct Target {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub database: String,
}

/// An open connection. Notices are printed to standard error as they arrive.
pub struct Session {
    client: Client,
    target: Target,
}

impl Session {
    /// Fails with 08001 if nobody listens, or with the server's own refusal.
    pub async fn connect(target: &Target) -> Result<Session> {
        let mut config = tokio_postgres::Config::new();
        config
            .host(&target.host)
            .port(target.port)
            .user(&target.user)
            .dbname(&target.database)
            .application_name("headwater sql")
            .connect_timeout(CONNECT_TIMEOUT);
        // The client library's own limit ends with the TCP handshake.
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, config.connect(NoTls)).await.map_err(|_| {
            HwError::new(
                sqlstate::CANNOT_CONNECT,
                format!("no answer from {}:{} for {CONNECT_TIMEOUT:?}", target.host, target.port),
            )
        })?;
        let (client, connection) = connected.map_err(|e| refused(target, &e))?;
        tokio::spawn(drive(connection));
        Ok(Session { client, target: target.clone() })
    }

    /// Runs SQL and prints each result to `out`. Ctrl-C cancels it. The error is the text
    /// to show.
    pub async fn execute(&mut self, sql: &str, out: &mut dyn Write) -> std::result::Result<(), String> {
        let cancel = self.client.cancel_token();
        let interrupts = tokio::spawn(cancel_on_interrupt(cancel));
        let result = self.print_results(sql, out).await;
        interrupts.abort();
        result
    }

    async fn print_results(&self, sql: &str, out: &mut dyn Write) -> std::result::Result<(), String> {
        let failed = |e: tokio_postgres::Error| report::error_text(&e, sql);
        let unwritable = |e: std::io::Error| format!("ERROR:  could not write the result: {e}\n");
        let stream = self.client.simple_query_raw(sql).await.map_err(failed)?;
        pin_mut!(stream);
        let mut table: Option<Table> = None;
        let mut statements = statement::split(sql).into_iter();
        while let Some(message) = stream.next().await {
            match message.map_err(failed)? {
                SimpleQueryMessage::RowDescription(columns) => {
                    let columns = columns.iter().map(|c| c.name().to_string()).collect();
                    table = Some(Table { columns, rows: Vec::new() });
                }
                SimpleQueryMessage::Row(row) => {
                    if let Some(table) = &mut table {
                        table.rows.push((0..row.len()).map(|i| row.get(i).map(str::to_string)).collect());
                    }
                }
                SimpleQueryMessage::CommandComplete(rows) => {
                    let statement = statements.next().unwrap_or_default();
                    match table.take() {
                        Some(table) => table.write(out).map_err(unwritable)?,
                        None => writeln!(out, "{}", completion(&statement, rows)).map_err(unwritable)?,
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Runs one query and gives its result set, or the server's error.
    pub async fn rows(&self, sql: &str) -> Result<Table> {
        let messages = self.client.simple_query(sql).await.map_err(|e| {
            let state = e.code().map_or(sqlstate::CONNECTION_FAILURE, |_| sqlstate::INTERNAL_ERROR);
            HwError::new(state, report::error_text(&e, sql).trim_end().to_string())
        })?;
        let mut table = Table::default();
        for message in messages {
            match message {
                SimpleQueryMessage::RowDescription(columns) => {
                    table.columns = columns.iter().map(|c| c.name().to_string()).collect();
                }
                SimpleQueryMessage::Row(row) => {
                    table.rows.push((0..row.len()).map(|i| row.get(i).map(str::to_string)).collect());
                }
                _ => {}
            }
        }
        Ok(table)
    }

    /// What to do for psql's catalog commands, which this shell does not have.
    pub fn psql_hint(&self) -> String {
        format!(
            "This is a command of psql: psql -h {} -p {} -U {} {}. Here, use SHOW SOURCES, SHOW TABLES, \
             SHOW VIEWS or SHOW MATERIALIZED VIEWS.",
            self.target.host, self.target.port, self.target.user, self.target.database
        )
    }
}

fn refused(target: &Target, error: &tokio_postgres::Error) -> HwError {
    match error.as_db_error() {
        Some(report) => {
            HwError::new(sqlstate::CANNOT_CONNECT, report::report_text(report, "").trim_end().to_string())
        }
        None => {
            let cause = std::error::Error::source(error).map_or_else(|| error.to_string(), |e| e.to_string());
            HwError::new(
                sqlstate::CANNOT_CONNECT,
                format!("could not connect to {}:{}: {cause}", target.host, target.port),
            )
            .with_hint("Is the server running? Start it with: headwater server")
        }
    }
}

/// Moves messages of the connection and prints notices until the connection ends.
async fn drive<S, T>(mut connection: tokio_postgres::Connection<S, T>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut messages = futures::stream::poll_fn(move |cx| connection.poll_message(cx));
    while let Some(Ok(message)) = messages.next().await {
        if let AsyncMessage::Notice(notice) = message {
            eprint!("{}", report::report_text(&notice, ""));
        }
    }
}

async fn cancel_on_interrupt(cancel: CancelToken) {
    while tokio::signal::ctrl_c().await.is_ok() {
        if cancel.cancel_query(NoTls).await.is_ok() {
            eprintln!("Cancel request sent");
        }
    }
}

/// What to print for a statement without a result set: its first words, as the protocol's
/// tag, which the client library does not hand out.
fn completion(sql: &str, rows: u64) -> String {
    let words: Vec<String> = sql
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
        .take(3)
        .map(str::to_uppercase)
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["CREATE" | "DROP" | "ALTER", "MATERIALIZED", kind] => format!("{} MATERIALIZED {kind}", words[0]),
        [verb @ ("CREATE" | "DROP" | "ALTER" | "ADVANCE"), kind, ..] => format!("{verb} {kind}"),
        [verb @ ("INSERT" | "UPDATE" | "DELETE"), ..] => format!("{verb} {rows}"),
        [verb, ..] => verb.to_string(),
        [] => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::completion;

    #[test]
    fn completions_name_the_statement() {
        assert_eq!(completion("create source s (a int) with (x = 1);", 0), "CREATE SOURCE");
        assert_eq!(completion("drop materialized view v", 0), "DROP MATERIALIZED VIEW");
        assert_eq!(completion("insert into t values (1)", 3), "INSERT 3");
        assert_eq!(completion("set x = 1", 0), "SET");
        assert_eq!(completion(";", 0), "");
    }
}
