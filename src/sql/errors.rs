//! DataFusion's and Arrow's errors as PostgreSQL error reports.
//!
//! [`to_hw_error`] is the only way out of planning and execution: it finds an [`HwError`]
//! that travelled inside, or derives SQLSTATE, message, hint and position from the error's
//! kind, its diagnostic and, last, its text. DataFusion's own wording does not reach users
//! where PostgreSQL has words for the same thing.

use datafusion::arrow::error::ArrowError;
use datafusion::common::{DataFusionError, SchemaError};

use crate::error::{HwError, sqlstate};

/// Maps `e`; `sql` is the statement, for positions.
pub fn to_hw_error(e: DataFusionError, sql: Option<&str>) -> HwError {
    let position = sql.and_then(|sql| position_of(&e, sql));
    let error = convert(e);
    let position = position.or_else(|| relation_position(&error, sql?));
    match (error.position(), position) {
        (None, Some(at)) if syntax_class(&error) => error.at(at),
        _ => error,
    }
}

/// Where an unknown relation is named in the statement: 1-based, in characters.
fn relation_position(e: &HwError, sql: &str) -> Option<usize> {
    if e.sqlstate() != sqlstate::UNDEFINED_TABLE || e.position().is_some() {
        return None;
    }
    let name = e.message().split('"').nth(1)?.to_lowercase();
    let lower = sql.to_lowercase();
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let at = lower.match_indices(&name).map(|(at, _)| at).find(|at| {
        let before = lower[..*at].chars().next_back();
        let after = lower[at + name.len()..].chars().next();
        !before.is_some_and(word) && !after.is_some_and(word)
    })?;
    Some(lower[..at].chars().count() + 1)
}

/// For `?` where no statement text is at hand.
impl From<DataFusionError> for HwError {
    fn from(e: DataFusionError) -> Self {
        to_hw_error(e, None)
    }
}

/// Only errors of class 42 are about a place in the text.
fn syntax_class(e: &HwError) -> bool {
    e.sqlstate().starts_with("42")
}

fn position_of(e: &DataFusionError, sql: &str) -> Option<usize> {
    let span = e.diagnostic().and_then(|d| d.span)?;
    char_position(sql, span.start.line, span.start.column)
}

/// 1-based character position of a line and column.
pub fn char_position(sql: &str, line: u64, column: u64) -> Option<usize> {
    if line == 0 || column == 0 {
        return None;
    }
    let before: usize = sql.split('\n').take(line as usize - 1).map(|l| l.chars().count() + 1).sum();
    Some(before + column as usize)
}

fn convert(e: DataFusionError) -> HwError {
    use DataFusionError as D;
    match e {
        D::External(inner) => match inner.downcast::<HwError>() {
            Ok(hw) => *hw,
            Err(inner) => match inner.downcast::<DataFusionError>() {
                Ok(nested) => convert(*nested),
                Err(inner) => match inner.downcast::<ArrowError>() {
                    Ok(arrow) => arrow_error(*arrow),
                    Err(other) => HwError::internal(first_line(&other.to_string())),
                },
            },
        },
        D::Context(_, inner) | D::Diagnostic(_, inner) => convert(*inner),
        D::Shared(inner) => shared(&inner),
        D::Collection(mut all) if !all.is_empty() => convert(all.swap_remove(0)),
        D::ArrowError(arrow, _) => arrow_error(*arrow),
        D::SchemaError(schema, _) => schema_error(*schema),
        D::SQL(parser, _) => syntax_error(&parser.to_string()),
        D::NotImplemented(m) => not_supported(&m),
        D::ResourcesExhausted(m) => {
            HwError::new(sqlstate::OUT_OF_MEMORY, "out of memory").with_detail(sentence(&m))
        }
        D::Plan(m) | D::Execution(m) | D::Internal(m) | D::Configuration(m) => by_text(&m),
        D::IoError(io) => io.into(),
        other => by_text(&other.strip_backtrace()),
    }
}

