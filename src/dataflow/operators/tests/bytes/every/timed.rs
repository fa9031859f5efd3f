//! What rows cost that wait for a time: in filters, sessions, retention and among the late ones.

use super::*;
use crate::dataflow::operators::aggregate::WindowTime;
use crate::dataflow::operators::errors::RowErrors;
use crate::dataflow::operators::expire::ExpireOperator;
use crate::dataflow::operators::late::{LateReason, Refusal};
use crate::dataflow::operators::session::{SessionAggregateOperator, SessionAggregateSpec};
use crate::dataflow::operators::session_assign::{SessionAssignOperator, SessionAssignSpec};
use crate::dataflow::operators::temporal_filter::TemporalFilterOperator;
use crate::plan::{ExpireNode, TemporalBound};
use crate::types::trigger::{EmitPolicy, EmitSpec};

#[test]
fn temporal_filter() {
    for columns in ["ks", "ksvt"] {
        let what = format!("temporal filter of {columns}");
        let entry = wide(columns) + BIGINT;
        let case = Case { what: &what, columns, entry, ..CASE };
        let bounds = || vec![(1, TemporalBound { shift_us: 1 << 50, until: true })];
        case.check(|| Box::new(TemporalFilterOperator::new(bounds(), schema(columns))));
    }
    settle();
}

#[test]
fn expiry() {
    for (columns, keys, per_key) in [("kv", vec![0], 1), ("kvt", vec![0], 10), ("kv", vec![0, 1], 1)] {
        let what = format!("expiry of {columns} by {keys:?}, {per_key} a key");
        // The time of the last touch.
        let entry = wide(columns) + 2.0 * BIGINT;
        let case = Case { what: &what, columns, entry, per_key, ..CASE };
        let node = ExpireNode { keys: keys.clone(), partition: keys.clone(), ttl_us: 1 << 40 };
        case.check(|| Box::new(ExpireOperator::new(&node, schema(columns))));
    }
    settle();
}

#[test]
fn late_rows() {
    let before = held_bytes();
    let late = LateRows::new(100_000);
    for from in (0..200_000).step_by(BATCH as usize) {
        let numbers: Vec<i64> = (from..from + BATCH).collect();
        let of = |row| Refusal { row, window_start: Some(1), window_end: Some(2) };
        let refused: Vec<Refusal> = (0..BATCH as u32).map(of).collect();
        let rows = rows("kvs", &numbers, 1);
        late.record(&rows, &refused, |_| 1, LateReason::WindowClosed, EventTime(3)).unwrap();
    }
    // The row, its window, the watermark, the epoch, the reason and the weight.
    let (held, entry) = ((held_bytes() - before) as f64 / 100_000.0, 9.0 * BIGINT);
    println!("late rows: {held:.1} for {entry}, {:.2} times", held / entry);
    assert!(held <= 2.0 * entry, "a late row costs {:.2} times its columns", held / entry);
}

#[test]
fn sessions() {
    let event = || WindowTime::Event { clock: vec![0].into() };
    for (per_key, append_only, closes) in
        [(1, true, false), (1, true, true), (10, true, true), (1, false, true), (10, false, false)]
    {
        let what = format!("sessions, {per_key} a key, append-only {append_only}, final {closes}");
        // Bounds, count and maximum, and the same as they are shown; rows that may go.
        let session = BIGINT + 4.0 * BIGINT + if closes { 0.0 } else { 4.0 * BIGINT };
        let entry = session + if append_only { 0.0 } else { 3.0 * BIGINT + BIGINT };
        let case = Case { what: &what, columns: "ksv", entry, per_key, retracts: !append_only, ..CASE };
        case.check(|| {
            let outputs = ["k", "s", "s", "v", "v"].concat();
            let emit = match closes {
                true => EmitSpec { policy: EmitPolicy::Final, ..EmitSpec::changes() },
                false => EmitSpec::changes(),
            };
            let calls =
                vec![call(F::CountStar, None, DataType::Int64), call(F::Max, Some(2), DataType::Int64)];
            Box::new(
                SessionAggregateOperator::new(SessionAggregateSpec {
                    input_schema: schema("ksv"),
                    input_append_only: append_only,
                    group_columns: vec![0],
                    calls,
                    output_schema: schema(&outputs),
                    time_column: 1,
                    time: event(),
                    gap_us: 10,
                    emit,
                    late: Arc::new(LateRows::new(10)),
                    errors: Arc::new(RowErrors::new(10)),
                })
                .unwrap(),
            )
        });
    }
    settle();
}

#[test]
fn sessions_of_rows() {
    for (columns, per_key) in [("ksv", 1), ("ksvt", 10)] {
        let what = format!("rows with sessions, {columns}, {per_key} a key");
        let entry = wide(columns) + BIGINT + 2.0 * BIGINT;
        let case = Case { what: &what, columns, entry, per_key, ..CASE };
        case.check(|| {
            let spec = SessionAssignSpec {
                input_schema: schema(columns),
                time_column: 1,
                time: WindowTime::Event { clock: vec![0].into() },
                gap_us: 10,
                keys: vec![0],
                lateness_us: 0,
                output_schema: schema(&format!("{columns}sss")),
                late: Arc::new(LateRows::new(10)),
            };
            Box::new(SessionAssignOperator::new(spec).unwrap())
        });
    }
    settle();
}
