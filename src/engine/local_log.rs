//! The local log: input that cannot be read again, and the write-ahead log of tables.
//!
//! One append-only file for the database. A record is one transaction: for each relation
//! written, rows with weights as an Arrow IPC stream (the weight is the last column). Its
//! sequence number is its position, from 1. A write is acknowledged once its record is
//! synced; cuts take records in order by number (`Cut::log_end`). Framing as in `journal`.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use parking_lot::Mutex;

use super::journal::{frame, open_records};
use crate::error::{HwError, Result};
use crate::types::{ChangeBatch, Weights};

const WEIGHT: &str = "headwater.weight";

/// One durable transaction.
#[derive(Clone, Debug)]
pub struct LogRecord {
    pub number: u64,
    /// Changes by relation.
    pub parts: Vec<(u64, ChangeBatch)>,
}

pub struct LocalLog {
    path: PathBuf,
    inner: Mutex<Tail>,
}

struct Tail {
    file: File,
    last: u64,
    /// Records that no cut has taken yet.
    pending: VecDeque<Arc<LogRecord>>,
    failed: Option<HwError>,
}

impl LocalLog {
    /// Opens the log; every record becomes pending, to be taken by replayed or new cuts.
    pub fn open(path: &Path) -> Result<LocalLog> {
        let (file, payloads) = open_records(path)?;
        let mut pending = VecDeque::with_capacity(payloads.len());
        for (i, payload) in payloads.iter().enumerate() {
            pending.push_back(Arc::new(LogRecord { number: i as u64 + 1, parts: decode(payload)? }));
        }
        let last = pending.len() as u64;
        Ok(LocalLog {
            path: path.to_path_buf(),
            inner: Mutex::new(Tail { file, last, pending, failed: None }),
        })
    }

    /// Appends one transaction and syncs it; returns its number. After a failed write the
    /// log takes no more: what the file holds is then unknown until a restart reads it.
    pub fn append(&self, parts: Vec<(u64, ChangeBatch)>) -> Result<u64> {
        let mut bytes = Vec::new();
        frame(&encode(&parts)?, &mut bytes);
        let mut tail = self.inner.lock();
        if let Some(e) = &tail.failed {
            return Err(e.clone());
        }
        let written = tail.file.write_all(&bytes).and_then(|()| tail.file.sync_data());
        if let Err(e) = written {
            let e = HwError::from(e).with_hint("The server must be restarted before it takes writes again.");
            tail.failed = Some(e.clone());
            return Err(e);
        }
        tail.last += 1;
        let number = tail.last;
        tail.pending.push_back(Arc::new(LogRecord { number, parts }));
        Ok(number)
    }

    /// Takes pending records in order, while their number is at most `up_to` and their rows
    /// together at most `rows_max` (at least one record).
    pub fn take(&self, up_to: u64, rows_max: usize) -> Vec<Arc<LogRecord>> {
        let mut tail = self.inner.lock();
        let mut taken = Vec::new();
        let mut rows = 0;
        while let Some(first) = tail.pending.front() {
            let n: usize = first.parts.iter().map(|(_, b)| b.len()).sum();
            if first.number > up_to || (!taken.is_empty() && rows + n > rows_max) {
                break;
            }
            rows += n;
            taken.extend(tail.pending.pop_front());
        }
        taken
    }

    pub fn has_pending(&self) -> bool {
        !self.inner.lock().pending.is_empty()
    }

    /// Number of the newest record.
    pub fn last(&self) -> u64 {
        self.inner.lock().last
    }

    /// Reads back the changes of some relations in records up to `up_to`, from the file.
    pub fn read_back(&self, relations: &[u64], up_to: u64) -> Result<HashMap<u64, Vec<ChangeBatch>>> {
        let mut found: HashMap<u64, Vec<ChangeBatch>> = HashMap::new();
        if relations.is_empty() {
            return Ok(found);
        }
        let bytes = std::fs::read(&self.path)?;
        let mut at = 0;
        let mut number = 0;
        while bytes.len() - at >= 8 && number < up_to {
            let length =
                u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize;
            if at + 8 + length > bytes.len() {
                break;
            }
            for (relation, batch) in decode(&bytes[at + 8..at + 8 + length])? {
                if relations.contains(&relation) {
                    found.entry(relation).or_default().push(batch);
                }
            }
            at += 8 + length;
            number += 1;
        }
        Ok(found)
    }
}

