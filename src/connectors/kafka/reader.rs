//! Reads the partitions of one topic.
//!
//! In: librdkafka's events (its own threads fetch ahead, bounded by
//! `queued.max.messages.kbytes`). Out: chunks that cover each partition without holes: a
//! chunk starts where the one before ended, and offsets that carry no record (compaction,
//! control records, aborted transactions) lie inside. A poll waits for the first event only
//! and then takes what is there without waiting, up to `chunk_rows_max` records or
//! [`POLL_BYTES_MAX`]. An unbounded reader reads every partition of the topic, those not
//! named in the request from offset 0.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::chunk::ChunkBuilder;
use super::client;
use super::monitor::{Monitor, News};
use super::options::{DataLoss, KafkaOptions};
use super::queue::{Event, Queue, Record, topic_name};
use crate::clock;
use crate::connectors::{DecodedChunk, ReadRequest, ReaderState, SourceReader, SplitId, SplitStatus};
use crate::error::{HwError, Result, sqlstate};

/// Bytes of records taken in one poll.
const POLL_BYTES_MAX: usize = 64 << 20;
/// Wait for the broker's offsets when one of ours is out of range.
const RANGE_WAIT: Duration = Duration::from_secs(5);
/// librdkafka assigns partitions only to members of a group; the group is never used.
const GROUP: &str = "headwater";

/// One partition being read.
struct Split {
    chunk: ChunkBuilder,
    /// First offset that no chunk has covered.
    start_offset: i64,
    /// One past the last offset seen.
    position: i64,
    stop_offset: Option<i64>,
    /// The broker had nothing after `position` when it last answered.
    at_end: bool,
    finished: bool,
    /// Listed in `KafkaReader::touched`.
    touched: bool,
}

/// Reads the splits of a Kafka source.
pub struct KafkaReader {
    options: KafkaOptions,
    topic: CString,
    request: ReadRequest,
    splits: BTreeMap<i32, Split>,
    /// Partitions with something to hand on.
    touched: Vec<i32>,
    paused: BTreeSet<i32>,
    bounded: bool,
    state: ReaderState,
    last_error: Option<String>,
    // Dropped in this order: the queue before the client that it belongs to.
    monitor: Option<Monitor>,
    queue: Queue,
    consumer: Arc<BaseConsumer>,
}

impl KafkaReader {
    /// Starts fetching; does not wait for the broker.
    pub fn open(options: &KafkaOptions, request: ReadRequest) -> Result<KafkaReader> {
        let mut config = options.client_config();
        if config.get("group.id").is_none() {
            config.set("group.id", GROUP);
        }
        let consumer = client::connect(&config)?;
        let queue = Queue::of_consumer(&consumer)?;
        let bounded = !request.splits.is_empty() && request.splits.iter().all(|s| s.end_offset.is_some());
        let mut reader = KafkaReader {
            topic: topic_name(&options.topic)?,
            options: options.clone(),
            splits: BTreeMap::new(),
            touched: Vec::new(),
            paused: BTreeSet::new(),
            bounded,
            state: ReaderState::Running,
            last_error: None,
            monitor: Some(Monitor::start(consumer.clone(), options.topic.clone())?),
            queue,
            consumer,
            request,
        };
        let mut starts = Vec::new();
        for range in reader.request.splits.clone() {
            let partition = i32::try_from(range.split)
                .map_err(|_| HwError::internal(format!("split {} is no Kafka partition", range.split)))?;
            reader.add_split(partition, range.start_offset, range.end_offset)?;
            if range.end_offset.is_none_or(|end| end > range.start_offset) {
                starts.push((partition, Offset::Offset(range.start_offset)));
            }
        }
        reader.assign(&starts)?;
        Ok(reader)
    }

