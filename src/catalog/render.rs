//! SHOW CREATE: a definition back to a CREATE statement that makes it again.
//!
//! Identifiers are quoted where PostgreSQL would quote them, literals always. Values of
//! secrets, and option values that look like passwords, come out as `'***'`.

use std::fmt::Write;

use arrow::datatypes::Field;

use super::definition::{Details, FormatDefinition, NewDefinition, OptionText, SourceDetails, WithOptions};
use crate::types::PgType;

/// Words that a name cannot be without quotes (PostgreSQL's reserved keywords).
const RESERVED: &str = " all analyse analyze and any array as asc asymmetric authorization binary both case cast \
    check collate collation column concurrently constraint create cross current_catalog current_date \
    current_role current_schema current_time current_timestamp current_user default deferrable desc distinct do \
    else end except false fetch for foreign freeze from full grant group having ilike in initially inner \
    intersect into is isnull join lateral leading left like limit localtime localtimestamp natural not notnull \
    null offset on only or order outer overlaps placing primary references returning right select session_user \
    similar some symmetric table tablesample then to trailing true union unique user using variadic verbose \
    when where window with watermark emit ";

/// The identifier, in quotes if it needs them.
pub fn quote_identifier(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '$')
        && !RESERVED.contains(&format!(" {name} "));
    if plain { name.to_string() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// The text as a string literal.
pub fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// The CREATE statement of a definition, without a semicolon.
pub fn render_create(new: &NewDefinition) -> String {
    let name = format!("{}.{}", quote_identifier(&new.schema), quote_identifier(&new.name));
    match &new.details {
        Details::Source(d) => {
            format!("CREATE SOURCE {name}{}{}", column_list(new, d, &[]), source_tail(d))
        }
        Details::Table(d) => {
            let generated = SourceDetails { generated: d.generated.clone(), ..SourceDetails::default() };
            let source = d.connector.as_ref().unwrap_or(&generated);
            let defaults: Vec<(&String, &String)> = d.defaults.iter().collect();
            let tail = d.connector.as_ref().map(source_tail).unwrap_or_default();
            format!("CREATE TABLE {name}{}{tail}", column_list(new, source, &defaults))
        }
        Details::View(d) => {
            format!("CREATE VIEW {name}{} AS\n{}", name_list(&d.column_names), d.query)
        }
        Details::MaterializedView(d) => format!(
            "CREATE MATERIALIZED VIEW {name}{}{} AS\n{}{}",
            name_list(&d.column_names),
            options(" WITH (", &d.with),
            d.query,
            d.emit.as_ref().map(|e| format!("\n{e}")).unwrap_or_default()
        ),
        Details::Sink(d) => {
            let input = match (&d.query, &d.from_name) {
                (Some(query), _) => {
                    format!("AS\n{query}{}", d.emit.as_ref().map(|e| format!("\n{e}")).unwrap_or_default())
                }
                (None, from) => format!("FROM {}", from.as_deref().unwrap_or_default()),
            };
            format!("CREATE SINK {name} {input}{}{}", options("\nWITH (", &d.with), format_clause(&d.format))
        }
        Details::Index(d) => format!(
            "CREATE {}INDEX {} ON {} ({}){}",
            if d.unique { "UNIQUE " } else { "" },
            quote_identifier(&new.name),
            d.relation_name,
            d.columns.join(", "),
            options(" WITH (", &d.with)
        ),
        Details::Function(_) => function(new, &name),
        Details::Secret(_) => format!("CREATE SECRET {name} AS '***'"),
        Details::Connection(d) => format!("CREATE CONNECTION {name}{}", options(" WITH (", &d.with)),
    }
}

fn function(new: &NewDefinition, name: &str) -> String {
    let Details::Function(d) = &new.details else { return String::new() };
    let parameters: Vec<String> = d
        .parameters
        .iter()
        .map(|p| match &p.name {
            Some(n) => format!("{} {}", quote_identifier(n), p.type_name),
            None => p.type_name.clone(),
        })
        .collect();
    let mut text = format!("CREATE FUNCTION {name}({})\nRETURNS {}", parameters.join(", "), d.returns);
    let _ = write!(text, "\nLANGUAGE {}", d.language);
    if let Some(volatility) = &d.volatility {
        let _ = write!(text, " {}", volatility.to_uppercase());
    }
    if d.strict {
        text.push_str(" STRICT");
    }
    let tag = if d.body.contains("$$") { "$function$" } else { "$$" };
    let _ = write!(text, "\nAS {tag}{}{tag}", d.body);
    text
}

/// ` (\n  a bigint NOT NULL,\n … \n)`, or nothing for no columns.
fn column_list(new: &NewDefinition, source: &SourceDetails, defaults: &[(&String, &String)]) -> String {
    let included = |f: &Field| source.includes.iter().any(|i| &i.column == f.name());
    let mut lines: Vec<String> = Vec::new();
    for field in new.columns.iter().filter(|f| !included(f)) {
        let mut line = format!("  {} {}", quote_identifier(field.name()), PgType::of(field).sql_name());
        if !field.is_nullable() {
            line.push_str(" NOT NULL");
        }
        if let Some((_, text)) = defaults.iter().find(|(column, _)| *column == field.name()) {
            let _ = write!(line, " DEFAULT {text}");
        }
        if let Some(text) = source.generated.get(field.name()) {
            let _ = write!(line, " AS ({})", outer_parentheses_off(text));
        }
        lines.push(line);
    }
    if !new.primary_key.is_empty() {
        let key: Vec<String> = new
            .primary_key
            .iter()
            .filter_map(|i| new.columns.get(*i))
            .map(|f| quote_identifier(f.name()))
            .collect();
        lines.push(format!("  PRIMARY KEY ({})", key.join(", ")));
    }
    if let Some(watermark) = &source.watermark {
        let expression = match (&watermark.expression, watermark.percentile) {
            (Some(expression), _) => expression.clone(),
            (None, Some(percentile)) => format!("PERCENTILE ({percentile})"),
            (None, None) => "SOURCE_WATERMARK()".to_string(),
        };
        lines.push(format!("  WATERMARK FOR {} AS {expression}", quote_identifier(&watermark.column)));
    }
    if lines.is_empty() { String::new() } else { format!(" (\n{}\n)", lines.join(",\n")) }
}

/// The text without a pair of parentheses that encloses all of it.
fn outer_parentheses_off(text: &str) -> &str {
    let Some(inner) = text.strip_prefix('(').and_then(|t| t.strip_suffix(')')) else { return text };
    let (mut depth, mut quote) = (0i32, None);
    for c in inner.chars() {
        match quote {
            Some(q) if q == c => quote = None,
            Some(_) => {}
            None if c == '\'' || c == '"' => quote = Some(c),
            None => depth += i32::from(c == '(') - i32::from(c == ')'),
        }
        if depth < 0 {
            return text;
        }
    }
    inner
}

fn source_tail(d: &SourceDetails) -> String {
    let mut text = String::new();
    for include in &d.includes {
        let _ = write!(
            text,
            "\nINCLUDE {} AS {}",
            include.kind.to_uppercase(),
            quote_identifier(&include.column)
        );
    }
    text.push_str(&options("\nWITH (", &d.with));
    text.push_str(&format_clause(&d.format));
    text
}

fn format_clause(format: &Option<FormatDefinition>) -> String {
    let Some(f) = format else { return String::new() };
    let words = format!("\nFORMAT {} ENCODE {}", f.format.to_uppercase(), f.encode.to_uppercase());
    words + &options(" (", &f.options)
}

fn name_list(names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    let names: Vec<String> = names.iter().map(|n| quote_identifier(n)).collect();
    format!(" ({})", names.join(", "))
}

fn options(before: &str, options: &WithOptions) -> String {
    if options.0.is_empty() {
        return String::new();
    }
    let items: Vec<String> =
        options.0.iter().map(|(k, v)| format!("{} = {}", option_key(k), option_value(k, v))).collect();
    format!("{before}{})", items.join(", "))
}

fn option_key(key: &str) -> String {
    let plain = key.split(['.', '-']).all(|part| {
        part.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    });
    if plain { key.to_string() } else { quote_literal(key) }
}

/// The value as SHOW CREATE prints it.
pub(super) fn option_value(key: &str, value: &OptionText) -> String {
    match value {
        OptionText::Secret(name) => format!("SECRET {name}"),
        OptionText::Text(_) if WithOptions::is_sensitive(key) => "'***'".to_string(),
        OptionText::Text(text) => quote_literal(text),
    }
}
