//! How change batches travel between the operators and workers of a timely dataflow.
//!
//! [`Batches`] is timely's container: whole change batches, never an empty one; its record
//! count is its number of rows. [`VnodeDistributor`] sends each row to the worker that owns
//! the vnode of its key. Invariant that timely's progress tracking rests on: the rows that
//! leave a distributor are as many as entered it. Between processes a container is a
//! sequence of Arrow IPC streams, one per batch, with the weights as a last column.

use std::io::{Cursor, Write};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use timely::Accountable;
use timely::communication::Push;
use timely::container::NoopBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::channels::pushers::exchange::Distributor;
use timely::dataflow::channels::{ContainerBytes, Message};
use timely::dataflow::operators::generic::Operator as _;
use timely::progress::Stamp;

use crate::types::{ChangeBatch, Weights, hash};

/// Change batches of one time on their way to one operator.
#[derive(Clone, Debug, Default)]
pub struct Batches(Vec<ChangeBatch>);

impl Batches {
    /// Leaves out batches without rows.
    pub fn new(mut batches: Vec<ChangeBatch>) -> Batches {
        batches.retain(|b| !b.is_empty());
        Batches(batches)
    }

    pub fn into_vec(self) -> Vec<ChangeBatch> {
        self.0
    }
}

impl Accountable for Batches {
    fn record_count(&self) -> i64 {
        self.0.iter().map(|b| b.len() as i64).sum()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The worker, out of `workers`, that owns a vnode.
pub fn worker_of_vnode(vnode: u8, workers: usize) -> usize {
    vnode as usize * workers / hash::VNODES as usize
}

/// Sends each row to the worker of the vnode of its key columns; without key columns all
/// rows go to the worker of vnode 0.
pub struct VnodeDistributor {
    key: Vec<usize>,
    /// Reused: row indices per worker.
    indices: Vec<Vec<u32>>,
}

impl VnodeDistributor {
    pub fn new(key: Vec<usize>, workers: usize) -> VnodeDistributor {
        VnodeDistributor { key, indices: vec![Vec::new(); workers] }
    }

    /// Splits one batch; the parts, one per worker, may be empty.
    fn split(&mut self, batch: ChangeBatch) -> Vec<Option<ChangeBatch>> {
        let workers = self.indices.len();
        let mut parts = vec![None; workers];
        if self.key.is_empty() {
            parts[worker_of_vnode(0, workers)] = Some(batch);
            return parts;
        }
        let columns: Vec<_> = self.key.iter().map(|c| batch.rows.column(*c).clone()).collect();
        self.indices.iter_mut().for_each(Vec::clear);
        for (row, vnode) in hash::vnodes(&columns, batch.len()).into_iter().enumerate() {
            self.indices[worker_of_vnode(vnode, workers)].push(row as u32);
        }
        if let Some(only) = self.indices.iter().position(|rows| rows.len() == batch.len()) {
            parts[only] = Some(batch);
            return parts;
        }
        for (part, rows) in parts.iter_mut().zip(&self.indices) {
            if !rows.is_empty() {
                let rows = UInt32Array::from(rows.clone());
                *part = Some(batch.take(&rows).expect("the row indices come from this batch"));
            }
        }
        parts
    }
}

impl Distributor<Batches> for VnodeDistributor {
    fn partition<T: Clone, P: Push<Message<T, Batches>>>(
        &mut self,
        container: &mut Batches,
        stamp: &Stamp<T>,
        pushers: &mut [P],
    ) {
        let mut outgoing: Vec<Vec<ChangeBatch>> = vec![Vec::new(); pushers.len()];
        for batch in std::mem::take(&mut container.0) {
            for (target, part) in outgoing.iter_mut().zip(self.split(batch)) {
                target.extend(part);
            }
        }
        send(outgoing, stamp, pushers);
    }

    /// Nothing is kept back between calls.
    fn flush<T: Clone, P: Push<Message<T, Batches>>>(&mut self, _stamp: &Stamp<T>, _pushers: &mut [P]) {}
}

/// Hands each worker its batches, if it has any.
fn send<T: Clone, P: Push<Message<T, Batches>>>(
    outgoing: Vec<Vec<ChangeBatch>>,
    stamp: &Stamp<T>,
    pushers: &mut [P],
) {
    for (batches, pusher) in outgoing.into_iter().zip(pushers) {
        if !batches.is_empty() {
            Message::push_at(&mut Batches(batches), stamp.clone(), pusher);
        }
    }
}

/// Repeats every batch, once for each worker, in a row: what [`CopyDistributor`] takes. Rows
/// are multiplied before the exchange, because an exchange must neither add nor lose any.
pub fn copies<'scope>(stream: Stream<'scope, u64, Batches>) -> Stream<'scope, u64, Batches> {
    let workers = stream.scope().peers();
    stream.unary::<NoopBuilder<Batches>, _, _, _>(Pipeline, "replicate", move |_, _| {
        move |input, output| {
            input.for_each(|time, batches| {
                let all = std::mem::take(batches).into_vec();
                let repeated = all.into_iter().flat_map(|b| std::iter::repeat_n(b, workers)).collect();
                output.session_with_builder(&time).give_container(&mut Batches::new(repeated));
            });
        }
    })
}

