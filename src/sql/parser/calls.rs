//! Calls with words in them that sqlparser does not read, in the tokens.
//!
//! What else sqlparser takes and PostgreSQL does not is found by [`mistake`].
//!
//! `substring(v SIMILAR p ESCAPE e)` is `substring(v FROM p FOR e)`, `trim(BOTH FROM v)` is
//! `trim(BOTH v)`, and `f(a, VARIADIC v)` marks its last argument by a call of [`VARIADIC`].

use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::dialect::{is_word, words};

/// Name of the internal function that stands for `VARIADIC array`.
pub const VARIADIC: &str = "__variadic";

/// Rewrites them all.
pub(super) fn rewrite(tokens: &mut Vec<TokenWithSpan>) {
    let rare = |t: &TokenWithSpan| ["SIMILAR", "TRIM", "VARIADIC"].iter().any(|w| is_word(&t.token, w));
    if !tokens.iter().any(rare) {
        return;
    }
    let words = words(tokens);
    let mut edits: Vec<(usize, Edit)> = Vec::new();
    for n in 2..words.len() {
        let token = |n: usize| words.get(n).map(|at| &tokens[*at].token);
        let is = |n: usize, word: &str| token(n).is_some_and(|t| is_word(t, word));
        if is(n, "SIMILAR") && !is(n + 1, "TO") {
            edits.push((words[n], Edit::Word("FROM")));
            let close = closing(tokens, &words, n);
            let escape = (n..close).find(|m| is(*m, "ESCAPE") && closing(tokens, &words, *m) == close);
            edits.extend(escape.map(|m| (words[m], Edit::Word("FOR"))));
        } else if is(n, "FROM")
            && (is(n - 2, "TRIM") && token(n - 1) == Some(&Token::LParen)
                || n >= 3
                    && is(n - 3, "TRIM")
                    && ["BOTH", "LEADING", "TRAILING"].iter().any(|w| is(n - 1, w)))
        {
            edits.push((words[n], Edit::Gone));
        } else if is(n, "VARIADIC") && matches!(token(n - 1), Some(Token::LParen | Token::Comma)) {
            let close = closing(tokens, &words, n);
            if close < words.len() {
                edits.push((words[n], Edit::Open));
                edits.push((words[close], Edit::Close));
            }
        }
    }
    edits.sort_by_key(|(at, _)| *at);
    for (at, edit) in edits.into_iter().rev() {
        let span = tokens[at].span;
        let made = |token| TokenWithSpan { token, span };
        match edit {
            Edit::Word(word) => tokens[at] = made(Token::make_keyword(word)),
            Edit::Gone => drop(tokens.remove(at)),
            Edit::Open => {
                drop(tokens.splice(at..=at, [made(Token::make_word(VARIADIC, None)), made(Token::LParen)]))
            }
            Edit::Close => tokens.insert(at, made(Token::RParen)),
        }
    }
}

enum Edit {
    Word(&'static str),
    Gone,
    Open,
    Close,
}

/// Where the parenthesis closes in which word `n` stands; past the end if it does not.
fn closing(tokens: &[TokenWithSpan], words: &[usize], n: usize) -> usize {
    let mut depth = 0;
    for (m, at) in words.iter().enumerate().skip(n) {
        match tokens[*at].token {
            Token::LParen => depth += 1,
            Token::RParen if depth == 0 => return m,
            Token::RParen => depth -= 1,
            _ => {}
        }
    }
    words.len()
}

/// A number such as `0x10`, or two strings on one line, with where it stands.
pub(super) fn mistake(tokens: &[TokenWithSpan], text: &str) -> Option<(usize, String)> {
    let strings = |t: &Token| matches!(t, Token::SingleQuotedString(_));
    let mut before: Option<&Token> = None;
    let mut line = 0;
    for (at, found) in tokens.iter().enumerate() {
        let start = found.span.start;
        match &found.token {
            Token::HexStringLiteral(_) => {
                let row = text.lines().nth((start.line as usize).saturating_sub(1)).unwrap_or("");
                let mut shown = row.chars().skip((start.column as usize).saturating_sub(1));
                if let (Some('0'), Some(x)) = (shown.next(), shown.next()) {
                    return Some((at, format!("trailing junk after numeric literal at or near \"0{x}\"")));
                }
            }
            token if strings(token) && before.is_some_and(strings) && line == start.line => {
                return Some((at, format!("syntax error at or near \"{token}\"")));
            }
            Token::Whitespace(_) => continue,
            _ => {}
        }
        (before, line) = (Some(&found.token), found.span.end.line);
    }
    None
}