    fn add_split(&mut self, partition: i32, start_offset: i64, stop_offset: Option<i64>) -> Result<()> {
        let split = Split {
            chunk: ChunkBuilder::new(&self.options, &self.request.schema, &self.request.checked)?,
            start_offset,
            position: start_offset,
            stop_offset,
            at_end: false,
            finished: stop_offset.is_some_and(|stop| stop <= start_offset),
            touched: false,
        };
        self.splits.insert(partition, split);
        Ok(())
    }

    fn partition_list(&self, partitions: &[(i32, Offset)]) -> Result<TopicPartitionList> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for (partition, offset) in partitions {
            let added = list.add_partition_offset(&self.options.topic, *partition, *offset);
            added.map_err(|e| HwError::internal(e.to_string()))?;
        }
        Ok(list)
    }

    fn assign(&self, starts: &[(i32, Offset)]) -> Result<()> {
        if starts.is_empty() {
            return Ok(());
        }
        let list = self.partition_list(starts)?;
        self.consumer.incremental_assign(&list).map_err(|e| HwError::internal(e.to_string()))
    }

    fn fail(&mut self, e: HwError) {
        if !matches!(self.state, ReaderState::Failed(_)) {
            self.state = ReaderState::Failed(e);
        }
    }

    fn reconnecting(&mut self, text: String) {
        if !matches!(self.state, ReaderState::Failed(_)) {
            self.state = ReaderState::Reconnecting(text);
        }
    }

    fn reconnected(&mut self) {
        if matches!(self.state, ReaderState::Reconnecting(_)) {
            self.state = ReaderState::Running;
            self.last_error = None;
        }
    }

    fn hear_news(&mut self) -> Result<()> {
        let Some(news) = self.monitor.as_ref().and_then(Monitor::news) else { return Ok(()) };
        match news {
            News::Unreachable(text) => {
                let text = self.last_error.clone().unwrap_or(text);
                self.reconnecting(text);
            }
            News::Failed(e) => {
                let gone = e.sqlstate() == sqlstate::UNDEFINED_OBJECT;
                self.fail(if gone { topic_gone(&self.options.topic) } else { e });
            }
            News::Partitions(partitions) => {
                self.reconnected();
                if !self.bounded {
                    self.add_partitions(&partitions)?;
                }
            }
        }
        Ok(())
    }

    /// Records begin wherever the broker still has some; the split begins at 0 all the same.
    fn add_partitions(&mut self, partitions: &[i32]) -> Result<()> {
        let mut starts = Vec::new();
        for partition in partitions {
            if !self.splits.contains_key(partition) {
                self.add_split(*partition, 0, None)?;
                starts.push((*partition, Offset::Beginning));
            }
        }
        self.assign(&starts)
    }

    /// Returns the bytes taken, or `None` for an event that brought no record.
    fn take_event(&mut self, event: Event<'_>) -> Result<Option<usize>> {
        match event {
            Event::Record(record) => return self.take_record(&record).map(Some),
            Event::PartitionEnd { partition, offset } => self.take_end(partition, offset)?,
            Event::Error { partition, offset, code, text } => {
                self.take_error(partition, offset, code, text)?;
            }
            Event::Other => {}
        }
        Ok(None)
    }

    fn take_record(&mut self, record: &Record<'_>) -> Result<usize> {
        self.reconnected();
        let (partition, offset) = (record.partition(), record.offset());
        let Some(split) = self.splits.get_mut(&partition) else { return Ok(0) };
        if split.finished || offset < split.position {
            return Ok(0);
        }
        if let Some(stop) = split.stop_offset.filter(|stop| offset >= *stop) {
            self.advance(partition, stop)?;
            return Ok(0);
        }
        let before = split.chunk.bytes();
        split.chunk.push(record);
        let taken = split.chunk.bytes() - before;
        split.at_end = false;
        self.advance(partition, offset + 1)?;
        Ok(taken)
    }

    fn take_end(&mut self, partition: i32, offset: i64) -> Result<()> {
        self.reconnected();
        if let Some(split) = self.splits.get_mut(&partition) {
            split.at_end = offset >= split.position;
            let stop = split.stop_offset.unwrap_or(i64::MAX);
            if offset > split.position {
                self.advance(partition, offset.min(stop))?;
            }
        }
        Ok(())
    }

    /// Everything before `position` has been seen.
    fn advance(&mut self, partition: i32, position: i64) -> Result<()> {
        let Some(split) = self.splits.get_mut(&partition) else { return Ok(()) };
        split.position = split.position.max(position);
        if !split.touched {
            split.touched = true;
            self.touched.push(partition);
        }
        if !split.finished && split.stop_offset.is_some_and(|stop| split.position >= stop) {
            split.finished = true;
            let list = self.partition_list(&[(partition, Offset::Invalid)])?;
            self.consumer.incremental_unassign(&list).map_err(|e| HwError::internal(e.to_string()))?;
        }
        Ok(())
    }

    fn take_error(
        &mut self,
        partition: i32,
        offset: i64,
        code: RDKafkaErrorCode,
        text: String,
    ) -> Result<()> {
        use RDKafkaErrorCode as Code;
        match code {
            Code::AutoOffsetReset | Code::OffsetOutOfRange if partition >= 0 => {
                if !self.skip_lost(partition)? {
                    let e = self.out_of_range(partition, offset);
                    self.fail(e);
                }
            }
            Code::TopicAuthorizationFailed => self.fail(client::not_authorized(&self.options.topic)),
            Code::AllBrokersDown | Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL => {
                let text = match code {
                    Code::AllBrokersDown => self.last_error.clone().unwrap_or(text),
                    _ => text,
                };
                self.reconnecting(text);
                self.look();
            }
            // Whether the topic is really gone is for the monitor to find out.
            _ => {
                tracing::debug!(topic = %self.options.topic, partition, %text, "kafka: {code}");
                self.last_error = Some(text);
                self.look();
            }
        }
        Ok(())
    }

    /// Goes on at the first record that the broker still has, if that is allowed and there is
    /// a later one; a log that ends before our position was truncated, and that is never skipped.
    fn skip_lost(&mut self, partition: i32) -> Result<bool> {
        if self.options.on_data_loss != DataLoss::Skip {
            return Ok(false);
        }
        let watermarks = self.consumer.fetch_watermarks(&self.options.topic, partition, RANGE_WAIT);
        let (Ok((low, _)), Some(split)) = (watermarks, self.splits.get_mut(&partition)) else {
            return Ok(false);
        };
        if split.position >= low {
            return Ok(false);
        }
        let until = split.stop_offset.map_or(low, |stop| stop.min(low));
        let lost = until - split.position;
        tracing::warn!(
            topic = %self.options.topic, partition, from = split.position, until, lost,
            "records were deleted before they were read; on_data_loss = 'skip' goes on"
        );
        split.chunk.lose(lost as u64);
        let list = self.partition_list(&[(partition, Offset::Invalid)])?;
        self.consumer.incremental_unassign(&list).map_err(|e| HwError::internal(e.to_string()))?;
        self.assign(&[(partition, Offset::Offset(low))])?;
        self.advance(partition, until)?;
        Ok(true)
    }

    fn look(&self) {
        if let Some(monitor) = &self.monitor {
            monitor.look();
        }
    }

    fn out_of_range(&self, partition: i32, offset: i64) -> HwError {
        let topic = &self.options.topic;
        let wanted = self.splits.get(&partition).map_or(offset, |s| s.position);
        let message =
            format!("offset {wanted} of partition {partition} of Kafka topic \"{topic}\" is out of range");
        let e = HwError::new(sqlstate::DATA_EXCEPTION, message);
        match self.consumer.fetch_watermarks(topic, partition, RANGE_WAIT) {
            Ok((low, high)) => {
                let lost = if wanted < low {
                    format!("offsets {wanted} to {} are lost", low - 1)
                } else {
                    format!("the log ends at offset {high}, before offset {wanted}: it was truncated, or the topic was made anew")
                };
                e.with_detail(format!("The broker has offsets {low} to {}; {lost}.", high - 1))
            }
            Err(_) => e,
        }
        .with_hint("Create the source again to start from what is there, or with on_data_loss = 'skip' to go on behind a gap.")
    }

    fn hand_on(&mut self) -> Result<Vec<DecodedChunk>> {
        let mut chunks = Vec::with_capacity(self.touched.len());
        for partition in std::mem::take(&mut self.touched) {
            let Some(split) = self.splits.get_mut(&partition) else { continue };
            split.touched = false;
            if split.position > split.start_offset {
                chunks.push(split.chunk.finish(partition, split.start_offset, split.position)?);
                split.start_offset = split.position;
            }
        }
        Ok(chunks)
    }
}

