//! The configuration: one flat, typed set of settings.
//!
//! Values come from the defaults, then the TOML file named by `--config`, then `HEADWATER_*`
//! environment variables (`HEADWATER_PG_LISTEN` sets `pg_listen`), then command line flags;
//! later ones win. An unknown setting, a value of the wrong type or out of range is refused
//! with the place it came from. Units stand last in names. Every queue and batch limit of
//! the server is here; a limit is never a constant elsewhere if an operator of a server
//! could want to change it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::error::{HwError, Result, sqlstate};

const ENVIRONMENT_PREFIX: &str = "HEADWATER_";
/// Variables with the prefix that are not settings: the build cache and the log filter.
const ENVIRONMENT_EXCEPTIONS: [&str; 2] = ["HEADWATER_CACHE", "HEADWATER_LOG"];

/// Every setting of a server. [`SETTINGS`] says what each one means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub data_dir: PathBuf,
    pub pg_listen: SocketAddr,
    pub http_listen: SocketAddr,
    pub workers: usize,
    pub manual_clock: bool,
    pub epoch_interval_ms: u64,
    pub epoch_rows_max: usize,
    pub epochs_in_flight_max: usize,
    pub view_lag_max_ms: u64,
    pub intake_rows_max: usize,
    pub chunk_rows_max: usize,
    pub connections_max: usize,
    pub dead_letters_max: usize,
    pub late_rows_max: usize,
    pub late_relation_rows_max: usize,
    pub panes_max: usize,
    pub join_pairs_max: usize,
    pub recursion_rows_max: usize,
    pub recursion_rounds_max: usize,
    pub max_record_bytes: usize,
    pub subscribe_buffer_bytes_max: usize,
    pub query_memory_limit_bytes: usize,
    pub log_format: LogFormat,
    pub log_level: LogLevel,
}

/// How log lines are written to standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

/// The least severe level that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    pub fn name(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// One setting as documented by `headwater config`.
pub struct Setting {
    pub name: &'static str,
    pub meaning: &'static str,
}

const fn setting(name: &'static str, meaning: &'static str) -> Setting {
    Setting { name, meaning }
}

/// All settings, in the order in which they are printed.
pub const SETTINGS: [Setting; 24] = [
    setting("data_dir", "Folder of the catalog, the journal and the local logs; one server at a time."),
    setting("pg_listen", "Address and port of the PostgreSQL protocol."),
    setting("http_listen", "Address and port of /healthz and /metrics."),
    setting("workers", "Dataflow threads, 1 to 256. Default: the number of cores."),
    setting("manual_clock", "The clock stands still and epochs are cut by STEP only; for tests."),
    setting("epoch_interval_ms", "Target time between two cuts while rows arrive."),
    setting("epoch_rows_max", "A cut is made at once when so many rows wait."),
    setting("epochs_in_flight_max", "Epochs that may be cut but not yet published."),
    setting(
        "view_lag_max_ms",
        "A view that holds back an epoch for longer is detached: the others go on, it gets 55000 until it has caught up.",
    ),
    setting("intake_rows_max", "Decoded rows that may wait per source; reading pauses above it."),
    setting("chunk_rows_max", "Rows in one decoded chunk."),
    setting("connections_max", "Client connections; further ones get 53300."),
    setting("dead_letters_max", "Undecodable records kept per source; older ones are dropped."),
    setting("late_rows_max", "Rows too late shown per view in headwater.late_rows; older ones are dropped."),
    setting("late_relation_rows_max", "Rows kept in a relation of LATE DATA TO; older ones are dropped."),
    setting("panes_max", "Panes kept per view for headwater.panes; older ones are dropped."),
    setting(
        "join_pairs_max",
        "Pairs a join may make per epoch and worker; with more its view stops (53400).",
    ),
    setting(
        "recursion_rows_max",
        "Changes a recursive query may make per epoch; with more its view stops (53400).",
    ),
    setting(
        "recursion_rounds_max",
        "Rounds a recursive query may make per epoch; with more its view stops (53400).",
    ),
    setting("max_record_bytes", "A larger record becomes a dead letter."),
    setting("subscribe_buffer_bytes_max", "Changes that may wait for one subscriber before it is closed."),
    setting("query_memory_limit_bytes", "Memory of one ad-hoc query; above it the query gets 53200."),
    setting("log_format", "\"text\" or \"json\"."),
    setting("log_level", "\"error\", \"warn\", \"info\", \"debug\" or \"trace\"; HEADWATER_LOG refines it."),
];

