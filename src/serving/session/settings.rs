//! Run-time parameters of a session: SET, SHOW, RESET, and what clients hear of them.
//!
//! [`PARAMETERS`] is the whole list; a value is checked and brought to the form that SHOW
//! prints when it is set. SET LOCAL holds until the end of the transaction; ROLLBACK takes
//! every change of the transaction back. Unknown names are 42704, except names with a dot,
//! which PostgreSQL keeps for extensions and so do we.

mod parameters;
mod values;

use std::collections::BTreeMap;

use parameters::{PARAMETERS, Parameter};

use crate::catalog::suggest::did_you_mean;
use crate::catalog::system::SettingInfo;
use crate::error::{HwError, Result, sqlstate};
use crate::serving::pg::api::Severity;
use crate::types::text::{DateOrder, Zone};

/// A change that a function asked for.
#[derive(Clone, Debug)]
pub(in crate::serving::session) struct SettingChange {
    pub name: String,
    pub value: String,
    pub local: bool,
}

/// Least severe notices that a client wants.
#[derive(Clone, Copy)]
pub(in crate::serving::session) struct LeastSeverity(u8);

impl LeastSeverity {
    pub fn shows(self, severity: Severity) -> bool {
        let rank = match severity {
            Severity::Debug => 0,
            Severity::Log => 1,
            Severity::Notice => 2,
            Severity::Warning => 3,
            Severity::Info => u8::MAX,
        };
        rank >= self.0
    }
}

/// The settings of one session.
#[derive(Clone, Debug, Default)]
pub(in crate::serving::session) struct Settings {
    /// Values that the client gave when it connected: what RESET goes back to.
    start: BTreeMap<String, String>,
    session: BTreeMap<String, String>,
    local: BTreeMap<String, String>,
    before_transaction: Option<BTreeMap<String, String>>,
    /// What clients were told last, by name.
    told: BTreeMap<String, String>,
    version: u64,
}

fn find(name: &str) -> Option<&'static Parameter> {
    PARAMETERS.iter().find(|p| p.name.eq_ignore_ascii_case(name))
}

fn unknown(name: &str) -> HwError {
    let error =
        HwError::new(sqlstate::UNDEFINED_OBJECT, format!("unrecognized configuration parameter \"{name}\""));
    match did_you_mean(name, PARAMETERS.iter().map(|p| p.name)) {
        Some(meant) => error.with_hint(format!("Perhaps you meant \"{meant}\".")),
        None => error,
    }
}

/// The name under which a value is kept, and the value as SHOW prints it.
pub(in crate::serving::session) fn canonical(name: &str, value: &str) -> Result<(String, String)> {
    match find(name) {
        Some(parameter) => Ok((parameter.name.to_lowercase(), parameter.check(value)?)),
        None if name.contains('.') => Ok((name.to_lowercase(), value.to_string())),
        None => Err(unknown(name)),
    }
}

impl Settings {
    /// A value from the startup message.
    pub fn set_at_start(&mut self, name: &str, value: &str) -> Result<()> {
        let (key, value) = canonical(name, value)?;
        self.start.insert(key, value);
        self.version += 1;
        Ok(())
    }

    /// Sets a value; returns it as SHOW prints it.
    pub fn set(&mut self, name: &str, value: &str, local: bool) -> Result<String> {
        let (key, value) = canonical(name, value)?;
        self.version += 1;
        if local {
            self.local.insert(key, value.clone());
        } else {
            self.local.remove(&key);
            self.session.insert(key, value.clone());
        }
        Ok(value)
    }

    /// Back to the value at the start of the session.
    pub fn reset(&mut self, name: &str) -> Result<()> {
        let parameter = find(name);
        if parameter.is_none() && !name.contains('.') {
            return Err(unknown(name));
        }
        if let Some(parameter) = parameter {
            parameter.check_changeable()?;
        }
        self.version += 1;
        let key = name.to_lowercase();
        self.local.remove(&key);
        self.session.remove(&key);
        Ok(())
    }

