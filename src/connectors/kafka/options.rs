//! WITH options of a Kafka source, checked and typed.
//!
//! In: the option map of `CREATE SOURCE` / `CREATE CONNECTION`. Out: [`KafkaOptions`], or
//! 22023 with the valid options. `properties.*` reach librdkafka unchanged, except those
//! that the reader's guarantees depend on (offsets, isolation) and those that would make the
//! server load code or start programs. Values may be secrets: `Debug` masks them.

use std::collections::BTreeMap;
use std::fmt;

use arrow::datatypes::FieldRef;
use rdkafka::ClientConfig;

use crate::error::{HwError, Result, sqlstate};
use crate::formats::DecoderFactory;
use crate::formats::json::{JsonDecoder, JsonLimits};

/// Largest record that is decoded, in bytes, unless `max_record_bytes` says otherwise.
pub const RECORD_BYTES_MAX_DEFAULT: usize = 16 << 20;
/// librdkafka refuses larger responses.
const RECORD_BYTES_LIMIT: usize = 512 << 20;

/// Where a source begins when it is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Startup {
    Earliest,
    Latest,
    /// The first record at or after this many milliseconds after 1970-01-01 UTC.
    Timestamp(i64),
}

/// What happens when the broker has deleted records that were not read yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataLoss {
    /// The source fails and says which offsets are gone.
    Fail,
    /// Reading goes on at the first record there is; the gap is counted.
    Skip,
}

/// What `INCLUDE` can add to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KafkaMetadata {
    /// As bytea, or in text form of the declared type.
    Key,
    Partition,
    Offset,
    /// The broker's timestamp.
    Timestamp,
    /// A jsonb object from name to value; values that are not UTF-8 as `\x` and hexadecimal digits.
    Headers,
}

/// A Kafka source's configuration.
#[derive(Clone)]
pub struct KafkaOptions {
    pub topic: String,
    /// Comma-separated `host:port` list.
    pub brokers: String,
    pub startup: Startup,
    pub decoder: DecoderFactory,
    /// Metadata columns, by the field that declares each.
    pub include: Vec<(KafkaMetadata, FieldRef)>,
    /// librdkafka properties, without the `properties.` prefix.
    pub client_properties: BTreeMap<String, String>,
    pub record_bytes_max: usize,
    /// The record header that carries the watermark.
    pub watermark_header: Option<String>,
    /// A record whose value is a JSON object with this field alone is no row but a watermark.
    pub watermark_control: Option<String>,
    pub on_data_loss: DataLoss,
}

impl fmt::Debug for KafkaOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaOptions")
            .field("topic", &self.topic)
            .field("brokers", &self.brokers)
            .field("startup", &self.startup)
            .field("include", &self.include)
            .field("client_properties", &self.client_properties.keys().collect::<Vec<_>>())
            .field("record_bytes_max", &self.record_bytes_max)
            .finish_non_exhaustive()
    }
}

const PREFIX: &str = "properties.";
const BROKERS: [&str; 4] = [
    "properties.bootstrap.server",
    "properties.bootstrap.servers",
    "properties.metadata.broker.list",
    "brokers",
];
const STARTUP_MILLIS: [&str; 3] =
    ["scan.startup.timestamp.millis", "scan.startup.timestamp-millis", "scan.startup.timestamp_millis"];
/// Options of every source, read by the layers above.
const GENERAL: [&str; 8] = [
    "connector",
    "connection",
    "type",
    "scan.watermark.idle-timeout",
    "scan.watermark.alignment.group",
    "scan.watermark.alignment.max-drift",
    "watermark.max_future_skew",
    "source_rate_limit",
];
const OWN: [&str; 9] = [
    "topic",
    "properties.bootstrap.server",
    "scan.startup.mode",
    "scan.startup.timestamp.millis",
    "max_record_bytes",
    "watermark.header",
    "watermark.control",
    "on_data_loss",
    "scan.on_data_loss",
];
/// The reader assigns partitions, keeps offsets and reads committed records by itself.
const RESERVED: [&str; 8] = [
    "enable.auto.commit",
    "auto.commit.enable",
    "enable.auto.offset.store",
    "auto.offset.reset",
    "enable.partition.eof",
    "isolation.level",
    "partition.assignment.strategy",
    "allow.auto.create.topics",
];
/// Properties that name code to load or programs to run.
const FORBIDDEN: [&str; 6] = [
    "plugin.library.paths",
    "sasl.kerberos.kinit.cmd",
    "ssl.engine.location",
    "ssl.providers",
    "test.mock.num.brokers",
    "opaque",
];

