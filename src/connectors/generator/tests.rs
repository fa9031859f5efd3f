use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Field, Fields, Int32Type, Int64Type, Schema, SchemaRef, TimestampMicrosecondType,
};
use proptest::prelude::*;

use super::*;
use crate::connectors::ReadRequest;
use crate::types::PgType;

fn with(options: &[(&str, &str)]) -> BTreeMap<String, String> {
    options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
}

fn nexmark(table: &str, more: &[(&str, &str)]) -> GeneratorConnector {
    let mut options =
        with(&[("connector", "generator"), ("generator", "nexmark"), ("nexmark.table.type", table)]);
    options.extend(with(more));
    GeneratorConnector::new(GeneratorOptions::from_with(&options, None).unwrap())
}

fn rows(connector: &GeneratorConnector, range: Range<i64>) -> RecordBatch {
    connector.generate(range, &connector.options.schema()).unwrap()
}

fn longs(batch: &RecordBatch, name: &str) -> Vec<i64> {
    batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().values().to_vec()
}

fn times(batch: &RecordBatch, name: &str) -> Vec<i64> {
    batch.column_by_name(name).unwrap().as_primitive::<TimestampMicrosecondType>().values().to_vec()
}

fn texts(batch: &RecordBatch, name: &str) -> Vec<String> {
    batch.column_by_name(name).unwrap().as_string::<i32>().iter().map(|v| v.unwrap().to_string()).collect()
}

fn read_all(reader: &mut dyn SourceReader) -> Vec<(i64, i64)> {
    let mut ranges = Vec::new();
    loop {
        for chunk in reader.poll(Duration::ZERO).unwrap() {
            assert_eq!(chunk.rows.num_rows(), chunk.offsets.len());
            assert_eq!(chunk.offsets.first(), Some(&chunk.start_offset));
            ranges.push((chunk.start_offset, chunk.end_offset));
        }
        if reader.splits()[0].caught_up {
            return ranges;
        }
    }
}

