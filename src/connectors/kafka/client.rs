//! Questions to the broker: is it there, which partitions, which offsets.
//!
//! Every function answers within [`ANSWER_MAX`] (10 s). A broker that cannot be reached is 08001 with
//! the address and librdkafka's own words; a topic that is not there is 42704.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::options::{KafkaOptions, Startup, unknown_property};
use super::queue::{Event, Queue};
use crate::clock;
use crate::error::{HwError, Result, sqlstate};

/// Longest wait for all questions of one call.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// One attempt to get metadata.
const ATTEMPT_MAX: Duration = Duration::from_secs(1);
/// When every broker has refused a connection for so long, waiting on is pointless.
const REFUSED_MAX: Duration = Duration::from_secs(3);

/// Properties that name a file of the server's machine.
const FILES: [&str; 5] = [
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.crl.location",
    "ssl.key.location",
    "ssl.keystore.location",
];

/// Makes a client, turning configuration errors into 22023 and missing files into 58P01.
pub fn connect(config: &ClientConfig) -> Result<Arc<BaseConsumer>> {
    check_files(config)?;
    BaseConsumer::from_config(config).map(Arc::new).map_err(configuration_error)
}

/// Checks names and values of properties without connecting.
pub fn native_check(config: &ClientConfig) -> Result<()> {
    config.create_native_config().map(drop).map_err(configuration_error)
}

/// librdkafka does not say which file it could not read.
fn check_files(config: &ClientConfig) -> Result<()> {
    for name in FILES {
        let Some(path) = config.get(name).filter(|path| !(name == "ssl.ca.location" && *path == "probe"))
        else {
            continue;
        };
        if let Err(e) = std::fs::metadata(path) {
            let message = format!("could not open file \"{path}\" of option \"properties.{name}\": {e}");
            return Err(HwError::new(sqlstate::UNDEFINED_FILE, message)
                .with_hint("The file must be on the machine of the server."));
        }
    }
    Ok(())
}

fn configuration_error(e: KafkaError) -> HwError {
    use rdkafka::types::RDKafkaConfRes;
    match e {
        KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, _, name, _) => {
            unknown_property(&name)
        }
        // The value may be a secret, so only librdkafka's description is shown, not the value.
        KafkaError::ClientConfig(_, _, name, _) => HwError::new(
            sqlstate::INVALID_PARAMETER_VALUE,
            format!("invalid value for option \"properties.{name}\""),
        ),
        KafkaError::ClientCreation(text) => {
            HwError::new(sqlstate::INVALID_PARAMETER_VALUE, "invalid Kafka client options")
                .with_detail(format!("{text}."))
        }
        other => HwError::internal(other.to_string()),
    }
}

/// A client that only asks questions.
pub struct Inquiry<'o> {
    options: &'o KafkaOptions,
    consumer: Arc<BaseConsumer>,
    errors: Queue,
    deadline: Instant,
    started: Instant,
    last_error: Option<String>,
    all_down: bool,
}

impl<'o> Inquiry<'o> {
    pub fn new(options: &'o KafkaOptions) -> Result<Self> {
        let mut config = options.client_config();
        config.remove("group.id");
        let consumer = connect(&config)?;
        let errors = Queue::of_client(&consumer)?;
        let started = clock::monotonic();
        Ok(Inquiry {
            options,
            consumer,
            errors,
            deadline: started + ANSWER_MAX,
            started,
            last_error: None,
            all_down: false,
        })
    }

    fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(clock::monotonic()).max(Duration::from_millis(1))
    }

    /// Notes what librdkafka says about its connections.
    fn drain_errors(&mut self) -> Result<()> {
        while let Some(mut polled) = self.errors.poll(Duration::ZERO) {
            let Event::Error { code, text, .. } = polled.read() else { continue };
            match code {
                RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => {
                    return Err(cannot_connect(&self.options.brokers, &text));
                }
                RDKafkaErrorCode::AllBrokersDown => self.all_down = true,
                _ => self.last_error = Some(text),
            }
        }
        Ok(())
    }

    /// The partition numbers of the topic.
    pub fn partitions(&mut self) -> Result<Vec<i32>> {
        loop {
            let attempt = self.remaining().min(ATTEMPT_MAX);
            let answer = self.consumer.fetch_metadata(Some(&self.options.topic), attempt);
            self.drain_errors()?;
            let retry = match answer {
                Ok(metadata) => match read_partitions(&metadata, &self.options.topic) {
                    Ok(partitions) => return Ok(partitions),
                    Err(TopicError::Final(e)) => return Err(e),
                    Err(TopicError::Temporary(text)) => text,
                },
                Err(e) => self.last_error.clone().unwrap_or_else(|| e.to_string()),
            };
            let refused = self.all_down && self.started.elapsed() >= REFUSED_MAX;
            if refused || clock::monotonic() >= self.deadline {
                return Err(cannot_connect(&self.options.brokers, &retry));
            }
        }
    }

    /// For each partition the offset that `at` stands for.
    pub fn offsets(&mut self, partitions: &[i32], at: Startup) -> Result<Vec<(i32, i64)>> {
        let offset = match at {
            Startup::Earliest => Offset::Beginning,
            Startup::Latest => Offset::End,
            Startup::Timestamp(millis) => Offset::Offset(millis),
        };
        let mut wanted = TopicPartitionList::with_capacity(partitions.len());
        for p in partitions {
            let added = wanted.add_partition_offset(&self.options.topic, *p, offset);
            added.map_err(|e| HwError::internal(e.to_string()))?;
        }
        let answer = self.consumer.offsets_for_times(wanted, self.remaining());
        self.drain_errors()?;
        let answer = answer.map_err(|e| {
            let text = self.last_error.clone().unwrap_or_else(|| e.to_string());
            cannot_connect(&self.options.brokers, &text)
        })?;
        let mut found = Vec::with_capacity(partitions.len());
        let mut beyond = Vec::new();
        for element in answer.elements() {
            element.error().map_err(|e| cannot_connect(&self.options.brokers, &e.to_string()))?;
            match element.offset() {
                Offset::Offset(offset) => found.push((element.partition(), offset)),
                // No record is as new as the time asked for: begin at the end.
                _ => beyond.push(element.partition()),
            }
        }
        for partition in beyond {
            let answer = self.consumer.fetch_watermarks(&self.options.topic, partition, self.remaining());
            let (_, high) = answer.map_err(|e| cannot_connect(&self.options.brokers, &e.to_string()))?;
            found.push((partition, high));
        }
        found.sort_unstable();
        Ok(found)
    }
}

/// Why metadata has no usable partitions.
pub enum TopicError {
    /// Will not go away by waiting.
    Final(HwError),
    Temporary(String),
}

/// The partition numbers in an answer about one topic.
pub fn read_partitions(metadata: &rdkafka::metadata::Metadata, topic: &str) -> Result<Vec<i32>, TopicError> {
    let found = metadata.topics().iter().find(|t| t.name() == topic);
    let Some(found) = found else { return Err(TopicError::Final(missing_topic(topic))) };
    match found.error().map(RDKafkaErrorCode::from) {
        None => {}
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
            return Err(TopicError::Final(missing_topic(topic)));
        }
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
            return Err(TopicError::Final(not_authorized(topic)));
        }
        Some(RDKafkaErrorCode::InvalidTopic) => {
            return Err(TopicError::Final(HwError::new(
                sqlstate::INVALID_PARAMETER_VALUE,
                format!("invalid Kafka topic name \"{topic}\""),
            )));
        }
        Some(other) => return Err(TopicError::Temporary(other.to_string())),
    }
    if found.partitions().is_empty() {
        return Err(TopicError::Temporary(format!("topic \"{topic}\" has no partitions yet")));
    }
    let mut partitions: Vec<i32> = found.partitions().iter().map(|p| p.id()).collect();
    partitions.sort_unstable();
    Ok(partitions)
}

/// 42704 naming the topic.
pub fn missing_topic(topic: &str) -> HwError {
    HwError::new(sqlstate::UNDEFINED_OBJECT, format!("Kafka topic \"{topic}\" does not exist"))
        .with_hint("Create the topic first, or check the spelling and the broker address.")
}

/// 42501 naming the topic.
pub fn not_authorized(topic: &str) -> HwError {
    HwError::new(
        sqlstate::INSUFFICIENT_PRIVILEGE,
        format!("the broker does not let this client read Kafka topic \"{topic}\""),
    )
}

fn cannot_connect(brokers: &str, text: &str) -> HwError {
    HwError::new(sqlstate::CANNOT_CONNECT, format!("could not reach Kafka broker \"{brokers}\""))
        .with_detail(format!("{}.", text.trim_end_matches('.')))
        .with_hint("Check that the broker is running and that properties.bootstrap.server is right.")
}
