//! Cuts typed lines into statements at semicolons outside quotes and comments.
//!
//! Knows PostgreSQL's lexical structure as far as a semicolon can hide in it: `'…'` and
//! `E'…'` strings, `"…"` identifiers, `$tag$…$tag$` bodies, `--` and nested `/* */`
//! comments. The text is sent as typed; this only finds where statements end.

/// Lines not yet complete.
#[derive(Default)]
pub struct StatementBuffer {
    text: String,
}

impl StatementBuffer {
    pub fn is_empty(&self) -> bool {
        self.text.trim().is_empty()
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn clear(&mut self) {
        self.text.clear();
    }

    pub fn push_line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// Removes and gives the first complete statement, without surrounding white space.
    pub fn take_statement(&mut self) -> Option<String> {
        let end = statement_end(&self.text)?;
        let rest = self.text.split_off(end);
        let statement = std::mem::replace(&mut self.text, rest);
        if self.is_empty() {
            self.clear();
        }
        Some(statement.trim().to_string())
    }

    /// What is left at the end of the input, if it is more than white space.
    pub fn take_rest(&mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.text);
        if rest.trim().is_empty() { None } else { Some(rest.trim().to_string()) }
    }
}

/// The statements of a text; the last one may lack its semicolon.
pub fn split(text: &str) -> Vec<String> {
    let mut buffer = StatementBuffer { text: text.to_string() };
    let mut statements: Vec<String> = std::iter::from_fn(|| buffer.take_statement()).collect();
    statements.extend(buffer.take_rest());
    statements
}

/// One past the first semicolon that ends a statement, in bytes.
fn statement_end(text: &str) -> Option<usize> {
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        at += match rest.as_bytes()[0] {
            b';' => return Some(at + 1),
            b'\'' => quoted(rest, '\'', escapes_before(&text[..at]))?,
            b'"' => quoted(rest, '"', false)?,
            b'$' => match dollar_tag(&text[..at], rest) {
                Some(tag) => tag.len() + rest[tag.len()..].find(tag)? + tag.len(),
                None => 1,
            },
            b'-' if rest.starts_with("--") => rest.find('\n')?,
            b'/' if rest.starts_with("/*") => comment(rest)?,
            _ => rest.chars().next().map_or(1, char::len_utf8),
        };
    }
    None
}

/// Length of a quoted text with its quotes. A doubled quote reads as two texts side by side.
fn quoted(rest: &str, quote: char, escapes: bool) -> Option<usize> {
    let mut chars = rest.char_indices().skip(1);
    while let Some((i, c)) = chars.next() {
        if c == quote {
            return Some(i + 1);
        }
        if c == '\\' && escapes {
            chars.next();
        }
    }
    None
}

/// Whether a string that begins after `before` is an `E'…'` string.
fn escapes_before(before: &str) -> bool {
    let mut backwards = before.chars().rev();
    matches!(backwards.next(), Some('e' | 'E')) && !backwards.next().is_some_and(is_word)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// The opening `$tag$`, unless the dollar belongs to a word or a parameter.
fn dollar_tag<'a>(before: &str, rest: &'a str) -> Option<&'a str> {
    if before.chars().next_back().is_some_and(is_word) {
        return None;
    }
    let end = rest[1..].find('$')? + 1;
    let name = &rest[1..end];
    let valid = name.chars().all(|c| c.is_alphanumeric() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    valid.then(|| &rest[..end + 1])
}

/// Length of a nested comment.
fn comment(rest: &str) -> Option<usize> {
    let (bytes, mut depth, mut at) = (rest.as_bytes(), 0, 0);
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&str], statements: &[&str], rest: Option<&str>) {
        let mut buffer = StatementBuffer::default();
        let mut found = Vec::new();
        for line in lines {
            buffer.push_line(line);
            found.extend(std::iter::from_fn(|| buffer.take_statement()));
        }
        assert_eq!(found, statements);
        assert_eq!(buffer.take_rest().as_deref(), rest);
    }

    #[test]
    fn statements_end_at_semicolons() {
        check(&["select 1; select", "2;"], &["select 1;", "select\n2;"], None);
        check(&["", "  ", ";"], &[";"], None);
        check(&["select 1; sel"], &["select 1;"], Some("sel"));
    }

    #[test]
    fn semicolons_hide_in_quotes_and_comments() {
        check(&["select ';', 'it''s;' , \"a;b\";"], &["select ';', 'it''s;' , \"a;b\";"], None);
        check(&["select E'\\';';"], &["select E'\\';';"], None);
        check(&["select '\\'; select 2;"], &["select '\\';", "select 2;"], None);
        check(&["select $$;$$, $a$;$$;$a$, $1;"], &["select $$;$$, $a$;$$;$a$, $1;"], None);
        check(&["select 1 -- ;", "/* ; /* ; */ ; */ ;"], &["select 1 -- ;\n/* ; /* ; */ ; */ ;"], None);
        check(&["select 'ü;"], &[], Some("select 'ü;"));
    }
}
