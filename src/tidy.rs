//! Rules of the code base, executed: layers, doors to outside crates, sizes, banned calls.
//!
//! A scanner by lines, which relies on rustfmt: a block that begins on a line with some
//! indentation ends at the first line that is that indentation and `}`. Test code (`tests.rs`,
//! `tests/`, `#[cfg(test)]` blocks) is exempt from all but the opening contract.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// Modules from low to high; those of one entry do not see each other.
const LAYERS: [&[&str]; 12] = [
    &["error"],
    &["types"],
    &["clock"],
    &["config"],
    &["metrics"],
    &["formats", "state"],
    &["connectors", "catalog", "views"],
    &["plan"],
    &["sql", "dataflow"],
    &["engine"],
    &["serving"],
    &["main"],
];

/// Modules that must not be seen although they are lower.
const FORBIDDEN: [(&str, &str); 1] = [("dataflow", "connectors")];

/// What may be named only in files whose path starts with one of the prefixes.
const DOORS: [(&str, &[&str]); 7] = [
    ("rdkafka::", &["connectors/kafka"]),
    ("pgwire::", &["serving/pg"]),
    ("timely::", &["dataflow/host", "dataflow/exchange"]),
    ("rocksdb::", &["state/store"]),
    ("SystemTime", &["clock.rs"]),
    ("Utc::now", &["clock.rs"]),
    ("Local::now", &["clock.rs"]),
];

/// Calls that non-test code does not make, except in files with one of the prefixes.
const BANNED: [(&str, &[&str]); 12] = [
    (".unwrap()", &[]),
    ("todo!", &[]),
    ("unimplemented!", &[]),
    ("dbg!", &[]),
    ("print!(", PRINTERS),
    ("println!(", PRINTERS),
    ("eprint!(", PRINTERS),
    ("eprintln!(", PRINTERS),
    ("unbounded()", &[]),
    ("unbounded::<", &[]),
    ("unbounded_channel", &[]),
    ("mpsc::channel()", &[]),
];

const PRINTERS: &[&str] = &["main.rs", "serving/shell", "serving/demo"];

/// One source file without its tests.
struct Source {
    /// Relative to `src/`, with `/`.
    path: String,
    text: String,
    /// Lines without test blocks; comments and the contents of strings are blanked.
    code: Vec<String>,
}

impl Source {
    fn new(path: String, text: String) -> Source {
        let is_test = path.ends_with("tests.rs") || path.contains("tests/") || path == "tidy.rs";
        let lines: Vec<&str> = text.lines().collect();
        let mut code: Vec<String> = if is_test { Vec::new() } else { blank(&lines) };
        let mut at = 0;
        while at < code.len() {
            let end = if code[at].trim() == "#[cfg(test)]" { block_end(&code, at + 1) } else { at };
            if end > at {
                code[at..=end].iter_mut().for_each(String::clear);
            }
            at = end + 1;
        }
        Source { path, text, code }
    }

    fn module(&self) -> &str {
        self.path.split('/').next().unwrap_or("").trim_end_matches(".rs")
    }
}

/// Lines without comments and with empty strings.
fn blank(lines: &[&str]) -> Vec<String> {
    let mut in_string = false;
    lines.iter().map(|line| blank_line(line, &mut in_string)).collect()
}

fn blank_line(line: &str, in_string: &mut bool) -> String {
    let mut code = String::new();
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if *in_string => {
                chars.next();
            }
            '"' => {
                *in_string = !*in_string;
                code.push('"');
            }
            _ if *in_string => {}
            '/' if chars.peek() == Some(&'/') => break,
            '\'' => {
                code.push('\'');
                // A quote or backslash as a character literal; anything else is harmless.
                let rest: String = chars.clone().take(3).collect();
                let skip = match rest.as_str() {
                    r if r.starts_with("\\") => 3,
                    r if r.starts_with("\"'") => 2,
                    _ => 0,
                };
                chars.by_ref().take(skip).for_each(|_| ());
            }
            _ => code.push(c),
        }
    }
    code
}

/// Last line of the item that begins at or after line `start`.
fn block_end(code: &[String], start: usize) -> usize {
    let Some(opened) = (start..code.len()).find(|i| code[*i].trim_end().ends_with(['{', ';', '}'])) else {
        return code.len() - 1;
    };
    if !code[opened].trim_end().ends_with('{') {
        return opened;
    }
    let closing = format!("{}}}", indentation(&code[start]));
    (opened + 1..code.len()).find(|i| code[*i].trim_end() == closing).unwrap_or(code.len() - 1)
}

