//! Errors: SQLSTATE, PostgreSQL's wording, the position, and the hint.

use super::*;

fn check(text: &str, message: &str, position: usize, hint: Option<&str>) {
    let error = parse_sql(text).expect_err(text);
    assert_eq!(error.sqlstate(), "42601", "{text}");
    assert_eq!(error.message(), message, "{text}");
    assert_eq!(error.position(), Some(position), "{text}");
    if let Some(hint) = hint {
        assert_eq!(error.hint(), Some(hint), "{text}");
    }
}

#[test]
fn wording_and_position() {
    let select = Some("Perhaps \"selec\" should be \"SELECT\".");
    check("selec 1", "syntax error at or near \"selec\"", 1, select);
    check("SELECT 1;\n  selec 2", "syntax error at or near \"selec\"", 13, select);
    check("SELECT 'é', ) FROM t", "syntax error at or near \")\"", 13, None);
    check("SELECT *\nFROM t\nWHERE a = ", "syntax error at end of input", 27, None);
    check(
        "SELECT a FORM t",
        "syntax error at or near \"t\"",
        15,
        Some("Perhaps \"FORM\" should be \"FROM\"."),
    );
    check(
        "SELECT a FROM t WEHRE a = 1",
        "syntax error at or near \"a\"",
        23,
        Some("Perhaps \"WEHRE\" should be \"WHERE\"."),
    );
    check(
        "CREATE MATERIALISED VIEW v AS SELECT 1",
        "syntax error at or near \"MATERIALISED\"",
        8,
        Some("Perhaps \"MATERIALISED\" should be \"MATERIALIZED\"."),
    );
    check("CREATE SOURCE s (a INT WITH (x = 1)", "syntax error at or near \"WITH\"", 24, None);
    check("DROP TABLE", "syntax error at end of input", 11, None);
    check("SELECT 1 SELECT 2", "syntax error at or near \"SELECT\"", 10, None);
    check("SELECT 'abc", "unterminated quoted string at or near \"'abc\"", 8, None);
    check("SELECT \"abc", "unterminated quoted identifier at or near \"\"abc\"", 8, None);
    check("\"select\" 1", "syntax error at or near \"\"select\"\"", 1, None);
    check("SET x", "syntax error at end of input", 6, None);
    check("SHOW", "syntax error at end of input", 5, None);
}

#[test]
fn options_and_formats() {
    let error = parse_sql("CREATE SOURCE s (a INT) WITH (topic = 'a', Topic = 'b')").unwrap_err();
    assert_eq!((error.sqlstate(), error.position()), ("42601", Some(44)));
    assert_eq!(error.message(), "conflicting or redundant options");
    let error = parse_sql("CREATE SOURCE s (a INT) FORMAT PLIAN ENCODE JSON").unwrap_err();
    assert_eq!(error.hint(), Some("Perhaps \"plian\" should be \"PLAIN\"."));
    assert_eq!(error.position(), Some(32));
    let error = parse_sql("CREATE TABLE t (a INT, A TEXT)").unwrap_err();
    assert_eq!((error.sqlstate(), error.position()), ("42701", Some(24)));
    for text in [
        "CREATE TABLE t (a INT PRIMARY KEY, PRIMARY KEY (a))",
        "CREATE TABLE t (a INT PRIMARY KEY, b INT PRIMARY KEY)",
    ] {
        assert_eq!(parse_sql(text).unwrap_err().sqlstate(), "42P16");
    }
    assert_eq!(
        parse_sql("SELECT * FROM a.b.c.d.e").map(|_| ()),
        Ok(()),
        "names in queries are the planner's"
    );
    assert_eq!(parse_sql("DROP TABLE a.b.c.d").unwrap_err().sqlstate(), "42601");
}

#[test]
fn nesting_is_limited() {
    let deep = [
        format!("SELECT {}1{}", "(".repeat(100_000), ")".repeat(100_000)),
        format!("SELECT {}1", "- ".repeat(100_000)),
        format!("SELECT {}1", "NOT ".repeat(100_000)),
        format!("SELECT 1{}", " + 1".repeat(100_000)),
        format!("SELECT 1 WHERE a = 1{}", " OR a = 1".repeat(100_000)),
        format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(100_000)),
        format!("SELECT {}1{}", "f(".repeat(100_000), ")".repeat(100_000)),
        format!("SELECT * FROM {}t{}", "(SELECT * FROM ".repeat(10_000), ")".repeat(10_000)),
        format!("SELECT a{}", "::int".repeat(100_000)),
        format!("SELECT {}1", "CASE WHEN ".repeat(100_000)),
        "(".repeat(1_000_000),
        format!("EXPLAIN {}", "EXPLAIN ".repeat(100_000)),
        format!("PREPARE p AS {}", "PREPARE p AS ".repeat(100_000)),
    ];
    for text in deep {
        let start: String = text.chars().take(30).collect();
        let error = parse_sql(&text).expect_err(&start);
        assert!(["54001", "42601"].contains(&error.sqlstate()), "{start}: {error}");
    }
    for text in [
        format!("SELECT {}1{}", "(".repeat(50), ")".repeat(50)),
        format!("SELECT {}1{}", "f(".repeat(40), ")".repeat(40)),
        format!("SELECT 1 WHERE a = 1{}", " OR a = 1".repeat(1_000)),
        format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(1_000)),
        format!("INSERT INTO t VALUES (1){}", ", (1 + 2 * 3)".repeat(50_000)),
        format!("SELECT 1 WHERE a IN (1{})", ", 1".repeat(100_000)),
    ] {
        assert!(parse_sql(&text).is_ok(), "{}", &text[..40]);
    }
}

#[test]
fn wrong_queries_are_refused_in_bounded_time() {
    for text in [
        format!("SELECT * FROM {} t", "((SELECT * FROM ".repeat(30)),
        format!("SELECT {} 1", "f(a, ".repeat(60)),
        format!("SELECT {} 1", "CASE WHEN (".repeat(60)),
        format!("SELECT {} 1", "NOT (".repeat(100)),
        format!("SELECT {} 1", "EXISTS (SELECT a IN (".repeat(30)),
        format!("SELECT {} 1", "INTERVAL (".repeat(60)),
        format!("SELECT * FROM {} t", "(a JOIN (".repeat(40)),
    ] {
        assert!(parse_sql(&text).is_err());
    }
}
