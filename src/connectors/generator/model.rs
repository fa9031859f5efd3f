//! The Nexmark model: event number → values of that event.
//!
//! Follows the generator of github.com/nexmark/nexmark (commit 6b3646c), itself Apache
//! Beam's: of 50 events 1 is a person, 3 are auctions and 46 bids; half of the bids go to
//! the newest hundred's first auction, three quarters come from the newest hundred's
//! second person, the others from those in flight; prices are `10^U(0,6)` dollars in cents.
//!
//! Differences: `FIRST_PERSON_ID` is added to a bidder once (upstream: twice, so its
//! bidders never join the first thousand people); event times have microseconds, so no two
//! events share one at the default rate; random draws are hashes of the event number.

use super::mixer::{Draw, Mixer, power_of_ten};
use super::options::{NexmarkOptions, TimeOptions};
use super::text::{Channels, push_letters, push_number, push_words, words_length};

pub const PERSON_PROPORTION: u64 = 1;
pub const AUCTION_PROPORTION: u64 = 3;
pub const BID_PROPORTION: u64 = 46;
pub const TOTAL_PROPORTION: u64 = PERSON_PROPORTION + AUCTION_PROPORTION + BID_PROPORTION;

const FIRST_PERSON_ID: i64 = 1000;
const FIRST_AUCTION_ID: i64 = 1000;
const FIRST_CATEGORY_ID: i64 = 10;
const CATEGORIES: u64 = 5;
/// Hot auctions, sellers and bidders change with every so many new ids.
const HOT_BATCH: u64 = 100;
/// Ids drawn may run ahead of those that exist by so many.
const ID_LEAD: u64 = 10;
/// Auctions' texts are shorter than so many bytes.
const ITEM_NAME_MAX: u64 = 20;
const DESCRIPTION_MAX: u64 = 100;
/// Fixed-width columns count 8 bytes each towards an event's average size.
const BID_FIXED_BYTES: usize = 32;
const AUCTION_FIXED_BYTES: usize = 48;
const PERSON_FIXED_BYTES: usize = 8;
const MICROS_PER_SECOND: u64 = 1_000_000;

const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];
const CITIES: [&str; 10] = [
    "Phoenix",
    "Los Angeles",
    "San Francisco",
    "Boise",
    "Portland",
    "Bend",
    "Redmond",
    "Seattle",
    "Kent",
    "Cheyenne",
];
const FIRST_NAMES: [&str; 11] =
    ["Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter"];
const LAST_NAMES: [&str; 9] =
    ["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"];

/// What an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Person = 0,
    Auction = 1,
    Bid = 2,
}

impl EventKind {
    #[inline]
    pub fn of(event: u64) -> EventKind {
        match event % TOTAL_PROPORTION {
            0 => EventKind::Person,
            offset if offset < PERSON_PROPORTION + AUCTION_PROPORTION => EventKind::Auction,
            _ => EventKind::Bid,
        }
    }
}

/// What a draw is for; each purpose has its own independent numbers.
#[derive(Clone, Copy)]
enum Purpose {
    BidAuction,
    BidBidder,
    BidPrice,
    BidChannel,
    Extra,
    Name,
    Email,
    CreditCard,
    City,
    State,
    ItemName,
    Description,
    InitialBid,
    Reserve,
    Expires,
    Seller,
    Category,
}

/// The values of all events of one configuration.
#[derive(Clone, Debug)]
pub struct Model {
    mixer: Mixer,
    options: NexmarkOptions,
    clock: EventClock,
}

impl Model {
    pub fn new(seed: u64, options: &NexmarkOptions, clock: EventClock) -> Model {
        Model { mixer: Mixer::new(seed), options: options.clone(), clock }
    }

    #[inline]
    fn draw(&self, event: u64, purpose: Purpose) -> Draw {
        self.mixer.draw(event, purpose as u64)
    }

    /// Event time in microseconds. Within each group of `out_of_order_group_size` events the
    /// times are permuted.
    #[inline]
    pub fn date_time(&self, event: u64) -> i64 {
        let group = self.options.out_of_order_group_size;
        if group <= 1 {
            return self.clock.at(event);
        }
        self.clock.at(event / group * group + event.wrapping_mul(953) % group)
    }

