//! The script format of `sql-tests/**/*.slt` and of the `sql-test` blocks in `docs/`.
//!
//! A script is a list of blocks divided by blank lines. The first line of a block is its
//! verb; SQL or rows follow, and after `----` what is expected: one line per row, columns
//! divided by tabs, NULL as `NULL`, an empty string as `(empty)`. Lines that begin with `#`
//! before a verb are comments; the comments `# no-batch`, `# no-crash`, `# any-cuts` and
//! `# one-worker` also choose the invariances that a script is held to. `connection b` as
//! the first line of a block runs it in another session.

use std::path::Path;

/// A parsed script.
pub struct Script {
    /// As shown in reports: the file, and for an example its number.
    pub name: String,
    pub file: String,
    pub flags: Flags,
    pub blocks: Vec<Block>,
}

/// What a script's comments say about the invariances.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flags {
    /// Views do not equal their SELECT over all rows (late rows, windows closed).
    pub no_batch: bool,
    /// Session state that a new server cannot have (open transactions, cursors).
    pub no_crash: bool,
    /// The final results do not depend on where epochs are cut.
    pub any_cuts: bool,
    /// Its queries are not the same as views (they read what views change).
    pub no_views: bool,
}

pub struct Block {
    pub line: usize,
    /// Session; the empty name is the main one.
    pub connection: String,
    pub verb: Verb,
}

#[derive(Clone, Debug)]
pub enum Expect {
    Ok,
    /// SQLSTATE, and a pattern that message, DETAIL and HINT together must contain.
    Error(String, Option<String>),
    Count(u64),
    /// Success, and a NOTICE whose message and HINT together contain the pattern.
    Notice(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Sorted,
    AsReturned,
    /// Each expected line is part of a line of the answer, in this order.
    Contains,
}

#[derive(Clone, Debug)]
pub enum Verb {
    Statement { sql: String, expect: Expect },
    Query { sql: String, order: Order, rows: Vec<String> },
    Feed { source: String, values: Vec<String> },
    Epoch,
    AdvanceClock(String),
    Watermark { source: String, to: String },
    Subscribe { name: String, relation: String },
    Changes { name: String, rows: Vec<String> },
    Restart { workers: Option<usize> },
    Crash,
    VerifyBatch,
}

/// Reads an `.slt` file.
pub fn read_slt(root: &Path, path: &Path) -> Result<Script, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let file = path.strip_prefix(root).unwrap_or(path).display().to_string();
    let (flags, blocks) = parse(&text, 0).map_err(|(line, e)| format!("{file}:{line}: {e}"))?;
    let name = file.trim_start_matches("sql-tests/").trim_end_matches(".slt").to_string();
    Ok(Script { name, file, flags, blocks })
}

/// The examples of a page: its blocks fenced with `sql-test`.
pub fn read_page(root: &Path, path: &Path) -> Result<Vec<Script>, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let file = path.strip_prefix(root).unwrap_or(path).display().to_string();
    let mut scripts = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((start, line)) = lines.next() {
        if line.trim() != "```sql-test" {
            continue;
        }
        let body: Vec<&str> = lines.by_ref().map(|(_, l)| l).take_while(|l| l.trim() != "```").collect();
        let (flags, blocks) =
            parse(&body.join("\n"), start + 1).map_err(|(line, e)| format!("{file}:{line}: {e}"))?;
        let name = format!("{}#{}", file.trim_end_matches(".md"), scripts.len() + 1);
        scripts.push(Script { name, file: file.clone(), flags, blocks });
    }
    Ok(scripts)
}

type ParseError = (usize, String);

/// Parses blocks; `before` lines come before the text in its file.
fn parse(text: &str, before: usize) -> Result<(Flags, Vec<Block>), ParseError> {
    let mut flags = Flags::default();
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        let at = before + number + 1;
        if line.trim().is_empty() {
            continue;
        }
        if let Some(comment) = line.strip_prefix('#') {
            match comment.trim() {
                "no-batch" => flags.no_batch = true,
                "no-crash" => flags.no_crash = true,
                "any-cuts" => flags.any_cuts = true,
                "no-views" => flags.no_views = true,
                _ => (),
            }
            continue;
        }
        let mut body = vec![line];
        while let Some((_, next)) = lines.next_if(|(_, l)| !l.trim().is_empty()) {
            body.push(next);
        }
        let mut connection = String::new();
        if let Some(name) = body[0].strip_prefix("connection ") {
            connection = name.trim().to_string();
            body.remove(0);
        }
        let verb = verb(&body).map_err(|e| (at, e))?;
        blocks.push(Block { line: at, connection, verb });
    }
    Ok((flags, blocks))
}

