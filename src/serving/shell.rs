//! `headwater sql`: an interactive SQL shell for people without psql.
//!
//! Speaks the simple query protocol, so a line may hold several statements and results
//! appear as they arrive. Looks and behaves like psql where both have a feature: prompts,
//! aligned tables, `\timing`, errors with a caret, Ctrl-C cancels the running query.
//! Results go to standard output; errors and notices to standard error.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustyline::error::ReadlineError;
use tokio::runtime::Runtime;

use crate::clock;
use crate::error::{HwError, Result};

mod client;
mod report;
mod statement;
mod table;

pub use client::{Session, Target};
pub use table::Table;

use statement::StatementBuffer;

const HISTORY_ENTRIES_MAX: usize = 1_000;
const HELP: &str = "\
Type SQL; a statement ends with a semicolon and may span lines.
  \\timing [on|off]  show how long each statement takes
  \\q                quit (also Ctrl-D)
  \\?                this text
Ctrl-C cancels the running statement or clears the line.
SHOW SOURCES, SHOW TABLES, SHOW MATERIALIZED VIEWS, SHOW WATERMARKS list what there is.";

/// How the shell was started.
pub struct ShellOptions {
    pub target: Target,
    /// Run this SQL and end, instead of reading statements.
    pub command: Option<String>,
}

/// Runs the shell; true if every statement succeeded.
pub fn run(options: ShellOptions) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let session = runtime.block_on(Session::connect(&options.target))?;
    let mut shell = Shell { runtime, session, timing: false, failed: false };
    match options.command {
        Some(sql) => shell.execute(&sql),
        None if std::io::stdin().is_terminal() => shell.interactive(&options.target)?,
        None => shell.script(std::io::stdin().lock())?,
    }
    Ok(!shell.failed)
}

struct Shell {
    runtime: Runtime,
    session: Session,
    timing: bool,
    failed: bool,
}

/// What to do after a line.
#[derive(PartialEq)]
enum Next {
    Continue,
    Quit,
}

impl Shell {
    fn interactive(&mut self, target: &Target) -> Result<()> {
        let config = rustyline::Config::builder()
            .max_history_size(HISTORY_ENTRIES_MAX)
            .map_err(readline_failed)?
            .auto_add_history(false)
            .build();
        let mut editor = rustyline::DefaultEditor::with_config(config).map_err(readline_failed)?;
        let history = history_file();
        if let Some(path) = &history {
            // The first session has no history yet.
            let _ = editor.load_history(path);
        }
        println!("headwater {} (server {})", env!("CARGO_PKG_VERSION"), self.server_version());
        println!("Type \\? for help.\n");
        let mut buffer = StatementBuffer::default();
        loop {
            let mark = if buffer.is_empty() { "=>" } else { "->" };
            match editor.readline(&format!("{}{mark} ", target.database)) {
                Ok(line) => {
                    let before = buffer.text().to_string();
                    if self.line(&line, &mut buffer) == Next::Quit {
                        break;
                    }
                    if buffer.is_empty() && !line.trim().is_empty() {
                        // Failing to remember a line must not stop the session.
                        let _ = editor.add_history_entry(format!("{before}{line}").trim());
                    }
                }
                Err(ReadlineError::Interrupted) => buffer.clear(),
                Err(ReadlineError::Eof) => break,
                Err(e) => return Err(readline_failed(e)),
            }
        }
        if let Some(path) = &history
            && let Err(e) = editor.save_history(path)
        {
            eprintln!("could not save history to \"{}\": {e}", path.display());
        }
        Ok(())
    }

    /// Statements from a pipe or file.
    fn script(&mut self, input: impl BufRead) -> Result<()> {
        let mut buffer = StatementBuffer::default();
        for line in input.lines() {
            if self.line(&line?, &mut buffer) == Next::Quit {
                return Ok(());
            }
        }
        if let Some(rest) = buffer.take_rest() {
            self.execute(&rest);
        }
        Ok(())
    }

    fn line(&mut self, line: &str, buffer: &mut StatementBuffer) -> Next {
        if buffer.is_empty() && line.trim_start().starts_with('\\') {
            return self.command(line.trim());
        }
        buffer.push_line(line);
        while let Some(statement) = buffer.take_statement() {
            self.execute(&statement);
        }
        Next::Continue
    }

    fn command(&mut self, command: &str) -> Next {
        let mut words = command.trim_end_matches(';').split_whitespace();
        match (words.next().unwrap_or(""), words.next()) {
            ("\\q" | "\\quit", _) => return Next::Quit,
            ("\\?" | "\\h" | "\\help", _) => println!("{HELP}"),
            ("\\timing", setting) => {
                self.timing = match setting {
                    Some("on") => true,
                    Some("off") => false,
                    _ => !self.timing,
                };
                println!("Timing is {}.", if self.timing { "on" } else { "off" });
            }
            (other, _) => {
                eprintln!("invalid command {other}");
                if other.starts_with("\\d") || other.starts_with("\\l") {
                    eprintln!("HINT:  {}", self.session.psql_hint());
                } else {
                    eprintln!("HINT:  Try \\? for help.");
                }
            }
        }
        Next::Continue
    }

    /// Runs one or more statements and prints what comes back.
    fn execute(&mut self, sql: &str) {
        let start = clock::monotonic();
        let session = &mut self.session;
        let result = self.runtime.block_on(session.execute(sql, &mut std::io::stdout()));
        if let Err(report) = result {
            self.failed = true;
            eprint!("{report}");
        }
        if self.timing {
            println!("Time: {}", duration(start));
        }
        // A closed pipe shows at the next write.
        let _ = std::io::stdout().flush();
    }

    fn server_version(&mut self) -> String {
        let shown = self.runtime.block_on(self.session.rows("SHOW server_version"));
        shown.ok().and_then(|table| table.rows.into_iter().flatten().flatten().next()).unwrap_or_default()
    }
}

fn duration(start: Instant) -> String {
    let elapsed: Duration = start.elapsed();
    let millis = elapsed.as_secs_f64() * 1e3;
    match elapsed.as_secs() {
        0 => format!("{millis:.3} ms"),
        seconds => format!("{millis:.3} ms ({:02}:{:02})", seconds / 60, seconds % 60),
    }
}

fn history_file() -> Option<PathBuf> {
    std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".headwater_history"))
}

fn readline_failed(e: ReadlineError) -> HwError {
    HwError::internal(format!("could not read from the terminal: {e}"))
}
