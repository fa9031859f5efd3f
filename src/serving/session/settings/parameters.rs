//! The parameters: name, default, values, and how a value is checked.

use super::values::{boolean, duration, milliseconds};
use crate::error::{HwError, Result, sqlstate};
use crate::types::text::Zone;

/// Which values a parameter takes.
pub(super) enum Values {
    Text,
    Bool,
    Integer(i64, i64),
    Real(f64, f64),
    /// Of time, 0 for none.
    Duration,
    /// One of these words.
    Words(&'static [&'static str]),
    /// Words, of which only the default is there; PostgreSQL knows the others.
    OnlyDefault(&'static [&'static str]),
    Zone,
    Encoding,
    DateStyle,
    /// Cannot be changed.
    Fixed,
}

pub(super) struct Parameter {
    pub name: &'static str,
    pub default: &'static str,
    pub values: Values,
    pub reported: bool,
    pub description: &'static str,
}

const fn p(
    name: &'static str,
    default: &'static str,
    values: Values,
    description: &'static str,
) -> Parameter {
    Parameter { name, default, values, reported: false, description }
}

const fn reported(
    name: &'static str,
    default: &'static str,
    values: Values,
    description: &'static str,
) -> Parameter {
    Parameter { name, default, values, reported: true, description }
}

/// An offset of a time zone is smaller, as in PostgreSQL.
const ZONE_HOURS_MAX: f64 = 168.0;

const ISOLATIONS: &[&str] = &["read uncommitted", "read committed", "repeatable read", "serializable"];
const MESSAGES: &[&str] =
    &["debug5", "debug4", "debug3", "debug2", "debug1", "debug", "log", "notice", "warning", "error"];

