//! The `WITH` options of a generator source.
//!
//! Every option has one meaning, a default and a valid range; anything else is refused with
//! 22023 and the list of valid ones. What would differ from start to start (the seed is a
//! constant, the start of real-time event time is not) is fixed by
//! [`GeneratorOptions::persist`], so that a restarted server produces the same rows.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use arrow::compute::kernels::cast_utils::string_to_datetime;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use chrono::{DateTime, Utc};

use super::random;
use crate::clock;
use crate::error::{HwError, Result, sqlstate};
use crate::types::PgType;

/// 2015-07-15 00:00:00 UTC, Nexmark's base time, in microseconds.
const DEFAULT_BASE_TIME: i64 = 1_436_918_400_000_000;
const DEFAULT_NEXMARK_EVENT_RATE: u64 = 10_000;
const RATE_MAX: u64 = 1_000_000_000;
const RATIO_MAX: u64 = 1_000_000;
const EVENT_BYTES_MAX: u64 = 1_048_576;

/// Options that every generator has.
const COMMON: &[&str] = &["connector", "generator", "rate", "rows", "seed"];

/// A generator as configured by `WITH (connector = 'generator', …)`.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratorOptions {
    pub kind: GeneratorKind,
    /// Rows per second of real time; unlimited if absent.
    pub rate: Option<u64>,
    /// Rows in all; endless if absent.
    pub rows: Option<i64>,
    pub seed: u64,
    schema: SchemaRef,
}

#[derive(Clone, Debug, PartialEq)]
pub enum GeneratorKind {
    Nexmark(NexmarkOptions),
    Sequence(TimeOptions),
    /// `base_time`: microseconds after 1970; random times lie in the 30 days after it.
    Random {
        base_time: i64,
    },
}

/// How row numbers become event times.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeOptions {
    /// Microseconds after 1970 of the first event.
    pub base_time: i64,
    /// Events per second of event time.
    pub event_rate: u64,
    /// Event time is the real time at which `rate` lets the row out; `event_rate` is unused.
    pub realtime: bool,
}

/// The sequence of rows that a Nexmark source shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NexmarkTable {
    Person,
    Auction,
    Bid,
    Event,
}

/// The Nexmark knobs, named as in github.com/nexmark/nexmark; defaults are its defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct NexmarkOptions {
    pub table: NexmarkTable,
    pub time: TimeOptions,
    pub out_of_order_group_size: u64,
    pub hot_auction_ratio: u64,
    pub hot_seller_ratio: u64,
    pub hot_bidder_ratio: u64,
    pub in_flight_auctions: u64,
    pub active_people: u64,
    pub person_bytes: usize,
    pub auction_bytes: usize,
    pub bid_bytes: usize,
}

impl Default for NexmarkOptions {
    fn default() -> Self {
        NexmarkOptions {
            table: NexmarkTable::Event,
            time: TimeOptions {
                base_time: DEFAULT_BASE_TIME,
                event_rate: DEFAULT_NEXMARK_EVENT_RATE,
                realtime: false,
            },
            out_of_order_group_size: 1,
            hot_auction_ratio: 2,
            hot_seller_ratio: 4,
            hot_bidder_ratio: 4,
            in_flight_auctions: 100,
            active_people: 1000,
            person_bytes: 200,
            auction_bytes: 500,
            bid_bytes: 100,
        }
    }
}

impl GeneratorOptions {
    /// Reads and checks the options (keys in lower case). `declared`: the columns written in
    /// `CREATE SOURCE` without generated ones; without them the generator's own are used.
    pub fn from_with(with: &BTreeMap<String, String>, declared: Option<SchemaRef>) -> Result<Self> {
        let Some(generator) = with.get("generator") else {
            return Err(invalid("option \"generator\" is required by connector \"generator\"")
                .with_hint("Valid values are: nexmark, sequence, random."));
        };
        let mut reader = OptionReader { generator, with, known: COMMON.to_vec() };
        let rate = reader.integer("rate", 1..=RATE_MAX)?;
        let rows = reader.integer("rows", 0..=i64::MAX as u64)?.map(|rows| rows as i64);
        let seed = reader.integer("seed", 0..=u64::MAX)?.unwrap_or(0);
        let (kind, schema) = match generator.as_str() {
            "nexmark" => {
                let nexmark = reader.nexmark()?;
                let own = nexmark.table.schema();
                (GeneratorKind::Nexmark(nexmark), declared_subset(declared, own)?)
            }
            "sequence" => {
                let names = ["sequence.base_time", "sequence.event_rate", "sequence.event_time"];
                let time = reader.time(names, 1)?;
                (GeneratorKind::Sequence(time), sequence_columns(declared)?)
            }
            "random" => {
                let base_time = reader.timestamp("random.base_time")?.unwrap_or(DEFAULT_BASE_TIME);
                (GeneratorKind::Random { base_time }, random::check_columns(declared)?)
            }
            other => {
                return Err(invalid(format!("unrecognized generator \"{other}\""))
                    .with_hint("Valid values are: nexmark, sequence, random."));
            }
        };
        reader.refuse_unknown()?;
        let options = GeneratorOptions { kind, rate, rows, seed, schema };
        if options.time().is_some_and(|time| time.realtime) && rate.is_none() {
            return Err(invalid("real-time event time needs option \"rate\"")
                .with_hint("Write rate = 10000 for ten thousand rows per second."));
        }
        Ok(options)
    }

