//! The data of COPY: PostgreSQL's text format and CSV, both ways.
//!
//! In: bytes of a whole input, UTF-8; out of [`CopyReader`] come records of fields, NULL told
//! apart from empty text. [`CopyForm::write_field`] is the inverse. Errors have PostgreSQL's
//! SQLSTATEs and words; the caller adds the line.

use std::iter::Peekable;

use crate::error::{HwError, Result, sqlstate};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyFormat {
    Text,
    Csv,
}

/// How records are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyForm {
    pub format: CopyFormat,
    pub delimiter: u8,
    /// What stands for NULL; in CSV only without quotes.
    pub null: String,
    /// The first line holds the names of the columns.
    pub header: bool,
    /// CSV only.
    pub quote: u8,
    /// CSV only.
    pub escape: u8,
}

impl CopyForm {
    /// The format with PostgreSQL's defaults.
    pub fn of(format: CopyFormat) -> CopyForm {
        let (delimiter, null) = match format {
            CopyFormat::Text => (b'\t', "\\N"),
            CopyFormat::Csv => (b',', ""),
        };
        CopyForm { format, delimiter, null: null.into(), header: false, quote: b'"', escape: b'"' }
    }

    /// Appends one field; `alone`: it is the only one of its record.
    pub fn write_field(&self, field: Option<&[u8]>, alone: bool, out: &mut Vec<u8>) {
        let Some(field) = field else { return out.extend_from_slice(self.null.as_bytes()) };
        match self.format {
            CopyFormat::Text => self.write_escaped(field, out),
            CopyFormat::Csv => {
                let special = |b: &u8| [self.delimiter, self.quote, b'\n', b'\r'].contains(b);
                let ambiguous = field == self.null.as_bytes() || alone && field == b"\\.";
                if !ambiguous && !field.iter().any(special) {
                    return out.extend_from_slice(field);
                }
                out.push(self.quote);
                for byte in field {
                    if *byte == self.quote || *byte == self.escape {
                        out.push(self.escape);
                    }
                    out.push(*byte);
                }
                out.push(self.quote);
            }
        }
    }

    fn write_escaped(&self, field: &[u8], out: &mut Vec<u8>) {
        for byte in field {
            let letter = match byte {
                b'\\' => b'\\',
                8 => b'b',
                12 => b'f',
                b'\n' => b'n',
                b'\r' => b'r',
                b'\t' => b't',
                11 => b'v',
                other if *other == self.delimiter => *other,
                other => {
                    out.push(*other);
                    continue;
                }
            };
            out.extend_from_slice(&[b'\\', letter]);
        }
    }
}

/// Fields of one record; `None` is NULL.
pub type CopyRecord = Vec<Option<String>>;

/// Reads the records of an input.
pub struct CopyReader<'a> {
    data: &'a [u8],
    form: &'a CopyForm,
    at: usize,
    /// Number of the line on which the last record began, from 1.
    line: usize,
    next_line: usize,
}

impl<'a> CopyReader<'a> {
    pub fn new(data: &'a [u8], form: &'a CopyForm) -> CopyReader<'a> {
        CopyReader { data, form, at: 0, line: 0, next_line: 1 }
    }

    pub fn line(&self) -> usize {
        self.line
    }

    /// The next record; none at the end of the data or at a line `\.`.
    pub fn next_record(&mut self) -> Result<Option<CopyRecord>> {
        let rest = &self.data[self.at..];
        let ends = rest
            .strip_prefix(b"\\.")
            .is_some_and(|after| matches!(after.first(), None | Some(b'\n' | b'\r')));
        if rest.is_empty() || ends {
            return Ok(None);
        }
        self.line = self.next_line;
        match self.form.format {
            CopyFormat::Text => self.text_record().map(Some),
            CopyFormat::Csv => self.csv_record().map(Some),
        }
    }

    /// Takes the bytes up to the end of the line.
    fn take_line(&mut self) -> &'a [u8] {
        let rest = &self.data[self.at..];
        let end = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
        self.at += (end + 1).min(rest.len());
        self.next_line += 1;
        let line = &rest[..end];
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    fn text_record(&mut self) -> Result<CopyRecord> {
        let line = self.take_line();
        let mut record = CopyRecord::new();
        let mut start = 0;
        let mut at = 0;
        loop {
            match line.get(at) {
                Some(b'\\') => at += 2,
                Some(b) if *b != self.form.delimiter => at += 1,
                end => {
                    record.push(self.text_field(&line[start..at.min(line.len())])?);
                    if end.is_none() {
                        return Ok(record);
                    }
                    at += 1;
                    start = at;
                }
            }
        }
    }

    fn text_field(&self, raw: &[u8]) -> Result<Option<String>> {
        if raw == self.form.null.as_bytes() {
            return Ok(None);
        }
        let mut field = Vec::with_capacity(raw.len());
        let mut bytes = raw.iter().copied().peekable();
        while let Some(byte) = bytes.next() {
            if byte != b'\\' {
                field.push(byte);
                continue;
            }
            let Some(escaped) = bytes.next() else {
                field.push(b'\\');
                break;
            };
            field.push(match escaped {
                b'b' => 8,
                b'f' => 12,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'v' => 11,
                b'0'..=b'7' => digits(&mut bytes, u32::from(escaped - b'0'), 8, 2),
                b'x' if bytes.peek().is_some_and(u8::is_ascii_hexdigit) => digits(&mut bytes, 0, 16, 2),
                other => other,
            });
        }
        text(field).map(Some)
    }

    fn csv_record(&mut self) -> Result<CopyRecord> {
        let mut record = CopyRecord::new();
        let (mut field, mut quoted, mut inside) = (Vec::new(), false, false);
        let form = self.form;
        loop {
            let byte = self.data.get(self.at).copied();
            let next = self.data.get(self.at + 1).copied();
            self.at += usize::from(byte.is_some());
            match byte {
                None if inside => {
                    return Err(HwError::new(
                        sqlstate::BAD_COPY_FILE_FORMAT,
                        "unterminated CSV quoted field",
                    ));
                }
                Some(b) if inside => {
                    if b == form.escape && next.is_some_and(|n| n == form.quote || n == form.escape) {
                        field.extend(next);
                        self.at += 1;
                    } else if b == form.quote {
                        inside = false;
                    } else {
                        self.next_line += usize::from(b == b'\n');
                        field.push(b);
                    }
                }
                Some(b) if b == form.quote => (quoted, inside) = (true, true),
                Some(b'\r') if next == Some(b'\n') => {}
                None | Some(b'\n') => {
                    record.push(csv_field(field, quoted, form)?);
                    self.next_line += 1;
                    return Ok(record);
                }
                Some(b) if b == form.delimiter => {
                    record.push(csv_field(std::mem::take(&mut field), quoted, form)?);
                    quoted = false;
                }
                Some(b) => field.push(b),
            }
        }
    }
}