fn request(connector: &GeneratorConnector, start_offset: i64, end_offset: Option<i64>) -> ReadRequest {
    ReadRequest {
        schema: connector.options.schema(),
        checked: Fields::empty(),
        splits: vec![SplitRange { split: 0, start_offset, end_offset }],
        chunk_rows_max: 100,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_range_is_a_slice_of_the_whole(table in 0..4usize, start in 0..2_000i64, length in 0..300i64, seed: u64) {
        let table = ["bid", "auction", "person", "event"][table];
        let connector = nexmark(table, &[("seed", &seed.to_string())]);
        let whole = rows(&connector, 0..start + length);
        prop_assert_eq!(rows(&connector, start..start + length), whole.slice(start as usize, length as usize));
    }

    #[test]
    fn powers_of_ten_are_near(exponent in 0.0..6.0f64) {
        let expect = 10f64.powf(exponent);
        prop_assert!((mixer::power_of_ten(exponent) / expect - 1.0).abs() < 1e-7);
    }
}

#[test]
fn seeds_differ_and_a_column_does_not_depend_on_the_others() {
    let connector = nexmark("bid", &[]);
    let all = rows(&connector, 0..500);
    assert_ne!(all, rows(&nexmark("bid", &[("seed", "1")]), 0..500));
    let one: SchemaRef = Arc::new(Schema::new(vec![Field::new("url", DataType::Utf8, false)]));
    assert_eq!(connector.generate(0..500, &one).unwrap().column(0), all.column_by_name("url").unwrap());
    let none = Arc::new(Schema::empty());
    assert_eq!(connector.generate(0..500, &none).unwrap().num_rows(), 500);
}

#[test]
fn tables_are_parts_of_the_event_stream() {
    let events = rows(&nexmark("event", &[]), 0..5_000);
    let kinds = events.column_by_name("event_type").unwrap().as_primitive::<Int32Type>().values().to_vec();
    for (kind, table, count) in [(0, "person", 100), (1, "auction", 300), (2, "bid", 4_600)] {
        let own = rows(&nexmark(table, &[]), 0..count);
        let chosen: Vec<u32> = (0..5_000).filter(|i| kinds[*i as usize] == kind).collect();
        assert_eq!(chosen.len(), count as usize, "{table}");
        for (field, column) in own.schema().fields().iter().zip(own.columns()) {
            let indices = arrow::array::UInt32Array::from(chosen.clone());
            let union = events.column_by_name(field.name()).unwrap();
            assert_eq!(
                &arrow::compute::take(union, &indices, None).unwrap(),
                column,
                "{table}.{}",
                field.name()
            );
        }
    }
    assert_eq!(events.column_by_name("price").unwrap().null_count(), 400);
    assert_eq!(events.column_by_name("id").unwrap().null_count(), 4_600);
}

#[test]
fn bids_have_nexmark_distributions() {
    let bids = rows(&nexmark("bid", &[]), 0..100_000);
    let share = |values: &[i64], test: &dyn Fn(i64) -> bool| {
        values.iter().filter(|v| test(**v)).count() as f64 / values.len() as f64
    };
    let auctions = longs(&bids, "auction");
    let hot = share(&auctions, &|a| (a - 1000) % 100 == 0);
    assert!((0.49..0.53).contains(&hot), "hot auctions {hot}");
    let bidders = longs(&bids, "bidder");
    let hot = share(&bidders, &|b| (b - 1000) % 100 == 1);
    assert!((0.74..0.78).contains(&hot), "hot bidders {hot}");
    let people = 100_000 / 46 + 1000 + 10;
    assert!(bidders.iter().all(|b| (1000..=people + 1).contains(b)), "{:?}", bidders.iter().max());

    let prices = longs(&bids, "price");
    assert!(prices.iter().all(|p| (100..=100_000_000).contains(p)));
    let cheap = share(&prices, &|p| p < 100_000);
    assert!((0.49..0.51).contains(&cheap), "median of 10^U(0,6) dollars is 1000: {cheap}");

    let mut channels: HashMap<String, usize> = HashMap::new();
    for channel in texts(&bids, "channel") {
        *channels.entry(channel).or_default() += 1;
    }
    let hot: usize = ["Google", "Facebook", "Baidu", "Apple"].iter().map(|c| channels[*c]).sum();
    assert!((49_000..51_000).contains(&hot), "hot channels {hot}");
    assert!(channels.len() > 9_900, "{}", channels.len());

    let extra: usize = texts(&bids, "extra").iter().map(String::len).sum();
    assert!((67.0..69.0).contains(&(extra as f64 / 100_000.0)), "a bid is 100 bytes: {extra}");
    assert!(texts(&bids, "url").iter().all(|u| {
        u.starts_with("https://www.nexmark.com/")
            && u.contains("/item.htm?query=1")
            && u.split('/').count() == 7
    }));
}

#[test]
fn people_and_auctions_have_nexmark_shapes() {
    let people = rows(&nexmark("person", &[]), 0..2_000);
    assert_eq!(longs(&people, "id"), (1000..3000).collect::<Vec<i64>>());
    assert!(texts(&people, "credit_card").iter().all(|c| c.len() == 19));
    assert!(texts(&people, "email_address").iter().all(|e| e.contains('@') && e.ends_with(".com")));
    let bytes: usize = PERSON_TEXTS.iter().flat_map(|c| texts(&people, c)).map(|t| t.len()).sum();
    assert!((185..198).contains(&(bytes / 2_000)), "{bytes}");

    let auctions = rows(&nexmark("auction", &[]), 0..3_000);
    assert_eq!(longs(&auctions, "id"), (1000..4000).collect::<Vec<i64>>());
    let mut categories = longs(&auctions, "category");
    categories.sort_unstable();
    categories.dedup();
    assert_eq!(categories, [10, 11, 12, 13, 14]);
    let started = times(&auctions, "date_time");
    let ended = times(&auctions, "expires");
    let mean = started.iter().zip(&ended).map(|(s, e)| e - s).sum::<i64>() / 3_000;
    assert!((150_000..185_000).contains(&mean), "1,666 events at 10,000/s: {mean}");
    assert!(longs(&auctions, "reserve").iter().zip(longs(&auctions, "initial_bid")).all(|(r, i)| *r > i));
    assert!(texts(&auctions, "description").iter().all(|d| d.trim() == d && (3..100).contains(&d.len())));
}

const PERSON_TEXTS: [&str; 6] = ["name", "email_address", "credit_card", "city", "state", "extra"];

#[test]
fn event_time_follows_the_event_number() {
    let base = 1_436_918_400_000_000;
    let bids = times(&rows(&nexmark("bid", &[]), 0..47), "date_time");
    assert_eq!((bids[0], bids[45], bids[46]), (base + 400, base + 4_900, base + 5_400));

    let shuffled = nexmark("event", &[("nexmark.out_of_order_group_size", "10")]);
    let mut shuffled = times(&rows(&shuffled, 0..100), "date_time");
    assert!(!shuffled.is_sorted());
    shuffled.sort_unstable();
    assert_eq!(shuffled, times(&rows(&nexmark("event", &[]), 0..100), "date_time"));
}

#[test]
fn a_bounded_generator_ends() {
    let connector = nexmark("bid", &[("rows", "250")]);
    assert_eq!(connector.discover().unwrap()[0].end_offset, Some(250));
    let mut reader = connector.open(request(&connector, 0, None)).unwrap();
    assert_eq!(read_all(reader.as_mut()), [(0, 100), (100, 200), (200, 250)]);
    assert!(reader.splits()[0].finished);
    assert!(reader.poll(Duration::ZERO).unwrap().is_empty());

    let mut part = connector.open(request(&connector, 30, Some(90))).unwrap();
    assert_eq!(read_all(part.as_mut()), [(30, 90)]);
    assert!(!part.splits()[0].finished);
}

#[test]
fn rate_holds_rows_back() {
    let connector = nexmark("bid", &[("rate", "1"), ("rows", "1000")]);
    let mut reader = connector.open(request(&connector, 7, None)).unwrap();
    assert!(reader.poll(Duration::ZERO).unwrap().is_empty());
    let status = reader.splits().remove(0);
    assert!(status.caught_up && !status.finished);
}

#[test]
fn realtime_event_time_is_fixed_at_creation() {
    let mut options = with(&[
        ("generator", "nexmark"),
        ("nexmark.table.type", "bid"),
        ("nexmark.event_time", "realtime"),
        ("rate", "46"),
    ]);
    let created = GeneratorOptions::from_with(&options, None).unwrap();
    created.persist(&mut options);
    assert_eq!(GeneratorOptions::from_with(&options, None).unwrap(), created);

    options.insert("nexmark.base_time".into(), "2020-01-01 00:00:00".into());
    let old = GeneratorConnector::new(GeneratorOptions::from_with(&options, None).unwrap());
    let range = old.end_offsets().unwrap().remove(0);
    assert!(range.end_offset.unwrap() > 46 * 86_400 * 365 * 5);
    let second = times(&rows(&old, 0..93), "date_time");
    assert_eq!(second[46] - second[0], 1_000_000);
    let mut reader = old.open(request(&old, 0, None)).unwrap();
    assert_eq!(reader.poll(Duration::ZERO).unwrap().len(), 4);
}

#[test]
fn bad_options_are_refused_with_the_valid_ones() {
    let check = |options: &[(&str, &str)], sqlstate: &str, message: &str, hint: &str| {
        let error = GeneratorOptions::from_with(&with(options), None).unwrap_err();
        assert_eq!(error.sqlstate(), sqlstate, "{error}");
        assert_eq!(error.message(), message);
        assert!(error.hint().unwrap().contains(hint), "{error}");
    };
    check(&[], "22023", "option \"generator\" is required by connector \"generator\"", "nexmark");
    check(&[("generator", "tpch")], "22023", "unrecognized generator \"tpch\"", "sequence");
    let speed = "unrecognized option \"speed\" for generator \"nexmark\"";
    check(&[("generator", "nexmark"), ("speed", "1")], "22023", speed, "nexmark.table.type");
    let rate = "invalid value for option \"rate\": \"fast\"";
    check(&[("generator", "sequence"), ("rate", "fast")], "22023", rate, "whole numbers from 1");
    let table = "invalid value for option \"nexmark.table.type\": \"bids\"";
    check(&[("generator", "nexmark"), ("nexmark.table.type", "bids")], "22023", table, "bid, auction");
    let realtime = "real-time event time needs option \"rate\"";
    check(&[("generator", "nexmark"), ("nexmark.event_time", "realtime")], "22023", realtime, "rate");
    check(&[("generator", "random")], "42P16", "generator \"random\" needs a list of columns", "CREATE");
}

#[test]
fn declared_columns_are_checked() {
    let options = with(&[("generator", "nexmark"), ("nexmark.table.type", "bid")]);
    let check = |field: Field| {
        GeneratorOptions::from_with(&options, Some(Arc::new(Schema::new(vec![field])))).map(|o| o.schema())
    };
    let timestamptz = PgType::Timestamptz.field("date_time", false);
    let schema = check(timestamptz).unwrap();
    let connector =
        GeneratorConnector::new(GeneratorOptions::from_with(&options, Some(schema.clone())).unwrap());
    assert_eq!(connector.generate(0..3, &schema).unwrap().num_rows(), 3);
    let error = check(Field::new("amount", DataType::Int64, true)).unwrap_err();
    assert_eq!((error.sqlstate(), error.message()), ("42703", "the generator has no column \"amount\""));
    let error = check(Field::new("price", DataType::Utf8, true)).unwrap_err();
    assert_eq!((error.sqlstate(), error.hint()), ("42804", Some("Declare it as bigint.")));
}

#[test]
fn sequences_count_and_random_values_have_every_type() {
    let options = with(&[("generator", "sequence"), ("sequence.base_time", "2026-01-01")]);
    let sequence = GeneratorConnector::new(GeneratorOptions::from_with(&options, None).unwrap());
    let batch = rows(&sequence, 5..8);
    assert_eq!(longs(&batch, "n"), [5, 6, 7]);
    let ts = times(&batch, "ts");
    assert_eq!((ts[1] - ts[0], ts[2] - ts[1]), (1_000_000, 1_000_000));

    let types = [
        PgType::Bool,
        PgType::Int2,
        PgType::Int4,
        PgType::Int8,
        PgType::Float4,
        PgType::Float8,
        PgType::Numeric(Some((12, 2))),
        PgType::Numeric(None),
        PgType::Text,
        PgType::Varchar(Some(2)),
        PgType::Bytea,
        PgType::Date,
        PgType::Time,
        PgType::Timestamp,
        PgType::Timestamptz,
        PgType::Interval,
        PgType::Uuid,
        PgType::Jsonb,
    ];
    let fields: Vec<Field> =
        types.iter().enumerate().map(|(i, t)| t.field(&format!("c{i}"), false)).collect();
    let schema = Arc::new(Schema::new(fields));
    let options =
        GeneratorOptions::from_with(&with(&[("generator", "random")]), Some(schema.clone())).unwrap();
    let random = GeneratorConnector::new(options);
    let batch = random.generate(0..1_000, &schema).unwrap();
    assert!(batch.columns().iter().all(|c| c.null_count() == 0 && c.len() == 1_000));
    assert_eq!(random.generate(400..500, &schema).unwrap(), batch.slice(400, 100));
}

#[test]
fn json_bids_hold_the_columns_of_the_generator() {
    let bids = rows(&nexmark("bid", &[]), 0..200);
    let mut bytes = 0;
    for bid in 0..200 {
        let mut out = Vec::new();
        bid_json(0, bid, &mut out);
        bytes += out.len();
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["event_type"], 2);
        assert_eq!(value["price"], longs(&bids, "price")[bid as usize]);
        assert_eq!(value["auction"], longs(&bids, "auction")[bid as usize]);
        assert_eq!(value["url"], texts(&bids, "url")[bid as usize]);
        assert_eq!(value["extra"], texts(&bids, "extra")[bid as usize]);
    }
    assert!((280..360).contains(&(bytes / 200)), "{}", bytes / 200);
}
