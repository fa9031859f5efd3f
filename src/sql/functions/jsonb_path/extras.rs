//! `like_regex` and `**` of SQL/JSON paths.

use std::fmt;

use datafusion::functions::regex::compile_regex;
use serde_json::Value;

use super::super::jsonb_edit::members;
use crate::error::{HwError, Result, sqlstate};

/// A regular expression of a path, compiled when the path is read.
pub struct Pattern(Box<dyn Fn(&str) -> bool>);

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pattern")
    }
}

impl Pattern {
    pub fn new(pattern: &str, flags: &str) -> Result<Pattern> {
        let mut own = String::new();
        for flag in flags.chars() {
            match flag {
                'i' | 's' | 'm' => own.push(flag),
                'q' => {}
                'x' => {
                    let hint = "Write the expression without spaces and comments.";
                    return Err(HwError::unsupported("the flag \"x\" of like_regex in a jsonpath", hint));
                }
                other => {
                    let detail = format!("Unrecognized flag character \"{other}\" in LIKE_REGEX predicate.");
                    return Err(HwError::new(
                        sqlstate::SYNTAX_ERROR,
                        "invalid input syntax for type jsonpath",
                    )
                    .with_detail(detail));
                }
            }
        }
        let text = if flags.contains('q') { quoted(pattern) } else { pattern.to_string() };
        let own = (!own.is_empty()).then_some(own);
        let made = compile_regex(&text, own.as_deref())
            .map_err(|_| HwError::new("2201B", format!("invalid regular expression: \"{pattern}\"")))?;
        Ok(Pattern(Box::new(move |text| made.is_match(text))))
    }

    pub fn matches(&self, text: &str) -> bool {
        (self.0)(text)
    }
}

fn quoted(pattern: &str) -> String {
    let special = |c: char| c.is_ascii_punctuation();
    pattern.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

/// Which levels `**` selects.
#[derive(Clone, Copy, Debug)]
pub struct Levels {
    pub first: usize,
    pub last: usize,
    /// Only what holds nothing.
    pub leaves: bool,
}

/// The value and all below it, as far as their level is wanted.
pub fn descend<'v>(value: &'v Value, level: usize, levels: Levels, out: &mut Vec<&'v Value>) {
    let below: Vec<&Value> = match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(map) => members(map).into_iter().map(|m| m.1).collect(),
        _ => Vec::new(),
    };
    let wanted = match levels.leaves {
        true => level > 0 && !value.is_array() && !value.is_object(),
        false => (levels.first..=levels.last).contains(&level),
    };
    if wanted {
        out.push(value);
    }
    if level < levels.last {
        below.into_iter().for_each(|v| descend(v, level + 1, levels, out));
    }
}
