//! Kafka source: partitions as splits, our own offsets, committed records only.
//!
//! In: a topic. Out: decoded chunks whose offset ranges touch each other, holes included.
//! Partitions are assigned, never subscribed, and nothing is committed to the group, so a
//! foreign consumer with the same group id changes nothing. Offsets out of range, a topic
//! that is gone and lost rights are failures that need a person; an outage is not: the
//! reader says `Reconnecting` and goes on by itself. New partitions are read from offset 0.
//!
//! `options` reads WITH, `client` asks the broker, `queue` wraps librdkafka's events,
//! `chunk` collects rows per partition, `monitor` watches the topic, `reader` ties them together.

mod chunk;
mod client;
mod mark;
mod monitor;
mod options;
mod queue;
mod reader;
#[cfg(test)]
mod tests;

pub use options::{DataLoss, KafkaMetadata, KafkaOptions, RECORD_BYTES_MAX_DEFAULT, Startup};
pub use reader::KafkaReader;

use self::client::Inquiry;
use super::{ReadRequest, SourceConnector, SourceReader, SplitRange};
use crate::error::Result;

/// A configured Kafka source.
#[derive(Clone, Debug)]
pub struct KafkaConnector {
    options: KafkaOptions,
}

impl KafkaConnector {
    pub fn new(options: KafkaOptions) -> Self {
        KafkaConnector { options }
    }

    pub fn options(&self) -> &KafkaOptions {
        &self.options
    }
}

impl SourceConnector for KafkaConnector {
    fn discover(&self) -> Result<Vec<SplitRange>> {
        let mut inquiry = Inquiry::new(&self.options)?;
        let partitions = inquiry.partitions()?;
        let starts = inquiry.offsets(&partitions, self.options.startup)?;
        let range = |(p, start_offset)| SplitRange { split: p as u32, start_offset, end_offset: None };
        Ok(starts.into_iter().map(range).collect())
    }

    fn open(&self, request: ReadRequest) -> Result<Box<dyn SourceReader>> {
        Ok(Box::new(KafkaReader::open(&self.options, request)?))
    }

    fn end_offsets(&self) -> Result<Vec<SplitRange>> {
        let mut inquiry = Inquiry::new(&self.options)?;
        let partitions = inquiry.partitions()?;
        let starts = inquiry.offsets(&partitions, Startup::Earliest)?;
        let ends = inquiry.offsets(&partitions, Startup::Latest)?;
        let range = |((p, start_offset), (_, end)): ((i32, i64), (i32, i64))| SplitRange {
            split: p as u32,
            start_offset,
            end_offset: Some(end),
        };
        Ok(starts.into_iter().zip(ends).map(range).collect())
    }
}
