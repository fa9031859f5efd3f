//! Nexmark events as Arrow columns.
//!
//! A table is a sub-sequence of the event stream: row n of `bid` is the n-th bid. The table
//! `event` is the whole stream, with the columns of all three kinds; columns that an event's
//! kind does not have are null. Each requested column is one loop over event numbers,
//! straight into an Arrow buffer.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int32Array, Int64Array, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::model::{
    AUCTION_PROPORTION, BID_PROPORTION, EventClock, EventKind, Model, PERSON_PROPORTION, TOTAL_PROPORTION,
};
use super::options::{GeneratorOptions, NexmarkOptions, NexmarkTable};
use super::text::{CHANNEL_TABLE, TextColumn};
use crate::error::{HwError, Result};

/// The columns of all kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    EventType,
    Id,
    Name,
    EmailAddress,
    CreditCard,
    City,
    State,
    DateTime,
    Extra,
    ItemName,
    Description,
    InitialBid,
    Reserve,
    Expires,
    Seller,
    Category,
    Auction,
    Bidder,
    Price,
    Channel,
    Url,
}

/// Every column with its name, in the order of the table `event`.
const COLUMNS: [(&str, Column); 21] = [
    ("event_type", Column::EventType),
    ("id", Column::Id),
    ("name", Column::Name),
    ("email_address", Column::EmailAddress),
    ("credit_card", Column::CreditCard),
    ("city", Column::City),
    ("state", Column::State),
    ("date_time", Column::DateTime),
    ("extra", Column::Extra),
    ("item_name", Column::ItemName),
    ("description", Column::Description),
    ("initial_bid", Column::InitialBid),
    ("reserve", Column::Reserve),
    ("expires", Column::Expires),
    ("seller", Column::Seller),
    ("category", Column::Category),
    ("auction", Column::Auction),
    ("bidder", Column::Bidder),
    ("price", Column::Price),
    ("channel", Column::Channel),
    ("url", Column::Url),
];

const PERSON_COLUMNS: &[&str] =
    &["id", "name", "email_address", "credit_card", "city", "state", "date_time", "extra"];
const AUCTION_COLUMNS: &[&str] = &[
    "id",
    "item_name",
    "description",
    "initial_bid",
    "reserve",
    "date_time",
    "expires",
    "seller",
    "category",
    "extra",
];
const BID_COLUMNS: &[&str] = &["auction", "bidder", "price", "channel", "url", "date_time", "extra"];

impl Column {
    fn of(name: &str) -> Result<Column> {
        COLUMNS
            .iter()
            .find(|(column, _)| *column == name)
            .map(|(_, column)| *column)
            .ok_or_else(|| HwError::internal(format!("nexmark has no column \"{name}\"")))
    }

    fn data_type(self) -> DataType {
        match self {
            Column::EventType => DataType::Int32,
            Column::DateTime | Column::Expires => DataType::Timestamp(TimeUnit::Microsecond, None),
            Column::Name
            | Column::EmailAddress
            | Column::CreditCard
            | Column::City
            | Column::State
            | Column::Extra
            | Column::ItemName
            | Column::Description
            | Column::Channel
            | Column::Url => DataType::Utf8,
            _ => DataType::Int64,
        }
    }

    /// Whether events of this kind have the column.
    fn belongs_to(self, kind: EventKind) -> bool {
        match self {
            Column::EventType | Column::DateTime | Column::Extra => true,
            Column::Id => kind != EventKind::Bid,
            Column::Name | Column::EmailAddress | Column::CreditCard | Column::City | Column::State => {
                kind == EventKind::Person
            }
            Column::Auction | Column::Bidder | Column::Price | Column::Channel | Column::Url => {
                kind == EventKind::Bid
            }
            _ => kind == EventKind::Auction,
        }
    }
}

