//! The examples of `docs/sql` parse, but for those that expect a syntax error. That they give
//! what they say is for the runner of `sql-tests` to show.

use super::*;

#[test]
fn documented_examples() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/sql");
    let (mut pages, mut statements) = (0, 0);
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let page = std::fs::read_to_string(&path).unwrap();
        let mut blocks = page.split("```sql-test\n").skip(1).peekable();
        let named = path.file_name().unwrap().to_string_lossy().to_string();
        assert!(blocks.peek().is_some() || named == "README.md", "{named} has no example");
        pages += 1;
        for block in blocks {
            let block = block.split("```").next().unwrap();
            for record in block.split("\n\n").map(str::trim).filter(|r| !r.is_empty()) {
                let said: Vec<&str> = record.lines().skip_while(|line| line.starts_with('#')).collect();
                if said.is_empty() {
                    continue;
                }
                let record = said.join("\n");
                let (verb, rest) = record.split_once('\n').unwrap_or((&record, ""));
                let sql = rest.split("\n----").next().unwrap();
                let result = parse_sql(sql);
                let expected =
                    verb.strip_prefix("statement error ").map(|code| code.get(..5).unwrap_or(code));
                match (&result, expected) {
                    (Err(e), Some(code)) => assert_eq!(e.sqlstate(), code, "{named}: {sql}"),
                    (Ok(_), Some("42601")) => panic!("{named}: parses: {sql}"),
                    (Err(e), None) if verb == "statement ok" || verb.starts_with("query") => {
                        panic!("{named}: {sql}: {e}");
                    }
                    (Ok(parsed), _) if verb.starts_with("query") => {
                        assert_eq!(parsed.len(), 1, "{named}: {sql}")
                    }
                    (Ok(_), _) if verb.starts_with("statement ") => {}
                    // Other verbs hold rows or nothing; the runner executes them.
                    _ => continue,
                }
                statements += 1;
            }
        }
    }
    assert!(pages >= 18 && statements >= 100, "{pages} pages, {statements} statements");
}