    /// The earliest `date_time` of an event with this number or a larger one.
    pub fn earliest_from(&self, event: u64) -> i64 {
        let group = self.options.out_of_order_group_size.max(1);
        self.clock.at(event / group * group)
    }

    /// The person's or auction's own id.
    #[inline]
    pub fn id(&self, event: u64) -> i64 {
        match EventKind::of(event) {
            EventKind::Person => last_person(event) as i64 + FIRST_PERSON_ID,
            _ => last_auction(event) as i64 + FIRST_AUCTION_ID,
        }
    }

    #[inline]
    pub fn bid_auction(&self, event: u64) -> i64 {
        let draw = self.draw(event, Purpose::BidAuction);
        let last = last_auction(event);
        let auction = if draw.is_hot(self.options.hot_auction_ratio) {
            last / HOT_BATCH * HOT_BATCH
        } else {
            let first = last.saturating_sub(self.options.in_flight_auctions);
            first + draw.below(last - first + 1 + ID_LEAD)
        };
        auction as i64 + FIRST_AUCTION_ID
    }

    #[inline]
    pub fn bid_bidder(&self, event: u64) -> i64 {
        let draw = self.draw(event, Purpose::BidBidder);
        let bidder = if draw.is_hot(self.options.hot_bidder_ratio) {
            last_person(event) / HOT_BATCH * HOT_BATCH + 1
        } else {
            self.active_person(event, draw)
        };
        bidder as i64 + FIRST_PERSON_ID
    }

    #[inline]
    pub fn bid_price(&self, event: u64) -> i64 {
        price(self.draw(event, Purpose::BidPrice))
    }

    /// Index into the table of channels.
    #[inline]
    pub fn bid_channel(&self, event: u64) -> usize {
        Channels::pick(self.draw(event, Purpose::BidChannel))
    }

    pub fn seller(&self, event: u64) -> i64 {
        let draw = self.draw(event, Purpose::Seller);
        let seller = if draw.is_hot(self.options.hot_seller_ratio) {
            last_person(event) / HOT_BATCH * HOT_BATCH
        } else {
            self.active_person(event, draw)
        };
        seller as i64 + FIRST_PERSON_ID
    }

    pub fn category(&self, event: u64) -> i64 {
        FIRST_CATEGORY_ID + self.draw(event, Purpose::Category).below(CATEGORIES) as i64
    }

    pub fn initial_bid(&self, event: u64) -> i64 {
        price(self.draw(event, Purpose::InitialBid))
    }

    pub fn reserve(&self, event: u64) -> i64 {
        self.initial_bid(event) + price(self.draw(event, Purpose::Reserve))
    }

    /// At least 1 ms after the auction's start; on average when `in_flight_auctions` more
    /// auctions have begun.
    pub fn expires(&self, event: u64) -> i64 {
        let start = self.date_time(event);
        let ahead = self.options.in_flight_auctions * TOTAL_PROPORTION / AUCTION_PROPORTION;
        let horizon = self.clock.at(event + ahead).saturating_sub(start).max(1) as u64;
        start + 1_000 + self.draw(event, Purpose::Expires).below(horizon * 2) as i64
    }

    #[inline]
    fn active_person(&self, event: u64, draw: Draw) -> u64 {
        let people = last_person(event) + 1;
        let active = people.min(self.options.active_people);
        people - active + draw.below(active + ID_LEAD)
    }

    pub fn push_name(&self, event: u64, out: &mut Vec<u8>) {
        let draw = self.draw(event, Purpose::Name);
        out.extend_from_slice(pick(draw, &FIRST_NAMES));
        out.push(b' ');
        out.extend_from_slice(pick(draw.further(1), &LAST_NAMES));
    }

    pub fn push_email_address(&self, event: u64, out: &mut Vec<u8>) {
        let draw = self.draw(event, Purpose::Email);
        push_letters(out, draw, 3 + draw.below(4) as usize);
        out.push(b'@');
        push_letters(out, draw.further(10), 3 + draw.further(11).below(2) as usize);
        out.extend_from_slice(b".com");
    }

    pub fn push_credit_card(&self, event: u64, out: &mut Vec<u8>) {
        let draw = self.draw(event, Purpose::CreditCard);
        for group in 0..4 {
            if group > 0 {
                out.push(b' ');
            }
            push_number(out, draw.further(group).below(10_000), 4);
        }
    }