fn invalid(message: impl Into<String>) -> HwError {
    HwError::new(sqlstate::INVALID_PARAMETER_VALUE, message)
}

fn required(what: &str, option: &str) -> HwError {
    invalid(format!("option \"{option}\" is missing"))
        .with_hint(format!("A Kafka source needs {what}: add {option} = '...' to WITH."))
}

fn integer(option: &str, value: &str, min: i64, max: i64) -> Result<i64> {
    value.trim().parse::<i64>().ok().filter(|v| (min..=max).contains(v)).ok_or_else(|| {
        invalid(format!("invalid value for option \"{option}\": \"{value}\""))
            .with_hint(format!("Valid values are integers from {min} to {max}."))
    })
}

impl KafkaOptions {
    /// Reads WITH options. The decoder is JSON and nothing is included; set `decoder` and
    /// `include` afterwards to change that.
    pub fn from_with(with: &BTreeMap<String, String>) -> Result<KafkaOptions> {
        let mut properties = BTreeMap::new();
        for (name, value) in with {
            let known = OWN.contains(&name.as_str())
                || BROKERS.contains(&name.as_str())
                || STARTUP_MILLIS.contains(&name.as_str())
                || GENERAL.contains(&name.as_str());
            if known {
                continue;
            }
            let Some(property) = name.strip_prefix(PREFIX) else { return Err(unknown_option(name)) };
            check_property(property)?;
            properties.insert(property.to_string(), value.clone());
        }
        let topic =
            with.get("topic").filter(|t| !t.is_empty()).ok_or_else(|| required("a topic", "topic"))?;
        let brokers = BROKERS.iter().find_map(|name| with.get(*name)).filter(|b| !b.is_empty());
        let brokers = brokers.ok_or_else(|| required("a broker", "properties.bootstrap.server"))?;
        let record_bytes_max = match with.get("max_record_bytes") {
            Some(v) => integer("max_record_bytes", v, 1, RECORD_BYTES_LIMIT as i64)? as usize,
            None => RECORD_BYTES_MAX_DEFAULT,
        };
        let options = KafkaOptions {
            topic: topic.clone(),
            brokers: brokers.clone(),
            startup: startup(with)?,
            decoder: JsonDecoder::factory(JsonLimits { record_bytes_max, ..JsonLimits::default() }),
            include: Vec::new(),
            client_properties: properties,
            record_bytes_max,
            watermark_header: named(with, "watermark.header")?,
            watermark_control: named(with, "watermark.control")?,
            on_data_loss: data_loss(with)?,
        };
        super::client::native_check(&options.client_config())?;
        Ok(options)
    }

    /// The configuration shared by all clients of the source, tuned for rows to be handed on
    /// within milliseconds: the broker answers a fetch as soon as there is one byte, so
    /// `fetch.wait.max.ms` costs no latency and bounds the requests of an idle source.
    pub(super) fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in [
            ("client.id", "headwater"),
            ("fetch.min.bytes", "1"),
            ("fetch.wait.max.ms", "100"),
            ("fetch.queue.backoff.ms", "2"),
            ("fetch.error.backoff.ms", "100"),
            ("queued.min.messages", "100000"),
            ("queued.max.messages.kbytes", "65536"),
            ("receive.message.max.bytes", "1073741824"),
            ("reconnect.backoff.ms", "100"),
            ("reconnect.backoff.max.ms", "1000"),
            ("socket.keepalive.enable", "true"),
            ("socket.timeout.ms", "30000"),
            ("topic.metadata.refresh.interval.ms", "30000"),
            ("log.connection.close", "false"),
        ] {
            config.set(name, value);
        }
        for (name, value) in &self.client_properties {
            config.set(name, value);
        }
        for (name, value) in [
            ("bootstrap.servers", self.brokers.as_str()),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("enable.partition.eof", "true"),
            ("isolation.level", "read_committed"),
            ("allow.auto.create.topics", "false"),
        ] {
            config.set(name, value);
        }
        config
    }
}

