//! What PostgreSQL clients send (a selection, by client) must parse.

use super::*;

#[test]
fn captured_statements() {
    let fixture = include_str!("clients.sql");
    let mut failed = Vec::new();
    let mut count = 0;
    for statement in fixture.split("-- @").skip(1) {
        let Some((label, text)) = statement.split_once('\n') else { continue };
        count += 1;
        if let Err(e) = parse_sql(text) {
            failed.push(format!(
                "{label}: {e} at {:?} in {}",
                e.position(),
                text.chars().take(900).collect::<String>()
            ));
        }
    }
    assert!(count >= 40, "{count}");
    assert!(failed.is_empty(), "{failed:#?}");
}
