use proptest::prelude::*;

use super::*;

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;

fn at(text: &str) -> i64 {
    chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
}

fn zoned(shape: Shape, slide: i64, size: i64, zone: &str) -> Windows {
    Windows::of(shape, slide, size, 0, Zone::from_name(zone).unwrap()).unwrap()
}

fn check(windows: Windows, time: &str, expect: &[(&str, &str)]) {
    let expect: Vec<(i64, i64)> = expect.iter().map(|(s, e)| (at(s), at(e))).collect();
    assert_eq!(windows.windows(at(time)).collect::<Vec<_>>(), expect, "{time}");
}

#[test]
fn local_days_have_23_24_and_25_hours() {
    let days = zoned(Shape::Tumble, DAY, DAY, "Europe/Berlin");
    let (winter, spring) = ("2021-03-28T00:00:00+01:00", "2021-03-29T00:00:00+02:00");
    check(days, "2021-03-28T12:00:00+02:00", &[(winter, spring)]);
    assert_eq!(at(spring) - at(winter), 23 * HOUR);
    check(days, spring, &[(spring, "2021-03-30T00:00:00+02:00")]);
    let (summer, autumn) = ("2021-10-31T00:00:00+02:00", "2021-11-01T00:00:00+01:00");
    for time in
        [summer, "2021-10-31T02:30:00+02:00", "2021-10-31T02:30:00+01:00", "2021-10-31T23:59:59+01:00"]
    {
        check(days, time, &[(summer, autumn)]);
    }
    assert_eq!(at(autumn) - at(summer), 25 * HOUR);
}

#[test]
fn an_hour_that_comes_twice_is_two_windows_and_a_skipped_one_is_none() {
    let hours = zoned(Shape::Tumble, HOUR, HOUR, "Europe/Berlin");
    let bounds = ["02:00:00+02:00", "02:00:00+01:00", "03:00:00+01:00"].map(|t| format!("2021-10-31T{t}"));
    check(hours, "2021-10-31T02:30:00+02:00", &[(&bounds[0], &bounds[1])]);
    check(hours, "2021-10-31T02:30:00+01:00", &[(&bounds[1], &bounds[2])]);
    let spring = ["01:00:00+01:00", "03:00:00+02:00", "04:00:00+02:00"].map(|t| format!("2021-03-28T{t}"));
    check(hours, "2021-03-28T01:59:59+01:00", &[(&spring[0], &spring[1])]);
    check(hours, "2021-03-28T03:00:00+02:00", &[(&spring[1], &spring[2])]);
    let four = zoned(Shape::Tumble, 4 * HOUR, 4 * HOUR, "Europe/Berlin");
    check(four, &bounds[1], &[("2021-10-31T00:00:00+02:00", "2021-10-31T04:00:00+01:00")]);
    check(four, &spring[1], &[("2021-03-28T00:00:00+01:00", "2021-03-28T04:00:00+02:00")]);
}

#[test]
fn odd_zones() {
    // Half an hour, a midnight that does not exist, one that comes twice, a day that never was.
    let kolkata = zoned(Shape::Tumble, HOUR, HOUR, "Asia/Kolkata");
    check(
        kolkata,
        "2021-01-01T10:10:00+05:30",
        &[("2021-01-01T10:00:00+05:30", "2021-01-01T11:00:00+05:30")],
    );
    let sao_paulo = zoned(Shape::Tumble, DAY, DAY, "America/Sao_Paulo");
    check(
        sao_paulo,
        "2018-11-04T12:00:00-02:00",
        &[("2018-11-04T01:00:00-02:00", "2018-11-05T00:00:00-02:00")],
    );
    let havana = zoned(Shape::Tumble, DAY, DAY, "America/Havana");
    check(havana, "2020-11-01T00:30:00-05:00", &[("2020-11-01T00:00:00-04:00", "2020-11-02T00:00:00-05:00")]);
    let samoa = zoned(Shape::Tumble, DAY, DAY, "Pacific/Apia");
    check(samoa, "2011-12-31T10:00:00+14:00", &[("2011-12-31T00:00:00+14:00", "2012-01-01T00:00:00+14:00")]);
    check(samoa, "2011-12-29T10:00:00-10:00", &[("2011-12-29T00:00:00-10:00", "2011-12-31T00:00:00+14:00")]);
    let fixed = zoned(Shape::Tumble, DAY, DAY, "EST");
    check(fixed, "2021-10-31T02:30:00Z", &[("2021-10-30T05:00:00Z", "2021-10-31T05:00:00Z")]);
}

