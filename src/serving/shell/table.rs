//! Result sets as aligned text, in psql's layout.
//!
//! Headings are centred, numbers stand right, texts left, NULL is empty, and a value with
//! several lines continues with `+`. The simple query protocol does not carry types to the
//! client library, so a column counts as numeric if all its values look like numbers.

use std::io::{Result, Write};

/// One result set; `None` is NULL.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Option<String>>>,
}

impl Table {
    /// Writes heading, rule and rows, and `(n rows)`.
    pub fn write(&self, out: &mut dyn Write) -> Result<()> {
        self.write_grid(out)?;
        match self.rows.len() {
            1 => writeln!(out, "(1 row)\n"),
            n => writeln!(out, "({n} rows)\n"),
        }
    }

    /// Writes heading, rule and rows.
    pub fn write_grid(&self, out: &mut dyn Write) -> Result<()> {
        let widths: Vec<usize> = (0..self.columns.len()).map(|i| self.width(i)).collect();
        let numeric: Vec<bool> = (0..self.columns.len()).map(|i| self.is_numeric(i)).collect();
        let headings: Vec<String> =
            self.columns.iter().zip(&widths).map(|(name, width)| format!(" {name:^width$} ")).collect();
        writeln!(out, "{}", headings.join("|").trim_end())?;
        let rules: Vec<String> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
        writeln!(out, "{}", rules.join("+"))?;
        for row in &self.rows {
            write_row(out, row, &widths, &numeric)?;
        }
        Ok(())
    }

    fn width(&self, column: usize) -> usize {
        let values = self.rows.iter().filter_map(|row| row.get(column)?.as_deref());
        let longest = values.flat_map(str::lines).map(|line| line.chars().count()).max();
        longest.unwrap_or(0).max(self.columns[column].chars().count())
    }

    fn is_numeric(&self, column: usize) -> bool {
        let mut values = self.rows.iter().filter_map(|row| row.get(column)?.as_deref()).peekable();
        values.peek().is_some() && values.all(looks_numeric)
    }
}

fn looks_numeric(value: &str) -> bool {
    value.starts_with(|c: char| c.is_ascii_digit() || c == '-') && value.parse::<f64>().is_ok()
}

fn write_row(out: &mut dyn Write, row: &[Option<String>], widths: &[usize], numeric: &[bool]) -> Result<()> {
    let cells: Vec<Vec<&str>> = row.iter().map(|v| v.as_deref().unwrap_or("").lines().collect()).collect();
    let height = cells.iter().map(Vec::len).max().unwrap_or(0).max(1);
    for line in 0..height {
        let mut text = String::new();
        for (i, cell) in cells.iter().enumerate() {
            let (value, width) = (cell.get(line).copied().unwrap_or(""), widths[i]);
            let mark = if line + 1 < cell.len() { '+' } else { ' ' };
            let separator = if i == 0 { "" } else { "|" };
            if numeric[i] {
                text.push_str(&format!("{separator} {value:>width$}{mark}"));
            } else {
                text.push_str(&format!("{separator} {value:<width$}{mark}"));
            }
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_like_psql() {
        let row = |values: &[&str]| values.iter().map(|v| (*v != "NULL").then(|| v.to_string())).collect();
        let table = Table {
            columns: vec!["auction".into(), "n".into(), "note".into()],
            rows: vec![row(&["1000", "-1.5", "a\nlonger"]), row(&["12", "NULL", "b"])],
        };
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        let expect = [
            " auction |  n   |  note",
            "---------+------+--------",
            "    1000 | -1.5 | a     +",
            "         |      | longer",
            "      12 |      | b",
            "(2 rows)\n\n",
        ];
        assert_eq!(String::from_utf8(out).unwrap(), expect.join("\n"));
    }
}
