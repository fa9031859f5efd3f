//! The journal of cuts: what makes the database a deterministic function of its input.
//!
//! An append-only file of records, each `[length u32][crc32 u32][JSON]`. A `Cut` says which
//! rows an epoch took (end offset of every split and of the local log), its processing time
//! and the watermarks that took effect; an `Attach` says at which epoch a view had been
//! hydrated. A cut is synced to disk before its epoch is published. Replaying the records
//! over the same input gives the same views. A torn record at the end (a crash while
//! writing) is cut off on open; a bad record before the end is data corruption.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{HwError, Result, sqlstate};

/// Largest record accepted when reading, in bytes.
const RECORD_BYTES_MAX: usize = 64 << 20;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum JournalRecord {
    Cut(Cut),
    Attach(Attach),
}

/// Everything about an epoch that is not determined by what came before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cut {
    pub epoch: u64,
    /// Processing time, microseconds after the Unix epoch.
    pub now: i64,
    /// Records of the local log with a smaller or equal sequence number belong to this or an
    /// earlier epoch.
    pub log_end: u64,
    /// Sources whose offsets or watermark moved.
    pub sources: Vec<SourceCut>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceCut {
    pub source: u64,
    /// W(E) of the source.
    pub watermark: i64,
    pub splits: Vec<SplitCut>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SplitCut {
    pub split: u32,
    /// One past the last offset taken.
    pub end_offset: i64,
    pub watermark: i64,
    pub idle: bool,
    /// Rows so far that were too far in the future to move the watermark.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skewed_rows: u64,
    /// Offsets so far that were deleted before they were read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: u64,
    /// Clock times since which the watermark has not moved, and since which nothing came.
    #[serde(default)]
    pub since: i64,
    #[serde(default)]
    pub quiet_since: i64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// A view became part of the live set: it holds exactly the rows of the cuts up to `epoch`
/// and, of the sources named, the rows below the offsets given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Attach {
    pub view: u64,
    pub epoch: u64,
    /// Sources that began to be read with this view.
    pub activated: Vec<SourceCut>,
    /// Clock time at which the view began.
    #[serde(default)]
    pub since: i64,
    /// Clock time by which the rows up to `epoch` came to it.
    #[serde(default)]
    pub filled_at: i64,
}

/// The open journal, positioned at its end.
pub struct Journal {
    file: File,
    buffer: Vec<u8>,
}

impl Journal {
    /// Opens or creates the journal and returns its records.
    ///
    /// Errors: XX001 for a damaged record that is not the last.
    pub fn open(path: &Path) -> Result<(Journal, Vec<JournalRecord>)> {
        let (file, payloads) = open_records(path)?;
        let mut records = Vec::with_capacity(payloads.len());
        for payload in payloads {
            records.push(serde_json::from_slice(&payload).map_err(|e| corrupted(path, &e.to_string()))?);
        }
        Ok((Journal { file, buffer: Vec::new() }, records))
    }

    /// Appends and syncs one record.
    pub fn append(&mut self, record: &JournalRecord) -> Result<()> {
        let payload = serde_json::to_vec(record).map_err(|e| HwError::internal(e.to_string()))?;
        self.buffer.clear();
        frame(&payload, &mut self.buffer);
        self.file.write_all(&self.buffer)?;
        self.file.sync_data()?;
        Ok(())
    }
}

/// Appends `[length][crc][payload]` to `out`.
pub(super) fn frame(payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    out.extend_from_slice(payload);
}

/// Opens a file of framed records, cuts off a torn tail, and returns the payloads.
pub(super) fn open_records(path: &Path) -> Result<(File, Vec<Vec<u8>>)> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let (payloads, good) = split_records(path, &bytes)?;
    if good < bytes.len() {
        file.set_len(good as u64)?;
        file.sync_all()?;
    }
    file.seek(SeekFrom::Start(good as u64))?;
    Ok((file, payloads))
}

fn split_records(path: &Path, bytes: &[u8]) -> Result<(Vec<Vec<u8>>, usize)> {
    let mut payloads = Vec::new();
    let mut at = 0;
    while bytes.len() - at >= 8 {
        let word = |i: usize| u32::from_le_bytes([bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]]);
        let (length, crc) = (word(at) as usize, word(at + 4));
        let end = at + 8 + length;
        if length > RECORD_BYTES_MAX || end > bytes.len() {
            break;
        }
        let payload = &bytes[at + 8..end];
        if crc32fast::hash(payload) != crc {
            if end == bytes.len() {
                break;
            }
            return Err(corrupted(path, &format!("checksum mismatch at byte {at}")));
        }
        payloads.push(payload.to_vec());
        at = end;
    }
    Ok((payloads, at))
}

fn corrupted(path: &Path, why: &str) -> HwError {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    HwError::new(sqlstate::DATA_CORRUPTED, format!("file \"{name}\" of the data directory is damaged: {why}"))
        .with_hint("Restore the data directory from a backup, or start with an empty one and create the objects again.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(epoch: u64) -> JournalRecord {
        JournalRecord::Cut(Cut { epoch, now: 5, log_end: epoch, sources: vec![] })
    }

    #[test]
    fn a_torn_tail_is_cut_off_and_damage_inside_is_refused() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("journal");
        let (mut journal, none) = Journal::open(&path).expect("new journal");
        assert!(none.is_empty());
        (1..=3).for_each(|e| journal.append(&cut(e)).expect("append"));
        let whole = std::fs::read(&path).expect("read");
        std::fs::write(&path, &whole[..whole.len() - 3]).expect("tear");
        let (mut journal, records) = Journal::open(&path).expect("torn journal");
        assert_eq!(records, vec![cut(1), cut(2)]);
        journal.append(&cut(4)).expect("append after tear");
        assert_eq!(Journal::open(&path).expect("again").1, vec![cut(1), cut(2), cut(4)]);
        let mut damaged = std::fs::read(&path).expect("read");
        damaged[12] ^= 1;
        std::fs::write(&path, damaged).expect("damage");
        assert_eq!(Journal::open(&path).err().map(|e| e.sqlstate()), Some(sqlstate::DATA_CORRUPTED));
    }
}
