//! `EXCLUDE` of window frames, in the tokens.
//!
//! sqlparser does not read it. The words go, and what they say becomes a call of
//! [`FRAME_EXCLUDES`], the first element of the window's PARTITION BY, which `sql/rules/frames`
//! takes out of the plan. Words that are no such clause stay, and are a syntax error.

use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::dialect::{is_space, is_word};
use crate::sql::rules::frames::FRAME_EXCLUDES;

/// What may follow the word.
const CLAUSES: [&[&str]; 4] = [&["CURRENT", "ROW"], &["GROUP"], &["TIES"], &["NO", "OTHERS"]];
const FRAME_UNITS: [&str; 3] = ["ROWS", "RANGE", "GROUPS"];

/// Takes them all.
pub(super) fn take(tokens: &mut Vec<TokenWithSpan>) {
    let mut from = 0;
    while let Some(at) = (from..tokens.len()).find(|i| is_word(&tokens[*i].token, "EXCLUDE")) {
        from = match clause(tokens, at) {
            Some((words, end, open)) => at + replace(tokens, words, at..end, open),
            None => at + 1,
        };
    }
}

/// The words of the clause at a place, where it ends, and where its window's parenthesis opens.
fn clause(tokens: &[TokenWithSpan], at: usize) -> Option<(&'static [&'static str], usize, usize)> {
    let next: Vec<usize> = (at + 1..tokens.len()).filter(|i| !is_space(&tokens[*i])).take(3).collect();
    let matches = |words: &&&[&str]| {
        let all = words.iter().zip(&next).all(|(word, i)| is_word(&tokens[*i].token, word));
        all && next.get(words.len()).is_some_and(|i| tokens[*i].token == Token::RParen)
    };
    let words = *CLAUSES.iter().find(matches)?;
    let mut depth = 0;
    let mut framed = false;
    let open = (0..at).rev().find(|i| {
        match &tokens[*i].token {
            Token::RParen => depth += 1,
            Token::LParen if depth == 0 => return true,
            Token::LParen => depth -= 1,
            token => framed |= depth == 0 && FRAME_UNITS.iter().any(|w| is_word(token, w)),
        }
        false
    })?;
    let before = tokens[..open].iter().rfind(|t| !is_space(t))?;
    let window = is_word(&before.token, "OVER") || is_word(&before.token, "AS");
    (framed && window).then_some((words, next[words.len() - 1] + 1, open))
}

/// Puts the call into the window; tells how many tokens stand before the next ones now.
fn replace(
    tokens: &mut Vec<TokenWithSpan>,
    words: &[&str],
    clause: std::ops::Range<usize>,
    open: usize,
) -> usize {
    let span = tokens[clause.start].span;
    let end = clause.start;
    tokens.drain(clause);
    if words[0] == "NO" {
        return 0;
    }
    let said = words.join(" ").to_lowercase();
    let mut made = vec![
        Token::make_word(FRAME_EXCLUDES, None),
        Token::LParen,
        Token::SingleQuotedString(said),
        Token::RParen,
    ];
    let follows = |word: &str, from: usize| (from..end).find(|i| is_word(&tokens[*i].token, word));
    let first = (open + 1..end).find(|i| !is_space(&tokens[*i])).unwrap_or(end);
    let starts = |word: &str| is_word(&tokens[first].token, word);
    let place = if starts("PARTITION") {
        made.push(Token::Comma);
        follows("BY", first).map_or(first, |by| by + 1)
    } else {
        made.splice(0..0, [Token::make_keyword("PARTITION"), Token::make_keyword("BY")]);
        let named = !starts("ORDER") && !FRAME_UNITS.iter().any(|w| starts(w));
        first + named as usize
    };
    let count = made.len();
    tokens.splice(place..place, made.into_iter().map(|token| TokenWithSpan { token, span }));
    count
}