    /// The columns that the source has: the declared ones, or the generator's own.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Adds to `with` what was fixed when the options were first read, so that reading them
    /// again gives the same rows: the start of real-time event time. Call at CREATE, before
    /// the definition is stored.
    pub fn persist(&self, with: &mut BTreeMap<String, String>) {
        let Some(time) = self.time().filter(|time| time.realtime) else {
            return;
        };
        let key = match self.kind {
            GeneratorKind::Nexmark(_) => "nexmark.base_time",
            _ => "sequence.base_time",
        };
        if let Some(start) = DateTime::<Utc>::from_timestamp_micros(time.base_time) {
            with.insert(key.into(), start.format("%Y-%m-%d %H:%M:%S%.6f").to_string());
        }
    }

    fn time(&self) -> Option<&TimeOptions> {
        match &self.kind {
            GeneratorKind::Nexmark(nexmark) => Some(&nexmark.time),
            GeneratorKind::Sequence(time) => Some(time),
            GeneratorKind::Random { .. } => None,
        }
    }

    /// With real-time event time: the number of rows whose time has come.
    pub(super) fn realtime_due(&self) -> Option<i64> {
        let time = self.time().filter(|time| time.realtime)?;
        let elapsed = (clock::wall_micros() - time.base_time).max(0);
        Some((i128::from(elapsed) * i128::from(self.rate?) / 1_000_000) as i64)
    }
}

/// Reads options one by one and remembers which names exist.
struct OptionReader<'a> {
    generator: &'a str,
    with: &'a BTreeMap<String, String>,
    known: Vec<&'static str>,
}