fn csv_field(field: Vec<u8>, quoted: bool, form: &CopyForm) -> Result<Option<String>> {
    if !quoted && field == form.null.as_bytes() {
        return Ok(None);
    }
    text(field).map(Some)
}

/// The byte that up to `most` more digits give; of a larger number the low bits.
fn digits(bytes: &mut Peekable<impl Iterator<Item = u8>>, first: u32, radix: u32, most: usize) -> u8 {
    let mut value = first;
    for _ in 0..most {
        let Some(digit) = bytes.next_if(|b| (*b as char).is_digit(radix)) else { break };
        value = value * radix + (digit as char).to_digit(radix).unwrap_or(0);
    }
    value as u8
}

fn text(bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|e| {
        let bad = e.as_bytes().get(e.utf8_error().valid_up_to()).copied().unwrap_or(0);
        let message = format!("invalid byte sequence for encoding \"UTF8\": 0x{bad:02x}");
        HwError::new(sqlstate::CHARACTER_NOT_IN_REPERTOIRE, message)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(form: &CopyForm, data: &str) -> Vec<CopyRecord> {
        let mut reader = CopyReader::new(data.as_bytes(), form);
        std::iter::from_fn(|| reader.next_record().unwrap()).collect()
    }

    fn fields(texts: &[Option<&str>]) -> CopyRecord {
        texts.iter().map(|t| t.map(str::to_string)).collect()
    }

    #[test]
    fn text_has_escapes_and_a_mark_for_null() {
        let form = CopyForm::of(CopyFormat::Text);
        let read = read(&form, "1\t\\N\ta\\tb\\\\N\n\\x41\\101\t\t\\q\r\n\\.\nmore\n");
        assert_eq!(read[0], fields(&[Some("1"), None, Some("a\tb\\N")]));
        assert_eq!(read[1], fields(&[Some("AA"), Some(""), Some("q")]));
        assert_eq!(read.len(), 2);
    }

    #[test]
    fn csv_tells_null_from_empty_text_and_lines_may_be_quoted() {
        let form = CopyForm::of(CopyFormat::Csv);
        let read = read(&form, "1,,\"\"\r\n\"a \"\"b\"\"\",\"two\nlines\",x\"y,z\"\n");
        assert_eq!(read[0], fields(&[Some("1"), None, Some("")]));
        assert_eq!(read[1], fields(&[Some("a \"b\""), Some("two\nlines"), Some("xy,z")]));
        assert_eq!(read.len(), 2);
    }

    #[test]
    fn bad_input_is_told_with_its_line() {
        let form = CopyForm::of(CopyFormat::Csv);
        let mut reader = CopyReader::new(b"1,2\n\"a\nb", &form);
        assert!(reader.next_record().unwrap().is_some());
        let error = reader.next_record().unwrap_err();
        assert_eq!((error.sqlstate(), reader.line()), ("22P04", 2));
        let mut reader = CopyReader::new(b"a\xff", &form);
        assert_eq!(reader.next_record().unwrap_err().sqlstate(), "22021");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            records in proptest::collection::vec(
                proptest::collection::vec(proptest::option::of("[ab,\\\\\"\n\r\t.N|é]{0,6}"), 1..4), 1..5),
            csv: bool,
        ) {
            let form = CopyForm::of(if csv { CopyFormat::Csv } else { CopyFormat::Text });
            let mut data = Vec::new();
            for record in &records {
                for (i, field) in record.iter().enumerate() {
                    if i > 0 {
                        data.push(form.delimiter);
                    }
                    form.write_field(field.as_deref().map(str::as_bytes), record.len() == 1, &mut data);
                }
                data.push(b'\n');
            }
            let mut reader = CopyReader::new(&data, &form);
            let read: Vec<CopyRecord> = std::iter::from_fn(|| reader.next_record().unwrap()).collect();
            prop_assert_eq!(read, records);
        }
    }
}