/// Looks through an `Arc` without owning what is inside.
fn shared(e: &DataFusionError) -> HwError {
    match e {
        DataFusionError::External(inner) => match inner.downcast_ref::<HwError>() {
            Some(hw) => hw.clone(),
            None => by_text(&inner.to_string()),
        },
        DataFusionError::Shared(inner) => shared(inner),
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => shared(inner),
        DataFusionError::ArrowError(arrow, _) => match arrow.as_ref() {
            ArrowError::ExternalError(inner) => match inner.downcast_ref::<HwError>() {
                Some(hw) => hw.clone(),
                None => by_text(&inner.to_string()),
            },
            other => by_text(&other.to_string()),
        },
        other => by_text(&other.strip_backtrace()),
    }
}

fn arrow_error(e: ArrowError) -> HwError {
    match e {
        ArrowError::ExternalError(inner) => match inner.downcast::<HwError>() {
            Ok(hw) => *hw,
            Err(inner) => match inner.downcast::<DataFusionError>() {
                Ok(nested) => convert(*nested),
                Err(other) => by_text(&other.to_string()),
            },
        },
        ArrowError::CastError(m) | ArrowError::ParseError(m) => by_text(&m),
        ArrowError::MemoryError(m) => {
            HwError::new(sqlstate::OUT_OF_MEMORY, "out of memory").with_detail(sentence(&m))
        }
        other => HwError::from(other),
    }
}

fn schema_error(e: SchemaError) -> HwError {
    match e {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let name = match &field.relation {
                Some(relation) => format!("{}.{}", relation.table(), field.name),
                None => format!("\"{}\"", field.name),
            };
            if let Some(relation) = &field.relation
                && !valid_fields.is_empty()
                && !valid_fields
                    .iter()
                    .any(|f| f.relation.as_ref().is_some_and(|r| r.table() == relation.table()))
            {
                return HwError::new(
                    sqlstate::UNDEFINED_TABLE,
                    format!("missing FROM-clause entry for table \"{}\"", relation.table()),
                );
            }
            let error = HwError::new(sqlstate::UNDEFINED_COLUMN, format!("column {name} does not exist"));
            let close = closest(&field.name, valid_fields.iter().map(|f| f.name.as_str()));
            let found = close.and_then(|name| valid_fields.iter().find(|f| f.name == name));
            match found {
                Some(column) => {
                    let shown = match &column.relation {
                        Some(r) => format!("{}.{}", r.table(), column.name),
                        None => column.name.clone(),
                    };
                    error.with_hint(format!("Perhaps you meant to reference the column \"{shown}\"."))
                }
                None => error,
            }
        }
        SchemaError::AmbiguousReference { field } => HwError::new(
            sqlstate::AMBIGUOUS_COLUMN,
            format!("column reference \"{}\" is ambiguous", field.name),
        ),
        SchemaError::DuplicateQualifiedField { name, .. }
        | SchemaError::DuplicateUnqualifiedField { name } => {
            HwError::new(sqlstate::DUPLICATE_COLUMN, format!("column \"{name}\" specified more than once"))
        }
    }
}

/// The candidate nearest to `name` by edit distance, if it is near enough to suggest.
pub fn closest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let length = name.chars().count();
    let limit = (length / 3).max(1) + 1;
    // Two letters exchanged are two edits.
    let least = if length > 3 { 3 } else { 2 };
    candidates
        .map(|c| (distance(&name, &c.to_lowercase()), c))
        .min_by_key(|(d, _)| *d)
        .filter(|(d, c)| *d < limit.max(least) && *d < c.chars().count())
        .map(|(_, c)| c)
}

fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let cost = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

