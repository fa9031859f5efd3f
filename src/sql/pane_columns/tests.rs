//! Which names become pane columns.

use super::*;

fn marked(sql: &str) -> String {
    let mut statements = crate::sql::parse_sql(sql).unwrap();
    let crate::sql::StatementKind::Query(mut query) = statements.remove(0).kind else { panic!("{sql}") };
    let columns = |_: Option<&str>, name: &str| match name {
        "scores" => Some(vec!["team".to_string(), "score".to_string()]),
        "shown" => Some(vec!["team".to_string(), "pane_index".to_string()]),
        _ => None,
    };
    mark_pane_columns(&mut query, &columns);
    query.to_string()
}

#[test]
fn names_in_grouped_selects() {
    assert_eq!(
        marked("SELECT team, sum(score), pane_timing FROM scores GROUP BY team HAVING pane_index > 0"),
        "SELECT team, sum(score), \"$pane_timing\"() AS \"pane_timing\" FROM scores GROUP BY team \
         HAVING \"$pane_index\"() > 0"
    );
    assert_eq!(
        marked("SELECT count(*), Pane_Index + 1 FROM scores"),
        "SELECT count(*), \"$pane_index\"() + 1 FROM scores"
    );
    assert_eq!(
        marked("SELECT max(n) FROM (SELECT count(*) AS n, pane_is_last FROM scores) x GROUP BY pane_is_last"),
        "SELECT max(n) FROM (SELECT count(*) AS n, \"$pane_is_last\"() AS \"pane_is_last\" FROM scores) x \
         GROUP BY pane_is_last"
    );
}

#[test]
fn real_columns_and_plain_selects_stay() {
    for sql in [
        "SELECT pane_index, count(*) FROM shown GROUP BY pane_index",
        "SELECT team, pane_timing FROM scores",
        "SELECT \"PANE_INDEX\", count(*) FROM scores GROUP BY 1",
        "WITH x AS (SELECT 1 AS pane_index) SELECT pane_index, count(*) FROM x GROUP BY pane_index",
        "SELECT pane_index, count(*) FROM (SELECT * FROM shown) AS s GROUP BY pane_index",
    ] {
        assert_eq!(marked(sql), sql);
    }
}
