//! The `headwater` program: `server`, `demo`, `sql` and `config`.
//!
//! Only reads the command line and hands over. Exit codes: 0 done, 1 failed while starting
//! or running, 2 wrong command line or configuration.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use headwater::config::Config;
use headwater::error::{HwError, Result};
use headwater::serving::{demo, server, shell};
use toml::{Table, Value};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FAILED: u8 = 1;
const WRONG_CONFIGURATION: u8 = 2;

#[derive(Parser)]
#[command(name = "headwater", version, about = "A SQL streaming database that speaks PostgreSQL's protocol")]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the database server until SIGTERM or Ctrl-C
    Server(Settings),
    /// Show a live view over generated data in the terminal
    Demo {
        #[command(flatten)]
        settings: Settings,
        /// End after so many seconds
        #[arg(long)]
        seconds: Option<u64>,
    },
    /// Type SQL at a running server
    #[command(disable_help_flag = true)]
    Sql {
        #[arg(short = 'h', long, default_value = "127.0.0.1")]
        host: String,
        #[arg(short = 'p', long, default_value_t = 4577)]
        port: u16,
        #[arg(short = 'U', long, default_value = "headwater")]
        user: String,
        #[arg(short = 'd', long, default_value = "headwater")]
        database: String,
        /// Run this SQL and end
        #[arg(short = 'c', long)]
        command: Option<String>,
        /// Print help
        #[arg(long, action = clap::ArgAction::Help)]
        help: Option<bool>,
    },
    /// Print the effective configuration as a TOML file
    Config(Settings),
}

/// Flags that stand above the file and the environment.
#[derive(Args)]
struct Settings {
    /// TOML file with settings; see `headwater config`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder for everything that is kept
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Address of the PostgreSQL protocol
    #[arg(long, value_name = "ADDRESS:PORT")]
    pg_listen: Option<String>,
    /// Address of /healthz and /metrics
    #[arg(long, value_name = "ADDRESS:PORT")]
    http_listen: Option<String>,
    /// Dataflow threads
    #[arg(long, value_name = "N")]
    workers: Option<u32>,
    /// Stop the clock; epochs are cut by STEP (for tests)
    #[arg(long)]
    manual_clock: bool,
}

impl Settings {
    fn load(&self) -> Result<Config> {
        let mut flags = Table::new();
        let texts = [
            ("data_dir", &self.data_dir),
            ("pg_listen", &self.pg_listen),
            ("http_listen", &self.http_listen),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                flags.insert(name.into(), Value::String(text.clone()));
            }
        }
        if let Some(workers) = self.workers {
            flags.insert("workers".into(), Value::Integer(workers.into()));
        }
        if self.manual_clock {
            flags.insert("manual_clock".into(), Value::Boolean(true));
        }
        // A variable that is not Unicode cannot be a setting of ours.
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Config::load(self.config.as_deref(), environment, flags)
    }
}

fn main() -> ExitCode {
    match CommandLine::parse().command {
        Command::Server(settings) => with_config(&settings, server::run),
        Command::Config(settings) => with_config(&settings, |config| {
            print!("{}", config.to_toml());
            Ok(())
        }),
        Command::Demo { settings, seconds } => with_config(&settings, |config| {
            let keep_data = settings.data_dir.is_some();
            demo::run(demo::DemoOptions { config, keep_data, duration: seconds.map(Duration::from_secs) })
        }),
        Command::Sql { host, port, user, database, command, help: _ } => {
            let target = shell::Target { host, port, user, database };
            match shell::run(shell::ShellOptions { target, command }) {
                Ok(true) => ExitCode::SUCCESS,
                Ok(false) => ExitCode::from(FAILED),
                Err(e) => failure(&e, FAILED),
            }
        }
    }
}

fn with_config(settings: &Settings, run: impl FnOnce(Config) -> Result<()>) -> ExitCode {
    match settings.load() {
        Err(e) => failure(&e, WRONG_CONFIGURATION),
        Ok(config) => match run(config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => failure(&e, FAILED),
        },
    }
}

fn failure(error: &HwError, code: u8) -> ExitCode {
    eprintln!("headwater: {}", error.message());
    for (label, text) in [("DETAIL", error.detail()), ("HINT", error.hint())] {
        if let Some(text) = text {
            eprintln!("{label}:  {text}");
        }
    }
    ExitCode::from(code)
}
