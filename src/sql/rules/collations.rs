//! `COLLATE`: text is ordered by its bytes, so collations that do that are taken, others refused.

use sqlparser::ast::Expr;

use crate::error::{HwError, Result, sqlstate};
use crate::sql::parser::fold_identifier;

/// Names of the order by bytes; the default of a database is one, too.
const BY_BYTES: [&str; 5] = ["C", "POSIX", "default", "ucs_basic", "C.UTF-8"];

/// What an expression with a collation is.
pub fn expression(expr: &Expr) -> Result<Option<Expr>> {
    let Expr::Collate { expr, collation } = expr else { return Ok(None) };
    let names: Vec<String> = collation.0.iter().filter_map(|p| p.as_ident()).map(fold_identifier).collect();
    match names.as_slice() {
        [name] => check(None, name)?,
        [.., schema, name] => check(Some(schema), name)?,
        [] => {}
    }
    Ok(Some(expr.as_ref().clone()))
}

/// 0A000 for a collation of another order, 42704 for what is no name of one.
pub fn check(schema: Option<&str>, name: &str) -> Result<()> {
    let schema = schema.unwrap_or("pg_catalog");
    if schema == "pg_catalog" && BY_BYTES.contains(&name) {
        return Ok(());
    }
    if schema != "pg_catalog" || !name.contains(['_', '-']) {
        let message = format!("collation \"{}\" for encoding \"UTF8\" does not exist", name);
        return Err(HwError::new(sqlstate::UNDEFINED_OBJECT, message)
            .with_hint("Text is ordered by its bytes: COLLATE \"C\", \"POSIX\" or \"default\"."));
    }
    Err(HwError::unsupported(
        format!("COLLATE \"{name}\""),
        "Text is ordered by its bytes: write COLLATE \"C\", or leave it out; lower(…) compares without case.",
    ))
}