fn named(with: &BTreeMap<String, String>, option: &str) -> Result<Option<String>> {
    match with.get(option) {
        Some(name) if name.is_empty() => Err(invalid(format!("option \"{option}\" must not be empty"))),
        name => Ok(name.cloned()),
    }
}

fn data_loss(with: &BTreeMap<String, String>) -> Result<DataLoss> {
    let given = ["on_data_loss", "scan.on_data_loss"].iter().find_map(|name| with.get_key_value(*name));
    match given.map(|(name, value)| (name, value.to_ascii_lowercase())) {
        None => Ok(DataLoss::Fail),
        Some((_, value)) if value == "fail" => Ok(DataLoss::Fail),
        Some((_, value)) if value == "skip" => Ok(DataLoss::Skip),
        Some((name, value)) => Err(invalid(format!("invalid value for option \"{name}\": \"{value}\""))
            .with_hint("Valid values are 'fail' and 'skip'.")),
    }
}

fn startup(with: &BTreeMap<String, String>) -> Result<Startup> {
    let millis = STARTUP_MILLIS.iter().find_map(|name| with.get_key_value(*name));
    let mode = with.get("scan.startup.mode").map(|m| m.to_ascii_lowercase());
    match (mode.as_deref(), millis) {
        (Some("timestamp"), Some((name, v))) | (None, Some((name, v))) => {
            Ok(Startup::Timestamp(integer(name, v, 0, i64::MAX / 1_000)?))
        }
        (Some("timestamp"), None) => Err(required("a start time", STARTUP_MILLIS[0])),
        (_, Some((name, _))) => {
            Err(invalid(format!("option \"{name}\" needs scan.startup.mode = 'timestamp'")))
        }
        (None | Some("earliest" | "earliest-offset"), None) => Ok(Startup::Earliest),
        (Some("latest" | "latest-offset"), None) => Ok(Startup::Latest),
        (Some(other), None) => {
            Err(invalid(format!("invalid value for option \"scan.startup.mode\": \"{other}\""))
                .with_hint("Valid values are 'earliest', 'latest' and 'timestamp'."))
        }
    }
}

fn check_property(property: &str) -> Result<()> {
    if RESERVED.contains(&property) {
        return Err(invalid(format!("option \"{PREFIX}{property}\" cannot be set")).with_hint(
            "Headwater assigns partitions, keeps offsets and reads committed records by itself.",
        ));
    }
    if FORBIDDEN.contains(&property) {
        return Err(HwError::new(
            sqlstate::INSUFFICIENT_PRIVILEGE,
            format!("option \"{PREFIX}{property}\" is not allowed"),
        )
        .with_hint("Options that load code or start programs on the server are refused."));
    }
    if property == "sasl.jaas.config" {
        return Err(unknown_property(property).with_hint(
            "Use properties.sasl.mechanism, properties.sasl.username and properties.sasl.password.",
        ));
    }
    Ok(())
}

fn unknown_option(name: &str) -> HwError {
    let valid: Vec<&str> = OWN.iter().chain(&GENERAL).copied().collect();
    let nearest =
        valid.iter().map(|v| (distance(name, v), *v)).min().filter(|(d, _)| *d <= name.len() / 3 + 1);
    let list = format!("Valid options are {}, and properties.* for librdkafka.", valid.join(", "));
    let hint = match nearest {
        Some((_, near)) => format!("Did you mean \"{near}\"? {list}"),
        None => list,
    };
    invalid(format!("unrecognized option \"{name}\" for a Kafka source")).with_hint(hint)
}

/// 22023 for a name that librdkafka does not know.
pub(super) fn unknown_property(property: &str) -> HwError {
    invalid(format!("unrecognized option \"{PREFIX}{property}\" for a Kafka source"))
        .with_hint("The part after \"properties.\" must be a librdkafka configuration property.")
}

/// Levenshtein distance in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let next = (diagonal + (x != y) as usize).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()]
}