/// All parameters, by name.
pub(super) static PARAMETERS: &[Parameter] = &[
    reported("application_name", "", Values::Text, "Name of the application, for statistics and logs."),
    p(
        "backslash_quote",
        "safe_encoding",
        Values::Words(&["safe_encoding", "on", "off"]),
        "Whether \\' is allowed in string literals.",
    ),
    p("bytea_output", "hex", Values::OnlyDefault(&["hex", "escape"]), "Output format of bytea."),
    p(
        "check_function_bodies",
        "on",
        Values::Bool,
        "Whether bodies of functions are checked when they are created.",
    ),
    reported("client_encoding", "UTF8", Values::Encoding, "Character set of the client."),
    p(
        "client_min_messages",
        "notice",
        Values::Words(MESSAGES),
        "Least severe messages that are sent to the client.",
    ),
    p(
        "cursor_tuple_fraction",
        "0.1",
        Values::Real(0.0, 1.0),
        "Accepted for PostgreSQL clients; has no effect.",
    ),
    reported(
        "DateStyle",
        "ISO, MDY",
        Values::DateStyle,
        "Output format of dates, and order of day and month in input.",
    ),
    p("default_tablespace", "", Values::Text, "Accepted for PostgreSQL clients; has no effect."),
    p("default_table_access_method", "heap", Values::Text, "Accepted for PostgreSQL clients; has no effect."),
    p(
        "default_text_search_config",
        "pg_catalog.simple",
        Values::Text,
        "Accepted for PostgreSQL clients; has no effect.",
    ),
    p(
        "default_transaction_deferrable",
        "off",
        Values::Bool,
        "Accepted for PostgreSQL clients; has no effect.",
    ),
    p(
        "default_transaction_isolation",
        "read committed",
        Values::Words(ISOLATIONS),
        "Isolation of new transactions; all of them read one epoch.",
    ),
    reported("default_transaction_read_only", "off", Values::Bool, "Whether new transactions may not write."),
    p("enable_hashjoin", "on", Values::Bool, "Accepted for PostgreSQL clients; has no effect."),
    p("enable_mergejoin", "on", Values::Bool, "Accepted for PostgreSQL clients; has no effect."),
    p("enable_nestloop", "on", Values::Bool, "Accepted for PostgreSQL clients; has no effect."),
    p("enable_seqscan", "on", Values::Bool, "Accepted for PostgreSQL clients; has no effect."),
    p("escape_string_warning", "on", Values::Bool, "Accepted for PostgreSQL clients; has no effect."),
    p(
        "extra_float_digits",
        "1",
        Values::Integer(-15, 3),
        "Digits of floating-point output; the shortest exact form is used always.",
    ),
    p("geqo", "on", Values::Bool, "Accepted for PostgreSQL clients; has no effect."),
    p(
        "idle_in_transaction_session_timeout",
        "0",
        Values::Duration,
        "Longest wait for a client inside a transaction block.",
    ),
    p(
        "idle_session_timeout",
        "0",
        Values::Duration,
        "Longest wait for a client outside of a transaction block.",
    ),
    reported("in_hot_standby", "off", Values::Fixed, "Whether this is a standby."),
    reported("integer_datetimes", "on", Values::Fixed, "Whether times are integers of microseconds."),
    reported(
        "IntervalStyle",
        "postgres",
        Values::OnlyDefault(&["postgres", "postgres_verbose", "sql_standard", "iso_8601"]),
        "Output format of intervals.",
    ),
    reported("is_superuser", "on", Values::Fixed, "Whether the user may do everything."),
    p("jit", "off", Values::Bool, "Accepted for PostgreSQL clients; has no effect."),
    p("lc_collate", "C", Values::Fixed, "Order of text."),
    p("lc_ctype", "C.UTF-8", Values::Fixed, "Classes of characters."),
    p("lc_messages", "C", Values::Text, "Accepted for PostgreSQL clients; has no effect."),
    p("lc_monetary", "C", Values::Text, "Accepted for PostgreSQL clients; has no effect."),
    p("lc_numeric", "C", Values::Text, "Accepted for PostgreSQL clients; has no effect."),
    p("lc_time", "C", Values::Text, "Accepted for PostgreSQL clients; has no effect."),
    p("lock_timeout", "0", Values::Duration, "Longest wait for the lock of a table."),
    p("log_statement", "none", Values::Text, "Accepted for PostgreSQL clients; has no effect."),
    p("maintenance_work_mem", "64MB", Values::Text, "Accepted for PostgreSQL clients; has no effect."),
    p("max_identifier_length", "63", Values::Fixed, "Longest name in bytes."),
    p("max_index_keys", "32", Values::Fixed, "Most columns of a key."),
    p(
        "max_parallel_workers_per_gather",
        "0",
        Values::Text,
        "Accepted for PostgreSQL clients; has no effect.",
    ),
    p(
        "password_encryption",
        "scram-sha-256",
        Values::Text,
        "Accepted for PostgreSQL clients; has no effect.",
    ),
    p("plan_cache_mode", "auto", Values::Text, "Accepted for PostgreSQL clients; has no effect."),
    p("quote_all_identifiers", "off", Values::Bool, "Accepted for PostgreSQL clients; has no effect."),
    p("random_page_cost", "4", Values::Text, "Accepted for PostgreSQL clients; has no effect."),
    p(
        "read_level",
        "latest",
        Values::OnlyDefault(&["latest", "after", "strict", "complete", "final"]),
        "Which state of the database queries read.",
    ),
    p("read_timeout", "0", Values::Duration, "Longest wait of a read for the session's own writes."),
    p("role", "none", Values::Text, "Accepted for PostgreSQL clients; has no effect."),
    p("row_security", "on", Values::Bool, "Accepted for PostgreSQL clients; has no effect."),
    p("search_path", "\"$user\", public", Values::Text, "Schemas searched for names without one."),
    reported("server_encoding", "UTF8", Values::Fixed, "Character set of the database."),
    reported("server_version", "15.8", Values::Fixed, "Version of PostgreSQL that clients see."),
    p("server_version_num", "150008", Values::Fixed, "Version of PostgreSQL as a number."),
    reported("session_authorization", "headwater", Values::Text, "The session's user."),
    p("session_replication_role", "origin", Values::Text, "Accepted for PostgreSQL clients; has no effect."),
    p("ssl", "off", Values::Fixed, "Whether connections are encrypted."),
    reported(
        "standard_conforming_strings",
        "on",
        Values::OnlyDefault(&["on", "off"]),
        "Whether backslashes in '…' are plain characters.",
    ),
    p("statement_timeout", "0", Values::Duration, "Longest run of a statement."),
    p(
        "share_plans",
        "on",
        Values::Bool,
        "Whether a new view reads the rows of a live one where a part of its query is the same.",
    ),
    p("synchronize_seqscans", "on", Values::Bool, "Accepted for PostgreSQL clients; has no effect."),
    p(
        "synchronous_commit",
        "on",
        Values::Words(&["on", "off", "local", "remote_write", "remote_apply"]),
        "Accepted for PostgreSQL clients; commits are always durable.",
    ),
    p("tcp_keepalives_idle", "0", Values::Text, "Accepted for PostgreSQL clients; has no effect."),
    p("tcp_keepalives_interval", "0", Values::Text, "Accepted for PostgreSQL clients; has no effect."),
    p("temp_buffers", "8MB", Values::Text, "Accepted for PostgreSQL clients; has no effect."),
    reported("TimeZone", "UTC", Values::Zone, "Time zone in which timestamps are printed and read."),
    p("transaction_deferrable", "off", Values::Bool, "Accepted for PostgreSQL clients; has no effect."),
    p(
        "transaction_isolation",
        "read committed",
        Values::Words(ISOLATIONS),
        "Isolation of the transaction; it reads one epoch.",
    ),
    p("transaction_read_only", "off", Values::Bool, "Whether the transaction may not write."),
    p(
        "transform_null_equals",
        "off",
        Values::OnlyDefault(&["off", "on"]),
        "Whether x = NULL means x IS NULL.",
    ),
    p("wal_level", "logical", Values::Fixed, "Accepted for PostgreSQL clients; has no effect."),
    p(
        "unbounded_state",
        "notice",
        Values::Words(&["notice", "refuse"]),
        "Whether a view whose state grows without end is created with a notice, or refused.",
    ),
    p("work_mem", "4MB", Values::Text, "Accepted for PostgreSQL clients; has no effect."),
    p("xmlbinary", "base64", Values::Text, "Accepted for PostgreSQL clients; has no effect."),
    p("xmloption", "content", Values::Text, "Accepted for PostgreSQL clients; has no effect."),
];