impl Default for Config {
    fn default() -> Self {
        Config {
            data_dir: PathBuf::from("headwater-data"),
            pg_listen: SocketAddr::from(([127, 0, 0, 1], 4577)),
            http_listen: SocketAddr::from(([127, 0, 0, 1], 4578)),
            workers: std::thread::available_parallelism().map_or(1, |cores| cores.get().min(256)),
            manual_clock: false,
            epoch_interval_ms: 10,
            epoch_rows_max: 262_144,
            epochs_in_flight_max: 4,
            view_lag_max_ms: 60_000,
            intake_rows_max: 1_000_000,
            chunk_rows_max: 8_192,
            connections_max: 1_000,
            dead_letters_max: 10_000,
            late_rows_max: 10_000,
            late_relation_rows_max: 1_000_000,
            panes_max: 10_000,
            join_pairs_max: 50_000_000,
            recursion_rows_max: 50_000_000,
            recursion_rounds_max: 100_000,
            max_record_bytes: 16 << 20,
            subscribe_buffer_bytes_max: 64 << 20,
            query_memory_limit_bytes: 1 << 30,
            log_format: LogFormat::Text,
            log_level: LogLevel::Info,
        }
    }
}

impl Config {
    /// Puts the layers together. `environment`: all variables of the process; `flags`: the
    /// settings given on the command line.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: Table,
    ) -> Result<Config> {
        let mut settings = Table::new();
        if let Some(path) = file {
            for (name, value) in read_file(path)? {
                if !is_setting(&name) {
                    return Err(unknown_setting(&name, &format!("file \"{}\"", path.display())));
                }
                settings.insert(name, value);
            }
        }
        for (variable, text) in environment {
            if let Some(name) = setting_of_variable(&variable)? {
                let value = typed_value(&name, &text)?;
                settings.insert(name, value);
            }
        }
        settings.extend(flags);
        let config: Config = settings.try_into().map_err(|e: toml::de::Error| {
            invalid(format!("invalid configuration: {}", e.to_string().trim().replace('\n', " ")))
        })?;
        config.check_ranges()?;
        Ok(config)
    }

    fn check_ranges(&self) -> Result<()> {
        let counts = [
            ("workers", self.workers as u64, 1, 256),
            ("epoch_interval_ms", self.epoch_interval_ms, 1, 60_000),
            ("epoch_rows_max", self.epoch_rows_max as u64, 1, 100_000_000),
            ("epochs_in_flight_max", self.epochs_in_flight_max as u64, 1, 1_000),
            ("view_lag_max_ms", self.view_lag_max_ms, 10, 86_400_000),
            ("intake_rows_max", self.intake_rows_max as u64, 1, 1_000_000_000),
            ("chunk_rows_max", self.chunk_rows_max as u64, 1, 65_536),
            ("connections_max", self.connections_max as u64, 1, 100_000),
            ("dead_letters_max", self.dead_letters_max as u64, 0, 10_000_000),
            ("late_rows_max", self.late_rows_max as u64, 0, 10_000_000),
            ("late_relation_rows_max", self.late_relation_rows_max as u64, 0, 1_000_000_000),
            ("panes_max", self.panes_max as u64, 0, 10_000_000),
            ("join_pairs_max", self.join_pairs_max as u64, 1, u32::MAX as u64),
            ("recursion_rows_max", self.recursion_rows_max as u64, 1, u32::MAX as u64),
            ("recursion_rounds_max", self.recursion_rounds_max as u64, 1, u32::MAX as u64),
            ("max_record_bytes", self.max_record_bytes as u64, 1, 1 << 30),
            ("subscribe_buffer_bytes_max", self.subscribe_buffer_bytes_max as u64, 1 << 16, 1 << 40),
            ("query_memory_limit_bytes", self.query_memory_limit_bytes as u64, 1 << 20, 1 << 50),
        ];
        for (name, value, least, most) in counts {
            if value < least || value > most {
                return Err(invalid(format!("{value} is outside the valid range for setting \"{name}\""))
                    .with_hint(format!("It must be from {least} to {most}.")));
            }
        }
        if self.data_dir.as_os_str().is_empty() {
            return Err(invalid("setting \"data_dir\" must not be empty"));
        }
        Ok(())
    }

    /// The effective configuration as a commented TOML file.
    pub fn to_toml(&self) -> String {
        let values = self.table();
        let mut text =
            String::from("# Headwater configuration. Each setting can also be given as HEADWATER_<NAME>.\n");
        for setting in &SETTINGS {
            if let Some(value) = values.get(setting.name) {
                text.push_str(&format!("\n# {}\n{} = {value}\n", setting.meaning, setting.name));
            }
        }
        text
    }

    fn table(&self) -> Table {
        Table::try_from(self).expect("a flat struct of strings, numbers and flags is a table")
    }
}

