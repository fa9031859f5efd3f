//! Errors and notices as psql prints them: severity, message, the line with a caret, DETAIL
//! and HINT; errors with their SQLSTATE, as with psql's `\set VERBOSITY verbose`.

use std::fmt::Write;

use tokio_postgres::error::{DbError, ErrorPosition};

/// The printed form of what a statement failed with.
pub fn error_text(error: &tokio_postgres::Error, sql: &str) -> String {
    match error.as_db_error() {
        Some(report) => report_text(report, sql),
        None => format!("ERROR:  {error}\n"),
    }
}

/// The printed form of an error or a notice; `sql` is the text that its position is in.
pub fn report_text(report: &DbError, sql: &str) -> String {
    let severity = report.severity();
    let mut text = match severity {
        "ERROR" | "FATAL" | "PANIC" => {
            format!("{severity}:  {}: {}\n", report.code().code(), report.message())
        }
        _ => format!("{severity}:  {}\n", report.message()),
    };
    if let Some(ErrorPosition::Original(position)) = report.position() {
        text.push_str(&caret(sql, *position as usize));
    }
    for (label, part) in [("DETAIL", report.detail()), ("HINT", report.hint())] {
        if let Some(part) = part {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{label}:  {part}");
        }
    }
    text
}

/// The line of `sql` that holds the 1-based character `position`, and a caret under it.
fn caret(sql: &str, position: usize) -> String {
    let mut start = 0;
    for (number, line) in sql.split('\n').enumerate() {
        let length = line.chars().count();
        if position <= start + length + 1 {
            let label = format!("LINE {}: ", number + 1);
            let before: String = line.chars().take(position.saturating_sub(start + 1)).collect();
            let indent: String =
                label.chars().chain(before.chars()).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            return format!("{label}{line}\n{indent}^\n");
        }
        start += length + 1;
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_character() {
        assert_eq!(caret("select x", 8), "LINE 1: select x\n               ^\n");
        assert_eq!(caret("select\n  ü, y from t", 13), "LINE 2:   ü, y from t\n             ^\n");
        assert_eq!(caret("select", 7), "LINE 1: select\n              ^\n");
        assert_eq!(caret("select", 70), "");
    }
}