#[test]
fn local_hops_and_cumulated_windows() {
    let hop = zoned(Shape::Hop, 12 * HOUR, DAY, "Europe/Berlin");
    check(
        hop,
        "2021-10-31T13:00:00+01:00",
        &[
            ("2021-10-31T12:00:00+01:00", "2021-11-01T12:00:00+01:00"),
            ("2021-10-31T00:00:00+02:00", "2021-11-01T00:00:00+01:00"),
        ],
    );
    let steps = zoned(Shape::Cumulate, 12 * HOUR, DAY, "Europe/Berlin");
    let start = "2021-10-31T00:00:00+02:00";
    check(
        steps,
        "2021-10-31T03:00:00+01:00",
        &[(start, "2021-11-01T00:00:00+01:00"), (start, "2021-10-31T12:00:00+01:00")],
    );
    check(steps, "2021-10-31T12:00:00+01:00", &[(start, "2021-11-01T00:00:00+01:00")]);
}

#[test]
fn cumulated_windows_share_their_start() {
    let windows = Windows::of(Shape::Cumulate, 2, 6, 1, Zone::Utc).unwrap();
    assert_eq!(windows.windows(1).collect::<Vec<_>>(), [(1, 7), (1, 5), (1, 3)]);
    assert_eq!(windows.windows(6).collect::<Vec<_>>(), [(1, 7)]);
    assert_eq!(windows.windows(0).collect::<Vec<_>>(), [(-5, 1)]);
    assert_eq!((windows.start_of(7), windows.start_of(3), windows.first_end(4)), (1, 1, 5));
    let uneven = Windows::of(Shape::Cumulate, 4, 6, 0, Zone::Utc).unwrap_err();
    assert_eq!(uneven.sqlstate(), "22023");
}

fn shapes() -> impl Strategy<Value = Windows> {
    let zones =
        prop_oneof![Just("UTC"), Just("Europe/Berlin"), Just("Australia/Lord_Howe"), Just("America/Havana")];
    let sizes = prop_oneof![Just(10), Just(30), Just(60), Just(90), Just(240), Just(1440), Just(2880)];
    let shape = prop_oneof![Just(Shape::Tumble), Just(Shape::Hop), Just(Shape::Cumulate)];
    (shape, zones, sizes, 1..4i64, 0..3000i64).prop_map(|(shape, zone, slide, times, offset)| {
        let minute = 60_000_000;
        let times = if shape == Shape::Tumble { 1 } else { times };
        let zone = Zone::from_name(zone).unwrap();
        Windows::of(shape, slide * minute, slide * times * minute, offset * minute, zone).unwrap()
    })
}

proptest! {
    /// Around the clock changes of 2021 every time is in its windows, and the windows of a
    /// slice are those of all its times.
    #[test]
    fn windows_hold_their_times(windows in shapes(), days in 0..365i64, micros in 0..DAY) {
        let time = at("2021-01-01T00:00:00Z") + days * DAY + micros;
        let spans: Vec<(i64, i64)> = windows.windows(time).collect();
        prop_assert!(!spans.is_empty());
        prop_assert!(spans.iter().all(|(start, end)| *start <= time && time < *end));
        prop_assert!(spans.is_sorted_by(|a, b| a.1 >= b.1));
        prop_assert_eq!(windows.first_end(time), spans.last().unwrap().1);
        if windows.end_is_unique() {
            prop_assert!(spans.iter().all(|(start, end)| windows.start_of(*end) == *start));
            let (start, end) = windows.slice(time);
            prop_assert!(start <= time && time < end);
            for other in [start, end - 1] {
                prop_assert_eq!(windows.windows(other).collect::<Vec<_>>(), spans.clone());
            }
            if windows.is_tumble() {
                prop_assert_eq!(windows.windows(spans[0].1).next().unwrap().0, spans[0].1);
            }
        }
    }
}
