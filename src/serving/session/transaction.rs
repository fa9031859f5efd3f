//! The transaction of a session: what it reads, what it has written, savepoints.
//!
//! Changes are resolved when a statement makes them, and kept here with the locks of their
//! tables; COMMIT appends them to the log as one record, ROLLBACK forgets them. The first
//! query of a block pins the epoch that all its queries read. Invariant: a lock is held for
//! every table with pending changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use super::Session;
use super::results::command;
use crate::engine::table::Writer;
use crate::error::{HwError, Result, sqlstate};
use crate::serving::pg::api::{Notice, Outcome};
use crate::sql::ast::{Isolation, TransactionModes};
use crate::types::ChangeBatch;
use crate::views::Pin;

/// Whether statements belong together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum BlockKind {
    #[default]
    None,
    /// The statements of one message.
    Implicit,
    /// BEGIN … COMMIT.
    Explicit,
}

#[derive(Default)]
pub(super) struct Transaction {
    kind: BlockKind,
    failed: bool,
    read_only: bool,
    /// What `now()` gives throughout the block.
    pub(super) started: Option<i64>,
    pub(super) pin: Option<Arc<Pin>>,
    pub(super) parts: Vec<(u64, ChangeBatch)>,
    pub(super) locks: BTreeMap<u64, OwnedMutexGuard<Writer>>,
    savepoints: Vec<(String, usize)>,
    /// Definitions were changed, which ROLLBACK does not undo.
    pub(super) defined: bool,
}

impl Transaction {
    pub fn kind(&self) -> BlockKind {
        self.kind
    }

    pub fn is_failed(&self) -> bool {
        self.failed
    }

    pub fn fail(&mut self) {
        self.failed |= self.kind == BlockKind::Explicit;
    }

    /// Changes of one object so far.
    pub fn own(&self, id: u64) -> Vec<ChangeBatch> {
        self.parts.iter().filter(|(of, _)| *of == id).map(|(_, batch)| batch.clone()).collect()
    }

    pub fn has_written(&self, id: u64) -> bool {
        self.parts.iter().any(|(of, _)| *of == id)
    }

    /// Forgets the changes of dropped objects.
    pub fn forget(&mut self, ids: &[u64]) {
        let before: Vec<u64> = self.parts.iter().map(|(id, _)| *id).collect();
        for (_, length) in &mut self.savepoints {
            *length -= before[..*length].iter().filter(|id| ids.contains(id)).count();
        }
        self.parts.retain(|(id, _)| !ids.contains(id));
        self.locks.retain(|id, _| !ids.contains(id));
    }

    fn savepoint(&self, name: &str) -> Result<usize> {
        self.savepoints
            .iter()
            .rposition(|(n, _)| n == name)
            .ok_or_else(|| HwError::new("3B001", format!("savepoint \"{name}\" does not exist")))
    }
}

impl Session {
    pub(super) fn begin(&mut self, kind: BlockKind, modes: TransactionModes) {
        self.settings.begin();
        let read_only =
            modes.read_only.unwrap_or_else(|| self.settings.is_on("default_transaction_read_only"));
        let started = Some(self.database.engine.shared.clock.now().0);
        if self.transaction.kind == BlockKind::None {
            self.transaction = Transaction { started, ..Transaction::default() };
        }
        self.transaction.kind = kind;
        self.transaction.read_only = read_only;
    }

    pub(super) fn begin_statement(&mut self, modes: TransactionModes) -> Result<Outcome> {
        self.check_modes(modes)?;
        if self.transaction.kind == BlockKind::Explicit {
            self.notice(warning(sqlstate::ACTIVE_TRANSACTION, "there is already a transaction in progress"));
        } else {
            self.begin(BlockKind::Explicit, modes);
        }
        Ok(command("BEGIN"))
    }

    fn check_modes(&mut self, modes: TransactionModes) -> Result<()> {
        if modes.isolation == Some(Isolation::Serializable) && modes.read_only != Some(true) {
            // Reads see one epoch and writers lock whole tables: at least as strict.
            return Ok(());
        }
        Ok(())
    }

    pub(super) fn set_transaction(&mut self, session: bool, modes: TransactionModes) -> Result<Outcome> {
        self.check_modes(modes)?;
        match (session, modes.read_only) {
            (true, Some(on)) => {
                let value = if on { "on" } else { "off" };
                self.settings.set("default_transaction_read_only", value, false)?;
            }
            (false, Some(on)) if self.transaction.kind != BlockKind::None => self.transaction.read_only = on,
            _ => {}
        }
        if !session && self.transaction.kind != BlockKind::Explicit {
            let text = "SET TRANSACTION can only be used in transaction blocks";
            self.notice(warning(sqlstate::NO_ACTIVE_TRANSACTION, text));
        }
        Ok(command("SET"))
    }

    pub(super) async fn commit_statement(&mut self, chain: bool) -> Result<Outcome> {
        if self.transaction.kind != BlockKind::Explicit {
            self.no_transaction(chain, "COMMIT AND CHAIN")?;
            if self.transaction.kind == BlockKind::Implicit {
                self.commit().await?;
            }
            return Ok(command("COMMIT"));
        }
        let modes = self.modes();
        let failed = self.transaction.failed;
        if failed {
            self.roll_back();
        } else {
            self.commit().await?;
        }
        if chain {
            self.begin(BlockKind::Explicit, modes);
        }
        Ok(command(if failed { "ROLLBACK" } else { "COMMIT" }))
    }

