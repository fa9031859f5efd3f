use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};

use super::*;
use crate::dataflow::operators::tests::{context, lines, run_epoch};
use crate::types::trigger::{EmitPolicy, OnTime, TriggerSpec};

fn changes(rows: &[(i64, i64)]) -> ChangeBatch {
    let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, true)]));
    let column = Arc::new(rows.iter().map(|r| Some(r.0)).collect::<Int64Array>());
    let batch = RecordBatch::try_new(schema, vec![column]).unwrap();
    match rows.iter().all(|r| r.1 == 1) {
        true => ChangeBatch::inserts(batch),
        false => ChangeBatch::new(batch, rows.iter().map(|r| r.1).collect()),
    }
}

fn operator(policy: EmitPolicy) -> ChangelogTriggerOperator {
    let emit = EmitSpec { policy, ..EmitSpec::changes() };
    ChangelogTriggerOperator::new(&emit, changes(&[]).schema(), Arc::new(LateRows::new(10))).unwrap()
}

fn early(trigger: TriggerSpec) -> EmitPolicy {
    EmitPolicy::Phases { early: Some(trigger), on_time: Some(OnTime { if_not_empty: false }), late: None }
}

/// One epoch: rows in, sorted changes out.
fn epoch(operator: &mut ChangelogTriggerOperator, now: i64, rows: &[(i64, i64)]) -> Vec<(String, i64)> {
    let input = (!rows.is_empty()).then(|| (0, changes(rows)));
    let mut out: Vec<_> =
        run_epoch(operator, input, &context(1, now, i64::MAX)).iter().flat_map(lines).collect();
    out.sort();
    out
}

#[test]
fn fires_what_has_changed_since_the_last_firing() {
    let mut view = operator(early(TriggerSpec::AfterRows(3)));
    assert_eq!(epoch(&mut view, 0, &[(1, 1), (2, 1)]), []);
    assert_eq!(view.state_size().entries, 2);
    // The deletion counts as a row, and cancels the insertion.
    assert_eq!(epoch(&mut view, 0, &[(1, -1)]), [("2".into(), 1)]);
    assert_eq!(view.state_size().entries, 0);
    assert_eq!(epoch(&mut view, 0, &[(2, -1), (3, 1)]), []);
    // Within an epoch the rows are a set: −1 and +1 of one row are nothing.
    assert_eq!(epoch(&mut view, 0, &[(7, -1), (7, 1)]), []);
    assert_eq!(epoch(&mut view, 0, &[(4, 2)]), [("2".into(), -1), ("3".into(), 1), ("4".into(), 2)]);
    // The watermark never ends the one window.
    assert_eq!(epoch(&mut view, 0, &[]), []);
}

#[test]
fn timers_fire_without_rows() {
    let mut view = operator(early(TriggerSpec::Every { interval_us: 10, offset_us: 0 }));
    assert_eq!(epoch(&mut view, 3, &[(1, 1)]), []);
    assert_eq!(view.next_timer(), Some(ProcTime(10)));
    assert_eq!(epoch(&mut view, 9, &[(2, 1)]), []);
    assert_eq!(epoch(&mut view, 10, &[]), [("1".into(), 1), ("2".into(), 1)]);
    assert_eq!(view.next_timer(), None);
    assert_eq!(epoch(&mut view, 20, &[(3, 1)]), [("3".into(), 1)]);
}

#[test]
fn a_finished_trigger_refuses_later_changes() {
    let mut view = operator(EmitPolicy::When(TriggerSpec::AfterRows(2)));
    assert_eq!(epoch(&mut view, 0, &[(1, 1), (2, 1), (3, 1)]).len(), 3);
    assert_eq!(epoch(&mut view, 0, &[(4, 1), (1, -1)]), []);
    assert_eq!(view.late.count(), 2);
}

#[test]
fn pending_changes_are_consolidated() {
    let mut view = operator(early(TriggerSpec::AfterRows(u64::MAX)));
    let batch: Vec<(i64, i64)> = (0..40_000).map(|v| (v, 1)).collect();
    let undo: Vec<(i64, i64)> = (0..40_000).map(|v| (v, -1)).collect();
    for _ in 0..5 {
        epoch(&mut view, 0, &batch);
        epoch(&mut view, 0, &undo);
    }
    assert!(view.state_size().entries <= 2 * 40_000);
}