fn encode(parts: &[(u64, ChangeBatch)]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    out.extend_from_slice(&(parts.len() as u32).to_le_bytes());
    for (relation, batch) in parts {
        let mut fields: Vec<_> = batch.schema().fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(WEIGHT, DataType::Int64, false)));
        let mut columns = batch.rows.columns().to_vec();
        columns.push(Arc::new(Int64Array::from(batch.weights_vec())));
        let schema = Arc::new(Schema::new(fields));
        let rows = RecordBatch::try_new(Arc::clone(&schema), columns)?;
        let mut body = Vec::new();
        let mut writer = StreamWriter::try_new(&mut body, &schema)?;
        writer.write(&rows)?;
        writer.finish()?;
        drop(writer);
        out.extend_from_slice(&relation.to_le_bytes());
        out.extend_from_slice(&(body.len() as u32).to_le_bytes());
        out.extend_from_slice(&body);
    }
    Ok(out)
}

fn decode(payload: &[u8]) -> Result<Vec<(u64, ChangeBatch)>> {
    let torn =
        || HwError::new(crate::error::sqlstate::DATA_CORRUPTED, "a record of the local log is malformed");
    let mut rest = payload;
    let mut take = |n: usize| -> Result<&[u8]> {
        if rest.len() < n {
            return Err(torn());
        }
        let (head, tail) = rest.split_at(n);
        rest = tail;
        Ok(head)
    };
    let count = u32::from_le_bytes(take(4)?.try_into().map_err(|_| torn())?);
    let mut parts = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let relation = u64::from_le_bytes(take(8)?.try_into().map_err(|_| torn())?);
        let length = u32::from_le_bytes(take(4)?.try_into().map_err(|_| torn())?) as usize;
        let reader = StreamReader::try_new(take(length)?, None)?;
        for batch in reader {
            parts.push((relation, split_weight(batch?)?));
        }
    }
    Ok(parts)
}

fn split_weight(mut batch: RecordBatch) -> Result<ChangeBatch> {
    let weights = batch.remove_column(batch.num_columns() - 1);
    let weights = weights.as_primitive::<Int64Type>().clone();
    if weights.values().iter().all(|w| *w == 1) {
        return Ok(ChangeBatch::inserts(batch));
    }
    Ok(ChangeBatch { rows: batch, weights: Weights::Each(weights) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(values: &[i64], weights: &[i64]) -> ChangeBatch {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
        let rows =
            RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(values.to_vec()))]).expect("batch");
        ChangeBatch::new(rows, weights.to_vec())
    }

    #[test]
    fn records_survive_reopening_in_order() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("log");
        let log = LocalLog::open(&path).expect("open");
        assert_eq!(log.append(vec![(7, batch(&[1, 2], &[1, 1]))]).expect("append"), 1);
        assert_eq!(log.append(vec![(7, batch(&[1], &[-1])), (8, batch(&[5], &[1]))]).expect("append"), 2);
        drop(log);
        let log = LocalLog::open(&path).expect("reopen");
        let first = log.take(1, usize::MAX);
        assert_eq!(first.len(), 1);
        assert!(log.has_pending());
        let second = log.take(u64::MAX, usize::MAX);
        assert_eq!(second[0].parts[0].1.weights_vec(), vec![-1]);
        assert_eq!(second[0].parts[1].0, 8);
        let back = log.read_back(&[7], 2).expect("read back");
        assert_eq!(back[&7].iter().map(|b| b.len()).sum::<usize>(), 3);
        assert_eq!(log.last(), 2);
    }
}
