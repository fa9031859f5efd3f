//! What a written clause means, and what is refused without knowing the plan.

use super::*;
use crate::types::trigger::TriggerSpec as T;

fn bound(clause: &str) -> Result<BoundEmit> {
    bind_stored(Some(clause))
}

fn spec(clause: &str) -> EmitSpec {
    bound(clause).unwrap().spec
}

fn error(clause: &str) -> String {
    let e = bound(clause).unwrap_err();
    assert!(e.hint().is_some(), "{clause} has no hint");
    assert!(e.position().is_some(), "{clause} has no position");
    format!("{} {}", e.sqlstate(), e.message())
}

fn phases(clause: &str) -> (Option<T>, Option<OnTime>, Option<T>) {
    match spec(clause).policy {
        EmitPolicy::Phases { early, on_time, late } => (early, on_time, late),
        other => panic!("{clause}: {other:?}"),
    }
}

const ALWAYS: Option<OnTime> = Some(OnTime { if_not_empty: false });

#[test]
fn no_clause_is_changes() {
    assert_eq!(bind_emit(None).unwrap().spec, spec("EMIT CHANGES"));
    assert_eq!(spec("ALLOWED LATENESS INTERVAL '1 minute'").policy, EmitPolicy::Changes);
    assert_eq!(spec("EMIT ON WINDOW CLOSE").policy, EmitPolicy::Final);
}

#[test]
fn implied_parts() {
    assert_eq!(phases("EMIT EARLY AFTER 2 ROWS"), (Some(T::AfterRows(2)), ALWAYS, None));
    assert_eq!(phases("EMIT ON TIME"), (None, ALWAYS, None));
    let lateness = "ALLOWED LATENESS INTERVAL '1 second'";
    let one = Some(T::AfterRows(1));
    assert_eq!(phases(&format!("EMIT ON TIME {lateness}")), (None, ALWAYS, one.clone()));
    assert_eq!(
        phases(&format!("EMIT EARLY AFTER 2 ROWS {lateness}")),
        (Some(T::AfterRows(2)), ALWAYS, one.clone())
    );
    assert_eq!(phases(&format!("EMIT LATE AFTER 3 ROWS {lateness}")), (None, ALWAYS, Some(T::AfterRows(3))));
    let not_empty = Some(OnTime { if_not_empty: true });
    assert_eq!(phases("EMIT ON TIME IF NOT EMPTY"), (None, not_empty, None));
}

#[test]
fn intervals_are_microseconds() {
    assert_eq!(spec("EMIT CHANGES ALLOWED LATENESS INTERVAL '1 day 1 ms'").lateness_us, 86_400_001_000);
    let every = |text: &str| match spec(&format!("EMIT WHEN {text}")).policy {
        EmitPolicy::When(T::Every { interval_us, offset_us }) => (interval_us, offset_us),
        other => panic!("{other:?}"),
    };
    assert_eq!(every("EVERY INTERVAL '2' MINUTE"), (120_000_000, 0));
    assert_eq!(every("EVERY INTERVAL '2 minutes' OFFSET INTERVAL '-30 seconds'"), (120_000_000, 90_000_000));
    assert_eq!(every("EVERY INTERVAL '2 minutes' OFFSET INTERVAL '5 minutes'"), (120_000_000, 60_000_000));
}

#[test]
fn senseless_intervals() {
    for clause in [
        "EMIT WHEN EVERY INTERVAL '0 seconds'",
        "EMIT WHEN EVERY INTERVAL '-1 second'",
        "EMIT WHEN EVERY INTERVAL '1 month'",
        "EMIT WHEN AFTER DELAY INTERVAL '-1 second'",
        "EMIT CHANGES ALLOWED LATENESS INTERVAL '-1 second'",
        "EMIT CHANGES ALLOWED LATENESS INTERVAL '1 year'",
    ] {
        assert!(error(clause).starts_with("22023"), "{clause}");
    }
}

#[test]
fn triggers_that_can_never_fire() {
    let lateness = "ALLOWED LATENESS INTERVAL '1 second'";
    for (clause, message) in [
        ("EMIT EARLY AFTER WATERMARK".to_string(), "the EARLY trigger can never fire"),
        ("EMIT EARLY AFTER WATERMARK AND AFTER 1 ROW".into(), "the EARLY trigger can never fire"),
        ("EMIT LATE AFTER 1 ROW".into(), "the LATE trigger can never fire"),
        ("EMIT ON TIME, LATE AFTER 1 ROW ALLOWED LATENESS INTERVAL '0'".into(), "the LATE trigger can never"),
        (format!("EMIT LATE AFTER WATERMARK {lateness}"), "AFTER WATERMARK has no meaning in LATE"),
        ("EMIT WHEN REPEATEDLY (AFTER 1 ROW) THEN AFTER WATERMARK".into(), "the trigger after THEN"),
    ] {
        let found = error(&clause);
        assert!(found.starts_with(&format!("42P16 {message}")), "{clause}: {found}");
    }
    for clause in [
        "EMIT EARLY AFTER 1 ROW OR AFTER WATERMARK",
        "EMIT WHEN REPEATEDLY (AFTER 1 ROW) UNTIL AFTER WATERMARK",
        "EMIT WHEN (REPEATEDLY (AFTER 1 ROW) UNTIL AFTER 5 ROWS) THEN AFTER WATERMARK",
    ] {
        assert!(bound(clause).is_ok(), "{clause}");
    }
}