fn syntax_error(text: &str) -> HwError {
    let text = text.trim_start_matches("sql parser error: ");
    if text.contains("recursion limit exceeded") {
        return HwError::new(sqlstate::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded");
    }
    HwError::new(sqlstate::SYNTAX_ERROR, format!("syntax error: {}", lower_first(text)))
}

fn not_supported(text: &str) -> HwError {
    let text = lower_first(first_line(text).trim_end_matches('.'));
    let message = match text.contains("not supported") || text.contains("unsupported") {
        true => text,
        false => format!("not supported: {text}"),
    };
    HwError::new(sqlstate::FEATURE_NOT_SUPPORTED, message)
}

fn quoted(text: &str) -> Option<&str> {
    let start = text.find(['\'', '"'])?;
    let quote = text.as_bytes()[start] as char;
    let end = text[start + 1..].find(quote)?;
    Some(&text[start + 1..start + 1 + end])
}

/// Errors that DataFusion tells only by their text.
/// Errors of a clause as a whole, in PostgreSQL's words.
fn clause_error(m: &str) -> Option<HwError> {
    let has = |s: &str| m.contains(s);
    Some(if has("non-boolean predicate") {
        HwError::new(sqlstate::DATATYPE_MISMATCH, "argument of WHERE must be type boolean")
    } else if has("queries have different number of columns") {
        HwError::new(sqlstate::SYNTAX_ERROR, "each UNION query must have the same number of columns")
    } else if has("not allowed in the WHERE clause") {
        HwError::new(sqlstate::GROUPING_ERROR, "aggregate functions are not allowed in WHERE")
            .with_hint("Use HAVING.")
    } else if has("given as column alias") {
        HwError::unsupported("an alias for some of the columns", "Name all columns or none.")
    } else if has("ggregate function calls cannot be nested") {
        HwError::new(sqlstate::GROUPING_ERROR, "aggregate function calls cannot be nested")
    } else if has("rder by column out of bounds") {
        HwError::new(sqlstate::INVALID_COLUMN_REFERENCE, "ORDER BY position is not in select list")
    } else if has("WITH query name") && has("specified more than once") {
        HwError::new(sqlstate::DUPLICATE_ALIAS, first_line(m))
    } else {
        return None;
    })
}

/// 22003; a decimal that does not fit its digits says how many there are.
fn too_large(m: &str) -> HwError {
    match m.contains("Overflowing on") {
        true => crate::sql::functions::decimal::overflow(),
        false => HwError::new(sqlstate::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range"),
    }
}

fn by_text(text: &str) -> HwError {
    if let Some(error) = embedded(text).or_else(|| clause_error(&clean(text))) {
        return error;
    }
    let m = clean(text);
    let has = |s: &str| m.contains(s);
    let table = |name: &str| name.rsplit('.').next().unwrap_or(name).to_string();
    if has("not found") && (has("table ") || has("Table ")) {
        let name = quoted(&m).map(table).unwrap_or_default();
        return HwError::new(sqlstate::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist"));
    }
    if has("Invalid function ") || has("is not a known function") || has("There is no UDF") {
        return unknown_function(text);
    }
    if has("in the GROUP BY clause") || has("must be part of GROUP BY") || has("must appear in the GROUP BY")
    {
        return grouping_error(&m);
    }
    if has("Divide by zero") || has("division by zero") {
        return HwError::new(sqlstate::DIVISION_BY_ZERO, "division by zero");
    }
    if has("Overflow") || has("overflow") || has("out of range") {
        return too_large(&m);
    }
    if has("Can't cast value") || has("Cannot cast value") {
        return HwError::new(
            sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
            format!("{} out of range", cast_target(&m)),
        );
    }
    if has("Cannot cast string") || has("Error parsing") || has("Cannot parse") {
        let value = quoted(&m).unwrap_or_default();
        let code = if has("timestamp") || has("date") {
            sqlstate::INVALID_DATETIME_FORMAT
        } else {
            sqlstate::INVALID_TEXT_REPRESENTATION
        };
        return HwError::new(code, format!("invalid input syntax for type {}: \"{value}\"", cast_target(&m)));
    }
    if has("recursion limit") || has("stack overflow") {
        return HwError::new(sqlstate::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded");
    }
    if has("No function matches") || has("does not support") || has("Failed to coerce arguments") {
        return no_overload(&m);
    }
    if has("returned more than one row") || has("more than one row returned") {
        let message = "more than one row returned by a subquery used as an expression";
        return HwError::new(sqlstate::CARDINALITY_VIOLATION, message);
    }
    if has("cannot be used with")
        || has("requires a boolean")
        || has("Cannot coerce")
        || has("Cannot infer common")
        || has("must be boolean")
        || has("must be of type")
        || has("not boolean")
        || has("Boolean")
    {
        return HwError::new(sqlstate::DATATYPE_MISMATCH, lower_first(&m));
    }
    if has("Projections require unique expression names") {
        return HwError::new(sqlstate::DUPLICATE_COLUMN, "column name specified more than once");
    }
    if has("not supported") || has("Unsupported") || has("not implemented") || has("not yet") {
        return not_supported(&m);
    }
    HwError::internal(lower_first(&m))
}

/// One of our undefined-function errors that DataFusion has copied into a text of its own.
fn embedded(text: &str) -> Option<HwError> {
    let (before, after) = text.split_once(" (SQLSTATE 42883)")?;
    let starts = ["function ", "operator does not exist"];
    let at = starts.iter().filter_map(|s| before.rfind(s)).min()?;
    let error = HwError::new(sqlstate::UNDEFINED_FUNCTION, &before[at..]);
    match after.strip_prefix(" HINT: ") {
        Some(hint) => {
            let end = hint.find("type casts.").map_or(hint.len(), |e| e + "type casts.".len());
            Some(error.with_hint(&hint[..end]))
        }
        None => Some(error),
    }
}

/// Without DataFusion's prefixes and its plea to report a bug.
fn clean(text: &str) -> String {
    let text = text.split("\nThis issue was likely caused by a bug").next().unwrap_or(text);
    let text = text.split("\nThis was likely caused by a bug").next().unwrap_or(text);
    let text = text.split("This was likely caused by a bug").next().unwrap_or(text);
    let text = text.split("\n\nbacktrace").next().unwrap_or(text);
    let mut text = first_line(text).trim();
    loop {
        let before = text;
        for prefix in [
            "Error during planning: ",
            "Internal error: ",
            "Execution error: ",
            "Arrow error: ",
            "Optimizer rule",
            "External error: ",
            "Schema error: ",
            "Cast error: ",
            "Parser error: ",
            "type_coercion\ncaused by\n",
            "DataFusion error: ",
            "This feature is not implemented: ",
        ] {
            text = text.strip_prefix(prefix).unwrap_or(text);
        }
        if text == before {
            break;
        }
    }
    text.trim_end_matches('.').replace("DataFusion", "Headwater")
}

fn unknown_function(m: &str) -> HwError {
    let name = quoted(m).unwrap_or("?").to_string();
    let error = HwError::new(sqlstate::UNDEFINED_FUNCTION, format!("function {name} does not exist"));
    match m.split("Did you mean '").nth(1).and_then(|rest| rest.split('\'').next()) {
        Some(near) if closest(&name, std::iter::once(near)).is_some() => {
            error.with_hint(format!("Perhaps you meant the function {near}."))
        }
        _ => error.with_hint(
            "No function matches the given name and argument types. You might need to add explicit type casts.",
        ),
    }
}

fn grouping_error(m: &str) -> HwError {
    let name = quoted(m).unwrap_or("?").replace('"', "");
    HwError::new(
        sqlstate::GROUPING_ERROR,
        format!("column \"{name}\" must appear in the GROUP BY clause or be used in an aggregate function"),
    )
}

fn no_overload(m: &str) -> HwError {
    let name = quoted(m).map(|n| n.split('(').next().unwrap_or(n).to_string());
    let name = name
        .or_else(|| m.split("unction ").nth(1).and_then(|r| r.split([' ', '(']).next()).map(String::from));
    let shown = name.map_or("function".to_string(), |n| format!("function {n}"));
    HwError::new(sqlstate::UNDEFINED_FUNCTION, format!("{shown} with these argument types does not exist")).with_hint(
        "No function matches the given name and argument types. You might need to add explicit type casts.",
    )
}

/// The PostgreSQL name of the Arrow type that a cast error names.
fn cast_target(m: &str) -> &'static str {
    let target = m.rsplit(" to ").next().unwrap_or(m);
    for (arrow, name) in [
        ("Int16", "smallint"),
        ("Int32", "integer"),
        ("Int64", "bigint"),
        ("Float32", "real"),
        ("Float64", "double precision"),
        ("Decimal", "numeric"),
        ("Timestamp", "timestamp"),
        ("Date", "date"),
        ("Interval", "interval"),
        ("Boolean", "boolean"),
        ("Time", "time"),
    ] {
        if target.contains(arrow) {
            return name;
        }
    }
    "value"
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or(text)
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(c) if !chars.as_str().starts_with(|n: char| n.is_uppercase()) => {
            c.to_lowercase().chain(chars).collect()
        }
        _ => text.to_string(),
    }
}

fn sentence(text: &str) -> String {
    let text = first_line(text).trim_end_matches('.');
    format!("{text}.")
}