fn verb(body: &[&str]) -> Result<Verb, String> {
    let Some((header, rest)) = body.split_first() else { return Err("a verb is missing".into()) };
    let divider = rest.iter().position(|l| *l == "----");
    let input = &rest[..divider.unwrap_or(rest.len())];
    let expected = || -> Result<Vec<String>, String> {
        let at = divider.ok_or("---- is missing")?;
        Ok(rest[at + 1..].iter().map(|l| l.to_string()).collect())
    };
    let sql = || -> Result<String, String> {
        if input.is_empty() { Err("SQL is missing".to_string()) } else { Ok(input.join("\n")) }
    };
    let words: Vec<&str> = header.split_whitespace().collect();
    Ok(match words.as_slice() {
        ["statement", "ok"] => Verb::Statement { sql: sql()?, expect: Expect::Ok },
        ["statement", "count", n] => {
            Verb::Statement { sql: sql()?, expect: Expect::Count(n.parse().map_err(|_| "a count is wrong")?) }
        }
        ["statement", "notice", ..] => {
            let pattern = header.trim_start_matches("statement notice").trim();
            Verb::Statement { sql: sql()?, expect: Expect::Notice(pattern.to_string()) }
        }
        ["statement", "error", code, ..] => {
            let pattern = header.split_once(code).map(|(_, p)| p.trim()).filter(|p| !p.is_empty());
            Verb::Statement {
                sql: sql()?,
                expect: Expect::Error(code.to_string(), pattern.map(String::from)),
            }
        }
        ["query"] | ["query", "rowsort"] => {
            Verb::Query { sql: sql()?, order: Order::Sorted, rows: expected()? }
        }
        ["query", "nosort"] => Verb::Query { sql: sql()?, order: Order::AsReturned, rows: expected()? },
        ["query", "contains"] => Verb::Query { sql: sql()?, order: Order::Contains, rows: expected()? },
        ["feed", source] => {
            Verb::Feed { source: source.to_string(), values: input.iter().map(|l| l.to_string()).collect() }
        }
        ["epoch"] => Verb::Epoch,
        ["advance", "clock", "to", ..] => {
            let to = header.trim_start_matches("advance clock to").trim();
            Verb::AdvanceClock(format!("TO TIMESTAMPTZ '{to}'"))
        }
        ["advance", "clock", "by", ..] => {
            let by = header.trim_start_matches("advance clock by").trim();
            Verb::AdvanceClock(format!("BY INTERVAL '{by}'"))
        }
        ["watermark", source, ..] => {
            let to = header.split_once(source).map_or("", |(_, to)| to.trim());
            Verb::Watermark { source: source.to_string(), to: to.to_string() }
        }
        ["subscribe", name, relation] => {
            Verb::Subscribe { name: name.to_string(), relation: relation.to_string() }
        }
        ["changes", name] => Verb::Changes { name: name.to_string(), rows: expected()? },
        ["restart"] => Verb::Restart { workers: None },
        ["restart", setting] => {
            let workers = setting.strip_prefix("workers=").and_then(|n| n.parse().ok());
            Verb::Restart { workers: Some(workers.ok_or("write restart workers=N")?) }
        }
        ["crash"] => Verb::Crash,
        ["verify", "batch"] => Verb::VerifyBatch,
        _ => return Err(format!("unknown verb: {header}")),
    })
}

/// Whether `text` contains the parts of `pattern` (divided by `.*`) in order, whatever the case.
pub fn matches(pattern: &str, text: &str) -> bool {
    let text = text.to_lowercase();
    let mut rest = text.as_str();
    pattern.to_lowercase().split(".*").all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}
