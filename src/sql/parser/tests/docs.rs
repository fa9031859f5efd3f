//! The examples of `docs/sql` parse, but for those that expect a syntax error.

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
                let (verb, rest) = record.split_once('\n').unwrap_or_else(|| panic!("{named}: {record}"));
                let sql = rest.split("\n----").next().unwrap();
                let result = parse_sql(sql);
                match verb {
                    "statement error 42601" | "statement error 42701" | "statement error 42P16" => {
                        assert_eq!(result.unwrap_err().sqlstate(), &verb[16..], "{named}: {sql}");
                    }
                    "statement error 0A000" => {
                        assert!(result.is_ok_and(|s| s.len() == 1) || sql.contains("NO DATA"))
                    }
                    _ if verb == "statement ok"
                        || verb == "query"
                        || verb.starts_with("statement error ") =>
                    {
                        assert_eq!(
                            result.unwrap_or_else(|e| panic!("{named}: {sql}: {e}")).len(),
                            1,
                            "{named}: {sql}"
                        );
                    }
                    other => panic!("{named}: unknown verb {other}"),
                }
                statements += 1;
            }
        }
    }
    assert!(pages >= 18 && statements >= 100, "{pages} pages, {statements} statements");
}