fn indentation(line: &str) -> &str {
    &line[..line.len() - line.trim_start().len()]
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    let relative = |file: &Path| file.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
    files.iter().map(|file| Source::new(relative(file), fs::read_to_string(file).unwrap())).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// Fails with all places at once.
fn check(rule: &str, places: impl Fn(&Source) -> Vec<(usize, String)>) {
    let mut report = String::new();
    for source in sources() {
        for (line, what) in places(&source) {
            writeln!(report, "  src/{}:{line}: {what}", source.path).unwrap();
        }
    }
    assert!(report.is_empty(), "{rule}:\n{report}");
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// Names of the top-level modules that a line names through `crate::`.
fn crate_paths(line: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let mut modules = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let before = line[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &line[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => modules.push(word(rest)),
            Some(group) => modules.extend(group.split(',').map(word).filter(|name| !name.is_empty())),
        }
    }
    modules
}

fn layer_violations(source: &Source) -> Vec<(usize, String)> {
    let own = source.module();
    let Some(own_layer) = layer(own) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (i, line) in source.code.iter().enumerate() {
        for module in crate_paths(line) {
            let Some(other) = layer(&module) else {
                continue;
            };
            let forbidden = FORBIDDEN.contains(&(own, module.as_str()));
            if module != own && (other >= own_layer || forbidden) {
                found.push((i + 1, format!("{own} must not name {module}")));
            }
        }
    }
    found
}

/// Places where `needle` stands as a word of its own or as the start of one.
fn names(line: &str, needle: &str) -> bool {
    line.match_indices(needle).any(|(at, _)| {
        let starts_word = needle.starts_with(|c: char| c.is_alphanumeric());
        !starts_word || !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
    })
}

fn outside(source: &Source, rules: &[(&str, &[&str])]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (i, line) in source.code.iter().enumerate() {
        for (needle, allowed) in rules {
            if names(line, needle) && !allowed.iter().any(|prefix| source.path.starts_with(prefix)) {
                found.push((i + 1, format!("{needle} is not allowed here")));
            }
        }
    }
    found
}

fn is_function(line: &str) -> bool {
    let mut words = line.split_whitespace().peekable();
    while let Some(word) = words.next() {
        match word {
            "fn" => return words.peek().is_some(),
            "async" | "const" | "unsafe" | "extern" | "\"\"" | "default" => {}
            _ if word.starts_with("pub") => {}
            "super)" | "crate)" => {}
            _ => return false,
        }
    }
    false
}

fn long_functions(source: &Source) -> Vec<(usize, String)> {
    let functions = source.code.iter().enumerate().filter(|(_, line)| is_function(line));
    let lengths = functions.map(|(i, _)| (i + 1, block_end(&source.code, i) - i + 1));
    let long = lengths.filter(|(_, lines)| *lines > FUNCTION_LINES_MAX);
    long.map(|(line, lines)| (line, format!("a function of {lines} lines"))).collect()
}

#[test]
fn layers_are_kept() {
    check("A file names only strictly lower layers or its own module", layer_violations);
    let known = sources().into_iter().filter(|s| layer(s.module()).is_none());
    let unknown: Vec<String> = known.map(|s| s.path).filter(|p| p != "lib.rs" && p != "tidy.rs").collect();
    assert!(unknown.is_empty(), "modules without a layer: {unknown:?}");
}

#[test]
fn outside_crates_have_one_door() {
    check("An outside crate is named behind one door only", |source| outside(source, &DOORS));
}

#[test]
fn banned_calls_are_absent() {
    check("Not outside tests", |source| outside(source, &BANNED));
}

#[test]
fn files_and_functions_are_short() {
    check(&format!("At most {FUNCTION_LINES_MAX} lines a function"), long_functions);
    check(&format!("At most {FILE_LINES_MAX} lines a file"), |source| {
        let lines = source.text.lines().count();
        let long = lines > FILE_LINES_MAX && !source.path.ends_with("tests.rs");
        if long { vec![(lines, "too long".into())] } else { Vec::new() }
    });
}

#[test]
fn files_open_with_their_contract() {
    check("A file opens with //!", |source| {
        let is_test = source.path.ends_with("tests.rs") || source.path.contains("tests/");
        let opens = is_test || source.text.starts_with("//!");
        if opens { Vec::new() } else { vec![(1, "no contract".into())] }
    });
}

#[test]
fn shared_crates_are_there_once() {
    let lock = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    for name in ["arrow", "sqlparser", "datafusion"] {
        let entry = format!("name = \"{name}\"");
        assert_eq!(lock.lines().filter(|line| *line == entry).count(), 1, "versions of {name} in Cargo.lock");
    }
}

#[test]
fn the_scanner_sees_what_it_must() {
    let source = |path: &str, text: &str| Source::new(path.into(), text.into());
    let code = "//! x.unwrap()\nfn f() {\n    let a = \"x.unwrap()\"; // todo!\n    a.unwrap();\n}\n";
    assert_eq!(outside(&source("plan/x.rs", code), &BANNED), [(4, ".unwrap() is not allowed here".into())]);
    let tested = "fn f() {}\n\n#[cfg(test)]\nmod tests {\n    fn g() {\n        a.unwrap();\n    }\n}\n";
    assert!(outside(&source("plan/x.rs", tested), &BANNED).is_empty());
    let quotes = "fn f(c: char) -> bool {\n    c == '\"' || c == '\\''\n}\nfn g() { todo!() }\n";
    assert_eq!(outside(&source("plan/x.rs", quotes), &BANNED).len(), 1);
    let uses = "use crate::engine::x;\nuse crate::{error, sql};\nlet a = crate::types::b();\n";
    let lines: Vec<usize> = layer_violations(&source("plan/x.rs", uses)).iter().map(|(l, _)| *l).collect();
    assert_eq!(lines, [1, 2]);
    assert_eq!(layer_violations(&source("dataflow/x.rs", "use crate::connectors::y;")).len(), 1);
    assert!(layer_violations(&source("dataflow/x.rs", "use crate::dataflow::y;")).is_empty());
    let body = "    let x = 1;\n".repeat(FUNCTION_LINES_MAX);
    let long = format!("pub(super) async fn f(\n    a: u8,\n) {{\n{body}}}\n\nfn g() {{}}\n");
    assert_eq!(long_functions(&source("plan/x.rs", &long)).len(), 1);
}