/// Sends the copies that [`copies`] made to one worker each.
pub struct CopyDistributor;

impl Distributor<Batches> for CopyDistributor {
    fn partition<T: Clone, P: Push<Message<T, Batches>>>(
        &mut self,
        container: &mut Batches,
        stamp: &Stamp<T>,
        pushers: &mut [P],
    ) {
        let mut outgoing: Vec<Vec<ChangeBatch>> = vec![Vec::new(); pushers.len()];
        for (copy, batch) in std::mem::take(&mut container.0).into_iter().enumerate() {
            outgoing[copy % pushers.len()].push(batch);
        }
        send(outgoing, stamp, pushers);
    }

    /// Nothing is kept back between calls.
    fn flush<T: Clone, P: Push<Message<T, Batches>>>(&mut self, _stamp: &Stamp<T>, _pushers: &mut [P]) {}
}

const WEIGHT_COLUMN: &str = "weight";
const WEIGHTED: u64 = 1;

/// Layout, in little-endian 8-byte words: number of batches; per batch twice the length of
/// its IPC stream plus 1 if its last column holds the weights; the stream; zeros up to the
/// next multiple of 8.
impl ContainerBytes for Batches {
    fn from_bytes(bytes: timely::bytes::arc::Bytes) -> Self {
        let mut rest: &[u8] = &bytes;
        let count = read_word(&mut rest);
        let batches = (0..count).map(|_| {
            let head = read_word(&mut rest);
            let length = (head >> 1) as usize;
            let batch = decode(&rest[..length], head & WEIGHTED != 0);
            rest = &rest[length.next_multiple_of(8)..];
            batch
        });
        Batches(batches.collect())
    }

    fn length_in_bytes(&self) -> usize {
        8 + self.0.iter().map(|b| 8 + encode(b).len().next_multiple_of(8)).sum::<usize>()
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        let mut all = (self.0.len() as u64).to_le_bytes().to_vec();
        for batch in &self.0 {
            let stream = encode(batch);
            let weighted = matches!(batch.weights, Weights::Each(_)) as u64;
            all.extend_from_slice(&((stream.len() as u64) << 1 | weighted).to_le_bytes());
            all.extend_from_slice(&stream);
            all.resize(all.len().next_multiple_of(8), 0);
        }
        writer.write_all(&all).expect("timely hands out a buffer of length_in_bytes");
    }
}

fn read_word(rest: &mut &[u8]) -> u64 {
    let (word, tail) = rest.split_first_chunk::<8>().expect("a peer of this version wrote whole words");
    *rest = tail;
    u64::from_le_bytes(*word)
}