fn topic_gone(topic: &str) -> HwError {
    HwError::new(sqlstate::UNDEFINED_OBJECT, format!("topic gone: Kafka topic \"{topic}\" was deleted"))
        .with_hint("Views keep their last state. Drop the source and create it again to read a new topic.")
}

impl SourceReader for KafkaReader {
    fn poll(&mut self, wait: Duration) -> Result<Vec<DecodedChunk>> {
        if matches!(self.state, ReaderState::Failed(_)) {
            // A topic of the same name that comes back is another one: nothing of it is read.
            clock::sleep(wait);
            return Ok(Vec::new());
        }
        self.hear_news()?;
        if self.bounded && self.splits.values().all(|s| s.finished) {
            return self.hand_on();
        }
        let deadline = clock::monotonic() + wait;
        let mut wait = wait;
        let (mut records, mut bytes) = (0, 0);
        while let Some(mut polled) = self.queue.poll(wait) {
            if let Some(taken) = self.take_event(polled.read())? {
                records += 1;
                bytes += taken;
                wait = Duration::ZERO;
            } else if self.touched.is_empty() {
                wait = deadline.saturating_duration_since(clock::monotonic());
            } else {
                wait = Duration::ZERO;
            }
            if records >= self.request.chunk_rows_max.max(1) || bytes >= POLL_BYTES_MAX {
                break;
            }
        }
        self.hand_on()
    }