fn read_file(path: &Path) -> Result<Table> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|e| {
        HwError::new(sqlstate::UNDEFINED_FILE, format!("could not read configuration file \"{shown}\": {e}"))
    })?;
    text.parse::<Table>()
        .map_err(|e| invalid(format!("configuration file \"{shown}\" is not TOML: {}", e.to_string().trim())))
}

fn is_setting(name: &str) -> bool {
    SETTINGS.iter().any(|setting| setting.name == name)
}

/// The setting that an environment variable stands for, if any.
fn setting_of_variable(variable: &str) -> Result<Option<String>> {
    let Some(name) = variable.strip_prefix(ENVIRONMENT_PREFIX) else {
        return Ok(None);
    };
    if ENVIRONMENT_EXCEPTIONS.contains(&variable) {
        return Ok(None);
    }
    let name = name.to_ascii_lowercase();
    if is_setting(&name) { Ok(Some(name)) } else { Err(unknown_setting(variable, "the environment")) }
}

/// Text of an environment variable as a value of the setting's type.
fn typed_value(name: &str, text: &str) -> Result<Value> {
    let wrong = |expected: &str| {
        invalid(format!("invalid value for {ENVIRONMENT_PREFIX}{}: \"{text}\"", name.to_ascii_uppercase()))
            .with_hint(format!("Write {expected}."))
    };
    match Config::default().table().get(name) {
        Some(Value::Integer(_)) => text.parse().map(Value::Integer).map_err(|_| wrong("a whole number")),
        Some(Value::Boolean(_)) => match text {
            "true" | "on" | "1" => Ok(Value::Boolean(true)),
            "false" | "off" | "0" => Ok(Value::Boolean(false)),
            _ => Err(wrong("true or false")),
        },
        _ => Ok(Value::String(text.to_string())),
    }
}

fn invalid(message: impl Into<String>) -> HwError {
    HwError::new(sqlstate::INVALID_PARAMETER_VALUE, message)
}

fn unknown_setting(name: &str, place: &str) -> HwError {
    let names: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
    invalid(format!("unrecognized setting \"{name}\" in {place}"))
        .with_hint(format!("Valid settings are: {}.", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Vec<(String, String)> {
        variables.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    fn refused(text: &str, variables: &[(&str, &str)], message: &str) {
        let file = file(text);
        let error = Config::load(Some(file.path()), environment(variables), Table::new()).unwrap_err();
        assert_eq!(error.sqlstate(), "22023");
        assert!(error.message().contains(message), "{error}");
    }

    #[test]
    fn every_setting_is_documented_and_printed() {
        let table = Config::default().table();
        let names: Vec<&str> = SETTINGS.iter().map(|s| s.name).collect();
        assert!(table.keys().all(|key| names.contains(&key.as_str())));
        assert_eq!(table.len(), names.len());
        let printed = file(&Config::default().to_toml());
        assert_eq!(Config::load(Some(printed.path()), [], Table::new()).unwrap(), Config::default());
    }

    #[test]
    fn later_layers_win() {
        let file = file("workers = 3\nepoch_interval_ms = 20\nlog_format = \"json\"");
        let variables = [
            ("HEADWATER_WORKERS", "4"),
            ("HEADWATER_MANUAL_CLOCK", "true"),
            ("HEADWATER_LOG", "x"),
            ("HOME", "y"),
        ];
        let flags = Table::from_iter([("workers".to_string(), Value::Integer(5))]);
        let config = Config::load(Some(file.path()), environment(&variables), flags).unwrap();
        assert_eq!((config.workers, config.epoch_interval_ms, config.manual_clock), (5, 20, true));
        assert_eq!(config.log_format, LogFormat::Json);
    }

    #[test]
    fn bad_settings_are_refused_with_their_place() {
        refused("wrokers = 1", &[], "unrecognized setting \"wrokers\" in file");
        refused(
            "",
            &[("HEADWATER_WROKERS", "1")],
            "unrecognized setting \"HEADWATER_WROKERS\" in the environment",
        );
        refused("", &[("HEADWATER_WORKERS", "many")], "invalid value for HEADWATER_WORKERS: \"many\"");
        refused("workers = 0", &[], "0 is outside the valid range for setting \"workers\"");
        refused("workers = \"two\"", &[], "invalid configuration");
        refused("pg_listen = \"nowhere\"", &[], "pg_listen");
        refused("workers =", &[], "is not TOML");
        let error = Config::load(Some(Path::new("/nonexistent/hw.toml")), [], Table::new()).unwrap_err();
        assert_eq!(error.sqlstate(), "58P01");
    }
}
