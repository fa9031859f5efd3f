use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, TimeUnit};
use proptest::prelude::*;

use super::*;
use crate::dataflow::operators::tests::{context, lines, run_epoch};

fn operator(windows: Windows, time_column: Option<usize>, late: &Arc<LateRows>) -> WindowAssignOperator {
    let zone = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let fields = ["t", "window_start", "window_end", "window_time"];
    let fields: Vec<Field> = fields.iter().map(|n| Field::new(*n, zone.clone(), true)).collect();
    let output_schema = Arc::new(Schema::new(fields));
    let spec = WindowAssignSpec { name: "w".into(), windows, time_column, output_schema, late: late.clone() };
    WindowAssignOperator::new(spec).unwrap()
}

fn batch(times: Vec<Option<i64>>) -> ChangeBatch {
    let zone = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let schema = Arc::new(Schema::new(vec![Field::new("t", zone.clone(), true)]));
    let times = TimestampMicrosecondArray::from(times).with_data_type(zone);
    ChangeBatch::inserts(RecordBatch::try_new(schema, vec![Arc::new(times)]).unwrap())
}

#[test]
fn rows_are_repeated_and_null_times_recorded() {
    let late = Arc::new(LateRows::new(5));
    let windows = Windows::new(2_000_000, 4_000_000, 0).unwrap();
    let input = batch(vec![Some(-1), None, Some(2_000_000)]);
    let out = run_epoch(&mut operator(windows, Some(0), &late), [(0, input)], &context(1, 0, 0));
    let out: Vec<String> = out.iter().flat_map(lines).map(|(line, _)| line).collect();
    assert_eq!(
        out,
        [
            "1969-12-31T23:59:59.999999Z|1969-12-31T23:59:58Z|1970-01-01T00:00:02Z|1970-01-01T00:00:01.999Z",
            "1969-12-31T23:59:59.999999Z|1969-12-31T23:59:56Z|1970-01-01T00:00:00Z|1969-12-31T23:59:59.999Z",
            "1970-01-01T00:00:02Z|1970-01-01T00:00:02Z|1970-01-01T00:00:06Z|1970-01-01T00:00:05.999Z",
            "1970-01-01T00:00:02Z|1970-01-01T00:00:00Z|1970-01-01T00:00:04Z|1970-01-01T00:00:03.999Z",
        ]
    );
    assert_eq!((late.null_time_count(), late.count(), late.newest(9).len()), (1, 0, 1));
    assert_eq!(late.newest(9)[0].facts.reason, LateReason::NullTime);
}

#[test]
fn processing_time_waits_for_now() {
    let late = Arc::new(LateRows::new(5));
    let windows = Windows::new(10, 10, 0).unwrap();
    let mut op = operator(windows, None, &late);
    let mut out = Vec::new();
    op.push(0, batch(vec![None, Some(1)]), &mut out).unwrap();
    assert!(out.is_empty());
    op.finish_epoch(&context(1, 25, 0), &mut out).unwrap();
    let ends = out[0].rows.column(2).as_primitive::<TimestampMicrosecondType>().values().to_vec();
    assert_eq!(ends, [30, 30]);
}

#[test]
fn a_slide_is_positive_and_not_above_the_size() {
    assert_eq!(Windows::new(0, 5, 0).unwrap_err().sqlstate(), "22023");
    assert_eq!(Windows::new(6, 5, 0).unwrap_err().sqlstate(), "22023");
}

proptest! {
    #[test]
    fn windows_are_those_of_the_definition(
        slide in 1i64..20, more in 0i64..40, offset in -50i64..50, time in -300i64..300,
    ) {
        let size = slide + more;
        let windows = Windows::new(slide, size, offset).unwrap();
        let expect: Vec<i64> = (time + 1..=time + size)
            .rev()
            .filter(|end| (end - size - offset).rem_euclid(slide) == 0)
            .collect();
        let ends: Vec<i64> = windows.ends(time).collect();
        prop_assert_eq!(&ends, &expect);
        if let Some(last) = expect.last() {
            prop_assert_eq!(windows.first_end(time), *last);
        }
        let slice = windows.slice_of(time);
        prop_assert!(slice <= time && time < slice + windows.slice_us());
        prop_assert_eq!(windows.ends(slice).collect::<Vec<_>>(), expect);
    }
}