    pub(super) fn rollback_statement(&mut self, chain: bool) -> Result<Outcome> {
        if self.transaction.kind != BlockKind::Explicit {
            self.no_transaction(chain, "ROLLBACK AND CHAIN")?;
        }
        let modes = self.modes();
        self.roll_back();
        if chain {
            self.begin(BlockKind::Explicit, modes);
        }
        Ok(command("ROLLBACK"))
    }

    fn modes(&self) -> TransactionModes {
        TransactionModes { read_only: Some(self.transaction.read_only), ..TransactionModes::default() }
    }

    fn no_transaction(&mut self, chain: bool, what: &str) -> Result<()> {
        if chain {
            let text = format!("{what} can only be used in transaction blocks");
            return Err(HwError::new(sqlstate::NO_ACTIVE_TRANSACTION, text));
        }
        self.notice(warning(sqlstate::NO_ACTIVE_TRANSACTION, "there is no transaction in progress"));
        Ok(())
    }

    /// Ends the transaction, its changes in the log.
    pub(super) async fn commit(&mut self) -> Result<()> {
        let written = self.flush().await;
        self.transaction = Transaction::default();
        if written.is_err() {
            self.settings.roll_back();
        } else {
            self.settings.commit();
        }
        self.close_block_cursors();
        written
    }

    pub(super) fn roll_back(&mut self) {
        if self.transaction.defined && self.transaction.kind == BlockKind::Explicit {
            let text = "objects created or dropped in this transaction block stay as they are";
            self.notice(Notice::warning(text));
        }
        self.transaction = Transaction::default();
        self.settings.roll_back();
        self.close_block_cursors();
    }

    /// Writes pending changes as one record and lets the locks go.
    pub(super) async fn flush(&mut self) -> Result<()> {
        let parts = std::mem::take(&mut self.transaction.parts);
        let mut locks = std::mem::take(&mut self.transaction.locks);
        self.transaction.savepoints.clear();
        if parts.is_empty() {
            return Ok(());
        }
        let database = Arc::clone(&self.database);
        let logged = parts.clone();
        // The log waits for the disk; the locks are held meanwhile.
        let number = tokio::task::spawn_blocking(move || database.engine.write(parts))
            .await
            .map_err(|e| HwError::internal(format!("the write was not finished: {e}")))??;
        for (id, batch) in logged {
            if let Some(writer) = locks.get_mut(&id) {
                writer.logged(number, batch);
            }
        }
        self.last_write = self.last_write.max(number);
        Ok(())
    }

    /// Takes the writer lock of a table, once per transaction.
    pub(super) async fn lock_table(&mut self, table: &crate::engine::TableHandle) -> Result<()> {
        if !self.transaction.locks.contains_key(&table.id) {
            let patience = self.settings.timeout("lock_timeout");
            let guard = self.limited(async {
                match patience {
                    None => table.lock().await,
                    Some(patience) => {
                        tokio::time::timeout(patience, table.lock()).await.unwrap_or_else(|_| {
                            Err(HwError::new("55P03", "canceling statement due to lock timeout"))
                        })
                    }
                }
            });
            let guard = guard.await?;
            self.transaction.locks.insert(table.id, guard);
        }
        Ok(())
    }

    pub(super) fn savepoint(&mut self, name: String) -> Result<Outcome> {
        self.require_block("SAVEPOINT")?;
        let length = self.transaction.parts.len();
        self.transaction.savepoints.push((name, length));
        Ok(command("SAVEPOINT"))
    }

    pub(super) fn release(&mut self, name: &str) -> Result<Outcome> {
        self.require_block("RELEASE SAVEPOINT")?;
        let at = self.transaction.savepoint(name)?;
        self.transaction.savepoints.truncate(at);
        Ok(command("RELEASE"))
    }

    pub(super) fn rollback_to(&mut self, name: &str) -> Result<Outcome> {
        self.require_block("ROLLBACK TO SAVEPOINT")?;
        let at = self.transaction.savepoint(name)?;
        let length = self.transaction.savepoints[at].1;
        self.transaction.savepoints.truncate(at + 1);
        self.transaction.parts.truncate(length);
        self.transaction.failed = false;
        Ok(command("ROLLBACK"))
    }

    fn require_block(&self, what: &str) -> Result<()> {
        if self.transaction.kind == BlockKind::Explicit {
            return Ok(());
        }
        let text = format!("{what} can only be used in transaction blocks");
        Err(HwError::new(sqlstate::NO_ACTIVE_TRANSACTION, text))
    }

    /// For statements that make an epoch: what came before them in the message is written.
    pub(super) async fn outside_block(&mut self, what: &str) -> Result<()> {
        if self.transaction.kind == BlockKind::Explicit {
            let text = format!("{what} cannot run inside a transaction block");
            return Err(HwError::new(sqlstate::ACTIVE_TRANSACTION, text));
        }
        self.transaction.pin = None;
        self.flush().await
    }

    pub(super) fn refuse_in_read_only(&self, what: &str) -> Result<()> {
        let on = match self.transaction.kind {
            BlockKind::None => self.settings.is_on("default_transaction_read_only"),
            _ => self.transaction.read_only,
        };
        if !on {
            return Ok(());
        }
        let text = format!("cannot execute {what} in a read-only transaction");
        Err(HwError::new(sqlstate::READ_ONLY_TRANSACTION, text))
    }
}

pub(super) fn warning(code: &'static str, text: &str) -> Notice {
    let mut notice = Notice::warning(text);
    notice.report = HwError::new(code, text);
    notice
}