fn encode(batch: &ChangeBatch) -> Vec<u8> {
    let rows = match &batch.weights {
        Weights::One => batch.rows.clone(),
        Weights::Each(weights) => {
            let schema = batch.rows.schema();
            let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
            fields.push(Arc::new(Field::new(WEIGHT_COLUMN, DataType::Int64, false)));
            let mut columns = batch.rows.columns().to_vec();
            columns.push(Arc::new(weights.clone()));
            let schema = Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()));
            RecordBatch::try_new(schema, columns).expect("one weight per row")
        }
    };
    let mut writer = StreamWriter::try_new(Vec::new(), &rows.schema()).expect("memory takes all writes");
    writer.write(&rows).expect("the batch has the schema it was opened with");
    writer.into_inner().expect("memory takes all writes")
}

fn decode(stream: &[u8], weighted: bool) -> ChangeBatch {
    let mut reader = StreamReader::try_new(Cursor::new(stream), None).expect("a peer wrote an IPC stream");
    let rows = reader.next().expect("a stream holds one batch").expect("a peer wrote an IPC stream");
    if !weighted {
        return ChangeBatch::inserts(rows);
    }
    let last = rows.num_columns() - 1;
    let weights = rows.column(last).as_primitive::<Int64Type>().clone();
    let columns: Vec<usize> = (0..last).collect();
    let rows = rows.project(&columns).expect("the columns before the weights exist");
    debug_assert_eq!(weights.len(), rows.num_rows());
    ChangeBatch { rows, weights: Weights::Each(weights) }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray};

    use super::*;

    fn batch(values: std::ops::Range<i64>) -> ChangeBatch {
        let text: StringArray = values.clone().map(|v| (v % 3 != 0).then(|| format!("row {v}"))).collect();
        let numbers = Int64Array::from_iter_values(values);
        let rows =
            RecordBatch::try_from_iter([("v", Arc::new(numbers) as _), ("t", Arc::new(text) as _)]).unwrap();
        ChangeBatch::inserts(rows)
    }

    #[test]
    fn a_split_keeps_every_row_and_sends_equal_keys_to_one_worker() {
        let weights: Vec<i64> = (0..1000).map(|v| v % 5 - 2).collect();
        let whole = ChangeBatch::new(batch(0..1000).rows, weights.clone());
        let parts = VnodeDistributor::new(vec![0], 3).split(whole.clone());
        assert_eq!(parts.iter().flatten().map(|p| p.len()).sum::<usize>(), 1000);
        for part in parts.iter().flatten() {
            let values = part.rows.column(0).as_primitive::<Int64Type>();
            for row in 0..part.len() {
                assert_eq!(part.weights.get(row), weights[values.value(row) as usize]);
            }
        }
        let again = VnodeDistributor::new(vec![0], 3).split(whole);
        assert_eq!(format!("{parts:?}"), format!("{again:?}"));
        let single = VnodeDistributor::new(vec![], 3).split(batch(0..10));
        assert!(single[0].is_some() && single[1].is_none() && single[2].is_none());
    }

    #[test]
    fn containers_survive_the_wire() {
        let weighted = ChangeBatch::new(batch(5..8).rows, vec![1, -1, 3]);
        let container = Batches::new(vec![batch(0..4), batch(0..0), weighted]);
        let mut bytes = Vec::new();
        container.into_bytes(&mut bytes);
        assert_eq!(bytes.len(), container.length_in_bytes());
        let shared = timely::bytes::arc::BytesMut::from(bytes).freeze();
        let back = Batches::from_bytes(shared);
        assert_eq!(back.record_count(), 7);
        for (a, b) in container.0.iter().zip(&back.0) {
            assert_eq!(a.rows, b.rows);
            assert_eq!(a.weights_vec(), b.weights_vec());
        }
    }
}