impl NexmarkTable {
    /// The table's columns under their own names and types.
    pub fn schema(self) -> SchemaRef {
        let names: Vec<&str> = match self {
            NexmarkTable::Person => PERSON_COLUMNS.to_vec(),
            NexmarkTable::Auction => AUCTION_COLUMNS.to_vec(),
            NexmarkTable::Bid => BID_COLUMNS.to_vec(),
            NexmarkTable::Event => COLUMNS.iter().map(|(name, _)| *name).collect(),
        };
        let field = |name: &str| {
            let column = COLUMNS.iter().find(|(n, _)| *n == name).map(|(_, c)| c.data_type());
            Field::new(name, column.unwrap_or(DataType::Int64), self == NexmarkTable::Event)
        };
        Arc::new(Schema::new(names.into_iter().map(field).collect::<Vec<_>>()))
    }

    /// Rows of this table in every [`TOTAL_PROPORTION`] events.
    pub fn proportion(self) -> u64 {
        match self {
            NexmarkTable::Person => PERSON_PROPORTION,
            NexmarkTable::Auction => AUCTION_PROPORTION,
            NexmarkTable::Bid => BID_PROPORTION,
            NexmarkTable::Event => TOTAL_PROPORTION,
        }
    }

    /// The event that is row `row` of this table.
    #[inline]
    pub fn event(self, row: i64) -> u64 {
        let row = row as u64;
        let spread = |share: u64, first: u64| row / share * TOTAL_PROPORTION + first + row % share;
        match self {
            NexmarkTable::Person => spread(PERSON_PROPORTION, 0),
            NexmarkTable::Auction => spread(AUCTION_PROPORTION, PERSON_PROPORTION),
            NexmarkTable::Bid => spread(BID_PROPORTION, PERSON_PROPORTION + AUCTION_PROPORTION),
            NexmarkTable::Event => row,
        }
    }
}

/// One table of one Nexmark stream.
pub struct Nexmark {
    table: NexmarkTable,
    model: Model,
}

impl Nexmark {
    pub fn new(options: &GeneratorOptions, nexmark: &NexmarkOptions) -> Nexmark {
        let share = nexmark.table.proportion();
        let clock = EventClock::new(&nexmark.time, options.rate, share, TOTAL_PROPORTION);
        Nexmark { table: nexmark.table, model: Model::new(options.seed, nexmark, clock) }
    }

    /// The earliest event time (µs) of a row with this number or a larger one.
    pub fn earliest_from(&self, row: i64) -> i64 {
        self.model.earliest_from(self.table.event(row))
    }

    pub fn generate(&self, rows: Range<i64>, schema: &SchemaRef) -> Result<RecordBatch> {
        let count = (rows.end - rows.start).max(0) as usize;
        let kinds = (self.table == NexmarkTable::Event).then(|| Kinds::new(rows.clone()));
        let rows = Rows { table: self.table, range: rows, kinds: kinds.as_ref() };
        let columns: Vec<ArrayRef> =
            schema.fields().iter().map(|field| self.column(&rows, field)).collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
    }

    fn column(&self, rows: &Rows, field: &Field) -> Result<ArrayRef> {
        let column = Column::of(field.name())?;
        let model = &self.model;
        match column {
            Column::EventType => Ok(Arc::new(Int32Array::from_iter_values(
                rows.events().map(|event| EventKind::of(event) as i32),
            ))),
            Column::DateTime => times(rows, column, field, |e| model.date_time(e)),
            Column::Expires => times(rows, column, field, |e| model.expires(e)),
            Column::Id => integers(rows, column, |e| model.id(e)),
            Column::InitialBid => integers(rows, column, |e| model.initial_bid(e)),
            Column::Reserve => integers(rows, column, |e| model.reserve(e)),
            Column::Seller => integers(rows, column, |e| model.seller(e)),
            Column::Category => integers(rows, column, |e| model.category(e)),
            Column::Auction => integers(rows, column, |e| model.bid_auction(e)),
            Column::Bidder => integers(rows, column, |e| model.bid_bidder(e)),
            Column::Price => integers(rows, column, |e| model.bid_price(e)),
            Column::Name => texts(rows, column, 14, |e, out| model.push_name(e, out)),
            Column::EmailAddress => texts(rows, column, 16, |e, out| model.push_email_address(e, out)),
            Column::CreditCard => texts(rows, column, 19, |e, out| model.push_credit_card(e, out)),
            Column::City => texts(rows, column, 9, |e, out| model.push_city(e, out)),
            Column::State => texts(rows, column, 2, |e, out| model.push_state(e, out)),
            Column::ItemName => texts(rows, column, 16, |e, out| model.push_item_name(e, out)),
            Column::Description => texts(rows, column, 56, |e, out| model.push_description(e, out)),
            Column::Extra => texts(rows, column, 84, |e, out| model.push_extra(e, out)),
            Column::Channel => {
                let channels = &*CHANNEL_TABLE;
                texts(rows, column, 12, |e, out| out.extend_from_slice(channels.name(model.bid_channel(e))))
            }
            Column::Url => {
                let channels = &*CHANNEL_TABLE;
                texts(rows, column, 72, |e, out| out.extend_from_slice(channels.url(model.bid_channel(e))))
            }
        }
    }
}