    pub fn push_city(&self, event: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(pick(self.draw(event, Purpose::City), &CITIES));
    }

    pub fn push_state(&self, event: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(pick(self.draw(event, Purpose::State), &STATES));
    }

    pub fn push_item_name(&self, event: u64, out: &mut Vec<u8>) {
        push_words(out, self.draw(event, Purpose::ItemName), ITEM_NAME_MAX);
    }

    pub fn push_description(&self, event: u64, out: &mut Vec<u8>) {
        push_words(out, self.draw(event, Purpose::Description), DESCRIPTION_MAX);
    }

    /// Fills the event up to its kind's average size, give or take a fifth.
    #[inline]
    pub fn push_extra(&self, event: u64, out: &mut Vec<u8>) {
        let (size, average) = match EventKind::of(event) {
            EventKind::Bid => (BID_FIXED_BYTES, self.options.bid_bytes),
            EventKind::Auction => (self.auction_size(event), self.options.auction_bytes),
            EventKind::Person => (self.person_size(event, out), self.options.person_bytes),
        };
        let missing = average.saturating_sub(size);
        let draw = self.draw(event, Purpose::Extra);
        let delta = (missing + 2) / 5;
        let length = missing - delta + draw.below((2 * delta).max(1) as u64) as usize;
        push_letters(out, draw, length);
    }

    /// Bytes of the auction without `extra`.
    fn auction_size(&self, event: u64) -> usize {
        AUCTION_FIXED_BYTES
            + words_length(self.draw(event, Purpose::ItemName), ITEM_NAME_MAX)
            + words_length(self.draw(event, Purpose::Description), DESCRIPTION_MAX)
    }

    /// Bytes of the person without `extra`; `out` is used as scratch space.
    fn person_size(&self, event: u64, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        self.push_name(event, out);
        self.push_email_address(event, out);
        self.push_credit_card(event, out);
        self.push_city(event, out);
        self.push_state(event, out);
        let size = out.len() - start;
        out.truncate(start);
        PERSON_FIXED_BYTES + size
    }
}

/// The newest person that exists at an event, counted from 0.
#[inline]
fn last_person(event: u64) -> u64 {
    event / TOTAL_PROPORTION
}

/// The newest auction that exists at an event, counted from 0 (0 before the first).
#[inline]
fn last_auction(event: u64) -> u64 {
    let (round, offset) = (event / TOTAL_PROPORTION, event % TOTAL_PROPORTION);
    let begun = (offset + 1).saturating_sub(PERSON_PROPORTION).min(AUCTION_PROPORTION);
    (round * AUCTION_PROPORTION + begun).saturating_sub(1)
}

#[inline]
fn price(draw: Draw) -> i64 {
    (power_of_ten(draw.unit() * 6.0) * 100.0 + 0.5) as i64
}

fn pick<'a>(draw: Draw, values: &[&'a str]) -> &'a [u8] {
    values[draw.below(values.len() as u64) as usize].as_bytes()
}

/// Event number → event time: `base + event × micros / events`.
#[derive(Clone, Copy, Debug)]
pub struct EventClock {
    base_micros: i64,
    micros: u64,
    events: u64,
}

impl EventClock {
    /// `rate`: rows per second, if limited, of which there are `share` in every `total`
    /// events. With real-time event time a row's event time is when its turn comes.
    pub fn new(time: &TimeOptions, rate: Option<u64>, share: u64, total: u64) -> EventClock {
        match rate {
            Some(rate) if time.realtime => EventClock {
                base_micros: time.base_time,
                micros: MICROS_PER_SECOND * share,
                events: rate * total,
            },
            _ => {
                EventClock { base_micros: time.base_time, micros: MICROS_PER_SECOND, events: time.event_rate }
            }
        }
    }

    #[inline]
    pub fn at(&self, event: u64) -> i64 {
        let micros = match event.checked_mul(self.micros) {
            Some(product) => product / self.events,
            None => (u128::from(event) * u128::from(self.micros) / u128::from(self.events)) as u64,
        };
        self.base_micros.saturating_add_unsigned(micros)
    }
}
