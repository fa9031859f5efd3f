//! The emit clause in all forms of the language contract.

use super::*;

fn emit(clause: &str) -> EmitClause {
    let text = format!(
        "CREATE MATERIALIZED VIEW v AS SELECT a, count(*) FROM TUMBLE(t, ts, INTERVAL '1 m') GROUP BY a {clause}"
    );
    match one(&text) {
        StatementKind::CreateMaterializedView(v) => {
            let emit = v.emit.unwrap_or_else(|| panic!("{clause}"));
            assert_eq!(emit.text, clause);
            emit
        }
        other => panic!("{other:?}"),
    }
}

fn trigger(text: &str) -> String {
    match emit(&format!("EMIT WHEN {text}")).policy {
        Some(EmitPolicy::When(t)) => show(&t),
        other => panic!("{other:?}"),
    }
}

fn show(t: &Trigger) -> String {
    match t {
        Trigger::AfterRows(n) => format!("{n}"),
        Trigger::Every { interval, offset: None } => format!("every {interval}"),
        Trigger::Every { interval, offset: Some(o) } => format!("every {interval} + {o}"),
        Trigger::AfterDelay(i) => format!("delay {i}"),
        Trigger::AfterWatermark => "wm".into(),
        Trigger::Or(a, b) => format!("({} or {})", show(a), show(b)),
        Trigger::And(a, b) => format!("({} and {})", show(a), show(b)),
        Trigger::Then(a, b) => format!("({} then {})", show(a), show(b)),
        Trigger::Until(a, b) => format!("({} until {})", show(a), show(b)),
        Trigger::Repeatedly(a) => format!("rep({})", show(a)),
    }
}

#[test]
fn short_forms() {
    for (text, policy) in [
        ("EMIT CHANGES", EmitPolicy::Changes),
        ("EMIT ON UPDATE", EmitPolicy::Changes),
        ("emit final", EmitPolicy::Final),
        ("EMIT ON WINDOW CLOSE", EmitPolicy::Final),
    ] {
        assert_eq!(emit(text).policy, Some(policy));
    }
}

#[test]
fn the_whole_clause() {
    let e = emit(
        "EMIT EARLY EVERY INTERVAL '1 minute', ON TIME IF NOT EMPTY, LATE AFTER 1 ROW \
         ALLOWED LATENESS INTERVAL '1 minute' CLOSING IF NOT EMPTY ACCUMULATING AND RETRACTING \
         LATE DATA TO scores_late",
    );
    let Some(EmitPolicy::Phases { early: Some(early), on_time, late: Some(late) }) = e.policy else {
        panic!()
    };
    assert_eq!(show(&early), "every INTERVAL '1 minute'");
    assert_eq!(on_time, Some(OnTime { if_not_empty: true }));
    assert_eq!(late, Trigger::AfterRows(1));
    assert_eq!(e.allowed_lateness.unwrap().text, "INTERVAL '1 minute'");
    assert_eq!(e.closing, Some(Closing::IfNotEmpty));
    assert_eq!(e.accumulation, Some(Accumulation::AccumulatingAndRetracting));
    assert_eq!(e.late_data_to.unwrap().name, "scores_late");
    assert_eq!(emit("DISCARDING").accumulation, Some(Accumulation::Discarding));
    assert_eq!(emit("ALLOWED LATENESS INTERVAL '1 h' CLOSING ALWAYS").closing, Some(Closing::Always));
    assert!(emit("LATE DATA TO s.l").policy.is_none());
}

#[test]
fn triggers_bind_until_then_or_and() {
    assert_eq!(trigger("AFTER 3 ROWS OR AFTER 5 ROWS AND AFTER WATERMARK"), "(3 or (5 and wm))");
    assert_eq!(
        trigger("AFTER 1 ROW THEN AFTER 2 ROWS OR AFTER 3 ROWS UNTIL AFTER WATERMARK"),
        "((1 then (2 or 3)) until wm)"
    );
    assert_eq!(trigger("REPEATEDLY (AFTER 2 ROWS) UNTIL AFTER WATERMARK"), "(rep(2) until wm)");
    // Beam's name for it.
    assert_eq!(
        trigger("AFTER 1 ROW OR AFTER 2 ROWS OR FINALLY AFTER WATERMARK"),
        trigger("AFTER 1 ROW OR AFTER 2 ROWS UNTIL AFTER WATERMARK"),
    );
    assert_eq!(
        trigger("(AFTER 1 ROW OR AFTER 2 ROWS) AND AFTER DELAY INTERVAL '1' MINUTE"),
        "((1 or 2) and delay INTERVAL '1' MINUTE)"
    );
    assert_eq!(
        trigger("EVERY INTERVAL '1 m' OFFSET INTERVAL '5 s' OR AFTER 1 ROW"),
        "(every INTERVAL '1 m' + INTERVAL '5 s' or 1)"
    );
}

#[test]
fn emit_follows_any_end_of_a_query() {
    for query in [
        "SELECT a FROM t",
        "SELECT a FROM t AS x",
        "SELECT a",
        "SELECT a FROM t WHERE a IS NOT NULL",
        "SELECT a FROM t HAVING count(*) > 1",
        "SELECT a::interval FROM (SELECT 1) s(a)",
        "SELECT a FROM t UNION ALL SELECT b FROM u",
        "SELECT a FROM t x JOIN u ON x.a = u.a",
        "SELECT a FROM t NATURAL JOIN u",
        "SELECT a FROM TUMBLE(t, ts, INTERVAL '1 m')",
        "(SELECT a FROM t)",
        "SELECT a FROM t ORDER BY a LIMIT 5",
    ] {
        for clause in ["EMIT CHANGES", "EMIT ON WINDOW CLOSE", "EMIT EARLY AFTER 1 ROW", "DISCARDING"] {
            let text = format!("CREATE MATERIALIZED VIEW v AS {query} {clause}");
            let StatementKind::CreateMaterializedView(v) = one(&text) else { panic!("{text}") };
            assert_eq!((v.query.text.as_str(), v.emit.unwrap().text.as_str()), (query, clause));
        }
    }
}

#[test]
fn malformed_clauses() {
    for (clause, near) in [
        ("EMIT EARLY", "end of input"),
        ("EMIT EARLY AFTER 0 ROWS", "must be positive"),
        ("EMIT LATE AFTER 1 ROW, ON TIME", "in this order"),
        ("EMIT EARLY AFTER 1 ROW, EARLY AFTER 2 ROWS", "in this order"),
        ("DISCARDING ACCUMULATING", "conflicting"),
        ("EMIT CHANGES ALLOWED LATENESS 5", "\"5\""),
        ("EMIT WHEN (AFTER 1 ROW", "end of input"),
        ("EMIT CHANGES FOO", "\"FOO\""),
    ] {
        let text = format!("CREATE MATERIALIZED VIEW v AS SELECT a FROM t {clause}");
        let error = parse_sql(&text).unwrap_err();
        assert_eq!(error.sqlstate(), "42601", "{clause}");
        assert!(error.message().contains(near), "{clause}: {error}");
        assert!(error.position().is_some());
    }
    let deep = format!("EMIT WHEN {}", "(".repeat(100_000));
    let text = format!("CREATE MATERIALIZED VIEW v AS SELECT a FROM t {deep}");
    assert_eq!(parse_sql(&text).unwrap_err().sqlstate(), "54001");
    assert_eq!(parse_sql("SELECT a FROM t EMIT CHANGES").unwrap_err().sqlstate(), "0A000");
}