/// The rows of one batch.
struct Rows<'a> {
    table: NexmarkTable,
    range: Range<i64>,
    /// Only for the table `event`.
    kinds: Option<&'a Kinds>,
}

impl Rows<'_> {
    fn len(&self) -> usize {
        (self.range.end - self.range.start).max(0) as usize
    }

    fn events(&self) -> impl Iterator<Item = u64> + use<> {
        let table = self.table;
        self.range.clone().map(move |row| table.event(row))
    }

    /// Which rows have the column; `None` if all do.
    fn nulls(&self, column: Column) -> Option<&NullBuffer> {
        let set =
            EVENT_KINDS.iter().fold(0, |set, kind| set | u8::from(column.belongs_to(*kind)) << *kind as u8);
        self.kinds.and_then(|kinds| kinds.present.iter().find(|(kinds, _)| *kinds == set)).map(|(_, n)| n)
    }
}

const EVENT_KINDS: [EventKind; 3] = [EventKind::Person, EventKind::Auction, EventKind::Bid];
/// Sets of kinds that share columns, as bits: people, auctions, both of these, bids.
const KIND_SETS: [u8; 4] = [0b001, 0b010, 0b011, 0b100];

/// Which rows of a batch are of which kinds.
struct Kinds {
    present: [(u8, NullBuffer); 4],
}

impl Kinds {
    fn new(range: Range<i64>) -> Kinds {
        let kinds: Vec<u8> = range.map(|row| 1 << EventKind::of(row as u64) as u8).collect();
        let rows =
            |set: u8| NullBuffer::new(BooleanBuffer::collect_bool(kinds.len(), |row| kinds[row] & set != 0));
        Kinds { present: KIND_SETS.map(|set| (set, rows(set))) }
    }
}

fn integers(rows: &Rows, column: Column, value: impl Fn(u64) -> i64) -> Result<ArrayRef> {
    let nulls = rows.nulls(column);
    let values: Vec<i64> = match nulls {
        None => rows.events().map(value).collect(),
        Some(nulls) => {
            let mut values = vec![0; rows.len()];
            for row in nulls.valid_indices() {
                values[row] = value(rows.table.event(rows.range.start + row as i64));
            }
            values
        }
    };
    Ok(Arc::new(Int64Array::new(values.into(), nulls.cloned())))
}

fn times(rows: &Rows, column: Column, field: &Field, value: impl Fn(u64) -> i64) -> Result<ArrayRef> {
    let values: Vec<i64> = rows.events().map(value).collect();
    let zone = match field.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let nulls = rows.nulls(column).cloned();
    Ok(Arc::new(TimestampMicrosecondArray::new(values.into(), nulls).with_timezone_opt(zone)))
}

fn texts(
    rows: &Rows,
    column: Column,
    row_bytes: usize,
    write: impl Fn(u64, &mut Vec<u8>),
) -> Result<ArrayRef> {
    let nulls = rows.nulls(column);
    let count = nulls.map_or(rows.len(), |nulls| nulls.len() - nulls.null_count());
    let mut text = TextColumn::with_capacity(rows.len(), count * row_bytes);
    match nulls {
        None => rows.events().for_each(|event| text.push(|out| write(event, out))),
        Some(nulls) => {
            for (event, present) in rows.events().zip(nulls) {
                text.push(|out| {
                    if present {
                        write(event, out)
                    }
                });
            }
        }
    }
    text.finish(nulls.cloned())
}
