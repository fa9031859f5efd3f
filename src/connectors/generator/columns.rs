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
use arrow::buffer::NullBuffer;
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

    pub fn generate(&self, rows: Range<i64>, schema: &SchemaRef) -> Result<RecordBatch> {
        let count = (rows.end - rows.start).max(0) as usize;
        let columns: Vec<ArrayRef> =
            schema.fields().iter().map(|field| self.column(rows.clone(), field)).collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
    }

    fn column(&self, rows: Range<i64>, field: &Field) -> Result<ArrayRef> {
        let column = Column::of(field.name())?;
        let model = &self.model;
        match column {
            Column::EventType => Ok(Arc::new(Int32Array::from_iter_values(
                rows.map(|row| EventKind::of(self.table.event(row)) as i32),
            ))),
            Column::DateTime => self.times(rows, column, field, |e| model.date_time(e)),
            Column::Expires => self.times(rows, column, field, |e| model.expires(e)),
            Column::Id => self.integers(rows, column, |e| model.id(e)),
            Column::InitialBid => self.integers(rows, column, |e| model.initial_bid(e)),
            Column::Reserve => self.integers(rows, column, |e| model.reserve(e)),
            Column::Seller => self.integers(rows, column, |e| model.seller(e)),
            Column::Category => self.integers(rows, column, |e| model.category(e)),
            Column::Auction => self.integers(rows, column, |e| model.bid_auction(e)),
            Column::Bidder => self.integers(rows, column, |e| model.bid_bidder(e)),
            Column::Price => self.integers(rows, column, |e| model.bid_price(e)),
            Column::Name => self.texts(rows, column, 14, |e, out| model.push_name(e, out)),
            Column::EmailAddress => self.texts(rows, column, 16, |e, out| model.push_email_address(e, out)),
            Column::CreditCard => self.texts(rows, column, 19, |e, out| model.push_credit_card(e, out)),
            Column::City => self.texts(rows, column, 9, |e, out| model.push_city(e, out)),
            Column::State => self.texts(rows, column, 2, |e, out| model.push_state(e, out)),
            Column::ItemName => self.texts(rows, column, 16, |e, out| model.push_item_name(e, out)),
            Column::Description => self.texts(rows, column, 56, |e, out| model.push_description(e, out)),
            Column::Extra => self.texts(rows, column, 84, |e, out| model.push_extra(e, out)),
            Column::Channel => {
                let channels = &*CHANNEL_TABLE;
                self.texts(rows, column, 12, |e, out| {
                    out.extend_from_slice(channels.name(model.bid_channel(e)))
                })
            }
            Column::Url => {
                let channels = &*CHANNEL_TABLE;
                self.texts(rows, column, 72, |e, out| {
                    out.extend_from_slice(channels.url(model.bid_channel(e)))
                })
            }
        }
    }

    /// Which rows have the column; `None` if all do.
    fn nulls(&self, rows: Range<i64>, column: Column) -> Option<NullBuffer> {
        let partial = self.table == NexmarkTable::Event
            && !matches!(column, Column::EventType | Column::DateTime | Column::Extra);
        partial.then(|| rows.map(|row| column.belongs_to(EventKind::of(row as u64))).collect())
    }

    fn integers(&self, rows: Range<i64>, column: Column, value: impl Fn(u64) -> i64) -> Result<ArrayRef> {
        let nulls = self.nulls(rows.clone(), column);
        let values: Vec<i64> = match &nulls {
            None => rows.map(|row| value(self.table.event(row))).collect(),
            Some(nulls) => {
                let events = rows.map(|row| self.table.event(row));
                events.zip(nulls).map(|(event, present)| if present { value(event) } else { 0 }).collect()
            }
        };
        Ok(Arc::new(Int64Array::new(values.into(), nulls)))
    }

    fn times(
        &self,
        rows: Range<i64>,
        column: Column,
        field: &Field,
        value: impl Fn(u64) -> i64,
    ) -> Result<ArrayRef> {
        let nulls = self.nulls(rows.clone(), column);
        let values: Vec<i64> = rows.map(|row| value(self.table.event(row))).collect();
        let zone = match field.data_type() {
            DataType::Timestamp(_, zone) => zone.clone(),
            _ => None,
        };
        Ok(Arc::new(TimestampMicrosecondArray::new(values.into(), nulls).with_timezone_opt(zone)))
    }

    fn texts(
        &self,
        rows: Range<i64>,
        column: Column,
        row_bytes: usize,
        write: impl Fn(u64, &mut Vec<u8>),
    ) -> Result<ArrayRef> {
        let nulls = self.nulls(rows.clone(), column);
        let mut text = TextColumn::with_capacity((rows.end - rows.start).max(0) as usize, row_bytes);
        for row in rows {
            let event = self.table.event(row);
            if nulls.is_none() || column.belongs_to(EventKind::of(event)) {
                text.push(|out| write(event, out));
            } else {
                text.push(|_| ());
            }
        }
        text.finish(nulls)
    }
}