impl OptionReader<'_> {
    fn text(&mut self, name: &'static str) -> Option<&str> {
        if !self.known.contains(&name) {
            self.known.push(name);
        }
        self.with.get(name).map(String::as_str)
    }

    fn integer(&mut self, name: &'static str, range: RangeInclusive<u64>) -> Result<Option<u64>> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        match text.trim().parse::<u64>() {
            Ok(value) if range.contains(&value) => Ok(Some(value)),
            _ => Err(invalid(format!("invalid value for option \"{name}\": \"{text}\"")).with_hint(format!(
                "Valid values are whole numbers from {} to {}.",
                range.start(),
                range.end()
            ))),
        }
    }

    fn timestamp(&mut self, name: &'static str) -> Result<Option<i64>> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        match string_to_datetime(&Utc, text) {
            Ok(time) => Ok(Some(time.timestamp_micros())),
            Err(_) => Err(invalid(format!("invalid value for option \"{name}\": \"{text}\""))
                .with_hint("Write a timestamp such as '2015-07-15 00:00:00'; the zone is UTC.")),
        }
    }

    /// `names`: of the base time, the event rate and the kind of event time.
    fn time(&mut self, names: [&'static str; 3], event_rate: u64) -> Result<TimeOptions> {
        let realtime = match self.text(names[2]) {
            None | Some("generated") => false,
            Some("realtime") => true,
            Some(other) => {
                return Err(invalid(format!("invalid value for option \"{}\": \"{other}\"", names[2]))
                    .with_hint("Valid values are: generated, realtime."));
            }
        };
        let start = if realtime { clock::wall_micros() } else { DEFAULT_BASE_TIME };
        Ok(TimeOptions {
            base_time: self.timestamp(names[0])?.unwrap_or(start),
            event_rate: self.integer(names[1], 1..=RATE_MAX)?.unwrap_or(event_rate),
            realtime,
        })
    }

    fn nexmark(&mut self) -> Result<NexmarkOptions> {
        let table = match self.text("nexmark.table.type") {
            None | Some("event") => NexmarkTable::Event,
            Some("bid") => NexmarkTable::Bid,
            Some("auction") => NexmarkTable::Auction,
            Some("person") => NexmarkTable::Person,
            Some(other) => {
                return Err(invalid(format!("invalid value for option \"nexmark.table.type\": \"{other}\""))
                    .with_hint("Valid values are: bid, auction, person, event."));
            }
        };
        let names = ["nexmark.base_time", "nexmark.event_rate", "nexmark.event_time"];
        let time = self.time(names, DEFAULT_NEXMARK_EVENT_RATE)?;
        let (ratio, bytes) = (1..=RATIO_MAX, 0..=EVENT_BYTES_MAX);
        let mut number = |name: &'static str, range: &RangeInclusive<u64>, value: u64| -> Result<u64> {
            Ok(self.integer(name, range.clone())?.unwrap_or(value))
        };
        let d = NexmarkOptions::default();
        Ok(NexmarkOptions {
            table,
            time,
            out_of_order_group_size: number(
                "nexmark.out_of_order_group_size",
                &ratio,
                d.out_of_order_group_size,
            )?,
            hot_auction_ratio: number("nexmark.hot_auction_ratio", &ratio, d.hot_auction_ratio)?,
            hot_seller_ratio: number("nexmark.hot_seller_ratio", &ratio, d.hot_seller_ratio)?,
            hot_bidder_ratio: number("nexmark.hot_bidder_ratio", &ratio, d.hot_bidder_ratio)?,
            in_flight_auctions: number("nexmark.in_flight_auctions", &ratio, d.in_flight_auctions)?,
            active_people: number("nexmark.active_people", &ratio, d.active_people)?,
            person_bytes: number("nexmark.person_bytes", &bytes, d.person_bytes as u64)? as usize,
            auction_bytes: number("nexmark.auction_bytes", &bytes, d.auction_bytes as u64)? as usize,
            bid_bytes: number("nexmark.bid_bytes", &bytes, d.bid_bytes as u64)? as usize,
        })
    }

    fn refuse_unknown(&self) -> Result<()> {
        match self.with.keys().find(|key| !self.known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => {
                let mut known = self.known.clone();
                known.sort_unstable();
                Err(invalid(format!("unrecognized option \"{key}\" for generator \"{}\"", self.generator))
                    .with_hint(format!("Valid options are: {}.", known.join(", "))))
            }
        }
    }
}

fn invalid(message: impl Into<String>) -> HwError {
    HwError::new(sqlstate::INVALID_PARAMETER_VALUE, message)
}

/// The declared columns, each of which must be one of the generator's; a timestamp may be
/// declared with time zone.
fn declared_subset(declared: Option<SchemaRef>, own: SchemaRef) -> Result<SchemaRef> {
    let Some(declared) = declared else {
        return Ok(own);
    };
    for field in declared.fields() {
        let Ok(own_field) = own.field_with_name(field.name()) else {
            let names: Vec<&str> = own.fields().iter().map(|f| f.name().as_str()).collect();
            return Err(HwError::new(
                sqlstate::UNDEFINED_COLUMN,
                format!("the generator has no column \"{}\"", field.name()),
            )
            .with_hint(format!("Its columns are: {}.", names.join(", "))));
        };
        let timestamps = matches!(
            (own_field.data_type(), field.data_type()),
            (DataType::Timestamp(_, _), DataType::Timestamp(TimeUnit::Microsecond, _))
        );
        if own_field.data_type() != field.data_type() && !timestamps {
            return Err(HwError::new(
                sqlstate::DATATYPE_MISMATCH,
                format!(
                    "column \"{}\" of the generator is not of type {}",
                    field.name(),
                    PgType::of(field).sql_name()
                ),
            )
            .with_hint(format!("Declare it as {}.", PgType::of(own_field).sql_name())));
        }
    }
    Ok(declared)
}

fn sequence_columns(declared: Option<SchemaRef>) -> Result<SchemaRef> {
    let Some(declared) = declared else {
        let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
        let fields = vec![Field::new("n", DataType::Int64, false), Field::new("ts", timestamp, false)];
        return Ok(SchemaRef::new(Schema::new(fields)));
    };
    for field in declared.fields() {
        match field.data_type() {
            DataType::Int32 | DataType::Int64 | DataType::Timestamp(TimeUnit::Microsecond, _) => {}
            _ => {
                return Err(HwError::new(
                    sqlstate::DATATYPE_MISMATCH,
                    format!(
                        "column \"{}\" of type {} cannot count up",
                        field.name(),
                        PgType::of(field).sql_name()
                    ),
                )
                .with_hint("Columns of a sequence are integer, bigint, timestamp or timestamptz."));
            }
        }
    }
    Ok(declared)
}