    pub fn reset_all(&mut self) {
        self.version += 1;
        self.local.clear();
        self.session.clear();
    }

    /// The present value; empty for names that are not known.
    pub fn get(&self, name: &str) -> &str {
        self.lookup(name).unwrap_or_default()
    }

    fn lookup(&self, name: &str) -> Option<&str> {
        let key = name.to_lowercase();
        let kept = self.local.get(&key).or_else(|| self.session.get(&key)).or_else(|| self.start.get(&key));
        kept.map(String::as_str).or_else(|| find(name).map(|p| p.default))
    }

    /// The canonical name and the present value, for SHOW.
    pub fn show(&self, name: &str) -> Result<(String, String)> {
        let value = self.lookup(name).ok_or_else(|| unknown(name))?.to_string();
        Ok((find(name).map_or_else(|| name.to_string(), |p| p.name.to_string()), value))
    }

    /// Name, value and description of every parameter.
    pub fn all(&self) -> Vec<(String, String, String)> {
        let row =
            |p: &Parameter| (p.name.to_string(), self.get(p.name).to_string(), p.description.to_string());
        PARAMETERS.iter().map(row).collect()
    }

    /// All values by lower-case name.
    pub fn values(&self) -> BTreeMap<String, String> {
        let mut all: BTreeMap<String, String> =
            PARAMETERS.iter().map(|p| (p.name.to_lowercase(), p.default.to_string())).collect();
        for layer in [&self.start, &self.session, &self.local] {
            all.extend(layer.iter().map(|(k, v)| (k.clone(), v.clone())));
        }
        all
    }

    /// For `pg_settings`.
    pub fn infos(&self) -> Vec<SettingInfo> {
        let info = |p: &Parameter| SettingInfo {
            name: p.name.to_string(),
            value: self.get(p.name).to_string(),
            default_value: p.default.to_string(),
            description: p.description.to_string(),
            category: "Client Connection Defaults".to_string(),
            context: if p.is_fixed() { "internal" } else { "user" },
            vartype: p.vartype(),
            unit: None,
        };
        PARAMETERS.iter().map(info).collect()
    }

    pub fn begin(&mut self) {
        if self.before_transaction.is_none() {
            self.before_transaction = Some(self.session.clone());
        }
    }

    pub fn commit(&mut self) {
        self.before_transaction = None;
        self.version += 1;
        self.local.clear();
    }

    pub fn roll_back(&mut self) {
        if let Some(before) = self.before_transaction.take() {
            self.session = before;
        }
        self.version += 1;
        self.local.clear();
    }

    /// The parameters that clients are told of, with their values.
    pub fn reported(&self) -> Vec<(String, String)> {
        let reported = PARAMETERS.iter().filter(|p| p.reported);
        reported.map(|p| (p.name.to_string(), self.get(p.name).to_string())).collect()
    }

    /// Reported parameters that changed since the last call.
    pub fn take_changes(&mut self) -> Vec<(String, String)> {
        if self.version == 0 {
            return Vec::new();
        }
        self.version = 0;
        let now = self.reported();
        let default = |name: &str| find(name).map_or("", |p| p.default).to_string();
        let changed: Vec<(String, String)> = (now.into_iter())
            .filter(|(name, value)| self.told.get(name).cloned().unwrap_or_else(|| default(name)) != *value)
            .collect();
        self.told.extend(changed.iter().cloned());
        changed
    }

    pub fn is_on(&self, name: &str) -> bool {
        self.get(name) == "on"
    }

    /// Schemas searched for unqualified names; the system's own are left out.
    pub fn search_path(&self, user: &str) -> Vec<String> {
        let path = values::split_list(self.get("search_path"));
        let path = path.into_iter().map(|s| if s == "$user" { user.to_string() } else { s });
        path.filter(|s| s != "pg_catalog" && !s.is_empty()).collect()
    }

