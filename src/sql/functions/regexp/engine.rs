//! Regular expressions in PostgreSQL's advanced syntax, on two engines.
//!
//! A pattern is written anew in the syntax of the `regex` crate, whose time is linear. What it has
//! not, look-around and back references, goes to an engine that backtracks, a limited number of
//! times (54001). Both prefer the first alternative that matches, not the longest.

use std::fmt::Write;

use crate::error::{HwError, Result, sqlstate};

/// Most steps back that one search may take.
const BACKTRACK_MAX: usize = 1_000_000;

/// Byte ranges of one match: the whole, then its groups.
pub type Found = Vec<Option<(usize, usize)>>;

/// What the flags of a call, or those in front of a pattern, say.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    insensitive: bool,
    /// `^` and `$` match at line breaks; `.` matches line breaks.
    lines: bool,
    dot_all: bool,
    expanded: bool,
    literal: bool,
    /// All matches are wanted.
    pub global: bool,
}

impl Options {
    pub fn of(flags: &str) -> Result<Options> {
        let (insensitive, lines, expanded, literal, global) = Default::default();
        let mut options = Options { insensitive, lines, dot_all: true, expanded, literal, global };
        for c in flags.chars() {
            if c == 'g' {
                options.global = true;
            } else if !options.set(c) {
                let message = format!("invalid regular expression option: \"{c}\"");
                return Err(HwError::new(sqlstate::INVALID_PARAMETER_VALUE, message));
            }
        }
        Ok(options)
    }

    fn set(&mut self, flag: char) -> bool {
        match flag {
            'i' => self.insensitive = true,
            'c' => self.insensitive = false,
            'n' | 'm' => (self.lines, self.dot_all) = (true, false),
            's' => (self.lines, self.dot_all) = (false, true),
            'p' => (self.lines, self.dot_all) = (false, false),
            'w' => (self.lines, self.dot_all) = (true, true),
            'x' => self.expanded = true,
            't' => self.expanded = false,
            'q' => self.literal = true,
            'e' => {}
            _ => return false,
        }
        true
    }

    /// The flags as the engines write them.
    fn inline(&self) -> String {
        let mut flags = String::new();
        let all = [(self.insensitive, 'i'), (self.lines, 'm'), (self.dot_all, 's'), (self.expanded, 'x')];
        all.iter().filter(|(on, _)| *on).for_each(|(_, flag)| flags.push(*flag));
        if flags.is_empty() { flags } else { format!("(?{flags})") }
    }
}

/// A compiled pattern.
pub enum Engine {
    Linear(regex::Regex),
    Backtracking(Box<fancy_regex::Regex>),
}

impl Engine {
    /// 2201B if the pattern is none.
    pub fn new(pattern: &str, options: &Options) -> Result<Engine> {
        let mut options = options.clone();
        let body = director(pattern, &mut options);
        let written = |linear: bool| match options.literal {
            true => regex::escape(body),
            false => format!("{}{}", options.inline(), rewrite(body, linear)),
        };
        let failure = match regex::Regex::new(&written(true)) {
            Ok(made) => return Ok(Engine::Linear(made)),
            Err(failure) => failure,
        };
        let made = fancy_regex::RegexBuilder::new(&written(false)).backtrack_limit(BACKTRACK_MAX).build();
        made.map(|made| Engine::Backtracking(Box::new(made))).map_err(|_| {
            let text = failure.to_string();
            let reason = text.lines().last().unwrap_or("").trim_start_matches("error: ").to_string();
            HwError::new("2201B", format!("invalid regular expression: \"{pattern}\""))
                .with_detail(format!("The reason is: {reason}."))
        })
    }

    pub fn is_match(&self, text: &str) -> Result<bool> {
        match self {
            Engine::Linear(made) => Ok(made.is_match(text)),
            Engine::Backtracking(made) => made.is_match(text).map_err(too_complex),
        }
    }

    /// The first match that begins at byte `from` or after it.
    pub fn find(&self, text: &str, from: usize) -> Result<Option<Found>> {
        Ok(match self {
            Engine::Linear(made) => made
                .captures_at(text, from)
                .map(|c| c.iter().map(|group| group.map(|m| (m.start(), m.end()))).collect()),
            Engine::Backtracking(made) => made
                .captures_from_pos(text, from)
                .map_err(too_complex)?
                .map(|c| c.iter().map(|group| group.map(|m| (m.start(), m.end()))).collect()),
        })
    }

    /// The matches from byte `from` on; after an empty one the search goes on at the next character.
    pub fn matches<'a>(&'a self, text: &'a str, from: usize) -> impl Iterator<Item = Result<Found>> + 'a {
        let mut next = Some(from);
        std::iter::from_fn(move || {
            let found = match self.find(text, next?) {
                Ok(found) => found,
                Err(e) => {
                    next = None;
                    return Some(Err(e));
                }
            };
            let (start, end) = found.as_ref().and_then(|groups| groups[0])?;
            next = match start == end {
                false => Some(end),
                true => text[end..].chars().next().map(|c| end + c.len_utf8()),
            };
            found.map(Ok)
        })
    }
}

