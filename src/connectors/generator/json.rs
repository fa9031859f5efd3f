//! Nexmark bids as JSON bytes, for benches and tests of decoding.

use chrono::DateTime;

use super::model::{EventClock, Model, TOTAL_PROPORTION};
use super::options::{NexmarkOptions, NexmarkTable};
use super::text::{CHANNEL_TABLE, push_number};

/// Appends bid number `bid` of the default Nexmark stream as one flat JSON object of about
/// 330 bytes, with `event_type` 2 and the same values as the generator's columns.
pub fn bid_json(seed: u64, bid: u64, out: &mut Vec<u8>) {
    let options = NexmarkOptions::default();
    let clock = EventClock::new(&options.time, None, TOTAL_PROPORTION, TOTAL_PROPORTION);
    let model = Model::new(seed, &options, clock);
    let event = NexmarkTable::Bid.event(bid as i64);
    let channel = model.bid_channel(event);
    out.extend_from_slice(b"{\"event_type\": 2, \"auction\": ");
    push_number(out, model.bid_auction(event) as u64, 1);
    out.extend_from_slice(b", \"bidder\": ");
    push_number(out, model.bid_bidder(event) as u64, 1);
    out.extend_from_slice(b", \"price\": ");
    push_number(out, model.bid_price(event) as u64, 1);
    out.extend_from_slice(b", \"channel\": \"");
    out.extend_from_slice(CHANNEL_TABLE.name(channel));
    out.extend_from_slice(b"\", \"url\": \"");
    out.extend_from_slice(CHANNEL_TABLE.url(channel));
    out.extend_from_slice(b"\", \"date_time\": \"");
    if let Some(time) = DateTime::from_timestamp_micros(model.date_time(event)) {
        out.extend_from_slice(time.format("%Y-%m-%d %H:%M:%S%.6f").to_string().as_bytes());
    }
    out.extend_from_slice(b"\", \"extra\": \"");
    model.push_extra(event, out);
    out.extend_from_slice(b"\"}");
}