    pub fn zone(&self) -> Zone {
        Zone::from_name(self.get("TimeZone")).unwrap_or_default()
    }

    pub fn date_order(&self) -> DateOrder {
        match self.get("DateStyle").rsplit(' ').next() {
            Some("DMY") => DateOrder::Dmy,
            Some("YMD") => DateOrder::Ymd,
            _ => DateOrder::Mdy,
        }
    }

    /// A duration parameter, unless it is 0, which means none.
    pub fn timeout(&self, name: &str) -> Option<std::time::Duration> {
        values::milliseconds(self.get(name)).filter(|ms| *ms > 0).map(std::time::Duration::from_millis)
    }

    pub fn client_min_messages(&self) -> LeastSeverity {
        LeastSeverity(match self.get("client_min_messages") {
            "error" => 4,
            "warning" => 3,
            "notice" => 2,
            "log" => 1,
            _ => 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked_and_normalised() {
        let mut s = Settings::default();
        assert_eq!(s.set("timezone", "Europe/Berlin", false).unwrap(), "Europe/Berlin");
        assert_eq!(s.get("TimeZone"), "Europe/Berlin");
        assert_eq!(s.set("statement_timeout", "1500", false).unwrap(), "1500ms");
        assert_eq!(s.set("statement_timeout", "2s", false).unwrap(), "2s");
        assert_eq!(s.timeout("statement_timeout"), Some(std::time::Duration::from_secs(2)));
        assert_eq!(s.set("default_transaction_read_only", "TRUE", false).unwrap(), "on");
        assert_eq!(s.set("client_encoding", "utf-8", false).unwrap(), "UTF8");
        assert_eq!(s.set("datestyle", "iso, dmy", false).unwrap(), "ISO, DMY");
        let refused =
            |name: &str, value: &str| Settings::default().set(name, value, false).unwrap_err().sqlstate();
        assert_eq!(refused("TimeZone", "Mars/Olympus"), "22023");
        assert_eq!(refused("statement_timeout", "soon"), "22023");
        assert_eq!(refused("server_version", "16"), "55P02");
        assert_eq!(refused("read_level", "strict"), "0A000");
        assert_eq!(refused("bytea_output", "escape"), "0A000");
        let error = Settings::default().set("serch_path", "x", false).unwrap_err();
        assert_eq!(error.sqlstate(), "42704");
        assert_eq!(error.hint(), Some("Perhaps you meant \"search_path\"."));
    }

    #[test]
    fn transactions_take_changes_back() {
        let mut s = Settings::default();
        s.set("application_name", "a", false).unwrap();
        s.begin();
        s.set("application_name", "b", false).unwrap();
        s.set("TimeZone", "Asia/Tokyo", true).unwrap();
        assert_eq!((s.get("application_name"), s.get("TimeZone")), ("b", "Asia/Tokyo"));
        s.roll_back();
        assert_eq!((s.get("application_name"), s.get("TimeZone")), ("a", "UTC"));
        s.begin();
        s.set("TimeZone", "Asia/Tokyo", true).unwrap();
        s.commit();
        assert_eq!(s.get("TimeZone"), "UTC");
    }

    #[test]
    fn only_changes_are_reported() {
        let mut s = Settings::default();
        assert!(s.take_changes().is_empty());
        s.set("application_name", "x", false).unwrap();
        s.set("statement_timeout", "5s", false).unwrap();
        assert_eq!(s.take_changes(), vec![("application_name".to_string(), "x".to_string())]);
        assert!(s.take_changes().is_empty());
        s.reset("application_name").unwrap();
        assert_eq!(s.take_changes(), vec![("application_name".to_string(), String::new())]);
    }

    #[test]
    fn search_path_is_split() {
        let mut s = Settings::default();
        assert_eq!(s.search_path("u"), ["u", "public"]);
        s.set("search_path", "a, \"B c\", pg_catalog", false).unwrap();
        assert_eq!(s.search_path("u"), ["a", "B c"]);
    }
}