    /// librdkafka forgets what it fetched of a paused partition and fetches it again from our
    /// position when it is resumed.
    fn pause(&mut self, splits: &BTreeSet<SplitId>) -> Result<()> {
        let wanted: BTreeSet<i32> =
            self.splits.keys().copied().filter(|p| splits.contains(&(*p as u32))).collect();
        let list = |partitions: &mut dyn Iterator<Item = &i32>| {
            self.partition_list(&partitions.map(|p| (*p, Offset::Invalid)).collect::<Vec<_>>())
        };
        let paused = list(&mut wanted.difference(&self.paused))?;
        let resumed = list(&mut self.paused.difference(&wanted))?;
        let fault = |e: rdkafka::error::KafkaError| HwError::internal(e.to_string());
        self.consumer.pause(&paused).map_err(fault)?;
        self.consumer.resume(&resumed).map_err(fault)?;
        self.paused = wanted;
        Ok(())
    }

    fn splits(&mut self) -> Vec<SplitStatus> {
        let status = |(partition, split): (&i32, &Split)| {
            let cached = self.queue.cached_end(&self.topic, *partition);
            SplitStatus {
                split: *partition as u32,
                end_offset: if split.at_end { Some(split.position) } else { cached },
                caught_up: split.at_end
                    && split.start_offset >= split.position
                    && cached.is_none_or(|end| end <= split.position),
                finished: split.finished && split.start_offset >= split.position,
            }
        };
        self.splits.iter().map(status).collect()
    }

    fn state(&self) -> ReaderState {
        self.state.clone()
    }
}