fn too_complex(_: fancy_regex::Error) -> HwError {
    HwError::new(sqlstate::STATEMENT_TOO_COMPLEX, "regular expression takes too many steps back")
        .with_hint("Write it without look-around and back references, or match shorter texts.")
}

/// Takes `***=`, `***:` and flags such as `(?i)` off the front of a pattern.
fn director<'p>(pattern: &'p str, options: &mut Options) -> &'p str {
    if let Some(literal) = pattern.strip_prefix("***=") {
        options.literal = true;
        return literal;
    }
    let pattern = pattern.strip_prefix("***:").unwrap_or(pattern);
    let flags = pattern.strip_prefix("(?").and_then(|rest| rest.split_once(')'));
    match flags.filter(|(flags, _)| !flags.is_empty() && flags.bytes().all(|b| b.is_ascii_lowercase())) {
        Some((flags, body)) if flags.chars().all(|flag| options.set(flag)) => body,
        _ => pattern,
    }
}

/// The pattern in the syntax of the engine.
fn rewrite(pattern: &str, linear: bool) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let boundary = [("[[:<:]]", 'm'), ("[[:>:]]", 'M')].into_iter().find(|(b, _)| rest.starts_with(b));
        if let Some((text, letter)) = boundary {
            push_escape(letter, linear, &mut out);
            rest = &rest[text.len()..];
            continue;
        }
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' => match rest.chars().next() {
                Some(letter) => {
                    rest = &rest[letter.len_utf8()..];
                    rest = escape(letter, rest, linear, &mut out);
                }
                None => out.push('\\'),
            },
            '[' => rest = bracket(rest, &mut out),
            '{' if !rest.starts_with(|c: char| c.is_ascii_digit()) => out.push_str("\\{"),
            c => out.push(c),
        }
    }
    out
}

/// An escape outside of brackets; gives what follows it.
fn escape<'r>(letter: char, rest: &'r str, linear: bool, out: &mut String) -> &'r str {
    let hexadecimal = |most: usize| {
        let digits = rest.bytes().take(most).take_while(u8::is_ascii_hexdigit).count();
        (&rest[..digits], &rest[digits..])
    };
    match letter {
        'u' | 'U' | 'x' => {
            let (digits, after) = hexadecimal(match letter {
                'u' => 4,
                'U' => 8,
                _ => rest.len(),
            });
            let _ = write!(out, "\\x{{{digits}}}");
            after
        }
        'c' => {
            let control = rest.chars().next().unwrap_or('@');
            let _ = write!(out, "\\x{{{:x}}}", control as u32 & 31);
            rest.get(control.len_utf8()..).unwrap_or("")
        }
        letter => {
            push_escape(letter, linear, out);
            rest
        }
    }
}

fn push_escape(letter: char, linear: bool, out: &mut String) {
    match (letter, linear) {
        ('m', true) => out.push_str("\\b{start}"),
        ('M', true) => out.push_str("\\b{end}"),
        ('m', false) => out.push_str("(?<!\\w)(?=\\w)"),
        ('M', false) => out.push_str("(?<=\\w)(?!\\w)"),
        ('y', _) => out.push_str("\\b"),
        ('Y', _) => out.push_str("\\B"),
        ('Z', _) => out.push_str("\\z"),
        ('b', _) => out.push_str("\\x08"),
        ('B', _) => out.push_str("\\\\"),
        ('e', _) => out.push_str("\\x1B"),
        ('0', _) => out.push_str("\\x00"),
        (letter, _) => {
            // Letters and digits mean something; all others stand for themselves.
            if letter.is_ascii() && !matches!(letter, '<' | '>') {
                out.push('\\');
            }
            out.push(letter);
        }
    }
}

/// A bracket expression after its `[`: what the engines read otherwise is escaped.
fn bracket<'r>(rest: &'r str, out: &mut String) -> &'r str {
    out.push('[');
    let mut rest = rest;
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    if let Some(after) = rest.strip_prefix(']') {
        out.push_str("\\]");
        rest = after;
    }
    while let Some(c) = rest.chars().next() {
        let class = rest.strip_prefix("[:").and_then(|r| r.split_once(":]"));
        if let Some((name, after)) = class {
            let _ = write!(out, "[:{name}:]");
            rest = after;
            continue;
        }
        rest = &rest[c.len_utf8()..];
        match c {
            ']' => {
                out.push(']');
                return rest;
            }
            '[' | '&' | '~' => {
                out.push('\\');
                out.push(c);
            }
            '\\' => match rest.chars().next() {
                Some(letter) => {
                    rest = &rest[letter.len_utf8()..];
                    rest = escape(letter, rest, true, out);
                }
                None => out.push('\\'),
            },
            c => out.push(c),
        }
    }
    rest
}