impl Parameter {
    pub fn is_fixed(&self) -> bool {
        matches!(self.values, Values::Fixed)
    }

    /// 55P02 if nothing can change it.
    pub fn check_changeable(&self) -> Result<()> {
        if !self.is_fixed() {
            return Ok(());
        }
        let text = format!("parameter \"{}\" cannot be changed", self.name);
        Err(HwError::new(sqlstate::CANT_CHANGE_RUNTIME_PARAM, text))
    }

    /// `pg_settings.vartype`.
    pub fn vartype(&self) -> &'static str {
        match self.values {
            Values::Bool => "bool",
            Values::Integer(..) | Values::Duration => "integer",
            Values::Real(..) => "real",
            Values::Words(_) | Values::OnlyDefault(_) => "enum",
            _ => "string",
        }
    }

    /// The value as SHOW prints it.
    pub fn check(&self, value: &str) -> Result<String> {
        self.check_changeable()?;
        let lower = value.trim().to_lowercase();
        Ok(match &self.values {
            Values::Text | Values::Fixed => value.to_string(),
            Values::Bool => {
                let on = boolean(value).ok_or_else(|| self.invalid("requires a Boolean value"))?;
                if on { "on" } else { "off" }.to_string()
            }
            Values::Integer(least, most) => {
                let n: i64 = lower.parse().map_err(|_| self.invalid_value(value))?;
                if !(*least..=*most).contains(&n) {
                    let text = format!(
                        "{n} is outside the valid range for parameter \"{}\" ({least} .. {most})",
                        self.name
                    );
                    return Err(HwError::new(sqlstate::INVALID_PARAMETER_VALUE, text));
                }
                n.to_string()
            }
            Values::Real(least, most) => {
                let n: f64 = lower.parse().map_err(|_| self.invalid_value(value))?;
                if !(*least..=*most).contains(&n) {
                    return Err(self.invalid_value(value));
                }
                n.to_string()
            }
            Values::Duration => {
                let hint =
                    "Valid units for this parameter are \"us\", \"ms\", \"s\", \"min\", \"h\", and \"d\".";
                duration(milliseconds(value).ok_or_else(|| self.invalid_value(value).with_hint(hint))?)
            }
            Values::Words(words) => self.word(words, &lower, value)?,
            Values::OnlyDefault(words) => {
                let word = match boolean(value).filter(|_| words.contains(&"on")) {
                    Some(on) => if on { "on" } else { "off" }.to_string(),
                    None => self.word(words, &lower, value)?,
                };
                if word != self.default {
                    let hint = format!("Only \"{}\" is available.", self.default);
                    return Err(HwError::unsupported(format!("{} = '{word}'", self.name), hint));
                }
                word
            }
            Values::Zone => self.zone(value)?,
            Values::Encoding => match lower.replace(['-', '_'], "").as_str() {
                "utf8" | "unicode" | "sqlascii" => "UTF8".to_string(),
                _ => {
                    let text = format!("conversion between {} and UTF8 is not supported", value.trim());
                    let hint = "Use client_encoding = 'UTF8'.";
                    return Err(HwError::new(sqlstate::FEATURE_NOT_SUPPORTED, text).with_hint(hint));
                }
            },
            Values::DateStyle => self.date_style(&lower, value)?,
        })
    }

    fn word(&self, words: &[&str], lower: &str, value: &str) -> Result<String> {
        let found = words.iter().find(|w| **w == lower).map(|w| w.to_string());
        let hint = || format!("Available values: {}.", words.join(", "));
        found.ok_or_else(|| self.invalid_value(value).with_hint(hint()))
    }

    fn zone(&self, value: &str) -> Result<String> {
        let name = match value.trim() {
            word if word.eq_ignore_ascii_case("local") || word.eq_ignore_ascii_case("default") => "UTC",
            other => other,
        };
        // A number alone counts hours east of Greenwich; with a name it counts west, as POSIX has it.
        if let Some(hours) = name.parse::<f64>().ok().filter(|hours| hours.abs() < ZONE_HOURS_MAX) {
            return Ok(Zone::Fixed((hours * 3600.0).round() as i32).name());
        }
        Zone::from_name(name).map(|zone| zone.name()).ok_or_else(|| self.invalid_value(value))
    }

    fn date_style(&self, lower: &str, value: &str) -> Result<String> {
        let mut order = "MDY";
        for word in lower.split(',').map(str::trim) {
            match word {
                "iso" | "" | "default" => {}
                "mdy" | "us" | "noneuro" | "noneuropean" => order = "MDY",
                "dmy" | "euro" | "european" => order = "DMY",
                "ymd" => order = "YMD",
                "sql" | "postgres" | "german" => {
                    return Err(HwError::unsupported(
                        format!("DateStyle {word}"),
                        "Only the output style ISO is available.",
                    ));
                }
                _ => return Err(self.invalid_value(value)),
            }
        }
        Ok(format!("ISO, {order}"))
    }

    fn invalid(&self, what: &str) -> HwError {
        HwError::new(sqlstate::INVALID_PARAMETER_VALUE, format!("parameter \"{}\" {what}", self.name))
    }

    fn invalid_value(&self, value: &str) -> HwError {
        let text = format!("invalid value for parameter \"{}\": \"{value}\"", self.name);
        HwError::new(sqlstate::INVALID_PARAMETER_VALUE, text)
    }
}
