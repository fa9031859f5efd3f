//! Who is connected and what runs, for `pg_stat_activity`.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::DATABASE_NAME;
use crate::catalog::system::SessionInfo;
use crate::clock::wall_micros;

/// Longest text of a statement that is shown, in characters.
const QUERY_CHARS_MAX: usize = 1024;

/// The sessions of a server, by process number.
#[derive(Default)]
pub(super) struct Activity(Mutex<BTreeMap<i32, SessionInfo>>);

impl Activity {
    pub fn begin(&self, pid: i32, user: &str, application: &str) {
        let info = SessionInfo {
            pid,
            user: user.to_string(),
            database: DATABASE_NAME.to_string(),
            application_name: application.to_string(),
            backend_start: wall_micros(),
            state: "idle",
            ..SessionInfo::default()
        };
        self.0.lock().insert(pid, info);
    }

    pub fn end(&self, pid: i32) {
        self.0.lock().remove(&pid);
    }

    pub fn rename(&self, pid: i32, application: &str) {
        if let Some(info) = self.0.lock().get_mut(&pid) {
            info.application_name = application.to_string();
        }
    }

    /// A statement begins.
    pub fn start(&self, pid: i32, query: &str) {
        if let Some(info) = self.0.lock().get_mut(&pid) {
            info.state = "active";
            info.query_start = Some(wall_micros());
            info.query = query.chars().take(QUERY_CHARS_MAX).collect();
        }
    }

    pub fn finish(&self, pid: i32, state: &'static str) {
        if let Some(info) = self.0.lock().get_mut(&pid) {
            info.state = state;
        }
    }

    pub fn sessions(&self) -> Vec<SessionInfo> {
        self.0.lock().values().cloned().collect()
    }
}
